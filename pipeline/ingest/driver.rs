//! Owns the ingest of a span: aligned windows, each read, pivoted and kept before the next. A
//! rerun with the same content writes nothing; a failed window leaves the lake as it was.

use std::collections::BTreeMap;
use std::time::Duration;

use super::aliases::Aliases;
use super::error::IngestError;
use super::kubernetes::{self, KindCounts, KubernetesExport};
use super::pivot::{PivotError, PivotOptions, Pivoted, WindowPivot};
use super::prometheus::{Matcher, SampleSource, SourceError};
use super::rows::{Cell, TableBatches, content_digest, single_row};
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
    pub pivot: PivotOptions,
}

impl Default for IngestOptions {
    fn default() -> Self {
        Self {
            window_ms: DAY_MS,
            force: false,
            cluster_label: None,
            pivot: PivotOptions::default(),
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
}

/// The aligned windows of `width_ms` that cover `span`, oldest first.
///
/// Windows are whole: a span that ends inside one reads all of it, so that windows of two spans
/// never overlap without being the same.
pub fn windows(span: TimeWindow, width_ms: i64) -> Result<Vec<TimeWindow>, IngestError> {
    if width_ms <= 0 || DAY_MS % width_ms != 0 {
        return Err(IngestError::Config {
            what: format!("a window of {width_ms} ms does not divide a UTC day"),
            todo: "choose one that does, such as 2h, 6h or 24h",
        });
    }
    let mut start_ms = span.start_ms.div_euclid(width_ms) * width_ms;
    let mut windows = Vec::new();
    while start_ms < span.end_ms {
        windows.push(TimeWindow::new(start_ms, start_ms + width_ms));
        start_ms += width_ms;
    }
    Ok(windows)
}

/// The rows of one window and what is recorded of it.
pub(super) struct ReadWindow {
    pub(super) window: TimeWindow,
    pub(super) tables: Vec<TableBatches>,
    pub(super) report: WindowReport,
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

/// Ingests samples of `span` from one source for one cluster.
pub async fn ingest_samples<S: RawSink>(
    source: &dyn SampleSource,
    source_kind: &str,
    name: &str,
    cluster: &str,
    sink: &S,
    span: TimeWindow,
    options: &IngestOptions,
) -> Result<IngestReport, IngestError> {
    let aliases = Aliases::builtin()?;
    let failed = |window: String, source| IngestError::Source {
        name: name.to_owned(),
        window,
        source,
    };
    let windows = windows(span, options.window_ms)?;
    let mut selectors: Vec<Vec<Matcher>> = aliases.selectors().to_vec();
    if let Some((label, value)) = &options.cluster_label {
        for selector in &mut selectors {
            selector.push(Matcher::equal(label, value));
        }
    }
    let job = Job {
        sink,
        name,
        cluster,
        source_kind,
        selector_digest: sha256_hex(format!("{} {selectors:?}", aliases.digest()).as_bytes()),
        force: options.force,
    };
    let mut report = job.report();
    // Windows in which the source cannot hold anything are not read, and not called complete.
    let extent = source.extent().await.map_err(|e| failed(span.key(), e))?;
    for window in windows {
        if extent.is_none_or(|extent| extent.intersect(&window).is_none()) {
            continue;
        }
        let mut pivot = WindowPivot::new(&aliases, cluster, window, &options.pivot);
        for selector in &selectors {
            let read = read_selector(source, selector, window, &mut pivot);
            job.while_alive(read, window)
                .await?
                .map_err(|error| match error {
                    SourceError::Sink(cause) => match cause.downcast::<PivotError>() {
                        Ok(cause) => job.pivot_error(window, *cause),
                        Err(cause) => failed(window.key(), SourceError::Sink(cause)),
                    },
                    other => failed(window.key(), other),
                })?;
        }
        let pivoted = pivot.finish().map_err(|e| job.pivot_error(window, e))?;
        let read = ReadWindow::of_samples(window, pivoted);
        report.windows.push(job.keep(read).await?);
    }
    Ok(report)
}

async fn read_selector(
    source: &dyn SampleSource,
    selector: &[Matcher],
    window: TimeWindow,
    pivot: &mut WindowPivot<'_>,
) -> Result<(), SourceError> {
    let mut take = |series| pivot.add(series).map_err(Into::into);
    source.read(selector, window, &mut take).await
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
    for day in windows(span, DAY_MS)? {
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
            },
            tables: read.tables,
        };
        report.windows.push(job.keep(read).await?);
    }
    Ok(report)
}

impl ReadWindow {
    fn of_samples(window: TimeWindow, pivoted: Pivoted) -> Self {
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
        };
        Self {
            window,
            tables: pivoted.tables,
            report,
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

    fn pivot_error(&self, window: TimeWindow, source: PivotError) -> IngestError {
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
        } = read;
        let failed = |source| self.lake_error(window, source);
        let digest = content_digest(&tables);
        let stored = self.sink.stored(self.name, window).await.map_err(failed)?;
        report.outcome = outcome(&stored, window, &digest, report.samples, self.force);
        if report.outcome != Outcome::Written {
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
        // Not listed, not complete: whoever reads between these commits sees no half window.
        if !stored.is_empty() {
            replace("ingest_windows", Vec::new()).await?;
        }
        for table in tables {
            replace(table.table, table.batches).await?;
        }
        let record = self.record(window, &report, &digest)?;
        replace(record.table, record.batches).await?;
        Ok(report)
    }

    fn record(
        &self,
        window: TimeWindow,
        report: &WindowReport,
        digest: &str,
    ) -> Result<TableBatches, IngestError> {
        let spec = schema::table("ingest_windows").ok_or_else(|| IngestError::Config {
            what: "the lake's schema has no table ingest_windows".to_owned(),
            todo: "report this as a bug",
        })?;
        let rows_json = serde_json::json!(report.rows).to_string();
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
                Cell::Text("not-checked"),
                Cell::Text(env!("CARGO_PKG_VERSION")),
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
