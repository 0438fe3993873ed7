//! DescribeConfigs: all configurations of topics, and a few of brokers. Pure.
//!
//! * v1: synonyms; v3: types, and documentation (which is elsewhere)

use milena_protocol::ErrorCode;
use milena_protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};

use super::{Answer, Call};
use crate::core::Core;
use crate::core::controller::{Refusal, TopicState, check_name};
use crate::core::topic_configs::{Definition, Kind, Source, TABLE};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

pub(super) fn handle(
    core: &mut Core,
    call: &Call<'_>,
    request: DescribeConfigsRequest,
) -> Answer<DescribeConfigsResponse> {
    let document = |config: DescribeConfigsResourceResult| DescribeConfigsResourceResult {
        documentation: request.include_documentation.then(|| "see Kafka's documentation".to_owned()),
        ..config
    };
    let results = request.resources.into_iter().map(|resource| {
        let configs = match resource.resource_type {
            TOPIC => of_topic(core, &resource, request.include_synonyms),
            BROKER => of_broker(core, call.broker(), &resource),
            other => {
                Err(Refusal::new(ErrorCode::INVALID_REQUEST, format_args!("resource type {other} has no configs here")))
            }
        };
        let DescribeConfigsResource { resource_type, resource_name, configuration_keys } = resource;
        let is_wanted = |config: &DescribeConfigsResourceResult| {
            configuration_keys.as_ref().is_none_or(|names| names.is_empty() || names.contains(&config.name))
        };
        match configs {
            Ok(configs) => DescribeConfigsResult {
                error_code: ErrorCode::NONE,
                error_message: Some(String::new()),
                resource_type,
                resource_name,
                configs: configs.into_iter().filter(is_wanted).map(document).collect(),
            },
            Err(refusal) => DescribeConfigsResult {
                error_code: refusal.code,
                error_message: Some(refusal.message),
                resource_type,
                resource_name,
                configs: Vec::new(),
            },
        }
    });
    Answer::Now(DescribeConfigsResponse { results: results.collect(), ..Default::default() })
}

fn of_topic(
    core: &Core,
    resource: &DescribeConfigsResource,
    with_synonyms: bool,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    check_name(&resource.resource_name).map_err(|reason| Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, reason))?;
    let Some(topic) = core.controller.topic(&resource.resource_name) else {
        return Err(Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "")); // Kafka has no words for it, either
    };
    let describe = |definition: &Definition| {
        let (value, source) = topic.configs.value(definition);
        DescribeConfigsResourceResult {
            name: definition.name.to_owned(),
            value: Some(value),
            read_only: false,
            config_source: source as i8,
            is_sensitive: false,
            synonyms: if with_synonyms { synonyms(topic, definition) } else { Vec::new() },
            config_type: definition.kind.id(),
            documentation: None,
        }
    };
    Ok(TABLE.iter().map(describe).collect())
}

/// Where the value could come from, the strongest first.
fn synonyms(topic: &TopicState, definition: &Definition) -> Vec<DescribeConfigsSynonym> {
    let synonym = |name: &str, value: String, source: Source| DescribeConfigsSynonym {
        name: name.to_owned(),
        value: Some(value),
        source: source as i8,
    };
    let set = topic.configs.set().get(definition.name);
    let own = set.map(|value| synonym(definition.name, value.clone(), Source::DynamicTopic));
    let (inherited, source) = topic.configs.inherited(definition);
    let is_dynamic = source == Source::DynamicDefaultBroker;
    let is_static = is_dynamic && inherited != definition.default;
    let dynamic = is_dynamic.then(|| synonym(definition.broker_name, inherited.clone(), source));
    let broker = is_static.then(|| synonym(definition.broker_name, inherited, Source::StaticBroker));
    let default = (!definition.broker_name.is_empty())
        .then(|| synonym(definition.broker_name, definition.default.to_owned(), Source::Default));
    own.into_iter().chain(dynamic).chain(broker).chain(default).collect()
}

fn of_broker(
    core: &Core,
    asked: i32,
    resource: &DescribeConfigsResource,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    // Without a name: what was set for all brokers at run time, which is nothing.
    if resource.resource_name.is_empty() {
        return Ok(Vec::new());
    }
    // A broker describes itself alone.
    let is_asked = resource.resource_name.parse() == Ok(asked);
    let Some(address) = core.controller.address(asked).filter(|_| is_asked) else {
        let message = format_args!("this is broker {asked}, not '{}'", resource.resource_name);
        return Err(Refusal::new(ErrorCode::INVALID_REQUEST, message));
    };
    let settings = &core.settings;
    let rows = [
        ("auto.create.topics.enable", settings.auto_create_topics.to_string(), Kind::Boolean),
        ("broker.id", address.id.to_string(), Kind::Int(0, 0)),
        ("broker.rack", address.rack.clone().unwrap_or_default(), Kind::OneOf(&[])),
        ("default.replication.factor", settings.default_replication_factor.to_string(), Kind::Int(0, 0)),
        ("min.insync.replicas", settings.min_insync_replicas.to_string(), Kind::Int(0, 0)),
        ("num.partitions", settings.default_partitions.to_string(), Kind::Int(0, 0)),
        ("offsets.topic.num.partitions", settings.offsets_partitions.to_string(), Kind::Int(0, 0)),
    ];
    let describe = |(name, value, kind): (&str, String, Kind)| DescribeConfigsResourceResult {
        name: name.to_owned(),
        value: Some(value),
        read_only: true,
        config_source: Source::StaticBroker as i8,
        is_sensitive: false,
        synonyms: Vec::new(),
        config_type: kind.id(),
        documentation: None,
    };
    Ok(rows.map(describe).into())
}
