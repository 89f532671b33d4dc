//! Ingest end to end: windows kept once, reruns that change nothing, and errors that name the file.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use datafusion::arrow::array::RecordBatch;
use futures::future::BoxFuture;
use idleproof::ingest::prometheus::{
    Labels, Matcher, Sample, SampleSource, SeriesSamples, SeriesSink, SourceError,
};
use idleproof::ingest::{
    IngestError, IngestOptions, IngestReport, KubernetesExport, LakeSink, Outcome, RawSink,
    StoredWindow, ingest_export, ingest_samples, windows,
};
use idleproof::lake::{Lake, LakeError, source_lease};
use idleproof::model::TimeWindow;
use idleproof::model::time::{DAY_MS, HOUR_MS};

/// Series in memory, of which a read may fail.
struct Memory {
    series: Vec<SeriesSamples>,
    broken_from_ms: i64,
    end_ms: i64,
    /// The windows that were read, in order.
    reads: Mutex<Vec<TimeWindow>>,
}

impl SampleSource for Memory {
    fn read<'a>(
        &'a self,
        matchers: &'a [Matcher],
        window: TimeWindow,
        sink: &'a mut SeriesSink<'a>,
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(async move {
            let mut reads = self.reads.lock().unwrap();
            if reads.last() != Some(&window) {
                reads.push(window);
            }
            drop(reads);
            for series in &self.series {
                if !matchers.iter().all(|m| m.accepts(&series.labels)) {
                    continue;
                }
                let mut part = series.clone();
                part.samples.retain(|s| window.contains(s.ts_ms));
                if !part.samples.is_empty() {
                    sink(part).map_err(SourceError::Sink)?;
                }
            }
            if window.end_ms > self.broken_from_ms {
                return Err(SourceError::Remote {
                    url: "http://prometheus.test".to_owned(),
                    what: "the connection broke".to_owned(),
                    todo: "run again",
                });
            }
            Ok(())
        })
    }

    fn extent(&self) -> BoxFuture<'_, Result<Option<TimeWindow>, SourceError>> {
        Box::pin(std::future::ready(Ok(Some(TimeWindow::new(
            0,
            self.end_ms,
        )))))
    }

    fn location(&self) -> String {
        "memory".to_owned()
    }
}

/// GPU utilisation every hour of the given hours.
fn gpu(hours: std::ops::Range<i64>) -> Memory {
    let labels = [
        ("__name__", "DCGM_FI_DEV_GPU_UTIL"),
        ("gpu", "0"),
        ("UUID", "G"),
        ("hostname", "n"),
    ];
    let labels = labels.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec();
    Memory {
        series: vec![SeriesSamples {
            labels: Labels::new(labels),
            samples: hours
                .map(|h| Sample {
                    ts_ms: h * HOUR_MS,
                    value: h as f64,
                })
                .collect(),
            histograms: Vec::new(),
        }],
        broken_from_ms: i64::MAX,
        end_ms: 10 * DAY_MS,
        reads: Mutex::default(),
    }
}

async fn with_lake<T>(run: impl AsyncFnOnce(&Lake, &LakeSink<'_>) -> T) -> T {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::open(folder.path().to_str().unwrap()).await.unwrap();
    let lease = lake
        .acquire_lease(&source_lease("s"), "test", 1, std::time::Duration::ZERO)
        .await
        .unwrap();
    let sink = LakeSink::new(&lake, &lease, Arc::new(|| 2));
    run(&lake, &sink).await
}

async fn samples(
    source: &Memory,
    sink: &impl RawSink,
    days: i64,
    options: &IngestOptions,
) -> Result<IngestReport, IngestError> {
    let span = TimeWindow::new(0, days * DAY_MS);
    ingest_samples(source, "prometheus", "s", "c", sink, span, options).await
}

#[tokio::test]
async fn a_rerun_writes_nothing_and_a_fuller_read_replaces_its_window() {
    with_lake(async |lake, sink| {
        let options = IngestOptions::default();
        let first = samples(&gpu(0..30), sink, 2, &options).await.unwrap();
        assert_eq!((first.count(Outcome::Written), first.samples()), (2, 30));
        let head = lake.head().await.unwrap();
        let again = samples(&gpu(0..30), sink, 2, &options).await.unwrap();
        assert_eq!(again.count(Outcome::Unchanged), 2);
        assert_eq!(lake.head().await.unwrap(), head);

        let fuller = samples(&gpu(0..40), sink, 2, &options).await.unwrap();
        let outcomes: Vec<_> = fuller.windows.iter().map(|w| w.outcome).collect();
        assert_eq!(outcomes, [Outcome::Unchanged, Outcome::Written]);
        let stored = sink
            .stored("s", TimeWindow::new(0, 2 * DAY_MS))
            .await
            .unwrap();
        assert_eq!(
            stored.iter().map(|w| w.samples).collect::<Vec<_>>(),
            [24, 16]
        );
    })
    .await;
}

#[tokio::test]
async fn an_emptier_read_never_replaces_a_fuller_one_unless_forced() {
    with_lake(async |_, sink| {
        let options = IngestOptions::default();
        samples(&gpu(0..24), sink, 1, &options).await.unwrap();
        let less = samples(&gpu(0..3), sink, 1, &options).await.unwrap();
        assert_eq!(less.windows[0].outcome, Outcome::KeptFuller);
        let forced = IngestOptions {
            force: true,
            ..options
        };
        let less = samples(&gpu(0..3), sink, 1, &forced).await.unwrap();
        assert_eq!(less.windows[0].outcome, Outcome::Written);
        let stored = sink.stored("s", TimeWindow::new(0, DAY_MS)).await.unwrap();
        assert_eq!(stored[0].samples, 3);
    })
    .await;
}

#[tokio::test]
async fn a_failed_window_leaves_the_lake_as_it_was() {
    with_lake(async |lake, sink| {
        let options = IngestOptions::default();
        let mut source = gpu(0..48);
        samples(&gpu(0..30), sink, 2, &options).await.unwrap();
        let head = lake.head().await.unwrap();
        source.broken_from_ms = DAY_MS;
        let error = samples(&source, sink, 2, &options).await.unwrap_err();
        assert!(error.is_unavailable());
        let text = error.to_string();
        assert!(
            text.contains("http://prometheus.test") && text.contains("run again"),
            "{text}"
        );
        assert!(text.contains("1970-01-02T00:00:00Z"), "{text}");
        assert_eq!(lake.head().await.unwrap(), head);
    })
    .await;
}

#[tokio::test]
async fn what_has_settled_is_not_read_again_and_what_has_not_is() {
    with_lake(async |lake, sink| {
        let options = IngestOptions {
            look_back_ms: Some(12 * HOUR_MS),
            ..IngestOptions::default()
        };
        let mut source = gpu(0..30);
        source.end_ms = DAY_MS + 6 * HOUR_MS;
        samples(&source, sink, 2, &options).await.unwrap();
        let head = lake.head().await.unwrap();
        // Six hours after its end the first day may still change: both days are read again.
        let again = samples(&source, sink, 2, &options).await.unwrap();
        assert_eq!(again.count(Outcome::Unchanged), 2);
        assert_eq!(lake.head().await.unwrap(), head);

        // Late data for the first day arrives, and the source goes on.
        let mut later = gpu(0..40);
        later.end_ms = DAY_MS + 16 * HOUR_MS;
        later.series[0].samples.insert(
            1,
            Sample {
                ts_ms: 60_000,
                value: 7.0,
            },
        );
        let third = samples(&later, sink, 2, &options).await.unwrap();
        assert_eq!(third.count(Outcome::Written), 2);

        // Now the first day has settled, and a change in it is seen only when forced.
        later.reads = Mutex::default();
        later.series[0].samples.insert(
            1,
            Sample {
                ts_ms: 30_000,
                value: 7.0,
            },
        );
        let fourth = samples(&later, sink, 2, &options).await.unwrap();
        let outcomes: Vec<_> = fourth.windows.iter().map(|w| w.outcome).collect();
        assert_eq!(outcomes, [Outcome::Settled, Outcome::Unchanged]);
        assert_eq!(fourth.windows[0].samples, 25);
        assert_eq!(
            *later.reads.lock().unwrap(),
            [TimeWindow::new(DAY_MS, 2 * DAY_MS)]
        );
        let forced = IngestOptions {
            force: true,
            ..options
        };
        let fifth = samples(&later, sink, 2, &forced).await.unwrap();
        assert_eq!(fifth.windows[0].outcome, Outcome::Written);
        assert_eq!(fifth.windows[0].samples, 26);
    })
    .await;
}

#[tokio::test]
async fn an_unchanged_window_settles_once_the_source_has_gone_on() {
    with_lake(async |lake, sink| {
        let options = IngestOptions {
            look_back_ms: Some(12 * HOUR_MS),
            ..IngestOptions::default()
        };
        let mut source = gpu(0..24);
        source.end_ms = DAY_MS;
        samples(&source, sink, 1, &options).await.unwrap();
        source.end_ms = 2 * DAY_MS;
        let again = samples(&source, sink, 1, &options).await.unwrap();
        assert_eq!(again.count(Outcome::Unchanged), 1);
        let head = lake.head().await.unwrap();
        let third = samples(&source, sink, 1, &options).await.unwrap();
        assert_eq!(third.count(Outcome::Settled), 1);
        assert_eq!(lake.head().await.unwrap(), head);
    })
    .await;
}

#[tokio::test]
async fn a_window_too_large_for_memory_is_read_in_narrower_ones() {
    with_lake(async |lake, sink| {
        let mut options = IngestOptions::default();
        let wide = samples(&gpu(0..48), sink, 2, &options).await.unwrap();
        assert_eq!(wide.windows.len(), 2);
        options.pivot.max_samples = 7;
        options.force = true;
        let narrow = samples(&gpu(0..48), sink, 2, &options).await.unwrap();
        let widths: Vec<i64> = narrow
            .windows
            .iter()
            .map(|w| (w.end_ms - w.start_ms) / HOUR_MS)
            .collect();
        assert_eq!(widths, [6; 8]);
        assert_eq!(narrow.samples(), 48);
        let stored = sink
            .stored("s", TimeWindow::new(0, 2 * DAY_MS))
            .await
            .unwrap();
        assert_eq!(stored.len(), 8);
        let rows: u64 = lake
            .files(
                "gpu_samples",
                lake.head().await.unwrap().tables["gpu_samples"],
            )
            .await
            .unwrap()
            .iter()
            .map(|file| file.rows)
            .sum();
        assert_eq!(rows, 48);
        // The day keeps its width afterwards, also where the wide one would fit.
        options.pivot.max_samples = 1_000;
        options.force = false;
        let again = samples(&gpu(0..48), sink, 2, &options).await.unwrap();
        assert_eq!(again.count(Outcome::Unchanged), 8);
    })
    .await;
}

/// Keeps what is replaced, in order.
#[derive(Default)]
struct Recorder(Mutex<Vec<(String, TimeWindow, usize)>>, Vec<StoredWindow>);

impl RawSink for Recorder {
    async fn stored(&self, _: &str, span: TimeWindow) -> Result<Vec<StoredWindow>, LakeError> {
        let touching = self
            .1
            .iter()
            .filter(|w| w.window.intersect(&span).is_some());
        Ok(touching.cloned().collect())
    }

    async fn replace(
        &self,
        table: &'static str,
        _: &str,
        window: TimeWindow,
        batches: Vec<RecordBatch>,
        _: &[(&str, &str)],
    ) -> Result<(), LakeError> {
        let rows = batches.iter().map(RecordBatch::num_rows).sum();
        self.0
            .lock()
            .unwrap()
            .push((table.to_owned(), window, rows));
        Ok(())
    }

    async fn keep_alive(&self) -> Result<(), LakeError> {
        Ok(())
    }
}

#[tokio::test]
async fn the_record_of_a_window_goes_first_and_comes_back_last() {
    let window = TimeWindow::new(0, DAY_MS);
    let known = StoredWindow {
        window,
        content_digest: "old".to_owned(),
        selector_digest: "old".to_owned(),
        samples: 1,
        source_end_ms: None,
    };
    let sink = Recorder(Mutex::default(), vec![known]);
    samples(&gpu(0..24), &sink, 1, &IngestOptions::default())
        .await
        .unwrap();
    let written = sink.0.into_inner().unwrap();
    assert_eq!(
        written.first(),
        Some(&("ingest_windows".to_owned(), window, 0))
    );
    assert_eq!(
        written.last(),
        Some(&("ingest_windows".to_owned(), window, 1))
    );
    assert!(written.contains(&("gpu_samples".to_owned(), window, 24)));
    assert_eq!(written.len(), 9);
}

#[tokio::test]
async fn windows_are_aligned_whole_and_divide_the_day() {
    let span = TimeWindow::new(HOUR_MS, DAY_MS + HOUR_MS);
    let six: Vec<_> = windows(span, 6 * HOUR_MS).unwrap();
    assert_eq!(six.len(), 5);
    assert_eq!(six[0], TimeWindow::new(0, 6 * HOUR_MS));
    assert!(
        windows(span, 5 * HOUR_MS)
            .unwrap_err()
            .to_string()
            .contains("2h, 6h or 24h")
    );
}

fn write(folder: &Path, file: &str, text: &str) {
    let path = folder.join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

const PODS: &str = r#"{"kind":"PodList","apiVersion":"v1","items":[{"metadata":{"name":"p",
    "namespace":"chat","uid":"u","resourceVersion":"7"},"spec":{"containers":[{"name":"main",
    "env":[{"name":"HF_TOKEN","value":"hf_secret"}]}]}}]}"#;

#[tokio::test]
async fn snapshots_become_versions_once_and_secrets_never_arrive() {
    let folder = tempfile::tempdir().unwrap();
    for time in [
        "2026-11-01T06-00-00Z",
        "2026-11-01T07-00-00Z",
        "2026-11-02T06:00:00Z",
    ] {
        write(folder.path(), &format!("{time}/pods.json"), PODS);
    }
    write(
        folder.path(),
        "2026-11-01T07-00-00Z/scaledobjects.json",
        r#"{"kind":"List","items":[]}"#,
    );
    write(
        folder.path(),
        "2026-11-01T07-00-00Z/secrets.json",
        r#"{"kind":"List","items":[{"kind":"Secret","apiVersion":"v1","metadata":{"name":"s"},"data":{"k":"eA=="}}]}"#,
    );
    let export = KubernetesExport::new(folder.path());
    let span = export.extent().unwrap().unwrap();
    let day = TimeWindow::day_of(span.start_ms);
    let read = export.read_day("c", day).unwrap().unwrap();
    assert_eq!(
        (read.versions, read.sightings, read.secrets_skipped),
        (1, 2, 1)
    );
    let text = format!("{:?}", read.tables[0].batches);
    assert!(
        text.contains("<redacted>") && !text.contains("hf_secret"),
        "{text}"
    );
    let listed = format!("{:?}", read.tables[1].batches);
    assert!(listed.contains("scaledobject"), "{listed}");

    with_lake(async |lake, sink| {
        let options = IngestOptions::default();
        let first = ingest_export(&export, "s", "c", sink, span, &options)
            .await
            .unwrap();
        assert_eq!(first.count(Outcome::Written), 2);
        let head = lake.head().await.unwrap();
        let again = ingest_export(&export, "s", "c", sink, span, &options)
            .await
            .unwrap();
        assert_eq!(again.count(Outcome::Unchanged), 2);
        assert_eq!(lake.head().await.unwrap(), head);
    })
    .await;
}

#[test]
fn bad_exports_are_named_with_what_to_do() {
    let cases = BTreeMap::from([
        ("2026-11-01T06-00-00Z/pods.json", "{\"items\":[{\"kind\":"),
        (
            "2026-11-01T06-00-00Z/nodes.json",
            "{\"kind\":\"List\",\"items\":[{\"kind\":\"Node\",\"apiVersion\":\"v1\"}]}",
        ),
        ("2026-11-01T06-00-00Z/jobs.json.gz", "not gzip"),
        ("yesterday/pods.json", PODS),
    ]);
    for (file, text) in cases {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), file, text);
        let day = TimeWindow::day_of(1_793_500_000_000);
        let error = KubernetesExport::new(folder.path())
            .read_day("c", day)
            .unwrap_err();
        let said = error.to_string();
        let named = file.split('/').next_back().unwrap();
        let named = if file.starts_with("yesterday") {
            "yesterday"
        } else {
            named
        };
        assert!(said.contains(named) && said.contains(';'), "{file}: {said}");
        assert!(!error.is_unavailable(), "{said}");
    }
    let missing = KubernetesExport::new("/nonexistent/folder")
        .snapshots()
        .unwrap_err();
    assert!(IngestError::from(missing).is_unavailable());
}
