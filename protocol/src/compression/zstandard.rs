//! Zstandard, over the zstd crate's safe contexts. Pure.

use std::cell::RefCell;

use zstd::zstd_safe::{CCtx, CParameter, DCtx, compress_bound, get_error_name, get_frame_content_size, zstd_sys};

use super::{Failure, first_guess};

/// The level of Kafka and of zstd itself.
const DEFAULT_LEVEL: i32 = 3;

pub(super) struct Compressor {
    level: i32,
    /// Made at the first use, because making it can fail.
    context: Option<CCtx<'static>>,
}

impl Compressor {
    pub(super) fn new(level: Option<i32>) -> Self {
        let level =
            level.unwrap_or(DEFAULT_LEVEL).clamp(zstd::zstd_safe::min_c_level(), zstd::zstd_safe::max_c_level());
        Self { level, context: None }
    }

    pub(super) fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<(), Failure> {
        let context = match &mut self.context {
            Some(context) => context,
            empty => {
                let mut context = CCtx::try_create().ok_or_else(no_context)?;
                context.set_parameter(CParameter::CompressionLevel(self.level)).map_err(named)?;
                empty.insert(context)
            }
        };
        output.reserve(compress_bound(input.len()));
        context.compress2(output, input).map_err(named)?;
        Ok(())
    }
}

thread_local! {
    /// A decompression context takes longer to make than a small batch to decompress. It holds nothing between two uses.
    static DECOMPRESSION: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

/// Decompresses in one go into a buffer that grows until the output fits. A window that a frame declares is thus never
/// reserved, however large: the output itself is the window.
pub(super) fn decompress(input: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
    DECOMPRESSION.with_borrow_mut(|context| {
        let context = match context {
            Some(context) => context,
            empty => empty.insert(DCtx::try_create().ok_or_else(no_context)?),
        };
        // A frame that declares its size is believed as far as records usually compress, so that one attempt is enough.
        let declared = get_frame_content_size(input).ok().flatten().and_then(|size| usize::try_from(size).ok());
        let believed = declared.filter(|size| *size / 32 <= input.len());
        let mut capacity = believed.unwrap_or(first_guess(input.len(), limit)).min(limit);
        loop {
            let mut output = Vec::with_capacity(capacity);
            match context.decompress(&mut output, input) {
                Ok(_) if output.len() > limit => return Err(Failure::TooLarge { limit }),
                Ok(_) => return Ok(output),
                Err(code) if is_too_small(code) && output.capacity() >= limit => {
                    return Err(Failure::TooLarge { limit });
                }
                Err(code) if is_too_small(code) => capacity = capacity.saturating_mul(4).clamp(256, limit.max(256)),
                Err(code) => return Err(named(code)),
            }
        }
    })
}

fn is_too_small(code: usize) -> bool {
    code == (zstd_sys::ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall as usize).wrapping_neg()
}

fn named(code: usize) -> Failure {
    Failure::invalid(get_error_name(code))
}

fn no_context() -> Failure {
    Failure::invalid("no memory for a context")
}
