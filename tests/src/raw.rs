//! A client of the raw protocol: any request in any version, or any bytes, to a broker of the caller's choice. For tests of
//! what brokers do, from one source on the mock cluster and on Kafka:
//!
//! ```text
//! let topic = cluster.topic("orders", 1).await;
//! let mut leader = cluster.raw_leader(&topic, 0).await;                  // or raw(broker), raw_coordinator(group)
//! let written = leader.ask(9, &produce(&topic, 0, RawBatch::of(["a", "b"]))).await;
//!
//! let first = leader.send(12, &waiting_fetch).await;                     // any number of requests may be open
//! let second = leader.send(9, &produce(&topic, 0, RawBatch::of(["c"]))).await;
//! let (first, second) = (leader.answer(first).await, leader.answer(second).await);
//!
//! assert_eq!(leader.try_ask(99, &FetchRequest::default()).await, Err(NoAnswer::Closed));
//! ```
//!
//! An older Kafka (`MILENA_TEST_KAFKA`) is asked in the version given, or the highest that it has below.
//!
//! Methods panic when the broker cannot be reached or its answer cannot be read, with the reason. Every wait has a deadline.

mod batch;
mod requests;
mod transactions;

use std::collections::BTreeMap;
use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use milena_protocol::ErrorCode;
use milena_protocol::api::Request;
use milena_protocol::frame::{correlation_id, decode_response, encode_request};
use milena_protocol::messages::api_versions::ApiVersionsRequest;
use milena_protocol::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use milena_protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use milena_protocol::messages::offset_fetch::OffsetFetchRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub use batch::{RawBatch, now_ms};
pub use requests::{fetch, produce};
pub use transactions::{Coordinated, RawProducer};

use crate::cluster::{TestCluster, is_older_than};
use crate::eventually::eventually;

/// Where the checksum of a batch begins.
const CHECKSUM: usize = 17;

/// How long an answer may take. It ends a test that hangs, it measures nothing.
const WITHIN: Duration = Duration::from_secs(60);

/// A connection to one broker. Dropping it closes it, which ends a fetch session and whatever waits on it.
#[derive(Debug)]
pub struct RawConnection {
    stream: TcpStream,
    client_id: String,
    next_correlation: i32,
    /// The highest versions of an older Kafka, by API.
    highest: BTreeMap<i16, i16>,
}

/// A request that was sent and not answered yet.
#[derive(Debug)]
#[must_use = "its answer is the next one on the connection"]
pub struct Sent<R> {
    version: i16,
    correlation: i32,
    request: PhantomData<fn(R)>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The broker closed the connection.
    Closed,
    /// The deadline passed. A part of an answer may have been read: the connection is of no use any more.
    Silent,
}

impl RawConnection {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// Nobody listens there.
    pub async fn connect(address: &str) -> io::Result<Self> {
        let stream = timeout(WITHIN, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        let mut connection =
            Self { stream, client_id: "raw".to_owned(), next_correlation: 1, highest: BTreeMap::new() };
        if is_older_than((4, 4)) {
            let offered = connection.io_ask(0, &ApiVersionsRequest::default()).await?;
            connection.highest = offered.api_keys.iter().map(|api| (api.api_key, api.max_version)).collect();
            connection.next_correlation = 1;
        }
        Ok(connection)
    }

    /// Names the client in the requests from now on; it is `raw` before.
    #[must_use]
    pub fn client_id(mut self, name: &str) -> Self {
        name.clone_into(&mut self.client_id);
        self
    }

    /// Sends a request and returns its answer.
    pub async fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let sent = self.send(version, request).await;
        self.answer(sent).await
    }

    /// Like [`ask`](Self::ask), for a request that the broker may not answer.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn try_ask<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response, NoAnswer> {
        let sent = self.send(version, request).await;
        self.try_answer(sent, WITHIN).await
    }

    /// Sends a request and does not wait. Answers come in the order of the requests.
    pub async fn send<R: Request>(&mut self, version: i16, request: &R) -> Sent<R> {
        let highest = self.highest.get(&R::KEY.0).filter(|_| R::VERSIONS.contains(version));
        let version = highest.map_or(version, |highest| version.min(*highest));
        let correlation = self.next_correlation;
        self.next_correlation += 1;
        let frame = encode_request(version, correlation, &self.client_id, request)
            .unwrap_or_else(|error| panic!("{} version {version}: {error}", R::KEY));
        self.send_bytes(&frame.concat()).await;
        Sent { version, correlation, request: PhantomData }
    }

    /// Waits for the next answer, which must be the one to this request.
    pub async fn answer<R: Request>(&mut self, sent: Sent<R>) -> R::Response {
        let version = sent.version;
        let answer = self.try_answer(sent, WITHIN).await;
        answer.unwrap_or_else(|reason| panic!("no answer to {} version {version}: {reason:?}", R::KEY))
    }

    /// Like [`answer`](Self::answer), for so long at most.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn try_answer<R: Request>(&mut self, sent: Sent<R>, within: Duration) -> Result<R::Response, NoAnswer> {
        let frame = self.frame(within).await?;
        let correlation = correlation_id(&frame).unwrap_or_else(|error| panic!("an answer: {error}"));
        assert_eq!(correlation, sent.correlation, "answers come in the order of the requests");
        let answer = decode_response::<R>(sent.version, frame);
        Ok(answer.unwrap_or_else(|error| panic!("the answer to {} version {}: {error}", R::KEY, sent.version)))
    }

    /// Waits until the leader of a topic's first partition knows itself that fewer replicas than `min.insync.replicas` are in sync,
    /// which it may do a while after all brokers tell it. A batch with a wrong checksum is written in no case.
    pub async fn until_it_lacks_replicas(&mut self, topic: &str) {
        let mut batch = RawBatch::of(["never"]).encode().to_vec();
        batch[CHECKSUM] ^= 1;
        let request = produce(topic, 0, Bytes::from(batch));
        eventually(&format!("the leader of {topic} to lack replicas"), async || {
            let code = self.ask(9, &request).await.code();
            let refused = [ErrorCode::CORRUPT_MESSAGE, ErrorCode::NOT_ENOUGH_REPLICAS];
            assert!(refused.contains(&code), "{topic}: {code}");
            (code == ErrorCode::NOT_ENOUGH_REPLICAS).then_some(())
        })
        .await;
    }

    /// Sends bytes as they are: a frame is a length of four bytes, a header, a body. A connection that the broker has closed
    /// takes them, too.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        match timeout(WITHIN, self.stream.write_all(bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if is_closed(&error) => {}
            Ok(Err(error)) => panic!("send {} bytes: {error}", bytes.len()),
            Err(_) => panic!("send {} bytes: the broker does not read them", bytes.len()),
        }
    }

    /// The next frame, without its length.
    ///
    /// # Errors
    /// There was none.
    pub async fn frame(&mut self, within: Duration) -> Result<Bytes, NoAnswer> {
        let read = timeout(within, async {
            let length = self.stream.read_u32().await?;
            let mut frame = vec![0; length as usize];
            self.stream.read_exact(&mut frame).await?;
            Ok::<_, io::Error>(Bytes::from(frame))
        });
        match read.await {
            Ok(Ok(frame)) => Ok(frame),
            Ok(Err(error)) if is_closed(&error) => Err(NoAnswer::Closed),
            Ok(Err(error)) => panic!("read an answer: {error}"),
            Err(_) => Err(NoAnswer::Silent),
        }
    }
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof)
}

/// What FindCoordinator calls a group, and a transactional id.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

impl TestCluster {
    /// A connection to a broker: 1, 2 or 3.
    pub async fn raw(&self, broker: i32) -> RawConnection {
        let address = self.address(broker).expect("brokers 1, 2 and 3");
        RawConnection::connect(&address).await.unwrap_or_else(|error| panic!("connect to broker {broker}: {error}"))
    }

    /// A connection to the leader of a partition.
    pub async fn raw_leader(&self, topic: &str, partition: i32) -> RawConnection {
        self.raw(self.leader(topic, partition).await).await
    }

    /// A connection to the coordinator of a group, once that serves it.
    pub async fn raw_coordinator(&self, group: &str) -> RawConnection {
        self.raw(self.coordinator(group).await).await
    }

    /// A connection to the coordinator of a transactional id.
    pub async fn raw_transaction_coordinator(&self, transactional_id: &str) -> RawConnection {
        self.raw(self.transaction_coordinator(transactional_id).await).await
    }

    /// The broker that coordinates a transactional id. It may not serve it yet.
    pub async fn transaction_coordinator(&self, transactional_id: &str) -> i32 {
        let what = format!("a coordinator of {transactional_id}");
        eventually(&what, async || self.find(transactional_id, TRANSACTION).await).await
    }

    /// The partition of `__transaction_state` that has a transactional id. Java's hash of the string decides.
    pub async fn transaction_partition(&self, transactional_id: &str) -> i32 {
        let units = transactional_id.encode_utf16();
        let hash = units.fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
        let topic = MetadataRequestTopic { name: Some("__transaction_state".to_owned()), ..Default::default() };
        let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
        let answer = self.ask_any(async |address| RawConnection::connect(address).await?.io_ask(9, &request).await);
        let answer: MetadataResponse = answer.await;
        hash.checked_abs().unwrap_or(0) % answer.topics[0].partitions.len() as i32
    }

    /// The broker that coordinates a group, once it serves it.
    pub async fn coordinator(&self, group: &str) -> i32 {
        eventually(&format!("a coordinator of {group}"), async || {
            let broker = self.find(group, GROUP).await?;
            let request = OffsetFetchRequest { group_id: group.to_owned(), ..Default::default() };
            let answer = self.raw(broker).await.try_ask(5, &request).await.ok()?;
            answer.error_code.is_none().then_some(broker)
        })
        .await
    }

    async fn find(&self, key: &str, key_type: i8) -> Option<i32> {
        let request = FindCoordinatorRequest { key: key.to_owned(), key_type, ..Default::default() };
        let answer = self.ask_any(async |address| RawConnection::connect(address).await?.io_ask(3, &request).await);
        let answer: FindCoordinatorResponse = answer.await;
        (answer.error_code == ErrorCode::NONE).then_some(answer.node_id)
    }
}

impl RawConnection {
    /// For the harness, which asks the next broker when one is down or frozen.
    pub(crate) async fn io_ask<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        let sent = self.send(version, request).await;
        self.try_answer(sent, Duration::from_secs(20)).await.map_err(|reason| match reason {
            NoAnswer::Closed => io::ErrorKind::UnexpectedEof.into(),
            NoAnswer::Silent => io::ErrorKind::TimedOut.into(),
        })
    }
}
