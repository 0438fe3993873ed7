//! What a Fetch answer brings of one partition: which batches count, and where the next fetch begins. Pure.
//!
//! Only the headers of batches are looked at here, and markers of transactions; a batch is checked and decompressed when it is
//! the application's turn.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use milena_protocol::ErrorCode;
use milena_protocol::messages::fetch::AbortedTransaction;
use milena_protocol::records::{Batch, BatchError, BatchErrorKind, Batches, ControlMarker, control_marker};

use super::lease::FetchPosition;
use crate::config::IsolationLevel;
use crate::error::{Error, ErrorKind};
use crate::topic_partition::TopicPartition;

/// Markers are a few bytes; whatever decompresses to more is none.
const MARKER_LIMIT: usize = 64 * 1024;

/// What waits for the application, in order.
#[derive(Debug)]
pub(crate) enum Fetched {
    /// A batch with records, as it came.
    Batch(Batch),
    /// Nothing to hand out before here.
    Passed(FetchPosition),
    /// An error to be given once.
    Report(Error),
    /// An error to be given again and again: only the application knows a way on.
    Stuck(Error),
}

/// All of one partition in one answer.
#[derive(Debug)]
pub(crate) struct Intake {
    pub(crate) entries: Vec<Fetched>,
    /// Where to fetch next. Not used after [`Fetched::Stuck`].
    pub(crate) next: FetchPosition,
}

/// How to look at batches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) isolation: IsolationLevel,
    pub(crate) check_crcs: bool,
    /// The most bytes that one batch may decompress to.
    pub(crate) batch_limit: usize,
}

impl Reading {
    /// Sorts out the batches that came for a fetch from `position`.
    pub(crate) fn sort_out(
        &self,
        partition: &TopicPartition,
        position: FetchPosition,
        records: Bytes,
        aborted: Vec<AbortedTransaction>,
    ) -> Intake {
        let mut transactions = Transactions::new(self.isolation, aborted);
        let mut intake = Intake { entries: Vec::new(), next: position };
        let length = records.len();
        let mut batches = Batches::new(records);
        for batch in &mut batches {
            // Where a batch ends that cannot be read as one, nobody knows.
            let somewhere = intake.next.offset.saturating_add(1);
            let kept = batch
                .map_err(|error| (error, somewhere))
                .and_then(|batch| self.keep(&mut transactions, intake.next, batch));
            match kept {
                Ok(Kept::Before) => {}
                Ok(Kept::Batch(batch)) => {
                    intake.next = end_of(&batch);
                    intake.entries.push(Fetched::Batch(batch));
                }
                Ok(Kept::Passed(end)) => {
                    intake.next = end;
                    match intake.entries.last_mut() {
                        Some(Fetched::Passed(before)) => *before = end,
                        Some(_) | None => intake.entries.push(Fetched::Passed(end)),
                    }
                }
                Err((error, skip_to)) => {
                    intake.entries.push(Fetched::Stuck(corrupt(partition, intake.next.offset, skip_to, error)));
                    return intake;
                }
            }
        }
        // Brokers give the first batch whole, however large it is.
        if batches.is_truncated() && intake.next == position {
            let reason = format!("it is cut: no whole batch in {length} bytes");
            let error = BatchError::new(None, BatchErrorKind::Length, reason);
            let skip_to = position.offset.saturating_add(1);
            intake.entries.push(Fetched::Stuck(corrupt(partition, position.offset, skip_to, error)));
        }
        intake
    }

    fn keep(
        &self,
        transactions: &mut Transactions,
        next: FetchPosition,
        batch: Batch,
    ) -> Result<Kept, (BatchError, i64)> {
        let end = end_of(&batch);
        let bad = |error| (error, end.offset);
        if end.offset <= next.offset {
            return Ok(Kept::Before);
        }
        let header = batch.header();
        if header.attributes.is_control() {
            self.check_crc(&batch).map_err(bad)?;
            transactions.on_control(&batch).map_err(bad)?;
            return Ok(Kept::Passed(end));
        }
        if transactions.are_aborted(&batch) {
            // A damaged header could have made it look so.
            self.check_crc(&batch).map_err(bad)?;
            return Ok(Kept::Passed(end));
        }
        Ok(Kept::Batch(batch))
    }

    /// Whether the batch is what the producer sent.
    pub(crate) fn check_crc(&self, batch: &Batch) -> Result<(), BatchError> {
        if self.check_crcs && !batch.has_valid_crc() {
            let offset = Some(batch.header().base_offset);
            return Err(BatchError::new(offset, BatchErrorKind::Crc, "its bytes do not match its CRC"));
        }
        Ok(())
    }
}

enum Kept {
    /// It ends before the position: brokers begin with the batch that an offset is in.
    Before,
    Batch(Batch),
    Passed(FetchPosition),
}

pub(crate) fn end_of(batch: &Batch) -> FetchPosition {
    let header = batch.header();
    FetchPosition { offset: header.next_offset(), epoch: header.partition_leader_epoch }
}

/// A batch of `partition` with the record at `offset` cannot be read; there may be something again from `skip_to` on.
pub(crate) fn corrupt(partition: &TopicPartition, offset: i64, skip_to: i64, error: BatchError) -> Error {
    let remedy = match error.kind() {
        BatchErrorKind::TooLarge => "; raise fetch.buffer.bytes, or skip it",
        BatchErrorKind::Length
        | BatchErrorKind::Magic
        | BatchErrorKind::Crc
        | BatchErrorKind::Codec
        | BatchErrorKind::Decompression
        | BatchErrorKind::Record => "; skip it, or seek",
    };
    Error::new(ErrorKind::Corrupt, format!("reading {partition} at offset {offset} failed: {error}{remedy}"))
        .with_topic_partition(partition.clone())
        .with_skip_to(skip_to)
        .with_source(error)
}

/// The broker itself found what it has at `offset` damaged.
pub(crate) fn corrupt_answer(partition: &TopicPartition, offset: i64, broker: i32) -> Error {
    let code = ErrorCode::CORRUPT_MESSAGE;
    let text = format!("reading {partition} at offset {offset} failed: {code} from broker {broker}; skip it, or seek");
    Error::new(ErrorKind::Corrupt, text)
        .with_code(code)
        .with_retriable(false)
        .with_topic_partition(partition.clone())
        .with_skip_to(offset.saturating_add(1))
}

/// Which transactions do not count, as far as one answer goes.
struct Transactions {
    /// By first offset. Empty unless only committed records are wanted.
    aborted: VecDeque<AbortedTransaction>,
    /// Producers in the middle of one that is aborted.
    open: BTreeSet<i64>,
}

impl Transactions {
    fn new(isolation: IsolationLevel, mut aborted: Vec<AbortedTransaction>) -> Self {
        match isolation {
            IsolationLevel::ReadUncommitted => aborted.clear(),
            // Not every broker sorts them.
            IsolationLevel::ReadCommitted => aborted.sort_by_key(|transaction| transaction.first_offset),
        }
        Self { aborted: aborted.into(), open: BTreeSet::new() }
    }

    fn advance(&mut self, batch: &Batch) {
        let last = batch.header().last_offset();
        while let Some(transaction) = self.aborted.front().filter(|transaction| transaction.first_offset <= last) {
            self.open.insert(transaction.producer_id);
            self.aborted.pop_front();
        }
    }

    fn are_aborted(&mut self, batch: &Batch) -> bool {
        self.advance(batch);
        let header = batch.header();
        header.attributes.is_transactional() && self.open.contains(&header.producer_id)
    }

    fn on_control(&mut self, batch: &Batch) -> Result<(), BatchError> {
        self.advance(batch);
        let records = batch.records(MARKER_LIMIT)?;
        for record in &records {
            let record = record?;
            if record.key.is_none_or(|key| key.len() < 4) {
                let offset = Some(record.offset);
                return Err(BatchError::new(
                    offset,
                    BatchErrorKind::Record,
                    "the key of a control record is too short",
                ));
            }
            match control_marker(&record) {
                Some(ControlMarker::Abort) => drop(self.open.remove(&batch.header().producer_id)),
                Some(ControlMarker::Commit) | None => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use milena_protocol::records::{Attributes, BatchHeader, NewRecord};

    use super::*;

    const READING: Reading =
        Reading { isolation: IsolationLevel::ReadCommitted, check_crcs: true, batch_limit: 1 << 20 };

    fn batch(base_offset: i64, count: i32, producer_id: i64, attributes: Attributes) -> Vec<u8> {
        let mut body = Vec::new();
        for delta in 0..count {
            let key = if attributes.is_control() { &[0, 0, 0, 0][..] } else { b"k" };
            NewRecord { key: Some(key), value: Some(b"v"), headers: &[] }.append_to(delta, 0, &mut body);
        }
        let body = Bytes::from(body);
        let header = BatchHeader {
            base_offset,
            partition_leader_epoch: 7,
            attributes,
            last_offset_delta: count - 1,
            producer_id,
            record_count: count,
            ..BatchHeader::default()
        };
        [&header.encode(std::slice::from_ref(&body))[..], &body].concat()
    }

    fn plain(base_offset: i64, count: i32) -> Vec<u8> {
        batch(base_offset, count, -1, Attributes::default())
    }

    fn transactional(base_offset: i64, producer_id: i64) -> Vec<u8> {
        batch(base_offset, 1, producer_id, Attributes::default().with_transactional())
    }

    fn abort(base_offset: i64, producer_id: i64) -> Vec<u8> {
        batch(base_offset, 1, producer_id, Attributes::default().with_transactional().with_control())
    }

    fn aborted(producer_id: i64, first_offset: i64) -> AbortedTransaction {
        AbortedTransaction { producer_id, first_offset }
    }

    fn sort_out(
        reading: Reading,
        from: i64,
        batches: &[Vec<u8>],
        aborted: &[AbortedTransaction],
    ) -> (Vec<String>, i64) {
        let position = FetchPosition { offset: from, epoch: -1 };
        let intake = reading.sort_out(&("t", 0).into(), position, batches.concat().into(), aborted.to_vec());
        let show = |entry: &Fetched| match entry {
            Fetched::Batch(batch) => format!("batch {}", batch.header().base_offset),
            Fetched::Passed(next) => format!("passed {}", next.offset),
            Fetched::Report(error) => format!("report {error}"),
            Fetched::Stuck(error) => format!("stuck {:?}", error.skip_to()),
        };
        (intake.entries.iter().map(show).collect(), intake.next.offset)
    }

    #[test]
    fn the_next_fetch_begins_behind_the_last_batch() {
        let (entries, next) = sort_out(READING, 12, &[plain(5, 5), plain(10, 5), plain(20, 2)], &[]);

        assert_eq!(entries, ["batch 10", "batch 20"]);
        assert_eq!(next, 22);
    }

    #[test]
    fn a_cut_batch_at_the_end_is_fetched_again() {
        let mut cut = plain(15, 5);
        cut.truncate(70);
        assert_eq!(sort_out(READING, 10, &[plain(10, 5), cut.clone()], &[]).1, 15);

        let (entries, _) = sort_out(READING, 15, &[cut], &[]);
        assert_eq!(entries, ["stuck Some(16)"], "a first batch that never comes whole must not be asked for for ever");
    }

    #[test]
    fn aborted_transactions_are_passed_over_even_from_an_unsorted_list() {
        let batches = [
            transactional(0, 1),
            transactional(1, 2),
            transactional(2, 3),
            abort(3, 1),
            transactional(4, 1),
            abort(5, 2),
            plain(6, 1),
        ];
        let list = [aborted(2, 1), aborted(9, 3), aborted(1, 0)];
        let (entries, next) = sort_out(READING, 0, &batches, &list);
        assert_eq!(entries, ["passed 2", "batch 2", "passed 4", "batch 4", "passed 6", "batch 6"]);
        assert_eq!(next, 7);

        let uncommitted = Reading { isolation: IsolationLevel::ReadUncommitted, ..READING };
        let (entries, _) = sort_out(uncommitted, 0, &batches, &list);
        assert_eq!(entries, ["batch 0", "batch 1", "batch 2", "passed 4", "batch 4", "passed 6", "batch 6"]);
    }

    #[test]
    fn a_damaged_batch_is_not_passed_over_as_aborted() {
        let mut damaged = transactional(0, 1);
        if let Some(last) = damaged.last_mut() {
            *last ^= 1;
        }
        let (entries, _) = sort_out(READING, 0, &[damaged], &[aborted(1, 0)]);

        assert_eq!(entries, ["stuck Some(1)"]);
    }

    #[test]
    fn what_comes_before_nonsense_counts() {
        let (entries, next) = sort_out(READING, 0, &[plain(0, 3), vec![9; 100]], &[]);
        assert_eq!(entries.len(), 2);
        assert!(entries[0] == "batch 0" && entries[1].starts_with("stuck"), "{entries:?}");
        assert_eq!(next, 3);
    }
}
