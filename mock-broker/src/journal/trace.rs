//! A hash over what went over the wire. Pure.

use bytes::Bytes;

/// FNV-1a over words of 64 bits, with a rotation so that high bits reach low ones. Ours, so that no release of Rust changes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trace(u64);

impl Default for Trace {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Trace {
    pub(super) fn of(pieces: &[Bytes]) -> Self {
        let mut trace = Self::default();
        for piece in pieces {
            let mut words = piece.chunks_exact(8);
            for word in &mut words {
                trace.add(u64::from_le_bytes([word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7]]));
            }
            for byte in words.remainder() {
                trace.add(u64::from(*byte));
            }
            trace.add(piece.len() as u64);
        }
        trace
    }

    pub(super) fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x0000_0100_0000_01b3);
    }

    pub(super) fn hash(self) -> u64 {
        self.0
    }
}
