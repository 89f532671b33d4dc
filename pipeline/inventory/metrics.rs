//! Owns look-ups in kube-state-metrics series: by metric and by the object that a series is
//! about. It knows label names, not what the values mean for a pod or a node.

use std::collections::BTreeMap;

use crate::model::TimeWindow;

use super::input::{MetricSeries, ValueRun};
use super::timeline;

/// A sample holds for at most this many sampling intervals, in halves.
const HOLD_HALF_INTERVALS: i64 = 5;

/// Series by metric and object.
#[derive(Debug)]
pub(super) struct Metrics<'a> {
    by_object: BTreeMap<(String, String, String), Vec<&'a MetricSeries>>,
    coverage: Vec<TimeWindow>,
    pub interval_ms: i64,
}

/// Which label names the object of a metric.
const SUBJECTS: &[(&str, &str)] = &[
    ("kube_pod_", "pod"),
    ("kube_node_", "node"),
    ("kube_replicaset_", "replicaset"),
    ("kube_job_", "job_name"),
    ("kube_deployment_", "deployment"),
    ("kube_statefulset_", "statefulset"),
    ("kube_namespace_", "namespace"),
    ("kube_horizontalpodautoscaler_", "horizontalpodautoscaler"),
];

impl<'a> Metrics<'a> {
    pub(super) fn new(series: &'a [MetricSeries], interval_ms: i64) -> Self {
        let mut by_object: BTreeMap<_, Vec<&MetricSeries>> = BTreeMap::new();
        let interval_ms = interval_ms.max(1);
        let mut covered = Vec::new();
        for one in series.iter().filter(|one| one.metric.starts_with("kube_")) {
            covered.extend(
                one.runs
                    .iter()
                    .map(|run| TimeWindow::new(run.first_ms, run.last_ms.saturating_add(1))),
            );
            let Some((_, subject)) = SUBJECTS
                .iter()
                .find(|(prefix, _)| one.metric.starts_with(prefix))
            else {
                continue;
            };
            let namespace = one.label("namespace").unwrap_or("");
            // Cluster-scoped objects carry the exporter's own namespace, if any.
            let namespace = if matches!(*subject, "node" | "namespace") {
                ""
            } else {
                namespace
            };
            if let Some(name) = one.label(subject) {
                by_object
                    .entry((one.metric.clone(), namespace.to_owned(), name.to_owned()))
                    .or_default()
                    .push(one);
            }
        }
        let hold_ms = interval_ms.saturating_mul(HOLD_HALF_INTERVALS) / 2;
        Self {
            by_object,
            coverage: timeline::union(covered, hold_ms),
            interval_ms,
        }
    }

    pub(super) fn hold_ms(&self) -> i64 {
        self.interval_ms.saturating_mul(HOLD_HALF_INTERVALS) / 2
    }

    /// The series of a metric about one object.
    pub(super) fn of(&self, metric: &str, namespace: &str, name: &str) -> &[&'a MetricSeries] {
        self.by_object
            .get(&(metric.to_owned(), namespace.to_owned(), name.to_owned()))
            .map_or(&[], Vec::as_slice)
    }

    /// The objects that a metric is about.
    pub(super) fn objects<'s>(
        &'s self,
        metric: &'s str,
    ) -> impl Iterator<Item = (&'s str, &'s str)> {
        self.by_object
            .range((metric.to_owned(), String::new(), String::new())..)
            .take_while(move |((m, _, _), _)| m == metric)
            .map(|((_, namespace, name), _)| (namespace.as_str(), name.as_str()))
    }

    /// All series whose metric starts so.
    pub(super) fn prefixed<'s>(
        &'s self,
        prefix: &'s str,
    ) -> impl Iterator<Item = (&'s str, &'s str, &'a MetricSeries)> {
        self.by_object
            .range((prefix.to_owned(), String::new(), String::new())..)
            .take_while(move |((metric, _, _), _)| metric.starts_with(prefix))
            .flat_map(|((_, namespace, name), all)| {
                all.iter()
                    .map(|series| (namespace.as_str(), name.as_str(), *series))
            })
    }

    /// Whether kube-state-metrics itself was seen at an instant, so that silence means absence.
    pub(super) fn covers(&self, ms: i64) -> bool {
        self.coverage.iter().any(|window| window.contains(ms))
    }

    /// When kube-state-metrics was seen again after an instant.
    pub(super) fn next_coverage(&self, ms: i64) -> Option<i64> {
        self.coverage
            .iter()
            .map(|window| window.start_ms)
            .find(|start| *start > ms)
    }

    /// The latest value at an instant over all series of an object that pass a filter.
    pub(super) fn value(
        &self,
        metric: &str,
        namespace: &str,
        name: &str,
        ms: i64,
        keep: impl Fn(&MetricSeries) -> bool,
    ) -> Option<f64> {
        self.of(metric, namespace, name)
            .iter()
            .filter(|series| keep(series))
            .filter_map(|series| {
                let run = series
                    .runs
                    .iter()
                    .take_while(|run| run.first_ms <= ms)
                    .last()?;
                Some((run.last_ms, run.value))
            })
            .max_by_key(|(last_ms, _)| *last_ms)
            .map(|(_, value)| value)
    }
}

/// The runs of several series in one order of time; of two that overlap the later one wins.
pub(super) fn joined(series: &[&MetricSeries]) -> Vec<ValueRun> {
    let mut runs: Vec<ValueRun> = series
        .iter()
        .flat_map(|one| one.runs.iter().copied())
        .collect();
    runs.sort_by_key(|run| (run.first_ms, run.last_ms));
    let mut out: Vec<ValueRun> = Vec::with_capacity(runs.len());
    for run in runs {
        if let Some(last) = out.last_mut()
            && last.last_ms >= run.first_ms
        {
            if last.value == run.value {
                last.last_ms = last.last_ms.max(run.last_ms);
                continue;
            }
            last.last_ms = run.first_ms.saturating_sub(1).max(last.first_ms);
        }
        out.push(run);
    }
    out
}

/// How a Kubernetes label is spelled as a label of `kube_*_labels`.
pub(super) fn sanitised(label: &str) -> String {
    let mut out = String::with_capacity(label.len() + 6);
    out.push_str("label_");
    out.extend(
        label
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }),
    );
    out
}

/// The labels of an object: its own where a snapshot shows them, else kube-state-metrics'.
#[derive(Debug, Clone, Default)]
pub(super) struct Labels<'a> {
    pub body: Option<&'a serde_json::Value>,
    pub series: Option<&'a MetricSeries>,
}

impl<'a> Labels<'a> {
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.body
            .and_then(|body| super::json::text(body, &["metadata", "labels", name]))
            .or_else(|| {
                self.series
                    .and_then(|series| series.labels.get(&sanitised(name)))
                    .map(String::as_str)
                    .filter(|value| !value.is_empty())
            })
    }

    /// A label, else an annotation.
    pub(super) fn mark(&self, name: &str) -> Option<&'a str> {
        self.get(name).or_else(|| {
            self.body
                .and_then(|body| super::json::text(body, &["metadata", "annotations", name]))
        })
    }
}

/// The series of `kube_*_labels` nearest to an instant.
pub(super) fn labels_series<'a>(series: &[&'a MetricSeries], ms: i64) -> Option<&'a MetricSeries> {
    series.iter().copied().min_by_key(|one| {
        one.runs
            .iter()
            .map(|run| {
                run.first_ms
                    .saturating_sub(ms)
                    .max(ms.saturating_sub(run.last_ms))
                    .max(0)
            })
            .min()
            .unwrap_or(i64::MAX)
    })
}
