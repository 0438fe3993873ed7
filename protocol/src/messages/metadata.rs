//! Metadata: describes the brokers, the topics and who leads which partition. Pure.
//!
//! * v1: null topics mean all
//! * v4: may create topics
//! * v7: leader epochs
//! * v10: topic ids
//! * v13: an error for the whole answer

use crate::error_code::ErrorCode;
use crate::primitives::Uuid;
use crate::schema::{api, message};

api! { METADATA, 0..=13, flexible 9.., MetadataRequest => MetadataResponse }

message! {
    /// Which topics to describe; null means all.
    pub struct MetadataRequest {
        topics:                                Option<Vec<MetadataRequestTopic>> [0.. null 1.. default Some(Vec::new())]
        allow_auto_topic_creation:             bool                              [4.. default true]
        include_cluster_authorized_operations: bool                              [8..=10]
        include_topic_authorized_operations:   bool                              [8..]
    }

    /// The shape of `topics`.
    pub struct MetadataRequestTopic {
        topic_id: Uuid           [10..]
        name:     Option<String> [0.. null 10.. default Some(String::new())]
    }

    /// Brokers, topics, partitions and their leaders.
    pub struct MetadataResponse {
        throttle_time_ms:              i32                         [3..]
        brokers:                       Vec<MetadataResponseBroker> [0..]
        cluster_id:                    Option<String>              [2..]
        controller_id:                 i32                         [1.. default -1]
        topics:                        Vec<MetadataResponseTopic>  [0..]
        cluster_authorized_operations: i32                         [8..=10 default -2147483648]
        error_code:                    ErrorCode                   [13..]
    }

    /// The shape of `brokers`.
    pub struct MetadataResponseBroker {
        node_id: i32            [0..]
        host:    String         [0..]
        port:    i32            [0..]
        rack:    Option<String> [1..]
    }

    /// The shape of `topics`.
    pub struct MetadataResponseTopic {
        error_code:                  ErrorCode                      [0..]
        name:                        Option<String>                 [0.. null 12.. default Some(String::new())]
        topic_id:                    Uuid                           [10..]
        is_internal:                 bool                           [1..]
        partitions:                  Vec<MetadataResponsePartition> [0..]
        topic_authorized_operations: i32                            [8.. default -2147483648]
    }

    /// The shape of `partitions`.
    pub struct MetadataResponsePartition {
        error_code:       ErrorCode [0..]
        partition_index:  i32       [0..]
        leader_id:        i32       [0..]
        leader_epoch:     i32       [7.. default -1]
        replica_nodes:    Vec<i32>  [0..]
        isr_nodes:        Vec<i32>  [0..]
        offline_replicas: Vec<i32>  [5..]
    }
}
