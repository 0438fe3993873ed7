//! A partition's queue in virtual time, against the cases that cost others data. Pure.

mod bodies;
mod schedules;

use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Wake, Waker};

use milena_protocol::ErrorCode;
use milena_protocol::records::Batches;

use super::*;
use crate::error::{Error, ErrorKind, Written};
use crate::producer::delivery::{BatchReceipt, Delivery, Tally};
use crate::producer::memory::Memory;
use crate::producer::sequencer::Identity;
use crate::producer::verdict::verdict;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

struct Queue {
    queue: Accumulator,
    memory: Arc<Memory>,
    compressor: Compressor,
    unawaited: Arc<Unawaited>,
}

/// What a request carried: producer epoch, first sequence number, and the values.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    token: u64,
    epoch: i16,
    sequence: i32,
    values: Vec<String>,
}

/// A queue whose first batch went well.
fn queue_with(change: impl FnOnce(&mut Limits)) -> Queue {
    let mut queue = new_queue(change);
    let identity = Identity { producer_id: 7, epoch: 0 };
    queue.queue.sequencer.on_written(ms(0), crate::producer::sequencer::Stamp { identity, base_sequence: 0 });
    queue
}

fn new_queue(change: impl FnOnce(&mut Limits)) -> Queue {
    let mut limits = Limits {
        batch_size: 1000,
        max_batch: 10_000,
        linger: ms(5),
        delivery_timeout: ms(120_000),
        idempotent: true,
        max_in_flight: 5,
        compression: Compression::None,
    };
    change(&mut limits);
    let unawaited = Arc::new(Unawaited::default());
    let compressor = Compressor::new(limits.compression, None);
    let mut queue = Accumulator::new(TopicPartition::new("orders", 0), Arc::new(limits), unawaited.clone());
    queue.on_producer_id(Identity { producer_id: 7, epoch: 0 });
    Queue { queue, memory: Memory::new(1 << 20), compressor, unawaited }
}

fn queue() -> Queue {
    queue_with(|_| {})
}

impl Queue {
    fn append(&mut self, now: Time, value: &str) -> Delivery {
        let record = NewRecord { key: None, value: Some(value.as_bytes()), headers: &[] };
        let mut spare = None;
        loop {
            match self.queue.append(now, 1_000, &record, &mut spare) {
                Ok(appended) => return Delivery::new(appended.outcome, appended.index, 1_000),
                Err(size) => spare = Some(self.memory.try_segment(size).expect("room")),
            }
        }
    }

    /// One record that is a batch of its own.
    fn batch(&mut self, now: Time, value: &str) -> Delivery {
        self.queue.freeze_open();
        let delivery = self.append(now, value);
        self.queue.freeze_open();
        delivery
    }

    fn batch_start(&mut self, now: Time, value: &str) -> Delivery {
        self.queue.freeze_open();
        self.append(now, value)
    }

    fn next(&mut self, now: Time) -> Option<Seen> {
        let due = self.queue.due().is_some_and(|due| due <= now);
        match self.queue.next(now, &mut self.compressor) {
            Next::Send(sending) => Some(seen(sending)),
            Next::Nothing => {
                assert!(!due, "it is due and there is nothing to send: the connection would spin");
                None
            }
            Next::Compress { .. } | Next::NeedsProducerId => None,
        }
    }

    fn all(&mut self, now: Time) -> Vec<Seen> {
        std::iter::from_fn(|| self.next(now)).collect()
    }

    fn answer(&mut self, now: Time, token: u64, code: ErrorCode) {
        let base_offset = code.is_none().then_some(100);
        self.settle(now, token, verdict(code), base_offset, Some(Error::broker("produce", code, 1)));
    }

    fn lose(&mut self, now: Time, token: u64) {
        self.settle(now, token, Verdict::Unknown, None, Some(Error::new(ErrorKind::Transport, "connection lost")));
    }

    fn settle(&mut self, now: Time, token: u64, verdict: Verdict, base_offset: Option<i64>, error: Option<Error>) {
        let receipt = BatchReceipt { base_offset, log_append_time: None };
        let answer = Answer { verdict, receipt, failure: error.map(Into::into) };
        let settled = self.queue.on_answer(now, token, answer, |_| ms(100));
        settled.map(|settled| settled.tell().wake());
    }

    fn expire(&mut self, now: Time) {
        Tally::default().settle(self.queue.expire(now, None)).wake();
    }
}

use crate::producer::verdict::Verdict;

fn seen(sending: Sending) -> Seen {
    let bytes = milena_protocol::primitives::Records::from_pieces(sending.pieces).into_bytes();
    let batch = Batches::new(bytes).next().expect("a batch").expect("a valid batch");
    assert!(batch.has_valid_crc());
    let records = batch.records(1 << 20).expect("records");
    let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
    Seen {
        token: sending.token,
        epoch: batch.header().producer_epoch,
        sequence: batch.header().base_sequence,
        values: records.iter().map(|record| text(record.expect("a record").value)).collect(),
    }
}

fn verdict_of(delivery: &Delivery) -> Option<Written> {
    delivery.try_result().map(|result| result.map_or_else(|error| error.written(), |_| Written::Yes))
}

#[test]
fn records_wait_for_linger_or_a_full_batch() {
    let mut queue = queue();
    queue.append(ms(0), "a").detach();
    assert_eq!(queue.queue.due(), Some(ms(5)));
    assert_eq!(queue.next(ms(4)), None);
    queue.append(ms(4), "b").detach();

    let sent = queue.next(ms(5)).unwrap();
    assert_eq!((sent.sequence, sent.values), (0, vec!["a".to_owned(), "b".to_owned()]));

    queue.append(ms(6), &"x".repeat(1000)).detach();
    assert!(queue.next(ms(6)).is_some(), "a full batch does not linger");
}

#[test]
fn while_five_batches_wait_the_open_one_grows_beyond_batch_size() {
    let mut queue = queue();
    for value in ["0", "1", "2", "3", "4"] {
        queue.batch(ms(0), value).detach();
    }
    let sent = queue.all(ms(0));
    assert_eq!(sent.len(), 5);
    for _ in 0..3 {
        queue.append(ms(1), &"x".repeat(900)).detach();
    }
    assert_eq!(queue.queue.due(), None);
    queue.answer(ms(2), sent[0].token, ErrorCode::NONE);

    assert_eq!(queue.next(ms(2)).unwrap().values.len(), 3);
}

#[test]
fn the_first_batch_of_an_identity_goes_alone() {
    let mut queue = new_queue(|_| {});
    queue.batch(ms(0), "a").detach();
    queue.batch(ms(0), "b").detach();
    let sent = queue.all(ms(0));
    assert_eq!(sent.len(), 1);
    queue.answer(ms(1), sent[0].token, ErrorCode::NONE);

    assert_eq!(queue.all(ms(1)).len(), 1);
}

#[test]
fn after_a_long_pause_the_first_batch_goes_alone_again() {
    let mut queue = queue();
    let later = ms(3_600_000);
    queue.batch(later, "a").detach();
    queue.batch(later, "b").detach();
    let sent = queue.all(later);
    assert_eq!(sent.len(), 1);
    queue.answer(later, sent[0].token, ErrorCode::NONE);
    queue.batch(later, "c").detach();

    assert_eq!(queue.all(later).len(), 2);
}

#[test]
fn a_lost_answer_is_sent_again_with_the_same_numbers_and_in_order() {
    let mut queue = queue();
    let deliveries: Vec<_> = ["a", "b", "c"].iter().map(|value| queue.batch(ms(0), value)).collect();
    let first = queue.all(ms(0));
    for sent in &first {
        queue.lose(ms(10), sent.token);
    }
    assert_eq!(queue.next(ms(50)), None, "backoff");

    let again = queue.all(ms(110));
    let shape = |sent: &[Seen]| sent.iter().map(|s| (s.epoch, s.sequence, s.values.clone())).collect::<Vec<_>>();
    assert_eq!(shape(&again), shape(&first));
    for sent in &again {
        queue.answer(ms(120), sent.token, ErrorCode::NONE);
    }
    assert!(deliveries.iter().all(|delivery| verdict_of(delivery) == Some(Written::Yes)));
}

#[test]
fn an_answer_to_an_older_attempt_is_ignored() {
    let mut queue = queue();
    let delivery = queue.batch(ms(0), "a");
    let old = queue.next(ms(0)).unwrap();
    queue.lose(ms(1), old.token);
    let new = queue.next(ms(200)).unwrap();
    queue.answer(ms(201), old.token, ErrorCode::MESSAGE_TOO_LARGE);

    assert_eq!(verdict_of(&delivery), None);
    queue.answer(ms(202), new.token, ErrorCode::NONE);
    assert_eq!(verdict_of(&delivery), Some(Written::Yes));
}

#[test]
fn out_of_order_behind_an_unsettled_batch_is_just_tried_again() {
    // SenderTest.testCorrectHandlingOfOutOfOrderResponses
    let mut queue = queue();
    let deliveries = [queue.batch(ms(0), "a"), queue.batch(ms(0), "b")];
    let sent = queue.all(ms(0));
    queue.answer(ms(1), sent[1].token, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    queue.lose(ms(2), sent[0].token);

    let again = queue.all(ms(200));
    assert_eq!(again.iter().map(|s| (s.epoch, s.sequence)).collect::<Vec<_>>(), [(0, 0), (0, 1)]);
    again.iter().for_each(|s| queue.answer(ms(201), s.token, ErrorCode::NONE));
    assert!(deliveries.iter().all(|delivery| verdict_of(delivery) == Some(Written::Yes)));
}

#[test]
fn out_of_order_with_nothing_before_it_starts_a_new_epoch() {
    // SenderTest.testEpochBumpOnOutOfOrderSequenceForNextBatchWhenThereIsNoBatchInFlight
    let mut queue = queue();
    queue.batch(ms(0), "a").detach();
    let sent = queue.next(ms(0)).unwrap();
    queue.answer(ms(1), sent.token, ErrorCode::NONE);
    let delivery = queue.batch(ms(2), "b");
    let sent = queue.next(ms(2)).unwrap();
    assert_eq!(sent.sequence, 1);
    queue.answer(ms(3), sent.token, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);

    let again = queue.next(ms(200)).unwrap();
    assert_eq!((again.epoch, again.sequence), (1, 0));
    queue.answer(ms(201), again.token, ErrorCode::NONE);
    assert_eq!(verdict_of(&delivery), Some(Written::Yes));
}

#[test]
fn batches_that_the_broker_does_not_recognise_once_their_answers_were_lost_start_a_new_epoch_together() {
    let mut queue = queue();
    let deliveries = [queue.batch(ms(0), "a"), queue.batch(ms(0), "b")];
    queue.all(ms(0)).iter().for_each(|sent| queue.lose(ms(1), sent.token));
    let again = queue.all(ms(200));
    assert_eq!(again.len(), 2);
    again.iter().for_each(|sent| queue.answer(ms(201), sent.token, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));

    let first = queue.next(ms(400)).unwrap();
    assert_eq!((first.epoch, first.sequence, first.values[0].as_str()), (1, 0, "a"));
    queue.answer(ms(401), first.token, ErrorCode::NONE);
    let second = queue.next(ms(401)).unwrap();
    assert_eq!((second.epoch, second.sequence), (1, 1));
    queue.answer(ms(402), second.token, ErrorCode::NONE);
    assert!(deliveries.iter().all(|delivery| verdict_of(delivery) == Some(Written::Yes)));
}

#[test]
fn what_is_followed_by_a_written_batch_was_written_though_a_restarted_broker_has_forgotten_it() {
    // A snapshot of Kafka's producer state keeps the last batch of each producer.
    let mut queue = queue();
    let deliveries = ["a", "b", "c"].map(|value| queue.batch(ms(0), value));
    queue.all(ms(0)).iter().for_each(|sent| queue.lose(ms(1), sent.token));
    let again = queue.all(ms(200));
    queue.answer(ms(201), again[0].token, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    queue.answer(ms(201), again[1].token, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    queue.answer(ms(201), again[2].token, ErrorCode::NONE);
    let rest = queue.all(ms(400));
    assert_eq!(rest.iter().map(|sent| (sent.epoch, sent.sequence)).collect::<Vec<_>>(), [(0, 0), (0, 1)]);
    rest.iter().for_each(|sent| queue.answer(ms(401), sent.token, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));

    assert!(deliveries.iter().all(|delivery| verdict_of(delivery) == Some(Written::Yes)));
    assert_eq!(queue.next(ms(600)), None);
}

#[test]
fn a_batch_that_expires_in_flight_is_maybe_written_and_the_next_epoch_waits_for_the_others() {
    // SenderTest.testExpiryOfFirstBatchShouldCauseEpochBumpIfFutureBatchesFail
    let mut queue = queue_with(|limits| limits.delivery_timeout = ms(1_000));
    let first = queue.batch(ms(0), "a");
    let second = queue.batch(ms(500), "b");
    let sent = queue.all(ms(500));
    queue.expire(ms(1_000));
    assert_eq!((verdict_of(&first), verdict_of(&second)), (Some(Written::Maybe), None));

    queue.lose(ms(1_100), sent[0].token);
    let third = queue.batch(ms(1_100), "c");
    assert_eq!(queue.next(ms(1_300)), None, "b is still in flight");
    queue.answer(ms(1_350), sent[1].token, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    let mut again = queue.all(ms(1_460));
    queue.answer(ms(1_460), again[0].token, ErrorCode::NONE);
    again.extend(queue.all(ms(1_460)));
    assert_eq!(
        again.iter().map(|s| (s.epoch, s.sequence, s.values[0].as_str())).collect::<Vec<_>>(),
        [(1, 0, "b"), (1, 1, "c")]
    );
    queue.answer(ms(1_461), again[1].token, ErrorCode::NONE);
    assert_eq!([verdict_of(&second), verdict_of(&third)], [Some(Written::Yes), Some(Written::Yes)]);
}

/// Looks for failures when it is woken.
struct Flushing(Arc<Unawaited>, Mutex<Option<u64>>);

impl Wake for Flushing {
    fn wake(self: Arc<Self>) {
        *self.1.lock().unwrap() = self.0.take().map(|(count, _)| count);
    }
}

#[test]
fn whoever_is_woken_finds_all_failures_that_were_settled_together() {
    let mut queue = queue_with(|limits| limits.delivery_timeout = ms(1_000));
    let mut first = queue.batch(ms(0), "a");
    queue.batch(ms(0), "b").detach();
    let flushing = Arc::new(Flushing(queue.unawaited.clone(), Mutex::new(None)));
    let waker = Waker::from(flushing.clone());
    assert!(Pin::new(&mut first).poll(&mut Context::from_waker(&waker)).is_pending());
    queue.expire(ms(1_000));
    assert_eq!(*flushing.1.lock().unwrap(), Some(1));
}

#[test]
fn a_batch_that_expired_but_was_written_leaves_no_gap() {
    // SenderTest.testExpiryOfFirstBatchShouldNotCauseUnresolvedSequencesIfFutureBatchesSucceed
    let mut queue = queue_with(|limits| limits.delivery_timeout = ms(1_000));
    let first = queue.batch(ms(0), "a");
    let sent = queue.next(ms(0)).unwrap();
    queue.expire(ms(1_000));
    queue.answer(ms(1_001), sent.token, ErrorCode::NONE);
    queue.batch(ms(1_002), "b").detach();

    assert_eq!(verdict_of(&first), Some(Written::Maybe));
    let next = queue.next(ms(1_002)).unwrap();
    assert_eq!((next.epoch, next.sequence), (0, 1));
}

#[test]
fn a_batch_that_was_never_sent_is_not_written_when_it_expires() {
    // SenderTest.testExpiryOfUnsentBatchesShouldNotCauseUnresolvedSequences
    let mut queue = queue_with(|limits| limits.delivery_timeout = ms(1_000));
    let delivery = queue.batch(ms(0), "a");
    let open = queue.append(ms(10), "b");
    queue.expire(ms(999));
    assert_eq!(verdict_of(&delivery), None);
    queue.expire(ms(1_010));
    assert_eq!([verdict_of(&delivery), verdict_of(&open)], [Some(Written::No), Some(Written::No)]);

    queue.batch(ms(1_011), "c").detach();
    assert_eq!(queue.next(ms(1_011)).unwrap().epoch, 0);
}

#[test]
fn a_rejected_batch_is_not_written_and_those_behind_it_get_new_numbers() {
    let mut queue = queue();
    let deliveries = [queue.batch(ms(0), "a"), queue.batch(ms(0), "b")];
    let sent = queue.all(ms(0));
    queue.answer(ms(1), sent[0].token, ErrorCode::INVALID_RECORD);
    queue.answer(ms(2), sent[1].token, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);

    let again = queue.next(ms(200)).unwrap();
    assert_eq!((again.epoch, again.sequence), (1, 0));
    queue.answer(ms(201), again.token, ErrorCode::NONE);
    assert_eq!([verdict_of(&deliveries[0]), verdict_of(&deliveries[1])], [Some(Written::No), Some(Written::Yes)]);
}

#[test]
fn a_rejection_after_an_unknown_attempt_is_maybe_written() {
    let mut queue = queue();
    let delivery = queue.batch(ms(0), "a");
    let sent = queue.next(ms(0)).unwrap();
    queue.answer(ms(1), sent.token, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    let again = queue.next(ms(200)).unwrap();
    queue.answer(ms(201), again.token, ErrorCode::TOPIC_AUTHORIZATION_FAILED);

    assert_eq!(verdict_of(&delivery), Some(Written::Maybe));
}

#[test]
fn refused_for_want_of_replicas_until_the_end_is_not_written() {
    let mut queue = queue_with(|limits| limits.delivery_timeout = ms(300));
    let delivery = queue.batch(ms(0), "a");
    let sent = queue.next(ms(0)).unwrap();
    queue.answer(ms(1), sent.token, ErrorCode::NOT_ENOUGH_REPLICAS);
    queue.expire(ms(300));

    let error = delivery.try_result().unwrap().unwrap_err();
    assert_eq!((error.written(), error.kind()), (Written::No, ErrorKind::TimedOut));
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("NOT_ENOUGH_REPLICAS"));
}

#[test]
fn a_duplicate_counts_as_written_without_an_offset() {
    let mut queue = queue();
    let delivery = queue.batch(ms(0), "a");
    let sent = queue.next(ms(0)).unwrap();
    queue.settle(ms(1), sent.token, verdict(ErrorCode::DUPLICATE_SEQUENCE_NUMBER), None, None);

    assert_eq!(delivery.try_result().unwrap().unwrap().offset, None);
}

#[test]
fn without_idempotence_one_batch_waits_so_that_a_retry_keeps_its_place() {
    let mut queue = queue_with(|limits| (limits.idempotent, limits.max_in_flight) = (false, 1));
    queue.batch(ms(0), "a").detach();
    queue.batch(ms(0), "b").detach();
    let sent = queue.all(ms(0));
    assert_eq!(sent.len(), 1);
    queue.lose(ms(1), sent[0].token);

    let again = queue.next(ms(200)).unwrap();
    assert_eq!((again.values, again.sequence), (vec!["a".to_owned()], -1));
}

#[test]
fn a_new_leader_ends_the_backoff() {
    let mut queue = queue();
    queue.batch(ms(0), "a").detach();
    let sent = queue.next(ms(0)).unwrap();
    queue.answer(ms(1), sent.token, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    assert_eq!(queue.next(ms(2)), None);
    queue.queue.on_new_leader();

    assert!(queue.next(ms(2)).is_some());
}

#[test]
fn what_is_in_flight_when_the_leader_moves_is_sent_to_the_new_one_at_once() {
    let mut queue = queue();
    let deliveries = [queue.batch(ms(0), "a"), queue.batch(ms(0), "b")];
    let old = queue.all(ms(0));
    queue.queue.on_new_leader();

    let new = queue.all(ms(1));
    assert_eq!(new.iter().map(|s| (s.epoch, s.sequence)).collect::<Vec<_>>(), [(0, 0), (0, 1)]);
    queue.answer(ms(2), old[0].token, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    new.iter().for_each(|s| queue.answer(ms(3), s.token, ErrorCode::NONE));
    assert!(deliveries.iter().all(|delivery| verdict_of(delivery) == Some(Written::Yes)));
}

#[test]
fn a_batch_without_an_answer_is_not_outrun_by_more_than_the_broker_remembers() {
    let mut queue = queue();
    queue.batch(ms(0), "stuck").detach();
    let stuck = queue.next(ms(0)).unwrap();
    for number in 0..4 {
        queue.batch(ms(1), &number.to_string()).detach();
        let sent = queue.next(ms(1)).unwrap();
        queue.answer(ms(1), sent.token, ErrorCode::NONE);
    }
    queue.batch(ms(2), "too much").detach();
    assert_eq!(queue.next(ms(2)), None);
    queue.answer(ms(3), stuck.token, ErrorCode::NONE);

    assert!(queue.next(ms(3)).is_some());
}
