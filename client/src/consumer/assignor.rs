//! How a group divides its partitions: a strategy that the application can bring, and what it is given. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as StdError;
use std::sync::Arc;

use bytes::Bytes;

use crate::cluster::metadata::ClusterView;
use crate::topic_partition::TopicPartition;

mod division;
mod member_order;
mod range;
mod round_robin;
mod strategies;

pub(crate) use self::division::{Division, one_by_one};
pub(crate) use self::strategies::{Strategy, choose, guarded};

/// Why an assignor could not divide the partitions: whatever describes it.
pub type AssignorError = Box<dyn StdError + Send + Sync>;

/// A strategy to divide the partitions of a group among its members.
///
/// Every member offers the names of the strategies it knows; the group uses one that all of them offer. The coordinator of the
/// group makes one member the leader, and only there [`assign`](Assignor::assign) is called, once for each rebalance. It is
/// called from the consumer's task and should return soon: heartbeats wait for it.
///
/// Members give up everything before a rebalance, so that a division may move any partition to anybody.
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

    /// Divides every partition of `topics` among the members that are subscribed to its topic, each to exactly one.
    ///
    /// What comes back is checked before anybody gets it.
    ///
    /// # Errors
    /// If it cannot: this member then leaves the group, so that another leads, its next read fails with
    /// [`ErrorKind::UserCode`](crate::ErrorKind::UserCode), and the read after joins again. The same happens if it panics, or
    /// gives a partition twice, to nobody, to a member that is not subscribed, or one that does not exist.
    fn assign(&self, members: &[Member<'_>], topics: &Topics) -> Result<Assignments, AssignorError>;

    /// What this member tells the leader's assignor when it joins; there it is [`Member::user_data`]. Nothing by default.
    fn user_data(&self, owned: &Owned<'_>) -> Bytes {
        let _ = owned;
        Bytes::new()
    }
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

    /// What the cluster has of these topics. Racks matter only to members that are in one: elsewhere they are left out, so
    /// that replicas can move without a rebalance.
    pub(crate) fn of(view: &ClusterView, names: &BTreeSet<Arc<str>>, with_racks: bool) -> Self {
        let rack_of = |broker: &i32| view.brokers.get(broker).and_then(|broker| broker.rack.clone());
        let racks = |replicas: &[i32]| -> Vec<Arc<str>> {
            let racks: BTreeSet<_> = replicas.iter().filter(|_| with_racks).filter_map(rack_of).collect();
            racks.into_iter().collect()
        };
        let topic = |name: &Arc<str>| {
            let partitions = &view.topic(name)?.partitions;
            let racks = partitions.iter().map(|partition| racks(&partition.replicas));
            (!partitions.is_empty()).then(|| (name.clone(), racks.collect()))
        };
        Self(names.iter().filter_map(topic).collect())
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

    /// Every partition of every topic, in ascending order.
    pub(crate) fn all_partitions(&self) -> impl Iterator<Item = TopicPartition> {
        self.0.iter().flat_map(|(name, partitions)| {
            (0..).zip(partitions).map(|(partition, _)| TopicPartition::new(name.clone(), partition))
        })
    }
}

/// Who gets what. Members are named by their place in the list that [`Assignor::assign`] got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignments {
    given: Vec<Given>,
    /// The first that was given to a member that there is not.
    stray: Option<(usize, TopicPartition)>,
}

/// What one member gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Given {
    partitions: Vec<TopicPartition>,
    user_data: Bytes,
}

impl Assignments {
    /// Nothing for anybody yet.
    pub fn new(members: &[Member<'_>]) -> Self {
        Self { given: vec![Given::default(); members.len()], stray: None }
    }

    /// Gives a partition to a member.
    pub fn give(&mut self, member: usize, partition: TopicPartition) {
        match self.given.get_mut(member) {
            Some(given) => given.partitions.push(partition),
            None => {
                self.stray.get_or_insert((member, partition));
            }
        }
    }

    /// Sends something along to the assignor of a member, which has it in [`Owned::user_data`] at the next rebalance. For a
    /// member that there is not, nothing happens.
    pub fn user_data(&mut self, member: usize, data: Bytes) {
        if let Some(given) = self.given.get_mut(member) {
            given.user_data = data;
        }
    }

    /// What a member has been given so far, in the order of the calls.
    pub fn partitions(&self, member: usize) -> &[TopicPartition] {
        self.given.get(member).map_or(&[], |given| given.partitions.as_slice())
    }
}
