//! One direction of a pipe: a bounded buffer between a writer and a reader. IO.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use tokio::io::ReadBuf;
use tokio::time::Instant;

/// More than this may not be under way in one direction.
const CAPACITY: usize = 64 * 1024;

/// When written bytes can be read.
#[derive(Clone, Copy)]
pub(super) enum Arrival {
    AtOnce,
    At(Instant),
}

/// What a reader got.
pub(super) enum Taken {
    Some,
    /// The reader's waker is kept.
    Nothing,
    /// Bytes arrive then.
    UnderWay(Instant),
    End,
    Reset,
}

#[derive(Debug, Default)]
pub(super) struct Lane(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    bytes: VecDeque<u8>,
    /// How many of the bytes arrive together, and when; those before the first of them have arrived.
    under_way: VecDeque<(usize, Instant)>,
    writer_gone: bool,
    reader_gone: bool,
    reset: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Lane {
    /// Moves at most `most` bytes that have arrived.
    pub(super) fn take(&self, now: Instant, out: &mut ReadBuf<'_>, most: usize, waker: &Waker) -> Taken {
        let mut state = self.state();
        if state.reset {
            return Taken::Reset;
        }
        let still_out: usize = state.under_way.iter().skip_while(|(_, at)| *at <= now).map(|(count, _)| count).sum();
        let arrived = state.bytes.len() - still_out;
        if arrived == 0 {
            let arrival = state.under_way.front().map(|(_, at)| *at);
            if arrival.is_none() && state.writer_gone {
                return Taken::End;
            }
            // Kept even if time alone brings the next bytes: a reset may come before them.
            state.reader = Some(waker.clone());
            return arrival.map_or(Taken::Nothing, Taken::UnderWay);
        }
        while state.under_way.front().is_some_and(|(_, at)| *at <= now) {
            state.under_way.pop_front();
        }
        let count = arrived.min(most);
        let (front, back) = state.bytes.as_slices();
        let from_front = front.len().min(count);
        out.put_slice(&front[..from_front]);
        out.put_slice(&back[..count - from_front]);
        state.bytes.drain(..count);
        wake(state, |state| state.writer.take());
        Taken::Some
    }

    /// Takes in at most `most` bytes and as many as there is room for.
    pub(super) fn put(
        &self,
        slices: &[io::IoSlice<'_>],
        most: usize,
        arrival: Arrival,
        waker: &Waker,
    ) -> Poll<io::Result<usize>> {
        let mut state = self.state();
        if state.reset {
            return Poll::Ready(Err(super::reset()));
        }
        if state.reader_gone || state.writer_gone {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = most.min(CAPACITY - state.bytes.len());
        if count == 0 {
            state.writer = Some(waker.clone());
            return Poll::Pending;
        }
        let mut left = count;
        for slice in slices {
            let taken = slice.len().min(left);
            state.bytes.extend(&slice[..taken]);
            left -= taken;
        }
        match (arrival, state.under_way.back()) {
            (Arrival::AtOnce, None) => {}
            // Bytes never overtake those before them.
            (Arrival::AtOnce, Some(&(_, last))) => state.under_way.push_back((count, last)),
            (Arrival::At(at), last) => {
                let at = last.map_or(at, |(_, last)| at.max(*last));
                state.under_way.push_back((count, at));
            }
        }
        wake(state, |state| state.reader.take());
        Poll::Ready(Ok(count))
    }

    pub(super) fn close_writer(&self) {
        let mut state = self.state();
        state.writer_gone = true;
        wake(state, |state| state.reader.take());
    }

    pub(super) fn close_reader(&self) {
        let mut state = self.state();
        state.reader_gone = true;
        state.bytes = VecDeque::new();
        state.under_way.clear();
        wake(state, |state| state.writer.take());
    }

    pub(super) fn reset(&self) {
        let mut state = self.state();
        state.reset = true;
        state.bytes = VecDeque::new();
        state.under_way.clear();
        let reader = state.reader.take();
        wake(state, |state| state.writer.take());
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two lines that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes after unlocking, so that the woken one does not wait for the lock.
fn wake(mut state: MutexGuard<'_, State>, waker: impl FnOnce(&mut State) -> Option<Waker>) {
    let waker = waker(&mut state);
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}
