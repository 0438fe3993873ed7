//! Which offsets may be committed, and which are without being asked. Pure.

use std::sync::Arc;

use milena_protocol::primitives::Uuid;

use super::assignment::{Assignment, Partition, not_assigned};
use super::lease::{FetchPosition, LeaseId};
use super::membership::Identity;
use super::offsets::{Claim, Offsets};
use crate::error::{Error, ErrorKind, Result};
use crate::topic_partition::TopicPartition;

/// What a consumer commits by itself. `commit` works under every policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CommitPolicy {
    /// Records count as done when they were dropped and a later read has begun; what is done is committed every
    /// `auto.commit.interval.ms`, when partitions are revoked, and by `close`. A task that fails and drops its record makes it count as done all the same.
    /// The default, and `enable.auto.commit=true`.
    Returned,
    /// Records are done when they were acknowledged ([`ack`](crate::ConsumerRecord::ack) of a record, a view or a batch), in any
    /// order; everything before the first that is not is committed every `auto.commit.interval.ms`, when partitions are
    /// revoked, and by `close`. A record that is dropped without an acknowledgement holds back what comes after it: that is told
    /// as [`ConsumerEvent::Stalled`](crate::ConsumerEvent::Stalled), and it comes again after
    /// [`rewind`](crate::ConsumerControl::rewind) or to whoever gets the partition next. 10,000 records beyond such a gap no more
    /// of the partition is handed out. There is no property for it.
    Acked,
    /// Nothing. `enable.auto.commit=false`.
    Manual,
}

/// As whom offsets are committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Committer {
    /// No member: works while the group has none.
    Nobody,
    Member(Identity),
}

/// An offset on its way to the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ToCommit {
    pub(crate) partition: TopicPartition,
    pub(crate) next: FetchPosition,
    pub(crate) lease: LeaseId,
    /// The topic, if it has an id: one created later with the same name is another.
    pub(crate) topic_id: Uuid,
    pub(crate) metadata: Arc<str>,
    /// The application said the offset itself, which may be before what is stored.
    may_go_back: bool,
    /// As of when; a seek in between makes it history.
    seeks: u64,
}

impl Partition {
    fn to_commit(&self, next: FetchPosition) -> ToCommit {
        let (lease, seeks) = (self.lease.id(), self.lease.seeks());
        ToCommit {
            partition: self.name.clone(),
            next,
            lease,
            topic_id: self.topic_id,
            metadata: "".into(),
            may_go_back: false,
            seeks,
        }
    }
}

impl Assignment {
    /// # Errors
    /// `PartitionLost` if the partition is not owned any more under the lease that this was checked under.
    pub(crate) fn check_lease(&self, offset: &ToCommit) -> Result<()> {
        let owned = self.get(&offset.partition).is_some_and(|partition| partition.lease.id() == offset.lease);
        if owned { Ok(()) } else { Err(not_assigned(&offset.partition)) }
    }

    /// Whether the group has this already, or more: what is done stays done, whoever says so later.
    pub(crate) fn is_stored(&self, offset: &ToCommit) -> bool {
        let ToCommit { partition, next, metadata, may_go_back, seeks, .. } = offset;
        let stored = self.get(partition).filter(|partition| partition.lease.seeks() == *seeks);
        stored.and_then(|partition| partition.lease.stored()).is_some_and(|stored| {
            !may_go_back && (next.offset < stored || next.offset == stored && metadata.is_empty())
        })
    }

    /// What the application wants to commit, if it makes sense.
    pub(crate) fn check(&self, offsets: &Offsets) -> Result<Vec<ToCommit>> {
        offsets.claims().map(|(name, claim)| self.check_one(name, claim)).collect()
    }

    fn check_one(&self, name: &TopicPartition, claim: &Claim) -> Result<ToCommit> {
        let refuse = |text: String| Error::new(ErrorKind::Usage, text).with_topic_partition(name.clone());
        let partition = self.get(name).ok_or_else(|| not_assigned(name))?;
        let offset = claim.next.offset;
        if let Some((lease, first)) = claim.handed_out {
            if lease != partition.lease.id() {
                return Err(not_assigned(name));
            }
            if let Some(held) = partition.lease.earliest_held().filter(|held| *held < first) {
                return Err(refuse(format!(
                    "cannot commit {name} up to offset {offset}: the record at offset {held} before it is still held; drop or \
                     acknowledge it first, or say Offsets::at"
                )));
            }
        }
        if offset < 0 {
            return Err(refuse(format!("cannot commit {name} at offset {offset}: offsets begin at 0")));
        }
        let reached = partition.lease.reached();
        if offset > reached {
            return Err(refuse(format!(
                "cannot commit {name} at offset {offset}: nothing beyond offset {reached} was handed out"
            )));
        }
        let (metadata, may_go_back) = (claim.metadata.clone(), claim.handed_out.is_none());
        Ok(ToCommit { metadata, may_go_back, ..partition.to_commit(claim.next) })
    }

    /// What is done and not committed yet.
    pub(crate) fn done(&self) -> Vec<ToCommit> {
        let done = self
            .partitions
            .iter()
            .filter_map(|partition| Some(partition.to_commit(partition.lease.to_commit(self.reads)?)));
        done.collect()
    }

    /// These are committed.
    pub(crate) fn on_committed(&mut self, committed: &[ToCommit]) {
        for ToCommit { partition, next, lease, seeks, .. } in committed {
            if let Ok(partition) = self.assigned(partition)
                && partition.lease.id() == *lease
                && partition.lease.seeks() == *seeks
            {
                partition.lease.on_committed(next.offset);
            }
        }
    }
}
