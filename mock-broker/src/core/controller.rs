//! The controller: what is true of brokers, topics and partitions. Pure.
//!
//! Brokers act on what they were last told (see `Role`); this is what they are told.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use milena_protocol::ErrorCode;
use milena_protocol::primitives::Uuid;

use super::topic_configs::{AppendRules, LogRules, TopicConfigs};
use super::{BrokerAddress, Settings};
use crate::random::Random;

mod placement;
mod topic_name;

pub(crate) use topic_name::{check as check_name, is_internal};

/// How many producer ids a broker takes at once.
const PRODUCER_ID_BLOCK: i64 = 1000;

/// As many as one topic may be created with; Kafka's controller has the same limit for one request.
const MAX_PARTITIONS: i32 = 10_000;

/// A partition for good: a re-created topic has another id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PartitionId {
    pub(crate) topic: Uuid,
    pub(crate) index: i32,
}

/// Why something was refused, for a client to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string() }
    }
}

#[derive(Debug, Clone)]
struct Registration {
    address: BrokerAddress,
    /// Not fenced: it has been heard of, as far as the controller knows.
    active: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct TopicState {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) partitions: Vec<PartitionState>,
    pub(crate) configs: TopicConfigs,
    pub(crate) rules: AppendRules,
    pub(crate) log_rules: LogRules,
}

impl TopicState {
    pub(crate) fn partition(&self, index: i32) -> Option<&PartitionState> {
        usize::try_from(index).ok().and_then(|index| self.partitions.get(index))
    }

    /// Its partitions' ids with their states, in order.
    pub(crate) fn partition_ids(&self) -> impl Iterator<Item = (PartitionId, &PartitionState)> {
        (0..).zip(&self.partitions).map(|(index, state)| (PartitionId { topic: self.id, index }, state))
    }

    pub(crate) fn is_internal(&self) -> bool {
        is_internal(&self.name)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartitionState {
    /// -1 if no in-sync replica is active.
    pub(crate) leader: i32,
    pub(crate) leader_epoch: i32,
    /// The first is the preferred leader.
    pub(crate) replicas: Vec<i32>,
    /// In the order of `replicas`, never empty.
    pub(crate) isr: Vec<i32>,
    /// Those that left the ISR when it became smaller than `min.insync.replicas`. They lack nothing that is committed, as the high
    /// watermark stands still then, so they may lead (KIP-966).
    pub(crate) eligible: Vec<i32>,
}

/// How a topic's replicas are to be laid out.
#[derive(Debug, Clone)]
pub(crate) enum Layout {
    /// So many partitions with so many replicas each.
    Spread { partitions: i32, replication_factor: i16 },
    /// Replicas by hand, per partition.
    Manual(Vec<Vec<i32>>),
}

#[derive(Debug, Clone)]
pub(crate) struct Controller {
    brokers: BTreeMap<i32, Registration>,
    topics: BTreeMap<String, TopicState>,
    names: BTreeMap<Uuid, String>,
    random: Random,
    next_producer_id: i64,
    /// Also of those that were removed: partitions still name them.
    largest_broker: i32,
    min_insync_replicas: i32,
}

impl Controller {
    pub(crate) fn new(settings: &Settings, random: Random) -> Self {
        let active = |address: &BrokerAddress| (address.id, Registration { address: address.clone(), active: true });
        Self {
            brokers: settings.brokers.iter().map(active).collect(),
            topics: BTreeMap::new(),
            names: BTreeMap::new(),
            random,
            next_producer_id: 0,
            largest_broker: settings.brokers.iter().map(|address| address.id).max().unwrap_or(0),
            min_insync_replicas: settings.min_insync_replicas,
        }
    }

    /// Whether the controller counts on the broker: it is registered, and not fenced.
    pub(crate) fn is_active(&self, broker: i32) -> bool {
        self.brokers.get(&broker).is_some_and(|registration| registration.active)
    }

    /// An id that no broker has or had.
    pub(crate) fn next_broker_id(&self) -> i32 {
        self.largest_broker + 1
    }

    pub(crate) fn register(&mut self, address: BrokerAddress) {
        self.largest_broker = self.largest_broker.max(address.id);
        self.brokers.insert(address.id, Registration { address, active: true });
    }

    pub(crate) fn unregister(&mut self, broker: i32) {
        self.brokers.remove(&broker);
    }

    pub(crate) fn readdress(&mut self, broker: i32, host: String, port: u16) {
        if let Some(registration) = self.brokers.get_mut(&broker) {
            registration.address.host = host;
            registration.address.port = port;
        }
    }

    /// All registered brokers, by id.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &BrokerAddress> {
        self.brokers.values().map(|registration| &registration.address)
    }

    /// The address of a broker, active or not.
    pub(crate) fn address(&self, broker: i32) -> Option<&BrokerAddress> {
        self.brokers.get(&broker).map(|registration| &registration.address)
    }

    /// All brokers that are active, by id.
    pub(crate) fn live_brokers(&self) -> impl Iterator<Item = &BrokerAddress> {
        self.brokers.values().filter(|registration| registration.active).map(|registration| &registration.address)
    }

    /// The broker that clients are told is the controller: always one that is active.
    pub(crate) fn active_controller(&self) -> i32 {
        self.live_brokers().next().map_or(-1, |address| address.id)
    }

    pub(crate) fn topics(&self) -> impl Iterator<Item = &TopicState> {
        self.topics.values()
    }

    pub(crate) fn topic(&self, name: &str) -> Option<&TopicState> {
        self.topics.get(name)
    }

    pub(crate) fn topic_by_id(&self, id: Uuid) -> Option<&TopicState> {
        self.names.get(&id).and_then(|name| self.topics.get(name))
    }

    /// The partition, if it exists.
    pub(crate) fn partition_id(&self, topic: &str, partition: i32) -> Option<PartitionId> {
        let topic = self.topic(topic)?;
        topic.partition(partition).map(|_| PartitionId { topic: topic.id, index: partition })
    }

    pub(crate) fn partition(&self, id: PartitionId) -> Option<&PartitionState> {
        self.topic_by_id(id.topic).and_then(|topic| topic.partition(id.index))
    }

    /// How many replicas have to be in sync: what the topic says, but not more than there are.
    pub(crate) fn min_insync(&self, id: PartitionId) -> usize {
        let topic = self.topic_by_id(id.topic);
        let replicas = topic.and_then(|topic| topic.partition(id.index)).map_or(0, |state| state.replicas.len());
        topic.map_or(0, |topic| topic.rules.min_insync_replicas).min(replicas)
    }

    fn partition_mut(&mut self, id: PartitionId) -> Option<&mut PartitionState> {
        let topic = self.names.get(&id.topic).and_then(|name| self.topics.get_mut(name))?;
        usize::try_from(id.index).ok().and_then(|index| topic.partitions.get_mut(index))
    }

    /// All partitions that `holds` is true of.
    fn partitions_where(&self, holds: impl Fn(&PartitionState) -> bool) -> Vec<PartitionId> {
        let all = self.topics.values().flat_map(TopicState::partition_ids);
        all.filter(|(_, state)| holds(state)).map(|(id, _)| id).collect()
    }

    /// Checks a new topic and lays it out, without creating it.
    pub(crate) fn plan(
        &mut self,
        name: &str,
        layout: &Layout,
        configs: BTreeMap<String, String>,
    ) -> Result<TopicState, Refusal> {
        check_name(name).map_err(|reason| Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, reason))?;
        if self.topics.contains_key(name) {
            return Err(Refusal::new(ErrorCode::TOPIC_ALREADY_EXISTS, format_args!("topic '{name}' already exists")));
        }
        if let Some(other) = self.topics.keys().find(|other| topic_name::collide(other, name)) {
            let message = format_args!("topic '{name}' collides with existing topic '{other}'");
            return Err(Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, message));
        }
        let configs = TopicConfigs::new(configs, self.min_insync_replicas)
            .map_err(|reason| Refusal::new(ErrorCode::INVALID_CONFIG, reason))?;
        let replicas = match layout {
            Layout::Spread { partitions, replication_factor } => self.spread(*partitions, *replication_factor)?,
            Layout::Manual(replicas) => {
                self.check_manual(replicas)?;
                replicas.clone()
            }
        };
        let partitions = replicas.into_iter().map(|replicas| self.first_state(replicas)).collect::<Result<_, _>>()?;
        let (rules, log_rules) = (configs.append_rules(), configs.log_rules());
        Ok(TopicState { id: Uuid::ZERO, name: name.to_owned(), partitions, configs, rules, log_rules })
    }

    /// Creates what [`Controller::plan`] has laid out.
    pub(crate) fn create(&mut self, planned: TopicState) -> Uuid {
        let id = self.new_topic_id();
        self.names.insert(id, planned.name.clone());
        self.topics.insert(planned.name.clone(), TopicState { id, ..planned });
        id
    }

    /// Lays out the partitions that a topic is to get, without creating them: so many as are missing from `count`, with as many
    /// replicas as it has, or by hand.
    pub(crate) fn plan_partitions(
        &mut self,
        name: &str,
        count: i32,
        by_hand: Option<&[Vec<i32>]>,
    ) -> Result<Vec<PartitionState>, Refusal> {
        let Some(topic) = self.topics.get(name) else {
            let message = format_args!("topic '{name}' does not exist");
            return Err(Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message));
        };
        let has = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        if count <= has {
            let message = format_args!("topic '{name}' has {has} partitions: {count} would not be an increase");
            return Err(Refusal::new(ErrorCode::INVALID_PARTITIONS, message));
        }
        let width = topic.partition(0).map_or(0, |state| state.replicas.len());
        let missing = count - has;
        let replicas = match by_hand {
            None => self.spread(missing, i16::try_from(width).unwrap_or(i16::MAX))?,
            Some(lists) => {
                let refuse = |message: String| Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
                if lists.len() != usize::try_from(missing).unwrap_or(0) {
                    return refuse(format!("{missing} partitions are to be added, but {} assigned", lists.len()));
                }
                self.check_manual(lists)?;
                if lists.iter().any(|replicas| replicas.len() != width) {
                    return refuse(format!("the partitions of topic '{name}' have {width} replicas each"));
                }
                lists.to_vec()
            }
        };
        replicas.into_iter().map(|replicas| self.first_state(replicas)).collect()
    }

    /// Adds what [`Controller::plan_partitions`] has laid out. Gives the topic's id.
    pub(crate) fn add_partitions(&mut self, name: &str, planned: Vec<PartitionState>) -> Option<Uuid> {
        let topic = self.topics.get_mut(name)?;
        topic.partitions.extend(planned);
        Some(topic.id)
    }

    /// What a topic's configuration becomes: `None` takes a setting back.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION, INVALID_CONFIG.
    pub(crate) fn plan_configs(
        &self,
        name: &str,
        changes: BTreeMap<String, Option<String>>,
    ) -> Result<TopicConfigs, Refusal> {
        let Some(topic) = self.topics.get(name) else {
            let message = format_args!("topic '{name}' does not exist");
            return Err(Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message));
        };
        let mut set = topic.configs.set().clone();
        for (setting, value) in changes {
            match value {
                Some(value) => drop(set.insert(setting, value)),
                None => drop(set.remove(&setting)),
            }
        }
        TopicConfigs::new(set, self.min_insync_replicas)
            .map_err(|reason| Refusal::new(ErrorCode::INVALID_CONFIG, reason))
    }

    /// From now on these configurations hold.
    pub(crate) fn configure(&mut self, name: &str, configs: TopicConfigs) {
        if let Some(topic) = self.topics.get_mut(name) {
            (topic.rules, topic.log_rules) = (configs.append_rules(), configs.log_rules());
            topic.configs = configs;
        }
    }

    pub(crate) fn delete(&mut self, id: Uuid) -> Option<TopicState> {
        self.names.remove(&id).and_then(|name| self.topics.remove(&name))
    }

    pub(crate) fn new_topic_id(&mut self) -> Uuid {
        let bits = u128::from(self.random.next()) << 64 | u128::from(self.random.next());
        // Kafka's own are random ones (version 4); a text form that starts with a dash would look like an option.
        let bits = bits & !(0xf << 76 | 0x3 << 62 | 0x80 << 120) | 0x4 << 76 | 0x2 << 62;
        Uuid(bits.to_be_bytes())
    }

    fn first_state(&self, replicas: Vec<i32>) -> Result<PartitionState, Refusal> {
        let isr: Vec<i32> = replicas.iter().copied().filter(|replica| self.is_active(*replica)).collect();
        match isr.first().copied() {
            Some(leader) => Ok(PartitionState { leader, leader_epoch: 0, replicas, isr, eligible: Vec::new() }),
            None => {
                let message = format_args!("all brokers of the assignment {replicas:?} are down");
                Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message))
            }
        }
    }

    /// The partitions that have a replica on a broker.
    pub(crate) fn partitions_on(&self, broker: i32) -> BTreeSet<PartitionId> {
        self.partitions_where(|state| state.replicas.contains(&broker)).into_iter().collect()
    }

    /// The broker is fenced: it leaves every ISR that has another member, and others lead. Gives the partitions that changed.
    pub(crate) fn broker_went(&mut self, broker: i32) -> Vec<PartitionId> {
        match self.brokers.get_mut(&broker) {
            Some(registration) if registration.active => registration.active = false,
            _ => return Vec::new(),
        }
        let changed = self.partitions_where(|state| state.isr.contains(&broker));
        for id in &changed {
            self.leave_isr(*id, broker);
            if self.partition(*id).is_some_and(|state| state.leader == broker) {
                self.elect_first(*id);
            }
        }
        changed
    }

    /// The broker is back: it leads what has waited for it, and follows elsewhere. Gives the partitions that it leads now.
    pub(crate) fn broker_came(&mut self, broker: i32) -> Vec<PartitionId> {
        match self.brokers.get_mut(&broker) {
            Some(registration) if !registration.active => registration.active = true,
            _ => return Vec::new(),
        }
        let waiting = self.partitions_where(|state| state.leader == -1 && state.replicas.contains(&broker));
        for id in &waiting {
            self.elect_first(*id);
        }
        waiting
    }

    /// Makes the first active in-sync replica the leader. If there is none, any active replica leads where
    /// `unclean.leader.election.enable` says so, and none does elsewhere.
    fn elect_first(&mut self, id: PartitionId) {
        let Some(topic) = self.topic_by_id(id.topic) else { return };
        let Some(state) = topic.partition(id.index) else { return };
        let first_of = |replicas: &[i32]| replicas.iter().copied().find(|replica| self.is_active(*replica));
        if let Some(leader) = first_of(&state.isr) {
            self.make_leader(id, leader);
        } else if let Some(leader) = first_of(&state.eligible) {
            self.make_only_leader(id, leader);
        } else if let Some(leader) = first_of(&state.replicas).filter(|_| topic.rules.elects_uncleanly) {
            self.make_only_leader(id, leader);
        } else {
            self.make_leader(id, -1);
        }
    }

    /// Tells whether that changed anything.
    fn make_leader(&mut self, id: PartitionId, leader: i32) -> bool {
        let Some(state) = self.partition_mut(id).filter(|state| state.leader != leader) else { return false };
        state.leader = leader;
        state.leader_epoch += 1;
        true
    }

    /// The only one in sync: the others are to cut off what it does not have.
    fn make_only_leader(&mut self, id: PartitionId, leader: i32) {
        self.make_leader(id, leader);
        if let Some(state) = self.partition_mut(id) {
            state.isr = vec![leader];
            state.eligible.clear();
        }
    }

    /// Makes an in-sync replica the leader. Tells whether that changed anything.
    pub(crate) fn elect(&mut self, id: PartitionId, broker: i32) -> Result<bool, ErrorCode> {
        let state = self.partition(id).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        if !self.is_active(broker) || !state.isr.contains(&broker) {
            return Err(ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE);
        }
        Ok(self.make_leader(id, broker))
    }

    /// Makes any replica that is active the leader, and the only one in sync.
    pub(crate) fn elect_unclean(&mut self, id: PartitionId, broker: i32) -> Result<(), ErrorCode> {
        let state = self.partition(id).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        if !self.is_active(broker) || !state.replicas.contains(&broker) {
            return Err(ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE);
        }
        self.make_only_leader(id, broker);
        Ok(())
    }

    /// A follower has caught up.
    pub(crate) fn join_isr(&mut self, id: PartitionId, broker: i32) {
        let min_insync = self.min_insync(id);
        if let Some(state) = self.partition_mut(id) {
            let isr =
                state.replicas.iter().copied().filter(|replica| *replica == broker || state.isr.contains(replica));
            state.isr = isr.collect();
            state.eligible.retain(|member| *member != broker);
            if state.isr.len() >= min_insync {
                state.eligible.clear();
            }
        }
    }

    /// A replica is no longer in sync. The last one stays: only its log is known to hold what was acknowledged.
    pub(crate) fn leave_isr(&mut self, id: PartitionId, broker: i32) {
        let min_insync = self.min_insync(id);
        if let Some(state) = self.partition_mut(id).filter(|state| state.isr.len() > 1 && state.isr.contains(&broker)) {
            state.isr.retain(|member| *member != broker);
            if state.isr.len() < min_insync {
                state.eligible.push(broker);
            }
        }
    }

    /// A broker may have lost records in a crash: it is in sync or not, but never just eligible.
    pub(crate) fn broker_crashed(&mut self, broker: i32) {
        for id in self.partitions_where(|state| state.eligible.contains(&broker)) {
            if let Some(state) = self.partition_mut(id) {
                state.eligible.retain(|member| *member != broker);
            }
        }
    }

    /// Producer ids that no broker has had.
    pub(crate) fn take_producer_ids(&mut self) -> std::ops::Range<i64> {
        let first = self.next_producer_id;
        self.next_producer_id += PRODUCER_ID_BLOCK;
        first..self.next_producer_id
    }
}
