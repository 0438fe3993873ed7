//! The state of a cluster at one moment, for assertions. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use milena_protocol::ApiKey;
use milena_protocol::frame::{RequestHeader, decode_request};
use milena_protocol::group::Assignment;
use milena_protocol::messages::api_versions::ApiVersionsRequest;
use milena_protocol::primitives::Decoder;

use crate::core::{Core, GroupState, LogRecord, ProducerState, TransactionState};

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

/// An open connection, as far as its client has told about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connection {
    /// Its number: each has its own, counted from 1 in the order in which they were accepted.
    pub number: u64,
    /// The id of the broker that accepted it.
    pub broker: i32,
    /// When, counted from the start of the cluster; virtual on a paused runtime.
    pub opened_at: Duration,
    /// Where the client is, in the form that brokers show: `/127.0.0.1`.
    pub client_host: String,
    /// The name that the client gives itself (`client.id`), once it has sent a request.
    pub client_id: Option<Arc<str>>,
    /// Name and version of the client's software, if it has told them (ApiVersions from version 3 on).
    pub client_software: Option<(String, String)>,
    /// The version of each API that the client has used here, which is what it has negotiated.
    pub versions: BTreeMap<ApiKey, i16>,
}

impl Connection {
    pub(crate) fn new(opened_at: Duration, number: u64, broker: i32, client_host: String) -> Self {
        let (client_id, client_software, versions) = (None, None, BTreeMap::new());
        Self { number, broker, opened_at, client_host, client_id, client_software, versions }
    }

    pub(crate) fn on_request(&mut self, header: &RequestHeader, body: &Bytes) {
        let (api, version) = (header.api_key, header.api_version);
        // What the cluster does not serve was not negotiated, and there may be any number of it.
        if crate::api::is_served(api, version) {
            self.versions.insert(api, version);
        }
        if self.client_id.as_deref() != header.client_id.as_deref() {
            self.client_id = header.client_id.as_deref().map(Into::into);
        }
        if api == ApiKey::API_VERSIONS
            && version >= 3
            && let Ok(request) = decode_request::<ApiVersionsRequest>(version, &mut Decoder::new(body.clone()))
        {
            self.client_software = Some((request.client_software_name, request.client_software_version));
        }
    }
}

/// The state of a [`MockCluster`](crate::MockCluster) while a closure looks at it: nothing changes meanwhile. The
/// cluster's other methods panic when they are called from the closure, as they would wait for its end.
pub struct Snapshot<'a> {
    pub(crate) core: &'a Core,
    pub(crate) requests: &'a BTreeMap<ApiKey, u64>,
    pub(crate) connections: Vec<&'a Connection>,
}

impl Snapshot<'_> {
    /// The offset that a group has committed for a partition: that of the next record to read. None if there is none.
    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        self.core.committed(group, topic, partition)
    }

    /// All offsets that a group has committed: topic, partition, and the offset of the next record to read, in this order.
    pub fn committed_offsets(&self, group: &str) -> Vec<(String, i32, i64)> {
        self.core.committed_offsets(group)
    }

    /// The id of the broker that coordinates a group. None if there is none: nobody has asked for one, or it is down.
    pub fn group_coordinator(&self, group: &str) -> Option<i32> {
        Some(self.core.coordinator(group)).filter(|id| *id >= 0)
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

    /// The offset of the first record that is still kept; -1 if there is no such partition.
    pub fn log_start(&self, topic: &str, partition: i32) -> i64 {
        self.core.log_start(topic, partition).unwrap_or(-1)
    }

    /// All records below the high watermark, in order, control records left out; empty if there is no such partition.
    pub fn records(&self, topic: &str, partition: i32) -> Vec<LogRecord> {
        self.core.records(topic, partition).unwrap_or_default()
    }

    /// The values of all [`records`](Self::records); null values are left out.
    pub fn values(&self, topic: &str, partition: i32) -> Vec<Bytes> {
        self.records(topic, partition).into_iter().filter_map(|record| record.value).collect()
    }

    /// The records that consumers with `isolation.level=read_committed` get, in order; empty if there is no such partition.
    pub fn committed_records(&self, topic: &str, partition: i32) -> Vec<LogRecord> {
        self.core.committed_records(topic, partition).unwrap_or_default()
    }

    /// What the leader remembers of idempotent producers, by their ids; empty if there is no such partition.
    pub fn producers(&self, topic: &str, partition: i32) -> Vec<ProducerState> {
        self.core.producers(topic, partition).unwrap_or_default()
    }

    /// The leader epoch: how often a leader has been elected; -1 if there is no such partition.
    pub fn leader_epoch(&self, topic: &str, partition: i32) -> i32 {
        self.core.leader(topic, partition).map_or(-1, |(_, epoch)| epoch)
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

    /// Connections that neither side has closed. That a client has closed one shows when no fault delays a request of it.
    pub fn open_connections(&self) -> usize {
        self.connections.len()
    }

    /// The connections that neither side has closed, oldest first.
    pub fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.connections.iter().copied()
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
