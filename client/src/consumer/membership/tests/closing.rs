//! Leaving. Pure.

use super::*;

#[test]
fn leave_group_on_close() {
    let mut rig = Rig::follower(settings());
    rig.member.close(Departure::Usual, rig.now + 2000 * MS);
    let (partitions, reason, left) = rig.revoke();
    assert_eq!((partitions, reason, left), (t(&[0, 1]), RebalanceReason::Closing, 2000 * MS));
    rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.nothing();
    assert!(rig.member.identity().is_some(), "for the last commit");
    rig.member.on_revoked(rig.now);
    let request = rig.leave_request();
    assert_eq!((request.group_id.as_str(), request.member_id.as_str()), ("billing", "me"));
    assert_eq!(request.members[0].reason.as_deref(), Some(RebalanceReason::Closing.text()));
    rig.nothing();
    assert!(rig.member.is_over());
}

#[test]
fn close_during_a_revocation_leaves_after_it() {
    let mut rig = Rig::follower(settings());
    rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.revoke();
    rig.member.close(Departure::Usual, rig.now + 2000 * MS);
    rig.nothing();
    rig.member.on_revoked(rig.now);
    rig.leave_request();
    assert!(rig.member.is_over());
}

#[test]
fn a_generation_lost_while_closing_needs_no_leave_group() {
    let mut rig = Rig::follower(settings());
    rig.member.close(Departure::Usual, rig.now + 2000 * MS);
    rig.revoke();
    rig.beat_answered(ErrorCode::UNKNOWN_MEMBER_ID);
    rig.lost(&[0, 1]);
    rig.nothing();
    assert!(rig.member.is_over());
}

#[test]
fn pending_member_should_leave_group() {
    let mut rig = Rig::new(settings());
    rig.find(1);
    rig.join_request();
    rig.answer_join(ErrorCode::MEMBER_ID_REQUIRED, "me");
    rig.join_request();
    rig.member.close(Departure::Usual, rig.now);
    assert_eq!(rig.leave_request().member_id, "me");
    rig.joined(5, "me");
    rig.nothing();
    assert!(rig.member.is_over());
}

#[test]
fn dropping_the_consumer_leaves_at_once() {
    let mut rig = Rig::follower(settings());
    rig.member.abandon();
    rig.leave_request();
    rig.nothing();
    assert!(rig.member.is_over());
}

#[test]
fn who_leaves_when_it_is_closed() {
    let instance_id = || Some("i".to_owned());
    for (instance_id, departure, leaves) in [
        (None, Departure::Usual, true),
        (instance_id(), Departure::Usual, false),
        (None, Departure::Stay, false),
        (instance_id(), Departure::Stay, false),
        (None, Departure::Leave, true),
        (instance_id(), Departure::Leave, true),
    ] {
        let mut rig = Rig::follower(MembershipSettings { instance_id: instance_id.clone(), ..settings() });
        rig.member.close(departure, rig.now + 2000 * MS);
        rig.revoke();
        rig.member.on_revoked(rig.now);
        if leaves {
            assert_eq!(rig.leave_request().members[0].group_instance_id, instance_id);
        }
        rig.nothing();
        assert!(rig.member.is_over());
    }
}

#[test]
fn static_members_and_unknown_coordinators_are_not_told() {
    let mut rig = Rig::follower(MembershipSettings { instance_id: Some("i".into()), ..settings() });
    rig.member.abandon();
    rig.nothing();
    let mut rig = Rig::follower(settings());
    let number = rig.beat();
    rig.member.on_heartbeat(number, Err(no_answer()), rig.now);
    rig.member.abandon();
    rig.nothing();
    assert!(rig.member.is_over());
}
