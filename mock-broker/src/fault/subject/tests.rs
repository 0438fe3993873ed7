//! What each API's requests are about, and how they are refused as a whole and in part.

use std::collections::BTreeMap;

use bytes::Bytes;
use milena_protocol::ApiKey;
use milena_protocol::messages::add_offsets_to_txn::AddOffsetsToTxnRequest;
use milena_protocol::messages::add_partitions_to_txn::{AddPartitionsToTxnRequest, AddPartitionsToTxnTopic};
use milena_protocol::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use milena_protocol::messages::describe_groups::DescribeGroupsRequest;
use milena_protocol::messages::elect_leaders::{ElectLeadersRequest, TopicPartitions};
use milena_protocol::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchableTopicResponse, ForgottenTopic, PartitionData,
};
use milena_protocol::messages::find_coordinator::FindCoordinatorRequest;
use milena_protocol::messages::heartbeat::HeartbeatRequest;
use milena_protocol::messages::init_producer_id::InitProducerIdRequest;
use milena_protocol::messages::join_group::JoinGroupRequest;
use milena_protocol::messages::leave_group::LeaveGroupRequest;
use milena_protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseTopic,
};
use milena_protocol::messages::offset_commit::OffsetCommitRequest;
use milena_protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use milena_protocol::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use milena_protocol::messages::sync_group::SyncGroupRequest;

use super::*;
use crate::core::fetch_sessions::{Context, FetchKey, TopicRef};
use crate::core::{BrokerAddress, GroupSettings, LogSettings, NewTopic, Settings, TransactionSettings};

/// One broker, and the topic `orders` with 8 partitions.
pub(in crate::fault) fn cluster() -> Core {
    let mut core = Core::new(Settings {
        brokers: vec![BrokerAddress { id: 1, host: "b1".into(), port: 9092, rack: None }],
        cluster_id: "cluster".into(),
        seed: 1,
        auto_create_topics: false,
        default_partitions: 1,
        default_replication_factor: 1,
        min_insync_replicas: 1,
        wall_start_ms: 0,
        offsets_partitions: 1,
        transactions: TransactionSettings::default(),
        replication: Default::default(),
        logs: LogSettings::default(),
        groups: GroupSettings {
            min_session_timeout: Duration::ZERO,
            max_session_timeout: Duration::MAX,
            ..GroupSettings::default()
        },
    });
    let orders = NewTopic { name: "orders".into(), partitions: 8, replication_factor: None, configs: BTreeMap::new() };
    core.create_topic(Duration::ZERO, orders).unwrap();
    core
}

const CODE: ErrorCode = ErrorCode::NOT_COORDINATOR;

fn with<R: Request, T>(version: i16, request: &R, look: impl FnOnce(&Incoming<'_>) -> T) -> T {
    let frame = Bytes::from(encode_request(version, 7, "tester", request).unwrap().concat()).slice(4..);
    let mut input = Decoder::new(frame.clone());
    let header = RequestHeader::decode(&mut input).unwrap();
    look(&Incoming { broker: 1, header: &header, body: &frame.slice(input.position()..) })
}

fn refuse_part<R: Request>(version: i16, request: &R, scope: &Scope, is_applied: bool) -> Option<Plan> {
    let refusal = Refusal { code: CODE, records: &[], is_applied };
    with(version, request, |incoming| incoming.refuse(scope, &refusal, &cluster()))
}

fn answered_with<R: Request>(code: ErrorCode, version: i16, request: &R) -> R::Response {
    let refusal = Refusal { code, records: &[], is_applied: false };
    match with(version, request, |incoming| incoming.refuse(&Scope::default(), &refusal, &cluster())) {
        Some(Plan::Answer(Outcome::Reply { frame, .. })) => {
            decode_response::<R>(version, Bytes::from(frame.concat()).slice(4..)).unwrap()
        }
        plan => panic!("{plan:?}"),
    }
}

fn outcome<R: Request>(version: i16, request: &R) -> Option<Outcome> {
    match refuse_part(version, request, &Scope::default(), false)? {
        Plan::Answer(outcome) => Some(outcome),
        plan => panic!("{plan:?}"),
    }
}

fn answered<R: Request>(version: i16, request: &R) -> R::Response {
    let Some(Outcome::Reply { frame, .. }) = outcome(version, request) else { panic!("no answer") };
    decode_response::<R>(version, Bytes::from(frame.concat()).slice(4..)).unwrap()
}

/// Every version of every API has a readable answer, except where an empty request has no place for an error; and its normal
/// answer can be throttled and overlaid.
#[test]
fn every_version_of_every_api_is_answered() {
    fn check<R: Request + Default>()
    where
        R::Response: Default,
    {
        for version in R::VERSIONS.min..=R::VERSIONS.max {
            let first_with_place = [(ApiKey::METADATA, 13), (ApiKey::FETCH, 7), (ApiKey::ELECT_LEADERS, 1)];
            let no_place = first_with_place.iter().any(|(key, first)| R::KEY == *key && version < *first);
            match outcome(version, &R::default()) {
                Some(Outcome::Reply { frame, .. }) => {
                    let frame = Bytes::from(frame.concat()).slice(4..);
                    decode_response::<R>(version, frame).unwrap_or_else(|error| panic!("{}: {error}", R::KEY));
                }
                Some(Outcome::Close) => assert_eq!(R::KEY, ApiKey::PRODUCE, "acks=0 by default"),
                Some(Outcome::Silent) | None => assert!(no_place, "{} version {version}", R::KEY),
            }
            let frame = encode_response::<R>(version, 7, &R::Response::default()).unwrap();
            let header = with(version, &R::default(), |incoming| incoming.header.clone());
            let throttled = throttled(&header, &frame, Duration::from_millis(0x0102_0304)).unwrap().concat();
            let says_it = throttled.windows(4).any(|bytes| bytes == [1, 2, 3, 4]);
            assert!(says_it || version < 4, "{} version {version} has no place for a throttle time", R::KEY);
        }
    }
    macro_rules! each {
        ($($module:ident::$request:ident)*) => { $(check::<messages::$module::$request>();)* };
    }
    each_api!(each);
}

#[test]
fn the_code_is_on_each_partition_that_the_request_names() {
    let topic = TopicProduceData {
        name: "orders".into(),
        partition_data: vec![PartitionProduceData { index: 4, records: None }],
        ..Default::default()
    };
    let request = ProduceRequest { acks: -1, topic_data: vec![topic], ..Default::default() };
    let response = answered(9, &request);
    let partition = &response.responses[0].partition_responses[0];
    assert_eq!(response.responses[0].name, "orders");
    assert_eq!((partition.index, partition.error_code, partition.base_offset), (4, CODE, -1));

    let topic = FetchTopic {
        topic_id: Uuid([3; 16]),
        partitions: vec![FetchPartition { partition: 5, ..Default::default() }],
        ..Default::default()
    };
    let response = answered(13, &FetchRequest { topics: vec![topic], ..Default::default() });
    let partition = &response.responses[0].partitions[0];
    assert_eq!(response.error_code, ErrorCode::NONE);
    assert_eq!(response.responses[0].topic_id, Uuid([3; 16]));
    assert_eq!((partition.partition_index, partition.error_code), (5, CODE));
}

#[test]
fn a_fetch_that_names_nothing_fails_as_a_whole() {
    assert_eq!(answered(12, &FetchRequest::default()).error_code, CODE);
}

#[test]
fn a_code_about_a_session_is_the_whole_fetchs_since_there_are_sessions() {
    let partitions = vec![FetchPartition { partition: 5, ..Default::default() }];
    let topics = vec![FetchTopic { topic: "orders".into(), partitions, ..Default::default() }];
    let request = FetchRequest { topics, ..Default::default() };
    let lost = ErrorCode::FETCH_SESSION_ID_NOT_FOUND;
    let response = answered_with(lost, 7, &request);
    assert_eq!((response.error_code, response.responses.len()), (lost, 0));
    let response = answered_with(lost, 6, &request);
    assert_eq!((response.error_code, response.responses[0].partitions[0].error_code), (ErrorCode::NONE, lost));
}

#[test]
fn metadata_keeps_its_brokers_and_marks_topics() {
    let topics = vec![MetadataRequestTopic { name: Some("orders".into()), ..Default::default() }];
    let response = answered(9, &MetadataRequest { topics: Some(topics), ..Default::default() });
    assert_eq!(response.brokers.len(), 1);
    assert_eq!(response.topics[0].name.as_deref(), Some("orders"));
    assert_eq!(response.topics[0].error_code, CODE);
    assert_eq!(answered(9, &MetadataRequest { topics: None, ..Default::default() }).topics.len(), 1);
}

#[test]
fn coordinators_fail_by_key_or_as_a_whole() {
    let request = FindCoordinatorRequest { key: "billing".into(), ..Default::default() };
    assert_eq!(answered(3, &request).error_code, CODE);
    let request = FindCoordinatorRequest { coordinator_keys: vec!["billing".into()], ..Default::default() };
    let coordinator = &answered(4, &request).coordinators[0];
    assert_eq!((coordinator.key.as_str(), coordinator.error_code, coordinator.node_id), ("billing", CODE, -1));
}

#[test]
fn offset_fetch_of_the_oldest_version_fails_by_partition() {
    let topics = vec![OffsetFetchRequestTopic { name: "orders".into(), partition_indexes: vec![2] }];
    let request = OffsetFetchRequest { group_id: "g".into(), topics: Some(topics), ..Default::default() };
    let response = answered(1, &request);
    assert_eq!(response.topics[0].partitions[0].error_code, CODE);
    assert_eq!(answered(5, &request).error_code, CODE);
}

#[test]
fn a_request_without_an_answer_gets_its_connection_closed() {
    assert!(matches!(outcome(9, &ProduceRequest::default()), Some(Outcome::Close)));
}

/// What a request is about, in words.
fn about<R: Request>(core: &Core, version: i16, request: &R) -> Vec<String> {
    let mut found = Vec::new();
    let mut tell = |about: About<'_>| {
        found.push(match about {
            About::EveryTopic => "every topic".to_owned(),
            About::Topic(topic, Some(partition)) => format!("{topic} {partition}"),
            About::Topic(topic, None) => topic.to_owned(),
            About::Group(group) => format!("group {group}"),
            About::TransactionalId(id) => format!("transaction {id}"),
        });
    };
    with(version, request, |incoming| incoming.tell(core, &mut tell));
    found
}

#[test]
fn topics_are_found_by_name_and_by_id() {
    let core = cluster();
    let topic_id = core.controller.topic("orders").unwrap().id;
    let partitions = vec![FetchPartition { partition: 3, ..Default::default() }];
    let by_name = FetchTopic { topic: "orders".into(), partitions: partitions.clone(), ..Default::default() };
    let by_id = FetchTopic { topic_id, partitions: partitions.clone(), ..Default::default() };
    let unknown = FetchTopic { topic_id: Uuid([8; 16]), partitions, ..Default::default() };
    let fetch = |topic| FetchRequest { topics: vec![topic], session_epoch: -1, ..Default::default() };
    assert_eq!(about(&core, 12, &fetch(by_name)), ["orders 3"]);
    assert_eq!(about(&core, 13, &fetch(by_id)), ["orders 3"]);
    assert_eq!(about(&core, 13, &fetch(unknown)), [""; 0]);
}

#[test]
fn a_fetch_is_about_the_partitions_of_its_session() {
    let mut core = cluster();
    let key = |partition| FetchKey { topic: TopicRef::Name("orders".into()), partition };
    let wanted: Vec<_> = (0..3).map(|partition| (key(partition), FetchPartition::default())).collect();
    let Core { brokers, random, .. } = &mut core;
    let sessions = &mut brokers.get_mut(&1).unwrap().fetch_sessions;
    let Context::Full(session_id) = sessions.begin(Default::default(), (0, 0), false, &wanted, random) else {
        panic!("no session")
    };
    let named = FetchTopic {
        topic: "orders".into(),
        partitions: vec![FetchPartition { partition: 5, ..Default::default() }],
        ..Default::default()
    };
    let forgotten = ForgottenTopic { topic: "orders".into(), partitions: vec![1], ..Default::default() };
    let request = FetchRequest {
        session_id,
        session_epoch: 1,
        topics: vec![named],
        forgotten_topics_data: vec![forgotten],
        ..Default::default()
    };
    assert_eq!(about(&core, 12, &request), ["orders 0", "orders 2", "orders 5"]);
    let go_on = FetchRequest { session_id, session_epoch: 1, ..Default::default() };
    assert_eq!(about(&core, 12, &go_on), ["orders 0", "orders 1", "orders 2"]);
    let another = FetchRequest { session_id: session_id ^ 1, session_epoch: 1, ..Default::default() };
    assert_eq!(about(&core, 12, &another), [""; 0]);
    let new = FetchRequest { session_id, session_epoch: 0, ..Default::default() };
    assert_eq!(about(&core, 12, &new), [""; 0]);
}

#[test]
fn null_means_all() {
    let core = cluster();
    let request = OffsetFetchRequest { topics: None, ..Default::default() };
    assert_eq!(about(&core, 7, &request), ["group ", "every topic"]);
    let group = OffsetFetchRequestGroup { topics: None, ..Default::default() };
    assert_eq!(
        about(&core, 9, &OffsetFetchRequest { groups: vec![group], ..Default::default() }),
        ["group ", "every topic"]
    );
    let topics =
        vec![OffsetFetchRequestTopics { name: "orders".into(), partition_indexes: vec![1], ..Default::default() }];
    let group = OffsetFetchRequestGroup { topics: Some(topics), ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    assert_eq!(about(&core, 9, &request), ["group ", "orders 1"]);
}

#[test]
fn groups_are_found_in_every_request_that_names_some() {
    let (core, id) = (cluster(), || "g".to_owned());
    assert_eq!(about(&core, 9, &JoinGroupRequest { group_id: id(), ..Default::default() }), ["group g"]);
    assert_eq!(about(&core, 5, &SyncGroupRequest { group_id: id(), ..Default::default() }), ["group g"]);
    assert_eq!(about(&core, 4, &HeartbeatRequest { group_id: id(), ..Default::default() }), ["group g"]);
    assert_eq!(about(&core, 2, &LeaveGroupRequest { group_id: id(), ..Default::default() }), ["group g"]);
    assert_eq!(about(&core, 9, &OffsetCommitRequest { group_id: id(), ..Default::default() }), ["group g"]);
    assert_eq!(about(&core, 7, &OffsetFetchRequest { group_id: id(), ..Default::default() }), ["group g"]);
    let group = OffsetFetchRequestGroup { group_id: id(), ..Default::default() };
    assert_eq!(about(&core, 8, &OffsetFetchRequest { groups: vec![group], ..Default::default() }), ["group g"]);
    let described = DescribeGroupsRequest { groups: vec!["f".to_owned(), id()], ..Default::default() };
    assert_eq!(about(&core, 5, &described), ["group f", "group g"]);
    let find = FindCoordinatorRequest { key: id(), coordinator_keys: vec![id()], ..Default::default() };
    assert_eq!(about(&core, 3, &find), ["group g"]);
    assert_eq!(about(&core, 4, &find), ["group g"]);
    let transaction = FindCoordinatorRequest { key_type: 1, ..find };
    assert_eq!(about(&core, 4, &transaction), ["transaction g"]);
    let init = InitProducerIdRequest { transactional_id: Some(id()), ..Default::default() };
    assert_eq!(about(&core, 5, &init), ["transaction g"]);
    let init = InitProducerIdRequest { transactional_id: None, ..init };
    assert_eq!(about(&core, 5, &init), [""; 0]);
    assert_eq!(about(&core, 12, &MetadataRequest::default()), [""; 0]);
}

#[test]
fn what_cannot_be_read_names_nothing() {
    let header = RequestHeader { api_key: ApiKey::PRODUCE, api_version: 9, correlation_id: 1, client_id: None };
    let incoming = Incoming { broker: 1, header: &header, body: &Bytes::from_static(b"garbage") };
    incoming.tell(&cluster(), &mut |about| panic!("{about:?}"));
}

fn scope(topic: Option<&str>, partition: Option<i32>) -> Scope {
    Scope { topic: topic.map(ToOwned::to_owned), partition }
}

#[test]
fn transactions_are_about_partitions_groups_and_themselves() {
    let core = cluster();
    let view = View { version: 3, broker: 1, core: &core };
    let topic = AddPartitionsToTxnTopic { name: "orders".into(), partitions: vec![3, 4] };
    let mut request = AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: "t".into(),
        v3_and_below_topics: vec![topic],
        ..Default::default()
    };
    let mut told = 0;
    request.tell(&view, &mut |about| {
        let expected = [About::TransactionalId("t"), About::Topic("orders", Some(3)), About::Topic("orders", Some(4))];
        assert_eq!(about, expected[told]);
        told += 1;
    });
    let (hit, is_rest) = request.split(&view, &scope(None, Some(3)));
    assert!(is_rest && request.v3_and_below_topics[0].partitions == [4]);
    let refusal = Refusal { code: CODE, records: &[], is_applied: false };
    let row = &hit.refuse(&view, &refusal).unwrap().results_by_topic_v3_and_below[0].results_by_partition[0];
    assert_eq!((row.partition_index, row.partition_error_code), (3, CODE));

    let request = AddOffsetsToTxnRequest { transactional_id: "t".into(), group_id: "g".into(), ..Default::default() };
    let mut told = Vec::new();
    request.tell(&view, &mut |about| told.push(format!("{about:?}")));
    assert_eq!(told, [r#"TransactionalId("t")"#, r#"Group("g")"#]);
}

#[test]
fn an_election_fails_by_partition_or_as_a_whole() {
    let core = cluster();
    let view = View { version: 2, broker: 1, core: &core };
    let refusal = Refusal { code: CODE, records: &[], is_applied: false };
    let request = ElectLeadersRequest { topic_partitions: None, ..Default::default() };
    assert_eq!(request.refuse(&view, &refusal).unwrap().error_code, CODE);
    let topics = vec![TopicPartitions { topic: "orders".into(), partitions: vec![3] }];
    let request = ElectLeadersRequest { topic_partitions: Some(topics), ..Default::default() };
    let response = request.refuse(&view, &refusal).unwrap();
    let partition = &response.replica_election_results[0].partition_result[0];
    assert_eq!((response.error_code, partition.partition_id, partition.error_code), (ErrorCode::NONE, 3, CODE));
}

/// A Produce request for these partitions of `orders` and of `payments`.
fn produce(acks: i16) -> ProduceRequest {
    let partition = |index| PartitionProduceData { index, records: None };
    let topic = |name: &str, partitions: &[i32]| TopicProduceData {
        name: name.into(),
        partition_data: partitions.iter().map(|index| partition(*index)).collect(),
        ..Default::default()
    };
    ProduceRequest {
        acks,
        topic_data: vec![topic("orders", &[0, 1, 2]), topic("payments", &[1])],
        ..Default::default()
    }
}

fn partitions(response: &ProduceResponse) -> Vec<(&str, i32, ErrorCode)> {
    let rows = response
        .responses
        .iter()
        .flat_map(|topic| topic.partition_responses.iter().map(|row| (topic.name.as_str(), row.index, row.error_code)));
    rows.collect()
}

#[test]
fn what_a_rule_names_is_refused_and_the_rest_applied() {
    for (scope, rest, refused) in [
        (scope(Some("orders"), Some(1)), "orders 0, orders 2, payments 1", vec![("orders", 1, CODE)]),
        (scope(None, Some(1)), "orders 0, orders 2", vec![("orders", 1, CODE), ("payments", 1, CODE)]),
        (scope(Some("payments"), None), "orders 0, orders 1, orders 2", vec![("payments", 1, CODE)]),
    ] {
        let Some(Plan::Apply { instead: Some(frame), then: Then::Falsify(Falsify::Error(errors)), .. }) =
            refuse_part(9, &produce(-1), &scope, false)
        else {
            panic!("{scope:?}")
        };
        let mut input = Decoder::new(frame.clone());
        let header = RequestHeader::decode(&mut input).unwrap();
        let body = frame.slice(input.position()..);
        let mut applied = Vec::new();
        let incoming = Incoming { broker: 1, header: &header, body: &body };
        incoming.tell(&cluster(), &mut |about| match about {
            About::Topic(topic, Some(partition)) => applied.push(format!("{topic} {partition}")),
            other => panic!("{other:?}"),
        });
        assert_eq!(applied.join(", "), rest);
        let over = errors.over(
            &header,
            encode_response::<ProduceRequest>(9, 7, &ProduceResponse::default()).unwrap().concat()[4..].to_vec().into(),
        );
        let over = decode_response::<ProduceRequest>(9, Bytes::from(over.unwrap().concat()).slice(4..)).unwrap();
        assert_eq!(partitions(&over), refused);
    }
    let all = refuse_part(9, &produce(-1), &scope(Some("orders"), None), false);
    assert!(matches!(all, Some(Plan::Apply { instead: Some(_), .. })));
    let mut one = produce(-1);
    one.topic_data.pop();
    let all = refuse_part(9, &one, &scope(Some("orders"), None), false);
    assert!(matches!(all, Some(Plan::Answer(Outcome::Reply { .. }))), "nothing is left to apply: {all:?}");
}

#[test]
fn without_an_answer_the_connection_closes_and_the_rest_is_applied_all_the_same() {
    let close = |scope: &Scope, is_applied| refuse_part(9, &produce(0), scope, is_applied);
    let (one, all) = (scope(Some("payments"), None), Scope::default());
    assert!(matches!(close(&all, false), Some(Plan::Answer(Outcome::Close))));
    assert!(matches!(close(&one, false), Some(Plan::Apply { instead: Some(_), then: Then::Close, .. })));
    assert!(matches!(close(&all, true), Some(Plan::Apply { instead: None, then: Then::Close, .. })));
}

#[test]
fn errors_replace_what_an_answer_says_of_the_same_and_nothing_else() {
    let row = |partition_index, error_code| PartitionData { partition_index, error_code, ..Default::default() };
    let topic =
        |topic: &str, partitions| FetchableTopicResponse { topic: topic.into(), partitions, ..Default::default() };
    let fetched = |responses| FetchResponse { responses, session_id: 9, ..Default::default() };
    let mut answer = fetched(vec![topic("a", vec![row(0, ErrorCode::NONE), row(1, ErrorCode::NONE)])]);
    let errors = fetched(vec![topic("a", vec![row(1, CODE), row(2, CODE)]), topic("b", vec![row(0, CODE)])]);
    FetchRequest::put_over(&mut answer, errors);
    let rows = vec![row(0, ErrorCode::NONE), row(1, CODE), row(2, CODE)];
    assert_eq!(answer, fetched(vec![topic("a", rows), topic("b", vec![row(0, CODE)])]));
    FetchRequest::put_over(&mut answer, FetchResponse { error_code: CODE, ..Default::default() });
    assert_eq!(answer, FetchResponse { error_code: CODE, ..Default::default() });

    let topic =
        |name: &str, error_code| MetadataResponseTopic { name: Some(name.into()), error_code, ..Default::default() };
    let mut answer = MetadataResponse {
        topics: vec![topic("a", ErrorCode::NONE), topic("b", ErrorCode::NONE)],
        ..Default::default()
    };
    let errors = MetadataResponse { topics: vec![topic("b", CODE)], ..Default::default() };
    MetadataRequest::put_over(&mut answer, errors);
    assert_eq!(answer.topics, [topic("a", ErrorCode::NONE), topic("b", CODE)]);
}

#[test]
fn a_fetch_that_is_refused_in_part_goes_on_as_a_whole_and_does_not_wait() {
    let partition = |partition| FetchPartition { partition, ..Default::default() };
    let topic =
        FetchTopic { topic: "orders".into(), partitions: vec![partition(0), partition(1)], ..Default::default() };
    let request = FetchRequest { max_wait_ms: 500, topics: vec![topic], ..Default::default() };
    let plan = refuse_part(12, &request, &scope(None, Some(1)), false);
    let Some(Plan::Apply { instead: Some(frame), .. }) = plan else { panic!("{plan:?}") };
    let mut input = Decoder::new(frame.clone());
    RequestHeader::decode(&mut input).unwrap();
    let rest = decode_request::<FetchRequest>(12, &mut input).unwrap();
    assert_eq!(rest, FetchRequest { max_wait_ms: 0, ..request });
}

#[test]
fn topics_are_created_without_the_one_that_a_rule_names() {
    let topic = |name: &str| CreatableTopic { name: name.into(), ..Default::default() };
    let mut request = CreateTopicsRequest { topics: vec![topic("a"), topic("b")], ..Default::default() };
    let core = cluster();
    let view = View { version: 7, broker: 1, core: &core };
    let (hit, is_rest) = request.split(&view, &scope(Some("a"), None));
    assert_eq!((hit.topics, request.topics, is_rest), (vec![topic("a")], vec![topic("b")], true));
}
