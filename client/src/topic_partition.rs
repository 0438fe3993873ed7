//! A topic and the number of one of its partitions. Pure.

use std::fmt;
use std::sync::Arc;

use milena_protocol::ErrorCode;

use crate::error::{Error, ErrorKind, Result};

/// One partition of a topic. Cheap to clone; displays as `orders-3`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TopicPartition {
    topic: Arc<str>,
    partition: i32,
}

impl TopicPartition {
    /// Partition `partition`, counted from 0, of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }

    /// The name of the topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The number of the partition, from 0.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    pub(crate) fn topic_name(&self) -> &Arc<str> {
        &self.topic
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Whether a topic may have this name, by Kafka's rule. A broker closes the connection on a name that it cannot even read, and one
/// such name would spoil every request for metadata that it is part of.
pub(crate) fn is_topic_name(name: &str) -> bool {
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    letters && (1..=249).contains(&name.len()) && name != "." && name != ".."
}

/// # Errors
/// `Usage` if no topic can have this name.
pub(crate) fn check_topic_name(name: &str) -> Result<()> {
    if is_topic_name(name) {
        return Ok(());
    }
    let shown: String = name.chars().take(60).flat_map(char::escape_debug).collect();
    let text = format!(
        "no topic can be named \"{shown}\" ({} bytes): a name has 1 to 249 of the letters A-Z, a-z, 0-9, '.', '_' and '-', and is \
         not \".\" or \"..\"",
        name.len()
    );
    Err(Error::new(ErrorKind::Usage, text).with_code(ErrorCode::INVALID_TOPIC_EXCEPTION).with_retriable(false))
}

impl From<(&str, i32)> for TopicPartition {
    fn from((topic, partition): (&str, i32)) -> Self {
        Self::new(topic, partition)
    }
}

impl From<(String, i32)> for TopicPartition {
    fn from((topic, partition): (String, i32)) -> Self {
        Self::new(topic, partition)
    }
}

impl From<&TopicPartition> for TopicPartition {
    fn from(topic_partition: &TopicPartition) -> Self {
        topic_partition.clone()
    }
}
