//! A process of its own: it can be stopped and go on (SIGSTOP, SIGCONT), and killed (SIGKILL).

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use milena::{Runtime, Task};
use tokio::task::{AbortHandle, JoinHandle};

/// Runs the tasks of one client and its application.
#[derive(Clone, Default)]
pub(crate) struct Process(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    tasks: Vec<AbortHandle>,
    is_stopped: bool,
    waiting: Vec<Waker>,
}

impl Process {
    pub(crate) fn run<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        let task = tokio::spawn(Stoppable { process: self.clone(), task: Box::pin(task) });
        self.0.lock().unwrap().tasks.push(task.abort_handle());
        task
    }

    /// Nothing of it runs until it goes on. Time passes, and what is sent to it waits.
    pub(crate) fn stop(&self) {
        self.0.lock().unwrap().is_stopped = true;
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.0.lock().unwrap().is_stopped
    }

    pub(crate) fn go_on(&self) {
        let mut state = self.0.lock().unwrap();
        state.is_stopped = false;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// All of it is gone at once: no LeaveGroup, no commit.
    pub(crate) fn kill(&self) {
        self.0.lock().unwrap().tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Runtime for Process {
    fn spawn(&self, task: Task) {
        self.run(task);
    }

    fn offload(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}

struct Stoppable<T> {
    process: Process,
    task: Pin<Box<dyn Future<Output = T> + Send>>,
}

impl<T> Future for Stoppable<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        {
            let mut state = self.process.0.lock().unwrap();
            if state.is_stopped {
                state.waiting.push(context.waker().clone());
                return Poll::Pending;
            }
        }
        self.task.as_mut().poll(context)
    }
}
