//! The partitions that are read: what each is waiting for, seen from the brokers' side. Pure.
//!
//! The application's side is in [`hand_out`](super::hand_out) and [`commits`](super::commits).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use milena_protocol::ErrorCode;
use milena_protocol::primitives::Uuid;

use self::tenure::Tenure;
use super::event::ConsumerEvent;
use super::fetch_buffer::FetchBuffer;
use super::fetch_session::Wanted;
use super::fetched::{Fetched, Intake, corrupt_answer};
use super::holds::Holding;
use super::lease::{FetchPosition, Lease, LeaseId};
use super::positions::{Question, ReadPosition, Resolved, Target};
use crate::clock::Time;
use crate::cluster::metadata::ClusterView;
use crate::error::{Error, ErrorKind, Result};
use crate::topic_partition::TopicPartition;

/// One partition that is read.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) name: TopicPartition,
    pub(crate) lease: Lease,
    pub(crate) fetch: ReadPosition,
    pub(crate) buffer: FetchBuffer,
    pub(crate) paused: bool,
    tenure: Tenure,
    /// Whether it is in [`Assignment::line`].
    pub(crate) in_line: bool,
    pub(crate) leader: Option<Leader>,
    pub(crate) topic_id: Uuid,
    high_watermark: Option<i64>,
}

/// Who leads a partition, and since which epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leader {
    pub(crate) broker: i32,
    pub(crate) epoch: i32,
}

/// All partitions that are read.
#[derive(Debug)]
pub(crate) struct Assignment {
    /// In the order of their names.
    pub(crate) partitions: Vec<Partition>,
    names: BTreeMap<TopicPartition, usize>,
    next_lease: u64,
    pub(crate) holding: Holding,
    /// Those that may have something for the application, in the order of their turns.
    pub(crate) line: VecDeque<usize>,
    /// Those that left the line because too much is not acknowledged.
    pub(crate) full: BTreeSet<TopicPartition>,
    /// How many reads have begun, and how many records they returned.
    pub(crate) reads: u64,
    pub(crate) handed_out: u64,
    pub(crate) stopped: bool,
    /// An error of the consumer as a whole, to be given once.
    pub(crate) report: Option<Error>,
    /// Brokers of which a partition was not fetched because enough of it waits, until room is made.
    starved: BTreeSet<i32>,
    pub(crate) room_made: bool,
    events: Vec<ConsumerEvent>,
    unknown_topics: BTreeSet<String>,
    /// Those whose topic was created anew, and nobody was told.
    recreated: BTreeSet<TopicPartition>,
    max_partition_bytes: i32,
}

/// What a fetch asked of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) generation: u64,
    pub(crate) position: FetchPosition,
    pub(crate) topic_id: Uuid,
}

/// What to fetch from a broker now.
#[derive(Debug, Default)]
pub(crate) struct Wants {
    pub(crate) wanted: BTreeMap<TopicPartition, Wanted>,
    pub(crate) asked: BTreeMap<TopicPartition, Asked>,
    /// A partition is missing because enough of it waits for the application.
    pub(crate) left_out: bool,
}

/// A question to a broker, with whom to ask.
#[derive(Debug)]
pub(crate) struct PartitionQuestion {
    pub(crate) partition: TopicPartition,
    pub(crate) question: Question,
    pub(crate) leader: Option<Leader>,
}

impl Assignment {
    /// `max_partition_bytes`: as much may wait of each partition before it is not fetched for a while.
    pub(crate) fn new(max_partition_bytes: i32, holding: Holding) -> Self {
        Self {
            partitions: Vec::new(),
            names: BTreeMap::new(),
            next_lease: 0,
            holding,
            line: VecDeque::new(),
            full: BTreeSet::new(),
            reads: 0,
            handed_out: 0,
            stopped: false,
            report: None,
            starved: BTreeSet::new(),
            room_made: false,
            events: Vec::new(),
            unknown_topics: BTreeSet::new(),
            recreated: BTreeSet::new(),
            max_partition_bytes,
        }
    }

    pub(crate) fn index_of(&self, name: &TopicPartition) -> Option<usize> {
        self.names.get(name).copied()
    }

    /// Tells of records that were let go of without an acknowledgement.
    pub(crate) fn tell_dropped(&mut self) {
        for partition in &mut self.partitions {
            if let Some(offset) = partition.lease.take_dropped() {
                let partition = partition.name.clone();
                self.events.push(ConsumerEvent::Stalled { partition, offset, time_held: None });
            }
        }
    }

    /// Tells which records the application has made no progress with for so long.
    pub(crate) fn tell_stalled(&mut self, time_held: Duration) {
        for partition in &self.partitions {
            if let Some(offset) = partition.lease.earliest_held() {
                let (partition, time_held) = (partition.name.clone(), Some(time_held));
                self.events.push(ConsumerEvent::Stalled { partition, offset, time_held });
            }
        }
    }

    /// A topic that is subscribed to does not exist.
    pub(crate) fn on_unknown_topic(&mut self, topic: &std::sync::Arc<str>) {
        if self.unknown_topics.insert(topic.to_string()) {
            self.events.push(ConsumerEvent::UnknownTopic { topic: topic.clone() });
        }
    }

    /// It does now.
    pub(crate) fn on_known_topic(&mut self, topic: &str) {
        self.unknown_topics.remove(topic);
    }

    pub(crate) fn get(&self, name: &TopicPartition) -> Option<&Partition> {
        self.partitions.get(*self.names.get(name)?)
    }

    fn get_mut(&mut self, name: &TopicPartition) -> Option<&mut Partition> {
        self.partitions.get_mut(*self.names.get(name)?)
    }

    /// The partition, for something that makes sense only if it is assigned.
    pub(crate) fn assigned(&mut self, name: &TopicPartition) -> Result<&mut Partition> {
        self.get_mut(name).ok_or_else(|| not_assigned(name))
    }

    pub(crate) fn take_events(&mut self) -> Vec<ConsumerEvent> {
        std::mem::take(&mut self.events)
    }

    /// Puts a partition that has something for the application in line.
    pub(crate) fn line_up(&mut self, name: &TopicPartition) {
        let Some(&index) = self.names.get(name) else { return };
        if let Some(partition) = self.partitions.get_mut(index)
            && !partition.in_line
            && !partition.paused
            && partition.is_open()
            && !partition.buffer.is_empty()
        {
            partition.in_line = true;
            self.line.push_back(index);
        }
    }

    /// Who leads what has changed, perhaps. Returns the brokers that lead something.
    pub(crate) fn on_view(&mut self, view: &ClusterView, policy: Option<Target>) -> BTreeSet<i32> {
        let mut recreated = Vec::new();
        for partition in &mut self.partitions {
            let Some(topic) = view.topic(partition.name.topic()) else { continue };
            if topic.error != ErrorCode::UNKNOWN_TOPIC_OR_PARTITION {
                self.unknown_topics.remove(&*topic.name);
            } else if self.unknown_topics.insert(topic.name.to_string()) {
                self.events.push(ConsumerEvent::UnknownTopic { topic: topic.name.clone() });
            }
            if !topic.id.is_zero() {
                if !partition.topic_id.is_zero() && partition.topic_id != topic.id {
                    // Offsets of the old topic mean nothing in the new one: neither those of records that are still held,
                    // nor what was committed.
                    let lease = LeaseId(self.next_lease);
                    self.next_lease += 1;
                    partition.buffer.clear();
                    partition.lease = Lease::new(lease, self.holding.by_record);
                    partition.lease.on_seek(None);
                    partition.high_watermark = None;
                    recreated.push((partition.name.clone(), partition.fetch.on_recreated(lease, policy)));
                }
                partition.topic_id = topic.id;
            }
            let known = view.partition(&partition.name);
            let leader = known.and_then(|known| Some(Leader { broker: known.leader?, epoch: known.leader_epoch }));
            if let Some(leader) = leader {
                partition.fetch.on_leader_epoch(leader.epoch);
            }
            partition.leader = leader;
        }
        for (name, resolved) in recreated {
            self.on_resolved(&name, resolved, policy);
            self.recreated.insert(name);
        }
        self.partitions.iter().filter_map(|partition| partition.leader).map(|leader| leader.broker).collect()
    }

    /// Whether nothing is known about a partition, not even who leads it.
    pub(crate) fn lacks_a_leader(&self) -> bool {
        self.partitions.iter().any(|partition| partition.leader.is_none())
    }

    /// What must be asked now to find out where to read. Counts as asked.
    pub(crate) fn questions(&mut self, now: Time) -> Vec<PartitionQuestion> {
        let ask = |partition: &mut Partition| {
            if !partition.is_open() {
                return None;
            }
            let question = partition.fetch.next_question(now)?;
            Some(PartitionQuestion { partition: partition.name.clone(), question, leader: partition.leader })
        };
        self.partitions.iter_mut().filter_map(ask).collect()
    }

    /// Whether every partition knows where to read, or that it cannot know.
    pub(crate) fn is_settled(&self) -> bool {
        self.partitions.iter().all(|partition| partition.fetch.is_settled())
    }

    /// The partitions that do not know yet.
    pub(crate) fn unsettled(&self) -> Vec<String> {
        let unsettled = self.partitions.iter().filter(|partition| !partition.fetch.is_settled());
        unsettled.map(|partition| partition.name.to_string()).collect()
    }

    /// An error that is to be given once, if there is one.
    pub(crate) fn take_report(&mut self) -> Option<Error> {
        let of_partition = || self.partitions.iter_mut().find_map(|partition| partition.buffer.take_report());
        self.report.take().or_else(of_partition)
    }

    /// When there may be something to ask or to fetch, if nothing else happens.
    pub(crate) fn next_deadline(&self, now: Time) -> Option<Time> {
        let deadlines = self.partitions.iter().filter_map(|partition| partition.fetch.next_deadline());
        deadlines.filter(|deadline| *deadline > now).min()
    }

    /// A question about where to read was answered.
    pub(crate) fn on_answer(
        &mut self,
        name: &TopicPartition,
        policy: Option<Target>,
        answer: impl FnOnce(&mut ReadPosition) -> Resolved,
    ) {
        if let Some(partition) = self.get_mut(name) {
            let resolved = answer(&mut partition.fetch);
            self.on_resolved(name, resolved, policy);
        }
    }

    fn on_resolved(&mut self, name: &TopicPartition, resolved: Resolved, policy: Option<Target>) {
        let Some(&index) = self.names.get(name) else { return };
        let Some(partition) = self.partitions.get_mut(index) else { return };
        match resolved {
            Resolved::Nothing => return,
            Resolved::At { position, reset_from } => {
                if let Some(from) = reset_from {
                    let lost = from..position.offset.max(from);
                    self.events.push(ConsumerEvent::Reset { partition: name.clone(), lost });
                }
                // What was fetched before comes first.
                match (partition.buffer.is_empty(), partition.lease.position()) {
                    // Only errors can wait.
                    (_, None) => partition.lease.start_at(position),
                    (true, Some(_)) => partition.lease.move_to(position),
                    (false, Some(_)) => partition.buffer.push(Fetched::Passed(position)),
                }
            }
            Resolved::Cut(end) => {
                let was = partition.lease.position().unwrap_or(end);
                partition.buffer.clear();
                if was.offset <= end.offset {
                    // Nothing that was handed out is concerned.
                    partition.fetch.go_to(was);
                } else if policy.is_some() {
                    partition.lease.move_to(end);
                    partition.fetch.go_to(end);
                    let (was, now) = (was.offset, end.offset);
                    self.events.push(ConsumerEvent::Truncated { partition: name.clone(), was, now });
                } else {
                    partition.fetch.fail();
                    let text = format!(
                        "the log of {name} was cut at offset {}, below the position {}, and auto.offset.reset is none: seek to \
                         where reading shall go on",
                        end.offset, was.offset
                    );
                    let error = Error::new(ErrorKind::OffsetReset, text).with_topic_partition(name.clone());
                    partition.buffer.push(Fetched::Stuck(error));
                }
            }
            Resolved::NoPolicy => {
                let error = partition.fetch.no_policy(name);
                partition.buffer.push(Fetched::Stuck(error));
            }
        }
        self.line_up(name);
    }

    /// A question was not answered, or with an error that may pass: it is asked again after `pause`, of the number of failures.
    /// An error that does not pass by itself goes to the application too.
    pub(crate) fn on_no_answer(
        &mut self,
        name: &TopicPartition,
        generation: u64,
        now: Time,
        pause: impl FnOnce(u32) -> Duration,
        report: Option<Error>,
    ) {
        let Some(partition) = self.get_mut(name).filter(|partition| partition.fetch.generation() == generation) else {
            return;
        };
        let pause = pause(partition.fetch.attempts() + 1);
        partition.fetch.on_no_answer(generation, now, pause);
        if let Some(error) = report {
            partition.buffer.push(Fetched::Report(error));
            self.line_up(name);
        }
    }

    /// What to fetch from `broker`.
    pub(crate) fn wants(&mut self, broker: i32, now: Time) -> Wants {
        let mut wants = Wants::default();
        for partition in &self.partitions {
            let Some(leader) =
                partition.leader.filter(|leader| leader.broker == broker && !partition.paused && partition.is_open())
            else {
                continue;
            };
            let Some(position) = partition.fetch.fetch_from(now) else { continue };
            let max_bytes = self.max_partition_bytes;
            if usize::try_from(max_bytes).is_ok_and(|enough| partition.buffer.bytes() >= enough) {
                wants.left_out = true;
                continue;
            }
            let wanted =
                Wanted { topic_id: partition.topic_id, offset: position.offset, leader_epoch: leader.epoch, max_bytes };
            wants.wanted.insert(partition.name.clone(), wanted);
            let asked = Asked { generation: partition.fetch.generation(), position, topic_id: partition.topic_id };
            wants.asked.insert(partition.name.clone(), asked);
        }
        if wants.left_out {
            self.starved.insert(broker);
        }
        wants
    }

    /// Whether the next read would find something at once, besides an error that stays.
    pub(crate) fn has_something_to_read(&self) -> bool {
        let waiting = self.line.iter().filter_map(|index| self.partitions.get(*index));
        let open = waiting.filter(|partition| !partition.paused);
        open.map(|partition| &partition.buffer).any(|buffer| !buffer.is_empty() && !buffer.is_stuck())
    }

    /// A batch left the buffer of a partition.
    pub(crate) fn on_room(&mut self, bytes_left: usize) {
        if !self.starved.is_empty() && usize::try_from(self.max_partition_bytes).is_ok_and(|enough| bytes_left < enough)
        {
            self.starved.clear();
            self.room_made = true;
        }
    }

    /// A fetch of this partition brought something.
    pub(crate) fn on_fetched(&mut self, name: &TopicPartition, asked: Asked, high_watermark: i64, intake: Intake) {
        let current = |partition: &&mut Partition| partition.fetch.is_current(asked.generation, asked.position.offset);
        let Some(partition) = self.get_mut(name).filter(current) else { return };
        if high_watermark >= 0 {
            partition.high_watermark = Some(high_watermark);
        }
        partition.fetch.on_fetched(intake.next);
        for entry in intake.entries {
            if let Fetched::Stuck(_) = entry {
                partition.fetch.fail();
            }
            partition.buffer.push(entry);
        }
        self.line_up(name);
    }

    /// A fetch of this partition brought batches, but none from its position on: the broker would answer the same at once.
    pub(crate) fn on_nothing_new(
        &mut self,
        name: &TopicPartition,
        asked: Asked,
        now: Time,
        pause: impl FnOnce(u32) -> Duration,
    ) {
        let current = |partition: &&mut Partition| partition.fetch.is_current(asked.generation, asked.position.offset);
        if let Some(partition) = self.get_mut(name).filter(current) {
            let pause = pause(partition.fetch.attempts() + 1);
            partition.fetch.on_fetch_failed(now, pause);
        }
    }

    /// A fetch of this partition was answered with an error by `broker`. Whether the metadata is in doubt.
    pub(crate) fn on_fetch_failed(
        &mut self,
        name: &TopicPartition,
        asked: Asked,
        code: ErrorCode,
        broker: i32,
        retry: Retry<'_>,
    ) -> bool {
        let current = |partition: &&mut Partition| partition.fetch.is_current(asked.generation, asked.position.offset);
        let Some(partition) = self.get_mut(name).filter(current) else { return code.refreshes_metadata() };
        if partition.leader.is_some_and(|leader| leader.broker != broker) {
            // It does not lead the partition any more, and that is known.
            return false;
        }
        if code == ErrorCode::OFFSET_OUT_OF_RANGE {
            let resolved = partition.fetch.reset(retry.policy);
            self.on_resolved(name, resolved, retry.policy);
            return false;
        }
        if code == ErrorCode::CORRUPT_MESSAGE {
            partition.buffer.push(Fetched::Stuck(corrupt_answer(name, asked.position.offset, broker)));
            partition.fetch.fail();
            self.line_up(name);
            return false;
        }
        let pause = (retry.pause)(partition.fetch.attempts() + 1);
        partition.fetch.on_fetch_failed(retry.now, pause);
        if !code.is_retriable() {
            let doing = format_args!("fetching {name} at offset {}", asked.position.offset);
            let error = Error::broker(doing, code, broker).with_topic_partition(name.clone());
            partition.buffer.push(Fetched::Report(error));
            self.line_up(name);
        }
        code.refreshes_metadata() || code == ErrorCode::UNKNOWN_LEADER_EPOCH
    }

    /// How many records there are between the position and the high watermark of the last fetch.
    pub(crate) fn lag(&self, name: &TopicPartition) -> Option<i64> {
        let partition = self.get(name)?;
        let position = partition.lease.position()?;
        Some((partition.high_watermark? - position.offset).max(0))
    }
}

/// How to go on after an error.
pub(crate) struct Retry<'a> {
    pub(crate) policy: Option<Target>,
    pub(crate) now: Time,
    /// Of the number of failures in a row.
    pub(crate) pause: &'a mut dyn FnMut(u32) -> Duration,
}

pub(crate) fn not_assigned(name: &TopicPartition) -> Error {
    let text = format!("{name} is not assigned to this consumer");
    Error::new(ErrorKind::PartitionLost, text).with_topic_partition(name.clone())
}

mod tenure;
#[cfg(test)]
mod tests;
