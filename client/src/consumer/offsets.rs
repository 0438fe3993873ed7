//! What to commit: for each partition the next offset to read. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::batch::{Batch, ConsumerRecord, RecordView};
use super::lease::{FetchPosition, LeaseId};
use crate::topic_partition::TopicPartition;

/// How far partitions are done, for a commit.
///
/// Made from a record, a batch or a view it says "everything up to and including this", and remembers that this was handed out
/// to this consumer. [`Offsets::at`] says it in Kafka's form.
#[derive(Clone, Debug)]
pub struct Offsets(BTreeMap<TopicPartition, Claim>);

/// What is claimed of one partition.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) next: FetchPosition,
    /// Where what is committed begins, and the lease that it was handed out under; not said by [`Offsets::at`].
    pub(crate) handed_out: Option<(LeaseId, i64)>,
    pub(crate) metadata: Arc<str>,
}

/// What a group has committed of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommittedOffset {
    /// The next offset to read.
    pub offset: i64,
    /// The leader epoch of the record before it, if whoever committed told.
    pub leader_epoch: Option<i32>,
    /// What was committed with it; see [`Offsets::with_metadata`]. Often empty.
    pub metadata: String,
}

impl CommittedOffset {
    pub(crate) fn position(&self) -> FetchPosition {
        FetchPosition { offset: self.offset, epoch: self.leader_epoch.unwrap_or(-1) }
    }
}

impl Offsets {
    /// `next_offset` is the next to be read: one more than that of the last record that is done. It may go back on purpose.
    pub fn at(partition: impl Into<TopicPartition>, next_offset: i64) -> Self {
        Self(BTreeMap::new()).and(partition, next_offset)
    }

    /// And in this partition `next_offset`. A partition named twice has its last offset.
    #[must_use]
    pub fn and(mut self, partition: impl Into<TopicPartition>, next_offset: i64) -> Self {
        let next = FetchPosition { offset: next_offset, epoch: -1 };
        self.0.insert(partition.into(), Claim { next, handed_out: None, metadata: "".into() });
        self
    }

    /// Keeps this text with each of these offsets; [`ConsumerControl::committed_offsets`](crate::ConsumerControl::committed_offsets)
    /// reads it. Brokers take 4096 bytes unless they are configured otherwise (`offset.metadata.max.bytes`), and refuse a commit
    /// with more. What a consumer commits by itself has none.
    #[must_use]
    pub fn with_metadata(mut self, metadata: impl Into<Arc<str>>) -> Self {
        let metadata = metadata.into();
        self.0.values_mut().for_each(|claim| claim.metadata = metadata.clone());
        self
    }

    pub(crate) fn claims(&self) -> impl Iterator<Item = (&TopicPartition, &Claim)> {
        self.0.iter()
    }
}

impl From<&ConsumerRecord> for Offsets {
    fn from(record: &ConsumerRecord) -> Self {
        let handed_out = Some((record.lease(), record.offset()));
        let claim = Claim { next: record.next_position(), handed_out, metadata: "".into() };
        Self(BTreeMap::from([(record.topic_partition().clone(), claim)]))
    }
}

impl From<&Batch> for Offsets {
    fn from(batch: &Batch) -> Self {
        let mut claims: BTreeMap<TopicPartition, Claim> = BTreeMap::new();
        for piece in batch.pieces() {
            let handed_out = Some((piece.chunk.lease, piece.first));
            let first = || Claim { next: piece.next, handed_out, metadata: "".into() };
            let claim = claims.entry(piece.chunk.partition.clone()).or_insert_with(first);
            claim.next = piece.next;
        }
        Self(claims)
    }
}

impl From<RecordView<'_>> for Offsets {
    fn from(view: RecordView<'_>) -> Self {
        // The batch holds its other records itself; they are not in the way.
        let first = view.batch().first_offset(view.topic_partition()).unwrap_or(view.offset);
        let handed_out = Some((view.lease(), first));
        let claim = Claim { next: view.next_position(), handed_out, metadata: "".into() };
        Self(BTreeMap::from([(view.topic_partition().clone(), claim)]))
    }
}
