//! Positions in virtual time. Pure.

use super::*;

const MS: Duration = Duration::from_millis(1);

fn at(offset: i64, epoch: i32) -> FetchPosition {
    FetchPosition { offset, epoch }
}

fn ask(position: &mut ReadPosition) -> Question {
    position.next_question(Time::ZERO).expect("a question")
}

#[test]
fn an_offset_is_fetched_at_once_and_the_others_are_asked_for() {
    assert_eq!(ReadPosition::new(Position::Offset(7), LeaseId(0), false).fetch_from(Time::ZERO), Some(at(7, -1)));
    for (start, wanted) in [
        (Position::Beginning, Ask::Offset(-2)),
        (Position::End, Ask::Offset(-1)),
        (Position::Committed, Ask::Committed),
        (Position::Timestamp(SystemTime::UNIX_EPOCH + 5 * MS), Ask::Offset(5)),
    ] {
        let mut position = ReadPosition::new(start, LeaseId(0), false);
        assert_eq!(position.fetch_from(Time::ZERO), None);
        assert_eq!(ask(&mut position).ask, wanted);
        assert_eq!(position.next_question(Time::ZERO), None, "asked already");
    }
}

#[test]
fn without_a_record_as_late_as_the_timestamp_it_starts_at_the_end() {
    let mut position = ReadPosition::new(Position::Timestamp(SystemTime::UNIX_EPOCH + 5 * MS), LeaseId(0), false);
    let question = ask(&mut position);
    assert_eq!(position.on_offset(question.generation, None), Resolved::Nothing);

    assert_eq!(ask(&mut position).ask, Ask::Offset(-1));
}

#[test]
fn a_record_appended_before_the_end_was_asked_for_is_looked_for_once_more() {
    for (found, start) in [(Some(at(6, 1)), 6), (None, 9), (Some(at(12, 1)), 9)] {
        let start_at = Position::Timestamp(SystemTime::UNIX_EPOCH + 5 * MS);
        let mut position = ReadPosition::new(start_at, LeaseId(0), false);
        for (answer, asked) in [(None, 5), (Some(at(9, 1)), -1)] {
            let question = ask(&mut position);
            assert_eq!(question.ask, Ask::Offset(asked));
            assert_eq!(position.on_offset(question.generation, answer), Resolved::Nothing);
        }
        let question = ask(&mut position);
        assert_eq!(question.ask, Ask::Offset(5));
        position.on_offset(question.generation, found);

        assert_eq!(position.fetch_from(Time::ZERO), Some(at(start, 1)));
    }
}

#[test]
fn a_committed_offset_of_a_newer_leader_epoch_waits_for_the_metadata() {
    let mut position = ReadPosition::new(Position::Committed, LeaseId(0), false);
    assert!(!position.lags_behind(at(120, 6)), "the broker may tell no epochs");
    position.on_leader_epoch(5);
    let (mut now, mut waited) = (Time::ZERO, 0);
    while position.lags_behind(at(120, 6)) {
        let question = position.next_question(now).expect("the committed offset is asked for again");
        position.on_no_answer(question.generation, now, MS);
        assert_eq!(position.fetch_from(now), None);
        now += MS;
        waited += 1;
    }
    assert_eq!(waited, 12, "an epoch that nobody has ever had is not waited for");

    let mut position = ReadPosition::new(Position::Committed, LeaseId(0), false);
    position.on_leader_epoch(5);
    assert!(position.lags_behind(at(120, 6)) && !position.lags_behind(at(120, 5)));
    position.on_leader_epoch(6);
    assert!(!position.lags_behind(at(120, 6)));
}

#[test]
fn without_a_committed_offset_the_policy_decides() {
    let mut position = ReadPosition::new(Position::Committed, LeaseId(0), false);
    let question = ask(&mut position);
    position.on_committed(question.generation, None, Some(Target::End));
    assert_eq!(ask(&mut position).ask, Ask::Offset(-1));

    let mut position = ReadPosition::new(Position::Committed, LeaseId(0), false);
    let question = ask(&mut position);
    assert_eq!(position.on_committed(question.generation, None, None), Resolved::NoPolicy);
    assert!(position.is_settled() && position.fetch_from(Time::ZERO).is_none());
    assert!(position.no_policy(&("t", 0).into()).to_string().contains("t-0 has no committed offset"));
}

#[test]
fn answers_from_before_a_seek_do_not_count() {
    let mut position = ReadPosition::new(Position::Beginning, LeaseId(0), false);
    let question = ask(&mut position);
    position.seek(Position::End);
    let newer = ask(&mut position);
    assert_eq!(position.on_offset(question.generation, Some(at(3, 0))), Resolved::Nothing);
    assert!(!position.is_settled());
    let resolved = position.on_offset(newer.generation, Some(at(9, 0)));
    assert_eq!(resolved, Resolved::At { position: at(9, 0), reset_from: None });

    let generation = position.generation();
    assert!(position.is_current(generation, 9));
    position.seek(Position::Offset(9));
    assert!(!position.is_current(generation, 9), "the same offset, but another question");
}

#[test]
fn a_committed_offset_that_arrives_after_a_seek_does_not_undo_it() {
    for elsewhere in [Position::Offset(9), Position::End] {
        let mut position = ReadPosition::new(Position::Committed, LeaseId(0), false);
        let late = ask(&mut position);
        position.seek(elsewhere);
        let newer = position.next_question(Time::ZERO);
        assert_eq!(position.on_committed(late.generation, Some(at(3, 0)), None), Resolved::Nothing, "{elsewhere:?}");
        match newer {
            None => assert_eq!(position.fetch_from(Time::ZERO), Some(at(9, -1))),
            Some(newer) => {
                let resolved = position.on_offset(newer.generation, Some(at(20, 0)));
                assert_eq!(resolved, Resolved::At { position: at(20, 0), reset_from: None });
            }
        }
    }
}

#[test]
fn an_offset_out_of_range_is_reset_by_policy() {
    let mut position = ReadPosition::new(Position::Offset(5), LeaseId(0), false);
    assert_eq!(position.reset(Some(Target::Beginning)), Resolved::Nothing);
    let question = ask(&mut position);
    let resolved = position.on_offset(question.generation, Some(at(50, 2)));
    assert_eq!(resolved, Resolved::At { position: at(50, 2), reset_from: Some(5) });

    assert_eq!(position.reset(None), Resolved::NoPolicy);
    assert!(position.no_policy(&("t", 0).into()).to_string().starts_with("offset 50 of t-0 is not in the log"));
    position.seek(Position::Offset(60));
    assert_eq!(position.fetch_from(Time::ZERO), Some(at(60, -1)));
}

#[test]
fn a_new_leader_epoch_is_validated_before_the_next_fetch() {
    let mut position = ReadPosition::new(Position::Offset(5), LeaseId(0), false);
    position.on_leader_epoch(3);
    assert!(position.fetch_from(Time::ZERO).is_some(), "nothing was read yet that could differ");
    position.on_fetched(at(20, 3));
    position.on_leader_epoch(4);
    assert_eq!(position.fetch_from(Time::ZERO), None);

    let question = ask(&mut position);
    assert_eq!(question.ask, Ask::EpochEnd(3));
    assert_eq!(position.on_epoch_end(question.generation, at(25, 3), None), Resolved::Nothing);
    assert_eq!(position.fetch_from(Time::ZERO), Some(at(20, 3)));
    position.on_leader_epoch(4);
    assert!(position.fetch_from(Time::ZERO).is_some(), "checked already");
}

#[test]
fn a_log_that_ends_below_the_position_was_cut() {
    let mut position = ReadPosition::new(Position::Offset(5), LeaseId(0), false);
    position.on_fetched(at(20, 3));
    position.on_leader_epoch(4);
    let question = ask(&mut position);
    assert_eq!(position.on_epoch_end(question.generation, at(12, 2), None), Resolved::Cut(at(12, 2)));

    let mut position = ReadPosition::new(Position::Offset(5), LeaseId(0), false);
    position.on_fetched(at(20, 3));
    position.on_leader_epoch(4);
    let question = ask(&mut position);
    assert_eq!(position.on_epoch_end(question.generation, at(-1, -1), None), Resolved::NoPolicy);
}

#[test]
fn a_question_without_an_answer_is_asked_again_after_a_pause() {
    let mut position = ReadPosition::new(Position::Beginning, LeaseId(0), false);
    let question = ask(&mut position);
    position.on_no_answer(question.generation, 10 * MS, 100 * MS);

    assert_eq!(position.next_deadline(), Some(110 * MS));
    assert_eq!(position.next_question(109 * MS), None);
    assert!(position.next_question(110 * MS).is_some());
    assert_eq!(position.attempts(), 1);
}

#[test]
fn a_failed_fetch_pauses_until_the_leader_changes() {
    let mut position = ReadPosition::new(Position::Offset(5), LeaseId(0), false);
    position.on_leader_epoch(1);
    position.on_fetch_failed(Time::ZERO, 1000 * MS);
    assert_eq!(position.fetch_from(999 * MS), None);

    position.on_leader_epoch(2);
    assert!(position.fetch_from(Time::ZERO).is_some());
}

#[test]
fn a_partition_that_appeared_later_begins_at_its_beginning() {
    for (is_new, policy, ask) in [
        (true, Target::End, Ask::Offset(EARLIEST)),
        (false, Target::End, Ask::Offset(LATEST)),
        (true, Target::Beginning, Ask::Offset(EARLIEST)),
    ] {
        let mut position = ReadPosition::new(Position::Committed, LeaseId(0), is_new);
        let question = position.next_question(Time::ZERO).unwrap();
        position.on_committed(question.generation, None, Some(policy));
        assert_eq!(position.next_question(Time::ZERO).map(|question| question.ask), Some(ask));
    }
}

#[test]
fn an_answer_of_the_old_leader_does_not_count_under_the_new_one() {
    let mut position = ReadPosition::new(Position::Offset(5), LeaseId(0), false);
    position.on_leader_epoch(3);
    let asked = position.generation();
    position.on_leader_epoch(4);
    assert!(!position.is_current(asked, 5), "its log need not be the new leader's, even if nothing was read yet");

    position.on_fetched(at(20, 4));
    let asked = position.generation();
    position.on_leader_epoch(5);
    let question = ask(&mut position);
    position.on_epoch_end(question.generation, at(20, 4), None);
    assert_eq!(position.fetch_from(Time::ZERO), Some(at(20, 4)));
    assert!(!position.is_current(asked, 20));
}

#[test]
fn what_one_leader_validated_does_not_count_under_the_next() {
    let mut position = ReadPosition::new(Position::Offset(5), LeaseId(0), false);
    position.on_leader_epoch(3);
    position.on_fetched(at(20, 3));
    position.on_leader_epoch(4);
    let question = ask(&mut position);
    position.on_leader_epoch(5);
    assert_eq!(position.on_epoch_end(question.generation, at(20, 3), None), Resolved::Nothing);
    assert_eq!(position.fetch_from(Time::ZERO), None);
    assert_eq!(ask(&mut position).ask, Ask::EpochEnd(3));
}

#[test]
fn what_a_former_leader_was_asked_is_asked_of_the_new_one() {
    let mut position = ReadPosition::new(Position::Beginning, LeaseId(0), false);
    position.on_leader_epoch(1);
    let former = ask(&mut position);
    position.on_leader_epoch(2);
    let question = ask(&mut position);
    assert_eq!((question.ask, position.on_offset(former.generation, Some(at(7, 1)))), (former.ask, Resolved::Nothing));
    position.on_offset(question.generation, Some(at(3, 1)));

    assert_eq!(position.fetch_from(Time::ZERO), Some(at(3, 1)));
}
