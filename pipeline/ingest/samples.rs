//! Owns the ingest of samples over a span: which windows are read at once, within one window's
//! memory, and that they are kept in order. `plan` says which windows, `driver` keeps them.
//!
//! The oldest window in flight may use all of the memory; those behind it give way, and are read
//! again when it is their turn.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::{BoxFuture, Either, select};
use futures::stream::FuturesOrdered;

use super::aliases::Aliases;
use super::driver::{IngestOptions, IngestReport, Job, ReadWindow, WindowReport};
use super::error::IngestError;
use super::pivot::{PivotError, WindowPivot};
use super::plan::{self, Grid};
use super::progress::Progress;
use super::prometheus::{
    CountCheck, Matcher, ReadCounts, SampleSource, SeriesSamples, SourceError,
    USUAL_REPLICA_LABELS, pause,
};
use super::sink::RawSink;
use crate::model::TimeWindow;
use crate::model::canonical::sha256_hex;
use crate::model::time::{DAY_MS, HOUR_MS};

/// Samples after which progress is told.
const TELL_EVERY_SAMPLES: u64 = 250_000;
/// Times that a window is read whose answer breaks off or comes damaged.
const READS: u32 = 3;
const REPEAT_PAUSE: Duration = Duration::from_millis(500);
const REPEAT_CEILING: Duration = Duration::from_secs(20);
/// Checking the count takes at most this share of what reading took, or this long.
const CHECK_SHARE: u32 = 10;
const CHECK_AT_LEAST: Duration = Duration::from_secs(2);
/// A source that does not tell how much it holds in this time is read to find out.
const ESTIMATE_AT_MOST: Duration = Duration::from_secs(3);
/// A source's newest hour may still be filling.
const FILLING_MS: i64 = HOUR_MS;

/// Ends a read that is in the way of an older one.
#[derive(Debug, thiserror::Error)]
#[error("another window needs the memory")]
struct GivesWay;

/// What came of reading one window.
enum Read {
    /// Its rows wait on the shelf.
    Shelved(CountCheck),
    Settled,
    GaveWay,
    TooLarge(SourceError),
    Failed(SourceError),
}

/// Windows that were read and wait for their turn, and how many samples all hold.
struct Memory<'a> {
    held: &'a AtomicU64,
    oldest_start_ms: AtomicI64,
    shelf: Mutex<BTreeMap<i64, Shelved<'a>>>,
}

struct Shelved<'a> {
    pivot: WindowPivot<'a>,
    share: Share<'a>,
}

/// The samples of one window, given back when it is dropped.
struct Share<'a> {
    of: &'a AtomicU64,
    samples: u64,
}

impl Share<'_> {
    fn take(&mut self, samples: u64) {
        self.samples += samples;
        self.of.fetch_add(samples, Ordering::Relaxed);
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.of.fetch_sub(self.samples, Ordering::Relaxed);
    }
}

impl<'a> Memory<'a> {
    fn shelf(&self) -> MutexGuard<'_, BTreeMap<i64, Shelved<'a>>> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for the oldest window; whether this one may go on.
    fn has_room(&self, window: TimeWindow, most: u64) -> bool {
        if self.held.load(Ordering::Relaxed) <= most {
            return true;
        }
        if window.start_ms != self.oldest_start_ms.load(Ordering::Relaxed) {
            return false;
        }
        let mut shelf = self.shelf();
        while self.held.load(Ordering::Relaxed) > most && shelf.pop_last().is_some() {}
        true
    }
}

/// Ingests samples of `span` from one source for one cluster.
pub async fn ingest_samples<S: RawSink>(
    source: &dyn SampleSource,
    source_kind: &str,
    name: &str,
    cluster: &str,
    sink: &S,
    span: TimeWindow,
    options: &IngestOptions,
) -> Result<IngestReport, IngestError> {
    let aliases = Aliases::with_metrics(&options.metrics)?;
    let selectors = selectors(&aliases, options);
    let job = Job {
        sink,
        name,
        cluster,
        source_kind,
        selector_digest: digest_of(&aliases, &selectors, options),
        force: options.force,
    };
    let mut report = job.report();
    // Windows in which the source cannot hold anything are not read, and not called complete.
    let extent = source
        .extent()
        .await
        .map_err(|error| job.read_error(span, error))?;
    let stored = sink
        .stored(name, whole_days(span))
        .await
        .map_err(|e| job.lake_error(span, e))?;
    let is_in = |window: &TimeWindow| extent.is_some_and(|e| e.intersect(window).is_some());
    let whole: Vec<TimeWindow> = plan::windows_beside(span, options.window_ms, &stored)?
        .into_iter()
        .filter(is_in)
        .collect();
    options.listener.tell(Progress::Begins {
        windows: whole.len(),
    });
    let is_settled = |window: TimeWindow| {
        options.look_back_ms.is_some_and(|look_back_ms| {
            let digest = &job.selector_digest;
            !options.force && plan::is_settled(&stored, window, digest, look_back_ms)
        })
    };
    let first = whole.iter().find(|window| !is_settled(**window)).copied();
    let mut grid = Grid::new(whole, options.window_ms, &stored);
    let held = AtomicU64::new(0);
    let memory = Memory {
        held: &held,
        oldest_start_ms: AtomicI64::new(i64::MIN),
        shelf: Mutex::default(),
    };
    let reader = Reader {
        source,
        aliases: &aliases,
        selectors: &selectors,
        cluster,
        options,
        memory: &memory,
        source_end_ms: extent.map_or(span.end_ms, |extent| extent.end_ms),
    };
    // A window that is too large would be found so only when its memory is full.
    if let (Some(window), Some(extent)) = (first, extent)
        && let Some(samples) = reader.estimate(window, extent).await
        && let Some(width_ms) = grid.guess(samples, options.pivot.max_samples)
    {
        let why = format!("about {samples} samples are more than the memory of a window");
        options.listener.tell(Progress::Narrows {
            window,
            width_ms,
            why: &why,
        });
    }
    let most = options.connections.max(1);
    let mut seats = most;
    let mut flight = Flight::new();
    let mut flying: VecDeque<TimeWindow> = VecDeque::new();
    let mut landed: VecDeque<Read> = VecDeque::new();
    let mut failure: Option<IngestError> = None;
    loop {
        while failure.is_none() && flying.len() < seats {
            let Some(window) = grid.next_window()? else {
                break;
            };
            if !is_in(&window) {
                grid.passed(window);
                continue;
            }
            flying.push_back(window);
            flight.push_back(if is_settled(window) {
                Box::pin(std::future::ready(Read::Settled))
            } else {
                Box::pin(reader.read(window))
            });
        }
        let Some(window) = flying.front().copied() else {
            break;
        };
        memory
            .oldest_start_ms
            .store(window.start_ms, Ordering::Relaxed);
        let mut read = match landed.pop_front() {
            Some(read) => read,
            None => match job.while_alive(flight.next(), window).await? {
                Some(read) => read,
                None => break,
            },
        };
        flying.pop_front();
        let evicted = || !memory.shelf().contains_key(&window.start_ms);
        if matches!(read, Read::GaveWay) || matches!(read, Read::Shelved(_)) && evicted() {
            // It was in the way of an older one, and is now the oldest itself.
            seats = (seats / 2).max(1);
            let again = beside(reader.read(window), &mut flight, &mut landed);
            read = job.while_alive(again, window).await?;
        }
        match read {
            Read::Settled => {
                let done = WindowReport::settled(window, &stored);
                options.listener.tell(Progress::Done { report: &done });
                report.windows.push(done);
                grid.passed(window);
            }
            Read::Shelved(check) => {
                let Some(Shelved { pivot, share }) = memory.shelf().remove(&window.start_ms) else {
                    continue;
                };
                let keep = async {
                    let pivoted = pivot.finish().map_err(|e| job.pivot_error(window, e))?;
                    let mut read = ReadWindow::of_samples(window, pivoted);
                    read.source_end_ms = Some(reader.source_end_ms);
                    read.settles_ms = options.look_back_ms.map(|ms| window.end_ms + ms);
                    read.check = Some(check);
                    job.keep(read).await
                };
                // Those behind go on being read meanwhile.
                let kept = beside(keep, &mut flight, &mut landed).await;
                drop(share);
                // What the lake refuses it would refuse of the next ones too.
                let done = match kept {
                    Ok(done) => done,
                    Err(error) => return Err(failure.unwrap_or(error)),
                };
                options.listener.tell(Progress::Done { report: &done });
                report.windows.push(done);
                if let Some(width_ms) = grid.passed(window) {
                    let widens = Progress::Widens { window, width_ms };
                    options.listener.tell(widens);
                }
                if held.load(Ordering::Relaxed) <= options.pivot.max_samples / 2 {
                    seats = (seats + 1).min(most);
                }
            }
            Read::TooLarge(error) => {
                let narrower = plan::narrower(window).filter(|_| failure.is_none());
                let Some(width_ms) = narrower else {
                    failure = failure.or_else(|| Some(job.read_error(window, error)));
                    continue;
                };
                // What this window could not hold, its equals to come cannot either.
                flight = Flight::new();
                landed.clear();
                memory.shelf().clear();
                grid.narrow(window, flying.drain(..))?;
                options.listener.tell(Progress::Narrows {
                    window,
                    width_ms,
                    why: &reason(&error),
                });
                job.clear_wider(window, &stored).await?;
            }
            // Those in flight are still kept: nothing is read twice for the failure of another.
            Read::Failed(error) => {
                failure = failure.or_else(|| Some(job.read_error(window, error)));
            }
            // The oldest never does.
            Read::GaveWay => {}
        }
    }
    failure.map_or(Ok(report), Err)
}

/// Why a window was too large, in short.
fn reason(error: &SourceError) -> String {
    match error {
        SourceError::Limited { what, .. } => what.clone(),
        _ => "more than the memory of a window".to_owned(),
    }
}

type Flight<'a> = FuturesOrdered<BoxFuture<'a, Read>>;

/// Does one thing to its end while the reads in flight go on; those that end wait in `landed`.
async fn beside<T>(
    work: impl Future<Output = T>,
    flight: &mut Flight<'_>,
    landed: &mut VecDeque<Read>,
) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        match select(work.as_mut(), flight.next()).await {
            Either::Left((done, _)) => return done,
            Either::Right((Some(read), _)) => landed.push_back(read),
            Either::Right((None, _)) => return work.await,
        }
    }
}

/// What reading a window needs.
struct Reader<'r, 'a> {
    source: &'r dyn SampleSource,
    aliases: &'a Aliases,
    selectors: &'r [Vec<Matcher>],
    cluster: &'a str,
    options: &'a IngestOptions,
    memory: &'r Memory<'a>,
    source_end_ms: i64,
}

impl<'a> Reader<'_, 'a> {
    /// About how many samples a whole window of its width holds, told from the part of it that the
    /// source spans.
    async fn estimate(&self, window: TimeWindow, extent: TimeWindow) -> Option<u64> {
        let there = window.intersect(&extent)?;
        let ask = async {
            let mut samples = 0_u64;
            for selector in self.selectors {
                samples = samples.saturating_add(self.source.estimate(selector, there).await?);
            }
            Some(samples)
        };
        let samples = tokio::time::timeout(ESTIMATE_AT_MOST, ask).await.ok()??;
        let width = |window: TimeWindow| (window.end_ms - window.start_ms) as f64;
        Some((samples as f64 * width(window) / width(there)) as u64)
    }

    /// Reads a window, from its start as often as is worth it, and puts it on the shelf.
    async fn read(&self, window: TimeWindow) -> Read {
        self.options.listener.tell(Progress::Reads { window });
        let mut attempt = 1;
        loop {
            let mut share = Share {
                of: self.memory.held,
                samples: 0,
            };
            let mut pivot =
                WindowPivot::new(self.aliases, self.cluster, window, &self.options.pivot);
            let error = match self.fill(window, &mut pivot, &mut share).await {
                Ok(check) => {
                    let shelved = Shelved { pivot, share };
                    self.memory.shelf().insert(window.start_ms, shelved);
                    return Read::Shelved(check);
                }
                Err(error) => error,
            };
            drop((pivot, share));
            match &error {
                SourceError::Sink(cause) if cause.is::<GivesWay>() => return Read::GaveWay,
                SourceError::Sink(cause)
                    if matches!(
                        cause.downcast_ref(),
                        Some(PivotError::TooManySamples { .. } | PivotError::TooManySeries)
                    ) =>
                {
                    return Read::TooLarge(error);
                }
                SourceError::Limited { .. } => return Read::TooLarge(error),
                SourceError::Broken { what, .. } if attempt < READS => {
                    let why = what.as_str();
                    self.options
                        .listener
                        .tell(Progress::Repeats { window, why });
                    let pause = pause(attempt, REPEAT_PAUSE, REPEAT_CEILING, None);
                    tokio::time::sleep(pause).await;
                    attempt += 1;
                }
                _ => return Read::Failed(error),
            }
        }
    }

    async fn fill(
        &self,
        window: TimeWindow,
        pivot: &mut WindowPivot<'a>,
        share: &mut Share<'a>,
    ) -> Result<CountCheck, SourceError> {
        let mut check: Option<CountCheck> = None;
        let until_ms = window.end_ms.min(self.source_end_ms - FILLING_MS);
        for selector in self.selectors {
            let began = Instant::now();
            let mut counts = ReadCounts::until(until_ms);
            self.fill_selector(selector, window, pivot, share, &mut counts)
                .await?;
            let budget = (began.elapsed() / CHECK_SHARE).max(CHECK_AT_LEAST);
            let one = self.source.check(selector, window, &counts, budget).await;
            if let CountCheck::Short { name, server, read } = &one {
                return Err(SourceError::Broken {
                    url: self.source.location(),
                    what: format!("of {name} the server counts {server} samples, {read} were read"),
                    todo: "check the server and its log, then run again: the window was not stored",
                });
            }
            check = Some(match check {
                Some(check) => check.and(one),
                None => one,
            });
        }
        let none = || CountCheck::NotChecked("nothing was asked for".to_owned());
        Ok(check.unwrap_or_else(none))
    }

    async fn fill_selector(
        &self,
        selector: &[Matcher],
        window: TimeWindow,
        pivot: &mut WindowPivot<'a>,
        share: &mut Share<'a>,
        counts: &mut ReadCounts,
    ) -> Result<(), SourceError> {
        let most = self.options.pivot.max_samples;
        let listener = &self.options.listener;
        let mut took = 0_u64;
        let mut take = |series: SeriesSamples| {
            let samples = (series.samples.len() + series.histograms.len()) as u64;
            took += samples;
            share.take(samples);
            if !self.memory.has_room(window, most) {
                return Err(GivesWay.into());
            }
            if took >= TELL_EVERY_SAMPLES {
                listener.tell(Progress::Took { samples: took });
                took = 0;
            }
            counts.add(&series);
            pivot.add(series).map_err(Into::into)
        };
        self.source.read(selector, window, &mut take).await?;
        listener.tell(Progress::Took { samples: took });
        Ok(())
    }
}

/// The selectors of the aliases, narrowed to one cluster and by the user's matchers.
pub(super) fn selectors(aliases: &Aliases, options: &IngestOptions) -> Vec<Vec<Matcher>> {
    let mut selectors: Vec<Vec<Matcher>> = aliases.selectors().to_vec();
    let cluster = options.cluster_label.iter();
    let cluster = cluster.map(|(label, value)| Matcher::equal(label, value));
    let extra: Vec<Matcher> = cluster.chain(options.matchers.iter().cloned()).collect();
    for selector in &mut selectors {
        selector.extend_from_slice(&extra);
    }
    selectors
}

fn digest_of(aliases: &Aliases, selectors: &[Vec<Matcher>], options: &IngestOptions) -> String {
    let replica_labels = &options.pivot.replica_labels;
    let own = if *replica_labels == USUAL_REPLICA_LABELS {
        String::new()
    } else {
        format!(" {replica_labels:?}")
    };
    sha256_hex(format!("{} {selectors:?}{own}", aliases.digest()).as_bytes())
}

/// What `ingest_windows` records of the selectors and their meaning.
pub fn selector_digest(options: &IngestOptions) -> Result<String, IngestError> {
    let aliases = Aliases::with_metrics(&options.metrics)?;
    Ok(digest_of(&aliases, &selectors(&aliases, options), options))
}

fn whole_days(span: TimeWindow) -> TimeWindow {
    TimeWindow::new(
        span.start_ms.div_euclid(DAY_MS) * DAY_MS,
        -(-span.end_ms).div_euclid(DAY_MS) * DAY_MS,
    )
}
