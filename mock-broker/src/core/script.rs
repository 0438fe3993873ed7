//! What a test does to the cluster, and what it reads from it, past the protocol. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use milena_protocol::ErrorCode;
use milena_protocol::primitives::Uuid;
use milena_protocol::records::BatchError;

use super::controller::{Layout, PartitionId, Refusal, TopicState};
use super::offsets::{OFFSETS_TOPIC, TRANSACTIONS_TOPIC};
use super::replica::Replica;
use super::{Core, Log, LogMarker, LogRecord, NewTopic, ProducerState};

impl Core {
    /// Checks, lays out and creates a topic, and makes its replicas.
    pub(crate) fn create(
        &mut self,
        name: &str,
        layout: &Layout,
        configs: BTreeMap<String, String>,
    ) -> Result<Uuid, Refusal> {
        let planned = self.controller.plan(name, layout, configs)?;
        Ok(self.create_planned(planned))
    }

    pub(crate) fn create_planned(&mut self, planned: TopicState) -> Uuid {
        let partitions = planned.partitions.len();
        let topic = self.controller.create(planned);
        for index in (0..).take(partitions) {
            self.publish(PartitionId { topic, index });
        }
        topic
    }

    /// Deletes a topic with its records and its committed offsets.
    pub(crate) fn delete(&mut self, now: Duration, topic: Uuid) -> Option<TopicState> {
        let deleted = self.controller.delete(topic)?;
        self.held.retain(|(id, _)| id.topic != topic);
        for broker in self.brokers.values_mut().filter(|broker| broker.is_in_touch()) {
            broker.replicas.retain(|id, _| id.topic != topic);
            if deleted.name == OFFSETS_TOPIC {
                broker.offsets.clear();
            }
        }
        if deleted.name == OFFSETS_TOPIC {
            self.forget_groups(now);
        }
        if deleted.name == TRANSACTIONS_TOPIC {
            self.forget_transactions(now);
        }
        self.changed.extend(deleted.partition_ids().map(|(id, _)| id));
        self.delete_offsets_of(now, &deleted.name);
        Some(deleted)
    }

    /// # Errors
    /// The code that CreateTopics would answer with.
    pub(crate) fn create_topic(&mut self, now: Duration, topic: NewTopic) -> Result<(), ErrorCode> {
        let NewTopic { name, partitions, replication_factor, configs } = topic;
        let replication_factor = replication_factor.unwrap_or(self.settings.default_replication_factor);
        self.create(&name, &Layout::Spread { partitions, replication_factor }, configs)
            .map_err(|refusal| refusal.code)?;
        self.poll(now);
        Ok(())
    }

    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION.
    pub(crate) fn delete_topic(&mut self, now: Duration, name: &str) -> Result<(), ErrorCode> {
        let topic = self.controller.topic(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?.id;
        self.delete(now, topic);
        self.poll(now);
        Ok(())
    }

    /// Deletes a topic and creates it again: same name, counts and configuration, another id, no records.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION, or what creating it gives.
    pub(crate) fn recreate_topic(&mut self, now: Duration, name: &str) -> Result<(), ErrorCode> {
        let topic = self.controller.topic(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let replicas = topic.partition(0).map_or(0, |state| state.replicas.len());
        let again = NewTopic {
            name: name.to_owned(),
            partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
            replication_factor: i16::try_from(replicas).ok(),
            configs: topic.configs.set().clone(),
        };
        self.delete_topic(now, name)?;
        self.create_topic(now, again)
    }

    pub(crate) fn topics(&self) -> Vec<String> {
        self.controller.topics().map(|topic| topic.name.clone()).collect()
    }

    pub(crate) fn partition_count(&self, topic: &str) -> Option<i32> {
        self.controller.topic(topic).and_then(|topic| i32::try_from(topic.partitions.len()).ok())
    }

    /// The partition, if it exists.
    pub(crate) fn partition_id(&self, topic: &str, partition: i32) -> Option<PartitionId> {
        self.controller.partition_id(topic, partition)
    }

    /// Leader (-1: none) and leader epoch.
    pub(crate) fn leader(&self, topic: &str, partition: i32) -> Option<(i32, i32)> {
        let state = self.controller.topic(topic)?.partition(partition)?;
        Some((state.leader, state.leader_epoch))
    }

    pub(crate) fn replicas(&self, topic: &str, partition: i32) -> Option<Vec<i32>> {
        Some(self.controller.topic(topic)?.partition(partition)?.replicas.clone())
    }

    pub(crate) fn isr(&self, topic: &str, partition: i32) -> Option<Vec<i32>> {
        Some(self.controller.topic(topic)?.partition(partition)?.isr.clone())
    }

    /// Looks at the replica of the leader; of a partition without one, at that of the last in-sync replica, which is down. If that
    /// broker has none (it lost its disk, or has not heard of the partition yet) it is an empty one.
    fn at_leader<T>(&self, topic: &str, partition: i32, look: impl FnOnce(&Replica) -> T) -> Option<T> {
        let id = self.partition_id(topic, partition)?;
        let (state, rules) = (self.controller.partition(id)?, self.controller.topic(topic)?.log_rules);
        let broker = if state.leader == -1 { state.isr.first() } else { Some(&state.leader) };
        match broker.and_then(|broker| self.brokers.get(broker)).and_then(|broker| broker.replicas.get(&id)) {
            Some(replica) => Some(look(replica)),
            None => Some(look(&Replica::new(state.clone(), rules))),
        }
    }

    /// The replica of one broker, whatever it believes.
    pub(crate) fn replica_at(&self, topic: &str, partition: i32, broker: i32) -> Option<&Replica> {
        let id = self.partition_id(topic, partition)?;
        self.brokers.get(&broker)?.replicas.get(&id)
    }

    /// The applications' records in the log of one broker, in order.
    pub(crate) fn records_at(&self, topic: &str, partition: i32, broker: i32) -> Option<Vec<LogRecord>> {
        let log = &self.replica_at(topic, partition, broker)?.log;
        read_all(topic, partition, log, log.end())
    }

    /// The applications' records below the high watermark, in order.
    pub(crate) fn records(&self, topic: &str, partition: i32) -> Option<Vec<LogRecord>> {
        self.at_leader(topic, partition, |replica| read_all(topic, partition, &replica.log, replica.high_watermark))?
    }

    /// Those that a reader of committed records gets.
    pub(crate) fn committed_records(&self, topic: &str, partition: i32) -> Option<Vec<LogRecord>> {
        let committed =
            |replica: &Replica| replica.log.committed_records(replica.log.start(), replica.last_stable_offset());
        readable(topic, partition, self.at_leader(topic, partition, committed)?)
    }

    /// The markers below the high watermark, in order.
    pub(crate) fn markers(&self, topic: &str, partition: i32) -> Option<Vec<LogMarker>> {
        self.at_leader(topic, partition, |replica| {
            replica.log.markers(replica.log.start(), replica.high_watermark).collect()
        })
    }

    pub(crate) fn producers(&self, topic: &str, partition: i32) -> Option<Vec<ProducerState>> {
        self.at_leader(topic, partition, Replica::producer_states)
    }

    pub(crate) fn last_stable_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        self.at_leader(topic, partition, Replica::last_stable_offset)
    }

    pub(crate) fn high_watermark(&self, topic: &str, partition: i32) -> Option<i64> {
        self.at_leader(topic, partition, |replica| replica.high_watermark)
    }

    pub(crate) fn log_end(&self, topic: &str, partition: i32) -> Option<i64> {
        self.at_leader(topic, partition, |replica| replica.log.end())
    }

    pub(crate) fn log_start(&self, topic: &str, partition: i32) -> Option<i64> {
        self.at_leader(topic, partition, |replica| replica.log.start())
    }

    /// The offset that the group has committed, as its coordinator knows it.
    pub(crate) fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        let (_, offsets) = self.offsets_at(self.coordinator(group), group).ok()?;
        offsets.get(group, topic, partition).map(|committed| committed.offset)
    }

    /// All offsets that the group has committed, as its coordinator knows them: topic, partition, offset.
    pub(crate) fn committed_offsets(&self, group: &str) -> Vec<(String, i32, i64)> {
        let offsets = self.offsets_at(self.coordinator(group), group).ok();
        let offsets = offsets.and_then(|(_, offsets)| offsets.of_group(group)).into_iter().flatten();
        offsets.map(|((topic, partition), committed)| (topic.clone(), *partition, committed.offset)).collect()
    }

    /// -1 while there is none.
    pub(crate) fn coordinator(&self, group: &str) -> i32 {
        let id = self.partition_for_key(OFFSETS_TOPIC, group);
        id.and_then(|id| self.controller.partition(id)).map_or(-1, |state| state.leader)
    }
}

fn read_all(topic: &str, partition: i32, log: &Log, until: i64) -> Option<Vec<LogRecord>> {
    readable(topic, partition, log.records(log.start(), until))
}

fn readable(topic: &str, partition: i32, records: Result<Vec<LogRecord>, BatchError>) -> Option<Vec<LogRecord>> {
    records.inspect_err(|error| tracing::error!(%error, topic, partition, "the log cannot be read")).ok()
}
