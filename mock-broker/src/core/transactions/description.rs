//! What an outsider sees of transactions. Pure.

use std::time::Duration;

use milena_protocol::ErrorCode;

use super::{Coordinated, Identity, TopicPartition, TransactionState};
use crate::core::Core;
use crate::core::offsets::TRANSACTIONS_TOPIC;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TransactionDescription {
    pub(crate) state: TransactionState,
    pub(crate) identity: Identity,
    pub(crate) partitions: Vec<TopicPartition>,
}

impl TransactionDescription {
    fn of(coordinated: &Coordinated) -> Self {
        let transaction = &coordinated.transaction;
        let partitions = transaction.partitions.iter().cloned().collect();
        Self { state: transaction.state, identity: transaction.identity(), partitions }
    }
}

impl Core {
    /// The broker that coordinates a transactional id; -1 while there is none.
    pub(crate) fn transaction_coordinator(&self, transactional_id: &str) -> i32 {
        let id = self.partition_for_key(TRANSACTIONS_TOPIC, transactional_id);
        id.and_then(|id| self.controller.partition(id)).map_or(-1, |state| state.leader)
    }

    /// Whether a request of one broker gets to another one, or to itself.
    pub(super) fn reaches(&self, from: i32, to: i32) -> bool {
        from == to && self.is_up(to) || self.is_in_touch(from) && self.is_in_touch(to)
    }

    /// As its coordinator knows it; `None` if nobody has used it yet, or nobody coordinates it.
    pub(crate) fn transaction(&self, transactional_id: &str) -> Option<TransactionDescription> {
        let coordinator = self.transaction_coordinator(transactional_id);
        self.coordinated(coordinator, transactional_id).map(TransactionDescription::of)
    }

    /// Those that have begun and not ended, by transactional id.
    pub(crate) fn open_transactions(&self) -> Vec<String> {
        let all = self.brokers.values().flat_map(|broker| &broker.transactions.by_id);
        let open = all.filter(|(_, coordinated)| match coordinated.transaction.state {
            TransactionState::Ongoing | TransactionState::PrepareCommit | TransactionState::PrepareAbort => true,
            TransactionState::Empty | TransactionState::CompleteCommit | TransactionState::CompleteAbort => false,
        });
        let mut ids: Vec<String> = open.map(|(id, _)| id.clone()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Aborts a transaction as if its time were up.
    ///
    /// # Errors
    /// INVALID_TXN_STATE if none is under way; INVALID_PRODUCER_ID_MAPPING if nobody has used the id; NOT_COORDINATOR if nobody
    /// coordinates it.
    pub(crate) fn abort_transaction(&mut self, now: Duration, transactional_id: &str) -> Result<(), ErrorCode> {
        let coordinator = self.transaction_coordinator(transactional_id);
        self.abort(now, coordinator, transactional_id)?;
        self.poll(now);
        Ok(())
    }
}
