//! Kafka's `range`: of each topic a stretch of neighbours for every member, close to its rack if racks are known. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::member_order::ordered;
use super::{Assignments, Assignor, AssignorError, Member, Topics};
use crate::topic_partition::TopicPartition;

/// Of topics with equally many partitions and the same subscribers, the partitions with the same number go to the same member.
#[derive(Debug)]
pub(super) struct Range;

impl Assignor for Range {
    fn name(&self) -> &str {
        "range"
    }

    fn assign(&self, members: &[Member<'_>], topics: &Topics) -> Result<Assignments, AssignorError> {
        let mut subscribers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for place in ordered(members) {
            let topics: BTreeSet<&str> =
                members.get(place).map_or(&[][..], |m| m.topics).iter().map(|t| &**t).collect();
            topics.into_iter().for_each(|topic| subscribers.entry(topic).or_default().push(place));
        }
        let mut divisions: Vec<Topic<'_>> =
            topics.names().filter_map(|name| Topic::new(name, topics, subscribers.remove(&**name)?, members)).collect();
        let by_racks = divisions.iter().any(|topic| topic.racks_matter);
        if by_racks {
            match_racks(&mut divisions);
        }
        let mut given: BTreeMap<usize, Vec<TopicPartition>> = BTreeMap::new();
        for topic in &mut divisions {
            topic.give_stretches(|_, _| true);
            for (member, partition) in topic.take_given() {
                given.entry(member).or_default().push(partition);
            }
        }
        let mut assignments = Assignments::new(members);
        for (member, mut partitions) in given {
            if by_racks {
                partitions.sort_unstable();
            }
            partitions.into_iter().for_each(|partition| assignments.give(member, partition));
        }
        Ok(assignments)
    }
}

/// Gives members what has a replica in their rack, within their quota. Topics that are divided alike stay together.
fn match_racks(topics: &mut [Topic<'_>]) {
    let mut alike: BTreeMap<(Vec<usize>, usize), Vec<&mut Topic<'_>>> = BTreeMap::new();
    for topic in topics {
        let places = topic.shares.iter().map(|share| share.member).collect();
        alike.entry((places, topic.racks.len())).or_default().push(topic);
    }
    for mut topics in alike.into_values() {
        match topics.as_mut_slice() {
            [topic] if topic.racks_matter => {
                topic.give_stretches(|topic, (share, partition)| topic.matches(share, partition))
            }
            [_] => {}
            together => match_racks_together(together),
        }
    }
}

/// The partitions of all these topics that have the same number go to the same member.
fn match_racks_together(topics: &mut [&mut Topic<'_>]) {
    let Some(first) = topics.first() else { return };
    let (shares, partitions) = (first.shares.len(), first.racks.len());
    for partition in 0..partitions {
        let fits =
            |share: &usize| topics.iter().all(|topic| topic.room(*share) > 0 && topic.matches(*share, partition));
        if let Some(share) = (0..shares).find(fits) {
            topics.iter_mut().for_each(|topic| topic.give(share, partition));
        }
    }
}

/// How one topic is divided.
struct Topic<'a> {
    name: &'a Arc<str>,
    /// In the order of the members.
    shares: Vec<Share<'a>>,
    /// Per partition.
    racks: Vec<&'a [Arc<str>]>,
    /// Per partition the share that has it.
    taken: Vec<Option<usize>>,
    /// What every member gets.
    quota: usize,
    /// How many members get one more.
    extra: usize,
    racks_matter: bool,
}

struct Share<'a> {
    member: usize,
    rack: Option<&'a str>,
    count: usize,
}

impl<'a> Topic<'a> {
    fn new(name: &'a Arc<str>, topics: &'a Topics, subscribers: Vec<usize>, members: &[Member<'a>]) -> Option<Self> {
        let racks: Vec<_> = (0..topics.partitions(name)?)
            .map(|partition| topics.racks(&TopicPartition::new(name.clone(), partition)))
            .collect();
        let share = |member| Some(Share { member, rack: members.get(member)?.rack, count: 0 });
        let shares: Vec<_> = subscribers.into_iter().filter_map(share).collect();
        let known: BTreeSet<&str> = racks.iter().flat_map(|racks| racks.iter()).map(|rack| &**rack).collect();
        let somebody_is_near = shares.iter().any(|share| share.rack.is_some_and(|rack| known.contains(rack)));
        let everything_is_everywhere = racks.iter().all(|racks| racks.len() == known.len());
        Some(Self {
            name,
            quota: racks.len().checked_div(shares.len())?,
            extra: racks.len().checked_rem(shares.len())?,
            taken: vec![None; racks.len()],
            racks_matter: somebody_is_near && !everything_is_everywhere,
            shares,
            racks,
        })
    }

    /// Whether the partition has a replica where the member is. Who tells no rack is everywhere.
    fn matches(&self, share: usize, partition: usize) -> bool {
        let Some(rack) = self.shares.get(share).and_then(|share| share.rack) else { return true };
        self.racks.get(partition).is_some_and(|racks| racks.iter().any(|known| **known == *rack))
    }

    /// How many more the member may get.
    fn room(&self, share: usize) -> usize {
        let count = self.shares.get(share).map_or(usize::MAX, |share| share.count);
        (self.quota + usize::from(self.extra > 0)).saturating_sub(count)
    }

    fn give(&mut self, share: usize, partition: usize) {
        let (Some(to), Some(taken)) = (self.shares.get_mut(share), self.taken.get_mut(partition)) else { return };
        *taken = Some(share);
        to.count += 1;
        if to.count > self.quota {
            self.extra = self.extra.saturating_sub(1);
        }
    }

    /// Gives each member in turn the first ones that nobody has and that it `may` have, up to its quota.
    fn give_stretches(&mut self, may: impl Fn(&Self, (usize, usize)) -> bool) {
        for share in 0..self.shares.len() {
            // One more for this member, if one is left, is decided before its first.
            let room = self.room(share);
            let free = (0..self.taken.len()).filter(|partition| self.taken.get(*partition) == Some(&None));
            let stretch: Vec<_> = free.filter(|partition| may(self, (share, *partition))).take(room).collect();
            stretch.into_iter().for_each(|partition| self.give(share, partition));
        }
    }

    /// Who has what, in the order of the partitions.
    fn take_given(&self) -> impl Iterator<Item = (usize, TopicPartition)> {
        (0..).zip(&self.taken).filter_map(|(partition, taken)| {
            let member = self.shares.get((*taken)?)?.member;
            Some((member, TopicPartition::new(self.name.clone(), partition)))
        })
    }
}

#[cfg(test)]
mod tests;
