//! Fetches from one broker: one request at a time, independent of the other brokers. IO.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use milena_protocol::api::Request;
use milena_protocol::frame::{decode_response, encode_request};
use milena_protocol::messages::fetch::{FetchRequest, FetchResponse, PartitionData};
use milena_protocol::primitives::Records;
use tracing::{debug, trace, warn};

use super::assignment::{Asked, Retry, Wants};
use super::fetch_budget::Charge;
use super::fetch_session::{FetchSession, LAST_WITH_NAMES, is_lost_session};
use super::list_offsets::isolation_byte;
use super::shared::Shared;
use crate::clock::Time;
use crate::error::{Error, ErrorKind, Result};
use crate::net::Address;
use crate::net::connection::{Outgoing, RequestSource};
use crate::net::versions::BrokerVersions;
use crate::topic_partition::TopicPartition;

/// How long a fetch waits at least while a partition is left out of it: that one may soon be wanted again.
const SHORT_WAIT: Duration = Duration::from_millis(10);
/// The longest pause that a broker may ask for by throttling.
const MAX_THROTTLE: Duration = Duration::from_secs(30);

pub(crate) struct Fetcher {
    shared: Arc<Shared>,
    broker: i32,
    versions: Option<BrokerVersions>,
    session: FetchSession,
    in_flight: Option<InFlight>,
    /// No request before this.
    not_before: Time,
    failures: u32,
    token: u64,
    /// As of when it was last looked for something to fetch: what is due later was not seen yet.
    looked: Cell<Time>,
}

struct InFlight {
    token: u64,
    version: i16,
    asked: BTreeMap<TopicPartition, Asked>,
    /// Memory for the answer; taken when that came.
    _reserved: Option<Charge>,
}

impl Fetcher {
    pub(crate) fn new(shared: Arc<Shared>, broker: i32) -> Self {
        Self {
            shared,
            broker,
            versions: None,
            session: FetchSession::default(),
            in_flight: None,
            not_before: Time::ZERO,
            failures: 0,
            token: 0,
            looked: Cell::new(Time::ZERO),
        }
    }

    /// Sets memory aside for the answer: how many bytes may come. At least one batch is fetched while the application has nothing
    /// to read, whatever the budget says.
    fn reserve(&self, partitions: usize) -> Option<(i32, Option<Charge>)> {
        let settings = &self.shared.settings;
        let brokers = self.shared.cluster.view().brokers.len().max(1);
        let bytes = |setting: i32| usize::try_from(setting).unwrap_or(0);
        let most = bytes(settings.max_partition_fetch_bytes)
            .saturating_mul(partitions)
            .min(bytes(settings.fetch_max_bytes))
            .min(self.shared.budget.limit() / brokers)
            .max(1);
        match self.shared.budget.reserve(most) {
            Some(charge) => Some((i32::try_from(charge.bytes()).unwrap_or(i32::MAX), Some(charge))),
            None if !self.shared.lock().assignment.has_something_to_read() => Some((1, None)),
            None => None,
        }
    }

    fn max_wait(&self, now: Time, left_out: bool) -> i32 {
        let longest = self.shared.settings.fetch_max_wait;
        let wait = if left_out { self.shared.idle(now).clamp(SHORT_WAIT.min(longest), longest) } else { longest };
        i32::try_from(wait.as_millis()).unwrap_or(i32::MAX)
    }

    fn request(&mut self, now: Time, correlation_id: i32) -> Result<Option<Outgoing>> {
        let Some(versions) = &self.versions else { return Ok(None) };
        let Wants { wanted, asked, left_out } = self.shared.lock().assignment.wants(self.broker, now);
        if wanted.is_empty() {
            return Ok(None);
        }
        let named = wanted.values().any(|wanted| wanted.topic_id.is_zero());
        let version =
            versions.pick::<FetchRequest>(if named { LAST_WITH_NAMES } else { FetchRequest::VERSIONS.max })?;
        let Some((max_bytes, reserved)) = self.reserve(wanted.len()) else { return Ok(None) };
        let mut request = FetchRequest {
            max_wait_ms: self.max_wait(now, left_out),
            min_bytes: self.shared.settings.fetch_min_bytes,
            max_bytes,
            isolation_level: isolation_byte(self.shared.settings.isolation_level),
            ..Default::default()
        };
        self.session.fill(&mut request, wanted, version);
        let net = self.shared.cluster.net();
        let pieces = encode_request(version, correlation_id, &net.limits.client_id, &request).map_err(|error| {
            // The broker never hears of what the session takes it to know.
            self.session.close();
            Error::new(ErrorKind::Protocol, format!("a Fetch cannot be written in version {version}"))
                .with_source(error)
        })?;
        self.token += 1;
        let token = self.token;
        trace!(broker = self.broker, partitions = asked.len(), max_bytes, "fetch");
        self.in_flight = Some(InFlight { token, version, asked, _reserved: reserved });
        Ok(Some(Outgoing { pieces, token, deadline: now.saturating_add(net.limits.request_timeout), answered: true }))
    }

    /// Nothing for a while.
    fn pause(&mut self, now: Time) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = now.saturating_add(self.shared.cluster.retry_delay(self.failures));
    }

    fn on_answer(&mut self, now: Time, in_flight: InFlight, response: FetchResponse) {
        let throttle = Duration::from_millis(u64::try_from(response.throttle_time_ms).unwrap_or(0)).min(MAX_THROTTLE);
        self.not_before = now + throttle;
        let code = response.error_code;
        if !code.is_none() {
            debug!(broker = self.broker, %code, "fetch failed");
            self.session.on_response(&response);
            if !is_lost_session(code) || self.failures > 0 {
                self.pause(now);
            } else {
                // Once at once, with a new session.
                self.failures += 1;
            }
            if code.refreshes_metadata() || is_lost_session(code) {
                self.shared.cluster.request_refresh();
            }
            if !code.is_retriable() {
                self.shared.report(Error::broker("fetching", code, self.broker));
            }
            return;
        }
        self.failures = 0;
        let mut asked = in_flight.asked;
        let (mut refresh, mut read, mut look) = (false, false, false);
        let names: Vec<_> = response.responses.iter().map(|topic| self.session.topic_of(topic)).collect();
        self.session.on_response(&response);
        for (name, topic) in names.into_iter().zip(response.responses) {
            let Some(name) = name else { continue };
            for data in topic.partitions {
                let partition = TopicPartition::new(name.clone(), data.partition_index);
                // What was not asked for, or comes a second time, does not count.
                let Some(asked) = asked.remove(&partition) else { continue };
                if data.error_code.is_none() {
                    read |= self.on_data(now, &partition, asked, data);
                } else {
                    debug!(broker = self.broker, %partition, code = %data.error_code, "fetch failed");
                    refresh |= self.on_error(now, &partition, asked, &data);
                    (read, look) = (true, true);
                }
            }
        }
        if refresh {
            self.shared.cluster.request_refresh();
        }
        if read {
            self.shared.wake_reader();
        }
        if look {
            self.shared.driver.notify_one();
        }
    }

    /// Whether there is something to read.
    fn on_data(&self, now: Time, partition: &TopicPartition, asked: Asked, data: PartitionData) -> bool {
        let records = data.records.map(Records::into_bytes).unwrap_or_default();
        let bytes = records.len();
        let aborted = data.aborted_transactions.unwrap_or_default();
        let intake = self.shared.reading.sort_out(partition, asked.position, records, aborted);
        if intake.entries.is_empty() && bytes > 0 {
            warn!(broker = self.broker, %partition, offset = asked.position.offset, "only batches from before the position came");
            let pause = |failures| self.shared.cluster.retry_delay(failures);
            self.shared.lock().assignment.on_nothing_new(partition, asked, now, pause);
            return false;
        }
        let read = !intake.entries.is_empty();
        let mut state = self.shared.lock();
        state.tally.on_fetched(bytes);
        state.assignment.on_fetched(partition, asked, data.high_watermark, intake);
        read
    }

    /// Whether the metadata is in doubt.
    fn on_error(&self, now: Time, partition: &TopicPartition, asked: Asked, data: &PartitionData) -> bool {
        let mut pause = |failures| self.shared.cluster.retry_delay(failures);
        let retry = Retry { policy: self.shared.reset_policy(), now, pause: &mut pause };
        let code = data.error_code;
        let doubtful = self.shared.lock().assignment.on_fetch_failed(partition, asked, code, self.broker, retry);
        let leader = &data.current_leader;
        let known = leader.leader_id >= 0
            && self.shared.cluster.on_leader_hint(partition, asked.topic_id, leader.leader_id, leader.leader_epoch);
        doubtful && !known
    }
}

/// A broker that is silent for longer than a long poll of this length may be frozen.
const SUSPICIOUS: Duration = Duration::from_secs(2);

impl RequestSource for Fetcher {
    fn address(&self) -> Option<Address> {
        self.shared.cluster.address(self.broker)
    }

    fn wants_connection(&self, now: Time) -> bool {
        self.looked.set(now);
        now >= self.not_before && !self.shared.lock().assignment.wants(self.broker, now).wanted.is_empty()
    }

    fn is_closed(&self) -> bool {
        self.shared.is_ended()
    }

    fn on_connected(&mut self, _now: Time, versions: &BrokerVersions) {
        self.versions = Some(versions.clone());
        self.session.close();
    }

    fn on_disconnected(&mut self, _now: Time, cause: &Error) {
        debug!(broker = self.broker, error = %cause, "fetching interrupted");
        self.versions = None;
        self.in_flight = None;
        self.session.close();
        if cause.kind() == ErrorKind::Protocol {
            self.shared.report(cause.clone());
        }
        // Perhaps others lead its partitions by now.
        self.shared.cluster.request_refresh();
    }

    fn next_request(&mut self, now: Time, correlation_id: i32) -> Option<Outgoing> {
        self.looked.set(now);
        if now < self.not_before || self.in_flight.is_some() {
            return None;
        }
        match self.request(now, correlation_id) {
            Ok(request) => request,
            Err(error) => {
                self.pause(now);
                self.shared.report(error);
                None
            }
        }
    }

    fn on_response(&mut self, now: Time, token: u64, frame: Bytes) -> Result<()> {
        let Some(in_flight) = self.in_flight.take().filter(|in_flight| in_flight.token == token) else { return Ok(()) };
        // Counts as long as the application holds anything of it.
        let frame = self.shared.budget.charge(frame.len()).attach(frame);
        let response = decode_response::<FetchRequest>(in_flight.version, frame).map_err(|error| {
            let text = format!("broker {} sent a malformed answer to Fetch version {}", self.broker, in_flight.version);
            Error::new(ErrorKind::Protocol, text).with_source(error)
        })?;
        self.on_answer(now, in_flight, response);
        Ok(())
    }

    fn next_deadline(&self) -> Option<Time> {
        let looked = self.looked.get();
        let deadline = self.shared.lock().assignment.next_deadline(looked);
        [Some(self.not_before).filter(|not_before| *not_before > looked), deadline].into_iter().flatten().min()
    }

    fn on_silence(&mut self) {
        // A long poll is silent by itself.
        if self.shared.settings.fetch_max_wait < SUSPICIOUS {
            self.shared.cluster.request_refresh();
        }
    }

    fn max_in_flight(&self) -> usize {
        1
    }
}
