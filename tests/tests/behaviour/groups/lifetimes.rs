//! Members that die, go silent, stand still or lose their coordinator.
#![allow(clippy::print_stdout, reason = "how long it took is printed, not asserted")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use milena::{Client, CommitPolicy, ConsumerEvent, ErrorCode, ErrorKind, Result};
use milena_tests::cluster::{TestCluster, skipped};
use milena_tests::eventually::eventually;
use milena_tests::proxy::Proxy;

use super::{Group, Reading, Told, until_read};
use crate::{GENEROUS, create_anew, read, soon};

async fn through(proxy: &Proxy, group: &Group) -> Result<Client> {
    Client::builder().bootstrap(group.cluster.bootstrap().split(',')).connector(proxy.connector()).connect().await
}

#[tokio::test]
async fn when_a_member_dies_the_others_go_on_at_its_last_commit() -> Result<()> {
    let group = Group::new(2).await;
    group.write(10).await;
    let proxy = Proxy::new();
    let doomed = through(&proxy, &group).await?;
    let session = Duration::from_secs(1);
    let builder = group.member_of(&doomed).session_timeout(session).auto_commit_interval(Duration::from_millis(50));
    let first = Reading::start(builder.build().await?);
    let second = Reading::start(group.member().build().await?);
    group.until_shared(&[&first.control, &second.control], &[1, 1]).await;
    until_read(&[&first, &second], 20).await;
    group.until_committed(10).await;

    proxy.hold_requests();
    let died = Instant::now();
    group.write(10).await;
    group.until_shared(&[&second.control], &[2]).await;
    let lasts = || second.seen().values().filter(|offsets| offsets.last() == Some(&19)).count();
    eventually("all of it", async || (lasts() == 2).then_some(())).await;
    println!(
        "everything was read {:.1} session timeouts after the death",
        died.elapsed().as_secs_f64() / session.as_secs_f64()
    );
    // What was committed before the death did not come again with it: only the first hand-over may repeat something.
    let repeated = second
        .seen()
        .values()
        .flat_map(|offsets| {
            offsets.windows(2).filter(|pair| pair[1] <= pair[0]).map(|pair| pair[1]).collect::<Vec<_>>()
        })
        .collect::<Vec<_>>();
    assert!(repeated.iter().all(|offset| *offset >= 10), "{repeated:?}");
    second.close().await;
    Ok(())
}

#[tokio::test]
async fn a_member_that_was_taken_for_dead_loses_its_partitions_and_comes_back() -> Result<()> {
    let group = Group::new(2).await;
    let proxy = Proxy::new();
    let doomed = through(&proxy, &group).await?;
    let told = Told::default();
    let builder = group.member_of(&doomed).session_timeout(Duration::from_secs(2)).on_rebalance(told.clone());
    let first = Reading::start(builder.build().await?);
    group.until_shared(&[&first.control], &[2]).await;
    proxy.hold_requests();
    let second = Reading::start(group.member().build().await?);
    group.until_shared(&[&second.control], &[2]).await;
    proxy.release();

    told.until("lost 2 SessionExpired").await;
    group.until_shared(&[&first.control, &second.control], &[1, 1]).await;
    let told = told.all();
    assert_eq!(told[..2], ["assigned 2 Joined", "lost 2 SessionExpired"]);
    assert!(told[2..].iter().all(|told| told.starts_with("assigned")), "{told:?}");
    first.close().await;
    second.close().await;
    Ok(())
}

#[tokio::test]
async fn a_record_held_for_longer_than_the_session_costs_no_membership() -> Result<()> {
    let group = Group::new(1).await;
    group.write(2).await;
    let told = Told::default();
    // Not so short that a machine under load misses it.
    let builder = group.member().session_timeout(Duration::from_secs(2)).on_rebalance(told.clone());
    let mut consumer = builder.build().await?;
    let held = read(&mut consumer, 1).await.remove(0);
    // A session would be over by then.
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..27 {
        ticks.tick().await;
    }
    consumer.commit(&held).await?;
    assert_eq!(told.all(), ["assigned 1 Joined"]);
    drop(held);
    soon("closing", consumer.close(GENEROUS)).await?;
    Ok(())
}

#[tokio::test]
async fn a_member_without_progress_is_out_and_comes_back_with_its_next_read() -> Result<()> {
    let group = Group::new(1).await;
    group.write(3).await;
    let (told, events) = (Told::default(), Arc::new(Mutex::new(Vec::new())));
    let noted = events.clone();
    let on_event = move |event: &ConsumerEvent| noted.lock().unwrap().push(event.clone());
    let builder =
        group.member().max_poll_interval(Duration::from_secs(1)).on_rebalance(told.clone()).on_event(on_event);
    let mut consumer = builder.build().await?;
    let held = read(&mut consumer, 1).await.remove(0);
    told.until("lost 1 Stalled").await;
    let stalled = events.lock().unwrap().iter().any(|event| {
        matches!(event, ConsumerEvent::Stalled { offset: 0, time_held: Some(held), .. } if *held >= Duration::from_secs(1))
    });
    assert!(stalled, "{events:?}");
    assert_eq!(consumer.control().assignment(), []);
    let second = Reading::start(group.member().build().await?);
    until_read(&[&second], 3).await;
    second.close().await;

    drop(held);
    group.write(1).await;
    assert_eq!(read(&mut consumer, 1).await[0].offset(), 3);
    assert_eq!(told.all(), ["assigned 1 Joined", "lost 1 Stalled", "assigned 1 Joined"]);
    soon("closing", consumer.close(GENEROUS)).await?;
    Ok(())
}

#[tokio::test]
async fn a_member_that_waits_for_records_or_holds_none_makes_progress() -> Result<()> {
    let group = Group::new(1).await;
    group.write(1).await;
    let told = Told::default();
    let builder = group.member().max_poll_interval(Duration::from_millis(500)).on_rebalance(told.clone());
    let mut consumer = builder.build().await?;
    drop(read(&mut consumer, 1).await);
    let waited = tokio::time::timeout(Duration::from_millis(1500), consumer.next()).await;
    assert!(waited.is_err(), "there is nothing to read");
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..15 {
        ticks.tick().await;
    }
    assert_eq!(told.all(), ["assigned 1 Joined"]);
    soon("closing", consumer.close(GENEROUS)).await?;
    Ok(())
}

#[tokio::test]
async fn a_member_that_is_dropped_leaves_at_once_and_commits_nothing() -> Result<()> {
    let group = Group::new(2).await;
    group.write(5).await;
    // Nobody would wait for its session to end.
    let builder = group.member().session_timeout(Duration::from_secs(300));
    let mut first = builder.build().await?;
    drop(read(&mut first, 10).await);
    drop(first);
    let second = Reading::start(group.member().build().await?);
    until_read(&[&second], 10).await;
    second.close().await;
    Ok(())
}

#[tokio::test]
async fn who_closes_and_stays_keeps_its_partitions_until_its_session_ends() -> Result<()> {
    let group = Group::new(1).await;
    group.write(5).await;
    let builder = group.member().session_timeout(Duration::from_secs(2));
    let mut first = builder.build().await?;
    drop(read(&mut first, 5).await);
    let closed = Instant::now();
    soon("closing", first.close_and_stay(GENEROUS)).await?;
    assert_eq!(group.committed().await, [Some(5)]);
    let second = Reading::start(group.member().build().await?);
    group.until_shared(&[&second.control], &[1]).await;
    println!("the partition was free after {:?}", closed.elapsed());
    second.close().await;
    Ok(())
}

#[tokio::test]
async fn the_coordinators_broker_crashes_and_the_group_goes_on() -> Result<()> {
    let group = Group::of(TestCluster::own().await, 3).await;
    group.write(10).await;
    let members = [
        Reading::start(group.member().auto_commit_interval(Duration::from_millis(50)).build().await?),
        Reading::start(group.member().auto_commit_interval(Duration::from_millis(50)).build().await?),
    ];
    group.until_shared(&[&members[0].control, &members[1].control], &[1, 2]).await;
    group.until_committed(10).await;
    // One broker after the other: each coordinates once, or leads something.
    for broker in 1..=3 {
        group.cluster.crash(broker).await;
        group.write(10).await;
        let wanted = 10 + 10 * i64::from(broker) - 1;
        let all = || {
            let mut lasts = BTreeMap::new();
            for member in &members {
                for (partition, offsets) in member.seen() {
                    let last = offsets.iter().max().copied().unwrap_or(-1);
                    let entry = lasts.entry(partition).or_insert(last);
                    *entry = last.max(*entry);
                }
            }
            lasts.len() == 3 && lasts.values().all(|last| *last >= wanted)
        };
        eventually("everything is read", async || all().then_some(())).await;
        group.cluster.restart(broker).await;
    }
    group.until_committed(40).await;
    let [first, second] = members;
    first.close().await;
    second.close().await;
    assert_eq!(group.committed().await, [Some(40); 3]);
    Ok(())
}

#[tokio::test]
async fn a_topic_created_anew_with_more_partitions_is_divided_anew() -> Result<()> {
    let mut group = Group::new(2).await;
    group.write(5).await;
    let other = crate::client(&group.cluster).await;
    let first = Reading::start(group.member().commit_policy(CommitPolicy::Manual).build().await?);
    let second = Reading::start(group.member_of(&other).commit_policy(CommitPolicy::Manual).build().await?);
    group.until_shared(&[&first.control, &second.control], &[1, 1]).await;
    let read = |offset| {
        [&first, &second].into_iter().flat_map(Reading::seen).filter(|(_, seen)| seen.last() == Some(&offset)).count()
    };
    eventually("the old topic", async || (read(4) >= 2).then_some(())).await;
    create_anew(&group.client, &group.topic, 5).await?;
    group.partitions = 5;
    group.until_shared(&[&first.control, &second.control], &[2, 3]).await;
    group.write(2).await;
    eventually("the new topic", async || (read(1) >= 5).then_some(())).await;
    first.close().await;
    second.close().await;
    Ok(())
}

#[tokio::test]
async fn a_refused_commit_tells_that_the_group_went_on() -> Result<()> {
    let group = Group::new(2).await;
    let Some(mock) = group.cluster.mock() else {
        skipped("a_refused_commit_tells_that_the_group_went_on", "only the mock cluster throws members out");
        return Ok(());
    };
    group.write(5).await;
    let told = Told::default();
    // Heartbeats would tell it after 10 s.
    let builder = group.member().session_timeout(GENEROUS).heartbeat_interval(Duration::from_secs(10));
    let mut consumer = builder.on_rebalance(told.clone()).build().await?;
    let record = read(&mut consumer, 1).await.remove(0);
    let control = mock.group(&group.name);
    control.evict(&control.members()[0].id);

    let error = consumer.commit(&record).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::PartitionLost, Some(ErrorCode::UNKNOWN_MEMBER_ID)));
    drop(record);
    let began = Instant::now();
    told.until("assigned 2 SessionExpired").await;
    assert_eq!(told.all(), ["assigned 2 Joined", "lost 2 SessionExpired", "assigned 2 SessionExpired"]);
    println!("it was back after {:?}", began.elapsed());
    let offsets: Vec<_> = read(&mut consumer, 10).await.iter().map(|record| record.offset()).collect();
    assert_eq!(offsets.iter().sum::<i64>(), 20, "nothing was committed: {offsets:?}");
    soon("closing", consumer.close(GENEROUS)).await?;
    Ok(())
}

#[tokio::test]
async fn a_rebalance_without_a_reason_changes_nothing_for_the_application() -> Result<()> {
    let group = Group::new(3).await;
    let Some(mock) = group.cluster.mock() else {
        skipped("a_rebalance_without_a_reason_changes_nothing_for_the_application", "only the mock cluster forces one");
        return Ok(());
    };
    for (count, (strategy, assigned)) in (20..)
        .step_by(20)
        .zip([("range", "assigned 3 MemberChange"), ("cooperative-sticky", "assigned 0 MemberChange")])
    {
        group.write(19).await;
        let told = Told::default();
        let builder = group.member().assignors([strategy]).on_rebalance(told.clone());
        let reading = Reading::start(builder.build().await?);
        for round in 1..4 {
            until_read(&[&reading], 57).await;
            mock.group(&group.name).rebalance();
            eventually(assigned, async || {
                (told.all().iter().filter(|told| *told == assigned).count() == round).then_some(())
            })
            .await;
        }
        group.write(1).await;
        until_read(&[&reading], 60).await;
        for (partition, offsets) in reading.seen() {
            assert_eq!(offsets, (count - 20..count).collect::<Vec<_>>(), "partition {partition} by {strategy}");
        }
        reading.close().await;
    }
    Ok(())
}
