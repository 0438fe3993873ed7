//! JoinGroup: joins a classic group; the answer waits until all members have joined. Pure.
//!
//! * v1: rebalance timeouts; v4: a new member comes again with its id; v5: static members; v9: leaders that need not assign

use milena_protocol::ErrorCode;
use milena_protocol::messages::join_group::{JoinGroupRequest, JoinGroupResponse};

use super::{Answer, Call, reply};
use crate::core::controller::PartitionId;
use crate::core::parked::{Parked, Wait};
use crate::core::{Core, Outcome};

pub(super) fn handle(core: &mut Core, call: &Call<'_>, request: JoinGroupRequest) -> Answer<JoinGroupResponse> {
    match check(core, call, &request) {
        Ok(id) => {
            core.park(call.ticket, Parked::until_answered(call, Wait::Group));
            core.join_group(call, id, request);
            Answer::Parked
        }
        Err(error_code) => Answer::Now(refusal(call.version(), error_code, request.member_id)),
    }
}

fn check(core: &Core, call: &Call<'_>, request: &JoinGroupRequest) -> Result<PartitionId, ErrorCode> {
    if request.group_id.is_empty() {
        return Err(ErrorCode::INVALID_GROUP_ID);
    }
    let groups = &core.settings.groups;
    let allowed = groups.min_session_timeout.as_millis()..=groups.max_session_timeout.as_millis();
    if !u128::try_from(request.session_timeout_ms).is_ok_and(|timeout| allowed.contains(&timeout)) {
        return Err(ErrorCode::INVALID_SESSION_TIMEOUT);
    }
    core.check_coordinator(call.broker(), &request.group_id)
}

/// The answer to a request that has waited.
pub(crate) fn outcome(call: &Call<'_>, response: JoinGroupResponse) -> Outcome {
    let response = match response.error_code {
        ErrorCode::NONE => response,
        code => refusal(call.version(), code, response.member_id),
    };
    reply::<JoinGroupRequest>(call, call.version(), &response)
}

/// There is no protocol then: null from version 7 on, before that an empty name.
pub(crate) fn refusal(version: i16, error_code: ErrorCode, member_id: String) -> JoinGroupResponse {
    let protocol_name = if version < 7 { Some(String::new()) } else { None };
    JoinGroupResponse { error_code, member_id, protocol_name, ..Default::default() }
}
