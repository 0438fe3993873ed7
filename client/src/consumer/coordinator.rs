//! A group's offsets: OffsetCommit, and beside it OffsetFetch. IO.

use std::collections::BTreeMap;

use milena_protocol::ErrorCode;
use milena_protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use milena_protocol::primitives::Uuid;
use tracing::warn;

use super::commits::{Committer, ToCommit};
use super::lease::FetchPosition;
use super::membership::{Identity, fenced};
use super::shared::Shared;
use crate::clock::Time;
use crate::cluster::{Cluster, UNKNOWN_TOPIC};
use crate::error::{Error, ErrorKind, Result};
use crate::topic_partition::TopicPartition;

mod attempts;
mod committed;
mod topics;

use self::attempts::Attempts;
pub(crate) use self::committed::{fetch_committed, fetch_each_committed};
pub(crate) use self::topics::Answers as CommittedAnswers;
use self::topics::{Names, Topic, topics_of};

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
        let entry = |offset: &ToCommit| (offset.next, offset.metadata.to_string());
        let entries = offsets.iter().map(|offset| (&offset.partition, offset.topic_id, entry(offset)));
        let topics = topics_of(&cluster.view(), entries);
        let names = Names::of(&topics);
        let group_id = group.to_string();
        let build = move |_| {
            let topics = topics.into_iter().map(|Topic { name, id, partitions }| OffsetCommitRequestTopic {
                name,
                topic_id: id,
                partitions: partitions.into_iter().map(|(index, what)| commit_entry(index, what)).collect(),
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
        let codes = names.read_commit(&answer.body, answer.version);
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

fn commit_entry(partition_index: i32, (next, metadata): (FetchPosition, String)) -> OffsetCommitRequestPartition {
    OffsetCommitRequestPartition {
        partition_index,
        committed_offset: next.offset,
        committed_leader_epoch: next.epoch,
        committed_metadata: Some(metadata),
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
