//! What administrators do to topics: more partitions, other configurations, fewer records. Pure.

use milena_protocol::ErrorCode;
use milena_protocol::messages::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use milena_protocol::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsTopic,
};
use milena_protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};

use super::rig::{NONE, Rig, TestBatch};
use crate::core::Ticket;

const DELETE_RECORDS: i16 = 2;

/// Brokers of each new partition.
type ByHand<'a> = Option<&'a [&'a [i32]]>;

/// Name, operation, value.
type Change<'a> = (&'a str, i8, Option<&'a str>);

fn request(topic: &str, partition_index: i32, offset: i64) -> DeleteRecordsRequest {
    let partitions = vec![DeleteRecordsPartition { partition_index, offset }];
    DeleteRecordsRequest { topics: vec![DeleteRecordsTopic { name: topic.to_owned(), partitions }], timeout_ms: 1000 }
}

/// Three records in `t`-0.
fn three() -> Rig {
    let mut rig = Rig::with_topic(&[]);
    rig.produce(-1, TestBatch::new(&["a", "b", "c"]).bytes());
    rig
}

impl Rig {
    fn delete_records(&mut self, offset: i64) -> (ErrorCode, i64) {
        let leader = self.leader();
        let answer = self.ask(leader, DELETE_RECORDS, &request("t", 0, offset));
        let DeleteRecordsPartitionResult { error_code, low_watermark, .. } = answer.topics[0].partitions[0];
        (error_code, low_watermark)
    }

    fn deleted(&mut self, ticket: Ticket) -> Option<(ErrorCode, i64)> {
        let answer = self.answer::<DeleteRecordsRequest>(ticket, DELETE_RECORDS)?;
        let result = &answer.topics[0].partitions[0];
        Some((result.error_code, result.low_watermark))
    }

    fn create_partitions(&mut self, count: i32, by_hand: ByHand<'_>, validate_only: bool) -> ErrorCode {
        let assignment = |brokers: &&[i32]| CreatePartitionsAssignment { broker_ids: brokers.to_vec() };
        let assignments = by_hand.map(|lists| lists.iter().map(assignment).collect());
        let topics = vec![CreatePartitionsTopic { name: "t".to_owned(), count, assignments }];
        let answer = self.ask(2, 3, &CreatePartitionsRequest { topics, timeout_ms: 1000, validate_only });
        answer.results[0].error_code
    }

    fn alter(&mut self, name: &str, changes: &[Change<'_>], validate_only: bool) -> ErrorCode {
        let config = |(name, config_operation, value): &Change<'_>| AlterableConfig {
            name: (*name).to_owned(),
            config_operation: *config_operation,
            value: value.map(str::to_owned),
        };
        let configs = changes.iter().map(config).collect();
        let resources = vec![AlterConfigsResource { resource_type: 2, resource_name: name.to_owned(), configs }];
        let answer = self.ask(3, 1, &IncrementalAlterConfigsRequest { resources, validate_only });
        answer.responses[0].error_code
    }

    fn set(&self) -> Vec<(String, String)> {
        let set = self.core.controller.topic("t").unwrap().configs.set();
        set.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

#[test]
fn deleting_records_moves_the_start_of_the_log() {
    let mut rig = three();
    assert_eq!(rig.delete_records(2), (NONE, 2));
    assert_eq!(rig.values(), ["c"]);
    assert_eq!(rig.delete_records(1), (NONE, 2), "it never moves back");
    assert_eq!(rig.delete_records(-1), (NONE, 3), "all that can be read");
    for offset in [4, -2] {
        assert_eq!(rig.delete_records(offset), (ErrorCode::OFFSET_OUT_OF_RANGE, -1));
    }
    assert_eq!(rig.fetch(2).error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
}

#[test]
fn records_that_may_not_be_deleted_stay() {
    let mut rig = three();
    let leader = rig.leader();
    let code = |rig: &mut Rig, broker, request: &DeleteRecordsRequest| {
        rig.ask(broker, DELETE_RECORDS, request).topics[0].partitions[0].error_code
    };
    assert_eq!(code(&mut rig, 1 + leader % 3, &request("t", 0, 1)), ErrorCode::NOT_LEADER_OR_FOLLOWER);
    for (topic, partition) in [("t", 1), ("x", 0)] {
        assert_eq!(code(&mut rig, leader, &request(topic, partition, 1)), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
    rig.core.ensure_internal_topic(1, "__consumer_offsets").unwrap();
    let internal = request("__consumer_offsets", 0, 0);
    assert_eq!(code(&mut rig, leader, &internal), ErrorCode::INVALID_TOPIC_EXCEPTION);
    assert_eq!(rig.alter("t", &[("cleanup.policy", 0, Some("compact"))], false), NONE);
    assert_eq!(rig.delete_records(1), (ErrorCode::POLICY_VIOLATION, -1));
    assert_eq!(rig.values(), ["a", "b", "c"]);
}

#[test]
fn deleting_records_waits_for_the_replicas_that_are_up() {
    let mut rig = three();
    let (leader, behind) = (rig.leader(), 1 + rig.leader() % 3);
    let id = rig.core.partition_id("t", 0).unwrap();
    // A follower that has not heard of it.
    let until = |rig: &mut Rig| {
        let broker = rig.core.brokers.get_mut(&behind).unwrap();
        broker.replicas.remove(&id).unwrap()
    };
    let mut replica = until(&mut rig);
    let ticket = rig.send(leader, DELETE_RECORDS, &request("t", 0, 2));
    assert_eq!(rig.deleted(ticket), Some((NONE, 2)), "a replica that is not there is not waited for");
    replica.log.truncate(1);
    rig.core.brokers.get_mut(&behind).unwrap().replicas.insert(id, replica);
    let ticket = rig.send(leader, DELETE_RECORDS, &request("t", 0, 2));
    assert_eq!(rig.deleted(ticket), None);
    rig.at(1000);
    assert_eq!(rig.deleted(ticket), Some((ErrorCode::REQUEST_TIMED_OUT, 0)));
    let ticket = rig.send(leader, DELETE_RECORDS, &request("t", 0, 2));
    rig.act(|core, now| {
        core.publish(id);
        core.poll(now);
    });
    assert_eq!(rig.deleted(ticket), Some((NONE, 2)));
}

#[test]
fn partitions_are_added_and_what_is_there_stays() {
    let mut rig = three();
    let topic_id = rig.core.controller.topic("t").unwrap().id;
    assert_eq!(rig.create_partitions(3, None, true), NONE);
    assert_eq!(rig.core.partition_count("t"), Some(1), "validated only");
    assert_eq!(rig.create_partitions(3, None, false), NONE);
    assert_eq!(rig.core.partition_count("t"), Some(3));
    assert_eq!(rig.core.controller.topic("t").unwrap().id, topic_id);
    assert_eq!(rig.core.isr("t", 2).unwrap().len(), 3);
    assert_eq!(rig.values(), ["a", "b", "c"]);
    assert_eq!(rig.create_partitions(4, Some(&[&[2, 1, 3]]), false), NONE);
    assert_eq!(rig.core.leader("t", 3), Some((2, 0)));

    let cases: [(i32, ByHand<'_>, ErrorCode); 7] = [
        (4, None, ErrorCode::INVALID_PARTITIONS),
        (3, None, ErrorCode::INVALID_PARTITIONS),
        (-1, None, ErrorCode::INVALID_PARTITIONS),
        (6, Some(&[&[1, 2, 3]]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (5, Some(&[&[1, 2]]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (5, Some(&[&[1, 2, 9]]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (i32::MAX, None, ErrorCode::POLICY_VIOLATION),
    ];
    for (count, by_hand, code) in cases {
        assert_eq!(rig.create_partitions(count, by_hand, false), code, "{count} {by_hand:?}");
    }
    assert_eq!(rig.core.partition_count("t"), Some(4));
    let topic = |name: &str| CreatePartitionsTopic { name: name.to_owned(), count: 9, assignments: None };
    let topics = vec![topic("x"), topic("t"), topic("t")];
    let answer = rig.ask(1, 3, &CreatePartitionsRequest { topics, timeout_ms: 1000, validate_only: false });
    let codes: Vec<ErrorCode> = answer.results.iter().map(|result| result.error_code).collect();
    assert_eq!(codes, [ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ErrorCode::INVALID_REQUEST]);
}

#[test]
fn configurations_are_set_taken_back_appended_to_and_subtracted_from() {
    const SET: i8 = 0;
    const DELETE: i8 = 1;
    const APPEND: i8 = 2;
    const SUBTRACT: i8 = 3;
    let mut rig = Rig::with_topic(&[("retention.ms", "1000")]);
    assert_eq!(rig.alter("t", &[("max.message.bytes", SET, Some("10"))], true), NONE);
    assert_eq!(rig.set().len(), 1, "validated only");
    let changes = [("max.message.bytes", SET, Some("100")), ("retention.ms", DELETE, None)];
    assert_eq!(rig.alter("t", &changes, false), NONE);
    assert_eq!(rig.set(), [("max.message.bytes".to_owned(), "100".to_owned())]);
    let too_large = rig.produce(-1, TestBatch::new(&["x".repeat(100).as_str()]).bytes());
    assert_eq!(too_large.error_code, ErrorCode::MESSAGE_TOO_LARGE, "it holds at once");
    assert_eq!(rig.alter("t", &[("cleanup.policy", APPEND, Some("compact"))], false), NONE);
    assert_eq!(rig.set()[0].1, "delete,compact");
    assert_eq!(rig.alter("t", &[("cleanup.policy", SUBTRACT, Some("delete"))], false), NONE);
    assert_eq!(rig.set()[0].1, "compact");

    let before = rig.set();
    let (config, request) = (ErrorCode::INVALID_CONFIG, ErrorCode::INVALID_REQUEST);
    let cases: [(&[Change<'_>], ErrorCode); 6] = [
        (&[("no.such", SET, Some("1"))], config),
        (&[("retention.ms", SET, Some("x"))], config),
        (&[("retention.ms", APPEND, Some("1"))], config),
        (&[("retention.ms", SET, None)], request),
        (&[("retention.ms", 9, Some("1"))], request),
        (&[("retention.ms", SET, Some("1")), ("retention.ms", SET, Some("2"))], request),
    ];
    for (changes, code) in cases {
        assert_eq!(rig.alter("t", changes, false), code, "{changes:?}");
    }
    assert_eq!(rig.alter("x", &[("retention.ms", SET, Some("1"))], false), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(rig.alter("a/b", &[], false), ErrorCode::INVALID_TOPIC_EXCEPTION);
    assert_eq!(rig.set(), before);
    let resource = |resource_type, name: &str| AlterConfigsResource {
        resource_type,
        resource_name: name.to_owned(),
        configs: Vec::new(),
    };
    let resources = vec![resource(2, "t"), resource(2, "t"), resource(4, "1"), resource(9, "")];
    let answer = rig.ask(1, 0, &IncrementalAlterConfigsRequest { resources, validate_only: false });
    assert!(answer.responses.iter().all(|response| response.error_code == request), "{answer:?}");
}
