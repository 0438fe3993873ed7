//! What is answered while a broker does not answer: one is frozen for a moment, then another is dead. These probes have the
//! cluster to themselves, and share the outage.

use milena_protocol::ErrorCode;
use milena_protocol::messages::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use milena_protocol::messages::create_topics::{CreatableReplicaAssignment, CreatableTopic, CreateTopicsRequest};
use milena_protocol::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use milena_protocol::messages::describe_cluster::DescribeClusterRequest;
use milena_protocol::messages::elect_leaders::{ElectLeadersRequest, TopicPartitions};
use milena_protocol::messages::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use milena_protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use milena_protocol::messages::produce::ProduceRequest;
use milena_tests::cluster::TestCluster;
use milena_tests::eventually::eventually;
use milena_tests::raw::{Coordinated, RawBatch, RawProducer, fetch, produce};

use crate::golden::Probe;
use crate::script::Script;

const DEAD: i32 = 3;
const FROZEN: i32 = 2;
const PRODUCE: i16 = 9;
const FETCH: i16 = 12;

macro_rules! list {
    ($($probe:ident)*) => {
        &[$(Probe { name: stringify!($probe), run: |script| Box::pin($probe(script)) }),*]
    };
}

/// They freeze a broker, and let it go on.
pub const FROZEN_PROBES: &[Probe] = list! {
    a_write_that_not_all_have_in_time_is_timed_out
    a_new_leader_tells_no_end_before_it_knows_what_is_committed
};

/// They lose broker 3 while nobody knows yet that it is gone.
pub const LOSING_PROBES: &[Probe] = list! {
    a_transaction_whose_coordinator_is_gone_is_to_be_tried_again
};

/// They find broker 3 dead.
pub const DEAD_PROBES: &[Probe] = list! {
    a_dead_broker_is_not_listed
    another_replica_leads_and_the_dead_one_is_offline
    a_partition_whose_replicas_are_all_dead_has_no_leader
    nobody_answers_for_a_partition_without_a_leader
    too_few_replicas_in_sync_take_no_write_that_wants_all
    a_new_topic_needs_enough_brokers_of_which_one_lives
    an_election_needs_a_live_replica
    partitions_can_be_added_while_a_broker_is_dead
    a_topic_of_a_dead_broker_can_be_deleted
};

/// A topic's name, its brokers, its settings.
type Row = (&'static str, &'static [i32], &'static [(&'static str, &'static str)]);

/// Topics that are there before the broker dies, under these names in every transcript.
const TOPICS: &[Row] = &[
    ("led", &[1, 2, 3], &[]),
    ("moved", &[3, 1, 2], &[]),
    ("alone", &[3], &[]),
    ("strict", &[1, 2, 3], &[("min.insync.replicas", "3")]),
    ("doomed", &[3, 2], &[]),
];

/// Lets the frozen broker go on.
pub async fn thaw(cluster: &TestCluster) {
    cluster.thaw(FROZEN).await;
}

/// Makes the topics, each with a record.
pub async fn begin(cluster: &TestCluster) -> Vec<(&'static str, String)> {
    let mut topics = Vec::new();
    for (label, brokers, configs) in TOPICS {
        let topic = cluster.topic_on(label, brokers, configs).await;
        let answer = cluster.raw_leader(&topic, 0).await.ask(PRODUCE, &produce(&topic, 0, RawBatch::of(["a"]))).await;
        assert!(answer.responses[0].partition_responses[0].error_code.is_none(), "{answer:?}");
        topics.push((*label, topic));
    }
    topics
}

/// Kills the broker, and returns when the others know.
pub async fn kill(cluster: &TestCluster, topics: &[(&'static str, String)]) {
    cluster.crash(DEAD).await;
    for broker in [1, 2] {
        let mut broker = cluster.raw(broker).await;
        eventually("the others to know that a broker is dead", async || {
            let answer = broker.ask(FETCH, &MetadataRequest { topics: Some(vec![]), ..Default::default() }).await;
            (answer.brokers.len() == 2).then_some(())
        })
        .await;
    }
    // The leaders themselves hear of it last.
    let (_, strict) = topics.iter().find(|(label, _)| *label == "strict").expect("it is one of them");
    cluster.raw_leader(strict, 0).await.until_it_lacks_replicas(strict).await;
}

/// Starts the broker again, and returns when all is as before.
pub async fn end(cluster: &TestCluster, topics: &[(&'static str, String)]) {
    cluster.restart(DEAD).await;
    for (label, topic) in topics.iter().filter(|(label, _)| *label != "doomed") {
        let brokers = TOPICS.iter().find(|row| row.0 == *label).map_or(0, |row| row.1.len());
        cluster.until_known("all replicas in sync", topic, |known| known.isr_nodes.len() == brokers).await;
    }
}

async fn a_write_that_not_all_have_in_time_is_timed_out(p: &Script<'_>) {
    let topic = p.topic_on("T", &[1, FROZEN]).await;
    let mut leader = p.leader(&topic, 0).await;
    p.cluster.freeze(FROZEN).await;
    let write =
        |acks| ProduceRequest { acks, timeout_ms: 300, ..produce(&topic, 0, RawBatch::of(["a"]).at(p.base_ms, 0)) };
    p.ask("acks=-1", &mut leader, PRODUCE, &write(-1)).await;
    p.ask("acks=1", &mut leader, PRODUCE, &write(1)).await;
    p.ask("not committed", &mut leader, FETCH, &fetch(&topic, 0, 0)).await;
    for replica_id in [-1, -2] {
        let request = ListOffsetsRequest { replica_id, ..latest(&topic) };
        p.ask(&format!("the end for replica {replica_id}"), &mut leader, 9, &request).await;
    }
    p.cluster.thaw(FROZEN).await;
    let patient = ProduceRequest { timeout_ms: 60_000, ..write(-1) };
    p.ask("thawed", &mut leader, PRODUCE, &patient).await;
    p.ask("committed", &mut leader, FETCH, &fetch(&topic, 0, 0)).await;
}

async fn a_new_leader_tells_no_end_before_it_knows_what_is_committed(p: &Script<'_>) {
    let topic = p.cluster.topic_on("T", &[1, DEAD, FROZEN], &[("min.insync.replicas", "3")]).await;
    p.call(&topic, "T");
    let mut leader = p.cluster.raw(1).await;
    let write = |acks| ProduceRequest { acks, ..produce(&topic, 0, RawBatch::of(["a"]).at(p.base_ms, 0)) };
    assert_eq!(leader.ask(PRODUCE, &write(-1)).await.code(), ErrorCode::NONE);
    p.cluster.freeze(FROZEN).await;
    assert_eq!(leader.ask(PRODUCE, &write(1)).await.code(), ErrorCode::NONE);
    let mut next = p.cluster.raw(DEAD).await;
    let everything = ListOffsetsRequest { replica_id: -2, ..latest(&topic) };
    eventually("the next leader to have both", async || {
        (next.ask(9, &everything).await.topics[0].partitions[0].offset == 2).then_some(())
    })
    .await;
    p.cluster.elect(&topic, 0, DEAD).await;
    let first = position(&topic, -2);
    eventually("the next leader to lead", async || {
        next.ask(9, &first).await.topics[0].partitions[0].error_code.is_none().then_some(())
    })
    .await;
    for (step, timestamp) in [("the end", -1), ("the beginning", -2)] {
        p.each_version(step, &mut next, 1..=11, |_| position(&topic, timestamp)).await;
    }
    p.cluster.thaw(FROZEN).await;
    eventually("the end", async || {
        next.ask(9, &latest(&topic)).await.topics[0].partitions[0].error_code.is_none().then_some(())
    })
    .await;
    p.ask("thawed", &mut next, 9, &latest(&topic)).await;
    p.cluster.until_known("all replicas in sync", &topic, |known| known.isr_nodes.len() == 3).await;
}

/// A name whose coordinator is this broker, or is not.
async fn named_by(p: &Script<'_>, label: &str, coordinator: impl AsyncFn(&str) -> i32, is_dead: bool) -> String {
    loop {
        let name = p.cluster.unique(label);
        if (coordinator(&name).await == DEAD) == is_dead {
            p.call(&name, label);
            return name;
        }
    }
}

async fn a_transaction_whose_coordinator_is_gone_is_to_be_tried_again(p: &Script<'_>) {
    let topic = p.topic_on("T", &[1]).await;
    let id = named_by(p, "P", async |name| p.cluster.transaction_coordinator(name).await, true).await;
    let group = named_by(p, "G", async |name| p.cluster.coordinator(name).await, false).await;
    let mut producer = RawProducer::start(p.cluster, &id).await;
    let (mut leader, mut groups) = (p.cluster.raw(1).await, p.cluster.raw_coordinator(&group).await);
    // Kafka misses it when its session is over, the mock cluster at once if it crashes.
    match p.cluster.is_real() {
        true => p.cluster.crash(DEAD).await,
        false => p.cluster.freeze(DEAD).await,
    }
    for version in [11, 12] {
        p.ask(&format!("Produce {version}"), &mut leader, version, &producer.write(&topic, 0, &["a"])).await;
    }
    for version in [3, 5] {
        let request = producer.commit_offset(&group, &topic, 0, 1);
        p.ask(&format!("TxnOffsetCommit {version}"), &mut groups, version, &request).await;
    }
}

fn latest(topic: &str) -> ListOffsetsRequest {
    position(topic, -1)
}

fn position(topic: &str, timestamp: i64) -> ListOffsetsRequest {
    let partition = ListOffsetsPartition { partition_index: 0, timestamp, ..Default::default() };
    let topics = vec![ListOffsetsTopic { name: topic.to_owned(), partitions: vec![partition] }];
    ListOffsetsRequest { replica_id: -1, topics, ..Default::default() }
}

fn named(topic: &str) -> MetadataRequest {
    let topic = MetadataRequestTopic { name: Some(topic.to_owned()), ..Default::default() };
    MetadataRequest { topics: Some(vec![topic]), allow_auto_topic_creation: false, ..Default::default() }
}

async fn a_dead_broker_is_not_listed(p: &Script<'_>) {
    let mut broker = p.cluster.raw(1).await;
    let answer = broker.ask(12, &MetadataRequest { topics: Some(vec![]), ..Default::default() }).await;
    p.note(&format!("{} brokers", answer.brokers.len()));
    for include_fenced_brokers in [false, true] {
        let request = DescribeClusterRequest { include_fenced_brokers, ..Default::default() };
        let mut answer = broker.ask(2, &request).await;
        answer.brokers.sort_by_key(|broker| broker.broker_id);
        p.show(&format!("with fenced ones: {include_fenced_brokers}"), &answer.brokers);
    }
}

async fn another_replica_leads_and_the_dead_one_is_offline(p: &Script<'_>) {
    let mut broker = p.cluster.raw(1).await;
    for label in ["led", "moved"] {
        for version in [0, 4, 5, 7, 12] {
            let answer = broker.ask(version, &named(&p.known(label))).await;
            p.show(&format!("{label} v{version}"), &answer.topics);
        }
    }
}

async fn a_partition_whose_replicas_are_all_dead_has_no_leader(p: &Script<'_>) {
    let mut broker = p.cluster.raw(1).await;
    for version in [0, 1, 5, 8, 12] {
        let answer = broker.ask(version, &named(&p.known("alone"))).await;
        p.show(&format!("v{version}"), &answer.topics);
    }
}

async fn nobody_answers_for_a_partition_without_a_leader(p: &Script<'_>) {
    let mut broker = p.cluster.raw(1).await;
    let topic = p.known("alone");
    for version in [9, 10] {
        let request = produce(&topic, 0, RawBatch::of(["a"]));
        p.ask(&format!("produce v{version}"), &mut broker, version, &request).await;
    }
    p.ask("fetch", &mut broker, FETCH, &fetch(&topic, 0, 0)).await;
    p.ask("list offsets", &mut broker, 9, &latest(&topic)).await;
    let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset: 1 }];
    let topics = vec![DeleteRecordsTopic { name: topic, partitions }];
    p.ask("delete records", &mut broker, 2, &DeleteRecordsRequest { topics, timeout_ms: 5000 }).await;
}

async fn too_few_replicas_in_sync_take_no_write_that_wants_all(p: &Script<'_>) {
    let topic = p.known("strict");
    let mut leader = p.leader(&topic, 0).await;
    for acks in [-1, 1, 0] {
        let request = ProduceRequest { acks, ..produce(&topic, 0, RawBatch::of(["a"])) };
        if acks == 0 {
            let _no_answer = leader.send(PRODUCE, &request).await;
        } else {
            p.ask(&format!("acks={acks}"), &mut leader, PRODUCE, &request).await;
        }
    }
    p.ask("v12", &mut leader, 12, &produce(&topic, 0, RawBatch::of(["a"]))).await;
    // Whatever the others have: it is not committed.
    let answer = leader.ask(FETCH, &fetch(&topic, 0, 0)).await;
    p.show("high watermark", &answer.responses[0].partitions[0].high_watermark);
}

async fn a_new_topic_needs_enough_brokers_of_which_one_lives(p: &Script<'_>) {
    let mut broker = p.cluster.raw(1).await;
    let by_hand = |brokers: &[i32]| CreatableTopic {
        name: p.name("T"),
        num_partitions: -1,
        replication_factor: -1,
        assignments: vec![CreatableReplicaAssignment { partition_index: 0, broker_ids: brokers.to_vec() }],
        ..Default::default()
    };
    let of = |replication_factor| CreatableTopic {
        name: p.name("T"),
        num_partitions: 1,
        replication_factor,
        ..Default::default()
    };
    for (step, topic) in [
        ("three replicas", of(3)),
        ("the default", of(-1)),
        ("the dead one alone", by_hand(&[DEAD])),
        ("the dead one first", by_hand(&[DEAD, 1])),
    ] {
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 20_000, validate_only: false };
        let mut answer = broker.ask(7, &request).await;
        answer.topics[0].configs.iter_mut().for_each(Vec::clear);
        p.show(step, &answer);
        if !answer.topics[0].error_code.is_none() {
            continue;
        }
        let request = named(&answer.topics[0].name);
        let answer = eventually("the topic to be known", async || {
            let answer = broker.ask(12, &request).await;
            answer.topics[0].error_code.is_none().then_some(answer)
        });
        let partition = &answer.await.topics[0].partitions[0];
        p.note(&format!("in sync: {}, offline: {}", partition.isr_nodes.len(), partition.offline_replicas.len()));
    }
}

async fn an_election_needs_a_live_replica(p: &Script<'_>) {
    let mut broker = p.cluster.raw(1).await;
    for (election, label) in [(0, "led"), (0, "moved"), (0, "alone"), (1, "led"), (1, "moved"), (1, "alone")] {
        let partitions = TopicPartitions { topic: p.known(label), partitions: vec![0] };
        let request =
            ElectLeadersRequest { election_type: election, topic_partitions: Some(vec![partitions]), timeout_ms: 5000 };
        p.ask(&format!("type {election}, {label}"), &mut broker, 2, &request).await;
    }
}

async fn partitions_can_be_added_while_a_broker_is_dead(p: &Script<'_>) {
    let mut broker = p.cluster.raw(1).await;
    let topics = vec![CreatePartitionsTopic { name: p.known("led"), count: 2, assignments: None }];
    let request = CreatePartitionsRequest { topics, timeout_ms: 5000, validate_only: true };
    p.ask("three replicas each", &mut broker, 3, &request).await;
}

async fn a_topic_of_a_dead_broker_can_be_deleted(p: &Script<'_>) {
    let topic = p.known("doomed");
    p.delete_topic(&topic).await;
    let answer = p.cluster.raw(1).await.ask(12, &named(&topic)).await;
    p.show("deleted", &answer.topics);
}
