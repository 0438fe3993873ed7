//! What a leader does with a batch: checks, offsets, the log, the followers. Pure.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use milena_protocol::ErrorCode;
use milena_protocol::compression::{Compression, Compressor};
use milena_protocol::primitives::Records;
use milena_protocol::records::{
    Attributes, Batch, BatchError, BatchErrorKind, BatchHeader, Batches, NewRecord, TimestampType,
};

use super::Core;
use super::controller::{PartitionId, Refusal};
use super::producers::Verdict;
use super::topic_configs::AppendRules;
use super::transactions::Identity;

/// Positions of the length and of the format's number, the same in all formats.
const LENGTH_POSITION: usize = 8;
const MAGIC_POSITION: usize = 16;

/// The least that their length says: of the old formats, and of format 2.
const MIN_LENGTH: i32 = 14;
const MIN_LENGTH_2: i32 = 49;

/// Where a batch is in the log, now or since before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) base_offset: i64,
    pub(crate) last_offset: i64,
    pub(crate) leader_epoch: i32,
    /// -1 if the producer's time stamps hold.
    pub(crate) append_time_ms: i64,
    pub(crate) log_start_offset: i64,
}

/// Why a batch was not written, and which of its records are to blame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) refusal: Refusal,
    /// Index in the batch, and why.
    pub(crate) records: Vec<(i32, String)>,
    pub(crate) stage: Stage,
}

/// How far a batch came. Kafka says more or less, accordingly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It is not even a batch.
    Bytes,
    Request,
    /// The coordinator of its transaction refused it.
    Transaction,
    /// The log refused it.
    Log,
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, records: Vec::new(), stage: Stage::Request }
    }
}

fn reject(code: ErrorCode, message: impl std::fmt::Display) -> Rejection {
    Refusal::new(code, message).into()
}

/// Checks what a Produce request carries for one partition before a replica is asked: exactly one batch of format 2.
pub(crate) fn single_batch(records: Option<Records>, version: i16) -> Result<Batch, Rejection> {
    let bytes = records.map_or(Bytes::new(), Records::into_bytes);
    let mut batches = Batches::new(bytes.clone());
    let first = batches.next().transpose().map_err(|error| unreadable_frame(&bytes, &error))?;
    let Some(batch) = first else {
        return Err(reject(ErrorCode::INVALID_RECORD, "a produce request must have one whole record batch"));
    };
    let rest = bytes.slice(batch.bytes().len()..);
    if batches.next().transpose().map_err(|error| unreadable_frame(&rest, &error))?.is_some() {
        let message = "a produce request must have exactly one record batch per partition";
        return Err(reject(ErrorCode::INVALID_RECORD, message));
    }
    if version < 7 && batch.header().attributes.compression() == Some(Compression::Zstd) {
        let message = "zstd needs version 7 of the produce request";
        return Err(reject(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE, message));
    }
    Ok(batch)
}

/// Bytes that are not a batch are corrupt. A batch of an old format, or with offsets that cannot be, is invalid.
fn unreadable_frame(bytes: &Bytes, error: &BatchError) -> Rejection {
    let length = bytes.get(LENGTH_POSITION..).and_then(|rest| rest.first_chunk());
    let length = length.map_or(0, |chunk| i32::from_be_bytes(*chunk));
    let (code, stage) = match bytes.get(MAGIC_POSITION) {
        Some(0 | 1) if length >= MIN_LENGTH => (ErrorCode::INVALID_RECORD, Stage::Request),
        Some(2) if length >= MIN_LENGTH_2 => (ErrorCode::INVALID_RECORD, Stage::Log),
        _ => (ErrorCode::CORRUPT_MESSAGE, Stage::Bytes),
    };
    Rejection { stage, ..reject(code, error) }
}

/// Checks a batch against its topic's rules, and makes it what the topic wants: time stamps, codec.
fn conform(batch: Batch, rules: &AppendRules, wall_ms: i64) -> Result<Batch, Rejection> {
    let header = *batch.header();
    if header.base_offset != 0 {
        let message = format_args!("the record batch has base offset {}, not 0", header.base_offset);
        return Err(reject(ErrorCode::INVALID_RECORD, message));
    }
    check_size(&batch, rules)?;
    if !batch.has_valid_crc() {
        return Err(reject(
            ErrorCode::CORRUPT_MESSAGE,
            "the record batch does not have the bytes its CRC was taken of",
        ));
    }
    if header.record_count <= 0 || header.last_offset_delta != header.record_count - 1 {
        let message = format_args!(
            "{} records cannot have a last offset delta of {}",
            header.record_count, header.last_offset_delta
        );
        return Err(reject(ErrorCode::INVALID_RECORD, message));
    }
    if header.attributes.is_control() {
        return Err(reject(ErrorCode::INVALID_RECORD, "clients may not write control records"));
    }
    if header.producer_id >= 0 && header.base_sequence < 0 {
        return Err(reject(ErrorCode::INVALID_RECORD, "a batch with a producer id needs a sequence number"));
    }
    let latest = check_records(&batch, rules, wall_ms)?;
    let mut wanted = header;
    wanted.attributes = header.attributes.with_timestamp_type(rules.timestamp_type);
    wanted.max_timestamp = match rules.timestamp_type {
        TimestampType::CreateTime => latest,
        TimestampType::LogAppendTime => wall_ms,
    };
    let codec = rules.compression.or(header.attributes.compression()).unwrap_or_default();
    wanted.attributes = wanted.attributes.with_compression(codec);
    if wanted == header {
        check_segment(&batch, rules)?;
        return Ok(batch);
    }
    let body = if Some(codec) == header.attributes.compression() {
        batch.body()
    } else {
        let records = batch.records(rules.max_decompressed_bytes).map_err(|error| unreadable(&error))?;
        Compressor::new(codec, None)
            .compress(std::slice::from_ref(records.bytes()))
            .map_err(|error| reject(ErrorCode::UNKNOWN_SERVER_ERROR, error))?
    };
    let batch = assemble(wanted, body).map_err(|error| reject(ErrorCode::UNKNOWN_SERVER_ERROR, error))?;
    check_size(&batch, rules)?;
    check_segment(&batch, rules)?;
    Ok(batch)
}

fn check_segment(batch: &Batch, rules: &AppendRules) -> Result<(), Rejection> {
    let (size, limit) = (batch.bytes().len(), rules.segment_bytes);
    if size > limit {
        let message = format_args!("{size} bytes do not fit into a segment of {limit}");
        return Err(reject(ErrorCode::RECORD_LIST_TOO_LARGE, message));
    }
    Ok(())
}

fn check_size(batch: &Batch, rules: &AppendRules) -> Result<(), Rejection> {
    let size = batch.bytes().len();
    if size > rules.max_message_bytes {
        let limit = rules.max_message_bytes;
        return Err(reject(
            ErrorCode::MESSAGE_TOO_LARGE,
            format_args!("{size} bytes are more than the {limit} allowed"),
        ));
    }
    Ok(())
}

fn unreadable(error: &BatchError) -> Rejection {
    match error.kind() {
        BatchErrorKind::Codec | BatchErrorKind::Decompression => reject(ErrorCode::UNKNOWN_SERVER_ERROR, error),
        BatchErrorKind::TooLarge => reject(ErrorCode::MESSAGE_TOO_LARGE, error),
        _ => reject(ErrorCode::INVALID_RECORD, error),
    }
}

/// Gives the latest time stamp.
fn check_records(batch: &Batch, rules: &AppendRules, wall_ms: i64) -> Result<i64, Rejection> {
    let records = batch.records(rules.max_decompressed_bytes).map_err(|error| unreadable(&error))?;
    let by_producer = rules.timestamp_type == TimestampType::CreateTime;
    let mut latest = -1;
    let is_odd = !by_producer && batch.header().attributes.timestamp_type() == TimestampType::LogAppendTime;
    let mut blamed = Vec::new();
    let mut code = ErrorCode::INVALID_RECORD;
    for (index, record) in (0..).zip(&records) {
        let record = record.map_err(|error| unreadable(&error))?;
        if record.offset != i64::from(index) {
            return Err(reject(ErrorCode::INVALID_RECORD, format_args!("record {index} has offset {}", record.offset)));
        }
        let age = wall_ms.saturating_sub(record.timestamp);
        let is_in_time = age <= rules.timestamp_before_max_ms && age.saturating_neg() <= rules.timestamp_after_max_ms;
        if rules.is_compacted && record.key.is_none() {
            blamed.push((index, "a compacted topic needs a key in every record".to_owned()));
        } else if by_producer && record.timestamp != -1 && !is_in_time {
            let text = format!("time stamp {} is out of range, the broker's time is {wall_ms}", record.timestamp);
            blamed.push((index, text));
            code = ErrorCode::INVALID_TIMESTAMP;
        } else if is_odd {
            blamed.push((index, "a producer cannot say when its records were appended".to_owned()));
            code = ErrorCode::INVALID_TIMESTAMP;
        }
        latest = latest.max(record.timestamp);
    }
    if !blamed.is_empty() {
        return Err(Rejection { records: blamed, ..reject(code, "one or more records have been rejected") });
    }
    Ok(latest)
}

/// A batch of the broker's own making.
pub(super) fn assemble(header: BatchHeader, body: Bytes) -> Result<Batch, BatchError> {
    let body = [body];
    let mut bytes = BytesMut::from(&header.encode(&body)[..]);
    bytes.extend_from_slice(&body.concat());
    let cut = || Err(BatchError::new(Some(header.base_offset), BatchErrorKind::Length, "it is longer than 2 GiB"));
    Batches::new(bytes.freeze()).next().unwrap_or_else(cut)
}

impl Core {
    /// Appends a client's batch at the broker that it was sent to, and lets the followers copy it.
    pub(crate) fn append(
        &mut self,
        now: Duration,
        broker: i32,
        id: PartitionId,
        batch: Batch,
        acks: i16,
    ) -> Result<Appended, Rejection> {
        let wall_ms = self.wall_ms(now);
        let checked = self.check_leader(broker, id, acks).and_then(|rules| conform(batch, &rules, wall_ms));
        let written = checked.and_then(|batch| self.write(broker, id, &batch));
        written.map_err(|rejection| Rejection { stage: Stage::Log, ..rejection })
    }

    /// Appends records of the brokers' own, all or none, and lets the followers copy them. Those of a transaction count when it
    /// commits.
    pub(crate) fn append_own(
        &mut self,
        now: Duration,
        broker: i32,
        id: PartitionId,
        transaction: Option<Identity>,
        records: &[(Bytes, Option<Bytes>)],
    ) -> Result<Appended, Rejection> {
        let header = match transaction {
            Some(Identity { producer_id, epoch: producer_epoch }) => BatchHeader {
                producer_id,
                producer_epoch,
                attributes: Attributes::default().with_transactional(),
                ..BatchHeader::default()
            },
            None => BatchHeader::default(),
        };
        let mut body = Vec::new();
        for (delta, (key, value)) in (0..).zip(records) {
            NewRecord { key: Some(key), value: value.as_deref(), headers: &[] }.append_to(delta, 0, &mut body);
        }
        let record_count = i32::try_from(records.len()).unwrap_or(i32::MAX);
        self.append_by_broker(now, broker, id, BatchHeader { record_count, ..header }, body)
    }

    /// Appends the marker that ends a producer's transaction in a partition.
    pub(crate) fn append_marker(
        &mut self,
        now: Duration,
        broker: i32,
        id: PartitionId,
        Identity { producer_id, epoch: producer_epoch }: Identity,
        (key, value): (&[u8], &[u8]),
    ) -> Result<Appended, Rejection> {
        let mut body = Vec::new();
        NewRecord { key: Some(key), value: Some(value), headers: &[] }.append_to(0, 0, &mut body);
        let attributes = Attributes::default().with_transactional().with_control();
        let header = BatchHeader { producer_id, producer_epoch, attributes, record_count: 1, ..BatchHeader::default() };
        self.append_by_broker(now, broker, id, header, body)
    }

    fn append_by_broker(
        &mut self,
        now: Duration,
        broker: i32,
        id: PartitionId,
        header: BatchHeader,
        body: Vec<u8>,
    ) -> Result<Appended, Rejection> {
        self.check_leader(broker, id, -1)?;
        let wall_ms = self.wall_ms(now);
        let header = BatchHeader {
            last_offset_delta: header.record_count - 1,
            base_timestamp: wall_ms,
            max_timestamp: wall_ms,
            ..header
        };
        let batch = assemble(header, body.into()).map_err(|error| reject(ErrorCode::UNKNOWN_SERVER_ERROR, error))?;
        self.write(broker, id, &batch)
    }

    /// The rules of the partition's topic, if the broker leads the partition and there are replicas enough.
    fn check_leader(&self, broker: i32, id: PartitionId, acks: i16) -> Result<AppendRules, Rejection> {
        let not_leader =
            || reject(ErrorCode::NOT_LEADER_OR_FOLLOWER, format_args!("broker {broker} is not the leader"));
        let replica = self.brokers.get(&broker).and_then(|broker| broker.replicas.get(&id)).ok_or_else(not_leader)?;
        if replica.role.leader != broker {
            return Err(not_leader());
        }
        let view = self.view(broker);
        let Some(topic) = view.topic_by_id(id.topic) else { return Err(not_leader()) };
        let insync = replica.role.isr.len();
        let wanted = view.min_insync(id);
        if acks == -1 && insync < wanted {
            let message = format_args!("{insync} replicas are in sync, fewer than the {wanted} that are required");
            return Err(reject(ErrorCode::NOT_ENOUGH_REPLICAS, message));
        }
        Ok(topic.rules)
    }

    fn write(&mut self, broker: i32, id: PartitionId, batch: &Batch) -> Result<Appended, Rejection> {
        let not_leader =
            || reject(ErrorCode::NOT_LEADER_OR_FOLLOWER, format_args!("broker {broker} is not the leader"));
        let host = self.brokers.get_mut(&broker).ok_or_else(not_leader)?;
        let replica = host.replicas.get_mut(&id).ok_or_else(not_leader)?;
        let header = *batch.header();
        let log_start_offset = replica.log.start();
        let leader_epoch = replica.role.leader_epoch;
        match replica.producers.judge(&header) {
            Verdict::Append => {}
            Verdict::Duplicate { base_offset, last_offset, timestamp } => {
                return Ok(Appended {
                    base_offset,
                    last_offset,
                    leader_epoch,
                    append_time_ms: timestamp,
                    log_start_offset,
                });
            }
            Verdict::Refuse(code) => {
                let (producer, epoch, sequence) = (header.producer_id, header.producer_epoch, header.base_sequence);
                let message = format_args!(
                    "producer {producer} with epoch {epoch} sent sequence {sequence}, which does not follow"
                );
                return Err(reject(code, message));
            }
        }
        let is_in_transaction = replica.log.open_transaction(header.producer_id).is_some();
        if is_in_transaction && !header.attributes.is_transactional() {
            let message = format_args!("producer {} writes past its open transaction", header.producer_id);
            return Err(reject(ErrorCode::INVALID_TXN_STATE, message));
        }
        let batch = batch.at(replica.log.end(), leader_epoch);
        let header = *batch.header();
        self.upkeep.appended(batch.bytes().len());
        replica.append(batch);
        self.changed.insert(id);
        self.replicate(id);
        let by_broker = header.attributes.timestamp_type() == TimestampType::LogAppendTime;
        Ok(Appended {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            leader_epoch,
            append_time_ms: if by_broker { header.max_timestamp } else { -1 },
            log_start_offset,
        })
    }
}
