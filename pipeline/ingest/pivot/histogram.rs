//! Owns the folding of histograms, classic and native, into bounds and cumulative counts a row.

use std::collections::BTreeMap;

use super::conversion::Conversion;
use super::intake::WideSeries;
use super::times::Times;
use super::wide::{Residual, combine};
use crate::ingest::aliases::{Combine, Part};
use crate::ingest::prometheus::HistogramSample;

/// Buckets of one histogram; engines have at most a few dozen.
const MAX_BUCKETS: usize = 512;

/// A bound that sorts: `+Inf` last.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bound(f64);

impl Eq for Bound {}
impl PartialOrd for Bound {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Bound {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// One histogram of an entity as one of its names tells it: values are NaN where there is none.
#[derive(Debug)]
struct Told {
    bounds: Vec<f64>,
    /// Cumulative counts by bound, each as long as the entity's timestamps.
    counts: Vec<Vec<f64>>,
    sums: Vec<f64>,
    native: BTreeMap<usize, Point>,
}

#[derive(Debug, Default, Clone)]
pub(super) struct Point {
    pub bounds: Vec<f64>,
    pub counts: Vec<f64>,
    pub sum: Option<f64>,
}

/// One histogram column of an entity: the tellings, best name first.
#[derive(Debug, Default)]
pub(super) struct HistogramColumn {
    told: Vec<Told>,
}

impl HistogramColumn {
    /// Builds from the series of this histogram, grouped by rank.
    pub(super) fn build(
        by_rank: BTreeMap<usize, Vec<(&WideSeries<'_>, Residual)>>,
        all: &Times,
    ) -> Self {
        let told = by_rank
            .into_values()
            .map(|series| tell(&series, all))
            .collect();
        Self { told }
    }

    /// The histogram at the entity's `row`-th timestamp, by the best name that has it.
    pub(super) fn at(&self, row: usize, point: &mut Point) -> bool {
        for told in &self.told {
            point.bounds.clear();
            point.counts.clear();
            for (bound, counts) in told.bounds.iter().zip(&told.counts) {
                if !counts[row].is_nan() {
                    point.bounds.push(*bound);
                    point.counts.push(counts[row]);
                }
            }
            let sum = told.sums[row];
            point.sum = (!sum.is_nan()).then_some(sum);
            if !point.bounds.is_empty() {
                return true;
            }
            if let Some(native) = told.native.get(&row) {
                point.clone_from(native);
                return true;
            }
        }
        false
    }
}

fn tell(series: &[(&WideSeries<'_>, Residual)], all: &Times) -> Told {
    let mut buckets: BTreeMap<Bound, Vec<(&WideSeries<'_>, Residual)>> = BTreeMap::new();
    let mut counts: Vec<(&WideSeries<'_>, Residual)> = Vec::new();
    let mut sums: Vec<(&WideSeries<'_>, Residual)> = Vec::new();
    let mut native: BTreeMap<usize, BTreeMap<Bound, f64>> = BTreeMap::new();
    let mut native_sums: BTreeMap<usize, f64> = BTreeMap::new();
    for (one, residual) in series {
        match one.alias.part {
            Part::Bucket(_) => {
                let bound = one.labels.get("le").and_then(|le| le.parse::<f64>().ok());
                if let Some(bound) = bound.filter(|b| !b.is_nan())
                    && buckets.len() < MAX_BUCKETS
                {
                    let key = Bound(bound * one.alias.scale);
                    buckets
                        .entry(key)
                        .or_default()
                        .push((one, residual.clone()));
                }
            }
            Part::Count(_) => counts.push((one, residual.clone())),
            Part::Sum(_) => sums.push((one, residual.clone())),
            Part::Native(_) => add_native(one, all, &mut native, &mut native_sums),
            Part::Value { .. } => {}
        }
    }
    // Without buckets the count alone still gives a mean; with them it stands for a lost +Inf.
    if !counts.is_empty() {
        buckets.entry(Bound(f64::INFINITY)).or_insert(counts);
    }
    let mut told = Told {
        bounds: Vec::with_capacity(buckets.len()),
        counts: Vec::with_capacity(buckets.len()),
        sums: combine(
            &sums,
            all,
            Combine::Sum,
            |one| Conversion::scaled(one.alias.scale),
            &mut 0,
        ),
        native: BTreeMap::new(),
    };
    for (bound, members) in buckets {
        told.bounds.push(bound.0);
        told.counts.push(combine(
            &members,
            all,
            Combine::Sum,
            |_| Conversion::scaled(1.0),
            &mut 0,
        ));
    }
    for (row, own_counts) in native {
        let mut point = Point {
            sum: native_sums.get(&row).copied(),
            ..Point::default()
        };
        let mut cumulative = 0.0;
        for (bound, count) in own_counts {
            cumulative += count;
            point.bounds.push(bound.0);
            point.counts.push(cumulative);
        }
        told.native.insert(row, point);
    }
    told
}

/// Adds a native histogram's samples, each bucket with its own count, at the rows of its times.
fn add_native(
    series: &WideSeries<'_>,
    all: &Times,
    native: &mut BTreeMap<usize, BTreeMap<Bound, f64>>,
    sums: &mut BTreeMap<usize, f64>,
) {
    let scale = series.alias.scale;
    for sample in series.histograms.iter() {
        let Ok(row) = all.binary_search(&sample.ts_ms) else {
            continue;
        };
        let buckets = native.entry(row).or_default();
        let mut counted = 0.0;
        for bucket in sample.buckets.iter().take(MAX_BUCKETS) {
            *buckets.entry(Bound(bucket.upper * scale)).or_default() += bucket.count;
            counted += bucket.count;
        }
        *buckets.entry(Bound(f64::INFINITY)).or_default() += rest(sample, counted);
        if sample.sum.is_finite() {
            *sums.entry(row).or_default() += sample.sum * scale;
        }
    }
}

/// Observations outside all buckets, so that the last cumulative count is the histogram's own.
fn rest(sample: &HistogramSample, counted: f64) -> f64 {
    (sample.count - counted).max(0.0)
}
