//! All that a test can do to a cluster, in one run: the same seed and script give the same trace.

use std::collections::BTreeSet;
use std::time::Duration;

use milena::{ApiKey, CommitPolicy, ErrorCode, Record};
use milena_mock_broker::{Direction, Fault, FaultHandle};
use milena_protocol::api::Request;
use milena_protocol::frame::{decode_response, encode_request};
use milena_protocol::messages::init_producer_id::InitProducerIdRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::members::{GROUP, Log, Manner, Member};
use crate::world::{World, run};

const RECORDS: usize = 400;
const MILLISECOND: Duration = Duration::from_millis(1);

/// A rule of each kind, by what it matches and by what it does. Each must fire.
fn rules(world: &World, victim: i32) -> Vec<FaultHandle> {
    let on = |nth| Fault::on(ApiKey::PRODUCE).topic("orders").nth(nth);
    let rules = [
        on(2).error(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        on(3).partition(2).error(ErrorCode::NOT_ENOUGH_REPLICAS),
        on(4).record_error(ErrorCode::INVALID_RECORD, [0]),
        on(5).apply_then_error(ErrorCode::REQUEST_TIMED_OUT),
        on(2).broker(victim).times(2).delay(40 * MILLISECOND),
        on(7).apply_then_delay(150 * MILLISECOND),
        on(8).disconnect(),
        on(9).apply_then_disconnect(),
        on(10).never_answer(),
        Fault::on(ApiKey::PRODUCE).nth(20).cut_request_at(60),
        on(11).cut_response_at(17),
        on(12).trickle(400),
        on(13).flip_bit(40),
        on(14).wrong_correlation_id(),
        on(15).throttle(70 * MILLISECOND),
        Fault::connections().broker(2).during(100 * MILLISECOND..Duration::from_secs(600)).times(2).refuse(),
        Fault::on(ApiKey::FETCH).partition(1).probability(0.2).error(ErrorCode::KAFKA_STORAGE_ERROR),
        Fault::on(ApiKey::HEARTBEAT).group(GROUP).nth(2).error(ErrorCode::REBALANCE_IN_PROGRESS),
        Fault::on(ApiKey::OFFSET_COMMIT).group(GROUP).nth(2).always().delay(MILLISECOND),
        Fault::on(ApiKey::METADATA).client_id("milena").nth(3).error(ErrorCode::LEADER_NOT_AVAILABLE),
        Fault::on(ApiKey::INIT_PRODUCER_ID).transactional_id("t").error(ErrorCode::CONCURRENT_TRANSACTIONS),
    ];
    rules.map(|rule| world.cluster.fault(rule)).into()
}

/// What is done to the cluster before this record is sent; brokers suffer one at a time.
fn act(world: &World, victim: i32, number: usize) {
    let broker = |turn| world.cluster.broker(1 + (victim + turn) % 3);
    let partition = world.cluster.partition("orders", victim);
    let follower = || partition.replicas().into_iter().find(|id| Some(*id) != partition.leader()).expect("a follower");
    match number {
        40 => broker(0).crash(),
        80 => broker(0).restart(),
        100 => broker(1).freeze(),
        120 => broker(1).thaw(),
        140 => partition.hold_replica(follower()),
        170 => (1..=3).filter(|id| Some(*id) != partition.leader()).for_each(|id| partition.release_replica(id)),
        190 => broker(2).cut(Direction::ToBroker),
        210 => broker(2).mend(Direction::ToBroker),
        220 => broker(2).cut(Direction::ToClient),
        240 => broker(2).mend(Direction::ToClient),
        250 => broker(1).isolate(),
        270 => broker(1).rejoin(),
        280 => {
            let in_sync = partition.in_sync_replicas();
            partition.elect(*in_sync.last().expect("a leader at least"));
        }
        290 => world.cluster.group(GROUP).rebalance(),
        _ => {}
    }
}

/// A request of a client that is no more than this.
async fn ask<R: Request>(world: &World, broker: i32, version: i16, request: &R) -> R::Response {
    let broker = world.cluster.broker(broker);
    let mut pipe = world.cluster.pipe(broker.host(), broker.port()).await.expect("a connection");
    let frame = encode_request(version, 1, "raw", request).expect("a request").concat();
    pipe.write_all(&frame).await.expect("it is read");
    let mut frame = vec![0; pipe.read_u32().await.expect("an answer") as usize];
    pipe.read_exact(&mut frame).await.expect("all of it");
    decode_response::<R>(version, frame.into()).expect("an answer that can be read")
}

/// Gives the hash of all that went over the wire, and its text.
async fn scenario(mut world: World) -> (u64, String) {
    let victim = 1 + world.random.below(3) as i32;
    let faults = rules(&world, victim);
    let init = InitProducerIdRequest {
        transactional_id: Some("t".to_owned()),
        transaction_timeout_ms: 1000,
        ..Default::default()
    };
    assert_eq!(ask(&world, 1, 5, &init).await.error_code, ErrorCode::CONCURRENT_TRANSACTIONS);

    let log = Log::new(&world);
    let client = world.client().await;
    let producer = client.producer().linger(Duration::ZERO).build().await.unwrap();
    let mut members = Vec::new();
    for number in 0..2 {
        members.push(
            Member::join(
                &mut world,
                &log,
                number,
                Manner::new(CommitPolicy::Returned, "cooperative-sticky", 5 * MILLISECOND),
            )
            .await,
        );
    }
    for number in 0..RECORDS {
        act(&world, victim, number);
        let (partition, value) = (world.random.below(6) as i32, number.to_string());
        let record = Record::to("orders").partition(partition).value(&value);
        producer.enqueue(record).await.unwrap().detach();
        tokio::time::sleep(Duration::from_millis(world.random.below(20))).await;
    }
    // One record was refused.
    assert!(producer.flush().await.is_err());
    for fault in &faults {
        fault.hit().await;
    }
    for member in members {
        member.close().await;
    }
    log.check_so_far();
    producer.close(Duration::from_secs(5)).await;
    client.close(Duration::from_secs(5)).await;
    let journal = world.cluster.journal();
    (journal.trace_hash(), journal.to_string())
}

#[test]
fn one_seed_and_one_script_give_one_trace() {
    let mut hashes = BTreeSet::new();
    for seed in 0..6 {
        let (first, again) = (run(seed, scenario), run(seed, scenario));
        if first.0 != again.0 {
            let differs = first.1.lines().zip(again.1.lines()).enumerate().find(|(_, (first, again))| first != again);
            panic!("seed {seed}, run twice: {} and {}; the first lines that differ: {differs:#?}", first.0, again.0);
        }
        assert!(hashes.insert(first.0), "seed {seed} gives the run of another one");
    }
}
