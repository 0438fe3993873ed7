//! Answers a request with an error code, at the place where a client looks for it. Pure.
//!
//! The answer names the topics, partitions, groups or keys that the request is about, each with the code; where an API has one
//! code for the whole answer, that one.

use std::time::Duration;

use milena_protocol::api::Request;
use milena_protocol::frame::{RequestHeader, encode_response};
use milena_protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use milena_protocol::messages::create_topics::{CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse};
use milena_protocol::messages::delete_topics::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};
use milena_protocol::messages::describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
use milena_protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResponse, DescribeConfigsResult,
};
use milena_protocol::messages::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup};
use milena_protocol::messages::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use milena_protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use milena_protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use milena_protocol::messages::join_group::JoinGroupRequest;
use milena_protocol::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse};
use milena_protocol::messages::list_groups::{ListGroupsRequest, ListGroupsResponse};
use milena_protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};
use milena_protocol::primitives::Uuid;
use milena_protocol::{ApiKey, ErrorCode};

use super::rules::Incoming;
use super::targets::request;
use crate::api::join_group;
use crate::core::{Core, Outcome};

mod admin;
mod per_partition;
mod transactions;

/// `None` if the request cannot be read, or has no place for an error.
pub(super) fn answer(incoming: &Incoming<'_>, code: ErrorCode, core: &Core) -> Option<Outcome> {
    let header = incoming.header;
    match header.api_key {
        ApiKey::PRODUCE => per_partition::produce(incoming, code),
        ApiKey::FETCH => per_partition::fetch(incoming, code, core),
        ApiKey::LIST_OFFSETS => per_partition::list_offsets(incoming, code),
        ApiKey::OFFSET_FOR_LEADER_EPOCH => per_partition::offset_for_leader_epoch(incoming, code),
        ApiKey::OFFSET_COMMIT => per_partition::offset_commit(incoming, code),
        ApiKey::OFFSET_FETCH => per_partition::offset_fetch(incoming, code),
        ApiKey::METADATA => per_partition::metadata(incoming, code, core),
        ApiKey::FIND_COORDINATOR => find_coordinator(incoming, code),
        ApiKey::CREATE_TOPICS => create_topics(incoming, code),
        ApiKey::DELETE_TOPICS => delete_topics(incoming, code),
        ApiKey::DESCRIBE_CONFIGS => describe_configs(incoming, code),
        ApiKey::DESCRIBE_GROUPS => describe_groups(incoming, code),
        ApiKey::DESCRIBE_CLUSTER => describe_cluster(incoming, code, core),
        ApiKey::JOIN_GROUP => join_group(incoming, code),
        ApiKey::SYNC_GROUP => {
            reply::<SyncGroupRequest>(header, &SyncGroupResponse { error_code: code, ..Default::default() })
        }
        ApiKey::HEARTBEAT => {
            reply::<HeartbeatRequest>(header, &HeartbeatResponse { error_code: code, ..Default::default() })
        }
        ApiKey::LEAVE_GROUP => {
            reply::<LeaveGroupRequest>(header, &LeaveGroupResponse { error_code: code, ..Default::default() })
        }
        ApiKey::LIST_GROUPS => {
            reply::<ListGroupsRequest>(header, &ListGroupsResponse { error_code: code, ..Default::default() })
        }
        ApiKey::INIT_PRODUCER_ID => {
            let response = InitProducerIdResponse { error_code: code, producer_epoch: -1, ..Default::default() };
            reply::<InitProducerIdRequest>(header, &response)
        }
        ApiKey::API_VERSIONS => api_versions(header, code),
        ApiKey::ADD_PARTITIONS_TO_TXN => transactions::add_partitions_to_txn(incoming, code),
        ApiKey::ADD_OFFSETS_TO_TXN => transactions::add_offsets_to_txn(incoming, code),
        ApiKey::END_TXN => transactions::end_txn(incoming, code),
        ApiKey::TXN_OFFSET_COMMIT => transactions::txn_offset_commit(incoming, code),
        ApiKey::DELETE_RECORDS => admin::delete_records(incoming, code),
        ApiKey::CREATE_PARTITIONS => admin::create_partitions(incoming, code),
        ApiKey::INCREMENTAL_ALTER_CONFIGS => admin::incremental_alter_configs(incoming, code),
        ApiKey::ELECT_LEADERS => admin::elect_leaders(incoming, code),
        ApiKey::DELETE_GROUPS => admin::delete_groups(incoming, code),
        ApiKey::OFFSET_DELETE => admin::offset_delete(incoming, code),
        _ => None,
    }
}

/// The answer to a request of this version; `None` if there is no such version.
fn reply<R: Request>(header: &RequestHeader, response: &R::Response) -> Option<Outcome> {
    reply_in_version::<R>(header, header.api_version, response)
}

fn reply_in_version<R: Request>(header: &RequestHeader, version: i16, response: &R::Response) -> Option<Outcome> {
    if !R::VERSIONS.contains(version) {
        return None;
    }
    let frame = encode_response::<R>(version, header.correlation_id, response).ok()?;
    Some(Outcome::Reply { frame, mute: Duration::ZERO })
}

fn api_versions(header: &RequestHeader, code: ErrorCode) -> Option<Outcome> {
    let response = ApiVersionsResponse { error_code: code, ..Default::default() };
    // A client that asked in a version which the broker does not speak can read the lowest one only.
    let version = if code == ErrorCode::UNSUPPORTED_VERSION { 0 } else { header.api_version };
    reply_in_version::<ApiVersionsRequest>(header, version, &response)
}

fn find_coordinator(incoming: &Incoming<'_>, code: ErrorCode) -> Option<Outcome> {
    let request = request::<FindCoordinatorRequest>(incoming.header.api_version, incoming.body)?;
    let nobody = |key| Coordinator { key, node_id: -1, port: -1, error_code: code, ..Default::default() };
    let response = FindCoordinatorResponse {
        error_code: code,
        node_id: -1,
        port: -1,
        coordinators: request.coordinator_keys.into_iter().map(nobody).collect(),
        ..Default::default()
    };
    reply::<FindCoordinatorRequest>(incoming.header, &response)
}

fn create_topics(incoming: &Incoming<'_>, code: ErrorCode) -> Option<Outcome> {
    let request = request::<CreateTopicsRequest>(incoming.header.api_version, incoming.body)?;
    let failed = request.topics.into_iter().map(|topic| CreatableTopicResult {
        name: topic.name,
        error_code: code,
        error_message: None,
        ..Default::default()
    });
    let response = CreateTopicsResponse { topics: failed.collect(), ..Default::default() };
    reply::<CreateTopicsRequest>(incoming.header, &response)
}

fn delete_topics(incoming: &Incoming<'_>, code: ErrorCode) -> Option<Outcome> {
    let request = request::<DeleteTopicsRequest>(incoming.header.api_version, incoming.body)?;
    let failed = |name, topic_id| DeletableTopicResult { name, topic_id, error_code: code, ..Default::default() };
    let by_name = request.topic_names.into_iter().map(|name| failed(Some(name), Uuid::ZERO));
    let by_either = request.topics.into_iter().map(|topic| failed(topic.name, topic.topic_id));
    let response = DeleteTopicsResponse { responses: by_name.chain(by_either).collect(), ..Default::default() };
    reply::<DeleteTopicsRequest>(incoming.header, &response)
}

fn describe_configs(incoming: &Incoming<'_>, code: ErrorCode) -> Option<Outcome> {
    let request = request::<DescribeConfigsRequest>(incoming.header.api_version, incoming.body)?;
    let failed = request.resources.into_iter().map(|resource| DescribeConfigsResult {
        error_code: code,
        error_message: None,
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
        configs: Vec::new(),
    });
    let response = DescribeConfigsResponse { results: failed.collect(), ..Default::default() };
    reply::<DescribeConfigsRequest>(incoming.header, &response)
}

fn describe_groups(incoming: &Incoming<'_>, code: ErrorCode) -> Option<Outcome> {
    let request = request::<DescribeGroupsRequest>(incoming.header.api_version, incoming.body)?;
    let failed =
        request.groups.into_iter().map(|group_id| DescribedGroup { group_id, error_code: code, ..Default::default() });
    let response = DescribeGroupsResponse { groups: failed.collect(), ..Default::default() };
    reply::<DescribeGroupsRequest>(incoming.header, &response)
}

fn describe_cluster(incoming: &Incoming<'_>, code: ErrorCode, core: &Core) -> Option<Outcome> {
    let request = request::<DescribeClusterRequest>(incoming.header.api_version, incoming.body)?;
    let response = DescribeClusterResponse {
        error_code: code,
        endpoint_type: request.endpoint_type,
        cluster_id: core.settings.cluster_id.clone(),
        ..Default::default()
    };
    reply::<DescribeClusterRequest>(incoming.header, &response)
}

fn join_group(incoming: &Incoming<'_>, code: ErrorCode) -> Option<Outcome> {
    let request = request::<JoinGroupRequest>(incoming.header.api_version, incoming.body)?;
    let response = join_group::refusal(incoming.header.api_version, code, request.member_id);
    reply::<JoinGroupRequest>(incoming.header, &response)
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use milena_protocol::api::APIS;
    use milena_protocol::frame::{decode_response, encode_request};
    use milena_protocol::messages::add_partitions_to_txn::{
        AddPartitionsToTxnRequest, AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
    };
    use milena_protocol::messages::elect_leaders::{ElectLeadersRequest, TopicPartitions};
    use milena_protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
    use milena_protocol::messages::find_coordinator::FindCoordinatorRequest;
    use milena_protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic};
    use milena_protocol::messages::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestTopic};
    use milena_protocol::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
    use milena_protocol::primitives::Decoder;

    use super::*;
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
            logs: LogSettings::default(),
            groups: GroupSettings {
                min_session_timeout: Duration::ZERO,
                max_session_timeout: Duration::MAX,
                initial_rebalance_delay: Duration::ZERO,
            },
            transactions: TransactionSettings::default(),
        });
        let orders =
            NewTopic { name: "orders".into(), partitions: 8, replication_factor: None, configs: BTreeMap::new() };
        core.create_topic(Duration::ZERO, orders).unwrap();
        core
    }

    const CODE: ErrorCode = ErrorCode::NOT_COORDINATOR;

    fn outcome<R: Request>(version: i16, request: &R) -> Option<Outcome> {
        let frame = Bytes::from(encode_request(version, 7, "tester", request).unwrap().concat()).slice(4..);
        let mut input = Decoder::new(frame.clone());
        let header = RequestHeader::decode(&mut input).unwrap();
        let body = frame.slice(input.position()..);
        answer(&Incoming { broker: 1, header: &header, body: &body }, CODE, &cluster())
    }

    fn answered<R: Request>(version: i16, request: &R) -> R::Response {
        let Some(Outcome::Reply { frame, .. }) = outcome(version, request) else { panic!("no answer") };
        decode_response::<R>(version, Bytes::from(frame.concat()).slice(4..)).unwrap()
    }

    /// Every version of every API has a readable answer, except where an empty request has no place for an error.
    #[test]
    fn every_version_of_every_api_is_answered() {
        fn check<R: Request + Default>() {
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
            }
        }
        use milena_protocol::messages as m;
        macro_rules! each {
            ($($module:ident::$request:ident)*) => { [$({ check::<m::$module::$request>(); m::$module::$request::KEY }),*] };
        }
        let checked = each! {
            produce::ProduceRequest fetch::FetchRequest list_offsets::ListOffsetsRequest metadata::MetadataRequest
            offset_commit::OffsetCommitRequest offset_fetch::OffsetFetchRequest
            find_coordinator::FindCoordinatorRequest join_group::JoinGroupRequest heartbeat::HeartbeatRequest
            leave_group::LeaveGroupRequest sync_group::SyncGroupRequest describe_groups::DescribeGroupsRequest
            list_groups::ListGroupsRequest api_versions::ApiVersionsRequest create_topics::CreateTopicsRequest
            delete_topics::DeleteTopicsRequest init_producer_id::InitProducerIdRequest
            offset_for_leader_epoch::OffsetForLeaderEpochRequest describe_configs::DescribeConfigsRequest
            describe_cluster::DescribeClusterRequest add_partitions_to_txn::AddPartitionsToTxnRequest
            add_offsets_to_txn::AddOffsetsToTxnRequest end_txn::EndTxnRequest txn_offset_commit::TxnOffsetCommitRequest
            delete_records::DeleteRecordsRequest create_partitions::CreatePartitionsRequest
            incremental_alter_configs::IncrementalAlterConfigsRequest elect_leaders::ElectLeadersRequest
            delete_groups::DeleteGroupsRequest offset_delete::OffsetDeleteRequest
        };
        assert!(APIS.iter().all(|api| checked.contains(&api.key)), "an API is missing here");
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
    fn a_transaction_fails_by_partition() {
        let topics = vec![AddPartitionsToTxnTopic { name: "orders".into(), partitions: vec![3] }];
        let request = AddPartitionsToTxnRequest { v3_and_below_topics: topics.clone(), ..Default::default() };
        let topic = &answered(3, &request).results_by_topic_v3_and_below[0];
        let partition = &topic.results_by_partition[0];
        assert_eq!((&*topic.name, partition.partition_index, partition.partition_error_code), ("orders", 3, CODE));
        let transaction = AddPartitionsToTxnTransaction { topics, ..Default::default() };
        let request = AddPartitionsToTxnRequest { transactions: vec![transaction], ..Default::default() };
        let topic = &answered(4, &request).results_by_transaction[0].topic_results[0];
        assert_eq!(topic.results_by_partition[0].partition_error_code, CODE);
    }

    #[test]
    fn an_election_fails_by_partition_or_as_a_whole() {
        let request = ElectLeadersRequest { topic_partitions: None, ..Default::default() };
        assert_eq!(answered(2, &request).error_code, CODE);
        let topics = vec![TopicPartitions { topic: "orders".into(), partitions: vec![3] }];
        let response = answered(2, &ElectLeadersRequest { topic_partitions: Some(topics), ..Default::default() });
        let partition = &response.replica_election_results[0].partition_result[0];
        assert_eq!((response.error_code, partition.partition_id, partition.error_code), (ErrorCode::NONE, 3, CODE));
    }

    #[test]
    fn a_request_without_an_answer_gets_its_connection_closed() {
        assert!(matches!(outcome(9, &ProduceRequest::default()), Some(Outcome::Close)));
    }
}
