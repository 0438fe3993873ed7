//! One member of a classic group. Pure.

use std::time::Duration;

use bytes::Bytes;
use milena_protocol::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};

use super::record::MemberRecord;
use crate::core::Ticket;

/// Where a member is between the two barriers of a rebalance.
///
/// ```text
///   Idle ──JoinGroup──► Joining ──all have joined──► OwesSync ──SyncGroup──► Syncing ──assigned──► Idle
/// ```
///
/// What breaks the rebalance off puts it back to `Idle`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Idle,
    /// Its JoinGroup waits. That of a member whose connection has gone waits too, for nobody.
    Joining(Ticket),
    /// It has been told the generation and has not asked for its assignment.
    OwesSync,
    /// Its SyncGroup waits for the leader's.
    Syncing(Ticket),
}

#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) id: String,
    pub(super) instance_id: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    /// What it can speak, the preferred one first.
    pub(super) protocols: Vec<JoinGroupRequestProtocol>,
    pub(super) assignment: Bytes,
    pub(super) phase: Phase,
    /// It has not yet been told a generation, so it cannot know that it is a member.
    pub(super) is_new: bool,
    /// It is taken for dead at this time; never while the group makes it wait.
    pub(super) session_ends: Option<Duration>,
}

impl Member {
    pub(super) fn restart_session(&mut self, now: Duration) {
        self.session_ends = Some(now.saturating_add(self.session_timeout));
    }

    pub(super) fn is_joining(&self) -> bool {
        matches!(self.phase, Phase::Joining(_))
    }

    /// Whether the group makes it wait, so that it cannot send heartbeats. A new member that waits may have given up, and
    /// would not know what it is waited for with.
    pub(super) fn is_excused(&self) -> bool {
        !self.is_new && matches!(self.phase, Phase::Joining(_) | Phase::Syncing(_))
    }

    /// What it says in this protocol.
    pub(super) fn metadata(&self, protocol: &str) -> Option<&Bytes> {
        self.protocols.iter().find(|known| known.name == protocol).map(|known| &known.metadata)
    }

    /// It joins again: what it says now holds.
    pub(super) fn update(&mut self, request: JoinGroupRequest, phase: Phase) {
        self.session_timeout = millis(request.session_timeout_ms);
        self.rebalance_timeout = rebalance_timeout(&request);
        self.protocols = request.protocols;
        self.phase = phase;
    }

    pub(super) fn record(&self, protocol: &str) -> MemberRecord {
        MemberRecord {
            id: self.id.clone(),
            instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout: to_millis(self.rebalance_timeout),
            session_timeout: to_millis(self.session_timeout),
            metadata: self.metadata(protocol).cloned().unwrap_or_default(),
            assignment: self.assignment.clone(),
        }
    }

    /// A member that another coordinator knew: it has the length of its session to show up.
    pub(super) fn restored(record: MemberRecord, protocol: &str, now: Duration) -> Self {
        let metadata = record.metadata;
        let mut member = Self {
            id: record.id,
            instance_id: record.instance_id,
            client_id: record.client_id,
            client_host: record.client_host,
            session_timeout: millis(record.session_timeout),
            rebalance_timeout: millis(record.rebalance_timeout),
            protocols: vec![JoinGroupRequestProtocol { name: protocol.to_owned(), metadata }],
            assignment: record.assignment,
            phase: Phase::Idle,
            is_new: false,
            session_ends: None,
        };
        member.restart_session(now);
        member
    }
}

pub(super) fn millis(count: i32) -> Duration {
    Duration::from_millis(u64::try_from(count).unwrap_or(0))
}

/// The oldest clients name none: it is that of their session.
pub(super) fn rebalance_timeout(request: &JoinGroupRequest) -> Duration {
    match request.rebalance_timeout_ms {
        ..0 => millis(request.session_timeout_ms),
        count => millis(count),
    }
}

fn to_millis(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}
