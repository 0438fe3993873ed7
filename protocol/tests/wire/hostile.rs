//! What decoding must survive: cut and changed bytes.

use bytes::Bytes;

use crate::choice::Seeded;

/// Every prefix of `bytes` must be an error. A prefix that is none would be read as something that nobody sent.
pub(crate) fn every_prefix_is_an_error<T>(name: &str, bytes: &Bytes, decode: impl Fn(Bytes) -> Result<T, String>) {
    for end in 0..bytes.len() {
        assert!(decode(bytes.slice(..end)).is_err(), "{name}: the first {end} of {} bytes are accepted", bytes.len());
    }
}

/// Changes one to three bytes, `times` times, and decodes. Decoding may fail; what it must not do is panic. It tells how often
/// it succeeded, so that a caller can see that something was tried.
pub(crate) fn no_flip_panics<T>(bytes: &Bytes, times: u64, decode: impl Fn(Bytes) -> Result<T, String>) -> u64 {
    if bytes.is_empty() {
        return 0;
    }
    let mut random = Seeded(bytes.len() as u64);
    let mut accepted = 0;
    for _ in 0..times {
        let mut changed = bytes.to_vec();
        for _ in 0..=random.below(3) {
            let at = random.below(changed.len());
            changed[at] = match random.below(4) {
                0 => 0xff, // lengths of −1, varints without an end
                1 => changed[at] ^ 1 << random.below(8),
                2 => changed[at].wrapping_add(1),
                _ => random.next() as u8,
            };
        }
        accepted += u64::from(decode(changed.into()).is_ok());
    }
    accepted
}
