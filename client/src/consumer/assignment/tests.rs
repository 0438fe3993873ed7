//! Partitions from both sides, in virtual time: what brokers answer, what the application reads. Pure.

mod leases;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use milena_protocol::messages::metadata::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use milena_protocol::records::{Attributes, BatchHeader, NewRecord};

use super::super::batch::{Batch, ConsumerRecord};
use super::super::fetch_budget::FetchBudget;
use super::super::fetched::Reading;
use super::super::hand_out::Blocked;
use super::super::holds::unwatched;
use super::super::offsets::Offsets;
use super::super::positions::{Ask, Position};
use super::*;
use crate::config::IsolationLevel;

const READING: Reading = Reading { isolation: IsolationLevel::ReadUncommitted, check_crcs: true, batch_limit: 1 << 20 };
const BROKER: i32 = 1;

struct Reader {
    assignment: Assignment,
    budget: Arc<FetchBudget>,
}

fn name(partition: i32) -> TopicPartition {
    ("t", partition).into()
}

/// Records with these offsets; the batch ends at `end`.
fn batch(offsets: &[i64], end: i64) -> Vec<u8> {
    let base_offset = offsets[0];
    let mut body = Vec::new();
    for offset in offsets {
        let delta = i32::try_from(offset - base_offset).unwrap();
        let value = format!("v{offset}");
        let headers = [("h", Some(&b"1"[..]))];
        NewRecord { key: None, value: Some(value.as_bytes()), headers: &headers }.append_to(delta, 5, &mut body);
    }
    let body = Bytes::from(body);
    let header = BatchHeader {
        base_offset,
        partition_leader_epoch: 3,
        attributes: Attributes::default(),
        last_offset_delta: i32::try_from(end - 1 - base_offset).unwrap(),
        base_timestamp: 1000,
        record_count: i32::try_from(offsets.len()).unwrap(),
        ..BatchHeader::default()
    };
    [&header.encode(std::slice::from_ref(&body))[..], &body].concat()
}

fn three(base: i64) -> Vec<u8> {
    batch(&[base, base + 1, base + 2], base + 3)
}

fn view(topic_id: u8, epoch: i32, partitions: i32) -> ClusterView {
    let broker = MetadataResponseBroker { node_id: BROKER, host: "b".into(), port: 9092, ..Default::default() };
    let partition = |partition_index| MetadataResponsePartition {
        partition_index,
        leader_id: BROKER,
        leader_epoch: epoch,
        ..Default::default()
    };
    ClusterView::default().merge(&MetadataResponse {
        brokers: vec![broker],
        topics: vec![MetadataResponseTopic {
            name: Some("t".into()),
            topic_id: Uuid([topic_id; 16]),
            partitions: (0..partitions).map(partition).collect(),
            ..Default::default()
        }],
        ..Default::default()
    })
}

impl Reader {
    fn new(starts: &[Position]) -> Self {
        let partitions = (0..).zip(starts).map(|(index, start)| (name(index), *start)).collect();
        Self::counting(partitions, false)
    }

    fn counting(partitions: Vec<(TopicPartition, Position)>, by_record: bool) -> Self {
        let mut assignment = Assignment::new(400, unwatched(by_record));
        let count = i32::try_from(partitions.len()).unwrap();
        assignment.add(partitions);
        assignment.on_view(&view(1, 3, count), Some(Target::Beginning));
        Self { assignment, budget: FetchBudget::new(1 << 20, Box::new(|| {})) }
    }

    fn asked(&mut self, partition: i32) -> Option<Asked> {
        self.assignment.wants(BROKER, Time::ZERO).asked.remove(&name(partition))
    }

    fn bring(&mut self, partition: i32, asked: Asked, batches: &[Vec<u8>]) {
        let intake = READING.sort_out(&name(partition), asked.position, batches.concat().into(), vec![]);
        self.assignment.on_fetched(&name(partition), asked, 100, intake);
    }

    fn fetch(&mut self, partition: i32, batches: &[Vec<u8>]) {
        let asked = self.asked(partition).expect("the partition is fetched");
        self.bring(partition, asked, batches);
    }

    fn fail(&mut self, partition: i32, code: ErrorCode, policy: Option<Target>) {
        let asked = self.asked(partition).expect("the partition is fetched");
        let retry = Retry { policy, now: Time::ZERO, pause: &mut |_| Duration::from_secs(1) };
        self.assignment.on_fetch_failed(&name(partition), asked, code, BROKER, retry);
    }

    fn read<T>(&mut self, mut read: impl FnMut(&mut Assignment) -> Result<T, Blocked>) -> Result<T, Blocked> {
        self.assignment.begin_read();
        loop {
            match read(&mut self.assignment) {
                Err(Blocked::Decode(undecoded)) => {
                    let decoded = undecoded.decode(&READING, &self.budget);
                    self.assignment.on_decoded(&undecoded, decoded);
                }
                other => return other,
            }
        }
    }

    fn next(&mut self) -> Result<ConsumerRecord, Blocked> {
        self.read(Assignment::next_record)
    }

    /// Everything that can be read, until nothing or an error comes.
    fn rest(&mut self) -> Vec<(i32, i64)> {
        let next = || self.next().ok().map(|record| (record.partition(), record.offset()));
        std::iter::from_fn(next).collect()
    }

    fn batch(&mut self, max: usize) -> Batch {
        let mut batch = Batch::empty();
        while batch.len() < max {
            let (left, first) = (max - batch.len(), batch.is_empty());
            match self.read(|assignment| assignment.next_piece(left, first)) {
                Ok(piece) => batch.push(piece),
                Err(_) => break,
            }
        }
        batch
    }

    fn error(&mut self) -> Error {
        match self.next() {
            Err(Blocked::Failed(error)) => error,
            other => panic!("expected an error, got {other:?}"),
        }
    }

    fn position(&self, partition: i32) -> Option<i64> {
        self.assignment.get(&name(partition)).unwrap().lease.position().map(|position| position.offset)
    }

    fn refused(&self, offsets: impl Into<Offsets>) -> String {
        self.assignment.check(&offsets.into()).expect_err("the commit is refused").to_string()
    }

    fn committable(&self, offsets: impl Into<Offsets>) -> Vec<(i32, i64, i32)> {
        let checked = self.assignment.check(&offsets.into()).expect("the commit makes sense");
        checked.iter().map(|one| (one.partition.partition(), one.next.offset, one.next.epoch)).collect()
    }
}

#[test]
fn partitions_take_turns_a_batch_each() {
    let mut reader = Reader::new(&[Position::Offset(0), Position::Offset(50)]);
    reader.fetch(0, &[three(0), three(3)]);
    reader.fetch(1, &[three(50)]);

    let order = [(0, 0), (0, 1), (0, 2), (1, 50), (1, 51), (1, 52), (0, 3), (0, 4), (0, 5)];
    assert_eq!(reader.rest(), order);
}

#[test]
fn the_next_fetch_goes_on_behind_what_waits() {
    let mut reader = Reader::new(&[Position::Offset(1)]);
    reader.fetch(0, &[three(0)]);
    assert_eq!(reader.asked(0).unwrap().position, FetchPosition { offset: 3, epoch: 3 });
    reader.fetch(0, &[three(3)]);

    assert_eq!(reader.position(0), Some(1), "nothing was read yet");
    assert_eq!(reader.rest(), [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5)], "and nothing before the start");
    assert_eq!((reader.position(0), reader.assignment.lag(&name(0))), (Some(6), Some(94)));
}

#[test]
fn the_position_after_a_compacted_batch_is_behind_all_of_it() {
    let mut reader = Reader::new(&[Position::Offset(0)]);
    reader.fetch(0, &[batch(&[2, 5], 20)]);

    assert_eq!(reader.rest(), [(0, 2), (0, 5)]);
    assert_eq!(reader.position(0), Some(20));
    assert_eq!(reader.asked(0).unwrap().position.offset, 20);
}

#[test]
fn what_was_fetched_before_a_seek_is_not_handed_out_after_it() {
    let mut reader = Reader::new(&[Position::Offset(0)]);
    reader.fetch(0, &[three(0), three(3)]);
    assert_eq!(reader.next().unwrap().offset(), 0);
    let late = reader.asked(0).unwrap();

    reader.assignment.seek(&name(0), Position::Offset(6)).unwrap();
    reader.bring(0, late, &[three(6)]);
    assert_eq!(reader.rest(), []);
    reader.fetch(0, &[three(6)]);
    assert_eq!(reader.rest(), [(0, 6), (0, 7), (0, 8)]);
}

#[test]
fn a_seek_while_a_batch_is_decompressed_wins() {
    let mut reader = Reader::new(&[Position::Offset(0)]);
    reader.fetch(0, &[three(0)]);
    let Err(Blocked::Decode(undecoded)) = reader.assignment.next_record() else { panic!("a batch waits") };
    reader.assignment.seek(&name(0), Position::Offset(90)).unwrap();
    let decoded = undecoded.decode(&READING, &reader.budget);
    reader.assignment.on_decoded(&undecoded, decoded);

    assert_eq!(reader.rest(), []);
}

#[test]
fn a_paused_partition_keeps_what_was_fetched() {
    let mut reader = Reader::new(&[Position::Offset(0), Position::Offset(0)]);
    reader.fetch(0, &[three(0)]);
    reader.fetch(1, &[three(0)]);
    assert_eq!(reader.next().unwrap().offset(), 0);
    reader.assignment.pause(&name(0)).unwrap();

    assert_eq!(reader.rest(), [(1, 0), (1, 1), (1, 2)]);
    assert!(reader.asked(0).is_none() && reader.asked(1).is_some());
    assert_eq!(reader.assignment.names(|paused| paused), [name(0)]);
    reader.assignment.resume(&name(0)).unwrap();
    assert_eq!(reader.rest(), [(0, 1), (0, 2)]);
}

#[test]
fn a_bad_batch_gives_what_is_before_it_and_then_an_error_while_the_others_flow() {
    let mut reader = Reader::new(&[Position::Offset(0), Position::Offset(0)]);
    let mut bad = three(3);
    *bad.last_mut().unwrap() ^= 1;
    reader.fetch(0, &[three(0), bad, three(6)]);
    assert_eq!(reader.rest(), [(0, 0), (0, 1), (0, 2)]);

    let error = reader.error();
    assert_eq!((error.kind(), error.topic_partition()), (ErrorKind::Corrupt, Some(&name(0))));
    assert!(error.to_string().starts_with("reading t-0 at offset 3 failed: record batch at offset 3"), "{error}");
    reader.fetch(1, &[three(0)]);
    let mut seen = Vec::new();
    for _ in 0..8 {
        match reader.next() {
            Ok(record) => seen.push(record.offset()),
            Err(Blocked::Failed(_)) => seen.push(-1),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(seen.starts_with(&[-1, 0, 1, 2, -1]) || seen.starts_with(&[0, 1, 2, -1]), "{seen:?}");
    assert!(reader.asked(0).is_none(), "a partition that is stuck is not fetched");

    reader.assignment.skip(&error).unwrap();
    reader.assignment.skip(&error).unwrap();
    assert_eq!(reader.position(0), Some(6));
    reader.fetch(0, &[three(6)]);
    assert_eq!(reader.rest(), [(0, 6), (0, 7), (0, 8)]);
}

#[test]
fn a_bad_record_gives_the_records_before_it_in_its_batch() {
    let mut reader = Reader::new(&[Position::Offset(0)]);
    let unchecked = Reading { check_crcs: false, ..READING };
    let mut bad = three(0);
    let middle = bad.len() - 24;
    bad[middle..].fill(0xff);
    reader.fetch(0, &[bad]);
    let Err(Blocked::Decode(undecoded)) = reader.assignment.next_record() else { panic!("a batch waits") };
    let decoded = undecoded.decode(&unchecked, &reader.budget);
    reader.assignment.on_decoded(&undecoded, decoded);

    let before = reader.batch(10);
    assert!((1..3).contains(&before.len()), "{before:?}");
    let error = reader.error();
    assert_eq!((error.kind(), error.skip_to()), (ErrorKind::Corrupt, Some(3)));
}

#[test]
fn an_offset_out_of_range_is_reset_after_what_waits() {
    let mut reader = Reader::new(&[Position::Offset(0)]);
    reader.fetch(0, &[three(0)]);
    reader.fail(0, ErrorCode::OFFSET_OUT_OF_RANGE, Some(Target::Beginning));
    let question = reader.assignment.questions(Time::ZERO).remove(0).question;
    assert_eq!(question.ask, Ask::Offset(-2));
    let found = Some(FetchPosition { offset: 40, epoch: 3 });
    reader.assignment.on_answer(&name(0), None, |fetch| fetch.on_offset(question.generation, found));

    assert_eq!(reader.assignment.take_events(), [ConsumerEvent::Reset { partition: name(0), lost: 3..40 }]);
    reader.fetch(0, &[three(40)]);
    assert_eq!(reader.rest(), [(0, 0), (0, 1), (0, 2), (0, 40), (0, 41), (0, 42)]);
}

#[test]
fn without_a_policy_an_offset_out_of_range_is_an_error_until_a_seek() {
    let mut reader = Reader::new(&[Position::Offset(70)]);
    reader.fail(0, ErrorCode::OFFSET_OUT_OF_RANGE, None);
    for _ in 0..3 {
        let error = reader.error();
        assert_eq!(error.kind(), ErrorKind::OffsetReset);
        assert!(error.to_string().starts_with("offset 70 of t-0 is not in the log"), "{error}");
    }
    reader.assignment.seek(&name(0), Position::Offset(3)).unwrap();
    reader.fetch(0, &[three(3)]);
    assert_eq!(reader.rest().len(), 3);
}

#[test]
fn an_error_that_only_time_heals_is_given_once_and_tried_again() {
    let mut reader = Reader::new(&[Position::Offset(0)]);
    reader.fail(0, ErrorCode::TOPIC_AUTHORIZATION_FAILED, None);
    let error = reader.error();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Broker, Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED)));

    assert!(matches!(reader.next(), Err(Blocked::Empty)));
    assert!(reader.asked(0).is_none());
    assert_eq!(reader.assignment.next_deadline(Time::ZERO), Some(Duration::from_secs(1)));
}

#[test]
fn an_error_that_comes_again_before_it_was_read_is_given_once() {
    let mut reader = Reader::new(&[Position::Beginning, Position::Offset(0)]);
    for seconds in 0..100 {
        let now = Duration::from_secs(2 * seconds);
        let question = reader.assignment.questions(now).remove(0).question;
        let (pause, report) = (|_| Duration::from_secs(1), Some(Error::new(ErrorKind::Broker, "not authorized")));
        reader.assignment.on_no_answer(&name(0), question.generation, now, pause, report);
        let asked = reader.assignment.wants(BROKER, now).asked.remove(&name(1)).expect("the partition is fetched");
        let retry = Retry { policy: None, now, pause: &mut |_| Duration::from_secs(1) };
        reader.assignment.on_fetch_failed(&name(1), asked, ErrorCode::TOPIC_AUTHORIZATION_FAILED, BROKER, retry);
    }

    let errors = [reader.error(), reader.error()];
    assert_ne!(errors[0].topic_partition(), errors[1].topic_partition());
    assert!(matches!(reader.next(), Err(Blocked::Empty)));
}

#[test]
fn a_partition_that_is_stuck_is_nothing_to_read() {
    let mut reader = Reader::new(&[Position::Offset(0), Position::Offset(0)]);
    reader.fail(0, ErrorCode::CORRUPT_MESSAGE, None);
    assert!(!reader.assignment.has_something_to_read(), "only the application knows a way on");

    reader.fetch(1, &[three(0)]);
    assert!(reader.assignment.has_something_to_read());
}

#[test]
fn a_log_that_was_cut_while_an_error_waits_is_told_of() {
    let policy = Some(Target::Beginning);
    let mut reader = Reader::new(&[Position::Committed]);
    let question = reader.assignment.questions(Time::ZERO).remove(0).question;
    let report = Some(Error::new(ErrorKind::Broker, "not authorized"));
    reader.assignment.on_no_answer(&name(0), question.generation, Time::ZERO, |_| Duration::ZERO, report);
    let question = reader.assignment.questions(Time::ZERO).remove(0).question;
    let stored = Some(FetchPosition { offset: 9, epoch: 2 });
    reader.assignment.on_answer(&name(0), policy, |fetch| fetch.on_committed(question.generation, stored, policy));
    let question = reader.assignment.questions(Time::ZERO).remove(0).question;
    let end = FetchPosition { offset: 7, epoch: 2 };
    reader.assignment.on_answer(&name(0), policy, |fetch| fetch.on_epoch_end(question.generation, end, policy));

    let truncated = ConsumerEvent::Truncated { partition: name(0), was: 9, now: 7 };
    assert_eq!(reader.assignment.take_events(), [truncated]);
    assert_eq!(reader.position(0), Some(7));
}

#[test]
fn a_former_leaders_error_does_not_hold_up_the_new_one() {
    let mut reader = Reader::new(&[Position::Offset(0)]);
    let asked = reader.asked(0).unwrap();
    let retry = Retry { policy: None, now: Time::ZERO, pause: &mut |_| Duration::from_secs(1) };
    reader.assignment.on_fetch_failed(&name(0), asked, ErrorCode::NOT_LEADER_OR_FOLLOWER, 9, retry);

    assert!(reader.asked(0).is_some());
}

#[test]
fn a_cut_log_takes_back_what_waits_and_tells_what_was_read() {
    let mut reader = Reader::new(&[Position::Offset(0)]);
    reader.fetch(0, &[three(0), three(3)]);
    assert_eq!(reader.next().unwrap().offset(), 0);
    let validate = |reader: &mut Reader, epoch, end| {
        reader.assignment.on_view(&view(1, epoch, 1), Some(Target::Beginning));
        let question = reader.assignment.questions(Time::ZERO).remove(0).question;
        assert_eq!(question.ask, Ask::EpochEnd(3));
        let end = FetchPosition { offset: end, epoch: 3 };
        let policy = Some(Target::Beginning);
        reader.assignment.on_answer(&name(0), policy, |fetch| fetch.on_epoch_end(question.generation, end, policy));
    };
    validate(&mut reader, 4, 2);
    assert_eq!(reader.assignment.take_events(), [], "nothing that was read is concerned");
    assert_eq!(reader.asked(0).unwrap().position.offset, 1);

    reader.fetch(0, &[three(0)]);
    assert_eq!(reader.rest(), [(0, 1), (0, 2)]);
    validate(&mut reader, 5, 2);
    let truncated = ConsumerEvent::Truncated { partition: name(0), was: 3, now: 2 };
    assert_eq!(reader.assignment.take_events(), [truncated]);
    assert_eq!(reader.asked(0).unwrap().position.offset, 2);
}

#[test]
fn a_topic_created_anew_is_read_from_its_beginning() {
    let mut reader = Reader::new(&[Position::Offset(50)]);
    reader.fetch(0, &[three(50)]);
    reader.assignment.on_view(&view(2, 0, 1), Some(Target::End));

    assert_eq!(reader.rest(), []);
    assert_eq!(reader.assignment.questions(Time::ZERO).remove(0).question.ask, Ask::Offset(-2));
}

#[test]
fn what_was_read_of_a_topic_cannot_be_committed_in_its_successor() {
    let mut reader = Reader::new(&[Position::Offset(0)]);
    reader.fetch(0, &[three(0)]);
    let record = reader.next().unwrap();
    let checked = reader.assignment.check(&Offsets::from(&record)).unwrap();
    let late = reader.asked(0).unwrap();
    reader.assignment.on_view(&view(2, 0, 1), Some(Target::Beginning));

    assert!(reader.refused(&record).contains("t-0 is not assigned"), "another lease");
    assert_eq!(reader.assignment.check_lease(&checked[0]).unwrap_err().kind(), ErrorKind::PartitionLost);
    assert!(reader.refused(Offsets::at(name(0), 1)).contains("nothing beyond"));
    reader.bring(0, late, &[three(3)]);
    assert_eq!(reader.rest(), []);
}

#[test]
fn batches_from_before_the_position_are_not_fetched_again_at_once() {
    let mut reader = Reader::new(&[Position::Offset(50)]);
    let asked = reader.asked(0).unwrap();
    let intake = READING.sort_out(&name(0), asked.position, three(0).into(), vec![]);
    assert!(intake.entries.is_empty() && intake.next == asked.position);
    let second = Duration::from_secs(1);
    reader.assignment.on_nothing_new(&name(0), asked, Time::ZERO, |failures| failures * second);

    assert_eq!(reader.asked(0), None);
    assert_eq!(reader.assignment.next_deadline(Time::ZERO), Some(second));
    assert_eq!(reader.assignment.wants(BROKER, second).asked.remove(&name(0)), Some(asked));
}

#[test]
fn a_partition_of_which_enough_waits_is_left_out_until_room_is_made() {
    let mut reader = Reader::new(&[Position::Offset(0), Position::Offset(0)]);
    let batches: Vec<_> = (0..6).map(|index| three(3 * index)).collect();
    assert!(batches.concat().len() > 400);
    reader.fetch(0, &batches);
    let wants = reader.assignment.wants(BROKER, Time::ZERO);
    assert!(wants.left_out && wants.wanted.keys().eq(&[name(1)]), "{wants:?}");

    assert!(!reader.assignment.room_made);
    assert_eq!(reader.rest().len(), 18);
    assert!(reader.assignment.room_made);
    assert!(reader.asked(0).is_some());
}

#[test]
fn a_batch_runs_over_chunks_and_partitions() {
    let mut reader = Reader::new(&[Position::Offset(0), Position::Offset(0)]);
    reader.fetch(0, &[three(0), three(3)]);
    reader.fetch(1, &[three(0)]);
    let batch = reader.batch(8);

    let views: Vec<_> = batch.iter().map(|view| (view.partition(), view.offset)).collect();
    assert_eq!(views, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (0, 4)]);
    assert_eq!((batch.len(), batch.iter().len()), (8, 8));
    let first = batch.iter().next().unwrap();
    assert_eq!((first.key, first.value), (None, Some(&b"v0"[..])));
    assert_eq!(first.headers().collect::<Vec<_>>(), [("h", Some(&b"1"[..]))]);
    let parts: Vec<_> = batch.by_partition().map(|(name, batch)| (name.partition(), batch.len())).collect();
    assert_eq!(parts, [(0, 5), (1, 3)]);
    assert_eq!(reader.rest(), [(0, 5)]);
}
