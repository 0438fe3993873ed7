//! Frames as they passed between a real broker and two clients, its own Java client and librdkafka (`golden/java/capture.sh` caught
//! them): read, looked into, written again byte by byte, cut and changed.

use std::collections::BTreeSet;

use bytes::Bytes;
use milena_protocol::api::{APIS, ApiKey, Request};
use milena_protocol::frame::{self, RequestHeader};
use milena_protocol::group::{Assignment, Subscription};
use milena_protocol::messages::{self, fetch, join_group, produce, sync_group};
use milena_protocol::primitives::{Decoder, Records};
use milena_protocol::records::Batches;

use crate::apis::for_each_api;
use crate::hex;
use crate::hostile::{every_prefix_is_an_error, no_flip_panics};

/// How many times the bytes of one frame are changed.
const FLIPS: u64 = 10_000;

const LIMIT: usize = 1 << 20;

/// Calls `$function::<Request>($arguments)` for the API with this key.
macro_rules! by_key {
    ($key:expr, $function:ident($($argument:expr),*)) => {{
        let key = $key;
        macro_rules! visit {
            ($module:ident, $request:ident, $response:ident) => {
                if key == <messages::$module::$request as Request>::KEY {
                    return $function::<messages::$module::$request>($($argument),*);
                }
            };
        }
        for_each_api!(visit);
        Err(format!("{key}: no such API"))
    }};
}

/// Reads a request frame without knowing what it is, and writes it again.
fn request(bytes: Bytes) -> Result<Bytes, String> {
    let mut input = Decoder::new(bytes);
    let header = RequestHeader::decode(&mut input).map_err(|error| error.to_string())?;
    by_key!(header.api_key, request_of(&header, input))
}

fn request_of<R: Request>(header: &RequestHeader, mut input: Decoder) -> Result<Bytes, String> {
    let version = header.api_version;
    if !R::VERSIONS.contains(version) {
        return Err(format!("{} has no version {version}", R::KEY));
    }
    let request: R = frame::decode_request(version, &mut input).map_err(|error| error.to_string())?;
    let client_id = header.client_id.as_deref().ok_or("a client id is wanted")?;
    written(frame::encode_request(version, header.correlation_id, client_id, &request))
}

/// Reads a response frame to a request of this API and version, and writes it again.
fn response(key: ApiKey, version: i16, bytes: Bytes) -> Result<Bytes, String> {
    by_key!(key, response_of(version, bytes))
}

fn response_of<R: Request>(version: i16, bytes: Bytes) -> Result<Bytes, String> {
    let correlation_id = frame::correlation_id(&bytes).map_err(|error| error.to_string())?;
    let response = frame::decode_response::<R>(version, bytes).map_err(|error| error.to_string())?;
    written(frame::encode_response::<R>(version, correlation_id, &response))
}

fn written<E: std::fmt::Display>(pieces: Result<Vec<Bytes>, E>) -> Result<Bytes, String> {
    let frame = Bytes::from(pieces.map_err(|error| error.to_string())?.concat());
    Ok(frame.slice(4..)) // golden frames have no length prefix
}

struct Golden {
    name: String,
    key: ApiKey,
    version: i16,
    is_request: bool,
    bytes: Bytes,
}

impl Golden {
    fn read(&self, bytes: Bytes) -> Result<Bytes, String> {
        if self.is_request { request(bytes) } else { response(self.key, self.version, bytes) }
    }
}

/// The frames of APIs that this crate has; the clients speak a few more.
fn golden(file: &str) -> Vec<Golden> {
    let frames = hex::read(file).into_iter().map(|(name, bytes)| {
        let words: Vec<_> = name.split(' ').collect();
        let [key, version, direction] = words[..] else { panic!("{name}: three words wanted") };
        let key = ApiKey(key.parse().expect(key));
        let version = version.parse().expect(version);
        Golden {
            name: format!("{file}: {key} {version} {direction}"),
            key,
            version,
            is_request: direction == "request",
            bytes,
        }
    });
    frames.filter(|frame| APIS.iter().any(|api| api.key == frame.key)).collect()
}

fn both() -> impl Iterator<Item = Golden> {
    golden("frames.txt").into_iter().chain(golden("frames-kcat.txt"))
}

#[test]
fn captured_frames_are_written_as_they_were_read() {
    for frame in both() {
        let again = frame.read(frame.bytes.clone()).unwrap_or_else(|error| panic!("{}: {error}", frame.name));
        assert_eq!(again, frame.bytes, "{}", frame.name);
    }
}

#[test]
fn every_api_was_captured_in_both_directions() {
    let of = |is_request| golden("frames.txt").into_iter().filter(move |frame| frame.is_request == is_request);
    for is_request in [true, false] {
        let captured: BTreeSet<_> = of(is_request).map(|frame| frame.key).collect();
        assert_eq!(captured, APIS.iter().map(|api| api.key).collect(), "requests: {is_request}");
    }
}

#[test]
fn cut_frames_are_errors() {
    for frame in both() {
        every_prefix_is_an_error(&frame.name, &frame.bytes, |bytes| frame.read(bytes));
    }
}

#[test]
fn changed_frames_are_survived() {
    let mut accepted = 0;
    for frame in both() {
        accepted += no_flip_panics(&frame.bytes, FLIPS, |bytes| frame.read(bytes));
    }
    assert!(accepted > 0, "a changed number is as good as any");
}

/// Walks all records, and tells the codecs that they were in.
fn walk(name: &str, records: Option<Records>, seen: &mut BTreeSet<(bool, &'static str)>, is_java: bool) -> usize {
    let mut count = 0;
    let mut batches = Batches::new(records.map(Records::into_bytes).unwrap_or_default());
    for batch in batches.by_ref() {
        let batch = batch.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(batch.has_valid_crc(), "{name}");
        seen.insert((is_java, batch.header().attributes.compression().expect(name).name()));
        for record in &batch.records(LIMIT).expect(name) {
            let headers: Vec<_> = record.expect(name).headers.collect();
            let expected: &[(&str, Option<&[u8]>)] =
                if is_java { &[("h", Some(b"1")), ("h", None), ("h", Some(b"2"))] } else { &[] };
            assert_eq!(headers, expected, "{name}");
            count += 1;
        }
    }
    // A broker cuts the last batch of a partition at the size that was asked for; nobody cuts what is to be appended.
    assert!(!batches.is_truncated() || name.ends_with("response"), "{name}");
    count
}

#[test]
fn captured_records_are_read_whatever_the_codec() {
    let mut seen = BTreeSet::new();
    let mut counts = [0, 0];
    for golden in both() {
        let is_java = golden.name.starts_with("frames.txt");
        match (golden.key, golden.is_request) {
            (ApiKey::PRODUCE, true) => {
                let mut input = Decoder::new(golden.bytes);
                RequestHeader::decode(&mut input).expect(&golden.name);
                let request: produce::ProduceRequest =
                    frame::decode_request(golden.version, &mut input).expect(&golden.name);
                for partition in request.topic_data.into_iter().flat_map(|topic| topic.partition_data) {
                    counts[0] += walk(&golden.name, partition.records, &mut seen, is_java);
                }
            }
            (ApiKey::FETCH, false) => {
                let response: fetch::FetchResponse =
                    frame::decode_response::<fetch::FetchRequest>(golden.version, golden.bytes).expect(&golden.name);
                for partition in response.responses.into_iter().flat_map(|topic| topic.partitions) {
                    counts[1] += walk(&golden.name, partition.records, &mut seen, is_java);
                }
            }
            _ => {}
        }
    }
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    assert_eq!(seen, [true, false].into_iter().flat_map(|java| codecs.map(|codec| (java, codec))).collect());
    assert!(counts.iter().all(|count| *count > 30), "{counts:?}");
}

#[test]
fn captured_group_blobs_are_written_as_they_were_read() {
    let [mut subscriptions, mut assignments] = [0, 0];
    for golden in both().filter(|golden| golden.is_request) {
        let mut input = Decoder::new(golden.bytes);
        RequestHeader::decode(&mut input).expect(&golden.name);
        if golden.key == ApiKey::JOIN_GROUP {
            let request: join_group::JoinGroupRequest =
                frame::decode_request(golden.version, &mut input).expect(&golden.name);
            for protocol in request.protocols {
                let subscription = Subscription::decode(protocol.metadata.clone()).expect(&golden.name);
                assert_eq!(subscription.encode(), Ok(protocol.metadata), "{}: {subscription:?}", golden.name);
                subscriptions += 1;
            }
        } else if golden.key == ApiKey::SYNC_GROUP {
            let request: sync_group::SyncGroupRequest =
                frame::decode_request(golden.version, &mut input).expect(&golden.name);
            for member in request.assignments {
                let assignment = Assignment::decode(member.assignment.clone()).expect(&golden.name);
                assert_eq!(assignment.encode(), Ok(member.assignment), "{}: {assignment:?}", golden.name);
                assignments += 1;
            }
        }
    }
    assert!(subscriptions >= 4 && assignments >= 2, "{subscriptions} and {assignments}");
}
