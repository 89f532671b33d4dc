//! Owns what every source of Prometheus samples has in common (series, matchers, the
//! [`SampleSource`] trait), chunk decoding, and the ways to read a server: remote read, export and
//! range queries. Does not know tables or the lake:
//! `ingest` turns series into rows. `ingest::tsdb` reads blocks into the same types.

mod answer;
mod backoff;
mod body;
mod check;
pub mod chunks;
mod client;
mod credentials;
mod export;
mod extent;
mod held;
mod http;
mod limits;
mod lines;
mod matcher;
mod merge;
mod mode;
mod queries;
mod range;
mod selector;
mod series;
mod tls;
mod wire;

use futures::future::BoxFuture;

pub use check::{CountCheck, NameCount, ReadCounts};
pub use client::RemoteSource;
pub use credentials::{
    Auth, Azure, AzureCloud, AzureIdentity, BasicAuth, Google, OAuth2, SigV4, Text, Vars, WallClock,
};
pub use export::ExportSource;
pub use http::RemoteOptions;
pub use matcher::{MatchOp, Matcher, Pattern};
pub use mode::{Mode, ServerSource};
pub use range::RangeSource;
pub use selector::{SelectorError, parse_selector};
pub use series::{
    Bucket, HistogramSample, Labels, STALE_NAN_BITS, Sample, SeriesSamples, is_stale_nan,
};

pub use tls::TlsOptions;

pub(crate) use backoff::pause;
pub(crate) use http::post;
pub(crate) use merge::SeriesBuilder;

use crate::model::TimeWindow;

/// Labels that tell the Prometheis of a pair apart where the configuration names no others: what
/// the Prometheus Operator and Mimir call them.
pub const USUAL_REPLICA_LABELS: [&str; 2] = ["prometheus_replica", "__replica__"];

/// What a sink may answer: its own error ends the read and comes back as [`SourceError::Sink`].
pub type SinkError = Box<dyn std::error::Error + Send + Sync>;

/// Receives one whole series (clipped, merged, ascending in time) at a time.
pub type SeriesSink<'a> = dyn FnMut(SeriesSamples) -> Result<(), SinkError> + Send + 'a;

/// A store of Prometheus samples that can be drained window by window.
///
/// A read that returns an error has delivered an unknown part of the window: the caller throws
/// away whatever its sink took.
pub trait SampleSource: Send + Sync {
    /// Hands every series that all `matchers` accept to `sink`, each once, in no promised order;
    /// samples lie in `window` (half-open), ascend strictly in time and keep their bits, stale
    /// markers included. A series without a sample in the window is not handed over.
    fn read<'a>(
        &'a self,
        matchers: &'a [Matcher],
        window: TimeWindow,
        sink: &'a mut SeriesSink<'a>,
    ) -> BoxFuture<'a, Result<(), SourceError>>;

    /// The half-open span in which the source may hold samples; `None` if it holds none.
    fn extent(&self) -> BoxFuture<'_, Result<Option<TimeWindow>, SourceError>>;

    /// Compares what one read of `matchers` brought with the source's own count, for at most about
    /// `budget`. A source that cannot count says so; that is no error.
    fn check<'a>(
        &'a self,
        _matchers: &'a [Matcher],
        _window: TimeWindow,
        _read: &'a ReadCounts,
        _budget: std::time::Duration,
    ) -> BoxFuture<'a, CountCheck> {
        let why = "the source keeps no count of its own".to_owned();
        Box::pin(std::future::ready(CountCheck::NotChecked(why)))
    }

    /// About how many samples a read of `matchers` would bring, told from an index or a count and
    /// not by reading them; `None` where the source cannot tell cheaply.
    fn estimate<'a>(
        &'a self,
        _matchers: &'a [Matcher],
        _window: TimeWindow,
    ) -> BoxFuture<'a, Option<u64>> {
        Box::pin(std::future::ready(None))
    }

    /// Where the samples come from, for messages: a URL without credentials, or a folder.
    fn location(&self) -> String;
}

/// Why a window could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("cannot read samples from {url}: {what}; {todo}")]
    Remote {
        url: String,
        what: String,
        todo: &'static str,
    },
    /// The server was there and said no.
    #[error("cannot read samples from {url}: {what}; {todo}")]
    Refused {
        url: String,
        status: u16,
        what: String,
        todo: &'static str,
    },
    /// More than may be asked for, or held, at once: a narrower window may pass.
    #[error("cannot read samples from {url}: {what}; {todo}")]
    Limited {
        url: String,
        what: String,
        todo: &'static str,
    },
    /// The answer broke off or came damaged: the whole window may be read once more.
    #[error("cannot read samples from {url}: {what}; {todo}")]
    Broken {
        url: String,
        what: String,
        todo: &'static str,
    },
    #[error("cannot read TSDB block file {}: {what}; {todo}", path.display())]
    Block {
        path: std::path::PathBuf,
        what: String,
        todo: &'static str,
    },
    /// A block's file went away under a read; the reader lists again a few times before it says so.
    #[error(
        "TSDB block file {} vanished while it was read, again and again; run again when the \
         compactor rests",
        path.display()
    )]
    Vanished { path: std::path::PathBuf },
    #[error("{0}")]
    Sink(SinkError),
}
