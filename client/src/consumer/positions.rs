//! Where one partition is fetched from, and how that is found out. Pure.

use std::time::{Duration, SystemTime};

use milena_protocol::ErrorCode;

use super::lease::{FetchPosition, LeaseId};
use crate::clock::{Time, to_millis};
use crate::config::AutoOffsetReset;
use crate::error::{Error, ErrorKind};
use crate::topic_partition::TopicPartition;

/// Where to read a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Position {
    /// At this offset. If it is not in the log, `auto.offset.reset` decides.
    Offset(i64),
    /// At the oldest record that is still there.
    Beginning,
    /// At the end: only what is written from now on.
    End,
    /// Where the group has committed; without a committed offset, `auto.offset.reset` decides.
    Committed,
    /// At the first record with this timestamp or a later one, in milliseconds; at the end if there is none.
    Timestamp(SystemTime),
}

/// A position that a broker must be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Beginning,
    End,
    /// Milliseconds since the Unix epoch.
    Timestamp(i64),
    Committed,
}

/// Where `auto.offset.reset` says to go on, if it does.
pub(crate) fn reset_target(policy: AutoOffsetReset, wall: SystemTime) -> Option<Target> {
    match policy {
        AutoOffsetReset::Earliest => Some(Target::Beginning),
        AutoOffsetReset::Latest => Some(Target::End),
        AutoOffsetReset::ByDuration(age) => {
            Some(Target::Timestamp(to_millis(wall.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH))))
        }
        AutoOffsetReset::None => None,
    }
}

/// What to ask, for the partition as it is in `generation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) generation: u64,
    pub(crate) ask: Ask,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// OffsetFetch.
    Committed,
    /// ListOffsets with this timestamp, or one of its special values.
    Offset(i64),
    /// OffsetForLeaderEpoch: where does the log of this epoch end?
    EpochEnd(i32),
}

/// The special timestamps of ListOffsets.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// ```text
///    seek, start         ask                    answer
///  ────────────► Unresolved ────► Resolving ──────────────► Fetching ◄───────┐
///                 ▲   ▲              │                      │  │  ▲           │ the logs agree
///                 │   └── no answer ─┘        out of range  │  │  │           │
///                 └──── a policy says where ────────────────┘  │  │       Validating
///                                                              │  │        ▲   │
///                                a new leader epoch            ▼  │    ask │   │ no answer
///                                                          Unvalidated ─────┘   │
///                                                              ▲ └──────────────┘
///  Failed: from anywhere, if only the application knows a way on; left by a seek
/// ```
#[derive(Debug)]
enum State {
    Unresolved { wish: Wish, not_before: Time },
    Resolving { wish: Wish },
    Fetching { position: FetchPosition, not_before: Time },
    Unvalidated { position: FetchPosition, not_before: Time },
    Validating { position: FetchPosition },
    Failed { position: i64 },
}

#[derive(Debug, Clone, Copy)]
struct Wish {
    target: Target,
    /// The position that was out of range, if that is why.
    reset_from: Option<i64>,
    /// There was no record with this timestamp or a later one, in milliseconds.
    missed: Option<i64>,
    /// Where the log ended after that: such a record may have come before.
    end: Option<FetchPosition>,
}

/// A committed offset of a leader epoch that the metadata does not know is asked for so often again, which takes some 10 s.
const WAITS_FOR_EPOCH: u32 = 12;

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resolved {
    /// The answer was to an older question, or not the last word.
    Nothing,
    /// The partition is fetched from here; `reset_from` is the position that was given up for it.
    At { position: FetchPosition, reset_from: Option<i64> },
    /// The log has been cut here, below the position.
    Cut(FetchPosition),
    /// There is no position, and no policy that gives one.
    NoPolicy,
}

/// Where one partition is fetched. Requests take time, and meanwhile the application may seek: every answer comes with the
/// generation of its question and counts only if that is still the current one.
#[derive(Debug)]
pub(crate) struct ReadPosition {
    state: State,
    generation: u64,
    /// Failures in a row.
    attempts: u32,
    /// The leader epoch that the position was last checked against.
    checked_epoch: i32,
    /// The partition appeared while its topic was being read: all that is in it is new.
    is_new: bool,
}

/// What was asked for a partition under one lease must not count under the next.
fn first_generation(lease: LeaseId) -> u64 {
    lease.0 << 32
}

impl ReadPosition {
    /// `is_new`: the partition appeared while its topic was being read.
    pub(crate) fn new(start: Position, lease: LeaseId, is_new: bool) -> Self {
        let state = State::Failed { position: -1 };
        let generation = first_generation(lease);
        let mut position = Self { state, generation, attempts: 0, checked_epoch: -1, is_new };
        position.seek(start);
        position
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Failures in a row.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Goes elsewhere; what is under way does not count any more. The offset, if it is known already.
    pub(crate) fn seek(&mut self, to: Position) -> Option<FetchPosition> {
        match to {
            Position::Offset(offset) => {
                let position = FetchPosition { offset, epoch: -1 };
                self.go_to(position);
                return Some(position);
            }
            Position::Beginning => self.wish(Target::Beginning, None),
            Position::End => self.wish(Target::End, None),
            Position::Committed => self.wish(Target::Committed, None),
            Position::Timestamp(time) => self.wish(Target::Timestamp(to_millis(time)), None),
        }
        None
    }

    /// Fetches from here on.
    pub(crate) fn go_to(&mut self, position: FetchPosition) {
        self.renew(State::Fetching { position, not_before: Time::ZERO });
    }

    /// Stops until the application seeks. The error is given to it elsewhere.
    pub(crate) fn fail(&mut self) {
        let position = self.position().map_or(-1, |position| position.offset);
        self.renew(State::Failed { position });
    }

    /// The position is not in the log: goes where the policy says.
    pub(crate) fn reset(&mut self, policy: Option<Target>) -> Resolved {
        let from = self.position().map(|position| position.offset);
        match policy {
            Some(target) => {
                self.wish(target, from);
                Resolved::Nothing
            }
            None => {
                self.fail();
                Resolved::NoPolicy
            }
        }
    }

    fn wish(&mut self, target: Target, reset_from: Option<i64>) {
        self.go_for(Wish { target, reset_from, missed: None, end: None });
    }

    fn go_for(&mut self, wish: Wish) {
        self.renew(State::Unresolved { wish, not_before: Time::ZERO });
    }

    fn renew(&mut self, state: State) {
        self.generation += 1;
        self.attempts = 0;
        self.state = state;
    }

    fn position(&self) -> Option<FetchPosition> {
        match self.state {
            State::Fetching { position, .. } | State::Unvalidated { position, .. } | State::Validating { position } => {
                Some(position)
            }
            State::Failed { position } => Some(FetchPosition { offset: position, epoch: -1 }),
            State::Unresolved { .. } | State::Resolving { .. } => None,
        }
    }

    /// Whether the next offset is known, or known not to be found.
    pub(crate) fn is_settled(&self) -> bool {
        self.position().is_some()
    }

    /// What to ask a broker now. The question counts as asked.
    pub(crate) fn next_question(&mut self, now: Time) -> Option<Question> {
        let (ask, state) = match self.state {
            State::Unresolved { wish, not_before } if not_before <= now => {
                let ask = match wish.target {
                    Target::Beginning => Ask::Offset(EARLIEST),
                    Target::End => Ask::Offset(LATEST),
                    Target::Timestamp(millis) => Ask::Offset(millis.max(0)),
                    Target::Committed => Ask::Committed,
                };
                (ask, State::Resolving { wish })
            }
            State::Unvalidated { position, not_before } if not_before <= now => {
                (Ask::EpochEnd(position.epoch), State::Validating { position })
            }
            State::Unresolved { .. }
            | State::Unvalidated { .. }
            | State::Resolving { .. }
            | State::Fetching { .. }
            | State::Validating { .. }
            | State::Failed { .. } => return None,
        };
        self.state = state;
        Some(Question { generation: self.generation, ask })
    }

    /// When there may be something to ask or to fetch although nothing else happens.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        match self.state {
            State::Unresolved { not_before, .. }
            | State::Unvalidated { not_before, .. }
            | State::Fetching { not_before, .. } => Some(not_before),
            State::Resolving { .. } | State::Validating { .. } | State::Failed { .. } => None,
        }
    }

    /// ListOffsets found this; `None`: there is no record as late as that.
    pub(crate) fn on_offset(&mut self, generation: u64, found: Option<FetchPosition>) -> Resolved {
        let State::Resolving { wish } = self.state else { return Resolved::Nothing };
        if generation != self.generation {
            return Resolved::Nothing;
        }
        let next = match (wish, found) {
            (Wish { target: Target::Timestamp(millis), end: None, .. }, None) => {
                Wish { target: Target::End, missed: Some(millis), ..wish }
            }
            (Wish { missed: Some(millis), end: None, .. }, Some(_)) => {
                Wish { target: Target::Timestamp(millis), end: found, ..wish }
            }
            (Wish { end, .. }, found) => {
                let Some(position) = found.into_iter().chain(end).min_by_key(|position| position.offset) else {
                    return Resolved::Nothing;
                };
                self.go_to(position);
                return Resolved::At { position, reset_from: wish.reset_from };
            }
        };
        self.go_for(next);
        Resolved::Nothing
    }

    /// Whether this committed offset is from under a later leader than the one that is known, who would find it out of range: the
    /// metadata comes first. Not for ever, since it may be from under no leader at all.
    pub(crate) fn lags_behind(&self, stored: FetchPosition) -> bool {
        self.checked_epoch >= 0 && stored.epoch > self.checked_epoch && self.attempts < WAITS_FOR_EPOCH
    }

    /// OffsetFetch found this; `None`: the group has committed nothing here.
    pub(crate) fn on_committed(
        &mut self,
        generation: u64,
        stored: Option<FetchPosition>,
        policy: Option<Target>,
    ) -> Resolved {
        if !matches!(self.state, State::Resolving { .. }) || generation != self.generation {
            return Resolved::Nothing;
        }
        match stored {
            Some(position) => {
                // It may have been stored under a leader whose log did not last.
                let state = match (0..self.checked_epoch).contains(&position.epoch) {
                    true => State::Unvalidated { position, not_before: Time::ZERO },
                    false => State::Fetching { position, not_before: Time::ZERO },
                };
                self.renew(state);
                Resolved::At { position, reset_from: None }
            }
            None => self.reset(match policy {
                // Nobody asked for its end when it had none.
                Some(Target::End) if self.is_new => Some(Target::Beginning),
                policy => policy,
            }),
        }
    }

    /// OffsetForLeaderEpoch answered: the log of the largest epoch up to the position's ends here.
    pub(crate) fn on_epoch_end(&mut self, generation: u64, end: FetchPosition, policy: Option<Target>) -> Resolved {
        let State::Validating { position } = self.state else { return Resolved::Nothing };
        if generation != self.generation {
            return Resolved::Nothing;
        }
        if end.offset < 0 || end.epoch < 0 {
            // The log does not go back to that epoch any more.
            return self.reset(policy);
        }
        if end.offset < position.offset {
            return Resolved::Cut(end);
        }
        self.state = State::Fetching { position, not_before: Time::ZERO };
        self.attempts = 0;
        Resolved::Nothing
    }

    /// The broker cannot tell where epochs end: the position is taken for good.
    pub(crate) fn on_epoch_end_unknown(&mut self, generation: u64) {
        if let State::Validating { position } = self.state
            && generation == self.generation
        {
            self.state = State::Fetching { position, not_before: Time::ZERO };
        }
    }

    /// There was no answer to the question, or none that helps: it may be asked again after `pause`.
    pub(crate) fn on_no_answer(&mut self, generation: u64, now: Time, pause: Duration) {
        if generation != self.generation {
            return;
        }
        let not_before = now.saturating_add(pause);
        self.attempts = self.attempts.saturating_add(1);
        self.state = match self.state {
            State::Resolving { wish } => State::Unresolved { wish, not_before },
            State::Validating { position } => State::Unvalidated { position, not_before },
            State::Unresolved { .. } | State::Fetching { .. } | State::Unvalidated { .. } | State::Failed { .. } => {
                return;
            }
        };
    }

    /// The partition has this leader epoch now. A position under an older one may be beyond where the new leader's log begins to
    /// differ (KIP-320). What is under way does not count any more.
    pub(crate) fn on_leader_epoch(&mut self, epoch: i32) {
        if epoch <= self.checked_epoch {
            return;
        }
        self.checked_epoch = epoch;
        if let State::Resolving { wish } = self.state
            && !matches!(wish.target, Target::Committed)
        {
            // The former leader may never answer.
            self.go_for(wish);
        }
        if let State::Fetching { position, .. } | State::Validating { position } = self.state {
            let not_before = Time::ZERO;
            // What the leader of an older epoch was asked may be answered with what did not last.
            self.renew(if (0..epoch).contains(&position.epoch) {
                State::Unvalidated { position, not_before }
            } else {
                State::Fetching { position, not_before }
            });
        }
    }

    /// A topic of the same name took its place, under another lease: its leader epochs begin anew.
    pub(crate) fn on_recreated(&mut self, lease: LeaseId, policy: Option<Target>) -> Resolved {
        self.checked_epoch = -1;
        self.generation = first_generation(lease);
        // What a new topic has is new, whatever the policy.
        self.reset(policy.map(|_| Target::Beginning))
    }

    /// Where to fetch from now.
    pub(crate) fn fetch_from(&self, now: Time) -> Option<FetchPosition> {
        match self.state {
            State::Fetching { position, not_before } if not_before <= now => Some(position),
            State::Fetching { .. }
            | State::Unresolved { .. }
            | State::Resolving { .. }
            | State::Unvalidated { .. }
            | State::Validating { .. }
            | State::Failed { .. } => None,
        }
    }

    /// Whether an answer to a fetch from `offset` in `generation` still counts.
    pub(crate) fn is_current(&self, generation: u64, offset: i64) -> bool {
        let at_offset = matches!(&self.state, State::Fetching { position, .. } if position.offset == offset);
        generation == self.generation && at_offset
    }

    /// Such an answer brought everything before `next`.
    pub(crate) fn on_fetched(&mut self, next: FetchPosition) {
        if let State::Fetching { position, not_before } = &mut self.state {
            *position = FetchPosition { offset: next.offset.max(position.offset), ..next };
            *not_before = Time::ZERO;
            self.attempts = 0;
        }
    }

    /// Such an answer was an error that may pass.
    pub(crate) fn on_fetch_failed(&mut self, now: Time, pause: Duration) {
        if let State::Fetching { not_before, .. } = &mut self.state {
            *not_before = now.saturating_add(pause);
            self.attempts = self.attempts.saturating_add(1);
        }
    }

    /// The error for [`Resolved::NoPolicy`].
    pub(crate) fn no_policy(&self, partition: &TopicPartition) -> Error {
        let text = match self.position() {
            Some(position) if position.offset >= 0 => format!(
                "offset {} of {partition} is not in the log and auto.offset.reset is none: seek to where reading shall go on",
                position.offset
            ),
            Some(_) | None => format!(
                "{partition} has no committed offset and auto.offset.reset is none: seek to where reading shall begin"
            ),
        };
        let error = Error::new(ErrorKind::OffsetReset, text).with_topic_partition(partition.clone());
        error.with_code(ErrorCode::OFFSET_OUT_OF_RANGE)
    }
}

#[cfg(test)]
mod tests;
