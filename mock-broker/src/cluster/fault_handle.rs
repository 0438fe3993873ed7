//! A rule at work, as its test sees it. IO.

use std::fmt;
use std::sync::Arc;

use crate::server::{PATIENCE, Shared};

/// A rule at work. Dropping it removes the rule, and **panics if the rule has fired less often than it should**: as often as
/// [`times`](crate::Match::times) says, or once. A test cannot pass because its fault never came. It does not panic while
/// another panic is under way. Dropped by a closure that looks at the cluster, it removes and checks nothing.
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
    /// After 60 seconds (virtual ones on a paused runtime), with a message that names the rule and ends with the last lines of
    /// the journal.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn hit(&self) {
        self.hit_times(1).await;
    }

    /// Waits until the rule has fired at least so often.
    ///
    /// # Panics
    /// As [`hit`](Self::hit) does.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn hit_times(&self, times: u64) {
        if !self.shared.wait_for(|state| state.rules.hits(self.id) >= times).await {
            let (rule, hits) = {
                let state = self.shared.lock();
                (state.rules.describe(self.id), state.rules.hits(self.id))
            };
            let (patience, tail) = (PATIENCE.as_secs(), self.shared.journal.tail());
            panic!("waited {patience} s in vain for a fault to fire ({hits} of {times}): {rule}\n{tail}");
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
        if self.shared.is_looked_at() {
            return;
        }
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
