//! Writes orders to a Kafka cluster while three members of a consumer group share the work on them. In the middle a member dies
//! without a word, and a broker crashes. IO.
//!
//! `cargo run --example quickstart` starts three brokers inside this process, so that nothing needs to be installed;
//! `cargo run --example quickstart -- --bootstrap localhost:9092` uses a cluster that is there.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods, reason = "a program for a terminal")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use lexopt::{Arg::Long, ValueExt};
use milena::{Client, CommitPolicy, ConsumerRecord, Position, Producer, Rebalance, RebalanceListener, Record};
use milena_mock_broker::MockCluster;
use tokio::sync::{oneshot, watch};
use tokio::task::spawn_blocking;

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

const USAGE: &str = "usage: quickstart [--bootstrap HOST:PORT,...] [--records COUNT]";
const GROUP: &str = "quickstart";
const PARTITIONS: i32 = 6;
const CUSTOMERS: u32 = 500;
const MEMBERS: [&str; 3] = ["Ann", "Bob", "Cleo"];
/// A member that was not heard of for so long is taken for dead (`session.timeout.ms`), and the others get its partitions.
const SESSION: Duration = Duration::from_secs(6);
const DEADLINE: Duration = Duration::from_secs(60);

/// What has been done: all members write into it, and whoever waits for something looks here.
#[derive(Default)]
struct Book {
    processed: u32, // repeats not counted
    /// The partition of each customer, and the number of the last order.
    customers: BTreeMap<String, (i32, u32)>,
    /// How many records a member has read of a partition.
    read: BTreeMap<(i32, &'static str), i64>,
    /// How many partitions each member has.
    shares: BTreeMap<&'static str, usize>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match tokio::time::timeout(DEADLINE, quickstart()).await {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(error)) => eprintln!("error: {}", milena_examples::with_causes(&*error)),
        Err(_) => eprintln!("error: not done within {DEADLINE:?}"),
    }
    ExitCode::FAILURE
}

async fn quickstart() -> Result<()> {
    let (mut bootstrap, mut records) = (None, 10_000);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("bootstrap") => bootstrap = Some(arguments.value()?.string()?),
            Long("records") => records = arguments.value()?.parse::<u32>()?.max(1_000),
            other => return Err(format!("{}; {USAGE}", other.unexpected()).into()),
        }
    }
    // The mock cluster lives as long as this value. On a real one "orders" may be somebody's, so the topic is named apart.
    let (mock, topic) = match bootstrap {
        None => (Some(MockCluster::builder().brokers(3).start().await?), "orders".to_owned()),
        Some(_) => (None, format!("orders-{}", SystemTime::UNIX_EPOCH.elapsed()?.as_millis())),
    };
    let bootstrap = bootstrap.or_else(|| Some(mock.as_ref()?.bootstrap())).unwrap_or_default();
    let client = Client::connect(&bootstrap).await?;
    client.create_topic(&topic, PARTITIONS, 3).await?;
    println!("cluster: {bootstrap}\ntopic:   {topic}, {PARTITIONS} partitions, 3 replicas");

    let book = Arc::new(watch::Sender::new(Book::default()));
    let started = Instant::now();
    let [ann, bob, cleo] = MEMBERS.map(|name| {
        let (bootstrap, topic, book) = (bootstrap.clone(), topic.clone(), book.clone());
        Member { name, bootstrap, topic, records, book, started }
    });
    let (ann, bob) = (tokio::spawn(ann.work()), tokio::spawn(bob.work()));
    // Cleo has a runtime of her own, as if she were another process. When it is dropped her connections break, and nobody
    // tells the group: she dies as by `kill -9`.
    let (kill, killed) = oneshot::channel::<()>();
    let cleo = spawn_blocking(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
            tokio::select! {
                _ = killed => Ok(()),
                ended = cleo.work() => ended,
            }
        })
    });
    let story = async {
        let mut page = book.subscribe();
        page.wait_for(|book| MEMBERS.iter().all(|name| book.shares.get(name) == Some(&2))).await?;

        // As it comes, a producer is careful: a record is written when all replicas in sync have it (acks=all), and one that is
        // sent twice, because a broker crashed before it answered, is there once (enable.idempotence=true).
        let producer = client.producer().build().await?;
        write(&producer, &topic, 0..records / 2).await?;
        page.wait_for(|book| book.processed >= records / 4).await?;
        drop(kill);
        let died = Instant::now();
        println!("{:>5.1} s  Cleo is killed", started.elapsed().as_secs_f64());
        match &mock {
            Some(mock) => {
                let leader = mock.partition(&topic, 0).leader().unwrap_or(1);
                mock.broker(leader).crash();
                println!("         broker {leader} crashes, the leader of {topic}-0");
            }
            None => {
                println!("         (brokers of a real cluster are yours to crash: --records 1000000 gives you time)")
            }
        }
        write(&producer, &topic, records / 2..records).await?;
        producer.flush().await?; // an error if any record was not written

        page.wait_for(|book| book.processed == records).await?;
        Ok(died.elapsed().as_secs_f64() / SESSION.as_secs_f64())
    };
    let (sessions, ..) = tokio::try_join!(story, async { ann.await? }, async { bob.await? }, async { cleo.await? })?;

    let repeats = check(&book.borrow(), &client, &topic, records).await?;
    println!("\nevery order was processed, each customer's in order, and the group has committed all of them");
    println!("that was {sessions:.2} session timeouts after Cleo's death; {repeats} orders were processed twice");
    Ok(())
}

/// Writes these orders, in a hundred portions, which takes a second. They are in the log after `flush`.
async fn write(producer: &Producer, topic: &str, orders: Range<u32>) -> Result<()> {
    let portion = orders.len().div_ceil(100) as u32;
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    for index in orders {
        if index % portion == 0 {
            ticks.tick().await;
        }
        let customer = format!("customer-{}", index % CUSTOMERS);
        let order = format!("{customer} orders {}", index / CUSTOMERS + 1);
        // The key chooses the partition, so that all orders of a customer are in one. `enqueue` returns before the record is
        // sent. What it returns could be awaited; to be quick we let it go, and ask `flush` for all of them.
        producer.enqueue(Record::to(topic).key(&customer).value(&order)).await?.detach();
    }
    Ok(())
}

/// A service that processes orders. As many of it may run as there is work for: the group divides the partitions.
#[derive(Clone)]
struct Member {
    name: &'static str,
    bootstrap: String,
    topic: String,
    /// After so many the day is over.
    records: u32,
    book: Arc<watch::Sender<Book>>,
    started: Instant,
}

impl Member {
    async fn work(self) -> Result<()> {
        let client = Client::connect(&self.bootstrap).await?;
        let mut consumer = client
            .consumer(GROUP)
            .subscribe([&self.topic])
            .commit_policy(CommitPolicy::Acked)
            .session_timeout(SESSION)
            .heartbeat_interval(Duration::from_secs(1))
            .auto_commit_interval(Duration::from_millis(200))
            .on_rebalance(self.clone())
            .build()
            .await?;
        let mut page = self.book.subscribe();
        loop {
            tokio::select! {
                _ = page.wait_for(|book| book.processed == self.records) => break,
                record = consumer.next() => {
                    let Some(record) = record? else { break };
                    self.process(&record)?;
                    record.ack(); // now it may be committed; dropped without, it would come again
                }
            }
        }
        // Commits what was acknowledged, and leaves the group, so that the others take over at once.
        Ok(consumer.close(Duration::from_secs(10)).await?)
    }

    /// Processes an order. It may be one that was processed before: by somebody who died before it was committed.
    fn process(&self, record: &ConsumerRecord) -> Result<()> {
        let text = std::str::from_utf8(record.value().unwrap_or_default())?;
        let (customer, number) = text.split_once(" orders ").ok_or_else(|| format!("\"{text}\" is not an order"))?;
        let (partition, number): (_, u32) = (record.partition(), number.parse()?);
        let mut result = Ok(());
        self.book.send_modify(|book| {
            *book.read.entry((partition, self.name)).or_default() += 1;
            let (home, last) = book.customers.entry(customer.to_owned()).or_insert((partition, 0));
            if *home != partition || number > *last + 1 {
                let found = format!("order {number} at offset {} of partition {partition}", record.offset());
                result = Err(format!("{customer}: {found} comes after order {last} of partition {home}").into());
            } else if number == *last + 1 {
                *last = number;
                book.processed += 1;
            }
        });
        result
    }

    fn tell(&self, what: &str, rebalance: &Rebalance<'_>, share: usize) {
        let numbers: Vec<_> = rebalance.partitions.iter().map(|partition| partition.partition()).collect();
        let (seconds, Rebalance { reason, .. }) = (self.started.elapsed().as_secs_f64(), rebalance);
        println!("{seconds:>5.1} s  {:<4} {what} {numbers:?}: {reason:?}", self.name);
        self.book.send_modify(|book| *book.shares.entry(self.name).or_default() = share);
    }
}

#[async_trait::async_trait]
impl RebalanceListener for Member {
    async fn assigned(&self, rebalance: &Rebalance<'_>) {
        self.tell("gets", rebalance, rebalance.consumer().assignment().len());
    }

    async fn revoked(&self, rebalance: &Rebalance<'_>) {
        // What it gives up is still in the assignment, so that it can be finished.
        self.tell("gives up", rebalance, rebalance.consumer().assignment().len() - rebalance.partitions.len());
    }

    async fn lost(&self, rebalance: &Rebalance<'_>) {
        self.tell("has lost", rebalance, rebalance.consumer().assignment().len());
    }
}

/// Prints who has read what, and returns how much came twice. Fails unless all is in the logs once, and committed.
async fn check(book: &Book, client: &Client, topic: &str, records: u32) -> Result<i64> {
    let partitions = client.partitions(topic).await?;
    let start = partitions.iter().map(|partition| (partition.clone(), Position::End));
    let group = client.consumer(GROUP).assign(start).build().await?;
    let committed = group.control().committed(&partitions).await?;
    println!("\npartition {:>8} {:>8} {:>8}  repeats  committed  log end", MEMBERS[0], MEMBERS[1], MEMBERS[2]);
    let (mut written, mut repeats, mut open) = (0, 0, 0);
    for (partition, committed) in partitions.iter().zip(committed) {
        let number = partition.partition();
        let [ann, bob, cleo] = MEMBERS.map(|name| book.read.get(&(number, name)).copied().unwrap_or_default());
        let (committed, end) = (committed.unwrap_or_default(), group.control().position(partition).unwrap_or_default());
        let again = ann + bob + cleo - end;
        println!("{number:>9} {ann:>8} {bob:>8} {cleo:>8}  {again:>7}  {committed:>9}  {end:>7}");
        written += end;
        repeats += again;
        open += end - committed;
    }
    if written != i64::from(records) || open != 0 {
        return Err(format!("{written} of {records} orders are in the logs, {open} of them not committed").into());
    }
    Ok(repeats)
}
