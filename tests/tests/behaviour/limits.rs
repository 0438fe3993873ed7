//! What is too large, and what happens when the buffer is full.

use std::time::Duration;

use milena::{Client, ErrorCode, ErrorKind, Producer, Record, Result, TryEnqueueError, Written};
use milena_tests::cluster::TestCluster;
use milena_tests::eventually::eventually;
use milena_tests::proxy::Proxy;

use crate::{client, poll_once, producer, soon, write};

#[tokio::test]
async fn a_record_larger_than_max_request_size_is_refused_and_the_producer_goes_on() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("too-large", 1).await;
    let producer = client(&cluster).await.producer().max_request_size(10_000).build().await?;
    let large = vec![b'x'; 10_000];

    let error = producer.send(Record::to(&topic).partition(0).value(&large)).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Usage, Some(ErrorCode::MESSAGE_TOO_LARGE)), "{error}");
    assert_eq!((error.written(), error.is_retriable(), error.is_fatal()), (Written::No, false, false));
    assert!(error.topic_partition().is_some_and(|partition| partition.topic() == topic));
    for part in [&topic, "max.request.size", "10000"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    let record = Record::to(&topic).partition(0).value(&large);
    assert!(matches!(producer.try_enqueue(&record), Err(TryEnqueueError::Rejected(error)) if error.code().is_some()));

    let receipt = producer.send(Record::to(&topic).value(&large[..9_000])).await?;
    assert_eq!(receipt.offset, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_record_larger_than_the_topic_takes_fails_alone() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic_with("small-messages", 1, &[("max.message.bytes", "2000")]).await;
    let producer = producer(&cluster).await;
    let value = |length| vec![b'x'; length];

    let error = producer.send(Record::to(&topic).value(&value(5_000))).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Broker, Some(ErrorCode::MESSAGE_TOO_LARGE)), "{error}");
    assert_eq!(error.written(), Written::No);
    assert!(error.to_string().contains(&topic), "{error}");
    assert_eq!(producer.send(Record::to(&topic).value(&value(500))).await?.offset, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_batch_larger_than_the_topic_takes_is_split() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic_with("small-batches", 1, &[("max.message.bytes", "2000")]).await;
    let producer = client(&cluster).await.producer().linger(Duration::from_millis(200)).build().await?;
    let values: Vec<String> = (0..40).map(|number| format!("{number} {}", "x".repeat(500))).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    write(&producer, &topic, 0, &values).await?;
    let log = cluster.log(&topic, 0).await;
    assert_eq!(log.iter().map(|record| record.text()).collect::<Vec<_>>(), values);
    Ok(())
}

async fn small_buffer(cluster: &TestCluster, proxy: &Proxy, max_block: Duration) -> Result<Producer> {
    let client = Client::builder().bootstrap([cluster.bootstrap()]).connector(proxy.connector()).connect().await?;
    let builder = client.producer().buffer_memory(256 * 1024).max_request_size(64 * 1024);
    builder.max_block(max_block).build().await
}

#[tokio::test]
async fn a_full_buffer_makes_enqueue_wait_until_there_is_room() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("full-buffer", 2).await;
    let proxy = Proxy::new();
    let producer = small_buffer(&cluster, &proxy, Duration::from_secs(60)).await?;
    let value = "x".repeat(10_000);
    let record = || Record::to(&topic).partition(0).value(&value);
    producer.send(record()).await?;

    proxy.hold_requests();
    let mut buffered = 1;
    loop {
        match producer.try_enqueue(&record()) {
            Ok(delivery) => delivery.detach(),
            Err(TryEnqueueError::Full) => break,
            Err(error) => panic!("{error}"),
        }
        buffered += 1;
    }
    assert!((5..=26).contains(&buffered), "{buffered} records of 10 kB in 256 KiB");

    let mut waiting = Box::pin(producer.enqueue(record()));
    assert!(poll_once(waiting.as_mut()).is_pending());
    // Dropping one that waits leaves nothing behind.
    let mut dropped = Box::pin(producer.enqueue(record()));
    assert!(poll_once(dropped.as_mut()).is_pending());
    drop(dropped);

    proxy.release();
    soon("room", waiting).await?.await?;
    producer.flush().await?;
    assert_eq!(cluster.log(&topic, 0).await.len(), buffered + 1);
    // All of the memory came back.
    for _ in 0..50 {
        producer.enqueue(record()).await?.detach();
    }
    producer.flush().await?;
    Ok(())
}

#[tokio::test]
async fn waiting_for_room_ends_after_max_block() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("no-room", 1).await;
    let proxy = Proxy::new();
    let producer = small_buffer(&cluster, &proxy, Duration::from_secs(2)).await?;
    let value = "x".repeat(10_000);
    producer.topic(&topic).await?;

    proxy.hold_requests();
    let mut taken = 0;
    let error = loop {
        match soon("an answer", producer.enqueue(Record::to(&topic).value(&value))).await {
            Ok(delivery) => delivery.detach(),
            Err(error) => break error,
        }
        taken += 1;
    };
    assert_eq!((error.kind(), error.written()), (ErrorKind::TimedOut, Written::No), "{error}");
    for part in ["buffer.memory", "max.block.ms", &topic] {
        assert!(error.to_string().contains(part), "{error}");
    }
    proxy.release();
    producer.flush().await?;
    assert_eq!(cluster.log(&topic, 0).await.len(), taken);
    Ok(())
}

#[tokio::test]
async fn try_enqueue_does_not_wait_for_an_unknown_topic_but_asks_for_it() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("not-loaded", 1).await;
    let producer = producer(&cluster).await;
    let record = Record::to(&topic).value("v");
    assert!(matches!(producer.try_enqueue(&record), Err(TryEnqueueError::TopicNotLoaded)));
    let delivery = eventually("the topic to be loaded", async || producer.try_enqueue(&record).ok()).await;
    assert_eq!(delivery.await?.offset, Some(0));
    Ok(())
}
