//! All detectors at 1,000 GPUs and four weeks of rollups: window queries, the chain with its netting,
//! and the same SQL files on DuckDB over the same Parquet, rows compared by digest. Fixed sizes, no
//! randomness. The budget is 10 s on two cores in the release profile.
//!
//!     cargo bench -- detect              # generate once, measure
//!     cargo bench -- detect peer      # and DuckDB beside it (python3 with duckdb)

#![expect(clippy::expect_used, reason = "a bench without its input is no bench")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::array::{Array as _, RecordBatch, new_null_array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::datasource::MemTable;
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use idleproof::detect::economics::placements::{Evidence, Placement, Verdict};
use idleproof::detect::economics::prices::{NodeFacts, PriceBook};
use idleproof::detect::query::{self, Params, Query};
use idleproof::detect::{DetectInputs, QuerySet, detect, window_queries};
use idleproof::lake::schema::TABLES;
use idleproof::lake::{SessionLimits, session_config};
use idleproof::model::TimeWindow;
use idleproof::model::canonical::sha256_hex;
use idleproof::model::time::DAY_MS;
use serde_json::{Value, json};

/// 2026-10-01T00:00:00Z.
const START: i64 = 1_790_812_800_000;
const DAYS: i64 = 28;
const WORKLOADS: i64 = 250;
const KEY: &str = "aws|us-east-1|p5.48xlarge|H100-SXM-80|on-demand";
const OTHER: &str = "aws|us-east-1|g6e.12xlarge|L40S-48|on-demand";

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

/// Rows in a table's own columns; what a generator leaves out is NULL.
fn shaped(schema: &Schema, batch: &RecordBatch) -> RecordBatch {
    let fields: Vec<_> = schema
        .fields()
        .iter()
        .map(|f| f.as_ref().clone().with_nullable(true))
        .collect();
    let columns = schema
        .fields()
        .iter()
        .map(|field| {
            batch.column_by_name(field.name()).map_or_else(
                || new_null_array(field.data_type(), batch.num_rows()),
                |column| cast(column, field.data_type()).expect("a castable column"),
            )
        })
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("rows of the schema")
}

async fn write(context: &SessionContext, table: &str, folder: &Path) {
    let path = folder.join(format!("{table}.parquet"));
    let _ = std::fs::remove_file(&path);
    let frame = context.table(table).await.expect("a table");
    frame
        .write_parquet(
            path.to_str().expect("a path"),
            DataFrameWriteOptions::new().with_single_file_output(true),
            None,
        )
        .await
        .expect("a written file");
}

async fn generate(folder: &Path) {
    std::fs::create_dir_all(folder).expect("a folder");
    let generators: BTreeMap<&str, String> = generators().into_iter().collect();
    for spec in TABLES {
        if folder.join(format!("{}.parquet", spec.name)).exists() {
            continue;
        }
        let context = SessionContext::new();
        let schema = spec.table_schema();
        let batches: Vec<RecordBatch> = match generators.get(spec.name) {
            None => vec![shaped(&schema, &RecordBatch::new_empty(schema.clone()))],
            Some(sql) => {
                let made = context.sql(sql).await.expect("a generator").collect().await;
                made.expect("rows")
                    .iter()
                    .map(|b| shaped(&schema, b))
                    .collect()
            }
        };
        let schema = batches[0].schema();
        let table = MemTable::try_new(schema, vec![batches]).expect("a table");
        context
            .register_table(spec.name, Arc::new(table))
            .expect("registered");
        write(&context, spec.name, folder).await;
    }
}

fn placements() -> Vec<Placement> {
    let one =
        |w: i64, candidate_kind: &'static str, key: &str, decode: i64, replicas: i64| Placement {
            cluster: "c".to_owned(),
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

/// A digest of a result's rows; floats stay out, engines print them differently.
fn digest(batches: &[RecordBatch]) -> (usize, String) {
    let mut text = String::new();
    let mut rows = 0;
    for batch in batches {
        rows += batch.num_rows();
        let options = FormatOptions::default();
        let columns: Vec<ArrayFormatter<'_>> = batch
            .columns()
            .iter()
            .filter(|c| !matches!(c.data_type(), DataType::Float64))
            .map(|c| ArrayFormatter::try_new(c, &options).expect("a formatter"))
            .collect();
        for row in 0..batch.num_rows() {
            for column in &columns {
                text.push_str(&column.value(row).to_string());
                text.push('|');
            }
            text.push('\n');
        }
    }
    (rows, sha256_hex(text.as_bytes()))
}

async fn session(folder: &Path) -> SessionContext {
    let context = SessionContext::new_with_config(session_config(SessionLimits::default()));
    for spec in TABLES {
        let path = folder.join(format!("{}.parquet", spec.name));
        context
            .register_parquet(
                spec.name,
                path.to_str().expect("a path"),
                ParquetReadOptions::default(),
            )
            .await
            .expect("a registered file");
    }
    context
}

fn registered(context: &SessionContext, name: &str, batches: &[RecordBatch]) {
    let table = MemTable::try_new(batches[0].schema(), vec![batches.to_vec()]).expect("a table");
    context.deregister_table(name).expect("free");
    context
        .register_table(name, Arc::new(table))
        .expect("registered");
}

pub(crate) fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_stack_size(16 << 20)
        .enable_all()
        .build()
        .expect("a runtime");
    let peer = std::env::args().any(|arg| arg == "peer");
    runtime.block_on(async { tokio::spawn(measure(peer)).await.expect("a measurement") });
}

async fn measure(peer: bool) {
    let mut out = std::io::stdout();
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    let folder = PathBuf::from(target).join("tmp/bench-detect");
    generate(&folder).await;
    let queries = QuerySet::embedded().expect("queries");
    let window = TimeWindow::new(START, START + DAYS * DAY_MS);
    let book = PriceBook::new(Vec::new(), window.end_ms);
    let prices = [KEY, OTHER]
        .iter()
        .map(|key| {
            book.price(&NodeFacts::from_key(key).expect("a key"), None)
                .expect("a price")
        })
        .collect();
    let inputs = DetectInputs {
        window,
        run_id: "bench".to_owned(),
        params: BTreeMap::new(),
        prices,
        placements: placements(),
        first_seen: BTreeMap::new(),
        accepted: Vec::new(),
        bands: BTreeMap::new(),
    };
    let context = session(&folder).await;
    let begun = Instant::now();
    let windows = window_queries(&context, &queries, window)
        .await
        .expect("window queries");
    let after_window = begun.elapsed();
    let detection = detect(&context, &queries, &inputs)
        .await
        .expect("a detection");
    let whole = begun.elapsed();
    let alarms = detection
        .findings
        .iter()
        .filter(|f| f.status == "alarm")
        .count();
    writeln!(
        out,
        "1,000 GPUs x {DAYS} days: window queries {:.2} s, detectors and netting {:.2} s, together {:.2} s; {} findings, {alarms} alarms, {} claims",
        after_window.as_secs_f64(),
        whole.as_secs_f64() - after_window.as_secs_f64(),
        whole.as_secs_f64(),
        detection.findings.len(),
        detection.claims.len()
    )
    .expect("stdout");

    // The same SQL files one by one, each claims file on the whole ledger.
    let claimable_file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("queries/netting/claimable.sql");
    let text = std::fs::read_to_string(claimable_file).expect("claimable.sql");
    let claimable = Query::parse("netting/claimable.sql", &text).expect("a query");
    let given = Params::default()
        .with_int("window_start_ms", window.start_ms)
        .with_int("window_end_ms", window.end_ms);
    let mut steps: Vec<(&Query, Vec<&str>)> = vec![(&claimable, vec!["claimable"])];
    for detector in queries.detectors() {
        steps.push((&detector.findings, vec!["found"]));
        if let Some(claims) = &detector.claims {
            steps.push((claims, Vec::new()));
        }
    }
    for (name, batches) in &windows {
        registered(&context, name, batches);
    }
    let extra = ["placements", "candidates", "demand", "workload_facts"];
    for name in extra {
        write(&context, name, &folder).await;
    }
    let mut ours: BTreeMap<String, (f64, usize, String)> = BTreeMap::new();
    for (query, register) in &steps {
        let begun = Instant::now();
        let batches = query::run(&context, query, &given).await.expect("a result");
        let seconds = begun.elapsed().as_secs_f64();
        for name in register {
            registered(&context, name, &batches);
        }
        let (rows, digest) = digest(&batches);
        ours.insert(query.name.clone(), (seconds, rows, digest));
    }
    if !peer {
        for (name, (seconds, rows, _)) in &ours {
            writeln!(out, "{seconds:>8.3} s  {rows:>8} rows  {name}").expect("stdout");
        }
        return;
    }
    let bound = |query: &Query| -> Value {
        let params = query.bind(&given).expect("bound").0;
        params
            .into_iter()
            .map(|(name, value)| {
                let text = value.to_string();
                (
                    name,
                    text.parse::<i64>()
                        .map_or_else(|_| json!(text), |n| json!(n)),
                )
            })
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let tables: Vec<&str> = TABLES
        .iter()
        .map(|spec| spec.name)
        .filter(|n| *n != "placements")
        .chain(extra)
        .collect();
    let asked = json!({
        "folder": folder, "tables": tables,
        "steps": steps.iter().map(|(query, register)| json!({
            "name": query.name, "sql": query.sql, "params": bound(query), "register": register,
        })).collect::<Vec<_>>(),
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/detect_peer.py");
    let mut child = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 with duckdb");
    child
        .stdin
        .take()
        .expect("stdin")
        .write_all(asked.to_string().as_bytes())
        .expect("written");
    let answer = child.wait_with_output().expect("an answer");
    let theirs: BTreeMap<String, Value> = serde_json::from_slice(&answer.stdout).expect("JSON");
    let (mut ours_all, mut theirs_all, mut unequal) = (0.0, 0.0, 0);
    for (name, (seconds, rows, digest)) in &ours {
        let other = &theirs[name];
        let their_seconds = other["seconds"].as_f64().unwrap_or(f64::NAN);
        let equal = other["digest"] == json!(digest);
        unequal += usize::from(!equal);
        ours_all += seconds;
        theirs_all += their_seconds;
        writeln!(
            out,
            "{seconds:>8.3} s  DuckDB {their_seconds:>8.3} s  {rows:>8} rows  {}  {name}",
            if equal { "equal" } else { "DIFFERS" }
        )
        .expect("stdout");
    }
    writeln!(
        out,
        "all SQL files: {ours_all:.2} s, DuckDB {theirs_all:.2} s, ratio {:.2}; {unequal} results differ",
        ours_all / theirs_all
    )
    .expect("stdout");
    assert_eq!(unequal, 0, "the engines disagree");
}
