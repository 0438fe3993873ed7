//! Connections: bad bytes, order, crashes, freezes, the end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use milena_mock_broker::{ErrorCode, MockCluster};
use milena_protocol::frame::correlation_id;
use milena_protocol::messages::api_versions::ApiVersionsRequest;
use milena_protocol::messages::produce::ProduceRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::raw::{BOTH, Client, METADATA_VERSION, Over, PATIENCE, about, in_memory, one_broker, record};

fn framed(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as i32).to_be_bytes(), bytes].concat()
}

/// Key, version, correlation id, no client id.
fn header(key: i16, version: i16) -> Vec<u8> {
    [&key.to_be_bytes()[..], &version.to_be_bytes(), &[0, 0, 0, 9], &[255, 255]].concat()
}

#[tokio::test]
async fn bad_bytes_close_their_connection_and_no_other() {
    let cluster = one_broker().await;
    for over in BOTH {
        let mut neighbour = Client::connect(&cluster, 1, over).await.unwrap();
        assert_eq!(neighbour.metadata("orders").await.unwrap().topics.len(), 1);
        for (what, bytes) in [
            ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
            ("TLS", vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]),
            ("a length of -1", vec![255; 4]),
            ("a length of 2 GiB", i32::MAX.to_be_bytes().to_vec()),
            ("an empty frame", framed(b"")),
            ("garbage in a frame", framed(&[0xab; 300])),
            ("an unknown API", framed(&header(999, 0))),
            ("an unknown version", framed(&header(3, 999))),
            ("a body that is cut", framed(&header(0, 3))),
        ] {
            let mut bad = Client::connect(&cluster, 1, over).await.unwrap();
            bad.stream.write_all(&bytes).await.unwrap();
            tokio::time::timeout(PATIENCE, bad.expect_closed()).await.unwrap_or_else(|_| panic!("{what} {over:?}"));
            assert_eq!(neighbour.metadata("orders").await.unwrap().topics.len(), 1, "after {what} {over:?}");
        }
        drop(neighbour);
        cluster.until("no open connections", |state| state.open_connections() == 0).await;
    }
}

#[tokio::test]
async fn a_claimed_length_is_waited_for_and_its_sender_may_leave() {
    let cluster = one_broker().await;
    for over in BOTH {
        let mut slow = Client::connect(&cluster, 1, over).await.unwrap();
        slow.stream.write_all(&(100 * 1024 * 1024i32).to_be_bytes()).await.unwrap();
        slow.stream.write_all(b"no more than this").await.unwrap();
        let mut neighbour = Client::connect(&cluster, 1, over).await.unwrap();
        assert_eq!(neighbour.metadata("orders").await.unwrap().topics.len(), 1);
        drop((slow, neighbour));
        cluster.until("no open connections", |state| state.open_connections() == 0).await;
    }
}

#[tokio::test]
async fn an_api_versions_request_of_the_future_is_answered_in_version_0() {
    let cluster = one_broker().await;
    let mut client = Client::connect(&cluster, 1, Over::Socket).await.unwrap();
    // The header has tagged fields since version 3: none.
    client.stream.write_all(&framed(&[header(18, 99), vec![0]].concat())).await.unwrap();
    let response = client.receive::<ApiVersionsRequest>(0).await.unwrap();
    assert_eq!(response.error_code, ErrorCode::UNSUPPORTED_VERSION);
    let response = client
        .call(
            3,
            &ApiVersionsRequest {
                client_software_name: "raw".into(),
                client_software_version: "1".into(),
                ..Default::default()
            },
        )
        .await
        .unwrap();
    assert!(response.api_keys.iter().any(|api| api.api_key == 0));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let cluster = one_broker().await;
    for over in BOTH {
        let mut client = Client::connect(&cluster, 1, over).await.unwrap();
        for _ in 0..50 {
            client.send(METADATA_VERSION, &about("orders")).await.unwrap();
        }
        for expected in 1..=50 {
            let frame = client.receive_frame().await.unwrap();
            assert_eq!(correlation_id(&frame).unwrap(), expected);
        }
    }
}

#[tokio::test]
async fn what_a_client_sent_before_it_left_is_applied() {
    let cluster = one_broker().await;
    for (over, records) in BOTH.into_iter().zip([3, 6]) {
        let mut client = Client::connect(&cluster, 1, over).await.unwrap();
        for _ in 0..3 {
            client.send(9, &ProduceRequest { acks: 0, ..record("orders", "a") }).await.unwrap();
        }
        drop(client);
        cluster.until("the records", |state| state.log_end("orders", 0) == records).await;
        cluster.until("no open connections", |state| state.open_connections() == 0).await;
    }
}

#[tokio::test]
async fn a_crash_breaks_connections_and_refuses_new_ones_until_the_restart() {
    let cluster = MockCluster::builder().brokers(2).topic("orders", 1).start().await.unwrap();
    for over in BOTH {
        cluster.until("no connection of the round before", |state| state.open_connections() == 0).await;
        let port = cluster.broker(1).port();
        let mut victim = Client::connect(&cluster, 1, over).await.unwrap();
        victim.metadata("orders").await.unwrap();
        let mut survivor = Client::connect(&cluster, 2, over).await.unwrap();
        survivor.metadata("orders").await.unwrap();
        cluster.broker(1).crash();
        cluster.broker(1).crash();
        assert!(!cluster.broker(1).is_up());
        assert_eq!(cluster.with(|state| state.open_connections()), 1);
        victim.expect_closed().await;
        let refused = Client::connect(&cluster, 1, over).await.err().map(|error| error.kind());
        assert_eq!(refused, Some(io::ErrorKind::ConnectionRefused));
        assert_eq!(survivor.metadata("orders").await.unwrap().brokers.len(), 1);
        cluster.broker(1).restart();
        cluster.broker(1).restart();
        assert!(cluster.broker(1).is_up());
        assert_eq!(cluster.broker(1).port(), port);
        let mut back = Client::connect(&cluster, 1, over).await.unwrap();
        assert_eq!(back.metadata("orders").await.unwrap().brokers.len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[allow(clippy::disallowed_methods, reason = "clients on real threads")]
async fn crashes_and_restarts_under_load_lose_no_connection_and_no_answer() {
    let cluster = one_broker().await;
    let stopping = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|index| {
            let (cluster, stopping) = (cluster.clone(), Arc::clone(&stopping));
            tokio::spawn(async move {
                let mut written = 0;
                while !stopping.load(Ordering::Relaxed) {
                    let Ok(mut client) = Client::connect(&cluster, 1, BOTH[index % 2]).await else {
                        tokio::task::yield_now().await;
                        continue;
                    };
                    while client.produce("orders", "a").await.is_ok_and(|answer| answer.error_code.is_none()) {
                        written += 1;
                        if stopping.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                }
                written
            })
        })
        .collect();
    for round in 1..=30 {
        cluster.until("progress", |state| state.log_end("orders", 0) >= round * 20).await;
        cluster.broker(1).crash();
        assert_eq!(cluster.with(|state| state.open_connections()), 0);
        cluster.broker(1).restart();
    }
    cluster.until("progress after the last restart", |state| state.log_end("orders", 0) >= 640).await;
    stopping.store(true, Ordering::Relaxed);
    let mut acknowledged = 0;
    for client in clients {
        acknowledged += tokio::time::timeout(PATIENCE, client).await.expect("a client hangs").unwrap();
    }
    let written = cluster.partition("orders", 0).values().len();
    assert!(acknowledged <= written && written <= acknowledged + 8 * 31, "{acknowledged} of {written}");
    cluster.until("no open connections", |state| state.open_connections() == 0).await;
}

#[tokio::test]
async fn a_cut_pipe_is_reset() {
    let cluster = in_memory();
    let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    cluster.broker(1).crash();
    assert_eq!(client.stream.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_unknown_address_is_named_with_those_there_are() {
    let cluster = MockCluster::builder().brokers(2).start_in_memory();
    let error = cluster.pipe("b3", 9092).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert_eq!(error.to_string(), "no mock broker has the address b3:9092; they have b1:9092, b2:9092");
}

#[tokio::test(start_paused = true)]
async fn a_frozen_broker_answers_after_the_thaw() {
    let cluster = in_memory();
    let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    cluster.broker(1).freeze();
    let mut late = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    client.send(9, &record("orders", "a")).await.unwrap();
    late.send(METADATA_VERSION, &about("orders")).await.unwrap();
    let hour = Duration::from_secs(3600);
    assert!(tokio::time::timeout(hour, client.stream.read_u8()).await.is_err());
    assert!(tokio::time::timeout(hour, late.stream.read_u8()).await.is_err());
    assert!(cluster.partition("orders", 0).values().is_empty(), "nothing is applied while it is frozen");
    cluster.broker(1).thaw();
    assert!(client.receive::<ProduceRequest>(9).await.is_ok());
    assert!(late.receive_frame().await.is_ok());
    assert_eq!(cluster.partition("orders", 0).values(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_ends_a_freeze() {
    let cluster = in_memory();
    cluster.broker(1).freeze();
    let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    client.send(METADATA_VERSION, &about("orders")).await.unwrap();
    cluster.broker(1).crash();
    client.expect_closed().await;
    cluster.broker(1).freeze();
    cluster.broker(1).restart();
    let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    assert_eq!(client.metadata("orders").await.unwrap().topics.len(), 1);
}

#[tokio::test]
async fn after_stop_nothing_is_left_but_the_logs() {
    for over in BOTH {
        let cluster = one_broker().await;
        let port = cluster.broker(1).port();
        let mut client = Client::connect(&cluster, 1, over).await.unwrap();
        client.produce("orders", "a").await.unwrap();
        cluster.stop().await;
        cluster.stop().await;
        client.expect_closed().await;
        assert!(Client::connect(&cluster, 1, over).await.is_err());
        assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
        assert_eq!(cluster.partition("orders", 0).values(), ["a"]);
        assert_eq!(cluster.with(|state| state.open_connections()), 0);
    }
}

#[tokio::test]
async fn the_last_handle_ends_the_cluster_and_its_tasks() {
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let cluster = one_broker().await;
    let (host, port) = (cluster.broker(1).host().to_owned(), cluster.broker(1).port());
    let mut client = Client::connect(&cluster, 1, Over::Socket).await.unwrap();
    let mut piped = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    client.metadata("orders").await.unwrap();
    let clone = cluster.clone();
    drop(cluster);
    client.metadata("orders").await.unwrap();
    drop(clone);
    client.expect_closed().await;
    piped.expect_closed().await;
    assert!(TcpStream::connect((host, port)).await.is_err());
    let left = async {
        while tokio::runtime::Handle::current().metrics().num_alive_tasks() > before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, left).await.expect("tasks outlive the cluster");
}
