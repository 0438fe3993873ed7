//! Consumer groups: who reads what, and what becomes of it when members come, go and die.

mod acks;
mod assignors;
mod by_name;
mod cooperative;
mod lifetimes;
mod listening;
mod metrics;
mod mixed;
mod rolling;
mod sharing;
mod statics;
mod subscribing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use milena::{
    Client, Consumer, ConsumerBuilder, ConsumerControl, Position, Rebalance, RebalanceListener, RebalanceReason,
    Record, Result, TopicPartition,
};
use milena_protocol::messages::describe_groups::DescribeGroupsRequest;
use milena_tests::cluster::TestCluster;
use milena_tests::eventually::eventually;
use tokio::task::JoinHandle;

use crate::{GENEROUS, soon};

/// A topic, a group that reads it, and whoever writes to it.
struct Group {
    cluster: Arc<TestCluster>,
    client: Client,
    topic: String,
    partitions: i32,
    name: String,
}

impl Group {
    async fn new(partitions: i32) -> Self {
        Self::of(TestCluster::shared().await, partitions).await
    }

    async fn of(cluster: TestCluster, partitions: i32) -> Self {
        let topic = cluster.topic("groups", partitions).await;
        Self::reading(Arc::new(cluster), topic, partitions).await
    }

    /// One that reads a topic which is there.
    async fn reading(cluster: Arc<TestCluster>, topic: String, partitions: i32) -> Self {
        let client = crate::client(&cluster).await;
        let name = cluster.unique("group");
        Self { cluster, client, topic, partitions, name }
    }

    /// A member that notices a rebalance within 100 ms, and dies within 6 s.
    fn member(&self) -> ConsumerBuilder {
        self.member_of(&self.client)
    }

    fn member_of(&self, client: &Client) -> ConsumerBuilder {
        let builder = client.consumer(&self.name).subscribe([&self.topic]);
        builder.session_timeout(Duration::from_secs(6)).heartbeat_interval(Duration::from_millis(100))
    }

    fn partition(&self, partition: i32) -> TopicPartition {
        TopicPartition::new(self.topic.as_str(), partition)
    }

    /// Writes so many records to each partition: their values are numbers in a row.
    async fn write(&self, count: i64) {
        self.write_by(&self.client, count).await;
    }

    async fn write_by(&self, client: &Client, count: i64) {
        let producer = client.producer().build().await.unwrap();
        for partition in 0..self.partitions {
            let first = self.cluster.end(&self.topic, partition).await;
            for value in first..first + count {
                let value = value.to_string();
                let record = Record::to(self.topic.as_str()).partition(partition).value(&value);
                producer.enqueue(record).await.unwrap().detach();
            }
        }
        soon("a flush", producer.flush()).await.unwrap();
    }

    /// What the group has committed, for each partition.
    async fn committed(&self) -> Vec<Option<i64>> {
        let partitions: Vec<_> = (0..self.partitions).map(|partition| self.partition(partition)).collect();
        let start = partitions.iter().map(|partition| (partition.clone(), Position::End));
        let consumer = self.client.consumer(&self.name).assign(start).build().await.unwrap();
        consumer.control().committed(&partitions).await.unwrap()
    }

    /// Waits until the group has committed this for each partition.
    async fn until_committed(&self, offset: i64) {
        let all = vec![Some(offset); self.partitions as usize];
        eventually("the commits", async || (self.committed().await == all).then_some(())).await;
    }

    /// Waits until this is what the coordinator calls the strategy of the group.
    async fn until_divided_by(&self, strategy: &str) {
        let mut coordinator = self.cluster.raw_coordinator(&self.name).await;
        let request = DescribeGroupsRequest { groups: vec![self.name.clone()], ..Default::default() };
        eventually(&format!("a group by {strategy}"), async || {
            let described = coordinator.ask(5, &request).await.groups.remove(0);
            (described.protocol_data == strategy).then_some(())
        })
        .await;
    }

    /// Waits until these members have as many partitions, in ascending order, and together all of them, each once.
    async fn until_shared(&self, members: &[&ConsumerControl], counts: &[usize]) {
        let what = format!("shares of {counts:?}");
        eventually(&what, async || {
            let shares: Vec<_> = members.iter().map(|member| member.assignment()).collect();
            let mut sizes: Vec<_> = shares.iter().map(Vec::len).collect();
            sizes.sort_unstable();
            let all: BTreeSet<_> = shares.iter().flatten().collect();
            let complete = all.len() == sizes.iter().sum::<usize>() && all.len() == self.partitions as usize;
            (sizes == counts && complete).then_some(())
        })
        .await;
    }
}

/// What was read, by partition.
type Seen = Arc<Mutex<BTreeMap<i32, Vec<i64>>>>;

/// A member that reads in a task of its own.
struct Reading {
    control: ConsumerControl,
    seen: Seen,
    task: JoinHandle<Result<Consumer>>,
}

impl Reading {
    fn start(mut consumer: Consumer) -> Self {
        let (control, seen) = (consumer.control().clone(), Seen::default());
        let reading = seen.clone();
        let task = tokio::spawn(async move {
            while let Some(record) = consumer.next().await? {
                reading.lock().unwrap().entry(record.partition()).or_default().push(record.offset());
            }
            Ok(consumer)
        });
        Self { control, seen, task }
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().values().map(Vec::len).sum()
    }

    fn seen(&self) -> BTreeMap<i32, Vec<i64>> {
        self.seen.lock().unwrap().clone()
    }

    /// The consumer, which reads no more.
    async fn stop(self) -> Consumer {
        self.control.stop();
        soon("the reader", self.task).await.unwrap().unwrap()
    }

    async fn close(self) {
        soon("closing", self.stop().await.close(GENEROUS)).await.unwrap();
    }
}

/// Waits until these have read so many records together.
async fn until_read(members: &[&Reading], count: usize) {
    let what = format!("{count} records");
    eventually(&what, async || (members.iter().map(|member| member.count()).sum::<usize>() >= count).then_some(()))
        .await;
}

/// What a listener was told, as words: "assigned 2 Joined".
#[derive(Clone, Debug, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn note(&self, what: &str, partitions: usize, reason: RebalanceReason) {
        self.hear(format!("{what} {partitions} {reason:?}"));
    }

    fn hear(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    async fn until(&self, what: &str) {
        eventually(what, async || self.all().iter().any(|told| told == what).then_some(())).await;
    }
}

#[async_trait::async_trait]
impl RebalanceListener for Told {
    async fn assigned(&self, rebalance: &Rebalance<'_>) {
        self.note("assigned", rebalance.partitions.len(), rebalance.reason);
    }

    async fn revoked(&self, rebalance: &Rebalance<'_>) {
        self.note("revoked", rebalance.partitions.len(), rebalance.reason);
    }

    async fn lost(&self, rebalance: &Rebalance<'_>) {
        self.note("lost", rebalance.partitions.len(), rebalance.reason);
    }
}
