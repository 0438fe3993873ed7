//! Coordinators and committed offsets. Pure.

use milena_protocol::ErrorCode;
use milena_protocol::messages::find_coordinator::FindCoordinatorRequest;
use milena_protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use milena_protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};

use super::rig::{NONE, Rig};

fn find(rig: &mut Rig, key: &str) -> i32 {
    let request = FindCoordinatorRequest { coordinator_keys: vec![key.to_owned()], ..Default::default() };
    let first = rig.ask(1, 6, &request).coordinators[0].error_code;
    assert!([NONE, ErrorCode::COORDINATOR_NOT_AVAILABLE].contains(&first));
    let found = rig.ask(1, 6, &request).coordinators[0].clone();
    assert_eq!(found.error_code, NONE);
    assert_eq!((found.node_id, found.port), (rig.core.coordinator(key), 9091 + found.node_id));
    found.node_id
}

fn commit(group: &str, topic: &str, offsets: &[(i32, i64)]) -> OffsetCommitRequest {
    let partitions = offsets.iter().map(|(partition_index, committed_offset)| OffsetCommitRequestPartition {
        partition_index: *partition_index,
        committed_offset: *committed_offset,
        committed_leader_epoch: 3,
        committed_metadata: Some("why".to_owned()),
    });
    let topic =
        OffsetCommitRequestTopic { name: topic.to_owned(), partitions: partitions.collect(), ..Default::default() };
    OffsetCommitRequest { group_id: group.to_owned(), topics: vec![topic], ..Default::default() }
}

fn codes(rig: &mut Rig, broker: i32, version: i16, request: &OffsetCommitRequest) -> Vec<ErrorCode> {
    let response = rig.ask(broker, version, request);
    response.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code).collect()
}

fn fetch_one(rig: &mut Rig, broker: i32, group: &str, partition: i32) -> (ErrorCode, i64) {
    let topic =
        OffsetFetchRequestTopics { name: "t".to_owned(), partition_indexes: vec![partition], ..Default::default() };
    let group = OffsetFetchRequestGroup { group_id: group.to_owned(), topics: Some(vec![topic]), ..Default::default() };
    let response = rig.ask(broker, 9, &OffsetFetchRequest { groups: vec![group], ..Default::default() });
    let group = &response.groups[0];
    let offset = group.topics.first().map_or(-2, |topic| topic.partitions[0].committed_offset);
    (group.error_code, offset)
}

#[test]
fn the_first_look_up_creates_the_topic() {
    let mut rig = Rig::new();
    let request = FindCoordinatorRequest { key: "g".to_owned(), ..Default::default() };
    let first = rig.ask(1, 3, &request);
    assert_eq!((first.error_code, first.node_id), (ErrorCode::COORDINATOR_NOT_AVAILABLE, -1));
    let second = rig.ask(1, 3, &request);
    assert_eq!((second.error_code, second.node_id), (NONE, rig.core.coordinator("g")));
    assert_eq!(rig.core.topics(), ["__consumer_offsets"]);
    assert_eq!(rig.core.controller.topic("__consumer_offsets").unwrap().partitions.len(), 5);
    let transaction = FindCoordinatorRequest { key: "x".to_owned(), key_type: 1, ..Default::default() };
    rig.ask(1, 3, &transaction);
    assert_eq!(rig.ask(1, 3, &transaction).error_code, NONE);
    let share = FindCoordinatorRequest { key: "x".to_owned(), key_type: 2, ..Default::default() };
    assert_eq!(rig.ask(1, 3, &share).error_code, ErrorCode::INVALID_REQUEST);
}

#[test]
fn committed_offsets_are_fetched() {
    let mut rig = Rig::new();
    rig.create("t", 2, &[]);
    let coordinator = find(&mut rig, "g");
    assert_eq!(fetch_one(&mut rig, coordinator, "g", 0), (NONE, -1), "an unknown group has no offsets");
    assert_eq!(codes(&mut rig, coordinator, 9, &commit("g", "t", &[(0, 5), (1, 6)])), [NONE, NONE]);
    assert_eq!(fetch_one(&mut rig, coordinator, "g", 1), (NONE, 6));
    assert_eq!(
        fetch_one(&mut rig, coordinator, "other", 1).1,
        if rig.core.coordinator("other") == coordinator { -1 } else { -2 }
    );
    assert_eq!(rig.core.committed("g", "t", 0), Some(5));
    // Moving back is allowed.
    codes(&mut rig, coordinator, 9, &commit("g", "t", &[(0, 2)]));
    assert_eq!(rig.core.committed("g", "t", 0), Some(2));

    let topic = OffsetFetchRequestTopic { name: "t".to_owned(), partition_indexes: vec![0, 7] };
    for version in 1..=7 {
        let request =
            OffsetFetchRequest { group_id: "g".to_owned(), topics: Some(vec![topic.clone()]), ..Default::default() };
        let response = rig.ask(coordinator, version, &request);
        let partitions = &response.topics[0].partitions;
        assert_eq!((partitions[0].committed_offset, partitions[1].committed_offset), (2, -1));
        assert_eq!(partitions[0].metadata.as_deref(), Some("why"));
        assert_eq!(partitions[0].committed_leader_epoch, if version >= 5 { 3 } else { -1 });
    }
    let all = OffsetFetchRequest { group_id: "g".to_owned(), topics: None, ..Default::default() };
    assert_eq!(rig.ask(coordinator, 2, &all).topics[0].partitions.len(), 2);
}

#[test]
fn topic_ids_in_the_newest_version() {
    let mut rig = Rig::with_topic(&[]);
    let coordinator = find(&mut rig, "g");
    let topic_id = rig.core.controller.topic("t").unwrap().id;
    let mut request = commit("g", "", &[(0, 5)]);
    request.topics[0].topic_id = topic_id;
    assert_eq!(codes(&mut rig, coordinator, 10, &request), [NONE]);
    let wanted = OffsetFetchRequestTopics { topic_id, partition_indexes: vec![0], ..Default::default() };
    let group = OffsetFetchRequestGroup { group_id: "g".to_owned(), topics: Some(vec![wanted]), ..Default::default() };
    let fetch = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    assert_eq!(rig.ask(coordinator, 10, &fetch).groups[0].topics[0].partitions[0].committed_offset, 5);
    rig.act(|core, now| core.recreate_topic(now, "t")).unwrap();
    assert_eq!(codes(&mut rig, coordinator, 10, &request), [ErrorCode::UNKNOWN_TOPIC_ID]);
    let code = rig.ask(coordinator, 10, &fetch).groups[0].topics[0].partitions[0].error_code;
    assert_eq!(code, ErrorCode::UNKNOWN_TOPIC_ID);
    assert_eq!(rig.core.committed("g", "t", 0), None, "the offsets went with the topic");
}

#[test]
fn wrong_commits_are_refused() {
    let mut rig = Rig::with_topic(&[]);
    let coordinator = find(&mut rig, "g");
    let other = 1 + coordinator % 3;
    assert_eq!(codes(&mut rig, other, 9, &commit("g", "t", &[(0, 5)])), [ErrorCode::NOT_COORDINATOR]);
    assert_eq!(fetch_one(&mut rig, other, "g", 0).0, ErrorCode::NOT_COORDINATOR);
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    assert_eq!(codes(&mut rig, coordinator, 9, &commit("g", "t", &[(4, 5)])), [unknown]);
    assert_eq!(codes(&mut rig, coordinator, 9, &commit("g", "x", &[(0, 5)])), [unknown]);
    let mut long = commit("g", "t", &[(0, 5)]);
    long.topics[0].partitions[0].committed_metadata = Some("m".repeat(4097));
    assert_eq!(codes(&mut rig, coordinator, 9, &long), [ErrorCode::OFFSET_METADATA_TOO_LARGE]);
    let member = OffsetCommitRequest {
        generation_id_or_member_epoch: 1,
        member_id: "m".to_owned(),
        ..commit("g", "t", &[(0, 5)])
    };
    assert_eq!(codes(&mut rig, coordinator, 8, &member), [ErrorCode::ILLEGAL_GENERATION]);
    assert_eq!(codes(&mut rig, coordinator, 9, &member), [ErrorCode::GROUP_ID_NOT_FOUND]);
    assert_eq!(codes(&mut rig, coordinator, 9, &commit("g", "t", &[(0, 5)])), [NONE]);
    assert_eq!(codes(&mut rig, coordinator, 9, &member), [ErrorCode::UNKNOWN_MEMBER_ID]);
}

#[test]
fn offsets_survive_the_coordinator() {
    let mut rig = Rig::with_topic(&[]);
    let first = find(&mut rig, "g");
    codes(&mut rig, first, 9, &commit("g", "t", &[(0, 5)]));
    codes(&mut rig, first, 9, &commit("g", "t", &[(0, 9)]));
    rig.act(|core, now| core.crash(now, first));
    let second = rig.core.coordinator("g");
    assert_ne!(second, first);
    assert_eq!(fetch_one(&mut rig, second, "g", 0), (NONE, 9));
    codes(&mut rig, second, 9, &commit("g", "t", &[(0, 12)]));
    rig.act(|core, now| core.restart(now, first));
    assert_eq!(fetch_one(&mut rig, first, "g", 0).0, ErrorCode::NOT_COORDINATOR);
    let index = rig.core.partition_for_key("__consumer_offsets", "g").unwrap().index;
    rig.act(|core, now| core.elect(now, "__consumer_offsets", index, first)).unwrap();
    assert_eq!(fetch_one(&mut rig, first, "g", 0), (NONE, 12));
    assert_eq!(fetch_one(&mut rig, second, "g", 0).0, ErrorCode::NOT_COORDINATOR);
}

#[test]
fn commits_need_in_sync_replicas() {
    let mut rig = Rig::with(crate::core::Settings { min_insync_replicas: 2, ..super::rig::settings() });
    rig.create("t", 1, &[]);
    let coordinator = find(&mut rig, "g");
    for broker in (1..=3).filter(|broker| *broker != coordinator) {
        rig.act(|core, now| core.crash(now, broker));
    }
    let refused = codes(&mut rig, coordinator, 9, &commit("g", "t", &[(0, 5)]));
    assert_eq!(refused, [ErrorCode::COORDINATOR_NOT_AVAILABLE]);
    assert_eq!(rig.core.committed("g", "t", 0), None);
}

#[test]
fn a_consumer_can_read_the_commits() {
    let mut rig = Rig::with_topic(&[]);
    let coordinator = find(&mut rig, "g");
    codes(&mut rig, coordinator, 9, &commit("g", "t", &[(0, 5)]));
    let index = rig.core.partition_for_key("__consumer_offsets", "g").unwrap().index;
    let response = rig.ask(coordinator, 12, &super::rig::fetch("__consumer_offsets", &[(index, 0)], 0));
    assert_eq!(response.responses[0].partitions[0].high_watermark, 1);
    let records = rig.core.records("__consumer_offsets", index).unwrap();
    assert_eq!(&records[0].key.as_ref().unwrap()[..], b"\x00\x01\x00\x01g\x00\x01t\x00\x00\x00\x00");
}

/// Commits the offsets 0, 1, 2, … of `t`-0. Gives where they are written.
pub(super) fn commit_some(rig: &mut Rig, group: &str, count: i64) -> crate::core::controller::PartitionId {
    let coordinator = find(rig, group);
    for offset in 0..count {
        assert_eq!(codes(rig, coordinator, 9, &commit(group, "t", &[(0, offset)])), [NONE]);
    }
    rig.core.partition_for_key("__consumer_offsets", group).unwrap()
}
