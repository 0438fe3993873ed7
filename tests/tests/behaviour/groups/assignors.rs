//! How partitions are divided: Kafka's strategies, the application's own, and those that fail.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use milena::{
    Assignments, Assignor, AssignorError, Config, ErrorCode, ErrorKind, Member, Position, Result, TopicPartition,
    Topics,
};
use milena_tests::cluster::TestCluster;
use milena_tests::eventually::eventually;

use super::{Group, Reading, until_read};
use crate::{GENEROUS, soon};

/// Gives everything to the member with the least id.
struct Standby;

impl Assignor for Standby {
    fn name(&self) -> &str {
        "standby"
    }

    fn assign(&self, members: &[Member<'_>], topics: &Topics) -> Result<Assignments, AssignorError> {
        let mut assignments = Assignments::new(members);
        let least = (0..members.len()).min_by_key(|member| members[*member].id).unwrap_or(0);
        for topic in topics.names() {
            for partition in 0..topics.partitions(topic).unwrap_or(0) {
                assignments.give(least, TopicPartition::new(topic.clone(), partition));
            }
        }
        Ok(assignments)
    }
}

/// Fails in every way, then gives up failing.
struct Failing {
    calls: AtomicU32,
    mended: Arc<AtomicBool>,
}

impl Assignor for Failing {
    fn name(&self) -> &str {
        "failing"
    }

    fn assign(&self, members: &[Member<'_>], topics: &Topics) -> Result<Assignments, AssignorError> {
        if self.mended.load(Ordering::SeqCst) {
            return Standby.assign(members, topics);
        }
        match self.calls.fetch_add(1, Ordering::SeqCst) {
            0 => Err("no idea".into()),
            1 => panic!("no idea at all"),
            _ => Ok(Assignments::new(members)),
        }
    }
}

#[tokio::test]
async fn roundrobin_is_chosen_by_name_or_by_config() -> Result<()> {
    let group = Group::new(4).await;
    let first = Reading::start(group.member().assignors(["roundrobin"]).build().await?);
    let config = Config::default().set("partition.assignment.strategy", "roundrobin, range")?;
    let second = Reading::start(group.member().config(config).build().await?);
    group.until_shared(&[&first.control, &second.control], &[2, 2]).await;
    let share = first.control.assignment();
    // Range would give neighbours.
    assert_eq!((share[1].partition() - share[0].partition()).abs(), 2, "{share:?}");
    group.write(3).await;
    until_read(&[&first, &second], 12).await;
    first.close().await;
    second.close().await;
    Ok(())
}

#[tokio::test]
async fn an_assignor_of_ones_own_divides_as_it_likes() -> Result<()> {
    let group = Group::new(3).await;
    let mut members = Vec::new();
    for _ in 0..3 {
        let builder = group.member().register_assignor(Standby).assignors(["standby"]);
        members.push(Reading::start(builder.build().await?));
    }
    let controls: Vec<_> = members.iter().map(|member| &member.control).collect();
    group.until_shared(&controls, &[0, 0, 3]).await;
    group.write(2).await;
    milena_tests::eventually::eventually("6 records", async || {
        (members.iter().map(Reading::count).sum::<usize>() == 6).then_some(())
    })
    .await;
    for member in members {
        member.close().await;
    }
    Ok(())
}

#[tokio::test]
async fn an_assignor_that_fails_is_named_and_the_group_lives() -> Result<()> {
    let group = Group::new(2).await;
    let mended = Arc::new(AtomicBool::new(false));
    let failing = Failing { calls: AtomicU32::new(0), mended: mended.clone() };
    let mut consumer = group.member().register_assignor(failing).assignors(["failing"]).build().await?;
    for words in ["could not divide the partitions", "no idea at all", "gave nobody"] {
        let error = soon("the error", consumer.next()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UserCode);
        let text = error.to_string();
        assert!(text.contains("assignor \"failing\""), "{text}");
        assert!(text.contains(words) || words == "gave nobody", "{text}");
    }
    mended.store(true, Ordering::SeqCst);
    let reading = Reading::start(consumer);
    group.until_shared(&[&reading.control], &[2]).await;
    reading.close().await;
    Ok(())
}

#[tokio::test]
async fn members_without_a_common_assignor_cannot_be_in_one_group() -> Result<()> {
    let group = Group::new(2).await;
    let first = Reading::start(group.member().build().await?);
    group.until_shared(&[&first.control], &[2]).await;
    let mut other = group.member().assignors(["roundrobin"]).build().await?;
    let error = soon("the refusal", other.next()).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Broker, Some(ErrorCode::INCONSISTENT_GROUP_PROTOCOL)));
    assert!(error.to_string().contains("roundrobin"), "{error}");
    soon("closing", other.close(GENEROUS)).await?;
    first.close().await;
    Ok(())
}

#[tokio::test]
async fn what_cannot_work_is_refused_when_it_is_built() -> Result<()> {
    let group = Group::new(1).await;
    let refused = async |builder: milena::ConsumerBuilder| {
        let error = builder.build().await.expect_err("it is refused");
        (error.kind(), error.to_string())
    };
    let (kind, text) = refused(group.member().assignors(["stickie"])).await;
    assert_eq!(kind, ErrorKind::Config);
    assert!(text.contains("stickie") && text.contains("range") && text.contains("roundrobin"), "{text}");

    let assigned = [(group.partition(0), Position::Beginning)];
    assert_eq!(refused(group.member().assign(assigned)).await.0, ErrorKind::Usage);
    assert_eq!(refused(group.client.reader().subscribe([&group.topic])).await.0, ErrorKind::Usage);
    assert_eq!(refused(group.client.consumer("").subscribe([&group.topic])).await.0, ErrorKind::Usage);
    assert_eq!(refused(group.client.consumer("g").subscribe(Vec::<String>::new())).await.0, ErrorKind::Usage);
    let slow = group.member().heartbeat_interval(std::time::Duration::from_secs(3));
    let (kind, text) = refused(slow).await;
    assert_eq!(kind, ErrorKind::Config);
    assert!(text.contains("heartbeat.interval.ms=3000") && text.contains("session.timeout.ms=6000"), "{text}");
    Ok(())
}

#[tokio::test]
async fn range_gives_members_in_racks_the_partitions_that_have_replicas_there() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let client = crate::client(&cluster).await;
    // Of equally many partitions those with the same number would go to the same member.
    let one = cluster.topic_over("racks", &[&[1], &[2], &[3]], &[]).await;
    let other = cluster.topic_over("racks", &[&[2], &[3], &[1], &[2], &[3], &[1]], &[]).await;
    let (group, mut members) = (cluster.unique("group"), Vec::new());
    for rack in ["r1", "r2", "r3"] {
        let builder = client.consumer(&group).subscribe([&one, &other]).assignors(["range"]);
        let builder = builder.config(Config::default().set("client.rack", rack)?);
        members.push(builder.heartbeat_interval(Duration::from_millis(100)).build().await?);
    }
    // Without racks who has the first partition of one has the first two of the other.
    let partition = |topic: &str, partition| TopicPartition::new(topic, partition);
    let near = [(0, [2, 5]), (1, [0, 3]), (2, [1, 4])].map(|(first, second)| {
        let second = second.map(|number| partition(&other, number));
        BTreeSet::from_iter(second.into_iter().chain([partition(&one, first)]))
    });
    eventually("the partitions in its rack for each", async || {
        let shares = members.iter().map(|member| BTreeSet::from_iter(member.control().assignment()));
        shares.eq(near.iter().cloned()).then_some(())
    })
    .await;
    for member in members {
        member.close(GENEROUS).await?;
    }
    Ok(())
}
