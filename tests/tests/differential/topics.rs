//! CreateTopics, DeleteTopics, DescribeConfigs.

use milena_protocol::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use milena_protocol::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use milena_protocol::messages::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use milena_protocol::messages::metadata::MetadataRequest;
use milena_protocol::primitives::Uuid;
use milena_tests::raw::RawConnection;

use crate::golden::probes;
use crate::script::Script;

probes! {
    every_version_creates_a_topic
    a_created_topic_is_described_with_its_configs
    an_existing_topic_is_not_created_again
    a_topic_named_twice_is_not_created
    an_invalid_name_is_not_created
    names_that_differ_in_dots_and_underscores_collide
    a_number_of_partitions_must_be_positive
    a_replication_factor_must_fit_the_cluster
    replicas_by_hand_must_make_sense
    replicas_by_hand_are_taken
    an_unknown_or_invalid_config_is_refused
    every_cleanup_policy_is_a_list
    validation_creates_nothing
    topics_of_one_request_fail_apart
    every_version_deletes_a_topic
    an_unknown_topic_is_not_deleted
    a_topic_is_deleted_by_its_id
    names_and_ids_of_deleted_topics_do_not_mix
    a_topic_named_twice_is_not_deleted
    a_topic_created_again_has_another_id
    every_version_describes_the_configs_of_a_topic
    only_the_configs_that_were_asked_for_are_described
    configs_of_what_does_not_exist_are_not_described
    a_config_that_was_set_says_so
    synonyms_and_words_are_described_on_demand
    the_types_of_all_topic_configs
    the_defaults_of_all_topic_configs
}

const CREATE: i16 = 7;
const DELETE: i16 = 6;
const DESCRIBE: i16 = 4;

fn topic(name: &str, num_partitions: i32, replication_factor: i16) -> CreatableTopic {
    CreatableTopic { name: name.to_owned(), num_partitions, replication_factor, ..Default::default() }
}

fn with(name: &str, configs: &[(&str, Option<&str>)]) -> CreatableTopic {
    let config = |(name, value): &(&str, Option<&str>)| CreatableTopicConfig {
        name: (*name).to_owned(),
        value: value.map(str::to_owned),
    };
    CreatableTopic { configs: configs.iter().map(config).collect(), ..topic(name, 1, 3) }
}

/// The brokers of each partition.
type Replicas<'a> = &'a [(i32, &'a [i32])];

fn by_hand(name: &str, replicas: Replicas<'_>) -> CreatableTopic {
    let assignment = |(partition, brokers): &(i32, &[i32])| CreatableReplicaAssignment {
        partition_index: *partition,
        broker_ids: brokers.to_vec(),
    };
    CreatableTopic { assignments: replicas.iter().map(assignment).collect(), ..topic(name, -1, -1) }
}

fn create(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
    CreateTopicsRequest { topics, timeout_ms: 30_000, validate_only: false }
}

/// What came of it, without the configs, in the order of the names.
async fn created(
    p: &Script<'_>,
    step: &str,
    broker: &mut RawConnection,
    version: i16,
    request: &CreateTopicsRequest,
) -> CreateTopicsResponse {
    let mut answer = broker.ask(version, request).await;
    let whole = answer.clone();
    for topic in &mut answer.topics {
        topic.configs.iter_mut().for_each(Vec::clear);
    }
    answer.topics.sort_by(|one, other| one.name.cmp(&other.name));
    p.show(step, &answer);
    whole
}

async fn every_version_creates_a_topic(p: &Script<'_>) {
    let mut broker = p.cluster.raw(1).await;
    for version in 2..=7 {
        let name = p.name("T");
        created(p, &format!("v{version}"), &mut broker, version, &create(vec![topic(&name, 2, 3)])).await;
    }
    for version in [4, 7] {
        let name = p.name("T");
        created(p, &format!("v{version} defaults"), &mut broker, version, &create(vec![topic(&name, -1, -1)])).await;
    }
}

async fn a_created_topic_is_described_with_its_configs(p: &Script<'_>) {
    let name = p.name("T");
    let configs = [("cleanup.policy", Some("compact")), ("retention.ms", Some("60000"))];
    let request = create(vec![with(&name, &configs)]);
    let answer = p.cluster.raw(1).await.ask(CREATE, &request).await;
    let mut configs = answer.topics[0].configs.clone().unwrap_or_default();
    configs.sort_by(|one, other| one.name.cmp(&other.name));
    for config in configs {
        p.show("a config", &config);
    }
}

async fn an_existing_topic_is_not_created_again(p: &Script<'_>) {
    let name = p.topic("T", 1).await;
    let mut broker = p.cluster.raw(1).await;
    for version in [2, 5, 7] {
        created(p, &format!("v{version}"), &mut broker, version, &create(vec![topic(&name, 1, 1)])).await;
    }
    let nonsense = create(vec![topic(&name, 0, 99)]);
    created(p, "with an impossible layout", &mut broker, CREATE, &nonsense).await;
    created(p, "with a bad config", &mut broker, CREATE, &create(vec![with(&name, &[("x", Some("y"))])])).await;
}

async fn a_topic_named_twice_is_not_created(p: &Script<'_>) {
    let name = p.name("T");
    let mut broker = p.cluster.raw(1).await;
    created(p, "twice", &mut broker, CREATE, &create(vec![topic(&name, 1, 1), topic(&name, 2, 1)])).await;
    created(p, "and the empty request", &mut broker, CREATE, &create(vec![])).await;
}

async fn an_invalid_name_is_not_created(p: &Script<'_>) {
    let mut broker = p.cluster.raw(1).await;
    for name in ["", ".", "..", "bad name!", "a/b", "ä", &"x".repeat(250)] {
        created(p, &format!("{} bytes", name.len()), &mut broker, CREATE, &create(vec![topic(name, 1, 1)])).await;
    }
    created(p, "internal", &mut broker, CREATE, &create(vec![topic("__cluster_metadata", 1, 1)])).await;
}

async fn names_that_differ_in_dots_and_underscores_collide(p: &Script<'_>) {
    let name = p.name("a.b");
    let underscored = name.replace('.', "_");
    p.cluster.raw(1).await.ask(CREATE, &create(vec![topic(&name, 1, 1)])).await;
    let mut broker = p.cluster.raw(1).await;
    let answer = broker.ask(CREATE, &create(vec![topic(&underscored, 1, 1)])).await;
    p.show("a_b", &(answer.topics[0].error_code, answer.topics[0].error_message.is_some()).0);
    let (one, other) = (p.name("c.d.e"), p.name("x"));
    let twin = one.replacen('.', "_", 1);
    let answer = broker.ask(CREATE, &create(vec![topic(&one, 1, 1), topic(&twin, 1, 1), topic(&other, 1, 1)])).await;
    let mut codes: Vec<_> = answer.topics.iter().map(|topic| (topic.name.clone(), topic.error_code)).collect();
    codes.sort_by_key(|(name, _)| [&other, &one, &twin].iter().position(|known| *known == name));
    p.show("twins of one request", &codes.iter().map(|(_, code)| *code).collect::<Vec<_>>());
}

async fn a_number_of_partitions_must_be_positive(p: &Script<'_>) {
    let name = p.name("T");
    let mut broker = p.cluster.raw(1).await;
    for count in [0, -2, i32::MIN] {
        created(p, &format!("{count}"), &mut broker, CREATE, &create(vec![topic(&name, count, 3)])).await;
    }
}

async fn a_replication_factor_must_fit_the_cluster(p: &Script<'_>) {
    let name = p.name("T");
    let mut broker = p.cluster.raw(1).await;
    for factor in [0, -2, 4, i16::MAX] {
        created(p, &format!("{factor}"), &mut broker, CREATE, &create(vec![topic(&name, 1, factor)])).await;
    }
}

async fn replicas_by_hand_must_make_sense(p: &Script<'_>) {
    let name = p.name("T");
    let mut broker = p.cluster.raw(1).await;
    let cases: &[(&str, Replicas<'_>)] = &[
        ("a broker that is not there", &[(0, &[9])]),
        ("a broker twice", &[(0, &[1, 1])]),
        ("no broker", &[(0, &[])]),
        ("partition 0 is missing", &[(1, &[1])]),
        ("a gap", &[(0, &[1]), (2, &[1])]),
        ("a partition twice", &[(0, &[1]), (0, &[2])]),
        ("uneven", &[(0, &[1, 2]), (1, &[1])]),
        ("negative", &[(0, &[-1])]),
    ];
    for (step, replicas) in cases {
        created(p, step, &mut broker, CREATE, &create(vec![by_hand(&name, replicas)])).await;
    }
    let both = CreatableTopic { num_partitions: 1, ..by_hand(&name, &[(0, &[1])]) };
    created(p, "and a number of partitions", &mut broker, CREATE, &create(vec![both])).await;
    let both = CreatableTopic { replication_factor: 1, ..by_hand(&name, &[(0, &[1])]) };
    created(p, "and a replication factor", &mut broker, CREATE, &create(vec![both])).await;
}

async fn replicas_by_hand_are_taken(p: &Script<'_>) {
    let name = p.name("T");
    let mut broker = p.cluster.raw(1).await;
    created(p, "by hand", &mut broker, CREATE, &create(vec![by_hand(&name, &[(1, &[2]), (0, &[3, 1])])])).await;
}

async fn an_unknown_or_invalid_config_is_refused(p: &Script<'_>) {
    let name = p.name("T");
    let mut broker = p.cluster.raw(1).await;
    for (config, value) in [
        ("no.such.config", Some("1")),
        ("retention.ms", Some("abc")),
        ("retention.ms", Some("-2")),
        ("retention.ms", Some("")),
        ("retention.ms", None),
        ("cleanup.policy", Some("shred")),
        ("cleanup.policy", Some("")),
        ("compression.type", Some("rar")),
        ("min.insync.replicas", Some("0")),
        ("max.message.bytes", Some("-1")),
        ("message.timestamp.type", Some("Never")),
        ("unclean.leader.election.enable", Some("perhaps")),
        ("segment.bytes", Some("1")),
        ("", Some("1")),
        ("log.retention.ms", Some("1")),
    ] {
        created(p, &format!("{config}={value:?}"), &mut broker, CREATE, &create(vec![with(&name, &[(config, value)])]))
            .await;
    }
    let twice = [("retention.ms", Some("1")), ("retention.ms", Some("2"))];
    let mut request = create(vec![with(&name, &twice)]);
    request.validate_only = true;
    created(p, "twice", &mut broker, CREATE, &request).await;
}

async fn every_cleanup_policy_is_a_list(p: &Script<'_>) {
    let name = p.name("T");
    let mut broker = p.cluster.raw(1).await;
    for policy in
        ["delete", "compact", "compact,delete", "delete,compact", "compact, delete", "delete,delete", "compact,x"]
    {
        let request = CreateTopicsRequest {
            validate_only: true,
            ..create(vec![with(&name, &[("cleanup.policy", Some(policy))])])
        };
        let answer = created(p, policy, &mut broker, CREATE, &request).await;
        let configs = answer.topics[0].configs.clone().unwrap_or_default();
        p.show("is", &configs.into_iter().find(|config| config.name == "cleanup.policy"));
    }
}

async fn validation_creates_nothing(p: &Script<'_>) {
    let name = p.name("T");
    let mut broker = p.cluster.raw(1).await;
    for version in [4, 7] {
        let request = CreateTopicsRequest { validate_only: true, ..create(vec![topic(&name, 3, 2)]) };
        created(p, &format!("v{version}"), &mut broker, version, &request).await;
    }
    let request = CreateTopicsRequest { validate_only: true, ..create(vec![topic(&name, 3, 9)]) };
    created(p, "impossible", &mut broker, CREATE, &request).await;
    created(p, "created after all", &mut broker, CREATE, &create(vec![topic(&name, 1, 1)])).await;
}

async fn topics_of_one_request_fail_apart(p: &Script<'_>) {
    let name = p.name("T");
    let mut broker = p.cluster.raw(1).await;
    let request = create(vec![topic("bad name!", 1, 1), topic(&name, 1, 1), topic("also-bad", 1, 9)]);
    created(p, "one of three", &mut broker, CREATE, &request).await;
}

fn delete(names: &[&str]) -> DeleteTopicsRequest {
    let state = |name: &&str| DeleteTopicState { name: Some((*name).to_owned()), ..Default::default() };
    DeleteTopicsRequest {
        topics: names.iter().map(state).collect(),
        topic_names: names.iter().map(|name| (*name).to_owned()).collect(),
        timeout_ms: 30_000,
    }
}

fn delete_by_id(id: Uuid, name: Option<&str>) -> DeleteTopicsRequest {
    let topics = vec![DeleteTopicState { name: name.map(str::to_owned), topic_id: id }];
    DeleteTopicsRequest { topics, timeout_ms: 30_000, ..Default::default() }
}

async fn every_version_deletes_a_topic(p: &Script<'_>) {
    let mut broker = p.cluster.raw(1).await;
    for version in 1..=6 {
        let name = p.name("T");
        broker.ask(CREATE, &create(vec![topic(&name, 1, 1)])).await;
        p.ask(&format!("v{version}"), &mut broker, version, &delete(&[&name])).await;
    }
}

async fn an_unknown_topic_is_not_deleted(p: &Script<'_>) {
    let mut broker = p.cluster.raw(1).await;
    for version in [1, 4, 5, 6] {
        p.ask(&format!("v{version}"), &mut broker, version, &delete(&["no-such-topic"])).await;
    }
    for name in ["", "bad name!"] {
        p.ask(&format!("{name:?}"), &mut broker, DELETE, &delete(&[name])).await;
    }
    p.ask("none", &mut broker, DELETE, &delete(&[])).await;
    p.ask("an unknown id", &mut broker, DELETE, &delete_by_id(Uuid([7; 16]), None)).await;
}

async fn a_topic_is_deleted_by_its_id(p: &Script<'_>) {
    let name = p.topic("T", 1).await;
    let id = p.cluster.topic_id(&name).await;
    let mut broker = p.cluster.raw(1).await;
    p.ask("by id", &mut broker, DELETE, &delete_by_id(id, None)).await;
    p.ask("again", &mut broker, DELETE, &delete_by_id(id, None)).await;
}

async fn names_and_ids_of_deleted_topics_do_not_mix(p: &Script<'_>) {
    let name = p.topic("T", 1).await;
    let id = p.cluster.topic_id(&name).await;
    for (step, request) in [
        ("both", delete_by_id(id, Some(&name))),
        ("neither", delete_by_id(Uuid::ZERO, None)),
        ("an unknown id and a name", delete_by_id(Uuid([7; 16]), Some(&name))),
    ] {
        p.try_ask(step, &mut p.cluster.raw(1).await, DELETE, &request).await;
    }
    let mut broker = p.cluster.raw(1).await;
    let mut request = delete(&[&name]);
    request.topics.extend(delete_by_id(id, None).topics);
    let mut answer = broker.ask(DELETE, &request).await;
    answer.responses.sort_by_key(|topic| topic.name.is_some());
    p.show("one by name, one by id", &answer);
}

async fn a_topic_named_twice_is_not_deleted(p: &Script<'_>) {
    let name = p.topic("T", 1).await;
    let mut broker = p.cluster.raw(1).await;
    p.ask("twice", &mut broker, DELETE, &delete(&[&name, &name])).await;
    p.ask("once", &mut broker, DELETE, &delete(&[&name])).await;
}

async fn a_topic_created_again_has_another_id(p: &Script<'_>) {
    let name = p.topic("T", 1).await;
    let first = p.cluster.topic_id(&name).await;
    p.delete_topic(&name).await;
    let mut broker = p.cluster.raw(1).await;
    let answer = broker.ask(CREATE, &create(vec![topic(&name, 1, 1)])).await;
    p.note(&format!("another id: {}", answer.topics[0].topic_id != first));
    let request = MetadataRequest { topics: None, ..Default::default() };
    let old = broker.ask(12, &request).await.topics.iter().any(|topic| topic.topic_id == first);
    p.note(&format!("the old one is known: {old}"));
}

fn describe(resource_type: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsRequest {
    let resource = DescribeConfigsResource {
        resource_type,
        resource_name: name.to_owned(),
        configuration_keys: keys.map(|keys| keys.iter().map(|key| (*key).to_owned()).collect()),
    };
    DescribeConfigsRequest { resources: vec![resource], ..Default::default() }
}

async fn described(
    p: &Script<'_>,
    step: &str,
    broker: &mut RawConnection,
    version: i16,
    request: &DescribeConfigsRequest,
) {
    let mut answer = broker.ask(version, request).await;
    for result in &mut answer.results {
        result.configs.sort_by(|one, other| one.name.cmp(&other.name));
        // The words are our own.
        for config in &mut result.configs {
            if let Some(words) = config.documentation.as_mut().filter(|words| !words.is_empty()) {
                "words".clone_into(words);
            }
        }
    }
    p.show(step, &answer);
}

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

async fn every_version_describes_the_configs_of_a_topic(p: &Script<'_>) {
    let name = p.topic_with("T", 1, &[("retention.ms", "60000")]).await;
    let mut broker = p.cluster.raw(1).await;
    for version in 1..=4 {
        let request = describe(TOPIC, &name, Some(&["retention.ms", "cleanup.policy"]));
        described(p, &format!("v{version}"), &mut broker, version, &request).await;
    }
}

async fn only_the_configs_that_were_asked_for_are_described(p: &Script<'_>) {
    let name = p.topic("T", 1).await;
    let mut broker = p.cluster.raw(1).await;
    described(p, "an unknown one", &mut broker, DESCRIBE, &describe(TOPIC, &name, Some(&["no.such", "segment.ms"])))
        .await;
    let answer = broker.ask(DESCRIBE, &describe(TOPIC, &name, Some(&[]))).await;
    p.note(&format!("an empty list gives any: {}", !answer.results[0].configs.is_empty()));
    let answer = broker.ask(DESCRIBE, &describe(TOPIC, &name, None)).await;
    p.note(&format!("no list gives any: {}", !answer.results[0].configs.is_empty()));
    let twice = describe(TOPIC, &name, Some(&["segment.ms", "segment.ms"]));
    described(p, "one twice", &mut broker, DESCRIBE, &twice).await;
    let mut request = describe(TOPIC, &name, Some(&["segment.ms"]));
    request.resources.extend(describe(TOPIC, &name, Some(&["retention.ms"])).resources);
    described(p, "a topic twice", &mut broker, DESCRIBE, &request).await;
}

async fn configs_of_what_does_not_exist_are_not_described(p: &Script<'_>) {
    let mut broker = p.cluster.raw(1).await;
    for (kind, name) in [
        (TOPIC, "no-such-topic"),
        (TOPIC, ""),
        (TOPIC, "bad name!"),
        (BROKER, "9"),
        (BROKER, "x"),
        (BROKER, "2"),
        (3, "x"),
        (0, "x"),
    ] {
        described(p, &format!("{kind} {name:?}"), &mut broker, DESCRIBE, &describe(kind, name, Some(&["segment.ms"])))
            .await;
    }
}

async fn a_config_that_was_set_says_so(p: &Script<'_>) {
    let configs = [("cleanup.policy", "compact"), ("min.insync.replicas", "2"), ("compression.type", "zstd")];
    let name = p.topic_with("T", 1, &configs).await;
    let mut broker = p.cluster.raw(2).await;
    let keys = ["cleanup.policy", "min.insync.replicas", "compression.type", "delete.retention.ms"];
    described(p, "three of four", &mut broker, DESCRIBE, &describe(TOPIC, &name, Some(&keys))).await;
}

async fn synonyms_and_words_are_described_on_demand(p: &Script<'_>) {
    let name = p.topic_with("T", 1, &[("retention.ms", "60000")]).await;
    let mut broker = p.cluster.raw(1).await;
    for version in [1, 3, 4] {
        let request = DescribeConfigsRequest {
            include_synonyms: true,
            include_documentation: version >= 3,
            ..describe(TOPIC, &name, Some(&["retention.ms", "segment.bytes", "min.insync.replicas"]))
        };
        described(p, &format!("v{version}"), &mut broker, version, &request).await;
    }
}

async fn the_types_of_all_topic_configs(p: &Script<'_>) {
    let name = p.topic("T", 1).await;
    let mut broker = p.cluster.raw(1).await;
    let answer = broker.ask(DESCRIBE, &describe(TOPIC, &name, None)).await;
    let mut configs = answer.results[0].configs.clone();
    configs.sort_by(|one, other| one.name.cmp(&other.name));
    for config in configs {
        p.note(&format!("{}: type {}, sensitive {}", config.name, config.config_type, config.is_sensitive));
    }
}

async fn the_defaults_of_all_topic_configs(p: &Script<'_>) {
    let name = p.topic("T", 1).await;
    let mut broker = p.cluster.raw(1).await;
    let answer = broker.ask(DESCRIBE, &describe(TOPIC, &name, None)).await;
    let mut configs = answer.results[0].configs.clone();
    configs.sort_by(|one, other| one.name.cmp(&other.name));
    for config in configs {
        p.note(&format!(
            "{}={:?}, source {}, read only {}",
            config.name, config.value, config.config_source, config.read_only
        ));
    }
}
