//! What the cluster looks like: brokers, topics, partitions, leaders. Pure.
//!
//! A view is immutable; an answer to Metadata makes the next one. A broker that lags does not take a view back: a leader with an
//! older epoch of the same topic is ignored, and so are a topic's brief absence and an id of a topic that was replaced.

use std::collections::BTreeMap;
use std::sync::Arc;

use milena_protocol::ErrorCode;
use milena_protocol::messages::metadata::{MetadataResponse, MetadataResponseTopic};
use milena_protocol::primitives::Uuid;

use crate::topic_partition::TopicPartition;

/// The cluster as one client sees it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClusterView {
    pub(crate) cluster_id: Option<String>,
    pub(crate) controller: Option<i32>,
    pub(crate) brokers: BTreeMap<i32, Broker>,
    pub(crate) topics: BTreeMap<Arc<str>, Arc<TopicView>>,
    /// Grows with every answer that was taken over.
    pub(crate) version: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broker {
    pub(crate) host: Arc<str>,
    pub(crate) port: u16,
    pub(crate) rack: Option<Arc<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicView {
    pub(crate) name: Arc<str>,
    /// Zero where the broker does not tell.
    pub(crate) id: Uuid,
    /// What the last answer said of the topic as a whole. Partitions of an earlier answer stay known meanwhile.
    pub(crate) error: ErrorCode,
    /// By number, without gaps.
    pub(crate) partitions: Vec<PartitionView>,
    /// Ids that the name had before, the latest last.
    replaced: Vec<Uuid>,
    /// How many answers in a row gave the name an id that was replaced.
    relapses: usize,
}

/// So many of a topic's former ids are known.
const REPLACED: usize = 4;
/// A broker that is cut off from the controller may tell of a replaced topic for long. So many answers in a row come from brokers
/// that are not: the id that took the place was the outdated one, seen second.
const RELAPSES: usize = 5;

/// A topic in the list of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) name: Arc<str>,
    pub(crate) is_internal: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartitionView {
    pub(crate) leader: Option<i32>,
    /// −1 where the broker does not tell.
    pub(crate) leader_epoch: i32,
    pub(crate) replicas: Vec<i32>,
}

impl PartitionView {
    const UNKNOWN: Self = Self { leader: None, leader_epoch: -1, replicas: Vec::new() };
}

impl ClusterView {
    pub(crate) fn topic(&self, name: &str) -> Option<&Arc<TopicView>> {
        self.topics.get(name)
    }

    pub(crate) fn partition(&self, topic_partition: &TopicPartition) -> Option<&PartitionView> {
        let index = usize::try_from(topic_partition.partition()).ok()?;
        self.topics.get(topic_partition.topic_name())?.partitions.get(index)
    }

    /// The name that a topic id stands for.
    pub(crate) fn topic_by_id(&self, id: Uuid) -> Option<&Arc<TopicView>> {
        self.topics.values().find(|topic| topic.id == id && !id.is_zero())
    }

    /// The view after this answer. Unusable entries are passed over one by one.
    pub(crate) fn merge(&self, response: &MetadataResponse) -> Self {
        let mut brokers = BTreeMap::new();
        for broker in &response.brokers {
            let Ok(port) = u16::try_from(broker.port) else { continue };
            if port == 0 || broker.host.is_empty() || broker.host.len() > 255 || broker.node_id < 0 {
                continue;
            }
            let rack = broker.rack.as_deref().map(Arc::from);
            brokers.entry(broker.node_id).or_insert(Broker { host: broker.host.as_str().into(), port, rack });
        }
        if brokers.is_empty() {
            brokers.clone_from(&self.brokers);
        }
        let mut topics = self.topics.clone();
        for topic in &response.topics {
            let named = topic.name.as_deref().filter(|name| !name.is_empty());
            if let Some(name) =
                named.map(Arc::<str>::from).or_else(|| self.topic_by_id(topic.topic_id).map(|t| t.name.clone()))
            {
                let merged = merge_topic(&name, topics.get(&name), topic);
                topics.insert(name, Arc::new(merged));
            }
        }
        Self {
            cluster_id: response.cluster_id.clone().or_else(|| self.cluster_id.clone()),
            controller: brokers.contains_key(&response.controller_id).then_some(response.controller_id),
            brokers,
            topics,
            version: self.version + 1,
        }
    }

    /// The view after a broker said, in an error, who leads a partition now (KIP-951). `topic_id`: the topic that it was asked of.
    pub(crate) fn with_leader(
        &self,
        topic_partition: &TopicPartition,
        topic_id: Uuid,
        leader: i32,
        leader_epoch: i32,
    ) -> Option<Self> {
        let index = usize::try_from(topic_partition.partition()).ok()?;
        let topic = self.topics.get(topic_partition.topic_name())?;
        let known = topic.partitions.get(index)?;
        if topic.id != topic_id && !topic.id.is_zero() && !topic_id.is_zero() {
            return None;
        }
        if leader < 0 || leader_epoch <= known.leader_epoch || !self.brokers.contains_key(&leader) {
            return None;
        }
        let mut topic = TopicView::clone(topic);
        *topic.partitions.get_mut(index)? = PartitionView { leader: Some(leader), leader_epoch, ..known.clone() };
        let mut view = self.clone();
        view.topics.insert(topic.name.clone(), Arc::new(topic));
        view.version += 1;
        Some(view)
    }
}

fn merge_topic(name: &Arc<str>, known: Option<&Arc<TopicView>>, new: &MetadataResponseTopic) -> TopicView {
    // An error for the topic as a whole comes without partitions. A restarted broker may not know a topic for a while, and
    // forgetting its partitions would forget whose sequence numbers they carry.
    if !new.error_code.is_none() && new.partitions.is_empty() {
        let known = known.map(|known| TopicView::clone(known));
        let unknown = || TopicView {
            name: name.clone(),
            id: new.topic_id,
            error: new.error_code,
            partitions: Vec::new(),
            replaced: Vec::new(),
            relapses: 0,
        };
        return TopicView { error: new.error_code, ..known.unwrap_or_else(unknown) };
    }
    if let Some(known) = known
        && known.replaced.contains(&new.topic_id)
        && known.relapses + 1 < RELAPSES
    {
        return TopicView { relapses: known.relapses + 1, ..TopicView::clone(known) };
    }
    let same_topic = known.filter(|known| known.id == new.topic_id || known.id.is_zero() || new.topic_id.is_zero());
    let id = known.map(|known| known.id).filter(|_| new.topic_id.is_zero()).unwrap_or(new.topic_id);
    let mut replaced = known.map(|known| known.replaced.clone()).unwrap_or_default();
    if let (Some(known), None) = (known, same_topic) {
        replaced.retain(|replaced| *replaced != id);
        replaced.push(known.id);
        replaced.drain(..replaced.len().saturating_sub(REPLACED));
    }
    let mut partitions = same_topic.map(|known| known.partitions.clone()).unwrap_or_default();
    for partition in &new.partitions {
        // Partitions are numbered from 0 without gaps, so a number beyond the count of the answer and of what is known is wrong.
        let Ok(index) = usize::try_from(partition.partition_index) else { continue };
        if index >= new.partitions.len().max(partitions.len()) {
            continue;
        }
        if index >= partitions.len() {
            partitions.resize(index + 1, PartitionView::UNKNOWN);
        }
        let Some(slot) = partitions.get_mut(index) else { continue };
        if partition.leader_epoch >= 0 && partition.leader_epoch < slot.leader_epoch {
            continue;
        }
        *slot = PartitionView {
            leader: (partition.leader_id >= 0).then_some(partition.leader_id),
            leader_epoch: partition.leader_epoch,
            replicas: partition.replica_nodes.clone(),
        };
    }
    TopicView { name: name.clone(), id, error: new.error_code, partitions, replaced, relapses: 0 }
}

#[cfg(test)]
mod tests {
    use milena_protocol::messages::metadata::{MetadataResponseBroker, MetadataResponsePartition};

    use super::*;

    fn answer(topic_id: u8, leaders: &[(i32, i32)]) -> MetadataResponse {
        let broker = |id| MetadataResponseBroker { node_id: id, host: "b".into(), port: 9092, ..Default::default() };
        let partition = |(index, (leader, epoch)): (usize, &(i32, i32))| MetadataResponsePartition {
            partition_index: index as i32,
            leader_id: *leader,
            leader_epoch: *epoch,
            ..Default::default()
        };
        MetadataResponse {
            brokers: vec![broker(1), broker(2)],
            controller_id: 1,
            topics: vec![MetadataResponseTopic {
                name: Some("orders".into()),
                topic_id: Uuid([topic_id; 16]),
                partitions: leaders.iter().enumerate().map(partition).collect(),
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    fn leaders(view: &ClusterView) -> Vec<(Option<i32>, i32)> {
        view.topic("orders").unwrap().partitions.iter().map(|p| (p.leader, p.leader_epoch)).collect()
    }

    #[test]
    fn a_leader_of_an_older_epoch_is_ignored() {
        let view = ClusterView::default().merge(&answer(1, &[(1, 5), (2, 3)]));
        let view = view.merge(&answer(1, &[(2, 4), (-1, 4)]));

        assert_eq!(leaders(&view), [(Some(1), 5), (None, 4)]);
    }

    #[test]
    fn a_recreated_topic_starts_with_new_epochs() {
        let view = ClusterView::default().merge(&answer(1, &[(1, 5), (2, 3)]));
        let view = view.merge(&answer(2, &[(2, 0)]));

        assert_eq!(leaders(&view), [(Some(2), 0)]);
    }

    #[test]
    fn a_lagging_broker_does_not_bring_a_replaced_topic_back() {
        let view = ClusterView::default().merge(&answer(1, &[(1, 5)])).merge(&answer(2, &[(2, 0)]));
        let view = view.merge(&answer(1, &[(1, 5)]));

        assert_eq!((view.topic("orders").unwrap().id, leaders(&view)), (Uuid([2; 16]), vec![(Some(2), 0)]));
    }

    #[test]
    fn a_topic_whose_successor_only_a_lagging_broker_knew_comes_back_when_all_agree() {
        let mut view = ClusterView::default().merge(&answer(2, &[(2, 0)])).merge(&answer(1, &[(1, 5)]));
        for said in [2, 2, 2, 2, 1, 2, 2, 2, 2] {
            view = view.merge(&answer(said, &[(2, 0)]));
            assert_eq!(view.topic("orders").unwrap().id, Uuid([1; 16]));
        }
        let view = view.merge(&answer(2, &[(2, 0)]));

        assert_eq!((view.topic("orders").unwrap().id, leaders(&view)), (Uuid([2; 16]), vec![(Some(2), 0)]));
        assert_eq!(view.merge(&answer(1, &[(1, 5)])).topic("orders").unwrap().id, Uuid([2; 16]));
    }

    #[test]
    fn a_broker_that_tells_no_topic_id_does_not_take_a_known_one_away() {
        let view = ClusterView::default().merge(&answer(1, &[(1, 5)])).merge(&answer(0, &[(2, 6)]));

        assert_eq!((view.topic("orders").unwrap().id, leaders(&view)), (Uuid([1; 16]), vec![(Some(2), 6)]));
    }

    #[test]
    fn a_topic_that_is_briefly_unknown_keeps_its_partitions() {
        let view = ClusterView::default().merge(&answer(1, &[(1, 5)]));
        let mut missing = answer(1, &[]);
        missing.topics[0].error_code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        missing.topics[0].topic_id = Uuid::ZERO;
        let view = view.merge(&missing);

        assert_eq!(leaders(&view), [(Some(1), 5)]);
        assert_eq!(view.topic("orders").unwrap().error, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        assert_eq!(view.topic("orders").unwrap().id, Uuid([1; 16]));
    }

    #[test]
    fn unusable_entries_are_passed_over_and_known_brokers_kept() {
        let view = ClusterView::default().merge(&answer(1, &[(1, 5)]));
        let mut bad = answer(1, &[(1, 5)]);
        bad.brokers.iter_mut().for_each(|broker| broker.port = 70_000);
        bad.topics[0].partitions[0].partition_index = 1_000_000;
        bad.controller_id = -1;
        let view = view.merge(&bad);

        assert_eq!(view.brokers.len(), 2);
        assert_eq!(view.controller, None);
        assert_eq!(leaders(&view), [(Some(1), 5)]);
    }

    #[test]
    fn a_newer_leader_named_in_an_error_is_taken_over() {
        let view = ClusterView::default().merge(&answer(1, &[(1, 5)]));
        let (partition, id) = (TopicPartition::new("orders", 0), Uuid([1; 16]));

        assert!(view.with_leader(&partition, Uuid([2; 16]), 2, 6).is_none(), "of another topic of that name");
        assert!(view.with_leader(&partition, id, 2, 5).is_none());
        assert!(view.with_leader(&partition, id, 9, 6).is_none());
        assert_eq!(leaders(&view.with_leader(&partition, id, 2, 6).unwrap()), [(Some(2), 6)]);
    }
}
