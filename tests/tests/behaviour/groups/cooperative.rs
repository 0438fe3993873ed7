//! Cooperative rebalances: who keeps a partition reads on, whatever the group does meanwhile.
#![allow(clippy::print_stdout, reason = "how long it took is printed, not asserted")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use milena::{ApiKey, Client, ConsumerBuilder, Position, Result};
use milena_tests::eventually::eventually;
use milena_tests::proxy::{Passing, Proxy};

use super::{Group, Reading, Told, until_read};
use crate::{GENEROUS, read, soon};

fn sharing(builder: ConsumerBuilder) -> ConsumerBuilder {
    builder.assignors(["cooperative-sticky"]).auto_commit_interval(Duration::from_millis(50))
}

/// What a member has sent and got.
#[derive(Clone, Copy, Default)]
struct Rebalances {
    /// How many JoinGroup requests were sent, and how many answers to SyncGroup have come.
    joins: usize,
    syncs: usize,
    is_going_on: bool,
}

#[derive(Clone, Default)]
struct Wire(Arc<Mutex<Rebalances>>);

impl Wire {
    fn proxy(&self) -> Proxy {
        let wire = self.clone();
        Proxy::observed(move |passing| {
            let mut seen = wire.0.lock().unwrap();
            match passing {
                Passing::Request(ApiKey::JOIN_GROUP) => (seen.joins, seen.is_going_on) = (seen.joins + 1, true),
                Passing::Answer(ApiKey::SYNC_GROUP) => (seen.syncs, seen.is_going_on) = (seen.syncs + 1, false),
                Passing::Request(_) | Passing::Answer(_) => {}
            }
        })
    }

    fn seen(&self) -> Rebalances {
        *self.0.lock().unwrap()
    }

    async fn until(&self, what: &str, is_so: impl Fn(Rebalances) -> bool) -> Rebalances {
        eventually(what, async || Some(self.seen()).filter(|seen| is_so(*seen))).await
    }
}

#[tokio::test]
async fn in_every_rebalance_who_keeps_partitions_reads_them_between_join_and_sync() -> Result<()> {
    let group = Group::new(6).await;
    let through = async |proxy: &Proxy| {
        let builder = Client::builder().bootstrap(group.cluster.bootstrap().split(','));
        builder.connector(proxy.connector()).connect().await
    };
    let (told, wire, proxy) = (Told::default(), Wire::default(), Proxy::new());
    let observed = through(&wire.proxy()).await?;
    let stays = Reading::start(sharing(group.member_of(&observed)).on_rebalance(told.clone()).build().await?);
    let slow = through(&proxy).await?;
    let slow = Reading::start(sharing(group.member_of(&slow)).session_timeout(Duration::from_secs(60)).build().await?);
    group.until_shared(&[&stays.control, &slow.control], &[3, 3]).await;

    let (mut others, mut longest, mut written) = (Vec::new(), Duration::ZERO, 0);
    for shares in [&[2, 2, 2][..], &[1, 1, 2, 2], &[2, 2, 2], &[3, 3]] {
        let before = wire.until("the last answer", |seen| !seen.is_going_on).await;
        let kept = stays.control.assignment();
        // The group waits for the slow one.
        proxy.hold_requests();
        match others.len() + 2 < shares.len() {
            true => others.push(Reading::start(sharing(group.member()).build().await?)),
            false => others.remove(0).close().await,
        }
        wire.until("JoinGroup", |seen| seen.joins > before.joins).await;
        for _ in 0..5 {
            let (written_at, count) = (Instant::now(), stays.count());
            group.write(1).await;
            written += 1;
            until_read(&[&stays], count + kept.len()).await;
            longest = longest.max(written_at.elapsed());
        }
        assert_eq!(stays.control.assignment(), kept);
        assert_eq!(wire.seen().syncs, before.syncs, "all of it before SyncGroup was answered");
        proxy.release();
        let members: Vec<_> = [&stays, &slow].into_iter().chain(&others).map(|member| &member.control).collect();
        group.until_shared(&members, shares).await;
        // What was written to the others' partitions is theirs.
        group.until_committed(written).await;
    }
    println!("the longest time from a write to its read in a rebalance: {longest:?}");
    assert!(told.all().iter().all(|told| !told.starts_with("lost")), "{told:?}");
    for (partition, offsets) in stays.seen() {
        assert!(
            offsets.is_sorted_by(|one, next| one < next),
            "partition {partition}: nothing comes twice: {offsets:?}"
        );
    }
    for member in [stays, slow] {
        member.close().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_record_that_is_held_holds_up_its_partition_and_no_other() -> Result<()> {
    let group = Group::new(2).await;
    group.write(2).await;
    let told = Told::default();
    let mut first = sharing(group.member()).on_rebalance(told.clone()).build().await?;
    let mut held = read(&mut first, 4).await;
    let second = Reading::start(sharing(group.member()).build().await?);
    told.until("revoked 1 MemberChange").await;

    // Which of them goes is up to the assignor: records of the other one come.
    group.write(1).await;
    let next = read(&mut first, 1).await.remove(0);
    let (stays, goes) = (next.partition(), 1 - next.partition());
    assert_eq!((next.offset(), second.control.assignment()), (2, vec![]));
    held.retain(|record| record.partition() == goes);
    first.commit(&next).await?;
    drop(held.remove(0));
    first.commit(&held[0]).await?;
    assert_eq!(second.control.assignment(), []);
    held.clear();
    group.until_shared(&[first.control(), &second.control], &[1, 1]).await;

    assert_eq!(first.control().assignment(), [group.partition(stays)]);
    assert_eq!(first.control().position(&group.partition(stays)), Some(3));
    until_read(&[&second], 1).await;
    assert_eq!(second.seen(), [(goes, vec![2])].into(), "from where it was committed");
    assert_eq!(told.all()[..2], ["assigned 2 Joined", "revoked 1 MemberChange"].map(String::from));
    second.close().await;
    drop(next);
    soon("closing", first.close(GENEROUS)).await?;
    Ok(())
}

#[tokio::test]
async fn another_subscription_leaves_the_topics_that_stay_alone() -> Result<()> {
    let group = Group::new(2).await;
    let more = group.cluster.topic("more", 1).await;
    group.write(2).await;
    let told = Told::default();
    let mut consumer = sharing(group.member()).on_rebalance(told.clone()).build().await?;
    let held = read(&mut consumer, 4).await;
    consumer.control().pause([&group.partition(1)])?;

    consumer.control().subscribe([&group.topic, &more])?;
    told.until("assigned 1 SubscriptionChange").await;
    assert_eq!(consumer.control().paused(), [group.partition(1)]);
    consumer.commit(&held[0]).await?;
    consumer.control().seek(&group.partition(0), Position::Offset(1))?;
    assert_eq!(read(&mut consumer, 1).await[0].offset(), 1);

    consumer.control().subscribe([&more])?;
    drop(held);
    told.until("revoked 2 SubscriptionChange").await;
    eventually("the rest", async || (consumer.control().assignment() == [(more.as_str(), 0).into()]).then_some(()))
        .await;
    soon("closing", consumer.close(GENEROUS)).await?;
    Ok(())
}

#[tokio::test]
async fn two_rolling_restarts_change_the_strategy_of_a_group_that_reads_on() -> Result<()> {
    let group = Group::new(4).await;
    let start = async |strategies: &[&str]| -> Result<Reading> {
        Ok(Reading::start(sharing(group.member()).assignors(strategies.to_vec()).build().await?))
    };
    let mut members = [start(&["range"]).await?, start(&["range"]).await?];
    let mut seen: Vec<_> = members.iter().map(|member| member.seen.clone()).collect();
    group.until_divided_by("range").await;
    let both = &["cooperative-sticky", "range"][..];
    for (strategies, in_use) in [
        (both, "cooperative-sticky"),
        (&["cooperative-sticky"], "cooperative-sticky"),
        // And back.
        (both, "cooperative-sticky"),
        (&["range"], "range"),
    ] {
        for index in 0..2 {
            let next = start(strategies).await?;
            seen.push(next.seen.clone());
            std::mem::replace(&mut members[index], next).close().await;
            group.write(1).await;
            let [one, other] = &members;
            group.until_shared(&[&one.control, &other.control], &[2, 2]).await;
        }
        group.until_divided_by(in_use).await;
    }
    group.until_committed(8).await;
    for partition in 0..4 {
        let read = seen.iter().flat_map(|seen| seen.lock().unwrap().get(&partition).cloned().unwrap_or_default());
        assert_eq!(read.collect::<BTreeSet<_>>(), (0..8).collect(), "of partition {partition}");
    }
    for member in members {
        member.close().await;
    }
    Ok(())
}
