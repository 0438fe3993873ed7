//! The one error type: a private kind, and questions to ask it. Pure.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use milena_protocol::ErrorCode;

use crate::topic_partition::TopicPartition;

/// What went wrong, in one pointer. Cloning shares it, so that the records of a batch can each have it.
///
/// `Display` says what was being done, to what, and what came back, on one level; what caused it is in
/// [`source`](std::error::Error::source).
#[derive(Clone)]
pub struct Error(Arc<Inner>);

/// `Result` with this crate's [`Error`] unless said otherwise.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whose fault it was and what to do, roughly. More kinds may come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Settings are unknown, malformed or contradict each other.
    Config,
    /// The call does not make sense here; mend the program.
    Usage,
    /// The client, producer or consumer is closed.
    Closed,
    /// A deadline passed.
    TimedOut,
    /// A connection could not be made, or broke.
    Transport,
    /// The broker does not accept who we are.
    Auth,
    /// A peer does not speak Kafka's protocol, or not a version that we do.
    Protocol,
    /// A broker answered with an error code; see [`Error::code`].
    Broker,
    /// Another producer or member took our place.
    Fenced,
    /// The transaction was aborted.
    Aborted,
    /// The partition is not, or no longer, ours.
    PartitionLost,
    /// There is no position to read from, and no policy that gives one.
    OffsetReset,
    /// Bytes read from a broker are damaged.
    Corrupt,
    /// A callback, partitioner or assignor of the application failed.
    UserCode,
}

/// Whether a record is in the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Written {
    /// It is not.
    No,
    /// Nobody can tell: a request was sent, and no answer settled it.
    Maybe,
    /// It is.
    Yes,
}

struct Inner {
    kind: ErrorKind,
    message: String,
    code: Option<ErrorCode>,
    topic_partition: Option<TopicPartition>,
    written: Written,
    retriable: bool,
    fatal: bool,
    /// Of a bad batch: the first offset behind it.
    skip_to: Option<i64>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether doing the same again may succeed.
    pub fn is_retriable(&self) -> bool {
        self.0.retriable
    }

    /// Whether the client, producer or consumer that returned it can do nothing more and should be closed.
    pub fn is_fatal(&self) -> bool {
        self.0.fatal
    }

    /// Whether the transaction that it happened in can only be aborted.
    pub fn requires_abort(&self) -> bool {
        self.0.kind == ErrorKind::Aborted
    }

    /// Of a send that failed: whether the record is in the log all the same; of creating or deleting a topic: whether that was done
    /// all the same. [`Written::No`] and [`Written::Yes`] are facts.
    pub fn written(&self) -> Written {
        self.0.written
    }

    /// The error code that a broker answered with.
    pub fn code(&self) -> Option<ErrorCode> {
        self.0.code
    }

    /// The partition that it is about.
    pub fn topic_partition(&self) -> Option<&TopicPartition> {
        self.0.topic_partition.as_ref()
    }

    pub(crate) fn skip_to(&self) -> Option<i64> {
        self.0.skip_to
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            code: None,
            topic_partition: None,
            written: Written::No,
            retriable: matches!(kind, ErrorKind::Transport | ErrorKind::TimedOut),
            fatal: matches!(kind, ErrorKind::Closed | ErrorKind::Fenced),
            skip_to: None,
            source: None,
        }))
    }

    /// A broker answered `doing` with `code`.
    pub(crate) fn broker(doing: impl fmt::Display, code: ErrorCode, broker: i32) -> Self {
        Self::new(ErrorKind::Broker, format!("{doing} failed: {code} from broker {broker}")).with_code(code)
    }

    /// What a broker wrote beside its error code becomes the source.
    pub(crate) fn with_broker_text(self, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.with_source(BrokerText::new(text)),
            None => self,
        }
    }

    /// `owner` is closed.
    pub(crate) fn closed(owner: &str) -> Self {
        Self::new(ErrorKind::Closed, format!("the {owner} is closed"))
    }

    fn change(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        if Arc::get_mut(&mut self.0).is_none() {
            let shared = &*self.0;
            self = Self(Arc::new(Inner {
                message: shared.message.clone(),
                topic_partition: shared.topic_partition.clone(),
                source: shared.source.clone(),
                ..*shared
            }));
        }
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            change(inner);
        }
        self
    }

    pub(crate) fn with_code(self, code: ErrorCode) -> Self {
        self.change(|inner| (inner.code, inner.retriable) = (Some(code), code.is_retriable()))
    }

    pub(crate) fn with_topic_partition(self, topic_partition: TopicPartition) -> Self {
        self.change(|inner| inner.topic_partition = Some(topic_partition))
    }

    pub(crate) fn with_written(self, written: Written) -> Self {
        self.change(|inner| inner.written = written)
    }

    pub(crate) fn with_retriable(self, retriable: bool) -> Self {
        self.change(|inner| inner.retriable = retriable)
    }

    pub(crate) fn with_skip_to(self, offset: i64) -> Self {
        self.change(|inner| inner.skip_to = Some(offset))
    }

    pub(crate) fn with_source(self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.change(|inner| inner.source = Some(Arc::new(source)))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Error");
        debug.field("kind", &self.0.kind).field("message", &self.0.message);
        if let Some(code) = self.0.code {
            debug.field("code", &code);
        }
        if let Some(source) = &self.0.source {
            debug.field("source", source);
        }
        debug.finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// What a broker wrote beside its error code: shortened, and without what could confuse a terminal or a log.
#[derive(Debug)]
struct BrokerText(String);

impl BrokerText {
    fn new(text: &str) -> Self {
        Self(text.chars().take(1024).flat_map(char::escape_debug).collect())
    }
}

impl std::fmt::Display for BrokerText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BrokerText {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_pointer_and_tells_what_a_broker_said() {
        let error = Error::broker("produce to orders-3", ErrorCode::NOT_LEADER_OR_FOLLOWER, 2);

        assert_eq!(size_of::<Error>(), size_of::<usize>());
        assert_eq!(error.to_string(), "produce to orders-3 failed: NOT_LEADER_OR_FOLLOWER from broker 2");
        assert!(error.is_retriable() && !error.is_fatal());
    }

    #[test]
    fn changing_a_shared_error_leaves_the_other_as_it_was() {
        let first = Error::new(ErrorKind::TimedOut, "waited too long");
        let second = first.clone().with_written(Written::Maybe);

        assert_eq!((first.written(), second.written()), (Written::No, Written::Maybe));
        assert_eq!(second.to_string(), "waited too long");
    }
}
