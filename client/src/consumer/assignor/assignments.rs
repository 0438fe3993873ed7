//! What an assignor answers: who gets what. Pure.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::Member;
use crate::topic_partition::TopicPartition;

/// Who gets what. Members are named by their place in the list that [`Assignor::assign`](crate::Assignor::assign) got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignments {
    pub(super) given: Vec<Given>,
    /// The first that was given to a member that there is not.
    pub(super) stray: Option<(usize, TopicPartition)>,
}

/// What one member gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) partitions: Vec<TopicPartition>,
    pub(super) user_data: Bytes,
}

impl Assignments {
    /// Nothing for anybody yet.
    pub fn new(members: &[Member<'_>]) -> Self {
        Self { given: vec![Given::default(); members.len()], stray: None }
    }

    /// Gives a partition to a member.
    pub fn give(&mut self, member: usize, partition: TopicPartition) {
        match self.given.get_mut(member) {
            Some(given) => given.partitions.push(partition),
            None => {
                self.stray.get_or_insert((member, partition));
            }
        }
    }

    /// Sends something along to the assignor of a member, which has it in [`Owned::user_data`](crate::Owned::user_data) at the next rebalance. For a
    /// member that there is not, nothing happens.
    pub fn user_data(&mut self, member: usize, data: Bytes) {
        if let Some(given) = self.given.get_mut(member) {
            given.user_data = data;
        }
    }

    /// What a member has been given so far, in the order of the calls.
    pub fn partitions(&self, member: usize) -> &[TopicPartition] {
        self.given.get(member).map_or(&[], |given| given.partitions.as_slice())
    }
    /// Takes back what may not move yet with [`RebalanceProtocol::Cooperative`](super::RebalanceProtocol::Cooperative): every
    /// partition that somebody else says it owns ([`Member::owned`]), unless who got it owns it since a later generation. The
    /// owner gives it up when it sees that it did not get it, which makes the group rebalance once more.
    pub fn withhold_moving(&mut self, members: &[Member<'_>]) {
        let generations: Vec<_> = members.iter().map(|member| member.generation).collect();
        self.withhold(members, &generations);
    }

    /// The same, where members told the generation otherwise.
    pub(super) fn withhold(&mut self, members: &[Member<'_>], generations: &[Option<i32>]) {
        let mut owners = Owners::default();
        for (member, generation) in members.iter().zip(generations) {
            member.owned.iter().for_each(|partition| owners.insert(partition, *generation));
        }
        for ((given, member), generation) in self.given.iter_mut().zip(members).zip(generations) {
            let mine: BTreeSet<_> = member.owned.iter().collect();
            given.partitions.retain(|partition| owners.allow(partition, mine.contains(partition), *generation));
        }
    }
}

/// The latest claims to partitions.
#[derive(Default)]
struct Owners<'a>(BTreeMap<&'a TopicPartition, (Option<i32>, usize)>);

impl<'a> Owners<'a> {
    fn insert(&mut self, partition: &'a TopicPartition, generation: Option<i32>) {
        let entry = self.0.entry(partition).or_insert((generation, 0));
        match generation.cmp(&entry.0) {
            Ordering::Less => {}
            Ordering::Equal => entry.1 += 1,
            Ordering::Greater => *entry = (generation, 1),
        }
    }

    /// Whether a member, which claims it since this generation or not at all, may have the partition.
    fn allow(&self, partition: &TopicPartition, claims: bool, generation: Option<i32>) -> bool {
        match self.0.get(partition) {
            None => true,
            Some((latest, claims_of_latest)) => claims && *latest == generation && *claims_of_latest == 1,
        }
    }
}
