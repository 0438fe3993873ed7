//! All brokers are stopped and started, one after the other, while groups read: the application is shown nothing of it.
#![allow(clippy::print_stdout, reason = "how long it took is printed, not asserted")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use milena::{CommitPolicy, Consumer, Delivery, Record, Result};
use milena_tests::cluster::TestCluster;
use milena_tests::eventually::eventually;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::{Group, Told};
use crate::{GENEROUS, client, soon};

const PARTITIONS: i32 = 6;
const MEMBERS: usize = 3;

/// The longest time between two things of a kind.
#[derive(Default)]
struct Pace {
    last: Option<Instant>,
    longest: Duration,
}

impl Pace {
    fn beat(&mut self) {
        let now = Instant::now();
        if let Some(last) = self.last.replace(now) {
            self.longest = self.longest.max(now - last);
        }
    }
}

/// What a group processed.
#[derive(Default)]
struct Processed {
    /// What comes next, for each partition: everything before it was processed.
    next: BTreeMap<i32, i64>,
    repeats: usize,
    pace: Pace,
}

impl Processed {
    fn note(&mut self, partition: i32, offset: i64) {
        self.pace.beat();
        let next = self.next.entry(partition).or_default();
        assert!(offset <= *next, "partition {partition}: {offset} comes, {next} was skipped");
        self.repeats += usize::from(offset < *next);
        *next = (*next).max(offset + 1);
    }

    fn count(&self) -> i64 {
        self.next.values().sum()
    }
}

/// Three members, each with a client of its own, that read all the time.
struct Running {
    group: Group,
    processed: Arc<Mutex<Processed>>,
    /// What listeners heard, and events.
    told: Told,
    members: Vec<(milena::ConsumerControl, JoinHandle<Result<Consumer>>)>,
}

impl Running {
    async fn start(cluster: &Arc<TestCluster>, topic: &str, strategy: &str, policy: CommitPolicy) -> Result<Self> {
        let group = Group::reading(Arc::clone(cluster), topic.to_owned(), PARTITIONS).await;
        let processed = Arc::<Mutex<Processed>>::default();
        let told = Told::default();
        let mut members = Vec::new();
        for _ in 0..MEMBERS {
            let (heard, seen) = (told.clone(), Arc::clone(&processed));
            let builder = client(cluster).await.consumer(&group.name).subscribe([topic]).assignors([strategy]);
            let builder = builder.commit_policy(policy).auto_commit_interval(Duration::from_millis(100));
            let builder = builder.on_rebalance(told.clone()).on_event(move |event| heard.hear(format!("{event:?}")));
            let mut consumer = builder.heartbeat_interval(Duration::from_millis(500)).build().await?;
            let control = consumer.control().clone();
            let reading = tokio::spawn(async move {
                let mut read = 0;
                while let Some(record) = consumer.next().await? {
                    seen.lock().unwrap().note(record.partition(), record.offset());
                    read += 1;
                    match read % 50 {
                        0 => consumer.commit(&record).await?,
                        _ => record.ack(),
                    }
                }
                Ok(consumer)
            });
            members.push((control, reading));
        }
        let running = Self { group, processed, told, members };
        let controls: Vec<_> = running.members.iter().map(|(control, _)| control).collect();
        running.group.until_shared(&controls, &[2, 2, 2]).await;
        Ok(running)
    }

    fn count(&self) -> i64 {
        self.processed.lock().unwrap().count()
    }

    async fn until_processed(&self, count: i64) {
        eventually(&format!("{count} records"), async || {
            let ended = self.members.iter().any(|(_, reading)| reading.is_finished());
            (ended || self.count() >= count).then_some(())
        })
        .await;
        assert!(self.count() >= count, "a member has ended: its error comes when it is closed");
    }

    /// Closes the members, and says how it was.
    async fn close(self, ends: &[i64]) -> Result<String> {
        let (mut commits, mut slowest) = (0, Duration::ZERO);
        for (control, reading) in self.members {
            control.stop();
            let consumer = soon("the reader", reading).await.expect("no panic")?;
            soon("closing", consumer.close(GENEROUS)).await?;
            let metrics = control.metrics();
            assert_eq!(metrics.failed_commits, 0, "of those that nobody asked for, too");
            (commits, slowest) = (commits + metrics.commits.count, slowest.max(metrics.commits.longest));
        }
        let committed: Vec<i64> = self.group.committed().await.into_iter().flatten().collect();
        assert_eq!(committed, ends, "all is committed");
        let processed = self.processed.lock().unwrap();
        assert_eq!(processed.next.values().copied().collect::<Vec<_>>(), ends, "all is processed");
        let told = self.told.all();
        let is_usual = |told: &String| told.starts_with("assigned") || told.starts_with("revoked");
        assert!(told.iter().all(is_usual), "no partition was lost, and nothing happened to one: {told:?}");
        let (repeats, longest) = (processed.repeats, processed.pace.longest);
        let told = told.len();
        Ok(format!(
            "at most {longest:?} without a record, {repeats} repeated; {commits} commits, at most {slowest:?} each; {told} calls \
             of listeners"
        ))
    }
}

/// Writes a record to each partition every few milliseconds until it is told to stop; gives how many, and the longest time
/// between two acknowledgements, in the order of writing. The first that fails ends it.
async fn write_on(cluster: &TestCluster, topic: &str, mut stopped: watch::Receiver<bool>) -> Result<(i64, Duration)> {
    let producer = client(cluster).await.producer().build().await?;
    let (deliveries, mut unsettled) = mpsc::channel::<Delivery>(100_000);
    let settling = tokio::spawn(async move {
        let mut pace = Pace::default();
        while let Some(delivery) = unsettled.recv().await {
            delivery.await?;
            pace.beat();
        }
        Result::Ok(pace.longest)
    });
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let mut written = 0;
    while !*stopped.borrow_and_update() {
        ticks.tick().await;
        for partition in 0..PARTITIONS {
            let value = written.to_string();
            let delivery = producer.enqueue(Record::to(topic).partition(partition).value(&value)).await?;
            written += 1;
            if deliveries.send(delivery).await.is_err() {
                break; // it says why below
            }
        }
    }
    drop(deliveries);
    let longest = soon("every delivery", settling).await.expect("no panic")?;
    let report = producer.close(GENEROUS).await;
    assert_eq!((report.acked as i64, report.not_written, report.maybe_written), (written, 0, 0));
    Ok((written, longest))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_all_brokers_shows_the_application_no_error() -> Result<()> {
    let cluster = Arc::new(TestCluster::own().await);
    let topic = cluster.topic_with("rolling", PARTITIONS, &[("min.insync.replicas", "2")]).await;
    let groups = [
        Running::start(&cluster, &topic, "cooperative-sticky", CommitPolicy::Acked).await?,
        Running::start(&cluster, &topic, "range", CommitPolicy::Returned).await?,
    ];
    let (stop, stopped) = watch::channel(false);
    let writing = tokio::spawn({
        let (cluster, topic) = (Arc::clone(&cluster), topic.clone());
        async move { write_on(&cluster, &topic, stopped).await }
    });
    let until_more = async || {
        for group in &groups {
            group.until_processed(group.count() + 100).await;
        }
    };

    until_more().await;
    for broker in 1..=3 {
        cluster.stop(broker).await;
        until_more().await;
        cluster.restart(broker).await;
        cluster.until_all_in_sync(&topic).await;
        until_more().await;
    }
    stop.send_replace(true);
    let (written, longest) = soon("the writer", writing).await.expect("no panic")?;

    let mut ends = Vec::new();
    for partition in 0..PARTITIONS {
        ends.push(cluster.end(&topic, partition).await);
    }
    assert_eq!(ends.iter().sum::<i64>(), written, "each record is in the log once");
    println!("{written} records written, at most {longest:?} between two acknowledgements in order");
    for group in groups {
        group.until_processed(written).await;
        println!("{}", group.close(&ends).await?);
    }
    Ok(())
}
