//! The time between reads, without a look at the clock for every record. Pure.

use std::time::Duration;

use super::Timing;
use crate::clock::Time;

/// So many reads at most are timed together.
const MOST_TOGETHER: u32 = 64;

/// Who needs more than this between reads has the clock looked at for each.
const QUICK: Duration = Duration::from_micros(2);

/// Looking at the clock takes about as long as handing out a record. So reads that follow each other at once are timed many together;
/// as soon as they do not, each by itself.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    timing: Timing,
    /// When the reads before those that are not timed yet had ended.
    since: Option<Time>,
    /// Reads that began and are not timed yet.
    reads: u32,
    /// So many were last timed together.
    together: u32,
    waiting: bool,
}

impl Pace {
    /// A read begins. `now` is asked only if it must be.
    pub(crate) fn on_read(&mut self, now: impl FnOnce() -> Time) {
        self.reads += 1;
        if self.since.is_none() || self.reads >= self.together {
            self.measure(now());
        }
    }

    /// The read does not return at once.
    pub(crate) fn on_wait(&mut self, now: Time) {
        if self.reads > 0 {
            self.measure(now);
        }
        self.waiting = true;
    }

    /// It returns now, or is given up.
    pub(crate) fn on_return(&mut self, now: Time) {
        self.since = Some(now);
        self.waiting = false;
    }

    fn measure(&mut self, now: Time) {
        if let Some(since) = self.since {
            let took = now.saturating_sub(since);
            self.timing.add_together(took, u64::from(self.reads));
            self.together = match took > QUICK * self.reads {
                true => 1,
                false => (2 * self.together.max(1)).min(MOST_TOGETHER),
            };
        }
        self.since = Some(now);
        self.reads = 0;
    }

    pub(crate) fn timing(&self) -> Timing {
        self.timing
    }

    /// How long ago the last read ended, give or take some quick ones; `None` while one waits, and before the first.
    pub(crate) fn since_read(&self, now: Time) -> Option<Duration> {
        self.since.filter(|_| !self.waiting).map(|since| now.saturating_sub(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_slow_reader_is_timed_exactly_and_what_a_read_waits_is_not_in_it() {
        let mut pace = Pace::default();
        assert_eq!(pace.since_read(5 * MS), None);
        pace.on_read(|| 10 * MS);
        pace.on_wait(10 * MS);
        assert_eq!(pace.since_read(15 * MS), None, "it waits");
        pace.on_return(50 * MS);
        assert_eq!(pace.since_read(80 * MS), Some(30 * MS));

        pace.on_read(|| 150 * MS);
        pace.on_wait(150 * MS);
        pace.on_return(1000 * MS);
        pace.on_read(|| 1020 * MS);

        assert_eq!(pace.timing(), Timing { count: 2, last: 20 * MS, longest: 100 * MS, total: 120 * MS });
    }

    #[test]
    fn the_clock_is_looked_at_for_each_slow_read_and_for_few_quick_ones() {
        let (mut pace, mut looks) = (Pace::default(), 0);
        let mut read = |pace: &mut Pace, at: Duration| {
            pace.on_read(|| {
                looks += 1;
                at
            });
            looks
        };
        let mut now = Duration::ZERO;
        for _ in 0..10_000 {
            now += Duration::from_nanos(100);
            read(&mut pace, now);
        }
        assert!(read(&mut pace, now) < 200, "for 10,000 quick reads");
        assert!(pace.timing().longest < 100 * Duration::from_micros(1));

        // A pause anywhere among quick reads is seen soon, and from then on each slow one is timed.
        now += 5000 * MS;
        for _ in 0..MOST_TOGETHER {
            read(&mut pace, now);
        }
        assert!(pace.timing().longest >= 5000 * MS && pace.timing().longest < 5001 * MS);
        for _ in 0..MOST_TOGETHER {
            now += MS;
            read(&mut pace, now);
        }
        let before = read(&mut pace, now + MS);
        for pause in 2..102 {
            assert_eq!(read(&mut pace, now + pause * MS), before + pause - 1);
            assert_eq!(pace.timing().last, MS);
        }
    }

    #[test]
    fn every_read_but_the_first_counts() {
        let mut pace = Pace::default();
        for _ in 0..200 {
            pace.on_read(|| MS);
        }
        pace.on_wait(MS);
        assert_eq!(pace.timing().count, 199);
    }
}
