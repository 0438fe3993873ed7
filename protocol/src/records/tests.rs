//! Records through a batch and back, and batches that nobody should have sent. Pure.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

type Header = (String, Option<Vec<u8>>);

#[derive(Debug, Clone, PartialEq)]
struct Sample {
    offset_delta: i32,
    timestamp_delta: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<Header>,
}

impl Sample {
    fn new(offset_delta: i32) -> Self {
        Self { offset_delta, timestamp_delta: 0, key: None, value: Some(b"value".to_vec()), headers: Vec::new() }
    }

    fn append_to(&self, body: &mut Vec<u8>) {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        let record = NewRecord { key: self.key.as_deref(), value: self.value.as_deref(), headers: &headers };
        let before = body.len();
        record.append_to(self.offset_delta, self.timestamp_delta, body);
        assert_eq!(body.len() - before, record.encoded_len(self.offset_delta, self.timestamp_delta));
    }

    fn of(record: &Record<'_>, header: &BatchHeader) -> Self {
        Self {
            offset_delta: (record.offset - header.base_offset) as i32,
            timestamp_delta: record.timestamp.wrapping_sub(header.base_timestamp),
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec))).collect(),
        }
    }
}

fn body(samples: &[Sample]) -> Vec<u8> {
    let mut body = Vec::new();
    samples.iter().for_each(|sample| sample.append_to(&mut body));
    body
}

fn encode(header: &BatchHeader, body: &[Bytes]) -> Bytes {
    [&header.encode(body)[..], &body.concat()].concat().into()
}

fn header_of(samples: &[Sample]) -> BatchHeader {
    BatchHeader {
        base_offset: 1000,
        base_timestamp: 1_700_000_000_000,
        max_timestamp: 1_800_000_000_000,
        last_offset_delta: samples.last().map_or(0, |sample| sample.offset_delta),
        record_count: samples.len() as i32,
        ..BatchHeader::default()
    }
}

fn only_batch(bytes: &Bytes) -> Batch {
    let mut batches = Batches::new(bytes.clone());
    let batch = batches.next().unwrap().unwrap();
    assert!(batches.next().is_none() && !batches.is_truncated());
    batch
}

fn read(batch: &Batch) -> Result<Vec<Sample>, BatchError> {
    let records = batch.records(1 << 20)?;
    records.iter().map(|record| Ok(Sample::of(&record?, records.header()))).collect()
}

/// What reading gives when the whole body is these bytes and the batch says that it has one record.
fn error_of_record(record: &[u8]) -> String {
    let header = BatchHeader { record_count: 1, ..header_of(&[]) };
    read(&only_batch(&encode(&header, &[Bytes::copy_from_slice(record)]))).unwrap_err().to_string()
}

#[test]
fn duplicate_header_names_and_nulls_survive() {
    let headers = [("a", Some("1")), ("b", None), ("a", Some("2")), ("", Some("")), ("a", None)];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.map(|value| value.as_bytes().to_vec())));
    let samples = [
        Sample { headers: headers.to_vec(), ..Sample::new(0) },
        Sample { key: Some(Vec::new()), value: None, timestamp_delta: -5_000_000_000, ..Sample::new(3) },
    ];
    let batch = only_batch(&encode(&header_of(&samples), &[body(&samples).into()]));
    assert!(batch.has_valid_crc());
    assert_eq!(read(&batch).unwrap(), samples);
    assert_eq!((batch.header().last_offset(), batch.header().next_offset()), (1003, 1004));
    let records = batch.records(0).unwrap();
    let (record, _) = records.read_at(0).unwrap();
    assert_eq!((record.headers.len(), record.headers.is_empty()), (5, false));
}

#[test]
fn a_batch_is_the_bytes_that_kafka_would_write() {
    let samples = [Sample { key: Some(b"k".to_vec()), value: Some(b"v".to_vec()), ..Sample::new(0) }];
    let header = BatchHeader { base_timestamp: 1, max_timestamp: 1, base_offset: 0, ..header_of(&samples) };
    let mut bytes = encode(&header, &[body(&samples).into()]).to_vec();
    assert_eq!(bytes.drain(HEADER_LEN..).collect::<Vec<_>>(), [16, 0, 0, 0, 2, b'k', 2, b'v', 0]);
    let crc = bytes.drain(17..21).collect::<Vec<_>>();
    assert_eq!(bytes[..17], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 58, 255, 255, 255, 255, 2]);
    let [attributes, last_offset_delta] = [&bytes[17..19], &bytes[19..23]];
    assert_eq!((attributes, last_offset_delta), (&[0; 2][..], &[0; 4][..]));
    assert_eq!(bytes[23..39], [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(bytes[39..], [[255; 14].as_slice(), &[0, 0, 0, 1]].concat());
    let covered = encode(&header, &[body(&samples).into()]).slice(21..);
    assert_eq!(crc, crc_fast::crc32_iscsi(&covered).to_be_bytes());
}

#[test]
fn the_pieces_of_a_body_do_not_matter() {
    let samples: Vec<_> = (0..20).map(Sample::new).collect();
    let whole = Bytes::from(body(&samples));
    let header = header_of(&samples);
    let expected = header.encode(std::slice::from_ref(&whole));
    for cut in 0..whole.len() {
        assert_eq!(header.encode(&[whole.slice(..cut), whole.slice(cut..)]), expected);
    }
}

#[test]
fn attributes_keep_to_their_bits() {
    let plain = Attributes(0);
    let all = plain
        .with_compression(Compression::Lz4)
        .with_timestamp_type(TimestampType::LogAppendTime)
        .with_transactional()
        .with_control();
    assert_eq!(all, Attributes(0b11_1011));
    assert_eq!(all.compression(), Some(Compression::Lz4));
    assert_eq!(
        (all.timestamp_type(), plain.timestamp_type()),
        (TimestampType::LogAppendTime, TimestampType::CreateTime)
    );
    assert_eq!((all.is_transactional(), all.is_control()), (true, true));
    assert_eq!((plain.is_transactional(), plain.is_control()), (false, false));
    let back = all.with_compression(Compression::None).with_timestamp_type(TimestampType::CreateTime);
    assert_eq!(back, Attributes(0b11_0000));
    assert_eq!(Attributes(5).compression(), None);
}

#[test]
fn log_append_time_is_that_of_the_batch() {
    let samples = [Sample::new(0), Sample { timestamp_delta: 7, ..Sample::new(1) }];
    let header = header_of(&samples);
    let header = BatchHeader { attributes: Attributes(0).with_timestamp_type(TimestampType::LogAppendTime), ..header };
    let records = only_batch(&encode(&header, &[body(&samples).into()])).records(0).unwrap();
    assert!(records.iter().all(|record| record.unwrap().timestamp == header.max_timestamp));
}

#[test]
fn a_broker_can_move_a_batch_without_touching_its_crc() {
    let samples = [Sample::new(0), Sample::new(1)];
    let batch = only_batch(&encode(&header_of(&samples), &[body(&samples).into()]));
    let moved = batch.at(77, 5);
    let again = only_batch(moved.bytes());
    assert_eq!(moved.header(), again.header());
    assert_eq!((again.header().base_offset, again.header().partition_leader_epoch), (77, 5));
    assert!(again.has_valid_crc());
    assert_eq!(again.body(), batch.body());
}

#[test]
fn every_codec_round_trips_inside_a_batch_and_is_limited() {
    let samples: Vec<_> = (0..100).map(Sample::new).collect();
    let body = Bytes::from(body(&samples));
    for codec in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let compressed =
            crate::compression::Compressor::new(codec, None).compress(std::slice::from_ref(&body)).unwrap();
        let header = BatchHeader { attributes: Attributes(0).with_compression(codec), ..header_of(&samples) };
        let batch = only_batch(&encode(&header, &[compressed]));
        assert_eq!(read(&batch).unwrap(), samples);
        match batch.records(body.len() - 1) {
            Ok(_) => assert_eq!(codec, Compression::None),
            Err(error) => assert_eq!((error.kind(), error.offset()), (BatchErrorKind::TooLarge, Some(1000))),
        }
    }
    let header = BatchHeader { attributes: Attributes(4), ..header_of(&samples) };
    let batch = only_batch(&encode(&header, std::slice::from_ref(&body)));
    assert_eq!(batch.records(1000).unwrap_err().kind(), BatchErrorKind::Decompression);
    let header = BatchHeader { attributes: Attributes(7), ..header_of(&samples) };
    let error = only_batch(&encode(&header, &[body])).records(1000).unwrap_err();
    assert_eq!(error.kind(), BatchErrorKind::Codec);
    assert_eq!(error.to_string(), "record batch at offset 1000: codec 7 is not known");
}

#[test]
fn a_cut_tail_ends_the_walk() {
    let samples = [Sample::new(0)];
    let one = encode(&header_of(&samples), &[body(&samples).into()]);
    let two = Bytes::from([&one[..], &one[..]].concat());
    for end in 0..=two.len() {
        let mut batches = Batches::new(two.slice(..end));
        let whole = batches.by_ref().map(Result::unwrap).count();
        assert_eq!((whole, batches.is_truncated()), (end / one.len(), end % one.len() != 0));
    }
}

#[test]
fn a_batch_that_cannot_be_is_an_error_once() {
    let samples = [Sample::new(0)];
    let good = encode(&header_of(&samples), &[body(&samples).into()]);
    let changed = |at: usize, bytes: &[u8]| {
        let mut bad = good.to_vec();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        let mut batches = Batches::new([&good[..], &bad, &good].concat().into());
        assert!(batches.next().unwrap().is_ok());
        let error = batches.next().unwrap().unwrap_err();
        assert!(batches.next().is_none() && !batches.is_truncated());
        (error.kind(), error.to_string())
    };
    let at_1000 = |kind, reason: &str| (kind, format!("record batch at offset 1000: {reason}"));
    let length = at_1000(BatchErrorKind::Length, "length 48 is less than a header's 49");
    assert_eq!(changed(8, &48i32.to_be_bytes()), length);
    let length = at_1000(BatchErrorKind::Length, "length -1 is less than a header's 49");
    assert_eq!(changed(8, &(-1i32).to_be_bytes()), length);
    for magic in [0, 1, 3] {
        let reason = format!("format {magic} is not supported, only 2 is");
        assert_eq!(changed(16, &[magic]), at_1000(BatchErrorKind::Magic, &reason));
    }
    let offsets = at_1000(BatchErrorKind::Length, "last offset delta -1 is out of range");
    assert_eq!(changed(23, &(-1i32).to_be_bytes()), offsets);
    assert_eq!(changed(0, &i64::MAX.to_be_bytes()).0, BatchErrorKind::Length);
    assert_eq!(changed(0, &(-1i64).to_be_bytes()).0, BatchErrorKind::Length);
}

#[test]
fn a_wrong_number_of_records_is_an_error() {
    let samples = [Sample::new(0), Sample::new(1)];
    let body = Bytes::from(body(&samples));
    let read_as = |record_count| {
        let header = BatchHeader { record_count, ..header_of(&samples) };
        read(&only_batch(&encode(&header, std::slice::from_ref(&body)))).unwrap_err()
    };
    assert_eq!(read_as(-1).to_string(), "record batch at offset 1000: -1 records cannot be in 24 bytes");
    assert_eq!(read_as(i32::MAX).to_string(), "record batch at offset 1000: 2147483647 records cannot be in 24 bytes");
    assert_eq!(read_as(1).to_string(), "record batch at offset 1000: 12 bytes follow the last record");
    assert_eq!(read_as(3).to_string(), "record batch at offset 1000: record at byte 24: it is cut");
    assert_eq!(read_as(0).to_string(), "record batch at offset 1000: 24 bytes follow the last record");
    assert_eq!(read_as(3).kind(), BatchErrorKind::Record);
}

#[test]
fn malformed_records_are_named() {
    // Each starts with its length (zigzag), attributes, timestamp delta, offset delta.
    for (record, reason) in [
        (&[1, 0, 0, 0, 1, 1, 0][..], "its length is negative"),
        (&[0, 0, 0, 0, 1, 1, 0], "it is empty"),
        (&[100, 0, 0, 0, 1, 1, 0], "its length exceeds the batch"),
        (&[12, 0, 0, 2, 1, 1, 0], "its offset is outside of the batch"),
        (&[12, 0, 0, 1, 1, 1, 0], "its offset is outside of the batch"),
        (&[12, 0, 0, 0, 3, 1, 0], "a length is negative"),
        (&[12, 0, 0, 0, 1, 8, 0], "a length exceeds the record"),
        (&[12, 0, 0, 0, 1, 1, 1], "its number of headers is negative"),
        (&[12, 0, 0, 0, 1, 1, 2], "it has more headers than bytes"),
        (&[14, 0, 0, 0, 1, 1, 0, 0], "it is shorter than its length"),
        (&[16, 0, 0, 0, 1, 1, 2, 1, 1], "a header has no name"),
        (&[18, 0, 0, 0, 1, 1, 2, 2, 0xff, 1], "a header's name is not UTF-8"),
        (&[18, 0, 0, 0, 1, 1, 2, 2, b'a', 6], "a length exceeds the record"),
        (&[26, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2, 0, 1, 1, 0], "a varint has more than 64 bits"),
        (&[26, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 1, 1, 1], "a varint is longer than 10 bytes"),
    ] {
        let expected = format!("record batch at offset 1000: record at byte 0: {reason}");
        assert_eq!(error_of_record(record), expected, "{record:?}");
    }
}

#[test]
fn control_markers_are_recognised() {
    let marker = |key: Option<&[u8]>| {
        let samples = [Sample { key: key.map(<[u8]>::to_vec), ..Sample::new(0) }];
        let records = only_batch(&encode(&header_of(&samples), &[body(&samples).into()])).records(0).unwrap();
        control_marker(&records.read_at(0).unwrap().0)
    };
    assert_eq!(marker(Some(&[0, 0, 0, 0])), Some(ControlMarker::Abort));
    assert_eq!(marker(Some(&[0, 0, 0, 1])), Some(ControlMarker::Commit));
    assert_eq!(marker(Some(&[0, 9, 0, 1, 5])), Some(ControlMarker::Commit), "a later version only adds to it");
    assert_eq!([marker(Some(&[0, 0, 0, 2])), marker(Some(&[0, 0, 0])), marker(Some(&[])), marker(None)], [None; 4]);
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let bytes = || prop::option::of(prop::collection::vec(any::<u8>(), 0..200));
    let headers = prop::collection::vec(("[a-c]{0,2}|\\PC{0,70}", bytes()), 0..5);
    let timestamp = prop_oneof![-100..100i64, any::<i64>()];
    prop::collection::vec((0..1000, timestamp, bytes(), bytes(), headers), 1..20).prop_map(|records| {
        let mut next = 0;
        let sample = |(gap, timestamp_delta, key, value, headers)| {
            next += gap + 1;
            Sample { offset_delta: next - 1, timestamp_delta, key, value, headers }
        };
        records.into_iter().map(sample).collect()
    })
}

proptest! {
    #[test]
    fn any_records_round_trip(samples in samples(), base_timestamp in any::<i64>(), producer in any::<(i64, i16, i32)>()) {
        let header = BatchHeader {
            base_timestamp,
            producer_id: producer.0,
            producer_epoch: producer.1,
            base_sequence: producer.2,
            ..header_of(&samples)
        };
        let batch = only_batch(&encode(&header, &[body(&samples).into()]));
        prop_assert!(batch.has_valid_crc());
        prop_assert_eq!(batch.header(), &header);
        prop_assert_eq!(read(&batch).unwrap(), samples);
    }

    /// A changed byte is either found by the CRC or not covered by it; reading ends in any case.
    #[test]
    fn changed_bytes_are_noticed(samples in samples(), at in any::<prop::sample::Index>(), change in 1..=255u8) {
        let mut bytes = encode(&header_of(&samples), &[body(&samples).into()]).to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        for batch in Batches::new(bytes.into()).flatten() {
            let is_covered = (8..12).contains(&at) || at >= 17;
            prop_assert_eq!(batch.has_valid_crc(), !is_covered);
            let _ = read(&batch);
        }
    }

    #[test]
    fn any_bytes_end_in_records_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300), record_count in 0..60i32) {
        let header = BatchHeader { record_count, last_offset_delta: i32::MAX, ..header_of(&[]) };
        let _ = read(&only_batch(&encode(&header, &[bytes.clone().into()])));
        prop_assert!(Batches::new(bytes.into()).count() <= 5);
    }
}
