//! What the application holds, has done, and may commit; and partitions that come and go. Pure.

use super::*;

#[test]
fn a_commit_is_refused_while_something_before_it_is_held() {
    let mut reader = Reader::new(&[Position::Offset(0)]);
    reader.fetch(0, &[three(0)]);
    let (first, second) = (reader.next().unwrap(), reader.next().unwrap());

    assert_eq!(reader.committable(&first), [(0, 1, 3)]);
    assert!(reader.refused(&second).contains("the record at offset 0 before it is still held"));
    drop(first);
    assert_eq!(reader.committable(&second), [(0, 2, 3)]);
    assert!(reader.refused(Offsets::at(name(0), 3)).contains("nothing beyond offset 2 was handed out"));
    assert_eq!(reader.committable(Offsets::at(name(0), 0)), [(0, 0, -1)]);
    assert!(reader.refused(Offsets::at(name(7), 0)).contains("t-7 is not assigned"));
}

#[test]
fn a_batch_and_its_views_can_be_committed_while_it_is_held() {
    let mut reader = Reader::new(&[Position::Offset(0)]);
    reader.fetch(0, &[three(0), batch(&[3, 4], 9)]);
    let batch = reader.batch(10);

    let fourth = batch.iter().nth(3).unwrap();
    assert_eq!(reader.committable(fourth), [(0, 4, 3)]);
    assert_eq!(reader.committable(&batch), [(0, 9, 3)], "behind the whole of a compacted batch");
    let kept = fourth.to_owned();
    drop(batch);
    reader.fetch(0, &[three(9)]);
    let next = reader.next().unwrap();
    assert!(reader.refused(&next).contains("offset 3"));
    drop(kept);
    assert_eq!(reader.committable(&next), [(0, 10, 3)]);
}

#[test]
fn what_is_done_is_known_record_by_record() {
    let mut reader = Reader::new(&[Position::Offset(0)]);
    reader.fetch(0, &[three(0)]);
    let done = |reader: &Reader| reader.assignment.done().first().map(|done| done.next.offset);
    let first = reader.next().unwrap();
    drop(reader.next().unwrap());
    assert_eq!(done(&reader), None, "the first is held");
    drop(first);
    assert_eq!(done(&reader), Some(1), "the second may still be worked on");
    reader.assignment.begin_read();
    assert_eq!(done(&reader), Some(2));

    let committed = reader.assignment.done();
    reader.assignment.on_committed(&committed);
    assert_eq!(done(&reader), None);
    reader.assignment.seek(&name(0), Position::Offset(1)).unwrap();
    reader.assignment.on_committed(&committed);
    assert_eq!(done(&reader), Some(1), "a commit from before the seek is history");
}

#[test]
fn a_batch_can_be_read_again() {
    let mut reader = Reader::new(&[Position::Offset(0), Position::Offset(0)]);
    reader.fetch(0, &[three(0)]);
    reader.fetch(1, &[three(0)]);
    drop(reader.next());
    let batch = reader.batch(4);
    assert_eq!(reader.rest().len(), 1);
    reader.assignment.rewind(&batch).unwrap();

    assert_eq!((reader.position(0), reader.position(1)), (Some(1), Some(0)));
}

#[test]
fn a_detached_record_frees_the_frame_and_stays_itself() {
    let mut reader = Reader::new(&[Position::Offset(0)]);
    let frame = reader.budget.charge(1 << 20).attach(Bytes::from(three(0)));
    let asked = reader.asked(0).unwrap();
    let intake = READING.sort_out(&name(0), asked.position, frame, vec![]);
    reader.assignment.on_fetched(&name(0), asked, 3, intake);
    let _ = reader.next();
    let record = reader.next().unwrap();
    assert_eq!(reader.rest().len(), 1);
    assert!(reader.budget.reserve(1).is_none(), "the record holds the frame");

    let record = record.detach();
    assert!(reader.budget.reserve(1).is_some());
    assert_eq!((record.offset(), record.value()), (1, Some(&b"v1"[..])));
    assert_eq!(record.timestamp(), std::time::SystemTime::UNIX_EPOCH + Duration::from_millis(1005));
    assert_eq!(record.headers().len(), 1);
    let earliest_held = |reader: &Reader| reader.assignment.get(&name(0)).unwrap().lease.earliest_held();
    assert_eq!(earliest_held(&reader), Some(1));
    drop(record);
    assert_eq!(earliest_held(&reader), None);
}

#[test]
fn nothing_is_handed_out_after_stop() {
    let mut reader = Reader::new(&[Position::Offset(0)]);
    reader.fetch(0, &[three(0)]);
    reader.assignment.stop();

    assert!(matches!(reader.next(), Err(Blocked::Stopped)));
    assert_eq!(reader.position(0), Some(0));
}

#[test]
fn what_was_asked_under_one_lease_does_not_count_under_the_next() {
    let mut reader = Reader::new(&[Position::Offset(0), Position::Offset(0)]);
    reader.fetch(1, &[three(0)]);
    let late = reader.asked(0).unwrap();
    let Err(Blocked::Decode(undecoded)) = reader.assignment.next_record() else { panic!("a batch waits") };
    reader.assignment.end_all();
    assert!(reader.assignment.names(|_| true).is_empty() && reader.rest().is_empty());
    reader.assignment.add((0..2).map(|partition| (name(partition), Position::Offset(0))));
    reader.assignment.on_view(&view(1, 3, 2), Some(Target::Beginning));

    reader.bring(0, late, &[three(0)]);
    let decoded = undecoded.decode(&READING, &reader.budget);
    reader.assignment.on_decoded(&undecoded, decoded);
    assert_eq!(reader.rest(), []);
    reader.fetch(0, &[three(0)]);
    assert_eq!(reader.rest(), [(0, 0), (0, 1), (0, 2)]);
}

#[test]
fn what_goes_can_be_finished_until_it_is_gone() {
    let mut reader = Reader::new(&[Position::Offset(0)]);
    reader.fetch(0, &[three(0), three(3)]);
    let (first, second) = (reader.next().unwrap(), reader.next().unwrap());
    reader.assignment.begin_to_end(&[name(0)]);
    assert_eq!((reader.rest(), reader.asked(0)), (vec![], None), "nothing more of it comes");
    assert!(reader.assignment.is_held());
    drop(first);
    assert_eq!(reader.committable(&second), [(0, 2, 3)]);

    let checked = reader.assignment.check(&Offsets::from(&second)).unwrap();
    reader.assignment.end_all();
    reader.assignment.add([(name(0), Position::Offset(0))]);
    assert!(reader.refused(&second).contains("t-0 is not assigned"), "another lease");
    assert_eq!(reader.assignment.check_lease(&checked[0]).unwrap_err().kind(), ErrorKind::PartitionLost);
    reader.assignment.on_committed(&checked);
    assert_eq!(second.value(), Some(&b"v1"[..]), "it stays readable");
    assert!(!reader.assignment.is_held());
}

#[test]
fn a_commit_that_is_answered_while_its_partition_goes_is_not_followed_by_a_lower_one() {
    let mut reader = Reader::counting(vec![(name(0), Position::Offset(0))], true);
    reader.fetch(0, &[three(0)]);
    let first = reader.next().unwrap();
    let second = reader.next().unwrap();
    let first = {
        let offsets = Offsets::from(&first);
        first.ack();
        offsets
    };
    let checked = reader.assignment.check(&Offsets::from(&second)).unwrap();
    let queued = reader.assignment.check(&first).unwrap();
    reader.assignment.begin_to_end(&[name(0)]);
    reader.assignment.on_committed(&checked);
    assert!(reader.assignment.is_stored(&queued[0]), "it was queued behind the other");
    drop(second);
    assert_eq!(reader.assignment.done(), [], "offset 2 is stored");
}

#[test]
fn what_is_announced_is_not_read_before_it_is_open_and_a_seek_in_between_wins() {
    let mut reader = Reader::new(&[]);
    reader.assignment.add_committed(&[name(0), name(1)], true, |_| false);
    reader.assignment.on_view(&view(1, 3, 2), Some(Target::Beginning));
    assert!(reader.assignment.questions(Time::ZERO).is_empty());
    reader.assignment.seek(&name(0), Position::Offset(7)).unwrap();
    assert_eq!(reader.asked(0), None);

    reader.assignment.open();
    assert_eq!(reader.asked(0).map(|asked| asked.position.offset), Some(7));
    let questions = reader.assignment.questions(Time::ZERO);
    assert_eq!(questions.iter().map(|question| question.partition.partition()).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_partition_far_past_a_gap_waits_while_the_others_flow() {
    let partitions = (0..2).map(|index| (name(index), Position::Offset(0))).collect();
    let mut reader = Reader::counting(partitions, true);
    let batch_of = |base: i64| batch(&(base..base + 500).collect::<Vec<_>>(), base + 500);
    let mut batches = Vec::new();
    for index in 0..21 {
        reader.fetch(0, &[batch_of(500 * index)]);
        batches.push(reader.batch(500));
    }
    assert_eq!(batches.iter().map(Batch::len).sum::<usize>(), 10_000, "and not one more");
    reader.fetch(1, &[three(0)]);
    assert_eq!(reader.rest(), [(1, 0), (1, 1), (1, 2)]);

    batches.remove(0).ack();
    assert_eq!(reader.batch(500).len(), 500);
    assert_eq!(reader.assignment.done().first().map(|done| done.next.offset), Some(500));
}

#[test]
fn what_stays_while_others_go_keeps_its_lease_its_pause_and_what_waits() {
    let mut reader = Reader::new(&[Position::Offset(0), Position::Offset(0), Position::Offset(0)]);
    for partition in 0..3 {
        reader.fetch(partition, &[three(0)]);
    }
    let held = reader.next().unwrap();
    let kept = reader.next().unwrap();
    assert_eq!((held.partition(), kept.partition()), (0, 0));
    reader.assignment.pause(&name(2)).unwrap();
    drop(kept);

    reader.assignment.begin_to_end(&[name(1)]);
    assert!(!reader.assignment.is_held_while_ending() && reader.assignment.is_held());
    assert_eq!(reader.rest(), [(0, 2)]);
    reader.assignment.end(&[name(1)]);
    assert_eq!(reader.assignment.names(|_| true), [name(0), name(2)]);
    assert_eq!(reader.assignment.names(|paused| paused), [name(2)]);
    reader.assignment.resume(&name(2)).unwrap();
    assert_eq!(reader.rest(), [(2, 0), (2, 1), (2, 2)]);
    assert_eq!(reader.committable(&held), [(0, 1, 3)], "the same lease");
}

#[test]
fn who_commits_less_than_was_committed_changes_nothing_unless_it_says_the_offset() {
    let mut reader = Reader::new(&[Position::Offset(0)]);
    reader.fetch(0, &[three(0)]);
    let first = Offsets::from(&reader.next().unwrap());
    let less = |reader: &Reader, offsets: &Offsets| {
        let checked = reader.assignment.check(offsets).unwrap();
        reader.assignment.is_stored(&checked[0])
    };
    assert!(!less(&reader, &first), "nothing is stored yet");
    let second = Offsets::from(&reader.next().unwrap());
    reader.assignment.on_committed(&reader.assignment.check(&second).unwrap());

    assert!(less(&reader, &first) && less(&reader, &second));
    assert!(!less(&reader, &second.with_metadata("news")) && less(&reader, &first.clone().with_metadata("old news")));
    let back = Offsets::at(name(0), 1);
    assert!(!less(&reader, &back), "on purpose");
    reader.assignment.on_committed(&reader.assignment.check(&back).unwrap());
    assert!(!less(&reader, &Offsets::at(name(0), 2)));
    let third = Offsets::from(&reader.next().unwrap());
    assert!(!less(&reader, &third), "on from there");
    reader.assignment.seek(&name(0), Position::Offset(0)).unwrap();
    reader.fetch(0, &[three(0)]);
    let again = Offsets::from(&reader.next().unwrap());
    assert!(!less(&reader, &again), "after a seek");
}
