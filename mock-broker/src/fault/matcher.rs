//! What must hold for a request or a connection so that a rule is about it. Pure.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use milena_protocol::ApiKey;

use super::subject::{About, Incoming};
use crate::core::Core;

/// What a rule is about, and how often it fires.
#[derive(Debug, Clone, Default)]
pub(crate) struct Matcher {
    pub(super) api: Option<ApiKey>,
    pub(super) scope: Scope,
    pub(super) group: Option<String>,
    pub(super) transactional_id: Option<String>,
    pub(super) broker: Option<i32>,
    pub(super) client_id: Option<String>,
    /// Since the rule was added.
    pub(super) during: Option<Range<Duration>>,
    /// The first match that may fire, counted from 1.
    pub(super) nth: Option<u64>,
    pub(super) limit: Option<Limit>,
    pub(super) probability: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Limit {
    Times(u64),
    Always,
}

/// The topics and partitions that a rule names.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    pub(super) topic: Option<String>,
    pub(super) partition: Option<i32>,
}

impl Scope {
    /// Whether it names nothing, and so is about whole requests.
    pub(super) fn is_everything(&self) -> bool {
        self.topic.is_none() && self.partition.is_none()
    }

    /// `partition` is none where a request is about a topic as a whole.
    pub(super) fn has(&self, topic: &str, partition: Option<i32>) -> bool {
        self.topic.as_ref().is_none_or(|named| named == topic)
            && self.partition.is_none_or(|named| partition == Some(named))
    }
}

impl Matcher {
    /// What can be told before the body of a request has been read.
    pub(super) fn matches_header(
        &self,
        since_added: Duration,
        broker: i32,
        api: ApiKey,
        client_id: Option<&str>,
    ) -> bool {
        self.api.is_none_or(|named| named == api)
            && self.client_id.as_deref().is_none_or(|named| client_id == Some(named))
            && self.matches_connection(since_added, broker)
    }

    pub(super) fn matches_connection(&self, since_added: Duration, broker: i32) -> bool {
        self.broker.is_none_or(|named| named == broker)
            && self.during.as_ref().is_none_or(|during| during.contains(&since_added))
    }

    /// Whether a request's body has to be known.
    pub(super) fn needs_body(&self) -> bool {
        !self.scope.is_everything() || self.group.is_some() || self.transactional_id.is_some()
    }

    pub(super) fn matches(&self, since_added: Duration, request: &Incoming<'_>, core: &Core) -> bool {
        let header = request.header;
        if !self.matches_header(since_added, request.broker, header.api_key, header.client_id.as_deref()) {
            return false;
        }
        if !self.needs_body() {
            return true;
        }
        let (mut in_scope, mut of_group, mut of_transaction) =
            (self.scope.is_everything(), self.group.is_none(), self.transactional_id.is_none());
        request.tell(core, &mut |about| match about {
            About::EveryTopic => in_scope |= self.scope.partition.is_none(),
            About::Topic(topic, partition) => in_scope |= self.scope.has(topic, partition),
            About::Group(group) => of_group |= self.group.as_deref() == Some(group),
            About::TransactionalId(id) => of_transaction |= self.transactional_id.as_deref() == Some(id),
        });
        in_scope && of_group && of_transaction
    }
}

/// Each condition but the API, with a comma before it.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn part(f: &mut fmt::Formatter<'_>, name: &str, value: Option<&dyn fmt::Display>) -> fmt::Result {
            value.map_or(Ok(()), |value| write!(f, ", {name} {value}"))
        }
        fn shown<T: fmt::Display>(value: &Option<T>) -> Option<&dyn fmt::Display> {
            value.as_ref().map(|value| value as &dyn fmt::Display)
        }
        part(f, "topic", shown(&self.scope.topic))?;
        part(f, "partition", shown(&self.scope.partition))?;
        part(f, "group", shown(&self.group))?;
        part(f, "transactional id", shown(&self.transactional_id))?;
        part(f, "broker", shown(&self.broker))?;
        part(f, "client", shown(&self.client_id))?;
        if let Some(during) = &self.during {
            write!(f, ", from {:?} to {:?} after it was added", during.start, during.end)?;
        }
        part(f, "from match", shown(&self.nth))?;
        match self.limit {
            Some(Limit::Times(times)) => write!(f, ", {times} times")?,
            Some(Limit::Always) => f.write_str(", always")?,
            None => {}
        }
        part(f, "with probability", shown(&self.probability))
    }
}
