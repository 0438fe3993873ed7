//! Runs the core: one lock around it, its timer, doors for connections, answers to those who wait. IO.

mod brokers;
mod connection;
mod door;
mod gate;
mod looking;
mod wire;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use milena_protocol::ApiKey;
use milena_protocol::frame::RequestHeader;
use milena_protocol::primitives::Decoder;
use tokio::sync::{Notify, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::core::{BrokerAddress, Core, Origin, Outcome, Settings, Ticket};
use crate::fault::{Incoming, Plan, Rules};
use crate::journal::{About, Event, Journal};
use crate::pipe::{Pipe, PipeOptions, Resetter};
use crate::random::Random;
use crate::snapshot::{Connection, Snapshot};

pub(crate) use door::{Door, listen};
pub(crate) use gate::Gate;
use gate::Gates;

/// How long conditions are waited for before the wait is given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Pipes draw from a random stream of their own.
const PIPE_STREAM: u64 = 10;
/// The port of every broker of a cluster in memory, where only hosts differ.
pub(crate) const PORT_IN_MEMORY: u16 = 9092;
/// Pipes are hosts to nobody; brokers see them as local ones.
const PIPE_HOST: &str = "/127.0.0.1";

/// What all handles and tasks of a cluster share.
pub(crate) struct Shared {
    pub(crate) journal: Journal,
    started: Instant,
    runtime: tokio::runtime::Handle,
    state: Mutex<State>,
    /// Something happened that somebody may wait for.
    changed: Notify,
    /// The core's next deadline is another one.
    rearmed: Notify,
    /// None after the stop.
    tasks: Mutex<Option<JoinSet<()>>>,
}

pub(crate) struct State {
    pub(crate) core: Core,
    pub(crate) rules: Rules,
    pub(crate) doors: BTreeMap<i32, Door>,
    /// How many requests were seen, per API.
    requests: BTreeMap<ApiKey, u64>,
    waiting: BTreeMap<Ticket, oneshot::Sender<Outcome>>,
    connections: BTreeMap<u64, Open>,
    last_connection: u64,
    pipe_options: Arc<PipeOptions>,
    random: Random,
    armed: Option<Duration>,
    /// True while the core is being changed: seen under the lock, it tells that a change panicked half-way.
    changing: bool,
}

/// An open connection as the cluster sees it. Removing it ends its task.
struct Open {
    about: Connection,
    pipe: Option<Resetter>,
    _alive: oneshot::Sender<Infallible>,
}

/// A request that a broker has looked at.
struct Received {
    plan: Plan,
    /// None if it has no header that can be read.
    header: Option<RequestHeader>,
}

/// What a connection's task needs to know about its connection.
struct Ticketed {
    origin: Origin,
    killed: oneshot::Receiver<Infallible>,
    gates: Arc<Gates>,
}

/// Why a broker does not look at a request.
enum Refusal {
    /// It will when it thaws.
    Frozen,
    /// The connection is no longer one of the cluster's.
    Gone,
}

impl Shared {
    /// Must be called on a tokio runtime: the cluster's tasks run there.
    pub(crate) fn start(
        settings: Settings,
        doors: BTreeMap<i32, Door>,
        pipe_options: PipeOptions,
        journal: Journal,
    ) -> Arc<Self> {
        let state = State {
            rules: Rules::new(settings.seed),
            doors,
            requests: BTreeMap::new(),
            waiting: BTreeMap::new(),
            connections: BTreeMap::new(),
            last_connection: 0,
            pipe_options: Arc::new(pipe_options),
            random: Random::new(settings.seed, PIPE_STREAM),
            armed: None,
            changing: false,
            core: Core::new(settings),
        };
        let shared = Arc::new(Self {
            journal,
            started: now(),
            runtime: tokio::runtime::Handle::current(),
            state: Mutex::new(state),
            changed: Notify::new(),
            rearmed: Notify::new(),
            tasks: Mutex::new(Some(JoinSet::new())),
        });
        shared.spawn(run_timer(Arc::clone(&shared)));
        let brokers: Vec<i32> = shared.lock().doors.keys().copied().collect();
        for broker in brokers {
            shared.accept_at(broker);
        }
        shared
    }

    /// Time since the start.
    pub(crate) fn now(&self) -> Duration {
        now().duration_since(self.started)
    }

    /// # Panics
    /// If a change of the core has panicked before.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        let state = self.lock_after_panic();
        assert!(!state.changing, "the mock cluster cannot go on: it panicked before, see the first panic above");
        state
    }

    /// Whether a closure of a test on this thread looks at the state, so that nothing else can be done with it.
    pub(crate) fn is_looked_at(&self) -> bool {
        looking::is_looking(self)
    }

    /// For what must not panic.
    pub(crate) fn lock_after_panic(&self) -> MutexGuard<'_, State> {
        looking::refuse_calls(self);
        // Whether the state is whole is told by `changing`; the closures of users that look at it change nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the core, then hands out what came of it.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut State, Duration) -> R) -> R {
        let mut state = self.lock();
        state.changing = true;
        let result = change(&mut state, self.now());
        while let Some((ticket, outcome)) = state.core.next_outcome() {
            // Nobody waits any more if the connection has gone.
            if let Some(waiting) = state.waiting.remove(&ticket) {
                let _gone = waiting.send(outcome);
            }
        }
        let deadline = state.core.next_deadline();
        let rearm = deadline != state.armed;
        state.armed = deadline;
        state.changing = false;
        drop(state);
        if rearm {
            self.rearmed.notify_one();
        }
        self.changed.notify_waiters();
        result
    }

    /// Shows the state to a closure of a test.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        let state = self.lock();
        looking::while_looking(self, || look(&state))
    }

    /// False if `holds` has not become true in [`PATIENCE`].
    pub(crate) async fn wait_for(&self, holds: impl Fn(&State) -> bool) -> bool {
        let mut patience = pin!(tokio::time::sleep(PATIENCE));
        loop {
            let mut changed = pin!(self.changed.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            if self.look(&holds) {
                return true;
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = &mut patience => return self.look(&holds),
            }
        }
    }

    /// Ends everything but what can be looked at, and waits for the tasks.
    pub(crate) async fn stop(&self) {
        if let Some(mut tasks) = self.stop_now() {
            tasks.shutdown().await;
        }
    }

    /// Ends everything but what can be looked at; dropping what is returned aborts the tasks.
    pub(crate) fn stop_now(&self) -> Option<JoinSet<()>> {
        let mut state = self.lock_after_panic();
        for door in state.doors.values_mut() {
            door.close_for_good();
            // Who waits there to connect is refused now.
            door.gates().from_clients.open();
            door.gates().to_clients.open();
        }
        if !state.changing {
            let now = self.now();
            state.reset_connections(|_| true, now, &self.journal);
        }
        state.waiting.clear();
        drop(state);
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The client's end of a new connection, once bytes get through in both directions.
    pub(crate) async fn connect(self: &Arc<Self>, host: &str, port: u16) -> io::Result<Pipe> {
        loop {
            let gates = match self.try_connect(host, port)? {
                Ok(pipe) => return Ok(pipe),
                Err(gates) => gates,
            };
            gates.from_clients.opened().await;
            gates.to_clients.opened().await;
        }
    }

    /// The inner error is what is shut.
    fn try_connect(self: &Arc<Self>, host: &str, port: u16) -> io::Result<Result<Pipe, Arc<Gates>>> {
        let (client, server, ticketed) = {
            let mut state = self.lock();
            let known = state.brokers().find(|broker| broker.host == host && broker.port == port);
            let Some(broker) = known.map(|broker| broker.id) else {
                let others: Vec<_> = state.brokers().map(|b| format!("{}:{}", b.host, b.port)).collect();
                let others = others.join(", ");
                let message = format!("no mock broker has the address {host}:{port}; they have {others}");
                return Err(io::Error::new(io::ErrorKind::NotFound, message));
            };
            let gates = state.doors.get(&broker).map(|door| Arc::clone(door.gates()));
            if let Some(gates) = gates.filter(|gates| gates.from_clients.is_shut() || gates.to_clients.is_shut()) {
                return Ok(Err(gates));
            }
            let options = Arc::clone(&state.pipe_options);
            let (client, server) = Pipe::pair(&options, &mut state.random);
            let now = self.now();
            if state.rules.refuse_connection(now, broker) {
                drop(state);
                self.changed.notify_waiters();
                let message = format!("a fault refuses the connection to mock broker {broker} at {host}:{port}");
                return Err(io::Error::new(io::ErrorKind::ConnectionRefused, message));
            }
            let Some(ticketed) = state.open(now, broker, PIPE_HOST.to_owned(), Some(server.resetter())) else {
                let message = format!("mock broker {broker} at {host}:{port} is down");
                return Err(io::Error::new(io::ErrorKind::ConnectionRefused, message));
            };
            (client, server, ticketed)
        };
        self.serve(server, ticketed);
        Ok(Ok(client))
    }

    fn serve<S>(self: &Arc<Self>, stream: S, ticketed: Ticketed)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let origin = &ticketed.origin;
        self.journal.note(self.now(), origin.broker, origin.connection, Event::Opened);
        self.changed.notify_waiters();
        self.spawn(connection::run(Arc::clone(self), stream, ticketed));
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Option<AbortHandle> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let tasks = tasks.as_mut()?;
        while tasks.try_join_next().is_some() {}
        Some(tasks.spawn_on(task, &self.runtime))
    }

    /// Accepts the broker's connections until its door is shut.
    fn accept_at(self: &Arc<Self>, broker: i32) {
        let Some(opening) = self.lock().doors.get(&broker).and_then(Door::opening) else { return };
        let accepting = self.spawn(door::accept(Arc::clone(self), broker, opening));
        if let Some(door) = self.lock().doors.get_mut(&broker) {
            door.accepting(opening, accepting);
        }
    }

    /// Whether requests have to be shown to [`cut_request`](Self::cut_request) before they are read.
    fn cut_requests(&self) -> bool {
        self.lock().rules.cut_requests()
    }

    /// At how many bytes a request is to be cut, of which no more than the start has come. `None` if it is to be read.
    fn cut_request(&self, origin: &Origin, start: &Bytes) -> Result<Option<usize>, Refusal> {
        let Ok(header) = RequestHeader::decode(&mut Decoder::new(start.clone())) else { return Ok(None) };
        let cut = {
            let mut state = self.lock();
            state.admit(origin)?;
            state.rules.cut_request(self.now(), origin.broker, &header)
        };
        self.changed.notify_waiters();
        Ok(cut)
    }

    /// Looks at a request for the first time: notes it, and asks the rules.
    fn receive(&self, origin: &Origin, frame: &Bytes) -> Result<Received, Refusal> {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.admit(origin)?;
        let now = self.now();
        let Origin { broker, connection, .. } = *origin;
        let mut input = Decoder::new(frame.clone());
        let Ok(header) = RequestHeader::decode(&mut input) else {
            // It goes on to the core, which closes the connection.
            self.journal.note(now, broker, connection, Event::Request(frame, None));
            return Ok(Received { plan: Plan::PASS, header: None });
        };
        let body = frame.slice(input.position()..);
        *state.requests.entry(header.api_key).or_default() += 1;
        let mut about = About::from(&header);
        if let Some(open) = state.connections.get_mut(&connection) {
            open.about.on_request(&header, &body);
            // Clients say the same name in each request: it is kept once.
            about.client_id = open.about.client_id.clone();
        }
        self.journal.note(now, broker, connection, Event::Request(frame, Some((&about, &body))));
        let incoming = Incoming { broker, header: &header, body: &body };
        let plan = state.rules.decide(now, &incoming, &state.core);
        drop(guard);
        self.changed.notify_waiters();
        Ok(Received { plan, header: Some(header) })
    }

    /// Has the core apply a request.
    fn submit(&self, origin: &Origin, frame: &Bytes) -> Result<oneshot::Receiver<Outcome>, Refusal> {
        self.change(|state, now| {
            state.admit(origin)?;
            let (sender, receiver) = oneshot::channel();
            let ticket = state.core.submit(now, origin, frame.clone());
            state.waiting.insert(ticket, sender);
            Ok(receiver)
        })
    }

    /// The connection's task has come to its end.
    fn disconnected(&self, connection: u64) {
        self.change(|state, now| {
            state.forget(connection, now, &self.journal);
            // Nobody will take the answers to what it had asked.
            state.waiting.retain(|_, answer| !answer.is_closed());
        });
    }
}

impl State {
    pub(crate) fn snapshot(&self) -> Snapshot<'_> {
        let connections = self.connections.values().map(|open| &open.about).collect();
        Snapshot { core: &self.core, requests: &self.requests, connections }
    }

    pub(crate) fn broker(&self, id: i32) -> Option<&BrokerAddress> {
        self.core.controller.address(id)
    }

    /// All brokers, by their ids.
    pub(crate) fn brokers(&self) -> impl Iterator<Item = &BrokerAddress> {
        self.core.controller.addresses()
    }

    /// None if the broker is down.
    fn open(&mut self, now: Duration, broker: i32, client_host: String, pipe: Option<Resetter>) -> Option<Ticketed> {
        let door = self.doors.get(&broker).filter(|door| door.is_open())?;
        self.last_connection += 1;
        let connection = self.last_connection;
        let (alive, killed) = oneshot::channel();
        let about = Connection::new(now, connection, broker, client_host.clone());
        self.connections.insert(connection, Open { about, pipe, _alive: alive });
        Some(Ticketed { origin: Origin { broker, connection, client_host }, killed, gates: Arc::clone(door.gates()) })
    }

    fn admit(&self, origin: &Origin) -> Result<(), Refusal> {
        if !self.connections.contains_key(&origin.connection) {
            return Err(Refusal::Gone);
        }
        match self.doors.get(&origin.broker) {
            Some(door) if door.gates().work.is_shut() => Err(Refusal::Frozen),
            Some(_) => Ok(()),
            None => Err(Refusal::Gone),
        }
    }

    /// Ends the tasks of these connections, too.
    fn reset_connections(&mut self, which: impl Fn(&Open) -> bool, now: Duration, journal: &Journal) {
        let numbers: Vec<u64> =
            self.connections.iter().filter(|(_, open)| which(open)).map(|(number, _)| *number).collect();
        for number in numbers {
            if let Some(Open { pipe: Some(pipe), .. }) = self.forget(number, now, journal) {
                pipe.reset();
            }
        }
    }

    fn forget(&mut self, number: u64, now: Duration, journal: &Journal) -> Option<Open> {
        let open = self.connections.remove(&number)?;
        self.core.on_disconnect(number);
        journal.note(now, open.about.broker, number, Event::Closed);
        Some(open)
    }
}

/// Tells the core when its next deadline has come.
async fn run_timer(shared: Arc<Shared>) {
    loop {
        let deadline = shared.lock().armed.and_then(|deadline| shared.started.checked_add(deadline));
        let come = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shared.rearmed.notified() => {}
            () = come => shared.change(|state, now| state.core.poll(now)),
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the one place where the mock cluster reads the clock: all else is told")]
fn now() -> Instant {
    Instant::now()
}
