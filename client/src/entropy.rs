//! The entropy seam: one seed, from which everything random follows. Pure.

use std::hash::{BuildHasher, Hasher};

/// A small random number generator (SplitMix64). Good for jitter and choices, not for secrets.
#[derive(Debug, Clone)]
pub(crate) struct Entropy {
    state: u64,
}

impl Entropy {
    pub(crate) fn from_seed(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Seeded from the operating system, by way of the standard library's hash keys.
    pub(crate) fn from_system() -> Self {
        Self::from_seed(std::hash::RandomState::new().build_hasher().finish())
    }

    /// A generator of its own for one component, so that what it draws does not shift what others draw.
    pub(crate) fn fork(&mut self) -> Self {
        Self::from_seed(self.next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 up to and without `limit`; 0 if `limit` is 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }

    /// A number from 0 up to and without 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}
