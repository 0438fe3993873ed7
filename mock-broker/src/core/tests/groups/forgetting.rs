//! Offsets that nobody needs, groups that nobody is in, and groups that are full. Pure.

use bytes::Bytes;
use milena_protocol::ErrorCode;
use milena_protocol::group::Subscription;
use milena_protocol::messages::delete_groups::DeleteGroupsRequest;
use milena_protocol::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use milena_protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};

use super::members::{GROUP, GroupRig, JOIN, join_request};
use crate::core::tests::rig::{NONE, settings};
use crate::core::{GroupSettings, GroupState, Settings};

const DAYS: u64 = 24 * 3600 * 1000;
const MINUTES: u64 = 60_000;

fn delete_group(group: &mut GroupRig, broker: i32, name: &str) -> ErrorCode {
    let request = DeleteGroupsRequest { groups_names: vec![name.to_owned()] };
    group.rig.ask(broker, 3, &request).results[0].error_code
}

/// The answer's own code, and that of each partition.
fn delete_offsets(group: &mut GroupRig, topics: &[(&str, i32)]) -> (ErrorCode, Vec<ErrorCode>) {
    let topic = |(name, partition_index): &(&str, i32)| OffsetDeleteRequestTopic {
        name: (*name).to_owned(),
        partitions: vec![OffsetDeleteRequestPartition { partition_index: *partition_index }],
    };
    let request = OffsetDeleteRequest { group_id: GROUP.to_owned(), topics: topics.iter().map(topic).collect() };
    let answer = group.rig.ask(group.coordinator(), 0, &request);
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    (answer.error_code, partitions.map(|partition| partition.error_code).collect())
}

/// A member that wants these topics.
fn subscribed(member_id: &str, topics: &[&str]) -> JoinGroupRequest {
    let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
    let metadata = Subscription { topics, ..Subscription::default() }.encode().unwrap();
    let protocols = vec![JoinGroupRequestProtocol { name: "range".to_owned(), metadata }];
    JoinGroupRequest { protocols, ..join_request(member_id) }
}

/// A stable group of one member that wants these topics.
fn of_one(topics: &[&str]) -> (GroupRig, String) {
    let mut group = GroupRig::new();
    let (ticket, _) = group.send(JOIN, &subscribed("", topics));
    let id = group.joined(ticket).unwrap().member_id;
    let (ticket, _) = group.send(JOIN, &subscribed(&id, topics));
    let generation = group.joined(ticket).unwrap().generation_id;
    let sync = group.sync(generation, &id, &[(&id, "all")]);
    assert_eq!(group.sync_code(sync), Some(NONE));
    (group, id)
}

fn committed(group: &GroupRig) -> Option<i64> {
    group.rig.core.committed(GROUP, "t", 0)
}

#[test]
fn offsets_expire_seven_days_after_the_group_has_become_empty() {
    let (mut group, ids) = GroupRig::stable(1);
    let generation = group.group().generation;
    assert_eq!(group.commit(generation, &ids[0], 5), NONE);
    group.rig.at(9_000);
    assert_eq!(group.leave(&[&ids[0]]), [NONE]);
    group.rig.at(7 * DAYS + 5_000);
    assert_eq!(committed(&group), Some(5));
    group.rig.at(7 * DAYS + 10 * MINUTES);
    assert_eq!((committed(&group), group.state()), (None, GroupState::Dead));
    group.rig.at(8 * DAYS);
    assert_eq!(group.rig.core.next_deadline(), None, "nothing is left");
}

#[test]
fn the_next_coordinator_knows_since_when_the_group_is_empty() {
    let (mut group, ids) = GroupRig::stable(1);
    let generation = group.group().generation;
    assert_eq!(group.commit(generation, &ids[0], 5), NONE);
    assert_eq!(group.leave(&[&ids[0]]), [NONE]);
    group.rig.at(6 * DAYS);
    let first = group.coordinator();
    group.rig.act(|core, now| core.crash(now, first));
    assert_ne!(group.coordinator(), first);
    group.rig.at(7 * DAYS - MINUTES);
    assert_eq!(committed(&group), Some(5));
    group.rig.at(7 * DAYS);
    assert_eq!((committed(&group), group.state()), (None, GroupState::Dead));
    let second = group.coordinator();
    group.rig.act(|core, now| core.crash(now, second));
    assert_eq!((committed(&group), group.state()), (None, GroupState::Dead), "it is in the log");
}

#[test]
fn a_group_that_is_empty_and_has_no_offsets_goes_at_the_next_check() {
    let (mut group, ids) = GroupRig::stable(1);
    assert_eq!(group.leave(&[&ids[0]]), [NONE]);
    group.rig.at(10 * MINUTES - 1);
    assert_eq!(group.state(), GroupState::Empty);
    group.rig.at(10 * MINUTES);
    assert_eq!(group.state(), GroupState::Dead);
}

#[test]
fn offsets_of_nobody_expire_after_their_commit() {
    let mut group = GroupRig::new();
    assert_eq!(group.commit(-1, "", 5), NONE);
    group.rig.at(3 * DAYS);
    assert_eq!(group.commit(-1, "", 6), NONE);
    group.rig.at(8 * DAYS);
    assert_eq!(committed(&group), Some(6));
    group.rig.at(10 * DAYS);
    assert_eq!((committed(&group), group.state()), (None, GroupState::Dead));
}

#[test]
fn while_members_want_a_topic_its_offsets_stay_and_others_expire() {
    for (topics, expected) in [(["t"], Some(5)), (["u"], None)] {
        let (mut group, id) = of_one(&topics);
        let generation = group.group().generation;
        assert_eq!(group.commit(generation, &id, 5), NONE);
        let mut time = 0;
        while time < 7 * DAYS {
            time += 9_000;
            group.rig.at(time);
            assert_eq!(group.heartbeat(generation, &id), NONE);
        }
        assert_eq!(group.state(), GroupState::Stable);
        assert_eq!(committed(&group), expected, "{topics:?}");
    }
}

#[test]
fn a_group_is_deleted_with_its_offsets_when_nobody_is_in_it() {
    let (mut group, ids) = GroupRig::stable(1);
    let coordinator = group.coordinator();
    let generation = group.group().generation;
    assert_eq!(group.commit(generation, &ids[0], 5), NONE);
    assert_eq!(delete_group(&mut group, coordinator, GROUP), ErrorCode::NON_EMPTY_GROUP);
    assert_eq!(delete_group(&mut group, coordinator % 3 + 1, GROUP), ErrorCode::NOT_COORDINATOR);
    assert_eq!(group.leave(&[&ids[0]]), [NONE]);
    assert_eq!(delete_group(&mut group, coordinator, GROUP), NONE);
    assert_eq!((committed(&group), group.state()), (None, GroupState::Dead));
    assert_eq!(delete_group(&mut group, coordinator, GROUP), ErrorCode::GROUP_ID_NOT_FOUND);
    group.rig.act(|core, now| core.crash(now, coordinator));
    assert_eq!((committed(&group), group.state()), (None, GroupState::Dead), "it is in the log");

    let coordinator = group.coordinator();
    assert_eq!(group.commit(-1, "", 5), NONE, "one that nobody has joined");
    assert_eq!(delete_group(&mut group, coordinator, GROUP), NONE);
    assert_eq!(committed(&group), None);
}

#[test]
fn offsets_are_deleted_unless_a_member_wants_their_topic() {
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let (mut group, id) = of_one(&["t"]);
    group.rig.create("u", 1, &[]);
    let generation = group.group().generation;
    assert_eq!(group.commit(generation, &id, 5), NONE);
    let (code, partitions) = delete_offsets(&mut group, &[("t", 0), ("u", 0), ("t", 7), ("x", 0)]);
    assert_eq!((code, partitions), (NONE, vec![ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC, unknown, NONE, unknown]));
    assert_eq!(committed(&group), Some(5));
    assert_eq!(group.leave(&[&id]), [NONE]);
    assert_eq!(delete_offsets(&mut group, &[("t", 0)]), (NONE, vec![NONE]));
    assert_eq!(committed(&group), None);
    let coordinator = group.coordinator();
    assert_eq!(delete_group(&mut group, coordinator, GROUP), NONE);
    assert_eq!(delete_offsets(&mut group, &[("t", 0)]), (ErrorCode::GROUP_ID_NOT_FOUND, Vec::new()));
}

#[test]
fn members_that_are_no_consumers_keep_their_offsets() {
    let mut group = GroupRig::new();
    let protocols = vec![JoinGroupRequestProtocol { name: "p".to_owned(), metadata: Bytes::from_static(b"?") }];
    let connect = |id: &str| JoinGroupRequest {
        protocol_type: "connect".to_owned(),
        protocols: protocols.clone(),
        ..join_request(id)
    };
    let (ticket, _) = group.send(JOIN, &connect(""));
    let id = group.joined(ticket).unwrap().member_id;
    group.send(JOIN, &connect(&id));
    assert_eq!(delete_offsets(&mut group, &[("t", 0)]).0, ErrorCode::NON_EMPTY_GROUP);
}

#[test]
fn a_group_that_is_full_takes_nobody() {
    let groups = GroupSettings { max_size: 2, ..settings().groups };
    let mut group = GroupRig::with(Settings { groups, ..settings() });
    let ids = group.fill(2);
    let full = ErrorCode::GROUP_MAX_SIZE_REACHED;
    let refused = group.join("");
    let refused = group.joined(refused).unwrap();
    assert_eq!((refused.error_code, refused.member_id.as_str()), (full, ""));
    assert_eq!(group.state(), GroupState::Stable, "nobody is disturbed");
    // Those who are in it come and go.
    group.rig.act(|core, now| core.rebalance_group(now, GROUP)).unwrap();
    let tickets = [group.join(&ids[0]), group.join(&ids[1])];
    for ticket in tickets {
        assert_eq!(group.join_code(ticket), Some(NONE));
    }
    group.sync_all(&ids);
    assert_eq!(group.leave(&[&ids[0]]), [NONE]);
    let promised = group.new_id();
    let (again, new) = (group.join(&ids[1]), group.join(&promised));
    assert_eq!((group.join_code(again), group.join_code(new)), (Some(NONE), Some(NONE)));
    assert_eq!(group.ids().len(), 2);
}
