//! Owns remote read: one window of one selection as a stream of chunks (or, from old servers, one
//! block of samples). Whatever is wrong with an answer fails the whole window: after the first
//! byte a server cannot say any more that it failed, so nothing doubtful may count as an end.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use futures::future::BoxFuture;
use prost::Message;
use reqwest::Response;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};

use super::chunks::Encoding;
use super::http::{Http, RemoteOptions, chain, excerpt};
use super::wire::{self, ChunkedSeries, Frames, Label};
use super::{
    Labels, MatchOp, Matcher, Sample, SampleSource, SeriesBuilder, SeriesSink, SourceError,
};
use crate::model::TimeWindow;

/// Largest unstreamed answer, packed and unpacked.
const MAX_PACKED_BYTES: usize = 128 << 20;
const MAX_UNPACKED_BYTES: usize = 256 << 20;
const NARROW: &str = "read shorter windows or fewer metrics at once";

/// A server that speaks Prometheus' remote read.
#[derive(Debug, Clone)]
pub struct RemoteSource {
    pub(super) http: Http,
}

impl RemoteSource {
    pub fn new(options: RemoteOptions) -> Result<Self, SourceError> {
        let http = Http::new(options)?;
        Ok(Self { http })
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
        loop {
            let piece = response.chunk().await;
            let piece = piece.map_err(|error| {
                self.http
                    .failed(format!("the stream broke off: {}", chain(&error)))
            })?;
            let Some(piece) = piece else { break };
            frames.push(&piece);
            loop {
                let frame = frames.next().map_err(|what| {
                    self.http
                        .failed(format!("{what}{}", excerpt(frames.rest())))
                })?;
                let Some(frame) = frame else { break };
                let message = wire::decode_frame(frame).map_err(|e| self.http.failed(e))?;
                if message.query_index != 0 {
                    return Err(self
                        .http
                        .failed("a frame answers a query that was not asked"));
                }
                for series in message.chunked_series {
                    gather
                        .add(series, sink)
                        .map_err(|error| self.gather_failed(error))?;
                }
            }
        }
        if !frames.rest().is_empty() {
            let what = format!("the stream ends within a frame{}", excerpt(frames.rest()));
            return Err(self.http.failed(what));
        }
        gather
            .flush(sink)
            .map_err(|error| self.gather_failed(error))
    }

    fn gather_failed(&self, error: GatherError) -> SourceError {
        match error {
            GatherError::Sink(error) => error,
            GatherError::Data(what) => self.http.failed(what),
        }
    }

    async fn read_samples<'a>(
        &self,
        mut response: Response,
        window: TimeWindow,
        sink: &'a mut SeriesSink<'a>,
    ) -> Result<(), SourceError> {
        let too_large = |what: &str| SourceError::Remote {
            url: self.http.shown.clone(),
            what: what.to_owned(),
            todo: NARROW,
        };
        let mut packed = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| {
            self.http
                .failed(format!("the answer broke off: {}", chain(&error)))
        })? {
            packed.extend_from_slice(&piece);
            if packed.len() > MAX_PACKED_BYTES {
                return Err(too_large("an unstreamed answer has more than 128 MiB"));
            }
        }
        let malformed = |e: String| {
            self.http
                .failed(format!("the answer is malformed ({e}){}", excerpt(&packed)))
        };
        let len = snap::raw::decompress_len(&packed).map_err(|e| malformed(e.to_string()))?;
        if len > MAX_UNPACKED_BYTES {
            return Err(too_large(
                "an unstreamed answer unpacks to more than 256 MiB",
            ));
        }
        let unpacked = snap::raw::Decoder::new()
            .decompress_vec(&packed)
            .map_err(|e| malformed(e.to_string()))?;
        let answer = wire::decode_answer(&unpacked).map_err(malformed)?;
        drop(unpacked);
        let mut gather = Gather::new(window);
        for series in answer
            .results
            .into_iter()
            .flat_map(|result| result.timeseries)
        {
            gather
                .begin(series.labels, sink)
                .map_err(|error| self.gather_failed(error))?;
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
            add().map_err(|e: super::chunks::ChunkError| self.http.failed(e.to_string()))?;
        }
        gather
            .flush(sink)
            .map_err(|error| self.gather_failed(error))
    }
}

impl SampleSource for RemoteSource {
    fn read<'a>(
        &'a self,
        matchers: &'a [Matcher],
        window: TimeWindow,
        sink: &'a mut SeriesSink<'a>,
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(async move {
            // A server that trickles bytes for ever is never silent.
            let limit = self.http.options.total_timeout;
            tokio::time::timeout(limit, self.read_window(matchers, window, sink))
                .await
                .unwrap_or_else(|_| {
                    let what = format!("the answer took more than {} s", limit.as_secs_f64());
                    Err(self.http.failed(what))
                })
        })
    }

    fn extent(&self) -> BoxFuture<'_, Result<Option<TimeWindow>, SourceError>> {
        Box::pin(self.query_extent())
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
