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
//! # What is like Kafka, and what is not
//!
//! | | |
//! |---|---|
//! | APIs | ApiVersions, Metadata, Produce, Fetch, ListOffsets, FindCoordinator, JoinGroup, SyncGroup, Heartbeat, LeaveGroup, DescribeGroups, ListGroups, OffsetCommit, OffsetFetch, InitProducerId, AddPartitionsToTxn, AddOffsetsToTxn, TxnOffsetCommit, EndTxn, CreateTopics, DeleteTopics, CreatePartitions, DeleteRecords, OffsetForLeaderEpoch, DescribeConfigs, ElectLeaders, IncrementalAlterConfigs (of topics), DeleteGroups, OffsetDelete, DescribeCluster, each in every version of Kafka 4.4 |
//! | Replication | a log per replica, leader epochs and fencing, in-sync replicas, `acks` and `min.insync.replicas` (KIP-966: below it the high watermark stands still, and those that left may lead), truncation, unclean election, zombie leaders, reading from the closest replica (KIP-392), hints at the current leader (KIP-951), replicas spread over racks. Followers, and their high watermarks, are where the leader is when an append returns, unless they are held, frozen or cut off. Leaders do not go back to the preferred replica by themselves |
//! | Outages | a crash is noticed at once: an in-sync replica leads, with a new epoch; logs survive, with their high watermarks, unless the disk is lost. A broker that is frozen or cut off is fenced after its session, and a follower that lags leaves the in-sync ones exactly after `replica.lag.time.max.ms`; they join again at once. A broker that is cut off goes on with what it knew, and forwards nothing to the controller |
//! | Idempotence | producer ids, epochs, the window of the last five batches |
//! | Fetch | sessions, long polls, size limits, look-ups by time and offset |
//! | Groups | the classic protocol: both barriers, protocol vote, generations, sessions and their timeouts, static members; a group survives its coordinator, a rebalance under way does not. `group.max.size`, groups that go when they are empty |
//! | Offsets | commits of members and of simple consumers, kept in `__consumer_offsets`; they expire (KIP-211) |
//! | Retention | `retention.ms` and `retention.bytes` by segment, `segment.bytes`, `segment.ms`; DeleteRecords. Besides, the cluster keeps 256 MiB of records at most ([`retained_bytes`](MockClusterBuilder::retained_bytes)) |
//! | Compaction | the last record of each key at its offset, tombstones for `delete.retention.ms`, never the active segment; `max.compaction.lag.ms` has no effect |
//! | Transactions | both versions (KIP-98, KIP-890), fencing, time-outs, markers, last stable offset, list of aborted transactions, offsets that count at the commit. A transaction survives its coordinator and its leaders. Transactional ids never expire; one whose time is up is aborted at once |
//! | Not yet | the consumer protocol of KIP-848, quotas, authentication, TLS, access control |
//!
//! Some 360 probes, each named by its rule, put the same questions to this cluster and to Kafka 4.4
//! (`tests/tests/differential`). The answers are equal but for these:
//!
//! * `some_bytes_that_cannot_be_right_are_read_all_the_same`: bytes behind a request, array lengths below -1, tags that come twice,
//!   text that is not UTF-8. Kafka reads on, this cluster closes the connection: such bytes are a client's mistake, which a test
//!   should find.
//! * `some_requests_are_never_answered`: a Produce whose records are null, an AddPartitionsToTxn without transactions. Kafka loses
//!   its way, and the connection is of no use any more. This cluster answers them.
//!
//! No probe can show what comes at another time each time: Kafka may or may not list and describe a group before its first
//! assignment is written, this cluster does.
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
