//! Produce: what is refused and with which error, and what an idempotent producer may do.

use bytes::Bytes;
use milena_protocol::compression::Compression;
use milena_protocol::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use milena_protocol::primitives::Uuid;
use milena_protocol::records::{Attributes, BatchHeader, TimestampType};
use milena_tests::raw::{RawBatch, RawConnection, fetch, now_ms, produce};

use crate::golden::probes;
use crate::script::Script;

probes! {
    every_version_answers_a_good_batch
    a_wrong_crc_is_corrupt
    garbage_is_corrupt
    a_foreign_record_format_is_corrupt
    a_length_past_the_end_is_an_invalid_record
    a_wrong_record_count_is_an_invalid_record
    a_wrong_last_offset_delta_is_an_invalid_record
    no_records_are_an_invalid_record
    two_batches_are_an_invalid_record
    an_unknown_codec_is_an_unknown_error
    a_body_that_does_not_decompress_is_refused
    only_acks_of_minus_1_0_and_1_are_known
    a_null_key_is_refused_by_a_compacted_topic
    a_time_stamp_in_the_far_future_is_refused
    records_may_be_wrong_in_two_ways
    a_producer_cannot_claim_the_append_time
    a_control_batch_of_a_client_is_refused
    a_transactional_batch_needs_a_transactional_id
    an_unknown_topic_or_partition_is_refused
    an_unknown_topic_id_is_refused
    only_the_leader_takes_records_and_says_who_leads
    a_batch_above_max_message_bytes_is_too_large
    zstd_needs_version_7
    every_codec_is_kept_as_it_came
    the_append_time_is_told_where_the_topic_wants_it
    partitions_of_one_request_fail_apart
    a_partition_named_twice_counts_once
    without_acks_nothing_is_answered
    without_acks_an_error_closes_the_connection
    the_brokers_own_topics_take_no_records_of_clients
    a_producer_sets_neither_offset_nor_leader_epoch
    a_repeated_batch_is_answered_with_its_offset
    a_batch_older_than_the_last_five_is_out_of_order
    a_gap_in_the_sequence_is_out_of_order
    an_unknown_producer_may_start_anywhere
    a_higher_epoch_starts_at_sequence_0
    a_lower_epoch_is_refused
    a_new_leader_knows_the_producers
    an_old_leader_says_who_leads_now
    sequence_numbers_wrap_to_0
    a_batch_that_only_begins_like_an_earlier_one_is_out_of_order
    a_producer_id_needs_an_epoch_and_a_sequence
    max_time_stamps_are_the_records_own
    a_topic_with_more_insync_replicas_than_it_has
}

const PRODUCE: i16 = 9;
const FETCH: i16 = 12;

async fn send(p: &Script<'_>, step: &str, to: &mut RawConnection, topic: &str, batch: impl Into<Bytes>) {
    p.ask(step, to, PRODUCE, &produce(topic, 0, batch.into())).await;
}

/// Writes what the log has.
async fn log(p: &Script<'_>, from: &mut RawConnection, topic: &str) {
    p.ask("log", from, FETCH, &fetch(topic, 0, 0)).await;
}

fn good(p: &Script<'_>, values: &[&str]) -> RawBatch {
    RawBatch::of(values).at(p.base_ms, 1)
}

/// A good batch but for its header.
fn but(p: &Script<'_>, change: impl FnOnce(&mut BatchHeader)) -> Bytes {
    good(p, &["a", "b"]).header(change).encode()
}

/// A batch of one record of a producer.
fn stamped(p: &Script<'_>, value: &str, id: i64, epoch: i16, sequence: i32) -> Bytes {
    good(p, &[value]).producer(id, epoch, sequence).encode()
}

fn damaged(batch: &Bytes, at: usize, byte: u8) -> Bytes {
    let mut bytes = batch.to_vec();
    bytes[at] = byte;
    bytes.into()
}

async fn every_version_answers_a_good_batch(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let id = p.cluster.topic_id(&topic).await;
    let mut leader = p.leader(&topic, 0).await;
    for version in 3..=13 {
        let mut request = produce(&topic, 0, good(p, &["a"]));
        request.topic_data[0].topic_id = id;
        p.ask(&format!("v{version}"), &mut leader, version, &request).await;
    }
}

async fn a_wrong_crc_is_corrupt(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    let batch = good(p, &["a"]).encode();
    send(p, "another crc", &mut leader, &topic, damaged(&batch, 17, !batch[17])).await;
    send(p, "another last byte", &mut leader, &topic, damaged(&batch, batch.len() - 1, 7)).await;
    p.ask("with acks=1", &mut leader, 12, &ProduceRequest { acks: 1, ..produce(&topic, 0, damaged(&batch, 17, 0)) })
        .await;
    log(p, &mut leader, &topic).await;
}

async fn garbage_is_corrupt(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    send(p, "100 bytes of x", &mut leader, &topic, vec![b'x'; 100]).await;
    send(p, "100 zeros", &mut leader, &topic, vec![0; 100]).await;
    send(p, "5 bytes", &mut leader, &topic, vec![0; 5]).await;
    send(p, "a header cut", &mut leader, &topic, good(p, &["a"]).encode().slice(..40)).await;
}

async fn a_foreign_record_format_is_corrupt(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    let batch = good(p, &["a"]).encode();
    for magic in [0, 1, 3, 255] {
        send(p, &format!("magic {magic}"), &mut leader, &topic, damaged(&batch, 16, magic)).await;
    }
}

async fn a_length_past_the_end_is_an_invalid_record(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    let batch = good(p, &["a"]).encode();
    send(p, "one more", &mut leader, &topic, damaged(&batch, 11, batch[11] + 1)).await;
    send(p, "one less", &mut leader, &topic, damaged(&batch, 11, batch[11] - 1)).await;
    send(p, "negative", &mut leader, &topic, damaged(&batch, 8, 255)).await;
    send(p, "less than a header", &mut leader, &topic, damaged(&batch, 11, 10)).await;
}

async fn a_wrong_record_count_is_an_invalid_record(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    for count in [1, 3, 0, -1] {
        send(p, &format!("{count} of 2"), &mut leader, &topic, but(p, |header| header.record_count = count)).await;
    }
    log(p, &mut leader, &topic).await;
}

async fn a_wrong_last_offset_delta_is_an_invalid_record(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    for delta in [0, 2, -1] {
        let batch = but(p, |header| header.last_offset_delta = delta);
        send(p, &format!("{delta} of 1"), &mut leader, &topic, batch).await;
    }
}

async fn no_records_are_an_invalid_record(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    send(p, "zero bytes", &mut leader, &topic, Bytes::new()).await;
    send(p, "an empty batch", &mut leader, &topic, good(p, &[]).encode()).await;
}

async fn two_batches_are_an_invalid_record(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    let batch = good(p, &["a"]).encode();
    send(p, "two", &mut leader, &topic, [&batch[..], &batch].concat()).await;
    send(p, "one and a half", &mut leader, &topic, [&batch[..], &batch[..40]].concat()).await;
    log(p, &mut leader, &topic).await;
}

async fn an_unknown_codec_is_an_unknown_error(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    for codec in 5..=7 {
        send(p, &format!("codec {codec}"), &mut leader, &topic, but(p, |header| header.attributes = Attributes(codec)))
            .await;
    }
}

async fn a_body_that_does_not_decompress_is_refused(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let body = Bytes::from_static(b"not compressed at all");
        let header = BatchHeader {
            attributes: Attributes(0).with_compression(codec),
            record_count: 1,
            base_timestamp: p.base_ms,
            max_timestamp: p.base_ms,
            ..Default::default()
        };
        let batch = [&header.encode(std::slice::from_ref(&body)), &body[..]].concat();
        send(p, codec.name(), &mut leader, &topic, batch).await;
    }
}

async fn only_acks_of_minus_1_0_and_1_are_known(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    for acks in [5, 2, -2, 1, -1] {
        let request = ProduceRequest { acks, ..produce(&topic, 0, good(p, &["a"])) };
        p.ask(&format!("acks={acks}"), &mut leader, PRODUCE, &request).await;
    }
}

async fn a_null_key_is_refused_by_a_compacted_topic(p: &Script<'_>) {
    let topic = p.topic_with("T", 1, &[("cleanup.policy", "compact")]).await;
    let mut leader = p.leader(&topic, 0).await;
    send(p, "no key", &mut leader, &topic, good(p, &["a", "b"]).encode()).await;
    let batch = good(p, &["a"]).compressed(Compression::Gzip).encode();
    send(p, "no key, compressed", &mut leader, &topic, batch).await;
    p.ask("v7", &mut leader, 7, &produce(&topic, 0, good(p, &["a"]))).await;
    let batch = RawBatch::keyed([("k", Some("v")), ("k", None), ("", Some("v"))]).at(p.base_ms, 1);
    send(p, "keys", &mut leader, &topic, batch.encode()).await;
    log(p, &mut leader, &topic).await;
}

async fn a_time_stamp_in_the_far_future_is_refused(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    let soon = now_ms() + 3_500_000;
    send(p, "in 58 minutes", &mut leader, &topic, RawBatch::of(["a"]).at(soon, 0).encode()).await;
    send(p, "in 2 hours", &mut leader, &topic, RawBatch::of(["a"]).at(now_ms() + 7_200_000, 0).encode()).await;
    send(p, "the second", &mut leader, &topic, RawBatch::of(["a", "b"]).at(soon, 3_600_000).encode()).await;
    send(p, "-1", &mut leader, &topic, RawBatch::of(["a"]).at(-1, 0).encode()).await;
    send(p, "-2", &mut leader, &topic, RawBatch::of(["a"]).at(-2, 0).encode()).await;

    let strict = p.topic_with("strict", 1, &[("message.timestamp.before.max.ms", "1000")]).await;
    let mut leader = p.leader(&strict, 0).await;
    send(p, "too old for the topic", &mut leader, &strict, good(p, &["a", "b"]).encode()).await;
}

async fn records_may_be_wrong_in_two_ways(p: &Script<'_>) {
    let topic = p.topic_with("T", 1, &[("cleanup.policy", "compact")]).await;
    let mut leader = p.leader(&topic, 0).await;
    let late = now_ms() + 7_200_000;
    send(p, "neither key nor time", &mut leader, &topic, RawBatch::of(["a", "b"]).at(late, 0).encode()).await;
    send(p, "the second is late", &mut leader, &topic, RawBatch::of(["a", "b"]).at(p.base_ms, 10_800_000).encode())
        .await;
    let keyed = RawBatch::keyed([("k", Some("v")), ("l", Some("v"))]).at(p.base_ms, 10_800_000);
    send(p, "the second is late, both have keys", &mut leader, &topic, keyed.encode()).await;
}

async fn a_producer_cannot_claim_the_append_time(p: &Script<'_>) {
    let claim = |header: &mut BatchHeader| {
        header.attributes = header.attributes.with_timestamp_type(TimestampType::LogAppendTime);
    };
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    send(p, "create time", &mut leader, &topic, but(p, claim)).await;
    log(p, &mut leader, &topic).await;
    let topic = p.topic_with("appended", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let mut leader = p.leader(&topic, 0).await;
    send(p, "append time", &mut leader, &topic, but(p, claim)).await;
    log(p, &mut leader, &topic).await;
}

async fn a_control_batch_of_a_client_is_refused(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    let control = |header: &mut BatchHeader| header.attributes = header.attributes.with_control();
    send(p, "control", &mut leader, &topic, but(p, control)).await;
    let batch = good(p, &["a"]).producer(1000, 0, 0).transactional().header(control).encode();
    send(p, "control, transactional", &mut leader, &topic, batch).await;
}

async fn a_transactional_batch_needs_a_transactional_id(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    send(p, "none", &mut leader, &topic, good(p, &["a"]).producer(1000, 0, 0).transactional().encode()).await;
    send(p, "no producer", &mut leader, &topic, good(p, &["a"]).transactional().encode()).await;
}

async fn an_unknown_topic_or_partition_is_refused(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    for partition in [1, -1, i32::MAX] {
        p.ask(&format!("partition {partition}"), &mut leader, PRODUCE, &produce(&topic, partition, good(p, &["a"])))
            .await;
    }
    for name in ["no-such-topic", "", "bad name!"] {
        p.ask(&format!("topic {name:?}"), &mut leader, PRODUCE, &produce(name, 0, good(p, &["a"]))).await;
    }
    p.ask("v12", &mut leader, 12, &produce("no-such-topic", 0, good(p, &["a"]))).await;
    p.ask("no topics", &mut leader, PRODUCE, &ProduceRequest { topic_data: vec![], ..produce("", 0, Bytes::new()) })
        .await;
}

async fn an_unknown_topic_id_is_refused(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    for (step, id) in [("unknown", Uuid([7; 16])), ("zero", Uuid::ZERO)] {
        let mut request = produce("", 0, good(p, &["a"]));
        request.topic_data[0].topic_id = id;
        p.ask(step, &mut leader, 13, &request).await;
    }
    let mut request = produce("", 3, good(p, &["a"]));
    request.topic_data[0].topic_id = p.cluster.topic_id(&topic).await;
    p.ask("unknown partition", &mut leader, 13, &request).await;
}

async fn only_the_leader_takes_records_and_says_who_leads(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    drop(p.leader(&topic, 0).await);
    let mut follower = p.cluster.raw(p.cluster.leader(&topic, 0).await % 3 + 1).await;
    for version in [9, 10, 12] {
        p.ask(&format!("v{version}"), &mut follower, version, &produce(&topic, 0, good(p, &["a"]))).await;
    }
}

async fn a_batch_above_max_message_bytes_is_too_large(p: &Script<'_>) {
    let topic = p.topic_with("T", 1, &[("max.message.bytes", "300")]).await;
    let mut leader = p.leader(&topic, 0).await;
    let of_size = |size: usize| {
        let overhead = good(p, &["x".repeat(200).as_str()]).encode().len() - 200;
        good(p, &["x".repeat(size - overhead).as_str()]).encode()
    };
    send(p, "300 bytes", &mut leader, &topic, of_size(300)).await;
    send(p, "301 bytes", &mut leader, &topic, of_size(301)).await;
    let batch = good(p, &["x".repeat(10_000).as_str()]).compressed(Compression::Gzip).encode();
    send(p, "10 kB compressed to less", &mut leader, &topic, batch).await;
    p.ask("v12", &mut leader, 12, &produce(&topic, 0, of_size(400))).await;
}

async fn zstd_needs_version_7(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    let batch = good(p, &["a"]).compressed(Compression::Zstd).encode();
    for version in [3, 6, 7] {
        p.ask(&format!("produce v{version}"), &mut leader, version, &produce(&topic, 0, batch.clone())).await;
    }
    for version in [9, 10] {
        p.ask(&format!("fetch v{version}"), &mut leader, version, &fetch(&topic, 0, 0)).await;
    }
}

async fn every_codec_is_kept_as_it_came(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    for codec in (0..5).filter_map(Compression::from_id) {
        send(p, codec.name(), &mut leader, &topic, good(p, &["a", "b"]).compressed(codec).encode()).await;
    }
    log(p, &mut leader, &topic).await;
}

async fn the_append_time_is_told_where_the_topic_wants_it(p: &Script<'_>) {
    let topic = p.topic_with("T", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let mut leader = p.leader(&topic, 0).await;
    send(p, "plain", &mut leader, &topic, good(p, &["a", "b"]).encode()).await;
    send(p, "gzip", &mut leader, &topic, good(p, &["a", "b"]).compressed(Compression::Gzip).encode()).await;
    log(p, &mut leader, &topic).await;
}

async fn partitions_of_one_request_fail_apart(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    let data = |index, records: Bytes| PartitionProduceData { index, records: Some(records.into()) };
    let named =
        |name: &str, partition_data| TopicProduceData { name: name.to_owned(), partition_data, ..Default::default() };
    let batch = good(p, &["a"]).encode();
    let mut request = produce(&topic, 0, Bytes::new());
    request.topic_data = vec![
        named("no-such-topic", vec![data(0, batch.clone())]),
        named(&topic, vec![data(7, batch.clone()), data(0, batch.clone())]),
    ];
    let mut answer = leader.ask(PRODUCE, &request).await;
    // Kafka puts the topics that fail early behind the others, or before them: no rule.
    answer.responses.sort_by_key(|topic| topic.name == "no-such-topic");
    answer.responses.iter_mut().for_each(|topic| topic.partition_responses.sort_by_key(|data| data.index));
    p.show("one of three", &answer);
    log(p, &mut leader, &topic).await;
}

async fn a_partition_named_twice_counts_once(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    let data = |value: &str| PartitionProduceData { index: 0, records: Some(good(p, &[value]).into()) };
    let mut request = produce(&topic, 0, Bytes::new());
    request.topic_data[0].partition_data = vec![data("first"), data("last")];
    p.ask("within a topic", &mut leader, PRODUCE, &request).await;
    let mut request = produce(&topic, 0, good(p, &["first"]));
    request.topic_data.push(produce(&topic, 0, good(p, &["last"])).topic_data.remove(0));
    p.ask("as two topics", &mut leader, PRODUCE, &request).await;
    log(p, &mut leader, &topic).await;
}

async fn without_acks_nothing_is_answered(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    let request = ProduceRequest { acks: 0, ..produce(&topic, 0, good(p, &["a"])) };
    let _no_answer = leader.send(PRODUCE, &request).await;
    send(p, "the next, with acks", &mut leader, &topic, good(p, &["b"]).encode()).await;
    log(p, &mut leader, &topic).await;
}

async fn without_acks_an_error_closes_the_connection(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    for (step, request) in [
        ("unknown topic", produce("no-such-topic", 0, good(p, &["a"]))),
        ("corrupt", produce(&topic, 0, Bytes::from(vec![b'x'; 100]))),
    ] {
        let mut leader = p.leader(&topic, 0).await;
        let answer = leader.try_ask(PRODUCE, &ProduceRequest { acks: 0, ..request }).await;
        p.note(&format!("{step}: {:?}", answer.map(|_| ())));
    }
}

async fn the_brokers_own_topics_take_no_records_of_clients(p: &Script<'_>) {
    drop(p.cluster.raw_coordinator(&p.name("G")).await);
    let topic = "__consumer_offsets";
    let mut leader = p.leader(topic, 0).await;
    send(p, "offsets", &mut leader, topic, RawBatch::keyed([("k", Some("v"))]).encode()).await;
}

async fn a_producer_sets_neither_offset_nor_leader_epoch(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    send(p, "epoch 99", &mut leader, &topic, but(p, |header| header.partition_leader_epoch = 99)).await;
    send(p, "offset 99", &mut leader, &topic, but(p, |header| header.base_offset = 99)).await;
    log(p, &mut leader, &topic).await;
}

async fn a_repeated_batch_is_answered_with_its_offset(p: &Script<'_>) {
    let topic = p.topic_with("T", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let mut leader = p.leader(&topic, 0).await;
    for sequence in [0, 1, 2, 1, 0, 2] {
        send(p, &format!("sequence {sequence}"), &mut leader, &topic, stamped(p, "a", 1000, 0, sequence)).await;
    }
    log(p, &mut leader, &topic).await;
}

async fn a_batch_older_than_the_last_five_is_out_of_order(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    for sequence in (0..7).chain([1, 2, 6, 0]) {
        send(p, &format!("sequence {sequence}"), &mut leader, &topic, stamped(p, "a", 1000, 0, sequence)).await;
    }
}

async fn a_gap_in_the_sequence_is_out_of_order(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    for sequence in [0, 2, 1] {
        send(p, &format!("sequence {sequence}"), &mut leader, &topic, stamped(p, "a", 1000, 0, sequence)).await;
    }
    p.ask("v7", &mut leader, 7, &produce(&topic, 0, stamped(p, "a", 1000, 0, 9))).await;
    log(p, &mut leader, &topic).await;
}

async fn an_unknown_producer_may_start_anywhere(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    send(p, "sequence 17", &mut leader, &topic, stamped(p, "a", 1000, 0, 17)).await;
    send(p, "sequence 18", &mut leader, &topic, stamped(p, "b", 1000, 0, 18)).await;
    send(p, "another, epoch 4", &mut leader, &topic, stamped(p, "c", 1001, 4, 5)).await;
    log(p, &mut leader, &topic).await;
}

async fn a_higher_epoch_starts_at_sequence_0(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    for (epoch, sequence) in [(0, 0), (1, 1), (1, 0), (1, 1), (5, 0)] {
        let step = format!("epoch {epoch}, sequence {sequence}");
        send(p, &step, &mut leader, &topic, stamped(p, "a", 1000, epoch, sequence)).await;
    }
}

async fn a_lower_epoch_is_refused(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    for (epoch, sequence) in [(3, 0), (2, 1), (2, 0), (3, 1)] {
        let step = format!("epoch {epoch}, sequence {sequence}");
        send(p, &step, &mut leader, &topic, stamped(p, "a", 1000, epoch, sequence)).await;
    }
    p.ask("v12", &mut leader, 12, &produce(&topic, 0, stamped(p, "a", 1000, 1, 0))).await;
}

async fn a_new_leader_knows_the_producers(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    for sequence in 0..7 {
        leader.ask(PRODUCE, &produce(&topic, 0, stamped(p, "a", 1000, 3, sequence))).await;
    }
    p.cluster.move_leader(&topic, 0).await;
    let mut leader = p.leader(&topic, 0).await;
    for (epoch, sequence) in [(3, 6), (3, 2), (3, 1), (3, 9), (2, 0), (3, 7)] {
        let step = format!("epoch {epoch}, sequence {sequence}");
        send(p, &step, &mut leader, &topic, stamped(p, "a", 1000, epoch, sequence)).await;
    }
    p.ask("the last of the log", &mut leader, FETCH, &fetch(&topic, 0, 6)).await;
}

async fn an_old_leader_says_who_leads_now(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    p.cluster.move_leader(&topic, 0).await;
    for version in [9, 10, 12] {
        p.ask(&format!("the old leader, v{version}"), &mut leader, version, &produce(&topic, 0, good(p, &["a"]))).await;
    }
}

async fn sequence_numbers_wrap_to_0(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    for sequence in [i32::MAX - 1, i32::MAX, 0, 1, i32::MAX] {
        send(p, &format!("sequence {sequence}"), &mut leader, &topic, stamped(p, "a", 1000, 0, sequence)).await;
    }
    let across = good(p, &["a", "b", "c"]).producer(1001, 0, i32::MAX - 1).encode();
    send(p, "three across", &mut leader, &topic, across).await;
    send(p, "the next", &mut leader, &topic, stamped(p, "a", 1001, 0, 1)).await;
}

async fn a_batch_that_only_begins_like_an_earlier_one_is_out_of_order(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    send(p, "0 to 1", &mut leader, &topic, good(p, &["a", "b"]).producer(1000, 0, 0).encode()).await;
    send(p, "0", &mut leader, &topic, good(p, &["a"]).producer(1000, 0, 0).encode()).await;
    send(p, "0 to 2", &mut leader, &topic, good(p, &["a", "b", "c"]).producer(1000, 0, 0).encode()).await;
    send(p, "1", &mut leader, &topic, good(p, &["b"]).producer(1000, 0, 1).encode()).await;
    send(p, "0 to 1, other values", &mut leader, &topic, good(p, &["x", "y"]).producer(1000, 0, 0).encode()).await;
    log(p, &mut leader, &topic).await;
}

async fn a_producer_id_needs_an_epoch_and_a_sequence(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    for (id, epoch, sequence) in [(1000, -1, 0), (1001, 0, -1), (-1, 0, 0), (-2, -1, -1), (1002, 0, -5)] {
        let step = format!("{id}/{epoch}/{sequence}");
        send(p, &step, &mut leader, &topic, stamped(p, "a", id, epoch, sequence)).await;
    }
    log(p, &mut leader, &topic).await;
}

async fn max_time_stamps_are_the_records_own(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    let late = p.base_ms + 500;
    send(p, "a header that exaggerates", &mut leader, &topic, but(p, |header| header.max_timestamp = late)).await;
    send(p, "a header without", &mut leader, &topic, but(p, |header| header.max_timestamp = -1)).await;
    send(p, "descending", &mut leader, &topic, RawBatch::of(["a", "b"]).at(late, -5).encode()).await;
    log(p, &mut leader, &topic).await;
}

async fn a_topic_with_more_insync_replicas_than_it_has(p: &Script<'_>) {
    let topic = p.topic_with("T", 1, &[("min.insync.replicas", "4")]).await;
    let mut leader = p.leader(&topic, 0).await;
    for acks in [-1, 1] {
        let request = ProduceRequest { acks, ..produce(&topic, 0, good(p, &["a"])) };
        p.ask(&format!("acks={acks}"), &mut leader, PRODUCE, &request).await;
    }
}
