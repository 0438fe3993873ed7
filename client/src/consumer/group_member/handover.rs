//! Partitions on their way out: until the application has finished with them, and the last commit is answered. IO.

use std::time::Duration;

use tracing::warn;

use super::listening::Told;
use super::{Event, GroupMember};
use crate::clock::Time;
use crate::error::{ErrorKind, Result};
use crate::topic_partition::TopicPartition;

/// At most, for the last commit before partitions are given up.
const LAST_COMMIT: Duration = Duration::from_secs(5);

/// Partitions on their way out.
pub(super) struct Handover {
    pub(super) number: u64,
    pub(super) partitions: Vec<TopicPartition>,
    /// Then it goes on, whatever the application still holds.
    pub(super) deadline: Time,
    pub(super) committing: bool,
}

impl GroupMember {
    /// Commits for the last time when the application has finished, or its time is over.
    pub(super) fn go_on_with_handover(&mut self, now: Time) {
        let listening = self.listening.expects(Told::Revoked);
        let Some(handover) = self.handover.as_mut().filter(|handover| !handover.committing) else { return };
        if handover.deadline > now {
            // A consumer that is being closed has said that it is done with what it has.
            self.shared.releases.watch();
            if listening || self.closing.is_none() && self.shared.lock().assignment.is_held_while_ending() {
                return;
            }
        }
        handover.committing = true;
        let (shared, number) = (self.shared.clone(), handover.number);
        let deadline = match self.closing {
            Some(closing) => closing.deadline,
            None => (now + LAST_COMMIT).min(handover.deadline + self.membership.last_commit()),
        };
        self.committing += 1;
        self.reply(async move { Event::Committed(number, shared.commit_done(deadline).await) });
    }

    pub(super) fn on_last_commit(&mut self, number: u64, outcome: Result<()>, now: Time) {
        self.committing -= 1;
        if let Err(error) = &outcome {
            warn!(group = %self.group, %error, "offsets were not committed before partitions were given up");
        }
        let current = self.handover.take_if(|handover| handover.number == number);
        if self.closing.is_some() {
            let mut state = self.shared.lock();
            if !matches!(state.member.closed, Some(Err(_))) {
                state.member.closed = Some(outcome);
            }
        } else if let Err(error) = outcome
            && !error.is_retriable()
            && !matches!(error.kind(), ErrorKind::PartitionLost | ErrorKind::Closed)
        {
            self.shared.report(error);
        }
        if let Some(handover) = current {
            self.shared.lock().assignment.end(&handover.partitions);
            self.membership.on_revoked(now);
        }
    }
}
