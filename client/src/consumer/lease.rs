//! One uninterrupted ownership of a partition: what was handed out under it, what is still held, how far it is done. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use super::holds::{Held, Holds};

/// Names a lease. Offsets carry it, so that a commit can tell whether it is still the same ownership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LeaseId(pub(crate) u64);

/// So many records at most are handed out beyond one that is not acknowledged.
pub(crate) const MOST_PAST_A_GAP: usize = 10_000;

/// Where a position is, and the leader epoch of the record before it; −1 if that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FetchPosition {
    pub(crate) offset: i64,
    pub(crate) epoch: i32,
}

/// A batch of which something was handed out.
#[derive(Debug)]
struct Outstanding {
    serial: u64,
    holds: Arc<Holds>,
    /// How many records of the lease were handed out before.
    before: usize,
    /// Whether that was after the last seek. What was before comes again, or is not wanted any more.
    current: bool,
}

/// A part of what the latest read returned.
#[derive(Debug, Clone, Copy)]
struct Given {
    serial: u64,
    index: u32,
    first: i64,
}

/// *Held* is what the application still has; *done* is what it has finished. The first decides when a revocation may go on, the
/// second what is committed without being asked.
///
/// Records are done when they were let go of and the application came back for more; where they are counted by record, when
/// they were acknowledged.
#[derive(Debug)]
pub(crate) struct Lease {
    id: LeaseId,
    by_record: bool,
    /// In the order of the hand-outs.
    outstanding: VecDeque<Outstanding>,
    next_serial: u64,
    /// How many of them there were when those that are free were last dropped.
    kept: usize,
    /// The next record to hand out; unknown until the start is resolved.
    position: Option<FetchPosition>,
    /// The greatest position that there ever was.
    reached: i64,
    /// The latest read that got something of this partition, and what.
    latest_read: u64,
    latest: Vec<Given>,
    /// What implicit commits must be above; `None` after a seek, which may go back.
    committed: Option<i64>,
    /// The application said that everything before this is done.
    said_done: i64,
    /// How many records were handed out.
    given: usize,
    /// Until so many were, it need not be looked how many of them are beyond one that is not acknowledged.
    look_at: usize,
    /// The record that was last told to be dropped without an acknowledgement.
    told_dropped: Option<i64>,
}

impl Lease {
    pub(crate) fn new(id: LeaseId, by_record: bool) -> Self {
        Self {
            id,
            by_record,
            outstanding: VecDeque::new(),
            next_serial: 0,
            kept: 0,
            position: None,
            reached: -1,
            latest_read: 0,
            latest: Vec::new(),
            committed: Some(-1),
            said_done: -1,
            given: 0,
            look_at: MOST_PAST_A_GAP,
            told_dropped: None,
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
            self.go_back();
        }
        self.position = Some(position);
        self.reached = self.reached.max(position.offset);
    }

    /// The application chose another position; `None` until it is resolved.
    pub(crate) fn on_seek(&mut self, position: Option<FetchPosition>) {
        self.position = position;
        self.reached = self.reached.max(position.map_or(-1, |position| position.offset));
        self.go_back();
    }

    fn go_back(&mut self) {
        self.latest.clear();
        self.committed = None;
        self.said_done = -1;
        self.told_dropped = None;
        self.outstanding.iter_mut().for_each(|outstanding| outstanding.current = false);
    }

    /// `count` records, from the one with this index and offset on, went to the application in `read`; `next` is the position
    /// behind them.
    pub(crate) fn on_handed_out(
        &mut self,
        read: u64,
        holds: &Arc<Holds>,
        (index, first, count): (u32, i64, u32),
        next: FetchPosition,
    ) {
        if !self.outstanding.back().is_some_and(|latest| Arc::ptr_eq(&latest.holds, holds)) {
            self.prune();
            self.next_serial += 1;
            let (serial, holds) = (self.next_serial, holds.clone());
            self.outstanding.push_back(Outstanding { serial, holds, before: self.given, current: true });
        }
        if self.latest_read != read {
            self.latest_read = read;
            self.latest.clear();
        }
        self.latest.push(Given { serial: self.next_serial, index, first });
        self.given += usize::try_from(count).unwrap_or(0);
        self.move_to(next);
    }

    /// Whether the application has any record of this lease.
    pub(crate) fn is_held(&self) -> bool {
        self.outstanding.iter().any(|outstanding| outstanding.holds.given().any(|record| record.is_held))
    }

    /// The lowest offset that the application still holds and has not acknowledged.
    pub(crate) fn earliest_held(&self) -> Option<i64> {
        self.earliest(|_, record| record.is_held && !(self.by_record && record.is_acked))
    }

    /// The lowest offset that is not done as far as the records themselves tell.
    fn earliest_unfinished(&self) -> Option<i64> {
        self.earliest(|outstanding, record| self.is_unfinished(outstanding, record))
    }

    fn is_unfinished(&self, outstanding: &Outstanding, record: Held) -> bool {
        match (self.by_record, outstanding.current) {
            (false, _) => record.is_held,
            (true, true) => !record.is_acked && record.offset >= self.said_done,
            (true, false) => !record.is_acked && record.is_held,
        }
    }

    fn earliest(&self, which: impl Fn(&Outstanding, Held) -> bool) -> Option<i64> {
        let of = |outstanding: &Outstanding| outstanding.holds.given().find(|record| which(outstanding, *record));
        self.outstanding.iter().filter_map(of).map(|record| record.offset).min()
    }

    /// The greatest offset that may be committed: nothing beyond it was handed out.
    pub(crate) fn reached(&self) -> i64 {
        self.reached
    }

    /// Whether so much was handed out beyond a record that is not acknowledged that the application must see to that first.
    pub(crate) fn is_far_past_a_gap(&mut self) -> bool {
        if !self.by_record || self.given < self.look_at {
            return false;
        }
        let gap = self.outstanding.iter().filter(|outstanding| outstanding.current).find_map(|outstanding| {
            let place = outstanding.holds.given().position(|record| self.is_unfinished(outstanding, record))?;
            Some(outstanding.before + place)
        });
        self.look_at = gap.unwrap_or(self.given) + MOST_PAST_A_GAP;
        self.given >= self.look_at
    }

    /// A record that was let go of without an acknowledgement, and holds back what comes after it. Told once.
    pub(crate) fn take_dropped(&mut self) -> Option<i64> {
        let dropped = self.earliest(|outstanding, record| {
            outstanding.current && self.is_unfinished(outstanding, record) && !record.is_held
        });
        let news = dropped.filter(|dropped| self.by_record && self.told_dropped != Some(*dropped))?;
        self.told_dropped = Some(news);
        Some(news)
    }

    /// Everything before this is done. `reads` is how many reads have begun.
    pub(crate) fn done(&self, reads: u64) -> Option<FetchPosition> {
        let position = self.position?;
        match [self.earliest_unfinished(), self.latest_unfinished(reads)].into_iter().flatten().min() {
            Some(offset) if offset < position.offset => Some(FetchPosition { offset, epoch: -1 }),
            Some(_) | None => Some(position),
        }
    }

    /// What the latest read returned may still be worked on, even if it was let go of.
    fn latest_unfinished(&self, reads: u64) -> Option<i64> {
        if self.by_record || self.latest_read != reads {
            return None;
        }
        let acked = |given: &&Given| {
            let place = self.outstanding.binary_search_by_key(&given.serial, |outstanding| outstanding.serial);
            let outstanding = place.ok().and_then(|place| self.outstanding.get(place));
            outstanding.is_some_and(|outstanding| outstanding.holds.is_acked(given.index))
        };
        self.latest.iter().find(|given| !acked(given)).map(|given| given.first)
    }

    /// What an implicit commit has to store, if anything.
    pub(crate) fn to_commit(&self, reads: u64) -> Option<FetchPosition> {
        self.done(reads).filter(|done| self.committed.is_none_or(|committed| done.offset > committed))
    }

    /// `offset` is stored.
    pub(crate) fn on_committed(&mut self, offset: i64) {
        self.committed = Some(self.committed.map_or(offset, |committed| committed.max(offset)));
        self.said_done = self.said_done.max(offset);
    }

    /// Forgets the batches that nothing more is expected of, now and then all of them.
    fn prune(&mut self) {
        let mut outstanding = std::mem::take(&mut self.outstanding);
        let is_open = |outstanding: &Outstanding| {
            let mut given = outstanding.holds.given();
            given.any(|record| record.is_held || self.is_unfinished(outstanding, record))
        };
        while outstanding.front().is_some_and(|front| !is_open(front)) {
            outstanding.pop_front();
        }
        if outstanding.len() > 2 * self.kept + 64 {
            outstanding.retain(is_open);
            self.kept = outstanding.len();
        }
        self.outstanding = outstanding;
    }
}

#[cfg(test)]
mod tests {
    use super::super::holds::unwatched;
    use super::*;

    fn at(offset: i64) -> FetchPosition {
        FetchPosition { offset, epoch: 3 }
    }

    /// A lease at offset 10 and a batch of five records there.
    fn lease() -> (Lease, Arc<Holds>) {
        counted(false)
    }

    fn counted(by_record: bool) -> (Lease, Arc<Holds>) {
        let mut lease = Lease::new(LeaseId(1), by_record);
        lease.start_at(at(10));
        (lease, Arc::new(Holds::new(10, 5, unwatched(by_record))))
    }

    fn hand_out(lease: &mut Lease, read: u64, holds: &Arc<Holds>, index: u32) {
        let offset = 10 + i64::from(index);
        holds.hold(index, offset);
        lease.on_handed_out(read, holds, (index, offset, 1), at(offset + 1));
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
            let holds = Arc::new(Holds::new(base, 5, unwatched(false)));
            holds.hold(0, base);
            lease.on_handed_out(1, &holds, (0, base, 5), at(base + 5));
            holds.release(0);
        }

        assert!(lease.outstanding.len() < 200, "{}", lease.outstanding.len());
        assert_eq!(lease.earliest_held(), Some(10));
    }

    #[test]
    fn what_is_acknowledged_is_done_at_once_and_only_in_a_row() {
        let (mut lease, holds) = counted(true);
        for index in 0..4 {
            hand_out(&mut lease, 1, &holds, index);
        }
        let finish = |index| {
            holds.ack(index);
            holds.release(index);
        };
        finish(2);
        assert_eq!(lease.to_commit(1), None);
        finish(0);
        assert_eq!(lease.to_commit(1).map(|done| done.offset), Some(11));
        finish(1);
        assert_eq!(lease.to_commit(1).map(|done| done.offset), Some(13));
        finish(3);
        assert_eq!(lease.to_commit(1), Some(at(14)));
    }

    #[test]
    fn a_record_dropped_without_an_ack_holds_back_the_rest_until_it_comes_again() {
        let (mut lease, holds) = counted(true);
        for index in 0..2 {
            hand_out(&mut lease, 1, &holds, index);
        }
        holds.release(0);
        holds.ack(1);
        holds.release(1);
        assert_eq!((lease.take_dropped(), lease.take_dropped()), (Some(10), None));
        assert_eq!((lease.to_commit(5), lease.is_held()), (None, false));

        lease.on_seek(Some(at(10)));
        let again = Arc::new(Holds::new(10, 5, unwatched(true)));
        hand_out(&mut lease, 2, &again, 0);
        assert_eq!(lease.done(2).map(|done| done.offset), Some(10));
        again.ack(0);
        assert_eq!(lease.done(2), Some(at(11)));
    }

    #[test]
    fn an_explicit_commit_covers_what_was_dropped_without_an_ack() {
        let (mut lease, holds) = counted(true);
        for index in 0..3 {
            hand_out(&mut lease, 1, &holds, index);
        }
        holds.release(0);
        lease.on_committed(12);
        holds.ack(2);
        assert_eq!(lease.to_commit(1), Some(at(13)));
    }

    #[test]
    fn hand_out_waits_far_past_a_gap() {
        let (mut lease, gap) = counted(true);
        hand_out(&mut lease, 0, &gap, 0);
        let most = i64::try_from(MOST_PAST_A_GAP).unwrap();
        for offset in 11..10 + most {
            assert!(!lease.is_far_past_a_gap(), "{offset}");
            let holds = Arc::new(Holds::new(offset, 1, unwatched(true)));
            holds.hold(0, offset);
            lease.on_handed_out(1, &holds, (0, offset, 1), at(offset + 1));
            holds.ack(0);
            holds.release(0);
        }
        gap.release(0);
        assert!(lease.is_far_past_a_gap());
        gap.ack(0);
        assert!(!lease.is_far_past_a_gap());
        assert_eq!(lease.done(1), Some(at(10 + most)));
    }

    #[test]
    fn an_ack_where_none_is_needed_makes_a_record_done_before_the_next_read() {
        let (mut lease, holds) = lease();
        hand_out(&mut lease, 1, &holds, 0);
        holds.ack(0);
        holds.release(0);
        assert_eq!(lease.to_commit(1), Some(at(11)));
    }
}
