//! Live Prometheis: a pair that scrapes the same targets at different moments, and native
//! histograms as a real server scrapes and keeps them.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use idleproof::ingest::pivot::PivotOptions;
use idleproof::ingest::prometheus::{
    HistogramSample, Labels, Matcher, RangeSource, RemoteSource, SampleSource, SeriesSamples,
};
use idleproof::ingest::tsdb::{BlockSource, Choice};
use idleproof::ingest::{IngestOptions, IngestReport, LakeSink, ingest_samples};
use idleproof::lake::{Lake, LakeView, read_only_sql, source_lease};
use idleproof::model::TimeWindow;

use super::peers::{Server, options, peer, prometheus_with};

/// An exporter of two GPUs, whose use counts its scrapes. It goes with the test's process.
fn exporter() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let scrapes = AtomicU64::new(0);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut head = [0_u8; 4096];
            let _ = stream.read(&mut head);
            let number = scrapes.fetch_add(1, Ordering::Relaxed) % 100;
            let mut page = "# TYPE DCGM_FI_DEV_GPU_UTIL gauge\n".to_owned();
            for gpu in 0..2 {
                page.push_str(&format!(
                    "DCGM_FI_DEV_GPU_UTIL{{gpu=\"{gpu}\",UUID=\"GPU-{gpu}\",Hostname=\"n\"}} {number}\n"
                ));
            }
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{page}",
                page.len()
            );
        }
    });
    port
}

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap().as_millis() as i64
}

/// Asks until the server has so many samples of each of so many series.
async fn wait_for(
    source: &dyn SampleSource,
    name: &str,
    wanted: usize,
    series: usize,
) -> Vec<SeriesSamples> {
    let began = Instant::now();
    let matchers = [Matcher::equal("__name__", name)];
    loop {
        let now_ms = now_ms();
        let window = TimeWindow::new(now_ms - 600_000, now_ms + 1);
        let mut all = Vec::new();
        let mut sink = |series: SeriesSamples| {
            all.push(series);
            Ok(())
        };
        source.read(&matchers, window, &mut sink).await.unwrap();
        let held = |series: &SeriesSamples| series.samples.len() + series.histograms.len();
        if all.len() >= series && all.iter().all(|series| held(series) >= wanted) {
            return all;
        }
        assert!(
            began.elapsed() < Duration::from_mins(1),
            "{name} never came"
        );
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

fn pair_options() -> IngestOptions {
    IngestOptions {
        pivot: PivotOptions {
            replica_labels: vec!["replica".to_owned()],
            ..PivotOptions::default()
        },
        ..IngestOptions::default()
    }
}

async fn ingest(
    source: &dyn SampleSource,
    name: &str,
    lake: &Lake,
    day: TimeWindow,
) -> IngestReport {
    let lease = lake
        .acquire_lease(&source_lease(name), "test", now_ms(), Duration::ZERO)
        .await
        .unwrap();
    let sink = LakeSink::new(lake, &lease, Arc::new(now_ms));
    ingest_samples(source, "prometheus", name, "c", &sink, day, &pair_options())
        .await
        .unwrap()
}

/// Rows of a source as text, and what is recorded of its window.
async fn rows(lake: &Lake, source: &str) -> (Vec<String>, Vec<String>) {
    let session = lake
        .read_session(&LakeView::pinned(lake.head().await.unwrap()))
        .await
        .unwrap();
    let mut told = Vec::new();
    for sql in [
        format!(
            "SELECT CONCAT(gpu, ' ', CAST(CAST(ROUND(EXTRACT(EPOCH FROM ts) * 1000) AS BIGINT) AS VARCHAR), ' ', target, ' ', CAST(util_percent AS VARCHAR)) \
             FROM gpu_samples WHERE source = '{source}' ORDER BY gpu, ts"
        ),
        format!("SELECT replicas_json FROM ingest_windows WHERE source = '{source}'"),
    ] {
        let none: Vec<datafusion::scalar::ScalarValue> = Vec::new();
        let frame = read_only_sql(&session, &sql, none).await.unwrap();
        let mut lines = Vec::new();
        for batch in frame.collect().await.unwrap() {
            let texts = datafusion::arrow::compute::cast(
                batch.column(0),
                &datafusion::arrow::datatypes::DataType::Utf8,
            )
            .unwrap();
            let texts = datafusion::arrow::array::AsArray::as_string::<i32>(&texts).clone();
            lines.extend(texts.iter().map(|text| text.unwrap_or("-").to_owned()));
        }
        told.push(lines);
    }
    let records = told.pop().unwrap();
    (told.pop().unwrap(), records)
}

/// One of a pair, with what it needs to hand over its blocks.
struct Member {
    server: Server,
    _folder: tempfile::TempDir,
    data: PathBuf,
}

async fn member(program: &Path, replica: &str, interval: &str, target: u16, to: u16) -> Member {
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "global: {{scrape_interval: {interval}, scrape_timeout: {interval}, external_labels: {{replica: {replica}, cluster: c}}}}\n\
         scrape_configs:\n- {{job_name: dcgm, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}\n\
         remote_write:\n- {{url: 'http://127.0.0.1:{to}/api/v1/write', queue_config: {{batch_send_deadline: 500ms}}}}\n"
    );
    let server =
        prometheus_with(program, folder.path(), &config, &["--web.enable-admin-api"]).await;
    Member {
        server,
        data: folder.path().join("data"),
        _folder: folder,
    }
}

/// A snapshot of the server's head as blocks below `to`, with Thanos' note of its external labels.
async fn snapshot(member: &Member, replica: &str, to: &Path) {
    let url = format!(
        "http://127.0.0.1:{}/api/v1/admin/tsdb/snapshot",
        member.server.port
    );
    let answer = super::peers::client().post(url).send().await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    let name = answer["data"]["name"].as_str().unwrap();
    for block in std::fs::read_dir(member.data.join("snapshots").join(name)).unwrap() {
        let block = block.unwrap();
        let target = to.join(block.file_name());
        std::fs::create_dir_all(to).unwrap();
        std::fs::rename(block.path(), &target).unwrap();
        let meta = target.join("meta.json");
        let mut told: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&meta).unwrap()).unwrap();
        told["thanos"] = serde_json::json!({"labels": {"replica": replica, "cluster": "c"}, "downsample": {"resolution": 0}});
        std::fs::write(&meta, told.to_string()).unwrap();
    }
}

/// Times of a source's rows are those of one Prometheus, and no row is there twice.
fn assert_one_replica(
    rows: &[String],
    records: &[String],
    times: &BTreeMap<String, BTreeSet<i64>>,
) {
    let record: BTreeMap<String, Vec<String>> = serde_json::from_str(&records[0]).unwrap();
    assert_eq!(record.len(), 1, "one target, so one replica: {record:?}");
    let (replica, targets) = record.first_key_value().unwrap();
    assert_eq!(targets.len(), 1);
    let keys: BTreeSet<(String, i64)> = rows
        .iter()
        .map(|row| {
            let mut words = row.split(' ').map(str::to_owned);
            (
                words.next().unwrap(),
                words.next().unwrap().parse().unwrap(),
            )
        })
        .collect();
    assert_eq!(keys.len(), rows.len(), "a row stands twice");
    for (gpu, ts_ms) in keys {
        let of_it = &times[replica];
        assert!(
            of_it.contains(&ts_ms),
            "{gpu} at {ts_ms} is no scrape of {replica}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_real_prometheis_one_is_taken_for_each_target_and_said() {
    let Some(program) = peer("prometheus-new") else {
        return;
    };
    let target = exporter();
    // Both write to one store, that tells them apart by their external labels alone.
    let store = tempfile::tempdir().unwrap();
    let receiver = ["--web.enable-remote-write-receiver"];
    let both = prometheus_with(&program, store.path(), "global: {}\n", &receiver).await;
    // The second scrapes twice as often, at moments of its own.
    let a = member(&program, "a", "2s", target, both.port).await;
    let b = member(&program, "b", "1s", target, both.port).await;
    let mut times: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    let remote = RemoteSource::new(options(both.port)).unwrap();
    let of_both = wait_for(&remote, "DCGM_FI_DEV_GPU_UTIL", 6, 4).await;
    assert_eq!(of_both.len(), 4, "two GPUs, told twice");
    let lake = Lake::open("memory://").await.unwrap();
    let day = TimeWindow::day_of(now_ms());
    let report = ingest(&remote, "remote", &lake, day).await;
    assert!(report.windows[0].series_duplicate > 0, "{report:?}");

    // Their blocks lie in one bucket.
    let bucket = tempfile::tempdir().unwrap();
    snapshot(&a, "a", bucket.path()).await;
    snapshot(&b, "b", bucket.path()).await;
    let choice = Choice {
        replica_labels: vec!["replica".to_owned()],
        ..Choice::default()
    };
    assert!(
        BlockSource::open_folder(bucket.path(), Choice::default())
            .unwrap_err()
            .to_string()
            .contains("external_labels"),
        "labels that nobody called a replica's are two clusters"
    );
    let blocks = BlockSource::open_folder(bucket.path(), choice).unwrap();
    let report = ingest(&blocks, "blocks", &lake, day).await;
    assert!(report.windows[0].series_duplicate > 0, "{report:?}");

    for (name, one) in [("a", &a), ("b", &b)] {
        let source = RemoteSource::new(options(one.server.port)).unwrap();
        for series in wait_for(&source, "DCGM_FI_DEV_GPU_UTIL", 1, 2).await {
            let all = times.entry(name.to_owned()).or_default();
            all.extend(series.samples.iter().map(|sample| sample.ts_ms));
        }
    }
    let shared = times["a"].intersection(&times["b"]).count();
    assert!(
        shared * 2 < times["a"].len(),
        "they scrape at the same moments"
    );
    for source in ["remote", "blocks"] {
        let (rows, records) = rows(&lake, source).await;
        assert!(rows.len() >= 20, "{rows:#?}");
        // The one that scrapes more holds more.
        assert!(records[0].starts_with("{\"b\":"), "{records:?}");
        assert_one_replica(&rows, &records, &times);
    }
}

fn told(histogram: &HistogramSample) -> String {
    format!(
        "{} {} {:?}",
        histogram.ts_ms, histogram.count, histogram.buckets
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn native_histograms_that_a_real_prometheus_scrapes_of_itself_arrive() {
    let Some(program) = peer("prometheus-new") else {
        return;
    };
    // It tells its own latencies as native histograms to whoever scrapes them as protobuf.
    let folder = tempfile::tempdir().unwrap();
    let own = super::peers::free_port().await;
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, scrape_native_histograms: true, scrape_protocols: [PrometheusProto]}}\n\
         scrape_configs:\n- {{job_name: self, static_configs: [{{targets: ['127.0.0.1:{own}']}}]}}\n"
    );
    let server = super::peers::prometheus_at(&program, folder.path(), &config, own, &[]).await;
    let remote = RemoteSource::new(options(server.port)).unwrap();
    let range = RangeSource::new(options(server.port)).unwrap();
    let name = "prometheus_http_request_duration_seconds";
    let by_remote = wait_for(&remote, name, 3, 1).await;
    let by_range = wait_for(&range, name, 3, 1).await;
    let native = |all: &[SeriesSamples]| -> BTreeMap<Labels, Vec<String>> {
        let native = all.iter().filter(|series| !series.histograms.is_empty());
        let lines = |series: &SeriesSamples| {
            let held = series.histograms.iter().filter(|h| !h.is_stale());
            held.map(told).collect::<Vec<_>>()
        };
        native.map(|s| (s.labels.clone(), lines(s))).collect()
    };
    let (remote, range) = (native(&by_remote), native(&by_range));
    assert!(!remote.is_empty(), "no native histogram came");
    let mut compared = 0;
    for (labels, lines) in &remote {
        let Some(other) = range.get(labels) else {
            panic!("range has no {labels}");
        };
        // The second read came later and holds more.
        for line in lines {
            assert!(
                other.contains(line),
                "{labels}: {line} is not in {other:#?}"
            );
            compared += 1;
        }
        let count = |line: &str| line.split(' ').nth(1).unwrap().parse::<f64>().unwrap();
        assert!(
            lines
                .windows(2)
                .all(|pair| count(&pair[0]) <= count(&pair[1]))
        );
    }
    assert!(compared >= 3, "{compared}");
}
