//! Owns the decoding of Prometheus chunks, all six encodings, bit for bit. The bytes are hostile:
//! every read is bounded, a chunk that ends early or lies about itself is an error, nothing
//! panics and nothing is allocated per float sample. Called by remote read and by the blocks.

mod bits;
mod bounds;
mod buckets;
#[cfg(test)]
pub(crate) mod encode;
mod histogram;
#[cfg(test)]
mod tests;
mod xor;
mod xor2;

use super::HistogramSample;
pub(crate) use buckets::{Layout, Span, is_known_schema};

/// What a chunk's encoding byte means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Xor,
    Histogram,
    FloatHistogram,
    Xor2,
    HistogramSt,
    FloatHistogramSt,
}

impl Encoding {
    /// The encoding of a number; a number that we do not know must fail the window, because
    /// skipping the chunk would lose samples silently.
    pub const fn from_number(number: i64) -> Result<Self, ChunkError> {
        Ok(match number {
            1 => Self::Xor,
            2 => Self::Histogram,
            3 => Self::FloatHistogram,
            4 => Self::Xor2,
            5 => Self::HistogramSt,
            6 => Self::FloatHistogramSt,
            _ => return Err(ChunkError::UnknownEncoding(number)),
        })
    }

    /// Whether the chunk holds float samples (else native histograms).
    #[must_use]
    pub const fn is_float(self) -> bool {
        matches!(self, Self::Xor | Self::Xor2)
    }
}

/// Why a chunk's bytes are not what its encoding says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    #[error("chunk encoding {0} is not one of the six that this version decodes")]
    UnknownEncoding(i64),
    #[error("the chunk ends before its last sample")]
    Truncated,
    #[error("the chunk is malformed ({0})")]
    Malformed(&'static str),
    #[error("one series has more samples in the window than fit in memory")]
    TooMany,
}

/// Decodes a float chunk; `emit` gets the timestamp, the start timestamp (0: unknown) and the
/// value of every sample in the order of the chunk. On an error some samples may have been given.
pub fn decode_floats(
    encoding: Encoding,
    data: &[u8],
    mut emit: impl FnMut(i64, i64, f64),
) -> Result<(), ChunkError> {
    match encoding {
        Encoding::Xor => xor::decode(data, |ts_ms, value| emit(ts_ms, 0, value)),
        Encoding::Xor2 => xor2::decode(data, emit),
        _ => Err(ChunkError::Malformed("histograms where floats belong")),
    }
}

/// Decodes a histogram chunk; `emit` gets the start timestamp (0: unknown) and each sample.
pub fn decode_histograms(
    encoding: Encoding,
    data: &[u8],
    emit: impl FnMut(i64, HistogramSample),
) -> Result<(), ChunkError> {
    match encoding {
        Encoding::Histogram => histogram::decode(data, false, false, emit),
        Encoding::FloatHistogram => histogram::decode(data, true, false, emit),
        Encoding::HistogramSt => histogram::decode(data, false, true, emit),
        Encoding::FloatHistogramSt => histogram::decode(data, true, true, emit),
        _ => Err(ChunkError::Malformed("floats where histograms belong")),
    }
}

/// How many samples the chunk's header promises: a hint for reservations, at most 65,535.
#[must_use]
pub fn promised_samples(encoding: Encoding, data: &[u8]) -> usize {
    let count = data.first_chunk().map_or(0, |b| u16::from_be_bytes(*b));
    let mask = match encoding {
        Encoding::HistogramSt | Encoding::FloatHistogramSt => 0x3fff,
        _ => 0xffff,
    };
    usize::from(count & mask).min(data.len() * 8)
}

/// The two-byte sample count and what follows it.
fn split_count(data: &[u8]) -> Result<(u16, &[u8]), ChunkError> {
    let (count, rest) = data.split_first_chunk().ok_or(ChunkError::Truncated)?;
    Ok((u16::from_be_bytes(*count), rest))
}
