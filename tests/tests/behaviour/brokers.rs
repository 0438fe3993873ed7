//! What brokers do that the client relies on or avoids, asked of them without it: the mock cluster must be like Kafka.

use bytes::Bytes;
use milena::ErrorCode;
use milena_protocol::messages::fetch::FetchRequest;
use milena_protocol::messages::produce::PartitionProduceData;
use milena_tests::cluster::{TestCluster, is_older_than};
use milena_tests::raw::{self, NoAnswer, RawBatch};

const PRODUCE: i16 = 9;
const FETCH: i16 = 12;

/// A batch of one record of an idempotent producer.
fn batch(value: &str, (id, epoch, sequence): (i64, i16, i32)) -> Bytes {
    RawBatch::of([value]).producer(id, epoch, sequence).encode()
}

/// Sends batches for partition 0 in one request. Returns what was answered for each partition that was answered.
async fn produce(cluster: &TestCluster, topic: &str, batches: &[Bytes]) -> Vec<(ErrorCode, i64)> {
    let data = |batch: &Bytes| PartitionProduceData { index: 0, records: Some(batch.clone().into()) };
    let mut request = raw::produce(topic, 0, Bytes::new());
    request.topic_data[0].partition_data = batches.iter().map(data).collect();
    let mut answer = cluster.raw_leader(topic, 0).await.ask(PRODUCE, &request).await;
    let partitions = answer.responses.remove(0).partition_responses;
    partitions.iter().map(|partition| (partition.error_code, partition.base_offset)).collect()
}

#[tokio::test]
async fn requests_of_one_connection_are_answered_in_their_order() {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("in-order", 1).await;
    let mut leader = cluster.raw_leader(&topic, 0).await;
    let waiting = FetchRequest { max_wait_ms: 300, min_bytes: 1, ..raw::fetch(&topic, 0, 0) };

    let fetched = leader.send(FETCH, &waiting).await;
    let produced = leader.send(PRODUCE, &raw::produce(&topic, 0, RawBatch::of(["a"]))).await;

    let fetched = leader.answer(fetched).await;
    assert_eq!(fetched.responses[0].partitions[0].high_watermark, 0, "what was behind it was not done before it");
    assert_eq!(leader.answer(produced).await.responses[0].partition_responses[0].base_offset, 0);
    assert_eq!(leader.try_ask(FETCH, &raw::fetch(&topic, 0, 0)).await.map(|_| ()), Ok(()));
}

#[tokio::test]
async fn a_version_that_is_not_served_closes_the_connection() {
    let cluster = TestCluster::shared().await;
    let request = FetchRequest { topics: Vec::new(), ..Default::default() };
    let no_more = if is_older_than((4, 0)) { None } else { Some(3) };
    for version in no_more.into_iter().chain([99]) {
        assert_eq!(cluster.raw(1).await.try_ask(version, &request).await, Err(NoAnswer::Closed), "version {version}");
    }
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
