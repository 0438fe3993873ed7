//! The hard bound on the producer's memory, `buffer.memory`, and the pool of buffers under it. IO.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use super::segment::{CLASSES, Home, Segment};

/// Hands out segments, never more than `limit` bytes of them at a time.
pub(crate) struct Memory {
    limit: usize,
    free: Semaphore,
    pool: Mutex<Pool>,
    waiting: AtomicUsize,
}

/// See [`Memory::begin_waiting`].
pub(crate) struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Memory {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        // A semaphore gives at most so many permits at a time.
        let limit = limit.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
        Arc::new(Self { limit, free: Semaphore::new(limit), pool: Mutex::default(), waiting: AtomicUsize::new(0) })
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether somebody waits for room, so that batches should go out early.
    pub(crate) fn is_short(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    /// A segment, if there is room and nobody waits for it.
    pub(crate) fn try_segment(self: &Arc<Self>, size: usize) -> Option<Segment> {
        // Rounded down to the limit, a small `buffer.memory` still has one segment of any record that fits it.
        let size = size.min(self.limit);
        let permit = self.free.try_acquire_many(u32::try_from(size).ok()?).ok()?;
        permit.forget();
        Some(self.segment(size))
    }

    /// Somebody waits for room until the guard is dropped. Whether it is the first: then every open batch is to be sent, and those
    /// that are opened meanwhile are.
    pub(crate) fn begin_waiting(&self) -> (Waiting<'_>, bool) {
        let others = self.waiting.fetch_add(1, Ordering::AcqRel);
        (Waiting(&self.waiting), others == 0)
    }

    /// A segment, as soon as there is room. First come, first served.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the queue.
    pub(crate) async fn wait_for_segment(self: &Arc<Self>, size: usize) -> Option<Segment> {
        let size = size.min(self.limit);
        let permit = self.free.acquire_many(u32::try_from(size).ok()?).await.ok()?;
        permit.forget();
        Some(self.segment(size))
    }

    /// Nobody gets room any more.
    pub(crate) fn close(&self) {
        self.free.close();
    }

    fn segment(self: &Arc<Self>, size: usize) -> Segment {
        let pooled = self.lock().take(size, self.free.available_permits());
        Segment::new(pooled.unwrap_or_else(|| Vec::with_capacity(size)), size, self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Home for Memory {
    fn release(&self, bytes: usize) {
        self.free.add_permits(bytes);
    }

    fn recycle(&self, buffer: Vec<u8>) {
        self.lock().put(buffer, self.free.available_permits());
    }
}

/// Buffers for the next batches. They live in the part of the memory that is free, so that pool and batches together stay
/// below the limit.
#[derive(Default)]
struct Pool {
    classes: [Vec<Vec<u8>>; CLASSES.len()],
    bytes: usize,
}

impl Pool {
    fn put(&mut self, mut buffer: Vec<u8>, free: usize) {
        let class = CLASSES.iter().position(|class| *class == buffer.capacity());
        if let Some(class) = class.and_then(|class| self.classes.get_mut(class))
            && self.bytes + buffer.capacity() <= free
        {
            buffer.clear();
            self.bytes += buffer.capacity();
            class.push(buffer);
        }
    }

    fn take(&mut self, size: usize, free: usize) -> Option<Vec<u8>> {
        let class = CLASSES.iter().position(|class| *class == size);
        let found = class.and_then(|class| self.classes.get_mut(class)).and_then(Vec::pop);
        self.bytes -= found.as_ref().map_or(0, Vec::capacity);
        for class in &mut self.classes {
            while self.bytes > free
                && let Some(buffer) = class.pop()
            {
                self.bytes -= buffer.capacity();
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    #[test]
    fn room_is_never_more_than_the_limit_and_comes_back_with_the_last_reference() {
        let memory = Memory::new(20 * 1024);
        let first = memory.try_segment(16 * 1024).expect("empty");
        assert!(memory.try_segment(16 * 1024).is_none());
        let bytes = bytes::Bytes::from_owner(first);
        let held_by_a_socket = bytes.clone();
        drop(bytes);
        assert!(memory.try_segment(16 * 1024).is_none());
        drop(held_by_a_socket);

        assert!(memory.try_segment(16 * 1024).is_some());
    }

    #[test]
    fn who_waits_first_is_served_first() {
        let memory = Memory::new(16 * 1024);
        let held = memory.try_segment(16 * 1024).expect("empty");
        let mut first = tokio_test::task::spawn(memory.wait_for_segment(16 * 1024));
        let mut second = tokio_test::task::spawn(memory.wait_for_segment(4 * 1024));
        assert!(first.poll().is_pending() && second.poll().is_pending());
        drop(held);

        assert!(memory.try_segment(4 * 1024).is_none(), "a newcomer overtook");
        assert!(second.poll().is_pending());
        let Poll::Ready(served) = first.poll() else { panic!("first was not served") };
        drop(served);
        assert!(second.poll().is_ready());
    }
}
