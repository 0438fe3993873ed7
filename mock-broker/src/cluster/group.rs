//! What a test does to a consumer group, and what it sees of it. IO.

use std::time::Duration;

use super::{MockCluster, expect_done};
use crate::core::GroupState;
use crate::core::offsets::OFFSETS_TOPIC;
use crate::snapshot::GroupMember;

/// One consumer group of a [`MockCluster`], as its coordinator sees it now. It need not exist yet.
///
/// ```
/// # use milena_mock_broker::{GroupState, MockCluster};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let cluster = MockCluster::builder().topic("orders", 6).start_in_memory();
/// let billing = cluster.group("billing");
/// assert_eq!(billing.state(), GroupState::Dead);
/// // … once two members have joined: cluster.until("two members", |now| now.group_members("billing").len() == 2).await;
/// assert_eq!(billing.committed("orders", 0), None);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct GroupControl {
    cluster: MockCluster,
    id: String,
}

impl GroupControl {
    pub(super) fn new(cluster: MockCluster, id: &str) -> Self {
        Self { cluster, id: id.to_owned() }
    }

    /// What the group is doing; [`GroupState::Dead`] if it does not exist.
    pub fn state(&self) -> GroupState {
        self.cluster.with(|state| state.group_state(&self.id))
    }

    /// How often the group has been rebalanced: 1 is the first generation that had members. 0 if there was none yet.
    pub fn generation(&self) -> i32 {
        self.cluster.with(|state| state.group_generation(&self.id))
    }

    /// The members, those that have been in the group for longest first.
    pub fn members(&self) -> Vec<GroupMember> {
        self.cluster.with(|state| state.group_members(&self.id))
    }

    /// Who has what: topic, partition and member id, in this order. A partition that was given to two members is there twice.
    /// Members have what the last generation that got an assignment gave them.
    pub fn assignment(&self) -> Vec<(String, i32, String)> {
        let mut assignment = Vec::new();
        for GroupMember { id, assignment: partitions, .. } in self.members() {
            assignment.extend(partitions.into_iter().map(|(topic, partition)| (topic, partition, id.clone())));
        }
        assignment.sort_unstable();
        assignment
    }

    /// The offset that the group has committed for a partition: that of the next record to read. None if there is none.
    pub fn committed(&self, topic: &str, partition: i32) -> Option<i64> {
        self.cluster.with(|state| state.committed(&self.id, topic, partition))
    }

    /// All offsets that the group has committed: topic, partition, and the offset of the next record to read, in this order.
    pub fn committed_offsets(&self) -> Vec<(String, i32, i64)> {
        self.cluster.with(|state| state.committed_offsets(&self.id))
    }

    /// The id of the broker that coordinates the group. None if there is none: nobody has asked for one, or it is down.
    pub fn coordinator(&self) -> Option<i32> {
        self.cluster.with(|state| state.group_coordinator(&self.id))
    }

    /// Makes all members join again, as when one of them had asked for it. Nothing happens if there are none, or if they are at
    /// it.
    ///
    /// # Panics
    /// If there is no such group, or no broker that coordinates it.
    #[track_caller]
    pub fn rebalance(&self) {
        let done = self.cluster.shared().change(|state, now| state.core.rebalance_group(now, &self.id));
        expect_done(done, || format!("rebalance group {}", self.id));
    }

    /// Fences a static member (KIP-345), as if its instance had been started once more elsewhere: its next request is answered
    /// `FENCED_INSTANCE_ID`. What it had stays assigned to its place in the group until the session ends.
    ///
    /// # Panics
    /// If the group has no member with this `group.instance.id`.
    #[track_caller]
    pub fn fence(&self, instance_id: &str) {
        let done = self.cluster.shared().change(|state, now| state.core.fence_instance(now, &self.id, instance_id));
        expect_done(done, || format!("fence instance {instance_id} of group {}", self.id));
    }

    /// Makes another in-sync broker the coordinator, which first has to read the group's records for this long and answers
    /// `COORDINATOR_LOAD_IN_PROGRESS` meanwhile. All groups with the same partition of `__consumer_offsets` move with it. Nothing
    /// happens if the broker is the coordinator already.
    ///
    /// # Panics
    /// If no client has looked for a coordinator yet, or that broker is down or not in sync.
    #[track_caller]
    pub fn move_coordinator(&self, broker: i32, loading: Duration) {
        let key = (OFFSETS_TOPIC, self.id.as_str());
        let moved = self.cluster.shared().change(|state, now| state.core.move_coordinator(now, key, broker, loading));
        expect_done(moved, || format!("make broker {broker} the coordinator of group {}", self.id));
    }

    /// Takes a member out of the group as if its session had ended: it learns of it by its next heartbeat or commit.
    ///
    /// # Panics
    /// If the group has no such member.
    #[track_caller]
    pub fn evict(&self, member: &str) {
        let done = self.cluster.shared().change(|state, now| state.core.evict(now, &self.id, member));
        expect_done(done, || format!("evict member {member} from group {}", self.id));
    }
}
