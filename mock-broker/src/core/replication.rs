//! How roles reach the brokers, and records the followers. Pure.
//!
//! Followers copy inside the append: when it returns, every replica that is up has the batch.

use milena_protocol::records::Batch;

use super::Core;
use super::controller::{PartitionId, PartitionState};
use super::replica::{Replica, Role};

impl Core {
    /// Tells every broker that is up and has a replica who leads and who is in sync, and lets the followers follow.
    pub(super) fn publish(&mut self, id: PartitionId) {
        let Some(PartitionState { leader, leader_epoch, replicas, isr }) = self.controller.partition(id).cloned()
        else {
            return;
        };
        let role = Role { leader, leader_epoch, isr };
        let Some(rules) = self.controller.topic_by_id(id.topic).map(|topic| topic.log_rules) else { return };
        for broker_id in replicas {
            if !self.controller.is_up(broker_id) {
                continue;
            }
            let Some(broker) = self.brokers.get_mut(&broker_id) else { continue };
            let replica = broker.replicas.entry(id).or_insert_with(|| Replica::new(role.clone(), rules));
            replica.role = role.clone();
            replica.log.set_rules(rules);
            if leader == broker_id && replica.log.latest_epoch().is_none_or(|epoch| epoch < leader_epoch) {
                let end = replica.log.end();
                replica.log.begin_epoch(leader_epoch, end);
            }
        }
        self.coordinate_offsets(id);
        self.changed.insert(id);
        self.replicate(id);
    }

    /// Lets every follower that is up copy what the leader has, then moves the high watermark.
    pub(super) fn replicate(&mut self, id: PartitionId) {
        let Some((leader, followers)) = self.controller.partition(id).map(|state| {
            let followers = state.replicas.iter().copied().filter(|replica| *replica != state.leader);
            (state.leader, followers.filter(|replica| self.controller.is_up(*replica)).collect::<Vec<_>>())
        }) else {
            return;
        };
        if leader == -1 {
            return;
        }
        for follower in followers {
            self.follow(id, leader, follower);
        }
        self.move_high_watermark(id, leader);
    }

    /// One follower copies what it lacks, after it has cut off what the leader does not have.
    fn follow(&mut self, id: PartitionId, leader: i32, follower: i32) {
        let replica_of = |broker: i32| self.brokers.get(&broker).and_then(|broker| broker.replicas.get(&id));
        let (Some(source), Some(target)) = (replica_of(leader), replica_of(follower)) else { return };
        let common_end = target.log.agrees_until(&source.log);
        let missing: Vec<Batch> = source.log.batches_from(common_end).cloned().collect();
        let (epoch, epoch_start, end) = (source.log.latest_epoch(), source.log.latest_epoch_start(), source.log.end());
        let start = source.log.start();
        let isr_was_without = !source.role.isr.contains(&follower);
        let Some(target) = self.brokers.get_mut(&follower).and_then(|broker| broker.replicas.get_mut(&id)) else {
            return;
        };
        if common_end < target.log.end() {
            target.truncate(common_end);
        }
        for batch in missing {
            target.append(batch);
        }
        if let Some(epoch) = epoch
            && target.log.latest_epoch().is_none_or(|known| known < epoch)
        {
            target.log.begin_epoch(epoch, epoch_start);
        }
        if target.log.advance_start(start) {
            self.changed.insert(id);
        }
        debug_assert_eq!(target.log.end(), end, "the follower has the leader's log");
        if isr_was_without {
            self.controller.join_isr(id, follower);
            self.publish_isr(id);
            self.changed.insert(id);
        }
    }

    fn publish_isr(&mut self, id: PartitionId) {
        let Some(isr) = self.controller.partition(id).map(|state| state.isr.clone()) else { return };
        for broker in self.brokers.values_mut().filter(|broker| self.controller.is_up(broker.id)) {
            if let Some(replica) = broker.replicas.get_mut(&id) {
                replica.role.isr.clone_from(&isr);
            }
        }
    }

    /// The high watermark is where the shortest in-sync log ends. It waits while there are fewer in-sync replicas than
    /// `min.insync.replicas`, and never moves back.
    fn move_high_watermark(&mut self, id: PartitionId, leader: i32) {
        let Some(replicas) = self.controller.partition(id).map(|state| state.replicas.clone()) else { return };
        let Some(replica) = self.brokers.get(&leader).and_then(|broker| broker.replicas.get(&id)) else { return };
        if replica.role.isr.len() < self.controller.min_insync(id) {
            return;
        }
        let log_end = |member: &i32| self.brokers.get(member)?.replicas.get(&id).map(|replica| replica.log.end());
        let Some(reached) = replica.role.isr.iter().filter_map(log_end).min() else { return };
        for broker in replicas {
            if !self.controller.is_up(broker) {
                continue;
            }
            let Some(replica) = self.brokers.get_mut(&broker).and_then(|broker| broker.replicas.get_mut(&id)) else {
                continue;
            };
            let high_watermark = reached.min(replica.log.end()).max(replica.high_watermark);
            if high_watermark != replica.high_watermark {
                replica.high_watermark = high_watermark;
                self.changed.insert(id);
            }
        }
        self.apply_offsets(id);
    }
}
