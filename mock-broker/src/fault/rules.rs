//! Which rule decides about a request, and what became of the rules. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::Location;
use std::time::Duration;

use bytes::Bytes;
use milena_protocol::frame::RequestHeader;
use milena_protocol::{ApiKey, ErrorCode};

use super::targets::{self, Targets};
use crate::core::{Core, Outcome};
use crate::fault::error_answer;
use crate::random::Random;

/// Each rule draws from a random stream of its own; those below belong to other parts of the cluster.
const FIRST_STREAM: u64 = 1000;

/// What must hold for a request, and how often the rule fires.
#[derive(Debug, Clone, Default)]
pub(crate) struct Matcher {
    pub(super) api: Option<ApiKey>,
    pub(super) topic: Option<String>,
    pub(super) partition: Option<i32>,
    pub(super) group: Option<String>,
    pub(super) broker: Option<i32>,
    pub(super) client_id: Option<String>,
    /// The first match that may fire, counted from 1.
    pub(super) nth: Option<u64>,
    pub(super) limit: Option<Limit>,
    pub(super) probability: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Limit {
    Times(u64),
    Always,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Action {
    Error(ErrorCode),
    Delay(Duration),
    ApplyThenDelay(Duration),
    ApplyThenDisconnect,
    Disconnect,
    NeverAnswer,
    CutResponseAt(usize),
}

/// What is done with a request.
#[derive(Debug)]
pub(crate) enum Plan {
    /// Wait, apply it, then go on.
    Apply { hold: Duration, then: Then },
    /// Do not apply it; this is its outcome.
    Answer(Outcome),
    /// Neither apply it nor answer it, nor anything after it.
    Ignore,
}

/// What is done once a request has been applied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Then {
    Answer,
    /// Wait, then answer it.
    HoldFor(Duration),
    /// Close the connection.
    Close,
    /// Answer with so many bytes, then close the connection.
    Cut(usize),
}

impl Plan {
    /// No rule fired.
    pub(crate) const PASS: Self = Self::apply(Then::Answer);

    const fn apply(then: Then) -> Self {
        Self::Apply { hold: Duration::ZERO, then }
    }
}

/// A request that rules are asked about.
pub(crate) struct Incoming<'a> {
    pub(crate) broker: i32,
    pub(crate) header: &'a RequestHeader,
    pub(crate) body: &'a Bytes,
}

#[derive(Debug)]
pub(crate) struct Rules {
    seed: u64,
    next_id: u64,
    /// In the order in which they were added.
    rules: BTreeMap<u64, Rule>,
}

#[derive(Debug)]
struct Rule {
    matcher: Matcher,
    action: Action,
    added_at: &'static Location<'static>,
    random: Random,
    matches: u64,
    hits: u64,
}

/// What became of a rule that is removed.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) rule: String,
    pub(crate) hits: u64,
    pub(crate) expected: u64,
}

impl Rules {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, next_id: 0, rules: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, matcher: Matcher, action: Action, added_at: &'static Location<'static>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let random = Random::new(self.seed, FIRST_STREAM + id);
        self.rules.insert(id, Rule { matcher, action, added_at, random, matches: 0, hits: 0 });
        id
    }

    pub(crate) fn hits(&self, id: u64) -> u64 {
        self.rules.get(&id).map_or(0, |rule| rule.hits)
    }

    pub(crate) fn describe(&self, id: u64) -> String {
        self.rules.get(&id).map(ToString::to_string).unwrap_or_default()
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<Verdict> {
        let rule = self.rules.remove(&id)?;
        let expected = match rule.matcher.limit {
            Some(Limit::Times(times)) => times,
            Some(Limit::Always) | None => 1,
        };
        Some(Verdict { rule: rule.to_string(), hits: rule.hits, expected })
    }

    /// Asks the rules in the order in which they were added. The first that fires decides; those behind it do not see the
    /// request.
    pub(crate) fn decide(&mut self, request: &Incoming<'_>, core: &Core) -> Plan {
        let mut targets = None;
        for rule in self.rules.values_mut() {
            if !rule.matcher.matches(request, &mut targets, core) {
                continue;
            }
            let plan = match rule.action {
                // What cannot be answered with an error goes on to the core, which closes the connection if it must.
                Action::Error(code) => match error_answer::answer(request, code, core) {
                    Some(outcome) => Plan::Answer(outcome),
                    None => continue,
                },
                Action::Delay(hold) => Plan::Apply { hold, then: Then::Answer },
                Action::ApplyThenDelay(time) => Plan::apply(Then::HoldFor(time)),
                Action::ApplyThenDisconnect => Plan::apply(Then::Close),
                Action::Disconnect => Plan::Answer(Outcome::Close),
                Action::NeverAnswer => Plan::Ignore,
                Action::CutResponseAt(length) => Plan::apply(Then::Cut(length)),
            };
            if rule.fires() {
                return plan;
            }
        }
        Plan::PASS
    }
}

impl Matcher {
    fn matches(&self, request: &Incoming<'_>, targets: &mut Option<Targets>, core: &Core) -> bool {
        let header = request.header;
        let plain = self.api.is_none_or(|api| api == header.api_key)
            && self.broker.is_none_or(|broker| broker == request.broker)
            && self.client_id.as_ref().is_none_or(|client_id| header.client_id.as_ref() == Some(client_id));
        if !plain || self.group.as_ref().is_some_and(|group| !targets::groups(request).contains(group)) {
            return false;
        }
        if self.topic.is_none() && self.partition.is_none() {
            return true;
        }
        targets.get_or_insert_with(|| targets::of(request, core)).have(self.topic.as_deref(), self.partition)
    }
}

impl Rule {
    /// Counts a match.
    fn fires(&mut self) -> bool {
        self.matches += 1;
        let most = match (self.matcher.limit, self.matcher.probability) {
            (Some(Limit::Times(times)), _) => times,
            (Some(Limit::Always), _) | (None, Some(_)) => u64::MAX,
            (None, None) => 1,
        };
        let fires = self.hits < most
            && self.matches >= self.matcher.nth.unwrap_or(1)
            && self.matcher.probability.is_none_or(|probability| self.random.chance(probability));
        self.hits += u64::from(fires);
        fires
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (added at {})", self.matcher, self.action, self.added_at)
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.api {
            Some(api) => write!(f, "{api}")?,
            None => f.write_str("any request")?,
        }
        if let Some(topic) = &self.topic {
            write!(f, ", topic {topic}")?;
        }
        if let Some(partition) = self.partition {
            write!(f, ", partition {partition}")?;
        }
        if let Some(group) = &self.group {
            write!(f, ", group {group}")?;
        }
        if let Some(broker) = self.broker {
            write!(f, ", broker {broker}")?;
        }
        if let Some(client_id) = &self.client_id {
            write!(f, ", client {client_id}")?;
        }
        if let Some(nth) = self.nth {
            write!(f, ", from match {nth}")?;
        }
        match self.limit {
            Some(Limit::Times(times)) => write!(f, ", {times} times")?,
            Some(Limit::Always) => f.write_str(", always")?,
            None => {}
        }
        match self.probability {
            Some(probability) => write!(f, ", with probability {probability}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(code) => write!(f, "error {code}"),
            Self::Delay(time) => write!(f, "delay by {time:?}"),
            Self::ApplyThenDelay(time) => write!(f, "apply, then delay by {time:?}"),
            Self::ApplyThenDisconnect => f.write_str("apply, then disconnect"),
            Self::Disconnect => f.write_str("disconnect"),
            Self::NeverAnswer => f.write_str("never answer"),
            Self::CutResponseAt(length) => write!(f, "cut the response at {length} bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use milena_protocol::api::Request;
    use milena_protocol::frame::encode_request;
    use milena_protocol::messages::metadata::MetadataRequest;
    use milena_protocol::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
    use milena_protocol::primitives::Decoder;

    use super::*;
    use crate::fault::error_answer::tests::cluster;
    use crate::fault::{Fault, Match};

    fn split<R: Request>(version: i16, request: &R) -> (RequestHeader, Bytes) {
        let frame = Bytes::from(encode_request(version, 7, "tester", request).unwrap().concat()).slice(4..);
        let mut input = Decoder::new(frame.clone());
        let header = RequestHeader::decode(&mut input).unwrap();
        (header, frame.slice(input.position()..))
    }

    fn produce(topic: &str, partition: i32) -> (RequestHeader, Bytes) {
        let partition_data = vec![PartitionProduceData { index: partition, records: None }];
        let topic_data = vec![TopicProduceData { name: topic.into(), partition_data, ..Default::default() }];
        split(9, &ProduceRequest { acks: -1, topic_data, ..Default::default() })
    }

    fn passes(plan: &Plan) -> bool {
        matches!(plan, Plan::Apply { hold: Duration::ZERO, then: Then::Answer })
    }

    /// The numbers, from 1, of those of `count` requests on which the rule fires.
    fn fired(rules: &mut Rules, request: &(RequestHeader, Bytes), broker: i32, count: u64) -> Vec<u64> {
        let request = Incoming { broker, header: &request.0, body: &request.1 };
        (1..=count).filter(|_| !passes(&rules.decide(&request, &cluster()))).collect()
    }

    fn rules(matcher: Match) -> (Rules, u64) {
        let mut rules = Rules::new(1);
        let Fault { matcher, action } = matcher.disconnect();
        let id = rules.add(matcher, action, Location::caller());
        (rules, id)
    }

    #[test]
    fn a_rule_fires_once_unless_told_otherwise() {
        let on = || Fault::on(ApiKey::PRODUCE);
        for (matcher, expected) in [
            (on(), vec![1]),
            (on().nth(3), vec![3]),
            (on().times(2), vec![1, 2]),
            (on().nth(2).times(2), vec![2, 3]),
            (on().always(), vec![1, 2, 3, 4, 5]),
            (on().nth(4).always(), vec![4, 5]),
            (on().probability(1.0), vec![1, 2, 3, 4, 5]),
            (on().probability(1.0).times(1), vec![1]),
            (on().probability(0.0), vec![]),
            (Fault::any(), vec![1]),
        ] {
            let (mut rules, id) = rules(matcher.clone());
            assert_eq!(fired(&mut rules, &produce("orders", 0), 1, 5), expected, "{matcher:?}");
            assert_eq!(rules.hits(id), expected.len() as u64);
        }
    }

    #[test]
    fn a_rule_fires_on_what_it_names_only() {
        let on = || Fault::on(ApiKey::PRODUCE);
        let request = produce("orders", 2);
        for (matcher, matches) in [
            (on().topic("orders"), true),
            (on().topic("payments"), false),
            (on().partition(2), true),
            (on().partition(1), false),
            (on().topic("orders").partition(2), true),
            (on().topic("payments").partition(2), false),
            (on().group("billing"), false),
            (on().broker(1), true),
            (on().broker(2), false),
            (on().client_id("tester"), true),
            (on().client_id("other"), false),
            (Fault::on(ApiKey::FETCH), false),
            (Fault::any().topic("orders"), true),
        ] {
            let (mut rules, _) = rules(matcher.clone());
            assert_eq!(!fired(&mut rules, &request, 1, 1).is_empty(), matches, "{matcher:?}");
        }
    }

    #[test]
    fn metadata_about_all_topics_is_about_each() {
        let all = split(12, &MetadataRequest { topics: None, ..Default::default() });
        let none = split(12, &MetadataRequest::default());
        let matcher = Fault::on(ApiKey::METADATA).topic("orders");
        assert_eq!(fired(&mut rules(matcher.clone()).0, &all, 1, 1), [1]);
        assert_eq!(fired(&mut rules(matcher).0, &none, 1, 1), []);
    }

    #[test]
    fn the_first_rule_that_fires_decides_and_hides_the_request_from_the_others() {
        let mut rules = Rules::new(1);
        let mut add = |fault: Fault| rules.add(fault.matcher, fault.action, Location::caller());
        let first = add(Fault::on(ApiKey::PRODUCE).times(2).disconnect());
        let second = add(Fault::on(ApiKey::PRODUCE).nth(2).never_answer());
        let (header, body) = produce("orders", 0);
        let request = Incoming { broker: 1, header: &header, body: &body };
        assert!(matches!(rules.decide(&request, &cluster()), Plan::Answer(Outcome::Close)));
        assert!(matches!(rules.decide(&request, &cluster()), Plan::Answer(Outcome::Close)));
        assert!(passes(&rules.decide(&request, &cluster())));
        assert!(matches!(rules.decide(&request, &cluster()), Plan::Ignore));
        assert_eq!((rules.hits(first), rules.hits(second)), (2, 1));
    }

    #[test]
    fn probability_comes_from_the_seed() {
        let row = |seed| {
            let mut rules = Rules::new(seed);
            let fault = Fault::on(ApiKey::PRODUCE).probability(0.5).disconnect();
            rules.add(fault.matcher, fault.action, Location::caller());
            fired(&mut rules, &produce("orders", 0), 1, 64)
        };
        assert_eq!(row(3), row(3));
        assert_ne!(row(3), row(4));
        assert!((16..48).contains(&row(3).len()));
    }

    #[test]
    fn a_verdict_names_the_rule_and_what_was_expected() {
        let (mut rules, id) = rules(Fault::on(ApiKey::PRODUCE).topic("orders").partition(1).times(2));
        let verdict = rules.remove(id).unwrap();
        assert_eq!((verdict.hits, verdict.expected), (0, 2));
        let start = "PRODUCE, topic orders, partition 1, 2 times: disconnect (added at ";
        assert!(verdict.rule.starts_with(start), "{}", verdict.rule);
    }
}
