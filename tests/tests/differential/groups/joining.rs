//! JoinGroup and SyncGroup.

use std::time::Duration;

use milena_protocol::messages::join_group::JoinGroupRequest;
use milena_protocol::messages::sync_group::SyncGroupRequest;
use milena_tests::eventually::eventually;

use super::{
    DESCRIBE, HEARTBEAT, JOIN, LEAVE, Member, SYNC, heartbeat, join, leave, protocol, sync, until_members, until_state,
};
use crate::golden::probes;
use crate::script::Script;
use milena_protocol::messages::describe_groups::DescribeGroupsRequest;

probes! {
    every_version_joins_a_group
    a_new_member_is_given_its_id_first
    an_empty_group_id_cannot_be_joined
    a_session_timeout_out_of_bounds_is_refused
    an_unknown_member_cannot_join
    a_member_without_protocols_is_refused
    protocols_must_have_one_in_common
    the_protocol_that_all_members_know_and_most_prefer_is_chosen
    a_leader_that_joins_again_begins_a_generation
    a_follower_that_joins_again_unchanged_is_answered_at_once
    a_follower_with_other_metadata_begins_a_generation
    two_members_join_when_the_first_joins_again
    who_does_not_join_again_in_time_is_out
    a_member_that_is_silent_is_out
    who_does_not_sync_in_time_is_out
    an_id_that_was_given_can_be_given_back
    every_version_syncs
    the_others_wait_for_the_leader_to_sync
    a_member_without_an_assignment_gets_an_empty_one
    a_sync_must_fit_the_generation
    a_sync_must_name_the_protocol
    a_stable_group_answers_a_sync_with_the_assignment
    a_sync_during_a_join_is_told_to_join
    a_member_that_leaves_does_not_hold_up_a_join
    a_member_id_of_another_group_is_unknown
    a_full_group_takes_nobody_else
}

async fn every_version_joins_a_group(p: &Script<'_>) {
    for version in 0..=9 {
        let group = p.name("G");
        let mut coordinator = p.cluster.raw_coordinator(&group).await;
        let first = p.ask(&format!("v{version}"), &mut coordinator, version, &join(&group, "")).await;
        if version >= 4 {
            p.ask("with the id", &mut coordinator, version, &join(&group, &first.member_id)).await;
        }
    }
}

async fn a_new_member_is_given_its_id_first(p: &Script<'_>) {
    let group = p.name("G");
    let mut pending = Member::pending(p, &group).await;
    let (id, to) = (pending.id.clone(), &mut pending.connection);
    p.note(&format!("begins with the name of the client: {}", id.starts_with("raw-")));
    p.ask("heartbeat", to, HEARTBEAT, &heartbeat(&group, &id, -1)).await;
    p.ask("heartbeat of generation 0", to, HEARTBEAT, &heartbeat(&group, &id, 0)).await;
    p.ask("leaves", to, LEAVE, &leave(&group, &[&id])).await;
    p.ask("joins after that", to, JOIN, &join(&group, &id)).await;
}

async fn an_empty_group_id_cannot_be_joined(p: &Script<'_>) {
    let mut broker = p.cluster.raw_coordinator(&p.name("G")).await;
    for version in [0, 4, 9] {
        p.ask(&format!("v{version}"), &mut broker, version, &join("", "")).await;
    }
}

async fn a_session_timeout_out_of_bounds_is_refused(p: &Script<'_>) {
    let group = p.name("G");
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    for session_timeout_ms in [0, -1, 499, 500, 1_800_000, 1_800_001] {
        let request = JoinGroupRequest { session_timeout_ms, ..join(&group, "") };
        p.ask(&format!("{session_timeout_ms} ms"), &mut coordinator, JOIN, &request).await;
    }
}

async fn an_unknown_member_cannot_join(p: &Script<'_>) {
    let group = p.name("G");
    let stranger = p.name("stranger");
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    for version in [0, 4, 9] {
        p.ask(&format!("v{version}, no group"), &mut coordinator, version, &join(&group, &stranger)).await;
    }
    let _member = Member::stable(p, &group).await;
    p.ask("a stable group", &mut coordinator, JOIN, &join(&group, &stranger)).await;
}

async fn a_member_without_protocols_is_refused(p: &Script<'_>) {
    let group = p.name("G");
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    let no_protocols = JoinGroupRequest { protocols: vec![], ..join(&group, "") };
    let no_type = JoinGroupRequest { protocol_type: String::new(), ..join(&group, "") };
    for version in [3, 7] {
        p.ask(&format!("v{version}, no protocols"), &mut coordinator, version, &no_protocols).await;
        p.ask(&format!("v{version}, no type"), &mut coordinator, version, &no_type).await;
    }
}

async fn protocols_must_have_one_in_common(p: &Script<'_>) {
    let group = p.name("G");
    let mut member = Member::stable(p, &group).await;
    let mut other = p.cluster.raw_coordinator(&group).await;
    let other_type = JoinGroupRequest { protocol_type: "connect".to_owned(), ..join(&group, "") };
    let other_name = JoinGroupRequest { protocols: vec![protocol("sticky", "m")], ..join(&group, "") };
    for version in [3, 7] {
        p.ask(&format!("v{version}, another type"), &mut other, version, &other_type).await;
        p.ask(&format!("v{version}, another name"), &mut other, version, &other_name).await;
    }
    let changed = JoinGroupRequest { protocols: vec![protocol("sticky", "m")], ..join(&group, &member.id) };
    let (id, to) = (member.id.clone(), &mut member.connection);
    p.ask("the only member may change its mind", to, JOIN, &changed).await;
    p.ask("and its type", to, JOIN, &JoinGroupRequest { member_id: id, ..other_type }).await;
}

/// Two members of a new generation, each with its protocols. The first leads.
async fn pair(p: &Script<'_>, group: &str, protocols: [&[(&str, &str)]; 2]) -> [Member; 2] {
    let request = |id: &str, protocols: &[(&str, &str)]| JoinGroupRequest {
        protocols: protocols.iter().map(|(name, metadata)| protocol(name, metadata)).collect(),
        ..join(group, id)
    };
    let mut first = Member::pending(p, group).await;
    let sent = first.connection.send(JOIN, &request(&first.id, protocols[0])).await;
    first.on_join(sent).await;
    let mut connection = p.cluster.raw_coordinator(group).await;
    let id = connection.ask(JOIN, &request("", protocols[1])).await.member_id;
    let mut second = Member { connection, id, generation: -1 };
    let joining = second.connection.send(JOIN, &request(&second.id, protocols[1])).await;
    until_state(p, group, "PreparingRebalance").await;
    let again = first.connection.send(JOIN, &request(&first.id, protocols[0])).await;
    p.show("the first", &first.on_join(again).await);
    p.show("the second", &second.on_join(joining).await);
    [first, second]
}

async fn the_protocol_that_all_members_know_and_most_prefer_is_chosen(p: &Script<'_>) {
    pair(p, &p.name("G"), [&[("a", "1"), ("b", "1")], &[("b", "2"), ("c", "2")]]).await;
    pair(p, &p.name("G"), [&[("a", "1"), ("b", "1"), ("c", "1")], &[("c", "2"), ("b", "2")]]).await;
    pair(p, &p.name("G"), [&[("x", "1"), ("a", "1")], &[("a", "2"), ("x", "2")]]).await;
}

async fn a_leader_that_joins_again_begins_a_generation(p: &Script<'_>) {
    let group = p.name("G");
    let mut member = Member::stable(p, &group).await;
    let (id, to) = (member.id.clone(), &mut member.connection);
    p.ask("stable", to, JOIN, &join(&group, &id)).await;
    p.ask("before its sync", to, JOIN, &join(&group, &id)).await;
    p.ask("v9", to, 9, &join(&group, &id)).await;
}

async fn a_follower_that_joins_again_unchanged_is_answered_at_once(p: &Script<'_>) {
    let group = p.name("G");
    let [mut first, mut second] = pair(p, &group, [&[("range", "1")], &[("range", "2")]]).await;
    let request = JoinGroupRequest { protocols: vec![protocol("range", "2")], ..join(&group, &second.id) };
    p.ask("before the sync", &mut second.connection, JOIN, &request).await;
    let assignments = [(first.id.as_str(), "one"), (second.id.as_str(), "two")];
    let synced = sync(&group, &first, &assignments);
    p.ask("sync of the first", &mut first.connection, SYNC, &synced).await;
    p.ask("stable", &mut second.connection, JOIN, &request).await;
    p.ask("v9", &mut second.connection, 9, &request).await;
}

async fn a_follower_with_other_metadata_begins_a_generation(p: &Script<'_>) {
    let group = p.name("G");
    let [mut first, mut second] = pair(p, &group, [&[("range", "1")], &[("range", "2")]]).await;
    let synced = sync(&group, &first, &[(&first.id, "one"), (&second.id, "two")]);
    p.ask("sync of the first", &mut first.connection, SYNC, &synced).await;
    let request = JoinGroupRequest { protocols: vec![protocol("range", "3")], ..join(&group, &second.id) };
    let joining = second.connection.send(JOIN, &request).await;
    until_state(p, &group, "PreparingRebalance").await;
    let beat = heartbeat(&group, &first.id, first.generation);
    p.ask("heartbeat of the first", &mut first.connection, HEARTBEAT, &beat).await;
    let again = JoinGroupRequest { protocols: vec![protocol("range", "1")], ..join(&group, &first.id) };
    let again = first.connection.send(JOIN, &again).await;
    p.show("the first", &first.on_join(again).await);
    p.show("the second", &second.on_join(joining).await);
}

async fn two_members_join_when_the_first_joins_again(p: &Script<'_>) {
    let group = p.name("G");
    let mut first = Member::stable(p, &group).await;
    let mut second = Member::pending(p, &group).await;
    let joining = second.rejoin(&group).await;
    until_state(p, &group, "PreparingRebalance").await;
    let beat = heartbeat(&group, &first.id, first.generation);
    p.ask("heartbeat of the first", &mut first.connection, HEARTBEAT, &beat).await;
    let again = first.rejoin(&group).await;
    p.show("the first", &first.on_join(again).await);
    p.show("the second", &second.on_join(joining).await);
    let beat = heartbeat(&group, &first.id, first.generation);
    p.ask("heartbeat before the sync", &mut first.connection, HEARTBEAT, &beat).await;
    let old = heartbeat(&group, &first.id, first.generation - 1);
    p.ask("heartbeat of the old generation", &mut first.connection, HEARTBEAT, &old).await;
}

async fn who_does_not_join_again_in_time_is_out(p: &Script<'_>) {
    let group = p.name("G");
    let mut first = Member::pending(p, &group).await;
    let request = JoinGroupRequest { rebalance_timeout_ms: 500, ..join(&group, &first.id) };
    let sent = first.connection.send(JOIN, &request).await;
    first.on_join(sent).await;
    let mut second = Member::pending(p, &group).await;
    let request = JoinGroupRequest { rebalance_timeout_ms: 500, ..join(&group, &second.id) };
    let sent = second.connection.send(JOIN, &request).await;
    p.show("the second", &second.on_join(sent).await);
    let beat = heartbeat(&group, &first.id, first.generation);
    p.ask("heartbeat of the first", &mut first.connection, HEARTBEAT, &beat).await;
}

async fn a_member_that_is_silent_is_out(p: &Script<'_>) {
    let group = p.name("G");
    let mut member = Member::pending(p, &group).await;
    let request = JoinGroupRequest { session_timeout_ms: 500, ..join(&group, &member.id) };
    let sent = member.connection.send(JOIN, &request).await;
    member.on_join(sent).await;
    until_state(p, &group, "Empty").await;
    let describe = DescribeGroupsRequest { groups: vec![group.clone()], ..Default::default() };
    p.ask("the group", &mut member.connection, DESCRIBE, &describe).await;
    let beat = heartbeat(&group, &member.id, member.generation);
    p.ask("heartbeat", &mut member.connection, HEARTBEAT, &beat).await;
    let id = member.id.clone();
    p.ask("join", &mut member.connection, JOIN, &join(&group, &id)).await;
}

async fn who_does_not_sync_in_time_is_out(p: &Script<'_>) {
    let group = p.name("G");
    let mut member = Member::pending(p, &group).await;
    let request = JoinGroupRequest { rebalance_timeout_ms: 500, ..join(&group, &member.id) };
    let sent = member.connection.send(JOIN, &request).await;
    member.on_join(sent).await;
    let beat = heartbeat(&group, &member.id, member.generation);
    let answer = eventually("a member to be out", async || {
        let answer = member.connection.ask(HEARTBEAT, &beat).await;
        (!answer.error_code.is_none()).then_some(answer)
    })
    .await;
    p.show("heartbeat", &answer);
    let synced = sync(&group, &member, &[]);
    p.ask("sync", &mut member.connection, SYNC, &synced).await;
}

async fn an_id_that_was_given_can_be_given_back(p: &Script<'_>) {
    let group = p.name("G");
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    let request = join(&group, "");
    let given = coordinator.ask(JOIN, &request).await.member_id;
    let request = leave(&group, &[&given]);
    let mut other = Member::stable(p, &group).await;
    p.ask("heartbeat of another", &mut other.connection, HEARTBEAT, &heartbeat(&group, &other.id, 1)).await;
    p.ask("leave", &mut coordinator, LEAVE, &request).await;
    p.ask("leave again", &mut coordinator, LEAVE, &request).await;
}

async fn every_version_syncs(p: &Script<'_>) {
    for version in 0..=5 {
        let group = p.name("G");
        let mut member = Member::joined(p, &group).await;
        let request = sync(&group, &member, &[(&member.id, "all")]);
        p.ask(&format!("v{version}"), &mut member.connection, version, &request).await;
    }
}

async fn the_others_wait_for_the_leader_to_sync(p: &Script<'_>) {
    let group = p.name("G");
    let [mut first, mut second] = pair(p, &group, [&[("range", "1")], &[("range", "2")]]).await;
    let waiting = second.connection.send(SYNC, &sync(&group, &second, &[])).await;
    let request = sync(&group, &first, &[(&first.id, "one"), (&second.id, "two")]);
    p.ask("the leader", &mut first.connection, SYNC, &request).await;
    p.answer("the other", &mut second.connection, waiting).await;
}

async fn a_member_without_an_assignment_gets_an_empty_one(p: &Script<'_>) {
    let group = p.name("G");
    let mut member = Member::joined(p, &group).await;
    let stranger = p.name("stranger");
    let request = sync(&group, &member, &[(&stranger, "something")]);
    p.ask("sync", &mut member.connection, SYNC, &request).await;
}

async fn a_sync_must_fit_the_generation(p: &Script<'_>) {
    let group = p.name("G");
    let mut member = Member::joined(p, &group).await;
    let good = sync(&group, &member, &[]);
    let stranger = p.name("stranger");
    let to = &mut member.connection;
    for generation_id in [0, 2, -1] {
        let request = SyncGroupRequest { generation_id, ..good.clone() };
        p.ask(&format!("generation {generation_id}"), to, SYNC, &request).await;
    }
    p.ask("an unknown member", to, SYNC, &SyncGroupRequest { member_id: stranger, ..good.clone() }).await;
    p.ask("no member", to, SYNC, &SyncGroupRequest { member_id: String::new(), ..good.clone() }).await;
    p.ask("no group", to, SYNC, &SyncGroupRequest { group_id: String::new(), ..good.clone() }).await;
    let unknown = p.name("H");
    let mut coordinator = p.cluster.raw_coordinator(&unknown).await;
    p.ask("an unknown group", &mut coordinator, SYNC, &SyncGroupRequest { group_id: unknown, ..good }).await;
}

async fn a_sync_must_name_the_protocol(p: &Script<'_>) {
    let group = p.name("G");
    let mut member = Member::joined(p, &group).await;
    let good = sync(&group, &member, &[]);
    let to = &mut member.connection;
    let named = |kind: Option<&str>, name: Option<&str>| SyncGroupRequest {
        protocol_type: kind.map(str::to_owned),
        protocol_name: name.map(str::to_owned),
        ..good.clone()
    };
    p.ask("another type", to, SYNC, &named(Some("connect"), Some("range"))).await;
    p.ask("another name", to, SYNC, &named(Some("consumer"), Some("sticky"))).await;
    p.try_ask("no type", to, SYNC, &named(None, Some("range"))).await;
    p.try_ask("no name", to, SYNC, &named(Some("consumer"), None)).await;
    p.try_ask("neither", to, SYNC, &named(None, None)).await;
}

async fn a_stable_group_answers_a_sync_with_the_assignment(p: &Script<'_>) {
    let group = p.name("G");
    let mut member = Member::stable(p, &group).await;
    let request = sync(&group, &member, &[(&member.id, "something else")]);
    p.ask("again", &mut member.connection, SYNC, &request).await;
    let request = SyncGroupRequest { generation_id: 7, ..request };
    p.ask("of another generation", &mut member.connection, SYNC, &request).await;
}

async fn a_sync_during_a_join_is_told_to_join(p: &Script<'_>) {
    let group = p.name("G");
    let mut first = Member::stable(p, &group).await;
    let mut second = Member::pending(p, &group).await;
    let joining = second.rejoin(&group).await;
    until_state(p, &group, "PreparingRebalance").await;
    let request = sync(&group, &first, &[]);
    p.ask("sync of the first", &mut first.connection, SYNC, &request).await;
    let left = leave(&group, &[&first.id]);
    p.ask("the first leaves", &mut first.connection, LEAVE, &left).await;
    p.show("the second", &second.on_join(joining).await);
}

async fn a_member_that_leaves_does_not_hold_up_a_join(p: &Script<'_>) {
    let group = p.name("G");
    let [mut first, mut second] = pair(p, &group, [&[("range", "1")], &[("range", "2")]]).await;
    let waiting = second.connection.send(SYNC, &sync(&group, &second, &[])).await;
    let left = leave(&group, &[&first.id]);
    p.ask("the leader leaves before its sync", &mut first.connection, LEAVE, &left).await;
    let answer = second.connection.try_answer(waiting, Duration::from_secs(20)).await;
    p.show("the sync of the other", &answer.map_err(|reason| reason.to_owned()).ok());
    let again = second.rejoin(&group).await;
    p.show("it joins again", &second.on_join(again).await);
}

async fn a_member_id_of_another_group_is_unknown(p: &Script<'_>) {
    let (group, other) = (p.name("G"), p.name("H"));
    let member = Member::stable(p, &group).await;
    let mut stranger = Member::stable(p, &other).await;
    p.ask("heartbeat", &mut stranger.connection, HEARTBEAT, &heartbeat(&other, &member.id, 1)).await;
    p.ask("join", &mut stranger.connection, JOIN, &join(&other, &member.id)).await;
}

/// The harness has it full with ten (`group.max.size`).
async fn a_full_group_takes_nobody_else(p: &Script<'_>) {
    let group = p.name("G");
    let mut first = Member::stable(p, &group).await;
    let mut waiting = Vec::new();
    for count in 2..=11 {
        let mut member = Member::pending(p, &group).await;
        let sent = member.rejoin(&group).await;
        waiting.push((member, sent));
        until_members(p, &group, count).await;
    }
    let mut late = p.cluster.raw_coordinator(&group).await;
    p.each_version("ten wait", &mut late, 0..=9, |_| join(&group, "")).await;
    p.ask("the first again", &mut first.connection, JOIN, &join(&group, &first.id)).await;
    p.ask("it is out", &mut first.connection, LEAVE, &leave(&group, &[&first.id])).await;
    // The others wait on until one of them comes again.
    let (mut eager, _unanswered) = waiting.pop().expect("ten");
    eager.connection = p.cluster.raw_coordinator(&group).await;
    let sent = eager.rejoin(&group).await;
    waiting.push((eager, sent));
    let mut all = Vec::new();
    for (mut member, sent) in waiting {
        let answer = member.on_join(sent).await;
        assert!(answer.error_code.is_none(), "{answer:?}");
        all.push(member);
    }
    p.each_version("all have joined", &mut late, 0..=9, |_| join(&group, "")).await;
    let last = all.pop().expect("ten");
    p.ask("one leaves", &mut late, LEAVE, &leave(&group, &[&last.id])).await;
    p.ask("there is room", &mut late, JOIN, &join(&group, "")).await;
}
