//! Fetch sessions (KIP-227): incremental requests and answers.

use milena_protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic, ForgottenTopic};
use milena_protocol::primitives::Uuid;
use milena_tests::raw::{RawBatch, RawConnection, fetch, produce};

use crate::golden::probes;
use crate::script::Script;

probes! {
    a_session_answers_only_what_changed
    a_forgotten_partition_is_not_answered
    an_unknown_session_is_refused
    a_wrong_session_epoch_is_refused
    a_closed_session_is_gone
    a_full_request_replaces_its_session
    a_partition_with_an_error_is_answered_again
    a_partition_may_be_added_and_changed
    a_session_of_names_takes_no_ids
    a_deleted_topic_turns_up_in_its_session
    a_session_epoch_of_minus_1_makes_none
    a_session_of_an_unknown_topic_id
}

const FETCH: i16 = 12;

async fn filled(p: &Script<'_>) -> (String, RawConnection) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    write(p, &mut leader, &topic).await;
    (topic, leader)
}

async fn write(p: &Script<'_>, leader: &mut RawConnection, topic: &str) {
    leader.ask(9, &produce(topic, 0, RawBatch::of(["a"]).at(p.base_ms, 0))).await;
}

/// Begins a session.
async fn begin(p: &Script<'_>, leader: &mut RawConnection, request: FetchRequest) -> i32 {
    let answer = p.ask("begin", leader, FETCH, &FetchRequest { session_id: 0, session_epoch: 0, ..request }).await;
    answer.session_id
}

fn next(session_id: i32, session_epoch: i32) -> FetchRequest {
    FetchRequest { session_id, session_epoch, ..Default::default() }
}

async fn a_session_answers_only_what_changed(p: &Script<'_>) {
    let (topic, mut leader) = filled(p).await;
    let session = begin(p, &mut leader, fetch(&topic, 0, 0)).await;
    p.ask("the offset stays", &mut leader, FETCH, &next(session, 1)).await;
    let request = FetchRequest { topics: fetch(&topic, 0, 1).topics, ..next(session, 2) };
    p.ask("to the end", &mut leader, FETCH, &request).await;
    p.ask("nothing new", &mut leader, FETCH, &next(session, 3)).await;
    write(p, &mut leader, &topic).await;
    p.ask("a record", &mut leader, FETCH, &next(session, 4)).await;
    p.ask("again", &mut leader, FETCH, &next(session, 5)).await;
}

async fn a_forgotten_partition_is_not_answered(p: &Script<'_>) {
    let (topic, mut leader) = filled(p).await;
    let session = begin(p, &mut leader, fetch(&topic, 0, 0)).await;
    let forget =
        |partition| vec![ForgottenTopic { topic: topic.clone(), partitions: vec![partition], ..Default::default() }];
    let request = FetchRequest { forgotten_topics_data: forget(0), ..next(session, 1) };
    p.ask("forget", &mut leader, FETCH, &request).await;
    p.ask("nothing is left", &mut leader, FETCH, &next(session, 2)).await;
    let request = FetchRequest { forgotten_topics_data: forget(7), ..next(session, 3) };
    p.ask("forget what was not there", &mut leader, FETCH, &request).await;
}

async fn an_unknown_session_is_refused(p: &Script<'_>) {
    let (topic, mut leader) = filled(p).await;
    let request = FetchRequest { topics: fetch(&topic, 0, 0).topics, ..next(123_456_789, 1) };
    for version in [7, 12] {
        p.ask(&format!("v{version}"), &mut leader, version, &request).await;
    }
    p.ask("epoch 0 of an unknown session", &mut leader, FETCH, &FetchRequest { session_epoch: 0, ..request.clone() })
        .await;
    p.ask("closing it", &mut leader, FETCH, &FetchRequest { session_epoch: -1, ..request.clone() }).await;
    p.ask("no id, epoch 3", &mut leader, FETCH, &FetchRequest { session_id: 0, session_epoch: 3, ..request }).await;
}

async fn a_wrong_session_epoch_is_refused(p: &Script<'_>) {
    let (topic, mut leader) = filled(p).await;
    let session = begin(p, &mut leader, fetch(&topic, 0, 0)).await;
    for epoch in [2, 1, 1, 2, -2] {
        p.ask(&format!("epoch {epoch}"), &mut leader, FETCH, &next(session, epoch)).await;
    }
}

async fn a_closed_session_is_gone(p: &Script<'_>) {
    let (topic, mut leader) = filled(p).await;
    let session = begin(p, &mut leader, fetch(&topic, 0, 0)).await;
    p.ask("close", &mut leader, FETCH, &next(session, -1)).await;
    p.ask("go on", &mut leader, FETCH, &next(session, 1)).await;
    let session = begin(p, &mut leader, fetch(&topic, 0, 0)).await;
    p.ask(
        "close, and read",
        &mut leader,
        FETCH,
        &FetchRequest { topics: fetch(&topic, 0, 0).topics, ..next(session, -1) },
    )
    .await;
}

async fn a_full_request_replaces_its_session(p: &Script<'_>) {
    let (topic, mut leader) = filled(p).await;
    let session = begin(p, &mut leader, fetch(&topic, 0, 0)).await;
    let request = FetchRequest { session_id: session, session_epoch: 0, ..fetch(&topic, 0, 0) };
    p.ask("again", &mut leader, FETCH, &request).await;
    p.ask("the old one", &mut leader, FETCH, &next(session, 1)).await;
}

async fn a_partition_with_an_error_is_answered_again(p: &Script<'_>) {
    let (topic, mut leader) = filled(p).await;
    let session = begin(p, &mut leader, fetch(&topic, 0, 99)).await;
    p.ask("again", &mut leader, FETCH, &next(session, 1)).await;
    p.ask("and again", &mut leader, FETCH, &next(session, 2)).await;
    let request = FetchRequest { topics: fetch(&topic, 0, 1).topics, ..next(session, 3) };
    p.ask("mended", &mut leader, FETCH, &request).await;
    p.ask("quiet", &mut leader, FETCH, &next(session, 4)).await;
    let request = FetchRequest { topics: fetch("no-such-topic", 0, 0).topics, ..next(session, 5) };
    p.ask("an unknown topic", &mut leader, FETCH, &request).await;
    p.ask("still unknown", &mut leader, FETCH, &next(session, 6)).await;
}

async fn a_partition_may_be_added_and_changed(p: &Script<'_>) {
    let (topic, mut leader) = filled(p).await;
    let session = begin(p, &mut leader, FetchRequest { topics: vec![], ..fetch(&topic, 0, 0) }).await;
    // Kafka makes no session without partitions.
    p.ask("empty", &mut leader, FETCH, &next(session.max(1), 1)).await;
    let session = begin(p, &mut leader, fetch(&topic, 0, 1)).await;
    let other = FetchPartition { partition: 9, ..Default::default() };
    let topics = vec![FetchTopic { topic: topic.clone(), partitions: vec![other], ..Default::default() }];
    p.ask("added", &mut leader, FETCH, &FetchRequest { topics, ..next(session, 1) }).await;
    let request = FetchRequest { topics: fetch(&topic, 0, 0).topics, ..next(session, 2) };
    p.ask("moved back", &mut leader, FETCH, &request).await;
}

async fn a_session_of_names_takes_no_ids(p: &Script<'_>) {
    let (topic, mut leader) = filled(p).await;
    let topic_id = p.cluster.topic_id(&topic).await;
    let session = begin(p, &mut leader, fetch(&topic, 0, 0)).await;
    p.ask("by id", &mut leader, 13, &next(session, 1)).await;

    let mut by_id = FetchRequest { session_epoch: 0, ..fetch(&topic, 0, 0) };
    by_id.topics[0].topic_id = topic_id;
    let session = p.ask("a session of ids", &mut leader, 13, &by_id).await.session_id;
    p.ask("by name", &mut leader, 12, &next(session, 1)).await;
    p.ask("goes on", &mut leader, 13, &next(session, 1)).await;
}

async fn a_deleted_topic_turns_up_in_its_session(p: &Script<'_>) {
    let (topic, mut leader) = filled(p).await;
    let mut by_id = FetchRequest { session_epoch: 0, ..fetch(&topic, 0, 1) };
    by_id.topics[0].topic_id = p.cluster.topic_id(&topic).await;
    let session = p.ask("begin", &mut leader, 13, &by_id).await.session_id;
    p.delete_topic(&topic).await;
    p.ask("deleted", &mut leader, 13, &next(session, 1)).await;
    p.ask("and then", &mut leader, 13, &next(session, 2)).await;
}

async fn a_session_epoch_of_minus_1_makes_none(p: &Script<'_>) {
    let (topic, mut leader) = filled(p).await;
    let request = FetchRequest { session_id: 0, session_epoch: -1, ..fetch(&topic, 0, 0) };
    p.ask("sessionless", &mut leader, FETCH, &request).await;
}

async fn a_session_of_an_unknown_topic_id(p: &Script<'_>) {
    let mut broker = p.cluster.raw(1).await;
    let mut by_id = FetchRequest { session_epoch: 0, ..fetch("", 0, 1) };
    by_id.topics[0].topic_id = Uuid([7; 16]);
    let session = p.ask("begin", &mut broker, 13, &by_id).await.session_id;
    if session > 0 {
        p.ask("again", &mut broker, 13, &next(session, 1)).await;
    }
}
