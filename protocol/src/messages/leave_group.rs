//! LeaveGroup: takes members out of a classic group. Pure.
//!
//! * v3: several members
//! * v5: reasons

use crate::error_code::ErrorCode;
use crate::schema::{api, message};

api! { LEAVE_GROUP, 0..=5, flexible 4.., LeaveGroupRequest => LeaveGroupResponse }

message! {
    /// Who leaves.
    pub struct LeaveGroupRequest {
        group_id:  String              [0..]
        member_id: String              [0..=2]
        members:   Vec<MemberIdentity> [3..]
    }

    /// The shape of `members`.
    pub struct MemberIdentity {
        member_id:         String         [3..]
        group_instance_id: Option<String> [3..]
        reason:            Option<String> [5..]
    }

    /// Per member, whether it left.
    pub struct LeaveGroupResponse {
        throttle_time_ms: i32                 [1..]
        error_code:       ErrorCode           [0..]
        members:          Vec<MemberResponse> [3..]
    }

    /// The shape of `members`.
    pub struct MemberResponse {
        member_id:         String         [3..]
        group_instance_id: Option<String> [3.. default Some(String::new())]
        error_code:        ErrorCode      [3..]
    }
}
