//! What becomes of a batch, and of each record in it. Pure.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

use super::accumulator::Settled;
use crate::clock::from_millis;
use crate::error::{Error, Result, Written};
use crate::topic_partition::TopicPartition;

/// Where a record was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its partition.
    pub partition: TopicPartition,
    /// Its offset. `None` with acks=0, and when the broker says that it has the record but not where.
    pub offset: Option<i64>,
    /// Its timestamp, to the millisecond: the broker's on a topic with `message.timestamp.type=LogAppendTime`, otherwise the
    /// record's own.
    pub timestamp: SystemTime,
}

/// What an answer said of a whole batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchReceipt {
    pub(crate) base_offset: Option<i64>,
    /// Milliseconds, if the broker's time replaces the records'.
    pub(crate) log_append_time: Option<i64>,
}

impl BatchReceipt {
    /// Written, or taken for it, at an offset that nobody told.
    pub(crate) const NOWHERE: Self = Self { base_offset: None, log_append_time: None };
}

/// Why a batch failed. Records that the broker named have errors of their own (KIP-467).
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) records: Vec<(u32, Error)>,
}

impl Failure {
    pub(crate) fn with_written(self, written: Written) -> Self {
        let records = self.records.into_iter().map(|(index, error)| (index, error.with_written(written))).collect();
        Self { error: self.error.with_written(written), records }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, records: Vec::new() }
    }
}

/// Failures that no [`Delivery`] reports, for the next flush.
#[derive(Debug, Default)]
pub(crate) struct Unawaited {
    failures: Mutex<Option<(u64, Error)>>,
}

impl Unawaited {
    fn add(&self, count: u64, error: &Error) {
        if count > 0 {
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            let (sum, first) = failures.take().unwrap_or_else(|| (0, error.clone()));
            let worst = first.written().max(error.written());
            *failures = Some((sum + count, first.with_written(worst)));
        }
    }

    /// How many there were since the last call, and the first cause with the worst [`Written`] of all.
    pub(crate) fn take(&self) -> Option<(u64, Error)> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The outcome of the records that were batched together. It is settled once: as a whole, or in parts if the broker made us
/// split the batch, and then with the last part.
#[derive(Debug)]
pub(crate) struct Outcome {
    partition: TopicPartition,
    settled: OnceLock<Vec<Part>>,
    waiting: Mutex<Waiting>,
    unawaited: Arc<Unawaited>,
}

/// Whoever waited for what is settled now.
#[derive(Debug, Default)]
#[must_use = "whoever waits is to be woken, without any lock held"]
pub(crate) struct Told {
    wakers: Vec<Option<Waker>>,
    outcomes: usize,
}

impl Told {
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.outcomes += other.outcomes;
        if self.wakers.is_empty() {
            self.wakers = other.wakers;
        } else {
            self.wakers.extend(other.wakers);
        }
        self
    }

    /// Wakes them. How many outcomes are settled.
    pub(crate) fn wake(self) -> usize {
        self.wakers.into_iter().flatten().for_each(Waker::wake);
        self.outcomes
    }
}

/// The result of the records from `first` up to the next part.
#[derive(Debug)]
struct Part {
    first: u32,
    result: Result<BatchReceipt, Failure>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// One slot for each delivery that was polled.
    wakers: Vec<Option<Waker>>,
    /// The records whose deliveries were detached or dropped before.
    abandoned: Vec<u32>,
    parts: Vec<Part>,
    /// How many parts there are.
    expected: usize,
}

impl Outcome {
    pub(crate) fn new(partition: TopicPartition, unawaited: Arc<Unawaited>) -> Arc<Self> {
        let waiting = Mutex::new(Waiting { expected: 1, ..Waiting::default() });
        Arc::new(Self { partition, settled: OnceLock::new(), waiting, unawaited })
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.settled.get().is_some()
    }

    /// One part became two.
    pub(crate) fn on_split(&self) {
        self.lock().expected += 1;
    }

    /// Settles the part that begins with record `first`, and with the last part all of them. What nobody awaits is noted before
    /// anybody can see that.
    pub(crate) fn settle(&self, first: u32, result: Result<BatchReceipt, Failure>) -> Told {
        let mut waiting = self.lock();
        waiting.parts.push(Part { first, result });
        if waiting.parts.len() < waiting.expected || self.is_settled() {
            return Told::default();
        }
        waiting.parts.sort_by_key(|part| part.first);
        let Waiting { wakers, abandoned, parts, .. } = std::mem::take(&mut *waiting);
        for (index, part) in parts.iter().enumerate() {
            if let Err(failure) = &part.result {
                let end = parts.get(index + 1).map_or(u32::MAX, |next| next.first);
                let count = abandoned.iter().filter(|record| (part.first..end).contains(*record)).count();
                self.unawaited.add(count as u64, &failure.error);
            }
        }
        self.settled.get_or_init(|| parts);
        Told { wakers, outcomes: 1 }
    }

    /// What became of a record, if that is known: the result of its part, and its index there.
    fn result(&self, index: u32) -> Option<(&Result<BatchReceipt, Failure>, u32)> {
        let part = self.settled.get()?.iter().rev().find(|part| part.first <= index)?;
        Some((&part.result, index - part.first))
    }

    /// Ready once the batch is settled. `slot` is the caller's place among the wakers.
    pub(crate) fn poll_settled(&self, slot: &mut Option<usize>, context: &Context<'_>) -> Poll<()> {
        if self.is_settled() {
            return Poll::Ready(());
        }
        let mut waiting = self.lock();
        if self.is_settled() {
            return Poll::Ready(());
        }
        let index = *slot.get_or_insert(waiting.wakers.len());
        if index >= waiting.wakers.len() {
            waiting.wakers.resize(index + 1, None);
        }
        if let Some(waker) = waiting.wakers.get_mut(index)
            && !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker()))
        {
            *waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way of one record, from the moment it was buffered. Awaiting it gives its [`Receipt`].
///
/// Dropping it does not stop the record: the failure of one that was dropped too early, or detached, is told by the next
/// [`Producer::flush`](crate::Producer::flush).
#[must_use = "await it to know that the record was written, or detach it and let `flush` report failures"]
pub struct Delivery {
    outcome: Arc<Outcome>,
    index: u32,
    timestamp: i64,
    slot: Option<usize>,
    /// Whether somebody was given the result.
    told: AtomicBool,
    detached: bool,
}

impl Delivery {
    pub(crate) fn new(outcome: Arc<Outcome>, index: u32, timestamp: i64) -> Self {
        Self { outcome, index, timestamp, slot: None, told: AtomicBool::new(false), detached: false }
    }

    /// Lets the record go its way. If it fails, or has failed and nobody was given the error yet, the next
    /// [`Producer::flush`](crate::Producer::flush) says so.
    pub fn detach(mut self) {
        self.detached = true;
        if !self.abandon()
            && !self.told.load(Ordering::Relaxed)
            && let Some(Err(error)) = self.try_result()
        {
            self.outcome.unawaited.add(1, &error);
        }
    }

    /// Leaves the failure of the record, if it comes to that, to the next flush. False if it is settled already.
    fn abandon(&self) -> bool {
        let mut waiting = self.outcome.lock();
        if self.outcome.is_settled() {
            return false;
        }
        waiting.abandoned.push(self.index);
        if let Some(waker) = self.slot.and_then(|slot| waiting.wakers.get_mut(slot)) {
            *waker = None;
        }
        true
    }

    /// What became of the record, if that is known. Every call gives the same.
    pub fn try_result(&self) -> Option<Result<Receipt>> {
        let (result, index) = self.outcome.result(self.index)?;
        self.told.store(true, Ordering::Relaxed);
        let result = match result {
            Ok(batch) => Ok(Receipt {
                partition: self.outcome.partition.clone(),
                offset: batch.base_offset.map(|base| base.saturating_add(i64::from(index))),
                timestamp: from_millis(batch.log_append_time.unwrap_or(self.timestamp)),
            }),
            Err(failure) => {
                let own = failure.records.iter().find(|(named, _)| *named == index);
                Err(own.map_or(&failure.error, |(_, error)| error).clone())
            }
        };
        Some(result)
    }
}

/// # Cancel safety
/// Dropping it changes nothing for the record.
impl Future for Delivery {
    type Output = Result<Receipt>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { outcome, slot, .. } = &mut *self;
        match outcome.poll_settled(slot, context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => match self.try_result() {
                Some(result) => Poll::Ready(result),
                None => Poll::Pending,
            },
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.detached && !self.outcome.is_settled() {
            self.abandon();
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("partition", &self.outcome.partition)
            .field("settled", &self.outcome.is_settled())
            .finish_non_exhaustive()
    }
}

/// How records ended, for [`CloseReport`](crate::CloseReport).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) acked: u64,
    pub(crate) not_written: u64,
    pub(crate) maybe_written: u64,
}

impl Tally {
    /// Counts and tells outcomes.
    pub(crate) fn settle(&mut self, settled: impl IntoIterator<Item = Settled>) -> Told {
        let tell = |told: Told, settled: Settled| {
            self.add(settled.records, &settled.result);
            told.and(settled.tell())
        };
        settled.into_iter().fold(Told::default(), tell)
    }

    fn add(&mut self, records: u64, result: &Result<BatchReceipt, Failure>) {
        match result.as_ref().map_err(|failure| failure.error.written()) {
            Ok(_) | Err(Written::Yes) => self.acked += records,
            Err(Written::No) => self.not_written += records,
            Err(Written::Maybe) => self.maybe_written += records,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn outcome() -> (Arc<Outcome>, Arc<Unawaited>) {
        let unawaited = Arc::new(Unawaited::default());
        (Outcome::new(TopicPartition::new("orders", 3), unawaited.clone()), unawaited)
    }

    fn failed(written: Written) -> Result<BatchReceipt, Failure> {
        Err(Error::new(ErrorKind::TimedOut, "too late").with_written(written).into())
    }

    #[test]
    fn the_records_of_a_batch_have_offsets_in_a_row() {
        let (outcome, _) = outcome();
        let mut deliveries: Vec<_> =
            (0..3).map(|index| tokio_test::task::spawn(Delivery::new(outcome.clone(), index, 5))).collect();
        assert!(deliveries.iter_mut().all(|delivery| delivery.poll().is_pending()));
        assert_eq!(outcome.settle(0, Ok(BatchReceipt { base_offset: Some(40), log_append_time: None })).wake(), 1);

        for (index, delivery) in deliveries.iter_mut().enumerate() {
            assert!(delivery.is_woken());
            let Poll::Ready(Ok(receipt)) = delivery.poll() else { panic!("not settled") };
            assert_eq!(receipt.offset, Some(40 + index as i64));
        }
    }

    #[test]
    fn a_batch_is_settled_once() {
        let (outcome, _) = outcome();
        assert_eq!(outcome.settle(0, failed(Written::Maybe)).wake(), 1);
        assert_eq!(outcome.settle(0, Ok(BatchReceipt { base_offset: Some(1), log_append_time: None })).wake(), 0);

        let result = Delivery::new(outcome, 0, 0).try_result();
        assert!(matches!(result, Some(Err(error)) if error.written() == Written::Maybe));
    }

    #[test]
    fn failures_that_nobody_awaits_are_kept_for_flush_with_the_worst_verdict() {
        let (first, unawaited) = outcome();
        Delivery::new(first.clone(), 0, 0).detach();
        drop(Delivery::new(first.clone(), 1, 0));
        let alive = Delivery::new(first.clone(), 2, 0);
        first.settle(0, failed(Written::No)).wake();
        drop(alive);
        let second = Outcome::new(TopicPartition::new("orders", 3), unawaited.clone());
        Delivery::new(second.clone(), 0, 0).detach();
        second.settle(0, failed(Written::Maybe)).wake();

        let (count, error) = unawaited.take().expect("failures");
        assert_eq!((count, error.written()), (3, Written::Maybe));
        assert!(unawaited.take().is_none());
    }

    #[test]
    fn a_failure_that_came_before_the_detaching_is_kept_for_flush_unless_it_was_told() {
        let (outcome, unawaited) = outcome();
        let [told, untold, dropped] = [0, 1, 2].map(|index| Delivery::new(outcome.clone(), index, 0));
        outcome.settle(0, failed(Written::Maybe)).wake();
        assert!(told.try_result().is_some());
        told.detach();
        drop(dropped);
        assert!(unawaited.take().is_none());
        untold.detach();

        assert_eq!(unawaited.take().map(|(count, error)| (count, error.written())), Some((1, Written::Maybe)));
    }

    #[test]
    fn a_record_that_the_broker_named_has_its_own_error() {
        let (outcome, _) = outcome();
        let rest = Error::new(ErrorKind::Broker, "part of a batch with an invalid record");
        let own = Error::new(ErrorKind::Broker, "the timestamp is in the future");
        outcome.settle(0, Err(Failure { error: rest, records: vec![(1, own)] })).wake();

        let text = |index| Delivery::new(outcome.clone(), index, 0).try_result().unwrap().unwrap_err().to_string();
        assert_eq!(text(1), "the timestamp is in the future");
        assert_eq!(text(0), "part of a batch with an invalid record");
    }

    #[test]
    fn a_split_batch_is_settled_with_its_last_part_and_each_record_has_its_own_parts_result() {
        let (outcome, unawaited) = outcome();
        let mut first = tokio_test::task::spawn(Delivery::new(outcome.clone(), 1, 0));
        let third = Delivery::new(outcome.clone(), 3, 0);
        Delivery::new(outcome.clone(), 0, 0).detach();
        Delivery::new(outcome.clone(), 2, 0).detach();
        assert!(first.poll().is_pending());
        outcome.on_split();
        assert_eq!(outcome.settle(2, failed(Written::No)).wake(), 0);
        assert!(first.poll().is_pending());
        assert_eq!(outcome.settle(0, Ok(BatchReceipt { base_offset: Some(70), log_append_time: None })).wake(), 1);

        let Poll::Ready(Ok(receipt)) = first.poll() else { panic!("not settled") };
        assert_eq!(receipt.offset, Some(71));
        assert_eq!(third.try_result().unwrap().unwrap_err().written(), Written::No);
        assert_eq!(unawaited.take().map(|(count, _)| count), Some(1), "only record 2 failed unawaited");
    }
}
