//! OffsetFetch: what a group has committed. Pure.
//!
//! * v2: null topics mean all, and an error for the whole group; v5: leader epochs
//! * v7: what a transaction may still change is UNSTABLE_OFFSET_COMMIT; v8: several groups; v10: topic ids
//! * nothing committed is offset -1, not an error

use milena_protocol::ErrorCode;
use milena_protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use milena_protocol::primitives::Uuid;

use super::{Answer, Call};
use crate::core::Core;
use crate::core::offsets::CommittedOffset;

pub(super) fn handle(core: &mut Core, call: &Call<'_>, request: OffsetFetchRequest) -> Answer<OffsetFetchResponse> {
    if call.version() >= 8 {
        let groups = request.groups.into_iter().map(|group| of_group(core, call, group, request.require_stable));
        return Answer::Now(OffsetFetchResponse { groups: groups.collect(), ..Default::default() });
    }
    // The older layout is the newer one with one group.
    let group = OffsetFetchRequestGroup {
        group_id: request.group_id,
        topics: request.topics.map(|topics| topics.into_iter().map(newer).collect()),
        ..Default::default()
    };
    let asked = group.topics.clone().unwrap_or_default();
    let OffsetFetchResponseGroup { topics, error_code, .. } = of_group(core, call, group, request.require_stable);
    let topics = match error_code {
        // Version 1 has no other place for the error.
        code if !code.is_none() && call.version() == 1 => asked.into_iter().map(|topic| refused(topic, code)).collect(),
        _ => topics,
    };
    let topics = topics.into_iter().map(older).collect();
    Answer::Now(OffsetFetchResponse { topics, error_code, ..Default::default() })
}

fn newer(topic: OffsetFetchRequestTopic) -> OffsetFetchRequestTopics {
    let OffsetFetchRequestTopic { name, partition_indexes } = topic;
    OffsetFetchRequestTopics { name, topic_id: Uuid::ZERO, partition_indexes }
}

fn older(topic: OffsetFetchResponseTopics) -> OffsetFetchResponseTopic {
    let partitions = topic.partitions.into_iter().map(|partition| OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: partition.error_code,
    });
    OffsetFetchResponseTopic { name: topic.name, partitions: partitions.collect() }
}

fn of_group(
    core: &Core,
    call: &Call<'_>,
    group: OffsetFetchRequestGroup,
    require_stable: bool,
) -> OffsetFetchResponseGroup {
    let group_id = group.group_id;
    let all = match core.offsets_at(call.broker(), &group_id) {
        Ok((_, offsets)) => offsets,
        Err(error_code) => return OffsetFetchResponseGroup { group_id, error_code, ..Default::default() },
    };
    let offsets = all.of_group(&group_id);
    let of_partition = |topic: &str, index: i32| {
        if require_stable && all.is_pending(&group_id, topic, index) {
            return OffsetFetchResponsePartitions {
                error_code: ErrorCode::UNSTABLE_OFFSET_COMMIT,
                ..answer(index, None)
            };
        }
        answer(index, all.get(&group_id, topic, index))
    };
    let mut topics: Vec<OffsetFetchResponseTopics> = Vec::new();
    match group.topics {
        Some(wanted) => topics.extend(wanted.into_iter().map(|wanted| {
            let by_id = call.version() >= 10;
            let name = match core.view(call.broker()).topic_by_id(wanted.topic_id) {
                Some(topic) if by_id => topic.name.clone(),
                None if by_id => return refused(wanted, ErrorCode::UNKNOWN_TOPIC_ID),
                _ => wanted.name,
            };
            let partitions = wanted.partition_indexes.into_iter().map(|index| of_partition(&name, index)).collect();
            OffsetFetchResponseTopics { name, topic_id: wanted.topic_id, partitions }
        })),
        None => {
            for (name, index) in offsets.into_iter().flat_map(|offsets| offsets.keys()) {
                let partition = of_partition(name, *index);
                match topics.last_mut().filter(|topic| topic.name == *name) {
                    Some(topic) => topic.partitions.push(partition),
                    None => topics.push(OffsetFetchResponseTopics {
                        name: name.clone(),
                        topic_id: core.view(call.broker()).topic(name).map_or(Uuid::ZERO, |topic| topic.id),
                        partitions: vec![partition],
                    }),
                }
            }
        }
    }
    OffsetFetchResponseGroup { group_id, topics, error_code: ErrorCode::NONE }
}

fn answer(partition_index: i32, committed: Option<&CommittedOffset>) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: committed.map_or(-1, |committed| committed.offset),
        committed_leader_epoch: committed.map_or(-1, |committed| committed.leader_epoch),
        metadata: Some(committed.map_or(String::new(), |committed| committed.metadata.clone())),
        error_code: ErrorCode::NONE,
    }
}

fn refused(topic: OffsetFetchRequestTopics, error_code: ErrorCode) -> OffsetFetchResponseTopics {
    let refused = |index| OffsetFetchResponsePartitions { error_code, ..answer(index, None) };
    OffsetFetchResponseTopics {
        name: topic.name,
        topic_id: topic.topic_id,
        partitions: topic.partition_indexes.into_iter().map(refused).collect(),
    }
}
