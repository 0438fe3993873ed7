//! InitProducerId: gives a producer an id, and a transactional one the epoch that fences the one before it. Pure.
//!
//! * v3: the identity so far. Without a transactional id Kafka ignores it and gives a new one, with epoch 0: an idempotent
//!   producer raises its epoch by itself; v4: PRODUCER_FENCED

use milena_protocol::ErrorCode;
use milena_protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

use super::{Answer, Call, reply};
use crate::core::parked::{Parked, Wait};
use crate::core::transactions::{Identity, Waiting};
use crate::core::{Core, Outcome};

pub(super) fn handle(
    core: &mut Core,
    call: &Call<'_>,
    request: InitProducerIdRequest,
) -> Answer<InitProducerIdResponse> {
    let InitProducerIdRequest { transactional_id, transaction_timeout_ms, producer_id, producer_epoch } = request;
    if (producer_id == -1) != (producer_epoch == -1) {
        return Answer::Now(response(Err(ErrorCode::INVALID_REQUEST)));
    }
    let Some(transactional_id) = transactional_id else {
        let producer_id = core.new_producer_id(call.broker());
        return Answer::Now(response(producer_id.map(|producer_id| Identity { producer_id, epoch: 0 })));
    };
    if transactional_id.is_empty() {
        return Answer::Now(response(Err(ErrorCode::INVALID_REQUEST)));
    }
    let expected = (producer_id != -1).then_some(Identity { producer_id, epoch: producer_epoch });
    core.park(call.ticket, Parked::until_answered(call, Wait::Transaction(Waiting::InitProducerId)));
    core.init_transaction(call, &transactional_id, transaction_timeout_ms, expected);
    Answer::Parked
}

/// The answer to a request that has waited.
pub(crate) fn outcome(call: &Call<'_>, result: Result<Identity, ErrorCode>) -> Outcome {
    let result = result.map_err(|code| super::fenced_before(call, 4, code));
    reply::<InitProducerIdRequest>(call, call.version(), &response(result))
}

fn response(result: Result<Identity, ErrorCode>) -> InitProducerIdResponse {
    let (error_code, identity) = match result {
        Ok(identity) => (ErrorCode::NONE, identity),
        Err(code) => (code, Identity { producer_id: -1, epoch: -1 }),
    };
    let Identity { producer_id, epoch: producer_epoch } = identity;
    InitProducerIdResponse { error_code, producer_id, producer_epoch, ..Default::default() }
}
