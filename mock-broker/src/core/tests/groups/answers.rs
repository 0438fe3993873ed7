//! What outsiders are told of groups, and requests that no group can answer. Pure.

use milena_protocol::ErrorCode;
use milena_protocol::messages::describe_groups::{DescribeGroupsRequest, DescribedGroup};
use milena_protocol::messages::heartbeat::HeartbeatRequest;
use milena_protocol::messages::join_group::JoinGroupRequest;
use milena_protocol::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use milena_protocol::messages::list_groups::{ListGroupsRequest, ListedGroup};
use milena_protocol::messages::sync_group::SyncGroupRequest;

use super::members::{GROUP, GroupRig, join_request, sync_request};
use crate::core::tests::rig::NONE;

fn describe(group: &mut GroupRig, version: i16, id: &str) -> DescribedGroup {
    let include_authorized_operations = version >= 3;
    let request = DescribeGroupsRequest { groups: vec![id.to_owned()], include_authorized_operations };
    let coordinator = group.rig.core.coordinator(id);
    group.rig.ask(coordinator, version, &request).groups.remove(0)
}

fn list(group: &mut GroupRig, version: i16, states: &[&str], types: &[&str]) -> Vec<ListedGroup> {
    let strings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let request = ListGroupsRequest { states_filter: strings(states), types_filter: strings(types) };
    let coordinator = group.coordinator();
    let response = group.rig.ask(coordinator, version, &request);
    assert_eq!(response.error_code, NONE);
    response.groups
}

#[test]
fn a_group_is_described_in_every_version() {
    for version in 0..=6 {
        let (mut group, ids) = GroupRig::stable(2);
        let stable = describe(&mut group, version, GROUP);
        assert_eq!((stable.error_code, stable.group_state.as_str()), (NONE, "Stable"));
        assert_eq!((stable.protocol_type.as_str(), stable.protocol_data.as_str()), ("consumer", "range"));
        assert_eq!(stable.authorized_operations, if version >= 3 { 3400 } else { i32::MIN });
        let second = &stable.members[1];
        assert_eq!((second.member_id.as_str(), second.client_id.as_str()), (ids[1].as_str(), "rig"));
        assert_eq!(second.client_host, "127.0.0.1");
        assert_eq!((&second.member_metadata[..], &second.member_assignment[..]), (&b"about range"[..], &b"1"[..]));

        let joining = group.join(&ids[0]);
        let preparing = describe(&mut group, version, GROUP);
        assert_eq!((preparing.group_state.as_str(), preparing.protocol_data.as_str()), ("PreparingRebalance", ""));
        let second = &preparing.members[1];
        assert_eq!((&second.member_metadata[..], &second.member_assignment[..]), (&b""[..], &b"1"[..]));
        group.join(&ids[1]);
        assert!(group.joined(joining).is_some());
        assert_eq!(describe(&mut group, version, GROUP).group_state, "CompletingRebalance");
    }
}

#[test]
fn an_unknown_group_is_dead_and_later_an_error() {
    let mut group = GroupRig::new();
    for version in 0..=6 {
        let unknown = describe(&mut group, version, "nobody's");
        assert_eq!(unknown.group_state, "Dead");
        assert_eq!(unknown.error_code, if version < 6 { NONE } else { ErrorCode::GROUP_ID_NOT_FOUND });
        assert_eq!(unknown.error_message.is_some(), version == 6);
    }
    let other = 1 + group.coordinator() % 3;
    let request = DescribeGroupsRequest { groups: vec![GROUP.to_owned()], ..Default::default() };
    let elsewhere = &group.rig.ask(other, 6, &request).groups[0];
    assert_eq!((elsewhere.error_code, elsewhere.group_state.as_str()), (ErrorCode::NOT_COORDINATOR, ""));
}

#[test]
fn groups_are_listed_where_they_are_coordinated() {
    let (mut group, ids) = GroupRig::stable(1);
    for version in 0..=5 {
        let listed = list(&mut group, version, &[], &[]);
        assert_eq!(
            (listed.len(), listed[0].group_id.as_str(), listed[0].protocol_type.as_str()),
            (1, GROUP, "consumer")
        );
        assert_eq!(listed[0].group_state, if version >= 4 { "Stable" } else { "" });
        assert_eq!(listed[0].group_type, if version >= 5 { "classic" } else { "" });
    }
    let other = 1 + group.coordinator() % 3;
    assert!(group.rig.ask(other, 5, &ListGroupsRequest::default()).groups.is_empty());

    for (states, types, count) in [
        (&["stable"][..], &["Classic"][..], 1),
        (&["Empty", "Stable"], &[], 1),
        (&["Empty"], &[], 0),
        (&["junk"], &[], 0),
        (&[], &["consumer"], 0),
        (&[], &["consumer", "classic"], 1),
        (&[], &["junk"], 0),
    ] {
        assert_eq!(list(&mut group, 5, states, types).len(), count, "{states:?} {types:?}");
    }
    group.leave(&[&ids[0]]);
    assert_eq!(list(&mut group, 5, &["Empty"], &[]).len(), 1);
}

#[test]
fn simple_consumers_groups_are_listed_too() {
    let mut group = GroupRig::new();
    assert!(list(&mut group, 5, &[], &[]).is_empty());
    group.commit(-1, "", 3);
    let listed = list(&mut group, 5, &[], &[]);
    assert_eq!((listed[0].group_state.as_str(), listed[0].protocol_type.as_str()), ("Empty", ""));
    assert_eq!(describe(&mut group, 6, GROUP).group_state, "Empty");
}

/// The code of each API that members use, in every version.
fn codes(group: &mut GroupRig, broker: i32, id: &str) -> Vec<ErrorCode> {
    let group_id = || id.to_owned();
    let mut codes = Vec::new();
    for version in 0..=9 {
        let request = JoinGroupRequest { group_id: group_id(), ..join_request("m") };
        codes.push(group.rig.ask(broker, version, &request).error_code);
    }
    for version in 0..=5 {
        let request = SyncGroupRequest { group_id: group_id(), ..sync_request(1, "m", &[]) };
        codes.push(group.rig.ask(broker, version, &request).error_code);
        let members = vec![MemberIdentity { member_id: "m".to_owned(), ..Default::default() }];
        let request = LeaveGroupRequest { group_id: group_id(), member_id: "m".to_owned(), members };
        let response = group.rig.ask(broker, version, &request);
        codes.push(response.members.first().map_or(response.error_code, |member| member.error_code));
    }
    for version in 0..=4 {
        let request = HeartbeatRequest {
            group_id: group_id(),
            member_id: "m".to_owned(),
            generation_id: 1,
            ..Default::default()
        };
        codes.push(group.rig.ask(broker, version, &request).error_code);
    }
    codes
}

#[test]
fn requests_to_the_wrong_group_or_broker_are_refused() {
    let (mut group, _) = GroupRig::stable(1);
    let coordinator = group.coordinator();
    for (broker, id, expected) in [
        (coordinator, GROUP, ErrorCode::UNKNOWN_MEMBER_ID),
        (coordinator, "", ErrorCode::INVALID_GROUP_ID),
        (1 + coordinator % 3, GROUP, ErrorCode::NOT_COORDINATOR),
    ] {
        let codes = codes(&mut group, broker, id);
        assert!(codes.iter().all(|code| *code == expected), "{id} at {broker}: {codes:?}");
    }
    let unknown = (0..).map(|number| format!("u{number}")).find(|id| group.rig.core.coordinator(id) == coordinator);
    let codes = codes(&mut group, coordinator, &unknown.unwrap());
    assert!(codes.iter().all(|code| *code == ErrorCode::UNKNOWN_MEMBER_ID), "{codes:?}");
}

#[test]
fn a_refusal_names_no_protocol() {
    let mut group = GroupRig::new();
    let coordinator = group.coordinator();
    for version in 0..=9 {
        let response = group.rig.ask(coordinator, version, &join_request("m"));
        assert_eq!(response.protocol_name.as_deref(), if version < 7 { Some("") } else { None });
        assert_eq!((response.generation_id, response.member_id.as_str()), (-1, "m"));
    }
}
