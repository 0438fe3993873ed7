//! The clock seam: monotonic time for every timer, wall time for record timestamps only. Pure.

use std::time::{Duration, SystemTime};

pub(crate) mod system;

/// Monotonic time, as a duration since the clock started.
pub type Time = Duration;

/// Where the client takes time from.
///
/// Timers sleep on tokio's clock, so an implementation must run at its speed. The one that is used by default follows a
/// paused tokio runtime; what a simulation replaces is the wall clock.
pub trait Clock: Send + Sync + 'static {
    /// Monotonic time since the clock started. Every deadline is measured with it.
    fn now(&self) -> Time;

    /// Wall time, for record timestamps. It may jump.
    fn wall(&self) -> SystemTime;
}

/// Milliseconds since the Unix epoch, as records carry them.
pub(crate) fn to_millis(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis),
    }
}

/// The time that a record's timestamp stands for. Timestamps before 1970 or beyond what the platform can hold become 1970.
pub(crate) fn from_millis(millis: i64) -> SystemTime {
    let since = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}
