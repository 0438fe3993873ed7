//! What every built-in strategy must keep to: what Kafka's Java client makes of the same groups, and rules for random ones. Pure.

use std::collections::BTreeMap;

use super::division::{check, check_moves};
use super::range::Range;
use super::round_robin::RoundRobin;
use super::sticky::{CooperativeSticky, Sticky};
use super::*;

mod java;

/// A member that joins.
#[derive(Debug, Clone, Default)]
struct Joining {
    id: String,
    instance_id: Option<String>,
    rack: Option<String>,
    topics: Vec<Arc<str>>,
    /// What it got last, ascending.
    owned: Vec<TopicPartition>,
    generation: Option<i32>,
}

/// What each member gets, ascending.
type Shares = Vec<Vec<TopicPartition>>;

/// Divides, as members with these strategies join, and checks the division as a leader does.
fn shares(assignor: &dyn Assignor, members: &[Joining], topics: &Topics) -> Shares {
    let cooperative = assignor.protocol() == RebalanceProtocol::Cooperative;
    let told = |member: &Joining| {
        assignor.user_data(&Owned { partitions: &member.owned, generation: member.generation, user_data: &[] })
    };
    let told: Vec<Bytes> = members.iter().map(told).collect();
    let members: Vec<Member<'_>> = members
        .iter()
        .zip(&told)
        .map(|(member, told)| Member {
            id: &member.id,
            instance_id: member.instance_id.as_deref(),
            rack: member.rack.as_deref(),
            topics: &member.topics,
            owned: if cooperative { &member.owned } else { &[] },
            generation: member.generation.filter(|_| cooperative),
            user_data: told,
        })
        .collect();
    let assignments = assignor.assign(&members, topics).unwrap();
    check(&assignments, &members, topics, assignor.protocol()).unwrap();
    if cooperative {
        check_moves(&assignments, &members).unwrap();
    }
    let share = |member| {
        let mut share = assignments.partitions(member).to_vec();
        share.sort_unstable();
        share
    };
    (0..members.len()).map(share).collect()
}

/// The members once they have what they got.
fn after(members: &[Joining], shares: &Shares) -> Vec<Joining> {
    let generation = members.iter().filter_map(|member| member.generation).max().unwrap_or(0) + 1;
    let after = |(member, share): (&Joining, &Vec<TopicPartition>)| Joining {
        owned: share.clone(),
        generation: Some(generation),
        ..member.clone()
    };
    members.iter().zip(shares).map(after).collect()
}
