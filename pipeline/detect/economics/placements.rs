//! Owns which placements of a workload would carry its peak, and at what latency.
//!
//! For each serving workload with demand: today's tier with fewer or more replicas, and every other
//! product that the same provider sells in the same region, in the counts in which it is sold. The
//! quantisation is always the one served today. Dollars are not counted here: detectors take the
//! capacities, hour by hour, and price what they free and add.

mod judge;
mod served;
mod slo;

use crate::catalogue::products;

use super::estimator::{self, Shape};
use super::prices::{NodeFacts, PriceBook, PriceRow, SheetError};

use judge::{Judgement, Question, judge};
use served::served;
pub use slo::{DEFAULT_LIMITS, Slo, SloRule, resolve_slo};

/// GPUs of one replica that are sold together and joined by one fabric.
const GPU_COUNTS: [i64; 4] = [1, 2, 4, 8];
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
            place_one(workload, demand, rules, book, params, &mut placements)?;
        }
    }
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
}

fn place_one(
    workload: &WorkloadFacts,
    demand: &Demand,
    rules: &[SloRule],
    book: &PriceBook,
    params: SizingParams,
    out: &mut Placements,
) -> Result<(), SheetError> {
    let subject = Subject {
        workload,
        demand,
        slo: resolve_slo(workload, rules),
        params,
    };
    let today = workload.gpu_product.as_deref();
    let same_tier = |judgement: &Judgement| {
        subject.row(
            "same-tier",
            today,
            workload.price_key.clone(),
            workload.gpu_milli_per_replica,
            judgement,
            0,
        )
    };
    let served = match served(workload, demand) {
        Ok(served) => served,
        Err(why) => {
            out.rows.push(same_tier(&Judgement::unknown(why)));
            return Ok(());
        }
    };
    let question = |product: &'static crate::catalogue::Product, gpus: i64| Question {
        served: &served,
        product,
        gpus: u32::try_from(gpus).unwrap_or(u32::MAX),
        demand,
        slo: subject.slo,
        params,
        floor_replicas: workload.floor_replicas.max(1),
        replicas_today: workload.replicas.unwrap_or(1).max(1),
    };

    let whole = (workload.gpu_milli_per_replica > 0 && workload.gpu_milli_per_replica % 1000 == 0)
        .then_some(workload.gpu_milli_per_replica / 1000);
    let today_product = today.and_then(|key| products().get(key));
    let judgement = match (today_product, whole) {
        (None, _) => Judgement::unknown("the GPU product is not known"),
        (_, None) => Judgement::unknown("a replica holds a fraction of a GPU, which is not sized"),
        (Some(_), Some(gpus)) if !GPU_COUNTS.contains(&gpus) => {
            Judgement::unknown(format!("a replica of {gpus} GPUs is not sized"))
        }
        (Some(product), Some(gpus)) => judge(&question(product, gpus)),
    };
    out.rows.push(same_tier(&judgement));

    let Some(node) = workload
        .price_key
        .as_deref()
        .and_then(NodeFacts::from_key)
        .filter(|node| !node.provider.is_empty())
    else {
        return Ok(());
    };
    for product in products()
        .iter()
        .filter(|product| Some(product.key.as_str()) != today)
    {
        let mut kept: Option<(Judgement, PriceRow, i64)> = None;
        for gpus in GPU_COUNTS {
            let Some(price) = book.candidate(&node, &product.key, gpus)? else {
                continue;
            };
            let judgement = judge(&question(product, gpus));
            // The smallest count that will do; more GPUs are tried only where fewer fall short.
            let better = kept.as_ref().is_none_or(|(best, _, _)| {
                judgement.verdict < best.verdict || (judgement.fits && !best.fits)
            });
            if better {
                let done = matches!(judgement.verdict, Verdict::Feasible | Verdict::Unknown);
                kept = Some((judgement, price, gpus));
                if done {
                    break;
                }
            }
        }
        if let Some((judgement, price, gpus)) = kept {
            out.rows.push(subject.row(
                "other-tier",
                Some(&product.key),
                Some(price.price_key()),
                gpus * 1000,
                &judgement,
                price.band_percent,
            ));
            out.prices.push(price);
        }
    }
    Ok(())
}

impl Subject<'_> {
    fn row(
        &self,
        candidate_kind: &'static str,
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
            candidate: candidate_name(gpu_product, gpu_milli),
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
            confidence,
            demand_json: self.demand.to_json(),
            estimator_version: estimator::version().to_owned(),
        }
    }
}

/// `L40S-48 x1`; thousandths where a replica holds a fraction.
fn candidate_name(gpu_product: Option<&str>, gpu_milli: i64) -> String {
    let product = gpu_product.unwrap_or("unknown");
    if gpu_milli % 1000 == 0 {
        format!("{product} x{}", gpu_milli / 1000)
    } else {
        format!("{product} x{gpu_milli}m")
    }
}

#[cfg(test)]
mod tests;
