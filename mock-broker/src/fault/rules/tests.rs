//! Which rule fires on which request.

use bytes::Bytes;
use milena_protocol::api::Request;
use milena_protocol::frame::encode_request;
use milena_protocol::messages::metadata::MetadataRequest;
use milena_protocol::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use milena_protocol::primitives::Decoder;

use super::*;
use crate::core::Outcome;
use crate::fault::Match;
use crate::fault::subject::tests::cluster;

fn split<R: Request>(version: i16, request: &R) -> (RequestHeader, Bytes) {
    let frame = Bytes::from(encode_request(version, 7, "tester", request).unwrap().concat()).slice(4..);
    let mut input = Decoder::new(frame.clone());
    let header = RequestHeader::decode(&mut input).unwrap();
    (header, frame.slice(input.position()..))
}

fn produce(topic: &str, partition: i32) -> (RequestHeader, Bytes) {
    let partition_data = vec![PartitionProduceData { index: partition, records: None }];
    let topic_data = vec![TopicProduceData { name: topic.into(), partition_data, ..Default::default() }];
    split(9, &ProduceRequest { acks: -1, topic_data, transactional_id: Some("t".into()), ..Default::default() })
}

fn passes(plan: &Plan) -> bool {
    matches!(plan, Plan::Apply { hold: Duration::ZERO, instead: None, then: Then::Answer })
}

/// The numbers, from 1, of those of `count` requests on which the rule fires.
fn fired(rules: &mut Rules, request: &(RequestHeader, Bytes), broker: i32, count: u64) -> Vec<u64> {
    let request = Incoming { broker, header: &request.0, body: &request.1 };
    (1..=count).filter(|_| !passes(&rules.decide(Duration::ZERO, &request, &cluster()))).collect()
}

fn rules(matcher: Match) -> (Rules, u64) {
    let mut rules = Rules::new(1);
    let id = rules.add(Duration::ZERO, matcher.disconnect(), Location::caller());
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
        (on().transactional_id("t"), true),
        (on().transactional_id("u"), false),
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
    let mut add = |fault: Fault| rules.add(Duration::ZERO, fault, Location::caller());
    let first = add(Fault::on(ApiKey::PRODUCE).times(2).disconnect());
    let second = add(Fault::on(ApiKey::PRODUCE).nth(2).never_answer());
    let (header, body) = produce("orders", 0);
    let request = Incoming { broker: 1, header: &header, body: &body };
    assert!(matches!(rules.decide(Duration::ZERO, &request, &cluster()), Plan::Answer(Outcome::Close)));
    assert!(matches!(rules.decide(Duration::ZERO, &request, &cluster()), Plan::Answer(Outcome::Close)));
    assert!(passes(&rules.decide(Duration::ZERO, &request, &cluster())));
    assert!(matches!(rules.decide(Duration::ZERO, &request, &cluster()), Plan::Ignore));
    assert_eq!((rules.hits(first), rules.hits(second)), (2, 1));
}

#[test]
fn probability_comes_from_the_seed() {
    let row = |seed| {
        let mut rules = Rules::new(seed);
        let fault = Fault::on(ApiKey::PRODUCE).probability(0.5).disconnect();
        rules.add(Duration::ZERO, fault, Location::caller());
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

#[test]
fn a_rule_may_have_its_time() {
    let second = Duration::from_secs(1);
    let mut rules = Rules::new(1);
    let fault = Fault::on(ApiKey::PRODUCE).during(2 * second..4 * second).disconnect();
    let id = rules.add(10 * second, fault, Location::caller());
    let (header, body) = produce("orders", 0);
    let request = Incoming { broker: 1, header: &header, body: &body };
    let fired = (10..16).filter(|now| !passes(&rules.decide(*now * second, &request, &cluster())));
    assert_eq!(fired.collect::<Vec<_>>(), [12, 13]);
    assert_eq!(rules.hits(id), 2);
}

#[test]
fn rules_about_connections_and_requests_do_not_meet() {
    let mut rules = Rules::new(1);
    let of_connections =
        rules.add(Duration::ZERO, Fault::connections().broker(2).times(2).refuse(), Location::caller());
    let of_requests = rules.add(Duration::ZERO, Fault::any().disconnect(), Location::caller());
    assert!(!rules.refuse_connection(Duration::ZERO, 1));
    assert!(rules.refuse_connection(Duration::ZERO, 2) && rules.refuse_connection(Duration::ZERO, 2));
    assert!(!rules.refuse_connection(Duration::ZERO, 2));
    assert_eq!(fired(&mut rules, &produce("orders", 0), 2, 3), [1]);
    assert_eq!((rules.hits(of_connections), rules.hits(of_requests)), (2, 1));
    let rule = rules.remove(of_connections).unwrap().rule;
    assert!(rule.starts_with("connections, broker 2, 2 times: refuse (added at "), "{rule}");
}

#[test]
fn a_request_is_cut_before_its_body_has_come_unless_the_body_is_asked_about() {
    let (header, body) = produce("orders", 0);
    let request = Incoming { broker: 1, header: &header, body: &body };
    let cut = |matcher: Match| {
        let mut rules = Rules::new(1);
        rules.add(Duration::ZERO, matcher.cut_request_at(7), Location::caller());
        let early = rules.cut_request(Duration::ZERO, 1, &header);
        (early, passes(&rules.decide(Duration::ZERO, &request, &cluster())))
    };
    assert_eq!(cut(Fault::on(ApiKey::PRODUCE).client_id("tester")), (Some(7), true));
    assert_eq!(cut(Fault::on(ApiKey::PRODUCE).topic("orders")), (None, false));
    assert_eq!(cut(Fault::on(ApiKey::FETCH)), (None, true));
}
