//! A transactional producer in single requests.

use std::cell::Cell;
use std::collections::BTreeMap;

use milena_protocol::ErrorCode;
use milena_protocol::api::Request;
use milena_protocol::messages::add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use milena_protocol::messages::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnTopic,
};
use milena_protocol::messages::end_txn::{EndTxnRequest, EndTxnResponse};
use milena_protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use milena_protocol::messages::produce::{ProduceRequest, ProduceResponse};
use milena_protocol::messages::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic, TxnOffsetCommitResponse,
};

use super::{RawBatch, RawConnection, produce};
use crate::cluster::TestCluster;
use crate::eventually::eventually_or;

/// A transactional id with the identity that its coordinator has given. Its methods make requests, which are ordinary values;
/// sequence numbers go on by themselves, and start anew when [`adopt`](Self::adopt) changes the identity.
#[derive(Clone, Debug)]
pub struct RawProducer {
    /// What stays when it starts anew.
    pub transactional_id: String,
    /// -1 before it has an identity.
    pub producer_id: i64,
    /// -1 before it has an identity.
    pub epoch: i16,
    /// How long a transaction may take, from the next InitProducerId on.
    pub timeout_ms: i32,
    sequences: BTreeMap<(String, i32), i32>,
}

impl RawProducer {
    /// One that has no identity yet, and a minute for each transaction.
    pub fn new(transactional_id: &str) -> Self {
        Self {
            transactional_id: transactional_id.to_owned(),
            producer_id: -1,
            epoch: -1,
            timeout_ms: 60_000,
            sequences: BTreeMap::new(),
        }
    }

    /// One with an identity, as a producer gets it that starts anew.
    pub async fn start(cluster: &TestCluster, transactional_id: &str) -> Self {
        let mut producer = Self::new(transactional_id);
        let answer = producer.ask_coordinator(cluster, 4, &producer.init()).await;
        assert_eq!(answer.code(), ErrorCode::NONE, "InitProducerId of {transactional_id}");
        producer.adopt(answer.producer_id, answer.producer_epoch);
        producer
    }

    /// Asks the coordinator, wherever it is now, until it neither moves nor is busy with the transaction before.
    pub async fn ask_coordinator<R>(&self, cluster: &TestCluster, version: i16, request: &R) -> R::Response
    where
        R: Request<Response: Coordinated>,
    {
        until_settled(&format!("{} of {}", R::KEY, self.transactional_id), async || {
            let mut coordinator = cluster.raw_transaction_coordinator(&self.transactional_id).await;
            coordinator.try_ask(version, request).await.ok()
        })
        .await
    }

    /// The identity from now on.
    pub fn adopt(&mut self, producer_id: i64, epoch: i16) {
        if (producer_id, epoch) != (self.producer_id, self.epoch) {
            self.sequences.clear();
        }
        (self.producer_id, self.epoch) = (producer_id, epoch);
    }

    /// Of a producer that starts.
    pub fn init(&self) -> InitProducerIdRequest {
        InitProducerIdRequest {
            transactional_id: Some(self.transactional_id.clone()),
            transaction_timeout_ms: self.timeout_ms,
            ..Default::default()
        }
    }

    /// Of a producer that goes on, and says who it has been.
    pub fn init_again(&self) -> InitProducerIdRequest {
        let (producer_id, producer_epoch) = (self.producer_id, self.epoch);
        InitProducerIdRequest { producer_id, producer_epoch, ..self.init() }
    }

    /// Versions up to 3.
    pub fn add_partition(&self, topic: &str, partition: i32) -> AddPartitionsToTxnRequest {
        AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: self.transactional_id.clone(),
            v3_and_below_producer_id: self.producer_id,
            v3_and_below_producer_epoch: self.epoch,
            v3_and_below_topics: vec![AddPartitionsToTxnTopic { name: topic.to_owned(), partitions: vec![partition] }],
            ..Default::default()
        }
    }

    /// Of a group that [`commit_offset`](Self::commit_offset) is about, before version 5.
    pub fn add_offsets(&self, group: &str) -> AddOffsetsToTxnRequest {
        AddOffsetsToTxnRequest {
            transactional_id: self.transactional_id.clone(),
            producer_id: self.producer_id,
            producer_epoch: self.epoch,
            group_id: group.to_owned(),
        }
    }

    /// An offset of nobody in particular. Versions up to 5, which name topics.
    pub fn commit_offset(&self, group: &str, topic: &str, partition: i32, offset: i64) -> TxnOffsetCommitRequest {
        let partition = TxnOffsetCommitRequestPartition {
            partition_index: partition,
            committed_offset: offset,
            ..Default::default()
        };
        let topic =
            TxnOffsetCommitRequestTopic { name: topic.to_owned(), partitions: vec![partition], ..Default::default() };
        TxnOffsetCommitRequest {
            transactional_id: self.transactional_id.clone(),
            group_id: group.to_owned(),
            producer_id: self.producer_id,
            producer_epoch: self.epoch,
            topics: vec![topic],
            ..Default::default()
        }
    }

    /// The next records of the transaction. Versions up to 12, which name topics.
    pub fn write(&mut self, topic: &str, partition: i32, values: &[&str]) -> ProduceRequest {
        let next = self.sequences.entry((topic.to_owned(), partition)).or_insert(0);
        let sequence = *next;
        *next += values.len() as i32;
        self.write_at(sequence, topic, partition, values)
    }

    /// Records with a sequence number of the caller's choice.
    pub fn write_at(&self, sequence: i32, topic: &str, partition: i32, values: &[&str]) -> ProduceRequest {
        let batch = RawBatch::of(values).producer(self.producer_id, self.epoch, sequence).transactional();
        let transactional_id = Some(self.transactional_id.clone());
        ProduceRequest { transactional_id, ..produce(topic, partition, batch) }
    }

    /// Commits, or aborts.
    pub fn end(&self, committed: bool) -> EndTxnRequest {
        EndTxnRequest {
            transactional_id: self.transactional_id.clone(),
            producer_id: self.producer_id,
            producer_epoch: self.epoch,
            committed,
        }
    }
}

impl RawConnection {
    /// Asks until the coordinator is not busy with the transaction before: its markers are written after it has answered. A
    /// coordinator that moves away is not followed: [`RawProducer::ask_coordinator`] does that.
    pub async fn ask_settled<R>(&mut self, version: i16, request: &R) -> R::Response
    where
        R: Request<Response: Coordinated>,
    {
        until_settled(&R::KEY.to_string(), async || Some(self.ask(version, request).await)).await
    }
}

async fn until_settled<A: Coordinated>(what: &str, mut ask: impl AsyncFnMut() -> Option<A>) -> A {
    let last = Cell::new(None);
    let asking = async || {
        let answer = ask().await?;
        last.set(Some(answer.code()));
        (!is_passing(answer.code())).then_some(answer)
    };
    eventually_or(asking, || format!("{what}, which is answered {:?}", last.get())).await
}

fn is_passing(code: ErrorCode) -> bool {
    [
        ErrorCode::CONCURRENT_TRANSACTIONS,
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode::COORDINATOR_NOT_AVAILABLE,
        ErrorCode::NOT_COORDINATOR,
        // A leader that cannot ask the coordinator yet says it like this to older clients.
        ErrorCode::NOT_ENOUGH_REPLICAS,
    ]
    .contains(&code)
}

/// Answers that have one error code, or one of a single partition.
pub trait Coordinated {
    /// That code.
    fn code(&self) -> ErrorCode;
}

macro_rules! coordinated {
    ($($answer:ident: |$this:ident| $code:expr;)*) => {$(
        impl Coordinated for $answer {
            fn code(&self) -> ErrorCode {
                let $this = self;
                $code
            }
        }
    )*};
}

coordinated! {
    InitProducerIdResponse: |answer| answer.error_code;
    AddPartitionsToTxnResponse: |answer| {
        answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
    };
    AddOffsetsToTxnResponse: |answer| answer.error_code;
    TxnOffsetCommitResponse: |answer| answer.topics[0].partitions[0].error_code;
    EndTxnResponse: |answer| answer.error_code;
    ProduceResponse: |answer| answer.responses[0].partition_responses[0].error_code;
}
