//! What every division must be, for thousands of random groups with a past. Pure.

use std::collections::BTreeSet;

use super::*;

/// So many groups of each kind.
const GROUPS: u64 = 10_000;

/// A group, and what can happen to it.
struct Random {
    entropy: Entropy,
    /// How many partitions each topic has; some have none yet.
    sizes: Vec<i32>,
    racks: bool,
    /// Everybody wants everything, or else one topic of two.
    uniform: bool,
    members: Vec<Joining>,
    /// Members that there were.
    ever: usize,
}

impl Random {
    fn new(seed: u64) -> Self {
        let mut entropy = Entropy::from_seed(seed);
        let sizes = (0..1 + entropy.below(6)).map(|_| entropy.below(10) as i32).collect();
        let (racks, uniform) = (entropy.below(4) == 0, entropy.below(2) == 0);
        let mut random = Self { entropy, sizes, racks, uniform, members: Vec::new(), ever: 0 };
        for _ in 0..1 + random.entropy.below(7) {
            random.join();
        }
        random
    }

    fn subscription(&mut self) -> Vec<Arc<str>> {
        let all = (0..self.sizes.len()).filter(|_| self.uniform || self.entropy.below(2) == 0);
        all.map(|topic| format!("t{topic}").into()).collect()
    }

    fn join(&mut self) {
        self.ever += 1;
        let rack = (self.racks && self.entropy.below(6) > 0).then(|| format!("r{}", self.entropy.below(3)));
        let member = Joining { id: format!("m{}", self.ever), topics: self.subscription(), rack, ..Joining::default() };
        let at = self.entropy.below(self.members.len() + 1);
        self.members.insert(at, member);
    }

    fn change(&mut self) {
        match self.entropy.below(5) {
            0 => self.join(),
            1 if self.members.len() > 1 => drop(self.members.remove(self.entropy.below(self.members.len()))),
            2 => {
                let (member, topics) = (self.entropy.below(self.members.len()), self.subscription());
                self.members[member].topics = topics;
            }
            3 => {
                let topic = self.entropy.below(self.sizes.len());
                self.sizes[topic] += 1 + self.entropy.below(3) as i32;
            }
            _ => {
                let topic = self.entropy.below(self.sizes.len());
                self.sizes[topic] = 0;
            }
        }
    }

    fn topics(&self) -> Topics {
        let wanted = |topic: &String| self.members.iter().any(|member| member.topics.contains(&topic.as_str().into()));
        let names: Vec<String> = (0..self.sizes.len()).map(|topic| format!("t{topic}")).collect();
        let existing = names.into_iter().zip(&self.sizes).filter(|(topic, size)| **size > 0 && wanted(topic));
        let mut topics = Topics::new(existing.map(|(topic, size)| (topic, *size)));
        if self.racks {
            for partition in topics.clone().all_partitions() {
                let racks = (0..1 + partition.partition() % 2)
                    .map(|replica| format!("r{}", (partition.partition() + replica) % 3));
                topics = topics.with_racks(&partition, racks);
            }
        }
        topics
    }

    /// What members may claim that missed a rebalance, have bugs, or lie.
    fn disturb(&mut self) {
        for at in 0..self.members.len() {
            let (other, generation) = (self.entropy.below(self.members.len()), self.entropy.below(5) as i32);
            let stolen = self.members[other].owned.clone();
            let stolen = stolen.into_iter().filter(|_| self.entropy.below(3) == 0).collect::<Vec<_>>();
            let owned: BTreeSet<_> =
                self.members[at].owned.drain(..).chain(stolen).chain(partitions("t0-99 x-0")).collect();
            self.members[at].owned = owned.into_iter().collect();
            if generation < 4 {
                self.members[at].generation = (generation > 0).then_some(generation);
            }
        }
    }
}

/// Whether these members want the same, and racks say nothing.
fn is_uniform(members: &[Joining]) -> bool {
    members.iter().all(|member| member.topics == members[0].topics && member.rack.is_none())
}

/// How many partitions stay with who had them.
fn kept(members: &[Joining], shares: &Shares) -> usize {
    let kept = |(member, share): (&Joining, &Vec<TopicPartition>)| {
        member.owned.iter().filter(|partition| share.binary_search(partition).is_ok()).count()
    };
    members.iter().zip(shares).map(kept).sum()
}

/// How many can stay: to get as many as it may, a member need not give up anything; who has more keeps what it may have, and one
/// more if some members get one more.
fn most_kept(members: &[Joining], partitions: usize) -> usize {
    let (quota, extra) = (partitions / members.len(), partitions % members.len());
    let over = members.iter().filter(|member| member.owned.len() > quota).count();
    members.iter().map(|member| member.owned.len().min(quota)).sum::<usize>() + over.min(extra)
}

/// Only if everybody told the truth: nobody claims what does not exist, or what another claims.
fn sound(members: &[Joining], topics: &Topics) -> bool {
    let mut all: Vec<_> = members.iter().flat_map(|member| &member.owned).collect();
    let exists = |p: &TopicPartition| topics.partitions(p.topic()).is_some_and(|count| p.partition() < count);
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    all.len() == count
        && members.iter().all(|m| m.owned.iter().all(|partition| exists(partition) && wants(m, partition)))
}

/// Everything that holds for a division and those after it. [`shares`] checks that everything goes to exactly one subscriber, or
/// is withheld if another owns it.
fn check_sticky(assignor: &'static dyn Assignor, random: &Random) -> Vec<Joining> {
    let mut run = Run { assignor, topics: random.topics(), members: random.members.clone() };
    let before = run.members.clone();
    run.settle();
    if is_uniform(&before) {
        let (loads, partitions) = (run.loads(), run.topics.all_partitions().count());
        assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1, "{loads:?}");
        if sound(&before, &run.topics) {
            assert_eq!(kept(&before, &run.owned()), most_kept(&before, partitions));
        }
    }
    run.members
}

/// Who claims each partition in the latest generation in which somebody does.
fn latest(members: &[Joining]) -> BTreeMap<TopicPartition, (Option<i32>, Vec<usize>)> {
    let mut latest: BTreeMap<TopicPartition, (Option<i32>, Vec<usize>)> = BTreeMap::new();
    for (place, member) in members.iter().enumerate() {
        for partition in &member.owned {
            let entry = latest.entry(partition.clone()).or_default();
            match member.generation.cmp(&entry.0) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => entry.1.push(place),
                std::cmp::Ordering::Greater => *entry = (member.generation, vec![place]),
            }
        }
    }
    latest
}

fn groups(assignor: &'static dyn Assignor) {
    for seed in 0..GROUPS {
        let mut random = Random::new(seed);
        random.members = check_sticky(assignor, &random);
        for _ in 0..1 + random.entropy.below(3) {
            random.change();
        }
        let rebalanced = check_sticky(assignor, &random);
        random.disturb();
        check_sticky(assignor, &random);
        random.members = rebalanced;
        if is_uniform(&random.members) {
            one_comes_one_goes(assignor, &random);
        }
    }
}

/// Equal members: who comes takes no more than its share, and what a leaver had is all that moves.
fn one_comes_one_goes(assignor: &'static dyn Assignor, random: &Random) {
    let mut run = Run { assignor, topics: random.topics(), members: random.members.clone() };
    let topics = run.members[0].topics.iter().map(|topic| &**topic).collect::<Vec<_>>().join(" ");
    let before = run.holders();
    run.join("new", &topics);
    assert_eq!(run.lost(&before), run.member("new").owned.len());
    let before = run.holders();
    let left = run.leave("new");
    assert_eq!(run.lost(&before), left);
}

#[test]
fn sticky_divides_validly_evenly_and_moves_only_what_it_must() {
    groups(&Sticky);
}

#[test]
fn cooperative_sticky_does_the_same_within_two_rebalances() {
    groups(&CooperativeSticky);
}

#[test]
fn what_a_member_owns_nobody_gets_who_claims_it_since_an_earlier_generation_or_not_at_all() {
    for seed in 0..GROUPS {
        let mut random = Random::new(seed);
        random.members = check_sticky(&CooperativeSticky, &random);
        random.change();
        random.disturb();
        let given = shares(&CooperativeSticky, &random.members, &random.topics());
        let latest = latest(&random.members);
        for (place, share) in given.iter().enumerate() {
            for partition in share {
                assert!(
                    latest.get(partition).is_none_or(|(_, owners)| *owners == [place]),
                    "{partition} to {place}: {given:?}"
                );
            }
        }
    }
}

#[test]
fn range_and_roundrobin_divide_validly_and_evenly() {
    for seed in 0..GROUPS {
        let mut random = Random::new(seed);
        random.disturb();
        let topics = random.topics();
        shares(&Range, &random.members, &topics);
        let given = shares(&RoundRobin, &random.members, &topics);
        let loads: Vec<usize> = given.iter().map(Vec::len).collect();
        let equal = random.members.iter().all(|member| member.topics == random.members[0].topics);
        assert!(!equal || loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1, "{loads:?}");
    }
}
