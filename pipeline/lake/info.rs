//! Owns the overview of a lake: tables and their sizes, publications, leases, evidence. It reads
//! logs and listings, and one small table; no data file is opened.

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::Int64Type;
use datafusion::common::ScalarValue;

use super::error::LakeError;
use super::lease::{self, LeaseInfo};
use super::schema::{TABLES, TableKind};
use super::store::LakeStore;
use super::{LakeView, Pins, commit, paths, read_only_sql, session};

/// Raw tables that hold objects and bookkeeping, and no samples.
const NO_SAMPLES: [&str; 3] = ["objects", "snapshots", "ingest_windows"];

/// One table in its newest version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableInfo {
    pub table: String,
    pub kind: TableKind,
    pub version: i64,
    pub files: usize,
    pub rows: u64,
    pub size_bytes: u64,
    /// The first and the last date that it has rows of; `None` for tables by run.
    pub days: Option<(String, String)>,
}

/// A lake at one glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LakeInfo {
    pub url: String,
    pub tables: Vec<TableInfo>,
    /// The numbers of those that are kept, rising.
    pub publications: Vec<u64>,
    pub leases: Vec<LeaseInfo>,
    pub evidence_objects: usize,
    pub evidence_bytes: u64,
    /// Of complete windows.
    pub samples: u64,
    /// What raw tables of telemetry weigh.
    pub sample_bytes: u64,
}

impl LakeInfo {
    /// `None` where there is no sample.
    #[must_use]
    pub fn bytes_per_sample(&self) -> Option<f64> {
        (self.samples > 0).then(|| self.sample_bytes as f64 / self.samples as f64)
    }
}

pub(crate) async fn info(store: &LakeStore) -> Result<LakeInfo, LakeError> {
    let mut tables = Vec::new();
    let mut pins = Pins::default();
    for spec in TABLES {
        let Some(delta) = commit::open(store, spec.name, None).await? else {
            continue;
        };
        let version = commit::version_of(&delta);
        pins.tables.insert(spec.name.to_owned(), version);
        let files = commit::live_files(spec, &delta)?;
        let dates = || files.values().map(|file| &file.partition.first);
        let by_day = spec.kind != TableKind::Run;
        tables.push(TableInfo {
            table: spec.name.to_owned(),
            kind: spec.kind,
            version,
            files: files.len(),
            rows: files.values().map(|file| file.rows).sum(),
            size_bytes: files.values().map(|file| file.size_bytes).sum(),
            days: dates()
                .min()
                .zip(dates().max())
                .filter(|_| by_day)
                .map(|(first, last)| (first.clone(), last.clone())),
        });
    }
    let evidence = store.list(paths::EVIDENCE).await?;
    let telemetry = tables
        .iter()
        .filter(|t| t.kind == TableKind::Raw && !NO_SAMPLES.contains(&t.table.as_str()));
    Ok(LakeInfo {
        url: store.url.to_string(),
        sample_bytes: telemetry.map(|table| table.size_bytes).sum(),
        samples: samples(store, pins).await?,
        tables,
        publications: store.numbers(paths::PUBLICATIONS).await?,
        leases: lease::all(store).await?,
        evidence_objects: evidence.len(),
        evidence_bytes: evidence.iter().map(|(_, meta)| meta.size).sum(),
    })
}

async fn samples(store: &LakeStore, pins: Pins) -> Result<u64, LakeError> {
    let session = session::open(
        store,
        &LakeView::pinned(pins),
        super::SessionLimits::default(),
    )?;
    let sql = include_str!("../../queries/lake/samples.sql");
    let no_params: Vec<ScalarValue> = Vec::new();
    let batches = read_only_sql(&session, sql, no_params)
        .await?
        .collect()
        .await
        .map_err(|e| LakeError::sql("count samples", e))?;
    let counts = batches
        .iter()
        .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().iter().flatten());
    Ok(counts.sum::<i64>().max(0) as u64)
}
