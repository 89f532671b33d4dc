//! Owns the series of a window that arrive in parts out of order: lines of an export, tiles of
//! range queries. Keeps them, bounded, until all parts are there; then each goes on once.

use std::collections::BTreeMap;

use super::{
    HistogramSample, Labels, Sample, SeriesSamples, SeriesSink, SinkError, SourceError,
    is_stale_nan,
};
use crate::model::TimeWindow;

/// Samples of one selection and window that are held at once (a bucket of a histogram counts as
/// two): 200 MB. The driver reads narrower windows where there are more.
const MAX_HELD_SAMPLES: usize = 12_000_000;
/// Series held at once.
const MAX_HELD_SERIES: usize = 2_000_000;

/// The window holds more than may be kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Full {
    pub(super) fn at(&self, url: &str) -> SourceError {
        SourceError::Limited {
            url: url.to_owned(),
            todo: super::http::NARROW,
            what: format!(
                "one selection holds more than {MAX_HELD_SAMPLES} samples or {MAX_HELD_SERIES} \
                 series"
            ),
        }
    }
}

#[derive(Debug)]
pub(super) struct Held {
    window: TimeWindow,
    series: BTreeMap<Labels, (Vec<Sample>, Vec<HistogramSample>)>,
    weight: usize,
}

impl Held {
    pub(super) const fn new(window: TimeWindow) -> Self {
        Self {
            window,
            series: BTreeMap::new(),
            weight: 0,
        }
    }

    /// Keeps what lies in the window.
    pub(super) fn add(
        &mut self,
        labels: Labels,
        samples: impl Iterator<Item = Sample>,
        histograms: impl Iterator<Item = HistogramSample>,
    ) -> Result<(), Full> {
        let window = self.window;
        let mut samples = samples.filter(|s| window.contains(s.ts_ms)).peekable();
        let mut histograms = histograms.filter(|h| window.contains(h.ts_ms)).peekable();
        if samples.peek().is_none() && histograms.peek().is_none() {
            return Ok(());
        }
        let known = self.series.entry(labels).or_default();
        for sample in samples {
            self.weight += 1;
            known.0.push(sample);
        }
        for histogram in histograms {
            self.weight += 1 + 2 * histogram.buckets.len();
            known.1.push(histogram);
        }
        if self.weight > MAX_HELD_SAMPLES || self.series.len() > MAX_HELD_SERIES {
            return Err(Full);
        }
        Ok(())
    }

    /// Takes over what another part of the window holds.
    pub(super) fn merge(&mut self, other: Self) -> Result<(), Full> {
        for (labels, (samples, histograms)) in other.series {
            self.add(labels, samples.into_iter(), histograms.into_iter())?;
        }
        Ok(())
    }

    /// Hands every series on, ascending in time, each moment once.
    pub(super) fn finish(self, sink: &mut SeriesSink<'_>) -> Result<(), SinkError> {
        for (labels, (mut samples, mut histograms)) in self.series {
            if !samples.is_sorted_by(|a, b| a.ts_ms < b.ts_ms) {
                // Parts come in no order, so which of two samples holds must not depend on it.
                samples.sort_by(|a, b| {
                    let rank = |s: &Sample| (s.ts_ms, is_stale_nan(s.value));
                    rank(a)
                        .cmp(&rank(b))
                        .then_with(|| b.value.total_cmp(&a.value))
                });
                samples.dedup_by_key(|sample| sample.ts_ms);
            }
            if !histograms.is_sorted_by(|a, b| a.ts_ms < b.ts_ms) {
                histograms.sort_by(|a, b| {
                    let order = a.ts_ms.cmp(&b.ts_ms);
                    order.then_with(|| b.count.total_cmp(&a.count))
                });
                histograms.dedup_by_key(|sample| sample.ts_ms);
            }
            sink(SeriesSamples {
                labels,
                samples,
                histograms,
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::prometheus::STALE_NAN_BITS;

    fn samples(list: &[(i64, f64)]) -> impl Iterator<Item = Sample> {
        list.iter().map(|&(ts_ms, value)| Sample { ts_ms, value })
    }

    fn labels(name: &str) -> Labels {
        Labels::new(vec![("__name__".to_owned(), name.to_owned())])
    }

    #[test]
    fn parts_in_any_order_give_one_series() {
        let stale = f64::from_bits(STALE_NAN_BITS);
        let parts: [&[(i64, f64)]; 3] = [
            &[(30, 3.0), (40, stale), (50, 1.0)],
            &[(10, 1.0), (20, 2.0), (30, 2.0)],
            &[(40, 4.0), (9, 1.0), (30, 3.0)],
        ];
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let mut held = Held::new(TimeWindow::new(10, 50));
            for part in order {
                held.add(labels("a"), samples(parts[part]), std::iter::empty())
                    .unwrap();
            }
            held.add(labels("b"), samples(&[(60, 1.0)]), std::iter::empty())
                .unwrap();
            let mut got = Vec::new();
            held.finish(&mut |series| {
                let samples = series.samples.iter().map(|s| (s.ts_ms, s.value));
                got.push((series.labels.name().to_owned(), samples.collect::<Vec<_>>()));
                Ok(())
            })
            .unwrap();
            let want = vec![(10, 1.0), (20, 2.0), (30, 3.0), (40, 4.0)];
            assert_eq!(got, [("a".to_owned(), want)]);
        }
    }

    #[test]
    fn what_grows_without_bound_is_refused() {
        let mut held = Held::new(TimeWindow::new(0, i64::MAX));
        let endless =
            |from: i64| (from..from + 1_000_000).map(|ts_ms| Sample { ts_ms, value: 0.0 });
        let refused = (0..20).find_map(|part| {
            held.add(labels("a"), endless(part * 1_000_000), std::iter::empty())
                .err()
        });
        assert_eq!(refused, Some(Full));
    }
}
