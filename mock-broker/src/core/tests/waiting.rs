//! Acknowledgements that wait for followers. Pure.
//!
//! A follower is frozen and the controller has not noticed yet: the leader waits for it.

use std::time::Duration;

use milena_protocol::ErrorCode;
use milena_protocol::messages::find_coordinator::FindCoordinatorRequest;
use milena_protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use milena_protocol::messages::produce::ProduceRequest;

use super::rig::{NONE, PRODUCE, Rig, TestBatch, produce};
use crate::core::Ticket;
use crate::core::controller::PartitionId;

/// Leader and a frozen follower.
fn freeze_a_follower(rig: &mut Rig, id: PartitionId) -> (i32, i32) {
    let leader = rig.core.controller.partition(id).unwrap().leader;
    let follower = 1 + leader % 3;
    rig.act(|core, now| core.freeze(now, follower));
    (leader, follower)
}

fn waiting() -> (Rig, i32, i32, Ticket) {
    let mut rig = Rig::with_topic(&[]);
    let id = rig.core.partition_id("t", 0).unwrap();
    let (leader, follower) = freeze_a_follower(&mut rig, id);
    let ticket = rig.send(leader, PRODUCE, &produce("t", 0, -1, TestBatch::new(&["a"]).bytes()));
    assert!(rig.outcome(ticket).is_none());
    assert!(rig.values().is_empty(), "not visible before all have it");
    assert_eq!(rig.core.next_deadline(), Some(Duration::from_secs(1)));
    (rig, follower, leader, ticket)
}

fn code(rig: &mut Rig, ticket: Ticket) -> Option<ErrorCode> {
    let response = rig.answer::<ProduceRequest>(ticket, PRODUCE)?;
    Some(response.responses[0].partition_responses[0].error_code)
}

#[test]
fn an_acknowledgement_comes_when_the_isr_has_the_records() {
    let (mut rig, follower, _, ticket) = waiting();
    rig.at(500);
    rig.act(|core, now| core.thaw(now, follower));
    assert_eq!(code(&mut rig, ticket), Some(NONE));
    assert_eq!(rig.values(), ["a"]);
    assert_eq!(rig.core.next_deadline(), Some(Duration::from_secs(7 * 24 * 3600 + 300)), "only the retention's");
}

#[test]
fn an_acknowledgement_times_out_after_the_append() {
    let (mut rig, follower, _, ticket) = waiting();
    rig.at(999);
    assert_eq!(code(&mut rig, ticket), None);
    rig.at(1000);
    assert_eq!(code(&mut rig, ticket), Some(ErrorCode::REQUEST_TIMED_OUT));
    rig.act(|core, now| core.thaw(now, follower));
    assert_eq!(rig.values(), ["a"], "it is written all the same");
}

#[test]
fn a_duplicate_waits_like_the_first() {
    let mut rig = Rig::with_topic(&[]);
    let id = rig.core.partition_id("t", 0).unwrap();
    let (leader, follower) = freeze_a_follower(&mut rig, id);
    let request = produce("t", 0, -1, TestBatch::new(&["a"]).by(9, 0, 0).bytes());
    let (first, second) = (rig.send(leader, PRODUCE, &request), rig.send(leader, PRODUCE, &request));
    assert_eq!(code(&mut rig, second), None);
    rig.act(|core, now| core.thaw(now, follower));
    assert_eq!((code(&mut rig, first), code(&mut rig, second)), (Some(NONE), Some(NONE)));
    assert_eq!(rig.values(), ["a"]);
}

#[test]
fn a_leader_that_is_replaced_cannot_acknowledge() {
    let (mut rig, _, leader, ticket) = waiting();
    let other = (1..=3).find(|broker| *broker != leader && rig.core.is_up(*broker)).unwrap();
    rig.act(|core, now| core.elect(now, "t", 0, other)).unwrap();
    assert_eq!(code(&mut rig, ticket), Some(ErrorCode::NOT_LEADER_OR_FOLLOWER));
}

#[test]
fn a_deleted_topic_cannot_acknowledge() {
    let (mut rig, _, _, ticket) = waiting();
    rig.act(|core, now| core.delete_topic(now, "t")).unwrap();
    assert_eq!(code(&mut rig, ticket), Some(ErrorCode::NOT_LEADER_OR_FOLLOWER));
}

#[test]
fn offset_commits_wait_too() {
    for expires in [false, true] {
        let mut rig = Rig::with_topic(&[]);
        rig.ask(1, 3, &FindCoordinatorRequest { key: "g".to_owned(), ..Default::default() });
        let id = rig.core.partition_for_key("__consumer_offsets", "g").unwrap();
        let (leader, follower) = freeze_a_follower(&mut rig, id);
        let partition = OffsetCommitRequestPartition { committed_offset: 5, ..Default::default() };
        let topic =
            OffsetCommitRequestTopic { name: "t".to_owned(), partitions: vec![partition], ..Default::default() };
        let request = OffsetCommitRequest { group_id: "g".to_owned(), topics: vec![topic], ..Default::default() };
        let ticket = rig.send(leader, 9, &request);
        assert!(rig.outcome(ticket).is_none());
        assert_eq!(rig.core.committed("g", "t", 0), None);
        let expected = if expires {
            rig.at(5000);
            ErrorCode::COORDINATOR_NOT_AVAILABLE
        } else {
            rig.act(|core, now| core.thaw(now, follower));
            assert_eq!(rig.core.committed("g", "t", 0), Some(5));
            NONE
        };
        let response = rig.answer::<OffsetCommitRequest>(ticket, 9).unwrap();
        assert_eq!(response.topics[0].partitions[0].error_code, expected);
    }
}
