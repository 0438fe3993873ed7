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
    for topic in &topics {
        for partition in &topic.partitions {
            if core.partition_id(&topic.name, partition.partition_index).is_some() {
                wanted.entry(topic.name.clone()).or_default().push(partition.partition_index);
            }
        }
    }
    // Who names no partition that exists is not told about the group.
    let deleted = match wanted.is_empty() {
        true => Ok(Vec::new()),
        false => core.delete_offsets(call.now, call.broker(), &group_id, &wanted),
    };
    let subscribed = match deleted {
        Ok(subscribed) => subscribed,
        Err(error_code) => return Answer::Now(OffsetDeleteResponse { error_code, ..Default::default() }),
    };
    let topics = topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            let partition_index = partition.partition_index;
            let error_code = match wanted.get(&topic.name) {
                Some(known) if known.contains(&partition_index) && subscribed.contains(&topic.name) => {
                    ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC
                }
                Some(known) if known.contains(&partition_index) => ErrorCode::NONE,
                Some(_) | None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            };
            OffsetDeleteResponsePartition { partition_index, error_code }
        });
        OffsetDeleteResponseTopic { partitions: partitions.collect(), name: topic.name }
    });
    Answer::Now(OffsetDeleteResponse { topics: topics.collect(), ..Default::default() })
}
