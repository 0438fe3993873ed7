//! The commits of one consumer, one after the other: a retry of an old one must not overtake a new one. IO.
//!
//! A task of their own sees to them. The futures of the application only wait for the outcome, so that one that is not polled
//! holds up nobody.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::commits::ToCommit;
use super::coordinator;
use super::shared::Shared;
use crate::clock::Time;
use crate::error::{Error, ErrorKind, Result};

/// So many commits that the application asked for wait for their turn at most. Of the consumer's own there are few.
const MOST_WAITING: usize = 1000;

/// What to commit.
#[derive(Debug)]
pub(crate) enum Commit {
    These(Vec<ToCommit>),
    /// What is done and not stored yet when it is this commit's turn: it must not undo what was said meanwhile.
    Done,
}

struct Job {
    number: u64,
    commit: Commit,
    /// The application asked for it, and hears of every partition that is refused.
    asked_for: bool,
    asked: Time,
    deadline: Time,
    outcome: oneshot::Sender<Result<()>>,
}

/// Commits that have not begun.
#[derive(Default)]
pub(crate) struct CommitQueue(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    next_number: u64,
    /// There is a task that sees to them.
    is_served: bool,
}

impl CommitQueue {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Stores offsets, in the order in which the futures are first polled.
    ///
    /// # Errors
    /// `Usage` without a group or if too many commits wait already; `TimedOut` at the deadline; else as [`coordinator::commit`].
    ///
    /// # Cancel safety
    /// The offsets may be stored all the same, in their turn.
    pub(super) async fn store(self: &Arc<Self>, commit: Commit, asked_for: bool, deadline: Time) -> Result<()> {
        let group = self.group("committing offsets")?;
        let (sender, mut outcome) = oneshot::channel();
        let asked = self.now();
        let (number, begin) = {
            let mut queue = self.commits.lock();
            if asked_for && queue.jobs.len() >= MOST_WAITING {
                let text =
                    format!("{MOST_WAITING} commits of group \"{group}\" wait already: wait until some are done");
                return Err(Error::new(ErrorKind::Usage, text).with_retriable(true));
            }
            let number = queue.next_number;
            queue.next_number += 1;
            queue.jobs.push_back(Job { number, commit, asked_for, asked, deadline, outcome: sender });
            (number, !std::mem::replace(&mut queue.is_served, true))
        };
        if begin {
            let server = Server { shared: self.clone(), is_done: false };
            self.cluster.net().runtime.spawn(Box::pin(server.run()));
        }
        tokio::select! {
            biased;
            outcome = &mut outcome => return outcome.unwrap_or_else(|_| Err(Error::closed("client"))),
            () = self.cluster.net().sleep_until(Some(deadline)) => {}
        }
        let has_not_begun = {
            let mut queue = self.commits.lock();
            let waiting = queue.jobs.len();
            queue.jobs.retain(|job| job.number != number);
            queue.jobs.len() < waiting
        };
        if has_not_begun {
            self.count_commit(asked, false);
            let text =
                format!("committing offsets of group \"{group}\" was not done in time: earlier commits still wait");
            return Err(Error::new(ErrorKind::TimedOut, text));
        }
        // It has begun, and knows best why it is not done.
        outcome.await.unwrap_or_else(|_| Err(Error::closed("client")))
    }
}

/// The task that sees to the commits, as long as there are any.
struct Server {
    shared: Arc<Shared>,
    is_done: bool,
}

impl Server {
    async fn run(mut self) {
        while let Some(Job { commit, asked_for, asked, deadline, outcome, .. }) = self.next() {
            let shared = &self.shared;
            let offsets = match commit {
                Commit::These(offsets) => offsets,
                Commit::Done => shared.lock().assignment.done(),
            };
            let stored = match offsets.is_empty() {
                true => Ok(()),
                false => {
                    let stored = coordinator::commit(shared, offsets, asked_for, deadline).await;
                    shared.count_commit(asked, stored.is_ok());
                    stored
                }
            };
            // Nobody may be waiting for it any more.
            let _ = outcome.send(stored);
        }
    }

    fn next(&mut self) -> Option<Job> {
        let mut queue = self.shared.commits.lock();
        let job = queue.jobs.pop_front();
        if job.is_none() {
            queue.is_served = false;
            self.is_done = true;
        }
        job
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The runtime is gone: so are those who wait.
        if !self.is_done {
            let mut queue = self.shared.commits.lock();
            queue.is_served = false;
            queue.jobs.clear();
        }
    }
}
