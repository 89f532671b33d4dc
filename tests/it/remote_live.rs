//! Remote read against the newest Prometheus: every chunk type over the wire, external labels, and
//! an ingest whose windows are checked against the server's own counts.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use idleproof::ingest::prometheus::{
    Labels, Matcher, RemoteOptions, RemoteSource, SampleSource, SeriesSamples,
};
use idleproof::ingest::tsdb::BlockSource;
use idleproof::ingest::{IngestOptions, LakeSink, ingest_samples};
use idleproof::lake::{Lake, source_lease};
use idleproof::model::TimeWindow;
use idleproof::model::time::DAY_MS;

use super::prometheus::{installed, make_blocks_of, start_with};
use super::tsdb::copy;

/// Floats by bits; histograms by time, schema, count, bits of the sum and buckets.
type Series = (Vec<(i64, u64)>, Vec<String>);

async fn read(source: &dyn SampleSource, window: TimeWindow) -> BTreeMap<Labels, Series> {
    let mut all = BTreeMap::new();
    let mut sink = |series: SeriesSamples| {
        let floats = series.samples.iter();
        let floats = floats.map(|s| (s.ts_ms, s.value.to_bits())).collect();
        let histograms = series.histograms.iter();
        let histograms = histograms
            .map(|h| {
                // Where the sum is a stale marker nothing else means anything.
                if h.is_stale() {
                    return format!("{} stale", h.ts_ms);
                }
                let (sum, buckets) = (h.sum.to_bits(), &h.buckets);
                format!("{} {} {} {sum:x} {buckets:?}", h.ts_ms, h.schema, h.count)
            })
            .collect();
        assert!(all.insert(series.labels, (floats, histograms)).is_none());
        Ok(())
    };
    let all_names = [Matcher::prefix("__name__", "")];
    source.read(&all_names, window, &mut sink).await.unwrap();
    all
}

/// The newest server's path, if it was built.
fn newest() -> Option<String> {
    let peers = std::env::var("IDLEPROOF_PEERS").unwrap_or_default();
    let path = PathBuf::from(peers).join("servers/prometheus-new");
    let path = path.to_str()?.to_owned();
    installed(&path).then_some(path)
}

fn remote(port: u16) -> RemoteSource {
    let url = format!("http://127.0.0.1:{port}/");
    let mut options = RemoteOptions::new(url.parse().unwrap());
    options.idle_timeout = Duration::from_secs(30);
    RemoteSource::new(options).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_3_sends_every_chunk_type_and_all_of_it_arrives() {
    let Some(program) = newest() else { return };
    let config = "global: {}\nstorage: {tsdb: {chunk_encoding: {floats: xor2}}}\n";
    for name in [
        "xor",
        "xor2",
        "xor2-start",
        "histogram",
        "histogram-start",
        "overlap",
    ] {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/tsdb")
            .join(name);
        let folder = tempfile::tempdir().unwrap();
        copy(&fixture, &folder.path().join("data"));
        std::fs::remove_file(folder.path().join("data/truth.ndjson")).unwrap();
        let blocks = BlockSource::open(&fixture).unwrap();
        let span = blocks.extent().await.unwrap().unwrap();
        let server = start_with(&program, folder.path(), config).await;
        let got = read(&remote(server.port), span).await;
        // `tests/it/tsdb.rs` holds blocks to the truth that Prometheus' own library wrote.
        let want = read(&blocks, span).await;
        assert!(!want.is_empty());
        let labels = |all: &BTreeMap<Labels, Series>| all.keys().cloned().collect::<Vec<_>>();
        assert_eq!(labels(&got), labels(&want), "{name}");
        for (labels, series) in &want {
            assert_eq!(&got[labels], series, "{name}: {labels}");
        }
    }
}

/// Six hours of a GPU's use, every 30 s.
fn gpu_metrics(start_s: i64) -> String {
    let mut out = "# TYPE DCGM_FI_DEV_GPU_UTIL gauge\n".to_owned();
    for gpu in 0..4 {
        for step in 0..720 {
            let at = start_s + step * 30;
            out.push_str(&format!(
                "DCGM_FI_DEV_GPU_UTIL{{gpu=\"{gpu}\",UUID=\"GPU-{gpu}\",Hostname=\"n1\",job=\"dcgm\",\
                 instance=\"n1:9400\"}} {} {at}\n",
                (step / 7 + gpu) % 100
            ));
        }
    }
    out.push_str("# EOF\n");
    out
}

async fn ingest_and_check(program: &str) {
    let folder = tempfile::tempdir().unwrap();
    let start_s = 1_793_491_200;
    make_blocks_of(folder.path(), &gpu_metrics(start_s));
    let config = "global: {external_labels: {prometheus_replica: a, region: r1}}\n";
    let server = start_with(program, folder.path(), config).await;
    let source = remote(server.port);
    let day = TimeWindow::day_of(start_s * 1000);
    for labels in read(&source, day).await.keys() {
        assert_eq!(labels.get("region"), Some("r1"));
        assert_eq!(labels.get("prometheus_replica"), Some("a"));
    }
    let lake_folder = tempfile::tempdir().unwrap();
    let lake = Lake::open(lake_folder.path().to_str().unwrap())
        .await
        .unwrap();
    let lease = lake
        .acquire_lease(&source_lease("s"), "test", 1, Duration::ZERO)
        .await
        .unwrap();
    let sink = LakeSink::new(&lake, &lease, Arc::new(|| 2));
    let options = IngestOptions {
        connections: 4,
        window_ms: DAY_MS / 12,
        ..IngestOptions::default()
    };
    let report = ingest_samples(&source, "prometheus", "s", "c", &sink, day, &options)
        .await
        .unwrap();
    assert_eq!(report.samples(), 4 * 720);
    let head = lake.head().await.unwrap();
    let view = idleproof::lake::LakeView::pinned(head);
    let session = lake.read_session(&view).await.unwrap();
    let sql = "SELECT count_check FROM ingest_windows ORDER BY window_start";
    let none: Vec<datafusion::scalar::ScalarValue> = Vec::new();
    let rows = idleproof::lake::read_only_sql(&session, sql, none)
        .await
        .unwrap();
    let shown = rows.to_string().await.unwrap();
    let equal = shown.matches("| equal ").count();
    assert!(equal >= 2, "{shown}");
    assert!(!shown.contains("server "), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_of_prometheus_2_are_equal_to_its_count() {
    if installed("prometheus") && installed("promtool") {
        ingest_and_check("prometheus").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_of_prometheus_3_are_equal_to_its_count() {
    if let Some(program) = newest().filter(|_| installed("promtool")) {
        ingest_and_check(&program).await;
    }
}
