//! Offsets that count when the transactions that they were written in commit. Pure.

use std::collections::BTreeMap;

use super::{CommittedOffset, OffsetKey};

/// By producer id.
#[derive(Debug, Default)]
pub(super) struct PendingOffsets(BTreeMap<i64, BTreeMap<OffsetKey, CommittedOffset>>);

impl PendingOffsets {
    /// The latest offset of a transaction for a partition is the one that counts.
    pub(super) fn insert(&mut self, producer_id: i64, key: OffsetKey, offset: CommittedOffset) {
        self.0.entry(producer_id).or_default().insert(key, offset);
    }

    /// The producer's transaction has ended. Gives what it would have committed.
    pub(super) fn take(&mut self, producer_id: i64) -> BTreeMap<OffsetKey, CommittedOffset> {
        self.0.remove(&producer_id).unwrap_or_default()
    }

    pub(super) fn contains(&self, key: &OffsetKey) -> bool {
        self.0.values().any(|offsets| offsets.contains_key(key))
    }
}
