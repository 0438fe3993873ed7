//! Every message and version as Kafka's Java client encodes it (`golden/java/run.sh` writes the data).
//!
//! What a field holds there follows from its name, and the same is generated here from our tables: a field under a wrong name, in
//! a wrong version, of a wrong width or with a wrong default shows.

use std::collections::BTreeSet;
use std::fmt::Debug;

use bytes::Bytes;
use milena_protocol::api::{Api, ApiKey, Request};
use milena_protocol::arbitrary::{Arbitrary, Choice, Place};
use milena_protocol::messages;
use milena_protocol::primitives::{Decoder, Encoder, Wire};

use crate::apis::for_each_api;
use crate::hex;
use crate::hostile::{every_prefix_is_an_error, no_flip_panics};

/// How many times the bytes of one message and version are changed.
const FLIPS: u64 = 300;

/// Values that follow from the names of the fields, as in `golden/java/Messages.java`.
struct Named {
    nulls: bool,
}

impl Choice for Named {
    fn bits(&mut self, field: &'static str) -> u64 {
        let name = self.text(field);
        name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    fn text(&mut self, field: &'static str) -> String {
        field.replace('_', "")
    }

    fn count(&mut self, _field: &'static str) -> usize {
        2
    }

    fn is_null(&mut self, _field: &'static str) -> bool {
        self.nulls
    }

    fn is_absent(&mut self, _field: &'static str) -> bool {
        false
    }
}

#[test]
fn every_message_and_version_is_that_of_the_java_client() {
    macro_rules! check {
        ($module:ident, $request:ident, $response:ident) => {
            api::<messages::$module::$request>();
        };
    }
    for_each_api!(check);
}

fn api<R>()
where
    R: Request + Arbitrary + Default + PartialEq + Debug,
    R::Response: Arbitrary + Default + PartialEq + Debug,
{
    let mut versions = BTreeSet::new();
    for (name, bytes) in hex::read(&format!("messages/{}.txt", R::KEY.to_string().to_lowercase())) {
        let words: Vec<_> = name.split(' ').collect();
        let [kind, version, value] = words[..] else { panic!("{name}: three words wanted") };
        let version = version.parse().expect(version);
        let name = format!("{} {name}", R::KEY);
        match kind {
            "request" => message::<R>(&name, R::KEY, version, value, &bytes),
            "response" => message::<R::Response>(&name, R::KEY, version, value, &bytes),
            _ => panic!("{name}: neither request nor response"),
        }
        versions.insert((kind.to_owned(), value == "full", version));
    }
    // All stable versions of Kafka, and no other.
    for kind in ["request", "response"] {
        let full: Vec<_> = versions.iter().filter(|row| row.0 == kind && row.1).map(|row| row.2).collect();
        assert_eq!(full, (R::VERSIONS.min..=R::VERSIONS.max).collect::<Vec<_>>(), "{} {kind}", R::KEY);
    }
}

fn message<M>(name: &str, api: ApiKey, version: i16, value: &str, bytes: &Bytes)
where
    M: Wire + Arbitrary + Default + PartialEq + Debug,
{
    let flexible = Api::find(api).expect(name).is_flexible(version);
    let decode = |bytes: Bytes| {
        let mut input = Decoder::new(bytes);
        let message = M::decode(&mut input, version, flexible).map_err(|error| error.to_string())?;
        if input.remaining() == 0 { Ok(message) } else { Err("bytes are left".to_owned()) }
    };
    let expected = match value {
        "default" => M::default(),
        _ => M::arbitrary(&mut Named { nulls: value == "null" }, Place::message(version, flexible)),
    };
    let read = decode(bytes.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(read, expected, "{name}");
    let mut out = Encoder::new();
    expected.encode(&mut out, version, flexible);
    let written = out.finish().unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(Bytes::from(written.concat()), bytes, "{name}");

    every_prefix_is_an_error(name, bytes, decode);
    no_flip_panics(bytes, FLIPS, decode);
}
