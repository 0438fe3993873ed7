//! DeleteGroups: deletes groups without members, and their offsets. Pure.
//!
//! * v3: error messages

use crate::error_code::ErrorCode;
use crate::schema::{api, message};

api! { DELETE_GROUPS, 0..=3, flexible 2.., DeleteGroupsRequest => DeleteGroupsResponse }

message! {
    /// Which groups.
    pub struct DeleteGroupsRequest {
        groups_names: Vec<String> [0..]
    }

    /// Per group, whether it was deleted.
    pub struct DeleteGroupsResponse {
        throttle_time_ms: i32                       [0..]
        results:          Vec<DeletableGroupResult> [0..]
    }

    /// The shape of `results`.
    pub struct DeletableGroupResult {
        group_id:      String         [0..]
        error_code:    ErrorCode      [0..]
        error_message: Option<String> [3..]
    }
}
