//! Flush, close, and what is too late.

use std::time::Duration;

use milena::{Client, CloseReport, ErrorKind, Producer, Record, Result, TryEnqueueError, Written};
use milena_tests::cluster::TestCluster;
use milena_tests::eventually::eventually;
use milena_tests::proxy::Proxy;

use crate::{GENEROUS, client, logged, producer, soon};

#[tokio::test]
async fn flush_waits_for_what_was_enqueued_and_reports_each_unawaited_failure_once() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic_with("flush", 1, &[("max.message.bytes", "2000")]).await;
    let producer = producer(&cluster).await;
    let (fine, large) = ("v".repeat(100), "v".repeat(3_000));

    for _ in 0..10 {
        producer.enqueue(Record::to(&topic).value(&fine)).await?.detach();
    }
    producer.flush().await?;
    assert_eq!(cluster.log(&topic, 0).await.len(), 10);

    producer.enqueue(Record::to(&topic).value(&large)).await?.detach();
    drop(producer.enqueue(Record::to(&topic).value(&large)).await?);
    let alive = producer.enqueue(Record::to(&topic).value(&large)).await?;
    producer.enqueue(Record::to(&topic).value(&fine)).await?.detach();
    let error = producer.flush().await.unwrap_err();
    assert!(error.to_string().starts_with("2 records failed that nobody awaited"), "{error}");
    assert_eq!(error.written(), Written::No);
    producer.clone().flush().await?; // once, for all clones
    alive.await.unwrap_err(); // reports for itself
    producer.flush().await?;
    assert_eq!(cluster.log(&topic, 0).await.len(), 11);
    Ok(())
}

#[tokio::test]
async fn close_sends_what_there_is_counts_it_and_takes_no_more() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic_with("close", 1, &[("max.message.bytes", "2000")]).await;
    let long = Duration::from_secs(3600);
    let builder = client(&cluster).await.producer().linger(long).delivery_timeout(2 * long);
    let producer = builder.build().await?;
    for _ in 0..7 {
        producer.enqueue(Record::to(&topic).value("v")).await?.detach();
    }
    let report = producer.clone().close(GENEROUS).await;
    assert_eq!(report, CloseReport { acked: 7, not_written: 0, maybe_written: 0 });
    assert_eq!(cluster.log(&topic, 0).await.len(), 7);
    assert_eq!(producer.close(GENEROUS).await, report, "a second time");

    refuses_everything(&producer, &topic).await;
    producer.flush().await?; // there is nothing to flush
    Ok(())
}

async fn refuses_everything(producer: &Producer, topic: &str) {
    let record = || Record::to(topic).value("late");
    for error in [
        producer.send(record()).await.unwrap_err(),
        producer.enqueue(record()).await.unwrap_err(),
        producer.topic(topic).await.unwrap_err(),
    ] {
        assert_eq!(
            (error.kind(), error.written(), error.is_fatal()),
            (ErrorKind::Closed, Written::No, true),
            "{error}"
        );
    }
    match producer.try_enqueue(&record()) {
        Err(TryEnqueueError::Rejected(error)) => assert_eq!(error.kind(), ErrorKind::Closed),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn close_is_bounded_when_nobody_answers_and_tells_what_may_be_written() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("gone", 1).await;
    let proxy = Proxy::new();
    let client = Client::builder().bootstrap([cluster.bootstrap()]).connector(proxy.connector()).connect().await?;
    let producer = client.producer().max_in_flight(1).build().await?;
    producer.send(Record::to(&topic).value("acked")).await?;

    proxy.hold_answers();
    let sent = producer.enqueue(Record::to(&topic).value("sent")).await?;
    proxy.until_produced(2).await;
    let unsent = producer.enqueue(Record::to(&topic).value("unsent")).await?;
    let report = soon("close", producer.close(Duration::from_millis(100))).await;
    assert_eq!(report, CloseReport { acked: 1, not_written: 1, maybe_written: 1 });
    let (sent, unsent) = (sent.await.unwrap_err(), unsent.await.unwrap_err());
    assert_eq!((sent.kind(), sent.written()), (ErrorKind::Closed, Written::Maybe), "{sent}");
    assert_eq!((unsent.kind(), unsent.written()), (ErrorKind::Closed, Written::No), "{unsent}");
    assert_eq!(logged(&cluster, &topic, 0, 2).await.len(), 2, "it was written indeed");
    soon("the client to close", client.close(Duration::from_millis(100))).await;
    Ok(())
}

#[tokio::test]
async fn a_closed_client_settles_its_producers_and_everything_later_is_refused() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("closed-client", 1).await;
    let client = client(&cluster).await;
    let long = Duration::from_secs(3600);
    let producer = client.producer().linger(long).delivery_timeout(2 * long).build().await?;
    let delivery = producer.enqueue(Record::to(&topic).value("v")).await?;
    client.clone().close(GENEROUS).await;
    assert_eq!(delivery.await?.offset, Some(0));

    refuses_everything(&producer, &topic).await;
    for error in [
        client.producer().build().await.unwrap_err(),
        client.create_topic("late", 1, 1).await.unwrap_err(),
        client.delete_topic(&topic).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    }
    Ok(())
}

#[tokio::test]
async fn what_was_enqueued_is_delivered_even_if_the_producer_is_dropped() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("dropped", 1).await;
    let long = Duration::from_secs(3600);
    let producer = client(&cluster).await.producer().linger(long).delivery_timeout(2 * long).build().await?;
    let delivery = producer.enqueue(Record::to(&topic).value("awaited")).await?;
    producer.enqueue(Record::to(&topic).value("detached")).await?.detach();
    drop(producer);
    assert_eq!(soon("the delivery", delivery).await?.offset, Some(0));
    assert_eq!(logged(&cluster, &topic, 0, 2).await.len(), 2);
    Ok(())
}

#[tokio::test]
async fn a_record_that_runs_out_of_time_says_truly_whether_it_may_be_written() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("expired", 1).await;
    let proxy = Proxy::new();
    let builder = Client::builder().bootstrap([cluster.bootstrap()]).connector(proxy.connector());
    let client = builder.request_timeout(Duration::from_millis(900)).connect().await?;
    let producer = client.producer().delivery_timeout(Duration::from_secs(1)).max_in_flight(1).build().await?;
    // A busy machine may need more than one second.
    let send = async |value| {
        let sent = async || producer.send(Record::to(&topic).value(value)).await.ok();
        eventually("a record to be written in time", sent).await
    };
    send("first").await;

    proxy.hold_answers();
    let before = proxy.produced();
    let sent = producer.enqueue(Record::to(&topic).value("sent")).await?;
    proxy.until_produced(before + 1).await;
    let unsent = producer.enqueue(Record::to(&topic).value("unsent")).await?;
    let (sent, unsent) = (soon("expiry", sent).await.unwrap_err(), soon("expiry", unsent).await.unwrap_err());
    assert_eq!((sent.kind(), sent.written()), (ErrorKind::TimedOut, Written::Maybe), "{sent}");
    assert_eq!(unsent.kind(), ErrorKind::TimedOut, "{unsent}");
    assert!(unsent.topic_partition().is_some() && unsent.to_string().contains(&topic), "{unsent}");

    proxy.release();
    proxy.cut();
    send("last").await;
    let log = cluster.log(&topic, 0).await;
    let values: Vec<_> = log.iter().map(|record| record.text()).collect();
    assert_eq!(values.iter().filter(|value| **value == "sent").count(), 1, "{values:?}");
    assert_eq!((values[0], *values.last().unwrap()), ("first", "last"), "{values:?}");
    if unsent.written() == Written::No {
        assert!(!values.contains(&"unsent"), "{values:?}");
    }
    Ok(())
}
