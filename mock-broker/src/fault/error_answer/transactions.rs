//! Error answers of the APIs of transactions. Pure.

use milena_protocol::ErrorCode;
use milena_protocol::messages::add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use milena_protocol::messages::add_partitions_to_txn::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnResult,
    AddPartitionsToTxnTopic, AddPartitionsToTxnTopicResult,
};
use milena_protocol::messages::end_txn::{EndTxnRequest, EndTxnResponse};
use milena_protocol::messages::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitResponse, TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};

use super::{Incoming, reply, request};
use crate::core::Outcome;

pub(super) fn add_partitions_to_txn(incoming: &Incoming<'_>, code: ErrorCode) -> Option<Outcome> {
    let request = request::<AddPartitionsToTxnRequest>(incoming.header.api_version, incoming.body)?;
    let failed = |topics: Vec<AddPartitionsToTxnTopic>| {
        let topics = topics.into_iter().map(|topic| {
            let partitions = topic
                .partitions
                .iter()
                .map(|index| AddPartitionsToTxnPartitionResult { partition_index: *index, partition_error_code: code });
            AddPartitionsToTxnTopicResult { results_by_partition: partitions.collect(), name: topic.name }
        });
        topics.collect()
    };
    let transactions = request.transactions.into_iter().map(|transaction| AddPartitionsToTxnResult {
        transactional_id: transaction.transactional_id,
        topic_results: failed(transaction.topics),
    });
    let response = AddPartitionsToTxnResponse {
        results_by_transaction: transactions.collect(),
        results_by_topic_v3_and_below: failed(request.v3_and_below_topics),
        ..Default::default()
    };
    reply::<AddPartitionsToTxnRequest>(incoming.header, &response)
}

pub(super) fn add_offsets_to_txn(incoming: &Incoming<'_>, code: ErrorCode) -> Option<Outcome> {
    let response = AddOffsetsToTxnResponse { error_code: code, ..Default::default() };
    reply::<AddOffsetsToTxnRequest>(incoming.header, &response)
}

pub(super) fn end_txn(incoming: &Incoming<'_>, code: ErrorCode) -> Option<Outcome> {
    reply::<EndTxnRequest>(incoming.header, &EndTxnResponse { error_code: code, ..Default::default() })
}

pub(super) fn txn_offset_commit(incoming: &Incoming<'_>, code: ErrorCode) -> Option<Outcome> {
    let request = request::<TxnOffsetCommitRequest>(incoming.header.api_version, incoming.body)?;
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| TxnOffsetCommitResponsePartition {
            partition_index: partition.partition_index,
            error_code: code,
        });
        TxnOffsetCommitResponseTopic { partitions: partitions.collect(), name: topic.name, topic_id: topic.topic_id }
    });
    let response = TxnOffsetCommitResponse { topics: topics.collect(), ..Default::default() };
    reply::<TxnOffsetCommitRequest>(incoming.header, &response)
}
