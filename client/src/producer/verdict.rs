//! What the answer to a Produce means for the batch. Pure.

use milena_protocol::ErrorCode;

/// Whether an error leaves open that the batch was written is decided here and nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is in the log.
    Written,
    /// It is not in the log, and will not be accepted.
    Rejected,
    /// It is not in the log, and has too many bytes.
    TooLarge,
    /// Nobody will try again, and nobody knows.
    Doubtful,
    /// It is not in the log; try again later.
    NotYet,
    /// It may be in the log; sending it again with the same sequence number tells.
    Unknown,
    /// It is not in the log: what came before it is missing there.
    OutOfSequence,
}

/// The meaning of an error code in the answer to a Produce request of an idempotent or plain producer.
pub(crate) fn verdict(code: ErrorCode) -> Verdict {
    match code {
        // The broker found the batch among the last five of this producer. It does not say where.
        ErrorCode::NONE | ErrorCode::DUPLICATE_SEQUENCE_NUMBER => Verdict::Written,
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
        | ErrorCode::UNKNOWN_PRODUCER_ID
        | ErrorCode::INVALID_PRODUCER_EPOCH => Verdict::OutOfSequence,
        // Checked before the append.
        ErrorCode::NOT_ENOUGH_REPLICAS
        | ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        | ErrorCode::UNKNOWN_TOPIC_ID
        | ErrorCode::INCONSISTENT_TOPIC_ID
        | ErrorCode::LEADER_NOT_AVAILABLE
        | ErrorCode::THROTTLING_QUOTA_EXCEEDED => Verdict::NotYet,
        // A leader that is deposed while it waits for its followers says NOT_LEADER_OR_FOLLOWER after the append, and the new
        // leader may have the batch (KAFKA-13574).
        code if code.is_retriable() => Verdict::Unknown,
        ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE => Verdict::TooLarge,
        ErrorCode::UNKNOWN_SERVER_ERROR => Verdict::Doubtful,
        code if code.name().is_none() => Verdict::Doubtful,
        _ => Verdict::Rejected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_written_is_never_called_not_written() {
        for code in [
            ErrorCode::NOT_LEADER_OR_FOLLOWER,
            ErrorCode::REQUEST_TIMED_OUT,
            ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND,
            ErrorCode::NETWORK_EXCEPTION,
            ErrorCode::KAFKA_STORAGE_ERROR,
            ErrorCode::CORRUPT_MESSAGE,
        ] {
            assert_eq!(verdict(code), Verdict::Unknown, "{code}");
        }
        assert_eq!(verdict(ErrorCode::UNKNOWN_SERVER_ERROR), Verdict::Doubtful);
        assert_eq!(verdict(ErrorCode(3333)), Verdict::Doubtful);
    }

    #[test]
    fn refusals_before_the_append_are_not_written() {
        assert_eq!(verdict(ErrorCode::NOT_ENOUGH_REPLICAS), Verdict::NotYet);
        assert_eq!(verdict(ErrorCode::MESSAGE_TOO_LARGE), Verdict::TooLarge);
        for code in [ErrorCode::TOPIC_AUTHORIZATION_FAILED, ErrorCode::INVALID_RECORD] {
            assert_eq!(verdict(code), Verdict::Rejected, "{code}");
        }
    }
}
