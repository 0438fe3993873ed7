//! Topic settings whose effect clients see: what stays in a log and for how long, how large a batch may be, whose time it has.

use std::time::{Duration, SystemTime};

use milena::{ErrorCode, Position, Record, Result};
use milena_protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use milena_protocol::messages::produce::PartitionProduceResponse;
use milena_protocol::records::Batches;
use milena_tests::cluster::{TestCluster, lacks};
use milena_tests::eventually::eventually;
use milena_tests::raw::{RawBatch, RawConnection, fetch, now_ms, produce};

use crate::{client, producer, read, texts};

const PRODUCE: i16 = 9;
const SECOND: i64 = 1000;

/// A topic and the way to its leader.
struct Log {
    cluster: TestCluster,
    topic: String,
    leader: RawConnection,
}

impl Log {
    async fn new(configs: &[(&str, &str)]) -> Self {
        let cluster = TestCluster::shared().await;
        let topic = cluster.topic_with("settings", 1, configs).await;
        let leader = cluster.raw_leader(&topic, 0).await;
        Self { cluster, topic, leader }
    }

    /// A topic that is compacted as soon as anything can be.
    async fn compacted(configs: &[(&str, &str)]) -> Self {
        let mut all =
            vec![("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0.001"), ("segment.ms", "1000")];
        all.extend(configs);
        Self::new(&all).await
    }

    async fn try_write(&mut self, batch: RawBatch) -> PartitionProduceResponse {
        let mut answer = self.leader.ask(PRODUCE, &produce(&self.topic, 0, batch)).await;
        answer.responses.remove(0).partition_responses.remove(0)
    }

    /// Writes a batch whose first record was made so many seconds ago.
    async fn write(&mut self, seconds_ago: i64, batch: RawBatch) {
        let answer = self.try_write(batch.at(now_ms() - seconds_ago * SECOND, 0)).await;
        assert_eq!(answer.error_code, ErrorCode::NONE);
    }

    async fn put(&mut self, seconds_ago: i64, records: &[(&str, Option<&str>)]) {
        self.write(seconds_ago, RawBatch::keyed(records.iter().copied())).await;
    }

    /// Offset, key and value of each record.
    async fn records(&self) -> Vec<String> {
        let text =
            |bytes: Option<bytes::Bytes>| bytes.map_or("-".into(), |bytes| String::from_utf8(bytes.into()).unwrap());
        let log = self.cluster.log(&self.topic, 0).await.into_iter();
        log.map(|record| format!("{} {}={}", record.offset, text(record.key), text(record.value))).collect()
    }

    async fn until(&self, expected: &[&str]) {
        eventually(&format!("{expected:?} to be left"), async || (self.records().await == expected).then_some(()))
            .await;
    }

    async fn until_it_starts_at(&self, offset: i64) {
        let what = format!("{} to start at {offset}", self.topic);
        eventually(&what, async || (self.cluster.start(&self.topic, 0).await == offset).then_some(())).await;
    }
}

#[tokio::test]
async fn compaction_keeps_the_last_record_of_each_key_at_its_offset_and_spares_the_active_segment() -> Result<()> {
    let mut log = Log::compacted(&[]).await;
    log.put(30, &[("a", Some("1")), ("b", Some("1"))]).await;
    log.put(20, &[("a", Some("2")), ("c", Some("1"))]).await;
    log.put(10, &[("a", Some("3")), ("a", Some("4"))]).await;
    log.until(&["1 b=1", "2 a=2", "3 c=1", "4 a=3", "5 a=4"]).await;
    assert_eq!((log.cluster.start(&log.topic, 0).await, log.cluster.end(&log.topic, 0).await), (0, 6));

    // A consumer walks over the gaps, and from within one.
    let client = client(&log.cluster).await;
    for (from, expected) in [(0, [1, 2, 3, 4, 5].as_slice()), (2, &[2, 3, 4, 5])] {
        let position = ((log.topic.as_str(), 0), Position::Offset(from));
        let mut reader = client.reader().assign([position]).build().await?;
        let offsets: Vec<i64> = read(&mut reader, expected.len()).await.iter().map(|record| record.offset()).collect();
        assert_eq!(offsets, expected);
    }
    Ok(())
}

#[tokio::test]
async fn the_last_batch_of_a_producer_stays_without_records_and_readers_pass_over_it() -> Result<()> {
    let mut log = Log::compacted(&[]).await;
    producer(&log.cluster).await.send(Record::to(&log.topic).key("a").value("1")).await?;
    log.put(-10, &[("a", Some("2"))]).await;
    log.put(-20, &[("b", Some("1"))]).await;
    log.until(&["1 a=2", "2 b=1"]).await;
    let answer = log.leader.ask(12, &fetch(&log.topic, 0, 0)).await;
    let records = answer.responses[0].partitions[0].records.clone().unwrap_or_default();
    let batches: Vec<_> = Batches::new(records.into_bytes()).map(|batch| *batch.expect("a batch").header()).collect();
    assert!(batches[0].producer_id >= 0, "what is next to come from it must be known");
    let counts: Vec<_> = batches.iter().map(|batch| (batch.base_offset, batch.record_count)).collect();
    assert_eq!(counts, [(0, 0), (1, 1)], "what is behind is in another segment");

    let at_start = client(&log.cluster).await.reader().assign([((log.topic.as_str(), 0), Position::Beginning)]);
    assert_eq!(texts(&read(&mut at_start.build().await?, 2).await), ["2", "1"]);
    Ok(())
}

#[tokio::test]
async fn a_tombstone_goes_when_it_was_compacted_and_delete_retention_has_passed() {
    if lacks((3, 1), "tombstones with a time to go (KIP-534)") {
        return;
    }
    let mut log = Log::compacted(&[("delete.retention.ms", "1")]).await;
    log.put(60, &[("a", Some("1")), ("b", Some("1"))]).await;
    log.put(50, &[("a", None)]).await;
    log.put(40, &[("c", Some("1"))]).await;
    log.until(&["1 b=1", "2 a=-", "3 c=1"]).await;
    log.put(30, &[("c", Some("2"))]).await;
    log.put(20, &[("d", Some("1"))]).await;
    log.until(&["1 b=1", "4 c=2", "5 d=1"]).await;
}

#[tokio::test]
async fn a_compacted_topic_takes_no_record_without_a_key() {
    let mut log = Log::compacted(&[]).await;
    let answer = log.try_write(RawBatch::of(["a", "b"])).await;
    assert_eq!(answer.error_code, ErrorCode::INVALID_RECORD);
    let blamed: Vec<i32> = answer.record_errors.iter().map(|record| record.batch_index).collect();
    assert_eq!(blamed, [0, 1]);
    assert_eq!(log.cluster.end(&log.topic, 0).await, 0);
}

#[tokio::test]
async fn by_size_the_eldest_segments_go_as_long_as_enough_is_left() {
    let mut log = Log::new(&[("retention.bytes", "1200000"), ("segment.bytes", "1048576")]).await;
    for letter in ["a", "b", "c", "d", "e"] {
        log.write(1, RawBatch::of([letter.repeat(500_000)])).await;
    }
    // Two records are a segment; the second segment is more than there is too much.
    log.until_it_starts_at(2).await;
    assert_eq!(log.cluster.log(&log.topic, 0).await.len(), 3);
}

#[tokio::test]
async fn by_age_a_segment_goes_when_its_latest_record_is_too_old() {
    let mut log = Log::new(&[("retention.ms", "60000"), ("segment.ms", "1000")]).await;
    log.write(300, RawBatch::of(["a"])).await;
    log.write(200, RawBatch::of(["b"])).await;
    log.write(1, RawBatch::of(["c"])).await;
    log.until_it_starts_at(2).await;
    assert_eq!(log.records().await, ["2 -=c"]);
}

#[tokio::test]
async fn when_all_records_are_too_old_the_log_is_empty_and_its_offsets_go_on() {
    let mut log = Log::new(&[("retention.ms", "60000")]).await;
    log.write(300, RawBatch::of(["a", "b"])).await;
    log.until_it_starts_at(2).await;
    log.write(0, RawBatch::of(["c"])).await;
    assert_eq!(log.records().await, ["2 -=c"]);
}

#[tokio::test]
async fn the_brokers_time_replaces_the_producers_if_the_topic_says_so() {
    let mut log = Log::new(&[("message.timestamp.type", "LogAppendTime")]).await;
    let answer = log.try_write(RawBatch::of(["a", "b"]).at(now_ms() - 3600 * SECOND, 7)).await;
    assert!((now_ms() - answer.log_append_time_ms).abs() < 600 * SECOND, "{answer:?}");
    let appended = SystemTime::UNIX_EPOCH + Duration::from_millis(answer.log_append_time_ms as u64);
    let times: Vec<SystemTime> =
        log.cluster.log(&log.topic, 0).await.into_iter().map(|record| record.timestamp).collect();
    assert_eq!(times, [appended, appended]);
}

#[tokio::test]
async fn a_setting_that_is_changed_holds_for_what_comes_then() {
    let mut log = Log::new(&[]).await;
    let alter = async |operation, value: Option<&str>| {
        let config = AlterableConfig {
            name: "max.message.bytes".to_owned(),
            config_operation: operation,
            value: value.map(str::to_owned),
        };
        let (resource_name, configs) = (log.topic.clone(), vec![config]);
        let resources = vec![AlterConfigsResource { resource_type: 2, resource_name, configs }];
        let request = IncrementalAlterConfigsRequest { resources, validate_only: false };
        let answer = log.cluster.raw(1).await.ask(1, &request).await;
        assert_eq!(answer.responses[0].error_code, ErrorCode::NONE, "{answer:?}");
    };
    let large = RawBatch::of(["x".repeat(1000)]);
    alter(0, Some("500")).await;
    let code = async |log: &Log, wanted: ErrorCode| {
        // Brokers hear of it from the controller.
        eventually(&format!("{wanted}"), async || {
            let mut leader = log.cluster.raw_leader(&log.topic, 0).await;
            let answer = leader.ask(PRODUCE, &produce(&log.topic, 0, large.clone())).await;
            (answer.responses[0].partition_responses[0].error_code == wanted).then_some(())
        })
        .await;
    };
    code(&log, ErrorCode::MESSAGE_TOO_LARGE).await;
    alter(1, None).await;
    code(&log, ErrorCode::NONE).await;
    assert_eq!(log.try_write(large.clone()).await.error_code, ErrorCode::NONE);
}
