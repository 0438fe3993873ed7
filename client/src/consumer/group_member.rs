//! A consumer as a member of its group: does what the membership machine says, for the consumer's task. IO.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use milena_protocol::ErrorCode;
use milena_protocol::messages::heartbeat::HeartbeatRequest;
use milena_protocol::messages::join_group::{JoinGroupRequest, JoinGroupResponse};
use milena_protocol::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};
use tracing::{debug, info, warn};

use self::handover::Handover;
use self::listening::{Call, Listening, Told};
use self::requests::divide;
use super::assignor::{Strategy, Topics};
use super::commits::Committer;
use super::first_sight::FirstSight;
use super::listener::RebalanceListener;
use super::membership::{Action, Application, Membership, MembershipSettings};
use super::shared::{Closing, Shared};
use super::subscription::{Subscription, TopicSearch};
use crate::clock::Time;
use crate::cluster::KeptTopic;
use crate::cluster::metadata::Listed;
use crate::error::{Error, ErrorKind, Result};
use crate::net::request_queue::RequestQueue;
use crate::topic_partition::TopicPartition;

mod handover;
mod listening;
mod requests;
mod subscribing;

/// How long a consumer that ends waits for its leave to be answered.
const LEAVING: Duration = Duration::from_secs(5);

type Replies<T> = FuturesUnordered<Pin<Box<dyn Future<Output = T> + Send>>>;

/// Something that the member waited for.
pub(super) enum Event {
    Coordinator(Result<i32>),
    Listed(Result<Vec<Listed>>),
    Joined(u64, Result<JoinGroupResponse>),
    Divided(i32, Topics, Result<Vec<SyncGroupRequestAssignment>>),
    Synced(u64, Result<SyncGroupResponse>),
    Beat(u64, Result<ErrorCode>),
    /// The last commit of the handover with this number.
    Committed(u64, Result<()>),
    /// The listener returned, or failed.
    Listened(Option<Error>),
    Left,
}

pub(crate) struct GroupMember {
    shared: Arc<Shared>,
    group: Arc<str>,
    membership: Membership,
    topics: BTreeSet<Arc<str>>,
    /// For the topics of a pattern.
    search: Option<TopicSearch>,
    /// What the members of the group read, while this one leads it.
    led: BTreeSet<Arc<str>>,
    kept: BTreeMap<Arc<str>, KeptTopic>,
    /// To the coordinator, for requests that wait for other members: nothing else must queue up behind those.
    connection: Option<(i32, RequestQueue)>,
    /// The attempt to join whose JoinGroup or SyncGroup waits there.
    parked: Option<u64>,
    replies: Replies<Event>,
    /// How many of the replies are answers to LeaveGroup, and how many of last commits.
    leaving: usize,
    committing: usize,
    listening: Listening,
    handover: Option<Handover>,
    handovers: u64,
    closing: Option<Closing>,
    /// Out of the group for good: what is told to the listener is the last thing to do.
    failed: bool,
    /// The application has to begin a read before the group is joined again.
    resting: bool,
    /// Reads and releases as they were last seen, and when they had changed.
    seen: (u64, u64),
    progress: Time,
    /// Begins at the first assignment.
    first_sight: Option<FirstSight>,
    /// Topics that cannot be read, and that was told.
    refused: BTreeSet<Arc<str>>,
}

impl GroupMember {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        subscription: Subscription,
        strategies: Vec<Strategy>,
        rack: Option<String>,
        listener: Option<Arc<dyn RebalanceListener>>,
    ) -> Self {
        let (net, settings) = (shared.cluster.net(), &shared.settings);
        let group = shared.group.clone().unwrap_or_default();
        let membership = MembershipSettings {
            group: group.clone(),
            instance_id: settings.group_instance_id.clone(),
            rack,
            strategies,
            session_timeout: settings.session_timeout,
            rebalance_timeout: settings.max_poll_interval,
            heartbeat_interval: settings.heartbeat_interval,
            request_timeout: net.limits.request_timeout,
            backoff: shared.cluster.retry_backoff(),
        };
        let mut member = Self {
            shared: shared.clone(),
            group,
            membership: Membership::new(membership, None, net.fork_entropy()),
            topics: BTreeSet::new(),
            search: None,
            led: BTreeSet::new(),
            kept: BTreeMap::new(),
            connection: None,
            parked: None,
            replies: Replies::new(),
            leaving: 0,
            committing: 0,
            listening: Listening::new(listener),
            handover: None,
            handovers: 0,
            closing: None,
            failed: false,
            resting: false,
            seen: (0, 0),
            progress: net.now(),
            first_sight: None,
            refused: BTreeSet::new(),
        };
        member.subscribe(subscription, Time::ZERO);
        member
    }

    /// Whether there is nothing left to do, for a consumer that is closed or out of the group for good.
    pub(super) fn is_over(&self) -> bool {
        self.membership.is_over()
            && self.handover.is_none()
            && self.leaving == 0
            && self.committing == 0
            && self.listening.is_idle()
    }

    /// Does what can be done now. Whether partitions came or went.
    pub(super) fn turn(&mut self, now: Time) -> bool {
        self.look_at_application(now);
        self.search_topics(now);
        let mut moved = false;
        while let Some(action) = self.membership.next_action(now) {
            moved |= self.act(action, now);
        }
        if let Some(error) = self.listening.expire(now) {
            self.on_listened(Some(error));
        }
        self.listening.begin(&self.shared, now);
        self.go_on_with_handover(now);
        let identity = self.membership.identity();
        let mut state = self.shared.lock();
        state.member.committer = identity.map(Committer::Member);
        let is_over = self.membership.is_over() && self.handover.is_none() && self.committing == 0;
        if self.closing.is_some() && !self.failed && is_over {
            // There is nothing to commit.
            state.member.closed.get_or_insert(Ok(()));
        }
        state.member.waits_for_read = self.resting;
        if self.resting && state.assignment.reads != self.seen.0 {
            // It began during this turn.
            self.shared.driver.notify_one();
        }
        moved
    }

    /// When the next turn is due if nothing happens.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        let handover = self.handover.as_ref().filter(|handover| !handover.committing).map(|handover| handover.deadline);
        let search = self.search.as_ref().and_then(TopicSearch::next_deadline);
        [self.membership.next_deadline(), self.listening.next_deadline(), handover, search].into_iter().flatten().min()
    }

    /// Waits until something happens.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn next_event(&mut self) -> Event {
        tokio::select! {
            biased;
            // First: it may have no time left, and is called all the same.
            error = self.listening.returned() => Event::Listened(error),
            Some(event) = self.replies.next(), if !self.replies.is_empty() => event,
        }
    }

    pub(super) fn on_event(&mut self, event: Event, now: Time) {
        match event {
            Event::Coordinator(found) => self.membership.on_coordinator(found, now),
            Event::Listed(topics) => self.on_listed(topics, now),
            Event::Joined(attempt, answer) => {
                self.parked.take_if(|parked| *parked == attempt);
                self.membership.on_join(attempt, answer, now);
            }
            Event::Divided(generation, topics, outcome) => {
                self.membership.on_divided(generation, topics, outcome, now);
            }
            Event::Synced(attempt, answer) => {
                self.parked.take_if(|parked| *parked == attempt);
                self.membership.on_sync(attempt, answer, now);
            }
            Event::Beat(number, answer) => self.membership.on_heartbeat(number, answer, now),
            Event::Committed(number, outcome) => self.on_last_commit(number, outcome, now),
            Event::Listened(error) => self.on_listened(error),
            Event::Left => self.leaving -= 1,
        }
    }

    /// The consumer is gone, or closed in a hurry: leaves the group, if it answers soon.
    pub(super) async fn abandon(mut self) {
        let now = self.shared.now();
        if let Some(closing) = self.shared.lock().member.closing {
            // There may have been no turn since.
            self.membership.close(closing.departure, closing.deadline);
        }
        self.membership.abandon();
        while let Some(action) = self.membership.next_action(now) {
            if let Action::Leave { .. } = &action {
                self.act(action, now);
            }
        }
        let deadline = now + LEAVING.min(self.shared.cluster.net().limits.request_timeout);
        let net = self.shared.cluster.net().clone();
        while self.leaving > 0 {
            tokio::select! {
                biased;
                event = self.replies.next() => match event {
                    Some(Event::Left) => self.leaving -= 1,
                    Some(_) => {}
                    None => return,
                },
                () = net.sleep_until(Some(deadline)) => return,
            }
        }
    }

    /// Takes over what the application did since the last turn.
    fn look_at_application(&mut self, now: Time) {
        let releases = self.shared.releases.count();
        let dropped = self.shared.releases.take_dropped();
        let (application, refused, closing, subscription, enforced) = {
            let mut state = self.shared.lock();
            if dropped {
                state.assignment.tell_dropped();
            }
            let reads = state.assignment.reads;
            if self.seen != (reads, releases) {
                self.seen = (reads, releases);
                self.progress = now;
            }
            self.progress = self.progress.max(state.member.read_waited_until);
            let (reading, holding) = (state.member.read_waits, state.assignment.is_held());
            let application = Application { reads, reading, holding, progress: self.progress };
            let member = &mut state.member;
            let refused = std::mem::take(&mut member.refused);
            (application, refused, member.closing, member.subscription.take(), member.enforced.take())
        };
        self.membership.on_application(application, now);
        for (identity, code) in refused {
            self.membership.on_commit_error(&identity, code, now);
        }
        if let Some(subscription) = subscription {
            self.subscribe(subscription, now);
        }
        if let Some(why) = enforced {
            self.membership.enforce_rebalance(&why, now);
        }
        if let (Some(closing), None) = (closing, self.closing) {
            self.closing = Some(closing);
            self.listening.hurry(closing.deadline);
            if let Some(handover) = &mut self.handover {
                handover.deadline = handover.deadline.min(closing.deadline);
            }
            self.membership.close(closing.departure, closing.deadline);
        }
    }

    /// Whether partitions came or went.
    fn act(&mut self, action: Action, now: Time) -> bool {
        match action {
            Action::FindCoordinator { wrong } => {
                let (cluster, group) = (self.shared.cluster.clone(), self.group.clone());
                if let Some(wrong) = wrong {
                    cluster.on_wrong_coordinator(&group, wrong);
                }
                self.reply(async move { Event::Coordinator(cluster.coordinator(&group).await) });
            }
            Action::Join { broker, timeout, attempt, request } => {
                self.resting = false;
                if self.parked.replace(attempt).is_some() {
                    // Nothing is answered behind what waits there.
                    self.disconnect();
                }
                debug!(group = %self.group, broker, "joining");
                let answer = self.call::<JoinGroupRequest>(broker, timeout, request);
                self.reply(async move { Event::Joined(attempt, answer.await) });
            }
            Action::Divide { generation, division } => {
                self.lead(division.topics().clone());
                let cluster = self.shared.cluster.clone();
                self.reply(divide(cluster, generation, division));
            }
            Action::Sync { broker, timeout, attempt, request } => {
                self.parked = Some(attempt);
                self.lead(self.membership.led_topics());
                let answer = self.call::<SyncGroupRequest>(broker, timeout, request);
                self.reply(async move { Event::Synced(attempt, answer.await) });
            }
            Action::Heartbeat { broker, timeout, number, request } => {
                let cluster = self.shared.cluster.clone();
                if self.parked.is_some() {
                    self.reply(async move {
                        let answer = cluster.call::<HeartbeatRequest>(broker, timeout, move |_| request).await;
                        Event::Beat(number, answer.map(|answer| answer.body.error_code))
                    });
                } else {
                    let answer = self.call::<HeartbeatRequest>(broker, timeout, request);
                    self.reply(async move { Event::Beat(number, answer.await.map(|answer| answer.error_code)) });
                }
            }
            Action::Leave { broker, timeout, request } => {
                self.leave(broker, timeout, request);
            }
            Action::Revoke { partitions, reason, deadline } => {
                info!(group = %self.group, ?reason, "giving up {} partitions", partitions.len());
                self.shared.lock().assignment.begin_to_end(&partitions);
                self.handovers += 1;
                let (number, partitions_too) = (self.handovers, partitions.clone());
                self.handover = Some(Handover { number, partitions: partitions_too, deadline, committing: false });
                self.listening.hurry(deadline);
                self.listening.call(Call { told: Told::Revoked, partitions, reason, deadline });
            }
            Action::Assigned { generation, partitions, reason, took } => {
                self.shared.count_rebalance(reason, took);
                info!(group = %self.group, generation, ?reason, "got {} partitions", partitions.len());
                let view = self.shared.cluster.view();
                let sight = self.first_sight.get_or_insert_default();
                sight.count(&self.topics, &view);
                let new = |partition: &TopicPartition| sight.is_new(partition, &view);
                self.shared.lock().assignment.add_committed(&partitions, self.listening.is_there(), new);
                let deadline = now.saturating_add(self.shared.settings.max_poll_interval);
                self.listening.call(Call { told: Told::Assigned, partitions, reason, deadline });
                // What is divided may have changed since.
                self.membership.on_view(&view, now);
                return true;
            }
            Action::Lost { partitions, reason } => {
                warn!(group = %self.group, ?reason, "lost {} partitions", partitions.len());
                {
                    let mut state = self.shared.lock();
                    state.tally.on_lost(reason);
                    state.assignment.end(&partitions);
                    if self.closing.is_some() {
                        state.member.closed.get_or_insert_with(|| Err(lost_while_closing()));
                    }
                }
                let deadline = now.saturating_add(self.shared.settings.max_poll_interval);
                // Who was told that they are revoked has heard enough of them.
                let revoked = self.handover.take().map_or(Vec::new(), |handover| handover.partitions);
                let partitions: Vec<_> = partitions.into_iter().filter(|lost| !revoked.contains(lost)).collect();
                if !partitions.is_empty() {
                    self.listening.call(Call { told: Told::Lost, partitions, reason, deadline });
                }
            }
            Action::Stalled { since } => {
                self.resting = true;
                self.shared.lock().assignment.tell_stalled(now.saturating_sub(since));
            }
            Action::Report(error) => {
                self.resting = true;
                self.shared.report(error);
            }
            Action::Fail(error) => {
                self.failed = true;
                self.shared.fail(error);
            }
        }
        false
    }

    /// The members of the group that this one leads read these.
    fn lead(&mut self, topics: BTreeSet<Arc<str>>) {
        self.led = topics;
        self.keep_topics();
    }

    fn on_listened(&mut self, error: Option<Error>) {
        if let Some(error) = error {
            warn!(group = %self.group, "{error}");
            self.shared.report(error);
        }
        if !self.listening.expects(Told::Assigned) {
            self.shared.lock().assignment.open();
            self.shared.wake_all();
        }
    }

    fn reply(&self, reply: impl Future<Output = Event> + Send + 'static) {
        self.replies.push(Box::pin(reply));
    }
}

impl Drop for GroupMember {
    fn drop(&mut self) {
        self.disconnect();
        let mut state = self.shared.lock();
        state.member.committer = None;
        state.assignment.end_all();
    }
}

fn lost_while_closing() -> Error {
    let text =
        "the group went on without the consumer while it was being closed: what was not committed will be read again";
    Error::new(ErrorKind::PartitionLost, text)
}
