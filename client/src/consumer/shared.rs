//! What a consumer, its control, its driver and its connections share. IO.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use milena_protocol::ErrorCode;
use tokio::sync::{Notify, watch};
use tracing::{error, warn};

use super::assignment::{Assignment, not_assigned};
use super::commit_queue::{Commit, CommitQueue};
use super::commits::{CommitPolicy, Committer, ToCommit};
use super::event::ConsumerEvent;
use super::fetch_budget::FetchBudget;
use super::fetched::Reading;
use super::holds::{Holding, Releases};
use super::membership::Identity;
use super::metrics::Tally;
use super::positions::{Position, Target, reset_target};
use crate::clock::Time;
use crate::cluster::Cluster;
use crate::config::ConsumerSettings;
use crate::error::{Error, ErrorKind, Result};
use crate::topic_partition::TopicPartition;

mod counting;
mod fetcher_wakes;
mod member_state;
mod reads;

pub(crate) use self::fetcher_wakes::FetcherWakes;
pub(crate) use self::member_state::{Closing, MemberState};

/// Batches may decompress to so much, however small `fetch.buffer.bytes` is.
const LEAST_BATCH_LIMIT: usize = 16 << 20;

/// Called with what happens besides records and errors.
pub(crate) type OnEvent = Box<dyn Fn(&ConsumerEvent) + Send + Sync>;

pub(crate) struct Shared {
    pub(crate) cluster: Cluster,
    pub(crate) settings: ConsumerSettings,
    pub(crate) policy: CommitPolicy,
    pub(crate) group: Option<Arc<str>>,
    /// `default.api.timeout.ms`.
    pub(crate) api_timeout: Duration,
    pub(crate) reading: Reading,
    pub(crate) budget: Arc<FetchBudget>,
    pub(crate) fetchers: Arc<FetcherWakes>,
    pub(crate) driver: Notify,
    /// There may be something to read. Only one reads.
    readable: Notify,
    state: Mutex<State>,
    /// Tells the tasks to end.
    ended: AtomicBool,
    /// The application closed the consumer: nothing can be changed any more.
    closed: AtomicBool,
    /// The last read ended in an error, which may come again at once.
    failed: AtomicBool,
    pub(crate) commits: CommitQueue,
    on_event: Option<OnEvent>,
    pub(crate) releases: Arc<Releases>,
    /// Whether the group divides the partitions, rather than the application.
    pub(crate) subscribes: bool,
    /// The driver has ended.
    pub(crate) gone: watch::Sender<bool>,
}

/// What is behind the one lock.
pub(crate) struct State {
    pub(crate) assignment: Assignment,
    /// Why nothing can be read any more.
    end: Option<Error>,
    /// When the application last came for a batch.
    last_read: Time,
    /// Why a position was not found at the last try.
    pub(crate) doubt: Option<Error>,
    /// What the application and the driver of a member tell each other.
    pub(crate) member: MemberState,
    pub(crate) tally: Tally,
}

/// What a shared consumer is made of.
pub(crate) struct Parts {
    pub(crate) cluster: Cluster,
    pub(crate) settings: ConsumerSettings,
    pub(crate) policy: CommitPolicy,
    pub(crate) group: Option<Arc<str>>,
    pub(crate) api_timeout: Duration,
    /// What is read; `None` to let the group divide its partitions.
    pub(crate) partitions: Option<BTreeMap<TopicPartition, Position>>,
    pub(crate) on_event: Option<OnEvent>,
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let Parts { cluster, settings, policy, group, api_timeout, partitions, on_event } = parts;
        let fetchers = Arc::new(FetcherWakes::default());
        let wakes = fetchers.clone();
        // A small budget must not make batches unreadable that every broker accepts; places in a chunk have 32 bits.
        let batch_limit = settings.fetch_buffer_bytes.clamp(LEAST_BATCH_LIMIT, u32::MAX as usize);
        let reading = Reading { isolation: settings.isolation_level, check_crcs: settings.check_crcs, batch_limit };
        let subscribes = partitions.is_none();
        Arc::new_cyclic(|shared: &Weak<Self>| {
            let shared = shared.clone();
            let wake = move || {
                if let Some(shared) = shared.upgrade() {
                    shared.driver.notify_one();
                    shared.wake_reader();
                }
            };
            let releases = Releases::new(Box::new(wake));
            let holding = Holding { by_record: policy == CommitPolicy::Acked, releases: releases.clone() };
            let mut assignment = Assignment::new(settings.max_partition_fetch_bytes, holding);
            assignment.add(partitions.unwrap_or_default());
            let member = MemberState::default();
            let state =
                State { assignment, end: None, last_read: Time::ZERO, doubt: None, member, tally: Tally::default() };
            Self {
                budget: FetchBudget::new(settings.fetch_buffer_bytes, Box::new(move || wakes.wake_all())),
                cluster,
                settings,
                policy,
                group,
                api_timeout,
                reading,
                fetchers,
                driver: Notify::new(),
                readable: Notify::new(),
                state: Mutex::new(state),
                releases,
                subscribes,
                gone: watch::Sender::new(false),
                ended: AtomicBool::new(false),
                closed: AtomicBool::new(false),
                failed: AtomicBool::new(false),
                commits: CommitQueue::default(),
                on_event,
            }
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Time {
        self.cluster.net().now()
    }

    /// What `auto.offset.reset` means now.
    pub(crate) fn reset_policy(&self) -> Option<Target> {
        reset_target(self.settings.auto_offset_reset, self.cluster.net().clock.wall())
    }

    /// There may be something to read.
    pub(crate) fn wake_reader(&self) {
        self.readable.notify_one();
    }

    /// Something was changed by the application: everybody looks again.
    pub(crate) fn wake_all(&self) {
        self.driver.notify_one();
        self.fetchers.wake_all();
        self.wake_reader();
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// The tasks end, and reads fail with `why` from now on.
    pub(crate) fn end(&self, why: Error) {
        self.fail(why);
        self.abandon();
    }

    /// Reads fail with `why` from now on.
    pub(crate) fn fail(&self, why: Error) {
        self.lock().end.get_or_insert(why);
        self.wake_reader();
    }

    /// Nobody reads any more: the tasks end. What was handed out can still be committed.
    pub(crate) fn abandon(&self) {
        self.ended.store(true, Ordering::Release);
        self.wake_all();
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.abandon();
    }

    /// Whether the application closed the consumer.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// # Errors
    /// If nothing can be changed any more.
    pub(crate) fn open(&self) -> Result<()> {
        if self.is_closed() {
            return Err(Error::closed("consumer"));
        }
        if self.cluster.is_closed() { Err(Error::closed("client")) } else { Ok(()) }
    }

    /// The group, for what needs one.
    pub(crate) fn group(&self, doing: &str) -> Result<Arc<str>> {
        self.group.clone().ok_or_else(|| {
            Error::new(
                ErrorKind::Usage,
                format!("{doing} needs a group: make the consumer with Client::consumer(group)"),
            )
        })
    }

    /// Stores what the application says, in the order of the calls.
    pub(crate) async fn commit(self: &Arc<Self>, offsets: Vec<ToCommit>, deadline: Time) -> Result<()> {
        self.store(Commit::These(offsets), true, deadline).await
    }

    /// Stores what is done and not stored yet, because the application asked for it.
    pub(crate) async fn commit_done_now(self: &Arc<Self>, deadline: Time) -> Result<()> {
        self.store(Commit::Done, true, deadline).await
    }

    /// Stores what is done under the policy and not stored yet.
    pub(crate) async fn commit_done(self: &Arc<Self>, deadline: Time) -> Result<()> {
        match self.commits_by_itself() {
            true => self.store(Commit::Done, false, deadline).await,
            false => Ok(()),
        }
    }

    /// As whom to commit. What is not owned any more is taken out of `offsets`, and `lost` hears of it; so is what is stored already.
    pub(crate) fn committer(&self, offsets: &mut Vec<ToCommit>, mut lost: impl FnMut(Error)) -> Committer {
        let state = self.lock();
        let committer = match &state.member.committer {
            None if self.subscribes => None,
            None => Some(Committer::Nobody),
            Some(member) => Some(member.clone()),
        };
        offsets.retain(|offset| {
            let owned = match &committer {
                Some(_) => state.assignment.check_lease(offset),
                None => Err(not_assigned(&offset.partition)),
            };
            owned.map_err(&mut lost).is_ok() && !state.assignment.is_stored(offset)
        });
        committer.unwrap_or(Committer::Nobody)
    }

    /// A commit in this name was refused; perhaps because the group went on without the member.
    pub(crate) fn on_refused_commit(&self, identity: &Identity, code: ErrorCode) {
        let mut state = self.lock();
        let refused = (identity.clone(), code);
        if !state.member.refused.contains(&refused) {
            state.member.refused.push(refused);
        }
        self.driver.notify_one();
    }

    pub(crate) fn commits_by_itself(&self) -> bool {
        match self.policy {
            CommitPolicy::Returned | CommitPolicy::Acked => self.group.is_some(),
            CommitPolicy::Manual => false,
        }
    }

    /// Tells the application's callback what happened.
    pub(crate) fn emit_events(&self) {
        let events = self.lock().assignment.take_events();
        for event in events {
            warn!(?event, "consumer");
            let Some(on_event) = &self.on_event else { continue };
            if catch_unwind(AssertUnwindSafe(|| on_event(&event))).is_err() {
                error!(?event, "the consumer's event callback panicked");
                let text = format!("the consumer's event callback panicked at {event:?}");
                self.report(Error::new(ErrorKind::UserCode, text));
            }
        }
    }

    /// The next read returns this error, if no other is waiting.
    pub(crate) fn report(&self, error: Error) {
        self.lock().assignment.report.get_or_insert(error);
        self.wake_reader();
    }
}

impl State {
    pub(crate) fn why_it_ended(&self) -> Error {
        self.end.clone().unwrap_or_else(|| Error::closed("consumer"))
    }

    /// The assignment, if it can still be read.
    fn reading(&mut self) -> Result<&mut Assignment> {
        match &self.end {
            Some(error) => Err(error.clone()),
            None => Ok(&mut self.assignment),
        }
    }
}
