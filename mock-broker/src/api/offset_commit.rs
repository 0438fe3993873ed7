//! OffsetCommit: writes offsets of a group into the log of `__consumer_offsets`. Pure.
//!
//! * v6: leader epochs; v7: static members; v10: topic ids
//! * members commit in their generation, simple consumers (no generation, no member) while the group has no members

use milena_protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use milena_protocol::messages::txn_offset_commit::TxnOffsetCommitRequest;
use milena_protocol::primitives::Uuid;
use milena_protocol::{ApiKey, ErrorCode};

use super::{Answer, Call, reply, txn_offset_commit};
use crate::core::controller::PartitionId;
use crate::core::offsets::{COMMIT_TIMEOUT, CommittedOffset, OffsetKey};
use crate::core::parked::{Parked, Wait};
use crate::core::transactions::{Identity, Joining};
use crate::core::{Core, Outcome};

/// `offset.metadata.max.bytes`.
const MAX_METADATA: usize = 4096;

/// Offsets that are written, and wait for the followers.
#[derive(Debug)]
pub(crate) struct Pending {
    response: OffsetCommitResponse,
    /// Topic and partition in the response.
    written: Vec<(usize, usize)>,
    id: PartitionId,
    leader_epoch: i32,
    /// Where the high watermark has to be.
    end: i64,
}

/// Who commits.
#[derive(Debug)]
pub(super) enum Writer {
    Consumer,
    /// The offsets count when the transaction commits.
    Transaction {
        id: String,
        identity: Identity,
    },
}

pub(super) fn handle(core: &mut Core, call: &Call<'_>, request: OffsetCommitRequest) -> Answer<OffsetCommitResponse> {
    commit(core, call, request, &Writer::Consumer)
}

pub(super) fn commit(
    core: &mut Core,
    call: &Call<'_>,
    request: OffsetCommitRequest,
    writer: &Writer,
) -> Answer<OffsetCommitResponse> {
    let (by_id, transaction) = match writer {
        Writer::Consumer => (call.version() >= 10, None),
        Writer::Transaction { identity, .. } => (call.version() >= 6, Some(*identity)),
    };
    let refusal = refuse(core, call, &request, writer).err();
    let mut response = OffsetCommitResponse::default();
    let mut offsets = Vec::new();
    let mut written = Vec::new();
    let now_ms = core.wall_ms(call.now);
    // Kafka does not answer for a topic of which no partition was named.
    for topic in request.topics.into_iter().filter(|topic| !topic.partitions.is_empty()) {
        let topic_at = response.topics.len();
        let known = if by_id {
            core.view(call.broker()).topic_by_id(topic.topic_id)
        } else {
            core.view(call.broker()).topic(&topic.name)
        };
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for (partition_at, wanted) in topic.partitions.into_iter().enumerate() {
            let partition_index = wanted.partition_index;
            let error_code = match (known, &refusal) {
                (None, _) if by_id => ErrorCode::UNKNOWN_TOPIC_ID,
                (None, _) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                (Some(known), _) if known.partition(partition_index).is_none() => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                (Some(_), Some(code)) => *code,
                (Some(_), None) if metadata_len(&wanted) > MAX_METADATA => ErrorCode::OFFSET_METADATA_TOO_LARGE,
                (Some(known), None) => {
                    let (topic, partition) = (known.name.clone(), partition_index);
                    let key = OffsetKey { group: request.group_id.clone(), topic, partition };
                    offsets.push((key, Some(committed(wanted, known.id, now_ms))));
                    written.push((topic_at, partition_at));
                    ErrorCode::NONE
                }
            };
            partitions.push(OffsetCommitResponsePartition { partition_index, error_code });
        }
        response.topics.push(OffsetCommitResponseTopic { name: topic.name, topic_id: topic.topic_id, partitions });
    }
    let coordinator = core.offsets_at(call.broker(), &request.group_id).map(|(id, _)| id);
    let (false, Ok(id)) = (offsets.is_empty(), coordinator) else { return Answer::Now(response) };
    core.create_simple_group(call.broker(), id, &request.group_id);
    let pending = match core.write_offsets(call.now, call.broker(), id, transaction, &offsets) {
        Ok(appended) => {
            let (leader_epoch, end) = (appended.leader_epoch, appended.last_offset + 1);
            Pending { response, written, id, leader_epoch, end }
        }
        Err(code) => return Answer::Now(settle(response, &written, code)),
    };
    match progress(core, call, pending, false) {
        Ok(response) => Answer::Now(response),
        Err(pending) => {
            let parked = Parked {
                origin: call.origin.clone(),
                header: call.header.clone(),
                deadline: Some(call.now.saturating_add(COMMIT_TIMEOUT)),
                watched: vec![pending.id],
                wait: Wait::OffsetCommit(pending),
            };
            core.park(call.ticket, parked);
            Answer::Parked
        }
    }
}

/// Looks again at a request that waits.
pub(crate) fn check(core: &Core, call: &Call<'_>, pending: Pending, is_expired: bool) -> Result<Outcome, Pending> {
    let response = progress(core, call, pending, is_expired)?;
    if call.header.api_key == ApiKey::TXN_OFFSET_COMMIT {
        let response = txn_offset_commit::answer(response);
        return Ok(reply::<TxnOffsetCommitRequest>(call, call.version(), &response));
    }
    Ok(reply::<OffsetCommitRequest>(call, call.version(), &response))
}

/// Whether this broker and this group take commits from this client.
fn refuse(core: &mut Core, call: &Call<'_>, request: &OffsetCommitRequest, writer: &Writer) -> Result<(), ErrorCode> {
    let group = &request.group_id;
    if matches!(writer, Writer::Transaction { .. }) && group.is_empty() {
        return Err(ErrorCode::INVALID_GROUP_ID);
    }
    let id = core.check_coordinator(call.broker(), group)?;
    if let Writer::Transaction { id: transactional_id, identity } = writer {
        let joining = if call.version() >= 5 { Joining::Add } else { Joining::Verify };
        let joined = core.join_transaction(call.now, call.broker(), transactional_id, *identity, id, joining);
        joined.map_err(|code| txn_offset_commit::translate(call.version(), code))?;
    }
    let is_transactional = matches!(writer, Writer::Transaction { .. });
    if let Some(checked) = core.check_commit(call.now, call.broker(), request, is_transactional) {
        return checked;
    }
    let (_, offsets) = core.offsets_at(call.broker(), group)?;
    let group_exists = offsets.of_group(group).is_some();
    match request.generation_id_or_member_epoch {
        ..0 => Ok(()),
        _ if group_exists => Err(ErrorCode::UNKNOWN_MEMBER_ID),
        _ if call.version() >= 9 => Err(ErrorCode::GROUP_ID_NOT_FOUND),
        _ => Err(ErrorCode::ILLEGAL_GENERATION),
    }
}

/// Kafka counts Java's characters.
fn metadata_len(wanted: &OffsetCommitRequestPartition) -> usize {
    wanted.committed_metadata.as_ref().map_or(0, |metadata| metadata.encode_utf16().count())
}

fn committed(wanted: OffsetCommitRequestPartition, topic_id: Uuid, now_ms: i64) -> CommittedOffset {
    CommittedOffset {
        offset: wanted.committed_offset,
        leader_epoch: wanted.committed_leader_epoch,
        metadata: wanted.committed_metadata.unwrap_or_default(),
        commit_timestamp: now_ms,
        topic_id,
        written_at: -1,
    }
}

fn progress(core: &Core, call: &Call<'_>, pending: Pending, is_expired: bool) -> Result<OffsetCommitResponse, Pending> {
    let broker = call.broker();
    let replica = core
        .brokers
        .get(&broker)
        .and_then(|broker| broker.replicas.get(&pending.id))
        .filter(|replica| replica.role.leader == broker && replica.role.leader_epoch == pending.leader_epoch);
    let code = match replica {
        None => ErrorCode::NOT_COORDINATOR,
        Some(replica) if replica.high_watermark >= pending.end => ErrorCode::NONE,
        Some(_) if is_expired => ErrorCode::COORDINATOR_NOT_AVAILABLE,
        Some(_) => return Err(pending),
    };
    Ok(settle(pending.response, &pending.written, code))
}

fn settle(mut response: OffsetCommitResponse, written: &[(usize, usize)], code: ErrorCode) -> OffsetCommitResponse {
    for (topic_at, partition_at) in written {
        let topic = response.topics.get_mut(*topic_at);
        if let Some(partition) = topic.and_then(|topic| topic.partitions.get_mut(*partition_at)) {
            partition.error_code = code;
        }
    }
    response
}
