//! What members ask of a classic group: to join, to get their assignment, to stay, to leave, to commit. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use milena_protocol::ErrorCode;
use milena_protocol::messages::heartbeat::HeartbeatRequest;
use milena_protocol::messages::join_group::{JoinGroupRequest, JoinGroupResponse};
use milena_protocol::messages::leave_group::MemberIdentity;
use milena_protocol::messages::sync_group::SyncGroupRequest;

use super::group::{Effects, Group, State, Store};
use super::member::{Member, Phase, millis, rebalance_timeout};
use crate::core::Ticket;

/// A new member that waits for others to join, and may have given up, waits no longer than this. Kafka has no setting for it.
const NEW_MEMBER_PATIENCE: Duration = Duration::from_secs(300);

/// A JoinGroup request and where it comes from.
#[derive(Debug)]
pub(super) struct Joining {
    pub(super) ticket: Ticket,
    pub(super) request: JoinGroupRequest,
    pub(super) client_id: String,
    pub(super) client_host: String,
    /// `group.max.size`.
    pub(super) max_size: usize,
    /// For a member that has none.
    pub(super) new_id: String,
    /// A dynamic member has to come again with its id before it is one (KIP-394).
    pub(super) needs_id: bool,
    /// A leader that is told so keeps the assignment as it is (KIP-814).
    pub(super) can_skip_assignment: bool,
}

impl Group {
    /// The answer is among the effects, now or later.
    pub(super) fn join(&mut self, now: Duration, joining: Joining, effects: &mut Effects) {
        let Joining { ticket, ref request, max_size, .. } = joining;
        if !self.has_room_for(&request.member_id, max_size) {
            // A member that comes last is out. As on Kafka the others are not told before the rebalance has to end, or goes on.
            self.promised.remove(&request.member_id);
            self.remove(&request.member_id);
            return effects.refuse_join(ticket, ErrorCode::GROUP_MAX_SIZE_REACHED, "");
        }
        if !self.supports(&request.protocol_type, &request.protocols) {
            return effects.refuse_join(ticket, ErrorCode::INCONSISTENT_GROUP_PROTOCOL, &request.member_id);
        }
        if request.member_id.is_empty() {
            return self.join_first_time(now, joining, effects);
        }
        if self.promised.contains_key(&request.member_id) && request.group_instance_id.is_none() {
            let id = request.member_id.clone();
            return self.add(now, id, joining, effects);
        }
        if let Err(code) = self.check_member(&request.member_id, request.group_instance_id.as_deref()) {
            return effects.refuse_join(ticket, code, &request.member_id);
        }
        self.join_again(now, joining, effects);
    }

    /// While members are waited for, those who have joined count: the last ones to come find no place.
    fn has_room_for(&self, member_id: &str, max_size: usize) -> bool {
        let known = self.member(member_id);
        match self.state {
            State::Empty => true,
            State::Preparing { .. } => {
                known.is_some_and(Member::is_joining)
                    || self.members.iter().filter(|member| member.is_joining()).count() < max_size
            }
            State::Completing { .. } | State::Stable { .. } => known.is_some() || self.members.len() < max_size,
        }
    }

    fn join_first_time(&mut self, now: Duration, joining: Joining, effects: &mut Effects) {
        let new_id = joining.new_id.clone();
        match joining.request.group_instance_id.as_deref().map(|instance_id| self.member_of_instance(instance_id)) {
            Some(Some(known)) => {
                let old_id = known.id.clone();
                self.replace(now, &old_id, joining, effects);
            }
            None if joining.needs_id => {
                let until = now.saturating_add(millis(joining.request.session_timeout_ms));
                effects.refuse_join(joining.ticket, ErrorCode::MEMBER_ID_REQUIRED, &new_id);
                self.promised.insert(new_id, until);
            }
            Some(None) | None => self.add(now, new_id, joining, effects),
        }
    }

    fn add(&mut self, now: Duration, id: String, joining: Joining, effects: &mut Effects) {
        let Joining { ticket, request, client_id, client_host, .. } = joining;
        self.promised.remove(&id);
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.clone());
        }
        self.leader.get_or_insert_with(|| id.clone());
        if let State::Preparing { first: Some(first), .. } = &mut self.state {
            first.somebody_came = true;
        }
        self.members.push(Member {
            id,
            client_id,
            client_host,
            session_timeout: millis(request.session_timeout_ms),
            rebalance_timeout: rebalance_timeout(&request),
            instance_id: request.group_instance_id,
            protocols: request.protocols,
            assignment: Default::default(),
            phase: Phase::Joining(ticket),
            is_new: true,
            session_ends: Some(now.saturating_add(NEW_MEMBER_PATIENCE)),
        });
        self.rebalance_or_complete(now, effects);
    }

    fn join_again(&mut self, now: Duration, joining: Joining, effects: &mut Effects) {
        let Joining { ticket, request, .. } = joining;
        let id = request.member_id.clone();
        let is_leader = self.is_leader(&id);
        let Some(member) = self.member(&id) else { return };
        let is_settled = match self.state {
            State::Empty | State::Preparing { .. } => false,
            // It may have missed the answer to its last JoinGroup.
            State::Completing { .. } => member.protocols == request.protocols,
            // A leader that joins again wants a rebalance: perhaps there are new partitions.
            State::Stable { .. } => member.protocols == request.protocols && !is_leader,
        };
        if is_settled {
            return effects.join(ticket, self.welcome(&id));
        }
        if let Some(member) = self.member_mut(&id) {
            if let Phase::Syncing(waiting) = member.phase {
                effects.refuse_sync(waiting, ErrorCode::REBALANCE_IN_PROGRESS);
            }
            member.update(request, Phase::Joining(ticket));
        }
        self.rebalance_or_complete(now, effects);
    }

    /// A static member is there again, under a new id; whoever uses the old one is fenced.
    fn replace(&mut self, now: Duration, old_id: &str, joining: Joining, effects: &mut Effects) {
        let Joining { ticket, request, new_id, can_skip_assignment, .. } = joining;
        let is_leader = self.is_leader(old_id);
        let leader_before = self.leader.clone().unwrap_or_default();
        self.rename(now, old_id, &new_id, effects);
        let Some(member) = self.member_mut(&new_id) else { return };
        member.update(request, Phase::Joining(ticket));
        member.restart_session(now);
        match self.state {
            State::Stable { .. } if self.vote() == self.protocol => {
                if let Some(member) = self.member_mut(&new_id) {
                    member.phase = Phase::Idle;
                }
                self.stop_waiting_if_all_synced();
                let welcome = self.welcome(&new_id);
                let response = if can_skip_assignment {
                    JoinGroupResponse { skip_assignment: is_leader, ..welcome }
                } else {
                    // Naming the member that was the leader keeps this one from assigning anew.
                    JoinGroupResponse { leader: leader_before, members: Vec::new(), ..welcome }
                };
                effects.store = Some(Store::Replacement(ticket, response));
            }
            State::Empty | State::Completing { .. } | State::Stable { .. } => self.prepare(now, effects),
            State::Preparing { .. } => self.complete_if_all_joined(now, effects),
        }
    }

    /// A static member gets another id. What waits under the old one is fenced.
    fn rename(&mut self, now: Duration, old_id: &str, new_id: &str, effects: &mut Effects) {
        let is_leader = self.is_leader(old_id);
        let Some(member) = self.member_mut(old_id) else { return };
        match member.phase {
            Phase::Joining(waiting) => effects.refuse_join(waiting, ErrorCode::FENCED_INSTANCE_ID, old_id),
            Phase::Syncing(waiting) => effects.refuse_sync(waiting, ErrorCode::FENCED_INSTANCE_ID),
            Phase::Idle | Phase::OwesSync => {}
        }
        new_id.clone_into(&mut member.id);
        member.phase = Phase::Idle;
        member.restart_session(now);
        if is_leader {
            self.leader = Some(new_id.to_owned());
        }
    }

    /// A twin takes a static member's place, without a word.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID if there is no such member.
    pub(super) fn fence(
        &mut self,
        now: Duration,
        instance_id: &str,
        twin: &str,
        effects: &mut Effects,
    ) -> Result<(), ErrorCode> {
        let known = self.member_of_instance(instance_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        let old_id = known.id.clone();
        self.rename(now, &old_id, twin, effects);
        match self.state {
            // The leader knows the old id.
            State::Completing { .. } => self.prepare(now, effects),
            State::Stable { .. } => self.stop_waiting_if_all_synced(),
            State::Empty | State::Preparing { .. } => {}
        }
        Ok(())
    }

    /// The answer is among the effects, now or later.
    pub(super) fn sync(&mut self, ticket: Ticket, request: SyncGroupRequest, effects: &mut Effects) {
        if let Err(code) = self.check_sync(&request) {
            return effects.refuse_sync(ticket, code);
        }
        let is_leader = self.is_leader(&request.member_id);
        let state = self.state;
        let Some(member) = self.member_mut(&request.member_id) else { return };
        match state {
            State::Empty => effects.refuse_sync(ticket, ErrorCode::UNKNOWN_MEMBER_ID),
            State::Preparing { .. } => effects.refuse_sync(ticket, ErrorCode::REBALANCE_IN_PROGRESS),
            State::Completing { .. } => {
                member.phase = Phase::Syncing(ticket);
                if is_leader {
                    let mut assignments: BTreeMap<_, _> =
                        request.assignments.into_iter().map(|given| (given.member_id, given.assignment)).collect();
                    for member in &mut self.members {
                        member.assignment = assignments.remove(&member.id).unwrap_or_default();
                    }
                    effects.store = Some(Store::Assignment);
                }
            }
            State::Stable { .. } => {
                member.phase = Phase::Idle;
                if let Some(member) = self.member(&request.member_id) {
                    effects.sync(ticket, self.assignment_of(member));
                }
                self.stop_waiting_if_all_synced();
            }
        }
    }

    fn check_sync(&self, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        self.check_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        let differs =
            |named: &Option<String>, known: &Option<String>| named.is_some() && known.is_some() && named != known;
        if differs(&request.protocol_type, &self.protocol_type) || differs(&request.protocol_name, &self.protocol) {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        Ok(())
    }

    /// # Errors
    /// What the member has to do: join again, or start anew.
    pub(super) fn heartbeat(&mut self, now: Duration, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
        self.check_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        if let Some(member) = self.member_mut(&request.member_id) {
            member.restart_session(now);
        }
        match self.state {
            State::Empty => Err(ErrorCode::UNKNOWN_MEMBER_ID),
            State::Preparing { .. } => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            State::Completing { .. } | State::Stable { .. } => Ok(()),
        }
    }

    /// Several members go. A static one may be named by its instance alone, as administrators do.
    pub(super) fn leave(
        &mut self,
        now: Duration,
        leaving: &[MemberIdentity],
        effects: &mut Effects,
    ) -> Vec<Result<(), ErrorCode>> {
        let results: Vec<_> = leaving.iter().map(|member| self.leave_one(member, effects)).collect();
        if results.iter().any(Result::is_ok) {
            match self.state {
                State::Empty => {}
                State::Preparing { .. } => self.complete_if_all_joined(now, effects),
                State::Completing { .. } | State::Stable { .. } => self.prepare(now, effects),
            }
        }
        results
    }

    fn leave_one(&mut self, leaving: &MemberIdentity, effects: &mut Effects) -> Result<(), ErrorCode> {
        let instance_id = leaving.group_instance_id.as_deref();
        if leaving.member_id.is_empty() {
            let member = instance_id.and_then(|instance_id| self.member_of_instance(instance_id));
            let id = member.map(|member| member.id.clone()).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
            self.dismiss_member(&id, effects);
            return Ok(());
        }
        if self.promised.remove(&leaving.member_id).is_some() {
            return Ok(());
        }
        self.check_member(&leaving.member_id, instance_id)?;
        self.dismiss_member(&leaving.member_id, effects);
        Ok(())
    }

    /// Whether this member may commit now; if so, it has been heard of. Who names neither generation nor member is a simple
    /// consumer, and an administrator is one too: they may commit while nobody is in the group.
    ///
    /// # Errors
    /// Why it may not.
    pub(super) fn check_commit(
        &mut self,
        now: Duration,
        generation: i32,
        member_id: &str,
        instance_id: Option<&str>,
        is_transactional: bool,
    ) -> Result<(), ErrorCode> {
        if generation < 0 && self.state == State::Empty {
            return Ok(());
        }
        if generation < 0 && member_id.is_empty() && instance_id.is_none() {
            // Producers before KIP-447 did not say for whom they commit.
            return if is_transactional { Ok(()) } else { Err(ErrorCode::UNKNOWN_MEMBER_ID) };
        }
        self.check_member(member_id, instance_id)?;
        if generation != self.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        match self.state {
            // It knows the generation but not yet what it has in it.
            State::Completing { .. } if !is_transactional => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            State::Completing { .. } | State::Empty | State::Preparing { .. } | State::Stable { .. } => {
                if let Some(member) = self.member_mut(member_id) {
                    member.restart_session(now);
                }
                Ok(())
            }
        }
    }
}
