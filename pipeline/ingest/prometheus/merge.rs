//! Owns how the chunks of one series become its samples in a window: decoded, clipped, merged.
//! Servers send overlapping chunks and samples beyond the range they were asked for.

use std::ops::RangeInclusive;

use super::chunks::{self, ChunkError, Encoding};
use super::{HistogramSample, Labels, Sample, SeriesSamples};
use crate::model::TimeWindow;

/// Most samples (or histogram buckets) that one series may bring into one window: 256 MiB. A
/// chunk's bytes can claim a hundred times their own size.
const MAX_PER_SERIES: usize = 16 << 20;

/// Gathers one series; used again and again, so that its buffers grow once.
#[derive(Debug)]
pub(crate) struct SeriesBuilder {
    window: TimeWindow,
    samples: Vec<Sample>,
    histograms: Vec<HistogramSample>,
    buckets: usize,
}

impl SeriesBuilder {
    pub(crate) const fn new(window: TimeWindow) -> Self {
        Self {
            window,
            samples: Vec::new(),
            histograms: Vec::new(),
            buckets: 0,
        }
    }

    /// Decodes a chunk and keeps what lies in the window and in none of the `deleted` ranges.
    pub(crate) fn add_chunk(
        &mut self,
        encoding: Encoding,
        data: &[u8],
        deleted: &[RangeInclusive<i64>],
    ) -> Result<(), ChunkError> {
        let window = self.window;
        let kept =
            |ts_ms: i64| window.contains(ts_ms) && !deleted.iter().any(|d| d.contains(&ts_ms));
        if encoding.is_float() {
            let samples = &mut self.samples;
            samples.reserve(chunks::promised_samples(encoding, data));
            if deleted.is_empty() {
                chunks::decode_floats(encoding, data, |ts_ms, _, value| {
                    if window.contains(ts_ms) {
                        samples.push(Sample { ts_ms, value });
                    }
                })?;
            } else {
                chunks::decode_floats(encoding, data, |ts_ms, _, value| {
                    if kept(ts_ms) {
                        samples.push(Sample { ts_ms, value });
                    }
                })?;
            }
        } else {
            let (histograms, buckets) = (&mut self.histograms, &mut self.buckets);
            chunks::decode_histograms(encoding, data, |_, sample| {
                if kept(sample.ts_ms) && *buckets <= MAX_PER_SERIES {
                    *buckets += 1 + sample.buckets.len();
                    histograms.push(sample);
                }
            })?;
        }
        self.check_size()
    }

    pub(crate) fn add_sample(&mut self, sample: Sample) -> Result<(), ChunkError> {
        if self.window.contains(sample.ts_ms) {
            self.samples.push(sample);
        }
        self.check_size()
    }

    pub(crate) fn add_histogram(&mut self, sample: HistogramSample) -> Result<(), ChunkError> {
        if self.window.contains(sample.ts_ms) {
            self.buckets += 1 + sample.buckets.len();
            self.histograms.push(sample);
        }
        self.check_size()
    }

    const fn check_size(&self) -> Result<(), ChunkError> {
        if self.samples.len() > MAX_PER_SERIES || self.buckets > MAX_PER_SERIES {
            return Err(ChunkError::TooMany);
        }
        Ok(())
    }

    /// The series, ascending in time; of two samples at one time the first that was added holds.
    /// `None` if nothing lies in the window. The builder is empty afterwards.
    pub(crate) fn finish(&mut self, labels: Labels) -> Option<SeriesSamples> {
        self.buckets = 0;
        if self.samples.is_empty() && self.histograms.is_empty() {
            return None;
        }
        let mut samples = self.samples.clone();
        self.samples.clear();
        let mut histograms = std::mem::take(&mut self.histograms);
        if !samples.is_sorted_by(|a, b| a.ts_ms < b.ts_ms) {
            samples.sort_by_key(|sample| sample.ts_ms);
            samples.dedup_by_key(|sample| sample.ts_ms);
        }
        if !histograms.is_sorted_by(|a, b| a.ts_ms < b.ts_ms) {
            histograms.sort_by_key(|sample| sample.ts_ms);
            histograms.dedup_by_key(|sample| sample.ts_ms);
        }
        Some(SeriesSamples {
            labels,
            samples,
            histograms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::prometheus::chunks::encode;

    #[test]
    fn overlapping_chunks_are_clipped_merged_and_deduplicated() {
        let mut builder = SeriesBuilder::new(TimeWindow::new(20, 50));
        let one: Vec<_> = [10, 20, 40].map(|ts| (ts, 1)).into();
        let two: Vec<_> = [19, 20, 30, 49, 50].map(|ts| (ts, 2)).into();
        let deleted = [49..=60];
        builder
            .add_chunk(Encoding::Xor, &encode::xor(&one), &[])
            .unwrap();
        builder
            .add_chunk(Encoding::Xor2, &encode::xor2(&two), &deleted)
            .unwrap();
        let series = builder.finish(Labels::default()).unwrap();
        let got: Vec<_> = series
            .samples
            .iter()
            .map(|s| (s.ts_ms, s.value.to_bits()))
            .collect();
        assert_eq!(got, [(20, 1), (30, 2), (40, 1)]);
        assert!(builder.finish(Labels::default()).is_none());
    }

    #[test]
    fn a_series_that_grows_without_bound_is_refused() {
        let many: Vec<_> = (0..65_535).map(|at| (at, 0)).collect();
        let chunk = encode::xor(&many);
        let mut builder = SeriesBuilder::new(TimeWindow::new(0, 1 << 40));
        let refused = (0..300).find_map(|_| builder.add_chunk(Encoding::Xor, &chunk, &[]).err());
        assert_eq!(refused, Some(ChunkError::TooMany));
    }
}
