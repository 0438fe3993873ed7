//! A value that many watch, told to them in the order in which they began to wait. IO.
//!
//! Tokio's own watch channel draws that order by chance: one seed would not give one run.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The value, for whoever sets it.
pub(crate) struct Watched<T>(Arc<Inner<T>>);

struct Inner<T> {
    value: Mutex<Versioned<T>>,
    changed: Notify,
}

#[derive(Clone, Copy)]
struct Versioned<T> {
    version: u64,
    value: T,
}

impl<T: Copy> Inner<T> {
    fn lock(&self) -> MutexGuard<'_, Versioned<T>> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Copy> Watched<T> {
    pub(crate) fn new(value: T) -> Self {
        let value = Mutex::new(Versioned { version: 0, value });
        Self(Arc::new(Inner { value, changed: Notify::new() }))
    }

    pub(crate) fn get(&self) -> T {
        self.0.lock().value
    }

    /// Every watcher hears of it, even if the value is the same.
    pub(crate) fn set(&self, value: T) {
        {
            let mut current = self.0.lock();
            *current = Versioned { version: current.version + 1, value };
        }
        self.0.changed.notify_waiters();
    }

    /// Watches changes from now on.
    pub(crate) fn watch(&self) -> Watcher<T> {
        Watcher { seen: self.0.lock().version, inner: self.0.clone() }
    }
}

/// Hears of changes since it last looked.
pub(crate) struct Watcher<T> {
    inner: Arc<Inner<T>>,
    seen: u64,
}

impl<T: Copy> Watcher<T> {
    /// The value now. Changes before this are not told any more.
    pub(crate) fn look(&mut self) -> T {
        let Versioned { version, value } = *self.inner.lock();
        self.seen = version;
        value
    }

    /// Waits for a change that was not seen yet.
    ///
    /// # Cancel safety
    /// The change is told at the next wait.
    pub(crate) async fn changed(&mut self) {
        loop {
            // Made first: it hears of every change from here on.
            let change = self.inner.changed.notified();
            let version = self.inner.lock().version;
            if version != self.seen {
                self.seen = version;
                return;
            }
            change.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn watchers_hear_of_changes_in_the_order_of_their_waits() {
        let (watched, order) = (Watched::new(0), Arc::new(Mutex::new(Vec::new())));
        let mut waits = tokio::task::JoinSet::new();
        for number in 0..20 {
            let (mut watcher, order) = (watched.watch(), order.clone());
            waits.spawn(async move {
                watcher.changed().await;
                order.lock().unwrap().push(number);
                watcher.look()
            });
        }
        tokio::task::yield_now().await;
        watched.set(7);
        while let Some(value) = waits.join_next().await {
            assert_eq!(value.unwrap(), 7);
        }
        assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_change_between_two_looks_is_told_and_one_that_was_seen_is_not() {
        let watched = Watched::new(false);
        let mut watcher = watched.watch();
        watched.set(true);
        watcher.changed().await;
        watched.set(true);
        assert!(watcher.look() && watched.get());
        assert!(tokio_test::task::spawn(watcher.changed()).poll().is_pending());
    }
}
