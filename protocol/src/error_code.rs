//! Error codes: number, name, and what a client may do about one. Pure.

use std::fmt;

use crate::primitives::{DecodeError, Decoder, Encoder, Wire};

/// A Kafka error code. Zero is "no error"; a number that is not known here is kept as it came and is not retriable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct ErrorCode(pub i16);

impl ErrorCode {
    /// Whether this is [`ErrorCode::NONE`].
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// `Ok` for no error.
    ///
    /// # Errors
    /// This code, if it is one.
    pub fn ok(self) -> Result<(), Self> {
        if self.is_none() { Ok(()) } else { Err(self) }
    }

    /// Kafka's name, such as `NOT_LEADER_OR_FOLLOWER`, or `None` for a number that is not known here.
    pub fn name(self) -> Option<&'static str> {
        TABLE.binary_search_by_key(&self.0, |row| row.0).ok().and_then(|index| TABLE.get(index)).map(|row| row.1)
    }

    /// Whether the same request may succeed later (Kafka's `RetriableException`).
    pub fn is_retriable(self) -> bool {
        self.advice() != Advice::GiveUp
    }

    /// Whether the answer says that the client's metadata is out of date (Kafka's `InvalidMetadataException`).
    pub fn refreshes_metadata(self) -> bool {
        self.advice() == Advice::Refresh
    }

    fn advice(self) -> Advice {
        let row = TABLE.binary_search_by_key(&self.0, |row| row.0).ok().and_then(|index| TABLE.get(index));
        row.map_or(Advice::GiveUp, |row| row.2)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "error code {}", self.0),
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}({})", self.0)
    }
}

impl Wire for ErrorCode {
    fn encode(&self, out: &mut Encoder, version: i16, flexible: bool) {
        self.0.encode(out, version, flexible);
    }
    fn decode(input: &mut Decoder, version: i16, flexible: bool) -> Result<Self, DecodeError> {
        i16::decode(input, version, flexible).map(Self)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Advice {
    /// The same request will fail again.
    GiveUp,
    /// Try again after a pause.
    Retry,
    /// Ask for metadata, then try again.
    Refresh,
}

/// One line a code, in the order of the numbers. From Kafka 4.4's `Errors`.
macro_rules! codes {
    ($($code:literal $name:ident $advice:ident)*) => {
        #[allow(missing_docs, reason = "the names are Kafka's, and so are their meanings")]
        impl ErrorCode {
            $(pub const $name: Self = Self($code);)*
        }
        const TABLE: &[(i16, &str, Advice)] = &[$(($code, stringify!($name), Advice::$advice)),*];
    };
}

codes! {
    -1  UNKNOWN_SERVER_ERROR GiveUp
    0   NONE GiveUp
    1   OFFSET_OUT_OF_RANGE GiveUp
    2   CORRUPT_MESSAGE Retry
    3   UNKNOWN_TOPIC_OR_PARTITION Refresh
    4   INVALID_FETCH_SIZE GiveUp
    5   LEADER_NOT_AVAILABLE Refresh
    6   NOT_LEADER_OR_FOLLOWER Refresh
    7   REQUEST_TIMED_OUT Retry
    8   BROKER_NOT_AVAILABLE GiveUp
    9   REPLICA_NOT_AVAILABLE Refresh
    10  MESSAGE_TOO_LARGE GiveUp
    11  STALE_CONTROLLER_EPOCH GiveUp
    12  OFFSET_METADATA_TOO_LARGE GiveUp
    13  NETWORK_EXCEPTION Refresh
    14  COORDINATOR_LOAD_IN_PROGRESS Retry
    15  COORDINATOR_NOT_AVAILABLE Retry
    16  NOT_COORDINATOR Retry
    17  INVALID_TOPIC_EXCEPTION GiveUp
    18  RECORD_LIST_TOO_LARGE GiveUp
    19  NOT_ENOUGH_REPLICAS Retry
    20  NOT_ENOUGH_REPLICAS_AFTER_APPEND Retry
    21  INVALID_REQUIRED_ACKS GiveUp
    22  ILLEGAL_GENERATION GiveUp
    23  INCONSISTENT_GROUP_PROTOCOL GiveUp
    24  INVALID_GROUP_ID GiveUp
    25  UNKNOWN_MEMBER_ID GiveUp
    26  INVALID_SESSION_TIMEOUT GiveUp
    27  REBALANCE_IN_PROGRESS GiveUp
    28  INVALID_COMMIT_OFFSET_SIZE GiveUp
    29  TOPIC_AUTHORIZATION_FAILED GiveUp
    30  GROUP_AUTHORIZATION_FAILED GiveUp
    31  CLUSTER_AUTHORIZATION_FAILED GiveUp
    32  INVALID_TIMESTAMP GiveUp
    33  UNSUPPORTED_SASL_MECHANISM GiveUp
    34  ILLEGAL_SASL_STATE GiveUp
    35  UNSUPPORTED_VERSION GiveUp
    36  TOPIC_ALREADY_EXISTS GiveUp
    37  INVALID_PARTITIONS GiveUp
    38  INVALID_REPLICATION_FACTOR GiveUp
    39  INVALID_REPLICA_ASSIGNMENT GiveUp
    40  INVALID_CONFIG GiveUp
    41  NOT_CONTROLLER Retry
    42  INVALID_REQUEST GiveUp
    43  UNSUPPORTED_FOR_MESSAGE_FORMAT GiveUp
    44  POLICY_VIOLATION GiveUp
    45  OUT_OF_ORDER_SEQUENCE_NUMBER GiveUp
    46  DUPLICATE_SEQUENCE_NUMBER GiveUp
    47  INVALID_PRODUCER_EPOCH GiveUp
    48  INVALID_TXN_STATE GiveUp
    49  INVALID_PRODUCER_ID_MAPPING GiveUp
    50  INVALID_TRANSACTION_TIMEOUT GiveUp
    51  CONCURRENT_TRANSACTIONS Retry
    52  TRANSACTION_COORDINATOR_FENCED GiveUp
    53  TRANSACTIONAL_ID_AUTHORIZATION_FAILED GiveUp
    54  SECURITY_DISABLED GiveUp
    55  OPERATION_NOT_ATTEMPTED GiveUp
    56  KAFKA_STORAGE_ERROR Refresh
    57  LOG_DIR_NOT_FOUND GiveUp
    58  SASL_AUTHENTICATION_FAILED GiveUp
    59  UNKNOWN_PRODUCER_ID GiveUp
    60  REASSIGNMENT_IN_PROGRESS GiveUp
    61  DELEGATION_TOKEN_AUTH_DISABLED GiveUp
    62  DELEGATION_TOKEN_NOT_FOUND GiveUp
    63  DELEGATION_TOKEN_OWNER_MISMATCH GiveUp
    64  DELEGATION_TOKEN_REQUEST_NOT_ALLOWED GiveUp
    65  DELEGATION_TOKEN_AUTHORIZATION_FAILED GiveUp
    66  DELEGATION_TOKEN_EXPIRED GiveUp
    67  INVALID_PRINCIPAL_TYPE GiveUp
    68  NON_EMPTY_GROUP GiveUp
    69  GROUP_ID_NOT_FOUND GiveUp
    70  FETCH_SESSION_ID_NOT_FOUND Retry
    71  INVALID_FETCH_SESSION_EPOCH Retry
    72  LISTENER_NOT_FOUND Refresh
    73  TOPIC_DELETION_DISABLED GiveUp
    74  FENCED_LEADER_EPOCH Refresh
    75  UNKNOWN_LEADER_EPOCH Retry
    76  UNSUPPORTED_COMPRESSION_TYPE GiveUp
    77  STALE_BROKER_EPOCH GiveUp
    78  OFFSET_NOT_AVAILABLE Retry
    79  MEMBER_ID_REQUIRED GiveUp
    80  PREFERRED_LEADER_NOT_AVAILABLE Refresh
    81  GROUP_MAX_SIZE_REACHED GiveUp
    82  FENCED_INSTANCE_ID GiveUp
    83  ELIGIBLE_LEADERS_NOT_AVAILABLE Refresh
    84  ELECTION_NOT_NEEDED Refresh
    85  NO_REASSIGNMENT_IN_PROGRESS GiveUp
    86  GROUP_SUBSCRIBED_TO_TOPIC GiveUp
    87  INVALID_RECORD GiveUp
    88  UNSTABLE_OFFSET_COMMIT Retry
    89  THROTTLING_QUOTA_EXCEEDED Retry
    90  PRODUCER_FENCED GiveUp
    91  RESOURCE_NOT_FOUND GiveUp
    92  DUPLICATE_RESOURCE GiveUp
    93  UNACCEPTABLE_CREDENTIAL GiveUp
    94  INCONSISTENT_VOTER_SET GiveUp
    95  INVALID_UPDATE_VERSION GiveUp
    96  FEATURE_UPDATE_FAILED GiveUp
    97  PRINCIPAL_DESERIALIZATION_FAILURE GiveUp
    98  SNAPSHOT_NOT_FOUND GiveUp
    99  POSITION_OUT_OF_RANGE GiveUp
    100 UNKNOWN_TOPIC_ID Refresh
    101 DUPLICATE_BROKER_REGISTRATION GiveUp
    102 BROKER_ID_NOT_REGISTERED GiveUp
    103 INCONSISTENT_TOPIC_ID Refresh
    104 INCONSISTENT_CLUSTER_ID GiveUp
    105 TRANSACTIONAL_ID_NOT_FOUND GiveUp
    106 FETCH_SESSION_TOPIC_ID_ERROR Retry
    107 INELIGIBLE_REPLICA GiveUp
    108 NEW_LEADER_ELECTED GiveUp
    109 OFFSET_MOVED_TO_TIERED_STORAGE GiveUp
    110 FENCED_MEMBER_EPOCH GiveUp
    111 UNRELEASED_INSTANCE_ID GiveUp
    112 UNSUPPORTED_ASSIGNOR GiveUp
    113 STALE_MEMBER_EPOCH GiveUp
    114 MISMATCHED_ENDPOINT_TYPE GiveUp
    115 UNSUPPORTED_ENDPOINT_TYPE GiveUp
    116 UNKNOWN_CONTROLLER_ID GiveUp
    117 UNKNOWN_SUBSCRIPTION_ID GiveUp
    118 TELEMETRY_TOO_LARGE GiveUp
    119 INVALID_REGISTRATION GiveUp
    120 TRANSACTION_ABORTABLE GiveUp
    121 INVALID_RECORD_STATE GiveUp
    122 SHARE_SESSION_NOT_FOUND Retry
    123 INVALID_SHARE_SESSION_EPOCH Retry
    124 FENCED_STATE_EPOCH GiveUp
    125 INVALID_VOTER_KEY GiveUp
    126 DUPLICATE_VOTER GiveUp
    127 VOTER_NOT_FOUND GiveUp
    128 INVALID_REGULAR_EXPRESSION GiveUp
    129 REBOOTSTRAP_REQUIRED GiveUp
    130 STREAMS_INVALID_TOPOLOGY GiveUp
    131 STREAMS_INVALID_TOPOLOGY_EPOCH GiveUp
    132 STREAMS_TOPOLOGY_FENCED GiveUp
    133 SHARE_SESSION_LIMIT_REACHED Retry
    134 GROUP_DELETION_FAILED GiveUp
    135 STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED GiveUp
    136 CONTROLLER_ID_NOT_REGISTERED GiveUp
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_advice_follow_kafka() {
        assert_eq!(ErrorCode::NOT_LEADER_OR_FOLLOWER.to_string(), "NOT_LEADER_OR_FOLLOWER");
        assert!(ErrorCode(6).refreshes_metadata());
        assert!(ErrorCode::NOT_ENOUGH_REPLICAS.is_retriable() && !ErrorCode::NOT_ENOUGH_REPLICAS.refreshes_metadata());
        assert!(!ErrorCode::MESSAGE_TOO_LARGE.is_retriable());
    }

    #[test]
    fn an_unknown_code_keeps_its_number_and_is_not_retried() {
        assert_eq!(ErrorCode(3333).to_string(), "error code 3333");
        assert!(!ErrorCode(3333).is_retriable());
    }

    #[test]
    fn the_table_is_sorted() {
        assert!(TABLE.is_sorted_by_key(|row| row.0));
    }
}
