//! The cluster a behaviour test runs against: `MILENA_TEST_CLUSTER` chooses which kind.
//!
//! ```text
//! let cluster = TestCluster::shared().await;          // or own(), for a test that kills brokers
//! let client = Client::connect(&cluster.bootstrap()).await?;
//! let topic = cluster.topic("orders", 3).await;
//! ```

mod kafka;
mod outages;
mod raw;
mod topics;

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use milena_mock_broker::MockCluster;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

use crate::real_kafka::{self, Settings};

use self::kafka::Kafka;

pub use topics::{Election, Logged};

/// Which kind of cluster the tests use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The mock cluster in the test process: the default.
    Mock,
    /// Three Apache Kafka brokers, started and stopped by the tests.
    Real,
    /// Three Apache Kafka brokers in containers, with the feature `docker` of this package.
    Testcontainers,
}

impl Choice {
    /// Reads `MILENA_TEST_CLUSTER`.
    ///
    /// # Errors
    /// It names something else; the error names the choices.
    pub fn from_environment() -> Result<Self, String> {
        match std::env::var("MILENA_TEST_CLUSTER").as_deref() {
            Err(_) => Self::parse(""),
            Ok(text) => Self::parse(text),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "" | "mock" => Ok(Self::Mock),
            "real" => Ok(Self::Real),
            "testcontainers" => Ok(Self::Testcontainers),
            other => Err(format!(
                "MILENA_TEST_CLUSTER={other} is neither `mock` (the default) nor `real` nor `testcontainers`"
            )),
        }
    }
}

/// A three-broker cluster of the chosen kind, with the broker ids 1, 2 and 3. Topics are not created by themselves.
///
/// Its methods panic when something fails, with the reason: a test without a cluster has nothing left to say.
pub struct TestCluster {
    kind: Kind,
    /// The brokers that the test has crashed or frozen: they are not asked anything.
    silent: Mutex<BTreeSet<i32>>,
    /// Given back when the cluster, the field before it, is gone.
    _turn: Option<SemaphorePermit<'static>>,
}

enum Kind {
    Mock(MockCluster),
    Real(Arc<Kafka>),
}

/// Whoever has it has the real cluster for tests that break brokers.
static TURN: Semaphore = Semaphore::const_new(1);

impl TestCluster {
    /// For tests that leave the brokers alone. On a real Kafka all of a test process share one cluster, so topics and
    /// groups need [`unique`](Self::unique) names; a mock cluster is new each time.
    pub async fn shared() -> Self {
        Self::shared_with(Settings::default()).await
    }

    /// Like [`shared`](Self::shared), for tests that all want the same settings of a real Kafka. The mock cluster heeds
    /// `broker.session.timeout.ms` among them.
    pub async fn shared_with(settings: Settings) -> Self {
        static SHARED: OnceCell<Result<Arc<Kafka>, String>> = OnceCell::const_new();
        let kind = match choice() {
            Choice::Mock => Kind::Mock(mock(&settings).await),
            choice @ (Choice::Real | Choice::Testcontainers) => {
                let start = async || Kafka::start(choice, settings).await.map(Arc::new).map_err(|e| e.to_string());
                match SHARED.get_or_init(start).await {
                    Ok(cluster) => Kind::Real(Arc::clone(cluster)),
                    Err(error) => panic!("{error}"),
                }
            }
        };
        Self::of(kind, None)
    }

    fn of(kind: Kind, turn: Option<SemaphorePermit<'static>>) -> Self {
        Self { kind, silent: Mutex::default(), _turn: turn }
    }

    /// For tests that kill or freeze brokers: nobody else uses it meanwhile. On a real Kafka these tests take turns on one cluster,
    /// whose brokers all run again when the next one begins; a mock cluster is new each time.
    pub async fn own() -> Self {
        static OWN: OnceCell<Result<Arc<Kafka>, String>> = OnceCell::const_new();
        let choice = match choice() {
            Choice::Mock => return Self::of(Kind::Mock(mock(&Settings::default()).await), None),
            choice @ (Choice::Real | Choice::Testcontainers) => choice,
        };
        let turn = TURN.acquire().await.expect("nobody closes it");
        let start =
            async || Kafka::start(choice, Settings::default()).await.map(Arc::new).map_err(|error| error.to_string());
        let cluster = OWN.get_or_init(start).await.as_ref().unwrap_or_else(|error| panic!("{error}"));
        cluster.heal().await.unwrap_or_else(|error| panic!("heal: {error}"));
        Self::of(Kind::Real(Arc::clone(cluster)), Some(turn))
    }

    /// The addresses of all brokers, as `Client::connect` wants them.
    pub fn bootstrap(&self) -> String {
        match &self.kind {
            Kind::Mock(cluster) => cluster.bootstrap(),
            Kind::Real(cluster) => cluster.bootstrap(),
        }
    }

    /// Whether this is Apache Kafka.
    pub fn is_real(&self) -> bool {
        matches!(self.kind, Kind::Real(_))
    }

    /// The mock cluster, for what only it can do: faults, the journal, a look at the logs.
    pub fn mock(&self) -> Option<&MockCluster> {
        match &self.kind {
            Kind::Mock(cluster) => Some(cluster),
            Kind::Real(_) => None,
        }
    }

    /// A name for a topic or a group that no other test of this process uses.
    pub fn unique(&self, name: &str) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
    }
}

fn choice() -> Choice {
    Choice::from_environment().unwrap_or_else(|error| panic!("{error}"))
}

/// With the settings that a real cluster of the tests has, too.
async fn mock(settings: &Settings) -> MockCluster {
    let often = Duration::from_millis(250);
    let session = settings.properties.iter().find(|(name, _)| name == "broker.session.timeout.ms");
    let session_ms = session.map_or(1_500, |(_, value)| value.parse().expect("milliseconds"));
    let started = MockCluster::builder()
        .brokers(3)
        .min_insync(1)
        .racks(["r1", "r2", "r3"])
        .rack_aware_reads(true)
        .broker_session_timeout(Duration::from_millis(session_ms))
        .group_min_session_timeout(Duration::from_millis(500))
        .group_max_size(10)
        .log_retention_check_interval(often)
        .log_cleaner_backoff(often)
        .start();
    started.await.unwrap_or_else(|error| panic!("start the mock cluster: {error}"))
}

/// Whether the cluster lacks what came with this release of Kafka; then it also says that the running test, or the part of it that
/// needs it, is skipped. The mock cluster lacks nothing.
pub fn lacks(first_with: (u32, u32), what: &str) -> bool {
    let lacks = is_older_than(first_with);
    if lacks {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        let (version, (major, minor)) = (real_kafka::version(), first_with);
        skipped(&test, &format!("{what} came with {major}.{minor}, this is Kafka {version}"));
    }
    lacks
}

/// Whether the tests run on a Kafka before this release.
pub fn is_older_than(release: (u32, u32)) -> bool {
    match choice() {
        Choice::Mock | Choice::Testcontainers => false,
        Choice::Real => real_kafka::release().unwrap_or_else(|error| panic!("{error}")) < release,
    }
}

/// Says on standard error, even where the test runner captures a test's output, that a test does not run and why.
pub fn skipped(test: &str, reason: &str) {
    let line = format!("skipped {test}: {reason}\n");
    if let Err(error) = std::io::stderr().write_all(line.as_bytes()) {
        panic!("{line}, and standard error is closed: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::Choice;

    #[test]
    fn an_unknown_cluster_is_refused_with_the_choices() {
        assert_eq!(Choice::parse("").unwrap(), Choice::Mock);
        assert_eq!(Choice::parse("real").unwrap(), Choice::Real);
        assert_eq!(Choice::parse("testcontainers").unwrap(), Choice::Testcontainers);
        let error = Choice::parse("Real").unwrap_err();
        assert!(error.contains("Real") && error.contains("`mock`") && error.contains("`testcontainers`"), "{error}");
    }
}
