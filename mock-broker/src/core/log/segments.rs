//! The segments of a log: when a new one begins, and which ones are too old or too many. Pure.
//!
//! Kafka deletes and compacts whole files; here a segment is only where they would begin.

use milena_protocol::records::Batch;

use super::Log;

#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    base_offset: i64,
    /// How many bytes are in the log before it.
    position: u64,
    /// That of its first batch, which `segment.ms` counts from.
    first_timestamp: i64,
    largest_timestamp: i64,
}

impl Segment {
    fn starting_with(batch: &Batch, position: u64) -> Self {
        let header = batch.header();
        let timestamp = header.max_timestamp;
        Self { base_offset: header.base_offset, position, first_timestamp: timestamp, largest_timestamp: timestamp }
    }
}

impl Log {
    /// The batch goes into the active segment, or begins the next one.
    pub(super) fn note_in_segment(&mut self, batch: &Batch) {
        let (timestamp, rules, end_position) = (batch.header().max_timestamp, self.rules, self.end_position);
        if self.segments.back().is_some_and(|active| active.position == end_position) {
            self.segments.pop_back();
        }
        let grows = self.segments.back_mut().filter(|active| {
            let is_full = end_position - active.position + batch.bytes().len() as u64 > rules.segment_bytes;
            let waited = timestamp.saturating_sub(active.first_timestamp);
            !is_full && (active.first_timestamp < 0 || waited <= rules.segment_ms)
        });
        match grows {
            Some(active) => active.largest_timestamp = active.largest_timestamp.max(timestamp),
            None => self.segments.push_back(Segment::starting_with(batch, end_position)),
        }
    }

    /// Closes the active segment: the next batch begins another one.
    pub(crate) fn roll(&mut self) {
        let (base_offset, position) = (self.end, self.end_position);
        if self.segments.back().is_some_and(|active| active.position < position) {
            let empty = Segment { base_offset, position, first_timestamp: -1, largest_timestamp: -1 };
            self.segments.push_back(empty);
        }
    }

    /// Where the active segment begins.
    pub(super) fn active_from(&self) -> i64 {
        self.segments.back().map_or(self.end, |active| active.base_offset)
    }

    pub(super) fn drop_segments_before(&mut self, start: i64) {
        while self.segments.get(1).is_some_and(|second| second.base_offset <= start) {
            self.segments.pop_front();
        }
        if self.entries.is_empty() {
            self.segments.clear();
        }
    }

    /// After the end was cut off.
    pub(super) fn truncate_segments(&mut self) {
        while self.segments.back().is_some_and(|last| last.base_offset >= self.end) {
            self.segments.pop_back();
        }
        let Some(base) = self.segments.back().map(|active| active.base_offset) else { return };
        let largest = self.batches_from(base).map(|batch| batch.header().max_timestamp).max();
        if let Some(active) = self.segments.back_mut() {
            active.largest_timestamp = largest.unwrap_or(-1);
        }
    }

    /// Where the segment ends that this offset is in.
    pub(crate) fn segment_end(&self, base_offset: i64) -> i64 {
        let next = self.segments.partition_point(|segment| segment.base_offset <= base_offset);
        self.segments.get(next).map_or(self.end, |segment| segment.base_offset)
    }

    /// Where segments begin when those below `until` have been compacted: as many become one as have been small enough.
    pub(super) fn bounds_once_compacted(&self, until: i64) -> Vec<i64> {
        let (mut bounds, mut size) = (Vec::new(), 0);
        for (index, segment) in self.segments.iter().enumerate() {
            let end_position = self.segments.get(index + 1).map_or(self.end_position, |next| next.position);
            let own = end_position - segment.position;
            let joins = segment.base_offset < until && !bounds.is_empty() && size + own <= self.rules.segment_bytes;
            if joins {
                size += own;
            } else {
                size = own;
                bounds.push(segment.base_offset);
            }
        }
        bounds
    }

    /// After batches were taken out or made smaller. Segments without batches are gone.
    pub(super) fn rebuild_segments(&mut self, bounds: &[i64]) {
        self.segments.clear();
        let mut at = 0;
        for entry in &self.entries {
            let batch = &entry.batch;
            let mut is_behind = self.segments.is_empty();
            while bounds.get(at).is_some_and(|bound| *bound <= batch.header().base_offset) {
                (at, is_behind) = (at + 1, true);
            }
            match self.segments.back_mut().filter(|_| !is_behind) {
                Some(segment) => {
                    segment.largest_timestamp = segment.largest_timestamp.max(batch.header().max_timestamp);
                }
                None => self.segments.push_back(Segment::starting_with(batch, entry.position)),
            }
        }
        if bounds.last() == Some(&self.end) {
            self.roll();
        }
    }

    /// Removes what `cleanup.policy=delete` lets go: the eldest segments, as long as what is behind them still has
    /// `retention.bytes`, or if their latest record is older than `retention.ms`. Records that consumers cannot read yet stay.
    pub(crate) fn apply_retention(&mut self, wall_ms: i64, high_watermark: i64) {
        let rules = self.rules;
        if !rules.deletes {
            return;
        }
        if let Ok(limit) = u64::try_from(rules.retention_bytes) {
            let mut excess = self.size().saturating_sub(limit);
            self.delete_segments(high_watermark, |_, size| {
                let fits = size <= excess;
                excess = excess.saturating_sub(size);
                fits
            });
        }
        if rules.retention_ms >= 0 {
            self.delete_segments(high_watermark, |segment, _| {
                wall_ms.saturating_sub(segment.largest_timestamp) > rules.retention_ms && segment.largest_timestamp >= 0
            });
        }
    }

    /// Deletes the first segments that this is true of, told the size of each.
    fn delete_segments(&mut self, high_watermark: i64, mut may_go: impl FnMut(&Segment, u64) -> bool) {
        let mut start = self.start;
        for (index, segment) in self.segments.iter().enumerate() {
            let next = self.segments.get(index + 1);
            let (end, end_position) =
                next.map_or((self.end, self.end_position), |next| (next.base_offset, next.position));
            let size = end_position - segment.position.max(self.start_position());
            if end > high_watermark || size == 0 || !may_go(segment, size) {
                break;
            }
            start = end;
        }
        self.advance_start(start);
    }

    /// Whether `retention.bytes` lets the eldest segment go.
    pub(crate) fn is_oversized(&self) -> bool {
        let limit = u64::try_from(self.rules.retention_bytes).ok().filter(|_| self.rules.deletes);
        let behind_first = self.segments.get(1).map_or(0, |second| self.end_position - second.position);
        limit.is_some_and(|limit| self.size() > 0 && behind_first >= limit)
    }

    /// When, in milliseconds since the Unix epoch, `retention.ms` lets the eldest segment go.
    pub(crate) fn expires_at(&self) -> Option<i64> {
        let limit = Some(self.rules.retention_ms).filter(|limit| *limit >= 0 && self.rules.deletes)?;
        let largest = self.segments.front()?.largest_timestamp;
        (largest >= 0).then(|| largest.saturating_add(limit).saturating_add(1))
    }
}
