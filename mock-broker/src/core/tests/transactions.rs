//! Transactions from the first request to the last marker, and what readers see of them. Pure.

mod survival;

use milena_protocol::ErrorCode;
use milena_protocol::messages::add_offsets_to_txn::AddOffsetsToTxnRequest;
use milena_protocol::messages::add_partitions_to_txn::{AddPartitionsToTxnRequest, AddPartitionsToTxnTopic};
use milena_protocol::messages::end_txn::{EndTxnRequest, EndTxnResponse};
use milena_protocol::messages::fetch::{FetchRequest, PartitionData};
use milena_protocol::messages::find_coordinator::FindCoordinatorRequest;
use milena_protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use milena_protocol::messages::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use milena_protocol::messages::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use milena_protocol::messages::produce::ProduceRequest;
use milena_protocol::messages::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};

use super::rig::{FETCH, NONE, PRODUCE, Rig, TestBatch, fetch, produce, values_in};
use crate::core::TransactionState;
use crate::core::transactions::Identity;

/// The transactional id, and the group.
const ID: &str = "pay";
const GROUP: &str = "g";
const TIMEOUT: i32 = 10_000;

/// How a producer works: announcing partitions, or as KIP-890 has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

use Version::{One, Two};

struct Transactional {
    rig: Rig,
    version: Version,
    identity: Identity,
    sequence: i32,
}

impl Transactional {
    /// A producer with its identity, and the topic `t` with one partition.
    fn new(version: Version) -> Self {
        Self::with(Rig::with_topic(&[]), version)
    }

    fn with(mut rig: Rig, version: Version) -> Self {
        for (key, key_type) in [(ID, 1), (GROUP, 0)] {
            let request = FindCoordinatorRequest { key: key.to_owned(), key_type, ..Default::default() };
            rig.ask(1, 3, &request);
            assert_eq!(rig.ask(1, 3, &request).error_code, NONE);
        }
        let mut new = Self { rig, version, identity: Identity { producer_id: -1, epoch: -1 }, sequence: 0 };
        let answer = new.init();
        assert_eq!(answer.error_code, NONE);
        new.adopt(answer.producer_id, answer.producer_epoch);
        new
    }

    fn adopt(&mut self, producer_id: i64, epoch: i16) {
        if self.identity != (Identity { producer_id, epoch }) {
            self.sequence = 0;
        }
        self.identity = Identity { producer_id, epoch };
    }

    fn coordinator(&self) -> i32 {
        self.rig.core.transaction_coordinator(ID)
    }

    fn init(&mut self) -> InitProducerIdResponse {
        let request = InitProducerIdRequest {
            transactional_id: Some(ID.to_owned()),
            transaction_timeout_ms: TIMEOUT,
            ..Default::default()
        };
        let coordinator = self.coordinator();
        self.rig.ask(coordinator, 5, &request)
    }

    fn add_partition(&mut self) -> ErrorCode {
        let request = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: ID.to_owned(),
            v3_and_below_producer_id: self.identity.producer_id,
            v3_and_below_producer_epoch: self.identity.epoch,
            v3_and_below_topics: vec![AddPartitionsToTxnTopic { name: "t".to_owned(), partitions: vec![0] }],
            ..Default::default()
        };
        let coordinator = self.coordinator();
        let response = self.rig.ask(coordinator, 3, &request);
        response.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
    }

    /// A batch of the transaction to `t`-0, in this version of the request.
    fn write_in(&mut self, version: i16, values: &[&str]) -> ErrorCode {
        let Identity { producer_id, epoch } = self.identity;
        let batch = TestBatch::new(values).by(producer_id, epoch, self.sequence).transactional();
        let request = ProduceRequest { transactional_id: Some(ID.to_owned()), ..produce("t", 0, -1, batch.bytes()) };
        let leader = self.rig.leader();
        let code = self.rig.ask(leader, version, &request).responses[0].partition_responses[0].error_code;
        if code == NONE {
            self.sequence += i32::try_from(values.len()).unwrap();
        }
        code
    }

    fn write(&mut self, values: &[&str]) -> ErrorCode {
        match self.version {
            One => match self.add_partition() {
                NONE => self.write_in(11, values),
                code => code,
            },
            Two => self.write_in(PRODUCE, values),
        }
    }

    fn try_end(&mut self, committed: bool) -> EndTxnResponse {
        let Identity { producer_id, epoch: producer_epoch } = self.identity;
        let request = EndTxnRequest { transactional_id: ID.to_owned(), producer_id, producer_epoch, committed };
        let coordinator = self.coordinator();
        self.rig.ask(coordinator, if self.version == One { 4 } else { 5 }, &request)
    }

    fn end(&mut self, committed: bool) -> ErrorCode {
        let answer = self.try_end(committed);
        if answer.error_code == NONE && self.version == Two {
            self.adopt(answer.producer_id, answer.producer_epoch);
        }
        answer.error_code
    }

    fn state(&self) -> TransactionState {
        self.rig.core.transaction(ID).unwrap().state
    }

    /// What a consumer gets from `t`-0: values without regard to aborts, and the answer itself.
    fn read(&mut self, isolation_level: i8, offset: i64) -> PartitionData {
        let leader = self.rig.leader();
        let request = FetchRequest { isolation_level, ..fetch("t", &[(0, offset)], 0) };
        self.rig.ask(leader, FETCH, &request).responses[0].partitions[0].clone()
    }

    fn committed_values(&self) -> Vec<String> {
        let records = self.rig.core.committed_records("t", 0).unwrap();
        records.into_iter().map(|record| super::rig::text(&record.value.unwrap())).collect()
    }

    fn end_of_log(&mut self, isolation_level: i8) -> i64 {
        let partition = ListOffsetsPartition { timestamp: -1, ..Default::default() };
        let topic = ListOffsetsTopic { name: "t".to_owned(), partitions: vec![partition] };
        let request = ListOffsetsRequest { replica_id: -1, isolation_level, topics: vec![topic], ..Default::default() };
        let leader = self.rig.leader();
        self.rig.ask(leader, 6, &request).topics[0].partitions[0].offset
    }

    fn send_offset(&mut self, offset: i64) -> ErrorCode {
        let Identity { producer_id, epoch: producer_epoch } = self.identity;
        if self.version == One {
            let request = AddOffsetsToTxnRequest {
                transactional_id: ID.to_owned(),
                producer_id,
                producer_epoch,
                group_id: GROUP.to_owned(),
            };
            let coordinator = self.coordinator();
            assert_eq!(self.rig.ask(coordinator, 3, &request).error_code, NONE);
        }
        let partition = TxnOffsetCommitRequestPartition { committed_offset: offset, ..Default::default() };
        let topic =
            TxnOffsetCommitRequestTopic { name: "t".to_owned(), partitions: vec![partition], ..Default::default() };
        let request = TxnOffsetCommitRequest {
            transactional_id: ID.to_owned(),
            group_id: GROUP.to_owned(),
            producer_id,
            producer_epoch,
            topics: vec![topic],
            ..Default::default()
        };
        let coordinator = self.rig.core.coordinator(GROUP);
        let version = if self.version == One { 3 } else { 5 };
        self.rig.ask(coordinator, version, &request).topics[0].partitions[0].error_code
    }

    fn stable_offset(&mut self) -> (ErrorCode, i64) {
        let topic = OffsetFetchRequestTopics { name: "t".to_owned(), partition_indexes: vec![0], ..Default::default() };
        let group =
            OffsetFetchRequestGroup { group_id: GROUP.to_owned(), topics: Some(vec![topic]), ..Default::default() };
        let request = OffsetFetchRequest { groups: vec![group], require_stable: true, ..Default::default() };
        let coordinator = self.rig.core.coordinator(GROUP);
        let partition = self.rig.ask(coordinator, 9, &request).groups[0].topics[0].partitions[0].clone();
        (partition.error_code, partition.committed_offset)
    }
}

const UNCOMMITTED: i8 = 0;
const COMMITTED: i8 = 1;

#[test]
fn readers_of_committed_records_stop_at_the_first_open_transaction() {
    for version in [One, Two] {
        let mut producer = Transactional::new(version);
        assert_eq!(producer.write(&["a", "b"]), NONE);
        producer.rig.produce(-1, TestBatch::new(&["plain"]).bytes());
        assert_eq!(producer.state(), TransactionState::Ongoing);
        let seen = producer.read(COMMITTED, 0);
        assert_eq!((seen.high_watermark, seen.last_stable_offset), (3, 0));
        assert_eq!((values_in(&seen).len(), seen.aborted_transactions), (0, Some(vec![])));
        let seen = producer.read(UNCOMMITTED, 0);
        assert_eq!((values_in(&seen).len(), seen.last_stable_offset, seen.aborted_transactions), (3, 0, None));
        assert_eq!((producer.end_of_log(COMMITTED), producer.end_of_log(UNCOMMITTED)), (0, 3));

        assert_eq!(producer.end(true), NONE);
        assert_eq!(producer.state(), TransactionState::CompleteCommit);
        let seen = producer.read(COMMITTED, 0);
        assert_eq!((seen.high_watermark, seen.last_stable_offset), (4, 4), "the marker has an offset, too");
        assert_eq!(seen.aborted_transactions, Some(vec![]));
        assert_eq!(producer.committed_values(), ["a", "b", "plain"]);
        assert_eq!((producer.end_of_log(COMMITTED), producer.end_of_log(UNCOMMITTED)), (4, 4));
    }
}

#[test]
fn an_abort_is_listed_for_those_who_read_what_it_covers() {
    for version in [One, Two] {
        let mut producer = Transactional::new(version);
        producer.write(&["a"]);
        assert_eq!(producer.end(true), NONE);
        let aborted = producer.identity.producer_id;
        producer.write(&["b"]);
        producer.write(&["c"]);
        assert_eq!(producer.end(false), NONE);
        producer.write(&["d"]);
        assert_eq!(producer.end(true), NONE);
        // a, commit, b, c, abort, d, commit.
        for (offset, listed) in [(0, true), (2, true), (4, true), (5, false)] {
            let seen = producer.read(COMMITTED, offset).aborted_transactions.unwrap();
            let seen: Vec<_> = seen.iter().map(|aborted| (aborted.producer_id, aborted.first_offset)).collect();
            assert_eq!(seen, if listed { vec![(aborted, 2)] } else { vec![] }, "{version:?} from {offset}");
        }
        assert_eq!(producer.committed_values(), ["a", "d"]);
        assert_eq!(producer.rig.values(), ["a", "b", "c", "d"], "the records are there all the same");
        let markers = producer.rig.core.markers("t", 0).unwrap();
        let markers: Vec<_> = markers.iter().map(|marker| (marker.offset, marker.is_commit)).collect();
        assert_eq!(markers, [(1, true), (4, false), (6, true)]);
    }
}

#[test]
fn each_end_raises_the_epoch_in_version_two_only() {
    for version in [One, Two] {
        let mut producer = Transactional::new(version);
        for round in 0..3 {
            assert_eq!(producer.identity.epoch, if version == One { 0 } else { round });
            assert_eq!(producer.write(&["a"]), NONE);
            let before = producer.identity;
            assert_eq!(producer.end(round != 1), NONE);
            let after = std::mem::replace(&mut producer.identity, before);
            assert_eq!(producer.try_end(round != 1).error_code, NONE, "its answer was lost, it asks again");
            producer.identity = after;
        }
    }
}

#[test]
fn a_partition_is_announced_or_the_batch_is_refused_before_version_two() {
    let mut producer = Transactional::new(One);
    assert_eq!(producer.write_in(10, &["a"]), ErrorCode::INVALID_TXN_STATE);
    assert_eq!(producer.write_in(11, &["a"]), ErrorCode::TRANSACTION_ABORTABLE);
    assert_eq!(producer.add_partition(), NONE);
    assert_eq!(producer.write_in(10, &["a"]), NONE);
    producer.version = Two;
    assert_eq!(producer.end(true), NONE);
    assert_eq!(producer.write_in(12, &["b"]), NONE, "it is added by it");
    assert_eq!(producer.state(), TransactionState::Ongoing);
}

#[test]
fn a_producer_in_a_transaction_writes_nothing_past_it() {
    let mut producer = Transactional::new(Two);
    producer.write(&["a"]);
    let Identity { producer_id, epoch } = producer.identity;
    let plain = |sequence| TestBatch::new(&["b"]).by(producer_id, epoch, sequence).bytes();
    assert_eq!(producer.rig.produce(-1, plain(1)).error_code, ErrorCode::INVALID_TXN_STATE);
    let leader = producer.rig.leader();
    let batch = TestBatch::new(&["b"]).by(producer_id, epoch, 1).transactional().bytes();
    let answer = producer.rig.ask(leader, PRODUCE, &produce("t", 0, -1, batch));
    let code = answer.responses[0].partition_responses[0].error_code;
    assert_eq!(code, ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "without its transactional id");
}

#[test]
fn a_second_producer_aborts_the_first_one_and_fences_it() {
    for version in [One, Two] {
        let mut producer = Transactional::new(version);
        producer.write(&["a"]);
        let first = producer.identity;
        assert_eq!(producer.init().error_code, ErrorCode::CONCURRENT_TRANSACTIONS);
        assert_eq!(producer.state(), TransactionState::CompleteAbort);
        let second = producer.init();
        assert_eq!((second.error_code, second.producer_id), (NONE, first.producer_id));
        assert_eq!(second.producer_epoch, first.epoch + 2, "with the marker, and for the second one");

        producer.identity = first;
        let fenced = if version == One { ErrorCode::PRODUCER_FENCED } else { ErrorCode::INVALID_PRODUCER_EPOCH };
        assert_eq!(producer.write(&["b"]), fenced);
        assert_eq!(producer.end(true), ErrorCode::PRODUCER_FENCED);
        producer.adopt(second.producer_id, second.producer_epoch);
        assert_eq!(producer.write(&["c"]), NONE);
        assert_eq!(producer.end(true), NONE);
        assert_eq!(producer.committed_values(), ["c"]);
    }
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted_and_its_producer_fenced() {
    for version in [One, Two] {
        let mut producer = Transactional::new(version);
        producer.rig.at(1000);
        producer.write(&["a"]);
        producer.rig.at(5000);
        producer.write(&["b"]);
        assert_eq!(producer.rig.core.next_deadline().map(|due| due.as_millis()), Some(11_000), "from its beginning");
        producer.rig.at(10_999);
        assert_eq!(producer.state(), TransactionState::Ongoing);
        producer.rig.at(11_000);
        assert_eq!(producer.state(), TransactionState::CompleteAbort);
        let fenced = if version == One { ErrorCode::PRODUCER_FENCED } else { ErrorCode::INVALID_TXN_STATE };
        assert_eq!(producer.end(true), fenced);
        let fenced = if version == One { ErrorCode::PRODUCER_FENCED } else { ErrorCode::INVALID_PRODUCER_EPOCH };
        assert_eq!(producer.write(&["c"]), fenced);
        assert!(producer.committed_values().is_empty());
        assert_eq!(producer.rig.core.last_stable_offset("t", 0), Some(3));
    }
}

#[test]
fn while_markers_are_held_the_decision_does_not_show() {
    for version in [One, Two] {
        let mut producer = Transactional::new(version);
        producer.write(&["a"]);
        producer.rig.act(|core, now| core.hold_markers(now, ID, true));
        let before = producer.identity;
        assert_eq!(producer.end(true), NONE, "it is decided");
        assert_eq!(producer.state(), TransactionState::PrepareCommit);
        assert_eq!(producer.rig.core.open_transactions(), [ID]);
        assert_eq!(producer.read(COMMITTED, 0).last_stable_offset, 0);
        assert_eq!(producer.write(&["b"]), ErrorCode::CONCURRENT_TRANSACTIONS);
        assert_eq!(producer.init().error_code, ErrorCode::CONCURRENT_TRANSACTIONS);
        let after = std::mem::replace(&mut producer.identity, before);
        assert_eq!(producer.try_end(true).error_code, ErrorCode::CONCURRENT_TRANSACTIONS);
        assert_eq!(producer.try_end(false).error_code, ErrorCode::INVALID_TXN_STATE);
        producer.identity = after;

        // A reader that waits for committed records is told when they are.
        let leader = producer.rig.leader();
        let request = FetchRequest { isolation_level: COMMITTED, ..fetch("t", &[(0, 0)], 60_000) };
        let waiting = producer.rig.send(leader, FETCH, &request);
        assert!(producer.rig.answer::<FetchRequest>(waiting, FETCH).is_none());
        producer.rig.act(|core, now| core.hold_markers(now, ID, false));
        let answer = producer.rig.answer::<FetchRequest>(waiting, FETCH).unwrap();
        assert_eq!(answer.responses[0].partitions[0].last_stable_offset, 2);
        assert_eq!(producer.state(), TransactionState::CompleteCommit);
        assert!(producer.rig.core.open_transactions().is_empty());
        assert_eq!(producer.write(&["b"]), NONE);
    }
}

#[test]
fn offsets_of_a_transaction_count_when_it_commits() {
    for version in [One, Two] {
        let mut producer = Transactional::new(version);
        assert_eq!(producer.send_offset(5), NONE);
        assert_eq!(producer.stable_offset(), (ErrorCode::UNSTABLE_OFFSET_COMMIT, -1));
        assert_eq!(producer.rig.core.committed(GROUP, "t", 0), None);
        assert_eq!(producer.end(true), NONE);
        assert_eq!(producer.stable_offset(), (NONE, 5));

        assert_eq!(producer.send_offset(9), NONE);
        assert_eq!(producer.end(false), NONE);
        assert_eq!(producer.stable_offset(), (NONE, 5));

        // The group's coordinator may change in between.
        assert_eq!(producer.send_offset(7), NONE);
        let coordinator = producer.rig.core.coordinator(GROUP);
        producer.rig.act(|core, now| core.crash(now, coordinator));
        assert_eq!(producer.stable_offset().0, ErrorCode::UNSTABLE_OFFSET_COMMIT);
        assert_eq!(producer.end(true), NONE);
        assert_eq!(producer.stable_offset(), (NONE, 7));
    }
}

#[test]
fn one_trace_of_what_a_partition_knows_of_its_producers() {
    let mut producer = Transactional::new(Two);
    producer.write(&["a", "b"]);
    let states = producer.rig.core.producers("t", 0).unwrap();
    assert_eq!((states[0].epoch, states[0].last_sequence, states[0].open_since), (0, 1, Some(0)));
    producer.end(true);
    let states = producer.rig.core.producers("t", 0).unwrap();
    assert_eq!((states.len(), states[0].epoch, states[0].last_sequence, states[0].open_since), (1, 1, -1, None));
}

#[test]
fn a_timeout_above_the_brokers_limit_is_refused() {
    let mut producer = Transactional::new(Two);
    let coordinator = producer.coordinator();
    for (transaction_timeout_ms, code) in [
        (0, ErrorCode::INVALID_TRANSACTION_TIMEOUT),
        (900_001, ErrorCode::INVALID_TRANSACTION_TIMEOUT),
        (900_000, NONE),
    ] {
        let transactional_id = Some("other".to_owned());
        let request = InitProducerIdRequest { transactional_id, transaction_timeout_ms, ..Default::default() };
        let answers: Vec<_> = (1..=3).map(|broker| producer.rig.ask(broker, 5, &request).error_code).collect();
        assert!(answers.contains(&code), "{transaction_timeout_ms}: {answers:?}");
    }
    let elsewhere = InitProducerIdRequest {
        transactional_id: Some(ID.to_owned()),
        transaction_timeout_ms: TIMEOUT,
        ..Default::default()
    };
    let other = 1 + coordinator % 3;
    assert_eq!(producer.rig.ask(other, 5, &elsewhere).error_code, ErrorCode::NOT_COORDINATOR);
}
