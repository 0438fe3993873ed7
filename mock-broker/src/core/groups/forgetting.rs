//! What a coordinator forgets: offsets that nobody has needed for long (KIP-211), and what administrators delete. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use milena_protocol::ErrorCode;
use milena_protocol::group::Subscription;

use super::group::{Group, State};
use super::record;
use crate::core::Core;
use crate::core::controller::PartitionId;
use crate::core::offsets::{CommittedOffset, OffsetKey};

/// The protocol type of consumers.
const CONSUMER: &str = "consumer";

/// From when on the time of an offset counts, after which it is forgotten.
enum Since {
    /// When it was committed.
    Commit,
    /// This time: the group lost its last member.
    Emptied(i64),
}

impl Group {
    pub(super) fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// The topics that its members want; `None` if that cannot be known.
    fn subscribed_topics(&self) -> Option<BTreeSet<String>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        let Some(protocol) = self.protocol.as_deref() else { return self.members.is_empty().then(BTreeSet::new) };
        let mut topics = BTreeSet::new();
        for metadata in self.members.iter().filter_map(|member| member.metadata(protocol)) {
            topics.extend(Subscription::decode(metadata.clone()).ok()?.topics);
        }
        Some(topics)
    }

    /// Whether a member wants a topic, or may.
    fn is_subscribed(&self) -> impl Fn(&str) -> bool + use<> {
        let (topics, is_unknown) = (self.subscribed_topics(), self.uses_consumer_protocol());
        move |topic| topics.as_ref().map_or(is_unknown, |topics| topics.contains(topic))
    }

    /// `None` while its offsets are needed.
    fn offsets_expire_since(&self) -> Option<Since> {
        match self.state {
            _ if self.protocol_type.is_none() => Some(Since::Commit),
            State::Empty => Some(self.emptied_at.map_or(Since::Commit, Since::Emptied)),
            State::Stable { .. } if self.subscribed_topics().is_some() => Some(Since::Commit),
            State::Stable { .. } | State::Preparing { .. } | State::Completing { .. } => None,
        }
    }
}

impl Core {
    /// Deletes a group without members, with its offsets.
    ///
    /// # Errors
    /// NOT_COORDINATOR; GROUP_ID_NOT_FOUND; NON_EMPTY_GROUP; what writing gives.
    pub(crate) fn delete_group(&mut self, now: Duration, broker: i32, group: &str) -> Result<(), ErrorCode> {
        let id = self.check_coordinator(broker, group)?;
        self.check_exists(broker, group)?;
        if self.group_at(broker, group).is_some_and(|group| group.state != State::Empty) {
            return Err(ErrorCode::NON_EMPTY_GROUP);
        }
        let (_, offsets) = self.offsets_at(broker, group)?;
        let keys = offsets.of_group(group).map(|offsets| offsets.keys().cloned().collect()).unwrap_or_default();
        self.forget(now, broker, id, group, keys, true)
    }

    /// Deletes offsets of a group. Gives the topics whose offsets stay because members of the group want them.
    ///
    /// # Errors
    /// INVALID_GROUP_ID, NOT_COORDINATOR, GROUP_ID_NOT_FOUND, NON_EMPTY_GROUP if its members are no consumers; what writing gives.
    pub(crate) fn delete_offsets(
        &mut self,
        now: Duration,
        broker: i32,
        group: &str,
        wanted: &BTreeMap<String, Vec<i32>>,
    ) -> Result<Vec<String>, ErrorCode> {
        if group.is_empty() {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        let id = self.check_coordinator(broker, group)?;
        self.check_exists(broker, group)?;
        let joined = self.group_at(broker, group);
        if joined.is_some_and(|group| group.state != State::Empty && !group.uses_consumer_protocol()) {
            return Err(ErrorCode::NON_EMPTY_GROUP);
        }
        let of_members = joined.map(Group::is_subscribed);
        let is_subscribed = |topic: &str| of_members.as_ref().is_some_and(|wants| wants(topic));
        let (subscribed, free): (Vec<_>, Vec<_>) = wanted.iter().partition(|(topic, _)| is_subscribed(topic));
        let subscribed = subscribed.into_iter().map(|(topic, _)| topic.clone()).collect();
        let (_, offsets) = self.offsets_at(broker, group)?;
        let all = free
            .into_iter()
            .flat_map(|(topic, partitions)| partitions.iter().map(|partition| (topic.clone(), *partition)));
        let keys = all.filter(|(topic, partition)| offsets.get(group, topic, *partition).is_some()).collect();
        self.forget(now, broker, id, group, keys, false)?;
        Ok(subscribed)
    }

    /// Whoever commits without being a member makes a group, too, unless it is there. The log has its offsets only.
    pub(crate) fn create_simple_group(&mut self, broker: i32, id: PartitionId, group: &str) {
        let new = Group::new(self.settings.groups.initial_rebalance_delay);
        if let Some(broker) = self.brokers.get_mut(&broker).filter(|broker| broker.groups.get(group).is_none()) {
            broker.groups.insert(id.index, group.to_owned(), new);
        }
    }

    fn check_exists(&self, broker: i32, group: &str) -> Result<(), ErrorCode> {
        match self.describe_group(broker, group)? {
            Some(_) => Ok(()),
            None => Err(ErrorCode::GROUP_ID_NOT_FOUND),
        }
    }

    /// Writes tombstones of offsets, and one of the group.
    fn forget(
        &mut self,
        now: Duration,
        broker: i32,
        id: PartitionId,
        group: &str,
        offsets: BTreeSet<(String, i32)>,
        and_group: bool,
    ) -> Result<(), ErrorCode> {
        let key = |(topic, partition)| OffsetKey { group: group.to_owned(), topic, partition };
        let tombstones: Vec<_> = offsets.into_iter().map(|offset| (key(offset), None)).collect();
        if !tombstones.is_empty() {
            self.write_offsets(now, broker, id, None, &tombstones)?;
        }
        if !and_group || self.group_at(broker, group).is_none() {
            return Ok(());
        }
        let key = record::encode_key(group).map_err(|error| {
            tracing::error!(%error, group, "a group does not fit into a record");
            ErrorCode::UNKNOWN_SERVER_ERROR
        })?;
        self.append_for_coordinator(now, broker, id, None, &[(key, None)])?;
        if let Some(broker) = self.brokers.get_mut(&broker) {
            broker.groups.remove(group);
        }
        Ok(())
    }

    /// Forgets the offsets of a coordinator that nobody has needed for `offsets.retention.minutes`, and groups without members and
    /// offsets. Gives the wall-clock time at which the next ones may go.
    pub(in crate::core) fn expire_offsets(&mut self, now: Duration, id: PartitionId) -> Option<i64> {
        let wall_ms = self.wall_ms(now);
        let retention = i64::try_from(self.settings.groups.offsets_retention.as_millis()).unwrap_or(i64::MAX);
        let (mut next, mut due) = (None, Vec::new());
        let broker = self.brokers.values().find(|broker| broker.groups.partitions.contains(&id.index))?;
        let offsets = broker.offsets.get(&id.index)?;
        let joined = broker.groups.by_id.iter().filter(|(_, coordinated)| coordinated.partition == id.index);
        let ids: BTreeSet<&String> = joined.map(|(group, _)| group).chain(offsets.group_ids()).collect();
        for group_id in ids {
            let group = broker.groups.get(group_id);
            let since = group.map_or(Some(Since::Commit), Group::offsets_expire_since);
            let is_subscribed = group.map(Group::is_subscribed);
            let of_group = offsets.of_group(group_id).into_iter().flatten();
            let mut left = 0;
            let mut expired = BTreeSet::new();
            for ((topic, partition), committed) in of_group {
                let expires_at = match &since {
                    None => None,
                    // Its transaction decides what comes next.
                    Some(_) if offsets.is_pending(group_id, topic, *partition) => None,
                    Some(_) if is_subscribed.as_ref().is_some_and(|wants| wants(topic)) => None,
                    Some(since) => Some(expiry(since, committed, retention)),
                };
                if expires_at.is_some_and(|time| time <= wall_ms) {
                    expired.insert((topic.clone(), *partition));
                } else {
                    left += 1;
                    next = next.into_iter().chain(expires_at).min();
                }
            }
            let and_group = left == 0 && group.is_some_and(|group| group.state == State::Empty);
            if and_group || !expired.is_empty() {
                due.push((group_id.clone(), expired, and_group));
            }
        }
        let broker = broker.id;
        for (group, offsets, and_group) in due {
            if let Err(code) = self.forget(now, broker, id, &group, offsets, and_group) {
                tracing::warn!(%code, group, "expired offsets stay");
            }
        }
        next
    }
}

fn expiry(since: &Since, committed: &CommittedOffset, retention: i64) -> i64 {
    let from = match since {
        Since::Commit => committed.commit_timestamp,
        Since::Emptied(time) => *time,
    };
    from.saturating_add(retention)
}
