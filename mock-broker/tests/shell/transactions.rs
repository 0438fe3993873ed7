//! A transaction as a test sees and ends it.

use std::time::Duration;

use milena_mock_broker::{ErrorCode, MockCluster, TransactionState};
use milena_protocol::messages::add_partitions_to_txn::{AddPartitionsToTxnRequest, AddPartitionsToTxnTopic};
use milena_protocol::messages::api_versions::ApiVersionsRequest;
use milena_protocol::messages::find_coordinator::FindCoordinatorRequest;
use milena_protocol::messages::init_producer_id::InitProducerIdRequest;
use milena_protocol::records::BatchHeader;

use crate::raw::{Client, Over, PRODUCE_VERSION, record_of};

const TRANSACTION: i8 = 1;

#[tokio::test]
async fn a_transaction_whose_time_is_up_is_aborted_and_its_marker_is_in_the_log() {
    let cluster = MockCluster::builder()
        .brokers(1)
        .topic("orders", 1)
        .transaction_version(1)
        .transaction_max_timeout(Duration::from_secs(30))
        .start_in_memory();
    let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    let asked = ApiVersionsRequest {
        client_software_name: "raw".to_owned(),
        client_software_version: "1".to_owned(),
        ..Default::default()
    };
    let versions = client.call(3, &asked).await.unwrap();
    let feature = versions.finalized_features.iter().find(|feature| feature.name == "transaction.version");
    assert_eq!(feature.map(|feature| feature.max_version_level), Some(1));

    let find = FindCoordinatorRequest { key: "pay".to_owned(), key_type: TRANSACTION, ..Default::default() };
    client.call(3, &find).await.unwrap();
    assert_eq!(client.call(3, &find).await.unwrap().error_code, ErrorCode::NONE);
    let init = async |client: &mut Client, transaction_timeout_ms| {
        let request = InitProducerIdRequest {
            transactional_id: Some("pay".to_owned()),
            transaction_timeout_ms,
            producer_id: -1,
            producer_epoch: -1,
        };
        client.call(4, &request).await.unwrap()
    };
    assert_eq!(init(&mut client, 30_001).await.error_code, ErrorCode::INVALID_TRANSACTION_TIMEOUT);
    let producer = init(&mut client, 30_000).await;
    let (producer_id, producer_epoch) = (producer.producer_id, producer.producer_epoch);
    let add = AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: "pay".to_owned(),
        v3_and_below_producer_id: producer_id,
        v3_and_below_producer_epoch: producer_epoch,
        v3_and_below_topics: vec![AddPartitionsToTxnTopic { name: "orders".to_owned(), partitions: vec![0] }],
        ..Default::default()
    };
    client.call(3, &add).await.unwrap();
    let header = BatchHeader { producer_id, producer_epoch, base_sequence: 0, ..Default::default() };
    let header = BatchHeader { attributes: header.attributes.with_transactional(), ..header };
    let mut write = record_of("orders", "a", header);
    write.transactional_id = Some("pay".to_owned());
    let written = client.call(PRODUCE_VERSION, &write).await.unwrap();
    assert_eq!(written.responses[0].partition_responses[0].error_code, ErrorCode::NONE);
    let (transaction, partition) = (cluster.transaction("pay"), cluster.partition("orders", 0));
    assert_eq!(transaction.state(), Some(TransactionState::Ongoing));
    assert!(partition.markers().is_empty());

    transaction.time_out();
    let markers = partition.markers();
    assert_eq!((markers.len(), markers[0].offset, markers[0].is_commit), (1, 1, false));
    assert_eq!((partition.values().len(), partition.committed_values().len()), (1, 0));
    let refused = client.call(PRODUCE_VERSION, &write).await.unwrap();
    assert_eq!(refused.responses[0].partition_responses[0].error_code, ErrorCode::INVALID_PRODUCER_EPOCH);
}
