//! From outside into a generation. Pure.

use super::*;

#[test]
fn coordinator_discovery_backoff() {
    let mut rig = Rig::new(settings());
    for waits in [80..=120, 160..=240, 320..=480] {
        assert!(matches!(rig.next(), Action::FindCoordinator { wrong: None }));
        rig.member.on_coordinator(Err(no_answer()), rig.now);
        let waited = rig.wait();
        assert!(waits.contains(&waited.as_millis()), "{waited:?}");
    }
}

#[test]
fn join_group_request_timeout_and_max_timeout() {
    for (rebalance, expected) in [(REBALANCE, REBALANCE + 5000 * MS), (1000 * MS, 30_000 * MS)] {
        let mut rig = Rig::new(MembershipSettings { rebalance_timeout: rebalance, ..settings() });
        rig.find(3);
        let Action::Join { broker: 3, timeout, request, .. } = rig.next() else { panic!() };
        assert_eq!(timeout, expected);
        assert_eq!((request.session_timeout_ms, request.rebalance_timeout_ms as u128), (45_000, rebalance.as_millis()));
        assert_eq!((request.group_id.as_str(), request.protocol_type.as_str()), ("billing", "consumer"));
    }
}

#[test]
fn the_subscription_says_what_java_says() {
    struct Telling;
    impl Assignor for Telling {
        fn name(&self) -> &str {
            "telling"
        }
        fn assign(&self, _: &[Member<'_>], _: &Topics) -> Result<Assignments, AssignorError> {
            Err("never".into())
        }
        fn user_data(&self, owned: &Owned<'_>) -> Bytes {
            format!("{:?} {:?}", owned.generation, owned.partitions.len()).into()
        }
    }
    let strategies = choose(&["range", "telling"], &[Arc::new(Telling) as Arc<dyn Assignor>]).unwrap();
    let mut rig = Rig::follower(MembershipSettings { strategies, rack: Some("r1".into()), ..settings() });
    rig.member.subscribe(topics(["u", "t"]), rig.now);
    rig.revoke();
    rig.member.on_revoked(rig.now);
    let request = rig.join_request();
    let read = |index: usize| Subscription::decode(request.protocols[index].metadata.clone()).unwrap();

    assert_eq!(request.protocols.iter().map(|p| &*p.name).collect::<Vec<_>>(), ["range", "telling"]);
    let expected = Subscription {
        topics: vec!["t".into(), "u".into()],
        generation_id: 5,
        rack_id: Some("r1".into()),
        ..Subscription::default()
    };
    assert_eq!(read(0), expected);
    assert_eq!(read(1).user_data, Some(Bytes::from_static(b"Some(5) 2")), "the last assignment, though given up");
}

#[test]
fn join_group_request_with_member_id_required() {
    let mut rig = Rig::new(settings());
    rig.find(1);
    assert_eq!(rig.join_request().member_id, "");
    rig.answer_join(ErrorCode::MEMBER_ID_REQUIRED, "me");
    assert_eq!(rig.join_request().member_id, "me");
    // Again is odd, and not answered in a tight loop.
    rig.answer_join(ErrorCode::MEMBER_ID_REQUIRED, "other");
    assert!(rig.wait() >= 80 * MS);
    assert_eq!(rig.join_request().member_id, "me");
}

#[test]
fn normal_join_group_follower() {
    let mut rig = Rig::new(settings());
    rig.find(1);
    rig.join_request();
    rig.nothing();
    assert_eq!(rig.member.next_deadline(), None, "the coordinator decides how long it takes");
    rig.joined(5, "you");
    let sync = rig.sync_request();
    assert_eq!((sync.generation_id, sync.member_id.as_str(), sync.assignments.len()), (5, "me", 0));
    assert_eq!(sync.protocol_name.as_deref(), Some("range"));
    assert_eq!(rig.member.identity(), None);
    rig.synced("t", &[1, 0, 1]);
    assert_eq!(rig.assigned(&[0, 1]), RebalanceReason::Joined);
    let identity = rig.member.identity().unwrap();
    assert_eq!((identity.member_id.as_str(), identity.generation), ("me", 5));
}

#[test]
fn normal_join_group_leader() {
    let mut rig = Rig::new(settings());
    rig.find(1);
    rig.join_request();
    rig.joined(5, "me");
    rig.divide(&view("t", 2));
    let sync = rig.sync_request();
    let sent = |index: usize| Assignment::decode(sync.assignments[index].assignment.clone()).unwrap().partitions;
    assert_eq!((sent(0), sent(1)), (vec![("t".into(), vec![0])], vec![("t".into(), vec![1])]));
}

#[test]
fn heartbeat_sent_when_completing_rebalance() {
    let mut rig = Rig::new(settings());
    rig.find(1);
    rig.join_request();
    rig.joined(5, "me");
    let Action::Divide { generation, division } = rig.next() else { panic!() };
    rig.beat_answered(ErrorCode::NONE);
    // The old generation of a division that took too long says nothing any more.
    rig.beat_answered(ErrorCode::UNKNOWN_MEMBER_ID);
    let topics = Topics::new([("t", 2)]);
    rig.member.on_divided(generation, topics.clone(), division.run(&topics), rig.now);
    let again = rig.join_request();
    assert_eq!((again.member_id.as_str(), again.reason.as_deref()), ("", Some(RebalanceReason::SessionExpired.text())));
}

#[test]
fn a_division_of_an_older_generation_is_of_no_use() {
    let mut rig = Rig::new(settings());
    rig.find(1);
    rig.join_request();
    rig.joined(5, "me");
    let Action::Divide { generation, division } = rig.next() else { panic!() };
    rig.beat_answered(ErrorCode::ILLEGAL_GENERATION);
    rig.join_request();
    rig.joined(6, "me");
    assert!(matches!(rig.next(), Action::Divide { generation: 6, .. }));
    let topics = Topics::new([("t", 2)]);
    rig.member.on_divided(generation, topics.clone(), division.run(&topics), rig.now);
    rig.nothing();
    rig.member.on_divided(6, topics.clone(), division.run(&topics), rig.now);
    assert_eq!(rig.sync_request().generation_id, 6);
}

#[test]
fn a_static_leader_that_comes_back_does_not_divide() {
    let mut rig = Rig::new(MembershipSettings { instance_id: Some("i".into()), ..settings() });
    rig.find(1);
    rig.join_request();
    let answer = JoinGroupResponse {
        generation_id: 5,
        protocol_name: Some("range".into()),
        leader: "me".into(),
        member_id: "me".into(),
        skip_assignment: true,
        members: vec![],
        ..Default::default()
    };
    rig.on_join(Ok(answer));
    assert_eq!(rig.sync_request().assignments, []);
}

#[test]
fn retain_member_id_after_join_group_disconnect_and_sync_group_disconnect() {
    let mut rig = Rig::follower(settings());
    rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.revoke();
    rig.member.on_revoked(rig.now);
    assert_eq!(rig.join_request().member_id, "me");
    rig.on_join(Err(no_answer()));
    assert_eq!(rig.find(2), Some(1));
    rig.wait();
    assert_eq!(rig.join_request().member_id, "me");
    rig.joined(6, "you");
    rig.sync_request();
    rig.on_sync(Err(no_answer()));
    rig.find(1);
    rig.wait();
    assert_eq!(rig.join_request().member_id, "me");
}

#[test]
fn unknown_member_id_on_join_resets_the_name_and_repeats_with_pauses() {
    let mut rig = Rig::new(settings());
    rig.find(1);
    rig.join_request();
    rig.answer_join(ErrorCode::MEMBER_ID_REQUIRED, "me");
    rig.join_request();
    rig.answer_join(ErrorCode::UNKNOWN_MEMBER_ID, "");
    assert_eq!(rig.join_request().member_id, "", "at once");
    rig.answer_join(ErrorCode::UNKNOWN_MEMBER_ID, "");
    assert!(rig.wait() >= 80 * MS);
}

#[test]
fn a_loading_or_moved_coordinator_is_waited_for_or_searched() {
    for (code, moved) in [
        (ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, false),
        (ErrorCode::NOT_COORDINATOR, true),
        (ErrorCode::COORDINATOR_NOT_AVAILABLE, true),
    ] {
        let mut rig = Rig::new(settings());
        rig.find(1);
        rig.join_request();
        rig.answer_join(code, "");
        if moved {
            assert_eq!(rig.find(2), Some(1), "{code}");
        }
        assert!(rig.wait() >= 80 * MS, "{code}");
        rig.join_request();
        rig.joined(1, "you");
        rig.sync_request();
        rig.answer_sync(code);
        if moved {
            assert_eq!(rig.find(3), Some(2), "{code}");
        }
        rig.wait();
        assert_eq!(rig.join_request().member_id, "me");
    }
}

#[test]
fn join_group_request_with_fenced_instance_id() {
    let mut rig = Rig::new(MembershipSettings { instance_id: Some("i".into()), ..settings() });
    rig.find(1);
    assert_eq!(rig.join_request().group_instance_id.as_deref(), Some("i"));
    rig.answer_join(ErrorCode::FENCED_INSTANCE_ID, "");
    let error = rig.fail();
    assert!(error.is_fatal() && error.kind() == ErrorKind::Fenced, "{error}");
    rig.nothing();
    assert!(rig.member.is_over());
}

#[test]
fn what_the_coordinator_refuses_is_told_and_tried_again_at_the_read_after() {
    for code in [
        ErrorCode::INCONSISTENT_GROUP_PROTOCOL,
        ErrorCode::INVALID_SESSION_TIMEOUT,
        ErrorCode::INVALID_GROUP_ID,
        ErrorCode::GROUP_MAX_SIZE_REACHED,
        ErrorCode::GROUP_AUTHORIZATION_FAILED,
        ErrorCode::UNKNOWN_SERVER_ERROR,
    ] {
        let mut rig = Rig::new(settings());
        rig.find(1);
        rig.join_request();
        rig.answer_join(code, "");
        let error = rig.report();
        assert_eq!(error.code(), Some(code));
        assert!(error.to_string().starts_with(&format!("joining group \"billing\" failed: {code} from broker 1")));
        rig.application(1, true, false, rig.now);
        rig.nothing();
        assert_eq!(rig.member.next_deadline(), None, "until the application reads again");
        rig.application(2, true, false, rig.now);
        rig.wait();
        rig.join_request();
    }
}

#[test]
fn sync_group_errors() {
    for (code, member_id, generation) in [
        (ErrorCode::REBALANCE_IN_PROGRESS, "me", 5),
        (ErrorCode::ILLEGAL_GENERATION, "me", -1),
        (ErrorCode::UNKNOWN_MEMBER_ID, "", -1),
    ] {
        let mut rig = Rig::new(settings());
        rig.find(1);
        rig.join_request();
        rig.joined(5, "you");
        rig.sync_request();
        rig.answer_sync(code);
        let again = rig.join_request();
        let subscription = Subscription::decode(again.protocols[0].metadata.clone()).unwrap();
        assert_eq!((again.member_id.as_str(), subscription.generation_id), (member_id, generation), "{code}");
    }
}

#[test]
fn sync_group_protocol_type_and_name_are_checked() {
    for (protocol_type, protocol_name) in [("connect", "range"), ("consumer", "sticky")] {
        let mut rig = Rig::new(settings());
        rig.find(1);
        rig.join_request();
        rig.joined(5, "you");
        rig.sync_request();
        let answer = SyncGroupResponse {
            protocol_type: Some(protocol_type.into()),
            protocol_name: Some(protocol_name.into()),
            ..Default::default()
        };
        rig.on_sync(Ok(answer));
        assert_eq!(rig.report().code(), Some(ErrorCode::INCONSISTENT_GROUP_PROTOCOL));
    }
}

#[test]
fn a_protocol_that_was_not_offered_is_refused() {
    let mut rig = Rig::new(settings());
    rig.find(1);
    rig.join_request();
    let answer = JoinGroupResponse { protocol_name: Some("sticky".into()), ..Default::default() };
    rig.on_join(Ok(answer));
    assert_eq!(rig.report().kind(), ErrorKind::Protocol);
}

#[test]
fn an_assignment_that_cannot_be_used_is_told_and_the_member_joins_again() {
    for (topic, partition) in [("other", 0), ("t", -1)] {
        let mut rig = Rig::new(settings());
        rig.find(1);
        rig.join_request();
        rig.joined(5, "you");
        rig.sync_request();
        rig.synced(topic, &[partition]);
        assert!(rig.report().to_string().contains("which was not asked for"));
        rig.wait();
        rig.join_request();
    }
    let mut rig = Rig::new(settings());
    rig.find(1);
    rig.join_request();
    rig.joined(5, "you");
    rig.sync_request();
    let answer = SyncGroupResponse { assignment: Bytes::from_static(&[0]), ..Default::default() };
    rig.on_sync(Ok(answer));
    assert_eq!(rig.report().kind(), ErrorKind::Protocol);
}

#[test]
fn a_subscription_that_changed_while_joining_is_joined_again() {
    let mut rig = Rig::new(settings());
    rig.find(1);
    rig.join_request();
    rig.member.subscribe(topics(["u"]), rig.now);
    rig.joined(5, "you");
    rig.sync_request();
    rig.synced("t", &[0]);
    let again = rig.join_request();
    assert_eq!(again.reason.as_deref(), Some(RebalanceReason::SubscriptionChange.text()));
    rig.joined(6, "you");
    rig.sync_request();
    let assignment = Bytes::new();
    rig.on_sync(Ok(SyncGroupResponse { assignment, ..Default::default() }));
    assert_eq!(rig.assigned(&[]), RebalanceReason::SubscriptionChange);
}

#[test]
fn a_leader_whose_assignor_fails_leaves_tells_and_comes_back() {
    struct Broken;
    impl Assignor for Broken {
        fn name(&self) -> &str {
            "broken"
        }
        fn assign(&self, _: &[Member<'_>], _: &Topics) -> Result<Assignments, AssignorError> {
            panic!("on purpose")
        }
    }
    for reading in [false, true] {
        let strategies = choose(&["broken"], &[Arc::new(Broken) as Arc<dyn Assignor>]).unwrap();
        let mut rig = Rig::new(MembershipSettings { strategies, ..settings() });
        rig.application(4, reading, false, Time::ZERO);
        rig.find(1);
        rig.join_request();
        let answer = JoinGroupResponse {
            generation_id: 5,
            protocol_name: Some("broken".into()),
            leader: "me".into(),
            member_id: "me".into(),
            ..Default::default()
        };
        rig.on_join(Ok(answer));
        rig.divide(&view("t", 2));
        assert_eq!(rig.leave_request().members[0].member_id, "me");
        let error = rig.report();
        assert!(error.kind() == ErrorKind::UserCode && error.to_string().contains("\"broken\""), "{error}");
        let (fails, joins) = if reading { (4, 5) } else { (5, 6) };
        rig.application(fails, true, false, rig.now);
        rig.nothing();
        rig.application(joins, true, false, rig.now);
        rig.wait();
        assert_eq!(rig.join_request().member_id, "");
    }
}

#[test]
fn user_data_that_panics_is_told_and_tried_again() {
    struct Broken;
    impl Assignor for Broken {
        fn name(&self) -> &str {
            "broken"
        }
        fn assign(&self, _: &[Member<'_>], _: &Topics) -> Result<Assignments, AssignorError> {
            Err("never".into())
        }
        fn user_data(&self, _: &Owned<'_>) -> Bytes {
            panic!("on purpose")
        }
    }
    let strategies = choose(&["broken"], &[Arc::new(Broken) as Arc<dyn Assignor>]).unwrap();
    let mut rig = Rig::new(MembershipSettings { strategies, ..settings() });
    rig.find(1);
    let error = rig.report();
    assert!(error.to_string().ends_with("panicked while telling its user data: on purpose"), "{error}");
}

#[test]
fn a_client_that_is_closed_ends_it() {
    let mut rig = Rig::new(settings());
    assert!(matches!(rig.next(), Action::FindCoordinator { .. }));
    rig.member.on_coordinator(Err(Error::closed("client")), rig.now);
    assert_eq!(rig.fail().kind(), ErrorKind::Closed);
}

#[test]
fn a_static_member_that_is_given_what_it_read_before_joins_once_more_and_tells_an_error_only_then() {
    for is_static in [true, false] {
        let instance_id = is_static.then(|| "a".to_owned());
        let mut rig = Rig::new(MembershipSettings { instance_id, ..settings() });
        rig.find(1);
        rig.join_request();
        rig.joined(5, "you");
        rig.sync_request();
        rig.synced("u", &[0]);
        if is_static {
            let again = rig.join_request();
            let said = Subscription::decode(again.protocols[0].metadata.clone()).unwrap();
            assert_eq!((said.generation_id, again.member_id.as_str()), (5, "me"), "which is news to the coordinator");
            rig.joined(6, "you");
            rig.sync_request();
            rig.synced("u", &[0]);
        }
        assert!(rig.report().to_string().contains("partition 0 of topic \"u\", which was not asked for"));
    }
}
