//! OffsetDelete: deletes committed offsets of a group that does not use their topics. Pure.

use std::collections::BTreeMap;

use milena_protocol::ErrorCode;
use milena_protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

use super::{Answer, Call};
use crate::core::Core;

pub(super) fn handle(core: &mut Core, call: &Call<'_>, request: OffsetDeleteRequest) -> Answer<OffsetDeleteResponse> {
    let OffsetDeleteRequest { group_id, topics } = request;
    let mut wanted: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for topic in topics {
        let partitions = topic.partitions.into_iter().map(|partition| partition.partition_index);
        wanted.entry(topic.name).or_default().extend(partitions);
    }
    let exists = |topic: &str, partition: i32| core.partition_id(topic, partition).is_some();
    let known = wanted.iter().map(|(topic, partitions)| {
        (topic.clone(), partitions.iter().copied().filter(|partition| exists(topic, *partition)).collect())
    });
    let known: BTreeMap<String, Vec<i32>> = known.collect();
    let subscribed = match core.delete_offsets(call.now, call.broker(), &group_id, &known) {
        Ok(subscribed) => subscribed,
        Err(error_code) => return Answer::Now(OffsetDeleteResponse { error_code, ..Default::default() }),
    };
    let topics = wanted.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|partition_index| {
            let is_known = known.get(&name).is_some_and(|known| known.contains(&partition_index));
            let error_code = match (is_known, subscribed.contains(&name)) {
                (false, _) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                (true, true) => ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC,
                (true, false) => ErrorCode::NONE,
            };
            OffsetDeleteResponsePartition { partition_index, error_code }
        });
        OffsetDeleteResponseTopic { partitions: partitions.collect(), name }
    });
    Answer::Now(OffsetDeleteResponse { topics: topics.collect(), ..Default::default() })
}
