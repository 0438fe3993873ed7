//! What a test does to one broker or one partition. IO.

use std::time::Duration;

use bytes::Bytes;
use milena_protocol::ErrorCode;

use super::{MockCluster, expect_done};
use crate::core::{Core, Following, LogMarker, LogRecord, ProducerState, Visibility};
use crate::server::Gate;

/// One broker of a [`MockCluster`]. Everything it does has taken effect when the call returns.
#[derive(Clone, Debug)]
pub struct BrokerControl {
    cluster: MockCluster,
    id: i32,
    host: String,
    port: u16,
}

impl BrokerControl {
    #[track_caller]
    pub(super) fn new(cluster: MockCluster, id: i32) -> Self {
        let address = cluster.shared().lock().broker(id).map(|address| (address.host.clone(), address.port));
        let Some((host, port)) = address else {
            panic!("there is no broker {id} in the mock cluster {}: ids count from 1", cluster.bootstrap());
        };
        Self { cluster, id, host, port }
    }

    /// Its id.
    pub fn id(&self) -> i32 {
        self.id
    }

    /// The host that it tells clients.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port that it tells clients, and listens on unless the cluster is in memory.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it runs. A frozen broker does.
    pub fn is_up(&self) -> bool {
        self.cluster.shared().lock().core.is_up(self.id)
    }

    /// The rack that it is in, if it has one (`broker.rack`).
    pub fn rack(&self) -> Option<String> {
        self.cluster.shared().lock().broker(self.id).and_then(|address| address.rack.clone())
    }

    /// Ends the broker as a power failure would, except that its disk survives: its connections break, new ones are refused,
    /// and an in-sync replica leads each of its partitions, if there is one. Nothing happens if it is down already.
    pub fn crash(&self) {
        self.cluster.shared().crash(self.id);
    }

    /// Ends the broker like [`crash`](Self::crash), and its disk is gone: after the restart its replicas are empty, and copy all
    /// from their leaders. Where it was the last one in sync it leads with nothing, and the others cut off all they have, as in
    /// Kafka.
    pub fn crash_and_lose_disk(&self) {
        self.crash();
        self.cluster.shared().change(|state, _| state.core.lose_disk(self.id));
    }

    /// Starts it again after a crash, on the same port; its replicas catch up with their leaders. Nothing happens if it is up.
    ///
    /// # Panics
    /// If something else has taken its port, or the cluster has been stopped.
    pub fn restart(&self) {
        if let Err(error) = self.cluster.shared().restart(self.id) {
            panic!("mock broker {} cannot restart on {}:{}: {error}", self.id, self.host, self.port);
        }
    }

    /// Makes it stand still, as a stopped process does (`kill -STOP`): it accepts connections and requests without working on
    /// any, its replicas do not follow, and it is told nothing. The controller does not notice until
    /// [`broker_session_timeout`](super::MockClusterBuilder::broker_session_timeout) is over; then others lead its partitions. A
    /// crash ends the freeze. Nothing happens if it is down.
    pub fn freeze(&self) {
        self.cluster.shared().freeze(self.id);
    }

    /// Lets it go on: it learns who leads now, cuts off what they do not have and follows, and works on the requests that came
    /// meanwhile.
    pub fn thaw(&self) {
        self.cluster.shared().thaw(self.id);
    }

    /// Cuts it off from the controller and the other brokers, but not from clients: a zombie. It goes on believing what it knew,
    /// leads what it led, and takes records that no follower gets, until [`rejoin`](Self::rejoin). The controller does not
    /// notice until [`broker_session_timeout`](super::MockClusterBuilder::broker_session_timeout) is over, unless the test
    /// [elects](PartitionControl::elect) others before. A crash ends it. Nothing happens if it is down.
    pub fn isolate(&self) {
        self.cluster.shared().change(|state, now| state.core.isolate(now, self.id));
    }

    /// Puts it in touch with the others again after [`isolate`](Self::isolate): it learns who leads now, cuts off what they do
    /// not have, and follows.
    pub fn rejoin(&self) {
        self.cluster.shared().change(|state, now| state.core.rejoin(now, self.id));
    }

    /// Cuts one direction between it and all clients, as a network does that loses packets: bytes wait until
    /// [`mend`](Self::mend), and neither side is told. While either direction is cut, new pipes wait; new sockets are made by
    /// the system all the same, and then nothing moves on them.
    pub fn cut(&self, direction: Direction) {
        self.gate(direction, Gate::shut);
    }

    /// Mends what [`cut`](Self::cut) has cut.
    pub fn mend(&self, direction: Direction) {
        self.gate(direction, Gate::open);
    }

    fn gate(&self, direction: Direction, act: fn(&Gate)) {
        let state = self.cluster.shared().lock();
        if let Some(door) = state.doors.get(&self.id) {
            act(match direction {
                Direction::ToBroker => &door.gates().from_clients,
                Direction::ToClient => &door.gates().to_clients,
            });
        }
    }

    /// Makes its Metadata answers leave out a topic, as those of a broker that has just started do: it is unknown there, and
    /// nowhere else.
    pub fn hide_topic(&self, topic: &str) {
        self.cluster.shared().change(|state, _| state.core.hide_topic(self.id, topic, Visibility::Hidden));
    }

    /// Ends [`hide_topic`](Self::hide_topic).
    pub fn show_topic(&self, topic: &str) {
        self.cluster.shared().change(|state, _| state.core.hide_topic(self.id, topic, Visibility::Shown));
    }

    /// Restarts it at another address, and gives the handle that knows it: connections break, and clients find it by their
    /// next Metadata. A cluster with listeners moves it to a free port and ignores `host`; in memory it gets this host.
    ///
    /// # Panics
    /// If there is no free port, another broker in memory has this host, or the cluster has been stopped.
    pub fn change_address(&self, host: &str) -> Self {
        if let Err(error) = self.cluster.shared().change_address(self.id, host) {
            panic!("mock broker {} cannot move to another address: {error}", self.id);
        }
        Self::new(self.cluster.clone(), self.id)
    }

    /// Takes it out of the cluster for good, with its disk: its connections break, and others lead. Partitions go on naming it
    /// as one of their replicas, as in Kafka.
    pub fn remove(self) {
        self.cluster.shared().remove_broker(self.id);
    }
}

/// One of the two directions between clients and a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What clients send.
    ToBroker,
    /// What the broker sends.
    ToClient,
}

/// One partition of a topic of a [`MockCluster`].
#[derive(Clone, Debug)]
pub struct PartitionControl {
    cluster: MockCluster,
    topic: String,
    partition: i32,
}

impl PartitionControl {
    pub(super) fn new(cluster: MockCluster, topic: &str, partition: i32) -> Self {
        Self { cluster, topic: topic.to_owned(), partition }
    }

    /// Makes a broker the leader, with a new leader epoch. Clients of the old one are answered `NOT_LEADER_OR_FOLLOWER`.
    ///
    /// # Panics
    /// If that broker has no replica of the partition, is down, or is not in sync.
    pub fn elect(&self, broker: i32) {
        self.act(
            |core, now, topic, partition| core.elect(now, topic, partition, broker),
            || format!("elect broker {broker} leader of"),
        );
    }

    /// Makes any replica the leader, with a new leader epoch, as an operator does when no in-sync replica will come back: what it
    /// lacks is lost. The others cut it off, and those that are up and not held are in sync with it at once. Nothing happens if it
    /// leads already.
    ///
    /// # Panics
    /// If that broker has no replica of the partition, or is down.
    pub fn elect_unclean(&self, broker: i32) {
        self.act(
            |core, now, topic, partition| core.elect_unclean(now, topic, partition, broker),
            || format!("elect broker {broker} leader, in sync or not, of"),
        );
    }

    /// Keeps a replica from following: it gets no records, so the high watermark waits for it, until
    /// [`replica_lag_time_max`](super::MockClusterBuilder::replica_lag_time_max) is over and its leader no longer counts it as in
    /// sync. If it comes to lead meanwhile, it leads; crashes do not end it, unless the disk is lost.
    ///
    /// # Panics
    /// If that broker has no replica of the partition.
    pub fn hold_replica(&self, broker: i32) {
        self.act(
            |core, now, topic, partition| core.let_follow(now, topic, partition, broker, Following::Held),
            || format!("hold the replica on broker {broker} of"),
        );
    }

    /// Lets a replica follow again after [`hold_replica`](Self::hold_replica) or [`shrink_isr`](Self::shrink_isr): it catches up
    /// at once, and is in sync.
    ///
    /// # Panics
    /// If that broker has no replica of the partition.
    pub fn release_replica(&self, broker: i32) {
        self.act(
            |core, now, topic, partition| core.let_follow(now, topic, partition, broker, Following::On),
            || format!("release the replica on broker {broker} of"),
        );
    }

    /// Takes a follower out of the in-sync replicas, as its leader does with one that has fallen behind, and
    /// [holds](Self::hold_replica) it, so that it stays out until it is released.
    ///
    /// # Panics
    /// If that broker is not a follower of the partition.
    pub fn shrink_isr(&self, broker: i32) {
        self.act(
            |core, now, topic, partition| core.drop_from_isr(now, topic, partition, broker),
            || format!("take broker {broker} out of the in-sync replicas of"),
        );
    }

    /// Makes all replicas forget their idempotent producers, as they do with those that have not written for
    /// `producer.id.expiration.ms`. What these write next is judged as from a producer that was never seen.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn expire_producers(&self) {
        self.act(
            |core, now, topic, partition| core.expire_producers(now, topic, partition),
            || "expire the producers of".to_owned(),
        );
    }

    #[track_caller]
    fn act(
        &self,
        act: impl FnOnce(&mut Core, Duration, &str, i32) -> Result<(), ErrorCode>,
        what: impl FnOnce() -> String,
    ) {
        let (topic, partition) = (&self.topic, self.partition);
        let done = self.cluster.shared().change(|state, now| act(&mut state.core, now, topic, partition));
        expect_done(done, || format!("{} {topic}-{partition}", what()));
    }

    /// The id of the leader, if there is one.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn leader(&self) -> Option<i32> {
        let (leader, _) = self.look(Core::leader);
        (leader >= 0).then_some(leader)
    }

    /// The leader epoch: how often a leader has been elected.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn leader_epoch(&self) -> i32 {
        self.look(Core::leader).1
    }

    /// The ids of the brokers that have a copy, the preferred leader first.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn replicas(&self) -> Vec<i32> {
        self.look(Core::replicas)
    }

    /// The ids of the brokers whose copies are in sync.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn in_sync_replicas(&self) -> Vec<i32> {
        self.look(Core::isr)
    }

    /// All records below the high watermark, control records left out. Of a partition without a leader, those on the disk of
    /// the last one; none if that is lost.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn records(&self) -> Vec<LogRecord> {
        self.look(Core::records)
    }

    /// The values of all [`records`](Self::records); null values are left out.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn values(&self) -> Vec<Bytes> {
        self.records().into_iter().filter_map(|record| record.value).collect()
    }

    /// The records that a consumer with `isolation.level=read_committed` gets: those below the last stable offset that no aborted
    /// transaction has written.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn committed_records(&self) -> Vec<LogRecord> {
        self.look(Core::committed_records)
    }

    /// The values of all [`committed_records`](Self::committed_records); null values are left out.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn committed_values(&self) -> Vec<Bytes> {
        self.committed_records().into_iter().filter_map(|record| record.value).collect()
    }

    /// The markers below the high watermark: where producers' transactions have ended here, and how.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn markers(&self) -> Vec<LogMarker> {
        self.look(Core::markers)
    }

    /// What the leader knows of the idempotent producers that have written here, by producer id.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn producers(&self) -> Vec<ProducerState> {
        self.look(Core::producers)
    }

    /// Where consumers with `isolation.level=read_committed` have to stop: the first record of the earliest transaction that has
    /// not ended, or the high watermark.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn last_stable_offset(&self) -> i64 {
        self.look(Core::last_stable_offset)
    }

    /// The offset behind the last record that all in-sync replicas have, as the leader knows it.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn high_watermark(&self) -> i64 {
        self.look(Core::high_watermark)
    }

    /// The offset of the first record that is still kept.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn log_start(&self) -> i64 {
        self.look(Core::log_start)
    }

    /// The offset that the next record will get.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn log_end(&self) -> i64 {
        self.look(Core::log_end)
    }

    /// All records in the log of one broker, control records left out: also those above the high watermark, and those that a
    /// zombie will have to cut off.
    ///
    /// # Panics
    /// If that broker has no replica of the partition.
    pub fn records_at(&self, broker: i32) -> Vec<LogRecord> {
        self.look(|core, topic, partition| core.records_at(topic, partition, broker))
    }

    /// The end of the log of one broker.
    ///
    /// # Panics
    /// If that broker has no replica of the partition.
    pub fn log_end_at(&self, broker: i32) -> i64 {
        self.look(|core, topic, partition| Some(core.replica_at(topic, partition, broker)?.log.end()))
    }

    /// The high watermark as one broker knows it: up to there it serves consumers.
    ///
    /// # Panics
    /// If that broker has no replica of the partition.
    pub fn high_watermark_at(&self, broker: i32) -> i64 {
        self.look(|core, topic, partition| Some(core.replica_at(topic, partition, broker)?.high_watermark))
    }

    /// Removes what `retention.ms` and `retention.bytes` let go, now instead of at the next check. As in Kafka, whole segments
    /// go (`segment.bytes`, `segment.ms`), the active one only if `retention.ms` lets it, and never what is at or above the high
    /// watermark.
    ///
    /// # Panics
    /// If there is no such partition, or nobody leads it.
    #[track_caller]
    pub fn apply_retention(&self) {
        self.change("apply the retention of", Core::apply_retention_now);
    }

    /// Compacts the partition now, whatever its topic's `cleanup.policy`: of each key, the last record below the high watermark
    /// stays, at its offset; records without a key go. Kafka leaves the active segment alone; here it is closed first, so that all
    /// that was written before the call is compacted. Tombstones go when they were compacted before and `delete.retention.ms`
    /// has passed since.
    ///
    /// # Panics
    /// If there is no such partition, or nobody leads it.
    #[track_caller]
    pub fn compact(&self) {
        self.change("compact", Core::compact_now);
    }

    /// Deletes the records below an offset: the log starts there. The offset is clamped to the high watermark.
    ///
    /// # Panics
    /// If there is no such partition, or nobody leads it.
    #[track_caller]
    pub fn delete_records(&self, before: i64) {
        self.change("delete records of", |core, now, topic, partition| {
            core.delete_records_now(now, topic, partition, before)
        });
    }

    #[track_caller]
    fn change(&self, what: &str, change: impl FnOnce(&mut Core, Duration, &str, i32) -> Result<(), ErrorCode>) {
        let (topic, partition) = (&self.topic, self.partition);
        let done = self.cluster.shared().change(|state, now| change(&mut state.core, now, topic, partition));
        expect_done(done, || format!("{what} {topic}-{partition}"));
    }

    #[track_caller]
    fn look<T>(&self, look: impl FnOnce(&Core, &str, i32) -> Option<T>) -> T {
        let found = look(&self.cluster.shared().lock().core, &self.topic, self.partition);
        found.unwrap_or_else(|| panic!("the mock cluster has no partition {}-{}", self.topic, self.partition))
    }
}
