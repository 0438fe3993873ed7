//! Records that are done when the application says so.

use std::sync::{Arc, Mutex};

use milena::{CommitPolicy, ConsumerEvent, ErrorKind, Position, Result};
use milena_tests::eventually::eventually;

use super::{Group, Reading};
use crate::{GENEROUS, read, soon};

#[tokio::test]
async fn acks_out_of_order_are_committed_up_to_the_first_that_is_missing() -> Result<()> {
    let group = Group::new(1).await;
    group.write(6).await;
    let mut consumer = group.member().commit_policy(CommitPolicy::Acked).build().await?;
    let mut records = read(&mut consumer, 6).await;
    let third = records.remove(2);
    for record in records.into_iter().rev() {
        record.ack();
    }
    consumer.control().commit_done().await?;
    assert_eq!(group.committed().await, [Some(2)]);

    third.ack();
    soon("closing", consumer.close(GENEROUS)).await?;
    assert_eq!(group.committed().await, [Some(6)]);
    Ok(())
}

#[tokio::test]
async fn a_record_dropped_without_an_ack_is_told_and_comes_again_to_the_next_member() -> Result<()> {
    let group = Group::new(1).await;
    group.write(4).await;
    let events = Arc::new(Mutex::new(Vec::new()));
    let noted = events.clone();
    let on_event = move |event: &ConsumerEvent| noted.lock().unwrap().push(event.clone());
    let builder = group.member().commit_policy(CommitPolicy::Acked).on_event(on_event);
    let mut consumer = builder.build().await?;
    for (index, record) in read(&mut consumer, 4).await.into_iter().enumerate() {
        match index {
            1 => drop(record),
            _ => record.ack(),
        }
    }
    let stalled = ConsumerEvent::Stalled { partition: group.partition(0), offset: 1, time_held: None };
    eventually("the event", async || events.lock().unwrap().contains(&stalled).then_some(())).await;
    soon("closing", consumer.close(GENEROUS)).await?;
    assert_eq!(group.committed().await, [Some(1)]);

    let mut next = group.member().commit_policy(CommitPolicy::Acked).build().await?;
    let records = read(&mut next, 3).await;
    assert_eq!(records.iter().map(|record| record.offset()).collect::<Vec<_>>(), [1, 2, 3]);
    records.into_iter().for_each(|record| record.ack());
    soon("closing", next.close(GENEROUS)).await?;
    assert_eq!(group.committed().await, [Some(4)]);
    Ok(())
}

#[tokio::test]
async fn a_batch_is_acknowledged_as_a_whole_or_record_by_record_and_rewound() -> Result<()> {
    let group = Group::new(1).await;
    group.write(8).await;
    let mut consumer = group.member().commit_policy(CommitPolicy::Acked).build().await?;
    let control = consumer.control().clone();
    let batch = soon("a batch", consumer.next_batch(4)).await?.unwrap();
    assert_eq!(batch.len(), 4);
    batch.iter().take(2).for_each(|record| record.ack());
    control.commit_done().await?;
    assert_eq!(group.committed().await, [Some(2)]);

    control.rewind(&batch)?;
    drop(batch);
    let again = soon("the batch again", consumer.next_batch(4)).await?.unwrap();
    assert_eq!(again.iter().map(|record| record.offset).collect::<Vec<_>>(), [0, 1, 2, 3]);
    again.ack();
    soon("the rest", consumer.next_batch(4)).await?.unwrap().ack();
    soon("closing", consumer.close(GENEROUS)).await?;
    assert_eq!(group.committed().await, [Some(8)]);
    Ok(())
}

#[tokio::test]
async fn records_acknowledged_in_tasks_are_all_committed() -> Result<()> {
    let group = Group::new(3).await;
    group.write(50).await;
    let mut consumer = group.member().commit_policy(CommitPolicy::Acked).build().await?;
    let mut tasks = Vec::new();
    for record in read(&mut consumer, 150).await {
        tasks.push(tokio::spawn(async move {
            tokio::task::yield_now().await;
            record.ack();
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    soon("closing", consumer.close(GENEROUS)).await?;
    assert_eq!(group.committed().await, [Some(50); 3]);
    Ok(())
}

#[tokio::test]
async fn after_revocation_a_commit_is_refused_and_an_ack_counts_for_nothing() -> Result<()> {
    let group = Group::new(2).await;
    group.write(5).await;
    // It waits for held records until it must not wait longer.
    let builder = group.member().assignors(["range"]).commit_policy(CommitPolicy::Acked);
    let builder = builder.max_poll_interval(std::time::Duration::from_secs(6));
    let mut first = builder.build().await?;
    let mut records = read(&mut first, 10).await;
    let reading = tokio::spawn(async move {
        // A read that waits is progress.
        let next = first.next().await;
        (first, next.map(|record| record.map(|record| record.offset())))
    });
    let second = Reading::start(group.member().assignors(["range"]).commit_policy(CommitPolicy::Manual).build().await?);
    eventually("the second member's share", async || (second.control.assignment().len() == 1).then_some(())).await;

    let mine = second.control.assignment().remove(0);
    let lost = records.iter().position(|record| *record.topic_partition() == mine).unwrap();
    let lost = records.remove(lost);
    assert_eq!(lost.value(), Some(&b"0"[..]), "it is still readable");
    let (first, again) = soon("the repeated record", reading).await.unwrap();
    assert_eq!(again?, Some(0), "what was not acknowledged comes again");
    let error = first.commit(&lost).await.unwrap_err();
    assert_eq!((error.kind(), error.topic_partition()), (ErrorKind::PartitionLost, Some(&mine)));
    lost.ack();
    records.into_iter().for_each(|record| record.ack());
    first.control().commit_done().await?;
    assert_eq!(group.committed().await, [None; 2]);
    soon("closing", first.close(GENEROUS)).await?;
    second.close().await;
    Ok(())
}

#[tokio::test]
async fn a_held_record_holds_up_the_revocation_until_it_is_done() -> Result<()> {
    let group = Group::new(2).await;
    group.write(5).await;
    let mut first = group.member().commit_policy(CommitPolicy::Acked).build().await?;
    let records = read(&mut first, 10).await;
    let control = first.control().clone();
    let reading = Reading::start(first);
    let second = Reading::start(group.member().build().await?);
    // The first has heard of it when its positions do not move any more though there is more to read.
    group.write(1).await;
    eventually("the revocation", async || control.position(&group.partition(0)).map(drop)).await;
    assert_eq!(second.control.assignment(), []);
    records.into_iter().for_each(|record| record.ack());

    group.until_shared(&[&control, &second.control], &[1, 1]).await;
    eventually("the last records", async || (second.seen().len() == 1).then_some(())).await;
    for offsets in second.seen().values() {
        assert!(offsets[0] >= 5, "what was acknowledged does not come again: {offsets:?}");
    }
    reading.close().await;
    second.close().await;
    Ok(())
}

#[tokio::test]
async fn a_seek_moves_what_is_committed() -> Result<()> {
    let group = Group::new(1).await;
    group.write(9).await;
    let mut consumer = group.member().commit_policy(CommitPolicy::Acked).build().await?;
    read(&mut consumer, 3).await.into_iter().for_each(|record| record.ack());
    consumer.control().seek(&group.partition(0), Position::Offset(6))?;
    let record = read(&mut consumer, 1).await.remove(0);
    assert_eq!(record.offset(), 6);
    record.ack();
    consumer.control().commit_done().await?;
    assert_eq!(group.committed().await, [Some(7)]);
    soon("closing", consumer.close(GENEROUS)).await?;
    Ok(())
}
