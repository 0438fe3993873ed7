//! Numbers, lengths and tags: what is written, what is read, and what is refused. Pure.

use super::*;

fn written<T: Wire>(value: &T, flexible: bool) -> Vec<u8> {
    let mut out = Encoder::new();
    value.encode(&mut out, 0, flexible);
    let length = out.len();
    let bytes = out.finish().unwrap().concat();
    assert_eq!(bytes.len(), length);
    bytes
}

fn read<T: Wire>(bytes: &[u8], flexible: bool) -> Result<T, String> {
    let mut input = Decoder::new(Bytes::copy_from_slice(bytes));
    let value = T::decode(&mut input, 0, flexible).map_err(|error| error.to_string())?;
    assert_eq!((input.remaining(), input.position()), (0, bytes.len()));
    Ok(value)
}

fn round_trip<T: Wire + PartialEq + fmt::Debug>(value: T, plain: &[u8], compact: &[u8]) {
    for (flexible, expected) in [(false, plain), (true, compact)] {
        assert_eq!(written(&value, flexible), expected, "{value:?}");
        assert_eq!(read::<T>(expected, flexible).as_ref(), Ok(&value));
    }
}

#[test]
fn values_stand_as_kafka_has_them() {
    round_trip(-2i16, &[0xff, 0xfe], &[0xff, 0xfe]);
    round_trip(true, &[1], &[1]);
    round_trip("ab".to_owned(), &[0, 2, b'a', b'b'], &[3, b'a', b'b']);
    round_trip(Some(String::new()), &[0, 0], &[1]);
    round_trip(None::<String>, &[0xff, 0xff], &[0]);
    round_trip(Some(Bytes::from_static(b"a")), &[0, 0, 0, 1, b'a'], &[2, b'a']);
    round_trip(None::<Bytes>, &[0xff; 4], &[0]);
    round_trip(vec![1i8, 2], &[0, 0, 0, 2, 1, 2], &[3, 1, 2]);
    round_trip(None::<Vec<i8>>, &[0xff; 4], &[0]);
    round_trip(Some(Records::from(Bytes::from_static(b"r"))), &[0, 0, 0, 1, b'r'], &[2, b'r']);
    let long = "x".repeat(200);
    round_trip(long.clone(), &[&[0, 200], long.as_bytes()].concat(), &[&[0xc9, 0x01], long.as_bytes()].concat());
}

#[test]
fn any_number_but_zero_is_true() {
    assert_eq!((read::<bool>(&[2], false), read::<bool>(&[0], false)), (Ok(true), Ok(false)));
}

#[test]
fn a_length_beyond_the_input_is_refused_before_anything_is_reserved() {
    let error = |result: Result<Vec<i64>, String>| result.unwrap_err();
    let plain = error(read(&[0x7f, 0xff, 0xff, 0xff, 1], false));
    assert_eq!(plain, "at byte 4: length 2147483647 is more than the 1 bytes left");
    let compact = error(read(&[0xff, 0xff, 0xff, 0xff, 0x0f, 1], true));
    assert_eq!(compact, "at byte 5: length 4294967294 is more than the 1 bytes left");
    // A count that the bytes could hold, of elements that they cannot.
    let elements = error(read(&[0, 0, 0, 3, 1, 2, 3], false));
    assert_eq!(elements, "at byte 4: 8 bytes wanted, 3 left");
}

#[test]
fn a_negative_length_is_null_or_refused() {
    assert_eq!(read::<String>(&[0xff, 0xff], false).unwrap_err(), "at byte 2: null is not allowed here");
    assert_eq!(read::<Option<String>>(&[0xff, 0xfe], false).unwrap_err(), "at byte 2: length -2 is negative");
    assert_eq!(
        read::<Option<Bytes>>(&[0x80, 0, 0, 0], false).unwrap_err(),
        "at byte 4: length -2147483648 is negative"
    );
    assert_eq!(read::<Vec<i8>>(&[0], true).unwrap_err(), "at byte 1: null is not allowed here");
}

#[test]
fn text_is_utf_8() {
    assert_eq!(read::<String>(&[0, 1, 0xff], false).unwrap_err(), "at byte 3: string is not UTF-8");
}

#[test]
fn a_varint_has_32_bits_in_5_bytes() {
    let varint = |bytes: &'static [u8]| Decoder::new(Bytes::from_static(bytes)).unsigned_varint();
    assert_eq!(varint(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Ok(u32::MAX));
    assert_eq!(varint(&[0x80, 0x80, 0x80, 0x80, 0x00]), Ok(0), "more bytes than needed are allowed");
    for (bytes, reason) in [
        (&[0xff, 0xff, 0xff, 0xff, 0x1f][..], "at byte 5: varint has more than 32 bits"),
        (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00], "at byte 5: varint is longer than 5 bytes"),
        (&[0x80], "at byte 1: 1 bytes wanted, 0 left"),
    ] {
        assert_eq!(varint(bytes).unwrap_err().to_string(), reason);
    }
}

#[test]
fn tagged_fields_are_in_order_and_inside_the_input() {
    // Knows tag 1, of one byte.
    let tags = |bytes: &'static [u8]| {
        let mut input = Decoder::new(Bytes::from_static(bytes));
        let mut known = None;
        let outcome = input.tagged_fields(|tag, body| {
            if tag == 1 {
                known = Some(i8::decode(body, 0, true)?);
            }
            Ok(tag == 1)
        });
        outcome.map(|()| (known, input.remaining())).map_err(|error| error.to_string())
    };
    assert_eq!(tags(&[0]), Ok((None, 0)));
    assert_eq!(tags(&[2, 0, 3, 9, 9, 9, 1, 1, 7, 5]), Ok((Some(7), 1)), "an unknown one is passed over");
    assert_eq!(tags(&[2, 1, 1, 7, 1, 1, 7]).unwrap_err(), "at byte 5: tag 1 comes twice or out of order");
    assert_eq!(tags(&[2, 1, 1, 7, 0, 0]).unwrap_err(), "at byte 5: tag 0 comes twice or out of order");
    assert_eq!(tags(&[1, 1, 2, 7, 7]).unwrap_err(), "at byte 4: tagged field 1 has 1 bytes too many");
    assert_eq!(tags(&[1, 1, 0]).unwrap_err(), "at byte 3: 1 bytes wanted, 0 left");
    assert_eq!(tags(&[1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f]).unwrap_err(), "at byte 7: 4294967295 bytes wanted, 0 left");
    assert_eq!(tags(&[0xff, 0xff, 0xff, 0xff, 0x0f]).unwrap_err(), "at byte 5: 1 bytes wanted, 0 left");
}

#[test]
fn what_does_not_fit_is_reported_with_its_first_name() {
    for flexible in [false, true] {
        let mut out = Encoder::new();
        "x".repeat(40_000).encode(&mut out, 0, flexible);
        out.name_failure("Inner", "name");
        out.name_failure("Outer", "inner");
        let error = out.finish().unwrap_err().to_string();
        assert_eq!(error, "Inner.name: a string cannot be longer than 32,767 bytes");
    }
}

/// A real Kafka closes the connection on one.
#[test]
fn a_compact_string_has_the_limit_of_the_others() {
    let mut out = Encoder::new();
    out.put_unsigned_varint(40_001);
    out.put_slice(&[b'x'; 40_000]);
    let bytes = Bytes::from(out.finish().unwrap().concat());
    let error = String::decode(&mut Decoder::new(bytes), 0, true).unwrap_err().to_string();
    assert_eq!(error, "at byte 3: a string of 40000 bytes is longer than 32767");
}

#[test]
fn payloads_are_shared_not_copied() {
    let payload = Bytes::from(vec![7; 100]);
    let mut inner = Encoder::new();
    Records::from_pieces(vec![payload.slice(..60), Bytes::new(), payload.slice(60..)]).encode(&mut inner, 0, true);
    let mut out = Encoder::new();
    1i8.encode(&mut out, 0, true);
    out.append(inner);
    2i8.encode(&mut out, 0, true);
    let frame = out.finish_frame().unwrap();
    assert_eq!(frame.concat(), [&[0, 0, 0, 103, 1, 101][..], &[7; 100], &[2]].concat());
    assert_eq!([frame[1].as_ptr(), frame[2].as_ptr()], [payload.as_ptr(), payload[60..].as_ptr()]);

    let mut input = Decoder::new(Bytes::from(frame.concat()));
    input.array::<5>().unwrap();
    let records = Records::decode(&mut input, 0, true).unwrap();
    assert_eq!((records.len(), records.is_empty(), records.clone().into_bytes()), (100, false, payload));
}

#[test]
fn a_uuid_shows_as_kafka_shows_it() {
    assert!(Uuid::ZERO.is_zero());
    assert_eq!(Uuid::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
    let bytes = std::array::from_fn(|at| 0xf0 + at as u8);
    assert_eq!(Uuid(bytes).to_string(), "8PHy8_T19vf4-fr7_P3-_w");
}
