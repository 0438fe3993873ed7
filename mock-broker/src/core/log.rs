//! One replica's log: batches in segments, and where each leader epoch begins. Pure.

use std::collections::VecDeque;

use bytes::Bytes;
use milena_protocol::records::{Batch, BatchError, BatchHeader, ControlMarker, Record};

mod transaction_index;

use transaction_index::TransactionIndex;
pub(crate) use transaction_index::{Aborted, marker_of};

use super::topic_configs::LogRules;

mod compaction;
mod segments;

use segments::Segment;

/// Records are read back for assertions and by coordinators only after they were checked when they were appended.
const NO_LIMIT: usize = i32::MAX as usize;

/// `index.interval.bytes`.
const INDEX_INTERVAL: usize = 4096;

/// One record as it lies in a partition's log, read back for assertions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogRecord {
    /// Its offset in the partition.
    pub offset: i64,
    /// Its time stamp in milliseconds since the Unix epoch: the broker's if the topic has
    /// `message.timestamp.type=LogAppendTime`, else the producer's.
    pub timestamp: i64,
    /// Its key, if it has one.
    pub key: Option<Bytes>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Its headers in the order they were written; a key may come twice.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// Producer id, producer epoch and sequence number, if an idempotent producer wrote it.
    pub producer: Option<(i64, i16, i32)>,
}

/// A marker in a partition's log: the end of a producer's transaction there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogMarker {
    /// Its offset in the partition. Consumers skip it.
    pub offset: i64,
    /// Producer id and producer epoch.
    pub producer: (i64, i16),
    /// Whether the records of the transaction count.
    pub is_commit: bool,
}

/// A record found by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) leader_epoch: i32,
}

#[derive(Debug, Clone)]
struct Entry {
    batch: Batch,
    /// How many bytes are in the log before it.
    position: u64,
}

#[derive(Debug, Clone, Copy)]
struct EpochStart {
    epoch: i32,
    offset: i64,
}

/// Batches in the order of their offsets. Replicas share the bytes of a batch.
#[derive(Debug)]
pub(crate) struct Log {
    entries: VecDeque<Entry>,
    /// Each begins behind the one before it. The last one is active: it grows, and is never compacted.
    segments: VecDeque<Segment>,
    /// Both epochs and offsets rise strictly.
    epochs: Vec<EpochStart>,
    transactions: TransactionIndex,
    start: i64,
    end: i64,
    /// How many bytes have ever been behind the first entry's position.
    end_position: u64,
    /// Offsets below it have been compacted.
    clean_until: i64,
    rules: LogRules,
}

impl Log {
    pub(crate) fn new(rules: LogRules) -> Self {
        Self {
            transactions: TransactionIndex::default(),
            entries: VecDeque::new(),
            segments: VecDeque::new(),
            epochs: Vec::new(),
            start: 0,
            end: 0,
            end_position: 0,
            clean_until: 0,
            rules,
        }
    }

    /// The offset of the first record that is still kept. Its batch may have others before it.
    pub(crate) fn start(&self) -> i64 {
        self.start
    }

    /// The offset that the next record gets.
    pub(crate) fn end(&self) -> i64 {
        self.end
    }

    /// What the topic's configuration says about segments and about records that may go.
    pub(crate) fn set_rules(&mut self, rules: LogRules) {
        self.rules = rules;
    }

    /// `high_watermark` is that of before.
    pub(crate) fn append(&mut self, batch: Batch, high_watermark: i64) {
        let header = batch.header();
        debug_assert!(header.base_offset >= self.end(), "offsets rise");
        if self.latest_epoch().is_none_or(|epoch| epoch < header.partition_leader_epoch) {
            self.begin_epoch(header.partition_leader_epoch, header.base_offset);
        }
        self.transactions.append(&batch, high_watermark);
        self.end = header.next_offset();
        self.note_in_segment(&batch);
        self.push(batch);
    }

    fn push(&mut self, batch: Batch) {
        let position = self.end_position;
        self.end_position += batch.bytes().len() as u64;
        self.entries.push_back(Entry { batch, position });
    }

    /// How many bytes it has.
    pub(crate) fn size(&self) -> u64 {
        self.end_position - self.start_position()
    }

    fn start_position(&self) -> u64 {
        self.entries.front().map_or(self.end_position, |entry| entry.position)
    }

    /// Where offset `offset` would be, counted in bytes.
    fn position_of(&self, offset: i64) -> u64 {
        self.entries.get(self.index_of(offset)).map_or(self.end_position, |entry| entry.position)
    }

    /// Which entry has this offset, or comes after it.
    fn index_of(&self, offset: i64) -> usize {
        self.entries.partition_point(|entry| entry.batch.header().next_offset() <= offset)
    }

    /// Gives up what is below `start`, as far as that is whole batches. Tells whether anything is.
    pub(crate) fn advance_start(&mut self, start: i64) -> bool {
        if start <= self.start {
            return false;
        }
        self.start = start;
        self.end = self.end.max(start);
        self.clean_until = self.clean_until.max(start);
        self.entries.drain(..self.index_of(start));
        self.drop_segments_before(start);
        self.transactions.forget_before(start);
        // The epoch of the first record that is left begins with it.
        let begun = self.epochs.partition_point(|epoch| epoch.offset <= start);
        self.epochs.drain(..begun.saturating_sub(1));
        if let Some(first) = self.epochs.first_mut() {
            first.offset = first.offset.max(start);
        }
        true
    }

    /// The next record gets this offset, if not a later one: nothing is left of those before it.
    pub(crate) fn extend_to(&mut self, end: i64) {
        self.end = self.end.max(end);
    }

    /// Where the log would start without its first `excess` bytes.
    pub(crate) fn start_without(&self, excess: u64) -> i64 {
        let kept_from = self.start_position().saturating_add(excess);
        let first = self.entries.partition_point(|entry| entry.position < kept_from);
        self.entries.get(first).map_or(self.end, |entry| entry.batch.header().base_offset)
    }

    /// Notes that `epoch` begins at `offset`. Epochs without a record are forgotten when the next one begins.
    pub(crate) fn begin_epoch(&mut self, epoch: i32, offset: i64) {
        self.epochs.retain(|start| start.epoch < epoch && start.offset < offset);
        self.epochs.push(EpochStart { epoch, offset });
    }

    pub(crate) fn latest_epoch(&self) -> Option<i32> {
        self.epochs.last().map(|start| start.epoch)
    }

    /// Where the latest epoch begins.
    pub(crate) fn latest_epoch_start(&self) -> i64 {
        self.epochs.last().map_or(0, |start| start.offset)
    }

    /// The epoch of the first record, or the one that the first record will have.
    pub(crate) fn earliest_epoch(&self) -> Option<i32> {
        self.epochs.first().map(|start| start.epoch)
    }

    /// The largest epoch that is not above `epoch`, and where it ends; `None` if the log knows no epoch that could tell.
    pub(crate) fn end_of_epoch(&self, epoch: i32) -> Option<(i32, i64)> {
        if epoch == -1 {
            return None;
        }
        if self.latest_epoch() == Some(epoch) {
            return Some((epoch, self.end()));
        }
        let next = self.epochs.partition_point(|start| start.epoch <= epoch);
        let end = self.epochs.get(next)?.offset;
        let floor = next.checked_sub(1).and_then(|index| self.epochs.get(index)).map_or(epoch, |start| start.epoch);
        Some((floor, end))
    }

    /// How far this log can be the same as its leader's: up to where their epochs end, of the latest one that both have.
    pub(crate) fn agrees_until(&self, leader: &Log) -> i64 {
        let Some(mut epoch) = self.latest_epoch() else { return self.end() };
        loop {
            let Some((leader_epoch, leader_end)) = leader.end_of_epoch(epoch) else {
                return self.end().min(leader.end());
            };
            match self.end_of_epoch(leader_epoch) {
                Some((own_epoch, own_end)) if own_epoch == leader_epoch => return own_end.min(leader_end),
                Some((own_epoch, _)) if own_epoch < epoch => epoch = own_epoch,
                _ => return self.start(),
            }
        }
    }

    /// Forgets the epochs that begin at `end` or beyond. A leader that was replaced before it wrote anything has such a one.
    pub(crate) fn truncate_epochs(&mut self, end: i64) {
        self.epochs.retain(|start| start.offset < end);
    }

    /// Removes every batch that reaches beyond `end`.
    pub(crate) fn truncate(&mut self, end: i64) {
        let kept = self.index_of(end);
        let straddling = self.entries.get(kept).map_or(end, |entry| entry.batch.header().base_offset);
        self.end = self.end.min(end).min(straddling);
        self.start = self.start.min(self.end);
        self.clean_until = self.clean_until.min(self.end);
        self.end_position = self.position_of(end);
        self.entries.truncate(kept);
        self.truncate_segments();
        self.truncate_epochs(self.end);
        self.transactions = TransactionIndex::default();
        for entry in &self.entries {
            self.transactions.append(&entry.batch, 0);
        }
    }

    /// Where the producer's open transaction begins, if it has one here.
    pub(crate) fn open_transaction(&self, producer_id: i64) -> Option<i64> {
        self.transactions.open_since(producer_id)
    }

    /// The first offset that belongs to a transaction whose end is not known, or not on all in-sync replicas.
    pub(crate) fn first_unstable_offset(&self, high_watermark: i64) -> Option<i64> {
        self.transactions.first_unstable(high_watermark).map(|offset| offset.max(self.start))
    }

    /// The aborted transactions that a reader must know who has got `bytes` from `offset` on. As with Kafka, whose index has an
    /// entry every few kilobytes, they may be some more.
    pub(crate) fn aborted(&self, offset: i64, bytes: usize) -> Vec<Aborted> {
        let read_to = self.position_of(offset) + (bytes + INDEX_INTERVAL) as u64;
        let beyond = self.entries.partition_point(|entry| entry.position < read_to);
        let until = self.entries.get(beyond).map_or(self.end, |entry| entry.batch.header().base_offset);
        self.transactions.aborted_between(offset, until)
    }

    /// The batch with this offset, or the next one, and all after it.
    pub(crate) fn batches_from(&self, offset: i64) -> impl Iterator<Item = &Batch> {
        self.entries.range(self.index_of(offset)..).map(|entry| &entry.batch)
    }

    /// How many bytes the batches from the one with offset `from` up to offset `until` have.
    pub(crate) fn bytes_between(&self, from: i64, until: i64) -> u64 {
        self.position_of(until).saturating_sub(self.position_of(from))
    }

    /// The batches from the one with offset `from` up to offset `until`, cut off after `max_bytes`. A first batch that does not
    /// fit is given whole if `at_least_one`, otherwise nothing is. As in Kafka, they are of one segment.
    pub(crate) fn read(&self, from: i64, until: i64, max_bytes: usize, at_least_one: bool) -> Vec<Bytes> {
        let mut pieces: Vec<Bytes> = Vec::new();
        let mut room = max_bytes;
        let first = self.batches_from(from).next().map_or(from, |batch| batch.header().base_offset);
        let until = until.min(self.segment_end(first));
        for batch in self.batches_from(from) {
            if batch.header().next_offset() > until {
                break;
            }
            let bytes = batch.bytes();
            if pieces.is_empty() && bytes.len() > room {
                return if at_least_one { vec![bytes.clone()] } else { Vec::new() };
            }
            if room == 0 {
                break;
            }
            pieces.push(bytes.slice(..bytes.len().min(room)));
            room = room.saturating_sub(bytes.len());
        }
        pieces
    }

    /// The first record below `until`, in the order of offsets, whose time stamp is `timestamp` or later.
    pub(crate) fn find_time(&self, timestamp: i64, until: i64) -> Result<Option<Found>, BatchError> {
        for batch in self.batches_from(self.start).take_while(|batch| batch.header().base_offset < until) {
            if batch.header().max_timestamp < timestamp {
                continue;
            }
            for record in &batch.records(NO_LIMIT)? {
                let record = record?;
                if record.timestamp >= timestamp && (self.start..until).contains(&record.offset) {
                    let leader_epoch = batch.header().partition_leader_epoch;
                    return Ok(Some(Found { offset: record.offset, timestamp: record.timestamp, leader_epoch }));
                }
            }
        }
        Ok(None)
    }

    /// The first record below `until` that has the latest time stamp.
    pub(crate) fn find_latest_time(&self, until: i64) -> Result<Option<Found>, BatchError> {
        // Kafka looks at the whole log, and has no answer if what it finds is not below.
        match self.batches_from(self.start).map(|batch| batch.header().max_timestamp).max() {
            Some(latest) => Ok(self.find_time(latest, self.end())?.filter(|found| found.offset < until)),
            None => Ok(None),
        }
    }

    /// The batches that begin at or after `from`, or have it, and begin before `until`.
    pub(crate) fn batches_between(&self, from: i64, until: i64) -> impl Iterator<Item = &Batch> {
        self.batches_from(from).take_while(move |batch| batch.header().base_offset < until)
    }

    /// The applications' records from offset `from` up to `until`.
    pub(crate) fn records(&self, from: i64, until: i64) -> Result<Vec<LogRecord>, BatchError> {
        self.records_where(from, until, |_| true)
    }

    /// The same without those of transactions that were aborted.
    pub(crate) fn committed_records(&self, from: i64, until: i64) -> Result<Vec<LogRecord>, BatchError> {
        self.records_where(from, until, |header| !self.is_aborted(header))
    }

    /// Whether the batch belongs to a transaction that was aborted.
    fn is_aborted(&self, header: &BatchHeader) -> bool {
        header.attributes.is_transactional() && self.transactions.is_aborted(header.producer_id, header.base_offset)
    }

    fn records_where(
        &self,
        from: i64,
        until: i64,
        is_wanted: impl Fn(&BatchHeader) -> bool,
    ) -> Result<Vec<LogRecord>, BatchError> {
        let from = from.max(self.start);
        let mut records = Vec::new();
        for batch in self.batches_between(from, until).filter(|batch| is_wanted(batch.header())) {
            if !batch.header().attributes.is_control() {
                records.extend(records_of(batch)?.into_iter().filter(|record| record.offset >= from));
            }
        }
        Ok(records)
    }

    /// The markers that end transactions, from offset `from` up to `until`.
    pub(crate) fn markers(&self, from: i64, until: i64) -> impl Iterator<Item = LogMarker> {
        self.batches_between(from, until).filter_map(|batch| {
            let header = batch.header();
            marker_of(batch).map(|marker| LogMarker {
                offset: header.base_offset,
                producer: (header.producer_id, header.producer_epoch),
                is_commit: marker == ControlMarker::Commit,
            })
        })
    }
}

/// The records of one batch.
pub(crate) fn records_of(batch: &Batch) -> Result<Vec<LogRecord>, BatchError> {
    let header = batch.header();
    let records = batch.records(NO_LIMIT)?;
    let read = |record: Result<Record<'_>, BatchError>| {
        let record = record?;
        let sequence = super::producers::sequence_after(header.base_sequence, record.offset - header.base_offset);
        let headers = record.headers.map(|(name, value)| (name.to_owned(), value.map(Bytes::copy_from_slice)));
        Ok(LogRecord {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(Bytes::copy_from_slice),
            value: record.value.map(Bytes::copy_from_slice),
            headers: headers.collect(),
            producer: (header.producer_id >= 0).then_some((header.producer_id, header.producer_epoch, sequence)),
        })
    };
    records.iter().map(read).collect()
}
