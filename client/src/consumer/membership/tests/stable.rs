//! Heartbeats, commits, rebalances, and the end of a generation. Pure.

use super::*;

#[test]
fn normal_heartbeat() {
    let mut rig = Rig::follower(settings());
    for _ in 0..20 {
        assert_eq!(rig.wait(), INTERVAL);
        let Action::Heartbeat { broker: 1, number, timeout, request } = rig.next() else { panic!() };
        assert_eq!((request.generation_id, request.member_id.as_str()), (5, "me"));
        assert_eq!(timeout, SESSION / 3, "so that there is time for another coordinator");
        rig.member.on_heartbeat(number, Ok(ErrorCode::NONE), rig.now);
    }
    rig.nothing();
}

#[test]
fn a_rebalance_that_a_heartbeat_tells_of_takes_everything_and_joins() {
    let mut rig = Rig::follower(settings());
    rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
    let (partitions, reason, left) = rig.revoke();
    assert_eq!((partitions, reason), (t(&[0, 1]), RebalanceReason::MemberChange));
    assert_eq!(left, REBALANCE - Duration::from_secs(6), "less two heartbeats");
    // Heartbeats go on, and what they say of the rebalance is known.
    rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.nothing();
    assert_eq!(rig.member.identity().map(|identity| identity.generation), Some(5), "for the last commit");
    rig.member.on_revoked(rig.now);
    assert_eq!(rig.member.identity(), None);
    let request = rig.join_request();
    assert_eq!(request.reason.as_deref(), Some(RebalanceReason::MemberChange.text()));
    rig.joined(6, "you");
    rig.sync_request();
    rig.synced("t", &[1]);
    assert_eq!(rig.assigned(&[1]), RebalanceReason::MemberChange);
}

#[test]
fn the_deadline_of_a_revocation_is_never_in_the_past_and_keeps_five_seconds() {
    for (rebalance, interval, left) in [(10_000, 1000, 5000), (4000, 1000, 0), (60_000, 10_000, 40_000)] {
        let heartbeat_interval = interval * MS;
        let mut rig =
            Rig::follower(MembershipSettings { rebalance_timeout: rebalance * MS, heartbeat_interval, ..settings() });
        rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
        assert_eq!(rig.revoke().2, left * MS);
    }
}

#[test]
fn a_member_that_owns_nothing_joins_without_a_revocation() {
    let mut rig = Rig::new(settings());
    rig.find(1);
    rig.join_request();
    rig.joined(5, "you");
    rig.sync_request();
    rig.synced("t", &[]);
    rig.assigned(&[]);
    rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.join_request();
}

#[test]
fn should_lose_all_owned_partitions_before_rejoining_after_dropping_out_of_the_group() {
    for (code, member_id) in [(ErrorCode::UNKNOWN_MEMBER_ID, ""), (ErrorCode::ILLEGAL_GENERATION, "me")] {
        let mut rig = Rig::follower(settings());
        rig.beat_answered(code);
        assert_eq!(rig.lost(&[0, 1]), RebalanceReason::SessionExpired);
        let request = rig.join_request();
        assert_eq!(request.member_id, member_id);
        assert_eq!(Subscription::decode(request.protocols[0].metadata.clone()).unwrap().generation_id, -1);
        rig.nothing();
    }
}

#[test]
fn a_generation_that_is_lost_ends_the_revocation() {
    let mut rig = Rig::follower(settings());
    rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.revoke();
    rig.beat_answered(ErrorCode::UNKNOWN_MEMBER_ID);
    rig.lost(&[0, 1]);
    rig.join_request();
    rig.member.on_revoked(rig.now);
    rig.nothing();
    rig.joined(7, "you");
    rig.sync_request();
    rig.synced("t", &[0]);
    assert_eq!(rig.assigned(&[0]), RebalanceReason::SessionExpired);
}

#[test]
fn heartbeat_illegal_generation_and_unknown_member_responses_with_old_generation() {
    for code in [ErrorCode::ILLEGAL_GENERATION, ErrorCode::UNKNOWN_MEMBER_ID, ErrorCode::FENCED_INSTANCE_ID] {
        let mut rig = Rig::follower(settings());
        rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
        rig.revoke();
        let old = rig.beat();
        rig.member.on_revoked(rig.now);
        rig.join_request();
        rig.joined(6, "you");
        rig.sync_request();
        rig.synced("t", &[0]);
        rig.assigned(&[0]);
        rig.member.on_heartbeat(old, Ok(code), rig.now);
        rig.nothing();
        assert_eq!(rig.member.identity().map(|identity| identity.generation), Some(6));
    }
}

#[test]
fn not_coordinator_and_coordinator_not_available() {
    for answer in [Ok(ErrorCode::NOT_COORDINATOR), Ok(ErrorCode::COORDINATOR_NOT_AVAILABLE), Err(no_answer())] {
        let mut rig = Rig::follower(settings());
        let number = rig.beat();
        rig.member.on_heartbeat(number, answer, rig.now);
        assert_eq!(rig.find(2), Some(1));
        assert!(rig.wait() < INTERVAL);
        let Action::Heartbeat { broker: 2, number, .. } = rig.next() else { panic!() };
        rig.member.on_heartbeat(number, Ok(ErrorCode::NONE), rig.now);
        assert_eq!(rig.member.identity().map(|identity| identity.generation), Some(5), "nothing is lost");
    }
}

#[test]
fn a_session_without_an_answer_is_over() {
    let mut rig = Rig::follower(MembershipSettings { session_timeout: 9000 * MS, ..settings() });
    let number = rig.beat();
    let began = rig.now;
    rig.now += 500 * MS;
    rig.member.on_heartbeat(number, Ok(ErrorCode::NONE), rig.now);
    let silent = rig.beat();
    rig.now += 3000 * MS;
    rig.member.on_heartbeat(silent, Err(no_answer()), rig.now);
    assert_eq!(rig.find(2), Some(1));
    rig.wait();
    let Action::Heartbeat { broker: 2, number, .. } = rig.next() else { panic!() };
    rig.wait();
    assert_eq!(rig.now, began + 9000 * MS, "from when the heartbeat was sent that was answered last");
    assert_eq!(rig.lost(&[0, 1]), RebalanceReason::SessionExpired);
    assert_eq!(rig.find(3), Some(2));
    assert_eq!(rig.join_request().member_id, "me", "it may be known still");
    rig.member.on_heartbeat(number, Ok(ErrorCode::NONE), rig.now);
    rig.nothing();
}

#[test]
fn a_process_that_stood_still_for_longer_than_its_session_has_lost_everything_before_it_asks() {
    let mut rig = Rig::follower(settings());
    rig.beat();
    rig.now += 10 * SESSION;
    rig.lost(&[0, 1]);
    rig.find(1);
    rig.join_request();
}

#[test]
fn heartbeat_request_with_fenced_instance_id() {
    let mut rig = Rig::follower(MembershipSettings { instance_id: Some("i".into()), ..settings() });
    rig.beat_answered(ErrorCode::FENCED_INSTANCE_ID);
    rig.lost(&[0, 1]);
    assert!(rig.fail().is_fatal());
    rig.nothing();
}

#[test]
fn group_read_unauthorized_is_told_and_heartbeats_go_on() {
    let mut rig = Rig::follower(settings());
    rig.beat_answered(ErrorCode::GROUP_AUTHORIZATION_FAILED);
    assert_eq!(rig.report().code(), Some(ErrorCode::GROUP_AUTHORIZATION_FAILED));
    rig.beat_answered(ErrorCode::NONE);
    rig.nothing();
}

#[test]
fn commit_offset_rebalance_in_progress() {
    let mut rig = Rig::follower(settings());
    let identity = rig.member.identity().unwrap();
    rig.member.on_commit_error(&identity, ErrorCode::REBALANCE_IN_PROGRESS, rig.now);
    rig.revoke();
    rig.member.on_commit_error(&identity, ErrorCode::REBALANCE_IN_PROGRESS, rig.now);
    rig.nothing();
    assert_eq!(rig.member.identity(), Some(identity), "the generation stands");
}

#[test]
fn commit_offset_unknown_member_id_and_illegal_generation() {
    for code in [ErrorCode::UNKNOWN_MEMBER_ID, ErrorCode::ILLEGAL_GENERATION] {
        let mut rig = Rig::follower(settings());
        let identity = rig.member.identity().unwrap();
        rig.member.on_commit_error(&identity, code, rig.now);
        rig.lost(&[0, 1]);
        rig.join_request();
    }
}

#[test]
fn commit_offset_illegal_generation_with_new_generation() {
    let mut rig = Rig::follower(settings());
    let old = Identity { generation: 4, ..rig.member.identity().unwrap() };
    for code in [ErrorCode::ILLEGAL_GENERATION, ErrorCode::UNKNOWN_MEMBER_ID, ErrorCode::FENCED_INSTANCE_ID] {
        rig.member.on_commit_error(&old, code, rig.now);
        rig.nothing();
    }
}

#[test]
fn commit_offset_coordinator_errors_and_errors_of_the_offsets() {
    for code in [ErrorCode::NOT_COORDINATOR, ErrorCode::COORDINATOR_NOT_AVAILABLE, ErrorCode::REQUEST_TIMED_OUT] {
        let mut rig = Rig::follower(settings());
        let identity = rig.member.identity().unwrap();
        rig.member.on_commit_error(&identity, code, rig.now);
        assert_eq!(rig.find(2), Some(1), "{code}");
    }
    for code in [
        ErrorCode::OFFSET_METADATA_TOO_LARGE,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode::TOPIC_AUTHORIZATION_FAILED,
    ] {
        let mut rig = Rig::follower(settings());
        let identity = rig.member.identity().unwrap();
        rig.member.on_commit_error(&identity, code, rig.now);
        rig.nothing();
    }
}

#[test]
fn subscription_change_gives_everything_up_and_joins() {
    let mut rig = Rig::follower(settings());
    rig.member.subscribe(topics(["t"]), rig.now);
    rig.nothing();
    rig.member.subscribe(topics(["t", "u"]), rig.now);
    assert_eq!(rig.revoke().1, RebalanceReason::SubscriptionChange);
    rig.member.on_revoked(rig.now);
    rig.join_request();
}

#[test]
fn metadata_change_triggers_rebalance() {
    let mut rig = Rig::leader();
    rig.member.on_view(&view("t", 2), rig.now);
    rig.nothing();
    rig.member.on_view(&view("t", 3), rig.now);
    assert_eq!(rig.revoke().1, RebalanceReason::TopicChange);
}

#[test]
fn a_topic_that_is_missing_is_no_news_and_is_not_divided_again_until_it_is_back() {
    let mut rig = Rig::leader();
    let mut missing = MetadataResponseTopic { name: Some("t".into()), ..Default::default() };
    missing.error_code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let missing = view("t", 2).merge(&MetadataResponse { topics: vec![missing], ..Default::default() });
    rig.member.on_view(&missing, rig.now);
    rig.nothing();

    rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.revoke();
    rig.member.on_revoked(rig.now);
    rig.join_request();
    rig.joined(6, "me");
    rig.divide(&missing);
    let leaders = rig.sync_request().assignments.into_iter().find(|assignment| assignment.member_id == "me").unwrap();
    assert_eq!(Assignment::decode(leaders.assignment).unwrap().partitions, []);
    rig.synced("t", &[]);
    rig.assigned(&[]);
    rig.member.on_view(&missing.merge(&answer("t", 2)), rig.now);
    assert_eq!(rig.join_request().reason.as_deref(), Some(RebalanceReason::TopicChange.text()));
}

/// One with the replicas of its partitions on broker 1, which is in this rack.
fn in_rack(rack: &str) -> ClusterView {
    let mut answer = answer("t", 2);
    answer.brokers[0].rack = Some(rack.into());
    answer.topics[0].partitions.iter_mut().for_each(|partition| partition.replica_nodes = vec![1]);
    ClusterView::default().merge(&answer)
}

#[test]
fn another_rack_of_a_replica_triggers_a_rebalance_if_a_member_tells_its_own() {
    for (rack, reason) in [(Some("a".to_owned()), Some(RebalanceReason::TopicChange)), (None, None)] {
        let mut rig = Rig::new(MembershipSettings { rack: rack.clone(), ..settings() });
        rig.find(1);
        rig.join_request();
        let subscription = Subscription { topics: vec!["t".to_owned()], rack_id: rack, ..Subscription::default() };
        rig.joined_as(5, "me", &subscription);
        rig.divide(&in_rack("a"));
        rig.sync_request();
        rig.synced("t", &[0]);
        rig.assigned(&[0]);
        rig.member.on_view(&in_rack("a"), rig.now);
        rig.nothing();

        rig.member.on_view(&in_rack("b"), rig.now);
        match reason {
            Some(reason) => assert_eq!(rig.revoke().1, reason),
            None => rig.nothing(),
        }
    }
}

#[test]
fn only_the_leader_watches_the_metadata() {
    let mut rig = Rig::follower(settings());
    rig.member.on_view(&view("t", 2), rig.now);
    rig.member.on_view(&view("t", 3), rig.now);
    rig.nothing();
}

#[test]
fn a_topic_that_appears_is_picked_up() {
    let mut rig = Rig::new(settings());
    rig.find(1);
    rig.join_request();
    rig.joined(5, "me");
    rig.divide(&ClusterView::default());
    rig.sync_request();
    rig.synced("t", &[]);
    rig.assigned(&[]);
    rig.member.on_view(&view("t", 1), rig.now);
    assert_eq!(rig.join_request().reason.as_deref(), Some(RebalanceReason::TopicChange.text()));
}

#[test]
fn a_rebalance_that_the_application_asks_for_tells_the_coordinator_why() {
    let mut rig = Rig::follower(settings());
    rig.member.enforce_rebalance("the moon is full", rig.now);
    assert_eq!(rig.revoke().1, RebalanceReason::Enforced);
    rig.member.enforce_rebalance("it is full already", rig.now);
    rig.nothing();
    rig.member.on_revoked(rig.now);
    assert_eq!(rig.join_request().reason.as_deref(), Some("the moon is full"));
    rig.joined(6, "you");
    rig.sync_request();
    rig.synced("t", &[0]);
    assert_eq!(rig.assigned(&[0]), RebalanceReason::Enforced);
    rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.revoke();
    rig.member.on_revoked(rig.now);
    assert_eq!(rig.join_request().reason.as_deref(), Some(RebalanceReason::MemberChange.text()), "said once");
}

#[test]
fn who_has_no_topics_yet_joins_when_they_are_found_even_if_there_are_none() {
    let mut rig = Rig { member: Membership::new(settings(), None, Entropy::from_seed(7)), now: Time::ZERO };
    rig.find(1);
    rig.nothing();
    rig.member.subscribe(topics([]), rig.now);
    let request = rig.join_request();
    assert!(Subscription::decode(request.protocols[0].metadata.clone()).unwrap().topics.is_empty());
}
