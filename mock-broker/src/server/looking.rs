//! Tells when a closure that looks at the cluster calls it: it would wait for its own end, for ever. IO.

use std::cell::Cell;

use super::Shared;

thread_local! {
    /// The cluster that a closure of a test looks at on this thread.
    static LOOKED_AT: Cell<*const Shared> = const { Cell::new(std::ptr::null()) };
}

/// Runs a closure of a test. Looking at one cluster from a look at another is fine.
pub(super) fn while_looking<R>(shared: &Shared, look: impl FnOnce() -> R) -> R {
    struct Restore(*const Shared);
    impl Drop for Restore {
        fn drop(&mut self) {
            LOOKED_AT.set(self.0);
        }
    }
    let _restore = Restore(LOOKED_AT.replace(shared));
    look()
}

/// Whether a closure on this thread looks at this cluster.
pub(super) fn is_looking(shared: &Shared) -> bool {
    std::ptr::eq(LOOKED_AT.get(), shared)
}

/// # Panics
/// If a closure on this thread looks at this cluster.
pub(super) fn refuse_calls(shared: &Shared) {
    assert!(
        !is_looking(shared),
        "a closure that looks at the mock cluster calls it, which would wait for ever: ask the snapshot that it is given"
    );
}
