//! The codecs of record batches: gzip, Snappy, LZ4 and Zstandard, with bounded output. Pure.

mod gzip;
mod lz4;
mod snappy;
#[cfg(test)]
mod tests;
mod zstandard;

use std::fmt;

use bytes::Bytes;

/// How the records of a batch are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// Gzip: small, slow to write.
    Gzip,
    /// Snappy: fast, less small.
    Snappy,
    /// LZ4: fast to write and faster to read.
    Lz4,
    /// Zstandard: about as small as gzip, much faster. Brokers know it since Kafka 2.1.
    Zstd,
}

impl Compression {
    const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The number in a batch's attributes.
    pub fn id(self) -> i16 {
        self as i16
    }

    /// The codec with this number.
    pub fn from_id(id: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.id() == id)
    }

    /// Kafka's name in its settings: `none`, `gzip`, `snappy`, `lz4`, `zstd`.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The codec that Kafka's settings call so.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Bytes could not be compressed or decompressed: with which codec, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompressionError {
    codec: Compression,
    failure: Failure,
}

impl CompressionError {
    /// Which codec.
    pub fn codec(&self) -> Compression {
        self.codec
    }

    /// Whether the output would have been larger than the limit.
    pub fn is_too_large(&self) -> bool {
        matches!(self.failure, Failure::TooLarge { .. })
    }
}

impl fmt::Display for CompressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failure {
            Failure::Invalid(reason) => write!(f, "{}: {reason}", self.codec),
            Failure::TooLarge { limit } => write!(f, "{}: more than the limit of {limit} bytes", self.codec),
        }
    }
}

impl std::error::Error for CompressionError {}

/// Why a codec gave up.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Failure {
    Invalid(String),
    TooLarge { limit: usize },
}

impl Failure {
    fn invalid(reason: impl fmt::Display) -> Self {
        Self::Invalid(reason.to_string())
    }
}

/// Compresses batch after batch with one codec; what the codec needs is made once and used again, and so are two buffers that
/// grow to the size of the largest batch.
///
/// It is `Send`: keep one per producer or per worker.
pub struct Compressor {
    codec: Codec,
    /// All pieces of a batch as one.
    joined: Vec<u8>,
    /// The output while its size is not known; what is given out has exactly the right size.
    output: Vec<u8>,
}

enum Codec {
    None,
    Gzip(gzip::Compressor),
    Snappy(Box<snappy::Compressor>), // boxed: it has its table inside
    Lz4(lz4::Compressor),
    Zstd(zstandard::Compressor),
}

impl Compressor {
    /// A compressor for `codec`. Without a level the codec's usual one is taken: gzip 6 of 0 to 9, zstd 3 of −131072 to 22; a
    /// level outside of its range becomes the nearest inside. Snappy has no levels, and LZ4 has one here.
    pub fn new(codec: Compression, level: Option<i32>) -> Self {
        let codec = match codec {
            Compression::None => Codec::None,
            Compression::Gzip => Codec::Gzip(gzip::Compressor::new(level)),
            Compression::Snappy => Codec::Snappy(Box::new(snappy::Compressor::new())),
            Compression::Lz4 => Codec::Lz4(lz4::Compressor::default()),
            Compression::Zstd => Codec::Zstd(zstandard::Compressor::new(level)),
        };
        Self { codec, joined: Vec::new(), output: Vec::new() }
    }

    /// Which codec.
    pub fn codec(&self) -> Compression {
        match self.codec {
            Codec::None => Compression::None,
            Codec::Gzip(_) => Compression::Gzip,
            Codec::Snappy(_) => Compression::Snappy,
            Codec::Lz4(_) => Compression::Lz4,
            Codec::Zstd(_) => Compression::Zstd,
        }
    }

    /// Compresses the pieces as if they were one. [`Compression::None`] joins them, without a copy if there is only one.
    ///
    /// # Errors
    /// If the codec fails, which it does for want of memory only.
    pub fn compress(&mut self, pieces: &[Bytes]) -> Result<Bytes, CompressionError> {
        if let (Codec::None, [piece]) = (&self.codec, pieces) {
            return Ok(piece.clone());
        }
        let input = match pieces {
            [piece] => &piece[..],
            _ => {
                self.joined.clear();
                self.joined.reserve(pieces.iter().map(Bytes::len).sum());
                for piece in pieces {
                    self.joined.extend_from_slice(piece);
                }
                &self.joined
            }
        };
        let output = &mut self.output;
        output.clear();
        let compressed = match &mut self.codec {
            Codec::None => return Ok(Bytes::copy_from_slice(input)),
            Codec::Gzip(codec) => codec.compress(input, output),
            Codec::Snappy(codec) => codec.compress(input, output),
            Codec::Lz4(codec) => codec.compress(input, output),
            Codec::Zstd(codec) => codec.compress(input, output),
        };
        match compressed {
            Ok(()) => Ok(Bytes::copy_from_slice(&self.output)),
            Err(failure) => Err(CompressionError { codec: self.codec(), failure }),
        }
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").field("codec", &self.codec()).finish_non_exhaustive()
    }
}

/// Decompresses `input` into at most `limit` bytes.
///
/// What is reserved grows with what was really decompressed: a size that the input declares is never taken for granted.
/// [`Compression::None`] copies the input.
///
/// # Errors
/// If the input is not what the codec writes, or is larger than `limit` after decompression.
pub fn decompress(codec: Compression, input: &[u8], limit: usize) -> Result<Bytes, CompressionError> {
    let output = match codec {
        Compression::None if input.len() > limit => Err(Failure::TooLarge { limit }),
        Compression::None => Ok(input.to_vec()),
        Compression::Gzip => gzip::decompress(input, limit),
        Compression::Snappy => snappy::decompress(input, limit),
        Compression::Lz4 => lz4::decompress(input, limit),
        Compression::Zstd => zstandard::decompress(input, limit),
    };
    output.map(Bytes::from).map_err(|failure| CompressionError { codec, failure })
}

/// How much to reserve for the output of an input of this size before anything is known: records compress to a quarter or so.
fn first_guess(input: usize, limit: usize) -> usize {
    input.saturating_mul(4).clamp(256, 1 << 20).min(limit)
}
