//! Owns which placements of a workload would carry its peak, and at what latency.
//!
//! For each serving workload with demand: today's tier with fewer or more replicas, a MIG instance or
//! a share of it, other numbers of its GPUs, and every other product that the same provider sells in
//! the same region, in the counts in which it is sold. The quantisation is always the one served
//! today. Dollars are not counted here: detectors take the capacities, hour by hour, and price what
//! they free and add.

mod candidates;
mod changed;
mod consolidate;
mod judge;
mod served;
mod slo;

use super::estimator::{self, Shape};
use super::measured::Measurement;
use super::prices::{PriceBook, PriceRow, SheetError};
use super::speed::OwnHours;

pub use changed::{Changed, place_changed};
use judge::Judgement;
pub use slo::{DEFAULT_LIMITS, Slo, SloRule, resolve_slo};

const MIN_DAYS: i64 = 3;

/// Settings of the sizing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizingParams {
    /// Share of a replica's capacity that the peak may use: bursts within five minutes need the
    /// rest, and it holds what the estimate does not know of queueing.
    pub headroom_ppm: i64,
}

impl Default for SizingParams {
    fn default() -> Self {
        Self {
            headroom_ppm: 750_000,
        }
    }
}

/// What the inventory knows of a workload, as in the table `workloads` at the window's end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkloadFacts {
    pub cluster: String,
    pub namespace: String,
    pub workload_kind: String,
    pub workload_name: String,
    pub workload_class: String,
    pub model: Option<String>,
    pub model_raw: Option<String>,
    pub quantisation: Option<String>,
    pub max_model_len: Option<i64>,
    pub max_num_seqs: Option<i64>,
    /// As the engine's metrics name it.
    pub engine: Option<String>,
    pub tensor_parallel: Option<i64>,
    pub pipeline_parallel: Option<i64>,
    pub role: Option<String>,
    pub gpu_product: Option<String>,
    pub gpu_milli_per_replica: i64,
    pub replicas: Option<i64>,
    pub floor_replicas: i64,
    pub slo_ttft_p95_ms: Option<i64>,
    pub slo_itl_p95_ms: Option<i64>,
    /// The price key of the slices on which the workload spent most of the window.
    pub price_key: Option<String>,
}

/// One row of the rollup `demand`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Demand {
    pub cluster: String,
    pub namespace: String,
    pub workload_kind: String,
    pub workload_name: String,
    pub days_seen: i64,
    pub known_ms: i64,
    pub requests: i64,
    pub isl_tokens: i64,
    pub isl_net_tokens: i64,
    pub osl_tokens: i64,
    pub peak_requests_5m: i64,
    pub peak_prompt_net_tokens_5m: i64,
    pub peak_output_tokens_5m: i64,
    pub peak_lower_bound: bool,
    pub queue_max: Option<i64>,
    pub running_max: Option<i64>,
}

impl Demand {
    /// Canonical JSON: sorted keys, integers only.
    #[must_use]
    pub fn to_json(&self) -> String {
        let fields = [
            ("days_seen", self.days_seen),
            ("isl_net_tokens", self.isl_net_tokens),
            ("isl_tokens", self.isl_tokens),
            ("known_ms", self.known_ms),
            ("osl_tokens", self.osl_tokens),
            ("peak_lower_bound", i64::from(self.peak_lower_bound)),
            ("peak_output_tokens_5m", self.peak_output_tokens_5m),
            ("peak_prompt_net_tokens_5m", self.peak_prompt_net_tokens_5m),
            ("peak_requests_5m", self.peak_requests_5m),
            ("requests", self.requests),
        ];
        let members: Vec<String> = fields.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
        format!("{{{}}}", members.join(","))
    }

    fn shape(&self) -> Shape {
        Shape {
            prompt_tokens: self.isl_tokens as f64,
            // A prompt found whole in the cache still has its last token computed.
            uncached_prompt_tokens: self.isl_net_tokens.max(1) as f64,
            output_tokens: self.osl_tokens.max(1) as f64,
        }
    }
}

/// How sure a placement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Carries the peak at the pessimistic end of the band.
    Feasible,
    /// Carries it at the centre of the band only.
    Borderline,
    Infeasible,
    Unknown,
}

impl Verdict {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Feasible => "feasible",
            Self::Borderline => "borderline",
            Self::Infeasible => "infeasible",
            Self::Unknown => "unknown",
        }
    }
}

/// What a latency rests on, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// A measurement that the user gave.
    Measured,
    /// The workload's own hours on these GPUs.
    OwnHours,
    /// The model, times what the workload's own hours show against it elsewhere.
    Residual,
    Model,
}

impl Evidence {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::OwnHours => "own-hours",
            Self::Residual => "model × own-hours",
            Self::Model => "model",
        }
    }
}

/// What is known of speed beside the model.
#[derive(Debug, Clone, Copy, Default)]
pub struct KnownSpeed<'a> {
    pub own_hours: &'a [OwnHours],
    pub measured: &'a [Measurement],
}

/// One row of the table `placements`. Capacities are those at the pessimistic end of the band for
/// feasible rows, and at its centre for borderline ones; latencies are at its centre.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    pub cluster: String,
    pub namespace: String,
    pub workload_kind: String,
    pub workload_name: String,
    pub candidate: String,
    pub candidate_kind: &'static str,
    pub gpu_product: Option<String>,
    pub price_key: Option<String>,
    pub gpu_milli_per_replica: i64,
    pub verdict: Verdict,
    pub why: String,
    pub prefill_milli_tokens_per_second: Option<i64>,
    pub decode_milli_tokens_per_second: Option<i64>,
    pub max_concurrency: Option<i64>,
    pub headroom_ppm: Option<i64>,
    pub replicas_at_peak: Option<i64>,
    pub floor_replicas: Option<i64>,
    pub ttft_ms: Option<i64>,
    pub itl_ms: Option<i64>,
    pub slo_ttft_p95_ms: Option<i64>,
    pub slo_itl_p95_ms: Option<i64>,
    pub slo_source: &'static str,
    pub band_percent: i64,
    pub evidence: Evidence,
    pub confidence: &'static str,
    pub demand_json: String,
    pub estimator_version: String,
}

/// All candidates, and the prices that they name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Placements {
    /// Sorted by workload and candidate.
    pub rows: Vec<Placement>,
    /// One row a price key of a candidate, sorted; today's tiers are priced by the ledger's keys.
    pub prices: Vec<PriceRow>,
}

/// Judges every candidate of every serving workload that was asked for anything.
pub fn place(
    workloads: &[WorkloadFacts],
    demands: &[Demand],
    rules: &[SloRule],
    book: &PriceBook,
    params: SizingParams,
    known: KnownSpeed<'_>,
) -> Result<Placements, SheetError> {
    let mut placements = Placements::default();
    for workload in workloads {
        let demand = demands.iter().find(|demand| {
            demand.cluster == workload.cluster
                && demand.namespace == workload.namespace
                && demand.workload_kind == workload.workload_kind
                && demand.workload_name == workload.workload_name
        });
        let Some(demand) = demand.filter(|demand| demand.requests > 0) else {
            continue;
        };
        if workload.workload_class == "serving" {
            let subject = Subject {
                workload,
                demand,
                slo: resolve_slo(workload, rules),
                params,
                known,
            };
            subject.place(book, &mut placements)?;
        }
    }
    let Placements { rows, prices } = &mut placements;
    consolidate::consolidate(workloads, rows, prices, book)?;
    placements.rows.sort_by(|a, b| row_key(a).cmp(&row_key(b)));
    placements.prices.sort_by_key(PriceRow::price_key);
    placements.prices.dedup_by_key(|row| row.price_key());
    Ok(placements)
}

fn row_key(row: &Placement) -> (&str, &str, &str, &str, &str) {
    (
        &row.cluster,
        &row.namespace,
        &row.workload_kind,
        &row.workload_name,
        &row.candidate,
    )
}

/// What every row of a workload shares.
struct Subject<'a> {
    workload: &'a WorkloadFacts,
    demand: &'a Demand,
    slo: Slo,
    params: SizingParams,
    known: KnownSpeed<'a>,
}

impl Subject<'_> {
    fn row(
        &self,
        (candidate_kind, candidate): (&'static str, String),
        gpu_product: Option<&str>,
        price_key: Option<String>,
        gpu_milli: i64,
        judgement: &Judgement,
        price_band_percent: i64,
    ) -> Placement {
        let milli = |tokens: f64| (tokens * 1000.0).round() as i64;
        let ms = |seconds: f64| (seconds * 1000.0).round() as i64;
        let sized = judgement.sized.as_ref();
        let confidence =
            if judgement.verdict == Verdict::Unknown || self.demand.days_seen < MIN_DAYS {
                "low"
            } else if self.slo.assumed || judgement.band_percent > 30 || price_band_percent > 0 {
                "medium"
            } else {
                "high"
            };
        Placement {
            cluster: self.workload.cluster.clone(),
            namespace: self.workload.namespace.clone(),
            workload_kind: self.workload.workload_kind.clone(),
            workload_name: self.workload.workload_name.clone(),
            candidate,
            candidate_kind,
            gpu_product: gpu_product.map(str::to_owned),
            price_key,
            gpu_milli_per_replica: gpu_milli,
            verdict: judgement.verdict,
            why: judgement.why.clone(),
            prefill_milli_tokens_per_second: sized
                .map(|sized| milli(sized.capacity.prefill_tokens_per_second)),
            decode_milli_tokens_per_second: sized
                .map(|sized| milli(sized.capacity.decode_tokens_per_second)),
            max_concurrency: sized.map(|sized| sized.max_concurrency),
            headroom_ppm: sized.map(|_| self.params.headroom_ppm),
            replicas_at_peak: sized.map(|sized| sized.replicas_at_peak),
            floor_replicas: Some(self.workload.floor_replicas.max(1)),
            ttft_ms: sized.map(|sized| ms(sized.at_peak.ttft_seconds)),
            itl_ms: sized.map(|sized| ms(sized.at_peak.itl_seconds)),
            slo_ttft_p95_ms: Some(self.slo.limits.ttft_ms),
            slo_itl_p95_ms: Some(self.slo.limits.itl_ms),
            slo_source: if self.slo.assumed {
                "assumed"
            } else {
                "declared"
            },
            band_percent: judgement.band_percent,
            evidence: judgement.evidence,
            confidence,
            demand_json: self.demand.to_json(),
            estimator_version: estimator::version().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
