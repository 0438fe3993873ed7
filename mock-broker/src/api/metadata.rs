//! Metadata: brokers, topics, and who leads which partition. Pure.
//!
//! * v0: an empty list means all topics; later null does. Replicas that are down are not named
//! * v4: topics may be created, if the cluster allows it; the first answer is an error all the same
//! * v8: authorized operations: all, as there is no authorizer
//! * v10: topic ids; v12: topics may be asked for by id

use std::collections::BTreeSet;

use milena_protocol::ErrorCode;
use milena_protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};

use super::{Answer, Call};
use crate::core::Core;
use crate::core::controller::{Controller, Layout, TopicState, is_internal};

/// Bits of the ACL operations that exist for a topic, and for the cluster.
const TOPIC_OPERATIONS: i32 = 3576;
pub(super) const CLUSTER_OPERATIONS: i32 = 8096;

pub(super) fn handle(core: &mut Core, call: &Call<'_>, request: MetadataRequest) -> Answer<MetadataResponse> {
    let all = match &request.topics {
        None => true,
        Some(topics) => call.version() == 0 && topics.is_empty(),
    };
    if let Some(error_code) = refuse(call, &request) {
        let failed = |topic: MetadataRequestTopic| MetadataResponseTopic {
            error_code,
            name: Some(topic.name.unwrap_or_default()),
            topic_id: topic.topic_id,
            ..Default::default()
        };
        let topics = request.topics.into_iter().flatten().map(failed).collect();
        return Answer::Now(MetadataResponse { topics, ..Default::default() });
    }
    let mut topics: Vec<MetadataResponseTopic> = if all {
        let view = core.view(call.broker());
        view.topics().filter(|topic| !core.hides(call.broker(), topic)).map(|topic| describe(view, topic)).collect()
    } else {
        let wanted = distinct(request.topics.unwrap_or_default());
        wanted.into_iter().map(|topic| find(core, call, topic, request.allow_auto_topic_creation)).collect()
    };
    // Kafka puts those that it knows first.
    topics.sort_by_key(|topic| topic.topic_id.is_zero() || topic.error_code == ErrorCode::UNKNOWN_TOPIC_ID);
    if call.version() == 0 {
        topics.iter_mut().flat_map(|topic| &mut topic.partitions).for_each(hide_offline_replicas);
    }
    if request.include_topic_authorized_operations {
        for topic in &mut topics {
            topic.topic_authorized_operations = TOPIC_OPERATIONS;
        }
    }
    let broker = |address: &crate::core::BrokerAddress| MetadataResponseBroker {
        node_id: address.id,
        host: address.host.clone(),
        port: i32::from(address.port),
        rack: address.rack.clone(),
    };
    let view = core.view(call.broker());
    let mut response = MetadataResponse {
        brokers: view.live_brokers().map(broker).collect(),
        cluster_id: Some(core.settings.cluster_id.clone()),
        controller_id: view.active_controller(),
        topics,
        ..Default::default()
    };
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    Answer::Now(response)
}

/// Version 0 names no replica that is down, and has an error if there is one.
fn hide_offline_replicas(partition: &mut MetadataResponsePartition) {
    let offline = &partition.offline_replicas;
    partition.replica_nodes.retain(|replica| !offline.contains(replica));
    if !offline.is_empty() && partition.error_code.is_none() {
        partition.error_code = ErrorCode::REPLICA_NOT_AVAILABLE;
    }
}

/// What Kafka does not answer at all.
fn refuse(call: &Call<'_>, request: &MetadataRequest) -> Option<ErrorCode> {
    let mut wanted = request.topics.iter().flatten();
    match call.version() {
        ..12 => {
            wanted.any(|topic| topic.name.is_none() || !topic.topic_id.is_zero()).then_some(ErrorCode::INVALID_REQUEST)
        }
        _ => wanted
            .any(|topic| topic.name.is_none() && topic.topic_id.is_zero())
            .then_some(ErrorCode::UNKNOWN_SERVER_ERROR),
    }
}

/// Each once. If one has an id, those without do not count.
fn distinct(mut wanted: Vec<MetadataRequestTopic>) -> Vec<MetadataRequestTopic> {
    if wanted.iter().any(|topic| !topic.topic_id.is_zero()) {
        wanted.retain(|topic| !topic.topic_id.is_zero());
        wanted.iter_mut().for_each(|topic| topic.name = None);
    }
    let mut seen = BTreeSet::new();
    wanted.retain(|topic| seen.insert((topic.topic_id, topic.name.clone())));
    wanted
}

fn find(core: &mut Core, call: &Call<'_>, wanted: MetadataRequestTopic, may_create: bool) -> MetadataResponseTopic {
    let view = core.view(call.broker());
    let is_shown = |topic: &&TopicState| !core.hides(call.broker(), topic);
    let Some(name) = wanted.name else {
        return match view.topic_by_id(wanted.topic_id).filter(is_shown) {
            Some(topic) => describe(view, topic),
            None => MetadataResponseTopic {
                error_code: ErrorCode::UNKNOWN_TOPIC_ID,
                name: None,
                topic_id: wanted.topic_id,
                ..Default::default()
            },
        };
    };
    if let Some(topic) = view.topic(&name).filter(is_shown) {
        return describe(view, topic);
    }
    let error_code = create(core, call.broker(), &name, may_create || call.version() < 4);
    MetadataResponseTopic { error_code, is_internal: is_internal(&name), name: Some(name), ..Default::default() }
}

/// Creates a topic that somebody asked for, if that is allowed and the broker is in touch with the controller. It is known from
/// the next request on, as in Kafka.
fn create(core: &mut Core, broker: i32, name: &str, may_create: bool) -> ErrorCode {
    let settings = &core.settings;
    let layout = Layout::Spread {
        partitions: settings.default_partitions,
        replication_factor: settings.default_replication_factor,
    };
    let may_create = may_create && settings.auto_create_topics && core.is_in_touch(broker);
    let created = if may_create && is_internal(name) {
        core.ensure_internal_topic(broker, name).map(|_| ())
    } else {
        core.controller.plan(name, &layout, Default::default()).map(|planned| {
            if may_create {
                core.create_planned(planned);
            }
        })
    };
    match created {
        Err(refusal) if refusal.code == ErrorCode::INVALID_TOPIC_EXCEPTION => refusal.code,
        Err(refusal) if may_create && refusal.code != ErrorCode::TOPIC_ALREADY_EXISTS => refusal.code,
        _ => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    }
}

fn describe(view: &Controller, topic: &TopicState) -> MetadataResponseTopic {
    let partitions = topic.partition_ids().map(|(id, state)| MetadataResponsePartition {
        error_code: if state.leader == -1 { ErrorCode::LEADER_NOT_AVAILABLE } else { ErrorCode::NONE },
        partition_index: id.index,
        leader_id: state.leader,
        leader_epoch: state.leader_epoch,
        replica_nodes: state.replicas.clone(),
        // The last in-sync replica of a partition without leader is eligible, but not listed (KIP-966).
        isr_nodes: state.isr.iter().copied().filter(|replica| view.is_active(*replica)).collect(),
        offline_replicas: state.replicas.iter().copied().filter(|replica| !view.is_active(*replica)).collect(),
    });
    MetadataResponseTopic {
        name: Some(topic.name.clone()),
        topic_id: topic.id,
        is_internal: topic.is_internal(),
        partitions: partitions.collect(),
        ..Default::default()
    }
}
