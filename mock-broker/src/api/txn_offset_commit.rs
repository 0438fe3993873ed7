//! TxnOffsetCommit: writes offsets of a group that count when a transaction commits. Pure.
//!
//! * v2: leader epochs; v3: members and generations; v4: TRANSACTION_ABORTABLE; v6: topic ids
//! * v5: the group becomes part of the transaction by it; before, AddOffsetsToTxn must have come

use milena_protocol::ErrorCode;
use milena_protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
    OffsetCommitResponsePartition,
};
use milena_protocol::messages::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestTopic, TxnOffsetCommitResponse, TxnOffsetCommitResponsePartition,
    TxnOffsetCommitResponseTopic,
};

use super::offset_commit::{self, Writer};
use super::{Answer, Call};
use crate::core::Core;
use crate::core::transactions::Identity;

pub(super) fn handle(
    core: &mut Core,
    call: &Call<'_>,
    request: TxnOffsetCommitRequest,
) -> Answer<TxnOffsetCommitResponse> {
    let identity = Identity { producer_id: request.producer_id, epoch: request.producer_epoch };
    let writer = Writer::Transaction { id: request.transactional_id, identity };
    let commit = OffsetCommitRequest {
        group_id: request.group_id,
        generation_id_or_member_epoch: request.generation_id_or_member_epoch,
        member_id: request.member_id,
        group_instance_id: request.group_instance_id,
        topics: request.topics.into_iter().map(as_commit).collect(),
        ..Default::default()
    };
    match offset_commit::commit(core, call, commit, &writer) {
        Answer::Now(response) => Answer::Now(answer(response)),
        Answer::Parked => Answer::Parked,
        Answer::Silent => Answer::Silent,
        Answer::Close => Answer::Close,
    }
}

/// Which errors of a transaction's coordinator the versions of this request know.
pub(super) fn translate(version: i16, code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::PRODUCER_FENCED => ErrorCode::INVALID_PRODUCER_EPOCH,
        ErrorCode::TRANSACTION_ABORTABLE if version < 4 => ErrorCode::INVALID_TXN_STATE,
        // The client is to come again, and to this coordinator of its group.
        ErrorCode::NETWORK_EXCEPTION => ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
        code => code,
    }
}

fn as_commit(topic: TxnOffsetCommitRequestTopic) -> OffsetCommitRequestTopic {
    let partitions = topic.partitions.into_iter().map(|partition| OffsetCommitRequestPartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        committed_metadata: partition.committed_metadata,
    });
    OffsetCommitRequestTopic { name: topic.name, topic_id: topic.topic_id, partitions: partitions.collect() }
}

/// The same in this request's form. Partitions that do not exist come first.
pub(super) fn answer(mut response: OffsetCommitResponse) -> TxnOffsetCommitResponse {
    let exists = |partition: &OffsetCommitResponsePartition| {
        ![ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ErrorCode::UNKNOWN_TOPIC_ID].contains(&partition.error_code)
    };
    response.topics.iter_mut().for_each(|topic| topic.partitions.sort_by_key(exists));
    response.topics.sort_by_key(|topic| topic.partitions.first().is_none_or(exists));
    let topics = response.topics.into_iter().map(|topic| TxnOffsetCommitResponseTopic {
        name: topic.name,
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .into_iter()
            .map(|partition| TxnOffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: partition.error_code,
            })
            .collect(),
    });
    TxnOffsetCommitResponse { topics: topics.collect(), ..Default::default() }
}
