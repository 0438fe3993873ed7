//! How a group divides its partitions: a strategy that the application can bring, and what it is given. Pure.

use std::error::Error as StdError;
use std::sync::Arc;

use bytes::Bytes;

use crate::topic_partition::TopicPartition;

mod assignments;
mod division;
mod member_order;
mod range;
mod round_robin;
mod sticky;
mod strategies;
mod topics;

pub use self::assignments::Assignments;
pub(crate) use self::division::{Division, by_topic, one_by_one};
#[allow(unused_imports, reason = "for the membership")]
pub(crate) use self::strategies::{Strategy, choose, common_protocol, guarded};
pub use self::topics::Topics;

/// Why an assignor could not divide the partitions: whatever describes it.
pub type AssignorError = Box<dyn StdError + Send + Sync>;

/// A strategy to divide the partitions of a group among its members.
///
/// Every member offers the names of the strategies it knows; the group uses one that all of them offer. The coordinator of the
/// group makes one member the leader, and only there [`assign`](Assignor::assign) is called, once for each rebalance. It is
/// called from the consumer's task and should return soon: heartbeats wait for it.
///
/// With the [eager protocol](RebalanceProtocol) members give up everything before a rebalance, so that a division may move any
/// partition to anybody.
///
/// ```
/// use milena::{Assignments, Assignor, AssignorError, Member, Topics, TopicPartition};
///
/// /// Everything goes to the member with the least id, the others stand by.
/// struct Standby;
///
/// impl Assignor for Standby {
///     fn name(&self) -> &str {
///         "standby"
///     }
///
///     fn assign(&self, members: &[Member<'_>], topics: &Topics) -> Result<Assignments, AssignorError> {
///         let mut assignments = Assignments::new(members);
///         for topic in topics.names() {
///             let subscribed = (0..members.len()).filter(|member| members[*member].topics.contains(topic));
///             let Some(active) = subscribed.min_by_key(|member| members[*member].id) else { continue };
///             for partition in 0..topics.partitions(topic).unwrap_or(0) {
///                 assignments.give(active, TopicPartition::new(topic.clone(), partition));
///             }
///         }
///         Ok(assignments)
///     }
/// }
/// ```
pub trait Assignor: Send + Sync + 'static {
    /// What the members call the strategy among themselves. It must be the same in all of them, and differ from Kafka's names
    /// (`range`, `roundrobin`, `sticky`, `cooperative-sticky`).
    fn name(&self) -> &str;

    /// How members of this strategy give up partitions. [`RebalanceProtocol::Eager`] by default.
    fn protocol(&self) -> RebalanceProtocol {
        RebalanceProtocol::Eager
    }

    /// Divides every partition of `topics` among the members that are subscribed to its topic, each to exactly one.
    ///
    /// With [`RebalanceProtocol::Cooperative`] a partition that another member owns goes to nobody for now; see
    /// [`Assignments::withhold_moving`]. What comes back is checked before anybody gets it.
    ///
    /// # Errors
    /// If it cannot: this member then leaves the group, so that another leads, its next read fails with
    /// [`ErrorKind::UserCode`](crate::ErrorKind::UserCode), and the read after joins again. The same happens if it panics, or
    /// gives a partition twice, to nobody, to a member that is not subscribed, one that does not exist, or one that another
    /// member still owns.
    fn assign(&self, members: &[Member<'_>], topics: &Topics) -> Result<Assignments, AssignorError>;

    /// What this member tells the leader's assignor when it joins; there it is [`Member::user_data`]. Nothing by default.
    fn user_data(&self, owned: &Owned<'_>) -> Bytes {
        let _ = owned;
        Bytes::new()
    }
}

/// What members do with their partitions when a rebalance begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebalanceProtocol {
    /// They give up all of them, and get their share anew.
    Eager,
    /// They keep them, and read on. When they have got their new share, they give up what is not in it and join again; only then
    /// others get that (KIP-429). A consumer does so if all its strategies are cooperative; otherwise it is eager with each.
    Cooperative,
}

/// A member of the group, as it describes itself. Another program wrote this: it may claim anything.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Names the member. The coordinator gave it; it changes when the member starts anew.
    pub id: &'a str,
    /// The name of a static member, which stays (`group.instance.id`).
    pub instance_id: Option<&'a str>,
    /// Where it runs (`client.rack`).
    pub rack: Option<&'a str>,
    /// The topics that it is subscribed to, in ascending order.
    pub topics: &'a [Arc<str>],
    /// What it says it still owns, in ascending order. Members that give up everything before a rebalance own nothing.
    pub owned: &'a [TopicPartition],
    /// The generation that it was in before, if it tells.
    pub generation: Option<i32>,
    /// What its assignor has to tell: [`Assignor::user_data`].
    pub user_data: &'a [u8],
}

/// What a consumer last got, for [`Assignor::user_data`].
#[derive(Clone, Copy, Debug)]
pub struct Owned<'a> {
    /// The partitions of the last assignment, though they have been given up.
    pub partitions: &'a [TopicPartition],
    /// The generation in which it got them, if it ever got any.
    pub generation: Option<i32>,
    /// What the leader's assignor sent with them; see [`Assignments::user_data`].
    pub user_data: &'a [u8],
}

#[cfg(test)]
mod tests;
