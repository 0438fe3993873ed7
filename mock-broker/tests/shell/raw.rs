//! A client that speaks frames and nothing else.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use milena_mock_broker::MockCluster;
use milena_protocol::api::Request;
use milena_protocol::frame::{decode_response, encode_request};
use milena_protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use milena_protocol::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, TopicProduceData,
};
use milena_protocol::records::{BatchHeader, NewRecord};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// How to reach a broker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Over {
    Socket,
    Pipe,
}

pub(crate) const BOTH: [Over; 2] = [Over::Socket, Over::Pipe];

pub(crate) struct Client {
    pub(crate) stream: Box<dyn Stream>,
    correlation_id: i32,
}

impl Client {
    pub(crate) async fn connect(cluster: &MockCluster, broker: i32, over: Over) -> io::Result<Self> {
        let broker = cluster.broker(broker);
        let stream: Box<dyn Stream> = match over {
            Over::Socket => Box::new(TcpStream::connect((broker.host(), broker.port())).await?),
            Over::Pipe => Box::new(cluster.pipe(broker.host(), broker.port()).await?),
        };
        Ok(Self { stream, correlation_id: 0 })
    }

    pub(crate) async fn send<R: Request>(&mut self, version: i16, request: &R) -> io::Result<()> {
        self.correlation_id += 1;
        let frame = encode_request(version, self.correlation_id, "raw", request).expect("a valid request");
        self.stream.write_all(&frame.concat()).await
    }

    /// The next answer, whatever it is to.
    pub(crate) async fn receive_frame(&mut self) -> io::Result<Bytes> {
        let length = self.stream.read_u32().await?;
        let mut frame = vec![0; length as usize];
        self.stream.read_exact(&mut frame).await?;
        Ok(frame.into())
    }

    pub(crate) async fn receive<R: Request>(&mut self, version: i16) -> io::Result<R::Response> {
        let frame = self.receive_frame().await?;
        Ok(decode_response::<R>(version, frame).expect("a readable answer"))
    }

    pub(crate) async fn call<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        self.send(version, request).await?;
        self.receive::<R>(version).await
    }

    pub(crate) async fn metadata(&mut self, topic: &str) -> io::Result<MetadataResponse> {
        self.call(METADATA_VERSION, &about(topic)).await
    }

    pub(crate) async fn produce(&mut self, topic: &str, value: &str) -> io::Result<PartitionProduceResponse> {
        let mut response = self.call(PRODUCE_VERSION, &record(topic, value)).await?;
        Ok(response.responses.remove(0).partition_responses.remove(0))
    }

    /// Expects the broker to close or break the connection without sending anything more.
    pub(crate) async fn expect_closed(&mut self) {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_u8()).await.expect("the connection stays open");
        let kind = read.expect_err("an answer instead of the end").kind();
        let ends = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
        assert!(ends.contains(&kind), "{kind:?}");
    }
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const METADATA_VERSION: i16 = 9;
pub(crate) const PRODUCE_VERSION: i16 = 9;

pub(crate) fn about(topic: &str) -> MetadataRequest {
    let topics = vec![MetadataRequestTopic { name: Some(topic.into()), ..Default::default() }];
    MetadataRequest { topics: Some(topics), allow_auto_topic_creation: false, ..Default::default() }
}

/// One record for partition 0.
pub(crate) fn record(topic: &str, value: &str) -> ProduceRequest {
    record_of(topic, value, BatchHeader::default())
}

/// One record for partition 0, whose batch says of its producer what this header does.
pub(crate) fn record_of(topic: &str, value: &str, producer: BatchHeader) -> ProduceRequest {
    let mut body = Vec::new();
    NewRecord { key: None, value: Some(value.as_bytes()), headers: &[] }.append_to(0, 0, &mut body);
    let body = Bytes::from(body);
    let header = BatchHeader { base_timestamp: 1, max_timestamp: 1, record_count: 1, ..producer };
    let head = header.encode(std::slice::from_ref(&body));
    let records = Bytes::from([&head, &body[..]].concat());
    let partition_data = vec![PartitionProduceData { index: 0, records: Some(records.into()) }];
    let topic_data = vec![TopicProduceData { name: topic.into(), partition_data, ..Default::default() }];
    ProduceRequest { acks: -1, timeout_ms: 10_000, topic_data, ..Default::default() }
}

/// One broker with the topic `orders` of one partition, reachable either way.
pub(crate) async fn one_broker() -> MockCluster {
    MockCluster::builder().brokers(1).topic("orders", 1).start().await.expect("free ports")
}

pub(crate) fn in_memory() -> MockCluster {
    MockCluster::builder().brokers(1).topic("orders", 1).start_in_memory()
}

#[allow(clippy::disallowed_methods, reason = "virtual time, or the least that must have passed")]
pub(crate) fn now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}
