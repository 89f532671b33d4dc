//! Owns one measured run in a process of its own: an ingest, or a part of one, and what it cost.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use idleproof::ingest::aliases::Aliases;
use idleproof::ingest::pivot::{PivotOptions, WindowPivot};
use idleproof::ingest::prometheus::{
    Mode, RemoteOptions, RemoteSource, SampleSource, SeriesSamples,
};
use idleproof::ingest::{IngestOptions, Source, SourceKind, SourceLocation, SourceSpec, ingest};
use idleproof::lake::{CommitInfo, Lake, source_lease};
use idleproof::model::TimeWindow;

use crate::ingest::fleet::START_MS;

const DAY_MS: i64 = 86_400_000;
const SOURCE: &str = "bench";

/// What a run cost.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    pub(crate) samples: u64,
    pub(crate) cpu_seconds: f64,
    pub(crate) wall_seconds: f64,
    pub(crate) peak_bytes: u64,
    pub(crate) lake_bytes: u64,
}

impl Figures {
    pub(crate) fn line(&self) -> String {
        format!(
            "{} {} {} {} {}",
            self.samples, self.cpu_seconds, self.wall_seconds, self.peak_bytes, self.lake_bytes
        )
    }

    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        Some(Self {
            samples: words.next()?.parse().ok()?,
            cpu_seconds: words.next()?.parse().ok()?,
            wall_seconds: words.next()?.parse().ok()?,
            peak_bytes: words.next()?.parse().ok()?,
            lake_bytes: words.next()?.parse().ok()?,
        })
    }

    pub(crate) fn told(&self) -> String {
        format!(
            "{:>11} samples, {:6.2} CPU s ({:.3} µs a sample), {:6.2} s wall, peak {} MiB",
            self.samples,
            self.cpu_seconds,
            self.cpu_seconds * 1e6 / self.samples as f64,
            self.wall_seconds,
            self.peak_bytes >> 20
        )
    }
}

/// User and system time of this process, in seconds. The kernel counts in hundredths.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux tells its times");
    let after = stat.rsplit(')').next().unwrap_or("");
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().expect("times are numbers");
    (ticks(11) + ticks(12)) / 100.0
}

fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells its memory");
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let words = line.unwrap_or("").split_whitespace().nth(1);
    words.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// The bytes of data files below a folder, temporary ones of a server left out.
pub(crate) fn bytes_below(folder: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            let is_server = matches!(name.as_str(), "wal" | "chunks_head" | "answers");
            bytes += if is_server { 0 } else { bytes_below(&path) };
        } else if !matches!(
            name.as_str(),
            "prometheus.yml" | "lock" | "queries.active" | "made"
        ) {
            bytes += entry.metadata().map_or(0, |m| m.len());
        }
    }
    bytes
}

pub(crate) fn run(what: &str, place: &str, lake: &Path) -> Figures {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("threads can be started");
    runtime.block_on(async {
        match what {
            "blocks" | "live" | "record" | "replay" => whole(what, place, lake).await,
            "discard" => discard(place).await,
            "write" => write(place, lake).await,
            other => panic!("nothing is called {other}"),
        }
    })
}

fn remote(url: &str) -> RemoteOptions {
    RemoteOptions::new(url.parse().expect("a URL"))
}

async fn open_lake(folder: &Path) -> Lake {
    let url = format!("file://{}", folder.display());
    Lake::open(&url).await.expect("a local lake opens")
}

/// A figure's clock.
struct Clock {
    wall: Instant,
    cpu_seconds: f64,
}

impl Clock {
    fn start() -> Self {
        Self {
            wall: Instant::now(),
            cpu_seconds: cpu_seconds(),
        }
    }

    fn stop(&self, samples: u64, lake: &Path) -> Figures {
        Figures {
            samples,
            cpu_seconds: cpu_seconds() - self.cpu_seconds,
            wall_seconds: self.wall.elapsed().as_secs_f64(),
            peak_bytes: peak_bytes(),
            lake_bytes: bytes_below(lake),
        }
    }
}

/// Opening the source, reading, pivoting, writing and committing, by the program's own way.
async fn whole(what: &str, place: &str, folder: &Path) -> Figures {
    let clock = Clock::start();
    let (kind, location) = if what == "blocks" {
        (SourceKind::Tsdb, SourceLocation::Folder(place.into()))
    } else {
        (
            SourceKind::Prometheus,
            SourceLocation::Remote(Box::new(remote(place)), Mode::RemoteRead),
        )
    };
    let spec = SourceSpec {
        name: SOURCE.to_owned(),
        kind,
        location,
    };
    let source = Source::open(spec).await.expect("the source opens");
    let lake = open_lake(folder).await;
    let lease = lake
        .acquire_lease(&source_lease(SOURCE), "bench", START_MS, Duration::ZERO)
        .await
        .expect("nobody else holds it");
    let started = Instant::now();
    let now = Arc::new(move || START_MS + started.elapsed().as_millis() as i64);
    let span = TimeWindow::new(START_MS, START_MS + DAY_MS);
    let report = ingest(
        &source,
        "c",
        &lake,
        &lease,
        now,
        span,
        &IngestOptions::default(),
    )
    .await
    .expect("the ingest succeeds");
    clock.stop(report.samples(), folder)
}

async fn read_all(place: &str, mut each: impl FnMut(SeriesSamples) + Send) {
    let source = RemoteSource::new(remote(place)).expect("the address is good");
    let aliases = Aliases::builtin().expect("the aliases are good");
    let window = TimeWindow::new(START_MS, START_MS + DAY_MS);
    for selector in aliases.selectors() {
        let mut sink = |series: SeriesSamples| {
            each(series);
            Ok(())
        };
        source
            .read(selector, window, &mut sink)
            .await
            .expect("the answer is whole");
    }
}

/// Receives and decodes, and keeps nothing.
async fn discard(place: &str) -> Figures {
    let clock = Clock::start();
    let mut samples = 0;
    read_all(place, |series| samples += series.samples.len() as u64).await;
    clock.stop(samples, Path::new("/nonexistent"))
}

/// Writes and commits rows that were pivoted before the clock started.
async fn write(place: &str, folder: &Path) -> Figures {
    let aliases = Aliases::builtin().expect("the aliases are good");
    let options = PivotOptions::default();
    let window = TimeWindow::new(START_MS, START_MS + DAY_MS);
    let mut pivot = WindowPivot::new(&aliases, "c", window, &options);
    read_all(place, |series| pivot.add(series).expect("it fits")).await;
    let pivoted = pivot.finish().expect("it has rows");
    let lake = open_lake(folder).await;
    let lease = lake
        .acquire_lease(&source_lease(SOURCE), "bench", START_MS, Duration::ZERO)
        .await
        .expect("nobody else holds it");
    let clock = Clock::start();
    let samples = pivoted.stats.samples;
    for table in pivoted.tables {
        let info = CommitInfo {
            now_ms: START_MS,
            code_version: "bench".to_owned(),
            details: std::collections::BTreeMap::new(),
        };
        lake.replace_window(&lease, table.table, SOURCE, window, table.batches, info)
            .await
            .expect("rows can be written");
    }
    clock.stop(samples, folder)
}
