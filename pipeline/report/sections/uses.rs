//! Owns the sections on what each workload is and does, and on the CPU beside its GPUs.
//!
//! What was not measured says so: it is never nought. Plain data in, final text out; `sections` asks it.

use rust_decimal::Decimal;
use serde::Serialize;

use super::super::format::{gpu_hours, percent, usd};
use super::{a_million, millions};
use crate::model::TimeWindow;
use crate::model::time::{DAY_MS, HOUR_MS};

/// One workload over the window, as far as it was measured.
#[derive(Debug, Clone, Default)]
pub struct UseData {
    pub workload: String,
    pub engine: Option<String>,
    pub gpu_product: Option<String>,
    pub gpu_milli_per_replica: Option<i64>,
    pub replicas: Option<i64>,
    /// Since when the lake knows it.
    pub first_ms: Option<i64>,
    pub held_ms: i64,
    pub starved_ms: i64,
    pub unpriced_ms: i64,
    pub cost_usd: Option<Decimal>,
    pub waste_usd: Option<Decimal>,
    /// Prompt and generated tokens; `None` where no engine was seen.
    pub tokens: Option<i64>,
    /// Millionths, over the measured samples of devices that it held alone.
    pub activity_ppm_sum: Option<i64>,
    pub activity_samples: Option<i64>,
    /// Millionths of the 16-bit arithmetic of all that it held.
    pub arithmetic_ppm: Option<i64>,
    /// Thousandths of a core, of one container of the engine: in the mean, and the most between two scrapes.
    pub cores_milli: Option<i64>,
    pub peak_cores_milli: Option<i64>,
    pub limit_milli: Option<i64>,
    /// Thousandths of a GPU that one pod asks for.
    pub pod_gpu_milli: Option<i64>,
    /// Thousandths of a core that its nodes have for each GPU, the least of them.
    pub node_cores_milli: Option<i64>,
    pub cfs_periods: Option<i64>,
    pub cfs_throttled_periods: Option<i64>,
}

/// The same, ready to print.
#[derive(Debug, Clone, Serialize)]
pub struct UseView {
    pub workload: String,
    pub engine: String,
    pub gpus: String,
    pub replicas: String,
    pub known_days: String,
    pub busy: String,
    pub arithmetic: String,
    pub tokens: String,
    pub million: String,
    pub hourly: String,
    pub waste_daily: String,
    pub balance: BalanceView,
}

/// The CPU beside the GPUs.
#[derive(Debug, Clone, Serialize)]
pub struct BalanceView {
    /// Whether anything of the CPU was measured or set.
    pub known: bool,
    pub used: String,
    pub peak: String,
    pub limit: String,
    pub node: String,
    pub throttled: String,
    pub starved: String,
}

const NOT_SEEN: &str = "not seen";

fn share(ppm: i64) -> String {
    percent(Decimal::from(ppm), Decimal::from(1_000_000))
}

/// Thousandths of a core as cores with one decimal.
fn cores(milli: i64) -> String {
    format!(
        "{}",
        (Decimal::from(milli) / Decimal::ONE_THOUSAND)
            .round_dp(1)
            .normalize()
    )
}

fn or_not_seen(text: Option<String>) -> String {
    text.unwrap_or_else(|| NOT_SEEN.to_owned())
}

pub(super) fn use_of(row: &UseData, window: TimeWindow) -> UseView {
    let (start_ms, end_ms) = (window.start_ms, window.end_ms);
    let days = Decimal::from((end_ms - start_ms).max(1)) / Decimal::from(DAY_MS);
    let hours = Decimal::from((end_ms - start_ms).max(1)) / Decimal::from(HOUR_MS);
    let is_priced = row.cost_usd.is_some() && row.unpriced_ms == 0;
    let money = |amount: Option<Decimal>| match amount {
        Some(amount) if is_priced => usd(amount),
        _ => "price unknown".to_owned(),
    };
    let parts = row.gpu_milli_per_replica.filter(|milli| *milli > 0);
    let product = row.gpu_product.as_deref().unwrap_or("GPU");
    UseView {
        workload: row.workload.clone(),
        engine: row.engine.clone().unwrap_or_else(|| "–".to_owned()),
        gpus: parts.map_or_else(
            || product.to_owned(),
            |milli| format!("{} × {product}", whole(milli)),
        ),
        replicas: or_not_seen(row.replicas.map(|replicas| replicas.to_string())),
        known_days: or_not_seen(
            row.first_ms
                .map(|first| ((end_ms - first).max(0) / DAY_MS).to_string()),
        ),
        busy: or_not_seen(
            row.activity_ppm_sum
                .zip(row.activity_samples.filter(|samples| *samples > 0))
                .map(|(sum, samples)| {
                    percent(
                        Decimal::from(sum),
                        Decimal::from(samples) * Decimal::from(1_000_000),
                    )
                }),
        ),
        arithmetic: or_not_seen(row.arithmetic_ppm.map(share)),
        tokens: or_not_seen(row.tokens.map(millions)),
        million: match row.tokens {
            None => NOT_SEEN.to_owned(),
            Some(0) => "no tokens".to_owned(),
            Some(tokens) => match row.cost_usd.filter(|_| is_priced) {
                Some(usd) => a_million(usd * Decimal::from(1_000_000) / Decimal::from(tokens)),
                None => "price unknown".to_owned(),
            },
        },
        hourly: money(row.cost_usd.map(|usd| usd / hours)),
        waste_daily: money(Some(row.waste_usd.unwrap_or_default() / days)),
        balance: balance(row),
    }
}

/// A number of GPUs in thousandths, without needless decimals.
fn whole(milli: i64) -> String {
    (Decimal::from(milli) / Decimal::ONE_THOUSAND)
        .normalize()
        .to_string()
}

fn balance(row: &UseData) -> BalanceView {
    let gpus_milli = row.pod_gpu_milli.filter(|milli| *milli > 0);
    // Cores for one GPU, of what one pod holds.
    let for_a_gpu = |milli: Option<i64>| {
        milli
            .zip(gpus_milli)
            .map(|(milli, gpus)| cores(milli * 1000 / gpus))
    };
    let periods = row.cfs_periods.filter(|periods| *periods > 0);
    BalanceView {
        known: row.cores_milli.is_some() || row.limit_milli.is_some() || periods.is_some(),
        used: or_not_seen(for_a_gpu(row.cores_milli)),
        peak: or_not_seen(for_a_gpu(row.peak_cores_milli)),
        limit: for_a_gpu(row.limit_milli).unwrap_or_else(|| "no limit seen".to_owned()),
        node: or_not_seen(row.node_cores_milli.map(cores)),
        throttled: or_not_seen(
            periods
                .zip(row.cfs_throttled_periods)
                .map(|(periods, throttled)| {
                    percent(Decimal::from(throttled), Decimal::from(periods))
                }),
        ),
        starved: gpu_hours(row.starved_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> UseData {
        UseData {
            workload: "prod-a/chat/deployment.apps/llama".into(),
            engine: Some("vllm".into()),
            gpu_product: Some("NVIDIA-L4".into()),
            gpu_milli_per_replica: Some(2000),
            replicas: Some(3),
            first_ms: Some(0),
            held_ms: 48 * HOUR_MS,
            starved_ms: 3 * HOUR_MS,
            cost_usd: Some(Decimal::from(96)),
            waste_usd: Some(Decimal::from(10)),
            tokens: Some(12_000_000),
            activity_ppm_sum: Some(3_000_000),
            activity_samples: Some(12),
            arithmetic_ppm: Some(41_000),
            cores_milli: Some(1_500),
            peak_cores_milli: Some(4_000),
            limit_milli: Some(4_000),
            pod_gpu_milli: Some(2_000),
            node_cores_milli: Some(12_000),
            cfs_periods: Some(100),
            cfs_throttled_periods: Some(25),
            ..UseData::default()
        }
    }

    #[test]
    fn a_workload_is_told_in_one_row() {
        let view = use_of(&row(), TimeWindow::new(0, 2 * DAY_MS));
        assert_eq!(view.gpus, "2 × NVIDIA-L4");
        assert_eq!(
            (view.busy.as_str(), view.arithmetic.as_str()),
            ("25.0 %", "4.1 %")
        );
        assert_eq!(
            (view.tokens.as_str(), view.million.as_str()),
            ("12 M", "$8")
        );
        assert_eq!(
            (view.hourly.as_str(), view.waste_daily.as_str()),
            ("$2.00", "$5.00")
        );
        assert_eq!(view.known_days, "2");
        let cpu = view.balance;
        assert!(cpu.known);
        assert_eq!((cpu.used.as_str(), cpu.peak.as_str()), ("0.8", "2"));
        assert_eq!((cpu.limit.as_str(), cpu.node.as_str()), ("2", "12"));
        assert_eq!(
            (cpu.throttled.as_str(), cpu.starved.as_str()),
            ("25.0 %", "3.0")
        );
    }

    #[test]
    fn what_was_not_measured_or_priced_is_not_nought() {
        let view = use_of(
            &UseData {
                workload: "w".into(),
                unpriced_ms: 1,
                cost_usd: Some(Decimal::ONE),
                tokens: Some(0),
                ..UseData::default()
            },
            TimeWindow::new(0, DAY_MS),
        );
        assert_eq!(
            (view.busy.as_str(), view.replicas.as_str()),
            (NOT_SEEN, NOT_SEEN)
        );
        assert_eq!(
            (view.million.as_str(), view.hourly.as_str()),
            ("no tokens", "price unknown")
        );
        assert_eq!(view.waste_daily, "price unknown");
        assert!(!view.balance.known);
        assert_eq!(view.balance.throttled, NOT_SEEN);
    }
}
