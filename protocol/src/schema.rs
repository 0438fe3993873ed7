//! Turns a message table into types with encode and decode for every version. Pure.
//!
//! A table has one field a line, with the versions that carry it:
//!
//! ```text
//! message! {
//!     /// What it is.
//!     pub struct ProduceRequest {
//!         transactional_id: Option<String>        [3..]
//!         acks:             i16                   [0..]
//!         topic_data:       Vec<TopicProduceData> [0..]
//!     }
//! }
//! api! { PRODUCE, 3..=13, flexible 9.., ProduceRequest => ProduceResponse }
//! ```
//!
//! `never flexible` where no version is.
//!
//! A range is `3..`, `0..=12`; after it may stand `null 8..` (null is allowed from version 8; without it, an `Option` is
//! nullable in every version that has it), `tag 0` (a tagged field of flexible versions) and `default -1` (the value when
//! absent; otherwise that of the type's `Default`). Tagged fields stand in the order of their tags.

use crate::primitives::{DecodeError, Decoder, Encoder, Wire};

/// Where a field is on the wire.
#[derive(Clone, Copy)]
pub(crate) struct FieldSpec {
    pub(crate) first: i16,
    pub(crate) last: i16,
    pub(crate) null_from: i16,
    pub(crate) tag: Option<u32>,
}

impl FieldSpec {
    pub(crate) const fn new(first: i16, last: i16) -> Self {
        Self { first, last, null_from: first, tag: None }
    }

    pub(crate) const fn has(&self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }

    pub(crate) const fn untagged(&self, version: i16) -> bool {
        self.has(version) && self.tag.is_none()
    }

    pub(crate) fn tagged(&self, version: i16, tag: u32) -> bool {
        self.has(version) && self.tag == Some(tag)
    }

    /// Whether a generated value has something else than the default here.
    #[cfg(feature = "arbitrary")]
    pub(crate) fn is_chosen(
        &self,
        choice: &mut dyn crate::arbitrary::Choice,
        place: crate::arbitrary::Place,
        field: &'static str,
    ) -> bool {
        self.untagged(place.version)
            || self.has(place.version) && place.flexible && self.tag.is_some() && !choice.is_absent(field)
    }
}

pub(crate) fn encode_field<T: Wire>(
    spec: FieldSpec,
    value: &T,
    out: &mut Encoder,
    version: i16,
    flexible: bool,
    (message, field): (&'static str, &'static str),
) {
    value.encode(out, version, flexible);
    if version < spec.null_from && value.is_null() {
        out.fail("null is not allowed in this version");
    }
    out.name_failure(message, field);
}

pub(crate) fn decode_field<T: Wire>(
    spec: FieldSpec,
    input: &mut Decoder,
    version: i16,
    flexible: bool,
    (message, field): (&'static str, &'static str),
) -> Result<T, DecodeError> {
    let value = T::decode(input, version, flexible).map_err(|error| error.within(message, field))?;
    if version < spec.null_from && value.is_null() {
        return Err(input.error("null is not allowed in this version").within(message, field));
    }
    Ok(value)
}

macro_rules! field_spec {
    ([$first:literal .. $($rest:tt)*]) => { crate::schema::field_spec!(@ crate::schema::FieldSpec::new($first, i16::MAX), $($rest)*) };
    ([$first:literal ..= $last:literal $($rest:tt)*]) => { crate::schema::field_spec!(@ crate::schema::FieldSpec::new($first, $last), $($rest)*) };
    (@ $spec:expr,) => { $spec };
    (@ $spec:expr, null $from:literal .. $($rest:tt)*) => { crate::schema::field_spec!(@ crate::schema::FieldSpec { null_from: $from, ..$spec }, $($rest)*) };
    (@ $spec:expr, tag $tag:literal $($rest:tt)*) => { crate::schema::field_spec!(@ crate::schema::FieldSpec { tag: Some($tag), ..$spec }, $($rest)*) };
    (@ $spec:expr, default $($rest:tt)*) => { $spec };
}

macro_rules! field_default {
    ([$first:literal .. $($rest:tt)*]) => { crate::schema::field_default!(@ $($rest)*) };
    ([$first:literal ..= $last:literal $($rest:tt)*]) => { crate::schema::field_default!(@ $($rest)*) };
    (@) => { Default::default() };
    (@ null $from:literal .. $($rest:tt)*) => { crate::schema::field_default!(@ $($rest)*) };
    (@ tag $tag:literal $($rest:tt)*) => { crate::schema::field_default!(@ $($rest)*) };
    (@ default $default:expr) => { $default };
}

macro_rules! message {
    ($(
        $(#[$about:meta])*
        pub struct $message:ident {
            $( $(#[$doc:meta])* $field:ident : $type:ty [$($spec:tt)*] )*
        }
    )*) => {$(
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $message { $( $(#[$doc])* pub $field: $type, )* }

        impl Default for $message {
            fn default() -> Self {
                Self { $( $field: crate::schema::field_default!([$($spec)*]), )* }
            }
        }

        #[cfg(feature = "arbitrary")]
        impl crate::arbitrary::Arbitrary for $message {
            fn arbitrary(choice: &mut dyn crate::arbitrary::Choice, place: crate::arbitrary::Place) -> Self {
                #[allow(unused_mut, reason = "a structure may have no field")]
                let mut value = Self::default();
                $({
                    const SPEC: crate::schema::FieldSpec = crate::schema::field_spec!([$($spec)*]);
                    if SPEC.is_chosen(choice, place, stringify!($field)) {
                        let nullable = place.version >= SPEC.null_from;
                        let place = crate::arbitrary::Place { field: stringify!($field), nullable, ..place };
                        value.$field = crate::arbitrary::Arbitrary::arbitrary(choice, place);
                    }
                })*
                let _ = (choice, place);
                value
            }
        }

        impl crate::primitives::Wire for $message {
            fn encode(&self, out: &mut crate::primitives::Encoder, version: i16, flexible: bool) {
                $({
                    const SPEC: crate::schema::FieldSpec = crate::schema::field_spec!([$($spec)*]);
                    if SPEC.untagged(version) {
                        crate::schema::encode_field(SPEC, &self.$field, out, version, flexible, (stringify!($message), stringify!($field)));
                    }
                })*
                if flexible {
                    #[allow(unused_mut, reason = "most structures have no tagged field")]
                    let mut tagged: Vec<(u32, crate::primitives::Encoder)> = Vec::new();
                    $({
                        const SPEC: crate::schema::FieldSpec = crate::schema::field_spec!([$($spec)*]);
                        if let Some(tag) = SPEC.tag && SPEC.has(version) {
                            let default: $type = crate::schema::field_default!([$($spec)*]);
                            if self.$field != default {
                                let mut body = crate::primitives::Encoder::new();
                                crate::schema::encode_field(SPEC, &self.$field, &mut body, version, true, (stringify!($message), stringify!($field)));
                                tagged.push((tag, body));
                            }
                        }
                    })*
                    out.put_unsigned_varint(tagged.len() as u32);
                    for (tag, body) in tagged {
                        out.put_unsigned_varint(tag);
                        out.put_unsigned_varint(body.len() as u32);
                        out.append(body);
                    }
                }
            }

            fn decode(input: &mut crate::primitives::Decoder, version: i16, flexible: bool) -> Result<Self, crate::primitives::DecodeError> {
                #[allow(unused_mut, reason = "a structure may have no field")]
                let mut value = Self::default();
                $({
                    const SPEC: crate::schema::FieldSpec = crate::schema::field_spec!([$($spec)*]);
                    if SPEC.untagged(version) {
                        value.$field = crate::schema::decode_field(SPEC, input, version, flexible, (stringify!($message), stringify!($field)))?;
                    }
                })*
                if flexible {
                    input.tagged_fields(|tag, body| {
                        $({
                            const SPEC: crate::schema::FieldSpec = crate::schema::field_spec!([$($spec)*]);
                            if SPEC.tagged(version, tag) {
                                value.$field = crate::schema::decode_field(SPEC, body, version, true, (stringify!($message), stringify!($field)))?;
                                return Ok(true);
                            }
                        })*
                        let _ = (tag, body);
                        Ok(false)
                    })?;
                }
                Ok(value)
            }
        }
    )*};
}

macro_rules! api {
    ($key:ident, $first:literal ..= $last:literal, never flexible, $request:ident => $response:ident) => {
        crate::schema::api! { $key, $first..=$last, flexible 0x7fff.., $request => $response }
    };
    ($key:ident, $first:literal ..= $last:literal, flexible $flexible:literal .., $request:ident => $response:ident) => {
        impl crate::api::Request for $request {
            const KEY: crate::api::ApiKey = crate::api::ApiKey::$key;
            const VERSIONS: crate::api::VersionRange = crate::api::VersionRange { min: $first, max: $last };
            const FLEXIBLE: i16 = $flexible;
            type Response = $response;
        }
    };
}

pub(crate) use {api, field_default, field_spec, message};
