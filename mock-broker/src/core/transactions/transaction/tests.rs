//! Each state with each request, in both versions. Pure.

use super::*;

const ID: i64 = 7;
const NEW_ID: i64 = 1000;

fn new_id() -> impl FnMut() -> Result<i64, ErrorCode> {
    || Ok(NEW_ID)
}

fn at(epoch: i16) -> Identity {
    Identity { producer_id: ID, epoch }
}

fn partition(index: i32) -> TopicPartition {
    ("t".to_owned(), index)
}

/// In epoch 5, before which was 4.
fn in_state(state: TransactionState) -> Transaction {
    let partitions = match state {
        TransactionState::Ongoing | TransactionState::PrepareCommit | TransactionState::PrepareAbort => {
            [partition(0)].into()
        }
        TransactionState::Empty | TransactionState::CompleteCommit | TransactionState::CompleteAbort => [].into(),
    };
    let base = Transaction::new(ID, 1000);
    Transaction { state, epoch: 5, last_epoch: 4, previous_producer_id: ID, partitions, started_ms: 50, ..base }
}

fn init(transaction: &Transaction, expected: Option<Identity>) -> Result<Init, ErrorCode> {
    transaction.init(2000, expected, Epochs::Bump, 100, &mut new_id())
}

fn initialized(transaction: &Transaction, expected: Option<Identity>) -> Result<(i64, i16, i16), ErrorCode> {
    match init(transaction, expected)? {
        Init::Ready(next) => {
            assert_eq!((next.state, next.timeout_ms), (TransactionState::Empty, 2000));
            assert!(next.partitions.is_empty());
            Ok((next.producer_id, next.epoch, next.last_epoch))
        }
        Init::Fence(_) => panic!("{:?} is not under way", transaction.state),
    }
}

#[test]
fn a_new_producer_raises_the_epoch_and_fences_the_one_before() {
    assert_eq!(initialized(&Transaction::new(ID, 1), None), Ok((ID, 0, NONE)));
    for state in [TransactionState::Empty, TransactionState::CompleteCommit, TransactionState::CompleteAbort] {
        assert_eq!(initialized(&in_state(state), None), Ok((ID, 6, NONE)), "{state}");
    }
    for state in [TransactionState::PrepareCommit, TransactionState::PrepareAbort] {
        assert_eq!(initialized(&in_state(state), None), Err(ErrorCode::CONCURRENT_TRANSACTIONS), "{state}");
    }
}

#[test]
fn a_producer_that_goes_on_says_who_it_was() {
    let transaction = in_state(TransactionState::CompleteAbort);
    for (expected, result) in [
        (at(5), Ok((ID, 6, 5))),
        // It asks again: the answer was lost.
        (at(4), Ok((ID, 5, 4))),
        (at(3), Err(ErrorCode::PRODUCER_FENCED)),
        (at(6), Err(ErrorCode::PRODUCER_FENCED)),
        (Identity { producer_id: 8, epoch: 5 }, Err(ErrorCode::PRODUCER_FENCED)),
    ] {
        assert_eq!(initialized(&transaction, Some(expected)), result, "{expected:?}");
    }
    assert_eq!(initialized(&Transaction::new(ID, 1), Some(Identity { producer_id: 8, epoch: 5 })), Ok((ID, 0, NONE)));
}

#[test]
fn when_the_epochs_are_used_up_there_is_a_new_producer_id() {
    let last = Transaction { epoch: LAST_EPOCH, ..in_state(TransactionState::Empty) };
    assert_eq!(initialized(&last, None), Ok((NEW_ID, 0, NONE)));
    assert_eq!(initialized(&last, Some(at(LAST_EPOCH))), Ok((NEW_ID, 0, LAST_EPOCH)));
    let Ok(Init::Ready(next)) = init(&last, Some(at(LAST_EPOCH))) else { panic!("it is at rest") };
    assert_eq!(initialized(&next, Some(at(LAST_EPOCH))), Ok((NEW_ID, 0, LAST_EPOCH)), "the answer was lost");
}

#[test]
fn an_ongoing_transaction_is_aborted_with_a_higher_epoch_before_another_begins() {
    let ongoing = in_state(TransactionState::Ongoing);
    for (server, epoch, last_epoch) in [(Epochs::Keep, 6, NONE), (Epochs::Bump, 6, 5)] {
        let Ok(Init::Fence(next)) = ongoing.init(2000, None, server, 100, &mut new_id()) else {
            panic!("it is under way")
        };
        assert_eq!((next.state, next.epoch, next.last_epoch), (TransactionState::PrepareAbort, epoch, last_epoch));
        assert_eq!((&next.partitions, next.timeout_ms), (&ongoing.partitions, 1000));
        assert_eq!(initialized(&next.complete(101), None).map(|(_, epoch, _)| epoch), Ok(epoch + 1));
    }
}

#[test]
fn partitions_are_added_to_a_transaction_which_begins_with_the_first() {
    for state in [TransactionState::Empty, TransactionState::CompleteCommit, TransactionState::CompleteAbort] {
        let next = in_state(state).add(at(5), &[partition(1)].into(), Epochs::Keep, 100).unwrap().unwrap();
        assert_eq!((next.state, next.started_ms), (TransactionState::Ongoing, 100), "{state}");
        assert_eq!(next.deadline_ms(), Some(1100));
    }
    let ongoing = in_state(TransactionState::Ongoing);
    let next = ongoing.add(at(5), &[partition(1)].into(), Epochs::Keep, 100).unwrap().unwrap();
    assert_eq!((next.started_ms, next.partitions.len()), (50, 2), "the time runs from the first");
    assert_eq!(ongoing.add(at(5), &[partition(0)].into(), Epochs::Keep, 100), Ok(None));
    let stranger = Identity { producer_id: 8, epoch: 5 };
    for (state, identity, code) in [
        (TransactionState::Ongoing, at(4), ErrorCode::PRODUCER_FENCED),
        (TransactionState::Ongoing, at(6), ErrorCode::PRODUCER_FENCED),
        (TransactionState::Ongoing, stranger, ErrorCode::INVALID_PRODUCER_ID_MAPPING),
        (TransactionState::PrepareCommit, at(5), ErrorCode::CONCURRENT_TRANSACTIONS),
        (TransactionState::PrepareAbort, at(5), ErrorCode::CONCURRENT_TRANSACTIONS),
    ] {
        let transaction = in_state(state);
        assert_eq!(transaction.add(identity, &[partition(1)].into(), Epochs::Keep, 100), Err(code), "{state}");
        assert_eq!(transaction.verify(identity, &partition(0)), Err(code), "{state}");
    }
    assert_eq!(ongoing.verify(at(5), &partition(0)), Ok(()));
    assert_eq!(ongoing.verify(at(5), &partition(1)), Err(ErrorCode::TRANSACTION_ABORTABLE));
}

/// What becomes of EndTxn: the state and the epoch that it leads to, `None` if it has been so before.
fn ended(
    transaction: &Transaction,
    epoch: i16,
    end: End,
    epochs: Epochs,
) -> Result<Option<(TransactionState, i16)>, ErrorCode> {
    match transaction.end(at(epoch), end, epochs, 100, &mut new_id())? {
        Ending::Already => Ok(None),
        Ending::Prepare(next) => {
            assert_eq!(next.partitions, transaction.partitions);
            Ok(Some((next.state, next.epoch)))
        }
    }
}

#[test]
fn without_new_epochs_a_repeated_end_is_the_same_end() {
    use TransactionState::*;
    let end = |state, end| ended(&in_state(state), 5, end, Epochs::Keep);
    assert_eq!(end(Ongoing, End::Commit), Ok(Some((PrepareCommit, 5))));
    assert_eq!(end(Ongoing, End::Abort), Ok(Some((PrepareAbort, 5))));
    for (state, same, other) in [
        (PrepareCommit, End::Commit, End::Abort),
        (PrepareAbort, End::Abort, End::Commit),
        (CompleteCommit, End::Commit, End::Abort),
        (CompleteAbort, End::Abort, End::Commit),
    ] {
        let is_complete = matches!(state, CompleteCommit | CompleteAbort);
        let expected = if is_complete { Ok(None) } else { Err(ErrorCode::CONCURRENT_TRANSACTIONS) };
        assert_eq!(end(state, same), expected, "{state}");
        assert_eq!(end(state, other), Err(ErrorCode::INVALID_TXN_STATE), "{state}");
        for epoch in [4, 6] {
            let fenced = ended(&in_state(state), epoch, same, Epochs::Keep);
            assert_eq!(fenced, Err(ErrorCode::PRODUCER_FENCED), "{state} {epoch}");
        }
    }
    assert_eq!(end(Empty, End::Commit), Err(ErrorCode::INVALID_TXN_STATE));
    assert_eq!(end(Empty, End::Abort), Err(ErrorCode::INVALID_TXN_STATE));
}

#[test]
fn with_new_epochs_a_repeated_end_has_the_epoch_before() {
    use TransactionState::*;
    let end = |state, epoch, end| ended(&in_state(state), epoch, end, Epochs::Bump);
    let fenced = Err(ErrorCode::PRODUCER_FENCED);
    let invalid = Err(ErrorCode::INVALID_TXN_STATE);
    let wait = Err(ErrorCode::CONCURRENT_TRANSACTIONS);
    // By state: with this epoch and the one before, commit and abort.
    for (state, commit, abort, commit_again, abort_again) in [
        (Empty, invalid, Ok(Some((PrepareAbort, 6))), fenced, fenced),
        (Ongoing, Ok(Some((PrepareCommit, 6))), Ok(Some((PrepareAbort, 6))), fenced, fenced),
        (PrepareCommit, fenced, fenced, wait, invalid),
        (PrepareAbort, fenced, fenced, invalid, wait),
        (CompleteCommit, invalid, Ok(Some((PrepareAbort, 6))), Ok(None), invalid),
        (CompleteAbort, invalid, Ok(Some((PrepareAbort, 6))), invalid, Ok(None)),
    ] {
        assert_eq!(end(state, 5, End::Commit), commit, "{state}: commit");
        assert_eq!(end(state, 5, End::Abort), abort, "{state}: abort");
        assert_eq!(end(state, 4, End::Commit), commit_again, "{state}: commit again");
        assert_eq!(end(state, 4, End::Abort), abort_again, "{state}: abort again");
        assert_eq!(end(state, 6, End::Commit), fenced, "{state}: from the future");
        assert_eq!(end(state, 3, End::Abort), fenced, "{state}: from the past");
    }
    let stranger = Identity { producer_id: 8, epoch: 5 };
    let refused = in_state(Ongoing).end(stranger, End::Commit, Epochs::Bump, 100, &mut new_id());
    assert_eq!(refused.err(), Some(ErrorCode::INVALID_PRODUCER_ID_MAPPING));
}

#[test]
fn the_transaction_after_the_last_epoch_has_a_new_producer_id() {
    let last = Transaction { epoch: LAST_EPOCH, ..in_state(TransactionState::Ongoing) };
    let Ok(Ending::Prepare(next)) = last.end(at(LAST_EPOCH), End::Commit, Epochs::Bump, 100, &mut new_id()) else {
        panic!("it is under way")
    };
    assert_eq!(next.identity(), at(i16::MAX), "of the markers");
    let complete = next.complete(101);
    assert_eq!(complete.identity(), Identity { producer_id: NEW_ID, epoch: 0 });
    assert_eq!((complete.state, complete.last_epoch), (TransactionState::CompleteCommit, LAST_EPOCH));
    // The answer was lost.
    assert_eq!(ended(&complete, LAST_EPOCH, End::Commit, Epochs::Bump), Ok(None));
    // Without new epochs the same producer id goes on.
    let Ok(Ending::Prepare(next)) = last.end(at(LAST_EPOCH), End::Commit, Epochs::Keep, 100, &mut new_id()) else {
        panic!("it is under way")
    };
    assert_eq!(next.complete(101).identity(), at(LAST_EPOCH));
}
