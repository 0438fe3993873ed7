//! When to ask for metadata, and for which topics. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::clock::Time;
use crate::entropy::Entropy;

/// ```text
///            due, or wanted and not held back
///   Idle ─────────────────────────────────────► Asking ──┐ wanted again: noted
///    ▲                                            │  ▲───┘
///    └── answered: due again after metadata.max.age.ms,  or failed: after a backoff ──┘
/// ```
///
/// Wishes for fresh metadata are answered at once when the last answer is old, and with growing pauses when one wish follows
/// the other: a partition without a leader must not become a storm of requests.
#[derive(Debug)]
pub(crate) struct MetadataRefresh {
    state: State,
    topics: BTreeSet<Arc<str>>,
    max_age: Duration,
    backoff: Backoff,
    entropy: Entropy,
    /// Failures, or wishes that followed closely on an answer, in a row.
    attempts: u32,
    last_answer: Option<Time>,
}

#[derive(Debug)]
enum State {
    Idle {
        due: Time,
    },
    /// `again`: the answer may be older than the last wish.
    Asking {
        again: bool,
    },
}

impl MetadataRefresh {
    pub(crate) fn new(max_age: Duration, backoff: Backoff, entropy: Entropy) -> Self {
        Self {
            state: State::Idle { due: Time::ZERO },
            topics: BTreeSet::new(),
            max_age,
            backoff,
            entropy,
            attempts: 0,
            last_answer: None,
        }
    }

    /// Asks for this topic from now on. Whether it is new.
    pub(crate) fn add_topic(&mut self, topic: &Arc<str>, now: Time) -> bool {
        let added = self.topics.insert(topic.clone());
        if added {
            match &mut self.state {
                State::Idle { due } => *due = now,
                State::Asking { again } => *again = true,
            }
        }
        added
    }

    /// What is known has proved wrong: ask soon.
    pub(crate) fn request(&mut self, now: Time) {
        match &mut self.state {
            State::Asking { again } => *again = true,
            State::Idle { due } => {
                let earliest = match self.last_answer {
                    Some(last) if self.attempts > 0 => last + self.backoff.delay(self.attempts, &mut self.entropy),
                    _ => now,
                };
                *due = (*due).min(earliest.max(now));
            }
        }
    }

    /// The topics to ask for, if it is time to.
    pub(crate) fn next_action(&mut self, now: Time) -> Option<Vec<Arc<str>>> {
        match self.state {
            State::Idle { due } if due <= now => {
                self.state = State::Asking { again: false };
                Some(self.topics.iter().cloned().collect())
            }
            State::Idle { .. } | State::Asking { .. } => None,
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        match self.state {
            State::Idle { due } => Some(due),
            State::Asking { .. } => None,
        }
    }

    /// An answer came. `settled` says that it left no wish open (every asked topic has its leaders).
    pub(crate) fn on_answer(&mut self, now: Time, settled: bool) {
        let again = matches!(self.state, State::Asking { again: true });
        let close_by = self.last_answer.is_some_and(|last| now.saturating_sub(last) < 2 * self.backoff.max);
        self.attempts = if settled && !close_by { 0 } else { self.attempts.saturating_add(1) };
        self.last_answer = Some(now);
        let wait = if again || !settled { self.backoff.delay(self.attempts, &mut self.entropy) } else { self.max_age };
        self.state = State::Idle { due: now + wait };
    }

    /// Nobody answered.
    pub(crate) fn on_failure(&mut self, now: Time) {
        self.attempts = self.attempts.saturating_add(1);
        self.state = State::Idle { due: now + self.backoff.delay(self.attempts, &mut self.entropy) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn machine() -> MetadataRefresh {
        let backoff = Backoff { initial: 100 * MS, max: 1000 * MS };
        MetadataRefresh::new(300_000 * MS, backoff, Entropy::from_seed(1))
    }

    #[test]
    fn it_asks_at_once_and_then_when_the_answer_is_old() {
        let mut refresh = machine();
        assert_eq!(refresh.next_action(Time::ZERO), Some(vec![]));
        refresh.on_answer(5 * MS, true);

        assert_eq!(refresh.next_action(6 * MS), None);
        assert_eq!(refresh.next_deadline(), Some(300_005 * MS));
    }

    #[test]
    fn a_wish_long_after_an_answer_is_granted_at_once() {
        let mut refresh = machine();
        refresh.next_action(Time::ZERO);
        refresh.on_answer(5 * MS, true);

        refresh.request(60_000 * MS);
        assert!(refresh.next_action(60_000 * MS).is_some());
    }

    #[test]
    fn wishes_in_a_row_are_spaced_out() {
        let mut refresh = machine();
        refresh.next_action(Time::ZERO);
        refresh.on_answer(Time::ZERO, true);
        let mut now = Time::ZERO;
        let mut asked = 0;
        while now < 10_000 * MS {
            refresh.request(now);
            if refresh.next_action(now).is_some() {
                asked += 1;
                refresh.on_answer(now, true);
            }
            now += MS;
        }

        assert!((8..25).contains(&asked), "asked {asked} times in 10 s");
    }

    #[test]
    fn a_new_topic_is_asked_for_at_once_even_while_asking() {
        let mut refresh = machine();
        refresh.next_action(Time::ZERO);
        assert!(refresh.add_topic(&"orders".into(), MS));
        refresh.on_answer(2 * MS, true);

        assert!(refresh.next_deadline().unwrap() < 200 * MS);
        assert_eq!(refresh.next_action(200 * MS), Some(vec!["orders".into()]));
    }

    #[test]
    fn failures_back_off() {
        let mut refresh = machine();
        let mut now = Time::ZERO;
        for _ in 0..10 {
            assert!(refresh.next_action(now).is_some());
            refresh.on_failure(now);
            now = refresh.next_deadline().unwrap();
        }

        assert!((4_000 * MS..9_000 * MS).contains(&now), "{now:?}");
    }
}
