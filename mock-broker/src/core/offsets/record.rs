//! Keys and values of `__consumer_offsets` that hold a committed offset. Pure.

use bytes::Bytes;
use milena_protocol::primitives::{DecodeError, Decoder, EncodeError, Encoder, Uuid, Wire};

use super::CommittedOffset;

/// The key's version says what kind of record it is; 0 was another name for the same.
const KEY_VERSIONS: [i16; 2] = [0, 1];
const KEY_VERSION: i16 = 1;

/// From this version on lengths are compact and the topic id is there.
const FLEXIBLE: i16 = 4;
const VALUE_VERSION: i16 = 4;
const TOPIC_ID_TAG: u32 = 0;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OffsetKey {
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) partition: i32,
}

impl OffsetKey {
    pub(super) fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut out = Encoder::new();
        KEY_VERSION.encode(&mut out, 0, false);
        self.group.encode(&mut out, 0, false);
        self.topic.encode(&mut out, 0, false);
        self.partition.encode(&mut out, 0, false);
        finish(out)
    }

    /// `None` if it is the key of something else.
    pub(super) fn decode(key: Bytes) -> Option<Self> {
        let mut input = Decoder::new(key);
        let version: i16 = read(&mut input, false).ok()?;
        if !KEY_VERSIONS.contains(&version) {
            return None;
        }
        let group = read(&mut input, false).ok()?;
        let topic = read(&mut input, false).ok()?;
        let partition = read(&mut input, false).ok()?;
        Some(Self { group, topic, partition })
    }
}

pub(super) fn encode_value(committed: &CommittedOffset) -> Result<Bytes, EncodeError> {
    let mut out = Encoder::new();
    VALUE_VERSION.encode(&mut out, 0, false);
    committed.offset.encode(&mut out, 0, true);
    committed.leader_epoch.encode(&mut out, 0, true);
    committed.metadata.encode(&mut out, 0, true);
    committed.commit_timestamp.encode(&mut out, 0, true);
    if committed.topic_id.is_zero() {
        out.put_unsigned_varint(0);
    } else {
        out.put_unsigned_varint(1);
        out.put_unsigned_varint(TOPIC_ID_TAG);
        out.put_unsigned_varint(16);
        committed.topic_id.encode(&mut out, 0, true);
    }
    finish(out)
}

pub(super) fn decode_value(value: Bytes) -> Result<CommittedOffset, DecodeError> {
    let mut input = Decoder::new(value);
    let version: i16 = read(&mut input, false)?;
    let flexible = version >= FLEXIBLE;
    let offset = read(&mut input, flexible)?;
    let leader_epoch = if version >= 3 { read(&mut input, flexible)? } else { -1 };
    let metadata = read(&mut input, flexible)?;
    let commit_timestamp = read(&mut input, flexible)?;
    let mut topic_id = Uuid::ZERO;
    if flexible {
        input.tagged_fields(|tag, field| {
            if tag == TOPIC_ID_TAG {
                topic_id = read(field, true)?;
            }
            Ok(tag == TOPIC_ID_TAG)
        })?;
    }
    Ok(CommittedOffset { offset, leader_epoch, metadata, commit_timestamp, topic_id, written_at: -1 })
}

fn read<T: Wire>(input: &mut Decoder, flexible: bool) -> Result<T, DecodeError> {
    T::decode(input, 0, flexible)
}

fn finish(out: Encoder) -> Result<Bytes, EncodeError> {
    out.finish().map(|pieces| pieces.concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed() -> CommittedOffset {
        let topic_id = Uuid([9; 16]);
        CommittedOffset {
            offset: 42,
            leader_epoch: 3,
            metadata: "me".to_owned(),
            commit_timestamp: 7,
            topic_id,
            written_at: -1,
        }
    }

    #[test]
    fn a_key_has_kafkas_layout() {
        let key = OffsetKey { group: "g".to_owned(), topic: "t".to_owned(), partition: 5 };
        let bytes = key.encode().unwrap();
        assert_eq!(&bytes[..], b"\x00\x01\x00\x01g\x00\x01t\x00\x00\x00\x05");
        assert_eq!(OffsetKey::decode(bytes), Some(key));
        assert_eq!(OffsetKey::decode(Bytes::from_static(b"\x00\x02\x00\x01g")), None, "a group's metadata");
    }

    #[test]
    fn a_value_has_kafkas_layout_and_older_ones_are_read() {
        let bytes = encode_value(&committed()).unwrap();
        let mut expected = b"\x00\x04\0\0\0\0\0\0\0\x2a\0\0\0\x03\x03me\0\0\0\0\0\0\0\x07\x01\x00\x10".to_vec();
        expected.extend([9; 16]);
        assert_eq!(&bytes[..], &expected[..]);
        assert_eq!(decode_value(bytes), Ok(committed()));

        let third = Bytes::from_static(b"\x00\x03\0\0\0\0\0\0\0\x2a\0\0\0\x03\x00\x02me\0\0\0\0\0\0\0\x07");
        assert_eq!(decode_value(third), Ok(CommittedOffset { topic_id: Uuid::ZERO, ..committed() }));
        let first = Bytes::from_static(b"\x00\x01\0\0\0\0\0\0\0\x2a\x00\x02me\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x09");
        let value = CommittedOffset { topic_id: Uuid::ZERO, leader_epoch: -1, ..committed() };
        assert_eq!(decode_value(first), Ok(value));
    }
}
