//! Owns the way between query results, plain rows and the tables `prices` and `placements`.
//!
//! Nothing is computed here. Batches are as the tables' files hold them, without partition columns.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::error::ArrowError;
use rust_decimal::Decimal;

use crate::lake::columns::{ColumnError, boolean, int, int_at, text, text_at};

use super::bill::BillLine;
use super::estimator::Shape;
use super::placements::{Demand, Placement, WorkloadFacts};
use super::prices::PriceRow;
use super::speed::{OwnHours, SpeedPoint};

/// Decimals of a dollar column.
const USD_SCALE: u32 = 6;

/// Reads the rollup `demand`.
pub fn demands(batches: &[RecordBatch]) -> Result<Vec<Demand>, ColumnError> {
    let mut rows = Vec::new();
    for batch in batches {
        let words = |name: &str| text(batch, name);
        let numbers = |name: &str| int(batch, name);
        let (cluster, namespace) = (words("cluster")?, words("namespace")?);
        let (kind, name) = (words("workload_kind")?, words("workload_name")?);
        let (days_seen, known_ms) = (numbers("days_seen")?, numbers("known_ms")?);
        let requests = numbers("requests")?;
        let (isl, isl_net) = (numbers("isl_tokens")?, numbers("isl_net_tokens")?);
        let osl = numbers("osl_tokens")?;
        let peak_requests = numbers("peak_requests_5m")?;
        let peak_prompt = numbers("peak_prompt_net_tokens_5m")?;
        let peak_output = numbers("peak_output_tokens_5m")?;
        let lower_bound = boolean(batch, "peak_lower_bound")?;
        let (queue_max, running_max) = (numbers("queue_max")?, numbers("running_max")?);
        let word = |array: &StringArray, row| text_at(array, row).unwrap_or_default();
        let number = |array: &Int64Array, row| int_at(array, row).unwrap_or(0);
        for row in 0..batch.num_rows() {
            rows.push(Demand {
                cluster: word(&cluster, row),
                namespace: word(&namespace, row),
                workload_kind: word(&kind, row),
                workload_name: word(&name, row),
                days_seen: number(&days_seen, row),
                known_ms: number(&known_ms, row),
                requests: number(&requests, row),
                isl_tokens: number(&isl, row),
                isl_net_tokens: number(&isl_net, row),
                osl_tokens: number(&osl, row),
                peak_requests_5m: number(&peak_requests, row),
                peak_prompt_net_tokens_5m: number(&peak_prompt, row),
                peak_output_tokens_5m: number(&peak_output, row),
                peak_lower_bound: lower_bound.value(row),
                queue_max: int_at(&queue_max, row),
                running_max: int_at(&running_max, row),
            });
        }
    }
    Ok(rows)
}

/// Reads rows of `workloads`, one a workload, with the `price_key` under which it ran most.
pub fn workloads(batches: &[RecordBatch]) -> Result<Vec<WorkloadFacts>, ColumnError> {
    let mut rows = Vec::new();
    for batch in batches {
        let words = |name: &str| text(batch, name);
        let numbers = |name: &str| int(batch, name);
        let (cluster, namespace) = (words("cluster")?, words("namespace")?);
        let (kind, name) = (words("workload_kind")?, words("workload_name")?);
        let (class, role) = (words("workload_class")?, words("role")?);
        let (model, model_raw) = (words("model")?, words("model_raw")?);
        let (quantisation, product) = (words("quantisation")?, words("gpu_product")?);
        let price_key = words("price_key")?;
        let max_model_len = numbers("max_model_len")?;
        let (max_num_seqs, engine) = (numbers("max_num_seqs")?, words("engine")?);
        let (tensor, pipeline) = (numbers("tensor_parallel")?, numbers("pipeline_parallel")?);
        let gpu_milli = numbers("gpu_milli_per_replica")?;
        let (replicas, floor) = (numbers("replicas")?, numbers("floor_replicas")?);
        let (ttft, itl) = (numbers("slo_ttft_p95_ms")?, numbers("slo_itl_p95_ms")?);
        let word = |array: &StringArray, row| text_at(array, row).unwrap_or_default();
        for row in 0..batch.num_rows() {
            rows.push(WorkloadFacts {
                cluster: word(&cluster, row),
                namespace: word(&namespace, row),
                workload_kind: word(&kind, row),
                workload_name: word(&name, row),
                workload_class: word(&class, row),
                model: text_at(&model, row),
                model_raw: text_at(&model_raw, row),
                quantisation: text_at(&quantisation, row),
                max_model_len: int_at(&max_model_len, row),
                // Where neither is told, the slowest measured engine and the engines' own default
                // stand in.
                max_num_seqs: int_at(&max_num_seqs, row),
                engine: text_at(&engine, row),
                tensor_parallel: int_at(&tensor, row),
                pipeline_parallel: int_at(&pipeline, row),
                role: text_at(&role, row),
                gpu_product: text_at(&product, row),
                gpu_milli_per_replica: int_at(&gpu_milli, row).unwrap_or(0),
                replicas: int_at(&replicas, row),
                floor_replicas: int_at(&floor, row).unwrap_or(1),
                slo_ttft_p95_ms: int_at(&ttft, row),
                slo_itl_p95_ms: int_at(&itl, row),
                price_key: text_at(&price_key, row),
            });
        }
    }
    Ok(rows)
}

/// Reads the window query `own_speed`: hours of a workload in the order of its key.
pub fn own_hours(batches: &[RecordBatch]) -> Result<Vec<OwnHours>, ColumnError> {
    let mut all: Vec<OwnHours> = Vec::new();
    for batch in batches {
        let words = |name: &str| text(batch, name);
        let numbers = |name: &str| int(batch, name);
        let (cluster, namespace) = (words("cluster")?, words("namespace")?);
        let (kind, name) = (words("workload_kind")?, words("workload_name")?);
        let (itl_count, itl_us) = (numbers("itl_count")?, numbers("itl_us")?);
        let (ttft_count, ttft_us) = (numbers("ttft_count")?, numbers("ttft_us")?);
        let (requests, prompt) = (numbers("requests")?, numbers("prompt_tokens")?);
        let (hits, output) = (numbers("prefix_hit_tokens")?, numbers("output_tokens")?);
        let replica_ms = numbers("replica_ms")?;
        for row in 0..batch.num_rows() {
            let at = |array: &Int64Array| int_at(array, row).unwrap_or(0).max(0) as f64;
            let word = |array: &StringArray| text_at(array, row).unwrap_or_default();
            let key = [word(&cluster), word(&namespace), word(&kind), word(&name)];
            if all.last().is_none_or(|last| {
                [
                    &last.cluster,
                    &last.namespace,
                    &last.workload_kind,
                    &last.workload_name,
                ] != [&key[0], &key[1], &key[2], &key[3]]
            }) {
                let [cluster, namespace, workload_kind, workload_name] = key;
                all.push(OwnHours {
                    cluster,
                    namespace,
                    workload_kind,
                    workload_name,
                    points: Vec::new(),
                });
            }
            let (requests, replica_seconds) = (at(&requests), at(&replica_ms) / 1e3);
            if requests < 1.0 || replica_seconds < 1.0 || at(&itl_count) < 1.0 {
                continue;
            }
            let Some(last) = all.last_mut() else { continue };
            last.points.push(SpeedPoint {
                // Little's law: the time spent between tokens, over the time that there was.
                batch: at(&itl_us) / 1e6 / replica_seconds,
                itl_seconds: at(&itl_us) / 1e6 / at(&itl_count),
                ttft_seconds: (at(&ttft_count) >= 1.0)
                    .then(|| at(&ttft_us) / 1e6 / at(&ttft_count)),
                shape: Shape {
                    prompt_tokens: at(&prompt) / requests,
                    uncached_prompt_tokens: ((at(&prompt) - at(&hits)) / requests).max(1.0),
                    output_tokens: (at(&output) / requests).max(1.0),
                },
            });
        }
    }
    Ok(all)
}

/// Rows of the table `placements`, of one cluster or of several.
pub fn placements_batch(rows: &[Placement]) -> Result<RecordBatch, ArrowError> {
    let words = |pick: fn(&Placement) -> Option<&str>| -> ArrayRef {
        Arc::new(rows.iter().map(pick).collect::<StringArray>())
    };
    let numbers = |pick: fn(&Placement) -> Option<i64>| -> ArrayRef {
        Arc::new(rows.iter().map(pick).collect::<Int64Array>())
    };
    RecordBatch::try_from_iter_with_nullable([
        ("namespace", words(|r| Some(&r.namespace)), false),
        ("workload_kind", words(|r| Some(&r.workload_kind)), false),
        ("workload_name", words(|r| Some(&r.workload_name)), false),
        ("candidate", words(|r| Some(&r.candidate)), false),
        ("candidate_kind", words(|r| Some(r.candidate_kind)), false),
        ("gpu_product", words(|r| r.gpu_product.as_deref()), true),
        ("price_key", words(|r| r.price_key.as_deref()), true),
        (
            "gpu_milli_per_replica",
            numbers(|r| Some(r.gpu_milli_per_replica)),
            false,
        ),
        ("verdict", words(|r| Some(r.verdict.as_str())), false),
        ("why", words(|r| Some(&r.why)), false),
        (
            "prefill_milli_tokens_per_second",
            numbers(|r| r.prefill_milli_tokens_per_second),
            true,
        ),
        (
            "decode_milli_tokens_per_second",
            numbers(|r| r.decode_milli_tokens_per_second),
            true,
        ),
        ("max_concurrency", numbers(|r| r.max_concurrency), true),
        ("headroom_ppm", numbers(|r| r.headroom_ppm), true),
        ("replicas_at_peak", numbers(|r| r.replicas_at_peak), true),
        ("floor_replicas", numbers(|r| r.floor_replicas), true),
        ("ttft_ms", numbers(|r| r.ttft_ms), true),
        ("itl_ms", numbers(|r| r.itl_ms), true),
        ("slo_ttft_p95_ms", numbers(|r| r.slo_ttft_p95_ms), true),
        ("slo_itl_p95_ms", numbers(|r| r.slo_itl_p95_ms), true),
        ("slo_source", words(|r| Some(r.slo_source)), false),
        ("band_percent", numbers(|r| Some(r.band_percent)), false),
        ("evidence", words(|r| Some(r.evidence.as_str())), false),
        ("confidence", words(|r| Some(r.confidence)), false),
        ("demand_json", words(|r| Some(&r.demand_json)), false),
        (
            "estimator_version",
            words(|r| Some(&r.estimator_version)),
            false,
        ),
    ])
}

/// Rows of the table `prices`.
pub fn prices_batch(rows: &[PriceRow]) -> Result<RecordBatch, ArrowError> {
    // An unknown fact is NULL here and an empty part of the key.
    let words = |pick: fn(&PriceRow) -> Option<&str>| -> ArrayRef {
        let known = |row| pick(row).filter(|text| !text.is_empty());
        Arc::new(rows.iter().map(known).collect::<StringArray>())
    };
    let keys: StringArray = rows.iter().map(|row| Some(row.price_key())).collect();
    let gpus: Int64Array = rows.iter().map(|row| row.gpus_per_node).collect();
    let bands: Int64Array = rows.iter().map(|row| Some(row.band_percent)).collect();
    let ends: Int64Array = rows
        .iter()
        .map(|row| row.commitment.as_ref()?.end_ms)
        .collect();
    let dollars = |pick: fn(&PriceRow) -> Option<Decimal>| -> Result<ArrayRef, ArrowError> {
        let array: Decimal128Array = rows.iter().map(|row| pick(row).map(micro_usd)).collect();
        Ok(Arc::new(
            array.with_precision_and_scale(38, USD_SCALE as i8)?,
        ))
    };
    RecordBatch::try_from_iter_with_nullable([
        ("price_key", Arc::new(keys) as ArrayRef, false),
        ("provider", words(|r| Some(&r.facts.provider)), true),
        ("region", words(|r| Some(&r.facts.region)), true),
        (
            "instance_type",
            words(|r| Some(&r.facts.instance_type)),
            true,
        ),
        ("gpu_product", words(|r| Some(&r.facts.gpu_product)), true),
        (
            "capacity_type",
            words(|r| Some(&r.facts.capacity_type)),
            true,
        ),
        ("gpus_per_node", Arc::new(gpus), true),
        (
            "list_usd_per_gpu_hour",
            dollars(|r| r.list_usd_per_gpu_hour)?,
            true,
        ),
        (
            "contracted_usd_per_gpu_hour",
            dollars(|r| r.contracted_usd_per_gpu_hour)?,
            true,
        ),
        (
            "effective_usd_per_gpu_hour",
            dollars(|r| r.effective_usd_per_gpu_hour)?,
            true,
        ),
        ("rung", words(|r| Some(r.rung.as_str())), false),
        ("band_percent", Arc::new(bands), false),
        ("provenance", words(|r| Some(&r.provenance)), false),
        ("price_date", words(|r| r.price_date.as_deref()), true),
        (
            "commitment_id",
            words(|r| r.commitment.as_ref().map(|c| c.id.as_str())),
            true,
        ),
        ("commitment_end_ms", Arc::new(ends), true),
    ])
}

/// Rows of the table `bill_lines`, of one bill after the other.
pub fn bill_lines_batch(lines: &[(String, BillLine)]) -> Result<RecordBatch, ArrowError> {
    let words = |pick: fn(&(String, BillLine)) -> &str| -> ArrayRef {
        Arc::new(
            lines
                .iter()
                .map(|line| Some(pick(line)))
                .collect::<StringArray>(),
        )
    };
    let dollars = |pick: fn(&BillLine) -> Decimal| -> Result<ArrayRef, ArrowError> {
        let array: Decimal128Array = lines
            .iter()
            .map(|(_, line)| Some(micro_usd(pick(line))))
            .collect();
        Ok(Arc::new(
            array.with_precision_and_scale(38, USD_SCALE as i8)?,
        ))
    };
    RecordBatch::try_from_iter_with_nullable([
        ("bill", words(|(bill, _)| bill), false),
        ("provider", words(|(_, line)| &line.provider), false),
        ("sku", words(|(_, line)| &line.sku), false),
        ("billed_usd", dollars(|line| line.billed_usd)?, false),
        ("matched_usd", dollars(|line| line.matched_usd)?, false),
        ("residual_usd", dollars(BillLine::residual_usd)?, false),
    ])
}

/// The price in millionths of a dollar. Prices are already rounded to that.
fn micro_usd(price: Decimal) -> i128 {
    let mut price = price.round_dp(USD_SCALE);
    price.rescale(USD_SCALE);
    price.mantissa()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::economics::placements::{KnownSpeed, SizingParams, place};
    use crate::detect::economics::prices::{NodeFacts, PriceBook};
    use crate::lake::schema::table;

    #[test]
    fn batches_have_the_tables_columns() {
        let workload = WorkloadFacts {
            workload_class: "serving".to_owned(),
            model: Some("Qwen/Qwen3-8B".to_owned()),
            gpu_product: Some("H100-SXM-80".to_owned()),
            gpu_milli_per_replica: 1000,
            floor_replicas: 1,
            max_model_len: Some(8192),
            price_key: Some("aws|us-east-1|p5.4xlarge|H100-SXM-80|".to_owned()),
            ..WorkloadFacts::default()
        };
        let demand = Demand {
            days_seen: 14,
            requests: 1000,
            isl_tokens: 500,
            isl_net_tokens: 500,
            osl_tokens: 100,
            peak_requests_5m: 30,
            peak_prompt_net_tokens_5m: 15_000,
            peak_output_tokens_5m: 3_000,
            ..Demand::default()
        };
        let book = PriceBook::default();
        let mut placements = place(
            &[workload],
            &[demand],
            &[],
            &book,
            SizingParams::default(),
            KnownSpeed::default(),
        )
        .unwrap();
        let batch = placements_batch(&placements.rows).unwrap();
        assert_eq!(batch.schema(), table("placements").unwrap().file_schema());
        assert_eq!(batch.num_rows(), placements.rows.len());

        let nowhere = NodeFacts::default();
        placements.prices.push(book.price(&nowhere, None).unwrap());
        let batch = prices_batch(&placements.prices).unwrap();
        assert_eq!(batch.schema(), table("prices").unwrap().file_schema());
        assert_eq!(prices_batch(&[]).unwrap().num_rows(), 0);
    }

    #[test]
    fn dollars_keep_their_six_decimals() {
        assert_eq!(micro_usd("6.88".parse().unwrap()), 6_880_000);
        assert_eq!(micro_usd("0.0000005".parse().unwrap()), 0);
    }
}
