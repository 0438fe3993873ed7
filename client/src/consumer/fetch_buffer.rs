//! What was fetched of one partition and not handed out yet. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use milena_protocol::records::{Batch, BatchError, BatchErrorKind};

use super::batch::Chunk;
use super::fetch_budget::FetchBudget;
use super::fetched::{Fetched, Reading, corrupt};
use super::holds::{Holding, Holds};
use super::lease::{FetchPosition, LeaseId};
use crate::error::{Error, Result};
use crate::topic_partition::TopicPartition;

/// Batches as they came, in order, and the one that is being read.
#[derive(Debug, Default)]
pub(crate) struct FetchBuffer {
    queue: VecDeque<Fetched>,
    open: Option<OpenChunk>,
    /// A batch is being decompressed, outside of the lock.
    decoding: bool,
    /// How many bytes wait in `queue`.
    bytes: usize,
    clearings: u64,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Front {
    Nothing,
    /// Records, in [`FetchBuffer::open`].
    Open,
    /// A batch that must be decompressed first; it is [`FetchBuffer::on_decoded`] then.
    Batch(Batch),
    Passed(FetchPosition),
    /// An error, and whether it stays.
    Failed(Error),
}

impl FetchBuffer {
    pub(crate) fn push(&mut self, entry: Fetched) {
        match (&entry, self.queue.back_mut()) {
            // It comes at every try, and the application may never read.
            (Fetched::Report(_), Some(last @ Fetched::Report(_))) => {
                *last = entry;
                return;
            }
            (Fetched::Batch(batch), _) => self.bytes += batch.bytes().len(),
            _ => {}
        }
        self.queue.push_back(entry);
    }

    /// Whether everything that was fetched was also handed out.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.open.is_none() && !self.decoding
    }

    /// How many bytes wait, as they came.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How often it was cleared: whatever was taken out before is void.
    pub(crate) fn clearings(&self) -> u64 {
        self.clearings
    }

    /// Reading goes on elsewhere.
    pub(crate) fn clear(&mut self) {
        self.queue.clear();
        self.open = None;
        self.decoding = false;
        self.bytes = 0;
        self.clearings += 1;
    }

    /// Whether the next thing is an error.
    pub(crate) fn is_failed(&self) -> bool {
        self.open.is_none() && matches!(self.queue.front(), Some(Fetched::Report(_) | Fetched::Stuck(_)))
    }

    /// Whether the next thing is an error that stays.
    pub(crate) fn is_stuck(&self) -> bool {
        self.open.is_none() && matches!(self.queue.front(), Some(Fetched::Stuck(_)))
    }

    /// Takes the next thing if it is an error to be given once.
    pub(crate) fn take_report(&mut self) -> Option<Error> {
        let Some(Fetched::Report(error)) = self.queue.front() else { return None };
        let error = error.clone();
        self.queue.pop_front();
        Some(error)
    }

    /// Takes what comes next, if it is not records that are ready to be read.
    pub(crate) fn take_front(&mut self) -> Front {
        if self.open.is_some() {
            return Front::Open;
        }
        if let Some(Fetched::Stuck(error)) = self.queue.front() {
            return Front::Failed(error.clone());
        }
        match self.queue.pop_front() {
            None => Front::Nothing,
            Some(Fetched::Batch(batch)) => {
                self.bytes -= batch.bytes().len();
                self.decoding = true;
                Front::Batch(batch)
            }
            Some(Fetched::Passed(next)) => Front::Passed(next),
            Some(Fetched::Report(error) | Fetched::Stuck(error)) => Front::Failed(error),
        }
    }

    /// The batch that was taken last can be read; nothing was cleared since.
    pub(crate) fn on_decoded(&mut self, chunk: Chunk) {
        self.decoding = false;
        self.open = Some(OpenChunk { chunk: Arc::new(chunk), at: 0, index: 0, last: None });
    }

    pub(crate) fn open(&mut self) -> Option<&mut OpenChunk> {
        self.open.as_mut()
    }

    /// All of the open chunk was handed out.
    pub(crate) fn close(&mut self) -> Option<FetchPosition> {
        self.open.take().map(|open| open.chunk.end())
    }
}

/// A chunk, and how far it was read.
#[derive(Debug)]
pub(crate) struct OpenChunk {
    pub(crate) chunk: Arc<Chunk>,
    at: usize,
    index: u32,
    last: Option<i64>,
}

/// One record in a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) at: u32,
    pub(crate) index: u32,
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    /// The position behind it: behind the whole batch, if it is the last one.
    pub(crate) next: FetchPosition,
}

impl OpenChunk {
    /// The next record that is not before `from`; `None` at the end. An error stays where it is.
    #[inline]
    pub(crate) fn next(&mut self, from: i64) -> Result<Option<Place>, BatchError> {
        let records = &self.chunk.records;
        let count = u32::try_from(records.header().record_count).unwrap_or(0);
        while self.index < count {
            let (record, end) = records.read_at(self.at)?;
            if self.last.is_some_and(|last| record.offset <= last) {
                return Err(self.fail(format!("offset {} does not come after the one before", record.offset)));
            }
            let (at, index) = (self.at, self.index);
            self.last = Some(record.offset);
            self.at = end;
            self.index += 1;
            if record.offset >= from {
                let next = match self.index == count {
                    true => self.chunk.end(),
                    false => FetchPosition { offset: record.offset + 1, epoch: self.chunk.epoch() },
                };
                let at = u32::try_from(at).unwrap_or(u32::MAX);
                return Ok(Some(Place { at, index, offset: record.offset, timestamp: record.timestamp, next }));
            }
        }
        match records.bytes().len() - self.at {
            0 => Ok(None),
            trailing => Err(self.fail(format!("{trailing} bytes follow the last record"))),
        }
    }

    #[cold]
    fn fail(&self, reason: String) -> BatchError {
        BatchError::new(Some(self.chunk.records.header().base_offset), BatchErrorKind::Record, reason)
    }
}

/// A batch on its way to becoming a chunk.
#[derive(Debug)]
pub(crate) struct Undecoded {
    pub(crate) partition: TopicPartition,
    pub(crate) lease: LeaseId,
    pub(crate) holding: Holding,
    pub(crate) batch: Batch,
    /// The position of the application.
    pub(crate) position: i64,
    pub(crate) clearings: u64,
}

impl Undecoded {
    /// Checks and decompresses it: the expensive part, done on the application's side and without the lock.
    pub(crate) fn decode(&self, reading: &Reading, budget: &Arc<FetchBudget>) -> Result<Chunk> {
        let records = reading.check_crc(&self.batch).and_then(|()| self.batch.records(reading.batch_limit));
        let records = records
            .map_err(|error| corrupt(&self.partition, self.position, self.batch.header().next_offset(), error))?;
        // What is not compressed is a part of the frame, which counts already.
        let compressed = self.batch.header().attributes.0 & 7 != 0;
        let charge = compressed.then(|| budget.charge(records.bytes().len()));
        let header = records.header();
        let holds =
            Holds::new(header.base_offset, usize::try_from(header.record_count).unwrap_or(0), self.holding.clone());
        let Self { partition, lease, .. } = self;
        Ok(Chunk { partition: partition.clone(), lease: *lease, records, holds: Arc::new(holds), _charge: charge })
    }
}
