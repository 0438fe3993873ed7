//! Which records the application still has, and which it acknowledged: counted without a lock. Pure.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How the records of a consumer are counted.
#[derive(Debug, Clone)]
pub(crate) struct Holding {
    /// Whether every record counts by itself, until it is acknowledged; else the records of a hand-out count together.
    pub(crate) by_record: bool,
    pub(crate) releases: Arc<Releases>,
}

/// Which records of one batch the application was given, and how often each is still held.
///
/// The records of a hand-out share it, so that letting go of one is a single atomic operation.
#[derive(Debug)]
pub(crate) struct Holds {
    base_offset: i64,
    holding: Holding,
    /// Per record: its offset minus `base_offset` in the upper half; in the lower the number of its holders and three marks.
    slots: Box<[AtomicU64]>,
}

const HOLDERS: u64 = FIRST - 1;
/// Stands for the records that were handed out after it too, up to the next of these.
const FIRST: u64 = 1 << 29;
const GIVEN: u64 = 1 << 30;
const ACKED: u64 = 1 << 31;

/// One record as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) offset: i64,
    pub(crate) is_held: bool,
    pub(crate) is_acked: bool,
}

impl Holds {
    pub(crate) fn new(base_offset: i64, records: usize, holding: Holding) -> Self {
        Self { base_offset, holding, slots: (0..records).map(|_| AtomicU64::new(0)).collect() }
    }

    pub(crate) fn by_record(&self) -> bool {
        self.holding.by_record
    }

    /// The record with this index and offset is handed out, with those after it that are not handed out by themselves.
    pub(crate) fn hand_out(&self, index: u32, offset: i64) {
        self.add_holder(index, offset, GIVEN | FIRST);
    }

    /// The record with this index and offset has one holder more.
    pub(crate) fn hold(&self, index: u32, offset: i64) {
        self.add_holder(index, offset, GIVEN);
    }

    fn add_holder(&self, index: u32, offset: i64, marks: u64) {
        let Some(slot) = self.slot(index) else { return };
        let delta = u64::try_from(offset - self.base_offset).unwrap_or(0);
        // Every holder of a record names the same offset.
        slot.fetch_or(delta << 32 | marks, Ordering::SeqCst);
        slot.fetch_add(1, Ordering::SeqCst);
    }

    /// The record with this index has one holder less.
    pub(crate) fn release(&self, index: u32) {
        let Some(slot) = self.slot(index) else { return };
        let before = slot.fetch_sub(1, Ordering::SeqCst);
        if before & HOLDERS == 1 {
            self.holding.releases.on_release(self.holding.by_record && before & ACKED == 0);
        }
    }

    /// Neighbours that were handed out together are let go of.
    pub(crate) fn release_piece(&self, index: u32, count: u32) {
        self.of_piece(index, count).for_each(|index| self.release(index));
    }

    /// The application is done with this record, which it still holds.
    pub(crate) fn ack(&self, index: u32) {
        if let Some(slot) = self.slot(index)
            && slot.fetch_or(ACKED, Ordering::SeqCst) & ACKED == 0
        {
            self.holding.releases.on_release(false);
        }
    }

    /// The application is done with neighbours that were handed out together.
    pub(crate) fn ack_piece(&self, index: u32, count: u32) {
        self.of_piece(index, count).for_each(|index| self.ack(index));
    }

    /// The records of a piece that count: all, or the first in place of all.
    fn of_piece(&self, index: u32, count: u32) -> Range<u32> {
        index..index + if self.holding.by_record { count } else { 1 }
    }

    pub(crate) fn is_acked(&self, index: u32) -> bool {
        self.slot(index).is_some_and(|slot| slot.load(Ordering::SeqCst) & ACKED != 0)
    }

    /// The records that were handed out, in order.
    pub(crate) fn given(&self) -> impl Iterator<Item = Held> {
        let slots = self.slots.iter().map(|slot| slot.load(Ordering::SeqCst));
        slots.filter(|slot| slot & GIVEN != 0).map(|slot| Held {
            offset: self.base_offset + i64::try_from(slot >> 32).unwrap_or(0),
            is_held: slot & HOLDERS != 0,
            is_acked: slot & ACKED != 0,
        })
    }

    /// How many of the `given` records that were handed out are still held.
    pub(crate) fn held(&self, given: usize) -> u64 {
        let slots = self.slots.iter().map(|slot| slot.load(Ordering::SeqCst));
        let mut group_is_held = false;
        let given = slots.skip_while(|slot| slot & FIRST == 0).take(given);
        let held = given.filter(|slot| {
            let is_held = slot & HOLDERS != 0;
            if slot & FIRST != 0 {
                group_is_held = is_held;
            }
            group_is_held || is_held
        });
        u64::try_from(held.count()).unwrap_or(u64::MAX)
    }

    fn slot(&self, index: u32) -> Option<&AtomicU64> {
        self.slots.get(usize::try_from(index).ok()?)
    }
}

/// Called when a record was let go of that somebody waits for.
pub(crate) type OnRelease = Box<dyn Fn() + Send + Sync>;

/// That records were let go of or acknowledged, seen from the consumer as a whole.
pub(crate) struct Releases {
    count: AtomicU64,
    watched: AtomicBool,
    dropped: AtomicBool,
    on_release: OnRelease,
}

impl Releases {
    pub(crate) fn new(on_release: OnRelease) -> Arc<Self> {
        let (count, watched, dropped) = (AtomicU64::new(0), AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { count, watched, dropped, on_release })
    }

    /// How often records were let go of or acknowledged.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Calls [`OnRelease`] at the next release. Whoever watches looks again afterwards: one may have come in between.
    pub(crate) fn watch(&self) {
        self.watched.swap(true, Ordering::SeqCst);
    }

    /// Whether a record was let go of that should have been acknowledged, since the last time.
    pub(crate) fn take_dropped(&self) -> bool {
        self.dropped.load(Ordering::SeqCst) && self.dropped.swap(false, Ordering::SeqCst)
    }

    fn on_release(&self, unacked: bool) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let news = unacked && !self.dropped.swap(true, Ordering::SeqCst);
        if news || self.watched.load(Ordering::SeqCst) && self.watched.swap(false, Ordering::SeqCst) {
            (self.on_release)();
        }
    }
}

impl fmt::Debug for Releases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Releases").field(&self.count()).finish()
    }
}

#[cfg(test)]
pub(crate) fn unwatched(by_record: bool) -> Holding {
    Holding { by_record, releases: Releases::new(Box::new(|| {})) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_watches_is_called_once() {
        let calls = Arc::new(AtomicU64::new(0));
        let counted = calls.clone();
        let on_release = move || {
            counted.fetch_add(1, Ordering::SeqCst);
        };
        let releases = Releases::new(Box::new(on_release));
        let holds = Holds::new(10, 3, Holding { by_record: false, releases: releases.clone() });
        (0..3).for_each(|index| holds.hold(index, 10 + i64::from(index)));

        holds.release(0);
        assert_eq!(calls.load(Ordering::SeqCst), 0);
        releases.watch();
        holds.release(1);
        holds.release(2);
        assert_eq!((calls.load(Ordering::SeqCst), releases.count()), (1, 3));
        assert!(!releases.take_dropped(), "nobody acknowledges");
    }

    #[test]
    fn a_record_that_is_dropped_without_an_ack_is_told_of() {
        let holding = unwatched(true);
        let holds = Holds::new(10, 2, holding.clone());
        holds.hold(0, 10);
        holds.hold(1, 12);
        holds.ack(0);
        holds.release(0);
        assert!(!holding.releases.take_dropped());

        holds.release(1);
        assert!(holding.releases.take_dropped() && !holding.releases.take_dropped());
        let last = Held { offset: 12, is_held: false, is_acked: false };
        assert_eq!(holds.given().last(), Some(last));
    }
}
