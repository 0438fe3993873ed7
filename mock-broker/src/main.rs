//! The mock cluster as a program, for clients in any language. IO.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use lexopt::ValueExt as _;
use milena_mock_broker::{MockCluster, Topic};

const USAGE: &str = "\
A Kafka cluster in one process, for tests and development. What it holds is gone when it ends.

Usage: milena-mock-broker [OPTIONS]

  --brokers COUNT          how many brokers [default: 3]
  --port PORT              the first broker's port, the others have the following ones; 0 picks free ports [default: 9092]
  --host ADDRESS           the IPv4 address to listen on, which clients are told [default: 127.0.0.1]
  --topic NAME[:N[:R]]     a topic with N partitions [default: 1] and R replicas [default: 3, or all brokers if fewer];
                           may be given several times
  --min-insync COUNT       min.insync.replicas of topics [default: 1]
  --auto-create            create topics that clients ask for
  --group-initial-rebalance-delay MILLIS
                           how long the first members of a group wait for others [default: 0]
  --retained-bytes BYTES   how many bytes of records are kept; then the largest partitions lose their oldest ones
                           [default: 268435456]
  -h, --help               this text

When it is ready it prints a line per broker, then one line of JSON with the bootstrap addresses. Logs go to standard error;
RUST_LOG=debug shows more of them. It serves until Ctrl-C or SIGTERM.
";

struct Options {
    brokers: u16,
    port: u16,
    host: Ipv4Addr,
    topics: Vec<Topic>,
    min_insync: usize,
    auto_create: bool,
    group_initial_rebalance_delay: Duration,
    retained_bytes: Option<u64>,
}

/// What ends the program before it serves.
enum Failure {
    /// The arguments make no sense.
    Usage(String),
    Io(io::Error),
}

fn main() -> ExitCode {
    let options = match parse(std::env::args_os().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => return say(&mut io::stdout(), USAGE, ExitCode::SUCCESS),
        Err(error) => return fail(Failure::Usage(error.to_string())),
    };
    let filter = match log_filter() {
        Ok(filter) => filter,
        Err(message) => return fail(Failure::Usage(message)),
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false).init();
    let served =
        tokio::runtime::Runtime::new().map_err(Failure::Io).and_then(|runtime| runtime.block_on(serve(options)));
    served.map_or_else(fail, |()| ExitCode::SUCCESS)
}

/// What `RUST_LOG` says; what users of the program should know without it.
fn log_filter() -> Result<tracing_subscriber::EnvFilter, String> {
    let Some(wanted) = std::env::var_os("RUST_LOG").filter(|wanted| !wanted.is_empty()) else {
        return Ok(tracing_subscriber::EnvFilter::new("info"));
    };
    let wanted = wanted.to_string_lossy();
    tracing_subscriber::EnvFilter::try_new(&wanted)
        .map_err(|error| format!("RUST_LOG={wanted} names no log level such as info or debug: {error}"))
}

fn fail(failure: Failure) -> ExitCode {
    let (text, code) = match failure {
        Failure::Usage(message) => (format!("milena-mock-broker: {message}; --help lists the options\n"), 2),
        Failure::Io(error) => (format!("milena-mock-broker: {error}\n"), 1),
    };
    say(&mut io::stderr(), &text, ExitCode::from(code))
}

fn say(out: &mut dyn io::Write, text: &str, code: ExitCode) -> ExitCode {
    // If nobody can be told, the exit code has to do.
    match out.write_all(text.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

/// `None` if help is asked for.
fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Option<Options>, lexopt::Error> {
    use lexopt::Arg::{Long, Short};
    let mut options = Options {
        brokers: 3,
        port: 9092,
        host: Ipv4Addr::LOCALHOST,
        topics: Vec::new(),
        min_insync: 1,
        auto_create: false,
        group_initial_rebalance_delay: Duration::ZERO,
        retained_bytes: None,
    };
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("brokers") => options.brokers = value(&mut parser, "--brokers", "a number from 1 to 1000")?,
            Long("port") => options.port = value(&mut parser, "--port", "a number from 0 to 65535")?,
            Long("host") => options.host = value(&mut parser, "--host", "an IPv4 address such as 127.0.0.1")?,
            Long("topic") => options.topics.push(parser.value()?.parse_with(topic)?),
            Long("min-insync") => options.min_insync = value(&mut parser, "--min-insync", "a number of replicas")?,
            Long("auto-create") => options.auto_create = true,
            Long(option @ "group-initial-rebalance-delay") => {
                let option = format!("--{option}");
                options.group_initial_rebalance_delay =
                    Duration::from_millis(value(&mut parser, &option, "a number of milliseconds")?);
            }
            Long("retained-bytes") => {
                options.retained_bytes = Some(value(&mut parser, "--retained-bytes", "a number of bytes")?);
            }
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    if options.port != 0 && options.port.checked_add(options.brokers.saturating_sub(1)).is_none() {
        return Err(format!("{} brokers from port {} on need ports above 65535", options.brokers, options.port).into());
    }
    Ok(Some(options))
}

/// The value of an option, whose error names the option, what was given, and what is expected.
fn value<T: FromStr>(parser: &mut lexopt::Parser, option: &str, expected: &str) -> Result<T, lexopt::Error> {
    let given = parser.value()?;
    let parsed = given.to_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| format!("{option} {} is not {expected}", given.to_string_lossy()).into())
}

/// `NAME`, `NAME:PARTITIONS` or `NAME:PARTITIONS:REPLICAS`.
fn topic(text: &str) -> Result<Topic, String> {
    let expected =
        || format!("--topic {text} is not NAME, NAME:PARTITIONS or NAME:PARTITIONS:REPLICAS, such as orders:6:3");
    let mut fields = text.split(':');
    let mut topic = Topic::new(fields.next().filter(|name| !name.is_empty()).ok_or_else(expected)?);
    if let Some(partitions) = fields.next() {
        topic = topic.partitions(partitions.parse().map_err(|_| expected())?);
    }
    if let Some(replicas) = fields.next() {
        topic = topic.replication_factor(replicas.parse().map_err(|_| expected())?);
    }
    if fields.next().is_some() { Err(expected()) } else { Ok(topic) }
}

async fn serve(options: Options) -> Result<(), Failure> {
    // Before anything is said to be ready, so that no early signal is lost.
    let stopped = stop_signal().map_err(Failure::Io)?;
    let ports = (0..options.brokers).map(|index| if options.port == 0 { 0 } else { options.port + index });
    let mut builder = MockCluster::builder()
        .brokers(usize::from(options.brokers))
        .host(options.host)
        .ports(ports)
        .min_insync(options.min_insync)
        .auto_create_topics(options.auto_create)
        // Nobody can ask for it.
        .journal_bytes(0)
        .group_initial_rebalance_delay(options.group_initial_rebalance_delay);
    if let Some(bytes) = options.retained_bytes {
        builder = builder.retained_bytes(bytes);
    }
    for topic in options.topics {
        builder = builder.with_topic(topic);
    }
    let cluster = builder.start().await.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => Failure::Usage(error.to_string()),
        _ => Failure::Io(error),
    })?;
    announce(&cluster).map_err(Failure::Io)?;
    stopped.await;
    tracing::info!("stopping");
    cluster.stop().await;
    Ok(())
}

fn announce(cluster: &MockCluster) -> io::Result<()> {
    let mut json = format!("{{\"ready\":true,\"bootstrap\":\"{}\",\"brokers\":[", cluster.bootstrap());
    let mut out = io::stdout().lock();
    for (index, broker) in cluster.brokers().iter().enumerate() {
        let (id, host, port) = (broker.id(), broker.host(), broker.port());
        writeln!(out, "broker {id} listens on {host}:{port}")?;
        let comma = if index == 0 { "" } else { "," };
        // Hosts are IPv4 addresses: there is nothing to escape.
        write!(json, "{comma}{{\"id\":{id},\"host\":\"{host}\",\"port\":{port}}}").map_err(io::Error::other)?;
    }
    writeln!(out, "{json}]}}")?;
    out.flush()
}

/// Completes at the first Ctrl-C or SIGTERM from now on.
#[cfg(unix)]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            biased;
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Completes at the first Ctrl-C from now on.
#[cfg(not(unix))]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        interrupt.recv().await;
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Option<Options>, String> {
        parse(arguments.iter().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn options_are_read() {
        let text =
            "--brokers 2 --port=0 --host 127.0.0.2 --topic orders:6:2 --topic plain --min-insync 2 --auto-create";
        let text = format!("{text} --group-initial-rebalance-delay 250 --retained-bytes 1000");
        let arguments: Vec<_> = text.split(' ').collect();
        let options = parsed(&arguments).unwrap().unwrap();
        assert_eq!((options.brokers, options.port, options.min_insync), (2, 0, 2));
        assert_eq!(options.host, Ipv4Addr::new(127, 0, 0, 2));
        assert_eq!(
            options.topics,
            [Topic::new("orders").partitions(6).replication_factor(2), Topic::new("plain").partitions(1)]
        );
        assert!(options.auto_create);
        assert_eq!(options.group_initial_rebalance_delay, Duration::from_millis(250));
        assert_eq!(options.retained_bytes, Some(1000));
        assert!(parsed(&["--help"]).unwrap().is_none());
    }

    #[test]
    fn mistakes_are_named() {
        for (arguments, named) in [
            (&["--port", "70000"][..], "--port 70000 is not a number from 0 to 65535"),
            (&["--brokers", "many"], "--brokers many is not a number"),
            (&["--host", "localhost"], "--host localhost is not an IPv4 address"),
            (&["--brokr"], "--brokr"),
            (&["--topic", "orders:six"], "orders:six"),
            (&["--topic", "orders:6:3:1"], "NAME:PARTITIONS:REPLICAS"),
            (&["--topic", ":6"], ":6"),
            (&["--port", "65535"], "65535"),
            (&["stray"], "stray"),
        ] {
            let error = parsed(arguments).err().unwrap_or_default();
            assert!(error.contains(named), "{arguments:?}: {error}");
        }
    }
}
