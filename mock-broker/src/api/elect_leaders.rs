//! ElectLeaders: preferred leaders, or unclean ones where nobody leads; done when the answer goes out. Pure.
//!
//! * v1: the type of the election

use std::collections::BTreeMap;

use milena_protocol::ErrorCode;
use milena_protocol::messages::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult, TopicPartitions,
};

use super::{Answer, Call};
use crate::core::Core;
use crate::core::controller::Refusal;

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

pub(super) fn handle(core: &mut Core, _call: &Call<'_>, request: ElectLeadersRequest) -> Answer<ElectLeadersResponse> {
    let is_unclean = match request.election_type {
        PREFERRED => false,
        UNCLEAN => true,
        _ => {
            let error_code = ErrorCode::INVALID_REQUEST;
            return Answer::Now(ElectLeadersResponse { error_code, ..Default::default() });
        }
    };
    let wants_all = request.topic_partitions.is_none();
    let wanted = request.topic_partitions.unwrap_or_else(|| {
        let topics = core.controller.topics().map(|topic| TopicPartitions {
            topic: topic.name.clone(),
            partitions: topic.partition_ids().map(|(id, _)| id.index).collect(),
        });
        topics.collect()
    });
    let mut by_topic: BTreeMap<String, Vec<PartitionResult>> = BTreeMap::new();
    for TopicPartitions { topic, partitions } in wanted {
        for partition_id in partitions {
            let (error_code, error_message) = match core.hold_election(&topic, partition_id, is_unclean) {
                Ok(()) => (ErrorCode::NONE, None),
                // Where all were asked for, only those are told of where something was to be done.
                Err(refusal) if wants_all && refusal.code == ErrorCode::ELECTION_NOT_NEEDED => continue,
                Err(Refusal { code, message }) => (code, Some(message)),
            };
            let results = by_topic.entry(topic.clone()).or_default();
            results.push(PartitionResult { partition_id, error_code, error_message });
        }
    }
    let results =
        by_topic.into_iter().map(|(topic, partition_result)| ReplicaElectionResult { topic, partition_result });
    Answer::Now(ElectLeadersResponse { replica_election_results: results.collect(), ..Default::default() })
}
