//! What a group reads when its subscription or the cluster's topics change.

use std::time::Duration;

use milena::{Client, CommitPolicy, ErrorKind, Position, RebalanceReason, Result, TopicPartition};
use milena_protocol::messages::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use milena_tests::cluster::TestCluster;
use milena_tests::eventually::eventually;

use super::{Group, Reading, Told, until_read};
use crate::{GENEROUS, create_anew, read, soon};

/// A group whose members look at the cluster often.
async fn watchful(partitions: i32) -> Result<Group> {
    let mut group = Group::new(partitions).await;
    let builder = Client::builder().bootstrap(group.cluster.bootstrap().split(','));
    group.client = builder.metadata_max_age(Duration::from_millis(200)).connect().await?;
    Ok(group)
}

async fn until_topics(reading: &Reading, topics: &[&str]) {
    eventually(&format!("the topics {topics:?}"), async || {
        let assigned = reading.control.assignment();
        (assigned.iter().map(TopicPartition::topic).eq(topics.iter().copied())).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_pattern_takes_in_topics_that_come_and_lets_go_of_those_that_are_deleted() -> Result<()> {
    let group = watchful(1).await?;
    let family = group.cluster.unique("family");
    let [first, second, third] = ["a", "b", "c"].map(|name| format!("{family}.{name}"));
    group.client.create_topic(&first, 1, 3).await?;
    group.client.create_topic(&format!("x{family}.a"), 1, 3).await?;
    let builder = group.client.consumer(&group.name).subscribe_pattern(format!("{family}\\..*"));
    let reading = Reading::start(builder.heartbeat_interval(Duration::from_millis(100)).build().await?);
    until_topics(&reading, &[&first]).await;

    group.client.create_topic(&second, 1, 3).await?;
    until_topics(&reading, &[&first, &second]).await;
    group.client.delete_topic(&first).await?;
    until_topics(&reading, &[&second]).await;

    group.client.create_topic(&third, 1, 3).await?;
    until_topics(&reading, &[&second, &third]).await;
    reading.control.subscribe([&group.topic])?;
    until_topics(&reading, &[&group.topic]).await;
    reading.control.subscribe_pattern(&format!("{family}.[bx]"))?;
    until_topics(&reading, &[&second]).await;
    reading.close().await;
    Ok(())
}

#[tokio::test]
async fn what_makes_no_subscription_is_refused() -> Result<()> {
    let group = Group::new(1).await;
    let consumer = || group.client.consumer(&group.name);
    for (builder, part) in [
        (consumer().subscribe_pattern("("), "\"(\""),
        (consumer().subscribe_pattern("a").subscribe(["a"]), "to both"),
        (consumer().subscribe_pattern("a").assign([(("a", 0), Position::End)]), "both"),
        (group.client.reader().subscribe_pattern("a"), "only a group"),
        (consumer().subscribe(Vec::<String>::new()), "at least one topic"),
    ] {
        let error = builder.build().await.unwrap_err();
        assert!(error.kind() == ErrorKind::Usage && error.to_string().contains(part), "{error}");
    }
    let reader = group.client.reader().assign([(group.partition(0), Position::End)]).build().await?;
    assert_eq!(reader.control().enforce_rebalance("why").unwrap_err().kind(), ErrorKind::Usage);
    assert_eq!(reader.control().subscribe_pattern("a").unwrap_err().kind(), ErrorKind::Usage);
    Ok(())
}

#[tokio::test]
async fn partitions_that_are_added_are_read_from_their_beginning() -> Result<()> {
    let mut group = watchful(1).await?;
    let reading = Reading::start(group.member().build().await?);
    group.until_shared(&[&reading.control], &[1]).await;
    group.write(3).await;
    until_read(&[&reading], 3).await;

    add_partitions(&group.cluster, &group.topic, 3).await;
    group.partitions = 3;
    group.client = crate::client(&group.cluster).await;
    group.write(2).await;
    until_read(&[&reading], 9).await;
    assert_eq!(reading.seen(), [(0, vec![0, 1, 2, 3, 4]), (1, vec![0, 1]), (2, vec![0, 1])].into());
    reading.close().await;
    Ok(())
}

async fn add_partitions(cluster: &TestCluster, topic: &str, count: i32) {
    if let Some(mock) = cluster.mock() {
        return mock.add_partitions(topic, count);
    }
    let wanted = CreatePartitionsTopic { name: topic.to_owned(), count, assignments: None };
    let request = CreatePartitionsRequest { topics: vec![wanted], timeout_ms: 10_000, ..Default::default() };
    let answer = cluster.ask_controller(3, &request, |answer| answer.results[0].error_code).await;
    assert!(answer.results.iter().all(|result| result.error_code.is_none()), "{answer:?}");
    cluster.until_known_everywhere(topic, count).await;
}

#[tokio::test]
async fn whoever_asks_for_it_makes_the_group_divide_anew() -> Result<()> {
    let group = Group::new(2).await;
    let told = [Told::default(), Told::default()];
    let mut members = Vec::new();
    for told in &told {
        members.push(Reading::start(group.member().on_rebalance(told.clone()).build().await?));
    }
    group.until_shared(&[&members[0].control, &members[1].control], &[1, 1]).await;
    let count = |told: &Told, what: &str| told.all().iter().filter(|told| *told == what).count();

    // One of them leads and the other follows.
    for index in 0..2 {
        let (other, changed) = (&told[1 - index], "assigned 0 MemberChange");
        let before = count(other, changed);
        members[index].control.enforce_rebalance("the moon is full")?;
        told[index].until(&format!("assigned 0 {:?}", RebalanceReason::Enforced)).await;
        eventually("the other member's share", async || (count(other, changed) > before).then_some(())).await;
    }
    group.until_shared(&[&members[0].control, &members[1].control], &[1, 1]).await;
    for member in members {
        member.close().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_topic_that_is_created_anew_under_a_subscription_is_lost_and_read_from_its_beginning() -> Result<()> {
    let group = watchful(1).await?;
    group.write(5).await;
    let told = Told::default();
    let mut consumer = group.member().commit_policy(CommitPolicy::Manual).on_rebalance(told.clone()).build().await?;
    let old = read(&mut consumer, 5).await;
    consumer.commit(&old[0]).await?;

    // By somebody else: the member's client knows nothing of it, and may go on for a while with the id that it knows.
    let other = crate::client(&group.cluster).await;
    create_anew(&other, &group.topic, 1).await?;
    group.write_by(&other, 8).await;
    let mut new = read(&mut consumer, 8).await;
    assert_eq!(new.iter().map(|record| record.offset()).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    let refused = consumer.commit(old.last().expect("five")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PartitionLost, "{refused}");
    assert_eq!(told.all()[..3], ["assigned 1 Joined", "lost 1 TopicRecreated", "assigned 1 TopicRecreated"]);
    drop(old);
    new.drain(..7);
    consumer.commit(&new[0]).await?;
    assert_eq!(group.committed().await, [Some(8)]);
    drop(new);
    soon("closing", consumer.close(GENEROUS)).await?;
    Ok(())
}

#[tokio::test]
async fn what_was_committed_of_a_deleted_topic_means_nothing_for_one_of_the_same_name() -> Result<()> {
    let group = Group::new(1).await;
    group.write(5).await;
    let first = Reading::start(group.member().build().await?);
    until_read(&[&first], 5).await;
    first.close().await;
    assert_eq!(group.committed().await, [Some(5)]);

    create_anew(&group.client, &group.topic, 1).await?;
    group.write(8).await;
    let second = Reading::start(group.member().build().await?);
    until_read(&[&second], 8).await;
    assert_eq!(second.seen(), [(0, (0..8).collect())].into());
    second.close().await;
    Ok(())
}
