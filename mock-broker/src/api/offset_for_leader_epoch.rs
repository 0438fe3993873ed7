//! OffsetForLeaderEpoch: where the log of a leader epoch ends, for consumers that check for truncation. Pure.
//!
//! * v2: the epoch that the client believes to be current; v3: the replica id, which makes no difference here

use milena_protocol::ErrorCode;
use milena_protocol::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopicResult,
};

use super::{Answer, Call};
use crate::core::Core;

pub(super) fn handle(
    core: &mut Core,
    call: &Call<'_>,
    request: OffsetForLeaderEpochRequest,
) -> Answer<OffsetForLeaderEpochResponse> {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|wanted| {
            let (error_code, (leader_epoch, end_offset)) = match find(core, call, &topic.topic, wanted) {
                Ok(end) => (ErrorCode::NONE, end.unwrap_or((-1, -1))),
                Err(code) => (code, (-1, -1)),
            };
            EpochEndOffset { error_code, partition: wanted.partition, leader_epoch, end_offset }
        });
        OffsetForLeaderTopicResult { partitions: partitions.collect(), topic: topic.topic }
    });
    Answer::Now(OffsetForLeaderEpochResponse { topics: topics.collect(), ..Default::default() })
}

fn find(
    core: &Core,
    call: &Call<'_>,
    topic: &str,
    wanted: &OffsetForLeaderPartition,
) -> Result<Option<(i32, i64)>, ErrorCode> {
    let id =
        core.view(call.broker()).partition_id(topic, wanted.partition).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let broker = core.brokers.get(&call.broker()).ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)?;
    let replica = broker.replica_for_client(id, wanted.current_leader_epoch, true)?;
    Ok(replica.log.end_of_epoch(wanted.leader_epoch))
}
