//! Kafka's `sticky` and `cooperative-sticky`: evenly, and everybody keeps as much as possible of what it has. Pure.

use std::sync::Arc;

use bytes::Bytes;
use milena_protocol::group::{CooperativeStickyUserData, StickyUserData};

use super::{Assignments, Assignor, AssignorError, Member, Owned, RebalanceProtocol, Topics, one_by_one};
use crate::topic_partition::TopicPartition;

mod balance;
mod claims;

use self::claims::Claim;

/// Members remember what they had, for they give up everything before a rebalance.
#[derive(Debug)]
pub(super) struct Sticky;

impl Assignor for Sticky {
    fn name(&self) -> &str {
        "sticky"
    }

    fn assign(&self, members: &[Member<'_>], topics: &Topics) -> Result<Assignments, AssignorError> {
        let remembered = |member: &Member<'_>| {
            // Who remembers nothing that makes sense is new.
            let data = StickyUserData::decode(Bytes::copy_from_slice(member.user_data)).unwrap_or_default();
            (one_by_one(&data.partitions).collect::<Vec<_>>(), data.generation_id)
        };
        let remembered: Vec<_> = members.iter().map(remembered).collect();
        let claims = remembered.iter().map(|(partitions, generation)| Claim { partitions, generation: *generation });
        Ok(divide(members, topics, &claims.collect::<Vec<_>>()))
    }

    fn user_data(&self, owned: &Owned<'_>) -> Bytes {
        let Some(generation) = owned.generation else { return Bytes::new() };
        let mut partitions: Vec<(String, Vec<i32>)> = Vec::new();
        for partition in owned.partitions {
            match partitions.last_mut().filter(|(topic, _)| topic == partition.topic()) {
                Some((_, numbers)) => numbers.push(partition.partition()),
                None => partitions.push((partition.topic().to_owned(), vec![partition.partition()])),
            }
        }
        // What came over the wire fits into it.
        StickyUserData { partitions, generation_id: Some(generation) }.encode().unwrap_or_default()
    }
}

/// Members keep what they have during a rebalance, and say what it is.
#[derive(Debug)]
pub(super) struct CooperativeSticky;

impl Assignor for CooperativeSticky {
    fn name(&self) -> &str {
        "cooperative-sticky"
    }

    fn protocol(&self) -> RebalanceProtocol {
        RebalanceProtocol::Cooperative
    }

    fn assign(&self, members: &[Member<'_>], topics: &Topics) -> Result<Assignments, AssignorError> {
        // Members that do not know the third layout of subscriptions tell the generation only here.
        let told = |member: &Member<'_>| {
            let data = CooperativeStickyUserData::decode(Bytes::copy_from_slice(member.user_data));
            data.ok().map(|data| data.generation_id).filter(|generation| *generation >= 0)
        };
        let generations: Vec<_> = members.iter().map(|member| member.generation.or_else(|| told(member))).collect();
        let claims = members.iter().zip(&generations);
        let claims = claims.map(|(member, generation)| Claim { partitions: member.owned, generation: *generation });
        let mut assignments = divide(members, topics, &claims.collect::<Vec<_>>());
        assignments.withhold(members, &generations);
        Ok(assignments)
    }

    fn user_data(&self, owned: &Owned<'_>) -> Bytes {
        CooperativeStickyUserData { generation_id: owned.generation.unwrap_or(-1) }.encode()
    }
}

/// Divides the partitions so that the members with these claims keep as much as possible.
fn divide(members: &[Member<'_>], topics: &Topics, claims: &[Claim<'_>]) -> Assignments {
    let names: Vec<&Arc<str>> = topics.names().collect();
    let counts: Vec<usize> = names.iter().map(|name| topics.partitions(name).map_or(0, |n| n as usize)).collect();
    let mut subscribers: Vec<Vec<usize>> = vec![Vec::new(); names.len()];
    for (place, member) in members.iter().enumerate() {
        for topic in member.topics {
            if let Ok(topic) = names.binary_search(&topic) {
                subscribers[topic].push(place);
            }
        }
    }
    let owners = claims::owners(&names, &counts, &subscribers, claims);
    let holders = balance::balanced(&subscribers, owners, members.len());
    let mut assignments = Assignments::new(members);
    for (name, holders) in names.iter().zip(holders) {
        for (partition, holder) in (0..).zip(holders) {
            if let Some(member) = holder {
                assignments.give(member, TopicPartition::new(Arc::clone(name), partition));
            }
        }
    }
    assignments
}
