//! Why partitions of a group move. Pure.

/// Why a consumer got or gave up partitions. More may come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum RebalanceReason {
    /// This consumer joined the group.
    Joined,
    /// Another member joined, left or died, or asked for a new division.
    MemberChange,
    /// This consumer subscribed to other topics.
    SubscriptionChange,
    /// A topic that a member of the group reads appeared, or has other partitions, or replicas in other racks while members tell
    /// theirs. A topic that is deleted moves nothing before the next rebalance.
    TopicChange,
    /// The application of this consumer asked for it ([`ConsumerControl::enforce_rebalance`](crate::ConsumerControl::enforce_rebalance)).
    Enforced,
    /// A topic was deleted and created again: the new one is read from its beginning.
    TopicRecreated,
    /// The group went on without this consumer: it had not heard of it for `session.timeout.ms`.
    SessionExpired,
    /// The application held records for `max.poll.interval.ms` and made no progress with them.
    Stalled,
    /// The coordinator refused this consumer, or its assignor failed; the next read says why.
    Refused,
    /// A static member with the same `group.instance.id` took this one's place.
    Fenced,
    /// This consumer is being closed.
    Closing,
}

/// What becomes of the membership when a consumer is closed (KIP-1092).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Departure {
    /// Dynamic members leave; static ones stay, since they mean to come back.
    Usual,
    Leave,
    Stay,
}

impl RebalanceReason {
    /// What the coordinator is told (KIP-800); it stands in the broker's log.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Joined => "the consumer joins",
            Self::MemberChange => "the members of the group changed",
            Self::SubscriptionChange => "the consumer subscribed to other topics",
            Self::TopicChange => "the partitions of a subscribed topic changed",
            Self::Enforced => "the application asked for it",
            Self::TopicRecreated => "a subscribed topic was created anew",
            Self::SessionExpired => "the group went on without the consumer",
            Self::Stalled => "the application made no progress for max.poll.interval.ms",
            Self::Refused => "the consumer comes back after an error",
            Self::Fenced => "another member took the consumer's place",
            Self::Closing => "the consumer is being closed",
        }
    }
}
