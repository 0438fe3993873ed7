//! A cluster and its clients in a time of their own.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use milena::{Client, ClientBuilder, Clock, ConnectFn, Runtime, Task, Time};
use milena_mock_broker::MockCluster;

/// 2026-01-01, where the cluster's wall clock starts too.
const WALL_START: Duration = Duration::from_secs(1_767_225_600);

/// A cluster of three brokers in memory, and what clients of it are made with.
pub(crate) struct World {
    pub(crate) cluster: MockCluster,
    pub(crate) random: Random,
    seed: u64,
}

/// Runs a test in a world of its own. Everything random in it follows from the seed.
pub(crate) fn run<T>(seed: u64, test: impl AsyncFnOnce(World) -> T) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let cluster = MockCluster::builder()
            .brokers(3)
            .topic("orders", 6)
            .seed(seed)
            .pipe_latency(Duration::from_micros(100)..Duration::from_millis(2))
            .pipe_pieces(4096)
            .start_in_memory();
        let world = World { cluster: cluster.clone(), random: Random(seed), seed };
        let outcome = tokio::time::timeout(Duration::from_secs(3600), test(world)).await;
        cluster.stop().await;
        outcome.unwrap_or_else(|_| panic!("seed {seed}: nothing has ended after an hour of virtual time"))
    })
}

/// Runs a scenario for many seeds, at least so many as `MILENA_TEST_SEEDS` says. A failure names its seed.
pub(crate) fn for_each_seed<T>(count: u64, scenario: impl AsyncFn(World) -> T, mut look: impl FnMut(T)) {
    let wanted = std::env::var("MILENA_TEST_SEEDS").ok().map(|seeds| seeds.parse().expect("a number of seeds"));
    for seed in 0..count.max(wanted.unwrap_or(0)) {
        let guard = NameOnPanic(seed);
        look(run(seed, &scenario));
        drop(guard);
    }
}

struct NameOnPanic(u64);

impl Drop for NameOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("that was seed {}", self.0);
        }
    }
}

impl World {
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) async fn client(&self) -> Client {
        self.client_on(Inline).await
    }

    /// A client whose tasks run elsewhere.
    pub(crate) async fn client_on(&self, runtime: impl Runtime) -> Client {
        self.named_client_on(runtime, "milena").await
    }

    pub(crate) async fn named_client_on(&self, runtime: impl Runtime, name: &str) -> Client {
        self.builder_on(runtime).client_id(name).connect().await.expect("a client")
    }

    /// A client with settings of its own.
    pub(crate) fn builder(&self) -> ClientBuilder {
        self.builder_on(Inline)
    }

    fn builder_on(&self, runtime: impl Runtime) -> ClientBuilder {
        let cluster = self.cluster.clone();
        Client::builder()
            .bootstrap(["b1:9092", "b2:9092", "b3:9092"])
            .connector(ConnectFn(move |host: String, port| cluster.pipe(&host, port)))
            .clock(SimulatedClock(tokio::time::Instant::now()))
            .runtime(runtime)
            .seed(self.seed)
    }

    /// The values of a partition, in the order of the log.
    pub(crate) fn values(&self, partition: i32) -> Vec<String> {
        let values = self.cluster.partition("orders", partition).values();
        values.iter().map(|value| String::from_utf8(value.to_vec()).expect("text")).collect()
    }

    /// All values of all partitions.
    pub(crate) fn all_values(&self) -> Vec<String> {
        (0..6).flat_map(|partition| self.values(partition)).collect()
    }
}

struct SimulatedClock(tokio::time::Instant);

impl Clock for SimulatedClock {
    fn now(&self) -> Time {
        self.0.elapsed()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + WALL_START + self.0.elapsed()
    }
}

struct Inline;

impl Runtime for Inline {
    fn spawn(&self, task: Task) {
        tokio::spawn(task);
    }

    fn offload(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}

/// What a test draws from: SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from 0 up to and without `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// Polls a future at most so many times, whenever it is woken, then drops it. `None` if it was not done by then.
pub(crate) async fn dropped_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
