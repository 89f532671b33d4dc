//! Real back ends of samples for tests: a data set, and servers on loopback that hold it. Also a
//! relay between us and a server, for what a server will not do on demand.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use idleproof::ingest::prometheus::{Labels, Matcher, RemoteOptions, SampleSource, SeriesSamples};
use idleproof::model::TimeWindow;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Time and bits of the value.
pub(crate) type Points = Vec<(i64, u64)>;
pub(crate) type Content = BTreeMap<Labels, Points>;

/// A program by its name: on the PATH, or (those that end in `-new`) among the built servers. Its
/// absence is an error where CI promises it.
pub(crate) fn peer(name: &str) -> Option<PathBuf> {
    let peers = std::env::var("IDLEPROOF_PEERS").unwrap_or_else(|_| {
        let home = std::env::var("HOME").unwrap_or_default();
        format!("{home}/.cache/idleproof-peers")
    });
    let path = if name.ends_with("-new") {
        Path::new(&peers).join("servers").join(name)
    } else {
        PathBuf::from(name)
    };
    if Command::new(&path).arg("--version").output().is_ok() {
        return Some(path);
    }
    let why = format!("{name} is not installed: run tests/peers/install");
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
    println!("skipped: {why}");
    None
}

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

pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn start(program: &Path, args: &[String], port: u16, ready: &str) -> Server {
    let process = Command::new(program)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server { process, port };
    let ready = format!("http://127.0.0.1:{port}{ready}");
    let started = Instant::now();
    while started.elapsed() < Duration::from_mins(1) {
        let answer = client().get(&ready).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return server;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{} did not become ready", program.display());
}

/// A port that was free a moment ago.
pub(crate) async fn free_port() -> u16 {
    let probe = TcpListener::bind("127.0.0.1:0").await.unwrap();
    probe.local_addr().unwrap().port()
}

/// A Prometheus over the blocks in `folder/data`.
pub(crate) async fn prometheus(program: &Path, folder: &Path, more: &[&str]) -> Server {
    prometheus_with(program, folder, "global: {}\n", more).await
}

/// As [`prometheus`], with a configuration.
pub(crate) async fn prometheus_with(
    program: &Path,
    folder: &Path,
    configuration: &str,
    more: &[&str],
) -> Server {
    prometheus_at(program, folder, configuration, free_port().await, more).await
}

/// As [`prometheus_with`], at a port.
pub(crate) async fn prometheus_at(
    program: &Path,
    folder: &Path,
    configuration: &str,
    port: u16,
    more: &[&str],
) -> Server {
    let config = folder.join("prometheus.yml");
    std::fs::create_dir_all(folder.join("data")).unwrap();
    std::fs::write(&config, configuration).unwrap();
    let mut args = vec![
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", folder.join("data").display()),
        "--storage.tsdb.retention.time=100y".to_owned(),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ];
    args.extend(more.iter().map(|arg| (*arg).to_owned()));
    start(program, &args, port, "/-/ready").await
}

/// A VictoriaMetrics that keeps its data in `folder`.
pub(crate) async fn victoria(program: &Path, folder: &Path) -> Server {
    let port = free_port().await;
    let args = [
        format!("-storageDataPath={}", folder.join("vm").display()),
        format!("-httpListenAddr=127.0.0.1:{port}"),
        "-retentionPeriod=100y".to_owned(),
    ];
    start(program, &args, port, "/health").await
}

/// Makes what a VictoriaMetrics has taken in visible.
pub(crate) async fn flush(port: u16) {
    let url = format!("http://127.0.0.1:{port}/internal/force_flush");
    let answer = client().get(url).send().await.unwrap();
    assert!(answer.status().is_success());
}

pub(crate) fn options(port: u16) -> RemoteOptions {
    let url = format!("http://127.0.0.1:{port}/");
    let mut options = RemoteOptions::new(url.parse().unwrap());
    options.idle_timeout = Duration::from_secs(20);
    options.backoff = Duration::from_millis(10);
    options
}

/// Labels and samples of one series.
pub(crate) type Written = (Vec<(String, String)>, Vec<(i64, f64)>);

/// Series as they were made.
#[derive(Clone, Default)]
pub(crate) struct Data {
    pub(crate) series: Vec<Written>,
}

impl Data {
    pub(crate) fn add(&mut self, labels: &[(&str, &str)], samples: Vec<(i64, f64)>) {
        let labels = labels.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        self.series.push((labels.collect(), samples));
    }

    /// What a read of a window must give.
    pub(crate) fn content(&self, window: TimeWindow) -> Content {
        let mut out = Content::new();
        for (labels, samples) in &self.series {
            let samples = samples.iter().filter(|(ts, _)| window.contains(*ts));
            let samples: Points = samples.map(|(ts, v)| (*ts, v.to_bits())).collect();
            if !samples.is_empty() {
                out.insert(Labels::new(labels.clone()), samples);
            }
        }
        out
    }

    /// Blocks made by promtool in `folder/data`, beside those that are there.
    pub(crate) fn blocks(&self, folder: &Path) {
        let mut text = String::new();
        for (labels, samples) in &self.series {
            let name = &labels.iter().find(|(k, _)| k == "__name__").unwrap().1;
            let rest: Vec<String> = labels
                .iter()
                .filter(|(k, _)| k != "__name__")
                .map(|(k, v)| {
                    let v = v
                        .replace('\\', r"\\")
                        .replace('"', "\\\"")
                        .replace('\n', r"\n");
                    format!("{k}=\"{v}\"")
                })
                .collect();
            for (ts, value) in samples {
                let (s, ms) = (ts / 1000, ts % 1000);
                writeln!(text, "{name}{{{}}} {value} {s}.{ms:03}", rest.join(",")).unwrap();
            }
        }
        text.push_str("# EOF\n");
        let file = folder.join("metrics.txt");
        std::fs::write(&file, text).unwrap();
        let made = Command::new("promtool")
            .args(["tsdb", "create-blocks-from", "openmetrics"])
            .args([&file, &folder.join("data")])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
    }

    /// Sends all to a VictoriaMetrics, by its own import.
    pub(crate) async fn import(&self, port: u16) {
        let mut lines = String::new();
        for (labels, samples) in &self.series {
            let metric: BTreeMap<_, _> = labels.iter().cloned().collect();
            let (times, values): (Vec<i64>, Vec<f64>) = samples.iter().copied().unzip();
            let line = serde_json::json!({"metric": metric, "values": values, "timestamps": times});
            writeln!(lines, "{line}").unwrap();
        }
        let url = format!("http://127.0.0.1:{port}/api/v1/import");
        let answer = client().post(url).body(lines).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
        flush(port).await;
    }
}

/// Every series: a remote read without matchers means none.
pub(crate) fn all() -> [Matcher; 1] {
    [Matcher::prefix("__name__", "")]
}

pub(crate) async fn read(
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
pub(crate) fn assert_same(got: &Content, want: &Content, what: &str) {
    let series = |content: &Content| content.keys().cloned().collect::<Vec<_>>();
    assert_eq!(series(got), series(want), "{what}");
    for (labels, samples) in want {
        let pairs = got[labels].iter().zip(samples);
        let different = pairs.clone().find(|(a, b)| a != b);
        assert_eq!(different, None, "{what}: {labels}");
        assert_eq!(got[labels].len(), samples.len(), "{what}: {labels}");
    }
}

/// What a relay does to what passes through it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Relay {
    /// Takes the streamed answers out of what a remote read accepts.
    pub(crate) only_samples: bool,
    /// Paths that are answered 404.
    pub(crate) refused: &'static [&'static str],
    /// How much of each answer's bytes arrives, in percent.
    pub(crate) percent: Option<usize>,
}

impl Relay {
    /// Stands before the server at `port`; returns its own.
    pub(crate) async fn before(self, port: u16) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(self.pass(stream, port));
            }
        });
        own
    }

    async fn pass(self, mut stream: TcpStream, port: u16) {
        let Some((head, mut body)) = request(&mut stream).await else {
            return;
        };
        let path = head.split(' ').nth(1).unwrap_or("").to_owned();
        if self.refused.iter().any(|refused| path.starts_with(refused)) {
            let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes()).await;
            return;
        }
        if self.only_samples && path.ends_with("/api/v1/read") {
            let mut unpacked = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
            // Field 2 at the end: the list [streamed, samples].
            assert!(unpacked.ends_with(&[2 << 3 | 2, 2, 1, 0]), "{unpacked:?}");
            unpacked.truncate(unpacked.len() - 4);
            body = snap::raw::Encoder::new().compress_vec(&unpacked).unwrap();
        }
        let mut lines: Vec<String> = head.split("\r\n").map(str::to_owned).collect();
        lines.retain(|line| {
            let line = line.to_ascii_lowercase();
            !line.starts_with("content-length:") && !line.starts_with("connection:")
        });
        lines.push("Connection: close".to_owned());
        lines.push(format!("Content-Length: {}", body.len()));
        let head = format!("{}\r\n\r\n", lines.join("\r\n"));
        let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        server.write_all(head.as_bytes()).await.unwrap();
        server.write_all(&body).await.unwrap();
        let mut answer = Vec::new();
        let _ = server.read_to_end(&mut answer).await;
        let whole = self
            .percent
            .map_or(answer.len(), |p| answer.len() * p / 100);
        let _ = stream.write_all(&answer[..whole]).await;
    }
}

/// A request's head without its empty line, and its body.
async fn request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 8192]);
    loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head.lines().find_map(|line| {
                let line = line.to_ascii_lowercase();
                line.strip_prefix("content-length:")?.trim().parse().ok()
            });
            let length: usize = length.unwrap_or(0);
            if bytes.len() >= end + 4 + length {
                return Some((head, bytes[end + 4..end + 4 + length].to_vec()));
            }
        }
        let got = stream.read(&mut buffer).await.ok()?;
        if got == 0 {
            return None;
        }
        bytes.extend_from_slice(&buffer[..got]);
    }
}
