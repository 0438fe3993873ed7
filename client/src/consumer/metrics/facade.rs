//! The same figures through the `metrics` crate, for whatever recorder the application installed. IO.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Label, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use super::ConsumerMetrics;
use crate::clock::Time;
use crate::consumer::rebalance::RebalanceReason;
use crate::consumer::shared::Shared;
use crate::topic_partition::TopicPartition;

const EVERY: Duration = Duration::from_secs(1);

const REBALANCE_LATENCY: &str = "kafka_consumer_rebalance_latency_seconds";
const COMMIT_LATENCY: &str = "kafka_consumer_commit_latency_seconds";

pub(crate) fn on_rebalance(shared: &Shared, reason: RebalanceReason, took: Duration) {
    histogram!(REBALANCE_LATENCY, with(&labels(shared), "reason", format!("{reason:?}"))).record(took);
}

pub(crate) fn on_commit(shared: &Shared, stored: bool, took: Duration) {
    if stored {
        histogram!(COMMIT_LATENCY, labels(shared)).record(took);
    }
}

/// Tells counters and gauges, every second as long as it lives, and at its end.
pub(crate) struct Publisher {
    shared: Arc<Shared>,
    labels: Vec<Label>,
    told: ConsumerMetrics,
    due: Time,
}

impl Publisher {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        describe();
        Self { shared: shared.clone(), labels: labels(shared), told: ConsumerMetrics::default(), due: Time::ZERO }
    }

    /// When the next turn is due.
    pub(crate) fn turn(&mut self, now: Time) -> Time {
        if self.due <= now {
            self.due = now.saturating_add(EVERY);
            let metrics = self.shared.metrics();
            self.tell(metrics);
        }
        self.due
    }

    /// Counters by what has come since: other consumers may share them.
    fn tell(&mut self, metrics: ConsumerMetrics) {
        let (labels, told) = (&self.labels, &self.told);
        for (name, now, before) in [
            ("kafka_consumer_rebalance_total", &metrics.rebalances, &told.rebalances),
            ("kafka_consumer_lost_total", &metrics.losses, &told.losses),
        ] {
            for (reason, count) in now {
                let new = count - before.get(reason).unwrap_or(&0);
                counter!(name, with(labels, "reason", format!("{reason:?}"))).increment(new);
            }
        }
        for (name, now, before) in [
            ("kafka_consumer_commit_total", metrics.commits.count, told.commits.count),
            ("kafka_consumer_failed_commit_total", metrics.failed_commits, told.failed_commits),
            ("kafka_consumer_read_total", metrics.between_reads.count, told.between_reads.count),
            ("kafka_consumer_records_consumed_total", metrics.records, told.records),
            ("kafka_consumer_fetched_bytes_total", metrics.fetched_bytes, told.fetched_bytes),
        ] {
            counter!(name, labels.clone()).increment(now - before);
        }
        for (name, value) in [
            ("kafka_consumer_time_between_reads_seconds", metrics.between_reads.last.as_secs_f64()),
            ("kafka_consumer_time_between_reads_max_seconds", metrics.between_reads.longest.as_secs_f64()),
            ("kafka_consumer_last_read_seconds_ago", metrics.since_read.unwrap_or_default().as_secs_f64()),
            ("kafka_consumer_records_held", metrics.held_records as f64),
            ("kafka_consumer_assigned_partitions", metrics.assigned_partitions as f64),
        ] {
            gauge!(name, labels.clone()).set(value);
        }
        let lag = |partition: &TopicPartition, lag: u64| {
            let labels = with(labels, "topic", partition.topic().to_owned());
            let labels = with(&labels, "partition", partition.partition().to_string());
            gauge!("kafka_consumer_records_lag", labels).set(lag as f64);
        };
        for gone in told.lag.keys().filter(|partition| !metrics.lag.contains_key(partition)) {
            lag(gone, 0);
        }
        metrics.lag.iter().for_each(|(partition, records)| lag(partition, *records));
        self.told = metrics;
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let last = self.shared.metrics();
        self.tell(ConsumerMetrics {
            since_read: None,
            held_records: 0,
            assigned_partitions: 0,
            lag: Default::default(),
            ..last
        });
    }
}

fn labels(shared: &Shared) -> Vec<Label> {
    let client_id = shared.cluster.net().limits.client_id.clone();
    let group = shared.group.as_deref().unwrap_or_default().to_owned();
    vec![Label::new("client_id", client_id), Label::new("group", group)]
}

fn with(labels: &[Label], name: &'static str, value: String) -> Vec<Label> {
    labels.iter().cloned().chain([Label::new(name, value)]).collect()
}

/// In the words of [`ConsumerMetrics`].
fn describe() {
    describe_counter!("kafka_consumer_rebalance_total", "how often the group gave the consumer its share");
    describe_histogram!(REBALANCE_LATENCY, Unit::Seconds, "from learning of a rebalance to the new share");
    describe_counter!("kafka_consumer_lost_total", "how often everything was lost without a revocation");
    describe_counter!("kafka_consumer_commit_total", "commits that the group stored");
    describe_histogram!(COMMIT_LATENCY, Unit::Seconds, "from a commit that was stored to its answer");
    describe_counter!("kafka_consumer_failed_commit_total", "commits that ended in an error");
    describe_counter!("kafka_consumer_read_total", "reads of the application, without the first");
    describe_gauge!("kafka_consumer_time_between_reads_seconds", Unit::Seconds, "between the last two reads");
    describe_gauge!("kafka_consumer_time_between_reads_max_seconds", Unit::Seconds, "between any two reads");
    describe_gauge!("kafka_consumer_last_read_seconds_ago", Unit::Seconds, "since the last read, 0 while one waits");
    describe_counter!("kafka_consumer_records_consumed_total", Unit::Count, "records that were handed out");
    describe_counter!("kafka_consumer_fetched_bytes_total", Unit::Bytes, "record batches fetched, compressed");
    describe_gauge!("kafka_consumer_records_held", Unit::Count, "records that the application still has");
    describe_gauge!("kafka_consumer_assigned_partitions", Unit::Count, "partitions that are assigned");
    describe_gauge!("kafka_consumer_records_lag", Unit::Count, "records between the position and the end");
}
