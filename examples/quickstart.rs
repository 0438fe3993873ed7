//! Writes orders to a Kafka cluster and reads them back, while a broker crashes. IO.
//!
//! `cargo run --example quickstart` starts three brokers inside this process, so that nothing needs to be installed;
//! `cargo run --example quickstart -- --bootstrap localhost:9092` uses a cluster that is there.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods, reason = "a program for a terminal")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use lexopt::{Arg::Long, ValueExt};
use milena::{Client, Position, Record};
use milena_mock_broker::MockCluster;
use tokio::task::JoinSet;

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

const USAGE: &str = "usage: quickstart [--bootstrap HOST:PORT,...] [--records COUNT]";
const PARTITIONS: i32 = 6;
const CUSTOMERS: u32 = 500;
const DEADLINE: Duration = Duration::from_secs(60);

/// One record, as it was read.
struct Order {
    partition: i32,
    offset: i64,
    customer: String,
    /// The customer's first order is number 1.
    number: u32,
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
            Long("records") => records = arguments.value()?.parse()?,
            Long("help") => {
                println!("{USAGE}");
                return Ok(());
            }
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
    let before = leaders(mock.as_ref(), &topic);

    // Six tasks read while we write, each its own partition: so work is spread and still done in order.
    let mut readers = JoinSet::new();
    for partition in 0..PARTITIONS {
        readers.spawn(read_partition(client.clone(), topic.clone(), partition));
    }
    let started = Instant::now();
    write(&client, &topic, records, || crash_leader(mock.as_ref(), &topic)).await?;
    report("written", records, started);

    let mut orders = Vec::new();
    while let Some(read) = readers.join_next().await {
        orders.extend(read??);
    }
    let after = leaders(mock.as_ref(), &topic);
    mock.iter().flat_map(|mock| mock.brokers()).for_each(|broker| broker.restart()); // if it is down

    let started = Instant::now();
    let again = read_all(&client, &topic).await?;
    report("read again", again.len() as u32, started);

    println!("\npartition  records  first offset  last offset  leader before  after");
    for (partition, (before, after)) in (0..).zip(before.iter().zip(&after)) {
        let own: Vec<_> = orders.iter().filter(|order| order.partition == partition).collect();
        let [first, last] =
            [own.first(), own.last()].map(|order| order.map_or("-".to_owned(), |order| order.offset.to_string()));
        println!("{partition:>9}  {:>7}  {first:>12}  {last:>11}  {before:>13}  {after:>5}", own.len());
    }
    check(&orders, records)?;
    check(&again, records)?;
    println!("\nevery order is there once, and each customer's are in order");
    if mock.is_none() {
        println!("topic {topic} is kept for you to look at; delete it when you have seen enough");
    }
    Ok(())
}

/// Writes orders, with something happening in the middle.
async fn write(client: &Client, topic: &str, records: u32, in_the_middle: impl Fn()) -> Result<()> {
    // As it comes, a producer is careful: a record counts as written when all replicas in sync have it (acks=all), and one
    // that is sent twice, because a broker crashed before it answered, is there once (enable.idempotence=true).
    let producer = client.producer().build().await?;
    for index in 0..records {
        if index == records / 2 {
            in_the_middle();
        }
        let customer = format!("customer-{}", index % CUSTOMERS);
        let order = format!("{customer} orders {}", index / CUSTOMERS + 1);
        // The key chooses the partition, so that all orders of a customer are in one. `enqueue` returns when the record is in
        // its batch, before it is sent. Awaiting what it returns would be waiting until the record is written; to be quick we
        // let it go, and ask `flush` for all of them.
        producer.enqueue(Record::to(topic).key(&customer).value(&order)).await?.detach();
    }
    producer.flush().await?; // an error if any record was not written

    // A record without a key ends each partition, so that readers know when to stop: logs themselves have no end.
    for partition in 0..PARTITIONS {
        producer.send(Record::to(topic).partition(partition).value("end")).await?; // `enqueue`, and wait
    }
    Ok(())
}

/// Reads one partition, batch by batch: the quick way, as nothing is copied.
async fn read_partition(client: Client, topic: String, partition: i32) -> Result<Vec<Order>> {
    // A reader has no consumer group: it reads what it is told to, and commits nothing.
    let mut reader = client.reader().assign([((topic, partition), Position::Beginning)]).build().await?;
    let mut orders = Vec::new();
    while let Some(batch) = reader.next_batch(500).await? {
        for record in &batch {
            match record.key {
                Some(_) => orders.push(order(partition, record.offset, record.value)?),
                None => return Ok(orders),
            }
        }
    }
    Err("the reader was stopped".into())
}

/// Reads all partitions, record by record: the simple way.
async fn read_all(client: &Client, topic: &str) -> Result<Vec<Order>> {
    let partitions = (0..PARTITIONS).map(|partition| ((topic, partition), Position::Beginning));
    let mut reader = client.reader().assign(partitions).build().await?;
    let (mut orders, mut ended) = (Vec::new(), 0);
    while ended < PARTITIONS {
        let record = reader.next().await?.ok_or("the reader was stopped")?;
        match record.key() {
            Some(_) => orders.push(order(record.partition(), record.offset(), record.value())?),
            None => ended += 1,
        }
    }
    Ok(orders)
}

fn order(partition: i32, offset: i64, value: Option<&[u8]>) -> Result<Order> {
    let text = std::str::from_utf8(value.unwrap_or_default())?;
    let (customer, number) = text.split_once(" orders ").ok_or_else(|| format!("\"{text}\" is not an order"))?;
    Ok(Order { partition, offset, customer: customer.to_owned(), number: number.parse()? })
}

/// Fails unless each customer's orders are in one partition, numbered 1, 2, 3 …, and all are there.
fn check(orders: &[Order], expected: u32) -> Result<()> {
    let mut customers = BTreeMap::new();
    for Order { partition, offset, customer, number } in orders {
        let (home, last) = customers.insert(customer, (partition, *number)).unwrap_or((partition, 0));
        if home != partition || *number != last + 1 {
            let found = format!("order {number} at offset {offset} of partition {partition}");
            return Err(format!("{customer}: {found} comes after order {last} of partition {home}").into());
        }
    }
    let found = orders.len();
    if found == expected as usize { Ok(()) } else { Err(format!("{found} orders are there, not {expected}").into()) }
}

/// Crashes a broker as a power failure would.
fn crash_leader(mock: Option<&MockCluster>, topic: &str) {
    let Some(mock) = mock else {
        println!("(brokers of a real cluster are yours to crash; --records 1000000 gives you time to)");
        return;
    };
    let leader = mock.partition(topic, 0).leader().unwrap_or(1);
    mock.broker(leader).crash();
    println!("crashed: broker {leader}, leader of {topic}-0");
}

/// The leader of each partition. Clients need not know: milena finds them. The mock cluster tells; of a real one we show none.
fn leaders(mock: Option<&MockCluster>, topic: &str) -> Vec<String> {
    let leader = |partition| mock?.partition(topic, partition).leader();
    (0..PARTITIONS).map(|partition| leader(partition).map_or("-".to_owned(), |id| id.to_string())).collect()
}

fn report(what: &str, records: u32, since: Instant) {
    let seconds = since.elapsed().as_secs_f64();
    println!("{what}: {records} records in {seconds:.2} s, {:.0} records/s", f64::from(records) / seconds);
}
