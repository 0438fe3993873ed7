//! One connection: reads a request, has it applied, answers, then reads the next. IO.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::gate::{Gated, Gates};
use super::wire::Wire;
use super::{Received, Refusal, Shared, Ticketed};
use crate::core::{Origin, Outcome};
use crate::fault::{Plan, Then};
use crate::journal::{About, Event};

/// Serves until one side closes the connection, then forgets it.
pub(super) async fn run<S>(shared: Arc<Shared>, stream: S, ticketed: Ticketed)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Ticketed { origin, killed, gates } = ticketed;
    let (broker, connection) = (origin.broker, origin.connection);
    tracing::debug!(broker, connection, client = %origin.client_host, "connection opened");
    let wire = Wire::new(Gated::new(stream, Arc::clone(&gates)));
    let mut served = Connection { shared: Arc::clone(&shared), wire, origin, gates: Arc::clone(&gates) };
    let served = async {
        // The end of the stream is dropped last: it does not reach the client either while the way there is cut.
        let end = served.serve().await;
        gates.to_clients.opened().await;
        end
    };
    tokio::select! {
        biased;
        _ = killed => tracing::debug!(broker, connection, "connection cut by a crash or a stop"),
        end = served => match end {
            Ok(reason) => tracing::debug!(broker, connection, reason, "connection closed"),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::warn!(broker, connection, %error, "connection closed");
            }
            Err(error) => tracing::debug!(broker, connection, %error, "connection closed"),
        },
    }
    shared.disconnected(connection);
}

struct Connection<S> {
    shared: Arc<Shared>,
    wire: Wire<S>,
    origin: Origin,
    gates: Arc<Gates>,
}

/// How an answer trickles.
const PIECES_A_SECOND: u32 = 20;

/// Why a connection came to its end.
type Reason = &'static str;

const CLIENT_LEFT: Reason = "the client left";
const CUT_OFF: Reason = "the broker crashed or stopped";
const BAD_REQUEST: Reason = "the broker closed it: a bad request, or a fault";
const FAULT: Reason = "a fault closed it";

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    async fn serve(&mut self) -> io::Result<Reason> {
        let shared = Arc::clone(&self.shared);
        loop {
            self.wire.begin_frame().await?;
            if shared.cut_requests() {
                let start = self.wire.start_of_frame().await?;
                let Some(cut) = self.when_thawed(|origin| shared.cut_request(origin, &start)).await else {
                    return Ok(CUT_OFF);
                };
                if let Some(length) = cut {
                    self.wire.read_no_further_than(length).await?;
                    return Ok(FAULT);
                }
            }
            let Some(frame) = self.wire.read_frame().await? else { return Ok(CLIENT_LEFT) };
            let Some(received) = self.when_thawed(|origin| shared.receive(origin, &frame)).await else {
                return Ok(CUT_OFF);
            };
            let Received { plan, header } = received;
            let (outcome, then) = match plan {
                Plan::Answer(outcome) => (outcome, Then::Answer),
                Plan::Ignore => {
                    self.wire.closed().await;
                    return Ok(CLIENT_LEFT);
                }
                Plan::Apply { hold, instead, then } => {
                    if !hold.is_zero() {
                        // Even if the client leaves: late requests of clients that gave up are what this is for.
                        tokio::time::sleep(hold).await;
                    }
                    let frame = instead.unwrap_or(frame);
                    let Some(outcome) = self.when_thawed(|origin| shared.submit(origin, &frame)).await else {
                        return Ok(CUT_OFF);
                    };
                    match self.unless_gone(outcome).await {
                        Some(Ok(outcome)) => (outcome, then),
                        Some(Err(_)) => return Ok(CUT_OFF),
                        None => return Ok(CLIENT_LEFT),
                    }
                }
            };
            let (outcome, then) = match (then, &header) {
                (Then::Falsify(falsify), Some(header)) => (falsify.outcome(header, outcome), Then::Answer),
                (then, _) => (outcome, then),
            };
            let (frame, mute) = match outcome {
                Outcome::Reply { frame, mute } => (frame, mute),
                Outcome::Silent => (Vec::new(), Duration::ZERO),
                Outcome::Close => return Ok(BAD_REQUEST),
            };
            let about = header.as_ref().map(About::from);
            match then {
                Then::Answer | Then::Falsify(_) => self.answer(frame, about.as_ref()).await?,
                Then::HoldFor(time) => {
                    if self.unless_gone(tokio::time::sleep(time)).await.is_none() {
                        return Ok(CLIENT_LEFT);
                    }
                    self.answer(frame, about.as_ref()).await?;
                }
                Then::Close => return Ok(FAULT),
                Then::Cut(length) => {
                    self.answer(cut(frame, length), about.as_ref()).await?;
                    return Ok(FAULT);
                }
                Then::Trickle(rate) => {
                    if self.trickle(frame, about.as_ref(), rate).await?.is_none() {
                        return Ok(CLIENT_LEFT);
                    }
                }
            }
            if !mute.is_zero() {
                tokio::time::sleep(mute).await;
            }
        }
    }

    async fn answer(&mut self, mut frame: Vec<Bytes>, about: Option<&About>) -> io::Result<()> {
        if frame.is_empty() {
            return Ok(());
        }
        self.note_answer(&frame, about).await;
        self.wire.write(&mut frame).await
    }

    /// As soon as the broker is not frozen.
    async fn note_answer(&mut self, frame: &[Bytes], about: Option<&About>) {
        self.gates.work.opened().await;
        if let Some(about) = about {
            let Origin { broker, connection, .. } = self.origin;
            self.shared.journal.note(self.shared.now(), broker, connection, Event::Answer(frame, about));
        }
    }

    /// Answers with at most `rate` bytes in each second, in pieces as even as may be; `None` if the client leaves before the
    /// end.
    async fn trickle(&mut self, frame: Vec<Bytes>, about: Option<&About>, rate: u32) -> io::Result<Option<()>> {
        let step = rate.div_ceil(PIECES_A_SECOND).max(1);
        let pause = Duration::from_secs(1).mul_f64(f64::from(step) / f64::from(rate.max(1)));
        let mut left = Bytes::from(frame.concat());
        self.note_answer(&frame, about).await;
        while !left.is_empty() {
            let piece = left.split_to(left.len().min(step as usize));
            self.wire.write(&mut [piece]).await?;
            if !left.is_empty() && self.unless_gone(tokio::time::sleep(pause)).await.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(()))
    }

    /// Does something as soon as the broker is not frozen; `None` if the connection is no longer one of the cluster's.
    async fn when_thawed<T>(&mut self, mut attempt: impl FnMut(&Origin) -> Result<T, Refusal>) -> Option<T> {
        loop {
            match attempt(&self.origin) {
                Ok(done) => return Some(done),
                Err(Refusal::Frozen) => self.gates.work.opened().await,
                Err(Refusal::Gone) => return None,
            }
        }
    }

    /// `None` if the client leaves before.
    async fn unless_gone<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            result = future => Some(result),
            () = self.wire.gone() => None,
        }
    }
}

/// The first `length` bytes.
fn cut(frame: Vec<Bytes>, length: usize) -> Vec<Bytes> {
    let mut left = length;
    let mut kept = Vec::new();
    for piece in frame {
        let end = piece.len().min(left);
        left -= end;
        kept.push(piece.slice(..end));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_cut_across_its_pieces() {
        let frame = || vec![Bytes::from_static(b"abc"), Bytes::from_static(b"def")];
        for (length, expected) in [(0, ""), (2, "ab"), (3, "abc"), (4, "abcd"), (9, "abcdef")] {
            assert_eq!(cut(frame(), length).concat(), expected.as_bytes());
        }
    }
}
