//! ListOffsets: the ends of a log, or the first record of a time. Pure.
//!
//! * v2: read committed, which ends at the last stable offset; v4: leader epochs; v5: OFFSET_NOT_AVAILABLE
//! * v7, v8, v9, v11: one special position more each; tiered storage is not there, so two of them have no answer

use std::collections::{BTreeMap, BTreeSet};

use milena_protocol::ErrorCode;
use milena_protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};

use super::{Answer, Call};
use crate::core::Core;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// The first version that knows a special position; `None` if there is no such position.
fn first_version(timestamp: i64) -> Option<i16> {
    match timestamp {
        0.. | LATEST | EARLIEST => Some(1),
        MAX_TIMESTAMP => Some(7),
        EARLIEST_LOCAL => Some(8),
        LATEST_TIERED => Some(9),
        EARLIEST_PENDING_UPLOAD => Some(11),
        _ => None,
    }
}

const READ_UNCOMMITTED: i8 = 0;
const READ_COMMITTED: i8 = 1;

/// A replica id that asks as a debugger: any replica may answer.
const DEBUGGER: i32 = -2;

/// Time stamp, offset, leader epoch.
type Position = (i64, i64, i32);

const NOWHERE: Position = (-1, -1, -1);

pub(super) fn handle(core: &mut Core, call: &Call<'_>, request: ListOffsetsRequest) -> Answer<ListOffsetsResponse> {
    let leader_only = request.replica_id != DEBUGGER;
    let mut seen = BTreeSet::new();
    let mut twice = BTreeSet::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            if !seen.insert((topic.name.as_str(), partition.partition_index)) {
                twice.insert((topic.name.as_str(), partition.partition_index));
            }
        }
    }
    let mut topics: Vec<ListOffsetsTopicResponse> = Vec::new();
    let mut places = BTreeMap::new();
    for topic in &request.topics {
        // What came twice is refused once.
        let once = |wanted: &&ListOffsetsPartition| seen.remove(&(topic.name.as_str(), wanted.partition_index));
        let partitions = topic.partitions.iter().filter(once).map(|wanted| {
            let found = if twice.contains(&(topic.name.as_str(), wanted.partition_index)) {
                Err(ErrorCode::INVALID_REQUEST)
            } else if !matches!(request.isolation_level, READ_UNCOMMITTED | READ_COMMITTED) {
                Err(ErrorCode::UNKNOWN_SERVER_ERROR)
            } else {
                find(core, call, &topic.name, wanted, request.isolation_level, leader_only)
            };
            let (error_code, (timestamp, offset, leader_epoch)) = match found {
                Ok(position) => (ErrorCode::NONE, position),
                Err(code) => (code, NOWHERE),
            };
            let partition_index = wanted.partition_index;
            ListOffsetsPartitionResponse { partition_index, error_code, timestamp, offset, leader_epoch }
        });
        let partitions: Vec<_> = partitions.collect();
        let place = *places.entry(topic.name.as_str()).or_insert(topics.len());
        match topics.get_mut(place) {
            Some(earlier) => earlier.partitions.extend(partitions),
            None => topics.push(ListOffsetsTopicResponse { name: topic.name.clone(), partitions }),
        }
    }
    Answer::Now(ListOffsetsResponse { topics, ..Default::default() })
}

fn find(
    core: &Core,
    call: &Call<'_>,
    topic: &str,
    wanted: &ListOffsetsPartition,
    isolation_level: i8,
    leader_only: bool,
) -> Result<Position, ErrorCode> {
    if first_version(wanted.timestamp).is_none_or(|first| call.version() < first) {
        return Err(ErrorCode::UNSUPPORTED_VERSION);
    }
    let id = core
        .view(call.broker())
        .partition_id(topic, wanted.partition_index)
        .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let broker = core.brokers.get(&call.broker()).ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)?;
    let replica = broker.replica_for_client(id, wanted.current_leader_epoch, leader_only)?;
    let log = &replica.log;
    let end = match isolation_level {
        // A debugger sees what is not committed, too.
        _ if !leader_only => log.end(),
        READ_COMMITTED => replica.last_stable_offset(),
        _ => replica.high_watermark,
    };
    // A leader that has not caught up with its own election yet does not know how far its records will hold.
    let is_unsure = end < log.latest_epoch_start();
    let unsure = match call.version() {
        5.. => ErrorCode::OFFSET_NOT_AVAILABLE,
        _ => ErrorCode::LEADER_NOT_AVAILABLE,
    };
    let found = match wanted.timestamp {
        LATEST if is_unsure => return Err(unsure),
        LATEST => return Ok((-1, end, log.latest_epoch().unwrap_or(-1))),
        EARLIEST | EARLIEST_LOCAL => return Ok((-1, log.start(), log.earliest_epoch().unwrap_or(-1))),
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => return Ok(NOWHERE),
        MAX_TIMESTAMP => log.find_latest_time(end),
        timestamp => log.find_time(timestamp, end),
    };
    match found {
        Ok(Some(found)) => Ok((found.timestamp, found.offset, found.leader_epoch)),
        Ok(None) if is_unsure => Err(unsure),
        Ok(None) => Ok(NOWHERE),
        Err(error) => {
            tracing::error!(%error, topic, "the log cannot be read");
            Err(ErrorCode::UNKNOWN_SERVER_ERROR)
        }
    }
}
