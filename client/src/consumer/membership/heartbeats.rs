//! When a heartbeat is due, and when the coordinator has been silent for too long. Pure.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::clock::Time;
use crate::entropy::Entropy;

/// ```text
///   Due ──sent──► Flying ──answered: due again after heartbeat.interval.ms, or failed: after a backoff──► Due
/// ```
///
/// Every heartbeat has a number. An answer to another than the last is history: it was sent in an earlier generation, or to a
/// coordinator that was given up.
#[derive(Debug)]
pub(super) struct Heartbeats {
    state: State,
    interval: Duration,
    session_timeout: Duration,
    /// When the session was last known to be alive.
    alive: Time,
    sent: u64,
    failures: u32,
}

#[derive(Debug)]
enum State {
    Due(Time),
    Flying { since: Time },
}

impl Heartbeats {
    pub(super) fn new(interval: Duration, session_timeout: Duration) -> Self {
        let state = State::Due(Time::ZERO);
        Self { state, interval, session_timeout, alive: Time::ZERO, sent: 0, failures: 0 }
    }

    /// A generation begins: the session is alive.
    pub(super) fn start(&mut self, now: Time) {
        self.alive = now;
        self.failures = 0;
        self.state = State::Due(now.saturating_add(self.interval));
    }

    /// Nobody waits for the answer to the last heartbeat any more.
    pub(super) fn give_up(&mut self, now: Time) {
        match self.state {
            State::Flying { .. } => self.state = State::Due(now),
            State::Due(_) => {}
        }
    }

    /// A heartbeat is worth sending now, unless the last one failed: then after the pause.
    pub(super) fn hurry(&mut self, now: Time) {
        if let (State::Due(due), 0) = (&mut self.state, self.failures) {
            *due = now.min(*due);
        }
    }

    /// The number of the heartbeat to send now. Counts as sent.
    pub(super) fn next_beat(&mut self, now: Time) -> Option<u64> {
        match self.state {
            State::Due(due) if due <= now => {
                self.state = State::Flying { since: now };
                self.sent += 1;
                Some(self.sent)
            }
            State::Due(_) | State::Flying { .. } => None,
        }
    }

    /// Whether somebody waits for the answer to this one.
    pub(super) fn is_awaited(&self, number: u64) -> bool {
        match self.state {
            State::Flying { .. } => self.sent == number,
            State::Due(_) => false,
        }
    }

    /// The coordinator knows the member. Its session began when the heartbeat came there: not before that was sent.
    pub(super) fn on_alive(&mut self, now: Time) {
        let since = match self.state {
            State::Flying { since } => since,
            State::Due(_) => now,
        };
        self.start(now);
        self.alive = since;
    }

    pub(super) fn on_failed(&mut self, now: Time, backoff: Backoff, entropy: &mut Entropy) {
        self.failures = self.failures.saturating_add(1);
        self.state = State::Due(now.saturating_add(backoff.delay(self.failures, entropy).min(self.interval)));
    }

    /// When the coordinator will have been silent for too long.
    pub(super) fn expiry(&self) -> Time {
        self.alive + self.session_timeout
    }

    pub(super) fn next_deadline(&self) -> Time {
        match self.state {
            State::Due(due) => due.min(self.expiry()),
            State::Flying { .. } => self.expiry(),
        }
    }
}
