//! One connection: a task that both writes and reads, and pulls its requests from a source. IO.
//!
//! The source is asked for the next request only while the in-flight window is open, so whoever batches can batch as late as
//! possible. A lost connection tells the source that everything in flight is unknown, and is made again with backoff
//! (KIP-580) when the source wants it.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::sync::Notify;
use tracing::{debug, trace};

use super::frame_reader::{FrameReader, ReadError};
use super::handshake;
use super::transport::Io;
use super::versions::BrokerVersions;
use super::window::Window;
use super::{Address, Net};
use crate::clock::Time;
use crate::error::{Error, ErrorKind, Result};

/// After how long without an answer a broker is suspected.
const SILENCE: Duration = Duration::from_secs(3);

/// Where a connection gets its requests from, and brings the answers to.
pub(crate) trait RequestSource: Send + 'static {
    /// Where to connect; `None` while that is not known.
    fn address(&self) -> Option<Address>;

    /// Whether there is something to connect for.
    fn wants_connection(&self, now: Time) -> bool;

    /// Whether the connection should end and its task with it.
    fn is_closed(&self) -> bool;

    /// A connection is up, to a broker that speaks these versions.
    fn on_connected(&mut self, now: Time, versions: &BrokerVersions);

    /// No connection could be made, or it broke: whatever was in flight has an unknown outcome.
    fn on_disconnected(&mut self, now: Time, cause: &Error);

    /// The next request, encoded with this correlation id. Asked only while fewer than [`RequestSource::max_in_flight`] wait.
    fn next_request(&mut self, now: Time, correlation_id: i32) -> Option<Outgoing>;

    /// The answer to the request with this token: a frame without its length. An error closes the connection.
    fn on_response(&mut self, now: Time, token: u64, frame: Bytes) -> Result<()>;

    /// When to ask again although nobody woke the connection.
    fn next_deadline(&self) -> Option<Time>;

    /// How many requests may wait for an answer.
    fn max_in_flight(&self) -> usize;

    /// The broker has not answered for some seconds. It may be frozen, and others may know more.
    fn on_silence(&mut self) {}
}

/// A request on its way to the socket.
pub(crate) struct Outgoing {
    /// The frame, in pieces.
    pub(crate) pieces: Vec<Bytes>,
    /// The source's name for it.
    pub(crate) token: u64,
    /// When the connection is given up if there is no answer.
    pub(crate) deadline: Time,
    /// Whether the broker answers at all: not to a Produce with acks=0.
    pub(crate) answered: bool,
}

/// Connects and serves until the source is closed. `wake` is to be notified whenever the source may have something new.
pub(crate) async fn run<S: RequestSource>(net: Arc<Net>, wake: Arc<Notify>, mut source: S) {
    let mut entropy = net.fork_entropy();
    let mut failures = 0u32;
    let mut not_before = Time::ZERO;
    loop {
        let now = net.now();
        if source.is_closed() {
            return;
        }
        let address = source.address().filter(|_| source.wants_connection(now) && now >= not_before);
        let Some(address) = address else {
            let retry = (now < not_before).then_some(not_before);
            let deadline =
                [retry, source.next_deadline().filter(|deadline| *deadline > now)].into_iter().flatten().min();
            tokio::select! {
                biased;
                () = net.sleep_until(deadline) => {}
                () = wake.notified() => {}
            }
            continue;
        };
        let cause = match connect(&net, &address, failures).await {
            Ok((mut io, reader, versions)) => {
                debug!(peer = %address, "connected");
                failures = 0;
                source.on_connected(net.now(), &versions);
                match serve(&net, &wake, &mut source, &address, io.as_mut(), reader).await {
                    Some(cause) => cause,
                    None => return,
                }
            }
            Err(cause) => cause,
        };
        failures += 1;
        not_before = net.now() + net.limits.reconnect.delay(failures, &mut entropy);
        debug!(peer = %address, error = %cause, "disconnected");
        source.on_disconnected(net.now(), &cause);
    }
}

/// Connects and finds out what the broker speaks, within the time for setting up a connection.
async fn connect(net: &Net, address: &Address, failures: u32) -> Result<(Box<dyn Io>, FrameReader, BrokerVersions)> {
    let setup = async {
        let io = net.connector.connect(&address.host, address.port).await;
        let mut io =
            io.map_err(|error| Error::new(ErrorKind::Transport, format!("cannot connect to {address}: {error}")))?;
        let mut reader = FrameReader::new(net.limits.max_response_bytes);
        let versions = handshake::api_versions(net, address, io.as_mut(), &mut reader).await?;
        Ok((io, reader, versions))
    };
    let patience = net.limits.setup_timeout.saturating_mul(1 << failures.min(8)).min(net.limits.setup_timeout_max);
    tokio::select! {
        biased;
        done = setup => done,
        () = tokio::time::sleep(patience) => Err(Error::new(
            ErrorKind::Transport,
            format!("no connection to {address}, or no answer on it, within {patience:?} (socket.connection.setup.timeout.ms)"),
        )),
    }
}

/// What woke the connection.
enum Event {
    Frame(Result<Bytes, ReadError>),
    Written(std::io::Result<()>),
    Timer,
    Woken,
}

/// Serves one connection until it breaks (the cause) or the source is closed (`None`).
async fn serve<S: RequestSource>(
    net: &Net,
    wake: &Notify,
    source: &mut S,
    address: &Address,
    io: &mut dyn Io,
    mut reader: FrameReader,
) -> Option<Error> {
    let mut window = Window::default();
    let mut outgoing: VecDeque<Bytes> = VecDeque::new();
    // Something was not written yet, or not flushed.
    let mut unsent = false;
    // When the connection was last used, and when the oldest request that waits began to be the oldest.
    let (mut used, mut heard) = (net.now(), net.now());
    let mut woken = Box::pin(wake.notified());
    loop {
        if source.is_closed() {
            return None;
        }
        let now = net.now();
        if window.len() == 0 && !unsent && used.saturating_add(net.limits.max_idle) <= now {
            return Some(Error::new(
                ErrorKind::Transport,
                format!("connection to {address} was idle (connections.max.idle.ms)"),
            ));
        }
        // Of requests without an answer nothing else tells that the broker has stopped reading.
        if window.len() == 0 && unsent && used.saturating_add(net.limits.request_timeout) <= now {
            return Some(Error::new(
                ErrorKind::TimedOut,
                format!(
                    "nothing could be written to {address} within {:?} (request.timeout.ms)",
                    net.limits.request_timeout
                ),
            ));
        }
        if window.len() > 0 && heard.saturating_add(SILENCE) <= now {
            heard = now;
            source.on_silence();
        }
        if window.deadline().is_some_and(|deadline| deadline <= now) {
            return Some(Error::new(
                ErrorKind::TimedOut,
                format!("no response from {address} within {:?} (request.timeout.ms)", net.limits.request_timeout),
            ));
        }
        // A request that cannot be written yet is better batched some more.
        while !unsent && window.len() < source.max_in_flight() {
            let Some(request) = source.next_request(now, window.correlation_id()) else { break };
            if window.len() == 0 {
                heard = now;
            }
            used = now;
            window.on_sent(request.token, request.deadline, request.answered);
            outgoing.extend(request.pieces);
            match poll_fn(|context| Poll::Ready(poll_write(io, &mut outgoing, context))).await {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Some(broken(address, &window, error)),
                Poll::Pending => unsent = true,
            }
        }
        let may_send = !unsent && window.len() < source.max_in_flight();
        // One that has passed was just used: asking again at once would bring nothing, and starve the socket.
        let source_deadline = source.next_deadline().filter(|deadline| may_send && *deadline > now);
        let own_deadline = match window.len() {
            0 if unsent => used.saturating_add(net.limits.request_timeout),
            0 => used.saturating_add(net.limits.max_idle),
            _ => heard.saturating_add(SILENCE),
        };
        let deadline = [window.deadline(), source_deadline, Some(own_deadline)].into_iter().flatten().min();
        let mut timer = pin!(net.sleep_until(deadline));

        let event = poll_fn(|context| {
            if timer.as_mut().poll(context).is_ready() {
                return Poll::Ready(Event::Timer);
            }
            if let Poll::Ready(frame) = reader.poll_frame(io, context) {
                return Poll::Ready(Event::Frame(frame));
            }
            if unsent && let Poll::Ready(written) = poll_write(io, &mut outgoing, context) {
                return Poll::Ready(Event::Written(written));
            }
            if woken.as_mut().poll(context).is_ready() {
                woken.set(wake.notified());
                return Poll::Ready(Event::Woken);
            }
            Poll::Pending
        });
        match event.await {
            Event::Timer | Event::Woken => {}
            Event::Written(Ok(())) => unsent = false,
            Event::Written(Err(error)) => return Some(broken(address, &window, error)),
            Event::Frame(Ok(frame)) => {
                (used, heard) = (net.now(), net.now());
                if let Err(error) = on_frame(net, source, &mut window, address, frame) {
                    return Some(error);
                }
            }
            Event::Frame(Err(error)) => return Some(unreadable(address, &window, error)),
        }
    }
}

fn on_frame<S: RequestSource>(
    net: &Net,
    source: &mut S,
    window: &mut Window,
    address: &Address,
    frame: Bytes,
) -> Result<()> {
    let correlation_id = milena_protocol::frame::correlation_id(&frame).map_err(|error| {
        Error::new(ErrorKind::Protocol, format!("malformed answer from {address}")).with_source(error)
    })?;
    match window.on_answer(correlation_id) {
        Ok(token) => {
            trace!(peer = %address, correlation_id, bytes = frame.len(), "answer");
            source.on_response(net.now(), token, frame)
        }
        Err(expected) => {
            let expected = expected.map_or_else(|| "none".to_owned(), |id| id.to_string());
            Err(Error::new(
                ErrorKind::Protocol,
                format!(
                    "{address} answered request {correlation_id}, expected {expected}: the connection is out of step"
                ),
            ))
        }
    }
}

/// Writes as much as the socket takes; ready when everything is written.
fn poll_write(io: &mut dyn Io, outgoing: &mut VecDeque<Bytes>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
    while !outgoing.is_empty() {
        let mut slices = [IoSlice::new(&[]); 64];
        for (slice, piece) in slices.iter_mut().zip(outgoing.iter()) {
            *slice = IoSlice::new(piece);
        }
        let count = outgoing.len().min(slices.len());
        let slices = slices.get(..count).unwrap_or(&[]);
        let mut written = match Pin::new(&mut *io).poll_write_vectored(context, slices) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(written)) => written,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        };
        while let Some(piece) = outgoing.front_mut() {
            if written < piece.len() {
                piece.advance(written);
                break;
            }
            written -= piece.len();
            outgoing.pop_front();
        }
    }
    Pin::new(io).poll_flush(context)
}

fn broken(address: &Address, window: &Window, error: std::io::Error) -> Error {
    let unanswered = window.len();
    Error::new(
        ErrorKind::Transport,
        format!("connection to {address} broke with {unanswered} requests unanswered: {error}"),
    )
}

/// Says what a peer that sends no Kafka frames may be.
pub(crate) fn unreadable(address: &Address, window: &Window, error: ReadError) -> Error {
    match error {
        ReadError::Io(error) => broken(address, window, error),
        ReadError::Closed(bytes) => {
            let unanswered = window.len();
            let cut = if bytes > 0 { " in the middle of an answer" } else { "" };
            Error::new(
                ErrorKind::Transport,
                format!("{address} closed the connection{cut} with {unanswered} requests unanswered"),
            )
        }
        ReadError::Length(prefix) => {
            let guess = match &prefix {
                b"HTTP" => {
                    "it looks like HTTP; check the port in bootstrap.servers and the broker's advertised.listeners"
                }
                [0x15 | 0x16, 3, ..] => "it looks like TLS, which this client does not speak yet",
                b"SSH-" => "it looks like SSH; check the port",
                _ => "a frame of that length is refused (max.response.bytes)",
            };
            Error::new(
                ErrorKind::Protocol,
                format!(
                    "{address} does not answer as a Kafka broker: its answer starts with \"{}\"; {guess}",
                    prefix.escape_ascii()
                ),
            )
        }
    }
}
