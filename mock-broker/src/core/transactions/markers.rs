//! What comes after a decision: its record on all in-sync replicas, then the markers, then the record that all is done. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use milena_protocol::ErrorCode;

use super::transaction::{End, Transaction};
use super::{Identity, Pending, TRANSACTIONS_TOPIC, TopicPartition};
use crate::core::Core;
use crate::core::broker::Process;
use crate::core::controller::PartitionId;
use crate::core::replica::Replica;

/// A partition's marker on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker {
    /// Not in the log of a leader.
    Unwritten,
    /// It counts when the followers have it, too.
    Written { id: PartitionId, leader: i32, leader_epoch: i32, end: i64 },
}

/// The markers that a transaction needs at its end.
pub(super) fn of(transaction: &Transaction) -> BTreeMap<TopicPartition, Marker> {
    if transaction.ends_by().is_none() {
        return BTreeMap::new();
    }
    transaction.partitions.iter().map(|partition| (partition.clone(), Marker::Unwritten)).collect()
}

impl Core {
    /// Takes a transaction as far as its replicas let it.
    pub(super) fn advance(&mut self, now: Duration, broker: i32, transactional_id: &str) {
        while self.coordinates(broker, transactional_id)
            && (self.settle_state(now, broker, transactional_id) || self.finish(now, broker, transactional_id))
        {
        }
    }

    /// Whether the broker works, and leads as it was elected to: another leader may have written something else at the same
    /// offsets, and ended the transaction otherwise.
    fn coordinates(&self, broker: i32, transactional_id: &str) -> bool {
        let Some(id) = self.partition_for_key(TRANSACTIONS_TOPIC, transactional_id) else { return false };
        let Some(broker) = self.brokers.get(&broker).filter(|broker| broker.process == Process::Running) else {
            return false;
        };
        let elected = broker.transactions.partitions.get(&id.index);
        broker.leads(id) && broker.replicas.get(&id).map(|replica| &replica.role.leader_epoch) == elected
    }

    /// Lets a state count that all in-sync replicas have. Tells whether there was one.
    fn settle_state(&mut self, now: Duration, broker_id: i32, transactional_id: &str) -> bool {
        let Some(id) = self.partition_for_key(TRANSACTIONS_TOPIC, transactional_id) else { return false };
        let wall_start_ms = self.settings.wall_start_ms;
        let Some(broker) = self.brokers.get_mut(&broker_id) else { return false };
        let high_watermark = broker.replicas.get(&id).map_or(0, |replica| replica.high_watermark);
        let Some(coordinated) = broker.transactions.by_id.get_mut(transactional_id) else { return false };
        let Some(Pending { next, answer, .. }) = coordinated.pending.take_if(|pending| pending.end <= high_watermark)
        else {
            return false;
        };
        coordinated.markers = of(&next);
        if next.ends_by().is_none() {
            broker.transactions.unsettled.remove(transactional_id);
        }
        coordinated.transaction = next;
        broker.transactions.rearm(transactional_id, wall_start_ms);
        if let Some((ticket, result)) = answer {
            self.answer_transaction(now, ticket, result);
        }
        true
    }

    /// Writes the markers of a prepared transaction, and then that it is complete. Tells whether it is.
    fn finish(&mut self, now: Duration, broker: i32, transactional_id: &str) -> bool {
        let Ok((id, transaction)) = self.settled(broker, transactional_id) else { return false };
        let Some(end) = transaction.ends_by() else { return false };
        if self.held_markers.contains(transactional_id) {
            return false;
        }
        let (key, value) = marker_record(end, self.coordinator_epoch(broker, id.index));
        let record = (&key[..], &value[..]);
        let markers = self.coordinated(broker, transactional_id).map(|coordinated| coordinated.markers.clone());
        let mut left = BTreeMap::new();
        for (partition, marker) in markers.unwrap_or_default() {
            if let Some(marker) = self.bring_marker(now, broker, &partition, marker, transaction.identity(), record) {
                left.insert(partition, marker);
            }
        }
        let is_done = left.is_empty();
        let coordinated =
            self.brokers.get_mut(&broker).and_then(|broker| broker.transactions.by_id.get_mut(transactional_id));
        if let Some(coordinated) = coordinated {
            coordinated.markers = left;
        }
        if !is_done {
            return false;
        }
        let complete = transaction.complete(self.wall_ms(now));
        match self.store(now, broker, id, transactional_id, complete, None) {
            Ok(()) => true,
            Err(code) => {
                tracing::debug!(transactional_id, %code, "the end of a transaction waits to be written");
                false
            }
        }
    }

    /// The marker as long as it is still on its way.
    fn bring_marker(
        &mut self,
        now: Duration,
        coordinator: i32,
        partition: &TopicPartition,
        marker: Marker,
        identity: Identity,
        record: (&[u8], &[u8]),
    ) -> Option<Marker> {
        if let Marker::Written { id, leader, leader_epoch, end } = marker
            && self.reaches(coordinator, leader)
        {
            let replica = self.brokers.get(&leader).and_then(|broker| broker.replicas.get(&id));
            let leads = |replica: &&Replica| (replica.role.leader, replica.role.leader_epoch) == (leader, leader_epoch);
            match replica.filter(leads) {
                Some(replica) if replica.high_watermark >= end => return None,
                Some(_) => return Some(marker),
                // A new leader may lack it.
                None => {}
            }
        }
        let view = self.view(coordinator);
        // Who wants to know of a deleted topic how a transaction ended?
        let topic = view.topic(&partition.0)?;
        let leader = topic.partition(partition.1)?.leader;
        let id = PartitionId { topic: topic.id, index: partition.1 };
        if !self.reaches(coordinator, leader) {
            return Some(Marker::Unwritten);
        }
        match self.append_marker(now, leader, id, identity, record) {
            Ok(appended) => {
                let (leader_epoch, end) = (appended.leader_epoch, appended.last_offset + 1);
                let written = Marker::Written { id, leader, leader_epoch, end };
                let replica = self.brokers.get(&leader).and_then(|broker| broker.replicas.get(&id));
                if replica.is_some_and(|replica| replica.high_watermark >= end) { None } else { Some(written) }
            }
            // The producer has gone on without this transaction.
            Err(rejection) if rejection.refusal.code == ErrorCode::INVALID_PRODUCER_EPOCH => None,
            Err(_) => Some(Marker::Unwritten),
        }
    }

    fn coordinator_epoch(&self, broker: i32, partition: i32) -> i32 {
        let broker = self.brokers.get(&broker);
        broker.and_then(|broker| broker.transactions.partitions.get(&partition).copied()).unwrap_or(-1)
    }

    /// Keeps the markers of a transactional id back, or lets those go that were kept.
    pub(crate) fn hold_markers(&mut self, now: Duration, transactional_id: &str, hold: bool) {
        if hold {
            self.held_markers.insert(transactional_id.to_owned());
        } else if self.held_markers.remove(transactional_id) {
            let coordinator = self.transaction_coordinator(transactional_id);
            self.advance(now, coordinator, transactional_id);
            self.poll(now);
        }
    }
}

/// The record that a marker consists of: key and value.
fn marker_record(end: End, coordinator_epoch: i32) -> ([u8; 4], [u8; 6]) {
    let kind = match end {
        End::Abort => 0,
        End::Commit => 1,
    };
    let [a, b, c, d] = coordinator_epoch.to_be_bytes();
    ([0, 0, 0, kind], [0, 0, a, b, c, d])
}
