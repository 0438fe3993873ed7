//! The cases of Kafka's RangeAssignorTest. Pure.

use super::super::strategies::fixture::*;
use super::*;

fn assign(members: &[Member<'_>], topics: &[(&str, i32)]) -> Vec<String> {
    shares(&Range, members, &Topics::new(topics.iter().copied()))
}

/// `count` brokers in racks a, b and c in turn; partition p has its replicas at brokers p, p+1 … up to `replicas`.
fn racks(names: &[(&str, i32)], brokers: usize, replicas: usize) -> Topics {
    let mut topics = Topics::new(names.iter().copied());
    for (name, count) in names {
        for partition in 0..*count {
            let racks = (0..replicas).map(|replica| ["a", "b", "c"][(partition as usize + replica) % brokers]);
            topics = topics.with_racks(&(*name, partition).into(), racks);
        }
    }
    topics
}

fn in_rack<'a>(id: &'a str, rack: &'a str, topics: &'a [Arc<str>]) -> Member<'a> {
    Member { rack: Some(rack), ..member(id, topics) }
}

#[test]
fn one_consumer_no_topic() {
    assert_eq!(assign(&[member("a", &[])], &[]), [""]);
}

#[test]
fn one_consumer_nonexistent_topic() {
    assert_eq!(assign(&[member("a", &names(["t1"]))], &[]), [""]);
}

#[test]
fn one_consumer_one_topic() {
    assert_eq!(assign(&[member("a", &names(["t1"]))], &[("t1", 3)]), ["t1-0 t1-1 t1-2"]);
}

#[test]
fn only_assigns_partitions_from_subscribed_topics() {
    assert_eq!(assign(&[member("a", &names(["t1"]))], &[("other", 3), ("t1", 3)]), ["t1-0 t1-1 t1-2"]);
}

#[test]
fn one_consumer_multiple_topics() {
    assert_eq!(assign(&[member("a", &names(["t1", "t2"]))], &[("t1", 1), ("t2", 2)]), ["t1-0 t2-0 t2-1"]);
}

#[test]
fn two_consumers_one_topic_one_partition() {
    let topics = names(["t1"]);
    assert_eq!(assign(&[member("a", &topics), member("b", &topics)], &[("t1", 1)]), ["t1-0", ""]);
}

#[test]
fn two_consumers_one_topic_two_partitions() {
    let topics = names(["t1"]);
    assert_eq!(assign(&[member("b", &topics), member("a", &topics)], &[("t1", 2)]), ["t1-1", "t1-0"]);
}

#[test]
fn multiple_consumers_mixed_topics() {
    let (first, both) = (names(["t1"]), names(["t1", "t2"]));
    let members = [member("a", &first), member("b", &both), member("c", &first)];
    assert_eq!(assign(&members, &[("t1", 3), ("t2", 2)]), ["t1-0", "t1-1 t2-0 t2-1", "t1-2"]);
}

#[test]
fn two_consumers_two_topics_six_partitions() {
    let topics = names(["t1", "t2"]);
    let members = [member("a", &topics), member("b", &topics)];
    assert_eq!(assign(&members, &[("t1", 3), ("t2", 3)]), ["t1-0 t1-1 t2-0 t2-1", "t1-2 t2-2"]);
}

#[test]
fn two_static_consumers_two_topics_six_partitions() {
    let topics = names(["t1", "t2"]);
    let of = |id, instance| Member { instance_id: Some(instance), ..member(id, &topics) };
    let members = [of("x", "i2"), of("y", "i1")];
    assert_eq!(assign(&members, &[("t1", 3), ("t2", 3)]), ["t1-2 t2-2", "t1-0 t1-1 t2-0 t2-1"]);
}

#[test]
fn one_static_consumer_and_one_dynamic_consumer_two_topics_six_partitions() {
    let topics = names(["t1", "t2"]);
    let members = [member("a", &topics), Member { instance_id: Some("z"), ..member("b", &topics) }];
    assert_eq!(assign(&members, &[("t1", 3), ("t2", 3)]), ["t1-2 t2-2", "t1-0 t1-1 t2-0 t2-1"]);
}

#[test]
fn static_member_range_assignment_persistent() {
    let topics = names(["t1", "t2"]);
    let of = |id, instance| Member { instance_id: Some(instance), ..member(id, &topics) };
    let before = assign(&[of("a", "1"), of("b", "2"), of("c", "3")], &[("t1", 5), ("t2", 4)]);
    // The second is gone; then it is back, listed first.
    assert_ne!(assign(&[of("a", "1"), of("c", "3")], &[("t1", 5), ("t2", 4)]), [&*before[0], &*before[2]]);
    let after = assign(&[of("b", "2"), of("a", "1"), of("c", "3")], &[("t1", 5), ("t2", 4)]);
    assert_eq!([&after[1], &after[0], &after[2]], [&before[0], &before[1], &before[2]]);
}

#[test]
fn static_member_range_assignment_persistent_after_member_id_changes() {
    let topics = names(["t1", "t2"]);
    let of = |id, instance| Member { instance_id: Some(instance), ..member(id, &topics) };
    let before = assign(&[of("a", "1"), of("b", "2"), of("c", "3")], &[("t1", 5), ("t2", 4)]);
    let after = assign(&[of("z", "1"), of("y", "2"), of("x", "3")], &[("t1", 5), ("t2", 4)]);
    assert_eq!(before, ["t1-0 t1-1 t2-0 t2-1", "t1-2 t1-3 t2-2", "t1-4 t2-3"]);
    assert_eq!(before, after);
}

#[test]
fn rack_aware_static_member_range_assignment_persistent_after_member_id_changes() {
    let topics = names(["t1", "t2"]);
    let cluster = racks(&[("t1", 5), ("t2", 4)], 3, 2);
    let of = |id, instance, rack| Member { instance_id: Some(instance), ..in_rack(id, rack, &topics) };
    let before = shares(&Range, &[of("a", "1", "a"), of("b", "2", "b"), of("c", "3", "c")], &cluster);
    let after = shares(&Range, &[of("z", "1", "a"), of("y", "2", "b"), of("x", "3", "c")], &cluster);
    assert_eq!(before, after);
}

#[test]
fn rack_aware_assignment_with_uniform_subscription() {
    let topics = names(["t1", "t2", "t3"]);
    let sizes = [("t1", 6), ("t2", 7), ("t3", 2)];
    let members = ["a", "b", "c"].map(|rack| in_rack(rack, rack, &topics));
    let plain = ["t1-0 t1-1 t2-0 t2-1 t2-2 t3-0", "t1-2 t1-3 t2-3 t2-4 t3-1", "t1-4 t1-5 t2-5 t2-6"];
    // Every partition everywhere, or members in racks without brokers: racks say nothing.
    assert_eq!(shares(&Range, &members, &racks(&sizes, 3, 3)), plain);
    let elsewhere = ["a", "b", "c"].map(|id| in_rack(id, "d", &topics));
    assert_eq!(shares(&Range, &elsewhere, &racks(&sizes, 3, 1)), plain);
    // Two of three racks: nearly everything can be near.
    let near = ["t1-0 t1-2 t2-0 t2-2 t2-3 t3-0", "t1-1 t1-3 t2-1 t2-4 t3-1", "t1-4 t1-5 t2-5 t2-6"];
    assert_eq!(shares(&Range, &members, &racks(&sizes, 3, 2)), near);
    // One rack each.
    let near = ["t1-0 t1-3 t2-0 t2-3 t2-6", "t1-1 t1-4 t2-1 t2-4 t3-1", "t1-2 t1-5 t2-2 t2-5"];
    let got = shares(&Range, &members, &racks(&sizes, 3, 1));
    assert_eq!(got[0], format!("{} t3-0", near[0]));
    assert_eq!(got[1..], near[1..]);
}

#[test]
fn rack_aware_assignment_with_non_equal_subscription() {
    let (all, some) = (names(["t1", "t2", "t3"]), names(["t1", "t3"]));
    let sizes = [("t1", 6), ("t2", 7), ("t3", 2)];
    let members = [in_rack("a", "a", &all), in_rack("b", "b", &all), in_rack("c", "c", &some)];
    let near = ["t1-0 t1-3 t2-0 t2-2 t2-3 t2-6 t3-0", "t1-1 t1-4 t2-1 t2-4 t2-5 t3-1", "t1-2 t1-5"];
    assert_eq!(shares(&Range, &members, &racks(&sizes, 3, 1)), near);
}

#[test]
fn rack_aware_assignment_with_uniform_partitions() {
    let topics = names(["t1", "t2", "t3"]);
    let members = ["a", "b", "c"].map(|rack| in_rack(rack, rack, &topics));
    let sizes = [("t1", 5), ("t2", 5), ("t3", 5)];
    // All topics alike: partitions with the same number stay together, near if there is room.
    let near = ["t1-0 t1-3 t2-0 t2-3 t3-0 t3-3", "t1-1 t1-4 t2-1 t2-4 t3-1 t3-4", "t1-2 t2-2 t3-2"];
    assert_eq!(shares(&Range, &members, &racks(&sizes, 3, 1)), near);
    let plain = ["t1-0 t1-1 t2-0 t2-1 t3-0 t3-1", "t1-2 t1-3 t2-2 t2-3 t3-2 t3-3", "t1-4 t2-4 t3-4"];
    assert_eq!(shares(&Range, &members, &racks(&sizes, 3, 3)), plain);
}

#[test]
fn rack_aware_assignment_with_uniform_partitions_non_equal_subscription() {
    let (all, some) = (names(["t1", "t2", "t3"]), names(["t1", "t3"]));
    let members = [in_rack("a", "a", &all), in_rack("b", "b", &all), in_rack("c", "c", &some)];
    let sizes = [("t1", 5), ("t2", 5), ("t3", 5)];
    let near = ["t1-0 t1-3 t2-0 t2-2 t2-3 t3-0 t3-3", "t1-1 t1-4 t2-1 t2-4 t3-1 t3-4", "t1-2 t3-2"];
    assert_eq!(shares(&Range, &members, &racks(&sizes, 3, 1)), near);
}

#[test]
fn rack_aware_assignment_with_co_partitioning() {
    let topics = names(["t1", "t2"]);
    let members = ["a", "b", "c"].map(|rack| in_rack(rack, rack, &topics));
    let sizes = [("t1", 6), ("t2", 6)];
    let near = ["t1-0 t1-3 t2-0 t2-3", "t1-1 t1-4 t2-1 t2-4", "t1-2 t1-5 t2-2 t2-5"];
    assert_eq!(shares(&Range, &members, &racks(&sizes, 3, 1)), near);
    // One of the topics is everywhere: it follows the other.
    let mut cluster = racks(&sizes, 3, 1);
    for partition in 0..6 {
        cluster = cluster.with_racks(&("t2", partition).into(), ["a", "b", "c"]);
    }
    assert_eq!(shares(&Range, &members, &cluster), near);
}

#[test]
fn co_partitioned_assignment_with_same_subscription() {
    let topics = names(["t1", "t2", "t3", "t4", "t5", "t6"]);
    let sizes = [("t1", 6), ("t2", 6), ("t3", 2), ("t4", 2), ("t5", 4), ("t6", 4)];
    let members = ["a", "b", "c"].map(|rack| in_rack(rack, rack, &topics));
    let plain = [
        "t1-0 t1-1 t2-0 t2-1 t3-0 t4-0 t5-0 t5-1 t6-0 t6-1",
        "t1-2 t1-3 t2-2 t2-3 t3-1 t4-1 t5-2 t6-2",
        "t1-4 t1-5 t2-4 t2-5 t5-3 t6-3",
    ];
    assert_eq!(shares(&Range, &["a", "b", "c"].map(|id| member(id, &topics)), &racks(&sizes, 3, 1)), plain);
    assert_eq!(shares(&Range, &members, &racks(&sizes, 3, 3)), plain);
}
