//! What is held, what is done, and a model of both. Pure.

use proptest::prelude::*;

use super::super::holds::unwatched;
use super::*;

fn at(offset: i64) -> FetchPosition {
    FetchPosition { offset, epoch: 3 }
}

/// A lease at offset 10 and a batch of five records there.
fn lease() -> (Lease, Arc<Holds>) {
    counted(false)
}

fn counted(by_record: bool) -> (Lease, Arc<Holds>) {
    let mut lease = Lease::new(LeaseId(1), by_record);
    lease.start_at(at(10));
    (lease, Arc::new(Holds::new(10, 5, unwatched(by_record))))
}

fn hand_out(lease: &mut Lease, read: u64, holds: &Arc<Holds>, index: u32) {
    let offset = 10 + i64::from(index);
    holds.hold(index, offset);
    lease.on_handed_out(read, holds, (index, offset, 1), at(offset + 1));
}

#[test]
fn what_the_latest_read_returned_is_done_when_the_next_begins() {
    let (mut lease, holds) = lease();
    hand_out(&mut lease, 1, &holds, 0);
    holds.release(0);

    assert_eq!(lease.to_commit(1), None);
    assert_eq!(lease.to_commit(2), Some(at(11)));
}

#[test]
fn a_held_record_holds_back_everything_behind_it() {
    let (mut lease, holds) = lease();
    for index in 0..3 {
        hand_out(&mut lease, 1 + u64::from(index), &holds, index);
    }
    holds.release(0);
    holds.release(2);

    assert_eq!(lease.earliest_held(), Some(11));
    assert_eq!(lease.done(9).map(|done| done.offset), Some(11));
    holds.release(1);
    assert_eq!(lease.done(9), Some(at(13)));
}

#[test]
fn a_record_with_two_holders_is_held_until_both_let_go() {
    let (mut lease, holds) = lease();
    hand_out(&mut lease, 1, &holds, 4);
    holds.hold(4, 14);
    holds.release(4);

    assert_eq!(lease.earliest_held(), Some(14));
    holds.release(4);
    assert_eq!(lease.earliest_held(), None);
}

#[test]
fn a_batch_counts_with_all_its_records_and_what_is_taken_out_of_it_by_itself() {
    let (mut lease, holds) = lease();
    holds.hand_out(1, 11);
    lease.on_handed_out(1, &holds, (1, 11, 3), at(14));
    assert_eq!(lease.held(), 3, "the first stands for all");
    holds.hand_out(4, 14);
    lease.on_handed_out(2, &holds, (4, 14, 1), at(15));
    assert_eq!(lease.held(), 4);

    holds.hold(2, 12);
    holds.release_piece(1, 3);
    assert_eq!(lease.held(), 2);
    holds.release(2);
    assert_eq!(lease.held(), 1);
    holds.release(4);
    assert_eq!(lease.held(), 0);

    let (mut lease, holds) = counted(true);
    (0..3).for_each(|index| holds.hand_out(index, 10 + i64::from(index)));
    lease.on_handed_out(1, &holds, (0, 10, 3), at(13));
    holds.release(1);
    assert_eq!(lease.held(), 2, "each by itself");
}

#[test]
fn implicit_commits_go_back_only_after_a_seek() {
    let (mut lease, holds) = lease();
    assert_eq!(lease.to_commit(0), None, "nothing was read");
    hand_out(&mut lease, 1, &holds, 0);
    holds.release(0);
    lease.on_committed(11);
    assert_eq!(lease.to_commit(2), None);

    lease.on_seek(Some(at(5)));
    assert_eq!(lease.to_commit(2), Some(at(5)));
    lease.on_committed(5);
    assert_eq!(lease.to_commit(2), None);
    assert_eq!(lease.reached(), 11, "what was handed out may still be committed");
}

#[test]
fn an_explicit_commit_far_back_is_not_undone() {
    let (mut lease, holds) = lease();
    hand_out(&mut lease, 1, &holds, 3);
    holds.release(3);
    lease.on_committed(14);
    lease.on_committed(10);

    assert_eq!(lease.to_commit(2), None);
}

#[test]
fn one_record_held_for_ever_does_not_pile_up_the_others() {
    let (mut lease, held) = lease();
    hand_out(&mut lease, 0, &held, 0);
    for batch in 1..10_000 {
        let base = 10 + 5 * batch;
        let holds = Arc::new(Holds::new(base, 5, unwatched(false)));
        holds.hold(0, base);
        lease.on_handed_out(1, &holds, (0, base, 5), at(base + 5));
        holds.release(0);
    }

    assert!(lease.outstanding.len() < 200, "{}", lease.outstanding.len());
    assert_eq!(lease.earliest_held(), Some(10));
}

#[test]
fn what_is_acknowledged_is_done_at_once_and_only_in_a_row() {
    let (mut lease, holds) = counted(true);
    for index in 0..4 {
        hand_out(&mut lease, 1, &holds, index);
    }
    let finish = |index| {
        holds.ack(index);
        holds.release(index);
    };
    finish(2);
    assert_eq!(lease.to_commit(1), None);
    finish(0);
    assert_eq!(lease.to_commit(1).map(|done| done.offset), Some(11));
    finish(1);
    assert_eq!(lease.to_commit(1).map(|done| done.offset), Some(13));
    finish(3);
    assert_eq!(lease.to_commit(1), Some(at(14)));
}

#[test]
fn a_record_dropped_without_an_ack_holds_back_the_rest_until_it_comes_again() {
    let (mut lease, holds) = counted(true);
    for index in 0..2 {
        hand_out(&mut lease, 1, &holds, index);
    }
    holds.release(0);
    holds.ack(1);
    holds.release(1);
    assert_eq!((lease.take_dropped(), lease.take_dropped()), (Some(10), None));
    assert_eq!((lease.to_commit(5), lease.is_held()), (None, false));

    lease.on_seek(Some(at(10)));
    let again = Arc::new(Holds::new(10, 5, unwatched(true)));
    hand_out(&mut lease, 2, &again, 0);
    assert_eq!(lease.done(2).map(|done| done.offset), Some(10));
    again.ack(0);
    assert_eq!(lease.done(2), Some(at(11)));
}

#[test]
fn an_explicit_commit_covers_what_was_dropped_without_an_ack() {
    let (mut lease, holds) = counted(true);
    for index in 0..3 {
        hand_out(&mut lease, 1, &holds, index);
    }
    holds.release(0);
    lease.on_committed(12);
    holds.ack(2);
    assert_eq!(lease.to_commit(1), Some(at(13)));
}

#[test]
fn hand_out_waits_far_past_a_gap() {
    let (mut lease, gap) = counted(true);
    hand_out(&mut lease, 0, &gap, 0);
    let most = i64::try_from(MOST_PAST_A_GAP).unwrap();
    for offset in 11..10 + most {
        assert!(!lease.is_far_past_a_gap(), "{offset}");
        let holds = Arc::new(Holds::new(offset, 1, unwatched(true)));
        holds.hold(0, offset);
        lease.on_handed_out(1, &holds, (0, offset, 1), at(offset + 1));
        holds.ack(0);
        holds.release(0);
    }
    gap.release(0);
    assert!(lease.is_far_past_a_gap());
    gap.ack(0);
    assert!(!lease.is_far_past_a_gap());
    assert_eq!(lease.done(1), Some(at(10 + most)));
}

#[test]
fn an_ack_where_none_is_needed_makes_a_record_done_before_the_next_read() {
    let (mut lease, holds) = lease();
    hand_out(&mut lease, 1, &holds, 0);
    holds.ack(0);
    holds.release(0);
    assert_eq!(lease.to_commit(1), Some(at(11)));
}

/// One record as the model sees it.
#[derive(Debug)]
struct Model {
    holds: Arc<Holds>,
    index: u32,
    offset: i64,
    held: bool,
    acked: bool,
    /// Handed out since the last seek.
    current: bool,
}

#[derive(Debug, Clone)]
enum Step {
    /// A batch of so many records, each this far from the one before, of which the first so many are handed out.
    HandOut {
        records: u32,
        apart: i64,
        count: u32,
    },
    Ack(usize),
    Release(usize),
    /// To the offset of one of the records.
    Seek(usize),
    Commit(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let hand_out = (1..6u32, 1..4i64, 1..6u32).prop_map(|(records, apart, count)| Step::HandOut {
        records,
        apart,
        count: count.min(records),
    });
    prop_oneof![
        6 => hand_out,
        6 => any::<usize>().prop_map(Step::Ack),
        6 => any::<usize>().prop_map(Step::Release),
        1 => any::<usize>().prop_map(Step::Seek),
        1 => any::<usize>().prop_map(Step::Commit),
    ]
}

proptest! {
    #[test]
    fn done_is_what_a_list_of_all_records_says(steps in prop::collection::vec(step(), 1..200), by_record: bool) {
        let mut lease = Lease::new(LeaseId(1), by_record);
        lease.start_at(at(0));
        let (mut records, mut position, mut said_done): (Vec<Model>, i64, i64) = (Vec::new(), 0, -1);
        for (read, step) in (1..).zip(steps) {
            let pick = |number: usize| (!records.is_empty()).then(|| number % records.len());
            match step {
                Step::HandOut { records: length, apart, count } => {
                    let holds = Arc::new(Holds::new(position, length as usize, unwatched(by_record)));
                    for index in 0..count {
                        let offset = position + i64::from(index) * apart;
                        holds.hold(index, offset);
                        lease.on_handed_out(read, &holds, (index, offset, 1), at(offset + 1));
                        let holds = holds.clone();
                        records.push(Model { holds, index, offset, held: true, acked: false, current: true });
                    }
                    position += i64::from(count - 1) * apart + 1;
                }
                Step::Ack(number) => if let Some(record) = pick(number).map(|place| &mut records[place]).filter(|record| record.held) {
                    record.holds.ack(record.index);
                    record.acked = true;
                },
                Step::Release(number) => if let Some(record) = pick(number).map(|place| &mut records[place]).filter(|record| record.held) {
                    record.holds.release(record.index);
                    record.held = false;
                },
                Step::Seek(number) => if let Some(place) = pick(number) {
                    position = records[place].offset;
                    lease.on_seek(Some(at(position)));
                    records.iter_mut().for_each(|record| record.current = false);
                    said_done = -1;
                },
                Step::Commit(number) => if let Some(place) = pick(number) {
                    lease.on_committed(records[place].offset + 1);
                    said_done = said_done.max(records[place].offset + 1);
                },
            }
            let unfinished = records.iter().filter(|record| match (by_record, record.current) {
                (false, _) => record.held,
                (true, true) => !record.acked && record.offset >= said_done,
                (true, false) => !record.acked && record.held,
            });
            let done = unfinished.map(|record| record.offset).min().unwrap_or(position).min(position);
            prop_assert_eq!(lease.done(read + 1).map(|done| done.offset), Some(done));
            prop_assert_eq!(lease.is_held(), records.iter().any(|record| record.held));
        }
    }
}
