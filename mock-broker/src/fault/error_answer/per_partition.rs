//! Error answers of the APIs that are about topics and partitions. Pure.

use milena_protocol::ErrorCode;
use milena_protocol::messages::fetch::{FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData};
use milena_protocol::messages::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use milena_protocol::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponseTopic,
};
use milena_protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use milena_protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use milena_protocol::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};
use milena_protocol::messages::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};

use super::{Incoming, reply, request};
use crate::core::fetch_sessions::{FetchKey, TopicRef};
use crate::core::{Core, Outcome};
use crate::fault::targets;

pub(super) fn produce(incoming: &Incoming<'_>, code: ErrorCode) -> Option<Outcome> {
    let request = request::<ProduceRequest>(incoming.header.api_version, incoming.body)?;
    if request.acks == 0 {
        // The client expects no answer: closing is how a broker tells it.
        return Some(Outcome::Close);
    }
    let topics = request.topic_data.into_iter().map(|topic| {
        let partitions = topic.partition_data.iter().map(|partition| PartitionProduceResponse {
            index: partition.index,
            error_code: code,
            base_offset: -1,
            ..Default::default()
        });
        TopicProduceResponse { partition_responses: partitions.collect(), name: topic.name, topic_id: topic.topic_id }
    });
    let response = ProduceResponse { responses: topics.collect(), ..Default::default() };
    reply::<ProduceRequest>(incoming.header, &response)
}

/// A Fetch that goes on with a session gets the code for all its partitions. Answering without a session id ends the session,
/// as the broker has not taken note of the request.
pub(super) fn fetch(incoming: &Incoming<'_>, code: ErrorCode, core: &Core) -> Option<Outcome> {
    let keys = targets::fetched(incoming, core)?;
    // Without partitions the code is the whole answer's, which old versions lack.
    if keys.is_empty() && incoming.header.api_version < 7 {
        return None;
    }
    let error_code = if keys.is_empty() { code } else { ErrorCode::NONE };
    let mut responses: Vec<FetchableTopicResponse> = Vec::new();
    for FetchKey { topic, partition } in keys {
        let data = PartitionData {
            partition_index: partition,
            error_code: code,
            high_watermark: -1,
            aborted_transactions: None,
            ..Default::default()
        };
        let (topic, topic_id) = match topic {
            TopicRef::Name(name) => (name, Default::default()),
            TopicRef::Id(id) => (String::new(), id),
        };
        match responses.last_mut().filter(|last| last.topic == topic && last.topic_id == topic_id) {
            Some(last) => last.partitions.push(data),
            None => responses.push(FetchableTopicResponse { topic, topic_id, partitions: vec![data] }),
        }
    }
    reply::<FetchRequest>(incoming.header, &FetchResponse { error_code, responses, ..Default::default() })
}

pub(super) fn list_offsets(incoming: &Incoming<'_>, code: ErrorCode) -> Option<Outcome> {
    let request = request::<ListOffsetsRequest>(incoming.header.api_version, incoming.body)?;
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| ListOffsetsPartitionResponse {
            partition_index: partition.partition_index,
            error_code: code,
            ..Default::default()
        });
        ListOffsetsTopicResponse { partitions: partitions.collect(), name: topic.name }
    });
    let response = ListOffsetsResponse { topics: topics.collect(), ..Default::default() };
    reply::<ListOffsetsRequest>(incoming.header, &response)
}

pub(super) fn offset_for_leader_epoch(incoming: &Incoming<'_>, code: ErrorCode) -> Option<Outcome> {
    let request = request::<OffsetForLeaderEpochRequest>(incoming.header.api_version, incoming.body)?;
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| EpochEndOffset {
            partition: partition.partition,
            error_code: code,
            ..Default::default()
        });
        OffsetForLeaderTopicResult { partitions: partitions.collect(), topic: topic.topic }
    });
    let response = OffsetForLeaderEpochResponse { topics: topics.collect(), ..Default::default() };
    reply::<OffsetForLeaderEpochRequest>(incoming.header, &response)
}

pub(super) fn offset_commit(incoming: &Incoming<'_>, code: ErrorCode) -> Option<Outcome> {
    let request = request::<OffsetCommitRequest>(incoming.header.api_version, incoming.body)?;
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| OffsetCommitResponsePartition {
            partition_index: partition.partition_index,
            error_code: code,
        });
        OffsetCommitResponseTopic { partitions: partitions.collect(), name: topic.name, topic_id: topic.topic_id }
    });
    let response = OffsetCommitResponse { topics: topics.collect(), ..Default::default() };
    reply::<OffsetCommitRequest>(incoming.header, &response)
}

/// Version 1 has codes of partitions only. Later ones have one for the group too, which clients look at first; the few codes
/// that are about a partition stay with the partitions.
pub(super) fn offset_fetch(incoming: &Incoming<'_>, code: ErrorCode) -> Option<Outcome> {
    let version = incoming.header.api_version;
    let request = request::<OffsetFetchRequest>(version, incoming.body)?;
    let about_partitions = matches!(
        code,
        ErrorCode::UNSTABLE_OFFSET_COMMIT
            | ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
            | ErrorCode::UNKNOWN_TOPIC_ID
            | ErrorCode::TOPIC_AUTHORIZATION_FAILED
    );
    let of_group = if about_partitions { ErrorCode::NONE } else { code };
    let of_partition = if about_partitions || version < 2 { code } else { ErrorCode::NONE };
    let topics = request.topics.unwrap_or_default().into_iter().map(|topic| {
        let partitions = topic.partition_indexes.iter().map(|index| OffsetFetchResponsePartition {
            partition_index: *index,
            committed_offset: -1,
            error_code: of_partition,
            ..Default::default()
        });
        OffsetFetchResponseTopic { partitions: partitions.collect(), name: topic.name }
    });
    let topics = topics.collect();
    let groups = request.groups.into_iter().map(|group| {
        let topics = group.topics.unwrap_or_default().into_iter().map(|topic| {
            let partitions = topic.partition_indexes.iter().map(|index| OffsetFetchResponsePartitions {
                partition_index: *index,
                committed_offset: -1,
                error_code: of_partition,
                ..Default::default()
            });
            OffsetFetchResponseTopics { partitions: partitions.collect(), name: topic.name, topic_id: topic.topic_id }
        });
        OffsetFetchResponseGroup { topics: topics.collect(), group_id: group.group_id, error_code: of_group }
    });
    let response = OffsetFetchResponse { topics, error_code: of_group, groups: groups.collect(), ..Default::default() };
    reply::<OffsetFetchRequest>(incoming.header, &response)
}

/// The brokers are there, so that a client can go on asking; each topic has the code. Where no topic is asked for, the code is
/// the whole answer's, which only the newest version has.
pub(super) fn metadata(incoming: &Incoming<'_>, code: ErrorCode, core: &Core) -> Option<Outcome> {
    let version = incoming.header.api_version;
    let request = request::<MetadataRequest>(version, incoming.body)?;
    let failed = |name, topic_id| MetadataResponseTopic { error_code: code, name, topic_id, ..Default::default() };
    // Version 0 asks for all topics with an empty list, later ones with null.
    let all = request.topics.as_ref().is_none_or(|topics| version == 0 && topics.is_empty());
    let topics: Vec<_> = if all {
        core.topics().into_iter().map(|name| failed(Some(name), Default::default())).collect()
    } else {
        let name_of = |id| core.controller.topic_by_id(id).map(|topic| topic.name.clone());
        let named = request.topics.unwrap_or_default().into_iter();
        named.map(|topic| failed(topic.name.or_else(|| name_of(topic.topic_id)), topic.topic_id)).collect()
    };
    if topics.is_empty() && version < 13 {
        return None;
    }
    let brokers = core.controller.live_brokers().map(|broker| MetadataResponseBroker {
        node_id: broker.id,
        host: broker.host.clone(),
        port: i32::from(broker.port),
        rack: broker.rack.clone(),
    });
    let response = MetadataResponse {
        brokers: brokers.collect(),
        cluster_id: Some(core.settings.cluster_id.clone()),
        error_code: if topics.is_empty() { code } else { ErrorCode::NONE },
        topics,
        ..Default::default()
    };
    reply::<MetadataRequest>(incoming.header, &response)
}
