//! An async Apache Kafka client that loses nothing silently.
//!
//! ```no_run
//! use milena::{Client, Record};
//!
//! # async fn produce() -> milena::Result<()> {
//! let client = Client::connect("localhost:9092").await?;
//! let producer = client.producer().build().await?;
//!
//! // Waits until the record is on every in-sync replica.
//! let receipt = producer.send(Record::to("orders").key("customer-7").value("3 apples")).await?;
//! println!("{} at {:?}", receipt.partition, receipt.offset);
//!
//! // Fast: `enqueue` waits for room only, and the delivery tells later.
//! let delivery = producer.enqueue(Record::to("orders").key("customer-7").value("2 pears")).await?;
//! if let Err(error) = delivery.await {
//!     println!("{error}; in the log: {:?}", error.written());
//! }
//! # Ok(()) }
//! ```
//!
//! ```no_run
//! use milena::{Client, Position};
//!
//! # async fn read() -> milena::Result<()> {
//! let client = Client::connect("localhost:9092").await?;
//! let partitions = client.partitions("orders").await?;
//! let start = partitions.into_iter().map(|partition| (partition, Position::Beginning));
//! let mut consumer = client.reader().assign(start).build().await?;
//! while let Some(record) = consumer.next().await? {
//!     println!("{}: {:?}", record.offset(), record.value());
//! }
//! # Ok(()) }
//! ```
//!
//! ```no_run
//! use milena::{Client, CommitPolicy};
//!
//! # async fn share() -> milena::Result<()> {
//! let client = Client::connect("localhost:9092").await?;
//! // The members of the group divide the partitions of the topic among themselves.
//! let mut consumer = client.consumer("billing").subscribe(["orders"]).commit_policy(CommitPolicy::Acked).build().await?;
//! while let Some(record) = consumer.next().await? {
//!     println!("{}: {:?}", record.offset(), record.value());
//!     record.ack();
//! }
//! # Ok(()) }
//! ```
//!
//! * [`Client`] finds the cluster and makes the others. Its seams ([`Connector`], [`Clock`], [`Runtime`] and a seed) let tests put
//!   the whole client on one paused runtime.
//! * [`Producer`] collects [`Record`]s in batches. Each ends as written, not written or maybe written; see [`Error::written`].
//! * [`Consumer`] reads the partitions it is given, or its share of what its group subscribes to, and commits what the application
//!   has finished. A [`RebalanceListener`] hears of partitions that come and go; an [`Assignor`] divides them: [`strategies`] says which
//!   to choose, and how to change it while the group reads. [`ConsumerControl::metrics`] tells how it is doing.
//! * [`Config`] takes settings by Kafka's names; the builders have a typed setter for each.
//!
//! It does not decode payloads: records are bytes in and bytes out. Transactions, groups by KIP-848, TLS and SASL are not there yet.

mod backoff;
mod client;
mod clock;
mod cluster;
mod config;
mod consumer;
mod entropy;
mod error;
mod net;
mod producer;
mod runtime;
mod topic_partition;
mod watched;

#[doc = include_str!("strategies.md")]
pub mod strategies {}

pub use async_trait::async_trait;
pub use client::{Client, ClientBuilder};
pub use clock::{Clock, Time};
pub use config::{Acks, AutoOffsetReset, Compression, Config, IsolationLevel};
pub use consumer::{
    Assignments, Assignor, AssignorError, Batch, CommitPolicy, CommittedOffset, Consumer, ConsumerBuilder,
    ConsumerControl, ConsumerEvent, ConsumerMetrics, ConsumerRecord, Headers, Iter, Member, Offsets, Owned, Position,
    Rebalance, RebalanceListener, RebalanceProtocol, RebalanceReason, RecordStream, RecordView, Timing, Topics,
};
pub use error::{Error, ErrorKind, Result, Written};
pub use milena_protocol::{ApiKey, ErrorCode};
pub use net::transport::{ConnectFn, Connector, Io};
pub use producer::{
    CloseReport, Delivery, Partitioner, Producer, ProducerBuilder, ProducerEvent, Receipt, Record, Topic, TopicRef,
    TryEnqueueError,
};
pub use runtime::{Runtime, Task};
pub use topic_partition::TopicPartition;
