//! Topics created and deleted by the client, and those that are not there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use milena::{Client, ErrorCode, ErrorKind, Position, ProducerEvent, Record, Result, Written};
use milena_tests::cluster::{Logged, TestCluster, is_older_than};
use milena_tests::eventually::eventually;

use crate::{client, create_anew, soon};

#[tokio::test]
async fn a_created_topic_is_there_at_once_and_a_deleted_one_is_not() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.unique("created");
    let client = client(&cluster).await;
    client.create_topic(&topic, 3, 2).await?;
    let receipt = client.producer().build().await?.send(Record::to(&topic).partition(2).value("v")).await?;
    assert_eq!(receipt.offset, Some(0));
    assert_eq!(cluster.in_sync(&topic, 2).await.len(), 2, "replicas");

    client.delete_topic(&topic).await?;
    let another = Client::connect(&cluster.bootstrap()).await?;
    let producer = another.producer().max_block(Duration::from_secs(3)).build().await?;
    let error = producer.send(Record::to(&topic).value("v")).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), "{error}");
    Ok(())
}

#[tokio::test]
async fn topics_that_cannot_be_created_or_deleted_say_why() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let client = client(&cluster).await;
    let topic = cluster.topic("exists", 1).await;
    let unknown = cluster.unique("unknown");
    let errors = [
        (client.create_topic(&topic, 1, 1).await, ErrorCode::TOPIC_ALREADY_EXISTS, topic.as_str()),
        (client.create_topic("a/b", 1, 1).await, ErrorCode::INVALID_TOPIC_EXCEPTION, "a/b"),
        (client.create_topic(&unknown, 1, 4).await, ErrorCode::INVALID_REPLICATION_FACTOR, unknown.as_str()),
        (client.create_topic(&unknown, 0, 1).await, ErrorCode::INVALID_PARTITIONS, unknown.as_str()),
        (client.delete_topic(&unknown).await, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, unknown.as_str()),
    ];
    for (result, code, name) in errors {
        let error = result.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Broker, Some(code)), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    Ok(())
}

#[tokio::test]
async fn a_topic_that_does_not_exist_is_an_error_within_max_block() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let client = client(&cluster).await;
    let topic = cluster.unique("misspelt");
    let producer = client.producer().max_block(Duration::from_secs(3)).build().await?;
    let sent = producer.send(Record::to(&topic).value("v")).await.unwrap_err();
    let loaded = producer.topic(&topic).await.unwrap_err();
    for error in [sent, loaded] {
        assert_eq!(error.code(), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), "{error}");
        assert_eq!((error.kind(), error.written()), (ErrorKind::Broker, Written::No), "{error}");
        assert!(error.to_string().contains(&topic), "{error}");
    }

    // One that appears in time is no error.
    let producer = client.producer().build().await?;
    let late = cluster.unique("late");
    let send = producer.send(Record::to(&late).value("v"));
    let (sent, created) = tokio::join!(send, client.create_topic(&late, 1, 3));
    created?;
    assert_eq!(sent?.offset, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_reader_of_a_topic_that_does_not_exist_gets_an_error() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let client = client(&cluster).await;
    let topic = cluster.unique("misspelt");
    let assigned = client.reader().assign([((topic.as_str(), 0), Position::Beginning)]).build();
    let error = match soon("an answer", assigned).await {
        Err(error) => error,
        Ok(mut reader) => soon("an error", reader.next()).await.unwrap_err(),
    };
    assert_eq!(error.code(), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), "{error}");
    assert!(error.to_string().contains(&topic), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_partition_that_does_not_exist_is_an_error_that_says_how_many_there_are() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("three", 3).await;
    let client = client(&cluster).await;
    let producer = client.producer().build().await?;
    for partition in [3, -1] {
        let error = producer.send(Record::to(&topic).partition(partition).value("v")).await.unwrap_err();
        assert_eq!((error.kind(), error.written()), (ErrorKind::Usage, Written::No), "{error}");
        let text = error.to_string();
        assert!(text.contains(&topic) && text.contains(&partition.to_string()) && text.contains("it has 3"), "{text}");
    }
    let assigned = client.reader().assign([((topic.as_str(), 3), Position::Beginning)]).build();
    let error = match soon("an answer", assigned).await {
        Err(error) => error,
        Ok(mut reader) => soon("an error", reader.next()).await.unwrap_err(),
    };
    assert!(error.to_string().contains(&format!("{topic}-3")) || error.to_string().contains("partition 3"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_topic_that_was_created_anew_is_another_one() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("anew", 1).await;
    let client = client(&cluster).await;
    let recreated = Arc::new(Mutex::new(false));
    let seen = recreated.clone();
    let listener = move |event: &ProducerEvent| {
        if let ProducerEvent::TopicRecreated { .. } = event {
            *seen.lock().unwrap() = true;
        }
    };
    let producer = client.producer().on_event(listener).build().await?;
    for _ in 0..5 {
        producer.send(Record::to(&topic).value("old")).await?;
    }
    create_anew(&client, &topic, 1).await?;
    // Until the producer knows, records for the old topic fail, truly unwritten; where topics go by their names, they may reach
    // the new one.
    let by_id = !is_older_than((4, 1));
    let receipt = eventually("a record to go to the new topic", async || {
        let sent = soon("an answer", producer.send(Record::to(&topic).value("new"))).await;
        sent.inspect_err(|error| assert!(error.written() == Written::No || !by_id, "{error}")).ok()
    })
    .await;
    let log = cluster.log(&topic, 0).await;
    assert!(log.iter().all(|record| record.text() == "new") && receipt.offset < Some(log.len() as i64), "{log:?}");
    if by_id {
        assert_eq!((receipt.offset, log.len(), *recreated.lock().unwrap()), (Some(0), 1, true));
    }
    Ok(())
}

#[tokio::test]
async fn what_reached_a_topic_created_anew_is_not_taken_for_what_comes_next() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("unnoticed", 1).await;
    let leader = cluster.leader(&topic, 0).await;
    let client = client(&cluster).await;
    let recreated = Arc::new(AtomicBool::new(false));
    let seen = recreated.clone();
    let listener = move |event: &ProducerEvent| {
        seen.fetch_or(matches!(event, ProducerEvent::TopicRecreated { .. }), Ordering::Relaxed);
    };
    let producer = client.producer().on_event(listener).build().await?;
    producer.topic(&topic).await?;
    create_anew(&crate::client(&cluster).await, &topic, 1).await?;
    cluster.elect(&topic, 0, leader).await;
    cluster.until_led(&topic, 0).await;

    // Where topics go by their names, the first record is written before the producer knows.
    let first = soon("an answer", producer.send(Record::to(&topic).value("a"))).await;
    producer.topic(&cluster.topic("another", 1).await).await?; // which asks for all metadata
    eventually("the producer to know", async || recreated.load(Ordering::Relaxed).then_some(())).await;
    producer.send(Record::to(&topic).value("b")).await?;

    let expected: &[&str] = if first.is_ok() { &["a", "b"] } else { &["b"] };
    let log = cluster.log(&topic, 0).await;
    assert_eq!(log.iter().map(Logged::text).collect::<Vec<_>>(), expected);
    Ok(())
}
