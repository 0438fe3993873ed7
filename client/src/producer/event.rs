//! What an application is told about its producer besides its deliveries. Pure.

use std::sync::Arc;

use crate::topic_partition::TopicPartition;

/// What happened to a producer beside its deliveries.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ProducerEvent {
    /// A topic was deleted and created again. What was queued for the old one has failed: not written what was not sent yet,
    /// maybe written the rest.
    TopicRecreated {
        /// Its name.
        topic: Arc<str>,
    },
    /// A topic has more partitions now: keys may go to other ones than before.
    PartitionsAdded {
        /// Its name.
        topic: Arc<str>,
        /// How many it has now.
        partitions: usize,
    },
    /// Sequence numbers of a partition start anew: a batch was given up after it was sent, or the broker has lost what it knew
    /// about this producer. Nothing more is lost than what its deliveries say.
    EpochBumped {
        /// The partition.
        partition: TopicPartition,
    },
}
