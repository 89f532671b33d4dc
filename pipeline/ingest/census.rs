//! Owns the probe: a short window of a source, read and pivoted as an ingest would, and what it
//! tells of the source: which signals are there, for whom, how often. Nothing is kept. Called by
//! `cli` for `check` and `ingest --plan`.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::arrow::array::{Array, AsArray as _, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;

use super::driver::IngestOptions;
use super::error::IngestError;
use super::pivot::WindowPivot;
use super::prometheus::{Matcher, SampleSource, SeriesSamples, SourceError};
use super::rows::TableBatches;
use super::samples::selectors;
use crate::ingest::aliases::Aliases;
use crate::lake::columns::{self, text_at};
use crate::model::TimeWindow;
use crate::model::time::HOUR_MS;

/// What one table would get of the probed window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableCensus {
    pub rows: u64,
    /// Who has rows (`namespace/pod`, or `node/gpu` for GPUs), and which columns have values.
    pub entities: BTreeMap<String, BTreeSet<&'static str>>,
    /// Scrape intervals seen, with the number of rows that have each.
    pub intervals_ms: BTreeMap<i64, u64>,
}

impl TableCensus {
    /// The interval of most rows.
    #[must_use]
    pub fn interval_ms(&self) -> Option<i64> {
        let most = self.intervals_ms.iter().max_by_key(|(_, rows)| **rows)?;
        Some(*most.0)
    }
}

/// What a source holds in the probed window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    pub series: u64,
    pub samples: u64,
    pub reads: u64,
    /// Wide tables by name.
    pub tables: BTreeMap<&'static str, TableCensus>,
    /// Narrow series by metric.
    pub narrow: BTreeMap<String, u64>,
    /// Pods that GPU telemetry names as holders.
    pub gpu_pods: BTreeSet<String>,
}

impl Census {
    /// Adds what another source of the same cluster holds.
    pub fn merge(&mut self, other: Self) {
        self.series += other.series;
        self.samples += other.samples;
        self.reads += other.reads;
        for (table, more) in other.tables {
            let mine = self.tables.entry(table).or_default();
            mine.rows += more.rows;
            for (entity, columns) in more.entities {
                mine.entities.entry(entity).or_default().extend(columns);
            }
            for (interval, rows) in more.intervals_ms {
                *mine.intervals_ms.entry(interval).or_default() += rows;
            }
        }
        for (metric, series) in other.narrow {
            *self.narrow.entry(metric).or_default() += series;
        }
        self.gpu_pods.extend(other.gpu_pods);
    }

    fn add(&mut self, table: &TableBatches) {
        match table.table {
            "gpu_pod_spans" => {
                for batch in &table.batches {
                    let (namespaces, pods) = (texts(batch, "namespace"), texts(batch, "pod"));
                    self.gpu_pods.extend(
                        namespaces
                            .into_iter()
                            .zip(pods)
                            .filter(|(_, pod)| !pod.is_empty())
                            .map(|(namespace, pod)| format!("{namespace}/{pod}")),
                    );
                }
            }
            "series" => {
                for metric in table.batches.iter().flat_map(|b| texts(b, "metric")) {
                    *self.narrow.entry(metric).or_default() += 1;
                }
            }
            "misc_samples" => {}
            name => {
                let mine = self.tables.entry(name).or_default();
                for batch in &table.batches {
                    mine.add(name, batch);
                }
            }
        }
    }
}

impl TableCensus {
    fn add(&mut self, table: &'static str, batch: &RecordBatch) {
        self.rows += batch.num_rows() as u64;
        let key = match table {
            "gpu_samples" => ["node", "gpu"],
            "scaler_samples" => ["namespace", "scaler_name"],
            _ => ["namespace", "pod"],
        };
        let (places, names) = (texts(batch, key[0]), texts(batch, key[1]));
        let spec = crate::lake::schema::table(table);
        let values: Vec<(&'static str, &dyn Array)> = spec
            .map_or(&[][..], |spec| spec.columns)
            .iter()
            .filter(|column| column.nullable)
            .filter_map(|column| Some((column.name, &**batch.column_by_name(column.name)?)))
            .collect();
        for (row, (place, name)) in places.into_iter().zip(names).enumerate() {
            let entity = self.entities.entry(format!("{place}/{name}")).or_default();
            entity.extend(
                values
                    .iter()
                    .filter(|(_, array)| array.is_valid(row))
                    .map(|(column, _)| *column),
            );
        }
        if let Some(intervals) = batch
            .column_by_name("scrape_interval_ms")
            .and_then(|array| array.as_primitive_opt::<Int64Type>())
        {
            for interval in intervals.iter().flatten() {
                *self.intervals_ms.entry(interval).or_default() += 1;
            }
        }
    }
}

fn texts(batch: &RecordBatch, column: &str) -> Vec<String> {
    let texts = columns::text(batch, column).ok();
    let at = |row| texts.as_ref().and_then(|texts| text_at(texts, row));
    (0..batch.num_rows())
        .map(|row| at(row).unwrap_or_default())
        .collect()
}

/// Reads one short window of a source as an ingest would, and counts.
pub(super) async fn census(
    source: &dyn SampleSource,
    name: &str,
    cluster: &str,
    window: TimeWindow,
    options: &IngestOptions,
) -> Result<Census, IngestError> {
    let aliases = Aliases::with_metrics(&options.metrics)?;
    let mut census = Census::default();
    let mut pivot = WindowPivot::new(&aliases, cluster, window, &options.pivot);
    for selector in selectors(&aliases, options) {
        let mut take = |series: SeriesSamples| pivot.add(series).map_err(Into::into);
        let read = source.read(&selector, window, &mut take).await;
        read.map_err(|source: SourceError| IngestError::Source {
            name: name.to_owned(),
            window: window.key(),
            source,
        })?;
        census.reads += 1;
    }
    let pivoted = pivot.finish().map_err(|source| IngestError::Pivot {
        name: name.to_owned(),
        window: window.key(),
        source,
    })?;
    census.series = pivoted.stats.series;
    census.samples = pivoted.stats.samples;
    for table in &pivoted.tables {
        census.add(table);
    }
    Ok(census)
}

/// How much of a source's end is looked at for the values of a label.
const VALUES_PROBE_MS: i64 = 10 * 60_000;
/// How far back that end is looked for: extents are rounded to hours or days.
const END_HOURS: i64 = 26;
/// Metrics of which one is there wherever there is anything to read, and that have few series.
const END_MARKERS: [&str; 6] = [
    "up",
    "kube_pod_info",
    "DCGM_FI_DEV_GPU_UTIL",
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
    "vllm:num_requests_running",
    "sglang:num_running_reqs",
];

/// The values that a label has on the series that an ingest would read, and how many series have
/// each, at the newest end of the source; series without the label count under the empty value.
pub(super) async fn label_values(
    source: &dyn SampleSource,
    name: &str,
    label: &str,
    end_ms: i64,
    options: &IngestOptions,
) -> Result<BTreeMap<String, u64>, IngestError> {
    let aliases = Aliases::with_metrics(&options.metrics)?;
    let all_clusters = IngestOptions {
        cluster_label: None,
        ..options.clone()
    };
    let failed = |window: TimeWindow| {
        move |source: SourceError| IngestError::Source {
            name: name.to_owned(),
            window: window.key(),
            source,
        }
    };
    let mut markers = vec![Matcher::one_of("__name__", END_MARKERS)];
    markers.extend_from_slice(&options.matchers);
    let mut newest_ms = None;
    for hour in 0..END_HOURS {
        let end_ms = end_ms - hour * HOUR_MS;
        let window = TimeWindow::new(end_ms - HOUR_MS, end_ms);
        let mut latest = |series: SeriesSamples| {
            newest_ms = newest_ms.max(series.samples.last().map(|sample| sample.ts_ms));
            Ok(())
        };
        let read = source.read(&markers, window, &mut latest).await;
        read.map_err(failed(window))?;
        if newest_ms.is_some() {
            break;
        }
    }
    let end_ms = newest_ms.map_or(end_ms, |newest_ms| newest_ms + 1);
    let window = TimeWindow::new(end_ms - VALUES_PROBE_MS, end_ms);
    let mut values: BTreeMap<String, u64> = BTreeMap::new();
    for selector in selectors(&aliases, &all_clusters) {
        let mut count = |series: SeriesSamples| {
            let value = series.labels.get(label).unwrap_or("");
            *values.entry(value.to_owned()).or_default() += 1;
            Ok(())
        };
        let read = source.read(&selector, window, &mut count).await;
        read.map_err(failed(window))?;
    }
    Ok(values)
}
