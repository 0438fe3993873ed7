//! OffsetDelete: deletes offsets that a group has stored. Pure.

use crate::error_code::ErrorCode;
use crate::schema::{api, message};

api! { OFFSET_DELETE, 0..=0, never flexible, OffsetDeleteRequest => OffsetDeleteResponse }

message! {
    /// The group and the partitions.
    pub struct OffsetDeleteRequest {
        group_id: String                        [0..]
        topics:   Vec<OffsetDeleteRequestTopic> [0..]
    }

    /// The shape of `topics`.
    pub struct OffsetDeleteRequestTopic {
        name:       String                            [0..]
        partitions: Vec<OffsetDeleteRequestPartition> [0..]
    }

    /// The shape of `partitions`.
    pub struct OffsetDeleteRequestPartition {
        partition_index: i32 [0..]
    }

    /// Per partition, whether its offset was deleted.
    pub struct OffsetDeleteResponse {
        error_code:       ErrorCode                      [0..]
        throttle_time_ms: i32                            [0..]
        topics:           Vec<OffsetDeleteResponseTopic> [0..]
    }

    /// The shape of `topics`.
    pub struct OffsetDeleteResponseTopic {
        name:       String                             [0..]
        partitions: Vec<OffsetDeleteResponsePartition> [0..]
    }

    /// The shape of `partitions`.
    pub struct OffsetDeleteResponsePartition {
        partition_index: i32       [0..]
        error_code:      ErrorCode [0..]
    }
}
