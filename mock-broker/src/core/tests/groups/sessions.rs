//! Members that die, leave, or are thrown out. Pure.

use std::time::Duration;

use milena_protocol::ErrorCode;
use milena_protocol::messages::join_group::JoinGroupRequest;
use milena_protocol::messages::leave_group::LeaveGroupRequest;

use super::members::{GROUP, GroupRig, JOIN, join_request};
use crate::core::GroupState;
use crate::core::tests::rig::NONE;

/// When a coordinator first looks for groups that have gone.
pub(super) const CLEANUP: Duration = Duration::from_secs(600);

#[test]
fn a_member_that_is_silent_for_its_session_is_out() {
    let (mut group, ids) = GroupRig::stable(2);
    let generation = group.group().generation;
    group.rig.at(9_999);
    assert_eq!(group.heartbeat(generation, &ids[0]), NONE);
    assert_eq!(group.ids().len(), 2);
    group.rig.at(10_000);
    assert_eq!(group.ids(), ids[..1]);
    assert_eq!(group.state(), GroupState::PreparingRebalance);
    assert_eq!(group.heartbeat(generation, &ids[1]), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(group.heartbeat(generation, &ids[0]), ErrorCode::REBALANCE_IN_PROGRESS);
    let again = group.join(&ids[0]);
    assert_eq!(group.joined(again).unwrap().members.len(), 1);
}

#[test]
fn the_last_member_leaves_an_empty_group() {
    let (mut group, ids) = GroupRig::stable(1);
    group.rig.at(10_000);
    let empty = group.group();
    assert_eq!((empty.state, empty.generation, empty.members.len()), (GroupState::Empty, 2, 0));
    assert_eq!((empty.protocol_type.as_str(), empty.protocol.as_str()), ("consumer", ""));
    assert_eq!(group.rig.core.next_deadline(), Some(CLEANUP), "nothing else is waited for");
    let late = group.join(&ids[0]);
    assert_eq!(group.join_code(late), Some(ErrorCode::UNKNOWN_MEMBER_ID));
    assert_eq!(group.heartbeat(2, &ids[0]), ErrorCode::UNKNOWN_MEMBER_ID);
    group.fill(1);
    assert_eq!(group.group().generation, 3);
}

#[test]
fn when_the_leader_goes_the_next_eldest_leads() {
    let (mut group, ids) = GroupRig::stable(3);
    assert_eq!(group.leave(&[&ids[0]]), [NONE]);
    let tickets = [group.join(&ids[2]), group.join(&ids[1])];
    for ticket in tickets {
        assert_eq!(group.joined(ticket).unwrap().leader, ids[1]);
    }
}

#[test]
fn members_leave_together_and_strangers_are_named() {
    let (mut group, ids) = GroupRig::stable(3);
    let generation = group.group().generation;
    let unknown = ErrorCode::UNKNOWN_MEMBER_ID;
    assert_eq!(group.leave(&["nobody", ""]), [unknown, unknown]);
    assert_eq!(group.state(), GroupState::Stable, "nobody has left");
    assert_eq!(group.leave(&[&ids[1], "nobody", &ids[2], &ids[1]]), [NONE, unknown, NONE, unknown]);
    assert_eq!(group.ids(), ids[..1]);
    assert_eq!(group.heartbeat(generation, &ids[0]), ErrorCode::REBALANCE_IN_PROGRESS);
    let again = group.join(&ids[0]);
    assert_eq!(group.joined(again).unwrap().members.len(), 1);

    for version in 0..=2 {
        let leave =
            |id: &str| LeaveGroupRequest { group_id: GROUP.to_owned(), member_id: id.to_owned(), members: Vec::new() };
        let (mut group, ids) = GroupRig::stable(1);
        let coordinator = group.coordinator();
        assert_eq!(group.rig.ask(coordinator, version, &leave("nobody")).error_code, unknown);
        assert_eq!(group.rig.ask(coordinator, version, &leave(&ids[0])).error_code, NONE);
        assert_eq!(group.state(), GroupState::Empty);
    }
}

#[test]
fn a_member_that_leaves_while_it_waits_is_told() {
    let (mut group, ids) = GroupRig::stable(2);
    let waiting = group.join(&ids[0]);
    assert_eq!(group.leave(&[&ids[0]]), [NONE]);
    let response = group.joined(waiting).unwrap();
    assert_eq!((response.error_code, response.member_id.as_str()), (ErrorCode::UNKNOWN_MEMBER_ID, ""));
    let (mut group, ids) = GroupRig::stable(2);
    let tickets = [group.join(&ids[0]), group.join(&ids[1])];
    let generation = group.joined(tickets[0]).unwrap().generation_id;
    let waiting = group.sync(generation, &ids[1], &[]);
    assert_eq!(group.leave(&[&ids[1]]), [NONE]);
    assert_eq!(group.sync_code(waiting), Some(ErrorCode::UNKNOWN_MEMBER_ID));
}

#[test]
fn a_member_that_waits_is_not_silent() {
    let (mut group, ids) = GroupRig::stable(2);
    let generation = group.group().generation;
    let waiting = group.join(&ids[0]);
    for time in [9_000, 18_000, 27_000] {
        group.rig.at(time);
        assert_eq!(group.heartbeat(generation, &ids[1]), ErrorCode::REBALANCE_IN_PROGRESS);
    }
    assert!(group.joined(waiting).is_none());
    let second = group.join(&ids[1]);
    let generation = group.joined(waiting).unwrap().generation_id;
    assert!(group.joined(second).is_some());

    let waiting = group.sync(generation, &ids[1], &[]);
    for time in [36_000, 45_000, 54_000] {
        group.rig.at(time);
        assert_eq!(group.heartbeat(generation, &ids[0]), NONE);
    }
    assert!(group.synced(waiting).is_none());
    let leader = group.sync(generation, &ids[0], &[]);
    assert_eq!((group.sync_code(leader), group.sync_code(waiting)), (Some(NONE), Some(NONE)));
    group.rig.at(63_999);
    assert_eq!(group.ids().len(), 2, "its session begins with the answer");
    group.rig.at(64_000);
    assert!(group.ids().iter().all(|id| *id != ids[1]));
}

#[test]
fn a_member_whose_connection_is_lost_stays_until_its_session_ends() {
    let (mut group, ids) = GroupRig::stable(2);
    let (_, connection) = group.send(JOIN, &join_request(&ids[0]));
    group.rig.act(|core, _| core.on_disconnect(connection));
    let second = group.join(&ids[1]);
    let response = group.joined(second).unwrap();
    assert_eq!(response.error_code, NONE, "it had joined");
    assert_eq!(group.ids().len(), 2);
    let waiting = group.sync(response.generation_id, &ids[1], &[]);
    group.rig.at(10_000);
    assert_eq!(group.sync_code(waiting), Some(ErrorCode::REBALANCE_IN_PROGRESS));
    assert_eq!(group.ids(), ids[1..]);
}

#[test]
fn a_newcomer_that_waits_for_too_long_is_forgotten() {
    let (mut group, ids) = GroupRig::stable(1);
    let slow =
        JoinGroupRequest { rebalance_timeout_ms: 3_600_000, session_timeout_ms: 1_800_000, ..join_request(&ids[0]) };
    let (again, _) = group.send(JOIN, &slow);
    assert!(group.joined(again).is_some());
    group.sync_all(&ids);
    let (newcomer, _) = group.send(3, &join_request(""));
    group.rig.at(299_999);
    assert_eq!(group.ids().len(), 2);
    group.rig.at(300_000);
    let response = group.rig.answer::<JoinGroupRequest>(newcomer, 3).unwrap();
    assert_eq!((response.error_code, response.member_id.as_str()), (ErrorCode::UNKNOWN_MEMBER_ID, ""));
    assert_eq!(group.ids(), ids);
}

#[test]
fn a_promised_id_is_waited_for_as_long_as_a_session() {
    let (mut group, ids) = GroupRig::stable(1);
    let promised = group.new_id();
    let leader = group.join(&ids[0]);
    assert!(group.joined(leader).is_none(), "somebody is about to join");
    group.rig.at(9_999);
    assert!(group.joined(leader).is_none());
    group.rig.at(10_000);
    assert!(group.joined(leader).is_some());
    let late = group.join(&promised);
    assert_eq!(group.join_code(late), Some(ErrorCode::UNKNOWN_MEMBER_ID));

    let (mut group, ids) = GroupRig::stable(1);
    let promised = group.new_id();
    let leader = group.join(&ids[0]);
    assert_eq!(group.leave(&[&promised]), [NONE], "it need not be waited for");
    assert!(group.joined(leader).is_some());
}

#[test]
fn sessions_have_limits() {
    let mut group = GroupRig::new();
    for (millis, code) in [
        (499, ErrorCode::INVALID_SESSION_TIMEOUT),
        (500, ErrorCode::MEMBER_ID_REQUIRED),
        (1_800_000, ErrorCode::MEMBER_ID_REQUIRED),
        (1_800_001, ErrorCode::INVALID_SESSION_TIMEOUT),
        (-1, ErrorCode::INVALID_SESSION_TIMEOUT),
    ] {
        let (ticket, _) = group.send(JOIN, &JoinGroupRequest { session_timeout_ms: millis, ..join_request("") });
        assert_eq!(group.join_code(ticket), Some(code), "{millis}");
    }
}

#[test]
fn a_test_disturbs_a_group() {
    let (mut group, ids) = GroupRig::stable(2);
    let generation = group.group().generation;
    group.rig.act(|core, now| core.rebalance_group(now, GROUP)).unwrap();
    assert_eq!(group.heartbeat(generation, &ids[0]), ErrorCode::REBALANCE_IN_PROGRESS);
    group.rig.act(|core, now| core.rebalance_group(now, GROUP)).unwrap();
    let first = group.join(&ids[0]);
    group.rig.act(|core, now| core.evict(now, GROUP, &ids[1])).unwrap();
    assert_eq!(group.joined(first).unwrap().members.len(), 1);
    assert_eq!(group.heartbeat(generation, &ids[1]), ErrorCode::UNKNOWN_MEMBER_ID);
    let unknown = group.rig.act(|core, now| core.evict(now, GROUP, &ids[1]));
    assert_eq!(unknown, Err(ErrorCode::UNKNOWN_MEMBER_ID));
    let unknown = group.rig.act(|core, now| core.rebalance_group(now, "nobody's"));
    assert_eq!(unknown, Err(ErrorCode::GROUP_ID_NOT_FOUND));
}
