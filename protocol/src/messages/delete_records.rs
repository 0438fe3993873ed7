//! DeleteRecords: moves the start of partitions forward. Pure.

use crate::error_code::ErrorCode;
use crate::schema::{api, message};

api! { DELETE_RECORDS, 0..=2, flexible 2.., DeleteRecordsRequest => DeleteRecordsResponse }

message! {
    /// Per partition, the new first offset; -1 for the high watermark.
    pub struct DeleteRecordsRequest {
        topics:     Vec<DeleteRecordsTopic> [0..]
        timeout_ms: i32                     [0..]
    }

    /// The shape of `topics`.
    pub struct DeleteRecordsTopic {
        name:       String                      [0..]
        partitions: Vec<DeleteRecordsPartition> [0..]
    }

    /// The shape of `partitions`.
    pub struct DeleteRecordsPartition {
        partition_index: i32 [0..]
        offset:          i64 [0..]
    }

    /// Per partition, where its replicas start now.
    pub struct DeleteRecordsResponse {
        throttle_time_ms: i32                           [0..]
        topics:           Vec<DeleteRecordsTopicResult> [0..]
    }

    /// The shape of `topics`.
    pub struct DeleteRecordsTopicResult {
        name:       String                            [0..]
        partitions: Vec<DeleteRecordsPartitionResult> [0..]
    }

    /// The shape of `partitions`.
    pub struct DeleteRecordsPartitionResult {
        partition_index: i32       [0..]
        low_watermark:   i64       [0..]
        error_code:      ErrorCode [0..]
    }
}
