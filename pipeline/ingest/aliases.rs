//! Owns the reading of `aliases.toml`: which metric means which column of which raw table, and the
//! selectors that a source is asked for. Does not see samples. Called by `pivot` and `driver`.

mod labels;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;

use super::prometheus::{Matcher, Pattern};
use crate::lake::schema;
use crate::model::canonical::sha256_hex;

pub use labels::{ContainerLabels, GpuLabels, HolderLabels, ScalerLabels, ServingLabels};

const BUILTIN: &str = include_str!("aliases.toml");

/// Metric names asked for in one read; longer lists make regular expressions that servers refuse.
const NAMES_PER_SELECTOR: usize = 120;

/// The alias file is not usable.
#[derive(Debug, thiserror::Error)]
#[error("the metric alias file is not usable: {what}; correct pipeline/ingest/aliases.toml")]
pub struct AliasError {
    what: String,
}

fn unusable(what: impl Into<String>) -> AliasError {
    AliasError { what: what.into() }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    sum: Vec<String>,
    labels: RawLabels,
    exporter: Vec<RawExporter>,
    misc: Vec<RawMisc>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_field_names,
    reason = "the fields are the tables that the file names"
)]
struct RawLabels {
    gpu_samples: GpuLabels,
    serving_samples: ServingLabels,
    container_samples: ContainerLabels,
    scaler_samples: ScalerLabels,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExporter {
    name: String,
    table: String,
    #[serde(default)]
    prefixes: Vec<String>,
    #[serde(default, rename = "where")]
    filters: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    confirm: Vec<String>,
    #[serde(default)]
    rank_labels: Vec<String>,
    #[serde(default)]
    fallback: bool,
    #[serde(default)]
    reject: Vec<[f64; 2]>,
    scaler_kind: Option<String>,
    #[serde(default)]
    scaler_name: Vec<String>,
    #[serde(default)]
    namespace: Vec<String>,
    metrics: Vec<RawAlias>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAlias {
    metric: String,
    column: Option<String>,
    histogram: Option<String>,
    #[serde(default = "one")]
    scale: f64,
    #[serde(default, rename = "where")]
    filters: BTreeMap<String, Vec<String>>,
    from_label: Option<String>,
}

const fn one() -> f64 {
    1.0
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMisc {
    name: String,
    #[serde(default)]
    exported_wins: bool,
    #[serde(default, rename = "where")]
    filters: BTreeMap<String, Vec<String>>,
    families: Vec<Vec<String>>,
}

/// A condition on one label of a series.
#[derive(Debug, Clone)]
pub struct LabelFilter {
    pub label: String,
    accepted: Vec<Pattern>,
    refused: Vec<Pattern>,
}

impl LabelFilter {
    fn list(raw: &BTreeMap<String, Vec<String>>) -> Vec<Self> {
        let pattern = |text: &str| match text.strip_suffix('*') {
            Some(prefix) => Pattern::Prefix(prefix.to_owned()),
            None => Pattern::Exact(text.to_owned()),
        };
        raw.iter()
            .map(|(label, values)| {
                let (refused, accepted): (Vec<_>, Vec<_>) =
                    values.iter().partition(|v| v.starts_with('!'));
                Self {
                    label: label.clone(),
                    accepted: accepted.into_iter().map(|v| pattern(v)).collect(),
                    refused: refused.into_iter().map(|v| pattern(&v[1..])).collect(),
                }
            })
            .collect()
    }

    /// Whether a value (empty for an absent label) passes.
    #[must_use]
    pub fn accepts(&self, value: &str) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|p| p.accepts(value));
        (self.accepted.is_empty() || any(&self.accepted)) && !any(&self.refused)
    }

    fn matcher(&self) -> Option<Matcher> {
        // Only positive lists travel to the source: what else there is costs little to drop here,
        // and a matcher on the empty value means "absent", which external labels can break.
        let sendable =
            !self.accepted.is_empty() && !self.accepted.contains(&Pattern::Exact(String::new()));
        sendable.then(|| Matcher::any_of(&self.label, self.accepted.clone()))
    }
}

/// The wide tables that series are pivoted into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WideKind {
    Gpu,
    Serving,
    Container,
    Scaler,
}

impl WideKind {
    pub const ALL: [Self; 4] = [Self::Gpu, Self::Serving, Self::Container, Self::Scaler];

    #[must_use]
    pub const fn table(self) -> &'static str {
        match self {
            Self::Gpu => "gpu_samples",
            Self::Serving => "serving_samples",
            Self::Container => "container_samples",
            Self::Scaler => "scaler_samples",
        }
    }
}

/// How series that share a row, a column and a moment become one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Combine {
    Sum,
    Max,
}

/// What a series of this metric name is to its column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The sample is the value of a float column (index into the table's columns).
    Value {
        column: usize,
        combine: Combine,
    },
    /// A classic histogram's `_bucket`, `_sum`, `_count`, or a native one under the base name.
    Bucket(usize),
    Sum(usize),
    Count(usize),
    Native(usize),
}

/// One meaning of one metric name.
#[derive(Debug, Clone)]
pub struct Alias {
    pub exporter: usize,
    /// Place in the exporter's list: the lowest with a sample at a moment wins the column.
    pub rank: usize,
    pub part: Part,
    pub scale: f64,
    pub filters: Vec<LabelFilter>,
    pub from_label: Option<String>,
}

/// The columns of one histogram of a table.
#[derive(Debug, Clone, Copy)]
pub struct HistogramColumns {
    pub bounds: usize,
    pub counts: usize,
    pub sum: usize,
}

/// An engine or exporter.
#[derive(Debug, Clone)]
pub struct Exporter {
    pub name: String,
    pub kind: WideKind,
    pub filters: Vec<LabelFilter>,
    pub confirm: Vec<String>,
    pub rank_labels: Vec<String>,
    pub fallback: bool,
    pub reject: Vec<[f64; 2]>,
    pub scaler_kind: String,
    pub scaler_name: Vec<String>,
    pub namespace: Vec<String>,
}

/// A family of narrow series.
#[derive(Debug, Clone)]
pub struct MiscAlias {
    /// The current name, under which the series is stored.
    pub canonical: String,
    pub exported_wins: bool,
    pub filters: Vec<LabelFilter>,
}

/// What a metric name means: columns of wide tables, a narrow series, or both.
#[derive(Debug, Clone, Default)]
pub struct Meaning {
    pub wide: Vec<Alias>,
    pub misc: Option<MiscAlias>,
}

/// The whole alias file, checked and indexed.
#[derive(Debug)]
pub struct Aliases {
    pub exporters: Vec<Exporter>,
    pub gpu: GpuLabels,
    pub serving: ServingLabels,
    pub container: ContainerLabels,
    pub scaler: ScalerLabels,
    histograms: BTreeMap<WideKind, Vec<HistogramColumns>>,
    by_metric: HashMap<String, Meaning>,
    selectors: Vec<Vec<Matcher>>,
    digest: String,
}

impl Aliases {
    /// The aliases that ship with the program.
    pub fn builtin() -> Result<Self, AliasError> {
        Self::parse(BUILTIN)
    }

    /// The builtin aliases, and metrics of a user's own that are kept as narrow series.
    pub fn with_metrics(metrics: &[String]) -> Result<Self, AliasError> {
        let mut aliases = Self::builtin()?;
        let mut names = Vec::new();
        for metric in metrics {
            let meaning = aliases.by_metric.entry(metric.clone()).or_default();
            // What is kept as a narrow series already needs no second meaning.
            if meaning.misc.is_none() {
                meaning.misc = Some(MiscAlias {
                    canonical: metric.clone(),
                    exported_wins: false,
                    filters: Vec::new(),
                });
                names.push(metric.clone());
            }
        }
        names.sort();
        names.dedup();
        if !names.is_empty() {
            aliases.digest =
                sha256_hex(format!("{} {}", aliases.digest, names.join(" ")).as_bytes());
        }
        aliases.select(names, &[]);
        Ok(aliases)
    }

    pub(crate) fn parse(text: &str) -> Result<Self, AliasError> {
        let raw: RawFile = toml::from_str(text).map_err(|e| unusable(e.to_string()))?;
        let mut aliases = Self {
            exporters: Vec::new(),
            gpu: raw.labels.gpu_samples,
            serving: raw.labels.serving_samples,
            container: raw.labels.container_samples,
            scaler: raw.labels.scaler_samples,
            histograms: BTreeMap::new(),
            by_metric: HashMap::new(),
            selectors: Vec::new(),
            digest: sha256_hex(text.as_bytes()),
        };
        for exporter in raw.exporter {
            aliases.add_exporter(exporter, &raw.sum)?;
        }
        for misc in raw.misc {
            aliases.add_misc(&misc)?;
        }
        Ok(aliases)
    }

    fn add_exporter(&mut self, raw: RawExporter, sum: &[String]) -> Result<(), AliasError> {
        let kind = WideKind::ALL
            .into_iter()
            .find(|kind| kind.table() == raw.table)
            .ok_or_else(|| unusable(format!("no wide table {:?}", raw.table)))?;
        let index = self.exporters.len();
        let filters = LabelFilter::list(&raw.filters);
        let prefixes = match raw.prefixes.as_slice() {
            [] => vec![String::new()],
            some => some.to_vec(),
        };
        // Metric names by the filters of their selector: names with equal filters travel together.
        let mut names: BTreeSet<String> = BTreeSet::new();
        for (rank, line) in raw.metrics.iter().enumerate() {
            let parts = self.parts(kind, &raw.name, line, sum)?;
            for prefix in &prefixes {
                for (suffix, part) in &parts {
                    let name = format!("{prefix}{}{suffix}", line.metric);
                    let alias = Alias {
                        exporter: index,
                        rank,
                        part: part.clone(),
                        scale: line.scale,
                        filters: LabelFilter::list(&line.filters),
                        from_label: line.from_label.clone(),
                    };
                    self.by_metric
                        .entry(name.clone())
                        .or_default()
                        .wide
                        .push(alias);
                    names.insert(name);
                }
            }
        }
        self.select(names.into_iter().collect(), &filters);
        self.exporters.push(Exporter {
            name: raw.name,
            kind,
            filters,
            confirm: raw.confirm,
            rank_labels: raw.rank_labels,
            fallback: raw.fallback,
            reject: raw.reject,
            scaler_kind: raw.scaler_kind.unwrap_or_default(),
            scaler_name: raw.scaler_name,
            namespace: raw.namespace,
        });
        Ok(())
    }

    fn parts(
        &mut self,
        kind: WideKind,
        exporter: &str,
        line: &RawAlias,
        sum: &[String],
    ) -> Result<Vec<(&'static str, Part)>, AliasError> {
        let at = format!("{exporter}: {}", line.metric);
        match (&line.column, &line.histogram) {
            (Some(column), None) => {
                let index = column_of(kind, column, &at)?;
                let combine = if column.ends_with("_total") || sum.contains(column) {
                    Combine::Sum
                } else {
                    Combine::Max
                };
                let part = Part::Value {
                    column: index,
                    combine,
                };
                Ok(vec![("", part)])
            }
            (None, Some(histogram)) => {
                let index = self.histogram(kind, histogram, &at)?;
                Ok(vec![
                    ("_bucket", Part::Bucket(index)),
                    ("_sum", Part::Sum(index)),
                    ("_count", Part::Count(index)),
                    ("", Part::Native(index)),
                ])
            }
            _ => Err(unusable(format!("{at} needs either column or histogram"))),
        }
    }

    fn histogram(&mut self, kind: WideKind, name: &str, at: &str) -> Result<usize, AliasError> {
        let spec = schema::table(kind.table()).ok_or_else(|| unusable("no such table"))?;
        let find = |part: &str| {
            let prefix = format!("{name}_{part}");
            spec.columns
                .iter()
                .position(|c| c.name.starts_with(&prefix))
                .ok_or_else(|| unusable(format!("{at}: {} has no {prefix}…", kind.table())))
        };
        let columns = HistogramColumns {
            bounds: find("le_")?,
            counts: find("bucket_counts")?,
            sum: find("sum_")?,
        };
        let known = self.histograms.entry(kind).or_default();
        if let Some(index) = known.iter().position(|h| h.bounds == columns.bounds) {
            return Ok(index);
        }
        known.push(columns);
        Ok(known.len() - 1)
    }

    fn add_misc(&mut self, raw: &RawMisc) -> Result<(), AliasError> {
        let filters = LabelFilter::list(&raw.filters);
        let mut names = Vec::new();
        for family in &raw.families {
            let canonical = family
                .first()
                .ok_or_else(|| unusable(format!("misc {}: an empty family", raw.name)))?;
            for name in family {
                let meaning = self.by_metric.entry(name.clone()).or_default();
                if meaning.misc.is_some() {
                    return Err(unusable(format!("misc {}: {name} stands twice", raw.name)));
                }
                meaning.misc = Some(MiscAlias {
                    canonical: canonical.clone(),
                    exported_wins: raw.exported_wins,
                    filters: filters.clone(),
                });
                names.push(name.clone());
            }
        }
        self.select(names, &filters);
        Ok(())
    }

    /// Adds the selectors of one exporter, without asking twice for a name.
    fn select(&mut self, mut names: Vec<String>, filters: &[LabelFilter]) {
        let asked: Vec<&Matcher> = self.selectors.iter().filter_map(|s| s.first()).collect();
        names.retain(|name| !asked.iter().any(|matcher| matcher.accepts_value(name)));
        names.sort();
        for chunk in names.chunks(NAMES_PER_SELECTOR) {
            let mut selector = vec![Matcher::one_of("__name__", chunk.iter().cloned())];
            selector.extend(filters.iter().filter_map(LabelFilter::matcher));
            self.selectors.push(selector);
        }
    }

    /// The lists of matchers to read, one read each; no series is in two of them.
    #[must_use]
    pub fn selectors(&self) -> &[Vec<Matcher>] {
        &self.selectors
    }

    /// Changes whenever the meaning of any metric may have changed.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    #[must_use]
    pub fn meaning(&self, metric: &str) -> Option<&Meaning> {
        self.by_metric.get(metric)
    }

    #[must_use]
    pub fn histograms(&self, kind: WideKind) -> &[HistogramColumns] {
        self.histograms.get(&kind).map_or(&[], Vec::as_slice)
    }
}

fn column_of(kind: WideKind, column: &str, at: &str) -> Result<usize, AliasError> {
    schema::table(kind.table())
        .and_then(|spec| {
            spec.columns.iter().position(|c| {
                c.name == column && c.nullable && c.column_type == schema::ColumnType::Float
            })
        })
        .ok_or_else(|| {
            unusable(format!(
                "{at}: {} has no float column {column}",
                kind.table()
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_file_is_usable_and_asks_for_no_series_twice() {
        let aliases = Aliases::builtin().unwrap();
        let names = |selector: &[Matcher]| selector[0].clone();
        let mut asked = 0;
        for metric in aliases.by_metric.keys() {
            let hits = aliases
                .selectors()
                .iter()
                .filter(|s| names(s).accepts_value(metric))
                .count();
            assert_eq!(hits, 1, "{metric}");
            asked += hits;
        }
        assert!(asked > 300, "{asked}");
    }

    #[test]
    fn renamed_metrics_share_a_column_and_the_current_name_ranks_first() {
        let aliases = Aliases::builtin().unwrap();
        let of = |name: &str| aliases.meaning(name).unwrap().wide[0].clone();
        let new = of("vllm:kv_cache_usage_perc");
        let old = of("ray_vllm_gpu_cache_usage_perc");
        assert_eq!(new.part, old.part);
        assert!(new.rank < old.rank);
        assert!(aliases.meaning("vllm:no_such_metric").is_none());
    }

    #[test]
    fn a_metric_of_the_users_own_is_asked_for_once_and_changes_the_digest() {
        let builtin = Aliases::builtin().unwrap();
        let own = ["my_metric", "up", "my_metric", "vllm:num_requests_running"].map(String::from);
        let aliases = Aliases::with_metrics(&own).unwrap();
        assert_ne!(aliases.digest(), builtin.digest());
        assert_eq!(aliases.selectors().len(), builtin.selectors().len() + 1);
        for metric in &own {
            let asked = aliases.selectors().iter();
            let asked = asked.filter(|s| s[0].accepts_value(metric)).count();
            assert_eq!(asked, 1, "{metric}");
            let misc = aliases.meaning(metric).unwrap().misc.as_ref().unwrap();
            assert_eq!(&misc.canonical, metric);
        }
        assert!(
            !aliases
                .meaning("vllm:num_requests_running")
                .unwrap()
                .wide
                .is_empty()
        );
        let known = Aliases::with_metrics(&["up".to_owned()]).unwrap();
        assert_eq!(known.digest(), builtin.digest());
    }

    #[test]
    fn filters_accept_lists_prefixes_and_refusals() {
        let raw = BTreeMap::from([
            (
                "resource".to_owned(),
                vec!["cpu".to_owned(), "nvidia_com_*".to_owned()],
            ),
            (
                "container".to_owned(),
                vec!["!".to_owned(), "!POD".to_owned()],
            ),
        ]);
        let filters = LabelFilter::list(&raw);
        assert!(
            filters[0].accepts("main") && !filters[0].accepts("") && !filters[0].accepts("POD")
        );
        assert!(filters[1].accepts("nvidia_com_gpu") && !filters[1].accepts("memory"));
        assert!(filters[0].matcher().is_none() && filters[1].matcher().is_some());
    }

    #[test]
    fn a_wrong_column_is_named() {
        let text = BUILTIN.replace("column = \"xid\"", "column = \"xids\"");
        let error = Aliases::parse(&text).unwrap_err().to_string();
        assert!(
            error.contains("dcgm: DCGM_FI_DEV_XID_ERRORS") && error.contains("xids"),
            "{error}"
        );
    }
}
