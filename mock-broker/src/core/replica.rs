//! One broker's copy of a partition, and the part that the broker plays for it. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use milena_protocol::records::Batch;

use super::controller::PartitionState;
use super::log::Log;
use super::producers::{ProducerState, Producers};
use super::topic_configs::LogRules;

#[derive(Debug)]
pub(crate) struct Replica {
    /// What the broker has last been told. One that is cut off believes its old role.
    pub(crate) role: PartitionState,
    pub(crate) log: Log,
    /// Records below it are on all in-sync replicas, and only those are shown to consumers.
    pub(crate) high_watermark: i64,
    pub(crate) producers: Producers,
    /// Earlier records' producers have been forgotten.
    producers_from: i64,
    /// Of a leader: where the logs of its followers end, as far as they have fetched from it.
    pub(crate) follower_ends: BTreeMap<i32, i64>,
    /// Of a leader: since when.
    pub(crate) leads_since: Duration,
    /// Since when a test keeps it from following.
    pub(crate) held_since: Option<Duration>,
}

impl Replica {
    pub(crate) fn new(role: PartitionState, rules: LogRules) -> Self {
        Self {
            role,
            log: Log::new(rules),
            high_watermark: 0,
            producers: Producers::default(),
            producers_from: 0,
            follower_ends: BTreeMap::new(),
            leads_since: Duration::ZERO,
            held_since: None,
        }
    }

    /// Begins to lead in the epoch of its role.
    pub(crate) fn lead(&mut self, now: Duration) {
        self.leads_since = now;
        self.follower_ends.clear();
        self.log.begin_epoch(self.role.leader_epoch, self.log.end());
    }

    pub(crate) fn append(&mut self, batch: Batch) {
        self.producers.remember(batch.header());
        self.log.append(batch, self.high_watermark);
    }

    /// Cuts the log to what the leader has too.
    pub(crate) fn truncate(&mut self, end: i64) {
        self.log.truncate(end);
        self.high_watermark = self.high_watermark.min(self.log.end());
        self.producers_from = self.producers_from.min(self.log.end());
        self.producers = Producers::default();
        for batch in self.log.batches_from(self.producers_from.max(self.log.start())) {
            self.producers.remember(batch.header());
        }
    }

    /// Forgets its idempotent producers, as it does with those that have not written for `producer.id.expiration.ms`. One with
    /// an open transaction stays.
    pub(crate) fn expire_producers(&mut self) {
        self.producers.retain(|producer_id| self.log.open_transaction(producer_id).is_some());
        self.producers_from = self.log.end();
    }

    /// Compacts the log if enough was written since the last time.
    pub(crate) fn clean(&mut self, wall_ms: i64) {
        if self.log.is_cleanable(wall_ms, self.last_stable_offset()) {
            self.compact_closed(wall_ms);
        }
    }

    /// Compacts all that can be read.
    pub(crate) fn compact(&mut self, wall_ms: i64) {
        self.log.roll();
        self.compact_closed(wall_ms);
    }

    fn compact_closed(&mut self, wall_ms: i64) {
        let (stable, producers) = (self.last_stable_offset(), &self.producers);
        if let Err(error) = self.log.compact(wall_ms, stable, |batch| producers.is_last(batch)) {
            tracing::error!(%error, "a log cannot be compacted");
        }
    }

    /// The end of what a consumer with isolation level `read_committed` may see: where the first transaction begins that may
    /// still be aborted, or the high watermark.
    pub(crate) fn last_stable_offset(&self) -> i64 {
        self.log.first_unstable_offset(self.high_watermark).unwrap_or(i64::MAX).min(self.high_watermark)
    }

    /// Whether the producer, in this epoch, has written to a transaction here that is open.
    pub(crate) fn has_open_transaction(&self, producer_id: i64, epoch: i16) -> bool {
        self.log.open_transaction(producer_id).is_some() && self.producers.epoch(producer_id) == Some(epoch)
    }

    pub(crate) fn producer_states(&self) -> Vec<ProducerState> {
        self.producers.states(|producer_id| self.log.open_transaction(producer_id)).collect()
    }
}
