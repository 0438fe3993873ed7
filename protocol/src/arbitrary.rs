//! Generated values of every message table, for tests of this crate: the tables alone know which field is in which version. Pure.

use bytes::Bytes;

use crate::error_code::ErrorCode;
use crate::primitives::{Records, Uuid};

/// Decides what generated values are. It is asked field by field, in the order of the table.
pub trait Choice {
    /// The bits of a number.
    fn bits(&mut self, field: &'static str) -> u64;

    /// A text.
    fn text(&mut self, field: &'static str) -> String;

    /// Bytes or records; a text's unless said otherwise.
    fn bytes(&mut self, field: &'static str) -> Bytes {
        self.text(field).into()
    }

    /// An id; one number twice unless said otherwise.
    fn uuid(&mut self, field: &'static str) -> Uuid {
        let bits = self.bits(field);
        Uuid((u128::from(bits) << 64 | u128::from(bits)).to_be_bytes())
    }

    /// How many elements an array has.
    fn count(&mut self, field: &'static str) -> usize;

    /// Whether a nullable field is null.
    fn is_null(&mut self, field: &'static str) -> bool;

    /// Whether a tagged field is left at its default.
    fn is_absent(&mut self, field: &'static str) -> bool;
}

/// Where a value goes.
#[derive(Clone, Copy)]
pub struct Place {
    /// The field's name.
    pub field: &'static str,
    /// The version that will carry the value.
    pub version: i16,
    /// Whether that version has tagged fields.
    pub flexible: bool,
    /// Whether null is allowed.
    pub nullable: bool,
}

impl Place {
    /// The place of a whole message.
    pub fn message(version: i16, flexible: bool) -> Self {
        Self { field: "", version, flexible, nullable: false }
    }
}

/// A type whose values can be generated: what `place.version` cannot carry is at its default.
pub trait Arbitrary: Sized {
    /// A value that `choice` chose.
    fn arbitrary(choice: &mut dyn Choice, place: Place) -> Self;
}

macro_rules! arbitrary_numbers {
    ($($number:ty),*) => {$(
        impl Arbitrary for $number {
            fn arbitrary(choice: &mut dyn Choice, place: Place) -> Self {
                choice.bits(place.field) as Self
            }
        }
    )*};
}
arbitrary_numbers!(i8, i16, i32, i64);

impl Arbitrary for bool {
    fn arbitrary(choice: &mut dyn Choice, place: Place) -> Self {
        choice.bits(place.field) & 1 == 1
    }
}

impl Arbitrary for ErrorCode {
    fn arbitrary(choice: &mut dyn Choice, place: Place) -> Self {
        Self(i16::arbitrary(choice, place))
    }
}

impl Arbitrary for Uuid {
    fn arbitrary(choice: &mut dyn Choice, place: Place) -> Self {
        choice.uuid(place.field)
    }
}

impl Arbitrary for String {
    fn arbitrary(choice: &mut dyn Choice, place: Place) -> Self {
        choice.text(place.field)
    }
}

impl Arbitrary for Bytes {
    fn arbitrary(choice: &mut dyn Choice, place: Place) -> Self {
        choice.bytes(place.field)
    }
}

impl Arbitrary for Records {
    fn arbitrary(choice: &mut dyn Choice, place: Place) -> Self {
        Bytes::arbitrary(choice, place).into()
    }
}

impl<T: Arbitrary> Arbitrary for Option<T> {
    fn arbitrary(choice: &mut dyn Choice, place: Place) -> Self {
        if place.nullable && choice.is_null(place.field) { None } else { Some(T::arbitrary(choice, place)) }
    }
}

impl<T: Arbitrary> Arbitrary for Vec<T> {
    fn arbitrary(choice: &mut dyn Choice, place: Place) -> Self {
        let element = Place { nullable: false, ..place };
        (0..choice.count(place.field)).map(|_| T::arbitrary(choice, element)).collect()
    }
}
