//! The clock that is used unless another one is given. IO.

use std::time::SystemTime;

use super::{Clock, Time};

/// tokio's monotonic clock and the system's wall clock.
pub(crate) struct SystemClock {
    start: tokio::time::Instant,
}

impl SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the adapter")]
    pub(crate) fn start() -> Self {
        Self { start: tokio::time::Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Time {
        self.start.elapsed()
    }

    #[allow(clippy::disallowed_methods, reason = "this is the adapter")]
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}
