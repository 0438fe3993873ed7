//! What a cluster has seen: requests for assertions, and a hash over everything that went over the wire. Pure.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use milena_protocol::ApiKey;

/// The journal forgets its oldest requests beyond this many …
const MOST_REQUESTS: usize = 100_000;
/// … and beyond this many bytes of bodies.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// The requests that a [`MockCluster`](crate::MockCluster) has received, in the order in which it looked at them. Clones share
/// one journal, and it goes on after the cluster has stopped.
///
/// It remembers the last 100,000 requests, and of those as many as have 64 MiB of bodies together.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Mutex<Entries>>);

/// One request as it came in.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Seen {
    /// When, counted from the start of the cluster; virtual on a paused runtime.
    pub at: Duration,
    /// The id of the broker that received it.
    pub broker: i32,
    /// The number of the connection: each has its own, counted from 1 in the order in which they were accepted.
    pub connection: u64,
    /// Which API.
    pub api: ApiKey,
    /// Which version of it.
    pub version: i16,
    /// The name that the client gives itself.
    pub client_id: Option<Arc<str>>,
    /// The encoded request, without its header.
    pub body: Bytes,
}

#[derive(Debug, Default)]
struct Entries {
    requests: VecDeque<Seen>,
    bytes: usize,
    forgotten: u64,
    trace: Trace,
}

/// What went over the wire.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event<'a> {
    Opened,
    /// A frame, without its length prefix.
    Request(&'a Bytes),
    /// A frame in pieces, with its length prefix.
    Response(&'a [Bytes]),
    Closed,
}

impl Journal {
    /// The requests of one API that are remembered, oldest first.
    pub fn requests(&self, api: ApiKey) -> Vec<Seen> {
        self.entries().requests.iter().filter(|seen| seen.api == api).cloned().collect()
    }

    /// All requests that are remembered, oldest first.
    pub fn all(&self) -> Vec<Seen> {
        self.entries().requests.iter().cloned().collect()
    }

    /// How many requests are no longer remembered.
    pub fn forgotten(&self) -> u64 {
        self.entries().forgotten
    }

    /// A hash over every byte that clients and brokers have sent so far, with its time, connection and order.
    ///
    /// On a paused single-threaded runtime over pipes, two runs of one program with one seed give the same hash, whatever the
    /// machine; two that differ in anything a client or a broker can see give different ones.
    pub fn trace_hash(&self) -> u64 {
        self.entries().trace.0
    }

    pub(crate) fn record(&self, seen: Seen) {
        let mut entries = self.entries();
        entries.bytes += seen.body.len();
        entries.requests.push_back(seen);
        while entries.requests.len() > MOST_REQUESTS || entries.bytes > MOST_BYTES {
            let Some(oldest) = entries.requests.pop_front() else { break };
            entries.bytes -= oldest.body.len();
            entries.forgotten += 1;
        }
    }

    /// `at` is counted from the start of the cluster.
    pub(crate) fn trace(&self, at: Duration, broker: i32, connection: u64, event: Event<'_>) {
        // Bytes are hashed before the lock is taken.
        let (kind, contents) = match event {
            Event::Opened => (1, Trace::default()),
            Event::Request(frame) => (2, Trace::of(std::slice::from_ref(frame))),
            Event::Response(frame) => (3, Trace::of(frame)),
            Event::Closed => (4, Trace::default()),
        };
        let mut entries = self.entries();
        for word in [kind, at.as_nanos() as u64, broker as u64, connection, contents.0] {
            entries.trace.add(word);
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        // The entries are whole between any two lines that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// FNV-1a over words of 64 bits, with a rotation so that high bits reach low ones. Ours, so that no release of Rust changes it.
#[derive(Debug, Clone, Copy)]
struct Trace(u64);

impl Default for Trace {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Trace {
    fn of(pieces: &[Bytes]) -> Self {
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

    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x0000_0100_0000_01b3);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(api: ApiKey, body: Bytes) -> Seen {
        Seen { at: Duration::ZERO, broker: 1, connection: 1, api, version: 0, client_id: None, body }
    }

    #[test]
    fn old_requests_are_forgotten_by_bytes_and_counted() {
        let journal = Journal::default();
        let mebibyte = Bytes::from(vec![0; 1024 * 1024]);
        for _ in 0..70 {
            journal.record(seen(ApiKey::PRODUCE, mebibyte.clone()));
        }
        journal.record(seen(ApiKey::FETCH, Bytes::new()));
        assert_eq!(journal.requests(ApiKey::PRODUCE).len(), 64);
        assert_eq!(journal.requests(ApiKey::FETCH).len(), 1);
        assert_eq!(journal.forgotten(), 6);
    }

    #[test]
    fn old_requests_are_forgotten_by_count() {
        let journal = Journal::default();
        for _ in 0..MOST_REQUESTS + 3 {
            journal.record(seen(ApiKey::PRODUCE, Bytes::new()));
        }
        assert_eq!(journal.all().len(), MOST_REQUESTS);
        assert_eq!(journal.forgotten(), 3);
    }

    #[test]
    fn the_hash_sees_bytes_times_connections_and_order() {
        let hash = |events: &[(u64, u64, &'static [u8])]| {
            let journal = Journal::default();
            for (at, connection, bytes) in events {
                let frame = Bytes::from_static(bytes);
                journal.trace(Duration::from_millis(*at), 1, *connection, Event::Request(&frame));
            }
            journal.trace_hash()
        };
        let same = hash(&[(1, 1, b"a longer request"), (2, 1, b"b")]);
        assert_eq!(same, hash(&[(1, 1, b"a longer request"), (2, 1, b"b")]));
        assert_eq!(same, 67_587_175_642_012_843, "stable across runs and machines");
        for other in [
            hash(&[(1, 1, b"a longer requesT"), (2, 1, b"b")]),
            hash(&[(1, 1, b"a longer request"), (3, 1, b"b")]),
            hash(&[(1, 1, b"a longer request"), (2, 2, b"b")]),
            hash(&[(2, 1, b"b"), (1, 1, b"a longer request")]),
            hash(&[(1, 1, b"a longer request")]),
        ] {
            assert_ne!(same, other);
        }
    }
}
