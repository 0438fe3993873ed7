//! A Kafka cluster in one process, for tests and for development without Kafka. It starts in milliseconds, speaks Kafka's
//! protocol to any client, and does on demand what a real cluster does on bad days.
//!
//! ```
//! use milena_mock_broker::{ApiKey, Fault, MockCluster};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let cluster = MockCluster::builder().brokers(3).topic("orders", 6).start().await?;
//! let lost_answer = cluster.fault(Fault::on(ApiKey::PRODUCE).topic("orders").apply_then_disconnect());
//! # let lost_answer = lost_answer.optional(); // nobody produces here
//! // … point a client at cluster.bootstrap() and let it send "a" …
//! # let _ = |lost_answer: milena_mock_broker::FaultHandle| {
//! assert_eq!(lost_answer.hits(), 1); // a rule that never fires fails the test
//! assert_eq!(cluster.partition("orders", 0).values(), ["a"]); // written once, though sent twice
//! # };
//! # Ok(())
//! # }
//! ```
//!
//! * [`MockCluster`] listens on loopback ports ([`start`](MockClusterBuilder::start)), or works without sockets
//!   ([`start_in_memory`](MockClusterBuilder::start_in_memory)): then clients connect by [`MockCluster::pipe`], and on a paused
//!   single-threaded runtime one seed gives one run, down to the [`trace_hash`](Journal::trace_hash).
//! * [`BrokerControl`] crashes, freezes, cuts off and moves brokers, [`PartitionControl`] elects leaders, holds followers,
//!   compacts and reads logs, [`GroupControl`] shows members and assignments, forces a rebalance, evicts and fences members, [`TransactionControl`] shows
//!   transactions, keeps their markers back, times them out.
//! * [`Fault`] loses, delays, cuts and falsifies answers by rule.
//! * [`Journal`] has the requests that came, [`MockCluster::until`] and [`MockCluster::with`] look at the state.
//!
//! The program `milena-mock-broker` is the same cluster for clients in other languages.
//!
#![doc = include_str!("fidelity.md")]
#![forbid(unsafe_code)]

mod api;
mod cluster;
mod core;
mod fault;
mod journal;
mod pipe;
mod random;
mod server;
mod snapshot;

pub use crate::core::{GroupState, LogMarker, LogRecord, ProducerState, TransactionState};
pub use cluster::{
    BrokerControl, Direction, FaultHandle, GroupControl, MockCluster, MockClusterBuilder, PartitionControl, Topic,
    TransactionControl,
};
pub use fault::{ConnectionMatch, Fault, Match};
pub use journal::{Journal, Seen};
pub use milena_protocol::{ApiKey, ErrorCode};
pub use pipe::Pipe;
pub use snapshot::{Connection, GroupMember, Snapshot};
