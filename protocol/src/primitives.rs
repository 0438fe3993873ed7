//! Integers, varints, strings, bytes and arrays: bounded decoding, exact encoding. Pure.
//!
//! A [`Decoder`] reads bytes that nobody vouches for: every length is checked against what was received before anything is
//! reserved, so decoding allocates in proportion to its input. An [`Encoder`] writes small values into one buffer and keeps
//! large payloads as shared pieces beside it, so that a record batch is never copied into a request.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

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
#[derive(Debug, Clone, Default)]
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

/// Two are equal if their bytes are, however they are cut into pieces.
impl PartialEq for Records {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.pieces.iter().flatten().eq(other.pieces.iter().flatten())
    }
}

impl Eq for Records {}

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

/// Reads values out of bytes that may be anything.
#[derive(Debug, Clone)]
pub struct Decoder {
    bytes: Bytes,
    at: usize,
}

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
    fn length(&mut self, compact: bool, short: bool) -> Result<Option<usize>, DecodeError> {
        let length = match (compact, short) {
            (true, _) => i64::from(self.unsigned_varint()?) - 1,
            (false, true) => i64::from(i16::from_be_bytes(self.array()?)),
            (false, false) => i64::from(i32::from_be_bytes(self.array()?)),
        };
        match usize::try_from(length) {
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

/// A type that a message table can use for a field.
pub trait Wire: Sized {
    /// Writes the value as version `version` of its message has it; `flexible` versions use compact lengths and tagged fields.
    fn encode(&self, out: &mut Encoder, version: i16, flexible: bool);

    /// Reads what [`Wire::encode`] writes.
    ///
    /// # Errors
    /// If the bytes are not such a value.
    fn decode(input: &mut Decoder, version: i16, flexible: bool) -> Result<Self, DecodeError>;

    /// Whether the value is the wire's null.
    fn is_null(&self) -> bool {
        false
    }
}

macro_rules! wire_numbers {
    ($($number:ty),*) => {$(
        impl Wire for $number {
            fn encode(&self, out: &mut Encoder, _version: i16, _flexible: bool) {
                out.put_slice(&self.to_be_bytes());
            }
            fn decode(input: &mut Decoder, _version: i16, _flexible: bool) -> Result<Self, DecodeError> {
                Ok(Self::from_be_bytes(input.array()?))
            }
        }
    )*};
}
wire_numbers!(i8, i16, i32, i64, u16, u32, f64);

impl Wire for bool {
    fn encode(&self, out: &mut Encoder, version: i16, flexible: bool) {
        i8::from(*self).encode(out, version, flexible);
    }
    fn decode(input: &mut Decoder, version: i16, flexible: bool) -> Result<Self, DecodeError> {
        Ok(i8::decode(input, version, flexible)? != 0)
    }
}

impl Wire for Uuid {
    fn encode(&self, out: &mut Encoder, _version: i16, _flexible: bool) {
        out.put_slice(&self.0);
    }
    fn decode(input: &mut Decoder, _version: i16, _flexible: bool) -> Result<Self, DecodeError> {
        Ok(Self(input.array()?))
    }
}

fn put_length(out: &mut Encoder, length: Option<usize>, flexible: bool, short: bool) {
    let Some(length) = length else {
        match (flexible, short) {
            (true, _) => out.put_unsigned_varint(0),
            (false, true) => out.put_slice(&(-1i16).to_be_bytes()),
            (false, false) => out.put_slice(&(-1i32).to_be_bytes()),
        }
        return;
    };
    match (flexible, short, i16::try_from(length), i32::try_from(length)) {
        (false, true, Ok(length), _) => out.put_slice(&length.to_be_bytes()),
        (false, true, Err(_), _) => out.fail("a string cannot be longer than 32,767 bytes in this version"),
        (true, _, _, Ok(length)) => out.put_unsigned_varint(length as u32 + 1),
        (false, false, _, Ok(length)) => out.put_slice(&length.to_be_bytes()),
        (_, _, _, Err(_)) => out.fail("more than 2,147,483,647 bytes or elements"),
    }
}

/// Types that have a null of their own on the wire, so that `Option` of them is a field type too.
pub trait Nullable: Sized {
    /// Writes the value, or null.
    fn encode_nullable(value: Option<&Self>, out: &mut Encoder, version: i16, flexible: bool);

    /// Reads the value, or `None` for null.
    ///
    /// # Errors
    /// If the bytes are neither.
    fn decode_nullable(input: &mut Decoder, version: i16, flexible: bool) -> Result<Option<Self>, DecodeError>;
}

impl Nullable for String {
    fn encode_nullable(value: Option<&Self>, out: &mut Encoder, _version: i16, flexible: bool) {
        put_length(out, value.map(String::len), flexible, true);
        out.put_slice(value.map_or(&[], |value| value.as_bytes()));
    }
    fn decode_nullable(input: &mut Decoder, _version: i16, flexible: bool) -> Result<Option<Self>, DecodeError> {
        let Some(length) = input.length(flexible, true)? else { return Ok(None) };
        let bytes = input.take(length)?;
        match str::from_utf8(&bytes) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => Err(input.error("string is not UTF-8")),
        }
    }
}

impl Nullable for Bytes {
    fn encode_nullable(value: Option<&Self>, out: &mut Encoder, _version: i16, flexible: bool) {
        put_length(out, value.map(Bytes::len), flexible, false);
        out.put_slice(value.map_or(&[], |value| value));
    }
    fn decode_nullable(input: &mut Decoder, _version: i16, flexible: bool) -> Result<Option<Self>, DecodeError> {
        input.length(flexible, false)?.map(|length| input.take(length)).transpose()
    }
}

impl Nullable for Records {
    fn encode_nullable(value: Option<&Self>, out: &mut Encoder, _version: i16, flexible: bool) {
        put_length(out, value.map(Records::len), flexible, false);
        for piece in value.into_iter().flat_map(|value| &value.pieces) {
            out.put_shared(piece.clone());
        }
    }
    fn decode_nullable(input: &mut Decoder, version: i16, flexible: bool) -> Result<Option<Self>, DecodeError> {
        Ok(Bytes::decode_nullable(input, version, flexible)?.map(Records::from))
    }
}

impl<T: Wire> Nullable for Vec<T> {
    fn encode_nullable(value: Option<&Self>, out: &mut Encoder, version: i16, flexible: bool) {
        put_length(out, value.map(Vec::len), flexible, false);
        for element in value.into_iter().flatten() {
            element.encode(out, version, flexible);
        }
    }
    fn decode_nullable(input: &mut Decoder, version: i16, flexible: bool) -> Result<Option<Self>, DecodeError> {
        // Each element has at least one byte, so `length` has checked the count; and since an element may be far larger in
        // memory than on the wire, the vector grows with what is really there.
        let Some(count) = input.length(flexible, false)? else { return Ok(None) };
        let mut elements = Vec::with_capacity(count.min(16));
        for _ in 0..count {
            elements.push(T::decode(input, version, flexible)?);
        }
        Ok(Some(elements))
    }
}

macro_rules! wire_nullables {
    ($([$($generics:tt)*] $type:ty),*) => {$(
        impl<$($generics)*> Wire for $type {
            fn encode(&self, out: &mut Encoder, version: i16, flexible: bool) {
                Self::encode_nullable(Some(self), out, version, flexible);
            }
            fn decode(input: &mut Decoder, version: i16, flexible: bool) -> Result<Self, DecodeError> {
                Self::decode_nullable(input, version, flexible)?.ok_or_else(|| input.error("null is not allowed here"))
            }
        }
        impl<$($generics)*> Wire for Option<$type> {
            fn encode(&self, out: &mut Encoder, version: i16, flexible: bool) {
                <$type>::encode_nullable(self.as_ref(), out, version, flexible);
            }
            fn decode(input: &mut Decoder, version: i16, flexible: bool) -> Result<Self, DecodeError> {
                <$type>::decode_nullable(input, version, flexible)
            }
            fn is_null(&self) -> bool {
                self.is_none()
            }
        }
    )*};
}
wire_nullables!([] String, [] Bytes, [] Records, [T: Wire] Vec<T>);
