//! The whole cluster as one structure: requests and time go in, answers come out. Pure.
//!
//! ```text
//! submit ──► api/<api>.rs ──► controller   what is true of topics, partitions, brokers
//!                 │      └──► brokers      what each broker believes, its logs, its memory
//!                 │
//!                 ├─ answered ─────────────────────────────► outcomes ──► next_outcome
//!                 └─ parked, re-checked when a partition changed or time is up ─┘
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::api;
use crate::random::Random;

pub(crate) mod append;
mod broker;
pub(crate) mod controller;
mod elections;
pub(crate) mod fetch_sessions;
mod groups;
mod liveness;
mod log;
pub(crate) mod offsets;
pub(crate) mod parked;
mod producers;
mod replica;
mod replication;
mod script;
#[cfg(test)]
mod tests;
mod topic_changes;
pub(crate) mod topic_configs;
pub(crate) mod transactions;
mod upkeep;

use broker::{Broker, Process};
use controller::{Controller, PartitionId};
use parked::{Parked, ParkedRequests, Wait};
use upkeep::Upkeep;

pub(crate) use elections::Following;
pub use groups::GroupState;
pub(crate) use groups::{GroupDescription, GroupSettings};
pub(crate) use liveness::Visibility;
pub(crate) use log::{Aborted, Log};
pub use log::{LogMarker, LogRecord};
pub use producers::ProducerState;
pub use transactions::TransactionState;
pub(crate) use transactions::{TransactionDescription, TransactionSettings};
pub(crate) use upkeep::LogSettings;

/// How the cluster is made.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) brokers: Vec<BrokerAddress>,
    pub(crate) cluster_id: String,
    pub(crate) seed: u64,
    pub(crate) auto_create_topics: bool,
    pub(crate) default_partitions: i32,
    pub(crate) default_replication_factor: i16,
    pub(crate) min_insync_replicas: i32,
    /// Milliseconds since the Unix epoch at time zero.
    pub(crate) wall_start_ms: i64,
    /// Partitions of `__consumer_offsets`, and of the transactions' topic.
    pub(crate) offsets_partitions: i32,
    pub(crate) groups: GroupSettings,
    pub(crate) transactions: TransactionSettings,
    pub(crate) replication: ReplicationSettings,
    pub(crate) logs: LogSettings,
}

/// What the brokers' configuration says about replicas.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReplicationSettings {
    /// `replica.lag.time.max.ms`
    pub(crate) lag_time_max: Duration,
    /// `broker.session.timeout.ms`
    pub(crate) session_timeout: Duration,
    /// Whether consumers are sent to a replica in their rack (`replica.selector.class`).
    pub(crate) is_rack_aware: bool,
}

impl Default for ReplicationSettings {
    /// Kafka's.
    fn default() -> Self {
        Self { lag_time_max: Duration::from_secs(30), session_timeout: Duration::from_secs(9), is_rack_aware: false }
    }
}

/// A broker and where clients reach it.
#[derive(Debug, Clone)]
pub(crate) struct BrokerAddress {
    pub(crate) id: i32,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) rack: Option<String>,
}

/// Where a request comes from.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) broker: i32,
    pub(crate) connection: u64,
    pub(crate) client_host: String,
}

/// Names a submitted request until its outcome has been taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(u64);

/// What becomes of a request.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// The answer with its length prefix, in pieces; after it the connection is not read for `mute`.
    Reply { frame: Vec<Bytes>, mute: Duration },
    /// No answer, by the protocol (acks=0).
    Silent,
    /// The connection is to be closed.
    Close,
}

/// A topic to create.
#[derive(Debug, Clone)]
pub(crate) struct NewTopic {
    pub(crate) name: String,
    pub(crate) partitions: i32,
    pub(crate) replication_factor: Option<i16>,
    pub(crate) configs: BTreeMap<String, String>,
}

/// The whole cluster.
pub(crate) struct Core {
    pub(crate) settings: Settings,
    /// When it was last told the time.
    time: Duration,
    pub(crate) controller: Controller,
    pub(crate) brokers: BTreeMap<i32, Broker>,
    pub(crate) random: Random,
    parked: ParkedRequests,
    /// Replicas, with their brokers, that a test keeps from following.
    held: BTreeSet<(PartitionId, i32)>,
    upkeep: Upkeep,
    /// Partitions whose parked requests are to be looked at.
    changed: BTreeSet<PartitionId>,
    /// Transactional ids whose markers are kept back.
    held_markers: BTreeSet<String>,
    outcomes: VecDeque<(Ticket, Outcome)>,
    next_ticket: u64,
}

impl Core {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            controller: Controller::new(&settings, Random::new(settings.seed, 1)),
            brokers: settings.brokers.iter().map(|address| (address.id, Broker::new(address.id))).collect(),
            random: Random::new(settings.seed, 2),
            time: Duration::ZERO,
            parked: ParkedRequests::default(),
            held: BTreeSet::new(),
            upkeep: Upkeep::default(),
            changed: BTreeSet::new(),
            held_markers: BTreeSet::new(),
            outcomes: VecDeque::new(),
            next_ticket: 0,
            settings,
        }
    }

    /// Hands in a request frame without its length prefix. Its outcome comes from `next_outcome`, at once or later. A broker
    /// works on one request of a connection at a time: submit the next one of a connection when this one's outcome is out.
    pub(crate) fn submit(&mut self, now: Duration, origin: &Origin, frame: Bytes) -> Ticket {
        self.poll(now);
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        if !self.is_up(origin.broker) {
            self.resolve(ticket, Outcome::Close);
            return ticket;
        }
        if let Some(outcome) = api::serve(self, now, origin, ticket, frame) {
            self.resolve(ticket, outcome);
        }
        self.poll(now);
        ticket
    }

    /// The next request that is done with. To be called until `None` after each call that takes `now`.
    pub(crate) fn next_outcome(&mut self) -> Option<(Ticket, Outcome)> {
        self.outcomes.pop_front()
    }

    /// Forgets the connection's parked requests. Its fetch sessions stay, as in Kafka.
    pub(crate) fn on_disconnect(&mut self, connection: u64) {
        self.parked.drop_where(|origin| origin.connection == connection);
    }

    /// Lets time pass.
    pub(crate) fn poll(&mut self, now: Duration) {
        self.time = now;
        loop {
            self.settle(now);
            if let Some(ticket) = self.parked.expired(now) {
                self.recheck(now, ticket, true);
            } else if !self.expire_group(now)
                && !self.expire_transaction(now)
                && !self.expire_liveness(now)
                && !self.finish_loading(now)
                && !self.do_upkeep(now)
            {
                return;
            }
        }
    }

    /// When `poll` has something to do next.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let awake = self.brokers.values().filter(|broker| broker.process == Process::Running);
        let of_brokers = awake.flat_map(|broker| {
            let loaded = broker.loading.values().min().copied();
            [broker.groups.next_deadline(), broker.transactions.next_deadline(), loaded]
        });
        of_brokers
            .flatten()
            .chain(self.parked.next_deadline())
            .chain(self.next_controller_deadline())
            .chain(self.upkeep.next_deadline())
            .min()
    }

    pub(crate) fn wall_ms(&self, now: Duration) -> i64 {
        self.settings.wall_start_ms.saturating_add(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
    }

    fn resolve(&mut self, ticket: Ticket, outcome: Outcome) {
        self.outcomes.push_back((ticket, outcome));
    }

    pub(crate) fn park(&mut self, ticket: Ticket, parked: Parked) {
        self.parked.park(ticket, parked);
    }

    /// Looks again at what waits for the partitions that changed, and at who coordinates there.
    fn settle(&mut self, now: Duration) {
        while let Some(id) = self.changed.pop_first() {
            self.coordinate_groups(now, id);
            self.coordinate_transactions(now, id);
            self.plan_upkeep(now, id);
            for ticket in self.parked.watching(id) {
                self.recheck(now, ticket, false);
            }
        }
        self.keep_within_memory(now);
    }

    /// Answers a parked request if it can be answered now, or must be because its time is up.
    fn recheck(&mut self, now: Duration, ticket: Ticket, is_expired: bool) {
        let Some(Parked { origin, header, deadline, watched, wait }) = self.parked.take(ticket) else { return };
        let call = api::Call { now, origin: &origin, ticket, header: &header };
        let result = match wait {
            Wait::Produce(pending) => api::produce::check(self, &call, pending, is_expired).map_err(Wait::Produce),
            Wait::Fetch(pending) => api::fetch::check(self, &call, pending, is_expired).map_err(Wait::Fetch),
            Wait::OffsetCommit(pending) => {
                api::offset_commit::check(self, &call, pending, is_expired).map_err(Wait::OffsetCommit)
            }
            waits @ (Wait::Group | Wait::Transaction(_)) => Err(waits),
            Wait::DeleteRecords(pending) => {
                api::delete_records::check(self, &call, pending, is_expired).map_err(Wait::DeleteRecords)
            }
        };
        match result {
            Ok(outcome) => self.resolve(ticket, outcome),
            Err(wait) => self.parked.park(ticket, Parked { origin, header, deadline, watched, wait }),
        }
    }
}
