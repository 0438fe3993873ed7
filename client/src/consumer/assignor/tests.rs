//! What every built-in strategy must keep to: what Kafka's Java client makes of the same groups, and rules for random ones. Pure.

use std::collections::BTreeMap;

use milena_protocol::group::{Assignment, CooperativeStickyUserData, StickyUserData, Subscription};
use milena_protocol::messages::join_group::JoinGroupResponseMember;

use super::division::{check, check_moves};
use super::range::Range;
use super::round_robin::RoundRobin;
use super::sticky::{CooperativeSticky, Sticky};
use super::*;
use crate::entropy::Entropy;

mod invariants;
mod java;
mod scale;
mod sticky;
mod sticky_cooperative;
mod sticky_eager;

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

/// The strategies that keep as much as they can.
const STICKY: [&dyn Assignor; 2] = [&Sticky, &CooperativeSticky];

/// Partitions by their names, with spaces between.
fn partitions(words: &str) -> Vec<TopicPartition> {
    let partition = |word: &str| {
        let (topic, number) = word.rsplit_once('-').unwrap();
        (topic, number.parse().unwrap()).into()
    };
    words.split_whitespace().map(partition).collect()
}

fn joined(partitions: &[TopicPartition]) -> String {
    partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// A group on its way from rebalance to rebalance.
struct Run {
    assignor: &'static dyn Assignor,
    topics: Topics,
    members: Vec<Joining>,
}

/// A group for each of the sticky strategies.
fn both<'a>(topics: impl IntoIterator<Item = (&'a str, i32)>) -> Vec<Run> {
    let topics = Topics::new(topics);
    STICKY.map(|assignor| Run::new(assignor, topics.clone())).into()
}

impl Run {
    fn new(assignor: &'static dyn Assignor, topics: Topics) -> Self {
        Self { assignor, topics, members: Vec::new() }
    }

    /// A member that will join at the next rebalance; no generation if it is negative.
    fn own(&mut self, id: &str, topics: &str, generation: i32, owned: &str) -> &mut Self {
        let generation = Some(generation).filter(|generation| *generation >= 0);
        let member = Joining { id: id.to_owned(), owned: partitions(owned), generation, ..Joining::default() };
        self.members.push(member);
        self.member(id).topics = wanted(topics);
        self
    }

    fn join(&mut self, id: &str, topics: &str) -> &mut Self {
        self.own(id, topics, -1, "");
        self.settle();
        self
    }

    fn subscribe(&mut self, id: &str, topics: &str) {
        self.member(id).topics = wanted(topics);
        self.settle();
    }

    fn take(&mut self, id: &str) -> Joining {
        let at = self.members.iter().position(|member| member.id == id).unwrap();
        self.members.remove(at)
    }

    /// How many partitions it left behind.
    fn leave(&mut self, id: &str) -> usize {
        let left = self.take(id).owned.len();
        self.settle();
        left
    }

    fn resize(&mut self, topic: &str, partitions: i32) {
        let sizes: Vec<_> =
            self.topics.names().map(|name| (name.clone(), self.topics.partitions(name).unwrap())).collect();
        let others = sizes.into_iter().filter(|(name, _)| **name != *topic);
        self.topics = Topics::new(others.chain((partitions > 0).then(|| (topic.into(), partitions))));
        self.settle();
    }

    fn member(&mut self, id: &str) -> &mut Joining {
        self.members.iter_mut().find(|member| member.id == id).unwrap()
    }

    /// One rebalance.
    fn divide(&mut self) {
        let shares = shares(self.assignor, &self.members, &self.topics);
        self.members = after(&self.members, &shares);
    }

    /// Rebalances until nothing changes, which must be soon, and the group is even then.
    fn settle(&mut self) {
        self.divide();
        if self.assignor.protocol() == RebalanceProtocol::Cooperative {
            self.divide();
        }
        let wanted: usize = self.topics.all_partitions().filter(|p| self.members.iter().any(|m| wants(m, p))).count();
        assert_eq!(self.loads().iter().sum::<usize>(), wanted, "somebody has not given up what is another's");
        assert!(is_even(&self.members), "{:?}", self.words());
        let before = self.words();
        self.divide();
        assert_eq!(self.words(), before, "it does not come to rest");
    }

    fn owned(&self) -> Shares {
        self.members.iter().map(|member| member.owned.clone()).collect()
    }

    fn words(&self) -> Vec<String> {
        self.members.iter().map(|member| joined(&member.owned)).collect()
    }

    fn loads(&self) -> Vec<usize> {
        self.members.iter().map(|member| member.owned.len()).collect()
    }

    fn holders(&self) -> BTreeMap<TopicPartition, String> {
        let of =
            |member: &Joining| member.owned.clone().into_iter().map(|p| (p, member.id.clone())).collect::<Vec<_>>();
        self.members.iter().flat_map(of).collect()
    }

    /// How many partitions are not where they were.
    fn lost(&self, before: &BTreeMap<TopicPartition, String>) -> usize {
        let now = self.holders();
        before.iter().filter(|(partition, holder)| now.get(partition).is_some_and(|now| now != *holder)).count()
    }
}

fn wanted(topics: &str) -> Vec<Arc<str>> {
    let mut topics: Vec<Arc<str>> = topics.split_whitespace().map(Arc::from).collect();
    topics.sort_unstable();
    topics.dedup();
    topics
}

fn wants(member: &Joining, partition: &TopicPartition) -> bool {
    member.topics.binary_search(partition.topic_name()).is_ok()
}

/// Whether no partition could go to a member that has at least two less than the one that has it.
fn is_even(members: &[Joining]) -> bool {
    let least = |topic: &Arc<str>| {
        let subscribed = members.iter().filter(|member| member.topics.binary_search(topic).is_ok());
        subscribed.map(|member| member.owned.len()).min()
    };
    let topics: std::collections::BTreeSet<&Arc<str>> = members.iter().flat_map(|member| &member.topics).collect();
    let least: BTreeMap<&Arc<str>, Option<usize>> = topics.into_iter().map(|topic| (topic, least(topic))).collect();
    members.iter().all(|member| {
        let load = member.owned.len();
        member.owned.iter().all(|partition| least[partition.topic_name()].is_none_or(|least| load <= least + 1))
    })
}
