//! What a partition remembers of its idempotent producers: epoch, and the last five batches of each. Pure.

use std::collections::{BTreeMap, VecDeque};

use milena_protocol::ErrorCode;
use milena_protocol::records::BatchHeader;

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

/// By producer id.
#[derive(Debug, Default)]
pub(crate) struct Producers {
    known: BTreeMap<i64, Producer>,
}

impl Producers {
    /// Judges a batch before it is written. One without a producer id always goes in.
    pub(crate) fn judge(&self, batch: &BatchHeader) -> Verdict {
        let Some(producer) = self.known.get(&batch.producer_id) else { return Verdict::Append };
        let first_sequence = batch.base_sequence;
        let last_sequence = sequence_after(first_sequence, i64::from(batch.last_offset_delta));
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
            return if starts { Verdict::Append } else { Verdict::Refuse(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER) };
        }
        let same =
            |written: &&Written| (written.first_sequence, written.last_sequence) == (first_sequence, last_sequence);
        if let Some(written) = producer.window.iter().find(same) {
            let Written { base_offset, last_offset, timestamp, .. } = *written;
            return Verdict::Duplicate { base_offset, last_offset, timestamp };
        }
        let expected = producer.window.back().map_or(0, |last| sequence_after(last.last_sequence, 1));
        if expected == first_sequence {
            Verdict::Append
        } else {
            Verdict::Refuse(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
        }
    }

    pub(crate) fn epoch(&self, producer_id: i64) -> Option<i16> {
        self.known.get(&producer_id).map(|producer| producer.epoch)
    }

    /// Whether there is a batch of this producer that a later one could follow.
    pub(crate) fn has_batches(&self, producer_id: i64) -> bool {
        self.known.get(&producer_id).is_some_and(|producer| !producer.window.is_empty())
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

    const OUT_OF_ORDER: Verdict = Verdict::Refuse(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);

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
