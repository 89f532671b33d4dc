//! What is special to a way of reading servers, against real ones: range queries beside remote
//! read on every kind of sample, VictoriaMetrics' spellings, the choice of a mode, many clusters in
//! one server, one cluster over two, and metrics of a user's own.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use datafusion::arrow::util::pretty::pretty_format_batches;
use idleproof::ingest::prometheus::{
    ExportSource, Labels, Mode, RangeSource, RemoteSource, STALE_NAN_BITS, SampleSource,
    SeriesSamples, ServerSource, is_stale_nan,
};
use idleproof::lake::{Lake, LakeView, read_only_sql};
use idleproof::model::TimeWindow;

use super::peers::{
    Data, Relay, Server, all, client, flush, options, peer, prometheus, read, victoria,
};
use super::tsdb::copy;

/// Time, count, sum and buckets (upper bound, count), all by bits.
type Histograms = Vec<(i64, u64, u64, Vec<(u64, u64)>)>;
type Full = BTreeMap<Labels, (Vec<(i64, u64)>, Histograms)>;

/// All that JSON can carry of a window: without stale markers, and with one kind of NaN.
async fn full(source: &dyn SampleSource, window: TimeWindow) -> Full {
    let plain = |value: f64| {
        let one_nan = 0x7ff8_0000_0000_0001;
        if value.is_nan() {
            one_nan
        } else {
            value.to_bits()
        }
    };
    let mut found = Full::new();
    let mut sink = |series: SeriesSamples| {
        let floats = series.samples.iter().filter(|s| !s.is_stale());
        let floats: Vec<_> = floats.map(|s| (s.ts_ms, plain(s.value))).collect();
        let histograms = series.histograms.iter().filter(|h| !h.is_stale());
        let histograms: Histograms = histograms
            .map(|h| {
                let buckets = h.buckets.iter();
                // The bounds in JSON are rounded by the server's own arithmetic: the last bit may differ.
                let bound = |upper: f64| format!("{upper:.12e}").parse::<f64>().unwrap();
                let buckets = buckets.map(|b| (bound(b.upper).to_bits(), b.count.to_bits()));
                (h.ts_ms, plain(h.count), plain(h.sum), buckets.collect())
            })
            .collect();
        if !floats.is_empty() || !histograms.is_empty() {
            assert!(found.insert(series.labels, (floats, histograms)).is_none());
        }
        Ok(())
    };
    source.read(&all(), window, &mut sink).await.unwrap();
    found
}

fn assert_full(got: &Full, want: &Full, what: &str) {
    let series = |all: &Full| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(series(got), series(want), "{what}");
    for (labels, (floats, histograms)) in want {
        let pairs = got[labels].0.iter().zip(floats);
        assert_eq!(
            pairs.clone().find(|(a, b)| a != b),
            None,
            "{what}: {labels}"
        );
        let pairs = got[labels].1.iter().zip(histograms);
        assert_eq!(
            pairs.clone().find(|(a, b)| a != b),
            None,
            "{what}: {labels}"
        );
        let lengths = (got[labels].0.len(), got[labels].1.len());
        assert_eq!(
            lengths,
            (floats.len(), histograms.len()),
            "{what}: {labels}"
        );
    }
}

/// Blocks of the fixtures behind a server.
async fn fixture(program: &str, name: &str, more: &[&str]) -> Option<(tempfile::TempDir, Server)> {
    let program = peer(program)?;
    let folder = tempfile::tempdir().unwrap();
    let blocks = Path::new(env!("CARGO_MANIFEST_DIR"));
    let blocks = blocks.join("tests/fixtures/tsdb").join(name);
    copy(&blocks, &folder.path().join("data"));
    std::fs::remove_file(folder.path().join("data/truth.ndjson")).unwrap();
    let server = prometheus(&program, folder.path(), more).await;
    Some((folder, server))
}

// The fixtures begin here; two of them have samples for 17 hours.
const FIXTURE_MS: i64 = 1_794_700_800_000;

#[tokio::test(flavor = "multi_thread")]
async fn range_queries_give_what_remote_read_gives_also_histograms_and_odd_floats() {
    // Prometheus 2.42 knows no histograms with custom buckets: its queries leave them out, where
    // its remote read still ships their chunks.
    let cases: [(&str, &str, &[&str]); 5] = [
        ("prometheus", "xor", &[]),
        ("prometheus-new", "xor2", &[]),
        ("prometheus-new", "overlap", &[]),
        ("prometheus-new", "histogram", &[]),
        ("prometheus-new", "histogram-start", &[]),
    ];
    for (program, name, more) in cases {
        let Some((_folder, server)) = fixture(program, name, more).await else {
            continue;
        };
        let remote = RemoteSource::new(options(server.port)).unwrap();
        let range = RangeSource::new(options(server.port)).unwrap();
        let hour = 3_600_000;
        for window in [
            TimeWindow::new(FIXTURE_MS, FIXTURE_MS + 24 * hour),
            TimeWindow::new(FIXTURE_MS + 15_000, FIXTURE_MS + 615_000),
            TimeWindow::new(FIXTURE_MS + 15_001, FIXTURE_MS + 1_000_007),
        ] {
            let want = full(&remote, window).await;
            assert!(!want.is_empty(), "{program} {name}");
            let got = full(&range, window).await;
            assert_full(&got, &want, &format!("{program} {name} {window:?}"));
        }
        let extent = remote.extent().await.unwrap();
        assert_eq!(range.extent().await.unwrap(), extent, "{program} {name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_wide_ranges_is_asked_for_narrow_ones() {
    // Six hours of these series have more samples than one query may load here.
    for program in ["prometheus", "prometheus-new"] {
        let more = ["--query.max-samples=1500"];
        let Some((_folder, server)) = fixture(program, "xor", &more).await else {
            continue;
        };
        let window = TimeWindow::new(FIXTURE_MS, FIXTURE_MS + 24 * 3_600_000);
        let remote = RemoteSource::new(options(server.port)).unwrap();
        let range = RangeSource::new(options(server.port)).unwrap();
        let (want, got) = (full(&remote, window).await, full(&range, window).await);
        assert_full(&got, &want, program);
        // One sample is too many: no width helps, and the server's reason is told.
        let mut tiny = Data::default();
        let samples = (0..400).map(|i| (FIXTURE_MS + i * 1000, 1.0)).collect();
        tiny.add(&[("__name__", "a")], samples);
        let folder = tempfile::tempdir().unwrap();
        if peer("promtool").is_none() {
            continue;
        }
        tiny.blocks(folder.path());
        let program = peer(program).unwrap();
        let server = prometheus(&program, folder.path(), &["--query.max-samples=1"]).await;
        let range = RangeSource::new(options(server.port)).unwrap();
        let error = read(&range, &all(), window).await.unwrap_err();
        assert!(error.contains("422"), "{error}");
    }
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn field(number: u8, body: &[u8]) -> Vec<u8> {
    [
        vec![number << 3 | 2],
        varint(body.len() as u64),
        body.to_vec(),
    ]
    .concat()
}

/// Sends one series by remote write, bits and all.
async fn remote_write(port: u16, name: &str, samples: &[(i64, u64)]) {
    let label = field(
        1,
        &[field(1, b"__name__"), field(2, name.as_bytes())].concat(),
    );
    let samples = samples.iter().map(|(ts, bits)| {
        let value = [vec![1 << 3 | 1], bits.to_le_bytes().to_vec()].concat();
        field(2, &[value, vec![2 << 3], varint(*ts as u64)].concat())
    });
    let series = [label, samples.collect::<Vec<_>>().concat()].concat();
    let body = snap::raw::Encoder::new()
        .compress_vec(&field(1, &series))
        .unwrap();
    let answer = client()
        .post(format!("http://127.0.0.1:{port}/api/v1/write"))
        .header("Content-Encoding", "snappy")
        .header("Content-Type", "application/x-protobuf")
        .body(body)
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
}

#[tokio::test(flavor = "multi_thread")]
async fn victoria_metrics_spells_infinity_and_stale_markers_in_its_own_ways() {
    for program in ["victoria-metrics", "victoria-metrics-new"] {
        let Some(path) = peer(program) else { continue };
        let folder = tempfile::tempdir().unwrap();
        let server = victoria(&path, folder.path()).await;
        let bits = |v: f64| v.to_bits();
        let start = FIXTURE_MS;
        let written = [
            bits(1.5),
            bits(f64::INFINITY),
            bits(f64::NEG_INFINITY),
            // VictoriaMetrics never takes in an ordinary NaN.
            0x7ff8_0000_0000_0001,
            bits(0.1),
            STALE_NAN_BITS,
        ];
        let written: Vec<_> = (0..).map(|i| start + i * 15_000).zip(written).collect();
        remote_write(server.port, "odd", &written).await;
        flush(server.port).await;
        let export = ExportSource::new(options(server.port)).unwrap();
        let window = TimeWindow::new(start, start + 3_600_000);
        let got = read(&export, &all(), window).await.unwrap();
        let mut want = written.clone();
        want.remove(3);
        assert_eq!(
            got.into_values().collect::<Vec<_>>(),
            [want.clone()],
            "{program}"
        );
        // Its own range queries give the same, the marker as any NaN.
        let range = RangeSource::new(options(server.port)).unwrap();
        let got = read(&range, &all(), window).await.unwrap();
        let got: Vec<_> = got.into_values().next().unwrap();
        want.retain(|(_, bits)| !is_stale_nan(f64::from_bits(*bits)));
        assert_eq!(got[..want.len()], want, "{program}");
        assert_eq!(
            range.extent().await.unwrap(),
            export.extent().await.unwrap()
        );
        let days = TimeWindow::day_of(start);
        assert_eq!(export.extent().await.unwrap(), Some(days), "{program}");
    }
}

async fn chosen(port: u16) -> (Mode, String) {
    let mut options = options(port);
    options.attempts = 1;
    let (server, why) = ServerSource::open(options, Mode::Auto).await.unwrap();
    (server.mode(), why.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn mode_auto_finds_what_a_server_speaks_and_says_so() {
    if let Some((_folder, server)) = fixture("prometheus", "xor", &[]).await {
        let (mode, why) = chosen(server.port).await;
        assert_eq!(mode, Mode::RemoteRead, "{why}");
        let relay = Relay {
            refused: &["/api/v1/read"],
            ..Relay::default()
        };
        let port = relay.before(server.port).await;
        let (mode, why) = chosen(port).await;
        assert_eq!(mode, Mode::Range);
        assert!(why.contains("404") && why.contains("range"), "{why}");
        // The same window by whatever was chosen.
        let window = TimeWindow::new(FIXTURE_MS, FIXTURE_MS + 3_600_000);
        let remote = RemoteSource::new(options(server.port)).unwrap();
        let (auto, _) = ServerSource::open(options(port), Mode::Auto).await.unwrap();
        assert_full(
            &full(&auto, window).await,
            &full(&remote, window).await,
            "auto",
        );
        // Nothing is chosen where nothing works, or nothing answers.
        let relay = Relay {
            refused: &["/api/v1/"],
            ..Relay::default()
        };
        let refused = options(relay.before(server.port).await);
        let error = ServerSource::open(refused, Mode::Auto).await.unwrap_err();
        assert!(error.to_string().contains("404"), "{error}");
        let port = server.port;
        drop(server);
        let error = ServerSource::open(options(port), Mode::Auto)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("connection"), "{error}");
    }
    for program in ["victoria-metrics", "victoria-metrics-new"] {
        let Some(path) = peer(program) else { continue };
        let folder = tempfile::tempdir().unwrap();
        let server = victoria(&path, folder.path()).await;
        let (mode, why) = chosen(server.port).await;
        assert_eq!(mode, Mode::Export, "{why}");
        assert!(why.contains("400"), "{why}");
    }
}

// Clusters.

const START_MS: i64 = 1_793_491_200_000; // 2026-11-01T00:00:00Z

/// One GPU and one engine of a cluster: names and pods are the same in all of them.
fn cluster(data: &mut Data, label: Option<&str>, level: f64, gpu: bool, engine: bool) {
    let cluster: Vec<(&str, &str)> = label.map(|value| ("cluster", value)).into_iter().collect();
    let hour: Vec<i64> = (0..240).map(|step| START_MS + step * 15_000).collect();
    let samples = |value: f64| hour.iter().map(|ts| (*ts, value)).collect();
    if gpu {
        let labels = [
            ("__name__", "DCGM_FI_DEV_GPU_UTIL"),
            ("gpu", "0"),
            ("UUID", "GPU-0"),
            ("hostname", "node-0"),
            ("namespace", "chat"),
            ("pod", "llama-0"),
            ("container", "main"),
            ("instance", "10.0.0.1:9400"),
            ("job", "dcgm"),
        ];
        data.add(&[&labels[..], &cluster[..]].concat(), samples(level));
    }
    if engine {
        let labels = [
            ("__name__", "vllm:num_requests_running"),
            ("namespace", "chat"),
            ("pod", "llama-0"),
            ("model_name", "llama"),
            ("instance", "10.0.1.1:8000"),
            ("job", "vllm"),
        ];
        data.add(&[&labels[..], &cluster[..]].concat(), samples(level + 1.0));
        let labels = [
            ("__name__", "my_queue_depth"),
            ("pod", "llama-0"),
            ("job", "vllm"),
        ];
        data.add(&[&labels[..], &cluster[..]].concat(), samples(level + 2.0));
    }
}

fn ingest(folder: &Path, sources: &str) -> Output {
    let config = folder.join("idleproof.toml");
    let lake = folder.join("lake");
    std::fs::write(
        &config,
        format!(
            "[lake]\nurl = \"{}\"\n[[cluster]]\nname = \"prod-a\"\n[[cluster]]\nname = \"prod-b\"\n{sources}",
            lake.display()
        ),
    )
    .unwrap();
    Command::new(env!("CARGO_BIN_EXE_idleproof"))
        .args(["ingest", "--config"])
        .arg(&config)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    text
}

async fn rows(folder: &Path, sql: &str) -> String {
    let lake = folder.join("lake");
    let lake = Lake::open_existing(&lake.to_string_lossy()).await.unwrap();
    let view = LakeView::pinned(lake.head().await.unwrap());
    let session = lake.read_session(&view).await.unwrap();
    let none: Vec<datafusion::scalar::ScalarValue> = Vec::new();
    let frame = read_only_sql(&session, sql, none).await.unwrap();
    let batches = frame.collect().await.unwrap();
    let text = pretty_format_batches(&batches).unwrap().to_string();
    let cells = text.lines().skip(3).filter(|line| line.starts_with('|'));
    let cells = cells.map(|line| line.split_whitespace().filter(|w| *w != "|"));
    let lines: Vec<String> = cells.map(|c| c.collect::<Vec<_>>().join(" ")).collect();
    lines.join("\n")
}

const UTILS: &str = "SELECT cluster, source, count(*), min(util_percent), max(util_percent) \
                     FROM gpu_samples GROUP BY cluster, source ORDER BY cluster, source";

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_in_one_server_with_the_same_pods_stay_apart() {
    if peer("promtool").is_none() {
        return;
    }
    let mut data = Data::default();
    cluster(&mut data, Some("eks-1"), 10.0, true, true);
    cluster(&mut data, Some("eks \"2\\\""), 20.0, true, true);
    cluster(&mut data, Some("eks-3"), 30.0, true, true);
    cluster(&mut data, None, 40.0, true, false);
    for (program, mode) in [
        ("prometheus", "remote-read"),
        ("prometheus-new", "range"),
        ("victoria-metrics-new", "export"),
    ] {
        let Some(path) = peer(program) else { continue };
        let folder = tempfile::tempdir().unwrap();
        let server = if mode == "export" {
            let server = victoria(&path, folder.path()).await;
            data.import(server.port).await;
            server
        } else {
            data.blocks(folder.path());
            prometheus(&path, folder.path(), &[]).await
        };
        let source = format!(
            "[[source]]\nname = \"central\"\nkind = \"prometheus\"\nmode = \"{mode}\"\n\
             cluster_label = \"cluster\"\n\
             clusters = {{ \"eks-1\" = \"prod-a\", 'eks \"2\\\"' = \"prod-b\" }}\n\
             url = \"http://127.0.0.1:{}\"\n",
            server.port
        );
        let text = said(&ingest(folder.path(), &source));
        assert!(text.contains("2 series have cluster=\"eks-3\""), "{text}");
        assert!(text.contains("1 series have no label cluster"), "{text}");
        assert!(!text.contains("cluster=\"eks-1\""), "{text}");
        let want = "prod-a central-eks-1 240 10.0 10.0\n\
                    prod-b central-eks \"2\\\" 240 20.0 20.0";
        assert_eq!(rows(folder.path(), UTILS).await, want, "{program}");
        let engines = "SELECT cluster, count(*), max(requests_running) FROM serving_samples \
                       GROUP BY cluster ORDER BY cluster";
        let want = "prod-a 240 11.0\nprod-b 240 21.0";
        assert_eq!(rows(folder.path(), engines).await, want, "{program}");
        let again = said(&ingest(folder.path(), &source));
        assert!(again.contains("0 written"), "{again}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_cluster_over_two_servers_meets_in_its_pods() {
    let programs = [
        peer("promtool"),
        peer("prometheus"),
        peer("victoria-metrics"),
    ];
    let [Some(_), Some(prometheus_path), Some(victoria_path)] = programs else {
        return;
    };
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (mut gpus, mut engines) = (Data::default(), Data::default());
    cluster(&mut gpus, None, 10.0, true, false);
    // The second server holds another environment too, which matchers leave out.
    cluster(&mut engines, Some("staging"), 20.0, false, true);
    cluster(&mut engines, Some("live"), 10.0, false, true);
    gpus.blocks(folders[0].path());
    let first = prometheus(&prometheus_path, folders[0].path(), &[]).await;
    let second = victoria(&victoria_path, folders[1].path()).await;
    engines.import(second.port).await;
    let sources = format!(
        "[[source]]\nname = \"provider\"\nkind = \"prometheus\"\ncluster = \"prod-a\"\n\
         url = \"http://127.0.0.1:{}\"\n\
         [[source]]\nname = \"own\"\nkind = \"prometheus\"\ncluster = \"prod-a\"\n\
         matchers = ['{{cluster=\"live\"}}']\nurl = \"http://127.0.0.1:{}\"\n",
        first.port, second.port
    );
    let text = said(&ingest(folders[0].path(), &sources));
    assert!(
        text.contains("provider: mode auto chose remote-read"),
        "{text}"
    );
    assert!(text.contains("own: mode auto chose export"), "{text}");
    let met = "SELECT g.cluster, g.namespace, g.pod, count(*), min(s.requests_running) \
               FROM gpu_pod_spans g JOIN serving_samples s \
               ON g.cluster = s.cluster AND g.namespace = s.namespace AND g.pod = s.pod \
               WHERE g.source <> s.source GROUP BY g.cluster, g.namespace, g.pod";
    let want = "prod-a chat llama-0 240 11.0";
    assert_eq!(rows(folders[0].path(), met).await, want);
    let bad = sources.replace("{cluster=", "{cluster=~\"[a]\",x=");
    let output = ingest(folders[0].path(), &bad);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("a|b"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_of_a_users_own_are_kept_and_read_again_when_they_change() {
    let programs = [peer("promtool"), peer("prometheus")];
    let [Some(_), Some(program)] = programs else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut data = Data::default();
    cluster(&mut data, None, 10.0, true, true);
    data.blocks(folder.path());
    let server = prometheus(&program, folder.path(), &[]).await;
    let source = |more: &str| {
        format!(
            "[[source]]\nname = \"prom\"\nkind = \"prometheus\"\ncluster = \"prod-a\"\n{more}\
             url = \"http://127.0.0.1:{}\"\n",
            server.port
        )
    };
    let kept = "SELECT m.metric, count(*), min(m.value) FROM misc_samples m \
                JOIN series s ON m.series_fp = s.series_fp \
                WHERE s.labels_json LIKE '%llama-0%' GROUP BY m.metric";
    // Settled at once: what was read is read again only because of what is asked for.
    let settled = "look_back_hours = 0\n";
    said(&ingest(folder.path(), &source(settled)));
    assert_eq!(rows(folder.path(), kept).await, "");
    let text = said(&ingest(folder.path(), &source(settled)));
    let more = format!("{settled}metrics = [\"my_queue_depth\"]\n");
    let with = said(&ingest(folder.path(), &source(&more)));
    assert!(with.contains("1 written"), "{text}\n{with}");
    assert_eq!(rows(folder.path(), kept).await, "my_queue_depth 240 12.0");
    let bad = source("metrics = [\"my queue\"]\n");
    let output = ingest(folder.path(), &bad);
    assert_eq!(output.status.code(), Some(2));

    // A source that does not hold the day any more says that it stays as it was.
    drop(server);
    let later = tempfile::tempdir().unwrap();
    let mut moved = Data::default();
    let samples = (0..10).map(|i| (START_MS + 5 * 86_400_000 + i * 15_000, 1.0));
    moved.add(
        &[("__name__", "my_queue_depth"), ("job", "vllm")],
        samples.collect(),
    );
    moved.blocks(later.path());
    let server = prometheus(&program, later.path(), &[]).await;
    let more = "metrics = [\"my_queue_depth\", \"another\"]\n";
    let source = format!(
        "[[source]]\nname = \"prom\"\nkind = \"prometheus\"\ncluster = \"prod-a\"\n{more}\
         url = \"http://127.0.0.1:{}\"\n",
        server.port
    );
    let text = said(&ingest(folder.path(), &source));
    assert!(
        text.contains("1 windows were read with other metrics"),
        "{text}"
    );
    assert_eq!(rows(folder.path(), kept).await, "my_queue_depth 240 12.0");
}
