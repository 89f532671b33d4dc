//! Owns series, samples and stale markers as every source hands them over. No I/O.

/// The NaN that Prometheus writes where a series ended. Only these bits mean it: an ordinary NaN
/// is a value.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Whether the value is the stale marker, by bits.
#[must_use]
pub const fn is_stale_nan(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// A label set, sorted by name, names unique.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Labels(Vec<(String, String)>);

impl Labels {
    /// Sorts the pairs; of equal names the first holds. Empty values are absent labels.
    #[must_use]
    pub fn new(mut pairs: Vec<(String, String)>) -> Self {
        pairs.retain(|(_, value)| !value.is_empty());
        if !pairs.is_sorted_by(|a, b| a.0 < b.0) {
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            pairs.dedup_by(|later, first| later.0 == first.0);
        }
        Self(pairs)
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .binary_search_by(|(key, _)| key.as_str().cmp(name))
            .ok()
            .and_then(|at| self.0.get(at))
            .map(|(_, value)| value.as_str())
    }

    /// The metric's name (`__name__`), empty if there is none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.get("__name__").unwrap_or("")
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn into_pairs(self) -> Vec<(String, String)> {
        self.0
    }
}

impl FromIterator<(String, String)> for Labels {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(pairs: T) -> Self {
        Self::new(pairs.into_iter().collect())
    }
}

impl std::fmt::Display for Labels {
    /// As PromQL writes it: `up{instance="a:1",job="b"}`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())?;
        f.write_str("{")?;
        let mut separator = "";
        for (name, value) in self.iter().filter(|(name, _)| *name != "__name__") {
            write!(f, "{separator}{name}={value:?}")?;
            separator = ",";
        }
        f.write_str("}")
    }
}

/// One float sample; the value's bits are what the source stored.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub ts_ms: i64,
    pub value: f64,
}

impl Sample {
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        is_stale_nan(self.value)
    }
}

/// One bucket of a native histogram with its own (not cumulative) count; bounds as Prometheus
/// means them for the schema, `f64::INFINITY` at the open end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    pub lower: f64,
    pub upper: f64,
    pub count: f64,
}

/// One native histogram sample, ascending non-empty buckets (the zero bucket included).
#[derive(Debug, Clone)]
pub struct HistogramSample {
    pub ts_ms: i64,
    pub schema: i32,
    pub count: f64,
    /// Bits kept; the stale marker stands here.
    pub sum: f64,
    pub buckets: Vec<Bucket>,
}

impl HistogramSample {
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        is_stale_nan(self.sum)
    }
}

/// One series and what it holds in a window, ascending in time, stale markers included.
#[derive(Debug, Clone, Default)]
pub struct SeriesSamples {
    pub labels: Labels,
    pub samples: Vec<Sample>,
    pub histograms: Vec<HistogramSample>,
}
