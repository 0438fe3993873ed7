//! What a test does to one partition: who leads, who follows, what is remembered of its producers. Pure.

use std::time::Duration;

use milena_protocol::ErrorCode;

use super::Core;
use super::broker::Process;
use super::controller::{PartitionId, Refusal};
use super::replica::Replica;

/// Whether a follower follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Following {
    On,
    Held,
}

impl Core {
    /// Makes an in-sync replica the leader, with a new leader epoch; nothing if it leads already.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION; ELIGIBLE_LEADERS_NOT_AVAILABLE if the broker is fenced or not in sync.
    pub(crate) fn elect(&mut self, now: Duration, topic: &str, partition: i32, broker: i32) -> Result<(), ErrorCode> {
        self.at_partition(now, topic, partition, |core, id| {
            if core.controller.elect(id, broker)? {
                core.publish(id);
            }
            Ok(())
        })
    }

    /// Makes any replica the leader, with a new leader epoch, and the only one in sync.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION; ELIGIBLE_LEADERS_NOT_AVAILABLE if the broker is fenced or has no replica.
    pub(crate) fn elect_unclean(
        &mut self,
        now: Duration,
        topic: &str,
        partition: i32,
        broker: i32,
    ) -> Result<(), ErrorCode> {
        self.at_partition(now, topic, partition, |core, id| {
            core.controller.elect_unclean(id, broker)?;
            core.publish(id);
            Ok(())
        })
    }

    /// Holds an election that an administrator asks for: of the preferred replica, or of any where nobody leads.
    ///
    /// # Errors
    /// As in Kafka: ELECTION_NOT_NEEDED if the outcome is there already, and others if it cannot be had.
    pub(crate) fn hold_election(&mut self, topic: &str, partition: i32, is_unclean: bool) -> Result<(), Refusal> {
        let refuse = |code, why: &str| Err(Refusal::new(code, format_args!("{topic}-{partition}: {why}")));
        let Some(id) = self.partition_id(topic, partition) else {
            return refuse(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "there is no such partition");
        };
        let Some(state) = self.controller.partition(id) else { return Ok(()) };
        let (leader, preferred) = (state.leader, state.replicas.first().copied().unwrap_or(-1));
        let any = state.replicas.iter().copied().find(|replica| self.controller.is_active(*replica));
        if if is_unclean { leader != -1 } else { leader == preferred } {
            return refuse(ErrorCode::ELECTION_NOT_NEEDED, "the leader is there already");
        }
        let elected = match any {
            Some(replica) if is_unclean => self.controller.elect_unclean(id, replica).map(|()| true),
            None if is_unclean => return refuse(ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE, "no replica is up"),
            _ => self.controller.elect(id, preferred),
        };
        match elected {
            Ok(_) => self.publish(id),
            Err(_) => return refuse(ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE, "the first replica is not in sync"),
        }
        Ok(())
    }

    /// Lets a replica follow, or not, whenever it does not lead.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION; REPLICA_NOT_AVAILABLE if the broker has no replica.
    pub(crate) fn let_follow(
        &mut self,
        now: Duration,
        topic: &str,
        partition: i32,
        broker: i32,
        following: Following,
    ) -> Result<(), ErrorCode> {
        self.at_partition(now, topic, partition, |core, id| {
            core.set_following(id, broker, following)?;
            core.replicate(id);
            Ok(())
        })
    }

    /// Makes a follower stop following, and takes it out of the in-sync replicas.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION; REPLICA_NOT_AVAILABLE if the broker is no follower.
    pub(crate) fn drop_from_isr(
        &mut self,
        now: Duration,
        topic: &str,
        partition: i32,
        broker: i32,
    ) -> Result<(), ErrorCode> {
        self.at_partition(now, topic, partition, |core, id| {
            if core.controller.partition(id).is_some_and(|state| state.leader == broker) {
                return Err(ErrorCode::REPLICA_NOT_AVAILABLE);
            }
            core.set_following(id, broker, Following::Held)?;
            core.shrink_isr(id, broker);
            Ok(())
        })
    }

    fn set_following(&mut self, id: PartitionId, broker: i32, following: Following) -> Result<(), ErrorCode> {
        let now = self.time;
        let replica = self.brokers.get_mut(&broker).and_then(|broker| broker.replicas.get_mut(&id));
        let replica = replica.ok_or(ErrorCode::REPLICA_NOT_AVAILABLE)?;
        match following {
            Following::Held => {
                replica.held_since.get_or_insert(now);
                self.held.insert((id, broker));
            }
            Following::On => {
                replica.held_since = None;
                self.held.remove(&(id, broker));
            }
        }
        Ok(())
    }

    /// All replicas forget their idempotent producers.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION.
    pub(crate) fn expire_producers(&mut self, now: Duration, topic: &str, partition: i32) -> Result<(), ErrorCode> {
        self.at_partition(now, topic, partition, |core, id| {
            let replicas = core.brokers.values_mut().filter_map(|broker| broker.replicas.get_mut(&id));
            replicas.for_each(Replica::expire_producers);
            Ok(())
        })
    }

    fn at_partition<T>(
        &mut self,
        now: Duration,
        topic: &str,
        partition: i32,
        act: impl FnOnce(&mut Self, PartitionId) -> Result<T, ErrorCode>,
    ) -> Result<T, ErrorCode> {
        self.poll(now);
        let id = self.partition_id(topic, partition).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let done = act(self, id);
        self.poll(now);
        done
    }

    /// Makes another in-sync broker the coordinator of what is kept under a key of an internal topic, which it has to read for
    /// a while before it can.
    ///
    /// # Errors
    /// COORDINATOR_NOT_AVAILABLE if nobody has asked for such a coordinator yet; ELIGIBLE_LEADERS_NOT_AVAILABLE if the broker is
    /// fenced or not in sync.
    pub(crate) fn move_coordinator(
        &mut self,
        now: Duration,
        (topic, key): (&str, &str),
        broker: i32,
        loading: Duration,
    ) -> Result<(), ErrorCode> {
        self.poll(now);
        let id = self.partition_for_key(topic, key).ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
        if self.controller.elect(id, broker)? {
            if let Some(broker) = self.brokers.get_mut(&broker).filter(|_| !loading.is_zero()) {
                broker.loading.insert(id, now.saturating_add(loading));
            }
            self.publish(id);
            self.poll(now);
        }
        Ok(())
    }

    /// Lets a coordinator work whose time to read is over. Tells whether there was any.
    pub(super) fn finish_loading(&mut self, now: Duration) -> bool {
        for broker in self.brokers.values_mut().filter(|broker| broker.process == Process::Running) {
            let done = broker.loading.iter().find(|(_, until)| **until <= now).map(|(id, _)| *id);
            if let Some(id) = done {
                broker.loading.remove(&id);
                self.changed.insert(id);
                return true;
            }
        }
        false
    }
}
