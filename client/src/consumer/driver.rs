//! The consumer's task: finds positions, follows the metadata, commits what is done. IO.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt};
use milena_protocol::ErrorCode;
use tracing::{debug, warn};

use super::coordinator::{self, CommittedAnswers};
use super::fetcher::Fetcher;
use super::group_member::GroupMember;
use super::lease::FetchPosition;
use super::list_offsets::{self, Answer, Asked};
use super::offsets::CommittedOffset;
use super::positions::{Ask, Resolved};
use super::shared::Shared;
use crate::clock::Time;
use crate::error::{Error, ErrorKind, Result};
use crate::net::connection;
use crate::topic_partition::TopicPartition;

type Replies = FuturesUnordered<Pin<Box<dyn Future<Output = Reply> + Send>>>;

/// What was answered, with what had been asked.
enum Reply {
    Offsets(Vec<Asked>, Result<BTreeMap<TopicPartition, Answer>>),
    EpochEnds(Vec<Asked>, Result<BTreeMap<TopicPartition, Answer>>),
    Committed(Vec<Asked>, Result<CommittedAnswers>),
    Stored(Result<()>),
}

/// Runs until the consumer or the client ends.
pub(crate) async fn run(shared: Arc<Shared>, mut member: Option<GroupMember>) {
    let _ending = Ending(shared.clone());
    let mut closing = shared.cluster.closing();
    let mut changes = shared.cluster.changes();
    let mut replies = Replies::new();
    let mut commit_at =
        shared.commits_by_itself().then(|| shared.now().saturating_add(shared.settings.auto_commit_interval));
    #[cfg(feature = "metrics")]
    let mut publisher = super::metrics::facade::Publisher::new(&shared);
    let mut storing = false;
    let mut view_changed = true;
    loop {
        if closing.look() {
            shared.end(Error::closed("client"));
        }
        if shared.is_ended() {
            if let Some(member) = member {
                member.abandon().await;
            }
            return;
        }
        let now = shared.now();
        if let Some(member) = &mut member {
            if view_changed {
                member.on_view(now);
            }
            view_changed |= member.turn(now);
            if member.is_over() {
                return;
            }
        } else if shared.releases.take_dropped() {
            shared.lock().assignment.tell_dropped();
        }
        if std::mem::take(&mut view_changed) {
            follow_metadata(&shared);
            if member.as_mut().is_some_and(|member| member.tell_recreated(now)) {
                continue;
            }
        }
        ask(&shared, &replies, now);
        shared.emit_events();
        if commit_at.is_some_and(|due| due <= now) {
            commit_at = Some(now.saturating_add(shared.settings.auto_commit_interval));
            if !std::mem::replace(&mut storing, true) {
                let (shared, deadline) = (shared.clone(), now.saturating_add(shared.api_timeout));
                replies.push(Box::pin(async move { Reply::Stored(shared.commit_done(deadline).await) }));
            }
        }
        let positions = shared.lock().assignment.next_deadline(now);
        let of_member = member.as_ref().and_then(GroupMember::next_deadline);
        #[cfg(feature = "metrics")]
        let publishing = Some(publisher.turn(now));
        #[cfg(not(feature = "metrics"))]
        let publishing = None;
        let deadline = [commit_at, positions, of_member, publishing].into_iter().flatten().min();
        let event = async {
            match &mut member {
                Some(member) => member.next_event().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = closing.changed() => {}
            // Before the deadline: a listener that has no time left is called all the same.
            event = event => {
                if let Some(member) = &mut member {
                    member.on_event(event, shared.now());
                }
            }
            () = shared.cluster.net().sleep_until(deadline) => {}
            Some(reply) = replies.next(), if !replies.is_empty() => {
                storing &= !matches!(reply, Reply::Stored(_));
                on_reply(&shared, reply);
            }
            () = changes.changed() => view_changed = true,
            () = shared.driver.notified() => {}
        }
    }
}

/// However the task ends, readers hear of it.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end(Error::closed("consumer"));
        self.0.gone.send_replace(true);
    }
}

/// Takes over who leads what, and connects to brokers that lead something now.
fn follow_metadata(shared: &Arc<Shared>) {
    let view = shared.cluster.view();
    let policy = shared.reset_policy();
    let (brokers, lacking) = {
        let mut state = shared.lock();
        (state.assignment.on_view(&view, policy), state.assignment.lacks_a_leader())
    };
    if lacking {
        // Perhaps the leader of the group knows of partitions that are news here.
        shared.cluster.request_refresh();
    }
    for broker in brokers {
        if let Some(wake) = shared.fetchers.add(broker) {
            let net = shared.cluster.net().clone();
            let fetcher = Fetcher::new(shared.clone(), broker);
            shared.cluster.net().runtime.spawn(Box::pin(connection::run(net, wake, fetcher)));
        }
    }
    shared.fetchers.wake_all();
    shared.wake_reader();
}

/// Asks brokers for positions that are wanted, one request to each for each kind of question.
fn ask(shared: &Arc<Shared>, replies: &Replies, now: Time) {
    let questions = shared.lock().assignment.questions(now);
    let mut offsets: BTreeMap<i32, Vec<Asked>> = BTreeMap::new();
    let mut epochs: BTreeMap<i32, Vec<Asked>> = BTreeMap::new();
    let mut committed = Vec::new();
    for question in questions {
        let leader = question.leader;
        let asked = |about| Asked {
            partition: question.partition.clone(),
            generation: question.question.generation,
            leader_epoch: leader.map_or(-1, |leader| leader.epoch),
            about,
        };
        match (question.question.ask, leader) {
            (Ask::Committed, _) => committed.push(asked(0)),
            (Ask::Offset(timestamp), Some(leader)) => offsets.entry(leader.broker).or_default().push(asked(timestamp)),
            (Ask::EpochEnd(epoch), Some(leader)) => {
                epochs.entry(leader.broker).or_default().push(asked(i64::from(epoch)));
            }
            (Ask::Offset(_) | Ask::EpochEnd(_), None) => {
                no_answer(shared, &asked(0), None);
                shared.cluster.request_refresh();
            }
        }
    }
    for (leader, asked) in offsets {
        let (cluster, isolation) = (shared.cluster.clone(), shared.settings.isolation_level);
        replies.push(Box::pin(async move {
            let answers = list_offsets::list_offsets(&cluster, leader, isolation, asked.clone()).await;
            Reply::Offsets(asked, answers)
        }));
    }
    for (leader, asked) in epochs {
        let cluster = shared.cluster.clone();
        replies.push(Box::pin(async move {
            let answers = list_offsets::epoch_ends(&cluster, leader, asked.clone()).await;
            Reply::EpochEnds(asked, answers)
        }));
    }
    if let (false, Some(group)) = (committed.is_empty(), shared.group.clone()) {
        let (cluster, deadline) = (shared.cluster.clone(), now.saturating_add(shared.api_timeout));
        replies.push(Box::pin(async move {
            let partitions: Vec<_> = committed.iter().map(|asked| asked.partition.clone()).collect();
            let found = coordinator::fetch_each_committed(&cluster, &group, &partitions, deadline).await;
            Reply::Committed(committed, found)
        }));
    }
}

fn on_reply(shared: &Arc<Shared>, reply: Reply) {
    match reply {
        Reply::Offsets(asked, answers) => each(shared, &asked, answers, |shared, asked, found| {
            if found.is_none() && asked.about < 0 {
                // Every log has a beginning and an end.
                return no_answer(shared, asked, None);
            }
            let policy = shared.reset_policy();
            shared
                .lock()
                .assignment
                .on_answer(&asked.partition, policy, |fetch| fetch.on_offset(asked.generation, found));
        }),
        Reply::EpochEnds(asked, Err(error)) if error.kind() == ErrorKind::Protocol => {
            // An old broker: nothing can be found out, and nothing could have been before.
            debug!(%error, "positions are not validated");
            for asked in &asked {
                shared.lock().assignment.on_answer(&asked.partition, None, |fetch| {
                    fetch.on_epoch_end_unknown(asked.generation);
                    Resolved::Nothing
                });
            }
        }
        Reply::EpochEnds(asked, answers) => each(shared, &asked, answers, |shared, asked, end| {
            let policy = shared.reset_policy();
            let end = end.unwrap_or(FetchPosition { offset: -1, epoch: -1 });
            let mut state = shared.lock();
            state
                .assignment
                .on_answer(&asked.partition, policy, |fetch| fetch.on_epoch_end(asked.generation, end, policy));
        }),
        Reply::Committed(asked, answers) => {
            let at = |stored: Option<CommittedOffset>| stored.map(|stored| stored.position());
            let answers =
                answers.map(|found| found.into_iter().map(|(partition, stored)| (partition, stored.map(at))).collect());
            each(shared, &asked, answers, |shared, asked, stored| {
                let lags = |stored| {
                    let state = shared.lock();
                    state.assignment.get(&asked.partition).is_some_and(|one| one.fetch.lags_behind(stored))
                };
                if stored.is_some_and(lags) {
                    shared.cluster.request_refresh();
                    return no_answer(shared, asked, None);
                }
                let policy = shared.reset_policy();
                let mut state = shared.lock();
                state
                    .assignment
                    .on_answer(&asked.partition, policy, |fetch| fetch.on_committed(asked.generation, stored, policy));
            });
        }
        Reply::Stored(Ok(())) => {}
        Reply::Stored(Err(error)) => {
            warn!(%error, "offsets that are done were not committed; trying again at the next interval");
            if !error.is_retriable() && !matches!(error.kind(), ErrorKind::Closed | ErrorKind::PartitionLost) {
                shared.report(error);
            }
        }
    }
    shared.fetchers.wake_all();
    shared.wake_reader();
}

/// Applies the answer of each partition that has one; the others are asked again later.
fn each(
    shared: &Arc<Shared>,
    asked: &[Asked],
    answers: Result<BTreeMap<TopicPartition, Answer>>,
    apply: impl Fn(&Shared, &Asked, Option<FetchPosition>),
) {
    let answers = match answers {
        Ok(answers) => answers,
        Err(error) => {
            shared.lock().doubt = Some(error.clone());
            let report = (!error.is_retriable()).then_some(error);
            for asked in asked {
                no_answer(shared, asked, report.clone());
            }
            return;
        }
    };
    for asked in asked {
        match answers.get(&asked.partition) {
            Some(Ok(found)) => apply(shared, asked, *found),
            Some(Err(code)) => {
                debug!(partition = %asked.partition, %code, "no position yet");
                if code.refreshes_metadata() || *code == ErrorCode::UNKNOWN_LEADER_EPOCH {
                    shared.cluster.request_refresh();
                }
                let text = format!("finding where to read {} failed: {code}", asked.partition);
                let error = Error::new(ErrorKind::Broker, text).with_code(*code);
                let error = error.with_topic_partition(asked.partition.clone());
                shared.lock().doubt = Some(error.clone());
                no_answer(shared, asked, (!code.is_retriable()).then_some(error));
            }
            None => no_answer(shared, asked, None),
        }
    }
}

fn no_answer(shared: &Shared, asked: &Asked, report: Option<Error>) {
    let now = shared.now();
    let pause = |failures| shared.cluster.retry_delay(failures);
    shared.lock().assignment.on_no_answer(&asked.partition, asked.generation, now, pause, report);
}
