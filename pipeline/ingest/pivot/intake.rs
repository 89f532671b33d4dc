//! Owns the taking in of series: limits on hostile labels, dropping of stale markers, sharing of
//! timestamps, and the choice between the Prometheis of a pair. Rows are made elsewhere.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::times::Times;
use super::{PivotOptions, PivotStats, Replicas};
use crate::ingest::aliases::{Alias, Aliases, Exporter, MiscAlias, Part};
use crate::ingest::prometheus::{HistogramSample, Labels, SeriesSamples};
use crate::model::TimeWindow;

/// Labels of one series.
const MAX_LABELS: usize = 256;
/// Bytes of one label's name.
const MAX_LABEL_NAME_BYTES: usize = 512;
/// Bytes of one label's value; Kubernetes names have at most 253.
const MAX_LABEL_VALUE_BYTES: usize = 4_096;
/// Bytes of all labels of a series, names and values.
const MAX_LABELS_BYTES: usize = 65_536;
/// Lists of timestamps that a target remembers for sharing.
const SHARED_TIMES_PER_TARGET: usize = 8;

/// One scraped instance.
#[derive(Debug, Default)]
pub(super) struct Target {
    pub job: String,
    pub instance: String,
    /// Whether workloads stand in `exported_pod`, so that `pod` is the exporter's own.
    pub has_exported_pod: bool,
    /// Samples by replica label, for choosing one Prometheus of a pair.
    replicas: BTreeMap<String, u64>,
    metrics: HashSet<String>,
    recent: Vec<Times>,
}

impl Target {
    /// `job/instance`, as stored.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.job, self.instance)
    }
}

/// A series that fills a column, or a part of a histogram.
#[derive(Debug)]
pub(super) struct WideSeries<'a> {
    pub alias: &'a Alias,
    pub labels: Arc<Labels>,
    pub target: usize,
    pub times: Times,
    pub values: Arc<[f64]>,
    pub histograms: Arc<[HistogramSample]>,
    replica: Option<Arc<str>>,
}

/// A narrow series.
#[derive(Debug)]
pub(super) struct MiscSeries<'a> {
    pub alias: &'a MiscAlias,
    pub labels: Arc<Labels>,
    pub target: usize,
    pub times: Times,
    pub values: Arc<[f64]>,
    pub ended_stale: bool,
    replica: Option<Arc<str>>,
}

#[derive(Debug)]
pub(super) struct Intake<'a> {
    aliases: &'a Aliases,
    window: TimeWindow,
    options: &'a PivotOptions,
    pub targets: Vec<Target>,
    target_index: HashMap<(String, String), usize>,
    pub wide: Vec<WideSeries<'a>>,
    pub misc: Vec<MiscSeries<'a>>,
    pub stats: PivotStats,
}

impl<'a> Intake<'a> {
    pub(super) fn new(aliases: &'a Aliases, window: TimeWindow, options: &'a PivotOptions) -> Self {
        Self {
            aliases,
            window,
            options,
            targets: Vec::new(),
            target_index: HashMap::new(),
            wide: Vec::new(),
            misc: Vec::new(),
            stats: PivotStats::default(),
        }
    }

    pub(super) fn add(&mut self, series: SeriesSamples) {
        let Some(meaning) = self.aliases.meaning(series.labels.name()) else {
            return;
        };
        let passes = |exporter: &Exporter, alias: &Alias| {
            let value = |name: &str| series.labels.get(name).unwrap_or("");
            exporter.filters.iter().all(|f| f.accepts(value(&f.label)))
                && alias.filters.iter().all(|f| f.accepts(value(&f.label)))
        };
        let wide: Vec<&'a Alias> = meaning
            .wide
            .iter()
            .filter(|alias| passes(&self.aliases.exporters[alias.exporter], alias))
            .collect();
        let misc = meaning.misc.as_ref().filter(|misc| {
            let value = |name: &str| series.labels.get(name).unwrap_or("");
            misc.filters.iter().all(|f| f.accepts(value(&f.label)))
        });
        if wide.is_empty() && misc.is_none() {
            return;
        }
        self.stats.series += 1;
        if !within_limits(&series.labels) {
            self.stats.series_rejected += 1;
            return;
        }
        self.take(series, &wide, misc);
    }

    fn take(&mut self, series: SeriesSamples, wide: &[&'a Alias], misc: Option<&'a MiscAlias>) {
        let ended_stale = series
            .samples
            .last()
            .is_some_and(|sample| sample.is_stale());
        let mut times = Vec::with_capacity(series.samples.len());
        let mut values = Vec::with_capacity(series.samples.len());
        for sample in &series.samples {
            if !self.window.contains(sample.ts_ms) {
                continue;
            }
            if sample.is_stale() {
                self.stats.stale_markers += 1;
                continue;
            }
            self.stats.samples += 1;
            let repeated = times.last().is_some_and(|last| *last >= sample.ts_ms);
            if repeated || !sample.value.is_finite() {
                self.stats.values_rejected += 1;
                continue;
            }
            times.push(sample.ts_ms);
            values.push(sample.value);
        }
        let histograms: Arc<[HistogramSample]> = series
            .histograms
            .into_iter()
            .filter(|h| self.window.contains(h.ts_ms))
            .inspect(|h| {
                let stale = u64::from(h.is_stale());
                self.stats.stale_markers += stale;
                self.stats.samples += 1 - stale;
            })
            .filter(|h| !h.is_stale())
            .collect();
        if times.is_empty() && !histograms.is_empty() {
            times = histograms.iter().map(|h| h.ts_ms).collect();
        }
        if times.is_empty() {
            return;
        }
        let replica = self
            .options
            .replica_labels
            .iter()
            .find_map(|l| series.labels.get(l));
        let replica: Option<Arc<str>> = replica.map(Arc::from);
        let target = self.target(&series.labels);
        let known = &mut self.targets[target];
        let metric = series.labels.name();
        if !known.metrics.contains(metric) {
            known.metrics.insert(metric.to_owned());
        }
        known.has_exported_pod |= series.labels.get("exported_pod").is_some();
        *known
            .replicas
            .entry(replica.as_deref().unwrap_or("").to_owned())
            .or_default() += times.len() as u64;
        let times = known.share(times);
        let values: Arc<[f64]> = values.into();
        let labels = Arc::new(series.labels);
        for &alias in wide {
            let native = matches!(alias.part, Part::Native(_));
            if native == histograms.is_empty() {
                continue;
            }
            self.wide.push(WideSeries {
                alias,
                labels: Arc::clone(&labels),
                target,
                times: Arc::clone(&times),
                values: Arc::clone(&values),
                histograms: Arc::clone(&histograms),
                replica: replica.clone(),
            });
        }
        if let Some(alias) = misc
            && !values.is_empty()
        {
            self.misc.push(MiscSeries {
                alias,
                labels,
                target,
                times,
                values,
                ended_stale,
                replica,
            });
        }
    }

    fn target(&mut self, labels: &Labels) -> usize {
        let job = labels.get("job").unwrap_or("").to_owned();
        let instance = labels.get("instance").unwrap_or("").to_owned();
        let key = (job, instance);
        if let Some(index) = self.target_index.get(&key) {
            return *index;
        }
        self.targets.push(Target {
            job: key.0.clone(),
            instance: key.1.clone(),
            ..Target::default()
        });
        self.target_index.insert(key, self.targets.len() - 1);
        self.targets.len() - 1
    }

    /// Keeps, for each target, the series of the one Prometheus that holds most samples of it:
    /// the two of a pair scrape at different moments, and their union would be no scrape at all.
    /// Says which was taken, of targets that have a choice.
    pub(super) fn choose_replicas(&mut self) -> Replicas {
        let chosen: Vec<Option<String>> = self
            .targets
            .iter()
            .map(|target| {
                let best = target.replicas.iter().max_by(|a, b| {
                    // Of equal counts the first name wins, so that the choice is repeatable.
                    a.1.cmp(b.1).then_with(|| b.0.cmp(a.0))
                });
                (target.replicas.len() > 1).then(|| best.map(|b| b.0.clone()))?
            })
            .collect();
        let keep = |target: usize, replica: Option<&Arc<str>>| {
            chosen[target]
                .as_deref()
                .is_none_or(|best| best == replica.map_or("", |r| &**r))
        };
        let before = self.wide.len() + self.misc.len();
        self.wide.retain(|s| keep(s.target, s.replica.as_ref()));
        self.misc.retain(|s| keep(s.target, s.replica.as_ref()));
        self.stats.series_duplicate += (before - self.wide.len() - self.misc.len()) as u64;
        let mut taken = Replicas::new();
        for (target, replica) in self.targets.iter().zip(chosen) {
            if let Some(replica) = replica {
                taken.entry(replica).or_default().push(target.name());
            }
        }
        for targets in taken.values_mut() {
            targets.sort();
        }
        taken
    }

    /// Whether the target has all metrics that its exporter must have to be recognised.
    pub(super) fn confirmed(&self, target: usize, exporter: &Exporter) -> bool {
        let metrics = &self.targets[target].metrics;
        exporter
            .confirm
            .iter()
            .all(|metric| metrics.contains(metric))
    }

    /// Whether the target has a metric of that name.
    pub(super) fn has_metric(&self, target: usize, metric: &str) -> bool {
        self.targets[target].metrics.contains(metric)
    }

    pub(super) fn is_replica_label(&self, label: &str) -> bool {
        self.options
            .replica_labels
            .iter()
            .any(|known| known == label)
    }
}

impl Target {
    fn share(&mut self, times: Vec<i64>) -> Times {
        if let Some(known) = self.recent.iter().find(|known| ***known == *times) {
            return Arc::clone(known);
        }
        let shared: Times = times.into();
        if self.recent.len() == SHARED_TIMES_PER_TARGET {
            self.recent.remove(0);
        }
        self.recent.push(Arc::clone(&shared));
        shared
    }
}

fn within_limits(labels: &Labels) -> bool {
    let mut bytes = 0;
    labels.len() <= MAX_LABELS
        && labels.iter().all(|(name, value)| {
            bytes += name.len() + value.len();
            name.len() <= MAX_LABEL_NAME_BYTES
                && value.len() <= MAX_LABEL_VALUE_BYTES
                && bytes <= MAX_LABELS_BYTES
        })
}
