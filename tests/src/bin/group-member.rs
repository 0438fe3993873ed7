//! A member of a consumer group, until SIGTERM: group-member BOOTSTRAP GROUP TOPIC STRATEGY. It prints what the programs of other
//! clients in `tests/interop/groups` print: `assigned` with all its partitions, `revoked`, `lost`, `record PARTITION OFFSET VALUE`. And
//! when, in microseconds: behind each record, and `join` when a JoinGroup was sent, `sync` when a SyncGroup was answered.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "it is a program")]
#![allow(clippy::disallowed_methods, reason = "nothing here is simulated")]

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use milena::{ApiKey, Client, Rebalance, RebalanceListener};
use milena_tests::proxy::{Passing, Proxy};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(io::stderr)
        .init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, group, topic, strategy] = arguments.as_slice() else {
        return Err("usage: group-member BOOTSTRAP GROUP TOPIC STRATEGY".into());
    };
    let mut leaving = signal(SignalKind::terminate())?;
    let started = Instant::now();
    let proxy = Proxy::observed(move |passing| {
        let word = match passing {
            Passing::Request(ApiKey::JOIN_GROUP) => "join",
            Passing::Answer(ApiKey::SYNC_GROUP) => "sync",
            Passing::Request(_) | Passing::Answer(_) => return,
        };
        println!("{word} {}", started.elapsed().as_micros());
    });
    let client = Client::builder().bootstrap(bootstrap.split(',')).connector(proxy.connector()).connect().await?;
    let mut consumer = client
        .consumer(group)
        .subscribe([topic.as_str()])
        .assignors([strategy.as_str()])
        .session_timeout(Duration::from_secs(6))
        .heartbeat_interval(Duration::from_millis(500))
        .on_rebalance(Tell::default())
        .build()
        .await?;
    loop {
        let read = tokio::select! {
            biased;
            _ = leaving.recv() => break,
            read = consumer.next_batch(500) => read,
        };
        let Some(batch) = read? else { break };
        let (mut lines, now) = (Vec::new(), started.elapsed().as_micros());
        for record in &batch {
            let value = String::from_utf8_lossy(record.value.unwrap_or_default());
            lines.extend_from_slice(
                format!("record {} {} {value} {now}\n", record.partition(), record.offset).as_bytes(),
            );
        }
        io::stdout().lock().write_all(&lines)?;
    }
    Ok(consumer.close(Duration::from_secs(10)).await?)
}

#[derive(Default)]
struct Tell(Mutex<BTreeSet<i32>>);

impl Tell {
    fn say(word: &str, partitions: impl IntoIterator<Item = i32>) {
        let line = partitions.into_iter().fold(word.to_owned(), |line, partition| format!("{line} {partition}"));
        println!("{line}");
    }

    fn take(&self, word: &str, rebalance: &Rebalance<'_>) {
        let taken: BTreeSet<i32> = rebalance.partitions.iter().map(|partition| partition.partition()).collect();
        self.0.lock().unwrap().retain(|partition| !taken.contains(partition));
        Self::say(word, taken);
    }
}

#[async_trait::async_trait]
impl RebalanceListener for Tell {
    async fn assigned(&self, rebalance: &Rebalance<'_>) {
        let mut owned = self.0.lock().unwrap();
        owned.extend(rebalance.partitions.iter().map(|partition| partition.partition()));
        Self::say("assigned", owned.iter().copied());
    }

    async fn revoked(&self, rebalance: &Rebalance<'_>) {
        self.take("revoked", rebalance);
    }

    async fn lost(&self, rebalance: &Rebalance<'_>) {
        self.take("lost", rebalance);
    }
}
