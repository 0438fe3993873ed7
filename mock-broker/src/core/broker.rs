//! One broker: its replicas, and what it keeps in memory only. Pure.

use std::collections::BTreeMap;
use std::ops::Range;

use milena_protocol::ErrorCode;

use super::controller::PartitionId;
use super::fetch_sessions::FetchSessions;
use super::groups::Groups;
use super::offsets::CommittedOffsets;
use super::replica::Replica;
use super::transactions::Transactions;

#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) id: i32,
    /// Also of partitions it has not heard of any more.
    pub(crate) replicas: BTreeMap<PartitionId, Replica>,
    pub(crate) fetch_sessions: FetchSessions,
    /// By partition of `__consumer_offsets`: those that it leads.
    pub(crate) offsets: BTreeMap<i32, CommittedOffsets>,
    pub(crate) groups: Groups,
    pub(crate) transactions: Transactions,
    /// The producer ids that it may still give away.
    pub(crate) producer_ids: Range<i64>,
}

impl Broker {
    pub(crate) fn new(id: i32) -> Self {
        Self {
            id,
            replicas: BTreeMap::new(),
            fetch_sessions: FetchSessions::default(),
            offsets: BTreeMap::new(),
            groups: Groups::default(),
            transactions: Transactions::default(),
            producer_ids: 0..0,
        }
    }

    /// The process is gone, the disk stays.
    pub(crate) fn forget_memory(&mut self) {
        self.fetch_sessions = FetchSessions::default();
        self.offsets.clear();
        self.groups = Groups::default();
        self.transactions = Transactions::default();
        self.producer_ids = 0..0;
    }

    pub(crate) fn leads(&self, id: PartitionId) -> bool {
        self.replicas.get(&id).is_some_and(|replica| replica.role.leader == self.id)
    }

    /// The replica that answers a client, who may have said which leader epoch it believes in (-1: none).
    ///
    /// # Errors
    /// If the client or this broker lags behind, or if the client wants the leader and this is not it.
    pub(crate) fn replica_for_client(
        &self,
        id: PartitionId,
        current_leader_epoch: i32,
        leader_only: bool,
    ) -> Result<&Replica, ErrorCode> {
        let replica = self.replicas.get(&id).ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)?;
        let known = replica.role.leader_epoch;
        if current_leader_epoch >= 0 && current_leader_epoch < known {
            return Err(ErrorCode::FENCED_LEADER_EPOCH);
        }
        if current_leader_epoch > known {
            return Err(ErrorCode::UNKNOWN_LEADER_EPOCH);
        }
        if leader_only && replica.role.leader != self.id {
            return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        }
        Ok(replica)
    }
}
