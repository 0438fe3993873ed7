//! What the handles, the driver and the lanes of one producer share. IO.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::Duration;

use arc_swap::ArcSwap;
use milena_protocol::compression::Compressor;
use tokio::sync::{Notify, watch};
use tracing::error;

use super::accumulator::{Accumulator, Limits, Settled};
use super::delivery::{Outcome, Tally, Told, Unawaited};
use super::event::ProducerEvent;
use super::lane::{Agenda, Lane};
use super::memory::Memory;
use super::partitioner::{Partitioner, Sticky};
use super::sender::Sender;
use super::sequencer::Identity;
use super::topic::{Partition, TopicState};
use crate::cluster::Cluster;
use crate::cluster::metadata::{ClusterView, TopicView};
use crate::config::{Acks, ProducerSettings};
use crate::entropy::Entropy;
use crate::error::{Error, ErrorKind};
use crate::net::connection;
use crate::topic_partition::TopicPartition;

pub(crate) type Events = Box<dyn Fn(&ProducerEvent) + Send + Sync>;

pub(crate) struct Shared {
    pub(crate) cluster: Cluster,
    pub(crate) settings: ProducerSettings,
    pub(crate) limits: Arc<Limits>,
    pub(crate) partitioner: Option<Box<dyn Partitioner>>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) unawaited: Arc<Unawaited>,
    topics: ArcSwap<BTreeMap<Arc<str>, Arc<TopicState>>>,
    /// Held while the topic table or a topic's list of partitions is replaced.
    changing: Mutex<()>,
    lanes: Mutex<BTreeMap<i32, Arc<Lane>>>,
    /// Partitions by when their oldest batch may run out of time.
    pub(crate) deadlines: Agenda,
    /// Wakes the driver.
    pub(crate) wake: Arc<Notify>,
    identity: Mutex<Option<Identity>>,
    /// Why there is none.
    no_identity: Mutex<Option<Error>>,
    /// A partition used up the epochs of its producer id.
    renew: AtomicBool,
    tally: Mutex<Tally>,
    /// A batch was opened since room was last made.
    opened: AtomicBool,
    /// Batches without an outcome.
    unsettled: watch::Sender<usize>,
    state: AtomicUsize,
    next_partition: AtomicU64,
    entropy: Mutex<Entropy>,
    compressors: Mutex<Vec<Compressor>>,
    events: Option<Events>,
}

/// Takes records; takes none, but settles what it has; has ended.
const OPEN: usize = 0;
const CLOSING: usize = 1;
const ENDED: usize = 2;

struct NotifyWaker(Arc<Notify>);

impl Wake for NotifyWaker {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        self.0.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(
        cluster: Cluster,
        settings: ProducerSettings,
        partitioner: Option<Box<dyn Partitioner>>,
        events: Option<Events>,
    ) -> Arc<Self> {
        let idempotent = settings.idempotence;
        let limits = Limits {
            batch_size: settings.batch_size,
            max_batch: settings.max_request_size,
            linger: settings.linger,
            delivery_timeout: settings.delivery_timeout,
            idempotent,
            // Without sequence numbers a retry could overtake the batch behind it; with acks=0 nothing is retried.
            max_in_flight: if idempotent || settings.acks == Acks::None { settings.max_in_flight } else { 1 },
            compression: settings.compression.codec(),
        };
        let entropy = cluster.net().fork_entropy();
        Arc::new(Self {
            memory: Memory::new(settings.buffer_memory),
            limits: Arc::new(limits),
            settings,
            partitioner,
            unawaited: Arc::default(),
            topics: ArcSwap::default(),
            changing: Mutex::default(),
            lanes: Mutex::default(),
            deadlines: Agenda::default(),
            wake: Arc::new(Notify::new()),
            identity: Mutex::new(None),
            no_identity: Mutex::new(None),
            renew: AtomicBool::new(false),
            tally: Mutex::default(),
            opened: AtomicBool::new(false),
            unsettled: watch::Sender::new(0),
            state: AtomicUsize::new(OPEN),
            next_partition: AtomicU64::new(0),
            entropy: Mutex::new(entropy),
            compressors: Mutex::default(),
            events,
            cluster,
        })
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state.load(Ordering::Acquire) == OPEN && !self.cluster.is_closed()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.state.load(Ordering::Acquire) == ENDED
    }

    /// Takes no more records, and sends what it has without delay.
    pub(crate) fn begin_close(&self) {
        self.state.fetch_max(CLOSING, Ordering::AcqRel);
        self.memory.close();
        self.hurry();
        self.wake.notify_one();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.state.load(Ordering::Acquire) == CLOSING || self.cluster.is_closed()
    }

    /// Gives up whatever is left, and ends the connections.
    pub(crate) fn end(&self) {
        self.begin_close();
        self.state.store(ENDED, Ordering::Release);
        self.abandon(&Error::new(ErrorKind::Closed, "the producer was closed before the batch was delivered"));
        self.wake_lanes();
        self.wake.notify_one();
    }

    pub(crate) fn topic(&self, name: &str) -> Option<Arc<TopicState>> {
        self.topics.load().get(name).cloned()
    }

    /// The state of a topic that the metadata knows, made if need be.
    pub(crate) fn add_topic(self: &Arc<Self>, view: &TopicView) -> Arc<TopicState> {
        let guard = lock(&self.changing);
        let mut topics = BTreeMap::clone(&self.topics.load());
        let known = topics.get(&view.name).cloned();
        let is_same = |known: &TopicState| known.id == view.id || view.id.is_zero() || known.id.is_zero();
        let topic = match &known {
            Some(known) if is_same(known) => known.clone(),
            Some(_) | None => {
                let sticky = Sticky::new(lock(&self.entropy).fork());
                let topic = TopicState::new(view.name.clone(), view.id, sticky, self.limits.clone());
                topics.insert(view.name.clone(), topic.clone());
                self.topics.store(Arc::new(topics));
                topic
            }
        };
        let grown = self.grow(&topic, view, known.as_deref());
        drop(guard);
        grown.iter().for_each(|event| self.tell(event));
        self.update_leaders(&topic);
        topic
    }

    /// Gives the topic the partitions that it has by now; `old` is what had its name before, if not itself. What is to be told of
    /// it, without any lock held.
    fn grow(&self, topic: &TopicState, view: &TopicView, old: Option<&TopicState>) -> Option<ProducerEvent> {
        let known = topic.partitions.load();
        if view.partitions.len() <= known.len() {
            return None;
        }
        let before = known.len();
        let mut partitions = Vec::clone(&known);
        for index in before..view.partitions.len() {
            let name = TopicPartition::new(topic.name.clone(), i32::try_from(index).unwrap_or(i32::MAX));
            let mut queue = Accumulator::new(name.clone(), self.limits.clone(), self.unawaited.clone());
            if let Some(old) = old.and_then(|old| old.partitions.load().get(index).cloned()) {
                queue.succeed(&old.lock().queue);
            }
            // While it is to be renewed, the old one may be used up.
            let identity = lock(&self.identity).filter(|_| !self.renew.load(Ordering::Acquire));
            if let Some(identity) = identity {
                queue.on_producer_id(identity);
            }
            let number = self.next_partition.fetch_add(1, Ordering::Relaxed);
            partitions.push(Partition::new(number, name, topic.id, queue));
        }
        let count = partitions.len();
        topic.partitions.store(Arc::new(partitions));
        (before > 0).then(|| ProducerEvent::PartitionsAdded { topic: topic.name.clone(), partitions: count })
    }

    /// The metadata changed: partitions follow their leaders, topics grow or turn out to be other ones.
    pub(crate) fn on_view(self: &Arc<Self>, view: &ClusterView) {
        for (name, topic) in self.topics.load().iter() {
            let Some(seen) = view.topic(name).filter(|seen| seen.error.is_none()) else { continue };
            if seen.id != topic.id && !seen.id.is_zero() && !topic.id.is_zero() {
                self.on_recreated(topic, seen);
            } else {
                let guard = lock(&self.changing);
                let grown = self.grow(topic, seen, None);
                drop(guard);
                grown.iter().for_each(|event| self.tell(event));
                self.update_leaders(topic);
            }
        }
        // A broker that was gone may be back, at another address.
        self.wake_lanes();
    }

    fn wake_lanes(&self) {
        lock(&self.lanes).values().for_each(|lane| lane.wake());
    }

    /// A topic was deleted, and one of the same name created: nothing that was meant for the old one goes to the new.
    fn on_recreated(self: &Arc<Self>, old: &TopicState, new: &TopicView) {
        old.replace();
        let text = format!("topic \"{}\" was deleted and created again", old.name);
        let cause = Error::new(ErrorKind::Broker, text).with_code(milena_protocol::ErrorCode::UNKNOWN_TOPIC_ID);
        old.partitions.load().iter().for_each(|partition| self.abandon_partition(partition, &cause));
        self.add_topic(new);
        self.tell(&ProducerEvent::TopicRecreated { topic: old.name.clone() });
    }

    fn update_leaders(self: &Arc<Self>, topic: &TopicState) {
        // One after the other and by the latest view, so that an older one never has the last word.
        let _turn = lock(&self.changing);
        let view = self.cluster.view();
        for partition in topic.partitions.load().iter() {
            let leader = view.partition(&partition.name).and_then(|partition| partition.leader);
            let mut state = partition.lock();
            if state.broker() != leader {
                let lane = leader.map(|leader| self.lane(leader));
                state.move_to(partition, lane);
            }
        }
    }

    fn lane(self: &Arc<Self>, broker: i32) -> Arc<Lane> {
        let mut lanes = lock(&self.lanes);
        let lane = lanes.entry(broker).or_insert_with(|| {
            let wake = Arc::new(Notify::new());
            let lane = Lane::new(broker, Waker::from(Arc::new(NotifyWaker(wake.clone()))));
            let net = self.cluster.net().clone();
            let sender = Sender::new(self.clone(), lane.clone());
            net.runtime.spawn(Box::pin(connection::run(net.clone(), wake, sender)));
            lane
        });
        lane.clone()
    }

    /// The producer id, once there is one.
    pub(crate) fn needs_producer_id(&self) -> bool {
        self.limits.idempotent && (lock(&self.identity).is_none() || self.renew.load(Ordering::Acquire))
    }

    /// A partition has used up its epochs.
    pub(crate) fn request_producer_id(&self) {
        self.renew.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    pub(crate) fn on_no_producer_id(&self, cause: Error) {
        *lock(&self.no_identity) = Some(cause);
    }

    /// Why there is no producer id, if the last attempt at one failed.
    pub(crate) fn no_producer_id(&self) -> Option<Error> {
        lock(&self.no_identity).clone()
    }

    pub(crate) fn on_producer_id(&self, identity: Identity) {
        *lock(&self.no_identity) = None;
        self.renew.store(false, Ordering::Release);
        let guard = lock(&self.changing);
        *lock(&self.identity) = Some(identity);
        drop(guard);
        self.each_partition(|partition| {
            let mut state = partition.lock();
            state.queue.on_producer_id(identity);
            state.schedule(partition);
        });
    }

    /// There is no room: whatever fills it is to be sent. Only once per batch that was opened, however often somebody tries.
    pub(crate) fn hurry_for_room(&self) {
        if self.opened.swap(false, Ordering::AcqRel) {
            self.hurry();
        }
    }

    /// Every open batch goes out without waiting for more records.
    pub(crate) fn hurry(&self) {
        self.each_partition(|partition| {
            let mut state = partition.lock();
            state.queue.hurry();
            state.schedule(partition);
        });
    }

    /// Every batch that is not settled yet.
    pub(crate) fn outcomes(&self) -> Vec<Arc<Outcome>> {
        let mut outcomes = Vec::new();
        self.each_partition(|partition| outcomes.extend(partition.lock().queue.outcomes()));
        outcomes
    }

    fn abandon(&self, cause: &Error) {
        self.each_partition(|partition| self.abandon_partition(partition, cause));
    }

    fn each_partition(&self, mut visit: impl FnMut(&Arc<Partition>)) {
        for topic in self.topics.load().values() {
            topic.partitions.load().iter().for_each(&mut visit);
        }
    }

    /// A batch was opened in this partition, which the caller holds the lock of.
    pub(crate) fn on_opened(&self) {
        self.opened.store(true, Ordering::Release);
        self.unsettled.send_modify(|count| *count += 1);
    }

    /// Notes outcomes, with the lock of their partition still held: who looks for a batch finds it unsettled or settled, and
    /// nothing between.
    pub(crate) fn settle(&self, settled: impl IntoIterator<Item = Settled>) -> Told {
        lock(&self.tally).settle(settled)
    }

    /// Wakes whoever waited for them, without any lock held.
    pub(crate) fn wake(&self, told: Told) {
        let settled = told.wake();
        if settled > 0 {
            self.unsettled.send_modify(|count| *count -= settled);
        }
    }

    /// Gives up everything that a partition has.
    fn abandon_partition(&self, partition: &Partition, cause: &Error) {
        let mut state = partition.lock();
        let told = self.settle(state.queue.abandon(cause));
        drop(state);
        self.wake(told);
    }

    /// Tells how many batches have no outcome yet.
    pub(crate) fn unsettled(&self) -> watch::Receiver<usize> {
        self.unsettled.subscribe()
    }

    pub(crate) fn tally(&self) -> Tally {
        *lock(&self.tally)
    }

    pub(crate) fn tell(&self, event: &ProducerEvent) {
        let Some(events) = &self.events else { return };
        if catch_unwind(AssertUnwindSafe(|| events(event))).is_err() {
            error!(?event, "the producer's event listener panicked");
        }
    }

    /// A compressor for work away from the connections; to be given back.
    pub(crate) fn compressor(&self) -> Compressor {
        lock(&self.compressors).pop().unwrap_or_else(|| self.new_compressor())
    }

    pub(crate) fn new_compressor(&self) -> Compressor {
        Compressor::new(self.limits.compression, self.settings.compression_level())
    }

    pub(crate) fn return_compressor(&self, compressor: Compressor) {
        lock(&self.compressors).push(compressor);
    }

    pub(crate) fn retry_delay(&self, failures: u32) -> Duration {
        self.cluster.retry_delay(failures)
    }
}
