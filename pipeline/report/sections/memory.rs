//! Owns the section on GPU memory: paid for, in use, and how much of the cache was needed.

use rust_decimal::Decimal;
use serde::Serialize;

use crate::report::format::percent;

/// One workload's devices over the window, as far as they were measured and its own.
#[derive(Debug, Clone)]
pub struct MemoryData {
    pub workload: String,
    pub gpu_product: Option<String>,
    pub gpus: i64,
    /// Of one device, MiB.
    pub total_mib: Option<i64>,
    pub used_mib: Option<i64>,
    /// Millionths, over all measured samples.
    pub dram_ppm_sum: Option<i64>,
    pub dram_samples: Option<i64>,
    pub busiest_ppm: Option<i64>,
    pub kv_ppm: Option<i64>,
    /// Weights that lie on one device.
    pub weights_mib: Option<i64>,
}

/// The same, ready to print.
#[derive(Debug, Clone, Serialize)]
pub struct MemoryView {
    pub workload: String,
    pub gpus: String,
    pub paid: String,
    pub used: String,
    /// Weights, and what of the rest was taken when the cache was at its fullest.
    pub needed: String,
    pub cache: String,
    pub bandwidth: String,
    pub busiest: String,
}

const NOT_SEEN: &str = "not seen";

fn gib(mib: i64) -> String {
    let gib = Decimal::from(mib) / Decimal::from(1024);
    format!("{} GiB", gib.round_dp(1).normalize())
}

fn share(ppm: i64) -> String {
    percent(Decimal::from(ppm), Decimal::from(1_000_000))
}

/// An engine takes nearly all memory when it starts and cuts its cache out of what the weights leave. Needed
/// is what was ever filled of that, and the weights; its workspace is counted with the cache.
fn needed_mib(row: &MemoryData) -> Option<i64> {
    let (used, weights) = (row.used_mib?, row.weights_mib?);
    let rest = (used - weights).max(0);
    Some(weights.min(used) + (rest * row.kv_ppm?).div_euclid(1_000_000))
}

pub(super) fn memory(row: &MemoryData) -> MemoryView {
    let known = |value: Option<i64>, text: fn(i64) -> String| {
        value.map_or_else(|| NOT_SEEN.to_owned(), text)
    };
    let mean = row
        .dram_ppm_sum
        .zip(row.dram_samples.filter(|samples| *samples > 0))
        .map(|(sum, samples)| {
            percent(
                Decimal::from(sum),
                Decimal::from(samples) * Decimal::from(1_000_000),
            )
        });
    MemoryView {
        workload: row.workload.clone(),
        gpus: match &row.gpu_product {
            Some(product) => format!("{} × {product}", row.gpus),
            None => row.gpus.to_string(),
        },
        paid: row
            .total_mib
            .map_or_else(|| NOT_SEEN.to_owned(), |mib| format!("{} each", gib(mib))),
        used: match (row.used_mib, row.total_mib) {
            (Some(used), Some(total)) if total > 0 => format!(
                "{}, {}",
                gib(used),
                percent(Decimal::from(used), Decimal::from(total))
            ),
            (used, _) => known(used, gib),
        },
        needed: known(needed_mib(row), gib),
        cache: known(row.kv_ppm, share),
        bandwidth: mean.unwrap_or_else(|| NOT_SEEN.to_owned()),
        busiest: known(row.busiest_ppm, share),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_not_nought() {
        let mut row = MemoryData {
            workload: "a/b/c/d".into(),
            gpu_product: Some("NVIDIA-L4".into()),
            gpus: 2,
            total_mib: Some(23_034),
            used_mib: Some(20_992),
            dram_ppm_sum: Some(3_000_000),
            dram_samples: Some(12),
            busiest_ppm: Some(451_000),
            kv_ppm: Some(83_000),
            weights_mib: Some(15_317),
        };
        let view = memory(&row);
        assert_eq!(view.gpus, "2 × NVIDIA-L4");
        assert_eq!(view.paid, "22.5 GiB each");
        assert_eq!(view.used, "20.5 GiB, 91.1 %");
        assert_eq!(
            (view.cache.as_str(), view.bandwidth.as_str()),
            ("8.3 %", "25.0 %")
        );
        assert_eq!(view.busiest, "45.1 %");
        // 15,317 MiB of weights and a twelfth of the other 5,675.
        assert_eq!(view.needed, "15.4 GiB");
        row.dram_samples = Some(0);
        row.total_mib = None;
        row.kv_ppm = None;
        let view = memory(&row);
        assert_eq!(
            (view.bandwidth.as_str(), view.paid.as_str()),
            (NOT_SEEN, NOT_SEEN)
        );
        assert_eq!(
            (view.used.as_str(), view.cache.as_str()),
            ("20.5 GiB", NOT_SEEN)
        );
        assert_eq!(view.needed, NOT_SEEN);
    }
}
