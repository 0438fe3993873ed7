//! What a partition remembers of its idempotent producers: epoch, and the last five batches of each. Pure.

use std::collections::{BTreeMap, VecDeque};

use milena_protocol::ErrorCode;
use milena_protocol::records::BatchHeader;

use super::transactions::Joining;

/// So many batches may be in flight, so many are recognised when they come again.
const WINDOW: usize = 5;

/// The sequence number that stands `distance` records after `sequence`. After `i32::MAX` comes 0.
pub(crate) fn sequence_after(sequence: i32, distance: i64) -> i32 {
    const MODULUS: i64 = 1 << 31;
    (i64::from(sequence) + distance).rem_euclid(MODULUS) as i32
}

/// A batch that has been written.
#[derive(Debug, Clone, Copy)]
struct Written {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
    last_offset: i64,
    timestamp: i64,
}

#[derive(Debug)]
struct Producer {
    epoch: i16,
    /// Of that epoch, oldest first; empty if only a marker has come in it.
    window: VecDeque<Written>,
}

/// What a producer has tried to begin a transaction with, until one is open.
#[derive(Debug)]
struct Attempt {
    epoch: i16,
    /// A higher one must not get in before the one that comes again, because its coordinator could not be asked.
    lowest_sequence: i32,
    joining: Joining,
}

/// What a partition remembers of an idempotent producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProducerState {
    /// The id that InitProducerId has given it.
    pub producer_id: i64,
    /// The highest epoch that has come; lower ones are refused.
    pub epoch: i16,
    /// The sequence number of its last record in that epoch; -1 if only the end of a transaction has come in it.
    pub last_sequence: i32,
    /// The offset of its last record in that epoch; -1 if there is none.
    pub last_offset: i64,
    /// The offset of the first record of the transaction that is open here, if one is.
    pub open_since: Option<i64>,
}

/// What is to become of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Append,
    /// It has been written there, and is not written again.
    Duplicate {
        base_offset: i64,
        last_offset: i64,
        timestamp: i64,
    },
    Refuse(ErrorCode),
}

const OUT_OF_ORDER: Verdict = Verdict::Refuse(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);

/// By producer id.
#[derive(Debug, Default)]
pub(crate) struct Producers {
    known: BTreeMap<i64, Producer>,
    attempts: BTreeMap<i64, Attempt>,
}

impl Producers {
    /// Judges a batch before it is written. One without a producer id always goes in.
    pub(crate) fn judge(&self, batch: &BatchHeader) -> Verdict {
        let first_sequence = batch.base_sequence;
        let last_sequence = sequence_after(first_sequence, i64::from(batch.last_offset_delta));
        let Some(producer) = self.known.get(&batch.producer_id) else { return self.judge_attempt(batch, true) };
        if batch.producer_epoch < producer.epoch {
            return Verdict::Refuse(ErrorCode::INVALID_PRODUCER_EPOCH);
        }
        if first_sequence < 0 {
            // Coordinators write markers and offsets without numbers.
            return Verdict::Append;
        }
        if batch.producer_epoch > producer.epoch {
            // A new epoch starts to count anew.
            let starts = first_sequence == 0;
            return if starts { Verdict::Append } else { OUT_OF_ORDER };
        }
        let same =
            |written: &&Written| (written.first_sequence, written.last_sequence) == (first_sequence, last_sequence);
        if let Some(written) = producer.window.iter().find(same) {
            let Written { base_offset, last_offset, timestamp, .. } = *written;
            return Verdict::Duplicate { base_offset, last_offset, timestamp };
        }
        let expected = producer.window.back().map_or(0, |last| sequence_after(last.last_sequence, 1));
        if expected == first_sequence { self.judge_attempt(batch, producer.window.is_empty()) } else { OUT_OF_ORDER }
    }

    /// Judges what may be the first batch of a transaction, whose coordinator has been asked.
    fn judge_attempt(&self, batch: &BatchHeader, is_first: bool) -> Verdict {
        let attempt = self.attempts.get(&batch.producer_id).filter(|attempt| attempt.epoch == batch.producer_epoch);
        match attempt {
            Some(attempt) if batch.base_sequence > attempt.lowest_sequence => OUT_OF_ORDER,
            Some(Attempt { joining: Joining::Add, .. }) if is_first && batch.base_sequence > 0 => OUT_OF_ORDER,
            Some(_) | None => Verdict::Append,
        }
    }

    /// Notes a batch whose transaction's coordinator is about to be asked.
    pub(crate) fn attempt(&mut self, batch: &BatchHeader, joining: Joining) {
        let new = Attempt { epoch: batch.producer_epoch, lowest_sequence: batch.base_sequence, joining };
        let attempt = self.attempts.entry(batch.producer_id).or_insert(new);
        if attempt.epoch == batch.producer_epoch {
            attempt.lowest_sequence = attempt.lowest_sequence.min(batch.base_sequence);
        } else if attempt.epoch < batch.producer_epoch {
            (attempt.epoch, attempt.lowest_sequence) = (batch.producer_epoch, batch.base_sequence);
        }
        attempt.joining = joining;
    }

    pub(crate) fn retain(&mut self, stays: impl Fn(i64) -> bool) {
        self.known.retain(|producer_id, _| stays(*producer_id));
        self.attempts.clear();
    }

    pub(crate) fn epoch(&self, producer_id: i64) -> Option<i16> {
        self.known.get(&producer_id).map(|producer| producer.epoch)
    }

    pub(crate) fn states(&self, open_since: impl Fn(i64) -> Option<i64>) -> impl Iterator<Item = ProducerState> {
        self.known.iter().map(move |(producer_id, producer)| {
            let last = producer.window.back().map_or((-1, -1), |last| (last.last_sequence, last.last_offset));
            let ((last_sequence, last_offset), open_since) = (last, open_since(*producer_id));
            ProducerState { producer_id: *producer_id, epoch: producer.epoch, last_sequence, last_offset, open_since }
        })
    }

    /// Whether this is the last batch that its producer has written.
    pub(crate) fn is_last(&self, batch: &BatchHeader) -> bool {
        let last = self.known.get(&batch.producer_id).and_then(|producer| producer.window.back());
        last.is_some_and(|last| last.last_offset == batch.last_offset())
    }

    /// Remembers a batch that was written.
    pub(crate) fn remember(&mut self, batch: &BatchHeader) {
        if batch.producer_id < 0 {
            return;
        }
        if batch.attributes.is_transactional() {
            self.attempts.remove(&batch.producer_id);
        }
        let producer = self
            .known
            .entry(batch.producer_id)
            .or_insert_with(|| Producer { epoch: batch.producer_epoch, window: VecDeque::with_capacity(WINDOW) });
        if producer.epoch != batch.producer_epoch {
            producer.epoch = batch.producer_epoch;
            producer.window.clear();
        }
        if batch.base_sequence < 0 {
            return;
        }
        if producer.window.len() == WINDOW {
            producer.window.pop_front();
        }
        producer.window.push_back(Written {
            first_sequence: batch.base_sequence,
            last_sequence: sequence_after(batch.base_sequence, i64::from(batch.last_offset_delta)),
            base_offset: batch.base_offset,
            last_offset: batch.last_offset(),
            timestamp: batch.max_timestamp,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(epoch: i16, first: i32, count: i32, offset: i64) -> BatchHeader {
        BatchHeader {
            base_offset: offset,
            producer_id: 7,
            producer_epoch: epoch,
            base_sequence: first,
            last_offset_delta: count - 1,
            record_count: count,
            max_timestamp: 1000 + offset,
            ..BatchHeader::default()
        }
    }

    /// Remembers batches of one record with sequences 0 up to `count`.
    fn after(count: i32) -> Producers {
        let mut producers = Producers::default();
        for sequence in 0..count {
            producers.remember(&batch(0, sequence, 1, i64::from(sequence)));
        }
        producers
    }

    #[test]
    fn a_batch_of_the_last_five_is_a_duplicate_and_an_older_one_out_of_order() {
        let producers = after(7);
        for sequence in 2..7 {
            let offset = i64::from(sequence);
            let duplicate = Verdict::Duplicate { base_offset: offset, last_offset: offset, timestamp: 1000 + offset };
            assert_eq!(producers.judge(&batch(0, sequence, 1, 0)), duplicate);
        }
        assert_eq!(producers.judge(&batch(0, 1, 1, 0)), OUT_OF_ORDER);
        assert_eq!(producers.judge(&batch(0, 6, 2, 0)), OUT_OF_ORDER, "other last sequence");
    }

    #[test]
    fn sequences_have_no_gaps() {
        let producers = after(3);
        assert_eq!(producers.judge(&batch(0, 3, 10, 0)), Verdict::Append);
        assert_eq!(producers.judge(&batch(0, 4, 1, 0)), OUT_OF_ORDER);
    }

    #[test]
    fn an_unknown_producer_may_start_anywhere() {
        assert_eq!(Producers::default().judge(&batch(3, 99, 1, 0)), Verdict::Append);
    }

    #[test]
    fn a_new_epoch_starts_at_zero_and_an_old_one_is_fenced() {
        let mut producers = after(3);
        assert_eq!(producers.judge(&batch(1, 3, 1, 0)), OUT_OF_ORDER);
        assert_eq!(producers.judge(&batch(1, 0, 1, 0)), Verdict::Append);
        producers.remember(&batch(1, 0, 1, 3));
        assert_eq!(producers.judge(&batch(0, 3, 1, 0)), Verdict::Refuse(ErrorCode::INVALID_PRODUCER_EPOCH));
        assert_eq!(producers.judge(&batch(1, 1, 1, 0)), Verdict::Append);
    }

    #[test]
    fn the_first_batch_of_a_transaction_is_the_lowest_that_was_tried() {
        // The first of two batches in flight was refused because no coordinator could be asked.
        let mut producers = Producers::default();
        producers.attempt(&batch(0, 0, 1, 0), Joining::Verify);
        producers.attempt(&batch(0, 1, 1, 0), Joining::Verify);
        assert_eq!(producers.judge(&batch(0, 1, 1, 0)), OUT_OF_ORDER);
        assert_eq!(producers.judge(&batch(0, 0, 1, 0)), Verdict::Append);
        let mut first = batch(0, 0, 1, 0);
        first.attributes = first.attributes.with_transactional();
        producers.remember(&first);
        assert_eq!(producers.judge(&batch(0, 1, 1, 0)), Verdict::Append);

        // One that is not known may begin anywhere, unless its partition is added by it.
        for (joining, verdict) in [(Joining::Verify, Verdict::Append), (Joining::Add, OUT_OF_ORDER)] {
            let mut producers = Producers::default();
            producers.attempt(&batch(0, 5, 1, 0), joining);
            assert_eq!(producers.judge(&batch(0, 5, 1, 0)), verdict);
        }
    }

    #[test]
    fn after_the_largest_sequence_comes_zero() {
        let mut producers = Producers::default();
        producers.remember(&batch(0, i32::MAX - 1, 2, 0));
        assert_eq!(producers.judge(&batch(0, 0, 1, 0)), Verdict::Append);
        assert_eq!(producers.judge(&batch(0, 1, 1, 0)), OUT_OF_ORDER);
        // One that straddles the end.
        let mut producers = Producers::default();
        producers.remember(&batch(0, i32::MAX, 3, 0));
        assert_eq!(producers.judge(&batch(0, 2, 1, 0)), Verdict::Append);
        assert!(matches!(producers.judge(&batch(0, i32::MAX, 3, 0)), Verdict::Duplicate { .. }));
        assert_eq!(sequence_after(i32::MAX, 1), 0);
    }
}
