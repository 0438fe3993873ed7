//! OffsetForLeaderEpoch: finds where the log of a leader epoch ends, to detect truncation. Pure.
//!
//! * v2: the epoch that the client believes to be current
//! * v3: the replica id

use crate::error_code::ErrorCode;
use crate::schema::{api, message};

api! { OFFSET_FOR_LEADER_EPOCH, 2..=4, flexible 4.., OffsetForLeaderEpochRequest => OffsetForLeaderEpochResponse }

message! {
    /// Which epochs of which partitions.
    pub struct OffsetForLeaderEpochRequest {
        replica_id: i32                       [3.. default -2]
        topics:     Vec<OffsetForLeaderTopic> [0..]
    }

    /// The shape of `topics`.
    pub struct OffsetForLeaderTopic {
        topic:      String                        [0..]
        partitions: Vec<OffsetForLeaderPartition> [0..]
    }

    /// The shape of `partitions`.
    pub struct OffsetForLeaderPartition {
        partition:            i32 [0..]
        current_leader_epoch: i32 [2.. default -1]
        leader_epoch:         i32 [0..]
    }

    /// The end of the largest epoch that is not above the asked one.
    pub struct OffsetForLeaderEpochResponse {
        throttle_time_ms: i32                             [2..]
        topics:           Vec<OffsetForLeaderTopicResult> [0..]
    }

    /// The shape of `topics`.
    pub struct OffsetForLeaderTopicResult {
        topic:      String              [0..]
        partitions: Vec<EpochEndOffset> [0..]
    }

    /// The shape of `partitions`.
    pub struct EpochEndOffset {
        error_code:   ErrorCode [0..]
        partition:    i32       [0..]
        leader_epoch: i32       [1.. default -1]
        end_offset:   i64       [0.. default -1]
    }
}
