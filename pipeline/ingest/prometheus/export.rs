//! Owns reading a VictoriaMetrics by `/api/v1/export`; what a line says is read by `lines`.
//! VictoriaMetrics itself keeps decimals, not bits (see `docs/sources.md`); what it gives back is
//! taken as it is.

use futures::future::BoxFuture;

use super::body::drain;
use super::client::RemoteSource;
use super::held::{Full, Held};
use super::http::{Http, RemoteOptions, excerpt};
use super::lines::{self, Lines};
use super::queries::{seconds, selector};
use super::{MatchOp, Matcher, SampleSource, SeriesSink, SourceError};
use crate::model::TimeWindow;

/// The form of the request's body.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";

/// A VictoriaMetrics (single node, or a cluster's `…/select/0/prometheus`).
#[derive(Debug, Clone)]
pub struct ExportSource {
    remote: RemoteSource,
}

impl ExportSource {
    pub fn new(options: RemoteOptions) -> Result<Self, SourceError> {
        let remote = RemoteSource::new(options)?;
        Ok(Self { remote })
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
        if window.is_empty() || matchers.iter().any(nothing) {
            return Ok(());
        }
        let http = self.http();
        let form = form(&[
            ("match[]", selector(matchers)),
            ("start", seconds(window.start_ms)),
            // The server's ranges are closed.
            ("end", seconds(window.end_ms - 1)),
            // Blocks as they are stored, none joined in the server's memory first.
            ("reduce_mem_usage", "1".to_owned()),
        ]);
        let url = http.endpoint("api/v1/export", &[]);
        let response = http
            .send(|| {
                http.post(url.clone(), form.clone())
                    .header("Content-Type", FORM)
                    .header("Accept-Encoding", "gzip")
            })
            .await?;
        let kind = response.headers().get("content-type");
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or("");
        if !kind.starts_with("application/stream+json") {
            return Err(http.failed(format!(
                "the answer is of type {kind:?}, not an export's (is something else there?)"
            )));
        }
        let mut held = Held::new(window);
        let mut lines = Lines::default();
        drain(http, response, &mut |bytes| {
            lines.push(bytes, &mut |line| {
                let (labels, samples) = lines::parse(line)
                    .map_err(|what| http.failed(format!("{what}{}", excerpt(line))))?;
                held.add(labels, samples.into_iter(), std::iter::empty())
                    .map_err(|Full| Full::at(&http.shown))
            })
        })
        .await?;
        lines.finish().map_err(|rest| {
            http.failed(format!("the export ends within a line{}", excerpt(&rest)))
        })?;
        held.finish(sink).map_err(SourceError::Sink)
    }
}

impl SampleSource for ExportSource {
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
        Box::pin(self.remote.walk_extent())
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

/// Parameters as the body of a form, so that long selectors meet no limit of addresses.
pub(super) fn form(parameters: &[(&str, String)]) -> Vec<u8> {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(parameters)
        .finish()
        .into_bytes()
}
