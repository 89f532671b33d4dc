//! How windows of a server are read: several at once and kept in order, narrower at a limit and
//! wider behind it, from their start when they break off, and checked against the server's count.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use idleproof::ingest::prometheus::{
    CountCheck, Labels, Matcher, ReadCounts, Sample, SampleSource, SeriesSamples, SeriesSink,
    SourceError,
};
use idleproof::ingest::{
    IngestError, IngestOptions, IngestReport, LakeSink, Listener, Outcome, Progress, RawSink as _,
    ingest_samples,
};
use idleproof::lake::{Lake, source_lease};
use idleproof::model::TimeWindow;
use idleproof::model::time::{DAY_MS, HOUR_MS};

/// One GPU, a sample an hour, behind a server with faults.
struct Server {
    days: i64,
    /// Wider windows are refused.
    widest_ms: i64,
    /// How often each read of the second day breaks off first.
    breaks: AtomicI64,
    /// A day that cannot be read.
    dead_day: Option<i64>,
    /// Samples that the count has beyond those that are given.
    hides: u64,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

fn server(days: i64) -> Server {
    Server {
        days,
        widest_ms: DAY_MS,
        breaks: AtomicI64::new(0),
        dead_day: None,
        hides: 0,
        at_once: AtomicUsize::new(0),
        most_at_once: AtomicUsize::new(0),
    }
}

fn what(text: &str) -> (String, String, &'static str) {
    (
        "http://prometheus.test".to_owned(),
        text.to_owned(),
        "run again",
    )
}

impl SampleSource for Server {
    fn read<'a>(
        &'a self,
        matchers: &'a [Matcher],
        window: TimeWindow,
        sink: &'a mut SeriesSink<'a>,
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(async move {
            let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_at_once.fetch_max(now, Ordering::SeqCst);
            let name = ("__name__".to_owned(), "DCGM_FI_DEV_GPU_UTIL".to_owned());
            let rest = [("gpu", "0"), ("UUID", "G"), ("hostname", "n")];
            let rest = rest.map(|(k, v)| (k.to_owned(), v.to_owned()));
            let labels: Labels = std::iter::once(name).chain(rest).collect();
            let ours = matchers.iter().all(|m| m.accepts(&labels));
            // Later days come sooner.
            let day = window.start_ms.div_euclid(DAY_MS);
            if ours {
                tokio::time::sleep(Duration::from_millis(40 / (day as u64 + 1))).await;
            }
            self.at_once.fetch_sub(1, Ordering::SeqCst);
            if !ours {
                return Ok(());
            }
            if window.end_ms - window.start_ms > self.widest_ms {
                let (url, what, todo) = what("too many samples");
                return Err(SourceError::Limited { url, what, todo });
            }
            if Some(day) == self.dead_day {
                let (url, what, todo) = what("gone");
                return Err(SourceError::Remote { url, what, todo });
            }
            let hour = |at: i64| Sample {
                ts_ms: at * HOUR_MS,
                value: at as f64,
            };
            let hours = window.start_ms / HOUR_MS..window.end_ms / HOUR_MS;
            let samples = hours.map(hour).collect();
            let histograms = Vec::new();
            sink(SeriesSamples {
                labels,
                samples,
                histograms,
            })
            .map_err(SourceError::Sink)?;
            if day == 1 && self.breaks.fetch_sub(1, Ordering::SeqCst) > 0 {
                let (url, what, todo) = what("the stream broke off");
                return Err(SourceError::Broken { url, what, todo });
            }
            Ok(())
        })
    }

    fn check<'a>(
        &'a self,
        _: &'a [Matcher],
        _: TimeWindow,
        read: &'a ReadCounts,
        _: Duration,
    ) -> BoxFuture<'a, CountCheck> {
        let one = match read.names.iter().next() {
            Some((name, count)) if self.hides > 0 => CountCheck::Short {
                name: name.clone(),
                server: count.samples + self.hides,
                read: count.samples,
            },
            _ => CountCheck::Equal {
                checked: read.names.len(),
                names: read.names.len(),
            },
        };
        Box::pin(std::future::ready(one))
    }

    fn extent(&self) -> BoxFuture<'_, Result<Option<TimeWindow>, SourceError>> {
        let span = TimeWindow::new(0, self.days * DAY_MS);
        Box::pin(std::future::ready(Ok(Some(span))))
    }

    fn location(&self) -> String {
        "http://prometheus.test".to_owned()
    }
}

type Told = Arc<Mutex<Vec<String>>>;

fn options(connections: usize) -> (IngestOptions, Told) {
    let told: Told = Arc::default();
    let kept = Arc::clone(&told);
    let listener = Listener::new(move |progress| {
        let line = match progress {
            Progress::Narrows { width_ms, why, .. } => format!("{} h: {why}", width_ms / HOUR_MS),
            Progress::Widens { width_ms, .. } => format!("{} h", width_ms / HOUR_MS),
            Progress::Repeats { why, .. } => why.to_owned(),
            _ => return,
        };
        kept.lock().unwrap().push(line);
    });
    let options = IngestOptions {
        connections,
        listener,
        ..IngestOptions::default()
    };
    (options, told)
}

async fn with_lake<T>(run: impl AsyncFnOnce(&Lake, &LakeSink<'_>) -> T) -> T {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::open(folder.path().to_str().unwrap()).await.unwrap();
    let lease = lake
        .acquire_lease(&source_lease("s"), "test", 1, Duration::ZERO)
        .await
        .unwrap();
    let sink = LakeSink::new(&lake, &lease, Arc::new(|| 2));
    run(&lake, &sink).await
}

async fn ingest(
    server: &Server,
    sink: &LakeSink<'_>,
    options: &IngestOptions,
) -> Result<IngestReport, IngestError> {
    let span = TimeWindow::new(0, server.days * DAY_MS);
    ingest_samples(server, "prometheus", "s", "c", sink, span, options).await
}

async fn stored(sink: &LakeSink<'_>) -> Vec<(i64, i64, i64)> {
    let span = TimeWindow::new(0, 20 * DAY_MS);
    let stored = sink.stored("s", span).await.unwrap();
    let hours = |ms: i64| ms / HOUR_MS;
    let mut all: Vec<_> = stored
        .iter()
        .map(|w| (hours(w.window.start_ms), hours(w.window.end_ms), w.samples))
        .collect();
    all.sort_unstable();
    all
}

#[tokio::test]
async fn windows_are_read_at_once_and_kept_in_order() {
    with_lake(async |lake, sink| {
        let server = server(6);
        let (options, _) = options(4);
        let report = ingest(&server, sink, &options).await.unwrap();
        assert_eq!(server.most_at_once.load(Ordering::SeqCst), 4);
        let starts: Vec<i64> = report.windows.iter().map(|w| w.start_ms / DAY_MS).collect();
        assert_eq!(starts, [0, 1, 2, 3, 4, 5]);
        assert_eq!(report.samples(), 6 * 24);
        let head = lake.head().await.unwrap();
        let again = ingest(&server, sink, &options).await.unwrap();
        assert_eq!(again.count(Outcome::Unchanged), 6);
        assert_eq!(lake.head().await.unwrap(), head);
    })
    .await;
}

#[tokio::test]
async fn a_window_that_fails_keeps_those_that_were_in_flight() {
    with_lake(async |_, sink| {
        let mut server = server(6);
        server.dead_day = Some(1);
        let (options, _) = options(3);
        let error = ingest(&server, sink, &options).await.unwrap_err();
        assert!(error.to_string().contains("1970-01-02"), "{error}");
        let days: Vec<i64> = stored(sink).await.iter().map(|w| w.0 / 24).collect();
        assert!(days.contains(&0) && days.contains(&2), "{days:?}");
        assert!(!days.contains(&1) && !days.contains(&5), "{days:?}");
    })
    .await;
}

#[tokio::test]
async fn windows_narrow_at_the_servers_limit_and_each_sample_is_stored_once() {
    with_lake(async |_, sink| {
        let mut server = server(3);
        server.widest_ms = 6 * HOUR_MS;
        let (options, told) = options(4);
        let report = ingest(&server, sink, &options).await.unwrap();
        assert_eq!(report.samples(), 72);
        let held = stored(sink).await;
        assert_eq!(held.len(), 12);
        assert!(held.windows(2).all(|pair| pair[0].1 == pair[1].0));
        let told = told.lock().unwrap().clone();
        assert!(
            told.contains(&"6 h: too many samples".to_owned()),
            "{told:?}"
        );
        assert!(told.contains(&"12 h".to_owned()), "tries wider: {told:?}");
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_breaks_is_read_anew_a_few_times() {
    with_lake(async |_, sink| {
        let server = server(2);
        server.breaks.store(2, Ordering::SeqCst);
        let (options, told) = options(2);
        let report = ingest(&server, sink, &options).await.unwrap();
        assert_eq!(report.samples(), 48);
        assert_eq!(*told.lock().unwrap(), ["the stream broke off"; 2]);
    })
    .await;
    with_lake(async |_, sink| {
        let server = server(2);
        server.breaks.store(100, Ordering::SeqCst);
        let error = ingest(&server, sink, &options(2).0).await.unwrap_err();
        assert!(error.to_string().contains("broke off"), "{error}");
        assert_eq!(stored(sink).await, [(0, 24, 24)]);
    })
    .await;
}

#[tokio::test]
async fn a_window_of_which_the_server_counts_more_is_not_stored() {
    with_lake(async |_, sink| {
        let mut server = server(1);
        server.hides = 5;
        let (options, told) = options(1);
        let error = ingest(&server, sink, &options)
            .await
            .unwrap_err()
            .to_string();
        // The newest hour may still fill: its sample is not held against the server's count.
        assert!(
            error.contains("counts") && error.contains("23 were read"),
            "{error}"
        );
        assert_eq!(told.lock().unwrap().len(), 2);
        assert!(stored(sink).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn windows_at_once_share_the_memory_of_one() {
    with_lake(async |_, sink| {
        let server = server(6);
        let (mut options, told) = options(4);
        // One day fits, two do not.
        options.pivot.max_samples = 30;
        let report = ingest(&server, sink, &options).await.unwrap();
        assert_eq!(report.samples(), 6 * 24);
        let starts: Vec<i64> = report.windows.iter().map(|w| w.start_ms / DAY_MS).collect();
        assert_eq!(starts, [0, 1, 2, 3, 4, 5]);
        assert!(told.lock().unwrap().is_empty());
    })
    .await;
}
