//! Fetch, ListOffsets, OffsetForLeaderEpoch: what a consumer sees, and when. Pure.

use std::time::Duration;

use milena_protocol::ErrorCode;
use milena_protocol::messages::fetch::{FetchRequest, FetchTopic};
use milena_protocol::messages::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use milena_protocol::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};

use super::rig::{FETCH, NONE, Rig, TestBatch, WALL_START, fetch, values_by_partition, values_in};

#[test]
fn a_fetch_waits_until_max_wait_and_no_longer() {
    let mut rig = Rig::with_topic(&[]);
    rig.at(100);
    let leader = rig.leader();
    let ticket = rig.send(leader, FETCH, &fetch("t", &[(0, 0)], 500));
    assert_eq!(rig.core.next_deadline(), Some(Duration::from_millis(600)));
    rig.at(599);
    assert!(rig.outcome(ticket).is_none());
    rig.at(600);
    let response = rig.answer::<FetchRequest>(ticket, FETCH).unwrap();
    assert!(response.responses[0].partitions[0].records.as_ref().unwrap().is_empty());
    assert_eq!(rig.core.next_deadline(), None);
}

#[test]
fn a_fetch_wakes_when_there_is_enough() {
    let mut rig = Rig::with_topic(&[]);
    let leader = rig.leader();
    let one = TestBatch::new(&["a"]).bytes().len();
    let request = FetchRequest { min_bytes: i32::try_from(one).unwrap() + 1, ..fetch("t", &[(0, 0)], 500) };
    let ticket = rig.send(leader, FETCH, &request);
    rig.at(10);
    rig.produce(1, TestBatch::new(&["a"]).bytes());
    assert!(rig.outcome(ticket).is_none());
    rig.at(20);
    rig.produce(1, TestBatch::new(&["b"]).bytes());
    let response = rig.answer::<FetchRequest>(ticket, FETCH).unwrap();
    assert_eq!(values_in(&response.responses[0].partitions[0]), ["a", "b"]);
}

#[test]
fn a_fetch_that_waits_learns_of_errors_at_once() {
    type Change = fn(&mut crate::core::Core, Duration);
    let changes: [(&str, Change, ErrorCode); 2] = [
        ("deleted", |core, now| core.delete_topic(now, "t").unwrap(), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (
            "elected",
            |core, now| {
                let leader = core.leader("t", 0).unwrap().0;
                core.elect(now, "t", 0, 1 + leader % 3).unwrap();
            },
            ErrorCode::FENCED_LEADER_EPOCH,
        ),
    ];
    for (name, change, code) in changes {
        let mut rig = Rig::with_topic(&[]);
        let leader = rig.leader();
        let mut request = fetch("t", &[(0, 0)], 500);
        request.topics[0].partitions[0].current_leader_epoch = 0;
        let ticket = rig.send(leader, FETCH, &request);
        rig.act(change);
        let response = rig.answer::<FetchRequest>(ticket, FETCH).unwrap();
        assert_eq!(response.responses[0].partitions[0].error_code, code, "{name}");
    }
}

#[test]
fn limits_cut_the_tail_but_never_the_first_batch() {
    let mut rig = Rig::with_topic(&[]);
    for value in ["a", "b", "c"] {
        rig.produce(1, TestBatch::new(&[value]).bytes());
    }
    let leader = rig.leader();
    let one = i32::try_from(TestBatch::new(&["a"]).bytes().len()).unwrap();
    let size = |rig: &mut Rig, partition_max_bytes: i32, max_bytes: i32| {
        let mut request = FetchRequest { max_bytes, ..fetch("t", &[(0, 0)], 0) };
        request.topics[0].partitions[0].partition_max_bytes = partition_max_bytes;
        let response = rig.ask(leader, FETCH, &request);
        i32::try_from(response.responses[0].partitions[0].records.as_ref().unwrap().len()).unwrap()
    };
    assert_eq!(size(&mut rig, 1, 1000), one);
    assert_eq!(size(&mut rig, 1000, 1), one);
    assert_eq!(size(&mut rig, 0, 0), one);
    assert_eq!(size(&mut rig, one + 10, 1000), one + 10, "as in Kafka, a part of the next one");
    assert_eq!(size(&mut rig, 1000, 1000), 3 * one);
}

#[test]
fn the_first_partitions_use_up_the_limit() {
    let mut rig = Rig::new();
    rig.create("t", 3, &[]);
    // All three on one broker.
    for partition in 0..3 {
        rig.act(|core, now| core.elect(now, "t", partition, 1)).unwrap();
        rig.ask(1, 12, &super::rig::produce("t", partition, 1, TestBatch::new(&["a"]).bytes()));
    }
    let one = i32::try_from(TestBatch::new(&["a"]).bytes().len()).unwrap();
    let request = FetchRequest { max_bytes: one + 10, ..fetch("t", &[(2, 0), (0, 0), (1, 0)], 0) };
    let values = values_by_partition(&rig.ask(1, FETCH, &request));
    assert_eq!(values, [(2, vec!["a".to_owned()]), (0, vec![]), (1, vec![])]);
}

#[test]
fn offsets_outside_of_the_log_and_other_epochs_are_refused() {
    let mut rig = Rig::with_topic(&[]);
    rig.produce(1, TestBatch::new(&["a"]).bytes());
    assert_eq!(rig.fetch(1).error_code, NONE);
    assert_eq!(rig.fetch(2).error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
    assert_eq!(rig.fetch(-1).error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
    let leader = rig.leader();
    rig.act(|core, now| core.elect(now, "t", 0, 1 + leader % 3)).unwrap();
    let leader = rig.leader();
    for (epoch, code) in [(0, ErrorCode::FENCED_LEADER_EPOCH), (1, NONE), (2, ErrorCode::UNKNOWN_LEADER_EPOCH)] {
        let mut request = fetch("t", &[(0, 0)], 0);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        let response = rig.ask(leader, FETCH, &request);
        assert_eq!(response.responses[0].partitions[0].error_code, code);
    }
}

#[test]
fn followers_answer_consumers_from_version_11_on() {
    let mut rig = Rig::with_topic(&[]);
    rig.produce(1, TestBatch::new(&["a"]).bytes());
    let follower = 1 + rig.leader() % 3;
    let old = rig.ask(follower, 10, &fetch("t", &[(0, 0)], 0));
    assert_eq!(old.responses[0].partitions[0].error_code, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    let new = rig.ask(follower, 11, &fetch("t", &[(0, 0)], 0));
    assert_eq!(values_in(&new.responses[0].partitions[0]), ["a"]);
}

#[test]
fn an_old_leader_names_the_new_one() {
    let mut rig = Rig::with_topic(&[]);
    let old = rig.leader();
    let new = 1 + old % 3;
    rig.act(|core, now| core.elect(now, "t", 0, new)).unwrap();
    let mut request = fetch("", &[(0, 0)], 0);
    request.topics[0].topic_id = rig.core.controller.topic("t").unwrap().id;
    request.topics[0].partitions[0].current_leader_epoch = 0;
    let response = rig.ask(old, 16, &request);
    let data = &response.responses[0].partitions[0];
    assert_eq!(data.error_code, ErrorCode::FENCED_LEADER_EPOCH);
    assert_eq!((data.current_leader.leader_id, data.current_leader.leader_epoch), (new, 1));
    assert_eq!(response.node_endpoints[0].node_id, new);
    request
        .topics
        .push(FetchTopic { topic_id: milena_protocol::primitives::Uuid([1; 16]), ..request.topics[0].clone() });
    let response = rig.ask(new, 16, &request);
    assert_eq!(response.responses[1].partitions[0].error_code, ErrorCode::UNKNOWN_TOPIC_ID);
}

#[test]
fn a_consumer_whose_log_diverged_is_told_where() {
    let mut rig = Rig::with_topic(&[]);
    rig.produce(1, TestBatch::new(&["a"]).bytes());
    let leader = rig.leader();
    rig.act(|core, now| core.elect(now, "t", 0, 1 + leader % 3)).unwrap();
    rig.produce(1, TestBatch::new(&["b"]).bytes());
    let leader = rig.leader();
    // It says that it has read offset 1 in epoch 0, which ended at 1.
    let mut request = fetch("t", &[(0, 2)], 500);
    request.topics[0].partitions[0].last_fetched_epoch = 0;
    let response = rig.ask(leader, FETCH, &request);
    let data = &response.responses[0].partitions[0];
    assert_eq!((data.diverging_epoch.epoch, data.diverging_epoch.end_offset), (0, 1));

    let ends = |rig: &mut Rig, leader_epoch: i32| {
        let partition = OffsetForLeaderPartition { partition: 0, current_leader_epoch: 1, leader_epoch };
        let topic = OffsetForLeaderTopic { topic: "t".to_owned(), partitions: vec![partition] };
        let response = rig.ask(leader, 4, &OffsetForLeaderEpochRequest { topics: vec![topic], ..Default::default() });
        let end = &response.topics[0].partitions[0];
        (end.error_code, end.leader_epoch, end.end_offset)
    };
    assert_eq!(ends(&mut rig, 0), (NONE, 0, 1));
    assert_eq!(ends(&mut rig, 1), (NONE, 1, 2));
    assert_eq!(ends(&mut rig, 2), (NONE, -1, -1));
}

fn position(rig: &mut Rig, version: i16, timestamp: i64) -> (ErrorCode, i64, i64, i32) {
    let leader = rig.leader();
    let partition = ListOffsetsPartition { partition_index: 0, timestamp, ..Default::default() };
    let topic = ListOffsetsTopic { name: "t".to_owned(), partitions: vec![partition] };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    let response = rig.ask(leader, version, &request);
    let found = &response.topics[0].partitions[0];
    (found.error_code, found.timestamp, found.offset, found.leader_epoch)
}

#[test]
fn positions_by_name_and_by_time() {
    let mut rig = Rig::with_topic(&[]);
    assert_eq!(position(&mut rig, 11, -1), (NONE, -1, 0, 0));
    assert_eq!(position(&mut rig, 11, -3), (NONE, -1, -1, -1));
    // Times 10, 11, then 30, then 20.
    for (values, time) in [(&["a", "b"][..], 10), (&["c"], 30), (&["d"], 20)] {
        rig.produce(1, TestBatch::new(values).at_time(WALL_START + time).bytes());
    }
    assert_eq!(position(&mut rig, 11, -1), (NONE, -1, 4, 0));
    assert_eq!(position(&mut rig, 11, -2), (NONE, -1, 0, 0));
    assert_eq!(position(&mut rig, 11, -3), (NONE, WALL_START + 30, 2, 0));
    assert_eq!(position(&mut rig, 11, -4), (NONE, -1, 0, 0));
    assert_eq!(position(&mut rig, 11, -5), (NONE, -1, -1, -1));
    assert_eq!(position(&mut rig, 11, -6), (NONE, -1, -1, -1));
    for (time, found) in [(0, (10, 0)), (11, (11, 1)), (12, (30, 2)), (25, (30, 2)), (30, (30, 2))] {
        let expected = (NONE, WALL_START + found.0, found.1, 0);
        assert_eq!(position(&mut rig, 11, WALL_START + time), expected, "at {time}");
    }
    assert_eq!(position(&mut rig, 11, WALL_START + 31), (NONE, -1, -1, -1));
    for (version, timestamp) in [(6, -3), (7, -4), (8, -5), (10, -6), (11, -7)] {
        assert_eq!(position(&mut rig, version, timestamp).0, ErrorCode::UNSUPPORTED_VERSION);
    }
}

#[test]
fn the_epoch_of_a_position_is_its_records() {
    let mut rig = Rig::with_topic(&[]);
    rig.produce(1, TestBatch::new(&["a"]).at_time(WALL_START).bytes());
    let leader = rig.leader();
    rig.act(|core, now| core.elect(now, "t", 0, 1 + leader % 3)).unwrap();
    assert_eq!(position(&mut rig, 11, WALL_START).3, 0);
    assert_eq!(position(&mut rig, 11, -1).3, 1);
    assert_eq!(position(&mut rig, 11, -2).3, 0);
}
