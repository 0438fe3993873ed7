//! The cluster as a test sees it. IO.

mod builder;
mod control;
mod fault_handle;
mod group;
mod topic;
mod transaction;

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;

use milena_protocol::ErrorCode;

use crate::fault::Fault;
use crate::journal::Journal;
use crate::pipe::Pipe;
use crate::server::{PATIENCE, Shared};
use crate::snapshot::{Connection, Snapshot};

pub use builder::MockClusterBuilder;
pub use control::{BrokerControl, Direction, PartitionControl};
pub use fault_handle::FaultHandle;
pub use group::GroupControl;
pub use topic::Topic;
pub use transaction::TransactionControl;

/// A Kafka cluster in this process. Clones are handles to one cluster; it ends when the last one is dropped, or by
/// [`stop`](Self::stop).
///
/// ```
/// # use milena_mock_broker::MockCluster;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let cluster = MockCluster::builder().brokers(3).topic("orders", 6).start().await?;
/// println!("any Kafka client can connect to {}", cluster.bootstrap());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MockCluster(Arc<Owner>);

/// Ends the cluster's tasks with the last handle. The tasks themselves hold on to what is in it only.
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        drop(self.0.stop_now());
    }
}

impl MockCluster {
    /// A cluster of three brokers without topics, unless the builder is told otherwise.
    pub fn builder() -> MockClusterBuilder {
        MockClusterBuilder::default()
    }

    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(Arc::new(Owner(shared)))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }

    /// The addresses of all brokers, as clients take them: `127.0.0.1:40001,127.0.0.1:40002`; of a cluster in memory:
    /// `b1:9092,b2:9092`.
    pub fn bootstrap(&self) -> String {
        let state = self.shared().lock();
        let addresses: Vec<_> = state.brokers().map(|broker| format!("{}:{}", broker.host, broker.port)).collect();
        addresses.join(",")
    }

    /// A new in-memory connection to the broker that advertises this host and port. Clusters with listeners have pipes too.
    ///
    /// # Errors
    /// `ConnectionRefused` if that broker is down or the cluster has been stopped; `NotFound` if no broker has this address.
    ///
    /// # Cancel safety
    /// The connection is made when the future is first polled, or when the way to the broker is mended, and closed if it is
    /// dropped after that.
    pub fn pipe(&self, host: &str, port: u16) -> impl Future<Output = io::Result<Pipe>> + Send + 'static + use<> {
        let shared = Arc::clone(self.shared());
        let host = host.to_owned();
        async move { shared.connect(&host, port).await }
    }

    /// All brokers, by their ids.
    pub fn brokers(&self) -> Vec<BrokerControl> {
        let ids: Vec<i32> = self.shared().lock().brokers().map(|broker| broker.id).collect();
        ids.into_iter().map(|id| self.broker(id)).collect()
    }

    /// Adds a broker without any replica, of the same kind as the others: in memory, or with a free port. Its id is one
    /// that no broker has had. Topics that are created from now on can have replicas there.
    ///
    /// # Panics
    /// If there is no free port, or the cluster has been stopped.
    pub fn add_broker(&self) -> BrokerControl {
        self.add_broker_to(None)
    }

    /// Like [`add_broker`](Self::add_broker), with a rack.
    ///
    /// # Panics
    /// If there is no free port, or the cluster has been stopped.
    pub fn add_broker_in_rack(&self, rack: &str) -> BrokerControl {
        self.add_broker_to(Some(rack))
    }

    fn add_broker_to(&self, rack: Option<&str>) -> BrokerControl {
        match self.shared().add_broker(rack) {
            Ok(id) => self.broker(id),
            Err(error) => panic!("the mock cluster cannot have another broker: {error}"),
        }
    }

    /// One broker, to crash, freeze or cut it off. Ids count from 1.
    ///
    /// # Panics
    /// If there is no such broker.
    pub fn broker(&self, id: i32) -> BrokerControl {
        BrokerControl::new(self.clone(), id)
    }

    /// One partition, to look into its log or move its leader.
    pub fn partition(&self, topic: &str, partition: i32) -> PartitionControl {
        PartitionControl::new(self.clone(), topic, partition)
    }

    /// One consumer group, to look at its members and to disturb it.
    pub fn group(&self, id: &str) -> GroupControl {
        GroupControl::new(self.clone(), id)
    }

    /// The transactions of one transactional id, to look at them and to disturb them.
    pub fn transaction(&self, id: &str) -> TransactionControl {
        TransactionControl::new(self.clone(), id)
    }

    /// The connections that neither side has closed, oldest first.
    pub fn connections(&self) -> Vec<Connection> {
        self.with(|state| state.connections().cloned().collect())
    }

    /// How many partitions a topic has; none if it does not exist.
    pub fn partition_count(&self, topic: &str) -> Option<i32> {
        self.shared().lock().core.partition_count(topic)
    }

    /// Creates a topic, as an administrator would; clients learn of it by their next Metadata request.
    ///
    /// # Panics
    /// If the topic exists, or cannot be: too few brokers for its replicas, a bad name.
    pub fn create_topic(&self, topic: impl Into<Topic>) {
        let topic = topic.into();
        let created = self.shared().change(|state, now| state.core.create_topic(now, topic.clone().into()));
        expect_done(created, || format!("create topic {topic}"));
    }

    /// Deletes a topic with all its records.
    ///
    /// # Panics
    /// If there is no such topic.
    pub fn delete_topic(&self, name: &str) {
        let deleted = self.shared().change(|state, now| state.core.delete_topic(now, name));
        expect_done(deleted, || format!("delete topic {name}"));
    }

    /// Deletes a topic and creates it anew: same name, partitions and settings, but empty and with another topic id.
    ///
    /// # Panics
    /// If there is no such topic, or fewer brokers are up than it has replicas; then it is deleted.
    pub fn recreate_topic(&self, name: &str) {
        let recreated = self.shared().change(|state, now| state.core.recreate_topic(now, name));
        expect_done(recreated, || format!("re-create topic {name}"));
    }

    /// Changes one setting of a topic, by Kafka's name; `None` makes it the brokers' default again.
    ///
    /// # Panics
    /// If there is no such topic or no such setting, or the value is not allowed.
    pub fn configure_topic(&self, name: &str, setting: &str, value: Option<&str>) {
        let set = [(setting.to_owned(), value.map(str::to_owned))].into();
        let done = self.shared().change(|state, now| state.core.configure_topic(now, name, set));
        let done = done.map_err(|refusal| refusal.code);
        expect_done(done, || format!("set {setting} of topic {name} to {value:?}"));
    }

    /// Gives a topic more partitions, until it has so many.
    ///
    /// # Panics
    /// If there is no such topic, or it has as many already.
    pub fn add_partitions(&self, name: &str, partitions: i32) {
        let done = self.shared().change(|state, now| state.core.add_partitions(now, name, partitions));
        let done = done.map_err(|refusal| refusal.code);
        expect_done(done, || format!("give topic {name} {partitions} partitions"));
    }

    /// Adds a rule. It works until its handle is dropped, which panics if the rule has not fired as often as it should.
    #[track_caller]
    pub fn fault(&self, fault: Fault) -> FaultHandle {
        let added_at = std::panic::Location::caller();
        let id = self.shared().lock().rules.add(self.shared().now(), fault, added_at);
        FaultHandle::new(Arc::clone(self.shared()), id)
    }

    /// What the brokers have seen and said.
    pub fn journal(&self) -> Journal {
        self.shared().journal.clone()
    }

    /// Waits until the cluster's state satisfies a condition, which is tried again after every change. The condition looks at what it
    /// is given: calling the cluster itself or one of its controls in it is a panic.
    ///
    /// # Panics
    /// After 60 seconds (virtual ones on a paused runtime), with a message that says `what` was waited for and ends with the last
    /// lines of the journal.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn until(&self, what: &str, condition: impl Fn(&Snapshot<'_>) -> bool) {
        let holds = self.shared().wait_for(|state| condition(&state.snapshot())).await;
        let (patience, journal) = (PATIENCE.as_secs(), &self.shared().journal);
        assert!(holds, "waited {patience} s in vain for the mock cluster to have: {what}\n{}", journal.tail());
    }

    /// Looks at the cluster's state as it is now: at what `look` is given, not by calls of the cluster, which panic in it.
    pub fn with<R>(&self, look: impl FnOnce(&Snapshot<'_>) -> R) -> R {
        self.shared().look(|state| look(&state.snapshot()))
    }

    /// Closes all listeners and connections and waits until every task of the cluster has ended. What it holds can still be
    /// looked at.
    ///
    /// # Cancel safety
    /// Dropping the future after its first poll ends the tasks all the same, without waiting for them.
    pub async fn stop(&self) {
        self.shared().stop().await;
    }
}

impl fmt::Debug for MockCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockCluster").field("bootstrap", &self.bootstrap()).finish_non_exhaustive()
    }
}

#[track_caller]
fn expect_done(result: Result<(), ErrorCode>, what: impl FnOnce() -> String) {
    if let Err(code) = result {
        panic!("the mock cluster cannot {}: {code}", what());
    }
}
