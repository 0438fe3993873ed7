//! What brokers do to logs by themselves, in time: retention, compaction, and the limit of the cluster's memory. Pure.
//!
//! Kafka looks through its logs every so often. Here a look is planned only for a log that will have something to do, at the time
//! when Kafka's next look would be, so that nothing wakes a cluster that is idle.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use milena_protocol::ErrorCode;

use super::broker::Process;
use super::controller::{PartitionId, is_internal};
use super::replica::Replica;
use super::{Core, Log};

/// What the brokers' configuration says about logs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogSettings {
    /// Not zero.
    pub(crate) retention_check_interval: Duration,
    /// Not zero.
    pub(crate) cleaner_backoff: Duration,
    /// Of all leaders' logs together.
    pub(crate) retained_bytes: u64,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            retention_check_interval: Duration::from_secs(300),
            cleaner_backoff: Duration::from_secs(15),
            retained_bytes: 256 << 20,
        }
    }
}

/// The logs are measured each time when so much of what they may have was written.
const MEASURED_EACH: u64 = 8;

/// The brokers' own topics are compacted when they are larger than this and memory is counted.
const LARGE_INTERNAL_LOG: u64 = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    Retention,
    Compaction,
    /// Of committed offsets.
    Offsets,
}

/// What is planned.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    due: BTreeMap<(PartitionId, Task), Duration>,
    queue: BTreeSet<(Duration, PartitionId, Task)>,
    /// Bytes written since the logs were last measured.
    unmeasured: u64,
}

impl Upkeep {
    pub(super) fn appended(&mut self, bytes: usize) {
        self.unmeasured += bytes as u64;
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.queue.first().map(|(due, ..)| *due)
    }

    /// What is planned earlier stays as it is: it will look again.
    fn plan(&mut self, id: PartitionId, task: Task, due: Duration) {
        let known = self.due.get(&(id, task)).copied();
        if known.is_some_and(|known| known <= due) {
            return;
        }
        if let Some(known) = known {
            self.queue.remove(&(known, id, task));
        }
        self.due.insert((id, task), due);
        self.queue.insert((due, id, task));
    }

    fn forget(&mut self, id: PartitionId) {
        for task in [Task::Retention, Task::Compaction, Task::Offsets] {
            if let Some(due) = self.due.remove(&(id, task)) {
                self.queue.remove(&(due, id, task));
            }
        }
    }

    fn take(&mut self, now: Duration) -> Option<(PartitionId, Task)> {
        let (due, id, task) = *self.queue.first().filter(|(due, ..)| *due <= now)?;
        self.queue.remove(&(due, id, task));
        self.due.remove(&(id, task));
        Some((id, task))
    }
}

/// The first multiple of `interval` that is after `now`, and not before `time`.
fn tick(interval: Duration, now: Duration, time: Duration) -> Duration {
    let interval = interval.as_nanos().max(1);
    let first = (now.as_nanos() / interval + 1).max(time.as_nanos().div_ceil(interval));
    let nanos = first.saturating_mul(interval);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

impl Core {
    /// After a change of a partition.
    pub(super) fn plan_upkeep(&mut self, now: Duration, id: PartitionId) {
        let settings = self.settings.logs;
        if self.controller.partition(id).is_none() {
            return self.upkeep.forget(id);
        }
        let Some(log) = self.leader_replica(id).map(|replica| &replica.log) else { return };
        let (is_oversized, expires_at, is_dirty) = (log.is_oversized(), log.expires_at(), log.is_dirty());
        if is_oversized {
            self.upkeep.plan(id, Task::Retention, tick(settings.retention_check_interval, now, now));
        } else if let Some(time) = expires_at {
            self.plan_expiry(now, id, time);
        }
        if is_dirty {
            self.upkeep.plan(id, Task::Compaction, tick(settings.cleaner_backoff, now, now));
        }
        if self.is_offsets_topic(id) {
            self.plan_offsets_expiry(now, id, self.wall_ms(now));
        }
    }

    fn plan_offsets_expiry(&mut self, now: Duration, id: PartitionId, wall_ms: i64) {
        let interval = self.settings.groups.offsets_retention_check_interval;
        self.upkeep.plan(id, Task::Offsets, tick(interval, now, self.since_start(wall_ms)));
    }

    fn since_start(&self, wall_ms: i64) -> Duration {
        Duration::from_millis(u64::try_from(wall_ms.saturating_sub(self.settings.wall_start_ms)).unwrap_or(0))
    }

    fn plan_expiry(&mut self, now: Duration, id: PartitionId, wall_ms: i64) {
        let due = tick(self.settings.logs.retention_check_interval, now, self.since_start(wall_ms));
        self.upkeep.plan(id, Task::Retention, due);
    }

    /// Does one thing that is due. Tells whether there was any.
    pub(super) fn do_upkeep(&mut self, now: Duration) -> bool {
        let Some((id, task)) = self.upkeep.take(now) else { return false };
        match task {
            Task::Retention => {
                self.apply_retention(now, id);
                let wall_ms = self.wall_ms(now);
                let log = self.leader_replica(id).map(|replica| &replica.log);
                // What should have gone waits for the high watermark, whose change plans anew.
                if let Some(time) = log.and_then(Log::expires_at).filter(|time| *time > wall_ms) {
                    self.plan_expiry(now, id, time);
                }
            }
            Task::Compaction => {
                let wall_ms = self.wall_ms(now);
                self.for_each_live_replica(id, |replica| replica.clean(wall_ms));
            }
            Task::Offsets => {
                if let Some(time) = self.expire_offsets(now, id) {
                    self.plan_offsets_expiry(now, id, time);
                }
            }
        }
        true
    }

    fn apply_retention(&mut self, now: Duration, id: PartitionId) {
        let wall_ms = self.wall_ms(now);
        if let Some(replica) = self.leader_replica_mut(id) {
            replica.log.apply_retention(wall_ms, replica.high_watermark);
            self.replicate(id);
        }
    }

    fn for_each_live_replica(&mut self, id: PartitionId, mut act: impl FnMut(&mut Replica)) {
        for broker in self.brokers.values_mut().filter(|broker| broker.process == Process::Running) {
            if let Some(replica) = broker.replicas.get_mut(&id) {
                act(replica);
            }
        }
    }

    pub(super) fn leader_replica(&self, id: PartitionId) -> Option<&Replica> {
        let leader = self.controller.partition(id)?.leader;
        self.brokers.get(&leader)?.replicas.get(&id)
    }

    pub(super) fn leader_replica_mut(&mut self, id: PartitionId) -> Option<&mut Replica> {
        let leader = self.controller.partition(id)?.leader;
        self.brokers.get_mut(&leader)?.replicas.get_mut(&id)
    }

    fn led_partition(&self, topic: &str, partition: i32) -> Result<PartitionId, ErrorCode> {
        let id = self.partition_id(topic, partition).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        self.leader_replica(id).map(|_| id).ok_or(ErrorCode::LEADER_NOT_AVAILABLE)
    }

    /// Of whom the controller holds for the leader.
    fn start_leaders_log_at(&mut self, id: PartitionId, start: i64) {
        if let Some(leader) = self.controller.partition(id).map(|state| state.leader) {
            self.start_log_at(leader, id, start);
        }
    }

    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION, LEADER_NOT_AVAILABLE.
    pub(crate) fn apply_retention_now(&mut self, now: Duration, topic: &str, partition: i32) -> Result<(), ErrorCode> {
        let id = self.led_partition(topic, partition)?;
        self.apply_retention(now, id);
        self.poll(now);
        Ok(())
    }

    /// Compacts all that is below the high watermark.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION, LEADER_NOT_AVAILABLE.
    pub(crate) fn compact_now(&mut self, now: Duration, topic: &str, partition: i32) -> Result<(), ErrorCode> {
        let id = self.led_partition(topic, partition)?;
        let wall_ms = self.wall_ms(now);
        self.for_each_live_replica(id, |replica| replica.compact(wall_ms));
        self.poll(now);
        Ok(())
    }

    /// The log starts at `before`, or at the high watermark if that is earlier.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION, LEADER_NOT_AVAILABLE.
    pub(crate) fn delete_records_now(
        &mut self,
        now: Duration,
        topic: &str,
        partition: i32,
        before: i64,
    ) -> Result<(), ErrorCode> {
        let id = self.led_partition(topic, partition)?;
        self.start_leaders_log_at(id, before);
        self.poll(now);
        Ok(())
    }

    /// Moves the start of what one broker has, and of what those have who follow it. Never above the high watermark.
    pub(super) fn start_log_at(&mut self, broker: i32, id: PartitionId, start: i64) {
        if let Some(replica) = self.brokers.get_mut(&broker).and_then(|broker| broker.replicas.get_mut(&id))
            && replica.log.advance_start(start.min(replica.high_watermark))
        {
            self.changed.insert(id);
            self.replicate(id);
        }
    }

    /// If there is more than `retained_bytes`: the brokers' own topics are compacted, then the largest of the other partitions
    /// lose their oldest records, until there is an eighth less than may be.
    pub(super) fn keep_within_memory(&mut self, now: Duration) {
        let limit = self.settings.logs.retained_bytes;
        if self.upkeep.unmeasured <= limit / MEASURED_EACH {
            return;
        }
        self.upkeep.unmeasured = 0;
        let wall_ms = self.wall_ms(now);
        let (mut sizes, mut sum) = (BTreeSet::new(), 0u64);
        let all = self.controller.topics().flat_map(|topic| {
            let is_internal = is_internal(&topic.name);
            topic.partition_ids().map(move |(id, _)| (id, is_internal))
        });
        for (id, is_internal) in all.collect::<Vec<_>>() {
            let Some(size) = self.leader_replica(id).map(|replica| replica.log.size()) else { continue };
            if !is_internal {
                sum += size;
                sizes.insert((size, id));
            } else if size > LARGE_INTERNAL_LOG {
                self.for_each_live_replica(id, |replica| replica.compact(wall_ms));
            }
        }
        if sum <= limit {
            return;
        }
        tracing::warn!(limit, "more records than the mock cluster retains: the oldest ones go (retained_bytes)");
        let mut excess = sum - (limit - limit / MEASURED_EACH);
        while excess > 0 {
            let Some((size, id)) = sizes.pop_last() else { return };
            let start =
                self.leader_replica(id).map_or(0, |replica| replica.log.start_without(excess.min(size.div_ceil(2))));
            self.start_leaders_log_at(id, start);
            let left = self.leader_replica(id).map_or(0, |replica| replica.log.size());
            excess = excess.saturating_sub(size - left);
            if left > 0 && left < size {
                sizes.insert((left, id));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_at_multiples_of_the_interval() {
        let seconds = Duration::from_secs;
        for (now, time, due) in [(0, 0, 10), (9, 9, 10), (10, 10, 20), (10, 11, 20), (10, 40, 40), (10, 41, 50)] {
            assert_eq!(tick(seconds(10), seconds(now), seconds(time)), seconds(due), "{now} {time}");
        }
        assert_eq!(tick(seconds(10), seconds(5), Duration::MAX), Duration::from_nanos(u64::MAX));
    }
}
