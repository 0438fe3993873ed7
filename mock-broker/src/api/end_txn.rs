//! EndTxn: commits or aborts a transaction. It is answered when that is decided; the markers are written after it. Pure.
//!
//! * v2: PRODUCER_FENCED; v5: each transaction ends with a new epoch, which the answer has

use milena_protocol::ErrorCode;
use milena_protocol::messages::end_txn::{EndTxnRequest, EndTxnResponse};

use super::{Answer, Call, reply};
use crate::core::parked::{Parked, Wait};
use crate::core::transactions::{End, Epochs, Identity, Waiting};
use crate::core::{Core, Outcome};

pub(super) fn handle(core: &mut Core, call: &Call<'_>, request: EndTxnRequest) -> Answer<EndTxnResponse> {
    let EndTxnRequest { transactional_id, producer_id, producer_epoch: epoch, committed } = request;
    let end = if committed { End::Commit } else { End::Abort };
    let epochs = if call.version() >= 5 { Epochs::Bump } else { Epochs::Keep };
    core.park(call.ticket, Parked::until_answered(call, Wait::Transaction(Waiting::EndTxn)));
    core.end_transaction(call, &transactional_id, Identity { producer_id, epoch }, end, epochs);
    Answer::Parked
}

/// The answer to a request that has waited.
pub(crate) fn outcome(call: &Call<'_>, result: Result<Identity, ErrorCode>) -> Outcome {
    let response = match result {
        Ok(Identity { producer_id, epoch: producer_epoch }) => {
            EndTxnResponse { producer_id, producer_epoch, ..Default::default() }
        }
        Err(code) => EndTxnResponse { error_code: super::fenced_before(call, 2, code), ..Default::default() },
    };
    reply::<EndTxnRequest>(call, call.version(), &response)
}
