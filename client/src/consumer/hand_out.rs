//! The application's side of an assignment: which record comes next, and going elsewhere. Pure.
//!
//! Partitions take turns, a batch each. A partition with an error takes its turn too, so that the others are read all the same.

use std::collections::BTreeSet;

use super::assignment::{Assignment, not_assigned};
use super::batch::{Batch, Chunk, ConsumerRecord, Piece};
use super::fetch_buffer::{Front, Undecoded};
use super::fetched::{Fetched, corrupt};
use super::lease::FetchPosition;
use super::positions::Position;
use crate::error::{Error, ErrorKind, Result};
use crate::topic_partition::TopicPartition;

/// Why a read gets nothing now.
#[derive(Debug)]
pub(crate) enum Blocked {
    /// Decompress this, bring it to [`Assignment::on_decoded`], and ask again.
    Decode(Box<Undecoded>),
    Failed(Error),
    Empty,
    Stopped,
}

impl Assignment {
    /// A read begins: what earlier ones returned may be done.
    pub(crate) fn begin_read(&mut self) {
        self.reads += 1;
    }

    /// The next record.
    pub(crate) fn next_record(&mut self) -> Result<ConsumerRecord, Blocked> {
        loop {
            let index = self.front(true)?;
            let Some(partition) = self.partitions.get_mut(index) else { return Err(Blocked::Empty) };
            let Some(open) = partition.buffer.open() else { return Err(Blocked::Empty) };
            let from = partition.lease.position().map_or(0, |position| position.offset);
            match open.next(from) {
                Ok(Some(place)) => {
                    let record = ConsumerRecord::new(&open.chunk, place.at, place.index, place.offset, place.timestamp);
                    open.chunk.holds.hand_out(place.index, place.offset);
                    let given = (place.index, place.offset, 1);
                    self.handed_out += 1;
                    partition.lease.on_handed_out(self.reads, &open.chunk.holds, given, place.next);
                    return Ok(record);
                }
                Ok(None) => self.close_chunk(index),
                Err(error) => {
                    let (name, skip_to) = (&partition.name, open.chunk.end().offset);
                    let error = corrupt(name, from, skip_to, error);
                    self.on_bad_batch(index, error);
                }
            }
        }
    }

    /// At most `max` neighbouring records. `errors`: whether an error may be returned now.
    pub(crate) fn next_piece(&mut self, max: usize, errors: bool) -> Result<Piece, Blocked> {
        loop {
            let index = self.front(errors)?;
            let Some(partition) = self.partitions.get_mut(index) else { return Err(Blocked::Empty) };
            let Some(open) = partition.buffer.open() else { return Err(Blocked::Empty) };
            let from = partition.lease.position().map_or(0, |position| position.offset);
            let mut piece: Option<(u32, u32, u32, i64, FetchPosition)> = None;
            let end = loop {
                if piece.is_some_and(|(_, _, count, _, _)| count as usize >= max) {
                    break Ok(());
                }
                match open.next(from) {
                    Ok(Some(place)) => {
                        if open.chunk.holds.by_record() || piece.is_none() {
                            open.chunk.holds.hand_out(place.index, place.offset);
                        }
                        let (.., count, _, next) =
                            piece.get_or_insert((place.at, place.index, 0, place.offset, place.next));
                        *count += 1;
                        *next = place.next;
                    }
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            match (piece, end) {
                (Some((at, index, count, first, next)), _) => {
                    self.handed_out += u64::from(count);
                    partition.lease.on_handed_out(self.reads, &open.chunk.holds, (index, first, count), next);
                    return Ok(Piece { chunk: open.chunk.clone(), at, index, count, first, next });
                }
                (None, Ok(())) => self.close_chunk(index),
                (None, Err(error)) => {
                    let error = corrupt(&partition.name, from, open.chunk.end().offset, error);
                    self.on_bad_batch(index, error);
                }
            }
        }
    }

    /// The partition whose turn it is, with an open chunk.
    fn front(&mut self, errors: bool) -> Result<usize, Blocked> {
        if self.stopped {
            return Err(Blocked::Stopped);
        }
        if errors && let Some(error) = self.report.take() {
            return Err(Blocked::Failed(error));
        }
        for name in std::mem::take(&mut self.full) {
            self.line_up(&name);
        }
        while let Some(&index) = self.line.front() {
            let Some(partition) = self.partitions.get_mut(index) else { break };
            let full = partition.lease.is_far_past_a_gap();
            if full {
                // Whoever acknowledges something lets it line up again.
                self.full.insert(partition.name.clone());
                self.holding.releases.watch();
            }
            if full && partition.lease.is_far_past_a_gap() || partition.paused || !partition.is_open() {
                partition.in_line = false;
                self.line.pop_front();
                continue;
            }
            if !errors && partition.buffer.is_failed() {
                return Err(Blocked::Empty);
            }
            match partition.buffer.take_front() {
                Front::Open => return Ok(index),
                Front::Batch(batch) => {
                    let undecoded = Undecoded {
                        partition: partition.name.clone(),
                        lease: partition.lease.id(),
                        holding: self.holding.clone(),
                        batch,
                        position: partition.lease.position().map_or(0, |position| position.offset),
                        clearings: partition.buffer.clearings(),
                    };
                    let left = partition.buffer.bytes();
                    self.on_room(left);
                    return Err(Blocked::Decode(Box::new(undecoded)));
                }
                Front::Passed(position) => partition.lease.move_to(position),
                Front::Failed(error) => {
                    self.line.rotate_left(1);
                    return Err(Blocked::Failed(error));
                }
                Front::Nothing => {
                    partition.in_line = false;
                    self.line.pop_front();
                }
            }
        }
        Err(Blocked::Empty)
    }

    fn close_chunk(&mut self, index: usize) {
        if let Some(partition) = self.partitions.get_mut(index)
            && let Some(end) = partition.buffer.close()
        {
            // Beyond the last record, if the batch was compacted.
            partition.lease.move_to(end);
            self.line.rotate_left(1);
        }
    }

    fn on_bad_batch(&mut self, index: usize, error: Error) {
        if let Some(partition) = self.partitions.get_mut(index) {
            partition.buffer.clear();
            partition.buffer.push(Fetched::Stuck(error));
            partition.fetch.fail();
        }
    }

    /// A batch was decompressed, or could not be.
    pub(crate) fn on_decoded(&mut self, undecoded: &Undecoded, decoded: Result<Chunk>) {
        let Some(index) = self.index_of(&undecoded.partition) else { return };
        let Some(partition) = self.partitions.get_mut(index) else { return };
        if partition.lease.id() != undecoded.lease || partition.buffer.clearings() != undecoded.clearings {
            return;
        }
        match decoded {
            Ok(chunk) => partition.buffer.on_decoded(chunk),
            Err(error) => self.on_bad_batch(index, error),
        }
    }

    /// Nothing is handed out any more.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
    }

    /// Reads elsewhere.
    pub(crate) fn seek(&mut self, name: &TopicPartition, to: Position) -> Result<()> {
        if let Position::Offset(offset) = to
            && offset < 0
        {
            let text = format!("cannot seek {name} to offset {offset}: offsets begin at 0");
            return Err(Error::new(ErrorKind::Usage, text).with_topic_partition(name.clone()));
        }
        let partition = self.assigned(name)?;
        partition.buffer.clear();
        let position = partition.fetch.seek(to);
        partition.lease.on_seek(position);
        Ok(())
    }

    /// Reads on behind a batch that could not be read.
    pub(crate) fn skip(&mut self, bad_batch: &Error) -> Result<()> {
        let (Some(name), Some(skip_to)) = (bad_batch.topic_partition(), bad_batch.skip_to()) else {
            let text = "there is nothing to skip: the error is not about a batch that could not be read";
            return Err(Error::new(ErrorKind::Usage, text));
        };
        let partition = self.assigned(name)?;
        // The same error may be skipped twice, or after a seek.
        if partition.lease.position().is_none_or(|position| position.offset < skip_to) && partition.buffer.is_failed() {
            return self.seek(name, Position::Offset(skip_to));
        }
        Ok(())
    }

    /// Reads this batch, and what came after it, again.
    pub(crate) fn rewind(&mut self, batch: &Batch) -> Result<()> {
        let owned = |piece: &&Piece| {
            self.get(&piece.chunk.partition).is_some_and(|partition| partition.lease.id() == piece.chunk.lease)
        };
        if let Some(lost) = batch.pieces().iter().find(|piece| !owned(piece)) {
            return Err(not_assigned(&lost.chunk.partition));
        }
        let names: BTreeSet<&TopicPartition> = batch.pieces().iter().map(|piece| &piece.chunk.partition).collect();
        for name in names {
            if let Some(first) = batch.first_offset(name) {
                self.seek(name, Position::Offset(first))?;
            }
        }
        Ok(())
    }

    pub(crate) fn pause(&mut self, name: &TopicPartition) -> Result<()> {
        self.assigned(name)?.paused = true;
        Ok(())
    }

    pub(crate) fn resume(&mut self, name: &TopicPartition) -> Result<()> {
        self.assigned(name)?.paused = false;
        self.line_up(name);
        Ok(())
    }

    /// The partitions, in order.
    pub(crate) fn names(&self, wanted: impl Fn(bool) -> bool) -> Vec<TopicPartition> {
        let wanted = self.partitions.iter().filter(|partition| wanted(partition.paused));
        wanted.map(|partition| partition.name.clone()).collect()
    }
}
