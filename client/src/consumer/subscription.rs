//! What a member wants to read: topics by their names, or those whose names fit a pattern. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use regex_lite::Regex;

use crate::clock::Time;
use crate::cluster::metadata::Listed;
use crate::error::{Error, ErrorKind, Result};
use crate::topic_partition::check_topic_name;

#[derive(Debug, Clone)]
pub(crate) enum Subscription {
    Topics(BTreeSet<Arc<str>>),
    Pattern(Pattern),
}

/// Which topics, by their names.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    regex: Regex,
    internal_too: bool,
}

impl Subscription {
    /// # Errors
    /// `Usage` if there is no topic, or a name that no topic can have.
    pub(crate) fn to_topics(topics: BTreeSet<Arc<str>>) -> Result<Self> {
        if topics.is_empty() {
            return Err(Error::new(ErrorKind::Usage, "a subscription needs at least one topic"));
        }
        topics.iter().try_for_each(|topic| check_topic_name(topic))?;
        Ok(Self::Topics(topics))
    }

    /// # Errors
    /// `Usage` if it is no pattern.
    pub(crate) fn to_pattern(text: &str, internal_too: bool) -> Result<Self> {
        let refuse = |error: regex_lite::Error| {
            let text = format!(
                "a subscription cannot be made of the pattern {text:?}: {error}; it takes the syntax of the crate regex-lite, which has \
                 no look-around and no backreferences"
            );
            Error::new(ErrorKind::Usage, text)
        };
        // By itself first: what closes a bracket too many must not close ours.
        Regex::new(text).map_err(refuse)?;
        let regex = Regex::new(&format!(r"\A(?:{text})\z")).map_err(refuse)?;
        Ok(Self::Pattern(Pattern { regex, internal_too }))
    }
}

impl Pattern {
    /// Those that fit as a whole.
    fn pick(&self, topics: &[Listed]) -> BTreeSet<Arc<str>> {
        let fits = |topic: &&Listed| (self.internal_too || !topic.is_internal) && self.regex.is_match(&topic.name);
        topics.iter().filter(fits).map(|topic| topic.name.clone()).collect()
    }
}

/// When all topics of the cluster are to be listed, to see which fit.
///
/// ```text
///   Due ──asked──► Asking ──answered: due again after a while, or not: after a pause──► Due
/// ```
#[derive(Debug)]
pub(crate) struct TopicSearch {
    state: State,
    pattern: Pattern,
    /// What fitted at the last answer, if there was one.
    picked: Option<BTreeSet<Arc<str>>>,
    every: Duration,
    failures: u32,
}

/// What fits the pattern.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Picked {
    pub(crate) topics: BTreeSet<Arc<str>>,
    /// Those that did not at the answer before.
    pub(crate) appeared: BTreeSet<Arc<str>>,
}

#[derive(Debug)]
enum State {
    Due(Time),
    Asking { again: bool },
}

impl TopicSearch {
    /// Due at once, and then again `every` so often.
    pub(crate) fn new(pattern: Pattern, every: Duration) -> Self {
        Self { state: State::Due(Time::ZERO), pattern, picked: None, every, failures: 0 }
    }

    /// Whether to ask now. Counts as asked.
    pub(crate) fn begin(&mut self, now: Time) -> bool {
        match self.state {
            State::Due(due) if due <= now => {
                self.state = State::Asking { again: false };
                true
            }
            State::Due(_) | State::Asking { .. } => false,
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        match self.state {
            State::Due(due) => Some(due),
            State::Asking { .. } => None,
        }
    }

    /// What is known has proved wrong: asks as soon as possible.
    pub(crate) fn hurry(&mut self, now: Time) {
        match &mut self.state {
            State::Due(due) => *due = now.min(*due),
            State::Asking { again } => *again = true,
        }
    }

    pub(crate) fn on_answer(&mut self, listed: &[Listed], now: Time) -> Picked {
        self.failures = 0;
        self.state = match self.state {
            State::Asking { again: true } => State::Due(now),
            State::Asking { again: false } | State::Due(_) => State::Due(now.saturating_add(self.every)),
        };
        let topics = self.pattern.pick(listed);
        let before = self.picked.replace(topics.clone());
        Picked { appeared: before.map_or(BTreeSet::new(), |before| &topics - &before), topics }
    }

    /// Nobody answered. `pause`: of the number of failures in a row.
    pub(crate) fn on_no_answer(&mut self, now: Time, pause: impl FnOnce(u32) -> Duration) {
        self.failures = self.failures.saturating_add(1);
        self.state = State::Due(now.saturating_add(pause(self.failures)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picked(pattern: &str, internal_too: bool) -> Vec<String> {
        let topics = [("orders", false), ("orders-eu", false), ("my-orders", false), ("__offsets", true)];
        let topics = topics.map(|(name, is_internal)| Listed { name: name.into(), is_internal });
        let Subscription::Pattern(pattern) = Subscription::to_pattern(pattern, internal_too).unwrap() else { panic!() };
        pattern.pick(&topics).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_pattern_fits_whole_names_and_spares_internal_topics() {
        assert_eq!(picked("orders", false), ["orders"]);
        assert_eq!(
            picked("orders|orders-eu", false),
            ["orders", "orders-eu"],
            "not the first of them that fits a part"
        );
        assert_eq!(picked("orders.*", false), ["orders", "orders-eu"]);
        assert_eq!(picked(".*", false), ["my-orders", "orders", "orders-eu"]);
        assert_eq!(picked(".*f.*", true), ["__offsets"]);
        assert_eq!(picked("nothing", false).len(), 0);
    }

    #[test]
    fn what_is_no_pattern_and_no_name_is_refused() {
        for pattern in ["(", "a)|(b", "(?=a)", r"(a)\1"] {
            let text = Subscription::to_pattern(pattern, false).unwrap_err().to_string();
            assert!(text.contains(&format!("{pattern:?}")), "{text}");
        }
        assert!(Subscription::to_topics(BTreeSet::new()).is_err());
        assert!(Subscription::to_topics(BTreeSet::from(["a/b".into()])).is_err());
    }

    #[test]
    fn topics_are_listed_now_and_then_after_a_failure_sooner_and_at_once_when_something_is_wrong() {
        let Subscription::Pattern(pattern) = Subscription::to_pattern("a", false).unwrap() else { panic!() };
        let second = Duration::from_secs(1);
        let mut search = TopicSearch::new(pattern, 300 * second);
        assert!(search.begin(Time::ZERO) && !search.begin(Time::ZERO) && search.next_deadline().is_none());
        search.on_no_answer(second, |failures| failures * second);
        assert_eq!(search.next_deadline(), Some(2 * second));
        assert!(search.begin(2 * second));
        let listed = |name: &str| Listed { name: name.into(), is_internal: false };
        let picked = search.on_answer(&[listed("a"), listed("b")], 3 * second);
        assert_eq!(
            picked,
            Picked { topics: ["a".into()].into(), appeared: [].into() },
            "those of the first are not new"
        );
        assert_eq!(search.next_deadline(), Some(303 * second));
        search.hurry(4 * second);
        assert!(search.begin(4 * second));
        search.hurry(4 * second);
        let appeared = |picked: Picked| picked.appeared.iter().map(ToString::to_string).collect::<String>();
        assert_eq!(appeared(search.on_answer(&[], 5 * second)), "");
        assert_eq!(search.next_deadline(), Some(5 * second), "what was asked before may not tell yet");
        assert_eq!(appeared(search.on_answer(&[listed("a"), listed("b")], 6 * second)), "a");
    }
}
