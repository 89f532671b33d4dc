//! Owns the ingest of a span: aligned windows, each read, pivoted and kept before the next. A
//! rerun with the same content writes nothing; a failed window leaves the lake as it was.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::aliases::Aliases;
use super::digest::content_digest;
use super::error::IngestError;
use super::kubernetes::{self, KindCounts, KubernetesExport};
use super::pivot::{PivotError, PivotOptions, Pivoted, RAW_SAMPLE_TABLES, WindowPivot};
use super::plan;
use super::progress::{Listener, Progress};
use super::prometheus::{Matcher, SampleSource, SeriesSamples, SourceError};
use super::rows::{Cell, TableBatches, single_row};
use super::sink::{RawSink, StoredWindow};
use crate::lake::schema;
use crate::model::TimeWindow;
use crate::model::canonical::sha256_hex;
use crate::model::time::DAY_MS;

/// How often the lease is looked after while a read runs.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Samples after which progress is told.
const TELL_EVERY_SAMPLES: u64 = 250_000;

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
    /// Windows that the lake holds from a read when the source had gone on for this long are not
    /// read again; `None` reads all.
    pub look_back_ms: Option<i64>,
    pub listener: Listener,
}

impl Default for IngestOptions {
    fn default() -> Self {
        Self {
            window_ms: DAY_MS,
            force: false,
            cluster_label: None,
            pivot: PivotOptions::default(),
            look_back_ms: None,
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

/// The rows of one window and what is recorded of it.
pub(super) struct ReadWindow {
    pub(super) window: TimeWindow,
    pub(super) tables: Vec<TableBatches>,
    pub(super) report: WindowReport,
    /// Until when the source held anything when this was read.
    pub(super) source_end_ms: Option<i64>,
    /// From which end of the source on nothing more is to be expected.
    pub(super) settles_ms: Option<i64>,
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
    let selectors = selectors(&aliases, options);
    let job = Job {
        sink,
        name,
        cluster,
        source_kind,
        selector_digest: digest_of(&aliases, &selectors),
        force: options.force,
    };
    let mut report = job.report();
    // Windows in which the source cannot hold anything are not read, and not called complete.
    let extent = source.extent().await.map_err(|e| failed(span.key(), e))?;
    let stored = sink
        .stored(name, whole_days(span))
        .await
        .map_err(|e| job.lake_error(span, e))?;
    let mut queue: VecDeque<TimeWindow> = plan::windows_beside(span, options.window_ms, &stored)?
        .into_iter()
        .filter(|window| extent.is_some_and(|extent| extent.intersect(window).is_some()))
        .collect();
    let listener = &options.listener;
    listener.tell(Progress::Begins {
        windows: queue.len(),
    });
    let source_end_ms = extent.map_or(span.end_ms, |extent| extent.end_ms);
    while let Some(window) = queue.pop_front() {
        let settled = options.look_back_ms.is_some_and(|look_back_ms| {
            !options.force && plan::is_settled(&stored, window, &job.selector_digest, look_back_ms)
        });
        if settled {
            let done = WindowReport::settled(window, &stored);
            listener.tell(Progress::Done { report: &done });
            report.windows.push(done);
            continue;
        }
        listener.tell(Progress::Reads { window });
        let mut pivot = WindowPivot::new(&aliases, cluster, window, &options.pivot);
        let mut too_large = false;
        for selector in &selectors {
            let read = read_selector(source, selector, window, &mut pivot, listener);
            let read = job.while_alive(read, window).await?;
            match read.map_err(|error| job.read_error(window, error)) {
                Ok(()) => {}
                Err(IngestError::Pivot {
                    source: PivotError::TooManySamples { .. },
                    ..
                }) if plan::narrower(window).is_some() => {
                    too_large = true;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(width_ms) = plan::narrower(window).filter(|_| too_large) {
            drop(pivot);
            listener.tell(Progress::Narrows { window, width_ms });
            job.clear_wider(window, &stored).await?;
            // What this window could not hold, its equals to come cannot either.
            let rest: Vec<TimeWindow> = std::iter::once(window).chain(queue.drain(..)).collect();
            for wide in rest {
                let is_held = wide != window && stored.iter().any(|known| known.window == wide);
                if is_held || wide.end_ms - wide.start_ms <= width_ms {
                    queue.push_back(wide);
                } else {
                    queue.extend(plan::windows(wide, width_ms)?);
                }
            }
            queue.retain(|window| extent.is_some_and(|e| e.intersect(window).is_some()));
            continue;
        }
        let pivoted = pivot.finish().map_err(|e| job.pivot_error(window, e))?;
        let mut read = ReadWindow::of_samples(window, pivoted);
        read.source_end_ms = Some(source_end_ms);
        read.settles_ms = options.look_back_ms.map(|ms| window.end_ms + ms);
        let done = job.keep(read).await?;
        listener.tell(Progress::Done { report: &done });
        report.windows.push(done);
    }
    Ok(report)
}

fn selectors(aliases: &Aliases, options: &IngestOptions) -> Vec<Vec<Matcher>> {
    let mut selectors: Vec<Vec<Matcher>> = aliases.selectors().to_vec();
    if let Some((label, value)) = &options.cluster_label {
        for selector in &mut selectors {
            selector.push(Matcher::equal(label, value));
        }
    }
    selectors
}

fn digest_of(aliases: &Aliases, selectors: &[Vec<Matcher>]) -> String {
    sha256_hex(format!("{} {selectors:?}", aliases.digest()).as_bytes())
}

/// What `ingest_windows` records of the selectors and their meaning.
pub fn selector_digest(options: &IngestOptions) -> Result<String, IngestError> {
    let aliases = Aliases::builtin()?;
    Ok(digest_of(&aliases, &selectors(&aliases, options)))
}

fn whole_days(span: TimeWindow) -> TimeWindow {
    TimeWindow::new(
        span.start_ms.div_euclid(DAY_MS) * DAY_MS,
        -(-span.end_ms).div_euclid(DAY_MS) * DAY_MS,
    )
}

async fn read_selector(
    source: &dyn SampleSource,
    selector: &[Matcher],
    window: TimeWindow,
    pivot: &mut WindowPivot<'_>,
    listener: &Listener,
) -> Result<(), SourceError> {
    let mut took = 0_u64;
    let mut take = |series: SeriesSamples| {
        took += (series.samples.len() + series.histograms.len()) as u64;
        if took >= TELL_EVERY_SAMPLES {
            listener.tell(Progress::Took { samples: took });
            took = 0;
        }
        pivot.add(series).map_err(Into::into)
    };
    source.read(selector, window, &mut take).await?;
    listener.tell(Progress::Took { samples: took });
    Ok(())
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
            },
            tables: read.tables,
            source_end_ms: None,
            settles_ms: None,
        };
        report.windows.push(job.keep(read).await?);
    }
    Ok(report)
}

impl WindowReport {
    fn settled(window: TimeWindow, stored: &[StoredWindow]) -> Self {
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
        }
    }
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
            source_end_ms: None,
            settles_ms: None,
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

    fn read_error(&self, window: TimeWindow, error: SourceError) -> IngestError {
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
    async fn clear_wider(
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
        let record = self.record(window, &report, &digest, source_end_ms)?;
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
                source_end_ms.map_or(Cell::Null, Cell::Time),
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
