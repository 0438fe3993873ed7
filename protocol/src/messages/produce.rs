//! Produce: appends record batches to partitions. Pure.
//!
//! * v3: transactional id; v2 record batches only
//! * v7: zstd
//! * v8: which records spoiled their batch (KIP-467)
//! * v10: the new leader, after it moved (KIP-951)
//! * v12: adds partitions to the transaction implicitly (KIP-890)
//! * v13: topic ids instead of names (KIP-516)

use crate::error_code::ErrorCode;
use crate::primitives::{Records, Uuid};
use crate::schema::{api, message};

api! { PRODUCE, 3..=13, flexible 9.., ProduceRequest => ProduceResponse }

message! {
    /// Record batches for partitions of one or more topics.
    pub struct ProduceRequest {
        transactional_id: Option<String>        [3..]
        acks:             i16                   [0..]
        timeout_ms:       i32                   [0..]
        topic_data:       Vec<TopicProduceData> [0..]
    }

    /// The shape of `topic_data`.
    pub struct TopicProduceData {
        name:           String                    [0..=12]
        topic_id:       Uuid                      [13..]
        partition_data: Vec<PartitionProduceData> [0..]
    }

    /// The shape of `partition_data`.
    pub struct PartitionProduceData {
        index:   i32             [0..]
        records: Option<Records> [0.. default Some(Records::default())]
    }

    /// Per partition: where its batch landed, or why not.
    pub struct ProduceResponse {
        responses:        Vec<TopicProduceResponse> [0..]
        throttle_time_ms: i32                       [1..]
        node_endpoints:   Vec<NodeEndpoint>         [10.. tag 0]
    }

    /// The shape of `responses`.
    pub struct TopicProduceResponse {
        name:                String                        [0..=12]
        topic_id:            Uuid                          [13..]
        partition_responses: Vec<PartitionProduceResponse> [0..]
    }

    /// The shape of `partition_responses`.
    pub struct PartitionProduceResponse {
        index:              i32                            [0..]
        error_code:         ErrorCode                      [0..]
        base_offset:        i64                            [0..]
        log_append_time_ms: i64                            [2.. default -1]
        log_start_offset:   i64                            [5.. default -1]
        record_errors:      Vec<BatchIndexAndErrorMessage> [8..]
        error_message:      Option<String>                 [8..]
        current_leader:     LeaderIdAndEpoch               [10.. tag 0]
    }

    /// The shape of `record_errors`.
    pub struct BatchIndexAndErrorMessage {
        batch_index:               i32            [8..]
        batch_index_error_message: Option<String> [8..]
    }

    /// The shape of `current_leader`.
    pub struct LeaderIdAndEpoch {
        leader_id:    i32 [10.. default -1]
        leader_epoch: i32 [10.. default -1]
    }

    /// The shape of `node_endpoints`.
    pub struct NodeEndpoint {
        node_id: i32            [10..]
        host:    String         [10..]
        port:    i32            [10..]
        rack:    Option<String> [10..]
    }
}
