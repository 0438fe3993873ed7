//! Heartbeat, LeaveGroup, DescribeGroups, ListGroups, and requests that go to the wrong broker.

use milena_protocol::messages::describe_groups::DescribeGroupsRequest;
use milena_protocol::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use milena_protocol::messages::list_groups::ListGroupsRequest;
use milena_protocol::messages::offset_commit::OffsetCommitRequest;
use milena_protocol::messages::offset_fetch::OffsetFetchRequest;
use milena_tests::raw::RawConnection;

use super::{DESCRIBE, HEARTBEAT, JOIN, LEAVE, Member, SYNC, heartbeat, join, leave, sync, until_state};
use crate::golden::probes;
use crate::script::Script;

probes! {
    every_version_takes_a_heartbeat
    a_heartbeat_must_fit_the_generation
    every_version_lets_a_member_leave
    an_unknown_member_cannot_leave
    several_members_leave_at_once
    the_last_member_leaves_an_empty_group
    every_version_describes_a_stable_group
    a_group_is_described_in_each_state
    an_unknown_group_is_dead
    several_groups_are_described_at_once
    every_version_lists_groups
    groups_are_listed_by_state
    groups_are_listed_by_type
    another_broker_is_not_the_coordinator
    an_empty_group_id_is_refused
    operations_of_a_group_are_listed_on_demand
}

async fn every_version_takes_a_heartbeat(p: &Script<'_>) {
    let group = p.name("G");
    let mut member = Member::stable(p, &group).await;
    let beat = heartbeat(&group, &member.id, 1);
    p.each_version("stable", &mut member.connection, 0..=4, |_| beat.clone()).await;
}

async fn a_heartbeat_must_fit_the_generation(p: &Script<'_>) {
    let group = p.name("G");
    let mut member = Member::stable(p, &group).await;
    let stranger = p.name("stranger");
    let (id, to) = (member.id.clone(), &mut member.connection);
    for generation in [0, 2, -1] {
        p.ask(&format!("generation {generation}"), to, HEARTBEAT, &heartbeat(&group, &id, generation)).await;
    }
    p.ask("an unknown member", to, HEARTBEAT, &heartbeat(&group, &stranger, 1)).await;
    p.ask("no member", to, HEARTBEAT, &heartbeat(&group, "", 1)).await;
    p.ask("an empty group", to, LEAVE, &leave(&group, &[&id])).await;
    p.ask("after it left", to, HEARTBEAT, &heartbeat(&group, &id, 1)).await;
    let unknown = p.name("H");
    let mut coordinator = p.cluster.raw_coordinator(&unknown).await;
    p.ask("an unknown group", &mut coordinator, HEARTBEAT, &heartbeat(&unknown, &id, 1)).await;
}

async fn every_version_lets_a_member_leave(p: &Script<'_>) {
    for version in 0..=5 {
        let group = p.name("G");
        let mut member = Member::stable(p, &group).await;
        let request = leave(&group, &[&member.id]);
        p.ask(&format!("v{version}"), &mut member.connection, version, &request).await;
        p.ask("again", &mut member.connection, version, &request).await;
    }
}

async fn an_unknown_member_cannot_leave(p: &Script<'_>) {
    let group = p.name("G");
    let stranger = p.name("stranger");
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    for version in [0, 2, 3, 5] {
        p.ask(&format!("v{version}, no group"), &mut coordinator, version, &leave(&group, &[&stranger])).await;
    }
    let _member = Member::stable(p, &group).await;
    for version in [2, 3, 5] {
        p.ask(&format!("v{version}"), &mut coordinator, version, &leave(&group, &[&stranger])).await;
    }
    p.ask("nobody", &mut coordinator, LEAVE, &leave(&group, &[])).await;
    p.ask("no id", &mut coordinator, LEAVE, &leave(&group, &[""])).await;
    let member = MemberIdentity { group_instance_id: Some("nobody".to_owned()), ..Default::default() };
    let by_instance = LeaveGroupRequest { members: vec![member], ..leave(&group, &[]) };
    p.ask("an unknown instance", &mut coordinator, LEAVE, &by_instance).await;
}

async fn several_members_leave_at_once(p: &Script<'_>) {
    let group = p.name("G");
    let mut first = Member::joined(p, &group).await;
    let mut second = Member::pending(p, &group).await;
    let joining = second.rejoin(&group).await;
    until_state(p, &group, "PreparingRebalance").await;
    let again = first.rejoin(&group).await;
    first.on_join(again).await;
    second.on_join(joining).await;
    let stranger = p.name("stranger");
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    let request = leave(&group, &[&first.id, &stranger, &second.id]);
    p.ask("two and a stranger", &mut coordinator, LEAVE, &request).await;
    let describe = DescribeGroupsRequest { groups: vec![group.clone()], ..Default::default() };
    p.ask("the group", &mut coordinator, DESCRIBE, &describe).await;
}

async fn the_last_member_leaves_an_empty_group(p: &Script<'_>) {
    let group = p.name("G");
    let mut member = Member::stable(p, &group).await;
    let id = member.id.clone();
    let to = &mut member.connection;
    p.ask("leave", to, LEAVE, &leave(&group, &[&id])).await;
    let describe = DescribeGroupsRequest { groups: vec![group.clone()], ..Default::default() };
    p.ask("the group", to, DESCRIBE, &describe).await;
    p.ask("join", to, JOIN, &join(&group, &id)).await;
    let next = to.ask(JOIN, &join(&group, "")).await;
    p.ask("join anew", to, JOIN, &join(&group, &next.member_id)).await;
}

fn describe(groups: &[&str]) -> DescribeGroupsRequest {
    DescribeGroupsRequest { groups: groups.iter().map(|group| (*group).to_owned()).collect(), ..Default::default() }
}

async fn every_version_describes_a_stable_group(p: &Script<'_>) {
    let group = p.name("G");
    let mut member = Member::stable(p, &group).await;
    p.each_version("stable", &mut member.connection, 0..=6, |_| describe(&[&group])).await;
}

async fn a_group_is_described_in_each_state(p: &Script<'_>) {
    let group = p.name("G");
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    // Before its first assignment a group is not written, and Kafka may or may not describe it.
    let first = Member::stable(p, &group).await;
    p.ask("stable", &mut coordinator, DESCRIBE, &describe(&[&group])).await;
    let answer = coordinator.ask(JOIN, &join(&group, "")).await;
    let mut second = p.cluster.raw_coordinator(&group).await;
    let _joining = second.send(JOIN, &join(&group, &answer.member_id)).await;
    until_state(p, &group, "PreparingRebalance").await;
    let mut answer = coordinator.ask(DESCRIBE, &describe(&[&group])).await;
    let members = answer.groups[0].members.len();
    answer.groups[0].members.clear();
    p.show(&format!("preparing, {members} members"), &answer);
    p.ask("both leave", &mut coordinator, LEAVE, &leave(&group, &[&first.id])).await;
    until_state(p, &group, "CompletingRebalance").await;
    p.ask("completing again", &mut coordinator, DESCRIBE, &describe(&[&group])).await;
}

async fn an_unknown_group_is_dead(p: &Script<'_>) {
    let group = p.name("G");
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    p.each_version("unknown", &mut coordinator, 0..=6, |_| describe(&[&group])).await;
    p.ask("no groups", &mut coordinator, DESCRIBE, &describe(&[])).await;
}

async fn several_groups_are_described_at_once(p: &Script<'_>) {
    let group = p.name("G");
    let mut member = Member::stable(p, &group).await;
    let answer = member.connection.ask(DESCRIBE, &describe(&[&group, &group])).await;
    p.show("one twice", &answer);
}

/// The groups of these names.
async fn listed(
    p: &Script<'_>,
    step: &str,
    to: &mut RawConnection,
    version: i16,
    groups: &[&str],
    (states, types): (&[&str], &[&str]),
) {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let request = ListGroupsRequest { states_filter: owned(states), types_filter: owned(types) };
    let mut answer = to.ask(version, &request).await;
    answer.groups.retain(|group| groups.contains(&group.group_id.as_str()));
    answer.groups.sort_by(|one, other| one.group_id.cmp(&other.group_id));
    p.show(step, &answer);
}

async fn every_version_lists_groups(p: &Script<'_>) {
    let group = p.name("G");
    let mut member = Member::stable(p, &group).await;
    for version in 0..=5 {
        listed(p, &format!("v{version}"), &mut member.connection, version, &[&group], (&[], &[])).await;
    }
}

async fn groups_are_listed_by_state(p: &Script<'_>) {
    let group = p.name("G");
    let mut member = Member::stable(p, &group).await;
    for states in [
        &["Stable"][..],
        &["Empty"],
        &["Empty", "Stable"],
        &["stable"],
        &["STABLE"],
        &["Nonsense"],
        &["PreparingRebalance", "preparingrebalance"],
        &["CompletingRebalance"],
        &["Dead"],
        &["Assigning", "Reconciling"],
    ] {
        listed(p, &format!("{states:?}"), &mut member.connection, 5, &[&group], (states, &[])).await;
    }
    let left = leave(&group, &[&member.id]);
    member.connection.ask(LEAVE, &left).await;
    listed(p, "empty", &mut member.connection, 4, &[&group], (&["Empty"], &[])).await;
}

async fn groups_are_listed_by_type(p: &Script<'_>) {
    let group = p.name("G");
    let mut member = Member::stable(p, &group).await;
    for types in [&["classic"][..], &["Classic"], &["consumer"], &["consumer", "classic"], &["share"], &["nonsense"]] {
        listed(p, &format!("{types:?}"), &mut member.connection, 5, &[&group], (&[], types)).await;
    }
}

async fn another_broker_is_not_the_coordinator(p: &Script<'_>) {
    let group = p.name("G");
    let mut other = p.cluster.raw(p.cluster.coordinator(&group).await % 3 + 1).await;
    let stranger = Member { connection: p.cluster.raw(1).await, id: p.name("stranger"), generation: 1 };
    p.ask("join v0", &mut other, 0, &join(&group, "")).await;
    p.ask("join", &mut other, JOIN, &join(&group, "")).await;
    p.ask("sync", &mut other, SYNC, &sync(&group, &stranger, &[])).await;
    p.ask("heartbeat", &mut other, HEARTBEAT, &heartbeat(&group, &stranger.id, 1)).await;
    p.ask("leave", &mut other, LEAVE, &leave(&group, &[&stranger.id])).await;
    p.ask("leave v2", &mut other, 2, &leave(&group, &[&stranger.id])).await;
    p.each_version("describe", &mut other, 5..=6, |_| describe(&[&group])).await;
    let commit = crate::offsets::commit(&group, "no-such-topic", 0, 5);
    p.ask("commit", &mut other, 8, &commit).await;
    p.ask("commit of nothing", &mut other, 8, &OffsetCommitRequest { topics: vec![], ..commit }).await;
    let all = OffsetFetchRequest { topics: None, ..crate::offsets::fetch_offsets(&group, &[]) };
    p.each_version("fetch offsets", &mut other, 1..=10, |version| OffsetFetchRequest {
        topics: if version < 2 { Some(vec![]) } else { None },
        ..all.clone()
    })
    .await;
    p.ask("fetch one offset", &mut other, 1, &crate::offsets::fetch_offsets(&group, &[("no-such-topic", &[0])])).await;
}

async fn an_empty_group_id_is_refused(p: &Script<'_>) {
    let mut broker = p.cluster.raw_coordinator("").await;
    let stranger = Member { connection: p.cluster.raw(1).await, id: p.name("stranger"), generation: 1 };
    p.ask("sync", &mut broker, SYNC, &sync("", &stranger, &[])).await;
    p.ask("heartbeat", &mut broker, HEARTBEAT, &heartbeat("", &stranger.id, 1)).await;
    p.ask("leave", &mut broker, LEAVE, &leave("", &[&stranger.id])).await;
    p.ask("describe", &mut broker, DESCRIBE, &describe(&[""])).await;
}

async fn operations_of_a_group_are_listed_on_demand(p: &Script<'_>) {
    let group = p.name("G");
    let mut member = Member::stable(p, &group).await;
    let request = DescribeGroupsRequest { include_authorized_operations: true, ..describe(&[&group]) };
    p.each_version("with", &mut member.connection, 2..=6, |_| request.clone()).await;
}
