//! Owns native histogram chunks: integer and float (encodings 2, 3), with start timestamps
//! (5, 6).

use super::bits::{Bits, XorWindow};
use super::buckets::{Layout, Span, count_buckets, is_custom, is_known_schema};
use super::xor2::Starts;
use super::{ChunkError, split_count};
use crate::ingest::prometheus::{HistogramSample, is_stale_nan};

pub(super) fn decode(
    data: &[u8],
    float: bool,
    with_starts: bool,
    mut emit: impl FnMut(i64, HistogramSample),
) -> Result<(), ChunkError> {
    let (mut count, body) = split_count(data)?;
    let (flags, body) = body.split_first().ok_or(ChunkError::Truncated)?;
    // With start timestamps their header takes the flags' byte, and the flags the count's top.
    let mut starts = Starts::new(if with_starts { *flags } else { 0 });
    if with_starts {
        count &= 0x3fff;
    }
    if count == 0 {
        return Ok(());
    }
    let mut bits = Bits::new(body);
    let layout = read_layout(&mut bits)?;
    let positive = count_buckets(&layout.positive, bits.remaining())?;
    let negative = count_buckets(&layout.negative, bits.remaining())?;
    let mut times = Dod::default();
    let mut numbers = if float {
        Numbers::Float(FloatNumbers::new(positive + negative))
    } else {
        Numbers::Integer(IntegerNumbers::new(positive + negative))
    };
    let mut counts = vec![0.0; positive + negative];
    for index in 0..count {
        let previous_ms = times.value;
        times.read(&mut bits, index == 0)?;
        let (total, zero, sum) = numbers.read(&mut bits, index == 0, positive, &mut counts)?;
        let start_ms = starts.read(&mut bits, index, times.value, previous_ms)?;
        bits.check()?;
        let stale = is_stale_nan(sum);
        let (above, below) = counts.split_at(positive.min(counts.len()));
        emit(
            start_ms,
            HistogramSample {
                ts_ms: times.value,
                schema: if stale { 0 } else { layout.schema },
                count: if stale { 0.0 } else { total },
                sum,
                buckets: if stale {
                    Vec::new()
                } else {
                    layout.buckets(zero, above, below)
                },
            },
        );
    }
    Ok(())
}

fn read_layout(bits: &mut Bits<'_>) -> Result<Layout, ChunkError> {
    let zero_threshold = match bits.take(8) {
        0 => 0.0,
        255 => f64::from_bits(bits.take(64)),
        // Half of 2^(b − 243), whose exponent is always a normal number's.
        byte => f64::from_bits((byte + 1023 - 244) << 52),
    };
    let schema = bits.varbit_int()?;
    let schema = i32::try_from(schema)
        .ok()
        .filter(|schema| is_known_schema(*schema))
        .ok_or(ChunkError::Malformed("an unknown bucket schema"))?;
    let positive = read_spans(bits)?;
    let negative = read_spans(bits)?;
    let mut custom_bounds = Vec::new();
    if is_custom(schema) {
        for _ in 0..read_length(bits)? {
            custom_bounds.push(match bits.varbit_uint()? {
                0 => {
                    let bound = f64::from_bits(bits.take(64));
                    bits.check()?;
                    bound
                }
                thousandths => (thousandths - 1) as f64 / 1000.0,
            });
        }
    }
    Ok(Layout {
        schema,
        zero_threshold,
        positive,
        negative,
        custom_bounds,
    })
}

/// A list's length; every entry takes a bit at least.
fn read_length(bits: &mut Bits<'_>) -> Result<u64, ChunkError> {
    let length = bits.varbit_uint()?;
    if length > bits.remaining() as u64 {
        return Err(ChunkError::Malformed("a list longer than the chunk"));
    }
    Ok(length)
}

fn read_spans(bits: &mut Bits<'_>) -> Result<Vec<Span>, ChunkError> {
    let mut spans = Vec::new();
    for _ in 0..read_length(bits)? {
        let length = bits.varbit_uint()?;
        let offset = bits.varbit_int()?;
        spans.push(Span {
            length: u32::try_from(length).map_err(|_| ChunkError::Malformed("a span's length"))?,
            offset: i32::try_from(offset).map_err(|_| ChunkError::Malformed("a span's offset"))?,
        });
    }
    Ok(spans)
}

/// An integer tracked by the delta of its deltas.
#[derive(Debug, Clone, Copy, Default)]
struct Dod {
    value: i64,
    delta: i64,
}

impl Dod {
    fn read(&mut self, bits: &mut Bits<'_>, first: bool) -> Result<(), ChunkError> {
        let read = bits.varbit_int()?;
        if first {
            self.value = read;
        } else {
            self.delta = self.delta.wrapping_add(read);
            self.value = self.value.wrapping_add(self.delta);
        }
        Ok(())
    }
}

/// A float tracked by its difference.
#[derive(Debug, Clone, Copy)]
struct Xored {
    bits: u64,
    window: XorWindow,
}

impl Xored {
    const fn new() -> Self {
        Self {
            bits: 0,
            window: XorWindow::new(),
        }
    }

    fn read(&mut self, bits: &mut Bits<'_>, first: bool) -> Result<f64, ChunkError> {
        if first {
            self.bits = bits.take(64);
        } else {
            self.bits ^= self.window.read(bits)?;
        }
        bits.check()?;
        Ok(f64::from_bits(self.bits))
    }
}

enum Numbers {
    Integer(IntegerNumbers),
    Float(FloatNumbers),
}

struct IntegerNumbers {
    total: Dod,
    zero: Dod,
    sum: Xored,
    /// Each bucket's count less that of the bucket before it.
    buckets: Vec<Dod>,
}

struct FloatNumbers {
    total: Xored,
    zero: Xored,
    sum: Xored,
    buckets: Vec<Xored>,
}

impl IntegerNumbers {
    fn new(buckets: usize) -> Self {
        Self {
            total: Dod::default(),
            zero: Dod::default(),
            sum: Xored::new(),
            buckets: vec![Dod::default(); buckets],
        }
    }
}

impl FloatNumbers {
    fn new(buckets: usize) -> Self {
        Self {
            total: Xored::new(),
            zero: Xored::new(),
            sum: Xored::new(),
            buckets: vec![Xored::new(); buckets],
        }
    }
}

impl Numbers {
    /// Reads one sample's count, zero count and sum, and writes its buckets' counts, the
    /// positive ones first. A stale sample has no buckets in the stream.
    fn read(
        &mut self,
        bits: &mut Bits<'_>,
        first: bool,
        positive: usize,
        counts: &mut [f64],
    ) -> Result<(f64, f64, f64), ChunkError> {
        match self {
            Self::Integer(n) => {
                if first {
                    n.total.value = bits.varbit_uint()? as i64;
                    n.zero.value = bits.varbit_uint()? as i64;
                } else {
                    n.total.read(bits, false)?;
                    n.zero.read(bits, false)?;
                }
                let sum = n.sum.read(bits, first)?;
                if first || !is_stale_nan(sum) {
                    let mut running = 0_i64;
                    for (at, (bucket, count)) in n.buckets.iter_mut().zip(counts).enumerate() {
                        bucket.read(bits, first)?;
                        if at == positive {
                            running = 0;
                        }
                        running = running.wrapping_add(bucket.value);
                        *count = running as f64;
                    }
                }
                let unsigned = |value: i64| value as u64 as f64;
                Ok((unsigned(n.total.value), unsigned(n.zero.value), sum))
            }
            Self::Float(n) => {
                let total = n.total.read(bits, first)?;
                let zero = n.zero.read(bits, first)?;
                let sum = n.sum.read(bits, first)?;
                if first || !is_stale_nan(sum) {
                    for (bucket, count) in n.buckets.iter_mut().zip(counts) {
                        *count = bucket.read(bits, first)?;
                    }
                }
                Ok((total, zero, sum))
            }
        }
    }
}
