//! Asks leaders where things are: offsets by time (ListOffsets), ends of leader epochs (OffsetForLeaderEpoch). IO.

use std::collections::BTreeMap;

use milena_protocol::ErrorCode;
use milena_protocol::messages::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use milena_protocol::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};

use super::lease::FetchPosition;
use crate::cluster::Cluster;
use crate::config::IsolationLevel;
use crate::error::Result;
use crate::topic_partition::TopicPartition;

/// What is asked of one partition.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) partition: TopicPartition,
    pub(crate) generation: u64,
    /// The leader epoch as this client knows it.
    pub(crate) leader_epoch: i32,
    /// A timestamp, or a leader epoch.
    pub(crate) about: i64,
}

/// What was answered of one partition; `None`: there is no such record.
pub(crate) type Answer = Result<Option<FetchPosition>, ErrorCode>;

/// The offsets of the first records with these timestamps or later ones. One attempt.
///
/// # Errors
/// As [`Cluster::call`]; errors of single partitions are in the answers.
///
/// # Cancel safety
/// Dropping the future changes nothing.
pub(crate) async fn list_offsets(
    cluster: &Cluster,
    leader: i32,
    isolation: IsolationLevel,
    asked: Vec<Asked>,
) -> Result<BTreeMap<TopicPartition, Answer>> {
    let timeout = cluster.net().limits.request_timeout;
    let build = move |_| {
        let mut topics: Vec<ListOffsetsTopic> = Vec::new();
        for Asked { partition, leader_epoch, about, .. } in asked {
            let entry = ListOffsetsPartition {
                partition_index: partition.partition(),
                current_leader_epoch: leader_epoch,
                timestamp: about,
            };
            match topics.last_mut().filter(|topic| topic.name == partition.topic()) {
                Some(topic) => topic.partitions.push(entry),
                None => topics.push(ListOffsetsTopic { name: partition.topic().to_owned(), partitions: vec![entry] }),
            }
        }
        ListOffsetsRequest {
            replica_id: -1,
            isolation_level: isolation_byte(isolation),
            topics,
            timeout_ms: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
        }
    };
    let response = cluster.call::<ListOffsetsRequest>(leader, timeout, build).await?;
    let mut answers = BTreeMap::new();
    for topic in response.body.topics {
        for partition in topic.partitions {
            let found = FetchPosition { offset: partition.offset, epoch: partition.leader_epoch };
            let answer = partition.error_code.ok().map(|()| (found.offset >= 0).then_some(found));
            // If one comes twice, the first counts.
            answers.entry((topic.name.as_str(), partition.partition_index).into()).or_insert(answer);
        }
    }
    Ok(answers)
}

/// For each partition the greatest leader epoch that is not above the asked one, and where its log ends. One attempt.
///
/// # Errors
/// As [`Cluster::call`]; errors of single partitions are in the answers.
///
/// # Cancel safety
/// Dropping the future changes nothing.
pub(crate) async fn epoch_ends(
    cluster: &Cluster,
    leader: i32,
    asked: Vec<Asked>,
) -> Result<BTreeMap<TopicPartition, Answer>> {
    let build = move |_| {
        let mut topics: Vec<OffsetForLeaderTopic> = Vec::new();
        for Asked { partition, leader_epoch, about, .. } in asked {
            let entry = OffsetForLeaderPartition {
                partition: partition.partition(),
                current_leader_epoch: leader_epoch,
                leader_epoch: i32::try_from(about).unwrap_or(-1),
            };
            match topics.last_mut().filter(|topic| topic.topic == partition.topic()) {
                Some(topic) => topic.partitions.push(entry),
                None => {
                    topics.push(OffsetForLeaderTopic { topic: partition.topic().to_owned(), partitions: vec![entry] });
                }
            }
        }
        OffsetForLeaderEpochRequest { replica_id: -1, topics }
    };
    let timeout = cluster.net().limits.request_timeout;
    let response = cluster.call::<OffsetForLeaderEpochRequest>(leader, timeout, build).await?;
    let mut answers = BTreeMap::new();
    for topic in response.body.topics {
        for partition in topic.partitions {
            let end = FetchPosition { offset: partition.end_offset, epoch: partition.leader_epoch };
            let answer = partition.error_code.ok().map(|()| Some(end));
            answers.entry((topic.topic.as_str(), partition.partition).into()).or_insert(answer);
        }
    }
    Ok(answers)
}

pub(crate) fn isolation_byte(isolation: IsolationLevel) -> i8 {
    match isolation {
        IsolationLevel::ReadUncommitted => 0,
        IsolationLevel::ReadCommitted => 1,
    }
}
