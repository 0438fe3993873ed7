//! Which broker coordinates the group, and when to ask for it. Pure.

use crate::backoff::Backoff;
use crate::clock::Time;
use crate::entropy::Entropy;

/// ```text
///   Unknown ──due, and wanted──► Asking ──found──► Known
///    ▲  ▲                          │                 │
///    │  └── not found: after a backoff               │
///    └── it does not answer, or is not the coordinator ──┘
/// ```
#[derive(Debug)]
pub(super) struct CoordinatorSearch {
    state: State,
    /// Searches without a result, in a row.
    failures: u32,
}

#[derive(Debug)]
enum State {
    /// `wrong`: the broker that was taken for it.
    Unknown {
        due: Time,
        wrong: Option<i32>,
    },
    Asking,
    /// `listed`: the metadata knew it too.
    Known {
        broker: i32,
        listed: bool,
    },
}

impl CoordinatorSearch {
    pub(super) fn new() -> Self {
        Self { state: State::Unknown { due: Time::ZERO, wrong: None }, failures: 0 }
    }

    pub(super) fn known(&self) -> Option<i32> {
        match self.state {
            State::Known { broker, .. } => Some(broker),
            State::Unknown { .. } | State::Asking => None,
        }
    }

    /// Whether to ask now, and the broker that it is not. Counts as asked.
    pub(super) fn next_search(&mut self, now: Time) -> Option<Option<i32>> {
        match self.state {
            State::Unknown { due, wrong } if due <= now => {
                self.state = State::Asking;
                Some(wrong)
            }
            State::Unknown { .. } | State::Asking | State::Known { .. } => None,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        match self.state {
            State::Unknown { due, .. } => Some(due),
            State::Asking | State::Known { .. } => None,
        }
    }

    pub(super) fn on_found(&mut self, broker: i32) {
        self.state = State::Known { broker, listed: false };
        self.failures = 0;
    }

    pub(super) fn on_not_found(&mut self, now: Time, backoff: Backoff, entropy: &mut Entropy) {
        self.failures = self.failures.saturating_add(1);
        self.state = State::Unknown { due: now.saturating_add(backoff.delay(self.failures, entropy)), wrong: None };
    }

    /// What was known has proved wrong.
    pub(super) fn on_wrong(&mut self, now: Time) {
        match self.state {
            State::Known { broker, .. } => self.state = State::Unknown { due: now, wrong: Some(broker) },
            State::Unknown { .. } | State::Asking => {}
        }
    }

    /// Whether the broker that is known has left the metadata. One that they do not know yet may be new.
    pub(super) fn has_departed(&mut self, is_listed: impl FnOnce(i32) -> bool) -> bool {
        match &mut self.state {
            State::Known { broker, listed } => {
                let before = *listed;
                *listed = is_listed(*broker);
                before && !*listed
            }
            State::Unknown { .. } | State::Asking => false,
        }
    }
}
