//! Readers among seeded faults: every record of the log once, in order, also across a commit and a new consumer.

use std::time::Duration;

use milena::{ApiKey, Client, Consumer, ErrorCode, Position, Producer, Record};
use milena_mock_broker::{Fault, FaultHandle};

use crate::trouble::Trouble;
use crate::world::{World, dropped_after, for_each_seed};

const RECORDS: usize = 150;
const PARTITIONS: i32 = 6;

/// Faults on what readers do, each now and then.
fn faults(world: &World) -> Vec<FaultHandle> {
    let sometimes = |api, probability| Fault::on(api).probability(probability);
    let faults = [
        sometimes(ApiKey::FETCH, 0.05).disconnect(),
        sometimes(ApiKey::FETCH, 0.05).apply_then_disconnect(),
        sometimes(ApiKey::FETCH, 0.05).delay(Duration::from_millis(30)),
        sometimes(ApiKey::FETCH, 0.03).cut_response_at(40),
        sometimes(ApiKey::FETCH, 0.03).error(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        sometimes(ApiKey::FETCH, 0.03).error(ErrorCode::FETCH_SESSION_ID_NOT_FOUND),
        sometimes(ApiKey::FETCH, 0.02).error(ErrorCode::FENCED_LEADER_EPOCH),
        sometimes(ApiKey::FETCH, 0.01).never_answer(),
        sometimes(ApiKey::LIST_OFFSETS, 0.2).error(ErrorCode::LEADER_NOT_AVAILABLE),
        sometimes(ApiKey::LIST_OFFSETS, 0.2).disconnect(),
        sometimes(ApiKey::OFFSET_FETCH, 0.2).error(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
        sometimes(ApiKey::OFFSET_FETCH, 0.1).disconnect(),
        sometimes(ApiKey::OFFSET_COMMIT, 0.2).error(ErrorCode::NOT_COORDINATOR),
        sometimes(ApiKey::OFFSET_COMMIT, 0.2).apply_then_disconnect(),
        sometimes(ApiKey::FIND_COORDINATOR, 0.2).error(ErrorCode::COORDINATOR_NOT_AVAILABLE),
        sometimes(ApiKey::METADATA, 0.1).disconnect(),
    ];
    faults.into_iter().map(|fault| world.cluster.fault(fault).optional()).collect()
}

async fn consumer(client: &Client, position: Position) -> Consumer {
    let all = (0..PARTITIONS).map(|partition| (("orders", partition), position));
    client.consumer("readers").assign(all).build().await.unwrap()
}

/// Reads something, one way or another, and returns where it was.
async fn read(world: &mut World, consumer: &mut Consumer) -> Vec<(i32, i64)> {
    match world.random.below(4) {
        0 => {
            let polls = 1 + world.random.below(5) as usize;
            let read = dropped_after(polls, consumer.next()).await;
            let record = read.map(|record| record.unwrap().expect("nobody stops it"));
            record.iter().map(|record| (record.partition(), record.offset())).collect()
        }
        1 => {
            let most = 1 + world.random.below(20) as usize;
            let batch = consumer.next_batch(most).await.unwrap().expect("nobody stops it");
            assert!((1..=most).contains(&batch.len()));
            batch.iter().map(|record| (record.partition(), record.offset)).collect()
        }
        _ => {
            let record = consumer.next().await.unwrap().expect("nobody stops it");
            vec![(record.partition(), record.offset())]
        }
    }
}

async fn write_one(producer: &Producer, number: usize) {
    let (key, value) = (format!("key-{}", number % 20), number.to_string());
    producer.enqueue(Record::to("orders").key(&key).value(&value)).await.unwrap().detach();
}

async fn scenario(mut world: World) {
    let client = world.client().await;
    let producer = client.producer().linger(Duration::from_millis(1)).build().await.unwrap();
    let faults = faults(&world);
    let mut trouble = Trouble::default();
    let mut reader = consumer(&client, Position::Committed).await;
    let mut next = [0; PARTITIONS as usize];
    let (mut written, mut read_so_far) = (0, 0);
    while read_so_far < RECORDS {
        if written < RECORDS {
            trouble.next(&mut world);
            write_one(&producer, written).await;
            written += 1;
        } else if written == RECORDS {
            std::mem::take(&mut trouble).end(&world);
            producer.flush().await.unwrap();
            written += 1;
        }
        // While records are still written a read may find nothing, and waits for the next round.
        if written > RECORDS || world.random.below(3) == 0 {
            let reading = tokio::time::timeout(Duration::from_millis(20), read(&mut world, &mut reader));
            for (partition, offset) in reading.await.unwrap_or_default() {
                assert_eq!(offset, next[partition as usize], "the next record of partition {partition}");
                next[partition as usize] += 1;
                read_so_far += 1;
            }
        }
        if world.random.below(100) == 0 {
            // What was handed out is committed, and another one goes on there.
            std::mem::take(&mut trouble).end(&world);
            reader.close(Duration::from_secs(120)).await.unwrap();
            reader = consumer(&client, Position::Committed).await;
        }
    }
    let log: Vec<i64> =
        (0..PARTITIONS).map(|partition| world.cluster.partition("orders", partition).high_watermark()).collect();
    assert_eq!(next.as_slice(), log);
    drop(faults);
}

#[test]
fn whatever_happens_a_reader_has_every_record_once_and_in_order() {
    for_each_seed(100, scenario, drop);
}
