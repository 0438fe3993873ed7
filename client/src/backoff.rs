//! How long to wait before the next try: exponential with jitter (KIP-580). Pure.

use std::time::Duration;

use crate::entropy::Entropy;

const JITTER: f64 = 0.2;

/// Doubles from `initial` with each failure, spread by ±20 %, never above `max`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    pub(crate) initial: Duration,
    pub(crate) max: Duration,
}

impl Backoff {
    /// The wait after `failures` failures in a row; 0 and 1 both give the initial one.
    pub(crate) fn delay(&self, failures: u32, entropy: &mut Entropy) -> Duration {
        let doublings = failures.saturating_sub(1).min(30);
        let term = self.initial.as_secs_f64() * f64::from(1u32 << doublings);
        let spread = 1.0 - JITTER + 2.0 * JITTER * entropy.fraction();
        Duration::from_secs_f64((term * spread).min(self.max.as_secs_f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_with_jitter_up_to_the_maximum() {
        let backoff = Backoff { initial: Duration::from_millis(100), max: Duration::from_secs(1) };
        let mut entropy = Entropy::from_seed(7);

        for (failures, middle) in [(1, 100), (2, 200), (3, 400), (4, 800)] {
            for _ in 0..100 {
                let delay = backoff.delay(failures, &mut entropy).as_millis();
                assert!((middle * 8 / 10..=middle * 12 / 10).contains(&delay), "{failures}: {delay}");
            }
        }
        assert!((0..100).all(|_| backoff.delay(40, &mut entropy) == backoff.max));
    }
}
