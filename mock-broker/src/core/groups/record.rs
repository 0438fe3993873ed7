//! Keys and values of `__consumer_offsets` that hold a classic group: its generation and its members. Pure.

use bytes::Bytes;
use milena_protocol::primitives::{DecodeError, Decoder, EncodeError, Encoder, Wire};

/// The key's version says what kind of record it is.
const KEY_VERSION: i16 = 2;

/// The version of values that Kafka 4.4 writes.
const VALUE_VERSION: i16 = 3;

/// What the log knows of a group: its last complete generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GroupRecord {
    /// Empty if nobody has ever joined.
    pub(super) protocol_type: String,
    pub(super) generation: i32,
    pub(super) protocol: Option<String>,
    pub(super) leader: Option<String>,
    /// When this was so, in milliseconds since the Unix epoch.
    pub(super) timestamp: i64,
    pub(super) members: Vec<MemberRecord>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MemberRecord {
    pub(super) id: String,
    pub(super) instance_id: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    /// Milliseconds.
    pub(super) rebalance_timeout: i32,
    /// Milliseconds.
    pub(super) session_timeout: i32,
    /// Of the chosen protocol.
    pub(super) metadata: Bytes,
    pub(super) assignment: Bytes,
}

impl Wire for MemberRecord {
    fn encode(&self, out: &mut Encoder, version: i16, flexible: bool) {
        self.id.encode(out, version, flexible);
        self.instance_id.encode(out, version, flexible);
        self.client_id.encode(out, version, flexible);
        self.client_host.encode(out, version, flexible);
        self.rebalance_timeout.encode(out, version, flexible);
        self.session_timeout.encode(out, version, flexible);
        self.metadata.encode(out, version, flexible);
        self.assignment.encode(out, version, flexible);
    }

    fn decode(input: &mut Decoder, version: i16, flexible: bool) -> Result<Self, DecodeError> {
        Ok(Self {
            id: Wire::decode(input, version, flexible)?,
            instance_id: Wire::decode(input, version, flexible)?,
            client_id: Wire::decode(input, version, flexible)?,
            client_host: Wire::decode(input, version, flexible)?,
            rebalance_timeout: Wire::decode(input, version, flexible)?,
            session_timeout: Wire::decode(input, version, flexible)?,
            metadata: Wire::decode(input, version, flexible)?,
            assignment: Wire::decode(input, version, flexible)?,
        })
    }
}

pub(super) fn encode_key(group: &str) -> Result<Bytes, EncodeError> {
    let mut out = Encoder::new();
    KEY_VERSION.encode(&mut out, 0, false);
    group.to_owned().encode(&mut out, 0, false);
    finish(out)
}

/// The group's id; `None` if it is the key of something else.
pub(super) fn decode_key(key: Bytes) -> Option<String> {
    let mut input = Decoder::new(key);
    let version = i16::decode(&mut input, 0, false).ok()?;
    if version == KEY_VERSION { String::decode(&mut input, 0, false).ok() } else { None }
}

impl GroupRecord {
    pub(super) fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut out = Encoder::new();
        VALUE_VERSION.encode(&mut out, 0, false);
        self.protocol_type.encode(&mut out, VALUE_VERSION, false);
        self.generation.encode(&mut out, VALUE_VERSION, false);
        self.protocol.encode(&mut out, VALUE_VERSION, false);
        self.leader.encode(&mut out, VALUE_VERSION, false);
        self.timestamp.encode(&mut out, VALUE_VERSION, false);
        self.members.encode(&mut out, VALUE_VERSION, false);
        finish(out)
    }

    /// Reads what these brokers write: no other version comes into their logs.
    pub(super) fn decode(value: Bytes) -> Result<Self, DecodeError> {
        let mut input = Decoder::new(value);
        let version = i16::decode(&mut input, 0, false)?;
        if version != VALUE_VERSION {
            return Err(input.error(format!("a group's record has version {version}, not {VALUE_VERSION}")));
        }
        Ok(Self {
            protocol_type: Wire::decode(&mut input, version, false)?,
            generation: Wire::decode(&mut input, version, false)?,
            protocol: Wire::decode(&mut input, version, false)?,
            leader: Wire::decode(&mut input, version, false)?,
            timestamp: Wire::decode(&mut input, version, false)?,
            members: Wire::decode(&mut input, version, false)?,
        })
    }
}

fn finish(out: Encoder) -> Result<Bytes, EncodeError> {
    out.finish().map(|pieces| pieces.concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Kafka 4.4's own class writes for the same values, as version 3.
    const JAVA: &str = "00030008636f6e73756d657200000003000572616e676500036d2d31000000000000000700000002\
        00036d2d31ffff00016300022f68000493e00000afc8000000020102000000010300036d2d3200016900016300022f68\
        00000001000000020000000000000000";
    const JAVA_EMPTY: &str = "0003000000000000ffffffffffffffffffffffff00000000";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn members() -> Vec<MemberRecord> {
        let first = MemberRecord {
            id: "m-1".to_owned(),
            instance_id: None,
            client_id: "c".to_owned(),
            client_host: "/h".to_owned(),
            rebalance_timeout: 300_000,
            session_timeout: 45_000,
            metadata: Bytes::from_static(&[1, 2]),
            assignment: Bytes::from_static(&[3]),
        };
        let second = MemberRecord {
            id: "m-2".to_owned(),
            instance_id: Some("i".to_owned()),
            rebalance_timeout: 1,
            session_timeout: 2,
            metadata: Bytes::new(),
            assignment: Bytes::new(),
            ..first.clone()
        };
        vec![first, second]
    }

    #[test]
    fn values_are_kafkas() {
        let group = GroupRecord {
            protocol_type: "consumer".to_owned(),
            generation: 3,
            protocol: Some("range".to_owned()),
            leader: Some("m-1".to_owned()),
            timestamp: 7,
            members: members(),
        };
        let empty = GroupRecord {
            protocol_type: String::new(),
            generation: 0,
            protocol: None,
            leader: None,
            timestamp: -1,
            members: Vec::new(),
        };
        for (record, expected) in [(group, JAVA), (empty, JAVA_EMPTY)] {
            let bytes = record.encode().unwrap();
            assert_eq!(hex(&bytes), expected);
            assert_eq!(GroupRecord::decode(bytes), Ok(record));
        }
        assert!(GroupRecord::decode(Bytes::from_static(b"\x00\x01")).is_err());
    }

    #[test]
    fn keys_are_kafkas() {
        let key = encode_key("g").unwrap();
        assert_eq!(&key[..], b"\x00\x02\x00\x01g");
        assert_eq!(decode_key(key), Some("g".to_owned()));
        assert_eq!(decode_key(Bytes::from_static(b"\x00\x01\x00\x01g\x00\x01t\0\0\0\0")), None, "an offset");
    }
}
