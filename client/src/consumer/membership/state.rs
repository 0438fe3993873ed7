//! Where a member is between outside and its partitions. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use milena_protocol::messages::sync_group::SyncGroupRequestAssignment;

use crate::clock::Time;
use crate::consumer::assignor::Topics;
use crate::topic_partition::TopicPartition;

/// ```text
///            ┌────────────────────────── leads ─────► Dividing ──┐ divided
///            │                                          │        ▼
///  Outside ──┴─► Joining ── follows ────────────────────┼────► Joined ──► Syncing ──► Stable
///   ▲ ▲ ▲ ▲        │                                    │                    │        │   │
///   │ │ │ └────────┴── refused: at once, or after a backoff ─────────────────┤        │   │
///   │ │ │                                               │                    │        │   │
///   │ │ └── the generation or the session is gone ◄─────┴────────────────────┼────────┤   │ rebalance, or
///   │ │                                                                      │        │   │ close
///   │ └────────────────── revoked (at once if nothing is to go) ◄── Revoking ◄────────┴───┘
///   │                                                                │   │
///   └── enough reads ── Resting ◄── stalled, or an error to tell     │   └── closing ──► Left
///
///  From everywhere: close or abandon ──► Left; another has taken the place, or the client is closed ──► Failed
/// ```
///
/// An eager member gives up everything before it joins, and owns nothing until it is `Stable`. A cooperative one keeps what it has
/// all the way round; what it has and is not assigned any more it gives up after SyncGroup, and joins once more (KIP-429).
///
/// Heartbeats go out wherever there is a generation, also beside a JoinGroup or a SyncGroup that waits: it may wait at a
/// coordinator that is dead. Only in `Outside` there are none: a pause before the next JoinGroup is shorter. A session without an
/// answer to any is over.
#[derive(Debug)]
pub(super) enum State {
    /// Not in a generation; joins from `due` on.
    Outside { due: Time },
    /// JoinGroup waits for the other members.
    Joining,
    /// The driver runs the assignor.
    Dividing { protocol: Arc<str>, leading: Leading },
    /// SyncGroup is to be sent.
    Joined { protocol: Arc<str>, role: Role, assignments: Vec<SyncGroupRequestAssignment> },
    /// SyncGroup waits for the leader.
    Syncing { protocol: Arc<str>, role: Role },
    /// A member with its partitions.
    Stable { role: Role },
    /// The application and the driver finish with these partitions.
    Revoking { partitions: BTreeSet<TopicPartition>, then: Then },
    /// Out of the group until so many reads have begun.
    Resting { until: u64 },
    /// Closed.
    Left,
    /// Cannot be a member any more.
    Failed,
}

#[derive(Debug)]
pub(super) enum Role {
    Follower,
    Leader(Leading),
}

/// What a leader watches.
#[derive(Debug)]
pub(super) struct Leading {
    /// Every topic that somebody in the group reads.
    pub(super) topics: BTreeSet<Arc<str>>,
    pub(super) uses_racks: bool,
    /// As they were when they were divided.
    pub(super) divided: Option<Topics>,
}

/// How far a member that is being closed has come.
#[derive(Debug, Clone, Copy)]
pub(super) enum Departs {
    Due {
        deadline: Time,
    },
    /// What it owns is being given up while its JoinGroup waits. If all have joined before the last commit comes, the coordinator
    /// takes that in the next generation only, once it is divided; so the member goes on until either is done.
    GivingUp {
        deadline: Time,
    },
}

/// What follows a revocation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Then {
    Rejoin,
    /// When the rest is given up too, until then.
    Leave {
        deadline: Time,
    },
}
