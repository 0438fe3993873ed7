//! What the application reads: waits for it, and decompresses it. IO.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Shared;
use crate::clock::Time;
use crate::consumer::assignment::Assignment;
use crate::consumer::batch::{Batch, ConsumerRecord};
use crate::consumer::fetch_buffer::Undecoded;
use crate::consumer::hand_out::Blocked;
use crate::error::{Error, ErrorKind, Result};

impl Shared {
    /// Waits until every partition knows where to read, or that it cannot know.
    pub(crate) async fn until_settled(&self) -> Result<()> {
        let deadline = self.now().saturating_add(self.api_timeout);
        loop {
            {
                let mut state = self.lock();
                if let Some(error) = state.reading()?.take_report() {
                    return Err(error);
                }
                if state.assignment.is_settled() {
                    return Ok(());
                }
            }
            tokio::select! {
                biased;
                () = self.cluster.net().sleep_until(Some(deadline)) => {
                    let mut state = self.lock();
                    let unsettled = state.assignment.unsettled().join(", ");
                    let text = format!(
                        "finding where to start in {unsettled} was not done within {:?} (default.api.timeout.ms)",
                        self.api_timeout
                    );
                    let error = Error::new(ErrorKind::TimedOut, text);
                    return Err(match state.doubt.take() {
                        Some(cause) => error.with_source(cause),
                        None => error,
                    });
                }
                () = self.readable.notified() => {}
            }
        }
    }

    /// How long the application has not come for a batch.
    pub(crate) fn idle(&self, now: Time) -> Duration {
        now.saturating_sub(self.lock().last_read)
    }

    /// The next record; `None` after `stop`.
    pub(crate) async fn next(&self) -> Result<Option<ConsumerRecord>> {
        self.let_others_run().await;
        let mut begins = true;
        loop {
            match self.read(&mut begins, Assignment::next_record)? {
                Ok(record) => return Ok(Some(record)),
                Err(Blocked::Stopped) => return Ok(None),
                Err(blocked) => self.unblock(blocked).await?,
            }
        }
    }

    /// At most `max` records; `None` after `stop`.
    pub(crate) async fn next_batch(&self, max: usize) -> Result<Option<Batch>> {
        let max = max.min(self.settings.max_poll_records);
        if max == 0 {
            return Err(Error::new(ErrorKind::Usage, "a batch of at most 0 records was asked for: ask for 1 or more"));
        }
        self.let_others_run().await;
        let mut begins = true;
        let mut batch = Batch::empty();
        while batch.len() < max {
            // An error can wait until what was read before it is used.
            match self.read(&mut begins, |assignment| assignment.next_piece(max - batch.len(), batch.is_empty()))? {
                Ok(piece) => batch.push(piece),
                Err(Blocked::Decode(undecoded)) => self.decode(&undecoded),
                Err(_) if !batch.is_empty() => break,
                Err(Blocked::Stopped) => return Ok(None),
                Err(blocked) => self.unblock(blocked).await?,
            }
        }
        Ok(Some(batch))
    }

    /// An error that stays is returned at once, again and again. Whoever reads on without looking must not keep the runtime from
    /// fetching what the others have.
    async fn let_others_run(&self) {
        if self.failed.load(Ordering::Relaxed) {
            self.failed.store(false, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    }

    #[inline]
    fn read<T>(
        &self,
        begins: &mut bool,
        read: impl FnOnce(&mut Assignment) -> Result<T, Blocked>,
    ) -> Result<Result<T, Blocked>> {
        let mut state = self.lock();
        state.reading()?;
        if std::mem::take(begins) {
            state.assignment.begin_read();
            state.tally.pace.on_read(|| self.now());
            if std::mem::take(&mut state.member.waits_for_read) {
                self.driver.notify_one();
            }
        }
        Ok(read(&mut state.assignment))
    }

    async fn unblock(&self, blocked: Blocked) -> Result<()> {
        // Whoever waits for room because there was something to read may fetch a little now: the application may hold on to all of
        // it.
        if matches!(blocked, Blocked::Empty | Blocked::Failed(_)) && self.budget.take_wanted() {
            self.fetchers.wake_all();
        }
        match blocked {
            Blocked::Decode(undecoded) => self.decode(&undecoded),
            Blocked::Empty => {
                let _waiting = Waiting::new(self);
                self.readable.notified().await;
            }
            Blocked::Stopped => {}
            Blocked::Failed(error) => {
                self.failed.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    }

    fn decode(&self, undecoded: &Undecoded) {
        let now = self.now();
        let decoded = undecoded.decode(&self.reading, &self.budget);
        let room_made = {
            let mut state = self.lock();
            state.last_read = now;
            state.tally.pace.on_wait(now);
            state.assignment.on_decoded(undecoded, decoded);
            state.tally.pace.on_return(self.now());
            std::mem::take(&mut state.assignment.room_made)
        };
        if room_made {
            self.fetchers.wake_all();
        }
    }
}

/// A read waits for records, until this is dropped.
struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    fn new(shared: &'a Shared) -> Self {
        let now = shared.now();
        let mut state = shared.lock();
        state.member.read_waits = true;
        state.tally.pace.on_wait(now);
        Self(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let now = self.0.now();
        let mut state = self.0.lock();
        state.member.read_waits = false;
        state.member.read_waited_until = now;
        state.tally.pace.on_return(now);
    }
}
