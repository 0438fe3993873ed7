//! DeleteTopics: deletes topics. Pure.
//!
//! * v5: error messages
//! * v6: topic ids

use crate::error_code::ErrorCode;
use crate::primitives::Uuid;
use crate::schema::{api, message};

api! { DELETE_TOPICS, 1..=6, flexible 4.., DeleteTopicsRequest => DeleteTopicsResponse }

message! {
    /// Which topics.
    pub struct DeleteTopicsRequest {
        topics:      Vec<DeleteTopicState> [6..]
        topic_names: Vec<String>           [0..=5]
        timeout_ms:  i32                   [0..]
    }

    /// The shape of `topics`.
    pub struct DeleteTopicState {
        name:     Option<String> [6..]
        topic_id: Uuid           [6..]
    }

    /// Per topic, whether it is being deleted.
    pub struct DeleteTopicsResponse {
        throttle_time_ms: i32                       [1..]
        responses:        Vec<DeletableTopicResult> [0..]
    }

    /// The shape of `responses`.
    pub struct DeletableTopicResult {
        name:          Option<String> [0.. null 6.. default Some(String::new())]
        topic_id:      Uuid           [6..]
        error_code:    ErrorCode      [0..]
        error_message: Option<String> [5..]
    }
}
