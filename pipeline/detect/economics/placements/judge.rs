//! Owns the verdict on one workload and one candidate: fit, limits, replicas, and the sentence.

use crate::detect::economics::device::Device;
use crate::detect::economics::estimator::{Capacity, Estimator, Latency, Shape, band_percent};
use crate::detect::economics::fit::{Misfit, Served, fit};
use crate::detect::economics::speed::Seen;

use super::{Demand, Evidence, SizingParams, Slo, Verdict};

/// Seconds of a demand bucket.
const BUCKET_SECONDS: f64 = 300.0;

pub(super) struct Question<'a> {
    pub(super) served: &'a Served<'a>,
    pub(super) device: &'a Device,
    pub(super) gpus: u32,
    /// What was seen of this very placement, or of the workload on its GPUs of today.
    pub(super) seen: Option<(Evidence, &'a Seen)>,
    pub(super) demand: &'a Demand,
    pub(super) slo: Slo,
    pub(super) params: SizingParams,
    pub(super) floor_replicas: i64,
    pub(super) replicas_today: i64,
}

#[derive(Debug, Clone)]
pub(super) struct Judgement {
    pub(super) verdict: Verdict,
    pub(super) why: String,
    pub(super) band_percent: i64,
    pub(super) evidence: Evidence,
    /// The weights and the context fit in memory.
    pub(super) fits: bool,
    pub(super) sized: Option<Sized>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Sized {
    pub(super) capacity: Capacity,
    pub(super) max_concurrency: i64,
    pub(super) replicas_at_peak: i64,
    pub(super) at_peak: Latency,
}

impl Judgement {
    pub(super) fn unknown(why: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Unknown,
            why: why.into(),
            band_percent: 0,
            evidence: Evidence::Model,
            fits: false,
            sized: None,
        }
    }
}

pub(super) fn judge(question: &Question<'_>) -> Judgement {
    let Question {
        served,
        device,
        gpus,
        slo,
        ..
    } = *question;
    let model_band = band_percent(device, served.model);
    let fitted = match fit(served, device, gpus) {
        Ok(fitted) => fitted,
        Err(why @ Misfit::Geometry { .. }) => return Judgement::unknown(why.to_string()),
        Err(why) => {
            return Judgement {
                verdict: Verdict::Infeasible,
                why: why.to_string(),
                band_percent: model_band,
                evidence: Evidence::Model,
                fits: false,
                sized: None,
            };
        }
    };
    let centre = match Estimator::new(served, device, gpus) {
        Ok(centre) => centre,
        Err(why) => {
            return Judgement {
                fits: true,
                ..Judgement::unknown(why.to_string())
            };
        }
    };
    // What was seen of this placement is used as it is; of another tier only its residual, and the
    // model's own band stays.
    let (centre, band_percent, evidence) = match question.seen {
        None => (centre, model_band, Evidence::Model),
        Some((evidence, seen)) => {
            let (step, prefill) = (seen.step_ratio, seen.prefill_ratio);
            match (evidence, seen.line) {
                (Evidence::Residual, _) => (centre.scaled(step, prefill), model_band, evidence),
                // A line is in seconds as they were seen, so nothing scales it.
                (_, Some(line)) => (
                    centre.scaled(1.0, prefill).along(line),
                    seen.band_percent,
                    evidence,
                ),
                (_, None) => (centre.scaled(step, prefill), seen.band_percent, evidence),
            }
        }
    };
    let pessimistic = centre.pessimistic(band_percent);
    let end = |verdict, why: String, fits, sized| Judgement {
        verdict,
        why,
        band_percent,
        evidence,
        fits,
        sized,
    };
    let shape = question.demand.shape();
    let max_concurrency =
        fitted.concurrency(served, gpus, shape.prompt_tokens + shape.output_tokens);
    let limits = format!("{} / {} ms", slo.limits.ttft_ms, slo.limits.itl_ms);
    let name = format!("{gpus} x {}", device.name());
    for (verdict, estimator) in [
        (Verdict::Feasible, &pessimistic),
        (Verdict::Borderline, &centre),
    ] {
        let Some(sized) = size(question, estimator, &centre, shape, max_concurrency) else {
            continue;
        };
        let ms = |seconds: f64| (seconds * 1000.0).round() as i64;
        let load = format!(
            "at the peak {} of {name} predict {} ms to the first token and {} ms between tokens",
            match sized.replicas_at_peak {
                1 => "1 replica".to_owned(),
                count => format!("{count} replicas"),
            },
            ms(sized.at_peak.ttft_seconds),
            ms(sized.at_peak.itl_seconds)
        );
        let why = match verdict {
            Verdict::Feasible => {
                format!("{load}, inside {limits} even if {band_percent} % slower")
            }
            _ => {
                format!("{load}, inside {limits} only if the estimate is not {band_percent} % off")
            }
        };
        return end(verdict, why, true, Some(sized));
    }
    let alone = centre.at_batch(1.0, &shape);
    let why = if max_concurrency < 1 {
        format!("one request of the usual length does not fit into the cache of {name}")
    } else {
        format!(
            "{name} needs {:.0} ms to the first token and {:.0} ms between tokens for a single request: outside {limits} at any load",
            alone.ttft_seconds * 1000.0,
            alone.itl_seconds * 1000.0
        )
    };
    end(Verdict::Infeasible, why, true, None)
}

/// Replicas for the peak with the capacity of `estimator`; `None` where one request alone is
/// outside the limits.
fn size(
    question: &Question<'_>,
    estimator: &Estimator,
    centre: &Estimator,
    shape: Shape,
    max_concurrency: i64,
) -> Option<Sized> {
    let limits = question.slo.limits;
    let capacity = estimator.capacity(&shape, limits, max_concurrency)?;
    let mut sized_for = (shape, capacity, replicas(question, &capacity));
    if sized_for.2 > question.replicas_today {
        // More replicas see fewer of each other's prefixes: without routing by prefix the hits
        // thin out in proportion, and what was cached must be computed.
        let hit = 1.0 - (shape.uncached_prompt_tokens / shape.prompt_tokens).min(1.0);
        let thinned = hit * question.replicas_today as f64 / sized_for.2 as f64;
        let uncached = (shape.prompt_tokens * (1.0 - thinned)).max(shape.uncached_prompt_tokens);
        if uncached > shape.uncached_prompt_tokens {
            let diluted = Shape {
                uncached_prompt_tokens: uncached,
                ..shape
            };
            let mut capacity = estimator.capacity(&diluted, limits, max_concurrency)?;
            // Demand stays counted net of today's hits, so the capacity is told in those tokens.
            capacity.prefill_tokens_per_second *= shape.uncached_prompt_tokens / uncached;
            sized_for = (diluted, capacity, replicas(question, &capacity));
        }
    }
    let (shape, capacity, replicas_at_peak) = sized_for;
    let rate = question.demand.peak_requests_5m as f64 / BUCKET_SECONDS / replicas_at_peak as f64;
    let at_peak = centre
        .at_rate(rate, &shape, max_concurrency as f64)
        .unwrap_or(capacity.at);
    Some(Sized {
        capacity,
        max_concurrency,
        replicas_at_peak,
        at_peak,
    })
}

fn replicas(question: &Question<'_>, capacity: &Capacity) -> i64 {
    let demand = question.demand;
    let load = demand.peak_prompt_net_tokens_5m as f64
        / BUCKET_SECONDS
        / capacity.prefill_tokens_per_second
        + demand.peak_output_tokens_5m as f64 / BUCKET_SECONDS / capacity.decode_tokens_per_second;
    let headroom = question.params.headroom_ppm.clamp(1, 1_000_000) as f64 / 1e6;
    let needed = (load / headroom).ceil();
    // A rate that no fleet has is bounded rather than wrapped.
    (needed.clamp(1.0, 1e9) as i64).max(question.floor_replicas)
}
