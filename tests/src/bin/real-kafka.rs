//! Starts a real three-broker Kafka by hand, to try the examples on and to pull plugs.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]
#![allow(clippy::disallowed_methods, reason = "nothing here is simulated")]

use std::process::ExitCode;
use std::time::Instant;

use milena_tests::real_kafka::{Error, RealKafka, Settings, version};
use tokio::io::{AsyncBufReadExt, BufReader};

const USAGE: &str = "usage: real-kafka [--ports FIRST] [--property NAME=VALUE]...";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Error> {
    let settings = settings(std::env::args().skip(1))?;
    println!("starting Kafka {} …", version());
    let started = Instant::now();
    let cluster = RealKafka::start(settings).await?;
    let bootstrap = cluster.bootstrap();
    println!(
        "three brokers serve after {:.1} s; properties, logs and data: {}",
        started.elapsed().as_secs_f32(),
        cluster.scratch().display()
    );
    for (id, address) in (1..).zip(bootstrap.split(',')) {
        let process = cluster.process_id(id)?.ok_or_else(|| format!("broker {id} ended"))?;
        println!("broker {id} on {address}, rack r{id}: process {process}");
    }
    println!();
    println!("bootstrap: {bootstrap}");
    println!();
    println!("  cargo run --example quickstart -- --bootstrap {bootstrap}");
    println!("  cargo run --example console_producer -- --bootstrap {bootstrap} --topic lines");
    println!("  cargo run --example console_consumer -- --bootstrap {bootstrap} --topic lines --from beginning");
    println!();
    println!("commands: crash N (kill -9), restart N, stop N (clean), freeze N, thaw N, quit");

    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        let line = tokio::select! {
            biased;
            interrupted = tokio::signal::ctrl_c() => { interrupted?; break }
            line = lines.next_line() => line?,
        };
        let Some(line) = line else { break };
        match obey(&cluster, &line).await {
            Ok(Some(done)) => println!("{done}"),
            Ok(None) => break,
            Err(error) => println!("{error}"),
        }
    }
    println!("stopping");
    drop(cluster);
    // Standard input may still be read by a thread that nobody can interrupt; returning would wait for it.
    std::process::exit(0)
}

fn settings(mut arguments: impl Iterator<Item = String>) -> Result<Settings, Error> {
    let mut settings = Settings::default();
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or(USAGE)?;
        settings = match (name.as_str(), value.split_once('=')) {
            ("--ports", _) => {
                settings.first_port(value.parse().map_err(|_| format!("{value} is not a port; {USAGE}"))?)
            }
            ("--property", Some((property, value))) => settings.property(property, value),
            _ => return Err(USAGE.into()),
        };
    }
    Ok(settings)
}

/// What was done, or none at `quit`.
async fn obey(cluster: &RealKafka, line: &str) -> Result<Option<String>, Error> {
    let words: Vec<_> = line.split_whitespace().collect();
    let started = Instant::now();
    match words[..] {
        [] => return Ok(Some(String::new())),
        ["quit"] => return Ok(None),
        ["crash", id] => cluster.crash(id.parse()?).await?,
        ["restart", id] => cluster.restart(id.parse()?).await?,
        ["stop", id] => cluster.stop(id.parse()?).await?,
        ["freeze", id] => cluster.freeze(id.parse()?).await?,
        ["thaw", id] => cluster.thaw(id.parse()?).await?,
        _ => return Err("commands: crash N, restart N, stop N, freeze N, thaw N, quit".into()),
    }
    Ok(Some(format!("{line}: done in {:.1} s", started.elapsed().as_secs_f32())))
}
