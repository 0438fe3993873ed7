//! The coordinators of transactions: what each broker knows of transactional ids, and how that gets into the log. Pure.
//!
//! A broker coordinates the transactional ids of those partitions of `__transaction_state` that it leads. A new state of a
//! transaction is written there first; it counts, and is answered, once it is on all in-sync replicas. Then its markers are
//! written. So whatever crashes, the next leader finds in its log what was promised, and goes on with it.
//!
//! ```text
//! request ──► transaction.rs ──► the next state ──► log ──► pending ──► counts: the request is answered ──┐
//!                  ▲                                                                                     │
//!                  └──────── all markers are on all in-sync replicas ◄──── markers ◄──── it is prepared ◄─┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use milena_protocol::ErrorCode;
use milena_protocol::messages::add_partitions_to_txn::AddPartitionsToTxnTopic;

use super::broker::Process;
use super::controller::PartitionId;
use super::offsets::TRANSACTIONS_TOPIC;
use super::parked::{Parked, Wait};
use super::{Core, Log, Ticket};
use crate::api::{self, Call};

mod description;
mod markers;
mod record;
mod requests;
mod transaction;

pub(crate) use description::TransactionDescription;
use markers::Marker;
use transaction::Transaction;
pub use transaction::TransactionState;
pub(crate) use transaction::{End, Epochs, Identity, TopicPartition};

/// How long a transaction that could not be aborted in time is left alone (`transaction.abort.timed.out.transaction.cleanup.
/// interval.ms`).
const ABORT_AGAIN: Duration = Duration::from_secs(10);

/// What the brokers' configuration says about transactions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TransactionSettings {
    pub(crate) max_timeout: Duration,
    /// The level of the feature `transaction.version`.
    pub(crate) version: i16,
}

/// Those of Kafka 4.
impl Default for TransactionSettings {
    fn default() -> Self {
        Self { max_timeout: Duration::from_secs(15 * 60), version: 2 }
    }
}

impl TransactionSettings {
    fn epochs(&self) -> Epochs {
        if self.version >= 2 { Epochs::Bump } else { Epochs::Keep }
    }
}

/// The identity with which the producer goes on, or why it does not.
type Reply = Result<Identity, ErrorCode>;

/// What a request asks for that waits for its transaction.
#[derive(Debug)]
pub(crate) enum Waiting {
    InitProducerId,
    /// With what it names, which the answer repeats.
    AddPartitions(Vec<AddPartitionsToTxnTopic>),
    AddOffsets,
    EndTxn,
}

/// How a leader asks whether it may write for a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joining {
    /// The partition becomes part of the transaction (KIP-890, part 2).
    Add,
    /// The client must have added it (KIP-890, part 1).
    Verify,
}

/// The transactions that one broker coordinates.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    /// The partitions of `__transaction_state` whose transactional ids are here, with the leader epochs of their elections.
    partitions: BTreeMap<i32, i32>,
    by_id: BTreeMap<String, Coordinated>,
    /// Until when each transaction has to end.
    deadlines: BTreeSet<(Duration, String)>,
    /// Those that wait for replicas or markers.
    unsettled: BTreeSet<String>,
}

#[derive(Debug)]
struct Coordinated {
    partition: i32,
    /// As all in-sync replicas know it.
    transaction: Transaction,
    pending: Option<Pending>,
    /// Those that are not on all in-sync replicas of their partitions yet.
    markers: BTreeMap<TopicPartition, Marker>,
    deadline: Option<Duration>,
    /// An abort was tried in vain: not before then again.
    not_before: Duration,
}

/// A state that is written, and waits for the followers.
#[derive(Debug)]
struct Pending {
    next: Transaction,
    /// Where the high watermark has to be.
    end: i64,
    answer: Option<(Ticket, Reply)>,
}

impl Coordinated {
    fn new(partition: i32, transaction: Transaction) -> Self {
        let markers = BTreeMap::new();
        Self { partition, transaction, pending: None, markers, deadline: None, not_before: Duration::ZERO }
    }

    /// The transaction, unless it is about to be another one.
    fn settled(&self) -> Result<&Transaction, ErrorCode> {
        if self.pending.is_some() { Err(ErrorCode::CONCURRENT_TRANSACTIONS) } else { Ok(&self.transaction) }
    }
}

impl Transactions {
    fn insert(&mut self, partition: i32, id: String, transaction: Transaction) {
        self.by_id.insert(id, Coordinated::new(partition, transaction));
    }

    /// To be called after each change of a transaction.
    fn rearm(&mut self, id: &str, wall_start_ms: i64) {
        let Some(coordinated) = self.by_id.get_mut(id) else { return };
        let due = coordinated.settled().ok().and_then(Transaction::deadline_ms).map(|deadline_ms| {
            let since_start = u64::try_from(deadline_ms.saturating_sub(wall_start_ms)).unwrap_or(0);
            Duration::from_millis(since_start).max(coordinated.not_before)
        });
        if let Some(deadline) = coordinated.deadline {
            self.deadlines.remove(&(deadline, id.to_owned()));
        }
        if let Some(deadline) = due {
            self.deadlines.insert((deadline, id.to_owned()));
        }
        coordinated.deadline = due;
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Forgets the transactional ids of a partition. Gives the requests that waited for one of them.
    fn unload(&mut self, partition: i32) -> Vec<Ticket> {
        self.partitions.remove(&partition);
        let mut tickets = Vec::new();
        self.by_id.retain(|id, coordinated| {
            let stays = coordinated.partition != partition;
            if !stays {
                tickets.extend(coordinated.pending.take().and_then(|pending| pending.answer).map(|(ticket, _)| ticket));
                self.unsettled.remove(id);
                if let Some(deadline) = coordinated.deadline {
                    self.deadlines.remove(&(deadline, id.clone()));
                }
            }
            stays
        });
        tickets
    }
}

impl Core {
    /// Where the state of a transactional id is, if this broker coordinates it.
    ///
    /// # Errors
    /// NOT_COORDINATOR if it does not.
    fn check_transaction_coordinator(&self, broker: i32, transactional_id: &str) -> Result<PartitionId, ErrorCode> {
        let id = self.partition_for_key(TRANSACTIONS_TOPIC, transactional_id).ok_or(ErrorCode::NOT_COORDINATOR)?;
        let broker = self.brokers.get(&broker).ok_or(ErrorCode::NOT_COORDINATOR)?;
        broker.check_loaded(id)?;
        if broker.transactions.partitions.contains_key(&id.index) { Ok(id) } else { Err(ErrorCode::NOT_COORDINATOR) }
    }

    fn coordinated(&self, broker: i32, transactional_id: &str) -> Option<&Coordinated> {
        self.brokers.get(&broker)?.transactions.by_id.get(transactional_id)
    }

    /// The transaction as a request may change it.
    fn settled(&self, broker: i32, transactional_id: &str) -> Result<(PartitionId, Transaction), ErrorCode> {
        let id = self.check_transaction_coordinator(broker, transactional_id)?;
        let coordinated = self.coordinated(broker, transactional_id).ok_or(ErrorCode::INVALID_PRODUCER_ID_MAPPING)?;
        Ok((id, coordinated.settled()?.clone()))
    }

    /// A producer id that nobody has had.
    ///
    /// # Errors
    /// COORDINATOR_LOAD_IN_PROGRESS if the broker has none left, and does not reach the controller.
    pub(crate) fn new_producer_id(&mut self, broker: i32) -> Result<i64, ErrorCode> {
        let broker = self.brokers.get_mut(&broker).ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
        if broker.producer_ids.is_empty() && broker.is_in_touch() {
            broker.producer_ids = self.controller.take_producer_ids();
        }
        broker.producer_ids.next().ok_or(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS)
    }

    /// Aborts what is under way, and fences its producer, as when its time is up.
    ///
    /// # Errors
    /// INVALID_TXN_STATE if nothing is under way, and why it could not be written.
    fn abort(&mut self, now: Duration, broker: i32, transactional_id: &str) -> Result<(), ErrorCode> {
        let (id, transaction) = self.settled(broker, transactional_id)?;
        if transaction.state != TransactionState::Ongoing {
            return Err(ErrorCode::INVALID_TXN_STATE);
        }
        let next = transaction.fence(self.settings.transactions.epochs(), self.wall_ms(now));
        self.store(now, broker, id, transactional_id, next, None)
    }

    /// Writes the next state of a transaction. It counts when the followers have it: see `advance`.
    fn store(
        &mut self,
        now: Duration,
        broker: i32,
        id: PartitionId,
        transactional_id: &str,
        next: Transaction,
        answer: Option<(Ticket, Reply)>,
    ) -> Result<(), ErrorCode> {
        let encoded = |error| {
            tracing::error!(%error, transactional_id, "a transaction does not fit into a record");
            ErrorCode::UNKNOWN_SERVER_ERROR
        };
        let key = record::encode_key(transactional_id).map_err(encoded)?;
        let value = next.encode().map_err(encoded)?;
        let appended = self.append_for_coordinator(now, broker, id, None, &[(key, Some(value))])?;
        let wall_start_ms = self.settings.wall_start_ms;
        let broker = self.brokers.get_mut(&broker).ok_or(ErrorCode::NOT_COORDINATOR)?;
        if let Some(coordinated) = broker.transactions.by_id.get_mut(transactional_id) {
            coordinated.pending = Some(Pending { next, end: appended.last_offset + 1, answer });
            broker.transactions.unsettled.insert(transactional_id.to_owned());
            broker.transactions.rearm(transactional_id, wall_start_ms);
        }
        Ok(())
    }

    fn answer_transaction(&mut self, now: Duration, ticket: Ticket, reply: Reply) {
        // Nobody waits any more if the connection has gone.
        let Some(Parked { origin, header, wait: Wait::Transaction(waiting), .. }) = self.parked.take(ticket) else {
            return;
        };
        let call = Call { now, origin: &origin, ticket, header: &header };
        let outcome = match waiting {
            Waiting::InitProducerId => api::init_producer_id::outcome(&call, reply),
            Waiting::AddPartitions(topics) => api::add_partitions_to_txn::outcome(&call, topics, reply.err()),
            Waiting::AddOffsets => api::add_offsets_to_txn::outcome(&call, reply.err()),
            Waiting::EndTxn => api::end_txn::outcome(&call, reply),
        };
        self.resolve(ticket, outcome);
    }

    /// Aborts one transaction whose time is up. Tells whether there was any.
    pub(super) fn expire_transaction(&mut self, now: Duration) -> bool {
        let first = |(broker, transactions): (i32, &Transactions)| {
            transactions.deadlines.first().map(|(deadline, id)| (*deadline, broker, id.clone()))
        };
        let awake = self.brokers.values().filter(|broker| broker.process == Process::Running);
        let next = awake.filter_map(|broker| first((broker.id, &broker.transactions))).min();
        let Some((_, broker, id)) = next.filter(|(deadline, ..)| *deadline <= now) else { return false };
        if let Err(code) = self.abort(now, broker, &id) {
            tracing::warn!(transactional_id = id, %code, "a transaction that takes too long is not aborted");
            let wall_start_ms = self.settings.wall_start_ms;
            if let Some(broker) = self.brokers.get_mut(&broker) {
                if let Some(coordinated) = broker.transactions.by_id.get_mut(&id) {
                    coordinated.not_before = now + ABORT_AGAIN;
                }
                broker.transactions.rearm(&id, wall_start_ms);
            }
        }
        true
    }

    /// After a change of a partition: a new leader of `__transaction_state` goes on with what it reads in its log, an old one
    /// sends its clients away. Then everything that waited for the partition goes on.
    pub(super) fn coordinate_transactions(&mut self, now: Duration, id: PartitionId) {
        if self.controller.topic(TRANSACTIONS_TOPIC).is_some_and(|topic| topic.id == id.topic) {
            self.load_transactions(now, id);
        }
        let unsettled = self.brokers.values().flat_map(|broker| {
            broker.transactions.unsettled.iter().map(|transactional_id| (broker.id, transactional_id.clone()))
        });
        for (broker, transactional_id) in unsettled.collect::<Vec<_>>() {
            self.advance(now, broker, &transactional_id);
        }
    }

    fn load_transactions(&mut self, now: Duration, id: PartitionId) {
        let wall_start_ms = self.settings.wall_start_ms;
        let mut orphans = Vec::new();
        for broker in self.brokers.values_mut().filter(|broker| broker.is_up()) {
            let is_loaded = !broker.loading.contains_key(&id);
            let leads = broker.replicas.get(&id).filter(|replica| is_loaded && replica.role.leader == broker.id);
            let elected = leads.map(|replica| replica.role.leader_epoch);
            if broker.transactions.partitions.get(&id.index).copied() == elected {
                continue;
            }
            orphans.extend(broker.transactions.unload(id.index));
            let Some(replica) = leads else { continue };
            broker.transactions.partitions.insert(id.index, replica.role.leader_epoch);
            // What the others do not have yet may still be lost: nobody acts on it before.
            let end = replica.log.end();
            let is_unsure = replica.high_watermark < end;
            for (transactional_id, transaction) in read(&replica.log) {
                let transactions = &mut broker.transactions;
                if is_unsure || transaction.ends_by().is_some() {
                    transactions.unsettled.insert(transactional_id.clone());
                }
                let pending = is_unsure.then(|| Pending { next: transaction.clone(), end, answer: None });
                let markers = markers::of(&transaction);
                let coordinated = Coordinated { pending, markers, ..Coordinated::new(id.index, transaction) };
                transactions.by_id.insert(transactional_id.clone(), coordinated);
                transactions.rearm(&transactional_id, wall_start_ms);
            }
        }
        for ticket in orphans {
            self.answer_transaction(now, ticket, Err(ErrorCode::NOT_COORDINATOR));
        }
    }

    /// The topic of the transactions' records is gone, and what the brokers knew from it.
    pub(super) fn forget_transactions(&mut self, now: Duration) {
        let mut orphans = Vec::new();
        for broker in self.brokers.values_mut() {
            let partitions: Vec<i32> = broker.transactions.partitions.keys().copied().collect();
            orphans.extend(partitions.into_iter().flat_map(|partition| broker.transactions.unload(partition)));
        }
        for ticket in orphans {
            self.answer_transaction(now, ticket, Err(ErrorCode::NOT_COORDINATOR));
        }
    }
}

/// The latest record of each transactional id in a log.
fn read(log: &Log) -> BTreeMap<String, Transaction> {
    let mut transactions = BTreeMap::new();
    let records = log.records(log.start(), log.end()).unwrap_or_else(|error| {
        tracing::error!(%error, "the log of {TRANSACTIONS_TOPIC} cannot be read");
        Vec::new()
    });
    for entry in records {
        let Some(id) = entry.key.and_then(record::decode_key) else { continue };
        match entry.value.map(Transaction::decode) {
            Some(Ok(transaction)) => drop(transactions.insert(id, transaction)),
            Some(Err(error)) => tracing::warn!(%error, offset = entry.offset, "not a transaction"),
            None => drop(transactions.remove(&id)),
        }
    }
    transactions
}
