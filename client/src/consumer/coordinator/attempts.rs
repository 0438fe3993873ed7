//! Asking the coordinator of a group, again and again while that may help. IO.

use std::time::Duration;

use milena_protocol::ErrorCode;
use tracing::debug;

use crate::clock::Time;
use crate::cluster::Cluster;
use crate::error::{Error, ErrorKind, Result};

/// Tries at the coordinator of a group, until a deadline.
pub(super) struct Attempts<'a> {
    cluster: &'a Cluster,
    group: &'a str,
    doing: &'a str,
    deadline: Time,
    failures: u32,
    last: Option<Error>,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(cluster: &'a Cluster, group: &'a str, doing: &'a str, deadline: Time) -> Self {
        Self { cluster, group, doing, deadline, failures: 0, last: None }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_sub(self.cluster.net().now())
    }

    pub(super) fn timeout(&self) -> Duration {
        self.left().min(self.cluster.net().limits.request_timeout)
    }

    /// The broker to try next, after a pause if the last try failed.
    pub(super) async fn coordinator(&mut self) -> Result<i32> {
        loop {
            if self.failures > 0 {
                let pause = self.cluster.retry_delay(self.failures).min(self.left());
                tokio::time::sleep(pause).await;
            }
            if self.cluster.is_closed() {
                return Err(Error::closed("client"));
            }
            if self.left().is_zero() {
                let error = Error::new(ErrorKind::TimedOut, format!("{} was not done in time", self.doing));
                return Err(match self.last.take() {
                    Some(cause) => error.with_source(cause),
                    None => error,
                });
            }
            // Asking has no timeout of its own.
            let asked = tokio::time::timeout(self.left(), self.cluster.coordinator(self.group)).await;
            match asked {
                Ok(Ok(broker)) => return Ok(broker),
                Ok(Err(error)) => self.on_error(error)?,
                Err(_) => self.failures += 1,
            }
        }
    }

    pub(super) fn on_failed(&mut self, broker: i32, error: Error) -> Result<()> {
        let moved = match error.code() {
            Some(code) => matches!(
                code,
                ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE | ErrorCode::REQUEST_TIMED_OUT
            ),
            // No answer: the connection is gone, or the broker is.
            None => true,
        };
        if moved {
            self.cluster.on_wrong_coordinator(self.group, broker);
        }
        if error.code().is_some_and(ErrorCode::refreshes_metadata) {
            self.cluster.request_refresh();
        }
        self.on_error(error)
    }

    fn on_error(&mut self, error: Error) -> Result<()> {
        if !error.is_retriable() {
            return Err(error);
        }
        debug!(group = self.group, %error, "{}: trying again", self.doing);
        self.failures += 1;
        self.last = Some(error);
        Ok(())
    }
}
