//! What a member of a group wants done. Pure.

use std::time::Duration;

use milena_protocol::messages::heartbeat::HeartbeatRequest;
use milena_protocol::messages::join_group::JoinGroupRequest;
use milena_protocol::messages::leave_group::LeaveGroupRequest;
use milena_protocol::messages::sync_group::SyncGroupRequest;

use crate::clock::Time;
use crate::consumer::assignor::Division;
use crate::consumer::rebalance::RebalanceReason;
use crate::error::Error;
use crate::topic_partition::TopicPartition;

/// One thing to do. Those that take time name the call that must follow when it is done.
#[derive(Debug)]
pub(crate) enum Action {
    /// Find the group's coordinator, and forget that it was `wrong`.
    /// Then [`on_coordinator`](super::Membership::on_coordinator).
    FindCoordinator { wrong: Option<i32> },
    /// Then [`on_join`](super::Membership::on_join).
    Join { broker: i32, timeout: Duration, attempt: u64, request: JoinGroupRequest },
    /// This member leads: see that the topics of the division are known, and run it on them.
    /// Then [`on_divided`](super::Membership::on_divided).
    Divide { generation: i32, division: Division },
    /// Then [`on_sync`](super::Membership::on_sync).
    Sync { broker: i32, timeout: Duration, attempt: u64, request: SyncGroupRequest },
    /// Then [`on_heartbeat`](super::Membership::on_heartbeat).
    Heartbeat { broker: i32, timeout: Duration, number: u64, request: HeartbeatRequest },
    /// One try; nobody waits for the answer.
    Leave { broker: i32, timeout: Duration, request: LeaveGroupRequest },
    /// These must be given up, at `deadline` at the latest.
    /// Then [`on_revoked`](super::Membership::on_revoked), unless [`Action::Lost`] came in between.
    Revoke { partitions: Vec<TopicPartition>, reason: RebalanceReason, deadline: Time },
    /// These are owned from now on, perhaps none, beside what was owned before. `took`: since the member learned that another
    /// share is due.
    Assigned { generation: i32, partitions: Vec<TopicPartition>, reason: RebalanceReason, took: Duration },
    /// All that was owned is owned no more: others may read it already. It ends a revocation that is under way; a listener that
    /// heard of the revocation has heard enough.
    Lost { partitions: Vec<TopicPartition>, reason: RebalanceReason },
    /// The application has made no progress since then: the member leaves.
    Stalled { since: Time },
    /// To be returned by the next read, once.
    Report(Error),
    /// To be returned by every read from now on.
    Fail(Error),
}
