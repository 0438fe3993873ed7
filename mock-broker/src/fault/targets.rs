//! The topics and partitions that a request is about. Pure.

use bytes::Bytes;
use milena_protocol::ApiKey;
use milena_protocol::api::Request;
use milena_protocol::frame::{RequestHeader, decode_request};
use milena_protocol::messages::create_topics::CreateTopicsRequest;
use milena_protocol::messages::delete_topics::DeleteTopicsRequest;
use milena_protocol::messages::describe_configs::DescribeConfigsRequest;
use milena_protocol::messages::fetch::FetchRequest;
use milena_protocol::messages::list_offsets::ListOffsetsRequest;
use milena_protocol::messages::metadata::MetadataRequest;
use milena_protocol::messages::offset_commit::OffsetCommitRequest;
use milena_protocol::messages::offset_fetch::OffsetFetchRequest;
use milena_protocol::messages::offset_for_leader_epoch::OffsetForLeaderEpochRequest;
use milena_protocol::messages::produce::ProduceRequest;
use milena_protocol::primitives::{Decoder, Uuid};

/// A resource of DescribeConfigs that is a topic.
const TOPIC_RESOURCE: i8 = 2;

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

/// What the request names; nothing if it cannot be read. Topics that are named by an id which `name_of` does not know are left
/// out.
pub(super) fn of(header: &RequestHeader, body: &Bytes, name_of: &dyn Fn(Uuid) -> Option<String>) -> Targets {
    read(header, body, name_of).unwrap_or(Targets::These(Vec::new()))
}

fn read(header: &RequestHeader, body: &Bytes, name_of: &dyn Fn(Uuid) -> Option<String>) -> Option<Targets> {
    let version = header.api_version;
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
            for topic in request::<FetchRequest>(version, body)?.topics {
                let partitions = topic.partitions.iter().map(|partition| partition.partition).collect();
                add(name(topic.topic, topic.topic_id), partitions);
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
    use milena_protocol::frame::encode_request;
    use milena_protocol::messages::fetch::{FetchPartition, FetchTopic};
    use milena_protocol::messages::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};

    use super::*;

    const ID: Uuid = Uuid([7; 16]);

    fn targets<R: Request>(version: i16, request: &R) -> Targets {
        let frame = Bytes::from(encode_request(version, 1, "tester", request).unwrap().concat()).slice(4..);
        let mut input = Decoder::new(frame.clone());
        let header = RequestHeader::decode(&mut input).unwrap();
        of(&header, &frame.slice(input.position()..), &|id| (id == ID).then(|| "orders".to_owned()))
    }

    fn these(topic: &str, partitions: &[i32]) -> Targets {
        Targets::These(vec![(topic.to_owned(), partitions.to_vec())])
    }

    #[test]
    fn topics_are_found_by_name_and_by_id() {
        let partitions = vec![FetchPartition { partition: 3, ..Default::default() }];
        let by_name = FetchTopic { topic: "orders".into(), partitions: partitions.clone(), ..Default::default() };
        let by_id = FetchTopic { topic_id: ID, partitions: partitions.clone(), ..Default::default() };
        let unknown = FetchTopic { topic_id: Uuid([8; 16]), partitions, ..Default::default() };
        let fetch = |topic| FetchRequest { topics: vec![topic], ..Default::default() };
        assert_eq!(targets(12, &fetch(by_name)), these("orders", &[3]));
        assert_eq!(targets(13, &fetch(by_id)), these("orders", &[3]));
        assert_eq!(targets(13, &fetch(unknown)), Targets::These(vec![]));
    }

    #[test]
    fn null_means_all() {
        let request = OffsetFetchRequest { topics: None, ..Default::default() };
        assert_eq!(targets(7, &request), Targets::All);
        let group = OffsetFetchRequestGroup { topics: None, ..Default::default() };
        assert_eq!(targets(9, &OffsetFetchRequest { groups: vec![group], ..Default::default() }), Targets::All);
        let topics =
            vec![OffsetFetchRequestTopics { name: "orders".into(), partition_indexes: vec![1], ..Default::default() }];
        let group = OffsetFetchRequestGroup { topics: Some(topics), ..Default::default() };
        assert_eq!(
            targets(9, &OffsetFetchRequest { groups: vec![group], ..Default::default() }),
            these("orders", &[1])
        );
    }

    #[test]
    fn what_cannot_be_read_names_nothing() {
        let header = RequestHeader { api_key: ApiKey::PRODUCE, api_version: 9, correlation_id: 1, client_id: None };
        assert_eq!(of(&header, &Bytes::from_static(b"garbage"), &|_| None), Targets::These(vec![]));
        assert!(!Targets::These(vec![]).have(None, Some(0)));
    }
}
