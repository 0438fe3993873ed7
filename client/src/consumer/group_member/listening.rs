//! The rebalance listener: one call after the other, each with a deadline, none awaited inline. IO.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt;

use crate::clock::Time;
use crate::consumer::control::ConsumerControl;
use crate::consumer::listener::{Rebalance, RebalanceListener};
use crate::consumer::rebalance::RebalanceReason;
use crate::consumer::shared::Shared;
use crate::error::{Error, ErrorKind};
use crate::topic_partition::TopicPartition;

/// Which method of the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Assigned,
    Revoked,
    Lost,
}

impl Told {
    fn name(self) -> &'static str {
        match self {
            Self::Assigned => "assigned",
            Self::Revoked => "revoked",
            Self::Lost => "lost",
        }
    }
}

/// One call of the listener.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) told: Told,
    pub(super) partitions: Vec<TopicPartition>,
    pub(super) reason: RebalanceReason,
    /// Then it has taken too long.
    pub(super) deadline: Time,
}

struct Running {
    told: Told,
    deadline: Time,
    /// Whether it returned, rather than panicked.
    future: Pin<Box<dyn Future<Output = bool> + Send>>,
}

/// The calls that are to come, and the one that is under way.
pub(super) struct Listening {
    listener: Option<Arc<dyn RebalanceListener>>,
    calls: VecDeque<Call>,
    running: Option<Running>,
}

impl Listening {
    pub(super) fn new(listener: Option<Arc<dyn RebalanceListener>>) -> Self {
        Self { listener, calls: VecDeque::new(), running: None }
    }

    pub(super) fn is_there(&self) -> bool {
        self.listener.is_some()
    }

    pub(super) fn call(&mut self, call: Call) {
        if self.listener.is_some() {
            self.calls.push_back(call);
        }
    }

    /// Whether such a call is to come or under way.
    pub(super) fn expects(&self, told: Told) -> bool {
        let running = self.running.as_ref().map(|running| running.told);
        self.calls.iter().map(|call| call.told).chain(running).any(|expected| expected == told)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.calls.is_empty() && self.running.is_none()
    }

    /// No call may take longer than this.
    pub(super) fn hurry(&mut self, deadline: Time) {
        for call in &mut self.calls {
            call.deadline = call.deadline.min(deadline);
        }
        if let Some(running) = &mut self.running {
            running.deadline = running.deadline.min(deadline);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.running.as_ref().map(|running| running.deadline)
    }

    /// Begins the next call, if none is under way.
    pub(super) fn begin(&mut self, shared: &Arc<Shared>, now: Time) {
        let Some(listener) = self.listener.clone().filter(|_| self.running.is_none()) else { return };
        let Some(Call { told, partitions, reason, deadline }) = self.calls.pop_front() else { return };
        let control = ConsumerControl::new(shared.clone());
        let time_left = deadline.saturating_sub(now);
        let call = async move {
            let rebalance = Rebalance { consumer: &control, partitions: &partitions, reason, time_left };
            match told {
                Told::Assigned => listener.assigned(&rebalance).await,
                Told::Revoked => listener.revoked(&rebalance).await,
                Told::Lost => listener.lost(&rebalance).await,
            }
        };
        let future = Box::pin(AssertUnwindSafe(call).catch_unwind().map(|outcome| outcome.is_ok()));
        self.running = Some(Running { told, deadline, future });
    }

    /// Gives up the call that is under way if it has taken too long; what is wrong with it then.
    pub(super) fn expire(&mut self, now: Time) -> Option<Error> {
        let running = self.running.take_if(|running| running.deadline <= now)?;
        let text = format!("the rebalance listener did not return from `{}` in time", running.told.name());
        Some(Error::new(ErrorKind::UserCode, text))
    }

    /// Waits until the call that is under way returns; what is wrong with it, if anything. For ever, if there is none.
    ///
    /// # Cancel safety
    /// The call goes on at the next wait.
    pub(super) async fn returned(&mut self) -> Option<Error> {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let returned = running.future.as_mut().await;
        let told = running.told;
        self.running = None;
        (!returned).then(|| {
            let text = format!("the rebalance listener panicked in `{}`", told.name());
            Error::new(ErrorKind::UserCode, text)
        })
    }
}
