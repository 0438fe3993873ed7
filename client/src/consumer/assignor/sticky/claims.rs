//! Who had what before: what members say, where they do not contradict each other. Pure.

use std::sync::Arc;

use crate::topic_partition::TopicPartition;

/// What a member says it has, and since when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim<'a> {
    pub(super) partitions: &'a [TopicPartition],
    pub(super) generation: Option<i32>,
}

/// The latest claim to a partition.
#[derive(Debug, Clone, Copy)]
struct Latest {
    generation: Option<i32>,
    /// Nobody if several members claim it since then.
    owner: Option<usize>,
}

/// By topic and partition, the member that has it. Of several the one with the latest generation, and nobody if that is not one.
/// Who is not subscribed has nothing; what does not exist is ignored.
pub(super) fn owners(
    names: &[&Arc<str>],
    counts: &[usize],
    subscribers: &[Vec<usize>],
    claims: &[Claim<'_>],
) -> (Vec<Vec<Option<usize>>>, bool) {
    let mut latest: Vec<Vec<Option<Latest>>> = counts.iter().map(|count| vec![None; *count]).collect();
    for (member, Claim { partitions, generation }) in claims.iter().enumerate() {
        for partition in *partitions {
            let Ok(topic) = names.binary_search(&partition.topic_name()) else { continue };
            let number = usize::try_from(partition.partition()).ok();
            let Some(entry) = number.and_then(|number| latest[topic].get_mut(number)) else { continue };
            match entry {
                Some(known) if known.generation > *generation => {}
                Some(known) if known.generation == *generation => known.owner = known.owner.filter(|o| *o == member),
                Some(_) | None => *entry = Some(Latest { generation: *generation, owner: Some(member) }),
            }
        }
    }
    let mut revoked = false;
    let mut owner = |topic: usize, entry: Option<Latest>| {
        let owner = entry?.owner?;
        let subscribed = subscribers[topic].binary_search(&owner).is_ok();
        revoked |= !subscribed;
        subscribed.then_some(owner)
    };
    let topics = latest.into_iter().enumerate();
    let owners = topics.map(|(topic, all)| all.into_iter().map(|entry| owner(topic, entry)).collect()).collect();
    (owners, revoked)
}
