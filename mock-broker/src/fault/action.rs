//! What a rule does, and what is done with a request because of it. Pure.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use milena_protocol::ErrorCode;

use super::falsify::Falsify;
use crate::core::Outcome;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    Error(ErrorCode),
    RecordError(ErrorCode, Vec<i32>),
    ApplyThenError(ErrorCode),
    Delay(Duration),
    ApplyThenDelay(Duration),
    ApplyThenDisconnect,
    Disconnect,
    NeverAnswer,
    CutRequestAt(usize),
    CutResponseAt(usize),
    Trickle(u32),
    FlipBit(usize),
    WrongCorrelationId,
    Throttle(Duration),
    /// The only one that is about connections, not about requests.
    RefuseConnection,
}

/// What is done with a request.
#[derive(Debug)]
pub(crate) enum Plan {
    Apply {
        /// Wait before.
        hold: Duration,
        /// Apply this frame, what is left of the request.
        instead: Option<Bytes>,
        then: Then,
    },
    /// Do not apply it; this is its outcome.
    Answer(Outcome),
    /// Neither apply it nor answer it, nor anything after it.
    Ignore,
}

/// What is done once a request has been applied.
#[derive(Debug, Clone)]
pub(crate) enum Then {
    Answer,
    /// Answer with something else.
    Falsify(Falsify),
    /// Wait, then answer it.
    HoldFor(Duration),
    /// Close the connection.
    Close,
    /// Answer with so many bytes, then close the connection.
    Cut(usize),
    /// Answer with so many bytes a second.
    Trickle(u32),
}

impl Plan {
    /// No rule fired.
    pub(crate) const PASS: Self = Self::apply(Then::Answer);

    pub(super) const fn apply(then: Then) -> Self {
        Self::Apply { hold: Duration::ZERO, instead: None, then }
    }

    pub(super) const CLOSE: Self = Self::Answer(Outcome::Close);
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(code) => write!(f, "error {code}"),
            Self::RecordError(code, records) => write!(f, "error {code} because of the records {records:?}"),
            Self::ApplyThenError(code) => write!(f, "apply, then error {code}"),
            Self::Delay(time) => write!(f, "delay by {time:?}"),
            Self::ApplyThenDelay(time) => write!(f, "apply, then delay by {time:?}"),
            Self::ApplyThenDisconnect => f.write_str("apply, then disconnect"),
            Self::Disconnect => f.write_str("disconnect"),
            Self::NeverAnswer => f.write_str("never answer"),
            Self::CutRequestAt(length) => write!(f, "cut the request at {length} bytes"),
            Self::CutResponseAt(length) => write!(f, "cut the response at {length} bytes"),
            Self::Trickle(rate) => write!(f, "answer with {rate} bytes a second"),
            Self::FlipBit(bit) => write!(f, "flip bit {bit} of the answer"),
            Self::WrongCorrelationId => f.write_str("answer with a wrong correlation id"),
            Self::Throttle(time) => write!(f, "throttle for {time:?}"),
            Self::RefuseConnection => f.write_str("refuse"),
        }
    }
}
