//! DeleteRecords, CreatePartitions, IncrementalAlterConfigs.

use milena_protocol::messages::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use milena_protocol::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use milena_protocol::messages::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use milena_protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use milena_protocol::messages::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use milena_protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use milena_tests::eventually::eventually;
use milena_tests::raw::{RawBatch, RawConnection, fetch, produce};

use crate::golden::probes;
use crate::script::Script;

probes! {
    every_version_deletes_records
    deleted_records_cannot_be_read_and_are_not_found_by_time
    records_are_deleted_up_to_the_high_watermark_at_most
    records_of_what_is_not_there_are_not_deleted
    only_the_leader_deletes_records
    records_of_a_compacted_topic_are_not_deleted
    records_of_an_internal_topic_are_not_deleted
    every_version_adds_partitions
    the_number_of_partitions_only_rises
    new_partitions_by_hand_are_like_the_old_ones
    validation_adds_no_partition
    a_topic_named_twice_gets_no_partition
    every_version_alters_a_config
    lists_are_appended_to_and_subtracted_from
    an_alteration_that_makes_no_sense_is_refused
    configs_of_what_does_not_exist_are_not_altered
    a_resource_or_a_config_named_twice_is_not_altered
    validation_alters_nothing
    a_batch_larger_than_a_segment_is_refused
    a_record_in_a_compacted_topic_needs_a_key
    a_fetch_has_the_batches_of_one_segment
}

const DELETE_RECORDS: i16 = 2;
const CREATE_PARTITIONS: i16 = 3;
const ALTER: i16 = 1;
const PRODUCE: i16 = 9;

const TOPIC: i8 = 2;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

fn delete_records(topic: &str, offsets: &[(i32, i64)]) -> DeleteRecordsRequest {
    let partition = |(partition_index, offset): &(i32, i64)| DeleteRecordsPartition {
        partition_index: *partition_index,
        offset: *offset,
    };
    let partitions = offsets.iter().map(partition).collect();
    DeleteRecordsRequest { topics: vec![DeleteRecordsTopic { name: topic.to_owned(), partitions }], timeout_ms: 30_000 }
}

/// Three batches of two records each, and the way to the leader.
async fn six(p: &Script<'_>, configs: &[(&str, &str)]) -> (String, RawConnection) {
    let topic = p.topic_with("T", 1, configs).await;
    let mut leader = p.leader(&topic, 0).await;
    for first in [0, 2, 4] {
        let batch = RawBatch::keyed([("a", Some("1")), ("b", Some("2"))]).at(p.base_ms + first, 1);
        let answer = leader.ask(PRODUCE, &produce(&topic, 0, batch)).await;
        assert!(answer.responses[0].partition_responses[0].error_code.is_none(), "{answer:?}");
    }
    (topic, leader)
}

async fn every_version_deletes_records(p: &Script<'_>) {
    let (topic, mut leader) = six(p, &[]).await;
    p.each_version("delete", &mut leader, 0..=2, |version| delete_records(&topic, &[(0, i64::from(version) + 1)]))
        .await;
}

async fn deleted_records_cannot_be_read_and_are_not_found_by_time(p: &Script<'_>) {
    let (topic, mut leader) = six(p, &[]).await;
    p.ask("in the middle of a batch", &mut leader, DELETE_RECORDS, &delete_records(&topic, &[(0, 3)])).await;
    for offset in [2, 3, 4] {
        p.ask(&format!("from {offset}"), &mut leader, 12, &fetch(&topic, 0, offset)).await;
    }
    for timestamp in [-2, -1, -3, p.base_ms, p.base_ms + 3, p.base_ms + 9] {
        let wanted = ListOffsetsPartition { timestamp, current_leader_epoch: -1, ..Default::default() };
        let topics = vec![ListOffsetsTopic { name: topic.clone(), partitions: vec![wanted] }];
        let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
        let step = format!("at {}", if timestamp < 0 { timestamp } else { timestamp - p.base_ms });
        p.ask(&step, &mut leader, 7, &request).await;
    }
}

async fn records_are_deleted_up_to_the_high_watermark_at_most(p: &Script<'_>) {
    let (topic, mut leader) = six(p, &[]).await;
    for offset in [2, 2, 1, 0, -2, i64::MIN, 7, i64::MAX, 6, -1] {
        p.ask(&format!("up to {offset}"), &mut leader, DELETE_RECORDS, &delete_records(&topic, &[(0, offset)])).await;
    }
    p.ask("what is left", &mut leader, 12, &fetch(&topic, 0, 6)).await;
    let batch = RawBatch::of(["more"]).at(p.base_ms, 0);
    p.ask("a record more", &mut leader, PRODUCE, &produce(&topic, 0, batch)).await;
}

async fn records_of_what_is_not_there_are_not_deleted(p: &Script<'_>) {
    let (topic, mut leader) = six(p, &[]).await;
    let unknown = p.name("U");
    p.ask("a topic", &mut leader, DELETE_RECORDS, &delete_records(&unknown, &[(0, 1)])).await;
    let mut answer = leader.ask(DELETE_RECORDS, &delete_records(&topic, &[(0, 1), (1, 1), (-1, 1)])).await;
    answer.topics[0].partitions.sort_by_key(|partition| partition.partition_index);
    p.show("partitions", &answer);
    p.ask("nothing", &mut leader, DELETE_RECORDS, &DeleteRecordsRequest::default()).await;
    p.ask("no partition", &mut leader, DELETE_RECORDS, &delete_records(&topic, &[])).await;
}

async fn only_the_leader_deletes_records(p: &Script<'_>) {
    let (topic, _) = six(p, &[]).await;
    let other = 1 + p.cluster.leader(&topic, 0).await % 3;
    let mut other = p.cluster.raw(other).await;
    p.ask("a follower", &mut other, DELETE_RECORDS, &delete_records(&topic, &[(0, 1)])).await;
}

async fn records_of_a_compacted_topic_are_not_deleted(p: &Script<'_>) {
    for policy in ["compact", "compact,delete"] {
        let (topic, mut leader) = six(p, &[("cleanup.policy", policy)]).await;
        p.ask(policy, &mut leader, DELETE_RECORDS, &delete_records(&topic, &[(0, 1)])).await;
    }
}

async fn records_of_an_internal_topic_are_not_deleted(p: &Script<'_>) {
    let group = p.name("G");
    let mut coordinator = p.cluster.raw_coordinator(&group).await;
    let request = delete_records("__consumer_offsets", &[(0, 0), (99, 0)]);
    p.ask("offsets", &mut coordinator, DELETE_RECORDS, &request).await;
}

fn create(name: &str, count: i32, by_hand: Option<&[&[i32]]>) -> CreatePartitionsTopic {
    let assignment = |brokers: &&[i32]| CreatePartitionsAssignment { broker_ids: brokers.to_vec() };
    let assignments = by_hand.map(|lists| lists.iter().map(assignment).collect());
    CreatePartitionsTopic { name: name.to_owned(), count, assignments }
}

fn create_partitions(topics: Vec<CreatePartitionsTopic>) -> CreatePartitionsRequest {
    CreatePartitionsRequest { topics, timeout_ms: 30_000, validate_only: false }
}

/// How many partitions the topic has, once the broker knows so many.
async fn until_there_are(p: &Script<'_>, topic: &str, count: usize) {
    let named = MetadataRequestTopic { name: Some(topic.to_owned()), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![named]), ..Default::default() };
    let mut broker = p.cluster.raw(1).await;
    eventually("partitions", async || {
        let answer = broker.ask(9, &request).await;
        (answer.topics[0].partitions.len() == count).then_some(())
    })
    .await;
}

async fn every_version_adds_partitions(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut broker = p.cluster.raw(1).await;
    let request = |version: i16| create_partitions(vec![create(&topic, i32::from(version) + 2, None)]);
    p.each_version("add one", &mut broker, 0..=3, request).await;
    until_there_are(p, &topic, 5).await;
}

async fn the_number_of_partitions_only_rises(p: &Script<'_>) {
    let topic = p.topic("T", 3).await;
    let mut broker = p.cluster.raw(1).await;
    for count in [3, 2, 0, -1, i32::MIN, i32::MAX, 10_004] {
        let request = create_partitions(vec![create(&topic, count, None)]);
        p.ask(&format!("to {count}"), &mut broker, CREATE_PARTITIONS, &request).await;
    }
    let unknown = p.name("U");
    for name in [unknown.as_str(), "", "bad name!"] {
        let request = create_partitions(vec![create(name, 5, None), create(&topic, 3, None)]);
        let mut answer = broker.ask(CREATE_PARTITIONS, &request).await;
        answer.results.sort_by_key(|result| result.name == topic);
        p.show(&format!("of '{name}'").replace(&unknown, "U"), &answer);
    }
    p.ask("of nothing", &mut broker, CREATE_PARTITIONS, &create_partitions(Vec::new())).await;
}

async fn new_partitions_by_hand_are_like_the_old_ones(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut broker = p.cluster.raw(1).await;
    let cases: [(&str, i32, &[&[i32]]); 8] = [
        ("no list", 2, &[]),
        ("too few lists", 3, &[&[1, 2, 3]]),
        ("too many lists", 2, &[&[1, 2, 3], &[1, 2, 3]]),
        ("another replication factor", 2, &[&[1, 2]]),
        ("an empty list", 2, &[&[]]),
        ("a broker twice", 2, &[&[1, 1, 2]]),
        ("an unknown broker", 2, &[&[1, 2, 9]]),
        ("right", 2, &[&[3, 1, 2]]),
    ];
    for (step, count, lists) in cases {
        let request = create_partitions(vec![create(&topic, count, Some(lists))]);
        p.ask(step, &mut broker, CREATE_PARTITIONS, &request).await;
    }
    until_there_are(p, &topic, 2).await;
    p.show("led by", &(p.cluster.leader(&topic, 1).await == 3));
}

async fn validation_adds_no_partition(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut broker = p.cluster.raw(1).await;
    for count in [2, 1] {
        let request =
            CreatePartitionsRequest { validate_only: true, ..create_partitions(vec![create(&topic, count, None)]) };
        p.ask(&format!("to {count}"), &mut broker, CREATE_PARTITIONS, &request).await;
    }
    until_there_are(p, &topic, 1).await;
}

async fn a_topic_named_twice_gets_no_partition(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut broker = p.cluster.raw(1).await;
    let request = create_partitions(vec![create(&topic, 2, None), create(&topic, 3, None)]);
    p.ask("twice", &mut broker, CREATE_PARTITIONS, &request).await;
    until_there_are(p, &topic, 1).await;
}

/// Name, operation, value.
type Change<'a> = (&'a str, i8, Option<&'a str>);

fn resource(resource_type: i8, name: &str, changes: &[Change<'_>]) -> AlterConfigsResource {
    let config = |(name, config_operation, value): &Change<'_>| AlterableConfig {
        name: (*name).to_owned(),
        config_operation: *config_operation,
        value: value.map(str::to_owned),
    };
    let configs = changes.iter().map(config).collect();
    AlterConfigsResource { resource_type, resource_name: name.to_owned(), configs }
}

fn alter(resources: Vec<AlterConfigsResource>) -> IncrementalAlterConfigsRequest {
    IncrementalAlterConfigsRequest { resources, validate_only: false }
}

/// Shows some configs of a topic once one has a value (on a real cluster brokers hear of it from the controller).
async fn show_configs(p: &Script<'_>, topic: &str, until: (&str, &str), names: &[&str]) {
    let resource = DescribeConfigsResource {
        resource_type: TOPIC,
        resource_name: topic.to_owned(),
        configuration_keys: Some(names.iter().map(|name| (*name).to_owned()).collect()),
    };
    let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
    let mut broker = p.cluster.raw(1).await;
    let mut configs = eventually("a config", async || {
        let mut answer = broker.ask(4, &request).await;
        let configs = answer.results.remove(0).configs;
        let has =
            configs.iter().any(|config| (config.name.as_str(), config.value.as_deref()) == (until.0, Some(until.1)));
        has.then_some(configs)
    })
    .await;
    configs.sort_by(|one, other| one.name.cmp(&other.name));
    for config in configs {
        p.show("a config", &config);
    }
}

async fn every_version_alters_a_config(p: &Script<'_>) {
    let topic = p.topic_with("T", 1, &[("retention.ms", "60000"), ("flush.ms", "77")]).await;
    let mut broker = p.cluster.raw(1).await;
    let request = |version: i16| {
        let value = (1000 + version).to_string();
        alter(vec![resource(TOPIC, &topic, &[("max.message.bytes", SET, Some(&value)), ("flush.ms", DELETE, None)])])
    };
    p.each_version("set and delete", &mut broker, 0..=1, request).await;
    show_configs(p, &topic, ("max.message.bytes", "1001"), &["max.message.bytes", "flush.ms", "retention.ms"]).await;
    let request =
        alter(vec![resource(TOPIC, &topic, &[("segment.ms", DELETE, None), ("segment.ms", DELETE, Some("x"))])]);
    p.ask("what was not set, twice", &mut broker, ALTER, &request).await;
    let request = alter(vec![resource(TOPIC, &topic, &[("segment.ms", DELETE, Some("x"))])]);
    p.ask("what was not set", &mut broker, ALTER, &request).await;
    p.ask("nothing of it", &mut broker, ALTER, &alter(vec![resource(TOPIC, &topic, &[])])).await;
    p.ask("nothing", &mut broker, ALTER, &alter(Vec::new())).await;
}

async fn lists_are_appended_to_and_subtracted_from(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut broker = p.cluster.raw(1).await;
    let steps: [(Change<'_>, &str); 5] = [
        (("cleanup.policy", APPEND, Some("compact")), "delete,compact"),
        (("cleanup.policy", APPEND, Some("compact")), "delete,compact"),
        (("cleanup.policy", SUBTRACT, Some("delete")), "compact"),
        (("cleanup.policy", SUBTRACT, Some("delete")), "compact"),
        (("cleanup.policy", SET, Some("delete,compact")), "delete,compact"),
    ];
    for (change, value) in steps {
        p.ask(&format!("{change:?}"), &mut broker, ALTER, &alter(vec![resource(TOPIC, &topic, &[change])])).await;
        show_configs(p, &topic, ("cleanup.policy", value), &["cleanup.policy"]).await;
    }
    let change = ("cleanup.policy", APPEND, Some("nonsense"));
    p.ask("nonsense", &mut broker, ALTER, &alter(vec![resource(TOPIC, &topic, &[change])])).await;
}

async fn an_alteration_that_makes_no_sense_is_refused(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut broker = p.cluster.raw(1).await;
    let changes: [&[Change<'_>]; 11] = [
        &[("no.such", SET, Some("1"))],
        &[("no.such", DELETE, None)],
        &[("", SET, Some("1"))],
        &[("retention.ms", SET, Some("x"))],
        &[("retention.ms", SET, Some(""))],
        &[("retention.ms", SET, Some("-2"))],
        &[("retention.ms", APPEND, Some("1"))],
        &[("retention.ms", SUBTRACT, Some("1"))],
        &[("retention.ms", SET, None)],
        &[("cleanup.policy", APPEND, None)],
        &[("retention.ms", SET, Some("1")), ("segment.ms", SET, Some("x"))],
    ];
    for changes in changes {
        p.ask(&format!("{changes:?}"), &mut broker, ALTER, &alter(vec![resource(TOPIC, &topic, changes)])).await;
    }
}

async fn configs_of_what_does_not_exist_are_not_altered(p: &Script<'_>) {
    let mut broker = p.cluster.raw(1).await;
    let change: &[Change<'_>] = &[("retention.ms", SET, Some("1"))];
    let unknown = p.name("U");
    for name in [unknown.as_str(), "", "a/b"] {
        let step = format!("'{name}'").replace(&unknown, "U");
        p.ask(&step, &mut broker, ALTER, &alter(vec![resource(TOPIC, name, change)])).await;
    }
    p.ask("another kind", &mut broker, ALTER, &alter(vec![resource(77, &unknown, change)])).await;
    p.ask("no kind", &mut broker, ALTER, &alter(vec![resource(0, &unknown, change)])).await;
}

async fn a_resource_or_a_config_named_twice_is_not_altered(p: &Script<'_>) {
    let (topic, other) = (p.topic("T", 1).await, p.topic("O", 1).await);
    let mut broker = p.cluster.raw(1).await;
    let change: &[Change<'_>] = &[("retention.ms", SET, Some("1000"))];
    let resources =
        vec![resource(TOPIC, &topic, change), resource(TOPIC, &other, change), resource(TOPIC, &topic, &[])];
    let mut answer = broker.ask(ALTER, &alter(resources)).await;
    answer.responses.sort_by(|one, other| one.resource_name.cmp(&other.resource_name));
    p.show("a resource", &answer);
    let twice = [("retention.ms", SET, Some("1000")), ("retention.ms", DELETE, None)];
    p.ask("a config", &mut broker, ALTER, &alter(vec![resource(TOPIC, &topic, &twice)])).await;
}

async fn validation_alters_nothing(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut broker = p.cluster.raw(1).await;
    for value in ["1000", "x"] {
        let resources = vec![resource(TOPIC, &topic, &[("retention.ms", SET, Some(value))])];
        let request = IncrementalAlterConfigsRequest { resources, validate_only: true };
        p.ask(value, &mut broker, ALTER, &request).await;
    }
    show_configs(p, &topic, ("retention.ms", "604800000"), &["retention.ms"]).await;
}

async fn a_batch_larger_than_a_segment_is_refused(p: &Script<'_>) {
    let configs = [("segment.bytes", "1048576"), ("max.message.bytes", "3000000")];
    let topic = p.topic_with("T", 1, &configs).await;
    let mut leader = p.leader(&topic, 0).await;
    for bytes in [1_048_576, 1_000_000] {
        let batch = RawBatch::of(["x".repeat(bytes)]).at(p.base_ms, 0);
        p.ask(&format!("{bytes} bytes"), &mut leader, PRODUCE, &produce(&topic, 0, batch)).await;
    }
}

async fn a_record_in_a_compacted_topic_needs_a_key(p: &Script<'_>) {
    let topic = p.topic_with("T", 1, &[("cleanup.policy", "compact,delete")]).await;
    let mut leader = p.leader(&topic, 0).await;
    let batch = RawBatch::of(["a", "b"]).at(p.base_ms, 0);
    p.ask("none has one", &mut leader, PRODUCE, &produce(&topic, 0, batch)).await;
    let batch = RawBatch::keyed([("", None), ("k", Some(""))]).at(p.base_ms, 0);
    p.ask("an empty one will do", &mut leader, PRODUCE, &produce(&topic, 0, batch)).await;
}

async fn a_fetch_has_the_batches_of_one_segment(p: &Script<'_>) {
    let topic = p.topic_with("T", 1, &[("segment.ms", "1000")]).await;
    let mut leader = p.leader(&topic, 0).await;
    for after in [0, 500, 1000, 1001, 2001, 2002] {
        let batch = RawBatch::of(["x"]).at(p.base_ms + after, 0);
        let answer = leader.ask(PRODUCE, &produce(&topic, 0, batch)).await;
        assert!(answer.responses[0].partition_responses[0].error_code.is_none(), "{answer:?}");
    }
    for offset in 0..=6 {
        p.ask(&format!("from {offset}"), &mut leader, 12, &fetch(&topic, 0, offset)).await;
    }
}
