//! One uninterrupted ownership of a partition: what was handed out under it, what is still held, how far it is done. Pure.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Names a lease. Offsets carry it, so that a commit can tell whether it is still the same ownership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeaseId(pub(crate) u64);

/// Which records of one batch the application was given, and how often each is still held.
///
/// The records of a hand-out share it, so that letting go of one is a single atomic operation.
#[derive(Debug)]
pub(crate) struct Holds {
    base_offset: i64,
    /// Per record: its offset minus `base_offset` in the upper half, the number of its holders in the lower.
    slots: Box<[AtomicU64]>,
}

const HOLDERS: u64 = u32::MAX as u64;

impl Holds {
    pub(crate) fn new(base_offset: i64, records: usize) -> Self {
        Self { base_offset, slots: (0..records).map(|_| AtomicU64::new(0)).collect() }
    }

    /// The record with this index and offset has one holder more.
    pub(crate) fn hold(&self, index: u32, offset: i64) {
        let Some(slot) = self.slot(index) else { return };
        let delta = u64::try_from(offset - self.base_offset).unwrap_or(0);
        // Every holder of a record names the same offset.
        slot.fetch_or(delta << 32, Ordering::AcqRel);
        slot.fetch_add(1, Ordering::AcqRel);
    }

    /// The record with this index has one holder less.
    pub(crate) fn release(&self, index: u32) {
        if let Some(slot) = self.slot(index) {
            slot.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn earliest_held(&self) -> Option<i64> {
        let held = self.slots.iter().map(|slot| slot.load(Ordering::Acquire)).find(|slot| slot & HOLDERS != 0)?;
        i64::try_from(held >> 32).ok().map(|delta| self.base_offset + delta)
    }

    fn slot(&self, index: u32) -> Option<&AtomicU64> {
        self.slots.get(usize::try_from(index).ok()?)
    }
}

/// Where a position is, and the leader epoch of the record before it; −1 if that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FetchPosition {
    pub(crate) offset: i64,
    pub(crate) epoch: i32,
}

/// *Held* is what the application still has; *done* is what it let go of before it came back for more. The first decides
/// whether a commit would skip something, the second what is committed without being asked.
#[derive(Debug)]
pub(crate) struct Lease {
    id: LeaseId,
    /// The batches of which something may be held, in the order of the hand-outs.
    outstanding: VecDeque<Arc<Holds>>,
    /// How many of them there were when those that are free were last dropped.
    kept: usize,
    /// The next record to hand out; unknown until the start is resolved.
    position: Option<FetchPosition>,
    /// The greatest position that there ever was.
    reached: i64,
    /// The latest read that got something of this partition, and where that begins.
    latest: Option<(u64, i64)>,
    /// What implicit commits must be above; `None` after a seek, which may go back.
    committed: Option<i64>,
}

impl Lease {
    pub(crate) fn new(id: LeaseId) -> Self {
        Self {
            id,
            outstanding: VecDeque::new(),
            kept: 0,
            position: None,
            reached: -1,
            latest: None,
            committed: Some(-1),
        }
    }

    pub(crate) fn id(&self) -> LeaseId {
        self.id
    }

    /// The next record to hand out.
    pub(crate) fn position(&self) -> Option<FetchPosition> {
        self.position
    }

    /// The start is known: nothing to commit yet.
    pub(crate) fn start_at(&mut self, position: FetchPosition) {
        self.position = Some(position);
        self.reached = self.reached.max(position.offset);
        if self.committed == Some(-1) {
            self.committed = Some(position.offset);
        }
    }

    /// Goes on at `position`: what lies between was passed over; or the log begins or ends elsewhere now, and what was committed
    /// means nothing any more.
    pub(crate) fn move_to(&mut self, position: FetchPosition) {
        if self.position.is_some_and(|before| position.offset < before.offset) {
            self.committed = None;
            self.latest = None;
        }
        self.position = Some(position);
        self.reached = self.reached.max(position.offset);
    }

    /// The application chose another position; `None` until it is resolved.
    pub(crate) fn on_seek(&mut self, position: Option<FetchPosition>) {
        self.position = position;
        self.reached = self.reached.max(position.map_or(-1, |position| position.offset));
        self.latest = None;
        self.committed = None;
    }

    /// Records from `first` on went to the application in `read`; `next` is the position behind them.
    pub(crate) fn on_handed_out(&mut self, read: u64, holds: &Arc<Holds>, first: i64, next: FetchPosition) {
        if !self.outstanding.back().is_some_and(|latest| Arc::ptr_eq(latest, holds)) {
            self.prune();
            self.outstanding.push_back(holds.clone());
        }
        if self.latest.is_none_or(|(latest, _)| latest != read) {
            self.latest = Some((read, first));
        }
        self.move_to(next);
    }

    /// The lowest offset that the application still holds.
    pub(crate) fn earliest_held(&self) -> Option<i64> {
        self.outstanding.iter().filter_map(|holds| holds.earliest_held()).min()
    }

    /// The greatest offset that may be committed: nothing beyond it was handed out.
    pub(crate) fn reached(&self) -> i64 {
        self.reached
    }

    /// Everything before this is done. `reads` is how many reads have begun.
    pub(crate) fn done(&self, reads: u64) -> Option<FetchPosition> {
        let position = self.position?;
        // What the latest read returned may still be worked on, even if it was let go of.
        let latest = self.latest.filter(|(read, _)| *read == reads).map(|(_, first)| first);
        match [self.earliest_held(), latest].into_iter().flatten().min() {
            Some(offset) if offset < position.offset => Some(FetchPosition { offset, epoch: -1 }),
            Some(_) | None => Some(position),
        }
    }

    /// What an implicit commit has to store, if anything.
    pub(crate) fn to_commit(&self, reads: u64) -> Option<FetchPosition> {
        self.done(reads).filter(|done| self.committed.is_none_or(|committed| done.offset > committed))
    }

    /// `offset` is stored.
    pub(crate) fn on_committed(&mut self, offset: i64) {
        self.committed = Some(self.committed.map_or(offset, |committed| committed.max(offset)));
    }

    /// Forgets the batches that nothing is held of, now and then all of them.
    fn prune(&mut self) {
        while self.outstanding.front().is_some_and(|holds| holds.earliest_held().is_none()) {
            self.outstanding.pop_front();
        }
        if self.outstanding.len() > 2 * self.kept + 64 {
            self.outstanding.retain(|holds| holds.earliest_held().is_some());
            self.kept = self.outstanding.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: i64) -> FetchPosition {
        FetchPosition { offset, epoch: 3 }
    }

    /// A lease at offset 10 and a batch of five records there.
    fn lease() -> (Lease, Arc<Holds>) {
        let mut lease = Lease::new(LeaseId(1));
        lease.start_at(at(10));
        (lease, Arc::new(Holds::new(10, 5)))
    }

    fn hand_out(lease: &mut Lease, read: u64, holds: &Arc<Holds>, index: u32) {
        let offset = 10 + i64::from(index);
        holds.hold(index, offset);
        lease.on_handed_out(read, holds, offset, at(offset + 1));
    }

    #[test]
    fn what_the_latest_read_returned_is_done_when_the_next_begins() {
        let (mut lease, holds) = lease();
        hand_out(&mut lease, 1, &holds, 0);
        holds.release(0);

        assert_eq!(lease.to_commit(1), None);
        assert_eq!(lease.to_commit(2), Some(at(11)));
    }

    #[test]
    fn a_held_record_holds_back_everything_behind_it() {
        let (mut lease, holds) = lease();
        for index in 0..3 {
            hand_out(&mut lease, 1 + u64::from(index), &holds, index);
        }
        holds.release(0);
        holds.release(2);

        assert_eq!(lease.earliest_held(), Some(11));
        assert_eq!(lease.done(9).map(|done| done.offset), Some(11));
        holds.release(1);
        assert_eq!(lease.done(9), Some(at(13)));
    }

    #[test]
    fn a_record_with_two_holders_is_held_until_both_let_go() {
        let (mut lease, holds) = lease();
        hand_out(&mut lease, 1, &holds, 4);
        holds.hold(4, 14);
        holds.release(4);

        assert_eq!(lease.earliest_held(), Some(14));
        holds.release(4);
        assert_eq!(lease.earliest_held(), None);
    }

    #[test]
    fn implicit_commits_go_back_only_after_a_seek() {
        let (mut lease, holds) = lease();
        assert_eq!(lease.to_commit(0), None, "nothing was read");
        hand_out(&mut lease, 1, &holds, 0);
        holds.release(0);
        lease.on_committed(11);
        assert_eq!(lease.to_commit(2), None);

        lease.on_seek(Some(at(5)));
        assert_eq!(lease.to_commit(2), Some(at(5)));
        lease.on_committed(5);
        assert_eq!(lease.to_commit(2), None);
        assert_eq!(lease.reached(), 11, "what was handed out may still be committed");
    }

    #[test]
    fn an_explicit_commit_far_back_is_not_undone() {
        let (mut lease, holds) = lease();
        hand_out(&mut lease, 1, &holds, 3);
        holds.release(3);
        lease.on_committed(14);
        lease.on_committed(10);

        assert_eq!(lease.to_commit(2), None);
    }

    #[test]
    fn one_record_held_for_ever_does_not_pile_up_the_others() {
        let (mut lease, held) = lease();
        hand_out(&mut lease, 0, &held, 0);
        for batch in 1..10_000 {
            let base = 10 + 5 * batch;
            let holds = Arc::new(Holds::new(base, 5));
            holds.hold(0, base);
            lease.on_handed_out(1, &holds, base, at(base + 5));
            holds.release(0);
        }

        assert!(lease.outstanding.len() < 200, "{}", lease.outstanding.len());
        assert_eq!(lease.earliest_held(), Some(10));
    }
}
