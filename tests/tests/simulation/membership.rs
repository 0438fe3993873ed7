//! A member whose coordinator dies, and one that stands still for longer than its session: what it costs, in virtual time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use milena::{ApiKey, CommitPolicy, Consumer, ErrorKind, Rebalance, RebalanceListener, Record};

use crate::members::GROUP;
use crate::process::Process;
use crate::world::{World, for_each_seed};

/// Kafka's default.
const HEARTBEAT: Duration = Duration::from_secs(3);
const SESSION: Duration = Duration::from_secs(10);
const GENEROUS: Duration = Duration::from_secs(60);

/// What the listener was told, as words.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn note(&self, what: &str, rebalance: &Rebalance<'_>) {
        self.0.lock().unwrap().push(format!("{what} {} {:?}", rebalance.partitions.len(), rebalance.reason));
    }

    fn lost(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().filter(|told| told.starts_with("lost")).cloned().collect()
    }
}

#[async_trait::async_trait]
impl RebalanceListener for Told {
    async fn assigned(&self, rebalance: &Rebalance<'_>) {
        self.note("assigned", rebalance);
    }

    async fn lost(&self, rebalance: &Rebalance<'_>) {
        self.note("lost", rebalance);
    }
}

async fn member(world: &World, process: &Process, told: &Told) -> Consumer {
    let client = world.client_on(process.clone()).await;
    let builder = client.consumer(GROUP).subscribe(["orders"]).commit_policy(CommitPolicy::Manual);
    let builder = builder.session_timeout(SESSION).heartbeat_interval(HEARTBEAT);
    builder.on_rebalance(told.clone()).build().await.unwrap()
}

async fn write(world: &World, count: usize) {
    let producer = world.client().await.producer().build().await.unwrap();
    for number in 0..count {
        let record = Record::to("orders").partition((number % 6) as i32).value("v");
        producer.enqueue(record).await.unwrap().detach();
    }
    producer.flush().await.unwrap();
}

async fn until(what: &str, mut done: impl FnMut() -> bool) -> Duration {
    let began = tokio::time::Instant::now();
    while !done() {
        assert!(began.elapsed() < GENEROUS, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    began.elapsed()
}

/// How many heartbeats came to this broker.
fn heartbeats(world: &World, broker: i32) -> usize {
    let journal = world.cluster.journal();
    journal.requests(ApiKey::HEARTBEAT).iter().filter(|request| request.broker == broker).count()
}

#[test]
fn when_the_coordinator_dies_reading_goes_on_and_heartbeats_resume_within_a_second_of_the_next_one() {
    let mut longest = Duration::ZERO;
    let scenario = async |world: World| {
        let told = Told::default();
        let mut consumer = member(&world, &Process::default(), &told).await;
        write(&world, 6).await;
        for _ in 0..6 {
            drop(consumer.next().await.unwrap());
        }
        let old = world.cluster.group(GROUP).coordinator().expect("it has one");
        world.cluster.broker(old).crash();
        let next = world.cluster.group(GROUP).coordinator().expect("another one, at once");
        let before = heartbeats(&world, next);
        let resumed = until("a heartbeat at the new coordinator", || heartbeats(&world, next) > before);
        let (resumed, ()) = tokio::join!(resumed, async {
            write(&world, 6).await;
            for _ in 0..6 {
                consumer.next().await.unwrap();
            }
        });
        assert_eq!(told.lost(), Vec::<String>::new());
        world.cluster.broker(old).restart();
        consumer.close(GENEROUS).await.unwrap();
        resumed
    };
    for_each_seed(20, scenario, |resumed| longest = longest.max(resumed));
    eprintln!("heartbeats resumed within {longest:?} of the new coordinator");
    assert!(longest <= Duration::from_secs(1), "{longest:?}");
}

#[test]
fn who_stood_still_for_longer_than_its_session_hears_it_once_and_changes_nothing_in_the_group() {
    let scenario = async |mut world: World| {
        write(&world, 12).await;
        let (process, told) = (Process::default(), Told::default());
        let mut zombie = member(&world, &process, &told).await;
        let reading = process.run(async move {
            let held = zombie.next().await.unwrap().unwrap();
            (zombie, held)
        });
        let (zombie, held) = reading.await.unwrap();
        process.stop();
        tokio::time::sleep(SESSION + Duration::from_millis(world.random.below(10_000))).await;

        // Another one takes over, reads all of it and commits.
        let other_told = Told::default();
        let mut other = member(&world, &Process::default(), &other_told).await;
        for _ in 0..12 {
            let record = other.next().await.unwrap().unwrap();
            other.commit(&record).await.unwrap();
        }
        let committed = || (0..6).map(|partition| world.cluster.group(GROUP).committed("orders", partition)).collect();
        let before: Vec<Option<i64>> = committed();
        assert_eq!(before, [Some(2); 6]);

        process.go_on();
        let awake = process.run(async move {
            let refused = zombie.commit(&held).await.unwrap_err();
            drop(held);
            (zombie, refused)
        });
        let (zombie, refused) = awake.await.unwrap();
        assert_eq!(refused.kind(), ErrorKind::PartitionLost, "{refused}");
        assert_eq!(committed(), before);
        until("the news", || !told.lost().is_empty()).await;
        tokio::time::sleep(3 * SESSION).await;
        assert_eq!((told.lost(), other_told.lost()), (vec!["lost 6 SessionExpired".to_owned()], vec![]));
        assert_eq!(zombie.control().assignment().len() + other.control().assignment().len(), 6, "it is back");
        assert_eq!(committed(), before);
        let closing = process.run(async move { zombie.close(GENEROUS).await });
        closing.await.unwrap().unwrap();
        other.close(GENEROUS).await.unwrap();
        assert_eq!(committed(), before);
    };
    for_each_seed(20, scenario, |()| {});
}
