//! Owns what a native histogram's buckets mean: spans and schema to bounds and counts.

use super::{ChunkError, bounds};
use crate::ingest::prometheus::Bucket;

const CUSTOM_SCHEMA: i32 = -53;

/// A run of consecutive buckets; `offset` is the gap to the run before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) offset: i32,
    pub(crate) length: u32,
}

/// What all samples of a histogram chunk share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layout {
    pub(crate) schema: i32,
    pub(crate) zero_threshold: f64,
    pub(crate) positive: Vec<Span>,
    pub(crate) negative: Vec<Span>,
    pub(crate) custom_bounds: Vec<f64>,
}

pub(crate) const fn is_custom(schema: i32) -> bool {
    schema == CUSTOM_SCHEMA
}

/// Exponential schemas as far as Prometheus reserves them, and custom bounds.
pub(crate) const fn is_known_schema(schema: i32) -> bool {
    is_custom(schema) || (schema >= -9 && schema <= 52)
}

/// How many buckets the spans hold, if not more than `limit`.
pub(crate) fn count_buckets(spans: &[Span], limit: usize) -> Result<usize, ChunkError> {
    let total: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
    if total > limit as u64 {
        return Err(ChunkError::Malformed("more buckets than bytes"));
    }
    Ok(total as usize)
}

impl Layout {
    /// The non-empty buckets in ascending order.
    pub(crate) fn buckets(
        &self,
        zero_count: f64,
        positive: &[f64],
        negative: &[f64],
    ) -> Vec<Bucket> {
        let mut out = Vec::new();
        for (index, count) in indexed(&self.negative, negative) {
            if count != 0.0 {
                let (lower, upper) = self.bounds(index);
                out.push(Bucket {
                    lower: -upper,
                    upper: -lower,
                    count,
                });
            }
        }
        out.reverse();
        if zero_count != 0.0 {
            out.push(Bucket {
                lower: -self.zero_threshold,
                upper: self.zero_threshold,
                count: zero_count,
            });
        }
        for (index, count) in indexed(&self.positive, positive) {
            if count != 0.0 {
                let (lower, upper) = self.bounds(index);
                out.push(Bucket {
                    lower,
                    upper,
                    count,
                });
            }
        }
        out
    }

    fn bounds(&self, index: i64) -> (f64, f64) {
        if is_custom(self.schema) {
            let bound = |at: i64| {
                usize::try_from(at)
                    .ok()
                    .and_then(|i| self.custom_bounds.get(i))
            };
            let lower = bound(index - 1).copied().unwrap_or(f64::NEG_INFINITY);
            return (lower, bound(index).copied().unwrap_or(f64::INFINITY));
        }
        (
            bounds::exponential(self.schema, index - 1),
            bounds::exponential(self.schema, index),
        )
    }
}

fn indexed<'a>(spans: &'a [Span], counts: &'a [f64]) -> impl Iterator<Item = (i64, f64)> + use<'a> {
    let mut next = 0_i64;
    spans
        .iter()
        .flat_map(move |span| {
            let first = next + i64::from(span.offset);
            next = first + i64::from(span.length);
            first..next
        })
        .zip(counts.iter().copied())
}
