//! Idempotent producers: InitProducerId without transactions, sequence numbers, epochs.

use milena_protocol::messages::init_producer_id::InitProducerIdRequest;
use milena_tests::eventually::eventually;
use milena_tests::raw::{RawBatch, RawConnection, fetch, produce};

use bytes::Bytes;

use crate::golden::probes;
use crate::produce::{FETCH, PRODUCE, good, log, send};
use crate::script::Script;

probes! {
    a_repeated_batch_is_answered_with_its_offset
    a_batch_older_than_the_last_five_is_out_of_order
    a_gap_in_the_sequence_is_out_of_order
    an_unknown_producer_may_start_anywhere
    a_higher_epoch_starts_at_sequence_0
    a_lower_epoch_is_refused
    a_new_leader_knows_the_producers
    sequence_numbers_wrap_to_0
    a_batch_that_only_begins_like_an_earlier_one_is_out_of_order
    a_producer_id_needs_an_epoch_and_a_sequence
    every_version_gives_a_producer_id
    every_producer_id_is_another_one
    an_id_of_its_own_is_not_looked_at_without_a_transactional_id
    a_time_out_does_not_matter_without_a_transactional_id
    an_empty_transactional_id_is_refused
    a_given_producer_writes_with_its_id
}

const INIT: i16 = 4;

fn init() -> InitProducerIdRequest {
    InitProducerIdRequest { transactional_id: None, transaction_timeout_ms: 60_000, ..Default::default() }
}

/// A broker that has ids to give: its first ones it has to get from the controller.
async fn ready(p: &Script<'_>, id: i32) -> RawConnection {
    let mut broker = p.cluster.raw(id).await;
    eventually("a broker to give producer ids", async || {
        broker.ask(INIT, &init()).await.error_code.is_none().then_some(())
    })
    .await;
    broker
}

async fn every_version_gives_a_producer_id(p: &Script<'_>) {
    let mut broker = ready(p, 1).await;
    for version in 0..=5 {
        p.ask(&format!("v{version}"), &mut broker, version, &init()).await;
    }
}

async fn every_producer_id_is_another_one(p: &Script<'_>) {
    let mut ids = Vec::new();
    for broker in [1, 2, 3, 1, 2, 3] {
        ids.push(ready(p, broker).await.ask(INIT, &init()).await.producer_id);
    }
    ids.sort_unstable();
    ids.dedup();
    p.note(&format!("of 6 requests to 3 brokers: {} ids", ids.len()));
}

async fn an_id_of_its_own_is_not_looked_at_without_a_transactional_id(p: &Script<'_>) {
    let mut broker = ready(p, 1).await;
    for (producer_id, producer_epoch) in [(4711, 3), (4711, -1), (-1, 3), (-1, -1), (-2, -2)] {
        let request = InitProducerIdRequest { producer_id, producer_epoch, ..init() };
        p.try_ask(&format!("{producer_id}/{producer_epoch}"), &mut broker, INIT, &request).await;
    }
}

async fn a_time_out_does_not_matter_without_a_transactional_id(p: &Script<'_>) {
    let mut broker = ready(p, 1).await;
    for transaction_timeout_ms in [0, -1, i32::MAX] {
        let request = InitProducerIdRequest { transaction_timeout_ms, ..init() };
        p.ask(&format!("{transaction_timeout_ms} ms"), &mut broker, INIT, &request).await;
    }
}

async fn an_empty_transactional_id_is_refused(p: &Script<'_>) {
    let mut broker = p.cluster.raw_transaction_coordinator("").await;
    for version in [0, 5] {
        let request = InitProducerIdRequest { transactional_id: Some(String::new()), ..init() };
        p.ask(&format!("v{version}"), &mut broker, version, &request).await;
    }
}

async fn a_given_producer_writes_with_its_id(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    let given = ready(p, 1).await.ask(INIT, &init()).await;
    let batch = |epoch, sequence| {
        let batch = RawBatch::of(["a"]).at(p.base_ms, 0).producer(given.producer_id, epoch, sequence);
        produce(&topic, 0, batch)
    };
    p.ask("the first", &mut leader, 9, &batch(given.producer_epoch, 0)).await;
    p.ask("an epoch of its own choice", &mut leader, 9, &batch(7, 0)).await;
    p.ask("back", &mut leader, 9, &batch(given.producer_epoch, 1)).await;
}

/// A batch of one record of a producer.
fn stamped(p: &Script<'_>, value: &str, id: i64, epoch: i16, sequence: i32) -> Bytes {
    good(p, &[value]).producer(id, epoch, sequence).encode()
}

async fn a_repeated_batch_is_answered_with_its_offset(p: &Script<'_>) {
    let topic = p.topic_with("T", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let mut leader = p.leader(&topic, 0).await;
    for sequence in [0, 1, 2, 1, 0, 2] {
        send(p, &format!("sequence {sequence}"), &mut leader, &topic, stamped(p, "a", 1000, 0, sequence)).await;
    }
    log(p, &mut leader, &topic).await;
}

async fn a_batch_older_than_the_last_five_is_out_of_order(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    for sequence in (0..7).chain([1, 2, 6, 0]) {
        send(p, &format!("sequence {sequence}"), &mut leader, &topic, stamped(p, "a", 1000, 0, sequence)).await;
    }
}

async fn a_gap_in_the_sequence_is_out_of_order(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    for sequence in [0, 2, 1] {
        send(p, &format!("sequence {sequence}"), &mut leader, &topic, stamped(p, "a", 1000, 0, sequence)).await;
    }
    p.ask("v7", &mut leader, 7, &produce(&topic, 0, stamped(p, "a", 1000, 0, 9))).await;
    log(p, &mut leader, &topic).await;
}

async fn an_unknown_producer_may_start_anywhere(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    send(p, "sequence 17", &mut leader, &topic, stamped(p, "a", 1000, 0, 17)).await;
    send(p, "sequence 18", &mut leader, &topic, stamped(p, "b", 1000, 0, 18)).await;
    send(p, "another, epoch 4", &mut leader, &topic, stamped(p, "c", 1001, 4, 5)).await;
    log(p, &mut leader, &topic).await;
}

async fn a_higher_epoch_starts_at_sequence_0(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    for (epoch, sequence) in [(0, 0), (1, 1), (1, 0), (1, 1), (5, 0)] {
        let step = format!("epoch {epoch}, sequence {sequence}");
        send(p, &step, &mut leader, &topic, stamped(p, "a", 1000, epoch, sequence)).await;
    }
}

async fn a_lower_epoch_is_refused(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    for (epoch, sequence) in [(3, 0), (2, 1), (2, 0), (3, 1)] {
        let step = format!("epoch {epoch}, sequence {sequence}");
        send(p, &step, &mut leader, &topic, stamped(p, "a", 1000, epoch, sequence)).await;
    }
    p.ask("v12", &mut leader, 12, &produce(&topic, 0, stamped(p, "a", 1000, 1, 0))).await;
}

async fn a_new_leader_knows_the_producers(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    for sequence in 0..7 {
        leader.ask(PRODUCE, &produce(&topic, 0, stamped(p, "a", 1000, 3, sequence))).await;
    }
    p.cluster.move_leader(&topic, 0).await;
    let mut leader = p.leader(&topic, 0).await;
    for (epoch, sequence) in [(3, 6), (3, 2), (3, 1), (3, 9), (2, 0), (3, 7)] {
        let step = format!("epoch {epoch}, sequence {sequence}");
        send(p, &step, &mut leader, &topic, stamped(p, "a", 1000, epoch, sequence)).await;
    }
    p.ask("the last of the log", &mut leader, FETCH, &fetch(&topic, 0, 6)).await;
}

async fn sequence_numbers_wrap_to_0(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    for sequence in [i32::MAX - 1, i32::MAX, 0, 1, i32::MAX] {
        send(p, &format!("sequence {sequence}"), &mut leader, &topic, stamped(p, "a", 1000, 0, sequence)).await;
    }
    let across = good(p, &["a", "b", "c"]).producer(1001, 0, i32::MAX - 1).encode();
    send(p, "three across", &mut leader, &topic, across).await;
    send(p, "the next", &mut leader, &topic, stamped(p, "a", 1001, 0, 1)).await;
}

async fn a_batch_that_only_begins_like_an_earlier_one_is_out_of_order(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    send(p, "0 to 1", &mut leader, &topic, good(p, &["a", "b"]).producer(1000, 0, 0).encode()).await;
    send(p, "0", &mut leader, &topic, good(p, &["a"]).producer(1000, 0, 0).encode()).await;
    send(p, "0 to 2", &mut leader, &topic, good(p, &["a", "b", "c"]).producer(1000, 0, 0).encode()).await;
    send(p, "1", &mut leader, &topic, good(p, &["b"]).producer(1000, 0, 1).encode()).await;
    send(p, "0 to 1, other values", &mut leader, &topic, good(p, &["x", "y"]).producer(1000, 0, 0).encode()).await;
    log(p, &mut leader, &topic).await;
}

async fn a_producer_id_needs_an_epoch_and_a_sequence(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut leader = p.leader(&topic, 0).await;
    for (id, epoch, sequence) in [(1000, -1, 0), (1001, 0, -1), (-1, 0, 0), (-2, -1, -1), (1002, 0, -5)] {
        let step = format!("{id}/{epoch}/{sequence}");
        send(p, &step, &mut leader, &topic, stamped(p, "a", id, epoch, sequence)).await;
    }
    log(p, &mut leader, &topic).await;
}
