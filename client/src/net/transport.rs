//! The connector seam: names to sockets. IO.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};

/// Makes connections. The default resolves the name and tries every address over TCP; tests hand out in-memory pipes.
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// Connects to `host`, a name or an address as the configuration or the broker gave it, at `port`.
    ///
    /// # Errors
    /// If no connection could be made.
    ///
    /// # Cancel safety
    /// The client drops the future when `socket.connection.setup.timeout.ms` has passed; nothing may be left behind.
    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn Io>>;
}

/// A connection: any stream of bytes in both directions.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// Makes a connector of a closure from host and port to a future of a stream.
pub struct ConnectFn<F>(pub F);

#[async_trait]
impl<F, Fut, S> Connector for ConnectFn<F>
where
    F: Fn(String, u16) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = io::Result<S>> + Send,
    S: Io,
{
    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn Io>> {
        Ok(Box::new((self.0)(host.to_owned(), port).await?))
    }
}

/// TCP, every resolved address, `TCP_NODELAY` on.
pub(crate) struct TcpConnector;

#[async_trait]
impl Connector for TcpConnector {
    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn Io>> {
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
        let stream = first_connected(addresses, tokio::net::TcpStream::connect).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}

/// How long an address may be silent before the next one is tried beside it (as in RFC 8305).
const HEAD_START: Duration = Duration::from_millis(250);

/// The first connection that comes about: an address that fails gives way to the next at once, one that is silent after a moment.
async fn first_connected<A: fmt::Display + Copy, S, F: Future<Output = io::Result<S>>>(
    addresses: Vec<A>,
    connect: impl Fn(A) -> F,
) -> io::Result<S> {
    let mut addresses = addresses.into_iter().peekable();
    let mut attempts = FuturesUnordered::new();
    let mut failures: Vec<(A, io::Error)> = Vec::new();
    loop {
        if let Some(address) = addresses.next() {
            let attempt = connect(address);
            attempts.push(async move { attempt.await.map_err(|error| (address, error)) });
        }
        tokio::select! {
            biased;
            attempt = attempts.next() => match attempt {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(failure)) => failures.push(failure),
                None => break,
            },
            () = tokio::time::sleep(HEAD_START), if addresses.peek().is_some() => {}
        }
    }
    match failures.len() {
        0 => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
        1 => Err(failures.remove(0).1),
        _ => {
            let kind = failures.last().map_or(io::ErrorKind::Other, |(_, error)| error.kind());
            let all: Vec<String> = failures.iter().map(|(address, error)| format!("{address}: {error}")).collect();
            Err(io::Error::new(kind, all.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn connect(address: &'static str) -> io::Result<&'static str> {
        match address {
            "silent" => std::future::pending().await,
            "refused" => Err(io::ErrorKind::ConnectionRefused.into()),
            healthy => Ok(healthy),
        }
    }

    #[tokio::test(start_paused = true)]
    #[allow(clippy::disallowed_methods, reason = "the clock is paused")]
    async fn an_address_that_is_silent_or_refuses_does_not_hide_a_healthy_one() {
        let started = tokio::time::Instant::now();
        assert_eq!(first_connected(vec!["refused", "healthy"], connect).await.unwrap(), "healthy");
        assert_eq!(started.elapsed(), Duration::ZERO);

        assert_eq!(first_connected(vec!["silent", "silent", "healthy"], connect).await.unwrap(), "healthy");
        assert_eq!(started.elapsed(), 2 * HEAD_START);
    }

    #[tokio::test]
    async fn if_none_connects_each_is_named() {
        let error = first_connected(vec!["refused", "refused"], connect).await.unwrap_err();
        assert_eq!(error.to_string().matches("refused: ").count(), 2, "{error}");
        assert!(first_connected(Vec::<&str>::new(), connect).await.is_err());
    }
}
