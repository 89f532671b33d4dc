//! Owns the check that a lake is whole. Every file that the newest versions or the newest
//! publication name is read: it is there, as long as the log says, its bytes have the digest in its
//! name, and its rows the count and the bounds that the log says. Every complete window has the
//! rows that it came with, evidence is what it is named by, and no file lies in a table's folder
//! that the lake did not write.
//!
//! A fault is what must not be. A note is what may be: what killed writers left and nobody sees.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use datafusion::common::ScalarValue;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use super::error::LakeError;
use super::files::DataFile;
use super::schema::{TABLES, TableKind, TableSpec};
use super::stats::Collector;
use super::store::LakeStore;
use super::{
    LakeView, Pins, commit, compact, evidence, paths, publication, read_only_sql, session,
};
use crate::model::TimeWindow;
use crate::model::canonical::sha256_hex;

/// One thing that is wrong with the lake, or odd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where, as a URL.
    pub path: String,
    pub reason: String,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    pub tables: usize,
    pub files: usize,
    pub rows: u64,
    pub size_bytes: u64,
    /// Complete windows whose rows were counted.
    pub windows: usize,
    pub evidence_objects: usize,
    pub faults: Vec<Fault>,
    pub notes: Vec<Fault>,
}

/// Rows by source and window.
type WindowRows = BTreeMap<(String, TimeWindow), u64>;

pub(crate) async fn check(store: &LakeStore) -> Result<CheckReport, LakeError> {
    let mut report = CheckReport::default();
    let newest = publication::read(store, None).await?;
    let mut pins = Pins::default();
    let mut rows: BTreeMap<&str, WindowRows> = BTreeMap::new();
    for spec in TABLES {
        let root = paths::table_root(spec.name);
        let mut files = BTreeMap::new();
        let mut removed = BTreeSet::new();
        let mut live = BTreeSet::new();
        if let Some(delta) = commit::open(store, spec.name, None).await? {
            report.tables += 1;
            let version = commit::version_of(&delta);
            pins.tables.insert(spec.name.to_owned(), version);
            files = commit::live_files(spec, &delta)?;
            live.extend(files.keys().cloned());
            removed = commit::removed_since(spec, &delta, i64::MIN).await?;
            let published = newest.as_ref().and_then(|p| p.tables.get(spec.name));
            if let Some(published) = published.filter(|published| **published != version)
                && let Some(delta) = commit::open(store, spec.name, Some(*published)).await?
            {
                files.extend(commit::live_files(spec, &delta)?);
            }
        }
        let found = rows.entry(spec.name).or_default();
        for file in files.values() {
            report.files += 1;
            report.rows += file.rows;
            report.size_bytes += file.size_bytes;
            let key = format!("{root}/{}", file.path);
            let counted = if live.contains(&file.path) {
                count_windows(store, spec, file, found).await
            } else {
                Ok(())
            };
            let reason = match fault_of(store, spec, &key, file).await? {
                None => counted.err().map(|e| e.to_string()),
                reason => reason,
            };
            if let Some(reason) = reason {
                report.faults.push(Fault {
                    path: store.describe(&key),
                    reason,
                });
            }
        }
        for (key, _) in store.list(&root).await? {
            let path = key.get(root.len() + 1..).unwrap_or_default();
            let known = files.contains_key(path) || removed.contains(path);
            if !known && !path.starts_with("_delta_log/") {
                stray(store, &key, path, &mut report).await?;
            }
        }
    }
    windows(store, pins, &rows, &mut report).await?;
    for (key, _) in store.list(paths::EVIDENCE).await? {
        report.evidence_objects += 1;
        let digest = key.rsplit('/').next().unwrap_or_default();
        if let Err(error) = evidence::get(store, digest).await {
            report.faults.push(Fault {
                path: store.describe(&key),
                reason: error.to_string(),
            });
        }
    }
    Ok(report)
}

/// A file that no version of a table names, or has named.
async fn stray(
    store: &LakeStore,
    key: &str,
    path: &str,
    report: &mut CheckReport,
) -> Result<(), LakeError> {
    let Some(bytes) = store.get(key).await? else {
        return Ok(());
    };
    let place = store.describe(key);
    if paths::content_of(path).is_some_and(|content| sha256_hex(&bytes).starts_with(content)) {
        report.notes.push(Fault {
            path: place,
            reason: "no version names it: a writer died, or is at work; vacuum removes it in time"
                .to_owned(),
        });
    } else {
        report.faults.push(Fault {
            path: place,
            reason: "no version names it and the lake did not write it: remove it".to_owned(),
        });
    }
    Ok(())
}

async fn fault_of(
    store: &LakeStore,
    spec: &TableSpec,
    key: &str,
    file: &DataFile,
) -> Result<Option<String>, LakeError> {
    let Some(bytes) = store.get(key).await? else {
        return Ok(Some("the log names it and it does not exist".to_owned()));
    };
    if bytes.len() as u64 != file.size_bytes {
        return Ok(Some(format!(
            "it has {} bytes and the log says {}",
            bytes.len(),
            file.size_bytes
        )));
    }
    let digest = sha256_hex(&bytes);
    match paths::content_of(&file.path) {
        Some(content) if digest.starts_with(content) => {}
        _ => {
            return Ok(Some(format!(
                "its content is not what was written: it has the digest {digest}"
            )));
        }
    }
    Ok(rows_fault(spec, bytes, file).unwrap_or_else(|reason| Some(reason.to_string())))
}

/// Counts and bounds of the rows against the log's.
fn rows_fault(
    spec: &TableSpec,
    bytes: Bytes,
    file: &DataFile,
) -> Result<Option<String>, datafusion::error::DataFusionError> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)?.build()?;
    let mut stats = Collector::new(spec);
    let mut rows = 0;
    for batch in reader {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        stats.add(&batch);
    }
    if rows != file.rows {
        return Ok(Some(format!(
            "it has {rows} rows and the log says {}",
            file.rows
        )));
    }
    let found: Option<Value> = serde_json::from_str(&stats.finish(rows)).ok();
    let logged: Option<Value> = serde_json::from_str(&file.stats).ok();
    Ok((found != logged).then(|| {
        format!(
            "its rows have the statistics {} and the log says {}",
            found.unwrap_or_default(),
            file.stats
        )
    }))
}

/// Adds the file's rows to those of the windows that it holds.
async fn count_windows(
    store: &LakeStore,
    spec: &'static TableSpec,
    file: &DataFile,
    found: &mut WindowRows,
) -> Result<(), LakeError> {
    if spec.kind != TableKind::Raw {
        return Ok(());
    }
    let source = &file.partition.second;
    if file.is_compacted() {
        for (window, batches) in compact::by_window(store, spec, file).await? {
            let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
            *found.entry((source.clone(), window)).or_default() += rows as u64;
        }
    } else if let Some(window) = file.window() {
        *found.entry((source.clone(), window)).or_default() += file.rows;
    }
    Ok(())
}

/// What `ingest_windows` says of each window against the rows that the tables hold of it.
async fn windows(
    store: &LakeStore,
    pins: Pins,
    rows: &BTreeMap<&str, WindowRows>,
    report: &mut CheckReport,
) -> Result<(), LakeError> {
    let session = session::open(
        store,
        &LakeView::pinned(pins),
        super::SessionLimits::default(),
    )?;
    let sql = include_str!("../../queries/lake/window_rows.sql");
    let no_params: Vec<ScalarValue> = Vec::new();
    let frame = read_only_sql(&session, sql, no_params).await?;
    let place = store.describe(&paths::table_root("ingest_windows"));
    let batches = match frame.collect().await {
        Ok(batches) => batches,
        // The damaged file is among the faults already; a fault is not the end of a check.
        Err(error) => {
            report.faults.push(Fault {
                path: place,
                reason: format!("the list of windows cannot be read: {error}"),
            });
            return Ok(());
        }
    };
    let mut listed = BTreeSet::new();
    for batch in &batches {
        let ms = |column: usize, row: usize| {
            let times = batch
                .column(column)
                .as_primitive::<TimestampMicrosecondType>();
            times.value(row).div_euclid(1000)
        };
        for row in 0..batch.num_rows() {
            let source = batch.column(0).as_string::<i32>().value(row).to_owned();
            let window = TimeWindow::new(ms(1, row), ms(2, row));
            let text = batch.column(3).as_string::<i32>().value(row);
            let counts: BTreeMap<String, u64> = serde_json::from_str(text).unwrap_or_default();
            report.windows += 1;
            let key = (source, window);
            for (table, found) in rows {
                if *table == "ingest_windows" {
                    continue;
                }
                let wanted = counts.get(*table).copied().unwrap_or_default();
                let found = found.get(&key).copied().unwrap_or_default();
                if wanted != found {
                    report.faults.push(Fault {
                        path: store.describe(&paths::table_root(table)),
                        reason: format!(
                            "the window {} of {} has {found} rows and came with {wanted}",
                            window.key(),
                            key.0
                        ),
                    });
                }
            }
            listed.insert(key);
        }
    }
    for (table, found) in rows.iter().filter(|(table, _)| **table != "ingest_windows") {
        for ((source, window), rows) in found.iter().filter(|(key, _)| !listed.contains(key)) {
            report.notes.push(Fault {
                path: store.describe(&paths::table_root(table)),
                reason: format!(
                    "{rows} rows of {source} are of the window {}, which is not listed: an ingest died, or is at work",
                    window.key()
                ),
            });
        }
    }
    Ok(())
}
