//! The records inside a batch: checked lengths, borrowed slices. Pure.

use bytes::Bytes;

use super::{BatchError, BatchErrorKind};
use crate::records::{BatchHeader, TimestampType};

/// The least that a record has: its length, attributes, two deltas, two lengths and the number of headers, one byte each.
const MIN_RECORD_LEN: usize = 7;

/// The decompressed records of one batch. A clone shares the bytes.
#[derive(Debug, Clone)]
pub struct RecordSet {
    header: BatchHeader,
    bytes: Bytes,
}

impl RecordSet {
    pub(super) fn new(header: BatchHeader, bytes: Bytes) -> Result<Self, BatchError> {
        match usize::try_from(header.record_count) {
            Ok(count) if count <= bytes.len() / MIN_RECORD_LEN => Ok(Self { header, bytes }),
            _ => {
                let reason = format!("{} records cannot be in {} bytes", header.record_count, bytes.len());
                Err(BatchError::new(Some(header.base_offset), BatchErrorKind::Record, reason))
            }
        }
    }

    /// The header of the batch.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The records' bytes, one after the other.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// All records, in order.
    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter { set: self, position: 0, left: usize::try_from(self.header.record_count).unwrap_or(0) }
    }

    /// The record that starts at byte `position` of [`RecordSet::bytes`], and where the next one starts. Position 0 is the
    /// first record; how many there are says the header.
    ///
    /// # Errors
    /// If there is no valid record.
    #[inline]
    pub fn read_at(&self, position: usize) -> Result<(Record<'_>, usize), BatchError> {
        let rest = self.bytes.get(position..).unwrap_or_default();
        match read(&self.header, rest) {
            Ok((record, length)) => Ok((record, position + length)),
            Err(reason) => Err(self.fail(format!("record at byte {position}: {reason}"))),
        }
    }

    #[cold]
    fn fail(&self, reason: String) -> BatchError {
        BatchError::new(Some(self.header.base_offset), BatchErrorKind::Record, reason)
    }
}

impl<'a> IntoIterator for &'a RecordSet {
    type Item = Result<Record<'a>, BatchError>;
    type IntoIter = RecordIter<'a>;

    fn into_iter(self) -> RecordIter<'a> {
        self.iter()
    }
}

/// The records of a batch. Ends after the first error; bytes after the last record are an error too.
#[derive(Debug, Clone)]
pub struct RecordIter<'a> {
    set: &'a RecordSet,
    position: usize,
    left: usize,
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            let trailing = self.set.bytes.len() - self.position;
            self.position = self.set.bytes.len();
            return (trailing != 0).then(|| Err(self.set.fail(format!("{trailing} bytes follow the last record"))));
        }
        match self.set.read_at(self.position) {
            Ok((record, next)) => {
                self.left -= 1;
                self.position = next;
                Some(Ok(record))
            }
            Err(error) => {
                self.left = 0;
                self.position = self.set.bytes.len();
                Some(Err(error))
            }
        }
    }
}

/// One record; its parts are slices of its batch.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Where it is in its partition.
    pub offset: i64,
    /// Milliseconds since the Unix epoch; what it means says [`TimestampType`] in the batch's attributes.
    pub timestamp: i64,
    /// The key, or null.
    pub key: Option<&'a [u8]>,
    /// The value, or null.
    pub value: Option<&'a [u8]>,
    /// The headers, in their order.
    pub headers: Headers<'a>,
}

/// Headers of a record, in their order, with every repetition of a name. They were checked when the record was read, so
/// walking them cannot fail.
#[derive(Debug, Clone, Copy, Default)]
pub struct Headers<'a> {
    rest: &'a [u8],
    left: usize,
}

impl Headers<'_> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.left
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        header(&mut self.rest).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Headers<'_> {}

/// Reads the record at the start of `bytes`, and tells how long it is with its length.
#[inline]
fn read<'a>(batch: &BatchHeader, bytes: &'a [u8]) -> Result<(Record<'a>, usize), &'static str> {
    let mut rest = bytes;
    let length = usize::try_from(varint(&mut rest)?).map_err(|_| "its length is negative")?;
    let Some((mut input, after)) = rest.split_at_checked(length) else { return Err("its length exceeds the batch") };
    let input = &mut input;
    let Some((_attributes, content)) = input.split_first() else { return Err("it is empty") };
    *input = content;
    let timestamp_delta = varint(input)?;
    let offset_delta = varint(input)?;
    if !(0..=i64::from(batch.last_offset_delta)).contains(&offset_delta) {
        return Err("its offset is outside of the batch");
    }
    let key = nullable(input)?;
    let value = nullable(input)?;
    let headers = headers(input)?;
    let timestamp = match batch.attributes.timestamp_type() {
        TimestampType::CreateTime => batch.base_timestamp.wrapping_add(timestamp_delta),
        TimestampType::LogAppendTime => batch.max_timestamp,
    };
    // Cannot wrap: the walk over the batches has checked the last offset.
    let offset = batch.base_offset.saturating_add(offset_delta);
    Ok((Record { offset, timestamp, key, value, headers }, bytes.len() - after.len()))
}

/// Checks the headers that `bytes` are, to the last byte.
#[inline]
fn headers<'a>(bytes: &mut &'a [u8]) -> Result<Headers<'a>, &'static str> {
    if let [0] = bytes {
        return Ok(Headers::default()); // most records have none
    }
    let count = usize::try_from(varint(bytes)?).map_err(|_| "its number of headers is negative")?;
    // Each has two lengths. This bounds the loop by the bytes, not by a number that nobody vouches for.
    if count > bytes.len() / 2 {
        return Err("it has more headers than bytes");
    }
    let headers = Headers { rest: bytes, left: count };
    for _ in 0..count {
        header(bytes)?;
    }
    if bytes.is_empty() { Ok(headers) } else { Err("it is shorter than its length") }
}

fn header<'a>(input: &mut &'a [u8]) -> Result<(&'a str, Option<&'a [u8]>), &'static str> {
    let name = nullable(input)?.ok_or("a header has no name")?;
    let name = str::from_utf8(name).map_err(|_| "a header's name is not UTF-8")?;
    Ok((name, nullable(input)?))
}

#[inline]
fn nullable<'a>(input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, &'static str> {
    let length = varint(input)?;
    let Ok(length) = usize::try_from(length) else {
        return if length == -1 { Ok(None) } else { Err("a length is negative") };
    };
    let Some((bytes, rest)) = input.split_at_checked(length) else { return Err("a length exceeds the record") };
    *input = rest;
    Ok(Some(bytes))
}

/// A zigzag variable-length integer of up to 64 bits.
#[inline]
fn varint(input: &mut &[u8]) -> Result<i64, &'static str> {
    let Some((first, rest)) = input.split_first() else { return Err("it is cut") };
    let value = if *first < 0x80 {
        *input = rest;
        u64::from(*first)
    } else {
        long_varint(input)?
    };
    Ok((value >> 1) as i64 ^ -((value & 1) as i64))
}

fn long_varint(input: &mut &[u8]) -> Result<u64, &'static str> {
    let mut value = 0u128;
    for (index, byte) in input.iter().take(10).enumerate() {
        value |= u128::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            *input = input.get(index + 1..).unwrap_or_default();
            return u64::try_from(value).map_err(|_| "a varint has more than 64 bits");
        }
    }
    if input.len() < 10 { Err("it is cut") } else { Err("a varint is longer than 10 bytes") }
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlMarker {
    /// Its records do not count.
    Abort,
    /// Its records count.
    Commit,
}

/// What the record of a control batch says about its producer's transaction; `None` if it is a marker of another kind, or
/// its key is too short.
pub fn control_marker(record: &Record<'_>) -> Option<ControlMarker> {
    let kind = record.key?.get(2..)?.first_chunk()?;
    match i16::from_be_bytes(*kind) {
        0 => Some(ControlMarker::Abort),
        1 => Some(ControlMarker::Commit),
        _ => None,
    }
}
