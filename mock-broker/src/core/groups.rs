//! The coordinators of classic groups: the groups of each broker, their timers, and what of them is in the log. Pure.
//!
//! A broker coordinates the groups of those partitions of `__consumer_offsets` that it leads. Their complete generations are
//! records there, so the next leader goes on with the same members; rebalances under way are forgotten, as in Kafka.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use milena_protocol::ErrorCode;
use milena_protocol::messages::heartbeat::HeartbeatRequest;
use milena_protocol::messages::join_group::JoinGroupRequest;
use milena_protocol::messages::leave_group::MemberIdentity;
use milena_protocol::messages::offset_commit::OffsetCommitRequest;
use milena_protocol::messages::sync_group::SyncGroupRequest;

use super::append::Appended;
use super::broker::Process;
use super::controller::PartitionId;
use super::offsets::OFFSETS_TOPIC;
use super::parked::Parked;
use super::{Core, Log, Origin};
use crate::api::{self, Call};

mod description;
mod forgetting;
mod group;
mod member;
mod rebalance;
mod record;
mod requests;
mod unconfirmed;

pub(crate) use description::GroupDescription;
use group::{Effects, Group, Reply, Store};
use record::GroupRecord;
use requests::Joining;
use unconfirmed::Unconfirmed;

pub use group::GroupState;

/// What the brokers' configuration says about groups.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupSettings {
    pub(crate) min_session_timeout: Duration,
    pub(crate) max_session_timeout: Duration,
    pub(crate) initial_rebalance_delay: Duration,
    /// Members of one group.
    pub(crate) max_size: usize,
    pub(crate) offsets_retention: Duration,
    /// Not zero.
    pub(crate) offsets_retention_check_interval: Duration,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            min_session_timeout: Duration::from_secs(6),
            max_session_timeout: Duration::from_secs(30 * 60),
            initial_rebalance_delay: Duration::ZERO,
            max_size: usize::MAX,
            offsets_retention: Duration::from_secs(7 * 24 * 3600),
            offsets_retention_check_interval: Duration::from_secs(600),
        }
    }
}

/// The groups that one broker coordinates.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// The partitions of `__consumer_offsets` whose groups are here.
    partitions: BTreeSet<i32>,
    by_id: BTreeMap<String, Coordinated>,
    /// When each group has something to do next.
    deadlines: BTreeSet<(Duration, String)>,
    /// Records that are not on all in-sync replicas yet, oldest first.
    unconfirmed: Vec<Unconfirmed>,
}

#[derive(Debug)]
struct Coordinated {
    partition: i32,
    group: Group,
    deadline: Option<Duration>,
}

impl Groups {
    fn get(&self, id: &str) -> Option<&Group> {
        self.by_id.get(id).map(|coordinated| &coordinated.group)
    }

    fn get_mut(&mut self, id: &str) -> Option<&mut Group> {
        self.by_id.get_mut(id).map(|coordinated| &mut coordinated.group)
    }

    fn insert(&mut self, partition: i32, id: String, group: Group) {
        self.by_id.insert(id.clone(), Coordinated { partition, group, deadline: None });
        self.rearm(&id);
    }

    fn remove(&mut self, id: &str) -> Option<Group> {
        let Coordinated { group, deadline, .. } = self.by_id.remove(id)?;
        if let Some(deadline) = deadline {
            self.deadlines.remove(&(deadline, id.to_owned()));
        }
        Some(group)
    }

    /// To be called after each change of a group.
    fn rearm(&mut self, id: &str) {
        let Some(coordinated) = self.by_id.get_mut(id) else { return };
        let next = coordinated.group.next_deadline();
        if next == coordinated.deadline {
            return;
        }
        if let Some(deadline) = coordinated.deadline {
            self.deadlines.remove(&(deadline, id.to_owned()));
        }
        if let Some(deadline) = next {
            self.deadlines.insert((deadline, id.to_owned()));
        }
        coordinated.deadline = next;
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let of_groups = self.deadlines.first().map(|(deadline, _)| *deadline);
        of_groups.into_iter().chain(self.unconfirmed.iter().map(|record| record.until)).min()
    }

    /// Forgets the groups of a partition. Whoever waits has to look for the new coordinator.
    fn unload(&mut self, partition: PartitionId, effects: &mut Effects) {
        self.partitions.remove(&partition.index);
        let of_partition = self.by_id.iter().filter(|(_, coordinated)| coordinated.partition == partition.index);
        let ids: Vec<String> = of_partition.map(|(id, _)| id.clone()).collect();
        for group in ids.iter().filter_map(|id| self.remove(id)) {
            group.dismiss(effects);
        }
        for record in self.unconfirmed.extract_if(.., |record| record.partition == partition) {
            record.dismiss(effects);
        }
    }
}

impl Core {
    /// Where the group's records are, if this broker coordinates it.
    ///
    /// # Errors
    /// NOT_COORDINATOR if it does not, COORDINATOR_LOAD_IN_PROGRESS if it cannot yet.
    pub(crate) fn check_coordinator(&self, broker: i32, group: &str) -> Result<PartitionId, ErrorCode> {
        let id = self.partition_for_key(OFFSETS_TOPIC, group).ok_or(ErrorCode::NOT_COORDINATOR)?;
        let broker = self.brokers.get(&broker).ok_or(ErrorCode::NOT_COORDINATOR)?;
        broker.check_loaded(id)?;
        if broker.groups.partitions.contains(&id.index) { Ok(id) } else { Err(ErrorCode::NOT_COORDINATOR) }
    }

    /// The request must have been parked: its answer comes by its ticket.
    pub(crate) fn join_group(&mut self, call: &Call<'_>, id: PartitionId, request: JoinGroupRequest) {
        let Call { now, origin, ticket, header } = *call;
        let group_id = request.group_id.clone();
        let is_first_join = request.member_id.is_empty();
        let mut effects = Effects::default();
        if self.group_at(origin.broker, &group_id).is_none() {
            let created = if is_first_join {
                self.create_group(now, origin, id, &group_id)
            } else {
                Err(ErrorCode::UNKNOWN_MEMBER_ID)
            };
            if let Err(code) = created {
                effects.refuse_join(ticket, code, &request.member_id);
                return self.settle_group(now, origin.broker, &group_id, effects);
            }
        }
        let client_id = header.client_id.clone().unwrap_or_default();
        let joining = Joining {
            ticket,
            new_id: if is_first_join { self.new_member_id(&request, &client_id) } else { String::new() },
            needs_id: header.api_version >= 4,
            max_size: self.settings.groups.max_size,
            can_skip_assignment: header.api_version >= 9,
            client_id,
            client_host: origin.client_host.clone(),
            request,
        };
        self.with_group(now, origin.broker, &group_id, |group, effects| group.join(now, joining, effects));
    }

    fn create_group(&mut self, now: Duration, origin: &Origin, id: PartitionId, group: &str) -> Result<(), ErrorCode> {
        let delay = self.settings.groups.initial_rebalance_delay;
        let new = Group::new(delay);
        self.store_group(now, origin.broker, id, group, &new.record(-1)).map(|_| ())?;
        if let Some(broker) = self.brokers.get_mut(&origin.broker) {
            broker.groups.insert(id.index, group.to_owned(), new);
        }
        Ok(())
    }

    fn new_member_id(&mut self, request: &JoinGroupRequest, client_id: &str) -> String {
        let name = request.group_instance_id.as_deref().unwrap_or(client_id);
        let (high, low) = (self.random.next(), self.random.next());
        // In the form of a random UUID, version 4.
        format!(
            "{name}-{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            (low >> 48) & 0x3fff | 0x8000,
            low & 0xffff_ffff_ffff
        )
    }

    /// The request must have been parked: its answer comes by its ticket.
    pub(crate) fn sync_group(&mut self, call: &Call<'_>, request: SyncGroupRequest) {
        let (now, broker, ticket) = (call.now, call.origin.broker, call.ticket);
        let group_id = request.group_id.clone();
        let synced = self.with_group(now, broker, &group_id, |group, effects| group.sync(ticket, request, effects));
        if synced.is_none() {
            let mut effects = Effects::default();
            effects.refuse_sync(ticket, ErrorCode::UNKNOWN_MEMBER_ID);
            self.settle_group(now, broker, &group_id, effects);
        }
    }

    /// # Errors
    /// What the member has to do: join again, or start anew.
    pub(crate) fn heartbeat(
        &mut self,
        now: Duration,
        broker: i32,
        request: &HeartbeatRequest,
    ) -> Result<(), ErrorCode> {
        let beat = self.with_group(now, broker, &request.group_id, |group, _| group.heartbeat(now, request));
        beat.unwrap_or(Err(ErrorCode::UNKNOWN_MEMBER_ID))
    }

    /// What became of each member that wants to leave.
    pub(crate) fn leave_group(
        &mut self,
        now: Duration,
        broker: i32,
        group: &str,
        leaving: &[MemberIdentity],
    ) -> Vec<Result<(), ErrorCode>> {
        let left = self.with_group(now, broker, group, |group, effects| group.leave(now, leaving, effects));
        left.unwrap_or_else(|| leaving.iter().map(|_| Err(ErrorCode::UNKNOWN_MEMBER_ID)).collect())
    }

    /// Whether the group, if it has or had members, takes this commit; `None` if there never were any.
    pub(crate) fn check_commit(
        &mut self,
        now: Duration,
        broker: i32,
        request: &OffsetCommitRequest,
        is_transactional: bool,
    ) -> Option<Result<(), ErrorCode>> {
        let (generation, member) = (request.generation_id_or_member_epoch, &request.member_id);
        let instance_id = request.group_instance_id.as_deref();
        self.with_group(now, broker, &request.group_id, |group, _| {
            group.check_commit(now, generation, member, instance_id, is_transactional)
        })
    }

    /// Makes all members join again. Nothing happens if there are none, or if they are at it.
    ///
    /// # Errors
    /// GROUP_ID_NOT_FOUND.
    pub(crate) fn rebalance_group(&mut self, now: Duration, group: &str) -> Result<(), ErrorCode> {
        let broker = self.coordinator(group);
        let done = self.with_group(now, broker, group, |group, effects| match group.name_of_state() {
            GroupState::CompletingRebalance | GroupState::Stable => group.prepare(now, effects),
            GroupState::Empty | GroupState::PreparingRebalance | GroupState::Dead => {}
        });
        self.poll(now);
        done.ok_or(ErrorCode::GROUP_ID_NOT_FOUND)
    }

    /// Takes a member out as if its session had ended.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID.
    pub(crate) fn evict(&mut self, now: Duration, group: &str, member: &str) -> Result<(), ErrorCode> {
        let broker = self.coordinator(group);
        let evicted = self.with_group(now, broker, group, |group, effects| {
            group.check_member(member, None)?;
            group.drop_member(now, member, effects);
            Ok(())
        });
        self.poll(now);
        evicted.unwrap_or(Err(ErrorCode::UNKNOWN_MEMBER_ID))
    }

    /// Gives a static member's place to a twin that is never heard of: who has it now is fenced, as if its instance had been
    /// started once more.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID if the group has no such member.
    pub(crate) fn fence_instance(&mut self, now: Duration, group: &str, instance_id: &str) -> Result<(), ErrorCode> {
        let broker = self.coordinator(group);
        let twin = JoinGroupRequest { group_instance_id: Some(instance_id.to_owned()), ..Default::default() };
        let twin = self.new_member_id(&twin, "");
        let fenced =
            self.with_group(now, broker, group, |group, effects| group.fence(now, instance_id, &twin, effects));
        self.poll(now);
        fenced.unwrap_or(Err(ErrorCode::UNKNOWN_MEMBER_ID))
    }

    fn group_at(&self, broker: i32, id: &str) -> Option<&Group> {
        self.brokers.get(&broker).and_then(|broker| broker.groups.get(id))
    }

    /// `None` if there is no such group.
    fn with_group<T>(
        &mut self,
        now: Duration,
        broker: i32,
        id: &str,
        act: impl FnOnce(&mut Group, &mut Effects) -> T,
    ) -> Option<T> {
        let mut effects = Effects::default();
        let group = self.brokers.get_mut(&broker).and_then(|broker| broker.groups.get_mut(id))?;
        let result = act(group, &mut effects);
        self.settle_group(now, broker, id, effects);
        Some(result)
    }

    /// Does what comes of a call: first it is written; when all in-sync replicas have it, it is answered.
    fn settle_group(&mut self, now: Duration, broker: i32, id: &str, mut effects: Effects) {
        while let Some(store) = effects.store.take() {
            let timestamp = self.wall_ms(now);
            let group = self.brokers.get_mut(&broker).and_then(|broker| broker.groups.get_mut(id));
            let record = group.map(|group| {
                group.emptied_at = matches!(store, Store::Emptied).then_some(timestamp);
                group.record(timestamp)
            });
            let stored = self.check_coordinator(broker, id).and_then(|partition| {
                let record = record.ok_or(ErrorCode::NOT_COORDINATOR)?;
                self.store_group(now, broker, partition, id, &record).map(|appended| (partition, appended))
            });
            match stored {
                Ok((partition, appended)) => self.confirm(now, broker, id, store, partition, appended, &mut effects),
                Err(code) => self.finish_store(now, broker, id, store, Err(code), &mut effects),
            }
        }
        if let Some(broker) = self.brokers.get_mut(&broker) {
            broker.groups.rearm(id);
        }
        self.answer_members(now, effects);
    }

    fn answer_members(&mut self, now: Duration, effects: Effects) {
        for (ticket, reply) in effects.answers {
            // Nobody waits any more if the connection has gone.
            let Some(Parked { origin, header, .. }) = self.parked.take(ticket) else { continue };
            let call = Call { now, origin: &origin, ticket, header: &header };
            let outcome = match reply {
                Reply::Join(response) => api::join_group::outcome(&call, response),
                Reply::Sync(response) => api::sync_group::outcome(&call, &response),
            };
            self.resolve(ticket, outcome);
        }
    }

    fn store_group(
        &mut self,
        now: Duration,
        broker: i32,
        partition: PartitionId,
        id: &str,
        group: &GroupRecord,
    ) -> Result<Appended, ErrorCode> {
        let encoded = |error| {
            tracing::error!(%error, group = id, "a group does not fit into a record");
            ErrorCode::UNKNOWN_SERVER_ERROR
        };
        let key = record::encode_key(id).map_err(encoded)?;
        let value = group.encode().map_err(encoded)?;
        self.append_for_coordinator(now, broker, partition, None, &[(key, Some(value))])
    }

    /// Lets a group do one thing that is due. Tells whether there was any.
    pub(super) fn expire_group(&mut self, now: Duration) -> bool {
        let first = |(broker, groups): (i32, &Groups)| {
            groups.deadlines.first().map(|(deadline, id)| (*deadline, broker, id.clone()))
        };
        let awake = self.brokers.values().filter(|broker| broker.process == Process::Running);
        let next = awake.filter_map(|broker| first((broker.id, &broker.groups))).min();
        let Some((_, broker, id)) = next.filter(|(deadline, ..)| *deadline <= now) else {
            return self.give_up_unconfirmed(now);
        };
        self.with_group(now, broker, &id, |group, effects| group.expire(now, effects)) == Some(true)
    }

    /// After a change of leader: the new one goes on with the groups that it reads in its log, others send their members away.
    pub(super) fn coordinate_groups(&mut self, now: Duration, id: PartitionId) {
        if self.controller.topic(OFFSETS_TOPIC).is_none_or(|topic| topic.id != id.topic) {
            return;
        }
        let delay = self.settings.groups.initial_rebalance_delay;
        let mut effects = Effects::default();
        for broker in self.brokers.values_mut().filter(|broker| broker.is_up()) {
            match (broker.leads(id), broker.groups.partitions.contains(&id.index)) {
                (true, false) if broker.loading.contains_key(&id) => {}
                (true, false) => {
                    broker.groups.partitions.insert(id.index);
                    let records = broker.replicas.get(&id).map(|replica| read(&replica.log)).unwrap_or_default();
                    for (group_id, record) in records {
                        broker.groups.insert(id.index, group_id, Group::restored(record, delay, now));
                    }
                }
                (false, true) => {
                    broker.groups.unload(id, &mut effects);
                }
                (true, true) | (false, false) => {}
            }
        }
        self.answer_members(now, effects);
        self.finish_confirmed(now, id);
    }

    /// The topic of the groups' records is gone, and the groups with it.
    pub(super) fn forget_groups(&mut self, now: Duration) {
        let mut effects = Effects::default();
        for broker in self.brokers.values_mut().filter(|broker| broker.is_in_touch()) {
            let groups = std::mem::take(&mut broker.groups);
            groups.by_id.into_values().for_each(|coordinated| coordinated.group.dismiss(&mut effects));
            groups.unconfirmed.into_iter().for_each(|record| record.dismiss(&mut effects));
        }
        self.answer_members(now, effects);
    }
}

/// The latest record of each group in a log.
fn read(log: &Log) -> BTreeMap<String, GroupRecord> {
    let mut groups = BTreeMap::new();
    let records = log.records(log.start(), log.end()).unwrap_or_else(|error| {
        tracing::error!(%error, "the log of {OFFSETS_TOPIC} cannot be read");
        Vec::new()
    });
    for entry in records {
        let Some(id) = entry.key.and_then(record::decode_key) else { continue };
        match entry.value.map(|value: Bytes| GroupRecord::decode(value)) {
            Some(Ok(record)) => drop(groups.insert(id, record)),
            Some(Err(error)) => tracing::warn!(%error, offset = entry.offset, "not a group"),
            None => drop(groups.remove(&id)),
        }
    }
    groups
}
