//! One batch on its way: records encoded as they come, then frozen, then sent as often as it takes. Pure.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use milena_protocol::compression::Compression;
use milena_protocol::primitives::Records;
use milena_protocol::records::{Attributes, BatchHeader, Batches, HEADER_LEN, NewRecord};

use super::delivery::Outcome;
use super::segment::{Replacement, Reservation, Segment, segment_size};
use super::sequencer::Stamp;
use crate::clock::Time;
use crate::error::Error;

/// A batch that still takes records.
pub(crate) struct OpenBatch {
    segments: Vec<Segment>,
    bytes: usize,
    records: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    pub(crate) created: Time,
    pub(crate) outcome: Arc<Outcome>,
}

/// A record could not be appended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// It needs a segment of this many bytes.
    Segment(usize),
    /// The batch is as large as it may become.
    Batch,
}

impl OpenBatch {
    pub(crate) fn new(created: Time, base_timestamp: i64, outcome: Arc<Outcome>) -> Self {
        let (segments, max_timestamp) = (Vec::new(), base_timestamp);
        Self { segments, bytes: 0, records: 0, base_timestamp, max_timestamp, created, outcome }
    }

    /// How many bytes it would have on the wire, uncompressed.
    pub(crate) fn len(&self) -> usize {
        HEADER_LEN + self.bytes
    }

    /// Appends a record and gives its index. `spare` is taken if a new segment is needed.
    pub(crate) fn append(
        &mut self,
        record: &NewRecord<'_>,
        timestamp: i64,
        max_len: usize,
        spare: &mut Option<Segment>,
    ) -> Result<u32, NoRoom> {
        let timestamp_delta = timestamp.wrapping_sub(self.base_timestamp);
        let length = record.encoded_len(self.records, timestamp_delta);
        if self.records > 0 && self.len() + length > max_len {
            return Err(NoRoom::Batch);
        }
        if self.segments.last().is_none_or(|segment| segment.room() < length) {
            match spare.take_if(|spare| spare.room() >= length) {
                Some(segment) => self.segments.push(segment),
                None => return Err(NoRoom::Segment(segment_size(self.bytes, length))),
            }
        }
        let Some(segment) = self.segments.last_mut() else { return Err(NoRoom::Segment(length)) };
        record.append_to(self.records, timestamp_delta, segment.buffer());
        self.bytes += length;
        let index = self.records;
        self.records += 1;
        self.max_timestamp = self.max_timestamp.max(timestamp);
        Ok(index.unsigned_abs())
    }

    /// No record comes any more, and no byte changes any more.
    pub(crate) fn freeze(self, delivery_timeout: Duration) -> Batch {
        let segments = self.segments.into_iter().filter(|segment| segment.len() > 0);
        let (reservations, body) = segments.map(|segment| (segment.reservation(), Bytes::from_owner(segment))).unzip();
        let reservations: Vec<Option<Arc<Reservation>>> = reservations;
        let header = BatchHeader {
            last_offset_delta: self.records - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            record_count: self.records,
            ..BatchHeader::default()
        };
        let reservations = reservations.into_iter().flatten().collect();
        let times = (self.created, self.created.saturating_add(delivery_timeout));
        Batch::queued(header, body, reservations, times, (self.outcome, 0))
    }
}

/// ```text
///              large and to be compressed            compressed
///   Queued ─────────────────────────► Compressing ───────────► Queued
///     │ ▲
///     │ └── unknown, or refused for now
///     ▼     │
///   InFlight ──► settled: removed from its queue
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Waits to be sent, for the first time or again.
    Queued,
    /// Waits for its compression; `token` names the work, so that what another batch became is not taken for it.
    Compressing { token: u64 },
    /// Was sent; `token` names the attempt, so that the answer to an older one is not taken for this one's.
    InFlight { token: u64 },
}

/// A frozen batch. Its header is written anew for each attempt, its body never changes.
pub(crate) struct Batch {
    pub(crate) header: BatchHeader,
    pub(crate) body: Vec<Bytes>,
    bytes: usize,
    /// Its size before compression.
    pub(crate) uncompressed: usize,
    reservations: Vec<Arc<Reservation>>,
    /// Compressed, or found not worth it.
    pub(crate) prepared: bool,
    /// When its first record came.
    pub(crate) created: Time,
    pub(crate) deadline: Time,
    pub(crate) outcome: Arc<Outcome>,
    /// The place of its first record among those that share the outcome.
    pub(crate) first: u32,
    pub(crate) stamp: Option<Stamp>,
    /// Its place among the stamped batches of its epoch.
    pub(crate) ordinal: usize,
    pub(crate) state: State,
    pub(crate) not_before: Time,
    pub(crate) failures: u32,
    pub(crate) last_failure: Option<Error>,
    /// An attempt ended without an answer that tells whether it was written.
    pub(crate) maybe_written: bool,
    /// The broker did not recognise it, and what comes before it is not on its way any more: it will not be written with its
    /// numbers. If it was written and forgotten, a batch after it was written too.
    pub(crate) unrecognised: bool,
    /// Its outcome was told while it was in flight; what remains is to learn what became of its sequence numbers.
    pub(crate) expired: bool,
}

impl Batch {
    /// A batch that was not sent yet. `outcome` is whom to tell, with the place of the first record among those that share it.
    fn queued(
        header: BatchHeader,
        body: Vec<Bytes>,
        reservations: Vec<Arc<Reservation>>,
        (created, deadline): (Time, Time),
        (outcome, first): (Arc<Outcome>, u32),
    ) -> Self {
        let bytes = body.iter().map(Bytes::len).sum();
        Self {
            header,
            body,
            bytes,
            uncompressed: bytes,
            reservations,
            prepared: false,
            created,
            deadline,
            outcome,
            first,
            stamp: None,
            ordinal: 0,
            state: State::Queued,
            not_before: Time::ZERO,
            failures: 0,
            last_failure: None,
            maybe_written: false,
            unrecognised: false,
            expired: false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        HEADER_LEN + self.bytes
    }

    pub(crate) fn records(&self) -> u64 {
        u64::try_from(self.header.record_count).unwrap_or(0)
    }

    /// Takes over the compressed body, unless it did not become smaller.
    pub(crate) fn on_compressed(&mut self, compression: Compression, compressed: Option<Bytes>) {
        self.prepared = true;
        if let Some(body) = compressed.filter(|body| body.len() < self.bytes) {
            self.header.attributes = Attributes::default().with_compression(compression);
            self.bytes = body.len();
            let reservations = std::mem::take(&mut self.reservations);
            self.body.clear();
            self.body = vec![Bytes::from_owner(Replacement::new(body, reservations))];
        }
    }

    /// Lets go of the body of a batch that will not be sent again. A request that is on its way keeps what it needs.
    pub(crate) fn release(&mut self) {
        self.body.clear();
        self.reservations.clear();
    }

    /// Two batches in the place of one that the broker refuses for its size, both not sent yet. `None` if it has one record, or
    /// cannot be read.
    pub(crate) fn split(&self) -> Option<[Batch; 2]> {
        let half = self.header.record_count / 2;
        let whole = Records::from_pieces(vec![
            Bytes::copy_from_slice(&self.header.encode(&self.body)),
            self.body.concat().into(),
        ]);
        let records = Batches::new(whole.into_bytes()).next()?.ok()?.records(usize::MAX).ok()?;
        let part = |range: Range<i32>| {
            let (mut body, mut max_timestamp) = (Vec::new(), i64::MIN);
            let wanted = records.iter().skip(usize::try_from(range.start).ok()?).take(range.len());
            for (delta, record) in (0..).zip(wanted) {
                let record = record.ok()?;
                let headers: Vec<_> = record.headers.collect();
                let new = NewRecord { key: record.key, value: record.value, headers: &headers };
                new.append_to(delta, record.timestamp.wrapping_sub(self.header.base_timestamp), &mut body);
                max_timestamp = max_timestamp.max(record.timestamp);
            }
            let count = i32::try_from(range.len()).ok()?;
            let header = BatchHeader {
                last_offset_delta: count - 1,
                base_timestamp: self.header.base_timestamp,
                max_timestamp,
                record_count: count,
                ..BatchHeader::default()
            };
            let times = (self.created, self.deadline);
            let told = (self.outcome.clone(), self.first + range.start.unsigned_abs());
            Some(Self::queued(header, vec![body.into()], self.reservations.clone(), times, told))
        };
        if half == 0 { None } else { Some([part(0..half)?, part(half..self.header.record_count)?]) }
    }

    /// What goes to the broker: the header for this attempt, then the body.
    pub(crate) fn wire(&mut self) -> Vec<Bytes> {
        if let Some(stamp) = self.stamp {
            self.header.producer_id = stamp.identity.producer_id;
            self.header.producer_epoch = stamp.identity.epoch;
            self.header.base_sequence = stamp.base_sequence;
        }
        let header = self.header.encode(&self.body);
        let mut pieces = Vec::with_capacity(1 + self.body.len());
        pieces.push(Bytes::copy_from_slice(&header));
        pieces.extend(self.body.iter().cloned());
        pieces
    }
}
