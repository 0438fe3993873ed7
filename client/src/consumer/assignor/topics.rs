//! What there is to divide: topics, their partitions, and the racks of their replicas. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use milena_protocol::ErrorCode;

use crate::cluster::metadata::ClusterView;
use crate::topic_partition::TopicPartition;

const UNKNOWN: ErrorCode = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;

/// The topics that the group is subscribed to and that exist, with the partitions of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topics(BTreeMap<Arc<str>, Vec<Vec<Arc<str>>>>);

impl Topics {
    /// These topics with so many partitions each, in no rack. Programs need it to test their assignors.
    pub fn new<T: Into<Arc<str>>>(topics: impl IntoIterator<Item = (T, i32)>) -> Self {
        let count = |partitions| usize::try_from(partitions).unwrap_or(0);
        let topics = topics.into_iter().map(|(name, partitions)| (name.into(), vec![Vec::new(); count(partitions)]));
        Self(topics.collect())
    }

    /// The same with replicas of one partition in these racks. A partition that there is not changes nothing.
    #[must_use]
    pub fn with_racks<R: Into<Arc<str>>>(
        mut self,
        partition: &TopicPartition,
        racks: impl IntoIterator<Item = R>,
    ) -> Self {
        let index = usize::try_from(partition.partition());
        let partitions = self.0.get_mut(partition.topic());
        if let (Ok(index), Some(partitions)) = (index, partitions)
            && let Some(place) = partitions.get_mut(index)
        {
            let racks: BTreeSet<Arc<str>> = racks.into_iter().map(Into::into).collect();
            *place = racks.into_iter().collect();
        }
        self
    }

    /// What the cluster has of these topics; nothing of one that is not there any more. Racks matter only to members that are in
    /// one: elsewhere they are left out, so that replicas can move without a rebalance.
    pub(crate) fn of(view: &ClusterView, names: &BTreeSet<Arc<str>>, with_racks: bool) -> Self {
        let rack_of = |broker: &i32| view.brokers.get(broker).and_then(|broker| broker.rack.clone());
        let racks = |replicas: &[i32]| -> Vec<Arc<str>> {
            let racks: BTreeSet<_> = replicas.iter().filter(|_| with_racks).filter_map(rack_of).collect();
            racks.into_iter().collect()
        };
        let topic = |name: &Arc<str>| {
            let partitions = &view.topic(name).filter(|topic| topic.error != UNKNOWN)?.partitions;
            let racks = partitions.iter().map(|partition| racks(&partition.replicas));
            (!partitions.is_empty()).then(|| (name.clone(), racks.collect()))
        };
        Self(names.iter().filter_map(topic).collect())
    }

    /// Whether there is something that was not so when `divided` was. A topic that is missing is not: brokers may have no more than
    /// lost sight of it, and there is nothing to read. The next division leaves it out.
    pub(crate) fn has_news(&self, divided: &Self) -> bool {
        self.0.iter().any(|(name, partitions)| divided.0.get(name) != Some(partitions))
    }

    /// The names of the topics, in ascending order.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.keys()
    }

    /// How many partitions a topic has, numbered from 0. `None` if it does not exist, or nobody is subscribed to it.
    pub fn partitions(&self, topic: &str) -> Option<i32> {
        self.0.get(topic).and_then(|partitions| i32::try_from(partitions.len()).ok())
    }

    /// The racks that replicas of the partition are in, in ascending order. Empty if none is known, or no member of the group
    /// tells its own.
    pub fn racks(&self, partition: &TopicPartition) -> &[Arc<str>] {
        let index = usize::try_from(partition.partition());
        let racks = index.ok().and_then(|index| self.0.get(partition.topic())?.get(index));
        racks.map_or(&[], Vec::as_slice)
    }

    /// The racks of the replicas of each partition of a topic.
    pub(super) fn replicas(&self, topic: &str) -> &[Vec<Arc<str>>] {
        self.0.get(topic).map_or(&[], Vec::as_slice)
    }

    /// Every partition of every topic, in ascending order.
    pub(crate) fn all_partitions(&self) -> impl Iterator<Item = TopicPartition> {
        self.0.iter().flat_map(|(name, partitions)| {
            (0..).zip(partitions).map(|(partition, _)| TopicPartition::new(name.clone(), partition))
        })
    }
}
