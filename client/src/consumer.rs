//! The consumer: reads assigned partitions, and commits how far they are done. IO.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::unfold;

use crate::client::Client;
use crate::cluster::UNKNOWN_TOPIC;
use crate::config::{AutoOffsetReset, Config, IsolationLevel, consumer_setters};
use crate::error::{Error, ErrorKind, Result};
use crate::topic_partition::TopicPartition;

mod assignment;
mod batch;
mod commits;
mod control;
mod coordinator;
mod driver;
mod event;
mod fetch_budget;
mod fetch_buffer;
mod fetch_session;
mod fetched;
mod fetcher;
mod hand_out;
mod lease;
mod list_offsets;
mod offsets;
mod positions;
mod shared;
mod stream;

pub use self::batch::{Batch, ConsumerRecord, Headers, Iter, RecordView};
pub use self::commits::CommitPolicy;
pub use self::control::ConsumerControl;
pub use self::event::ConsumerEvent;
pub use self::offsets::Offsets;
pub use self::positions::Position;
pub use self::stream::RecordStream;

use self::assignment::Assignment;
use self::shared::{OnEvent, Parts, Shared};

/// Settings and partitions of a [`Consumer`].
#[must_use = "a builder does nothing until `build`"]
pub struct ConsumerBuilder {
    client: Client,
    config: Config,
    group: Option<String>,
    assigned: Vec<(TopicPartition, Position)>,
    policy: Option<CommitPolicy>,
    on_event: Option<OnEvent>,
}

impl fmt::Debug for ConsumerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config, group, assigned, policy, .. } = self;
        let mut debug = f.debug_struct("ConsumerBuilder");
        debug.field("group", group).field("assigned", assigned).field("policy", policy);
        debug.field("config", config).finish_non_exhaustive()
    }
}

impl ConsumerBuilder {
    pub(crate) fn new(client: Client, config: Config, group: Option<String>) -> Self {
        Self { client, config, group, assigned: Vec::new(), policy: None, on_event: None }
    }

    /// Takes over everything that was set in `config`; what was set before and not there stays.
    pub fn config(mut self, config: Config) -> Self {
        self.config = self.config.merge(config);
        self
    }

    consumer_setters!();

    /// Reads these partitions, each from its own position, and shares them with nobody. May be called several times; a partition
    /// named twice starts at its last position.
    pub fn assign<P: Into<TopicPartition>>(mut self, partitions: impl IntoIterator<Item = (P, Position)>) -> Self {
        self.assigned.extend(partitions.into_iter().map(|(partition, position)| (partition.into(), position)));
        self
    }

    /// What is committed without being asked. Default: what `enable.auto.commit` says, which is [`CommitPolicy::Returned`] unless
    /// set. Without a group nothing is.
    pub fn commit_policy(mut self, policy: CommitPolicy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Calls this when something happens to a partition that reading goes on after. It is called from the consumer's task and
    /// should return soon: fetching goes on, but positions are not found and nothing is committed in the background meanwhile.
    pub fn on_event(mut self, on_event: impl Fn(&ConsumerEvent) + Send + Sync + 'static) -> Self {
        self.on_event = Some(Box::new(on_event));
        self
    }

    /// Makes the consumer: when it returns, every partition is known to exist, and where to start is decided.
    ///
    /// # Errors
    /// `Config` for settings that are out of range or contradict each other; `Usage` if no partition is assigned, if a partition
    /// does not exist (the error says how many there are), for a negative offset, or for [`Position::Committed`] without a group;
    /// `Broker` with `UNKNOWN_TOPIC_OR_PARTITION` for a topic that does not exist after 10 s, and with whatever else a broker
    /// objects; `TimedOut` if a position could not be found within `default.api.timeout.ms`; `Closed` if the client is closed.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn build(self) -> Result<Consumer> {
        let settings = self.config.consumer()?;
        let api_timeout = self.config.client()?.default_api_timeout;
        let cluster = self.client.cluster().clone();
        if cluster.is_closed() {
            return Err(Error::closed("client"));
        }
        let group: Option<Arc<str>> = self.group.map(Arc::from);
        if group.as_deref() == Some("") {
            return Err(Error::new(
                ErrorKind::Usage,
                "the group of the consumer has no name: give it one, or use Client::reader",
            ));
        }
        let partitions: BTreeMap<TopicPartition, Position> = self.assigned.into_iter().collect();
        if partitions.is_empty() {
            return Err(Error::new(ErrorKind::Usage, "the consumer has nothing to read: assign partitions to it"));
        }
        for (partition, position) in &partitions {
            match position {
                Position::Committed if group.is_none() => return Err(ConsumerControl::refuse_committed(partition)),
                Position::Offset(offset) if *offset < 0 => {
                    let text = format!("{partition} cannot start at offset {offset}: offsets begin at 0");
                    return Err(Error::new(ErrorKind::Usage, text).with_topic_partition(partition.clone()));
                }
                Position::Offset(_)
                | Position::Committed
                | Position::Beginning
                | Position::End
                | Position::Timestamp(_) => {}
            }
        }
        for partition in partitions.keys() {
            let topic = cluster.topic(partition.topic_name(), UNKNOWN_TOPIC).await?;
            let count = topic.partitions.len();
            if usize::try_from(partition.partition()).is_ok_and(|number| number < count) {
                continue;
            }
            let text = format!(
                "there is no partition {} of topic \"{}\": it has {count}, numbered from 0",
                partition.partition(),
                partition.topic()
            );
            return Err(Error::new(ErrorKind::Usage, text).with_topic_partition(partition.clone()));
        }
        let by_config = if settings.enable_auto_commit { CommitPolicy::Returned } else { CommitPolicy::Manual };
        let shared = Shared::new(Parts {
            policy: self.policy.unwrap_or(by_config),
            group,
            api_timeout,
            assignment: Assignment::new(partitions, settings.max_partition_fetch_bytes),
            on_event: self.on_event,
            settings,
            cluster,
        });
        // From here on dropping the consumer ends its tasks.
        let consumer = Consumer { control: ConsumerControl::new(shared.clone()) };
        shared.cluster.net().runtime.spawn(Box::pin(driver::run(shared.clone())));
        shared.until_settled().await?;
        Ok(consumer)
    }
}

/// Reads records of partitions: one by one with [`Consumer::next`], many at a time with [`Consumer::next_batch`], or as a stream.
///
/// Dropping it ends the reading and commits nothing; [`Consumer::close`] commits.
///
/// ```no_run
/// # async fn example(client: milena::Client) -> milena::Result<()> {
/// use milena::Position;
///
/// let mut consumer = client.reader().assign([(("orders", 0), Position::Beginning)]).build().await?;
/// while let Some(record) = consumer.next().await? {
///     println!("{}: {:?}", record.offset(), record.value());
/// }
/// # Ok(()) }
/// ```
#[must_use = "a consumer that is dropped reads nothing"]
pub struct Consumer {
    control: ConsumerControl,
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("control", &self.control).finish()
    }
}

impl Consumer {
    /// The next record of any partition, in order within each; waits for one. `None` after [`ConsumerControl::stop`].
    ///
    /// # Errors
    /// `Corrupt` for a batch that cannot be read, and `OffsetReset` for a position that is not in the log if `auto.offset.reset` is
    /// `none`: each names its partition and comes again and again for that partition, between the records of the others, until
    /// [`ConsumerControl::skip`] or [`ConsumerControl::seek`]. `Broker` for what a broker refuses, tried again by itself. `Usage`
    /// if offsets cannot be committed in the background because the group has members. `Closed` after the client was closed.
    ///
    /// # Cancel safety
    /// Dropping the future loses no record. It counts as a read: what earlier ones returned may be committed.
    pub async fn next(&mut self) -> Result<Option<ConsumerRecord>> {
        self.control.shared().next().await
    }

    /// At least one record and at most `max` (and `max.poll.records`); waits for the first, not for more. `None` after
    /// [`ConsumerControl::stop`].
    ///
    /// # Errors
    /// As [`Consumer::next`], and `Usage` if `max` is 0.
    ///
    /// # Cancel safety
    /// As [`Consumer::next`].
    pub async fn next_batch(&mut self, max: usize) -> Result<Option<Batch>> {
        self.control.shared().next_batch(max).await
    }

    /// The records as a stream.
    pub fn into_stream(self) -> RecordStream {
        let control = self.control.clone();
        let records = unfold(self, |mut consumer| async move {
            let item = consumer.next().await.transpose()?;
            Some((item, consumer))
        });
        RecordStream::new(control, records)
    }

    /// What can be done besides reading. Clone it to use it elsewhere.
    pub fn control(&self) -> &ConsumerControl {
        &self.control
    }

    /// Stores in the group that everything up to and including this is done; see [`ConsumerControl::commit`].
    ///
    /// # Errors
    /// As [`ConsumerControl::commit`].
    ///
    /// # Cancel safety
    /// The offsets may be stored all the same.
    pub async fn commit(&self, offsets: impl Into<Offsets>) -> Result<()> {
        self.control.commit(offsets).await
    }

    /// Ends the reading, and under [`CommitPolicy::Returned`] commits every record that was let go of. Records that are still
    /// held are not committed. Returns after `within` at the latest.
    ///
    /// # Errors
    /// If what is done could not be committed: it will be read again. The consumer is closed all the same.
    ///
    /// # Cancel safety
    /// The consumer is closed, and the offsets may or may not be stored.
    pub async fn close(self, within: Duration) -> Result<()> {
        let shared = self.control.shared();
        shared.lock().assignment.stop();
        // It counts as a later read.
        shared.lock().assignment.begin_read();
        let deadline = shared.now() + within;
        let stored = tokio::select! {
            biased;
            stored = shared.commit_done(deadline) => stored,
            () = shared.cluster.net().sleep_until(Some(deadline)) => {
                let text = format!("closing the consumer: offsets that are done were not committed within {within:?}");
                Err(Error::new(ErrorKind::TimedOut, text))
            }
        };
        shared.close();
        stored
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.control.shared().abandon();
    }
}

/// What users may do with these types across tasks.
const _: () = {
    const fn shared_between_tasks<T: Send + Sync + 'static>() {}
    const fn moved_between_tasks<T: Send + 'static>() {}
    const fn unpin<T: Unpin>() {}
    shared_between_tasks::<Consumer>();
    shared_between_tasks::<ConsumerControl>();
    shared_between_tasks::<ConsumerRecord>();
    shared_between_tasks::<Batch>();
    shared_between_tasks::<Offsets>();
    moved_between_tasks::<RecordView<'static>>();
    moved_between_tasks::<ConsumerBuilder>();
    moved_between_tasks::<RecordStream>();
    unpin::<RecordStream>();
};
