//! ListGroups: lists the groups that a broker coordinates. Pure.
//!
//! * v4: filter by state
//! * v5: filter by type

use crate::error_code::ErrorCode;
use crate::schema::{api, message};

api! { LIST_GROUPS, 0..=5, flexible 3.., ListGroupsRequest => ListGroupsResponse }

message! {
    /// Which states and types to list; empty means all.
    pub struct ListGroupsRequest {
        states_filter: Vec<String> [4..]
        types_filter:  Vec<String> [5..]
    }

    /// The groups.
    pub struct ListGroupsResponse {
        throttle_time_ms: i32              [1..]
        error_code:       ErrorCode        [0..]
        groups:           Vec<ListedGroup> [0..]
    }

    /// The shape of `groups`.
    pub struct ListedGroup {
        group_id:      String [0..]
        protocol_type: String [0..]
        group_state:   String [4..]
        group_type:    String [5..]
    }
}
