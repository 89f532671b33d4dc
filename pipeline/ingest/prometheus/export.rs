//! Owns reading a VictoriaMetrics by `/api/v1/export`: one JSON object a line, each a part of a
//! series. VictoriaMetrics itself keeps decimals, not bits (see `docs/sources.md`); what it gives
//! back is taken as it is.

use std::collections::BTreeMap;

use futures::future::BoxFuture;

use super::body::drain;
use super::client::RemoteSource;
use super::held::{Full, Held};
use super::http::{Http, RemoteOptions, excerpt};
use super::queries::{seconds, selector};
use super::{
    Labels, MatchOp, Matcher, STALE_NAN_BITS, Sample, SampleSource, SeriesSink, SourceError,
};
use crate::model::TimeWindow;

/// Bytes of one line: with `reduce_mem_usage` a line is a block of at most 8,192 samples.
const MAX_LINE_BYTES: usize = 16 << 20;
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
                let (labels, samples) =
                    parse(line).map_err(|what| http.failed(format!("{what}{}", excerpt(line))))?;
                held.add(labels, samples.into_iter(), std::iter::empty())
                    .map_err(|Full| Full::at(&http.shown))
            })
        })
        .await?;
        lines
            .finish()
            .map_err(|rest| http.failed(format!("the export ends within a line{rest}")))?;
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

/// Puts lines together from pieces.
#[derive(Debug, Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn push(
        &mut self,
        mut bytes: &[u8],
        take: &mut dyn FnMut(&[u8]) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (head, tail) = bytes.split_at(end);
            bytes = tail.get(1..).unwrap_or(&[]);
            if self.rest.is_empty() {
                take(head)?;
            } else {
                self.rest.extend_from_slice(head);
                take(&self.rest)?;
                self.rest.clear();
            }
        }
        self.rest.extend_from_slice(bytes);
        if self.rest.len() > MAX_LINE_BYTES {
            // No block is that long: this is refused as any other line that is no part of a series.
            take(self.rest.get(..1).unwrap_or(&[]))?;
        }
        Ok(())
    }

    /// What stands after the last line, as an excerpt.
    fn finish(self) -> Result<(), String> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(excerpt(&self.rest))
    }
}

/// One line: `{"metric":{…},"values":[…],"timestamps":[…]}`, in this order since ever.
fn parse(line: &[u8]) -> Result<(Labels, Vec<Sample>), String> {
    let wrong = |what: &str| format!("a line of the export {what}");
    let rest = line
        .strip_prefix(b"{\"metric\":")
        .ok_or_else(|| wrong("is no part of a series"))?;
    let mut parts =
        serde_json::Deserializer::from_slice(rest).into_iter::<BTreeMap<String, String>>();
    let Some(Ok(metric)) = parts.next() else {
        return Err(wrong("has malformed labels"));
    };
    let rest = rest.get(parts.byte_offset()..).unwrap_or(&[]);
    let rest = std::str::from_utf8(rest).map_err(|_| wrong("is no text"))?;
    let lists = rest
        .strip_prefix(",\"values\":[")
        .and_then(|rest| rest.split_once("],\"timestamps\":["))
        .and_then(|(values, rest)| Some((values, rest.trim_end().strip_suffix("]}")?)));
    let (values, times) = lists.ok_or_else(|| wrong("lacks values or timestamps"))?;
    let mut times = times.split(',');
    let mut samples = Vec::new();
    for value in values.split(',').filter(|value| !value.is_empty()) {
        let ts_ms = times.next().and_then(|text| text.trim().parse().ok());
        let ts_ms = ts_ms.ok_or_else(|| wrong("has fewer timestamps than values"))?;
        let value = value_of(value.trim()).ok_or_else(|| wrong("has a value that is no number"))?;
        samples.push(Sample { ts_ms, value });
    }
    if times.next().is_some_and(|text| !text.is_empty()) {
        return Err(wrong("has more timestamps than values"));
    }
    Ok((metric.into_iter().collect(), samples))
}

/// VictoriaMetrics keeps stale markers and writes them as `null`; other NaN it never takes in.
/// Infinity is quoted since some version, and bare before.
fn value_of(text: &str) -> Option<f64> {
    if text == "null" {
        return Some(f64::from_bits(STALE_NAN_BITS));
    }
    let bare = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text);
    bare.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_versions_are_read() {
        let lines = [
            br#"{"metric":{"__name__":"a","x":"]\"}"},"values":[1,null,+Inf,-Inf,1e-310],"timestamps":[1,2,3,4,5]}"#
                .as_slice(),
            br#"{"metric":{"__name__":"a","x":"]\"}"},"values":[1,null,"Infinity","-Infinity",1e-310],"timestamps":[1,2,3,4,5]}"#,
        ];
        for line in lines {
            let (labels, samples) = parse(line).unwrap();
            assert_eq!(labels.get("x"), Some("]\"}"));
            let bits: Vec<_> = samples
                .iter()
                .map(|s| (s.ts_ms, s.value.to_bits()))
                .collect();
            let infinite = f64::INFINITY.to_bits();
            let want = [
                (1, 1.0_f64.to_bits()),
                (2, STALE_NAN_BITS),
                (3, infinite),
                (4, (-f64::INFINITY).to_bits()),
                (5, 1e-310_f64.to_bits()),
            ];
            assert_eq!(bits, want);
        }
        let (_, none) =
            parse(br#"{"metric":{"__name__":"a"},"values":[],"timestamps":[]}"#).unwrap();
        assert!(none.is_empty());
    }

    #[test]
    fn lines_that_are_no_part_of_a_series_are_refused() {
        for line in [
            "",
            "error: cannot read block",
            r#"{"metric":{"__name__":"a"},"values":[1,2],"timestamps":[1]}"#,
            r#"{"metric":{"__name__":"a"},"values":[1],"timestamps":[1,2]}"#,
            r#"{"metric":{"__name__":"a"},"values":[x],"timestamps":[1]}"#,
            r#"{"metric":{"__name__":"a"},"values":[1],"timestamps":[1.5]}"#,
            r#"{"metric":{"__name__":"a"},"values":[1],"timestamps":[1]"#,
            r#"{"metric":{"__name__":"a","values":[1],"timestamps":[1]}"#,
            r#"{"metric":{"__name__":5},"values":[1],"timestamps":[1]}"#,
        ] {
            assert!(parse(line.as_bytes()).is_err(), "{line}");
        }
    }

    #[test]
    fn lines_are_whole_wherever_pieces_end_and_bounded() {
        let mut got = Vec::new();
        let mut lines = Lines::default();
        for piece in ["ab", "c\nd\n", "\n", "ef"] {
            lines
                .push(piece.as_bytes(), &mut |line| {
                    got.push(String::from_utf8_lossy(line).into_owned());
                    Ok(())
                })
                .unwrap();
        }
        assert_eq!(got, ["abc", "d", ""]);
        assert!(lines.finish().is_err());
        let mut lines = Lines::default();
        let long = vec![b'x'; 1 << 20];
        let refused = (0..20).find(|_| {
            let refuse = |_: &[u8]| {
                Err(SourceError::Limited {
                    url: String::new(),
                    what: String::new(),
                    todo: "",
                })
            };
            lines.push(&long, &mut { refuse }).is_err()
        });
        assert!(refused.is_some());
    }
}
