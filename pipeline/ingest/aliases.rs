//! Owns the reading of `aliases.toml`: which metric means which column of which raw table, and the
//! selectors that a source is asked for. Does not see samples. Called by `pivot` and `driver`.

mod filter;
mod labels;
mod raw;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::prometheus::Matcher;
use crate::lake::schema;
use crate::model::canonical::sha256_hex;

pub use filter::LabelFilter;
pub use labels::{ContainerLabels, GpuLabels, HolderLabels, ScalerLabels, ServingLabels};
use raw::{RawAlias, RawExporter, RawFile, RawMisc};

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
mod tests;
