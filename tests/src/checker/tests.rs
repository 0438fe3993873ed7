//! Histories by hand: for each promise one that breaks it and nothing else, beside its twin that keeps it. Pure.

use super::*;

fn name(partition: i32) -> TopicPartition {
    TopicPartition::new("orders", partition)
}

/// Partition 0 has `end` records, at offsets 0, 1, … but for the `hidden` ones.
fn log(end: i64, hidden: &[i64]) -> Truth {
    let visible = (0..end).filter(|offset| !hidden.contains(offset));
    Truth::from([(name(0), visible.map(|offset| (offset, format!("v{offset}"))).collect())])
}

fn assigned(committed: i64) -> What {
    What::Assigned(vec![(name(0), Some(committed))])
}

fn from_the_beginning() -> What {
    What::Assigned(vec![(name(0), None)])
}

fn revoked() -> What {
    What::Revoked(vec![name(0)])
}

fn lost() -> What {
    What::Lost(vec![name(0)])
}

fn delivered(offset: i64) -> What {
    What::Delivered(name(0), offset, format!("v{offset}"))
}

fn processed(offset: i64) -> What {
    What::Processed(name(0), offset)
}

fn commits(offset: i64) -> What {
    What::CommitStart { partition: name(0), offset, moves_back: false }
}

fn commits_back(offset: i64) -> What {
    What::CommitStart { partition: name(0), offset, moves_back: true }
}

fn stored(offset: i64) -> What {
    What::CommitOk(name(0), offset)
}

fn refused(offset: i64) -> What {
    What::CommitFailed(name(0), offset)
}

fn group_has(offset: i64) -> What {
    What::Committed(name(0), offset)
}

/// One after the other, a millisecond apart.
fn history(events: Vec<(usize, What)>) -> Vec<Event> {
    (1..).zip(events).map(|(at, (member, what))| Event { at: Duration::from_millis(at), member, what }).collect()
}

/// A member gets these offsets and finishes each at once.
fn reads(member: usize, offsets: std::ops::Range<i64>) -> Vec<(usize, What)> {
    offsets.flat_map(|offset| [(member, delivered(offset)), (member, processed(offset))]).collect()
}

fn all(parts: impl IntoIterator<Item = Vec<(usize, What)>>) -> Vec<(usize, What)> {
    parts.into_iter().flatten().collect()
}

fn verdict(events: Vec<(usize, What)>, truth: &Truth) -> Vec<Invariant> {
    let report = check(&history(events), truth, Duration::ZERO);
    report.violations.iter().map(|violation| violation.invariant).collect()
}

#[test]
fn a_group_that_keeps_its_promises_is_not_blamed() {
    let truth = log(10, &[3, 4]);
    let events = all([
        vec![(0, from_the_beginning())],
        reads(0, 0..3),
        vec![(0, commits(3)), (0, group_has(3)), (0, stored(3)), (0, delivered(5)), (0, What::Revoking(vec![name(0)]))],
        vec![(0, processed(5)), (0, revoked()), (0, group_has(6)), (1, assigned(6)), (1, delivered(6))],
        vec![(1, What::SessionExpired), (2, assigned(6))],
        reads(2, 6..10),
        vec![(1, What::Resumed), (1, delivered(7)), (1, commits(8)), (1, refused(8)), (1, lost())],
        vec![(2, What::Seek(name(0), 8))],
        reads(2, 8..10),
        vec![(2, commits_back(9)), (2, group_has(9)), (2, stored(9)), (2, group_has(10)), (2, revoked())],
    ]);
    let figures = check(&history(events), &truth, Duration::ZERO).expect_clean();
    assert_eq!((figures.delivered, figures.repeated, figures.by_zombies, figures.moved), (12, 3, 1, 2));
    assert_eq!(figures.longest_pause, Duration::from_millis(6));
}

#[test]
fn each_broken_promise_is_reported_as_that_one() {
    type History = Vec<(usize, What)>;
    let read_all = |member| all([vec![(member, from_the_beginning())], reads(member, 0..4)]);
    let hand_over = |between: History| {
        all([vec![(0, from_the_beginning())], reads(0, 0..2), between, vec![(1, assigned(2))], reads(1, 2..4)])
    };
    let then = |mut events: History, more: History| {
        events.extend(more);
        events
    };
    let value_of_another = What::Delivered(name(0), 0, "v1".to_owned());
    let first_two = || all([vec![(0, from_the_beginning())], reads(0, 0..2)]);
    let end = || vec![(0, group_has(2)), (0, revoked())];
    let cases: Vec<(Invariant, &str, History, History)> = vec![
        (
            Invariant::I7,
            "another value than the log's",
            all([vec![(0, from_the_beginning()), (0, value_of_another), (0, processed(0))], reads(0, 1..4)]),
            read_all(0),
        ),
        (
            Invariant::I8,
            "a record is skipped",
            all([first_two(), reads(0, 3..4), vec![(0, processed(2))]]),
            all([first_two(), vec![(0, What::Seek(name(0), 3))], reads(0, 3..4), vec![(0, processed(2))]]),
        ),
        (
            Invariant::I8,
            "a step back",
            all([first_two(), reads(0, 1..4)]),
            all([first_two(), vec![(0, What::Seek(name(0), 1))], reads(0, 1..4)]),
        ),
        (
            Invariant::I9,
            "an assignment begins behind the commit",
            then(hand_over(end()), all([vec![(1, revoked()), (0, assigned(2))], reads(0, 3..4)])),
            then(hand_over(end()), all([vec![(1, revoked()), (0, assigned(2))], reads(0, 2..4)])),
        ),
        (
            Invariant::I9,
            "an assignment begins before the commit",
            all([first_two(), end(), vec![(1, assigned(2))], reads(1, 1..4)]),
            all([first_two(), end(), vec![(1, assigned(2))], reads(1, 2..4)]),
        ),
        (
            Invariant::I9,
            "without a commit it does not begin at the beginning",
            all([vec![(0, from_the_beginning())], reads(0, 1..4), vec![(0, processed(0))]]),
            read_all(0),
        ),
        (
            Invariant::I10,
            "what is seen to be committed is not processed",
            all([
                vec![(0, from_the_beginning()), (0, delivered(0)), (0, group_has(1)), (0, processed(0))],
                reads(0, 1..4),
            ]),
            all([
                vec![(0, from_the_beginning()), (0, delivered(0)), (0, processed(0)), (0, group_has(1))],
                reads(0, 1..4),
            ]),
        ),
        (
            Invariant::I10,
            "what is said to be committed was not processed when it was said",
            all([
                vec![(0, from_the_beginning()), (0, delivered(0)), (0, commits(1)), (0, processed(0)), (0, stored(1))],
                reads(0, 1..4),
            ]),
            all([
                vec![(0, from_the_beginning()), (0, delivered(0)), (0, commits(1)), (0, processed(0)), (0, refused(1))],
                reads(0, 1..4),
            ]),
        ),
        (
            Invariant::I10,
            "a commit goes past a gap",
            all([first_two(), vec![(0, delivered(2))], reads(0, 3..4), vec![(0, group_has(4)), (0, processed(2))]]),
            all([first_two(), vec![(0, delivered(2))], reads(0, 3..4), vec![(0, group_has(2)), (0, processed(2))]]),
        ),
        (
            Invariant::I11,
            "what is committed goes back",
            then(read_all(0), vec![(0, group_has(4)), (0, group_has(3))]),
            then(read_all(0), vec![(0, group_has(4)), (0, commits_back(3)), (0, group_has(3))]),
        ),
        (
            Invariant::I11,
            "it goes back further than the application wants",
            then(read_all(0), vec![(0, group_has(4)), (0, commits_back(3)), (0, group_has(2))]),
            then(read_all(0), vec![(0, group_has(4)), (0, What::Seek(name(0), 1)), (0, group_has(2))]),
        ),
        (
            Invariant::I12,
            "two members own a partition",
            hand_over(vec![(0, group_has(2))]),
            hand_over(vec![(0, group_has(2)), (0, What::SessionExpired)]),
        ),
        (
            Invariant::I12,
            "it is lost twice",
            then(read_all(0), vec![(0, lost()), (0, lost())]),
            then(read_all(0), vec![(0, lost())]),
        ),
        (
            Invariant::I12,
            "a commit of a member that the group went on without is stored",
            then(hand_over(vec![(0, group_has(2)), (0, What::SessionExpired)]), vec![(0, commits(2)), (0, stored(2))]),
            then(hand_over(vec![(0, group_has(2)), (0, What::SessionExpired)]), vec![(0, commits(2)), (0, refused(2))]),
        ),
        (
            Invariant::I13,
            "a record comes after the revocation",
            all([first_two(), end(), vec![(0, delivered(2)), (1, assigned(2))], reads(1, 2..4)]),
            all([first_two(), end(), vec![(1, assigned(2))], reads(1, 2..4)]),
        ),
        (
            Invariant::I13,
            "a record comes while it is revoked",
            all([
                vec![(0, from_the_beginning()), (0, What::Revoking(vec![name(0)]))],
                reads(0, 0..1),
                vec![(0, revoked())],
                vec![(1, from_the_beginning())],
                reads(1, 0..4),
            ]),
            all([
                vec![(0, from_the_beginning())],
                reads(0, 0..1),
                vec![(0, What::Revoking(vec![name(0)])), (0, revoked())],
                vec![(1, from_the_beginning())],
                reads(1, 0..4),
            ]),
        ),
        (
            Invariant::I13,
            "a record of a partition that was never assigned",
            all([reads(0, 0..1), read_all(1)]),
            all([vec![(0, from_the_beginning())], reads(0, 0..1), vec![(0, revoked())], read_all(1)]),
        ),
        (
            Invariant::I13,
            "what is lost is committed",
            then(read_all(0), vec![(0, lost()), (0, commits(4)), (0, stored(4))]),
            then(read_all(0), vec![(0, commits(4)), (0, stored(4)), (0, lost())]),
        ),
        (
            Invariant::I14,
            "a record is not processed",
            all([vec![(0, from_the_beginning())], reads(0, 0..3)]),
            read_all(0),
        ),
        (
            Invariant::I15,
            "what was said to be stored is read again",
            all([
                first_two(),
                vec![(0, commits(2)), (0, stored(2)), (0, revoked()), (1, from_the_beginning())],
                reads(1, 0..1),
                vec![(1, What::Seek(name(0), 2))],
                reads(1, 2..4),
            ]),
            all([
                first_two(),
                vec![(0, commits(2)), (0, refused(2)), (0, revoked()), (1, from_the_beginning())],
                reads(1, 0..1),
                vec![(1, What::Seek(name(0), 2))],
                reads(1, 2..4),
            ]),
        ),
    ];
    let truth = log(4, &[]);
    for (invariant, what, bad, good) in cases {
        assert_eq!(verdict(bad, &truth), [invariant], "{what}");
        assert_eq!(verdict(good, &truth), [], "the twin of: {what}");
    }
}

#[test]
fn a_report_names_what_it_is_about_and_shows_what_was_around() {
    let events = all([vec![(7, from_the_beginning())], reads(7, 0..3), reads(7, 4..9)]);
    let report = check(&history(events), &log(9, &[]), Duration::ZERO);
    let text = report.to_string();
    let expected = [
        "I8 (no skip, no step back), member 7, orders-0, offsets [4]: offset 3 comes next\n",
        "0.0060 s  member 7   delivered orders-0@2 \"v2\"\n",
        "0.0080 s  member 7   delivered orders-0@4 \"v4\"\n",
        "0.0110 s  member 7   processed orders-0@5\n",
        "I14 (all is processed), orders-0, offsets [3]: nobody has processed them\n",
    ];
    for line in expected {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert_eq!(report.violations[0].around.len(), 7);
}

#[test]
fn threads_may_note_a_record_a_little_late() {
    let events = || {
        history(all([
            vec![(0, from_the_beginning()), (0, What::Revoking(vec![name(0)])), (0, delivered(0)), (0, processed(0))],
            vec![(0, revoked()), (1, from_the_beginning())],
            reads(1, 0..2),
        ]))
    };
    let truth = log(2, &[]);
    check(&events(), &truth, Duration::from_millis(1)).expect_clean();
    let mut late = events();
    late[2..].iter_mut().for_each(|event| event.at += Duration::from_millis(1));
    let report = check(&late, &truth, Duration::from_millis(1));
    assert_eq!(report.violations.iter().map(|violation| violation.invariant).collect::<Vec<_>>(), [Invariant::I13]);
}

#[test]
fn a_partition_that_is_given_away_while_records_of_it_are_worked_on_is_counted() {
    for (ended, unfinished) in [(revoked(), 1), (lost(), 0)] {
        let events = all([
            vec![(0, from_the_beginning()), (0, delivered(0)), (0, ended), (1, from_the_beginning())],
            reads(1, 0..4),
            vec![(0, processed(0))],
        ]);
        let figures = check(&history(events), &log(4, &[]), Duration::ZERO).expect_clean();
        assert_eq!(figures.unfinished, unfinished);
    }
}
