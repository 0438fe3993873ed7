//! Incremental fetch sessions (KIP-227) of one broker. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use milena_protocol::ErrorCode;
use milena_protocol::messages::fetch::{FetchPartition, PartitionData};
use milena_protocol::primitives::Uuid;

use crate::random::Random;

const CAPACITY: usize = 1000;

/// A session that was not used for so long makes room for a new one.
const EVICTABLE_AFTER: Duration = Duration::from_secs(120);

/// The first epoch of a session; a request with it asks for a new session.
pub(crate) const INITIAL_EPOCH: i32 = 0;

/// A request with this epoch wants no session, and closes the one that it names.
pub(crate) const FINAL_EPOCH: i32 = -1;

/// A partition as the request names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FetchKey {
    pub(crate) topic: TopicRef,
    pub(crate) partition: i32,
}

/// A topic as the request names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TopicRef {
    Name(String),
    Id(Uuid),
}

/// What the client has been told of a partition.
#[derive(Debug)]
struct Cached {
    /// Its place among the partitions.
    turn: u64,
    wanted: FetchPartition,
    high_watermark: i64,
    log_start_offset: i64,
    /// Whether the topic id was known once.
    was_known: bool,
}

#[derive(Debug)]
struct Session {
    epoch: i32,
    uses_topic_ids: bool,
    last_used: Duration,
    partitions: BTreeMap<FetchKey, Cached>,
    turns: BTreeMap<u64, FetchKey>,
    next_turn: u64,
}

impl Session {
    fn want(&mut self, key: FetchKey, wanted: FetchPartition) {
        if let Some(cached) = self.partitions.get_mut(&key) {
            cached.wanted = wanted;
            return;
        }
        let turn = self.next_turn;
        self.next_turn += 1;
        self.turns.insert(turn, key.clone());
        let cached = Cached { turn, wanted, high_watermark: -1, log_start_offset: -1, was_known: false };
        self.partitions.insert(key, cached);
    }

    fn forget(&mut self, key: &FetchKey) {
        if let Some(cached) = self.partitions.remove(key) {
            self.turns.remove(&cached.turn);
        }
    }

    /// Takes note of what is to be answered; tells whether that is anything new.
    fn update(&mut self, key: &FetchKey, data: &mut PartitionData) -> bool {
        let Some(cached) = self.partitions.get_mut(key) else { return true };
        if data.error_code != ErrorCode::UNKNOWN_TOPIC_ID {
            cached.was_known = true;
        } else if cached.was_known {
            // The session remembers the name that the id had.
            data.error_code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        }
        let mut is_news = data.records.as_ref().is_some_and(|records| !records.is_empty())
            || data.diverging_epoch.epoch >= 0
            || data.preferred_read_replica >= 0
            || cached.high_watermark != data.high_watermark
            || cached.log_start_offset != data.log_start_offset;
        cached.high_watermark = data.high_watermark;
        cached.log_start_offset = data.log_start_offset;
        if !data.error_code.is_none() {
            is_news = true;
            // So that the first answer without an error is news too.
            cached.high_watermark = -1;
        }
        is_news
    }

    fn move_last(&mut self, key: &FetchKey) {
        if let Some(cached) = self.partitions.get_mut(key) {
            self.turns.remove(&cached.turn);
            cached.turn = self.next_turn;
            self.turns.insert(self.next_turn, key.clone());
            self.next_turn += 1;
        }
    }
}

/// How an answer relates to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Context {
    /// Everything is answered, nothing is kept.
    Sessionless,
    /// Everything is answered, and kept under this id.
    Full(i32),
    /// Only news is answered.
    Incremental(i32),
}

#[derive(Debug, Default)]
pub(crate) struct FetchSessions {
    sessions: BTreeMap<i32, Session>,
}

impl FetchSessions {
    /// A request without a session, or for a new one (if there is room).
    pub(crate) fn begin(
        &mut self,
        now: Duration,
        (session_id, session_epoch): (i32, i32),
        uses_topic_ids: bool,
        partitions: &[(FetchKey, FetchPartition)],
        random: &mut Random,
    ) -> Context {
        self.sessions.remove(&session_id);
        if session_epoch == FINAL_EPOCH || !self.make_room(now) {
            return Context::Sessionless;
        }
        let id = loop {
            let id = 1 + random.below(i32::MAX as u64 - 1) as i32;
            if !self.sessions.contains_key(&id) {
                break id;
            }
        };
        let mut session = Session {
            epoch: 1,
            uses_topic_ids,
            last_used: now,
            partitions: BTreeMap::new(),
            turns: BTreeMap::new(),
            next_turn: 0,
        };
        for (key, wanted) in partitions {
            session.want(key.clone(), wanted.clone());
        }
        self.sessions.insert(id, session);
        Context::Full(id)
    }

    /// The partitions of a session; none if there is no such session.
    pub(crate) fn partitions(&self, session_id: i32) -> impl Iterator<Item = &FetchKey> {
        self.sessions.get(&session_id).into_iter().flat_map(|session| session.partitions.keys())
    }

    fn make_room(&mut self, now: Duration) -> bool {
        if self.sessions.len() < CAPACITY {
            return true;
        }
        let oldest = self.sessions.iter().min_by_key(|(_, session)| session.last_used);
        match oldest.map(|(id, session)| (*id, session.last_used)) {
            Some((id, last_used)) if now.saturating_sub(last_used) >= EVICTABLE_AFTER => {
                self.sessions.remove(&id).is_some()
            }
            _ => false,
        }
    }

    /// A request that goes on with a session: gives all partitions of the session, in the order in which they are to be read.
    ///
    /// # Errors
    /// If there is no such session, or it is further or not as far, or it names topics the other way.
    pub(crate) fn resume(
        &mut self,
        now: Duration,
        (session_id, session_epoch): (i32, i32),
        uses_topic_ids: bool,
        changed: Vec<(FetchKey, FetchPartition)>,
        forgotten: &[FetchKey],
    ) -> Result<(Context, Vec<(FetchKey, FetchPartition)>), ErrorCode> {
        let session = self.sessions.get_mut(&session_id).ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        if session.epoch != session_epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        if session.uses_topic_ids != uses_topic_ids {
            return Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        }
        for (key, wanted) in changed {
            session.want(key, wanted);
        }
        for key in forgotten {
            session.forget(key);
        }
        if session.partitions.is_empty() {
            self.sessions.remove(&session_id);
            return Ok((Context::Sessionless, Vec::new()));
        }
        session.last_used = now;
        session.epoch = if session.epoch == i32::MAX { 1 } else { session.epoch + 1 };
        let in_order = session
            .turns
            .values()
            .filter_map(|key| session.partitions.get(key).map(|cached| (key.clone(), cached.wanted.clone())));
        Ok((Context::Incremental(session_id), in_order.collect()))
    }

    /// Leaves out of the answer what the client knows, and notes the rest. Gives the session id for the answer.
    pub(crate) fn settle(&mut self, context: Context, answers: &mut Vec<(FetchKey, PartitionData)>) -> i32 {
        let (Context::Full(id) | Context::Incremental(id)) = context else { return 0 };
        // A session may have been closed by another connection while the request waited.
        let Some(session) = self.sessions.get_mut(&id) else { return id };
        let only_news = matches!(context, Context::Incremental(_));
        answers.retain_mut(|(key, data)| {
            let is_news = session.update(key, data);
            // Those that gave records wait for the others next time, or they could starve them.
            if only_news && data.records.as_ref().is_some_and(|records| !records.is_empty()) {
                session.move_last(key);
            }
            is_news || !only_news
        });
        id
    }
}
