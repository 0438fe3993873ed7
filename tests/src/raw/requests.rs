//! The requests that most tests send. They are ordinary values: change what a test is about.

use milena_protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use milena_protocol::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use milena_protocol::primitives::Records;

/// Writes records with acks=all. Versions up to 12, which name topics.
pub fn produce(topic: &str, partition: i32, records: impl Into<Records>) -> ProduceRequest {
    let data = PartitionProduceData { index: partition, records: Some(records.into()) };
    let topic = TopicProduceData { name: topic.to_owned(), partition_data: vec![data], ..Default::default() };
    ProduceRequest { acks: -1, timeout_ms: 20_000, topic_data: vec![topic], ..Default::default() }
}

/// Reads from an offset, and does not wait. Versions up to 12, which name topics.
pub fn fetch(topic: &str, partition: i32, offset: i64) -> FetchRequest {
    let partition =
        FetchPartition { partition, fetch_offset: offset, partition_max_bytes: 1 << 20, ..Default::default() };
    let topic = FetchTopic { topic: topic.to_owned(), partitions: vec![partition], ..Default::default() };
    FetchRequest { max_bytes: 1 << 20, topics: vec![topic], ..Default::default() }
}
