//! FindCoordinator: names the broker that coordinates a group or a transactional id. Pure.
//!
//! * v1: key types
//! * v4: several keys

use crate::error_code::ErrorCode;
use crate::schema::{api, message};

api! { FIND_COORDINATOR, 0..=6, flexible 3.., FindCoordinatorRequest => FindCoordinatorResponse }

message! {
    /// Which keys, of which type: 0 a group, 1 a transactional id.
    pub struct FindCoordinatorRequest {
        key:              String      [0..=3]
        key_type:         i8          [1..]
        coordinator_keys: Vec<String> [4..]
    }

    /// The coordinators.
    pub struct FindCoordinatorResponse {
        throttle_time_ms: i32              [1..]
        error_code:       ErrorCode        [0..=3]
        error_message:    Option<String>   [1..=3 default Some(String::new())]
        node_id:          i32              [0..=3]
        host:             String           [0..=3]
        port:             i32              [0..=3]
        coordinators:     Vec<Coordinator> [4..]
    }

    /// The shape of `coordinators`.
    pub struct Coordinator {
        key:           String         [4..]
        node_id:       i32            [4..]
        host:          String         [4..]
        port:          i32            [4..]
        error_code:    ErrorCode      [4..]
        error_message: Option<String> [4.. default Some(String::new())]
    }
}
