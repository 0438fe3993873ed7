//! Brokers that crash, freeze and come back, from one source on either kind of cluster.

use std::sync::PoisonError;

use milena_protocol::messages::metadata::MetadataRequest;

use super::raw::ask;
use super::{Kind, TestCluster};
use crate::real_kafka::Error;

impl TestCluster {
    /// Kills a broker without warning (`kill -9`); another one becomes leader of its partitions.
    pub async fn crash(&self, id: i32) {
        self.remember(id, Voice::Silent);
        match &self.kind {
            Kind::Mock(cluster) => cluster.broker(id).crash(),
            Kind::Real(cluster) => done("crash", cluster.crash(id).await),
        }
    }

    /// Shuts a broker down in good order (`kill -TERM`): others lead its partitions before it goes.
    pub async fn stop(&self, id: i32) {
        self.remember(id, Voice::Silent);
        match &self.kind {
            Kind::Mock(cluster) => {
                for (topic, partition, next) in self.to_hand_over(id).await {
                    cluster.partition(&topic, partition).elect(next);
                }
                cluster.broker(id).crash();
            }
            Kind::Real(cluster) => done("stop", cluster.stop(id).await),
        }
    }

    /// The partitions that a broker leads, each with another broker that can lead it.
    async fn to_hand_over(&self, id: i32) -> Vec<(String, i32, i32)> {
        let everything = MetadataRequest { topics: None, ..Default::default() };
        let known = self.ask_any(async |address| ask(address, 9, &everything).await).await;
        let mut led = Vec::new();
        for topic in known.topics {
            let name = topic.name.unwrap_or_default();
            for partition in topic.partitions.iter().filter(|partition| partition.leader_id == id) {
                let next = partition.isr_nodes.iter().find(|other| **other != id);
                led.extend(next.map(|next| (name.clone(), partition.partition_index, *next)));
            }
        }
        led
    }

    /// Starts a broker again that was crashed or stopped, with its data, and returns when it serves.
    pub async fn restart(&self, id: i32) {
        match &self.kind {
            Kind::Mock(cluster) => cluster.broker(id).restart(),
            Kind::Real(cluster) => done("restart", cluster.restart(id).await),
        }
        self.remember(id, Voice::Speaking);
    }

    /// Stops a broker in its tracks (`kill -STOP`): its sockets stay open and nobody answers. After 1.5 s others lead its
    /// partitions.
    pub async fn freeze(&self, id: i32) {
        self.remember(id, Voice::Silent);
        match &self.kind {
            Kind::Mock(cluster) => cluster.broker(id).freeze(),
            Kind::Real(cluster) => done("freeze", cluster.freeze(id).await),
        }
    }

    /// Lets a frozen broker go on (`kill -CONT`), not knowing that time has passed.
    pub async fn thaw(&self, id: i32) {
        match &self.kind {
            Kind::Mock(cluster) => cluster.broker(id).thaw(),
            Kind::Real(cluster) => done("thaw", cluster.thaw(id).await),
        }
        self.remember(id, Voice::Speaking);
    }

    fn remember(&self, id: i32, voice: Voice) {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        match voice {
            Voice::Silent => drop(silent.insert(id)),
            Voice::Speaking => drop(silent.remove(&id)),
        }
    }

    /// The addresses of the brokers that can answer.
    pub fn speaking(&self) -> Vec<String> {
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (1..=3).filter(|id| !silent.contains(id)).filter_map(|id| self.address(id)).collect()
    }
}

enum Voice {
    Silent,
    Speaking,
}

fn done(what: &str, result: Result<(), Error>) {
    result.unwrap_or_else(|error| panic!("{what}: {error}"));
}
