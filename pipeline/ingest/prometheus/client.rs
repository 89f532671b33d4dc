//! Owns remote read: one window of one selection as a stream of chunks (or, from old servers, one
//! block of samples). Whatever is wrong with an answer fails the whole window: after the first
//! byte a server cannot say any more that it failed, so nothing doubtful may count as an end.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use prost::Message;
use reqwest::Response;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use tokio::sync::OnceCell;

use super::check::{CountCheck, ReadCounts};
use super::chunks::Encoding;
use super::http::{Http, RemoteOptions, chain, excerpt};
use super::limits;
use super::wire::{self, ChunkedSeries, Frames, Label, ReadError};
use super::{
    Labels, MatchOp, Matcher, Sample, SampleSource, SeriesBuilder, SeriesSink, SourceError,
};
use crate::model::TimeWindow;

/// Largest unstreamed answer, packed and unpacked.
const MAX_PACKED_BYTES: usize = 128 << 20;
const MAX_UNPACKED_BYTES: usize = 256 << 20;
/// Largest stream of one window: many times what a window may hold in memory.
const MAX_STREAM_BYTES: u64 = 4 << 30;
/// Series of one answer; each leaves a hash behind.
const MAX_SERIES: usize = 4_000_000;

/// A server that speaks Prometheus' remote read.
#[derive(Debug, Clone)]
pub struct RemoteSource {
    pub(super) http: Http,
    /// Whether the server's ranges are closed on the left, once it was asked.
    pub(super) closed_ranges: Arc<OnceCell<bool>>,
}

impl RemoteSource {
    pub fn new(options: RemoteOptions) -> Result<Self, SourceError> {
        let http = Http::new(options)?;
        Ok(Self {
            http,
            closed_ranges: Arc::default(),
        })
    }

    async fn read_window<'a>(
        &'a self,
        matchers: &'a [Matcher],
        window: TimeWindow,
        sink: &'a mut SeriesSink<'a>,
    ) -> Result<(), SourceError> {
        let nothing = |m: &Matcher| matches!(&m.op, MatchOp::AnyOf(list) if list.is_empty());
        if window.is_empty() || matchers.iter().any(nothing) {
            return Ok(());
        }
        let request = wire::read_request(matchers, window).encode_to_vec();
        let body = snap::raw::Encoder::new()
            .compress_vec(&request)
            .map_err(|e| {
                self.http
                    .failed(format!("the request cannot be packed ({e})"))
            })?;
        let url = self.http.endpoint("api/v1/read", &[]);
        let response = self
            .http
            .send(|| {
                self.http
                    .post(url.clone(), body.clone())
                    .header("Content-Type", "application/x-protobuf")
                    .header("Content-Encoding", "snappy")
                    .header("X-Prometheus-Remote-Read-Version", "0.1.0")
            })
            .await?;
        let kind = header(&response, &CONTENT_TYPE);
        if kind.starts_with("application/x-streamed-protobuf") {
            self.read_stream(response, window, sink).await
        } else if kind.starts_with("application/x-protobuf") {
            self.read_samples(response, window, sink).await
        } else {
            Err(self.http.failed(format!(
                "the answer is of type {kind:?}, not remote read's (is something else there?)"
            )))
        }
    }

    async fn read_stream<'a>(
        &self,
        mut response: Response,
        window: TimeWindow,
        sink: &'a mut SeriesSink<'a>,
    ) -> Result<(), SourceError> {
        // A body that ends with its connection cannot be told from one that was cut.
        let chunked = header(&response, &TRANSFER_ENCODING).contains("chunked");
        if !chunked && response.headers().get(CONTENT_LENGTH).is_none() {
            return Err(self.http.failed(
                "the answer has neither a length nor chunks, so its end could not be seen",
            ));
        }
        let mut frames = Frames::default();
        let mut gather = Gather::new(window);
        let mut bytes = 0_u64;
        loop {
            let piece = response.chunk().await;
            let piece = piece.map_err(|error| {
                self.http
                    .broken(format!("the stream broke off: {}", chain(&error)))
            })?;
            let Some(piece) = piece else { break };
            bytes += piece.len() as u64;
            if bytes > MAX_STREAM_BYTES {
                return Err(self.http.limited("the stream has more than 4 GiB"));
            }
            frames.push(&piece);
            loop {
                let frame = frames
                    .next()
                    .map_err(|what| self.damaged(&what, frames.rest()))?;
                let Some(frame) = frame else { break };
                wire::chunked_series(&frame, |series| {
                    gather.add(series, sink).map_err(ReadError::from)
                })
                .map_err(|error| self.read_failed(error))?;
            }
        }
        if !frames.rest().is_empty() {
            return Err(self.damaged("the stream ends within a frame", frames.rest()));
        }
        gather
            .flush(sink)
            .map_err(|error| self.read_failed(error.into()))
    }

    /// Bytes that are no frame: after the first byte a server can only write its error into them.
    fn damaged(&self, what: &str, rest: &[u8]) -> SourceError {
        let said = excerpt(rest);
        let what = format!("{what}{said}");
        if limits::is_too_much(&said) {
            self.http.limited(what)
        } else {
            self.http.broken(what)
        }
    }

    fn read_failed(&self, error: ReadError) -> SourceError {
        match error {
            ReadError::Taker(SourceError::Limited { what, .. }) => self.http.limited(what),
            ReadError::Taker(error) => error,
            ReadError::Malformed(what) => self.http.failed(what),
        }
    }

    async fn read_samples<'a>(
        &self,
        mut response: Response,
        window: TimeWindow,
        sink: &'a mut SeriesSink<'a>,
    ) -> Result<(), SourceError> {
        let mut packed = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| {
            self.http
                .broken(format!("the answer broke off: {}", chain(&error)))
        })? {
            packed.extend_from_slice(&piece);
            if packed.len() > MAX_PACKED_BYTES {
                let what = "an unstreamed answer has more than 128 MiB";
                return Err(self.http.limited(what));
            }
        }
        let malformed = |e: snap::Error| {
            self.http
                .failed(format!("the answer is malformed ({e}){}", excerpt(&packed)))
        };
        let len = snap::raw::decompress_len(&packed).map_err(malformed)?;
        if len > MAX_UNPACKED_BYTES {
            let what = "an unstreamed answer unpacks to more than 256 MiB";
            return Err(self.http.limited(what));
        }
        let unpacked = snap::raw::Decoder::new()
            .decompress_vec(&packed)
            .map_err(malformed)?;
        drop(packed);
        let mut gather = Gather::new(window);
        wire::time_series(&unpacked.into(), |series| {
            gather.begin(series.labels, sink)?;
            let add = || {
                for sample in series.samples {
                    gather.builder.add_sample(Sample {
                        ts_ms: sample.timestamp,
                        value: sample.value,
                    })?;
                }
                for histogram in series.histograms {
                    gather.builder.add_histogram(histogram.into_sample()?)?;
                }
                Ok(())
            };
            add().map_err(|e: super::chunks::ChunkError| ReadError::Malformed(e.to_string()))
        })
        .map_err(|error| self.read_failed(error))?;
        gather
            .flush(sink)
            .map_err(|error| self.read_failed(error.into()))
    }
}

impl SampleSource for RemoteSource {
    fn read<'a>(
        &'a self,
        matchers: &'a [Matcher],
        window: TimeWindow,
        sink: &'a mut SeriesSink<'a>,
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(
            self.http
                .within_total(self.read_window(matchers, window, sink)),
        )
    }

    fn check<'a>(
        &'a self,
        matchers: &'a [Matcher],
        window: TimeWindow,
        read: &'a ReadCounts,
        budget: Duration,
    ) -> BoxFuture<'a, CountCheck> {
        Box::pin(self.check_counts(matchers, window, read, budget))
    }

    fn extent(&self) -> BoxFuture<'_, Result<Option<TimeWindow>, SourceError>> {
        Box::pin(self.query_extent())
    }

    fn estimate<'a>(
        &'a self,
        matchers: &'a [Matcher],
        window: TimeWindow,
    ) -> BoxFuture<'a, Option<u64>> {
        Box::pin(async move { self.estimate_samples(matchers, window).await.ok() })
    }

    fn location(&self) -> String {
        self.http.shown.clone()
    }
}

fn header(response: &Response, name: &reqwest::header::HeaderName) -> String {
    let value = response.headers().get(name);
    let text = value.and_then(|value| value.to_str().ok()).unwrap_or("");
    text.to_ascii_lowercase()
}

enum GatherError {
    Sink(SourceError),
    Data(String),
    TooMany,
}

impl From<GatherError> for ReadError {
    fn from(error: GatherError) -> Self {
        match error {
            GatherError::Sink(error) => Self::Taker(error),
            GatherError::Data(what) => Self::Malformed(what),
            GatherError::TooMany => Self::Taker(SourceError::Limited {
                url: String::new(),
                what: format!("the answer has more than {MAX_SERIES} series"),
                todo: super::http::NARROW,
            }),
        }
    }
}

/// Puts the parts of a series together, which follow each other, and hands it on when it ends.
struct Gather {
    builder: SeriesBuilder,
    wire_labels: Vec<Label>,
    labels: Option<Labels>,
    /// Hashes of the series that were handed on: one that comes again would be counted twice.
    seen: HashSet<u64>,
}

impl Gather {
    fn new(window: TimeWindow) -> Self {
        Self {
            builder: SeriesBuilder::new(window),
            wire_labels: Vec::new(),
            labels: None,
            seen: HashSet::new(),
        }
    }

    fn add(&mut self, series: ChunkedSeries, sink: &mut SeriesSink<'_>) -> Result<(), GatherError> {
        self.begin(series.labels, sink)?;
        for chunk in series.chunks {
            Encoding::from_number(i64::from(chunk.encoding))
                .and_then(|encoding| self.builder.add_chunk(encoding, &chunk.data, &[]))
                .map_err(|error| {
                    let labels = self.labels.clone().unwrap_or_default();
                    GatherError::Data(format!("{error}, series {labels}"))
                })?;
        }
        Ok(())
    }

    /// Makes the series with these labels the current one.
    fn begin(
        &mut self,
        wire_labels: Vec<Label>,
        sink: &mut SeriesSink<'_>,
    ) -> Result<(), GatherError> {
        if self.labels.is_some() && self.wire_labels == wire_labels {
            return Ok(());
        }
        self.flush(sink)?;
        self.wire_labels.clone_from(&wire_labels);
        let labels = wire::labels(wire_labels);
        let mut hasher = DefaultHasher::new();
        labels.hash(&mut hasher);
        if !self.seen.insert(hasher.finish()) {
            return Err(GatherError::Data(format!("series {labels} came twice")));
        }
        if self.seen.len() > MAX_SERIES {
            return Err(GatherError::TooMany);
        }
        self.labels = Some(labels);
        Ok(())
    }

    fn flush(&mut self, sink: &mut SeriesSink<'_>) -> Result<(), GatherError> {
        match self
            .labels
            .take()
            .and_then(|labels| self.builder.finish(labels))
        {
            Some(series) => sink(series).map_err(|e| GatherError::Sink(SourceError::Sink(e))),
            None => Ok(()),
        }
    }
}
