//! What becomes of the batches of a partition: answers, lost connections, and time. Pure.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::super::batch::{Batch, State};
use super::super::delivery::{BatchReceipt, Failure, Outcome, Told};
use super::super::sequencer::Identity;
use super::super::verdict::Verdict;
use super::{Accumulator, is_unknown};
use crate::clock::Time;
use crate::error::{Error, ErrorKind, Result, Written};

/// A batch whose outcome is known now. To be told before the partition is unlocked: whoever looks for what is not settled finds
/// either the batch or its outcome.
pub(crate) struct Settled {
    outcome: Arc<Outcome>,
    first: u32,
    pub(crate) records: u64,
    pub(crate) result: Result<BatchReceipt, Failure>,
}

impl Settled {
    /// Tells the outcome.
    pub(crate) fn tell(self) -> Told {
        self.outcome.settle(self.first, self.result)
    }
}

/// The answer to one attempt.
pub(crate) struct Answer {
    pub(crate) verdict: Verdict,
    /// Of a batch that was written.
    pub(crate) receipt: BatchReceipt,
    /// Of one that was not, or may not have been.
    pub(crate) failure: Option<Failure>,
}

impl Answer {
    /// The batch was sent and no answer will come.
    pub(crate) fn unknown(cause: &Error) -> Self {
        Self { verdict: Verdict::Unknown, receipt: BatchReceipt::NOWHERE, failure: Some(cause.clone().into()) }
    }

    /// The batch was sent and no answer is wanted (acks=0).
    pub(crate) fn unwanted() -> Self {
        Self { verdict: Verdict::Written, receipt: BatchReceipt::NOWHERE, failure: None }
    }
}

impl Accumulator {
    /// A producer id for a partition that has none.
    pub(crate) fn on_producer_id(&mut self, identity: Identity) {
        self.sequencer.on_producer_id(identity);
    }

    /// The answer to the attempt `token`. An answer to an older attempt changes nothing. `backoff` is the pause before the next
    /// one, given how many have failed.
    pub(crate) fn on_answer(
        &mut self,
        now: Time,
        token: u64,
        answer: Answer,
        backoff: impl FnOnce(u32) -> Duration,
    ) -> Option<Settled> {
        let index = self.batches.iter().position(|batch| batch.state == State::InFlight { token })?;
        let stamped = self.limits.idempotent;
        let batch = self.batches.get_mut(index)?;
        let failure =
            || answer.failure.unwrap_or_else(|| Error::new(ErrorKind::Broker, "the broker gave no reason").into());
        match answer.verdict {
            Verdict::Written => {
                if let Some(stamp) = batch.stamp {
                    self.sequencer.on_written(now, stamp);
                    self.written = self.written.max(batch.ordinal + 1);
                    self.ask_again();
                }
                return self.remove(index).and_then(|batch| batch.settled(Ok(answer.receipt)));
            }
            Verdict::TooLarge => {
                let halves = if batch.maybe_written || batch.expired { None } else { batch.split() };
                if let Some(halves) = halves {
                    // What comes next should not have to be split.
                    self.max_batch = self.max_batch.min(batch.uncompressed / 2);
                    self.replace(index, halves);
                    return None;
                }
                let failure = failure().with_written(if batch.maybe_written { Written::Maybe } else { Written::No });
                return self.reject(index, failure);
            }
            Verdict::Rejected | Verdict::Doubtful => {
                let doubtful = batch.maybe_written || answer.verdict == Verdict::Doubtful;
                let failure = failure().with_written(if doubtful { Written::Maybe } else { Written::No });
                return self.reject(index, failure);
            }
            Verdict::Unknown => batch.maybe_written = true,
            Verdict::NotYet => {}
            Verdict::OutOfSequence => {
                // A batch that the broker has is recognised, for it remembers as many as we have in flight; only after a restart it
                // knows no more than the last one.
                if batch.maybe_written && batch.ordinal < self.written {
                    return self.remove(index).and_then(|batch| batch.settled(Ok(BatchReceipt::NOWHERE)));
                }
                if batch.maybe_written && batch.ordinal < self.given_up {
                    // It was written if that one was, and nobody will ever tell.
                    return self.reject(index, failure().with_written(Written::Maybe));
                }
                // With something before it on its way, it may only have come too early; and copies of both on a lost connection
                // could still come to be written.
                let gap = self.sequencer.has_gap();
                let rests = |batch: &Batch| batch.unrecognised || (gap && !is_unknown(batch));
                if self.batches.iter().take(index).all(rests) {
                    // What is missing will not come: the broker lost its state, or we gave something up.
                    self.sequencer.on_gap();
                    if let Some(batch) = self.batches.get_mut(index) {
                        batch.unrecognised = true;
                    }
                }
            }
        }
        let batch = self.batches.get_mut(index)?;
        if batch.expired {
            // Its outcome was told long ago, and now it is sure that its numbers stay unused or unknown.
            if stamped {
                self.sequencer.on_gap();
            }
            self.remove_unwritten(index);
            return None;
        }
        batch.failures += 1;
        batch.state = State::Queued;
        batch.not_before = now + backoff(batch.failures);
        batch.last_failure = Some(failure().error);
        if batch.unrecognised && !self.batches.iter().any(is_unknown) {
            // No batch after them was written either, so none of them was.
            for batch in &mut self.batches {
                (batch.maybe_written, batch.unrecognised) = (false, false);
            }
        }
        None
    }

    /// What became of a batch behind those that the broker did not recognise bears on them: it is to be asked about them again.
    fn ask_again(&mut self) {
        self.batches.iter_mut().for_each(|batch| batch.unrecognised = false);
    }

    /// The compression that was asked for is done; `None` if it failed, and the batch goes out as it is.
    pub(crate) fn on_compressed(&mut self, token: u64, body: Option<Bytes>) {
        let compression = self.limits.compression;
        if let Some(batch) = self.batches.iter_mut().find(|batch| batch.state == State::Compressing { token }) {
            batch.state = State::Queued;
            batch.on_compressed(compression, body);
        }
    }

    /// The partition has another leader: nothing is waited for any more. What is in flight to the old one may be stuck there for
    /// long; it is sent to the new one, which tells from its sequence numbers whether it has it. Without them nothing could tell,
    /// so the answer is waited for.
    pub(crate) fn on_new_leader(&mut self) {
        let stamped = self.limits.idempotent;
        for batch in &mut self.batches {
            batch.not_before = Time::ZERO;
            if stamped && matches!(batch.state, State::InFlight { .. }) {
                batch.state = State::Queued;
                batch.maybe_written = true;
            }
        }
        while let Some(index) = self.batches.iter().position(|batch| batch.expired && batch.state == State::Queued) {
            self.sequencer.on_gap();
            self.remove_unwritten(index);
        }
    }

    /// Gives up what is out of time (`delivery.timeout.ms`). `trouble` is why nothing can be sent now.
    pub(crate) fn expire(&mut self, now: Time, trouble: Option<Error>) -> Vec<Settled> {
        if self.open.as_ref().is_some_and(|open| open.created.saturating_add(self.limits.delivery_timeout) <= now) {
            self.freeze_open();
        }
        let timeout = self.limits.delivery_timeout;
        self.give_up(|batch| {
            let text = format!("not delivered within {timeout:?} (delivery.timeout.ms)");
            (batch.deadline <= now).then(|| (Error::new(ErrorKind::TimedOut, text), trouble.clone()))
        })
    }

    /// Gives up everything, because of `cause`.
    pub(crate) fn abandon(&mut self, cause: &Error) -> Vec<Settled> {
        self.freeze_open();
        self.give_up(|_| Some((cause.clone(), None)))
    }

    fn give_up(&mut self, cause: impl Fn(&Batch) -> Option<(Error, Option<Error>)>) -> Vec<Settled> {
        let mut settled = Vec::new();
        let mut index = 0;
        while let Some(batch) = self.batches.get_mut(index) {
            let Some((error, trouble)) = cause(batch).filter(|_| !batch.expired) else {
                index += 1;
                continue;
            };
            let in_flight = matches!(batch.state, State::InFlight { .. });
            let written = if in_flight || batch.maybe_written { Written::Maybe } else { Written::No };
            let error =
                Error::new(error.kind(), format!("produce to {}: {error}", self.partition)).with_retriable(false);
            let error = match batch.last_failure.take().or(trouble) {
                Some(last) => error.with_source(last),
                None => error,
            };
            let error = error.with_topic_partition(self.partition.clone()).with_written(written);
            settled.extend(batch.settled(Err(error.into())));
            if in_flight {
                // The request has the bytes it needs; the place in the queue stays until its answer tells about the numbers.
                batch.expired = true;
                batch.release();
                index += 1;
            } else {
                if batch.stamp.is_some() {
                    self.sequencer.on_gap();
                }
                self.remove_unwritten(index);
            }
        }
        settled
    }

    fn reject(&mut self, index: usize, failure: Failure) -> Option<Settled> {
        if self.limits.idempotent {
            self.sequencer.on_gap();
        }
        let doubtful = failure.error.written() == Written::Maybe;
        if let Some(batch) = self.batches.get_mut(index) {
            batch.maybe_written |= doubtful;
        }
        self.remove_unwritten(index).and_then(|batch| batch.settled(Err(failure)))
    }

    /// The halves of a batch take its place. They are other batches, so they do not take its sequence numbers.
    fn replace(&mut self, index: usize, [first, second]: [Batch; 2]) {
        first.outcome.on_split();
        if self.limits.idempotent {
            self.sequencer.on_gap();
        }
        self.batches.remove(index);
        self.batches.insert(index, second);
        self.batches.insert(index, first);
    }

    /// Removes a batch that was not written as far as is known.
    fn remove_unwritten(&mut self, index: usize) -> Option<Batch> {
        let batch = self.remove(index)?;
        if batch.stamp.is_some() && batch.maybe_written {
            self.given_up = self.given_up.max(batch.ordinal + 1);
            self.ask_again();
        }
        Some(batch)
    }

    fn remove(&mut self, index: usize) -> Option<Batch> {
        self.batches.remove(index)
    }
}

impl Batch {
    /// `None` if its outcome was told before.
    fn settled(&self, result: Result<BatchReceipt, Failure>) -> Option<Settled> {
        (!self.expired).then(|| Settled {
            outcome: self.outcome.clone(),
            first: self.first,
            records: self.records(),
            result,
        })
    }
}
