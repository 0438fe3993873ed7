//! Kafka's `sticky` and `cooperative-sticky`: evenly, and everybody keeps as much as possible of what it has. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use milena_protocol::group::{CooperativeStickyUserData, StickyUserData};

use super::{Assignments, Assignor, AssignorError, Member, Owned, RebalanceProtocol, Topics, one_by_one};
use crate::topic_partition::TopicPartition;

mod choice;
mod claims;
mod flow;
mod kinds;
mod targets;

use self::claims::Claim;
use self::flow::Flow;
use self::kinds::Group;

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
        Ok(divide(members, topics, &claims.collect::<Vec<_>>(), Effort::Full))
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

/// How many divisions are tried until one lasts.
const ATTEMPTS: usize = 5;

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
        let claims: Vec<_> = claims.collect();
        let mut plan = divide(members, topics, &claims, Effort::Full);
        for attempt in 0..ATTEMPTS {
            let mut assignments = plan.clone();
            assignments.withhold(members, &generations);
            if assignments == plan {
                break;
            }
            // What is withheld is divided when the members come back with the rest. If that moved the rest about, it would take
            // yet another rebalance.
            let kept = (0..members.len()).map(|member| assignments.partitions(member));
            let kept: Vec<_> = kept.map(|partitions| Claim { partitions, generation: None }).collect();
            let next = divide(members, topics, &kept, Effort::Full);
            let keeps = |(member, kept): (usize, &Claim<'_>)| {
                let next: BTreeSet<_> = next.partitions(member).iter().collect();
                kept.partitions.iter().all(|partition| next.contains(partition))
            };
            if kept.iter().enumerate().all(keeps) {
                break;
            }
            plan = if attempt == 0 { divide(members, topics, &claims, Effort::Least) } else { next };
        }
        plan.withhold(members, &generations);
        Ok(plan)
    }

    fn user_data(&self, owned: &Owned<'_>) -> Bytes {
        CooperativeStickyUserData { generation_id: owned.generation.unwrap_or(-1) }.encode()
    }
}

/// How hard to try.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effort {
    /// As KIP-54 describes it.
    Least,
    /// Then it is evened out further where no more has to move for it, and what need not move stays.
    Full,
}

/// Divides the partitions so that the members with these claims keep as much as possible.
fn divide(members: &[Member<'_>], topics: &Topics, claims: &[Claim<'_>], effort: Effort) -> Assignments {
    // In an order that does not depend on who joined first.
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_unstable_by_key(|place| members[*place].id);
    let names: Vec<&Arc<str>> = topics.names().collect();
    let mut subscribers: Vec<Vec<usize>> = vec![Vec::new(); names.len()];
    for (number, place) in order.iter().enumerate() {
        for topic in members[*place].topics {
            if let Ok(topic) = names.binary_search(&topic) {
                subscribers[topic].push(number);
            }
        }
    }
    let claims: Vec<_> = order.iter().map(|place| claims[*place]).collect();
    let counts: Vec<usize> = names.iter().map(|name| topics.replicas(name).len()).collect();
    let (owners, revoked) = claims::owners(&names, &counts, &subscribers, &claims);
    let (racks, replicas) = racks(members, &order, topics);
    let mut group = Group::new(&racks, &replicas, subscribers, owners, revoked);
    let targets = targets::targets(&group);
    match targets.counts {
        Some(counts) if effort == Effort::Least => group.set_counts(&counts),
        _ => Flow::new(&mut group).run(&targets),
    }
    let mut assignments = Assignments::new(members);
    for (name, holders) in names.iter().zip(choice::holders(&group)) {
        for (partition, holder) in (0..).zip(holders) {
            if let Some(number) = holder {
                assignments.give(order[number], TopicPartition::new(Arc::clone(name), partition));
            }
        }
    }
    assignments
}

/// Racks of members and of replicas.
type Racks<'a> = (Vec<Option<&'a str>>, Vec<Vec<&'a [Arc<str>]>>);

/// Racks of the members and of the partitions' replicas: none if they say nothing, since no member is where a replica is, or
/// everything is everywhere (KIP-881).
fn racks<'a>(members: &[Member<'a>], order: &[usize], topics: &'a Topics) -> Racks<'a> {
    let racks: Vec<_> = order.iter().map(|place| members[*place].rack).collect();
    let replicas: Vec<Vec<&[Arc<str>]>> =
        topics.names().map(|name| topics.replicas(name).iter().map(Vec::as_slice).collect()).collect();
    let known: BTreeSet<&str> = replicas.iter().flatten().copied().flatten().map(|rack| &**rack).collect();
    let somebody_is_near = racks.iter().flatten().any(|rack| known.contains(rack));
    let everything_is_everywhere = replicas.iter().flatten().all(|racks| racks.len() == known.len());
    if somebody_is_near && !everything_is_everywhere {
        return (racks, replicas);
    }
    (vec![None; racks.len()], replicas.iter().map(|topic| vec![&[][..]; topic.len()]).collect())
}
