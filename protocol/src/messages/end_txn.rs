//! EndTxn: commits or aborts a transaction. Pure.
//!
//! * v2: PRODUCER_FENCED
//! * v4: TRANSACTION_ABORTABLE (KIP-890)
//! * v5: each transaction ends with a new epoch, which comes back (KIP-890)

use crate::error_code::ErrorCode;
use crate::schema::{api, message};

api! { END_TXN, 0..=5, flexible 3.., EndTxnRequest => EndTxnResponse }

message! {
    /// Which transaction, and how it ends.
    pub struct EndTxnRequest {
        transactional_id: String [0..]
        producer_id:      i64    [0..]
        producer_epoch:   i16    [0..]
        committed:        bool   [0..]
    }

    /// Whether it ended, and the identity for the next one.
    pub struct EndTxnResponse {
        throttle_time_ms: i32       [0..]
        error_code:       ErrorCode [0..]
        producer_id:      i64       [5.. default -1]
        producer_epoch:   i16       [5.. default -1]
    }
}
