//! What a member says of itself when it joins: for each strategy it offers, a subscription. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use milena_protocol::group::{Assignment, Subscription};
use milena_protocol::messages::join_group::JoinGroupRequestProtocol;

use crate::consumer::assignor::{Owned, Strategy, by_topic, guarded, one_by_one};
use crate::error::{Error, ErrorKind, Result};
use crate::topic_partition::TopicPartition;

/// The last assignment. It is remembered after it was given up: strategies that avoid moving partitions ask for it.
#[derive(Debug, Default)]
pub(super) struct LastAssignment {
    pub(super) partitions: Vec<TopicPartition>,
    pub(super) generation: Option<i32>,
    pub(super) user_data: Bytes,
}

/// What a member says of itself under every strategy.
pub(super) struct Describing<'a> {
    pub(super) topics: &'a BTreeSet<Arc<str>>,
    /// What it keeps while the group rebalances.
    pub(super) owned: &'a BTreeSet<TopicPartition>,
    pub(super) last: &'a LastAssignment,
    pub(super) generation: i32,
}

/// The subscriptions to offer, one for each strategy, in the order of preference.
///
/// # Errors
/// `UserCode`, naming the assignor, if it panics; `Usage` if a name is too long for the protocol.
pub(super) fn offer(
    strategies: &[Strategy],
    member: &Describing<'_>,
    rack: Option<&str>,
) -> Result<Vec<JoinGroupRequestProtocol>> {
    let offer = |strategy: &Strategy| {
        let LastAssignment { partitions, generation: owned_since, user_data } = member.last;
        let owned = Owned { partitions, generation: *owned_since, user_data };
        let user_data = guarded(|| strategy.assignor.user_data(&owned)).map_err(|text| {
            let text = format!("assignor {:?} panicked while telling its user data: {text}", strategy.name);
            Error::new(ErrorKind::UserCode, text)
        })?;
        let subscription = Subscription {
            topics: member.topics.iter().map(ToString::to_string).collect(),
            user_data: Some(user_data).filter(|data| !data.is_empty()),
            owned_partitions: by_topic(member.owned),
            generation_id: member.generation,
            rack_id: rack.map(str::to_owned),
            ..Subscription::default()
        };
        let unfit = |error| Error::new(ErrorKind::Usage, "the subscription cannot be sent").with_source(error);
        Ok(JoinGroupRequestProtocol {
            name: strategy.name.to_string(),
            metadata: subscription.encode().map_err(unfit)?,
        })
    };
    strategies.iter().map(offer).collect()
}

/// Reads what the leader sent, for a member that offered `topics`. A member that the leader left out gets nothing.
///
/// # Errors
/// Why it cannot be used: another program wrote it.
pub(super) fn read_assignment(bytes: Bytes, topics: &BTreeSet<Arc<str>>) -> Result<Assigned, NotUsable> {
    if bytes.is_empty() {
        return Ok(Assigned { partitions: Vec::new(), user_data: Bytes::new() });
    }
    let assignment = Assignment::decode(bytes).map_err(|error| NotUsable::NotRead(error.to_string()))?;
    let partitions: BTreeSet<TopicPartition> = one_by_one(&assignment.partitions).collect();
    if let Some(wrong) = partitions.iter().find(|p| p.partition() < 0 || !topics.contains(p.topic())) {
        let (topic, number) = (wrong.topic(), wrong.partition());
        let text = format!("it names partition {number} of topic {topic:?}, which was not asked for");
        return Err(NotUsable::NotOffered(text));
    }
    let user_data = assignment.user_data.unwrap_or_default();
    Ok(Assigned { partitions: partitions.into_iter().collect(), user_data })
}

/// Why an assignment cannot be used.
#[derive(Debug)]
pub(super) enum NotUsable {
    /// It is none.
    NotRead(String),
    /// There are partitions in it that the member did not ask for.
    NotOffered(String),
}

/// What a member was given.
pub(super) struct Assigned {
    /// In ascending order.
    pub(super) partitions: Vec<TopicPartition>,
    pub(super) user_data: Bytes,
}
