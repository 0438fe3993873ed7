//! Random schedules: members come, die, leave and are slow, coordinators crash, and what every group promises holds. Pure.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use milena_protocol::ErrorCode;
use milena_protocol::messages::heartbeat::HeartbeatRequest;
use milena_protocol::messages::join_group::JoinGroupResponse;
use milena_protocol::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use milena_protocol::messages::sync_group::SyncGroupResponse;

use super::members::{GROUP, GroupRig, JOIN, SYNC, join_request, sync_request};
use crate::core::tests::rig::{NONE, settings};
use crate::core::{GroupState, Settings, Ticket};
use crate::random::Random;

const HEARTBEAT: i16 = 4;
const LEAVE: i16 = 5;

/// What a member, which does as it is told, does next or waits for.
#[derive(Debug, Clone)]
enum Step {
    Join,
    Joining(Ticket),
    Sync { generation: i32, given: Vec<(String, String)> },
    Syncing { generation: i32, ticket: Ticket },
    Member { generation: i32 },
    Beating { generation: i32, ticket: Ticket },
    Leaving(Ticket),
    Gone,
}

#[derive(Debug, Clone)]
struct Client {
    id: String,
    connection: u64,
    step: Step,
}

/// What was promised: by time of the coordinator's life and generation.
#[derive(Debug, Default)]
struct Promises {
    /// How often a coordinator has crashed.
    life: u32,
    /// Who the leader was told are the members.
    members: BTreeMap<(u32, i32), BTreeSet<String>>,
    /// Who was welcomed.
    welcomed: BTreeMap<(u32, i32), BTreeSet<String>>,
    leader: BTreeMap<(u32, i32), String>,
}

struct Schedule {
    group: GroupRig,
    random: Random,
    clients: Vec<Client>,
    promises: Promises,
}

fn assignment(generation: i32, member: &str) -> String {
    format!("{generation} of {member}")
}

impl Schedule {
    fn new(seed: u64) -> Self {
        Self {
            group: GroupRig::with(Settings { seed, ..settings() }),
            random: Random::new(seed, 3),
            clients: Vec::new(),
            promises: Promises::default(),
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.group.rig.now.as_millis()).unwrap()
    }

    fn start_client(&mut self) {
        self.clients.push(Client { id: String::new(), connection: 0, step: Step::Join });
    }

    /// The client does what is next, if it does not wait.
    fn act(&mut self, index: usize) {
        if self.group.coordinator() == -1 {
            return;
        }
        let client = self.clients[index].clone();
        let (step, connection) = match client.step {
            Step::Join => {
                let (ticket, connection) = self.group.send(JOIN, &join_request(&client.id));
                (Step::Joining(ticket), connection)
            }
            Step::Sync { generation, given } => {
                let given: Vec<(&str, &str)> = given.iter().map(|(id, what)| (id.as_str(), what.as_str())).collect();
                let (ticket, connection) = self.group.send(SYNC, &sync_request(generation, &client.id, &given));
                (Step::Syncing { generation, ticket }, connection)
            }
            Step::Member { generation } => {
                let request = HeartbeatRequest {
                    group_id: GROUP.to_owned(),
                    generation_id: generation,
                    member_id: client.id,
                    group_instance_id: None,
                };
                let (ticket, connection) = self.group.send(HEARTBEAT, &request);
                (Step::Beating { generation, ticket }, connection)
            }
            waiting => (waiting, client.connection),
        };
        let client = &mut self.clients[index];
        (client.step, client.connection) = (step, connection);
    }

    fn leave(&mut self, index: usize) {
        let id = self.clients[index].id.clone();
        if id.is_empty() || self.group.coordinator() == -1 {
            return;
        }
        let members = vec![MemberIdentity { member_id: id, ..Default::default() }];
        let request = LeaveGroupRequest { group_id: GROUP.to_owned(), members, ..Default::default() };
        let (ticket, _) = self.group.send(LEAVE, &request);
        self.clients[index].step = Step::Leaving(ticket);
    }

    /// Its connection breaks and it is never heard of again.
    fn die(&mut self, index: usize) {
        let connection = self.clients[index].connection;
        self.group.rig.act(|core, _| core.on_disconnect(connection));
        self.clients[index].step = Step::Gone;
    }

    /// Clients of the broker notice, and ask anew.
    fn crash(&mut self) {
        let broker = self.group.coordinator();
        self.group.rig.act(|core, now| core.crash(now, broker));
        self.promises.life += 1;
        for client in &mut self.clients {
            client.step = match &client.step {
                Step::Joining(_) => Step::Join,
                // A leader has forgotten what it decided, and has to decide again.
                Step::Syncing { .. } => Step::Join,
                Step::Beating { generation, .. } => Step::Member { generation: *generation },
                Step::Leaving(_) => Step::Gone,
                other => other.clone(),
            };
        }
    }

    /// Takes in what was answered.
    fn listen(&mut self) {
        for index in 0..self.clients.len() {
            let client = self.clients[index].clone();
            let step = match client.step {
                Step::Joining(ticket) => self.group.joined(ticket).map(|response| self.on_joined(index, response)),
                Step::Syncing { generation, ticket } => {
                    self.group.synced(ticket).map(|response| self.on_synced(index, generation, &response))
                }
                Step::Beating { generation, ticket } => {
                    let answer = self.group.rig.answer::<HeartbeatRequest>(ticket, HEARTBEAT);
                    answer.map(|response| self.on_beat(index, generation, response.error_code))
                }
                Step::Leaving(ticket) => self.group.rig.answer::<LeaveGroupRequest>(ticket, LEAVE).map(|_| Step::Gone),
                Step::Join | Step::Sync { .. } | Step::Member { .. } | Step::Gone => None,
            };
            if let Some(step) = step {
                self.clients[index].step = step;
            }
        }
    }

    fn on_joined(&mut self, index: usize, response: JoinGroupResponse) -> Step {
        match response.error_code {
            NONE => {}
            ErrorCode::MEMBER_ID_REQUIRED => {
                self.clients[index].id = response.member_id;
                return Step::Join;
            }
            ErrorCode::UNKNOWN_MEMBER_ID => {
                self.clients[index].id.clear();
                return Step::Join;
            }
            other => panic!("{other}"),
        }
        let id = self.clients[index].id.clone();
        assert_eq!(response.member_id, id);
        let generation = response.generation_id;
        let key = (self.promises.life, generation);
        let leader = self.promises.leader.entry(key).or_insert_with(|| response.leader.clone());
        assert_eq!(*leader, response.leader, "a generation has one leader");
        self.promises.welcomed.entry(key).or_default().insert(id.clone());
        let members: BTreeSet<String> = response.members.iter().map(|member| member.member_id.clone()).collect();
        assert_eq!(members.is_empty(), response.leader != id, "the leader knows the members, and only it");
        if !members.is_empty() {
            let known = self.promises.members.entry(key).or_insert_with(|| members.clone());
            assert_eq!(*known, members, "a generation has one set of members");
        }
        let given = members.into_iter().map(|member| (member.clone(), assignment(generation, &member))).collect();
        Step::Sync { generation, given }
    }

    fn on_synced(&mut self, index: usize, generation: i32, response: &SyncGroupResponse) -> Step {
        match response.error_code {
            NONE => {
                let expected = assignment(generation, &self.clients[index].id);
                assert_eq!(response.assignment, Bytes::from(expected), "everybody gets what the leader gave");
                Step::Member { generation }
            }
            ErrorCode::REBALANCE_IN_PROGRESS | ErrorCode::ILLEGAL_GENERATION => Step::Join,
            ErrorCode::UNKNOWN_MEMBER_ID => {
                self.clients[index].id.clear();
                Step::Join
            }
            other => panic!("{other}"),
        }
    }

    fn on_beat(&mut self, index: usize, generation: i32, code: ErrorCode) -> Step {
        match code {
            NONE => Step::Member { generation },
            ErrorCode::REBALANCE_IN_PROGRESS | ErrorCode::ILLEGAL_GENERATION => Step::Join,
            ErrorCode::UNKNOWN_MEMBER_ID => {
                self.clients[index].id.clear();
                Step::Join
            }
            other => panic!("{other}"),
        }
    }

    fn wait(&mut self, millis: u64) {
        let until = self.millis() + millis;
        self.group.rig.at(until);
        let now = self.group.rig.now;
        assert!(self.group.rig.core.next_deadline().is_none_or(|deadline| deadline > now), "all that was due is done");
    }

    fn disturb(&mut self) {
        let here = self.clients.iter().enumerate().filter(|(_, client)| !matches!(client.step, Step::Gone));
        let here: Vec<usize> = here.map(|(index, _)| index).collect();
        let chosen = usize::try_from(self.random.below(here.len() as u64)).unwrap();
        let client = here.get(chosen).copied();
        match (self.random.below(80), client) {
            (0..4, _) if here.len() < 6 => self.start_client(),
            (4, Some(client)) => self.die(client),
            (5, Some(client)) => self.leave(client),
            (6, _) if self.group.coordinator() != -1 => self.crash(),
            (7..10, _) => {
                let broker = 1 + i32::try_from(self.random.below(3)).unwrap();
                self.group.rig.act(|core, now| core.restart(now, broker));
            }
            (10..20, _) => {
                let millis = self.random.below(2_000);
                self.wait(millis);
            }
            (_, Some(client)) => self.act(client),
            _ => {}
        }
        self.listen();
    }

    /// From now on everybody is quick.
    fn calm_down(&mut self) {
        for broker in 1..=3 {
            self.group.rig.act(|core, now| core.restart(now, broker));
        }
        for _ in 0..100 {
            for index in 0..self.clients.len() {
                self.act(index);
                self.listen();
            }
            self.wait(1_000);
            self.listen();
        }
    }

    fn check(&mut self) {
        let mut answered = BTreeSet::new();
        for (ticket, _) in &self.group.rig.trace {
            assert!(answered.insert(*ticket), "a request is answered once");
        }
        for (key, welcomed) in &self.promises.welcomed {
            if let Some(members) = self.promises.members.get(key) {
                assert!(welcomed.is_subset(members), "only members are welcomed: {key:?}");
            }
        }
        let alive: BTreeSet<String> = self
            .clients
            .iter()
            .filter(|client| !matches!(client.step, Step::Gone))
            .map(|client| client.id.clone())
            .collect();
        if alive.is_empty() {
            assert!(matches!(self.group.state(), GroupState::Empty | GroupState::Dead));
            return;
        }
        assert_eq!(self.group.state(), GroupState::Stable, "who is left comes to an agreement");
        assert_eq!(self.group.ids().into_iter().collect::<BTreeSet<_>>(), alive);
        for client in &self.clients {
            assert!(matches!(client.step, Step::Member { .. } | Step::Beating { .. } | Step::Gone), "{client:?}");
        }
    }
}

fn run(seed: u64) -> Schedule {
    let mut schedule = Schedule::new(seed);
    for _ in 0..1_000 {
        schedule.disturb();
    }
    schedule.calm_down();
    schedule
}

#[test]
fn whatever_happens_a_generation_is_one_set_of_members() {
    let mut generations = 0;
    for seed in 0..60 {
        let mut schedule = run(seed);
        schedule.check();
        generations += schedule.promises.welcomed.len();
    }
    assert!(generations > 500, "something happened: {generations}");
}

#[test]
fn one_seed_gives_one_trace() {
    assert_eq!(run(3).group.rig.trace, run(3).group.rig.trace);
    assert_ne!(run(3).group.rig.trace, run(4).group.rig.trace);
}
