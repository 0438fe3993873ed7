//! DeleteTopics: any broker does it, and it is done when the answer goes out. Pure.
//!
//! * v1: topics by name; v6: by name or by id; v5: error messages

use std::collections::BTreeMap;

use milena_protocol::ErrorCode;
use milena_protocol::messages::delete_topics::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use milena_protocol::primitives::Uuid;

use super::{Answer, Call};
use crate::core::Core;

pub(super) fn handle(core: &mut Core, call: &Call<'_>, request: DeleteTopicsRequest) -> Answer<DeleteTopicsResponse> {
    let by_name = |name| DeleteTopicState { name: Some(name), topic_id: Uuid::ZERO };
    let wanted: Vec<DeleteTopicState> =
        if call.version() >= 6 { request.topics } else { request.topic_names.into_iter().map(by_name).collect() };
    // A topic may be named by its name and by its id.
    let identify = |core: &Core, DeleteTopicState { name, topic_id }: &DeleteTopicState| match name {
        Some(name) if topic_id.is_zero() => {
            let known = core.controller.topic(name).map_or(Uuid::ZERO, |topic| topic.id);
            (Some(name.clone()), known)
        }
        Some(name) => (Some(name.clone()), *topic_id),
        None => (core.controller.topic_by_id(*topic_id).map(|topic| topic.name.clone()), *topic_id),
    };
    let mut seen: BTreeMap<_, Vec<Uuid>> = BTreeMap::new();
    for topic in &wanted {
        seen.entry(identify(core, topic)).or_default().push(topic.topic_id);
    }
    let mut responses = Vec::with_capacity(seen.len());
    for topic in wanted {
        // What came twice is refused once.
        let identity = identify(core, &topic);
        match seen.remove(&identity).as_deref() {
            Some([_]) => responses.push(delete(core, call, topic)),
            Some(ids) => responses.push(DeletableTopicResult {
                name: identity.0,
                topic_id: ids.iter().copied().max().unwrap_or_default(),
                error_code: ErrorCode::INVALID_REQUEST,
                error_message: Some("the topic was given twice".to_owned()),
            }),
            None => {}
        }
    }
    Answer::Now(DeleteTopicsResponse { responses, ..Default::default() })
}

fn delete(core: &mut Core, call: &Call<'_>, wanted: DeleteTopicState) -> DeletableTopicResult {
    let DeleteTopicState { name, topic_id } = wanted;
    let found = match &name {
        Some(_) if !topic_id.is_zero() => Err((ErrorCode::INVALID_REQUEST, "a name and a topic id were given")),
        Some(name) => core
            .controller
            .topic(name)
            .ok_or((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "this cluster does not host this topic")),
        None if topic_id.is_zero() => Err((ErrorCode::INVALID_REQUEST, "neither a name nor a topic id was given")),
        None => core
            .controller
            .topic_by_id(topic_id)
            .ok_or((ErrorCode::UNKNOWN_TOPIC_ID, "this cluster does not host a topic with this id")),
    };
    match found.map(|topic| (topic.name.clone(), topic.id)) {
        Ok((name, topic_id)) => {
            core.delete(call.now, topic_id);
            DeletableTopicResult { name: Some(name), topic_id, ..Default::default() }
        }
        Err((error_code, message)) => {
            DeletableTopicResult { name, topic_id, error_code, error_message: Some(message.to_owned()) }
        }
    }
}
