//! Commits at a coordinator that refuses, delays and forgets them: what is committed grows, and nothing is in it that is not done.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use milena::{ApiKey, CommitPolicy, ErrorCode, ErrorKind, Offsets, Rebalance, RebalanceListener, Record};
use milena_mock_broker::Fault;

use crate::members::GROUP;
use crate::world::{World, for_each_seed};

const RECORDS: u64 = 120;

/// Codes that pass by themselves: the application must not hear of them.
const PASSING: [ErrorCode; 6] = [
    ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
    ErrorCode::COORDINATOR_NOT_AVAILABLE,
    ErrorCode::NOT_COORDINATOR,
    ErrorCode::REQUEST_TIMED_OUT,
    ErrorCode::REBALANCE_IN_PROGRESS,
    ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
];
/// Codes after which the partitions are another's, as far as the member knows.
const FATAL: [ErrorCode; 2] = [ErrorCode::ILLEGAL_GENERATION, ErrorCode::UNKNOWN_MEMBER_ID];

/// What is done of each partition.
#[derive(Clone, Default)]
struct Done(Arc<Mutex<[BTreeSet<i64>; 6]>>);

impl Done {
    fn add(&self, partition: i32, offset: i64) {
        self.0.lock().unwrap()[partition as usize].insert(offset);
    }

    /// Everything before this is.
    fn prefix(&self, partition: usize) -> i64 {
        self.0.lock().unwrap()[partition].iter().zip(0..).take_while(|(offset, expected)| *offset == expected).count()
            as i64
    }
}

#[derive(Clone, Default)]
struct Lost(Arc<Mutex<usize>>);

impl Lost {
    fn times(&self) -> usize {
        *self.0.lock().unwrap()
    }
}

#[async_trait::async_trait]
impl RebalanceListener for Lost {
    async fn lost(&self, _: &Rebalance<'_>) {
        *self.0.lock().unwrap() += 1;
    }
}

/// Reads and acknowledges out of order while commits go wrong in ways that pass, or `fatal` ones too. How often partitions were
/// lost.
async fn scenario(mut world: World, fatal: bool) -> usize {
    let client = world.client().await;
    let producer = client.producer().build().await.unwrap();
    for number in 0..RECORDS {
        let record = Record::to("orders").partition((number % 6) as i32).value("v");
        producer.enqueue(record).await.unwrap().detach();
    }
    producer.flush().await.unwrap();
    let (done, lost) = (Done::default(), Lost::default());
    let builder = client.consumer(GROUP).subscribe(["orders"]).commit_policy(CommitPolicy::Acked);
    let builder = builder.auto_commit_interval(Duration::from_millis(200)).heartbeat_interval(Duration::from_secs(1));
    let mut consumer =
        builder.session_timeout(Duration::from_secs(6)).on_rebalance(lost.clone()).build().await.unwrap();
    let mut codes = PASSING.to_vec();
    codes.extend(FATAL.iter().filter(|_| fatal));
    let on_commit = || Fault::on(ApiKey::OFFSET_COMMIT);
    let mut faults: Vec<_> =
        codes.iter().map(|code| world.cluster.fault(on_commit().probability(0.06).error(*code)).optional()).collect();
    faults.extend([
        world.cluster.fault(on_commit().probability(0.05).apply_then_disconnect()).optional(),
        world.cluster.fault(on_commit().probability(0.05).apply_then_error(ErrorCode::REQUEST_TIMED_OUT)).optional(),
        world.cluster.fault(on_commit().probability(0.05).apply_then_delay(Duration::from_secs(1))).optional(),
        world.cluster.fault(on_commit().probability(0.05).disconnect()).optional(),
    ]);

    // Looks all the time, from beside.
    let (cluster, seen) = (world.cluster.clone(), done.clone());
    let watching = tokio::spawn(async move {
        let mut last = [0; 6];
        loop {
            for (partition, last) in last.iter_mut().enumerate() {
                let committed = cluster.group(GROUP).committed("orders", partition as i32).unwrap_or(0);
                assert!(committed >= *last, "partition {partition} went back from {last} to {committed}");
                assert!(committed <= seen.prefix(partition), "partition {partition}: {committed} is more than is done");
                *last = committed;
            }
            if last == [RECORDS as i64 / 6; 6] {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let control = consumer.control().clone();
    let mut works = Vec::new();
    let reading = async {
        loop {
            let record = match consumer.next().await {
                Ok(Some(record)) => record,
                Ok(None) => return,
                Err(error) => panic!("{error}"),
            };
            let (time, says) = (Duration::from_millis(world.random.below(300)), world.random.below(10) == 0);
            let (done, control) = (done.clone(), control.clone());
            works.push(tokio::spawn(async move {
                tokio::time::sleep(time).await;
                done.add(record.partition(), record.offset());
                let offsets = Offsets::from(&record);
                record.ack();
                if says {
                    match control.commit(offsets).await {
                        Ok(()) => {}
                        // An earlier record is not done, or the partition is not this member's any more.
                        Err(error) if error.kind() == ErrorKind::Usage => {}
                        Err(error) if fatal && error.kind() == ErrorKind::PartitionLost => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }));
            tokio::time::sleep(Duration::from_millis(world.random.below(20))).await;
        }
    };
    tokio::select! {
        biased;
        () = reading => {}
        watched = watching => watched.unwrap(),
    }
    for work in works {
        work.await.unwrap();
    }
    drop(faults);
    consumer.close(Duration::from_secs(30)).await.unwrap();
    lost.times()
}

#[test]
fn whatever_a_coordinator_answers_passes_the_application_by_and_what_is_committed_is_done() {
    for_each_seed(25, async |world| scenario(world, false).await, |lost| assert_eq!(lost, 0));
}

#[test]
fn a_member_that_is_refused_loses_its_partitions_and_what_is_committed_still_grows() {
    let mut lost = 0;
    for_each_seed(25, async |world| scenario(world, true).await, |times| lost += times);
    assert!(lost > 0, "some commit met an error that takes the partitions");
}
