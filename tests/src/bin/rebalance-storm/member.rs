//! A member of a group that can be killed.

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use milena::{
    Client, CommitPolicy, Consumer, ConsumerControl, ConsumerRecord, Error, ErrorKind, Rebalance, RebalanceListener,
    Runtime, Task, TopicPartition,
};
use milena_tests::checker::What;
use milena_tests::proxy::Proxy;
use tokio::task::{AbortHandle, JoinHandle};

use crate::history::{History, Killed};

const SESSION: Duration = Duration::from_secs(6);
/// How long a member works on a record at most. Fifteen of sixteen take no time.
const WORKS: Duration = Duration::from_millis(50);
/// Every so many records it commits by hand.
const COMMITS_EVERY: usize = 100;

/// What all members of a group have in common.
pub(crate) struct Manner {
    pub(crate) bootstrap: String,
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) strategy: &'static str,
}

/// What belongs to one process.
#[derive(Clone, Default)]
struct Process(Arc<Mutex<Vec<AbortHandle>>>);

impl Process {
    fn run<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        let task = tokio::spawn(task);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(task.abort_handle());
        task
    }

    fn kill(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(AbortHandle::abort);
    }
}

impl Runtime for Process {
    fn spawn(&self, task: Task) {
        self.run(task);
    }

    fn offload(&self, work: Box<dyn FnOnce() + Send>) {
        tokio::task::spawn_blocking(work);
    }
}

pub(crate) struct Member {
    number: usize,
    history: History,
    control: ConsumerControl,
    process: Process,
    network: Proxy,
    reading: JoinHandle<Result<Consumer, Error>>,
}

impl Member {
    pub(crate) async fn join(
        manner: &Manner,
        history: &History,
        number: usize,
        instance: Option<String>,
    ) -> Result<Self, Error> {
        let (process, network) = (Process::default(), Proxy::new());
        let client = Client::builder().bootstrap(manner.bootstrap.split(',')).connector(network.connector());
        let client = client.runtime(process.clone()).connect().await?;
        let builder = client.consumer(&manner.group).subscribe([&manner.topic]).assignors([manner.strategy]);
        let builder = builder.commit_policy(CommitPolicy::Acked).auto_commit_interval(Duration::from_millis(500));
        let builder = builder.session_timeout(SESSION).heartbeat_interval(Duration::from_millis(500));
        let builder = builder.on_rebalance(Noting { history: history.clone(), member: number });
        let builder = match instance {
            Some(instance) => builder.group_instance_id(instance),
            None => builder,
        };
        let consumer = builder.build().await?;
        let control = consumer.control().clone();
        let reading = process.run(read(consumer, history.clone(), number));
        Ok(Self { number, history: history.clone(), control, process, network, reading })
    }

    /// Ends as if the process had been killed: no LeaveGroup, no commit.
    pub(crate) fn die(self) {
        self.network.hold_requests();
        // It is not dead yet, so this is noted.
        let _ = self.history.note(self.number, What::SessionExpired);
        self.process.kill();
        self.network.cut();
    }

    pub(crate) async fn close(self) -> Result<(), crate::Error> {
        self.control.stop();
        let consumer = match self.reading.await? {
            Ok(consumer) => consumer,
            Err(error) => {
                self.history.show(self.number, "reading", &error);
                return Ok(());
            }
        };
        if let Err(error) = consumer.close(Duration::from_secs(30)).await {
            self.history.show(self.number, "closing", &error);
        }
        Ok(())
    }
}

async fn read(mut consumer: Consumer, history: History, number: usize) -> Result<Consumer, Error> {
    let mut random = number as u64 + 1;
    let mut read = 0;
    while let Some(record) = consumer.next().await? {
        let value = String::from_utf8_lossy(record.value().unwrap_or_default()).into_owned();
        let partition = TopicPartition::new(record.topic(), record.partition());
        if history.note(number, What::Delivered(partition, record.offset(), value)).is_err() {
            pending::<()>().await; // until the task is ended
        }
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if random >> 60 == 0 {
            let works = WORKS.mul_f64((random >> 32 & 0xff) as f64 / 256.0);
            tokio::time::sleep(works).await;
        }
        read += 1;
        if process(&consumer, &history, number, record, read % COMMITS_EVERY == 0).await.is_err() {
            pending::<()>().await;
        }
    }
    Ok(consumer)
}

async fn process(
    consumer: &Consumer,
    history: &History,
    number: usize,
    record: ConsumerRecord,
    commits: bool,
) -> Result<(), Killed> {
    let (partition, offset) = (TopicPartition::new(record.topic(), record.partition()), record.offset());
    history.note(number, What::Processed(partition.clone(), offset))?;
    if !commits {
        record.ack();
        return Ok(());
    }
    let next = offset + 1;
    history.note(number, What::CommitStart { partition: partition.clone(), offset: next, moves_back: false })?;
    match consumer.commit(&record).await {
        Ok(()) => history.note(number, What::CommitOk(partition, next)),
        Err(error) => {
            // Under an eager protocol every rebalance takes everything; what was not committed by then comes again.
            if error.kind() != ErrorKind::PartitionLost {
                history.show(number, "committing", &error);
            }
            history.note(number, What::CommitFailed(partition, next))
        }
    }
}

/// A listener that notes what it hears.
struct Noting {
    history: History,
    member: usize,
}

impl Noting {
    fn note(&self, what: What) {
        // One that was killed hears nothing.
        let _ = self.history.note(self.member, what);
    }
}

#[async_trait::async_trait]
impl RebalanceListener for Noting {
    async fn assigned(&self, rebalance: &Rebalance<'_>) {
        if rebalance.partitions.is_empty() {
            return;
        }
        match rebalance.consumer().committed(rebalance.partitions).await {
            Ok(offsets) => self.note(What::Assigned(rebalance.partitions.iter().cloned().zip(offsets).collect())),
            Err(error) => self.history.show(self.member, "asking what is committed", &error),
        }
    }

    async fn revoked(&self, rebalance: &Rebalance<'_>) {
        self.note(What::Revoking(rebalance.partitions.to_vec()));
        self.note(What::Revoked(rebalance.partitions.to_vec()));
    }

    async fn lost(&self, rebalance: &Rebalance<'_>) {
        self.note(What::Lost(rebalance.partitions.to_vec()));
    }
}
