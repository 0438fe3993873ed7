//! ElectLeaders: elects leaders now, preferred ones or unclean ones. Pure.
//!
//! * v1: the type of the election (KIP-460)

use crate::error_code::ErrorCode;
use crate::schema::{api, message};

api! { ELECT_LEADERS, 0..=2, flexible 2.., ElectLeadersRequest => ElectLeadersResponse }

message! {
    /// Which partitions, null for all; types are 0 preferred, 1 unclean.
    pub struct ElectLeadersRequest {
        election_type:    i8                           [1..]
        topic_partitions: Option<Vec<TopicPartitions>> [0.. default Some(Vec::new())]
        timeout_ms:       i32                          [0.. default 60000]
    }

    /// The shape of `topic_partitions`.
    pub struct TopicPartitions {
        topic:      String   [0..]
        partitions: Vec<i32> [0..]
    }

    /// Per partition, whether it has a new leader.
    pub struct ElectLeadersResponse {
        throttle_time_ms:         i32                        [0..]
        error_code:               ErrorCode                  [1..]
        replica_election_results: Vec<ReplicaElectionResult> [0..]
    }

    /// The shape of `replica_election_results`.
    pub struct ReplicaElectionResult {
        topic:            String               [0..]
        partition_result: Vec<PartitionResult> [0..]
    }

    /// The shape of `partition_result`.
    pub struct PartitionResult {
        partition_id:  i32            [0..]
        error_code:    ErrorCode      [0..]
        error_message: Option<String> [0.. default Some(String::new())]
    }
}
