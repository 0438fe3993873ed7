//! Members of a group that note what happens to them and what they do, and can stand still and die.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use milena::{
    CommitPolicy, Consumer, ConsumerControl, ConsumerRecord, Delivery, Error, ErrorKind, Offsets, Producer, Rebalance,
    RebalanceListener, Record, TopicPartition,
};
use milena_mock_broker::MockCluster;
use milena_tests::checker::{self, Event, Figures, Invariant, Report, Truth, What};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::process::Process;
use crate::world::{Random, World};

pub(crate) const GROUP: &str = "group";
pub(crate) const SESSION: Duration = Duration::from_secs(6);
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(1);

/// How a member of a scenario behaves.
#[derive(Clone)]
pub(crate) struct Manner {
    pub(crate) policy: CommitPolicy,
    pub(crate) strategy: &'static str,
    /// How long it works on a record at most.
    pub(crate) hold: Duration,
    /// The name of a static member.
    pub(crate) instance: Option<String>,
    pub(crate) max_poll_interval: Duration,
    /// Where it writes what it reads. A record is done when it is written there.
    pub(crate) to: Option<&'static str>,
}

impl Manner {
    pub(crate) fn new(policy: CommitPolicy, strategy: &'static str, hold: Duration) -> Self {
        Self { policy, strategy, hold, instance: None, max_poll_interval: Duration::from_secs(300), to: None }
    }
}

/// What happens in a group that reads one topic.
#[derive(Clone)]
pub(crate) struct Log(Arc<Shared>);

struct Shared {
    cluster: MockCluster,
    group: &'static str,
    topic: &'static str,
    start: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    events: Vec<Event>,
    committed: BTreeMap<TopicPartition, i64>,
    processed: BTreeSet<(i32, i64)>,
    /// What a process does while it is killed is not its doing.
    dead: BTreeSet<usize>,
    /// Errors that reads and commits returned. None should be.
    shown: Vec<String>,
    lost: usize,
}

impl Log {
    pub(crate) fn new(world: &World) -> Self {
        Self::of(world, GROUP, "orders")
    }

    pub(crate) fn of(world: &World, group: &'static str, topic: &'static str) -> Self {
        let (cluster, state) = (world.cluster.clone(), Mutex::default());
        Self(Arc::new(Shared { cluster, group, topic, start: Instant::now(), state }))
    }

    pub(crate) fn note(&self, member: usize, what: What) {
        let mut state = self.0.state.lock().unwrap();
        if state.dead.contains(&member) {
            return;
        }
        // What is committed by now was committed before this.
        self.look_into(&mut state);
        match &what {
            What::Processed(partition, offset) => {
                state.processed.insert((partition.partition(), *offset));
            }
            What::Lost(_) => state.lost += 1,
            _ => {}
        }
        state.events.push(Event { at: self.0.start.elapsed(), member, what });
    }

    /// Notes what the group has committed.
    pub(crate) fn look(&self) {
        self.look_into(&mut self.0.state.lock().unwrap());
    }

    fn look_into(&self, state: &mut State) {
        let at = self.0.start.elapsed();
        for (topic, partition, offset) in self.0.cluster.group(self.0.group).committed_offsets() {
            let partition = TopicPartition::new(topic, partition);
            if state.committed.insert(partition.clone(), offset) != Some(offset) {
                state.events.push(Event { at, member: 0, what: What::Committed(partition, offset) });
            }
        }
    }

    fn show(&self, member: usize, error: &Error) {
        let mut state = self.0.state.lock().unwrap();
        if !state.dead.contains(&member) {
            state.shown.push(format!("member {member}: {error} ({:?})", error.kind()));
        }
    }

    fn committed(&self, partition: &TopicPartition) -> Option<i64> {
        self.0.cluster.group(self.0.group).committed(partition.topic(), partition.partition())
    }

    /// How many different records were processed.
    pub(crate) fn processed(&self) -> usize {
        self.0.state.lock().unwrap().processed.len()
    }

    /// How often a listener was told `lost`.
    pub(crate) fn lost(&self) -> usize {
        self.0.state.lock().unwrap().lost
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.0.state.lock().unwrap().events.clone()
    }

    fn partitions(&self) -> std::ops::Range<i32> {
        0..self.0.cluster.partition_count(self.0.topic).expect("the topic is there")
    }

    /// Whether all that is written is processed and committed.
    pub(crate) fn is_done(&self) -> bool {
        self.look();
        let end = |partition| self.0.cluster.partition(self.0.topic, partition).high_watermark();
        let committed = |partition| self.committed(&TopicPartition::new(self.0.topic, partition)).unwrap_or(0);
        self.partitions().all(|partition| committed(partition) == end(partition))
            && self.processed() as i64 == self.partitions().map(end).sum::<i64>()
    }

    /// Waits until all that is written is processed and committed.
    pub(crate) async fn done(&self) {
        let began = Instant::now();
        while !self.is_done() {
            assert!(began.elapsed() < 100 * SESSION, "not all is done: {}", self.report());
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn report(&self) -> Report {
        let mut truth = Truth::new();
        for partition in self.partitions() {
            let records = self.0.cluster.partition(self.0.topic, partition).records();
            let text = |value: Option<bytes::Bytes>| String::from_utf8(value.unwrap_or_default().to_vec()).unwrap();
            let records = records.into_iter().map(|record| (record.offset, text(record.value)));
            truth.insert(TopicPartition::new(self.0.topic, partition), records.collect());
        }
        checker::check(&self.events(), &truth, Duration::ZERO)
    }

    /// What the checker says, and that no error was shown to the application.
    #[track_caller]
    pub(crate) fn check(&self) -> Figures {
        self.look();
        self.judge(self.report())
    }

    /// The same of members that have not read all yet.
    #[track_caller]
    pub(crate) fn check_so_far(&self) -> Figures {
        self.look();
        let mut report = self.report();
        report.violations.retain(|violation| violation.invariant != Invariant::I14);
        self.judge(report)
    }

    #[track_caller]
    fn judge(&self, report: Report) -> Figures {
        let figures = report.expect_clean();
        let shown = &self.0.state.lock().unwrap().shown;
        assert!(shown.is_empty(), "{shown:#?}");
        figures
    }
}

struct Noting {
    log: Log,
    member: usize,
    lingers: Duration,
}

#[async_trait::async_trait]
impl RebalanceListener for Noting {
    async fn assigned(&self, rebalance: &Rebalance<'_>) {
        let with_commit = |partition: &TopicPartition| (partition.clone(), self.log.committed(partition));
        self.log.note(self.member, What::Assigned(rebalance.partitions.iter().map(with_commit).collect()));
    }

    async fn revoked(&self, rebalance: &Rebalance<'_>) {
        self.log.note(self.member, What::Revoking(rebalance.partitions.to_vec()));
        let returning = Returning { noting: self, partitions: rebalance.partitions.to_vec() };
        sleep(self.lingers).await;
        drop(returning);
    }

    async fn lost(&self, rebalance: &Rebalance<'_>) {
        self.log.note(self.member, What::Lost(rebalance.partitions.to_vec()));
    }
}

/// A listener may be dropped when its time is over.
struct Returning<'a> {
    noting: &'a Noting,
    partitions: Vec<TopicPartition>,
}

impl Drop for Returning<'_> {
    fn drop(&mut self) {
        self.noting.log.note(self.noting.member, What::Revoked(std::mem::take(&mut self.partitions)));
    }
}

/// What a member does with what it reads.
struct Application {
    number: usize,
    log: Log,
    manner: Manner,
    random: Random,
    control: ConsumerControl,
    process: Process,
    producer: Option<Producer>,
    /// Records that are worked on beside the reading.
    works: Vec<JoinHandle<()>>,
    slow: Slow,
}

/// What an application was asked to do: to take so long for its next record; and since when it does.
type Slow = Arc<Mutex<(Option<Duration>, Option<Duration>)>>;

impl Application {
    async fn run(mut self, mut consumer: Consumer) -> (Consumer, Vec<JoinHandle<()>>) {
        loop {
            let read = match self.random.below(4) {
                0 => {
                    let most = 1 + self.random.below(20) as usize;
                    let batch = consumer.next_batch(most).await;
                    batch.map(|batch| batch.map(|batch| batch.iter().map(|view| view.to_owned()).collect::<Vec<_>>()))
                }
                _ => consumer.next().await.map(|record| record.map(|record| vec![record])),
            };
            match read {
                Ok(Some(records)) => {
                    for record in &records {
                        let value = String::from_utf8(record.value().unwrap_or_default().to_vec()).unwrap();
                        let delivered = What::Delivered(record.topic_partition().clone(), record.offset(), value);
                        self.log.note(self.number, delivered);
                    }
                    for record in records {
                        self.work_on(record).await;
                    }
                    self.works.retain(|work| !work.is_finished());
                }
                Ok(None) => return (consumer, self.works),
                Err(error) => {
                    self.log.show(self.number, &error);
                    if !error.is_retriable() {
                        return (consumer, self.works);
                    }
                }
            }
        }
    }

    async fn work_on(&mut self, record: ConsumerRecord) {
        let delivery = match (&self.producer, self.manner.to) {
            (Some(producer), Some(to)) => {
                let (key, value) = (record.key().unwrap_or_default(), record.value().unwrap_or_default());
                match producer.enqueue(Record::to(to).key(key).value(value)).await {
                    Ok(delivery) => Some(delivery),
                    Err(error) => return self.log.show(self.number, &error),
                }
            }
            _ => None,
        };
        let slow = self.slow.lock().unwrap().0.take();
        if slow.is_some() {
            self.slow.lock().unwrap().1 = Some(self.log.0.start.elapsed());
        }
        // Most take no time.
        let takes = match self.random.below(16) {
            _ if slow.is_some() => slow.unwrap_or_default(),
            0 => self.manner.hold.mul_f64(self.random.below(256) as f64 / 256.0),
            _ => Duration::ZERO,
        };
        let work = Work {
            number: self.number,
            log: self.log.clone(),
            policy: self.manner.policy,
            control: self.control.clone(),
            takes,
            says: self.random.below(10) == 0,
        };
        // A commit is refused while an earlier record is held: who commits by hand does one after the other.
        let beside = slow.is_none() && (delivery.is_some() || self.random.below(2) == 0);
        if self.manner.policy != CommitPolicy::Manual && beside {
            self.works.push(self.process.run(work.finish(record, delivery)));
        } else {
            work.finish(record, delivery).await;
        }
    }
}

/// What is done with one record.
struct Work {
    number: usize,
    log: Log,
    policy: CommitPolicy,
    control: ConsumerControl,
    takes: Duration,
    /// Whether what is acknowledged is committed at once, too.
    says: bool,
}

impl Work {
    async fn finish(self, record: ConsumerRecord, delivery: Option<Delivery>) {
        if !self.takes.is_zero() {
            sleep(self.takes).await;
        }
        if let Some(delivery) = delivery
            && let Err(error) = delivery.await
        {
            return self.log.show(self.number, &error);
        }
        self.log.note(self.number, What::Processed(record.topic_partition().clone(), record.offset()));
        match self.policy {
            CommitPolicy::Manual => self.commit(&record).await,
            CommitPolicy::Acked if self.says => {
                let (partition, offset, offsets) =
                    (record.topic_partition().clone(), record.offset(), (&record).into());
                record.ack();
                self.commit_offsets(partition, offset + 1, offsets).await;
            }
            CommitPolicy::Acked => record.ack(),
            // `Returned`: letting go of it is enough.
            _ => drop(record),
        }
    }

    async fn commit(&self, record: &ConsumerRecord) {
        self.commit_offsets(record.topic_partition().clone(), record.offset() + 1, record.into()).await;
    }

    async fn commit_offsets(&self, partition: TopicPartition, offset: i64, offsets: Offsets) {
        let begun = What::CommitStart { partition: partition.clone(), offset, moves_back: false };
        self.log.note(self.number, begun);
        match self.control.commit(offsets).await {
            Ok(()) => self.log.note(self.number, What::CommitOk(partition, offset)),
            Err(error) => {
                self.log.note(self.number, What::CommitFailed(partition, offset));
                // Who acknowledges in any order may have an earlier record unfinished.
                let is_refusal = self.policy == CommitPolicy::Acked && error.kind() == ErrorKind::Usage;
                if error.kind() != ErrorKind::PartitionLost && !is_refusal {
                    self.log.show(self.number, &error);
                }
            }
        }
    }
}

/// A member that reads in a task.
pub(crate) struct Member {
    pub(crate) number: usize,
    log: Log,
    pub(crate) control: ConsumerControl,
    pub(crate) process: Process,
    pub(crate) instance: Option<String>,
    slow: Slow,
    task: JoinHandle<(Consumer, Vec<JoinHandle<()>>)>,
}

impl Member {
    pub(crate) async fn join(world: &mut World, log: &Log, number: usize, manner: Manner) -> Self {
        let process = Process::default();
        let client = world.named_client_on(process.clone(), &format!("member-{number}")).await;
        let builder = client.consumer(log.0.group).subscribe([log.0.topic]).commit_policy(manner.policy);
        let builder = builder.assignors([manner.strategy]).session_timeout(SESSION).heartbeat_interval(HEARTBEAT);
        let builder = builder.auto_commit_interval(Duration::from_millis(500));
        let builder = builder.max_poll_interval(manner.max_poll_interval);
        let builder = match &manner.instance {
            Some(instance) => builder.group_instance_id(instance.clone()),
            None => builder,
        };
        let lingers = Duration::from_millis(world.random.below(3) * 50);
        let noting = Noting { log: log.clone(), member: number, lingers };
        let consumer = builder.on_rebalance(noting).build().await.unwrap();
        let producer = match manner.to {
            Some(_) => Some(client.producer().build().await.unwrap()),
            None => None,
        };
        let (control, instance) = (consumer.control().clone(), manner.instance.clone());
        let random = Random::new(world.random.below(u64::MAX));
        let application = Application {
            number,
            log: log.clone(),
            manner,
            random,
            control: control.clone(),
            process: process.clone(),
            producer,
            works: Vec::new(),
            slow: Slow::default(),
        };
        let slow = application.slow.clone();
        let task = process.run(application.run(consumer));
        Self { number, log: log.clone(), control, process, instance, slow, task }
    }

    /// Ends as if the process had been killed: no LeaveGroup, no commit.
    pub(crate) fn die(self) {
        self.log.note(self.number, What::SessionExpired);
        self.log.0.state.lock().unwrap().dead.insert(self.number);
        self.process.kill();
    }

    /// It stands still, and the group may go on without it.
    pub(crate) fn stop(&self) {
        self.log.note(self.number, What::SessionExpired);
        self.process.stop();
    }

    pub(crate) fn go_on(&self) {
        if self.process.is_stopped() {
            self.log.note(self.number, What::Resumed);
            self.process.go_on();
        }
    }

    /// Takes so long for the next record that it works on.
    pub(crate) fn be_slow(&self, takes: Duration) {
        *self.slow.lock().unwrap() = (Some(takes), None);
    }

    /// When it began to be slow.
    pub(crate) fn slow_since(&self) -> Option<Duration> {
        self.slow.lock().unwrap().1
    }

    pub(crate) async fn close(self) {
        self.control.stop();
        let (consumer, works) = self.task.await.unwrap();
        for work in works {
            work.await.unwrap();
        }
        match consumer.close(Duration::from_secs(30)).await {
            // A coordinator that is frozen or gone cannot be told.
            Err(error) if error.is_retriable() || error.kind() == ErrorKind::PartitionLost => {}
            closed => closed.unwrap(),
        }
    }
}
