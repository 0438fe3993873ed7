//! One classic group: its state, its members, and what they can agree on. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use milena_protocol::ErrorCode;
use milena_protocol::messages::join_group::{JoinGroupRequestProtocol, JoinGroupResponse, JoinGroupResponseMember};
use milena_protocol::messages::sync_group::SyncGroupResponse;

use super::member::{Member, Phase};
use super::record::GroupRecord;
use crate::core::Ticket;

/// The shortest time that a rebalance lasts at most; without it, one that nobody attends would come again and again at once.
const SHORTEST_REBALANCE: Duration = Duration::from_millis(1);

/// What a classic group is doing, by Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GroupState {
    /// It has no members; it may have committed offsets.
    Empty,
    /// It waits for its members to join the next generation.
    PreparingRebalance,
    /// All have joined; it waits for the leader's assignment.
    CompletingRebalance,
    /// Its members have their assignments.
    Stable,
    /// There is no such group.
    Dead,
}

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        })
    }
}

/// How far a group's rebalance is. A group that does not exist is Kafka's fifth state, `Dead`.
///
/// ```text
///           first member              all have joined, or time is up              the leader's SyncGroup
///   Empty ───────────────► Preparing ────────────────────────────────► Completing ──────────────────────► Stable
///     ▲                     │     ▲                                        │                                │
///     └──── nobody left ────┘     └── a member comes, goes, changes what it says, or does not ask in time ──┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Empty,
    /// Dynamic members that have not joined by `until` are dropped.
    Preparing {
        until: Duration,
        first: Option<FirstRebalance>,
    },
    /// Members that have not asked for their assignment by `until` are dropped.
    Completing {
        until: Duration,
    },
    /// As long as some have not asked for their assignment, they have until then.
    Stable {
        until: Option<Duration>,
    },
}

/// The rebalance of a group that was empty does not end when all have joined but after a delay, so that a fleet that starts is
/// one generation. Each newcomer renews the delay, up to the rebalance timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FirstRebalance {
    pub(super) delay: Duration,
    pub(super) remaining: Duration,
    pub(super) somebody_came: bool,
}

/// An answer to a request that waits.
#[derive(Debug)]
pub(super) enum Reply {
    Join(JoinGroupResponse),
    Sync(SyncGroupResponse),
}

/// What the coordinator has to write before it goes on.
#[derive(Debug)]
pub(super) enum Store {
    /// The group without members.
    Emptied,
    /// The leader's assignment. Then [`Group::on_stored`].
    Assignment,
    /// A static member with a new id, which is then answered.
    Replacement(Ticket, JoinGroupResponse),
}

/// What comes of a call, beside what it returns.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) answers: Vec<(Ticket, Reply)>,
    pub(super) store: Option<Store>,
}

impl Effects {
    pub(super) fn join(&mut self, ticket: Ticket, response: JoinGroupResponse) {
        self.answers.push((ticket, Reply::Join(response)));
    }

    pub(super) fn refuse_join(&mut self, ticket: Ticket, error_code: ErrorCode, member_id: &str) {
        let member_id = member_id.to_owned();
        self.join(ticket, JoinGroupResponse { error_code, member_id, ..Default::default() });
    }

    pub(super) fn sync(&mut self, ticket: Ticket, response: SyncGroupResponse) {
        self.answers.push((ticket, Reply::Sync(response)));
    }

    pub(super) fn refuse_sync(&mut self, ticket: Ticket, error_code: ErrorCode) {
        self.sync(ticket, SyncGroupResponse { error_code, ..Default::default() });
    }
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) state: State,
    pub(super) generation: i32,
    /// That of the members now or the last ones; none if nobody has ever joined.
    pub(super) protocol_type: Option<String>,
    /// Of this generation.
    pub(super) protocol: Option<String>,
    pub(super) leader: Option<String>,
    /// In the order in which they came.
    pub(super) members: Vec<Member>,
    /// Ids that were given away, and until when they are waited for.
    pub(super) promised: BTreeMap<String, Duration>,
    pub(super) first_delay: Duration,
    /// When the last member went, in milliseconds since the Unix epoch.
    pub(super) emptied_at: Option<i64>,
}

impl Group {
    pub(super) fn new(first_delay: Duration) -> Self {
        Self {
            state: State::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: Vec::new(),
            promised: BTreeMap::new(),
            first_delay,
            emptied_at: None,
        }
    }

    /// The group as the coordinator before left it in the log.
    pub(super) fn restored(record: GroupRecord, first_delay: Duration, now: Duration) -> Self {
        let protocol = record.protocol.clone().unwrap_or_default();
        let emptied_at = Some(record.timestamp).filter(|time| *time >= 0 && record.members.is_empty());
        let members: Vec<Member> =
            record.members.into_iter().map(|member| Member::restored(member, &protocol, now)).collect();
        Self {
            state: if members.is_empty() { State::Empty } else { State::Stable { until: None } },
            generation: record.generation,
            protocol_type: Some(record.protocol_type).filter(|name| !name.is_empty()),
            protocol: record.protocol,
            leader: record.leader,
            members,
            promised: BTreeMap::new(),
            first_delay,
            emptied_at,
        }
    }

    pub(super) fn record(&self, timestamp: i64) -> GroupRecord {
        let protocol = self.protocol.clone().unwrap_or_default();
        GroupRecord {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            timestamp,
            members: self.members.iter().map(|member| member.record(&protocol)).collect(),
        }
    }

    pub(super) fn name_of_state(&self) -> GroupState {
        match self.state {
            State::Empty => GroupState::Empty,
            State::Preparing { .. } => GroupState::PreparingRebalance,
            State::Completing { .. } => GroupState::CompletingRebalance,
            State::Stable { .. } => GroupState::Stable,
        }
    }

    pub(super) fn member(&self, id: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    pub(super) fn member_mut(&mut self, id: &str) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.id == id)
    }

    pub(super) fn member_of_instance(&self, instance_id: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.instance_id.as_deref() == Some(instance_id))
    }

    pub(super) fn is_leader(&self, id: &str) -> bool {
        self.leader.as_deref() == Some(id)
    }

    /// # Errors
    /// FENCED_INSTANCE_ID if another member has the static member's place, UNKNOWN_MEMBER_ID if there is no such member.
    pub(super) fn check_member(&self, id: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            let member = self.member_of_instance(instance_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
            if member.id != id {
                return Err(ErrorCode::FENCED_INSTANCE_ID);
            }
        }
        self.member(id).map(|_| ()).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)
    }

    /// Whether a member that speaks these protocols shares one with all others.
    pub(super) fn supports(&self, protocol_type: &str, protocols: &[JoinGroupRequestProtocol]) -> bool {
        if self.state == State::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let is_common = |protocol: &JoinGroupRequestProtocol| {
            self.members.iter().all(|member| member.metadata(&protocol.name).is_some())
        };
        self.protocol_type.as_deref() == Some(protocol_type) && protocols.iter().any(is_common)
    }

    /// Each member votes for the first of its protocols that all speak. With equal votes, the one that comes first in Java's
    /// map of them.
    pub(super) fn vote(&self) -> Option<String> {
        let is_common = |name: &str| self.members.iter().all(|member| member.metadata(name).is_some());
        let choices = self.members.iter().filter_map(|member| {
            member.protocols.iter().map(|protocol| protocol.name.as_str()).find(|name| is_common(name))
        });
        let mut votes: Vec<(&str, usize)> = Vec::new();
        for choice in choices {
            match votes.iter_mut().find(|(name, _)| *name == choice) {
                Some((_, count)) => *count += 1,
                None => votes.push((choice, 1)),
            }
        }
        votes.sort_by_key(|(name, _)| java_bucket(name));
        let most = votes.iter().map(|(_, count)| *count).max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name.to_owned())
    }

    /// The longest that any member asked for.
    pub(super) fn rebalance_timeout(&self) -> Duration {
        let longest = self.members.iter().map(|member| member.rebalance_timeout).max();
        longest.unwrap_or_default().max(SHORTEST_REBALANCE)
    }

    pub(super) fn have_all_joined(&self) -> bool {
        self.promised.is_empty() && self.members.iter().all(Member::is_joining)
    }

    /// Takes a member out. If it led, the eldest of the others leads.
    pub(super) fn remove(&mut self, id: &str) -> Option<Member> {
        let index = self.members.iter().position(|member| member.id == id)?;
        let removed = self.members.remove(index);
        if self.is_leader(id) {
            self.leader = self.members.first().map(|member| member.id.clone());
        }
        Some(removed)
    }

    /// Tells a member its generation, and the leader who the members are.
    pub(super) fn welcome(&self, member_id: &str) -> JoinGroupResponse {
        let protocol = self.protocol.clone().unwrap_or_default();
        let members = self.members.iter().filter(|_| self.is_leader(member_id)).map(|member| JoinGroupResponseMember {
            member_id: member.id.clone(),
            group_instance_id: member.instance_id.clone(),
            metadata: member.metadata(&protocol).cloned().unwrap_or_default(),
        });
        JoinGroupResponse {
            generation_id: self.generation,
            protocol_type: self.protocol_type.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            member_id: member_id.to_owned(),
            members: members.collect(),
            protocol_name: Some(protocol),
            ..Default::default()
        }
    }

    pub(super) fn assignment_of(&self, member: &Member) -> SyncGroupResponse {
        SyncGroupResponse {
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            assignment: member.assignment.clone(),
            ..Default::default()
        }
    }

    /// When [`Group::expire`] has something to do next.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let of_state = match self.state {
            State::Empty => None,
            State::Preparing { until, .. } | State::Completing { until } => Some(until),
            State::Stable { until } => until,
        };
        let sessions = self.members.iter().filter_map(|member| member.session_ends);
        sessions.chain(of_state).chain(self.promised.values().copied()).min()
    }

    /// The coordinator moves: whoever waits has to look for the new one.
    pub(super) fn dismiss(self, effects: &mut Effects) {
        for member in self.members {
            match member.phase {
                Phase::Joining(ticket) => effects.refuse_join(ticket, ErrorCode::NOT_COORDINATOR, &member.id),
                Phase::Syncing(ticket) => effects.refuse_sync(ticket, ErrorCode::NOT_COORDINATOR),
                Phase::Idle | Phase::OwesSync => {}
            }
        }
    }
}

/// Where Java's `HashMap` has a string, as long as there are at most twelve.
fn java_bucket(text: &str) -> u32 {
    let hash = text.encode_utf16().fold(0u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)));
    (hash ^ (hash >> 16)) & 15
}
