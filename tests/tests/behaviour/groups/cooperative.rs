//! Cooperative rebalances: who keeps a partition reads on, whatever the group does meanwhile.
#![allow(clippy::print_stdout, reason = "how long it took is printed, not asserted")]

use std::time::{Duration, Instant};

use milena::{Client, ConsumerBuilder, Position, Result};
use milena_tests::eventually::eventually;
use milena_tests::proxy::Proxy;

use super::{Group, Reading, Told, until_read};
use crate::{GENEROUS, read, soon};

fn sharing(builder: ConsumerBuilder) -> ConsumerBuilder {
    builder.assignors(["cooperative-sticky"]).auto_commit_interval(Duration::from_millis(50))
}

#[tokio::test]
async fn who_keeps_its_partitions_reads_on_while_the_group_waits_for_others() -> Result<()> {
    let group = Group::new(4).await;
    let (told, proxy) = (Told::default(), Proxy::new());
    let slow = Client::builder().bootstrap(group.cluster.bootstrap().split(',')).connector(proxy.connector());
    let slow = slow.connect().await?;
    let stays = Reading::start(sharing(group.member()).on_rebalance(told.clone()).build().await?);
    let builder = sharing(group.member_of(&slow)).session_timeout(Duration::from_secs(60));
    let silent = Reading::start(builder.build().await?);
    group.until_shared(&[&stays.control, &silent.control], &[2, 2]).await;
    let kept = stays.control.assignment();

    // The group waits for the silent member until this is over.
    proxy.hold_requests();
    let newcomer = Reading::start(sharing(group.member()).build().await?);
    let (mut count, mut longest) = (stays.count(), Duration::ZERO);
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..15 {
        // 15 heartbeats: the member that stays has long joined anew.
        ticks.tick().await;
        let before = Instant::now();
        group.write(1).await;
        until_read(&[&stays], count + 2).await;
        count += 2;
        longest = longest.max(before.elapsed());
    }
    assert_eq!((stays.control.assignment(), newcomer.control.assignment().len()), (kept.clone(), 0));
    println!("the longest time from a write to its read in the rebalance: {longest:?}");
    proxy.release();

    group.until_shared(&[&stays.control, &silent.control, &newcomer.control], &[1, 1, 2]).await;
    group.write(1).await;
    group.until_committed(16).await;
    assert!(told.all().iter().all(|told| !told.starts_with("lost")), "{told:?}");
    for (partition, offsets) in stays.seen() {
        assert_eq!(
            offsets,
            (0..).take(offsets.len()).collect::<Vec<_>>(),
            "partition {partition}: nothing comes twice"
        );
    }
    for member in [stays, silent, newcomer] {
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
    for strategies in [&["cooperative-sticky", "range"][..], &["cooperative-sticky"]] {
        for index in 0..2 {
            let next = start(strategies).await?;
            std::mem::replace(&mut members[index], next).close().await;
            group.write(1).await;
            let [one, other] = &members;
            group.until_shared(&[&one.control, &other.control], &[2, 2]).await;
        }
    }
    group.until_committed(4).await;
    for member in members {
        member.close().await;
    }
    Ok(())
}
