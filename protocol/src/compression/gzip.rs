//! Gzip, over flate2. Pure.

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};

use super::{Failure, first_guess};

/// The largest window; the base-2 logarithm of 32 KiB.
const WINDOW_BITS: u8 = 15;

/// A member has a header of 10 bytes and a trailer of 8.
const FRAMING: usize = 18;

pub(super) struct Compressor {
    stream: Compress,
}

impl Compressor {
    pub(super) fn new(level: Option<i32>) -> Self {
        let level = level.unwrap_or(6).clamp(0, 9).unsigned_abs();
        Self { stream: Compress::new_gzip(flate2::Compression::new(level), WINDOW_BITS) }
    }

    pub(super) fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<(), Failure> {
        self.stream.reset();
        output.reserve(input.len() / 2 + FRAMING);
        loop {
            let rest = consumed(input, self.stream.total_in());
            match self.stream.compress_vec(rest, output, FlushCompress::Finish).map_err(Failure::invalid)? {
                Status::StreamEnd => return Ok(()),
                Status::Ok | Status::BufError => output.reserve(output.len().max(FRAMING)),
            }
        }
    }
}

/// Reads one or more members, as the format allows.
pub(super) fn decompress(input: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
    let mut output = Vec::with_capacity(first_guess(input.len(), limit));
    let mut members = input;
    loop {
        // A gzip stream of flate2 is made anew by a reset, so keeping one would save nothing.
        let mut stream = Decompress::new_gzip(WINDOW_BITS);
        loop {
            let rest = consumed(members, stream.total_in());
            let before = (stream.total_in(), output.len());
            let status = stream.decompress_vec(rest, &mut output, FlushDecompress::None).map_err(Failure::invalid)?;
            if output.len() > limit {
                return Err(Failure::TooLarge { limit });
            }
            match status {
                Status::StreamEnd => break,
                Status::Ok | Status::BufError if output.len() == output.capacity() => {
                    // One byte beyond the limit tells "exactly the limit" from "more".
                    let more = output.len().max(256).min(limit - output.len() + 1);
                    output.reserve_exact(more);
                }
                Status::Ok | Status::BufError if before == (stream.total_in(), output.len()) => {
                    return Err(Failure::invalid("the input is cut"));
                }
                Status::Ok | Status::BufError => {}
            }
        }
        members = consumed(members, stream.total_in());
        if members.is_empty() {
            return Ok(output);
        }
    }
}

fn consumed(input: &[u8], total: u64) -> &[u8] {
    usize::try_from(total).ok().and_then(|total| input.get(total..)).unwrap_or_default()
}
