//! What a test does to a transaction, and what it sees of it. IO.

use std::time::Duration;

use super::{MockCluster, expect_done};
use crate::core::offsets::TRANSACTIONS_TOPIC;
use crate::core::{Core, TransactionDescription, TransactionState};

/// The transactions of one transactional id of a [`MockCluster`], as their coordinator sees them now. Nobody need have used
/// it yet.
///
/// ```
/// # use milena_mock_broker::{MockCluster, TransactionState};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let cluster = MockCluster::builder().topic("orders", 6).start_in_memory();
/// let billing = cluster.transaction("billing-1");
/// billing.hold_markers();
/// // … a producer commits: its records stay invisible to readers of committed records, and its next transaction has to wait …
/// # let committed = |cluster: MockCluster| async move {
/// cluster.until("a commit", |now| now.transaction_state("billing-1") == Some(TransactionState::PrepareCommit)).await;
/// # };
/// billing.release_markers();
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TransactionControl {
    cluster: MockCluster,
    id: String,
}

impl TransactionControl {
    pub(super) fn new(cluster: MockCluster, id: &str) -> Self {
        Self { cluster, id: id.to_owned() }
    }

    /// How far the latest transaction is; none if nobody has used the id, or no broker coordinates it.
    pub fn state(&self) -> Option<TransactionState> {
        self.look(Core::transaction).map(|described| described.state)
    }

    /// The producer id and the epoch that the coordinator knows; none if nobody has used the id, or no broker coordinates it.
    pub fn producer(&self) -> Option<(i64, i16)> {
        let TransactionDescription { identity, .. } = self.look(Core::transaction)?;
        Some((identity.producer_id, identity.epoch))
    }

    /// Topics and partitions that belong to the transaction, in order. A partition of `__consumer_offsets` stands for the offsets
    /// of groups.
    pub fn partitions(&self) -> Vec<(String, i32)> {
        self.look(Core::transaction).map_or(Vec::new(), |described| described.partitions)
    }

    /// The id of the broker that coordinates it, if there is one.
    pub fn coordinator(&self) -> Option<i32> {
        Some(self.look(Core::transaction_coordinator)).filter(|broker| *broker >= 0)
    }

    /// Keeps the markers back that end transactions of this id in their partitions. A commit or abort is still decided and
    /// answered, but it does not show: readers of committed records do not get past the first record, and the producer's next
    /// transaction is answered `CONCURRENT_TRANSACTIONS`.
    pub fn hold_markers(&self) {
        self.cluster.shared().change(|state, now| state.core.hold_markers(now, &self.id, true));
    }

    /// Writes the markers that were kept back, and keeps no more back.
    pub fn release_markers(&self) {
        self.cluster.shared().change(|state, now| state.core.hold_markers(now, &self.id, false));
    }

    /// Makes another in-sync broker the coordinator, which first has to read the transactions' records for this long and answers
    /// `COORDINATOR_LOAD_IN_PROGRESS` meanwhile. All transactional ids with the same partition of `__transaction_state` move with
    /// it. Nothing happens if the broker is the coordinator already.
    ///
    /// # Panics
    /// If no client has looked for a coordinator yet, or that broker is down or not in sync.
    #[track_caller]
    pub fn move_coordinator(&self, broker: i32, loading: Duration) {
        let key = (TRANSACTIONS_TOPIC, self.id.as_str());
        let moved = self.cluster.shared().change(|state, now| state.core.move_coordinator(now, key, broker, loading));
        expect_done(moved, || format!("make broker {broker} the coordinator of transactional id {}", self.id));
    }

    /// Aborts the transaction as if its time were up (`transaction.timeout.ms`): its producer is fenced.
    ///
    /// # Panics
    /// If no transaction is under way, or no broker coordinates it.
    #[track_caller]
    pub fn time_out(&self) {
        let done = self.cluster.shared().change(|state, now| state.core.abort_transaction(now, &self.id));
        expect_done(done, || format!("abort the transaction of {}", self.id));
    }

    fn look<T>(&self, look: impl FnOnce(&Core, &str) -> T) -> T {
        look(&self.cluster.shared().lock().core, &self.id)
    }
}
