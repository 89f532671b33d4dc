//! Owns which refusals mean "too much at once": a narrower window may pass where this one did not.
//! The words are those of Prometheus, Mimir, Cortex, Thanos and VictoriaMetrics. Pure.

/// What a refusal means for the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Asking again for less may help, asking the same will not.
    TooMuch,
    /// The same may pass later; if it never does, less may.
    TooSlow,
    /// The same may pass later.
    Later,
    /// It will not pass.
    No,
}

const TOO_MUCH: [&str; 22] = [
    "sample limit",
    "too many samples",
    "max number of samples",
    "maximum number of samples",
    "too many chunks",
    "maximum number of chunks",
    "max number of chunks",
    "too many series",
    "maximum number of series",
    "max number of series",
    "series limit",
    "chunks limit",
    "bytes limit",
    "max-chunks-per-query",
    "max-series-per-query",
    "max-fetched",
    "query-length",
    "query length",
    "query time range exceeds the limit",
    "larger than max",
    "message too large",
    "response too large",
];

const TOO_SLOW: [&str; 3] = ["timed out", "deadline exceeded", "timeout expired"];

pub(super) fn refusal(status: u16, body: &str) -> Refusal {
    let body = body.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| body.contains(word));
    match status {
        413 => Refusal::TooMuch,
        400 | 422 | 500..=599 if says(&TOO_MUCH) => Refusal::TooMuch,
        408 | 504 => Refusal::TooSlow,
        422 | 500..=599 if says(&TOO_SLOW) => Refusal::TooSlow,
        429 | 500..=599 => Refusal::Later,
        _ => Refusal::No,
    }
}

/// Whether words that a server wrote into a stream that it had begun say so.
pub(super) fn is_too_much(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    TOO_MUCH.iter().any(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_real_servers_are_known() {
        for (status, body) in [
            (400, "exceeded sample limit (50000000)"),
            (413, ""),
            (
                422,
                "the query exceeded the maximum number of chunks (limit: 2000000 chunks) \
                 (err-mimir-max-chunks-per-query)",
            ),
            (
                500,
                "rpc error: code = Code(422) desc = the query time range exceeds the limit \
                 (query length: 744h0m0s, limit: 720h1m0s)",
            ),
            (
                500,
                "rpc error: code = ResourceExhausted desc = grpc: received message larger than \
                 max (104857601 vs. 104857600)",
            ),
            (
                422,
                "query processing would load too many samples into memory in query execution",
            ),
        ] {
            assert_eq!(refusal(status, body), Refusal::TooMuch, "{status} {body}");
        }
        assert_eq!(
            refusal(429, "too many outstanding requests"),
            Refusal::Later
        );
        assert_eq!(refusal(429, "sample limit"), Refusal::Later);
        assert_eq!(refusal(503, "busy"), Refusal::Later);
        assert_eq!(refusal(504, ""), Refusal::TooSlow);
        assert_eq!(
            refusal(503, "query timed out in expression"),
            Refusal::TooSlow
        );
        assert_eq!(refusal(400, "bad matcher"), Refusal::No);
        assert_eq!(refusal(401, "sample limit"), Refusal::No);
        assert!(is_too_much("expanding series: Too Many Samples"));
    }
}
