//! Owns what a scaler can listen to in a simulation: which recorded series answers a metric's name or a
//! query, and what it reads at a moment. What no recorded series answers is refused by name, never guessed.

/// What was recorded of a workload, or follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Requests being computed.
    Running,
    /// Requests waiting in the engines' queues.
    Waiting,
    /// Both together.
    InFlight,
    RequestsPerSecond,
    PromptTokensPerSecond,
    OutputTokensPerSecond,
    /// Share of the key-value cache in use, between 0 and 1 a replica.
    CacheUsage,
    /// CPU in use, in thousandths of a core.
    CpuMilli,
    /// What the present scaler's own metric said at the time, whatever it is. It does not respond to
    /// other replicas than there were.
    Recorded,
    /// Something that the spec itself knows, such as a schedule: see `keda`.
    Constant,
}

/// A signal and how it is put together over replicas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    pub signal: Signal,
    /// The mean of replicas instead of their sum.
    pub is_mean: bool,
    /// What a reading is multiplied by: percent where the series is a share.
    pub scale: f64,
}

impl Reading {
    #[must_use]
    pub fn sum(signal: Signal) -> Self {
        Self {
            signal,
            is_mean: false,
            scale: 1.0,
        }
    }
}

/// What is known at one moment, as sums over the workload; `None` where nothing tells.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Readings {
    pub running: Option<f64>,
    pub waiting: Option<f64>,
    pub requests_per_second: Option<f64>,
    pub prompt_tokens_per_second: Option<f64>,
    pub output_tokens_per_second: Option<f64>,
    pub cache_usage: Option<f64>,
    pub cpu_milli: Option<f64>,
    pub recorded: Option<f64>,
    /// What stands before the workload's door too: an activator counts it where no replica is there.
    pub at_the_door: Option<f64>,
    /// Requests that arrive, whether anybody is there or not.
    pub arrivals_per_second: Option<f64>,
}

impl Readings {
    /// The sum over the workload's replicas.
    #[must_use]
    pub fn total(&self, signal: Signal) -> Option<f64> {
        match signal {
            Signal::Running => self.running,
            Signal::Waiting => self.waiting,
            Signal::InFlight => Some(self.running? + self.waiting?),
            Signal::RequestsPerSecond => self.requests_per_second,
            Signal::PromptTokensPerSecond => self.prompt_tokens_per_second,
            Signal::OutputTokensPerSecond => self.output_tokens_per_second,
            Signal::CacheUsage => self.cache_usage,
            Signal::CpuMilli => self.cpu_milli,
            Signal::Recorded => self.recorded,
            Signal::Constant => None,
        }
    }

    /// What a reading says with `replicas` that report.
    #[must_use]
    pub fn read(&self, reading: Reading, replicas: u32) -> Option<f64> {
        let total = self.total(reading.signal)? * reading.scale;
        if !reading.is_mean || reading.signal == Signal::Recorded {
            return Some(total);
        }
        (replicas > 0).then(|| total / f64::from(replicas))
    }
}

/// Names of series by what they are, after all engines' own spellings; `:` and `_` are one.
const NAMES: &[(&str, Signal, bool)] = &[
    ("num_requests_waiting", Signal::Waiting, false),
    ("requests_waiting", Signal::Waiting, false),
    ("num_queue_reqs", Signal::Waiting, false),
    ("queue_size", Signal::Waiting, false),
    ("num_requests_running", Signal::Running, false),
    ("requests_running", Signal::Running, false),
    ("num_running_reqs", Signal::Running, false),
    ("batch_current_size", Signal::Running, false),
    ("cache_usage_perc", Signal::CacheUsage, false),
    ("kv_cache_usage", Signal::CacheUsage, false),
    ("token_usage", Signal::CacheUsage, false),
    ("request_success", Signal::RequestsPerSecond, true),
    ("num_requests_total", Signal::RequestsPerSecond, true),
    ("request_count", Signal::RequestsPerSecond, true),
    ("prompt_tokens_total", Signal::PromptTokensPerSecond, true),
    (
        "generation_tokens_total",
        Signal::OutputTokensPerSecond,
        true,
    ),
    ("container_cpu_usage_seconds_total", Signal::CpuMilli, true),
];

/// The longest query that is looked at: a longer one is somebody's programme, not a signal.
const QUERY_BYTES_MAX: usize = 4096;

fn named(text: &str) -> Vec<(Signal, bool)> {
    let words = text
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .map(|word| word.replace(':', "_").to_ascii_lowercase());
    words
        .filter_map(|word| {
            NAMES
                .iter()
                .find(|(name, ..)| word.ends_with(name) || word.contains(&format!("{name}_")))
                .map(|(_, signal, is_counter)| (*signal, *is_counter))
        })
        .collect()
}

/// The signal that a metric of this name is: an HPA's own name for a series, or a series' name.
#[must_use]
pub fn of_name(name: &str) -> Option<Reading> {
    match name {
        "cpu" => return Some(Reading::sum(Signal::CpuMilli)),
        "running" => return Some(Reading::sum(Signal::Running)),
        "waiting" => return Some(Reading::sum(Signal::Waiting)),
        // What adapters call both together.
        "concurrency" | "inflight_requests" | "requests_inflight" | "in_flight_requests" => {
            return Some(Reading::sum(Signal::InFlight));
        }
        "rps" => return Some(Reading::sum(Signal::RequestsPerSecond)),
        _ => {}
    }
    match named(name).as_slice() {
        [(signal, false)] => Some(Reading::sum(*signal)),
        // An adapter that offers a counter under a rate's name says so.
        [(signal, true)] if name.contains("per_second") || name.contains("rate") => {
            Some(Reading::sum(*signal))
        }
        _ => None,
    }
}

/// The signal that a PromQL query is, where it is one recorded series under one aggregation: `sum`,
/// `avg` or `max` of a gauge, or of the `rate` of a counter. Any other arithmetic is `None`.
#[must_use]
pub fn of_query(query: &str) -> Option<Reading> {
    if query.len() > QUERY_BYTES_MAX {
        return None;
    }
    let bare = without_selectors(query)?;
    let known = named(&bare);
    let has = |word: &str| {
        bare.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .any(|one| one == word)
    };
    if bare.contains(['/', '*', '-', '%', '^', '<', '>', '=', '@'])
        || [" and ", " or ", " unless "]
            .iter()
            .any(|word| bare.contains(word))
        || [
            "quantile",
            "histogram_quantile",
            "count",
            "topk",
            "absent",
            "increase",
            "delta",
        ]
        .iter()
        .any(|word| has(word))
    {
        return None;
    }
    let is_mean = has("avg") || has("max") || has("min");
    let is_rate = has("rate") || has("irate");
    let signal = match known.as_slice() {
        [(signal, is_counter)] if *is_counter == is_rate && !bare.contains('+') => *signal,
        [(Signal::Running, _), (Signal::Waiting, _)]
        | [(Signal::Waiting, _), (Signal::Running, _)]
            if bare.matches('+').count() == 1 && !is_rate =>
        {
            Signal::InFlight
        }
        _ => return None,
    };
    Some(Reading {
        signal,
        is_mean,
        // The series counts seconds of CPU a second.
        scale: if signal == Signal::CpuMilli {
            0.001
        } else {
            1.0
        },
    })
}

/// The query without what stands in braces, brackets and quotes; `None` where they do not close.
fn without_selectors(query: &str) -> Option<String> {
    let mut out = String::with_capacity(query.len());
    let (mut braces, mut quote, mut escaped) = (0_u32, None, false);
    for c in query.chars() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '{' | '[') => braces += 1,
            (None, '}' | ']') => braces = braces.checked_sub(1)?,
            (None, c) if braces == 0 => out.push(c.to_ascii_lowercase()),
            (None, _) => {}
        }
    }
    (braces == 0 && quote.is_none()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(query: &str) -> Option<(Signal, bool)> {
        of_query(query).map(|reading| (reading.signal, reading.is_mean))
    }

    #[test]
    fn queries_of_one_recorded_series_are_signals() {
        for (query, told) in [
            (
                "sum(vllm:num_requests_waiting{namespace=\"a-b\"})",
                (Signal::Waiting, false),
            ),
            ("avg(vllm:num_requests_running)", (Signal::Running, true)),
            (
                "sum by (model) (sglang:num_running_reqs)",
                (Signal::Running, false),
            ),
            (
                "sum(vllm:num_requests_running) + sum(vllm:num_requests_waiting)",
                (Signal::InFlight, false),
            ),
            (
                "sum(rate(vllm:request_success_total{a=\"x}\"}[2m]))",
                (Signal::RequestsPerSecond, false),
            ),
            ("max(vllm:gpu_cache_usage_perc)", (Signal::CacheUsage, true)),
        ] {
            assert_eq!(signal(query), Some(told), "{query}");
        }
    }

    #[test]
    fn what_is_not_one_recorded_series_is_no_signal() {
        for query in [
            "sum(gateway_pending_requests)",
            "sum(vllm:num_requests_waiting) / 2",
            "sum(vllm:request_success_total)",
            "histogram_quantile(0.95, sum(rate(vllm:time_to_first_token_seconds_bucket[5m])) by (le))",
            "sum(vllm:num_requests_waiting{a=\"b\")",
            "count(vllm:num_requests_waiting)",
            "",
        ] {
            assert_eq!(signal(query), None, "{query}");
        }
        assert_eq!(of_query(&"x".repeat(5000)), None);
    }

    #[test]
    fn names_of_adapters_are_the_series_names() {
        let of = |name| of_name(name).map(|reading| reading.signal);
        assert_eq!(of("vllm_requests_running"), Some(Signal::Running));
        assert_eq!(of("sglang_num_running_reqs"), Some(Signal::Running));
        assert_eq!(of("vllm:num_requests_waiting"), Some(Signal::Waiting));
        assert_eq!(of("cpu"), Some(Signal::CpuMilli));
        assert_eq!(of("DCGM_FI_DEV_GPU_UTIL"), None);
        assert_eq!(of("vllm_request_success_total"), None);
    }

    #[test]
    fn a_mean_needs_somebody_who_reports() {
        let readings = Readings {
            running: Some(6.0),
            ..Readings::default()
        };
        let mean = Reading {
            is_mean: true,
            ..Reading::sum(Signal::Running)
        };
        assert_eq!(readings.read(mean, 3), Some(2.0));
        assert_eq!(readings.read(mean, 0), None);
        assert_eq!(readings.read(Reading::sum(Signal::InFlight), 3), None);
    }
}
