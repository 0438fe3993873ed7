//! A consumer group as a test sees and disturbs it.

use std::time::Duration;

use bytes::Bytes;
use milena_mock_broker::{ApiKey, ErrorCode, Fault, GroupState, MockCluster};
use milena_protocol::group::Assignment;
use milena_protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use milena_protocol::messages::find_coordinator::FindCoordinatorRequest;
use milena_protocol::messages::heartbeat::HeartbeatRequest;
use milena_protocol::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use milena_protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use milena_protocol::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};

use crate::raw::{Client, Over, in_memory};

const JOIN: i16 = 9;
const SYNC: i16 = 5;
const HEARTBEAT: i16 = 4;

fn cluster() -> MockCluster {
    let half_a_second = Duration::from_millis(500);
    MockCluster::builder().topic("orders", 4).group_min_session_timeout(half_a_second).start_in_memory()
}

async fn coordinator(cluster: &MockCluster, group: &str) -> Client {
    loop {
        let up = cluster.brokers().into_iter().find(|broker| broker.is_up()).expect("a broker that is up");
        let mut client = Client::connect(cluster, up.id(), Over::Pipe).await.unwrap();
        let request = FindCoordinatorRequest { key: group.to_owned(), ..Default::default() };
        let found = client.call(3, &request).await.unwrap();
        if found.error_code.is_none() {
            return Client::connect(cluster, found.node_id, Over::Pipe).await.unwrap();
        }
    }
}

fn join(group: &str, member_id: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.to_owned(),
        session_timeout_ms: 500,
        rebalance_timeout_ms: 60_000,
        member_id: member_id.to_owned(),
        protocol_type: "consumer".to_owned(),
        protocols: vec![JoinGroupRequestProtocol { name: "range".to_owned(), metadata: Bytes::new() }],
        ..Default::default()
    }
}

/// Joins for the first time, with the id that is given on the way.
async fn enter(client: &mut Client, group: &str) -> JoinGroupResponse {
    let refused = client.call(JOIN, &join(group, "")).await.unwrap();
    assert_eq!(refused.error_code, ErrorCode::MEMBER_ID_REQUIRED);
    client.call(JOIN, &join(group, &refused.member_id)).await.unwrap()
}

async fn assign(client: &mut Client, joined: &JoinGroupResponse, group: &str, given: &[(&str, &[i32])]) -> ErrorCode {
    let assignments = given.iter().map(|(member, partitions)| {
        let partitions = vec![("orders".to_owned(), partitions.to_vec())];
        let assignment = Assignment { partitions, ..Default::default() }.encode().unwrap();
        SyncGroupRequestAssignment { member_id: (*member).to_owned(), assignment }
    });
    let request = SyncGroupRequest {
        group_id: group.to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        protocol_type: joined.protocol_type.clone(),
        protocol_name: joined.protocol_name.clone(),
        assignments: assignments.collect(),
        ..Default::default()
    };
    client.call(SYNC, &request).await.unwrap().error_code
}

async fn heartbeat(client: &mut Client, joined: &JoinGroupResponse, group: &str) -> ErrorCode {
    let request = HeartbeatRequest {
        group_id: group.to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        group_instance_id: None,
    };
    client.call(HEARTBEAT, &request).await.unwrap().error_code
}

#[tokio::test(start_paused = true)]
async fn a_group_is_looked_at_and_disturbed() {
    let cluster = cluster();
    let billing = cluster.group("billing");
    assert_eq!((billing.state(), billing.generation(), billing.members().len()), (GroupState::Dead, 0, 0));
    let mut client = coordinator(&cluster, "billing").await;
    let joined = enter(&mut client, "billing").await;
    let me = joined.member_id.as_str();
    assert_eq!(billing.state(), GroupState::CompletingRebalance);
    assert_eq!(assign(&mut client, &joined, "billing", &[(me, &[3, 0])]).await, ErrorCode::NONE);
    cluster.until("a stable group", |now| now.group_state("billing") == GroupState::Stable).await;
    assert_eq!((billing.state().to_string().as_str(), billing.generation()), ("Stable", 1));
    let members = billing.members();
    assert_eq!((members[0].id.as_str(), members[0].client_id.as_str()), (me, "raw"));
    assert_eq!(members[0].assignment, [("orders".to_owned(), 0), ("orders".to_owned(), 3)]);
    let owned = |partition| ("orders".to_owned(), partition, me.to_owned());
    assert_eq!(billing.assignment(), [owned(0), owned(3)]);

    let partition = OffsetCommitRequestPartition { committed_offset: 5, ..Default::default() };
    let topic =
        OffsetCommitRequestTopic { name: "orders".to_owned(), partitions: vec![partition], ..Default::default() };
    let commit = OffsetCommitRequest {
        group_id: "billing".to_owned(),
        generation_id_or_member_epoch: 1,
        member_id: me.to_owned(),
        topics: vec![topic],
        ..Default::default()
    };
    client.call(9, &commit).await.unwrap();
    assert_eq!((billing.committed("orders", 0), billing.committed("orders", 1)), (Some(5), None));

    billing.rebalance();
    assert_eq!(heartbeat(&mut client, &joined, "billing").await, ErrorCode::REBALANCE_IN_PROGRESS);
    billing.evict(me);
    assert_eq!(heartbeat(&mut client, &joined, "billing").await, ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!((billing.state(), billing.generation()), (GroupState::Empty, 2));
}

#[tokio::test(start_paused = true)]
async fn a_silent_member_is_out_after_its_session() {
    let cluster = cluster();
    let mut client = coordinator(&cluster, "billing").await;
    let joined = enter(&mut client, "billing").await;
    assert_eq!(assign(&mut client, &joined, "billing", &[]).await, ErrorCode::NONE);
    let before = cluster.journal().all().last().unwrap().at;
    cluster.until("nobody there", |now| now.group_state("billing") == GroupState::Empty).await;
    assert_eq!(heartbeat(&mut client, &joined, "billing").await, ErrorCode::UNKNOWN_MEMBER_ID);
    let passed = cluster.journal().all().last().unwrap().at - before;
    assert!((500..505).contains(&passed.as_millis()), "half a second: {passed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_group_outlives_the_broker_that_coordinates_it() {
    let cluster = cluster();
    let mut client = coordinator(&cluster, "billing").await;
    let joined = enter(&mut client, "billing").await;
    let me = joined.member_id.clone();
    assert_eq!(assign(&mut client, &joined, "billing", &[(&me, &[0, 1, 2, 3])]).await, ErrorCode::NONE);
    let coordinator_id = cluster.journal().all().last().unwrap().broker;
    cluster.broker(coordinator_id).crash();
    client.expect_closed().await;
    assert_eq!(cluster.group("billing").assignment().len(), 4);
    let mut client = coordinator(&cluster, "billing").await;
    assert_eq!(heartbeat(&mut client, &joined, "billing").await, ErrorCode::NONE);
}

#[tokio::test(start_paused = true)]
async fn a_static_member_is_fenced_and_a_full_group_takes_nobody() {
    let cluster = MockCluster::builder().topic("orders", 4).group_max_size(1).start_in_memory();
    let mut client = coordinator(&cluster, "billing").await;
    let instance = JoinGroupRequest {
        group_instance_id: Some("one".to_owned()),
        session_timeout_ms: 10_000,
        ..join("billing", "")
    };
    let joined = client.call(JOIN, &instance).await.unwrap();
    assert_eq!(joined.error_code, ErrorCode::NONE);
    let other = JoinGroupRequest { session_timeout_ms: 10_000, ..join("billing", "") };
    assert_eq!(client.call(3, &other).await.unwrap().error_code, ErrorCode::GROUP_MAX_SIZE_REACHED);

    let request = HeartbeatRequest {
        group_id: "billing".to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id,
        group_instance_id: Some("one".to_owned()),
    };
    assert_eq!(client.call(HEARTBEAT, &request).await.unwrap().error_code, ErrorCode::NONE);
    cluster.group("billing").fence("one");
    assert_eq!(client.call(HEARTBEAT, &request).await.unwrap().error_code, ErrorCode::FENCED_INSTANCE_ID);
}

#[tokio::test(start_paused = true)]
async fn offsets_that_nobody_needs_are_kept_for_their_time() {
    let (hour, minute) = (Duration::from_secs(3600), Duration::from_secs(60));
    let builder = MockCluster::builder().topic("orders", 4);
    let cluster = builder.offsets_retention(hour).offsets_retention_check_interval(minute).start_in_memory();
    let mut client = coordinator(&cluster, "billing").await;
    let partition = OffsetCommitRequestPartition { committed_offset: 5, ..Default::default() };
    let topic =
        OffsetCommitRequestTopic { name: "orders".to_owned(), partitions: vec![partition], ..Default::default() };
    let commit = OffsetCommitRequest {
        group_id: "billing".to_owned(),
        generation_id_or_member_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    };
    client.call(9, &commit).await.unwrap();
    tokio::time::sleep(hour - minute).await;
    assert_eq!(cluster.group("billing").committed("orders", 0), Some(5));
    tokio::time::sleep(2 * minute).await;
    assert_eq!(cluster.group("billing").committed("orders", 0), None);
}

#[tokio::test(start_paused = true)]
async fn a_group_moves_to_a_coordinator_that_loads_for_a_while() {
    let cluster = cluster();
    let mut client = coordinator(&cluster, "billing").await;
    let joined = enter(&mut client, "billing").await;
    assert_eq!(assign(&mut client, &joined, "billing", &[]).await, ErrorCode::NONE);
    let billing = cluster.group("billing");
    let old = billing.coordinator().unwrap();
    let next = 1 + old % 3;
    billing.move_coordinator(next, Duration::from_secs(1));
    assert_eq!(billing.coordinator(), Some(next));
    assert_eq!(heartbeat(&mut client, &joined, "billing").await, ErrorCode::NOT_COORDINATOR);
    let mut client = Client::connect(&cluster, next, Over::Pipe).await.unwrap();
    tokio::time::sleep(Duration::from_millis(999)).await;
    assert_eq!(heartbeat(&mut client, &joined, "billing").await, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(heartbeat(&mut client, &joined, "billing").await, ErrorCode::NONE);
}

#[tokio::test(start_paused = true)]
async fn a_fault_hits_one_group() {
    let cluster = cluster();
    let fault = cluster.fault(Fault::on(ApiKey::HEARTBEAT).group("billing").error(ErrorCode::NOT_COORDINATOR));
    let mut billing = coordinator(&cluster, "billing").await;
    let mut other = coordinator(&cluster, "other").await;
    let (first, second) = (enter(&mut billing, "billing").await, enter(&mut other, "other").await);
    assert_eq!(heartbeat(&mut other, &second, "other").await, ErrorCode::NONE);
    assert_eq!(heartbeat(&mut billing, &first, "billing").await, ErrorCode::NOT_COORDINATOR);
    assert_eq!(heartbeat(&mut billing, &first, "billing").await, ErrorCode::NONE);
    assert_eq!(fault.hits(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fault_sees_the_topics_of_a_fetch_session() {
    let cluster = in_memory();
    let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    let partitions = vec![FetchPartition { partition: 0, partition_max_bytes: 1000, ..Default::default() }];
    let topic = FetchTopic { topic: "orders".to_owned(), partitions, ..Default::default() };
    let first = FetchRequest { max_bytes: 1000, session_epoch: 0, topics: vec![topic], ..Default::default() };
    let session_id = client.call(12, &first).await.unwrap().session_id;
    assert_ne!(session_id, 0);

    let other = cluster.fault(Fault::on(ApiKey::FETCH).topic("payments").disconnect()).optional();
    let fault = cluster.fault(Fault::on(ApiKey::FETCH).topic("orders").partition(0).error(ErrorCode::CORRUPT_MESSAGE));
    let go_on = FetchRequest { max_bytes: 1000, session_id, session_epoch: 1, ..Default::default() };
    let response = client.call(12, &go_on).await.unwrap();
    let partition = &response.responses[0].partitions[0];
    assert_eq!((response.responses[0].topic.as_str(), partition.error_code), ("orders", ErrorCode::CORRUPT_MESSAGE));
    assert_eq!(response.session_id, 0, "the session is over for the client: the broker has not seen its request");
    assert_eq!((fault.hits(), other.hits()), (1, 0));
}

#[tokio::test]
#[should_panic(expected = "cannot evict member nobody from group billing: UNKNOWN_MEMBER_ID")]
async fn a_member_that_is_not_there_cannot_be_evicted() {
    cluster().group("billing").evict("nobody");
}

#[tokio::test]
#[should_panic(expected = "cannot rebalance group billing: GROUP_ID_NOT_FOUND")]
async fn a_group_that_is_not_there_cannot_be_rebalanced() {
    cluster().group("billing").rebalance();
}
