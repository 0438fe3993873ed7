//! Kafka's `roundrobin`: deals out all partitions of all topics, one to each member in turn. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::member_order::ordered;
use super::{Assignments, Assignor, AssignorError, Member, Topics};

/// Members with equal subscriptions get equally many, give or take one.
#[derive(Debug)]
pub(super) struct RoundRobin;

impl Assignor for RoundRobin {
    fn name(&self) -> &str {
        "roundrobin"
    }

    fn assign(&self, members: &[Member<'_>], topics: &Topics) -> Result<Assignments, AssignorError> {
        let mut assignments = Assignments::new(members);
        let turns: Vec<(usize, BTreeSet<&Arc<str>>)> = ordered(members)
            .into_iter()
            .filter_map(|place| Some((place, members.get(place)?.topics.iter().collect())))
            .collect();
        let mut turn = 0;
        for partition in topics.all_partitions() {
            // From the one whose turn it is on, the first that is subscribed.
            let around = (0..turns.len()).map(|step| (turn + step) % turns.len());
            let subscribed = |at: &usize| turns.get(*at).is_some_and(|(_, t)| t.contains(partition.topic_name()));
            let Some(at) = around.into_iter().find(subscribed) else { continue };
            if let Some((member, _)) = turns.get(at) {
                assignments.give(*member, partition);
            }
            turn = at + 1;
        }
        Ok(assignments)
    }
}

#[cfg(test)]
mod tests {
    use super::super::strategies::fixture::*;
    use super::*;

    fn assign(members: &[Member<'_>], topics: &[(&str, i32)]) -> Vec<String> {
        shares(&RoundRobin, members, &Topics::new(topics.iter().copied()))
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
        let topics = names(["t1", "t2"]);
        assert_eq!(assign(&[member("a", &topics)], &[("t1", 1), ("t2", 2)]), ["t1-0 t2-0 t2-1"]);
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
    fn two_dynamic_consumers_two_topics_six_partitions() {
        let topics = names(["t1", "t2"]);
        let members = [member("a", &topics), member("b", &topics)];
        assert_eq!(assign(&members, &[("t1", 3), ("t2", 3)]), ["t1-0 t1-2 t2-1", "t1-1 t2-0 t2-2"]);
    }

    #[test]
    fn two_static_consumers_two_topics_six_partitions() {
        let topics = names(["t1", "t2"]);
        let of = |id, instance| Member { instance_id: Some(instance), ..member(id, &topics) };
        let members = [of("x", "i2"), of("y", "i1")];
        assert_eq!(assign(&members, &[("t1", 3), ("t2", 3)]), ["t1-1 t2-0 t2-2", "t1-0 t1-2 t2-1"]);
    }

    #[test]
    fn one_static_consumer_and_one_dynamic_consumer_two_topics_six_partitions() {
        let topics = names(["t1", "t2"]);
        let members = [member("a", &topics), Member { instance_id: Some("z"), ..member("b", &topics) }];
        assert_eq!(assign(&members, &[("t1", 3), ("t2", 3)]), ["t1-1 t2-0 t2-2", "t1-0 t1-2 t2-1"]);
    }

    #[test]
    fn static_member_round_robin_assignment_persistent() {
        let topics = names(["t1", "t2"]);
        let of = |id, instance| Member { instance_id: Some(instance), ..member(id, &topics) };
        let before = assign(&[of("a", "1"), of("b", "2"), of("c", "3")], &[("t1", 5), ("t2", 4)]);
        // The second is gone; then it is back, listed first.
        assert_ne!(assign(&[of("a", "1"), of("c", "3")], &[("t1", 5), ("t2", 4)]), [&*before[0], &*before[2]]);
        let after = assign(&[of("b", "2"), of("a", "1"), of("c", "3")], &[("t1", 5), ("t2", 4)]);
        assert_eq!([&after[1], &after[0], &after[2]], [&before[0], &before[1], &before[2]]);
    }

    #[test]
    fn static_member_round_robin_assignment_persistent_after_member_id_changes() {
        let topics = names(["t1", "t2"]);
        let of = |id, instance| Member { instance_id: Some(instance), ..member(id, &topics) };
        let before = assign(&[of("a", "1"), of("b", "2"), of("c", "3")], &[("t1", 5), ("t2", 4)]);
        let after = assign(&[of("z", "1"), of("y", "2"), of("x", "3")], &[("t1", 5), ("t2", 4)]);
        assert_eq!(before, after);
    }
}
