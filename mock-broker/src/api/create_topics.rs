//! CreateTopics: any broker does it, and it is done when the answer goes out. Pure.
//!
//! * v4: -1 for the cluster's default counts
//! * v5: counts and configuration come back; v7: the topic id

use std::collections::BTreeMap;

use milena_protocol::ErrorCode;
use milena_protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};

use super::{Answer, Call};
use crate::core::Core;
use crate::core::controller::{Layout, Refusal, TopicState};
use crate::core::topic_configs::TABLE;

pub(super) fn handle(core: &mut Core, _call: &Call<'_>, request: CreateTopicsRequest) -> Answer<CreateTopicsResponse> {
    let mut named: BTreeMap<String, usize> = BTreeMap::new();
    for topic in &request.topics {
        *named.entry(topic.name.clone()).or_default() += 1;
    }
    let mut topics = Vec::with_capacity(named.len());
    let mut planned = Vec::new();
    for topic in request.topics {
        // A name that came twice is refused once.
        match named.remove(&topic.name) {
            Some(1) => match plan(core, &topic) {
                Ok(plan) => {
                    planned.push((topics.len(), plan));
                    topics.push(CreatableTopicResult::default());
                }
                Err(refusal) => topics.push(refused(topic.name, refusal)),
            },
            Some(_) => {
                topics.push(refused(topic.name, Refusal::new(ErrorCode::INVALID_REQUEST, "duplicate topic name")))
            }
            None => {}
        }
    }
    // All of them are checked against what was there before the first was created.
    for (place, plan) in planned {
        let described = describe(&plan);
        // Kafka gives an id to a topic that it only checks, too.
        let topic_id = if request.validate_only { core.controller.new_topic_id() } else { core.create_planned(plan) };
        if let Some(result) = topics.get_mut(place) {
            *result = CreatableTopicResult { topic_id, ..described };
        }
    }
    Answer::Now(CreateTopicsResponse { topics, ..Default::default() })
}

fn plan(core: &mut Core, topic: &CreatableTopic) -> Result<TopicState, Refusal> {
    if topic.name == "__cluster_metadata" {
        return Err(Refusal::new(ErrorCode::INVALID_REQUEST, "the controllers' own topic cannot be created"));
    }
    let layout = layout(core, topic)?;
    let mut set = BTreeMap::new();
    for config in &topic.configs {
        let Some(value) = &config.value else {
            let message = format_args!("null value not supported for topic config: {}", config.name);
            return Err(Refusal::new(ErrorCode::INVALID_CONFIG, message));
        };
        set.insert(config.name.clone(), value.clone());
    }
    core.controller.plan(&topic.name, &layout, set)
}

fn layout(core: &Core, topic: &CreatableTopic) -> Result<Layout, Refusal> {
    if topic.assignments.is_empty() {
        let partitions = match topic.num_partitions {
            -1 => core.settings.default_partitions,
            count => count,
        };
        let replication_factor = match topic.replication_factor {
            -1 => core.settings.default_replication_factor,
            factor => factor,
        };
        return Ok(Layout::Spread { partitions, replication_factor });
    }
    if (topic.num_partitions, topic.replication_factor) != (-1, -1) {
        let message = "a manual assignment was given together with a number of partitions or a replication factor";
        return Err(Refusal::new(ErrorCode::INVALID_REQUEST, message));
    }
    let by_partition: BTreeMap<i32, Vec<i32>> = topic
        .assignments
        .iter()
        .map(|assignment| (assignment.partition_index, assignment.broker_ids.clone()))
        .collect();
    if by_partition.len() != topic.assignments.len() || !by_partition.keys().copied().eq((0..).take(by_partition.len()))
    {
        let message = "partitions must be a consecutive 0-based integer sequence, each given once";
        return Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
    }
    Ok(Layout::Manual(by_partition.into_values().collect()))
}

fn refused(name: String, refusal: Refusal) -> CreatableTopicResult {
    CreatableTopicResult { name, error_code: refusal.code, error_message: Some(refusal.message), ..Default::default() }
}

fn describe(topic: &TopicState) -> CreatableTopicResult {
    let configs = TABLE.iter().map(|definition| {
        let (value, source) = topic.configs.value(definition);
        CreatableTopicConfigs {
            name: definition.name.to_owned(),
            value: Some(value),
            read_only: false,
            config_source: source as i8,
            is_sensitive: false,
        }
    });
    let replicas = topic.partition(0).map_or(0, |state| state.replicas.len());
    CreatableTopicResult {
        name: topic.name.clone(),
        error_message: None,
        num_partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
        replication_factor: i16::try_from(replicas).unwrap_or(i16::MAX),
        configs: Some(configs.collect()),
        ..Default::default()
    }
}
