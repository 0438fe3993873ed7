//! The consumer: reads assigned partitions, and commits how far they are done. IO.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::unfold;

use crate::client::Client;
use crate::cluster::{Cluster, UNKNOWN_TOPIC};
use crate::config::{AutoOffsetReset, Config, IsolationLevel, consumer_setters};
use crate::error::{Error, ErrorKind, Result};
use crate::topic_partition::TopicPartition;

mod assignment;
mod assignor;
mod batch;
mod commit_queue;
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
mod first_sight;
mod group_choice;
mod group_member;
mod hand_out;
mod holds;
mod lease;
mod list_offsets;
mod listener;
mod membership;
mod metrics;
mod offsets;
mod positions;
mod rebalance;
mod shared;
mod stream;
mod subscription;

pub use self::assignor::{Assignments, Assignor, AssignorError, Member, Owned, RebalanceProtocol, Topics};
pub use self::batch::{Batch, ConsumerRecord, Headers, Iter, RecordView};
pub use self::commits::CommitPolicy;
pub use self::control::ConsumerControl;
pub use self::event::ConsumerEvent;
pub use self::listener::{Rebalance, RebalanceListener};
pub use self::metrics::{ConsumerMetrics, Timing};
pub use self::offsets::{CommittedOffset, Offsets};
pub use self::positions::Position;
pub use self::rebalance::RebalanceReason;
pub use self::stream::RecordStream;

pub(crate) use self::group_choice::GroupChoice;
use self::group_member::GroupMember;
use self::rebalance::Departure;
use self::shared::{Closing, OnEvent, Parts, Shared};
use self::subscription::Subscription;

/// Settings and partitions of a [`Consumer`].
#[must_use = "a builder does nothing until `build`"]
pub struct ConsumerBuilder {
    client: Client,
    config: Config,
    group: GroupChoice,
    assigned: Vec<(TopicPartition, Position)>,
    subscribed: Option<BTreeSet<Arc<str>>>,
    pattern: Option<String>,
    assignors: Vec<Arc<dyn Assignor>>,
    listener: Option<Arc<dyn RebalanceListener>>,
    policy: Option<CommitPolicy>,
    on_event: Option<OnEvent>,
}

impl fmt::Debug for ConsumerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config, group, assigned, subscribed, pattern, policy, .. } = self;
        let mut debug = f.debug_struct("ConsumerBuilder");
        debug.field("group", group).field("assigned", assigned).field("subscribed", subscribed);
        debug.field("pattern", pattern).field("policy", policy).field("config", config).finish_non_exhaustive()
    }
}

impl ConsumerBuilder {
    pub(crate) fn new(client: Client, config: Config, group: GroupChoice) -> Self {
        Self {
            client,
            config,
            group,
            assigned: Vec::new(),
            subscribed: None,
            pattern: None,
            assignors: Vec::new(),
            listener: None,
            policy: None,
            on_event: None,
        }
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

    /// Reads these topics together with the other members of the group, each partition read by one of them. Topics that do not
    /// exist are waited for. May be called several times; not together with [`ConsumerBuilder::assign`].
    pub fn subscribe<S: Into<String>>(mut self, topics: impl IntoIterator<Item = S>) -> Self {
        let topics = topics.into_iter().map(|topic| Arc::from(topic.into()));
        self.subscribed.get_or_insert_default().extend(topics);
        self
    }

    /// Reads all topics whose whole names fit this pattern, such as `orders-.*`, together with the other members of the group. Which
    /// do is looked up at once and every `metadata.max.age.ms`: topics that come are read, those that are deleted are not any more; what
    /// comes is read from its beginning, also where `auto.offset.reset` says `latest`.
    /// Kafka's internal topics fit no pattern unless `exclude.internal.topics` is off. The syntax is that of the crate
    /// [`regex-lite`](https://docs.rs/regex-lite): without look-around and backreferences, so that matching takes no time. Not together
    /// with [`ConsumerBuilder::subscribe`].
    pub fn subscribe_pattern(mut self, pattern: impl Into<String>) -> Self {
        self.pattern = Some(pattern.into());
        self
    }

    /// How the group divides its partitions, by the names of assignors, the preferred one first: `range`, `roundrobin`, `sticky`,
    /// `cooperative-sticky`, and those registered with [`ConsumerBuilder::register_assignor`]. The group uses one that all its
    /// members have. If all of these are cooperative, the consumer reads on what it keeps while the group rebalances; else every
    /// rebalance takes everything from it first. A group changes from `range` to `cooperative-sticky` in two rolling restarts, the
    /// first with both. Default: `cooperative-sticky`. Property: `partition.assignment.strategy`.
    pub fn assignors<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        self.config.consumer.partition_assignment_strategy = Some(names);
        self
    }

    /// Adds an assignor, which can then be chosen by its name.
    pub fn register_assignor(mut self, assignor: impl Assignor) -> Self {
        self.assignors.push(Arc::new(assignor));
        self
    }

    /// Tells this listener when the group gives partitions and takes them away.
    pub fn on_rebalance(mut self, listener: impl RebalanceListener) -> Self {
        self.listener = Some(Arc::new(listener));
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

    /// Makes the consumer. With assigned partitions, every one is known to exist when it returns, and where to start is decided. With
    /// a subscription it returns at once, and the group is joined in the background.
    ///
    /// # Errors
    /// `Config` for settings that are out of range or contradict each other, for a `group.id` that is not the group of the consumer,
    /// and for an assignor that is not known; `Usage` for a subscription without a group or together with assigned partitions, if
    /// there is neither, if a partition does not exist (the error says how many there are), for a negative offset, or for
    /// [`Position::Committed`] without a group;
    /// `Broker` with `UNKNOWN_TOPIC_OR_PARTITION` for a topic that does not exist after 10 s, and with whatever else a broker
    /// objects; `TimedOut` if a position could not be found within `default.api.timeout.ms`; `Closed` if the client is closed.
    ///
    /// # Cancel safety
    /// Dropping the future makes no consumer; the topics that it named stay in view for a while.
    pub async fn build(self) -> Result<Consumer> {
        let settings = self.config.consumer()?;
        let client = self.config.client()?;
        let (api_timeout, rack) = (client.default_api_timeout, client.client_rack);
        let cluster = self.client.cluster().clone();
        if cluster.is_closed() {
            return Err(Error::closed("client"));
        }
        let group = self.group.resolve(settings.group_id.clone())?;
        let partitions: BTreeMap<TopicPartition, Position> = self.assigned.into_iter().collect();
        let subscription = match (self.subscribed, self.pattern) {
            (None, None) => None,
            (Some(topics), None) => Some(Subscription::to_topics(topics)?),
            (None, Some(pattern)) => Some(Subscription::to_pattern(&pattern, !settings.exclude_internal_topics)?),
            (Some(_), Some(_)) => {
                let text = "the consumer subscribes to both: name its topics, or give a pattern for all of them";
                return Err(Error::new(ErrorKind::Usage, text));
            }
        };
        let member = match subscription {
            Some(subscription) => {
                check_subscriber(&partitions, group.is_some())?;
                let strategies = assignor::choose(&settings.partition_assignment_strategy, &self.assignors)?;
                Some((subscription, strategies))
            }
            None => None,
        };
        if member.is_none() {
            check_start(&partitions, group.is_some())?;
            check_partitions(&cluster, &partitions).await?;
        }
        let by_config = if settings.enable_auto_commit { CommitPolicy::Returned } else { CommitPolicy::Manual };
        let shared = Shared::new(Parts {
            policy: self.policy.unwrap_or(by_config),
            group,
            api_timeout,
            partitions: member.is_none().then_some(partitions),
            on_event: self.on_event,
            settings,
            cluster,
        });
        // From here on dropping the consumer ends its tasks.
        let consumer = Consumer { control: ConsumerControl::new(shared.clone()) };
        let member = member.map(|(subscription, strategies)| {
            GroupMember::new(&shared, subscription, strategies, rack.clone(), self.listener)
        });
        let subscribes = member.is_some();
        shared.cluster.net().runtime.spawn(Box::pin(driver::run(shared.clone(), member)));
        if !subscribes {
            shared.until_settled().await?;
        }
        Ok(consumer)
    }
}

fn check_subscriber(assigned: &BTreeMap<TopicPartition, Position>, has_group: bool) -> Result<()> {
    let refuse = |text: &str| Err(Error::new(ErrorKind::Usage, text));
    if !assigned.is_empty() {
        return refuse("the consumer has both: assign partitions to it, or subscribe to topics");
    }
    if !has_group {
        return refuse(
            "only a group can divide the topics it subscribes to: make the consumer with Client::consumer(group)",
        );
    }
    Ok(())
}

fn check_start(partitions: &BTreeMap<TopicPartition, Position>, has_group: bool) -> Result<()> {
    if partitions.is_empty() {
        return Err(Error::new(
            ErrorKind::Usage,
            "the consumer has nothing to read: subscribe to topics, or assign partitions to it",
        ));
    }
    for (partition, position) in partitions {
        match position {
            Position::Committed if !has_group => return Err(ConsumerControl::refuse_committed(partition)),
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
    Ok(())
}

async fn check_partitions(cluster: &Cluster, partitions: &BTreeMap<TopicPartition, Position>) -> Result<()> {
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
    Ok(())
}

/// Reads records of partitions, assigned ones or the share that a group gives it: one by one with [`Consumer::next`], many at a time with [`Consumer::next_batch`], or as a stream.
///
/// Dropping it ends the reading and commits nothing; [`Consumer::close`] commits. A member of a group leaves it either way, unless
/// it is static.
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
    /// [`ConsumerControl::skip`] or [`ConsumerControl::seek`]. `Broker` for what a broker refuses, tried again by itself, or for what
    /// the coordinator refuses a member, tried again at the read after. `Fenced`, for good, if another member with the same
    /// `group.instance.id` took this one's place. `UserCode` for a listener or an assignor that failed.
    /// `Usage` if offsets cannot be committed in the background because the group has members. `Closed` after the client was
    /// closed.
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
        // An error that closes the consumer is the last item: whoever logs errors and goes on must come to an end.
        let records = unfold(Some(self), |consumer| async move {
            let mut consumer = consumer?;
            let item = consumer.next().await.transpose()?;
            let is_last = item.as_ref().is_err_and(Error::is_fatal);
            Some((item, (!is_last).then_some(consumer)))
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

    /// Ends the reading, and unless the policy is [`CommitPolicy::Manual`] commits what is done: under `Returned` every record that
    /// was let go of. Records that are still held are not committed. A member of a group is told that its partitions are revoked
    /// and leaves the group, so that the others take over at once; a static member (`group.instance.id`) stays in it. Returns after
    /// `within` at the latest.
    ///
    /// # Errors
    /// If what is done could not be committed: it will be read again. The consumer is closed all the same.
    ///
    /// # Cancel safety
    /// The consumer is closed, and the offsets may or may not be stored.
    pub async fn close(self, within: Duration) -> Result<()> {
        self.end(within, Departure::Usual).await
    }

    /// The same without leaving the group (KIP-1092): its partitions stay without a reader until `session.timeout.ms` is over, or
    /// the group divides them anew for another reason. For a consumer that comes back soon.
    ///
    /// # Errors
    /// As [`Consumer::close`].
    ///
    /// # Cancel safety
    /// As [`Consumer::close`].
    pub async fn close_and_stay(self, within: Duration) -> Result<()> {
        self.end(within, Departure::Stay).await
    }

    /// The same, and a static member leaves its group too (KIP-1092): for one that does not come back.
    ///
    /// # Errors
    /// As [`Consumer::close`].
    ///
    /// # Cancel safety
    /// As [`Consumer::close`].
    pub async fn close_and_leave(self, within: Duration) -> Result<()> {
        self.end(within, Departure::Leave).await
    }

    async fn end(self, within: Duration, departure: Departure) -> Result<()> {
        let shared = self.control.shared();
        let deadline = shared.now().saturating_add(within);
        {
            let mut state = shared.lock();
            state.assignment.stop();
            // It counts as a later read.
            state.assignment.begin_read();
            state.member.closing = Some(Closing { departure, deadline });
        }
        let done = async {
            if !shared.subscribes {
                return shared.commit_done(deadline).await;
            }
            shared.driver.notify_one();
            // The sender is in `shared`, so the channel cannot be closed.
            let _ = shared.gone.subscribe().wait_for(|gone| *gone).await;
            let mut state = shared.lock();
            let closed = state.member.closed.take();
            closed.unwrap_or_else(|| Err(state.why_it_ended()))
        };
        tokio::select! {
            biased;
            stored = done => stored,
            () = shared.cluster.net().sleep_until(Some(deadline)) => {
                let text = format!("closing the consumer: offsets that are done were not committed within {within:?}");
                // The commit may be done, and only the group did not let go.
                let closed = shared.lock().member.closed.take();
                closed.unwrap_or_else(|| Err(Error::new(ErrorKind::TimedOut, text)))
            }
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let shared = self.control.shared();
        let closing = shared.lock().member.closing;
        match closing {
            Some(_) => shared.close(),
            None => shared.abandon(),
        }
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
    shared_between_tasks::<Rebalance<'static>>();
    unpin::<RecordStream>();
};
