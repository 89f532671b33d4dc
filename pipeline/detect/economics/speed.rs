//! Owns speed as it was seen: a workload's own hours and measurements that a user gives, as lines of
//! inter-token time over batch and of time to first token over prompt.
//!
//! Robust fits on rows; no SQL, no files. `placements` asks it before it asks the model.

use super::estimator::{Estimator, Shape};

/// One hour of one workload, of one replica's mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpeedPoint {
    /// Requests decoding at once.
    pub batch: f64,
    pub itl_seconds: f64,
    pub ttft_seconds: Option<f64>,
    pub shape: Shape,
}

/// What was seen of a workload on its GPUs of today.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OwnHours {
    pub cluster: String,
    pub namespace: String,
    pub workload_kind: String,
    pub workload_name: String,
    pub points: Vec<SpeedPoint>,
}

/// Inter-token time over batch, as seen between two batches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    pub at_zero: f64,
    pub per_request: f64,
    pub from: f64,
    pub to: f64,
}

impl Line {
    #[must_use]
    pub fn at(&self, batch: f64) -> f64 {
        self.at_zero + self.per_request * batch
    }
}

/// Evidence about speed, ready to be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Only where the batches spread enough to tell a slope.
    pub line: Option<Line>,
    /// Seen over predicted: carried into other tiers.
    pub step_ratio: f64,
    pub prefill_ratio: f64,
    /// Nine in ten points lie within this of the line or the scaled model, in percent.
    pub band_percent: i64,
    pub points: usize,
}

/// Fewer hours say little about a rhythm.
pub const MIN_POINTS: usize = 12;
/// A slope needs batches that differ by half at least.
const MIN_SPREAD: f64 = 1.5;
/// Histograms are read at the middle of their buckets: no evidence is finer than this.
const LEAST_BAND_PERCENT: i64 = 15;
/// A residual beyond this is a broken series or another model, and no evidence about speed.
const RATIO_LIMITS: (f64, f64) = (0.4, 2.5);

/// Fits what was seen against the model of the same placement; `None` where it says too little.
#[must_use]
pub fn seen(points: &[SpeedPoint], model: &Estimator, least: usize) -> Option<Seen> {
    let usable: Vec<&SpeedPoint> = points
        .iter()
        .filter(|point| {
            point.batch.is_finite()
                && point.batch > 0.0
                && point.itl_seconds.is_finite()
                && point.itl_seconds > 0.0
        })
        .collect();
    if usable.len() < least.max(1) {
        return None;
    }
    let predicted = |point: &SpeedPoint| model.itl_seconds(point.batch.max(1.0), &point.shape);
    let step_ratio = median(
        usable
            .iter()
            .map(|point| point.itl_seconds / predicted(point)),
    )?;
    if !(RATIO_LIMITS.0..=RATIO_LIMITS.1).contains(&step_ratio) {
        return None;
    }
    let prefill_ratio = median(usable.iter().filter_map(|point| {
        let seconds = point.ttft_seconds.filter(|seconds| *seconds > 0.0)?;
        let alone = model
            .at_batch(point.batch.max(1.0), &point.shape)
            .ttft_seconds;
        Some(seconds / alone)
    }))
    .unwrap_or(1.0)
    .clamp(RATIO_LIMITS.0, RATIO_LIMITS.1);
    let line = theil_sen(&usable);
    let error = |point: &SpeedPoint| {
        let expected = line.map_or_else(
            || step_ratio * predicted(point),
            |line: Line| line.at(point.batch),
        );
        (point.itl_seconds / expected - 1.0).abs()
    };
    let spread = quantile(usable.iter().map(|point| error(point)).collect(), 0.9)?;
    Some(Seen {
        line,
        step_ratio,
        prefill_ratio,
        band_percent: ((spread * 100.0).ceil() as i64).max(LEAST_BAND_PERCENT),
        points: usable.len(),
    })
}

/// The median of the slopes of all pairs, and the median intercept: a third of the points may be
/// wrong without moving it far.
fn theil_sen(points: &[&SpeedPoint]) -> Option<Line> {
    let batches: Vec<f64> = points.iter().map(|point| point.batch).collect();
    let from = quantile(batches.clone(), 0.05)?;
    let to = quantile(batches, 0.95)?;
    if to < from * MIN_SPREAD {
        return None;
    }
    let mut slopes = Vec::new();
    for (at, one) in points.iter().enumerate() {
        for other in &points[at + 1..] {
            let run = other.batch - one.batch;
            if run.abs() > 1e-9 {
                slopes.push((other.itl_seconds - one.itl_seconds) / run);
            }
        }
    }
    // More requests in a batch are never faster: a falling line is noise.
    let per_request = median(slopes)?.max(0.0);
    let at_zero = median(
        points
            .iter()
            .map(|point| point.itl_seconds - per_request * point.batch),
    )?;
    (at_zero > 0.0).then_some(Line {
        at_zero,
        per_request,
        from,
        to,
    })
}

fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    quantile(values.into_iter().collect(), 0.5)
}

fn quantile(mut values: Vec<f64>, share: f64) -> Option<f64> {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    values.get((share * last as f64).round() as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{Quantisation, models, products};
    use crate::detect::economics::device::Device;
    use crate::detect::economics::engine::Engine;
    use crate::detect::economics::fit::{MAX_SEQUENCES, Served};

    fn model() -> Estimator {
        let served = Served {
            model: models().resolve("llama-3.1-8b").unwrap(),
            quantisation: Quantisation::Bf16,
            kv_value_bytes: 2.0,
            max_model_len: 8192,
            max_num_seqs: MAX_SEQUENCES,
            engine: Engine::Vllm,
        };
        let device = Device::whole(products().get("H100-SXM-80").unwrap());
        Estimator::new(&served, &device, 1).unwrap()
    }

    const MIX: Shape = Shape {
        prompt_tokens: 500.0,
        uncached_prompt_tokens: 500.0,
        output_tokens: 200.0,
    };

    fn point(batch: f64, itl_seconds: f64) -> SpeedPoint {
        SpeedPoint {
            batch,
            itl_seconds,
            ttft_seconds: None,
            shape: MIX,
        }
    }

    #[test]
    fn a_line_survives_a_quarter_of_wild_hours() {
        let mut points: Vec<SpeedPoint> = (1..=24)
            .map(|batch| point(f64::from(batch), 0.010 + 0.0005 * f64::from(batch)))
            .collect();
        for wild in [3, 9, 15, 20, 22] {
            points[wild].itl_seconds *= 4.0;
        }
        let seen = seen(&points, &model(), MIN_POINTS).unwrap();
        let line = seen.line.unwrap();
        assert!((line.at_zero - 0.010).abs() < 0.001, "{line:?}");
        assert!((line.per_request - 0.0005).abs() < 0.0001, "{line:?}");
        // Twice as slow as the model at the median: carried elsewhere as that.
        let ratio = 0.016 / model().itl_seconds(12.0, &MIX);
        assert!(
            (seen.step_ratio / ratio - 1.0).abs() < 0.15,
            "{}",
            seen.step_ratio
        );
    }

    #[test]
    fn one_batch_gives_a_ratio_and_no_line() {
        let itl = model().itl_seconds(4.0, &MIX);
        let points = vec![point(4.0, itl * 1.2); 20];
        let seen = seen(&points, &model(), MIN_POINTS).unwrap();
        assert_eq!(seen.line, None);
        assert!((seen.step_ratio - 1.2).abs() < 1e-9);
        assert_eq!(seen.band_percent, LEAST_BAND_PERCENT);
    }

    #[test]
    fn few_hours_and_absurd_ones_are_no_evidence() {
        let itl = model().itl_seconds(4.0, &MIX);
        assert_eq!(seen(&[point(4.0, itl); 5], &model(), MIN_POINTS), None);
        assert_eq!(
            seen(&[point(4.0, itl * 9.0); 30], &model(), MIN_POINTS),
            None
        );
        assert_eq!(
            seen(&[point(f64::NAN, itl); 30], &model(), MIN_POINTS),
            None
        );
    }
}
