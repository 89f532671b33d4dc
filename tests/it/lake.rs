//! The lake as other engines see it: `DuckDB` and Python's deltalake read the rows that we read.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests are tests too, and a skipped peer is to be seen"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, ListArray, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::Float64Type;
use datafusion::common::ScalarValue;
use idleproof::lake::schema::{ColumnType, TABLES, TableKind, TableSpec};
use idleproof::lake::{
    CommitInfo, FLEET_LEASE, Lake, LakeView, PartitionKey, PublicationDetails, read_only_sql,
    source_lease,
};
use idleproof::model::TimeWindow;
use idleproof::model::time::DAY_MS;
use serde_json::Value;

/// 2026-11-01T00:00:00Z.
const DAY: i64 = 1_793_491_200_000;
/// What a script exits with when a reader is not installed.
const NOT_INSTALLED: i32 = 77;

pub(crate) fn rows(spec: &TableSpec, count: i64, seed: i64) -> RecordBatch {
    let columns = spec.columns.iter().map(|column| -> ArrayRef {
        let n = (0..count).map(|row| seed * 1000 + row);
        // Every third value of a column that may have NULLs is one.
        let gap = |v: i64| !column.nullable || v % 3 != 0;
        match column.column_type {
            ColumnType::Text => Arc::new(
                n.map(|v| gap(v).then(|| format!("{}/é-{v}", column.name)))
                    .collect::<StringArray>(),
            ),
            ColumnType::Int | ColumnType::Date => {
                Arc::new(n.map(|v| gap(v).then_some(v)).collect::<Int64Array>())
            }
            ColumnType::Float => Arc::new(
                n.map(|v| gap(v).then_some(v as f64 / 128.0))
                    .collect::<Float64Array>(),
            ),
            ColumnType::Bool => Arc::new(
                n.map(|v| gap(v).then_some(v % 2 == 0))
                    .collect::<BooleanArray>(),
            ),
            ColumnType::Timestamp => Arc::new(
                TimestampMicrosecondArray::from_iter_values(n.map(|v| DAY * 1000 + v * 1_000_001))
                    .with_timezone("UTC"),
            ),
            ColumnType::Usd => Arc::new(
                n.map(|v| gap(v).then_some(i128::from(v) * 12_345))
                    .collect::<Decimal128Array>()
                    .with_precision_and_scale(38, 6)
                    .unwrap(),
            ),
            ColumnType::FloatList => {
                let lists = n.map(|v| gap(v).then(|| vec![Some(v as f64), Some(0.5)]));
                let list = ListArray::from_iter_primitive::<Float64Type, _, _>(lists);
                cast(&list, &column.column_type.arrow()).unwrap()
            }
        }
    });
    RecordBatch::try_new(spec.file_schema(), columns.collect()).unwrap()
}

/// Fills every table twice over, so that the log holds removed files too.
async fn fill(lake: &Lake) {
    let now = || CommitInfo {
        now_ms: DAY,
        code_version: "test".to_owned(),
        details: BTreeMap::new(),
    };
    let source = lake
        .acquire_lease(&source_lease("prom a/b"), "test", DAY, Duration::ZERO)
        .await
        .unwrap();
    let fleet = lake
        .acquire_lease(FLEET_LEASE, "test", DAY, Duration::ZERO)
        .await
        .unwrap();
    for seed in [1, 2] {
        let mut staged = Vec::new();
        for spec in TABLES {
            let key = match spec.kind {
                TableKind::Raw => {
                    for day in 0..2 {
                        let window = TimeWindow::day_of(DAY + day * DAY_MS);
                        let batches = vec![rows(spec, 20, seed + day)];
                        lake.replace_window(&source, spec.name, "prom a/b", window, batches, now())
                            .await
                            .unwrap();
                    }
                    continue;
                }
                TableKind::Derived => PartitionKey::new("2026-11-01", "prod a"),
                TableKind::Run => PartitionKey::new("r1", "prod a"),
            };
            let batches = vec![rows(spec, 30, seed)];
            staged.push(lake.stage(spec.name, &key, batches).await.unwrap());
        }
        let base = lake.publication(None).await.unwrap();
        let details = PublicationDetails {
            runs: BTreeMap::from([("prod a".to_owned(), "r1".to_owned())]),
            digests: BTreeMap::new(),
            window: TimeWindow::day_of(DAY),
            code_version: "test".to_owned(),
            now_ms: DAY,
        };
        let raw = lake.head().await.unwrap();
        lake.publish(&fleet, base.as_ref(), &raw, staged, details)
            .await
            .unwrap();
    }
}

/// Our own rows, spelt as the script spells them.
pub(crate) async fn ours(lake: &Lake, spec: &TableSpec) -> Vec<String> {
    let publication = lake.publication(None).await.unwrap().unwrap();
    let session = lake
        .read_session(&LakeView::published(&publication))
        .await
        .unwrap();
    let no_params: Vec<ScalarValue> = Vec::new();
    let sql = format!("SELECT * FROM {}", spec.name);
    let batches = read_only_sql(&session, &sql, no_params)
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    let mut lines = Vec::new();
    for batch in &batches {
        for row in 0..batch.num_rows() {
            let mut line = BTreeMap::new();
            for (index, field) in batch.schema().fields().iter().enumerate() {
                let value = ScalarValue::try_from_array(batch.column(index), row).unwrap();
                line.insert(field.name().clone(), spell(&value));
            }
            lines.push(line.into_iter().collect::<Value>());
        }
    }
    let mut lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    lines.sort();
    lines
}

fn spell(value: &ScalarValue) -> Value {
    match value {
        value if value.is_null() => Value::Null,
        ScalarValue::Boolean(Some(flag)) => Value::from(*flag),
        ScalarValue::TimestampMicrosecond(Some(us), _) => Value::from(*us),
        ScalarValue::Float64(Some(float)) => Value::from(format!("{float:?}")),
        ScalarValue::List(list) => {
            let items = list.value(0);
            (0..items.len())
                .map(|i| spell(&ScalarValue::try_from_array(&items, i).unwrap()))
                .collect()
        }
        other => Value::from(other.to_string()),
    }
}

pub(crate) fn read_with_others(folder: &Path, tables: &[&str]) -> Option<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lake_readers.py");
    let python = std::env::var("IDLEPROOF_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let tables = tables.iter().map(|name| folder.join("tables").join(name));
    let output = Command::new(python).arg(script).args(tables).output();
    let skip = |reason: String| {
        assert!(std::env::var_os("CI").is_none(), "{reason}");
        println!("skipped: {reason}");
        None
    };
    let output = match output {
        Ok(output) => output,
        Err(e) => return skip(format!("python3 does not start: {e}")),
    };
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(NOT_INSTALLED) {
        return skip(errors);
    }
    assert!(output.status.success(), "{errors}");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn duckdb_and_python_deltalake_read_what_we_read() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::open(folder.path().to_str().unwrap()).await.unwrap();
    fill(&lake).await;
    let names: Vec<&str> = TABLES.iter().map(|spec| spec.name).collect();
    let Some(theirs) = read_with_others(folder.path(), &names) else {
        return;
    };
    for spec in TABLES {
        let ours = ours(&lake, spec).await;
        let expected = if spec.kind == TableKind::Raw { 40 } else { 30 };
        assert_eq!(ours.len(), expected, "{}", spec.name);
        assert_agree(&theirs, spec.name, &ours);
    }
}

/// Both other readers see the rows that we see.
pub(crate) fn assert_agree(theirs: &Value, table: &str, ours: &[String]) {
    for reader in ["duckdb", "deltalake"] {
        let seen = &theirs[reader][table]["sample"];
        let mut seen: Vec<String> = seen
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line.as_str().unwrap())
            .map(|line| serde_json::from_str::<Value>(line).unwrap().to_string())
            .collect();
        seen.sort();
        assert_eq!(seen, ours, "{reader} reads {table} otherwise");
    }
}

/// Prints the bits of a column as two engines read it, in the order of the rows' keys.
const DECIMAL_READERS: &str = r#"
import json, struct, sys
from pathlib import Path
try:
    import deltalake, duckdb, duckdb_extension_delta, pyarrow as pa
except ImportError as missing:
    print(missing, file=sys.stderr); sys.exit(77)
folder = sys.argv[1]
extension = next(Path(duckdb_extension_delta.__file__).parent.rglob("delta.duckdb_extension"))
connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
connection.load_extension(str(extension))
sql = "SELECT gr_engine_active AS x FROM {} ORDER BY node"
rows = {
    "duckdb": connection.execute(sql.format("delta_scan(?)"), [folder]).to_arrow_table(),
    "deltalake": pa.table(
        deltalake.QueryBuilder().register("t", deltalake.DeltaTable(folder)).execute(sql.format("t")).read_all()
    ),
}
bits = lambda x: None if x is None else struct.unpack("<q", struct.pack("<d", x))[0]
print(json.dumps({name: [bits(x) for x in t.column("x").to_pylist()] for name, t in rows.items()}))
"#;

#[tokio::test(flavor = "multi_thread")]
async fn decimals_are_the_same_floats_for_every_engine_and_after_compaction() {
    const ROWS: usize = 20_000;
    let folder = tempfile::tempdir().unwrap();
    let spec = idleproof::lake::schema::table("gpu_samples").unwrap();
    let at = spec
        .columns
        .iter()
        .position(|c| c.name == "gr_engine_active")
        .unwrap();
    let node = spec.columns.iter().position(|c| c.name == "node").unwrap();
    // Six decimals that hardly repeat, spelled as an exporter prints them, with gaps.
    let value = |row: usize| {
        let text = format!("0.{:06}", (row * 7_919) % 1_000_000);
        (!row.is_multiple_of(97)).then(|| text.parse::<f64>().unwrap())
    };
    let half = |from: usize| {
        let batch = rows(spec, ROWS as i64 / 2, from as i64);
        let mut columns = batch.columns().to_vec();
        let places = from..from + ROWS / 2;
        columns[at] = Arc::new(places.clone().map(value).collect::<Float64Array>());
        columns[node] = Arc::new(
            places
                .map(|row| Some(format!("{row:06}")))
                .collect::<StringArray>(),
        );
        RecordBatch::try_new(spec.file_schema(), columns).unwrap()
    };
    let mut sizes = Vec::new();
    for floats in ["decimal", "double"] {
        let place = folder.path().join(floats);
        let lake = Lake::open_with(
            place.to_str().unwrap(),
            &[("floats", floats)].into_iter().collect(),
        )
        .await
        .unwrap();
        let lease = lake
            .acquire_lease(&source_lease("s"), "test", DAY, Duration::ZERO)
            .await
            .unwrap();
        let info = CommitInfo {
            now_ms: DAY,
            code_version: "test".to_owned(),
            details: BTreeMap::new(),
        };
        let batches = vec![half(0), half(ROWS / 2)];
        lake.replace_window(
            &lease,
            spec.name,
            "s",
            TimeWindow::day_of(DAY),
            batches,
            info,
        )
        .await
        .unwrap();
        let head = lake.head_of(spec.name).await.unwrap();
        let file = &lake.files(spec.name, head.tables[spec.name]).await.unwrap()[0];
        sizes.push(file.size_bytes);
        let session = lake.read_session(&LakeView::pinned(head)).await.unwrap();
        let ask = async |sql: &str| {
            let none: Vec<ScalarValue> = Vec::new();
            let frame = read_only_sql(&session, sql, none).await.unwrap();
            frame.collect().await.unwrap()
        };
        let bits = |batches: Vec<RecordBatch>| -> Vec<Option<i64>> {
            let column = |b: &RecordBatch| {
                let floats =
                    datafusion::arrow::array::AsArray::as_primitive::<Float64Type>(b.column(0))
                        .clone();
                floats
                    .iter()
                    .map(|x| x.map(|x| x.to_bits() as i64))
                    .collect::<Vec<_>>()
            };
            batches.iter().flat_map(column).collect()
        };
        let wanted: Vec<Option<i64>> = (0..ROWS)
            .map(|row| value(row).map(|x| x.to_bits() as i64))
            .collect();
        let all = "SELECT gr_engine_active FROM gpu_samples ORDER BY node";
        assert!(bits(ask(all).await) == wanted, "{floats}");
        // Conditions are on floats, whatever the file holds.
        for (condition, holds) in [
            ("gr_engine_active = 0.007919", 1),
            ("gr_engine_active > 0.9999995", 0),
            ("gr_engine_active IS NULL", ROWS.div_ceil(97)),
        ] {
            let sql = format!("SELECT gr_engine_active FROM gpu_samples WHERE {condition}");
            assert_eq!(bits(ask(&sql).await).len(), holds, "{floats}: {condition}");
        }
        assert!(
            lake.check()
                .await
                .unwrap()
                .faults
                .iter()
                .all(|f| f.reason.contains("window"))
        );
        let python = std::env::var("IDLEPROOF_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let output = Command::new(python)
            .args(["-c", DECIMAL_READERS])
            .arg(place.join("tables/gpu_samples"))
            .output();
        let Ok(output) = output else { continue };
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.code() == Some(NOT_INSTALLED) {
            assert!(std::env::var_os("CI").is_none(), "{errors}");
            println!("skipped: {errors}");
            continue;
        }
        assert!(output.status.success(), "{errors}");
        let theirs: BTreeMap<String, Vec<Option<i64>>> =
            serde_json::from_slice(&output.stdout).unwrap();
        for (engine, seen) in theirs {
            assert!(seen == wanted, "{engine} reads {floats} otherwise");
        }
    }
    assert!(sizes[0] + 20_000 < sizes[1], "{sizes:?}");
}
