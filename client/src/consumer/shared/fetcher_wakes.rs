//! What wakes the connections that fetch. IO.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What wakes the connections, by broker.
#[derive(Default)]
pub(crate) struct FetcherWakes(Mutex<BTreeMap<i32, Arc<Notify>>>);

impl FetcherWakes {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<i32, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The wake of a broker that has no connection yet; `None` if it has.
    pub(crate) fn add(&self, broker: i32) -> Option<Arc<Notify>> {
        let mut wakes = self.lock();
        if wakes.contains_key(&broker) {
            return None;
        }
        let wake = Arc::new(Notify::new());
        wakes.insert(broker, wake.clone());
        Some(wake)
    }

    pub(crate) fn wake_all(&self) {
        for wake in self.lock().values() {
            wake.notify_one();
        }
    }
}
