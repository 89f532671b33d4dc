//! Owns the life of pods: one incarnation a UID, from birth to deletion or terminal phase, with
//! the times at which it was ready. Snapshots' timestamps are exact and win over samples.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::model::TimeWindow;

use super::input::{GpuPodSpan, MetricSeries, ValueRun};
use super::json;
use super::looks::Look;
use super::metrics::{self, Labels, Metrics};
use super::objects::{Key, ObjectStore, Version};
use super::owners;
use super::resources::{self, Requests};
use super::timeline;

/// One incarnation of a pod.
#[derive(Debug)]
pub(super) struct PodLife<'a> {
    pub namespace: String,
    pub name: String,
    pub uid: Option<String>,
    pub node: Option<String>,
    pub created_ms: i64,
    /// When it came to a node.
    pub scheduled_ms: Option<i64>,
    pub end_ms: i64,
    pub ready: Vec<(i64, bool)>,
    /// The version that tells most, whose body is parsed where it is asked for.
    pub version: Option<&'a Version>,
    pub labels: Labels<'a>,
    pub images: Vec<&'a str>,
    pub requests: Requests,
    /// Controllers, nearest first.
    pub chain: Vec<Key>,
    pub known_from: &'static str,
}

impl PodLife<'_> {
    pub(super) fn key(&self) -> Key {
        Key::new("pod", &self.namespace, &self.name)
    }

    /// Its body, kept in a part of the store that goes with the caller.
    pub(super) fn body_in<'s>(&self, own: &'s ObjectStore) -> Option<&'s Value> {
        let version = self.version?;
        let same =
            |one: &&Version| (one.seen_from_ms, &one.uid) == (version.seen_from_ms, &version.uid);
        own.versions(&self.key())
            .iter()
            .find(same)
            .map(Version::body)
    }

    /// The topmost controller, or the pod itself.
    pub(super) fn top(&self) -> Key {
        self.chain.last().cloned().unwrap_or_else(|| self.key())
    }

    /// The time on its node.
    pub(super) fn placed(&self) -> Option<TimeWindow> {
        self.node.as_ref()?;
        let window = TimeWindow::new(self.scheduled_ms?, self.end_ms);
        (!window.is_empty()).then_some(window)
    }

    /// Its states in order: nothing before the birth, nothing after the end.
    pub(super) fn states(&self) -> Vec<(TimeWindow, &'static str, bool)> {
        let scheduled = self
            .scheduled_ms
            .unwrap_or(self.end_ms)
            .max(self.created_ms);
        let cuts: BTreeSet<i64> = self
            .ready
            .iter()
            .map(|(at, _)| *at)
            .chain([scheduled])
            .collect();
        let first_ready = self
            .ready
            .iter()
            .find(|(_, ready)| *ready)
            .map_or(i64::MAX, |(at, _)| (*at).max(scheduled));
        timeline::constant(TimeWindow::new(self.created_ms, self.end_ms), &cuts, |ms| {
            let placed = ms >= scheduled;
            let state = if ms < first_ready {
                "pending"
            } else if timeline::in_force(&self.ready, ms) == Some(true) {
                "ready"
            } else {
                "not_ready"
            };
            (state, placed)
        })
        .into_iter()
        .map(|(window, (state, placed))| (window, state, placed))
        .collect()
    }
}

/// What is known about one incarnation before it is judged.
#[derive(Debug, Default)]
struct Evidence<'a> {
    versions: Vec<&'a Version>,
    /// What the versions say, in their order: read once, and their bodies dropped.
    looks: Vec<Look>,
    series: BTreeMap<&'a str, Vec<&'a MetricSeries>>,
}

impl<'a> Evidence<'a> {
    fn of(&self, metric: &str) -> &[&'a MetricSeries] {
        self.series.get(metric).map_or(&[], Vec::as_slice)
    }

    /// The last value of a metric that states an instant in seconds.
    fn instant(&self, metric: &str) -> Option<i64> {
        self.of(metric)
            .iter()
            .filter_map(|series| series.runs.last())
            .max_by_key(|run| run.last_ms)
            .and_then(|run| json::milli(run.value * 1000.0))
            .filter(|ms| *ms > 0)
    }

    fn instants(&self, metric: &str) -> impl Iterator<Item = i64> {
        self.of(metric)
            .iter()
            .flat_map(|series| series.runs.iter())
            .filter_map(|run| json::milli(run.value * 1000.0))
            .filter(|ms| *ms > 0)
    }

    /// First and last sample of anything about the pod.
    fn sampled(&self) -> Option<(i64, i64)> {
        let runs = || {
            self.series
                .values()
                .flatten()
                .flat_map(|one| one.runs.iter())
        };
        Some((
            runs().map(|run| run.first_ms).min()?,
            runs().map(|run| run.last_ms).max()?,
        ))
    }
}

/// All pods of the cluster, in order of namespace, name and birth.
pub(super) fn fold<'a>(
    store: &'a ObjectStore,
    metrics: &Metrics<'a>,
    spans: &[GpuPodSpan],
) -> Vec<PodLife<'a>> {
    let mut known: BTreeMap<(&str, &str), BTreeMap<&str, Evidence<'a>>> = BTreeMap::new();
    for (key, versions) in store.of_kind("pod") {
        let pod = known.entry((&key.namespace, &key.name)).or_default();
        for version in versions {
            let uid = version.uid.as_deref().unwrap_or("");
            pod.entry(uid).or_default().versions.push(version);
        }
    }
    for (namespace, name, series) in metrics.prefixed("kube_pod_") {
        let pod = known.entry((namespace, name)).or_default();
        let uid = series.label("uid").unwrap_or("");
        pod.entry(uid)
            .or_default()
            .series
            .entry(&series.metric)
            .or_default()
            .push(series);
    }
    let mut spans_of: BTreeMap<(&str, &str), Vec<&GpuPodSpan>> = BTreeMap::new();
    for span in spans {
        spans_of
            .entry((&span.namespace, &span.pod))
            .or_default()
            .push(span);
    }
    let mut lives = Vec::new();
    for ((namespace, name), mut incarnations) in known {
        // Series without a UID belong to the only incarnation there is.
        if incarnations.len() == 2
            && let Some(nameless) = incarnations.remove("")
            && let Some(only) = incarnations.values_mut().next()
        {
            only.versions.extend(nameless.versions);
            for (metric, series) in nameless.series {
                only.series.entry(metric).or_default().extend(series);
            }
        }
        let own = spans_of.remove(&(namespace, name)).unwrap_or_default();
        let mut pod: Vec<PodLife<'a>> = incarnations
            .iter_mut()
            .filter_map(|(uid, evidence)| {
                life(store, metrics, (namespace, name), uid, evidence, &own)
            })
            .collect();
        pod.sort_by_key(|life| (life.created_ms, life.uid.clone()));
        // A name is one pod at a time: the next birth ends the one before.
        for index in 1..pod.len() {
            let next = pod[index].created_ms;
            let before = &mut pod[index - 1];
            before.end_ms = before.end_ms.min(next).max(before.created_ms);
        }
        pod.retain(|life| life.created_ms < life.end_ms);
        lives.extend(pod);
    }
    for ((namespace, name), own) in spans_of {
        lives.extend(from_spans(namespace, name, &own, metrics.interval_ms));
    }
    lives.sort_by(|a, b| {
        (&a.namespace, &a.name, a.created_ms, &a.uid).cmp(&(
            &b.namespace,
            &b.name,
            b.created_ms,
            &b.uid,
        ))
    });
    lives
}

/// A pod that only GPU telemetry has seen: it ran, more is not known.
fn from_spans<'a>(
    namespace: &str,
    name: &str,
    spans: &[&GpuPodSpan],
    interval_ms: i64,
) -> Option<PodLife<'a>> {
    let first_ms = spans.iter().map(|span| span.first_ms).min()?;
    let last_ms = spans.iter().map(|span| span.last_ms).max()?;
    let node = spans.iter().max_by_key(|span| (span.last_ms, &span.node))?;
    Some(PodLife {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: None,
        node: Some(node.node.clone()),
        created_ms: first_ms,
        scheduled_ms: Some(first_ms),
        end_ms: last_ms.saturating_add(interval_ms),
        ready: vec![(first_ms, true)],
        version: None,
        labels: Labels::default(),
        images: Vec::new(),
        requests: Requests::default(),
        chain: Vec::new(),
        known_from: "dcgm",
    })
}

fn life<'a>(
    store: &'a ObjectStore,
    metrics: &Metrics<'a>,
    (namespace, name): (&str, &str),
    uid: &str,
    evidence: &mut Evidence<'a>,
    spans: &[&GpuPodSpan],
) -> Option<PodLife<'a>> {
    let sampled = evidence.sampled();
    let newest = evidence
        .versions
        .iter()
        .max_by_key(|version| version.seen_to_ms)
        .copied();
    let whole = newest.map(Version::peek);
    let body = whole.as_deref();
    evidence.looks = evidence
        .versions
        .iter()
        .map(|version| match body {
            Some(body) if newest.is_some_and(|newest| std::ptr::eq(newest, *version)) => {
                Look::at(version, body)
            }
            _ => Look::at(version, &version.peek()),
        })
        .collect();
    let evidence = &*evidence;
    let first_seen = sampled
        .map(|(first, _)| first)
        .into_iter()
        .chain(evidence.versions.iter().map(|version| version.seen_from_ms))
        .min()?;
    let created_ms = newest
        .and_then(|version| version.created_ms())
        .or_else(|| evidence.instant("kube_pod_created"))
        .unwrap_or(first_seen)
        .min(first_seen);
    let node = evidence
        .looks
        .iter()
        .rev()
        .find_map(|look| look.node.clone())
        .or_else(|| {
            evidence
                .of("kube_pod_info")
                .iter()
                .find_map(|series| series.label("node"))
                .map(str::to_owned)
        });
    let scheduled_ms = node.as_ref().map(|_| {
        evidence
            .looks
            .iter()
            .find_map(|look| look.scheduled_ms)
            .or_else(|| evidence.instant("kube_pod_status_scheduled_time"))
            .or_else(|| evidence.instant("kube_pod_start_time"))
            .unwrap_or(created_ms)
            .max(created_ms)
    });
    let end_ms = end(metrics, evidence, sampled, spans).max(created_ms.saturating_add(1));
    let labels = Labels {
        body: newest.zip(body).map(|(version, body)| version.marks(body)),
        series: metrics::labels_series(evidence.of("kube_pod_labels"), end_ms),
    };
    let mut requests = match body {
        Some(known) => resources::requests(json::get(known, &["spec"])),
        None => resources::from_series(
            evidence.of("kube_pod_container_resource_requests"),
            evidence.of("kube_pod_container_resource_limits"),
        ),
    };
    if let Some(known) = body {
        resources::fraction(known, &mut requests);
    }
    let key = Key::new("pod", namespace, name);
    Some(PodLife {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: (!uid.is_empty()).then(|| uid.to_owned()),
        node,
        created_ms,
        scheduled_ms,
        end_ms,
        ready: ready(metrics, evidence, scheduled_ms.unwrap_or(created_ms)),
        images: evidence
            .of("kube_pod_container_info")
            .iter()
            .filter_map(|series| series.label("image"))
            .collect(),
        chain: owners::chain(store, metrics, &key, body, first_seen),
        labels,
        version: newest,
        requests,
        known_from: match (body.is_some(), sampled.is_some()) {
            (true, true) => "snapshot+ksm",
            (true, false) => "snapshot",
            _ => "ksm",
        },
    })
}

/// When the pod ended: a terminal phase, or the end of all that shows it.
fn end(
    metrics: &Metrics<'_>,
    evidence: &Evidence<'_>,
    sampled: Option<(i64, i64)>,
    spans: &[&GpuPodSpan],
) -> i64 {
    let seen = evidence
        .versions
        .iter()
        .map(|version| version.seen_to_ms)
        .max();
    let listed_without = evidence
        .versions
        .iter()
        .map(|version| version.to_ms)
        .max()
        .unwrap_or(i64::MAX);
    let mut end_ms = listed_without;
    if let Some((_, last)) = sampled {
        let silent = last.saturating_add(metrics.interval_ms);
        if seen.is_none_or(|seen| seen <= last) {
            if metrics.covers(last.saturating_add(metrics.hold_ms()).saturating_add(1)) {
                // The exporter went on without it.
                end_ms = end_ms.min(silent);
            } else if let Some(back) = metrics.next_coverage(last) {
                // It ended while the exporter was blind: what else shows it carries on.
                let shown = spans
                    .iter()
                    .map(|span| span.last_ms)
                    .filter(|shown| *shown < back)
                    .max()
                    .unwrap_or(last);
                end_ms = end_ms.min(
                    shown
                        .max(last)
                        .saturating_add(metrics.interval_ms)
                        .min(back),
                );
            }
        }
    }
    let last_evidence = sampled
        .map(|(_, last)| last)
        .into_iter()
        .chain(seen)
        .max()
        .unwrap_or(i64::MIN);
    let deleted = evidence
        .looks
        .iter()
        .filter_map(|look| look.deleted_ms)
        .max()
        .or_else(|| evidence.instant("kube_pod_deletion_timestamp"));
    if let Some(deleted) = deleted.filter(|deleted| *deleted >= last_evidence) {
        end_ms = end_ms.min(deleted);
    }
    terminal(evidence).map_or(end_ms, |done| end_ms.min(done))
}

fn terminal(evidence: &Evidence<'_>) -> Option<i64> {
    let exact = evidence.looks.iter().filter_map(|look| look.done_ms).min();
    let finished = || {
        evidence
            .of("kube_pod_status_phase")
            .iter()
            .filter(|series| matches!(series.label("phase"), Some("Succeeded" | "Failed")))
            .flat_map(|series| series.runs.iter())
            .filter(|run| run.value == 1.0)
            .map(|run| run.first_ms)
            .min()
    };
    exact
        .or_else(|| evidence.instant("kube_pod_completion_time"))
        .or_else(finished)
}

/// When the pod was ready, from exact instants and samples.
fn ready(metrics: &Metrics<'_>, evidence: &Evidence<'_>, scheduled_ms: i64) -> Vec<(i64, bool)> {
    let looks = evidence.looks.iter();
    let mut exact: BTreeSet<(i64, bool)> =
        looks.flat_map(|look| look.ready.iter().copied()).collect();
    exact.extend(
        evidence
            .instants("kube_pod_status_ready_time")
            .map(|ms| (ms, true)),
    );
    let series: Vec<&MetricSeries> = evidence
        .of("kube_pod_status_ready")
        .iter()
        .copied()
        .filter(|series| series.label("condition").is_none_or(|c| c == "true"))
        .collect();
    let runs: Vec<ValueRun> = metrics::joined(&series);
    if let Some(first) = runs.first()
        && first.value == 1.0
        && !metrics.covers(first.first_ms.saturating_sub(metrics.hold_ms()))
        && exact.range(..=(first.first_ms, true)).next().is_none()
    {
        // Ready when samples began: since when is unknown, and no sample denies it.
        exact.insert((scheduled_ms, true));
    }
    timeline::condition(&runs, &exact, metrics.interval_ms)
}
