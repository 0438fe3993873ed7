//! Record batches as a producer makes them, right or wrong.

use std::time::SystemTime;

use bytes::Bytes;
use milena_protocol::compression::{Compression, Compressor};
use milena_protocol::primitives::Records;
use milena_protocol::records::{BatchHeader, NewRecord};

/// A record batch to be written: of no producer, not compressed, with the current time, until it is told otherwise.
#[derive(Clone, Debug)]
pub struct RawBatch {
    records: Vec<(Option<Bytes>, Option<Bytes>)>,
    /// What each record's time stamp adds to that of the record before.
    step_ms: i64,
    header: BatchHeader,
}

/// The current time as Kafka has it, in milliseconds.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.expect("the clock is right").as_millis() as i64
}

impl RawBatch {
    /// Records with these values and without keys.
    pub fn of<V: AsRef<[u8]>>(values: impl IntoIterator<Item = V>) -> Self {
        Self::with(values.into_iter().map(|value| (None, Some(Bytes::copy_from_slice(value.as_ref())))).collect())
    }

    /// Records with these keys and values; no value is a tombstone.
    pub fn keyed<'a>(records: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> Self {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        Self::with(records.into_iter().map(|(key, value)| (Some(bytes(key)), value.map(bytes))).collect())
    }

    fn with(records: Vec<(Option<Bytes>, Option<Bytes>)>) -> Self {
        let count = records.len() as i32;
        let header = BatchHeader { record_count: count, last_offset_delta: count - 1, ..Default::default() };
        Self { records, step_ms: 0, header }.at(now_ms(), 0)
    }

    /// The first record's time stamp, and what each further one adds.
    #[must_use]
    pub fn at(mut self, first_ms: i64, step_ms: i64) -> Self {
        self.step_ms = step_ms;
        self.header.base_timestamp = first_ms;
        self.header.max_timestamp = first_ms.max(first_ms + step_ms * i64::from(self.header.last_offset_delta));
        self
    }

    /// Of an idempotent producer.
    #[must_use]
    pub fn producer(mut self, id: i64, epoch: i16, sequence: i32) -> Self {
        (self.header.producer_id, self.header.producer_epoch, self.header.base_sequence) = (id, epoch, sequence);
        self
    }

    /// In a transaction of its producer.
    #[must_use]
    pub fn transactional(mut self) -> Self {
        self.header.attributes = self.header.attributes.with_transactional();
        self
    }

    /// Compressed.
    #[must_use]
    pub fn compressed(mut self, codec: Compression) -> Self {
        self.header.attributes = self.header.attributes.with_compression(codec);
        self
    }

    /// With anything else in its header; the CRC fits.
    #[must_use]
    pub fn header(mut self, change: impl FnOnce(&mut BatchHeader)) -> Self {
        change(&mut self.header);
        self
    }

    /// The bytes as they are sent.
    pub fn encode(&self) -> Bytes {
        let mut body = Vec::new();
        for (index, (key, value)) in self.records.iter().enumerate() {
            let record = NewRecord { key: key.as_deref(), value: value.as_deref(), headers: &[] };
            record.append_to(index as i32, self.step_ms * index as i64, &mut body);
        }
        let codec = self.header.attributes.compression().unwrap_or(Compression::None);
        let body = Compressor::new(codec, None).compress(&[body.into()]).expect("compress a batch");
        [&self.header.encode(std::slice::from_ref(&body)), &body[..]].concat().into()
    }
}

impl From<RawBatch> for Records {
    fn from(batch: RawBatch) -> Self {
        batch.encode().into()
    }
}
