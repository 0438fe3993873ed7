//! The memory that records are encoded into. Pure.
//!
//! A batch is a list of segments; a record never straddles two. A segment becomes immutable bytes that a request may hold, and
//! goes back to where it came from only when the last holder has let go: what a socket may still read is never written again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// Where segments come from and return to.
pub(crate) trait Home: Send + Sync {
    /// `bytes` of what was reserved are free.
    fn release(&self, bytes: usize);

    /// The last reference to a segment is gone: its buffer may be used again.
    fn recycle(&self, buffer: Vec<u8>);
}

/// Bytes of `buffer.memory` that are in use. Dropping it frees them.
pub(crate) struct Reservation {
    bytes: AtomicUsize,
    home: Arc<dyn Home>,
}

impl Reservation {
    pub(crate) fn new(bytes: usize, home: Arc<dyn Home>) -> Self {
        Self { bytes: AtomicUsize::new(bytes), home }
    }

    /// Frees what is above `keep` bytes, and gives what is kept.
    fn shrink_to(&self, keep: usize) -> usize {
        let before = self.bytes.fetch_min(keep, Ordering::Relaxed);
        let kept = before.min(keep);
        if before > kept {
            self.home.release(before - kept);
        }
        kept
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.home.release(*self.bytes.get_mut());
    }
}

/// A buffer whose memory is accounted for.
pub(crate) struct Segment {
    buffer: Vec<u8>,
    size: usize,
    home: Arc<dyn Home>,
    reservation: Option<Arc<Reservation>>,
}

impl Segment {
    pub(crate) fn new(buffer: Vec<u8>, size: usize, home: Arc<dyn Home>) -> Self {
        let reservation = Some(Arc::new(Reservation::new(size, home.clone())));
        Self { buffer, size, home, reservation }
    }

    /// How many bytes still fit.
    pub(crate) fn room(&self) -> usize {
        self.size.saturating_sub(self.buffer.len())
    }

    /// The buffer to append to, not beyond [`Segment::room`].
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    pub(crate) fn len(&self) -> usize {
        self.buffer.len()
    }

    pub(crate) fn reservation(&self) -> Option<Arc<Reservation>> {
        self.reservation.clone()
    }
}

impl AsRef<[u8]> for Segment {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.reservation = None;
        self.home.recycle(std::mem::take(&mut self.buffer));
    }
}

/// Bytes that replace those of segments, smaller, and keep as much of their reservations.
pub(crate) struct Replacement {
    bytes: Bytes,
    _reservations: Vec<Arc<Reservation>>,
}

impl Replacement {
    pub(crate) fn new(bytes: Bytes, reservations: Vec<Arc<Reservation>>) -> Self {
        let mut needed = bytes.len();
        for reservation in &reservations {
            // What another batch lives in too is freed with the last of them.
            let kept = if Arc::strong_count(reservation) == 1 { reservation.shrink_to(needed) } else { needed };
            needed -= kept.min(needed);
        }
        Self { bytes, _reservations: reservations }
    }
}

impl AsRef<[u8]> for Replacement {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The sizes that are pooled. A batch starts small, so that thousands of quiet partitions do not hold 64 KiB each.
pub(crate) const CLASSES: [usize; 3] = [4 * 1024, 16 * 1024, 64 * 1024];

/// How large the next segment of a batch that has `batched` bytes should be, so that a record of `needed` bytes fits.
pub(crate) fn segment_size(batched: usize, needed: usize) -> usize {
    let [small, middle, large] = CLASSES;
    let wanted = match batched {
        0 => small,
        _ if batched <= small => middle,
        _ => large,
    };
    CLASSES.into_iter().find(|class| *class >= wanted.max(needed)).unwrap_or(needed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_grow_with_their_batch_and_fit_the_record() {
        assert_eq!(segment_size(0, 100), 4 * 1024);
        assert_eq!(segment_size(0, 5_000), 16 * 1024);
        assert_eq!(segment_size(4 * 1024, 100), 16 * 1024);
        assert_eq!(segment_size(20 * 1024, 100), 64 * 1024);
        assert_eq!(segment_size(0, 100_000), 100_000);
    }
}
