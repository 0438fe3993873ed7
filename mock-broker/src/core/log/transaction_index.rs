//! Which transactions of a log are open, and where those that were aborted are. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use milena_protocol::records::{Batch, ControlMarker, control_marker};

/// A transaction whose records do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Aborted {
    pub(crate) producer_id: i64,
    pub(crate) first_offset: i64,
    /// Of its marker.
    last_offset: i64,
    /// The last stable offset once it had ended: what begins at or after it cannot overlap this one.
    last_stable_offset: i64,
}

/// Built from the batches of a log in their order, so that each replica has its own.
#[derive(Debug, Default)]
pub(super) struct TransactionIndex {
    /// By producer id: where the first record of its open transaction is.
    open: BTreeMap<i64, i64>,
    /// The same offsets.
    open_at: BTreeSet<i64>,
    /// First offset and marker of those that have ended, as long as the marker may be above the high watermark.
    ended: VecDeque<(i64, i64)>,
    /// In the order of their markers.
    aborted: Vec<Aborted>,
}

impl TransactionIndex {
    pub(super) fn append(&mut self, batch: &Batch, high_watermark: i64) {
        let header = batch.header();
        if !header.attributes.is_transactional() || header.producer_id < 0 {
            return;
        }
        let (producer_id, offset) = (header.producer_id, header.base_offset);
        if !header.attributes.is_control() {
            let first_offset = *self.open.entry(producer_id).or_insert(offset);
            self.open_at.insert(first_offset);
            return;
        }
        let Some(marker) = marker_of(batch) else { return };
        // A marker of a transaction without records changes nothing.
        let Some(first_offset) = self.open.remove(&producer_id) else { return };
        self.open_at.remove(&first_offset);
        self.ended.retain(|(_, marker)| *marker >= high_watermark);
        self.ended.push_back((first_offset, offset));
        if marker == ControlMarker::Abort {
            let last_stable_offset = self.open_at.first().copied().unwrap_or(offset + 1);
            self.aborted.push(Aborted { producer_id, first_offset, last_offset: offset, last_stable_offset });
        }
    }

    /// Where the producer's open transaction begins.
    pub(super) fn open_since(&self, producer_id: i64) -> Option<i64> {
        self.open.get(&producer_id).copied()
    }

    /// The first offset that may still be aborted: of an open transaction, or of one whose marker is not below the high watermark.
    pub(super) fn first_unstable(&self, high_watermark: i64) -> Option<i64> {
        let unreplicated = self.ended.iter().filter(|(_, marker)| *marker >= high_watermark).map(|(first, _)| *first);
        unreplicated.chain(self.open_at.first().copied()).min()
    }

    /// The aborted transactions that have records or their marker at or after `from`, and begin before `until`.
    pub(super) fn aborted_between(&self, from: i64, until: i64) -> Vec<Aborted> {
        let first = self.aborted.partition_point(|aborted| aborted.last_offset < from);
        let mut found = Vec::new();
        for aborted in self.aborted.get(first..).unwrap_or_default() {
            if aborted.first_offset < until {
                found.push(*aborted);
            }
            if aborted.last_stable_offset >= until {
                break;
            }
        }
        found
    }

    /// Nobody reads what is before the start of the log.
    pub(super) fn forget_before(&mut self, start: i64) {
        self.aborted.drain(..self.aborted.partition_point(|aborted| aborted.last_offset < start));
    }

    /// Whether the records of this producer at this offset were aborted.
    pub(super) fn is_aborted(&self, producer_id: i64, offset: i64) -> bool {
        let covers = |aborted: &Aborted| aborted.producer_id == producer_id && aborted.first_offset <= offset;
        let first = self.aborted.partition_point(|aborted| aborted.last_offset < offset);
        // Of one producer's transactions, the first that ends behind the offset is the one that can have it.
        let mut later = self.aborted.get(first..).unwrap_or_default().iter();
        later.find(|aborted| aborted.producer_id == producer_id).is_some_and(covers)
    }
}

/// How the control batch ends a transaction, if that is what it does.
pub(crate) fn marker_of(batch: &Batch) -> Option<ControlMarker> {
    if !batch.header().attributes.is_control() {
        return None;
    }
    let records = batch.records(super::NO_LIMIT).ok()?;
    let first = records.iter().next()?.ok()?;
    control_marker(&first)
}
