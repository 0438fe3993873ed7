//! Who reads what: members that come and go in peace.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use milena::{AutoOffsetReset, CommitPolicy, ConsumerEvent, Result};
use milena_tests::eventually::eventually;

use super::{Group, Reading, Told, until_read};
use crate::{GENEROUS, read, soon};

#[tokio::test]
async fn one_member_reads_everything_and_the_next_goes_on_where_it_closed() -> Result<()> {
    let group = Group::new(3).await;
    group.write(10).await;
    let first = Reading::start(group.member().build().await?);
    until_read(&[&first], 30).await;
    first.close().await;
    assert_eq!(group.committed().await, [Some(10); 3]);

    group.write(5).await;
    let second = Reading::start(group.member().build().await?);
    until_read(&[&second], 15).await;
    assert_eq!(second.seen(), (0..3).map(|partition| (partition, (10..15).collect())).collect());
    second.close().await;
    assert_eq!(group.committed().await, [Some(15); 3]);
    Ok(())
}

#[tokio::test]
async fn two_members_share_and_what_one_leaves_the_other_reads_on() -> Result<()> {
    let group = Group::new(4).await;
    group.write(10).await;
    let told = Told::default();
    let eager = || group.member().assignors(["range"]);
    let first = Reading::start(eager().on_rebalance(told.clone()).build().await?);
    until_read(&[&first], 40).await;
    let second = Reading::start(eager().build().await?);
    group.until_shared(&[&first.control, &second.control], &[2, 2]).await;
    assert_eq!(told.all(), ["assigned 4 Joined", "revoked 4 MemberChange", "assigned 2 MemberChange"]);

    group.write(10).await;
    until_read(&[&first, &second], 80).await;
    second.close().await;
    group.until_shared(&[&first.control], &[4]).await;
    group.write(10).await;
    eventually("the rest", async || first.seen().values().all(|offsets| offsets.last() == Some(&29)).then_some(()))
        .await;
    for (partition, offsets) in first.seen() {
        assert!(offsets.is_sorted_by(|one, next| one < next), "partition {partition}: {offsets:?}");
    }
    first.close().await;
    assert_eq!(group.committed().await, [Some(30); 4]);
    assert_eq!(told.all().last().unwrap(), "revoked 4 Closing");
    Ok(())
}

#[tokio::test]
async fn of_five_members_on_three_partitions_two_stand_by_until_others_leave() -> Result<()> {
    let group = Group::new(3).await;
    group.write(4).await;
    let mut members = Vec::new();
    for _ in 0..5 {
        members.push(Reading::start(group.member().build().await?));
    }
    let controls: Vec<_> = members.iter().map(|member| member.control.clone()).collect();
    group.until_shared(&controls.iter().collect::<Vec<_>>(), &[0, 0, 1, 1, 1]).await;
    eventually("12 records", async || (members.iter().map(Reading::count).sum::<usize>() >= 12).then_some(())).await;

    let busy: Vec<_> = (0..5).filter(|index| !controls[*index].assignment().is_empty()).collect();
    for index in busy.into_iter().rev().take(2) {
        members.remove(index).close().await;
    }
    let controls: Vec<_> = members.iter().map(|member| &member.control).collect();
    group.until_shared(&controls, &[1, 1, 1]).await;
    for member in members {
        member.close().await;
    }
    assert_eq!(group.committed().await, [Some(4); 3]);
    Ok(())
}

#[tokio::test]
async fn several_topics_are_read_and_one_that_appears_later() -> Result<()> {
    let group = Group::new(2).await;
    let other = group.cluster.topic("more", 2).await;
    let later = group.cluster.unique("later");
    let events = Arc::new(Mutex::new(Vec::new()));
    let noted = events.clone();
    let on_event = move |event: &ConsumerEvent| noted.lock().unwrap().push(event.clone());
    let consumer = group.member().subscribe([&other, &later]).on_event(on_event).build().await?;
    let control = consumer.control().clone();
    let reading = Reading::start(consumer);
    eventually("two topics", async || (control.assignment().len() == 4).then_some(())).await;
    let unknown = ConsumerEvent::UnknownTopic { topic: later.as_str().into() };
    eventually("the event", async || (*events.lock().unwrap() == [unknown.clone()]).then_some(())).await;

    group.client.create_topic(&later, 3, 3).await?;
    eventually("three topics", async || (control.assignment().len() == 7).then_some(())).await;
    crate::write(&group.client.producer().build().await?, &later, 2, &["a", "b"]).await?;
    until_read(&[&reading], 2).await;
    reading.close().await;
    Ok(())
}

#[tokio::test]
async fn another_subscription_divides_anew() -> Result<()> {
    let group = Group::new(2).await;
    let other = group.cluster.topic("other", 3).await;
    let told = Told::default();
    let reading = Reading::start(group.member().on_rebalance(told.clone()).build().await?);
    group.until_shared(&[&reading.control], &[2]).await;
    reading.control.subscribe([&other])?;

    told.until("assigned 3 SubscriptionChange").await;
    assert!(reading.control.assignment().iter().all(|partition| partition.topic() == other));
    reading.close().await;
    Ok(())
}

#[tokio::test]
async fn nothing_is_committed_by_a_manual_member_but_what_it_says() -> Result<()> {
    let group = Group::new(1).await;
    group.write(10).await;
    let mut consumer = group.member().commit_policy(CommitPolicy::Manual).build().await?;
    let records = read(&mut consumer, 6).await;
    consumer.commit(&records[0]).await?;
    drop(records);
    read(&mut consumer, 4).await;
    soon("closing", consumer.close(GENEROUS)).await?;
    assert_eq!(group.committed().await, [Some(1)]);

    let mut next = group.member().commit_policy(CommitPolicy::Manual).build().await?;
    assert_eq!(read(&mut next, 1).await[0].offset(), 1);
    soon("closing", next.close(GENEROUS)).await?;
    Ok(())
}

#[tokio::test]
async fn what_is_done_is_committed_in_the_background() -> Result<()> {
    let group = Group::new(2).await;
    group.write(7).await;
    let builder = group.member().auto_commit_interval(Duration::from_millis(50));
    let reading = Reading::start(builder.build().await?);
    group.until_committed(7).await;
    reading.close().await;
    Ok(())
}

#[tokio::test]
async fn even_the_latest_begins_a_topic_that_appears_later_at_its_beginning() -> Result<()> {
    let group = Group::new(1).await;
    group.write(5).await;
    let later = group.cluster.unique("later");
    let builder = group.member().subscribe([&later]).auto_offset_reset(AutoOffsetReset::Latest);
    let mut consumer = builder.build().await?;
    let control = consumer.control().clone();
    let at_the_end = async || (control.position(&group.partition(0)) == Some(5)).then_some(());
    eventually("the end of the old topic", at_the_end).await;

    // Written before anybody reads it.
    group.client.create_topic(&later, 1, 3).await?;
    crate::write(&group.client.producer().build().await?, &later, 0, &["a"]).await?;
    let record = read(&mut consumer, 1).await.remove(0);
    assert_eq!((record.topic(), record.offset()), (&*later, 0));
    drop(record);
    group.write(1).await;
    assert_eq!(read(&mut consumer, 1).await[0].offset(), 5);
    soon("closing", consumer.close(GENEROUS)).await?;
    Ok(())
}
