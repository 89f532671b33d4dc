//! Owns how one window is kept: its rows, its record, and what became of it. A rerun with the same
//! content writes nothing; a failed window leaves the lake as it was. `samples` reads windows of
//! samples and `kubernetes` those of objects; both keep them here.

use std::collections::BTreeMap;
use std::time::Duration;

use super::digest::content_digest;
use super::error::IngestError;
use super::kubernetes::{self, KindCounts, KubernetesExport};
use super::pivot::{PivotError, PivotOptions, Pivoted, RAW_SAMPLE_TABLES, Replicas};
use super::plan;
use super::progress::Listener;
use super::prometheus::{CountCheck, Matcher, SourceError};
use super::rows::{Cell, TableBatches, single_row};
use super::sink::{RawSink, StoredWindow};
use crate::lake::schema;
use crate::model::TimeWindow;
use crate::model::canonical::sha256_hex;
use crate::model::time::DAY_MS;

/// How often the lease is looked after while a read runs.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// How to ingest.
#[derive(Debug, Clone)]
pub struct IngestOptions {
    /// Length of a window of samples: divides a UTC day.
    pub window_ms: i64,
    /// Replace a window even by one that holds less.
    pub force: bool,
    /// Where one back end holds many clusters: the label and the value that mean this one.
    pub cluster_label: Option<(String, String)>,
    /// Added to every selector.
    pub matchers: Vec<Matcher>,
    /// Metrics of the user's own, kept as narrow series.
    pub metrics: Vec<String>,
    pub pivot: PivotOptions,
    /// Windows that the lake holds from a read when the source had gone on for this long are not
    /// read again; `None` reads all.
    pub look_back_ms: Option<i64>,
    /// Windows of samples that are read at once, within the memory that one may have.
    pub connections: usize,
    pub listener: Listener,
}

impl Default for IngestOptions {
    fn default() -> Self {
        Self {
            window_ms: DAY_MS,
            force: false,
            cluster_label: None,
            matchers: Vec::new(),
            metrics: Vec::new(),
            pivot: PivotOptions::default(),
            look_back_ms: None,
            connections: 1,
            listener: Listener::default(),
        }
    }
}

/// What became of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Written,
    /// The lake holds the same rows already.
    Unchanged,
    /// The lake holds more than the source gave now, and `force` was not asked for.
    KeptFuller,
    /// The lake holds it from an earlier read, and nothing more was to be expected.
    Settled,
}

/// One window of a report.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct WindowReport {
    pub start_ms: i64,
    pub end_ms: i64,
    pub outcome: Outcome,
    pub series: u64,
    pub samples: u64,
    pub stale_markers: u64,
    /// Series left out: hostile labels, no key, or told twice.
    pub series_rejected: u64,
    pub series_duplicate: u64,
    pub rows: BTreeMap<&'static str, usize>,
    /// Of the targets that several Prometheis scraped: those taken from each.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub replicas: Replicas,
}

/// What an ingest did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct IngestReport {
    pub source: String,
    pub cluster: String,
    pub windows: Vec<WindowReport>,
    /// Kubernetes Secrets that were met and not kept.
    pub secrets_skipped: u64,
    /// What the snapshot of a live cluster found.
    pub snapshot: Option<KindCounts>,
}

impl IngestReport {
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.windows.iter().filter(|w| w.outcome == outcome).count()
    }

    #[must_use]
    pub fn samples(&self) -> u64 {
        self.windows.iter().map(|w| w.samples).sum()
    }

    #[must_use]
    pub fn rows(&self) -> usize {
        self.windows.iter().flat_map(|w| w.rows.values()).sum()
    }

    /// Of pairs of Prometheis: in how many windows how many targets were taken from each, all
    /// windows added up.
    #[must_use]
    pub fn replicas(&self) -> BTreeMap<&str, usize> {
        let mut taken = BTreeMap::new();
        for (replica, targets) in self.windows.iter().flat_map(|w| &w.replicas) {
            *taken.entry(replica.as_str()).or_default() += targets.len();
        }
        taken
    }
}

/// The rows of one window and what is recorded of it.
pub(super) struct ReadWindow {
    pub(super) window: TimeWindow,
    pub(super) tables: Vec<TableBatches>,
    pub(super) report: WindowReport,
    /// Until when the source held anything when this was read.
    pub(super) source_end_ms: Option<i64>,
    /// From which end of the source on nothing more is to be expected.
    pub(super) settles_ms: Option<i64>,
    /// What the source's own count showed, where it was asked.
    pub(super) check: Option<CountCheck>,
}

/// What stays the same from window to window.
pub(super) struct Job<'a, S> {
    pub(super) sink: &'a S,
    pub(super) name: &'a str,
    pub(super) cluster: &'a str,
    pub(super) source_kind: &'a str,
    pub(super) selector_digest: String,
    pub(super) force: bool,
}

/// Ingests the snapshots of the UTC days that `span` touches.
pub async fn ingest_export<S: RawSink>(
    export: &KubernetesExport,
    name: &str,
    cluster: &str,
    sink: &S,
    span: TimeWindow,
    options: &IngestOptions,
) -> Result<IngestReport, IngestError> {
    let job = Job {
        sink,
        name,
        cluster,
        source_kind: "kubernetes-export",
        selector_digest: sha256_hex(kubernetes::RULES_VERSION.as_bytes()),
        force: options.force,
    };
    let mut report = job.report();
    for day in plan::windows(span, DAY_MS)? {
        let Some(read) = export.read_day(cluster, day)? else {
            continue;
        };
        report.secrets_skipped += read.secrets_skipped;
        let rows = read.tables.iter().map(|t| (t.table, t.rows())).collect();
        let read = ReadWindow {
            window: day,
            report: WindowReport {
                start_ms: day.start_ms,
                end_ms: day.end_ms,
                outcome: Outcome::Written,
                series: read.versions,
                samples: read.sightings,
                stale_markers: 0,
                series_rejected: 0,
                series_duplicate: 0,
                rows,
                replicas: Replicas::new(),
            },
            tables: read.tables,
            source_end_ms: None,
            settles_ms: None,
            check: None,
        };
        report.windows.push(job.keep(read).await?);
    }
    Ok(report)
}

impl WindowReport {
    pub(super) fn settled(window: TimeWindow, stored: &[StoredWindow]) -> Self {
        let known = stored.iter().find(|known| known.window == window);
        Self {
            start_ms: window.start_ms,
            end_ms: window.end_ms,
            outcome: Outcome::Settled,
            series: 0,
            samples: known.map_or(0, |known| u64::try_from(known.samples).unwrap_or(0)),
            stale_markers: 0,
            series_rejected: 0,
            series_duplicate: 0,
            rows: BTreeMap::new(),
            replicas: Replicas::new(),
        }
    }
}

impl ReadWindow {
    pub(super) fn of_samples(window: TimeWindow, pivoted: Pivoted) -> Self {
        let stats = pivoted.stats;
        let report = WindowReport {
            start_ms: window.start_ms,
            end_ms: window.end_ms,
            outcome: Outcome::Written,
            series: stats.series,
            samples: stats.samples,
            stale_markers: stats.stale_markers,
            series_rejected: stats.series_rejected,
            series_duplicate: stats.series_duplicate,
            rows: pivoted.tables.iter().map(|t| (t.table, t.rows())).collect(),
            replicas: pivoted.replicas,
        };
        Self {
            window,
            tables: pivoted.tables,
            report,
            source_end_ms: None,
            settles_ms: None,
            check: None,
        }
    }
}

impl<S: RawSink> Job<'_, S> {
    pub(super) fn report(&self) -> IngestReport {
        IngestReport {
            source: self.name.to_owned(),
            cluster: self.cluster.to_owned(),
            ..IngestReport::default()
        }
    }

    pub(super) fn pivot_error(&self, window: TimeWindow, source: PivotError) -> IngestError {
        IngestError::Pivot {
            name: self.name.to_owned(),
            window: window.key(),
            source,
        }
    }

    pub(super) fn lake_error(
        &self,
        window: TimeWindow,
        source: crate::lake::LakeError,
    ) -> IngestError {
        IngestError::Lake {
            name: self.name.to_owned(),
            window: window.key(),
            source,
        }
    }

    pub(super) fn read_error(&self, window: TimeWindow, error: SourceError) -> IngestError {
        let failed = |source| IngestError::Source {
            name: self.name.to_owned(),
            window: window.key(),
            source,
        };
        match error {
            SourceError::Sink(cause) => match cause.downcast::<PivotError>() {
                Ok(cause) => self.pivot_error(window, *cause),
                Err(cause) => failed(SourceError::Sink(cause)),
            },
            other => failed(other),
        }
    }

    /// Takes a window out of the lake that is to be held in narrower ones. Its record goes first:
    /// whoever reads meanwhile finds the day unread, never half of it.
    pub(super) async fn clear_wider(
        &self,
        window: TimeWindow,
        stored: &[StoredWindow],
    ) -> Result<(), IngestError> {
        if !stored.iter().any(|known| known.window == window) {
            return Ok(());
        }
        for table in std::iter::once("ingest_windows").chain(RAW_SAMPLE_TABLES) {
            self.sink
                .replace(table, self.name, window, Vec::new(), &[])
                .await
                .map_err(|e| self.lake_error(window, e))?;
        }
        Ok(())
    }

    /// Runs a read while the lease is kept alive beside it.
    pub(super) async fn while_alive<T>(
        &self,
        work: impl Future<Output = T>,
        window: TimeWindow,
    ) -> Result<T, IngestError> {
        let mut work = std::pin::pin!(work);
        loop {
            match tokio::time::timeout(KEEP_ALIVE, work.as_mut()).await {
                Ok(done) => return Ok(done),
                Err(_) => {
                    self.sink
                        .keep_alive()
                        .await
                        .map_err(|e| self.lake_error(window, e))?;
                }
            }
        }
    }

    /// Keeps a window, unless the lake has the same already, or more.
    pub(super) async fn keep(&self, read: ReadWindow) -> Result<WindowReport, IngestError> {
        let ReadWindow {
            window,
            tables,
            mut report,
            source_end_ms,
            settles_ms,
            check,
        } = read;
        let failed = |source| self.lake_error(window, source);
        let digest = content_digest(&tables);
        let stored = self.sink.stored(self.name, window).await.map_err(failed)?;
        report.outcome = outcome(&stored, window, &digest, report.samples, self.force);
        // The same rows, read when the source had gone on for long enough: only now settled.
        let settles = report.outcome == Outcome::Unchanged
            && source_end_ms >= settles_ms
            && stored.iter().any(|known| known.source_end_ms < settles_ms);
        if report.outcome != Outcome::Written && !settles {
            return Ok(report);
        }
        let details = [
            ("cluster", self.cluster),
            ("selector_digest", self.selector_digest.as_str()),
            ("content_digest", digest.as_str()),
        ];
        let replace = async |table, batches| {
            self.sink
                .replace(table, self.name, window, batches, &details)
                .await
                .map_err(failed)
        };
        let check = check.map_or_else(|| "not-checked".to_owned(), |check| check.to_string());
        let record = self.record(window, &report, &digest, source_end_ms, &check)?;
        if settles {
            replace(record.table, record.batches).await?;
            return Ok(report);
        }
        // Not listed, not complete: whoever reads between these commits sees no half window.
        if !stored.is_empty() {
            replace("ingest_windows", Vec::new()).await?;
        }
        for table in tables {
            replace(table.table, table.batches).await?;
        }
        replace(record.table, record.batches).await?;
        Ok(report)
    }

    fn record(
        &self,
        window: TimeWindow,
        report: &WindowReport,
        digest: &str,
        source_end_ms: Option<i64>,
        check: &str,
    ) -> Result<TableBatches, IngestError> {
        let spec = schema::table("ingest_windows").ok_or_else(|| IngestError::Config {
            what: "the lake's schema has no table ingest_windows".to_owned(),
            todo: "report this as a bug",
        })?;
        let rows_json = serde_json::json!(report.rows).to_string();
        let replicas = serde_json::json!(report.replicas).to_string();
        let count = |number: u64| Cell::Int(i64::try_from(number).unwrap_or(i64::MAX));
        Ok(single_row(
            spec,
            &[
                Cell::Text(self.cluster),
                Cell::Text(self.source_kind),
                Cell::Time(window.start_ms),
                Cell::Time(window.end_ms),
                Cell::Text(&self.selector_digest),
                count(report.series),
                count(report.samples),
                count(report.stale_markers),
                Cell::Text(&rows_json),
                Cell::Text(digest),
                Cell::Text(check),
                Cell::Text(env!("CARGO_PKG_VERSION")),
                source_end_ms.map_or(Cell::Null, Cell::Time),
                if report.replicas.is_empty() {
                    Cell::Null
                } else {
                    Cell::Text(&replicas)
                },
            ],
        )?)
    }
}

fn outcome(
    stored: &[StoredWindow],
    window: TimeWindow,
    digest: &str,
    samples: u64,
    force: bool,
) -> Outcome {
    let same = |known: &StoredWindow| known.window == window && known.content_digest == digest;
    if stored.len() == 1 && stored.iter().all(same) {
        return Outcome::Unchanged;
    }
    let held: i64 = stored.iter().map(|known| known.samples).sum();
    if !force && i64::try_from(samples).is_ok_and(|samples| samples < held) {
        return Outcome::KeptFuller;
    }
    Outcome::Written
}
