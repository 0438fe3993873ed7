//! Incremental fetch sessions. Pure.

use milena_protocol::ErrorCode;
use milena_protocol::messages::fetch::{FetchRequest, FetchResponse, ForgottenTopic};

use super::rig::{FETCH, Rig, TestBatch, fetch, produce, values_by_partition};

/// Topic `t` with three partitions, all led by broker 1.
fn rig() -> Rig {
    let mut rig = Rig::new();
    rig.create("t", 3, &[]);
    for partition in 0..3 {
        rig.act(|core, now| core.elect(now, "t", partition, 1)).unwrap();
    }
    rig
}

fn write(rig: &mut Rig, partition: i32, value: &str) {
    rig.ask(1, 12, &produce("t", partition, 1, TestBatch::new(&[value]).bytes()));
}

fn go_on(rig: &mut Rig, session_id: i32, session_epoch: i32, changed: &[(i32, i64)]) -> FetchResponse {
    let mut request = FetchRequest { session_id, session_epoch, ..fetch("t", changed, 0) };
    request.topics.retain(|topic| !topic.partitions.is_empty());
    rig.ask(1, FETCH, &request)
}

/// A session on all partitions from offset 0.
fn open(rig: &mut Rig) -> i32 {
    let request = FetchRequest { session_epoch: 0, ..fetch("t", &[(0, 0), (1, 0), (2, 0)], 0) };
    let response = rig.ask(1, FETCH, &request);
    assert_eq!(values_by_partition(&response).len(), 3, "the first answer has all partitions");
    assert!(response.session_id > 0);
    response.session_id
}

#[test]
fn only_news_are_answered() {
    let mut rig = rig();
    let session = open(&mut rig);
    assert!(go_on(&mut rig, session, 1, &[]).responses.is_empty());
    write(&mut rig, 1, "a");
    let response = go_on(&mut rig, session, 2, &[]);
    assert_eq!(response.session_id, session);
    assert_eq!(values_by_partition(&response), [(1, vec!["a".to_owned()])]);
    // Moved on by the client.
    assert!(go_on(&mut rig, session, 3, &[(1, 1)]).responses.is_empty());
}

#[test]
fn partitions_that_gave_records_come_last_next_time() {
    let mut rig = rig();
    let session = open(&mut rig);
    write(&mut rig, 0, "a");
    go_on(&mut rig, session, 1, &[]);
    for partition in 0..3 {
        write(&mut rig, partition, "b");
    }
    let response = go_on(&mut rig, session, 2, &[(0, 1)]);
    let order: Vec<i32> = values_by_partition(&response).iter().map(|(partition, _)| *partition).collect();
    assert_eq!(order, [1, 2, 0]);
}

#[test]
fn forgotten_partitions_are_gone() {
    let mut rig = rig();
    let session = open(&mut rig);
    write(&mut rig, 0, "a");
    write(&mut rig, 1, "b");
    let forgotten = ForgottenTopic { topic: "t".to_owned(), partitions: vec![0], ..Default::default() };
    let request = FetchRequest {
        session_id: session,
        session_epoch: 1,
        topics: Vec::new(),
        forgotten_topics_data: vec![forgotten],
        ..fetch("t", &[], 0)
    };
    let response = rig.ask(1, FETCH, &request);
    assert_eq!(values_by_partition(&response), [(1, vec!["b".to_owned()])]);
}

#[test]
fn an_error_is_repeated_until_it_is_over() {
    let mut rig = rig();
    let session = open(&mut rig);
    for epoch in [1, 2] {
        let response = go_on(&mut rig, session, epoch, &[(2, 99)]);
        assert_eq!(response.responses[0].partitions[0].error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
    }
    let response = go_on(&mut rig, session, 3, &[(2, 0)]);
    assert_eq!(response.responses[0].partitions[0].error_code, ErrorCode::NONE, "that it is over is news");
    assert!(go_on(&mut rig, session, 4, &[]).responses.is_empty());
}

#[test]
fn wrong_ids_and_epochs_are_refused_and_final_epochs_close() {
    let mut rig = rig();
    let session = open(&mut rig);
    assert_eq!(go_on(&mut rig, session + 1, 1, &[]).error_code, ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
    assert_eq!(go_on(&mut rig, session, 2, &[]).error_code, ErrorCode::INVALID_FETCH_SESSION_EPOCH);
    let by_id = FetchRequest { session_id: session, session_epoch: 1, topics: Vec::new(), ..fetch("t", &[], 0) };
    assert_eq!(rig.ask(1, 13, &by_id).error_code, ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
    assert_eq!(go_on(&mut rig, session, -1, &[]).session_id, 0);
    assert_eq!(go_on(&mut rig, session, 1, &[]).error_code, ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
}

#[test]
fn sessions_outlive_connections_but_not_crashes() {
    let mut rig = rig();
    let session = open(&mut rig);
    rig.act(|core, _| core.on_disconnect(1));
    assert_eq!(go_on(&mut rig, session, 1, &[]).error_code, ErrorCode::NONE);
    rig.act(|core, now| core.crash(now, 1));
    rig.act(|core, now| core.restart(now, 1));
    assert_eq!(go_on(&mut rig, session, 2, &[]).error_code, ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
}

#[test]
fn a_full_cache_makes_room_only_for_the_forgotten() {
    let mut rig = rig();
    let sessions: Vec<i32> = (0..1000).map(|_| open(&mut rig)).collect();
    let request = FetchRequest { session_epoch: 0, ..fetch("t", &[(0, 0)], 0) };
    assert_eq!(rig.ask(1, FETCH, &request).session_id, 0, "no room, so no session");
    rig.at(120_000);
    assert!(rig.ask(1, FETCH, &request).session_id > 0);
    assert_eq!(sessions.iter().collect::<std::collections::BTreeSet<_>>().len(), 1000);
}
