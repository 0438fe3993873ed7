//! Fetch: reads batches from several partitions, and waits until there are enough. Pure.
//!
//! * v7: sessions; v9: leader epochs; v12: divergence; v13: topic ids; v16: who leads now
//! * v11: followers answer consumers too, up to their own high watermark; a leader sends consumers to one in their rack

mod session;

use std::collections::BTreeSet;
use std::time::Duration;

use milena_protocol::ErrorCode;
use milena_protocol::messages::fetch::{
    AbortedTransaction, EpochEndOffset, FetchPartition, FetchRequest, FetchResponse, FetchTopic,
    FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use milena_protocol::primitives::Records;

use super::{Answer, Call, reply};
use crate::core::controller::PartitionId;
use crate::core::fetch_sessions::{Context, FetchKey, TopicRef};
use crate::core::parked::{Parked, Wait};
use crate::core::{Core, Outcome};

/// A broker's own limit of an answer (`fetch.max.bytes`).
const MAX_BYTES: i32 = 55 * 1024 * 1024;

const READ_UNCOMMITTED: i8 = 0;
const READ_COMMITTED: i8 = 1;

/// What a request asks for, and has not got yet.
#[derive(Debug)]
pub(crate) struct Pending {
    context: Context,
    wanted: Vec<(FetchKey, FetchPartition)>,
    /// Those of them that the cluster did not know when the request came.
    unknown: BTreeSet<FetchKey>,
    min_bytes: u64,
    max_bytes: usize,
    is_read_committed: bool,
    /// Whether the client says that it is a broker, which it is not.
    is_replica: bool,
    /// Where the consumer is.
    rack: String,
}

/// One partition, looked at without reading it.
enum Sight {
    /// This many bytes are there.
    Bytes(u64),
    /// The client must know at once.
    Trouble,
    /// The cluster knows no such partition. That alone does not end the wait.
    Unknown,
}

/// Where a consumer may read, or why not.
struct Window<'a> {
    log: &'a crate::core::Log,
    high_watermark: i64,
    last_stable_offset: i64,
    end: i64,
    diverging: Option<(i32, i64)>,
    /// The replica that the consumer had better go to.
    closer: Option<i32>,
}

pub(super) fn handle(core: &mut Core, call: &Call<'_>, request: FetchRequest) -> Answer<FetchResponse> {
    let max_wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let max_bytes = request.max_bytes.clamp(0, MAX_BYTES);
    let min_bytes = request.min_bytes.clamp(0, max_bytes);
    let is_read_committed = request.isolation_level == READ_COMMITTED;
    if !matches!(request.isolation_level, READ_UNCOMMITTED | READ_COMMITTED) {
        return Answer::Now(refuse(request, ErrorCode::UNKNOWN_SERVER_ERROR));
    }
    let is_replica = request.replica_id >= 0 || request.replica_state.replica_id >= 0;
    let rack = request.rack_id.clone();
    let (context, wanted) = match session::open(core, call, request) {
        Ok(opened) => opened,
        Err(error_code) => return Answer::Now(FetchResponse { error_code, ..Default::default() }),
    };
    let watched: Vec<PartitionId> = wanted.iter().filter_map(|(key, _)| find(core, call, key).ok()).collect();
    let pending = Pending {
        context,
        unknown: wanted.iter().map(|(key, _)| key).filter(|key| find(core, call, key).is_err()).cloned().collect(),
        wanted,
        min_bytes: u64::try_from(min_bytes).unwrap_or(0),
        max_bytes: usize::try_from(max_bytes).unwrap_or(0),
        is_read_committed,
        is_replica,
        rack,
    };
    if max_wait.is_zero() || watched.is_empty() || is_ready(core, call, &pending) {
        return Answer::Now(read(core, call, pending));
    }
    let parked = Parked {
        origin: call.origin.clone(),
        header: call.header.clone(),
        deadline: Some(call.now.saturating_add(max_wait)),
        watched,
        wait: Wait::Fetch(pending),
    };
    core.park(call.ticket, parked);
    Answer::Parked
}

/// The same error for everything.
fn refuse(request: FetchRequest, error_code: ErrorCode) -> FetchResponse {
    let failed = |wanted: FetchPartition| PartitionData {
        partition_index: wanted.partition,
        error_code,
        high_watermark: -1,
        ..Default::default()
    };
    let responses = request.topics.into_iter().map(|FetchTopic { topic, topic_id, partitions }| {
        FetchableTopicResponse { topic, topic_id, partitions: partitions.into_iter().map(failed).collect() }
    });
    FetchResponse { error_code, responses: responses.collect(), ..Default::default() }
}

/// Looks again at a request that waits.
pub(crate) fn check(core: &mut Core, call: &Call<'_>, pending: Pending, is_expired: bool) -> Result<Outcome, Pending> {
    // A partition that has gone since ends the wait.
    let is_gone =
        |(key, _): &(FetchKey, FetchPartition)| find(core, call, key).is_err() && !pending.unknown.contains(key);
    if !is_expired && !pending.wanted.iter().any(is_gone) && !is_ready(core, call, &pending) {
        return Err(pending);
    }
    let response = read(core, call, pending);
    Ok(reply::<FetchRequest>(call, call.version(), &response))
}

fn find(core: &Core, call: &Call<'_>, key: &FetchKey) -> Result<PartitionId, ErrorCode> {
    let view = core.view(call.broker());
    let topic = match &key.topic {
        TopicRef::Name(name) => view.topic(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?,
        TopicRef::Id(id) => view.topic_by_id(*id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)?,
    };
    topic.partition(key.partition).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    Ok(PartitionId { topic: topic.id, index: key.partition })
}

/// Whether there is enough to answer, or something that the client must know.
fn is_ready(core: &Core, call: &Call<'_>, pending: &Pending) -> bool {
    let mut bytes = 0u64;
    for (key, wanted) in &pending.wanted {
        let sight = match find(core, call, key) {
            Err(_) => Sight::Unknown,
            Ok(id) => match look(core, call, id, wanted, pending) {
                Err(_) | Ok(Window { diverging: Some(_), .. } | Window { closer: Some(_), .. }) => Sight::Trouble,
                // What is in an older segment comes alone, so nothing is waited for.
                Ok(window) if window.log.segment_end(wanted.fetch_offset) < window.end => Sight::Trouble,
                Ok(window) => {
                    let limit = u64::try_from(wanted.partition_max_bytes).unwrap_or(0);
                    Sight::Bytes(window.log.bytes_between(wanted.fetch_offset, window.end).min(limit))
                }
            },
        };
        match sight {
            Sight::Bytes(available) => bytes += available,
            Sight::Trouble => return true,
            Sight::Unknown => {}
        }
    }
    bytes >= pending.min_bytes
}

/// Checks epochs and offset of one partition.
fn look<'a>(
    core: &'a Core,
    call: &Call<'_>,
    id: PartitionId,
    wanted: &FetchPartition,
    pending: &Pending,
) -> Result<Window<'a>, ErrorCode> {
    if pending.is_replica {
        return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
    }
    if wanted.partition_max_bytes < 0 {
        return Err(ErrorCode::UNKNOWN_SERVER_ERROR);
    }
    let broker = core.brokers.get(&call.broker()).ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)?;
    let replica = broker.replica_for_client(id, wanted.current_leader_epoch, call.version() < 11)?;
    let log = &replica.log;
    let closer = core.closer_replica(call.broker(), id, wanted.fetch_offset, &pending.rack);
    let mut diverging = None;
    if wanted.last_fetched_epoch >= 0 && closer.is_none() {
        let (epoch, end) = log.end_of_epoch(wanted.last_fetched_epoch).ok_or(ErrorCode::OFFSET_OUT_OF_RANGE)?;
        if epoch < wanted.last_fetched_epoch || end < wanted.fetch_offset {
            diverging = Some((epoch, end));
        }
    }
    if diverging.is_none() && !(log.start()..=log.end()).contains(&wanted.fetch_offset) {
        return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
    }
    let (high_watermark, last_stable_offset) = (replica.high_watermark, replica.last_stable_offset());
    let end = if pending.is_read_committed { last_stable_offset } else { high_watermark };
    Ok(Window { log, high_watermark, last_stable_offset, end, diverging, closer })
}

/// Reads all partitions in their order, each with what room the ones before it have left.
fn read(core: &mut Core, call: &Call<'_>, pending: Pending) -> FetchResponse {
    let mut room = pending.max_bytes;
    let mut is_empty = true;
    let mut answers = Vec::with_capacity(pending.wanted.len());
    let mut unknown = Vec::new();
    for (key, wanted) in &pending.wanted {
        let was_unknown = pending.unknown.contains(key);
        // What has gone since had a name, even if the request has an id for it.
        let name_it = |code| if was_unknown { code } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION };
        let id = find(core, call, key).map_err(name_it);
        let window = id.and_then(|id| look(core, call, id, wanted, &pending));
        let data = match window {
            Err(error_code) => PartitionData {
                partition_index: key.partition,
                error_code,
                high_watermark: -1,
                aborted_transactions: was_unknown.then(Vec::new),
                ..Default::default()
            },
            Ok(window) => {
                let limit = room.min(usize::try_from(wanted.partition_max_bytes).unwrap_or(0));
                let records = match window.diverging.is_some() || window.closer.is_some() {
                    true => Vec::new(),
                    // The first batch of an answer comes whole, or a client with small limits would never see it.
                    false => window.log.read(wanted.fetch_offset, window.end, limit, is_empty),
                };
                let records = Records::from_pieces(records);
                is_empty &= records.is_empty();
                let aborted =
                    pending.is_read_committed.then(|| aborted(window.log, wanted.fetch_offset, records.len()));
                room = room.saturating_sub(records.len());
                let (epoch, end_offset) = window.diverging.unwrap_or((-1, -1));
                PartitionData {
                    partition_index: key.partition,
                    high_watermark: window.high_watermark,
                    last_stable_offset: window.last_stable_offset,
                    log_start_offset: window.log.start(),
                    diverging_epoch: EpochEndOffset { epoch, end_offset },
                    preferred_read_replica: window.closer.unwrap_or(-1),
                    aborted_transactions: aborted,
                    records: Some(records),
                    ..Default::default()
                }
            }
        };
        // Kafka answers those that it does not know at the end.
        if was_unknown { unknown.push((key.clone(), data)) } else { answers.push((key.clone(), data)) }
    }
    answers.append(&mut unknown);
    let session_id = match core.brokers.get_mut(&call.broker()) {
        Some(broker) => broker.fetch_sessions.settle(pending.context, &mut answers),
        None => 0,
    };
    let mut response = FetchResponse { session_id, ..Default::default() };
    for (key, mut data) in answers {
        name_leader(core, call, &key, &mut data, &mut response.node_endpoints);
        push(&mut response.responses, key, data);
    }
    response
}

/// What a reader of committed records has to leave out; nothing, where nothing is read.
fn aborted(log: &crate::core::Log, offset: i64, bytes: usize) -> Vec<AbortedTransaction> {
    let found = if bytes == 0 { Vec::new() } else { log.aborted(offset, bytes) };
    let named = |aborted: crate::core::Aborted| AbortedTransaction {
        producer_id: aborted.producer_id,
        first_offset: aborted.first_offset,
    };
    found.into_iter().map(named).collect()
}

/// Puts a partition with its topic, if that is the last one.
fn push(topics: &mut Vec<FetchableTopicResponse>, key: FetchKey, data: PartitionData) {
    let (topic, topic_id) = match key.topic {
        TopicRef::Name(name) => (name, Default::default()),
        TopicRef::Id(id) => (String::new(), id),
    };
    match topics.last_mut().filter(|last| last.topic == topic && last.topic_id == topic_id) {
        Some(last) => last.partitions.push(data),
        None => topics.push(FetchableTopicResponse { topic, topic_id, partitions: vec![data] }),
    }
}

/// Tells a client that came to the wrong broker who leads, and where that is.
fn name_leader(
    core: &Core,
    call: &Call<'_>,
    key: &FetchKey,
    data: &mut PartitionData,
    endpoints: &mut Vec<NodeEndpoint>,
) {
    let moved = [ErrorCode::NOT_LEADER_OR_FOLLOWER, ErrorCode::FENCED_LEADER_EPOCH].contains(&data.error_code);
    if call.version() < 16 || !moved {
        return;
    }
    let view = core.view(call.broker());
    let Some(state) = find(core, call, key).ok().and_then(|id| view.partition(id)) else { return };
    data.current_leader = LeaderIdAndEpoch { leader_id: state.leader, leader_epoch: state.leader_epoch };
    let is_named = endpoints.iter().any(|endpoint| endpoint.node_id == state.leader);
    if let Some(address) = view.address(state.leader).filter(|_| !is_named) {
        endpoints.push(NodeEndpoint {
            node_id: address.id,
            host: address.host.clone(),
            port: i32::from(address.port),
            rack: address.rack.clone(),
        });
    }
}
