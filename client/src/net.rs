//! Connections to brokers: what they share, and who they talk to. IO.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::backoff::Backoff;
use crate::clock::{Clock, Time};
use crate::entropy::Entropy;
use crate::runtime::Runtime;

pub(crate) mod connection;
pub(crate) mod frame_reader;
pub(crate) mod handshake;
pub(crate) mod request_queue;
pub(crate) mod transport;
pub(crate) mod versions;
pub(crate) mod window;

use transport::Connector;

/// The seams and limits that all connections of a client share.
pub(crate) struct Net {
    pub(crate) connector: Box<dyn Connector>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) limits: Limits,
    entropy: Mutex<Entropy>,
}

/// The settings of all connections.
pub(crate) struct Limits {
    pub(crate) client_id: String,
    pub(crate) request_timeout: Duration,
    pub(crate) reconnect: Backoff,
    /// Doubles with each failure, up to the maximum (KIP-601).
    pub(crate) setup_timeout: Duration,
    pub(crate) setup_timeout_max: Duration,
    pub(crate) max_response_bytes: usize,
    pub(crate) max_idle: Duration,
}

impl Net {
    pub(crate) fn new(
        connector: Box<dyn Connector>,
        clock: Arc<dyn Clock>,
        runtime: Arc<dyn Runtime>,
        entropy: Entropy,
        limits: Limits,
    ) -> Self {
        Self { connector, clock, runtime, limits, entropy: Mutex::new(entropy) }
    }

    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    /// A random number generator for one component.
    pub(crate) fn fork_entropy(&self) -> Entropy {
        self.entropy.lock().unwrap_or_else(PoisonError::into_inner).fork()
    }

    /// Sleeps until `deadline`; without one, for ever.
    pub(crate) async fn sleep_until(&self, deadline: Option<Time>) {
        match deadline {
            Some(deadline) => tokio::time::sleep(deadline.saturating_sub(self.now())).await,
            None => std::future::pending().await,
        }
    }
}

/// Who a connection talks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// The id from the metadata; `None` for an address of the bootstrap list.
    pub(crate) broker: Option<i32>,
    pub(crate) host: Arc<str>,
    pub(crate) port: u16,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host: &str = &self.host;
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        match self.broker {
            Some(id) => write!(f, "broker {id} ({open}{host}{close}:{})", self.port),
            None => write!(f, "{open}{host}{close}:{}", self.port),
        }
    }
}
