//! What a group has committed: OffsetFetch. IO.

use std::collections::BTreeMap;

use milena_protocol::ErrorCode;
use milena_protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use milena_protocol::primitives::Uuid;

use super::attempts::Attempts;
use super::topics::{Answers, FETCH_GROUPS, Names, Topic, topics_of};
use crate::clock::Time;
use crate::cluster::Cluster;
use crate::consumer::offsets::CommittedOffset;
use crate::error::{Error, Result};
use crate::topic_partition::TopicPartition;

/// What the group has stored for these partitions; `None` where there is nothing. Tries again while that may help, also while a
/// transaction is about to store something: all of them are answered, or none.
///
/// # Errors
/// `Broker` if the group or a topic may not be read; `TimedOut` at the deadline.
///
/// # Cancel safety
/// Dropping the future changes nothing.
pub(crate) async fn fetch_committed(
    cluster: &Cluster,
    group: &str,
    partitions: &[TopicPartition],
    deadline: Time,
) -> Result<BTreeMap<TopicPartition, Option<CommittedOffset>>> {
    let check = |answers: Answers, broker| {
        let each = answers.into_iter().map(|(partition, answer)| match answer {
            Ok(stored) => Ok((partition, stored)),
            Err(code) => {
                let doing = format_args!("fetching the committed offset of {partition} for group \"{group}\"");
                Err(Error::broker(doing, code, broker).with_topic_partition(partition))
            }
        });
        each.collect()
    };
    fetch(cluster, group, partitions, deadline, check).await
}

/// The same, but what the coordinator cannot tell of one partition holds up no other.
///
/// # Errors
/// `Broker` if the group may not be read; `TimedOut` at the deadline.
///
/// # Cancel safety
/// Dropping the future changes nothing.
pub(crate) async fn fetch_each_committed(
    cluster: &Cluster,
    group: &str,
    partitions: &[TopicPartition],
    deadline: Time,
) -> Result<Answers> {
    fetch(cluster, group, partitions, deadline, |answers, _| Ok(answers)).await
}

/// Tries until the answer of a broker passes the `check`.
async fn fetch<T>(
    cluster: &Cluster,
    group: &str,
    partitions: &[TopicPartition],
    deadline: Time,
    check: impl Fn(Answers, i32) -> Result<T>,
) -> Result<T> {
    let doing = format!("fetching the committed offsets of group \"{group}\"");
    let mut attempts = Attempts::new(cluster, group, &doing, deadline);
    loop {
        let broker = attempts.coordinator().await?;
        let topics = topics_of(&cluster.view(), partitions.iter().map(|partition| (partition, Uuid::ZERO, ())));
        let names = Names::of(&topics);
        let group_id = group.to_owned();
        let build = move |version| offset_fetch(group_id, topics, version);
        let answer = cluster.call::<OffsetFetchRequest>(broker, attempts.timeout(), build).await;
        let outcome = answer.and_then(|answer| {
            let found = names.read_fetch(answer.body, answer.version);
            let mut found = found.map_err(|code| Error::broker(&doing, code, broker))?;
            let of = |partition: &TopicPartition| {
                (partition.clone(), found.remove(partition).unwrap_or(Err(ErrorCode::REQUEST_TIMED_OUT)))
            };
            check(partitions.iter().map(of).collect(), broker)
        });
        match outcome {
            Ok(found) => return Ok(found),
            Err(error) => attempts.on_failed(broker, error)?,
        }
    }
}

fn offset_fetch(group_id: String, topics: Vec<Topic<()>>, version: i16) -> OffsetFetchRequest {
    let indexes = |topic: &Topic<()>| topic.partitions.iter().map(|(index, _)| *index).collect();
    if version < FETCH_GROUPS {
        let topics = topics
            .into_iter()
            .map(|topic| OffsetFetchRequestTopic { partition_indexes: indexes(&topic), name: topic.name });
        let topics = Some(topics.collect());
        return OffsetFetchRequest { group_id, topics, require_stable: version >= 7, ..Default::default() };
    }
    let topics = topics.into_iter().map(|topic| OffsetFetchRequestTopics {
        partition_indexes: indexes(&topic),
        name: topic.name,
        topic_id: topic.id,
    });
    let group = OffsetFetchRequestGroup { group_id, topics: Some(topics.collect()), ..Default::default() };
    OffsetFetchRequest { groups: vec![group], require_stable: true, ..Default::default() }
}
