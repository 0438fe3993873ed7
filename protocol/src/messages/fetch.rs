//! Fetch: reads record batches from partitions, and waits for them. Pure.
//!
//! * v4: isolation level
//! * v7: sessions (KIP-227)
//! * v9: leader epochs (KIP-320)
//! * v10: zstd
//! * v11: racks, and the replica to read from (KIP-392)
//! * v12: divergence between logs
//! * v13: topic ids instead of names (KIP-516)
//! * v16: addresses of new leaders (KIP-951)

use crate::error_code::ErrorCode;
use crate::primitives::{Records, Uuid};
use crate::schema::{api, message};

api! { FETCH, 4..=18, flexible 12.., FetchRequest => FetchResponse }

message! {
    /// From which offsets to read, how much, and how long to wait.
    pub struct FetchRequest {
        cluster_id:            Option<String>      [12.. tag 0]
        replica_id:            i32                 [0..=14 default -1]
        replica_state:         ReplicaState        [15.. tag 1]
        max_wait_ms:           i32                 [0..]
        min_bytes:             i32                 [0..]
        max_bytes:             i32                 [3.. default i32::MAX]
        isolation_level:       i8                  [4..]
        session_id:            i32                 [7..]
        session_epoch:         i32                 [7.. default -1]
        topics:                Vec<FetchTopic>     [0..]
        forgotten_topics_data: Vec<ForgottenTopic> [7..]
        rack_id:               String              [11..]
    }

    /// The shape of `replica_state`.
    pub struct ReplicaState {
        replica_id:    i32 [15.. default -1]
        replica_epoch: i64 [15.. default -1]
    }

    /// The shape of `topics`.
    pub struct FetchTopic {
        topic:      String              [0..=12]
        topic_id:   Uuid                [13..]
        partitions: Vec<FetchPartition> [0..]
    }

    /// The shape of `partitions`.
    pub struct FetchPartition {
        partition:            i32  [0..]
        current_leader_epoch: i32  [9.. default -1]
        fetch_offset:         i64  [0..]
        last_fetched_epoch:   i32  [12.. default -1]
        log_start_offset:     i64  [5.. default -1]
        partition_max_bytes:  i32  [0..]
        replica_directory_id: Uuid [17.. tag 0]
        high_watermark:       i64  [18.. tag 1 default i64::MAX]
    }

    /// The shape of `forgotten_topics_data`.
    pub struct ForgottenTopic {
        topic:      String   [7..=12]
        topic_id:   Uuid     [13..]
        partitions: Vec<i32> [7..]
    }

    /// Record batches per partition, or why there are none.
    pub struct FetchResponse {
        throttle_time_ms: i32                         [1..]
        error_code:       ErrorCode                   [7..]
        session_id:       i32                         [7..]
        responses:        Vec<FetchableTopicResponse> [0..]
        node_endpoints:   Vec<NodeEndpoint>           [16.. tag 0]
    }

    /// The shape of `responses`.
    pub struct FetchableTopicResponse {
        topic:      String             [0..=12]
        topic_id:   Uuid               [13..]
        partitions: Vec<PartitionData> [0..]
    }

    /// The shape of `partitions`.
    pub struct PartitionData {
        partition_index:        i32                             [0..]
        error_code:             ErrorCode                       [0..]
        high_watermark:         i64                             [0..]
        last_stable_offset:     i64                             [4.. default -1]
        log_start_offset:       i64                             [5.. default -1]
        diverging_epoch:        EpochEndOffset                  [12.. tag 0]
        current_leader:         LeaderIdAndEpoch                [12.. tag 1]
        snapshot_id:            SnapshotId                      [12.. tag 2]
        aborted_transactions:   Option<Vec<AbortedTransaction>> [4.. default Some(Vec::new())]
        preferred_read_replica: i32                             [11.. default -1]
        records:                Option<Records>                 [0.. default Some(Records::default())]
    }

    /// The shape of `diverging_epoch`.
    pub struct EpochEndOffset {
        epoch:      i32 [12.. default -1]
        end_offset: i64 [12.. default -1]
    }

    /// The shape of `current_leader`.
    pub struct LeaderIdAndEpoch {
        leader_id:    i32 [12.. default -1]
        leader_epoch: i32 [12.. default -1]
    }

    /// The shape of `snapshot_id`.
    pub struct SnapshotId {
        end_offset: i64 [0.. default -1]
        epoch:      i32 [0.. default -1]
    }

    /// The shape of `aborted_transactions`.
    pub struct AbortedTransaction {
        producer_id:  i64 [4..]
        first_offset: i64 [4..]
    }

    /// The shape of `node_endpoints`.
    pub struct NodeEndpoint {
        node_id: i32            [16..]
        host:    String         [16..]
        port:    i32            [16..]
        rack:    Option<String> [16..]
    }
}
