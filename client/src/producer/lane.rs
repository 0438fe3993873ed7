//! The partitions that one broker leads and that have, or will have, something to send: by when. Pure.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::topic::Partition;
use crate::clock::Time;
use crate::error::Error;

/// Partitions by the time at which to look at them. Work is proportional to what is in here, never to all partitions.
#[derive(Default)]
pub(crate) struct Agenda {
    entries: Mutex<BTreeMap<(Time, u64), Arc<Partition>>>,
}

impl Agenda {
    /// Enters a partition. Whether it is the earliest now.
    pub(crate) fn insert(&self, due: Time, partition: Arc<Partition>) -> bool {
        let mut entries = self.lock();
        let key = (due, partition.number());
        entries.insert(key, partition);
        entries.first_key_value().is_some_and(|(first, _)| *first == key)
    }

    pub(crate) fn remove(&self, due: Time, partition: &Partition) {
        self.lock().remove(&(due, partition.number()));
    }

    /// Takes out the earliest partition that is due.
    pub(crate) fn take_due(&self, now: Time) -> Option<Arc<Partition>> {
        let mut entries = self.lock();
        let first = entries.first_entry().filter(|first| first.key().0 <= now)?;
        Some(first.remove())
    }

    pub(crate) fn first_due(&self) -> Option<Time> {
        self.lock().first_key_value().map(|((due, _), _)| *due)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Time, u64), Arc<Partition>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way to one broker.
pub(crate) struct Lane {
    pub(crate) broker: i32,
    pub(crate) agenda: Agenda,
    waker: Waker,
    /// Why there is no connection, if one was wanted.
    trouble: Mutex<Option<Error>>,
}

impl Lane {
    pub(crate) fn new(broker: i32, waker: Waker) -> Arc<Self> {
        Arc::new(Self { broker, agenda: Agenda::default(), waker, trouble: Mutex::default() })
    }

    /// Enters a partition, and wakes the connection if that brings its next deadline forward.
    pub(crate) fn schedule(&self, due: Time, partition: Arc<Partition>) {
        if self.agenda.insert(due, partition) {
            self.wake();
        }
    }

    pub(crate) fn wake(&self) {
        self.waker.wake_by_ref();
    }

    pub(crate) fn set_trouble(&self, trouble: Option<Error>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    pub(crate) fn trouble(&self) -> Option<Error> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
