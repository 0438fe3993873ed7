//! The harness around a real Kafka does what it says, above all: it leaves nothing behind.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "real processes, real time; figures are printed")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use milena_tests::cluster::{Choice, is_older_than, skipped};
use milena_tests::eventually::eventually;
use milena_tests::real_kafka::{RealKafka, Settings};

const PROGRAM: &str = env!("CARGO_BIN_EXE_real-kafka");

fn asked_for(test: &str) -> bool {
    let asked = Choice::from_environment().unwrap() == Choice::Real;
    if !asked {
        skipped(test, "it starts a real Kafka; run it with MILENA_TEST_CLUSTER=real");
    }
    asked
}

fn runs(process: u32) -> bool {
    Path::new("/proc").join(process.to_string()).exists()
}

#[tokio::test]
async fn brokers_crash_restart_freeze_and_stop_and_leave_nothing() {
    if !asked_for("brokers_crash_restart_freeze_and_stop_and_leave_nothing") {
        return;
    }
    let started = Instant::now();
    let cluster = RealKafka::start(Settings::default().property("num.partitions", "2")).await.unwrap();
    println!("three brokers of Kafka serve after {:.1} s", started.elapsed().as_secs_f32());
    assert_eq!(cluster.bootstrap().split(',').count(), 3);

    let first = cluster.process_id(1).unwrap().expect("broker 1 runs");
    cluster.crash(1).await.unwrap();
    assert!(!runs(first));
    assert_eq!(cluster.process_id(1).unwrap(), None);
    assert!(cluster.freeze(1).await.unwrap_err().to_string().contains("restart it first"));
    cluster.crash(1).await.unwrap(); // already down
    cluster.restart(1).await.unwrap();

    cluster.freeze(2).await.unwrap();
    cluster.thaw(2).await.unwrap();
    cluster.stop(3).await.unwrap();
    cluster.restart(3).await.unwrap();
    assert!(cluster.crash(4).await.unwrap_err().to_string().contains("there is no broker 4"));

    let processes: Vec<_> = (1..=3).map(|id| cluster.process_id(id).unwrap().expect("it runs")).collect();
    let scratch = cluster.scratch().to_owned();
    cluster.freeze(2).await.unwrap(); // even a frozen one goes
    drop(cluster);
    assert!(!processes.iter().any(|process| runs(*process)));
    assert!(!scratch.exists());
}

#[tokio::test]
async fn a_broker_that_cannot_start_is_an_error_with_its_log() {
    if !asked_for("a_broker_that_cannot_start_is_an_error_with_its_log") {
        return;
    }
    let settings = Settings::default().property("process.roles", "waiter");
    let error = RealKafka::start(settings).await.unwrap_err().to_string();
    // With ZooKeeper there is no folder to be formatted.
    let doing = if is_older_than((3, 3)) { "start broker 1" } else { "data folder of broker 1" };
    assert!(error.contains(doing) && error.contains("waiter"), "{error}");
}

/// Kills the program with -9, so that none of its own code can clean up.
#[tokio::test]
async fn brokers_die_with_the_process_that_started_them() {
    if !asked_for("brokers_die_with_the_process_that_started_them") {
        return;
    }
    let mut program = Command::new(PROGRAM).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (processes, scratch) = wait_for_brokers(&mut program);
    assert_eq!(processes.len(), 3);
    assert!(processes.iter().all(|process| runs(*process)) && scratch.exists());
    program.kill().unwrap();
    program.wait().unwrap();
    let gone = async || (!processes.iter().any(|process| runs(*process)) && !scratch.exists()).then_some(());
    eventually("every broker and its files to be gone", gone).await;
}

/// Reads what the program says until the line with the bootstrap addresses.
fn wait_for_brokers(program: &mut Child) -> (Vec<u32>, PathBuf) {
    let mut processes = Vec::new();
    let mut scratch = PathBuf::new();
    for line in BufReader::new(program.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some((_, process)) = line.split_once("process ") {
            processes.push(process.parse().unwrap());
        } else if let Some((_, folder)) = line.split_once("logs and data: ") {
            scratch = PathBuf::from(folder);
        } else if line.starts_with("bootstrap: ") {
            break;
        }
    }
    (processes, scratch)
}

#[test]
fn without_java_or_with_a_senseless_version_it_says_what_to_do() {
    let said = |command: &mut Command| {
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let error = said(Command::new(PROGRAM).env("PATH", "/nonexistent").env("MILENA_TEST_KAFKA", "4.4.0"));
    assert!(error.contains("apt-get install default-jdk-headless"), "{error}");
    let error = said(Command::new(PROGRAM).env("MILENA_TEST_KAFKA", "newest"));
    assert!(error.contains("not a version such as 4.4.0"), "{error}");
    let error = said(Command::new(PROGRAM).args(["--port", "9092"]));
    assert!(error.contains("usage:"), "{error}");
}
