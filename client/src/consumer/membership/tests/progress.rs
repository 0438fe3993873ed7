//! `max.poll.interval.ms`: who holds records and does not go on makes room for others. Pure.

use super::*;

#[test]
fn an_application_that_makes_no_progress_is_out_until_it_reads() {
    let mut rig = Rig::follower(settings());
    rig.application(3, false, true, 1000 * MS);
    while rig.member.stall_deadline().unwrap() > rig.now {
        if rig.now + INTERVAL > 301_000 * MS {
            rig.wait();
            continue;
        }
        rig.beat_answered(ErrorCode::NONE);
    }
    assert_eq!(rig.now, 301_000 * MS);
    assert!(matches!(rig.next(), Action::Stalled { since } if since == 1000 * MS));
    let request = rig.leave_request();
    assert_eq!((request.member_id.as_str(), request.members[0].member_id.as_str()), ("me", "me"));
    assert_eq!(request.members[0].reason.as_deref(), Some(RebalanceReason::Stalled.text()));
    assert_eq!(rig.lost(&[0, 1]), RebalanceReason::Stalled);
    rig.nothing();
    assert_eq!(rig.member.next_deadline(), None);

    rig.application(4, true, true, rig.now);
    assert_eq!(rig.join_request().member_id, "");
}

#[test]
fn the_interval_runs_only_while_a_record_is_held_and_no_read_waits() {
    for (reading, holding) in [(true, true), (true, false), (false, false)] {
        let mut rig = Rig::follower(settings());
        rig.application(3, reading, holding, Time::ZERO);
        for _ in 0..200 {
            rig.beat_answered(ErrorCode::NONE);
        }
        assert!(rig.now > REBALANCE);
        rig.nothing();
    }
}

#[test]
fn progress_begins_the_interval_anew() {
    let mut rig = Rig::follower(settings());
    for _ in 0..200 {
        rig.application(3, false, true, rig.now);
        rig.beat_answered(ErrorCode::NONE);
    }
    assert!(rig.now > REBALANCE);
    rig.nothing();
}

#[test]
fn a_static_member_that_stalls_only_stops_its_heartbeats() {
    let mut rig = Rig::follower(MembershipSettings { instance_id: Some("i".into()), ..settings() });
    rig.application(3, false, true, Time::ZERO);
    rig.now = REBALANCE;
    assert!(matches!(rig.next(), Action::Stalled { .. }));
    rig.lost(&[0, 1]);
    rig.nothing();
    assert_eq!(rig.member.next_deadline(), None);
    rig.application(4, true, true, rig.now);
    assert_eq!(rig.join_request().member_id, "me");
}

#[test]
fn a_stalled_application_does_not_hold_up_a_revocation_for_ever() {
    let mut rig = Rig::follower(settings());
    rig.application(3, false, true, Time::ZERO);
    rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.revoke();
    rig.member.on_revoked(299_000 * MS);
    // It still holds records of the dead lease: it does not come back before it reads.
    rig.now = REBALANCE;
    assert!(matches!(rig.next(), Action::Stalled { .. }));
    rig.leave_request();
    rig.nothing();
}
