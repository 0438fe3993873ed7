//! A topic to create. Pure.

use std::collections::BTreeMap;
use std::fmt;

use crate::core::NewTopic;

/// A topic to create: one partition, as many replicas as the cluster's default says, no settings of its own, unless said.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "hand it to with_topic or create_topic"]
pub struct Topic {
    name: String,
    partitions: i32,
    replication_factor: Option<i16>,
    configs: BTreeMap<String, String>,
}

impl Topic {
    /// A topic of this name.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), partitions: 1, replication_factor: None, configs: BTreeMap::new() }
    }

    /// How many partitions it has.
    pub fn partitions(mut self, partitions: i32) -> Self {
        self.partitions = partitions;
        self
    }

    /// How many brokers have a copy of each partition. Default: 3, or all brokers if there are fewer.
    pub fn replication_factor(mut self, replicas: i16) -> Self {
        self.replication_factor = Some(replicas);
        self
    }

    /// A topic setting by Kafka's name, such as `min.insync.replicas` or `max.message.bytes`.
    pub fn config(mut self, name: &str, value: &str) -> Self {
        self.configs.insert(name.to_owned(), value.to_owned());
        self
    }
}

/// `orders (6 partitions, 3 replicas, cleanup.policy=compact)`.
impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, partitions, replication_factor, configs } = self;
        write!(f, "{name} ({partitions} {}", if *partitions == 1 { "partition" } else { "partitions" })?;
        if let Some(replicas) = replication_factor {
            write!(f, ", {replicas} {}", if *replicas == 1 { "replica" } else { "replicas" })?;
        }
        configs.iter().try_for_each(|(setting, value)| write!(f, ", {setting}={value}"))?;
        f.write_str(")")
    }
}

impl From<(&str, i32)> for Topic {
    /// A name and a number of partitions.
    fn from((name, partitions): (&str, i32)) -> Self {
        Self::new(name).partitions(partitions)
    }
}

impl From<Topic> for NewTopic {
    fn from(Topic { name, partitions, replication_factor, configs }: Topic) -> Self {
        Self { name, partitions, replication_factor, configs }
    }
}
