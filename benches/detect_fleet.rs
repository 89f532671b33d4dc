//! Owns the rollups that `detect` is measured on: 1,000 GPUs and four weeks, made by SQL and kept as a
//! lake of its own in the target folder. Fixed sizes, no randomness.

#![expect(clippy::expect_used, reason = "a bench without its input is no bench")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::Schema;
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use idleproof::detect::economics::placements::{Evidence, Placement, Verdict};
use idleproof::lake::schema::TABLES;
use idleproof::lake::{FLEET_LEASE, Lake, Lease, PartitionKey, Pins, PublicationDetails};
use idleproof::model::TimeWindow;
use idleproof::model::time::{DAY_MS, date_of};

/// 2026-10-01T00:00:00Z.
pub(crate) const START: i64 = 1_790_812_800_000;
pub(crate) const DAYS: i64 = 28;
pub(crate) const CLUSTER: &str = "c";
pub(crate) const RUN: &str = "bench";
const WORKLOADS: i64 = 250;
pub(crate) const KEY: &str = "aws|us-east-1|p5.48xlarge|H100-SXM-80|on-demand";
pub(crate) const OTHER: &str = "aws|us-east-1|g6e.12xlarge|L40S-48|on-demand";

pub(crate) fn window() -> TimeWindow {
    TimeWindow::new(START, START + DAYS * DAY_MS)
}

pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.expect("a clock after 1970").as_millis()).expect("a date")
}

/// What a table is made of: 250 workloads of four replicas, a tenth dark, a tenth asleep by night, a
/// tenth starved by day, a tenth unseen on Sundays; 40 GPUs that nobody holds.
fn generators() -> Vec<(&'static str, String)> {
    let gpus = "(SELECT value AS g, value % 250 AS w FROM generate_series(0, 999))";
    let works = "(SELECT value AS w FROM generate_series(0, 249))";
    let hours = "(SELECT value AS h FROM generate_series(0, 671))";
    let days = "(SELECT value AS d FROM generate_series(0, 27))";
    let at = format!("{START} + h * 3600000");
    let date = |ms: &str| format!("CAST(to_timestamp_millis({ms}) AS DATE) AS date");
    let day = date(&format!("{START} + d * 86400000"));
    let who = "'chat' AS namespace, 'deployment.apps' AS workload_kind, 'w' || CAST(w AS VARCHAR) AS workload_name";
    let span = format!(
        "{START} + d * 86400000 AS valid_from_ms, {START} + (d + 1) * 86400000 AS valid_to_ms"
    );
    let load =
        "CASE WHEN w % 10 = 0 THEN 0 WHEN h % 24 < 6 THEN 1 WHEN h % 24 < 9 THEN 20 ELSE 60 END";
    let hour = date(&at);
    vec![
        (
            "ledger",
            format!(
                "SELECT 'c' AS cluster, {hour}, 'n' || CAST(g / 8 AS VARCHAR) AS node, g % 8 AS slot, 'whole' AS slice, {at} AS hour_ms, \
             CASE WHEN g >= 960 THEN '' ELSE 'chat' END AS namespace, CASE WHEN g >= 960 THEN '' ELSE 'deployment.apps' END AS workload_kind, \
             CASE WHEN g >= 960 THEN '' ELSE 'w' || CAST(w AS VARCHAR) END AS workload_name, \
             CASE WHEN g >= 960 THEN 'unallocated' WHEN w % 10 = 0 THEN 'dark' WHEN w % 10 = 1 AND h % 24 < 6 THEN 'lull' \
               WHEN w % 10 = 2 AND h % 24 >= 9 AND h % 24 < 18 THEN 'starved' WHEN w % 10 = 3 AND h % 168 < 24 THEN 'unknown' ELSE 'serving' END AS class, \
             3600000 AS ms, 'GPU-' || CAST(g AS VARCHAR) AS gpu_uuid, 'H100-SXM-80' AS gpu_product, 'p5.48xlarge' AS instance_type, \
             '{KEY}' AS price_key, 'high' AS quiet_confidence, TRUE AS final FROM {gpus} CROSS JOIN {hours}"
            ),
        ),
        (
            "gpu_hours",
            format!(
                "SELECT 'c' AS cluster, {hour}, 'n' || CAST(g / 8 AS VARCHAR) AS node, CAST(g % 8 AS VARCHAR) AS gpu, 'GPU-' || CAST(g AS VARCHAR) AS uuid, \
             {at} AS hour_ms, 120 AS samples, 3600000 AS known_ms, 1000000 AS active_ms, 120 * (g % 10) * 100000 AS activity_ppm_sum, 120 AS activity_samples \
             FROM {gpus} CROSS JOIN {hours}"
            ),
        ),
        (
            "workload_hours",
            format!(
                "SELECT 'c' AS cluster, {hour}, {who}, {at} AS hour_ms, 14400000 AS known_ms, 14400000 AS replica_ms, {load} * 60 AS requests, \
             {load} * 30000 AS prompt_tokens, {load} * 12000 AS output_tokens, 0 AS prefix_hit_tokens, 0 AS prefix_query_tokens, 0 AS queue_growth, \
             0 AS rejected, 0 AS preemptions, 5 AS queue_max, 8 AS running_max, 500000 AS kv_usage_ppm_max, \
             CASE WHEN w % 10 = 2 THEN 3000000 ELSE 0 END AS queued_ms, 0 AS lower_bound_buckets, {load} * 3000 AS peak_prompt_tokens_5m, \
             {load} * 1200 AS peak_output_tokens_5m, {load} * 6 AS peak_requests_5m, 36000 AS cfs_periods, \
             CASE WHEN w % 10 = 2 THEN 24000 ELSE 10 END AS cfs_throttled_periods, 3600000 AS cpu_ms FROM {works} CROSS JOIN {hours}"
            ),
        ),
        (
            "workload_5m",
            format!(
                "SELECT 'c' AS cluster, {}, {who}, {START} + h * 3600000 + f * 300000 AS bucket_ms, 1200000 AS known_ms, 1200000 AS replica_ms, \
             {load} * 5 AS requests, {load} * 2500 AS prompt_tokens, {load} * 1000 AS output_tokens, 0 AS prefix_hit_tokens, 0 AS prefix_query_tokens, \
             0 AS queue_growth, 0 AS rejected, 0 AS preemptions, 5 AS queue_max, 8 AS running_max, 500000 AS kv_usage_ppm_max, 0 AS queued_ms, \
             FALSE AS lower_bound, 3000 AS cfs_periods, 10 AS cfs_throttled_periods, 300000 AS cpu_ms \
             FROM {works} CROSS JOIN {hours} CROSS JOIN (SELECT value AS f FROM generate_series(0, 11))",
                date(&at)
            ),
        ),
        (
            "cpu_hours",
            format!(
                "SELECT 'c' AS cluster, {hour}, {who}, CASE WHEN k = 0 THEN 'engine' ELSE 'proxy' END AS container, 'n' || CAST(w / 2 AS VARCHAR) AS node, \
             {at} AS hour_ms, 1 - k AS is_engine, 4 AS pods, 14400000 AS known_ms, 7200000 AS cpu_ms, 900 AS peak_milli, 0 AS one_core_ms, \
             36000 AS cfs_periods, CASE WHEN w % 10 = 2 THEN 24000 ELSE 10 END AS cfs_throttled_periods, 14400000 AS pressure_known_ms, 0 AS pressure_ms \
             FROM {works} CROSS JOIN {hours} CROSS JOIN (SELECT value AS k FROM generate_series(0, 1))"
            ),
        ),
        (
            "workloads",
            format!(
                "SELECT 'c' AS cluster, {day}, {who}, {span}, 'serving' AS workload_class, 'meta-llama/Llama-3.1-8B-Instruct' AS model, '[]' AS model_candidates_json, \
             'H100-SXM-80' AS gpu_product, 1000 AS gpu_milli_per_replica, 4 AS replicas, CASE WHEN w % 5 < 4 THEN 4 END AS min_replicas, \
             CASE WHEN w % 5 < 4 THEN 6 END AS max_replicas, 1 AS floor_replicas, 'default' AS floor_why, \
             CASE WHEN w % 5 < 4 THEN 'hpa/w' || CAST(w AS VARCHAR) END AS autoscaler, 'search' AS team, FALSE AS standby_declared, \
             'deployment.apps/chat/w' || CAST(w AS VARCHAR) AS remedy_object, 'spec.replicas' AS remedy_replicas_field, 'spec.template' AS remedy_tier_field, \
             '[]' AS owner_chain_json FROM {works} CROSS JOIN {days}"
            ),
        ),
        (
            "workload_details",
            format!(
                "SELECT 'c' AS cluster, {day}, {who}, {span}, 'known' AS model_state, '[]' AS served_models_json, '{{}}' AS parallel_json, 'ok' AS parallel_check, \
             'service' AS served, '[]' AS routes_json, '[]' AS related_json, 'label' AS team_source, '[]' AS slo_candidates_json, '[]' AS chain_json, \
             '[]' AS autoscalers_json FROM {works} CROSS JOIN {days}"
            ),
        ),
        (
            "autoscalers",
            format!(
                "SELECT 'c' AS cluster, {day}, {who}, {span}, 'scaledobject.keda.sh' AS scaler_kind, 'w' || CAST(w AS VARCHAR) AS scaler_name, \
             'deployment.apps' AS target_kind, 'w' || CAST(w AS VARCHAR) AS target_name, 4 AS min_replicas, 6 AS max_replicas, \
             '[{{\"type\":\"kafka\"}}]' AS triggers_json, '{{}}' AS policy_json, '[]' AS findings_json FROM {works} CROSS JOIN {days} WHERE w % 5 < 4"
            ),
        ),
        (
            "scaling_events",
            format!(
                "SELECT 'c' AS cluster, {day}, {who}, {START} + d * 86400000 + 32400000 AS seen_ms, 'deployment.apps/chat/w' AS object, 'spec.replicas' AS field, \
             'replicas' AS what, '4' AS before, '5' AS after, 'kube-state-metrics' AS seen_in, 'keda-operator' AS actor, 4000 AS gpu_milli_before, \
             5000 AS gpu_milli_after FROM {works} CROSS JOIN {days}"
            ),
        ),
        (
            "pods",
            format!(
                "SELECT 'c' AS cluster, {day}, 'chat' AS namespace, 'p' || CAST(g AS VARCHAR) AS pod, {span}, 'n' || CAST(g / 8 AS VARCHAR) AS node, 'ready' AS state, \
             'deployment.apps' AS workload_kind, 'w' || CAST(w AS VARCHAR) AS workload_name, 'p' AS replica, 'serving' AS workload_class, FALSE AS standby_declared, \
             1000 AS gpu_milli, 8000 AS cpu_request_milli, 2000 AS cpu_limit_milli, '[]' AS owner_chain_json, 'ksm' AS known_from \
             FROM {gpus} CROSS JOIN {days} WHERE g < 960"
            ),
        ),
        (
            "nodes",
            format!(
                "SELECT 'c' AS cluster, {day}, 'n' || CAST(n AS VARCHAR) AS node, {span}, 'p5.48xlarge' AS instance_type, 8 AS gpu_count, 'catalogue' AS gpu_count_basis, \
             'none' AS sharing, TRUE AS ready, FALSE AS repair, FALSE AS cordoned, 0 AS gpus_lost, 192.0 AS vcpus, 'ksm' AS known_from \
             FROM (SELECT value AS n FROM generate_series(0, 124)) CROSS JOIN {days}"
            ),
        ),
    ]
}

/// Rows in a table's own columns. What a generator leaves out is NULL, or nothing where it must not be.
fn shaped(schema: &Schema, batch: &RecordBatch) -> RecordBatch {
    let columns = schema
        .fields()
        .iter()
        .map(|field| {
            if let Some(column) = batch.column_by_name(field.name()) {
                return cast(column, field.data_type()).expect("a castable column");
            }
            let value = if field.is_nullable() {
                ScalarValue::try_from(field.data_type())
            } else {
                ScalarValue::new_default(field.data_type())
            };
            let value = value.expect("a value of the type");
            value
                .to_array_of_size(batch.num_rows())
                .expect("a column of it")
        })
        .collect();
    RecordBatch::try_new(Arc::new(schema.clone()), columns).expect("rows of the schema")
}

pub(crate) fn details(digests: BTreeMap<String, String>) -> PublicationDetails {
    PublicationDetails {
        runs: BTreeMap::from([(CLUSTER.to_owned(), RUN.to_owned())]),
        digests,
        window: window(),
        code_version: "bench".to_owned(),
        now_ms: now_ms(),
    }
}

pub(crate) async fn lease(lake: &Lake) -> Lease {
    // A run that was broken off holds it for five minutes.
    let wait = Duration::from_mins(6);
    lake.acquire_lease(FLEET_LEASE, "bench", now_ms(), wait)
        .await
        .expect("the lease")
}

/// The lake with the rollups published, made where it is not there yet.
pub(crate) async fn lake(folder: &Path) -> Lake {
    let lake = Lake::open(folder.to_str().expect("a path")).await;
    let lake = lake.expect("a lake");
    if lake.publication(None).await.expect("a look").is_some() {
        return lake;
    }
    let lease = lease(&lake).await;
    let mut staged = Vec::new();
    for (table, sql) in generators() {
        let spec = TABLES.iter().find(|spec| spec.name == table);
        let schema = spec.expect("a table").table_schema();
        let context = SessionContext::new();
        let made = context.sql(&sql).await.expect("a generator").collect();
        let rows = made
            .await
            .expect("rows")
            .iter()
            .map(|b| shaped(&schema, b))
            .collect();
        let rows = MemTable::try_new(schema, vec![rows]).expect("a table");
        context
            .register_table("made", Arc::new(rows))
            .expect("registered");
        for day in window().days() {
            let sql = format!(
                "SELECT * FROM made WHERE date = DATE '{}'",
                date_of(day.start_ms)
            );
            let rows = context.sql(&sql).await.expect("a day").collect().await;
            let partition = PartitionKey::new(date_of(day.start_ms), CLUSTER);
            let files = lake.stage(table, &partition, rows.expect("rows")).await;
            staged.push(files.expect("written files"));
        }
        lease.renew(now_ms()).await.expect("the lease");
    }
    lake.publish(
        &lease,
        None,
        &Pins::default(),
        staged,
        details(BTreeMap::new()),
    )
    .await
    .expect("a publication");
    lease.release(now_ms()).await.expect("given back");
    lake
}

pub(crate) fn placements() -> Vec<Placement> {
    let one =
        |w: i64, candidate_kind: &'static str, key: &str, decode: i64, replicas: i64| Placement {
            cluster: CLUSTER.to_owned(),
            namespace: "chat".to_owned(),
            workload_kind: "deployment.apps".to_owned(),
            workload_name: format!("w{w}"),
            candidate: format!("{candidate_kind} {key}"),
            candidate_kind,
            gpu_product: key.split('|').nth(3).map(str::to_owned),
            price_key: Some(key.to_owned()),
            gpu_milli_per_replica: 1000,
            verdict: Verdict::Feasible,
            why: "it fits".to_owned(),
            prefill_milli_tokens_per_second: Some(20 * decode),
            decode_milli_tokens_per_second: Some(decode),
            max_concurrency: Some(64),
            headroom_ppm: Some(750_000),
            replicas_at_peak: Some(replicas),
            floor_replicas: Some(1),
            ttft_ms: Some(200),
            itl_ms: Some(20),
            slo_ttft_p95_ms: Some(2000),
            slo_itl_p95_ms: Some(100),
            slo_source: "assumed",
            band_percent: 30,
            evidence: Evidence::Model,
            confidence: "medium",
            demand_json: "{}".to_owned(),
            estimator_version: "bench".to_owned(),
        };
    (0..WORKLOADS)
        .flat_map(|w| {
            [
                one(w, "same-tier", KEY, 200_000, 2),
                one(w, "other-tier", OTHER, 100_000, 3),
            ]
        })
        .collect()
}
