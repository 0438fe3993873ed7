//! Controls, the journal, waiting, and determinism.

use std::time::Duration;

use milena_mock_broker::{
    ApiKey, BrokerControl, ErrorCode, Fault, FaultHandle, GroupControl, Journal, MockCluster, Topic,
};

use crate::raw::{Client, Over, in_memory, one_broker, record};

#[tokio::test]
async fn the_journal_has_every_request() {
    let cluster = one_broker().await;
    let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    client.metadata("orders").await.unwrap();
    client.produce("orders", "a").await.unwrap();
    client.produce("orders", "b").await.unwrap();
    let produced = cluster.journal().requests(ApiKey::PRODUCE);
    assert_eq!(produced.len(), 2);
    let first = &produced[0];
    assert_eq!((first.broker, first.connection, first.version), (1, 1, 9));
    assert_eq!(first.client_id.as_deref(), Some("raw"));
    assert!(first.body.windows(6).any(|bytes| bytes == b"orders"));
    assert_eq!(cluster.journal().all().len(), 3);
    assert_eq!(cluster.with(|state| state.requests(ApiKey::PRODUCE)), 2);
}

/// What a seeded cluster and its one client do is the same in every run.
async fn run(seed: u64) -> (u64, Duration) {
    let cluster = MockCluster::builder()
        .brokers(3)
        .topic("orders", 1)
        .seed(seed)
        .pipe_latency(Duration::from_millis(1)..Duration::from_millis(20))
        .pipe_pieces(100)
        .start_in_memory();
    let _lost = cluster.fault(Fault::on(ApiKey::PRODUCE).probability(0.2).apply_then_disconnect()).optional();
    let leader = cluster.partition("orders", 0).leader().unwrap();
    let mut client = Client::connect(&cluster, leader, Over::Pipe).await.unwrap();
    for number in 0..50 {
        if client.produce("orders", &number.to_string()).await.is_err() {
            client = Client::connect(&cluster, leader, Over::Pipe).await.unwrap();
        }
    }
    assert_eq!(cluster.partition("orders", 0).values().len(), 50);
    drop(client);
    cluster.until("no open connections", |state| state.open_connections() == 0).await;
    let journal = cluster.journal();
    let last = journal.all().last().unwrap().at;
    (journal.trace_hash(), last)
}

#[tokio::test(start_paused = true)]
async fn one_seed_gives_one_trace() {
    let first = run(7).await;
    assert!(first.1 > Duration::from_millis(100), "latency passes in virtual time: {first:?}");
    assert_eq!(first, run(7).await);
    assert_ne!(first.0, run(8).await.0);
}

#[tokio::test]
async fn topics_come_and_go() {
    let cluster = in_memory();
    let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    cluster.create_topic(("payments", 3));
    cluster.create_topic(Topic::new("settings").partitions(1).config("cleanup.policy", "compact"));
    assert_eq!(client.metadata("payments").await.unwrap().topics[0].partitions.len(), 3);
    assert_eq!((cluster.partition_count("payments"), cluster.partition_count("nonsense")), (Some(3), None));
    client.produce("payments", "a").await.unwrap();
    assert_eq!(cluster.partition("payments", 0).log_start(), 0);
    assert_eq!(cluster.partition("payments", 0).values(), ["a"]);
    cluster.recreate_topic("payments");
    assert!(cluster.partition("payments", 0).values().is_empty());
    cluster.delete_topic("payments");
    let topic = &client.metadata("payments").await.unwrap().topics[0];
    assert_eq!(topic.error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

#[tokio::test(start_paused = true)]
async fn a_topic_changes_and_its_old_records_go() {
    let cluster = in_memory();
    let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    let orders = cluster.partition("orders", 0);
    for value in ["a", "b", "c", "d"] {
        client.produce("orders", value).await.unwrap();
    }
    orders.delete_records(1);
    assert_eq!((orders.values(), orders.log_start()), (vec!["b".into(), "c".into(), "d".into()], 1));
    orders.compact();
    assert!(orders.values().is_empty(), "none has a key");
    assert_eq!((orders.log_start(), orders.log_end()), (1, 4));

    // The client's records are of 1970.
    client.produce("orders", "e").await.unwrap();
    cluster.configure_topic("orders", "retention.ms", Some("-1"));
    orders.apply_retention();
    assert_eq!(orders.values(), ["e"]);
    cluster.configure_topic("orders", "retention.ms", None);
    tokio::time::sleep(Duration::from_secs(301)).await;
    assert_eq!(orders.log_start(), 5, "the next check has found it");

    cluster.add_partitions("orders", 3);
    assert_eq!(cluster.partition_count("orders"), Some(3));
    assert_eq!(client.metadata("orders").await.unwrap().topics[0].partitions.len(), 3);
}

#[tokio::test]
#[should_panic(expected = "cannot set retention.ms of topic orders to Some(\"soon\"): INVALID_CONFIG")]
async fn a_setting_needs_a_value_that_is_allowed() {
    in_memory().configure_topic("orders", "retention.ms", Some("soon"));
}

#[tokio::test]
#[should_panic(expected = "cannot delete topic nonsense: UNKNOWN_TOPIC_OR_PARTITION")]
async fn a_topic_that_is_not_there_cannot_be_deleted() {
    in_memory().delete_topic("nonsense");
}

#[tokio::test]
#[should_panic(expected = "no partition orders-7")]
async fn a_partition_that_is_not_there_cannot_be_looked_at() {
    let _ = in_memory().partition("orders", 7).values();
}

#[tokio::test]
#[should_panic(expected = "there is no broker 4 in the mock cluster b1:9092")]
async fn a_broker_that_is_not_there_cannot_be_crashed() {
    in_memory().broker(4).crash();
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "waited 60 s in vain for the mock cluster to have: a miracle")]
async fn waiting_gives_up_and_says_for_what_it_waited() {
    in_memory().until("a miracle", |_| false).await;
}

#[tokio::test(start_paused = true)]
async fn leaders_move_by_election_and_by_crash() {
    let cluster = MockCluster::builder().brokers(3).topic("orders", 1).min_insync(2).start_in_memory();
    let partition = cluster.partition("orders", 0);
    let replicas = partition.replicas();
    assert_eq!(replicas.len(), 3);
    assert_eq!(partition.leader(), Some(replicas[0]));
    let epoch = partition.leader_epoch();
    partition.elect(replicas[1]);
    assert_eq!((partition.leader(), partition.leader_epoch()), (Some(replicas[1]), epoch + 1));
    let mut client = Client::connect(&cluster, replicas[1], Over::Pipe).await.unwrap();
    assert_eq!(client.produce("orders", "a").await.unwrap().error_code, ErrorCode::NONE);
    cluster.broker(replicas[1]).crash();
    let leader = partition.leader().unwrap();
    assert_ne!(leader, replicas[1]);
    assert!(!partition.in_sync_replicas().contains(&replicas[1]));
    let mut client = Client::connect(&cluster, leader, Over::Pipe).await.unwrap();
    assert_eq!(client.produce("orders", "b").await.unwrap().error_code, ErrorCode::NONE);
    assert_eq!(partition.values(), ["a", "b"]);
    assert_eq!((partition.high_watermark(), partition.log_end()), (2, 2));
}

#[tokio::test]
async fn ports_are_given_or_free_and_a_taken_one_is_named() {
    let first = one_broker().await;
    let port = first.broker(1).port();
    let error = MockCluster::builder().brokers(1).ports([port]).start().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
    first.stop().await;
    let second = MockCluster::builder().brokers(1).ports([port]).start().await.unwrap();
    assert_eq!(second.bootstrap(), format!("127.0.0.1:{port}"));
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused() {
    for (builder, named) in [
        (MockCluster::builder().brokers(0), "0 brokers"),
        (MockCluster::builder().brokers(2).ports([0]), "1 ports were given for 2 brokers"),
        (MockCluster::builder().brokers(2).min_insync(3), "min.insync.replicas 3"),
        (MockCluster::builder().host(std::net::Ipv4Addr::UNSPECIFIED), "0.0.0.0"),
        (MockCluster::builder().group_max_session_timeout(Duration::from_secs(5)), "group.min.session.timeout.ms 6s"),
        (
            MockCluster::builder().brokers(2).with_topic(Topic::new("orders").replication_factor(3)),
            "INVALID_REPLICATION_FACTOR",
        ),
    ] {
        let error = builder.start().await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(named), "{error}");
    }
}

#[test]
fn the_cluster_works_from_threads_without_a_runtime() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cluster = runtime.block_on(one_broker());
    cluster.broker(1).crash();
    cluster.broker(1).restart();
    runtime.block_on(async {
        let mut client = Client::connect(&cluster, 1, Over::Socket).await.unwrap();
        let _ = client.call(9, &record("orders", "a")).await.unwrap();
    });
    drop(cluster);
}

#[test]
fn handles_cross_threads() {
    fn sync<T: Send + Sync + 'static>() {}
    sync::<MockCluster>();
    sync::<BrokerControl>();
    sync::<GroupControl>();
    sync::<FaultHandle>();
    sync::<Journal>();
    fn send<T: Send>(_: T) {}
    let futures = |cluster: MockCluster, fault: FaultHandle| {
        send(cluster.pipe("b1", 9092));
        send(async move { cluster.until("it", |_| true).await });
        send(async move { fault.hit().await });
        send(MockCluster::builder().start());
    };
    let _ = futures;
}
