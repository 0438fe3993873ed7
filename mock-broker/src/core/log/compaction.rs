//! What `cleanup.policy=compact` makes of a log: of each key the last record stays, at its offset. Pure.

use std::collections::BTreeMap;

use bytes::Bytes;
use milena_protocol::compression::{Compression, Compressor};
use milena_protocol::records::{Attributes, Batch, BatchError, BatchErrorKind, BatchHeader, NewRecord, TimestampType};

use super::{Log, NO_LIMIT};
use crate::core::append::assemble;

/// The bit of a batch's attributes that says: its base time stamp is when its tombstones go (KIP-534).
const DELETE_HORIZON: i16 = 0x40;

/// Offsets of the last record of each key.
type Latest = BTreeMap<Bytes, i64>;

impl Log {
    /// Whether enough was written since the log was last compacted (`min.cleanable.dirty.ratio`).
    pub(crate) fn is_cleanable(&self, wall_ms: i64, stable: i64) -> bool {
        let until = self.cleanable_until(wall_ms, stable);
        let dirty = self.bytes_between(self.clean_until, until);
        let all = self.bytes_between(self.start, until);
        dirty > 0 && dirty as f64 / all as f64 > self.rules.min_cleanable_dirty_ratio
    }

    /// Whether there are closed segments that were not compacted.
    pub(crate) fn is_dirty(&self) -> bool {
        self.rules.compacts && self.clean_until < self.active_from()
    }

    /// Neither the active segment is compacted, nor what is not stable, nor what is younger than `min.compaction.lag.ms`.
    fn cleanable_until(&self, wall_ms: i64, stable: i64) -> i64 {
        let until = self.active_from().min(stable);
        let lag = self.rules.min_compaction_lag_ms;
        let young = |batch: &&Batch| lag > 0 && wall_ms.saturating_sub(batch.header().max_timestamp) < lag;
        self.batches_from(self.clean_until).find(young).map_or(until, |batch| until.min(batch.header().base_offset))
    }

    /// Compacts what may be. What was aborted goes, the ends of transactions stay. Batches of which nothing is left go, except
    /// those that `is_last_of_producer`: their sequence numbers are needed.
    ///
    /// # Errors
    /// If a batch cannot be read or written; then nothing has changed.
    pub(crate) fn compact(
        &mut self,
        wall_ms: i64,
        stable: i64,
        is_last_of_producer: impl Fn(&BatchHeader) -> bool,
    ) -> Result<(), BatchError> {
        let until = self.cleanable_until(wall_ms, stable);
        if until <= self.clean_until {
            return Ok(());
        }
        let latest = self.latest_of_each_key(until)?;
        let horizon = wall_ms.saturating_add(self.rules.delete_retention_ms);
        let mut kept = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let header = entry.batch.header();
            if header.next_offset() > until || header.attributes.is_control() {
                kept.push(entry.batch.clone());
            } else if self.is_aborted(header) {
                if is_last_of_producer(header) {
                    kept.push(entry.batch.clone());
                }
            } else if let Some(batch) = clean(&entry.batch, &latest, wall_ms, horizon, is_last_of_producer(header))? {
                kept.push(batch);
            }
        }
        let bounds = self.bounds_once_compacted(until);
        self.entries.clear();
        self.end_position = 0;
        for batch in kept {
            self.push(batch);
        }
        self.rebuild_segments(&bounds);
        self.clean_until = until;
        Ok(())
    }

    /// Of the keys that were written since the last time.
    fn latest_of_each_key(&self, until: i64) -> Result<Latest, BatchError> {
        let mut latest = Latest::new();
        for batch in self.batches_from(self.clean_until).take_while(|batch| batch.header().next_offset() <= until) {
            if batch.header().attributes.is_control() || self.is_aborted(batch.header()) {
                continue;
            }
            for record in &batch.records(NO_LIMIT)? {
                let record = record?;
                if let Some(key) = record.key {
                    latest.insert(Bytes::copy_from_slice(key), record.offset);
                }
            }
        }
        Ok(latest)
    }
}

/// What is left of a batch; `None` if nothing is.
fn clean(
    batch: &Batch,
    latest: &Latest,
    wall_ms: i64,
    horizon: i64,
    keep_empty: bool,
) -> Result<Option<Batch>, BatchError> {
    let header = *batch.header();
    let has_horizon = header.attributes.0 & DELETE_HORIZON != 0;
    let tombstones_go = has_horizon && wall_ms >= header.base_timestamp;
    let records = batch.records(NO_LIMIT)?;
    let records: Vec<_> = records.iter().collect::<Result<_, _>>()?;
    let stays = |key: &[u8], offset: i64| latest.get(key).is_none_or(|latest| *latest <= offset);
    let (mut kept, mut has_tombstone) = (Vec::with_capacity(records.len()), false);
    for record in &records {
        if record.key.is_some_and(|key| stays(key, record.offset)) && !(record.value.is_none() && tombstones_go) {
            has_tombstone |= record.value.is_none();
            kept.push(record);
        }
    }
    let needs_horizon = has_tombstone && !has_horizon;
    if kept.len() == records.len() && !needs_horizon {
        return Ok(Some(batch.clone()));
    }
    if kept.is_empty() && !keep_empty {
        return Ok(None);
    }
    let mut wanted = BatchHeader { record_count: i32::try_from(kept.len()).unwrap_or(i32::MAX), ..header };
    if needs_horizon {
        wanted.attributes = Attributes(header.attributes.0 | DELETE_HORIZON);
        wanted.base_timestamp = horizon;
    }
    let by_producer = header.attributes.timestamp_type() == TimestampType::CreateTime;
    if let Some(latest) = kept.iter().map(|record| record.timestamp).max().filter(|_| by_producer) {
        wanted.max_timestamp = latest;
    }
    let mut body = Vec::new();
    for record in kept {
        let headers: Vec<_> = record.headers.collect();
        let delta = i32::try_from(record.offset - header.base_offset).unwrap_or(i32::MAX);
        let written = NewRecord { key: record.key, value: record.value, headers: &headers };
        written.append_to(delta, record.timestamp.wrapping_sub(wanted.base_timestamp), &mut body);
    }
    let codec = header.attributes.compression().unwrap_or_default();
    let body = match codec {
        Compression::None => body.into(),
        codec => Compressor::new(codec, None)
            .compress(&[body.into()])
            .map_err(|error| BatchError::new(Some(header.base_offset), BatchErrorKind::Codec, error.to_string()))?,
    };
    assemble(wanted, body).map(Some)
}
