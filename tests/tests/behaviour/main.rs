//! What the client does, on the mock cluster and on a real Kafka alike: `MILENA_TEST_CLUSTER` chooses.
//!
//! No test sleeps. Each waits for what it needs, under a deadline that only ends a test that hangs.
#![allow(clippy::disallowed_methods, reason = "real clocks, threads and sockets")]

mod administration;
mod brokers;
mod closing;
mod commit;
mod compression;
mod consume;
mod errors;
mod failover;
mod groups;
mod limits;
mod order;
mod positions;
mod produce;
mod replication;
mod settings;
mod static_members;
mod topics;
mod transactions;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use milena::{Client, Consumer, ConsumerRecord, ErrorCode, Producer, Record, Result};
use milena_tests::cluster::{Logged, TestCluster, is_older_than};
use milena_tests::eventually::eventually;

/// What closing gets.
const GENEROUS: Duration = Duration::from_secs(30);

async fn client(cluster: &TestCluster) -> Client {
    Client::connect(&cluster.bootstrap()).await.unwrap()
}

async fn producer(cluster: &TestCluster) -> Producer {
    client(cluster).await.producer().build().await.unwrap()
}

/// Ends a test that hangs.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(60), future).await;
    waited.unwrap_or_else(|_| panic!("waited 60 s in vain for {what}"))
}

/// Deletes a topic, and creates another one of its name.
async fn create_anew(client: &Client, topic: &str, partitions: i32) -> Result<()> {
    client.delete_topic(topic).await?;
    eventually("the name to be free", async || match client.create_topic(topic, partitions, 3).await {
        // ZooKeeper still has the name when brokers have forgotten the topic.
        Err(error) if error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS) && is_older_than((3, 3)) => None,
        created => Some(created),
    })
    .await
}

/// Polls a future once, without anybody to be woken.
fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// The next records of a consumer.
async fn read(consumer: &mut Consumer, count: usize) -> Vec<ConsumerRecord> {
    let mut records = Vec::new();
    soon(&format!("{count} records"), async {
        while records.len() < count {
            records.push(consumer.next().await.unwrap().expect("nobody stops it"));
        }
    })
    .await;
    records
}

fn texts(records: &[ConsumerRecord]) -> Vec<&str> {
    records.iter().map(|record| std::str::from_utf8(record.value().unwrap_or_default()).unwrap()).collect()
}

/// Writes the values to one partition and waits until they are there.
async fn write(producer: &Producer, topic: &str, partition: i32, values: &[&str]) -> Result<()> {
    for value in values {
        producer.enqueue(Record::to(topic).partition(partition).value(*value)).await?.detach();
    }
    soon("a flush", producer.flush()).await
}

/// The log of a partition, once it has so many records.
async fn logged(cluster: &TestCluster, topic: &str, partition: i32, count: usize) -> Vec<Logged> {
    eventually(&format!("{count} records in {topic}-{partition}"), async || {
        (cluster.end(topic, partition).await >= count as i64).then_some(())
    })
    .await;
    cluster.log(topic, partition).await
}
