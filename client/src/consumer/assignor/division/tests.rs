//! Divisions that hold, and everything that an assignor or a member can get wrong. Pure.

use bytes::Bytes;
use proptest::arbitrary::any;
use proptest::{prop_assert, prop_assert_eq, proptest};

use super::super::strategies::choose;
use super::*;
use crate::consumer::assignor::Assignor;

/// An assignor that does what a test says.
struct Scripted<F>(F);

impl<F> Assignor for Scripted<F>
where
    F: Fn(&[Member<'_>]) -> Result<Assignments, AssignorError> + Send + Sync + 'static,
{
    fn name(&self) -> &str {
        "scripted"
    }

    fn assign(&self, members: &[Member<'_>], _: &Topics) -> Result<Assignments, AssignorError> {
        (self.0)(members)
    }
}

fn joined(id: &str, topics: &[&str]) -> JoinGroupResponseMember {
    let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
    let metadata = Subscription { topics, ..Subscription::default() }.encode().unwrap();
    JoinGroupResponseMember { member_id: id.into(), metadata, ..Default::default() }
}

fn strategy(name: &str) -> Strategy {
    choose(&[name], &[]).unwrap().remove(0)
}

/// What each member is sent.
fn sent(division: &Division, topics: &Topics) -> BTreeMap<String, Vec<TopicPartition>> {
    let read = |sent: SyncGroupRequestAssignment| {
        let assignment = Assignment::decode(sent.assignment).unwrap();
        (sent.member_id, one_by_one(&assignment.partitions).collect())
    };
    division.run(topics).unwrap().into_iter().map(read).collect()
}

fn failure(
    script: impl Fn(&[Member<'_>]) -> Result<Assignments, AssignorError> + Send + Sync + 'static,
) -> (String, Option<String>) {
    let strategy = choose(&["scripted"], &[Arc::new(Scripted(script)) as Arc<dyn Assignor>]).unwrap().remove(0);
    let division = Division::new(strategy, vec![joined("a", &["t"]), joined("b", &["t", "u"])]);
    let error = division.run(&Topics::new([("t", 2), ("u", 1)])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UserCode);
    assert!(error.to_string().starts_with("assignor \"scripted\" "), "{error}");
    (error.to_string(), error.source().map(ToString::to_string))
}

fn given(gifts: &[(usize, &str, i32)]) -> impl Fn(&[Member<'_>]) -> Result<Assignments, AssignorError> + use<> {
    let gifts: Vec<_> = gifts.iter().map(|(member, topic, p)| (*member, TopicPartition::new(*topic, *p))).collect();
    move |members| {
        let mut assignments = Assignments::new(members);
        gifts.iter().for_each(|(member, partition)| assignments.give(*member, partition.clone()));
        Ok(assignments)
    }
}

#[test]
fn an_assignor_that_fails_or_panics_is_named() {
    let (text, cause) = failure(|_| Err("the moon is full".into()));
    assert_eq!(
        (text.as_str(), cause.as_deref()),
        ("assignor \"scripted\" could not divide the partitions", Some("the moon is full"))
    );

    let (text, _) = failure(|members| panic!("{} members", members.len()));
    assert!(text.ends_with("panicked while dividing the partitions: 2 members"), "{text}");
}

#[test]
fn what_is_no_division_is_refused_with_the_offence() {
    let all = [(0, "t", 0), (1, "t", 1), (1, "u", 0)];
    for (gifts, offence) in [
        (&all[..2], "gave u-0 to nobody"),
        (&[all[0], all[1], all[2], (0, "t", 1)], "gave t-1 to member \"a\" and again to member \"b\""),
        (&[all[0], all[1], (0, "u", 0)], "gave u-0 to member \"a\", which is not subscribed to the topic"),
        (&[all[0], all[1], all[2], (0, "t", 2)], "gave t-2 to member \"a\", and there is no such partition"),
        (&[all[0], all[1], all[2], (0, "t", -1)], "gave t--1 to member \"a\", and there is no such partition"),
        (&[all[0], all[1], all[2], (1, "x", 0)], "gave x-0 to member \"b\", and there is no such partition"),
        (&[all[0], all[1], (7, "u", 0)], "gave u-0 to member number 7, and there are 2"),
    ] {
        assert_eq!(failure(given(gifts)).0, format!("assignor \"scripted\" {offence}"));
    }
    assert!(failure(|_| Ok(Assignments::new(&[]))).0.ends_with("answered for 0 members, and there are 2"));
}

#[test]
fn a_cooperative_assignor_gives_nothing_that_another_member_owns() {
    struct Cooperative(bool);
    impl Assignor for Cooperative {
        fn name(&self) -> &str {
            "cooperative"
        }
        fn protocol(&self) -> RebalanceProtocol {
            RebalanceProtocol::Cooperative
        }
        fn assign(&self, members: &[Member<'_>], _: &Topics) -> Result<Assignments, AssignorError> {
            let mut assignments = given(&[(0, "t", 0), (1, "t", 1)])(members)?;
            if self.0 {
                assignments.withhold_moving(members);
            }
            Ok(assignments)
        }
    }
    let owning = |id: &str, generation_id, owned: &[i32]| {
        let owned_partitions = vec![("t".to_owned(), owned.to_vec())];
        let topics = vec!["t".to_owned()];
        let subscription = Subscription { topics, owned_partitions, generation_id, ..Subscription::default() };
        JoinGroupResponseMember { member_id: id.into(), metadata: subscription.encode().unwrap(), ..Default::default() }
    };
    let run = |withhold, members: [JoinGroupResponseMember; 2]| {
        let strategy =
            choose(&["cooperative"], &[Arc::new(Cooperative(withhold)) as Arc<dyn Assignor>]).unwrap().remove(0);
        let division = Division::new(strategy, members.to_vec());
        let topics = Topics::new([("t", 2)]);
        (division.run(&topics).map_err(|error| error.to_string()).err(), division)
    };
    // What a claims, what b claims; the offence, and what each gets of an assignor that withholds.
    let cases: [(_, _, Option<&str>, [&[i32]; 2]); 6] = [
        ((5, &[0][..]), (5, &[1][..]), None, [&[0], &[1]]),
        ((5, &[]), (5, &[]), None, [&[0], &[1]]),
        ((5, &[0, 1]), (-1, &[]), Some("gave t-1 to member \"b\" while member \"a\" owns it"), [&[0], &[]]),
        ((4, &[0, 1]), (5, &[1]), None, [&[0], &[1]]),
        ((5, &[0, 1]), (4, &[1]), Some("gave t-1 to member \"b\" while member \"a\" owns it"), [&[0], &[]]),
        // Two owners in one generation: both must give it up.
        ((5, &[0, 1]), (5, &[1]), None, [&[0], &[]]),
    ];
    for (a, b, offence, shares) in cases {
        let members = [owning("a", a.0, a.1), owning("b", b.0, b.1)];
        let (failed, _) = run(false, members.clone());
        assert_eq!(failed.is_some(), offence.is_some(), "{failed:?}");
        assert!(offence.is_none_or(|offence| failed.unwrap().contains(offence)));
        let (failed, division) = run(true, members);
        assert_eq!(failed, None);
        let sent = sent(&division, &Topics::new([("t", 2)]));
        let numbers = |id: &str| sent[id].iter().map(TopicPartition::partition).collect::<Vec<_>>();
        assert_eq!([numbers("a"), numbers("b")], shares.map(<[i32]>::to_vec));
    }
}

#[test]
fn a_member_with_a_corrupt_subscription_gets_nothing_and_disturbs_nobody() {
    let mut members = vec![joined("a", &["t"]), joined("b", &["t"]), joined("a", &["t"])];
    members[1].metadata = Bytes::from_static(&[0, 3, 0, 0, 0, 9, 1]);
    let division = Division::new(strategy("range"), members);
    let sent = sent(&division, &Topics::new([("t", 2)]));

    assert_eq!(sent["a"], [("t", 0).into(), ("t", 1).into()]);
    assert_eq!(sent["b"], []);
    assert_eq!(sent.len(), 2, "the second \"a\" is ignored");
}

#[test]
fn members_are_shown_what_they_claim_in_order() {
    let subscription = Subscription {
        topics: vec!["u".into(), "t".into(), "t".into()],
        owned_partitions: vec![("t".into(), vec![1, -1, 0, 1])],
        generation_id: 7,
        rack_id: Some("r".into()),
        user_data: Some(Bytes::from_static(b"x")),
        ..Subscription::default()
    };
    let mut member = joined("a", &[]);
    member.metadata = subscription.encode().unwrap();
    let division = Division::new(strategy("range"), vec![member]);
    let member = division.members[0].as_member();

    assert_eq!(member.topics, ["t".into(), "u".into()] as [Arc<str>; 2]);
    assert_eq!(member.owned, [("t", 0).into(), ("t", 1).into()] as [TopicPartition; 2]);
    assert_eq!((member.generation, member.rack, member.user_data), (Some(7), Some("r"), &b"x"[..]));
    assert!(division.uses_racks() && division.topics().len() == 2);
}

#[test]
fn what_the_assignor_sends_along_arrives() {
    let script = |members: &[Member<'_>]| {
        let mut assignments = given(&[(0, "t", 0)])(members)?;
        assignments.user_data(0, Bytes::from_static(b"hello"));
        Ok(assignments)
    };
    let strategy = choose(&["scripted"], &[Arc::new(Scripted(script)) as Arc<dyn Assignor>]).unwrap().remove(0);
    let sent = Division::new(strategy, vec![joined("a", &["t"])]).run(&Topics::new([("t", 1)])).unwrap();
    let assignment = Assignment::decode(sent[0].assignment.clone()).unwrap();

    assert_eq!(assignment.user_data.as_deref(), Some(&b"hello"[..]));
    assert_eq!(assignment.partitions, [("t".to_owned(), vec![0])]);
}

/// Of these the last does not exist.
const NAMES: [&str; 5] = ["t0", "t1", "t2", "t3", "missing"];

proptest! {
    /// Items 1 and 3 of the invariants: everything goes to exactly one subscriber (`run` checks), and equal subscribers get
    /// equally many.
    #[test]
    fn built_in_assignors_divide_everything_evenly(
        // Each member: the topics it wants, as bits; its rack; whether it is static.
        members in proptest::collection::vec((0u8..32, proptest::option::of(0u8..3), any::<bool>()), 1..=6),
        // Each topic: its partitions, and the replicas of each.
        topics in proptest::array::uniform4((0i32..9, 1usize..=3)),
    ) {
        let joined: Vec<_> = members.iter().enumerate().map(|(index, (wanted, rack, fixed))| {
            let topics = (0..5).filter(|bit| wanted & (1 << bit) != 0).map(|bit| NAMES[bit].to_owned()).collect();
            let rack_id = rack.map(|rack| format!("r{rack}"));
            let metadata = Subscription { topics, rack_id, ..Subscription::default() }.encode().unwrap();
            let group_instance_id = fixed.then(|| format!("i{}", 9 - index));
            JoinGroupResponseMember { member_id: format!("m{index}"), group_instance_id, metadata }
        }).collect();
        let mut existing = Topics::new(topics.iter().enumerate().map(|(index, (count, _))| (NAMES[index], *count)));
        for (index, (count, replicas)) in topics.iter().enumerate() {
            for partition in 0..*count {
                let racks = (0..*replicas).map(|replica| format!("r{}", (partition as usize + replica) % 3));
                existing = existing.with_racks(&(NAMES[index], partition).into(), racks);
            }
        }
        let equal = members.windows(2).all(|pair| pair[0].0 == pair[1].0);
        for name in ["range", "roundrobin", "sticky", "cooperative-sticky"] {
            let sent = sent(&Division::new(strategy(name), joined.clone()), &existing);
            let of_topic = |topic: &str, partitions: &[TopicPartition]| partitions.iter().filter(|p| p.topic() == topic).count();
            if equal && name != "range" {
                let sizes: Vec<_> = sent.values().map(Vec::len).collect();
                prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{sizes:?}");
            }
            if name == "range" {
                for (bit, topic) in NAMES.iter().enumerate().take(4) {
                    let sizes: Vec<_> = members.iter().enumerate()
                        .filter(|(_, (wanted, ..))| wanted & (1 << bit) != 0)
                        .map(|(index, _)| of_topic(topic, &sent[&format!("m{index}")])).collect();
                    let spread = sizes.iter().max().unwrap_or(&0) - sizes.iter().min().unwrap_or(&0);
                    prop_assert!(spread <= 1, "{topic}: {sizes:?}");
                }
            }
        }
    }

    /// Item 7: whatever members say, nothing panics and the sound ones get everything.
    #[test]
    fn hostile_members_disturb_nobody(
        garbage in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..4),
        owned in proptest::collection::vec(("[tu]", proptest::collection::vec(any::<i32>(), 0..4)), 0..4),
        version in 0i16..=3,
    ) {
        let mut members = vec![joined("sound", &["t"])];
        for (index, bytes) in garbage.into_iter().enumerate() {
            let metadata = Bytes::from(bytes);
            members.push(JoinGroupResponseMember { member_id: format!("g{index}"), metadata, ..Default::default() });
        }
        let claims = Subscription { version, owned_partitions: owned, topics: vec!["t".into(); 3], ..Subscription::default() };
        members[0].metadata = claims.encode().unwrap();
        for name in ["range", "roundrobin", "sticky", "cooperative-sticky"] {
            let sent = sent(&Division::new(strategy(name), members.clone()), &Topics::new([("t", 3)]));
            prop_assert_eq!(sent.len(), members.len());
            prop_assert_eq!(sent.values().map(Vec::len).sum::<usize>(), 3);
        }
    }
}
