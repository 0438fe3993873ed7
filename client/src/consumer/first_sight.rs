//! Which partitions its topics had when a member began to read them: those that appear later are new. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use milena_protocol::ErrorCode;
use milena_protocol::primitives::Uuid;

use crate::cluster::metadata::ClusterView;
use crate::topic_partition::TopicPartition;

/// Nobody asked for the end of a new partition when it had none: it is read from its beginning, even under `latest`.
#[derive(Debug, Default)]
pub(crate) struct FirstSight(BTreeMap<Arc<str>, Counted>);

#[derive(Debug, Clone, Copy)]
struct Counted {
    /// Zero where nobody tells, or nothing was there.
    id: Uuid,
    partitions: usize,
}

impl FirstSight {
    /// Counts those of these topics that are known by now, or known not to be there. Once counted is counted.
    pub(crate) fn count(&mut self, topics: &BTreeSet<Arc<str>>, view: &ClusterView) {
        for name in topics.iter().filter(|name| !self.0.contains_key(*name)).collect::<Vec<_>>() {
            let Some(topic) = view.topic(name) else { continue };
            if !topic.partitions.is_empty() || topic.error == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION {
                self.0.insert(name.clone(), Counted { id: topic.id, partitions: topic.partitions.len() });
            }
        }
    }

    /// These were not there when it was looked last.
    pub(crate) fn appeared(&mut self, topics: impl IntoIterator<Item = Arc<str>>) {
        for topic in topics {
            self.0.entry(topic).or_insert(Counted { id: Uuid::ZERO, partitions: 0 });
        }
    }

    /// The others are not read any more.
    pub(crate) fn retain(&mut self, is_read: impl Fn(&Arc<str>) -> bool) {
        self.0.retain(|topic, _| is_read(topic));
    }

    pub(crate) fn is_new(&self, partition: &TopicPartition, view: &ClusterView) -> bool {
        let Some(Counted { id, partitions }) = self.0.get(partition.topic()) else { return false };
        let current = view.topic(partition.topic()).map_or(Uuid::ZERO, |topic| topic.id);
        let is_another = !id.is_zero() && !current.is_zero() && *id != current;
        is_another || usize::try_from(partition.partition()).is_ok_and(|number| number >= *partitions)
    }
}

#[cfg(test)]
mod tests {
    use milena_protocol::messages::metadata::{MetadataResponse, MetadataResponsePartition, MetadataResponseTopic};

    use super::*;

    /// After one more answer: so many partitions of the topic with this id, or that there is none.
    fn told(view: &ClusterView, topic: &str, id: u8, partitions: i32) -> ClusterView {
        let partition = |partition_index| MetadataResponsePartition { partition_index, ..Default::default() };
        let error_code = match partitions {
            0 => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            _ => ErrorCode::NONE,
        };
        let topic = MetadataResponseTopic {
            name: Some(topic.into()),
            topic_id: Uuid([id; 16]),
            partitions: (0..partitions).map(partition).collect(),
            error_code,
            ..Default::default()
        };
        view.merge(&MetadataResponse { topics: vec![topic], ..Default::default() })
    }

    #[test]
    fn what_was_not_there_at_first_is_new_and_what_nobody_knew_of_is_not() {
        let topics = ["absent", "deleted", "grown", "unknown"].map(Arc::from).into();
        let mut sight = FirstSight::default();
        let view = told(&told(&ClusterView::default(), "absent", 0, 0), "grown", 1, 2);
        let view = told(&told(&view, "deleted", 2, 1), "deleted", 0, 0);
        sight.count(&topics, &view);
        let view = told(&told(&view, "absent", 3, 1), "grown", 1, 3);
        sight.appeared(["found".into(), "grown".into()]);
        let is_new = |sight: &FirstSight, view: &ClusterView, topic: &str| {
            (0..3).map(|partition| sight.is_new(&(topic, partition).into(), view)).collect::<Vec<_>>()
        };
        assert_eq!(is_new(&sight, &view, "absent"), [true; 3]);
        assert_eq!(is_new(&sight, &view, "grown"), [false, false, true]);
        assert_eq!(is_new(&sight, &view, "found"), [true; 3]);
        assert_eq!(is_new(&sight, &view, "unknown"), [false; 3]);

        let view = told(&told(&view, "deleted", 2, 1), "unknown", 5, 2);
        sight.count(&topics, &view);
        assert_eq!(is_new(&sight, &view, "deleted"), [false, true, true], "it was only out of sight");
        assert_eq!(is_new(&sight, &view, "unknown"), [false, false, true]);
        assert_eq!(is_new(&sight, &told(&view, "deleted", 9, 1), "deleted"), [true; 3], "another topic");
        sight.retain(|topic| **topic != *"absent");
        assert_eq!(is_new(&sight, &view, "absent"), [false; 3]);
    }
}
