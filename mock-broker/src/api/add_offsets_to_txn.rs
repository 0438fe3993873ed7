//! AddOffsetsToTxn: adds the partition that has the offsets of a group to a transaction. Pure.
//!
//! * v2: PRODUCER_FENCED

use milena_protocol::ErrorCode;
use milena_protocol::messages::add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};

use super::{Answer, Call, reply};
use crate::core::offsets::OFFSETS_TOPIC;
use crate::core::parked::{Parked, Wait};
use crate::core::transactions::{Identity, Waiting};
use crate::core::{Core, Outcome};

pub(super) fn handle(
    core: &mut Core,
    call: &Call<'_>,
    request: AddOffsetsToTxnRequest,
) -> Answer<AddOffsetsToTxnResponse> {
    let AddOffsetsToTxnRequest { transactional_id, producer_id, producer_epoch: epoch, group_id } = request;
    let refuse = |error_code| Answer::Now(AddOffsetsToTxnResponse { error_code, ..Default::default() });
    if core.ensure_internal_topic(call.broker(), OFFSETS_TOPIC).is_err() {
        return refuse(ErrorCode::COORDINATOR_NOT_AVAILABLE);
    }
    let Some(id) = core.partition_for_key(OFFSETS_TOPIC, &group_id) else {
        return refuse(ErrorCode::COORDINATOR_NOT_AVAILABLE);
    };
    core.park(call.ticket, Parked::until_answered(call, Wait::Transaction(Waiting::AddOffsets)));
    let partitions = [(OFFSETS_TOPIC.to_owned(), id.index)].into();
    core.add_to_transaction(call, &transactional_id, Identity { producer_id, epoch }, &partitions);
    Answer::Parked
}

/// The answer to a request that has waited.
pub(crate) fn outcome(call: &Call<'_>, refusal: Option<ErrorCode>) -> Outcome {
    let error_code = refusal.map_or(ErrorCode::NONE, |code| super::fenced_before(call, 2, code));
    let response = AddOffsetsToTxnResponse { error_code, ..Default::default() };
    reply::<AddOffsetsToTxnRequest>(call, call.version(), &response)
}
