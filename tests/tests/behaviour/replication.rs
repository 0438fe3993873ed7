//! What Kafka promises of replicas, asked of the brokers in their own protocol: epochs and fencing, the high watermark, who may
//! lead, what is cut off, and where consumers may read.

mod closest;
mod epochs;
mod insync;
mod lost;
mod outages;

use std::time::Duration;

use milena::ErrorCode;
use milena_protocol::messages::fetch::{FetchRequest, PartitionData};
use milena_protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsTopic,
};
use milena_protocol::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use milena_protocol::messages::produce::{PartitionProduceResponse, ProduceRequest};
use milena_protocol::records::Batches;
use milena_tests::cluster::{TestCluster, is_older_than, lacks};
use milena_tests::eventually::eventually;
use milena_tests::raw::{self, NoAnswer, RawBatch};

/// Versions that Kafka 2.8 knows, too.
const PRODUCE: i16 = 9;
const FETCH: i16 = 12;
const LIST_OFFSETS: i16 = 6;
const EPOCHS: i16 = 4;

const LATEST: i64 = -1;

/// The replica id of consumers, and the one to which any replica tells where its own log ends.
const CONSUMER: i32 = -1;
const DEBUGGER: i32 = -2;

/// A topic of one partition.
struct Partition {
    cluster: TestCluster,
    topic: String,
}

impl Partition {
    /// On a cluster whose brokers are left alone, with replicas on all of them.
    async fn shared(name: &str) -> Self {
        let cluster = TestCluster::shared().await;
        let topic = cluster.topic(name, 1).await;
        Self { cluster, topic }
    }

    /// On a cluster whose brokers may be broken, with replicas on these, of which the first leads.
    async fn own(name: &str, brokers: &[i32], configs: &[(&str, &str)]) -> Self {
        let cluster = TestCluster::own().await;
        let topic = cluster.topic_on(name, brokers, configs).await;
        Self { cluster, topic }
    }

    async fn leader(&self) -> i32 {
        self.cluster.leader(&self.topic, 0).await
    }

    async fn epoch(&self) -> i32 {
        self.cluster.known(&self.topic, 0).await.leader_epoch
    }

    /// Two brokers that follow.
    async fn followers(&self) -> [i32; 2] {
        let known = self.cluster.known(&self.topic, 0).await;
        let followers: Vec<i32> = known.replica_nodes.into_iter().filter(|id| *id != known.leader_id).collect();
        followers.try_into().expect("three replicas")
    }

    /// Waits until so many replicas are in sync.
    async fn until_in_sync(&self, count: usize) {
        let what = format!("{count} replicas in sync");
        self.cluster.until_known(&what, &self.topic, |known| known.isr_nodes.len() == count).await;
    }

    /// Waits until another broker leads, and gives its id.
    async fn until_led_by_other(&self, than: i32) -> i32 {
        let is_other = |leader: i32| leader >= 0 && leader != than;
        self.cluster.until_known("another leader", &self.topic, |known| is_other(known.leader_id)).await.leader_id
    }

    fn batch(&self, value: &str, acks: i16, timeout: Duration) -> ProduceRequest {
        let timeout_ms = timeout.as_millis() as i32;
        ProduceRequest { acks, timeout_ms, ..raw::produce(&self.topic, 0, RawBatch::of([value])) }
    }

    /// Sends one record to a broker.
    async fn write_at(&self, broker: i32, value: &str, acks: i16) -> PartitionProduceResponse {
        let request = self.batch(value, acks, Duration::from_secs(20));
        let mut answer = self.cluster.raw(broker).await.ask(PRODUCE, &request).await;
        answer.responses.remove(0).partition_responses.remove(0)
    }

    /// Writes one record, which must be taken as soon as the leader knows that it leads, and gives its offset.
    async fn write(&self, value: &str, acks: i16) -> i64 {
        eventually(&format!("a leader that takes {value}"), async || {
            let written = self.write_at(self.leader().await, value, acks).await;
            if written.error_code == ErrorCode::NOT_LEADER_OR_FOLLOWER {
                return None;
            }
            assert_eq!(written.error_code, ErrorCode::NONE, "{value}");
            Some(written.base_offset)
        })
        .await
    }

    /// Reads from a broker, without waiting.
    async fn read_at(&self, broker: i32, offset: i64) -> PartitionData {
        self.read_with(broker, FETCH, raw::fetch(&self.topic, 0, offset)).await
    }

    async fn read_with(&self, broker: i32, version: i16, request: FetchRequest) -> PartitionData {
        fetched(self.cluster.raw(broker).await.ask(version, &request).await)
    }

    /// Where a special position, or a time, is at a broker.
    async fn position_at(&self, broker: i32, timestamp: i64, epoch: i32) -> ListOffsetsPartitionResponse {
        self.position_for(CONSUMER, broker, timestamp, epoch).await
    }

    /// Waits until a replica has everything up to this offset, committed or not.
    async fn until_copied(&self, broker: i32, end: i64) {
        eventually(&format!("broker {broker} to have everything before {end}"), async || {
            let found = self.position_for(DEBUGGER, broker, LATEST, -1).await;
            (found.error_code.is_none() && found.offset >= end).then_some(())
        })
        .await;
    }

    async fn position_for(
        &self,
        replica_id: i32,
        broker: i32,
        timestamp: i64,
        current_leader_epoch: i32,
    ) -> ListOffsetsPartitionResponse {
        let partition = ListOffsetsPartition { timestamp, current_leader_epoch, ..Default::default() };
        let topics = vec![ListOffsetsTopic { name: self.topic.clone(), partitions: vec![partition] }];
        let request = ListOffsetsRequest { replica_id, topics, ..Default::default() };
        self.cluster.raw(broker).await.ask(LIST_OFFSETS, &request).await.topics.remove(0).partitions.remove(0)
    }

    /// Where an epoch ends, says a broker.
    async fn end_of_epoch_at(&self, broker: i32, leader_epoch: i32, current: i32) -> EpochEndOffset {
        let partition = OffsetForLeaderPartition { partition: 0, current_leader_epoch: current, leader_epoch };
        let topics = vec![OffsetForLeaderTopic { topic: self.topic.clone(), partitions: vec![partition] }];
        let request = OffsetForLeaderEpochRequest { replica_id: -1, topics };
        self.cluster.raw(broker).await.ask(EPOCHS, &request).await.topics.remove(0).partitions.remove(0)
    }

    /// The log as consumers see it.
    async fn values(&self) -> Vec<String> {
        self.cluster.log(&self.topic, 0).await.iter().map(|record| record.text().to_owned()).collect()
    }

    /// Waits until a follower shows consumers these values.
    async fn until_read_at<T>(&self, broker: i32, expected: &[T])
    where
        T: std::fmt::Debug,
        String: PartialEq<T>,
    {
        let what = format!("broker {broker} to show {expected:?}");
        eventually(&what, async || (values(&self.read_at(broker, 0).await) == expected).then_some(())).await;
    }
}

fn fetched(mut answer: milena_protocol::messages::fetch::FetchResponse) -> PartitionData {
    assert_eq!(answer.error_code, ErrorCode::NONE);
    answer.responses.remove(0).partitions.remove(0)
}

/// The values of the records in an answer.
fn values(data: &PartitionData) -> Vec<String> {
    let mut values = Vec::new();
    for batch in Batches::new(data.records.clone().map(|records| records.into_bytes()).unwrap_or_default()) {
        for record in &batch.expect("a batch").records(1 << 20).expect("records") {
            let value = record.expect("a record").value.unwrap_or_default();
            values.push(String::from_utf8_lossy(value).into_owned());
        }
    }
    values
}

/// With the epoch that the client believes to be current, and that of the last record that it has read.
fn with_epochs(mut request: FetchRequest, current: i32, last_fetched: i32) -> FetchRequest {
    let partition = &mut request.topics[0].partitions[0];
    (partition.current_leader_epoch, partition.last_fetched_epoch) = (current, last_fetched);
    request
}

/// One that waits for records for a minute.
fn waiting(request: FetchRequest) -> FetchRequest {
    FetchRequest { max_wait_ms: 60_000, min_bytes: 1, ..request }
}
