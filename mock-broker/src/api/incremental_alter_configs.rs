//! IncrementalAlterConfigs: changes single configurations of topics; any broker does it. Those of brokers are fixed. Pure.

use std::collections::{BTreeMap, BTreeSet};

use milena_protocol::ErrorCode;
use milena_protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};

use super::{Answer, Call};
use crate::core::Core;
use crate::core::controller::{Refusal, TopicState, check_name};
use crate::core::topic_configs::{Kind, definition};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub(super) fn handle(
    core: &mut Core,
    _call: &Call<'_>,
    request: IncrementalAlterConfigsRequest,
) -> Answer<IncrementalAlterConfigsResponse> {
    let mut named: BTreeMap<(i8, String), usize> = BTreeMap::new();
    for resource in &request.resources {
        *named.entry((resource.resource_type, resource.resource_name.clone())).or_default() += 1;
    }
    let responses = request.resources.into_iter().map(|resource| {
        let AlterConfigsResource { resource_type, resource_name, configs } = resource;
        let is_twice = named.get(&(resource_type, resource_name.clone())).is_some_and(|count| *count > 1);
        let altered = if is_twice {
            Err(Refusal::new(ErrorCode::INVALID_REQUEST, "each resource must appear at most once"))
        } else {
            alter(core, resource_type, &resource_name, configs, request.validate_only)
        };
        let (error_code, error_message) = match altered {
            Ok(()) => (ErrorCode::NONE, None),
            Err(Refusal { code, message }) => (code, Some(message)),
        };
        AlterConfigsResourceResponse { error_code, error_message, resource_type, resource_name }
    });
    Answer::Now(IncrementalAlterConfigsResponse { responses: responses.collect(), ..Default::default() })
}

fn alter(
    core: &mut Core,
    resource_type: i8,
    name: &str,
    configs: Vec<AlterableConfig>,
    validate_only: bool,
) -> Result<(), Refusal> {
    let refuse = |message: String| Err(Refusal::new(ErrorCode::INVALID_REQUEST, message));
    let mut keys = BTreeSet::new();
    if !configs.iter().all(|config| keys.insert(&config.name)) {
        return refuse("a configuration must appear at most once in a resource".to_owned());
    }
    if let Some(config) = configs.iter().find(|config| config.config_operation != DELETE && config.value.is_none()) {
        return refuse(format!("null value not supported for: {}", config.name));
    }
    match resource_type {
        TOPIC if name.is_empty() => return refuse("there are no defaults of topics to change".to_owned()),
        TOPIC => {}
        BROKER => return refuse("the brokers' configuration cannot be changed while they run".to_owned()),
        other => return refuse(format!("resource type {other} has no configs here")),
    }
    check_name(name).map_err(|reason| Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, reason))?;
    let mut changes = BTreeMap::new();
    if let Some(topic) = core.controller.topic(name) {
        for config in configs {
            changes.insert(config.name.clone(), changed(topic, config)?);
        }
    }
    let planned = core.controller.plan_configs(name, changes)?;
    if !validate_only {
        core.configure_planned(name, planned);
    }
    Ok(())
}

/// What the configuration becomes; `None` if it is taken back.
fn changed(topic: &TopicState, config: AlterableConfig) -> Result<Option<String>, Refusal> {
    let AlterableConfig { name, config_operation, value } = config;
    let value = value.unwrap_or_default();
    match config_operation {
        SET => return Ok(Some(value)),
        DELETE => return Ok(None),
        APPEND | SUBTRACT => {}
        other => {
            return Err(Refusal::new(ErrorCode::INVALID_REQUEST, format_args!("operation {other} is not known")));
        }
    }
    let list = definition(&name).filter(|known| matches!(known.kind, Kind::ListOf(_) | Kind::AnyList));
    let Some(definition) = list else {
        let message = format_args!("cannot append to or subtract from {name}: it is not a list");
        return Err(Refusal::new(ErrorCode::INVALID_CONFIG, message));
    };
    let (known, _) = topic.configs.value(definition);
    let mut items: Vec<&str> = known.split(',').filter(|item| !item.is_empty()).collect();
    for item in value.split(',') {
        if config_operation == SUBTRACT {
            items.retain(|known| *known != item);
        } else if !items.contains(&item) {
            items.push(item);
        }
    }
    Ok(Some(items.join(",")))
}
