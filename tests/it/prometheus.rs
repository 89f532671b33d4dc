//! Remote read against Debian's real `prometheus` on loopback, and against servers that lie.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests, outside test functions"
)]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use idleproof::ingest::prometheus::{
    Labels, Matcher, Pattern, RemoteOptions, RemoteSource, SampleSource, SeriesSamples, SourceError,
};
use idleproof::ingest::tsdb::BlockSource;
use idleproof::model::TimeWindow;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

type Content = BTreeMap<Labels, Vec<(i64, u64)>>;

async fn read(
    source: &dyn SampleSource,
    matchers: &[Matcher],
    window: TimeWindow,
) -> Result<Content, String> {
    let mut all = Content::new();
    let mut sink = |series: SeriesSamples| {
        let samples = series.samples.iter();
        let samples = samples.map(|s| (s.ts_ms, s.value.to_bits())).collect();
        assert!(all.insert(series.labels, samples).is_none());
        Ok(())
    };
    let outcome = source.read(matchers, window, &mut sink).await;
    outcome.map(|()| all).map_err(|error| error.to_string())
}

/// Equality that names the first difference instead of printing both.
fn assert_same(got: &Content, want: &Content) {
    let series = |content: &Content| content.keys().cloned().collect::<Vec<_>>();
    assert_eq!(series(got), series(want));
    for (labels, samples) in want {
        let pairs = got[labels].iter().zip(samples);
        let different = pairs.clone().find(|(a, b)| a != b);
        assert_eq!(different, None, "{labels}");
        assert_eq!(got[labels].len(), samples.len(), "{labels}");
    }
}

fn options(port: u16) -> RemoteOptions {
    let url = format!("http://user:hidden@127.0.0.1:{port}/");
    let mut options = RemoteOptions::new(url.parse().unwrap());
    options.idle_timeout = Duration::from_secs(20);
    options.backoff = Duration::from_millis(10);
    options
}

// A real server.

pub(crate) struct Server {
    process: Child,
    pub(crate) port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether the program is there; its absence is an error where CI promises it.
pub(crate) fn installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    assert!(
        found || std::env::var("CI").as_deref() != Ok("true"),
        "{program} is not installed"
    );
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

const START_S: i64 = 1_793_491_200; // 2026-11-01T00:00:00Z
const STEP_S: i64 = 15;
const STEPS: i64 = 4 * 3600 / STEP_S;

/// Four hours of counters, gauges with jitter, special values and a gap.
fn open_metrics() -> String {
    let mut out = String::new();
    for metric in ["gpu_util", "gpu_power", "requests", "odd"] {
        let kind = if metric == "requests" {
            "counter"
        } else {
            "gauge"
        };
        out.push_str(&format!("# TYPE {metric} {kind}\n"));
        for gpu in 0..6 {
            for step in 0..STEPS {
                if gpu == 3 && (200..500).contains(&step) {
                    continue;
                }
                let jitter = (step * 7919 + gpu * 31) % 40;
                let ts = format!("{}.{:03}", START_S + step * STEP_S, jitter);
                let (name, value) = match metric {
                    "gpu_util" => ("gpu_util", ((step / 40 + gpu) % 101).to_string()),
                    "gpu_power" => (
                        "gpu_power",
                        format!("{:.3}", 70.0 + (step * gpu) as f64 * 0.137),
                    ),
                    "requests" => ("requests_total", (step % 700 * 3).to_string()),
                    _ => (
                        "odd",
                        ["NaN", "+Inf", "-Inf", "-0", "1e-310"][(step % 5) as usize].into(),
                    ),
                };
                out.push_str(&format!(
                    "{name}{{gpu=\"{gpu}\",host=\"a b\\\"<c>\"}} {value} {ts}\n"
                ));
            }
        }
    }
    out.push_str("# EOF\n");
    out
}

/// Blocks made by promtool in a folder.
fn make_blocks(folder: &Path) {
    make_blocks_of(folder, &open_metrics());
}

pub(crate) fn make_blocks_of(folder: &Path, metrics: &str) {
    let text = folder.join("metrics.txt");
    std::fs::File::create(&text)
        .unwrap()
        .write_all(metrics.as_bytes())
        .unwrap();
    let made = Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([&text, &folder.join("data")])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

pub(crate) async fn start_prometheus(folder: &Path) -> Server {
    start_with("prometheus", folder, "global: {}\n").await
}

pub(crate) async fn start_with(program: &str, folder: &Path, configuration: &str) -> Server {
    // A port that was free a moment ago.
    let port = {
        let probe = TcpListener::bind("127.0.0.1:0").await.unwrap();
        probe.local_addr().unwrap().port()
    };
    let config = folder.join("prometheus.yml");
    std::fs::write(&config, configuration).unwrap();
    let process = Command::new(program)
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.join("data").display()
        ))
        .arg("--storage.tsdb.retention.time=100y")
        .arg("--log.level=error")
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server { process, port };
    let ready = format!("http://127.0.0.1:{port}/-/ready");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let started = Instant::now();
    while started.elapsed() < Duration::from_mins(1) {
        if let Ok(answer) = client.get(&ready).send().await
            && answer.status().is_success()
        {
            return server;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("prometheus did not become ready");
}

/// What `query=selector[range]` returns, the window's samples only.
async fn query_range(port: u16, selector: &str, window: TimeWindow) -> Content {
    let seconds = (window.end_ms - window.start_ms) / 1000 + 3;
    let mut url: url::Url = format!("http://127.0.0.1:{port}/api/v1/query")
        .parse()
        .unwrap();
    url.query_pairs_mut()
        .append_pair("query", &format!("{selector}[{seconds}s]"))
        .append_pair("time", &format!("{}", window.end_ms / 1000 + 1));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = client.get(url).send().await.unwrap().bytes().await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let mut out = Content::new();
    for series in answer["data"]["result"].as_array().unwrap() {
        let labels = series["metric"].as_object().unwrap().iter();
        let labels = labels.map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned()));
        let samples = series["values"].as_array().unwrap().iter();
        let samples = samples
            .map(|pair| {
                let ts_ms = (pair[0].as_f64().unwrap() * 1000.0).round() as i64;
                let value: f64 = pair[1].as_str().unwrap().parse().unwrap();
                // JSON has one NaN only; the ordinary one of Prometheus is meant.
                let ordinary_nan = 0x7ff8_0000_0000_0001;
                let bits = if value.is_nan() {
                    ordinary_nan
                } else {
                    value.to_bits()
                };
                (ts_ms, bits)
            })
            .filter(|(ts_ms, _)| window.contains(*ts_ms))
            .collect();
        out.insert(labels.collect(), samples);
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn remote_read_blocks_and_queries_agree() {
    if !installed("prometheus") || !installed("promtool") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    make_blocks(folder.path());
    let blocks = BlockSource::open(&folder.path().join("data")).unwrap();
    let server = start_prometheus(folder.path()).await;
    let remote = RemoteSource::new(options(server.port)).unwrap();

    let day = TimeWindow::day_of(START_S * 1000);
    let odd_edges = TimeWindow::new(START_S * 1000 + 3_600_000, START_S * 1000 + 9_015_007);
    let all = [Matcher::prefix("__name__", "")];
    let some = [
        Matcher::any_of(
            "__name__",
            vec![
                Pattern::Exact("requests_total".into()),
                Pattern::Prefix("gpu_".into()),
            ],
        ),
        Matcher::not_equal("gpu", "2"),
    ];
    for (matchers, window) in [
        (&all[..], day),
        (&all[..], odd_edges),
        (&some[..], odd_edges),
    ] {
        let by_remote = read(&remote, matchers, window).await.unwrap();
        let by_blocks = read(&blocks, matchers, window).await.unwrap();
        assert!(by_remote.len() >= 10, "{}", by_remote.len());
        assert_same(&by_remote, &by_blocks);
    }
    let by_remote = read(&remote, &all, odd_edges).await.unwrap();
    let by_query = query_range(server.port, "{__name__=~\".+\"}", odd_edges).await;
    assert_same(&by_remote, &by_query);

    let none = read(&remote, &[Matcher::equal("__name__", "none")], day).await;
    assert_eq!(none, Ok(Content::new()));

    let names: Vec<_> = ["gpu_util", "odd", "none"].map(String::from).into();
    let gpu = [Matcher::one_of("gpu", ["1", "3"])];
    let counted = remote.count_check(&names, &gpu, day).await.unwrap();
    let held = read(&blocks, &gpu, day).await.unwrap();
    for name in &names {
        let ours = held.iter().filter(|(labels, _)| labels.name() == name);
        let ours: usize = ours.map(|(_, samples)| samples.len()).sum();
        assert_eq!(counted[name], ours as u64, "{name}");
    }
    // A window that begins right behind a sample counts neither that one nor too few.
    let samples = held.values().next().unwrap();
    let narrow = TimeWindow::new(samples[3].0 + 1, samples[5].0 + 1);
    let one = [Matcher::equal("gpu", "1")];
    let counted = remote.count_check(&names[..1], &one, narrow).await.unwrap();
    assert_eq!(counted["gpu_util"], 2);

    let span = blocks.extent().await.unwrap().unwrap();
    let extent = remote.extent().await.unwrap().unwrap();
    assert_eq!(extent.intersect(&span), Some(span));
    assert!(
        extent.end_ms - extent.start_ms <= 6 * 3_600_000,
        "{extent:?}"
    );
}

// Servers that lie.

/// Serves `answers`, one a connection, the last for ever; returns the port. An answer is written
/// as it is, then the connection is closed, or kept open if `hold`.
async fn serve(answers: Vec<Vec<u8>>, hold: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut answers = answers.into_iter().peekable();
        let mut last = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if let Some(next) = answers.next() {
                last = next;
            }
            let answer = last.clone();
            tokio::spawn(async move {
                let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
                loop {
                    let got = stream.read(&mut buffer).await.unwrap_or(0);
                    request.extend_from_slice(&buffer[..got]);
                    if got == 0 || is_whole(&request) {
                        break;
                    }
                }
                let _ = stream.write_all(&answer).await;
                if hold {
                    // An endless trickle: each byte alone is in time.
                    while stream.write_all(b"1\r\n\0\r\n").await.is_ok() {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            });
        }
    });
    port
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some(head) = text
        .split("\r\n\r\n")
        .next()
        .filter(|h| h.len() + 4 <= text.len())
    else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|l| l.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |n| n.trim().parse().unwrap());
    let end = request.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    request.len() >= end + length
}

const STREAM: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

fn head(kind: &str, framing: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n{framing}\r\n\r\n")
        .into_bytes()
}

fn with_length(kind: &str, body: &[u8]) -> Vec<u8> {
    let mut out = head(kind, &format!("Content-Length: {}", body.len()));
    out.extend(body);
    out
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

/// A length-delimited protobuf field.
fn field(number: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    out.extend(varint(body.len() as u64));
    out.extend(body);
    out
}

fn label(name: &str, value: &str) -> Vec<u8> {
    let pair = [field(1, name.as_bytes()), field(2, value.as_bytes())].concat();
    field(1, &pair)
}

/// One XOR chunk with one sample, 1.0 at `ts_ms`.
fn chunk(encoding: u8, ts_ms: u64) -> Vec<u8> {
    let data = [&[0, 1], &varint(ts_ms * 2)[..], &1.0_f64.to_be_bytes()].concat();
    let body = [vec![3 << 3, encoding], field(4, &data)].concat();
    field(2, &body)
}

fn frame_of(series: &[Vec<u8>]) -> Vec<u8> {
    let message = field(1, &series.concat());
    let mut out = varint(message.len() as u64);
    out.extend(crc32c::crc32c(&message).to_be_bytes());
    out.extend(message);
    out
}

const WINDOW: TimeWindow = TimeWindow::new(0, 1000);

async fn answer_of(answers: Vec<Vec<u8>>) -> Result<Content, String> {
    let port = serve(answers, false).await;
    let source = RemoteSource::new(options(port)).unwrap();
    let got = read(&source, &[], WINDOW).await;
    if let Err(error) = &got {
        assert!(
            error.contains(&format!("http://127.0.0.1:{port}/")),
            "{error}"
        );
        assert!(!error.contains("hidden"), "{error}");
        assert!(error.contains("; "), "says what to do: {error}");
    }
    got
}

#[tokio::test]
async fn a_series_over_several_frames_is_one_and_clipped() {
    let a = || label("__name__", "a");
    let body = [
        frame_of(&[a(), chunk(1, 500), chunk(1, 400)]),
        frame_of(&[a(), chunk(1, 400), chunk(1, 1000), chunk(1, 999)]),
        frame_of(&[label("__name__", "b"), chunk(1, 2000)]),
    ]
    .concat();
    let got = answer_of(vec![with_length(STREAM, &body)]).await.unwrap();
    let one = 1.0_f64.to_bits();
    let want: Vec<_> = [400, 500, 999].map(|ts| (ts, one)).into();
    assert_eq!(got.len(), 1);
    assert_eq!(got.values().next(), Some(&want));
}

#[tokio::test]
async fn whatever_is_wrong_with_a_stream_fails_the_window() {
    let good = || frame_of(&[label("__name__", "a"), chunk(1, 500)]);
    let mut bad_crc = good();
    let last = bad_crc.len() - 1;
    bad_crc[last] ^= 1;
    let huge = [&varint(60 << 20)[..], &[0; 100]].concat();
    let again = [
        good(),
        frame_of(&[label("__name__", "b"), chunk(1, 1)]),
        good(),
    ]
    .concat();
    let cases: [(&str, Vec<u8>); 9] = [
        ("checksum", [good(), bad_crc].concat()),
        (
            "ends within a frame",
            [good(), good()[..9].to_vec()].concat(),
        ),
        ("50 MiB", [good(), huge].concat()),
        (
            "encoding 7",
            frame_of(&[label("__name__", "a"), chunk(7, 500)]),
        ),
        (
            "encoding 0",
            frame_of(&[label("__name__", "a"), chunk(0, 500)]),
        ),
        (
            "ends before its last sample",
            frame_of(&[label("a", "b"), field(2, &[3 << 3, 1])]),
        ),
        ("came twice", again),
        (
            "storage failed",
            [good(), b"storage failed\n".to_vec()].concat(),
        ),
        ("malformed", {
            let mut out = varint(3);
            out.extend(crc32c::crc32c(b"\x0a\x7f\x01").to_be_bytes());
            out.extend(b"\x0a\x7f\x01");
            out
        }),
    ];
    for (says, body) in cases {
        let error = answer_of(vec![with_length(STREAM, &body)])
            .await
            .unwrap_err();
        assert!(error.contains(says), "{says}: {error}");
    }
    // The connection closes before the body is whole, in all three framings.
    let cut = [head(STREAM, "Content-Length: 5000"), good()].concat();
    let size = format!("{:x}\r\n", good().len()).into_bytes();
    let unended = [
        head(STREAM, "Transfer-Encoding: chunked"),
        size,
        good(),
        b"\r\n".to_vec(),
    ];
    let endless = [head(STREAM, "X: y"), good()].concat();
    for answer in [cut, unended.concat(), endless] {
        answer_of(vec![answer]).await.unwrap_err();
    }
}

#[tokio::test]
async fn refusals_are_told_and_only_passing_ones_are_tried_again() {
    let refuse = |status: &str| {
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 9\r\n\r\ntoo many!")
            .into_bytes()
    };
    let good = with_length(STREAM, &frame_of(&[label("__name__", "a"), chunk(1, 5)]));
    let busy = vec![refuse("503 Busy"), refuse("500 Oops"), good.clone()];
    assert_eq!(answer_of(busy).await.unwrap().len(), 1);
    for (status, says) in [
        ("400 Bad Request", "too many!"),
        ("401 Unauthorized", "credentials"),
        ("404 Not Found", "no remote read"),
        ("302 Found", "redirects"),
    ] {
        let error = answer_of(vec![refuse(status), good.clone()])
            .await
            .unwrap_err();
        assert!(error.contains(says), "{error}");
    }
    let error = answer_of(vec![refuse("500 Oops")]).await.unwrap_err();
    assert!(error.contains("500"), "{error}");
    let html = with_length("text/html", b"<html>");
    assert!(
        answer_of(vec![html])
            .await
            .unwrap_err()
            .contains("text/html")
    );
}

#[tokio::test]
async fn a_silent_or_endless_server_does_not_hold_us() {
    let started = Instant::now();
    let port = serve(vec![head(STREAM, "Transfer-Encoding: chunked")], true).await;
    let mut endless = options(port);
    endless.total_timeout = Duration::from_millis(600);
    let source = RemoteSource::new(endless).unwrap();
    read(&source, &[], WINDOW).await.unwrap_err();

    // Accepts, and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut silent = options(listener.local_addr().unwrap().port());
    silent.idle_timeout = Duration::from_millis(200);
    silent.attempts = 2;
    let source = RemoteSource::new(silent).unwrap();
    let error = read(&source, &[], WINDOW).await.unwrap_err();
    assert!(error.contains("silent"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn unstreamed_answers_are_read_and_bounded() {
    let kind = "application/x-protobuf";
    let sample = |value: f64, ts: u64| {
        let body = [
            &[1 << 3 | 1][..],
            &value.to_le_bytes(),
            &[2 << 3],
            &varint(ts),
        ]
        .concat();
        field(2, &body)
    };
    let series = [
        label("__name__", "a"),
        sample(2.5, 999),
        sample(1.5, 3),
        sample(9.0, 1000),
    ];
    let message = field(1, &field(1, &series.concat()));
    let packed = snap::raw::Encoder::new().compress_vec(&message).unwrap();
    let got = answer_of(vec![with_length(kind, &packed)]).await.unwrap();
    let want = vec![(3, 1.5_f64.to_bits()), (999, 2.5_f64.to_bits())];
    assert_eq!(got.into_values().collect::<Vec<_>>(), [want]);

    // Claims to unpack to 4 GiB.
    let bomb = with_length(kind, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0]);
    assert!(answer_of(vec![bomb]).await.unwrap_err().contains("256 MiB"));
    let error = answer_of(vec![with_length(kind, &packed[..9])])
        .await
        .unwrap_err();
    assert!(error.contains("malformed"), "{error}");
}

#[tokio::test]
async fn what_a_server_wrote_of_its_limits_is_told_apart() {
    let refuse = |status: &str, body: &str| {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
            .into_bytes()
    };
    let good = || frame_of(&[label("__name__", "a"), chunk(1, 500)]);
    let cut = [good(), b"exceeded sample limit (5)\n".to_vec()].concat();
    for answer in [
        refuse("400 Bad Request", "exceeded sample limit (50000000)"),
        refuse("422 Unprocessable Entity", "maximum number of chunks"),
        refuse("413 Too Large", ""),
        with_length(STREAM, &cut),
    ] {
        let source = RemoteSource::new(options(serve(vec![answer], false).await)).unwrap();
        let mut sink = |_| Ok(());
        let error = source.read(&[], WINDOW, &mut sink).await.unwrap_err();
        assert!(matches!(error, SourceError::Limited { .. }), "{error}");
    }
    let broken = with_length(STREAM, &good()[..9]);
    let source = RemoteSource::new(options(serve(vec![broken], false).await)).unwrap();
    let mut sink = |_| Ok(());
    let error = source.read(&[], WINDOW, &mut sink).await.unwrap_err();
    assert!(matches!(error, SourceError::Broken { .. }), "{error}");
}

#[tokio::test]
async fn a_server_says_when_to_come_back_but_not_for_how_long() {
    let later = b"HTTP/1.1 429 Slow Down\r\nRetry-After: 86400\r\nConnection: \
                  close\r\nContent-Length: 0\r\n\r\n"
        .to_vec();
    let good = with_length(STREAM, &frame_of(&[label("__name__", "a"), chunk(1, 5)]));
    let mut with = options(serve(vec![later, good], false).await);
    with.backoff_ceiling = Duration::from_millis(300);
    let source = RemoteSource::new(with).unwrap();
    let started = Instant::now();
    assert_eq!(read(&source, &[], WINDOW).await.unwrap().len(), 1);
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(300), "{took:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[tokio::test]
async fn counts_that_would_fill_the_memory_are_refused() {
    let many = field(1, &[0x0a, 0].repeat(2000));
    let mut frame = varint(many.len() as u64);
    frame.extend(crc32c::crc32c(&many).to_be_bytes());
    frame.extend(many);
    let error = answer_of(vec![with_length(STREAM, &frame)])
        .await
        .unwrap_err();
    assert!(error.contains("1024 labels"), "{error}");
}

#[tokio::test]
async fn nobody_listens() {
    let port = {
        let probe = TcpListener::bind("127.0.0.1:0").await.unwrap();
        probe.local_addr().unwrap().port()
    };
    let source = RemoteSource::new(options(port)).unwrap();
    let error = read(&source, &[], WINDOW).await.unwrap_err();
    assert!(error.contains("connection failed"), "{error}");
}
