//! OffsetFetch: reads the offsets that a group has stored. Pure.
//!
//! * v2: null topics mean all
//! * v5: leader epochs
//! * v7: wait for offsets that a transaction holds back
//! * v8: several groups
//! * v9: member epochs (KIP-848)
//! * v10: topic ids

use crate::error_code::ErrorCode;
use crate::primitives::Uuid;
use crate::schema::{api, message};

api! { OFFSET_FETCH, 1..=10, flexible 6.., OffsetFetchRequest => OffsetFetchResponse }

message! {
    /// Which offsets to read; null partitions mean all.
    pub struct OffsetFetchRequest {
        group_id:       String                               [0..=7]
        topics:         Option<Vec<OffsetFetchRequestTopic>> [0..=7 null 2.. default Some(Vec::new())]
        groups:         Vec<OffsetFetchRequestGroup>         [8..]
        require_stable: bool                                 [7..]
    }

    /// The shape of `topics`.
    pub struct OffsetFetchRequestTopic {
        name:              String   [0..=7]
        partition_indexes: Vec<i32> [0..=7]
    }

    /// The shape of `groups`.
    pub struct OffsetFetchRequestGroup {
        group_id:     String                                [8..]
        member_id:    Option<String>                        [9..]
        member_epoch: i32                                   [9.. default -1]
        topics:       Option<Vec<OffsetFetchRequestTopics>> [8.. default Some(Vec::new())]
    }

    /// The shape of `topics`.
    pub struct OffsetFetchRequestTopics {
        name:              String   [8..=9]
        topic_id:          Uuid     [10..]
        partition_indexes: Vec<i32> [8..]
    }

    /// The stored offsets, or -1 where there are none.
    pub struct OffsetFetchResponse {
        throttle_time_ms: i32                           [3..]
        topics:           Vec<OffsetFetchResponseTopic> [0..=7]
        error_code:       ErrorCode                     [2..=7]
        groups:           Vec<OffsetFetchResponseGroup> [8..]
    }

    /// The shape of `topics`.
    pub struct OffsetFetchResponseTopic {
        name:       String                            [0..=7]
        partitions: Vec<OffsetFetchResponsePartition> [0..=7]
    }

    /// The shape of `partitions`.
    pub struct OffsetFetchResponsePartition {
        partition_index:        i32            [0..=7]
        committed_offset:       i64            [0..=7]
        committed_leader_epoch: i32            [5..=7 default -1]
        metadata:               Option<String> [0..=7 default Some(String::new())]
        error_code:             ErrorCode      [0..=7]
    }

    /// The shape of `groups`.
    pub struct OffsetFetchResponseGroup {
        group_id:   String                         [8..]
        topics:     Vec<OffsetFetchResponseTopics> [8..]
        error_code: ErrorCode                      [8..]
    }

    /// The shape of `topics`.
    pub struct OffsetFetchResponseTopics {
        name:       String                             [8..=9]
        topic_id:   Uuid                               [10..]
        partitions: Vec<OffsetFetchResponsePartitions> [8..]
    }

    /// The shape of `partitions`.
    pub struct OffsetFetchResponsePartitions {
        partition_index:        i32            [8..]
        committed_offset:       i64            [8..]
        committed_leader_epoch: i32            [8.. default -1]
        metadata:               Option<String> [8.. default Some(String::new())]
        error_code:             ErrorCode      [8..]
    }
}
