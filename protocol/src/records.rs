//! Record batches (format v2): header, attributes, and the way from bytes to records and back. Pure.
//!
//! * Writing: [`NewRecord::append_to`] grows a body, [`BatchHeader::encode`] makes the 61 bytes that go before it. The two stay
//!   apart, so that a body can be sent again under another header without being copied.
//! * Reading: [`Batches`] walks what a Fetch answer or a Produce request carries, [`Batch::records`] decompresses one batch,
//!   [`RecordSet::iter`] gives its records as slices.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::compression::Compression;

pub use decode::{
    Batch, BatchError, BatchErrorKind, Batches, ControlMarker, Headers, Record, RecordIter, RecordSet, control_marker,
};
pub use encode::NewRecord;

/// How many bytes of a batch come before its first record.
pub const HEADER_LEN: usize = 61;

/// How many bytes come before those that a batch's own length counts.
const LENGTH_END: usize = 12;

/// Where the CRC's coverage starts: everything from the attributes to the end of the batch.
const CRC_START: usize = 21;

/// The only record format that Kafka 4 knows.
const MAGIC: i8 = 2;

/// What a record's timestamp means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimestampType {
    /// The producer set it.
    #[default]
    CreateTime,
    /// The broker set it, one for the whole batch, when it appended the batch.
    LogAppendTime,
}

/// The attributes of a batch: codec, timestamp type, transactional and control bits, packed as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes(pub i16);

impl Attributes {
    const CODEC: i16 = 0x07;
    const LOG_APPEND_TIME: i16 = 0x08;
    const TRANSACTIONAL: i16 = 0x10;
    const CONTROL: i16 = 0x20;

    /// The codec of the records, or `None` if the codec bits are none that is known here.
    pub fn compression(self) -> Option<Compression> {
        Compression::from_id(self.0 & Self::CODEC)
    }

    /// The same attributes with another codec.
    #[must_use]
    pub fn with_compression(self, compression: Compression) -> Self {
        Self(self.0 & !Self::CODEC | compression.id())
    }

    /// What the timestamps mean.
    pub fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime }
    }

    /// The same attributes with another meaning of the timestamps.
    #[must_use]
    pub fn with_timestamp_type(self, timestamp_type: TimestampType) -> Self {
        match timestamp_type {
            TimestampType::CreateTime => Self(self.0 & !Self::LOG_APPEND_TIME),
            TimestampType::LogAppendTime => Self(self.0 | Self::LOG_APPEND_TIME),
        }
    }

    /// Whether the records belong to a transaction.
    pub fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// The same attributes with the transactional bit.
    #[must_use]
    pub fn with_transactional(self) -> Self {
        Self(self.0 | Self::TRANSACTIONAL)
    }

    /// Whether the batch holds a broker's markers instead of an application's records.
    pub fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// The same attributes with the control bit.
    #[must_use]
    pub fn with_control(self) -> Self {
        Self(self.0 | Self::CONTROL)
    }
}

/// What stands before the records of a batch, without its length and its CRC, which follow from the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// The offset that the offset deltas count from. A producer sends 0, the broker sets it.
    pub base_offset: i64,
    /// The leader epoch under which the batch was appended; −1 if not known. Set by the broker.
    pub partition_leader_epoch: i32,
    /// Codec, timestamp type, transactional and control bits.
    pub attributes: Attributes,
    /// The last record's offset minus `base_offset`. Compaction keeps it, even if that record is gone.
    pub last_offset_delta: i32,
    /// What the timestamp deltas count from, in milliseconds since the Unix epoch.
    pub base_timestamp: i64,
    /// The greatest timestamp of the records; with [`TimestampType::LogAppendTime`] that of every record.
    pub max_timestamp: i64,
    /// The idempotent producer's id; −1 for none.
    pub producer_id: i64,
    /// The idempotent producer's epoch; −1 for none.
    pub producer_epoch: i16,
    /// The first record's sequence number; −1 for none.
    pub base_sequence: i32,
    /// How many records there are.
    pub record_count: i32,
}

/// No records, no producer, offset 0, unknown leader epoch.
impl Default for BatchHeader {
    fn default() -> Self {
        Self {
            base_offset: 0,
            partition_leader_epoch: -1,
            attributes: Attributes(0),
            last_offset_delta: 0,
            base_timestamp: -1,
            max_timestamp: -1,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            record_count: 0,
        }
    }
}

impl BatchHeader {
    /// The offset of the last record, or where it was before compaction.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// The first offset after this batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }
}

/// CRC-32C over pieces as if they were one.
fn crc32c<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    for piece in pieces {
        digest.update(piece);
    }
    digest.finalize() as u32
}

/// What [`crc32c`] gives for one piece, without the set-up of a digest.
fn crc32c_of(bytes: &Bytes) -> u32 {
    crc_fast::crc32_iscsi(bytes.get(CRC_START..).unwrap_or_default())
}
