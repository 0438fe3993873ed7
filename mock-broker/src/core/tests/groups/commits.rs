//! Who may commit offsets, and when. Pure.

use milena_protocol::ErrorCode;

use super::members::{GROUP, GroupRig, commit_request};
use crate::core::GroupState;
use crate::core::tests::rig::NONE;

#[test]
fn members_commit_in_their_generation() {
    let (mut group, ids) = GroupRig::stable(2);
    let generation = group.group().generation;
    assert_eq!(group.commit(generation, &ids[1], 5), NONE);
    assert_eq!(group.rig.core.committed(GROUP, "t", 0), Some(5));
    for (refused, member, code) in [
        (generation - 1, ids[0].as_str(), ErrorCode::ILLEGAL_GENERATION),
        (generation + 1, &ids[0], ErrorCode::ILLEGAL_GENERATION),
        (-1, &ids[0], ErrorCode::ILLEGAL_GENERATION),
        (generation, "nobody", ErrorCode::UNKNOWN_MEMBER_ID),
        (generation, "", ErrorCode::UNKNOWN_MEMBER_ID),
        (-1, "", ErrorCode::UNKNOWN_MEMBER_ID),
    ] {
        assert_eq!(group.commit(refused, member, 9), code, "{refused} {member}");
    }
    assert_eq!(group.rig.core.committed(GROUP, "t", 0), Some(5));
}

#[test]
fn a_commit_before_joining_again_counts_but_not_one_before_the_assignment() {
    let (mut group, ids) = GroupRig::stable(2);
    let generation = group.group().generation;
    let first = group.join(&ids[0]);
    assert_eq!(group.state(), GroupState::PreparingRebalance);
    assert_eq!(group.commit(generation, &ids[1], 6), NONE, "the last chance");
    group.join(&ids[1]);
    let next = group.joined(first).unwrap().generation_id;
    assert_eq!(group.commit(generation, &ids[1], 7), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(group.commit(next, &ids[1], 7), ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(group.rig.core.committed(GROUP, "t", 0), Some(6));
    group.sync_all(&ids);
    assert_eq!(group.commit(next, &ids[1], 8), NONE);
}

#[test]
fn a_commit_is_a_sign_of_life() {
    let (mut group, ids) = GroupRig::stable(1);
    for time in [9_000, 18_000, 27_000] {
        group.rig.at(time);
        assert_eq!(group.commit(1, &ids[0], 5), NONE);
    }
    group.rig.at(36_999);
    assert_eq!(group.ids(), ids);
    group.rig.at(37_000);
    assert_eq!(group.state(), GroupState::Empty);
    assert_eq!(group.commit(2, &ids[0], 6), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(group.commit(-1, "", 6), NONE, "nobody is in the group");
}

#[test]
fn simple_consumers_have_groups_too() {
    let mut group = GroupRig::new();
    assert_eq!(group.commit(-1, "", 3), NONE);
    assert_eq!(group.state(), GroupState::Empty);
    assert_eq!((group.group().protocol_type.as_str(), group.group().generation), ("", 0));
    assert_eq!(group.heartbeat(1, "nobody"), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(group.commit(1, "nobody", 4), ErrorCode::UNKNOWN_MEMBER_ID);
    let ids = group.fill(1);
    assert_eq!(group.rig.core.committed(GROUP, "t", 0), Some(3), "a member finds what was committed");
    assert_eq!(group.commit(-1, "", 4), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(group.leave(&[&ids[0]]), [NONE]);
    assert_eq!(group.commit(-1, "", 4), NONE);
}

#[test]
fn a_commit_at_another_broker_changes_nothing() {
    let (mut group, ids) = GroupRig::stable(1);
    let other = 1 + group.coordinator() % 3;
    let response = group.rig.ask(other, 9, &commit_request(1, &ids[0], 5));
    assert_eq!(response.topics[0].partitions[0].error_code, ErrorCode::NOT_COORDINATOR);
    assert_eq!(group.rig.core.committed(GROUP, "t", 0), None);
}
