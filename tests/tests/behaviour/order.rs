//! The order of records, and batches that many tasks fill.

use std::collections::BTreeMap;

use milena::{Record, Result};
use milena_tests::cluster::{Logged, TestCluster};

use crate::{client, producer};

/// The numbers that were written under each key, in the order of the log. A key of two partitions fails.
pub(crate) async fn by_key(cluster: &TestCluster, topic: &str, partitions: i32) -> BTreeMap<String, Vec<u32>> {
    let mut keys: BTreeMap<String, (i32, Vec<u32>)> = BTreeMap::new();
    for partition in 0..partitions {
        let log = cluster.log(topic, partition).await;
        let offsets: Vec<i64> = log.iter().map(|record| record.offset).collect();
        assert_eq!(offsets, (0..log.len() as i64).collect::<Vec<_>>(), "the offsets of {topic}-{partition}");
        for record in &log {
            let (home, numbers) = keys.entry(key(record)).or_insert((partition, Vec::new()));
            assert_eq!(*home, partition, "the partition of key {}", key(record));
            numbers.push(record.text().parse().expect("a number"));
        }
    }
    keys.into_iter().map(|(key, (_, numbers))| (key, numbers)).collect()
}

fn key(record: &Logged) -> String {
    String::from_utf8(record.key.as_deref().expect("a key").to_vec()).expect("text")
}

/// Every key has every number once, in order.
pub(crate) fn assert_exactly_once_in_order(found: &BTreeMap<String, Vec<u32>>, keys: usize, count: u32) {
    assert_eq!(found.len(), keys, "keys");
    for (key, numbers) in found {
        assert_eq!(*numbers, (0..count).collect::<Vec<_>>(), "the records of key {key}");
    }
}

#[tokio::test]
async fn records_of_a_key_stay_together_and_in_order() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("keys", 6).await;
    let producer = producer(&cluster).await;
    for number in 0..100 {
        for key in 0..20 {
            let (key, value) = (format!("key-{key}"), format!("{number}"));
            producer.enqueue(Record::to(&topic).key(&key).value(&value)).await?.detach();
        }
    }
    producer.flush().await?;
    assert_exactly_once_in_order(&by_key(&cluster, &topic, 6).await, 20, 100);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_fill_the_same_batches_and_each_gets_its_own_receipts() -> Result<()> {
    const TASKS: usize = 16;
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("tasks", 3).await;
    let producer = client(&cluster).await.producer().build().await?;
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (producer, topic) = (producer.clone(), topic.clone());
            tokio::spawn(async move {
                let (mut deliveries, key) = (Vec::new(), format!("task-{task}"));
                for number in 0..200 {
                    let value = format!("{number}");
                    deliveries.push(producer.enqueue(Record::to(&topic).key(&key).value(&value)).await?);
                }
                let mut offsets = Vec::new();
                for delivery in deliveries {
                    let receipt = delivery.await?;
                    offsets.push((receipt.partition.partition(), receipt.offset.expect("acks=all")));
                }
                milena::Result::Ok(offsets)
            })
        })
        .collect();
    let mut receipts = Vec::new();
    for task in tasks {
        let own = task.await.expect("no panic")?;
        assert!(own.is_sorted(), "the offsets of a task rise");
        receipts.extend(own);
    }
    receipts.sort_unstable();
    receipts.dedup();
    assert_eq!(receipts.len(), TASKS * 200, "no two records have one place");
    assert_exactly_once_in_order(&by_key(&cluster, &topic, 3).await, TASKS, 200);
    let mut batches = 0.0;
    for partition in 0..3 {
        batches +=
            cluster.log(&topic, partition).await.iter().map(|record| 1.0 / f64::from(record.batch.0)).sum::<f64>();
    }
    assert!(batches < 1600.0, "{batches} batches for 3200 records");
    Ok(())
}
