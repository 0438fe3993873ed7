//! CreatePartitions: gives topics more partitions; any broker does it. Pure.

use std::collections::BTreeMap;

use milena_protocol::ErrorCode;
use milena_protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult,
};

use super::{Answer, Call};
use crate::core::Core;
use crate::core::controller::Refusal;

pub(super) fn handle(
    core: &mut Core,
    _call: &Call<'_>,
    request: CreatePartitionsRequest,
) -> Answer<CreatePartitionsResponse> {
    let mut named: BTreeMap<String, usize> = BTreeMap::new();
    for topic in &request.topics {
        *named.entry(topic.name.clone()).or_default() += 1;
    }
    let mut results = Vec::with_capacity(named.len());
    for topic in request.topics {
        // A name that came twice is refused once.
        let created = match named.remove(&topic.name) {
            Some(1) => create(core, &topic, request.validate_only),
            Some(_) => Err(Refusal::new(ErrorCode::INVALID_REQUEST, "duplicate topic name")),
            None => continue,
        };
        let (error_code, error_message) = match created {
            Ok(()) => (ErrorCode::NONE, None),
            Err(Refusal { code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, .. }) => {
                (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, None)
            }
            Err(Refusal { code, message }) => (code, Some(message)),
        };
        results.push(CreatePartitionsTopicResult { name: topic.name, error_code, error_message });
    }
    Answer::Now(CreatePartitionsResponse { results, ..Default::default() })
}

fn create(core: &mut Core, topic: &CreatePartitionsTopic, validate_only: bool) -> Result<(), Refusal> {
    let by_hand = topic.assignments.as_ref();
    let by_hand: Option<Vec<Vec<i32>>> =
        by_hand.map(|lists| lists.iter().map(|assignment| assignment.broker_ids.clone()).collect());
    let planned = core.controller.plan_partitions(&topic.name, topic.count, by_hand.as_deref())?;
    if !validate_only {
        core.add_planned_partitions(&topic.name, planned);
    }
    Ok(())
}
