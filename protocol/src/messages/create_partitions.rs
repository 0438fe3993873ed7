//! CreatePartitions: gives topics more partitions. Pure.
//!
//! * v3: THROTTLING_QUOTA_EXCEEDED (KIP-599)

use crate::error_code::ErrorCode;
use crate::schema::{api, message};

api! { CREATE_PARTITIONS, 0..=3, flexible 2.., CreatePartitionsRequest => CreatePartitionsResponse }

message! {
    /// The topics with their new counts, and for the new partitions replicas by hand or null.
    pub struct CreatePartitionsRequest {
        topics:        Vec<CreatePartitionsTopic> [0..]
        timeout_ms:    i32                        [0..]
        validate_only: bool                       [0..]
    }

    /// The shape of `topics`.
    pub struct CreatePartitionsTopic {
        name:        String                                  [0..]
        count:       i32                                     [0..]
        assignments: Option<Vec<CreatePartitionsAssignment>> [0.. default Some(Vec::new())]
    }

    /// The shape of `assignments`.
    pub struct CreatePartitionsAssignment {
        broker_ids: Vec<i32> [0..]
    }

    /// Per topic, whether its partitions were created.
    pub struct CreatePartitionsResponse {
        throttle_time_ms: i32                              [0..]
        results:          Vec<CreatePartitionsTopicResult> [0..]
    }

    /// The shape of `results`.
    pub struct CreatePartitionsTopicResult {
        name:          String         [0..]
        error_code:    ErrorCode      [0..]
        error_message: Option<String> [0..]
    }
}
