//! How roles reach the brokers, and records the followers. Pure.
//!
//! Followers copy inside the append: when it returns, every replica that can has the batch. One that is held, frozen, down or
//! cut off does not; then the high watermark waits for it, until it is out of the in-sync replicas.

use std::time::Duration;

use milena_protocol::records::Batch;

use super::Core;
use super::controller::PartitionId;
use super::replica::Replica;

impl Core {
    /// Tells every replica's broker that can hear it who leads and who is in sync, and lets the followers follow.
    pub(super) fn publish(&mut self, id: PartitionId) {
        let Some(topic) = self.controller.topic_by_id(id.topic) else { return };
        let Some(role) = topic.partition(id.index).cloned() else { return };
        let rules = topic.log_rules;
        for broker_id in &role.replicas {
            let Some(broker) = self.brokers.get_mut(broker_id).filter(|broker| broker.is_in_touch()) else { continue };
            let replica = broker.replicas.entry(id).or_insert_with(|| Replica::new(role.clone(), rules));
            replica.role.clone_from(&role);
            replica.log.set_rules(rules);
            if role.leader == *broker_id && replica.log.latest_epoch().is_none_or(|epoch| epoch < role.leader_epoch) {
                replica.lead(self.time);
            }
        }
        self.coordinate_offsets(id);
        self.changed.insert(id);
        self.replicate(id);
    }

    /// Lets those who follow the leader copy what it has, then moves the high watermark. There may be a second one that
    /// believes to lead: nobody who hears the controller follows it.
    pub(super) fn replicate(&mut self, id: PartitionId) {
        let Some(replicas) = self.controller.partition(id).map(|state| state.replicas.clone()) else { return };
        for leader in &replicas {
            if !self.brokers.get(leader).is_some_and(|broker| broker.leads(id) && broker.is_up()) {
                continue;
            }
            for follower in &replicas {
                self.follow(id, *leader, *follower);
            }
            self.move_high_watermark(id, *leader);
            for follower in &replicas {
                self.tell_high_watermark(id, *leader, *follower);
            }
        }
    }

    /// The two replicas, if the second one can fetch from the first one and believes that it should.
    fn pair(&self, id: PartitionId, leader: i32, follower: i32) -> Option<(&Replica, &Replica)> {
        if follower == leader {
            return None;
        }
        let replica_of =
            |broker: i32| self.brokers.get(&broker).filter(|broker| broker.is_in_touch())?.replicas.get(&id);
        let (source, target) = (replica_of(leader)?, replica_of(follower)?);
        let follows = (target.role.leader, target.role.leader_epoch) == (leader, source.role.leader_epoch)
            && target.held_since.is_none();
        follows.then_some((source, target))
    }

    fn replica_mut(&mut self, broker: i32, id: PartitionId) -> Option<&mut Replica> {
        self.brokers.get_mut(&broker).and_then(|broker| broker.replicas.get_mut(&id))
    }

    /// One follower copies what it lacks, after it has cut off what the leader does not have.
    fn follow(&mut self, id: PartitionId, leader: i32, follower: i32) {
        let Some((source, target)) = self.pair(id, leader, follower) else { return };
        let common_end = match target.log.end() < source.log.start() {
            true => target.log.start(),
            false => target.log.agrees_until(&source.log),
        };
        let missing: Vec<Batch> = source.log.batches_from(common_end).cloned().collect();
        // Batches are copied whole: where the leader's log begins within one, the follower may have others up to there.
        let common_end = missing.first().map_or(common_end, |first| first.header().base_offset.min(common_end));
        let (epoch, epoch_start, end) = (source.log.latest_epoch(), source.log.latest_epoch_start(), source.log.end());
        let start = source.log.start();
        let is_out_of_sync = !source.role.isr.contains(&follower);
        let Some(target) = self.replica_mut(follower, id) else { return };
        if common_end < target.log.end() {
            target.truncate(common_end);
        }
        target.log.truncate_epochs(common_end);
        for batch in missing {
            target.append(batch);
        }
        if let Some(epoch) = epoch
            && target.log.latest_epoch().is_none_or(|known| known < epoch)
        {
            target.log.begin_epoch(epoch, epoch_start);
        }
        target.log.extend_to(end);
        let is_cut = target.log.advance_start(start);
        debug_assert_eq!(target.log.end(), end, "the follower has the leader's log");
        if is_cut {
            self.changed.insert(id);
        }
        if let Some(source) = self.replica_mut(leader, id) {
            source.follower_ends.insert(follower, end);
        }
        if is_out_of_sync && self.controller.is_active(follower) {
            self.controller.join_isr(id, follower);
            self.publish_isr(id);
        }
    }

    /// All who can hear it learn who is in sync.
    fn publish_isr(&mut self, id: PartitionId) {
        let Some(isr) = self.controller.partition(id).map(|state| state.isr.clone()) else { return };
        for broker in self.brokers.values_mut().filter(|broker| broker.is_in_touch()) {
            if let Some(replica) = broker.replicas.get_mut(&id) {
                replica.role.isr.clone_from(&isr);
            }
        }
        self.changed.insert(id);
    }

    /// The high watermark is where the shortest in-sync log ends, as far as the leader knows. It waits while there are fewer
    /// in-sync replicas than `min.insync.replicas`, and never moves back.
    fn move_high_watermark(&mut self, id: PartitionId, leader: i32) {
        let min_insync = self.view(leader).min_insync(id);
        let Some(replica) = self.replica_mut(leader, id) else { return };
        if replica.role.isr.len() < min_insync {
            return;
        }
        let log_end = |member: &i32| match *member == leader {
            true => replica.log.end(),
            // A follower that has not fetched in this epoch may be anywhere.
            false => replica.follower_ends.get(member).copied().unwrap_or(0),
        };
        let Some(reached) = replica.role.isr.iter().map(log_end).min() else { return };
        if reached > replica.high_watermark {
            replica.high_watermark = reached;
            self.changed.insert(id);
            self.apply_offsets(id);
        }
    }

    /// A follower learns the leader's high watermark with what it fetches.
    fn tell_high_watermark(&mut self, id: PartitionId, leader: i32, follower: i32) {
        let Some((source, target)) = self.pair(id, leader, follower) else { return };
        let high_watermark = source.high_watermark.min(target.log.end());
        if high_watermark > target.high_watermark
            && let Some(target) = self.replica_mut(follower, id)
        {
            target.high_watermark = high_watermark;
            self.changed.insert(id);
        }
    }

    /// The in-sync follower in a consumer's rack that has come furthest, if the leader is asked and is elsewhere, and if the
    /// brokers are set up for that (KIP-392).
    pub(crate) fn closer_replica(&self, broker: i32, id: PartitionId, offset: i64, rack: &str) -> Option<i32> {
        if rack.is_empty() || !self.settings.replication.is_rack_aware {
            return None;
        }
        let leader = self.brokers.get(&broker).filter(|leader| leader.leads(id))?.replicas.get(&id)?;
        let view = self.view(broker);
        let rack_of = |member: i32| view.address(member).and_then(|address| address.rack.as_deref());
        let is_here = |member: &i32| view.is_active(*member) && rack_of(*member) == Some(rack);
        if is_here(&broker) {
            return None;
        }
        let followers = leader.role.isr.iter().filter(|member| is_here(member));
        let ends = followers.filter_map(|member| Some((*leader.follower_ends.get(member)?, *member)));
        ends.filter(|(end, _)| *end >= offset && leader.log.start() <= offset).max().map(|(_, member)| member)
    }

    /// The first of the in-sync followers that has to go because it has not caught up for `replica.lag.time.max.ms`, and when.
    pub(super) fn next_laggard(&self) -> Option<(Duration, PartitionId, i32)> {
        let held = self.held.iter().copied();
        let silent = self
            .brokers
            .values()
            .filter(|broker| broker.silent_since.is_some() && self.controller.is_active(broker.id));
        let of_silent = silent.flat_map(|broker| broker.replicas.keys().map(|id| (*id, broker.id)));
        held.chain(of_silent)
            .filter_map(|(id, follower)| Some((self.out_of_sync_at(id, follower)?, id, follower)))
            .min()
    }

    /// `None` if it is not a follower in sync, follows, or has all that the leader has.
    fn out_of_sync_at(&self, id: PartitionId, follower: i32) -> Option<Duration> {
        let broker = self.brokers.get(&follower)?;
        let stopped = [broker.silent_since, broker.replicas.get(&id).and_then(|replica| replica.held_since)];
        let stopped = stopped.into_iter().flatten().min()?;
        let state = self.controller.partition(id)?;
        let leader = self.brokers.get(&state.leader).filter(|leader| leader.id != follower && leader.is_in_touch())?;
        let source = leader.replicas.get(&id)?;
        let lags = source.follower_ends.get(&follower).is_none_or(|end| *end < source.log.end());
        let since = stopped.max(source.leads_since);
        (lags && state.isr.contains(&follower)).then_some(since.saturating_add(self.settings.replication.lag_time_max))
    }

    /// Takes a follower out of the in-sync replicas.
    pub(super) fn shrink_isr(&mut self, id: PartitionId, follower: i32) {
        self.controller.leave_isr(id, follower);
        self.publish_isr(id);
        self.replicate(id);
    }
}
