//! Record batches and the blobs of the group protocol as Kafka's Java client encodes them (`golden/java/run.sh` writes the data).

use bytes::Bytes;
use milena_protocol::compression::Compression;
use milena_protocol::group::{Assignment, CooperativeStickyUserData, StickyUserData, Subscription};
use milena_protocol::records::{
    Attributes, Batch, BatchHeader, Batches, ControlMarker, NewRecord, TimestampType, control_marker,
};

use crate::hex;
use crate::hostile::{every_prefix_is_an_error, no_flip_panics};

const TIME: i64 = 1_700_000_000_000;
const FLIPS: u64 = 10_000;
const LIMIT: usize = 1 << 20;

/// Offset, timestamp, and the record.
type Expected = (i64, i64, NewRecord<'static>);

/// What `small` in `golden/java/Blobs.java` appends.
const SMALL: [Expected; 3] = [
    (
        100,
        TIME,
        NewRecord {
            key: Some(b"key"),
            value: Some(b"value"),
            headers: &[("h", Some(b"1")), ("h", None), ("", Some(b"")), ("h", Some(b"2"))],
        },
    ),
    (101, TIME - 5_000_000_000, NewRecord { key: None, value: None, headers: &[] }),
    (105, TIME + 5, NewRecord { key: Some(b""), value: Some(b""), headers: &[] }),
];

fn golden() -> Vec<(String, Bytes)> {
    hex::read("blobs.txt")
}

fn named(prefix: &str) -> Vec<(String, Bytes)> {
    let blobs = golden().into_iter().filter_map(|(name, bytes)| Some((name.strip_prefix(prefix)?.to_owned(), bytes)));
    blobs.collect()
}

fn only_batch(name: &str, bytes: &Bytes) -> Batch {
    let mut batches = Batches::new(bytes.clone());
    let batch = batches.next().expect(name).expect(name);
    assert!(batches.next().is_none() && !batches.is_truncated(), "{name}");
    assert!(batch.has_valid_crc(), "{name}");
    batch
}

/// Reads everything there is to read in these bytes.
fn read_all(bytes: Bytes) -> Result<usize, String> {
    let mut batches = Batches::new(bytes);
    let mut count = 0;
    for batch in batches.by_ref() {
        let records = batch.and_then(|batch| batch.records(LIMIT)).map_err(|error| error.to_string())?;
        for record in &records {
            let record = record.map_err(|error| error.to_string())?;
            count += 1 + record.headers.map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len)).sum::<usize>();
        }
    }
    if batches.is_truncated() || count == 0 { Err("cut".to_owned()) } else { Ok(count) }
}

#[test]
fn batches_of_every_codec_are_read_and_written_alike() {
    let batches = named("batch ");
    assert_eq!(batches.len(), 6);
    for (name, bytes) in batches {
        let batch = only_batch(&name, &bytes);
        let timestamp_type =
            if name == "log-append-time" { TimestampType::LogAppendTime } else { TimestampType::CreateTime };
        let codec = Compression::from_name(&name.to_lowercase()).unwrap_or_default();
        let expected = BatchHeader {
            base_offset: 100,
            partition_leader_epoch: 4,
            attributes: Attributes(0).with_compression(codec).with_timestamp_type(timestamp_type).with_transactional(),
            last_offset_delta: 5,
            base_timestamp: TIME,
            max_timestamp: if timestamp_type == TimestampType::LogAppendTime { TIME + 9 } else { TIME + 5 },
            producer_id: 5000,
            producer_epoch: 2,
            base_sequence: 77,
            record_count: 3,
        };
        assert_eq!(*batch.header(), expected, "{name}");

        let records = batch.records(LIMIT).expect(&name);
        let mut read = records.iter();
        let mut body = Vec::new();
        for (offset, timestamp, expected) in SMALL {
            let record = read.next().expect(&name).expect(&name);
            let timestamp_delta = timestamp - TIME;
            let timestamp = if timestamp_type == TimestampType::LogAppendTime { TIME + 9 } else { timestamp };
            assert_eq!((record.offset, record.timestamp), (offset, timestamp), "{name}");
            assert_eq!((record.key, record.value), (expected.key, expected.value), "{name}");
            assert_eq!(record.headers.collect::<Vec<_>>(), expected.headers, "{name}");
            expected.append_to((offset - 100) as i32, timestamp_delta, &mut body);
        }
        assert!(read.next().is_none(), "{name}");
        assert_eq!(&body, records.bytes(), "{name}: the records, uncompressed");

        // Codecs are free in how they compress; around that, the bytes are ours too.
        let header = expected.encode(&[batch.body()]);
        assert_eq!([&header[..], &batch.body()].concat(), bytes, "{name}");
    }
}

#[test]
fn batches_of_several_blocks_are_read() {
    let value: Vec<u8> = (0..20_000u32).map(|at| (at % 251) as u8).collect();
    let batches = named("large ");
    assert_eq!(batches.len(), 4);
    for (name, bytes) in batches {
        let records = only_batch(&name, &bytes).records(LIMIT).expect(&name);
        let read: Vec<_> = records.iter().map(|record| record.expect(&name)).collect();
        assert_eq!(read.iter().map(|record| record.offset).collect::<Vec<_>>(), [0, 1, 2, 3], "{name}");
        assert!(read.iter().all(|record| record.key.is_none() && record.value == Some(&value)), "{name}");
        assert!(only_batch(&name, &bytes).records(80_000).is_err(), "{name}: a few bytes more than the values");
    }
}

#[test]
fn control_batches_are_read() {
    for (name, expected) in [("marker abort", ControlMarker::Abort), ("marker commit", ControlMarker::Commit)] {
        let blobs = named(name);
        let batch = only_batch(name, &blobs[0].1);
        assert!(batch.header().attributes.is_control() && batch.header().attributes.is_transactional(), "{name}");
        assert_eq!((batch.header().producer_id, batch.header().producer_epoch), (5000, 2), "{name}");
        let records = batch.records(LIMIT).expect(name);
        let (record, _) = records.read_at(0).expect(name);
        assert_eq!((record.offset, control_marker(&record)), (40, Some(expected)), "{name}");
    }
}

#[test]
fn cut_and_changed_batches_are_survived() {
    for (name, bytes) in
        golden().into_iter().filter(|(name, _)| !name.contains("subscription") && !name.contains("assign"))
    {
        every_prefix_is_an_error(&name, &bytes, read_all);
        let times = if name.starts_with("large") { FLIPS / 10 } else { FLIPS };
        no_flip_panics(&bytes, times, read_all);
    }
}

#[test]
fn subscriptions_are_read_and_written_alike() {
    let owned = vec![("audit".to_owned(), vec![0]), ("orders".to_owned(), vec![1, 2])];
    for (name, bytes) in named("subscription ") {
        let orders = Subscription { topics: vec!["orders".to_owned()], ..Subscription::default() };
        let expected = match name.parse::<i16>() {
            Err(_) => orders,
            Ok(version) => Subscription {
                version,
                topics: vec!["audit".to_owned(), "orders".to_owned()],
                user_data: Some(Bytes::from_static(&[1, 2, 3])),
                owned_partitions: if version >= 1 { owned.clone() } else { Vec::new() },
                generation_id: if version >= 2 { 7 } else { -1 },
                rack_id: (version >= 3).then(|| "rack-a".to_owned()),
            },
        };
        let decode = |bytes| Subscription::decode(bytes).map_err(|error| error.to_string());
        assert_eq!(decode(bytes.clone()).expect(&name), expected, "{name}");
        assert_eq!(expected.encode().expect(&name), bytes, "{name}");
        every_prefix_is_an_error(&name, &bytes, decode);
        no_flip_panics(&bytes, FLIPS, decode);
    }
}

#[test]
fn assignments_are_read_and_written_alike() {
    for (name, bytes) in named("assignment ") {
        let expected = match name.parse::<i16>() {
            Err(_) => Assignment::default(),
            Ok(version) => Assignment {
                version,
                partitions: vec![("orders".to_owned(), vec![2, 1])],
                user_data: Some(Bytes::from_static(&[4])),
            },
        };
        let decode = |bytes| Assignment::decode(bytes).map_err(|error| error.to_string());
        assert_eq!(decode(bytes.clone()).expect(&name), expected, "{name}");
        assert_eq!(expected.encode().expect(&name), bytes, "{name}");
        every_prefix_is_an_error(&name, &bytes, decode);
        no_flip_panics(&bytes, FLIPS, decode);
    }
}

#[test]
fn user_data_of_sticky_members_is_read_and_written_alike() {
    let data = named("user-data ");
    let [(_, sticky), (_, cooperative)] = &data[..] else { panic!("{data:?}") };

    let expected = StickyUserData { partitions: vec![("orders".to_owned(), vec![2, 1])], generation_id: Some(7) };
    assert_eq!(StickyUserData::decode(sticky.clone()).as_ref(), Ok(&expected));
    assert_eq!(expected.encode().as_ref(), Ok(sticky));
    no_flip_panics(sticky, FLIPS, |bytes| StickyUserData::decode(bytes).map_err(|error| error.to_string()));

    let expected = CooperativeStickyUserData { generation_id: 7 };
    assert_eq!(CooperativeStickyUserData::decode(cooperative.clone()), Ok(expected));
    assert_eq!(expected.encode(), cooperative);
}
