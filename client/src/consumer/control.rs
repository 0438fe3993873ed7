//! What can be done with a consumer besides reading, from anywhere. IO.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::batch::Batch;
use super::coordinator;
use super::metrics::ConsumerMetrics;
use super::offsets::{CommittedOffset, Offsets};
use super::positions::Position;
use super::shared::Shared;
use super::subscription::Subscription;
use crate::cluster::UNKNOWN_TOPIC;
use crate::error::{Error, ErrorKind, Result};
use crate::topic_partition::TopicPartition;

/// Brokers log no more of a reason.
const MOST_REASON: usize = 255;

/// Controls a consumer: commit, seek, pause, stop, and questions about it. Clones are cheap and control the same consumer; they
/// may be used from any task, also while another reads.
///
/// After [`Consumer::close`](crate::Consumer::close) everything that would change something fails with `Closed`.
#[derive(Clone)]
pub struct ConsumerControl(Arc<Shared>);

impl std::fmt::Debug for ConsumerControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsumerControl").field("assignment", &self.assignment()).finish_non_exhaustive()
    }
}

impl ConsumerControl {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }

    /// Stores in the group that everything up to and including this is done: a record, a batch, a view, or [`Offsets`]. Returns
    /// when the group has it. Overlapping commits are stored in the order in which they were first polled; one that says less than
    /// an earlier one changes nothing, unless it is made of [`Offsets::at`] or the partition was moved elsewhere since.
    ///
    /// # Errors
    /// `Usage` if an earlier record of the partition is still held (the error names its offset), if more is claimed than was
    /// handed out, if there is no group, if the group has members, or if 1000 commits wait already; `PartitionLost` if a partition is
    /// not, or no longer, this consumer's, also if its topic was deleted and created again; `TimedOut` after
    /// `default.api.timeout.ms`; `Closed`; `Broker` with what the broker says. The offsets of other partitions may be stored.
    ///
    /// # Cancel safety
    /// The offsets may be stored all the same, in their turn: not after those of a later commit.
    pub async fn commit(&self, offsets: impl Into<Offsets>) -> Result<()> {
        // The record or batch is not needed any more: the future can outlive it.
        let offsets = offsets.into();
        self.commit_offsets(&offsets, self.0.api_timeout).await
    }

    /// The same, given up after `within` instead of `default.api.timeout.ms`.
    ///
    /// # Errors
    /// As [`ConsumerControl::commit`].
    ///
    /// # Cancel safety
    /// As [`ConsumerControl::commit`].
    pub async fn commit_within(&self, offsets: impl Into<Offsets>, within: Duration) -> Result<()> {
        let offsets = offsets.into();
        self.commit_offsets(&offsets, within).await
    }

    async fn commit_offsets(&self, offsets: &Offsets, within: Duration) -> Result<()> {
        self.0.open()?;
        self.0.group("committing offsets")?;
        let offsets = self.0.lock().assignment.check(offsets)?;
        let deadline = self.0.now().saturating_add(within);
        self.0.commit(offsets, deadline).await
    }

    /// Stores in the group what is done and not stored yet, whatever the [`CommitPolicy`](crate::CommitPolicy) does by itself: under
    /// `Acked` everything before the first record that is not acknowledged; else everything before the first that is held, without
    /// what the latest read returned. Returns when the group has it.
    ///
    /// # Errors
    /// As [`ConsumerControl::commit`].
    ///
    /// # Cancel safety
    /// The offsets may be stored all the same.
    pub async fn commit_done(&self) -> Result<()> {
        self.0.open()?;
        let deadline = self.0.now().saturating_add(self.0.api_timeout);
        self.0.commit_done_now(deadline).await
    }

    /// What the group has committed for each of these partitions, in their order: the next offset to read, or `None`. Asks the
    /// broker each time. Any partition may be asked for.
    ///
    /// # Errors
    /// `Usage` without a group; `Broker` if a topic does not exist or must not be read; `TimedOut` after
    /// `default.api.timeout.ms`; `Closed`.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn committed(&self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>> {
        let found = self.committed_offsets(partitions).await?;
        Ok(found.into_iter().map(|committed| committed.map(|committed| committed.offset)).collect())
    }

    /// The same with all that was committed: leader epoch and metadata.
    ///
    /// # Errors
    /// As [`ConsumerControl::committed`].
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn committed_offsets(&self, partitions: &[TopicPartition]) -> Result<Vec<Option<CommittedOffset>>> {
        self.0.open()?;
        let group = self.0.group("asking for committed offsets")?;
        // One that is named twice is asked for once.
        let asked: Vec<_> = partitions.iter().collect::<BTreeSet<_>>().into_iter().cloned().collect();
        for partition in &asked {
            self.0.cluster.topic(partition.topic_name(), UNKNOWN_TOPIC).await?;
        }
        let deadline = self.0.now().saturating_add(self.0.api_timeout);
        let found = coordinator::fetch_committed(&self.0.cluster, &group, &asked, deadline).await?;
        Ok(partitions.iter().map(|partition| found.get(partition).cloned().flatten()).collect())
    }

    /// The partitions that are read, in order.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.0.lock().assignment.names(|_| true)
    }

    /// The partitions that are paused, in order.
    pub fn paused(&self) -> Vec<TopicPartition> {
        self.0.lock().assignment.names(|paused| paused)
    }

    /// The offset of the next record to be handed out; `None` if the partition is not assigned, or the offset is still being
    /// found out.
    pub fn position(&self, partition: &TopicPartition) -> Option<i64> {
        let state = self.0.lock();
        state.assignment.get(partition)?.lease.position().map(|position| position.offset)
    }

    /// How many records there were between the position and the end of the partition when it was fetched last, those of open
    /// transactions and those that compaction removed included; `None` before the first fetch.
    pub fn lag(&self, partition: &TopicPartition) -> Option<i64> {
        self.0.lock().assignment.lag(partition)
    }

    /// What the consumer has done since it was built, and how it stands now. Looks at what is counted anyway; it asks no broker. Cheap
    /// enough for every scrape of a monitoring system, not for every record.
    pub fn metrics(&self) -> ConsumerMetrics {
        self.0.metrics()
    }

    /// Reads on behind a batch that could not be read: give it the error that a read returned. Its records are lost to this
    /// consumer. Without effect if reading goes on already.
    ///
    /// # Errors
    /// `Usage` if the error is not about a damaged batch; `PartitionLost` if its partition is not assigned; `Closed`.
    pub fn skip(&self, bad_batch: &Error) -> Result<()> {
        self.change(|shared| shared.lock().assignment.skip(bad_batch))
    }

    /// Hands out nothing of these partitions, and fetches nothing of them, until they are resumed. What was fetched waits. A group
    /// that takes a partition away ends the pause: if it comes back, also in the same rebalance, it is read again. Pause it in
    /// [`RebalanceListener::assigned`](crate::RebalanceListener::assigned) then.
    ///
    /// # Errors
    /// `PartitionLost` if one is not assigned, those before it are paused then; `Closed`.
    pub fn pause<'a>(&self, partitions: impl IntoIterator<Item = &'a TopicPartition>) -> Result<()> {
        self.change(|shared| {
            let mut state = shared.lock();
            partitions.into_iter().try_for_each(|partition| state.assignment.pause(partition))
        })
    }

    /// Goes on with paused partitions.
    ///
    /// # Errors
    /// `PartitionLost` if one is not assigned, those before it are resumed then; `Closed`.
    pub fn resume<'a>(&self, partitions: impl IntoIterator<Item = &'a TopicPartition>) -> Result<()> {
        self.change(|shared| {
            let mut state = shared.lock();
            partitions.into_iter().try_for_each(|partition| state.assignment.resume(partition))
        })
    }

    /// Reads this partition from elsewhere: the next record of it that is handed out comes from there. What must be asked of a
    /// broker is asked in the background.
    ///
    /// # Errors
    /// `PartitionLost` if it is not assigned; `Usage` for a negative offset, or for [`Position::Committed`] without a group;
    /// `Closed`.
    pub fn seek(&self, partition: &TopicPartition, to: Position) -> Result<()> {
        if to == Position::Committed {
            self.0.group("seeking to the committed offset")?;
        }
        self.change(|shared| shared.lock().assignment.seek(partition, to))
    }

    /// Reads this batch again, and everything that came after it in its partitions.
    ///
    /// # Errors
    /// `PartitionLost` if one of its partitions is not, or no longer, this consumer's; `Closed`.
    pub fn rewind(&self, batch: &Batch) -> Result<()> {
        self.change(|shared| shared.lock().assignment.rewind(batch))
    }

    /// Reads these topics and no others from now on, together with the other members of the group: what is owned of others is given
    /// up (by an eager consumer, everything), and the group divides anew.
    ///
    /// # Errors
    /// `Usage` if the consumer was not built with a subscription, no topic is named, or one cannot be; `Closed`.
    pub fn subscribe<S: Into<String>>(&self, topics: impl IntoIterator<Item = S>) -> Result<()> {
        let topics: BTreeSet<Arc<str>> = topics.into_iter().map(|topic| Arc::from(topic.into())).collect();
        self.change_subscription(|| Subscription::to_topics(topics))
    }

    /// Reads the topics whose names fit this pattern and no others from now on; see
    /// [`ConsumerBuilder::subscribe_pattern`](crate::ConsumerBuilder::subscribe_pattern).
    ///
    /// # Errors
    /// `Usage` if the consumer was not built with a subscription, or the pattern is none; `Closed`.
    pub fn subscribe_pattern(&self, pattern: &str) -> Result<()> {
        self.change_subscription(|| Subscription::to_pattern(pattern, !self.0.settings.exclude_internal_topics))
    }

    fn change_subscription(&self, subscription: impl FnOnce() -> Result<Subscription>) -> Result<()> {
        self.in_group("changing a subscription")?;
        let subscription = subscription()?;
        self.change(|shared| {
            shared.lock().member.subscription = Some(subscription);
            Ok(())
        })
    }

    /// Makes the group divide its partitions anew, although nothing has changed that it knows of: for an assignor that goes by
    /// something else. If a rebalance is under way, that is the one. `why` stands in the broker's log (KIP-800), at most 255 bytes of
    /// it. Returns at once; the listener hears of it, with
    /// [`RebalanceReason::Enforced`](crate::RebalanceReason::Enforced) here and `MemberChange` in the other members.
    ///
    /// # Errors
    /// `Usage` if the consumer was not built with a subscription; `Closed`.
    pub fn enforce_rebalance(&self, why: &str) -> Result<()> {
        self.in_group("asking for a rebalance")?;
        let end = (0..=MOST_REASON.min(why.len())).rev().find(|end| why.is_char_boundary(*end));
        let why = end.and_then(|end| why.get(..end)).unwrap_or_default().to_owned();
        self.change(|shared| {
            shared.lock().member.enforced = Some(why);
            Ok(())
        })
    }

    fn in_group(&self, doing: &str) -> Result<()> {
        if self.0.subscribes {
            return Ok(());
        }
        let text = format!(
            "{doing} needs a group that divides topics, and the consumer has partitions assigned to it: build it with `subscribe`"
        );
        Err(Error::new(ErrorKind::Usage, text))
    }

    /// Ends the reading: the read that is waiting, and every later one, returns `None`. Commits still work, and so does
    /// [`Consumer::close`](crate::Consumer::close).
    pub fn stop(&self) {
        self.0.lock().assignment.stop();
        self.0.wake_reader();
    }

    fn change(&self, change: impl FnOnce(&Shared) -> Result<()>) -> Result<()> {
        self.0.open()?;
        change(&self.0)?;
        self.0.wake_all();
        Ok(())
    }

    /// Starting from the committed offset needs a group to have committed one.
    pub(crate) fn refuse_committed(partition: &TopicPartition) -> Error {
        let text = format!(
            "{partition} cannot start at the committed offset without a group: make the consumer with Client::consumer(group), or \
             choose another Position"
        );
        Error::new(ErrorKind::Usage, text).with_topic_partition(partition.clone())
    }
}
