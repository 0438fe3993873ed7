//! What is counted and timed, and who hears of it. IO.

use std::time::Duration;

use super::Shared;
use crate::clock::Time;
use crate::consumer::metrics::ConsumerMetrics;
use crate::consumer::rebalance::RebalanceReason;

impl Shared {
    pub(crate) fn metrics(&self) -> ConsumerMetrics {
        let now = self.now();
        let state = self.lock();
        state.tally.look(&state.assignment, now)
    }

    /// The group gave this consumer its share.
    pub(crate) fn count_rebalance(&self, reason: RebalanceReason, took: Duration) {
        self.lock().tally.on_rebalance(reason, took);
        #[cfg(feature = "metrics")]
        crate::consumer::metrics::facade::on_rebalance(self, reason, took);
    }

    /// A commit that was asked for then has its answer.
    pub(crate) fn count_commit(&self, asked: Time, stored: bool) {
        let took = self.now().saturating_sub(asked);
        self.lock().tally.on_commit(stored, took);
        #[cfg(feature = "metrics")]
        crate::consumer::metrics::facade::on_commit(self, stored, took);
    }
}
