//! SyncGroup: hands out the assignment that the leader of a classic group made. Pure.
//!
//! * v3: static members
//! * v5: protocol type and name

use bytes::Bytes;

use crate::error_code::ErrorCode;
use crate::schema::{api, message};

api! { SYNC_GROUP, 0..=5, flexible 4.., SyncGroupRequest => SyncGroupResponse }

message! {
    /// From the leader everybody's assignment, from the others nothing.
    pub struct SyncGroupRequest {
        group_id:          String                          [0..]
        generation_id:     i32                             [0..]
        member_id:         String                          [0..]
        group_instance_id: Option<String>                  [3..]
        protocol_type:     Option<String>                  [5..]
        protocol_name:     Option<String>                  [5..]
        assignments:       Vec<SyncGroupRequestAssignment> [0..]
    }

    /// The shape of `assignments`.
    pub struct SyncGroupRequestAssignment {
        member_id:  String [0..]
        assignment: Bytes  [0..]
    }

    /// The assignment of this member.
    pub struct SyncGroupResponse {
        throttle_time_ms: i32            [1..]
        error_code:       ErrorCode      [0..]
        protocol_type:    Option<String> [5..]
        protocol_name:    Option<String> [5..]
        assignment:       Bytes          [0..]
    }
}
