//! OffsetCommit and OffsetFetch.

use milena_protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use milena_protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use milena_protocol::primitives::Uuid;

use crate::golden::probes;
use crate::groups::{LEAVE, Member, leave, until_state};
use crate::script::Script;

probes! {
    every_version_commits_an_offset
    every_version_fetches_an_offset
    an_unknown_topic_or_partition_takes_no_offset
    an_unknown_topic_id_takes_no_offset
    metadata_of_an_offset_has_a_limit
    a_member_commits_in_its_generation
    nobody_commits_for_a_group_with_members
    an_unknown_group_takes_offsets_without_a_generation
    a_generation_of_an_empty_group_is_refused
    a_commit_before_the_assignment_is_refused
    a_commit_during_a_join_is_accepted
    a_commit_without_topics_is_answered
    a_commit_keeps_its_leader_epoch_and_metadata
    any_offset_may_be_committed
    the_last_commit_of_a_partition_counts
    an_unknown_group_has_no_offsets
    no_list_means_all_offsets
    offsets_of_what_does_not_exist_are_unknown
    several_groups_are_fetched_at_once
    an_unknown_topic_id_has_no_offsets
    a_member_epoch_does_not_fit_a_classic_group
    a_stable_offset_is_fetched_like_any_other
    an_offset_outlives_the_members
    offsets_of_a_deleted_topic_are_gone
}

const COMMIT: i16 = 8;
const FETCH: i16 = 7;

pub fn commit(group: &str, topic: &str, partition: i32, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition {
        partition_index: partition,
        committed_offset: offset,
        committed_metadata: Some("note".to_owned()),
        ..Default::default()
    };
    let topic = OffsetCommitRequestTopic { name: topic.to_owned(), partitions: vec![partition], ..Default::default() };
    OffsetCommitRequest { group_id: group.to_owned(), topics: vec![topic], ..Default::default() }
}

/// In the form of all versions: those up to 7 have one group, later ones several.
pub fn fetch_offsets(group: &str, topics: &[(&str, &[i32])]) -> OffsetFetchRequest {
    let old = |(name, partitions): &(&str, &[i32])| OffsetFetchRequestTopic {
        name: (*name).to_owned(),
        partition_indexes: partitions.to_vec(),
    };
    let new = |(name, partitions): &(&str, &[i32])| OffsetFetchRequestTopics {
        name: (*name).to_owned(),
        partition_indexes: partitions.to_vec(),
        ..Default::default()
    };
    OffsetFetchRequest {
        group_id: group.to_owned(),
        topics: Some(topics.iter().map(old).collect()),
        groups: vec![OffsetFetchRequestGroup {
            group_id: group.to_owned(),
            topics: Some(topics.iter().map(new).collect()),
            ..Default::default()
        }],
        ..Default::default()
    }
}

async fn every_version_commits_an_offset(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 1).await);
    let id = p.cluster.topic_id(&topic).await;
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    for version in 2..=10 {
        let mut request = commit(&group, &topic, 0, i64::from(version));
        request.topics[0].topic_id = id;
        p.ask(&format!("v{version}"), &mut coordinator, version, &request).await;
    }
    p.ask("fetched", &mut coordinator, FETCH, &fetch_offsets(&group, &[(&topic, &[0])])).await;
}

async fn every_version_fetches_an_offset(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 2).await);
    let id = p.cluster.topic_id(&topic).await;
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    coordinator.ask(COMMIT, &commit(&group, &topic, 0, 5)).await;
    for version in 1..=10 {
        let mut request = fetch_offsets(&group, &[(&topic, &[0, 1])]);
        request.groups[0].topics.iter_mut().flatten().for_each(|topic| topic.topic_id = id);
        p.ask(&format!("v{version}"), &mut coordinator, version, &request).await;
    }
}

async fn an_unknown_topic_or_partition_takes_no_offset(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 1).await);
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    for (step, name, partition) in [
        ("topic", "no-such-topic", 0),
        ("no name", "", 0),
        ("partition 1", topic.as_str(), 1),
        ("partition -1", &topic, -1),
    ] {
        p.ask(step, &mut coordinator, COMMIT, &commit(&group, name, partition, 5)).await;
    }
    let mut request = commit(&group, "no-such-topic", 0, 5);
    request.topics.extend(commit(&group, &topic, 0, 5).topics);
    let mut answer = coordinator.ask(COMMIT, &request).await;
    answer.topics.sort_by_key(|topic| topic.name == "no-such-topic");
    p.show("one of two", &answer);
}

async fn an_unknown_topic_id_takes_no_offset(p: &Script<'_>) {
    let group = p.name("G");
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    for id in [Uuid([7; 16]), Uuid::ZERO] {
        let mut request = commit(&group, "", 0, 5);
        request.topics[0].topic_id = id;
        p.ask("an unknown one", &mut coordinator, 10, &request).await;
    }
}

async fn metadata_of_an_offset_has_a_limit(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 1).await);
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    for letters in [4096, 4097] {
        let mut request = commit(&group, &topic, 0, 5);
        request.topics[0].partitions[0].committed_metadata = Some("x".repeat(letters));
        p.ask(&format!("{letters} letters"), &mut coordinator, COMMIT, &request).await;
    }
    for metadata in [None, Some(String::new())] {
        let mut request = commit(&group, &topic, 0, 6);
        request.topics[0].partitions[0].committed_metadata = metadata;
        p.ask("none", &mut coordinator, COMMIT, &request).await;
        p.ask("fetched", &mut coordinator, FETCH, &fetch_offsets(&group, &[(&topic, &[0])])).await;
    }
}

fn by(member: &Member, generation: i32, request: OffsetCommitRequest) -> OffsetCommitRequest {
    OffsetCommitRequest { member_id: member.id.clone(), generation_id_or_member_epoch: generation, ..request }
}

async fn a_member_commits_in_its_generation(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 1).await);
    let mut member = Member::stable(p, &group).await;
    for generation in [1, 0, 2, -1] {
        let request = by(&member, generation, commit(&group, &topic, 0, 5));
        for version in [8, 9] {
            p.ask(&format!("v{version} generation {generation}"), &mut member.connection, version, &request).await;
        }
    }
}

async fn nobody_commits_for_a_group_with_members(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 1).await);
    let mut member = Member::stable(p, &group).await;
    let to = &mut member.connection;
    let plain = commit(&group, &topic, 0, 5);
    p.ask("no member", to, COMMIT, &plain).await;
    p.ask(
        "no member, a generation",
        to,
        COMMIT,
        &OffsetCommitRequest { generation_id_or_member_epoch: 1, ..plain.clone() },
    )
    .await;
    let stranger = p.name("stranger");
    let request = OffsetCommitRequest { member_id: stranger, generation_id_or_member_epoch: 1, ..plain };
    p.ask("an unknown member", to, COMMIT, &request).await;
}

async fn an_unknown_group_takes_offsets_without_a_generation(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 1).await);
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    let plain = commit(&group, &topic, 0, 5);
    for version in [2, 8, 9] {
        let request = OffsetCommitRequest { generation_id_or_member_epoch: 3, ..plain.clone() };
        p.ask(&format!("v{version} generation 3"), &mut coordinator, version, &request).await;
    }
    let request = OffsetCommitRequest { member_id: p.name("stranger"), ..plain.clone() };
    p.ask("a member, no generation", &mut coordinator, COMMIT, &request).await;
    p.ask("neither", &mut coordinator, COMMIT, &plain).await;
}

async fn a_generation_of_an_empty_group_is_refused(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 1).await);
    let mut member = Member::stable(p, &group).await;
    let left = leave(&group, &[&member.id]);
    member.connection.ask(LEAVE, &left).await;
    for generation in [1, 2, -1] {
        let request = by(&member, generation, commit(&group, &topic, 0, 5));
        p.ask(&format!("generation {generation}"), &mut member.connection, COMMIT, &request).await;
    }
    let request = OffsetCommitRequest { generation_id_or_member_epoch: 2, ..commit(&group, &topic, 0, 5) };
    p.ask("nobody, generation 2", &mut member.connection, COMMIT, &request).await;
    p.ask("nobody", &mut member.connection, COMMIT, &commit(&group, &topic, 0, 5)).await;
}

async fn a_commit_before_the_assignment_is_refused(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 1).await);
    let mut member = Member::joined(p, &group).await;
    for version in [2, 8] {
        let request = by(&member, 1, commit(&group, &topic, 0, 5));
        p.ask(&format!("v{version}"), &mut member.connection, version, &request).await;
    }
}

async fn a_commit_during_a_join_is_accepted(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 1).await);
    let mut first = Member::stable(p, &group).await;
    let mut second = Member::pending(p, &group).await;
    let _joining = second.rejoin(&group).await;
    until_state(p, &group, "PreparingRebalance").await;
    for generation in [1, 2] {
        let request = by(&first, generation, commit(&group, &topic, 0, 5));
        p.ask(&format!("generation {generation}"), &mut first.connection, COMMIT, &request).await;
    }
}

async fn a_commit_without_topics_is_answered(p: &Script<'_>) {
    let group = p.name("G");
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    let nothing = OffsetCommitRequest { topics: vec![], ..commit(&group, "", 0, 0) };
    p.ask("no topics", &mut coordinator, COMMIT, &nothing).await;
    let topic = p.topic("T", 1).await;
    let mut request = commit(&group, &topic, 0, 0);
    request.topics[0].partitions.clear();
    p.ask("no partitions", &mut coordinator, COMMIT, &request).await;
    let nameless = commit("", &topic, 0, 0);
    let mut broker = p.cluster.raw_coordinator("").await;
    p.ask("no group id", &mut broker, COMMIT, &nameless).await;
}

async fn a_commit_keeps_its_leader_epoch_and_metadata(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 1).await);
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    let mut request = commit(&group, &topic, 0, 5);
    request.topics[0].partitions[0].committed_leader_epoch = 7;
    for version in [5, 6] {
        p.ask(&format!("v{version}"), &mut coordinator, version, &request).await;
        p.ask("v4", &mut coordinator, 4, &fetch_offsets(&group, &[(&topic, &[0])])).await;
        p.ask("v5", &mut coordinator, 5, &fetch_offsets(&group, &[(&topic, &[0])])).await;
        p.ask("v8", &mut coordinator, 8, &fetch_offsets(&group, &[(&topic, &[0])])).await;
    }
}

async fn any_offset_may_be_committed(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 1).await);
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    for offset in [0, 1_000_000, i64::MAX, -1, -5] {
        p.ask(&format!("{offset}"), &mut coordinator, COMMIT, &commit(&group, &topic, 0, offset)).await;
        p.ask("fetched", &mut coordinator, FETCH, &fetch_offsets(&group, &[(&topic, &[0])])).await;
    }
}

async fn the_last_commit_of_a_partition_counts(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 1).await);
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    let mut request = commit(&group, &topic, 0, 9);
    let again = OffsetCommitRequestPartition { committed_offset: 4, ..request.topics[0].partitions[0].clone() };
    request.topics[0].partitions.push(again);
    p.ask("9 and 4", &mut coordinator, COMMIT, &request).await;
    p.ask("fetched", &mut coordinator, FETCH, &fetch_offsets(&group, &[(&topic, &[0])])).await;
    p.ask("back to 2", &mut coordinator, COMMIT, &commit(&group, &topic, 0, 2)).await;
    p.ask("fetched", &mut coordinator, FETCH, &fetch_offsets(&group, &[(&topic, &[0, 0])])).await;
}

async fn an_unknown_group_has_no_offsets(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 1).await);
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    for version in [1, 5, 7, 8, 9] {
        let request = fetch_offsets(&group, &[(&topic, &[0, 5])]);
        p.ask(&format!("v{version}"), &mut coordinator, version, &request).await;
    }
    let all = |group: &str| {
        let mut request = OffsetFetchRequest { topics: None, ..fetch_offsets(group, &[]) };
        request.groups[0].topics = None;
        request
    };
    for version in [2, 7, 8] {
        p.ask(&format!("v{version} all"), &mut coordinator, version, &all(&group)).await;
    }
}

async fn no_list_means_all_offsets(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 3).await);
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    for partition in [2, 0] {
        coordinator.ask(COMMIT, &commit(&group, &topic, partition, 5)).await;
    }
    for version in 2..=10 {
        let mut request = OffsetFetchRequest { topics: None, ..fetch_offsets(&group, &[]) };
        request.groups[0].topics = None;
        let mut answer = coordinator.ask(version, &request).await;
        answer.topics.iter_mut().for_each(|topic| topic.partitions.sort_by_key(|data| data.partition_index));
        let topics = answer.groups.iter_mut().flat_map(|group| &mut group.topics);
        topics.for_each(|topic| topic.partitions.sort_by_key(|data| data.partition_index));
        p.show(&format!("v{version}"), &answer);
    }
    p.ask("an empty list", &mut coordinator, FETCH, &fetch_offsets(&group, &[])).await;
    p.ask("a topic without partitions", &mut coordinator, FETCH, &fetch_offsets(&group, &[(&topic, &[])])).await;
}

async fn offsets_of_what_does_not_exist_are_unknown(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 1).await);
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    coordinator.ask(COMMIT, &commit(&group, &topic, 0, 5)).await;
    let request = fetch_offsets(&group, &[("no-such-topic", &[0]), (&topic, &[7, -1])]);
    for version in [1, 7, 8] {
        p.ask(&format!("v{version}"), &mut coordinator, version, &request).await;
    }
}

async fn several_groups_are_fetched_at_once(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 1).await);
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    coordinator.ask(COMMIT, &commit(&group, &topic, 0, 5)).await;
    let mut request = fetch_offsets(&group, &[(&topic, &[0])]);
    request.groups.extend(request.groups.clone());
    request.groups[1].topics = None;
    p.ask("one twice", &mut coordinator, 8, &request).await;
    let none = OffsetFetchRequest { groups: vec![], ..request };
    p.ask("none", &mut coordinator, 8, &none).await;
    let mut nameless = p.cluster.raw_coordinator("").await;
    p.ask("no group id", &mut nameless, 8, &fetch_offsets("", &[(&topic, &[0])])).await;
}

async fn an_unknown_topic_id_has_no_offsets(p: &Script<'_>) {
    let group = p.name("G");
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    for id in [Uuid([7; 16]), Uuid::ZERO] {
        let mut request = fetch_offsets(&group, &[("", &[0, 1])]);
        request.groups[0].topics.iter_mut().flatten().for_each(|topic| topic.topic_id = id);
        p.ask("an unknown one", &mut coordinator, 10, &request).await;
    }
}

async fn a_member_epoch_does_not_fit_a_classic_group(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 1).await);
    let mut member = Member::stable(p, &group).await;
    for (id, epoch) in [(Some(member.id.clone()), 1), (Some("stranger".to_owned()), 1), (None, 5), (None, -1)] {
        let mut request = fetch_offsets(&group, &[(&topic, &[0])]);
        request.groups[0].member_id = id.clone();
        request.groups[0].member_epoch = epoch;
        let step = format!("member {}, epoch {epoch}", id.is_some());
        p.ask(&step, &mut member.connection, 9, &request).await;
    }
}

async fn a_stable_offset_is_fetched_like_any_other(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 1).await);
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    coordinator.ask(COMMIT, &commit(&group, &topic, 0, 5)).await;
    let request = OffsetFetchRequest { require_stable: true, ..fetch_offsets(&group, &[(&topic, &[0])]) };
    for version in [7, 8] {
        p.ask(&format!("v{version}"), &mut coordinator, version, &request).await;
    }
}

async fn an_offset_outlives_the_members(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 1).await);
    let mut member = Member::stable(p, &group).await;
    let request = by(&member, 1, commit(&group, &topic, 0, 5));
    p.ask("commit", &mut member.connection, COMMIT, &request).await;
    let left = leave(&group, &[&member.id]);
    p.ask("leave", &mut member.connection, LEAVE, &left).await;
    p.ask("fetched", &mut member.connection, FETCH, &fetch_offsets(&group, &[(&topic, &[0])])).await;
}

async fn offsets_of_a_deleted_topic_are_gone(p: &Script<'_>) {
    let (group, topic) = (p.name("G"), p.topic("T", 1).await);
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    coordinator.ask(COMMIT, &commit(&group, &topic, 0, 5)).await;
    p.delete_topic(&topic).await;
    p.ask("commit", &mut coordinator, COMMIT, &commit(&group, &topic, 0, 6)).await;
}
