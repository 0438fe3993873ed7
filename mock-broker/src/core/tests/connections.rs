//! What a connection gets for garbage, and how it learns what is served. Pure.

use bytes::Bytes;
use milena_protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use milena_protocol::messages::create_topics::CreateTopicsRequest;
use milena_protocol::messages::describe_configs::DescribeConfigsRequest;
use milena_protocol::messages::fetch::FetchRequest;
use milena_protocol::messages::find_coordinator::FindCoordinatorRequest;
use milena_protocol::messages::list_offsets::ListOffsetsRequest;
use milena_protocol::messages::metadata::MetadataRequest;
use milena_protocol::messages::offset_commit::OffsetCommitRequest;
use milena_protocol::messages::offset_fetch::OffsetFetchRequest;
use milena_protocol::{ApiKey, ErrorCode};

use super::rig::{Rig, TestBatch, fetch, frame_of, origin, produce};
use crate::core::Outcome;
use crate::random::Random;

fn closes(rig: &mut Rig, frame: &[u8]) -> bool {
    let ticket = rig.submit(&origin(1, 1), Bytes::copy_from_slice(frame));
    matches!(rig.outcome(ticket), Some(Outcome::Close))
}

fn versions_request() -> ApiVersionsRequest {
    ApiVersionsRequest {
        client_software_name: "milena".to_owned(),
        client_software_version: "0.1".to_owned(),
        ..Default::default()
    }
}

fn range(response: &ApiVersionsResponse, key: ApiKey) -> Option<(i16, i16)> {
    let row = response.api_keys.iter().find(|row| row.api_key == key.0)?;
    Some((row.min_version, row.max_version))
}

#[test]
fn garbage_closes() {
    let mut rig = Rig::new();
    assert!(closes(&mut rig, b""));
    assert!(closes(&mut rig, b"GET / HTTP/1.1\r\nHost: b1\r\n\r\n"));
    let good = frame_of(12, &MetadataRequest::default());
    assert!(closes(&mut rig, &good[..good.len() - 1]));
    assert!(closes(&mut rig, &[&good[..], b"x"].concat()));
    assert!(!closes(&mut rig, &good), "others are still served");
}

/// Whatever a connection sends, it is answered, closed or kept waiting; nothing panics, and the others are served.
#[test]
fn flipped_bytes_do_no_harm() {
    let mut rig = Rig::with_topic(&[]);
    let frames = [
        frame_of(12, &MetadataRequest::default()),
        frame_of(4, &versions_request()),
        frame_of(12, &produce("t", 0, -1, TestBatch::new(&["a", "b"]).by(9, 0, 0).bytes())),
        frame_of(12, &FetchRequest { session_epoch: 0, ..fetch("t", &[(0, 0), (1, 5)], 5) }),
        frame_of(11, &ListOffsetsRequest { topics: vec![Default::default()], ..Default::default() }),
        frame_of(9, &OffsetCommitRequest { topics: vec![Default::default()], ..Default::default() }),
        frame_of(9, &OffsetFetchRequest { groups: vec![Default::default()], ..Default::default() }),
        frame_of(6, &FindCoordinatorRequest { coordinator_keys: vec!["g".to_owned()], ..Default::default() }),
        frame_of(7, &CreateTopicsRequest { topics: vec![Default::default()], ..Default::default() }),
        frame_of(4, &DescribeConfigsRequest { resources: vec![Default::default()], ..Default::default() }),
    ];
    let mut random = Random::new(5, 0);
    for round in 0..2000u64 {
        for frame in &frames {
            let mut bytes = frame.to_vec();
            for _ in 0..=random.below(3) {
                // After the API key and version, so that the body is read.
                let position = 4 + random.below(bytes.len() as u64 - 4) as usize;
                bytes[position] ^= 1 << random.below(8);
            }
            rig.submit(&origin(1 + i32::try_from(random.below(3)).unwrap(), round), bytes.into());
        }
        rig.at(10 * round);
    }
    assert!(!closes(&mut rig, &frames[0]));
}

#[test]
fn unknown_apis_and_versions_close() {
    let mut rig = Rig::new();
    for (key, version) in [(999i16, 0i16), (-1, 0), (3, 99), (3, -1), (0, 2), (1, 3), (11, 5)] {
        let frame = [&key.to_be_bytes()[..], &version.to_be_bytes(), &[0, 0, 0, 1, 0xff, 0xff, 0]].concat();
        assert!(closes(&mut rig, &frame), "key {key} version {version}");
    }
}

#[test]
fn an_unknown_version_of_api_versions_gets_the_oldest_layout() {
    let mut rig = Rig::new();
    let frame = [&18i16.to_be_bytes()[..], &99i16.to_be_bytes(), &[0, 0, 0, 1, 0xff, 0xff, 0], b"anything"].concat();
    let ticket = rig.submit(&origin(1, 1), frame.into());
    let response = rig.answer::<ApiVersionsRequest>(ticket, 0).unwrap();
    assert_eq!(response.error_code, ErrorCode::UNSUPPORTED_VERSION);
    assert_eq!(response.api_keys.len(), 1);
    assert_eq!(range(&response, ApiKey::API_VERSIONS), Some((0, 5)));
}

#[test]
fn what_is_served_is_advertised() {
    let mut rig = Rig::new();
    for version in 0..=5 {
        let response = rig.ask(1, version, &versions_request());
        assert!(response.error_code.is_none());
        assert_eq!(range(&response, ApiKey::PRODUCE), Some((0, 13)));
        assert_eq!(range(&response, ApiKey::FETCH), Some((4, 18)));
        assert_eq!(range(&response, ApiKey::JOIN_GROUP), Some((0, 9)));
        assert_eq!(range(&response, ApiKey::CONSUMER_GROUP_HEARTBEAT), None);
        assert!(response.api_keys.is_sorted_by_key(|row| row.api_key));
    }
    let nameless = ApiVersionsRequest { client_software_name: " ".to_owned(), ..versions_request() };
    assert_eq!(rig.ask(1, 3, &nameless).error_code, ErrorCode::INVALID_REQUEST);
}

#[test]
fn a_broker_that_is_down_closes() {
    let mut rig = Rig::new();
    rig.act(|core, now| core.crash(now, 1));
    assert!(closes(&mut rig, &frame_of(12, &MetadataRequest::default())));
    rig.act(|core, now| core.restart(now, 1));
    assert!(!closes(&mut rig, &frame_of(12, &MetadataRequest::default())));
}

#[test]
fn a_lost_connection_forgets_what_it_waited_for() {
    let mut rig = Rig::with_topic(&[]);
    let leader = rig.leader();
    let request = fetch("t", &[(0, 0)], 500);
    let ticket = rig.submit(&origin(leader, 41), frame_of(12, &request));
    rig.act(|core, _| core.on_disconnect(41));
    assert_eq!(rig.core.next_deadline(), None);
    rig.ask(leader, 12, &produce("t", 0, 1, TestBatch::new(&["a"]).bytes()));
    assert!(rig.outcome(ticket).is_none());
}
