//! Moves as few partitions as possible: a flow of minimal cost from members that have too many to those that have too few. Pure.
//!
//! Members and kinds are the nodes. A member can give up a partition of a kind that it has some of, and one of a kind can go to
//! each member that may have it; the cost of either depends on what the member had, and on racks. Successive shortest paths keep
//! the flow minimal; potentials keep the lengths that are searched positive, so that Dijkstra's search finds them.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::kinds::{Cell, Group};
use super::targets::Targets;

/// The cost of a move. Costs of racks are 1 and 2, and no path has so many steps that they add up to one.
const MOVE: i64 = 1 << 32;

/// Paths up to this cost are without a move.
const FREE: i64 = MOVE / 2;

/// So many cells are looked at to find a division that is better than it must be.
const PATIENCE: usize = 30_000_000;

/// A step of a path, through a cell.
#[derive(Clone, Copy)]
struct Step {
    to: usize,
    cell: usize,
}

pub(super) struct Flow<'a> {
    group: &'a mut Group,
    /// By member, its cells.
    cells_of: Vec<Vec<usize>>,
    loads: Vec<usize>,
    /// By node, how many partitions are to go away from it.
    excess: Vec<usize>,
    /// By member, how many partitions are to come to it.
    wanted: Vec<usize>,
    potential: Vec<i64>,
    /// Cells looked at.
    effort: usize,
}

impl<'a> Flow<'a> {
    pub(super) fn new(group: &'a mut Group) -> Self {
        let mut cells_of = vec![Vec::new(); group.members];
        group.cells.iter().enumerate().for_each(|(cell, at)| cells_of[at.member].push(cell));
        let (members, nodes) = (group.members, group.members + group.kinds.len());
        let loads = group.loads();
        Self {
            group,
            cells_of,
            loads,
            excess: vec![0; nodes],
            wanted: vec![0; members],
            potential: vec![0; nodes],
            effort: 0,
        }
    }

    /// Divides at least as evenly as the targets, and with no more moves.
    pub(super) fn run(mut self, targets: &Targets) {
        let squares = |loads: &[usize]| loads.iter().map(|load| load * load).sum::<usize>();
        if let Some(loads) = &targets.without_moves {
            self.reach(loads);
            if self.settle().is_none() && (targets.settled || squares(&self.loads) <= squares(&targets.loads)) {
                return;
            }
            let owned: Vec<usize> = self.group.cells.iter().map(|cell| cell.owned).collect();
            if targets.settled && uneven(self.group, loads, &owned).is_none() {
                return self.group.set_counts(&owned);
            }
        }
        self.reach(&targets.loads);
        // Evened out, it may lie so that one move more helps.
        while let Some((from, to)) = self.settle() {
            self.between(|member, _| (usize::from(member == from), usize::from(member == to)), i64::MAX);
        }
        let moves = |counts: &mut dyn Iterator<Item = usize>| {
            let kept = self.group.cells.iter().zip(counts).filter(|(cell, _)| cell.near);
            Reverse(kept.map(|(cell, count)| cell.owned.min(count)).sum::<usize>())
        };
        if let Some(counts) = &targets.counts
            && moves(&mut counts.iter().copied()) < moves(&mut self.group.cells.iter().map(|cell| cell.count))
        {
            self.group.set_counts(counts);
        }
    }

    /// Evens out what can be without moves, and saves moves that were not needed. What it returns could be made more even by a
    /// move from one member to the other.
    fn settle(&mut self) -> Option<(usize, usize)> {
        let mut tried = BTreeSet::new();
        loop {
            while self.effort < PATIENCE && self.even_out() {}
            let counts: Vec<usize> = self.group.cells.iter().map(|cell| cell.count).collect();
            let (from, to) = uneven(self.group, &self.loads, &counts)?;
            // As even, but with others having more, may do.
            let (most, least) = (self.loads[from], self.loads[to]);
            let changed = self.effort < PATIENCE
                && tried.insert((from, to))
                && (self.between(|m, load| (usize::from(load == least + 1), usize::from(m == to)), FREE)
                    || self.between(|m, load| (usize::from(m == from), usize::from(load + 1 == most)), FREE));
            if !changed {
                return Some((from, to));
            }
        }
    }

    /// Brings every member to its target.
    fn reach(&mut self, targets: &[usize]) {
        let members = self.loads.len();
        for (kind, of) in self.group.kinds.iter().enumerate().filter(|(_, of)| !of.cells.is_empty()) {
            let given: usize = self.group.cells[of.cells.clone()].iter().map(|cell| cell.count).sum();
            self.excess[members + kind] = of.partitions.len().saturating_sub(given);
        }
        for (member, target) in targets.iter().enumerate() {
            self.excess[member] = self.loads[member].saturating_sub(*target);
            self.wanted[member] = target.saturating_sub(self.loads[member]);
        }
        self.route(i64::MAX);
    }

    /// Whether anything changed.
    fn even_out(&mut self) -> bool {
        let levels: BTreeSet<usize> = self.loads.iter().copied().filter(|load| *load > 0).collect();
        let mut changed = false;
        for level in levels.into_iter().rev() {
            let middle = level - 1;
            changed |= self.between(|_, load| (load.saturating_sub(middle), middle.saturating_sub(load)), FREE);
            changed |= self.between(|_, load| (usize::from(load == level), usize::from(load == middle)), -1);
        }
        changed
    }

    /// Routes from some members to others, as many as `ends` says of each member and its load.
    fn between(&mut self, ends: impl Fn(usize, usize) -> (usize, usize), limit: i64) -> bool {
        self.excess.fill(0);
        for member in 0..self.loads.len() {
            (self.excess[member], self.wanted[member]) = ends(member, self.loads[member]);
        }
        self.route(limit)
    }

    /// Sends what is too much to where it is wanted, along paths that cost no more than `limit`. Whether anything went.
    fn route(&mut self, limit: i64) -> bool {
        let mut routed = false;
        loop {
            let sources = (0..self.excess.len()).filter(|node| self.excess[*node] > 0);
            let sources: Vec<usize> = sources.collect();
            let sinks: Vec<usize> = (0..self.wanted.len()).filter(|member| self.wanted[*member] > 0).collect();
            let Some(start) = sources.iter().map(|node| self.potential[*node]).max() else { return routed };
            let distances = self.distances(&sources, start);
            let end = |member: &usize| distances[*member].map(|distance| distance + self.potential[*member]);
            let Some(end) = sinks.iter().filter_map(end).min() else { return routed };
            if end - start > limit {
                return routed;
            }
            // Now every edge of a shortest path has the length 0, and no edge a negative one.
            let least = sinks.iter().map(|member| self.potential[*member]).min().unwrap_or(end);
            for (potential, distance) in self.potential.iter_mut().zip(distances) {
                *potential += distance.map_or(end - least, |distance| distance.min(end - least));
            }
            while self.fill(&sources, start, end) {
                routed = true;
            }
        }
    }

    /// The distances from these nodes, in the lengths that the potentials leave.
    fn distances(&mut self, sources: &[usize], start: i64) -> Vec<Option<i64>> {
        let mut distances: Vec<Option<i64>> = vec![None; self.excess.len()];
        let mut queue = BinaryHeap::new();
        for node in sources {
            distances[*node] = Some(start - self.potential[*node]);
            queue.push(Reverse((start - self.potential[*node], *node)));
        }
        while let Some(Reverse((distance, node))) = queue.pop() {
            if distances[node].is_some_and(|known| known < distance) {
                continue;
            }
            for at in 0..self.degree(node) {
                let Some((step, cost)) = self.step(node, at) else { continue };
                let distance = distance + cost + self.potential[node] - self.potential[step.to];
                if distances[step.to].is_none_or(|known| distance < known) {
                    distances[step.to] = Some(distance);
                    queue.push(Reverse((distance, step.to)));
                }
            }
            self.effort += self.degree(node);
        }
        distances
    }

    /// Sends along paths of length 0. Whether anything went.
    fn fill(&mut self, sources: &[usize], start: i64, end: i64) -> bool {
        let (mut seen, mut next) = (vec![false; self.excess.len()], vec![0; self.excess.len()]);
        let mut filled = false;
        for source in sources {
            while self.excess[*source] > 0 && self.potential[*source] == start && !seen[*source] {
                let Some(path) = self.path(*source, end, &mut seen, &mut next) else { break };
                path.iter().for_each(|step| seen[step.to] = false);
                seen[*source] = false;
                self.send(*source, &path);
                filled = true;
            }
        }
        filled
    }

    /// A path of length 0 to where something is wanted, through nodes that were not `seen`.
    fn path(&self, source: usize, end: i64, seen: &mut [bool], next: &mut [usize]) -> Option<Vec<Step>> {
        let mut path: Vec<Step> = Vec::new();
        seen[source] = true;
        loop {
            let node = path.last().map_or(source, |step| step.to);
            if self.wanted.get(node).is_some_and(|wanted| *wanted > 0) && self.potential[node] == end {
                return Some(path);
            }
            let step = loop {
                if next[node] == self.degree(node) {
                    break None;
                }
                match self.step(node, next[node]) {
                    Some((step, cost)) if !seen[step.to] && cost + self.potential[node] == self.potential[step.to] => {
                        break Some(step);
                    }
                    Some(_) | None => next[node] += 1,
                }
            };
            match step {
                Some(step) => {
                    seen[step.to] = true;
                    path.push(step);
                }
                None => drop(path.pop()?),
            }
        }
    }

    /// Sends as many as go at the same cost.
    fn send(&mut self, source: usize, path: &[Step]) {
        let Some(sink) = path.last().map(|step| step.to) else { return };
        let room = |step: &Step| {
            let Cell { owned, count, .. } = self.group.cells[step.cell];
            match step.to < self.loads.len() {
                true if count < owned => owned - count,
                true => usize::MAX,
                false if count > owned => count - owned,
                false => count,
            }
        };
        let most = self.excess[source].min(self.wanted[sink]);
        let amount = path.iter().map(room).fold(most, usize::min);
        for step in path {
            let to_member = step.to < self.loads.len();
            let count = &mut self.group.cells[step.cell].count;
            *count = if to_member { *count + amount } else { *count - amount };
        }
        self.excess[source] -= amount;
        self.wanted[sink] -= amount;
        self.loads[sink] += amount;
        if let Some(load) = self.loads.get_mut(source) {
            *load -= amount;
        }
    }

    /// How many cells a node has.
    fn degree(&self, node: usize) -> usize {
        match node.checked_sub(self.loads.len()) {
            None => self.cells_of[node].len(),
            Some(kind) => self.group.kinds[kind].cells.len(),
        }
    }

    /// The step through a cell of a node, if there is anything to take, and what it costs.
    fn step(&self, node: usize, at: usize) -> Option<(Step, i64)> {
        match node.checked_sub(self.loads.len()) {
            None => {
                let cell = self.cells_of[node][at];
                let of = &self.group.cells[cell];
                (of.count > 0).then(|| (Step { to: self.loads.len() + of.kind, cell }, -worth(of, of.count - 1)))
            }
            Some(kind) => {
                let cell = self.group.kinds[kind].cells.start + at;
                let of = &self.group.cells[cell];
                Some((Step { to: of.member, cell }, worth(of, of.count)))
            }
        }
    }
}

/// A member, and one with at least two partitions less that may have one of its.
fn uneven(group: &Group, loads: &[usize], counts: &[usize]) -> Option<(usize, usize)> {
    group.kinds.iter().find_map(|kind| {
        let members = || kind.cells.clone().map(|cell| (group.cells[cell].member, counts[cell]));
        let (from, _) = members().filter(|(_, count)| *count > 0).max_by_key(|(member, _)| loads[*member])?;
        let (to, _) = members().min_by_key(|(member, _)| loads[*member])?;
        (loads[from] > loads[to] + 1).then_some((from, to))
    })
}

/// What it costs to give a member one more than `count`: to keep what is near is worth a move, and what is far away is better
/// elsewhere, but rather with who had it than with another.
fn worth(cell: &Cell, count: usize) -> i64 {
    match (cell.near, count < cell.owned) {
        (true, true) => -MOVE,
        (true, false) => 0,
        (false, true) => 1,
        (false, false) => 2,
    }
}
