//! Topics as a test makes, moves and looks at them: without the client, so that a mistake of the client cannot hide itself.

use std::io;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use milena_protocol::ErrorCode;
use milena_protocol::api::Request;
use milena_protocol::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use milena_protocol::messages::delete_topics::DeleteTopicsRequest;
use milena_protocol::messages::elect_leaders::{ElectLeadersRequest, ElectLeadersResponse, TopicPartitions};
use milena_protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData};
use milena_protocol::messages::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use milena_protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponsePartition};
use milena_protocol::primitives::Uuid;
use milena_protocol::records::Batches;

use super::raw::{ask, ask_by_hand};
use super::{Kind, TestCluster, is_older_than};
use crate::eventually::eventually;

const METADATA: i16 = 9;
const CREATE_TOPICS: i16 = 5;
const LIST_OFFSETS: i16 = 6;
/// The last version that names topics.
const FETCH: i16 = 12;
const LARGEST: usize = 64 * 1024 * 1024;

/// Which leader is to be elected: its number in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Election {
    /// The first replica, if it is in sync.
    Preferred = 0,
    /// Of a partition without a leader: any replica.
    Unclean = 1,
}

/// A record as it is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Where.
    pub offset: i64,
    /// Its timestamp, to the millisecond.
    pub timestamp: SystemTime,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers, in their order.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// How many records its batch has, and how many bytes as it is stored.
    pub batch: (i32, usize),
    /// The number of the codec of its batch.
    pub codec: i16,
}

impl Logged {
    /// Its value as text.
    pub fn text(&self) -> &str {
        self.value.as_deref().map_or("", |value| std::str::from_utf8(value).expect("text"))
    }
}

fn settings(configs: &[(&str, &str)]) -> Vec<CreatableTopicConfig> {
    let config = |(name, value): &(&str, &str)| CreatableTopicConfig {
        name: (*name).to_owned(),
        value: Some((*value).to_owned()),
    };
    configs.iter().map(config).collect()
}

impl TestCluster {
    /// Creates a topic that no other test has, with three replicas, and returns its name once every broker knows its leaders.
    pub async fn topic(&self, name: &str, partitions: i32) -> String {
        self.topic_with(name, partitions, &[]).await
    }

    /// Like [`topic`](Self::topic), with topic settings by Kafka's names.
    pub async fn topic_with(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> String {
        let topic = CreatableTopic { num_partitions: partitions, replication_factor: 3, ..Default::default() };
        self.create(CreatableTopic { name: self.unique(name), configs: settings(configs), ..topic }).await
    }

    /// Like [`topic`](Self::topic), with one partition on these brokers, of which the first leads.
    pub async fn topic_on(&self, name: &str, brokers: &[i32], configs: &[(&str, &str)]) -> String {
        self.topic_over(name, &[brokers], configs).await
    }

    /// The same with one partition for each of these lists of brokers.
    pub async fn topic_over(&self, name: &str, brokers: &[&[i32]], configs: &[(&str, &str)]) -> String {
        let place = |(index, brokers): (i32, &&[i32])| CreatableReplicaAssignment {
            partition_index: index,
            broker_ids: brokers.to_vec(),
        };
        let topic = CreatableTopic { num_partitions: -1, replication_factor: -1, ..Default::default() };
        let assignments = (0..).zip(brokers).map(place).collect();
        self.create(CreatableTopic { name: self.unique(name), assignments, configs: settings(configs), ..topic }).await
    }

    /// Deletes a topic and creates another one of the same name with one partition, once no broker knows the old one.
    pub async fn recreate_topic(&self, name: &str) {
        let old = self.topic_id(name).await;
        let named =
            DeleteTopicsRequest { topic_names: vec![name.to_owned()], timeout_ms: 20_000, ..Default::default() };
        let answer = self.ask_controller(4, &named, |answer| answer.responses[0].error_code).await;
        assert_eq!(answer.responses[0].error_code, ErrorCode::NONE, "deleting {name}");
        eventually(&format!("no broker to know {name}"), async || {
            for address in self.speaking() {
                if !partitions_of(&address, name).await.ok()?.is_empty() {
                    return None;
                }
            }
            Some(())
        })
        .await;
        let topic = CreatableTopic { num_partitions: 1, replication_factor: 3, ..Default::default() };
        self.create(CreatableTopic { name: name.to_owned(), ..topic }).await;
        assert_ne!(self.topic_id(name).await, old, "another topic");
    }

    async fn create(&self, topic: CreatableTopic) -> String {
        let name = topic.name.clone();
        let partitions = topic.num_partitions.max(topic.assignments.len() as i32);
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 20_000, validate_only: false };
        eventually(&format!("the creation of {name}"), async || {
            let answer = self.ask_controller(CREATE_TOPICS, &request, |answer| answer.topics[0].error_code).await;
            let topic = &answer.topics[0];
            if topic.error_code == ErrorCode::TOPIC_ALREADY_EXISTS && is_older_than((3, 3)) {
                return None; // ZooKeeper still has the name when brokers have forgotten the topic.
            }
            assert_eq!(topic.error_code, ErrorCode::NONE, "creating {name}: {:?}", topic.error_message);
            Some(())
        })
        .await;
        self.until_known_everywhere(&name, partitions).await;
        name
    }

    /// Waits until every broker knows that a topic has so many partitions, and each of them is led.
    pub async fn until_known_everywhere(&self, name: &str, partitions: i32) {
        eventually(&format!("every broker to know the leaders of {name}"), async || {
            for address in self.speaking() {
                let known = partitions_of(&address, name).await.unwrap_or_default();
                let led = known.iter().filter(|partition| partition.leader_id >= 0).count();
                if led != partitions as usize {
                    return None;
                }
            }
            Some(())
        })
        .await;
        for partition in 0..partitions {
            self.until_led(name, partition).await;
        }
    }

    /// The id of a topic that exists.
    pub async fn topic_id(&self, topic: &str) -> Uuid {
        let topics = vec![MetadataRequestTopic { name: Some(topic.to_owned()), ..Default::default() }];
        let request = MetadataRequest { topics: Some(topics), ..Default::default() };
        let mut answer = self.ask_any(async |address| ask(address, 12, &request).await).await;
        answer.topics.pop().map(|topic| topic.topic_id).expect("it was asked for")
    }

    /// The id of the broker that leads a partition.
    pub async fn leader(&self, topic: &str, partition: i32) -> i32 {
        eventually(&format!("{topic}-{partition} to have a leader"), async || {
            Some(self.partition(topic, partition).await?.leader_id).filter(|leader| *leader >= 0)
        })
        .await
    }

    /// The ids of the brokers whose copies of a partition are in sync.
    pub async fn in_sync(&self, topic: &str, partition: i32) -> Vec<i32> {
        self.partition(topic, partition).await.map(|partition| partition.isr_nodes).unwrap_or_default()
    }

    /// Waits until every replica of a topic is in sync, and of the groups' offsets, too.
    pub async fn until_all_in_sync(&self, topic: &str) {
        for topic in [topic, "__consumer_offsets"] {
            eventually(&format!("all replicas of {topic} to be in sync"), async || {
                let known = self.ask_any(async |address| partitions_of(address, topic).await).await;
                let lacks =
                    |partition: &MetadataResponsePartition| partition.isr_nodes.len() < partition.replica_nodes.len();
                (!known.iter().any(lacks)).then_some(())
            })
            .await;
        }
    }

    /// What some broker that answers knows about a partition that exists.
    pub async fn known(&self, topic: &str, partition: i32) -> MetadataResponsePartition {
        self.partition(topic, partition).await.unwrap_or_else(|| panic!("{topic}-{partition} does not exist"))
    }

    /// Waits until some broker that answers knows the partition so.
    pub async fn until_known(
        &self,
        what: &str,
        topic: &str,
        is_so: impl Fn(&MetadataResponsePartition) -> bool,
    ) -> MetadataResponsePartition {
        let what = format!("{topic}-0 to have {what}");
        eventually(&what, async || self.partition(topic, 0).await.filter(|partition| is_so(partition))).await
    }

    /// Makes another replica the leader, without any broker going down, and returns it once every broker knows.
    pub async fn move_leader(&self, topic: &str, partition: i32) -> i32 {
        let known = self.known(topic, partition).await;
        let next = *known.isr_nodes.iter().find(|id| **id != known.leader_id).expect("a follower is in sync");
        self.elect(topic, partition, next).await;
        self.until_led(topic, partition).await;
        next
    }

    /// Makes an in-sync replica the leader, and returns once every broker that answers knows.
    pub async fn elect(&self, topic: &str, partition: i32, next: i32) {
        match &self.kind {
            Kind::Mock(cluster) => cluster.partition(topic, partition).elect(next),
            Kind::Real(_) => self.put_first(topic, partition, next).await,
        }
        let is_real = self.is_real();
        eventually(&format!("every broker to know that {topic}-{partition} is led by {next}"), async || {
            for address in self.speaking() {
                let known = partitions_of(&address, topic).await.ok()?;
                let leader = known.iter().find(|known| known.partition_index == partition)?.leader_id;
                if leader != next {
                    if is_real {
                        // With ZooKeeper the replicas' new order takes a while.
                        self.elect_leader(topic, partition, Election::Preferred).await;
                    }
                    return None;
                }
            }
            Some(())
        })
        .await;
    }

    /// Has the controller elect a leader now.
    pub async fn elect_leader(&self, topic: &str, partition: i32, election: Election) -> ErrorCode {
        let partitions = TopicPartitions { topic: topic.to_owned(), partitions: vec![partition] };
        let request = ElectLeadersRequest {
            election_type: election as i8,
            topic_partitions: Some(vec![partitions]),
            timeout_ms: 20_000,
        };
        let of_partition =
            |answer: &ElectLeadersResponse| answer.replica_election_results[0].partition_result[0].error_code;
        let answer = self.ask_controller(2, &request, of_partition).await;
        assert_eq!(answer.error_code, ErrorCode::NONE, "elect a leader of {topic}-{partition}");
        of_partition(&answer)
    }

    /// Waits until the leader of a partition says so itself, which may be a while after the others have heard of it.
    pub async fn until_led(&self, topic: &str, partition: i32) {
        self.offset_at(topic, partition, -1).await;
    }

    /// The offset of the first record of a partition that is kept.
    pub async fn start(&self, topic: &str, partition: i32) -> i64 {
        self.offset_at(topic, partition, -2).await
    }

    /// The offset at a special time, once the leader says so itself.
    async fn offset_at(&self, topic: &str, partition: i32, timestamp: i64) -> i64 {
        let wanted = ListOffsetsPartition { partition_index: partition, timestamp, ..Default::default() };
        let topics = vec![ListOffsetsTopic { name: topic.to_owned(), partitions: vec![wanted] }];
        let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
        eventually(&format!("the leader of {topic}-{partition} to lead"), async || {
            let leader = self.partition(topic, partition).await?.leader_id;
            let answer = ask(&self.address(leader)?, LIST_OFFSETS, &request).await.ok()?;
            let found = answer.topics.first()?.partitions.first()?;
            found.error_code.is_none().then_some(found.offset)
        })
        .await
    }

    /// Puts a replica first in the list of replicas.
    async fn put_first(&self, topic: &str, partition: i32, next: i32) {
        const ALTER_PARTITION_REASSIGNMENTS: i16 = 45;
        let replicas = self.known(topic, partition).await.replica_nodes;
        let mut body = 20_000_i32.to_be_bytes().to_vec();
        body.extend(one_partition(topic));
        body.extend(partition.to_be_bytes());
        body.push(replicas.len() as u8 + 1);
        let others = replicas.iter().filter(|id| **id != next);
        body.extend([next].iter().chain(others).flat_map(|id| id.to_be_bytes()));
        body.extend([0; 3]); // tags: of the partition, of the topic, of the request
        // Brokers pass it on to the controller, which may stand still: another one is elected then.
        let what = format!("the controller to alter the replicas of {topic}-{partition}");
        let code = eventually(&what, async || {
            for address in self.speaking() {
                if let Ok(code) = ask_by_hand(&address, ALTER_PARTITION_REASSIGNMENTS, 0, &body).await {
                    return Some(code);
                }
            }
            None
        })
        .await;
        assert_eq!(code, 0, "alter the replicas of {topic}-{partition}");
    }

    /// All records of a partition that are in the log for good, oldest first, in the leader's own words.
    pub async fn log(&self, topic: &str, partition: i32) -> Vec<Logged> {
        let (mut records, mut offset) = (Vec::new(), 0);
        loop {
            let what = format!("the leader of {topic}-{partition} to answer a fetch");
            let data = eventually(&what, async || {
                let from = self.start(topic, partition).await.max(offset);
                self.fetch(topic, partition, from, LARGEST).await
            })
            .await;
            for batch in Batches::new(data.records.map(|records| records.into_bytes()).unwrap_or_default()) {
                let batch = batch.expect("a batch");
                assert!(batch.has_valid_crc(), "a batch of {topic}-{partition} is damaged");
                let header = *batch.header();
                let set = batch.records(LARGEST).expect("records");
                for record in &set {
                    let record = record.expect("a record");
                    records.push(Logged {
                        offset: record.offset,
                        timestamp: SystemTime::UNIX_EPOCH + Duration::from_millis(record.timestamp as u64),
                        key: record.key.map(Bytes::copy_from_slice),
                        value: record.value.map(Bytes::copy_from_slice),
                        headers: record
                            .headers
                            .map(|(name, value)| (name.to_owned(), value.map(Bytes::copy_from_slice)))
                            .collect(),
                        batch: (header.record_count, batch.bytes().len()),
                        codec: header.attributes.0 & 7,
                    });
                }
                offset = header.next_offset();
            }
            if offset >= data.high_watermark {
                return records;
            }
        }
    }

    /// The offset behind the last record of a partition that is in the log for good.
    pub async fn end(&self, topic: &str, partition: i32) -> i64 {
        let what = format!("the leader of {topic}-{partition} to answer a fetch");
        eventually(&what, async || {
            let start = self.start(topic, partition).await;
            Some(self.fetch(topic, partition, start, 1).await?.high_watermark)
        })
        .await
    }

    async fn fetch(&self, topic: &str, partition: i32, offset: i64, most_bytes: usize) -> Option<PartitionData> {
        let leader = self.partition(topic, partition).await?.leader_id;
        let address = self.address(leader)?;
        let partition = FetchPartition {
            partition,
            fetch_offset: offset,
            partition_max_bytes: most_bytes as i32,
            ..Default::default()
        };
        let topic = FetchTopic { topic: topic.to_owned(), partitions: vec![partition], ..Default::default() };
        let request = FetchRequest { max_wait_ms: 0, topics: vec![topic], ..Default::default() };
        let mut answer = ask(&address, FETCH, &request).await.ok()?;
        Some(answer.responses.pop()?.partitions.remove(0)).filter(|data| data.error_code.is_none())
    }

    /// Asks one broker something, without the client: for tests of what the brokers themselves do.
    pub async fn ask<R: Request>(&self, broker: i32, version: i16, request: &R) -> R::Response {
        let address = self.address(broker).expect("brokers 1, 2 and 3");
        ask(&address, version, request).await.unwrap_or_else(|error| panic!("broker {broker}: {error}"))
    }

    /// What some broker that is up knows about a partition.
    async fn partition(&self, topic: &str, partition: i32) -> Option<MetadataResponsePartition> {
        let known = self.ask_any(async |address| partitions_of(address, topic).await).await;
        known.into_iter().find(|known| known.partition_index == partition)
    }

    pub(crate) fn address(&self, broker: i32) -> Option<String> {
        let index = usize::try_from(broker).ok()?.checked_sub(1)?;
        self.bootstrap().split(',').nth(index).map(str::to_owned)
    }

    /// The answer of the controller, to which brokers with ZooKeeper do not forward a request.
    pub async fn ask_controller<R: Request>(
        &self,
        version: i16,
        request: &R,
        code: impl Fn(&R::Response) -> ErrorCode,
    ) -> R::Response {
        // One that was the controller before it stood still may believe so for a while: it never answers.
        eventually(&format!("the controller to answer {}", R::KEY), async || {
            for address in self.speaking() {
                let answer = ask(&address, version, request).await.ok();
                if let Some(answer) = answer.filter(|answer| code(answer) != ErrorCode::NOT_CONTROLLER) {
                    return Some(answer);
                }
            }
            None
        })
        .await
    }

    /// The answer of the first broker that gives one.
    pub(crate) async fn ask_any<T>(&self, ask: impl AsyncFn(&str) -> io::Result<T>) -> T {
        let mut failures = Vec::new();
        for address in self.speaking() {
            match ask(&address).await {
                Ok(answer) => return answer,
                Err(error) => failures.push(format!("{address}: {error}")),
            }
        }
        panic!("no broker answers: {failures:?}")
    }
}

/// The start of an array of one topic with an array of one partition, in the compact form.
fn one_partition(topic: &str) -> Vec<u8> {
    let mut bytes = vec![2, u8::try_from(topic.len() + 1).expect("a short name")];
    bytes.extend(topic.as_bytes());
    bytes.push(2);
    bytes
}

async fn partitions_of(address: &str, topic: &str) -> io::Result<Vec<MetadataResponsePartition>> {
    let topics = vec![MetadataRequestTopic { name: Some(topic.to_owned()), ..Default::default() }];
    let request = MetadataRequest { topics: Some(topics), allow_auto_topic_creation: false, ..Default::default() };
    let mut answer = ask(address, METADATA, &request).await?;
    Ok(answer.topics.pop().map(|topic| topic.partitions).unwrap_or_default())
}
