//! What administrators change about a topic that exists: its configuration, the number of its partitions. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Core;
use super::controller::{PartitionId, PartitionState, Refusal};
use super::topic_configs::TopicConfigs;

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
