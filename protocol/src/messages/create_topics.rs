//! CreateTopics: creates topics. Pure.
//!
//! * v4: -1 for the broker's default counts
//! * v5: the configuration comes back
//! * v7: topic ids

use crate::error_code::ErrorCode;
use crate::primitives::Uuid;
use crate::schema::{api, message};

api! { CREATE_TOPICS, 2..=7, flexible 5.., CreateTopicsRequest => CreateTopicsResponse }

message! {
    /// The topics, with counts or with replicas by hand.
    pub struct CreateTopicsRequest {
        topics:        Vec<CreatableTopic> [0..]
        timeout_ms:    i32                 [0.. default 60000]
        validate_only: bool                [1..]
    }

    /// The shape of `topics`.
    pub struct CreatableTopic {
        name:               String                          [0..]
        num_partitions:     i32                             [0..]
        replication_factor: i16                             [0..]
        assignments:        Vec<CreatableReplicaAssignment> [0..]
        configs:            Vec<CreatableTopicConfig>       [0..]
    }

    /// The shape of `assignments`.
    pub struct CreatableReplicaAssignment {
        partition_index: i32      [0..]
        broker_ids:      Vec<i32> [0..]
    }

    /// The shape of `configs`.
    pub struct CreatableTopicConfig {
        name:  String         [0..]
        value: Option<String> [0.. default Some(String::new())]
    }

    /// Per topic, whether it was created and how.
    pub struct CreateTopicsResponse {
        throttle_time_ms: i32                       [2..]
        topics:           Vec<CreatableTopicResult> [0..]
    }

    /// The shape of `topics`.
    pub struct CreatableTopicResult {
        name:                    String                             [0..]
        topic_id:                Uuid                               [7..]
        error_code:              ErrorCode                          [0..]
        error_message:           Option<String>                     [1.. default Some(String::new())]
        topic_config_error_code: i16                                [5.. tag 0]
        num_partitions:          i32                                [5.. default -1]
        replication_factor:      i16                                [5.. default -1]
        configs:                 Option<Vec<CreatableTopicConfigs>> [5.. default Some(Vec::new())]
    }

    /// The shape of `configs`.
    pub struct CreatableTopicConfigs {
        name:          String         [5..]
        value:         Option<String> [5.. default Some(String::new())]
        read_only:     bool           [5..]
        config_source: i8             [5.. default -1]
        is_sensitive:  bool           [5..]
    }
}
