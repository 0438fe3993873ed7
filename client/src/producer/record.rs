//! A record to be sent, as a view of the caller's bytes. Pure.

use std::fmt;
use std::time::SystemTime;

use super::topic::Topic;

/// A record on its way to a topic. It borrows everything, and nothing is copied before it lands in its batch.
///
/// ```
/// # use milena::Record;
/// let record = Record::to("orders").key("customer-7").value(b"3 apples").header("source", "shop");
/// ```
#[derive(Clone)]
#[must_use = "a record goes nowhere by itself: give it to a producer"]
pub struct Record<'a> {
    pub(crate) topic: TopicRef<'a>,
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) timestamp: Option<SystemTime>,
    pub(crate) headers: Vec<(&'a str, Option<&'a [u8]>)>,
}

/// A topic by its name, or by a handle that saves looking the name up.
#[derive(Clone, Copy)]
pub enum TopicRef<'a> {
    /// Its name.
    Name(&'a str),
    /// A handle from [`Producer::topic`](crate::Producer::topic).
    Handle(&'a Topic),
}

impl TopicRef<'_> {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Handle(topic) => topic.name(),
        }
    }
}

impl<'a> From<&'a str> for TopicRef<'a> {
    fn from(name: &'a str) -> Self {
        Self::Name(name)
    }
}

impl<'a> From<&'a String> for TopicRef<'a> {
    fn from(name: &'a String) -> Self {
        Self::Name(name)
    }
}

impl<'a> From<&'a Topic> for TopicRef<'a> {
    fn from(topic: &'a Topic) -> Self {
        Self::Handle(topic)
    }
}

impl<'a> Record<'a> {
    /// A record for this topic, with neither key nor value nor headers.
    pub fn to(topic: impl Into<TopicRef<'a>>) -> Self {
        Self { topic: topic.into(), partition: None, key: None, value: None, timestamp: None, headers: Vec::new() }
    }

    /// Sends it to this partition, counted from 0. Default: the partitioner chooses.
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// The key. Records with the same key go to the same partition as long as the topic's partitions stay as many. Default:
    /// null, which is not the same as an empty key.
    pub fn key<B: AsRef<[u8]> + ?Sized>(mut self, key: &'a B) -> Self {
        self.key = Some(key.as_ref());
        self
    }

    /// The value. Default: null, which on a compacted topic deletes the key.
    pub fn value<B: AsRef<[u8]> + ?Sized>(mut self, value: &'a B) -> Self {
        self.value = Some(value.as_ref());
        self
    }

    /// Adds a header. Headers keep their order, and a name may come more than once.
    pub fn header<B: AsRef<[u8]> + ?Sized>(mut self, name: &'a str, value: &'a B) -> Self {
        self.headers.push((name, Some(value.as_ref())));
        self
    }

    /// Adds a header whose value is null.
    pub fn header_null(mut self, name: &'a str) -> Self {
        self.headers.push((name, None));
        self
    }

    /// When it happened, to the millisecond. Default: the wall clock when the record is enqueued. A topic with
    /// `message.timestamp.type=LogAppendTime` puts the broker's time in its place.
    pub fn timestamp(mut self, timestamp: SystemTime) -> Self {
        self.timestamp = Some(timestamp);
        self
    }
}

/// Sizes, not contents: payloads do not belong into logs.
impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("topic", &self.topic.name())
            .field("partition", &self.partition)
            .field("key_bytes", &self.key.map(<[u8]>::len))
            .field("value_bytes", &self.value.map(<[u8]>::len))
            .field("headers", &self.headers.len())
            .finish()
    }
}
