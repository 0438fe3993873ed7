//! The producer: records in, receipts out. IO.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use milena_protocol::ErrorCode;
use milena_protocol::records::{HEADER_LEN, NewRecord};

use crate::client::Client;
use crate::clock::{Time, to_millis};
use crate::cluster::UNKNOWN_TOPIC;
use crate::config::{Acks, Compression, Config, producer_setters};
use crate::error::{Error, ErrorKind, Result};
use crate::topic_partition::{TopicPartition, check_topic_name};

mod accumulator;
mod batch;
mod delivery;
mod driver;
mod event;
mod lane;
mod memory;
mod partitioner;
mod record;
mod segment;
mod sender;
mod sequencer;
mod shared;
mod topic;
mod verdict;

pub use delivery::{Delivery, Receipt};
pub use event::ProducerEvent;
pub use partitioner::Partitioner;
pub use record::{Record, TopicRef};
pub use topic::Topic;

use partitioner::partition_for_key;
use segment::Segment;
use shared::{Events, Shared};
use topic::{Partition, TopicState};

/// Sends records. Clones are cheap and share everything.
///
/// Records are collected in batches per partition; [`enqueue`](Producer::enqueue) returns when a record is in its batch, and the
/// [`Delivery`] that it gives when it is written. Of two records for one partition, the one whose `enqueue` returned before the
/// other's was first polled is written first; calls that overlap may go either way.
///
/// When the last clone is dropped, what was enqueued is still delivered, and failures are logged. Call
/// [`close`](Producer::close) to wait for it.
#[derive(Clone)]
pub struct Producer {
    handle: Arc<Handle>,
}

/// The user's side of a producer: dropping the last one begins to close it.
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.begin_close();
    }
}

/// How all records of a producer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseReport {
    /// Written. With acks=0: handed to a connection, and those are lost that it could not write before it broke or was closed.
    pub acked: u64,
    /// Not in the log, those included that were never sent.
    pub not_written: u64,
    /// Sent, without an answer that tells.
    pub maybe_written: u64,
}

/// Why [`Producer::try_enqueue`] did not take a record.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum TryEnqueueError {
    /// `buffer.memory` is full. Nothing was enqueued; try later, or wait with [`Producer::enqueue`].
    Full,
    /// The topic's partitions are not known yet. They are being asked for. A topic that does not exist gives this too, for it may
    /// appear; [`Producer::enqueue`] says after ten seconds that it does not.
    TopicNotLoaded,
    /// The record cannot be sent.
    Rejected(Error),
}

impl fmt::Display for TryEnqueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("buffer.memory is full"),
            Self::TopicNotLoaded => f.write_str("the topic is not loaded yet"),
            Self::Rejected(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for TryEnqueueError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Rejected(error) => error.source(),
            Self::Full | Self::TopicNotLoaded => None,
        }
    }
}

/// Settings of a [`Producer`].
#[must_use = "a builder does nothing until `build`"]
pub struct ProducerBuilder {
    client: Client,
    config: Config,
    partitioner: Option<Box<dyn Partitioner>>,
    events: Option<Events>,
}

impl fmt::Debug for ProducerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl ProducerBuilder {
    pub(crate) fn new(client: Client, config: Config) -> Self {
        Self { client, config, partitioner: None, events: None }
    }

    /// Takes over everything that was set in `config`; what was set before and not there stays.
    pub fn config(mut self, config: Config) -> Self {
        self.config = self.config.merge(config);
        self
    }

    producer_setters!();

    /// Chooses partitions by a rule of your own.
    pub fn partitioner(mut self, partitioner: impl Partitioner) -> Self {
        self.partitioner = Some(Box::new(partitioner));
        self
    }

    /// Calls `listener` when something happens beside the deliveries. It is called from the client's tasks and must not block.
    pub fn on_event(mut self, listener: impl Fn(&ProducerEvent) + Send + Sync + 'static) -> Self {
        self.events = Some(Box::new(listener));
        self
    }

    /// Makes the producer.
    ///
    /// # Errors
    /// `Config` for every setting that is out of range or contradicts another, all at once; `Closed` if the client is.
    ///
    /// # Cancel safety
    /// It does not wait for anything yet.
    pub async fn build(self) -> Result<Producer> {
        let settings = self.config.producer()?;
        let cluster = self.client.cluster().clone();
        if cluster.is_closed() {
            return Err(Error::closed("client"));
        }
        let shared = Shared::new(cluster, settings, self.partitioner, self.events);
        shared.cluster.net().runtime.spawn(Box::pin(driver::run(shared.clone())));
        Ok(Producer { handle: Arc::new(Handle { shared }) })
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("open", &self.shared().is_open()).finish_non_exhaustive()
    }
}

impl Producer {
    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// A handle to a topic, which saves looking its name up for every record.
    ///
    /// # Errors
    /// `Broker` with `UNKNOWN_TOPIC_OR_PARTITION` if there is no such topic within 10 s or `max.block.ms`, whichever is shorter;
    /// `TimedOut` if no broker answers; `Closed`.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn topic(&self, name: &str) -> Result<Topic> {
        self.load(name).await.map(Topic)
    }

    /// Enqueues a record and waits until it is written.
    ///
    /// # Errors
    /// As [`Producer::enqueue`], and whatever became of the record: [`Error::written`] says whether it is in the log.
    ///
    /// # Cancel safety
    /// Dropped before the record was enqueued, nothing was sent; after that it is delivered all the same.
    pub async fn send(&self, record: Record<'_>) -> Result<Receipt> {
        self.enqueue(record).await?.await
    }

    /// Puts a record into its batch; waits for room if `buffer.memory` is full, and for the topic's partitions if they are not
    /// known, at most `max.block.ms`.
    ///
    /// # Errors
    /// In all of them the record was not enqueued. `Usage` with `MESSAGE_TOO_LARGE` if it is larger than `max.request.size` or
    /// `buffer.memory`, or for a partition that does not exist as far as is known (it is looked for then, for the next try);
    /// `Broker` with `UNKNOWN_TOPIC_OR_PARTITION`; `TimedOut` if there is no room in time; `Closed`.
    ///
    /// # Cancel safety
    /// If it is dropped before it returns, nothing was enqueued.
    pub async fn enqueue(&self, record: Record<'_>) -> Result<Delivery> {
        let shared = self.shared();
        let net = shared.cluster.net();
        let started = net.now();
        loop {
            let topic = match self.known(&record) {
                Some(topic) => topic,
                None => self.load(record.topic.name()).await?,
            };
            let partition = self.partition(&topic, &record)?;
            match self.append(&topic, &partition, &record, &mut None, false)? {
                Append::Done(delivery) => return Ok(delivery),
                Append::Replaced => {}
                Append::NeedsRoom(size) => {
                    let deadline = started.saturating_add(shared.settings.max_block);
                    if let Some(delivery) = self.wait_for_room(&topic, &partition, &record, size, deadline).await? {
                        return Ok(delivery);
                    }
                }
            }
        }
    }

    /// Puts a record into its batch without ever waiting.
    ///
    /// # Errors
    /// See [`TryEnqueueError`]; in all cases nothing was enqueued.
    pub fn try_enqueue(&self, record: &Record<'_>) -> Result<Delivery, TryEnqueueError> {
        let Some(topic) = self.known(record) else {
            if !self.shared().is_open() {
                return Err(TryEnqueueError::Rejected(Error::closed("producer")));
            }
            check_topic_name(record.topic.name()).map_err(TryEnqueueError::Rejected)?;
            let name: Arc<str> = record.topic.name().into();
            self.shared().cluster.add_topic(&name);
            let view = self.shared().cluster.view();
            match view.topic(&name) {
                Some(seen) if seen.error.is_none() && !seen.partitions.is_empty() => {
                    drop(self.shared().add_topic(seen))
                }
                Some(_) | None => return Err(TryEnqueueError::TopicNotLoaded),
            }
            return self.try_enqueue(record);
        };
        let partition = self.partition(&topic, record).map_err(TryEnqueueError::Rejected)?;
        match self.append(&topic, &partition, record, &mut None, false).map_err(TryEnqueueError::Rejected)? {
            Append::Done(delivery) => Ok(delivery),
            Append::NeedsRoom(_) => {
                self.shared().hurry_for_room();
                Err(TryEnqueueError::Full)
            }
            Append::Replaced => Err(TryEnqueueError::TopicNotLoaded),
        }
    }

    /// Sends everything that was enqueued before this was first polled, without waiting for more, and waits until it is settled.
    ///
    /// # Errors
    /// If records failed whose [`Delivery`] was detached or dropped before: how many, the first cause, and the worst
    /// [`Error::written`] of all. Each is reported once, by one flush. A `Delivery` that is still alive reports for itself.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing but that nobody waits.
    pub async fn flush(&self) -> Result<()> {
        let shared = self.shared();
        let outcomes = shared.outcomes();
        shared.hurry();
        for outcome in outcomes {
            let mut slot = None;
            poll_fn(|context| outcome.poll_settled(&mut slot, context)).await;
        }
        match shared.unawaited.take() {
            None => Ok(()),
            Some((count, error)) => {
                let mut summary = Error::new(error.kind(), format!("{count} records failed that nobody awaited"));
                if let Some(code) = error.code() {
                    summary = summary.with_code(code);
                }
                if let Some(first) = error.topic_partition() {
                    summary = summary.with_topic_partition(first.clone());
                }
                Err(summary.with_written(error.written()).with_retriable(false).with_source(error))
            }
        }
    }

    /// Takes no more records from any clone, sends what there is, and waits for it at most `within`. What is not settled then is
    /// given up. Counts all records of the producer's life; a second call gives the same report.
    ///
    /// # Cancel safety
    /// The producer is closed as soon as the future was polled; if it is dropped, the rest goes on in the background.
    pub async fn close(&self, within: Duration) -> CloseReport {
        let shared = self.shared();
        shared.begin_close();
        let mut unsettled = shared.unsettled();
        let settled = unsettled.wait_for(|count| *count == 0);
        tokio::select! {
            biased;
            _ = settled => {}
            () = tokio::time::sleep(within) => {}
        }
        shared.end();
        let tally = shared.tally();
        CloseReport { acked: tally.acked, not_written: tally.not_written, maybe_written: tally.maybe_written }
    }

    /// The topic, if it is known.
    fn known(&self, record: &Record<'_>) -> Option<Arc<TopicState>> {
        match record.topic {
            TopicRef::Handle(topic) if !topic.0.is_replaced() && topic.0.belongs_to(&self.shared().limits) => {
                Some(topic.0.clone())
            }
            // Of another producer, or of a topic that was created again.
            TopicRef::Handle(topic) => self.shared().topic(topic.name()),
            TopicRef::Name(name) => self.shared().topic(name),
        }
    }

    async fn load(&self, name: &str) -> Result<Arc<TopicState>> {
        let shared = self.shared();
        if !shared.is_open() {
            return Err(Error::closed("producer"));
        }
        if let Some(topic) = shared.topic(name) {
            return Ok(topic);
        }
        let within = shared.settings.max_block.min(UNKNOWN_TOPIC);
        let view = shared.cluster.topic(&name.into(), within).await?;
        Ok(shared.add_topic(&view))
    }

    fn partition(&self, topic: &TopicState, record: &Record<'_>) -> Result<Arc<Partition>> {
        let shared = self.shared();
        let partitions = topic.partitions.load();
        let count = i32::try_from(partitions.len()).unwrap_or(i32::MAX);
        let chosen = match (record.partition, &shared.partitioner) {
            (Some(partition), _) => Some(partition),
            (None, Some(partitioner)) => partitioner.partition(record, count),
            (None, None) => None,
        };
        let index = match (chosen, record.key) {
            (Some(partition), _) => usize::try_from(partition).unwrap_or(usize::MAX),
            (None, Some(key)) => partition_for_key(key, partitions.len()),
            (None, None) => topic.sticky().partition(partitions.len(), |index| {
                partitions.get(index).is_some_and(|partition| partition.has_leader())
            }),
        };
        partitions.get(index).cloned().ok_or_else(|| {
            // It may have been added since: whoever tries again shall find it.
            shared.cluster.request_refresh();
            let chosen = chosen.unwrap_or(-1);
            let text = format!("topic \"{}\" has no partition {chosen}: it has {count}, counted from 0", topic.name);
            Error::new(ErrorKind::Usage, text).with_topic_partition(TopicPartition::new(topic.name.clone(), chosen))
        })
    }

    /// Appends the record to its partition, if there is room. `waited`: the caller has waited for its turn.
    fn append(
        &self,
        topic: &TopicState,
        partition: &Arc<Partition>,
        record: &Record<'_>,
        spare: &mut Option<Segment>,
        waited: bool,
    ) -> Result<Append> {
        let shared = self.shared();
        let net = shared.cluster.net();
        let encoded = NewRecord { key: record.key, value: record.value, headers: &record.headers };
        let timestamp = to_millis(record.timestamp.unwrap_or_else(|| net.clock.wall()));
        // The deltas of a record are at most this many bytes longer in the middle of a batch.
        let length = encoded.encoded_len(i32::MAX, 0);
        self.check_length(partition, HEADER_LEN + length)?;
        if !waited && partition.waiting.load(Ordering::Acquire) > 0 {
            return Ok(Append::NeedsRoom(segment::segment_size(0, length)));
        }
        let now = net.now();
        let mut state = partition.lock();
        if !shared.is_open() {
            return Err(Error::closed("producer"));
        }
        if topic.is_replaced() {
            return Ok(Append::Replaced);
        }
        let appended = match state.queue.append(now, timestamp, &encoded, spare) {
            Ok(appended) => appended,
            Err(size) => {
                *spare = shared.memory.try_segment(size);
                match spare {
                    None => return Ok(Append::NeedsRoom(size)),
                    Some(_) => match state.queue.append(now, timestamp, &encoded, spare) {
                        Ok(appended) => appended,
                        Err(size) => return Ok(Append::NeedsRoom(size)),
                    },
                }
            }
        };
        let mut watch = None;
        if appended.opened {
            shared.on_opened();
            if !std::mem::replace(&mut state.watched, true) {
                watch = state.queue.deadline();
            }
        }
        if shared.memory.is_short() {
            state.queue.hurry();
        }
        state.schedule(partition);
        drop(state);
        if let Some(deadline) = watch
            && shared.deadlines.insert(deadline, partition.clone())
        {
            shared.wake.notify_one();
        }
        if record.key.is_none() && record.partition.is_none() {
            topic.sticky().on_appended(length, shared.limits.batch_size);
        }
        Ok(Append::Done(Delivery::new(appended.outcome, appended.index, timestamp)))
    }

    fn check_length(&self, partition: &Partition, length: usize) -> Result<()> {
        let shared = self.shared();
        let limits = [(shared.settings.max_request_size, "max.request.size"), (shared.memory.limit(), "buffer.memory")];
        match limits.into_iter().find(|(limit, _)| length > *limit) {
            None => Ok(()),
            Some((limit, name)) => {
                let text =
                    format!("a record of {length} bytes for {} is larger than {name} ({limit} bytes)", partition.name);
                let error = Error::new(ErrorKind::Usage, text).with_code(ErrorCode::MESSAGE_TOO_LARGE);
                Err(error.with_retriable(false).with_topic_partition(partition.name.clone()))
            }
        }
    }

    async fn wait_for_room(
        &self,
        topic: &TopicState,
        partition: &Arc<Partition>,
        record: &Record<'_>,
        size: usize,
        deadline: Time,
    ) -> Result<Option<Delivery>> {
        struct Waiting<'a>(&'a Partition);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.waiting.fetch_sub(1, Ordering::AcqRel);
            }
        }
        let shared = self.shared();
        partition.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(partition);
        let (_short, first) = shared.memory.begin_waiting();
        if first {
            // Whoever waits for room cannot wait for a long linger too.
            shared.hurry();
        }
        let mut size = size;
        loop {
            let segment = tokio::select! {
                biased;
                segment = shared.memory.wait_for_segment(size) => segment,
                () = shared.cluster.net().sleep_until(Some(deadline)) => {
                    let text = format!(
                        "no room in buffer.memory ({} bytes) for a record for {} within max.block.ms ({:?})",
                        shared.memory.limit(), partition.name, shared.settings.max_block
                    );
                    return Err(Error::new(ErrorKind::TimedOut, text).with_topic_partition(partition.name.clone()));
                }
            };
            let mut spare = Some(segment.ok_or_else(|| Error::closed("producer"))?);
            match self.append(topic, partition, record, &mut spare, true)? {
                Append::Done(delivery) => return Ok(Some(delivery)),
                Append::Replaced => return Ok(None),
                Append::NeedsRoom(larger) => size = larger,
            }
        }
    }
}

enum Append {
    Done(Delivery),
    /// There is no segment of this size.
    NeedsRoom(usize),
    /// Another topic has the name now.
    Replaced,
}
