//! Record batches through the crate kafka-protocol and back, without what it cannot represent: header names that come twice (it
//! keeps the last) and compression (its codecs are switched off; golden data covers both).

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records as theirs;
use milena_protocol::arbitrary::Choice;
use milena_protocol::records::{Attributes, BatchHeader, Batches, NewRecord, Record};

use crate::choice::Seeded;

const TIME: i64 = 1_700_000_000_000;

#[test]
fn every_batch_survives_the_oracle() {
    for seed in 0..500 {
        let context = format!("seed {seed}");
        let records = records(&mut Seeded(seed));
        let last = records.last().expect("at least one");

        let mut body = Vec::new();
        for record in &records {
            let headers: Vec<_> = record.headers.iter().map(|(name, value)| (&name[..], value.as_deref())).collect();
            let new = NewRecord { key: record.key.as_deref(), value: record.value.as_deref(), headers: &headers };
            new.append_to(record.sequence - 70, record.timestamp - TIME, &mut body);
        }
        let header = BatchHeader {
            base_offset: 1000,
            partition_leader_epoch: 3,
            attributes: Attributes(0).with_transactional(),
            last_offset_delta: last.sequence - 70,
            base_timestamp: TIME,
            max_timestamp: records.iter().map(|record| record.timestamp).max().expect("at least one"),
            producer_id: 9,
            producer_epoch: 2,
            base_sequence: 70,
            record_count: records.len() as i32,
        };
        let body = Bytes::from(body);
        let ours = Bytes::from([&header.encode(std::slice::from_ref(&body))[..], &body].concat());
        let read = theirs::RecordBatchDecoder::decode_all(&mut ours.clone()).expect(&context);
        assert_eq!(read.into_iter().flat_map(|set| set.records).collect::<Vec<_>>(), records, "{context}");

        let mut back = BytesMut::new();
        let options = theirs::RecordEncodeOptions { version: 2, compression: theirs::Compression::None };
        theirs::RecordBatchEncoder::encode(&mut back, &records, &options).expect(&context);
        let mut expected = records.iter();
        for batch in Batches::new(back.freeze()) {
            let batch = batch.expect(&context);
            assert!(batch.has_valid_crc() && batch.header().attributes.is_transactional(), "{context}");
            for record in &batch.records(0).expect(&context) {
                assert_same(&record.expect(&context), expected.next().expect(&context));
            }
        }
        assert!(expected.next().is_none(), "{context}");
    }
}

fn assert_same(ours: &Record<'_>, theirs: &theirs::Record) {
    assert_eq!((ours.offset, ours.timestamp), (theirs.offset, theirs.timestamp));
    assert_eq!((ours.key, ours.value), (theirs.key.as_deref(), theirs.value.as_deref()));
    let headers: Vec<_> = theirs.headers.iter().map(|(name, value)| (&name[..], value.as_deref())).collect();
    assert_eq!(ours.headers.collect::<Vec<_>>(), headers);
}

/// Records of one batch, in the form of the oracle, which gives each record what is really the batch's.
fn records(random: &mut Seeded) -> Vec<theirs::Record> {
    let bytes = |random: &mut Seeded| (random.below(4) != 0).then(|| Bytes::from(random.text("")));
    let count = 1 + random.below(9) as i32;
    let record = |delta: i32| theirs::Record {
        transactional: true,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 3,
        producer_id: 9,
        producer_epoch: 2,
        timestamp_type: theirs::TimestampType::Creation,
        offset: 1000 + i64::from(delta),
        sequence: 70 + delta,
        timestamp: TIME + if delta == 0 { 0 } else { random.below(100_000) as i64 - 50_000 },
        key: bytes(random),
        value: bytes(random),
        headers: (0..random.below(4))
            .map(|at| (StrBytes::from_string(format!("{at}{}", random.text(""))), bytes(random)))
            .collect::<IndexMap<_, _>>(),
    };
    (0..count).map(record).collect()
}
