//! Prints the records of a topic. IO.
#![forbid(unsafe_code)]
#![allow(clippy::print_stderr, reason = "a program for a terminal")]

use std::io::ErrorKind;
use std::process::ExitCode;
use std::time::Duration;

use lexopt::ValueExt as _;
use milena::{Client, Position};
use milena_examples::{End, Options, run};
use tokio::io::{AsyncWriteExt, stdout};
use tokio::time::timeout;

const USAGE: &str = "\
Prints the values of a topic's records, each on a line. The records of a partition come in their order.

Usage: console_consumer --bootstrap HOST:PORT,... --topic NAME [OPTIONS]

  --bootstrap HOST:PORT,...  brokers of the cluster; one that answers is enough
  --topic NAME               the topic
  --key-separator TEXT       prints the key and this text before a value, if the record has a key [default: values only]
  --from beginning|end       with the oldest record, or with the first one written from now on [default: beginning]
  --max-messages COUNT       ends after so many records [default: never]
  --idle-exit-ms MS          ends when no record came for so long [default: never]
  --config NAME=VALUE        a setting by its Kafka name, such as fetch.max.wait.ms=100; may be given several times
  -h, --help                 this text

Bytes are printed as they are. A null value is printed as an empty line. Exit code 1: failure; 2: usage.
";

fn main() -> ExitCode {
    run("console_consumer", USAGE, consume())
}

async fn consume() -> Result<(), End> {
    let (mut from, mut left, mut idle) = (Position::Beginning, usize::MAX, Duration::MAX);
    let options = Options::parse(std::env::args_os().skip(1), |name, parser| {
        match name {
            "from" => from = parser.value()?.parse_with(position)?,
            "max-messages" => left = parser.value()?.parse()?,
            "idle-exit-ms" => idle = Duration::from_millis(parser.value()?.parse()?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let client = Client::builder().config(options.config).connect().await?;
    let partitions = client.partitions(&options.topic).await?;
    let partitions = partitions.into_iter().map(|partition| (partition, from));
    let mut consumer = client.reader().assign(partitions).build().await?;

    let (mut out, mut lines, mut count) = (stdout(), Vec::new(), 0);
    while left > 0 {
        // At most max.poll.records at once. They are printed together, so that many are quick and a single one shows at once.
        let Ok(read) = timeout(idle, consumer.next_batch(left)).await else { break };
        let Some(batch) = read? else { break };
        left -= batch.len();
        count += batch.len();
        lines.clear();
        for record in &batch {
            if let (Some(separator), Some(key)) = (&options.key_separator, record.key) {
                lines.extend_from_slice(key);
                lines.extend_from_slice(separator);
            }
            lines.extend_from_slice(record.value.unwrap_or_default());
            lines.push(b'\n');
        }
        let written = async {
            out.write_all(&lines).await?;
            out.flush().await
        };
        match written.await {
            Ok(()) => {}
            // Whoever reads has seen enough, as `head` does.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(End::Failed(format!("writing to standard output: {error}"))),
        }
    }
    eprintln!("{count} records");
    Ok(())
}

fn position(text: &str) -> Result<Position, &'static str> {
    match text {
        "beginning" => Ok(Position::Beginning),
        "end" => Ok(Position::End),
        _ => Err("--from is beginning or end"),
    }
}
