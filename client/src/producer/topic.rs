//! A topic as a producer knows it: its partitions, their queues, and the lanes they are in. Pure.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use milena_protocol::primitives::Uuid;

use super::accumulator::{Accumulator, Limits};
use super::lane::Lane;
use super::partitioner::Sticky;
use crate::clock::Time;
use crate::error::{Error, ErrorKind};
use crate::topic_partition::TopicPartition;

/// A handle to a topic that saves looking its name up for every record. From [`Producer::topic`](crate::Producer::topic).
#[derive(Clone)]
pub struct Topic(pub(crate) Arc<TopicState>);

impl Topic {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// How many partitions it has, as far as the client knows.
    pub fn partitions(&self) -> usize {
        self.0.partitions.load().len()
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Topic").field(&self.0.name).finish()
    }
}

/// One topic of one identity: a topic that was deleted and created again has another state.
pub(crate) struct TopicState {
    pub(crate) name: Arc<str>,
    pub(crate) id: Uuid,
    /// By number. Only ever grows.
    pub(crate) partitions: ArcSwap<Vec<Arc<Partition>>>,
    pub(crate) sticky: Mutex<Sticky>,
    /// What the partitions of one producer share: a handle of another producer is told by it.
    limits: Arc<Limits>,
    /// Another topic has its name now.
    replaced: AtomicBool,
}

impl TopicState {
    pub(crate) fn new(name: Arc<str>, id: Uuid, sticky: Sticky, limits: Arc<Limits>) -> Arc<Self> {
        let (partitions, sticky) = (ArcSwap::default(), Mutex::new(sticky));
        Arc::new(Self { name, id, partitions, sticky, limits, replaced: AtomicBool::new(false) })
    }

    /// Whether it belongs to the producer with these limits.
    pub(crate) fn belongs_to(&self, limits: &Arc<Limits>) -> bool {
        Arc::ptr_eq(&self.limits, limits)
    }

    pub(crate) fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Acquire)
    }

    pub(crate) fn replace(&self) {
        self.replaced.store(true, Ordering::Release);
    }

    pub(crate) fn sticky(&self) -> MutexGuard<'_, Sticky> {
        self.sticky.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One partition.
pub(crate) struct Partition {
    number: u64,
    pub(crate) name: TopicPartition,
    pub(crate) topic_id: Uuid,
    state: Mutex<PartitionState>,
    /// Enqueues that wait for room: newcomers wait behind them.
    pub(crate) waiting: AtomicUsize,
    has_leader: AtomicBool,
}

/// What the lock of a partition guards.
pub(crate) struct PartitionState {
    pub(crate) queue: Accumulator,
    lane: Option<Arc<Lane>>,
    scheduled: Option<Time>,
    /// Whether the partition is on the agenda for `delivery.timeout.ms`.
    pub(crate) watched: bool,
}

impl Partition {
    /// `number` is its place in the order of agendas, unique in the producer.
    pub(crate) fn new(number: u64, name: TopicPartition, topic_id: Uuid, queue: Accumulator) -> Arc<Self> {
        Arc::new(Self {
            number,
            name,
            topic_id,
            state: Mutex::new(PartitionState { queue, lane: None, scheduled: None, watched: false }),
            waiting: AtomicUsize::new(0),
            has_leader: AtomicBool::new(false),
        })
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn has_leader(&self) -> bool {
        self.has_leader.load(Ordering::Relaxed)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, PartitionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartitionState {
    /// The broker that the partition's batches go to.
    pub(crate) fn broker(&self) -> Option<i32> {
        self.lane.as_ref().map(|lane| lane.broker)
    }

    /// The partition has another leader, or none.
    pub(crate) fn move_to(&mut self, partition: &Arc<Partition>, lane: Option<Arc<Lane>>) {
        if let (Some(old), Some(due)) = (&self.lane, self.scheduled.take()) {
            old.agenda.remove(due, partition);
        }
        partition.has_leader.store(lane.is_some(), Ordering::Relaxed);
        self.lane = lane;
        self.queue.on_new_leader();
        self.schedule(partition);
    }

    /// What keeps the partition from being sent to, as far as that is known.
    pub(crate) fn trouble(&self) -> Option<Error> {
        match &self.lane {
            Some(lane) => lane.trouble(),
            None => Some(Error::new(ErrorKind::Broker, "the partition has no leader")),
        }
    }

    /// Its lane has taken it out of the agenda.
    pub(crate) fn on_taken(&mut self) {
        self.scheduled = None;
    }

    /// Brings the agenda of the lane up to date with the queue.
    pub(crate) fn schedule(&mut self, partition: &Arc<Partition>) {
        let Some(lane) = &self.lane else { return };
        let due = self.queue.due();
        if due == self.scheduled {
            return;
        }
        if let Some(old) = self.scheduled {
            lane.agenda.remove(old, partition);
        }
        self.scheduled = due;
        if let Some(due) = due {
            lane.schedule(due, partition.clone());
        }
    }
}
