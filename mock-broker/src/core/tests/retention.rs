//! Records that go by age, by size, by request, and when there is no room for more. Pure.

use std::time::Duration;

use milena_protocol::ErrorCode;
use milena_protocol::messages::fetch::FetchRequest;
use milena_protocol::messages::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};

use super::rig::{FETCH, NONE, Rig, TestBatch, WALL_START, fetch, settings, values_in};
use crate::core::{Following, LogSettings, Settings};

const MINUTES: u64 = 60_000;

/// Half of the smallest segment, so that two records fill one.
fn half_a_segment(letter: &str) -> TestBatch {
    TestBatch::new(&[&letter.repeat(500_000)])
}

impl Rig {
    fn log_start(&self) -> i64 {
        self.core.log_start("t", 0).unwrap()
    }

    /// One record, stamped by the producer with the broker's time.
    fn produce_now(&mut self, value: &str) {
        let time = self.core.wall_ms(self.now);
        assert_eq!(self.produce(-1, TestBatch::new(&[value]).at_time(time).bytes()).error_code, NONE);
    }

    fn earliest(&mut self) -> (i64, i32) {
        let partition = ListOffsetsPartition { timestamp: -2, ..Default::default() };
        let topics = vec![ListOffsetsTopic { name: "t".to_owned(), partitions: vec![partition] }];
        let leader = self.leader();
        let answer = self.ask(leader, 7, &ListOffsetsRequest { topics, ..Default::default() });
        let found = &answer.topics[0].partitions[0];
        (found.offset, found.leader_epoch)
    }
}

#[test]
fn a_fetch_has_the_batches_of_one_segment_and_does_not_wait_for_more_than_the_last_one_has() {
    let mut rig = Rig::with_topic(&[("segment.ms", "1000")]);
    for (value, time) in [("a", 0), ("b", 500), ("c", 2000), ("d", 2500)] {
        rig.produce(-1, TestBatch::new(&[value]).at_time(WALL_START + time).bytes());
    }
    let leader = rig.leader();
    for (offset, values) in [(0, Some(vec!["a", "b"])), (1, Some(vec!["b"])), (2, None)] {
        let request = FetchRequest { min_bytes: 10_000, ..fetch("t", &[(0, offset)], 500) };
        let ticket = rig.send(leader, FETCH, &request);
        let answer = rig.answer::<FetchRequest>(ticket, FETCH);
        let seen = answer.map(|answer| values_in(&answer.responses[0].partitions[0]));
        assert_eq!(seen, values.map(|values| values.into_iter().map(str::to_owned).collect()), "from {offset}");
    }
}

#[test]
fn by_size_the_eldest_closed_segments_go_at_the_next_check() {
    let mut rig = Rig::with_topic(&[("retention.bytes", "1200000"), ("segment.bytes", "1048576")]);
    for letter in ["a", "b", "c", "d", "e"] {
        rig.produce(-1, half_a_segment(letter).bytes());
    }
    rig.at(5 * MINUTES - 1);
    assert_eq!(rig.log_start(), 0);
    rig.at(5 * MINUTES);
    assert_eq!(rig.log_start(), 2, "one segment is more than the excess of 1.3 MB, two would be too many");
    assert_eq!((rig.fetch(1).error_code, rig.fetch(2).error_code), (ErrorCode::OFFSET_OUT_OF_RANGE, NONE));
    assert_eq!((rig.fetch(5).log_start_offset, rig.earliest()), (2, (2, 0)));
    for broker in 1..=3 {
        let id = rig.core.partition_id("t", 0).unwrap();
        assert_eq!(rig.core.brokers[&broker].replicas[&id].log.start(), 2, "followers start where their leader does");
    }
    assert_eq!(rig.core.next_deadline(), Some(Duration::from_secs(7 * 24 * 3600 + 300)), "then by age");
}

#[test]
fn by_age_a_segment_goes_when_its_latest_record_has_expired_the_active_one_too() {
    let mut rig = Rig::with_topic(&[("retention.ms", "600000"), ("segment.ms", "1000")]);
    rig.produce_now("a");
    rig.at(60 * 1000);
    rig.produce_now("b");
    rig.at(10 * MINUTES);
    assert_eq!(rig.log_start(), 0, "the limit has to be exceeded");
    rig.at(15 * MINUTES);
    assert_eq!((rig.log_start(), rig.core.log_end("t", 0)), (2, Some(2)));
    assert_eq!((rig.fetch(2).error_code, rig.earliest()), (NONE, (2, 0)));
    assert_eq!(rig.core.next_deadline(), None, "nothing is left to do");
    rig.produce_now("c");
    assert_eq!(rig.values(), ["c"]);
    assert_eq!(rig.core.records("t", 0).unwrap()[0].offset, 2, "offsets are never given twice");
}

#[test]
fn one_segment_waits_for_its_youngest_record() {
    let mut rig = Rig::with_topic(&[("retention.ms", "600000")]);
    rig.produce_now("a");
    rig.at(14 * MINUTES);
    rig.produce_now("b");
    rig.at(24 * MINUTES);
    assert_eq!(rig.values(), ["a", "b"]);
    rig.at(25 * MINUTES);
    assert!(rig.values().is_empty());
}

#[test]
fn without_limits_and_without_the_delete_policy_records_stay() {
    for configs in [[("retention.ms", "-1")], [("cleanup.policy", "compact")]] {
        let mut rig = Rig::with_topic(&configs);
        rig.produce_now("a");
        assert_eq!(rig.core.next_deadline(), None);
        rig.at(10 * 24 * 60 * MINUTES);
        assert_eq!(rig.values(), ["a"], "{configs:?}");
    }
    let mut rig = Rig::with_topic(&[]);
    rig.produce_now("a");
    rig.at(7 * 24 * 60 * MINUTES);
    assert_eq!(rig.values(), ["a"]);
    rig.at(7 * 24 * 60 * MINUTES + 5 * MINUTES);
    assert!(rig.values().is_empty(), "the default is seven days");
}

#[test]
fn what_consumers_cannot_read_yet_stays() {
    let mut rig = Rig::with(Settings { min_insync_replicas: 2, ..settings() });
    rig.create("t", 1, &[("retention.ms", "1000"), ("segment.ms", "1000")]);
    rig.produce_now("a");
    let others: Vec<i32> = (1..=3).filter(|broker| *broker != rig.leader()).collect();
    for broker in &others {
        rig.act(|core, now| core.crash(now, *broker));
    }
    rig.at(2000);
    let time = rig.core.wall_ms(rig.now);
    rig.produce(1, TestBatch::new(&["b"]).at_time(time).bytes());
    rig.at(10 * MINUTES);
    assert_eq!((rig.log_start(), rig.core.high_watermark("t", 0)), (1, Some(1)));
    assert_eq!(rig.core.next_deadline(), None, "it does not spin");
    rig.act(|core, now| core.restart(now, others[0]));
    rig.at(15 * MINUTES);
    assert_eq!(rig.log_start(), 2);
}

#[test]
fn a_test_need_not_wait_for_the_check() {
    let mut rig = Rig::with_topic(&[("retention.ms", "1000")]);
    rig.produce(-1, TestBatch::new(&["a"]).at_time(WALL_START - 5000).bytes());
    rig.act(|core, now| core.apply_retention_now(now, "t", 0)).unwrap();
    assert!(rig.values().is_empty());
    let unknown = rig.act(|core, now| core.apply_retention_now(now, "x", 0));
    assert_eq!(unknown, Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
}

#[test]
fn a_changed_limit_holds_at_the_next_check() {
    let mut rig = Rig::with_topic(&[]);
    rig.produce_now("a");
    rig.at(20 * MINUTES);
    let set = [("retention.ms".to_owned(), Some("1000".to_owned()))];
    rig.act(|core, now| core.configure_topic(now, "t", set.into())).unwrap();
    rig.at(25 * MINUTES);
    assert!(rig.values().is_empty());
}

#[test]
fn deleted_records_are_gone_on_all_replicas_and_after_an_election() {
    let mut rig = Rig::with_topic(&[]);
    rig.produce(-1, TestBatch::new(&["a", "b", "c"]).bytes());
    rig.produce(-1, TestBatch::new(&["d"]).bytes());
    rig.act(|core, now| core.delete_records_now(now, "t", 0, 1)).unwrap();
    assert_eq!(rig.values(), ["b", "c", "d"], "in the middle of a batch");
    assert_eq!(rig.earliest(), (1, 0));
    let time = ListOffsetsPartition { timestamp: 0, ..Default::default() };
    let topics = vec![ListOffsetsTopic { name: "t".to_owned(), partitions: vec![time] }];
    let leader = rig.leader();
    let answer = rig.ask(leader, 7, &ListOffsetsRequest { topics, ..Default::default() });
    assert_eq!(answer.topics[0].partitions[0].offset, 1, "a look-up by time finds what is left only");
    let next = 1 + leader % 3;
    rig.act(|core, now| core.elect(now, "t", 0, next)).unwrap();
    assert_eq!(rig.values(), ["b", "c", "d"]);
    rig.act(|core, now| core.delete_records_now(now, "t", 0, 99)).unwrap();
    assert_eq!((rig.log_start(), rig.core.log_end("t", 0)), (4, Some(4)), "not above the high watermark");
    assert_eq!(rig.earliest(), (4, 1));
}

#[test]
fn a_replica_that_was_away_starts_where_the_leader_does() {
    let mut rig = Rig::with_topic(&[]);
    rig.produce(-1, TestBatch::new(&["a"]).bytes());
    let away = 1 + rig.leader() % 3;
    rig.act(|core, now| core.crash(now, away));
    rig.produce(-1, TestBatch::new(&["b", "c"]).bytes());
    rig.act(|core, now| core.delete_records_now(now, "t", 0, 3)).unwrap();
    rig.produce(-1, TestBatch::new(&["d"]).bytes());
    rig.act(|core, now| core.restart(now, away));
    rig.act(|core, now| core.elect(now, "t", 0, away)).unwrap();
    assert_eq!((rig.values(), rig.log_start()), (vec!["d".to_owned()], 3));
}

#[test]
fn a_replica_that_diverged_before_a_log_that_starts_within_a_batch_becomes_the_same() {
    let mut rig = Rig::with_topic(&[]);
    let (old, held) = (rig.leader(), 1 + rig.leader() % 3);
    rig.act(|core, now| core.let_follow(now, "t", 0, held, Following::Held)).unwrap();
    rig.produce(1, TestBatch::new(&["a", "b"]).bytes());
    rig.produce(1, TestBatch::new(&["c", "d"]).bytes());
    rig.act(|core, now| core.crash(now, old));
    rig.act(|core, now| core.elect_unclean(now, "t", 0, held)).unwrap();
    rig.produce(1, TestBatch::new(&["e", "f", "g", "h"]).bytes());
    rig.act(|core, now| core.delete_records_now(now, "t", 0, 2)).unwrap();
    rig.act(|core, now| core.restart(now, old));
    rig.act(|core, now| core.elect(now, "t", 0, old)).unwrap();
    assert_eq!((rig.values(), rig.log_start()), (vec!["g".to_owned(), "h".to_owned()], 2));
}

#[test]
fn the_cluster_keeps_no_more_bytes_than_it_may() {
    let logs = LogSettings { retained_bytes: 4_000_000, ..LogSettings::default() };
    let mut rig = Rig::with(Settings { logs, ..settings() });
    rig.create("t", 1, &[]);
    rig.create("small", 1, &[]);
    let small = rig.core.leader("small", 0).unwrap().0;
    rig.ask(small, super::rig::PRODUCE, &super::rig::produce("small", 0, -1, half_a_segment("s").bytes()));
    for _ in 0..100 {
        rig.produce(-1, half_a_segment("x").bytes());
        let kept = rig.core.log_end("t", 0).unwrap() - rig.log_start();
        assert!(kept <= 9, "{kept} records of half a megabyte beside one of another partition");
    }
    assert!(rig.log_start() >= 91);
    assert_eq!(rig.core.log_start("small", 0), Some(0), "the largest partition pays");
    assert_eq!(rig.fetch(rig.log_start()).error_code, NONE);
}
