//! Integers, varints, strings, bytes and arrays: bounded decoding, exact encoding. Pure.
//!
//! A [`Decoder`] reads bytes that nobody vouches for: every length is checked against what was received before anything is
//! reserved, so decoding allocates in proportion to its input. An [`Encoder`] writes small values into one buffer and keeps
//! large payloads as shared pieces beside it, so that a record batch is never copied into a request.

mod decoder;
mod encoder;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;

use bytes::Bytes;

pub use decoder::Decoder;
pub use encoder::Encoder;
pub use wire::{Nullable, Wire};
/// A value could not be read from bytes: which field, where, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    message: &'static str,
    field: &'static str,
    offset: usize,
    reason: String,
}

impl DecodeError {
    /// An error at `offset` bytes from the start of what was decoded.
    pub fn new(offset: usize, reason: impl Into<String>) -> Self {
        Self { message: "", field: "", offset, reason: reason.into() }
    }

    /// Names the field that was being read, unless an inner one has been named already.
    #[must_use]
    pub fn within(mut self, message: &'static str, field: &'static str) -> Self {
        if self.message.is_empty() {
            (self.message, self.field) = (message, field);
        }
        self
    }

    /// Where reading failed, in bytes from the start of the decoded input.
    pub fn offset(&self) -> usize {
        self.offset
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.message.is_empty() {
            write!(f, "{}.{} ", self.message, self.field)?;
        }
        write!(f, "at byte {}: {}", self.offset, self.reason)
    }
}

impl std::error::Error for DecodeError {}

/// A value does not fit the wire format: which field, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodeError {
    message: &'static str,
    field: &'static str,
    reason: &'static str,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}: {}", self.message, self.field, self.reason)
    }
}

impl std::error::Error for EncodeError {}

/// Kafka's 128-bit identifier, of topics above all. All zero bits mean "none".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// "No identifier".
    pub const ZERO: Self = Self([0; 16]);

    /// Whether this is [`Uuid::ZERO`].
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }
}

/// Kafka's form: URL-safe base64 without padding.
impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let bits = u128::from_be_bytes(self.0);
        for index in 0..22u32 {
            // 128 bits are 21 digits of 6 bits and a last one of 2, which is padded with zero bits on the right.
            let digit = if index < 21 { (bits >> (122 - 6 * index)) & 63 } else { (bits << 4) & 63 };
            let letter = ALPHABET.get(digit as usize).copied().unwrap_or(b'A');
            write!(f, "{}", char::from(letter))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Record batches as the wire carries them: encoded, and possibly in several pieces that are sent one after the other.
///
/// Decoding gives one piece that shares the frame's memory.
#[derive(Clone, Default)]
pub struct Records {
    pieces: Vec<Bytes>,
}

impl Records {
    /// The records are these bytes, in this order.
    pub fn from_pieces(pieces: Vec<Bytes>) -> Self {
        Self { pieces }
    }

    /// How many bytes all pieces have together.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.pieces.iter().all(Bytes::is_empty)
    }

    /// All pieces as one. Copies only if there are several.
    pub fn into_bytes(self) -> Bytes {
        let mut pieces = self.pieces;
        match pieces.len() {
            0 => Bytes::new(),
            1 => pieces.swap_remove(0),
            _ => pieces.concat().into(),
        }
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Self {
        Self { pieces: vec![bytes] }
    }
}

/// How many bytes there are, for to read them is what `records` is for; the bytes themselves with `{:#?}`.
impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() { self.pieces.fmt(f) } else { write!(f, "{} bytes", self.len()) }
    }
}

/// Two are equal if their bytes are, however they are cut into pieces.
impl PartialEq for Records {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.pieces.iter().flatten().eq(other.pieces.iter().flatten())
    }
}

impl Eq for Records {}
