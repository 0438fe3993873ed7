//! Fetch: offsets, limits, waiting, epochs, topic ids.

use std::time::Duration;

use bytes::Bytes;
use milena_protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic, ReplicaState};
use milena_protocol::primitives::Uuid;
use milena_tests::raw::{RawBatch, RawConnection, fetch, produce};

use crate::golden::probes;
use crate::script::Script;

probes! {
    every_version_reads_a_record
    an_offset_out_of_range_is_refused
    at_the_end_there_is_nothing
    an_unknown_topic_or_partition_is_refused
    an_unknown_topic_id_is_refused
    a_follower_serves_what_is_committed
    a_wrong_leader_epoch_is_refused
    the_last_fetched_epoch_is_compared
    the_first_batch_comes_whole_whatever_the_limit
    limits_end_behind_a_batch
    a_batch_comes_whole_for_an_offset_within_it
    a_fetch_waits_for_the_minimum
    a_fetch_that_waits_is_woken_by_a_record
    a_fetch_that_waits_is_told_of_a_new_leader
    a_fetch_that_waits_is_told_that_its_topic_is_gone
    a_broker_without_a_replica_says_who_leads
    a_reader_with_an_old_epoch_is_told_the_leader
    an_offset_out_of_range_does_not_wait
    an_unknown_partition_lets_the_others_wait
    only_a_committed_reader_is_told_of_aborted_transactions
    the_empty_request_is_answered
    a_partition_named_twice
    a_client_that_says_it_is_a_replica
    another_broker_is_preferred_by_rack
    an_unknown_isolation_level_is_refused
    a_negative_limit
    a_partition_that_fails_does_not_hold_up_the_others
}

const FETCH: i16 = 12;

/// A topic with one batch of each list of values.
async fn filled(p: &Script<'_>, batches: &[&[&str]]) -> (String, RawConnection) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    for values in batches {
        let answer = leader.ask(9, &produce(&topic, 0, RawBatch::of(*values).at(p.base_ms, 1))).await;
        assert!(answer.responses[0].partition_responses[0].error_code.is_none());
    }
    (topic, leader)
}

async fn every_version_reads_a_record(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[&["a"], &["b"]]).await;
    let topic_id = p.cluster.topic_id(&topic).await;
    p.each_version("all", &mut leader, 4..=18, |_| {
        let mut request = fetch(&topic, 0, 0);
        request.topics[0].topic_id = topic_id;
        request
    })
    .await;
}

async fn an_offset_out_of_range_is_refused(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[&["a", "b"]]).await;
    for offset in [3, i64::MAX, -1, -2] {
        p.ask(&format!("offset {offset}"), &mut leader, FETCH, &fetch(&topic, 0, offset)).await;
    }
    p.ask("v4", &mut leader, 4, &fetch(&topic, 0, 7)).await;
}

async fn at_the_end_there_is_nothing(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[&["a", "b"]]).await;
    p.ask("end", &mut leader, FETCH, &fetch(&topic, 0, 2)).await;
    let empty = p.topic("empty", 1).await;
    let mut leader = p.leader(&empty, 0).await;
    p.ask("empty", &mut leader, FETCH, &fetch(&empty, 0, 0)).await;
    p.ask("empty, offset 1", &mut leader, FETCH, &fetch(&empty, 0, 1)).await;
}

async fn an_unknown_topic_or_partition_is_refused(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[&["a"]]).await;
    p.ask("topic", &mut leader, FETCH, &fetch("no-such-topic", 0, 0)).await;
    p.ask("partition 5", &mut leader, FETCH, &fetch(&topic, 5, 0)).await;
    p.ask("partition -1", &mut leader, FETCH, &fetch(&topic, -1, 0)).await;
    p.ask("no name", &mut leader, 4, &fetch("", 0, 0)).await;
}

async fn an_unknown_topic_id_is_refused(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[&["a"]]).await;
    let with_id = |partition, topic_id| {
        let mut request = fetch("", partition, 0);
        request.topics[0].topic_id = topic_id;
        request
    };
    p.ask("unknown", &mut leader, 13, &with_id(0, Uuid([7; 16]))).await;
    p.ask("zero", &mut leader, 13, &with_id(0, Uuid::ZERO)).await;
    p.ask("unknown partition", &mut leader, 17, &with_id(4, p.cluster.topic_id(&topic).await)).await;
}

async fn a_follower_serves_what_is_committed(p: &Script<'_>) {
    let (topic, leader) = filled(p, &[&["a"]]).await;
    drop(leader);
    let id = p.cluster.topic_id(&topic).await;
    let mut follower = p.cluster.raw(p.cluster.leader(&topic, 0).await % 3 + 1).await;
    for version in [4, 8, 10] {
        p.ask(&format!("v{version}"), &mut follower, version, &fetch(&topic, 0, 0)).await;
    }
    // The high watermark comes to a follower with its next fetch from the leader.
    let waiting = FetchRequest { max_wait_ms: 20_000, min_bytes: 1, ..fetch(&topic, 0, 0) };
    for version in [11, 12, 16] {
        let mut request = waiting.clone();
        request.topics[0].topic_id = id;
        p.ask(&format!("v{version}"), &mut follower, version, &request).await;
    }
    p.ask("out of range", &mut follower, 12, &fetch(&topic, 0, 9)).await;
}

async fn a_wrong_leader_epoch_is_refused(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[&["a"]]).await;
    p.cluster.move_leader(&topic, 0).await;
    drop(leader);
    leader = p.leader(&topic, 0).await;
    for epoch in [-1, 0, 1, 2, -2] {
        let mut request = fetch(&topic, 0, 0);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        p.ask(&format!("epoch {epoch}"), &mut leader, FETCH, &request).await;
        if epoch == 0 {
            p.ask("v11", &mut leader, 11, &request).await;
        }
    }
}

async fn the_last_fetched_epoch_is_compared(p: &Script<'_>) {
    let (topic, leader) = filled(p, &[&["a"], &["b"]]).await;
    p.cluster.move_leader(&topic, 0).await;
    drop(leader);
    let mut leader = p.leader(&topic, 0).await;
    leader.ask(9, &produce(&topic, 0, RawBatch::of(["c"]).at(p.base_ms, 0))).await;
    for (offset, epoch) in [(2, 0), (1, 0), (3, 0), (3, 1), (3, 2), (0, 0), (2, 5)] {
        let mut request = fetch(&topic, 0, offset);
        request.topics[0].partitions[0].last_fetched_epoch = epoch;
        p.ask(&format!("offset {offset} behind epoch {epoch}"), &mut leader, FETCH, &request).await;
    }
}

async fn the_first_batch_comes_whole_whatever_the_limit(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[&["a", "b"], &["c"]]).await;
    for (step, max_bytes, partition_max_bytes) in
        [("request", 1, 1000), ("partition", 1000, 1), ("both", 1, 1), ("zero", 0, 0)]
    {
        let mut request = FetchRequest { max_bytes, ..fetch(&topic, 0, 0) };
        request.topics[0].partitions[0].partition_max_bytes = partition_max_bytes;
        p.ask(step, &mut leader, FETCH, &request).await;
    }
}

async fn limits_end_behind_a_batch(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[&["a"], &["b"], &["c"]]).await;
    let size = RawBatch::of(["a"]).at(p.base_ms, 1).encode().len() as i32;
    for (step, limit) in [("two", 2 * size), ("two and a half", 2 * size + size / 2), ("all but a byte", 3 * size - 1)]
    {
        let mut request = fetch(&topic, 0, 0);
        request.topics[0].partitions[0].partition_max_bytes = limit;
        p.ask(&format!("partition, {step}"), &mut leader, FETCH, &request).await;
        p.ask(
            &format!("request, {step}"),
            &mut leader,
            FETCH,
            &FetchRequest { max_bytes: limit, ..fetch(&topic, 0, 0) },
        )
        .await;
    }
}

async fn a_batch_comes_whole_for_an_offset_within_it(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[&["a", "b", "c"], &["d"]]).await;
    for offset in [1, 2, 3] {
        p.ask(&format!("offset {offset}"), &mut leader, FETCH, &fetch(&topic, 0, offset)).await;
    }
}

async fn a_fetch_waits_for_the_minimum(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[&["a"]]).await;
    let waiting = FetchRequest { max_wait_ms: 300, min_bytes: 10_000, ..fetch(&topic, 0, 0) };
    let sent = leader.send(FETCH, &waiting).await;
    let early = leader.try_answer(sent, Duration::from_millis(100)).await;
    p.note(&format!("after 100 ms: {:?}", early.map(|_| ())));
    let mut other = p.cluster.raw_leader(&topic, 0).await;
    p.ask("in the end", &mut other, FETCH, &waiting).await;
    p.ask("no minimum", &mut other, FETCH, &FetchRequest { max_wait_ms: 20_000, ..fetch(&topic, 0, 1) }).await;
}

async fn a_fetch_that_waits_is_woken_by_a_record(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[]).await;
    let waiting = FetchRequest { max_wait_ms: 60_000, min_bytes: 1, ..fetch(&topic, 0, 0) };
    let sent = leader.send(FETCH, &waiting).await;
    let mut producer = p.cluster.raw_leader(&topic, 0).await;
    producer.ask(9, &produce(&topic, 0, RawBatch::of(["a"]).at(p.base_ms, 0))).await;
    p.answer("woken", &mut leader, sent).await;
}

async fn a_fetch_that_waits_is_told_of_a_new_leader(p: &Script<'_>) {
    // Who may read from followers, and names no epoch, goes on waiting.
    for (version, epoch, max_wait_ms) in [(10, -1, 60_000), (12, -1, 1000), (12, 0, 60_000)] {
        let (topic, mut leader) = filled(p, &[]).await;
        let mut waiting = FetchRequest { max_wait_ms, min_bytes: 1, ..fetch(&topic, 0, 0) };
        waiting.topics[0].partitions[0].current_leader_epoch = epoch;
        let sent = leader.send(version, &waiting).await;
        let early = leader.frame(Duration::from_millis(100)).await.map(|_| ());
        p.note(&format!("after 100 ms: {early:?}"));
        p.cluster.move_leader(&topic, 0).await;
        let answer = leader.answer(sent).await;
        p.show(&format!("v{version} epoch {epoch}"), &answer.responses[0].partitions[0].error_code);
    }
}

async fn a_fetch_that_waits_is_told_that_its_topic_is_gone(p: &Script<'_>) {
    for version in [12, 13] {
        let (topic, mut leader) = filled(p, &[]).await;
        let mut waiting = FetchRequest { max_wait_ms: 60_000, min_bytes: 1, ..fetch(&topic, 0, 0) };
        waiting.topics[0].topic_id = p.cluster.topic_id(&topic).await;
        let sent = leader.send(version, &waiting).await;
        let early = leader.frame(Duration::from_millis(100)).await.map(|_| ());
        p.note(&format!("after 100 ms: {early:?}"));
        p.delete_topic(&topic).await;
        p.answer(&format!("gone, v{version}"), &mut leader, sent).await;
    }
}

async fn a_broker_without_a_replica_says_who_leads(p: &Script<'_>) {
    let topic = p.topic_on("T", &[1]).await;
    drop(p.leader(&topic, 0).await);
    let topic_id = p.cluster.topic_id(&topic).await;
    let mut other = p.cluster.raw(2).await;
    for version in [11, 12, 15, 16] {
        let mut request = fetch(&topic, 0, 0);
        request.topics[0].topic_id = topic_id;
        p.ask(&format!("v{version}"), &mut other, version, &request).await;
    }
}

async fn a_reader_with_an_old_epoch_is_told_the_leader(p: &Script<'_>) {
    let (topic, leader) = filled(p, &[&["a"]]).await;
    drop(leader);
    p.cluster.move_leader(&topic, 0).await;
    let mut leader = p.leader(&topic, 0).await;
    let mut request = fetch(&topic, 0, 0);
    request.topics[0].topic_id = p.cluster.topic_id(&topic).await;
    for epoch in [0, 9] {
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        for version in [12, 16] {
            let mut answer = leader.ask(version, &request).await;
            answer.node_endpoints.iter_mut().for_each(|endpoint| endpoint.rack = None);
            p.show(&format!("v{version} epoch {epoch}"), &answer);
        }
    }
}

async fn an_offset_out_of_range_does_not_wait(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[]).await;
    let patient = |offset| FetchRequest { max_wait_ms: 60_000, min_bytes: 1, ..fetch(&topic, 0, offset) };
    p.ask("out of range", &mut leader, FETCH, &patient(9)).await;
    let mut stale = patient(0);
    stale.topics[0].partitions[0].current_leader_epoch = 9;
    p.ask("unknown epoch", &mut leader, FETCH, &stale).await;
}

async fn an_unknown_partition_lets_the_others_wait(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[]).await;
    let mut request = FetchRequest { max_wait_ms: 30_000, min_bytes: 1, ..fetch(&topic, 0, 0) };
    request.topics[0].partitions.push(FetchPartition { partition: 5, ..Default::default() });
    let sent = leader.send(FETCH, &request).await;
    let mut producer = p.cluster.raw_leader(&topic, 0).await;
    let early = leader.frame(Duration::from_millis(100)).await.map(|_| ());
    p.note(&format!("after 100 ms: {early:?}"));
    producer.ask(9, &produce(&topic, 0, RawBatch::of(["a"]).at(p.base_ms, 0))).await;
    let mut answer = leader.answer(sent).await;
    answer.responses.iter_mut().for_each(|topic| topic.partitions.sort_by_key(|data| data.partition_index));
    p.show("woken", &answer);
    let alone = FetchRequest { max_wait_ms: 60_000, ..fetch(&topic, 5, 0) };
    p.ask("alone", &mut leader, FETCH, &alone).await;
}

async fn only_a_committed_reader_is_told_of_aborted_transactions(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[&["a"]]).await;
    for version in [4, 12] {
        for isolation_level in [0, 1] {
            let request = FetchRequest { isolation_level, ..fetch(&topic, 0, 0) };
            p.ask(&format!("v{version} level {isolation_level}"), &mut leader, version, &request).await;
        }
    }
    let request = FetchRequest { isolation_level: 1, ..fetch(&topic, 0, 9) };
    p.ask("out of range, level 1", &mut leader, FETCH, &request).await;
}

async fn the_empty_request_is_answered(p: &Script<'_>) {
    let mut broker = p.cluster.raw(1).await;
    for version in [4, 12, 18] {
        p.ask(&format!("v{version}"), &mut broker, version, &FetchRequest::default()).await;
    }
}

async fn a_partition_named_twice(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[&["a"], &["b"]]).await;
    let mut request = fetch(&topic, 0, 0);
    let again = FetchPartition { fetch_offset: 1, ..request.topics[0].partitions[0].clone() };
    request.topics[0].partitions.push(again);
    p.ask("within a topic", &mut leader, FETCH, &request).await;
    let mut request = fetch(&topic, 0, 0);
    request.topics.push(fetch(&topic, 0, 1).topics.remove(0));
    p.ask("as two topics", &mut leader, FETCH, &request).await;
}

async fn a_client_that_says_it_is_a_replica(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[&["a"]]).await;
    let id = p.cluster.topic_id(&topic).await;
    for replica in [77, -2, -3] {
        let request = FetchRequest { replica_id: replica, ..fetch(&topic, 0, 0) };
        p.try_ask(&format!("replica {replica}"), &mut leader, FETCH, &request).await;
    }
    let mut request = fetch(&topic, 0, 0);
    request.topics[0].topic_id = id;
    request.replica_state = ReplicaState { replica_id: 77, replica_epoch: 1 };
    p.try_ask("v15", &mut leader, 15, &request).await;
}

async fn another_broker_is_preferred_by_rack(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[&["a"]]).await;
    let leads = p.cluster.leader(&topic, 0).await;
    // Until the followers have said that they have the record, the leader knows nobody to prefer.
    let racks = [("none", String::new()), ("its own", format!("r{leads}")), ("unknown", "r9".to_owned())];
    for (step, rack_id) in racks {
        p.ask(step, &mut leader, FETCH, &FetchRequest { rack_id, ..fetch(&topic, 0, 0) }).await;
    }
    let rack_id = format!("r{}", leads % 3 + 1);
    p.ask("a follower's", &mut leader, FETCH, &FetchRequest { rack_id: rack_id.clone(), ..fetch(&topic, 0, 0) }).await;
    p.ask("before version 11", &mut leader, 10, &FetchRequest { rack_id, ..fetch(&topic, 0, 0) }).await;
}

async fn an_unknown_isolation_level_is_refused(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[&["a"]]).await;
    p.try_ask("level 2", &mut leader, FETCH, &FetchRequest { isolation_level: 2, ..fetch(&topic, 0, 0) }).await;
}

async fn a_negative_limit(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[&["a"], &["b"]]).await;
    let mut request = fetch(&topic, 0, 0);
    request.topics[0].partitions[0].partition_max_bytes = -1;
    p.try_ask("partition", &mut leader, FETCH, &request).await;
    p.try_ask("wait", &mut leader, FETCH, &FetchRequest { max_wait_ms: -5, min_bytes: 1, ..fetch(&topic, 0, 2) }).await;
    p.try_ask("minimum", &mut leader, FETCH, &FetchRequest { min_bytes: -5, ..fetch(&topic, 0, 2) }).await;
}

async fn a_partition_that_fails_does_not_hold_up_the_others(p: &Script<'_>) {
    let (topic, mut leader) = filled(p, &[&["a"]]).await;
    let mut request = fetch(&topic, 0, 0);
    let unknown = FetchTopic { topic: "no-such-topic".to_owned(), ..request.topics[0].clone() };
    request.topics.insert(0, unknown);
    let mut answer = leader.ask(FETCH, &request).await;
    answer.responses.sort_by_key(|topic| topic.topic == "no-such-topic");
    p.show("one of two", &answer);
    let nothing = leader.ask(9, &produce(&topic, 0, Bytes::new())).await;
    p.show("the connection goes on", &nothing.responses[0].partition_responses[0].error_code);
}
