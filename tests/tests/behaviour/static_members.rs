//! Static members as brokers see them (KIP-345, KIP-814): by requests, without a client in between.

use bytes::Bytes;
use milena::ErrorCode;
use milena_protocol::group::Subscription;
use milena_protocol::messages::heartbeat::HeartbeatRequest;
use milena_protocol::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use milena_protocol::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use milena_protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use milena_protocol::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use milena_tests::cluster::{TestCluster, lacks};
use milena_tests::raw::{RawConnection, Sent};

const JOIN: i16 = 9;

struct Member {
    connection: RawConnection,
    group: String,
    instance: String,
    id: String,
    generation: i32,
}

impl Member {
    async fn new(cluster: &TestCluster, group: &str, instance: &str) -> Self {
        let connection = cluster.raw_coordinator(group).await;
        let (group, instance) = (group.to_owned(), instance.to_owned());
        Self { connection, group, instance, id: String::new(), generation: -1 }
    }

    async fn send_join(&mut self) -> Sent<JoinGroupRequest> {
        // To nothing; a coordinator before 4.0 that cannot read it never ends the rebalance.
        let metadata = Subscription::default().encode().expect("it is short");
        let protocols = vec![JoinGroupRequestProtocol { name: "range".to_owned(), metadata }];
        let request = JoinGroupRequest {
            group_id: self.group.clone(),
            session_timeout_ms: 60_000,
            rebalance_timeout_ms: 60_000,
            member_id: self.id.clone(),
            group_instance_id: Some(self.instance.clone()),
            protocol_type: "consumer".to_owned(),
            protocols,
            ..Default::default()
        };
        self.connection.send(JOIN, &request).await
    }

    async fn joined(&mut self, sent: Sent<JoinGroupRequest>) -> JoinGroupResponse {
        let answer = self.connection.answer(sent).await;
        if answer.error_code.is_none() {
            self.id.clone_from(&answer.member_id);
            self.generation = answer.generation_id;
        }
        answer
    }

    async fn join(&mut self) -> JoinGroupResponse {
        let sent = self.send_join().await;
        self.joined(sent).await
    }

    async fn send_sync(&mut self, assignments: &[(&str, &'static str)]) -> Sent<SyncGroupRequest> {
        let assignments = assignments.iter().map(|(member_id, assignment)| SyncGroupRequestAssignment {
            member_id: (*member_id).to_owned(),
            assignment: Bytes::from_static(assignment.as_bytes()),
        });
        let request = SyncGroupRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            group_instance_id: Some(self.instance.clone()),
            protocol_type: Some("consumer".to_owned()),
            protocol_name: Some("range".to_owned()),
            assignments: assignments.collect(),
        };
        self.connection.send(5, &request).await
    }

    async fn sync(&mut self, assignments: &[(&str, &'static str)]) -> (ErrorCode, Bytes) {
        let sent = self.send_sync(assignments).await;
        let answer = self.connection.answer(sent).await;
        (answer.error_code, answer.assignment)
    }

    async fn heartbeat(&mut self) -> ErrorCode {
        let request = HeartbeatRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            group_instance_id: Some(self.instance.clone()),
        };
        self.connection.ask(4, &request).await.error_code
    }
}

/// A stable group of instances; the first one leads, and each has its instance's name for an assignment.
async fn stable<const N: usize>(cluster: &TestCluster, names: [&'static str; N]) -> [Member; N] {
    let group = cluster.unique("static");
    let mut members = Vec::new();
    for name in names {
        members.push(Member::new(cluster, &group, name).await);
    }
    assert!(members[0].join().await.error_code.is_none());
    for count in 1..N {
        // The new one and all before it, which learn of it by their heartbeats.
        let new = members[count].send_join().await;
        let mut sent = Vec::new();
        for member in &mut members[..count] {
            while member.heartbeat().await != ErrorCode::REBALANCE_IN_PROGRESS {}
            sent.push(member.send_join().await);
        }
        sent.push(new);
        for (member, sent) in members.iter_mut().zip(sent) {
            assert!(member.joined(sent).await.error_code.is_none());
        }
    }
    let ids: Vec<String> = members.iter().map(|member| member.id.clone()).collect();
    let assignments: Vec<(&str, &'static str)> = ids.iter().map(String::as_str).zip(names).collect();
    for (member, name) in members.iter_mut().zip(names) {
        assert_eq!(member.sync(&assignments).await, (ErrorCode::NONE, Bytes::from_static(name.as_bytes())));
    }
    members.try_into().unwrap_or_else(|_| unreachable!("as many as there are names"))
}

#[tokio::test]
async fn an_instance_that_comes_back_has_a_new_id_its_old_assignment_and_disturbs_nobody() {
    let cluster = TestCluster::shared().await;
    let [mut leader, mut other] = stable(&cluster, ["a", "b"]).await;
    let (old_id, generation) = (other.id.clone(), other.generation);
    let mut back = Member::new(&cluster, &other.group, "b").await;
    let answer = back.join().await;
    assert_eq!((answer.error_code, answer.generation_id, answer.members.len()), (ErrorCode::NONE, generation, 0));
    assert_ne!(back.id, old_id);
    assert!(!answer.skip_assignment, "only a leader is told so");
    assert_eq!(back.sync(&[]).await, (ErrorCode::NONE, Bytes::from_static(b"b")));
    assert_eq!((leader.heartbeat().await, back.heartbeat().await), (ErrorCode::NONE, ErrorCode::NONE));
    assert_eq!(other.heartbeat().await, ErrorCode::FENCED_INSTANCE_ID);
}

#[tokio::test]
async fn a_leader_that_comes_back_leads_and_need_not_assign() {
    if lacks((3, 2), "leaders that need not assign (KIP-814)") {
        return;
    }
    let cluster = TestCluster::shared().await;
    let [leader, mut other] = stable(&cluster, ["a", "b"]).await;
    let mut back = Member::new(&cluster, &leader.group, "a").await;
    let answer = back.join().await;
    assert!(answer.error_code.is_none() && answer.skip_assignment, "{answer:?}");
    assert_eq!((&answer.leader, answer.members.len()), (&back.id, 2));
    assert_eq!(back.sync(&[]).await, (ErrorCode::NONE, Bytes::from_static(b"a")));
    assert_eq!(other.heartbeat().await, ErrorCode::NONE);
}

#[tokio::test]
async fn whoever_has_the_old_id_of_an_instance_is_fenced_in_all_it_does() {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("fenced", 1).await;
    let [mut leader, mut older] = stable(&cluster, ["a", "b"]).await;
    assert!(Member::new(&cluster, &older.group, "b").await.join().await.error_code.is_none());
    let fenced = ErrorCode::FENCED_INSTANCE_ID;
    assert_eq!(older.heartbeat().await, fenced);
    assert_eq!(older.sync(&[]).await.0, fenced);
    assert_eq!(older.join().await.error_code, fenced);
    let partition = OffsetCommitRequestPartition { committed_offset: 1, ..Default::default() };
    let topics = vec![OffsetCommitRequestTopic { name: topic, partitions: vec![partition], ..Default::default() }];
    let commit = OffsetCommitRequest {
        group_id: older.group.clone(),
        generation_id_or_member_epoch: older.generation,
        member_id: older.id.clone(),
        group_instance_id: Some("b".to_owned()),
        topics,
        ..Default::default()
    };
    let answer = older.connection.ask(8, &commit).await;
    assert_eq!(answer.topics[0].partitions[0].error_code, fenced);
    assert_eq!(leader.heartbeat().await, ErrorCode::NONE);
}

#[tokio::test]
async fn several_members_leave_at_once_by_instance_or_by_id() {
    let cluster = TestCluster::shared().await;
    let [mut stays, goes, goes_too, mut keeps] = stable(&cluster, ["a", "b", "c", "d"]).await;
    let by = |member_id: &str, instance: Option<&str>| MemberIdentity {
        member_id: member_id.to_owned(),
        group_instance_id: instance.map(str::to_owned),
        reason: None,
    };
    let members = vec![
        by("", Some("b")),
        by(&goes_too.id, None),
        by("", Some("nobody")),
        by("nobody", None),
        by(&goes.id, Some("d")),
        by(&goes.id, None),
    ];
    let request = LeaveGroupRequest { group_id: stays.group.clone(), members, ..Default::default() };
    let answer = stays.connection.ask(5, &request).await;
    let codes: Vec<ErrorCode> = answer.members.iter().map(|member| member.error_code).collect();
    let (none, unknown) = (ErrorCode::NONE, ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(codes, [none, none, unknown, unknown, ErrorCode::FENCED_INSTANCE_ID, unknown]);
    assert_eq!(stays.heartbeat().await, ErrorCode::REBALANCE_IN_PROGRESS);
    let (first, second) = (stays.send_join().await, keeps.send_join().await);
    let (first, _) = (stays.joined(first).await, keeps.joined(second).await);
    assert_eq!(first.members.len(), 2);
}
