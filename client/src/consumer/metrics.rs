//! What a consumer counts and times about itself. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::assignment::Assignment;
use super::rebalance::RebalanceReason;
use crate::clock::Time;
use crate::topic_partition::TopicPartition;

#[cfg(feature = "metrics")]
pub(crate) mod facade;
mod pace;

use self::pace::Pace;

/// What a consumer has done since it was built, and how it stands now; from
/// [`ConsumerControl::metrics`](crate::ConsumerControl::metrics). More may come.
///
/// # Through the `metrics` crate
///
/// With the cargo feature `metrics` the same goes to whatever recorder is installed through the crate
/// [`metrics`](https://docs.rs/metrics): counters and gauges every second and once more when the consumer ends, histograms when
/// something happened. Everything has the labels `client_id` and `group` (empty without one); consumers of one process that share
/// both add up in counters and histograms, and overwrite each other's gauges, so give each a `client.id` of its own. The feature is off
/// by default, and costs nothing then.
///
/// | Name | Kind | More labels | What |
/// |---|---|---|---|
/// | `kafka_consumer_rebalance_total` | counter | `reason` | [`rebalances`](Self::rebalances) |
/// | `kafka_consumer_rebalance_latency_seconds` | histogram | `reason` | [`rebalance_time`](Self::rebalance_time) |
/// | `kafka_consumer_lost_total` | counter | `reason` | [`losses`](Self::losses) |
/// | `kafka_consumer_commit_total` | counter | | [`commits`](Self::commits) |
/// | `kafka_consumer_commit_latency_seconds` | histogram | | [`commits`](Self::commits) |
/// | `kafka_consumer_failed_commit_total` | counter | | [`failed_commits`](Self::failed_commits) |
/// | `kafka_consumer_read_total` | counter | | [`between_reads`](Self::between_reads) |
/// | `kafka_consumer_time_between_reads_seconds` | gauge | | its `last` |
/// | `kafka_consumer_time_between_reads_max_seconds` | gauge | | its `longest` |
/// | `kafka_consumer_last_read_seconds_ago` | gauge | | [`since_read`](Self::since_read), 0 while a read waits |
/// | `kafka_consumer_records_consumed_total` | counter | | [`records`](Self::records) |
/// | `kafka_consumer_fetched_bytes_total` | counter | | [`fetched_bytes`](Self::fetched_bytes) |
/// | `kafka_consumer_records_held` | gauge | | [`held_records`](Self::held_records) |
/// | `kafka_consumer_assigned_partitions` | gauge | | [`assigned_partitions`](Self::assigned_partitions) |
/// | `kafka_consumer_records_lag` | gauge | `topic`, `partition` | [`lag`](Self::lag); 0 of a partition that is not this consumer's any more |
///
/// A `reason` is the name of a [`RebalanceReason`], such as `MemberChange`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerMetrics {
    /// How often the group gave this consumer its share, by reason: once for each generation. A cooperative rebalance that moves
    /// partitions away from this consumer is two.
    pub rebalances: BTreeMap<RebalanceReason, u64>,
    /// The same, timed: from when the consumer learned that it needs another share, or began to join, until it had it. Giving up
    /// partitions is a part of it, and so is waiting for the other members; the listener's `assigned` is not. A cooperative
    /// consumer reads on meanwhile.
    pub rebalance_time: Timing,
    /// How often everything was lost without a revocation, by reason.
    pub losses: BTreeMap<RebalanceReason, u64>,
    /// Commits that the group stored, by the application and in the background: from the call until the answer, waiting for earlier
    /// commits and all attempts included. Those in the background that find nothing new do not count.
    pub commits: Timing,
    /// Commits that ended in an error, for whatever partition. What passes by itself and is tried again is none.
    pub failed_commits: u64,
    /// From the end of one read until the next begins: what the application does with the records. What a read itself waits is not
    /// in it. Reads that follow each other within microseconds are timed together, up to 64 of them.
    pub between_reads: Timing,
    /// How long ago the last read ended: what `max.poll.interval.ms` is about if the application holds records. `None` while a read
    /// waits, and before the first.
    pub since_read: Option<Duration>,
    /// Records that were handed out.
    pub records: u64,
    /// Record batches that were fetched for the current positions, in bytes as they came, compressed.
    pub fetched_bytes: u64,
    /// Records that the application still has, of partitions that are assigned.
    pub held_records: u64,
    /// Partitions that are assigned.
    pub assigned_partitions: usize,
    /// For each partition that was fetched, how many records there were between the position and the end when it was fetched last.
    /// The end is the high watermark, with `isolation.level=read_committed` too: records of open and aborted transactions
    /// count, and so do transaction markers and what compaction removed. So the lag of a log that ends in markers is above 0 until
    /// they were passed.
    pub lag: BTreeMap<TopicPartition, u64>,
}

/// How often something happened, and how long it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// How often.
    pub count: u64,
    /// How long it took the last time.
    pub last: Duration,
    /// The longest of all times.
    pub longest: Duration,
    /// All times together.
    pub total: Duration,
}

impl Timing {
    /// The mean of all times; zero if there was none.
    pub fn average(&self) -> Duration {
        mean(self.total, self.count)
    }

    fn add(&mut self, took: Duration) {
        self.add_together(took, 1);
    }

    /// So many in a row, which took so long together; any of them may have taken nearly all of it.
    fn add_together(&mut self, took: Duration, count: u64) {
        self.count += count;
        self.last = mean(took, count);
        self.longest = self.longest.max(took);
        self.total = self.total.saturating_add(took);
    }
}

fn mean(total: Duration, count: u64) -> Duration {
    let nanoseconds = total.as_nanos() / u128::from(count.max(1));
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

/// Counts as it happens.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    so_far: ConsumerMetrics,
    pub(crate) pace: Pace,
}

impl Tally {
    pub(crate) fn on_rebalance(&mut self, reason: RebalanceReason, took: Duration) {
        *self.so_far.rebalances.entry(reason).or_default() += 1;
        self.so_far.rebalance_time.add(took);
    }

    pub(crate) fn on_lost(&mut self, reason: RebalanceReason) {
        *self.so_far.losses.entry(reason).or_default() += 1;
    }

    pub(crate) fn on_commit(&mut self, stored: bool, took: Duration) {
        match stored {
            true => self.so_far.commits.add(took),
            false => self.so_far.failed_commits += 1,
        }
    }

    pub(crate) fn on_fetched(&mut self, bytes: usize) {
        self.so_far.fetched_bytes += u64::try_from(bytes).unwrap_or(0);
    }

    /// Everything up to now.
    pub(crate) fn look(&self, assignment: &Assignment, now: Time) -> ConsumerMetrics {
        let lag = assignment.partitions.iter().filter_map(|partition| {
            let lag = assignment.lag(&partition.name)?;
            Some((partition.name.clone(), u64::try_from(lag).unwrap_or(0)))
        });
        ConsumerMetrics {
            between_reads: self.pace.timing(),
            since_read: self.pace.since_read(now),
            records: assignment.handed_out,
            held_records: assignment.partitions.iter().map(|partition| partition.lease.held()).sum(),
            assigned_partitions: assignment.partitions.len(),
            lag: lag.collect(),
            ..self.so_far.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_timing_has_the_last_the_longest_and_all_together() {
        let mut timing = Timing::default();
        assert_eq!(timing.average(), Duration::ZERO);
        for took in [3, 10, 2] {
            timing.add(took * MS);
        }
        assert_eq!(timing, Timing { count: 3, last: 2 * MS, longest: 10 * MS, total: 15 * MS });
        assert_eq!(timing.average(), 5 * MS);

        timing.add_together(20 * MS, 4);
        assert_eq!(timing, Timing { count: 7, last: 5 * MS, longest: 20 * MS, total: 35 * MS });
    }

    #[test]
    fn failed_commits_are_counted_apart_and_do_not_count_as_slow_ones() {
        let mut tally = Tally::default();
        tally.on_commit(true, 5 * MS);
        tally.on_commit(false, 60_000 * MS);

        assert_eq!((tally.so_far.failed_commits, tally.so_far.commits.longest), (1, 5 * MS));
    }

    #[test]
    fn rebalances_and_losses_are_counted_by_reason() {
        let mut tally = Tally::default();
        tally.on_rebalance(RebalanceReason::Joined, 7 * MS);
        tally.on_rebalance(RebalanceReason::MemberChange, 3 * MS);
        tally.on_rebalance(RebalanceReason::MemberChange, 4 * MS);
        tally.on_lost(RebalanceReason::SessionExpired);

        let counted = tally.so_far;
        assert_eq!(counted.rebalances, [(RebalanceReason::Joined, 1), (RebalanceReason::MemberChange, 2)].into());
        assert_eq!(counted.losses, [(RebalanceReason::SessionExpired, 1)].into());
        assert_eq!((counted.rebalance_time.last, counted.rebalance_time.total), (4 * MS, 14 * MS));
    }
}
