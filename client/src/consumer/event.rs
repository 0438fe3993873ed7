//! What a consumer tells besides records and errors. Pure.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::topic_partition::TopicPartition;

/// Something happened to a partition that reading went on after. More may come.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConsumerEvent {
    /// The position was not in the log any more, and reading goes on where `auto.offset.reset` says.
    Reset {
        /// Which partition.
        partition: TopicPartition,
        /// The offsets that were passed over unread. Empty, at the old position, if reading goes on further back.
        lost: Range<i64>,
    },
    /// The log was cut and written anew below the position: an unclean election lost records that had been read.
    Truncated {
        /// Which partition.
        partition: TopicPartition,
        /// The position before.
        was: i64,
        /// Where reading goes on: the end of what the logs have in common.
        now: i64,
    },
    /// A record holds its partition up: under [`CommitPolicy::Acked`](crate::CommitPolicy::Acked) it was dropped without being
    /// acknowledged, so that nothing from it on is committed; or the application has made no progress with any record for
    /// `max.poll.interval.ms`, and the consumer leaves its group.
    Stalled {
        /// Which partition.
        partition: TopicPartition,
        /// The first such record of it.
        offset: i64,
        /// How long there was no progress; `None` for a record that was dropped.
        time_held: Option<Duration>,
    },
    /// A topic that is read or subscribed to is not there: brokers do not know it yet, or not any more. Reading begins or goes on
    /// when it is.
    UnknownTopic {
        /// Which topic.
        topic: Arc<str>,
    },
}
