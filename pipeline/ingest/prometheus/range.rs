//! Owns reading a server that answers queries only: `query=selector[range]&time=T` returns samples
//! as they are stored. A window is asked for in tiles, which shrink where the server or a limit of
//! ours refuses their size.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::future::BoxFuture;

use super::answer::{self, Cutter, Wrong};
use super::body::drain;
use super::client::RemoteSource;
use super::export::{FORM, form};
use super::held::{Full, Held};
use super::http::{Http, RemoteOptions};
use super::queries::{seconds, selector};
use super::{MatchOp, Matcher, SampleSource, SeriesSink, SourceError};
use crate::model::TimeWindow;
use crate::model::time::HOUR_MS;

/// The widest tile: a larger one is an unusual query even for a server that could answer it.
const MAX_TILE_MS: i64 = 6 * HOUR_MS;
/// The narrowest: where even this is refused, width is not what is wrong.
const MIN_TILE_MS: i64 = 5 * 60_000;
/// What Thanos says of a span before its history: no failure, there is nothing.
const NO_STORE: &str = "No StoreAPIs matched for this query";

/// A server with the query API of Prometheus.
#[derive(Debug, Clone)]
pub struct RangeSource {
    pub(super) remote: RemoteSource,
    /// Width of a tile that the server has not refused so far.
    tile_ms: Arc<AtomicI64>,
}

/// Why a tile was not read.
enum Refused {
    /// Asking for less may help.
    TooLarge(SourceError),
    Error(SourceError),
}

impl RangeSource {
    pub fn new(options: RemoteOptions) -> Result<Self, SourceError> {
        Ok(Self {
            remote: RemoteSource::new(options)?,
            tile_ms: Arc::new(AtomicI64::new(MAX_TILE_MS)),
        })
    }

    fn http(&self) -> &Http {
        &self.remote.http
    }

    async fn read_window<'a>(
        &'a self,
        matchers: &'a [Matcher],
        window: TimeWindow,
        sink: &'a mut SeriesSink<'a>,
    ) -> Result<(), SourceError> {
        let nothing = |m: &Matcher| matches!(&m.op, MatchOp::AnyOf(list) if list.is_empty());
        if matchers.iter().any(nothing) {
            return Ok(());
        }
        let mut held = Held::new(window);
        let mut start_ms = window.start_ms;
        while start_ms < window.end_ms {
            let width_ms = self.tile_ms.load(Ordering::Relaxed);
            let tile = TimeWindow::new(start_ms, window.end_ms.min(start_ms + width_ms));
            match self.read_tile(matchers, tile).await {
                Ok(part) => {
                    held.merge(part)
                        .map_err(|Full| Full::at(&self.http().shown))?;
                    start_ms = tile.end_ms;
                }
                Err(Refused::TooLarge(refusal)) => {
                    let half_ms = (tile.end_ms - tile.start_ms) / 2;
                    if half_ms < MIN_TILE_MS {
                        return Err(refusal);
                    }
                    tracing::warn!(%refusal, half_ms, "asking for shorter ranges");
                    self.tile_ms.fetch_min(half_ms, Ordering::Relaxed);
                }
                Err(Refused::Error(error)) => return Err(error),
            }
        }
        held.finish(sink).map_err(SourceError::Sink)
    }

    /// Reads one tile. Ranges are open on the left since version 3 and were closed before: as long
    /// as the tile and evaluated at its last millisecond, both hold the whole tile, and the second
    /// the millisecond before it too, which is clipped.
    async fn read_tile(&self, matchers: &[Matcher], tile: TimeWindow) -> Result<Held, Refused> {
        let http = self.http();
        let length_ms = tile.end_ms - tile.start_ms;
        let form = form(&[
            ("query", format!("{}[{length_ms}ms]", selector(matchers))),
            ("time", seconds(tile.end_ms - 1)),
            // Of Thanos: samples as they were, or an error. Others do not know these.
            ("max_source_resolution", "0s".to_owned()),
            ("partial_response", "false".to_owned()),
        ]);
        let url = http.endpoint("api/v1/query", &[]);
        let response = http
            .send(|| {
                http.post(url.clone(), form.clone())
                    .header("Content-Type", FORM)
                    .header("Accept-Encoding", "gzip")
            })
            .await
            .map_err(|error| match error {
                // Too many samples, a limit of a tenant, or too slow: servers say it variously.
                SourceError::Limited { .. }
                | SourceError::Refused {
                    status: 400 | 413 | 422 | 500 | 503 | 504,
                    ..
                } => Refused::TooLarge(error),
                _ => Refused::Error(error),
            })?;
        let mut held = Held::new(tile);
        let mut cutter = Cutter::default();
        let (mut wrong, mut full) = (None, None);
        let mut take = |bytes: &[u8]| {
            cutter
                .push(bytes, &mut |element| {
                    let series = answer::series(element)?;
                    held.add(
                        series.labels,
                        series.samples.into_iter(),
                        series.histograms.into_iter(),
                    )
                    .map_err(|Full| {
                        full = Some(Full);
                        Wrong::TooLarge
                    })
                })
                .map_err(|error| {
                    let shown = self.wrong(&error);
                    wrong = Some(error);
                    shown
                })
        };
        let drained = drain(http, response, &mut take).await;
        if let Err(error) = drained {
            return Err(match (wrong, full) {
                // What one tile may hold, a whole window of them may not exceed either.
                (_, Some(Full)) => Refused::Error(Full::at(&http.shown)),
                (Some(Wrong::TooLarge), None) => Refused::TooLarge(error),
                _ => Refused::Error(error),
            });
        }
        let warnings = cutter
            .finish()
            .map_err(|error| Refused::Error(self.wrong(&error)))?;
        if let Some(warning) = warnings.iter().find(|text| !text.contains(NO_STORE)) {
            let what = format!("the answer may lack samples: the server warns {warning:?}");
            return Err(Refused::Error(http.failed(what)));
        }
        Ok(held)
    }

    fn wrong(&self, wrong: &Wrong) -> SourceError {
        match wrong {
            Wrong::TooLarge => self
                .http()
                .failed("one series has more than 64 MiB of JSON"),
            Wrong::Malformed(what) => self.http().failed(format!("the answer is wrong: {what}")),
        }
    }
}

impl SampleSource for RangeSource {
    fn read<'a>(
        &'a self,
        matchers: &'a [Matcher],
        window: TimeWindow,
        sink: &'a mut SeriesSink<'a>,
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(
            self.http()
                .within_total(self.read_window(matchers, window, sink)),
        )
    }

    fn extent(&self) -> BoxFuture<'_, Result<Option<TimeWindow>, SourceError>> {
        Box::pin(async move {
            if self.remote.heeds_ranges().await? {
                self.remote.query_extent().await
            } else {
                self.remote.walk_extent().await
            }
        })
    }

    fn estimate<'a>(
        &'a self,
        matchers: &'a [Matcher],
        window: TimeWindow,
    ) -> BoxFuture<'a, Option<u64>> {
        Box::pin(async move { self.remote.estimate_samples(matchers, window).await.ok() })
    }

    fn location(&self) -> String {
        self.http().shown.clone()
    }
}
