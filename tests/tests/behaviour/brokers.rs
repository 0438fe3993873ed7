//! What brokers do that the client relies on or avoids, asked of them without it: the mock cluster must be like Kafka.

use bytes::Bytes;
use milena::ErrorCode;
use milena_protocol::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use milena_protocol::records::{BatchHeader, NewRecord};
use milena_tests::cluster::TestCluster;

const PRODUCE: i16 = 9;

/// A batch of one record of an idempotent producer.
fn batch(value: &str, producer: (i64, i16, i32)) -> Bytes {
    let (producer_id, producer_epoch, base_sequence) = producer;
    let mut body = Vec::new();
    NewRecord { key: None, value: Some(value.as_bytes()), headers: &[] }.append_to(0, 0, &mut body);
    let body = Bytes::from(body);
    let header = BatchHeader {
        base_timestamp: 1_700_000_000_000,
        max_timestamp: 1_700_000_000_000,
        producer_id,
        producer_epoch,
        base_sequence,
        record_count: 1,
        ..Default::default()
    };
    [&header.encode(std::slice::from_ref(&body)), &body[..]].concat().into()
}

/// Sends batches for partition 0 in one request. Returns what was answered for each partition that was answered.
async fn produce(cluster: &TestCluster, topic: &str, batches: &[Bytes]) -> Vec<(ErrorCode, i64)> {
    let data = |batch: &Bytes| PartitionProduceData { index: 0, records: Some(batch.clone().into()) };
    let topic_data = vec![TopicProduceData {
        name: topic.to_owned(),
        partition_data: batches.iter().map(data).collect(),
        ..Default::default()
    }];
    let request = ProduceRequest { acks: -1, timeout_ms: 20_000, topic_data, ..Default::default() };
    let mut answer = cluster.ask(cluster.leader(topic, 0).await, PRODUCE, &request).await;
    let partitions = answer.responses.remove(0).partition_responses;
    partitions.iter().map(|partition| (partition.error_code, partition.base_offset)).collect()
}

#[tokio::test]
async fn of_a_partition_named_twice_in_a_request_only_the_last_batch_counts() {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("named-twice", 1).await;
    let plain = (-1, -1, -1);
    let answered = produce(&cluster, &topic, &[batch("first", plain), batch("last", plain)]).await;
    assert_eq!(answered, [(ErrorCode::NONE, 0)]);
    assert_eq!(cluster.log(&topic, 0).await.iter().map(|record| record.text()).collect::<Vec<_>>(), ["last"]);
}

#[tokio::test]
async fn two_batches_for_a_partition_are_refused() {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("two-batches", 1).await;
    let plain = (-1, -1, -1);
    let both: Bytes = [batch("first", plain), batch("last", plain)].concat().into();
    let answered = produce(&cluster, &topic, &[both]).await;
    assert_eq!(answered, [(ErrorCode::INVALID_RECORD, -1)]);
    assert!(cluster.log(&topic, 0).await.is_empty());
}

#[tokio::test]
async fn a_broker_recognises_the_last_five_batches_of_a_producer_and_no_older_ones() {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("last-five", 1).await;
    let stamp = |sequence| (4711, 0, sequence);
    for sequence in 0..7 {
        let answered = produce(&cluster, &topic, &[batch("v", stamp(sequence))]).await;
        assert_eq!(answered, [(ErrorCode::NONE, i64::from(sequence))]);
    }
    for sequence in 2..7 {
        let answered = produce(&cluster, &topic, &[batch("v", stamp(sequence))]).await;
        assert_eq!(answered, [(ErrorCode::NONE, i64::from(sequence))], "where it is");
    }
    for (sequence, epoch, code) in [
        (1, 0, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER),
        (9, 0, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER),
        (3, 1, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER),
    ] {
        let answered = produce(&cluster, &topic, &[batch("v", (4711, epoch, sequence))]).await;
        assert_eq!(answered, [(code, -1)], "sequence {sequence}, epoch {epoch}");
    }
    assert_eq!(produce(&cluster, &topic, &[batch("v", (4711, 1, 0))]).await, [(ErrorCode::NONE, 7)], "a new epoch");
    assert_eq!(produce(&cluster, &topic, &[batch("v", stamp(7))]).await, [(ErrorCode::INVALID_PRODUCER_EPOCH, -1)]);
    assert_eq!(cluster.log(&topic, 0).await.len(), 8);
}
