//! ListOffsets: finds offsets by time, or the ends of the log. Pure.
//!
//! * v2: isolation level
//! * v4: leader epochs
//! * v7: -3, the record with the largest time stamp
//! * v8: -4, the earliest local offset
//! * v9: -5, the last tiered offset
//! * v11: -6, the earliest offset that waits to be tiered

use crate::error_code::ErrorCode;
use crate::schema::{api, message};

api! { LIST_OFFSETS, 1..=11, flexible 6.., ListOffsetsRequest => ListOffsetsResponse }

message! {
    /// Which partitions, and which time stamp; negative ones are special positions.
    pub struct ListOffsetsRequest {
        replica_id:      i32                   [0..]
        isolation_level: i8                    [2..]
        topics:          Vec<ListOffsetsTopic> [0..]
        timeout_ms:      i32                   [10..]
    }

    /// The shape of `topics`.
    pub struct ListOffsetsTopic {
        name:       String                    [0..]
        partitions: Vec<ListOffsetsPartition> [0..]
    }

    /// The shape of `partitions`.
    pub struct ListOffsetsPartition {
        partition_index:      i32 [0..]
        current_leader_epoch: i32 [4.. default -1]
        timestamp:            i64 [0..]
    }

    /// The offset that was found for each partition.
    pub struct ListOffsetsResponse {
        throttle_time_ms: i32                           [2..]
        topics:           Vec<ListOffsetsTopicResponse> [0..]
    }

    /// The shape of `topics`.
    pub struct ListOffsetsTopicResponse {
        name:       String                            [0..]
        partitions: Vec<ListOffsetsPartitionResponse> [0..]
    }

    /// The shape of `partitions`.
    pub struct ListOffsetsPartitionResponse {
        partition_index: i32       [0..]
        error_code:      ErrorCode [0..]
        timestamp:       i64       [1.. default -1]
        offset:          i64       [1.. default -1]
        leader_epoch:    i32       [4.. default -1]
    }
}
