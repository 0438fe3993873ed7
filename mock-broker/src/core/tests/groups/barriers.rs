//! Joining and syncing: who waits for whom, and what is agreed on. Pure.

use milena_protocol::ErrorCode;
use milena_protocol::messages::join_group::JoinGroupRequest;

use super::members::{GROUP, GroupRig, JOIN, join_request, protocols, sync_request};
use crate::core::tests::rig::{NONE, settings};
use crate::core::{GroupSettings, GroupState, Settings};
use std::time::Duration;

#[test]
fn a_single_member_is_a_group() {
    let mut group = GroupRig::new();
    assert_eq!(group.state(), GroupState::Dead);
    let id = group.new_id();
    assert!(id.starts_with("rig-") && id.len() == "rig-".len() + 36, "the client's name and a UUID: {id}");
    assert_eq!((group.state(), group.ids().len()), (GroupState::Empty, 0), "a promise is no member");

    let ticket = group.join(&id);
    let joined = group.joined(ticket).unwrap();
    assert_eq!((joined.error_code, joined.generation_id), (NONE, 1));
    assert_eq!((joined.leader.as_str(), joined.member_id.as_str()), (id.as_str(), id.as_str()));
    assert_eq!(joined.protocol_name.as_deref(), Some("range"));
    assert_eq!(joined.members.len(), 1);
    assert_eq!(joined.members[0].metadata, "about range");
    assert_eq!(group.state(), GroupState::CompletingRebalance);

    let ticket = group.sync(1, &id, &[(&id, "all")]);
    assert_eq!(group.synced(ticket).unwrap().assignment, "all");
    assert_eq!(group.state(), GroupState::Stable);
    assert_eq!(group.heartbeat(1, &id), NONE);
}

#[test]
fn a_newcomer_makes_everybody_join_again() {
    let (mut group, ids) = GroupRig::stable(1);
    let newcomer = group.new_id();
    assert_eq!(group.state(), GroupState::Stable, "until it joins");
    let waiting = group.join(&newcomer);
    assert_eq!(group.state(), GroupState::PreparingRebalance);
    assert_eq!(group.heartbeat(1, &ids[0]), ErrorCode::REBALANCE_IN_PROGRESS);
    assert!(group.joined(waiting).is_none());

    let leader = group.join(&ids[0]);
    let (leader, follower) = (group.joined(leader).unwrap(), group.joined(waiting).unwrap());
    assert_eq!((leader.generation_id, follower.generation_id), (2, 2));
    assert_eq!((&leader.leader, &follower.leader), (&ids[0], &ids[0]), "the first member leads as long as it is one");
    let members: Vec<_> = leader.members.iter().map(|member| member.member_id.clone()).collect();
    assert_eq!(members, [ids[0].clone(), newcomer.clone()]);
    assert!(follower.members.is_empty(), "only the leader is told");

    let waiting = group.sync(2, &newcomer, &[]);
    assert!(group.synced(waiting).is_none(), "until the leader has decided");
    let leader = group.sync(2, &ids[0], &[(&newcomer, "one"), ("a stranger", "two")]);
    assert_eq!(group.synced(leader).unwrap().assignment, "", "nothing was given to it");
    let response = group.synced(waiting).unwrap();
    assert_eq!(response.assignment, "one");
    assert_eq!(
        (response.protocol_type.as_deref(), response.protocol_name.as_deref()),
        (Some("consumer"), Some("range"))
    );
}

#[test]
fn any_number_of_members_get_one_generation() {
    let (group, ids) = GroupRig::stable(7);
    assert_eq!(group.ids(), ids);
    assert_eq!(ids.len(), 7);
    let assigned: Vec<_> = group.group().members.into_iter().map(|member| member.assignment).collect();
    assert_eq!(assigned, ["0", "1", "2", "3", "4", "5", "6"]);
}

#[test]
fn who_does_not_join_in_time_is_out() {
    let (mut group, ids) = GroupRig::stable(3);
    let generation = group.group().generation;
    let first = group.join(&ids[0]);
    for time in [8_000, 16_000, 24_000, 29_999] {
        group.rig.at(time);
        for id in &ids[1..] {
            assert_eq!(group.heartbeat(generation, id), ErrorCode::REBALANCE_IN_PROGRESS, "which keeps its session");
        }
        assert!(group.joined(first).is_none());
    }
    group.rig.at(30_000);
    assert_eq!(group.joined(first).unwrap().members.len(), 1, "the rebalance timeout");
    assert_eq!(group.ids(), ids[..1]);
    assert_eq!(group.heartbeat(generation, &ids[1]), ErrorCode::UNKNOWN_MEMBER_ID);
    let late = group.join(&ids[1]);
    assert_eq!(group.join_code(late), Some(ErrorCode::UNKNOWN_MEMBER_ID));
}

#[test]
fn the_longest_rebalance_timeout_counts() {
    let (mut group, ids) = GroupRig::stable(2);
    let patient =
        JoinGroupRequest { rebalance_timeout_ms: 60_000, session_timeout_ms: 90_000, ..join_request(&ids[1]) };
    let changed = JoinGroupRequest { protocols: protocols(&["range", "sticky"]), ..patient };
    let (patient, _) = group.send(JOIN, &changed);
    // The other one shows up in heartbeats only.
    for time in (9..60).step_by(9) {
        group.rig.at(time * 1000);
        group.heartbeat(group.group().generation, &ids[0]);
    }
    group.rig.at(59_999);
    assert!(group.joined(patient).is_none());
    group.rig.at(60_000);
    assert_eq!(group.joined(patient).unwrap().leader, ids[1], "the leader did not come, so another one leads");
}

#[test]
fn who_does_not_ask_for_its_assignment_is_out() {
    let (mut group, ids) = GroupRig::stable(2);
    let tickets = [group.join(&ids[0]), group.join(&ids[1])];
    let generation = group.joined(tickets[0]).unwrap().generation_id;
    let sync = group.sync(generation, &ids[0], &[(&ids[0], "a"), (&ids[1], "b")]);
    assert_eq!(group.sync_code(sync), Some(NONE));
    assert_eq!(group.state(), GroupState::Stable);
    for time in [9_000, 18_000, 27_000, 29_999] {
        group.rig.at(time);
        assert_eq!(group.heartbeat(generation, &ids[0]), NONE);
        assert_eq!(group.heartbeat(generation, &ids[1]), NONE, "it lives but does not take what it is given");
    }
    group.rig.at(30_000);
    assert_eq!(group.heartbeat(generation, &ids[1]), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(group.heartbeat(generation, &ids[0]), ErrorCode::REBALANCE_IN_PROGRESS);
}

#[test]
fn a_leader_that_does_not_assign_is_out_and_nobody_gets_an_assignment() {
    let (mut group, ids) = GroupRig::stable(2);
    let tickets = [group.join(&ids[0]), group.join(&ids[1])];
    let generation = group.joined(tickets[0]).unwrap().generation_id;
    let follower = group.sync(generation, &ids[1], &[]);
    for time in [9_000, 18_000, 27_000] {
        group.rig.at(time);
        assert_eq!(group.heartbeat(generation, &ids[0]), NONE);
    }
    group.rig.at(30_000);
    assert_eq!(group.sync_code(follower), Some(ErrorCode::REBALANCE_IN_PROGRESS));
    let again = group.join(&ids[1]);
    assert_eq!(group.joined(again).unwrap().leader, ids[1]);
}

#[test]
fn joining_again_with_nothing_new_disturbs_nobody() {
    let (mut group, ids) = GroupRig::stable(3);
    let generation = group.group().generation;
    let again = group.join(&ids[1]);
    let response = group.joined(again).unwrap();
    assert_eq!((response.error_code, response.generation_id), (NONE, generation));
    assert_eq!((response.leader.as_str(), response.members.len()), (ids[0].as_str(), 0));
    let sync = group.sync(generation, &ids[1], &[]);
    assert_eq!(group.synced(sync).unwrap().assignment, "1");
    assert_eq!(group.state(), GroupState::Stable);

    let changed = JoinGroupRequest { protocols: protocols(&["range", "sticky"]), ..join_request(&ids[1]) };
    group.send(JOIN, &changed);
    assert_eq!(group.state(), GroupState::PreparingRebalance, "it says something else now");
}

#[test]
fn a_leader_that_joins_again_wants_a_rebalance() {
    let (mut group, ids) = GroupRig::stable(2);
    let waiting = group.join(&ids[0]);
    assert!(group.joined(waiting).is_none());
    assert_eq!(group.state(), GroupState::PreparingRebalance);
}

#[test]
fn a_member_that_missed_its_welcome_gets_it_again() {
    let (mut group, ids) = GroupRig::stable(2);
    let (first, second) = (group.join(&ids[0]), group.join(&ids[1]));
    let (first, second) = (group.joined(first).unwrap(), group.joined(second).unwrap());
    for (id, before) in [(&ids[0], first), (&ids[1], second)] {
        let again = group.join(id);
        assert_eq!(group.joined(again), Some(before));
    }
    let ticket = group.sync(group.group().generation, &ids[1], &[]);
    let changed = JoinGroupRequest { protocols: protocols(&["range", "sticky"]), ..join_request(&ids[1]) };
    group.send(JOIN, &changed);
    assert_eq!(group.sync_code(ticket), Some(ErrorCode::REBALANCE_IN_PROGRESS), "it cannot want both");
    assert_eq!(group.state(), GroupState::PreparingRebalance);
}

#[test]
fn an_assignment_is_broken_off_by_a_newcomer() {
    let (mut group, ids) = GroupRig::stable(2);
    let tickets = [group.join(&ids[0]), group.join(&ids[1])];
    let generation = group.joined(tickets[1]).unwrap().generation_id;
    let follower = group.sync(generation, &ids[1], &[]);
    let newcomer = group.new_id();
    group.join(&newcomer);
    assert_eq!(group.sync_code(follower), Some(ErrorCode::REBALANCE_IN_PROGRESS));
    let leader = group.sync(generation, &ids[0], &[(&ids[0], "a")]);
    assert_eq!(group.sync_code(leader), Some(ErrorCode::REBALANCE_IN_PROGRESS));
}

#[test]
fn protocols_are_voted_for() {
    let mut group = GroupRig::new();
    let mut waiting = Vec::new();
    let lists: [&[&str]; 3] = [&["sticky", "range"], &["own", "range", "sticky"], &["range", "sticky"]];
    for (number, names) in lists.into_iter().enumerate() {
        let id = group.new_id();
        let request = JoinGroupRequest { protocols: protocols(names), ..join_request(&id) };
        let (ticket, _) = group.send(JOIN, &request);
        waiting.push((ticket, request));
        if number == 0 {
            assert_eq!(group.joined(ticket).unwrap().protocol_name.as_deref(), Some("sticky"));
        }
    }
    // The first one is in a generation of its own, and joins the others.
    let (first, _) = group.send(JOIN, &waiting[0].1);
    for ticket in [first, waiting[1].0, waiting[2].0] {
        let response = group.joined(ticket).unwrap();
        assert_eq!(
            response.protocol_name.as_deref(),
            Some("range"),
            "two votes of three, and not everybody knows `own`"
        );
    }

    let stranger = JoinGroupRequest { protocols: protocols(&["own"]), ..join_request("") };
    let (ticket, _) = group.send(JOIN, &stranger);
    assert_eq!(group.join_code(ticket), Some(ErrorCode::INCONSISTENT_GROUP_PROTOCOL));
    let other_kind = JoinGroupRequest { protocol_type: "connect".to_owned(), ..join_request("") };
    let (ticket, _) = group.send(JOIN, &other_kind);
    assert_eq!(group.join_code(ticket), Some(ErrorCode::INCONSISTENT_GROUP_PROTOCOL));
    for field in [
        JoinGroupRequest { protocols: Vec::new(), group_id: "new".to_owned(), ..join_request("") },
        JoinGroupRequest { protocol_type: String::new(), group_id: "new".to_owned(), ..join_request("") },
    ] {
        let coordinator = group.rig.core.coordinator("new");
        let response = group.rig.ask(coordinator, JOIN, &field);
        assert_eq!(response.error_code, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    }
}

#[test]
fn with_equal_votes_the_eldest_decides() {
    let mut group = GroupRig::new();
    let mut requests = Vec::new();
    for names in [&["sticky", "range"], &["range", "sticky"]] {
        let id = group.new_id();
        requests.push(JoinGroupRequest { protocols: protocols(names), ..join_request(&id) });
    }
    let tickets = [&requests[0], &requests[1], &requests[0]].map(|request| group.send(JOIN, request).0);
    assert_eq!(group.joined(tickets[2]).unwrap().protocol_name.as_deref(), Some("sticky"));
}

#[test]
fn the_first_rebalance_waits_for_others() {
    let delay = Duration::from_secs(3);
    let groups = GroupSettings { initial_rebalance_delay: delay, ..settings().groups };
    let mut group = GroupRig::with(Settings { groups, ..settings() });
    let ids = [group.new_id(), group.new_id(), group.new_id()];
    let first = group.join(&ids[0]);
    group.rig.at(2_000);
    let second = group.join(&ids[1]);
    group.rig.at(3_000);
    assert!(group.joined(first).is_none(), "somebody came, so the delay begins anew");
    group.rig.at(5_000);
    let third = group.join(&ids[2]);
    group.rig.at(6_000);
    assert!(group.joined(first).is_none());
    group.rig.at(9_000);
    for ticket in [first, second, third] {
        assert_eq!(group.joined(ticket).unwrap().generation_id, 1);
    }
    assert_eq!(group.ids(), ids);
}

#[test]
fn the_first_rebalance_is_not_cut_short_by_who_does_not_come_or_goes() {
    let groups = GroupSettings { initial_rebalance_delay: Duration::from_secs(20), ..settings().groups };
    let mut group = GroupRig::with(Settings { groups, ..settings() });
    let ids = [group.new_id(), group.new_id(), group.new_id()];
    let first = group.join(&ids[0]);
    let second = group.join(&ids[1]);
    // The third id is given up after a session.
    group.rig.at(10_000);
    assert!(group.joined(first).is_none());
    group.rig.act(|core, now| core.evict(now, GROUP, &ids[1])).unwrap();
    assert_eq!(group.join_code(second), Some(ErrorCode::UNKNOWN_MEMBER_ID));
    group.rig.at(20_000);
    assert!(group.joined(first).is_none(), "others have come, and the rebalance timeout is not over");
    group.rig.at(30_000);
    assert_eq!(group.joined(first).unwrap().generation_id, 1);
}

#[test]
fn the_first_rebalance_does_not_wait_for_ever() {
    let groups = GroupSettings { initial_rebalance_delay: Duration::from_secs(10), ..settings().groups };
    let mut group = GroupRig::with(Settings { groups, ..settings() });
    let first = group.new_id();
    let first = group.join(&first);
    for time in 1..30 {
        group.rig.at(time * 1000);
        let (ticket, _) = group.send(3, &join_request(""));
        assert!(group.rig.outcome(ticket).is_none());
    }
    assert!(group.joined(first).is_none());
    group.rig.at(30_000);
    assert_eq!(group.joined(first).unwrap().members.len(), 30, "the rebalance timeout is the end");
}

#[test]
fn old_clients_join_without_an_id_and_without_a_rebalance_timeout() {
    for version in 0..=3 {
        let mut group = GroupRig::new();
        let request = JoinGroupRequest { rebalance_timeout_ms: -1, ..join_request("") };
        let (first, _) = group.send(version, &request);
        let first = group.rig.answer::<JoinGroupRequest>(first, version).unwrap();
        assert_eq!((first.error_code, first.generation_id, first.members.len()), (NONE, 1, 1));
        let (second, _) = group.send(version, &JoinGroupRequest { session_timeout_ms: 20_000, ..request });
        for time in [9_000, 18_000] {
            group.rig.at(time);
            group.heartbeat(1, &first.member_id);
        }
        group.rig.at(19_999);
        assert!(group.rig.outcome(second).is_none());
        group.rig.at(20_000);
        let response = group.rig.answer::<JoinGroupRequest>(second, version).unwrap();
        assert_eq!(response.members.len(), 1, "its session is how long a rebalance lasts");
    }
}

#[test]
fn a_sync_has_to_fit_the_generation() {
    let (mut group, ids) = GroupRig::stable(1);
    let wrong = |group: &mut GroupRig, request| {
        let (ticket, _) = group.send(5, &request);
        group.sync_code(ticket).unwrap()
    };
    let generation = group.group().generation;
    let good = sync_request(generation, &ids[0], &[]);
    assert_eq!(wrong(&mut group, good.clone()), NONE);
    let mut request = good.clone();
    request.generation_id += 1;
    assert_eq!(wrong(&mut group, request), ErrorCode::ILLEGAL_GENERATION);
    let mut request = good.clone();
    request.member_id = "nobody".to_owned();
    assert_eq!(wrong(&mut group, request), ErrorCode::UNKNOWN_MEMBER_ID);
    let mut request = good.clone();
    request.protocol_name = Some("sticky".to_owned());
    assert_eq!(wrong(&mut group, request), ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    let mut request = good;
    request.protocol_type = None;
    assert_eq!(wrong(&mut group, request), ErrorCode::INCONSISTENT_GROUP_PROTOCOL, "the newest version has to say it");
}
