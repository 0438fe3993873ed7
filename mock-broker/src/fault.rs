//! Faults as sentences: which requests, how often, and what happens to them. Pure.

mod action;
mod falsify;
mod matcher;
mod rules;
mod subject;

use std::ops::Range;
use std::time::Duration;

use milena_protocol::{ApiKey, ErrorCode};

pub(crate) use action::{Action, Plan, Then};
use matcher::{Limit, Matcher};
pub(crate) use rules::Rules;
pub(crate) use subject::Incoming;

/// A rule: requests, and what happens to them. Hand it to [`MockCluster::fault`](crate::MockCluster::fault).
///
/// ```
/// # use milena_mock_broker::{ApiKey, ErrorCode, Fault};
/// # use std::time::Duration;
/// let lost_answer = Fault::on(ApiKey::PRODUCE).topic("orders").apply_then_disconnect();
/// let moving = Fault::on(ApiKey::FETCH).partition(3).times(2).error(ErrorCode::NOT_LEADER_OR_FOLLOWER);
/// let fenced = Fault::on(ApiKey::HEARTBEAT).group("billing").error(ErrorCode::UNKNOWN_MEMBER_ID);
/// let bad_record = Fault::on(ApiKey::PRODUCE).nth(3).record_error(ErrorCode::INVALID_RECORD, [2]);
/// let slow = Fault::any().broker(2).always().delay(Duration::from_millis(50));
/// let deaf = Fault::connections().broker(2).during(Duration::ZERO..Duration::from_secs(5)).refuse();
/// ```
#[derive(Clone, Debug)]
#[must_use = "a rule does nothing until the cluster has it: cluster.fault(rule)"]
pub struct Fault {
    pub(crate) matcher: Matcher,
    pub(crate) action: Action,
}

/// Which requests, and how often: not yet a fault, until one of the actions names what happens.
///
/// Without [`times`](Self::times), [`always`](Self::always), [`during`](Self::during) or
/// [`probability`](Self::probability) it happens once.
#[derive(Clone, Debug)]
#[must_use = "say what happens to the requests, such as .disconnect()"]
pub struct Match(Matcher);

/// Which new connections, and how often, in the manner of [`Match`].
#[derive(Clone, Debug)]
#[must_use = "say what happens to the connections: .refuse()"]
pub struct ConnectionMatch(Matcher);

impl Fault {
    /// Requests of one API.
    pub fn on(api: ApiKey) -> Match {
        Match(Matcher { api: Some(api), ..Matcher::default() })
    }

    /// Requests of every API.
    pub fn any() -> Match {
        Match(Matcher::default())
    }

    /// New connections, before anything is said on them.
    pub fn connections() -> ConnectionMatch {
        ConnectionMatch(Matcher::default())
    }
}

/// What requests and connections have in common.
macro_rules! how_often {
    ($matcher:ident) => {
        impl $matcher {
            /// Only to this broker.
            pub fn broker(mut self, broker: i32) -> Self {
                self.0.broker = Some(broker);
                self
            }

            /// Only in this time, counted from when the rule is added; virtual on a paused runtime. Every time, unless
            /// [`times`](Self::times) is given too.
            pub fn during(mut self, time: Range<Duration>) -> Self {
                self.0.during = Some(time);
                self
            }

            /// Not before the `nth` that matches all else, counted from 1 when the rule is added.
            pub fn nth(mut self, nth: u64) -> Self {
                self.0.nth = Some(nth);
                self
            }

            /// So often; the rule expects all of them to come.
            pub fn times(mut self, times: u64) -> Self {
                self.0.limit = Some(Limit::Times(times));
                self
            }

            /// On every one that matches; the rule expects at least one.
            pub fn always(mut self) -> Self {
                self.0.limit = Some(Limit::Always);
                self
            }

            /// With this probability (0 to 1), drawn from the cluster's seed; without limit, unless [`times`](Self::times) is
            /// given too.
            pub fn probability(mut self, probability: f64) -> Self {
                self.0.probability = Some(probability);
                self
            }
        }
    };
}

how_often!(Match);
how_often!(ConnectionMatch);

impl ConnectionMatch {
    /// The connection is refused. One by [`pipe`](crate::MockCluster::pipe) fails with `ConnectionRefused`; one to a listener is
    /// accepted by the system, and closed before anything is read. What makes a listener refuse is
    /// [`crash`](crate::BrokerControl::crash).
    pub fn refuse(self) -> Fault {
        Fault { matcher: self.0, action: Action::RefuseConnection }
    }
}

impl Match {
    /// Only requests about this topic: those that name it or ask for all topics, and a Fetch in whose session it is.
    pub fn topic(mut self, topic: &str) -> Self {
        self.0.scope.topic = Some(topic.to_owned());
        self
    }

    /// Only requests about this partition (of [`topic`](Self::topic), if that is given too).
    pub fn partition(mut self, partition: i32) -> Self {
        self.0.scope.partition = Some(partition);
        self
    }

    /// Only requests that name this consumer group: of its members and of simple consumers, and those that look for its
    /// coordinator or describe it.
    pub fn group(mut self, group: &str) -> Self {
        self.0.group = Some(group.to_owned());
        self
    }

    /// Only requests that name this transactional id: of its producers, and those that look for its coordinator.
    pub fn transactional_id(mut self, id: &str) -> Self {
        self.0.transactional_id = Some(id.to_owned());
        self
    }

    /// Only requests of a client with this name.
    pub fn client_id(mut self, client_id: &str) -> Self {
        self.0.client_id = Some(client_id.to_owned());
        self
    }

    /// The request is not applied, and is answered with this code. Where it stands depends on what the rule names:
    ///
    /// * a [`topic`](Self::topic) or a [`partition`](Self::partition): the code is theirs, and what else the request is about is
    ///   applied and answered as ever;
    /// * neither: each topic, partition, group or key that the request is about has it; or the whole answer, if its API has no
    ///   other place.
    ///
    /// A Produce request that wants no answer (acks=0) gets its connection closed. A request without any place for a code does
    /// not match.
    pub fn error(self, code: ErrorCode) -> Fault {
        self.then(Action::Error(code))
    }

    /// As [`error`](Self::error), for Produce: the answer says that these records of each batch, counted from 0, are to blame
    /// (KIP-467, version 8 and above). Requests of other APIs do not match.
    pub fn record_error(self, code: ErrorCode, records: impl IntoIterator<Item = i32>) -> Fault {
        self.then(Action::RecordError(code, records.into_iter().collect()))
    }

    /// The request is applied; its answer is the one of [`error`](Self::error).
    pub fn apply_then_error(self, code: ErrorCode) -> Fault {
        self.then(Action::ApplyThenError(code))
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

    /// Only the first `length` bytes of the request (the length prefix of 4 bytes included) are read, or as many as tell its API
    /// and client; then the connection closes, and the request is not applied. So a long request is cut while it is being
    /// written. Such a rule is asked before all others, and requests that it cut are not in the journal.
    ///
    /// A rule that names a topic, a partition, a group or a transactional id has to read the whole request, and is like
    /// [`disconnect`](Self::disconnect).
    pub fn cut_request_at(self, length: usize) -> Fault {
        self.then(Action::CutRequestAt(length))
    }

    /// The request is applied; of its answer only the first `length` bytes are sent (the length prefix of 4 bytes included),
    /// then the connection closes.
    pub fn cut_response_at(self, length: usize) -> Fault {
        self.then(Action::CutResponseAt(length))
    }

    /// The request is applied; its answer comes in small pieces, so many bytes in a second, at least 1.
    pub fn trickle(self, bytes_per_second: u32) -> Fault {
        self.then(Action::Trickle(bytes_per_second.max(1)))
    }

    /// The request is applied; one bit of its answer is flipped. Bits are counted from 0, the highest bit of the first byte after
    /// the length prefix (the correlation id has the first 32), and anew behind the answer's end.
    pub fn flip_bit(self, bit: usize) -> Fault {
        self.then(Action::FlipBit(bit))
    }

    /// The request is applied; its answer has a correlation id that the client has not given to any request.
    pub fn wrong_correlation_id(self) -> Fault {
        self.then(Action::WrongCorrelationId)
    }

    /// As a broker with quotas does (KIP-219): the request is applied and answered at once, the answer says that the client must
    /// wait for so long (`throttle_time_ms`), and meanwhile the broker reads nothing more of the connection. Old versions of some
    /// APIs cannot say it; those clients notice only that the broker is slow.
    pub fn throttle(self, time: Duration) -> Fault {
        self.then(Action::Throttle(time))
    }

    fn then(self, action: Action) -> Fault {
        Fault { matcher: self.0, action }
    }
}
