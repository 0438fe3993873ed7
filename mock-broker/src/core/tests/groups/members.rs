//! A cluster with a group that tests are members of. Pure.

use bytes::Bytes;
use milena_protocol::ErrorCode;
use milena_protocol::messages::find_coordinator::FindCoordinatorRequest;
use milena_protocol::messages::heartbeat::HeartbeatRequest;
use milena_protocol::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use milena_protocol::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use milena_protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use milena_protocol::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};

use crate::core::tests::rig::{NONE, Rig, frame_of, origin};
use crate::core::{GroupDescription, GroupState, Settings, Ticket};

/// The group of these tests. Its members have sessions of 10 s, and 30 s for a rebalance.
pub(super) const GROUP: &str = "g";

pub(super) const JOIN: i16 = 9;
pub(super) const SYNC: i16 = 5;

pub(super) struct GroupRig {
    pub(super) rig: Rig,
    next_connection: u64,
}

pub(super) fn protocols(names: &[&str]) -> Vec<JoinGroupRequestProtocol> {
    let protocol = |name: &&str| JoinGroupRequestProtocol {
        name: (*name).to_owned(),
        metadata: Bytes::from(format!("about {name}")),
    };
    names.iter().map(protocol).collect()
}

pub(super) fn join_request(member_id: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: GROUP.to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 30_000,
        member_id: member_id.to_owned(),
        protocol_type: "consumer".to_owned(),
        protocols: protocols(&["range"]),
        ..Default::default()
    }
}

pub(super) fn sync_request(generation_id: i32, member_id: &str, assignments: &[(&str, &str)]) -> SyncGroupRequest {
    let assignments = assignments.iter().map(|(member_id, assignment)| SyncGroupRequestAssignment {
        member_id: (*member_id).to_owned(),
        assignment: Bytes::copy_from_slice(assignment.as_bytes()),
    });
    SyncGroupRequest {
        group_id: GROUP.to_owned(),
        generation_id,
        member_id: member_id.to_owned(),
        protocol_type: Some("consumer".to_owned()),
        protocol_name: Some("range".to_owned()),
        assignments: assignments.collect(),
        ..Default::default()
    }
}

pub(super) fn commit_request(generation: i32, member_id: &str, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition { committed_offset: offset, ..Default::default() };
    let topic = OffsetCommitRequestTopic { name: "t".to_owned(), partitions: vec![partition], ..Default::default() };
    OffsetCommitRequest {
        group_id: GROUP.to_owned(),
        generation_id_or_member_epoch: generation,
        member_id: member_id.to_owned(),
        topics: vec![topic],
        ..Default::default()
    }
}

impl GroupRig {
    pub(super) fn new() -> Self {
        Self::with(crate::core::tests::rig::settings())
    }

    pub(super) fn with(settings: Settings) -> Self {
        let mut rig = Rig::with(settings);
        rig.create("t", 2, &[]);
        let find = FindCoordinatorRequest { key: GROUP.to_owned(), ..Default::default() };
        rig.ask(1, 3, &find);
        assert_eq!(rig.ask(1, 3, &find).error_code, NONE);
        Self { rig, next_connection: 100 }
    }

    /// A stable group of so many members, the leader first. Each has its number for an assignment.
    pub(super) fn stable(count: usize) -> (Self, Vec<String>) {
        let mut group = Self::new();
        let ids = group.fill(count);
        (group, ids)
    }

    /// So many members join the group, which is empty, and sync.
    pub(super) fn fill(&mut self, count: usize) -> Vec<String> {
        let mut ids = vec![self.new_id()];
        let alone = self.join(&ids[0]);
        assert_eq!(self.join_code(alone), Some(NONE), "an empty group waits for nobody");
        if count > 1 {
            ids.extend((1..count).map(|_| self.new_id()));
            let order = ids.iter().skip(1).chain(&ids[..1]);
            let tickets: Vec<Ticket> = order.map(|id| self.join(id)).collect();
            for ticket in tickets {
                assert_eq!(self.join_code(ticket), Some(NONE));
            }
        }
        self.sync_all(&ids);
        ids
    }

    /// The leader is the first one.
    pub(super) fn sync_all(&mut self, members: &[String]) {
        let generation = self.group().generation;
        let numbers: Vec<String> = (0..members.len()).map(|number| number.to_string()).collect();
        let given: Vec<(&str, &str)> =
            members.iter().zip(&numbers).map(|(id, number)| (id.as_str(), number.as_str())).collect();
        let (leader, others) = members.split_first().expect("a member");
        let waiting: Vec<Ticket> = others.iter().map(|id| self.sync(generation, id, &[])).collect();
        let first = self.sync(generation, leader, &given);
        assert_eq!(self.synced(first).expect("an assignment").assignment, "0");
        for (ticket, number) in waiting.into_iter().zip(&numbers[1..]) {
            assert_eq!(self.synced(ticket).expect("an assignment").assignment, number.as_str());
        }
        assert_eq!(self.state(), GroupState::Stable);
    }

    pub(super) fn coordinator(&self) -> i32 {
        self.rig.core.coordinator(GROUP)
    }

    pub(super) fn group(&self) -> GroupDescription {
        self.rig.core.group(GROUP).expect("the group exists")
    }

    pub(super) fn state(&self) -> GroupState {
        self.rig.core.group(GROUP).map_or(GroupState::Dead, |group| group.state)
    }

    /// Ids of the members, the eldest first.
    pub(super) fn ids(&self) -> Vec<String> {
        self.group().members.into_iter().map(|member| member.id).collect()
    }

    /// Each on a connection of its own, which is told.
    pub(super) fn send<R: milena_protocol::api::Request>(&mut self, version: i16, request: &R) -> (Ticket, u64) {
        self.next_connection += 1;
        let connection = self.next_connection;
        let coordinator = self.coordinator();
        (self.rig.submit(&origin(coordinator, connection), frame_of(version, request)), connection)
    }

    /// The id that a first JoinGroup is answered with.
    pub(super) fn new_id(&mut self) -> String {
        let (ticket, _) = self.send(JOIN, &join_request(""));
        let response = self.joined(ticket).expect("an answer at once");
        assert_eq!(response.error_code, ErrorCode::MEMBER_ID_REQUIRED);
        response.member_id
    }

    pub(super) fn join(&mut self, member_id: &str) -> Ticket {
        self.send(JOIN, &join_request(member_id)).0
    }

    pub(super) fn joined(&mut self, ticket: Ticket) -> Option<JoinGroupResponse> {
        self.rig.answer::<JoinGroupRequest>(ticket, JOIN)
    }

    pub(super) fn join_code(&mut self, ticket: Ticket) -> Option<ErrorCode> {
        self.joined(ticket).map(|response| response.error_code)
    }

    pub(super) fn sync(&mut self, generation: i32, member_id: &str, assignments: &[(&str, &str)]) -> Ticket {
        self.send(SYNC, &sync_request(generation, member_id, assignments)).0
    }

    pub(super) fn synced(&mut self, ticket: Ticket) -> Option<SyncGroupResponse> {
        self.rig.answer::<SyncGroupRequest>(ticket, SYNC)
    }

    pub(super) fn sync_code(&mut self, ticket: Ticket) -> Option<ErrorCode> {
        self.synced(ticket).map(|response| response.error_code)
    }

    pub(super) fn heartbeat(&mut self, generation_id: i32, member_id: &str) -> ErrorCode {
        let (group_id, member_id) = (GROUP.to_owned(), member_id.to_owned());
        let request = HeartbeatRequest { group_id, generation_id, member_id, group_instance_id: None };
        self.rig.ask(self.coordinator(), 4, &request).error_code
    }

    pub(super) fn commit(&mut self, generation: i32, member_id: &str, offset: i64) -> ErrorCode {
        let response = self.rig.ask(self.coordinator(), 9, &commit_request(generation, member_id, offset));
        response.topics[0].partitions[0].error_code
    }

    pub(super) fn leave(&mut self, member_ids: &[&str]) -> Vec<ErrorCode> {
        let member = |id: &&str| MemberIdentity { member_id: (*id).to_owned(), ..Default::default() };
        let members = member_ids.iter().map(member).collect();
        let request = LeaveGroupRequest { group_id: GROUP.to_owned(), members, ..Default::default() };
        let response = self.rig.ask(self.coordinator(), 5, &request);
        assert_eq!(response.error_code, NONE);
        response.members.into_iter().map(|member| member.error_code).collect()
    }
}
