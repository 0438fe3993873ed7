//! Frames, headers and versions: what is answered, and what closes the connection.

use milena_protocol::ApiKey;
use milena_protocol::api::{APIS, Api, Request, VersionRange};
use milena_protocol::messages::add_partitions_to_txn::AddPartitionsToTxnRequest;
use milena_protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use milena_protocol::messages::fetch::FetchRequest;
use milena_protocol::messages::metadata::{MetadataRequest, MetadataResponse};
use milena_protocol::primitives::{Decoder, Wire};
use milena_tests::raw::{NoAnswer, RawBatch, RawConnection, fetch, produce};
use std::time::Duration;

use crate::golden::probes;
use crate::script::Script;

probes! {
    an_unknown_version_of_api_versions_is_answered_as_version_0
    every_version_of_api_versions_is_answered
    the_versions_of_each_api_are_those_of_kafka
    the_metadata_version_is_finalized
    a_client_software_name_must_be_a_name
    another_cluster_or_node_is_answered_with_rebootstrap
    an_unknown_api_closes_the_connection
    a_version_outside_of_the_range_closes_the_connection
    a_body_that_cannot_be_read_closes_the_connection
    a_frame_length_out_of_bounds_closes_the_connection
    a_frame_without_a_whole_header_closes_the_connection
    a_client_without_a_name_is_served
    unknown_tagged_fields_are_passed_over
    a_broker_answers_one_request_after_the_other
    some_bytes_that_cannot_be_right_are_read_all_the_same
    some_requests_are_never_answered
}

const WITHIN: Duration = Duration::from_secs(20);

fn software(name: &str, version: &str) -> ApiVersionsRequest {
    ApiVersionsRequest {
        client_software_name: name.to_owned(),
        client_software_version: version.to_owned(),
        ..Default::default()
    }
}

/// A frame with the header of version 1 (or 2, with its tags) and any body.
fn frame(api: i16, version: i16, flexible: bool, body: &[u8]) -> Vec<u8> {
    let mut frame = [api.to_be_bytes(), version.to_be_bytes()].concat();
    frame.extend([0, 0, 0, 9, 0, 3, b'r', b'a', b'w']);
    frame.extend(flexible.then_some(0));
    frame.extend(body);
    [&(frame.len() as u32).to_be_bytes(), &frame[..]].concat()
}

/// Sends bytes over a connection of their own and writes what comes back.
async fn exchange(p: &Script<'_>, step: &str, bytes: &[u8]) {
    let mut broker = p.cluster.raw(1).await;
    broker.send_bytes(bytes).await;
    match broker.frame(WITHIN).await {
        Ok(frame) => p.note(&format!("{step}: an answer to {:?}", &frame[..4])),
        Err(reason) => p.show(step, &reason),
    }
}

async fn versions(broker: &mut RawConnection) -> ApiVersionsResponse {
    broker.ask(4, &software("probe", "1")).await
}

async fn an_unknown_version_of_api_versions_is_answered_as_version_0(p: &Script<'_>) {
    let mut broker = p.cluster.raw(1).await;
    for version in [99, -1, 6] {
        broker.send_bytes(&frame(18, version, false, &[0; 10])).await;
        let answer = broker.frame(WITHIN).await.unwrap();
        let decoded = ApiVersionsResponse::decode(&mut Decoder::new(answer.slice(4..)), 0, false).unwrap();
        p.show(&format!("version {version}, {} bytes", answer.len()), &decoded);
    }
    let answer = versions(&mut broker).await;
    p.show("the connection goes on", &answer.error_code);
}

async fn every_version_of_api_versions_is_answered(p: &Script<'_>) {
    let mut broker = p.cluster.raw(1).await;
    for version in 0..=5 {
        let mut answer = broker.ask(version, &software("probe", "1.0")).await;
        answer.api_keys.retain(|row| row.api_key == 18);
        answer.supported_features.clear();
        answer.finalized_features.clear();
        p.show(&format!("v{version}"), &answer);
    }
}

/// Those of the protocol crate, that is. An API that one of the two clusters does not serve makes no difference here.
async fn the_versions_of_each_api_are_those_of_kafka(p: &Script<'_>) {
    let answer = versions(&mut p.cluster.raw(1).await).await;
    for row in &answer.api_keys {
        let (key, listed) = (ApiKey(row.api_key), VersionRange { min: row.min_version, max: row.max_version });
        if Api::find(key).is_some_and(|api| api.versions != listed) {
            p.note(&format!("{key}: {} to {}", listed.min, listed.max));
        }
    }
    p.note("all others: as known");
}

async fn the_metadata_version_is_finalized(p: &Script<'_>) {
    let mut answer = versions(&mut p.cluster.raw(1).await).await;
    answer.supported_features.retain(|feature| feature.name == "metadata.version");
    answer.finalized_features.retain(|feature| feature.name == "metadata.version");
    answer.api_keys.clear();
    p.show("v4", &answer);
}

async fn a_client_software_name_must_be_a_name(p: &Script<'_>) {
    let mut broker = p.cluster.raw(1).await;
    for (name, version) in
        [("my client", "1"), ("", "1"), ("a", ""), ("-a", "1"), ("a-", "1"), ("a.b-c", "1.0-x"), ("a_b", "1")]
    {
        let mut answer = broker.ask(3, &software(name, version)).await;
        let listed = answer.api_keys.len() > 1;
        answer.api_keys.clear();
        answer.supported_features.clear();
        answer.finalized_features.clear();
        p.show(&format!("{name:?} {version:?}, apis listed {listed}"), &answer);
    }
}

async fn another_cluster_or_node_is_answered_with_rebootstrap(p: &Script<'_>) {
    let mut broker = p.cluster.raw(1).await;
    let metadata: MetadataResponse = broker.ask(9, &MetadataRequest::default()).await;
    for (step, cluster_id, node_id) in [
        ("its own", metadata.cluster_id.clone(), 1),
        ("another cluster", Some("another".to_owned()), 1),
        ("another node", metadata.cluster_id.clone(), 2),
        ("no cluster, another node", None, 3),
        ("a cluster, no node", metadata.cluster_id, -1),
    ] {
        let request = ApiVersionsRequest { cluster_id, node_id, ..software("probe", "1") };
        let mut answer = broker.ask(5, &request).await;
        let listed = answer.api_keys.len();
        answer.api_keys.clear();
        answer.supported_features.clear();
        answer.finalized_features.clear();
        p.show(&format!("{step}, any api listed {}", listed > 0), &answer);
    }
}

async fn an_unknown_api_closes_the_connection(p: &Script<'_>) {
    for api in [999, -1, 4, 5, 6, 7] {
        exchange(p, &format!("api {api}"), &frame(api, 0, false, &[0; 20])).await;
    }
}

async fn a_version_outside_of_the_range_closes_the_connection(p: &Script<'_>) {
    for api in APIS.iter().filter(|api| api.key.0 != ApiVersionsRequest::KEY.0) {
        for version in [api.versions.min - 1, api.versions.max + 1] {
            let mut broker = p.cluster.raw(1).await;
            broker.send_bytes(&frame(api.key.0, version, version > api.versions.max, &[0; 40])).await;
            let answer = broker.frame(WITHIN).await.map(|_| "answered");
            if answer != Err(NoAnswer::Closed) {
                p.note(&format!("{} {version}: {answer:?}", api.key));
            }
        }
    }
    p.note("all others: closed");
}

async fn a_body_that_cannot_be_read_closes_the_connection(p: &Script<'_>) {
    exchange(p, "an empty Metadata", &frame(3, 9, true, &[])).await;
    exchange(p, "an array of 100 in 3 bytes", &frame(3, 8, false, &[0, 0, 0, 100, 1, 2, 3])).await;
    exchange(p, "a varint without end", &frame(3, 9, true, &[255; 12])).await;
    exchange(p, "a Produce of zeros", &frame(0, 9, true, &[0; 3])).await;
}

async fn a_frame_length_out_of_bounds_closes_the_connection(p: &Script<'_>) {
    exchange(p, "-1", &[255; 12]).await;
    exchange(p, "more than 100 MiB", &(104_857_601_u32).to_be_bytes()).await;
    exchange(p, "2 GiB", &[127, 255, 255, 255, 0, 0, 0, 0]).await;
}

async fn a_frame_without_a_whole_header_closes_the_connection(p: &Script<'_>) {
    exchange(p, "0 bytes", &[0, 0, 0, 0]).await;
    exchange(p, "2 bytes", &[0, 0, 0, 2, 0, 3]).await;
    exchange(p, "8 bytes", &[0, 0, 0, 8, 0, 3, 0, 8, 0, 0, 0, 1]).await;
    exchange(p, "a name that is cut", &[0, 0, 0, 12, 0, 3, 0, 8, 0, 0, 0, 1, 0, 9, b'a', b'b']).await;
}

async fn a_client_without_a_name_is_served(p: &Script<'_>) {
    let null = [0, 0, 0, 17, 0, 3, 0, 8, 0, 0, 0, 1, 255, 255, 0, 0, 0, 0, 1, 0, 0];
    exchange(p, "null", &null).await;
    let empty = [0, 0, 0, 17, 0, 3, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0];
    exchange(p, "empty", &empty).await;
}

async fn unknown_tagged_fields_are_passed_over(p: &Script<'_>) {
    // A Metadata of version 9: no topics, two flags, and tag 77 with three bytes.
    exchange(p, "one", &frame(3, 9, true, &[1, 1, 0, 0, 1, 77, 3, 1, 2, 3])).await;
    exchange(p, "cut", &frame(3, 9, true, &[1, 1, 0, 0, 1, 77, 9, 1, 2, 3])).await;
}

async fn a_broker_answers_one_request_after_the_other(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    let waiting = FetchRequest { max_wait_ms: 500, min_bytes: 1, ..fetch(&topic, 0, 0) };
    let fetched = leader.send(12, &waiting).await;
    let produced = leader.send(9, &produce(&topic, 0, RawBatch::of(["a"]).at(p.base_ms, 0))).await;
    let again = leader.send(12, &fetch(&topic, 0, 0)).await;
    p.answer("a fetch that waits", &mut leader, fetched).await;
    p.answer("a produce behind it", &mut leader, produced).await;
    p.answer("a fetch behind that", &mut leader, again).await;
}

async fn some_requests_are_never_answered(p: &Script<'_>) {
    const BRIEFLY: Duration = Duration::from_secs(1);
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    let mut request = produce(&topic, 0, RawBatch::of(["a"]));
    request.topic_data[0].partition_data[0].records = None;
    let sent = leader.send(9, &request).await;
    p.note(&format!("records of null: {:?}", leader.try_answer(sent, BRIEFLY).await.map(|_| ())));
    let mut broker = p.cluster.raw(1).await;
    let sent = broker.send(4, &AddPartitionsToTxnRequest::default()).await;
    p.note(&format!("no transactions: {:?}", broker.try_answer(sent, BRIEFLY).await.map(|_| ())));
}

async fn some_bytes_that_cannot_be_right_are_read_all_the_same(p: &Script<'_>) {
    exchange(p, "three bytes behind a body", &frame(3, 8, false, &[0, 0, 0, 0, 1, 0, 0, 1, 2, 3])).await;
    exchange(p, "an array of -2", &frame(3, 8, false, &[255, 255, 255, 254, 1, 1, 1])).await;
    exchange(p, "a tag twice", &frame(3, 9, true, &[1, 1, 0, 0, 2, 77, 1, 1, 77, 1, 1])).await;
    exchange(p, "a topic that is not UTF-8", &frame(3, 8, false, &[0, 0, 0, 1, 0, 2, 255, 254, 1, 0, 0])).await;
    let mut bytes = frame(3, 8, false, &[0, 0, 0, 0, 1, 0, 0]);
    bytes[14] = 255;
    exchange(p, "a client id that is not UTF-8", &bytes).await;
}
