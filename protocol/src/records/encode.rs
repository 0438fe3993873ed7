//! Appends records to a growing body, and makes the header that goes before it. Pure.

use bytes::Bytes;

use super::{BatchHeader, CRC_START, HEADER_LEN, LENGTH_END, MAGIC, crc32c};

/// A record that is to be written: borrowed parts, no timestamp or offset (those are deltas, which the batch decides).
#[derive(Debug, Clone, Copy, Default)]
pub struct NewRecord<'a> {
    /// The key, or null.
    pub key: Option<&'a [u8]>,
    /// The value, or null (a tombstone in a compacted topic).
    pub value: Option<&'a [u8]>,
    /// Headers in their order; a name may appear more than once, and a value may be null.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

impl NewRecord<'_> {
    /// How many bytes [`NewRecord::append_to`] writes for these deltas.
    pub fn encoded_len(&self, offset_delta: i32, timestamp_delta: i64) -> usize {
        let content = self.content_len(offset_delta, timestamp_delta);
        varint_len(content as i64) + content
    }

    /// Appends the record to the body of a batch. Reserves once, for exactly what it writes.
    ///
    /// Key, value and each header must be shorter than 2 GiB, as must be the whole; callers limit records far below that.
    pub fn append_to(&self, offset_delta: i32, timestamp_delta: i64, out: &mut Vec<u8>) {
        let content = self.content_len(offset_delta, timestamp_delta);
        out.reserve(varint_len(content as i64) + content);
        put_varint(content as i64, out);
        out.push(0); // attributes: none are defined
        put_varint(timestamp_delta, out);
        put_varint(i64::from(offset_delta), out);
        put_bytes(self.key, out);
        put_bytes(self.value, out);
        put_varint(self.headers.len() as i64, out);
        for (name, value) in self.headers {
            put_bytes(Some(name.as_bytes()), out);
            put_bytes(*value, out);
        }
    }

    /// The bytes after the record's own length.
    fn content_len(&self, offset_delta: i32, timestamp_delta: i64) -> usize {
        let mut length = 1
            + varint_len(timestamp_delta)
            + varint_len(i64::from(offset_delta))
            + bytes_len(self.key)
            + bytes_len(self.value)
            + varint_len(self.headers.len() as i64);
        for (name, value) in self.headers {
            length += bytes_len(Some(name.as_bytes())) + bytes_len(*value);
        }
        length
    }
}

impl BatchHeader {
    /// The 61 bytes to send before `body`: the pieces, compressed or not, that follow them. Length and CRC are computed here.
    /// The body must be shorter than 2 GiB, as every frame is.
    pub fn encode(&self, body: &[Bytes]) -> [u8; HEADER_LEN] {
        let length = HEADER_LEN - LENGTH_END + body.iter().map(Bytes::len).sum::<usize>();
        let mut header = [0; HEADER_LEN];
        // What the CRC covers goes first into its place, so that the CRC can be taken from there.
        if let Some(covered) = header.get_mut(CRC_START..) {
            put_fields(
                covered,
                &[
                    &self.attributes.0.to_be_bytes(),
                    &self.last_offset_delta.to_be_bytes(),
                    &self.base_timestamp.to_be_bytes(),
                    &self.max_timestamp.to_be_bytes(),
                    &self.producer_id.to_be_bytes(),
                    &self.producer_epoch.to_be_bytes(),
                    &self.base_sequence.to_be_bytes(),
                    &self.record_count.to_be_bytes(),
                ],
            );
        }
        let covered = header.get(CRC_START..).unwrap_or_default();
        let crc = crc32c(std::iter::once(covered).chain(body.iter().map(|piece| &piece[..])));
        put_fields(
            &mut header,
            &[
                &self.base_offset.to_be_bytes(),
                &i32::try_from(length).unwrap_or(i32::MAX).to_be_bytes(),
                &self.partition_leader_epoch.to_be_bytes(),
                &MAGIC.to_be_bytes(),
                &crc.to_be_bytes(),
            ],
        );
        header
    }
}

/// Writes fields one after the other from the start of `target`.
fn put_fields(target: &mut [u8], fields: &[&[u8]]) {
    let bytes = fields.iter().copied().flatten();
    for (place, byte) in target.iter_mut().zip(bytes) {
        *place = *byte;
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// How many bytes [`put_varint`] writes.
#[inline]
fn varint_len(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// A zigzag variable-length integer. Kafka's 32-bit and 64-bit ones have the same bytes for the same value.
#[inline]
fn put_varint(value: i64, out: &mut Vec<u8>) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[inline]
fn bytes_len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint_len(bytes.len() as i64) + bytes.len())
}

#[inline]
fn put_bytes(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes {
        Some(bytes) => {
            put_varint(bytes.len() as i64, out);
            out.extend_from_slice(bytes);
        }
        None => out.push(1), // −1
    }
}
