//! Groups of the classic protocol: joining, and what every other request gives in each state of a group.

pub mod deletion;
pub mod joining;
pub mod members;
pub mod statics;

use milena_protocol::messages::describe_groups::DescribeGroupsRequest;
use milena_protocol::messages::heartbeat::HeartbeatRequest;
use milena_protocol::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use milena_protocol::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use milena_protocol::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use milena_tests::eventually::eventually;
use milena_tests::raw::{RawConnection, Sent};

use crate::script::Script;

pub const JOIN: i16 = 7;
pub const SYNC: i16 = 5;
pub const HEARTBEAT: i16 = 4;
pub const LEAVE: i16 = 5;
pub const DESCRIBE: i16 = 5;

/// A member of a group, on a connection of its own.
pub struct Member {
    pub connection: RawConnection,
    pub id: String,
    pub generation: i32,
}

pub fn join(group: &str, member_id: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.to_owned(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 60_000,
        member_id: member_id.to_owned(),
        protocol_type: "consumer".to_owned(),
        protocols: vec![protocol("range", "m")],
        ..Default::default()
    }
}

pub fn protocol(name: &str, metadata: &str) -> JoinGroupRequestProtocol {
    JoinGroupRequestProtocol { name: name.to_owned(), metadata: metadata.to_owned().into() }
}

pub fn sync(group: &str, member: &Member, assignments: &[(&str, &str)]) -> SyncGroupRequest {
    let assignment = |(id, assignment): &(&str, &str)| SyncGroupRequestAssignment {
        member_id: (*id).to_owned(),
        assignment: (*assignment).to_owned().into(),
    };
    SyncGroupRequest {
        group_id: group.to_owned(),
        generation_id: member.generation,
        member_id: member.id.clone(),
        protocol_type: Some("consumer".to_owned()),
        protocol_name: Some("range".to_owned()),
        assignments: assignments.iter().map(assignment).collect(),
        ..Default::default()
    }
}

pub fn heartbeat(group: &str, member_id: &str, generation: i32) -> HeartbeatRequest {
    HeartbeatRequest {
        group_id: group.to_owned(),
        generation_id: generation,
        member_id: member_id.to_owned(),
        ..Default::default()
    }
}

pub fn leave(group: &str, members: &[&str]) -> LeaveGroupRequest {
    let identity = |id: &&str| MemberIdentity { member_id: (*id).to_owned(), ..Default::default() };
    LeaveGroupRequest {
        group_id: group.to_owned(),
        member_id: members.first().copied().unwrap_or_default().to_owned(),
        members: members.iter().map(identity).collect(),
    }
}

impl Member {
    /// Somebody who has an id and has not joined.
    pub async fn pending(p: &Script<'_>, group: &str) -> Self {
        let mut connection = p.cluster.raw_coordinator(group).await;
        let answer = connection.ask(JOIN, &join(group, "")).await;
        Self { connection, id: answer.member_id, generation: -1 }
    }

    /// The only member of a group, before its assignment.
    pub async fn joined(p: &Script<'_>, group: &str) -> Self {
        let mut member = Self::pending(p, group).await;
        let sent = member.rejoin(group).await;
        member.on_join(sent).await;
        member
    }

    /// The only member of a stable group.
    pub async fn stable(p: &Script<'_>, group: &str) -> Self {
        let mut member = Self::joined(p, group).await;
        let request = sync(group, &member, &[(&member.id, "all")]);
        let answer = member.connection.ask(SYNC, &request).await;
        assert!(answer.error_code.is_none(), "sync: {answer:?}");
        member
    }

    /// Sends a JoinGroup with its id.
    pub async fn rejoin(&mut self, group: &str) -> Sent<JoinGroupRequest> {
        self.connection.send(JOIN, &join(group, &self.id)).await
    }

    /// Waits for the answer to it.
    pub async fn on_join(&mut self, sent: Sent<JoinGroupRequest>) -> JoinGroupResponse {
        let mut answer = self.connection.answer(sent).await;
        self.generation = answer.generation_id;
        // The members come in any order; here the leader comes first.
        let leader = answer.leader.clone();
        answer.members.sort_by_key(|member| member.member_id != leader);
        answer
    }
}

/// Waits for a state of a group.
pub async fn until_state(p: &Script<'_>, group: &str, state: &str) {
    let mut coordinator = p.cluster.raw_coordinator(group).await;
    let request = DescribeGroupsRequest { groups: vec![group.to_owned()], ..Default::default() };
    eventually(&format!("{group} to be {state}"), async || {
        let answer = coordinator.ask(DESCRIBE, &request).await;
        (answer.groups[0].group_state == state).then_some(())
    })
    .await;
}

/// Waits until a group has so many members, with those who wait to join.
pub async fn until_members(p: &Script<'_>, group: &str, count: usize) {
    let mut coordinator = p.cluster.raw_coordinator(group).await;
    let request = DescribeGroupsRequest { groups: vec![group.to_owned()], ..Default::default() };
    eventually(&format!("{group} to have {count} members"), async || {
        let answer = coordinator.ask(DESCRIBE, &request).await;
        (answer.groups[0].members.len() == count).then_some(())
    })
    .await;
}
