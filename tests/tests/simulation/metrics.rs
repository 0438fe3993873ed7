//! What a consumer says of itself, beside times that are known.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use milena::{
    ApiKey, CommitPolicy, ConsumerBuilder, ConsumerMetrics, ErrorCode, Rebalance, RebalanceListener, RebalanceReason,
    Record,
};
use milena_mock_broker::Fault;
use tokio::time::{Instant, sleep};

use crate::members::GROUP;
use crate::world::{World, run};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
/// More than a few requests and the pause before one is tried again take.
const ON_THE_WAY: Duration = Duration::from_millis(500);

/// When the listener was called.
#[derive(Clone, Default)]
struct Times(Arc<Mutex<Vec<(&'static str, Instant)>>>);

impl Times {
    fn note(&self, what: &'static str) {
        self.0.lock().unwrap().push((what, Instant::now()));
    }

    /// Waits until it was called so often.
    async fn until(&self, calls: usize) -> Vec<(&'static str, Instant)> {
        loop {
            let times = self.0.lock().unwrap().clone();
            if times.len() >= calls {
                return times;
            }
            sleep(MS).await;
        }
    }
}

#[async_trait::async_trait]
impl RebalanceListener for Times {
    async fn assigned(&self, _: &Rebalance<'_>) {
        self.note("assigned");
    }

    async fn revoked(&self, _: &Rebalance<'_>) {
        self.note("revoked");
    }
}

async fn write(world: &World, count: usize) {
    let producer = world.client().await.producer().build().await.unwrap();
    for _ in 0..count {
        producer.enqueue(Record::to("orders").partition(0).value("v")).await.unwrap().detach();
    }
    producer.flush().await.unwrap();
}

async fn member(world: &World) -> ConsumerBuilder {
    let builder = world.client().await.consumer(GROUP).subscribe(["orders"]).commit_policy(CommitPolicy::Manual);
    builder.session_timeout(6 * SECOND).heartbeat_interval(SECOND)
}

fn is_about(time: Duration, expected: Duration) -> bool {
    (expected..expected + ON_THE_WAY).contains(&time)
}

#[test]
fn a_rebalance_is_timed_from_learning_of_it_until_the_share_is_there() {
    run(1, async |world| {
        write(&world, 1).await;
        // The first JoinGroup only brings a name; the second waits.
        let slow = world.cluster.fault(Fault::on(ApiKey::JOIN_GROUP).nth(2).delay(5 * SECOND));
        let times = Times::default();
        let mut first = member(&world).await.assignors(["range"]).on_rebalance(times.clone()).build().await.unwrap();
        let held = first.next().await.unwrap().unwrap();
        assert_eq!(slow.hits(), 1);
        let metrics = first.control().metrics();
        assert_eq!(metrics.rebalances, [(RebalanceReason::Joined, 1)].into());
        assert!(is_about(metrics.rebalance_time.last, 5 * SECOND), "{metrics:?}");
        assert_eq!((metrics.held_records, metrics.records, metrics.assigned_partitions), (1, 1, 6));

        // Another one joins, and waits for the record that is held for seven seconds.
        let second = member(&world).await.assignors(["range"]).build().await.unwrap();
        times.until(2).await;
        sleep(7 * SECOND).await;
        drop(held);
        let times = times.until(3).await;
        let [_, (revoked, learnt), (assigned, done)] = times[..] else { panic!("{times:?}") };
        assert_eq!((revoked, assigned), ("revoked", "assigned"));
        let metrics = first.control().metrics();
        assert_eq!(metrics.rebalances, [(RebalanceReason::Joined, 1), (RebalanceReason::MemberChange, 1)].into());
        assert_eq!(metrics.rebalance_time.last, done - learnt);
        assert!(is_about(metrics.rebalance_time.last, 7 * SECOND), "{metrics:?}");
        assert_eq!(metrics.rebalance_time.count, 2);
        assert_eq!((metrics.held_records, metrics.assigned_partitions), (0, 3));
        second.close(SECOND).await.unwrap();
        first.close(SECOND).await.unwrap();
    });
}

#[test]
fn a_slow_reader_is_timed_exactly_and_held_records_and_the_lag_are_counted() {
    run(2, async |world| {
        write(&world, 20).await;
        let mut consumer = member(&world).await.build().await.unwrap();
        let control = consumer.control().clone();
        assert_eq!(control.metrics(), ConsumerMetrics::default());
        let first = consumer.next().await.unwrap().unwrap();
        for pause in [300, 100, 200] {
            sleep(pause * MS).await;
            drop(consumer.next().await.unwrap());
        }
        let between = control.metrics().between_reads;
        assert_eq!((between.count, between.last, between.longest), (3, 200 * MS, 300 * MS));
        assert_eq!((between.total, between.average()), (600 * MS, 200 * MS));

        let batch = consumer.next_batch(10).await.unwrap().unwrap();
        assert_eq!(batch.len(), 10);
        sleep(2 * SECOND).await;
        let metrics = control.metrics();
        assert_eq!((metrics.held_records, metrics.records, metrics.since_read), (11, 14, Some(2 * SECOND)));
        assert_eq!(metrics.lag.get(&("orders", 0).into()), Some(&6));
        assert_eq!(metrics.lag.values().sum::<u64>(), 6);
        assert!(metrics.fetched_bytes > 61);
        let one = batch.iter().nth(3).unwrap().to_owned();
        drop((batch, first));
        assert_eq!(control.metrics().held_records, 1);
        drop(one);

        drop(consumer.next_batch(100).await.unwrap());
        let reading = tokio::spawn(async move { consumer.next().await.map(|record| (record.is_none(), consumer)) });
        sleep(30 * SECOND).await;
        let metrics = control.metrics();
        assert_eq!((metrics.since_read, metrics.held_records), (None, 0), "a read waits");
        assert_eq!(metrics.lag.values().sum::<u64>(), 0);
        assert_eq!(metrics.between_reads.longest, 2 * SECOND);
        control.stop();
        let (stopped, consumer) = reading.await.unwrap().unwrap();
        assert!(stopped);
        consumer.close(SECOND).await.unwrap();
    });
}

#[test]
fn a_commit_is_timed_with_all_its_attempts_and_a_failed_one_is_counted_apart() {
    run(3, async |world| {
        write(&world, 3).await;
        let mut consumer = member(&world).await.build().await.unwrap();
        let record = consumer.next().await.unwrap().unwrap();
        let slow = world.cluster.fault(Fault::on(ApiKey::OFFSET_COMMIT).apply_then_delay(2 * SECOND));
        consumer.commit(&record).await.unwrap();
        assert_eq!(slow.hits(), 1);
        let commits = consumer.control().metrics().commits;
        assert!(commits.count == 1 && is_about(commits.last, 2 * SECOND), "{commits:?}");

        drop(record);
        let record = consumer.next().await.unwrap().unwrap();
        let loading = Fault::on(ApiKey::OFFSET_COMMIT).always().error(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
        let loading = world.cluster.fault(loading);
        consumer.control().commit_within(&record, 3 * SECOND).await.unwrap_err();
        assert!(loading.hits() > 1, "tried again");
        drop(loading);
        let metrics = consumer.control().metrics();
        assert_eq!((metrics.commits, metrics.failed_commits), (commits, 1));
        consumer.commit(&record).await.unwrap();
        assert_eq!(consumer.control().metrics().commits.count, 2);
        assert!(consumer.control().metrics().commits.last < ON_THE_WAY);
        drop(record);
        consumer.close(SECOND).await.unwrap();
    });
}
