//! The topics, partitions and groups that a request is about. Pure.

use std::collections::BTreeSet;

use bytes::Bytes;
use milena_protocol::ApiKey;
use milena_protocol::api::Request;
use milena_protocol::frame::decode_request;
use milena_protocol::messages::add_offsets_to_txn::AddOffsetsToTxnRequest;
use milena_protocol::messages::add_partitions_to_txn::AddPartitionsToTxnRequest;
use milena_protocol::messages::create_partitions::CreatePartitionsRequest;
use milena_protocol::messages::create_topics::CreateTopicsRequest;
use milena_protocol::messages::delete_groups::DeleteGroupsRequest;
use milena_protocol::messages::delete_records::DeleteRecordsRequest;
use milena_protocol::messages::delete_topics::DeleteTopicsRequest;
use milena_protocol::messages::describe_configs::DescribeConfigsRequest;
use milena_protocol::messages::describe_groups::DescribeGroupsRequest;
use milena_protocol::messages::elect_leaders::ElectLeadersRequest;
use milena_protocol::messages::fetch::FetchRequest;
use milena_protocol::messages::find_coordinator::FindCoordinatorRequest;
use milena_protocol::messages::heartbeat::HeartbeatRequest;
use milena_protocol::messages::incremental_alter_configs::IncrementalAlterConfigsRequest;
use milena_protocol::messages::join_group::JoinGroupRequest;
use milena_protocol::messages::leave_group::LeaveGroupRequest;
use milena_protocol::messages::list_offsets::ListOffsetsRequest;
use milena_protocol::messages::metadata::MetadataRequest;
use milena_protocol::messages::offset_commit::OffsetCommitRequest;
use milena_protocol::messages::offset_delete::OffsetDeleteRequest;
use milena_protocol::messages::offset_fetch::OffsetFetchRequest;
use milena_protocol::messages::offset_for_leader_epoch::OffsetForLeaderEpochRequest;
use milena_protocol::messages::produce::ProduceRequest;
use milena_protocol::messages::sync_group::SyncGroupRequest;
use milena_protocol::messages::txn_offset_commit::TxnOffsetCommitRequest;
use milena_protocol::primitives::{Decoder, Uuid};

use super::rules::Incoming;
use crate::core::Core;
use crate::core::fetch_sessions::{FINAL_EPOCH, FetchKey, INITIAL_EPOCH, TopicRef};

/// A resource of DescribeConfigs that is a topic.
const TOPIC_RESOURCE: i8 = 2;

/// A key of FindCoordinator that is a group.
const GROUP_KEY: i8 = 0;

#[derive(Debug, PartialEq)]
pub(super) enum Targets {
    /// Every topic, such as in a Metadata request for all.
    All,
    /// Topics, and their partitions where the request names some.
    These(Vec<(String, Vec<i32>)>),
}

impl Targets {
    /// Whether a topic and a partition, each if given, are among them.
    pub(super) fn have(&self, topic: Option<&str>, partition: Option<i32>) -> bool {
        match self {
            Self::All => partition.is_none(),
            Self::These(targets) => targets.iter().any(|(name, partitions)| {
                topic.is_none_or(|topic| topic == name)
                    && partition.is_none_or(|partition| partitions.contains(&partition))
            }),
        }
    }
}

/// What the request is about; nothing if it cannot be read. Topics that are named by an id which the cluster does not know are
/// left out.
pub(super) fn of(incoming: &Incoming<'_>, core: &Core) -> Targets {
    read(incoming, core).unwrap_or(Targets::These(Vec::new()))
}

/// The groups that the request names; none if it cannot be read.
pub(super) fn groups(incoming: &Incoming<'_>) -> Vec<String> {
    read_groups(incoming).unwrap_or_default()
}

/// The partitions that a Fetch is about: those it names, and those of its session, except what it forgets.
pub(super) fn fetched(incoming: &Incoming<'_>, core: &Core) -> Option<BTreeSet<FetchKey>> {
    let version = incoming.header.api_version;
    let request = request::<FetchRequest>(version, incoming.body)?;
    let topic_ref = |name: String, id: Uuid| if version >= 13 { TopicRef::Id(id) } else { TopicRef::Name(name) };
    let mut keys = BTreeSet::new();
    if !matches!(request.session_epoch, INITIAL_EPOCH | FINAL_EPOCH)
        && let Some(broker) = core.brokers.get(&incoming.broker)
    {
        keys.extend(broker.fetch_sessions.partitions(request.session_id).cloned());
    }
    for topic in request.topics {
        let topic_ref = topic_ref(topic.topic, topic.topic_id);
        let named = topic.partitions.iter().map(|partition| partition.partition);
        keys.extend(named.map(|partition| FetchKey { topic: topic_ref.clone(), partition }));
    }
    for topic in request.forgotten_topics_data {
        let topic_ref = topic_ref(topic.topic, topic.topic_id);
        for partition in topic.partitions {
            keys.remove(&FetchKey { topic: topic_ref.clone(), partition });
        }
    }
    Some(keys)
}

fn read_groups(incoming: &Incoming<'_>) -> Option<Vec<String>> {
    let (version, body) = (incoming.header.api_version, incoming.body);
    let one = |group| Some(vec![group]);
    match incoming.header.api_key {
        ApiKey::JOIN_GROUP => one(request::<JoinGroupRequest>(version, body)?.group_id),
        ApiKey::SYNC_GROUP => one(request::<SyncGroupRequest>(version, body)?.group_id),
        ApiKey::HEARTBEAT => one(request::<HeartbeatRequest>(version, body)?.group_id),
        ApiKey::LEAVE_GROUP => one(request::<LeaveGroupRequest>(version, body)?.group_id),
        ApiKey::OFFSET_COMMIT => one(request::<OffsetCommitRequest>(version, body)?.group_id),
        ApiKey::OFFSET_FETCH if version < 8 => one(request::<OffsetFetchRequest>(version, body)?.group_id),
        ApiKey::OFFSET_FETCH => {
            let groups = request::<OffsetFetchRequest>(version, body)?.groups;
            Some(groups.into_iter().map(|group| group.group_id).collect())
        }
        ApiKey::DESCRIBE_GROUPS => Some(request::<DescribeGroupsRequest>(version, body)?.groups),
        ApiKey::ADD_OFFSETS_TO_TXN => one(request::<AddOffsetsToTxnRequest>(version, body)?.group_id),
        ApiKey::TXN_OFFSET_COMMIT => one(request::<TxnOffsetCommitRequest>(version, body)?.group_id),
        ApiKey::DELETE_GROUPS => Some(request::<DeleteGroupsRequest>(version, body)?.groups_names),
        ApiKey::OFFSET_DELETE => one(request::<OffsetDeleteRequest>(version, body)?.group_id),
        ApiKey::FIND_COORDINATOR => {
            let request = request::<FindCoordinatorRequest>(version, body)?;
            match request.key_type {
                GROUP_KEY if version < 4 => one(request.key),
                GROUP_KEY => Some(request.coordinator_keys),
                _ => None,
            }
        }
        _ => None,
    }
}

fn read(incoming: &Incoming<'_>, core: &Core) -> Option<Targets> {
    let Incoming { header, body, .. } = *incoming;
    let version = header.api_version;
    let name_of = |id: Uuid| core.controller.topic_by_id(id).map(|topic| topic.name.clone());
    let name = |name: String, id: Uuid| if id.is_zero() { Some(name) } else { name_of(id) };
    let mut found = Vec::new();
    let mut add = |name: Option<String>, partitions: Vec<i32>| found.extend(name.map(|name| (name, partitions)));
    match header.api_key {
        ApiKey::PRODUCE => {
            for topic in request::<ProduceRequest>(version, body)?.topic_data {
                let partitions = topic.partition_data.iter().map(|partition| partition.index).collect();
                add(name(topic.name, topic.topic_id), partitions);
            }
        }
        ApiKey::FETCH => {
            for FetchKey { topic, partition } in fetched(incoming, core)? {
                let topic = match topic {
                    TopicRef::Name(name) => Some(name),
                    TopicRef::Id(id) => name_of(id),
                };
                add(topic, vec![partition]);
            }
        }
        ApiKey::LIST_OFFSETS => {
            for topic in request::<ListOffsetsRequest>(version, body)?.topics {
                add(Some(topic.name), topic.partitions.iter().map(|partition| partition.partition_index).collect());
            }
        }
        ApiKey::OFFSET_FOR_LEADER_EPOCH => {
            for topic in request::<OffsetForLeaderEpochRequest>(version, body)?.topics {
                add(Some(topic.topic), topic.partitions.iter().map(|partition| partition.partition).collect());
            }
        }
        ApiKey::METADATA => {
            let Some(topics) = request::<MetadataRequest>(version, body)?.topics else { return Some(Targets::All) };
            for topic in topics {
                add(name(topic.name.unwrap_or_default(), topic.topic_id), Vec::new());
            }
        }
        ApiKey::OFFSET_COMMIT => {
            for topic in request::<OffsetCommitRequest>(version, body)?.topics {
                let partitions = topic.partitions.iter().map(|partition| partition.partition_index).collect();
                add(name(topic.name, topic.topic_id), partitions);
            }
        }
        ApiKey::OFFSET_FETCH => {
            let request = request::<OffsetFetchRequest>(version, body)?;
            if version < 8 {
                let Some(topics) = request.topics else { return Some(Targets::All) };
                topics.into_iter().for_each(|topic| add(Some(topic.name), topic.partition_indexes));
            }
            for group in request.groups {
                let Some(topics) = group.topics else { return Some(Targets::All) };
                topics.into_iter().for_each(|topic| add(name(topic.name, topic.topic_id), topic.partition_indexes));
            }
        }
        ApiKey::CREATE_TOPICS => {
            let topics = request::<CreateTopicsRequest>(version, body)?.topics;
            topics.into_iter().for_each(|topic| add(Some(topic.name), Vec::new()));
        }
        ApiKey::DELETE_TOPICS => {
            let request = request::<DeleteTopicsRequest>(version, body)?;
            request.topic_names.into_iter().for_each(|name| add(Some(name), Vec::new()));
            for topic in request.topics {
                add(name(topic.name.unwrap_or_default(), topic.topic_id), Vec::new());
            }
        }
        ApiKey::DESCRIBE_CONFIGS => {
            let resources = request::<DescribeConfigsRequest>(version, body)?.resources;
            let topics = resources.into_iter().filter(|resource| resource.resource_type == TOPIC_RESOURCE);
            topics.for_each(|resource| add(Some(resource.resource_name), Vec::new()));
        }
        ApiKey::ADD_PARTITIONS_TO_TXN => {
            let request = request::<AddPartitionsToTxnRequest>(version, body)?;
            let batched = request.transactions.into_iter().flat_map(|transaction| transaction.topics);
            batched.chain(request.v3_and_below_topics).for_each(|topic| add(Some(topic.name), topic.partitions));
        }
        ApiKey::TXN_OFFSET_COMMIT => {
            for topic in request::<TxnOffsetCommitRequest>(version, body)?.topics {
                let partitions = topic.partitions.iter().map(|partition| partition.partition_index).collect();
                add(name(topic.name, topic.topic_id), partitions);
            }
        }
        ApiKey::DELETE_RECORDS => {
            for topic in request::<DeleteRecordsRequest>(version, body)?.topics {
                add(Some(topic.name), topic.partitions.iter().map(|partition| partition.partition_index).collect());
            }
        }
        ApiKey::CREATE_PARTITIONS => {
            let topics = request::<CreatePartitionsRequest>(version, body)?.topics;
            topics.into_iter().for_each(|topic| add(Some(topic.name), Vec::new()));
        }
        ApiKey::INCREMENTAL_ALTER_CONFIGS => {
            let resources = request::<IncrementalAlterConfigsRequest>(version, body)?.resources;
            let topics = resources.into_iter().filter(|resource| resource.resource_type == TOPIC_RESOURCE);
            topics.for_each(|resource| add(Some(resource.resource_name), Vec::new()));
        }
        ApiKey::ELECT_LEADERS => {
            let topics = request::<ElectLeadersRequest>(version, body)?.topic_partitions;
            let Some(topics) = topics else { return Some(Targets::All) };
            topics.into_iter().for_each(|topic| add(Some(topic.topic), topic.partitions));
        }
        ApiKey::OFFSET_DELETE => {
            for topic in request::<OffsetDeleteRequest>(version, body)?.topics {
                add(Some(topic.name), topic.partitions.iter().map(|partition| partition.partition_index).collect());
            }
        }
        _ => {}
    }
    Some(Targets::These(found))
}

/// The request, if it can be read.
pub(super) fn request<R: Request>(version: i16, body: &Bytes) -> Option<R> {
    R::VERSIONS.contains(version).then(|| decode_request::<R>(version, &mut Decoder::new(body.clone())).ok())?
}

#[cfg(test)]
mod tests {
    use milena_protocol::frame::{RequestHeader, encode_request};
    use milena_protocol::messages::fetch::{FetchPartition, FetchTopic, ForgottenTopic};
    use milena_protocol::messages::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};

    use super::*;
    use crate::core::fetch_sessions::Context;
    use crate::fault::error_answer::tests::cluster;

    fn with<R: Request, T>(version: i16, request: &R, look: impl FnOnce(&Incoming<'_>) -> T) -> T {
        let frame = Bytes::from(encode_request(version, 1, "tester", request).unwrap().concat()).slice(4..);
        let mut input = Decoder::new(frame.clone());
        let header = RequestHeader::decode(&mut input).unwrap();
        look(&Incoming { broker: 1, header: &header, body: &frame.slice(input.position()..) })
    }

    fn targets<R: Request>(core: &Core, version: i16, request: &R) -> Targets {
        with(version, request, |incoming| of(incoming, core))
    }

    fn these(topic: &str, partitions: &[i32]) -> Targets {
        Targets::These(vec![(topic.to_owned(), partitions.to_vec())])
    }

    #[test]
    fn topics_are_found_by_name_and_by_id() {
        let core = cluster();
        let topic_id = core.controller.topic("orders").unwrap().id;
        let partitions = vec![FetchPartition { partition: 3, ..Default::default() }];
        let by_name = FetchTopic { topic: "orders".into(), partitions: partitions.clone(), ..Default::default() };
        let by_id = FetchTopic { topic_id, partitions: partitions.clone(), ..Default::default() };
        let unknown = FetchTopic { topic_id: Uuid([8; 16]), partitions, ..Default::default() };
        let fetch = |topic| FetchRequest { topics: vec![topic], session_epoch: -1, ..Default::default() };
        assert_eq!(targets(&core, 12, &fetch(by_name)), these("orders", &[3]));
        assert_eq!(targets(&core, 13, &fetch(by_id)), these("orders", &[3]));
        assert_eq!(targets(&core, 13, &fetch(unknown)), Targets::These(vec![]));
    }

    #[test]
    fn a_fetch_is_about_the_partitions_of_its_session() {
        let mut core = cluster();
        let key = |partition| FetchKey { topic: TopicRef::Name("orders".into()), partition };
        let wanted: Vec<_> = (0..3).map(|partition| (key(partition), FetchPartition::default())).collect();
        let Core { brokers, random, .. } = &mut core;
        let sessions = &mut brokers.get_mut(&1).unwrap().fetch_sessions;
        let Context::Full(session_id) = sessions.begin(Default::default(), (0, 0), false, &wanted, random) else {
            panic!("no session")
        };
        let named = FetchTopic {
            topic: "orders".into(),
            partitions: vec![FetchPartition { partition: 5, ..Default::default() }],
            ..Default::default()
        };
        let forgotten = ForgottenTopic { topic: "orders".into(), partitions: vec![1], ..Default::default() };
        let request = FetchRequest {
            session_id,
            session_epoch: 1,
            topics: vec![named],
            forgotten_topics_data: vec![forgotten],
            ..Default::default()
        };
        let found = with(12, &request, |incoming| fetched(incoming, &core)).unwrap();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [key(0), key(2), key(5)]);
        let go_on = FetchRequest { session_id, session_epoch: 1, ..Default::default() };
        assert!(targets(&core, 12, &go_on).have(Some("orders"), Some(1)));
        assert!(!targets(&core, 12, &go_on).have(Some("orders"), Some(5)));
        let another = FetchRequest { session_id: session_id ^ 1, session_epoch: 1, ..Default::default() };
        assert_eq!(targets(&core, 12, &another), Targets::These(vec![]));
        let new = FetchRequest { session_id, session_epoch: 0, ..Default::default() };
        assert_eq!(targets(&core, 12, &new), Targets::These(vec![]));
    }

    #[test]
    fn null_means_all() {
        let core = cluster();
        let request = OffsetFetchRequest { topics: None, ..Default::default() };
        assert_eq!(targets(&core, 7, &request), Targets::All);
        let group = OffsetFetchRequestGroup { topics: None, ..Default::default() };
        assert_eq!(targets(&core, 9, &OffsetFetchRequest { groups: vec![group], ..Default::default() }), Targets::All);
        let topics =
            vec![OffsetFetchRequestTopics { name: "orders".into(), partition_indexes: vec![1], ..Default::default() }];
        let group = OffsetFetchRequestGroup { topics: Some(topics), ..Default::default() };
        let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
        assert_eq!(targets(&core, 9, &request), these("orders", &[1]));
    }

    #[test]
    fn groups_are_found_in_every_request_that_names_some() {
        let id = || "g".to_owned();
        assert_eq!(with(9, &JoinGroupRequest { group_id: id(), ..Default::default() }, groups), ["g"]);
        assert_eq!(with(5, &SyncGroupRequest { group_id: id(), ..Default::default() }, groups), ["g"]);
        assert_eq!(with(4, &HeartbeatRequest { group_id: id(), ..Default::default() }, groups), ["g"]);
        assert_eq!(with(2, &LeaveGroupRequest { group_id: id(), ..Default::default() }, groups), ["g"]);
        assert_eq!(with(9, &OffsetCommitRequest { group_id: id(), ..Default::default() }, groups), ["g"]);
        assert_eq!(with(4, &AddOffsetsToTxnRequest { group_id: id(), ..Default::default() }, groups), ["g"]);
        assert_eq!(with(6, &TxnOffsetCommitRequest { group_id: id(), ..Default::default() }, groups), ["g"]);
        assert_eq!(with(0, &OffsetDeleteRequest { group_id: id(), ..Default::default() }, groups), ["g"]);
        assert_eq!(with(3, &DeleteGroupsRequest { groups_names: vec![id()] }, groups), ["g"]);
        assert_eq!(with(7, &OffsetFetchRequest { group_id: id(), ..Default::default() }, groups), ["g"]);
        let group = OffsetFetchRequestGroup { group_id: id(), ..Default::default() };
        assert_eq!(with(8, &OffsetFetchRequest { groups: vec![group], ..Default::default() }, groups), ["g"]);
        let described = DescribeGroupsRequest { groups: vec!["f".to_owned(), id()], ..Default::default() };
        assert_eq!(with(5, &described, groups), ["f", "g"]);
        let find = FindCoordinatorRequest { key: id(), coordinator_keys: vec![id()], ..Default::default() };
        assert_eq!(with(3, &find, groups), ["g"]);
        assert_eq!(with(4, &find, groups), ["g"]);
        let transaction = FindCoordinatorRequest { key_type: 1, ..find };
        assert_eq!(with(4, &transaction, groups), Vec::<String>::new());
        assert_eq!(with(12, &MetadataRequest::default(), groups), Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_read_names_nothing() {
        let header = RequestHeader { api_key: ApiKey::PRODUCE, api_version: 9, correlation_id: 1, client_id: None };
        let incoming = Incoming { broker: 1, header: &header, body: &Bytes::from_static(b"garbage") };
        assert_eq!(of(&incoming, &cluster()), Targets::These(vec![]));
        assert!(!Targets::These(vec![]).have(None, Some(0)));
    }
}
