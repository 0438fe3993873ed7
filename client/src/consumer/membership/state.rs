//! Where a member is between outside and its partitions. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use milena_protocol::messages::sync_group::SyncGroupRequestAssignment;

use crate::clock::Time;
use crate::consumer::assignor::Topics;

/// ```text
///            ┌────────────────────────── leads ─────► Dividing ──┐ divided
///            │                                          │        ▼
///  Outside ──┴─► Joining ── follows ────────────────────┼────► Joined ──► Syncing ──► Stable
///   ▲ ▲ ▲ ▲        │                                    │                    │        │   │
///   │ │ │ └────────┴── refused: at once, or after a backoff ─────────────────┘        │   │
///   │ │ │                                               │                             │   │
///   │ │ └── the generation is gone ◄────────────────────┴─────────────────────────────┤   │ rebalance, or
///   │ │                                                                               │   │ close
///   │ └────────────────── revoked (at once if nothing is owned) ◄── Revoking ◄────────┴───┘
///   │                                                                │   │
///   └── enough reads ── Resting ◄── stalled, or an error to tell     │   └── closing ──► Left
///
///  From everywhere: close or abandon ──► Left; another has taken the place, or the client is closed ──► Failed
/// ```
///
/// Heartbeats go out in `Dividing`, `Joined`, `Stable` and `Revoking`; while a JoinGroup or a SyncGroup waits for its answer the
/// coordinator knows by it that the member is alive.
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
    /// The application and the driver finish with the partitions.
    Revoking { then: Then },
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

/// What follows a revocation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Then {
    Rejoin,
    Leave,
}
