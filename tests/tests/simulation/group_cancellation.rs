//! A future of a member dropped at every one of its polls leaves what its documentation says.

use std::time::Duration;

use futures_util::StreamExt;
use milena::{ApiKey, CommitPolicy, Consumer, ErrorKind, Offsets, Position, Record};
use tokio::time::sleep;

use crate::cancellation::at_every_poll;
use crate::members::GROUP;
use crate::world::{World, dropped_after, run};

const SOON: Duration = Duration::from_secs(60);

/// Five records in partition 0, and a member that reads them.
async fn member(world: &World, policy: CommitPolicy) -> Consumer {
    written(world).await;
    let builder = world.client().await.consumer(GROUP).subscribe(["orders"]).commit_policy(policy);
    // Nothing is committed in the background.
    builder.auto_commit_interval(Duration::from_secs(3600)).build().await.unwrap()
}

async fn written(world: &World) {
    let producer = world.client().await.producer().build().await.unwrap();
    for value in ["0", "1", "2", "3", "4"] {
        producer.send(Record::to("orders").partition(0).value(value)).await.unwrap();
    }
}

fn requests(world: &World, api: ApiKey) -> usize {
    world.cluster.journal().requests(api).len()
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

#[test]
fn build_dropped_leaves_nothing_behind() {
    at_every_poll(async |world, polls| {
        written(&world).await;
        let builder = world.client().await.consumer(GROUP).assign([(("orders", 0), Position::Committed)]);
        let built = dropped_after(polls, builder.build()).await;
        let done = built.is_some();
        drop(built.transpose().unwrap());
        sleep(Duration::from_secs(5)).await;
        let fetches = requests(&world, ApiKey::FETCH);
        sleep(SOON).await;
        assert_eq!(requests(&world, ApiKey::FETCH), fetches, "nobody fetches");
        done
    });
}

#[test]
fn commit_within_dropped_has_stored_the_offset_or_has_not_and_the_next_one_does() {
    at_every_poll(async |world, polls| {
        let mut consumer = member(&world, CommitPolicy::Manual).await;
        acked(&mut consumer, 2).await;
        let stored = dropped_after(polls, consumer.control().commit_within(Offsets::at(("orders", 0), 2), SOON)).await;
        assert!(stored.as_ref().is_none_or(Result::is_ok));
        assert!(matches!(committed(&world), None | Some(2)));
        consumer.commit(Offsets::at(("orders", 0), 1)).await.unwrap();
        sleep(SOON).await;
        assert_eq!(committed(&world), Some(1), "a late first commit does not undo the second");
        stored.is_some()
    });
}

#[test]
fn committed_dropped_changes_nothing() {
    at_every_poll(async |world, polls| {
        let mut consumer = member(&world, CommitPolicy::Manual).await;
        acked(&mut consumer, 2).await;
        consumer.commit(Offsets::at(("orders", 0), 2).with_metadata("half")).await.unwrap();
        let control = consumer.control();
        let partitions = [("orders", 0).into(), ("orders", 1).into()];
        let offsets = dropped_after(polls, control.committed(&partitions)).await;
        let all = dropped_after(polls, control.committed_offsets(&partitions)).await;
        let done = offsets.is_some() && all.is_some();
        assert_eq!(offsets.transpose().unwrap().unwrap_or(vec![Some(2), None]), [Some(2), None]);
        let all = all.transpose().unwrap();
        assert!(all.is_none_or(|all| all[0].as_ref().unwrap().metadata == *"half" && all[1].is_none()));
        assert_eq!(control.committed(&partitions).await.unwrap(), [Some(2), None]);
        done
    });
}

#[test]
fn a_poll_of_the_stream_dropped_loses_no_record_and_repeats_none() {
    at_every_poll(async |world, polls| {
        let mut stream = member(&world, CommitPolicy::Returned).await.into_stream();
        let first = dropped_after(polls, stream.next()).await;
        let done = first.is_some();
        let mut offsets: Vec<_> = first.flatten().into_iter().map(|record| record.unwrap().offset()).collect();
        while offsets.len() < 5 {
            offsets.push(stream.next().await.unwrap().unwrap().offset());
        }
        assert_eq!(offsets, [0, 1, 2, 3, 4]);
        done
    });
}

/// A dynamic member, or a static one.
async fn named(world: &World, is_static: bool) -> Consumer {
    let builder = world.client().await.consumer(GROUP).subscribe(["orders"]).commit_policy(CommitPolicy::Acked);
    let builder = builder.auto_commit_interval(Duration::from_secs(3600));
    let builder = if is_static { builder.group_instance_id("i") } else { builder };
    let mut consumer = builder.build().await.unwrap();
    acked(&mut consumer, 3).await;
    consumer
}

#[test]
fn close_and_stay_dropped_has_not_left_the_group() {
    let stays = async |world: World, is_static, polls, within| {
        written(&world).await;
        let consumer = named(&world, is_static).await;
        let closed = dropped_after(polls, consumer.close_and_stay(within)).await;
        sleep(Duration::from_secs(5)).await;
        assert_eq!(requests(&world, ApiKey::LEAVE_GROUP), 0);
        assert_eq!(world.cluster.group(GROUP).members().len(), 1);
        assert!(!matches!(closed, Some(Ok(()))) || committed(&world) == Some(3));
        closed.is_some()
    };
    for is_static in [false, true] {
        at_every_poll(async |world, polls| stays(world, is_static, polls, SOON).await);
        assert!(run(1, async |world| stays(world, is_static, usize::MAX, Duration::ZERO).await));
    }
}

#[test]
fn close_and_leave_dropped_has_left_the_group_even_as_a_static_member() {
    for is_static in [false, true] {
        at_every_poll(async |world, polls| {
            written(&world).await;
            let consumer = named(&world, is_static).await;
            let closed = dropped_after(polls, consumer.close_and_leave(SOON)).await;
            sleep(Duration::from_secs(5)).await;
            assert!(world.cluster.group(GROUP).members().is_empty(), "nobody waits for its session to end");
            assert!(closed.is_none() || committed(&world) == Some(3));
            closed.is_some()
        });
    }
}

#[test]
fn close_dropped_has_closed_a_consumer_of_assigned_partitions() {
    at_every_poll(async |world, polls| {
        written(&world).await;
        let builder = world.client().await.consumer(GROUP).assign([(("orders", 0), Position::Beginning)]);
        let mut consumer = builder.commit_policy(CommitPolicy::Acked).build().await.unwrap();
        acked(&mut consumer, 3).await;
        let control = consumer.control().clone();
        let closed = dropped_after(polls, consumer.close(SOON)).await;
        for refused in [control.commit_done().await, control.pause(&[("orders", 0).into()])] {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Closed);
        }
        sleep(SOON).await;
        assert!(matches!(committed(&world), None | Some(3)));
        closed.is_some()
    });
}
