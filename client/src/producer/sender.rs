//! The connection to one broker, as a producer uses it: pulls what is due, and brings the answers back. IO.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use milena_protocol::ErrorCode;
use milena_protocol::api::Request;
use milena_protocol::compression::Compressor;
use milena_protocol::frame::{decode_response, encode_request};
use milena_protocol::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceData,
};
use milena_protocol::primitives::Records;
use tracing::debug;

use super::accumulator::{Answer, Next, Sending};
use super::delivery::{BatchReceipt, Failure};
use super::event::ProducerEvent;
use super::lane::Lane;
use super::shared::Shared;
use super::topic::Partition;
use super::verdict::{Verdict, verdict};
use crate::clock::Time;
use crate::config::Acks;
use crate::error::{Error, ErrorKind, Result};
use crate::net::Address;
use crate::net::connection::{Outgoing, RequestSource};
use crate::net::versions::BrokerVersions;

/// From this version on topics go by their id.
const TOPIC_IDS: i16 = 13;
/// Longer pauses than this are not believed (KIP-219).
const MAX_THROTTLE: Duration = Duration::from_secs(300);

/// The requests of one producer to one broker.
pub(crate) struct Sender {
    shared: Arc<Shared>,
    lane: Arc<Lane>,
    versions: Option<BrokerVersions>,
    in_flight: BTreeMap<u64, Sent>,
    next_token: u64,
    compressor: Compressor,
    /// The broker asked for a pause until then.
    muted_until: Time,
}

/// What one request carried.
struct Sent {
    version: i16,
    batches: Vec<(Arc<Partition>, u64)>,
}

impl Sender {
    pub(crate) fn new(shared: Arc<Shared>, lane: Arc<Lane>) -> Self {
        let compressor = shared.new_compressor();
        Self {
            shared,
            lane,
            versions: None,
            in_flight: BTreeMap::new(),
            next_token: 0,
            compressor,
            muted_until: Time::ZERO,
        }
    }

    /// Takes what is due, as much as fits into one request, and never two batches of one partition: a broker that reads the second
    /// entry of a partition in the place of the first would lose the first.
    fn collect(&mut self, now: Time) -> Vec<(Arc<Partition>, Sending)> {
        let max = self.shared.settings.max_request_size;
        let (mut batches, mut bytes, mut seen) = (Vec::new(), 0, BTreeMap::new());
        while bytes < max
            && let Some(partition) = self.lane.agenda.take_due(now)
        {
            let mut state = partition.lock();
            state.on_taken();
            if seen.contains_key(&partition.number()) {
                // It was appended to meanwhile; it is scheduled again below.
                continue;
            }
            let leads = state.broker() == Some(self.lane.broker);
            let fits = batches.is_empty() || bytes + state.queue.next_len() <= max;
            // One that moved between being taken and being locked is in the agenda of its new lane.
            let next = if leads && fits { state.queue.next(now, &mut self.compressor) } else { Next::Nothing };
            drop(state);
            match next {
                Next::Send(sending) => {
                    if sending.begins_anew {
                        self.shared.tell(&ProducerEvent::EpochBumped { partition: partition.name.clone() });
                    }
                    bytes += sending.len;
                    batches.push((partition.clone(), sending));
                }
                Next::Compress { token, body } => self.offload_compression(partition.clone(), token, body),
                Next::NeedsProducerId => self.shared.request_producer_id(),
                Next::Nothing => {}
            }
            seen.insert(partition.number(), partition);
            if !fits {
                break;
            }
        }
        // Only now may they be due again.
        for partition in seen.into_values() {
            partition.lock().schedule(&partition);
        }
        batches
    }

    fn offload_compression(&self, partition: Arc<Partition>, token: u64, body: Vec<Bytes>) {
        let shared = self.shared.clone();
        let work = move || {
            let mut compressor = shared.compressor();
            let compressed = compressor.compress(&body).ok();
            drop(body);
            shared.return_compressor(compressor);
            let mut state = partition.lock();
            state.queue.on_compressed(token, compressed);
            state.schedule(&partition);
        };
        self.shared.cluster.net().runtime.offload(Box::new(work));
    }

    fn request(&self, version: i16, batches: &mut [(Arc<Partition>, Sending)]) -> ProduceRequest {
        let mut topics: Vec<TopicProduceData> = Vec::new();
        for (partition, sending) in batches {
            let records = Records::from_pieces(std::mem::take(&mut sending.pieces));
            let data = PartitionProduceData { index: partition.name.partition(), records: Some(records) };
            let same = topics
                .iter_mut()
                .find(|topic| topic.name == partition.name.topic() && topic.topic_id == partition.topic_id);
            match same {
                Some(topic) => topic.partition_data.push(data),
                None => topics.push(TopicProduceData {
                    name: partition.name.topic().to_owned(),
                    topic_id: partition.topic_id,
                    partition_data: vec![data],
                }),
            }
        }
        debug!(broker = self.lane.broker, version, topics = topics.len(), "produce");
        let timeout_ms =
            i32::try_from(self.shared.cluster.net().limits.request_timeout.as_millis()).unwrap_or(i32::MAX);
        ProduceRequest {
            transactional_id: None,
            acks: self.shared.settings.acks.wire(),
            timeout_ms,
            topic_data: topics,
        }
    }

    /// All batches of a request got the same answer.
    fn answer_all(&self, now: Time, batches: Vec<(Arc<Partition>, u64)>, answer: impl Fn() -> Answer) {
        for (partition, token) in batches {
            self.answer(now, &partition, token, answer(), false);
        }
    }

    /// `at_once`: the partition has a new leader, so there is nothing to wait for.
    fn answer(&self, now: Time, partition: &Arc<Partition>, token: u64, answer: Answer, at_once: bool) {
        let backoff = |failures| if at_once { Duration::ZERO } else { self.shared.retry_delay(failures) };
        let mut state = partition.lock();
        let told = self.shared.settle(state.queue.on_answer(now, token, answer, backoff));
        state.schedule(partition);
        drop(state);
        self.shared.wake(told);
    }

    fn on_partition(&self, now: Time, partition: &Arc<Partition>, token: u64, answer: &PartitionProduceResponse) {
        let code = answer.error_code;
        let (leader, epoch) = (answer.current_leader.leader_id, answer.current_leader.leader_epoch);
        let moved =
            leader >= 0 && self.shared.cluster.on_leader_hint(&partition.name, partition.topic_id, leader, epoch);
        if code.refreshes_metadata() {
            self.shared.cluster.request_refresh();
        }
        if !code.is_none() {
            debug!(partition = %partition.name, %code, broker = self.lane.broker, "produce refused");
        }
        let failure = (!code.is_none()).then(|| self.failure(partition, answer));
        let receipt = BatchReceipt {
            base_offset: (code.is_none() && answer.base_offset >= 0).then_some(answer.base_offset),
            log_append_time: (answer.log_append_time_ms >= 0).then_some(answer.log_append_time_ms),
        };
        let verdict = verdict(code);
        // Without sequence numbers a duplicate cannot be told from a first write, and nothing can be out of order.
        let verdict = match verdict {
            Verdict::OutOfSequence if !self.shared.limits.idempotent => Verdict::Rejected,
            verdict => verdict,
        };
        self.answer(now, partition, token, Answer { verdict, receipt, failure }, moved);
    }

    fn failure(&self, partition: &Partition, answer: &PartitionProduceResponse) -> Failure {
        let error = |text: Option<&String>| {
            let doing = format_args!("produce to {}", partition.name);
            let error = Error::broker(doing, answer.error_code, self.lane.broker);
            error.with_topic_partition(partition.name.clone()).with_broker_text(text.map(String::as_str))
        };
        let named = answer.record_errors.iter().filter_map(|record| {
            let index = u32::try_from(record.batch_index).ok()?;
            Some((index, error(record.batch_index_error_message.as_ref().or(answer.error_message.as_ref()))))
        });
        Failure { records: named.collect(), error: error(answer.error_message.as_ref()) }
    }
}

impl RequestSource for Sender {
    fn address(&self) -> Option<Address> {
        let address = self.shared.cluster.address(self.lane.broker);
        if address.is_none() && self.lane.agenda.first_due().is_some() {
            self.shared.cluster.request_refresh();
        }
        address
    }

    fn wants_connection(&self, now: Time) -> bool {
        self.lane.agenda.first_due().is_some_and(|due| due <= now)
    }

    fn is_closed(&self) -> bool {
        self.shared.has_ended()
    }

    fn on_connected(&mut self, _now: Time, versions: &BrokerVersions) {
        self.versions = Some(versions.clone());
        self.lane.set_trouble(None);
    }

    fn on_disconnected(&mut self, now: Time, cause: &Error) {
        self.versions = None;
        self.lane.set_trouble(Some(cause.clone()));
        for (_, sent) in std::mem::take(&mut self.in_flight) {
            self.answer_all(now, sent.batches, || Answer::unknown(cause));
        }
        self.shared.cluster.request_refresh();
    }

    fn next_request(&mut self, now: Time, correlation_id: i32) -> Option<Outgoing> {
        if now < self.muted_until {
            return None;
        }
        let mut batches = self.collect(now);
        if batches.is_empty() {
            return None;
        }
        let tokens: Vec<_> = batches.iter().map(|(partition, sending)| (partition.clone(), sending.token)).collect();
        let ids_known = batches.iter().all(|(partition, _)| !partition.topic_id.is_zero());
        let at_most = if ids_known { ProduceRequest::VERSIONS.max } else { TOPIC_IDS - 1 };
        let net = self.shared.cluster.net();
        let encoded =
            self.versions.as_ref().map(|versions| versions.pick::<ProduceRequest>(at_most)).and_then(|picked| {
                let version = picked.inspect_err(|error| debug!(%error, "cannot produce")).ok()?;
                let request = self.request(version, &mut batches);
                let pieces = encode_request(version, correlation_id, &net.limits.client_id, &request);
                Some((version, pieces.inspect_err(|error| debug!(%error, "cannot encode")).ok()?))
            });
        let Some((version, pieces)) = encoded else {
            let broker = self.lane.broker;
            let cause =
                Error::new(ErrorKind::Protocol, format!("broker {broker} speaks no version of Produce that we do"));
            let answer = || Answer {
                verdict: Verdict::Rejected,
                receipt: BatchReceipt::NOWHERE,
                failure: Some(cause.clone().into()),
            };
            self.answer_all(now, tokens, answer);
            return None;
        };
        let token = self.next_token;
        self.next_token += 1;
        let answered = self.shared.settings.acks != Acks::None;
        if answered {
            self.in_flight.insert(token, Sent { version, batches: tokens });
        } else {
            self.answer_all(now, tokens, Answer::unwanted);
        }
        // The broker itself may take the request timeout to hear from its followers; leave its answer some time to arrive.
        let deadline = now + net.limits.request_timeout + Duration::from_millis(500);
        Some(Outgoing { pieces, token, deadline, answered })
    }

    fn on_response(&mut self, now: Time, token: u64, frame: Bytes) -> Result<()> {
        let Some(mut sent) = self.in_flight.remove(&token) else { return Ok(()) };
        let response = match decode_response::<ProduceRequest>(sent.version, frame) {
            Ok(response) => response,
            Err(error) => {
                let broker = self.lane.broker;
                let text = format!("malformed answer to Produce version {} from broker {broker}", sent.version);
                let error = Error::new(ErrorKind::Protocol, text).with_source(error);
                self.answer_all(now, sent.batches, || Answer::unknown(&error));
                return Err(error);
            }
        };
        let ProduceResponse { responses, throttle_time_ms, .. } = response;
        for topic in &responses {
            for answer in &topic.partition_responses {
                let answered = sent.batches.iter().position(|(partition, _)| {
                    let same_topic = match sent.version {
                        TOPIC_IDS.. => partition.topic_id == topic.topic_id,
                        _ => partition.name.topic() == topic.name,
                    };
                    same_topic && partition.name.partition() == answer.index
                });
                // A partition that was not asked about, or is answered twice, is passed over.
                if let Some(answered) = answered {
                    let (partition, token) = sent.batches.swap_remove(answered);
                    self.on_partition(now, &partition, token, answer);
                }
            }
        }
        let broker = self.lane.broker;
        let omitted =
            Error::new(ErrorKind::Protocol, format!("broker {broker} left the partition out of its answer to Produce"));
        self.answer_all(now, sent.batches, || {
            Answer::unknown(&omitted.clone().with_code(ErrorCode::UNKNOWN_SERVER_ERROR))
        });
        if let Ok(throttle) = u64::try_from(throttle_time_ms) {
            self.muted_until = now + Duration::from_millis(throttle).min(MAX_THROTTLE);
        }
        Ok(())
    }

    fn next_deadline(&self) -> Option<Time> {
        self.lane.agenda.first_due().map(|due| due.max(self.muted_until))
    }

    fn max_in_flight(&self) -> usize {
        self.shared.settings.max_in_flight
    }

    fn on_silence(&mut self) {
        self.shared.cluster.request_refresh();
    }
}
