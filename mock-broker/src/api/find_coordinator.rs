//! FindCoordinator: the leader of a partition of an internal topic, chosen by the key's hash. Pure.
//!
//! * v1: key types 0 (group) and 1 (transactional id); v4: several keys; v6: key type 2 (share), which is not served
//! * the first request creates the topic and is told to come again, as in Kafka

use milena_protocol::ErrorCode;
use milena_protocol::messages::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};

use super::{Answer, Call};
use crate::core::Core;
use crate::core::offsets::{OFFSETS_TOPIC, TRANSACTIONS_TOPIC};

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

pub(super) fn handle(
    core: &mut Core,
    call: &Call<'_>,
    request: FindCoordinatorRequest,
) -> Answer<FindCoordinatorResponse> {
    let FindCoordinatorRequest { key, key_type, coordinator_keys } = request;
    if call.version() >= 4 {
        let coordinators = coordinator_keys.into_iter().map(|key| find(core, call, key_type, key)).collect();
        return Answer::Now(FindCoordinatorResponse { coordinators, ..Default::default() });
    }
    let Coordinator { node_id, host, port, error_code, error_message, .. } = find(core, call, key_type, key);
    // Kafka says so in words here, and not where several keys are asked for.
    let error_message = if error_code.is_none() { Some("NONE".to_owned()) } else { error_message };
    Answer::Now(FindCoordinatorResponse { node_id, host, port, error_code, error_message, ..Default::default() })
}

fn find(core: &mut Core, call: &Call<'_>, key_type: i8, key: String) -> Coordinator {
    let refuse = |key, error_code, message: String| Coordinator {
        key,
        node_id: -1,
        host: String::new(),
        port: -1,
        error_code,
        error_message: Some(message),
    };
    let topic = match key_type {
        GROUP => OFFSETS_TOPIC,
        TRANSACTION => TRANSACTIONS_TOPIC,
        // Kafka has no words for a share group's key that is none.
        SHARE if call.version() >= 4 => return refuse(key, ErrorCode::INVALID_REQUEST, String::new()),
        other => return refuse(key, ErrorCode::INVALID_REQUEST, format!("key type {other} has no coordinator here")),
    };
    let unavailable = |key| {
        let message = if call.version() < 4 { "the coordinator is not available" } else { "" };
        refuse(key, ErrorCode::COORDINATOR_NOT_AVAILABLE, message.to_owned())
    };
    match core.ensure_internal_topic(call.broker(), topic) {
        Ok(true) => {}
        Ok(false) => return unavailable(key),
        Err(refusal) => return refuse(key, ErrorCode::COORDINATOR_NOT_AVAILABLE, refusal.message),
    }
    let view = core.view(call.broker());
    let state = core.partition_for_key(topic, &key).and_then(|id| view.partition(id));
    match state.and_then(|state| view.address(state.leader)) {
        Some(address) => Coordinator {
            node_id: address.id,
            host: address.host.clone(),
            port: i32::from(address.port),
            error_code: ErrorCode::NONE,
            error_message: Some(String::new()),
            key,
        },
        None => unavailable(key),
    }
}
