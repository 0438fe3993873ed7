//! One transactional id at its coordinator: the rules of KIP-98, KIP-360 and KIP-890. Pure.
//!
//! Nothing here changes a transaction: what a request leads to is a new one, which counts once it is in the log.

use std::collections::BTreeSet;
use std::fmt;

use milena_protocol::ErrorCode;

/// There is no producer id, no epoch, no time.
pub(super) const NONE: i16 = -1;

/// The last epoch that a client gets: the one above is the coordinator's, to fence with.
const LAST_EPOCH: i16 = i16::MAX - 1;

/// How far the transaction of a transactional id is.
///
/// ```text
///           a partition is added              EndTxn, or its time is up                  all markers are written
///   Empty ───────────────────────► Ongoing ──────────────────────────────► PrepareCommit ─────────────────────► CompleteCommit
///     ▲                            ▲                                       PrepareAbort                         CompleteAbort
///     │ InitProducerId             └───────────────────────────────────────────────────────────── a partition is added ──┤
///     └──────────────────────────────────────────────────────────────────────────────────────────────────────────────────┘
/// ```
///
/// With transaction version 2 (KIP-890) an abort of nothing is one, too: it goes from any state at rest to `PrepareAbort`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TransactionState {
    /// Nothing was written with the identity that the last InitProducerId has given.
    Empty,
    /// Partitions were added. Readers of committed records do not get past the first record.
    Ongoing,
    /// It is decided that the records count; not all partitions have their marker.
    PrepareCommit,
    /// It is decided that the records do not count; not all partitions have their marker.
    PrepareAbort,
    /// The last transaction was committed.
    CompleteCommit,
    /// The last transaction was aborted.
    CompleteAbort,
}

impl TransactionState {
    const ALL: [Self; 6] = [
        Self::Empty,
        Self::Ongoing,
        Self::PrepareCommit,
        Self::PrepareAbort,
        Self::CompleteCommit,
        Self::CompleteAbort,
    ];

    /// The number that stands for it in the log.
    pub(super) fn id(self) -> i8 {
        self as i8
    }

    pub(super) fn from_id(id: i8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.id() == id)
    }
}

/// As Kafka's tools write it: `PrepareCommit`.
impl fmt::Display for TransactionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A producer id with its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
}

/// Commit or abort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Commit,
    Abort,
}

/// What two versions of the protocol disagree about: whether each transaction ends with a new epoch (KIP-890).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Epochs {
    Keep,
    Bump,
}

/// A topic's name and a partition.
pub(crate) type TopicPartition = (String, i32);

/// What the log says of a transactional id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Transaction {
    pub(super) state: TransactionState,
    pub(super) producer_id: i64,
    /// -1 before the first InitProducerId is in the log.
    pub(super) epoch: i16,
    /// The epoch before: that of a client that repeats its request. -1 if nobody may.
    pub(super) last_epoch: i16,
    /// The producer id before the last change.
    pub(super) previous_producer_id: i64,
    /// The producer id after the end of the transaction, if the epochs of this one are used up.
    pub(super) next_producer_id: i64,
    pub(super) timeout_ms: i32,
    /// Those that get a marker; also of the brokers' topic of offsets.
    pub(super) partitions: BTreeSet<TopicPartition>,
    /// Milliseconds since the Unix epoch; -1 if none was started.
    pub(super) started_ms: i64,
    pub(super) updated_ms: i64,
    pub(super) epochs: Epochs,
}

/// What InitProducerId leads to.
#[derive(Debug)]
pub(super) enum Init {
    /// The identity of the new transaction is the client's.
    Ready(Transaction),
    /// The transaction under way is aborted; the client has to come again.
    Fence(Transaction),
}

/// What EndTxn leads to.
#[derive(Debug)]
pub(super) enum Ending {
    /// It has ended like this before.
    Already,
    Prepare(Transaction),
}

impl Transaction {
    /// Of an id that nobody has used. It is not in the log.
    pub(super) fn new(producer_id: i64, timeout_ms: i32) -> Self {
        Self {
            state: TransactionState::Empty,
            producer_id,
            epoch: NONE,
            last_epoch: NONE,
            previous_producer_id: NONE.into(),
            next_producer_id: NONE.into(),
            timeout_ms,
            partitions: BTreeSet::new(),
            started_ms: NONE.into(),
            updated_ms: NONE.into(),
            epochs: Epochs::Keep,
        }
    }

    pub(super) fn identity(&self) -> Identity {
        Identity { producer_id: self.producer_id, epoch: self.epoch }
    }

    /// When it is aborted unless it ends before, in milliseconds since the Unix epoch.
    pub(super) fn deadline_ms(&self) -> Option<i64> {
        let is_ongoing = self.state == TransactionState::Ongoing;
        is_ongoing.then(|| self.started_ms.saturating_add(self.timeout_ms.into()))
    }

    /// How its partitions are to be told that it ends.
    pub(super) fn ends_by(&self) -> Option<End> {
        match self.state {
            TransactionState::PrepareCommit => Some(End::Commit),
            TransactionState::PrepareAbort => Some(End::Abort),
            TransactionState::Empty
            | TransactionState::Ongoing
            | TransactionState::CompleteCommit
            | TransactionState::CompleteAbort => None,
        }
    }

    fn is_exhausted(&self) -> bool {
        self.epoch >= LAST_EPOCH
    }

    /// A producer starts, or goes on after an error and says who it has been.
    pub(super) fn init(
        &self,
        timeout_ms: i32,
        expected: Option<Identity>,
        server: Epochs,
        now_ms: i64,
        new_id: &mut dyn FnMut() -> Result<i64, ErrorCode>,
    ) -> Result<Init, ErrorCode> {
        if !expected.is_none_or(|expected| self.may_be(expected)) {
            return Err(ErrorCode::PRODUCER_FENCED);
        }
        match self.state {
            TransactionState::PrepareCommit | TransactionState::PrepareAbort => Err(ErrorCode::CONCURRENT_TRANSACTIONS),
            TransactionState::Ongoing => Ok(Init::Fence(self.fence(server, now_ms))),
            TransactionState::Empty | TransactionState::CompleteCommit | TransactionState::CompleteAbort => {
                let (producer_id, epoch, last_epoch) = match expected {
                    expected if self.is_exhausted() && expected.is_none_or(|expected| expected.epoch == self.epoch) => {
                        (new_id()?, 0, expected.map_or(NONE, |_| self.epoch))
                    }
                    // The answer to the first attempt may have been lost.
                    Some(expected) if self.epoch != NONE && expected.epoch != self.epoch => {
                        if expected.epoch != self.last_epoch {
                            return Err(ErrorCode::PRODUCER_FENCED);
                        }
                        (self.producer_id, self.epoch, self.last_epoch)
                    }
                    expected => (self.producer_id, self.epoch.saturating_add(1), expected.map_or(NONE, |_| self.epoch)),
                };
                Ok(Init::Ready(Self {
                    state: TransactionState::Empty,
                    producer_id,
                    epoch,
                    last_epoch,
                    previous_producer_id: self.producer_id,
                    next_producer_id: NONE.into(),
                    timeout_ms,
                    partitions: BTreeSet::new(),
                    started_ms: NONE.into(),
                    updated_ms: now_ms,
                    epochs: self.epochs,
                }))
            }
        }
    }

    fn may_be(&self, expected: Identity) -> bool {
        self.epoch == NONE
            || expected.producer_id == self.producer_id
            || expected.producer_id == self.previous_producer_id && expected.epoch >= LAST_EPOCH
    }

    /// The abort of a transaction whose producer is to write no more: another one has come, or its time is up.
    pub(super) fn fence(&self, server: Epochs, now_ms: i64) -> Self {
        let prepared = self.prepare(End::Abort, server, NONE.into(), now_ms);
        match server {
            // The epoch of the marker fences. Whoever had the one before may ask for the next one.
            Epochs::Bump => prepared,
            Epochs::Keep => Self { epoch: self.epoch.saturating_add(1), last_epoch: NONE, ..prepared },
        }
    }

    fn prepare(&self, end: End, epochs: Epochs, next_producer_id: i64, now_ms: i64) -> Self {
        let state = match end {
            End::Commit => TransactionState::PrepareCommit,
            End::Abort => TransactionState::PrepareAbort,
        };
        let (epoch, last_epoch) = match epochs {
            Epochs::Keep => (self.epoch, self.last_epoch),
            Epochs::Bump => (self.epoch.saturating_add(1), self.epoch),
        };
        let started_ms = if self.state == TransactionState::Ongoing { self.started_ms } else { now_ms };
        Self {
            state,
            epoch,
            last_epoch,
            previous_producer_id: self.producer_id,
            next_producer_id,
            started_ms,
            updated_ms: now_ms,
            epochs,
            ..self.clone()
        }
    }

    fn check_identity(&self, identity: Identity) -> Result<(), ErrorCode> {
        if identity.producer_id != self.producer_id {
            return Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING);
        }
        if identity.epoch != self.epoch {
            return Err(ErrorCode::PRODUCER_FENCED);
        }
        if self.ends_by().is_some() {
            return Err(ErrorCode::CONCURRENT_TRANSACTIONS);
        }
        Ok(())
    }

    /// The transaction with more partitions; `None` if it has them already.
    pub(super) fn add(
        &self,
        identity: Identity,
        partitions: &BTreeSet<TopicPartition>,
        epochs: Epochs,
        now_ms: i64,
    ) -> Result<Option<Self>, ErrorCode> {
        self.check_identity(identity)?;
        let is_ongoing = self.state == TransactionState::Ongoing;
        if is_ongoing && partitions.is_subset(&self.partitions) {
            return Ok(None);
        }
        Ok(Some(Self {
            state: TransactionState::Ongoing,
            previous_producer_id: self.producer_id,
            partitions: self.partitions.union(partitions).cloned().collect(),
            started_ms: if is_ongoing { self.started_ms } else { now_ms },
            updated_ms: now_ms,
            epochs,
            ..self.clone()
        }))
    }

    /// Whether a leader may write to its partition for this producer.
    pub(super) fn verify(&self, identity: Identity, partition: &TopicPartition) -> Result<(), ErrorCode> {
        self.check_identity(identity)?;
        if self.partitions.contains(partition) { Ok(()) } else { Err(ErrorCode::TRANSACTION_ABORTABLE) }
    }

    /// A client commits or aborts.
    pub(super) fn end(
        &self,
        identity: Identity,
        end: End,
        epochs: Epochs,
        now_ms: i64,
        new_id: &mut dyn FnMut() -> Result<i64, ErrorCode>,
    ) -> Result<Ending, ErrorCode> {
        match epochs {
            Epochs::Keep => self.end_keeping(identity, end, now_ms),
            Epochs::Bump => self.end_bumping(identity, end, now_ms, new_id),
        }
    }

    fn end_keeping(&self, identity: Identity, end: End, now_ms: i64) -> Result<Ending, ErrorCode> {
        if identity.producer_id != self.producer_id {
            return Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING);
        }
        if identity.epoch != self.epoch {
            return Err(ErrorCode::PRODUCER_FENCED);
        }
        match (self.state, end) {
            (TransactionState::Ongoing, _) => Ok(Ending::Prepare(self.prepare(end, Epochs::Keep, NONE.into(), now_ms))),
            (TransactionState::CompleteCommit, End::Commit) | (TransactionState::CompleteAbort, End::Abort) => {
                Ok(Ending::Already)
            }
            (TransactionState::PrepareCommit, End::Commit) | (TransactionState::PrepareAbort, End::Abort) => {
                Err(ErrorCode::CONCURRENT_TRANSACTIONS)
            }
            (TransactionState::Empty, _)
            | (TransactionState::CompleteCommit | TransactionState::PrepareCommit, End::Abort)
            | (TransactionState::CompleteAbort | TransactionState::PrepareAbort, End::Commit) => {
                Err(ErrorCode::INVALID_TXN_STATE)
            }
        }
    }

    /// The same epoch stands for the next transaction here, the one before for a repeated request.
    fn end_bumping(
        &self,
        identity: Identity,
        end: End,
        now_ms: i64,
        new_id: &mut dyn FnMut() -> Result<i64, ErrorCode>,
    ) -> Result<Ending, ErrorCode> {
        let Identity { producer_id, epoch } = identity;
        let is_after_overflow = self.previous_producer_id == producer_id && epoch == LAST_EPOCH && self.epoch == 0;
        let is_retry = is_after_overflow || self.epoch == epoch.saturating_add(1);
        if producer_id != self.producer_id && !is_after_overflow {
            return Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING);
        }
        let is_valid = match self.state {
            TransactionState::Empty | TransactionState::Ongoing => epoch == self.epoch,
            TransactionState::PrepareCommit | TransactionState::PrepareAbort => self.epoch == epoch.saturating_add(1),
            TransactionState::CompleteCommit | TransactionState::CompleteAbort => is_retry || epoch == self.epoch,
        };
        if !is_valid {
            return Err(ErrorCode::PRODUCER_FENCED);
        }
        let mut prepare = || {
            let next = if self.is_exhausted() { new_id()? } else { NONE.into() };
            Ok(Ending::Prepare(self.prepare(end, Epochs::Bump, next, now_ms)))
        };
        match (self.state, end) {
            (TransactionState::Ongoing, _) | (TransactionState::Empty, End::Abort) => prepare(),
            (TransactionState::CompleteCommit, End::Commit) | (TransactionState::CompleteAbort, End::Abort)
                if is_retry =>
            {
                Ok(Ending::Already)
            }
            (TransactionState::CompleteCommit | TransactionState::CompleteAbort, End::Abort) if !is_retry => prepare(),
            (TransactionState::PrepareCommit, End::Commit) | (TransactionState::PrepareAbort, End::Abort) => {
                Err(ErrorCode::CONCURRENT_TRANSACTIONS)
            }
            (TransactionState::Empty, End::Commit)
            | (TransactionState::CompleteCommit | TransactionState::PrepareCommit, _)
            | (TransactionState::CompleteAbort | TransactionState::PrepareAbort, _) => {
                Err(ErrorCode::INVALID_TXN_STATE)
            }
        }
    }

    /// A prepared transaction once all its markers are written.
    pub(super) fn complete(&self, now_ms: i64) -> Self {
        let state = match self.ends_by() {
            Some(End::Commit) => TransactionState::CompleteCommit,
            Some(End::Abort) => TransactionState::CompleteAbort,
            None => self.state,
        };
        let rotates = self.epochs == Epochs::Bump && self.next_producer_id != i64::from(NONE);
        Self {
            state,
            producer_id: if rotates { self.next_producer_id } else { self.producer_id },
            epoch: if rotates { 0 } else { self.epoch },
            previous_producer_id: self.producer_id,
            next_producer_id: NONE.into(),
            partitions: BTreeSet::new(),
            updated_ms: now_ms,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests;
