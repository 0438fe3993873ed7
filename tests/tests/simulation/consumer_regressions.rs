//! What once went wrong with reading and committing, each as the shortest way there.

use std::time::Duration;

use milena::{ApiKey, CommitPolicy, ErrorCode, ErrorKind, Offsets, Position, Record, TopicPartition};
use milena_mock_broker::{Fault, Topic};
use tokio::time::{Instant, sleep};

use crate::world::{World, dropped_after, run};

async fn write(world: &World, topic: &str, count: usize) {
    let producer = world.client().await.producer().build().await.unwrap();
    for _ in 0..count {
        producer.send(Record::to(topic).partition(0).value("v")).await.unwrap();
    }
}

#[test]
fn an_offset_of_a_deleted_topic_is_not_stored_for_its_successor() {
    run(1, async |world| {
        write(&world, "orders", 10).await;
        let client = world.client().await;
        let reader = client.consumer("g").assign([(("orders", 0), Position::Beginning)]);
        let mut consumer = reader.commit_policy(CommitPolicy::Manual).build().await.unwrap();
        let mut last = None;
        for _ in 0..10 {
            last = consumer.next().await.unwrap();
        }
        let last = last.unwrap();
        world.cluster.recreate_topic("orders");
        // The metadata is news by then.
        sleep(Duration::from_secs(400)).await;
        write(&world, "orders", 20).await;

        let refused = consumer.commit(&last).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::PartitionLost, "{refused}");
        drop(last);
        let first = consumer.next().await.unwrap().unwrap();
        assert_eq!(first.offset(), 0);
        consumer.commit(&first).await.unwrap();
        drop(first);
        consumer.close(Duration::from_secs(5)).await.unwrap();
        let mut consumer = client.consumer("g").assign([(("orders", 0), Position::Committed)]).build().await.unwrap();
        assert_eq!(consumer.next().await.unwrap().unwrap().offset(), 1);
    });
}

#[test]
fn an_offset_of_a_deleted_topic_is_not_stored_either_before_the_metadata_tells_of_it() {
    run(1, async |world| {
        write(&world, "orders", 3).await;
        let client = world.client().await;
        let reader = client.consumer("g").assign([(("orders", 0), Position::Beginning)]);
        let mut consumer = reader.commit_policy(CommitPolicy::Manual).build().await.unwrap();
        let record = consumer.next().await.unwrap().unwrap();
        world.cluster.recreate_topic("orders");

        let refused = consumer.commit(&record).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::PartitionLost, "{refused}");
        assert_eq!(world.cluster.group("g").committed("orders", 0), None);
    });
}

#[test]
fn a_commit_that_nobody_polls_holds_up_no_other() {
    run(1, async |world| {
        write(&world, "orders", 3).await;
        let client = world.client().await;
        let mut consumer = client.consumer("g").assign([(("orders", 0), Position::Beginning)]).build().await.unwrap();
        for _ in 0..2 {
            drop(consumer.next().await.unwrap());
        }
        let control = consumer.control().clone();
        let mut first = Box::pin(control.commit(Offsets::at(("orders", 0), 2)));
        assert!(dropped_after(1, &mut first).await.is_none(), "it takes a while");

        let start = Instant::now();
        control.commit(Offsets::at(("orders", 0), 1)).await.unwrap();
        assert_eq!(world.cluster.group("g").committed("orders", 0), Some(1), "the later one is stored last");
        consumer.close(Duration::from_secs(20)).await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        first.await.unwrap();
    });
}

#[test]
fn a_commit_that_was_dropped_does_not_overtake_a_later_one() {
    run(1, async |world| {
        write(&world, "orders", 3).await;
        let client = world.client().await;
        let reader = client.consumer("g").assign([(("orders", 0), Position::Beginning)]);
        let mut consumer = reader.commit_policy(CommitPolicy::Manual).build().await.unwrap();
        for _ in 0..3 {
            drop(consumer.next().await.unwrap());
        }
        for polls in 1..20 {
            // The broker refuses the first for a moment, so that it has to be tried again.
            let refusal = Fault::on(ApiKey::OFFSET_COMMIT).times(1).error(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
            let refusal = world.cluster.fault(refusal);
            dropped_after(polls, consumer.commit(Offsets::at(("orders", 0), 3))).await;
            consumer.commit(Offsets::at(("orders", 0), 2)).await.unwrap();
            sleep(Duration::from_secs(5)).await;
            assert_eq!(world.cluster.group("g").committed("orders", 0), Some(2), "{polls} polls");
            drop(refusal);
        }
    });
}

#[test]
fn a_deleted_topic_does_not_hold_up_the_commits_of_others() {
    run(1, async |world| {
        world.cluster.create_topic(Topic::new("other").partitions(1));
        write(&world, "orders", 3).await;
        write(&world, "other", 3).await;
        let client = world.client().await;
        let both = [(("orders", 0), Position::Beginning), (("other", 0), Position::Beginning)];
        let mut consumer = client.consumer("g").assign(both).build().await.unwrap();
        for _ in 0..6 {
            drop(consumer.next().await.unwrap());
        }
        world.cluster.delete_topic("other");
        sleep(Duration::from_secs(6)).await;

        let start = Instant::now();
        consumer.commit(Offsets::at(("orders", 0), 2)).await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        let both = Offsets::at(("orders", 0), 1).and(("other", 0), 1);
        let refused = consumer.commit(both).await.unwrap_err();
        assert_eq!(refused.topic_partition(), Some(&("other", 0).into()), "{refused}");
        assert_eq!(world.cluster.group("g").committed("orders", 0), Some(1));
        assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
        consumer.close(Duration::from_secs(20)).await.unwrap();
        assert_eq!(world.cluster.group("g").committed("orders", 0), Some(3));
    });
}

#[test]
fn a_consumer_may_be_closed_without_a_deadline() {
    run(1, async |world| {
        write(&world, "orders", 1).await;
        let client = world.client().await;
        let mut consumer = client.consumer("g").assign([(("orders", 0), Position::Beginning)]).build().await.unwrap();
        drop(consumer.next().await.unwrap());
        consumer.close(Duration::MAX).await.unwrap();
        assert_eq!(world.cluster.group("g").committed("orders", 0), Some(1));

        let mut member = client.consumer("members").subscribe(["orders"]).build().await.unwrap();
        drop(member.next().await.unwrap());
        member.close(Duration::MAX).await.unwrap();
        assert_eq!(world.cluster.group("members").committed("orders", 0), Some(1));
    });
}

#[test]
fn a_record_that_is_held_past_the_deadline_does_not_hold_up_the_group() {
    run(1, async |world| {
        for partition in 0..6 {
            let producer = world.client().await.producer().build().await.unwrap();
            producer.send(Record::to("orders").partition(partition).value("v")).await.unwrap();
        }
        // Five seconds of thirty are kept for what comes after the revocation.
        let member = async || {
            let builder = world.client().await.consumer("g").subscribe(["orders"]).assignors(["range"]);
            builder.max_poll_interval(Duration::from_secs(30)).build().await.unwrap()
        };
        let mut first = member().await;
        let mut held = Vec::new();
        while held.len() < 6 {
            held.extend(first.next().await.unwrap());
        }
        // A read waits all the time, so that nobody can call the application idle.
        let control = first.control().clone();
        let reading = tokio::spawn(async move { first.next().await.map(drop) });
        let second = member().await;
        let joined = Instant::now();
        while second.control().assignment().is_empty() {
            assert!(joined.elapsed() < Duration::from_secs(29), "the group waits for a held record");
            sleep(Duration::from_millis(100)).await;
        }
        assert!(joined.elapsed() > Duration::from_secs(20), "it did not wait: {:?}", joined.elapsed());
        for record in &held {
            assert_eq!(control.commit(record).await.unwrap_err().kind(), ErrorKind::PartitionLost);
        }
        drop(held);
        reading.abort();
    });
}

#[test]
fn a_partition_may_be_asked_for_twice_what_is_committed_of_it() {
    run(1, async |world| {
        write(&world, "orders", 5).await;
        let reader = world.client().await.consumer("g").assign([(("orders", 0), Position::Beginning)]);
        let mut consumer = reader.commit_policy(CommitPolicy::Manual).build().await.unwrap();
        let record = consumer.next().await.unwrap().unwrap();
        consumer.commit(&record).await.unwrap();
        let partition = TopicPartition::new("orders", 0);
        let committed = consumer.control().committed(&[partition.clone(), partition]).await.unwrap();
        assert_eq!(committed, [Some(1), Some(1)]);
    });
}

#[test]
fn somebody_elses_topic_was_not_created_by_a_request_that_was_refused_before() {
    run(1, async |world| {
        let client = world.client().await;
        for (api, code) in [
            (ApiKey::CREATE_TOPICS, ErrorCode::TOPIC_ALREADY_EXISTS),
            (ApiKey::DELETE_TOPICS, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        ] {
            let _fault = world.cluster.fault(Fault::on(api).error(ErrorCode::NOT_CONTROLLER));
            let refused = match api {
                ApiKey::CREATE_TOPICS => client.create_topic("orders", 1, 1).await,
                _ => client.delete_topic("none").await,
            };
            assert_eq!(refused.unwrap_err().code(), Some(code));
        }
        let _fault =
            world.cluster.fault(Fault::on(ApiKey::CREATE_TOPICS).apply_then_error(ErrorCode::REQUEST_TIMED_OUT));
        client.create_topic("ours", 1, 1).await.unwrap();
    });
}
