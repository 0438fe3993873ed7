//! The cases of Kafka's StickyAssignorTest: what members of `sticky` remember. Pure.

use super::*;

/// Both had t-0 in the same generation, so neither keeps it for that.
fn claimed_twice(partitions: i32, loads: [usize; 3]) {
    let mut run = Run::new(&Sticky, Topics::new([("t", partitions)]));
    run.own("a", "t", 1, "t-0 t-1").own("b", "t", 1, "t-0 t-2").own("c", "t", 1, "");
    run.settle();
    let shares = run.owned();
    assert_eq!(run.loads(), loads);
    assert!(shares[0].contains(&("t", 1).into()) && shares[1].contains(&("t", 2).into()), "{shares:?}");
}

#[test]
fn all_consumers_have_owned_partition_invalidated_when_claimed_by_multiple_consumers_in_same_generation_with_equal_partitions_per_consumer()
 {
    claimed_twice(3, [1, 1, 1]);
}

#[test]
fn all_consumers_have_owned_partition_invalidated_when_claimed_by_multiple_consumers_in_same_generation_with_unequal_partitions_per_consumer()
 {
    claimed_twice(4, [2, 1, 1]);
}

#[test]
fn assignment_with_multiple_generations1() {
    let mut run = Run::new(&Sticky, Topics::new([("t", 6)]));
    run.join("a", "t").join("b", "t").join("c", "t");
    assert_eq!(run.loads(), [2, 2, 2]);
    // c misses a rebalance, in which the others get what it had; when it comes back, a is gone.
    let c = run.take("c");
    run.settle();
    run.take("a");
    let before = run.holders();
    run.members.push(c);
    run.settle();
    assert_eq!((run.lost(&before), run.loads()), (0, vec![3, 3]));
}

#[test]
fn assignment_with_multiple_generations2() {
    let mut run = Run::new(&Sticky, Topics::new([("t", 6)]));
    run.join("a", "t").join("b", "t").join("c", "t");
    // a and c miss a rebalance, in which b gets everything.
    let (a, c) = (run.take("a"), run.take("c"));
    run.settle();
    let before = run.holders();
    run.members.extend([a, c]);
    run.settle();
    assert_eq!((run.lost(&before), run.loads()), (4, vec![2, 2, 2]));
}

#[test]
fn assignment_with_conflicting_previous_generations() {
    let mut run = Run::new(&Sticky, Topics::new([("t", 6)]));
    run.own("a", "t", 1, "t-0 t-1 t-4").own("b", "t", 1, "t-0 t-2 t-3").own("c", "t", 2, "t-3 t-4 t-5");
    run.settle();
    let shares = run.owned();
    assert_eq!(run.loads(), [2, 2, 2]);
    assert!(shares[0].contains(&("t", 1).into()) && shares[1].contains(&("t", 2).into()), "{shares:?}");
    assert_eq!(shares[2].iter().filter(|p| p.partition() > 2).count(), 2, "{shares:?}");
}

/// As members before Kafka 2.3 say it: without a generation.
fn old_data(owned: &str) -> Bytes {
    let partitions = partitions(owned);
    let numbers = partitions.iter().map(TopicPartition::partition).collect();
    StickyUserData { partitions: vec![("t".to_owned(), numbers)], generation_id: None }.encode().unwrap()
}

/// What members get that remember this.
fn remembering(data: [Bytes; 3]) -> Vec<String> {
    let topics: [Arc<str>; 1] = ["t".into()];
    let ids = ["a", "b", "c"];
    let member = |at: usize| Member {
        id: ids[at],
        instance_id: None,
        rack: None,
        topics: &topics,
        owned: &[],
        generation: None,
        user_data: &data[at],
    };
    let members = [member(0), member(1), member(2)];
    let assignments = Sticky.assign(&members, &Topics::new([("t", 3)])).unwrap();
    (0..3).map(|member| joined(assignments.partitions(member))).collect()
}

#[test]
fn schema_backward_compatibility() {
    let new = StickyUserData { partitions: vec![("t".to_owned(), vec![0, 2])], generation_id: Some(1) };
    let words = remembering([new.encode().unwrap(), old_data("t-1"), old_data("t-2")]);
    assert_eq!(words, ["t-0", "t-1", "t-2"]);
    // Who tells no generation has the older claim.
    let new = StickyUserData { partitions: vec![("t".to_owned(), vec![1])], generation_id: Some(1) };
    let words = remembering([old_data("t-1"), new.encode().unwrap(), old_data("t-0")]);
    assert_eq!(words, ["t-2", "t-1", "t-0"]);
}

#[test]
fn member_data_with_inconsistent_data() {
    // Less than it announces, more than there is, partitions that there are not.
    let broken = Bytes::from_static(&[0, 0, 0, 9, 0, 1, b't']);
    let odd = StickyUserData { partitions: vec![("t".to_owned(), vec![-1, 9, 2, 2])], generation_id: Some(i32::MAX) };
    let words = remembering([broken, odd.encode().unwrap(), Bytes::from_static(&[255])]);
    assert_eq!(words, ["t-0", "t-2", "t-1"]);
}

#[test]
fn member_data_will_honor_user_data() {
    let topics: [Arc<str>; 1] = ["t".into()];
    let data = StickyUserData { partitions: vec![("t".to_owned(), vec![0])], generation_id: Some(2) }.encode().unwrap();
    let claimed = partitions("t-1");
    let member = |id, user_data| Member {
        id,
        instance_id: None,
        rack: None,
        topics: &topics,
        owned: &claimed,
        generation: Some(1),
        user_data,
    };
    let members = [member("a", &[]), member("b", &data)];
    let assignments = Sticky.assign(&members, &Topics::new([("t", 2)])).unwrap();
    assert_eq!(assignments.partitions(1), partitions("t-0"), "what it owns by its subscription says nothing");
}

#[test]
fn assignor_with_old_version_subscriptions() {
    // The user data is the same in all versions.
    let members = (0..3).map(|version: i16| JoinGroupResponseMember {
        member_id: format!("m{version}"),
        metadata: Subscription {
            version,
            topics: vec!["t".to_owned()],
            user_data: Some(old_data(&format!("t-{}", 2 - version))),
            ..Subscription::default()
        }
        .encode()
        .unwrap(),
        ..Default::default()
    });
    let strategy = choose(&["sticky"], &[]).unwrap().remove(0);
    let sent = Division::new(strategy, members.collect()).run(&Topics::new([("t", 3)])).unwrap();
    for (version, sent) in (0..).zip(sent) {
        assert_eq!(Assignment::decode(sent.assignment).unwrap().partitions, [("t".to_owned(), vec![2 - version])]);
    }
}
