//! A member of a classic group: joins, stays alive, gets partitions and gives them up. Pure.
//!
//! # How a driver uses it
//!
//! [`Membership`] has four kinds of calls. *Verbs* say what the application wants: [`subscribe`](Membership::subscribe),
//! [`close`](Membership::close), [`abandon`](Membership::abandon). `on_*` say what happened: each [`Action`] that sends or asks
//! something names the call that takes its outcome, and every outcome must be told, a failure as well;
//! [`on_application`](Membership::on_application) tells how the application is doing. Then
//! [`next_action`](Membership::next_action) is called until it returns `None`, and each action is begun, not awaited. At last the
//! driver sleeps until [`next_deadline`](Membership::next_deadline) or until something happens, and begins again.
//!
//! Requests go to the broker that the action names, on a connection that this member has for itself: a coordinator answers
//! nothing behind a JoinGroup or SyncGroup that waits for other members. The driver keeps no copy of the state: a commit takes
//! its member and generation from [`identity`](Membership::identity) when it is sent, and tells
//! [`on_commit_error`](Membership::on_commit_error) if the coordinator objects.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::assignor::{RebalanceProtocol, Strategy, Topics, common_protocol};
use super::rebalance::{Departure, RebalanceReason};
use crate::backoff::Backoff;
use crate::clock::Time;
use crate::cluster::metadata::ClusterView;
use crate::entropy::Entropy;
use crate::topic_partition::TopicPartition;

mod action;
mod answers;
mod coordinator_search;
mod heartbeats;
mod progress;
mod protocols;
mod requests;
mod state;

pub(crate) use self::action::Action;
pub(crate) use self::answers::fenced;
use self::coordinator_search::CoordinatorSearch;
use self::heartbeats::Heartbeats;
pub(crate) use self::progress::Application;
use self::protocols::LastAssignment;
use self::state::{Departs, Leading, Role, State, Then};

/// The protocol type of consumers.
const PROTOCOL_TYPE: &str = "consumer";

/// Of the rebalance timeout, at least this is kept for what comes after the revocation.
const LEAST_RESERVE: Duration = Duration::from_secs(5);

/// How a member behaves.
#[derive(Debug)]
pub(crate) struct MembershipSettings {
    pub(crate) group: Arc<str>,
    /// `group.instance.id`: the member is static.
    pub(crate) instance_id: Option<String>,
    /// `client.rack`.
    pub(crate) rack: Option<String>,
    /// In the order of preference; at least one.
    pub(crate) strategies: Vec<Strategy>,
    /// `session.timeout.ms`.
    pub(crate) session_timeout: Duration,
    /// `max.poll.interval.ms`.
    pub(crate) rebalance_timeout: Duration,
    /// `heartbeat.interval.ms`.
    pub(crate) heartbeat_interval: Duration,
    /// `request.timeout.ms`.
    pub(crate) request_timeout: Duration,
    /// `retry.backoff.ms` and `retry.backoff.max.ms`.
    pub(crate) backoff: Backoff,
}

/// In whose name offsets are committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) generation: i32,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Membership {
    settings: MembershipSettings,
    rebalance_protocol: RebalanceProtocol,
    /// What the application wants to read.
    topics: BTreeSet<Arc<str>>,
    /// The topics that the last JoinGroup named.
    offered: BTreeSet<Arc<str>>,
    /// The generation that it named; −1 for none.
    offered_generation: i32,
    state: State,
    coordinator: CoordinatorSearch,
    heartbeats: Heartbeats,
    application: Application,
    /// Empty until the coordinator gives one.
    member_id: String,
    /// −1 outside of any.
    generation: i32,
    /// What an eager member owns it gives up before it joins. None without a generation.
    owned: BTreeSet<TopicPartition>,
    last: LastAssignment,
    /// Why the next assignment, or the one that was just given up, is what it is.
    reason: RebalanceReason,
    /// Since when another share is due.
    since: Option<Time>,
    /// Attempts to join that led nowhere, in a row.
    failures: u32,
    /// What the application said about why it wants a rebalance, for the coordinator.
    said: Option<String>,
    /// Counts JoinGroups: what answers an older one, or its SyncGroup, is history.
    attempts: u64,
    departure: Departure,
    /// The application closes the consumer.
    departs: Option<Departs>,
    entropy: Entropy,
    ready: VecDeque<Action>,
}

impl Membership {
    /// Without topics it joins when it is told some.
    pub(crate) fn new(settings: MembershipSettings, topics: Option<BTreeSet<Arc<str>>>, entropy: Entropy) -> Self {
        let due = if topics.is_some() { Time::ZERO } else { Time::MAX };
        Self {
            rebalance_protocol: common_protocol(&settings.strategies),
            topics: topics.unwrap_or_default(),
            offered: BTreeSet::new(),
            offered_generation: -1,
            state: State::Outside { due },
            coordinator: CoordinatorSearch::new(),
            heartbeats: Heartbeats::new(settings.heartbeat_interval, settings.session_timeout),
            application: Application::default(),
            member_id: String::new(),
            generation: -1,
            owned: BTreeSet::new(),
            last: LastAssignment::default(),
            reason: RebalanceReason::Joined,
            since: None,
            failures: 0,
            said: None,
            attempts: 0,
            departure: Departure::Usual,
            departs: None,
            entropy,
            ready: VecDeque::new(),
            settings,
        }
    }

    /// What to do now. To be asked until there is nothing.
    pub(crate) fn next_action(&mut self, now: Time) -> Option<Action> {
        if self.ready.is_empty() {
            self.depart(now);
        }
        if let Some(action) = self.ready.pop_front() {
            return Some(action);
        }
        if self.stall_deadline().is_some_and(|deadline| deadline <= now) {
            self.stall(now);
            return self.ready.pop_front();
        }
        if self.has_session() && self.heartbeats.expiry() <= now {
            // Others may have what is owned already.
            self.lose_coordinator(now);
            self.expire(now);
            return self.next_action(now);
        }
        if matches!(self.state, State::Outside { due } if due <= now) {
            self.since.get_or_insert(now);
        }
        let Some(broker) = self.coordinator.known() else {
            let wanted = self.wants_coordinator();
            let wrong = wanted.then(|| self.coordinator.next_search(now)).flatten()?;
            return Some(Action::FindCoordinator { wrong });
        };
        match std::mem::replace(&mut self.state, State::Left) {
            State::Outside { due } if due <= now => match self.due_before_joining() {
                partitions if partitions.is_empty() => self.join(broker, now),
                partitions => {
                    self.revoke(partitions, Then::Rejoin, self.revocation_deadline(now));
                    self.ready.pop_front()
                }
            },
            State::Joined { protocol, role, assignments } => {
                let request = self.sync_request(&protocol, assignments);
                self.state = State::Syncing { protocol, role };
                let (attempt, timeout) = (self.attempts, self.settings.request_timeout);
                Some(Action::Sync { broker, timeout, attempt, request })
            }
            state @ (State::Joining
            | State::Dividing { .. }
            | State::Syncing { .. }
            | State::Stable { .. }
            | State::Revoking { .. }) => {
                self.state = state;
                if self.has_session() { self.beat(broker, now) } else { None }
            }
            state @ (State::Outside { .. } | State::Resting { .. } | State::Left | State::Failed) => {
                self.state = state;
                None
            }
        }
    }

    /// When there is something to do if nothing happens until then.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        if !self.ready.is_empty() {
            return Some(Time::ZERO);
        }
        let next = match (&self.state, self.coordinator.known()) {
            (State::Outside { due }, Some(_)) => Some(*due),
            (State::Joined { .. }, Some(_)) => Some(Time::ZERO),
            (
                State::Joining
                | State::Dividing { .. }
                | State::Syncing { .. }
                | State::Stable { .. }
                | State::Revoking { .. },
                Some(_),
            ) => self.has_session().then(|| self.heartbeats.next_deadline()),
            (_, None) if self.wants_coordinator() => self.coordinator.next_deadline(),
            (_, None) | (State::Resting { .. } | State::Left | State::Failed, _) => None,
        };
        let expiry = self.has_session().then(|| self.heartbeats.expiry());
        [next, expiry, self.stall_deadline()].into_iter().flatten().min()
    }

    /// In whose name to commit, while partitions are owned.
    pub(crate) fn identity(&self) -> Option<Identity> {
        let has_one = match self.state {
            State::Stable { .. } | State::Revoking { .. } => true,
            // The generation may be one in which the others have not got their partitions yet. It will pass.
            State::Outside { .. }
            | State::Joining
            | State::Dividing { .. }
            | State::Joined { .. }
            | State::Syncing { .. } => !self.owned.is_empty(),
            State::Resting { .. } | State::Left | State::Failed => false,
        };
        has_one.then(|| Identity {
            member_id: self.member_id.clone(),
            instance_id: self.settings.instance_id.clone(),
            generation: self.generation,
        })
    }

    /// What the members of the group read, if this one leads it; while SyncGroup waits.
    pub(crate) fn led_topics(&self) -> BTreeSet<Arc<str>> {
        match &self.state {
            State::Syncing { role: Role::Leader(leading), .. } => leading.topics.clone(),
            State::Syncing { role: Role::Follower, .. }
            | State::Outside { .. }
            | State::Joining
            | State::Dividing { .. }
            | State::Joined { .. }
            | State::Stable { .. }
            | State::Revoking { .. }
            | State::Resting { .. }
            | State::Left
            | State::Failed => BTreeSet::new(),
        }
    }

    /// Whether the membership is over, and everything about it has been told.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, State::Left | State::Failed) && self.ready.is_empty()
    }

    /// The application wants these topics, and no others.
    pub(crate) fn subscribe(&mut self, topics: BTreeSet<Arc<str>>, now: Time) {
        self.topics = topics;
        if let State::Outside { due } = &mut self.state
            && *due == Time::MAX
        {
            *due = now;
        }
        // In all other states the next JoinGroup, or the check after SyncGroup, sees it.
        if matches!(self.state, State::Stable { .. }) && self.topics != self.offered {
            self.rebalance(RebalanceReason::SubscriptionChange, now);
        }
    }

    /// The application wants the group to divide its partitions anew, and says why. If it is about to, that is enough.
    pub(crate) fn enforce_rebalance(&mut self, why: &str, now: Time) {
        if let State::Stable { .. } = self.state {
            self.said = Some(why.to_owned());
            self.rebalance(RebalanceReason::Enforced, now);
        }
    }

    /// Gives everything up as at a rebalance, at `deadline` at the latest, and leaves the group or stays in it.
    pub(crate) fn close(&mut self, departure: Departure, deadline: Time) {
        self.departure = departure;
        if self.departs.is_none() {
            self.departs = Some(Departs::Due { deadline });
        }
    }

    /// Goes, if it is to. Who has partitions and is about to get others lets that come to its end: until then the coordinator
    /// would refuse the last commit.
    fn depart(&mut self, now: Time) {
        let Some(departs) = self.departs else { return };
        match (&mut self.state, departs) {
            (State::Left | State::Failed, _) => {}
            (State::Revoking { then, .. }, Departs::Due { deadline } | Departs::GivingUp { deadline }) => {
                *then = Then::Leave { deadline };
            }
            (_, _) if self.owned.is_empty() => self.abandon(),
            (State::Resting { .. }, _) => self.abandon(),
            (State::Dividing { .. } | State::Joined { .. } | State::Syncing { .. }, _) => return,
            (State::Joining, Departs::GivingUp { .. }) => return,
            (State::Joining, Departs::Due { deadline }) => {
                let deadline = self.tell_closing(deadline, now);
                self.departs = Some(Departs::GivingUp { deadline });
                return;
            }
            (State::Outside { .. } | State::Stable { .. }, Departs::Due { deadline }) => {
                let deadline = self.tell_closing(deadline, now);
                self.state = State::Revoking { partitions: self.owned.clone(), then: Then::Leave { deadline } };
            }
            (State::Outside { .. } | State::Stable { .. }, Departs::GivingUp { deadline }) => {
                self.state = State::Revoking { partitions: self.owned.clone(), then: Then::Leave { deadline } };
            }
        }
        self.departs = None;
    }

    /// Everything goes, until the deadline that comes back.
    fn tell_closing(&mut self, deadline: Time, now: Time) -> Time {
        self.reason = RebalanceReason::Closing;
        let deadline = self.revocation_deadline(now).min(deadline);
        let partitions = self.owned.iter().cloned().collect();
        self.ready.push_back(Action::Revoke { partitions, reason: self.reason, deadline });
        deadline
    }

    /// Leaves the group at once: the application is gone.
    pub(crate) fn abandon(&mut self) {
        if !matches!(self.state, State::Left | State::Failed) {
            self.leave(RebalanceReason::Closing);
            self.owned.clear();
            self.state = State::Left;
        }
    }

    /// The answer to [`Action::Revoke`]: the listener returned, held records were released or the deadline passed, the last
    /// commit was answered; the leases are dead.
    pub(crate) fn on_revoked(&mut self, now: Time) {
        let State::Revoking { partitions, then } = &mut self.state else {
            if let Some(Departs::GivingUp { .. }) = self.departs {
                self.abandon();
            }
            return;
        };
        let (given_up, then) = (std::mem::take(partitions), *then);
        self.owned = self.owned.difference(&given_up).cloned().collect();
        match then {
            Then::Rejoin => self.state = State::Outside { due: now },
            Then::Leave { .. } if self.owned.is_empty() => self.abandon(),
            Then::Leave { deadline } => {
                self.reason = RebalanceReason::Closing;
                self.revoke(self.owned.clone(), then, deadline);
            }
        }
    }

    /// The metadata changed, or a generation became stable: a leader looks whether what it divided is still what there is, and
    /// everybody whether the coordinator is.
    pub(crate) fn on_view(&mut self, view: &ClusterView, now: Time) {
        if self.coordinator.has_departed(|broker| view.brokers.contains_key(&broker)) && !self.waits_for_others() {
            self.lose_coordinator(now);
        }
        let State::Stable { role: Role::Leader(leading) } = &mut self.state else { return };
        let topics = Topics::of(view, &leading.topics, leading.uses_racks);
        if topics.has_news(leading.divided.get_or_insert_with(|| topics.clone())) {
            self.rebalance(RebalanceReason::TopicChange, now);
        }
    }

    /// The generation is not what it should be: the member joins again, after it gave up what it has to give up before.
    fn rebalance(&mut self, reason: RebalanceReason, now: Time) {
        self.reason = reason;
        self.since.get_or_insert(now);
        self.state = State::Outside { due: now };
        let partitions = self.due_before_joining();
        if !partitions.is_empty() {
            self.revoke(partitions, Then::Rejoin, self.revocation_deadline(now));
        }
    }

    /// What must be given up before the member joins: everything, or as a cooperative member what it is not subscribed to any
    /// more.
    fn due_before_joining(&self) -> BTreeSet<TopicPartition> {
        match self.rebalance_protocol {
            RebalanceProtocol::Eager => self.owned.clone(),
            RebalanceProtocol::Cooperative => {
                self.owned.iter().filter(|partition| !self.topics.contains(partition.topic())).cloned().collect()
            }
        }
    }

    /// Until then what is to go must be given up, so that a commit and JoinGroup come in time.
    fn revocation_deadline(&self, learned: Time) -> Time {
        learned + self.settings.rebalance_timeout.saturating_sub(self.reserve())
    }

    fn reserve(&self) -> Duration {
        LEAST_RESERVE.max(2 * self.settings.heartbeat_interval)
    }

    /// How long a last commit may take from the deadline of a revocation on. The member may have learned of the rebalance a
    /// heartbeat late; of what is left of the reserve as much is for JoinGroup.
    pub(crate) fn last_commit(&self) -> Duration {
        (self.reserve() - self.settings.heartbeat_interval) / 2
    }

    fn revoke(&mut self, partitions: BTreeSet<TopicPartition>, then: Then, deadline: Time) {
        let told = partitions.iter().cloned().collect();
        self.ready.push_back(Action::Revoke { partitions: told, reason: self.reason, deadline });
        self.state = State::Revoking { partitions, then };
    }

    /// The generation is gone, and everything owned is lost.
    fn lose(&mut self, reason: RebalanceReason, now: Time) {
        self.generation = -1;
        self.heartbeats.give_up(now);
        let partitions: Vec<_> = std::mem::take(&mut self.owned).into_iter().collect();
        if !partitions.is_empty() {
            self.reason = reason;
            self.ready.push_back(Action::Lost { partitions, reason });
        }
    }

    /// Whether the coordinator has to hear of the member, or it counts as dead.
    fn has_session(&self) -> bool {
        match self.state {
            State::Dividing { .. } | State::Joined { .. } | State::Stable { .. } | State::Revoking { .. } => true,
            State::Outside { .. } | State::Joining | State::Syncing { .. } => self.generation >= 0,
            State::Resting { .. } | State::Left | State::Failed => false,
        }
    }

    fn wants_coordinator(&self) -> bool {
        self.has_session() || matches!(self.state, State::Outside { .. })
    }

    fn lose_coordinator(&mut self, now: Time) {
        self.coordinator.on_wrong(now);
        self.heartbeats.give_up(now);
    }

    fn delay(&mut self, failures: u32) -> Duration {
        self.settings.backoff.delay(failures, &mut self.entropy)
    }
}

#[cfg(test)]
mod tests;
