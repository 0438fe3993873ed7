//! What each kind of fault does, over sockets and over pipes.

use std::time::Duration;

use milena_mock_broker::{ApiKey, ErrorCode, Fault, MockCluster};
use milena_protocol::frame::{correlation_id, decode_response};
use milena_protocol::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use milena_protocol::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::raw::{BOTH, Client, Over, PATIENCE, PRODUCE_VERSION, about, now, record};

const MILLISECOND: Duration = Duration::from_millis(1);

/// One broker with the topic `orders` of three partitions.
async fn cluster() -> MockCluster {
    MockCluster::builder().brokers(1).topic("orders", 3).start().await.unwrap()
}

/// What became of a request of one record, `a`, for partition 0.
#[derive(Debug, PartialEq)]
enum Seen {
    Code(ErrorCode),
    /// So many bytes, then the end.
    Cut(usize),
    WrongCorrelationId,
    /// Nothing, until the client gave up.
    Silence,
    /// An answer that is not one.
    Garbage,
}

async fn send_record(client: &mut Client, patience: Duration) -> Seen {
    client.send(PRODUCE_VERSION, &record("orders", "a")).await.unwrap();
    let mut length = [0; 4];
    let mut received = 0;
    while received < 4 {
        match tokio::time::timeout(patience, client.stream.read(&mut length[received..])).await {
            Err(_) => return Seen::Silence,
            Ok(Ok(0) | Err(_)) => return Seen::Cut(received),
            Ok(Ok(read)) => received += read,
        }
    }
    let mut frame = Vec::new();
    let length = u64::from(u32::from_be_bytes(length));
    (&mut client.stream).take(length).read_to_end(&mut frame).await.unwrap();
    if (frame.len() as u64) < length {
        return Seen::Cut(4 + frame.len());
    }
    if correlation_id(&frame.clone().into()).unwrap() != 1 {
        return Seen::WrongCorrelationId;
    }
    match decode_response::<ProduceRequest>(PRODUCE_VERSION, frame.into()) {
        Ok(response) => Seen::Code(response.responses[0].partition_responses[0].error_code),
        Err(_) => Seen::Garbage,
    }
}

/// Each action: what the client sees, and whether the record is in the log.
#[tokio::test]
async fn every_action_is_seen_by_its_client_and_by_no_other() {
    let on = || Fault::on(ApiKey::PRODUCE).client_id("raw").topic("orders");
    let refused = ErrorCode::NOT_LEADER_OR_FOLLOWER;
    let ok = Seen::Code(ErrorCode::NONE);
    let cases = [
        (on().error(refused), Seen::Code(refused), false),
        (on().record_error(ErrorCode::INVALID_RECORD, [0]), Seen::Code(ErrorCode::INVALID_RECORD), false),
        (on().apply_then_error(refused), Seen::Code(refused), true),
        (on().delay(5 * MILLISECOND), Seen::Code(ErrorCode::NONE), true),
        (on().apply_then_delay(5 * MILLISECOND), Seen::Code(ErrorCode::NONE), true),
        (on().disconnect(), Seen::Cut(0), false),
        (on().apply_then_disconnect(), Seen::Cut(0), true),
        (on().never_answer(), Seen::Silence, false),
        (Fault::on(ApiKey::PRODUCE).cut_request_at(30), Seen::Cut(0), false),
        (on().cut_request_at(30), Seen::Cut(0), false),
        (on().cut_response_at(0), Seen::Cut(0), true),
        (on().cut_response_at(3), Seen::Cut(3), true),
        (on().cut_response_at(9), Seen::Cut(9), true),
        (on().trickle(20_000), Seen::Code(ErrorCode::NONE), true),
        // The number of topics, behind the correlation id and the header's tags.
        (on().flip_bit(40), Seen::Garbage, true),
        (on().flip_bit(31), Seen::WrongCorrelationId, true),
        (on().wrong_correlation_id(), Seen::WrongCorrelationId, true),
        (on().throttle(MILLISECOND), ok, true),
    ];
    for (fault, seen, is_applied) in cases {
        for over in BOTH {
            let cluster = cluster().await;
            let name = format!("{fault:?} {over:?}");
            let rule = cluster.fault(fault.clone());
            let mut neighbour = Client::connect(&cluster, 1, over).await.unwrap();
            let mut client = Client::connect(&cluster, 1, over).await.unwrap();
            // Silence is not told from slowness: it cannot fail on a slow machine.
            let patience = if seen == Seen::Silence { 100 * MILLISECOND } else { PATIENCE };
            assert_eq!(send_record(&mut client, patience).await, seen, "{name}");
            assert_eq!(rule.hits(), 1, "{name}");
            let values = cluster.partition("orders", 0).values();
            assert_eq!(values, if is_applied { vec!["a"] } else { vec![] }, "{name}");
            assert_eq!(neighbour.produce("orders", "b").await.unwrap().error_code, ErrorCode::NONE, "{name}");
        }
    }
}

#[tokio::test]
async fn connections_are_refused_so_often_and_then_are_not() {
    for over in BOTH {
        let cluster = cluster().await;
        let rule = cluster.fault(Fault::connections().broker(1).times(2).refuse());
        for _ in 0..2 {
            match Client::connect(&cluster, 1, over).await {
                Err(error) => {
                    assert_eq!((over, error.kind()), (Over::Pipe, std::io::ErrorKind::ConnectionRefused), "{error}");
                }
                Ok(mut client) => {
                    assert_eq!(over, Over::Socket);
                    client.expect_closed().await;
                }
            }
        }
        rule.hit_times(2).await;
        let mut client = Client::connect(&cluster, 1, over).await.unwrap();
        assert_eq!(client.produce("orders", "a").await.unwrap().error_code, ErrorCode::NONE);
        assert_eq!(cluster.with(|state| state.connections().map(|open| open.number).collect::<Vec<_>>()), [1]);
    }
}

#[tokio::test]
async fn a_long_request_is_cut_while_it_is_written() {
    for over in BOTH {
        let cluster = cluster().await;
        let rule = cluster.fault(Fault::on(ApiKey::PRODUCE).cut_request_at(1000));
        let mut client = Client::connect(&cluster, 1, over).await.unwrap();
        let value = "x".repeat(32 * 1024 * 1024);
        let request = record("orders", &value);
        let sent = tokio::time::timeout(PATIENCE, client.send(PRODUCE_VERSION, &request));
        assert!(sent.await.expect("the write ends").is_err(), "{over:?}: the whole request was written");
        assert_eq!(rule.hits(), 1);
        assert!(cluster.partition("orders", 0).values().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_trickles_at_its_rate() {
    let cluster = MockCluster::builder().brokers(1).topic("orders", 1).start_in_memory();
    for (rate, bytes_a_tick) in [(10, 1), (200, 10)] {
        let _slow = cluster.fault(Fault::on(ApiKey::PRODUCE).trickle(rate));
        let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
        let start = now();
        client.send(PRODUCE_VERSION, &record("orders", "a")).await.unwrap();
        let length = 4 + client.receive_frame().await.unwrap().len() as u32;
        let pauses = length.div_ceil(bytes_a_tick) - 1;
        assert_eq!(start.elapsed(), pauses * bytes_a_tick * Duration::from_secs(1) / rate, "{rate} bytes a second");
    }
}

/// KIP-219.
#[tokio::test(start_paused = true)]
async fn a_throttled_client_is_answered_first_and_then_not_heard() {
    let cluster = MockCluster::builder().brokers(1).topic("orders", 1).start_in_memory();
    let second = Duration::from_secs(1);
    let _quota = cluster.fault(Fault::on(ApiKey::PRODUCE).throttle(5 * second));
    let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    let start = now();
    let response = client.call(PRODUCE_VERSION, &record("orders", "a")).await.unwrap();
    assert_eq!((response.throttle_time_ms, start.elapsed()), (5000, Duration::ZERO));
    client.metadata("orders").await.unwrap();
    assert_eq!(start.elapsed(), 5 * second);
}

/// A request with a record for each of these partitions.
fn for_partitions(partitions: &[i32]) -> ProduceRequest {
    let mut request = record("orders", "a");
    let records = request.topic_data[0].partition_data[0].records.clone();
    request.topic_data[0].partition_data =
        partitions.iter().map(|index| PartitionProduceData { index: *index, records: records.clone() }).collect();
    request
}

fn codes(response: &ProduceResponse) -> Vec<(i32, ErrorCode)> {
    let rows = response.responses[0].partition_responses.iter();
    let mut rows: Vec<_> = rows.map(|row| (row.index, row.error_code)).collect();
    rows.sort_unstable();
    rows
}

#[tokio::test]
async fn an_error_of_one_partition_leaves_the_others_as_they_are() {
    let (none, full) = (ErrorCode::NONE, ErrorCode::NOT_ENOUGH_REPLICAS);
    for over in BOTH {
        let cluster = cluster().await;
        let mut client = Client::connect(&cluster, 1, over).await.unwrap();
        let fault = cluster.fault(Fault::on(ApiKey::PRODUCE).topic("orders").partition(1).error(full));
        let response = client.call(PRODUCE_VERSION, &for_partitions(&[0, 1, 2])).await.unwrap();
        assert_eq!(codes(&response), [(0, none), (1, full), (2, none)]);
        let counts = |()| [0, 1, 2].map(|partition| cluster.partition("orders", partition).values().len());
        assert_eq!(counts(()), [1, 0, 1]);
        drop(fault);
        let _fault = cluster.fault(Fault::on(ApiKey::PRODUCE).partition(2).apply_then_error(full));
        let response = client.call(PRODUCE_VERSION, &for_partitions(&[0, 1, 2])).await.unwrap();
        assert_eq!(codes(&response), [(0, none), (1, none), (2, full)]);
        assert_eq!(counts(()), [2, 1, 2]);
    }
}

#[tokio::test]
async fn an_error_of_one_fetched_partition_comes_at_once_with_the_records_of_the_others() {
    for over in BOTH {
        let cluster = cluster().await;
        let mut client = Client::connect(&cluster, 1, over).await.unwrap();
        client.produce("orders", "a").await.unwrap();
        let partition = |partition| FetchPartition { partition, partition_max_bytes: 1000, ..Default::default() };
        let topic =
            FetchTopic { topic: "orders".into(), partitions: vec![partition(0), partition(1)], ..Default::default() };
        let request =
            FetchRequest { max_wait_ms: i32::MAX, min_bytes: 10_000, topics: vec![topic], ..Default::default() };
        let _fault = cluster.fault(Fault::on(ApiKey::FETCH).partition(1).error(ErrorCode::KAFKA_STORAGE_ERROR));
        let response: FetchResponse = client.call(12, &request).await.unwrap();
        let mut rows = response.responses.iter().flat_map(|topic| &topic.partitions);
        let good = rows.find(|row| row.partition_index == 0).unwrap();
        assert!(good.error_code.is_none() && !good.records.as_ref().unwrap().is_empty());
        let mut rows = response.responses.iter().flat_map(|topic| &topic.partitions);
        let bad = rows.find(|row| row.partition_index == 1).unwrap();
        assert_eq!(bad.error_code, ErrorCode::KAFKA_STORAGE_ERROR);
    }
}

/// KIP-467.
#[tokio::test]
async fn an_error_of_records_names_them() {
    let cluster = cluster().await;
    let mut client = Client::connect(&cluster, 1, Over::Socket).await.unwrap();
    let _fault = cluster.fault(Fault::on(ApiKey::PRODUCE).record_error(ErrorCode::INVALID_RECORD, [0, 2]));
    let answer = client.produce("orders", "a").await.unwrap();
    assert_eq!(answer.error_code, ErrorCode::INVALID_RECORD);
    assert_eq!(answer.record_errors.iter().map(|row| row.batch_index).collect::<Vec<_>>(), [0, 2]);
    assert!(answer.error_message.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_is_added_while_the_client_is_idle_cuts_its_next_request() {
    let cluster = MockCluster::builder().brokers(1).topic("orders", 1).start_in_memory();
    let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    client.metadata("orders").await.unwrap();
    let _cut = cluster.fault(Fault::on(ApiKey::METADATA).cut_request_at(20));
    client.send(9, &about("orders")).await.unwrap();
    client.expect_closed().await;
    let mut silent = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    let _cut = cluster.fault(Fault::any().cut_request_at(20)).optional();
    silent.stream.write_all(&[0, 0]).await.unwrap();
    silent.stream.shutdown().await.unwrap();
    silent.expect_closed().await;
}
