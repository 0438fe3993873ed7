//! The APIs that are about partitions: each of these has a place for a code of its own. Pure.

use std::collections::BTreeSet;
use std::mem;

use milena_protocol::ErrorCode;
use milena_protocol::messages::add_partitions_to_txn::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnRequest, AddPartitionsToTxnTopicResult,
};
use milena_protocol::messages::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsTopicResult,
};
use milena_protocol::messages::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};
use milena_protocol::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchableTopicResponse, PartitionData,
};
use milena_protocol::messages::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsTopicResponse,
};
use milena_protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use milena_protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use milena_protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use milena_protocol::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderTopicResult,
};
use milena_protocol::messages::produce::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceRequest, TopicProduceResponse,
};
use milena_protocol::messages::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};

use super::{About, Name, Refusal, Scope, Subject, View, put_rows};
use crate::core::fetch_sessions::{FINAL_EPOCH, FetchKey, INITIAL_EPOCH, TopicRef};

/// One entry an API: what else the request names; its topics [their name, their id], their partitions [their number]; the
/// same of its answer with the types of the rows, and what those have beside number and code.
macro_rules! per_partition {
    ($(
        $request:ident $(.$about:ident($named:ident))* $([answered if $is_answered:expr])?
            { $topics:ident[$name:ident $($id:ident)?] $partitions:ident[$($index:ident)?] }
            => { $topic_rows:ident: $topic_row:ident $rows:ident: $row:ident[$row_index:ident $code:ident] }
            $(with |$refusal:ident| $($field:ident: $value:expr),+)?;
    )*) => {$(
        #[allow(clippy::needless_update, reason = "some rows have nothing else")]
        impl Subject for $request {
            fn tell(&self, view: &View<'_>, about: &mut dyn FnMut(About<'_>)) {
                $(if let Some(name) = self.$named.name() { about(About::$about(name)); })*
                for topic in &self.$topics {
                    let Some(name) = view.name(&topic.$name, &[$(topic.$id)?]) else { continue };
                    topic.$partitions.iter().for_each(|one| about(About::Topic(name, Some((*one)$(.$index)?))));
                }
            }

            fn split(&mut self, view: &View<'_>, scope: &Scope) -> (Self, bool) {
                let topics = mem::take(&mut self.$topics);
                let mut hit = self.clone();
                for mut topic in topics {
                    let partitions = mem::take(&mut topic.$partitions);
                    let mut of_hit = topic.clone();
                    let name = view.name(&topic.$name, &[$(topic.$id)?]);
                    (of_hit.$partitions, topic.$partitions) = partitions
                        .into_iter()
                        .partition(|one| name.is_some_and(|name| scope.has(name, Some((*one)$(.$index)?))));
                    hit.$topics.extend(Some(of_hit).filter(|topic| !topic.$partitions.is_empty()));
                    self.$topics.extend(Some(topic).filter(|topic| !topic.$partitions.is_empty()));
                }
                let is_rest = !self.$topics.is_empty();
                (hit, is_rest)
            }

            $(fn is_answered(&self) -> bool {
                let is_answered: fn(&Self) -> bool = $is_answered;
                is_answered(self)
            })?

            fn refuse(self, _: &View<'_>, refusal: &Refusal<'_>) -> Option<Self::Response> {
                let row = |$row_index| {
                    $(let $refusal = refusal;)?
                    $row { $row_index, $code: refusal.code, $($($field: $value,)+)? ..Default::default() }
                };
                let topics = self.$topics.into_iter().map(|topic| $topic_row {
                    $rows: topic.$partitions.iter().map(|one| row((*one)$(.$index)?)).collect(),
                    $name: topic.$name,
                    $($id: topic.$id,)?
                });
                Some(Self::Response { $topic_rows: topics.collect(), ..Default::default() })
            }

            fn put_over(answer: &mut Self::Response, errors: Self::Response) {
                let is_same = |a: &$topic_row, b: &$topic_row| a.$name == b.$name $(&& a.$id == b.$id)?;
                put_rows(&mut answer.$topic_rows, errors.$topic_rows, is_same, |topic, errors| {
                    put_rows(&mut topic.$rows, errors.$rows, |a, b| a.$row_index == b.$row_index, |row, error| *row = error);
                });
            }
        }
    )*};
}

per_partition! {
    ProduceRequest.TransactionalId(transactional_id) [answered if |request| request.acks != 0]
        { topic_data[name topic_id] partition_data[index] }
        => { responses: TopicProduceResponse partition_responses: PartitionProduceResponse[index error_code] }
        with |refusal| base_offset: -1, record_errors: blamed(refusal), error_message: blame(refusal);
    ListOffsetsRequest
        { topics[name] partitions[partition_index] }
        => { topics: ListOffsetsTopicResponse partitions: ListOffsetsPartitionResponse[partition_index error_code] };
    OffsetForLeaderEpochRequest
        { topics[topic] partitions[partition] }
        => { topics: OffsetForLeaderTopicResult partitions: EpochEndOffset[partition error_code] };
    OffsetCommitRequest.Group(group_id)
        { topics[name topic_id] partitions[partition_index] }
        => { topics: OffsetCommitResponseTopic partitions: OffsetCommitResponsePartition[partition_index error_code] };
    TxnOffsetCommitRequest.TransactionalId(transactional_id).Group(group_id)
        { topics[name topic_id] partitions[partition_index] }
        => { topics: TxnOffsetCommitResponseTopic partitions: TxnOffsetCommitResponsePartition[partition_index error_code] };
    // What brokers ask each other, from version 4 on, is not among it.
    AddPartitionsToTxnRequest.TransactionalId(v3_and_below_transactional_id)
        { v3_and_below_topics[name] partitions[] }
        => {
            results_by_topic_v3_and_below: AddPartitionsToTxnTopicResult
            results_by_partition: AddPartitionsToTxnPartitionResult[partition_index partition_error_code]
        };
    DeleteRecordsRequest
        { topics[name] partitions[partition_index] }
        => { topics: DeleteRecordsTopicResult partitions: DeleteRecordsPartitionResult[partition_index error_code] }
        with |_refusal| low_watermark: -1;
}

fn blamed(refusal: &Refusal<'_>) -> Vec<BatchIndexAndErrorMessage> {
    let blame = |batch_index: &i32| BatchIndexAndErrorMessage { batch_index: *batch_index, ..Default::default() };
    refusal.records.iter().map(blame).collect()
}

fn blame(refusal: &Refusal<'_>) -> Option<String> {
    (!refusal.records.is_empty()).then(|| format!("{} records are to blame", refusal.records.len()))
}

/// A Fetch is about the partitions it names and those of its session, except what it forgets.
fn fetched(request: &FetchRequest, view: &View<'_>) -> BTreeSet<FetchKey> {
    let topic_ref =
        |name: &String, id| if view.version >= 13 { TopicRef::Id(id) } else { TopicRef::Name(name.clone()) };
    let mut keys = BTreeSet::new();
    if !matches!(request.session_epoch, INITIAL_EPOCH | FINAL_EPOCH)
        && let Some(broker) = view.core.brokers.get(&view.broker)
    {
        keys.extend(broker.fetch_sessions.partitions(request.session_id).cloned());
    }
    for topic in &request.topics {
        let topic_ref = topic_ref(&topic.topic, topic.topic_id);
        let named = topic.partitions.iter().map(|partition| partition.partition);
        keys.extend(named.map(|partition| FetchKey { topic: topic_ref.clone(), partition }));
    }
    for topic in &request.forgotten_topics_data {
        let topic_ref = topic_ref(&topic.topic, topic.topic_id);
        for partition in &topic.partitions {
            keys.remove(&FetchKey { topic: topic_ref.clone(), partition: *partition });
        }
    }
    keys
}

fn name_of<'a>(key: &'a FetchKey, view: &View<'a>) -> Option<&'a str> {
    match &key.topic {
        TopicRef::Name(name) => Some(name),
        TopicRef::Id(id) => view.core.controller.topic_by_id(*id).map(|topic| topic.name.as_str()),
    }
}

/// Codes that a Fetch has for its session only.
const ABOUT_SESSIONS: [ErrorCode; 3] = [
    ErrorCode::FETCH_SESSION_ID_NOT_FOUND,
    ErrorCode::INVALID_FETCH_SESSION_EPOCH,
    ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR,
];

impl Subject for FetchRequest {
    fn tell(&self, view: &View<'_>, about: &mut dyn FnMut(About<'_>)) {
        for key in &fetched(self, view) {
            if let Some(name) = name_of(key, view) {
                about(About::Topic(name, Some(key.partition)));
            }
        }
    }

    /// What is left is the whole request: reading changes nothing, and its session stays as it is. It is answered at once,
    /// as there is news.
    fn split(&mut self, view: &View<'_>, scope: &Scope) -> (Self, bool) {
        let mut hit = Self { session_epoch: FINAL_EPOCH, ..Default::default() };
        let mut is_rest = false;
        for key in fetched(self, view) {
            if !name_of(&key, view).is_some_and(|name| scope.has(name, Some(key.partition))) {
                is_rest = true;
                continue;
            }
            let (topic, topic_id) = match key.topic {
                TopicRef::Name(name) => (name, Default::default()),
                TopicRef::Id(id) => (String::new(), id),
            };
            let partitions = vec![FetchPartition { partition: key.partition, ..Default::default() }];
            hit.topics.push(FetchTopic { topic, topic_id, partitions });
        }
        self.max_wait_ms = 0;
        (hit, is_rest)
    }

    /// A Fetch that goes on with a session gets the code for all its partitions. Answering without a session id ends the
    /// session, as the broker has not taken note of the request. Without partitions the code is the whole answer's, which old
    /// versions lack; so it is if it is about the session.
    fn refuse(self, view: &View<'_>, refusal: &Refusal<'_>) -> Option<FetchResponse> {
        let keys = fetched(&self, view);
        if keys.is_empty() && view.version < 7 {
            return None;
        }
        if keys.is_empty() || (view.version >= 7 && ABOUT_SESSIONS.contains(&refusal.code)) {
            return Some(FetchResponse { error_code: refusal.code, ..Default::default() });
        }
        let mut responses: Vec<FetchableTopicResponse> = Vec::new();
        for FetchKey { topic, partition } in keys {
            let data = PartitionData {
                partition_index: partition,
                error_code: refusal.code,
                high_watermark: -1,
                aborted_transactions: None,
                ..Default::default()
            };
            let (topic, topic_id) = match topic {
                TopicRef::Name(name) => (name, Default::default()),
                TopicRef::Id(id) => (String::new(), id),
            };
            match responses.last_mut().filter(|last| last.topic == topic && last.topic_id == topic_id) {
                Some(last) => last.partitions.push(data),
                None => responses.push(FetchableTopicResponse { topic, topic_id, partitions: vec![data] }),
            }
        }
        Some(FetchResponse { responses, ..Default::default() })
    }

    fn put_over(answer: &mut FetchResponse, errors: FetchResponse) {
        if !errors.error_code.is_none() {
            *answer = errors;
            return;
        }
        let is_same =
            |a: &FetchableTopicResponse, b: &FetchableTopicResponse| (&a.topic, a.topic_id) == (&b.topic, b.topic_id);
        put_rows(&mut answer.responses, errors.responses, is_same, |topic, errors| {
            let is_same = |a: &PartitionData, b: &PartitionData| a.partition_index == b.partition_index;
            put_rows(&mut topic.partitions, errors.partitions, is_same, |row, error| *row = error);
        });
    }
}

/// Codes that OffsetFetch has for a partition; all others are about the group.
const ABOUT_PARTITIONS: [ErrorCode; 4] = [
    ErrorCode::UNSTABLE_OFFSET_COMMIT,
    ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode::UNKNOWN_TOPIC_ID,
    ErrorCode::TOPIC_AUTHORIZATION_FAILED,
];

impl Subject for OffsetFetchRequest {
    fn tell(&self, view: &View<'_>, about: &mut dyn FnMut(About<'_>)) {
        if view.version < 8 {
            about(About::Group(&self.group_id));
            match &self.topics {
                None => about(About::EveryTopic),
                Some(topics) => topics.iter().for_each(|topic| {
                    topic.partition_indexes.iter().for_each(|index| about(About::Topic(&topic.name, Some(*index))));
                }),
            }
        }
        for group in &self.groups {
            about(About::Group(&group.group_id));
            let Some(topics) = &group.topics else {
                about(About::EveryTopic);
                continue;
            };
            for topic in topics {
                let Some(name) = view.name(&topic.name, &[topic.topic_id]) else { continue };
                topic.partition_indexes.iter().for_each(|index| about(About::Topic(name, Some(*index))));
            }
        }
    }

    /// Version 1 has codes of partitions only. Later ones have one for the group too, which clients look at first; the few
    /// codes that are about a partition stay with the partitions.
    fn refuse(self, view: &View<'_>, refusal: &Refusal<'_>) -> Option<OffsetFetchResponse> {
        let is_about_partitions = ABOUT_PARTITIONS.contains(&refusal.code);
        let of_group = if is_about_partitions { ErrorCode::NONE } else { refusal.code };
        let of_partition = if is_about_partitions || view.version < 2 { refusal.code } else { ErrorCode::NONE };
        let topics = self.topics.unwrap_or_default().into_iter().map(|topic| {
            let partitions = topic.partition_indexes.iter().map(|index| OffsetFetchResponsePartition {
                partition_index: *index,
                committed_offset: -1,
                error_code: of_partition,
                ..Default::default()
            });
            OffsetFetchResponseTopic { partitions: partitions.collect(), name: topic.name }
        });
        let topics = topics.collect();
        let groups = self.groups.into_iter().map(|group| {
            let topics = group.topics.unwrap_or_default().into_iter().map(|topic| {
                let partitions = topic.partition_indexes.iter().map(|index| OffsetFetchResponsePartitions {
                    partition_index: *index,
                    committed_offset: -1,
                    error_code: of_partition,
                    ..Default::default()
                });
                OffsetFetchResponseTopics {
                    partitions: partitions.collect(),
                    name: topic.name,
                    topic_id: topic.topic_id,
                }
            });
            OffsetFetchResponseGroup { topics: topics.collect(), group_id: group.group_id, error_code: of_group }
        });
        Some(OffsetFetchResponse { topics, error_code: of_group, groups: groups.collect(), ..Default::default() })
    }
}

impl Subject for OffsetDeleteRequest {
    fn tell(&self, _: &View<'_>, about: &mut dyn FnMut(About<'_>)) {
        about(About::Group(&self.group_id));
        for topic in &self.topics {
            topic.partitions.iter().for_each(|one| about(About::Topic(&topic.name, Some(one.partition_index))));
        }
    }

    /// The two codes that are about a partition stay with the partitions; any other is the group's, and then no partition is
    /// named.
    fn refuse(self, _: &View<'_>, refusal: &Refusal<'_>) -> Option<OffsetDeleteResponse> {
        let error_code = refusal.code;
        if !matches!(error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC) {
            return Some(OffsetDeleteResponse { error_code, ..Default::default() });
        }
        let topics = self.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| OffsetDeleteResponsePartition {
                partition_index: partition.partition_index,
                error_code,
            });
            OffsetDeleteResponseTopic { partitions: partitions.collect(), name: topic.name }
        });
        Some(OffsetDeleteResponse { topics: topics.collect(), ..Default::default() })
    }
}

impl Subject for ElectLeadersRequest {
    fn tell(&self, _: &View<'_>, about: &mut dyn FnMut(About<'_>)) {
        let Some(topics) = &self.topic_partitions else { return about(About::EveryTopic) };
        for topic in topics {
            topic.partitions.iter().for_each(|index| about(About::Topic(&topic.topic, Some(*index))));
        }
    }

    /// Where the request names no partitions, the code is the whole answer's, which version 0 lacks.
    fn refuse(self, view: &View<'_>, refusal: &Refusal<'_>) -> Option<ElectLeadersResponse> {
        let topics = self.topic_partitions.unwrap_or_default();
        if topics.is_empty() && view.version < 1 {
            return None;
        }
        let error_code = if topics.is_empty() { refusal.code } else { ErrorCode::NONE };
        let failed = |partition_id| PartitionResult { partition_id, error_code: refusal.code, error_message: None };
        let topics = topics.into_iter().map(|topic| {
            let partition_result = topic.partitions.into_iter().map(failed).collect();
            ReplicaElectionResult { topic: topic.topic, partition_result }
        });
        Some(ElectLeadersResponse { error_code, replica_election_results: topics.collect(), ..Default::default() })
    }
}
