//! The work that the lake's tests let go wrong, race and run on every store: ingest by the real
//! driver from a source in memory, runs that publish, and a reader that knows what must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use datafusion::arrow::array::{
    ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{Float64Type, TimestampMicrosecondType};
use datafusion::prelude::SessionContext;
use futures::future::BoxFuture;
use idleproof::ingest::prometheus::{
    Labels, Matcher, Sample, SampleSource, SeriesSamples, SeriesSink, SourceError,
};
use idleproof::ingest::{IngestError, IngestOptions, LakeSink, ingest_samples};
use idleproof::lake::schema::{ColumnType, table};
use idleproof::lake::{
    FLEET_LEASE, Keeper, Lake, LakeError, LakeView, PartitionKey, Publication, PublicationDetails,
    source_lease,
};
use idleproof::model::TimeWindow;
use idleproof::model::time::{DAY_MS, HOUR_MS};

/// 2026-11-01T00:00:00Z.
pub(crate) const DAY: i64 = 1_793_491_200_000;
/// Samples of each of a window's two series.
pub(crate) const SAMPLES: usize = 4;
/// Longer than any lease that a dead process left.
pub(crate) const LATER_MS: i64 = 10 * 60_000;

/// A GPU and an engine, whose values in each half of the day are a version: rows of one window
/// with two versions were never written together.
pub(crate) struct Halves(pub(crate) [i64; 2]);

impl SampleSource for Halves {
    fn read<'a>(
        &'a self,
        matchers: &'a [Matcher],
        window: TimeWindow,
        sink: &'a mut SeriesSink<'a>,
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(async move {
            let gpu = [
                ("__name__", "DCGM_FI_DEV_GPU_UTIL"),
                ("gpu", "0"),
                ("UUID", "G"),
                ("hostname", "n"),
            ];
            let engine = [
                ("__name__", "vllm:num_requests_running"),
                ("namespace", "chat"),
                ("pod", "llama-0"),
                ("model_name", "llama"),
                ("instance", "10.0.0.1:8000"),
            ];
            for labels in [&gpu[..], &engine[..]] {
                let labels = labels
                    .iter()
                    .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
                let labels = Labels::new(labels.collect());
                if !matchers.iter().all(|m| m.accepts(&labels)) {
                    continue;
                }
                let step = 12 * HOUR_MS / SAMPLES as i64;
                let samples = (0..2 * SAMPLES as i64)
                    .map(|n| Sample {
                        ts_ms: DAY + n * step,
                        value: self.0[n as usize / SAMPLES] as f64,
                    })
                    .filter(|sample| window.contains(sample.ts_ms))
                    .collect();
                let series = SeriesSamples {
                    labels,
                    samples,
                    histograms: Vec::new(),
                };
                sink(series).map_err(SourceError::Sink)?;
            }
            Ok(())
        })
    }

    fn extent(&self) -> BoxFuture<'_, Result<Option<TimeWindow>, SourceError>> {
        Box::pin(std::future::ready(Ok(Some(TimeWindow::day_of(DAY)))))
    }

    fn location(&self) -> String {
        "memory".to_owned()
    }
}

/// Reads the day in two windows, as the command line would: a lease, the driver, the release.
pub(crate) async fn ingest(
    lake: &Lake,
    source: &str,
    versions: [i64; 2],
    now_ms: i64,
) -> Result<(), String> {
    let lease = lake
        .acquire_lease(&source_lease(source), "test", now_ms, Duration::ZERO)
        .await
        .map_err(|e| e.to_string())?;
    let sink = LakeSink::new(lake, &lease, Arc::new(move || now_ms));
    let options = IngestOptions {
        window_ms: 12 * HOUR_MS,
        ..IngestOptions::default()
    };
    let halves = Halves(versions);
    let span = TimeWindow::day_of(DAY);
    let done: Result<_, IngestError> =
        ingest_samples(&halves, "prometheus", source, "c", &sink, span, &options).await;
    let released = lease.release(now_ms).await;
    done.map_err(|e| e.to_string())?;
    released.map_err(|e| e.to_string())
}

/// Rows of a derived or run table; each number in them tells the version.
fn rows(name: &str, version: i64, count: i64) -> RecordBatch {
    let spec = table(name).unwrap();
    let columns = spec.columns.iter().map(|column| -> ArrayRef {
        let n = (0..count).map(|row| version * 1000 + row);
        match column.column_type {
            ColumnType::Text => Arc::new(n.map(|v| Some(v.to_string())).collect::<StringArray>()),
            ColumnType::Int => Arc::new(n.map(Some).collect::<Int64Array>()),
            ColumnType::Float => Arc::new(n.map(|v| Some(v as f64)).collect::<Float64Array>()),
            ColumnType::Bool => Arc::new(n.map(|v| Some(v % 2 == 0)).collect::<BooleanArray>()),
            ColumnType::Timestamp => Arc::new(
                TimestampMicrosecondArray::from_iter_values(n.map(|v| DAY * 1000 + v))
                    .with_timezone("UTC"),
            ),
            other => datafusion::arrow::array::new_null_array(&other.arrow(), count as usize),
        }
    });
    RecordBatch::try_new(spec.file_schema(), columns.collect()).unwrap()
}

const LEDGER_ROWS: i64 = 3;
const FINDING_ROWS: i64 = 2;

/// A run as the nightly job makes it: pin, derive, stage, publish, all under the fleet's lease.
pub(crate) async fn publish(
    lake: &Lake,
    cluster: &str,
    version: i64,
    now_ms: i64,
) -> Result<(), LakeError> {
    let lease = lake
        .acquire_lease(FLEET_LEASE, "test", now_ms, Duration::ZERO)
        .await?;
    let work = async {
        let base = lake.publication(None).await?;
        let run = format!("run-{version}");
        // A rerun of what was published already changes nothing.
        if base
            .as_ref()
            .is_some_and(|b| b.runs.get(cluster) == Some(&run))
        {
            return Ok(());
        }
        let raw = lake.head().await?;
        let day = PartitionKey::new("2026-11-01", cluster);
        let of_run = PartitionKey::new(run.clone(), cluster);
        let ledger = vec![rows("ledger", version, LEDGER_ROWS)];
        let findings = vec![rows("findings", version, FINDING_ROWS)];
        let staged = vec![
            lake.stage("ledger", &day, ledger).await?,
            lake.stage("findings", &of_run, findings).await?,
        ];
        let details = PublicationDetails {
            runs: BTreeMap::from([(cluster.to_owned(), run)]),
            digests: BTreeMap::from([(
                format!("derive/{cluster}/2026-11-01"),
                version.to_string(),
            )]),
            window: TimeWindow::day_of(DAY),
            code_version: "test".to_owned(),
            now_ms,
        };
        lake.publish(&lease, base.as_ref(), &raw, staged, details)
            .await?;
        Ok(())
    };
    let done = work.await;
    let released = lease.release(now_ms).await;
    done?;
    released
}

pub(crate) fn keeper(lake: &Lake, now_ms: i64) -> Keeper<'_> {
    // Each look at the clock is a little later, so that two commits never share a moment.
    let clock = AtomicI64::new(now_ms);
    Keeper {
        lake,
        holder: "test".to_owned(),
        wait: Duration::ZERO,
        clock: Arc::new(move || clock.fetch_add(1, Ordering::SeqCst)),
        code_version: "test".to_owned(),
    }
}

/// Makes the day compact.
pub(crate) async fn compact(lake: &Lake, now_ms: i64) -> Result<usize, LakeError> {
    let report = keeper(lake, now_ms).compact(DAY + DAY_MS).await?;
    assert!(report.held.is_empty(), "{:?}", report.held);
    Ok(report.days)
}

/// The version that each window's rows have, by source and window; of the newest publication, the
/// versions of the ledger and of the findings, by cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) windows: BTreeMap<(String, i64), i64>,
    pub(crate) published: BTreeMap<String, i64>,
}

async fn batches(session: &SessionContext, table: &str) -> Result<Vec<RecordBatch>, String> {
    let frame = session.table(table).await.map_err(|e| e.to_string())?;
    frame.collect().await.map_err(|e| e.to_string())
}

/// Looks as every reader does, at complete windows and the newest publication, and fails where a
/// window or a run is seen in part.
pub(crate) async fn look(lake: &Lake) -> Result<Seen, String> {
    let text = |e: LakeError| e.to_string();
    let mut seen = Seen::default();
    let head = lake.head().await.map_err(text)?;
    let windows = lake.complete_windows(&head).await.map_err(text)?;
    let view = LakeView::pinned(head).with_windows(windows.clone());
    let session = lake.read_session(&view).await.map_err(text)?;
    let mut found: BTreeMap<(String, i64), Vec<i64>> = BTreeMap::new();
    for (table, column) in [
        ("gpu_samples", "util_percent"),
        ("serving_samples", "requests_running"),
    ] {
        for batch in batches(&session, table).await? {
            let source = batch.column_by_name("source").unwrap().as_string::<i32>();
            let ts = batch.column_by_name("ts").unwrap();
            let ts = ts.as_primitive::<TimestampMicrosecondType>();
            let value = batch.column_by_name(column).unwrap();
            let value = value.as_primitive::<Float64Type>();
            for row in 0..batch.num_rows() {
                let half = 12 * HOUR_MS;
                let window = DAY + (ts.value(row) / 1000 - DAY).div_euclid(half) * half;
                let key = (source.value(row).to_owned(), window);
                found.entry(key).or_default().push(value.value(row) as i64);
            }
        }
    }
    for (source, window) in windows {
        let key = (source, window.start_ms);
        let values = found.remove(&key).unwrap_or_default();
        let versions: BTreeSet<i64> = values.iter().copied().collect();
        if values.len() != 2 * SAMPLES || versions.len() != 1 {
            return Err(format!("{key:?} is seen in part: {values:?}"));
        }
        seen.windows.insert(key, values[0]);
    }
    if !found.is_empty() {
        return Err(format!("rows of windows that are not listed: {found:?}"));
    }
    if let Some(publication) = lake.publication(None).await.map_err(text)? {
        seen.published = published(lake, &publication).await?;
    }
    Ok(seen)
}

/// The version that a publication shows of each cluster.
pub(crate) async fn published(
    lake: &Lake,
    publication: &Publication,
) -> Result<BTreeMap<String, i64>, String> {
    let view = LakeView::published(publication);
    let session = lake.read_session(&view).await.map_err(|e| e.to_string())?;
    let mut found: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for (table, column) in [("ledger", "node"), ("findings", "handle")] {
        for batch in batches(&session, table).await? {
            let cluster = batch.column_by_name("cluster").unwrap().as_string::<i32>();
            let text = batch.column_by_name(column).unwrap().as_string::<i32>();
            for row in 0..batch.num_rows() {
                let version = text.value(row).parse::<i64>().unwrap() / 1000;
                found
                    .entry(cluster.value(row).to_owned())
                    .or_default()
                    .push(version);
            }
        }
    }
    let mut versions = BTreeMap::new();
    for (cluster, all) in found {
        let one = all.iter().all(|version| *version == all[0]);
        if !one || all.len() as i64 != LEDGER_ROWS + FINDING_ROWS {
            return Err(format!("{cluster} is published in part: {all:?}"));
        }
        versions.insert(cluster, all[0]);
    }
    Ok(versions)
}

/// What both halves of a source's day should be.
pub(crate) fn halves(source: &str, versions: [i64; 2]) -> BTreeMap<(String, i64), i64> {
    BTreeMap::from([
        ((source.to_owned(), DAY), versions[0]),
        ((source.to_owned(), DAY + 12 * HOUR_MS), versions[1]),
    ])
}
