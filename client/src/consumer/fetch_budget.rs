//! `fetch.buffer.bytes`: how much memory fetched records may take, those that the application holds included. Pure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;

/// Called when memory became free that somebody waits for.
pub(crate) type OnRoom = Box<dyn Fn() + Send + Sync>;

/// What is spent, out of how much.
pub(crate) struct FetchBudget {
    used: AtomicUsize,
    limit: usize,
    wanted: AtomicBool,
    on_room: OnRoom,
}

impl FetchBudget {
    pub(crate) fn new(limit: usize, on_room: OnRoom) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), limit, wanted: AtomicBool::new(false), on_room })
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Spends `bytes`, whether they are there or not: they are in memory already.
    pub(crate) fn charge(self: &Arc<Self>, bytes: usize) -> Charge {
        self.used.fetch_add(bytes, Ordering::AcqRel);
        Charge { budget: self.clone(), bytes }
    }

    /// Sets aside up to `bytes` for what will be fetched. `None` if nothing is left; then
    /// [`OnRoom`] is called when something is.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Charge> {
        self.try_reserve(bytes).or_else(|| {
            self.wanted.store(true, Ordering::SeqCst);
            // Something may have become free before anybody knew that it was wanted.
            self.try_reserve(bytes)
        })
    }

    /// Whether somebody waits for room; who asks, answers for it.
    pub(crate) fn take_wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst) && self.wanted.swap(false, Ordering::SeqCst)
    }

    fn try_reserve(self: &Arc<Self>, bytes: usize) -> Option<Charge> {
        let take = |used: usize| bytes.min(self.limit.saturating_sub(used));
        let spend = |used: usize| Some(used + take(used)).filter(|after| *after > used);
        let before = self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, spend).ok()?;
        Some(Charge { budget: self.clone(), bytes: take(before) })
    }
}

impl std::fmt::Debug for FetchBudget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} bytes", self.used.load(Ordering::Relaxed), self.limit)
    }
}

/// Memory that is in use, until it is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<FetchBudget>,
    bytes: usize,
}

impl Charge {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The same bytes, which count until the last reference to any part of them is dropped.
    pub(crate) fn attach(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Charged { bytes, _charge: self })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::SeqCst);
        if self.budget.take_wanted() {
            (self.budget.on_room)();
        }
    }
}

struct Charged {
    bytes: Bytes,
    _charge: Charge,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> (Arc<FetchBudget>, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let on_room = move || {
            counted.fetch_add(1, Ordering::SeqCst);
        };
        (FetchBudget::new(100, Box::new(on_room)), calls)
    }

    #[test]
    fn what_is_left_is_given_and_then_nothing() {
        let (budget, calls) = budget();
        let first = budget.reserve(70).unwrap();
        let second = budget.reserve(70).unwrap();
        assert_eq!((first.bytes(), second.bytes()), (70, 30));
        assert!(budget.reserve(1).is_none());

        drop(second);
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        drop(first);
        assert_eq!(calls.load(Ordering::SeqCst), 1, "nobody waited any more");
    }

    #[test]
    fn bytes_count_until_the_last_slice_of_them_is_gone() {
        let (budget, _) = budget();
        let frame = budget.charge(120).attach(Bytes::from(vec![7; 120]));
        let slice = frame.slice(10..20);
        drop(frame);
        assert!(budget.reserve(1).is_none());

        drop(slice);
        assert_eq!(budget.reserve(1000).map(|charge| charge.bytes()), Some(100));
    }
}
