//! Brokers that come, go, stand still and move. IO.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::{Door, PORT_IN_MEMORY, Shared, listen};
use crate::core::BrokerAddress;

impl Shared {
    pub(crate) fn crash(&self, broker: i32) {
        self.change(|state, now| {
            let Some(door) = state.doors.get_mut(&broker).filter(|door| door.is_open()) else { return };
            door.shut();
            state.reset_connections(|open| open.about.broker == broker, now, &self.journal);
            state.core.crash(now, broker);
        });
    }

    /// # Errors
    /// The broker's port cannot be listened on again.
    pub(crate) fn restart(self: &Arc<Self>, broker: i32) -> io::Result<()> {
        let reopened = self.change(|state, now| {
            let Some(door) = state.doors.get_mut(&broker).filter(|door| !door.is_open()) else { return Ok(false) };
            // A listener belongs to a runtime, and this may be any thread.
            let _context = self.runtime.enter();
            door.reopen()?;
            state.core.restart(now, broker);
            Ok(true)
        });
        if reopened.inspect_err(|error: &io::Error| tracing::error!(broker, %error, "cannot restart"))? {
            self.accept_at(broker);
        }
        Ok(())
    }

    pub(crate) fn freeze(&self, broker: i32) {
        self.change(|state, now| {
            let Some(door) = state.doors.get(&broker).filter(|door| door.is_open()) else { return };
            door.gates().work.shut();
            state.core.freeze(now, broker);
        });
    }

    /// The broker learns what has happened before it works on what it was sent meanwhile.
    pub(crate) fn thaw(&self, broker: i32) {
        self.change(|state, now| {
            state.core.thaw(now, broker);
            if let Some(door) = state.doors.get(&broker) {
                door.gates().work.open();
            }
        });
    }

    /// Adds a broker that listens, if the others do, on a free port of their host.
    ///
    /// # Errors
    /// There is no free port, or the cluster has been stopped.
    pub(crate) fn add_broker(self: &Arc<Self>, rack: Option<&str>) -> io::Result<i32> {
        let id = self.change(|state, now| {
            let id = state.core.controller.next_broker_id();
            let listens_on = state.doors.values().find_map(Door::address).map(|address| address.ip());
            let (door, host, port) = match listens_on {
                Some(ip) => {
                    let _context = self.runtime.enter();
                    let listener = listen(ip, 0)?;
                    let port = listener.local_addr()?.port();
                    (Door::new(Some(listener))?, ip.to_string(), port)
                }
                None => (Door::new(None)?, format!("b{id}"), PORT_IN_MEMORY),
            };
            state.doors.insert(id, door);
            state.core.add_broker(now, BrokerAddress { id, host, port, rack: rack.map(str::to_owned) });
            io::Result::Ok(id)
        })?;
        self.accept_at(id);
        Ok(id)
    }

    pub(crate) fn remove_broker(&self, broker: i32) {
        self.change(|state, now| {
            let Some(mut door) = state.doors.remove(&broker) else { return };
            door.close_for_good();
            state.reset_connections(|open| open.about.broker == broker, now, &self.journal);
            state.core.remove_broker(now, broker);
        });
    }

    /// Restarts a broker with another address: of a cluster in memory any, else another free port.
    ///
    /// # Errors
    /// There is no free port, or the cluster has been stopped.
    pub(crate) fn change_address(self: &Arc<Self>, broker: i32, host: &str) -> io::Result<()> {
        {
            let state = self.lock();
            let is_in_memory = state.doors.get(&broker).is_some_and(|door| door.address().is_none());
            if let Some(other) = state.brokers().find(|other| other.id != broker && other.host == host)
                && is_in_memory
            {
                let message = format!("mock broker {} has the host {host}", other.id);
                return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
            }
        }
        self.crash(broker);
        self.change(|state, _| {
            let Some(door) = state.doors.get_mut(&broker) else { return Ok(()) };
            let (host, port) = match door.address() {
                Some(address) => {
                    let _context = self.runtime.enter();
                    (address.ip().to_string(), door.move_to(SocketAddr::new(address.ip(), 0))?.port())
                }
                None => (host.to_owned(), PORT_IN_MEMORY),
            };
            state.core.readdress(broker, host, port);
            io::Result::Ok(())
        })?;
        self.restart(broker)
    }
}
