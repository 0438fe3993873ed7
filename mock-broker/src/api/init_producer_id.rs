//! InitProducerId: gives an idempotent producer an id that no other one has. Pure.
//!
//! * v3: the identity so far. Without a transactional id Kafka ignores it and gives a new one, with epoch 0: an idempotent
//!   producer raises its epoch by itself
//! * a transactional id is refused: transactions are not served

use milena_protocol::ErrorCode;
use milena_protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

use super::{Answer, Call};
use crate::core::Core;

pub(super) fn handle(
    core: &mut Core,
    call: &Call<'_>,
    request: InitProducerIdRequest,
) -> Answer<InitProducerIdResponse> {
    let refuse = |error_code| {
        Answer::Now(InitProducerIdResponse { error_code, producer_id: -1, producer_epoch: -1, ..Default::default() })
    };
    if (request.producer_id == -1) != (request.producer_epoch == -1) {
        return refuse(ErrorCode::INVALID_REQUEST);
    }
    if request.transactional_id.is_some() {
        return refuse(ErrorCode::UNSUPPORTED_VERSION);
    }
    let Some(broker) = core.brokers.get_mut(&call.broker()) else {
        return refuse(ErrorCode::COORDINATOR_NOT_AVAILABLE);
    };
    if broker.producer_ids.is_empty() && broker.is_in_touch() {
        broker.producer_ids = core.controller.take_producer_ids();
    }
    match broker.producer_ids.next() {
        Some(producer_id) => {
            Answer::Now(InitProducerIdResponse { producer_id, producer_epoch: 0, ..Default::default() })
        }
        None => refuse(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
    }
}
