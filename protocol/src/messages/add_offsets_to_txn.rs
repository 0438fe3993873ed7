//! AddOffsetsToTxn: adds the offsets of a group to a transaction. Pure.
//!
//! * v2: PRODUCER_FENCED
//! * v4: TRANSACTION_ABORTABLE (KIP-890)

use crate::error_code::ErrorCode;
use crate::schema::{api, message};

api! { ADD_OFFSETS_TO_TXN, 0..=4, flexible 3.., AddOffsetsToTxnRequest => AddOffsetsToTxnResponse }

message! {
    /// The transaction and the group.
    pub struct AddOffsetsToTxnRequest {
        transactional_id: String [0..]
        producer_id:      i64    [0..]
        producer_epoch:   i16    [0..]
        group_id:         String [0..]
    }

    /// Whether they were added.
    pub struct AddOffsetsToTxnResponse {
        throttle_time_ms: i32       [0..]
        error_code:       ErrorCode [0..]
    }
}
