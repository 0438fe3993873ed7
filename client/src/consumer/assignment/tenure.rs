//! How partitions come and go. Pure.

use std::collections::BTreeSet;

use milena_protocol::primitives::Uuid;

use super::{Assignment, Partition};
use crate::clock::Time;
use crate::consumer::fetch_buffer::FetchBuffer;
use crate::consumer::lease::{Lease, LeaseId};
use crate::consumer::positions::{Position, ReadPosition};
use crate::topic_partition::TopicPartition;

impl Partition {
    /// Whether it is read: not before the application was told that it is assigned, and not when it goes.
    pub(crate) fn is_open(&self) -> bool {
        self.tenure == Tenure::Open
    }
}

/// ```text
///   Announced ──► Open ──► Ending ──► gone
///       └─────────────────────▲
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tenure {
    /// The application is being told, and may still choose where to start.
    Announced,
    Open,
    /// It is being revoked: what was handed out can be finished.
    Ending,
}

impl Assignment {
    /// Reads these partitions too, under new leases: from their committed offsets, or as the policy says. Not before
    /// [`Assignment::open`] if they are `announced` first. Those that are `new` appeared while their topics were being read.
    pub(crate) fn add_committed(
        &mut self,
        partitions: &[TopicPartition],
        announced: bool,
        new: impl Fn(&TopicPartition) -> bool,
    ) {
        for name in partitions {
            self.add_one(name.clone(), Position::Committed, announced, new(name));
        }
        self.reorder();
    }

    /// Reads these partitions too, under new leases.
    pub(crate) fn add(&mut self, partitions: impl IntoIterator<Item = (TopicPartition, Position)>) {
        for (name, start) in partitions {
            self.add_one(name, start, false, false);
        }
        self.reorder();
    }

    fn add_one(&mut self, name: TopicPartition, start: Position, announced: bool, is_new: bool) {
        let id = LeaseId(self.next_lease);
        self.next_lease += 1;
        let mut lease = Lease::new(id, self.holding.by_record);
        let fetch = ReadPosition::new(start, id, is_new);
        if let Some(position) = fetch.fetch_from(Time::ZERO) {
            lease.start_at(position);
        }
        self.partitions.push(Partition {
            name,
            lease,
            fetch,
            buffer: FetchBuffer::default(),
            paused: false,
            tenure: if announced { Tenure::Announced } else { Tenure::Open },
            in_line: false,
            leader: None,
            topic_id: Uuid::ZERO,
            high_watermark: None,
        });
    }

    /// The partitions whose topic was created anew since the last time: theirs is another lease. If it is `announced` they are not
    /// read before [`Assignment::open`].
    pub(crate) fn take_recreated(&mut self, announced: bool) -> Vec<TopicPartition> {
        let recreated = std::mem::take(&mut self.recreated);
        let mut is_read = |name: &TopicPartition| {
            let partition = self.assigned(name).ok().filter(|partition| partition.tenure == Tenure::Open);
            let is_read = partition.is_some();
            if let (Some(partition), true) = (partition, announced) {
                partition.tenure = Tenure::Announced;
            }
            is_read
        };
        recreated.into_iter().filter(|name| is_read(name)).collect()
    }

    /// The application knows of everything that was added.
    pub(crate) fn open(&mut self) {
        let announced = self.partitions.iter_mut().filter(|partition| partition.tenure == Tenure::Announced);
        announced.for_each(|partition| partition.tenure = Tenure::Open);
    }

    /// Hands out and fetches nothing more of these. What was handed out can still be finished and committed.
    pub(crate) fn begin_to_end(&mut self, partitions: &[TopicPartition]) {
        for name in partitions {
            if let Ok(partition) = self.assigned(name) {
                partition.tenure = Tenure::Ending;
                partition.buffer.clear();
            }
        }
    }

    /// Whether the application has a record of a partition that is being revoked.
    pub(crate) fn is_held_while_ending(&self) -> bool {
        let mut ending = self.partitions.iter().filter(|partition| partition.tenure == Tenure::Ending);
        ending.any(|partition| partition.lease.is_held())
    }

    /// Whether the application has a record of any partition.
    pub(crate) fn is_held(&self) -> bool {
        self.partitions.iter().any(|partition| partition.lease.is_held())
    }

    /// The leases of these end. Records that are still held stay readable; nothing of them can be committed any more.
    pub(crate) fn end(&mut self, partitions: &[TopicPartition]) {
        let ended: BTreeSet<_> = partitions.iter().collect();
        self.partitions.retain(|partition| !ended.contains(&partition.name));
        self.full.retain(|partition| !ended.contains(partition));
        self.recreated.retain(|partition| !ended.contains(partition));
        self.reorder();
    }

    /// All leases end.
    pub(crate) fn end_all(&mut self) {
        let names = self.names(|_| true);
        self.end(&names);
    }

    fn reorder(&mut self) {
        self.partitions.sort_by(|one, other| one.name.cmp(&other.name));
        self.names = self.partitions.iter().map(|partition| partition.name.clone()).zip(0..).collect();
        // Whoever waited in line waits again, in the order of the names.
        self.line.clear();
        self.partitions.iter_mut().for_each(|partition| partition.in_line = false);
        let names: Vec<_> = self.names.keys().cloned().collect();
        names.iter().for_each(|name| self.line_up(name));
    }
}
