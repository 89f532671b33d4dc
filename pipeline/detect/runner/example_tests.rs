use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, StringArray,
};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::tests::*;
use super::*;
use crate::detect::findings::stored_usd;
use crate::detect::{collect, replay_all};
use crate::lake::schema::{self, ColumnType};
use crate::model::time::{DAY_MS, HOUR_MS};

/// Rows of a table as its readers see it; a column that is not given is NULL, or zero or empty
/// where it may not be.
fn table(name: &str, rows: &[Value]) -> RecordBatch {
    let spec = schema::table(name).unwrap();
    let columns = spec
        .partition_columns()
        .into_iter()
        .chain(spec.columns.iter().copied());
    let arrays = columns.map(|column| -> ArrayRef {
        let values = rows.iter().map(|row| &row[column.name]);
        let or = |value: Option<i64>| value.or((!column.nullable).then_some(0));
        match column.column_type {
            ColumnType::Int => Arc::new(
                values
                    .map(|value| or(value.as_i64()))
                    .collect::<Int64Array>(),
            ),
            ColumnType::Date => Arc::new(
                values
                    .map(|value| value.as_i64().map(|day| day as i32))
                    .collect::<Date32Array>(),
            ),
            ColumnType::Text => Arc::new(
                values
                    .map(|value| value.as_str().or((!column.nullable).then_some("")))
                    .collect::<StringArray>(),
            ),
            ColumnType::Bool => Arc::new(
                values
                    .map(|value| Some(value == &json!(true)))
                    .collect::<BooleanArray>(),
            ),
            ColumnType::Float => Arc::new(values.map(Value::as_f64).collect::<Float64Array>()),
            other => panic!("{other:?}"),
        }
    });
    RecordBatch::try_new(spec.table_schema(), arrays.collect()).unwrap()
}

fn llm(mut row: Value) -> Value {
    row["cluster"] = json!("a");
    row["namespace"] = json!("chat");
    row["workload_kind"] = json!("deployment.apps");
    row["workload_name"] = json!("llm");
    row
}

/// One, two and three replicas of H100 are needed where one, three and six are held.
fn needed(hour: i64) -> i64 {
    match hour % 24 {
        0..8 => 1,
        8..14 => 2,
        _ => 3,
    }
}

/// Design §7 through the project's own detectors: 86 H100-hours a day where demand needs 50, and
/// 48 L40S-hours would do.
#[tokio::test]
async fn the_worked_example_through_the_projects_detectors() {
    let session = session();
    let mut workloads = Vec::new();
    let (mut buckets, mut hours) = (Vec::new(), Vec::new());
    for hour in 0..DAYS * 24 {
        let tokens = needed(hour) * 300_000;
        if hour % 24 == 0 {
            workloads.push(llm(json!({
                "date": hour / 24, "valid_from_ms": hour * HOUR_MS,
                "valid_to_ms": hour * HOUR_MS + DAY_MS, "workload_class": "serving",
                "model": "meta-llama/Llama-3.1-8B", "gpu_product": "H100-SXM-80",
                "gpu_milli_per_replica": 1000, "replicas": 6, "min_replicas": 1,
                "max_replicas": 6, "floor_replicas": 1, "autoscaler": "hpa",
                "remedy_object": "hpa/chat/llm", "remedy_replicas_field": "spec.minReplicas",
                "remedy_tier_field": "spec.template",
            })));
        }
        buckets.push(llm(json!({
            "date": hour / 24, "bucket_ms": hour * HOUR_MS, "known_ms": 300_000,
            "replica_ms": 300_000, "requests": 1000, "output_tokens": tokens,
        })));
        hours.push(llm(json!({
            "date": hour / 24, "hour_ms": hour * HOUR_MS, "known_ms": HOUR_MS,
            "replica_ms": HOUR_MS, "requests": 1000, "output_tokens": tokens,
            "peak_output_tokens_5m": tokens, "peak_requests_5m": 1000,
        })));
    }
    for (name, rows) in [
        ("workloads", &workloads),
        ("workload_5m", &buckets),
        ("workload_hours", &hours),
    ] {
        register(&session, name, vec![table(name, rows)]).unwrap();
    }
    let mut inputs = inputs();
    inputs.placements.truncate(2);
    for (row, decode, floor) in [(0, 1_000_000, 1), (1, 9_000_000, 2)] {
        let row = &mut inputs.placements[row];
        row.prefill_milli_tokens_per_second = Some(1_000_000_000);
        row.decode_milli_tokens_per_second = Some(decode);
        row.headroom_ppm = Some(1_000_000);
        row.floor_replicas = Some(floor);
        row.replicas_at_peak = Some(if floor == 1 { 3 } else { 2 });
    }
    let queries = QuerySet::embedded().unwrap();
    let window = window_queries(&session, &queries, inputs.window)
        .await
        .unwrap();
    assert_eq!(
        window.keys().collect::<Vec<_>>(),
        ["demand", "own_speed", "scaler_demand", "workload_facts"]
    );
    let detection = detect(&session, &queries, &inputs).await.unwrap();
    let one = |detector: &str| {
        let mut found = detection
            .findings
            .iter()
            .filter(|finding| finding.detector == detector && finding.status == "alarm");
        let finding = found.next();
        assert!(found.next().is_none());
        finding.unwrap_or_else(|| panic!("{detector}: {detection:#?}"))
    };
    let (surplus, tier) = (one("surplus-replicas"), one("tier-misplacement"));
    assert_eq!(surplus.waste_gpu_ms, DAYS * 36 * HOUR_MS);
    assert_eq!(
        (tier.waste_gpu_ms, tier.ms_added),
        (DAYS * 50 * HOUR_MS, DAYS * 48 * HOUR_MS)
    );
    let net = surplus.net_window_usd.unwrap() + tier.net_window_usd.unwrap();
    let daily = usd("86") * usd("6.88") - usd("48") * usd("1.861");
    assert_eq!(stored_usd(net), stored_usd(daily * Decimal::from(DAYS)));
    // What nobody held is found too, and takes nothing of the workload.
    let free = one("unallocated-capacity");
    assert_eq!(free.waste_gpu_ms, DAYS * (6 * 24 - 86) * HOUR_MS);
    assert_eq!(
        detection
            .findings
            .iter()
            .filter(|found| found.status == "alarm")
            .count(),
        3
    );

    // The stored SQL on the stored rows: the same findings, of all five detectors.
    let evidence = collect(&session, &queries, &inputs, &detection)
        .await
        .unwrap();
    let detection = detection.with_evidence(&evidence.digest);
    let blobs = &evidence.blobs;
    let fetch = |sha256: String| async move {
        blobs
            .get(&sha256)
            .map(|bytes| Bytes::from(bytes.clone()))
            .ok_or("it is not there")
    };
    assert_eq!(
        replay_all(&evidence.manifest, fetch).await.unwrap(),
        detection
    );
    let copied: BTreeSet<&str> = evidence
        .manifest
        .tables
        .iter()
        .map(|table| table.table.as_str())
        .collect();
    assert!(
        copied.contains("workload_facts") && copied.contains("candidates"),
        "{copied:?}"
    );
}
