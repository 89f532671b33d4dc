//! What every source of samples promises, tried on each against a real server or real blocks: the
//! same series for the same window, half-open edges, nothing for nothing, no half answers, each
//! sample once, and the same rows in the lake whatever the way in.
//!
//! A new kind of source is one entry in [`KINDS`] and one arm in [`Kind::hold`].

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use idleproof::ingest::prometheus::{
    ExportSource, Matcher, RangeSource, RemoteSource, SampleSource,
};
use idleproof::ingest::tsdb::BlockSource;
use idleproof::ingest::{IngestOptions, LakeSink, Outcome, RawSink, ingest_samples};
use idleproof::lake::{Lake, source_lease};
use idleproof::model::TimeWindow;

use super::peers::{
    Data, Relay, Server, all, assert_same, options, peer, prometheus, read, victoria,
};

/// A way in, with the program that it meets.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Blocks,
    Streamed(&'static str),
    Samples(&'static str),
    Range(&'static str),
    Export(&'static str),
}

const KINDS: [Kind; 9] = [
    Kind::Blocks,
    Kind::Streamed("prometheus"),
    Kind::Streamed("prometheus-new"),
    Kind::Samples("prometheus"),
    Kind::Samples("prometheus-new"),
    Kind::Range("prometheus"),
    Kind::Range("prometheus-new"),
    Kind::Export("victoria-metrics"),
    Kind::Export("victoria-metrics-new"),
];

/// A back end that holds a data set.
struct Held {
    source: Box<dyn SampleSource>,
    server: Option<Server>,
    folder: tempfile::TempDir,
}

impl Kind {
    /// Whether what it needs is there.
    fn is_there(self) -> bool {
        let program = match self {
            Self::Blocks => "promtool",
            Self::Streamed(program)
            | Self::Samples(program)
            | Self::Range(program)
            | Self::Export(program) => program,
        };
        let by_promtool = !matches!(self, Self::Export(_));
        (!by_promtool || peer("promtool").is_some()) && peer(program).is_some()
    }

    /// Holds all of `loads`, in this order.
    async fn hold(self, loads: &[&Data]) -> Held {
        let folder = tempfile::tempdir().unwrap();
        if !matches!(self, Self::Export(_)) {
            for data in loads {
                data.blocks(folder.path());
            }
        }
        let (source, server): (Box<dyn SampleSource>, _) = match self {
            Self::Blocks => {
                let blocks = BlockSource::open(&folder.path().join("data")).unwrap();
                (Box::new(blocks), None)
            }
            Self::Export(program) => {
                let server = victoria(&peer(program).unwrap(), folder.path()).await;
                for data in loads {
                    data.import(server.port).await;
                }
                let source = ExportSource::new(options(server.port)).unwrap();
                (Box::new(source), Some(server))
            }
            Self::Streamed(program) | Self::Samples(program) | Self::Range(program) => {
                let server = prometheus(&peer(program).unwrap(), folder.path(), &[]).await;
                (
                    self.through(server.port, Relay::default()).await,
                    Some(server),
                )
            }
        };
        Held {
            source,
            server,
            folder,
        }
    }

    /// The source of a server through a relay.
    async fn through(self, port: u16, mut relay: Relay) -> Box<dyn SampleSource> {
        relay.only_samples = matches!(self, Self::Samples(_));
        let mut options = options(relay.before(port).await);
        options.attempts = 1;
        match self {
            Self::Range(_) => Box::new(RangeSource::new(options).unwrap()),
            Self::Export(_) => Box::new(ExportSource::new(options).unwrap()),
            Self::Blocks | Self::Streamed(_) | Self::Samples(_) => {
                Box::new(RemoteSource::new(options).unwrap())
            }
        }
    }
}

const START_MS: i64 = 1_793_491_200_000; // 2026-11-01T00:00:00Z
const STEP_MS: i64 = 15_000;
const STEPS: i64 = 600;

/// Two and a half hours of two GPUs, an engine whose counter resets, and a target that was away.
fn data() -> Data {
    let times = |from: i64, to: i64| {
        // Scrapes are not on the second, but all series of one are of one moment.
        (from..to).map(|step| (step, START_MS + step * STEP_MS + step * 7919 % 40))
    };
    let mut data = Data::default();
    for gpu in 0..2 {
        let labels = |name| {
            [
                ("__name__".to_owned(), name),
                ("gpu".to_owned(), gpu.to_string()),
                ("UUID".to_owned(), format!("GPU-{gpu}")),
                ("hostname".to_owned(), "node \"a\\b\"".to_owned()),
                ("namespace".to_owned(), "chat".to_owned()),
                ("pod".to_owned(), format!("llama-{gpu}")),
                ("job".to_owned(), "dcgm".to_owned()),
                ("instance".to_owned(), "10.0.0.1:9400".to_owned()),
            ]
            .to_vec()
        };
        let util = times(0, STEPS).filter(|(step, _)| gpu == 0 || !(200..320).contains(step));
        let util = util.map(|(step, ts)| (ts, ((step / 40 + gpu) % 101) as f64));
        data.series
            .push((labels("DCGM_FI_DEV_GPU_UTIL".to_owned()), util.collect()));
        let power = times(0, STEPS).filter(|(step, _)| gpu == 0 || !(200..320).contains(step));
        let power = power.map(|(step, ts)| (ts, (70_000 + step * 137) as f64 / 1000.0));
        data.series.push((
            labels("DCGM_FI_DEV_POWER_USAGE".to_owned()),
            power.collect(),
        ));
    }
    let engine = [
        ("model_name", "llama"),
        ("namespace", "chat"),
        ("pod", "llama-0"),
        ("job", "vllm"),
        ("instance", "10.0.1.1:8000"),
    ];
    let with = |name| [&[("__name__", name)][..], &engine[..]].concat();
    let tokens = times(0, STEPS).map(|(step, ts)| (ts, (step % 450 * 31) as f64));
    data.add(&with("vllm:generation_tokens_total"), tokens.collect());
    let running = times(0, STEPS).map(|(step, ts)| (ts, (step % 9) as f64));
    data.add(&with("vllm:num_requests_running"), running.collect());
    let up = times(100, STEPS).map(|(step, ts)| (ts, f64::from(step % 50 != 0)));
    data.add(&[("__name__", "up"), ("job", "vllm")], up.collect());
    data
}

/// What arrives later: the hole is filled.
fn late() -> Data {
    let mut late = Data::default();
    for (labels, samples) in data().series {
        if !labels.contains(&("gpu".to_owned(), "1".to_owned())) {
            continue;
        }
        let first = samples[0].0;
        let missing = (200..320).map(|step| START_MS + step * STEP_MS + step * 7919 % 40);
        let missing = missing.map(|ts| (ts, ((ts - first) / STEP_MS % 90) as f64));
        late.series.push((labels, missing.collect()));
    }
    late
}

const DAY: TimeWindow = TimeWindow::new(START_MS, START_MS + 86_400_000);

fn gpu_util() -> [Matcher; 1] {
    [Matcher::equal("__name__", "DCGM_FI_DEV_GPU_UTIL")]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_source_gives_the_window_and_nothing_else() {
    for kind in KINDS.into_iter().filter(|kind| kind.is_there()) {
        let data = data();
        let held = kind.hold(&[&data]).await;
        let source = held.source.as_ref();
        let what = format!("{kind:?}");
        let read = async |matchers: &[Matcher], window| {
            let got = read(source, matchers, window).await;
            got.unwrap_or_else(|error| panic!("{kind:?}: {error}"))
        };
        assert_same(&read(&all(), DAY).await, &data.content(DAY), &what);

        // The counter falls, and is told as it fell.
        let tokens = [Matcher::equal("__name__", "vllm:generation_tokens_total")];
        let counter = read(&tokens, DAY).await.into_values().next().unwrap();
        assert_eq!(
            counter
                .windows(2)
                .filter(|w| f64::from_bits(w[1].1) < f64::from_bits(w[0].1))
                .count(),
            1
        );

        // Half-open, to the millisecond, on both sides.
        let times: Vec<i64> = data.series[0].1.iter().map(|(ts, _)| *ts).collect();
        for (from, to) in [
            (times[3], times[5]),
            (times[3] + 1, times[5] + 1),
            (times[3] - 1, times[5] - 1),
            (times[100], times[480]),
            (times[7], times[7] + 1),
        ] {
            let window = TimeWindow::new(from, to);
            let got = read(&gpu_util(), window).await;
            let mut want = data.content(window);
            want.retain(|labels, _| labels.name() == "DCGM_FI_DEV_GPU_UTIL");
            assert_same(&got, &want, &what);
        }

        // Nothing where there is nothing.
        let before = TimeWindow::new(START_MS - 3_600_000, START_MS);
        assert!(read(&all(), before).await.is_empty(), "{what}");
        let empty = TimeWindow::new(times[3], times[3]);
        assert!(read(&all(), empty).await.is_empty(), "{what}");
        let nobody = [Matcher::equal("pod", "\"} or {x=\"")];
        assert!(read(&nobody, DAY).await.is_empty(), "{what}");

        // Hostile values select what they say.
        let odd = [Matcher::equal("hostname", "node \"a\\b\"")];
        assert_eq!(read(&odd, DAY).await.len(), 4, "{what}");
        let others = [Matcher::not_equal("gpu", "1")];
        assert_eq!(read(&others, DAY).await.len(), 5, "{what}");

        let extent = source.extent().await.unwrap().unwrap();
        let last = times.last().unwrap() + 1;
        let span = TimeWindow::new(times[0], last);
        assert_eq!(extent.intersect(&span), Some(span), "{what}");
        assert!(extent.end_ms - extent.start_ms <= 86_400_000, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_source_takes_a_half_answer_for_a_whole_one() {
    for kind in KINDS.into_iter().filter(|kind| kind.is_there()) {
        let held = kind.hold(&[&data()]).await;
        if let Some(server) = &held.server {
            for percent in [20, 60, 95, 99] {
                let relay = Relay {
                    percent: Some(percent),
                    ..Relay::default()
                };
                let source = kind.through(server.port, relay).await;
                let got = read(source.as_ref(), &all(), DAY).await;
                let error = got.expect_err(&format!("{kind:?} at {percent} %"));
                assert!(error.contains("; "), "says what to do: {error}");
            }
        } else {
            cut_blocks(&held.folder.path().join("data"));
            let cut = BlockSource::open(&held.folder.path().join("data"));
            let got = match cut {
                Ok(source) => read(&source, &all(), DAY).await.map(|_| ()),
                Err(error) => Err(error.to_string()),
            };
            got.unwrap_err();
        }
    }
}

/// Halves the chunks of every block.
fn cut_blocks(folder: &Path) {
    for block in std::fs::read_dir(folder).unwrap() {
        let chunks = block.unwrap().path().join("chunks/000001");
        if let Ok(bytes) = std::fs::read(&chunks) {
            std::fs::write(&chunks, &bytes[..bytes.len() / 2]).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_in_leaves_the_same_rows_and_a_rerun_leaves_them() {
    let (data, late) = (data(), late());
    let mut digests: Vec<(Kind, [String; 2])> = Vec::new();
    for kind in KINDS.into_iter().filter(|kind| kind.is_there()) {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::open(folder.path().to_str().unwrap()).await.unwrap();
        let lease = lake
            .acquire_lease(&source_lease("s"), "test", 1, Duration::ZERO)
            .await
            .unwrap();
        let sink = LakeSink::new(&lake, &lease, Arc::new(|| 2));
        let ingest = async |held: &Held| {
            let options = IngestOptions::default();
            let source = held.source.as_ref();
            let report = ingest_samples(source, "prometheus", "s", "c", &sink, DAY, &options).await;
            let report = report.unwrap_or_else(|error| panic!("{kind:?}: {error}"));
            assert_eq!(report.windows.len(), 1, "{kind:?}");
            report.windows[0].clone()
        };
        let digest = async || {
            let stored = sink.stored("s", DAY).await.unwrap();
            assert_eq!(stored.len(), 1, "{kind:?}");
            stored[0].content_digest.clone()
        };
        let held = kind.hold(&[&data]).await;
        let first = ingest(&held).await;
        assert_eq!(first.outcome, Outcome::Written, "{kind:?}");
        let total: usize = data.series.iter().map(|(_, samples)| samples.len()).sum();
        assert_eq!(first.samples, total as u64, "{kind:?}");
        let before = digest().await;
        let head = lake.head().await.unwrap();
        assert_eq!(ingest(&held).await.outcome, Outcome::Unchanged, "{kind:?}");
        // Each sample twice is each sample once.
        let twice = kind.hold(&[&data, &data]).await;
        assert_eq!(ingest(&twice).await.outcome, Outcome::Unchanged, "{kind:?}");
        assert_eq!(lake.head().await.unwrap(), head, "{kind:?}");
        // Late samples replace the window; where they are lost again, it stays.
        let fuller = kind.hold(&[&data, &late]).await;
        let second = ingest(&fuller).await;
        assert_eq!(second.outcome, Outcome::Written, "{kind:?}");
        let filled: usize = late.series.iter().map(|(_, samples)| samples.len()).sum();
        assert_eq!(second.samples, (total + filled) as u64, "{kind:?}");
        let after = digest().await;
        assert_ne!(before, after);
        assert_eq!(ingest(&held).await.outcome, Outcome::KeptFuller, "{kind:?}");
        digests.push((kind, [before, after]));
    }
    for (kind, digest) in &digests {
        assert_eq!(digest, &digests[0].1, "{kind:?} and {:?}", digests[0].0);
    }
}
