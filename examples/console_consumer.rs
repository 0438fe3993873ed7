//! Prints the records of a topic, alone or as a member of a group. IO.
#![forbid(unsafe_code)]
#![allow(clippy::print_stderr, reason = "a program for a terminal")]

use std::io::{Error, ErrorKind};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use lexopt::ValueExt as _;
use milena::{AutoOffsetReset, Client, Consumer, Position, Rebalance, RebalanceListener};
use milena_examples::{End, Options, run};
use tokio::io::{AsyncWriteExt, stdout};
use tokio::signal::ctrl_c;
use tokio::time::timeout;

const USAGE: &str = "\
Prints the values of a topic's records, each on a line. The records of a partition come in their order.

Usage: console_consumer --bootstrap HOST:PORT,... --topic NAME [OPTIONS]

  --bootstrap HOST:PORT,...  brokers of the cluster; one that answers is enough
  --topic NAME               the topic
  --key-separator TEXT       prints the key and this text before a value, if the record has a key [default: values only]
  --from beginning|end       with the oldest record, or with the first one written from now on [default: beginning]; a group
                             goes on from what it has committed, and this is for partitions where it has nothing
  --group NAME               shares the topic with the other members of this group, and commits what was printed
  --assignor NAME,...        how the group may divide the partitions, best first: range, roundrobin, sticky,
                             cooperative-sticky; may be given several times [default: cooperative-sticky]
  --max-messages COUNT       ends after so many records [default: never]
  --idle-exit-ms MS          ends when no record came for so long [default: never]
  --config NAME=VALUE        a setting by its Kafka name, such as fetch.max.wait.ms=100; may be given several times
  -h, --help                 this text

Bytes are printed as they are. A null value is printed as an empty line. Standard error says which partitions a group gives and
takes, and why. Ctrl-C ends it: what was printed is committed, and the others of the group take over at once. Exit code 1:
failure; 2: usage.
";

/// How long committing and leaving the group may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    run("console_consumer", USAGE, consume())
}

async fn consume() -> Result<(), End> {
    let (mut from, mut left, mut idle) = (None, usize::MAX, Duration::MAX);
    let (mut group, mut assignors) = (None, Vec::new());
    let options = Options::parse(std::env::args_os().skip(1), |name, parser| {
        match name {
            "from" => from = Some(parser.value()?.parse_with(position)?),
            "group" => group = Some(parser.value()?.string()?),
            "assignor" => assignors.extend(parser.value()?.string()?.split(',').map(str::to_owned)),
            "max-messages" => left = parser.value()?.parse()?,
            "idle-exit-ms" => idle = Duration::from_millis(parser.value()?.parse()?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let client = Client::builder().config(options.config).connect().await?;
    let mut consumer = match group {
        Some(group) => member(&client, group, &options.topic, from, assignors).await?,
        None if !assignors.is_empty() => return Err(End::Usage("--assignor is for groups; --group is missing".into())),
        None => {
            let from = from.unwrap_or(Position::Beginning);
            let partitions = client.partitions(&options.topic).await?;
            client.reader().assign(partitions.into_iter().map(|partition| (partition, from))).build().await?
        }
    };

    let mut interrupted = pin!(ctrl_c());
    let (mut out, mut lines, mut count) = (stdout(), Vec::new(), 0);
    while left > 0 {
        // At most max.poll.records at once. They are printed together, so that many are quick and a single one shows at once.
        let read = tokio::select! {
            biased;
            interrupt = &mut interrupted => {
                interrupt?;
                break;
            }
            read = timeout(idle, consumer.next_batch(left)) => read,
        };
        let Ok(read) = read else { break };
        let Some(batch) = read? else { break };
        lines.clear();
        for record in &batch {
            if let (Some(separator), Some(key)) = (&options.key_separator, record.key) {
                lines.extend_from_slice(key);
                lines.extend_from_slice(separator);
            }
            lines.extend_from_slice(record.value.unwrap_or_default());
            lines.push(b'\n');
        }
        let write = async {
            out.write_all(&lines).await?;
            out.flush().await
        };
        let written = tokio::select! {
            biased;
            interrupt = &mut interrupted => interrupt.and(Err(Error::from(ErrorKind::Interrupted))),
            written = write => written,
        };
        if let Err(error) = written {
            // The batch is still held, so it is not committed.
            consumer.close(CLOSE_WITHIN).await?;
            return match error.kind() {
                // Whoever reads has seen enough, as `head` does.
                ErrorKind::BrokenPipe | ErrorKind::Interrupted => Ok(()),
                _ => Err(End::Failed(format!("writing to standard output: {error}"))),
            };
        }
        left -= batch.len();
        count += batch.len();
    }
    // Commits what was printed, and leaves the group.
    consumer.close(CLOSE_WITHIN).await?;
    eprintln!("{count} records");
    Ok(())
}

async fn member(
    client: &Client,
    group: String,
    topic: &str,
    from: Option<Position>,
    assignors: Vec<String>,
) -> Result<Consumer, End> {
    let mut builder = client.consumer(group).subscribe([topic]).on_rebalance(Tell);
    if let Some(from) = from {
        let end = from == Position::End;
        builder = builder.auto_offset_reset(if end { AutoOffsetReset::Latest } else { AutoOffsetReset::Earliest });
    }
    if !assignors.is_empty() {
        builder = builder.assignors(assignors);
    }
    Ok(builder.build().await?)
}

/// Tells what the group gives and takes.
struct Tell;

impl Tell {
    fn print(what: &str, rebalance: &Rebalance<'_>) {
        let partitions: Vec<_> = rebalance.partitions.iter().map(ToString::to_string).collect();
        eprintln!("{what} {} ({:?})", partitions.join(" "), rebalance.reason);
    }
}

#[async_trait::async_trait]
impl RebalanceListener for Tell {
    async fn assigned(&self, rebalance: &Rebalance<'_>) {
        Self::print("assigned", rebalance);
    }

    async fn revoked(&self, rebalance: &Rebalance<'_>) {
        Self::print("revoked", rebalance);
    }

    async fn lost(&self, rebalance: &Rebalance<'_>) {
        Self::print("lost", rebalance);
    }
}

fn position(text: &str) -> Result<Position, &'static str> {
    match text {
        "beginning" => Ok(Position::Beginning),
        "end" => Ok(Position::End),
        _ => Err("--from is beginning or end"),
    }
}
