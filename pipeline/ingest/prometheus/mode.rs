//! Owns the choice of how a server is read: by remote read, by export or by range queries, as the
//! configuration says or as a probe finds. All three give the same rows; the probe tries the one
//! that costs the server least first.

use std::time::Duration;

use futures::future::BoxFuture;

use super::{
    CountCheck, ExportSource, Matcher, RangeSource, ReadCounts, RemoteOptions, RemoteSource,
    SampleSource, SeriesSamples, SeriesSink, SourceError,
};
use crate::model::TimeWindow;

/// How a server is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Whatever a probe finds.
    #[default]
    Auto,
    RemoteRead,
    Export,
    Range,
}

/// A server, read in one of the three ways.
#[derive(Debug)]
pub enum ServerSource {
    Remote(RemoteSource),
    Export(ExportSource),
    Range(RangeSource),
}

impl ServerSource {
    /// Opens a server in the mode given. For [`Mode::Auto`] it is asked, and the second value says
    /// what was chosen and why.
    pub async fn open(
        options: RemoteOptions,
        mode: Mode,
    ) -> Result<(Self, Option<String>), SourceError> {
        match mode {
            Mode::RemoteRead => Ok((Self::Remote(RemoteSource::new(options)?), None)),
            Mode::Export => Ok((Self::Export(ExportSource::new(options)?), None)),
            Mode::Range => Ok((Self::Range(RangeSource::new(options)?), None)),
            Mode::Auto => Self::probe(options).await,
        }
    }

    async fn probe(options: RemoteOptions) -> Result<(Self, Option<String>), SourceError> {
        let remote = RemoteSource::new(options.clone())?;
        let Some(no_remote) = lacks(&remote).await? else {
            let said = "mode auto chose remote-read: the server speaks it".to_owned();
            return Ok((Self::Remote(remote), Some(said)));
        };
        let export = ExportSource::new(options.clone())?;
        let Some(no_export) = lacks(&export).await? else {
            let said = format!(
                "mode auto chose export: remote read was refused ({no_remote}), and the server has \
                 VictoriaMetrics' /api/v1/export"
            );
            return Ok((Self::Export(export), Some(said)));
        };
        let range = RangeSource::new(options)?;
        // Whatever is wrong now is told: there is nothing left to try.
        probe(&range).await?;
        let said = format!(
            "mode auto chose range: remote read was refused ({no_remote}), export too \
             ({no_export}), and the server answers queries; when series ended is not told that way"
        );
        Ok((Self::Range(range), Some(said)))
    }

    fn source(&self) -> &dyn SampleSource {
        match self {
            Self::Remote(source) => source,
            Self::Export(source) => source,
            Self::Range(source) => source,
        }
    }

    #[must_use]
    pub const fn mode(&self) -> Mode {
        match self {
            Self::Remote(_) => Mode::RemoteRead,
            Self::Export(_) => Mode::Export,
            Self::Range(_) => Mode::Range,
        }
    }
}

/// Reads a moment of a metric that nobody has.
async fn probe(source: &dyn SampleSource) -> Result<(), SourceError> {
    let matchers = [Matcher::equal("__name__", "idleproof_probe")];
    let moment = TimeWindow::new(1_000, 2_000);
    let mut ignore = |_: SeriesSamples| Ok(());
    source.read(&matchers, moment, &mut ignore).await
}

/// Why the server cannot be read this way, if it said so. What may pass (no connection, too busy,
/// credentials) is an error: falling back on it would hide it.
async fn lacks(source: &dyn SampleSource) -> Result<Option<String>, SourceError> {
    match probe(source).await {
        Ok(()) => Ok(None),
        Err(SourceError::Refused {
            status: status @ (400 | 403 | 404 | 405 | 406 | 410 | 415 | 422 | 501),
            ..
        }) => Ok(Some(format!("status {status}"))),
        Err(error) => Err(error),
    }
}

impl SampleSource for ServerSource {
    fn read<'a>(
        &'a self,
        matchers: &'a [Matcher],
        window: TimeWindow,
        sink: &'a mut SeriesSink<'a>,
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        self.source().read(matchers, window, sink)
    }

    fn extent(&self) -> BoxFuture<'_, Result<Option<TimeWindow>, SourceError>> {
        self.source().extent()
    }

    fn check<'a>(
        &'a self,
        matchers: &'a [Matcher],
        window: TimeWindow,
        read: &'a ReadCounts,
        budget: Duration,
    ) -> BoxFuture<'a, CountCheck> {
        self.source().check(matchers, window, read, budget)
    }

    fn estimate<'a>(
        &'a self,
        matchers: &'a [Matcher],
        window: TimeWindow,
    ) -> BoxFuture<'a, Option<u64>> {
        self.source().estimate(matchers, window)
    }

    fn location(&self) -> String {
        self.source().location()
    }
}
