//! What becomes of a member whose application makes no progress, or has an error to hear of first. Pure.

use std::time::Duration;

use super::{Action, Departs, Membership, State, Then};
use crate::clock::Time;
use crate::consumer::rebalance::RebalanceReason;
use crate::error::Error;

/// How the application is doing. The driver looks before it asks for actions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Application {
    /// How many reads have begun.
    pub(crate) reads: u64,
    /// The last of them is not over.
    pub(crate) reading: bool,
    /// It holds a record.
    pub(crate) holding: bool,
    /// When it last began a read or got what it had waited for, released a record or acked one.
    pub(crate) progress: Time,
}

impl Membership {
    /// How the application is doing.
    pub(crate) fn on_application(&mut self, application: Application, now: Time) {
        self.application = application;
        if let State::Resting { until } = self.state
            && application.reads >= until
        {
            let pause = match self.failures {
                0 => Duration::ZERO,
                failures => self.delay(failures),
            };
            self.state = State::Outside { due: now.saturating_add(pause) };
        }
    }

    /// The application makes no progress: others shall read.
    pub(super) fn stall(&mut self, now: Time) {
        self.ready.push_back(Action::Stalled { since: self.application.progress });
        self.leave(RebalanceReason::Stalled);
        self.lose(RebalanceReason::Stalled, now);
        self.reason = RebalanceReason::Joined;
        self.since = None;
        self.state = State::Resting { until: self.application.reads + 1 };
    }

    /// An application that holds a record and does not read must go on until then.
    pub(super) fn stall_deadline(&self) -> Option<Time> {
        let counts = match self.state {
            State::Outside { .. } | State::Stable { .. } | State::Revoking { then: Then::Rejoin, .. } => true,
            State::Joining | State::Dividing { .. } | State::Joined { .. } | State::Syncing { .. } => {
                !self.owned.is_empty() && !matches!(self.departs, Some(Departs::GivingUp { .. }))
            }
            State::Revoking { then: Then::Leave { .. }, .. } | State::Resting { .. } | State::Left | State::Failed => {
                false
            }
        };
        let Application { reading, holding, progress, .. } = self.application;
        (counts && holding && !reading).then(|| progress + self.settings.rebalance_timeout)
    }

    /// The next read fails with `error`, and the one after joins again. Nothing can be kept meanwhile.
    pub(super) fn rest(&mut self, error: Error, now: Time) {
        self.failures = self.failures.saturating_add(1);
        self.lose(RebalanceReason::Refused, now);
        self.since = None;
        self.ready.push_back(Action::Report(error));
        let Application { reads, reading, .. } = self.application;
        self.state = State::Resting { until: reads + if reading { 1 } else { 2 } };
    }
}
