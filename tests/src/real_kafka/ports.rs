//! Which ports the brokers listen on, and the properties that follow from them.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};

use super::Error;

/// Below the range from which Linux takes the local ports of outgoing connections (32768 and up): a port stays free
/// while its broker is down, instead of being lent to some client in the meantime.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// Two ports for each of three brokers: one for clients, one for the controller quorum.
#[derive(Debug)]
pub(crate) struct Ports {
    clients: [u16; 3],
    controllers: [u16; 3],
}

/// Finds free ports; the first three are the given one and its two successors, if one is given.
pub(crate) fn choose(first_port: Option<u16>) -> Result<Ports, Error> {
    let mut held = Vec::new(); // bound until all are chosen, so that no port is chosen twice
    let clients = match first_port {
        None => free(&mut held)?,
        Some(first) => {
            let mut ports = [0; 3];
            for (port, offset) in ports.iter_mut().zip(0..) {
                *port = first.checked_add(offset).ok_or("ports end at 65535")?;
                held.push(listen(*port).map_err(|error| format!("port {port} cannot be used: {error}"))?);
            }
            ports
        }
    };
    Ok(Ports { clients, controllers: free(&mut held)? })
}

fn free(held: &mut Vec<TcpListener>) -> Result<[u16; 3], Error> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % u32::from(COUNT)) as u16; // processes that start together look in different places
    let mut ports = [0; 3];
    for port in &mut ports {
        *port = (0..COUNT)
            .map(|_| {
                let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed)) * 7 + u32::from(start);
                FIRST + (step % u32::from(COUNT)) as u16
            })
            .find(|candidate| listen(*candidate).map(|listener| held.push(listener)).is_ok())
            .ok_or("no free port on 127.0.0.1")?;
    }
    Ok(ports)
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

impl Ports {
    pub(crate) fn client(&self, id: i32) -> u16 {
        self.clients[id as usize - 1]
    }

    pub(super) fn zookeeper(&self) -> u16 {
        self.controllers[0]
    }

    /// The properties of one broker that keeps its metadata in ZooKeeper.
    pub(super) fn properties_with_zookeeper(&self, id: i32, data: &Path) -> Vec<(String, String)> {
        with_shared([
            ("broker.id", id.to_string()),
            ("zookeeper.connect", format!("127.0.0.1:{}", self.zookeeper())),
            ("zookeeper.session.timeout.ms", "4000".to_owned()),
            ("zookeeper.connection.timeout.ms", "60000".to_owned()),
            ("listeners", format!("PLAINTEXT://127.0.0.1:{}", self.client(id))),
            ("log.dirs", data.display().to_string()),
            ("broker.rack", format!("r{id}")),
        ])
    }

    /// The properties of one broker, which is a controller too, so that the quorum survives one kill.
    pub(super) fn properties(&self, id: i32, data: &Path) -> Vec<(String, String)> {
        let voters: Vec<_> = (1..=3).map(|id| format!("{id}@127.0.0.1:{}", self.controllers[id - 1])).collect();
        let listeners = format!(
            "PLAINTEXT://127.0.0.1:{},CONTROLLER://127.0.0.1:{}",
            self.client(id),
            self.controllers[id as usize - 1]
        );
        with_shared([
            ("process.roles", "broker,controller".to_owned()),
            ("node.id", id.to_string()),
            ("controller.quorum.voters", voters.join(",")),
            ("listeners", listeners),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            ("log.dirs", data.display().to_string()),
            ("broker.rack", format!("r{id}")),
        ])
    }
}

fn with_shared(own: [(&str, String); 7]) -> Vec<(String, String)> {
    let shared = SHARED.iter().map(|(name, value)| (*name, (*value).to_owned()));
    own.into_iter().chain(shared).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The same on every broker: small internal topics, quick and small groups, old records and transactions looked for at once, and failures
/// noticed in 1.5 s instead of 9.
pub(crate) const SHARED: &[(&str, &str)] = &[
    ("auto.create.topics.enable", "false"),
    ("default.replication.factor", "3"),
    ("replica.selector.class", "org.apache.kafka.common.replica.RackAwareReplicaSelector"),
    ("offsets.topic.num.partitions", "5"),
    ("offsets.topic.replication.factor", "3"),
    ("transaction.state.log.num.partitions", "5"),
    ("transaction.state.log.replication.factor", "3"),
    ("transaction.state.log.min.isr", "1"),
    ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "250"),
    ("share.coordinator.state.topic.replication.factor", "3"),
    ("share.coordinator.state.topic.min.isr", "1"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.min.session.timeout.ms", "500"),
    ("group.max.size", "10"),
    ("num.network.threads", "1"),
    ("num.io.threads", "2"),
    ("log.cleaner.dedupe.buffer.size", "4194304"),
    ("log.cleaner.backoff.ms", "250"),
    ("log.initial.task.delay.ms", "250"),
    ("log.retention.check.interval.ms", "250"),
    ("broker.heartbeat.interval.ms", "200"),
    ("broker.session.timeout.ms", "1500"),
    // What a broker has asked a controller that stands still, it asks the next one after that: not after 30 s.
    ("controller.socket.timeout.ms", "5000"),
    ("controller.quorum.election.timeout.ms", "500"),
    ("controller.quorum.fetch.timeout.ms", "1000"),
];
