//! Transactions whose brokers crash, lag, are cut off, and change. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use milena_protocol::ErrorCode;
use milena_protocol::messages::end_txn::EndTxnRequest;
use milena_protocol::messages::init_producer_id::InitProducerIdRequest;
use milena_protocol::messages::produce::ProduceRequest;

use super::super::rig::{NONE, PRODUCE, Rig, TestBatch, produce, text};
use super::{COMMITTED, ID, One, TIMEOUT, Transactional, Two};
use crate::core::broker::Process;
use crate::core::transactions::Identity;
use crate::core::{Following, Ticket, TransactionState};
use crate::random::Random;

const TOPIC: &str = "__transaction_state";

#[test]
fn a_decision_survives_the_crash_of_the_coordinator() {
    for (version, committed) in [(One, true), (Two, true), (One, false), (Two, false)] {
        let mut producer = Transactional::new(version);
        producer.write(&["a"]);
        producer.rig.act(|core, now| core.hold_markers(now, ID, true));
        assert_eq!(producer.end(committed), NONE);
        let coordinator = producer.coordinator();
        producer.rig.act(|core, now| core.crash(now, coordinator));
        assert_ne!(producer.coordinator(), coordinator);
        let decided = if committed { TransactionState::PrepareCommit } else { TransactionState::PrepareAbort };
        assert_eq!(producer.state(), decided);
        producer.rig.act(|core, now| core.hold_markers(now, ID, false));
        assert_eq!(producer.committed_values(), if committed { vec!["a"] } else { vec![] });
        assert_eq!(producer.write(&["b"]), NONE);
        assert_eq!(producer.end(true), NONE);
        assert_eq!(producer.committed_values(), if committed { vec!["a", "b"] } else { vec!["b"] });
    }
}

#[test]
fn an_open_transaction_survives_its_coordinator_and_its_leader_and_still_times_out() {
    let mut producer = Transactional::new(Two);
    producer.rig.at(1000);
    producer.write(&["a"]);
    for crashes in [Rig::leader, |rig: &Rig| rig.core.transaction_coordinator(ID)] {
        let broker = crashes(&producer.rig);
        producer.rig.act(|core, now| core.crash(now, broker));
        assert_eq!(producer.write(&["b"]), NONE);
        assert_eq!(producer.read(COMMITTED, 0).last_stable_offset, 0);
        producer.rig.act(|core, now| core.restart(now, broker));
    }
    producer.rig.at(10_999);
    assert_eq!(producer.state(), TransactionState::Ongoing);
    producer.rig.at(11_000);
    assert_eq!(producer.state(), TransactionState::CompleteAbort);
    assert_eq!(producer.end(true), ErrorCode::INVALID_TXN_STATE);
}

#[test]
fn a_marker_waits_for_a_leader() {
    let mut producer = Transactional::new(Two);
    producer.write(&["a"]);
    let alone = producer.rig.leader();
    let others: Vec<i32> = (1..=3).filter(|broker| *broker != alone).collect();
    for broker in &others {
        producer.rig.act(|core, now| core.crash(now, *broker));
    }
    producer.rig.act(|core, now| core.hold_markers(now, ID, true));
    assert_eq!(producer.end(true), NONE);
    for broker in &others {
        producer.rig.act(|core, now| core.restart(now, *broker));
    }
    let coordinator = producer.coordinator();
    assert_eq!(coordinator, alone, "nobody else was there");
    producer.rig.act(|core, now| core.crash(now, alone));
    producer.rig.act(|core, now| core.hold_markers(now, ID, false));
    assert_eq!(producer.committed_values(), ["a"]);
}

/// The partition of the transactions' topic that has the test's transactional id.
fn partition(rig: &Rig) -> i32 {
    rig.core.partition_for_key(TOPIC, ID).unwrap().index
}

/// Whether a broker follows the leader of a partition.
fn follow(rig: &mut Rig, topic: &str, partition: i32, broker: i32, following: Following) {
    rig.act(|core, now| core.let_follow(now, topic, partition, broker, following)).unwrap();
}

fn end_request(producer: &Transactional, committed: bool) -> EndTxnRequest {
    let Identity { producer_id, epoch: producer_epoch } = producer.identity;
    EndTxnRequest { transactional_id: ID.to_owned(), producer_id, producer_epoch, committed }
}

#[test]
fn a_decision_counts_when_the_in_sync_replicas_have_it() {
    let mut producer = Transactional::new(Two);
    producer.write(&["a"]);
    let (coordinator, index) = (producer.coordinator(), partition(&producer.rig));
    let follower = 1 + coordinator % 3;
    follow(&mut producer.rig, TOPIC, index, follower, Following::Held);
    let request = end_request(&producer, true);
    let waiting = producer.rig.send(coordinator, 5, &request);
    assert!(producer.rig.answer::<EndTxnRequest>(waiting, 5).is_none());
    assert_eq!(producer.state(), TransactionState::Ongoing);
    assert_eq!(producer.end(true), ErrorCode::CONCURRENT_TRANSACTIONS);
    assert_eq!(producer.init().error_code, ErrorCode::CONCURRENT_TRANSACTIONS);
    assert_eq!(producer.read(COMMITTED, 0).last_stable_offset, 0);
    producer.rig.at(20_000);
    assert_eq!(producer.state(), TransactionState::Ongoing, "it is not aborted while it may be committed");

    follow(&mut producer.rig, TOPIC, index, follower, Following::On);
    let answer = producer.rig.answer::<EndTxnRequest>(waiting, 5).unwrap();
    assert_eq!((answer.error_code, answer.producer_epoch), (NONE, 1));
    assert_eq!(producer.state(), TransactionState::CompleteCommit);
    assert_eq!(producer.committed_values(), ["a"]);
}

#[test]
fn a_decision_that_not_all_have_is_lost_with_its_coordinator() {
    let mut producer = Transactional::new(Two);
    producer.write(&["a"]);
    let (coordinator, index) = (producer.coordinator(), partition(&producer.rig));
    let follower = 1 + coordinator % 3;
    follow(&mut producer.rig, TOPIC, index, follower, Following::Held);
    let request = end_request(&producer, true);
    let waiting = producer.rig.send(coordinator, 5, &request);
    producer.rig.act(|core, now| core.elect(now, TOPIC, index, follower)).unwrap();
    let answer = producer.rig.answer::<EndTxnRequest>(waiting, 5).unwrap();
    assert_eq!(answer.error_code, ErrorCode::NOT_COORDINATOR);
    assert_eq!(producer.state(), TransactionState::Ongoing);
    assert_eq!(producer.end(false), NONE, "its client may still decide otherwise");
    assert!(producer.committed_values().is_empty());
}

#[test]
fn a_marker_counts_when_the_in_sync_replicas_have_it() {
    let mut producer = Transactional::new(Two);
    producer.write(&["a"]);
    let leader = producer.rig.leader();
    let follower = 1 + leader % 3;
    follow(&mut producer.rig, "t", 0, follower, Following::Held);
    assert_eq!(producer.end(true), NONE);
    assert_eq!(producer.state(), TransactionState::PrepareCommit);
    assert_eq!(producer.read(COMMITTED, 0).last_stable_offset, 0);
    // The next leader lacks the marker, and gets another.
    producer.rig.act(|core, now| core.elect(now, "t", 0, follower)).unwrap();
    assert_eq!(producer.state(), TransactionState::CompleteCommit);
    assert_eq!(producer.committed_values(), ["a"]);
    assert_eq!(producer.rig.core.markers("t", 0).unwrap().len(), 1);
}

#[test]
fn a_coordinator_that_is_cut_off_decides_nothing() {
    let mut producer = Transactional::new(Two);
    producer.write(&["a"]);
    let old = producer.coordinator();
    producer.rig.act(|core, now| core.isolate(now, old));
    let request = end_request(&producer, true);
    let waiting = producer.rig.send(old, 5, &request);
    producer.rig.at(9_000);
    let new = producer.coordinator();
    assert_ne!(new, old, "its session has ended");
    assert!(producer.rig.answer::<EndTxnRequest>(waiting, 5).is_none());
    assert_eq!(producer.end(false), NONE);
    producer.rig.act(|core, now| core.rejoin(now, old));
    let answer = producer.rig.answer::<EndTxnRequest>(waiting, 5).unwrap();
    assert_eq!(answer.error_code, ErrorCode::NOT_COORDINATOR);
    assert!(producer.committed_values().is_empty());
    assert_eq!(producer.rig.ask(old, 5, &request).error_code, ErrorCode::NOT_COORDINATOR);
}

#[test]
fn a_leader_that_cannot_ask_the_coordinator_writes_nothing() {
    let mut producer = Transactional::new(Two);
    let (leader, coordinator) = (producer.rig.leader(), producer.coordinator());
    if leader == coordinator {
        producer.rig.act(|core, now| core.elect(now, "t", 0, 1 + leader % 3)).unwrap();
    }
    producer.rig.act(|core, now| core.isolate(now, coordinator));
    for version in [10, 11, 12] {
        assert_eq!(producer.write_in(version, &["a"]), ErrorCode::NOT_ENOUGH_REPLICAS, "{version}");
    }
    producer.rig.act(|core, now| core.rejoin(now, coordinator));
    assert_eq!(producer.write_in(12, &["a"]), NONE);
}

#[test]
fn a_new_coordinator_reads_before_it_serves() {
    let mut producer = Transactional::new(Two);
    producer.write(&["a"]);
    let new = 1 + producer.coordinator() % 3;
    let loading = Duration::from_secs(2);
    producer.rig.act(|core, now| core.move_coordinator(now, (TOPIC, ID), new, loading)).unwrap();
    assert_eq!(producer.end(true), ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    assert_eq!(producer.init().error_code, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    assert_eq!(producer.write(&["b"]), NONE, "its leader knows the transaction");
    producer.rig.at(2_000);
    assert_eq!(producer.end(true), NONE);
    assert_eq!(producer.committed_values(), ["a", "b"]);
}

#[test]
fn a_frozen_coordinator_aborts_nothing_before_it_goes_on() {
    let mut producer = Transactional::new(Two);
    producer.write(&["a"]);
    let coordinator = producer.coordinator();
    producer.rig.at(5_000);
    producer.rig.act(|core, now| core.freeze(now, coordinator));
    producer.rig.at(13_000);
    assert_eq!(producer.state(), TransactionState::Ongoing, "its time was up at 10 s, its session is at 14 s");
    producer.rig.act(|core, now| core.thaw(now, coordinator));
    assert_eq!(producer.state(), TransactionState::CompleteAbort);
}

/// A producer that writes each value to two topics, through whatever happens to the brokers.
struct Hardened {
    rig: Rig,
    identity: Option<Identity>,
    /// Sequence numbers in `t` and in `u`.
    sequences: [i32; 2],
    next: u32,
    /// What was written and not ended, and whether it is to be committed.
    open: Option<(Identity, String, bool)>,
    committed: BTreeSet<String>,
    aborted: BTreeSet<String>,
    /// Ends that were not answered at once.
    waiting: Vec<(Ticket, String, bool)>,
}

impl Hardened {
    fn is_awake(&self, broker: i32) -> bool {
        self.rig.core.brokers.get(&broker).is_some_and(|broker| broker.process == Process::Running)
    }

    fn init(&mut self) {
        let coordinator = self.rig.core.transaction_coordinator(ID);
        if !self.is_awake(coordinator) {
            return;
        }
        let transactional_id = Some(ID.to_owned());
        let request = InitProducerIdRequest { transactional_id, transaction_timeout_ms: TIMEOUT, ..Default::default() };
        let ticket = self.rig.send(coordinator, 5, &request);
        let Some(answer) = self.rig.answer::<InitProducerIdRequest>(ticket, 5) else { return };
        if answer.error_code == NONE {
            self.identity = Some(Identity { producer_id: answer.producer_id, epoch: answer.producer_epoch });
            self.sequences = [0, 0];
        }
    }

    /// Whether it was written to both.
    fn write(&mut self, identity: Identity, value: &str) -> bool {
        ["t", "u"].into_iter().enumerate().all(|(index, topic)| {
            let leader = self.rig.core.leader(topic, 0).unwrap().0;
            if !self.is_awake(leader) {
                return false;
            }
            let batch = TestBatch::new(&[value]).by(identity.producer_id, identity.epoch, self.sequences[index]);
            let request = produce(topic, 0, -1, batch.transactional().bytes());
            let request = ProduceRequest { transactional_id: Some(ID.to_owned()), ..request };
            let ticket = self.rig.send(leader, PRODUCE, &request);
            let answer = self.rig.answer::<ProduceRequest>(ticket, PRODUCE);
            let is_written = answer.is_some_and(|answer| answer.responses[0].partition_responses[0].error_code == NONE);
            self.sequences[index] += i32::from(is_written);
            is_written
        })
    }

    /// The next step of a transaction. What goes wrong is left to the next start, or to time.
    fn transact(&mut self) {
        let Some((identity, value, committed)) = self.open.take() else {
            let Some(identity) = self.identity.take() else { return self.init() };
            let value = self.next.to_string();
            self.next += 1;
            let is_written = self.write(identity, &value);
            self.open = Some((identity, value, is_written));
            return;
        };
        let coordinator = self.rig.core.transaction_coordinator(ID);
        if !self.is_awake(coordinator) {
            return;
        }
        let Identity { producer_id, epoch: producer_epoch } = identity;
        let request = EndTxnRequest { transactional_id: ID.to_owned(), producer_id, producer_epoch, committed };
        let ticket = self.rig.send(coordinator, 5, &request);
        self.waiting.push((ticket, value, committed));
        self.collect();
    }

    fn collect(&mut self) {
        for (ticket, value, committed) in std::mem::take(&mut self.waiting) {
            match self.rig.answer::<EndTxnRequest>(ticket, 5) {
                Some(answer) if answer.error_code == NONE => {
                    if self.waiting.is_empty() {
                        self.identity =
                            Some(Identity { producer_id: answer.producer_id, epoch: answer.producer_epoch });
                        self.sequences = [0, 0];
                    }
                    let ends = if committed { &mut self.committed } else { &mut self.aborted };
                    ends.insert(value);
                }
                Some(_) => {}
                None => self.waiting.push((ticket, value, committed)),
            }
        }
    }

    fn committed_in(&self, topic: &str) -> BTreeSet<String> {
        let records = self.rig.core.committed_records(topic, 0).unwrap();
        records.into_iter().map(|record| text(&record.value.unwrap())).collect()
    }
}

#[test]
fn whatever_happens_to_brokers_a_transaction_is_in_all_partitions_or_in_none() {
    let mut committed = 0;
    for seed in (0..120).chain([267]) {
        let mut random = Random::new(seed, 0);
        let min_insync = &[("min.insync.replicas", "2")];
        let mut rig = Rig::new();
        rig.create("t", 1, min_insync);
        rig.create("u", 1, min_insync);
        let rig = Transactional::with(rig, Two).rig;
        let (sequences, next) = ([0, 0], 0);
        let (committed_ones, aborted) = (BTreeSet::new(), BTreeSet::new());
        let mut producer = Hardened {
            rig,
            identity: None,
            sequences,
            next,
            open: None,
            committed: committed_ones,
            aborted,
            waiting: Vec::new(),
        };
        let index = partition(&producer.rig);
        let places = [("t", 0), ("u", 0), (TOPIC, index)];
        let mut millis = 0;
        for _ in 0..250 {
            let broker = 1 + i32::try_from(random.below(3)).unwrap();
            let (topic, place) = places[random.below(3) as usize];
            let rig = &mut producer.rig;
            match random.below(32) {
                0 => rig.act(|core, now| core.crash(now, broker)),
                1..4 => rig.act(|core, now| core.restart(now, broker)),
                4 => rig.act(|core, now| core.freeze(now, broker)),
                5..7 => rig.act(|core, now| core.thaw(now, broker)),
                7 => rig.act(|core, now| core.isolate(now, broker)),
                8..10 => rig.act(|core, now| core.rejoin(now, broker)),
                10..12 => drop(rig.act(|core, now| core.let_follow(now, topic, place, broker, Following::Held))),
                12..14 => drop(rig.act(|core, now| core.let_follow(now, topic, place, broker, Following::On))),
                14 => drop(rig.act(|core, now| core.elect(now, topic, place, broker))),
                15 => millis += random.below(12_000),
                16 => rig.act(|core, now| core.hold_markers(now, ID, true)),
                17..19 => rig.act(|core, now| core.hold_markers(now, ID, false)),
                _ => producer.transact(),
            }
            millis += random.below(100);
            producer.rig.at(millis);
            producer.collect();
        }
        producer.rig.act(|core, now| core.hold_markers(now, ID, false));
        for broker in 1..=3 {
            producer.rig.act(|core, now| core.restart(now, broker));
            producer.rig.act(|core, now| core.thaw(now, broker));
            producer.rig.act(|core, now| core.rejoin(now, broker));
        }
        for (topic, place) in places {
            for broker in 1..=3 {
                follow(&mut producer.rig, topic, place, broker, Following::On);
            }
        }
        producer.rig.at(millis + 60_000);
        producer.collect();
        assert!(producer.rig.core.open_transactions().is_empty(), "seed {seed}");
        for topic in ["t", "u"] {
            let stable = producer.rig.core.last_stable_offset(topic, 0);
            assert_eq!(stable, producer.rig.core.log_end(topic, 0), "seed {seed}: {topic}");
        }
        let seen = producer.committed_in("t");
        assert_eq!(seen, producer.committed_in("u"), "seed {seed}");
        assert!(producer.committed.is_subset(&seen), "seed {seed}: {:?}", producer.committed.difference(&seen));
        assert!(producer.aborted.is_disjoint(&seen), "seed {seed}");
        committed += producer.committed.len();
    }
    assert!(committed > 400, "{committed} commits are too few to say anything");
}
