//! What administrators change about a topic that exists: its configuration, the number of its partitions. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use milena_protocol::ErrorCode;

use super::Core;
use super::controller::{PartitionId, PartitionState, Refusal};
use super::topic_configs::TopicConfigs;

/// The offset of DeleteRecords that stands for all that can be read.
const HIGH_WATERMARK: i64 = -1;

impl Core {
    /// Changes settings of a topic; `None` takes one back.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION, INVALID_CONFIG.
    pub(crate) fn configure_topic(
        &mut self,
        now: Duration,
        name: &str,
        changes: BTreeMap<String, Option<String>>,
    ) -> Result<(), Refusal> {
        let configs = self.controller.plan_configs(name, changes)?;
        self.configure_planned(name, configs);
        self.poll(now);
        Ok(())
    }

    /// Makes what [`super::controller::Controller::plan_configs`] gave hold at once.
    pub(crate) fn configure_planned(&mut self, name: &str, configs: TopicConfigs) {
        self.controller.configure(name, configs);
        let Some(topic) = self.controller.topic(name) else { return };
        let (rules, ids) = (topic.log_rules, topic.partition_ids().map(|(id, _)| id).collect::<Vec<_>>());
        for id in ids {
            for broker in self.brokers.values_mut().filter(|broker| broker.is_in_touch()) {
                if let Some(replica) = broker.replicas.get_mut(&id) {
                    replica.log.set_rules(rules);
                }
            }
            self.changed.insert(id);
        }
    }

    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION, INVALID_PARTITIONS if it has so many already.
    pub(crate) fn add_partitions(&mut self, now: Duration, name: &str, count: i32) -> Result<(), Refusal> {
        let planned = self.controller.plan_partitions(name, count, None)?;
        self.add_planned_partitions(name, planned);
        self.poll(now);
        Ok(())
    }

    /// Moves the start of a log that the broker leads to `offset`, or to the high watermark if that is -1; it never moves back.
    /// Gives where it has to start.
    ///
    /// # Errors
    /// NOT_LEADER_OR_FOLLOWER; POLICY_VIOLATION if nothing but compaction may remove records; OFFSET_OUT_OF_RANGE if there is no
    /// such offset below the high watermark.
    pub(crate) fn delete_records(&mut self, broker: i32, id: PartitionId, offset: i64) -> Result<i64, ErrorCode> {
        let host = self.brokers.get(&broker).filter(|host| host.leads(id));
        let replica = host.and_then(|host| host.replicas.get(&id)).ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)?;
        let high_watermark = replica.high_watermark;
        let rules = self.view(broker).topic_by_id(id.topic).map(|topic| topic.log_rules);
        if rules.is_some_and(|rules| rules.compacts && !rules.deletes) {
            return Err(ErrorCode::POLICY_VIOLATION);
        }
        let start = if offset == HIGH_WATERMARK { high_watermark } else { offset };
        if !(0..=high_watermark).contains(&start) {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        self.start_log_at(broker, id, start);
        Ok(start)
    }

    /// Where the first of the logs starts that are on active brokers: records below are gone everywhere.
    pub(crate) fn low_watermark(&self, id: PartitionId) -> i64 {
        let replicas = self.controller.partition(id).map_or(&[][..], |state| &state.replicas[..]);
        let live = replicas.iter().filter(|broker| self.controller.is_active(**broker));
        let starts =
            live.filter_map(|broker| self.brokers.get(broker)?.replicas.get(&id)).map(|replica| replica.log.start());
        starts.min().unwrap_or(-1)
    }

    /// Adds what [`super::controller::Controller::plan_partitions`] has laid out, and makes the replicas.
    pub(crate) fn add_planned_partitions(&mut self, name: &str, planned: Vec<PartitionState>) {
        let first = self.partition_count(name).unwrap_or(0);
        let added = planned.len();
        if let Some(topic) = self.controller.add_partitions(name, planned) {
            for index in (first..).take(added) {
                self.publish(PartitionId { topic, index });
            }
        }
    }
}
