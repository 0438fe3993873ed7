//! Replicas that lag, disks that are lost, brokers that do not know a topic, seen by a client.

use std::time::Duration;

use milena_mock_broker::{ErrorCode, MockCluster, Topic};
use milena_protocol::records::BatchHeader;

use crate::raw::{Client, Over, PRODUCE_VERSION, in_memory, now, record_of};

#[tokio::test(start_paused = true)]
async fn what_only_a_lost_disk_had_is_gone_and_a_replica_that_lagged_leads_without_it() {
    let lag = Duration::from_secs(3);
    let orders = Topic::new("orders").partitions(1).replication_factor(2);
    let cluster = MockCluster::builder().brokers(2).with_topic(orders).replica_lag_time_max(lag).start_in_memory();
    let partition = cluster.partition("orders", 0);
    let [leader, follower] = partition.replicas()[..] else { panic!("two replicas") };
    let mut client = Client::connect(&cluster, leader, Over::Pipe).await.unwrap();
    partition.hold_replica(follower);
    let start = now();
    assert_eq!(client.produce("orders", "a").await.unwrap().error_code, ErrorCode::NONE);
    assert_eq!((start.elapsed(), partition.in_sync_replicas()), (lag, vec![leader]), "the leader has waited for it");
    assert_eq!(partition.values(), ["a"]);

    cluster.broker(leader).crash_and_lose_disk();
    assert_eq!((partition.leader(), partition.log_end()), (None, 0), "who has it is gone");
    assert!(partition.values().is_empty());
    let epoch = partition.leader_epoch();
    partition.elect_unclean(follower);
    assert_eq!((partition.leader(), partition.leader_epoch()), (Some(follower), epoch + 1));
    let mut client = Client::connect(&cluster, follower, Over::Pipe).await.unwrap();
    assert_eq!(client.produce("orders", "b").await.unwrap().base_offset, 0);
    cluster.broker(leader).restart();
    assert_eq!(partition.values(), ["b"]);
    assert_eq!(partition.records_at(leader), partition.records_at(follower), "the disk is filled anew");
}

#[tokio::test]
async fn a_topic_is_hidden_on_one_broker_and_shown_again() {
    let cluster = MockCluster::builder().brokers(2).topic("orders", 1).start_in_memory();
    let known = async |broker: i32| {
        let mut client = Client::connect(&cluster, broker, Over::Pipe).await.unwrap();
        client.metadata("orders").await.unwrap().topics[0].error_code
    };
    cluster.broker(2).hide_topic("orders");
    let hidden = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    assert_eq!((known(1).await, known(2).await), (ErrorCode::NONE, hidden));
    cluster.broker(2).show_topic("orders");
    assert_eq!(known(2).await, ErrorCode::NONE);
}

#[tokio::test]
async fn a_producer_that_has_expired_is_one_that_was_never_seen() {
    let cluster = in_memory();
    let partition = cluster.partition("orders", 0);
    let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    let mut write = async |base_sequence| {
        let producer = BatchHeader { producer_id: 7, producer_epoch: 0, base_sequence, ..Default::default() };
        let answer = client.call(PRODUCE_VERSION, &record_of("orders", "a", producer)).await.unwrap();
        answer.responses[0].partition_responses[0].error_code
    };
    assert_eq!((write(0).await, write(5).await), (ErrorCode::NONE, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    assert_eq!(partition.producers()[0].producer_id, 7);
    partition.expire_producers();
    assert!(partition.producers().is_empty());
    assert_eq!(write(5).await, ErrorCode::NONE, "nothing is known of its numbers");
}
