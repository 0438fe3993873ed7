//! Produce: appends one batch per partition, and answers when as many replicas have it as the client asked for. Pure.
//!
//! * advertised from version 0, served from 3, as in Kafka
//! * v8: which records spoiled their batch; v10: who leads now; v13: topic ids

use std::collections::BTreeMap;
use std::time::Duration;

use milena_protocol::ErrorCode;
use milena_protocol::messages::produce::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceData, PartitionProduceResponse,
    ProduceRequest, ProduceResponse, TopicProduceData, TopicProduceResponse,
};
use milena_protocol::records::BatchHeader;

use super::{Answer, Call, reply};
use crate::core::append::{Rejection, Stage, single_batch};
use crate::core::controller::{PartitionId, Refusal, is_internal};
use crate::core::parked::{Parked, Wait};
use crate::core::transactions::{Identity, Joining};
use crate::core::{Core, Outcome};

/// What holds for all batches of a request.
#[derive(Debug)]
struct Terms {
    acks: i16,
    transactional_id: Option<String>,
}

/// A batch that is written, and waits for the followers.
#[derive(Debug)]
struct Unacknowledged {
    topic_at: usize,
    partition_at: usize,
    id: PartitionId,
    leader_epoch: i32,
    /// Where the high watermark has to be.
    end: i64,
}

/// A request with acks=-1 on its way to all in-sync replicas.
#[derive(Debug)]
pub(crate) struct Pending {
    response: ProduceResponse,
    waiting: Vec<Unacknowledged>,
}

pub(super) fn handle(core: &mut Core, call: &Call<'_>, request: ProduceRequest) -> Answer<ProduceResponse> {
    let ProduceRequest { acks, timeout_ms, topic_data, transactional_id } = request;
    let terms = Terms { acks, transactional_id };
    let mut pending = Pending { response: ProduceResponse::default(), waiting: Vec::new() };
    for (topic_at, topic) in each_topic_once(topic_data).into_iter().enumerate() {
        let TopicProduceData { name, topic_id, partition_data } = topic;
        let view = core.view(call.broker());
        let known = if call.version() >= 13 {
            view.topic_by_id(topic_id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
        } else {
            view.topic(&name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        };
        let known = known.map(|topic| (topic.id, topic.name.clone(), topic.partitions.len()));
        let mut partition_responses = Vec::with_capacity(partition_data.len());
        for (partition_at, data) in last_of_each(partition_data).into_iter().enumerate() {
            let index = data.index;
            let id = known.as_ref().map_err(|code| *code).and_then(|(topic, name, partitions)| {
                let exists = usize::try_from(index).is_ok_and(|index| index < *partitions);
                match exists {
                    true if is_internal(name) && !call.is_admin_client() => Err(ErrorCode::INVALID_TOPIC_EXCEPTION),
                    true => Ok(PartitionId { topic: *topic, index }),
                    false => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
                }
            });
            let (answer, waiting) = match id {
                Ok(id) => append(core, call, id, data, &terms, (topic_at, partition_at)),
                Err(error_code) => (failed(index, error_code), None),
            };
            partition_responses.push(answer);
            pending.waiting.extend(waiting);
        }
        pending.response.responses.push(TopicProduceResponse { name, topic_id, partition_responses });
    }
    if acks == 0 {
        let mut partitions = pending.response.responses.iter().flat_map(|topic| &topic.partition_responses);
        // There is no other way to tell the client.
        return if partitions.any(|answer| !answer.error_code.is_none()) { Answer::Close } else { Answer::Silent };
    }
    let pending = match progress(core, call, pending, false) {
        Ok(response) => return Answer::Now(response),
        Err(pending) => pending,
    };
    let timeout = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
    let parked = Parked {
        origin: call.origin.clone(),
        header: call.header.clone(),
        deadline: Some(call.now.saturating_add(timeout)),
        watched: pending.waiting.iter().map(|waiting| waiting.id).collect(),
        wait: Wait::Produce(pending),
    };
    core.park(call.ticket, parked);
    Answer::Parked
}

/// The partitions of a topic that is named twice are those of both.
fn each_topic_once(topics: Vec<TopicProduceData>) -> Vec<TopicProduceData> {
    let mut once: Vec<TopicProduceData> = Vec::with_capacity(topics.len());
    let mut places = BTreeMap::new();
    for topic in topics {
        let place = *places.entry((topic.topic_id, topic.name.clone())).or_insert(once.len());
        match once.get_mut(place) {
            Some(earlier) => earlier.partition_data.extend(topic.partition_data),
            None => once.push(topic),
        }
    }
    once
}

/// Of a partition that is named twice only the last batch counts, as on a real Kafka: what came before is gone without a word.
fn last_of_each(partitions: Vec<PartitionProduceData>) -> Vec<PartitionProduceData> {
    let mut places = BTreeMap::new();
    let mut kept: Vec<PartitionProduceData> = Vec::with_capacity(partitions.len());
    for data in partitions {
        let place = *places.entry(data.index).or_insert(kept.len());
        match kept.get_mut(place) {
            Some(earlier) => *earlier = data,
            None => kept.push(data),
        }
    }
    kept
}

/// Looks again at a request that waits.
pub(crate) fn check(core: &Core, call: &Call<'_>, pending: Pending, is_expired: bool) -> Result<Outcome, Pending> {
    let response = progress(core, call, pending, is_expired)?;
    Ok(reply::<ProduceRequest>(call, call.version(), &response))
}

fn failed(index: i32, error_code: ErrorCode) -> PartitionProduceResponse {
    PartitionProduceResponse { index, error_code, base_offset: -1, ..Default::default() }
}

fn append(
    core: &mut Core,
    call: &Call<'_>,
    id: PartitionId,
    data: PartitionProduceData,
    terms: &Terms,
    (topic_at, partition_at): (usize, usize),
) -> (PartitionProduceResponse, Option<Unacknowledged>) {
    let index = id.index;
    let acks = terms.acks;
    let appended = single_batch(data.records, call.version()).and_then(|batch| {
        if !(-1..=1).contains(&acks) {
            let message = format!("acks {acks} is none of -1, 0 and 1");
            return Err(Refusal::new(ErrorCode::INVALID_REQUIRED_ACKS, message).into());
        }
        join_transaction(core, call, id, batch.header(), terms)?;
        core.append(call.now, call.broker(), id, batch, acks)
    });
    match appended {
        Ok(appended) => {
            let answer = PartitionProduceResponse {
                index,
                base_offset: appended.base_offset,
                log_append_time_ms: appended.append_time_ms,
                log_start_offset: appended.log_start_offset,
                ..Default::default()
            };
            let waiting = Unacknowledged {
                topic_at,
                partition_at,
                id,
                leader_epoch: appended.leader_epoch,
                end: appended.last_offset + 1,
            };
            (answer, (acks == -1).then_some(waiting))
        }
        Err(Rejection { refusal, records, stage }) => {
            let replica = core.brokers.get(&call.broker()).and_then(|broker| broker.replicas.get(&id));
            let log_start_offset = match refusal.code {
                // Kafka leaves it out of these.
                ErrorCode::NOT_LEADER_OR_FOLLOWER
                | ErrorCode::CORRUPT_MESSAGE
                | ErrorCode::MESSAGE_TOO_LARGE
                | ErrorCode::RECORD_LIST_TOO_LARGE => -1,
                _ if stage != Stage::Log => -1,
                _ => replica.map_or(-1, |replica| replica.log.start()),
            };
            let (topic, code) = (id.topic, refusal.code);
            tracing::debug!(%topic, index, %code, reason = refusal.message, "a batch is refused");
            let blame = |(batch_index, message)| BatchIndexAndErrorMessage {
                batch_index,
                batch_index_error_message: Some(message),
            };
            // What Kafka has words for.
            let has_words = match stage {
                Stage::Bytes => true,
                Stage::Request => false,
                Stage::Transaction => {
                    matches!(refusal.code, ErrorCode::INVALID_TXN_STATE | ErrorCode::NOT_ENOUGH_REPLICAS)
                }
                Stage::Log => !records.is_empty(),
            };
            let answer = PartitionProduceResponse {
                log_start_offset,
                error_message: has_words.then_some(refusal.message),
                record_errors: records.into_iter().map(blame).collect(),
                ..failed(index, refusal.code)
            };
            (answer, None)
        }
    }
}

/// Makes sure that the coordinator of its transaction knows of a batch before it is written (KIP-890).
fn join_transaction(
    core: &mut Core,
    call: &Call<'_>,
    id: PartitionId,
    batch: &BatchHeader,
    terms: &Terms,
) -> Result<(), Rejection> {
    let refuse = |code, message: String| Rejection { stage: Stage::Transaction, ..Refusal::new(code, message).into() };
    if !batch.attributes.is_transactional() {
        return Ok(());
    }
    let Some(transactional_id) = &terms.transactional_id else {
        let message = "a transactional batch came without a transactional id".to_owned();
        return Err(refuse(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED, message));
    };
    if batch.producer_id < 0 {
        return Ok(());
    }
    let replica = core.brokers.get_mut(&call.broker()).and_then(|broker| broker.replicas.get_mut(&id));
    let Some(replica) = replica.filter(|replica| replica.role.leader == call.broker()) else {
        let message = format!("broker {} is not the leader", call.broker());
        return Err(refuse(ErrorCode::NOT_LEADER_OR_FOLLOWER, message));
    };
    let identity = Identity { producer_id: batch.producer_id, epoch: batch.producer_epoch };
    if replica.has_open_transaction(identity.producer_id, identity.epoch) {
        return Ok(());
    }
    let joining = if call.version() >= 12 { Joining::Add } else { Joining::Verify };
    replica.producers.attempt(batch, joining);
    core.join_transaction(call.now, call.broker(), transactional_id, identity, id, joining).map_err(|code| {
        let message = format!("the coordinator of transactional id {transactional_id} answers {code}");
        refuse(translate(call.version(), code), message)
    })
}

/// Which errors of a transaction's coordinator the versions of this request know, and repeat.
fn translate(version: i16, code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::PRODUCER_FENCED => ErrorCode::INVALID_PRODUCER_EPOCH,
        ErrorCode::TRANSACTION_ABORTABLE if version < 11 => ErrorCode::INVALID_TXN_STATE,
        ErrorCode::CONCURRENT_TRANSACTIONS if version < 12 => ErrorCode::NOT_ENOUGH_REPLICAS,
        ErrorCode::NETWORK_EXCEPTION
        | ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
        | ErrorCode::COORDINATOR_NOT_AVAILABLE
        | ErrorCode::NOT_COORDINATOR => ErrorCode::NOT_ENOUGH_REPLICAS,
        code => code,
    }
}

/// Takes out of the waiting batches those that are decided; the answer when none is left.
fn progress(core: &Core, call: &Call<'_>, mut pending: Pending, is_expired: bool) -> Result<ProduceResponse, Pending> {
    let Pending { response, waiting } = &mut pending;
    waiting.retain(|batch| {
        let verdict = judge(core, call.broker(), batch).or(is_expired.then_some(ErrorCode::REQUEST_TIMED_OUT));
        if let Some(code) = verdict
            && let Some(topic) = response.responses.get_mut(batch.topic_at)
            && let Some(answer) = topic.partition_responses.get_mut(batch.partition_at)
        {
            answer.error_code = code;
        }
        verdict.is_none()
    });
    if !pending.waiting.is_empty() {
        return Err(pending);
    }
    let mut response = pending.response;
    name_leaders(core, call, &mut response);
    Ok(response)
}

/// `None` while the followers do not have the batch.
fn judge(core: &Core, broker: i32, batch: &Unacknowledged) -> Option<ErrorCode> {
    let replica = core.brokers.get(&broker).and_then(|broker| broker.replicas.get(&batch.id));
    let replica =
        replica.filter(|replica| replica.role.leader == broker && replica.role.leader_epoch == batch.leader_epoch);
    let Some(replica) = replica else { return Some(ErrorCode::NOT_LEADER_OR_FOLLOWER) };
    if replica.high_watermark < batch.end {
        return None;
    }
    let enough = replica.role.isr.len() >= core.view(broker).min_insync(batch.id);
    Some(if enough { ErrorCode::NONE } else { ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND })
}

/// Tells the client of the leaders that it should have gone to, where they can be reached.
fn name_leaders(core: &Core, call: &Call<'_>, response: &mut ProduceResponse) {
    if call.version() < 10 {
        return;
    }
    let view = core.view(call.broker());
    for topic in &mut response.responses {
        let known = if call.version() >= 13 { view.topic_by_id(topic.topic_id) } else { view.topic(&topic.name) };
        let Some(known) = known else { continue };
        let moved = |answer: &&mut PartitionProduceResponse| answer.error_code == ErrorCode::NOT_LEADER_OR_FOLLOWER;
        for answer in topic.partition_responses.iter_mut().filter(moved) {
            let Some(state) = known.partition(answer.index) else { continue };
            answer.current_leader = LeaderIdAndEpoch { leader_id: state.leader, leader_epoch: state.leader_epoch };
            let is_named = response.node_endpoints.iter().any(|endpoint| endpoint.node_id == state.leader);
            if let Some(address) = view.address(state.leader).filter(|_| !is_named) {
                response.node_endpoints.push(NodeEndpoint {
                    node_id: address.id,
                    host: address.host.clone(),
                    port: i32::from(address.port),
                    rack: address.rack.clone(),
                });
            }
        }
    }
}
