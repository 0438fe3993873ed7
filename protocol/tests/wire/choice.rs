//! Values for generated messages: from a seed, or from the names of the fields.

use milena_protocol::arbitrary::Choice;

/// A small generator of pseudo-random numbers (SplitMix64): the same seed gives the same numbers everywhere.
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

impl Choice for Seeded {
    /// Small numbers, the ends of the ranges, and anything.
    fn bits(&mut self, _field: &'static str) -> u64 {
        match self.below(4) {
            0 => self.next() % 3,
            1 => (self.next() % 3).wrapping_neg(),
            2 => [0x7f, 0x80, 0x7fff, 0x8000, 0x7fff_ffff, 0x8000_0000, i64::MAX as u64, 1 << 63][self.below(8)],
            _ => self.next(),
        }
    }

    /// Mostly short; around the lengths at which a compact length gets another byte; not only ASCII.
    fn text(&mut self, _field: &'static str) -> String {
        let length = match self.below(8) {
            0 => 125 + self.below(5),
            1 => 0,
            _ => self.below(12),
        };
        (0..length).map(|_| ['a', 'b', '-', 'é', '語', '\0', '🦀'][self.below(7)]).collect()
    }

    fn count(&mut self, _field: &'static str) -> usize {
        [0, 1, 2, 3, 130][if self.below(40) == 0 { 4 } else { self.below(4) }]
    }

    fn is_null(&mut self, _field: &'static str) -> bool {
        self.below(3) == 0
    }

    fn is_absent(&mut self, _field: &'static str) -> bool {
        self.below(3) == 0
    }
}
