//! Transactions in both versions of the protocol (KIP-98, KIP-890) and in all of its requests at once.

use milena_protocol::ErrorCode;
use milena_protocol::messages::add_partitions_to_txn::{AddPartitionsToTxnRequest, AddPartitionsToTxnTopic};
use milena_protocol::messages::fetch::FetchRequest;
use milena_protocol::messages::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use milena_protocol::messages::offset_fetch::OffsetFetchRequest;
use milena_protocol::messages::produce::ProduceRequest;
use milena_protocol::messages::txn_offset_commit::TxnOffsetCommitRequest;
use milena_protocol::records::Batches;
use milena_tests::eventually::eventually;
use milena_tests::raw::{Coordinated, RawBatch, RawConnection, RawProducer, fetch, produce};

use crate::golden::probes;
use crate::groups::Member;
use crate::offsets::{commit, fetch_offsets};
use crate::script::Script;

probes! {
    an_unknown_transactional_id_has_no_transaction
    an_empty_transactional_id_has_no_transaction
    a_foreign_producer_id_is_refused
    another_epoch_is_fenced
    one_unknown_partition_is_in_the_way_of_all
    what_was_not_begun_is_ended_in_some_versions
    what_was_ended_is_ended_again
    both_ways_may_take_turns
    a_first_record_has_sequence_zero
    sequences_go_on_after_a_transaction
    a_producer_writes_nothing_past_its_transaction
    a_marker_is_a_control_record
    aborted_transactions_are_listed_where_they_overlap
    times_are_found_in_committed_records_only
    offsets_are_committed_for_members
    offsets_that_may_change_are_unstable
    the_last_offset_of_a_transaction_counts
    a_later_commit_stays
    offsets_of_unknown_partitions_are_not_committed
}

const INIT: i16 = 5;
const ADD: i16 = 3;
const FETCH: i16 = 12;

/// Of EndTxn and Produce: without a new epoch for each transaction, and with it (KIP-890).
const END: [i16; 2] = [4, 5];
const PRODUCE: [i16; 2] = [11, 12];

/// A producer with its identity, and its coordinator.
async fn start(p: &Script<'_>) -> (RawProducer, RawConnection) {
    let id = p.name("P");
    let producer = RawProducer::start(p.cluster, &id).await;
    let coordinator = p.cluster.raw_transaction_coordinator(&id).await;
    (producer, coordinator)
}

/// Writes records in a transaction.
async fn write(producer: &mut RawProducer, leader: &mut RawConnection, topic: &str, values: &[&str]) {
    let answer = leader.ask_settled(12, &producer.write(topic, 0, values)).await;
    assert_eq!(answer.code(), ErrorCode::NONE, "{answer:?}");
}

/// Ends a transaction, and takes the identity for the next one.
async fn end(producer: &mut RawProducer, coordinator: &mut RawConnection, committed: bool) {
    let answer = coordinator.ask_settled(5, &producer.end(committed)).await;
    assert_eq!(answer.code(), ErrorCode::NONE, "{answer:?}");
    producer.adopt(answer.producer_id, answer.producer_epoch);
}

fn committed(topic: &str, offset: i64) -> FetchRequest {
    FetchRequest { isolation_level: 1, ..fetch(topic, 0, offset) }
}

/// Waits until no transaction of the partition is open: markers are written after EndTxn is answered.
async fn settled(leader: &mut RawConnection, topic: &str) {
    eventually("every transaction to have ended", async || {
        let answer = leader.ask(FETCH, &committed(topic, 0)).await;
        let data = &answer.responses[0].partitions[0];
        (data.last_stable_offset == data.high_watermark).then_some(())
    })
    .await;
}

/// Every request of a producer that is not what it says.
async fn refused(p: &Script<'_>, producer: &RawProducer, coordinator: &mut RawConnection) {
    let (topic, group) = (p.topic("T", 1).await, p.name("G"));
    let mut leader = p.leader(&topic, 0).await;
    let mut groups = p.cluster.raw_coordinator(&group).await;
    p.each_version("AddPartitionsToTxn", coordinator, 0..=3, |_| producer.add_partition(&topic, 0)).await;
    p.each_version("AddOffsetsToTxn", coordinator, 0..=4, |_| producer.add_offsets(&group)).await;
    p.each_version("EndTxn", coordinator, 0..=5, |_| producer.end(false)).await;
    p.each_version("Produce", &mut leader, 9..=12, |_| producer.write_at(0, &topic, 0, &["a"])).await;
    let offset = producer.commit_offset(&group, &topic, 0, 5);
    p.each_version("TxnOffsetCommit", &mut groups, 0..=5, |_| offset.clone()).await;
}

async fn an_unknown_transactional_id_has_no_transaction(p: &Script<'_>) {
    let (mut producer, _) = start(p).await;
    producer.transactional_id = p.name("unknown");
    let mut coordinator = p.cluster.raw_transaction_coordinator(&producer.transactional_id).await;
    refused(p, &producer, &mut coordinator).await;
}

async fn an_empty_transactional_id_has_no_transaction(p: &Script<'_>) {
    let (mut producer, _) = start(p).await;
    producer.transactional_id = String::new();
    let mut coordinator = p.cluster.raw_transaction_coordinator("").await;
    refused(p, &producer, &mut coordinator).await;
}

async fn a_foreign_producer_id_is_refused(p: &Script<'_>) {
    let (mut producer, mut coordinator) = start(p).await;
    producer.producer_id += 400;
    refused(p, &producer, &mut coordinator).await;
}

async fn another_epoch_is_fenced(p: &Script<'_>) {
    let (mut producer, mut coordinator) = start(p).await;
    let answer = coordinator.ask_settled(INIT, &producer.init()).await;
    for epoch in [answer.producer_epoch - 1, answer.producer_epoch + 1] {
        producer.epoch = epoch;
        p.note(&format!("epoch {epoch} instead of {}", answer.producer_epoch));
        refused(p, &producer, &mut coordinator).await;
    }
}

fn topics(names: &[(&str, &[i32])]) -> Vec<AddPartitionsToTxnTopic> {
    let topic = |(name, partitions): &(&str, &[i32])| AddPartitionsToTxnTopic {
        name: (*name).to_owned(),
        partitions: partitions.to_vec(),
    };
    names.iter().map(topic).collect()
}

async fn one_unknown_partition_is_in_the_way_of_all(p: &Script<'_>) {
    let (producer, mut coordinator) = start(p).await;
    let (topic, unknown) = (p.topic("T", 2).await, p.name("U"));
    for (step, names) in [
        ("a partition", vec![(topic.as_str(), &[0, 7][..])]),
        ("a topic", vec![(topic.as_str(), &[0][..]), (unknown.as_str(), &[0])]),
        ("nothing", vec![]),
        ("none", vec![(topic.as_str(), &[][..])]),
        ("both are known", vec![(topic.as_str(), &[0, 1][..])]),
    ] {
        let added = producer.add_partition(&topic, 0);
        let request = AddPartitionsToTxnRequest { v3_and_below_topics: topics(&names), ..added };
        let mut answer = coordinator.ask(ADD, &request).await;
        // Their order is that of a hash table.
        answer.results_by_topic_v3_and_below.sort_by_key(|result| result.name == unknown);
        for topic in &mut answer.results_by_topic_v3_and_below {
            topic.results_by_partition.sort_by_key(|result| result.partition_index);
        }
        p.show(step, &answer);
    }
}

async fn what_was_not_begun_is_ended_in_some_versions(p: &Script<'_>) {
    let (mut producer, mut coordinator) = start(p).await;
    for committed in [true, false] {
        for version in [0, 4] {
            let step = format!("committed: {committed} v{version}");
            p.ask(&step, &mut coordinator, version, &producer.end(committed)).await;
        }
    }
    p.ask("commit v5", &mut coordinator, 5, &producer.end(true)).await;
    for step in ["abort v5", "and again"] {
        let answer = coordinator.ask_settled(5, &producer.end(false)).await;
        p.show(step, &answer);
        producer.adopt(answer.producer_id, answer.producer_epoch);
    }
}

async fn what_was_ended_is_ended_again(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    for (version, committed) in [(4, true), (4, false), (5, true), (5, false)] {
        let (producer, mut coordinator) = start(p).await;
        p.note(&format!("committed: {committed} v{version}"));
        coordinator.ask_settled(ADD, &producer.add_partition(&topic, 0)).await;
        let first = p.ask("first", &mut coordinator, version, &producer.end(committed)).await;
        for (step, same) in [("the same", committed), ("the other", !committed)] {
            let answer = coordinator.ask_settled(version, &producer.end(same)).await;
            p.show(step, &answer);
        }
        let mut next = producer.clone();
        next.epoch = if version == 5 { first.producer_epoch } else { producer.epoch };
        for committed in [true, false] {
            let answer = coordinator.ask_settled(5, &next.end(committed)).await;
            p.show(&format!("the next one, committed: {committed} v5"), &answer);
        }
    }
}

async fn both_ways_may_take_turns(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    let (mut producer, mut coordinator) = start(p).await;
    let mut sequence = 0;
    for (step, announces, version) in
        [("old", true, 4), ("new", false, 5), ("old, then new", true, 5), ("new, then old", false, 4), ("old", true, 4)]
    {
        p.note(step);
        if announces {
            let added = coordinator.ask_settled(ADD, &producer.add_partition(&topic, 0)).await;
            p.show("added", &added);
        }
        let request = producer.write_at(sequence, &topic, 0, &["a"]);
        let written = leader.ask_settled(PRODUCE[usize::from(!announces)], &request).await;
        p.show("written", &written);
        let ended = coordinator.ask_settled(version, &producer.end(true)).await;
        p.show("ended", &ended);
        settled(&mut leader, &topic).await;
        sequence += 1;
        if version == 5 {
            producer.adopt(ended.producer_id, ended.producer_epoch);
            sequence = 0;
        }
    }
    show_batches(p, &mut leader, &topic).await;
}

/// What lies in the log: offsets, epochs, sequences, and what markers consist of.
async fn show_batches(p: &Script<'_>, leader: &mut RawConnection, topic: &str) {
    let answer = leader.ask(FETCH, &fetch(topic, 0, 0)).await;
    let records = answer.responses[0].partitions[0].records.clone().expect("records").into_bytes();
    for batch in Batches::new(records) {
        let batch = batch.expect("a batch");
        let header = batch.header();
        let set = batch.records(1 << 20).expect("records");
        let record = set.iter().next().expect("one").expect("a record");
        let body = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::len), record.headers.count());
        let (offset, attributes, epoch) = (header.base_offset, header.attributes.0, header.producer_epoch);
        let (sequence, count) = (header.base_sequence, header.record_count);
        p.note(&format!("{offset}: attributes {attributes}, epoch {epoch}, sequence {sequence}, {count} x {body:?}"));
    }
}

async fn a_first_record_has_sequence_zero(p: &Script<'_>) {
    let topic = p.topic("T", 3).await;
    let (producer, mut coordinator) = start(p).await;
    for (partition, version) in [(0, 11), (1, 12)] {
        let mut leader = p.leader(&topic, partition).await;
        coordinator.ask_settled(ADD, &producer.add_partition(&topic, partition)).await;
        let request = producer.write_at(5, &topic, partition, &["a"]);
        p.ask(&format!("v{version}"), &mut leader, version, &request).await;
    }
}

async fn sequences_go_on_after_a_transaction(p: &Script<'_>) {
    for way in [0, 1] {
        let topic = p.topic("T", 1).await;
        let mut leader = p.leader(&topic, 0).await;
        let (mut producer, mut coordinator) = start(p).await;
        p.note(&format!("EndTxn {}", END[way]));
        for round in 0..2 {
            for sequence in [0, 1, 3, 2] {
                if way == 0 {
                    coordinator.ask_settled(ADD, &producer.add_partition(&topic, 0)).await;
                }
                let request = producer.write_at(sequence, &topic, 0, &["a"]);
                let answer = leader.ask_settled(PRODUCE[way], &request).await;
                p.show(&format!("round {round}: {sequence}"), &answer);
            }
            let answer = coordinator.ask_settled(END[way], &producer.end(true)).await;
            if way == 1 {
                producer.adopt(answer.producer_id, answer.producer_epoch);
            }
        }
    }
}

async fn a_producer_writes_nothing_past_its_transaction(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    let (mut producer, mut coordinator) = start(p).await;
    let plain = |producer: &RawProducer, sequence| {
        let batch = RawBatch::of(["b"]).at(p.base_ms, 0).producer(producer.producer_id, producer.epoch, sequence);
        produce(&topic, 0, batch)
    };
    p.ask("before", &mut leader, 9, &plain(&producer, 0)).await;
    let answer = leader.ask_settled(12, &producer.write_at(1, &topic, 0, &["a"])).await;
    p.show("a transaction", &answer);
    p.each_version("in it", &mut leader, 3..=12, |_| plain(&producer, 2)).await;
    p.ask("in it, out of order", &mut leader, 9, &plain(&producer, 7)).await;
    p.ask("in it, a duplicate", &mut leader, 9, &plain(&producer, 1)).await;
    end(&mut producer, &mut coordinator, true).await;
    settled(&mut leader, &topic).await;
    p.ask("after it", &mut leader, 9, &plain(&producer, 0)).await;
}

async fn a_marker_is_a_control_record(p: &Script<'_>) {
    for version in END {
        let topic = p.topic("T", 1).await;
        let mut leader = p.leader(&topic, 0).await;
        let (mut producer, mut coordinator) = start(p).await;
        p.note(&format!("EndTxn {version}"));
        for committed in [true, false] {
            coordinator.ask_settled(ADD, &producer.add_partition(&topic, 0)).await;
            let request = producer.write(&topic, 0, &["a", "b"]);
            leader.ask_settled(11, &request).await;
            let answer = coordinator.ask_settled(version, &producer.end(committed)).await;
            if version == 5 {
                producer.adopt(answer.producer_id, answer.producer_epoch);
            }
            settled(&mut leader, &topic).await;
        }
        show_batches(p, &mut leader, &topic).await;
    }
}

async fn aborted_transactions_are_listed_where_they_overlap(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    let (mut first, mut first_coordinator) = start(p).await;
    let (mut second, mut second_coordinator) = start(p).await;
    for round in 0..2 {
        write(&mut first, &mut leader, &topic, &["a"]).await;
        write(&mut second, &mut leader, &topic, &["b", "c"]).await;
        end(&mut first, &mut first_coordinator, false).await;
        reaches(&mut leader, &topic, 6 * round + 4).await;
        write(&mut second, &mut leader, &topic, &["d"]).await;
        end(&mut second, &mut second_coordinator, false).await;
        settled(&mut leader, &topic).await;
    }
    for offset in 0..=12 {
        let answer = leader.ask(FETCH, &committed(&topic, offset)).await;
        p.show(&format!("from {offset}"), &answer.responses[0].partitions[0].aborted_transactions);
    }
}

/// Waits until a partition has so many records and markers.
async fn reaches(leader: &mut RawConnection, topic: &str, end: i64) {
    eventually("a marker", async || {
        let answer = leader.ask(FETCH, &committed(topic, 0)).await;
        (answer.responses[0].partitions[0].high_watermark == end).then_some(())
    })
    .await;
}

fn at_time(topic: &str, timestamp: i64, isolation_level: i8) -> ListOffsetsRequest {
    let partition = ListOffsetsPartition { timestamp, ..Default::default() };
    let topics = vec![ListOffsetsTopic { name: topic.to_owned(), partitions: vec![partition] }];
    ListOffsetsRequest { replica_id: -1, isolation_level, topics, ..Default::default() }
}

async fn times_are_found_in_committed_records_only(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    let (producer, mut coordinator) = start(p).await;
    let at = |step: i64| RawBatch::of(["a"]).at(p.base_ms + step, 0);
    leader.ask(9, &produce(&topic, 0, at(0))).await;
    let batch = at(1000).producer(producer.producer_id, producer.epoch, 0).transactional();
    let transactional_id = Some(producer.transactional_id.clone());
    leader.ask_settled(12, &ProduceRequest { transactional_id, ..produce(&topic, 0, batch) }).await;
    leader.ask(9, &produce(&topic, 0, at(2000))).await;
    for open in [true, false] {
        for (step, timestamp) in [
            ("the first", p.base_ms),
            ("the second", p.base_ms + 1000),
            ("the third", p.base_ms + 2000),
            ("latest", -1),
            ("earliest", -2),
        ] {
            for isolation_level in [0, 1] {
                let step = format!("open: {open}, {step}, isolation {isolation_level}");
                p.ask(&step, &mut leader, 7, &at_time(&topic, timestamp, isolation_level)).await;
            }
        }
        if open {
            coordinator.ask_settled(5, &producer.end(true)).await;
            settled(&mut leader, &topic).await;
        }
    }
    // The marker has the time of its being written.
    let answer = leader.ask(7, &at_time(&topic, p.base_ms + 2001, 1)).await;
    p.note(&format!("behind the last record: {}", answer.topics[0].partitions[0].offset));
}

async fn offsets_are_committed_for_members(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let (producer, _) = start(p).await;
    let group = p.name("G");
    let member = Member::stable(p, &group).await;
    let generation = member.generation;
    let mut groups = p.cluster.raw_coordinator(&group).await;
    for (step, generation, id) in [
        ("the member", generation, member.id.as_str()),
        ("nobody", -1, ""),
        ("nobody in its generation", generation, ""),
        ("an older generation", generation - 1, &member.id),
        ("no generation", -1, &member.id),
        ("a stranger", generation, "stranger"),
    ] {
        let request = TxnOffsetCommitRequest {
            generation_id_or_member_epoch: generation,
            member_id: id.to_owned(),
            ..producer.commit_offset(&group, &topic, 0, 5)
        };
        let answer = groups.ask_settled(5, &request).await;
        p.show(step, &answer);
        let named = TxnOffsetCommitRequest { group_instance_id: Some("instance".to_owned()), ..request };
        p.ask(&format!("{step}, with an instance"), &mut groups, 5, &named).await;
    }
    let unknown = p.name("unknown");
    let mut groups = p.cluster.raw_coordinator(&unknown).await;
    let request = TxnOffsetCommitRequest {
        generation_id_or_member_epoch: 1,
        member_id: "member".to_owned(),
        ..producer.commit_offset(&unknown, &topic, 0, 5)
    };
    let answer = groups.ask_settled(5, &request).await;
    p.show("a generation of an unknown group", &answer);
}

async fn offsets_that_may_change_are_unstable(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 2).await);
    let (mut producer, mut coordinator) = start(p).await;
    let mut groups = p.cluster.raw_coordinator(&group).await;
    groups.ask(8, &commit(&group, &topic, 0, 3)).await;
    groups.ask(8, &commit(&group, &topic, 1, 4)).await;
    groups.ask_settled(5, &producer.commit_offset(&group, &topic, 0, 5)).await;
    for require_stable in [false, true] {
        let request = OffsetFetchRequest { require_stable, ..fetch_offsets(&group, &[(&topic, &[0, 1])]) };
        let step = format!("stable: {require_stable}");
        p.each_version(&step, &mut groups, 1..=9, |version| OffsetFetchRequest {
            require_stable: require_stable && version >= 7,
            ..request.clone()
        })
        .await;
        let mut all = request.clone();
        all.topics = None;
        all.groups[0].topics = None;
        p.ask(&format!("{step}, all"), &mut groups, 9, &all).await;
    }
    end(&mut producer, &mut coordinator, true).await;
    let request = OffsetFetchRequest { require_stable: true, ..fetch_offsets(&group, &[(&topic, &[0, 1])]) };
    let answer = eventually("stable offsets", async || {
        let answer = groups.ask(9, &request).await;
        let codes = answer.groups[0].topics[0].partitions.iter().map(|partition| partition.error_code);
        codes.into_iter().all(|code| code.is_none()).then_some(answer)
    });
    p.show("afterwards", &answer.await);
}

/// The offset of the group once nothing may change it.
async fn stable(groups: &mut RawConnection, group: &str, topic: &str) -> i64 {
    let request = OffsetFetchRequest { require_stable: true, ..fetch_offsets(group, &[(topic, &[0])]) };
    eventually("a stable offset", async || {
        let answer = groups.ask(9, &request).await;
        let partition = &answer.groups[0].topics[0].partitions[0];
        partition.error_code.is_none().then_some(partition.committed_offset)
    })
    .await
}

async fn the_last_offset_of_a_transaction_counts(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 1).await);
    let (mut producer, mut coordinator) = start(p).await;
    let mut groups = p.cluster.raw_coordinator(&group).await;
    for committed in [true, false] {
        for offset in [9, 5, 7] {
            let request = producer.commit_offset(&group, &topic, 0, offset + i64::from(committed));
            groups.ask_settled(5, &request).await;
        }
        end(&mut producer, &mut coordinator, committed).await;
        let offset = stable(&mut groups, &group, &topic).await;
        p.note(&format!("committed: {committed}: {offset}"));
    }
}

async fn a_later_commit_stays(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 1).await);
    let (mut producer, mut coordinator) = start(p).await;
    let mut groups = p.cluster.raw_coordinator(&group).await;
    groups.ask_settled(5, &producer.commit_offset(&group, &topic, 0, 5)).await;
    p.ask("a plain commit", &mut groups, 8, &commit(&group, &topic, 0, 3)).await;
    end(&mut producer, &mut coordinator, true).await;
    p.note(&format!("written before, committed after it: {}", stable(&mut groups, &group, &topic).await));
    let (mut other, mut other_coordinator) = start(p).await;
    groups.ask_settled(5, &producer.commit_offset(&group, &topic, 0, 6)).await;
    groups.ask_settled(5, &other.commit_offset(&group, &topic, 0, 7)).await;
    end(&mut other, &mut other_coordinator, true).await;
    end(&mut producer, &mut coordinator, true).await;
    p.note(&format!("of two transactions: {}", stable(&mut groups, &group, &topic).await));
}

async fn offsets_of_unknown_partitions_are_not_committed(p: &Script<'_>) {
    let (group, topic, unknown) = (p.name("G"), p.topic("T", 1).await, p.name("U"));
    let (producer, _) = start(p).await;
    let mut groups = p.cluster.raw_coordinator(&group).await;
    p.ask("an unknown topic", &mut groups, 5, &producer.commit_offset(&group, &unknown, 0, 5)).await;
    p.ask("an unknown partition", &mut groups, 5, &producer.commit_offset(&group, &topic, 7, 5)).await;
    let mut both = producer.commit_offset(&group, &topic, 0, 5);
    both.topics.extend(producer.commit_offset(&group, &unknown, 0, 5).topics);
    let answer = groups.ask_settled(5, &both).await;
    p.show("a known and an unknown one", &answer);
    let fenced = TxnOffsetCommitRequest { producer_epoch: producer.epoch + 1, ..both };
    p.ask("of a fenced producer", &mut groups, 5, &fenced).await;
}
