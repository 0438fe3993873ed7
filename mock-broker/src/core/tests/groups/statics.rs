//! Static members: known by their instance, not by their id. Pure.

use milena_protocol::ErrorCode;
use milena_protocol::messages::heartbeat::HeartbeatRequest;
use milena_protocol::messages::join_group::{JoinGroupRequest, JoinGroupResponse};
use milena_protocol::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use milena_protocol::messages::offset_commit::OffsetCommitRequest;

use super::members::{GROUP, GroupRig, JOIN, commit_request, join_request, protocols};
use crate::core::GroupState;
use crate::core::tests::rig::NONE;

fn request(member_id: &str, instance: &str) -> JoinGroupRequest {
    JoinGroupRequest { group_instance_id: Some(instance.to_owned()), ..join_request(member_id) }
}

fn join(group: &mut GroupRig, version: i16, request: &JoinGroupRequest) -> JoinGroupResponse {
    let (ticket, _) = group.send(version, request);
    group.rig.answer::<JoinGroupRequest>(ticket, version).expect("an answer at once")
}

/// A stable group of the instances `a`, which leads, and `b`.
fn stable() -> (GroupRig, Vec<String>) {
    let mut group = GroupRig::new();
    let first = join(&mut group, JOIN, &request("", "a"));
    assert_eq!(first.error_code, NONE, "a static member is one at once");
    assert!(first.member_id.starts_with("a-"), "{}", first.member_id);
    let (second, _) = group.send(JOIN, &request("", "b"));
    join(&mut group, JOIN, &request(&first.member_id, "a"));
    let second = group.joined(second).unwrap();
    let ids = vec![first.member_id, second.member_id];
    group.sync_all(&ids);
    (group, ids)
}

fn heartbeat(group: &mut GroupRig, member_id: &str, instance: &str) -> ErrorCode {
    let request = HeartbeatRequest {
        group_id: GROUP.to_owned(),
        generation_id: group.group().generation,
        member_id: member_id.to_owned(),
        group_instance_id: Some(instance.to_owned()),
    };
    group.rig.ask(group.coordinator(), 4, &request).error_code
}

#[test]
fn a_static_member_that_comes_back_gets_what_it_had_and_disturbs_nobody() {
    let (mut group, ids) = stable();
    let generation = group.group().generation;
    let back = join(&mut group, JOIN, &request("", "b"));
    assert_eq!((back.error_code, back.generation_id), (NONE, generation));
    assert_ne!(back.member_id, ids[1]);
    assert_eq!(group.state(), GroupState::Stable);
    let sync = group.sync(generation, &back.member_id, &[]);
    assert_eq!(group.synced(sync).unwrap().assignment, "1");
    assert_eq!(group.heartbeat(generation, &ids[0]), NONE);
}

#[test]
fn a_leader_that_comes_back_is_told_not_to_assign() {
    let (mut group, ids) = stable();
    let back = join(&mut group, JOIN, &request("", "a"));
    assert!(back.skip_assignment);
    assert_eq!((back.leader.as_str(), back.members.len()), (back.member_id.as_str(), 2));
    let older = join(&mut group, 8, &request("", "a"));
    assert!(!older.skip_assignment);
    assert_eq!(
        (older.leader.as_str(), older.members.len()),
        (back.member_id.as_str(), 0),
        "another one leads, it is told"
    );
    assert_eq!(group.group().members[0].id, older.member_id);
    assert_ne!(older.member_id, ids[0]);
}

#[test]
fn who_uses_the_old_id_is_fenced() {
    let (mut group, ids) = stable();
    let back = join(&mut group, JOIN, &request("", "b")).member_id;
    let fenced = ErrorCode::FENCED_INSTANCE_ID;
    assert_eq!(heartbeat(&mut group, &ids[1], "b"), fenced);
    assert_eq!(heartbeat(&mut group, &back, "b"), NONE);
    assert_eq!(heartbeat(&mut group, &back, "c"), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(join(&mut group, JOIN, &request(&ids[1], "b")).error_code, fenced);
    let generation = group.group().generation;
    let commit =
        OffsetCommitRequest { group_instance_id: Some("b".to_owned()), ..commit_request(generation, &ids[1], 5) };
    let response = group.rig.ask(group.coordinator(), 9, &commit);
    assert_eq!(response.topics[0].partitions[0].error_code, fenced);
}

#[test]
fn whoever_waits_under_the_old_id_is_fenced_too() {
    let (mut group, ids) = stable();
    let (waiting, _) = group.send(JOIN, &request(&ids[0], "a"));
    let (replaced, _) = group.send(JOIN, &request("", "a"));
    assert_eq!(group.join_code(waiting), Some(ErrorCode::FENCED_INSTANCE_ID));
    let (other, _) = group.send(JOIN, &request(&ids[1], "b"));
    let (replaced, other) = (group.joined(replaced).unwrap(), group.joined(other).unwrap());
    assert_eq!((&replaced.leader, replaced.members.len()), (&replaced.member_id, 2));

    let waiting = group.sync(other.generation_id, &ids[1], &[]);
    let (again, _) = group.send(JOIN, &request("", "b"));
    assert_eq!(group.sync_code(waiting), Some(ErrorCode::FENCED_INSTANCE_ID));
    assert!(group.joined(again).is_none(), "the leader knows the old id, so all join again");
    assert_eq!(group.state(), GroupState::PreparingRebalance);
}

#[test]
fn a_static_member_that_changes_the_vote_starts_a_rebalance() {
    let (mut group, _) = stable();
    let changed = JoinGroupRequest { protocols: protocols(&["sticky"]), ..request("", "b") };
    assert_eq!(join(&mut group, JOIN, &changed).error_code, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    let mut group = GroupRig::new();
    let both = JoinGroupRequest { protocols: protocols(&["range", "sticky"]), ..request("", "a") };
    let id = join(&mut group, JOIN, &both).member_id;
    group.sync_all(&[id]);
    let changed = JoinGroupRequest { protocols: protocols(&["sticky", "range"]), ..both };
    let response = join(&mut group, JOIN, &changed);
    assert_eq!((response.generation_id, response.protocol_name.as_deref()), (2, Some("sticky")));
    assert_eq!(group.state(), GroupState::CompletingRebalance);
}

#[test]
fn a_static_member_is_waited_for_as_long_as_its_session() {
    let mut group = GroupRig::new();
    let long = JoinGroupRequest { session_timeout_ms: 100_000, ..request("", "a") };
    let first = join(&mut group, JOIN, &long);
    group.sync_all(std::slice::from_ref(&first.member_id));
    let (second, _) = group.send(JOIN, &request("", "b"));
    group.rig.at(30_000);
    let response = group.joined(second).unwrap();
    assert_eq!(response.leader, response.member_id, "the leader is missing");
    assert_eq!(response.members.len(), 2, "but still a member");
    let sync = group.sync(response.generation_id, &response.member_id, &[]);
    assert_eq!(group.sync_code(sync), Some(NONE));
    group.rig.at(39_999);
    assert_eq!(heartbeat(&mut group, &response.member_id, "b"), NONE);
    group.rig.at(49_000);
    assert_eq!(heartbeat(&mut group, &response.member_id, "b"), NONE);
    group.rig.at(58_000);
    assert_eq!(heartbeat(&mut group, &response.member_id, "b"), NONE);
    group.rig.at(60_000);
    assert_eq!(group.ids(), [response.member_id], "it did not ask for its assignment");
}

#[test]
fn a_group_of_missing_static_members_ends_with_their_sessions() {
    let (mut group, _) = stable();
    group.rig.act(|core, now| core.rebalance_group(now, GROUP)).unwrap();
    group.rig.at(9_999);
    assert_eq!(group.ids().len(), 2);
    group.rig.at(10_000);
    assert_eq!(group.state(), GroupState::Empty);
    assert_eq!(group.rig.core.next_deadline(), Some(super::sessions::CLEANUP));
}

#[test]
fn an_administrator_removes_a_static_member_by_its_instance() {
    let (mut group, ids) = stable();
    let by = |member_id: &str, instance: Option<&str>| MemberIdentity {
        member_id: member_id.to_owned(),
        group_instance_id: instance.map(str::to_owned),
        reason: None,
    };
    let members = vec![by("", Some("b")), by("", Some("nobody")), by(&ids[0], Some("b")), by("x", Some("a"))];
    let request = LeaveGroupRequest { group_id: GROUP.to_owned(), members, ..Default::default() };
    let response = group.rig.ask(group.coordinator(), 5, &request);
    let codes: Vec<_> = response.members.iter().map(|member| member.error_code).collect();
    let unknown = ErrorCode::UNKNOWN_MEMBER_ID;
    assert_eq!(codes, [NONE, unknown, unknown, ErrorCode::FENCED_INSTANCE_ID]);
    assert_eq!(response.members[0].group_instance_id.as_deref(), Some("b"));
    assert_eq!(group.ids(), ids[..1]);
}

#[test]
fn a_test_can_fence_a_static_member() {
    let (mut group, ids) = stable();
    group.rig.act(|core, now| core.fence_instance(now, GROUP, "b")).unwrap();
    assert_eq!(heartbeat(&mut group, &ids[1], "b"), ErrorCode::FENCED_INSTANCE_ID);
    assert_eq!(heartbeat(&mut group, &ids[0], "a"), NONE);
    assert_eq!((group.state(), group.ids().len()), (GroupState::Stable, 2), "nobody else is disturbed");
    assert_eq!(group.group().members[1].assignment, "1");
    group.rig.at(9_000);
    assert_eq!(heartbeat(&mut group, &ids[0], "a"), NONE);
    group.rig.at(10_000);
    assert_eq!(group.ids(), ids[..1], "the twin is never heard of");
    let unknown = group.rig.act(|core, now| core.fence_instance(now, GROUP, "nobody"));
    assert_eq!(unknown, Err(ErrorCode::UNKNOWN_MEMBER_ID));
}
