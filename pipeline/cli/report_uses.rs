//! Owns the way from a publication to the report's sections on what workloads are and do, what was changed, what
//! the bill says and where sources contradict each other. `report_sections` asks it.

use std::collections::BTreeMap;

use datafusion::prelude::SessionContext;

use super::error::CliError;
use super::report_sections::handles;
use super::windowed::window_rows;
use crate::catalogue::{Model, models, products, quantisation_stored};
use crate::lake::columns::{int, int_at, text, text_at, usd, usd_at};
use crate::model::TimeWindow;
use crate::report::{BillData, Contradiction, EventData, UseData};

const MIB: f64 = 1_048_576.0;

/// By workload: the sum of its devices' activity in millionths, and of how many samples.
pub(super) type Activity = BTreeMap<String, (Option<i64>, Option<i64>)>;

/// Workloads as they are used, and the MiB of weights that lie on one GPU of each, where that is known.
pub(super) async fn uses(
    session: &SessionContext,
    window: TimeWindow,
    activity: &Activity,
) -> Result<(Vec<UseData>, BTreeMap<String, i64>), CliError> {
    let sql = include_str!("../../queries/sections/workload_use.sql");
    let (mut rows, mut weights) = (Vec::new(), BTreeMap::new());
    for batch in window_rows(session, sql, window, window.end_ms).await? {
        let words = |name: &str| text(&batch, name);
        let numbers = |name: &str| int(&batch, name);
        let workloads = handles(&batch)?;
        let (product, engine) = (words("gpu_product")?, words("engine")?);
        let (model, model_raw) = (words("model")?, words("model_raw")?);
        let quantisation = words("quantisation")?;
        let (held, starved) = (numbers("held_ms")?, numbers("starved_ms")?);
        let unpriced = numbers("unpriced_ms")?;
        let (cost, waste) = (usd(&batch, "cost_usd")?, usd(&batch, "waste_usd")?);
        let tensor = numbers("tensor_parallel")?;
        let per_replica = numbers("gpu_milli_per_replica")?;
        let (replicas, first) = (numbers("replicas")?, numbers("first_ms")?);
        let (known, requests) = (numbers("known_ms")?, numbers("requests")?);
        let (prompt, output) = (numbers("prompt_tokens")?, numbers("output_tokens")?);
        let hit = numbers("hit_tokens")?;
        let (periods, throttled) = (numbers("cfs_periods")?, numbers("cfs_throttled_periods")?);
        let (cpu, cpu_known) = (numbers("cpu_ms")?, numbers("cpu_known_ms")?);
        let peak = numbers("cpu_peak_milli")?;
        let (limit, pod_gpus) = (numbers("cpu_limit_milli")?, numbers("pod_gpu_milli")?);
        let node = numbers("node_cores_milli")?;
        for (row, workload) in workloads.into_iter().enumerate() {
            let served = text_at(&model, row).and_then(|id| resolved(&id));
            let (prompt, output) = (int_at(&prompt, row), int_at(&output, row));
            // Engines that count no tokens have served something all the same: no figure is no nought.
            let tokens = prompt
                .zip(output)
                .map(|(prompt, output)| prompt + output)
                .filter(|tokens| *tokens > 0 || int_at(&requests, row) == Some(0))
                .filter(|_| int_at(&known, row).is_some_and(|ms| ms > 0));
            let per_replica = int_at(&per_replica, row).filter(|milli| *milli > 0);
            if let Some(model) = served
                && let Some(stored) = quantisation_stored(
                    text_at(&quantisation, row).as_deref(),
                    text_at(&model_raw, row).as_deref(),
                    model.native,
                )
            {
                let gpus = int_at(&tensor, row)
                    .filter(|gpus| *gpus > 0)
                    .or(per_replica.map(|milli| (milli / 1000).max(1)))
                    .unwrap_or(1);
                let mib = model.weight_bytes(stored) / MIB / gpus as f64;
                weights.insert(workload.clone(), mib.ceil() as i64);
            }
            let gpu_product = text_at(&product, row);
            let busy = activity.get(&workload).copied().unwrap_or_default();
            let computed = tokens.map(|all| all - int_at(&hit, row).unwrap_or(0).clamp(0, all));
            rows.push(UseData {
                arithmetic_ppm: served.zip(computed).and_then(|(model, tokens)| {
                    arithmetic_ppm(model, gpu_product.as_deref(), tokens, held.value(row))
                }),
                workload,
                engine: text_at(&engine, row),
                gpu_product,
                gpu_milli_per_replica: per_replica,
                replicas: int_at(&replicas, row),
                first_ms: int_at(&first, row),
                held_ms: held.value(row),
                starved_ms: starved.value(row),
                unpriced_ms: unpriced.value(row),
                cost_usd: usd_at(&cost, row),
                waste_usd: usd_at(&waste, row),
                tokens,
                activity_ppm_sum: busy.0,
                activity_samples: busy.1,
                cores_milli: int_at(&cpu, row)
                    .zip(int_at(&cpu_known, row).filter(|ms| *ms > 0))
                    .map(|(cpu, known)| cpu * 1000 / known),
                peak_cores_milli: int_at(&peak, row),
                limit_milli: int_at(&limit, row),
                pod_gpu_milli: int_at(&pod_gpus, row),
                node_cores_milli: int_at(&node, row),
                cfs_periods: int_at(&periods, row),
                cfs_throttled_periods: int_at(&throttled, row),
            });
        }
    }
    Ok((rows, weights))
}

fn resolved(id: &str) -> Option<&'static Model> {
    models().get(id).or_else(|| models().resolve(id))
}

/// How much of the 16-bit arithmetic of the held GPUs the tokens took, in millionths: two operations for each
/// active parameter and token. Peaks are dense.
fn arithmetic_ppm(model: &Model, label: Option<&str>, tokens: i64, held_ms: i64) -> Option<i64> {
    let label = label?;
    let product = products()
        .get(label)
        .or_else(|| products().resolve_label(label).map(|found| found.product))?;
    let peak = product.bf16_tflops.or(product.fp16_tflops)? * 1e12;
    let held_seconds = held_ms as f64 / 1000.0;
    (held_seconds > 0.0).then(|| {
        let operations = 2.0 * model.active_params_b * 1e9 * tokens as f64;
        (operations / (peak * held_seconds) * 1e6).round() as i64
    })
}

/// The dearest changes of scale, and how many there were.
pub(super) async fn events(
    session: &SessionContext,
    window: TimeWindow,
) -> Result<(Vec<EventData>, i64), CliError> {
    let sql = include_str!("../../queries/sections/changes.sql");
    let (mut rows, mut all) = (Vec::new(), 0);
    for batch in window_rows(session, sql, window, window.end_ms).await? {
        let workloads = handles(&batch)?;
        let (seen, what) = (int(&batch, "seen_ms")?, text(&batch, "what")?);
        let (before, after) = (text(&batch, "before")?, text(&batch, "after")?);
        let (actor, cost) = (text(&batch, "actor")?, usd(&batch, "cost_usd")?);
        let (gpus, changes) = (int(&batch, "gpu_milli_added")?, int(&batch, "changes")?);
        for (row, workload) in workloads.into_iter().enumerate() {
            all = changes.value(row);
            rows.push(EventData {
                workload,
                seen_ms: seen.value(row),
                what: what.value(row).to_owned(),
                before: text_at(&before, row),
                after: text_at(&after, row),
                actor: text_at(&actor, row),
                gpu_milli_added: int_at(&gpus, row),
                cost_usd: usd_at(&cost, row),
            });
        }
    }
    Ok((rows, all))
}

pub(super) async fn bill(
    session: &SessionContext,
    window: TimeWindow,
) -> Result<Vec<BillData>, CliError> {
    let sql = include_str!("../../queries/sections/bill.sql");
    let mut rows = Vec::new();
    for batch in window_rows(session, sql, window, window.end_ms).await? {
        let words = |name: &str| text(&batch, name);
        let (bill, provider, sku) = (words("bill")?, words("provider")?, words("sku")?);
        let (billed, matched) = (usd(&batch, "billed_usd")?, usd(&batch, "matched_usd")?);
        let residual = usd(&batch, "residual_usd")?;
        rows.extend((0..batch.num_rows()).map(|row| BillData {
            bill: bill.value(row).to_owned(),
            provider: provider.value(row).to_owned(),
            sku: sku.value(row).to_owned(),
            billed_usd: usd_at(&billed, row).unwrap_or_default(),
            matched_usd: usd_at(&matched, row).unwrap_or_default(),
            residual_usd: usd_at(&residual, row).unwrap_or_default(),
        }));
    }
    Ok(rows)
}

pub(super) async fn contradictions(
    session: &SessionContext,
    window: TimeWindow,
) -> Result<Vec<Contradiction>, CliError> {
    let sql = include_str!("../../queries/sections/contradictions.sql");
    let mut rows = Vec::new();
    for batch in window_rows(session, sql, window, window.end_ms).await? {
        let words = |name: &str| text(&batch, name);
        let (cluster, scope) = (words("cluster")?, words("scope")?);
        let (check, message) = (words("check_id")?, words("message")?);
        let things = int(&batch, "things")?;
        rows.extend((0..batch.num_rows()).map(|row| Contradiction {
            cluster: cluster.value(row).to_owned(),
            scope: scope.value(row).to_owned(),
            check: check.value(row).to_owned(),
            things: things.value(row),
            example: message.value(row).to_owned(),
        }));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_is_of_dense_peaks_and_all_that_was_held() {
        let model = models()
            .resolve("meta-llama/Llama-3.1-8B-Instruct")
            .unwrap();
        // 8 billion parameters, 2 operations each, 25 million tokens, of 989 TFLOPS for an hour.
        let ppm = arithmetic_ppm(model, Some("H100-SXM-80"), 25_000_000, 3_600_000).unwrap();
        assert!((100_000..130_000).contains(&ppm), "{ppm}");
        assert_eq!(arithmetic_ppm(model, Some("unknown"), 1, 1), None);
        assert_eq!(arithmetic_ppm(model, Some("H100-SXM-80"), 1, 0), None);
    }
}
