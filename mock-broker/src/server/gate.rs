//! What a test can shut between a broker and its clients, and a stream that waits in front of it. IO.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// What stands between a broker and its clients.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    /// Shut while the broker's process stands still.
    pub(crate) work: Gate,
    /// Shut while bytes of clients do not reach the broker.
    pub(crate) from_clients: Gate,
    /// Shut while the broker's bytes do not reach clients.
    pub(crate) to_clients: Gate,
}

/// Those who wait are woken in the order in which they began to: tokio's watch channel draws that order by chance, and one seed
/// would not give one run.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    shut: AtomicBool,
    opened: Notify,
}

impl Gate {
    pub(crate) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Acquire)
    }

    pub(crate) fn shut(&self) {
        self.shut.store(true, Ordering::Release);
    }

    pub(crate) fn open(&self) {
        self.shut.store(false, Ordering::Release);
        self.opened.notify_waiters();
    }

    /// Waits until it is open.
    pub(crate) async fn opened(&self) {
        loop {
            let opened = self.opened.notified();
            if !self.is_shut() {
                return;
            }
            opened.await;
        }
    }
}

type Waiting = Option<Pin<Box<dyn Future<Output = ()> + Send>>>;

/// A broker's end of a connection. Bytes wait on the side they come from while the gate is shut, as they do on a network that
/// loses packets until it is mended.
pub(super) struct Gated<S> {
    stream: S,
    gates: Arc<Gates>,
    reading: Waiting,
    writing: Waiting,
}

impl<S> Gated<S> {
    pub(super) fn new(stream: S, gates: Arc<Gates>) -> Self {
        Self { stream, gates, reading: None, writing: None }
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        poll_gate(&mut self.reading, &self.gates, |gates| &gates.from_clients, cx)
    }

    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        poll_gate(&mut self.writing, &self.gates, |gates| &gates.to_clients, cx)
    }
}

fn poll_gate(waiting: &mut Waiting, gates: &Arc<Gates>, gate: fn(&Gates) -> &Gate, cx: &mut Context<'_>) -> Poll<()> {
    while gate(gates).is_shut() {
        let gates = Arc::clone(gates);
        let opened = waiting.get_or_insert_with(|| Box::pin(async move { gate(&gates).opened().await }));
        ready!(opened.as_mut().poll(cx));
        *waiting = None;
    }
    *waiting = None;
    Poll::Ready(())
}

impl<S: AsyncRead + Unpin> AsyncRead for Gated<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let gated = self.get_mut();
        ready!(gated.poll_readable(cx));
        Pin::new(&mut gated.stream).poll_read(cx, out)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gated<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let gated = self.get_mut();
        ready!(gated.poll_writable(cx));
        Pin::new(&mut gated.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let gated = self.get_mut();
        ready!(gated.poll_writable(cx));
        Pin::new(&mut gated.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
