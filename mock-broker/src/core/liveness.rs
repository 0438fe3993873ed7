//! Brokers that crash, freeze, are cut off from the others, come and go, and what the controller makes of it. Pure.
//!
//! A broker that is frozen or cut off is *silent*: it is told nothing, and goes on believing what was true at that moment. After
//! `broker.session.timeout.ms` the controller fences it: others lead. When it is back it is told all at once.

use std::time::Duration;

use super::broker::{Broker, Link, Process};
use super::controller::{Controller, TopicState};
use super::{BrokerAddress, Core};

/// Whether a broker tells of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visibility {
    Shown,
    Hidden,
}

impl Core {
    /// What a broker knows of the cluster: all there is to know, or what it was when it was last in touch.
    pub(crate) fn view(&self, broker: i32) -> &Controller {
        let stale = self.brokers.get(&broker).and_then(|broker| broker.stale_view.as_deref());
        stale.unwrap_or(&self.controller)
    }

    /// Whether the broker's process exists; a frozen one does.
    pub(crate) fn is_up(&self, broker: i32) -> bool {
        self.brokers.get(&broker).is_some_and(Broker::is_up)
    }

    /// Whether the broker reaches the controller and the other brokers.
    pub(crate) fn is_in_touch(&self, broker: i32) -> bool {
        self.brokers.get(&broker).is_some_and(Broker::is_in_touch)
    }

    /// The broker's process ends. Others lead what it led; what waited there is forgotten with its connections.
    pub(crate) fn crash(&mut self, now: Duration, id: i32) {
        self.poll(now);
        if let Some(broker) = self.brokers.get_mut(&id) {
            broker.process = Process::Down;
            broker.link = Link::Whole;
            broker.silent_since = None;
            broker.stale_view = None;
            broker.forget_memory();
        }
        self.parked.drop_where(|origin| origin.broker == id);
        self.fence(id);
        self.controller.broker_crashed(id);
        self.poll(now);
    }

    /// The disk of a broker that is down is gone.
    pub(crate) fn lose_disk(&mut self, id: i32) {
        if let Some(broker) = self.brokers.get_mut(&id).filter(|broker| !broker.is_up()) {
            broker.replicas.clear();
            self.held.retain(|(_, holder)| *holder != id);
        }
    }

    /// The broker's process starts again with what was on its disk.
    pub(crate) fn restart(&mut self, now: Duration, broker: i32) {
        self.poll(now);
        match self.brokers.get_mut(&broker) {
            Some(broker) if !broker.is_up() => broker.process = Process::Running,
            _ => return,
        }
        self.catch_up(broker);
        self.poll(now);
    }

    /// The broker's process stands still.
    pub(crate) fn freeze(&mut self, now: Duration, broker: i32) {
        self.change_liveness(now, broker, |broker| broker.process = Process::Frozen);
    }

    /// It goes on.
    pub(crate) fn thaw(&mut self, now: Duration, broker: i32) {
        self.change_liveness(now, broker, |broker| broker.process = Process::Running);
    }

    /// The broker is cut off from the controller and the other brokers.
    pub(crate) fn isolate(&mut self, now: Duration, broker: i32) {
        self.change_liveness(now, broker, |broker| broker.link = Link::Cut);
    }

    /// It is in touch again.
    pub(crate) fn rejoin(&mut self, now: Duration, broker: i32) {
        self.change_liveness(now, broker, |broker| broker.link = Link::Whole);
    }

    fn change_liveness(&mut self, now: Duration, id: i32, change: impl FnOnce(&mut Broker)) {
        self.poll(now);
        let Some(broker) = self.brokers.get_mut(&id).filter(|broker| broker.is_up()) else { return };
        let was_in_touch = broker.is_in_touch();
        change(broker);
        match (was_in_touch, broker.is_in_touch()) {
            (true, false) => {
                broker.silent_since = Some(now);
                broker.stale_view = Some(Box::new(self.controller.clone()));
            }
            (false, true) => self.catch_up(id),
            (true, true) | (false, false) => {}
        }
        self.poll(now);
    }

    /// The broker hears of all that has happened, and the controller of it.
    fn catch_up(&mut self, id: i32) {
        let mut hosted = self.controller.partitions_on(id);
        hosted.extend(self.controller.broker_came(id));
        if let Some(broker) = self.brokers.get_mut(&id) {
            broker.silent_since = None;
            broker.stale_view = None;
            // What waits at replicas of deleted topics is to see that they are gone.
            self.changed.extend(broker.replicas.keys());
            broker.replicas.retain(|id, _| self.controller.partition(*id).is_some());
        }
        for partition in hosted {
            self.publish(partition);
        }
    }

    /// The controller counts the broker out.
    fn fence(&mut self, broker: i32) {
        for id in self.controller.broker_went(broker) {
            self.publish(id);
        }
    }

    /// When the controller has the next thing to do: to fence a broker, or to take a replica out of the in-sync ones.
    pub(super) fn next_controller_deadline(&self) -> Option<Duration> {
        let laggard = self.next_laggard().map(|(deadline, ..)| deadline);
        laggard.into_iter().chain(self.next_fencing().map(|(deadline, _)| deadline)).min()
    }

    fn next_fencing(&self) -> Option<(Duration, i32)> {
        let silent = self.brokers.values().filter(|broker| self.controller.is_active(broker.id));
        let timeout = self.settings.replication.session_timeout;
        silent.filter_map(|broker| Some((broker.silent_since?.saturating_add(timeout), broker.id))).min()
    }

    /// Does one of these things if it is due. Tells whether there was any.
    pub(super) fn expire_liveness(&mut self, now: Duration) -> bool {
        if let Some((deadline, broker)) = self.next_fencing()
            && deadline <= now
        {
            self.fence(broker);
            return true;
        }
        if let Some((deadline, id, follower)) = self.next_laggard()
            && deadline <= now
        {
            self.shrink_isr(id, follower);
            return true;
        }
        false
    }

    /// A new broker, without any replica.
    pub(crate) fn add_broker(&mut self, now: Duration, address: BrokerAddress) {
        self.poll(now);
        self.brokers.insert(address.id, Broker::new(address.id));
        self.controller.register(address);
        self.poll(now);
    }

    /// The broker goes for good. Its replicas stay assigned to it, as in Kafka, and nobody has them.
    pub(crate) fn remove_broker(&mut self, now: Duration, broker: i32) {
        self.crash(now, broker);
        self.lose_disk(broker);
        self.brokers.remove(&broker);
        self.controller.unregister(broker);
        self.poll(now);
    }

    /// The broker has another address from now on.
    pub(crate) fn readdress(&mut self, broker: i32, host: String, port: u16) {
        self.controller.readdress(broker, host, port);
    }

    /// Whether a broker's Metadata leaves a topic out.
    pub(crate) fn hides(&self, broker: i32, topic: &TopicState) -> bool {
        self.brokers.get(&broker).is_some_and(|broker| broker.hidden_topics.contains(&topic.name))
    }

    /// Makes a broker's Metadata leave a topic out, or not.
    pub(crate) fn hide_topic(&mut self, broker: i32, topic: &str, visibility: Visibility) {
        let Some(broker) = self.brokers.get_mut(&broker) else { return };
        match visibility {
            Visibility::Hidden => drop(broker.hidden_topics.insert(topic.to_owned())),
            Visibility::Shown => drop(broker.hidden_topics.remove(topic)),
        }
    }
}
