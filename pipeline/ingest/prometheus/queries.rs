//! Owns the few questions that are asked through the query API: how many samples a window holds
//! (to check what remote read brought), and what time a server spans.

use std::collections::BTreeMap;

use serde_json::Value;

use super::client::RemoteSource;
use super::http::{chain, excerpt};
use super::wire::regex;
use super::{MatchOp, Matcher, SourceError};
use crate::model::TimeWindow;
use crate::model::time::HOUR_MS;

/// Far larger than any answer that is asked for here.
const MAX_BODY_BYTES: usize = 32 << 20;
/// Over how long scrapes of targets are counted, for an estimate.
const ESTIMATE_MINUTES: i64 = 10;
/// Where a server has no `up` to count.
const USUAL_SCRAPES_A_MINUTE: f64 = 2.0;
/// The search for the newest sample begins here: 2100-01-01.
pub(super) const FAR_MS: i64 = 4_102_444_800_000;

impl RemoteSource {
    /// The server's own count of samples, per metric name, of the series that `matchers` accept;
    /// stale markers are not in it. One query a name: several names in one would meet in series
    /// without a name.
    pub async fn count_check(
        &self,
        names: &[String],
        matchers: &[Matcher],
        window: TimeWindow,
    ) -> Result<BTreeMap<String, u64>, SourceError> {
        let mut counts = BTreeMap::new();
        for name in names {
            counts.insert(name.clone(), self.count(name, matchers, window).await?);
        }
        Ok(counts)
    }

    /// The server's own count of one name's samples.
    pub(super) async fn count(
        &self,
        name: &str,
        matchers: &[Matcher],
        window: TimeWindow,
    ) -> Result<u64, SourceError> {
        if window.is_empty() {
            return Ok(0);
        }
        let span_ms = window.end_ms - window.start_ms;
        // Ranges are open on the left since version 3 and were closed before: a sample at the
        // millisecond before the window must not be counted, one at its start must.
        let closed = self
            .closed_ranges
            .get_or_try_init(|| self.ranges_are_closed());
        let range_ms = if *closed.await? { span_ms - 1 } else { span_ms };
        let mut all = vec![Matcher::equal("__name__", name)];
        all.extend(matchers.iter().filter(|m| m.label != "__name__").cloned());
        let selector = selector(&all);
        let expression = if range_ms == 0 {
            format!("count({selector})")
        } else {
            format!("sum(count_over_time({selector}[{range_ms}ms]))")
        };
        let value = self.scalar(&expression, window.end_ms - 1).await?;
        Ok(value as u64)
    }

    /// About how many samples `matchers` have in a window: the series that stand at its middle and
    /// its end, times the scrapes of a target. The samples themselves cannot be counted in one
    /// query, which would give series of several names one label set.
    pub(super) async fn estimate_samples(
        &self,
        matchers: &[Matcher],
        window: TimeWindow,
    ) -> Result<u64, SourceError> {
        let middle_ms = window.start_ms.midpoint(window.end_ms);
        let (mut series, mut scrapes) = (0.0_f64, 0.0_f64);
        for at_ms in [middle_ms, window.end_ms - 1] {
            let count = format!("count({})", selector(matchers));
            series = series.max(self.scalar(&count, at_ms).await?);
            let average = format!("avg(count_over_time(up[{ESTIMATE_MINUTES}m]))");
            scrapes = scrapes.max(self.scalar(&average, at_ms).await?);
        }
        if scrapes == 0.0 {
            scrapes = ESTIMATE_MINUTES as f64 * USUAL_SCRAPES_A_MINUTE;
        }
        let minutes = (window.end_ms - window.start_ms) as f64 / 60_000.0;
        Ok((series * scrapes * minutes / ESTIMATE_MINUTES as f64) as u64)
    }

    /// The names that the server's index has for `matchers` in a window.
    pub(super) async fn names(
        &self,
        matchers: &[Matcher],
        window: TimeWindow,
    ) -> Result<Vec<String>, SourceError> {
        let parameters = [
            ("match[]", selector(matchers)),
            ("start", seconds(window.start_ms)),
            ("end", seconds(window.end_ms - 1)),
        ];
        let data = self
            .api("api/v1/label/__name__/values", &parameters)
            .await?;
        let names = data.as_array().map(Vec::as_slice).unwrap_or_default();
        let names = names.iter().filter_map(Value::as_str);
        Ok(names.map(str::to_owned).collect())
    }

    /// Whether a range of a minute holds both of its edges.
    async fn ranges_are_closed(&self) -> Result<bool, SourceError> {
        let edges = self
            .scalar("count_over_time(vector(1)[1m:1m])", 120_000)
            .await?;
        Ok(edges > 1.5)
    }

    /// What time the server says it is.
    pub(super) async fn server_now_ms(&self) -> Result<i64, SourceError> {
        let now = self.value("vector(time())", &[]).await?;
        Ok((now * 1000.0) as i64)
    }

    /// The value of a query with one result at an instant; 0 if it has none.
    async fn scalar(&self, expression: &str, at_ms: i64) -> Result<f64, SourceError> {
        self.value(expression, &[("time", seconds(at_ms))]).await
    }

    async fn value(&self, expression: &str, more: &[(&str, String)]) -> Result<f64, SourceError> {
        let mut parameters = vec![("query", expression.to_owned())];
        parameters.extend_from_slice(more);
        let data = self.api("api/v1/query", &parameters).await?;
        let unexpected = || {
            self.http
                .failed(format!("the query {expression} has no plain answer"))
        };
        let result = data.get("result").and_then(Value::as_array);
        let Some(first) = result.ok_or_else(unexpected)?.first() else {
            return Ok(0.0);
        };
        let text = first.pointer("/value/1").and_then(Value::as_str);
        let number = text.and_then(|text| text.parse::<f64>().ok());
        number.filter(|n| n.is_finite()).ok_or_else(unexpected)
    }

    /// The span in which the server may hold samples, found by asking for the label names of
    /// ever smaller ranges, which servers answer from their indexes: whole hours outwards.
    pub(super) async fn query_extent(&self) -> Result<Option<TimeWindow>, SourceError> {
        if !self.any_between(0, FAR_MS).await? {
            return Ok(None);
        }
        let (mut low, mut high) = (0, FAR_MS / HOUR_MS);
        while low < high {
            let middle = low.midpoint(high);
            if self.any_between(0, (middle + 1) * HOUR_MS - 1).await? {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        let start_ms = low * HOUR_MS;
        let mut high = FAR_MS / HOUR_MS;
        while low < high {
            let middle = (low + high + 1) / 2;
            if self.any_between(middle * HOUR_MS, FAR_MS).await? {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        Ok(Some(TimeWindow::new(start_ms, (low + 1) * HOUR_MS)))
    }

    pub(super) async fn any_between(&self, from_ms: i64, to_ms: i64) -> Result<bool, SourceError> {
        let parameters = [("start", seconds(from_ms)), ("end", seconds(to_ms))];
        let data = self.api("api/v1/labels", &parameters).await?;
        Ok(data.as_array().is_some_and(|names| !names.is_empty()))
    }

    /// The `data` of an answer of the HTTP API.
    async fn api(&self, path: &str, parameters: &[(&str, String)]) -> Result<Value, SourceError> {
        let url = self.http.endpoint(path, parameters);
        let mut response = self.http.send(|| self.http.get(url.clone())).await?;
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| {
            self.http
                .failed(format!("the answer broke off: {}", chain(&error)))
        })? {
            body.extend_from_slice(&piece);
            if body.len() > MAX_BODY_BYTES {
                return Err(self.http.failed(format!("{path} answers more than 32 MiB")));
            }
        }
        let answer: Value = serde_json::from_slice(&body).map_err(|e| {
            self.http
                .failed(format!("{path} answers no JSON ({e}){}", excerpt(&body)))
        })?;
        if answer.get("status").and_then(Value::as_str) != Some("success") {
            let what = format!("{path} answers no success{}", excerpt(&body));
            return Err(self.http.failed(what));
        }
        Ok(answer.get("data").cloned().unwrap_or(Value::Null))
    }
}

/// Seconds since the epoch as the API takes them, exact to the millisecond.
pub(super) fn seconds(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let ms = ms.unsigned_abs();
    format!("{sign}{}.{:03}", ms / 1000, ms % 1000)
}

/// The selector of all series that `matchers` accept. One that accepts series without a name must
/// say so in PromQL: a selector needs a matcher that is not satisfied by the empty value.
pub(super) fn selector(matchers: &[Matcher]) -> String {
    let mut parts: Vec<String> = matchers.iter().map(promql).collect();
    if matchers.iter().all(|matcher| matcher.accepts_value("")) {
        parts.push("__name__!=\"\"".to_owned());
    }
    format!("{{{}}}", parts.join(","))
}

fn promql(matcher: &Matcher) -> String {
    let label = &matcher.label;
    match &matcher.op {
        MatchOp::Equal(value) => format!("{label}={}", quoted(value)),
        MatchOp::NotEqual(value) => format!("{label}!={}", quoted(value)),
        MatchOp::AnyOf(list) => format!("{label}=~{}", quoted(&regex(list))),
        MatchOp::NoneOf(list) => format!("{label}!~{}", quoted(&regex(list))),
    }
}

/// A PromQL string: Go's escapes, of which three are enough.
fn quoted(text: &str) -> String {
    let escaped = text
        .replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_leave_their_string() {
        let matcher = Matcher::equal("job", "a\"} or {x=\"\\\n");
        assert_eq!(promql(&matcher), r#"job="a\"} or {x=\"\\\n""#);
        assert_eq!(
            promql(&Matcher::prefix("job", "a.")),
            r#"job=~"a\\.(?s:.*)""#
        );
        assert_eq!(selector(&[matcher]), r#"{job="a\"} or {x=\"\\\n"}"#);
        assert_eq!(selector(&[]), r#"{__name__!=""}"#);
        assert_eq!(seconds(1_500), "1.500");
        assert_eq!(seconds(-1), "-0.001");
    }
}
