//! One program, one line of configuration: the strategy of a group by its name.

use std::collections::BTreeSet;

use futures_util::future::try_join_all;
use milena::{Assignments, Assignor, AssignorError, Client, Config, ErrorKind, Member, Result, TopicPartition, Topics};
use milena_tests::eventually::eventually;
use milena_tests::proxy::Proxy;

use super::{Group, Reading};

const PARTITIONS: i32 = 6;
/// Records of each partition, before the death and after it.
const RECORDS: i64 = 20;

/// Gives out the partitions like cards.
struct Deal;

impl Assignor for Deal {
    fn name(&self) -> &str {
        "deal"
    }

    fn assign(&self, members: &[Member<'_>], topics: &Topics) -> Result<Assignments, AssignorError> {
        let mut assignments = Assignments::new(members);
        for topic in topics.names() {
            for (partition, member) in (0..topics.partitions(topic).unwrap_or(0)).zip((0..members.len()).cycle()) {
                assignments.give(member, TopicPartition::new(topic.clone(), partition));
            }
        }
        Ok(assignments)
    }
}

/// A program that is the same for every strategy. It reads in the background.
async fn program(properties: &str, topic: &str, connections: &Proxy) -> Result<Reading> {
    let config = Config::parse_properties(properties)?;
    let client = Client::builder().config(config).connector(connections.connector()).connect().await?;
    let consumer = client.consumer_from_config().subscribe([topic]).register_assignor(Deal);
    Ok(Reading::start(consumer.build().await?))
}

/// Three members share six partitions, one dies without a word, the others process all there is.
async fn quickstart(strategy: &str) -> Result<()> {
    let group = Group::new(PARTITIONS).await;
    group.write(RECORDS).await;
    let properties = format!(
        "bootstrap.servers={}\ngroup.id={}\nsession.timeout.ms=3000\nheartbeat.interval.ms=300\n\
         auto.commit.interval.ms=200\npartition.assignment.strategy={strategy}\n",
        group.cluster.bootstrap(),
        group.name
    );
    let [ours, doomed] = [Proxy::new(), Proxy::new()];
    let member = |connections| program(&properties, &group.topic, connections);
    let [one, two, dying] = [member(&ours).await?, member(&ours).await?, member(&doomed).await?];
    group.until_shared(&[&one.control, &two.control, &dying.control], &[2, 2, 2]).await;

    doomed.hold_requests();
    dying.task.abort();
    group.write(RECORDS).await;
    group.until_shared(&[&one.control, &two.control], &[3, 3]).await;
    group.until_divided_by(strategy).await;

    let all: BTreeSet<_> = (0..PARTITIONS).flat_map(|number| (0..2 * RECORDS).map(move |at| (number, at))).collect();
    let processed = || {
        let seen = [&one, &two, &dying].map(Reading::seen).into_iter().flatten();
        seen.flat_map(|(number, offsets)| offsets.into_iter().map(move |at| (number, at))).collect::<BTreeSet<_>>()
    };
    eventually(&format!("{strategy}: every record"), async || (processed() == all).then_some(())).await;
    group.until_committed(2 * RECORDS).await;
    one.close().await;
    two.close().await;
    assert_eq!(group.committed().await, [Some(2 * RECORDS); PARTITIONS as usize], "{strategy}");
    Ok(())
}

#[tokio::test]
async fn the_strategy_of_a_group_is_one_line_of_its_configuration() -> Result<()> {
    try_join_all(["range", "roundrobin", "sticky", "cooperative-sticky", "deal"].map(quickstart)).await?;
    Ok(())
}

#[tokio::test]
async fn a_group_id_that_contradicts_the_group_of_the_consumer_is_refused() -> Result<()> {
    let group = Group::new(1).await;
    let config = |id: &str| Config::default().set("group.id", id);
    let other = group.member().config(config("another")?).build().await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Config);
    let text = other.to_string();
    assert!(text.contains("group.id=another") && text.contains(&group.name), "{text}");

    drop(group.member().config(config(&group.name)?).build().await?);
    let consumer = group.client.consumer_from_config().subscribe([&group.topic]);
    assert_eq!(consumer.build().await.unwrap_err().kind(), ErrorKind::Config, "there is none in it");
    Ok(())
}
