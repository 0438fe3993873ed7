//! Error answers of the APIs that change topics, groups and settings. Pure.

use milena_protocol::ErrorCode;
use milena_protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopicResult,
};
use milena_protocol::messages::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};
use milena_protocol::messages::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use milena_protocol::messages::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};
use milena_protocol::messages::incremental_alter_configs::{
    AlterConfigsResourceResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use milena_protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

use super::{Incoming, reply, request};
use crate::core::Outcome;

pub(super) fn delete_records(incoming: &Incoming<'_>, code: ErrorCode) -> Option<Outcome> {
    let request = request::<DeleteRecordsRequest>(incoming.header.api_version, incoming.body)?;
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| DeleteRecordsPartitionResult {
            partition_index: partition.partition_index,
            low_watermark: -1,
            error_code: code,
        });
        DeleteRecordsTopicResult { partitions: partitions.collect(), name: topic.name }
    });
    let response = DeleteRecordsResponse { topics: topics.collect(), ..Default::default() };
    reply::<DeleteRecordsRequest>(incoming.header, &response)
}

pub(super) fn create_partitions(incoming: &Incoming<'_>, code: ErrorCode) -> Option<Outcome> {
    let request = request::<CreatePartitionsRequest>(incoming.header.api_version, incoming.body)?;
    let failed = |name| CreatePartitionsTopicResult { name, error_code: code, error_message: None };
    let results = request.topics.into_iter().map(|topic| failed(topic.name)).collect();
    reply::<CreatePartitionsRequest>(incoming.header, &CreatePartitionsResponse { results, ..Default::default() })
}

pub(super) fn incremental_alter_configs(incoming: &Incoming<'_>, code: ErrorCode) -> Option<Outcome> {
    let request = request::<IncrementalAlterConfigsRequest>(incoming.header.api_version, incoming.body)?;
    let failed = request.resources.into_iter().map(|resource| AlterConfigsResourceResponse {
        error_code: code,
        error_message: None,
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
    });
    let response = IncrementalAlterConfigsResponse { responses: failed.collect(), ..Default::default() };
    reply::<IncrementalAlterConfigsRequest>(incoming.header, &response)
}

/// Where the request names no partitions, the code is the whole answer's, which version 0 lacks.
pub(super) fn elect_leaders(incoming: &Incoming<'_>, code: ErrorCode) -> Option<Outcome> {
    let version = incoming.header.api_version;
    let topics = request::<ElectLeadersRequest>(version, incoming.body)?.topic_partitions.unwrap_or_default();
    if topics.is_empty() && version < 1 {
        return None;
    }
    let error_code = if topics.is_empty() { code } else { ErrorCode::NONE };
    let topics = topics.into_iter().map(|topic| {
        let failed = |partition_id| PartitionResult { partition_id, error_code: code, error_message: None };
        let partition_result = topic.partitions.into_iter().map(failed).collect();
        ReplicaElectionResult { topic: topic.topic, partition_result }
    });
    let replica_election_results = topics.collect();
    let response = ElectLeadersResponse { error_code, replica_election_results, ..Default::default() };
    reply::<ElectLeadersRequest>(incoming.header, &response)
}

pub(super) fn delete_groups(incoming: &Incoming<'_>, code: ErrorCode) -> Option<Outcome> {
    let request = request::<DeleteGroupsRequest>(incoming.header.api_version, incoming.body)?;
    let failed = |group_id| DeletableGroupResult { group_id, error_code: code, error_message: None };
    let results = request.groups_names.into_iter().map(failed).collect();
    reply::<DeleteGroupsRequest>(incoming.header, &DeleteGroupsResponse { results, ..Default::default() })
}

/// The two codes that are about a partition stay with the partitions; any other is the group's, and then no partition is named.
pub(super) fn offset_delete(incoming: &Incoming<'_>, code: ErrorCode) -> Option<Outcome> {
    let request = request::<OffsetDeleteRequest>(incoming.header.api_version, incoming.body)?;
    if !matches!(code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC) {
        let response = OffsetDeleteResponse { error_code: code, ..Default::default() };
        return reply::<OffsetDeleteRequest>(incoming.header, &response);
    }
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| OffsetDeleteResponsePartition {
            partition_index: partition.partition_index,
            error_code: code,
        });
        OffsetDeleteResponseTopic { partitions: partitions.collect(), name: topic.name }
    });
    let response = OffsetDeleteResponse { topics: topics.collect(), ..Default::default() };
    reply::<OffsetDeleteRequest>(incoming.header, &response)
}
