//! Produce: what is written, what is refused, when it is acknowledged. Pure.

use bytes::Bytes;
use milena_protocol::ErrorCode;
use milena_protocol::compression::Compression;
use milena_protocol::messages::init_producer_id::InitProducerIdRequest;
use milena_protocol::messages::produce::ProduceRequest;
use milena_protocol::records::Attributes;

use super::rig::{NONE, PRODUCE, Rig, TestBatch, WALL_START, produce, settings, values_in};
use crate::core::{Outcome, Settings};

#[test]
fn what_is_produced_is_fetched() {
    for acks in [1, -1] {
        let mut rig = Rig::with_topic(&[]);
        let first = rig.produce(acks, TestBatch::new(&["a", "b"]).bytes());
        assert_eq!((first.error_code, first.base_offset, first.log_append_time_ms), (NONE, 0, -1));
        let second = rig.produce(acks, TestBatch::new(&["c"]).compressed(Compression::Lz4).bytes());
        assert_eq!((second.error_code, second.base_offset), (NONE, 2));
        let data = rig.fetch(1);
        assert_eq!((data.error_code, data.high_watermark, data.log_start_offset), (NONE, 3, 0));
        assert_eq!(values_in(&data), ["a", "b", "c"], "the batch with the offset comes whole");
        assert_eq!(rig.values(), ["a", "b", "c"]);
    }
}

/// Seen on a real Kafka 4.4: a client that does this loses records.
#[test]
fn of_two_batches_for_one_partition_in_one_request_the_last_is_written() {
    let mut rig = Rig::with_topic(&[]);
    let mut request = produce("t", 0, -1, TestBatch::new(&["first"]).bytes());
    let second = produce("t", 0, -1, TestBatch::new(&["second"]).bytes());
    request.topic_data[0].partition_data.extend(second.topic_data[0].partition_data.clone());
    let response = rig.ask(rig.leader(), PRODUCE, &request);

    assert_eq!(response.responses[0].partition_responses.len(), 1);
    assert_eq!(rig.values(), ["second"]);
}

#[test]
fn all_replicas_have_it() {
    let mut rig = Rig::with_topic(&[]);
    rig.produce(-1, TestBatch::new(&["a"]).bytes());
    for broker in rig.core.brokers.values() {
        let replica = broker.replicas.values().next().unwrap();
        assert_eq!((replica.log.end(), replica.high_watermark), (1, 1));
    }
}

#[test]
fn without_acks_nothing_is_answered_and_errors_close() {
    let mut rig = Rig::with_topic(&[]);
    let leader = rig.leader();
    let ticket = rig.send(leader, PRODUCE, &produce("t", 0, 0, TestBatch::new(&["a"]).bytes()));
    assert!(matches!(rig.outcome(ticket), Some(Outcome::Silent)));
    assert_eq!(rig.values(), ["a"]);
    let ticket = rig.send(leader, PRODUCE, &produce("t", 9, 0, TestBatch::new(&["a"]).bytes()));
    assert!(matches!(rig.outcome(ticket), Some(Outcome::Close)));
}

/// Seen on a real Kafka 4.4.
#[test]
fn a_bad_batch_gets_kafkas_error() {
    let mut rig = Rig::with_topic(&[("max.message.bytes", "200")]);
    let good = || TestBatch::new(&["a", "b"]);
    let spoiled = |position: usize, byte: u8| {
        let mut bytes = good().bytes().to_vec();
        bytes[position] = byte;
        Bytes::from(bytes)
    };
    let with = |change: &dyn Fn(&mut TestBatch)| {
        let mut batch = good();
        change(&mut batch);
        batch.bytes()
    };
    let last = good().bytes().len() - 1;
    let two = [good().bytes(), good().bytes()].concat();
    let long = "x".repeat(200);
    let cases: Vec<(&str, Bytes, ErrorCode)> = vec![
        ("wrong CRC", spoiled(last - 1, 0), ErrorCode::CORRUPT_MESSAGE),
        ("garbage", Bytes::from(vec![0u8; 100]), ErrorCode::CORRUPT_MESSAGE),
        ("unknown magic", spoiled(16, 9), ErrorCode::CORRUPT_MESSAGE),
        ("old magic", spoiled(16, 1), ErrorCode::INVALID_RECORD),
        ("length below a header's", spoiled(11, 3), ErrorCode::CORRUPT_MESSAGE),
        ("length past the end", spoiled(11, 0xff), ErrorCode::INVALID_RECORD),
        ("no records", Bytes::new(), ErrorCode::INVALID_RECORD),
        ("two batches", two.into(), ErrorCode::INVALID_RECORD),
        ("zeros behind", [&good().bytes()[..], &[0; 20]].concat().into(), ErrorCode::CORRUPT_MESSAGE),
        ("negative offsets", with(&|batch| batch.header.last_offset_delta = -5), ErrorCode::INVALID_RECORD),
        ("record count", with(&|batch| batch.header.record_count = 3), ErrorCode::INVALID_RECORD),
        ("offset delta", with(&|batch| batch.header.last_offset_delta = 5), ErrorCode::INVALID_RECORD),
        ("base offset", with(&|batch| batch.header.base_offset = 5), ErrorCode::INVALID_RECORD),
        ("unknown codec", with(&|batch| batch.header.attributes = Attributes(7)), ErrorCode::UNKNOWN_SERVER_ERROR),
        ("not compressed", with(&|batch| batch.header.attributes = Attributes(1)), ErrorCode::UNKNOWN_SERVER_ERROR),
        (
            "control",
            with(&|batch| batch.header.attributes = batch.header.attributes.with_control()),
            ErrorCode::INVALID_RECORD,
        ),
        (
            "transactional",
            with(&|batch| batch.header.attributes = batch.header.attributes.with_transactional()),
            ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        ),
        ("no sequence", good().by(5, 0, -1).bytes(), ErrorCode::INVALID_RECORD),
        ("too large", TestBatch::new(&[&long]).bytes(), ErrorCode::MESSAGE_TOO_LARGE),
        ("in two hours", good().at_time(WALL_START + 7_200_000).bytes(), ErrorCode::INVALID_TIMESTAMP),
    ];
    for (name, bytes, code) in cases {
        let answer = rig.produce(-1, bytes);
        assert_eq!((answer.error_code, answer.base_offset), (code, -1), "{name}");
    }
    assert_eq!(rig.produce(5, good().bytes()).error_code, ErrorCode::INVALID_REQUIRED_ACKS);
    assert_eq!(rig.core.log_end("t", 0), Some(0));
}

#[test]
fn zstd_needs_version_7() {
    let mut rig = Rig::with_topic(&[]);
    let leader = rig.leader();
    for (version, code) in [(6, ErrorCode::UNSUPPORTED_COMPRESSION_TYPE), (7, NONE)] {
        let records = TestBatch::new(&["a"]).compressed(Compression::Zstd).bytes();
        let response = rig.ask(leader, version, &produce("t", 0, 1, records));
        assert_eq!(response.responses[0].partition_responses[0].error_code, code);
    }
}

#[test]
fn a_compacted_topic_names_the_records_without_key() {
    let mut rig = Rig::with_topic(&[("cleanup.policy", "compact")]);
    let answer = rig.produce(-1, TestBatch::keyed(&[(Some("k"), "a"), (None, "b")]).bytes());
    assert_eq!(answer.error_code, ErrorCode::INVALID_RECORD);
    assert_eq!(answer.record_errors.iter().map(|error| error.batch_index).collect::<Vec<_>>(), [1]);
}

#[test]
fn the_broker_sets_time_and_codec_where_the_topic_says_so() {
    let mut rig = Rig::with_topic(&[("message.timestamp.type", "LogAppendTime"), ("compression.type", "gzip")]);
    rig.at(5);
    let answer = rig.produce(-1, TestBatch::new(&["a", "b"]).at_time(1).bytes());
    assert_eq!((answer.error_code, answer.log_append_time_ms), (NONE, WALL_START + 5));
    let records = rig.core.records("t", 0).unwrap();
    assert!(records.iter().all(|record| record.timestamp == WALL_START + 5));
    let data = rig.fetch(0);
    let batch = milena_protocol::records::Batches::new(data.records.unwrap().into_bytes()).next().unwrap().unwrap();
    assert!(batch.has_valid_crc());
    assert_eq!(batch.header().attributes.compression(), Some(Compression::Gzip));
}

#[test]
fn a_repeated_batch_is_written_once() {
    let mut rig = Rig::with_topic(&[]);
    for sequence in 0..5 {
        let answer = rig.produce(-1, TestBatch::new(&[&sequence.to_string()]).by(9, 0, sequence).bytes());
        assert_eq!((answer.error_code, answer.base_offset), (NONE, i64::from(sequence)));
    }
    let again = rig.produce(-1, TestBatch::new(&["0"]).by(9, 0, 0).bytes());
    assert_eq!((again.error_code, again.base_offset), (NONE, 0), "its old offset");
    let gap = rig.produce(-1, TestBatch::new(&["x"]).by(9, 0, 6).bytes());
    assert_eq!(gap.error_code, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    rig.produce(-1, TestBatch::new(&["5"]).by(9, 0, 5).bytes());
    let too_old = rig.produce(-1, TestBatch::new(&["0"]).by(9, 0, 0).bytes());
    assert_eq!(too_old.error_code, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    let fresh = rig.produce(-1, TestBatch::new(&["6"]).by(9, 1, 0).bytes());
    assert_eq!(fresh.error_code, NONE);
    let fenced = rig.produce(-1, TestBatch::new(&["7"]).by(9, 0, 6).bytes());
    assert_eq!(fenced.error_code, ErrorCode::INVALID_PRODUCER_EPOCH);
    assert_eq!(rig.values(), ["0", "1", "2", "3", "4", "5", "6"]);
}

#[test]
fn a_new_leader_knows_the_producers() {
    let mut rig = Rig::with_topic(&[]);
    rig.produce(-1, TestBatch::new(&["a"]).by(9, 0, 0).bytes());
    let leader = rig.leader();
    rig.act(|core, now| core.crash(now, leader));
    let again = rig.produce(-1, TestBatch::new(&["a"]).by(9, 0, 0).bytes());
    assert_eq!((again.error_code, again.base_offset), (NONE, 0));
    assert_eq!(rig.values(), ["a"]);
}

#[test]
fn producer_ids_are_unique_across_brokers_and_restarts() {
    let mut rig = Rig::new();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        for broker in 1..=3 {
            let response = rig.ask(broker, 5, &InitProducerIdRequest { transactional_id: None, ..Default::default() });
            assert_eq!((response.error_code, response.producer_epoch), (NONE, 0));
            assert!(seen.insert(response.producer_id));
        }
        rig.act(|core, now| core.crash(now, 2));
        rig.act(|core, now| core.restart(now, 2));
    }
    let request = InitProducerIdRequest { transactional_id: Some(String::new()), ..Default::default() };
    assert_eq!(rig.ask(1, 5, &request).error_code, ErrorCode::INVALID_REQUEST);
    let request = InitProducerIdRequest { transactional_id: None, producer_id: 4, ..Default::default() };
    assert_eq!(rig.ask(1, 5, &request).error_code, ErrorCode::INVALID_REQUEST);
}

#[test]
fn too_few_in_sync_replicas_refuse_acks_all_only() {
    let mut rig = Rig::with_topic(&[("min.insync.replicas", "2")]);
    rig.produce(-1, TestBatch::new(&["a"]).bytes());
    let leader = rig.leader();
    for broker in (1..=3).filter(|broker| *broker != leader) {
        rig.act(|core, now| core.crash(now, broker));
    }
    assert_eq!(rig.core.isr("t", 0), Some(vec![leader]));
    assert_eq!(rig.produce(-1, TestBatch::new(&["b"]).bytes()).error_code, ErrorCode::NOT_ENOUGH_REPLICAS);
    assert_eq!(rig.produce(1, TestBatch::new(&["c"]).bytes()).error_code, NONE);
    assert_eq!(rig.values(), ["a"], "the high watermark waits for the second replica");
    let back = (1..=3).find(|broker| *broker != leader).unwrap();
    rig.act(|core, now| core.restart(now, back));
    assert_eq!(rig.values(), ["a", "c"]);
    assert_eq!(rig.produce(-1, TestBatch::new(&["d"]).bytes()).error_code, NONE);
}

/// A batch written under acks=1 while the ISR was too small holds up those behind it.
fn stalled() -> (Rig, i32, ProduceRequest) {
    let mut rig = Rig::with(Settings { min_insync_replicas: 2, ..settings() });
    rig.create("t", 1, &[]);
    let leader = rig.leader();
    rig.produce(1, TestBatch::new(&["a"]).by(9, 0, 0).bytes());
    for broker in (1..=3).filter(|broker| *broker != leader) {
        rig.act(|core, now| core.crash(now, broker));
    }
    rig.produce(1, TestBatch::new(&["b"]).by(9, 0, 1).bytes());
    let request = produce("t", 0, 1, TestBatch::new(&["b"]).by(9, 0, 1).bytes());
    (rig, leader, request)
}

#[test]
fn a_leader_that_lost_its_followers_goes_on_with_acks_1() {
    let (mut rig, leader, again) = stalled();
    let response = rig.ask(leader, PRODUCE, &again);
    assert_eq!(response.responses[0].partition_responses[0].base_offset, 1);
    assert_eq!(rig.core.high_watermark("t", 0), Some(1));
    assert_eq!(rig.core.log_end("t", 0), Some(2));
}

#[test]
fn the_wrong_broker_names_the_right_one() {
    let mut rig = Rig::with_topic(&[]);
    let leader = rig.leader();
    let other = (1..=3).find(|broker| *broker != leader).unwrap();
    let response = rig.ask(other, PRODUCE, &produce("t", 0, -1, TestBatch::new(&["a"]).bytes()));
    let answer = &response.responses[0].partition_responses[0];
    assert_eq!(answer.error_code, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    assert_eq!((answer.current_leader.leader_id, answer.current_leader.leader_epoch), (leader, 0));
    assert_eq!(response.node_endpoints.len(), 1);
    assert_eq!(
        (response.node_endpoints[0].node_id, response.node_endpoints[0].host.as_str()),
        (leader, &*format!("b{leader}"))
    );
}

#[test]
fn topic_ids_and_unknown_places() {
    let mut rig = Rig::with_topic(&[]);
    let leader = rig.leader();
    let id = rig.core.controller.topic("t").unwrap().id;
    let mut request = produce("", 0, -1, TestBatch::new(&["a"]).bytes());
    request.topic_data[0].topic_id = id;
    assert_eq!(rig.ask(leader, 13, &request).responses[0].partition_responses[0].error_code, NONE);
    rig.act(|core, now| core.recreate_topic(now, "t")).unwrap();
    let leader = rig.leader();
    let code = rig.ask(leader, 13, &request).responses[0].partition_responses[0].error_code;
    assert_eq!(code, ErrorCode::UNKNOWN_TOPIC_ID);
    for (topic, index) in [("nowhere", 0), ("t", 1), ("t", -1)] {
        let response = rig.ask(leader, PRODUCE, &produce(topic, index, -1, TestBatch::new(&["a"]).bytes()));
        let code = response.responses[0].partition_responses[0].error_code;
        assert_eq!(code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
    rig.create("__consumer_offsets", 1, &[]);
    let response = rig.ask(1, PRODUCE, &produce("__consumer_offsets", 0, -1, TestBatch::new(&["a"]).bytes()));
    assert_eq!(response.responses[0].partition_responses[0].error_code, ErrorCode::INVALID_TOPIC_EXCEPTION);
}
