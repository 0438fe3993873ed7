//! What a cluster has seen and said, for assertions and to be read; and a hash over everything that went over the wire. Pure.

mod text;
mod trace;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use milena_protocol::ApiKey;
use milena_protocol::frame::RequestHeader;

use trace::Trace;

/// The journal forgets its oldest entries beyond this many bytes, unless the builder says otherwise.
pub(crate) const DEFAULT_BYTES: usize = 64 * 1024 * 1024;
/// What an entry takes beside its body.
const BYTES_PER_ENTRY: usize = std::mem::size_of::<Entry>() + 32;
/// Lines that are shown when something was waited for in vain.
const TAIL: usize = 30;

/// What went on between the brokers of a [`MockCluster`](crate::MockCluster) and their clients, in the order in which the cluster
/// looked at it. Clones share one journal, and it goes on after the cluster has stopped.
///
/// Its [`Display`](fmt::Display) is a line for each connection that was opened or closed, each request and each answer, with
/// the time since the cluster started:
///
/// ```text
///      0.104 s  #3 b1  → PRODUCE v13 5 "orders-app" { acks: -1, timeout_ms: 30000, topic_data: [{ … }] }
///      0.105 s  #3 b1  ← PRODUCE v13 5 { responses: [{ … }] }
/// ```
///
/// It remembers as much as takes 64 MiB, or what [`journal_bytes`](crate::MockClusterBuilder::journal_bytes) says.
#[derive(Clone)]
pub struct Journal(Arc<Mutex<Entries>>);

/// A request or an answer as it went over the wire. Its [`Display`](fmt::Display) is its line in the [`Journal`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Seen {
    /// When, counted from the start of the cluster; virtual on a paused runtime.
    pub at: Duration,
    /// The id of the broker.
    pub broker: i32,
    /// The number of the connection: each has its own, counted from 1 in the order in which they were accepted.
    pub connection: u64,
    /// Whether it is an answer.
    pub is_answer: bool,
    /// Which API.
    pub api: ApiKey,
    /// Which version of it.
    pub version: i16,
    /// The number that the client gave to the request.
    pub correlation_id: i32,
    /// The name that the client gives itself.
    pub client_id: Option<Arc<str>>,
    /// The encoded request or answer, without its header. Of an answer that a fault has changed it is what was sent.
    pub body: Bytes,
}

#[derive(Clone)]
struct Entry {
    at: Duration,
    broker: i32,
    connection: u64,
    what: What,
}

#[derive(Clone)]
enum What {
    Opened,
    Request(About, Bytes),
    /// A frame in pieces, with its length prefix.
    Answer(About, Vec<Bytes>),
    Closed,
}

/// The header of a request.
#[derive(Clone)]
pub(crate) struct About {
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) client_id: Option<Arc<str>>,
}

impl From<&RequestHeader> for About {
    fn from(header: &RequestHeader) -> Self {
        let client_id = header.client_id.as_deref().map(Into::into);
        let RequestHeader { api_key: api, api_version: version, correlation_id, .. } = *header;
        Self { api, version, correlation_id, client_id }
    }
}

struct Entries {
    entries: VecDeque<Entry>,
    bytes: usize,
    most_bytes: usize,
    forgotten: u64,
    trace: Trace,
}

/// What went over the wire.
#[derive(Clone, Copy)]
pub(crate) enum Event<'a> {
    Opened,
    /// A frame without its length prefix; nothing is told of one that has no header.
    Request(&'a Bytes, Option<(&'a About, &'a Bytes)>),
    /// A frame in pieces, with its length prefix.
    Answer(&'a [Bytes], &'a About),
    Closed,
}

impl Journal {
    pub(crate) fn new(most_bytes: usize) -> Self {
        let trace = Trace::default();
        Self(Arc::new(Mutex::new(Entries { entries: VecDeque::new(), bytes: 0, most_bytes, forgotten: 0, trace })))
    }

    /// The requests of one API that are remembered, oldest first.
    pub fn requests(&self, api: ApiKey) -> Vec<Seen> {
        self.seen(|seen| seen.api == api && !seen.is_answer)
    }

    /// The answers to requests of one API that are remembered, oldest first.
    pub fn answers(&self, api: ApiKey) -> Vec<Seen> {
        self.seen(|seen| seen.api == api && seen.is_answer)
    }

    /// All requests that are remembered, oldest first.
    pub fn all(&self) -> Vec<Seen> {
        self.seen(|seen| !seen.is_answer)
    }

    /// How many entries are no longer remembered.
    pub fn forgotten(&self) -> u64 {
        self.entries().forgotten
    }

    /// A hash over every byte that clients and brokers have sent so far, with its time, connection and order.
    ///
    /// On a paused single-threaded runtime over pipes, two runs of one program with one seed give the same hash, whatever the
    /// machine; two that differ in anything a client or a broker can see give different ones.
    pub fn trace_hash(&self) -> u64 {
        self.entries().trace.hash()
    }

    /// `at` is counted from the start of the cluster.
    pub(crate) fn note(&self, at: Duration, broker: i32, connection: u64, event: Event<'_>) {
        // Bytes are hashed before the lock is taken.
        let (kind, contents, what) = match event {
            Event::Opened => (1, Trace::default(), Some(What::Opened)),
            Event::Request(frame, read) => {
                let what = read.map(|(about, body)| What::Request(about.clone(), body.clone()));
                (2, Trace::of(std::slice::from_ref(frame)), what)
            }
            Event::Answer(frame, about) => (3, Trace::of(frame), Some(What::Answer(about.clone(), frame.to_vec()))),
            Event::Closed => (4, Trace::default(), Some(What::Closed)),
        };
        let mut entries = self.entries();
        for word in [kind, at.as_nanos() as u64, broker as u64, connection, contents.hash()] {
            entries.trace.add(word);
        }
        if let Some(what) = what {
            entries.add(Entry { at, broker, connection, what });
        }
    }

    /// The last lines, to be shown when a test fails.
    pub(crate) fn tail(&self) -> String {
        let last: Vec<Entry> = self.entries().entries.iter().rev().take(TAIL).cloned().collect();
        if last.is_empty() {
            return "the journal is empty".to_owned();
        }
        let lines: Vec<String> = last.iter().rev().map(ToString::to_string).collect();
        format!("the last lines of the journal:\n{}", lines.join("\n"))
    }

    fn seen(&self, is_wanted: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        self.entries().entries.iter().filter_map(Entry::seen).filter(is_wanted).collect()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        // The entries are whole between any two lines that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn add(&mut self, entry: Entry) {
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
        while self.bytes > self.most_bytes {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.bytes();
            self.forgotten += 1;
        }
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        BYTES_PER_ENTRY
            + match &self.what {
                What::Opened | What::Closed => 0,
                What::Request(_, body) => body.len(),
                What::Answer(_, frame) => frame.iter().map(|piece| std::mem::size_of::<Bytes>() + piece.len()).sum(),
            }
    }

    fn seen(&self) -> Option<Seen> {
        let (is_answer, about, body) = match &self.what {
            What::Opened | What::Closed => return None,
            What::Request(about, body) => (false, about, body.clone()),
            What::Answer(about, frame) => (true, about, text::body_of_answer(about, frame)),
        };
        let Self { at, broker, connection, .. } = *self;
        let About { api, version, correlation_id, ref client_id } = *about;
        Some(Seen {
            at,
            broker,
            connection,
            is_answer,
            api,
            version,
            correlation_id,
            client_id: client_id.clone(),
            body,
        })
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(seen) = self.seen() {
            return seen.fmt(f);
        }
        let is_opened = matches!(self.what, What::Opened);
        let what = if is_opened { "opened" } else { "closed" };
        write!(f, "{:>10.3} s  #{} b{}  {what}", self.at.as_secs_f64(), self.connection, self.broker)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, broker, connection, is_answer, api, version, correlation_id, client_id, .. } = self;
        let arrow = if *is_answer { "←" } else { "→" };
        write!(f, "{:>10.3} s  #{connection} b{broker}  {arrow} {api} v{version} {correlation_id} ", at.as_secs_f64())?;
        if let (Some(client_id), false) = (client_id, is_answer) {
            write!(f, "{client_id:?} ")?;
        }
        f.write_str(&text::message(self))
    }
}

impl fmt::Display for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (entries, forgotten) = {
            let entries = self.entries();
            (entries.entries.clone(), entries.forgotten)
        };
        if forgotten > 0 {
            writeln!(f, "({forgotten} older entries are forgotten)")?;
        }
        entries.iter().try_for_each(|entry| writeln!(f, "{entry}"))
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.entries();
        f.debug_struct("Journal").field("entries", &entries.entries.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(journal: &Journal, api: ApiKey, body: &Bytes) {
        let about = About { api, version: 0, correlation_id: 1, client_id: None };
        journal.note(Duration::ZERO, 1, 1, Event::Request(body, Some((&about, body))));
    }

    #[test]
    fn old_entries_are_forgotten_by_bytes_and_counted() {
        let journal = Journal::new(10 * 1024 * 1024);
        let mebibyte = Bytes::from(vec![0; 1024 * 1024]);
        for _ in 0..15 {
            request(&journal, ApiKey::PRODUCE, &mebibyte);
        }
        request(&journal, ApiKey::FETCH, &Bytes::new());
        assert_eq!(journal.requests(ApiKey::PRODUCE).len(), 9);
        assert_eq!(journal.requests(ApiKey::FETCH).len(), 1);
        assert_eq!(journal.forgotten(), 6);
        let small = Journal::new(100 * BYTES_PER_ENTRY);
        (0..1000).for_each(|_| request(&small, ApiKey::PRODUCE, &Bytes::new()));
        assert_eq!((small.all().len(), small.forgotten()), (100, 900));
    }

    #[test]
    fn the_hash_sees_bytes_times_connections_and_order() {
        let hash = |events: &[(u64, u64, &'static [u8])]| {
            let journal = Journal::new(0);
            for (at, connection, bytes) in events {
                let frame = Bytes::from_static(bytes);
                journal.note(Duration::from_millis(*at), 1, *connection, Event::Request(&frame, None));
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
