//! Snappy in the framing of xerial's snappy-java, which Kafka's Java client writes, and without any. Pure.
//!
//! The framing is a magic number, two version numbers, and blocks with a length each. Some clients write one raw Snappy block
//! instead; both are read.

use super::Failure;

const MAGIC: &[u8] = b"\x82SNAPPY\0";

/// Magic number, then version and lowest compatible version, both 1.
const HEADER: &[u8] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";

/// How much goes into one block: what Snappy looks at in one go anyway.
const BLOCK: usize = 64 * 1024;

/// The best that Snappy can do: 3 bytes of input give 64 of output. A block that declares more is not read.
const MAX_RATIO: usize = 22;

pub(super) struct Compressor {
    encoder: snap::raw::Encoder,
}

impl Compressor {
    pub(super) fn new() -> Self {
        Self { encoder: snap::raw::Encoder::new() }
    }

    pub(super) fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<(), Failure> {
        output.extend_from_slice(HEADER);
        for block in input.chunks(BLOCK) {
            let start = output.len();
            output.resize(start + 4 + snap::raw::max_compress_len(block.len()), 0);
            let room = output.get_mut(start..).and_then(<[u8]>::split_first_chunk_mut);
            let (length, target) = room.ok_or_else(|| Failure::invalid("no room for a block"))?;
            let compressed = self.encoder.compress(block, target).map_err(Failure::invalid)?;
            *length = (compressed as u32).to_be_bytes();
            output.truncate(start + 4 + compressed);
        }
        Ok(())
    }
}

pub(super) fn decompress(input: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
    let mut output = Vec::new();
    if !input.starts_with(MAGIC) {
        decompress_block(input, &mut output, limit)?;
        return Ok(output);
    }
    let mut rest = input.get(HEADER.len()..).ok_or_else(cut)?;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk().ok_or_else(cut)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(Failure::invalid)?;
        let (block, after) = after.split_at_checked(length).ok_or_else(cut)?;
        decompress_block(block, &mut output, limit)?;
        rest = after;
    }
    Ok(output)
}

fn decompress_block(block: &[u8], output: &mut Vec<u8>, limit: usize) -> Result<(), Failure> {
    let length = snap::raw::decompress_len(block).map_err(Failure::invalid)?;
    if length > block.len().saturating_mul(MAX_RATIO) {
        return Err(Failure::invalid(format!("{} bytes cannot become {length}", block.len())));
    }
    let start = output.len();
    if length > limit - start {
        return Err(Failure::TooLarge { limit });
    }
    output.resize(start + length, 0);
    let target = output.get_mut(start..).unwrap_or_default();
    snap::raw::Decoder::new().decompress(block, target).map_err(Failure::invalid)?;
    Ok(())
}

fn cut() -> Failure {
    Failure::invalid("the input is cut")
}
