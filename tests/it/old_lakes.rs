//! Lakes that another version of this program made: one that lacks columns is read, brought up to
//! date and written to; one that knows more, or other types, is refused and left as it was.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use idleproof::lake::schema::{TableSpec, table};
use idleproof::lake::{LakeError, VacuumOptions};
use idleproof::model::time::DAY_MS;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::lake::{assert_agree, ours, read_with_others};
use crate::lake_work::{DAY, LATER_MS, compact, halves, ingest, keeper, look, publish};
use crate::upkeep::{Site, text};

/// The tables that the work of these tests writes to.
const TABLES: [&str; 5] = [
    "gpu_samples",
    "serving_samples",
    "ingest_windows",
    "ledger",
    "findings",
];

/// The column that a table gained last, as these tests have it.
fn gained(spec: &TableSpec) -> &'static str {
    let nullable = spec.columns.iter().rev().find(|column| column.nullable);
    nullable.unwrap().name
}

/// Rewrites a table's log line by line, and says what its fields are.
pub(crate) fn rewrite(folder: &Path, change: &mut dyn FnMut(&mut Value)) {
    for entry in fs::read_dir(folder.join("_delta_log")).unwrap() {
        let path = entry.unwrap().path();
        let log = fs::read_to_string(&path).unwrap();
        let lines = log.lines().map(|line| {
            let mut action: Value = serde_json::from_str(line).unwrap();
            change(&mut action);
            format!("{action}\n")
        });
        let lines: String = lines.collect();
        fs::write(&path, lines).unwrap();
    }
}

fn change_fields(folder: &Path, change: impl Fn(&mut Vec<Value>)) {
    rewrite(folder, &mut |action| {
        if let Some(text) = action["metaData"]["schemaString"].as_str() {
            let mut schema: Value = serde_json::from_str(text).unwrap();
            change(schema["fields"].as_array_mut().unwrap());
            action["metaData"]["schemaString"] = json!(schema.to_string());
        }
    });
}

/// The file without a column, as an older program would have written it.
fn without(bytes: Vec<u8>, column: &str) -> Vec<u8> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).unwrap();
    let schema = reader.schema().clone();
    let kept: Vec<usize> = (0..schema.fields().len())
        .filter(|at| schema.field(*at).name() != column)
        .collect();
    assert_eq!(kept.len() + 1, schema.fields().len());
    let schema = std::sync::Arc::new(schema.project(&kept).unwrap());
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, None).unwrap();
    for batch in reader.build().unwrap() {
        writer
            .write(&batch.unwrap().project(&kept).unwrap())
            .unwrap();
    }
    writer.into_inner().unwrap()
}

/// Takes the column that a table gained last out of its log and its files.
fn make_older(folder: &Path, column: &str) {
    change_fields(folder, |fields| {
        fields.retain(|field| field["name"] != column);
    });
    let mut names: BTreeMap<String, (String, usize)> = BTreeMap::new();
    rewrite(folder, &mut |action| {
        for kind in ["add", "remove"] {
            let Some(path) = action[kind]["path"].as_str().map(str::to_owned) else {
                continue;
            };
            let (name, size) = names.entry(path.clone()).or_insert_with(|| {
                let old = folder.join(&path);
                let bytes = without(fs::read(&old).unwrap(), column);
                let digest = &hex::encode(Sha256::digest(&bytes))[..40];
                let content = path.rsplit(['-', '/']).next().unwrap();
                let name = format!("{}{digest}.parquet", path.strip_suffix(content).unwrap());
                fs::write(folder.join(&name), &bytes).unwrap();
                fs::remove_file(old).unwrap();
                (name, bytes.len())
            });
            action[kind]["path"] = json!(name);
            action[kind]["size"] = json!(size);
        }
    });
}

async fn older() -> Site {
    let site = Site::new().await;
    ingest(&site.lake, "s", [1, 2], DAY).await.unwrap();
    publish(&site.lake, "c", 1, DAY).await.unwrap();
    for name in TABLES {
        make_older(&site.table(name), gained(table(name).unwrap()));
    }
    site
}

fn is_refused(error: &LakeError, words: &[&str]) {
    assert!(matches!(error, LakeError::OtherVersion { .. }), "{error}");
    let said = error.to_string();
    for word in words {
        assert!(said.contains(word), "{word} is not in: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lake_of_fewer_columns_is_read_brought_up_to_date_and_written_to() {
    let site = older().await;
    let lake = &site.lake;
    // It is read as it is, what it lacks as NULL, and found whole.
    let seen = look(lake).await.unwrap();
    assert_eq!(seen.windows, halves("s", [1, 2]));
    assert_eq!(seen.published["c"], 1);
    let whole = site.idleproof(&["lake", "verify"]);
    assert_eq!(whole.status.code(), Some(0), "{}", text(&whole.stdout));

    // Nothing is written to it before it has what is written.
    let refused = ingest(lake, "s", [1, 3], DAY).await.unwrap_err();
    assert!(refused.contains("another version"), "{refused}");
    is_refused(
        &publish(lake, "c", 2, DAY).await.unwrap_err(),
        &["lacks the columns", "lake compact"],
    );
    assert_eq!(look(lake).await.unwrap(), seen);

    let added = lake.migrate("test", DAY, Duration::ZERO).await.unwrap();
    let mut wanted: Vec<String> = TABLES
        .iter()
        .map(|name| format!("{name}.{}", gained(table(name).unwrap())))
        .collect();
    wanted.sort();
    let mut sorted = added.clone();
    sorted.sort();
    assert_eq!(sorted, wanted);
    let versions = lake.head().await.unwrap().tables;
    assert!(
        lake.migrate("test", DAY, Duration::ZERO)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        lake.head().await.unwrap().tables,
        versions,
        "a commit of nothing"
    );
    // Columns are no rows: what was published is what it was, and an unchanged window is unchanged.
    assert_eq!(look(lake).await.unwrap(), seen);
    ingest(lake, "s", [1, 2], DAY).await.unwrap();
    assert_eq!(lake.head().await.unwrap().tables, versions);

    // Old files beside new ones, put together and taken apart again.
    ingest(lake, "s", [1, 3], DAY + LATER_MS).await.unwrap();
    assert_eq!(compact(lake, DAY + LATER_MS).await.unwrap(), 1);
    assert_eq!(look(lake).await.unwrap().windows, halves("s", [1, 3]));
    ingest(lake, "s", [4, 3], DAY + 2 * LATER_MS).await.unwrap();
    publish(lake, "c", 2, DAY + DAY_MS).await.unwrap();
    let seen = look(lake).await.unwrap();
    assert_eq!(seen.windows, halves("s", [4, 3]));
    assert_eq!(seen.published["c"], 2);
    let options = VacuumOptions {
        older_than_ms: DAY_MS,
        ..VacuumOptions::default()
    };
    keeper(lake, DAY + 900 * DAY_MS)
        .vacuum(&options)
        .await
        .unwrap();
    let report = lake.check().await.unwrap();
    assert!(report.faults.is_empty(), "{:?}", report.faults);
    let first = lake.publication(Some(1)).await.unwrap().unwrap();
    let old = crate::lake_work::published(lake, &first).await.unwrap();
    assert_eq!(old["c"], 1, "what was pinned before is still there");
    let Some(theirs) = read_with_others(&site.folder.path().join("lake"), &TABLES) else {
        return;
    };
    for name in ["gpu_samples", "ingest_windows", "ledger"] {
        assert_agree(&theirs, name, &ours(lake, table(name).unwrap()).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_write_bring_an_older_lake_up_to_date_and_say_so() {
    let site = older().await;
    let first = site.idleproof(&["lake", "compact", "--before", "2026-11-02"]);
    let said = text(&first.stderr);
    assert_eq!(first.status.code(), Some(0), "{said}");
    assert!(said.contains("columns were added"), "{said}");
    assert!(said.contains("ingest_windows.replicas_json"), "{said}");
    let again = site.idleproof(&["lake", "compact", "--before", "2026-11-02"]);
    assert!(
        !text(&again.stderr).contains("added"),
        "{}",
        text(&again.stderr)
    );
    let whole = site.idleproof(&["lake", "verify"]);
    assert_eq!(whole.status.code(), Some(0), "{}", text(&whole.stdout));
    assert_eq!(look(&site.lake).await.unwrap().windows, halves("s", [1, 2]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lake_of_unknown_columns_or_types_is_not_written_to() {
    let site = Site::new().await;
    let lake = &site.lake;
    ingest(lake, "s", [1, 2], DAY).await.unwrap();
    publish(lake, "c", 1, DAY).await.unwrap();
    let seen = look(lake).await.unwrap();
    let folder = site.table("gpu_samples");
    let first = folder.join("_delta_log/00000000000000000000.json");
    let log = fs::read(&first).unwrap();

    // A newer program's column would be lost in the next compaction.
    change_fields(&folder, |fields| {
        let field =
            json!({"name": "of_tomorrow", "type": "string", "nullable": true, "metadata": {}});
        fields.push(field);
    });
    assert_eq!(look(lake).await.unwrap(), seen, "it can be read");
    let words = ["of_tomorrow", "does not know", "newer"];
    let error = lake.migrate("test", DAY, Duration::ZERO).await.unwrap_err();
    is_refused(&error, &words);
    is_refused(&compact(lake, DAY).await.unwrap_err(), &words);
    let refused = site.idleproof(&["lake", "compact", "--before", "2026-11-02"]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("of_tomorrow"));

    // Another type, and a column that may not be missing: neither read nor written.
    let as_text = |fields: &mut Vec<Value>| {
        let at = fields
            .iter_mut()
            .find(|field| field["name"] == "util_percent");
        at.unwrap()["type"] = json!("string");
    };
    let no_node = |fields: &mut Vec<Value>| fields.retain(|field| field["name"] != "node");
    type Change<'a> = &'a dyn Fn(&mut Vec<Value>);
    for (change, word) in [
        (&as_text as Change<'_>, "util_percent"),
        (&no_node as Change<'_>, "node"),
    ] {
        fs::write(&first, &log).unwrap();
        change_fields(&folder, change);
        let words = [word, "[lake] url"];
        let error = lake.migrate("test", DAY, Duration::ZERO).await.unwrap_err();
        is_refused(&error, &words);
        is_refused(&compact(lake, DAY).await.unwrap_err(), &words);
        let error = look(lake).await.unwrap_err();
        assert!(
            error.contains(word) && error.contains("[lake] url"),
            "{error}"
        );
    }
    fs::write(&first, &log).unwrap();
    assert_eq!(look(lake).await.unwrap(), seen);
}
