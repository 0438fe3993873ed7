//! A connection for single requests, shared by everybody who has one: metadata, offsets, topics, coordinators. IO.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use milena_protocol::api::Request;
use milena_protocol::frame::{decode_response, encode_request};
use tokio::sync::{Notify, Semaphore, oneshot};

use super::connection::{self, Outgoing, RequestSource};
use super::versions::BrokerVersions;
use super::{Address, Net};
use crate::clock::Time;
use crate::error::{Error, ErrorKind, Result};

/// How many requests may queue up; the others wait for their turn.
const CAPACITY: usize = 256;
/// How many may be on their way to the broker, which answers one after the other anyway.
const IN_FLIGHT: usize = 8;

/// The handle: cheap to clone, and the connection ends with [`RequestQueue::close`].
#[derive(Clone)]
pub(crate) struct RequestQueue {
    shared: Arc<Shared>,
    net: Arc<Net>,
}

struct Shared {
    queue: Mutex<VecDeque<Queued>>,
    room: Semaphore,
    wake: Arc<Notify>,
    closed: AtomicBool,
}

type Encode = Box<dyn FnOnce(&BrokerVersions, i32) -> Result<(i16, Vec<Bytes>)> + Send>;
type Answer = Result<(i16, Bytes)>;

struct Queued {
    encode: Encode,
    answer: oneshot::Sender<Answer>,
    deadline: Time,
}

/// A response, and the version that it was asked in.
#[derive(Debug)]
pub(crate) struct Response<T> {
    pub(crate) version: i16,
    pub(crate) body: T,
}

impl RequestQueue {
    /// Starts a connection task to wherever `address` says at the moment of connecting. `on_silence` hears of a broker that does not
    /// answer for some seconds.
    pub(crate) fn spawn(
        net: Arc<Net>,
        address: impl Fn() -> Option<Address> + Send + 'static,
        on_silence: impl Fn() + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            room: Semaphore::new(CAPACITY),
            wake: Arc::new(Notify::new()),
            closed: AtomicBool::new(false),
        });
        let source = Source {
            shared: shared.clone(),
            address: Box::new(address),
            on_silence: Box::new(on_silence),
            patience: net.limits.request_timeout,
            versions: None,
            in_flight: BTreeMap::new(),
            next_token: 0,
        };
        net.runtime.spawn(Box::pin(connection::run(net.clone(), shared.wake.clone(), source)));
        Self { shared, net }
    }

    /// Sends one request, built for the version that both sides speak (at most `at_most`), and waits for its answer.
    ///
    /// # Errors
    /// If there is no connection, it breaks, or no answer comes within `timeout`. One attempt: retrying is the caller's.
    ///
    /// # Cancel safety
    /// A request that was queued may still be sent after the future was dropped.
    pub(crate) async fn call<R: Request + Send + 'static>(
        &self,
        timeout: Duration,
        at_most: i16,
        build: impl FnOnce(i16) -> R + Send + 'static,
    ) -> Result<Response<R::Response>> {
        let deadline = self.net.now().saturating_add(timeout);
        let answer = self.enqueue::<R>(deadline, at_most, build);
        tokio::select! {
            biased;
            answer = answer => {
                let (version, frame) = answer?;
                let body = decode_response::<R>(version, frame).map_err(|error| {
                    Error::new(ErrorKind::Protocol, format!("malformed answer to {} version {version}", R::KEY)).with_source(error)
                })?;
                Ok(Response { version, body })
            }
            () = tokio::time::sleep(timeout) => {
                Err(Error::new(ErrorKind::TimedOut, format!("no answer to {} within {timeout:?}", R::KEY)))
            }
        }
    }

    async fn enqueue<R: Request + Send + 'static>(
        &self,
        deadline: Time,
        at_most: i16,
        build: impl FnOnce(i16) -> R + Send + 'static,
    ) -> Answer {
        let closed = || {
            Error::new(
                ErrorKind::Transport,
                "the connection was given up: its broker left the cluster, or the client closes",
            )
        };
        let permit = self.shared.room.acquire().await.map_err(|_| closed())?;
        let client_id = self.net.limits.client_id.clone();
        let encode: Encode = Box::new(move |versions, correlation_id| {
            let version = versions.pick::<R>(at_most)?;
            let pieces = encode_request(version, correlation_id, &client_id, &build(version)).map_err(|error| {
                Error::new(ErrorKind::Usage, format!("{} cannot be sent in version {version}", R::KEY))
                    .with_source(error)
            })?;
            Ok((version, pieces))
        });
        let (answer, answered) = oneshot::channel();
        {
            let mut queue = self.shared.lock();
            if queue.len() >= CAPACITY {
                // Callers that went away gave their place back, so what they left must go too.
                queue.retain(|queued| !queued.answer.is_closed());
            }
            queue.push_back(Queued { encode, answer, deadline });
        }
        self.shared.wake.notify_one();
        let result = answered.await.unwrap_or_else(|_| Err(closed()));
        drop(permit);
        result
    }

    /// Ends the connection. Requests without an answer fail.
    pub(crate) fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.room.close();
        self.shared.lock().clear();
        self.shared.wake.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Queued>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Source {
    shared: Arc<Shared>,
    address: Box<dyn Fn() -> Option<Address> + Send>,
    /// `request.timeout.ms`.
    patience: Duration,
    on_silence: Box<dyn Fn() + Send>,
    versions: Option<BrokerVersions>,
    in_flight: BTreeMap<u64, (i16, oneshot::Sender<Answer>)>,
    next_token: u64,
}

impl RequestSource for Source {
    fn address(&self) -> Option<Address> {
        let address = (self.address)();
        if address.is_none() {
            for queued in self.shared.lock().drain(..) {
                let unknown = Error::new(ErrorKind::Transport, "the broker is not in the metadata");
                drop(queued.answer.send(Err(unknown)));
            }
        }
        address
    }

    fn wants_connection(&self, _now: Time) -> bool {
        !self.shared.lock().is_empty()
    }

    fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }

    fn on_connected(&mut self, _now: Time, versions: &BrokerVersions) {
        self.versions = Some(versions.clone());
    }

    fn on_disconnected(&mut self, _now: Time, cause: &Error) {
        self.versions = None;
        let waiting = std::mem::take(&mut self.in_flight);
        for (_, (_, answer)) in waiting {
            drop(answer.send(Err(cause.clone())));
        }
        for queued in self.shared.lock().drain(..) {
            drop(queued.answer.send(Err(cause.clone())));
        }
    }

    fn next_request(&mut self, now: Time, correlation_id: i32) -> Option<Outgoing> {
        loop {
            let Queued { encode, answer, deadline } = self.shared.lock().pop_front()?;
            if answer.is_closed() || deadline <= now {
                continue;
            }
            let versions = self.versions.as_ref()?;
            match encode(versions, correlation_id) {
                Ok((version, pieces)) => {
                    let token = self.next_token;
                    self.next_token += 1;
                    self.in_flight.insert(token, (version, answer));
                    // A caller in a hurry gives up by itself, and must not break the connection under the others.
                    let deadline = deadline.max(now.saturating_add(self.patience));
                    return Some(Outgoing { pieces, token, deadline, answered: true });
                }
                Err(error) => drop(answer.send(Err(error))),
            }
        }
    }

    fn on_silence(&mut self) {
        (self.on_silence)();
    }

    fn on_response(&mut self, _now: Time, token: u64, frame: Bytes) -> Result<()> {
        if let Some((version, answer)) = self.in_flight.remove(&token) {
            // Whoever asked may have gone.
            drop(answer.send(Ok((version, frame))));
        }
        Ok(())
    }

    fn next_deadline(&self) -> Option<Time> {
        None
    }

    fn max_in_flight(&self) -> usize {
        IN_FLIGHT
    }
}
