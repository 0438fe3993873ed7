//! What a test can see of the cluster: connections, producers, offsets, the journal and its text.

use milena_mock_broker::{ApiKey, ErrorCode, Fault, MockCluster, Seen};
use milena_protocol::frame::{decode_request, decode_response};
use milena_protocol::messages::api_versions::ApiVersionsRequest;
use milena_protocol::messages::find_coordinator::FindCoordinatorRequest;
use milena_protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use milena_protocol::messages::produce::ProduceRequest;
use milena_protocol::primitives::Decoder;

use crate::raw::{BOTH, Client, Over, PRODUCE_VERSION, in_memory, one_broker, record};

#[tokio::test]
async fn connections_show_their_clients_and_what_was_negotiated() {
    let cluster = one_broker().await;
    for over in BOTH {
        let mut client = Client::connect(&cluster, 1, over).await.unwrap();
        let hello = ApiVersionsRequest {
            client_software_name: "raw-client".into(),
            client_software_version: "1.2".into(),
            ..Default::default()
        };
        client.call(3, &hello).await.unwrap();
        client.produce("orders", "a").await.unwrap();
        let connections = cluster.connections();
        let [connection] = connections.as_slice() else { panic!("{connections:?}") };
        assert_eq!((connection.broker, connection.client_id.as_deref()), (1, Some("raw")));
        assert_eq!(connection.client_software, Some(("raw-client".into(), "1.2".into())));
        assert_eq!(connection.client_host, "/127.0.0.1");
        let versions: Vec<_> = connection.versions.iter().map(|(api, version)| (*api, *version)).collect();
        assert_eq!(versions, [(ApiKey::PRODUCE, PRODUCE_VERSION), (ApiKey::API_VERSIONS, 3)]);
        drop(client);
        cluster.until("no connections", |state| state.connections().next().is_none()).await;
    }
}

#[tokio::test]
async fn the_journal_has_requests_and_answers_with_their_headers_and_bodies() {
    let cluster = in_memory();
    let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    client.metadata("orders").await.unwrap();
    let _refused = cluster.fault(Fault::on(ApiKey::PRODUCE).error(ErrorCode::KAFKA_STORAGE_ERROR));
    client.produce("orders", "a").await.unwrap();
    client.produce("orders", "b").await.unwrap();
    let (asked, answered) = (cluster.journal().requests(ApiKey::PRODUCE), cluster.journal().answers(ApiKey::PRODUCE));
    assert_eq!((asked.len(), answered.len()), (2, 2));
    for (number, (asked, answered)) in asked.iter().zip(&answered).enumerate() {
        let header = |seen: &Seen| (seen.api, seen.version, seen.correlation_id, seen.client_id.clone());
        assert_eq!(header(asked), (ApiKey::PRODUCE, PRODUCE_VERSION, 2 + number as i32, Some("raw".into())));
        assert_eq!(header(asked), header(answered));
        let request: ProduceRequest = decode_request(PRODUCE_VERSION, &mut Decoder::new(asked.body.clone())).unwrap();
        assert_eq!(request, record("orders", ["a", "b"][number]));
        // A response with an empty header of its own: the body is what follows.
        let frame = [&[0; 4], &[0][..], &answered.body].concat();
        let response = decode_response::<ProduceRequest>(PRODUCE_VERSION, frame.into()).unwrap();
        let code = response.responses[0].partition_responses[0].error_code;
        assert_eq!(code, [ErrorCode::KAFKA_STORAGE_ERROR, ErrorCode::NONE][number], "what was sent");
    }
}

#[tokio::test(start_paused = true)]
async fn the_journal_reads_as_lines() {
    let cluster = in_memory();
    let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    client.produce("orders", "a").await.unwrap();
    drop(client);
    cluster.until("no connections", |state| state.open_connections() == 0).await;
    let text = cluster.journal().to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert_eq!(lines[0], "     0.000 s  #1 b1  opened");
    let request = r#"     0.000 s  #1 b1  → PRODUCE v9 1 "raw" { transactional_id: None, acks: -1, timeout_ms: 10000, topic_data: [{ name: "orders", "#;
    assert!(
        lines[1].starts_with(request) && lines[1].contains("partition_data: [{ index: 0, records: Some("),
        "{text}"
    );
    assert!(lines[2].starts_with("     0.000 s  #1 b1  ← PRODUCE v9 1 { responses: [{ name: "), "{text}");
    assert!(lines[2].contains("error_code: NONE(0), base_offset: 0"), "{text}");
    assert_eq!(lines[3], "     0.000 s  #1 b1  closed");
}

#[tokio::test(start_paused = true)]
#[should_panic(
    expected = "the last lines of the journal:\n     0.000 s  #1 b1  opened\n     0.000 s  #1 b1  → METADATA v9 1 "
)]
async fn what_was_waited_for_in_vain_ends_with_the_last_lines_of_the_journal() {
    let cluster = in_memory();
    let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    client.metadata("orders").await.unwrap();
    cluster.until("a miracle", |_| false).await;
}

#[tokio::test]
async fn the_journal_keeps_no_more_than_it_may() {
    let builder = || MockCluster::builder().brokers(1).topic("orders", 1);
    for (cluster, kept) in [(builder().journal_bytes(0), 0), (builder().journal_bytes(3000), 1)] {
        let cluster = cluster.start_in_memory();
        let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
        for _ in 0..50 {
            client.produce("orders", &"x".repeat(1000)).await.unwrap();
        }
        let journal = cluster.journal();
        assert!((kept..5).contains(&journal.all().len()), "{journal}");
        assert!(journal.forgotten() > 90 && journal.trace_hash() != 0);
        assert_eq!(cluster.with(|state| state.requests(ApiKey::PRODUCE)), 50, "they are counted all the same");
    }
}

#[tokio::test]
async fn producers_records_and_watermarks_are_seen() {
    let cluster = in_memory();
    let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    client.produce("orders", "a").await.unwrap();
    let partition = cluster.partition("orders", 0);
    let epoch = partition.leader_epoch();
    assert!(partition.producers().is_empty(), "it has no number");
    cluster
        .until("one record", |state| {
            let seen = (state.log_start("orders", 0), state.high_watermark("orders", 0), state.log_end("orders", 0));
            state.values("orders", 0) == ["a"]
                && state.committed_records("orders", 0).len() == 1
                && seen == (0, 1, 1)
                && state.last_stable_offset("orders", 0) == 1
                && state.leader_epoch("orders", 0) == epoch
        })
        .await;
    let nothing = cluster.with(|state| (state.values("nonsense", 0).len(), state.log_start("orders", 9)));
    assert_eq!(nothing, (0, -1));
}

#[tokio::test]
async fn committed_offsets_and_coordinators_are_seen() {
    let cluster = MockCluster::builder().brokers(1).topic("orders", 2).start_in_memory();
    let mut client = Client::connect(&cluster, 1, Over::Pipe).await.unwrap();
    let group = cluster.group("billing");
    assert_eq!((group.coordinator(), group.committed_offsets()), (None, vec![]));
    let find = FindCoordinatorRequest { coordinator_keys: vec!["billing".into()], ..Default::default() };
    client.call(4, &find).await.unwrap();
    assert_eq!(group.coordinator(), Some(1));
    let partition = |partition_index, committed_offset| OffsetCommitRequestPartition {
        partition_index,
        committed_offset,
        ..Default::default()
    };
    let topics = vec![OffsetCommitRequestTopic {
        name: "orders".into(),
        partitions: vec![partition(1, 7), partition(0, 5)],
        ..Default::default()
    }];
    let commit = OffsetCommitRequest { group_id: "billing".into(), topics, ..Default::default() };
    client.call(8, &commit).await.unwrap();
    assert_eq!(group.committed_offsets(), [("orders".to_owned(), 0, 5), ("orders".to_owned(), 1, 7)]);
    assert_eq!(group.committed("orders", 1), Some(7));
}

#[tokio::test]
#[should_panic(expected = "ask the snapshot that it is given")]
async fn a_closure_that_looks_at_the_cluster_may_not_call_it() {
    let cluster = in_memory();
    let other = in_memory();
    let partition = cluster.partition("orders", 0);
    assert_eq!(other.with(|_| partition.log_end()), 0, "another cluster may be called");
    cluster.until("a record", |_| partition.log_end() == 1).await;
}
