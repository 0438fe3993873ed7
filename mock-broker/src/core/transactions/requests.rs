//! What clients ask a coordinator for, and other brokers on their behalf. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use milena_protocol::ErrorCode;

use super::transaction::{End, Ending, Epochs, Init, Transaction};
use super::{Identity, Joining, Reply, TRANSACTIONS_TOPIC, TopicPartition};
use crate::api::Call;
use crate::core::controller::PartitionId;
use crate::core::{Core, Ticket};

/// What becomes of a request: its answer, if there is nothing to be written first.
type Done = Result<Option<Identity>, ErrorCode>;

/// Who adds partitions to a transaction, and how.
struct Adding<'a> {
    transactional_id: &'a str,
    identity: Identity,
    partitions: &'a BTreeSet<TopicPartition>,
    epochs: Epochs,
}

impl Core {
    /// Gives a transactional producer its identity. The request must have been parked: its answer comes by its ticket.
    pub(crate) fn init_transaction(
        &mut self,
        call: &Call<'_>,
        transactional_id: &str,
        timeout_ms: i32,
        expected: Option<Identity>,
    ) {
        let done = self.try_init(call, transactional_id, timeout_ms, expected);
        self.answer_now(call, done);
    }

    fn try_init(
        &mut self,
        call: &Call<'_>,
        transactional_id: &str,
        timeout_ms: i32,
        expected: Option<Identity>,
    ) -> Done {
        let broker = call.origin.broker;
        let allowed = 1..=self.settings.transactions.max_timeout.as_millis();
        if !u128::try_from(timeout_ms).is_ok_and(|timeout| allowed.contains(&timeout)) {
            return Err(ErrorCode::INVALID_TRANSACTION_TIMEOUT);
        }
        let id = self.check_transaction_coordinator(broker, transactional_id)?;
        if self.coordinated(broker, transactional_id).is_none() {
            let new = Transaction::new(self.new_producer_id(broker)?, timeout_ms);
            if let Some(broker) = self.brokers.get_mut(&broker) {
                broker.transactions.insert(id.index, transactional_id.to_owned(), new);
            }
        }
        let (_, transaction) = self.settled(broker, transactional_id)?;
        let (now_ms, server) = (self.wall_ms(call.now), self.settings.transactions.epochs());
        let mut new_id = || self.new_producer_id(broker);
        let (next, reply): (_, Reply) = match transaction.init(timeout_ms, expected, server, now_ms, &mut new_id)? {
            Init::Ready(next) => {
                let identity = next.identity();
                (next, Ok(identity))
            }
            Init::Fence(next) => (next, Err(ErrorCode::CONCURRENT_TRANSACTIONS)),
        };
        self.store(call.now, broker, id, transactional_id, next, Some((call.ticket, reply)))?;
        Ok(None)
    }

    /// Adds partitions to a transaction for a client. The request must have been parked: its answer comes by its ticket.
    pub(crate) fn add_to_transaction(
        &mut self,
        call: &Call<'_>,
        transactional_id: &str,
        identity: Identity,
        partitions: &BTreeSet<TopicPartition>,
    ) {
        let adding = Adding { transactional_id, identity, partitions, epochs: Epochs::Keep };
        let added = self.add(call.now, call.origin.broker, &adding, Some((call.ticket, Ok(identity))));
        self.answer_now(call, added.map(|changes| (!changes).then_some(identity)));
    }

    /// Tells whether the transaction changes by it.
    fn add(
        &mut self,
        now: Duration,
        broker: i32,
        adding: &Adding<'_>,
        answer: Option<(Ticket, Reply)>,
    ) -> Result<bool, ErrorCode> {
        let Adding { transactional_id, identity, partitions, epochs } = *adding;
        if transactional_id.is_empty() {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        let (id, transaction) = self.settled(broker, transactional_id)?;
        match transaction.add(identity, partitions, epochs, self.wall_ms(now))? {
            Some(next) => self.store(now, broker, id, transactional_id, next, answer).map(|()| true),
            None => Ok(false),
        }
    }

    /// What a coordinator that another broker asks does with partitions, without waiting: those that are added now and not yet on
    /// all in-sync replicas are an error that the asker repeats.
    ///
    /// # Errors
    /// Why these partitions may not be written to.
    pub(crate) fn join_at_coordinator(
        &mut self,
        now: Duration,
        broker: i32,
        transactional_id: &str,
        identity: Identity,
        partitions: &BTreeSet<TopicPartition>,
        joining: Joining,
    ) -> Result<(), ErrorCode> {
        if transactional_id.is_empty() {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        match joining {
            Joining::Add => {
                let adding = Adding { transactional_id, identity, partitions, epochs: Epochs::Bump };
                if self.add(now, broker, &adding, None)? {
                    self.advance(now, broker, transactional_id);
                    self.settled(broker, transactional_id)?;
                }
                Ok(())
            }
            Joining::Verify => {
                let (_, transaction) = self.settled(broker, transactional_id)?;
                partitions.iter().try_for_each(|partition| transaction.verify(identity, partition))
            }
        }
    }

    /// The leader of a partition asks the coordinator of a transaction whether it may write for its producer.
    ///
    /// # Errors
    /// What the coordinator says, or that there is none.
    pub(crate) fn join_transaction(
        &mut self,
        now: Duration,
        leader: i32,
        transactional_id: &str,
        identity: Identity,
        id: PartitionId,
        joining: Joining,
    ) -> Result<(), ErrorCode> {
        let view = self.view(leader);
        let kept = self.partition_for_key(TRANSACTIONS_TOPIC, transactional_id).and_then(|id| view.partition(id));
        let coordinator = kept.map(|state| state.leader).filter(|leader| *leader >= 0);
        let coordinator = coordinator.ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
        let topic = view.topic_by_id(id.topic).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let partition = (topic.name.clone(), id.index);
        if !self.reaches(leader, coordinator) {
            return Err(ErrorCode::NETWORK_EXCEPTION);
        }
        self.join_at_coordinator(now, coordinator, transactional_id, identity, &[partition].into(), joining)
    }

    /// Commits or aborts for a client. The request must have been parked: its answer comes by its ticket.
    pub(crate) fn end_transaction(
        &mut self,
        call: &Call<'_>,
        transactional_id: &str,
        identity: Identity,
        end: End,
        epochs: Epochs,
    ) {
        let done = self.try_end(call, transactional_id, identity, end, epochs);
        self.answer_now(call, done);
    }

    fn try_end(
        &mut self,
        call: &Call<'_>,
        transactional_id: &str,
        identity: Identity,
        end: End,
        epochs: Epochs,
    ) -> Done {
        if transactional_id.is_empty() {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        let broker = call.origin.broker;
        let (id, transaction) = self.settled(broker, transactional_id)?;
        let now_ms = self.wall_ms(call.now);
        let mut new_id = || self.new_producer_id(broker);
        match transaction.end(identity, end, epochs, now_ms, &mut new_id)? {
            Ending::Already => Ok(Some(transaction.identity())),
            Ending::Prepare(next) => {
                let answer = Some((call.ticket, Ok(next.complete(now_ms).identity())));
                self.store(call.now, broker, id, transactional_id, next, answer)?;
                Ok(None)
            }
        }
    }

    fn answer_now(&mut self, call: &Call<'_>, done: Done) {
        if let Some(reply) = done.transpose() {
            self.answer_transaction(call.now, call.ticket, reply);
        }
    }
}
