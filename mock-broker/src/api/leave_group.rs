//! LeaveGroup: takes members out of a classic group. Pure.
//!
//! * before v3 one member leaves, and its error is the whole answer's; later several, each with its own
//! * v3: static members, by member id, by instance, or by both; v5: reasons, which nobody reads

use milena_protocol::ErrorCode;
use milena_protocol::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse};

use super::{Answer, Call};
use crate::core::Core;

pub(super) fn handle(core: &mut Core, call: &Call<'_>, request: LeaveGroupRequest) -> Answer<LeaveGroupResponse> {
    let checked = match request.group_id.as_str() {
        "" => Err(ErrorCode::INVALID_GROUP_ID),
        group => core.check_coordinator(call.broker(), group),
    };
    if let Err(error_code) = checked {
        return Answer::Now(LeaveGroupResponse { error_code, ..Default::default() });
    }
    let is_single = call.version() < 3;
    let leaving = if is_single {
        vec![MemberIdentity { member_id: request.member_id, ..Default::default() }]
    } else {
        request.members
    };
    let results = core.leave_group(call.now, call.broker(), &request.group_id, &leaving);
    let mut codes = results.into_iter().map(|result| result.err().unwrap_or_default());
    if is_single {
        let error_code = codes.next().unwrap_or_default();
        return Answer::Now(LeaveGroupResponse { error_code, ..Default::default() });
    }
    let members = leaving.into_iter().zip(codes).map(|(member, error_code)| MemberResponse {
        member_id: member.member_id,
        group_instance_id: member.group_instance_id,
        error_code,
    });
    Answer::Now(LeaveGroupResponse { members: members.collect(), ..Default::default() })
}
