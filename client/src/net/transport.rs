//! The connector seam: names to sockets. IO.

use std::future::Future;
use std::io;

use async_trait::async_trait;
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

/// TCP, every resolved address in turn, `TCP_NODELAY` on.
pub(crate) struct TcpConnector;

#[async_trait]
impl Connector for TcpConnector {
    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn Io>> {
        let addresses = tokio::net::lookup_host((host, port)).await?;
        let mut failures = Vec::new();
        for address in addresses {
            match tokio::net::TcpStream::connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(Box::new(stream));
                }
                Err(error) => failures.push((address, error)),
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
}
