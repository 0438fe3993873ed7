//! The cases of Kafka's AbstractStickyAssignorTest, for both sticky strategies. Pure.

use super::*;

#[test]
fn member_data() {
    let partitions = partitions("t-0 t-2 u-1");
    let owned = Owned { partitions: &partitions, generation: Some(7), user_data: &[] };
    let eager = StickyUserData::decode(Sticky.user_data(&owned)).unwrap();
    assert_eq!(one_by_one(&eager.partitions).collect::<Vec<_>>(), partitions);
    assert_eq!(eager.generation_id, Some(7));

    let cooperative = CooperativeStickyUserData::decode(CooperativeSticky.user_data(&owned)).unwrap();
    assert_eq!(cooperative.generation_id, 7);

    let nothing = Owned { partitions: &[], generation: None, user_data: &[] };
    assert_eq!(Sticky.user_data(&nothing), Bytes::new());
    assert_eq!(CooperativeSticky.user_data(&nothing)[..], [255; 4]);
}

#[test]
fn add_remove_consumer_one_topic() {
    for mut run in both([("t", 3)]) {
        run.join("a", "t");
        assert_eq!(run.words(), ["t-0 t-1 t-2"]);
        run.join("b", "t");
        assert_eq!(run.words(), ["t-0 t-1", "t-2"]);
        run.leave("a");
        assert_eq!(run.words(), ["t-0 t-1 t-2"]);
    }
}

#[test]
fn poor_round_robin_assignment_scenario() {
    for mut run in both([("t1", 2), ("t2", 1), ("t3", 2), ("t4", 1), ("t5", 2)]) {
        for (id, topics) in [("a", "t1 t2 t3 t4 t5"), ("b", "t1 t3 t5"), ("c", "t1 t3 t5"), ("d", "t1 t2 t3 t4 t5")] {
            run.join(id, topics);
        }
        assert_eq!(run.loads(), [2, 2, 2, 2]);
    }
}

#[test]
fn add_remove_topic_two_consumers() {
    for mut run in both([("t", 3)]) {
        run.join("a", "t u").join("b", "t u");
        let before = run.holders();
        run.resize("u", 3);
        assert_eq!((run.loads(), run.lost(&before)), (vec![3, 3], 0));
        let before = run.holders();
        run.resize("t", 0);
        assert!(run.lost(&before) == 0 && run.loads() != [3, 0] && run.loads() != [0, 3], "{:?}", run.words());
    }
}

#[test]
fn reassignment_after_one_consumer_leaves() {
    let topics: Vec<String> = (1..20).map(|topic| format!("t{topic:02}")).collect();
    for mut run in both(topics.iter().map(String::as_str).zip(1..)) {
        for member in 1..20 {
            run.join(&format!("c{member:02}"), &topics[..member].join(" "));
        }
        let before = run.holders();
        let left = run.leave("c10");
        assert_eq!(run.lost(&before), left, "only what the leaver had has moved");
    }
}

#[test]
fn reassignment_after_one_consumer_added() {
    for mut run in both([("t", 20)]) {
        for member in 1..10 {
            run.join(&format!("c{member}"), "t");
        }
        let before = run.holders();
        run.join("c10", "t");
        assert_eq!(run.lost(&before), 2);
    }
}

#[test]
fn same_subscriptions() {
    let topics: Vec<String> = (0..15).map(|topic| format!("t{topic:02}")).collect();
    for mut run in both(topics.iter().zip(0..).map(|(name, topic)| (name.as_str(), topic % 4 + 1))) {
        for member in 1..10 {
            run.join(&format!("c{member}"), &topics.join(" "));
        }
        let before = run.holders();
        let left = run.leave("c5");
        assert_eq!(run.lost(&before), left);
    }
}

#[test]
fn new_subscription() {
    for mut run in both([("t1", 1), ("t2", 2), ("t3", 3), ("t4", 4), ("t5", 5)]) {
        run.join("a", "t2 t3").join("b", "t3 t4").join("c", "t4 t5");
        let before = run.holders();
        run.subscribe("a", "t1 t2 t3");
        assert!(run.lost(&before) <= 1, "{:?}", run.words());
    }
}

#[test]
fn move_existing_assignments() {
    for mut run in both([("t1", 1), ("t2", 1), ("t3", 1), ("t4", 1), ("t5", 1), ("t6", 1)]) {
        run.own("a", "t1 t2", 1, "t1-0");
        run.own("b", "t1 t2 t3 t4", 1, "t2-0 t3-0");
        run.own("c", "t2 t3 t4 t5 t6", 1, "t4-0 t5-0 t6-0");
        let before = run.holders();
        run.settle();
        assert_eq!(run.lost(&before), 0, "no single move makes it more even");
        run.own("d", "t2 t4 t6", -1, "");
        run.settle();
        assert_eq!((run.lost(&before), run.loads()), (1, vec![1, 2, 2, 1]));
    }
}

#[test]
fn stickiness() {
    for mut run in both([("t", 3)]) {
        for id in ["a", "b", "c", "d"] {
            run.join(id, "t");
        }
        assert_eq!(run.loads(), [1, 1, 1, 0]);
        let before = run.holders();
        run.leave("a");
        assert_eq!((run.lost(&before), run.loads()), (1, vec![1, 1, 1]));
    }
}

#[test]
fn assignment_updated_for_deleted_topic() {
    for mut run in both([("t1", 1), ("t3", 100)]) {
        run.join("a", "t1 t2 t3");
        assert_eq!(run.loads(), [101]);
    }
}

#[test]
fn no_exception_thrown_when_only_subscribed_topic_deleted() {
    for mut run in both([("t", 3)]) {
        run.join("a", "t");
        run.resize("t", 0);
        assert_eq!(run.words(), [""]);
    }
}

#[test]
fn reassignment_with_random_subscriptions_and_changes() {
    for round in 0..20 {
        let mut entropy = Entropy::from_seed(round);
        let topics: Vec<String> = (0..1 + entropy.below(12)).map(|topic| format!("t{topic}")).collect();
        let sizes: Vec<i32> = topics.iter().map(|_| entropy.below(12) as i32).collect();
        let members = 2 + entropy.below(8);
        let mut some = || topics.iter().filter(|_| entropy.below(3) > 0).cloned().collect::<Vec<_>>().join(" ");
        let (first, then): (Vec<_>, Vec<_>) = (0..members).map(|_| (some(), some())).unzip();
        for mut run in both(topics.iter().map(String::as_str).zip(sizes.iter().copied())) {
            for (member, topics) in first.iter().enumerate() {
                run.join(&format!("c{member}"), topics);
            }
            for (member, topics) in then.iter().enumerate() {
                run.subscribe(&format!("c{member}"), topics);
            }
        }
    }
}

#[test]
fn all_consumers_reach_expected_quota_and_are_considered_filled() {
    for mut run in both([("t", 6)]) {
        run.own("a", "t", 1, "t-0 t-1").own("b", "t", 1, "t-2").own("c", "t", 1, "");
        run.settle();
        assert_eq!(run.words(), ["t-0 t-1", "t-2 t-3", "t-4 t-5"]);
    }
}

#[test]
fn owned_partitions_are_invalidated_for_consumer_with_stale_generation() {
    for mut run in both([("t", 3), ("u", 3)]) {
        run.own("a", "t u", 5, "t-0 t-2 u-1").own("b", "t u", 4, "t-0 t-2 u-1");
        run.settle();
        assert_eq!(run.words(), ["t-0 t-2 u-1", "t-1 u-0 u-2"]);
    }
}

#[test]
fn owned_partitions_are_invalidated_for_consumer_with_no_generation() {
    for mut run in both([("t", 3), ("u", 3)]) {
        run.own("a", "t u", 5, "t-0 t-2 u-1").own("b", "t u", -1, "t-0 t-2 u-1");
        run.settle();
        assert_eq!(run.words(), ["t-0 t-2 u-1", "t-1 u-0 u-2"]);
    }
}

#[test]
fn owned_partitions_are_invalidated_for_consumer_with_multiple_generation() {
    for mut run in both([("t", 3), ("u", 3)]) {
        run.own("a", "t u", 5, "t-0 t-1 t-2 u-2").own("b", "t u", 4, "t-1 u-0 u-1 u-2");
        run.settle();
        let shares = run.owned();
        // Of t-1 and u-2, which both claim, a has the newer claim, and may lose only one of its four.
        assert!(partitions("t-0 t-1 t-2 u-2").iter().filter(|p| shares[0].contains(p)).count() == 3, "{shares:?}");
        assert!(partitions("u-0 u-1").iter().all(|partition| shares[1].contains(partition)), "{shares:?}");
    }
}

#[test]
fn partitions_transferring_ownership_include_the_partition_claimed_by_multiple_consumers_in_same_generation() {
    let mut run = Run::new(&CooperativeSticky, Topics::new([("t", 3)]));
    run.own("a", "t", 1, "t-0 t-1").own("b", "t", 1, "t-0 t-2").own("c", "t", 1, "");
    run.divide();
    assert_eq!(run.words(), ["t-1", "t-2", ""], "t-0 waits until both have given it up");
    run.settle();
    assert_eq!(run.words(), ["t-1", "t-2", "t-0"]);
}

#[test]
fn ensure_partitions_assigned_to_highest_generation() {
    for mut run in both([("t", 3), ("u", 3), ("v", 3)]) {
        run.own("a", "t u v", 5, "t-0 u-0 v-0").own("b", "t u v", 4, "t-0 t-1 u-1 v-1");
        run.own("c", "t u v", 3, "u-1 v-0 v-2 t-2 u-2");
        run.settle();
        assert_eq!(run.words(), ["t-0 u-0 v-0", "t-1 u-1 v-1", "t-2 u-2 v-2"]);
    }
}

#[test]
fn no_reassignment_on_current_members() {
    for mut run in both([("t", 3), ("u", 3), ("v", 3), ("w", 3)]) {
        for (id, owned) in [("a", ""), ("b", "t-0 u-0 v-0"), ("c", "t-1 u-1 v-1"), ("d", "t-2 u-2 v-2")] {
            run.own(id, "t u v w", 1, owned);
        }
        run.settle();
        assert_eq!(run.words(), ["w-0 w-1 w-2", "t-0 u-0 v-0", "t-1 u-1 v-1", "t-2 u-2 v-2"]);
    }
}

#[test]
fn consumer_owning_min_quota_expected_max_quota() {
    for mut run in both([("t", 3), ("u", 2)]) {
        run.own("a", "t u", 1, "t-0 u-0").own("b", "t u", 1, "t-1");
        run.settle();
        assert_eq!(run.words(), ["t-0 t-2 u-0", "t-1 u-1"]);
    }
}

#[test]
fn max_quota_consumer_more_than_num_expected_max_capacity_members() {
    for mut run in both([("t", 2), ("u", 2)]) {
        run.own("a", "t u", 1, "t-0 u-0").own("b", "t u", 1, "t-1 u-1").own("c", "t u", 1, "");
        let before = run.holders();
        run.settle();
        assert_eq!((run.lost(&before), run.loads()), (1, vec![2, 1, 1]));
    }
}

#[test]
fn all_consumers_are_under_min_quota() {
    for mut run in both([("t", 2), ("u", 3)]) {
        run.own("a", "t u", 1, "t-0").own("b", "t u", 1, "t-1").own("c", "t u", 1, "");
        run.settle();
        assert_eq!(run.words(), ["t-0 u-0", "t-1 u-1", "u-2"]);
    }
}

#[test]
fn subscription_not_equal_and_assign_same_partition_with3_generation() {
    for mut run in both([("t", 6), ("u", 1)]) {
        run.own("a", "t u", 3, "t-0 t-2").own("b", "t", 4, "t-0 t-1 t-2").own("c", "t", 5, "t-2 t-3");
        run.settle();
        let shares = run.owned();
        assert!(shares[2].contains(&("t", 2).into()) && shares[1].contains(&("t", 1).into()), "{shares:?}");
    }
}

#[test]
fn topic_balance_after_reassignment() {
    for mut run in both([("t", 12), ("u", 12)]) {
        for (joins, each) in [("a", 12), ("b", 6), ("c", 4)] {
            run.join(joins, "t u");
            for share in run.owned() {
                assert_eq!(share.iter().filter(|partition| partition.topic() == "t").count(), each);
            }
        }
        run.leave("a");
        for share in run.owned() {
            assert_eq!(share.iter().filter(|partition| partition.topic() == "t").count(), 6);
        }
    }
}

#[test]
fn add_remove_two_consumers_two_topics() {
    for mut run in both([("t", 3), ("u", 3)]) {
        run.join("a", "t u").join("b", "t u");
        assert_eq!(run.loads(), [3, 3]);
        let before = run.holders();
        run.join("c", "t u").join("d", "t u");
        assert!(run.lost(&before) == 2 && run.loads().iter().all(|load| (1..=2).contains(load)), "{:?}", run.words());
        let before = run.holders();
        let left = run.leave("a") + run.leave("b");
        assert!(run.lost(&before) >= 3 && left >= 3 && run.loads() == [3, 3], "{:?}", run.words());
    }
}

#[test]
fn multiple_consumers_mixed_topic_subscriptions() {
    for mut run in both([("t", 3), ("u", 2)]) {
        run.join("a", "t").join("b", "t u").join("c", "t");
        assert_eq!(run.loads(), [2, 2, 1]);
        let before = run.holders();
        run.settle();
        assert_eq!(run.lost(&before), 0);
    }
}

#[test]
fn large_assignment_with_multiple_consumers_leaving_and_random_subscription() {
    let topics: Vec<String> = (0..40).map(|topic| format!("t{topic:02}")).collect();
    for mut run in both(topics.iter().map(String::as_str).zip((0..10).cycle())) {
        let mut entropy = Entropy::from_seed(1);
        for member in 0..200 {
            let some: Vec<&str> = (0..20).map(|_| topics[entropy.below(40)].as_str()).collect();
            run.own(&format!("c{member:03}"), &some.join(" "), -1, "");
        }
        run.settle();
        for _ in 0..50 {
            run.members.remove(entropy.below(run.members.len()));
        }
        run.settle();
    }
}

#[test]
fn large_assignment_and_group_with_uniform_subscription() {
    large(|_, _| true);
}

#[test]
fn large_assignment_and_group_with_non_equal_subscription() {
    large(|member, topic| member < 99 || topic < 5);
}

#[test]
fn assignment_and_group_with_non_equal_subscription_not_timeout() {
    large(|member, topic| member % 10 == topic % 10);
}

/// A hundred members and ten topics; then one member leaves.
fn large(wants: impl Fn(usize, usize) -> bool) {
    let topics: Vec<String> = (0..10).map(|topic| format!("t{topic}")).collect();
    for mut run in both(topics.iter().map(|topic| (topic.as_str(), 120))) {
        for member in 0..100 {
            let some: Vec<&str> = (0..10).filter(|t| wants(member, *t)).map(|topic| topics[topic].as_str()).collect();
            run.own(&format!("c{member:03}"), &some.join(" "), -1, "");
        }
        run.settle();
        let before = run.holders();
        let left = run.leave("c050");
        assert_eq!(run.lost(&before), left);
    }
}

/// Three racks; partition p of a topic has replicas in `replicas` racks from the p-th on.
fn in_racks(topics: &[(&'static str, i32)], replicas: usize) -> Topics {
    let mut all = Topics::new(topics.iter().copied());
    for (name, count) in topics {
        for partition in 0..*count {
            let racks = (0..replicas).map(|replica| ["x", "y", "z"][(partition as usize + replica) % 3]);
            all = all.with_racks(&(*name, partition).into(), racks);
        }
    }
    all
}

/// How many partitions are far from their members.
fn far(run: &Run) -> usize {
    let far = |member: &Joining| {
        let rack = member.rack.as_ref().unwrap();
        member.owned.iter().filter(|p| run.topics.racks(p).iter().all(|replica| **replica != **rack)).count()
    };
    run.members.iter().map(far).sum()
}

/// Kafka's AbstractPartitionAssignorTest.
#[test]
fn use_rack_aware_assignment() {
    let sizes = [("t", 6), ("u", 7)];
    let divided = |assignor: &'static dyn Assignor, topics: Topics, racks: [Option<&str>; 3]| {
        let mut run = Run::new(assignor, topics);
        for (id, rack) in ["a", "b", "c"].into_iter().zip(racks) {
            run.own(id, "t u", -1, "");
            run.member(id).rack = rack.map(str::to_owned);
        }
        run.divide();
        run.words()
    };
    for assignor in [&Range as &dyn Assignor, &Sticky, &CooperativeSticky] {
        let plain = divided(assignor, Topics::new(sizes), [None; 3]);
        // Members without racks, in others, topics without, or everything everywhere: racks say nothing.
        let everywhere = [Some("x"), Some("y"), Some("z")];
        assert_eq!(divided(assignor, in_racks(&sizes, 1), [None; 3]), plain);
        assert_eq!(divided(assignor, in_racks(&sizes, 1), [Some("o"), Some("p"), None]), plain);
        assert_eq!(divided(assignor, Topics::new(sizes), everywhere), plain);
        assert_eq!(divided(assignor, in_racks(&sizes, 3), everywhere), plain);
        assert_ne!(divided(assignor, in_racks(&sizes, 1), [Some("z"), Some("y"), Some("x")]), plain);
    }
}

#[test]
fn rack_aware_assignment_with_uniform_subscription() {
    for (replicas, expected) in [(1, 1), (2, 0), (3, 0)] {
        for assignor in STICKY {
            let mut run = Run::new(assignor, in_racks(&[("t", 6), ("u", 7), ("v", 2)], replicas));
            for rack in ["x", "y", "z"] {
                run.own(rack, "t u v", -1, "");
                run.member(rack).rack = Some(rack.to_owned());
            }
            run.settle();
            assert_eq!((run.loads(), far(&run)), (vec![5, 5, 5], expected));
            let before = run.holders();
            run.settle();
            assert_eq!(run.lost(&before), 0);
        }
    }
}

#[test]
fn rack_aware_assignment_with_non_equal_subscription() {
    for (replicas, expected) in [(1, 5), (2, 0), (3, 0)] {
        for assignor in STICKY {
            let mut run = Run::new(assignor, in_racks(&[("t", 6), ("u", 7), ("v", 2)], replicas));
            for (rack, topics) in [("x", "t u v"), ("y", "t u v"), ("z", "t v")] {
                run.own(rack, topics, -1, "");
                run.member(rack).rack = Some(rack.to_owned());
            }
            run.settle();
            assert_eq!((run.loads(), far(&run)), (vec![5, 5, 5], expected));
        }
    }
}
