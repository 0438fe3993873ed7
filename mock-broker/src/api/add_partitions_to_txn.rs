//! AddPartitionsToTxn: adds partitions to a transaction before something is written to them. Pure.
//!
//! * up to v3 from clients; v2: PRODUCER_FENCED
//! * from v4 on from brokers: several transactions, or only a check. They do not wait: what is not on all in-sync replicas at
//!   once is CONCURRENT_TRANSACTIONS. The brokers here ask each other without it

use std::collections::BTreeSet;

use milena_protocol::ErrorCode;
use milena_protocol::messages::add_partitions_to_txn::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnResult,
    AddPartitionsToTxnTopic, AddPartitionsToTxnTopicResult, AddPartitionsToTxnTransaction,
};

use super::{Answer, Call, reply};
use crate::core::controller::is_internal;
use crate::core::parked::{Parked, Wait};
use crate::core::transactions::{Identity, Joining, TopicPartition, Waiting};
use crate::core::{Core, Outcome};

pub(super) fn handle(
    core: &mut Core,
    call: &Call<'_>,
    request: AddPartitionsToTxnRequest,
) -> Answer<AddPartitionsToTxnResponse> {
    if call.version() >= 4 {
        let results = request.transactions.into_iter().map(|transaction| join(core, call, transaction)).collect();
        return Answer::Now(AddPartitionsToTxnResponse { results_by_transaction: results, ..Default::default() });
    }
    let topics = request.v3_and_below_topics;
    if let Some(results_by_topic_v3_and_below) = refuse_unknown(core, &topics) {
        return Answer::Now(AddPartitionsToTxnResponse { results_by_topic_v3_and_below, ..Default::default() });
    }
    let (producer_id, epoch) = (request.v3_and_below_producer_id, request.v3_and_below_producer_epoch);
    let partitions = partitions(&topics);
    core.park(call.ticket, Parked::until_answered(call, Wait::Transaction(Waiting::AddPartitions(topics))));
    let transactional_id = &request.v3_and_below_transactional_id;
    core.add_to_transaction(call, transactional_id, Identity { producer_id, epoch }, &partitions);
    Answer::Parked
}

/// The answer to a request that has waited.
pub(crate) fn outcome(call: &Call<'_>, topics: Vec<AddPartitionsToTxnTopic>, refusal: Option<ErrorCode>) -> Outcome {
    let code = refusal.map_or(ErrorCode::NONE, |code| super::fenced_before(call, 2, code));
    let results_by_topic_v3_and_below = results(&topics, |_| code);
    let response = AddPartitionsToTxnResponse { results_by_topic_v3_and_below, ..Default::default() };
    reply::<AddPartitionsToTxnRequest>(call, call.version(), &response)
}

fn join(core: &mut Core, call: &Call<'_>, transaction: AddPartitionsToTxnTransaction) -> AddPartitionsToTxnResult {
    let AddPartitionsToTxnTransaction { transactional_id, producer_id, producer_epoch: epoch, verify_only, topics } =
        transaction;
    let joining = if verify_only { Joining::Verify } else { Joining::Add };
    let topic_results = refuse_unknown(core, &topics).unwrap_or_else(|| {
        let mut join = |partitions: BTreeSet<TopicPartition>| {
            let identity = Identity { producer_id, epoch };
            let joined =
                core.join_at_coordinator(call.now, call.broker(), &transactional_id, identity, &partitions, joining);
            joined.err().unwrap_or(ErrorCode::NONE)
        };
        match joining {
            Joining::Add => {
                let code = join(partitions(&topics));
                results(&topics, |_| code)
            }
            Joining::Verify => results(&topics, |partition| join([partition].into())),
        }
    });
    AddPartitionsToTxnResult { transactional_id, topic_results }
}

fn partitions(topics: &[AddPartitionsToTxnTopic]) -> BTreeSet<TopicPartition> {
    let of_topic = |topic: &AddPartitionsToTxnTopic| {
        let name = topic.name.clone();
        topic.partitions.clone().into_iter().map(move |partition| (name.clone(), partition))
    };
    topics.iter().flat_map(of_topic).collect()
}

/// One partition that does not exist, or is the brokers' own, is in the way of all.
fn refuse_unknown(core: &Core, topics: &[AddPartitionsToTxnTopic]) -> Option<Vec<AddPartitionsToTxnTopicResult>> {
    let refusal = |(topic, partition): &TopicPartition| match core.partition_id(topic, *partition) {
        Some(_) if is_internal(topic) => Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED),
        Some(_) => None,
        None => Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
    };
    if !partitions(topics).iter().any(|partition| refusal(partition).is_some()) {
        return None;
    }
    let mut refused = results(topics, |partition| refusal(&partition).unwrap_or(ErrorCode::OPERATION_NOT_ATTEMPTED));
    // Those to blame come first.
    let is_innocent = |partition: &AddPartitionsToTxnPartitionResult| {
        partition.partition_error_code == ErrorCode::OPERATION_NOT_ATTEMPTED
    };
    refused.iter_mut().for_each(|topic| topic.results_by_partition.sort_by_key(is_innocent));
    refused.sort_by_key(|topic| topic.results_by_partition.first().is_none_or(is_innocent));
    Some(refused)
}

fn results(
    topics: &[AddPartitionsToTxnTopic],
    mut code: impl FnMut(TopicPartition) -> ErrorCode,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let mut of_topic = |topic: &AddPartitionsToTxnTopic| {
        let results = topic.partitions.iter().map(|partition| AddPartitionsToTxnPartitionResult {
            partition_index: *partition,
            partition_error_code: code((topic.name.clone(), *partition)),
        });
        AddPartitionsToTxnTopicResult { name: topic.name.clone(), results_by_partition: results.collect() }
    };
    topics.iter().map(&mut of_topic).collect()
}
