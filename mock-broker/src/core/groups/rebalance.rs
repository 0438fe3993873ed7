//! The rebalance of a classic group: who is waited for, how long, and what ends it. Pure.

use std::time::Duration;

use bytes::Bytes;
use milena_protocol::ErrorCode;

use super::group::{Effects, FirstRebalance, Group, State, Store};
use super::member::Phase;

/// What is due in a group.
enum Due {
    /// An id that was given away and not used.
    Promise(String),
    /// A member has not been heard of.
    Session(String),
    /// The end of the wait for members.
    Barrier,
}

impl Group {
    /// After a change of the members: starts a rebalance, or ends the one under way if nobody is missing.
    pub(super) fn rebalance_or_complete(&mut self, now: Duration, effects: &mut Effects) {
        match self.state {
            State::Preparing { .. } => self.complete_if_all_joined(now, effects),
            State::Empty | State::Completing { .. } | State::Stable { .. } => self.prepare(now, effects),
        }
    }

    /// The first rebalance goes on until its delay is over.
    pub(super) fn complete_if_all_joined(&mut self, now: Duration, effects: &mut Effects) {
        match self.state {
            State::Preparing { first: None, .. } if self.have_all_joined() => self.complete(now, effects),
            State::Preparing { .. } | State::Empty | State::Completing { .. } | State::Stable { .. } => {}
        }
    }

    /// Starts a rebalance: everybody has to join again.
    pub(super) fn prepare(&mut self, now: Duration, effects: &mut Effects) {
        if let State::Completing { .. } = self.state {
            self.break_off(now, ErrorCode::REBALANCE_IN_PROGRESS, effects);
        }
        for member in &mut self.members {
            if member.phase == Phase::OwesSync {
                member.phase = Phase::Idle;
            }
        }
        let timeout = self.rebalance_timeout();
        if self.state == State::Empty {
            let delay = self.first_delay;
            let first = FirstRebalance { delay, remaining: timeout.saturating_sub(delay), somebody_came: false };
            self.state = State::Preparing { until: now.saturating_add(delay), first: Some(first) };
            return;
        }
        self.state = State::Preparing { until: now.saturating_add(timeout), first: None };
        self.complete_if_all_joined(now, effects);
    }

    /// Nobody gets an assignment; those who wait for one are told why.
    fn break_off(&mut self, now: Duration, code: ErrorCode, effects: &mut Effects) {
        for member in &mut self.members {
            member.assignment = Bytes::new();
            if let Phase::Syncing(ticket) = member.phase {
                effects.refuse_sync(ticket, code);
                member.phase = Phase::Idle;
                member.restart_session(now);
            }
        }
    }

    /// Ends the wait for members: those who have joined are the next generation. Static members may come later.
    fn complete(&mut self, now: Duration, effects: &mut Effects) {
        let missing = self.members.iter().filter(|member| member.instance_id.is_none() && !member.is_joining());
        for id in missing.map(|member| member.id.clone()).collect::<Vec<_>>() {
            self.remove(&id);
        }
        if !self.members.is_empty() && !self.elect_leader() {
            // Only static members, and none is here: wait until their sessions end.
            let until = now.saturating_add(self.rebalance_timeout());
            self.state = State::Preparing { until, first: None };
            return;
        }
        self.generation = self.generation.wrapping_add(1);
        self.protocol = self.vote();
        if self.members.is_empty() {
            self.state = State::Empty;
            effects.store = Some(Store::Emptied);
            return;
        }
        self.state = State::Completing { until: now.saturating_add(self.rebalance_timeout()) };
        for index in 0..self.members.len() {
            let Some(member) = self.members.get(index) else { continue };
            if let Phase::Joining(ticket) = member.phase {
                effects.join(ticket, self.welcome(&member.id));
            }
            let Some(member) = self.members.get_mut(index) else { continue };
            member.phase = Phase::OwesSync;
            member.is_new = false;
            member.restart_session(now);
        }
    }

    /// The leader stays if it has joined; else the eldest member that has. Tells whether there is one.
    fn elect_leader(&mut self) -> bool {
        let has_joined = |leader: &String| self.member(leader).is_some_and(|member| member.is_joining());
        if self.leader.as_ref().is_some_and(has_joined) {
            return true;
        }
        match self.members.iter().find(|member| member.is_joining()) {
            Some(member) => {
                self.leader = Some(member.id.clone());
                true
            }
            None => false,
        }
    }

    /// The leader's assignment is written, or could not be.
    pub(super) fn on_stored(&mut self, now: Duration, result: Result<(), ErrorCode>, effects: &mut Effects) {
        let State::Completing { until } = self.state else { return };
        if let Err(code) = result {
            self.break_off(now, code, effects);
            self.prepare(now, effects);
            return;
        }
        for index in 0..self.members.len() {
            let Some(member) = self.members.get(index) else { continue };
            let Phase::Syncing(ticket) = member.phase else { continue };
            effects.sync(ticket, self.assignment_of(member));
            let Some(member) = self.members.get_mut(index) else { continue };
            member.phase = Phase::Idle;
            member.restart_session(now);
        }
        self.state = State::Stable { until: Some(until) };
        self.stop_waiting_if_all_synced();
    }

    pub(super) fn stop_waiting_if_all_synced(&mut self) {
        if self.members.iter().all(|member| member.phase != Phase::OwesSync)
            && let State::Stable { until } = &mut self.state
        {
            *until = None;
        }
    }

    /// Takes a member out, by its end or by force.
    pub(super) fn drop_member(&mut self, now: Duration, id: &str, effects: &mut Effects) {
        self.dismiss_member(id, effects);
        match self.state {
            State::Empty => {}
            State::Preparing { .. } => self.complete_if_all_joined(now, effects),
            State::Completing { .. } | State::Stable { .. } => self.prepare(now, effects),
        }
    }

    /// Takes a member out, and answers what it waits for.
    pub(super) fn dismiss_member(&mut self, id: &str, effects: &mut Effects) {
        let Some(member) = self.remove(id) else { return };
        match member.phase {
            // It may only be slow; then it comes again as a new one.
            Phase::Joining(ticket) => effects.refuse_join(ticket, ErrorCode::UNKNOWN_MEMBER_ID, ""),
            Phase::Syncing(ticket) => effects.refuse_sync(ticket, ErrorCode::UNKNOWN_MEMBER_ID),
            Phase::Idle | Phase::OwesSync => {}
        }
    }

    /// Does the one thing that has been due for longest. Tells whether there was any.
    pub(super) fn expire(&mut self, now: Duration, effects: &mut Effects) -> bool {
        let Some(due) = self.next_deadline().filter(|deadline| *deadline <= now).map(|deadline| self.due(deadline))
        else {
            return false;
        };
        match due {
            Due::Promise(id) => {
                self.promised.remove(&id);
                self.complete_if_all_joined(now, effects);
            }
            Due::Session(id) => match self.member_mut(&id) {
                Some(member) if member.is_excused() => member.session_ends = None,
                Some(_) | None => self.drop_member(now, &id, effects),
            },
            Due::Barrier => self.end_wait(now, effects),
        }
        true
    }

    fn due(&self, deadline: Duration) -> Due {
        if let Some((id, _)) = self.promised.iter().find(|(_, until)| **until == deadline) {
            return Due::Promise(id.clone());
        }
        match self.members.iter().find(|member| member.session_ends == Some(deadline)) {
            Some(member) => Due::Session(member.id.clone()),
            None => Due::Barrier,
        }
    }

    fn end_wait(&mut self, now: Duration, effects: &mut Effects) {
        match self.state {
            State::Preparing { first: Some(first), .. } if first.somebody_came && !first.remaining.is_zero() => {
                let delay = self.first_delay.min(first.remaining);
                let remaining = first.remaining.saturating_sub(first.delay);
                let first = FirstRebalance { delay, remaining, somebody_came: false };
                self.state = State::Preparing { until: now.saturating_add(delay), first: Some(first) };
            }
            State::Preparing { .. } => self.complete(now, effects),
            State::Completing { .. } | State::Stable { .. } => {
                let late = self.members.iter().filter(|member| member.phase == Phase::OwesSync);
                for id in late.map(|member| member.id.clone()).collect::<Vec<_>>() {
                    self.remove(&id);
                }
                self.prepare(now, effects);
            }
            State::Empty => {}
        }
    }
}
