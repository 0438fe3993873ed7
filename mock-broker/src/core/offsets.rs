//! Committed offsets: records of `__consumer_offsets`, and what the coordinator of a group reads from them. Pure.
//!
//! A coordinator is the leader of one partition of that topic. Its view is what the log says up to the high watermark, so
//! that the next leader finds the same.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use milena_protocol::ErrorCode;
use milena_protocol::records::{BatchError, ControlMarker};

use super::append::{Appended, Rejection};
use super::controller::{Layout, PartitionId};
use super::log::{self, Log, LogRecord};
use super::transactions::Identity;
use super::{Core, controller};

mod pending;
mod record;

use pending::PendingOffsets;
pub(crate) use record::OffsetKey;

pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";
pub(crate) const TRANSACTIONS_TOPIC: &str = "__transaction_state";

/// How long a commit waits for the followers.
pub(crate) const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommittedOffset {
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: String,
    pub(crate) commit_timestamp: i64,
    pub(crate) topic_id: milena_protocol::primitives::Uuid,
    /// The offset of its own record; -1 before it is written.
    pub(crate) written_at: i64,
}

type OffsetsOfGroup = BTreeMap<(String, i32), CommittedOffset>;

/// What one partition of `__consumer_offsets` says.
#[derive(Debug, Default)]
pub(crate) struct CommittedOffsets {
    /// Records below this offset have been read.
    applied: i64,
    groups: BTreeMap<String, OffsetsOfGroup>,
    pending: PendingOffsets,
}

impl CommittedOffsets {
    pub(crate) fn of_group(&self, group: &str) -> Option<&OffsetsOfGroup> {
        self.groups.get(group)
    }

    pub(super) fn group_ids(&self) -> impl Iterator<Item = &String> {
        self.groups.keys()
    }

    pub(crate) fn get(&self, group: &str, topic: &str, partition: i32) -> Option<&CommittedOffset> {
        self.groups.get(group)?.get(&(topic.to_owned(), partition))
    }

    /// Whether a transaction that has not ended would commit an offset for this partition.
    pub(crate) fn is_pending(&self, group: &str, topic: &str, partition: i32) -> bool {
        self.pending.contains(&OffsetKey { group: group.to_owned(), topic: topic.to_owned(), partition })
    }

    fn read_on(&mut self, log: &Log, high_watermark: i64) -> Result<(), BatchError> {
        for batch in log.batches_between(self.applied, high_watermark) {
            let header = batch.header();
            let transaction = header.attributes.is_transactional().then_some(header.producer_id);
            match (log::marker_of(batch), transaction) {
                (Some(marker), Some(producer_id)) => self.end_transaction(producer_id, marker),
                _ => log::records_of(batch)?.into_iter().for_each(|entry| self.read(entry, transaction)),
            }
            self.applied = header.next_offset();
        }
        Ok(())
    }

    /// Takes in a record, if it is one of a committed offset.
    fn read(&mut self, entry: LogRecord, transaction: Option<i64>) {
        let Some(key) = entry.key.and_then(OffsetKey::decode) else { return };
        let value = entry.value.map(record::decode_value).transpose();
        match (value, transaction) {
            (Err(error), _) => tracing::warn!(%error, offset = entry.offset, "not a committed offset"),
            (Ok(Some(value)), Some(producer_id)) => {
                self.pending.insert(producer_id, key, CommittedOffset { written_at: entry.offset, ..value });
            }
            (Ok(value), _) => {
                self.apply(key, value.map(|value| CommittedOffset { written_at: entry.offset, ..value }));
            }
        }
    }

    /// The transaction of a producer has ended. What was committed after it had written its offsets stays.
    fn end_transaction(&mut self, producer_id: i64, marker: ControlMarker) {
        let ended = self.pending.take(producer_id);
        let committed = ended.into_iter().filter(|_| marker == ControlMarker::Commit);
        for (key, value) in committed {
            let before = self.get(&key.group, &key.topic, key.partition);
            if before.is_none_or(|before| before.written_at < value.written_at) {
                self.apply(key, Some(value));
            }
        }
    }

    fn apply(&mut self, key: OffsetKey, value: Option<CommittedOffset>) {
        let partition = (key.topic, key.partition);
        match value {
            Some(committed) => {
                self.groups.entry(key.group).or_default().insert(partition, committed);
            }
            None => {
                if let Some(group) = self.groups.get_mut(&key.group) {
                    group.remove(&partition);
                    if group.is_empty() {
                        self.groups.remove(&key.group);
                    }
                }
            }
        }
    }
}

/// Which of `partitions` partitions has what belongs to `key`: Java's hash of the string decides.
pub(crate) fn partition_of(key: &str, partitions: i32) -> i32 {
    let hash = key.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // Java's `abs` of the smallest integer has no value; Kafka takes 0 for it.
    hash.checked_abs().unwrap_or(0) % partitions.max(1)
}

impl Core {
    /// Creates a topic for the brokers' own records unless it is there. Tells whether it was.
    pub(crate) fn ensure_internal_topic(&mut self, broker: i32, name: &str) -> Result<bool, controller::Refusal> {
        if self.view(broker).topic(name).is_some() {
            return Ok(true);
        }
        if !self.is_in_touch(broker) {
            return Ok(false);
        }
        let configs = [("cleanup.policy", "compact"), ("compression.type", "producer"), ("segment.bytes", "104857600")];
        let configs = configs.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let partitions = self.settings.offsets_partitions;
        let layout = Layout::Spread { partitions, replication_factor: self.settings.default_replication_factor };
        self.create(name, &layout, configs)?;
        Ok(false)
    }

    /// The partition of an internal topic that has what belongs to `key`, if the topic exists.
    pub(crate) fn partition_for_key(&self, topic: &str, key: &str) -> Option<PartitionId> {
        let topic = self.controller.topic(topic)?;
        let partitions = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        Some(PartitionId { topic: topic.id, index: partition_of(key, partitions) })
    }

    /// The offsets of a group, at the broker that coordinates it.
    ///
    /// # Errors
    /// If that is another broker, or if it has not read them yet.
    pub(crate) fn offsets_at(&self, broker: i32, group: &str) -> Result<(PartitionId, &CommittedOffsets), ErrorCode> {
        let id = self.partition_for_key(OFFSETS_TOPIC, group).ok_or(ErrorCode::NOT_COORDINATOR)?;
        let broker = self.brokers.get(&broker).ok_or(ErrorCode::NOT_COORDINATOR)?;
        broker.check_loaded(id)?;
        broker.offsets.get(&id.index).map(|offsets| (id, offsets)).ok_or(ErrorCode::NOT_COORDINATOR)
    }

    /// Writes offsets of one group into the log of `__consumer_offsets`. They count once they are below its high watermark, and
    /// if they belong to a transaction, once it has committed.
    pub(crate) fn write_offsets(
        &mut self,
        now: Duration,
        broker: i32,
        id: PartitionId,
        transaction: Option<Identity>,
        offsets: &[(OffsetKey, Option<CommittedOffset>)],
    ) -> Result<Appended, ErrorCode> {
        let mut records = Vec::with_capacity(offsets.len());
        for (key, value) in offsets {
            let encoded = |error| {
                tracing::error!(%error, "an offset commit does not fit into a record");
                ErrorCode::UNKNOWN_SERVER_ERROR
            };
            let key = key.encode().map_err(encoded)?;
            let value = value.as_ref().map(record::encode_value).transpose().map_err(encoded)?;
            records.push((key, value));
        }
        self.append_for_coordinator(now, broker, id, transaction, &records)
    }

    /// Writes records of a coordinator's own into its log.
    ///
    /// # Errors
    /// Why it cannot, in words for clients of a coordinator.
    pub(super) fn append_for_coordinator(
        &mut self,
        now: Duration,
        broker: i32,
        id: PartitionId,
        transaction: Option<Identity>,
        records: &[(Bytes, Option<Bytes>)],
    ) -> Result<Appended, ErrorCode> {
        self.append_own(now, broker, id, transaction, records).map_err(|Rejection { refusal, .. }| match refusal.code {
            ErrorCode::NOT_ENOUGH_REPLICAS => ErrorCode::COORDINATOR_NOT_AVAILABLE,
            ErrorCode::NOT_LEADER_OR_FOLLOWER => ErrorCode::NOT_COORDINATOR,
            code => code,
        })
    }

    pub(super) fn is_offsets_topic(&self, id: PartitionId) -> bool {
        self.controller.topic(OFFSETS_TOPIC).is_some_and(|topic| topic.id == id.topic)
    }

    /// After a change of leader: the new one starts to coordinate with what it reads in its log, others stop.
    pub(super) fn coordinate_offsets(&mut self, id: PartitionId) {
        if !self.is_offsets_topic(id) {
            return;
        }
        for broker in self.brokers.values_mut().filter(|broker| broker.is_up()) {
            if broker.leads(id) {
                broker.offsets.entry(id.index).or_default();
            } else {
                broker.offsets.remove(&id.index);
            }
        }
        self.apply_offsets(id);
    }

    /// The coordinator reads on in its log, up to the high watermark.
    pub(super) fn apply_offsets(&mut self, id: PartitionId) {
        if !self.is_offsets_topic(id) {
            return;
        }
        for broker in self.brokers.values_mut() {
            let (Some(offsets), Some(replica)) = (broker.offsets.get_mut(&id.index), broker.replicas.get(&id)) else {
                continue;
            };
            if let Err(error) = offsets.read_on(&replica.log, replica.high_watermark) {
                tracing::error!(%error, partition = id.index, "the log of {OFFSETS_TOPIC} cannot be read");
            }
        }
    }

    /// The offsets of a deleted topic go too: a topic of the same name would start with them.
    pub(super) fn delete_offsets_of(&mut self, now: Duration, topic: &str) {
        let mut tombstones: Vec<(i32, i32, Vec<_>)> = Vec::new();
        for broker in self.brokers.values().filter(|broker| broker.is_in_touch()) {
            for (partition, offsets) in &broker.offsets {
                let of_topic = offsets.groups.iter().flat_map(|(group, offsets)| {
                    let of_topic = offsets.keys().filter(|(name, _)| name == topic);
                    of_topic.map(|(name, partition)| {
                        (OffsetKey { group: group.clone(), topic: name.clone(), partition: *partition }, None)
                    })
                });
                tombstones.push((broker.id, *partition, of_topic.collect()));
            }
        }
        let Some(offsets_topic) = self.controller.topic(OFFSETS_TOPIC).map(|topic| topic.id) else { return };
        for (broker, index, tombstones) in tombstones.into_iter().filter(|(.., tombstones)| !tombstones.is_empty()) {
            let id = PartitionId { topic: offsets_topic, index };
            if let Err(code) = self.write_offsets(now, broker, id, None, &tombstones) {
                tracing::warn!(%code, topic, "the committed offsets of a deleted topic stay");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_hashes_decide() {
        // "billing".hashCode() is -109829509 and "polygenelubricants".hashCode() is Integer.MIN_VALUE.
        assert_eq!(partition_of("billing", 50), 9);
        assert_eq!(partition_of("polygenelubricants", 50), 0);
        assert_eq!(partition_of("", 5), 0);
        assert_eq!(partition_of("a", 5), 97 % 5);
    }
}
