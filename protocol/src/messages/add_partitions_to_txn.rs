//! AddPartitionsToTxn: adds partitions to a transaction before something is written to them. Pure.
//!
//! * v2: PRODUCER_FENCED
//! * v4: several transactions, or only a check; brokers use it, clients stay at v3
//! * v5: TRANSACTION_ABORTABLE (KIP-890)

use crate::error_code::ErrorCode;
use crate::schema::{api, message};

api! { ADD_PARTITIONS_TO_TXN, 0..=5, flexible 3.., AddPartitionsToTxnRequest => AddPartitionsToTxnResponse }

message! {
    /// One transaction with its partitions, or several.
    pub struct AddPartitionsToTxnRequest {
        transactions:                  Vec<AddPartitionsToTxnTransaction> [4..]
        v3_and_below_transactional_id: String                             [0..=3]
        v3_and_below_producer_id:      i64                                [0..=3]
        v3_and_below_producer_epoch:   i16                                [0..=3]
        v3_and_below_topics:           Vec<AddPartitionsToTxnTopic>       [0..=3]
    }

    /// The shape of `transactions`.
    pub struct AddPartitionsToTxnTransaction {
        transactional_id: String                       [4..]
        producer_id:      i64                          [4..]
        producer_epoch:   i16                          [4..]
        verify_only:      bool                         [4..]
        topics:           Vec<AddPartitionsToTxnTopic> [4..]
    }

    /// The shape of `topics`.
    pub struct AddPartitionsToTxnTopic {
        name:       String   [0..]
        partitions: Vec<i32> [0..]
    }

    /// Per partition, whether it was added.
    pub struct AddPartitionsToTxnResponse {
        throttle_time_ms:              i32                                [0..]
        error_code:                    ErrorCode                          [4..]
        results_by_transaction:        Vec<AddPartitionsToTxnResult>      [4..]
        results_by_topic_v3_and_below: Vec<AddPartitionsToTxnTopicResult> [0..=3]
    }

    /// The shape of `results_by_transaction`.
    pub struct AddPartitionsToTxnResult {
        transactional_id: String                             [4..]
        topic_results:    Vec<AddPartitionsToTxnTopicResult> [4..]
    }

    /// The shape of `topic_results`.
    pub struct AddPartitionsToTxnTopicResult {
        name:                 String                                 [0..]
        results_by_partition: Vec<AddPartitionsToTxnPartitionResult> [0..]
    }

    /// The shape of `results_by_partition`.
    pub struct AddPartitionsToTxnPartitionResult {
        partition_index:      i32       [0..]
        partition_error_code: ErrorCode [0..]
    }
}
