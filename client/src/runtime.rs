//! The runtime seam: where tasks and heavy work run. IO.

use std::future::Future;
use std::pin::Pin;

use crate::error::{Error, ErrorKind, Result};

/// A task to be spawned.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where the client's tasks and its heavy work (large compressions) run.
pub trait Runtime: Send + Sync + 'static {
    /// Runs a task beside the caller until it ends.
    fn spawn(&self, task: Task);

    /// Runs work that takes long without a pause, away from the tasks. A simulation runs it inline.
    fn offload(&self, work: Box<dyn FnOnce() + Send>);
}

/// The tokio runtime that the client was built in.
pub(crate) struct TokioRuntime {
    handle: tokio::runtime::Handle,
}

impl TokioRuntime {
    pub(crate) fn current() -> Result<Self> {
        let handle = tokio::runtime::Handle::try_current().map_err(|error| {
            let text = "connecting needs a tokio runtime: call it inside one, or give the builder a Runtime";
            Error::new(ErrorKind::Usage, text).with_source(error)
        })?;
        Ok(Self { handle })
    }
}

impl Runtime for TokioRuntime {
    fn spawn(&self, task: Task) {
        self.handle.spawn(task);
    }

    fn offload(&self, work: Box<dyn FnOnce() + Send>) {
        self.handle.spawn_blocking(work);
    }
}
