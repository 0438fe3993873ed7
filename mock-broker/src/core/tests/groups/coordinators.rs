//! Coordinators that crash or move: what a group keeps, and what it does not. Pure.

use std::time::Duration;

use milena_protocol::ErrorCode;
use milena_protocol::messages::heartbeat::HeartbeatRequest;
use milena_protocol::messages::join_group::JoinGroupRequest;

use super::members::{GROUP, GroupRig, JOIN, join_request, sync_request};
use crate::core::tests::rig::{NONE, settings};
use crate::core::{GroupState, Settings};

fn crash(group: &mut GroupRig) -> i32 {
    let broker = group.coordinator();
    group.rig.act(|core, now| core.crash(now, broker));
    broker
}

#[test]
fn a_stable_group_survives_its_coordinator() {
    let (mut group, ids) = GroupRig::stable(3);
    let before = group.group();
    assert_eq!(group.commit(before.generation, &ids[1], 7), NONE);
    group.rig.at(9_000);
    let old = crash(&mut group);
    assert_ne!(group.coordinator(), old);
    assert_eq!(group.group(), before, "members, generation, assignments");
    assert_eq!(group.rig.core.committed(GROUP, "t", 0), Some(7));
    assert_eq!(group.heartbeat(before.generation, &ids[2]), NONE);
    let sync = group.sync(before.generation, &ids[2], &[]);
    assert_eq!(group.synced(sync).unwrap().assignment, "2");
    assert_eq!(group.commit(before.generation, &ids[2], 8), NONE);
    let again = group.join(&ids[1]);
    assert_eq!(group.joined(again).unwrap().generation_id, before.generation, "nothing new is said");

    group.rig.act(|core, now| core.restart(now, old));
    assert_eq!(group.group(), before);
    assert!(group.rig.core.describe_group(old, GROUP).is_err(), "it does not come back by itself");
    crash(&mut group);
    assert_eq!(group.group(), before);
}

#[test]
fn members_have_a_session_to_find_the_new_coordinator() {
    let (mut group, ids) = GroupRig::stable(2);
    let generation = group.group().generation;
    group.rig.at(9_999);
    crash(&mut group);
    group.rig.at(19_998);
    assert_eq!(group.heartbeat(generation, &ids[0]), NONE);
    assert_eq!(group.ids().len(), 2);
    group.rig.at(19_999);
    assert_eq!(group.ids(), ids[..1]);
    assert_eq!(group.heartbeat(generation, &ids[0]), ErrorCode::REBALANCE_IN_PROGRESS);
}

#[test]
fn a_rebalance_under_way_is_forgotten_with_its_newcomers() {
    let (mut group, ids) = GroupRig::stable(1);
    let newcomer = group.new_id();
    let (waiting, _) = group.send(JOIN, &join_request(&newcomer));
    assert_eq!(group.state(), GroupState::PreparingRebalance);
    crash(&mut group);
    assert!(group.rig.outcome(waiting).is_none(), "its connection went with the broker");
    assert_eq!((group.state(), group.ids()), (GroupState::Stable, ids.clone()));
    assert_eq!(group.heartbeat(1, &ids[0]), NONE);
    let again = group.join(&newcomer);
    assert_eq!(group.join_code(again), Some(ErrorCode::UNKNOWN_MEMBER_ID));
    let newcomer = group.new_id();
    let waiting = group.join(&newcomer);
    let leader = group.join(&ids[0]);
    assert_eq!(group.joined(leader).unwrap().members.len(), 2);
    assert_eq!(group.joined(waiting).unwrap().generation_id, 2);
    group.sync_all(&[ids[0].clone(), newcomer]);
}

#[test]
fn a_generation_without_assignments_never_was() {
    let (mut group, ids) = GroupRig::stable(2);
    let tickets = [group.join(&ids[0]), group.join(&ids[1])];
    let generation = group.joined(tickets[0]).unwrap().generation_id;
    group.sync(generation, &ids[1], &[]);
    crash(&mut group);
    assert_eq!(group.group().generation, generation - 1);
    let late = group.sync(generation, &ids[0], &[(&ids[0], "a")]);
    assert_eq!(group.sync_code(late), Some(ErrorCode::ILLEGAL_GENERATION));
}

#[test]
fn an_empty_group_keeps_its_generation() {
    let (mut group, ids) = GroupRig::stable(2);
    let members: Vec<&str> = ids.iter().map(String::as_str).collect();
    group.leave(&members);
    let before = group.group();
    assert_eq!(before.state, GroupState::Empty);
    crash(&mut group);
    assert_eq!(group.group(), before);
    let mut promised = GroupRig::new();
    promised.new_id();
    crash(&mut promised);
    assert_eq!((promised.state(), promised.group().generation), (GroupState::Empty, 0), "it was asked for");
}

#[test]
fn a_moved_coordinator_sends_its_members_away() {
    let (mut group, ids) = GroupRig::stable(2);
    let (old, index) =
        (group.coordinator(), group.rig.core.partition_for_key("__consumer_offsets", GROUP).unwrap().index);
    let joining = group.join(&ids[0]);
    let new = 1 + old % 3;
    group.rig.act(|core, now| core.elect(now, "__consumer_offsets", index, new)).unwrap();
    assert_eq!(group.join_code(joining), Some(ErrorCode::NOT_COORDINATOR));
    assert_eq!(group.coordinator(), new);
    let generation = group.group().generation;
    let beat = HeartbeatRequest {
        group_id: GROUP.to_owned(),
        generation_id: generation,
        member_id: ids[1].clone(),
        group_instance_id: None,
    };
    assert_eq!(group.rig.ask(old, 4, &beat).error_code, ErrorCode::NOT_COORDINATOR);
    assert_eq!(group.rig.ask(new, 4, &beat).error_code, NONE);

    let tickets = [group.join(&ids[0]), group.join(&ids[1])];
    let generation = group.joined(tickets[0]).unwrap().generation_id;
    let syncing = group.sync(generation, &ids[1], &[]);
    group.rig.act(|core, now| core.elect(now, "__consumer_offsets", index, old)).unwrap();
    assert_eq!(group.sync_code(syncing), Some(ErrorCode::NOT_COORDINATOR));
}

/// A follower of the group's records that does not follow, and is counted in sync.
fn freeze_a_follower(group: &mut GroupRig) -> i32 {
    let follower = 1 + group.coordinator() % 3;
    group.rig.act(|core, now| core.freeze(now, follower));
    follower
}

#[test]
fn an_assignment_is_given_when_all_replicas_in_sync_have_it() {
    for thaws in [true, false] {
        let mut group = GroupRig::new();
        let id = group.new_id();
        let ticket = group.join(&id);
        let generation = group.joined(ticket).unwrap().generation_id;
        let follower = freeze_a_follower(&mut group);
        let syncing = group.sync(generation, &id, &[(&id, "a")]);
        group.rig.at(4_999);
        assert_eq!((group.sync_code(syncing), group.state()), (None, GroupState::CompletingRebalance));
        if thaws {
            group.rig.act(|core, now| core.thaw(now, follower));
            assert_eq!((group.sync_code(syncing), group.state()), (Some(NONE), GroupState::Stable));
        } else {
            group.rig.at(5_000);
            assert_eq!(group.sync_code(syncing), Some(ErrorCode::COORDINATOR_NOT_AVAILABLE));
            assert_eq!(group.state(), GroupState::PreparingRebalance);
        }
    }
}

#[test]
fn an_assignment_that_is_not_on_all_replicas_when_a_rebalance_begins_is_given_to_nobody() {
    let mut group = GroupRig::new();
    let id = group.new_id();
    let ticket = group.join(&id);
    let generation = group.joined(ticket).unwrap().generation_id;
    let follower = freeze_a_follower(&mut group);
    let syncing = group.sync(generation, &id, &[(&id, "a")]);
    let newcomer = group.new_id();
    let joining = group.join(&newcomer);
    assert_eq!(group.sync_code(syncing), Some(ErrorCode::REBALANCE_IN_PROGRESS));
    group.rig.act(|core, now| core.thaw(now, follower));
    assert_eq!(group.state(), GroupState::PreparingRebalance);
    let again = group.join(&id);
    assert_eq!(group.joined(again).unwrap().generation_id, generation + 1);
    assert!(group.joined(joining).is_some());
}

#[test]
fn an_assignment_that_is_not_on_all_replicas_goes_with_its_coordinator() {
    let (mut group, ids) = GroupRig::stable(1);
    let rejoining = group.join(&ids[0]);
    let generation = group.joined(rejoining).unwrap().generation_id;
    let follower = freeze_a_follower(&mut group);
    let syncing = group.sync(generation, &ids[0], &[(&ids[0], "b")]);
    let index = group.rig.core.partition_for_key("__consumer_offsets", GROUP).unwrap().index;
    group.rig.act(|core, now| core.elect(now, "__consumer_offsets", index, follower)).unwrap();
    assert_eq!(group.sync_code(syncing), Some(ErrorCode::NOT_COORDINATOR));
    group.rig.act(|core, now| core.thaw(now, follower));
    assert_eq!((group.coordinator(), group.group().generation), (follower, generation - 1));
}

#[test]
fn a_coordinator_that_still_reads_its_groups_says_so() {
    let (mut group, ids) = GroupRig::stable(1);
    let (old, new) = (group.coordinator(), 1 + group.coordinator() % 3);
    let before = group.group();
    group.rig.at(1000);
    let loading = Duration::from_secs(2);
    group.rig.act(|core, now| core.move_coordinator(now, ("__consumer_offsets", GROUP), new, loading)).unwrap();
    assert_eq!(group.coordinator(), new);
    let beat = HeartbeatRequest {
        group_id: GROUP.to_owned(),
        generation_id: before.generation,
        member_id: ids[0].clone(),
        group_instance_id: None,
    };
    assert_eq!(group.rig.ask(old, 4, &beat).error_code, ErrorCode::NOT_COORDINATOR);
    for (time, code) in
        [(1000, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS), (2999, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS), (3000, NONE)]
    {
        group.rig.at(time);
        assert_eq!(group.rig.ask(new, 4, &beat).error_code, code, "at {time}");
    }
    assert_eq!(group.group(), before);
}

#[test]
fn without_a_coordinator_there_is_no_group_until_one_is_back() {
    let (mut group, ids) = GroupRig::stable(1);
    let before = group.group();
    let last = loop {
        let broker = crash(&mut group);
        if group.coordinator() == -1 {
            break broker;
        }
    };
    assert_eq!(group.state(), GroupState::Dead);
    group.rig.at(60_000);
    group.rig.act(|core, now| core.restart(now, last));
    assert_eq!(group.group(), before);
    assert_eq!(group.heartbeat(1, &ids[0]), NONE);
}

#[test]
fn the_groups_go_with_the_topic_that_holds_them() {
    let (mut group, ids) = GroupRig::stable(2);
    let waiting = group.join(&ids[0]);
    group.rig.act(|core, now| core.delete_topic(now, "__consumer_offsets")).unwrap();
    assert_eq!(group.join_code(waiting), Some(ErrorCode::NOT_COORDINATOR));
    assert_eq!(group.rig.core.next_deadline(), None);
    assert_eq!(group.rig.ask(1, JOIN, &join_request("")).error_code, ErrorCode::NOT_COORDINATOR);
}

#[test]
fn what_cannot_be_written_is_not_promised() {
    let mut group = GroupRig::with(Settings { min_insync_replicas: 2, ..settings() });
    let id = group.new_id();
    let ticket = group.join(&id);
    let generation = group.joined(ticket).unwrap().generation_id;
    let coordinator = group.coordinator();
    let others: Vec<i32> = (1..=3).filter(|broker| *broker != coordinator).collect();
    for broker in &others {
        group.rig.act(|core, now| core.crash(now, *broker));
    }
    let (ticket, _) = group.send(5, &sync_request(generation, &id, &[(&id, "a")]));
    assert_eq!(group.sync_code(ticket), Some(ErrorCode::COORDINATOR_NOT_AVAILABLE));
    assert_eq!(group.state(), GroupState::PreparingRebalance);
    let new = JoinGroupRequest { group_id: same_coordinator(&group), ..join_request("") };
    assert_eq!(group.rig.ask(coordinator, JOIN, &new).error_code, ErrorCode::COORDINATOR_NOT_AVAILABLE);
    assert_eq!(group.rig.core.group(&new.group_id), None);

    group.rig.act(|core, now| core.restart(now, others[0]));
    let again = group.join(&id);
    assert_eq!(group.joined(again).unwrap().generation_id, generation + 1);
    group.sync_all(&[id]);
}

/// The name of another group that this coordinator would have.
fn same_coordinator(group: &GroupRig) -> String {
    let names = (0..).map(|number| format!("g{number}"));
    names.into_iter().find(|name| group.rig.core.coordinator(name) == group.coordinator()).expect("one of many")
}
