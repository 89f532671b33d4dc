//! All detectors and the report at 1,000 GPUs and four weeks of rollups, on a lake of its own: window
//! queries, the chain with its netting, then `idleproof report` in a process of its own. With `peer`
//! the same SQL files on DuckDB over the same lake, rows compared by digest. Fixed sizes, no
//! randomness. The budget is 10 s on two cores in the release profile.
//!
//!     cargo bench -- detect              # generate once, measure
//!     cargo bench -- detect peer         # and DuckDB beside it (python3 with duckdb and its delta extension)
//!     cargo bench -- detect plan FILE... # files as they lie in `queries/` now: rows, digest, times and plan

#![expect(clippy::expect_used, reason = "a bench without its input is no bench")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::array::{Array as _, RecordBatch};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use idleproof::detect::economics::prices::{NodeFacts, PriceBook, PriceRow};
use idleproof::detect::economics::rows::{placements_batch, prices_batch};
use idleproof::detect::query::{Params, Query};
use idleproof::detect::{
    DetectInputs, Detection, QuerySet, collect, detect, run_rows, window_queries,
};
use idleproof::lake::schema::TABLES;
use idleproof::lake::{Lake, LakeView, PartitionKey, Publication, read_only_sql, register_views};
use idleproof::model::canonical::sha256_hex;
use idleproof::model::time::{DAY_MS, date_of};
use serde_json::{Value, json};

use crate::detect_fleet::{
    CLUSTER, DAYS, KEY, OTHER, RUN, details, lake, lease, now_ms, placements, window,
};

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

/// Wall and CPU seconds since it was begun; of children those that were waited for.
struct Clock(Instant, f64);

impl Clock {
    fn begin() -> Self {
        Self(Instant::now(), cpu_seconds())
    }

    fn said(&self) -> String {
        let (wall, cpu) = (self.0.elapsed().as_secs_f64(), cpu_seconds() - self.1);
        format!("{wall:>6.2} s ({cpu:>6.2} s CPU)")
    }
}

/// Of this process and its children, from the kernel's hundredths of seconds.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: i64 = after_name
        .split_whitespace()
        .skip(11)
        .take(4)
        .filter_map(|n| n.parse::<i64>().ok())
        .sum();
    ticks as f64 / 100.0
}

fn registered(context: &SessionContext, name: &str, batches: &[RecordBatch]) {
    let table = MemTable::try_new(batches[0].schema(), vec![batches.to_vec()]).expect("a table");
    context.deregister_table(name).expect("free");
    context
        .register_table(name, Arc::new(table))
        .expect("registered");
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

pub(crate) fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_stack_size(16 << 20)
        .enable_all()
        .build()
        .expect("a runtime");
    let peer = std::env::args().any(|arg| arg == "peer");
    let plan: Vec<String> = std::env::args()
        .skip_while(|arg| arg != "plan")
        .skip(1)
        .collect();
    runtime.block_on(async {
        let measured = tokio::spawn(measure(peer, plan));
        measured.await.expect("a measurement");
    });
}

fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("stdout");
}

async fn measure(peer: bool, plan: Vec<String>) {
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    let folder = PathBuf::from(target).join("tmp/bench-detect");
    std::fs::create_dir_all(&folder).expect("a folder");
    let folder = folder.canonicalize().expect("a path");
    let lake = lake(&folder.join("lake")).await;
    let base = lake.publication(None).await.expect("a look").expect("one");
    let queries = QuerySet::embedded().expect("queries");
    let book = PriceBook::new(Vec::new(), window().end_ms);
    let prices: Vec<PriceRow> = [KEY, OTHER]
        .iter()
        .map(|key| book.price(&NodeFacts::from_key(key).expect("a key"), None))
        .collect::<Result<_, _>>()
        .expect("prices");
    let inputs = DetectInputs {
        window: window(),
        run_id: RUN.to_owned(),
        params: BTreeMap::new(),
        prices,
        placements: placements(),
        first_seen: BTreeMap::new(),
        accepted: Vec::new(),
        bands: BTreeMap::new(),
    };
    say(&format!("1,000 GPUs x {DAYS} days"));
    let whole = Clock::begin();
    let raw = lake.head().await.expect("versions");
    let session = lake
        .read_session(&LakeView::for_run(&raw, Some(&base)))
        .await
        .expect("a session");
    window_queries(&session, &queries, window())
        .await
        .expect("window queries");
    say(&format!("{}  window queries", whole.said()));
    if !plan.is_empty() {
        explain(&session, &queries, &plan).await;
        return;
    }
    let clock = Clock::begin();
    let detection = detect(&session, &queries, &inputs).await.expect("findings");
    say(&format!("{}  detectors and netting", clock.said()));
    let detected = whole.0.elapsed().as_secs_f64();
    let alarms = detection.findings.iter().filter(|f| f.status == "alarm");
    say(&format!(
        "{:>24}  {} findings, {} alarms, {} claims",
        "",
        detection.findings.len(),
        alarms.count(),
        detection.claims.len()
    ));
    let clock = Clock::begin();
    let evidence = collect(&session, &queries, &inputs, &detection).await;
    let bytes: usize = evidence
        .expect("evidence")
        .blobs
        .values()
        .map(Vec::len)
        .sum();
    say(&format!(
        "{}  evidence, {bytes} bytes (not in the budget)",
        clock.said()
    ));
    let clock = Clock::begin();
    let publication = publish(&lake, &base, &inputs, &detection).await;
    say(&format!(
        "{}  publication (not in the budget)",
        clock.said()
    ));
    let clock = Clock::begin();
    report(&folder);
    let reported = clock.0.elapsed().as_secs_f64();
    say(&format!(
        "{}  `idleproof report`, a process of its own",
        clock.said()
    ));
    say(&format!(
        "{:>6.2} s  detectors and report (budget 10 s)",
        detected + reported
    ));
    one_by_one(&lake, &publication, &session, &queries, &folder, peer).await;
}

/// What SQL files do as they lie in the source's folder now: rows, digest, times, and the plan with the times
/// of its parts. A file that others read as a table is read by those that follow it.
async fn explain(session: &SessionContext, queries: &QuerySet, wanted: &[String]) {
    for step in steps(queries) {
        let made = step.name.starts_with("netting/");
        if !made && !wanted.contains(&step.name) {
            continue;
        }
        // Its front matter is a comment; parameters keep the values of the compiled file.
        let sql = file(&step.name);
        let params = step.params.iter();
        let params: Vec<(&str, ScalarValue)> = params
            .map(|(name, value)| (name.as_str(), value.clone()))
            .collect();
        let clock = Clock::begin();
        let frame = read_only_sql(session, &sql, params).await;
        let frame = frame.expect("a plan");
        if made {
            let rows = frame.collect().await.expect("rows");
            registered(session, "claimable", &rows);
            continue;
        }
        let _ = frame.clone().create_physical_plan().await.expect("a plan");
        let planned = clock.said();
        let clock = Clock::begin();
        let rows = frame.clone().collect().await.expect("rows");
        let ran = clock.said();
        let (count, digest) = digest(&rows);
        say(&format!(
            "{} {count} rows {} planned {planned} planned and run {ran}",
            step.name,
            &digest[..12]
        ));
        let told = frame.explain(false, true).expect("a plan");
        let told = told.collect().await.expect("a plan's rows");
        let options = FormatOptions::default();
        for batch in told {
            let text = ArrayFormatter::try_new(batch.column(1), &options).expect("text");
            for row in 0..batch.num_rows() {
                say(&text.value(row).to_string());
            }
        }
        if let Some(name) = step.register.filter(|_| !rows.is_empty()) {
            registered(session, name, &rows);
        }
    }
}

/// Stages the run's rows and publishes them, as a run does.
async fn publish(
    lake: &Lake,
    base: &Publication,
    inputs: &DetectInputs,
    detection: &Detection,
) -> Publication {
    let lines: Vec<String> = detection
        .findings
        .iter()
        .map(|finding| finding.canonical().map(|line| line + "\n"))
        .collect::<Result<_, _>>()
        .expect("findings");
    let kept = lake.put_evidence(lines.concat().as_bytes()).await;
    let digests = BTreeMap::from([("findings".to_owned(), kept.expect("kept findings"))]);
    let clusters = [CLUSTER.to_owned()];
    let rows = run_rows(&clusters, &detection.findings, &detection.claims).expect("rows");
    let rows = &rows[CLUSTER];
    let placed = placements_batch(&inputs.placements).expect("rows");
    let priced = prices_batch(&inputs.prices).expect("rows");
    let partition = PartitionKey::new(RUN, CLUSTER);
    let mut staged = Vec::new();
    for (table, batch) in [
        ("placements", &placed),
        ("prices", &priced),
        ("findings", &rows.findings),
        ("recommendations", &rows.recommendations),
        ("claims_netted", &rows.claims_netted),
    ] {
        let files = lake.stage(table, &partition, vec![batch.clone()]).await;
        staged.push(files.expect("written files"));
    }
    let lease = lease(lake).await;
    let raw = lake.head().await.expect("versions");
    let publication = lake
        .publish(&lease, Some(base), &raw, staged, details(digests))
        .await
        .expect("a publication");
    lease.release(now_ms()).await.expect("given back");
    publication
}

fn report(folder: &Path) {
    let config = folder.join("idleproof.toml");
    let text = format!("[lake]\nurl = \"./lake\"\n\n[[cluster]]\nname = \"{CLUSTER}\"\n");
    std::fs::write(&config, text).expect("a configuration");
    let output = Command::new(env!("CARGO_BIN_EXE_idleproof"))
        .arg("report")
        .arg("--config")
        .arg(&config)
        .arg("--out")
        .arg(folder.join("report"))
        .output()
        .expect("the binary");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// One SQL file as both engines run it.
struct Step {
    name: String,
    sql: String,
    params: BTreeMap<String, ScalarValue>,
    /// The table that later files read it as.
    register: Option<&'static str>,
    /// Whether it is asked of the publication, and not while the run still detects.
    published: bool,
}

impl Step {
    fn of(query: &Query, given: &Params, register: Option<&'static str>) -> Self {
        Self {
            name: query.path.clone(),
            sql: query.sql.clone(),
            params: query.bind(given).expect("bound").0,
            register,
            published: false,
        }
    }
}

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("queries")
        .join(path);
    std::fs::read_to_string(path).expect("a query's file")
}

/// Window queries, every detector with its claims on the whole ledger, and the report's ledger.
fn steps(queries: &QuerySet) -> Vec<Step> {
    let given = Params::default()
        .with_int("window_start_ms", window().start_ms)
        .with_int("window_end_ms", window().end_ms);
    let claimable = Query::parse("netting/claimable.sql", &file("netting/claimable.sql"));
    let claimable = claimable.expect("a query");
    let mut steps: Vec<Step> = queries
        .window()
        .iter()
        .map(|query| Step::of(query, &given, None))
        .collect();
    steps.push(Step::of(&claimable, &given, Some("claimable")));
    for detector in queries.detectors() {
        steps.push(Step::of(&detector.findings, &given, Some("found")));
        if let Some(claims) = &detector.claims {
            steps.push(Step::of(claims, &given, None));
        }
    }
    let day = |ms: i64| ScalarValue::from(date_of(ms));
    steps.push(Step {
        name: "report/report_days.sql".to_owned(),
        // Its rows are added up and not listed: the report orders them by what it shows.
        sql: format!(
            "SELECT * FROM ({}) AS d ORDER BY date, namespace, workload_kind, workload_name, gpu_product, class, final, unpriced, model, team",
            file("report/report_days.sql")
        ),
        params: BTreeMap::from([
            ("weeks_date".to_owned(), day(window().start_ms - 63 * DAY_MS)),
            ("shown_date".to_owned(), day(window().end_ms + DAY_MS)),
        ]),
        register: None,
        published: true,
    });
    steps
}

/// Every file alone, each claims file on the whole ledger; with `peer`, on DuckDB too.
async fn one_by_one(
    lake: &Lake,
    publication: &Publication,
    detected: &SessionContext,
    queries: &QuerySet,
    folder: &Path,
    peer: bool,
) {
    let published = lake.read_session(&LakeView::published(publication)).await;
    let published = published.expect("a session");
    let view = file("views/v_ledger.sql");
    register_views(&published, &[("v_ledger", view.as_str())])
        .await
        .expect("a view");
    let steps = steps(queries);
    // What the runner made and no table of the lake holds.
    let mut made = vec!["placements", "candidates"];
    made.extend(queries.window().iter().map(|query| query.name.as_str()));
    for name in &made {
        write(detected, name, folder).await;
    }
    let mut ours: Vec<(f64, usize, String)> = Vec::new();
    for step in &steps {
        let context = if step.published { &published } else { detected };
        let begun = Instant::now();
        let params = step.params.iter();
        let params: Vec<(&str, ScalarValue)> = params
            .map(|(name, value)| (name.as_str(), value.clone()))
            .collect();
        let rows = read_only_sql(context, &step.sql, params)
            .await
            .expect("a plan");
        let schema = Arc::clone(rows.schema().inner());
        let mut batches = rows.collect().await.expect("a result");
        let seconds = begun.elapsed().as_secs_f64();
        if batches.is_empty() {
            batches.push(RecordBatch::new_empty(schema));
        }
        if let Some(name) = step.register {
            registered(context, name, &batches);
        }
        let (rows, digest) = digest(&batches);
        ours.push((seconds, rows, digest));
    }
    if !peer {
        for (step, (seconds, rows, _)) in steps.iter().zip(&ours) {
            say(&format!("{seconds:>8.3} s  {rows:>8} rows  {}", step.name));
        }
        return;
    }
    // The report's view is not asked of the peer: it is written for one engine.
    let (steps, ours): (Vec<Step>, Vec<_>) = steps
        .into_iter()
        .zip(ours)
        .filter(|(step, _)| !step.published)
        .unzip();
    let theirs = ask_duckdb(folder, &made, &steps);
    let (mut ours_all, mut theirs_all, mut unequal) = (0.0, 0.0, 0);
    for (step, (seconds, rows, digest)) in steps.iter().zip(&ours) {
        let other = &theirs[&step.name];
        let their_seconds = other["seconds"].as_f64().unwrap_or(f64::NAN);
        let equal = other["digest"] == json!(digest);
        unequal += usize::from(!equal);
        ours_all += seconds;
        theirs_all += their_seconds;
        say(&format!(
            "{seconds:>8.3} s  DuckDB {their_seconds:>8.3} s  {rows:>8} rows  {}  {}",
            if equal { "equal" } else { "DIFFERS" },
            step.name
        ));
    }
    say(&format!(
        "window queries and detectors: {ours_all:.2} s, DuckDB {theirs_all:.2} s, ratio {:.2}; {unequal} results differ",
        ours_all / theirs_all
    ));
    assert_eq!(unequal, 0, "the engines disagree");
}

fn sql_type(kind: &DataType) -> &'static str {
    match kind {
        DataType::Utf8 => "VARCHAR",
        DataType::Int64 => "BIGINT",
        DataType::Float64 => "DOUBLE",
        DataType::Boolean => "BOOLEAN",
        DataType::Timestamp(..) => "TIMESTAMPTZ",
        DataType::Date32 => "DATE",
        DataType::Decimal128(38, 6) => "DECIMAL(38, 6)",
        DataType::List(_) => "DOUBLE[]",
        other => panic!("no table has {other}"),
    }
}

fn ask_duckdb(folder: &Path, made: &[&str], steps: &[Step]) -> BTreeMap<String, Value> {
    let tables = folder.join("lake/tables");
    let delta: Vec<&str> = TABLES
        .iter()
        .map(|spec| spec.name)
        .filter(|name| !made.contains(name) && tables.join(name).exists())
        .collect();
    // A table that nobody wrote reads as empty.
    let empty: BTreeMap<&str, Vec<(String, &str)>> = TABLES
        .iter()
        .filter(|spec| !made.contains(&spec.name) && !delta.contains(&spec.name))
        .map(|spec| {
            let columns = spec.table_schema();
            let columns = columns.fields().iter();
            let columns = columns.map(|field| (field.name().clone(), sql_type(field.data_type())));
            (spec.name, columns.collect())
        })
        .collect();
    let bound = |step: &Step| -> Value {
        let params = step.params.iter().map(|(name, value)| {
            let value = match value {
                ScalarValue::Int64(Some(n)) => json!(n),
                ScalarValue::Float64(Some(x)) => json!(x),
                ScalarValue::Utf8(Some(text)) => json!(text),
                other => panic!("{name} is {other}"),
            };
            (name.clone(), value)
        });
        Value::Object(params.collect())
    };
    let asked = json!({
        "folder": folder, "lake": tables, "delta": delta, "made": made, "empty": empty,
        "views": {"v_ledger": file("views/v_ledger.sql")},
        "steps": steps.iter().map(|step| json!({
            "name": step.name, "sql": step.sql, "params": bound(step), "register": step.register,
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
    serde_json::from_slice(&answer.stdout).expect("JSON")
}
