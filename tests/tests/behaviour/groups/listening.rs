//! The rebalance listener: what it may do, and what becomes of one that misbehaves.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use milena::{CommitPolicy, ConsumerRecord, ErrorKind, Offsets, Position, Rebalance, RebalanceListener, Result};
use milena_tests::eventually::eventually;
use tokio::sync::Notify;

use super::{Group, Reading, until_read};
use crate::{GENEROUS, read, soon};

/// Begins everywhere at offset 3.
struct FromThree;

#[async_trait::async_trait]
impl RebalanceListener for FromThree {
    async fn assigned(&self, rebalance: &Rebalance<'_>) {
        tokio::task::yield_now().await;
        for partition in rebalance.partitions {
            rebalance.consumer().seek(partition, Position::Offset(3)).unwrap();
        }
    }
}

#[tokio::test]
async fn a_seek_in_assigned_decides_where_reading_begins() -> Result<()> {
    let group = Group::new(2).await;
    group.write(5).await;
    let reading = Reading::start(group.member().on_rebalance(FromThree).build().await?);
    until_read(&[&reading], 4).await;
    assert_eq!(reading.seen(), (0..2).map(|partition| (partition, vec![3, 4])).collect());
    reading.close().await;
    Ok(())
}

/// Commits by hand when partitions go, and lets go of what is held.
struct Committing(Mutex<Vec<ConsumerRecord>>);

#[async_trait::async_trait]
impl RebalanceListener for Committing {
    async fn revoked(&self, rebalance: &Rebalance<'_>) {
        assert!(rebalance.time_left > Duration::from_secs(60));
        let held = std::mem::take(&mut *self.0.lock().unwrap());
        for record in &held {
            rebalance
                .consumer()
                .commit(Offsets::at(record.topic_partition().clone(), record.offset() + 1))
                .await
                .unwrap();
        }
    }
}

struct Shared(Arc<Committing>);

#[async_trait::async_trait]
impl RebalanceListener for Shared {
    async fn revoked(&self, rebalance: &Rebalance<'_>) {
        self.0.revoked(rebalance).await;
    }
}

#[tokio::test]
async fn a_commit_in_revoked_is_where_the_next_member_begins() -> Result<()> {
    let group = Group::new(2).await;
    group.write(5).await;
    let committing = Arc::new(Committing(Mutex::default()));
    let builder = group.member().commit_policy(CommitPolicy::Manual).on_rebalance(Shared(committing.clone()));
    let mut first = builder.build().await?;
    *committing.0.lock().unwrap() = read(&mut first, 10).await;
    let second = Reading::start(group.member().build().await?);
    group.until_shared(&[first.control(), &second.control], &[1, 1]).await;
    assert_eq!(group.committed().await, [Some(5); 2]);
    group.write(1).await;
    until_read(&[&second], 1).await;
    assert_eq!(second.seen().into_values().next(), Some(vec![5]));
    second.close().await;
    soon("closing", first.close(GENEROUS)).await?;
    Ok(())
}

struct Panicking;

#[async_trait::async_trait]
impl RebalanceListener for Panicking {
    async fn assigned(&self, _: &Rebalance<'_>) {
        panic!("assigned");
    }
}

#[tokio::test]
async fn a_listener_that_panics_is_an_error_and_reading_goes_on() -> Result<()> {
    let group = Group::new(1).await;
    group.write(2).await;
    let mut consumer = group.member().on_rebalance(Panicking).build().await?;
    let error = soon("the error", consumer.next()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UserCode);
    assert!(error.to_string().contains("`assigned`"), "{error}");
    read(&mut consumer, 2).await;
    soon("closing", consumer.close(GENEROUS)).await?;
    Ok(())
}

/// Never returns from `revoked`.
struct Stubborn(Arc<Notify>);

#[async_trait::async_trait]
impl RebalanceListener for Stubborn {
    async fn revoked(&self, _: &Rebalance<'_>) {
        self.0.notify_one();
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_listener_that_never_returns_is_given_up_at_the_deadline() -> Result<()> {
    let group = Group::new(2).await;
    group.write(5).await;
    let called = Arc::new(Notify::new());
    // Of 7 s, 5 are kept for what comes after the revocation.
    let builder = group.member().max_poll_interval(Duration::from_secs(7)).on_rebalance(Stubborn(called.clone()));
    let mut first = builder.build().await?;
    drop(read(&mut first, 10).await);
    let second = Reading::start(group.member().build().await?);
    soon("the revocation", called.notified()).await;
    group.until_shared(&[first.control(), &second.control], &[1, 1]).await;
    let error = soon("the error", first.next()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UserCode);
    assert!(error.to_string().contains("`revoked`"), "{error}");
    second.close().await;
    let closed = soon("closing", first.close(Duration::from_secs(1))).await;
    drop(closed);
    Ok(())
}

/// Notes what the consumer owns while it is told.
#[derive(Clone, Default)]
struct Owning(Arc<Mutex<Vec<usize>>>);

#[async_trait::async_trait]
impl RebalanceListener for Owning {
    async fn assigned(&self, rebalance: &Rebalance<'_>) {
        self.0.lock().unwrap().push(rebalance.consumer().assignment().len());
    }

    async fn revoked(&self, rebalance: &Rebalance<'_>) {
        self.0.lock().unwrap().push(rebalance.consumer().assignment().len());
        // Nothing more is handed out, and what is done can be committed.
        rebalance.consumer().commit_done().await.unwrap();
    }

    async fn lost(&self, rebalance: &Rebalance<'_>) {
        self.0.lock().unwrap().push(rebalance.consumer().assignment().len());
    }
}

#[tokio::test]
async fn while_it_is_told_the_consumer_owns_what_it_is_told_of() -> Result<()> {
    let group = Group::new(3).await;
    group.write(5).await;
    let owning = Owning::default();
    let reading = Reading::start(group.member().on_rebalance(owning.clone()).build().await?);
    until_read(&[&reading], 15).await;
    reading.close().await;
    assert_eq!(*owning.0.lock().unwrap(), [3, 3]);
    assert_eq!(group.committed().await, [Some(5); 3]);
    eventually("the end", async || Some(())).await;
    Ok(())
}
