//! Writes the lines of standard input to a topic. IO.
#![forbid(unsafe_code)]
#![allow(clippy::print_stderr, clippy::disallowed_methods, reason = "a program for a terminal, in real time")]

use std::pin::pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use milena::{Client, ErrorCode, Record};
use milena_examples::{End, Options, run, with_causes};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio::signal::ctrl_c;

const USAGE: &str = "\
Writes the lines of standard input to a topic, each as one record.

Usage: console_producer --bootstrap HOST:PORT,... --topic NAME [OPTIONS]

  --bootstrap HOST:PORT,...  brokers of the cluster; one that answers is enough
  --topic NAME               the topic, which must exist unless allow.auto.create.topics=true is set here and the cluster agrees
  --key-separator TEXT       what ends the key of a line; the rest is the value. A line without it has no key
                             [default: no line has a key]
  --config NAME=VALUE        a setting by its Kafka name, such as compression.type=zstd; may be given several times
  -h, --help                 this text

Lines are bytes; they need not be UTF-8. Ctrl-C ends the reading, and what was read is still written; a second one gives that up.
The last line on standard error says what became of all lines. Exit code 1: not all of them were written; 2: usage.
";

/// How long is waited for the rest after a second Ctrl-C, or when everything should be settled.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    run("console_producer", USAGE, produce())
}

async fn produce() -> Result<(), End> {
    let options = Options::parse(std::env::args_os().skip(1), |_, _| Ok(false))?;
    let client = Client::builder().config(options.config).connect().await?;
    let producer = client.producer().build().await?;
    // Finds out that the topic is missing before anything is read, and saves a look-up for every line.
    let topic = producer.topic(&options.topic).await?;

    let started = Instant::now();
    let mut interrupted = pin!(ctrl_c());
    let mut input = BufReader::with_capacity(64 * 1024, stdin());
    let (mut line, mut lines, mut refused) = (Vec::new(), 0u64, 0u64);
    let ended = loop {
        line.clear();
        let read = tokio::select! {
            biased;
            interrupt = &mut interrupted => break interrupt.map_err(|error| error.to_string()),
            read = input.read_until(b'\n', &mut line) => read,
        };
        match read {
            Ok(0) => break Ok(()),
            Ok(_) => lines += 1,
            Err(error) => break Err(format!("reading line {}: {error}", lines + 1)),
        }
        let (key, value) = split(line.strip_suffix(b"\n").unwrap_or(&line), options.key_separator.as_deref());
        let mut record = Record::to(&topic).value(value);
        if let Some(key) = key {
            record = record.key(key);
        }
        // It waits while buffer.memory is full: standard input is read as fast as the cluster can write, no faster.
        let enqueued = tokio::select! {
            biased;
            interrupt = &mut interrupted => {
                refused += 1;
                break interrupt.map_err(|error| error.to_string());
            }
            enqueued = producer.enqueue(record) => enqueued,
        };
        match enqueued {
            // Nobody awaits it: `flush` tells of failures, and `close` counts them.
            Ok(delivery) => delivery.detach(),
            Err(error) => {
                refused += 1;
                let text = format!("line {lines}: {}", with_causes(&error));
                match error.code() {
                    Some(ErrorCode::MESSAGE_TOO_LARGE) => eprintln!("console_producer: {text}"),
                    _ => break Err(text),
                }
            }
        }
    };

    // Every record is settled within delivery.timeout.ms, so this ends.
    let flushed = tokio::select! {
        biased;
        flushed = producer.flush() => flushed,
        _ = ctrl_c() => Ok(()),
    };
    if let Err(error) = flushed {
        eprintln!("console_producer: {}", with_causes(&error));
    }
    let report = producer.close(CLOSE_WITHIN).await;
    let seconds = started.elapsed().as_secs_f64();
    let not_written = report.not_written + refused;
    eprintln!(
        "{lines} lines: {} acked, {not_written} not written, {} maybe written; {seconds:.1} s, {:.0} lines/s",
        report.acked,
        report.maybe_written,
        lines as f64 / seconds
    );
    ended.map_err(End::Failed)?;
    if report.acked == lines { Ok(()) } else { Err(End::Failed("not all lines were written".to_owned())) }
}

/// The key, if there is one, and the value.
fn split<'a>(line: &'a [u8], separator: Option<&[u8]>) -> (Option<&'a [u8]>, &'a [u8]) {
    let found = separator.and_then(|separator| {
        let at = line.windows(separator.len()).position(|window| window == separator)?;
        Some((&line[..at], &line[at + separator.len()..]))
    });
    found.map_or((None, line), |(key, value)| (Some(key), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_separator_ends_the_key() {
        assert_eq!(split(b"k::v::w", Some(b"::")), (Some(&b"k"[..]), &b"v::w"[..]));
        assert_eq!(split(b"::v", Some(b"::")), (Some(&b""[..]), &b"v"[..]));
        assert_eq!(split(b"k:v", Some(b"::")), (None, &b"k:v"[..]));
        assert_eq!(split(b"k::v", None), (None, &b"k::v"[..]));
        assert_eq!(split(b"", Some(b":")), (None, &b""[..]));
    }
}
