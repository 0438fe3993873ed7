//! The rules of a membership, one by one, in virtual time; the names of Kafka's AbstractCoordinatorTest and
//! ConsumerCoordinatorTest where they fit. Pure.

use bytes::Bytes;
use milena_protocol::ErrorCode;
use milena_protocol::group::{Assignment, Subscription};
use milena_protocol::messages::join_group::{JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember};
use milena_protocol::messages::leave_group::LeaveGroupRequest;
use milena_protocol::messages::metadata::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use milena_protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};

use super::*;
use crate::consumer::assignor::{Assignments, Assignor, AssignorError, Member, Owned, RebalanceProtocol, choose};
use crate::error::{Error, ErrorKind};

mod closing;
mod cooperative;
mod group;
mod joining;
mod progress;
mod simulation;
mod stable;
mod timing;

const MS: Duration = Duration::from_millis(1);
const SESSION: Duration = Duration::from_secs(45);
const INTERVAL: Duration = Duration::from_secs(3);
const REBALANCE: Duration = Duration::from_secs(300);

fn settings() -> MembershipSettings {
    MembershipSettings {
        group: "billing".into(),
        instance_id: None,
        rack: None,
        strategies: choose(&["range"], &[]).unwrap(),
        session_timeout: SESSION,
        rebalance_timeout: REBALANCE,
        heartbeat_interval: INTERVAL,
        request_timeout: Duration::from_secs(30),
        backoff: Backoff { initial: 100 * MS, max: 1000 * MS },
    }
}

fn topics<const N: usize>(names: [&str; N]) -> BTreeSet<Arc<str>> {
    names.map(Arc::from).into()
}

/// What the cluster tells of one topic.
fn view(topic: &str, partitions: i32) -> ClusterView {
    ClusterView::default().merge(&answer(topic, partitions))
}

fn answer(topic: &str, partitions: i32) -> MetadataResponse {
    let broker = MetadataResponseBroker { node_id: 1, host: "b".into(), port: 9092, ..Default::default() };
    let partition = |partition_index| MetadataResponsePartition { partition_index, leader_id: 1, ..Default::default() };
    let topic = MetadataResponseTopic {
        name: Some(topic.into()),
        partitions: (0..partitions).map(partition).collect(),
        ..Default::default()
    };
    MetadataResponse { brokers: vec![broker], topics: vec![topic], ..Default::default() }
}

fn no_answer() -> Error {
    Error::new(ErrorKind::Transport, "the connection broke")
}

/// A member and the time it lives in.
struct Rig {
    member: Membership,
    now: Time,
}

impl Rig {
    fn new(settings: MembershipSettings) -> Self {
        Self { member: Membership::new(settings, Some(topics(["t"])), Entropy::from_seed(7)), now: Time::ZERO }
    }

    /// The next action; there must be one.
    fn next(&mut self) -> Action {
        self.member.next_action(self.now).expect("something to do")
    }

    fn nothing(&mut self) {
        let next = self.member.next_action(self.now);
        assert!(next.is_none(), "{next:?}");
        assert!(self.member.next_deadline().is_none_or(|deadline| deadline > self.now), "it would spin");
    }

    /// Goes to the next deadline.
    fn wait(&mut self) -> Duration {
        self.nothing();
        let deadline = self.member.next_deadline().expect("a deadline");
        let waited = deadline - self.now;
        self.now = deadline;
        waited
    }

    fn find(&mut self, broker: i32) -> Option<i32> {
        let Action::FindCoordinator { wrong } = self.next() else { panic!("no search") };
        self.member.on_coordinator(Ok(broker), self.now);
        wrong
    }

    fn on_join(&mut self, answer: Result<JoinGroupResponse, Error>) {
        self.member.on_join(self.member.attempts, answer, self.now);
    }

    fn on_sync(&mut self, answer: Result<SyncGroupResponse, Error>) {
        self.member.on_sync(self.member.attempts, answer, self.now);
    }

    fn join_request(&mut self) -> JoinGroupRequest {
        match self.next() {
            Action::Join { request, .. } => request,
            other => panic!("{other:?}"),
        }
    }

    fn answer_join(&mut self, error_code: ErrorCode, member_id: &str) {
        let answer = JoinGroupResponse { error_code, member_id: member_id.into(), ..Default::default() };
        self.on_join(Ok(answer));
    }

    /// JoinGroup is answered: this member is "me".
    fn joined(&mut self, generation: i32, leader: &str) {
        let topics = vec!["t".to_owned()];
        self.joined_as(generation, leader, &Subscription { topics, ..Subscription::default() });
    }

    fn joined_as(&mut self, generation: i32, leader: &str, subscription: &Subscription) {
        let metadata = subscription.encode().unwrap();
        let member = |id: &str| JoinGroupResponseMember {
            member_id: id.into(),
            metadata: metadata.clone(),
            ..Default::default()
        };
        let answer = JoinGroupResponse {
            generation_id: generation,
            protocol_name: Some("range".into()),
            leader: leader.into(),
            member_id: "me".into(),
            members: if leader == "me" { vec![member("me"), member("you")] } else { Vec::new() },
            ..Default::default()
        };
        self.on_join(Ok(answer));
    }

    fn sync_request(&mut self) -> SyncGroupRequest {
        match self.next() {
            Action::Sync { request, .. } => request,
            other => panic!("{other:?}"),
        }
    }

    fn synced(&mut self, topic: &str, partitions: &[i32]) {
        let partitions = vec![(topic.to_owned(), partitions.to_vec())];
        let assignment = Assignment { partitions, ..Assignment::default() }.encode().unwrap();
        self.on_sync(Ok(SyncGroupResponse { assignment, ..Default::default() }));
    }

    fn answer_sync(&mut self, error_code: ErrorCode) {
        self.on_sync(Ok(SyncGroupResponse { error_code, ..Default::default() }));
    }

    /// A follower in generation 5 that owns t-0 and t-1.
    fn follower(settings: MembershipSettings) -> Self {
        let mut rig = Self::new(settings);
        rig.find(1);
        rig.join_request();
        rig.joined(5, "you");
        rig.sync_request();
        rig.synced("t", &[0, 1]);
        rig.assigned(&[0, 1]);
        rig
    }

    /// A leader in generation 5 that owns t-0, of a topic with two partitions.
    fn leader() -> Self {
        let mut rig = Self::new(settings());
        rig.find(1);
        rig.join_request();
        rig.joined(5, "me");
        rig.divide(&view("t", 2));
        rig.sync_request();
        rig.synced("t", &[0]);
        rig.assigned(&[0]);
        rig
    }

    fn divide(&mut self, view: &ClusterView) {
        let Action::Divide { generation, division } = self.next() else { panic!("no division") };
        let topics = Topics::of(view, division.topics(), division.uses_racks());
        let outcome = division.run(&topics);
        self.member.on_divided(generation, topics, outcome, self.now);
    }

    fn assigned(&mut self, numbers: &[i32]) -> RebalanceReason {
        match self.next() {
            Action::Assigned { partitions, reason, .. } => {
                assert_eq!(partitions, t(numbers));
                reason
            }
            other => panic!("{other:?}"),
        }
    }

    fn revoke(&mut self) -> (Vec<TopicPartition>, RebalanceReason, Duration) {
        match self.next() {
            Action::Revoke { partitions, reason, deadline } => (partitions, reason, deadline - self.now),
            other => panic!("{other:?}"),
        }
    }

    fn lost(&mut self, numbers: &[i32]) -> RebalanceReason {
        match self.next() {
            Action::Lost { partitions, reason } => {
                assert_eq!(partitions, t(numbers));
                reason
            }
            other => panic!("{other:?}"),
        }
    }

    /// Waits until a heartbeat is due and sends it.
    fn beat(&mut self) -> u64 {
        self.wait();
        match self.next() {
            Action::Heartbeat { number, .. } => number,
            other => panic!("{other:?}"),
        }
    }

    fn beat_answered(&mut self, code: ErrorCode) {
        let number = self.beat();
        self.member.on_heartbeat(number, Ok(code), self.now);
    }

    fn report(&mut self) -> Error {
        match self.next() {
            Action::Report(error) => error,
            other => panic!("{other:?}"),
        }
    }

    fn fail(&mut self) -> Error {
        match self.next() {
            Action::Fail(error) => error,
            other => panic!("{other:?}"),
        }
    }

    fn leave_request(&mut self) -> LeaveGroupRequest {
        match self.next() {
            Action::Leave { request, .. } => request,
            other => panic!("{other:?}"),
        }
    }

    fn application(&mut self, reads: u64, reading: bool, holding: bool, progress: Time) {
        self.member.on_application(Application { reads, reading, holding, progress }, self.now);
    }
}

fn t(numbers: &[i32]) -> Vec<TopicPartition> {
    numbers.iter().map(|number| ("t", *number).into()).collect()
}
