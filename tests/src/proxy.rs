//! A proxy that holds, loses and cuts: what a network does between the client and a broker, real or not.
//!
//! It is reached through the client's `Connector`, so that it also carries the connections to the brokers that metadata
//! names:
//!
//! ```text
//! let proxy = Proxy::new();
//! let client = Client::builder().bootstrap([cluster.bootstrap()]).connector(proxy.connector()).connect().await?;
//! proxy.lose_next_produce_answer();
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;
use milena::{ApiKey, ConnectFn, Connector};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::watch;

const LARGEST_FRAME: usize = 128 * 1024 * 1024;
const PIPE_BYTES: usize = 64 * 1024;

/// Passes everything on, until it is told otherwise. Clones are the same proxy.
#[derive(Clone, Debug, Default)]
pub struct Proxy {
    state: Arc<watch::Sender<State>>,
    observer: Observer,
}

/// What passes through, as an observer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passing {
    /// A request was sent to a broker.
    Request(ApiKey),
    /// A broker answered one; the client has not got it yet.
    Answer(ApiKey),
}

#[derive(Clone, Default)]
struct Observer(Option<Arc<dyn Fn(Passing) + Send + Sync>>);

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Observer({})", self.0.is_some())
    }
}

impl Observer {
    fn tell(&self, passing: Passing) {
        if let Some(tell) = &self.0 {
            tell(passing);
        }
    }
}

/// Requests of one connection that are not answered yet. Some, with acks=0, never are.
type Asked = Mutex<VecDeque<Request>>;

struct Request {
    correlation: [u8; 4],
    api: ApiKey,
    /// Whether its answer is to be lost.
    doomed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// How many answers to Produce requests are still to be lost, and how many were.
    armed: u64,
    lost: u64,
    requests_held: bool,
    answers_held: bool,
    /// Connections of an earlier generation are cut.
    generation: u64,
    /// Produce requests that went through to a broker.
    produced: u64,
}

impl Proxy {
    /// A proxy that interferes with nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that tells of every request and every answer of an ordinary API.
    pub fn observed(observer: impl Fn(Passing) + Send + Sync + 'static) -> Self {
        Self { observer: Observer(Some(Arc::new(observer))), ..Self::default() }
    }

    /// The way through this proxy, for a client.
    pub fn connector(&self) -> impl Connector {
        let proxy = self.clone();
        ConnectFn(move |host, port| proxy.clone().connect(host, port))
    }

    /// Lets one more Produce request through to its broker, waits for the broker's answer, swallows it and cuts that
    /// connection. A request with acks=0 has no answer: its connection is never cut.
    pub fn lose_next_produce_answer(&self) {
        self.state.send_modify(|state| state.armed += 1);
    }

    /// How many answers were swallowed so far.
    pub fn lost(&self) -> u64 {
        self.state.borrow().lost
    }

    /// Waits until this many answers were swallowed.
    pub async fn until_lost(&self, count: u64) {
        self.until(|state| state.lost >= count).await;
    }

    /// From now on no request comes through; the broker seems to be silent.
    pub fn hold_requests(&self) {
        self.state.send_modify(|state| state.requests_held = true);
    }

    /// From now on brokers do what they are asked for, and no answer comes back.
    pub fn hold_answers(&self) {
        self.state.send_modify(|state| state.answers_held = true);
    }

    /// Lets go of what was held, and holds nothing more.
    pub fn release(&self) {
        self.state.send_modify(|state| (state.requests_held, state.answers_held) = (false, false));
    }

    /// Cuts every connection, and what it held is lost. New ones are as good as before.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.generation += 1);
    }

    /// How many Produce requests went through to a broker.
    pub fn produced(&self) -> u64 {
        self.state.borrow().produced
    }

    /// Waits until this many Produce requests went through to a broker.
    pub async fn until_produced(&self, count: u64) {
        self.until(|state| state.produced >= count).await;
    }

    async fn until(&self, condition: impl Fn(&State) -> bool) {
        // The sender is in `self`, so the channel cannot be closed.
        let _ = self.state.subscribe().wait_for(|state| condition(state)).await;
    }

    /// Connects to a broker and returns the client's end of the way there.
    ///
    /// # Errors
    /// The broker cannot be reached.
    pub async fn connect(self, host: String, port: u16) -> Result<DuplexStream> {
        let broker = TcpStream::connect((host.as_str(), port)).await?;
        broker.set_nodelay(true)?;
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let generation = self.state.borrow().generation;
        tokio::spawn(async move {
            // Whatever ends one direction ends the connection, and both sides see it closed.
            if let Err(error) = self.pass(ours, broker, generation).await
                && error.kind() == ErrorKind::InvalidData
            {
                eprintln!("proxy to {host}:{port}: {error}");
            }
        });
        Ok(theirs)
    }

    async fn pass(&self, client: DuplexStream, broker: TcpStream, generation: u64) -> Result<()> {
        let (mut from_client, mut to_client) = tokio::io::split(client);
        let (mut from_broker, mut to_broker) = broker.into_split();
        let asked = Asked::default();
        tokio::select! {
            biased;
            () = self.until(|state| state.generation > generation) => Ok(()),
            ended = self.pass_requests(&mut from_client, &mut to_broker, &asked) => ended,
            ended = self.pass_answers(&mut from_broker, &mut to_client, &asked) => ended,
        }
    }

    /// Frame: length, API key, API version, correlation id, …
    async fn pass_requests(
        &self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        asked: &Asked,
    ) -> Result<()> {
        let mut frame = BytesMut::new();
        loop {
            read_frame(from, &mut frame).await?;
            self.until(|state| !state.requests_held).await;
            let Some((&[high, low, _, _, a, b, c, d], _)) = frame[4..].split_first_chunk() else {
                return Err(Error::new(ErrorKind::InvalidData, "a request without a header"));
            };
            let api = ApiKey(i16::from_be_bytes([high, low]));
            let doomed = api == ApiKey::PRODUCE && self.take_one();
            let request = Request { correlation: [a, b, c, d], api, doomed };
            asked.lock().unwrap_or_else(PoisonError::into_inner).push_back(request); // before the broker can answer
            to.write_all(&frame).await?;
            self.observer.tell(Passing::Request(api));
            if api == ApiKey::PRODUCE {
                self.state.send_modify(|state| state.produced += 1);
            }
        }
    }

    /// Frame: length, correlation id, …
    async fn pass_answers(
        &self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        asked: &Asked,
    ) -> Result<()> {
        let mut frame = BytesMut::new();
        loop {
            read_frame(from, &mut frame).await?;
            // In the order of the requests, apart from those that have no answer.
            let request = {
                let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
                std::iter::from_fn(|| asked.pop_front()).find(|asked| frame[4..].starts_with(&asked.correlation))
            };
            let Some(request) = request else {
                return Err(Error::new(ErrorKind::InvalidData, "an answer to nothing"));
            };
            if request.doomed {
                self.state.send_modify(|state| state.lost += 1);
                return Ok(());
            }
            self.observer.tell(Passing::Answer(request.api));
            self.until(|state| !state.answers_held).await;
            to.write_all(&frame).await?;
        }
    }

    fn take_one(&self) -> bool {
        self.state.send_if_modified(|state| {
            let taken = state.armed > 0;
            state.armed = state.armed.saturating_sub(1);
            taken
        })
    }
}

/// One length-prefixed frame, its prefix included, that is at least long enough for the fields looked at here.
async fn read_frame(from: &mut (impl AsyncRead + Unpin), frame: &mut BytesMut) -> Result<()> {
    frame.clear();
    let length = from.read_u32().await? as usize;
    if !(4..=LARGEST_FRAME).contains(&length) {
        return Err(Error::new(ErrorKind::InvalidData, format!("a frame of {length} bytes")));
    }
    frame.extend_from_slice(&(length as u32).to_be_bytes());
    frame.resize(4 + length, 0);
    from.read_exact(&mut frame[4..]).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// A broker that answers every request with its correlation id alone.
    async fn echo() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut frame = BytesMut::new();
                    while read_frame(&mut stream, &mut frame).await.is_ok() {
                        let answer = [&[0, 0, 0, 4], &frame[8..12]].concat();
                        stream.write_all(&answer).await.unwrap();
                    }
                });
            }
        });
        port
    }

    async fn ask(stream: &mut DuplexStream, api: u8, correlation: u8) -> Result<u8> {
        stream.write_all(&[0, 0, 0, 8, 0, api, 0, 9, 0, 0, 0, correlation]).await?;
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).await?;
        Ok(answer[7])
    }

    #[tokio::test]
    async fn only_the_answer_of_the_next_produce_is_lost_and_its_connection_cut() {
        let port = echo().await;
        let proxy = Proxy::new();
        let connect = || proxy.clone().connect("127.0.0.1".into(), port);
        let (mut first, mut second) = (connect().await.unwrap(), connect().await.unwrap());

        assert_eq!(ask(&mut first, 0, 1).await.unwrap(), 1);
        proxy.lose_next_produce_answer();
        assert_eq!(ask(&mut second, 3, 2).await.unwrap(), 2, "metadata is not produce");
        assert_eq!(ask(&mut first, 0, 3).await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
        proxy.until_lost(1).await;
        assert_eq!(ask(&mut second, 0, 4).await.unwrap(), 4, "only once, and only that connection");
        assert_eq!((proxy.lost(), proxy.produced()), (1, 3));
    }

    #[tokio::test]
    async fn what_is_held_comes_later_or_is_lost_with_its_connection() {
        let port = echo().await;
        let proxy = Proxy::new();
        let connect = || proxy.clone().connect("127.0.0.1".into(), port);
        let (mut first, mut second) = (connect().await.unwrap(), connect().await.unwrap());

        proxy.hold_answers();
        let (answer, ()) = tokio::join!(ask(&mut first, 0, 1), async {
            proxy.until_produced(1).await;
            proxy.release();
        });
        assert_eq!(answer.unwrap(), 1);

        proxy.hold_requests();
        let (answer, ()) = tokio::join!(ask(&mut first, 0, 2), async { proxy.cut() });
        answer.unwrap_err();
        assert_eq!(proxy.produced(), 1, "it never came to the broker");
        second.read_u8().await.unwrap_err();
        proxy.release();
        assert_eq!(ask(&mut connect().await.unwrap(), 0, 3).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn an_observer_hears_of_requests_and_of_their_answers() {
        let port = echo().await;
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hearing = Arc::clone(&heard);
        let proxy = Proxy::observed(move |passing| hearing.lock().unwrap().push(passing));
        let mut stream = proxy.clone().connect("127.0.0.1".into(), port).await.unwrap();
        for (api, correlation) in [(11, 1), (14, 2)] {
            ask(&mut stream, api, correlation).await.unwrap();
        }
        let expected = [ApiKey(11), ApiKey(14)].map(|api| [Passing::Request(api), Passing::Answer(api)]);
        assert_eq!(*heard.lock().unwrap(), expected.concat());
    }

    #[tokio::test]
    async fn what_is_not_a_kafka_frame_ends_the_connection() {
        let port = echo().await;
        let mut stream = Proxy::new().connect("127.0.0.1".into(), port).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    }
}
