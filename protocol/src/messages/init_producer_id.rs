//! InitProducerId: gives an idempotent or transactional producer its identity. Pure.
//!
//! * v3: an epoch bump for an id that is known (KIP-360)
//! * v4: PRODUCER_FENCED
//! * v6: two-phase commit (KIP-939)

use crate::error_code::ErrorCode;
use crate::schema::{api, message};

api! { INIT_PRODUCER_ID, 0..=5, flexible 2.., InitProducerIdRequest => InitProducerIdResponse }

message! {
    /// Who asks, and the identity it has had.
    pub struct InitProducerIdRequest {
        transactional_id:       Option<String> [0.. default Some(String::new())]
        transaction_timeout_ms: i32            [0..]
        producer_id:            i64            [3.. default -1]
        producer_epoch:         i16            [3.. default -1]
    }

    /// The producer id and epoch.
    pub struct InitProducerIdResponse {
        throttle_time_ms: i32       [0..]
        error_code:       ErrorCode [0..]
        producer_id:      i64       [0.. default -1]
        producer_epoch:   i16       [0..]
    }
}
