//! Transactions: what their coordinator answers. What partitions and groups make of them is in `contents`.

pub mod contents;
pub mod versions;

use milena_protocol::ErrorCode;
use milena_protocol::messages::add_offsets_to_txn::AddOffsetsToTxnRequest;
use milena_protocol::messages::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use milena_protocol::messages::end_txn::{EndTxnRequest, EndTxnResponse};
use milena_protocol::messages::init_producer_id::InitProducerIdRequest;
use milena_protocol::messages::produce::ProduceRequest;
use milena_tests::eventually::eventually;
use milena_tests::raw::{RawBatch, RawConnection, produce};

use crate::golden::probes;
use crate::script::Script;

probes! {
    every_version_gives_an_id_to_a_transactional_producer
    a_producer_that_begins_again_has_the_next_epoch
    the_producer_before_is_fenced
    a_producer_may_ask_for_the_epoch_after_its_own
    a_transaction_timeout_has_bounds
    every_version_adds_partitions
    an_unknown_partition_is_in_the_way_of_all
    partitions_are_added_by_the_producer_itself
    several_transactions_are_asked_about_at_once
    offsets_are_added_by_the_producer_itself
    every_version_commits_a_transaction
    what_did_not_begin_does_not_end
    a_transaction_ends_once_and_the_same_way
    from_version_5_each_transaction_has_its_epoch
    an_unknown_transactional_id_has_no_transaction
    another_broker_does_not_coordinate_a_transaction
    a_producer_that_begins_again_aborts_what_was_open
}

const INIT: i16 = 5;
/// The last versions of clients that add partitions themselves, and of the protocol in which epochs stay.
const ADD: i16 = 3;
const ADD_OFFSETS: i16 = 3;
const END: i16 = 4;

/// A transactional producer.
pub struct Producer {
    pub name: String,
    pub coordinator: RawConnection,
    pub id: i64,
    pub epoch: i16,
}

fn init(name: &str) -> InitProducerIdRequest {
    InitProducerIdRequest {
        transactional_id: Some(name.to_owned()),
        transaction_timeout_ms: 60_000,
        ..Default::default()
    }
}

impl Producer {
    /// One that has an id. Of its transactional id the transcript says `X`.
    pub async fn new(p: &Script<'_>) -> Self {
        Self::named(p, p.name("X")).await
    }

    async fn named(p: &Script<'_>, name: String) -> Self {
        Self::initialised(p, &init(&name)).await
    }

    /// One whose transactions have so many milliseconds.
    async fn of_time(p: &Script<'_>, transaction_timeout_ms: i32) -> Self {
        Self::initialised(p, &InitProducerIdRequest { transaction_timeout_ms, ..init(&p.name("X")) }).await
    }

    async fn initialised(p: &Script<'_>, request: &InitProducerIdRequest) -> Self {
        let name = request.transactional_id.clone().unwrap_or_default();
        let (coordinator, id, epoch) = eventually("a coordinator that gives producer ids", async || {
            let mut coordinator = p.cluster.raw_transaction_coordinator(&name).await;
            let answer = coordinator.ask(INIT, request).await;
            answer.error_code.is_none().then_some((coordinator, answer.producer_id, answer.producer_epoch))
        })
        .await;
        Self { name, coordinator, id, epoch }
    }

    fn add(&self, topics: &[(&str, &[i32])]) -> AddPartitionsToTxnRequest {
        let topic = |(name, partitions): &(&str, &[i32])| AddPartitionsToTxnTopic {
            name: (*name).to_owned(),
            partitions: partitions.to_vec(),
        };
        AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: self.name.clone(),
            v3_and_below_producer_id: self.id,
            v3_and_below_producer_epoch: self.epoch,
            v3_and_below_topics: topics.iter().map(topic).collect(),
            ..Default::default()
        }
    }

    fn add_offsets(&self, group: &str) -> AddOffsetsToTxnRequest {
        AddOffsetsToTxnRequest {
            transactional_id: self.name.clone(),
            producer_id: self.id,
            producer_epoch: self.epoch,
            group_id: group.to_owned(),
        }
    }

    fn end(&self, committed: bool) -> EndTxnRequest {
        EndTxnRequest {
            transactional_id: self.name.clone(),
            producer_id: self.id,
            producer_epoch: self.epoch,
            committed,
        }
    }

    /// Adds partition 0 of a topic to its transaction, as soon as the one before has ended.
    pub async fn begin(&mut self, topic: &str) {
        let request = self.add(&[(topic, &[0])]);
        eventually("the transaction before to have ended", async || {
            let answer = self.coordinator.ask(ADD, &request).await;
            match answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code {
                ErrorCode::CONCURRENT_TRANSACTIONS => None,
                code => {
                    assert_eq!(code, ErrorCode::NONE, "add {topic} to the transaction");
                    Some(())
                }
            }
        })
        .await;
    }

    /// Asks again while the markers of the transaction before are written.
    pub async fn until_ended(&mut self, version: i16, request: &EndTxnRequest) -> EndTxnResponse {
        eventually("an end", async || {
            let answer = self.coordinator.ask(version, request).await;
            (answer.error_code != ErrorCode::CONCURRENT_TRANSACTIONS).then_some(answer)
        })
        .await
    }

    /// Ends its transaction, in the version of the protocol in which epochs stay.
    pub async fn finish(&mut self, committed: bool) {
        let request = self.end(committed);
        let answer = self.coordinator.ask(END, &request).await;
        assert_eq!(answer.error_code, ErrorCode::NONE, "end the transaction");
    }
}

async fn every_version_gives_an_id_to_a_transactional_producer(p: &Script<'_>) {
    for version in 0..=5 {
        let name = p.name("X");
        drop(Producer::named(p, name.clone()).await);
        let mut coordinator = p.cluster.raw_transaction_coordinator(&name).await;
        p.ask(&format!("v{version}, the second time"), &mut coordinator, version, &init(&name)).await;
    }
}

async fn a_producer_that_begins_again_has_the_next_epoch(p: &Script<'_>) {
    let mut producer = Producer::new(p).await;
    p.show("the first epoch", &producer.epoch);
    for _ in 0..2 {
        p.ask("again", &mut producer.coordinator, INIT, &init(&producer.name)).await;
    }
}

async fn the_producer_before_is_fenced(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut before = Producer::new(p).await;
    drop(Producer::named(p, before.name.clone()).await);
    let (add, offsets, end) = (before.add(&[(&topic, &[0])]), before.add_offsets(&p.name("G")), before.end(true));
    let to = &mut before.coordinator;
    p.each_version("add", to, 0..=3, |_| add.clone()).await;
    p.each_version("add offsets", to, 0..=4, |_| offsets.clone()).await;
    p.each_version("end", to, 0..=5, |_| end.clone()).await;
    let next = InitProducerIdRequest { producer_id: before.id, producer_epoch: before.epoch, ..init(&before.name) };
    p.each_version("init", &mut before.coordinator, 3..=5, |_| next.clone()).await;
}

async fn a_producer_may_ask_for_the_epoch_after_its_own(p: &Script<'_>) {
    let mut producer = Producer::new(p).await;
    let mine = |id, epoch| InitProducerIdRequest { producer_id: id, producer_epoch: epoch, ..init(&producer.name) };
    for (step, request) in [
        ("its own", mine(producer.id, 0)),
        ("its own again, whose answer may have been lost", mine(producer.id, 0)),
        ("the one after", mine(producer.id, 1)),
        ("too old", mine(producer.id, 0)),
        ("too new", mine(producer.id, 9)),
        ("another id", mine(producer.id + 1_000_000, 2)),
    ] {
        p.ask(step, &mut producer.coordinator, INIT, &request).await;
    }
}

async fn a_transaction_timeout_has_bounds(p: &Script<'_>) {
    let mut producer = Producer::new(p).await;
    for transaction_timeout_ms in [0, -1, 900_000, 900_001] {
        let request = InitProducerIdRequest { transaction_timeout_ms, ..init(&producer.name) };
        p.ask(&format!("{transaction_timeout_ms} ms"), &mut producer.coordinator, INIT, &request).await;
    }
}

async fn every_version_adds_partitions(p: &Script<'_>) {
    let topic = p.topic("T", 2).await;
    let mut producer = Producer::new(p).await;
    let (first, second) = (producer.add(&[(&topic, &[0])]), producer.add(&[(&topic, &[1, 0])]));
    p.each_version("one", &mut producer.coordinator, 0..=3, |_| first.clone()).await;
    p.ask("and another", &mut producer.coordinator, ADD, &second).await;
    let nothing = producer.add(&[]);
    p.ask("none", &mut producer.coordinator, ADD, &nothing).await;
}

async fn an_unknown_partition_is_in_the_way_of_all(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut producer = Producer::new(p).await;
    for topics in [
        &[(topic.as_str(), &[0, 7][..])][..],
        &[("no-such-topic", &[0]), (&topic, &[0])],
        &[("", &[0])],
        &[("__consumer_offsets", &[0])],
    ] {
        let request = producer.add(topics);
        let mut answer = producer.coordinator.ask(ADD, &request).await;
        answer.results_by_topic_v3_and_below.sort_by(|one, other| one.name.cmp(&other.name));
        let topics = &mut answer.results_by_topic_v3_and_below;
        topics.iter_mut().for_each(|topic| topic.results_by_partition.sort_by_key(|result| result.partition_index));
        p.show("some unknown", &answer);
    }
    let nothing_began = producer.end(true);
    p.ask("end", &mut producer.coordinator, END, &nothing_began).await;
}

async fn partitions_are_added_by_the_producer_itself(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut producer = Producer::new(p).await;
    let good = producer.add(&[(&topic, &[0])]);
    for (step, id, epoch) in [
        ("another id", producer.id + 1_000_000, producer.epoch),
        ("a newer epoch", producer.id, producer.epoch + 1),
        ("no id", -1, -1),
    ] {
        let request = AddPartitionsToTxnRequest {
            v3_and_below_producer_id: id,
            v3_and_below_producer_epoch: epoch,
            ..good.clone()
        };
        p.ask(step, &mut producer.coordinator, ADD, &request).await;
    }
}

async fn several_transactions_are_asked_about_at_once(p: &Script<'_>) {
    let topic = p.topic("T", 2).await;
    let mut producer = Producer::new(p).await;
    let transaction = |verify_only, partition| AddPartitionsToTxnTransaction {
        transactional_id: producer.name.clone(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        verify_only,
        topics: vec![AddPartitionsToTxnTopic { name: topic.clone(), partitions: vec![partition] }],
    };
    for (step, version, transactions) in
        [("is it there", 4, vec![transaction(true, 0)]), ("is it there, in version 5", 5, vec![transaction(true, 0)])]
    {
        let request = AddPartitionsToTxnRequest { transactions, ..Default::default() };
        p.ask(step, &mut producer.coordinator, version, &request).await;
    }
    let verify = AddPartitionsToTxnRequest { transactions: vec![transaction(true, 0)], ..Default::default() };
    let add = producer.add(&[(&topic, &[0])]);
    p.ask("added", &mut producer.coordinator, ADD, &add).await;
    p.ask("now it is", &mut producer.coordinator, 4, &verify).await;
}

async fn offsets_are_added_by_the_producer_itself(p: &Script<'_>) {
    let group = p.name("G");
    let mut producer = Producer::new(p).await;
    let good = producer.add_offsets(&group);
    let another = AddOffsetsToTxnRequest { producer_id: producer.id + 1_000_000, ..good.clone() };
    let newer = AddOffsetsToTxnRequest { producer_epoch: producer.epoch + 1, ..good.clone() };
    let to = &mut producer.coordinator;
    p.ask("another id", to, ADD_OFFSETS, &another).await;
    p.ask("a newer epoch", to, ADD_OFFSETS, &newer).await;
    p.each_version("good", to, 0..=4, |_| good.clone()).await;
    p.ask("no group id", to, ADD_OFFSETS, &AddOffsetsToTxnRequest { group_id: String::new(), ..good }).await;
}

async fn every_version_commits_a_transaction(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    for version in 0..=5 {
        let mut producer = Producer::new(p).await;
        producer.begin(&topic).await;
        let end = producer.end(version % 2 == 0);
        p.ask(&format!("v{version}"), &mut producer.coordinator, version, &end).await;
    }
}

async fn what_did_not_begin_does_not_end(p: &Script<'_>) {
    for committed in [true, false] {
        let mut producer = Producer::new(p).await;
        let end = producer.end(committed);
        p.each_version(&format!("committed {committed}"), &mut producer.coordinator, 0..=4, |_| end.clone()).await;
        let mut producer = Producer::new(p).await;
        let end = producer.end(committed);
        p.ask(&format!("v5 committed {committed}"), &mut producer.coordinator, 5, &end).await;
    }
}

async fn a_transaction_ends_once_and_the_same_way(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    for committed in [true, false] {
        let mut producer = Producer::new(p).await;
        producer.begin(&topic).await;
        producer.finish(committed).await;
        let (same, other) = (producer.end(committed), producer.end(!committed));
        p.show("again", &producer.until_ended(END, &same).await);
        p.ask("the other way", &mut producer.coordinator, END, &other).await;
    }
}

async fn from_version_5_each_transaction_has_its_epoch(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut producer = Producer::new(p).await;
    producer.begin(&topic).await;
    let end = producer.end(true);
    let answer = p.ask("commit", &mut producer.coordinator, 5, &end).await;
    p.show("again, whose answer may have been lost", &producer.until_ended(5, &end).await);
    let abort = producer.end(false);
    p.ask("abort with the old epoch", &mut producer.coordinator, 5, &abort).await;
    producer.epoch = answer.producer_epoch;
    let empty = producer.end(false);
    let answer = p.ask("abort nothing", &mut producer.coordinator, 5, &empty).await;
    producer.epoch = answer.producer_epoch;
    let empty = producer.end(true);
    p.show("commit nothing", &producer.until_ended(5, &empty).await);
}

async fn an_unknown_transactional_id_has_no_transaction(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut producer = Producer::new(p).await;
    producer.name = p.name("Y");
    producer.coordinator = p.cluster.raw_transaction_coordinator(&producer.name).await;
    let (add, offsets, end) = (producer.add(&[(&topic, &[0])]), producer.add_offsets("G"), producer.end(true));
    let to = &mut producer.coordinator;
    p.ask("add", to, ADD, &add).await;
    p.ask("add offsets", to, ADD_OFFSETS, &offsets).await;
    p.ask("end", to, END, &end).await;
    p.ask("end v5", to, 5, &end).await;
    let next = InitProducerIdRequest { producer_id: 1, producer_epoch: 1, ..init(&producer.name) };
    p.ask("init with an identity", &mut producer.coordinator, INIT, &next).await;
}

async fn another_broker_does_not_coordinate_a_transaction(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let producer = Producer::new(p).await;
    let (add, offsets, end) = (producer.add(&[(&topic, &[0])]), producer.add_offsets("G"), producer.end(true));
    let mut others = Vec::new();
    for broker in 1..=3 {
        let mut broker = p.cluster.raw(broker).await;
        let answer = broker.ask(ADD, &add).await;
        let code = answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code;
        if code == ErrorCode::NOT_COORDINATOR {
            others.push(broker);
        }
    }
    p.note(&format!("{} others", others.len()));
    let other = &mut others[0];
    p.ask("add", other, ADD, &add).await;
    p.each_version("add offsets", other, 0..=4, |_| offsets.clone()).await;
    p.each_version("end", other, 0..=5, |_| end.clone()).await;
    p.each_version("init", other, 0..=5, |_| init(&producer.name)).await;
}

async fn a_producer_that_begins_again_aborts_what_was_open(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    for version in [11, 12] {
        let mut before = Producer::new(p).await;
        if version < 12 {
            before.begin(&topic).await;
        }
        let batch = RawBatch::of(["a"]).at(p.base_ms, 0).producer(before.id, before.epoch, 0).transactional();
        let request = ProduceRequest { transactional_id: Some(before.name.clone()), ..produce(&topic, 0, batch) };
        p.ask(&format!("written v{version}"), &mut p.leader(&topic, 0).await, version, &request).await;
        p.ask("at once", &mut before.coordinator, INIT, &init(&before.name)).await;
        let after = Producer::named(p, before.name.clone()).await;
        p.show("the epoch, later", &after.epoch);
        let end = before.end(true);
        p.ask("commit of the one before", &mut before.coordinator, END, &end).await;
    }
}
