//! The leader's work: reads what the members want, asks the assignor, checks its answer. Pure.
//!
//! Both sides are untrusted. A member whose subscription cannot be read gets nothing and disturbs nobody; what the assignor
//! says reaches nobody unless it is a division.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use milena_protocol::group::{Assignment, Subscription};
use milena_protocol::messages::join_group::JoinGroupResponseMember;
use milena_protocol::messages::sync_group::SyncGroupRequestAssignment;
use tracing::warn;

use super::assignments::Given;
use super::{Assignments, AssignorError, Member, RebalanceProtocol, Strategy, Topics, guarded};
use crate::error::{Error, ErrorKind, Result};
use crate::topic_partition::TopicPartition;

/// The members of a group that are to divide its partitions.
#[derive(Debug, Clone)]
pub(crate) struct Division {
    strategy: Strategy,
    members: Vec<Candidate>,
    /// Every topic that somebody is subscribed to.
    topics: BTreeSet<Arc<str>>,
}

/// A member, as far as it makes sense.
#[derive(Debug, Clone)]
struct Candidate {
    id: String,
    instance_id: Option<String>,
    rack: Option<String>,
    topics: Vec<Arc<str>>,
    owned: Vec<TopicPartition>,
    generation: Option<i32>,
    user_data: bytes::Bytes,
    /// Its subscription could not be read.
    corrupt: bool,
}

impl Division {
    pub(crate) fn new(strategy: Strategy, members: Vec<JoinGroupResponseMember>) -> Self {
        let mut seen = BTreeSet::new();
        let mut topics: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut candidates = Vec::new();
        for member in members {
            if !seen.insert(member.member_id.clone()) {
                warn!(member = ?member.member_id, "a member is listed twice in its group: the second entry is ignored");
                continue;
            }
            let candidate = Candidate::read(member);
            topics.extend(candidate.topics.iter().cloned());
            candidates.push(candidate);
        }
        Self { strategy, members: candidates, topics }
    }

    /// Every topic that somebody is subscribed to: what the [`Topics`] for [`Division::run`] have to be looked up for.
    pub(crate) fn topics(&self) -> &BTreeSet<Arc<str>> {
        &self.topics
    }

    /// Whether somebody tells its rack, so that the racks of the replicas matter.
    pub(crate) fn uses_racks(&self) -> bool {
        self.members.iter().any(|member| member.rack.is_some())
    }

    /// Divides these topics, and returns what to send to each member. A topic that is missing is left out.
    ///
    /// # Errors
    /// `UserCode`, naming the assignor, if it fails, panics, or says something that is not a division; `Usage` if a
    /// name is too long for the protocol.
    pub(crate) fn run(&self, topics: &Topics) -> Result<Vec<SyncGroupRequestAssignment>> {
        let sound: Vec<_> = self.members.iter().filter(|member| !member.corrupt).collect();
        let members: Vec<Member<'_>> = sound.iter().map(|member| member.as_member()).collect();
        let answer = guarded(|| self.strategy.assignor.assign(&members, topics));
        let assignments = match answer {
            Ok(Ok(assignments)) => assignments,
            Ok(Err(cause)) => return Err(self.offence("could not divide the partitions").with_source(Cause(cause))),
            Err(text) => return Err(self.offence(&format!("panicked while dividing the partitions: {text}"))),
        };
        let mut verdict = check(&assignments, &members, topics, self.strategy.protocol);
        if self.strategy.protocol == RebalanceProtocol::Cooperative {
            verdict = verdict.and_then(|()| check_moves(&assignments, &members));
        }
        verdict.map_err(|offence| self.offence(&offence))?;
        let given: BTreeMap<&str, &Given> = members.iter().map(|member| member.id).zip(&assignments.given).collect();
        let encode = |member: &Candidate| {
            let nothing = Given::default();
            let assignment = encode(given.get(member.id.as_str()).copied().unwrap_or(&nothing))?;
            Ok(SyncGroupRequestAssignment { member_id: member.id.clone(), assignment })
        };
        self.members.iter().map(encode).collect()
    }

    fn offence(&self, what: &str) -> Error {
        Error::new(ErrorKind::UserCode, format!("assignor {:?} {what}", self.strategy.name))
    }
}

impl Candidate {
    fn read(member: JoinGroupResponseMember) -> Self {
        let JoinGroupResponseMember { member_id, group_instance_id, metadata } = member;
        let (subscription, corrupt) = match Subscription::decode(metadata) {
            Ok(subscription) => (subscription, false),
            Err(error) => {
                warn!(member = ?member_id, %error, "a member's subscription cannot be read: it gets no partitions");
                (Subscription::default(), true)
            }
        };
        let topics: BTreeSet<Arc<str>> = subscription.topics.iter().map(|topic| topic.as_str().into()).collect();
        let owned: BTreeSet<TopicPartition> = one_by_one(&subscription.owned_partitions).collect();
        Self {
            id: member_id,
            instance_id: group_instance_id,
            rack: subscription.rack_id,
            topics: topics.into_iter().collect(),
            owned: owned.into_iter().filter(|partition| partition.partition() >= 0).collect(),
            generation: Some(subscription.generation_id).filter(|generation| *generation >= 0),
            user_data: subscription.user_data.unwrap_or_default(),
            corrupt,
        }
    }

    fn as_member(&self) -> Member<'_> {
        Member {
            id: &self.id,
            instance_id: self.instance_id.as_deref(),
            rack: self.rack.as_deref(),
            topics: &self.topics,
            owned: &self.owned,
            generation: self.generation,
            user_data: &self.user_data,
        }
    }
}

/// What the protocol lists by topic, one by one.
pub(crate) fn one_by_one(by_topic: &[(String, Vec<i32>)]) -> impl Iterator<Item = TopicPartition> {
    by_topic.iter().flat_map(|(topic, partitions)| {
        let topic: Arc<str> = topic.as_str().into();
        partitions.iter().map(move |partition| TopicPartition::new(topic.clone(), *partition))
    })
}

/// What the protocol lists by topic.
pub(crate) fn by_topic(partitions: &BTreeSet<TopicPartition>) -> Vec<(String, Vec<i32>)> {
    let mut topics: Vec<(String, Vec<i32>)> = Vec::new();
    for partition in partitions {
        match topics.last_mut().filter(|(topic, _)| topic == partition.topic()) {
            Some((_, numbers)) => numbers.push(partition.partition()),
            None => topics.push((partition.topic().to_owned(), vec![partition.partition()])),
        }
    }
    topics
}

/// Whether every partition goes to exactly one member, which is subscribed to it. Where members keep what they own until they see
/// that they did not get it, a partition that is owned may go to nobody.
pub(super) fn check(
    assignments: &Assignments,
    members: &[Member<'_>],
    topics: &Topics,
    protocol: RebalanceProtocol,
) -> Result<(), String> {
    if let Some((member, partition)) = &assignments.stray {
        return Err(format!("gave {partition} to member number {member}, and there are {}", members.len()));
    }
    if assignments.given.len() != members.len() {
        return Err(format!("answered for {} members, and there are {}", assignments.given.len(), members.len()));
    }
    let mut owners: BTreeMap<&TopicPartition, &str> = BTreeMap::new();
    for (member, given) in members.iter().zip(&assignments.given) {
        let subscribed: BTreeSet<&str> = member.topics.iter().map(|topic| &**topic).collect();
        for partition in &given.partitions {
            let (number, count) = (partition.partition(), topics.partitions(partition.topic()));
            if !count.is_some_and(|count| (0..count).contains(&number)) {
                return Err(format!("gave {partition} to member {:?}, and there is no such partition", member.id));
            }
            if !subscribed.contains(partition.topic()) {
                return Err(format!(
                    "gave {partition} to member {:?}, which is not subscribed to the topic",
                    member.id
                ));
            }
            if let Some(other) = owners.insert(partition, member.id) {
                return Err(format!("gave {partition} to member {other:?} and again to member {:?}", member.id));
            }
        }
    }
    let wanted: BTreeSet<&str> = members.iter().flat_map(|member| member.topics).map(|topic| &**topic).collect();
    let owned: BTreeSet<&TopicPartition> = match protocol {
        RebalanceProtocol::Eager => BTreeSet::new(),
        RebalanceProtocol::Cooperative => members.iter().flat_map(|member| member.owned).collect(),
    };
    let missing = |p: &TopicPartition| wanted.contains(p.topic()) && !owners.contains_key(p) && !owned.contains(p);
    match topics.all_partitions().find(missing) {
        Some(partition) => Err(format!("gave {partition} to nobody")),
        None => Ok(()),
    }
}

/// Whether no partition goes to a member while another owns it, as far as the members' words go. Of two that both say so, the one
/// of the later generation is right.
pub(super) fn check_moves(assignments: &Assignments, members: &[Member<'_>]) -> Result<(), String> {
    let mut owners: BTreeMap<&TopicPartition, Vec<&Member<'_>>> = BTreeMap::new();
    for member in members {
        member.owned.iter().for_each(|partition| owners.entry(partition).or_default().push(member));
    }
    for (member, given) in members.iter().zip(&assignments.given) {
        for partition in &given.partitions {
            let owners = owners.get(partition).map_or(&[][..], Vec::as_slice);
            let claims = owners.iter().any(|owner| owner.id == member.id);
            let later = |owner: &&&Member<'_>| member.generation.is_some() && owner.generation > member.generation;
            let offended = if claims { owners.iter().find(later) } else { owners.first() };
            if let Some(owner) = offended {
                let (id, owner) = (member.id, owner.id);
                return Err(format!(
                    "gave {partition} to member {id:?} while member {owner:?} owns it: a cooperative assignor withholds it until \
                     the owner gave it up (Assignments::withhold_moving)"
                ));
            }
        }
    }
    Ok(())
}

fn encode(given: &Given) -> Result<bytes::Bytes> {
    let partitions = by_topic(&given.partitions.iter().cloned().collect());
    let user_data = Some(given.user_data.clone()).filter(|data| !data.is_empty());
    let assignment = Assignment { partitions, user_data, ..Assignment::default() };
    let unfit = |error| Error::new(ErrorKind::Usage, "an assignment cannot be sent to its member").with_source(error);
    assignment.encode().map_err(unfit)
}

/// What an assignor says went wrong.
#[derive(Debug)]
struct Cause(AssignorError);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Cause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

#[cfg(test)]
mod tests;
