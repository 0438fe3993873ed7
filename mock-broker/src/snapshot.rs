//! The state of a cluster at one moment, for assertions. Pure.

use std::collections::BTreeMap;

use milena_protocol::ApiKey;

use crate::core::Core;

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

    /// The offset behind the last record that all in-sync replicas have, as the leader knows it; -1 if there is no such
    /// partition.
    pub fn high_watermark(&self, topic: &str, partition: i32) -> i64 {
        self.core.high_watermark(topic, partition).unwrap_or(-1)
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
