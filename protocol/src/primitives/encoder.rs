//! Writes small values into one buffer and keeps large ones as shared pieces beside it. Pure.

use bytes::{BufMut, Bytes, BytesMut};

use super::EncodeError;

/// Writes values. A value that does not fit is remembered and reported by [`Encoder::finish`].
#[derive(Debug, Default)]
pub struct Encoder {
    small: BytesMut,
    /// Shared pieces, each with the length of `small` at which it comes.
    shared: Vec<(usize, Bytes)>,
    shared_len: usize,
    failed: Option<EncodeError>,
}

impl Encoder {
    /// An encoder without content.
    pub fn new() -> Self {
        Self::default()
    }

    /// An encoder that has room for `capacity` bytes of small values.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { small: BytesMut::with_capacity(capacity), ..Self::default() }
    }

    /// How many bytes were written.
    pub fn len(&self) -> usize {
        self.small.len() + self.shared_len
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes these bytes as they are.
    pub fn put_slice(&mut self, bytes: &[u8]) {
        self.small.put_slice(bytes);
    }

    /// Writes these bytes as they are, without copying them.
    pub fn put_shared(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.shared_len += bytes.len();
            self.shared.push((self.small.len(), bytes));
        }
    }

    /// Writes an unsigned variable-length integer: 7 bits a byte, lowest first.
    pub fn put_unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.small.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.small.put_u8(value as u8);
    }

    /// Writes everything that `other` holds.
    pub fn append(&mut self, other: Encoder) {
        let at = self.small.len();
        self.small.extend_from_slice(&other.small);
        self.shared_len += other.shared_len;
        self.shared.extend(other.shared.into_iter().map(|(position, bytes)| (at + position, bytes)));
        self.failed = self.failed.take().or(other.failed);
    }

    /// Remembers that a value does not fit; the first such report wins.
    pub fn fail(&mut self, reason: &'static str) {
        self.failed.get_or_insert(EncodeError { message: "", field: "", reason });
    }

    /// Names the field of a failure that has no name yet.
    pub fn name_failure(&mut self, message: &'static str, field: &'static str) {
        if let Some(failed) = self.failed.as_mut().filter(|failed| failed.message.is_empty()) {
            (failed.message, failed.field) = (message, field);
        }
    }

    /// The written bytes in pieces that are to be sent one after the other; no shared piece was copied.
    ///
    /// # Errors
    /// If a value did not fit the wire format.
    pub fn finish(self) -> Result<Vec<Bytes>, EncodeError> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let mut small = self.small.freeze();
        let mut pieces = Vec::with_capacity(2 * self.shared.len() + 1);
        let mut taken = 0;
        for (position, bytes) in self.shared {
            let before = small.split_to(position - taken);
            taken = position;
            pieces.extend([before, bytes].into_iter().filter(|piece| !piece.is_empty()));
        }
        if !small.is_empty() {
            pieces.push(small);
        }
        Ok(pieces)
    }

    /// The written bytes as one frame: a 4-byte length, then what [`Encoder::finish`] gives.
    ///
    /// # Errors
    /// If a value did not fit the wire format, or the frame is longer than `i32::MAX` bytes.
    pub fn finish_frame(self) -> Result<Vec<Bytes>, EncodeError> {
        let mut framed = Encoder::with_capacity(4 + self.small.len());
        match i32::try_from(self.len()) {
            Ok(length) => framed.small.put_i32(length),
            Err(_) => framed.fail("a frame cannot be longer than 2 GiB"),
        }
        framed.append(self);
        framed.finish()
    }
}
