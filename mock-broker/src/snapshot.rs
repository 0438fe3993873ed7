//! The state of a cluster at one moment, for assertions. Pure.

use std::collections::BTreeMap;

use milena_protocol::ApiKey;
use milena_protocol::group::Assignment;

use crate::core::{Core, GroupState, ProducerState, TransactionState};

/// A member of a consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupMember {
    /// The id that the coordinator has given it.
    pub id: String,
    /// The name of its place, if it is a static member (`group.instance.id`).
    pub instance_id: Option<String>,
    /// The name that it gives itself.
    pub client_id: String,
    /// What the last generation that got an assignment gave it: topics and partitions, in order. Empty if that was nothing, or
    /// is not in the form that consumers use.
    pub assignment: Vec<(String, i32)>,
}

/// The state of a [`MockCluster`](crate::MockCluster) while a closure looks at it: nothing changes meanwhile. Do not call the
/// cluster's other methods from the closure: they wait for its end.
pub struct Snapshot<'a> {
    pub(crate) core: &'a Core,
    pub(crate) requests: &'a BTreeMap<ApiKey, u64>,
    pub(crate) open_connections: usize,
}

impl Snapshot<'_> {
    /// The offset that a group has committed for a partition: that of the next record to read. None if there is none.
    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        self.core.committed(group, topic, partition)
    }

    /// What a consumer group is doing; [`GroupState::Dead`] if it does not exist.
    pub fn group_state(&self, group: &str) -> GroupState {
        self.core.group(group).map_or(GroupState::Dead, |group| group.state)
    }

    /// How often a consumer group has been rebalanced: 1 is the first generation that had members. 0 if there was none yet.
    pub fn group_generation(&self, group: &str) -> i32 {
        self.core.group(group).map_or(0, |group| group.generation)
    }

    /// The members of a consumer group, those that have been in it for longest first; empty if it does not exist.
    pub fn group_members(&self, group: &str) -> Vec<GroupMember> {
        let Some(described) = self.core.group(group) else { return Vec::new() };
        let members = described.members.into_iter().map(|member| GroupMember {
            assignment: partitions(group, &member.id, member.assignment),
            id: member.id,
            instance_id: member.instance_id,
            client_id: member.client_id,
        });
        members.collect()
    }

    /// The offset behind the last record that all in-sync replicas have, as the leader knows it; -1 if there is no such
    /// partition.
    pub fn high_watermark(&self, topic: &str, partition: i32) -> i64 {
        self.core.high_watermark(topic, partition).unwrap_or(-1)
    }

    /// Where consumers with `isolation.level=read_committed` have to stop, as the leader knows it; -1 if there is no such partition.
    pub fn last_stable_offset(&self, topic: &str, partition: i32) -> i64 {
        self.core.last_stable_offset(topic, partition).unwrap_or(-1)
    }

    /// What the leader of a partition knows of the idempotent producers that have written to it, by producer id; empty if there is
    /// no such partition.
    pub fn producers(&self, topic: &str, partition: i32) -> Vec<ProducerState> {
        self.core.producers(topic, partition).unwrap_or_default()
    }

    /// How far the latest transaction of a transactional id is. None if nobody has used it, or no broker coordinates it.
    pub fn transaction_state(&self, transactional_id: &str) -> Option<TransactionState> {
        self.core.transaction(transactional_id).map(|described| described.state)
    }

    /// The transactional ids, in order, whose transactions have begun and not ended: partitions wait for their markers.
    pub fn open_transactions(&self) -> Vec<String> {
        self.core.open_transactions()
    }

    /// The offset that the next record will get; -1 if there is no such partition.
    pub fn log_end(&self, topic: &str, partition: i32) -> i64 {
        self.core.log_end(topic, partition).unwrap_or(-1)
    }

    /// The id of the broker that leads a partition. None if there is no such partition, or nobody leads it.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<i32> {
        self.core.leader(topic, partition).map(|(leader, _)| leader).filter(|leader| *leader >= 0)
    }

    /// The replicas of a partition that are in sync, the leader among them; empty if there is no such partition.
    pub fn in_sync_replicas(&self, topic: &str, partition: i32) -> Vec<i32> {
        self.core.isr(topic, partition).unwrap_or_default()
    }

    /// How many requests of an API the brokers have seen, forgotten ones of the journal included.
    pub fn requests(&self, api: ApiKey) -> u64 {
        self.requests.get(&api).copied().unwrap_or(0)
    }

    /// Connections that neither side has closed.
    pub fn open_connections(&self) -> usize {
        self.open_connections
    }
}

/// What an assignment says, if it is one of consumers.
fn partitions(group: &str, member: &str, assignment: bytes::Bytes) -> Vec<(String, i32)> {
    if assignment.is_empty() {
        return Vec::new();
    }
    let decoded = Assignment::decode(assignment).unwrap_or_else(|error| {
        tracing::debug!(group, member, %error, "the assignment is not a consumer's");
        Assignment::default()
    });
    let mut partitions = Vec::new();
    for (topic, of_topic) in decoded.partitions {
        partitions.extend(of_topic.into_iter().map(|partition| (topic.clone(), partition)));
    }
    partitions.sort_unstable();
    partitions
}
