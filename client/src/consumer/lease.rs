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
    /// How many records of the lease were handed out before, and how many of these.
    before: usize,
    given: usize,
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
    seeks: u64,
    /// The latest read that got something of this partition, and what.
    latest_read: u64,
    latest: Vec<Given>,
    /// What implicit commits must be above; `None` after a seek, which may go back.
    committed: Option<i64>,
    /// What the group has stored under this lease, if it is known.
    stored: Option<i64>,
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
            seeks: 0,
            latest_read: 0,
            latest: Vec::new(),
            committed: Some(-1),
            stored: None,
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

    /// How often it was moved back, or elsewhere: what was to be committed before is history.
    pub(crate) fn seeks(&self) -> u64 {
        self.seeks
    }

    fn go_back(&mut self) {
        self.seeks += 1;
        self.latest.clear();
        self.committed = None;
        self.stored = None;
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
            self.outstanding.push_back(Outstanding { serial, holds, before: self.given, given: 0, current: true });
        }
        if self.latest_read != read {
            self.latest_read = read;
            self.latest.clear();
        }
        self.latest.push(Given { serial: self.next_serial, index, first });
        let count = usize::try_from(count).unwrap_or(0);
        self.given += count;
        if let Some(outstanding) = self.outstanding.back_mut() {
            outstanding.given += count;
        }
        self.move_to(next);
    }

    /// Whether the application has any record of this lease.
    pub(crate) fn is_held(&self) -> bool {
        self.outstanding.iter().any(|outstanding| outstanding.holds.given().any(|record| record.is_held))
    }

    /// How many records of this lease the application has.
    pub(crate) fn held(&self) -> u64 {
        self.outstanding.iter().map(|outstanding| outstanding.holds.held(outstanding.given)).sum()
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

    /// What the group has stored under this lease, if it is known.
    pub(crate) fn stored(&self) -> Option<i64> {
        self.stored
    }

    /// `offset` is stored.
    pub(crate) fn on_committed(&mut self, offset: i64) {
        self.stored = Some(offset);
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
mod tests;
