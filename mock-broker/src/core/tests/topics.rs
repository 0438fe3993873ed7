//! Topics: created by request, by name in Metadata, deleted, described. Pure.

use std::collections::BTreeMap;

use milena_protocol::ErrorCode;
use milena_protocol::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreatableTopicResult, CreateTopicsRequest,
};
use milena_protocol::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use milena_protocol::messages::describe_cluster::DescribeClusterRequest;
use milena_protocol::messages::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use milena_protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic};

use super::rig::{NONE, Rig, settings};
use crate::core::Settings;

fn topic(name: &str, num_partitions: i32, replication_factor: i16) -> CreatableTopic {
    CreatableTopic { name: name.to_owned(), num_partitions, replication_factor, ..Default::default() }
}

fn create(rig: &mut Rig, topic: CreatableTopic) -> CreatableTopicResult {
    let response = rig.ask(2, 7, &CreateTopicsRequest { topics: vec![topic], ..Default::default() });
    response.topics[0].clone()
}

fn by_name(name: &str) -> MetadataRequest {
    let topic = MetadataRequestTopic { name: Some(name.to_owned()), ..Default::default() };
    MetadataRequest { topics: Some(vec![topic]), ..Default::default() }
}

#[test]
fn any_broker_creates_and_tells_the_configuration() {
    let mut rig = Rig::new();
    let config =
        |name: &str, value: &str| CreatableTopicConfig { name: name.to_owned(), value: Some(value.to_owned()) };
    let configs = vec![config("retention.ms", "1000")];
    let created = create(&mut rig, CreatableTopic { configs, ..topic("orders", -1, -1) });
    assert_eq!((created.error_code, created.num_partitions, created.replication_factor), (NONE, 2, 3));
    let configs = created.configs.unwrap();
    let source = |name: &str| configs.iter().find(|config| config.name == name).map(|config| config.config_source);
    assert_eq!((source("retention.ms"), source("cleanup.policy")), (Some(1), Some(5)));
    let response = rig.ask(3, 12, &by_name("orders"));
    assert_eq!(response.topics[0].topic_id, created.topic_id);
    assert_eq!(response.topics[0].partitions.len(), 2);
}

#[test]
fn wrong_topics_are_refused() {
    let mut rig = Rig::with_topic(&[]);
    let manual = |lists: &[&[i32]]| CreatableTopic {
        assignments: (0..)
            .zip(lists)
            .map(|(partition_index, broker_ids)| CreatableReplicaAssignment {
                partition_index,
                broker_ids: broker_ids.to_vec(),
            })
            .collect(),
        ..topic("manual", -1, -1)
    };
    let config = CreatableTopicConfig { name: "no.such".to_owned(), value: Some("1".to_owned()) };
    let cases = [
        (topic("bad name!", 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (topic("t", 1, 1), ErrorCode::TOPIC_ALREADY_EXISTS),
        (topic("a", 1, 4), ErrorCode::INVALID_REPLICATION_FACTOR),
        (topic("a", 1, 0), ErrorCode::INVALID_REPLICATION_FACTOR),
        (topic("a", 0, 1), ErrorCode::INVALID_PARTITIONS),
        (topic("a", i32::MAX, 1), ErrorCode::POLICY_VIOLATION),
        (CreatableTopic { configs: vec![config], ..topic("a", 1, 1) }, ErrorCode::INVALID_CONFIG),
        (manual(&[&[1, 9]]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (manual(&[&[1, 1]]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (manual(&[&[1], &[1, 2]]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (manual(&[&[]]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (CreatableTopic { num_partitions: 1, ..manual(&[&[1]]) }, ErrorCode::INVALID_REQUEST),
    ];
    for (topic, code) in cases {
        let refused = create(&mut rig, topic.clone());
        assert_eq!(refused.error_code, code, "{topic:?}");
        assert!(refused.error_message.is_some());
    }
    create(&mut rig, topic("a.b", 1, 1));
    assert_eq!(create(&mut rig, topic("a_b", 1, 1)).error_code, ErrorCode::INVALID_TOPIC_EXCEPTION);
    let twice = CreateTopicsRequest { topics: vec![topic("x", 1, 1), topic("x", 1, 1)], ..Default::default() };
    let response = rig.ask(1, 7, &twice);
    assert_eq!(response.topics.iter().map(|topic| topic.error_code).collect::<Vec<_>>(), [ErrorCode::INVALID_REQUEST]);
    assert_eq!(create(&mut rig, manual(&[&[3, 1], &[2, 3]])).error_code, NONE);
    assert_eq!((rig.core.leader("manual", 0), rig.core.leader("manual", 1)), (Some((3, 0)), Some((2, 0))));
}

#[test]
fn validating_creates_nothing() {
    let mut rig = Rig::new();
    let request = CreateTopicsRequest { topics: vec![topic("a", 4, 2)], validate_only: true, ..Default::default() };
    let response = rig.ask(1, 7, &request);
    assert_eq!((response.topics[0].error_code, response.topics[0].num_partitions), (NONE, 4));
    assert!(rig.core.topics().is_empty());
}

#[test]
fn leaders_and_replicas_are_spread() {
    let mut rig = Rig::new();
    rig.create("many", 9, &[]);
    let mut led: BTreeMap<i32, usize> = BTreeMap::new();
    for partition in 0..9 {
        *led.entry(rig.core.leader("many", partition).unwrap().0).or_default() += 1;
        let mut replicas = rig.core.replicas("many", partition).unwrap();
        replicas.sort_unstable();
        assert_eq!(replicas, [1, 2, 3]);
    }
    assert_eq!(led, BTreeMap::from([(1, 3), (2, 3), (3, 3)]));
}

#[test]
fn a_broker_that_is_down_gets_replicas_only_if_it_must() {
    let mut rig = Rig::new();
    rig.act(|core, now| core.crash(now, 2));
    create(&mut Rig::new(), topic("x", 1, 1));
    let request = CreateTopicsRequest { topics: vec![topic("two", 4, 2), topic("three", 4, 3)], ..Default::default() };
    rig.ask(1, 7, &request);
    for partition in 0..4 {
        assert!(!rig.core.replicas("two", partition).unwrap().contains(&2));
        assert_eq!(rig.core.replicas("three", partition).unwrap()[2], 2);
        assert!(!rig.core.isr("three", partition).unwrap().contains(&2));
    }
    rig.act(|core, now| core.restart(now, 2));
    assert!(rig.core.isr("three", 0).unwrap().contains(&2));
}

#[test]
fn metadata_creates_topics_and_shows_them_next_time() {
    let mut rig = Rig::new();
    assert_eq!(rig.ask(1, 12, &by_name("new")).topics[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let response = rig.ask(1, 12, &by_name("new"));
    assert_eq!((response.topics[0].error_code, response.topics[0].partitions.len()), (NONE, 2));
    assert_eq!(rig.ask(1, 12, &by_name("bad name!")).topics[0].error_code, ErrorCode::INVALID_TOPIC_EXCEPTION);
    let request = MetadataRequest { allow_auto_topic_creation: false, ..by_name("other") };
    rig.ask(1, 12, &request);
    assert_eq!(rig.ask(1, 12, &request).topics[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);

    let mut rig = Rig::with(Settings { auto_create_topics: false, ..settings() });
    rig.ask(1, 12, &by_name("new"));
    assert!(rig.core.topics().is_empty());
}

#[test]
fn metadata_of_all_none_and_by_id() {
    let mut rig = Rig::with_topic(&[]);
    rig.create("u", 1, &[]);
    let count = |rig: &mut Rig, version: i16, topics| {
        rig.ask(1, version, &MetadataRequest { topics, ..Default::default() }).topics.len()
    };
    assert_eq!(count(&mut rig, 0, Some(Vec::new())), 2);
    assert_eq!(count(&mut rig, 1, Some(Vec::new())), 0);
    assert_eq!(count(&mut rig, 12, None), 2);
    let topic_id = rig.core.controller.topic("u").unwrap().id;
    let wanted = MetadataRequestTopic { topic_id, name: None };
    let request = MetadataRequest { topics: Some(vec![wanted]), ..Default::default() };
    assert_eq!(rig.ask(1, 12, &request).topics[0].name.as_deref(), Some("u"));
    rig.act(|core, now| core.recreate_topic(now, "u")).unwrap();
    assert_eq!(rig.ask(1, 12, &request).topics[0].error_code, ErrorCode::UNKNOWN_TOPIC_ID);
    let brokers = rig.ask(1, 12, &request).brokers;
    assert_eq!(brokers.iter().map(|broker| broker.port).collect::<Vec<_>>(), [9092, 9093, 9094]);
    assert_eq!(brokers[0].rack.as_deref(), Some("r1"));
}

#[test]
fn topics_are_deleted_by_name_and_by_id() {
    let mut rig = Rig::with_topic(&[]);
    rig.create("u", 1, &[]);
    let names = vec!["t".to_owned(), "x".to_owned()];
    let response = rig.ask(1, 5, &DeleteTopicsRequest { topic_names: names, ..Default::default() });
    let codes: Vec<ErrorCode> = response.responses.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [NONE, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION]);
    let topic_id = rig.core.controller.topic("u").unwrap().id;
    let request = DeleteTopicsRequest { topics: vec![DeleteTopicState { name: None, topic_id }], ..Default::default() };
    assert_eq!(rig.ask(1, 6, &request).responses[0].name.as_deref(), Some("u"));
    assert_eq!(rig.ask(1, 6, &request).responses[0].error_code, ErrorCode::UNKNOWN_TOPIC_ID);
    assert!(rig.core.topics().is_empty());
    assert!(rig.core.brokers.values().all(|broker| broker.replicas.is_empty()));
}

#[test]
fn configurations_are_described() {
    let mut rig = Rig::with(Settings { min_insync_replicas: 2, ..settings() });
    rig.create("t", 1, &[("retention.ms", "1000")]);
    let resource = |resource_type, name: &str| DescribeConfigsResource {
        resource_type,
        resource_name: name.to_owned(),
        configuration_keys: None,
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource(2, "t"), resource(2, "x"), resource(4, "1"), resource(4, "9"), resource(8, "")],
        include_synonyms: true,
        ..Default::default()
    };
    let results = rig.ask(1, 4, &request).results;
    let codes: Vec<ErrorCode> = results.iter().map(|result| result.error_code).collect();
    let (unknown, invalid) = (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ErrorCode::INVALID_REQUEST);
    assert_eq!(codes, [NONE, unknown, NONE, invalid, invalid]);
    let config = |name: &str| results[0].configs.iter().find(|config| config.name == name).unwrap();
    assert_eq!((config("retention.ms").value.as_deref(), config("retention.ms").config_source), (Some("1000"), 1));
    assert_eq!(config("retention.ms").synonyms.len(), 1);
    let min_insync = config("min.insync.replicas");
    assert_eq!((min_insync.value.as_deref(), min_insync.config_source), (Some("2"), 3));
    let sources: Vec<i8> = min_insync.synonyms.iter().map(|synonym| synonym.source).collect();
    assert_eq!(sources, [3, 4, 5]);

    let mut some = resource(2, "t");
    some.configuration_keys = Some(vec!["cleanup.policy".to_owned()]);
    let results = rig.ask(1, 4, &DescribeConfigsRequest { resources: vec![some], ..Default::default() }).results;
    assert_eq!(results[0].configs.len(), 1);
}

#[test]
fn the_cluster_is_described() {
    let mut rig = Rig::new();
    rig.act(|core, now| core.crash(now, 1));
    let response = rig.ask(2, 2, &DescribeClusterRequest { include_fenced_brokers: true, ..Default::default() });
    assert_eq!((response.cluster_id.as_str(), response.controller_id), ("a-cluster", 2));
    let fenced: Vec<(i32, bool)> = response.brokers.iter().map(|broker| (broker.broker_id, broker.is_fenced)).collect();
    assert_eq!(fenced, [(1, true), (2, false), (3, false)]);
    let response = rig.ask(2, 0, &DescribeClusterRequest::default());
    assert_eq!(response.brokers.len(), 2);
    let response = rig.ask(2, 1, &DescribeClusterRequest { endpoint_type: 2, ..Default::default() });
    assert_eq!(response.error_code, ErrorCode::MISMATCHED_ENDPOINT_TYPE);
}
