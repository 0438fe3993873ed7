//! Seeded faults, and a checker that knows what was lost, written twice, out of order, or told wrongly.

use std::collections::BTreeMap;
use std::time::Duration;

use milena::{ApiKey, Compression, ErrorCode, Record, Result, Written};
use milena_mock_broker::{Fault, FaultHandle};

use crate::trouble::Trouble;
use crate::world::{World, for_each_seed, run};

const KEYS: u64 = 8;
const RECORDS: usize = 150;

/// What became of a record, as far as its sender was told.
struct Sent {
    key: u64,
    verdict: Written,
}

/// Faults of every kind on what the producer does, each now and then.
fn faults(world: &World) -> Vec<FaultHandle> {
    let add = |fault: Fault| world.cluster.fault(fault).optional();
    let sometimes = |api, probability| Fault::on(api).probability(probability);
    vec![
        add(sometimes(ApiKey::PRODUCE, 0.08).apply_then_disconnect()),
        add(sometimes(ApiKey::PRODUCE, 0.05).disconnect()),
        add(sometimes(ApiKey::PRODUCE, 0.08).delay(Duration::from_millis(30))),
        add(sometimes(ApiKey::PRODUCE, 0.05).apply_then_delay(Duration::from_millis(200))),
        add(sometimes(ApiKey::PRODUCE, 0.03).error(ErrorCode::NOT_LEADER_OR_FOLLOWER)),
        add(sometimes(ApiKey::PRODUCE, 0.02).error(ErrorCode::NOT_ENOUGH_REPLICAS)),
        add(sometimes(ApiKey::PRODUCE, 0.02).never_answer()),
        add(sometimes(ApiKey::PRODUCE, 0.03).cut_response_at(17)),
        add(sometimes(ApiKey::METADATA, 0.1).disconnect()),
        add(sometimes(ApiKey::METADATA, 0.1).delay(Duration::from_millis(50))),
        add(sometimes(ApiKey::INIT_PRODUCER_ID, 0.3).error(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS)),
    ]
}

async fn scenario(mut world: World) -> Vec<Sent> {
    let client = world.client().await;
    let codec = if world.random.below(2) == 0 { Compression::None } else { Compression::Zstd };
    // Some runs have so little time that batches expire.
    let patience = [Duration::from_secs(120), Duration::from_millis(31_000)][world.random.below(2) as usize];
    let builder = client.producer().compression(codec).delivery_timeout(patience).linger(Duration::from_millis(2));
    let producer = builder.build().await.unwrap();
    let faults = faults(&world);
    let mut trouble = Trouble::default();
    let mut deliveries = Vec::new();
    for number in 0..RECORDS {
        trouble.next(&mut world);
        let key = world.random.below(KEYS);
        let (name, value) = (format!("key-{key}"), format!("{number}"));
        let enqueued = producer.enqueue(Record::to("orders").key(&name).value(&value)).await;
        deliveries.push((key, enqueued));
        tokio::time::sleep(Duration::from_millis(world.random.below(4))).await;
    }
    trouble.end(&world);
    let mut sent = Vec::new();
    let verdict = |result: Result<_>| result.map_or_else(|error| error.written(), |_| Written::Yes);
    for (key, enqueued) in deliveries {
        let verdict = match enqueued {
            Ok(delivery) => verdict(delivery.await.map(drop)),
            Err(error) => {
                assert_eq!(error.written(), Written::No, "not even enqueued: {error}");
                Written::No
            }
        };
        sent.push(Sent { key, verdict });
    }
    drop(faults);

    // It can go on after all that.
    for partition in 0..6 {
        producer.send(Record::to("orders").partition(partition).value("end")).await.unwrap();
    }
    let report = producer.close(Duration::from_secs(60)).await;
    let count = |verdict| sent.iter().filter(|sent| sent.verdict == verdict).count() as u64;
    assert_eq!(report.acked, count(Written::Yes) + 6);
    assert_eq!((report.not_written, report.maybe_written), (count(Written::No), count(Written::Maybe)));
    check(&world, &sent);
    sent
}

/// The verdicts against the log.
fn check(world: &World, sent: &[Sent]) {
    let mut found: BTreeMap<usize, usize> = BTreeMap::new();
    let mut last_of_key: BTreeMap<u64, usize> = BTreeMap::new();
    for partition in 0..6 {
        let values = world.values(partition);
        assert_eq!(values.last().map(String::as_str), Some("end"), "partition {partition}");
        for value in values.iter().filter(|value| *value != "end") {
            let number: usize = value.parse().unwrap();
            *found.entry(number).or_default() += 1;
            let before = last_of_key.insert(sent[number].key, number);
            assert!(before.is_none_or(|before| before < number), "{number} comes after {before:?}");
        }
    }
    for (number, sent) in sent.iter().enumerate() {
        let times = found.get(&number).copied().unwrap_or(0);
        let true_verdict = match sent.verdict {
            Written::Yes => times == 1,
            Written::No => times == 0,
            Written::Maybe => times <= 1,
        };
        assert!(
            true_verdict,
            "record {number} is in the log {times} times, and its sender was told {:?}",
            sent.verdict
        );
    }
}

#[test]
fn whatever_happens_the_log_is_what_the_senders_were_told() {
    let mut verdicts = [0; 3];
    for_each_seed(200, scenario, |sent| {
        for sent in sent {
            verdicts[sent.verdict as usize] += 1;
        }
    });
    let [no, maybe, yes] = verdicts;
    assert!(yes > 10 * (no + maybe) && maybe > 0, "written {yes}, maybe {maybe}, not {no}: that tests little");
}

/// A broker remembers the last five batches of a producer only. One whose answer is stuck must not be outrun by more than that, or
/// it cannot be recognised when it is sent again.
#[test]
#[allow(clippy::async_yields_async, reason = "the delivery is awaited later, that is what it is for")]
fn a_batch_whose_answer_is_stuck_at_the_old_leader_is_not_written_again_by_the_new_one() {
    run(1, async |world| {
        let producer = world.client().await.producer().linger(Duration::ZERO).build().await.unwrap();
        let send = async |number: u32| {
            let value = number.to_string();
            producer.enqueue(Record::to("orders").partition(0).value(&value)).await.unwrap()
        };
        send(0).await.await.unwrap();
        let partition = world.cluster.partition("orders", 0);
        let leader = partition.leader().unwrap();
        let next = partition.in_sync_replicas().into_iter().find(|broker| *broker != leader).unwrap();

        let on_the_leader = || Fault::on(ApiKey::PRODUCE).broker(leader);
        let stuck = world.cluster.fault(on_the_leader().apply_then_delay(Duration::from_secs(20)));
        let first = send(1).await;
        stuck.hit().await;
        partition.elect(next);
        // The answer is behind the one that is stuck; what tells the producer of the new leader is another partition.
        let elsewhere =
            (1..6).find(|other| world.cluster.partition("orders", *other).leader() != Some(leader)).unwrap();
        let misled = Fault::on(ApiKey::PRODUCE).partition(elsewhere).error(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        let misled = world.cluster.fault(misled);
        producer.send(Record::to("orders").partition(elsewhere).value("elsewhere")).await.unwrap();
        let mut deliveries = vec![first];
        for number in 2..20 {
            deliveries.push(send(number).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        world.cluster.broker(leader).crash(); // before the answer comes
        for delivery in deliveries {
            delivery.await.unwrap();
        }
        assert_eq!(world.values(0), (0..20).map(|number| number.to_string()).collect::<Vec<_>>());
        drop((stuck, misled));
    });
}
