//! Metadata, DescribeCluster, FindCoordinator: who is where.

use milena_protocol::messages::describe_cluster::DescribeClusterRequest;
use milena_protocol::messages::find_coordinator::FindCoordinatorRequest;
use milena_protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use milena_protocol::primitives::Uuid;
use milena_tests::eventually::eventually;
use milena_tests::raw::RawConnection;

use crate::golden::{Probe, probes};
use crate::script::Script;

probes! {
    every_version_describes_a_topic
    brokers_have_addresses_and_racks
    no_list_means_all_topics
    an_empty_list_means_all_in_version_0_and_none_later
    an_unknown_topic_is_unknown
    an_impossible_topic_name_is_invalid
    a_topic_may_be_named_by_its_id
    an_unknown_topic_id_is_unknown
    names_and_ids_do_not_mix
    a_topic_named_twice_is_described_once
    known_and_unknown_topics_come_in_one_answer
    nothing_is_created_where_auto_creation_is_off
    the_controller_is_one_of_the_brokers
    all_brokers_describe_a_topic_alike
    operations_are_listed_on_demand
    the_topic_of_offsets_is_internal
    every_version_describes_the_cluster
    the_controllers_cannot_be_described_by_a_broker
    all_brokers_name_the_same_coordinator
    every_version_finds_a_coordinator
    several_coordinators_are_found_at_once
    an_unknown_kind_of_coordinator_is_refused
    an_empty_group_id_has_a_coordinator
}

const METADATA: i16 = 12;

fn named(names: &[&str]) -> MetadataRequest {
    let topic = |name: &&str| MetadataRequestTopic { name: Some((*name).to_owned()), ..Default::default() };
    MetadataRequest {
        topics: Some(names.iter().map(topic).collect()),
        allow_auto_topic_creation: false,
        ..Default::default()
    }
}

fn by_id(id: Uuid, name: Option<&str>) -> MetadataRequest {
    let topic = MetadataRequestTopic { topic_id: id, name: name.map(str::to_owned) };
    MetadataRequest { topics: Some(vec![topic]), allow_auto_topic_creation: false, ..Default::default() }
}

/// What is said of the topics, without the brokers, and in the order of their partitions.
async fn topics(
    p: &Script<'_>,
    step: &str,
    broker: &mut RawConnection,
    version: i16,
    request: &MetadataRequest,
) -> MetadataResponse {
    let mut answer = broker.ask(version, request).await;
    answer.topics.iter_mut().for_each(|topic| topic.partitions.sort_by_key(|partition| partition.partition_index));
    p.show(step, &(answer.topics.clone(), &answer.error_code).0);
    answer
}

async fn every_version_describes_a_topic(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    drop(p.leader(&topic, 0).await);
    let mut broker = p.cluster.raw(1).await;
    for version in 0..=13 {
        topics(p, &format!("v{version}"), &mut broker, version, &named(&[&topic])).await;
    }
}

async fn brokers_have_addresses_and_racks(p: &Script<'_>) {
    let mut broker = p.cluster.raw(1).await;
    for version in [0, 1, 2, 8, 13] {
        let mut answer = broker.ask(version, &named(&[])).await;
        answer.brokers.sort_by_key(|broker| broker.node_id);
        answer.topics.clear();
        answer.controller_id = answer.controller_id.min(0);
        p.show(&format!("v{version}"), &answer);
    }
}

async fn no_list_means_all_topics(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut broker = p.cluster.raw(1).await;
    for version in [1, 12] {
        let answer = broker.ask(version, &MetadataRequest { topics: None, ..named(&[]) }).await;
        let known = answer.topics.iter().any(|known| known.name.as_deref() == Some(&topic));
        p.note(&format!("v{version} has ours: {known}"));
    }
}

async fn an_empty_list_means_all_in_version_0_and_none_later(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut broker = p.cluster.raw(1).await;
    for version in [0, 1, 5, 13] {
        let answer = broker.ask(version, &named(&[])).await;
        let known = answer.topics.iter().any(|known| known.name.as_deref() == Some(&topic));
        p.note(&format!("v{version} has ours: {known}, and any: {}", !answer.topics.is_empty()));
    }
}

async fn an_unknown_topic_is_unknown(p: &Script<'_>) {
    let mut broker = p.cluster.raw(1).await;
    for version in [0, 1, 8, 12] {
        topics(p, &format!("v{version}"), &mut broker, version, &named(&["no-such-topic"])).await;
    }
}

async fn an_impossible_topic_name_is_invalid(p: &Script<'_>) {
    let mut broker = p.cluster.raw(1).await;
    for name in ["", ".", "..", "bad name!", "a/b", &"x".repeat(250), &"x".repeat(249)] {
        topics(p, &format!("{} letters", name.len()), &mut broker, METADATA, &named(&[name])).await;
        let creating = MetadataRequest { allow_auto_topic_creation: true, ..named(&[name]) };
        topics(p, "with creation", &mut broker, METADATA, &creating).await;
    }
}

async fn a_topic_may_be_named_by_its_id(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    drop(p.leader(&topic, 0).await);
    let id = p.cluster.topic_id(&topic).await;
    let mut broker = p.cluster.raw(2).await;
    for version in [12, 13] {
        topics(p, &format!("v{version}"), &mut broker, version, &by_id(id, None)).await;
    }
}

async fn an_unknown_topic_id_is_unknown(p: &Script<'_>) {
    let mut broker = p.cluster.raw(1).await;
    for version in [12, 13] {
        topics(p, &format!("v{version}"), &mut broker, version, &by_id(Uuid([7; 16]), None)).await;
    }
}

async fn names_and_ids_do_not_mix(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let id = p.cluster.topic_id(&topic).await;
    for (step, version, request) in [
        ("both", 12, by_id(id, Some(&topic))),
        ("both, in version 11", 11, by_id(id, Some(&topic))),
        ("an id in version 10", 10, by_id(id, None)),
        ("neither", 12, by_id(Uuid::ZERO, None)),
    ] {
        let mut broker = p.cluster.raw(1).await;
        match broker.try_ask(version, &request).await {
            Ok(answer) => {
                p.note(&format!("{} brokers, a controller: {}", answer.brokers.len(), answer.controller_id >= 0));
                p.show(step, &answer.topics);
            }
            Err(reason) => p.show(step, &reason),
        }
    }
    let other = p.topic("other", 1).await;
    let mut mixed = named(&[&other]);
    mixed.topics.iter_mut().for_each(|topics| topics.extend(by_id(id, None).topics.unwrap_or_default()));
    topics(p, "one by name, another by id", &mut p.cluster.raw(1).await, METADATA, &mixed).await;
}

async fn a_topic_named_twice_is_described_once(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut broker = p.cluster.raw(1).await;
    topics(p, "twice", &mut broker, METADATA, &named(&[&topic, &topic])).await;
    topics(p, "twice unknown", &mut broker, METADATA, &named(&["no-such-topic", "no-such-topic"])).await;
}

async fn known_and_unknown_topics_come_in_one_answer(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut broker = p.cluster.raw(1).await;
    topics(p, "unknown first", &mut broker, METADATA, &named(&["no-such-topic", &topic])).await;
    topics(p, "unknown last", &mut broker, METADATA, &named(&[&topic, "bad name!"])).await;
}

async fn nothing_is_created_where_auto_creation_is_off(p: &Script<'_>) {
    let name = p.name("T");
    let mut broker = p.cluster.raw(1).await;
    let creating = MetadataRequest { allow_auto_topic_creation: true, ..named(&[&name]) };
    for version in [3, 4, 12] {
        topics(p, &format!("v{version}"), &mut broker, version, &creating).await;
    }
    topics(p, "and later", &mut broker, METADATA, &named(&[&name])).await;
}

async fn the_controller_is_one_of_the_brokers(p: &Script<'_>) {
    for id in 1..=3 {
        let answer = p.cluster.raw(id).await.ask(METADATA, &named(&[])).await;
        let known = answer.brokers.iter().any(|broker| broker.node_id == answer.controller_id);
        p.note(&format!("{} brokers, the controller is one of them: {known}", answer.brokers.len()));
    }
}

async fn all_brokers_describe_a_topic_alike(p: &Script<'_>) {
    let topic = p.topic("T", 3).await;
    for id in 1..=3 {
        topics(p, "a broker", &mut p.cluster.raw(id).await, METADATA, &named(&[&topic])).await;
    }
}

async fn operations_are_listed_on_demand(p: &Script<'_>) {
    let topic = p.topic("T", 1).await;
    let mut broker = p.cluster.raw(1).await;
    let request = MetadataRequest {
        include_topic_authorized_operations: true,
        include_cluster_authorized_operations: true,
        ..named(&[&topic, "no-such-topic"])
    };
    for version in [7, 8, 10] {
        let answer = topics(p, &format!("v{version}"), &mut broker, version, &request).await;
        p.show("of the cluster", &answer.cluster_authorized_operations);
    }
    topics(p, "v12", &mut broker, 12, &MetadataRequest { include_cluster_authorized_operations: false, ..request })
        .await;
}

async fn the_topic_of_offsets_is_internal(p: &Script<'_>) {
    drop(p.cluster.raw_coordinator(&p.name("G")).await);
    let mut broker = p.cluster.raw(1).await;
    for version in [0, 1, 12] {
        let answer = broker.ask(version, &named(&["__consumer_offsets"])).await;
        p.show(&format!("v{version}"), &answer.topics[0].is_internal);
    }
}

async fn every_version_describes_the_cluster(p: &Script<'_>) {
    let mut broker = p.cluster.raw(1).await;
    for version in 0..=2 {
        for include in [false, true] {
            let request = DescribeClusterRequest {
                include_cluster_authorized_operations: include,
                include_fenced_brokers: version >= 2 && include,
                ..Default::default()
            };
            let mut answer = broker.ask(version, &request).await;
            answer.brokers.sort_by_key(|broker| broker.broker_id);
            answer.controller_id = answer.controller_id.min(0);
            p.show(&format!("v{version} {include}"), &answer);
        }
    }
}

async fn the_controllers_cannot_be_described_by_a_broker(p: &Script<'_>) {
    let mut broker = p.cluster.raw(1).await;
    for endpoint_type in [2, 3, 0] {
        let request = DescribeClusterRequest { endpoint_type, ..Default::default() };
        let mut answer = broker.ask(1, &request).await;
        answer.controller_id = answer.controller_id.min(0);
        answer.brokers.sort_by_key(|broker| broker.broker_id);
        p.show(&format!("endpoint type {endpoint_type}"), &answer);
    }
}

/// Of a cluster that nobody has asked for a coordinator.
pub const FIRST: Probe = Probe {
    name: "who_looks_for_a_coordinator_first_is_to_come_again",
    run: |script| Box::pin(who_looks_for_a_coordinator_first_is_to_come_again(script)),
};

async fn who_looks_for_a_coordinator_first_is_to_come_again(p: &Script<'_>) {
    let mut broker = p.cluster.raw(1).await;
    for (key_type, version) in [(0, 3), (1, 6)] {
        let request = find(&["k"], key_type);
        p.ask(&format!("type {key_type} v{version}"), &mut broker, version, &request).await;
        eventually("the internal topic to be there", async || {
            let answer = broker.ask(3, &request).await;
            answer.error_code.is_none().then_some(())
        })
        .await;
    }
}

fn find(keys: &[&str], key_type: i8) -> FindCoordinatorRequest {
    FindCoordinatorRequest {
        key: keys.first().copied().unwrap_or_default().to_owned(),
        key_type,
        coordinator_keys: keys.iter().map(|key| (*key).to_owned()).collect(),
    }
}

async fn all_brokers_name_the_same_coordinator(p: &Script<'_>) {
    let group = p.name("G");
    p.cluster.coordinator(&group).await;
    for id in 1..=3 {
        p.ask("a broker", &mut p.cluster.raw(id).await, 4, &find(&[&group], 0)).await;
    }
}

async fn every_version_finds_a_coordinator(p: &Script<'_>) {
    let group = p.name("G");
    p.cluster.coordinator(&group).await;
    let mut broker = p.cluster.raw(1).await;
    for version in 0..=6 {
        p.ask(&format!("v{version}"), &mut broker, version, &find(&[&group], 0)).await;
    }
}

async fn several_coordinators_are_found_at_once(p: &Script<'_>) {
    let groups = ["A", "B", "C"].map(|label| p.name(label));
    p.cluster.coordinator(&groups[0]).await;
    let mut broker = p.cluster.raw(1).await;
    let keys: Vec<_> = groups.iter().map(String::as_str).collect();
    let mut answer = broker.ask(4, &find(&keys, 0)).await;
    answer.coordinators.iter_mut().for_each(|coordinator| coordinator.node_id = coordinator.node_id.min(0));
    p.show("three", &answer);
    p.ask("none", &mut broker, 4, &find(&[], 0)).await;
    let mut answer = broker.ask(4, &find(&[keys[0], keys[0]], 0)).await;
    answer.coordinators.iter_mut().for_each(|coordinator| coordinator.node_id = coordinator.node_id.min(0));
    p.show("one twice", &answer);
}

async fn an_unknown_kind_of_coordinator_is_refused(p: &Script<'_>) {
    for (version, key_type) in [(3, 9), (4, 9), (1, -1), (3, 2), (5, 2), (6, 2)] {
        let mut broker = p.cluster.raw(1).await;
        p.try_ask(&format!("v{version} kind {key_type}"), &mut broker, version, &find(&["x"], key_type)).await;
    }
}

async fn an_empty_group_id_has_a_coordinator(p: &Script<'_>) {
    p.cluster.coordinator(&p.name("G")).await;
    let mut broker = p.cluster.raw(1).await;
    for version in [3, 4] {
        let mut answer = broker.ask(version, &find(&[""], 0)).await;
        answer.node_id = answer.node_id.min(0);
        answer.coordinators.iter_mut().for_each(|coordinator| coordinator.node_id = coordinator.node_id.min(0));
        p.show(&format!("v{version}"), &answer);
    }
}
