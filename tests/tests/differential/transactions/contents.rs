//! Transactions: what partitions and groups make of them.

use milena_protocol::ErrorCode;
use milena_protocol::compression::Compression;
use milena_protocol::messages::fetch::FetchRequest;
use milena_protocol::messages::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use milena_protocol::messages::offset_fetch::OffsetFetchRequest;
use milena_protocol::messages::produce::ProduceRequest;
use milena_protocol::messages::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use milena_protocol::primitives::Uuid;
use milena_tests::eventually::eventually;
use milena_tests::raw::{RawBatch, RawConnection, fetch, produce};

use super::{ADD_OFFSETS, END, Producer};
use crate::golden::probes;
use crate::groups::Member;
use crate::offsets::fetch_offsets;
use crate::script::Script;

probes! {
    a_partition_must_be_added_before_it_is_written_to
    from_version_12_a_write_adds_its_partition
    a_transactional_producer_does_not_write_past_its_transaction
    a_producer_of_another_transactional_id_does_not_write
    a_fenced_producer_does_not_write
    a_transaction_that_takes_too_long_is_aborted
    committed_readers_stop_at_the_first_open_transaction
    a_commit_leaves_a_marker_in_each_partition
    an_aborted_transaction_is_listed_for_those_who_read_it
    only_aborted_transactions_of_the_range_are_listed
    transactions_may_overlap
    the_last_stable_offset_is_the_end_for_committed_readers
    sequence_numbers_go_on_behind_a_marker
    offsets_of_a_transaction_show_when_it_commits
    offsets_of_an_aborted_transaction_are_gone
    unstable_offsets_are_not_told_on_demand
    every_version_commits_offsets_in_a_transaction
    offsets_of_a_transaction_must_fit_the_generation
    offsets_of_unknown_topics_are_refused_in_a_transaction
    from_version_5_a_commit_of_offsets_adds_its_group
    a_fenced_producer_commits_no_offsets
    another_broker_does_not_take_the_offsets_of_a_transaction
}

const PRODUCE: i16 = 11;
const FETCH: i16 = 12;
const COMMIT: i16 = 3;

fn batch(p: &Script<'_>, producer: &Producer, value: &str, sequence: i32) -> RawBatch {
    RawBatch::of([value]).at(p.base_ms, 0).producer(producer.id, producer.epoch, sequence).transactional()
}

fn write(p: &Script<'_>, producer: &Producer, topic: &str, value: &str, sequence: i32) -> ProduceRequest {
    let transactional_id = Some(producer.name.clone());
    ProduceRequest { transactional_id, ..produce(topic, 0, batch(p, producer, value, sequence)) }
}

fn committed(topic: &str, offset: i64) -> FetchRequest {
    FetchRequest { isolation_level: 1, ..fetch(topic, 0, offset) }
}

/// Waits until committed readers come as far as this.
async fn until_stable(from: &mut RawConnection, topic: &str, offset: i64) {
    eventually(&format!("{topic} to be stable up to {offset}"), async || {
        let answer = from.ask(FETCH, &committed(topic, 0)).await;
        (answer.responses[0].partitions[0].last_stable_offset == offset).then_some(())
    })
    .await;
}

async fn read(p: &Script<'_>, from: &mut RawConnection, topic: &str) {
    p.ask("all", from, FETCH, &fetch(topic, 0, 0)).await;
    p.ask("committed", from, FETCH, &committed(topic, 0)).await;
}

/// Writes, and shows the answer once it has this code. Kafka asks the coordinator for several producers at once, and translates
/// for all of them as the first one's version wants it: now and then one gets the answer of another's version.
async fn write_until(
    p: &Script<'_>,
    step: &str,
    to: &mut RawConnection,
    version: i16,
    write: &ProduceRequest,
    code: ErrorCode,
) {
    let answer = eventually("the answer of this version", async || {
        let answer = to.ask(version, write).await;
        (answer.responses[0].partition_responses[0].error_code == code).then_some(answer)
    });
    p.show(step, &answer.await);
}

async fn a_partition_must_be_added_before_it_is_written_to(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    let mut producer = Producer::new(p).await;
    let (early, late) = (ErrorCode::INVALID_TXN_STATE, ErrorCode::TRANSACTION_ABORTABLE);
    for (version, code) in [(9, early), (10, early), (11, late)] {
        let request = write(p, &producer, &topic, "a", 0);
        write_until(p, &format!("v{version}"), &mut leader, version, &request, code).await;
    }
    producer.begin(&topic).await;
    p.ask("added", &mut leader, PRODUCE, &write(p, &producer, &topic, "a", 0)).await;
    producer.finish(true).await;
    let again = producer.end(true);
    producer.until_ended(END, &again).await;
    let request = write(p, &producer, &topic, "b", 1);
    write_until(p, "after the end", &mut leader, PRODUCE, &request, late).await;
}

async fn from_version_12_a_write_adds_its_partition(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    let mut producer = Producer::new(p).await;
    p.ask("the first", &mut leader, 12, &write(p, &producer, &topic, "a", 0)).await;
    p.ask("the second", &mut leader, 12, &write(p, &producer, &topic, "b", 1)).await;
    let end = producer.end(true);
    let answer = p.ask("commit", &mut producer.coordinator, 5, &end).await;
    until_stable(&mut leader, &topic, 3).await;
    p.ask("with the old epoch", &mut leader, 12, &write(p, &producer, &topic, "c", 2)).await;
    producer.until_ended(5, &end).await;
    producer.epoch = answer.producer_epoch;
    p.ask("with the new one", &mut leader, 12, &write(p, &producer, &topic, "c", 0)).await;
    read(p, &mut leader, &topic).await;
}

async fn a_transactional_producer_does_not_write_past_its_transaction(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    let mut producer = Producer::new(p).await;
    producer.begin(&topic).await;
    p.ask("within", &mut leader, PRODUCE, &write(p, &producer, &topic, "a", 0)).await;
    let plain = RawBatch::of(["b"]).at(p.base_ms, 0).producer(producer.id, producer.epoch, 1);
    p.ask("past it", &mut leader, PRODUCE, &produce(&topic, 0, plain.clone())).await;
    let named = ProduceRequest { transactional_id: Some(producer.name.clone()), ..produce(&topic, 0, plain) };
    p.ask("past it, with the name", &mut leader, PRODUCE, &named).await;
    let unnamed = produce(&topic, 0, batch(p, &producer, "b", 1));
    p.ask("within, without the name", &mut leader, PRODUCE, &unnamed).await;
    let compressed = batch(p, &producer, "b", 1).compressed(Compression::Gzip);
    let compressed = ProduceRequest { transactional_id: Some(producer.name.clone()), ..produce(&topic, 0, compressed) };
    p.ask("within, compressed", &mut leader, PRODUCE, &compressed).await;
}

async fn a_producer_of_another_transactional_id_does_not_write(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    let (producer, mut other) = (Producer::new(p).await, Producer::new(p).await);
    other.begin(&topic).await;
    for version in [11, 12] {
        let request = ProduceRequest {
            transactional_id: Some(other.name.clone()),
            ..produce(&topic, 0, batch(p, &producer, "a", 0))
        };
        p.ask(&format!("v{version}"), &mut leader, version, &request).await;
    }
}

async fn a_fenced_producer_does_not_write(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    let before = Producer::new(p).await;
    let mut after = Producer::named(p, before.name.clone()).await;
    for version in [11, 12] {
        let request = write(p, &before, &topic, "a", 0);
        p.ask(&format!("v{version}, nothing written yet"), &mut leader, version, &request).await;
    }
    after.begin(&topic).await;
    p.ask("the newer one", &mut leader, PRODUCE, &write(p, &after, &topic, "b", 0)).await;
    p.ask("the older one", &mut leader, PRODUCE, &write(p, &before, &topic, "a", 0)).await;
}

async fn a_transaction_that_takes_too_long_is_aborted(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    for version in [11, 12] {
        let end = p.cluster.end(&topic, 0).await;
        let mut producer = Producer::of_time(p, 500).await;
        if version < 12 {
            producer.begin(&topic).await;
        }
        p.ask(&format!("v{version}"), &mut leader, version, &write(p, &producer, &topic, "a", 0)).await;
        until_stable(&mut leader, &topic, end + 2).await;
        p.ask("late", &mut leader, version, &write(p, &producer, &topic, "b", 1)).await;
        for committed in [true, false] {
            let end = producer.end(committed);
            for version in [1, 4, 5] {
                let answer = producer.until_ended(version, &end).await;
                p.show(&format!("late end v{version}, committed {committed}"), &answer);
            }
        }
        p.ask("begin again", &mut producer.coordinator, 5, &super::init(&producer.name)).await;
    }
    read(p, &mut leader, &topic).await;
}

async fn committed_readers_stop_at_the_first_open_transaction(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    leader.ask(PRODUCE, &produce(&topic, 0, RawBatch::of(["plain"]).at(p.base_ms, 0))).await;
    let mut producer = Producer::new(p).await;
    producer.begin(&topic).await;
    leader.ask(PRODUCE, &write(p, &producer, &topic, "open", 0)).await;
    leader.ask(PRODUCE, &produce(&topic, 0, RawBatch::of(["behind"]).at(p.base_ms, 0))).await;
    read(p, &mut leader, &topic).await;
    p.ask("from the open one on", &mut leader, FETCH, &committed(&topic, 1)).await;
    p.ask("from behind it", &mut leader, FETCH, &committed(&topic, 2)).await;
    producer.finish(true).await;
    until_stable(&mut leader, &topic, 4).await;
    read(p, &mut leader, &topic).await;
}

async fn a_commit_leaves_a_marker_in_each_partition(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    let mut producer = Producer::new(p).await;
    for committed in [true, false] {
        // A partition that was added and not written to gets one, too.
        producer.begin(&topic).await;
        producer.finish(committed).await;
    }
    until_stable(&mut leader, &topic, 2).await;
    read(p, &mut leader, &topic).await;
}

async fn an_aborted_transaction_is_listed_for_those_who_read_it(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    let mut producer = Producer::new(p).await;
    producer.begin(&topic).await;
    for (sequence, value) in [(0, "a"), (1, "b")] {
        leader.ask(PRODUCE, &write(p, &producer, &topic, value, sequence)).await;
    }
    producer.finish(false).await;
    until_stable(&mut leader, &topic, 3).await;
    read(p, &mut leader, &topic).await;
    for offset in [1, 2, 3] {
        p.ask(&format!("committed, from {offset}"), &mut leader, FETCH, &committed(&topic, offset)).await;
    }
}

async fn only_aborted_transactions_of_the_range_are_listed(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    let mut producer = Producer::new(p).await;
    for (sequence, committed) in [(0, false), (1, true), (2, false)] {
        producer.begin(&topic).await;
        leader.ask(PRODUCE, &write(p, &producer, &topic, "a", sequence)).await;
        producer.finish(committed).await;
        until_stable(&mut leader, &topic, 2 * (i64::from(sequence) + 1)).await;
    }
    read(p, &mut leader, &topic).await;
    for offset in 1..=5 {
        p.ask(&format!("from {offset}"), &mut leader, FETCH, &committed(&topic, offset)).await;
    }
    let mut small = committed(&topic, 0);
    small.topics[0].partitions[0].partition_max_bytes = 1;
    p.ask("the first batch only", &mut leader, FETCH, &small).await;
}

async fn transactions_may_overlap(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    let (mut first, mut second) = (Producer::new(p).await, Producer::new(p).await);
    first.begin(&topic).await;
    second.begin(&topic).await;
    leader.ask(PRODUCE, &write(p, &first, &topic, "a", 0)).await;
    leader.ask(PRODUCE, &write(p, &second, &topic, "b", 0)).await;
    leader.ask(PRODUCE, &write(p, &first, &topic, "c", 1)).await;
    second.finish(false).await;
    // The marker of the second is there when the end has moved.
    eventually("a marker", async || {
        let answer = leader.ask(FETCH, &fetch(&topic, 0, 0)).await;
        (answer.responses[0].partitions[0].high_watermark == 4).then_some(())
    })
    .await;
    read(p, &mut leader, &topic).await;
    first.finish(true).await;
    until_stable(&mut leader, &topic, 5).await;
    read(p, &mut leader, &topic).await;
}

async fn the_last_stable_offset_is_the_end_for_committed_readers(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    leader.ask(PRODUCE, &produce(&topic, 0, RawBatch::of(["plain"]).at(p.base_ms, 0))).await;
    let mut producer = Producer::new(p).await;
    producer.begin(&topic).await;
    let batch = RawBatch::of(["late"]).at(p.base_ms + 10, 0).producer(producer.id, producer.epoch, 0).transactional();
    let request = ProduceRequest { transactional_id: Some(producer.name.clone()), ..produce(&topic, 0, batch) };
    leader.ask(PRODUCE, &request).await;
    let list = |timestamp, isolation_level| {
        let partition = ListOffsetsPartition { partition_index: 0, timestamp, ..Default::default() };
        let topics = vec![ListOffsetsTopic { name: topic.clone(), partitions: vec![partition] }];
        ListOffsetsRequest { replica_id: -1, isolation_level, topics, ..Default::default() }
    };
    for level in [0, 1] {
        for (step, timestamp) in [("latest", -1), ("greatest", -3), ("base", p.base_ms), ("base+10", p.base_ms + 10)] {
            p.ask(&format!("{step}, level {level}"), &mut leader, 9, &list(timestamp, level)).await;
        }
    }
    producer.finish(true).await;
    until_stable(&mut leader, &topic, 3).await;
    p.ask("latest, after the end", &mut leader, 9, &list(-1, 1)).await;
    p.ask("base+10, after the end", &mut leader, 9, &list(p.base_ms + 10, 1)).await;
}

async fn sequence_numbers_go_on_behind_a_marker(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    let mut producer = Producer::new(p).await;
    producer.begin(&topic).await;
    leader.ask(PRODUCE, &write(p, &producer, &topic, "a", 0)).await;
    producer.finish(true).await;
    until_stable(&mut leader, &topic, 2).await;
    producer.begin(&topic).await;
    for sequence in [2, 1, 0, 2] {
        let request = write(p, &producer, &topic, "b", sequence);
        p.ask(&format!("same epoch, sequence {sequence}"), &mut leader, PRODUCE, &request).await;
    }
}

fn commit(producer: &Producer, group: &str, topic: &str, offset: i64) -> TxnOffsetCommitRequest {
    let partition = TxnOffsetCommitRequestPartition {
        partition_index: 0,
        committed_offset: offset,
        committed_metadata: Some("note".to_owned()),
        ..Default::default()
    };
    let topic =
        TxnOffsetCommitRequestTopic { name: topic.to_owned(), partitions: vec![partition], ..Default::default() };
    TxnOffsetCommitRequest {
        transactional_id: producer.name.clone(),
        group_id: group.to_owned(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        topics: vec![topic],
        ..Default::default()
    }
}

/// Adds a group to a producer's transaction.
async fn add_group(producer: &mut Producer, group: &str) {
    let request = producer.add_offsets(group);
    eventually("the transaction before to have ended", async || {
        let answer = producer.coordinator.ask(ADD_OFFSETS, &request).await;
        (answer.error_code != ErrorCode::CONCURRENT_TRANSACTIONS).then(|| assert!(answer.error_code.is_none()))
    })
    .await;
}

/// Waits until no transaction keeps offsets of the group back.
async fn until_offsets_are_stable(from: &mut RawConnection, group: &str, topic: &str) {
    let request = OffsetFetchRequest { require_stable: true, ..fetch_offsets(group, &[(topic, &[0])]) };
    eventually("stable offsets", async || {
        let answer = from.ask(7, &request).await;
        answer.topics[0].partitions[0].error_code.is_none().then_some(())
    })
    .await;
}

async fn offsets_of_a_transaction_show_when_it_commits(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 1).await);
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    let mut producer = Producer::new(p).await;
    let offsets = fetch_offsets(&group, &[(&topic, &[0])]);
    add_group(&mut producer, &group).await;
    p.ask("commit", &mut coordinator, COMMIT, &commit(&producer, &group, &topic, 5)).await;
    p.ask("while it is open", &mut coordinator, 7, &offsets).await;
    producer.finish(true).await;
    until_offsets_are_stable(&mut coordinator, &group, &topic).await;
    p.ask("after the end", &mut coordinator, 7, &offsets).await;
}

async fn offsets_of_an_aborted_transaction_are_gone(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 1).await);
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    let mut producer = Producer::new(p).await;
    coordinator.ask(8, &crate::offsets::commit(&group, &topic, 0, 2)).await;
    add_group(&mut producer, &group).await;
    p.ask("commit", &mut coordinator, COMMIT, &commit(&producer, &group, &topic, 5)).await;
    producer.finish(false).await;
    until_offsets_are_stable(&mut coordinator, &group, &topic).await;
    p.ask("after the end", &mut coordinator, 7, &fetch_offsets(&group, &[(&topic, &[0])])).await;
}

async fn unstable_offsets_are_not_told_on_demand(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 2).await);
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    let mut producer = Producer::new(p).await;
    add_group(&mut producer, &group).await;
    coordinator.ask(COMMIT, &commit(&producer, &group, &topic, 5)).await;
    let request = OffsetFetchRequest { require_stable: true, ..fetch_offsets(&group, &[(&topic, &[0, 1])]) };
    for version in [7, 8, 9] {
        p.ask(&format!("v{version}"), &mut coordinator, version, &request).await;
    }
    let mut all = OffsetFetchRequest { topics: None, ..request };
    all.groups[0].topics = None;
    for version in [7, 8] {
        p.ask(&format!("v{version}, all"), &mut coordinator, version, &all).await;
    }
}

async fn every_version_commits_offsets_in_a_transaction(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let id = p.cluster.topic_id(&topic).await;
    for version in 0..=6 {
        let group = p.name("G");
        let mut coordinator = p.cluster.raw_coordinator(&group).await;
        let mut producer = Producer::new(p).await;
        add_group(&mut producer, &group).await;
        let mut request = commit(&producer, &group, &topic, 5);
        request.topics[0].topic_id = id;
        p.try_ask(&format!("v{version}"), &mut coordinator, version, &request).await;
    }
}

async fn offsets_of_a_transaction_must_fit_the_generation(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 1).await);
    let mut member = Member::stable(p, &group).await;
    let mut producer = Producer::new(p).await;
    add_group(&mut producer, &group).await;
    let by = |member_id: &str, generation| TxnOffsetCommitRequest {
        member_id: member_id.to_owned(),
        generation_id_or_member_epoch: generation,
        ..commit(&producer, &group, &topic, 5)
    };
    let stranger = p.name("stranger");
    for (step, request) in [
        ("the member", by(&member.id, 1)),
        ("an older generation", by(&member.id, 0)),
        ("a newer generation", by(&member.id, 2)),
        ("a stranger", by(&stranger, 1)),
        ("nobody", by("", -1)),
        ("nobody, a generation", by("", 1)),
        ("the member, no generation", by(&member.id, -1)),
    ] {
        p.ask(step, &mut member.connection, COMMIT, &request).await;
    }
}

async fn offsets_of_unknown_topics_are_refused_in_a_transaction(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 1).await);
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    let mut producer = Producer::new(p).await;
    add_group(&mut producer, &group).await;
    p.ask("topic", &mut coordinator, COMMIT, &commit(&producer, &group, "no-such-topic", 5)).await;
    let mut request = commit(&producer, &group, &topic, 5);
    request.topics[0].partitions[0].partition_index = 7;
    p.ask("partition", &mut coordinator, COMMIT, &request).await;
    let mut request = commit(&producer, &group, &topic, 5);
    request.topics[0].partitions[0].committed_metadata = Some("x".repeat(4097));
    p.ask("long metadata", &mut coordinator, COMMIT, &request).await;
    let mut request = commit(&producer, &group, "", 5);
    request.topics[0].topic_id = Uuid([7; 16]);
    p.ask("topic id", &mut coordinator, 6, &request).await;
    let nothing = TxnOffsetCommitRequest { topics: vec![], ..request };
    p.ask("none", &mut coordinator, COMMIT, &nothing).await;
}

async fn from_version_5_a_commit_of_offsets_adds_its_group(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 1).await);
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    let mut producer = Producer::new(p).await;
    for version in [3, 4] {
        let request = commit(&producer, &group, &topic, 4);
        p.ask(&format!("v{version}"), &mut coordinator, version, &request).await;
    }
    p.ask("v5", &mut coordinator, 5, &commit(&producer, &group, &topic, 5)).await;
    let end = producer.end(true);
    p.ask("end", &mut producer.coordinator, 5, &end).await;
    until_offsets_are_stable(&mut coordinator, &group, &topic).await;
    p.ask("fetched", &mut coordinator, 7, &fetch_offsets(&group, &[(&topic, &[0])])).await;
}

async fn a_fenced_producer_commits_no_offsets(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 1).await);
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    let before = Producer::new(p).await;
    let mut after = Producer::named(p, before.name.clone()).await;
    add_group(&mut after, &group).await;
    p.ask("the newer one", &mut coordinator, COMMIT, &commit(&after, &group, &topic, 5)).await;
    for version in [2, 3, 5] {
        let request = commit(&before, &group, &topic, 4);
        p.ask(&format!("v{version}"), &mut coordinator, version, &request).await;
    }
    let end = before.end(true);
    p.ask("end", &mut after.coordinator, END, &end).await;
}

async fn another_broker_does_not_take_the_offsets_of_a_transaction(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 1).await);
    let mut other = p.cluster.raw(p.cluster.coordinator(&group).await % 3 + 1).await;
    let mut producer = Producer::new(p).await;
    add_group(&mut producer, &group).await;
    for version in [0, 3, 5] {
        let request = commit(&producer, &group, &topic, 5);
        p.ask(&format!("v{version}"), &mut other, version, &request).await;
    }
}
