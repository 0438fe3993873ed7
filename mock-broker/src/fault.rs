//! Faults as sentences: which requests, how often, and what happens to them. IO.

pub(crate) mod error_answer;
pub(crate) mod rules;
mod targets;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use milena_protocol::{ApiKey, ErrorCode};

use crate::server::Shared;
use rules::{Action, Limit, Matcher};

/// A rule: requests, and what happens to them. Hand it to [`MockCluster::fault`](crate::MockCluster::fault).
///
/// ```
/// # use milena_mock_broker::{ApiKey, ErrorCode, Fault};
/// # use std::time::Duration;
/// let lost_answer = Fault::on(ApiKey::PRODUCE).topic("orders").apply_then_disconnect();
/// let moving = Fault::on(ApiKey::FETCH).partition(3).times(2).error(ErrorCode::NOT_LEADER_OR_FOLLOWER);
/// let fenced = Fault::on(ApiKey::HEARTBEAT).group("billing").error(ErrorCode::UNKNOWN_MEMBER_ID);
/// let slow = Fault::any().broker(2).always().delay(Duration::from_millis(50));
/// ```
#[derive(Clone, Debug)]
#[must_use = "a rule does nothing until the cluster has it: cluster.fault(rule)"]
pub struct Fault {
    pub(crate) matcher: Matcher,
    pub(crate) action: Action,
}

/// Which requests, and how often: not yet a fault, until one of the actions names what happens.
///
/// Without [`times`](Self::times), [`always`](Self::always) or [`probability`](Self::probability) it happens once.
#[derive(Clone, Debug)]
#[must_use = "say what happens to the requests, such as .disconnect()"]
pub struct Match(Matcher);

impl Fault {
    /// Requests of one API.
    pub fn on(api: ApiKey) -> Match {
        Match(Matcher { api: Some(api), ..Matcher::default() })
    }

    /// Requests of every API.
    pub fn any() -> Match {
        Match(Matcher::default())
    }
}

impl Match {
    /// Only requests about this topic: those that name it or ask for all topics, and a Fetch in whose session it is.
    pub fn topic(mut self, topic: &str) -> Self {
        self.0.topic = Some(topic.to_owned());
        self
    }

    /// Only requests about this partition (of [`topic`](Self::topic), if that is given too).
    pub fn partition(mut self, partition: i32) -> Self {
        self.0.partition = Some(partition);
        self
    }

    /// Only requests that name this consumer group: of its members and of simple consumers, and those that look for its
    /// coordinator or describe it.
    pub fn group(mut self, group: &str) -> Self {
        self.0.group = Some(group.to_owned());
        self
    }

    /// Only requests to this broker.
    pub fn broker(mut self, broker: i32) -> Self {
        self.0.broker = Some(broker);
        self
    }

    /// Only requests of a client with this name.
    pub fn client_id(mut self, client_id: &str) -> Self {
        self.0.client_id = Some(client_id.to_owned());
        self
    }

    /// Not before the `nth` request that matches all else, counted from 1 when the rule is added.
    pub fn nth(mut self, nth: u64) -> Self {
        self.0.nth = Some(nth);
        self
    }

    /// On so many requests; the rule expects all of them to come.
    pub fn times(mut self, times: u64) -> Self {
        self.0.limit = Some(Limit::Times(times));
        self
    }

    /// On every request that matches; the rule expects at least one.
    pub fn always(mut self) -> Self {
        self.0.limit = Some(Limit::Always);
        self
    }

    /// On a matching request with this probability (0 to 1), drawn from the cluster's seed; without limit, unless
    /// [`times`](Self::times) is given too.
    pub fn probability(mut self, probability: f64) -> Self {
        self.0.probability = Some(probability);
        self
    }

    /// The request is not applied. Its answer has this code, at each topic, partition, group or key that the request is about; or
    /// for the whole answer, if its API has no other place. A Produce request that wants no answer (acks=0) gets its connection
    /// closed. A request without any place for a code does not match.
    pub fn error(self, code: ErrorCode) -> Fault {
        self.then(Action::Error(code))
    }

    /// The request is held for this long, then applied and answered; it is applied even if the client has gone by then.
    pub fn delay(self, time: Duration) -> Fault {
        self.then(Action::Delay(time))
    }

    /// The request is applied; its answer is held for this long.
    pub fn apply_then_delay(self, time: Duration) -> Fault {
        self.then(Action::ApplyThenDelay(time))
    }

    /// The request is applied; its answer is lost, as the connection closes instead.
    pub fn apply_then_disconnect(self) -> Fault {
        self.then(Action::ApplyThenDisconnect)
    }

    /// The request is not applied; the connection closes.
    pub fn disconnect(self) -> Fault {
        self.then(Action::Disconnect)
    }

    /// The request is neither applied nor answered, nor is any that follows on its connection, which stays open until the
    /// client closes it.
    pub fn never_answer(self) -> Fault {
        self.then(Action::NeverAnswer)
    }

    /// The request is applied; of its answer only the first `length` bytes are sent (the length prefix of 4 bytes included),
    /// then the connection closes.
    pub fn cut_response_at(self, length: usize) -> Fault {
        self.then(Action::CutResponseAt(length))
    }

    fn then(self, action: Action) -> Fault {
        Fault { matcher: self.0, action }
    }
}

/// A rule at work. Dropping it removes the rule, and **panics if the rule has fired less often than it should**: as often as
/// [`times`](Match::times) says, or once. A test cannot pass because its fault never came. It does not panic while another
/// panic is under way.
#[must_use = "bind it: the rule is removed and checked when this is dropped"]
pub struct FaultHandle {
    shared: Arc<Shared>,
    id: u64,
    optional: bool,
}

impl FaultHandle {
    pub(crate) fn new(shared: Arc<Shared>, id: u64) -> Self {
        Self { shared, id, optional: false }
    }

    /// How often the rule has fired.
    pub fn hits(&self) -> u64 {
        self.shared.lock().rules.hits(self.id)
    }

    /// Waits until the rule has fired at least once.
    ///
    /// # Panics
    /// After 30 seconds (virtual ones on a paused runtime), with a message that names the rule.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn hit(&self) {
        if !self.shared.wait_for(|state| state.rules.hits(self.id) > 0).await {
            let rule = self.shared.lock().rules.describe(self.id);
            panic!("waited 30 s in vain for a fault to fire: {rule}");
        }
    }

    /// The rule may fire less often, or never: dropping the handle does not panic.
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }
}

impl Drop for FaultHandle {
    fn drop(&mut self) {
        let verdict = self.shared.lock_after_panic().rules.remove(self.id);
        if let Some(verdict) = verdict
            && verdict.hits < verdict.expected
            && !self.optional
            && !std::thread::panicking()
        {
            panic!(
                "a fault fired {} times instead of {}: {}; call optional() on its handle if that is fine",
                verdict.hits, verdict.expected, verdict.rule
            );
        }
    }
}

impl fmt::Debug for FaultHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultHandle").field("id", &self.id).finish_non_exhaustive()
    }
}
