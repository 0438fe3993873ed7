//! OffsetCommit: stores the offsets that a group has finished. Pure.
//!
//! * v6: leader epochs
//! * v7: static members
//! * v9: member epochs (KIP-848)
//! * v10: topic ids

use crate::error_code::ErrorCode;
use crate::primitives::Uuid;
use crate::schema::{api, message};

api! { OFFSET_COMMIT, 2..=10, flexible 8.., OffsetCommitRequest => OffsetCommitResponse }

message! {
    /// Offsets to store, by a member of a generation or by a simple consumer.
    pub struct OffsetCommitRequest {
        group_id:                      String                        [0..]
        generation_id_or_member_epoch: i32                           [1.. default -1]
        member_id:                     String                        [1..]
        group_instance_id:             Option<String>                [7..]
        retention_time_ms:             i64                           [2..=4 default -1]
        topics:                        Vec<OffsetCommitRequestTopic> [0..]
    }

    /// The shape of `topics`.
    pub struct OffsetCommitRequestTopic {
        name:       String                            [0..=9]
        topic_id:   Uuid                              [10..]
        partitions: Vec<OffsetCommitRequestPartition> [0..]
    }

    /// The shape of `partitions`.
    pub struct OffsetCommitRequestPartition {
        partition_index:        i32            [0..]
        committed_offset:       i64            [0..]
        committed_leader_epoch: i32            [6.. default -1]
        committed_metadata:     Option<String> [0.. default Some(String::new())]
    }

    /// Per partition, whether its offset was stored.
    pub struct OffsetCommitResponse {
        throttle_time_ms: i32                            [3..]
        topics:           Vec<OffsetCommitResponseTopic> [0..]
    }

    /// The shape of `topics`.
    pub struct OffsetCommitResponseTopic {
        name:       String                             [0..=9]
        topic_id:   Uuid                               [10..]
        partitions: Vec<OffsetCommitResponsePartition> [0..]
    }

    /// The shape of `partitions`.
    pub struct OffsetCommitResponsePartition {
        partition_index: i32       [0..]
        error_code:      ErrorCode [0..]
    }
}
