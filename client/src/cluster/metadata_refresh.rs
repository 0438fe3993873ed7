//! When to ask for metadata, and for which topics. Pure.

use std::collections::BTreeMap;
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
/// A topic that nobody knows is asked for eagerly for as long as somebody waits for it, and then only now and then, if at all: a
/// wrong name must not cost a request a second for ever.
///
/// Wishes for fresh metadata are answered at once when the last answer is old, and with growing pauses when one wish follows
/// the other: a partition without a leader must not become a storm of requests.
#[derive(Debug)]
pub(crate) struct MetadataRefresh {
    state: State,
    topics: BTreeMap<Arc<str>, Interest>,
    max_age: Duration,
    backoff: Backoff,
    entropy: Entropy,
    /// Failures, or wishes that followed closely on an answer, in a row.
    attempts: u32,
    last_answer: Option<Time>,
}

#[derive(Debug, Clone, Copy)]
struct Interest {
    /// Somebody waits for the topic until then.
    awaited_until: Time,
    /// Somebody asked for it and did not say until when.
    is_added: bool,
    /// By so many it is to be asked for although nobody knows it: those who named it, and those who only watch it.
    named: usize,
    watched: usize,
}

/// Why a topic is kept in view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Somebody named it: it may be created.
    Named,
    /// It was there, or is others' to create.
    Watched,
}

impl Interest {
    fn is_kept(&self) -> bool {
        self.named > 0 || self.watched > 0
    }
}

/// What an answer left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Open {
    Nothing,
    /// A topic that is not there, which nobody waits for at the moment.
    Absent,
    /// A leader, or a topic that somebody waits for.
    Awaited,
}

/// How often a topic is looked for that is not there.
const ABSENT: Duration = Duration::from_secs(5);

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
            topics: BTreeMap::new(),
            max_age,
            backoff,
            entropy,
            attempts: 0,
            last_answer: None,
        }
    }

    /// Asks for this topic from now on; until `awaited_until` eagerly. With `keep` also if it turns out not to be there, until it is
    /// released as often. Whether it is time to ask.
    pub(crate) fn add_topic(&mut self, topic: &Arc<str>, now: Time, awaited_until: Time, keep: Option<Keep>) -> bool {
        let known = self.topics.get(topic).copied();
        let unknown = Interest { awaited_until, is_added: false, named: 0, watched: 0 };
        let mut interest = Interest { awaited_until, ..known.unwrap_or(unknown) };
        match keep {
            None => interest.is_added = true,
            Some(Keep::Named) => interest.named += 1,
            Some(Keep::Watched) => interest.watched += 1,
        }
        self.topics.insert(topic.clone(), interest);
        let was_awaited = known.is_some_and(|known| known.awaited_until >= now);
        if known.is_none() {
            match &mut self.state {
                State::Idle { due } => *due = now,
                State::Asking { again } => *again = true,
            }
        } else if !was_awaited && awaited_until > now {
            self.request(now);
        }
        !was_awaited
    }

    /// Whoever kept the topic does not any more. Whether it need not be asked for now.
    pub(crate) fn release_topic(&mut self, topic: &str, keep: Keep) -> bool {
        let Some(interest) = self.topics.get_mut(topic) else { return false };
        let count = match keep {
            Keep::Named => &mut interest.named,
            Keep::Watched => &mut interest.watched,
        };
        *count = count.saturating_sub(1);
        let unwanted = !interest.is_added && !interest.is_kept();
        unwanted && self.topics.remove(topic).is_some()
    }

    /// Whether a broker may create the topic if it is not there.
    pub(crate) fn may_be_created(&self, topic: &str) -> bool {
        self.topics.get(topic).is_some_and(|interest| interest.is_added || interest.named > 0)
    }

    /// The topic is not there. Whether it need not be asked for any more.
    pub(crate) fn forget_absent(&mut self, topic: &str, now: Time) -> bool {
        let unwanted = |interest: &Interest| !interest.is_kept() && interest.awaited_until < now;
        self.topics.get(topic).is_some_and(unwanted) && self.topics.remove(topic).is_some()
    }

    /// The topic was deleted: whoever wants one of the same name asks anew.
    pub(crate) fn on_deleted(&mut self, topic: &str) {
        if let Some(interest) = self.topics.get_mut(topic) {
            interest.awaited_until = Time::ZERO;
        }
    }

    /// Whether somebody waits for this topic.
    pub(crate) fn is_awaited(&self, topic: &str, now: Time) -> bool {
        self.topics.get(topic).is_some_and(|interest| interest.awaited_until >= now)
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
                Some(self.topics.keys().cloned().collect())
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

    /// An answer came, and left this open.
    pub(crate) fn on_answer(&mut self, now: Time, open: Open) {
        let again = matches!(self.state, State::Asking { again: true });
        let close_by = self.last_answer.is_some_and(|last| now.saturating_sub(last) < 2 * self.backoff.max);
        let settled = open < Open::Awaited;
        self.attempts = if settled && !close_by { 0 } else { self.attempts.saturating_add(1) };
        self.last_answer = Some(now);
        let wait = match open {
            Open::Awaited => self.backoff.delay(self.attempts, &mut self.entropy),
            _ if again => self.backoff.delay(self.attempts, &mut self.entropy),
            Open::Absent => ABSENT.min(self.max_age),
            Open::Nothing => self.max_age,
        };
        self.state = State::Idle { due: now.saturating_add(wait) };
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
        refresh.on_answer(5 * MS, Open::Nothing);

        assert_eq!(refresh.next_action(6 * MS), None);
        assert_eq!(refresh.next_deadline(), Some(300_005 * MS));
    }

    #[test]
    fn a_topic_that_was_deleted_is_asked_for_again() {
        let mut refresh = machine();
        refresh.add_topic(&"a".into(), Time::ZERO, 10_000 * MS, None);
        refresh.next_action(Time::ZERO);
        refresh.on_answer(5 * MS, Open::Nothing);
        assert!(!refresh.add_topic(&"a".into(), 6 * MS, 10_006 * MS, None), "it is known");
        refresh.on_deleted("a");
        assert!(refresh.add_topic(&"a".into(), 7 * MS, 10_007 * MS, None));
        assert!(refresh.next_deadline().unwrap() < 2000 * MS);
    }

    #[test]
    fn a_wish_long_after_an_answer_is_granted_at_once() {
        let mut refresh = machine();
        refresh.next_action(Time::ZERO);
        refresh.on_answer(5 * MS, Open::Nothing);

        refresh.request(60_000 * MS);
        assert!(refresh.next_action(60_000 * MS).is_some());
    }

    #[test]
    fn wishes_in_a_row_are_spaced_out() {
        let mut refresh = machine();
        refresh.next_action(Time::ZERO);
        refresh.on_answer(Time::ZERO, Open::Nothing);
        let mut now = Time::ZERO;
        let mut asked = 0;
        while now < 10_000 * MS {
            refresh.request(now);
            if refresh.next_action(now).is_some() {
                asked += 1;
                refresh.on_answer(now, Open::Nothing);
            }
            now += MS;
        }

        assert!((8..25).contains(&asked), "asked {asked} times in 10 s");
    }

    #[test]
    fn a_new_topic_is_asked_for_at_once_even_while_asking() {
        let mut refresh = machine();
        refresh.next_action(Time::ZERO);
        assert!(refresh.add_topic(&"orders".into(), MS, 10_000 * MS, None));
        refresh.on_answer(2 * MS, Open::Nothing);

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

    #[test]
    fn a_topic_that_is_not_there_is_looked_for_as_long_as_somebody_waits_and_then_rarely() {
        let mut refresh = machine();
        let orders: Arc<str> = "orders".into();
        refresh.add_topic(&orders, Time::ZERO, 10_000 * MS, Some(Keep::Watched));
        let (mut now, mut early, mut late) = (Time::ZERO, 0, 0);
        while now < 610_000 * MS {
            if refresh.next_action(now).is_some() {
                *(if now <= 10_000 * MS { &mut early } else { &mut late }) += 1;
                let open = if refresh.is_awaited("orders", now) { Open::Awaited } else { Open::Absent };
                refresh.on_answer(now, open);
            }
            now += 10 * MS;
        }

        assert!((8..30).contains(&early), "{early} times in 10 s");
        assert!((100..130).contains(&late), "{late} times in 600 s");
    }

    #[test]
    fn a_topic_is_asked_for_until_everybody_who_keeps_it_has_released_it() {
        let mut refresh = machine();
        let orders: Arc<str> = "orders".into();
        let add = |refresh: &mut MetadataRefresh, keep| refresh.add_topic(&orders, Time::ZERO, MS, keep);
        add(&mut refresh, Some(Keep::Named));
        add(&mut refresh, Some(Keep::Watched));
        assert!(refresh.may_be_created("orders") && !refresh.forget_absent("orders", 2 * MS));
        assert!(!refresh.release_topic("orders", Keep::Named));
        assert!(!refresh.may_be_created("orders") && !refresh.forget_absent("orders", 2 * MS));
        assert!(refresh.release_topic("orders", Keep::Watched));
        assert_eq!(refresh.next_action(Time::ZERO), Some(vec![]));

        add(&mut refresh, Some(Keep::Watched));
        add(&mut refresh, None);
        assert!(!refresh.release_topic("orders", Keep::Watched), "a producer does not say when it is done with it");
        assert!(refresh.may_be_created("orders"));
    }

    #[test]
    fn a_topic_that_is_not_there_and_nobody_keeps_is_forgotten() {
        let mut refresh = machine();
        refresh.add_topic(&"typo".into(), Time::ZERO, 10_000 * MS, None);

        assert!(!refresh.forget_absent("typo", 9_000 * MS));
        assert!(refresh.forget_absent("typo", 10_001 * MS));
        assert_eq!(refresh.next_action(10_001 * MS), Some(vec![]));
    }
}
