//! A future of a member dropped at every one of its polls leaves what its documentation says.

use std::time::Duration;

use milena::{CommitPolicy, Consumer, Record};

use crate::cancellation::at_every_poll;
use crate::members::GROUP;
use crate::world::{World, dropped_after};

const SOON: Duration = Duration::from_secs(60);

/// Five records in partition 0, and a member that reads them.
async fn member(world: &World, policy: CommitPolicy) -> Consumer {
    let client = world.client().await;
    let producer = client.producer().build().await.unwrap();
    for value in ["0", "1", "2", "3", "4"] {
        producer.send(Record::to("orders").partition(0).value(value)).await.unwrap();
    }
    let builder = client.consumer(GROUP).subscribe(["orders"]).commit_policy(policy);
    // Nothing is committed in the background.
    builder.auto_commit_interval(Duration::from_secs(3600)).build().await.unwrap()
}

fn committed(world: &World) -> Option<i64> {
    world.cluster.group(GROUP).committed("orders", 0)
}

async fn acked(consumer: &mut Consumer, count: usize) {
    for _ in 0..count {
        consumer.next().await.unwrap().unwrap().ack();
    }
}

#[test]
fn next_dropped_loses_no_record_and_repeats_none() {
    at_every_poll(async |world, polls| {
        let mut consumer = member(&world, CommitPolicy::Returned).await;
        let first = dropped_after(polls, consumer.next()).await;
        let done = first.is_some();
        let mut offsets: Vec<_> = first.into_iter().map(|record| record.unwrap().unwrap().offset()).collect();
        while offsets.len() < 5 {
            offsets.push(consumer.next().await.unwrap().unwrap().offset());
        }
        assert_eq!(offsets, [0, 1, 2, 3, 4]);
        consumer.close(SOON).await.unwrap();
        assert_eq!(committed(&world), Some(5));
        done
    });
}

#[test]
fn next_batch_dropped_loses_no_record_and_repeats_none() {
    at_every_poll(async |world, polls| {
        let mut consumer = member(&world, CommitPolicy::Acked).await;
        let first = dropped_after(polls, consumer.next_batch(2)).await;
        let done = first.is_some();
        let mut offsets = Vec::new();
        if let Some(batch) = first {
            let batch = batch.unwrap().unwrap();
            offsets.extend(batch.iter().map(|record| record.offset));
            batch.ack();
        }
        while offsets.len() < 5 {
            let batch = consumer.next_batch(2).await.unwrap().unwrap();
            offsets.extend(batch.iter().map(|record| record.offset));
            batch.ack();
        }
        assert_eq!(offsets, [0, 1, 2, 3, 4]);
        consumer.close(SOON).await.unwrap();
        assert_eq!(committed(&world), Some(5));
        done
    });
}

#[test]
fn commit_dropped_has_stored_the_offset_or_has_not_and_the_next_one_does() {
    at_every_poll(async |world, polls| {
        let mut consumer = member(&world, CommitPolicy::Manual).await;
        let record = consumer.next().await.unwrap().unwrap();
        let stored = dropped_after(polls, consumer.commit(&record)).await;
        if let Some(stored) = &stored {
            assert!(stored.is_ok());
            assert_eq!(committed(&world), Some(1));
        }
        assert!(matches!(committed(&world), None | Some(1)));
        drop(record);
        let record = consumer.next().await.unwrap().unwrap();
        consumer.commit(&record).await.unwrap();
        assert_eq!(committed(&world), Some(2));
        drop(record);
        consumer.close(SOON).await.unwrap();
        assert_eq!(committed(&world), Some(2), "a late first commit does not undo the second");
        stored.is_some()
    });
}

#[test]
fn commit_done_dropped_has_stored_what_is_done_or_has_not() {
    at_every_poll(async |world, polls| {
        let mut consumer = member(&world, CommitPolicy::Acked).await;
        acked(&mut consumer, 3).await;
        let stored = dropped_after(polls, consumer.control().commit_done()).await;
        assert!(matches!(committed(&world), None | Some(3)));
        acked(&mut consumer, 2).await;
        consumer.close(SOON).await.unwrap();
        assert_eq!(committed(&world), Some(5));
        stored.is_some()
    });
}

#[test]
fn close_dropped_has_left_the_group_and_committed_what_is_done_or_nothing() {
    at_every_poll(async |world, polls| {
        let mut consumer = member(&world, CommitPolicy::Acked).await;
        acked(&mut consumer, 3).await;
        let closed = dropped_after(polls, consumer.close(SOON)).await;
        let began = tokio::time::Instant::now();
        world.cluster.until("nobody is in the group", |now| now.group_members(GROUP).is_empty()).await;
        assert!(began.elapsed() < Duration::from_secs(5), "it left: nobody waited for its session to end");
        let stored = committed(&world);
        assert!(matches!(stored, None | Some(3)));
        assert!(closed.is_none() || stored == Some(3));
        closed.is_some()
    });
}
