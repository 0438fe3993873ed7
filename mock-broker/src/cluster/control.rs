//! What a test does to one broker or one partition. IO.

use std::time::Duration;

use bytes::Bytes;
use milena_protocol::ErrorCode;

use super::{MockCluster, expect_done};
use crate::core::{Core, LogMarker, LogRecord, ProducerState};

/// One broker of a [`MockCluster`]. Everything it does has taken effect when the call returns.
#[derive(Clone, Debug)]
pub struct BrokerControl {
    cluster: MockCluster,
    id: i32,
    host: String,
    port: u16,
}

impl BrokerControl {
    #[track_caller]
    pub(super) fn new(cluster: MockCluster, id: i32) -> Self {
        let address = cluster.shared().lock().broker(id).map(|address| (address.host.clone(), address.port));
        let Some((host, port)) = address else {
            panic!("there is no broker {id} in the mock cluster {}: ids count from 1", cluster.bootstrap());
        };
        Self { cluster, id, host, port }
    }

    /// Its id.
    pub fn id(&self) -> i32 {
        self.id
    }

    /// The host that it tells clients.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port that it tells clients, and listens on unless the cluster is in memory.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it runs. A frozen broker does.
    pub fn is_up(&self) -> bool {
        self.cluster.shared().lock().core.is_up(self.id)
    }

    /// Ends the broker as a power failure would, except that its disk survives: its connections break, new ones are refused,
    /// and an in-sync replica leads each of its partitions, if there is one. Nothing happens if it is down already.
    pub fn crash(&self) {
        self.cluster.shared().crash(self.id);
    }

    /// Starts it again after a crash, on the same port; its replicas catch up with their leaders. Nothing happens if it is up.
    ///
    /// # Panics
    /// If something else has taken its port, or the cluster has been stopped.
    pub fn restart(&self) {
        if let Err(error) = self.cluster.shared().restart(self.id) {
            panic!("mock broker {} cannot restart on {}:{}: {error}", self.id, self.host, self.port);
        }
    }

    /// Makes it accept connections and requests without working on any, as a stopped process would. The rest of the cluster
    /// does not notice: no other broker takes over, its replicas go on following, and what it has parked still times out. A
    /// crash ends the freeze.
    pub fn freeze(&self) {
        self.freeze_or_thaw(true);
    }

    /// Lets it go on where it was frozen, with the requests that came meanwhile.
    pub fn thaw(&self) {
        self.freeze_or_thaw(false);
    }

    fn freeze_or_thaw(&self, frozen: bool) {
        let mut state = self.cluster.shared().lock();
        if let Some(door) = state.doors.get_mut(&self.id).filter(|door| door.is_open()) {
            door.freeze(frozen);
        }
    }
}

/// One partition of a topic of a [`MockCluster`].
#[derive(Clone, Debug)]
pub struct PartitionControl {
    cluster: MockCluster,
    topic: String,
    partition: i32,
}

impl PartitionControl {
    pub(super) fn new(cluster: MockCluster, topic: &str, partition: i32) -> Self {
        Self { cluster, topic: topic.to_owned(), partition }
    }

    /// Makes a broker the leader, with a new leader epoch. Clients of the old one are answered `NOT_LEADER_OR_FOLLOWER`.
    ///
    /// # Panics
    /// If that broker has no replica of the partition, is down, or is not in sync.
    pub fn elect(&self, broker: i32) {
        let (topic, partition) = (&self.topic, self.partition);
        let elected = self.cluster.shared().change(|state, now| state.core.elect(now, topic, partition, broker));
        expect_done(elected, || format!("elect broker {broker} leader of {topic}-{partition}"));
    }

    /// The id of the leader, if there is one.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn leader(&self) -> Option<i32> {
        let (leader, _) = self.look(Core::leader);
        (leader >= 0).then_some(leader)
    }

    /// The leader epoch: how often a leader has been elected.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn leader_epoch(&self) -> i32 {
        self.look(Core::leader).1
    }

    /// The ids of the brokers that have a copy, the preferred leader first.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn replicas(&self) -> Vec<i32> {
        self.look(Core::replicas)
    }

    /// The ids of the brokers whose copies are in sync.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn in_sync_replicas(&self) -> Vec<i32> {
        self.look(Core::isr)
    }

    /// All records below the high watermark, control records left out. Of a partition without a leader, those on the disk of
    /// the last one.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn records(&self) -> Vec<LogRecord> {
        self.look(Core::records)
    }

    /// The values of all [`records`](Self::records); null values are left out.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn values(&self) -> Vec<Bytes> {
        self.records().into_iter().filter_map(|record| record.value).collect()
    }

    /// The records that a consumer with `isolation.level=read_committed` gets: those below the last stable offset that no aborted
    /// transaction has written.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn committed_records(&self) -> Vec<LogRecord> {
        self.look(Core::committed_records)
    }

    /// The values of all [`committed_records`](Self::committed_records); null values are left out.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn committed_values(&self) -> Vec<Bytes> {
        self.committed_records().into_iter().filter_map(|record| record.value).collect()
    }

    /// The markers below the high watermark: where producers' transactions have ended here, and how.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn markers(&self) -> Vec<LogMarker> {
        self.look(Core::markers)
    }

    /// What the leader knows of the idempotent producers that have written here, by producer id.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn producers(&self) -> Vec<ProducerState> {
        self.look(Core::producers)
    }

    /// Where consumers with `isolation.level=read_committed` have to stop: the first record of the earliest transaction that has
    /// not ended, or the high watermark.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn last_stable_offset(&self) -> i64 {
        self.look(Core::last_stable_offset)
    }

    /// The offset behind the last record that all in-sync replicas have, as the leader knows it.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn high_watermark(&self) -> i64 {
        self.look(Core::high_watermark)
    }

    /// The offset of the first record that is still kept.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn log_start(&self) -> i64 {
        self.look(Core::log_start)
    }

    /// The offset that the next record will get.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn log_end(&self) -> i64 {
        self.look(Core::log_end)
    }

    /// Removes what `retention.ms` and `retention.bytes` let go, now instead of at the next check. As in Kafka, whole segments
    /// go (`segment.bytes`, `segment.ms`), the active one only if `retention.ms` lets it, and never what is at or above the high
    /// watermark.
    ///
    /// # Panics
    /// If there is no such partition, or nobody leads it.
    #[track_caller]
    pub fn apply_retention(&self) {
        self.change("apply the retention of", Core::apply_retention_now);
    }

    /// Compacts the partition now, whatever its topic's `cleanup.policy`: of each key, the last record below the high watermark
    /// stays, at its offset; records without a key go. Kafka leaves the active segment alone; here it is closed first, so that all
    /// that was written before the call is compacted. Tombstones go when they were compacted before and `delete.retention.ms`
    /// has passed since.
    ///
    /// # Panics
    /// If there is no such partition, or nobody leads it.
    #[track_caller]
    pub fn compact(&self) {
        self.change("compact", Core::compact_now);
    }

    /// Deletes the records below an offset: the log starts there. The offset is clamped to the high watermark.
    ///
    /// # Panics
    /// If there is no such partition, or nobody leads it.
    #[track_caller]
    pub fn delete_records(&self, before: i64) {
        self.change("delete records of", |core, now, topic, partition| {
            core.delete_records_now(now, topic, partition, before)
        });
    }

    #[track_caller]
    fn change(&self, what: &str, change: impl FnOnce(&mut Core, Duration, &str, i32) -> Result<(), ErrorCode>) {
        let (topic, partition) = (&self.topic, self.partition);
        let done = self.cluster.shared().change(|state, now| change(&mut state.core, now, topic, partition));
        expect_done(done, || format!("{what} {topic}-{partition}"));
    }

    #[track_caller]
    fn look<T>(&self, look: impl FnOnce(&Core, &str, i32) -> Option<T>) -> T {
        let found = look(&self.cluster.shared().lock().core, &self.topic, self.partition);
        found.unwrap_or_else(|| panic!("the mock cluster has no partition {}-{}", self.topic, self.partition))
    }
}
