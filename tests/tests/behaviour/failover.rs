//! Lost answers, broken connections, moved leaders, crashed brokers: every record that was acknowledged is in the log once, in
//! order.

use std::time::Duration;

use milena::{ApiKey, Client, Delivery, ErrorCode, Position, Producer, Record, Result, Written};
use milena_mock_broker::Fault;
use milena_tests::cluster::TestCluster;
use milena_tests::eventually::eventually;
use milena_tests::proxy::Proxy;

use crate::order::{assert_exactly_once_in_order, by_key};
use crate::{client, read, soon, texts, write};

const KEYS: usize = 7;

/// Enqueues one record with this number for each key.
async fn enqueue_round(producer: &Producer, topic: &str, number: u32) -> Result<Vec<Delivery>> {
    let (mut deliveries, value) = (Vec::new(), number.to_string());
    for key in 0..KEYS {
        deliveries.push(producer.enqueue(Record::to(topic).key(&format!("key-{key}")).value(&value)).await?);
    }
    Ok(deliveries)
}

async fn all_written(deliveries: Vec<Delivery>) -> Result<()> {
    soon("every delivery", async {
        for delivery in deliveries {
            delivery.await?;
        }
        Ok(())
    })
    .await
}

async fn through(proxy: &Proxy, cluster: &TestCluster) -> Result<Client> {
    Client::builder().bootstrap([cluster.bootstrap()]).connector(proxy.connector()).connect().await
}

#[tokio::test]
async fn a_lost_answer_does_not_duplicate_a_record() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("lost-answer", 1).await;
    let proxy = Proxy::new();
    let producer = through(&proxy, &cluster).await?.producer().build().await?;
    producer.send(Record::to(&topic).value("before")).await?;

    proxy.lose_next_produce_answer();
    let receipt = soon("a receipt", producer.send(Record::to(&topic).value("once"))).await?;
    proxy.until_lost(1).await;
    assert_eq!(receipt.offset, Some(1), "a broker still knows where a duplicate is");
    producer.send(Record::to(&topic).value("after")).await?;
    let mut expected = vec!["before", "once", "after"];
    if let Some(mock) = cluster.mock() {
        let lost = mock.fault(Fault::on(ApiKey::PRODUCE).topic(&topic).apply_then_disconnect());
        producer.send(Record::to(&topic).value("once more")).await?;
        assert_eq!(lost.hits(), 1);
        expected.push("once more");
    }
    let log = cluster.log(&topic, 0).await;
    assert_eq!(log.iter().map(|record| record.text()).collect::<Vec<_>>(), expected);
    Ok(())
}

#[tokio::test]
async fn five_batches_whose_answers_are_all_lost_are_each_written_once_in_order() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("in-flight", 1).await;
    let proxy = Proxy::new();
    let producer = through(&proxy, &cluster).await?.producer().linger(Duration::ZERO).build().await?;
    producer.send(Record::to(&topic).value("0")).await?;

    for round in 0..4 {
        proxy.hold_answers();
        let sent = proxy.produced();
        let mut deliveries = Vec::new();
        for number in 1..=5 {
            let value = (round * 5 + number).to_string();
            deliveries.push(producer.enqueue(Record::to(&topic).value(&value)).await?);
            soon("a request of its own", proxy.until_produced(sent + number)).await;
        }
        proxy.cut();
        proxy.release();
        all_written(deliveries).await?;
    }
    let log = cluster.log(&topic, 0).await;
    let values: Vec<u64> = log.iter().map(|record| record.text().parse().unwrap()).collect();
    assert_eq!(values, (0..=20).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test]
async fn connections_that_break_all_the_time_lose_and_double_nothing() -> Result<()> {
    const ROUNDS: u32 = 200;
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("cuts", 3).await;
    let proxy = Proxy::new();
    let producer = through(&proxy, &cluster).await?.producer().build().await?;
    let mut deliveries = Vec::new();
    for number in 0..ROUNDS {
        deliveries.extend(enqueue_round(&producer, &topic, number).await?);
        if number % 20 == 10 {
            let sent = proxy.produced();
            soon("a request under way", proxy.until_produced(sent + 1)).await;
            proxy.cut();
        }
    }
    all_written(deliveries).await?;
    assert_exactly_once_in_order(&by_key(&cluster, &topic, 3).await, KEYS, ROUNDS);
    Ok(())
}

#[tokio::test]
async fn records_follow_a_leader_that_moves() -> Result<()> {
    const MOVES: u32 = 3;
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("moving", 2).await;
    let producer = client(&cluster).await.producer().build().await?;
    let mut deliveries = Vec::new();
    let mut number = 0;
    for _ in 0..MOVES {
        let moving = cluster.move_leader(&topic, 0);
        tokio::pin!(moving);
        loop {
            deliveries.extend(enqueue_round(&producer, &topic, number).await?);
            number += 1;
            tokio::select! {
                biased;
                _ = &mut moving => break,
                flushed = producer.flush() => flushed?,
            }
        }
    }
    all_written(deliveries).await?;
    assert_exactly_once_in_order(&by_key(&cluster, &topic, 2).await, KEYS, number);
    Ok(())
}

#[tokio::test]
async fn a_reader_follows_a_leader_that_moves() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("moving-reader", 1).await;
    let client = client(&cluster).await;
    let producer = client.producer().build().await?;
    let mut reader = client.reader().assign([((topic.as_str(), 0), Position::Beginning)]).build().await?;
    let mut expected = Vec::new();
    let mut found = Vec::new();
    for round in 0..4 {
        let values: Vec<String> = (0..10).map(|number| format!("{round}-{number}")).collect();
        write(&producer, &topic, 0, &values.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        found.extend(texts(&read(&mut reader, 10).await).into_iter().map(str::to_owned));
        expected.extend(values);
        if round < 3 {
            cluster.move_leader(&topic, 0).await;
        }
    }
    assert_eq!(found, expected);
    Ok(())
}

/// Kills the leader of a partition while one client writes and another reads, and starts it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_crashes_and_comes_back_while_records_are_written_and_read() -> Result<()> {
    const PARTITIONS: i32 = 3;
    let cluster = TestCluster::own().await;
    let topic = cluster.topic_with("crash", PARTITIONS, &[("min.insync.replicas", "2")]).await;
    let client = client(&cluster).await;
    let producer = client.producer().build().await?;
    let partitions = (0..PARTITIONS).map(|partition| ((topic.as_str(), partition), Position::Beginning));
    let mut reader = client.reader().assign(partitions).build().await?;
    let reading = tokio::spawn(async move {
        let (mut next, mut ended) = ([0; PARTITIONS as usize], 0);
        while ended < PARTITIONS {
            let record = soon("a record", reader.next()).await?.expect("nobody stops it");
            let next = &mut next[record.partition() as usize];
            assert_eq!(record.offset(), *next, "the next record of partition {}", record.partition());
            *next += 1;
            ended += i32::from(record.value() == Some(b"end"));
        }
        Result::Ok(next)
    });

    let (stop, stopped) = tokio::sync::watch::channel(false);
    let writing = tokio::spawn({
        let (producer, topic) = (producer.clone(), topic.clone());
        async move {
            let (mut deliveries, mut rounds) = (Vec::new(), 0);
            while !*stopped.borrow() {
                deliveries.extend(enqueue_round(&producer, &topic, rounds).await?);
                rounds += 1;
                if rounds % 10 == 0 {
                    tokio::task::yield_now().await;
                    producer.flush().await?;
                }
            }
            all_written(deliveries).await?;
            Result::Ok(rounds)
        }
    });
    let leader = cluster.leader(&topic, 0).await;
    cluster.crash(leader).await;
    eventually("another leader", async || {
        let next = cluster.leader(&topic, 0).await;
        (next != leader).then_some(())
    })
    .await;
    let before = cluster.end(&topic, 0).await;
    eventually("records under the next leader", async || (cluster.end(&topic, 0).await > before).then_some(())).await;
    cluster.restart(leader).await;
    eventually("the broker that came back to catch up", async || {
        cluster.in_sync(&topic, 0).await.contains(&leader).then_some(())
    })
    .await;
    stop.send_replace(true);
    let rounds = writing.await.expect("no panic")?;

    assert_exactly_once_in_order(&by_key(&cluster, &topic, PARTITIONS).await, KEYS, rounds);
    for partition in 0..PARTITIONS {
        producer.send(Record::to(&topic).partition(partition).value("end")).await?;
    }
    let read: i64 = reading.await.expect("no panic")?.iter().sum();
    assert_eq!(read, i64::from(rounds) * KEYS as i64 + i64::from(PARTITIONS));
    Ok(())
}

#[tokio::test]
async fn too_few_replicas_in_sync_is_waited_for_and_then_told() -> Result<()> {
    let cluster = TestCluster::own().await;
    let topic = cluster.topic_with("all-in-sync", 1, &[("min.insync.replicas", "3")]).await;
    let client =
        Client::builder().bootstrap([cluster.bootstrap()]).request_timeout(Duration::from_secs(2)).connect().await?;
    let patient = client.producer().build().await?;
    let hasty = client.producer().delivery_timeout(Duration::from_millis(2_500)).build().await?;
    patient.send(Record::to(&topic).value("all")).await?;
    eventually("a record in 2.5 s", async || hasty.send(Record::to(&topic).value("all")).await.ok()).await;

    let leader = cluster.leader(&topic, 0).await;
    let follower = [1, 2, 3].into_iter().find(|id| *id != leader).unwrap();
    cluster.crash(follower).await;
    eventually("the in-sync replicas to be two", async || (cluster.in_sync(&topic, 0).await.len() == 2).then_some(()))
        .await;
    let waiting = patient.enqueue(Record::to(&topic).value("patient")).await?;
    let error = soon("the hasty one", hasty.send(Record::to(&topic).value("hasty"))).await.unwrap_err();
    assert!(error.code().is_none_or(|code| code == ErrorCode::NOT_ENOUGH_REPLICAS), "{error}");
    let written = error.written();
    assert!(waiting.try_result().is_none());
    cluster.restart(follower).await;
    soon("the patient one", waiting).await?;
    if written == Written::No {
        assert!(cluster.log(&topic, 0).await.iter().all(|record| record.text() != "hasty"));
    }
    Ok(())
}
