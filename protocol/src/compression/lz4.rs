//! LZ4 frames, over lz4_flex's block functions. Pure.
//!
//! Written are frames as Kafka's Java client writes them: independent blocks of 64 KiB, no sizes, no checksums of content.
//! Read is all that the frame format allows (linked blocks, content size, checksums, several frames, skippable frames), except
//! dictionaries. The header's checksum is verified; those of blocks and of the content are not, because a batch has a CRC.

mod xxh32;

use lz4_flex::block::{
    CompressTable, DecompressError, compress_into_with_table, decompress_into_with_dict, get_maximum_output_size,
};

use super::Failure;

const MAGIC: u32 = 0x184d_2204;

/// Frames with these magic numbers hold something else, to be skipped.
const SKIPPABLE: std::ops::RangeInclusive<u32> = 0x184d_2a50..=0x184d_2a5f;

/// Magic number; version 1, independent blocks; blocks of up to 64 KiB; checksum of these two bytes.
const HEADER: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];

const BLOCK: usize = 64 * 1024;

/// The highest bit of a block's length says that the block is not compressed.
const UNCOMPRESSED: u32 = 1 << 31;

/// How far back a linked block may refer.
const WINDOW: usize = 64 * 1024;

/// The best that LZ4 can do is one byte of input for 255 of output, plus a few at the start of a sequence.
const MAX_RATIO: usize = 255;

#[derive(Default)]
pub(super) struct Compressor {
    table: CompressTable,
}

impl Compressor {
    pub(super) fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<(), Failure> {
        output.extend_from_slice(&HEADER);
        for block in input.chunks(BLOCK) {
            let start = output.len();
            output.resize(start + 4 + get_maximum_output_size(block.len()), 0);
            let room = output.get_mut(start..).and_then(<[u8]>::split_first_chunk_mut);
            let (length, target) = room.ok_or_else(|| Failure::invalid("no room for a block"))?;
            let compressed = compress_into_with_table(block, target, &mut self.table).map_err(Failure::invalid)?;
            if compressed < block.len() {
                *length = (compressed as u32).to_le_bytes();
                output.truncate(start + 4 + compressed);
            } else {
                *length = (block.len() as u32 | UNCOMPRESSED).to_le_bytes();
                output.truncate(start + 4);
                output.extend_from_slice(block);
            }
        }
        output.extend_from_slice(&0u32.to_le_bytes());
        Ok(())
    }
}

pub(super) fn decompress(input: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
    let mut output = Vec::new();
    let mut rest = input;
    loop {
        let magic = number(&mut rest)?;
        if magic == MAGIC {
            let frame = Frame::read(&mut rest)?;
            frame.decompress(&mut rest, &mut output, limit)?;
        } else if SKIPPABLE.contains(&magic) {
            let length = number(&mut rest)?;
            take(&mut rest, length as usize)?;
        } else {
            return Err(Failure::invalid("the input is not an LZ4 frame"));
        }
        if rest.is_empty() {
            return Ok(output);
        }
    }
}

/// What a frame's header says.
struct Frame {
    linked: bool,
    block_checksums: bool,
    content_checksum: bool,
    max_block: usize,
}

impl Frame {
    fn read(input: &mut &[u8]) -> Result<Self, Failure> {
        let start = *input;
        let [flags, block] = *take(input, 2)? else { return Err(cut()) };
        if flags >> 6 != 1 {
            return Err(Failure::invalid(format!("frame version {} is not known", flags >> 6)));
        }
        if flags & 0x01 != 0 {
            return Err(Failure::invalid("the frame needs a dictionary"));
        }
        if flags & 0x08 != 0 {
            take(input, 8)?; // the content's size: a claim, so of no use
        }
        let covered = start.get(..start.len() - input.len()).unwrap_or_default();
        let [checksum] = *take(input, 1)? else { return Err(cut()) };
        if checksum != (xxh32::xxh32(covered) >> 8) as u8 {
            return Err(Failure::invalid("the frame header's checksum is wrong"));
        }
        let max_block = match block >> 4 & 7 {
            4 => 64 * 1024,
            5 => 256 * 1024,
            6 => 1024 * 1024,
            7 => 4 * 1024 * 1024,
            size => return Err(Failure::invalid(format!("block size {size} is not known"))),
        };
        Ok(Self {
            linked: flags & 0x20 == 0,
            block_checksums: flags & 0x10 != 0,
            content_checksum: flags & 0x04 != 0,
            max_block,
        })
    }

    fn decompress(&self, input: &mut &[u8], output: &mut Vec<u8>, limit: usize) -> Result<(), Failure> {
        let frame_start = output.len();
        loop {
            let length = number(input)?;
            if length == 0 {
                break;
            }
            let block = take(input, (length & !UNCOMPRESSED) as usize)?;
            if self.block_checksums {
                take(input, 4)?;
            }
            if length & UNCOMPRESSED == 0 {
                self.decompress_block(block, frame_start, output, limit)?;
            } else {
                if block.len() > limit - output.len() {
                    return Err(Failure::TooLarge { limit });
                }
                output.extend_from_slice(block);
            }
        }
        if self.content_checksum {
            take(input, 4)?;
        }
        Ok(())
    }

    fn decompress_block(
        &self,
        block: &[u8],
        frame_start: usize,
        output: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), Failure> {
        let start = output.len();
        let possible = self.max_block.min(block.len().saturating_mul(MAX_RATIO));
        let room = possible.min(limit - start);
        output.resize(start + room, 0);
        let window = if self.linked { start.saturating_sub(WINDOW).max(frame_start) } else { start };
        let Some((before, target)) = output.split_at_mut_checked(start) else { return Err(cut()) };
        let history = before.get(window..).unwrap_or_default();
        match decompress_into_with_dict(block, target, history) {
            Ok(length) => {
                output.truncate(start + length);
                Ok(())
            }
            Err(DecompressError::OutputTooSmall { .. }) if room < possible => Err(Failure::TooLarge { limit }),
            Err(error) => Err(Failure::invalid(error)),
        }
    }
}

fn take<'a>(input: &mut &'a [u8], length: usize) -> Result<&'a [u8], Failure> {
    let (taken, rest) = input.split_at_checked(length).ok_or_else(cut)?;
    *input = rest;
    Ok(taken)
}

fn number(input: &mut &[u8]) -> Result<u32, Failure> {
    let (bytes, rest) = input.split_first_chunk().ok_or_else(cut)?;
    *input = rest;
    Ok(u32::from_le_bytes(*bytes))
}

fn cut() -> Failure {
    Failure::invalid("the input is cut")
}
