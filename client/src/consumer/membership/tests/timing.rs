//! How long a rebalance took. Pure.

use super::cooperative::sharing;
use super::*;

impl Rig {
    /// The time that the assignment took.
    fn took(&mut self) -> Duration {
        match self.next() {
            Action::Assigned { took, .. } => took,
            other => panic!("{other:?}"),
        }
    }

    /// JoinGroup and SyncGroup, in so much time altogether.
    fn slow_round(&mut self, generation: i32, partitions: &[i32], time: Duration) {
        self.join_request();
        self.now += time / 2;
        self.joined(generation, "you");
        self.sync_request();
        self.now += time / 2;
        self.synced("t", partitions);
    }
}

#[test]
fn joining_takes_from_the_first_look_for_the_coordinator_until_the_share_is_there() {
    let mut rig = Rig::new(settings());
    rig.now += 9000 * MS;
    let Action::FindCoordinator { .. } = rig.next() else { panic!("no search") };
    rig.now += 1000 * MS;
    rig.member.on_coordinator(Ok(1), rig.now);
    rig.slow_round(5, &[0, 1], 2000 * MS);
    assert_eq!(rig.took(), 3000 * MS);
}

#[test]
fn a_rebalance_takes_from_when_it_is_learnt_with_the_revocation_and_attempts_that_led_nowhere() {
    let mut rig = Rig::follower(settings());
    rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.revoke();
    rig.now += 500 * MS;
    rig.member.on_revoked(rig.now);
    rig.join_request();
    rig.now += 100 * MS;
    rig.joined(6, "you");
    rig.sync_request();
    rig.answer_sync(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.slow_round(7, &[0], 400 * MS);
    assert_eq!(rig.took(), 1000 * MS);
}

#[test]
fn a_cooperative_member_has_two_rebalances_where_it_gives_something_up() {
    let mut rig = Rig::follower(sharing());
    rig.beat_answered(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.slow_round(6, &[1], 400 * MS);
    rig.revoke();
    assert_eq!(rig.took(), 400 * MS);
    rig.now += 50 * MS;
    rig.member.on_revoked(rig.now);
    rig.slow_round(7, &[1], 200 * MS);
    assert_eq!(rig.took(), 250 * MS);
}

#[test]
fn time_out_of_the_group_does_not_count() {
    let mut rig = Rig::new(settings());
    rig.find(1);
    rig.join_request();
    rig.answer_join(ErrorCode::GROUP_AUTHORIZATION_FAILED, "");
    rig.report();
    rig.now += 60_000 * MS;
    rig.application(2, true, false, rig.now);
    while rig.member.next_deadline().is_some_and(|deadline| deadline > rig.now) {
        rig.wait();
    }
    rig.slow_round(5, &[0], 200 * MS);
    assert_eq!(rig.took(), 200 * MS);
}
