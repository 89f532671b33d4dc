//! What late data changes: the days that it restates, which are named, and no others.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::*;
use crate::ingest::prometheus::{
    Labels, Matcher, Sample, SampleSource, SeriesSamples, SeriesSink, SourceError,
};
use crate::ingest::{IngestOptions, LakeSink, ingest_samples};
use crate::lake::schema::{TABLES, TableKind};
use crate::lake::{FLEET_LEASE, PublicationDetails, source_lease};
use crate::model::time::HOUR_MS;

/// 2026-11-01T00:00:00Z.
const DAY: i64 = 1_793_491_200_000;
const DAYS: i64 = 3;
const STEP_MS: i64 = 5 * 60_000;

/// A GPU and the engine on it over three days and the margin behind them; four hours of the second
/// day arrive late.
struct Site {
    is_late_in: bool,
}

impl SampleSource for Site {
    fn read<'a>(
        &'a self,
        matchers: &'a [Matcher],
        window: TimeWindow,
        sink: &'a mut SeriesSink<'a>,
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        let gpu = [
            ("__name__", "DCGM_FI_DEV_GPU_UTIL"),
            ("gpu", "0"),
            ("UUID", "GPU-0"),
            ("modelName", "NVIDIA H100 80GB HBM3"),
            ("Hostname", "node-0"),
            ("namespace", "chat"),
            ("pod", "llama-0"),
            ("instance", "10.0.0.1:9400"),
            ("job", "dcgm"),
        ];
        let engine = [
            ("__name__", "vllm:generation_tokens_total"),
            ("namespace", "chat"),
            ("pod", "llama-0"),
            ("model_name", "llama"),
            ("instance", "10.0.1.1:8000"),
            ("job", "vllm"),
        ];
        Box::pin(async move {
            for (labels, per_step) in [(&gpu[..], 0.0), (&engine[..], 600.0)] {
                let pairs = labels.iter().map(|(k, v)| ((*k).into(), (*v).into()));
                let labels = Labels::new(pairs.collect());
                if !matchers.iter().all(|matcher| matcher.accepts(&labels)) {
                    continue;
                }
                let late = TimeWindow::new(DAY + 34 * HOUR_MS, DAY + 38 * HOUR_MS);
                let samples: Vec<Sample> = (0..(DAYS * DAY_MS + 8 * HOUR_MS) / STEP_MS)
                    .map(|n| Sample {
                        ts_ms: DAY + n * STEP_MS,
                        value: 70.0 + per_step * n as f64,
                    })
                    .filter(|s| window.contains(s.ts_ms))
                    .filter(|s| self.is_late_in || !late.contains(s.ts_ms))
                    .collect();
                if samples.is_empty() {
                    continue;
                }
                let histograms = Vec::new();
                sink(SeriesSamples {
                    labels,
                    samples,
                    histograms,
                })
                .map_err(SourceError::Sink)?;
            }
            Ok(())
        })
    }

    fn extent(&self) -> BoxFuture<'_, Result<Option<TimeWindow>, SourceError>> {
        let all = TimeWindow::new(DAY, DAY + DAYS * DAY_MS + 8 * HOUR_MS);
        Box::pin(std::future::ready(Ok(Some(all))))
    }

    fn location(&self) -> String {
        "memory".to_owned()
    }
}

/// What a run does before it concludes: reads, folds, derives. Gives the days that it restated and
/// the publication.
async fn run(
    lake: &Lake,
    config: &Config,
    site: &Site,
    now_ms: i64,
) -> (BTreeMap<String, Vec<String>>, Publication) {
    let lease = async |name: &str| {
        let lease = lake.acquire_lease(name, "test", now_ms, Duration::ZERO);
        lease.await.unwrap()
    };
    let of_source = lease(&source_lease("s")).await;
    let sink = LakeSink::new(lake, &of_source, Arc::new(move || now_ms));
    let window = TimeWindow::new(DAY, DAY + DAYS * DAY_MS);
    let span = TimeWindow::new(DAY, window.end_ms + 8 * HOUR_MS);
    let options = IngestOptions::default();
    ingest_samples(site, "prometheus", "s", "c", &sink, span, &options)
        .await
        .unwrap();
    of_source.release(now_ms).await.unwrap();

    let fleet = lease(FLEET_LEASE).await;
    let queries = Arc::new(crate::cli::detectors::query_set(config).unwrap());
    let mut work = Workspace::new(lake, config, &fleet, now_ms).await.unwrap();
    let ends = work.data_ends().await.unwrap();
    let around = TimeWindow::new(window.start_ms - DAY_MS, window.end_ms);
    work.inventory(around, &ends).await.unwrap();
    work.derive(&queries, window, &ends).await.unwrap();
    let details = PublicationDetails {
        runs: BTreeMap::from([("c".to_owned(), format!("run-{now_ms}"))]),
        digests: work.digests,
        window,
        code_version: "test".to_owned(),
        now_ms,
    };
    let publication = lake
        .publish(&fleet, work.base.as_ref(), &work.raw, work.staged, details)
        .await
        .unwrap();
    fleet.release(now_ms).await.unwrap();
    (work.restated, publication)
}

/// The derived tables as a publication has them; files are named by what they hold.
async fn derived(lake: &Lake, publication: &Publication) -> BTreeSet<(String, String, u64)> {
    let mut all = BTreeSet::new();
    for spec in TABLES.iter().filter(|spec| spec.kind == TableKind::Derived) {
        if let Some(version) = publication.tables.get(spec.name) {
            for file in lake.files(spec.name, *version).await.unwrap() {
                all.insert((spec.name.to_owned(), file.path, file.rows));
            }
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_data_restates_its_day_only_and_ends_in_the_rows_of_a_fresh_lake() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("idleproof.toml");
    std::fs::write(
        &file,
        "[lake]\nurl = \"./lake\"\n[[cluster]]\nname = \"c\"\n",
    )
    .unwrap();
    let config = Config::load(&file).unwrap();
    let open = async |name: &str| {
        let place = folder.path().join(name).to_string_lossy().into_owned();
        Lake::open(&place).await.unwrap()
    };
    let early = Site { is_late_in: false };
    let whole = Site { is_late_in: true };
    let lake = open("lake").await;

    let (restated, first) = run(&lake, &config, &early, DAY).await;
    assert!(restated.is_empty(), "{restated:?}");
    let (restated, again) = run(&lake, &config, &early, DAY + 1).await;
    assert!(restated.is_empty(), "{restated:?}");
    assert_eq!(derived(&lake, &again).await, derived(&lake, &first).await);

    let (restated, second) = run(&lake, &config, &whole, DAY + 2).await;
    // Its neighbours read some of its hours and are derived anew too, but have the same numbers.
    for day in ["2026-11-01", "2026-11-02", "2026-11-03"] {
        let key = format!("derive/c/{day}");
        assert_ne!(first.digests[&key], second.digests[&key], "{day}");
        assert_eq!(first.digests[&key], again.digests[&key], "{day}");
    }
    let wanted = BTreeMap::from([("c".to_owned(), vec!["2026-11-02".to_owned()])]);
    assert_eq!(restated, wanted);
    let rows = derived(&lake, &second).await;
    assert_ne!(rows, derived(&lake, &first).await);

    let fresh = open("fresh").await;
    let (_, publication) = run(&fresh, &config, &whole, DAY).await;
    assert_eq!(derived(&fresh, &publication).await, rows);
    let tables: BTreeSet<&str> = rows.iter().map(|(table, ..)| table.as_str()).collect();
    for table in ["gpu_hours", "ledger", "workload_5m"] {
        assert!(tables.contains(table), "{table} has no rows: {tables:?}");
    }
}
