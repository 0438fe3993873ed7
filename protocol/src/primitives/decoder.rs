//! Reads lengths and bytes, each checked against what was received. Pure.

use bytes::Bytes;

use super::DecodeError;

/// Reads values out of bytes that may be anything.
#[derive(Debug, Clone)]
pub struct Decoder {
    bytes: Bytes,
    at: usize,
}

/// The longest string, in all versions.
const MAX_STRING: usize = i16::MAX as usize;

impl Decoder {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// How many bytes were read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// An error at the current position.
    pub fn error(&self, reason: impl Into<String>) -> DecodeError {
        DecodeError::new(self.at, reason)
    }

    /// The next `length` bytes, sharing the input's memory.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn take(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        if length > self.remaining() {
            return Err(self.error(format!("{length} bytes wanted, {} left", self.remaining())));
        }
        let start = self.at;
        self.at += length;
        Ok(self.bytes.slice(start..self.at))
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>()) {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(self.error(format!("{N} bytes wanted, {} left", self.remaining()))),
        }
    }

    /// An unsigned variable-length integer of at most 32 bits.
    ///
    /// # Errors
    /// If it is cut, longer than 5 bytes, or too large.
    pub fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0u64;
        for index in 0..5 {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| self.error("varint has more than 32 bits"));
            }
        }
        Err(self.error("varint is longer than 5 bytes"))
    }

    /// A length that may be "null" (−1, or 0 in the compact form), checked against what is left.
    pub(super) fn length(&mut self, compact: bool, short: bool) -> Result<Option<usize>, DecodeError> {
        let length = match (compact, short) {
            (true, _) => i64::from(self.unsigned_varint()?) - 1,
            (false, true) => i64::from(i16::from_be_bytes(self.array()?)),
            (false, false) => i64::from(i32::from_be_bytes(self.array()?)),
        };
        match usize::try_from(length) {
            Ok(length) if short && length > MAX_STRING => {
                Err(self.error(format!("a string of {length} bytes is longer than {MAX_STRING}")))
            }
            Ok(length) if length <= self.remaining() => Ok(Some(length)),
            Ok(length) => Err(self.error(format!("length {length} is more than the {} bytes left", self.remaining()))),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(self.error(format!("length {length} is negative"))),
        }
    }

    /// Reads the tagged fields at the end of a flexible structure. `field` is given each tag with a decoder of its bytes, and
    /// says whether it knows the tag; unknown ones are passed over.
    ///
    /// # Errors
    /// If the section is malformed, a tag comes twice, or `field` fails or leaves bytes of its field unread.
    pub fn tagged_fields(
        &mut self,
        mut field: impl FnMut(u32, &mut Decoder) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let count = self.unsigned_varint()?;
        let mut previous = None;
        for _ in 0..count {
            let tag = self.unsigned_varint()?;
            if previous.is_some_and(|previous| previous >= tag) {
                return Err(self.error(format!("tag {tag} comes twice or out of order")));
            }
            previous = Some(tag);
            let size = self.unsigned_varint()? as usize;
            let start = self.at;
            let mut body = Decoder { bytes: self.bytes.slice(..start), at: start };
            self.take(size)?;
            body.bytes = self.bytes.slice(..self.at);
            if field(tag, &mut body)? && body.remaining() != 0 {
                return Err(body.error(format!("tagged field {tag} has {} bytes too many", body.remaining())));
            }
        }
        Ok(())
    }
}
