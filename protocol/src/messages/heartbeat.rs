//! Heartbeat: tells a classic group that a member is alive. Pure.
//!
//! * v3: static members

use crate::error_code::ErrorCode;
use crate::schema::{api, message};

api! { HEARTBEAT, 0..=4, flexible 4.., HeartbeatRequest => HeartbeatResponse }

message! {
    /// Which member of which generation.
    pub struct HeartbeatRequest {
        group_id:          String         [0..]
        generation_id:     i32            [0..]
        member_id:         String         [0..]
        group_instance_id: Option<String> [3..]
    }

    /// Whether the generation still stands.
    pub struct HeartbeatResponse {
        throttle_time_ms: i32       [1..]
        error_code:       ErrorCode [0..]
    }
}
