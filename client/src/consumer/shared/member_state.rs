//! What the application and the driver of a member of a group tell each other. Pure.

use milena_protocol::ErrorCode;

use crate::clock::Time;
use crate::consumer::commits::Committer;
use crate::consumer::membership::Identity;
use crate::consumer::rebalance::Departure;
use crate::consumer::subscription::Subscription;
use crate::error::Result;

/// What the application and the driver of a member of a group tell each other.
#[derive(Debug, Default)]
pub(crate) struct MemberState {
    /// As whom to commit; `None` while nothing is owned.
    pub(crate) committer: Option<Committer>,
    /// Commits that were refused: as whom, and with which code.
    pub(crate) refused: Vec<(Identity, ErrorCode)>,
    /// A read is waiting for records.
    pub(crate) read_waits: bool,
    /// When one last ceased to wait: it had not been the application that made no progress until then.
    pub(crate) read_waited_until: Time,
    /// The consumer stays out of the group until a read begins.
    pub(crate) waits_for_read: bool,
    /// The application wants other topics.
    pub(crate) subscription: Option<Subscription>,
    /// It wants a rebalance, and says why.
    pub(crate) enforced: Option<String>,
    /// The application closes the consumer.
    pub(crate) closing: Option<Closing>,
    /// What became of the last commit of a consumer that is being closed.
    pub(crate) closed: Option<Result<()>>,
}

/// How a consumer is closed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Closing {
    pub(crate) departure: Departure,
    pub(crate) deadline: Time,
}
