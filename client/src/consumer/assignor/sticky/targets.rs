//! How many partitions each member is to have. Pure.

use std::collections::BTreeSet;

use super::kinds::Group;

/// What to aim at.
pub(super) struct Targets {
    /// How many each member gets if only what nobody had is given. It is even enough for some groups.
    pub(super) without_moves: Option<Vec<usize>>,
    /// Everything belongs to somebody: if it is even enough, it stays as it is, so that a group comes to rest.
    pub(super) settled: bool,
    /// How many each member gets in a division that no single move makes more even.
    pub(super) loads: Vec<usize>,
    /// That division: by cell, how many.
    pub(super) counts: Option<Vec<usize>>,
}

pub(super) fn targets(group: &Group) -> Targets {
    let mut sets = group.kinds.iter().filter(|kind| !kind.cells.is_empty()).map(|kind| {
        let (topic, _) = kind.partitions[0];
        group.subscribers[topic].as_slice()
    });
    let first = sets.next().unwrap_or_default();
    if sets.all(|set| set == first) {
        return Targets { without_moves: None, settled: false, loads: quotas(group, first), counts: None };
    }
    let mut search = Search::new(group, Far::Stays);
    let settled = search.order().all(|topic| search.stayed[topic].iter().all(Option::is_some));
    search.give();
    let without_moves = Some(search.loads);
    search = Search::new(group, Far::Moves);
    search.give();
    while search.even_out(false) {}
    Targets { without_moves, settled, counts: Some(search.counts()), loads: search.loads }
}

/// Everybody may have everything: all get equally many, and of those that get one more the first are those that had more.
fn quotas(group: &Group, members: &[usize]) -> Vec<usize> {
    let partitions: usize =
        group.kinds.iter().filter(|kind| !kind.cells.is_empty()).map(|kind| kind.partitions.len()).sum();
    let (quota, extra) = (partitions / members.len().max(1), partitions % members.len().max(1));
    let had = group.loads();
    let mut order = members.to_vec();
    order.sort_by_key(|member| had[*member] <= quota);
    let mut targets = vec![0; group.members];
    for (place, member) in order.into_iter().enumerate() {
        targets[member] = quota + usize::from(place < extra);
    }
    targets
}

/// What becomes of a partition that its member is far from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Far {
    Stays,
    Moves,
}

/// Subscriptions differ: a division is made as KIP-54 does it, one partition after the other, for its numbers only. Better ones
/// may exist, but to get there more partitions would have to move.
struct Search<'a> {
    group: &'a Group,
    /// By topic and partition, who has it from before.
    stayed: Vec<Vec<Option<usize>>>,
    holders: Vec<Vec<Option<usize>>>,
    loads: Vec<usize>,
}

/// The members that may have a topic, the one with the least load first.
type ByLoad = BTreeSet<(usize, usize)>;

impl<'a> Search<'a> {
    fn new(group: &'a Group, far: Far) -> Self {
        let (mut loads, mut holders) = (vec![0; group.members], Vec::with_capacity(group.owners.len()));
        for (owners, kinds) in group.owners.iter().zip(&group.kind_of) {
            let stays = |(owner, kind): (&Option<usize>, &usize)| {
                let cell = group.cell(*kind, (*owner)?)?;
                owner.filter(|_| group.cells[cell].near || far == Far::Stays)
            };
            let here: Vec<Option<usize>> = owners.iter().zip(kinds).map(stays).collect();
            here.iter().flatten().for_each(|holder| loads[*holder] += 1);
            holders.push(here);
        }
        Self { group, stayed: holders.clone(), holders, loads }
    }

    /// Topics, those that few may have first.
    fn order(&self) -> impl Iterator<Item = usize> + use<'a> {
        let group = self.group;
        group.order.iter().copied().filter(|topic| !group.subscribers[*topic].is_empty())
    }

    /// Gives what nobody has, without moving anything else.
    fn give(&mut self) {
        self.give_some(true);
        self.give_some(false);
        // What nobody had is moved about before anybody has to give up something, unless somebody has to anyway.
        while !self.group.revoked && self.even_out(true) {}
    }

    fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.group.cells.len()];
        for (holders, kinds) in self.holders.iter().zip(&self.group.kind_of) {
            let cells = holders.iter().zip(kinds).filter_map(|(holder, kind)| self.group.cell(*kind, (*holder)?));
            cells.for_each(|cell| counts[cell] += 1);
        }
        counts
    }

    /// Gives what nobody has to the least loaded member, close to the replicas or anywhere.
    fn give_some(&mut self, near: bool) {
        for topic in self.order() {
            if self.holders[topic].iter().all(Option::is_some) {
                continue;
            }
            let mut members = self.by_load(topic);
            for partition in 0..self.holders[topic].len() {
                let fits = |(_, member): &&(usize, usize)| !near || self.is_near(topic, partition, *member);
                if self.holders[topic][partition].is_none()
                    && let Some((_, member)) = members.iter().find(fits).copied()
                {
                    self.move_one(topic, partition, member, &mut members);
                }
            }
        }
    }

    /// Moves partitions to members that have at least two less. Whether any moved.
    fn even_out(&mut self, only_free: bool) -> bool {
        let mut moved = false;
        for topic in self.order() {
            let members = self.group.subscribers[topic].iter().map(|member| self.loads[*member]);
            let (least, most) = members.fold((usize::MAX, 0), |(least, most), load| (least.min(load), most.max(load)));
            if most <= least + 1 {
                continue;
            }
            let mut members = self.by_load(topic);
            for partition in 0..self.holders[topic].len() {
                let Some(from) = self.holders[topic][partition] else { continue };
                if only_free && self.stayed[topic][partition].is_some() {
                    continue;
                }
                if let Some((load, to)) = members.first().copied()
                    && load + 1 < self.loads[from]
                {
                    self.move_one(topic, partition, to, &mut members);
                    moved = true;
                }
            }
        }
        moved
    }

    fn by_load(&self, topic: usize) -> ByLoad {
        self.group.subscribers[topic].iter().map(|member| (self.loads[*member], *member)).collect()
    }

    fn move_one(&mut self, topic: usize, partition: usize, to: usize, members: &mut ByLoad) {
        if let Some(from) = self.holders[topic][partition].replace(to) {
            members.remove(&(self.loads[from], from));
            self.loads[from] -= 1;
            members.insert((self.loads[from], from));
        }
        members.remove(&(self.loads[to], to));
        self.loads[to] += 1;
        members.insert((self.loads[to], to));
    }

    fn is_near(&self, topic: usize, partition: usize, member: usize) -> bool {
        let cell = self.group.cell(self.group.kind_of[topic][partition], member);
        cell.is_some_and(|cell| self.group.cells[cell].near)
    }
}
