//! Where a broker's connections come in: open, shut by a crash, or frozen. IO.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::AbortHandle;

use super::gate::Gates;
use super::{Shared, Ticketed};

/// How many connections the system holds for a broker until they are accepted.
const BACKLOG: u32 = 1024;
/// After a failure to accept (too many open files, say) it is tried again.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(50);

pub(crate) struct Door {
    /// None if connections come over pipes only.
    address: Option<SocketAddr>,
    place: Place,
    gates: Arc<Gates>,
    /// How often it has been opened: what accepts for an earlier time must not go on.
    openings: u64,
    accepting: Option<AbortHandle>,
}

enum Place {
    Open(Option<TcpListener>),
    /// The port is kept, without listening, so that nobody else is given it before the restart.
    Shut(Option<TcpSocket>),
    ClosedForGood,
}

impl Door {
    pub(crate) fn new(listener: Option<TcpListener>) -> io::Result<Self> {
        let address = listener.as_ref().map(TcpListener::local_addr).transpose()?;
        Ok(Self { address, place: Place::Open(listener), gates: Arc::default(), openings: 0, accepting: None })
    }

    /// Where it listens; none if connections come over pipes only.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.place, Place::Open(_))
    }

    pub(crate) fn gates(&self) -> &Arc<Gates> {
        &self.gates
    }

    pub(super) fn shut(&mut self) {
        self.leave(Place::Shut(None));
        // A failure shows when the port is listened on again.
        self.place = Place::Shut(self.address.and_then(|address| reserve(address).ok()));
    }

    pub(super) fn close_for_good(&mut self) {
        self.leave(Place::ClosedForGood);
    }

    fn leave(&mut self, place: Place) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
        }
        if let Place::Open(Some(listener)) = std::mem::replace(&mut self.place, place) {
            stop_listening(listener);
        }
        self.gates.work.open();
    }

    /// Listens there instead of where it did, after it was shut.
    pub(super) fn move_to(&mut self, address: SocketAddr) -> io::Result<SocketAddr> {
        let socket = reserve(address)?;
        let address = socket.local_addr()?;
        self.address = Some(address);
        self.place = Place::Shut(Some(socket));
        Ok(address)
    }

    /// Listens again where it did before. Only on a runtime.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        let listener = match (&mut self.place, self.address) {
            (Place::Shut(reserved), Some(address)) => match reserved.take() {
                Some(socket) => Some(socket.listen(BACKLOG)?),
                None => Some(reserve(address)?.listen(BACKLOG)?),
            },
            (Place::Shut(_), None) => None,
            (Place::Open(_), _) => return Ok(()),
            (Place::ClosedForGood, _) => return Err(io::Error::other("the cluster has been stopped")),
        };
        self.place = Place::Open(listener);
        self.openings += 1;
        Ok(())
    }

    /// Which opening there is to accept for; none if there is no listener.
    pub(super) fn opening(&self) -> Option<u64> {
        matches!(self.place, Place::Open(Some(_))).then_some(self.openings)
    }

    pub(super) fn accepting(&mut self, opening: u64, task: Option<AbortHandle>) {
        if self.opening() == Some(opening) {
            self.accepting = task;
        }
    }

    /// `None` when the opening is over.
    fn poll_accept(&self, opening: u64, cx: &mut Context<'_>) -> Poll<Option<io::Result<(TcpStream, SocketAddr)>>> {
        match &self.place {
            Place::Open(Some(listener)) if self.openings == opening => listener.poll_accept(cx).map(Some),
            _ => Poll::Ready(None),
        }
    }
}

/// Listens on a host and a port, or on a free port if that is 0. Only on a runtime.
pub(crate) fn listen(host: IpAddr, port: u16) -> io::Result<TcpListener> {
    reserve(SocketAddr::new(host, port))?.listen(BACKLOG)
}

fn reserve(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Otherwise a port is not free for a minute after its last connection. On Windows it would mean something else.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Closing alone would not do: a child process that is being started at this moment has a copy of the socket until it runs.
fn stop_listening(listener: TcpListener) {
    #[cfg(unix)]
    match listener.into_std() {
        Ok(listener) => {
            let socket = std::net::TcpStream::from(std::os::fd::OwnedFd::from(listener));
            if let Err(error) = socket.shutdown(std::net::Shutdown::Both) {
                // Not every system can: there, closing has to do.
                tracing::debug!(%error, "cannot shut down a listener");
            }
        }
        Err(error) => tracing::warn!(%error, "cannot shut down a listener"),
    }
    #[cfg(not(unix))]
    drop(listener);
}

/// A connection; without a ticket if a fault refuses it.
type Accepted = (TcpStream, Option<Ticketed>);

pub(super) async fn accept(shared: Arc<Shared>, broker: i32, opening: u64) {
    // Accepting and registering are one step under the lock: a crash sees the connection, or the connection sees the crash.
    let poll = |cx: &mut Context<'_>| -> Poll<Option<io::Result<Accepted>>> {
        let mut state = shared.lock();
        let Some(door) = state.doors.get(&broker) else { return Poll::Ready(None) };
        let (stream, peer) = match ready!(door.poll_accept(opening, cx)) {
            Some(Ok(accepted)) => accepted,
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => return Poll::Ready(None),
        };
        let now = shared.now();
        if state.rules.refuse_connection(now, broker) {
            return Poll::Ready(Some(Ok((stream, None))));
        }
        let ticketed = state.open(now, broker, format!("/{}", peer.ip()), None);
        Poll::Ready(ticketed.map(|ticketed| Ok((stream, Some(ticketed)))))
    };
    loop {
        match poll_fn(poll).await {
            // The system has accepted it already: closing it at once is the nearest to a refusal.
            Some(Ok((_refused, None))) => shared.changed.notify_waiters(),
            Some(Ok((stream, Some(ticketed)))) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(broker, %error, "cannot switch off delays of a new connection");
                }
                shared.serve(stream, ticketed);
            }
            Some(Err(error)) => {
                tracing::warn!(broker, %error, "cannot accept a connection");
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            }
            None => return,
        }
    }
}
