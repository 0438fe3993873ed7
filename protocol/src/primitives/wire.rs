//! The types of fields, and how each stands on the wire: plain or compact, with or without null. Pure.

use bytes::Bytes;

use super::{DecodeError, Decoder, Encoder, Records, Uuid};

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
        // Kafka holds compact strings to it too.
        (_, true, Err(_), _) => out.fail("a string cannot be longer than 32,767 bytes"),
        (false, true, Ok(length), _) => out.put_slice(&length.to_be_bytes()),
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
