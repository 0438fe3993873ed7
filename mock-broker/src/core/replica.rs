//! One broker's copy of a partition, and the part that the broker plays for it. Pure.

use milena_protocol::records::Batch;

use super::log::Log;
use super::producers::{ProducerState, Producers};
use super::topic_configs::LogRules;

/// What the broker has last been told about a partition. A broker that is cut off believes its old one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Role {
    /// -1 if there is none.
    pub(crate) leader: i32,
    pub(crate) leader_epoch: i32,
    pub(crate) isr: Vec<i32>,
}

#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) role: Role,
    pub(crate) log: Log,
    /// Records below it are on all in-sync replicas, and only those are shown to consumers.
    pub(crate) high_watermark: i64,
    pub(crate) producers: Producers,
}

impl Replica {
    pub(crate) fn new(role: Role, rules: LogRules) -> Self {
        Self { role, log: Log::new(rules), high_watermark: 0, producers: Producers::default() }
    }

    pub(crate) fn append(&mut self, batch: Batch) {
        self.producers.remember(batch.header());
        self.log.append(batch, self.high_watermark);
    }

    /// Cuts the log to what the leader has too.
    pub(crate) fn truncate(&mut self, end: i64) {
        self.log.truncate(end);
        self.high_watermark = self.high_watermark.min(self.log.end());
        self.producers = Producers::default();
        for batch in self.log.batches_from(self.log.start()) {
            self.producers.remember(batch.header());
        }
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
