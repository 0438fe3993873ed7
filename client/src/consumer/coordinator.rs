//! A group's offsets: OffsetCommit and OffsetFetch. IO.

use std::collections::BTreeMap;
use std::time::Duration;

use milena_protocol::ErrorCode;
use milena_protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use milena_protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use milena_protocol::primitives::Uuid;
use tracing::{debug, warn};

use super::commits::{Committer, ToCommit};
use super::lease::FetchPosition;
use super::membership::{Identity, fenced};
use super::shared::Shared;
use crate::clock::Time;
use crate::cluster::{Cluster, UNKNOWN_TOPIC};
use crate::error::{Error, ErrorKind, Result};
use crate::topic_partition::TopicPartition;

/// From these versions on, topics are named by their ids alone.
const COMMIT_BY_ID: i16 = 10;
const FETCH_BY_ID: i16 = 10;
/// From this version on, one request may ask about several groups.
const FETCH_GROUPS: i16 = 8;

/// A topic that is not known so many times in a row may be gone.
const ENOUGH_UNKNOWN: u32 = 3;

/// Stores offsets for the group, trying again while that may help. Each partition is judged by itself: what is wrong with one
/// holds up no other. A topic that the coordinator does not know is given up soon: with an error if the commit was `asked_for`,
/// else with a warning.
///
/// # Errors
/// `Usage` if the group has members and this is none; `PartitionLost` if a partition is not owned any more, with the broker's code
/// if the group went on without this member; `Broker` if the group or a partition may not be committed; `TimedOut` at the
/// deadline; `Closed`. Other partitions may be stored.
///
/// # Cancel safety
/// The offsets may be stored all the same.
pub(crate) async fn commit(shared: &Shared, mut offsets: Vec<ToCommit>, asked_for: bool, deadline: Time) -> Result<()> {
    let (cluster, group) = (&shared.cluster, shared.group("committing offsets")?);
    let doing = format!("committing offsets of group \"{group}\"");
    let mut attempts = Attempts::new(cluster, &group, &doing, deadline);
    let mut unknown = UnknownTopics { asked_for, topics: BTreeMap::new() };
    let mut failed: Option<Error> = None;
    // What the coordinator said of partitions whose member it does not take for one; it may, under another generation.
    let mut disowned: BTreeMap<TopicPartition, Error> = BTreeMap::new();
    loop {
        let broker = match attempts.coordinator().await {
            Ok(broker) => broker,
            Err(error) => return Err(failed.unwrap_or(error)),
        };
        if shared.is_closed() {
            return Err(Error::closed("consumer"));
        }
        let committer = shared.committer(&mut offsets, |error| {
            let said = error.topic_partition().and_then(|partition| disowned.remove(partition));
            failed.get_or_insert(said.unwrap_or(error));
        });
        offsets.retain(|offset| match recreated(cluster, offset) {
            Some(error) => {
                unknown.give_up(error, &mut failed);
                false
            }
            None => true,
        });
        if offsets.is_empty() {
            return failed.map_or(Ok(()), Err);
        }
        let (member_id, group_instance_id, generation_id_or_member_epoch) = match committer.clone() {
            Committer::Nobody => (String::new(), None, -1),
            Committer::Member(Identity { member_id, instance_id, generation }) => (member_id, instance_id, generation),
        };
        let topics = topics_of(cluster, offsets.iter().map(|offset| (&offset.partition, offset.topic_id, offset.next)));
        let names = Names::of(&topics);
        let group_id = group.to_string();
        let build = move |_| {
            let topics = topics.into_iter().map(|Topic { name, id, partitions }| OffsetCommitRequestTopic {
                name,
                topic_id: id,
                partitions: partitions.into_iter().map(|(index, next)| commit_entry(index, next)).collect(),
            });
            let topics = topics.collect();
            OffsetCommitRequest {
                group_id,
                member_id,
                group_instance_id,
                generation_id_or_member_epoch,
                topics,
                ..Default::default()
            }
        };
        let answer = match cluster.call::<OffsetCommitRequest>(broker, attempts.timeout(), build).await {
            Ok(answer) => answer,
            Err(error) => {
                attempts.on_failed(broker, error).map_err(|error| failed.take().unwrap_or(error))?;
                continue;
            }
        };
        let codes = names.read_commit(&answer.body, answer.version >= COMMIT_BY_ID);
        let (mut stored, mut left) = (Vec::new(), Vec::new());
        // Why it is worth trying again; a topic that is not known says the least.
        let (mut again, mut not_known) = (None, None);
        for offset in offsets {
            // Left out of the answer: nobody knows.
            let code = codes.get(&offset.partition).copied().unwrap_or(ErrorCode::REQUEST_TIMED_OUT);
            if code.is_none() {
                stored.push(offset);
                continue;
            }
            let error = refused(&group, broker, &offset, code, &committer);
            if let (Committer::Member(identity), true) = (&committer, is_about_member(code)) {
                shared.on_refused_commit(identity, code);
                if code != ErrorCode::FENCED_INSTANCE_ID {
                    disowned.insert(offset.partition.clone(), error.clone());
                    again = Some(error);
                    left.push(offset);
                    continue;
                }
            }
            if is_unknown(code) {
                match unknown.is_hopeless(cluster, &offset.partition) {
                    true => unknown.give_up(error, &mut failed),
                    false => {
                        not_known = Some(error);
                        left.push(offset);
                    }
                }
            } else if error.is_retriable() {
                again = Some(error);
                left.push(offset);
            } else {
                failed.get_or_insert(error);
            }
        }
        shared.lock().assignment.on_committed(&stored);
        if not_known.is_some() {
            cluster.request_refresh();
        }
        match again.or(not_known) {
            Some(error) => {
                attempts
                    .on_failed(broker, error.with_retriable(true))
                    .map_err(|error| failed.take().unwrap_or(error))?;
            }
            None => return failed.map_or(Ok(()), Err),
        }
        offsets = left;
    }
}

/// The topics that the coordinator said it does not know.
struct UnknownTopics {
    asked_for: bool,
    /// How often, and since when.
    topics: BTreeMap<TopicPartition, (u32, Time)>,
}

impl UnknownTopics {
    /// It does not know this one, once more. Whether it is no use to wait until it does.
    fn is_hopeless(&mut self, cluster: &Cluster, partition: &TopicPartition) -> bool {
        let now = cluster.net().now();
        let (answers, since) = self.topics.entry(partition.clone()).or_insert((0, now));
        *answers += 1;
        if *answers < ENOUGH_UNKNOWN {
            return false;
        }
        // What is committed was read, so the topic is rather gone than too new. But the broker may lag behind.
        let view = cluster.view();
        let is_gone = view.topic(partition.topic()).is_none_or(|topic| !topic.error.is_none());
        is_gone || !self.asked_for || since.saturating_add(UNKNOWN_TOPIC) <= now
    }

    fn give_up(&self, error: Error, failed: &mut Option<Error>) {
        if self.asked_for {
            failed.get_or_insert(error);
        } else {
            warn!(%error, "an offset that is done is not committed");
        }
    }
}

/// Whether the coordinator objects to the member rather than to the offset. The membership decides what that means: while a
/// cooperative member keeps its partitions over a rebalance, it may commit again as soon as that is over.
fn is_about_member(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::UNKNOWN_MEMBER_ID
            | ErrorCode::ILLEGAL_GENERATION
            | ErrorCode::REBALANCE_IN_PROGRESS
            | ErrorCode::FENCED_INSTANCE_ID
    )
}

fn is_unknown(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::UNKNOWN_TOPIC_ID)
}

/// Why this is not committed if another topic has taken the place of the one that it was read from.
fn recreated(cluster: &Cluster, offset: &ToCommit) -> Option<Error> {
    let ToCommit { partition, topic_id, next, .. } = offset;
    let current = cluster.view().topic(partition.topic()).map_or(Uuid::ZERO, |topic| topic.id);
    if topic_id.is_zero() || current.is_zero() || *topic_id == current {
        return None;
    }
    let text = format!(
        "cannot commit {partition} at offset {}: the topic was deleted and created again since, and offsets of the old one mean \
         nothing in the new one",
        next.offset
    );
    Some(Error::new(ErrorKind::PartitionLost, text).with_topic_partition(partition.clone()))
}

fn commit_entry(partition_index: i32, next: FetchPosition) -> OffsetCommitRequestPartition {
    OffsetCommitRequestPartition {
        partition_index,
        committed_offset: next.offset,
        committed_leader_epoch: next.epoch,
        ..Default::default()
    }
}

/// What it means that the coordinator did not store this.
fn refused(group: &str, broker: i32, offset: &ToCommit, code: ErrorCode, committer: &Committer) -> Error {
    let ToCommit { partition, next, .. } = offset;
    let doing = format_args!("committing {partition} at offset {} for group \"{group}\"", next.offset);
    match code {
        ErrorCode::FENCED_INSTANCE_ID => {
            let instance_id = match committer {
                Committer::Nobody => None,
                Committer::Member(identity) => identity.instance_id.as_deref(),
            };
            let text = format!("{doing} failed: {code} from broker {broker}{}", fenced(instance_id));
            Error::new(ErrorKind::Fenced, text).with_code(code).with_topic_partition(partition.clone())
        }
        ErrorCode::UNKNOWN_MEMBER_ID
        | ErrorCode::ILLEGAL_GENERATION
        | ErrorCode::REBALANCE_IN_PROGRESS
        | ErrorCode::STALE_MEMBER_EPOCH => {
            let (kind, why) = match committer {
                Committer::Nobody => (
                    ErrorKind::Usage,
                    "the group has members, which alone may commit: use another group for assigned partitions, or subscribe",
                ),
                Committer::Member(_) => (
                    ErrorKind::PartitionLost,
                    "the group went on without this consumer: whoever has the partition now reads it again",
                ),
            };
            let text = format!("{doing} failed: {code} from broker {broker}; {why}");
            let error = Error::new(kind, text).with_code(code).with_retriable(false);
            error.with_topic_partition(partition.clone())
        }
        code => Error::broker(doing, code, broker).with_topic_partition(partition.clone()),
    }
}

/// What the group has stored for these partitions; `None` where there is nothing. Tries again while that may help, also while a
/// transaction is about to store something.
///
/// # Errors
/// `Broker` if the group or a topic may not be read; `TimedOut` at the deadline.
///
/// # Cancel safety
/// Dropping the future changes nothing.
pub(crate) async fn fetch_committed(
    cluster: &Cluster,
    group: &str,
    partitions: &[TopicPartition],
    deadline: Time,
) -> Result<BTreeMap<TopicPartition, Option<FetchPosition>>> {
    let doing = format!("fetching the committed offsets of group \"{group}\"");
    let mut attempts = Attempts::new(cluster, group, &doing, deadline);
    loop {
        let broker = attempts.coordinator().await?;
        let nowhere = FetchPosition { offset: -1, epoch: -1 };
        let topics = topics_of(cluster, partitions.iter().map(|partition| (partition, Uuid::ZERO, nowhere)));
        let names = Names::of(&topics);
        let group_id = group.to_owned();
        let build = move |version| offset_fetch(group_id, topics, version);
        let answer = cluster.call::<OffsetFetchRequest>(broker, attempts.timeout(), build).await;
        let outcome = answer.and_then(|answer| {
            let found = names.read_fetch(answer.body, answer.version);
            let found = found.map_err(|code| Error::broker(&doing, code, broker))?;
            let of = |partition: &TopicPartition| {
                let answer = found.get(partition).copied().unwrap_or(Err(ErrorCode::REQUEST_TIMED_OUT));
                let fail = |code| {
                    let doing = format_args!("fetching the committed offset of {partition} for group \"{group}\"");
                    Error::broker(doing, code, broker).with_topic_partition(partition.clone())
                };
                Ok((partition.clone(), answer.map_err(fail)?))
            };
            partitions.iter().map(of).collect::<Result<_>>()
        });
        match outcome {
            Ok(found) => return Ok(found),
            Err(error) => attempts.on_failed(broker, error)?,
        }
    }
}

fn offset_fetch(group_id: String, topics: Vec<Topic>, version: i16) -> OffsetFetchRequest {
    let indexes = |topic: &Topic| topic.partitions.iter().map(|(index, _)| *index).collect();
    if version < FETCH_GROUPS {
        let topics = topics
            .into_iter()
            .map(|topic| OffsetFetchRequestTopic { partition_indexes: indexes(&topic), name: topic.name });
        let topics = Some(topics.collect());
        return OffsetFetchRequest { group_id, topics, require_stable: version >= 7, ..Default::default() };
    }
    let topics = topics.into_iter().map(|topic| OffsetFetchRequestTopics {
        partition_indexes: indexes(&topic),
        name: topic.name,
        topic_id: topic.id,
    });
    let group = OffsetFetchRequestGroup { group_id, topics: Some(topics.collect()), ..Default::default() };
    OffsetFetchRequest { groups: vec![group], require_stable: true, ..Default::default() }
}

/// One topic in a request.
struct Topic {
    name: String,
    id: Uuid,
    partitions: Vec<(i32, FetchPosition)>,
}

/// A topic whose id is not given has the one that is known.
fn topics_of<'a>(
    cluster: &Cluster,
    partitions: impl Iterator<Item = (&'a TopicPartition, Uuid, FetchPosition)>,
) -> Vec<Topic> {
    let view = cluster.view();
    let known = |name: &str| view.topic(name).map_or(Uuid::ZERO, |topic| topic.id);
    let mut topics: BTreeMap<&str, Topic> = BTreeMap::new();
    for (partition, id, position) in partitions {
        let name = partition.topic();
        let topic = topics.entry(name).or_insert_with(|| Topic {
            name: name.to_owned(),
            id: if id.is_zero() { known(name) } else { id },
            partitions: Vec::new(),
        });
        topic.partitions.push((partition.partition(), position));
    }
    topics.into_values().collect()
}

/// The names for the topic ids of a request.
struct Names(BTreeMap<Uuid, String>);

impl Names {
    fn of(topics: &[Topic]) -> Self {
        Self(topics.iter().map(|topic| (topic.id, topic.name.clone())).collect())
    }

    fn partition(&self, by_id: bool, name: &str, id: Uuid, index: i32) -> Option<TopicPartition> {
        let name = if by_id { self.0.get(&id)?.as_str() } else { name };
        Some((name, index).into())
    }

    fn read_commit(&self, body: &OffsetCommitResponse, by_id: bool) -> BTreeMap<TopicPartition, ErrorCode> {
        let mut codes = BTreeMap::new();
        for topic in &body.topics {
            for partition in &topic.partitions {
                let name = self.partition(by_id, &topic.name, topic.topic_id, partition.partition_index);
                if let Some(name) = name {
                    codes.entry(name).or_insert(partition.error_code);
                }
            }
        }
        codes
    }

    /// Stored offsets, or the error of a partition; or that of the group.
    #[allow(clippy::type_complexity, reason = "a map of answers, or an error")]
    fn read_fetch(
        &self,
        body: OffsetFetchResponse,
        version: i16,
    ) -> Result<BTreeMap<TopicPartition, Result<Option<FetchPosition>, ErrorCode>>, ErrorCode> {
        let mut found = BTreeMap::new();
        let mut take = |name: Option<TopicPartition>, code: ErrorCode, offset, epoch| {
            if let Some(name) = name {
                let stored = (offset >= 0).then_some(FetchPosition { offset, epoch });
                found.entry(name).or_insert(code.ok().map(|()| stored));
            }
        };
        if version < FETCH_GROUPS {
            body.error_code.ok()?;
            for topic in body.topics {
                for partition in topic.partitions {
                    let name = self.partition(false, &topic.name, Uuid::ZERO, partition.partition_index);
                    take(name, partition.error_code, partition.committed_offset, partition.committed_leader_epoch);
                }
            }
            return Ok(found);
        }
        let by_id = version >= FETCH_BY_ID;
        for group in body.groups.into_iter().take(1) {
            group.error_code.ok()?;
            for topic in group.topics {
                for partition in topic.partitions {
                    let name = self.partition(by_id, &topic.name, topic.topic_id, partition.partition_index);
                    take(name, partition.error_code, partition.committed_offset, partition.committed_leader_epoch);
                }
            }
        }
        Ok(found)
    }
}

/// Tries at the coordinator of a group, until a deadline.
struct Attempts<'a> {
    cluster: &'a Cluster,
    group: &'a str,
    doing: &'a str,
    deadline: Time,
    failures: u32,
    last: Option<Error>,
}

impl<'a> Attempts<'a> {
    fn new(cluster: &'a Cluster, group: &'a str, doing: &'a str, deadline: Time) -> Self {
        Self { cluster, group, doing, deadline, failures: 0, last: None }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_sub(self.cluster.net().now())
    }

    fn timeout(&self) -> Duration {
        self.left().min(self.cluster.net().limits.request_timeout)
    }

    /// The broker to try next, after a pause if the last try failed.
    async fn coordinator(&mut self) -> Result<i32> {
        loop {
            if self.failures > 0 {
                let pause = self.cluster.retry_delay(self.failures).min(self.left());
                tokio::time::sleep(pause).await;
            }
            if self.cluster.is_closed() {
                return Err(Error::closed("client"));
            }
            if self.left().is_zero() {
                let error = Error::new(ErrorKind::TimedOut, format!("{} was not done in time", self.doing));
                return Err(match self.last.take() {
                    Some(cause) => error.with_source(cause),
                    None => error,
                });
            }
            // Asking has no timeout of its own.
            let asked = tokio::time::timeout(self.left(), self.cluster.coordinator(self.group)).await;
            match asked {
                Ok(Ok(broker)) => return Ok(broker),
                Ok(Err(error)) => self.on_error(error)?,
                Err(_) => self.failures += 1,
            }
        }
    }

    fn on_failed(&mut self, broker: i32, error: Error) -> Result<()> {
        let moved = match error.code() {
            Some(code) => matches!(
                code,
                ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE | ErrorCode::REQUEST_TIMED_OUT
            ),
            // No answer: the connection is gone, or the broker is.
            None => true,
        };
        if moved {
            self.cluster.on_wrong_coordinator(self.group, broker);
        }
        if error.code().is_some_and(ErrorCode::refreshes_metadata) {
            self.cluster.request_refresh();
        }
        self.on_error(error)
    }

    fn on_error(&mut self, error: Error) -> Result<()> {
        if !error.is_retriable() {
            return Err(error);
        }
        debug!(group = self.group, %error, "{}: trying again", self.doing);
        self.failures += 1;
        self.last = Some(error);
        Ok(())
    }
}
