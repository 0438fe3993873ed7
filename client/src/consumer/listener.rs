//! What an application is told when partitions come and go. IO.

use std::time::Duration;

use async_trait::async_trait;

use super::control::ConsumerControl;
use super::rebalance::RebalanceReason;
use crate::topic_partition::TopicPartition;

/// Partitions that come or go, and why.
#[derive(Debug)]
pub struct Rebalance<'a> {
    pub(crate) consumer: &'a ConsumerControl,
    /// The partitions, in order. There may be none.
    pub partitions: &'a [TopicPartition],
    /// Why.
    pub reason: RebalanceReason,
    /// After so long the consumer goes on, whether the listener has returned or not; its future is then dropped. Zero if the call
    /// before this one took all the time there was: the future is then polled once.
    pub time_left: Duration,
}

impl<'a> Rebalance<'a> {
    /// The consumer: to commit, or to seek.
    pub fn consumer(&self) -> &'a ConsumerControl {
        self.consumer
    }
}

/// Is told when a group gives partitions to a consumer and takes them away. Calls come one after the other.
///
/// Each call is about those partitions alone that come or go: a cooperative consumer reads on what it keeps, and hears of a
/// rebalance that changes nothing as `assigned` without partitions. Heartbeats and commits go on beside a listener, so it may wait;
/// but nothing is handed out of the partitions meanwhile. A
/// listener that panics is as good as one that returned: the next read fails with
/// [`ErrorKind::UserCode`](crate::ErrorKind::UserCode), and the consumer goes on.
///
/// ```
/// use milena::{Rebalance, RebalanceListener};
///
/// struct Audit;
///
/// #[async_trait::async_trait]
/// impl RebalanceListener for Audit {
///     async fn assigned(&self, rebalance: &Rebalance<'_>) {
///         println!("reading {:?}: {:?}", rebalance.partitions, rebalance.reason);
///     }
///
///     async fn revoked(&self, rebalance: &Rebalance<'_>) {
///         // What is still being worked on can be finished here, within `rebalance.time_left`.
///         println!("finishing {:?}", rebalance.partitions);
///     }
/// }
/// ```
#[async_trait]
pub trait RebalanceListener: Send + Sync + 'static {
    /// These partitions are read from now on: they are fetched when this returns. Until then a
    /// [`seek`](ConsumerControl::seek) decides where each begins; without one it is the committed offset.
    async fn assigned(&self, rebalance: &Rebalance<'_>) {
        let _ = rebalance;
    }

    /// These partitions go to others. Nothing more of them is handed out. What the application still holds may be finished and
    /// committed until this has returned and the records were let go of, or the time is over; then the consumer commits what is
    /// done, if its policy is to, and gives them up.
    async fn revoked(&self, rebalance: &Rebalance<'_>) {
        let _ = rebalance;
    }

    /// These partitions are gone already and may be read by others: nothing of them can be committed.
    async fn lost(&self, rebalance: &Rebalance<'_>) {
        let _ = rebalance;
    }
}
