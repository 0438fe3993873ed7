//! Topics in requests about offsets: by name in older versions, by id in newer ones. Pure.

use std::collections::BTreeMap;

use milena_protocol::ErrorCode;
use milena_protocol::messages::offset_commit::OffsetCommitResponse;
use milena_protocol::messages::offset_fetch::OffsetFetchResponse;
use milena_protocol::primitives::Uuid;

use crate::cluster::metadata::ClusterView;
use crate::consumer::offsets::CommittedOffset;
use crate::topic_partition::TopicPartition;

/// From these versions on, topics are named by their ids alone.
const COMMIT_BY_ID: i16 = 10;
const FETCH_BY_ID: i16 = 10;
/// From this version on, one request may ask about several groups.
pub(super) const FETCH_GROUPS: i16 = 8;

/// What the coordinator answers of each partition.
pub(crate) type Answers = BTreeMap<TopicPartition, Result<Option<CommittedOffset>, ErrorCode>>;

/// One topic in a request.
pub(super) struct Topic<T> {
    pub(super) name: String,
    pub(super) id: Uuid,
    pub(super) partitions: Vec<(i32, T)>,
}

/// A topic whose id is not given has the one that is known.
pub(super) fn topics_of<'a, T>(
    view: &ClusterView,
    partitions: impl Iterator<Item = (&'a TopicPartition, Uuid, T)>,
) -> Vec<Topic<T>> {
    let known = |name: &str| view.topic(name).map_or(Uuid::ZERO, |topic| topic.id);
    let mut topics: BTreeMap<&str, Topic<T>> = BTreeMap::new();
    for (partition, id, what) in partitions {
        let name = partition.topic();
        let topic = topics.entry(name).or_insert_with(|| Topic {
            name: name.to_owned(),
            id: if id.is_zero() { known(name) } else { id },
            partitions: Vec::new(),
        });
        topic.partitions.push((partition.partition(), what));
    }
    topics.into_values().collect()
}

/// The names for the topic ids of a request.
pub(super) struct Names(BTreeMap<Uuid, String>);

impl Names {
    pub(super) fn of<T>(topics: &[Topic<T>]) -> Self {
        Self(topics.iter().map(|topic| (topic.id, topic.name.clone())).collect())
    }

    fn partition(&self, by_id: bool, name: &str, id: Uuid, index: i32) -> Option<TopicPartition> {
        let name = if by_id { self.0.get(&id)?.as_str() } else { name };
        Some((name, index).into())
    }

    pub(super) fn read_commit(&self, body: &OffsetCommitResponse, version: i16) -> BTreeMap<TopicPartition, ErrorCode> {
        let by_id = version >= COMMIT_BY_ID;
        let mut codes = BTreeMap::new();
        for topic in &body.topics {
            for partition in &topic.partitions {
                let name = self.partition(by_id, &topic.name, topic.topic_id, partition.partition_index);
                if let Some(name) = name {
                    codes.entry(name).or_insert(partition.error_code);
                }
            }
        }
        codes
    }

    /// Stored offsets, or the error of a partition; or that of the group.
    pub(super) fn read_fetch(&self, body: OffsetFetchResponse, version: i16) -> Result<Answers, ErrorCode> {
        let mut found = BTreeMap::new();
        let mut take =
            |name: Option<TopicPartition>, code: ErrorCode, (offset, epoch, metadata): (i64, i32, Option<String>)| {
                if let Some(name) = name {
                    let leader_epoch = Some(epoch).filter(|epoch| *epoch >= 0);
                    let metadata = metadata.unwrap_or_default();
                    let stored = (offset >= 0).then_some(CommittedOffset { offset, leader_epoch, metadata });
                    found.entry(name).or_insert(code.ok().map(|()| stored));
                }
            };
        if version < FETCH_GROUPS {
            body.error_code.ok()?;
            for topic in body.topics {
                for partition in topic.partitions {
                    let name = self.partition(false, &topic.name, Uuid::ZERO, partition.partition_index);
                    let stored = (partition.committed_offset, partition.committed_leader_epoch, partition.metadata);
                    take(name, partition.error_code, stored);
                }
            }
            return Ok(found);
        }
        let by_id = version >= FETCH_BY_ID;
        for group in body.groups.into_iter().take(1) {
            group.error_code.ok()?;
            for topic in group.topics {
                for partition in topic.partitions {
                    let name = self.partition(by_id, &topic.name, topic.topic_id, partition.partition_index);
                    let stored = (partition.committed_offset, partition.committed_leader_epoch, partition.metadata);
                    take(name, partition.error_code, stored);
                }
            }
        }
        Ok(found)
    }
}
