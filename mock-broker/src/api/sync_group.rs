//! SyncGroup: gets a member its assignment; the answer waits until the leader has sent it. Pure.
//!
//! * v3: static members; v5: which protocol the member believes in, and it has to say

use milena_protocol::ErrorCode;
use milena_protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};

use super::{Answer, Call, reply};
use crate::core::parked::{Parked, Wait};
use crate::core::{Core, Outcome};

pub(super) fn handle(core: &mut Core, call: &Call<'_>, request: SyncGroupRequest) -> Answer<SyncGroupResponse> {
    if let Err(error_code) = check(core, call, &request) {
        return Answer::Now(SyncGroupResponse { error_code, ..Default::default() });
    }
    core.park(call.ticket, Parked::until_answered(call, Wait::Group));
    core.sync_group(call, request);
    Answer::Parked
}

fn check(core: &Core, call: &Call<'_>, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
    if call.version() >= 5 && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
        return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    }
    if request.group_id.is_empty() {
        return Err(ErrorCode::INVALID_GROUP_ID);
    }
    core.check_coordinator(call.broker(), &request.group_id).map(|_| ())
}

/// The answer to a request that has waited.
pub(crate) fn outcome(call: &Call<'_>, response: &SyncGroupResponse) -> Outcome {
    reply::<SyncGroupRequest>(call, call.version(), response)
}
