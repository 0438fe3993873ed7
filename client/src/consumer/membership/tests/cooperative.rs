//! Cooperative rebalances (KIP-429): what stays is kept all the way round. Pure.

use super::*;

/// Gives nobody anything: these tests say themselves what is assigned.
struct Sharing;

impl Assignor for Sharing {
    fn name(&self) -> &str {
        "range"
    }
    fn protocol(&self) -> RebalanceProtocol {
        RebalanceProtocol::Cooperative
    }
    fn assign(&self, members: &[Member<'_>], _: &Topics) -> Result<Assignments, AssignorError> {
        Ok(Assignments::new(members))
    }
}

pub(super) fn sharing() -> MembershipSettings {
    let assignor: Arc<dyn Assignor> = Arc::new(Sharing);
    let (name, protocol) = ("range".into(), RebalanceProtocol::Cooperative);
    MembershipSettings { strategies: vec![Strategy { name, protocol, assignor }], ..settings() }
}

/// Follows in generation 5 and owns t-0 and t-1.
fn member() -> Rig {
    Rig::follower(sharing())
}

impl Rig {
    /// The group has rebalanced: this is the assignment in the generation.
    fn round(&mut self, generation: i32, partitions: &[i32]) -> Subscription {
        let request = self.join_request();
        self.joined(generation, "you");
        self.sync_request();
        self.synced("t", partitions);
        Subscription::decode(request.protocols[0].metadata.clone()).unwrap()
    }

    fn generation(&self) -> Option<i32> {
        self.member.identity().map(|identity| identity.generation)
    }
}

#[test]
fn what_stays_is_kept_from_generation_to_generation() {
    let mut rig = member();
    rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
    let told = rig.round(6, &[0, 1, 2]);
    assert_eq!(told.owned_partitions, [("t".to_owned(), vec![0, 1])]);
    assert_eq!((told.generation_id, told.rack_id), (5, None));
    assert_eq!(rig.assigned(&[2]), RebalanceReason::MemberChange);
    assert_eq!(rig.generation(), Some(6));
    rig.nothing();
}

#[test]
fn a_rebalance_that_changes_nothing_is_told_all_the_same() {
    let mut rig = member();
    rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.round(6, &[0, 1]);
    rig.assigned(&[]);
    rig.nothing();
}

#[test]
fn what_is_not_assigned_any_more_is_given_up_and_then_the_member_joins_at_once() {
    let mut rig = member();
    rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.round(6, &[1, 2]);
    let (partitions, reason, left) = rig.revoke();
    assert_eq!((partitions, reason), (t(&[0]), RebalanceReason::MemberChange));
    assert_eq!(left, REBALANCE - Duration::from_secs(6));
    rig.assigned(&[2]);
    assert_eq!(rig.generation(), Some(6), "for the last commit");
    // It rebalances again already, for others.
    rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.nothing();
    rig.member.on_revoked(rig.now);
    let told = rig.round(7, &[1, 2]);
    assert_eq!(told.owned_partitions, [("t".to_owned(), vec![1, 2])]);
    rig.assigned(&[]);
}

#[test]
fn commits_go_on_while_the_group_rebalances() {
    let mut rig = member();
    let before = rig.member.identity().unwrap();
    rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.join_request();
    assert_eq!(rig.generation(), Some(5), "the coordinator takes it until all have joined");
    // All have: the answer is on its way.
    rig.member.on_commit_error(&before, ErrorCode::ILLEGAL_GENERATION, rig.now);
    rig.nothing();
    rig.joined(6, "you");
    rig.sync_request();
    let identity = rig.member.identity().unwrap();
    assert_eq!(identity.generation, 6);
    for code in [ErrorCode::REBALANCE_IN_PROGRESS, ErrorCode::ILLEGAL_GENERATION] {
        rig.member.on_commit_error(&identity, code, rig.now);
        rig.nothing();
    }
    rig.synced("t", &[0, 1]);
    rig.assigned(&[]);
}

#[test]
fn heartbeats_go_on_beside_join_group_and_sync_group() {
    let mut rig = member();
    rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.join_request();
    for code in [ErrorCode::REBALANCE_IN_PROGRESS, ErrorCode::ILLEGAL_GENERATION, ErrorCode::NOT_COORDINATOR] {
        rig.beat_answered(code);
        rig.nothing();
    }
    let number = rig.beat();
    rig.member.on_heartbeat(number, Err(no_answer()), rig.now);
    rig.nothing();
    rig.joined(6, "you");
    rig.sync_request();
    rig.beat_answered(ErrorCode::NONE);
    rig.synced("t", &[0, 1]);
    rig.assigned(&[]);
}

#[test]
fn a_session_that_ends_while_join_group_waits_loses_everything_and_joins_elsewhere() {
    let mut rig = member();
    rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.join_request();
    let old = rig.member.attempts;
    rig.beat();
    assert_eq!(rig.wait(), SESSION - INTERVAL, "the session began when the last heartbeat was sent that was answered");
    assert_eq!(rig.lost(&[0, 1]), RebalanceReason::SessionExpired);
    assert_eq!(rig.find(2), Some(1));
    let again = rig.join_request();
    let told = Subscription::decode(again.protocols[0].metadata.clone()).unwrap();
    assert_eq!((again.member_id.as_str(), told.owned_partitions, told.generation_id), ("me", vec![], -1));
    let late = JoinGroupResponse { error_code: ErrorCode::UNKNOWN_MEMBER_ID, ..Default::default() };
    rig.member.on_join(old, Ok(late), rig.now);
    rig.nothing();
}

#[test]
fn who_is_unknown_loses_everything_wherever_that_is_heard() {
    for heard in ["heartbeat", "join", "sync"] {
        let mut rig = member();
        rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
        rig.join_request();
        match heard {
            "heartbeat" => rig.beat_answered(ErrorCode::UNKNOWN_MEMBER_ID),
            "join" => rig.answer_join(ErrorCode::UNKNOWN_MEMBER_ID, ""),
            _ => {
                rig.joined(6, "you");
                rig.sync_request();
                rig.answer_sync(ErrorCode::UNKNOWN_MEMBER_ID);
            }
        }
        assert_eq!(rig.lost(&[0, 1]), RebalanceReason::SessionExpired, "{heard}");
        assert_eq!(rig.generation(), None);
        assert_eq!(rig.join_request().member_id, "", "{heard}");
    }
}

#[test]
fn a_coordinator_that_moves_costs_nothing() {
    let mut rig = member();
    rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.join_request();
    rig.answer_join(ErrorCode::NOT_COORDINATOR, "me");
    assert_eq!(rig.find(2), Some(1));
    rig.wait();
    let told = rig.round(9, &[0, 1]);
    assert_eq!(told.owned_partitions, [("t".to_owned(), vec![0, 1])]);
    rig.assigned(&[]);
}

#[test]
fn topics_that_are_not_subscribed_to_any_more_go_before_the_member_joins() {
    let mut rig = member();
    rig.member.subscribe(topics(["u"]), rig.now);
    let (partitions, reason, _) = rig.revoke();
    assert_eq!((partitions, reason), (t(&[0, 1]), RebalanceReason::SubscriptionChange));
    rig.nothing();
    rig.member.on_revoked(rig.now);
    rig.join_request();

    // Or what was subscribed to while it joined.
    let mut rig = member();
    rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.join_request();
    rig.member.subscribe(topics(["u"]), rig.now);
    rig.joined(6, "you");
    rig.sync_request();
    rig.synced("t", &[0, 1, 2]);
    assert_eq!(rig.revoke().0, t(&[0, 1]));
    rig.member.on_revoked(rig.now);
    rig.join_request();
}

#[test]
fn a_topic_more_revokes_nothing() {
    let mut rig = member();
    rig.member.subscribe(topics(["t", "u"]), rig.now);
    let told = rig.round(6, &[0, 1]);
    assert_eq!((told.topics.len(), told.owned_partitions.len()), (2, 1));
    rig.assigned(&[]);
}

#[test]
fn an_application_that_makes_no_progress_leaves_also_while_the_group_rebalances() {
    let mut rig = member();
    rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.join_request();
    rig.application(3, false, true, Time::ZERO);
    rig.now = REBALANCE;
    assert!(matches!(rig.next(), Action::Stalled { .. }));
    rig.leave_request();
    assert_eq!(rig.lost(&[0, 1]), RebalanceReason::Stalled);
    rig.joined(6, "you");
    rig.nothing();
}

#[test]
fn an_error_that_ends_the_membership_for_now_ends_the_leases() {
    let mut rig = member();
    rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.join_request();
    rig.answer_join(ErrorCode::GROUP_AUTHORIZATION_FAILED, "");
    assert_eq!(rig.lost(&[0, 1]), RebalanceReason::Refused);
    rig.report();
    rig.nothing();
    assert_eq!(rig.member.next_deadline(), None);
}

#[test]
fn closing_gives_everything_up_with_a_commit_wherever_that_can_be_had() {
    // Before all have joined, the coordinator takes commits of the old generation.
    let mut rig = member();
    rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.join_request();
    rig.member.close(Departure::Usual, rig.now + 2000 * MS);
    assert_eq!(rig.revoke(), (t(&[0, 1]), RebalanceReason::Closing, 2000 * MS));
    assert_eq!(rig.generation(), Some(5));
    rig.member.on_revoked(rig.now);
    rig.leave_request();
    assert!(rig.member.is_over());

    // They may all have joined before that: then in the new one, when it is synced. Whoever leads divides before it goes.
    for leader in ["you", "me"] {
        let mut rig = member();
        rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
        rig.join_request();
        rig.member.close(Departure::Usual, rig.now + 2000 * MS);
        rig.revoke();
        rig.nothing();
        let old = rig.member.identity().unwrap();
        rig.member.on_commit_error(&old, ErrorCode::ILLEGAL_GENERATION, rig.now);
        rig.nothing();
        rig.joined(6, leader);
        if leader == "me" {
            let Action::Divide { generation, division } = rig.next() else { panic!("no division") };
            let topics = Topics::of(&view("t", 3), division.topics(), false);
            rig.member.on_divided(generation, topics, Ok(Vec::new()), rig.now);
        }
        rig.sync_request();
        assert_eq!(rig.generation(), Some(6));
        rig.synced("t", &[1, 2]);
        rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
        rig.nothing();
        assert_eq!(rig.generation(), Some(6));
        rig.member.on_revoked(rig.now);
        rig.leave_request();
        assert!(rig.member.is_over());
    }

    // Nothing may be left to commit before that.
    let mut rig = member();
    rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.join_request();
    rig.member.close(Departure::Usual, rig.now + 2000 * MS);
    rig.revoke();
    rig.joined(6, "you");
    rig.member.on_revoked(rig.now);
    rig.leave_request();
    rig.nothing();
    assert!(rig.member.is_over());

    // Then it takes none until the leader has divided the partitions.
    let mut rig = member();
    rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.join_request();
    rig.joined(6, "you");
    rig.member.close(Departure::Usual, rig.now + 2000 * MS);
    rig.sync_request();
    rig.nothing();
    rig.synced("t", &[1, 2]);
    assert_eq!(rig.revoke().0, t(&[0, 1]));
    assert_eq!(rig.generation(), Some(6));
    rig.member.on_revoked(rig.now);
    rig.leave_request();
}

#[test]
fn who_closes_while_join_group_waits_and_is_refused_or_lost_is_out() {
    let closing = || {
        let mut rig = member();
        rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
        rig.join_request();
        rig.member.close(Departure::Usual, rig.now + 2000 * MS);
        rig.revoke();
        rig
    };
    let mut rig = closing();
    rig.answer_join(ErrorCode::UNKNOWN_MEMBER_ID, "");
    rig.lost(&[0, 1]);
    rig.nothing();
    assert!(rig.member.is_over());

    // It need not join again for the last commit.
    let mut rig = closing();
    rig.answer_join(ErrorCode::REBALANCE_IN_PROGRESS, "");
    rig.beat_answered(ErrorCode::NONE);
    rig.nothing();
    assert_eq!(rig.generation(), Some(5));
    rig.member.on_revoked(rig.now);
    rig.leave_request();
    assert!(rig.member.is_over());
}

#[test]
fn closing_while_some_goes_gives_up_the_rest_after_it() {
    let mut rig = member();
    rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.round(6, &[1]);
    assert_eq!(rig.revoke().0, t(&[0]));
    rig.assigned(&[]);
    rig.member.close(Departure::Usual, rig.now + 2000 * MS);
    rig.nothing();
    rig.member.on_revoked(rig.now);
    assert_eq!(rig.revoke(), (t(&[1]), RebalanceReason::Closing, 2000 * MS));
    rig.member.on_revoked(rig.now);
    rig.leave_request();
    assert!(rig.member.is_over());
}

#[test]
fn a_member_with_an_eager_strategy_beside_is_eager() {
    let strategies = [settings().strategies, sharing().strategies].concat();
    let mut rig = Rig::follower(MembershipSettings { strategies, ..settings() });
    rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(rig.revoke().0, t(&[0, 1]));
    rig.member.on_revoked(rig.now);
    assert_eq!(rig.round(6, &[0]).owned_partitions, []);
    rig.assigned(&[0]);
}
