//! Every message and version through the crate kafka-protocol and back.
//!
//! It is an independent implementation of the same schemas: what both read and write alike is not a shared mistake. It is only
//! ever given bytes that we wrote.

use std::fmt::Debug;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message};
use milena_protocol::api::{Api, ApiKey, Request, VersionRange};
use milena_protocol::arbitrary::{Arbitrary, Place};
use milena_protocol::frame;
use milena_protocol::messages as ours;
use milena_protocol::primitives::Decoder;

use crate::apis::for_each_api;
use crate::choice::Seeded;

/// How many values of each message and version.
const VALUES: u64 = 60;

/// Requests and responses that we have and the oracle has not, by version. The golden data of the Java client covers them.
const MISSING: &[&str] = &[
    "LIST_OFFSETS request 11",
    "LIST_OFFSETS response 11",
    "OFFSET_COMMIT request 10",
    "OFFSET_FETCH request 10",
    "API_VERSIONS request 5",
    "API_VERSIONS response 5",
    "TXN_OFFSET_COMMIT request 6",
    "TXN_OFFSET_COMMIT response 6",
    "DELETE_GROUPS request 3",
    "DELETE_GROUPS response 3",
];

#[test]
fn every_message_and_version_survives_the_oracle() {
    let mut missing = Vec::new();
    macro_rules! check {
        ($module:ident, $request:ident, $response:ident) => {
            requests::<ours::$module::$request, theirs::$request>(&mut missing);
            responses::<ours::$module::$request, theirs::$response>(&mut missing);
        };
    }
    for_each_api!(check);
    assert_eq!(missing, MISSING);
}

/// The versions of `R` that `T` has too; the others are reported as missing.
fn common<R: Request, T: Message>(kind: &str, missing: &mut Vec<String>) -> impl Iterator<Item = i16> {
    let theirs = VersionRange { min: T::VERSIONS.min, max: T::VERSIONS.max };
    let all = R::VERSIONS.min..=R::VERSIONS.max;
    missing.extend(all.clone().filter(|v| !theirs.contains(*v)).map(|v| format!("{} {kind} {v}", R::KEY)));
    all.filter(move |version| theirs.contains(*version))
}

fn value<R: Request, M: Arbitrary>(version: i16, seed: u64) -> M {
    let place = Place::message(version, Api::of::<R>().is_flexible(version));
    M::arbitrary(&mut Seeded(seed), place)
}

fn requests<R, T>(missing: &mut Vec<String>)
where
    R: Request + Arbitrary + PartialEq + Debug,
    T: Message + Encodable + Decodable + HeaderVersion,
{
    for version in common::<R, T>("request", missing) {
        for seed in 0..VALUES {
            let context = format!("{} request {version}, seed {seed}", R::KEY);
            let value: R = value::<R, R>(version, seed);
            let mut frame = one_frame(&frame::encode_request(version, 7, "client", &value).expect(&context));

            let header_version = T::header_version(version);
            let header = theirs::RequestHeader::decode(&mut frame, header_version).expect(&context);
            assert_eq!((header.request_api_key, header.request_api_version), (R::KEY.0, version), "{context}");
            assert_eq!((header.correlation_id, header.client_id.as_deref()), (7, Some("client")), "{context}");
            let body = T::decode(&mut frame, version).expect(&context);
            assert_eq!(frame.remaining(), 0, "{context}: bytes that the oracle does not read");

            let mut back = BytesMut::new();
            header.encode(&mut back, header_version).expect(&context);
            body.encode(&mut back, version).expect(&context);
            let mut input = Decoder::new(back.freeze());
            let header = frame::RequestHeader::decode(&mut input).expect(&context);
            assert_eq!((header.api_key, header.api_version, header.correlation_id), (R::KEY, version, 7), "{context}");
            assert_eq!(header.client_id.as_deref(), Some("client"), "{context}");
            assert_eq!(frame::decode_request::<R>(version, &mut input).expect(&context), value, "{context}");
        }
    }
}

fn responses<R, T>(missing: &mut Vec<String>)
where
    R: Request,
    R::Response: Arbitrary + PartialEq + Debug,
    T: Message + Encodable + Decodable + HeaderVersion,
{
    for version in common::<R, T>("response", missing) {
        for seed in 0..VALUES {
            let context = format!("{} response {version}, seed {seed}", R::KEY);
            let value: R::Response = value::<R, R::Response>(version, seed);
            let mut frame = one_frame(&frame::encode_response::<R>(version, 7, &value).expect(&context));
            assert_eq!(frame::correlation_id(&frame), Ok(7), "{context}");

            let header_version = T::header_version(version);
            let header = theirs::ResponseHeader::decode(&mut frame, header_version).expect(&context);
            assert_eq!(header.correlation_id, 7, "{context}");
            let body = T::decode(&mut frame, version).expect(&context);
            assert_eq!(frame.remaining(), 0, "{context}: bytes that the oracle does not read");

            let mut back = BytesMut::new();
            header.encode(&mut back, header_version).expect(&context);
            body.encode(&mut back, version).expect(&context);
            let read = frame::decode_response::<R>(version, back.freeze()).expect(&context);
            assert_eq!(read, value, "{context}");
        }
    }
}

/// The frame that the pieces are, without its length prefix.
fn one_frame(pieces: &[Bytes]) -> Bytes {
    let mut frame = Bytes::from(pieces.concat());
    let length = frame.get_i32();
    assert_eq!(length as usize, frame.len(), "the length prefix");
    frame
}

#[test]
fn names_of_apis_agree() {
    for key in 0..=92 {
        if let Ok(theirs) = theirs::ApiKey::try_from(key) {
            let name: String = format!("{theirs:?}").to_lowercase();
            let ours = ApiKey(key).name().map(|name| name.to_lowercase().replace('_', ""));
            assert_eq!(ours, Some(name), "api key {key}");
        }
    }
}
