//! DescribeCluster: describes the brokers of the cluster. Pure.
//!
//! * v1: controller endpoints
//! * v2: fenced brokers

use crate::error_code::ErrorCode;
use crate::schema::{api, message};

api! { DESCRIBE_CLUSTER, 0..=2, flexible 0.., DescribeClusterRequest => DescribeClusterResponse }

message! {
    /// What to include.
    pub struct DescribeClusterRequest {
        include_cluster_authorized_operations: bool [0..]
        endpoint_type:                         i8   [1.. default 1]
        include_fenced_brokers:                bool [2..]
    }

    /// The cluster id, the controller and the brokers.
    pub struct DescribeClusterResponse {
        throttle_time_ms:              i32                        [0..]
        error_code:                    ErrorCode                  [0..]
        error_message:                 Option<String>             [0..]
        endpoint_type:                 i8                         [1.. default 1]
        cluster_id:                    String                     [0..]
        controller_id:                 i32                        [0.. default -1]
        brokers:                       Vec<DescribeClusterBroker> [0..]
        cluster_authorized_operations: i32                        [0.. default -2147483648]
    }

    /// The shape of `brokers`.
    pub struct DescribeClusterBroker {
        broker_id: i32            [0..]
        host:      String         [0..]
        port:      i32            [0..]
        rack:      Option<String> [0..]
        is_fenced: bool           [2..]
    }
}
