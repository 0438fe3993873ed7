//! The cases of Kafka's CooperativeStickyAssignorTest: generations, and partitions that move. Pure.

use super::*;

#[test]
fn encode_and_decode_generation() {
    for generation in [None, Some(0), Some(10), Some(i32::MAX)] {
        let data = CooperativeSticky.user_data(&Owned { partitions: &[], generation, user_data: &[] });
        let read = CooperativeStickyUserData::decode(data).unwrap();
        assert_eq!(read.generation_id, generation.unwrap_or(-1));
    }
}

/// What members get that both claim t-0, by what they tell of their generation: in the subscription, in the user data.
fn claiming(told: [(Option<i32>, &[u8]); 2]) -> [String; 2] {
    let topics: [Arc<str>; 1] = ["t".into()];
    let claimed = partitions("t-0");
    let member = |id, (generation, user_data)| Member {
        id,
        instance_id: None,
        rack: None,
        topics: &topics,
        owned: &claimed,
        generation,
        user_data,
    };
    let members = [member("a", told[0]), member("b", told[1])];
    let assignments = CooperativeSticky.assign(&members, &Topics::new([("t", 1)])).unwrap();
    [0, 1].map(|member| joined(assignments.partitions(member)))
}

#[test]
fn decode_generation() {
    let (nobody, b) = (["", ""], ["", "t-0"]);
    for (told, expected) in [
        // What the subscription says is what counts.
        ([(Some(5), &[0, 0, 0, 9][..]), (Some(6), &[0, 0, 0, 1])], b),
        // Old members tell it in their user data only.
        ([(None, &[0, 0, 0, 5]), (None, &[0, 0, 0, 6])], b),
        ([(Some(5), &[]), (None, &[0, 0, 0, 6])], b),
        // Nothing, or nothing that makes sense: no generation.
        ([(None, &[]), (Some(0), &[])], b),
        ([(None, &[0, 9]), (None, &[0, 0, 0, 0])], b),
        ([(None, &[255; 4]), (None, &[128, 0, 0, 0])], nobody),
        ([(Some(5), &[]), (Some(5), &[])], nobody),
    ] {
        assert_eq!(claiming(told), expected, "{told:?}");
    }
}

#[test]
fn member_data_with_empty_partitions_and_equal_generation() {
    let mut run = Run::new(&CooperativeSticky, Topics::new([("t", 2)]));
    run.own("a", "t", 5, "").own("b", "t", 5, "t-0 t-1");
    run.divide();
    assert_eq!(run.words(), ["", "t-0"]);
    run.settle();
    assert_eq!(run.words(), ["t-1", "t-0"]);
}

#[test]
fn member_data_with_empty_partitions_and_higher_generation() {
    let mut run = Run::new(&CooperativeSticky, Topics::new([("t", 2)]));
    // That a is ahead and has nothing is no reason to take anything from b but what is a's share.
    run.own("a", "t", 6, "").own("b", "t", 5, "t-0 t-1");
    run.divide();
    assert_eq!(run.words(), ["", "t-0"]);
}

#[test]
fn assignor_with_old_version_subscriptions() {
    let members = (0..4).map(|version: i16| {
        let owned_partitions = vec![("t".to_owned(), vec![3 - i32::from(version)])];
        let topics = vec!["t".to_owned()];
        let subscription =
            Subscription { version, topics, owned_partitions, generation_id: 4, ..Subscription::default() };
        JoinGroupResponseMember {
            member_id: format!("m{version}"),
            metadata: subscription.encode().unwrap(),
            ..Default::default()
        }
    });
    let strategy = choose(&["cooperative-sticky"], &[]).unwrap().remove(0);
    let sent = Division::new(strategy, members.collect()).run(&Topics::new([("t", 4)])).unwrap();
    for (version, sent) in (0..).zip(sent) {
        // In the first version there are no owned partitions: it gets what is left, which it had.
        assert_eq!(Assignment::decode(sent.assignment).unwrap().partitions, [("t".to_owned(), vec![3 - version])]);
    }
}

#[test]
fn uniform_subscription_transfer_ownership_list_is_right() {
    let mut run = Run::new(&CooperativeSticky, Topics::new([("t", 6), ("u", 3)]));
    run.own("a", "t u", 5, "t-0 t-1 t-2 u-0 u-1").own("b", "t u", 5, "t-3 t-4").own("c", "t u", 4, "t-0 t-4");
    run.divide();
    // What nobody has goes to c at once; what it needs beyond that, it gets when a has given it up.
    let shares = run.owned();
    let kept = |member: usize, words: &str| partitions(words).iter().filter(|p| shares[member].contains(p)).count();
    assert_eq!([kept(0, "t-0 t-1 t-2 u-0 u-1"), kept(1, "t-3 t-4")], [3, 2]);
    assert_eq!(shares.iter().map(Vec::len).sum::<usize>(), 7, "{shares:?}");
    run.settle();
    assert_eq!(run.loads(), [3, 3, 3]);
}

#[test]
fn what_moves_is_given_when_its_owner_has_given_it_up() {
    let mut run = Run::new(&CooperativeSticky, Topics::new([("t", 4)]));
    run.join("a", "t");
    run.own("b", "t", -1, "");
    run.divide();
    assert_eq!(run.words(), ["t-0 t-1", ""]);
    run.divide();
    assert_eq!(run.words(), ["t-0 t-1", "t-2 t-3"]);
}
