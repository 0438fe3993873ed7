//! Walks batches and their records lazily, as slices of what was received. Pure.

mod record;

use std::fmt;

use bytes::Bytes;

use super::{Attributes, BatchHeader, CRC_START, HEADER_LEN, LENGTH_END, MAGIC, crc32c_of};
use crate::compression::{Compression, decompress};
use crate::primitives::{DecodeError, Decoder, Wire};

pub use record::{ControlMarker, Headers, Record, RecordIter, RecordSet, control_marker};

/// What is wrong with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchErrorKind {
    /// Its length or its offsets cannot be: the batches after it cannot be found.
    Length,
    /// It is in another format than v2.
    Magic,
    /// Its bytes are not those that its CRC was taken of.
    Crc,
    /// It is compressed in a way that is not known here.
    Codec,
    /// It does not decompress.
    Decompression,
    /// A record, or the number of records, is wrong.
    Record,
    /// It is larger than the limit after decompression.
    TooLarge,
}

/// A batch cannot be read: which, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchError {
    offset: Option<i64>,
    kind: BatchErrorKind,
    reason: String,
}

impl BatchError {
    /// An error of the batch at `offset`.
    pub fn new(offset: Option<i64>, kind: BatchErrorKind, reason: impl Into<String>) -> Self {
        Self { offset, kind, reason: reason.into() }
    }

    /// What is wrong.
    pub fn kind(&self) -> BatchErrorKind {
        self.kind
    }

    /// The base offset of the batch, if it could be read.
    pub fn offset(&self) -> Option<i64> {
        self.offset
    }
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            Some(offset) => write!(f, "record batch at offset {offset}: {}", self.reason),
            None => write!(f, "record batch: {}", self.reason),
        }
    }
}

impl std::error::Error for BatchError {}

/// One batch as it is on the wire. A clone shares the bytes.
#[derive(Debug, Clone)]
pub struct Batch {
    header: BatchHeader,
    crc: u32,
    bytes: Bytes,
}

impl Batch {
    /// What stands before the records.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What follows the header: the records, compressed if the attributes say so.
    pub fn body(&self) -> Bytes {
        self.bytes.slice(HEADER_LEN.min(self.bytes.len())..)
    }

    /// Whether the bytes are those that the CRC was taken of. Nothing else here looks at the CRC.
    pub fn has_valid_crc(&self) -> bool {
        crc32c_of(&self.bytes) == self.crc
    }

    /// The same batch with another base offset and leader epoch, as a broker appends it. The CRC covers neither, so it stays
    /// as it is, right or wrong. Copies the bytes.
    #[must_use]
    pub fn at(&self, base_offset: i64, partition_leader_epoch: i32) -> Batch {
        let mut bytes = Vec::with_capacity(self.bytes.len());
        bytes.extend_from_slice(&base_offset.to_be_bytes());
        bytes.extend_from_slice(self.bytes.get(8..LENGTH_END).unwrap_or_default());
        bytes.extend_from_slice(&partition_leader_epoch.to_be_bytes());
        bytes.extend_from_slice(self.bytes.get(LENGTH_END + 4..).unwrap_or_default());
        Batch {
            header: BatchHeader { base_offset, partition_leader_epoch, ..self.header },
            crc: self.crc,
            bytes: bytes.into(),
        }
    }

    /// The records, decompressed into at most `limit` bytes. Records that are not compressed share the batch's memory and are
    /// not limited. The CRC is not checked.
    ///
    /// # Errors
    /// If the codec is not known, the body does not decompress, or it is larger than `limit`; or if it cannot hold as many
    /// records as the header says.
    pub fn records(&self, limit: usize) -> Result<RecordSet, BatchError> {
        let fail = |kind, reason: String| BatchError::new(Some(self.header.base_offset), kind, reason);
        let bytes = match self.header.attributes.compression() {
            Some(Compression::None) => self.body(),
            Some(codec) => decompress(codec, &self.body(), limit).map_err(|error| {
                let kind = if error.is_too_large() { BatchErrorKind::TooLarge } else { BatchErrorKind::Decompression };
                fail(kind, error.to_string())
            })?,
            None => {
                let id = self.header.attributes.0 & 7;
                return Err(fail(BatchErrorKind::Codec, format!("codec {id} is not known")));
            }
        };
        RecordSet::new(self.header, bytes)
    }
}

/// Walks the batches that a Fetch answer or a Produce request carries.
///
/// A cut tail (fewer bytes than a header, or than the batch's length says) ends the walk; brokers cut the last batch when it
/// does not fit. A batch of another format, or one whose length or offsets cannot be, is an error, once, and ends the walk.
#[derive(Debug, Clone)]
pub struct Batches {
    rest: Bytes,
    truncated: bool,
}

impl Batches {
    /// Walks `records` from the start.
    pub fn new(records: Bytes) -> Self {
        Self { rest: records, truncated: false }
    }

    /// Whether the walk ended at a cut batch.
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    fn read(&mut self) -> Result<Option<Batch>, BatchError> {
        let head = &self.rest;
        let offset = head.first_chunk().map(|bytes| i64::from_be_bytes(*bytes));
        let length = head.get(8..).and_then(|rest| rest.first_chunk()).map(|bytes| i32::from_be_bytes(*bytes));
        // Formats 0 and 1 have their number at the same place, and shorter headers.
        if let Some(magic) = head.get(LENGTH_END + 4).copied().filter(|magic| *magic != MAGIC as u8) {
            let reason = format!("format {magic} is not supported, only {MAGIC} is");
            return Err(BatchError::new(offset, BatchErrorKind::Magic, reason));
        }
        let Some(length) = length else { return Ok(None) };
        let Some(end) = usize::try_from(length).ok().map(|length| length + LENGTH_END).filter(|end| *end >= HEADER_LEN)
        else {
            let reason = format!("length {length} is less than a header's {}", HEADER_LEN - LENGTH_END);
            return Err(BatchError::new(offset, BatchErrorKind::Length, reason));
        };
        if end > head.len() {
            return Ok(None);
        }
        let bytes = self.rest.split_to(end);
        let (header, crc) =
            parse_header(&bytes).map_err(|error| BatchError::new(offset, BatchErrorKind::Length, error.to_string()))?;
        // A position after such a batch would not be after its start.
        if header.last_offset_delta < 0
            || header.base_offset < 0
            || header.base_offset.checked_add(i64::from(header.last_offset_delta) + 1).is_none()
        {
            let reason = format!("last offset delta {} is out of range", header.last_offset_delta);
            return Err(BatchError::new(offset, BatchErrorKind::Length, reason));
        }
        Ok(Some(Batch { header, crc, bytes }))
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let read = self.read();
        if !matches!(read, Ok(Some(_))) {
            self.truncated = read.is_ok();
            self.rest = Bytes::new();
        }
        read.transpose()
    }
}

/// Header and CRC of a batch that is at least as long as a header.
fn parse_header(bytes: &Bytes) -> Result<(BatchHeader, u32), DecodeError> {
    fn field<T: Wire>(input: &mut Decoder) -> Result<T, DecodeError> {
        T::decode(input, 0, false)
    }
    let mut input = Decoder::new(bytes.clone());
    let base_offset = field(&mut input)?;
    let _length: i32 = field(&mut input)?;
    let partition_leader_epoch = field(&mut input)?;
    let _magic: i8 = field(&mut input)?;
    let crc = field(&mut input)?;
    debug_assert_eq!(input.position(), CRC_START, "the CRC covers what follows it");
    let header = BatchHeader {
        base_offset,
        partition_leader_epoch,
        attributes: Attributes(field(&mut input)?),
        last_offset_delta: field(&mut input)?,
        base_timestamp: field(&mut input)?,
        max_timestamp: field(&mut input)?,
        producer_id: field(&mut input)?,
        producer_epoch: field(&mut input)?,
        base_sequence: field(&mut input)?,
        record_count: field(&mut input)?,
    };
    Ok((header, crc))
}
