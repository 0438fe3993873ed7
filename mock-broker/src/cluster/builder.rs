//! How a cluster is made. IO.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use milena_protocol::primitives::Uuid;
use tokio::net::TcpListener;

use super::{MockCluster, Topic};
use crate::core::{BrokerAddress, GroupSettings, LogSettings, ReplicationSettings, Settings, TransactionSettings};
use crate::journal::{self, Journal};
use crate::pipe::PipeOptions;
use crate::random::Random;
use crate::server::{Door, PORT_IN_MEMORY, Shared, listen};

/// 2026-01-01T00:00:00Z: a cluster in memory starts at the same wall-clock time in every run.
const WALL_START_IN_MEMORY: i64 = 1_767_225_600_000;
/// Kafka's default, so that groups have the coordinators' partitions that they have there.
const OFFSETS_PARTITIONS: i32 = 50;
/// The random stream that the cluster id comes from.
const CLUSTER_ID_STREAM: u64 = 11;
const MOST_BROKERS: usize = 1000;

/// How a [`MockCluster`] is made. Every setting has a default.
#[derive(Debug, Clone)]
#[must_use = "call start or start_in_memory"]
pub struct MockClusterBuilder {
    brokers: usize,
    topics: Vec<Topic>,
    min_insync: usize,
    seed: u64,
    auto_create_topics: bool,
    host: Ipv4Addr,
    ports: Vec<u16>,
    pipe_options: PipeOptions,
    groups: GroupSettings,
    transactions: TransactionSettings,
    replication: ReplicationSettings,
    racks: Vec<String>,
    journal_bytes: usize,
    logs: LogSettings,
}

impl Default for MockClusterBuilder {
    fn default() -> Self {
        Self {
            brokers: 3,
            topics: Vec::new(),
            min_insync: 1,
            seed: 0,
            auto_create_topics: false,
            host: Ipv4Addr::LOCALHOST,
            ports: Vec::new(),
            pipe_options: PipeOptions::default(),
            groups: GroupSettings::default(),
            transactions: TransactionSettings::default(),
            replication: ReplicationSettings::default(),
            racks: Vec::new(),
            journal_bytes: journal::DEFAULT_BYTES,
            logs: LogSettings::default(),
        }
    }
}

impl MockClusterBuilder {
    /// How many brokers there are, 1 to 1000; their ids count from 1. Default: 3.
    pub fn brokers(mut self, count: usize) -> Self {
        self.brokers = count;
        self
    }

    /// A topic that exists from the start. It has 3 replicas, or as many as there are brokers if those are fewer.
    pub fn topic(self, name: &str, partitions: i32) -> Self {
        self.with_topic(Topic::new(name).partitions(partitions))
    }

    /// A topic that exists from the start.
    pub fn with_topic(mut self, topic: Topic) -> Self {
        self.topics.push(topic);
        self
    }

    /// `min.insync.replicas` of topics that do not set it: so many replicas must have a record before `acks=all` is
    /// answered. Default: 1.
    pub fn min_insync(mut self, replicas: usize) -> Self {
        self.min_insync = replicas;
        self
    }

    /// What all random choices of the cluster come from: its ids, the latency and the cuts of pipes, faults with a
    /// probability. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Whether a topic is created when a client that allows it asks for metadata of one that does not exist. Such a topic has
    /// one partition. Default: no.
    pub fn auto_create_topics(mut self, create: bool) -> Self {
        self.auto_create_topics = create;
        self
    }

    /// The address that brokers listen on, and which they tell clients. Default: 127.0.0.1.
    pub fn host(mut self, host: Ipv4Addr) -> Self {
        self.host = host;
        self
    }

    /// The ports that brokers listen on, one for each, in the order of their ids; 0 is a free port. Default: free ports.
    pub fn ports(mut self, ports: impl IntoIterator<Item = u16>) -> Self {
        self.ports = ports.into_iter().collect();
        self
    }

    /// The shortest session that a member of a group may ask for (`group.min.session.timeout.ms`). Default: 6 s, as in Kafka;
    /// tests of members that die want less.
    pub fn group_min_session_timeout(mut self, time: Duration) -> Self {
        self.groups.min_session_timeout = time;
        self
    }

    /// The longest session that a member of a group may ask for (`group.max.session.timeout.ms`). Default: 30 minutes, as in
    /// Kafka.
    pub fn group_max_session_timeout(mut self, time: Duration) -> Self {
        self.groups.max_session_timeout = time;
        self
    }

    /// How long the first members of an empty group wait for others before they become its first generation
    /// (`group.initial.rebalance.delay.ms`); each newcomer lets them wait as long again, up to the rebalance timeout. Default:
    /// none, so that no test waits for what is not its subject; Kafka's own is 3 s.
    pub fn group_initial_rebalance_delay(mut self, time: Duration) -> Self {
        self.groups.initial_rebalance_delay = time;
        self
    }

    /// The longest time that a producer may take for a transaction (`transaction.max.timeout.ms`). Default: 15 minutes, as in Kafka.
    pub fn transaction_max_timeout(mut self, time: Duration) -> Self {
        self.transactions.max_timeout = time;
        self
    }

    /// The level of the feature `transaction.version`, 0 to 2. At 2 producers that know how take a new epoch for each
    /// transaction and need not announce partitions (KIP-890); below they announce them. Default: 2, as in Kafka 4.
    pub fn transaction_version(mut self, level: i16) -> Self {
        self.transactions.version = level;
        self
    }

    /// How many members a group may have (`group.max.size`); who comes then is answered `GROUP_MAX_SIZE_REACHED`. Default: no
    /// limit, as in Kafka.
    pub fn group_max_size(mut self, members: usize) -> Self {
        self.groups.max_size = members;
        self
    }

    /// How long committed offsets are kept when nobody needs them (`offsets.retention.minutes`, KIP-211): after a group has lost
    /// its last member, after the commit if nobody ever joined, and after the last commit of a topic that no member wants any
    /// more. Default: 7 days, as in Kafka.
    pub fn offsets_retention(mut self, time: Duration) -> Self {
        self.groups.offsets_retention = time;
        self
    }

    /// How often coordinators look for such offsets, and for groups that have neither members nor offsets
    /// (`offsets.retention.check.interval.ms`). Default: 10 minutes, as in Kafka.
    pub fn offsets_retention_check_interval(mut self, time: Duration) -> Self {
        self.groups.offsets_retention_check_interval = time;
        self
    }

    /// The racks that brokers are in (`broker.rack`): the first broker in the first one, and so on, over and over. The replicas
    /// of a partition are spread over them. Default: no broker has a rack.
    pub fn racks<R: Into<String>>(mut self, racks: impl IntoIterator<Item = R>) -> Self {
        self.racks = racks.into_iter().map(Into::into).collect();
        self
    }

    /// Whether a leader sends consumers that say where they are (`client.rack`) to an in-sync follower there (KIP-392), as with
    /// `replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector`. Default: no, as in Kafka.
    pub fn rack_aware_reads(mut self, aware: bool) -> Self {
        self.replication.is_rack_aware = aware;
        self
    }

    /// For how long a follower may lack records before its leader no longer counts it as in sync (`replica.lag.time.max.ms`).
    /// Only a follower that is held, frozen or cut off lacks any. Default: 30 s, as in Kafka.
    pub fn replica_lag_time_max(mut self, time: Duration) -> Self {
        self.replication.lag_time_max = time;
        self
    }

    /// After how long the controller no longer counts on a broker that is frozen or cut off, and lets others lead
    /// (`broker.session.timeout.ms`). A crash is noticed at once. Default: 9 s, as in Kafka.
    pub fn broker_session_timeout(mut self, time: Duration) -> Self {
        self.replication.session_timeout = time;
        self
    }

    /// How often logs are looked through for what `retention.ms` and `retention.bytes` let go
    /// (`log.retention.check.interval.ms`). Default: 5 minutes, as in Kafka.
    pub fn log_retention_check_interval(mut self, time: Duration) -> Self {
        self.logs.retention_check_interval = time;
        self
    }

    /// How often the logs of topics with `cleanup.policy=compact` are looked through for what to compact
    /// (`log.cleaner.backoff.ms`). Default: 15 s, as in Kafka.
    pub fn log_cleaner_backoff(mut self, time: Duration) -> Self {
        self.logs.cleaner_backoff = time;
        self
    }

    /// How many bytes of records the cluster keeps, counted as they were written, replicas not counted. When it has an eighth
    /// more, the largest partitions give up their oldest records, and their logs start later, as after a DeleteRecords. Kafka
    /// has no such limit: its disks have. What is not below the high watermark stays whatever the limit. Default: 256 MiB.
    pub fn retained_bytes(mut self, bytes: u64) -> Self {
        self.logs.retained_bytes = bytes;
        self
    }

    /// Bytes that are written to a pipe arrive after a random time in this range, in order; at once if the range is empty. Default:
    /// at once.
    pub fn pipe_latency(mut self, latency: Range<Duration>) -> Self {
        self.pipe_options.latency = latency;
        self
    }

    /// Reads and writes on a pipe move a random number of bytes, at most so many. Default: as many as there are.
    pub fn pipe_pieces(mut self, largest: usize) -> Self {
        self.pipe_options.largest_piece = Some(largest);
        self
    }

    /// How much the [`Journal`](crate::Journal) remembers; 0 is nothing. Default: 64 MiB.
    pub fn journal_bytes(mut self, most: usize) -> Self {
        self.journal_bytes = most;
        self
    }

    /// Starts the brokers with a listener for each.
    ///
    /// # Errors
    /// `AddrInUse` if a port is taken (the message names it), other kinds if it cannot be listened on; `InvalidInput` if
    /// settings contradict each other or a topic cannot be created.
    ///
    /// # Cancel safety
    /// Dropping the future starts nothing.
    pub async fn start(self) -> io::Result<MockCluster> {
        self.check()?;
        if self.host.is_unspecified() {
            return Err(invalid(format!(
                "host {} cannot be told to clients: use an address that they can connect to",
                self.host
            )));
        }
        if !self.ports.is_empty() && self.ports.len() != self.brokers {
            return Err(invalid(format!("{} ports were given for {} brokers", self.ports.len(), self.brokers)));
        }
        let mut addresses = Vec::new();
        let mut listeners = Vec::new();
        for index in 0..self.brokers {
            let port = self.ports.get(index).copied().unwrap_or(0);
            let listener = self.listen(broker_id(index), port)?;
            let port = listener.local_addr()?.port();
            let (host, rack) = (self.host.to_string(), self.rack(index));
            addresses.push(BrokerAddress { id: broker_id(index), host, port, rack });
            listeners.push(Some(listener));
        }
        let wall = wall_clock();
        self.run(addresses, listeners, wall)
    }

    /// Starts the brokers without any socket: they are reached by [`MockCluster::pipe`] only, have the hosts `b1`, `b2` and so
    /// on and the port 9092, and their wall clock starts at the same time in every run. On a paused single-threaded runtime
    /// the same seed and the same clients give the same run.
    ///
    /// # Panics
    /// If it is not called on a tokio runtime, if settings contradict each other, or if a topic cannot be created.
    pub fn start_in_memory(self) -> MockCluster {
        let address = |index| {
            let id = broker_id(index);
            BrokerAddress { id, host: format!("b{id}"), port: PORT_IN_MEMORY, rack: self.rack(index) }
        };
        let addresses = (0..self.brokers).map(address).collect();
        let listeners = (0..self.brokers).map(|_| None).collect();
        let started = self.check().and_then(|()| self.run(addresses, listeners, WALL_START_IN_MEMORY));
        started.unwrap_or_else(|error| panic!("cannot start the mock cluster: {error}"))
    }

    fn rack(&self, index: usize) -> Option<String> {
        self.racks.get(index.checked_rem(self.racks.len())?).cloned()
    }

    fn check(&self) -> io::Result<()> {
        if !(1..=MOST_BROKERS).contains(&self.brokers) {
            return Err(invalid(format!("{} brokers: a cluster has 1 to {MOST_BROKERS}", self.brokers)));
        }
        if !(1..=self.brokers).contains(&self.min_insync) {
            return Err(invalid(format!(
                "min.insync.replicas {} can never be had with {} brokers",
                self.min_insync, self.brokers
            )));
        }
        if !(0..=2).contains(&self.transactions.version) {
            return Err(invalid(format!("transaction.version {} is none of 0, 1 and 2", self.transactions.version)));
        }
        let GroupSettings { min_session_timeout, max_session_timeout, .. } = self.groups;
        if min_session_timeout > max_session_timeout {
            return Err(invalid(format!(
                "group.min.session.timeout.ms {min_session_timeout:?} is above group.max.session.timeout.ms {max_session_timeout:?}"
            )));
        }
        for (name, time) in [
            ("log.retention.check.interval.ms", self.logs.retention_check_interval),
            ("log.cleaner.backoff.ms", self.logs.cleaner_backoff),
            ("offsets.retention.check.interval.ms", self.groups.offsets_retention_check_interval),
        ] {
            if time < Duration::from_millis(1) {
                return Err(invalid(format!("{name} is {time:?}: it cannot be shorter than 1 ms")));
            }
        }
        Ok(())
    }

    fn listen(&self, broker: i32, port: u16) -> io::Result<TcpListener> {
        listen(IpAddr::V4(self.host), port).map_err(|error| {
            let remedy = match error.kind() {
                io::ErrorKind::AddrInUse => ": stop what uses it, or choose another port (0 picks a free one)",
                io::ErrorKind::PermissionDenied => ": choose a port above 1023",
                _ => "",
            };
            let host = self.host;
            io::Error::new(error.kind(), format!("broker {broker} cannot listen on {host}:{port}: {error}{remedy}"))
        })
    }

    fn run(
        &self,
        addresses: Vec<BrokerAddress>,
        listeners: Vec<Option<TcpListener>>,
        wall_start_ms: i64,
    ) -> io::Result<MockCluster> {
        let mut doors = BTreeMap::new();
        for (address, listener) in addresses.iter().zip(listeners) {
            doors.insert(address.id, Door::new(listener)?);
        }
        let settings = Settings {
            brokers: addresses,
            cluster_id: cluster_id(self.seed),
            seed: self.seed,
            auto_create_topics: self.auto_create_topics,
            default_partitions: 1,
            default_replication_factor: self.brokers.min(3) as i16,
            min_insync_replicas: self.min_insync as i32,
            wall_start_ms,
            offsets_partitions: OFFSETS_PARTITIONS,
            groups: self.groups,
            transactions: self.transactions,
            replication: self.replication,
            logs: self.logs,
        };
        let shared = Shared::start(settings, doors, self.pipe_options.clone(), Journal::new(self.journal_bytes));
        let cluster = MockCluster::new(Arc::clone(&shared));
        for topic in &self.topics {
            let created = shared.change(|state, now| state.core.create_topic(now, topic.clone().into()));
            let brokers = if self.brokers == 1 { "1 broker".into() } else { format!("{} brokers", self.brokers) };
            created
                .map_err(|code| invalid(format!("cannot create topic {topic} in a cluster of {brokers}: {code}")))?;
        }
        Ok(cluster)
    }
}

fn broker_id(index: usize) -> i32 {
    i32::try_from(index + 1).unwrap_or(i32::MAX)
}

/// Kafka's form of one: 22 letters.
fn cluster_id(seed: u64) -> String {
    let mut random = Random::new(seed, CLUSTER_ID_STREAM);
    let bits = (u128::from(random.next()) << 64) | u128::from(random.next());
    Uuid(bits.to_be_bytes()).to_string()
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

#[allow(clippy::disallowed_methods, reason = "records of a cluster with listeners have the time that clients see")]
fn wall_clock() -> i64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
