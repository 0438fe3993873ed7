//! DeleteRecords: moves the start of logs forward; the answer waits until all replicas have done so. Pure.

use std::time::Duration;

use milena_protocol::ErrorCode;
use milena_protocol::messages::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopicResult,
};

use super::{Answer, Call, reply};
use crate::core::controller::{PartitionId, is_internal};
use crate::core::parked::{Parked, Wait};
use crate::core::{Core, Outcome};

/// A partition of the answer whose replicas do not all start there yet.
#[derive(Debug)]
struct Waiting {
    /// In the response.
    topic: usize,
    partition: usize,
    id: PartitionId,
    start: i64,
}

#[derive(Debug)]
pub(crate) struct Pending {
    response: DeleteRecordsResponse,
    waiting: Vec<Waiting>,
}

pub(super) fn handle(core: &mut Core, call: &Call<'_>, request: DeleteRecordsRequest) -> Answer<DeleteRecordsResponse> {
    let mut pending = Pending { response: DeleteRecordsResponse::default(), waiting: Vec::new() };
    let topics = request.topics.into_iter().filter(|topic| !topic.partitions.is_empty());
    for (topic_at, topic) in topics.enumerate() {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for (partition_at, wanted) in topic.partitions.into_iter().enumerate() {
            let partition_index = wanted.partition_index;
            let started = delete(core, call.broker(), &topic.name, partition_index, wanted.offset);
            let (low_watermark, error_code) = match started {
                Ok((id, start)) => {
                    pending.waiting.push(Waiting { topic: topic_at, partition: partition_at, id, start });
                    (core.low_watermark(id), ErrorCode::NONE)
                }
                Err(code) => (-1, code),
            };
            partitions.push(DeleteRecordsPartitionResult { partition_index, low_watermark, error_code });
        }
        pending.response.topics.push(DeleteRecordsTopicResult { name: topic.name, partitions });
    }
    match progress(core, call, pending, false) {
        Ok(response) => Answer::Now(response),
        Err(pending) => {
            let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
            let parked = Parked {
                origin: call.origin.clone(),
                header: call.header.clone(),
                deadline: Some(call.now.saturating_add(timeout)),
                watched: pending.waiting.iter().map(|waiting| waiting.id).collect(),
                wait: Wait::DeleteRecords(pending),
            };
            core.park(call.ticket, parked);
            Answer::Parked
        }
    }
}

/// Gives the partition and where its log has to start.
fn delete(
    core: &mut Core,
    broker: i32,
    topic: &str,
    partition: i32,
    offset: i64,
) -> Result<(PartitionId, i64), ErrorCode> {
    let id = core.view(broker).partition_id(topic, partition).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    if is_internal(topic) {
        return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    core.delete_records(broker, id, offset).map(|start| (id, start))
}

/// Looks again at a request that waits.
pub(crate) fn check(core: &Core, call: &Call<'_>, pending: Pending, is_expired: bool) -> Result<Outcome, Pending> {
    let response = progress(core, call, pending, is_expired)?;
    Ok(reply::<DeleteRecordsRequest>(call, call.version(), &response))
}

fn progress(
    core: &Core,
    call: &Call<'_>,
    mut pending: Pending,
    is_expired: bool,
) -> Result<DeleteRecordsResponse, Pending> {
    let Pending { response, waiting } = &mut pending;
    waiting.retain(|Waiting { topic, partition, id, start }| {
        let result = response.topics.get_mut(*topic).and_then(|topic| topic.partitions.get_mut(*partition));
        let Some(result) = result else { return false };
        if !core.brokers.get(&call.broker()).is_some_and(|broker| broker.leads(*id)) {
            (result.low_watermark, result.error_code) = (-1, ErrorCode::NOT_LEADER_OR_FOLLOWER);
            return false;
        }
        let reached = core.low_watermark(*id);
        if reached >= *start {
            result.low_watermark = reached;
            return false;
        }
        if is_expired {
            result.error_code = ErrorCode::REQUEST_TIMED_OUT;
        }
        !is_expired
    });
    if pending.waiting.is_empty() { Ok(pending.response) } else { Err(pending) }
}
