//! What the coordinator's answers mean to a member. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use milena_protocol::ErrorCode;
use milena_protocol::messages::join_group::JoinGroupResponse;
use milena_protocol::messages::sync_group::{SyncGroupRequestAssignment, SyncGroupResponse};
use tracing::warn;

use super::protocols::{Assigned, NotUsable, read_assignment};
use super::{Action, Identity, Leading, Membership, PROTOCOL_TYPE, Role, State, Then};
use crate::clock::Time;
use crate::consumer::assignor::{Division, Topics};
use crate::consumer::rebalance::RebalanceReason;
use crate::error::{Error, ErrorKind, Result};
use crate::topic_partition::TopicPartition;

impl Membership {
    /// The answer to [`Action::FindCoordinator`].
    pub(crate) fn on_coordinator(&mut self, found: Result<i32>, now: Time) {
        let error = match found {
            Ok(broker) => {
                self.coordinator.on_found(broker);
                // It has loaded the group just now, or the member is in doubt.
                self.heartbeats.hurry(now);
                return;
            }
            Err(error) => error,
        };
        self.coordinator.on_not_found(now, self.settings.backoff, &mut self.entropy);
        match self.state {
            State::Outside { .. } => self.on_no_answer(error, now),
            State::Left | State::Failed | State::Resting { .. } => {}
            State::Joining
            | State::Dividing { .. }
            | State::Joined { .. }
            | State::Syncing { .. }
            | State::Stable { .. }
            | State::Revoking { .. } => {
                if is_final(&error) {
                    self.fail(error, now);
                } else if !error.is_retriable() {
                    self.ready.push_back(Action::Report(error));
                }
            }
        }
    }

    /// The answer to [`Action::Join`].
    pub(crate) fn on_join(&mut self, attempt: u64, answer: Result<JoinGroupResponse>, now: Time) {
        let State::Joining = self.state else { return };
        if attempt != self.attempts {
            return;
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.on_no_answer(error, now),
        };
        let code = answer.error_code;
        match code {
            ErrorCode::NONE => self.on_joined(answer, now),
            ErrorCode::MEMBER_ID_REQUIRED if self.member_id.is_empty() && !answer.member_id.is_empty() => {
                self.member_id = answer.member_id;
                self.state = State::Outside { due: now };
            }
            ErrorCode::UNKNOWN_MEMBER_ID => {
                self.member_id.clear();
                self.lose(RebalanceReason::SessionExpired, now);
                self.join_again(now);
            }
            code => self.on_refused("joining", code, now),
        }
    }

    fn on_joined(&mut self, answer: JoinGroupResponse, now: Time) {
        let offered =
            |name: &String| self.settings.strategies.iter().find(|strategy| *strategy.name == **name).cloned();
        let Some(strategy) = answer.protocol_name.as_ref().and_then(offered) else {
            let text = format!(
                "the group \"{}\" chose the assignor {:?}, which this member did not offer",
                self.settings.group, answer.protocol_name
            );
            return self.rest(Error::new(ErrorKind::Protocol, text), now);
        };
        let leads = answer.leader == answer.member_id;
        self.member_id = answer.member_id;
        self.generation = answer.generation_id;
        self.heartbeats.start(now);
        let protocol = strategy.name.clone();
        if !leads {
            self.state = State::Joined { protocol, role: Role::Follower, assignments: Vec::new() };
            return;
        }
        let division = Division::new(strategy, answer.members);
        let leading = Leading { topics: division.topics().clone(), uses_racks: division.uses_racks(), divided: None };
        if answer.skip_assignment {
            // A static leader came back: the group goes on as it was divided (KIP-814).
            self.state = State::Joined { protocol, role: Role::Leader(leading), assignments: Vec::new() };
            return;
        }
        self.state = State::Dividing { protocol, leading };
        self.ready.push_back(Action::Divide { generation: self.generation, division });
    }

    /// The answer to [`Action::Divide`]: what came out for `topics`.
    pub(crate) fn on_divided(
        &mut self,
        generation: i32,
        topics: Topics,
        outcome: Result<Vec<SyncGroupRequestAssignment>>,
        now: Time,
    ) {
        if generation != self.generation {
            return;
        }
        match (std::mem::replace(&mut self.state, State::Left), outcome) {
            (State::Dividing { protocol, leading }, Ok(assignments)) => {
                let role = Role::Leader(Leading { divided: Some(topics), ..leading });
                self.state = State::Joined { protocol, role, assignments };
            }
            (State::Dividing { .. }, Err(error)) => {
                // So that another leads.
                self.leave(RebalanceReason::Joined);
                self.generation = -1;
                self.heartbeats.give_up(now);
                self.rest(error, now);
            }
            (
                state @ (State::Outside { .. }
                | State::Joining
                | State::Joined { .. }
                | State::Syncing { .. }
                | State::Stable { .. }
                | State::Revoking { .. }
                | State::Resting { .. }
                | State::Left
                | State::Failed),
                _,
            ) => self.state = state,
        }
    }

    /// The answer to [`Action::Sync`].
    pub(crate) fn on_sync(&mut self, attempt: u64, answer: Result<SyncGroupResponse>, now: Time) {
        let State::Syncing { protocol, role } = &mut self.state else { return };
        if attempt != self.attempts {
            return;
        }
        let (protocol, role) = (protocol.clone(), std::mem::replace(role, Role::Follower));
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.on_no_answer(error, now),
        };
        match answer.error_code {
            ErrorCode::NONE => self.on_synced(answer, &protocol, role, now),
            ErrorCode::REBALANCE_IN_PROGRESS => self.join_again(now),
            code @ (ErrorCode::ILLEGAL_GENERATION | ErrorCode::UNKNOWN_MEMBER_ID) => {
                if code == ErrorCode::UNKNOWN_MEMBER_ID {
                    self.member_id.clear();
                }
                self.lose(RebalanceReason::SessionExpired, now);
                self.join_again(now);
            }
            code => self.on_refused("taking the assignment of", code, now),
        }
    }

    fn on_synced(&mut self, answer: SyncGroupResponse, protocol: &Arc<str>, role: Role, now: Time) {
        let another = |said: &Option<String>, known: &str| said.as_deref().is_some_and(|said| said != known);
        if another(&answer.protocol_type, PROTOCOL_TYPE) || another(&answer.protocol_name, protocol) {
            let text = format!(
                "the assignment of group \"{}\" is for protocol {:?} {:?}, not for {PROTOCOL_TYPE:?} {protocol:?}",
                self.settings.group, answer.protocol_type, answer.protocol_name
            );
            let error = Error::new(ErrorKind::Protocol, text);
            return self.rest(error.with_code(ErrorCode::INCONSISTENT_GROUP_PROTOCOL), now);
        }
        if self.topics != self.offered {
            return self.rebalance(RebalanceReason::SubscriptionChange, now);
        }
        match read_assignment(answer.assignment, &self.offered) {
            Ok(Assigned { partitions, user_data }) => {
                self.failures = 0;
                self.heartbeats.start(now);
                self.last.partitions.clone_from(&partitions);
                self.last.generation = Some(self.generation);
                self.last.user_data = user_data;
                self.state = State::Stable { role };
                if self.departs.is_none() {
                    self.take_over(partitions.into_iter().collect(), now);
                }
            }
            // A static member that comes back is given what it had before, whatever it reads now. Once it names the generation it
            // says something new, and the coordinator has everything divided anew.
            Err(NotUsable::NotOffered(_)) if self.settings.instance_id.is_some() && self.offered_generation < 0 => {
                self.join_again(now);
            }
            Err(NotUsable::NotOffered(text) | NotUsable::NotRead(text)) => {
                let text = format!(
                    "the leader of group \"{}\" sent an assignment that cannot be used: {text}",
                    self.settings.group
                );
                warn!("{text}");
                self.ready.push_back(Action::Report(Error::new(ErrorKind::Protocol, text).with_retriable(true)));
                self.join_later(now);
            }
        }
    }

    /// What was owned and is not assigned any more goes; then the member joins again, so that others get it. What is new comes at
    /// once: nobody else has it.
    fn take_over(&mut self, assigned: BTreeSet<TopicPartition>, now: Time) {
        let (generation, reason) = (self.generation, self.reason);
        let took = self.since.take().map_or(Duration::ZERO, |since| now.saturating_sub(since));
        let gone: BTreeSet<_> = self.owned.difference(&assigned).cloned().collect();
        let partitions: Vec<_> = assigned.difference(&self.owned).cloned().collect();
        self.owned.extend(assigned);
        if !gone.is_empty() {
            self.since = Some(now);
            self.revoke(gone, Then::Rejoin, self.revocation_deadline(now));
        }
        self.ready.push_back(Action::Assigned { generation, partitions, reason, took });
    }

    /// The answer to the heartbeat with this number.
    pub(crate) fn on_heartbeat(&mut self, number: u64, answer: Result<ErrorCode>, now: Time) {
        if !self.heartbeats.is_awaited(number) {
            return;
        }
        let code = match answer {
            Ok(code) => code,
            Err(error) if is_final(&error) => return self.fail(error, now),
            Err(_) => {
                self.heartbeats.on_failed(now, self.settings.backoff, &mut self.entropy);
                if !self.waits_for_others() {
                    self.lose_coordinator(now);
                }
                return;
            }
        };
        match code {
            ErrorCode::NONE | ErrorCode::REBALANCE_IN_PROGRESS => self.heartbeats.on_alive(now),
            _ => self.heartbeats.on_failed(now, self.settings.backoff, &mut self.entropy),
        }
        if self.has_session() && !self.on_member_error(code, now) {
            let error = self.refusal("keeping the membership in", code);
            if !error.is_retriable() {
                self.ready.push_back(Action::Report(error));
            }
        }
    }

    /// The coordinator refused a commit in the name of `identity` with this code.
    pub(crate) fn on_commit_error(&mut self, identity: &Identity, code: ErrorCode, now: Time) {
        if self.identity().as_ref() != Some(identity) {
            return;
        }
        match code {
            ErrorCode::REQUEST_TIMED_OUT => self.lose_coordinator(now),
            // What concerns the offsets alone is between the driver and the application.
            code => {
                self.on_member_error(code, now);
            }
        }
    }

    /// What a code says of the membership, in any answer. Whether it says anything.
    fn on_member_error(&mut self, code: ErrorCode, now: Time) -> bool {
        match code {
            ErrorCode::NONE => {}
            ErrorCode::REBALANCE_IN_PROGRESS => {
                if let State::Stable { .. } = self.state {
                    self.rebalance(RebalanceReason::MemberChange, now);
                }
            }
            // The answer to JoinGroup or SyncGroup tells, or has told already.
            ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE | ErrorCode::ILLEGAL_GENERATION
                if self.waits_for_others() => {}
            ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE => self.lose_coordinator(now),
            ErrorCode::ILLEGAL_GENERATION => self.expire(now),
            ErrorCode::UNKNOWN_MEMBER_ID => {
                self.member_id.clear();
                self.expire(now);
            }
            ErrorCode::FENCED_INSTANCE_ID => {
                let error = self.refusal("keeping the membership in", code);
                self.fail(error, now);
            }
            _ => return false,
        }
        true
    }

    /// A JoinGroup or SyncGroup is on its way.
    pub(super) fn waits_for_others(&self) -> bool {
        matches!(self.state, State::Joining | State::Syncing { .. })
    }

    /// The group goes on without this member.
    pub(super) fn expire(&mut self, now: Time) {
        self.lose(RebalanceReason::SessionExpired, now);
        self.reason = RebalanceReason::SessionExpired;
        match self.state {
            State::Revoking { then: Then::Leave { .. }, .. } => self.abandon(),
            State::Outside { .. }
            | State::Joining
            | State::Dividing { .. }
            | State::Joined { .. }
            | State::Syncing { .. }
            | State::Stable { .. }
            | State::Revoking { then: Then::Rejoin, .. } => self.state = State::Outside { due: now },
            State::Resting { .. } | State::Left | State::Failed => {}
        }
    }

    /// Nobody answered: the coordinator may be gone. The member keeps its name.
    fn on_no_answer(&mut self, error: Error, now: Time) {
        self.lose_coordinator(now);
        if is_final(&error) {
            self.fail(error, now);
        } else if error.is_retriable() {
            self.join_later(now);
        } else {
            self.rest(error, now);
        }
    }

    /// An answer to JoinGroup or SyncGroup that is not about the member or the generation.
    fn on_refused(&mut self, doing: &str, code: ErrorCode, now: Time) {
        match code {
            ErrorCode::FENCED_INSTANCE_ID => {
                let error = self.refusal(doing, code);
                self.fail(error, now);
            }
            ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE | ErrorCode::REQUEST_TIMED_OUT => {
                self.lose_coordinator(now);
                self.join_later(now);
            }
            // A member that is told twice that it needs a name, or that the group is busy, asks again.
            ErrorCode::MEMBER_ID_REQUIRED | ErrorCode::REBALANCE_IN_PROGRESS => self.join_later(now),
            code if code.is_retriable() => self.join_later(now),
            code => {
                let error = self.refusal(doing, code);
                self.rest(error, now);
            }
        }
    }

    fn refusal(&self, doing: &str, code: ErrorCode) -> Error {
        let names: Vec<_> = self.settings.strategies.iter().map(|strategy| &*strategy.name).collect();
        let group = &self.settings.group;
        let advice = match code {
            ErrorCode::INCONSISTENT_GROUP_PROTOCOL => {
                format!("; the other members offer none of the assignors that this one does ({})", names.join(", "))
            }
            ErrorCode::INVALID_SESSION_TIMEOUT => {
                let given = self.settings.session_timeout;
                format!("; the broker allows no session.timeout.ms of {given:?}")
            }
            ErrorCode::FENCED_INSTANCE_ID => fenced(self.settings.instance_id.as_deref()),
            _ => String::new(),
        };
        let kind = match code {
            ErrorCode::FENCED_INSTANCE_ID => ErrorKind::Fenced,
            _ => ErrorKind::Broker,
        };
        let text = match self.coordinator.known() {
            Some(broker) => format!("{doing} group \"{group}\" failed: {code} from broker {broker}{advice}"),
            None => format!("{doing} group \"{group}\" failed: {code}{advice}"),
        };
        Error::new(kind, text).with_code(code)
    }

    /// The membership is over for good.
    fn fail(&mut self, error: Error, now: Time) {
        let reason = match error.kind() {
            ErrorKind::Fenced => RebalanceReason::Fenced,
            _ => RebalanceReason::Refused,
        };
        self.lose(reason, now);
        self.ready.push_back(Action::Fail(error));
        self.state = State::Failed;
    }

    /// Joins at once, but not again and again at once.
    fn join_again(&mut self, now: Time) {
        let pause = match self.failures {
            0 => Duration::ZERO,
            failures => self.delay(failures),
        };
        self.failures = self.failures.saturating_add(1);
        self.state = State::Outside { due: now.saturating_add(pause) };
    }

    fn join_later(&mut self, now: Time) {
        self.failures = self.failures.saturating_add(1);
        let pause = self.delay(self.failures);
        self.state = State::Outside { due: now.saturating_add(pause) };
    }
}

/// Why a static member is out, for the end of an error.
pub(crate) fn fenced(instance_id: Option<&str>) -> String {
    let instance_id = instance_id.unwrap_or_default();
    format!(
        "; a member that started later with the same group.instance.id \"{instance_id}\" took its place: give each member an id \
         of its own"
    )
}

/// Nothing that is done later can succeed.
fn is_final(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Closed | ErrorKind::Auth)
}
