//! DeleteGroups and OffsetDelete.

use milena_protocol::group::Subscription;
use milena_protocol::messages::delete_groups::DeleteGroupsRequest;
use milena_protocol::messages::describe_groups::DescribeGroupsRequest;
use milena_protocol::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use milena_protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use milena_protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use milena_protocol::messages::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestTopic};
use milena_tests::raw::RawConnection;

use super::{DESCRIBE, LEAVE, Member, SYNC, join, leave, sync, until_state};
use crate::golden::probes;
use crate::script::Script;

probes! {
    every_version_deletes_a_group_with_its_offsets
    a_group_with_members_is_not_deleted
    a_group_that_somebody_is_about_to_join_is_deleted
    a_group_that_does_not_exist_is_not_deleted
    only_the_coordinator_deletes_a_group
    groups_of_one_request_are_deleted_apart
    a_deleted_group_starts_anew
    offsets_of_an_empty_group_are_deleted
    offsets_of_topics_that_members_want_stay
    offsets_of_members_that_are_no_consumers_stay
    offsets_of_what_is_not_there_are_not_deleted
    a_group_outlives_its_last_offset
}

const COMMIT: i16 = 8;
const DELETE_GROUPS: i16 = 2;

fn commit(group: &str, topic: &str) -> OffsetCommitRequest {
    let partition =
        |partition_index| OffsetCommitRequestPartition { partition_index, committed_offset: 5, ..Default::default() };
    let partitions = vec![partition(0), partition(1)];
    let topics = vec![OffsetCommitRequestTopic { name: topic.to_owned(), partitions, ..Default::default() }];
    OffsetCommitRequest { group_id: group.to_owned(), generation_id_or_member_epoch: -1, topics, ..Default::default() }
}

fn delete_groups(groups: &[&str]) -> DeleteGroupsRequest {
    DeleteGroupsRequest { groups_names: groups.iter().map(|group| (*group).to_owned()).collect() }
}

fn delete_offsets(group: &str, partitions: &[(&str, i32)]) -> OffsetDeleteRequest {
    let mut topics: Vec<OffsetDeleteRequestTopic> = Vec::new();
    for (name, partition_index) in partitions {
        let partition = OffsetDeleteRequestPartition { partition_index: *partition_index };
        match topics.iter_mut().find(|topic| topic.name == *name) {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(OffsetDeleteRequestTopic { name: (*name).to_owned(), partitions: vec![partition] }),
        }
    }
    OffsetDeleteRequest { group_id: group.to_owned(), topics }
}

/// A group that nobody has ever joined, with an offset for two partitions.
async fn simple(p: &Script<'_>, topic: &str) -> (String, RawConnection) {
    let group = p.name("G");
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    let answer = coordinator.ask(COMMIT, &commit(&group, topic)).await;
    assert!(answer.topics[0].partitions[0].error_code.is_none(), "{answer:?}");
    (group, coordinator)
}

/// Shows the answer in the order of the topics' names, in which Kafka's hash tables do not have it.
async fn deleted(p: &Script<'_>, step: &str, coordinator: &mut RawConnection, request: &OffsetDeleteRequest) {
    let mut answer = coordinator.ask(0, request).await;
    answer.topics.sort_by(|one, other| one.name.cmp(&other.name));
    answer.topics.iter_mut().for_each(|topic| topic.partitions.sort_by_key(|partition| partition.partition_index));
    p.show(step, &answer);
}

/// Shows the group's state and offsets.
async fn show(p: &Script<'_>, step: &str, coordinator: &mut RawConnection, group: &str, topic: &str) {
    let request = DescribeGroupsRequest { groups: vec![group.to_owned()], ..Default::default() };
    let state = coordinator.ask(DESCRIBE, &request).await.groups.remove(0).group_state;
    let topics = vec![OffsetFetchRequestTopic { name: topic.to_owned(), partition_indexes: vec![0, 1] }];
    let request = OffsetFetchRequest { group_id: group.to_owned(), topics: Some(topics), ..Default::default() };
    let answer = coordinator.ask(5, &request).await;
    let offsets: Vec<i64> = answer.topics[0].partitions.iter().map(|partition| partition.committed_offset).collect();
    p.note(&format!("{step}: {state} {offsets:?}"));
}

async fn every_version_deletes_a_group_with_its_offsets(p: &Script<'_>) {
    let topic = p.topic("T", 2).await;
    for version in 0..=3 {
        let (group, mut coordinator) = simple(p, &topic).await;
        p.ask(&format!("v{version}"), &mut coordinator, version, &delete_groups(&[&group])).await;
        show(p, "then", &mut coordinator, &group, &topic).await;
    }
    // One that had members.
    let group = p.name("G");
    let mut member = Member::stable(p, &group).await;
    let request = leave(&group, &[&member.id]);
    member.connection.ask(LEAVE, &request).await;
    until_state(p, &group, "Empty").await;
    p.ask("one that had members", &mut member.connection, DELETE_GROUPS, &delete_groups(&[&group])).await;
    show(p, "then", &mut member.connection, &group, &topic).await;
}

async fn a_group_with_members_is_not_deleted(p: &Script<'_>) {
    let group = p.name("G");
    let mut member = Member::joined(p, &group).await;
    p.ask("before the assignment", &mut member.connection, 3, &delete_groups(&[&group])).await;
    let request = sync(&group, &member, &[(&member.id, "all")]);
    member.connection.ask(SYNC, &request).await;
    for version in [2, 3] {
        p.ask(&format!("stable, v{version}"), &mut member.connection, version, &delete_groups(&[&group])).await;
    }
}

async fn a_group_that_somebody_is_about_to_join_is_deleted(p: &Script<'_>) {
    let group = p.name("G");
    let mut member = Member::pending(p, &group).await;
    p.ask("delete", &mut member.connection, DELETE_GROUPS, &delete_groups(&[&group])).await;
    let request = join(&group, &member.id);
    p.ask("join", &mut member.connection, super::JOIN, &request).await;
}

async fn a_group_that_does_not_exist_is_not_deleted(p: &Script<'_>) {
    let group = p.name("G");
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    p.each_version("delete", &mut coordinator, 0..=3, |_| delete_groups(&[&group])).await;
    p.ask("nothing", &mut coordinator, DELETE_GROUPS, &delete_groups(&[])).await;
    let mut nameless = p.cluster.raw_coordinator("").await;
    p.ask("one without a name", &mut nameless, DELETE_GROUPS, &delete_groups(&[""])).await;
}

async fn only_the_coordinator_deletes_a_group(p: &Script<'_>) {
    let topic = p.topic("T", 2).await;
    let (group, mut coordinator) = simple(p, &topic).await;
    let other = 1 + p.cluster.coordinator(&group).await % 3;
    let mut other = p.cluster.raw(other).await;
    for version in [2, 3] {
        p.ask(&format!("another, v{version}"), &mut other, version, &delete_groups(&[&group])).await;
    }
    p.ask("offsets", &mut other, 0, &delete_offsets(&group, &[(&topic, 0)])).await;
    show(p, "then", &mut coordinator, &group, &topic).await;
}

async fn groups_of_one_request_are_deleted_apart(p: &Script<'_>) {
    let topic = p.topic("T", 2).await;
    let (group, mut coordinator) = simple(p, &topic).await;
    let mut answer = coordinator.ask(DELETE_GROUPS, &delete_groups(&[&group, &group])).await;
    answer.results.sort_by_key(|result| result.error_code);
    p.show("the same twice", &answer);
}

async fn a_deleted_group_starts_anew(p: &Script<'_>) {
    let group = p.name("G");
    let mut member = Member::stable(p, &group).await;
    let request = leave(&group, &[&member.id]);
    member.connection.ask(LEAVE, &request).await;
    until_state(p, &group, "Empty").await;
    p.ask("delete", &mut member.connection, DELETE_GROUPS, &delete_groups(&[&group])).await;
    let request = join(&group, &member.id);
    p.ask("an old id", &mut member.connection, super::JOIN, &request).await;
    let member = Member::joined(p, &group).await;
    p.show("the generation", &member.generation);
}

async fn offsets_of_an_empty_group_are_deleted(p: &Script<'_>) {
    let topic = p.topic("T", 2).await;
    let (group, mut coordinator) = simple(p, &topic).await;
    p.ask("one", &mut coordinator, 0, &delete_offsets(&group, &[(&topic, 1)])).await;
    show(p, "then", &mut coordinator, &group, &topic).await;
    p.ask("the same", &mut coordinator, 0, &delete_offsets(&group, &[(&topic, 1)])).await;
    p.ask("none", &mut coordinator, 0, &delete_offsets(&group, &[])).await;
}

async fn offsets_of_topics_that_members_want_stay(p: &Script<'_>) {
    let (wanted, other) = (p.topic("T", 2).await, p.topic("O", 2).await);
    let (group, mut coordinator) = simple(p, &wanted).await;
    coordinator.ask(COMMIT, &commit(&group, &other)).await;
    let mut member = Member::pending(p, &group).await;
    let metadata = Subscription { topics: vec![wanted.clone()], ..Default::default() }.encode().expect("short");
    let protocols = vec![JoinGroupRequestProtocol { name: "range".to_owned(), metadata }];
    let request = JoinGroupRequest { protocols, ..join(&group, &member.id) };
    let sent = member.connection.send(super::JOIN, &request).await;
    member.on_join(sent).await;
    let request = delete_offsets(&group, &[(&wanted, 0), (&other, 0)]);
    deleted(p, "before the assignment", &mut coordinator, &request).await;
    let request = sync(&group, &member, &[(&member.id, "all")]);
    member.connection.ask(SYNC, &request).await;
    let request = delete_offsets(&group, &[(&wanted, 1), (&other, 1), (&other, 9)]);
    deleted(p, "stable", &mut coordinator, &request).await;
    show(p, "wanted", &mut coordinator, &group, &wanted).await;
    show(p, "others", &mut coordinator, &group, &other).await;
    let request = leave(&group, &[&member.id]);
    member.connection.ask(LEAVE, &request).await;
    until_state(p, &group, "Empty").await;
    deleted(p, "nobody left", &mut coordinator, &delete_offsets(&group, &[(&wanted, 0), (&wanted, 1)])).await;
    show(p, "then", &mut coordinator, &group, &wanted).await;
}

async fn offsets_of_members_that_are_no_consumers_stay(p: &Script<'_>) {
    let topic = p.topic("T", 2).await;
    for (step, protocol_type) in [("of another kind", "connect"), ("with unreadable metadata", "consumer")] {
        let (group, mut coordinator) = simple(p, &topic).await;
        let mut member = Member::pending(p, &group).await;
        let request = JoinGroupRequest { protocol_type: protocol_type.to_owned(), ..join(&group, &member.id) };
        let sent = member.connection.send(super::JOIN, &request).await;
        member.on_join(sent).await;
        p.ask(step, &mut coordinator, 0, &delete_offsets(&group, &[(&topic, 0)])).await;
    }
}

async fn offsets_of_what_is_not_there_are_not_deleted(p: &Script<'_>) {
    let topic = p.topic("T", 2).await;
    let unknown = p.name("U");
    let (group, mut coordinator) = simple(p, &topic).await;
    p.ask("a topic", &mut coordinator, 0, &delete_offsets(&group, &[(&unknown, 0)])).await;
    deleted(p, "partitions", &mut coordinator, &delete_offsets(&group, &[(&topic, 2), (&topic, -1)])).await;
    let absent = p.name("A");
    let mut other = p.cluster.raw_coordinator(&absent).await;
    p.ask("a group", &mut other, 0, &delete_offsets(&absent, &[(&topic, 0)])).await;
    p.ask("a group and a topic", &mut other, 0, &delete_offsets(&absent, &[(&unknown, 0)])).await;
    let mut nameless = p.cluster.raw_coordinator("").await;
    p.ask("a group without a name", &mut nameless, 0, &delete_offsets("", &[(&topic, 0)])).await;
}

async fn a_group_outlives_its_last_offset(p: &Script<'_>) {
    let topic = p.topic("T", 2).await;
    let (group, mut coordinator) = simple(p, &topic).await;
    deleted(p, "both", &mut coordinator, &delete_offsets(&group, &[(&topic, 0), (&topic, 1)])).await;
    show(p, "then", &mut coordinator, &group, &topic).await;
    p.ask("the group", &mut coordinator, DELETE_GROUPS, &delete_groups(&[&group])).await;
}
