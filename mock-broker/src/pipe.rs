//! An in-memory connection between a client and a mock broker: bounded, with latency and cuts from a seed. IO.

mod lane;

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::random::Random;
use lane::{Arrival, Lane, Taken};

/// How pipes behave; the default moves everything at once and whole.
#[derive(Debug, Clone, Default)]
pub(crate) struct PipeOptions {
    /// Bytes that are written arrive after a random time in this range, in order. Empty: at once.
    pub(crate) latency: Range<Duration>,
    /// A read or a write moves a random number of bytes up to this. None: as many as fit.
    pub(crate) largest_piece: Option<usize>,
}

/// One end of an in-memory connection. [`MockCluster::pipe`](crate::MockCluster::pipe) hands out the client's.
///
/// It behaves as a socket does: each direction holds at most 64 KiB, then writes wait; dropping one end lets the other read
/// what was sent and then the end of the stream; a crashed broker resets it (`ConnectionReset`).
pub struct Pipe {
    incoming: Arc<Lane>,
    outgoing: Arc<Lane>,
    options: Arc<PipeOptions>,
    random: Random,
    /// Armed while the next bytes are still under way.
    arrival: Option<Pin<Box<Sleep>>>,
}

impl Pipe {
    /// Two connected ends. Latencies and cuts come from `random`; `clock` is the time now.
    pub(crate) fn pair(options: &Arc<PipeOptions>, random: &mut Random) -> (Self, Self) {
        let (there, back) = (Arc::new(Lane::default()), Arc::new(Lane::default()));
        let mut end = |incoming: &Arc<Lane>, outgoing: &Arc<Lane>| Self {
            incoming: Arc::clone(incoming),
            outgoing: Arc::clone(outgoing),
            options: Arc::clone(options),
            random: Random::new(random.next(), 0),
            arrival: None,
        };
        (end(&back, &there), end(&there, &back))
    }

    /// Cuts the connection for both ends, once and for all.
    pub(crate) fn resetter(&self) -> Resetter {
        Resetter([Arc::clone(&self.incoming), Arc::clone(&self.outgoing)])
    }

    fn piece(&mut self, most: usize) -> usize {
        match self.options.largest_piece {
            Some(largest) if most > 0 => 1 + self.random.below(most.min(largest.max(1)) as u64) as usize,
            _ => most,
        }
    }

    fn time_under_way(&mut self) -> Option<Duration> {
        let Range { start, end } = self.options.latency;
        let spread = end.checked_sub(start).filter(|spread| !spread.is_zero())?;
        let nanoseconds = u64::try_from(spread.as_nanos()).unwrap_or(u64::MAX);
        Some(start + Duration::from_nanos(self.random.below(nanoseconds)))
    }
}

/// Resets a pipe from outside.
#[derive(Debug)]
pub(crate) struct Resetter([Arc<Lane>; 2]);

impl Resetter {
    pub(crate) fn reset(&self) {
        for lane in &self.0 {
            lane.reset();
        }
    }
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let pipe = self.get_mut();
        if out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let most = pipe.piece(out.remaining());
        loop {
            match pipe.incoming.take(now(), out, most, cx.waker()) {
                Taken::Some | Taken::End => return Poll::Ready(Ok(())),
                Taken::Reset => return Poll::Ready(Err(reset())),
                Taken::Nothing => return Poll::Pending,
                Taken::UnderWay(arrival) => {
                    let sleep = pipe.arrival.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(arrival)));
                    if sleep.deadline() != arrival {
                        sleep.as_mut().reset(arrival);
                    }
                    ready!(sleep.as_mut().poll(cx));
                }
            }
        }
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let pipe = self.get_mut();
        let offered = slices.iter().map(|slice| slice.len()).sum();
        if offered == 0 {
            return Poll::Ready(Ok(0));
        }
        let most = pipe.piece(offered);
        let arrival = match pipe.time_under_way() {
            Some(under_way) => Arrival::At(now() + under_way),
            None => Arrival::AtOnce,
        };
        pipe.outgoing.put(slices, most, arrival, cx.waker())
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.close_writer();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.outgoing.close_writer();
        self.incoming.close_reader();
    }
}

impl std::fmt::Debug for Pipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipe").finish_non_exhaustive()
    }
}

#[allow(clippy::disallowed_methods, reason = "a pipe is a piece of the network: it delays by the runtime's clock")]
fn now() -> Instant {
    Instant::now()
}

fn reset() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the mock broker cut the connection")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn pair(options: PipeOptions, seed: u64) -> (Pipe, Pipe) {
        Pipe::pair(&Arc::new(options), &mut Random::new(seed, 0))
    }

    #[tokio::test]
    async fn what_is_written_is_read_and_dropping_is_the_end() {
        let (mut client, mut server) = pair(PipeOptions::default(), 1);
        client.write_all(b"hello").await.unwrap();
        drop(client);
        let mut read = Vec::new();
        server.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"hello");
        let error = server.write_all(b"anyone?").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_full_pipe_makes_the_writer_wait() {
        let (mut client, mut server) = pair(PipeOptions::default(), 1);
        let sent: Vec<u8> = (0..300_000u32).map(|byte| byte as u8).collect();
        let (written, read) = tokio::join!(
            async {
                client.write_all(&sent).await.unwrap();
                drop(client);
            },
            async {
                let mut read = Vec::new();
                server.read_to_end(&mut read).await.unwrap();
                read
            }
        );
        let () = written;
        assert_eq!(read, sent);
    }

    #[tokio::test]
    async fn a_reset_is_seen_by_both_ends_and_loses_what_was_under_way() {
        let (mut client, mut server) = pair(PipeOptions::default(), 1);
        client.write_all(b"lost").await.unwrap();
        server.resetter().reset();
        for end in [&mut client, &mut server] {
            assert_eq!(end.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
            assert_eq!(end.write_u8(1).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn latency_keeps_the_order_and_comes_from_the_seed() {
        let millisecond = Duration::from_millis(1);
        let options = PipeOptions { latency: 5 * millisecond..20 * millisecond, largest_piece: Some(7) };
        let mut times = Vec::new();
        for seed in [1, 1, 2] {
            let (mut client, mut server) = pair(options.clone(), seed);
            let start = now();
            let sent: Vec<u8> = (0..100).collect();
            client.write_all(&sent).await.unwrap();
            let mut read = vec![0; 100];
            server.read_exact(&mut read).await.unwrap();
            assert_eq!(read, sent);
            let took = start.elapsed();
            assert!(took >= 5 * millisecond && took <= 21 * millisecond, "{took:?}");
            times.push((client.random.next(), server.random.next(), took));
        }
        assert_eq!(times[0], times[1]);
        assert_ne!(times[0], times[2]);
    }
}
