//! Who had what before: what members say, where they do not contradict each other. Pure.

use std::sync::Arc;

use crate::topic_partition::TopicPartition;

/// What a member says it has, and since when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim<'a> {
    pub(super) partitions: &'a [TopicPartition],
    pub(super) generation: Option<i32>,
}

/// By topic and partition, the member that has it. Of several the one with the latest generation, and nobody if that is not one.
/// Who is not subscribed has nothing; what does not exist is ignored.
pub(super) fn owners(
    names: &[&Arc<str>],
    counts: &[usize],
    subscribers: &[Vec<usize>],
    claims: &[Claim<'_>],
) -> Vec<Vec<Option<usize>>> {
    // With the generation, and whether nobody else says so.
    let mut latest: Vec<Vec<Option<(Option<i32>, Option<usize>)>>> =
        counts.iter().map(|count| vec![None; *count]).collect();
    for (member, claim) in claims.iter().enumerate() {
        for partition in claim.partitions {
            let Ok(topic) = names.binary_search(&partition.topic_name()) else { continue };
            let Some(entry) = usize::try_from(partition.partition()).ok().and_then(|p| latest[topic].get_mut(p)) else {
                continue;
            };
            match entry {
                Some((generation, owner)) if *generation == claim.generation => *owner = owner.filter(|o| *o == member),
                Some((generation, _)) if *generation > claim.generation => {}
                Some(_) | None => *entry = Some((claim.generation, Some(member))),
            }
        }
    }
    let subscribed = |topic: usize, member: &usize| subscribers[topic].binary_search(member).is_ok();
    let owner =
        |topic, entry: Option<(Option<i32>, Option<usize>)>| entry?.1.filter(|member| subscribed(topic, member));
    latest
        .into_iter()
        .enumerate()
        .map(|(topic, all)| all.into_iter().map(|entry| owner(topic, entry)).collect())
        .collect()
}
