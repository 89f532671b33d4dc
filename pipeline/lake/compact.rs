//! Owns compaction: the files of one source's day in a raw table rewritten into few, sorted by the
//! table's key over all of them; and taking such files apart again.
//!
//! Only complete windows are put together. Each row of a compacted file says which window it came
//! with, in two columns that the table does not have and readers do not ask for, so that a window
//! can still be replaced: whoever replaces one that lies in a compacted file first takes the day
//! apart, which changes no row. `ingest_windows` is compacted first and taken apart last: where it
//! holds no compacted file, no other table does. Called by [`super::upkeep`] and, for taking
//! apart, by `Lake::replace_window`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{AsArray, Int64Array, RecordBatch};
use datafusion::arrow::compute::kernels::cmp::eq;
use datafusion::arrow::compute::{and, filter_record_batch};
use datafusion::arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use datafusion::logical_expr::{ident, lit};
use datafusion::prelude::{DataFrame, SessionContext};
use futures::TryStreamExt;

use super::commit::{self, Change};
use super::error::LakeError;
use super::files::{DataFile, PartitionKey, Staged};
use super::lease::Lease;
use super::provider::LakeTable;
use super::schema::{Column, ColumnType, TABLES, TableKind, TableSpec};
use super::store::LakeStore;
use super::{CommitInfo, SessionLimits, paths, session, writer};
use crate::model::TimeWindow;

/// Where a row of a compacted file came from, in milliseconds.
const WINDOW_COLUMNS: [&str; 2] = ["_window_start_ms", "_window_end_ms"];
/// Rows that are sorted in memory, together, when they are encoded; more go through a sort that
/// spills to disk first.
const ROWS_IN_MEMORY: u64 = 1_000_000;
/// Rows gathered for one file: encoding takes about three times as much.
const BYTES_PER_FILE: usize = 160 << 20;
const SORT_MEMORY_BYTES: usize = 256 << 20;

/// Raw tables as compacted files have them.
static COMPACTED: LazyLock<BTreeMap<&'static str, &'static TableSpec>> = LazyLock::new(|| {
    let own = WINDOW_COLUMNS.map(|name| Column {
        name,
        column_type: ColumnType::Int,
        nullable: false,
    });
    raw_tables()
        .map(|spec| {
            let columns: Vec<Column> = spec.columns.iter().copied().chain(own).collect();
            let wide = TableSpec {
                name: spec.name,
                kind: spec.kind,
                columns: Vec::leak(columns),
                sort: spec.sort,
            };
            (spec.name, &*Box::leak(Box::new(wide)))
        })
        .collect()
});

/// What compacting a source's day did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compacted {
    pub files_before: usize,
    pub files_after: usize,
    pub bytes_before: u64,
    pub bytes_after: u64,
    pub rows: u64,
}

impl Compacted {
    pub(crate) fn add(&mut self, other: Self) {
        self.files_before += other.files_before;
        self.files_after += other.files_after;
        self.bytes_before += other.bytes_before;
        self.bytes_after += other.bytes_after;
        self.rows += other.rows;
    }
}

pub(crate) fn raw_tables() -> impl DoubleEndedIterator<Item = &'static TableSpec> {
    TABLES.iter().filter(|spec| spec.kind == TableKind::Raw)
}

/// `ingest_windows`, then every other raw table.
fn list_first() -> Vec<&'static TableSpec> {
    let (mut list, rest): (Vec<_>, Vec<_>) =
        raw_tables().partition(|spec| spec.name == "ingest_windows");
    list.extend(rest);
    list
}

fn wide(spec: &TableSpec) -> Result<&'static TableSpec, LakeError> {
    COMPACTED
        .get(spec.name)
        .copied()
        .ok_or_else(|| LakeError::UnknownTable {
            table: spec.name.to_owned(),
        })
}

/// The days of raw sources, before `before_ms`, that lie in more files than they need. Reads logs
/// only; what was left by a killed ingest may be among it, and stays.
pub(crate) async fn fragmented(
    store: &LakeStore,
    before_ms: i64,
) -> Result<BTreeSet<PartitionKey>, LakeError> {
    let before = crate::model::time::date_of(before_ms);
    let mut found = BTreeSet::new();
    for spec in raw_tables() {
        let Some(delta) = commit::open(store, spec.name, None).await? else {
            continue;
        };
        let mut days: BTreeMap<PartitionKey, Vec<DataFile>> = BTreeMap::new();
        for file in commit::live_files(spec, &delta)?.into_values() {
            if file.partition.first < before {
                days.entry(file.partition.clone()).or_default().push(file);
            }
        }
        found.extend(
            days.into_iter()
                .filter(|(_, files)| is_fragmented(files))
                .map(|(key, _)| key),
        );
    }
    Ok(found)
}

/// Several windows, of which at least one has a file of its own.
fn is_fragmented(files: &[DataFile]) -> bool {
    let places: BTreeSet<(Option<TimeWindow>, bool)> = files
        .iter()
        .map(|file| (file.window(), file.is_compacted()))
        .collect();
    places.len() > 1
}

/// Compacts one source's day in every raw table, under the source's lease. A table whose day is
/// compact already is left alone.
pub(crate) async fn compact(
    store: &LakeStore,
    lease: &Lease,
    day: &PartitionKey,
    info: &CommitInfo,
) -> Result<Compacted, LakeError> {
    let listed = listed(store, day).await?;
    let mut done = Compacted::default();
    for spec in list_first() {
        let Some(delta) = commit::open(store, spec.name, None).await? else {
            continue;
        };
        let files: Vec<DataFile> = commit::live_files(spec, &delta)?
            .into_values()
            .filter(|file| file.partition == *day)
            .filter(|file| {
                file.is_compacted() || file.window().is_some_and(|w| listed.contains(&w))
            })
            .collect();
        if !is_fragmented(&files) {
            continue;
        }
        let merged = merge(store, spec, day, &files).await?;
        replace(store, spec, lease, info, &files, &merged).await?;
        done.add(Compacted {
            files_before: files.len(),
            files_after: merged.len(),
            bytes_before: files.iter().map(|f| f.size_bytes).sum(),
            bytes_after: merged.iter().map(|f| f.size_bytes).sum(),
            rows: files.iter().map(|f| f.rows).sum(),
        });
    }
    Ok(done)
}

/// Takes every compacted file of a source's day apart, in all raw tables: one file a window again.
pub(crate) async fn split(
    store: &LakeStore,
    lease: &Lease,
    day: &PartitionKey,
    info: &CommitInfo,
) -> Result<(), LakeError> {
    for spec in list_first().into_iter().rev() {
        let Some(delta) = commit::open(store, spec.name, None).await? else {
            continue;
        };
        let files: Vec<DataFile> = commit::live_files(spec, &delta)?
            .into_values()
            .filter(|file| file.partition == *day && file.is_compacted())
            .collect();
        if files.is_empty() {
            continue;
        }
        let mut apart = Vec::new();
        for file in &files {
            apart.extend(take_apart(store, spec, file).await?);
        }
        replace(store, spec, lease, info, &files, &apart).await?;
    }
    Ok(())
}

/// Commits the same rows in other files; the count of rows is the last check.
async fn replace(
    store: &LakeStore,
    spec: &'static TableSpec,
    lease: &Lease,
    info: &CommitInfo,
    old: &[DataFile],
    new: &[DataFile],
) -> Result<(), LakeError> {
    let rows = |files: &[DataFile]| files.iter().map(|f| f.rows).sum::<u64>();
    if rows(old) != rows(new) {
        return Err(LakeError::Rows {
            table: spec.name.to_owned(),
            reason: format!(
                "{} rows were read to be arranged anew and {} written; nothing was changed",
                rows(old),
                rows(new)
            ),
        });
    }
    commit::commit(store, spec, lease, info, |live| {
        // Under the lease nobody else replaces them; a retry after a lost answer finds them gone.
        if !old.iter().all(|file| live.contains_key(&file.path)) {
            return Ok(Change::default());
        }
        let mut change = Change::between(old.iter(), new.iter());
        change.rearranged = true;
        Ok(change)
    })
    .await?;
    Ok(())
}

/// The windows of a source's day that `ingest_windows` lists.
async fn listed(store: &LakeStore, day: &PartitionKey) -> Result<BTreeSet<TimeWindow>, LakeError> {
    let mut windows = BTreeSet::new();
    let Some(spec) = super::schema::table("ingest_windows") else {
        return Ok(windows);
    };
    let Some(delta) = commit::open(store, spec.name, None).await? else {
        return Ok(windows);
    };
    let files: Vec<DataFile> = commit::live_files(spec, &delta)?
        .into_values()
        .filter(|file| file.partition == *day)
        .collect();
    let context = session::bare(store, limits())?;
    let failed = |e| LakeError::sql("read ingest_windows", e);
    let frame = frame(&context, store, spec, &files)?
        .select_columns(&["window_start", "window_end"])
        .map_err(failed)?;
    for batch in frame.collect().await.map_err(failed)? {
        let ms = |column: usize| {
            batch
                .column(column)
                .as_primitive::<TimestampMicrosecondType>()
        };
        for row in 0..batch.num_rows() {
            windows.insert(TimeWindow::new(
                ms(0).value(row).div_euclid(1000),
                ms(1).value(row).div_euclid(1000),
            ));
        }
    }
    Ok(windows)
}

fn limits() -> SessionLimits {
    SessionLimits {
        memory_bytes: SORT_MEMORY_BYTES,
        ..SessionLimits::default()
    }
}

fn frame(
    context: &SessionContext,
    store: &LakeStore,
    spec: &'static TableSpec,
    files: &[DataFile],
) -> Result<DataFrame, LakeError> {
    let staged = files
        .iter()
        .map(|file| Staged {
            table: spec.name.to_owned(),
            partition: file.partition.clone(),
            files: vec![file.clone()],
        })
        .collect();
    let table = LakeTable::new(spec, store.clone(), None, staged, None, None);
    context
        .read_table(Arc::new(table))
        .map_err(|e| LakeError::sql(format!("read files of {}", spec.name), e))
}

/// All rows of the files with their windows, in files that follow each other in the key's order.
async fn merge(
    store: &LakeStore,
    spec: &'static TableSpec,
    day: &PartitionKey,
    files: &[DataFile],
) -> Result<Vec<DataFile>, LakeError> {
    let failed = |e| LakeError::sql(format!("compact {}", spec.name), e);
    let wide = wide(spec)?;
    let context = session::bare(store, limits())?;
    let (compacted, own): (Vec<DataFile>, Vec<DataFile>) =
        files.iter().cloned().partition(DataFile::is_compacted);
    let mut frames = Vec::new();
    if !compacted.is_empty() {
        frames.push(frame(&context, store, wide, &compacted)?);
    }
    for file in own {
        let window = window(&file)?;
        let [start, end] = WINDOW_COLUMNS;
        frames.push(
            frame(&context, store, spec, &[file])?
                .with_column(start, lit(window.start_ms))
                .and_then(|frame| frame.with_column(end, lit(window.end_ms)))
                .map_err(failed)?,
        );
    }
    let mut frames = frames.into_iter();
    let Some(first) = frames.next() else {
        return Ok(Vec::new());
    };
    let mut all = frames
        .try_fold(first, |all, next| all.union(next))
        .map_err(failed)?;
    if files.iter().map(|file| file.rows).sum::<u64>() > ROWS_IN_MEMORY {
        let order = spec.sort.iter().map(|name| ident(*name).sort(true, true));
        all = all.sort(order.collect()).map_err(failed)?;
    }
    let mut stream = all.execute_stream().await.map_err(failed)?;
    let span = TimeWindow::new(
        files
            .iter()
            .filter_map(|f| Some(f.window()?.start_ms))
            .min()
            .unwrap_or_default(),
        files
            .iter()
            .filter_map(|f| Some(f.window()?.end_ms))
            .max()
            .unwrap_or_default(),
    );
    let path = |content: &str| paths::compacted_file(spec, day, span, content);
    let mut merged = Vec::new();
    let (mut gathered, mut bytes) = (Vec::new(), 0);
    while let Some(batch) = stream.try_next().await.map_err(failed)? {
        bytes += batch.get_array_memory_size();
        gathered.push(batch);
        if bytes > BYTES_PER_FILE {
            merged.extend(write(store, wide, day, &gathered, path).await?);
            gathered.clear();
            bytes = 0;
        }
    }
    merged.extend(write(store, wide, day, &gathered, path).await?);
    Ok(merged)
}

fn window(file: &DataFile) -> Result<TimeWindow, LakeError> {
    file.window().ok_or_else(|| LakeError::Corrupt {
        key: file.path.clone(),
        reason: "its name does not say which window it holds".to_owned(),
    })
}

/// The rows of a compacted file, one file a window.
async fn take_apart(
    store: &LakeStore,
    spec: &'static TableSpec,
    file: &DataFile,
) -> Result<Vec<DataFile>, LakeError> {
    let mut apart = Vec::new();
    for (window, batches) in by_window(store, spec, file).await? {
        let path = |content: &str| paths::data_file(spec, &file.partition, Some(window), content);
        apart.extend(write(store, spec, &file.partition, &batches, path).await?);
    }
    Ok(apart)
}

/// The rows of a compacted file by the window that they came with, in the table's own columns.
pub(crate) async fn by_window(
    store: &LakeStore,
    spec: &'static TableSpec,
    file: &DataFile,
) -> Result<BTreeMap<TimeWindow, Vec<RecordBatch>>, LakeError> {
    let failed = |e| LakeError::sql(format!("take a file of {} apart", spec.name), e);
    let arrow = |e| LakeError::arrow(spec.name, e);
    let context = session::bare(store, limits())?;
    let frame = frame(&context, store, wide(spec)?, std::slice::from_ref(file))?;
    let mut found: BTreeMap<TimeWindow, Vec<RecordBatch>> = BTreeMap::new();
    for batch in frame.collect().await.map_err(failed)? {
        let stored = batch.num_columns() - WINDOW_COLUMNS.len();
        let starts = batch.column(stored).as_primitive::<Int64Type>().clone();
        let ends = batch.column(stored + 1).as_primitive::<Int64Type>().clone();
        let own: Vec<usize> = (0..stored).collect();
        let rows = batch.project(&own).map_err(arrow)?;
        for window in windows_of(&starts, &ends) {
            let of = |column: &Int64Array, ms: i64| eq(column, &Int64Array::new_scalar(ms));
            let chosen = of(&starts, window.start_ms)
                .and_then(|start| and(&start, &of(&ends, window.end_ms)?))
                .map_err(arrow)?;
            let part = filter_record_batch(&rows, &chosen).map_err(arrow)?;
            found.entry(window).or_default().push(part);
        }
    }
    Ok(found)
}

fn windows_of(starts: &Int64Array, ends: &Int64Array) -> BTreeSet<TimeWindow> {
    (0..starts.len())
        .map(|row| TimeWindow::new(starts.value(row), ends.value(row)))
        .collect()
}

/// Encodes rows and puts the files, which no commit names yet.
pub(crate) async fn write(
    store: &LakeStore,
    spec: &'static TableSpec,
    partition: &PartitionKey,
    batches: &[RecordBatch],
    path: impl Fn(&str) -> String,
) -> Result<Vec<DataFile>, LakeError> {
    let mut files = Vec::new();
    for encoded in writer::encode(spec, batches, store.floats)? {
        let path = path(&encoded.content);
        let size_bytes = encoded.bytes.len() as u64;
        let key = format!("{}/{path}", paths::table_root(spec.name));
        // Already there: the same content, since the name is its digest.
        store.put_new(&key, encoded.bytes).await?;
        files.push(DataFile {
            path,
            partition: partition.clone(),
            size_bytes,
            rows: encoded.rows,
            modified_ms: None,
            stats: encoded.stats,
        });
    }
    Ok(files)
}
