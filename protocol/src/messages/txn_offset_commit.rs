//! TxnOffsetCommit: stores the offsets of a group when a transaction commits. Pure.
//!
//! * v2: leader epochs
//! * v3: members and generations, which fence zombies (KIP-447)
//! * v4: TRANSACTION_ABORTABLE (KIP-890)
//! * v5: adds the group to the transaction implicitly (KIP-890)
//! * v6: topic ids (KIP-1319)

use crate::error_code::ErrorCode;
use crate::primitives::Uuid;
use crate::schema::{api, message};

api! { TXN_OFFSET_COMMIT, 0..=6, flexible 3.., TxnOffsetCommitRequest => TxnOffsetCommitResponse }

message! {
    /// Offsets to store, by a producer for a member of a generation or for no member.
    pub struct TxnOffsetCommitRequest {
        transactional_id:              String                           [0..]
        group_id:                      String                           [0..]
        producer_id:                   i64                              [0..]
        producer_epoch:                i16                              [0..]
        generation_id_or_member_epoch: i32                              [3.. default -1]
        member_id:                     String                           [3..]
        group_instance_id:             Option<String>                   [3..]
        topics:                        Vec<TxnOffsetCommitRequestTopic> [0..]
    }

    /// The shape of `topics`.
    pub struct TxnOffsetCommitRequestTopic {
        name:       String                               [0..=5]
        topic_id:   Uuid                                 [6..]
        partitions: Vec<TxnOffsetCommitRequestPartition> [0..]
    }

    /// The shape of `partitions`.
    pub struct TxnOffsetCommitRequestPartition {
        partition_index:        i32            [0..]
        committed_offset:       i64            [0..]
        committed_leader_epoch: i32            [2.. default -1]
        committed_metadata:     Option<String> [0.. default Some(String::new())]
    }

    /// Per partition, whether its offset will be stored.
    pub struct TxnOffsetCommitResponse {
        throttle_time_ms: i32                               [0..]
        topics:           Vec<TxnOffsetCommitResponseTopic> [0..]
    }

    /// The shape of `topics`.
    pub struct TxnOffsetCommitResponseTopic {
        name:       String                                [0..=5]
        topic_id:   Uuid                                  [6..]
        partitions: Vec<TxnOffsetCommitResponsePartition> [0..]
    }

    /// The shape of `partitions`.
    pub struct TxnOffsetCommitResponsePartition {
        partition_index: i32       [0..]
        error_code:      ErrorCode [0..]
    }
}
