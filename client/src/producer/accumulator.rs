//! The batches of one partition, in the order in which they were enqueued: open, queued, in flight. Pure.
//!
//! Batches leave in order; their answers may come in another. Of an idempotent producer at most five wait for their answers,
//! since the broker remembers five; of another one only one, or a retry could overtake; and of an identity that the broker may
//! not know the first one goes alone. While that window is full the open batch keeps growing: `batch.size` is a reason to send,
//! not a cap.

mod settlement;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use milena_protocol::compression::{Compression, Compressor};
use milena_protocol::records::NewRecord;

use super::batch::{Batch, NoRoom, OpenBatch, State};
use super::delivery::{Outcome, Unawaited};
use super::segment::Segment;
use super::sequencer::{Anew, Sequencer};
use crate::clock::Time;
use crate::topic_partition::TopicPartition;

/// Settings that all partitions of a producer share.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) batch_size: usize,
    /// The most bytes that a batch may have, header included.
    pub(crate) max_batch: usize,
    pub(crate) linger: Duration,
    pub(crate) delivery_timeout: Duration,
    pub(crate) idempotent: bool,
    pub(crate) max_in_flight: usize,
    pub(crate) compression: Compression,
}

/// Larger batches are compressed away from the connection's task.
const INLINE_COMPRESSION: usize = 64 * 1024;

/// The queue of one partition.
pub(crate) struct Accumulator {
    partition: TopicPartition,
    limits: Arc<Limits>,
    unawaited: Arc<Unawaited>,
    open: Option<OpenBatch>,
    /// The open batch is to be sent without waiting for more.
    hurry: bool,
    /// Oldest first: those that were sent, then those that were not.
    batches: VecDeque<Batch>,
    sequencer: Sequencer,
    /// Less than the limit once the broker has found a batch too large.
    max_batch: usize,
    /// How many batches were stamped in this epoch.
    stamped: usize,
    /// So many of them, from the first, were written or preceded one that was.
    written: usize,
    /// So many of them, from the first, preceded one that was given up with an unknown outcome, or are that one.
    given_up: usize,
    /// The next batch is the first one of a new epoch.
    begins_anew: bool,
    next_token: u64,
}

/// A record that was appended.
#[derive(Debug)]
pub(crate) struct Appended {
    pub(crate) outcome: Arc<Outcome>,
    pub(crate) index: u32,
    /// Whether it opened a batch.
    pub(crate) opened: bool,
}

pub(crate) use settlement::{Answer, Settled};

/// A batch to be sent.
pub(crate) struct Sending {
    pub(crate) token: u64,
    pub(crate) pieces: Vec<Bytes>,
    pub(crate) len: usize,
    /// It is the first one of a new epoch, after a gap.
    pub(crate) begins_anew: bool,
}

/// What to do for the partition next.
pub(crate) enum Next {
    Send(Sending),
    /// Compress this batch, and hand it back with [`Accumulator::on_compressed`].
    Compress {
        token: u64,
        body: Vec<Bytes>,
    },
    /// The epochs are used up: the partition waits for a producer id.
    NeedsProducerId,
    Nothing,
}

impl Accumulator {
    pub(crate) fn new(partition: TopicPartition, limits: Arc<Limits>, unawaited: Arc<Unawaited>) -> Self {
        Self {
            partition,
            max_batch: limits.max_batch,
            limits,
            unawaited,
            open: None,
            hurry: false,
            batches: VecDeque::new(),
            sequencer: Sequencer::default(),
            stamped: 0,
            written: 0,
            given_up: 0,
            begins_anew: false,
            next_token: 0,
        }
    }

    /// Goes on where the queue of a topic ended that was of the same name.
    pub(crate) fn succeed(&mut self, old: &Self) {
        self.sequencer = old.sequencer.successor(old.stamped > 0);
    }

    /// Appends a record with this timestamp in milliseconds, or says how large a segment it needs.
    pub(crate) fn append(
        &mut self,
        now: Time,
        timestamp: i64,
        record: &NewRecord<'_>,
        spare: &mut Option<Segment>,
    ) -> Result<Appended, usize> {
        loop {
            let opened = self.open.is_none();
            let open = self.open.get_or_insert_with(|| {
                OpenBatch::new(now, timestamp, Outcome::new(self.partition.clone(), self.unawaited.clone()))
            });
            match open.append(record, timestamp, self.max_batch, spare) {
                Ok(index) => return Ok(Appended { outcome: open.outcome.clone(), index, opened }),
                Err(NoRoom::Segment(size)) => {
                    if opened {
                        self.open = None;
                    }
                    return Err(size);
                }
                Err(NoRoom::Batch) => self.freeze_open(),
            }
        }
    }

    /// The outcomes of all batches that are not settled.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = Arc<Outcome>> {
        let queued = self.batches.iter().filter(|batch| !batch.expired).map(|batch| &batch.outcome);
        queued.chain(self.open.iter().map(|open| &open.outcome)).cloned()
    }

    /// The open batch should go out without waiting for more records.
    pub(crate) fn hurry(&mut self) {
        self.hurry = self.open.is_some();
    }

    /// When the partition may have something to send; `None` while it has nothing, or must wait for an answer first. What may be
    /// sent at once is due since it came: of the partitions of a broker the one with the oldest batch has its turn.
    pub(crate) fn due(&self) -> Option<Time> {
        match self.candidate()? {
            Candidate::Queued(index) => self.batches.get(index).map(|batch| batch.not_before.max(batch.created)),
            Candidate::Open => self.open.as_ref().map(|open| {
                let full = open.len() >= self.limits.batch_size;
                if self.hurry || full { open.created } else { open.created.saturating_add(self.limits.linger) }
            }),
        }
    }

    /// What to send next, if nothing must be waited for. Batches that were sent are at the front, so in the usual case few are
    /// looked at.
    fn candidate(&self) -> Option<Candidate> {
        if self.limits.idempotent && self.sequencer.identity().is_none() {
            return None;
        }
        if self.sequencer.has_gap() {
            // Behind a gap only those are sent again of which nobody knows whether they were written: the broker will tell. The
            // others wait for the new epoch, and that waits until no answer is open.
            let in_flight = self.batches.iter().filter(|batch| is_in_flight(batch)).count();
            let unknown = |batch: &Batch| is_unknown(batch) && batch.state == State::Queued;
            let unknown = self.batches.iter().position(unknown);
            return match unknown {
                Some(index) if in_flight < self.limits.max_in_flight => Some(Candidate::Queued(index)),
                Some(_) => None,
                None if in_flight > 0 => None,
                None => self.first_unsent(0),
            };
        }
        let sent = self.batches.iter().take_while(|batch| is_in_flight(batch)).count();
        let alone = self.limits.idempotent && !self.sequencer.is_established();
        let window = if alone { 1 } else { self.limits.max_in_flight };
        // Those count too that were written while an older one got no answer, or the broker would forget the older one.
        let open =
            self.batches.front().filter(|batch| batch.stamp.is_some()).map(|oldest| self.stamped - oldest.ordinal);
        match self.first_unsent(sent)? {
            Candidate::Queued(index) if self.batches.get(index).is_some_and(|batch| batch.stamp.is_some()) => {
                Some(Candidate::Queued(index))
            }
            candidate => Some(candidate).filter(|_| open.unwrap_or(sent) < window),
        }
    }

    /// The batch after the first `sent` ones, all of them in flight.
    fn first_unsent(&self, sent: usize) -> Option<Candidate> {
        match self.batches.get(sent).map(|batch| batch.state) {
            Some(State::Queued) => Some(Candidate::Queued(sent)),
            Some(State::Compressing { .. } | State::InFlight { .. }) => None,
            None => self.open.as_ref().map(|_| Candidate::Open),
        }
    }

    /// When the oldest batch runs out of time.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let queued = self.batches.iter().find(|batch| !batch.expired).map(|batch| batch.deadline);
        queued.or_else(|| self.open.as_ref().map(|open| open.created.saturating_add(self.limits.delivery_timeout)))
    }

    /// How many bytes the next batch would have.
    pub(crate) fn next_len(&self) -> usize {
        match self.candidate() {
            Some(Candidate::Queued(index)) => self.batches.get(index).map_or(0, Batch::len),
            Some(Candidate::Open) => self.open.as_ref().map_or(0, OpenBatch::len),
            None => 0,
        }
    }

    /// Takes the next batch to send, if one is due.
    pub(crate) fn next(&mut self, now: Time, compressor: &mut Compressor) -> Next {
        self.sequencer.on_time(now);
        let Some(candidate) = self.candidate().filter(|_| self.due().is_some_and(|due| due <= now)) else {
            return Next::Nothing;
        };
        if self.sequencer.has_gap() && !self.batches.iter().any(is_unknown) {
            for batch in &mut self.batches {
                (batch.stamp, batch.maybe_written, batch.unrecognised) = (None, false, false);
            }
            (self.stamped, self.written, self.given_up) = (0, 0, 0);
            if self.sequencer.begin_anew() == Anew::NeedsProducerId {
                return Next::NeedsProducerId;
            }
            self.begins_anew = true;
        }
        let index = match candidate {
            Candidate::Queued(index) => index,
            Candidate::Open => {
                self.freeze_open();
                self.batches.len() - 1
            }
        };
        let Limits { compression, idempotent, .. } = *self.limits;
        let Some(batch) = self.batches.get_mut(index) else { return Next::Nothing };
        self.next_token += 1;
        let token = self.next_token;
        if !batch.prepared && compression != Compression::None {
            if batch.len() > INLINE_COMPRESSION {
                batch.state = State::Compressing { token };
                return Next::Compress { token, body: batch.body.clone() };
            }
            // A codec that fails is no reason not to send: the batch goes out as it is.
            batch.on_compressed(compression, compressor.compress(&batch.body).ok());
        }
        if idempotent && batch.stamp.is_none() {
            batch.stamp = self.sequencer.stamp(batch.header.record_count);
            batch.ordinal = self.stamped;
            self.stamped += 1;
        }
        batch.state = State::InFlight { token };
        Next::Send(Sending {
            token,
            pieces: batch.wire(),
            len: batch.len(),
            begins_anew: std::mem::take(&mut self.begins_anew),
        })
    }

    fn freeze_open(&mut self) {
        self.hurry = false;
        if let Some(open) = self.open.take() {
            self.batches.push_back(open.freeze(self.limits.delivery_timeout));
        }
    }
}

/// What would be sent next.
#[derive(Debug, Clone, Copy)]
enum Candidate {
    /// The batch with this index.
    Queued(usize),
    Open,
}

/// Whether an answer about it is still to come.
fn is_unknown(batch: &Batch) -> bool {
    is_in_flight(batch) || (batch.maybe_written && !batch.unrecognised)
}

fn is_in_flight(batch: &Batch) -> bool {
    matches!(batch.state, State::InFlight { .. })
}

#[cfg(test)]
mod tests;
