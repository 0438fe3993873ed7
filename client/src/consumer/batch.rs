//! What the application reads: records, batches of them, and views into those. Pure.
//!
//! A [`Chunk`] is one record batch as it came from the broker, decompressed, with the lease it was handed out under. Everything
//! else is a reference to chunks and a place in them; no record is ever copied unless [`ConsumerRecord::detach`] asks for it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use milena_protocol::records::{self, Attributes, BatchHeader, Record, RecordSet};

use super::fetch_budget::Charge;
use super::holds::Holds;
use super::lease::{FetchPosition, LeaseId};
use crate::clock::from_millis;
use crate::topic_partition::TopicPartition;

/// The records of one batch of one partition.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) partition: TopicPartition,
    pub(crate) lease: LeaseId,
    pub(crate) records: RecordSet,
    pub(crate) holds: Arc<Holds>,
    /// For what was decompressed; what was not shares the frame, which has a charge of its own.
    pub(crate) _charge: Option<Charge>,
}

impl Chunk {
    /// The position behind the batch, which may be beyond its last record if that was compacted away.
    pub(crate) fn end(&self) -> FetchPosition {
        let header = self.records.header();
        FetchPosition { offset: header.next_offset(), epoch: header.partition_leader_epoch }
    }

    pub(crate) fn epoch(&self) -> i32 {
        self.records.header().partition_leader_epoch
    }

    /// The record at this place, which was read before.
    fn record(&self, at: u32) -> Option<Record<'_>> {
        self.records.read_at(usize::try_from(at).ok()?).ok().map(|(record, _)| record)
    }
}

/// One record that was read, with its bytes. While it exists, it counts as held.
///
/// It keeps the memory of the batch that it came in; [`ConsumerRecord::detach`] gives that back.
#[must_use = "under the default policy a record that is dropped counts as done at the next read"]
pub struct ConsumerRecord {
    chunk: Arc<Chunk>,
    at: u32,
    index: u32,
    offset: i64,
    timestamp: i64,
}

impl ConsumerRecord {
    /// `holds` has counted it already.
    pub(crate) fn new(chunk: &Arc<Chunk>, at: u32, index: u32, offset: i64, timestamp: i64) -> Self {
        Self { chunk: chunk.clone(), at, index, offset, timestamp }
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        self.chunk.partition.topic()
    }

    /// The number of the partition, from 0.
    pub fn partition(&self) -> i32 {
        self.chunk.partition.partition()
    }

    /// The topic and the partition.
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.chunk.partition
    }

    /// Where it is in its partition.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// When it was written, by the producer's clock or the broker's as the topic is configured, in milliseconds. A timestamp
    /// before 1970 reads as 1970.
    pub fn timestamp(&self) -> SystemTime {
        from_millis(self.timestamp)
    }

    /// The key; `None` if it is null.
    pub fn key(&self) -> Option<&[u8]> {
        self.chunk.record(self.at)?.key
    }

    /// The value; `None` if it is null.
    pub fn value(&self) -> Option<&[u8]> {
        self.chunk.record(self.at)?.value
    }

    /// The value, to keep. It shares the memory of the batch and keeps all of that alive; the record itself may be dropped.
    pub fn value_bytes(&self) -> Option<Bytes> {
        self.value().map(|value| self.chunk.records.bytes().slice_ref(value))
    }

    /// The headers, in the order in which they were written.
    pub fn headers(&self) -> Headers<'_> {
        Headers(self.chunk.record(self.at).map(|record| record.headers).unwrap_or_default())
    }

    /// Says that the record is done. Under [`CommitPolicy::Acked`](crate::CommitPolicy::Acked) nothing else makes it so; records
    /// may be acknowledged in any order. Under `Returned` it is done at once rather than at the next read; under `Manual` this is
    /// the same as dropping it. Without effect after the partition was revoked or lost: the record comes again elsewhere.
    pub fn ack(self) {
        self.chunk.holds.ack(self.index);
    }

    /// Copies the record's bytes, so that the memory of the batch it came in can be freed. The copy is the same record: it is
    /// still held, and can be committed.
    pub fn detach(mut self) -> ConsumerRecord {
        if let Some(copy) = self.copy() {
            self.chunk = copy;
            self.at = 0;
        }
        self
    }

    /// A chunk with this record alone, which shares the counting of holders.
    fn copy(&self) -> Option<Arc<Chunk>> {
        let set = &self.chunk.records;
        let at = usize::try_from(self.at).ok()?;
        let (_, end) = set.read_at(at).ok()?;
        let body = Bytes::copy_from_slice(set.bytes().get(at..end)?);
        let plain = Attributes::default().with_timestamp_type(set.header().attributes.timestamp_type());
        let header = BatchHeader { record_count: 1, attributes: plain, ..*set.header() };
        let batch = [&header.encode(std::slice::from_ref(&body))[..], &body].concat();
        let batch = records::Batches::new(batch.into()).next()?.ok()?;
        let records = batch.records(body.len()).ok()?;
        let Chunk { partition, lease, holds, .. } = &*self.chunk;
        Some(Arc::new(Chunk {
            partition: partition.clone(),
            lease: *lease,
            records,
            holds: holds.clone(),
            _charge: None,
        }))
    }

    pub(crate) fn lease(&self) -> LeaseId {
        self.chunk.lease
    }

    pub(crate) fn next_position(&self) -> FetchPosition {
        FetchPosition { offset: self.offset + 1, epoch: self.chunk.epoch() }
    }
}

impl Drop for ConsumerRecord {
    fn drop(&mut self) {
        self.chunk.holds.release(self.index);
    }
}

impl fmt::Debug for ConsumerRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(f, "ConsumerRecord", &self.chunk.partition, self.offset, self.key(), self.value())
    }
}

/// Shows where a record is and how long its parts are; what is in it is the application's business and may be secret.
fn describe(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    partition: &TopicPartition,
    offset: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) -> fmt::Result {
    let mut debug = f.debug_struct(name);
    debug.field("partition", &format_args!("{partition}")).field("offset", &offset);
    debug.field("key_len", &key.map(<[u8]>::len)).field("value_len", &value.map(<[u8]>::len)).finish_non_exhaustive()
}

/// Headers of a record: names with their values, which may be null; a name may come more than once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a>(records::Headers<'a>);

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Headers<'_> {}

/// Neighbouring records of one chunk.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) chunk: Arc<Chunk>,
    /// Where the first record is, and its index in the chunk.
    pub(crate) at: u32,
    pub(crate) index: u32,
    pub(crate) count: u32,
    /// The first record's offset. Unless records are counted one by one, holding that one is holding all of them.
    pub(crate) first: i64,
    pub(crate) next: FetchPosition,
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.chunk.holds.release_piece(self.index, self.count);
    }
}

/// Records that were read together, in order within each partition. While it exists, all of them count as held.
///
/// Views into it ([`Batch::iter`], or `for record in &batch`) copy nothing and count nothing: the fast way to read.
#[must_use = "under the default policy records that are dropped count as done at the next read"]
pub struct Batch {
    pieces: Vec<Piece>,
    len: usize,
}

impl Batch {
    pub(crate) fn empty() -> Self {
        Self { pieces: Vec::new(), len: 0 }
    }

    pub(crate) fn push(&mut self, piece: Piece) {
        self.len += piece.count as usize;
        self.pieces.push(piece);
    }

    /// How many records there are. At least one, in a batch that was read.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The records, in order within each partition.
    pub fn iter(&self) -> Iter<'_> {
        Iter { batch: self, pieces: self.pieces.iter(), current: None, left: self.len }
    }

    /// Says that all of its records are done; see [`ConsumerRecord::ack`].
    pub fn ack(self) {
        for piece in &self.pieces {
            piece.chunk.holds.ack_piece(piece.index, piece.count);
        }
    }

    /// One batch for each partition, in the order of topics and partitions. Nothing is copied, and every record stays held.
    pub fn by_partition(self) -> impl Iterator<Item = (TopicPartition, Batch)> {
        let mut batches: BTreeMap<TopicPartition, Batch> = BTreeMap::new();
        for piece in self.pieces {
            batches.entry(piece.chunk.partition.clone()).or_insert_with(Batch::empty).push(piece);
        }
        batches.into_iter()
    }

    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Where this batch begins in a partition.
    pub(crate) fn first_offset(&self, partition: &TopicPartition) -> Option<i64> {
        self.pieces.iter().filter(|piece| piece.chunk.partition == *partition).map(|piece| piece.first).min()
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_map();
        for piece in &self.pieces {
            debug.entry(&format_args!("{}", piece.chunk.partition), &(piece.first..piece.next.offset));
        }
        debug.finish()
    }
}

impl<'b> IntoIterator for &'b Batch {
    type Item = RecordView<'b>;
    type IntoIter = Iter<'b>;

    fn into_iter(self) -> Iter<'b> {
        self.iter()
    }
}

/// Walks the records of a [`Batch`].
#[derive(Clone)]
pub struct Iter<'b> {
    batch: &'b Batch,
    pieces: std::slice::Iter<'b, Piece>,
    current: Option<Walk<'b>>,
    left: usize,
}

#[derive(Clone)]
struct Walk<'b> {
    chunk: &'b Arc<Chunk>,
    at: usize,
    index: u32,
    left: u32,
}

impl<'b> Iterator for Iter<'b> {
    type Item = RecordView<'b>;

    #[inline]
    fn next(&mut self) -> Option<RecordView<'b>> {
        loop {
            if let Some(walk) = self.current.as_mut().filter(|walk| walk.left > 0) {
                // Cannot fail: the records were read when the batch was put together.
                let (record, next) = walk.chunk.records.read_at(walk.at).ok()?;
                let view = RecordView {
                    batch: self.batch,
                    chunk: walk.chunk,
                    at: walk.at as u32,
                    index: walk.index,
                    offset: record.offset,
                    timestamp: record.timestamp,
                    key: record.key,
                    value: record.value,
                    headers: Headers(record.headers),
                };
                walk.at = next;
                walk.index += 1;
                walk.left -= 1;
                self.left -= 1;
                return Some(view);
            }
            let piece = self.pieces.next()?;
            self.current =
                Some(Walk { chunk: &piece.chunk, at: piece.at as usize, index: piece.index, left: piece.count });
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl fmt::Debug for Iter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").field("left", &self.left).finish_non_exhaustive()
    }
}

/// One record of a [`Batch`], borrowed from it.
#[derive(Clone, Copy)]
pub struct RecordView<'b> {
    batch: &'b Batch,
    chunk: &'b Arc<Chunk>,
    at: u32,
    index: u32,
    timestamp: i64,
    headers: Headers<'b>,
    /// Where it is in its partition.
    pub offset: i64,
    /// The key; `None` if it is null.
    pub key: Option<&'b [u8]>,
    /// The value; `None` if it is null.
    pub value: Option<&'b [u8]>,
}

impl<'b> RecordView<'b> {
    /// The topic.
    pub fn topic(&self) -> &'b str {
        self.chunk.partition.topic()
    }

    /// The number of the partition, from 0.
    pub fn partition(&self) -> i32 {
        self.chunk.partition.partition()
    }

    /// The topic and the partition.
    pub fn topic_partition(&self) -> &'b TopicPartition {
        &self.chunk.partition
    }

    /// When it was written; see [`ConsumerRecord::timestamp`].
    pub fn timestamp(&self) -> SystemTime {
        from_millis(self.timestamp)
    }

    /// The headers, in the order in which they were written.
    pub fn headers(&self) -> Headers<'b> {
        self.headers
    }

    /// Says that this record is done; see [`ConsumerRecord::ack`]. It counts as held until the batch is dropped all the same. Under
    /// [`CommitPolicy::Returned`](crate::CommitPolicy::Returned) only dropping or acknowledging the whole batch makes it done.
    pub fn ack(&self) {
        if self.chunk.holds.by_record() {
            self.chunk.holds.ack(self.index);
        }
    }

    /// The same record with a life of its own: it may outlive the batch, and counts as held until it is dropped.
    #[allow(clippy::wrong_self_convention, reason = "as for str and slices")]
    pub fn to_owned(&self) -> ConsumerRecord {
        self.chunk.holds.hold(self.index, self.offset);
        let Self { chunk, at, index, offset, timestamp, .. } = *self;
        ConsumerRecord { chunk: chunk.clone(), at, index, offset, timestamp }
    }

    pub(crate) fn batch(&self) -> &'b Batch {
        self.batch
    }

    pub(crate) fn lease(&self) -> LeaseId {
        self.chunk.lease
    }

    pub(crate) fn next_position(&self) -> FetchPosition {
        FetchPosition { offset: self.offset + 1, epoch: self.chunk.epoch() }
    }
}

impl fmt::Debug for RecordView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(f, "RecordView", &self.chunk.partition, self.offset, self.key, self.value)
    }
}
