//! InitProducerId without transactions.

use milena_protocol::messages::init_producer_id::InitProducerIdRequest;
use milena_tests::eventually::eventually;
use milena_tests::raw::{RawBatch, RawConnection, produce};

use crate::golden::probes;
use crate::script::Script;

probes! {
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
