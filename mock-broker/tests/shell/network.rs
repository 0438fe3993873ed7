//! One-way cuts, zombies, brokers that come, go and move, seen by a client.

use std::io;
use std::time::Duration;

use milena_mock_broker::{ApiKey, Direction, ErrorCode, Fault, MockCluster, Topic};
use milena_protocol::messages::produce::ProduceRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::raw::{BOTH, Client, METADATA_VERSION, Over, PRODUCE_VERSION, about, one_broker, record};

/// Long enough to be sure on a paused clock.
const MINUTE: Duration = Duration::from_secs(60);

async fn hears_nothing(client: &mut Client) -> bool {
    tokio::time::timeout(MINUTE, client.stream.read_u8()).await.is_err()
}

fn in_memory() -> MockCluster {
    MockCluster::builder().brokers(1).topic("orders", 1).start_in_memory()
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_on_a_cut_way_to_the_broker_arrives_when_it_is_mended() {
    let cluster = in_memory();
    let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    client.metadata("orders").await.unwrap();
    cluster.broker(1).cut(Direction::ToBroker);
    client.send(PRODUCE_VERSION, &record("orders", "a")).await.unwrap();
    assert!(hears_nothing(&mut client).await);
    assert!(cluster.partition("orders", 0).values().is_empty());
    cluster.broker(1).mend(Direction::ToBroker);
    assert!(client.receive::<ProduceRequest>(PRODUCE_VERSION).await.is_ok());
    assert_eq!(cluster.partition("orders", 0).values(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_over_a_cut_way_back_is_applied_and_answered_when_it_is_mended() {
    let cluster = in_memory();
    let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    cluster.broker(1).cut(Direction::ToClient);
    client.send(PRODUCE_VERSION, &record("orders", "a")).await.unwrap();
    assert!(hears_nothing(&mut client).await);
    assert_eq!(cluster.partition("orders", 0).values(), ["a"]);
    // The broker closes the connection, which does not show either, and a new one has to wait.
    client.stream.write_all(&[0; 8]).await.unwrap();
    let connecting = Client::connect(&cluster, 1, Over::Pipe);
    tokio::pin!(connecting);
    assert!(tokio::time::timeout(MINUTE, &mut connecting).await.is_err());
    cluster.broker(1).mend(Direction::ToClient);
    assert!(client.receive::<ProduceRequest>(PRODUCE_VERSION).await.is_ok());
    client.expect_closed().await;
    assert!(connecting.await.unwrap().metadata("orders").await.is_ok());
}

#[tokio::test]
async fn cuts_work_on_sockets() {
    let cluster = one_broker().await;
    for (direction, before) in [(Direction::ToBroker, 0), (Direction::ToClient, 2)] {
        let mut client = Client::connect(&cluster, 1, Over::Socket).await.unwrap();
        let mut idle = Client::connect(&cluster, 1, Over::Socket).await.unwrap();
        client.metadata("orders").await.unwrap();
        cluster.broker(1).cut(direction);
        client.send(PRODUCE_VERSION, &record("orders", "a")).await.unwrap();
        let mut late = Client::connect(&cluster, 1, Over::Socket).await.unwrap();
        late.send(METADATA_VERSION, &about("orders")).await.unwrap();
        if direction == Direction::ToClient {
            cluster.until("the record", |state| state.log_end("orders", 0) == before).await;
        }
        let silence = tokio::time::timeout(Duration::from_millis(50), client.stream.read_u8()).await;
        assert!(silence.is_err(), "{direction:?}");
        cluster.broker(1).mend(direction);
        assert!(client.receive::<ProduceRequest>(PRODUCE_VERSION).await.is_ok());
        assert!(late.receive_frame().await.is_ok());
        assert!(idle.metadata("orders").await.is_ok());
    }
    assert_eq!(cluster.partition("orders", 0).values().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_zombie_serves_clients_and_what_it_takes_is_lost() {
    let cluster = MockCluster::builder().brokers(3).topic("orders", 1).start_in_memory();
    let partition = cluster.partition("orders", 0);
    let [zombie, next, _] = partition.replicas()[..] else { panic!("three replicas") };
    let mut at_zombie = Client::connect(&cluster, zombie, Over::Pipe).await.unwrap();
    cluster.broker(zombie).isolate();
    cluster.until("another leader", |state| state.leader("orders", 0) == Some(next)).await;
    let acks_1 = ProduceRequest { acks: 1, ..record("orders", "lost") };
    let answer = at_zombie.call(PRODUCE_VERSION, &acks_1).await.unwrap();
    assert_eq!(answer.responses[0].partition_responses[0].error_code, ErrorCode::NONE);
    let mut at_next = Client::connect(&cluster, next, Over::Pipe).await.unwrap();
    at_next.produce("orders", "kept").await.unwrap();
    assert_eq!(partition.records_at(zombie)[0].value.as_deref(), Some(&b"lost"[..]));
    assert_eq!((partition.log_end_at(zombie), partition.high_watermark_at(zombie)), (1, 0));
    cluster.broker(zombie).rejoin();
    assert_eq!(partition.records_at(zombie), partition.records());
    assert_eq!((partition.values(), partition.high_watermark_at(zombie)), (vec!["kept".into()], 1));
}

/// Since KIP-966 the high watermark stands still below `min.insync.replicas`, so a broker gives this error in a race only.
#[tokio::test]
async fn not_enough_replicas_after_append_comes_from_a_fault_and_the_record_is_written() {
    let cluster = in_memory();
    let code = ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND;
    let after_append = cluster.fault(Fault::on(ApiKey::PRODUCE).topic("orders").apply_then_error(code));
    let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    assert_eq!(client.produce("orders", "a").await.unwrap().error_code, code);
    assert_eq!((after_append.hits(), cluster.partition("orders", 0).values()), (1, vec!["a".into()]));
}

#[tokio::test]
async fn brokers_come_go_and_move() {
    for over in BOTH {
        let cluster = match over {
            Over::Socket => MockCluster::builder().brokers(2).racks(["a", "b"]).start().await.unwrap(),
            Over::Pipe => MockCluster::builder().brokers(2).racks(["a", "b"]).start_in_memory(),
        };
        let third = cluster.add_broker_in_rack("c");
        assert_eq!((third.id(), third.rack().as_deref(), cluster.add_broker().rack()), (3, Some("c"), None));
        cluster.broker(4).remove();
        cluster.create_topic(Topic::new("wide").replication_factor(3));
        let mut client = Client::connect(&cluster, 3, over).await.unwrap();
        assert_eq!(client.metadata("wide").await.unwrap().brokers.len(), 3);

        let old = cluster.broker(1);
        let new = old.change_address("elsewhere");
        assert_ne!((old.host(), old.port()), (new.host(), new.port()));
        let metadata = client.metadata("wide").await.unwrap();
        let told = metadata.brokers.iter().find(|broker| broker.node_id == 1).unwrap();
        assert_eq!((&*told.host, told.port), (new.host(), i32::from(new.port())));
        assert!(Client::connect(&cluster, 1, over).await.unwrap().metadata("wide").await.is_ok());
        let gone = match over {
            Over::Socket => tokio::net::TcpStream::connect((old.host(), old.port())).await.map(drop),
            Over::Pipe => cluster.pipe(old.host(), old.port()).await.map(drop),
        };
        let kind = gone.unwrap_err().kind();
        assert!([io::ErrorKind::ConnectionRefused, io::ErrorKind::NotFound].contains(&kind), "{kind:?}");

        third.clone().remove();
        client.expect_closed().await;
        assert!(!cluster.partition("wide", 0).in_sync_replicas().contains(&3));
        assert!(std::panic::catch_unwind(|| cluster.broker(3)).is_err());
        assert_eq!(cluster.add_broker().id(), 5, "partitions still name the others");
    }
}

#[tokio::test]
#[should_panic(expected = "mock broker 1 cannot move to another address: mock broker 2 has the host b2")]
async fn two_brokers_in_memory_cannot_have_one_address() {
    MockCluster::builder().brokers(2).start_in_memory().broker(1).change_address("b2");
}

#[tokio::test(start_paused = true)]
async fn who_waits_at_a_cut_way_is_refused_when_the_cluster_stops() {
    let cluster = in_memory();
    cluster.broker(1).cut(Direction::ToBroker);
    let mut connecting = std::pin::pin!(cluster.pipe("b1", 9092));
    assert!(tokio::time::timeout(MINUTE, &mut connecting).await.is_err());
    cluster.stop().await;
    assert_eq!(connecting.await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
#[should_panic(expected = "cannot hold the replica on broker 7 of orders-0: REPLICA_NOT_AVAILABLE")]
async fn a_replica_that_is_not_there_cannot_be_held() {
    in_memory().partition("orders", 0).hold_replica(7);
}
