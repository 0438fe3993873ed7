//! One broker: its replicas, what it was last told, and what it keeps in memory only. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use milena_protocol::ErrorCode;

use super::controller::{Controller, PartitionId};
use super::fetch_sessions::FetchSessions;
use super::groups::Groups;
use super::offsets::CommittedOffsets;
use super::replica::Replica;
use super::transactions::Transactions;

/// Whether the broker's process works.
///
/// ```text
///            freeze           crash
/// Running ──────────► Frozen ───────► Down
///    ▲ ▲ ◄────────────  │              │
///    │      thaw                       │
///    └──────────── restart ────────────┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Process {
    Running,
    /// It does nothing, and nobody is told so.
    Frozen,
    Down,
}

/// Whether the broker reaches the controller and the other brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    Whole,
    /// Clients alone reach it.
    Cut,
}

#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) id: i32,
    pub(crate) process: Process,
    pub(crate) link: Link,
    /// Since when the controller has not heard of it.
    pub(crate) silent_since: Option<Duration>,
    /// The cluster as it was then, which is what the broker believes in.
    pub(crate) stale_view: Option<Box<Controller>>,
    /// Also of partitions it has not heard of any more.
    pub(crate) replicas: BTreeMap<PartitionId, Replica>,
    /// Topics that it tells nobody of.
    pub(crate) hidden_topics: BTreeSet<String>,
    pub(crate) fetch_sessions: FetchSessions,
    /// By partition of `__consumer_offsets`: those that it leads.
    pub(crate) offsets: BTreeMap<i32, CommittedOffsets>,
    pub(crate) groups: Groups,
    pub(crate) transactions: Transactions,
    /// Until when it reads what a coordinator needs, by partition of its topic.
    pub(crate) loading: BTreeMap<PartitionId, Duration>,
    /// The producer ids that it may still give away.
    pub(crate) producer_ids: Range<i64>,
}

impl Broker {
    pub(crate) fn new(id: i32) -> Self {
        Self {
            id,
            process: Process::Running,
            link: Link::Whole,
            silent_since: None,
            stale_view: None,
            replicas: BTreeMap::new(),
            hidden_topics: BTreeSet::new(),
            fetch_sessions: FetchSessions::default(),
            offsets: BTreeMap::new(),
            groups: Groups::default(),
            transactions: Transactions::default(),
            loading: BTreeMap::new(),
            producer_ids: 0..0,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.process != Process::Down
    }

    /// Whether it hears the controller and the other brokers, and they hear it.
    pub(crate) fn is_in_touch(&self) -> bool {
        self.process == Process::Running && self.link == Link::Whole
    }

    /// The process is gone, the disk stays.
    pub(crate) fn forget_memory(&mut self) {
        self.fetch_sessions = FetchSessions::default();
        self.offsets.clear();
        self.groups = Groups::default();
        self.transactions = Transactions::default();
        self.loading.clear();
        self.producer_ids = 0..0;
    }

    /// # Errors
    /// COORDINATOR_LOAD_IN_PROGRESS while it reads what it needs to coordinate what this partition holds.
    pub(crate) fn check_loaded(&self, id: PartitionId) -> Result<(), ErrorCode> {
        let is_loading = self.leads(id) && self.loading.contains_key(&id);
        if is_loading { Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS) } else { Ok(()) }
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
