//! A small model of a group on its coordinator, for simulations of its members. Pure.

use std::collections::BTreeMap;

use milena_protocol::messages::heartbeat::HeartbeatRequest;

use super::*;

/// A request, as one member sends it.
pub(super) enum Request {
    Join(JoinGroupRequest),
    Sync(SyncGroupRequest),
    Heartbeat(HeartbeatRequest),
    Leave(LeaveGroupRequest),
}

/// Its answer.
#[derive(Debug)]
pub(super) enum Answer {
    Join(JoinGroupResponse),
    Sync(SyncGroupResponse),
    Heartbeat(ErrorCode),
}

/// ```text
///  Empty ──► Preparing ──all joined, or timeout──► Completing ──leader synced──► Stable
///              ▲                                        │                          │
///              └────────── a member joins, leaves or dies ─────────────────────────┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Empty,
    Preparing { until: Time },
    Completing,
    Stable,
}

pub(super) struct Group {
    state: State,
    pub(super) generation: i32,
    members: BTreeMap<String, Joined>,
    named: u32,
    leader: String,
    protocol: Option<String>,
    /// Requests that were answered, by their tickets.
    pub(super) answers: Vec<(u64, Answer)>,
}

struct Joined {
    metadata: Bytes,
    session: Duration,
    rebalance: Duration,
    heard: Time,
    /// The JoinGroup or SyncGroup that waits.
    joining: Option<u64>,
    syncing: Option<u64>,
    assignment: Bytes,
}

impl Group {
    pub(super) fn new() -> Self {
        Self {
            state: State::Empty,
            generation: 0,
            members: BTreeMap::new(),
            named: 0,
            leader: String::new(),
            protocol: None,
            answers: Vec::new(),
        }
    }

    pub(super) fn submit(&mut self, ticket: u64, request: Request, now: Time) {
        match request {
            Request::Join(request) => self.join(ticket, request, now),
            Request::Sync(request) => self.sync(ticket, request, now),
            Request::Heartbeat(request) => {
                let code = self.heartbeat(&request, now);
                self.answers.push((ticket, Answer::Heartbeat(code)));
            }
            Request::Leave(request) => {
                if self.members.remove(&request.member_id).is_some() {
                    self.prepare(now);
                }
            }
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        let silent = self.members.values().filter(|m| m.joining.is_none() && m.syncing.is_none());
        let expiry = silent.map(|member| member.heard + member.session);
        let timeout = match self.state {
            State::Preparing { until } => Some(until),
            State::Empty | State::Completing | State::Stable => None,
        };
        expiry.chain(timeout).min()
    }

    pub(super) fn poll(&mut self, now: Time) {
        let before = self.members.len();
        self.members.retain(|_, m| m.joining.is_some() || m.syncing.is_some() || m.heard + m.session > now);
        if self.members.len() < before {
            self.prepare(now);
        }
        if let State::Preparing { until } = self.state {
            if until <= now {
                self.members.retain(|_, member| member.joining.is_some());
            }
            self.complete(now);
        }
    }

    fn join(&mut self, ticket: u64, request: JoinGroupRequest, now: Time) {
        let refuse = |error_code, member_id: &str| {
            Answer::Join(JoinGroupResponse { error_code, member_id: member_id.into(), ..Default::default() })
        };
        if request.member_id.is_empty() {
            self.named += 1;
            let name = format!("member-{}", self.named);
            return self.answers.push((ticket, refuse(ErrorCode::MEMBER_ID_REQUIRED, &name)));
        }
        let known = self.members.contains_key(&request.member_id);
        let number: u32 = request.member_id.trim_start_matches("member-").parse().unwrap();
        // A name that was given and not used yet is remembered while it is recent.
        if !known && number + 5 < self.named {
            return self.answers.push((ticket, refuse(ErrorCode::UNKNOWN_MEMBER_ID, "")));
        }
        self.protocol = Some(request.protocols[0].name.clone());
        let millis = |number: i32| Duration::from_millis(u64::try_from(number).unwrap());
        let member = Joined {
            metadata: request.protocols[0].metadata.clone(),
            session: millis(request.session_timeout_ms),
            rebalance: millis(request.rebalance_timeout_ms),
            heard: now,
            joining: Some(ticket),
            syncing: None,
            assignment: Bytes::new(),
        };
        self.members.insert(request.member_id, member);
        self.prepare(now);
        self.complete(now);
    }

    fn prepare(&mut self, now: Time) {
        for member in self.members.values_mut() {
            if let Some(ticket) = member.syncing.take() {
                member.heard = now;
                let error_code = ErrorCode::REBALANCE_IN_PROGRESS;
                self.answers.push((ticket, Answer::Sync(SyncGroupResponse { error_code, ..Default::default() })));
            }
        }
        if !matches!(self.state, State::Preparing { .. }) {
            let longest = self.members.values().map(|member| member.rebalance).max().unwrap_or_default();
            self.state = State::Preparing { until: now + longest };
        }
    }

    fn complete(&mut self, now: Time) {
        if self.members.is_empty() {
            self.state = State::Empty;
            return;
        }
        if self.members.values().any(|member| member.joining.is_none()) {
            return;
        }
        self.generation += 1;
        self.state = State::Completing;
        self.leader = self.members.keys().next().unwrap().clone();
        let listed = |(id, member): (&String, &Joined)| JoinGroupResponseMember {
            member_id: id.clone(),
            metadata: member.metadata.clone(),
            ..Default::default()
        };
        let all: Vec<_> = self.members.iter().map(listed).collect();
        for (id, member) in &mut self.members {
            member.heard = now;
            let answer = JoinGroupResponse {
                generation_id: self.generation,
                protocol_name: self.protocol.clone(),
                leader: self.leader.clone(),
                member_id: id.clone(),
                members: if *id == self.leader { all.clone() } else { Vec::new() },
                ..Default::default()
            };
            self.answers.push((member.joining.take().unwrap(), Answer::Join(answer)));
        }
    }

    fn sync(&mut self, ticket: u64, request: SyncGroupRequest, now: Time) {
        let error_code = self.check(&request.member_id, request.generation_id);
        let error_code = match self.state {
            State::Preparing { .. } if error_code.is_none() => ErrorCode::REBALANCE_IN_PROGRESS,
            State::Preparing { .. } | State::Empty | State::Completing | State::Stable => error_code,
        };
        if !error_code.is_none() {
            let answer = SyncGroupResponse { error_code, ..Default::default() };
            return self.answers.push((ticket, Answer::Sync(answer)));
        }
        if self.state == State::Completing && request.member_id == self.leader {
            for sent in request.assignments {
                if let Some(member) = self.members.get_mut(&sent.member_id) {
                    member.assignment = sent.assignment;
                }
            }
            self.state = State::Stable;
        }
        self.members.get_mut(&request.member_id).unwrap().syncing = Some(ticket);
        if self.state == State::Stable {
            for member in self.members.values_mut() {
                let Some(ticket) = member.syncing.take() else { continue };
                member.heard = now;
                let assignment = member.assignment.clone();
                self.answers.push((ticket, Answer::Sync(SyncGroupResponse { assignment, ..Default::default() })));
            }
        }
    }

    fn heartbeat(&mut self, request: &HeartbeatRequest, now: Time) -> ErrorCode {
        let code = self.check(&request.member_id, request.generation_id);
        if !code.is_none() {
            return code;
        }
        self.members.get_mut(&request.member_id).unwrap().heard = now;
        match self.state {
            State::Preparing { .. } => ErrorCode::REBALANCE_IN_PROGRESS,
            State::Empty | State::Completing | State::Stable => ErrorCode::NONE,
        }
    }

    fn check(&self, member: &str, generation: i32) -> ErrorCode {
        match self.members.contains_key(member) {
            false => ErrorCode::UNKNOWN_MEMBER_ID,
            true if generation != self.generation => ErrorCode::ILLEGAL_GENERATION,
            true => ErrorCode::NONE,
        }
    }
}
