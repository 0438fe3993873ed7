//! Topics that keep the last record of each key. Pure.

use milena_protocol::compression::Compression;
use milena_protocol::records::{Batches, NewRecord};

use super::rig::{FETCH, NONE, Rig, TestBatch, WALL_START, fetch};

const SECONDS: u64 = 1000;

/// A rig whose segments are closed by time: each batch that is a second younger begins one.
fn compacted(configs: &[(&str, &str)]) -> Rig {
    let mut all = vec![("cleanup.policy", "compact"), ("segment.ms", "500")];
    all.extend(configs);
    Rig::with_topic(&all)
}

/// One batch; a record without a value is a tombstone.
fn batch(records: &[(&str, Option<&str>)]) -> TestBatch {
    TestBatch::of(records.iter().map(|(key, value)| NewRecord {
        key: Some(key.as_bytes()),
        value: value.map(str::as_bytes),
        headers: &[("h", None)],
    }))
}

impl Rig {
    fn put(&mut self, records: &[(&str, Option<&str>)]) {
        let time = self.core.wall_ms(self.now);
        assert_eq!(self.produce(-1, batch(records).at_time(time).bytes()).error_code, NONE);
    }

    /// Offset, key and value of what is left.
    fn left(&self) -> Vec<String> {
        let records = self.core.records("t", 0).unwrap().into_iter();
        let text = |bytes: Option<bytes::Bytes>| bytes.map_or("-".to_owned(), |bytes| super::rig::text(&bytes));
        records.map(|record| format!("{} {}={}", record.offset, text(record.key), text(record.value))).collect()
    }

    fn compact(&mut self) {
        self.act(|core, now| core.compact_now(now, "t", 0)).unwrap();
    }
}

#[test]
fn the_last_record_of_each_key_stays_at_its_offset_and_the_active_segment_is_left_alone() {
    let mut rig = compacted(&[]);
    rig.put(&[("a", Some("1")), ("b", Some("1"))]);
    rig.at(1000);
    rig.put(&[("a", Some("2")), ("c", Some("1"))]);
    rig.at(2000);
    rig.put(&[("a", Some("3")), ("a", Some("4"))]);
    rig.at(14_999);
    assert_eq!(rig.left().len(), 6);
    rig.at(15 * SECONDS);
    assert_eq!(rig.left(), ["1 b=1", "2 a=2", "3 c=1", "4 a=3", "5 a=4"]);
    assert_eq!(rig.core.next_deadline(), None, "nothing more until something is written");
    assert_eq!((rig.core.log_start("t", 0), rig.core.log_end("t", 0)), (Some(0), Some(6)));
    assert_eq!(rig.fetch(0).error_code, NONE, "a gap is no error");
    let mut batches = |offset| Batches::new(rig.fetch(offset).records.unwrap().into_bytes()).map(Result::unwrap);
    let batches: Vec<_> = batches(0).chain(batches(4)).collect();
    let shape = |batch: &milena_protocol::records::Batch| {
        let header = *batch.header();
        assert!(batch.has_valid_crc());
        (header.base_offset, header.last_offset(), header.record_count)
    };
    assert_eq!(batches.iter().map(shape).collect::<Vec<_>>(), [(0, 1, 1), (2, 3, 2), (4, 5, 2)]);
    let (before, follower) = (rig.left(), 1 + rig.leader() % 3);
    rig.act(|core, now| core.elect(now, "t", 0, follower)).unwrap();
    assert_eq!(rig.left(), before, "each replica does so for itself");
}

#[test]
fn followers_compact_too() {
    let mut rig = compacted(&[]);
    rig.put(&[("a", Some("1"))]);
    rig.at(1000);
    rig.put(&[("a", Some("2"))]);
    rig.compact();
    let next = 1 + rig.leader() % 3;
    rig.act(|core, now| core.elect(now, "t", 0, next)).unwrap();
    assert_eq!(rig.left(), ["1 a=2"]);
    rig.put(&[("a", Some("3"))]);
    assert_eq!(rig.left(), ["1 a=2", "2 a=3"]);
    let away = 1 + next % 3;
    rig.act(|core, now| core.crash(now, away));
    rig.compact();
    rig.put(&[("b", Some("1"))]);
    rig.act(|core, now| core.restart(now, away));
    rig.act(|core, now| core.elect(now, "t", 0, away)).unwrap();
    assert_eq!(rig.left(), ["1 a=2", "2 a=3", "3 b=1"], "what it had it has not compacted");
    rig.compact();
    assert_eq!(rig.left(), ["2 a=3", "3 b=1"]);
}

#[test]
fn nothing_is_compacted_before_enough_is_dirty() {
    let mut rig = compacted(&[("min.cleanable.dirty.ratio", "0.6")]);
    let values: Vec<String> = (0..10).map(|index| index.to_string()).collect();
    let all: Vec<(&str, Option<&str>)> = values.iter().map(|key| (key.as_str(), Some("long enough"))).collect();
    rig.put(&all);
    rig.at(1000);
    rig.put(&[("0", Some("x"))]);
    rig.at(15 * SECONDS);
    assert_eq!(rig.left().len(), 11, "the first segment is all dirty, and has nothing to give");
    rig.put(&[("1", Some("x"))]);
    rig.at(17 * SECONDS);
    rig.put(&[("2", Some("x"))]);
    rig.at(30 * SECONDS);
    assert_eq!(rig.left().len(), 13, "too little is new");
    for time in 31..60 {
        rig.at(time * SECONDS);
        rig.put(&all[..1]);
    }
    rig.at(61 * SECONDS);
    assert!(rig.left().len() < 15, "{:?}", rig.left());
}

#[test]
fn tombstones_stay_for_a_time_after_they_were_first_compacted() {
    let mut rig = compacted(&[("delete.retention.ms", "60000")]);
    rig.put(&[("a", Some("1")), ("b", Some("1"))]);
    rig.put(&[("a", None)]);
    rig.compact();
    assert_eq!(rig.left(), ["1 b=1", "2 a=-"]);
    let record = &rig.core.records("t", 0).unwrap()[1];
    assert_eq!((record.timestamp, record.headers.len()), (WALL_START, 1), "time stamp and headers are kept");
    rig.at(59_999);
    rig.put(&[("c", Some("1"))]);
    rig.compact();
    assert_eq!(rig.left(), ["1 b=1", "2 a=-", "3 c=1"]);
    rig.at(60_000);
    rig.compact();
    assert_eq!(rig.left().len(), 3, "nothing new: nothing is looked at");
    rig.put(&[("d", Some("1"))]);
    rig.compact();
    assert_eq!(rig.left(), ["1 b=1", "3 c=1", "4 d=1"]);
}

#[test]
fn a_codec_is_kept_and_so_is_the_last_batch_of_a_producer() {
    let mut rig = compacted(&[]);
    let of_producer = |value: &str, sequence: i32| batch(&[("a", Some(value))]).by(7, 0, sequence);
    rig.produce(-1, of_producer("1", 0).bytes());
    rig.produce(-1, of_producer("2", 1).bytes());
    rig.produce(-1, batch(&[("b", Some("1")), ("a", Some("3"))]).compressed(Compression::Zstd).bytes());
    rig.produce(-1, batch(&[("b", Some("2"))]).bytes());
    rig.compact();
    assert_eq!(rig.left(), ["3 a=3", "4 b=2"]);
    let leader = rig.leader();
    let answer = rig.ask(leader, FETCH, &fetch("t", &[(0, 0)], 0)).responses[0].partitions[0].clone();
    let batches: Vec<_> = Batches::new(answer.records.unwrap().into_bytes()).map(Result::unwrap).collect();
    let shape = |batch: &milena_protocol::records::Batch| {
        let header = *batch.header();
        (header.base_offset, header.record_count, header.producer_id, header.attributes.compression())
    };
    let (none, zstd) = (Some(Compression::None), Some(Compression::Zstd));
    let expected = [(1, 0, 7, none), (2, 1, -1, zstd), (4, 1, -1, none)];
    assert_eq!(batches.iter().map(shape).collect::<Vec<_>>(), expected);
    // The new leader knows from it which sequence number is next.
    rig.act(|core, now| core.crash(now, leader));
    rig.act(|core, now| core.restart(now, leader));
    assert_eq!(rig.produce(-1, of_producer("4", 2).bytes()).error_code, NONE);
}

#[test]
fn young_records_are_not_compacted() {
    let mut rig = compacted(&[("min.compaction.lag.ms", "20000")]);
    rig.put(&[("a", Some("1"))]);
    rig.at(1000);
    rig.put(&[("a", Some("2"))]);
    rig.at(2000);
    rig.put(&[("a", Some("3"))]);
    rig.at(15 * SECONDS);
    assert_eq!(rig.left().len(), 3);
    rig.at(22 * SECONDS);
    rig.put(&[("b", Some("1"))]);
    rig.at(30 * SECONDS);
    assert_eq!(rig.left(), ["2 a=3", "3 b=1"]);
}

#[test]
fn both_policies_compact_and_delete() {
    let mut rig = compacted(&[("cleanup.policy", "compact,delete"), ("retention.ms", "60000")]);
    rig.put(&[("a", Some("1"))]);
    rig.at(1000);
    rig.put(&[("a", Some("2"))]);
    rig.at(2000);
    rig.put(&[("b", Some("1"))]);
    rig.at(15 * SECONDS);
    assert_eq!(rig.left(), ["1 a=2", "2 b=1"]);
    rig.at(300 * SECONDS);
    assert!(rig.left().is_empty());
    assert_eq!(rig.core.log_start("t", 0), Some(3));
}

#[test]
fn commits_survive_when_their_topic_is_compacted() {
    let mut rig = Rig::new();
    rig.create("t", 1, &[]);
    let id = super::offsets::commit_some(&mut rig, "g", 20);
    rig.act(|core, now| core.compact_now(now, "__consumer_offsets", id.index)).unwrap();
    assert_eq!(rig.core.records("__consumer_offsets", id.index).unwrap().len(), 1);
    assert_eq!(rig.core.committed("g", "t", 0), Some(19));
    let coordinator = rig.core.coordinator("g");
    rig.act(|core, now| core.crash(now, coordinator));
    assert_eq!(rig.core.committed("g", "t", 0), Some(19));
}
