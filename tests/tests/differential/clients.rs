//! What our own client makes of either cluster.

use std::time::{Duration, SystemTime};

use milena::{
    AutoOffsetReset, Client, Consumer, Error, IsolationLevel, Offsets, Position, Producer, Record, TopicPartition,
};
use milena_protocol::compression::Compression;
use milena_tests::eventually::eventually;
use milena_tests::raw::{RawBatch, fetch, produce};

use crate::golden::probes;
use crate::script::Script;
use crate::transactions::Producer as Transactional;

probes! {
    a_client_is_told_where_its_record_is
    a_client_is_told_that_its_record_is_too_large
    a_client_is_told_that_a_topic_is_unknown
    a_client_is_told_that_a_compacted_topic_wants_keys
    a_client_is_told_that_a_time_stamp_is_out_of_range
    a_client_writes_as_an_idempotent_producer
    a_client_puts_keys_where_java_does
    a_client_compresses_with_each_codec
    a_client_reads_from_each_position
    a_client_out_of_range_goes_where_it_was_told
    a_client_reads_what_is_committed
    a_client_commits_and_goes_on_there
    a_client_is_told_of_a_commit_that_is_refused
    two_clients_share_a_topic
}

/// Only ends a probe that hangs.
const WITHIN: Duration = Duration::from_secs(60);

async fn client(p: &Script<'_>) -> Client {
    Client::connect(&p.cluster.bootstrap()).await.expect("connect")
}

async fn producer(p: &Script<'_>) -> Producer {
    client(p).await.producer().build().await.expect("build a producer")
}

fn fails(p: &Script<'_>, step: &str, error: &Error) {
    let code = error.code().map(|code| code.to_string());
    let about = error.topic_partition().map(TopicPartition::partition);
    p.note(&format!(
        "{step}: {:?}, code {code:?}, partition {about:?}, written {:?}, retriable {}, fatal {}",
        error.kind(),
        error.written(),
        error.is_retriable(),
        error.is_fatal()
    ));
}

fn at(p: &Script<'_>, since_ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(p.base_ms as u64 + since_ms)
}

/// The next records, as the transcript has them.
async fn read(p: &Script<'_>, step: &str, consumer: &mut Consumer, count: usize) {
    let mut read = Vec::new();
    for _ in 0..count {
        let record = tokio::time::timeout(WITHIN, consumer.next()).await.expect("a record in time");
        read.push(match record {
            Ok(Some(record)) => {
                let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                format!("{}@{}:{:?}", record.partition(), record.offset(), text(record.value()).unwrap_or_default())
            }
            Ok(None) => "the end".to_owned(),
            Err(error) => return fails(p, step, &error),
        });
    }
    p.note(&format!("{step}: {}", read.join(" ")));
}

async fn log(p: &Script<'_>, topic: &str) {
    p.ask("log", &mut p.leader(topic, 0).await, 12, &fetch(topic, 0, 0)).await;
}

async fn a_client_is_told_where_its_record_is(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let producer = producer(p).await;
    for value in ["a", "b"] {
        let receipt = producer.send(Record::to(&topic).value(value).timestamp(at(p, 5))).await.expect("a receipt");
        let since = receipt.timestamp.duration_since(at(p, 0)).map(|since| since.as_millis());
        p.note(&format!("{value}: partition {}, offset {:?}, base+{since:?}", receipt.partition, receipt.offset));
    }
    log(p, &topic).await;
}

async fn a_client_is_told_that_its_record_is_too_large(p: &Script<'_>) {
    let topic = p.topic_with("T", 1, &[("max.message.bytes", "1000")]).await;
    let producer = producer(p).await;
    let error = producer.send(Record::to(&topic).value(&"x".repeat(2000))).await.expect_err("it is too large");
    fails(p, "2000 bytes", &error);
    let receipt = producer.send(Record::to(&topic).value("small")).await.expect("a receipt");
    p.note(&format!("the next one: offset {:?}", receipt.offset));
}

async fn a_client_is_told_that_a_topic_is_unknown(p: &Script<'_>) {
    let client = client(p).await;
    let producer = client.producer().max_block(Duration::from_millis(500)).build().await.expect("build");
    for name in [p.name("T").as_str(), "bad name!"] {
        let error = producer.send(Record::to(name).value("a")).await.expect_err("there is no such topic");
        fails(p, "send", &error);
    }
    let topic = p.topic("U", 1).await;
    let error = producer.send(Record::to(&topic).partition(7).value("a")).await.expect_err("no such partition");
    fails(p, "partition 7", &error);
}

async fn a_client_is_told_that_a_compacted_topic_wants_keys(p: &Script<'_>) {
    let topic = p.topic_with("T", 1, &[("cleanup.policy", "compact")]).await;
    let producer = producer(p).await;
    let error = producer.send(Record::to(&topic).value("a")).await.expect_err("it has no key");
    fails(p, "no key", &error);
    let receipt = producer.send(Record::to(&topic).key("k").value("a")).await.expect("a receipt");
    p.note(&format!("with a key: offset {:?}", receipt.offset));
}

async fn a_client_is_told_that_a_time_stamp_is_out_of_range(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let producer = producer(p).await;
    let record = Record::to(&topic).value("a").timestamp(at(p, 3 * 3_600_000));
    fails(p, "in two hours", &producer.send(record).await.expect_err("it is too late"));
}

async fn a_client_writes_as_an_idempotent_producer(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let producer = producer(p).await;
    for value in ["a", "b", "c"] {
        producer.send(Record::to(&topic).value(value).timestamp(at(p, 0))).await.expect("a receipt");
    }
    log(p, &topic).await;
    let builder = client(p).await.producer().idempotence(false);
    let plain = builder.build().await.expect("build");
    plain.send(Record::to(&topic).value("d").timestamp(at(p, 0))).await.expect("a receipt");
    log(p, &topic).await;
}

async fn a_client_puts_keys_where_java_does(p: &Script<'_>) {
    let topic = p.topic("T", 7).await;
    let producer = producer(p).await;
    for key in ["", "a", "21", "foobar", "a-little-bit-long-string", "Ünïcödé"] {
        let receipt = producer.send(Record::to(&topic).key(key).value("v")).await.expect("a receipt");
        p.note(&format!("{key:?}: partition {}", receipt.partition));
    }
}

async fn a_client_compresses_with_each_codec(p: &Script<'_>) {
    for codec in (0..5).filter_map(Compression::from_id).map(Compression::name) {
        let topic = p.topic("T", 1).await;
        let config = milena::Config::from_properties([("compression.type", codec)]).expect("a config");
        let producer = client(p).await.producer().config(config).build().await.expect("build");
        let value = "compresses well ".repeat(10);
        producer.send(Record::to(&topic).value(&value).timestamp(at(p, 0))).await.expect("a receipt");
        log(p, &topic).await;
    }
}

async fn a_client_reads_from_each_position(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    for (value, since) in [("a", 0), ("b", 10), ("c", 20)] {
        let batch = RawBatch::of([value]).at(p.base_ms + since, 0);
        p.cluster.raw_leader(&topic, 0).await.ask(9, &produce(&topic, 0, batch)).await;
    }
    let client = client(p).await;
    for (step, position) in [
        ("beginning", Position::Beginning),
        ("offset 1", Position::Offset(1)),
        ("base+10", Position::Timestamp(at(p, 10))),
        ("base+11", Position::Timestamp(at(p, 11))),
    ] {
        let builder = client.reader().assign([((topic.as_str(), 0), position)]);
        read(p, step, &mut builder.build().await.expect("build"), 1).await;
    }
}

async fn a_client_out_of_range_goes_where_it_was_told(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let batch = RawBatch::of(["a", "b"]).at(p.base_ms, 0);
    p.cluster.raw_leader(&topic, 0).await.ask(9, &produce(&topic, 0, batch)).await;
    let client = client(p).await;
    for (step, reset) in [("earliest", AutoOffsetReset::Earliest), ("none", AutoOffsetReset::None)] {
        let builder = client.reader().auto_offset_reset(reset);
        let builder = builder.assign([((topic.as_str(), 0), Position::Offset(99))]);
        read(p, step, &mut builder.build().await.expect("build"), 1).await;
    }
}

async fn a_client_reads_what_is_committed(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.cluster.raw_leader(&topic, 0).await;
    let mut transactional = Transactional::new(p).await;
    for (sequence, value, committed) in [(0, "aborted", false), (1, "committed", true)] {
        transactional.begin(&topic).await;
        let batch = RawBatch::of([value]).at(p.base_ms, 0);
        let batch = batch.producer(transactional.id, transactional.epoch, sequence).transactional();
        let mut request = produce(&topic, 0, batch);
        request.transactional_id = Some(transactional.name.clone());
        leader.ask(11, &request).await;
        transactional.finish(committed).await;
    }
    let client = client(p).await;
    for (step, level, count) in
        [("all", IsolationLevel::ReadUncommitted, 2), ("committed", IsolationLevel::ReadCommitted, 1)]
    {
        let builder = client.reader().isolation_level(level);
        let builder = builder.assign([((topic.as_str(), 0), Position::Beginning)]);
        read(p, step, &mut builder.build().await.expect("build"), count).await;
    }
}

async fn a_client_commits_and_goes_on_there(p: &Script<'_>) {
    let (topic, group) = (p.topic("T", 1).await, p.name("G"));
    let batch = RawBatch::of(["a", "b", "c"]).at(p.base_ms, 0);
    p.cluster.raw_leader(&topic, 0).await.ask(9, &produce(&topic, 0, batch)).await;
    let client = client(p).await;
    for step in ["at first", "later"] {
        let builder = client.consumer(&group).enable_auto_commit(false).subscribe([topic.as_str()]);
        let mut consumer = builder.build().await.expect("build");
        read(p, step, &mut consumer, 1).await;
        let partition = TopicPartition::new(topic.as_str(), 0);
        let position = consumer.control().position(&partition).expect("it has read");
        consumer.commit(Offsets::at((topic.as_str(), 0), position)).await.expect("commit");
        let committed = consumer.control().committed(&[partition]).await.expect("committed");
        p.note(&format!("committed {committed:?}"));
        consumer.close(WITHIN).await.expect("close");
    }
    let request = crate::offsets::fetch_offsets(&group, &[(&topic, &[0])]);
    p.ask("offsets", &mut p.cluster.raw_coordinator(&group).await, 7, &request).await;
}

async fn a_client_is_told_of_a_commit_that_is_refused(p: &Script<'_>) {
    let (topic, group) = (p.topic("T", 1).await, p.name("G"));
    let client = client(p).await;
    let _member = crate::groups::Member::stable(p, &group).await;
    let builder = client.consumer(&group).enable_auto_commit(false);
    let builder = builder.assign([((topic.as_str(), 0), Position::Beginning)]);
    let consumer = builder.build().await.expect("build");
    let refused = consumer.commit(Offsets::at((topic.as_str(), 0), 0)).await;
    fails(p, "somebody else has the group", &refused.expect_err("it is refused"));
}

async fn two_clients_share_a_topic(p: &Script<'_>) {
    let (topic, group) = (p.topic("T", 4).await, p.name("G"));
    let client = client(p).await;
    let member = async || {
        let builder = client.consumer(&group).subscribe([topic.as_str()]);
        builder.build().await.expect("build")
    };
    let (first, second) = (member().await, member().await);
    let counts = eventually("each to have two partitions", async || {
        let counts = [first.control().assignment().len(), second.control().assignment().len()];
        (counts == [2, 2]).then_some(counts)
    })
    .await;
    p.note(&format!("{counts:?}"));
    second.close(WITHIN).await.expect("close");
    eventually("the other to have all", async || (first.control().assignment().len() == 4).then_some(())).await;
    p.note("and all when the other has left");
}
