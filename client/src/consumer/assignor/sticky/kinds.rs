//! What there is to divide, in numbers: members, and kinds of partitions that can stand for each other. Pure.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Who may have what, and who had it. Members, topics and partitions are numbers, counted from 0.
pub(super) struct Group {
    /// How many members there are.
    pub(super) members: usize,
    /// Topics, those that few may have first.
    pub(super) order: Vec<usize>,
    /// By topic, the members that may have its partitions, ascending.
    pub(super) subscribers: Vec<Vec<usize>>,
    /// By topic and partition, the member that had it.
    pub(super) owners: Vec<Vec<Option<usize>>>,
    /// Whether somebody cannot keep what it had, since it is not subscribed any more or far away.
    pub(super) revoked: bool,
    pub(super) kinds: Vec<Kind>,
    /// By topic and partition, its kind.
    pub(super) kind_of: Vec<Vec<usize>>,
    pub(super) cells: Vec<Cell>,
}

/// Partitions that the same members may have, with replicas in the same racks.
pub(super) struct Kind {
    /// Topics and partitions, ascending.
    pub(super) partitions: Vec<(usize, usize)>,
    /// Its cells, in the order of the members.
    pub(super) cells: Range<usize>,
}

/// What one member may have of one kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cell {
    pub(super) kind: usize,
    pub(super) member: usize,
    /// Whether there are replicas where the member is. Who tells no rack is everywhere.
    pub(super) near: bool,
    /// How many of the kind the member had.
    pub(super) owned: usize,
    /// How many it is to have.
    pub(super) count: usize,
}

impl Group {
    /// `racks` are those of the members, `replicas` those of the replicas by topic and partition: none if they do not matter.
    pub(super) fn new(
        racks: &[Option<&str>],
        replicas: &[Vec<&[Arc<str>]>],
        subscribers: Vec<Vec<usize>>,
        owners: Vec<Vec<Option<usize>>>,
        revoked: bool,
    ) -> Self {
        let mut known: BTreeMap<(&[usize], &[Arc<str>]), usize> = BTreeMap::new();
        let (mut kinds, mut cells): (Vec<Kind>, Vec<Cell>) = (Vec::new(), Vec::new());
        let mut kind_of: Vec<Vec<usize>> = vec![Vec::new(); subscribers.len()];
        let by_racks = replicas.iter().flatten().any(|racks| !racks.is_empty());
        // Kinds that few may have come first: they are moved first.
        let mut order: Vec<usize> = (0..subscribers.len()).collect();
        order.sort_by_key(|topic| subscribers[*topic].len());
        for topic in order.iter().copied() {
            let subscribers = &subscribers[topic];
            for (partition, replicas) in replicas[topic].iter().enumerate() {
                let kind = *known.entry((subscribers, replicas)).or_insert(kinds.len());
                if kind == kinds.len() {
                    let near = |rack: &str| !by_racks || replicas.iter().any(|replica| **replica == *rack);
                    let cell = |member: &usize| Cell {
                        kind,
                        member: *member,
                        near: racks[*member].is_none_or(near),
                        owned: 0,
                        count: 0,
                    };
                    let first = cells.len();
                    cells.extend(subscribers.iter().map(cell));
                    kinds.push(Kind { partitions: Vec::new(), cells: first..cells.len() });
                }
                kinds[kind].partitions.push((topic, partition));
                kind_of[topic].push(kind);
            }
        }
        kinds.iter_mut().for_each(|kind| kind.partitions.sort_unstable());
        let mut group = Self { members: racks.len(), order, subscribers, owners, revoked, kinds, kind_of, cells };
        group.keep_all();
        group
    }

    /// Everybody has what it had, except what is not near: that is to find a better place, if there is one.
    fn keep_all(&mut self) {
        for topic in 0..self.owners.len() {
            for partition in 0..self.owners[topic].len() {
                let Some(owner) = self.owners[topic][partition] else { continue };
                if let Some(cell) = self.cell(self.kind_of[topic][partition], owner) {
                    self.cells[cell].owned += 1;
                    self.cells[cell].count += usize::from(self.cells[cell].near);
                    self.revoked |= !self.cells[cell].near;
                }
            }
        }
    }

    /// The cell of a member, if it may have the kind.
    pub(super) fn cell(&self, kind: usize, member: usize) -> Option<usize> {
        let cells = self.kinds[kind].cells.clone();
        let at = self.cells[cells.clone()].binary_search_by_key(&member, |cell| cell.member);
        at.ok().map(|at| cells.start + at)
    }

    pub(super) fn set_counts(&mut self, counts: &[usize]) {
        self.cells.iter_mut().zip(counts).for_each(|(cell, count)| cell.count = *count);
    }

    /// How many partitions each member has.
    pub(super) fn loads(&self) -> Vec<usize> {
        let mut loads = vec![0; self.members];
        self.cells.iter().for_each(|cell| loads[cell.member] += cell.count);
        loads
    }
}
