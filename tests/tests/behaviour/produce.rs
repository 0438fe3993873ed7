//! What is sent is what is written.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use milena::{Acks, Partitioner, Record, Result};
use milena_tests::cluster::TestCluster;

use crate::{client, logged, producer, soon};

#[tokio::test]
async fn each_acks_setting_writes_every_record_and_tells_what_it_can() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let client = client(&cluster).await;
    for (acks, offsets) in
        [(Acks::None, [None, None]), (Acks::Leader, [Some(0), Some(1)]), (Acks::All, [Some(0), Some(1)])]
    {
        let topic = cluster.topic("acks", 1).await;
        let producer = client.producer().acks(acks).idempotence(acks == Acks::All).build().await?;
        for (value, offset) in ["a", "b"].into_iter().zip(offsets) {
            let receipt = soon("a receipt", producer.send(Record::to(&topic).value(value))).await?;
            assert_eq!((receipt.partition.to_string(), receipt.offset), (format!("{topic}-0"), offset), "{acks:?}");
        }
        let log = logged(&cluster, &topic, 0, 2).await;
        assert_eq!(log.iter().map(|record| record.text()).collect::<Vec<_>>(), ["a", "b"], "{acks:?}");
    }
    Ok(())
}

#[tokio::test]
async fn null_keys_and_values_are_not_empty_ones() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("nulls", 1).await;
    let producer = producer(&cluster).await;
    let record = || Record::to(&topic).partition(0);

    producer.send(record()).await?;
    producer.send(record().key("")).await?;
    producer.send(record().value("")).await?;
    producer.send(record().key("k").value("v")).await?;

    let log = cluster.log(&topic, 0).await;
    let parts: Vec<_> = log.iter().map(|record| (record.key.as_deref(), record.value.as_deref())).collect();
    let empty = Some(&b""[..]);
    assert_eq!(parts, [(None, None), (empty, None), (None, empty), (Some(&b"k"[..]), Some(&b"v"[..]))]);
    Ok(())
}

#[tokio::test]
async fn headers_keep_their_order_their_repetitions_and_their_nulls() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("headers", 1).await;
    let record = Record::to(&topic)
        .value("v")
        .header("trace", "1")
        .header("", "no name")
        .header("trace", "2")
        .header_null("trace")
        .header("a", "")
        .header("bytes", &[0xff, 0x00]);
    producer(&cluster).await.send(record).await?;

    let text = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
    let expected: Vec<(String, Option<Bytes>)> = [
        ("trace", text("1")),
        ("", text("no name")),
        ("trace", text("2")),
        ("trace", None),
        ("a", text("")),
        ("bytes", Some(Bytes::from_static(&[0xff, 0x00]))),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    assert_eq!(cluster.log(&topic, 0).await[0].headers, expected);
    Ok(())
}

#[tokio::test]
async fn timestamps_are_the_records_own_or_the_brokers_as_the_topic_says() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let producer = producer(&cluster).await;
    let then = SystemTime::UNIX_EPOCH + Duration::from_millis(1_600_000_000_123);

    // Retention would delete the first record.
    let topic = cluster.topic_with("create-time", 1, &[("retention.ms", "-1")]).await;
    let receipt = producer.send(Record::to(&topic).value("then").timestamp(then)).await?;
    assert_eq!(receipt.timestamp, then);
    let before = SystemTime::now();
    let receipt = producer.send(Record::to(&topic).value("now")).await?;
    let log = cluster.log(&topic, 0).await;
    assert_eq!((log[0].timestamp, log[1].timestamp), (then, receipt.timestamp));
    assert!(receipt.timestamp + Duration::from_millis(1) >= before && receipt.timestamp <= SystemTime::now());

    let topic = cluster.topic_with("append-time", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let receipt = producer.send(Record::to(&topic).value("v").timestamp(then)).await?;
    assert!(receipt.timestamp + Duration::from_secs(60) > before, "{:?}", receipt.timestamp);
    assert_eq!(cluster.log(&topic, 0).await[0].timestamp, receipt.timestamp);
    Ok(())
}

#[tokio::test]
async fn a_partition_is_chosen_by_the_record_the_partitioner_or_the_key_as_everywhere_else() -> Result<()> {
    struct LastForLargeValues;
    impl Partitioner for LastForLargeValues {
        fn partition(&self, record: &Record<'_>, partitions: i32) -> Option<i32> {
            format!("{record:?}").contains("value_bytes: Some(9)").then_some(partitions - 1)
        }
    }
    let cluster = TestCluster::shared().await;
    let name = cluster.topic("partitions", 6).await;
    let producer = client(&cluster).await.producer().partitioner(LastForLargeValues).build().await?;
    let topic = producer.topic(&name).await?; // a handle serves as well as a name

    for (record, partition) in [
        (Record::to(&topic).value("ninebytes"), 5),
        (Record::to(&name).value("ninebytes").partition(2).key("21"), 2),
        // Kafka's murmur2: "21" hashes to -973932308, and "foobar" to -790332482.
        (Record::to(&name).value("v").key("21"), (-973_932_308 & i32::MAX) % 6),
        (Record::to(&topic).value("v").key("foobar"), (-790_332_482 & i32::MAX) % 6),
    ] {
        assert_eq!(producer.send(record).await?.partition.partition(), partition);
    }
    Ok(())
}

#[tokio::test]
async fn records_without_a_key_share_a_batch_while_it_lingers_and_later_spread() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("sticky", 3).await;
    let producer = client(&cluster).await.producer().linger(Duration::from_secs(60)).build().await?;

    let deliveries = enqueue(&producer, &topic, 100, "small").await?;
    producer.flush().await?;
    let mut partitions = Vec::new();
    for delivery in deliveries {
        partitions.push(delivery.await?.partition.partition());
    }
    assert!(partitions.iter().all(|partition| *partition == partitions[0]), "{partitions:?}");
    assert_eq!(cluster.log(&topic, partitions[0]).await[0].batch.0, 100, "one batch");

    let large = "x".repeat(8 * 1024);
    for delivery in enqueue(&producer, &topic, 100, &large).await? {
        delivery.detach();
    }
    producer.flush().await?;
    for partition in 0..3 {
        assert!(cluster.log(&topic, partition).await.len() > 10, "partition {partition} has its share");
    }
    Ok(())
}

async fn enqueue(producer: &milena::Producer, topic: &str, count: usize, value: &str) -> Result<Vec<milena::Delivery>> {
    let mut deliveries = Vec::new();
    for _ in 0..count {
        deliveries.push(producer.enqueue(Record::to(topic).value(value)).await?);
    }
    Ok(deliveries)
}

#[tokio::test]
async fn a_full_batch_does_not_linger() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("full", 1).await;
    let forever = Duration::from_secs(3600);
    let builder = client(&cluster).await.producer().linger(forever).delivery_timeout(2 * forever).batch_size(1000);
    let producer = builder.build().await?;
    let value = "x".repeat(400);
    let first = producer.enqueue(Record::to(&topic).value(&value)).await?;
    assert!(first.try_result().is_none());
    for _ in 0..2 {
        producer.enqueue(Record::to(&topic).value(&value)).await?.detach();
    }
    soon("a full batch to be sent", first).await?;
    Ok(())
}
