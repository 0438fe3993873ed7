//! Static members (KIP-345, KIP-814): known by their instance, whoever has its id.

use milena_protocol::messages::describe_groups::DescribeGroupsRequest;
use milena_protocol::messages::heartbeat::HeartbeatRequest;
use milena_protocol::messages::join_group::{JoinGroupRequest, JoinGroupResponse};
use milena_protocol::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use milena_protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use milena_protocol::messages::sync_group::SyncGroupRequest;

use super::{DESCRIBE, HEARTBEAT, LEAVE, Member, SYNC, heartbeat, join, protocol, sync, until_state};
use crate::golden::probes;
use crate::script::Script;

probes! {
    a_static_member_joins_at_once_in_every_version
    a_follower_that_comes_back_gets_the_generation_it_left
    a_leader_that_comes_back_is_told_by_version_not_to_assign
    an_old_id_of_an_instance_is_fenced
    an_instance_that_nobody_has_is_unknown
    an_instance_that_comes_back_with_another_protocol_starts_a_rebalance
    an_instance_that_comes_back_before_the_assignment_starts_a_rebalance
    an_instance_that_comes_back_while_members_join_is_fenced_and_waits
    a_static_member_leaves_by_its_instance_in_every_version
    several_members_leave_in_one_request
    a_static_member_is_described_with_its_instance
}

const JOIN: i16 = 9;

fn join_as(group: &str, instance: &str, member_id: &str) -> JoinGroupRequest {
    JoinGroupRequest { group_instance_id: Some(instance.to_owned()), ..join(group, member_id) }
}

fn heartbeat_as(group: &str, instance: &str, member: &Member) -> HeartbeatRequest {
    HeartbeatRequest { group_instance_id: Some(instance.to_owned()), ..heartbeat(group, &member.id, member.generation) }
}

fn sync_as(group: &str, instance: &str, member: &Member, assignments: &[(&str, &str)]) -> SyncGroupRequest {
    SyncGroupRequest { group_instance_id: Some(instance.to_owned()), ..sync(group, member, assignments) }
}

/// Somebody with a connection and nothing else.
async fn nobody(p: &Script<'_>, group: &str) -> Member {
    Member { connection: p.cluster.raw_coordinator(group).await, id: String::new(), generation: -1 }
}

/// Joins alone and syncs: the instance `a`, which leads.
async fn alone(p: &Script<'_>, group: &str) -> Member {
    let mut member = nobody(p, group).await;
    let sent = member.connection.send(JOIN, &join_as(group, "a", "")).await;
    let answer = member.on_join(sent).await;
    member.id = answer.member_id;
    let request = sync_as(group, "a", &member, &[(&member.id, "one")]);
    let answer = member.connection.ask(SYNC, &request).await;
    assert!(answer.error_code.is_none(), "{answer:?}");
    member
}

/// A stable group of the instances `a`, which leads, and `b`.
async fn two(p: &Script<'_>, group: &str) -> (Member, Member) {
    let mut leader = alone(p, group).await;
    let mut other = nobody(p, group).await;
    let waiting = other.connection.send(JOIN, &join_as(group, "b", "")).await;
    until_state(p, group, "PreparingRebalance").await;
    let sent = leader.connection.send(JOIN, &join_as(group, "a", &leader.id)).await;
    leader.on_join(sent).await;
    other.id = other.on_join(waiting).await.member_id;
    let request = sync_as(group, "a", &leader, &[(&leader.id, "one"), (&other.id, "two")]);
    for (member, request) in [(&mut leader, request), (&mut other, SyncGroupRequest::default())] {
        let request = if request.group_id.is_empty() { sync_as(group, "b", member, &[]) } else { request };
        let answer = member.connection.ask(SYNC, &request).await;
        assert!(answer.error_code.is_none(), "{answer:?}");
    }
    (leader, other)
}

/// Shows an answer, the leader first among the members.
fn show_join(p: &Script<'_>, step: &str, mut answer: JoinGroupResponse) {
    let leader = answer.leader.clone();
    answer.members.sort_by_key(|member| (member.member_id != leader, member.group_instance_id.clone()));
    p.show(step, &answer);
}

async fn a_static_member_joins_at_once_in_every_version(p: &Script<'_>) {
    for version in 5..=9 {
        let group = p.name("G");
        let mut member = nobody(p, &group).await;
        let answer = member.connection.ask(version, &join_as(&group, "a", "")).await;
        show_join(p, &format!("v{version}"), answer);
    }
    let group = p.name("G");
    let mut member = nobody(p, &group).await;
    p.ask("with an id of its own", &mut member.connection, JOIN, &join_as(&group, "a", "mine")).await;
    p.ask("without a name", &mut member.connection, JOIN, &join_as(&group, "", "")).await;
}

async fn a_follower_that_comes_back_gets_the_generation_it_left(p: &Script<'_>) {
    for version in 5..=9 {
        let group = p.name("G");
        let (mut leader, _) = two(p, &group).await;
        let mut back = nobody(p, &group).await;
        let answer = back.connection.ask(version, &join_as(&group, "b", "")).await;
        (back.id, back.generation) = (answer.member_id.clone(), answer.generation_id);
        show_join(p, &format!("v{version}"), answer);
        let request = sync_as(&group, "b", &back, &[]);
        p.ask("its assignment", &mut back.connection, SYNC, &request).await;
        let request = heartbeat_as(&group, "a", &leader);
        p.ask("the leader", &mut leader.connection, HEARTBEAT, &request).await;
    }
}

async fn a_leader_that_comes_back_is_told_by_version_not_to_assign(p: &Script<'_>) {
    for version in 5..=9 {
        let group = p.name("G");
        let (_, mut other) = two(p, &group).await;
        let mut back = nobody(p, &group).await;
        let answer = back.connection.ask(version, &join_as(&group, "a", "")).await;
        (back.id, back.generation) = (answer.member_id.clone(), answer.generation_id);
        show_join(p, &format!("v{version}"), answer);
        let request = sync_as(&group, "a", &back, &[]);
        p.ask("its assignment", &mut back.connection, SYNC, &request).await;
        let request = heartbeat_as(&group, "b", &other);
        p.ask("the other", &mut other.connection, HEARTBEAT, &request).await;
    }
}

fn commit_as(group: &str, topic: &str, instance: Option<&str>, member: &Member) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition { committed_offset: 1, ..Default::default() };
    let topics =
        vec![OffsetCommitRequestTopic { name: topic.to_owned(), partitions: vec![partition], ..Default::default() }];
    OffsetCommitRequest {
        group_id: group.to_owned(),
        generation_id_or_member_epoch: member.generation,
        member_id: member.id.clone(),
        group_instance_id: instance.map(str::to_owned),
        topics,
        ..Default::default()
    }
}

async fn an_old_id_of_an_instance_is_fenced(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let group = p.name("G");
    let (_, mut old) = two(p, &group).await;
    let mut back = nobody(p, &group).await;
    back.connection.ask(JOIN, &join_as(&group, "b", "")).await;
    let request = heartbeat_as(&group, "b", &old);
    p.each_version("heartbeat", &mut old.connection, 3..=4, |_| request.clone()).await;
    let request = sync_as(&group, "b", &old, &[]);
    p.each_version("sync", &mut old.connection, 3..=5, |_| request.clone()).await;
    let request = join_as(&group, "b", &old.id);
    p.each_version("join", &mut old.connection, 5..=9, |_| request.clone()).await;
    let request = commit_as(&group, &topic, Some("b"), &old);
    p.each_version("commit", &mut old.connection, 7..=9, |_| request.clone()).await;
    let request = commit_as(&group, &topic, None, &old);
    p.ask("a commit by the id alone", &mut old.connection, 8, &request).await;
    let request = heartbeat(&group, &old.id, old.generation);
    p.ask("a heartbeat by the id alone", &mut old.connection, HEARTBEAT, &request).await;
}

async fn an_instance_that_nobody_has_is_unknown(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let group = p.name("G");
    let mut member = alone(p, &group).await;
    let request = heartbeat_as(&group, "z", &member);
    p.ask("heartbeat", &mut member.connection, HEARTBEAT, &request).await;
    let request = sync_as(&group, "z", &member, &[]);
    p.ask("sync", &mut member.connection, SYNC, &request).await;
    let request = join_as(&group, "z", &member.id);
    p.ask("join", &mut member.connection, JOIN, &request).await;
    let request = commit_as(&group, &topic, Some("z"), &member);
    p.ask("commit", &mut member.connection, 8, &request).await;
    let request = commit_as(&group, &topic, Some("a"), &member);
    p.ask("its own commit", &mut member.connection, 8, &request).await;
    let request = commit_as(&group, &topic, None, &member);
    p.ask("its own, by the id alone", &mut member.connection, 8, &request).await;
}

async fn an_instance_that_comes_back_with_another_protocol_starts_a_rebalance(p: &Script<'_>) {
    let group = p.name("G");
    let mut member = nobody(p, &group).await;
    let both = |names: [&str; 2]| JoinGroupRequest {
        protocols: names.iter().map(|name| protocol(name, "m")).collect(),
        ..join_as(&group, "a", "")
    };
    let answer = member.connection.ask(JOIN, &both(["range", "sticky"])).await;
    (member.id, member.generation) = (answer.member_id, answer.generation_id);
    let request = sync_as(&group, "a", &member, &[(&member.id, "all")]);
    member.connection.ask(SYNC, &request).await;
    let answer = member.connection.ask(JOIN, &both(["sticky", "range"])).await;
    show_join(p, "the other preferred", answer);
    let other = JoinGroupRequest { protocols: vec![protocol("other", "m")], ..join_as(&group, "a", "") };
    p.ask("one that nobody else has", &mut member.connection, JOIN, &other).await;
}

async fn an_instance_that_comes_back_before_the_assignment_starts_a_rebalance(p: &Script<'_>) {
    let group = p.name("G");
    let mut member = nobody(p, &group).await;
    let sent = member.connection.send(JOIN, &join_as(&group, "a", "")).await;
    member.id = member.on_join(sent).await.member_id;
    let mut back = nobody(p, &group).await;
    let answer = back.connection.ask(JOIN, &join_as(&group, "a", "")).await;
    show_join(p, "back", answer);
    let request = sync_as(&group, "a", &member, &[(&member.id, "all")]);
    p.ask("the old one's assignment", &mut member.connection, SYNC, &request).await;
}

async fn an_instance_that_comes_back_while_members_join_is_fenced_and_waits(p: &Script<'_>) {
    let group = p.name("G");
    let (mut leader, mut other) = two(p, &group).await;
    // The leader joins again and waits for the other.
    let waiting = leader.connection.send(JOIN, &join_as(&group, "a", &leader.id)).await;
    until_state(p, &group, "PreparingRebalance").await;
    let mut back = nobody(p, &group).await;
    let back_waits = back.connection.send(JOIN, &join_as(&group, "a", "")).await;
    p.answer("the old one", &mut leader.connection, waiting).await;
    let other_waits = other.connection.send(JOIN, &join_as(&group, "b", &other.id)).await;
    let answer = back.connection.answer(back_waits).await;
    show_join(p, "the new one", answer);
    let answer = other.connection.answer(other_waits).await;
    show_join(p, "the other", answer);
}

fn by(member_id: &str, instance: Option<&str>) -> MemberIdentity {
    MemberIdentity {
        member_id: member_id.to_owned(),
        group_instance_id: instance.map(str::to_owned),
        reason: Some("why not".to_owned()),
    }
}

async fn a_static_member_leaves_by_its_instance_in_every_version(p: &Script<'_>) {
    for version in 3..=5 {
        let group = p.name("G");
        let mut member = alone(p, &group).await;
        let leave = |members| LeaveGroupRequest { group_id: group.clone(), members, ..Default::default() };
        let step = format!("v{version}");
        p.ask(&step, &mut member.connection, version, &leave(vec![by("", Some("a"))])).await;
        p.ask("once more", &mut member.connection, version, &leave(vec![by("", Some("a"))])).await;
        let request = heartbeat_as(&group, "a", &member);
        p.ask("heartbeat", &mut member.connection, HEARTBEAT, &request).await;
    }
}

async fn several_members_leave_in_one_request(p: &Script<'_>) {
    let group = p.name("G");
    let (mut leader, other) = two(p, &group).await;
    let members = vec![
        by("", Some("z")),
        by("nobody", None),
        by("", None),
        by(&other.id, Some("a")),
        by(&other.id, Some("b")),
        by("", Some("b")),
        by(&leader.id, None),
    ];
    let request = LeaveGroupRequest { group_id: group.clone(), members, ..Default::default() };
    p.ask("leave", &mut leader.connection, LEAVE, &request).await;
    let request = LeaveGroupRequest { group_id: group.clone(), ..Default::default() };
    p.ask("nobody leaves", &mut leader.connection, LEAVE, &request).await;
    until_state(p, &group, "Empty").await;
}

async fn a_static_member_is_described_with_its_instance(p: &Script<'_>) {
    let group = p.name("G");
    let mut member = alone(p, &group).await;
    let request = DescribeGroupsRequest { groups: vec![group.clone()], ..Default::default() };
    p.each_version("describe", &mut member.connection, 3..=DESCRIBE, |_| request.clone()).await;
}
