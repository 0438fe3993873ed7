//! ListOffsets and OffsetForLeaderEpoch: positions by time, by special number, by leader epoch.

use milena_protocol::messages::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use milena_protocol::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use milena_tests::raw::{RawBatch, RawConnection, produce};

use crate::golden::probes;
use crate::script::Script;

probes! {
    every_version_finds_the_ends
    special_positions_need_their_version
    an_empty_log_has_only_its_ends
    a_time_finds_the_first_record_that_is_not_older
    the_first_record_in_offset_order_counts_for_a_time
    the_greatest_time_stamp_is_found_where_it_comes_first
    the_leader_epoch_is_that_of_the_record
    an_unknown_topic_or_partition_has_no_offsets
    only_the_leader_lists_offsets
    a_wrong_leader_epoch_lists_nothing
    a_partition_listed_twice_is_refused
    an_isolation_level_is_obeyed
    no_topics_are_an_empty_answer_to_list_offsets
    a_replica_id_of_a_client_lists_offsets
    an_epoch_ends_where_the_next_begins
    an_epoch_that_never_was_ends_with_the_one_before
    an_epoch_is_asked_of_the_leader
    an_epoch_is_asked_with_the_right_current_epoch
    an_empty_log_has_no_epochs
}

const LIST: i16 = 9;
const EPOCH: i16 = 4;

fn list(topic: &str, partition: i32, timestamps: &[i64]) -> ListOffsetsRequest {
    let at = |timestamp: &i64| ListOffsetsPartition {
        partition_index: partition,
        timestamp: *timestamp,
        ..Default::default()
    };
    let topic = ListOffsetsTopic { name: topic.to_owned(), partitions: timestamps.iter().map(at).collect() };
    ListOffsetsRequest { replica_id: -1, topics: vec![topic], timeout_ms: 10_000, ..Default::default() }
}

async fn filled(p: &Script<'_>, batches: &[(&[&str], i64, i64)]) -> (String, RawConnection) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    for (values, first, step) in batches {
        write(p, &mut leader, &topic, values, *first, *step).await;
    }
    (topic, leader)
}

async fn write(p: &Script<'_>, leader: &mut RawConnection, topic: &str, values: &[&str], first: i64, step: i64) {
    let answer = leader.ask(9, &produce(topic, 0, RawBatch::of(values).at(p.base_ms + first, step))).await;
    assert!(answer.responses[0].partition_responses[0].error_code.is_none());
}

async fn every_version_finds_the_ends(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[(&["a", "b"], 0, 1)]).await;
    p.each_version("latest", &mut leader, 1..=11, |_| list(&topic, 0, &[-1])).await;
    p.each_version("earliest", &mut leader, 1..=11, |_| list(&topic, 0, &[-2])).await;
}

async fn special_positions_need_their_version(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[(&["a", "b"], 0, 1)]).await;
    for special in [-3, -4, -5, -6, -7, i64::MIN] {
        p.each_version(&special.to_string(), &mut leader, 6..=11, |_| list(&topic, 0, &[special])).await;
    }
}

async fn an_empty_log_has_only_its_ends(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[]).await;
    for at in [-1, -2, -3, -4, -5, 0, p.base_ms] {
        p.ask(&format!("{}", at.min(1)), &mut leader, LIST, &list(&topic, 0, &[at])).await;
    }
}

async fn a_time_finds_the_first_record_that_is_not_older(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[(&["a", "b", "c"], 10, 10), (&["d"], 50, 0)]).await;
    for since in [0, 10, 11, 20, 30, 31, 50, 51] {
        p.ask(&format!("base+{since}"), &mut leader, LIST, &list(&topic, 0, &[p.base_ms + since])).await;
    }
    p.ask("the epoch of Unix", &mut leader, LIST, &list(&topic, 0, &[0])).await;
    p.ask("the end of time", &mut leader, LIST, &list(&topic, 0, &[i64::MAX])).await;
    p.ask("v1", &mut leader, 1, &list(&topic, 0, &[p.base_ms + 20])).await;
}

async fn the_first_record_in_offset_order_counts_for_a_time(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[(&["a", "b"], 100, -60), (&["c"], 20, 0), (&["d", "e"], 90, 30)]).await;
    for since in [20, 40, 41, 90, 101, 120] {
        p.ask(&format!("base+{since}"), &mut leader, LIST, &list(&topic, 0, &[p.base_ms + since])).await;
    }
}

async fn the_greatest_time_stamp_is_found_where_it_comes_first(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[(&["a", "b", "c"], 10, 0), (&["d", "e"], 30, -10), (&["f"], 30, 0)]).await;
    p.ask("greatest", &mut leader, LIST, &list(&topic, 0, &[-3])).await;
    write(p, &mut leader, &topic, &["g", "h"], 20, 20).await;
    p.ask("in the middle", &mut leader, LIST, &list(&topic, 0, &[-3])).await;
}

async fn the_leader_epoch_is_that_of_the_record(p: &Script<'_>) {
    let (topic, leader) = filled(p, &[(&["a"], 10, 0)]).await;
    drop(leader);
    p.cluster.move_leader(&topic, 0).await;
    let mut leader = p.leader(&topic, 0).await;
    write(p, &mut leader, &topic, &["b"], 20, 0).await;
    for at in [-1, -2, -3, -4] {
        p.ask(&at.to_string(), &mut leader, LIST, &list(&topic, 0, &[at])).await;
    }
    for since in [10, 20] {
        p.ask(&format!("base+{since}"), &mut leader, LIST, &list(&topic, 0, &[p.base_ms + since])).await;
    }
}

async fn an_unknown_topic_or_partition_has_no_offsets(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[]).await;
    p.ask("topic", &mut leader, LIST, &list("no-such-topic", 0, &[-1])).await;
    p.ask("partition 7", &mut leader, LIST, &list(&topic, 7, &[-1])).await;
    p.ask("partition -1", &mut leader, LIST, &list(&topic, -1, &[-2])).await;
    p.ask("no name", &mut leader, LIST, &list("", 0, &[-1])).await;
}

async fn only_the_leader_lists_offsets(p: &Script<'_>) {
    let (topic, leader) = filled(p, &[(&["a"], 0, 0)]).await;
    drop(leader);
    let mut follower = p.cluster.raw(p.cluster.leader(&topic, 0).await % 3 + 1).await;
    for at in [-1, -2, -3, 0] {
        p.ask(&at.to_string(), &mut follower, LIST, &list(&topic, 0, &[at])).await;
    }
    let debugging = ListOffsetsRequest { replica_id: -2, ..list(&topic, 0, &[-2]) };
    p.ask("a debugging client", &mut follower, LIST, &debugging).await;
}

async fn a_wrong_leader_epoch_lists_nothing(p: &Script<'_>) {
    let (topic, leader) = filled(p, &[(&["a"], 0, 0)]).await;
    drop(leader);
    p.cluster.move_leader(&topic, 0).await;
    let mut leader = p.leader(&topic, 0).await;
    for epoch in [0, 1, 2] {
        let mut request = list(&topic, 0, &[-2]);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        p.ask(&format!("epoch {epoch}"), &mut leader, LIST, &request).await;
    }
}

async fn a_partition_listed_twice_is_refused(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[(&["a"], 0, 0)]).await;
    p.ask("both ends", &mut leader, LIST, &list(&topic, 0, &[-1, -2])).await;
    let mut request = list(&topic, 0, &[-1]);
    request.topics.push(list(&topic, 0, &[-2]).topics.remove(0));
    p.ask("as two topics", &mut leader, LIST, &request).await;
}

async fn an_isolation_level_is_obeyed(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[(&["a"], 0, 0)]).await;
    for isolation_level in [0, 1, 2] {
        let request = ListOffsetsRequest { isolation_level, ..list(&topic, 0, &[-1]) };
        p.try_ask(&format!("level {isolation_level}"), &mut leader, LIST, &request).await;
    }
}

async fn no_topics_are_an_empty_answer_to_list_offsets(p: &Script<'_>) {
    let mut broker = p.cluster.raw(1).await;
    p.ask("none", &mut broker, LIST, &ListOffsetsRequest { topics: vec![], ..list("", 0, &[]) }).await;
}

async fn a_replica_id_of_a_client_lists_offsets(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[(&["a"], 0, 0)]).await;
    for replica_id in [-2, -3, 77] {
        let request = ListOffsetsRequest { replica_id, ..list(&topic, 0, &[-1]) };
        p.try_ask(&format!("replica {replica_id}"), &mut leader, LIST, &request).await;
    }
}

fn epoch(topic: &str, partition: i32, leader_epoch: i32) -> OffsetForLeaderEpochRequest {
    let partition = OffsetForLeaderPartition { partition, leader_epoch, ..Default::default() };
    let topics = vec![OffsetForLeaderTopic { topic: topic.to_owned(), partitions: vec![partition] }];
    OffsetForLeaderEpochRequest { replica_id: -1, topics }
}

async fn an_epoch_ends_where_the_next_begins(p: &Script<'_>) {
    let (topic, leader) = filled(p, &[(&["a", "b"], 0, 0)]).await;
    drop(leader);
    p.cluster.move_leader(&topic, 0).await;
    let mut leader = p.leader(&topic, 0).await;
    write(p, &mut leader, &topic, &["c"], 0, 0).await;
    for version in 2..=4 {
        for asked in [0, 1, 2, -1, -2, i32::MAX] {
            p.ask(&format!("v{version} epoch {asked}"), &mut leader, version, &epoch(&topic, 0, asked)).await;
        }
    }
}

async fn an_epoch_that_never_was_ends_with_the_one_before(p: &Script<'_>) {
    let (topic, leader) = filled(p, &[(&["a", "b"], 0, 0)]).await;
    drop(leader);
    for _ in 0..2 {
        p.cluster.move_leader(&topic, 0).await;
    }
    let mut leader = p.leader(&topic, 0).await;
    for asked in 0..=3 {
        p.ask(&format!("epoch {asked}, nothing written since 0"), &mut leader, EPOCH, &epoch(&topic, 0, asked)).await;
    }
    write(p, &mut leader, &topic, &["c"], 0, 0).await;
    for asked in 0..=3 {
        p.ask(&format!("epoch {asked}"), &mut leader, EPOCH, &epoch(&topic, 0, asked)).await;
    }
}

async fn an_epoch_is_asked_of_the_leader(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[(&["a"], 0, 0)]).await;
    p.ask("unknown topic", &mut leader, EPOCH, &epoch("no-such-topic", 0, 0)).await;
    p.ask("unknown partition", &mut leader, EPOCH, &epoch(&topic, 5, 0)).await;
    p.ask("no topics", &mut leader, EPOCH, &OffsetForLeaderEpochRequest { topics: vec![], ..epoch("", 0, 0) }).await;
    let mut follower = p.cluster.raw(p.cluster.leader(&topic, 0).await % 3 + 1).await;
    p.ask("a follower", &mut follower, EPOCH, &epoch(&topic, 0, 0)).await;
}

async fn an_epoch_is_asked_with_the_right_current_epoch(p: &Script<'_>) {
    let (topic, leader) = filled(p, &[(&["a"], 0, 0)]).await;
    drop(leader);
    p.cluster.move_leader(&topic, 0).await;
    let mut leader = p.leader(&topic, 0).await;
    for current in [-1, 0, 1, 2] {
        let mut request = epoch(&topic, 0, 0);
        request.topics[0].partitions[0].current_leader_epoch = current;
        p.ask(&format!("current {current}"), &mut leader, EPOCH, &request).await;
    }
}

async fn an_empty_log_has_no_epochs(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[]).await;
    for asked in [0, 1] {
        p.ask(&format!("epoch {asked}"), &mut leader, EPOCH, &epoch(&topic, 0, asked)).await;
    }
}
