//! Keys and values of `__transaction_state`. Pure.

use std::collections::BTreeMap;

use bytes::Bytes;
use milena_protocol::primitives::{DecodeError, Decoder, EncodeError, Encoder, Wire};

use super::transaction::{Epochs, NONE, Transaction, TransactionState};

const KEY_VERSION: i16 = 0;

/// The version of values that Kafka writes since 4.0.
const VALUE_VERSION: i16 = 1;

const PREVIOUS_PRODUCER_ID_TAG: u32 = 0;
const NEXT_PRODUCER_ID_TAG: u32 = 1;
const CLIENT_VERSION_TAG: u32 = 2;
const LAST_EPOCH_TAG: u32 = 3;

/// The transaction version that raises the epoch with each transaction.
const BUMPING_VERSION: i16 = 2;

pub(super) fn encode_key(transactional_id: &str) -> Result<Bytes, EncodeError> {
    let mut out = Encoder::new();
    KEY_VERSION.encode(&mut out, 0, false);
    transactional_id.to_owned().encode(&mut out, 0, false);
    finish(out)
}

/// The transactional id; `None` if it is the key of something else.
pub(super) fn decode_key(key: Bytes) -> Option<String> {
    let mut input = Decoder::new(key);
    let version = i16::decode(&mut input, 0, false).ok()?;
    if version == KEY_VERSION { String::decode(&mut input, 0, false).ok() } else { None }
}

#[derive(Debug)]
struct TopicPartitions {
    topic: String,
    partitions: Vec<i32>,
}

impl Wire for TopicPartitions {
    fn encode(&self, out: &mut Encoder, version: i16, flexible: bool) {
        self.topic.encode(out, version, flexible);
        self.partitions.encode(out, version, flexible);
        out.put_unsigned_varint(0);
    }

    fn decode(input: &mut Decoder, version: i16, flexible: bool) -> Result<Self, DecodeError> {
        let topic = Wire::decode(input, version, flexible)?;
        let partitions = Wire::decode(input, version, flexible)?;
        input.tagged_fields(|_, _| Ok(false))?;
        Ok(Self { topic, partitions })
    }
}

impl Transaction {
    pub(super) fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in &self.partitions {
            topics.entry(topic).or_default().push(*partition);
        }
        let topics =
            topics.into_iter().map(|(topic, partitions)| TopicPartitions { topic: topic.to_owned(), partitions });
        // At rest there is no list, rather than an empty one.
        let topics = (self.state != TransactionState::Empty).then(|| topics.collect::<Vec<_>>());
        let mut out = Encoder::new();
        VALUE_VERSION.encode(&mut out, 0, false);
        self.producer_id.encode(&mut out, VALUE_VERSION, true);
        self.epoch.encode(&mut out, VALUE_VERSION, true);
        self.timeout_ms.encode(&mut out, VALUE_VERSION, true);
        self.state.id().encode(&mut out, VALUE_VERSION, true);
        topics.encode(&mut out, VALUE_VERSION, true);
        self.updated_ms.encode(&mut out, VALUE_VERSION, true);
        self.started_ms.encode(&mut out, VALUE_VERSION, true);
        let mut tagged: Vec<(u32, Vec<u8>)> = Vec::new();
        for (tag, id) in
            [(PREVIOUS_PRODUCER_ID_TAG, self.previous_producer_id), (NEXT_PRODUCER_ID_TAG, self.next_producer_id)]
        {
            if id != i64::from(NONE) {
                tagged.push((tag, id.to_be_bytes().to_vec()));
            }
        }
        if self.epochs == Epochs::Bump {
            tagged.push((CLIENT_VERSION_TAG, BUMPING_VERSION.to_be_bytes().to_vec()));
        }
        if self.last_epoch != NONE {
            tagged.push((LAST_EPOCH_TAG, self.last_epoch.to_be_bytes().to_vec()));
        }
        out.put_unsigned_varint(tagged.len() as u32);
        for (tag, value) in tagged {
            out.put_unsigned_varint(tag);
            out.put_unsigned_varint(value.len() as u32);
            out.put_slice(&value);
        }
        finish(out)
    }

    /// Reads what these brokers write: no other version comes into their logs.
    pub(super) fn decode(value: Bytes) -> Result<Self, DecodeError> {
        let mut input = Decoder::new(value);
        let version = i16::decode(&mut input, 0, false)?;
        if version != VALUE_VERSION {
            return Err(input.error(format!("a transaction's record has version {version}, not {VALUE_VERSION}")));
        }
        let producer_id = Wire::decode(&mut input, version, true)?;
        let epoch = Wire::decode(&mut input, version, true)?;
        let timeout_ms = Wire::decode(&mut input, version, true)?;
        let state = i8::decode(&mut input, version, true)?;
        let state = TransactionState::from_id(state).ok_or_else(|| input.error(format!("{state} is no state")))?;
        let topics: Option<Vec<TopicPartitions>> = Wire::decode(&mut input, version, true)?;
        let updated_ms = Wire::decode(&mut input, version, true)?;
        let started_ms = Wire::decode(&mut input, version, true)?;
        let mut transaction = Self { state, epoch, updated_ms, started_ms, ..Self::new(producer_id, timeout_ms) };
        for TopicPartitions { topic, partitions } in topics.into_iter().flatten() {
            transaction.partitions.extend(partitions.into_iter().map(|partition| (topic.clone(), partition)));
        }
        input.tagged_fields(|tag, field| {
            match tag {
                PREVIOUS_PRODUCER_ID_TAG => transaction.previous_producer_id = Wire::decode(field, version, true)?,
                NEXT_PRODUCER_ID_TAG => transaction.next_producer_id = Wire::decode(field, version, true)?,
                CLIENT_VERSION_TAG if i16::decode(field, version, true)? >= BUMPING_VERSION => {
                    transaction.epochs = Epochs::Bump;
                }
                CLIENT_VERSION_TAG => {}
                LAST_EPOCH_TAG => transaction.last_epoch = Wire::decode(field, version, true)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(transaction)
    }
}

fn finish(out: Encoder) -> Result<Bytes, EncodeError> {
    out.finish().map(|pieces| pieces.concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transaction() -> Transaction {
        Transaction {
            state: TransactionState::PrepareCommit,
            epoch: 3,
            last_epoch: 2,
            previous_producer_id: 7,
            partitions: [("t".to_owned(), 0), ("t".to_owned(), 2), ("u".to_owned(), 1)].into(),
            started_ms: 5,
            updated_ms: 6,
            epochs: Epochs::Bump,
            ..Transaction::new(7, 1000)
        }
    }

    #[test]
    fn a_key_has_kafkas_layout() {
        let bytes = encode_key("t1").unwrap();
        assert_eq!(&bytes[..], b"\0\0\0\x02t1");
        assert_eq!(decode_key(bytes).as_deref(), Some("t1"));
        assert_eq!(decode_key(Bytes::from_static(b"\0\x01\0\0")), None);
    }

    #[test]
    fn a_value_has_kafkas_layout_and_comes_back() {
        let bytes = transaction().encode().unwrap();
        let mut expected = b"\0\x01\0\0\0\0\0\0\0\x07\0\x03\0\0\x03\xe8\x02".to_vec();
        expected.extend(b"\x03\x02t\x03\0\0\0\0\0\0\0\x02\0\x02u\x02\0\0\0\x01\0");
        expected.extend(b"\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0\x05");
        expected.extend(b"\x03\0\x08\0\0\0\0\0\0\0\x07\x02\x02\0\x02\x03\x02\0\x02");
        assert_eq!(&bytes[..], &expected[..]);
        assert_eq!(Transaction::decode(bytes), Ok(transaction()));
        let empty = Transaction { epoch: 0, ..Transaction::new(9, 5) };
        assert_eq!(Transaction::decode(empty.encode().unwrap()), Ok(empty));
    }
}
