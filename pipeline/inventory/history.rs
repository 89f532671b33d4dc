//! Owns the history of scale: every change of replicas, bounds, images, GPUs and models that two
//! sightings bracket, who is likely to have made it, and the GPUs before and after it. What a GPU
//! costs is SQL's business, what a field means `watched`'s.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::model::TimeWindow;

use super::detail_rows::ScalingEventRow;
use super::families::Family;
use super::input::ValueRun;
use super::json;
use super::managed::{self, Actor, Step};
use super::metrics;
use super::objects::{Key, ObjectStore, Version};
use super::resources;
use super::rows::WorkloadRow;
use super::scalers::{HPA, SCALED_OBJECT, Scaler};
use super::watched::{Watched, watched};
use super::workloads::Context;

/// One rewrite of an object changes no more fields than this; a hostile one ends here.
const MAX_CHANGES: usize = 64;

/// The sampled sizes of objects: metric, kind, field.
const SIZES: &[(&str, &str)] = &[
    ("deployment.apps", "kube_deployment_spec_replicas"),
    ("statefulset.apps", "kube_statefulset_replicas"),
];
const BOUNDS: &[(&str, &str, &str)] = &[
    (
        "kube_horizontalpodautoscaler_spec_min_replicas",
        "spec.minReplicas",
        "min_replicas",
    ),
    (
        "kube_horizontalpodautoscaler_spec_max_replicas",
        "spec.maxReplicas",
        "max_replicas",
    ),
];
const DESIRED: &str = "kube_horizontalpodautoscaler_status_desired_replicas";

/// One change before its cost is known.
struct Change {
    seen_ms: i64,
    not_before_ms: Option<i64>,
    path: Vec<Step>,
    what: &'static str,
    before: Option<String>,
    after: Option<String>,
    seen_in: &'static str,
    actor: Option<Actor>,
}

/// The family whose history is told.
pub(super) struct Told<'t, 'a> {
    pub context: &'t Context<'t, 'a>,
    /// The family's objects with what is parsed of them.
    pub own: &'t ObjectStore,
    pub top: &'t Key,
    pub family: &'t Family,
    pub scalers: &'t [&'t Scaler],
    pub parts: &'t [(TimeWindow, WorkloadRow)],
}

impl Told<'_, '_> {
    /// All changes of one family.
    pub(super) fn events(&self) -> Vec<ScalingEventRow> {
        let mut out = Vec::new();
        let sized = self.sized();
        let members: BTreeSet<&Key> = self
            .family
            .members
            .iter()
            .chain([self.top])
            .filter(|key| !matches!(key.kind.as_str(), "replicaset.apps" | "pod"))
            .collect();
        for key in members {
            let runs = self.sampled(key);
            for change in self.sampled_changes(key, &runs) {
                out.push(self.row(key, change, &sized));
            }
            for change in self.seen_changes(key, &runs) {
                out.push(self.row(key, change, &sized));
            }
        }
        for scaler in self.scalers {
            for change in self.bound_changes(scaler) {
                out.push(self.row(&scaler.key, change, &sized));
            }
        }
        let told: BTreeSet<(i64, &str)> = out
            .iter()
            .map(|row| (row.seen_ms, row.what.as_str()))
            .collect();
        let more: Vec<ScalingEventRow> = self
            .described_changes()
            .filter(|row| !told.contains(&(row.seen_ms, row.what.as_str())))
            .collect();
        out.extend(more);
        out
    }

    /// The objects whose replicas are the workload's size.
    fn sized(&self) -> Vec<&Key> {
        let of = |kind: &str| -> Vec<&Key> {
            let members = self.family.members.iter().chain([self.top]);
            let found: BTreeSet<&Key> = members.filter(|key| key.kind == kind).collect();
            found.into_iter().collect()
        };
        let groups = of("leaderworkerset.leaderworkerset.x-k8s.io");
        if !groups.is_empty() {
            return groups;
        }
        let mut plain = of("deployment.apps");
        plain.extend(of("statefulset.apps"));
        if plain.is_empty() {
            plain.push(self.top);
        }
        plain
    }

    fn sampled(&self, key: &Key) -> Vec<ValueRun> {
        let metric = SIZES.iter().find(|(kind, _)| *kind == key.kind);
        metric.map_or_else(Vec::new, |(_, metric)| {
            metrics::joined(self.context.metrics.of(metric, &key.namespace, &key.name))
        })
    }

    fn sampled_changes(&self, key: &Key, runs: &[ValueRun]) -> Vec<Change> {
        let path = vec![
            Step::Field("spec".to_owned()),
            Step::Field("replicas".to_owned()),
        ];
        let versions = self.own.versions(key);
        let mut out: Vec<Change> = Vec::new();
        for (before, after) in steps(runs) {
            let seen_ms = after.first_ms;
            out.push(Change {
                seen_ms,
                not_before_ms: Some(before.last_ms),
                path: path.clone(),
                what: "replicas",
                before: count(before.value),
                after: count(after.value),
                seen_in: "kube-state-metrics",
                actor: managed_since(versions, &path, before.last_ms, seen_ms)
                    .or_else(|| self.scaled_by(key, before.last_ms, seen_ms, after.value)),
            });
        }
        out
    }

    /// What an autoscaler says of itself about a change of its target's size.
    fn scaled_by(&self, key: &Key, after_ms: i64, until_ms: i64, value: f64) -> Option<Actor> {
        let scaler = self.scalers.iter().find(|one| one.target == *key)?;
        let (context, namespace) = (self.context, &scaler.key.namespace);
        let sampled = if scaler.key.kind == SCALED_OBJECT {
            format!("keda-hpa-{}", scaler.key.name)
        } else {
            scaler.key.name.clone()
        };
        let scaled_at = self
            .own
            .versions(&Key::new(HPA, namespace, &sampled))
            .iter()
            .filter_map(|version| json::time_ms(version.body(), &["status", "lastScaleTime"]))
            .find(|at| after_ms.saturating_sub(999) <= *at && *at <= until_ms);
        if let Some(at_ms) = scaled_at {
            return Some(Actor {
                name: scaler.title(),
                from: "lastScaleTime",
                at_ms,
            });
        }
        // The autoscaler began to want this size while the change was made.
        let slack = context.metrics.interval_ms.saturating_mul(2);
        let wanted = metrics::joined(context.metrics.of(DESIRED, namespace, &sampled));
        steps(&wanted)
            .map(|(_, after)| after)
            .find(|run| {
                run.value == value
                    && after_ms.saturating_sub(slack) <= run.first_ms
                    && run.first_ms <= until_ms.saturating_add(slack)
            })
            .map(|run| Actor {
                name: scaler.title(),
                from: "desired replicas",
                at_ms: run.first_ms.clamp(after_ms, until_ms),
            })
    }

    /// Differences between the versions that snapshots hold; sampled sizes are told apart.
    fn seen_changes(&self, key: &Key, runs: &[ValueRun]) -> Vec<Change> {
        let sampled = runs.first().map(|first| {
            let last_ms = runs.last().map_or(first.last_ms, |last| last.last_ms);
            TimeWindow::new(first.first_ms, last_ms.saturating_add(1))
        });
        let versions = self.own.versions(key);
        let mut out: Vec<Change> = Vec::new();
        let mut before: Option<(&Version, _)> = None;
        for version in versions.iter().filter(|version| version.body().is_object()) {
            let fields = watched(version.body());
            if let Some((last, old)) = &before {
                let old: &std::collections::BTreeMap<Vec<Step>, Watched> = old;
                let paths: BTreeSet<&Vec<Step>> = old.keys().chain(fields.keys()).collect();
                let changed = paths
                    .into_iter()
                    .filter(|path| old.get(*path) != fields.get(*path))
                    .take(MAX_CHANGES);
                for path in changed {
                    let (was, is) = (old.get(path), fields.get(path));
                    let what = is.or(was).map_or("", |one| one.what);
                    let (after_ms, until_ms) = (last.seen_to_ms, version.seen_from_ms);
                    let told = what == "replicas"
                        && managed::field(path) == "spec.replicas"
                        && sampled
                            .is_some_and(|span| span.contains(after_ms) || span.contains(until_ms));
                    if !told {
                        out.push(Change {
                            seen_ms: until_ms,
                            not_before_ms: Some(after_ms),
                            path: path.clone(),
                            what,
                            before: was.map(|one| one.value.clone()),
                            after: is.map(|one| one.value.clone()),
                            seen_in: "snapshot",
                            actor: managed::actor(version.body(), path, after_ms, until_ms),
                        });
                    }
                }
            }
            before = Some((version, fields));
        }
        out
    }

    fn bound_changes(&self, scaler: &Scaler) -> Vec<Change> {
        let versions = self.own.versions(&scaler.key);
        let mut out = self.seen_changes(&scaler.key, &[]);
        if scaler.key.kind != HPA {
            return out;
        }
        for (metric, field, what) in BOUNDS {
            let of = self
                .context
                .metrics
                .of(metric, &scaler.key.namespace, &scaler.key.name);
            let runs = metrics::joined(of);
            let path: Vec<Step> = field
                .split('.')
                .map(|name| Step::Field(name.to_owned()))
                .collect();
            let (Some(first), Some(last)) = (runs.first(), runs.last()) else {
                continue;
            };
            let sampled = TimeWindow::new(first.first_ms, last.last_ms.saturating_add(1));
            out.retain(|change| change.path != path || !sampled.contains(change.seen_ms));
            out.extend(steps(&runs).map(|(before, after)| Change {
                seen_ms: after.first_ms,
                not_before_ms: Some(before.last_ms),
                path: path.clone(),
                what,
                before: count(before.value),
                after: count(after.value),
                seen_in: "kube-state-metrics",
                actor: managed_since(versions, &path, before.last_ms, after.first_ms),
            }));
        }
        out
    }

    /// Changes that no object states: the card under the pods, and the model that telemetry names.
    fn described_changes(&self) -> impl Iterator<Item = ScalingEventRow> {
        self.parts.windows(2).flat_map(move |pair| {
            let [(_, was), (window, is)] = pair else {
                return Vec::new();
            };
            let change = |what: &str, before: &Option<String>, after: &Option<String>| {
                let differs = before.is_some() && after.is_some() && before != after;
                differs.then(|| ScalingEventRow {
                    namespace: self.top.namespace.clone(),
                    workload_kind: self.top.kind.clone(),
                    workload_name: self.top.name.clone(),
                    seen_ms: window.start_ms,
                    object: self.top.path(),
                    what: what.to_owned(),
                    before: before.clone(),
                    after: after.clone(),
                    seen_in: "pods".to_owned(),
                    ..ScalingEventRow::default()
                })
            };
            let mut rows = Vec::new();
            if let Some(mut row) = change("gpu_product", &was.gpu_product, &is.gpu_product) {
                let gpus = is
                    .replicas
                    .map(|replicas| replicas.saturating_mul(is.gpu_milli_per_replica));
                row.cost_basis = Some("card".to_owned());
                row.gpu_milli_before = gpus;
                row.gpu_milli_after = gpus;
                let before_ms = window.start_ms.saturating_sub(1);
                row.price_key_before = self.context.price_key(self.family, before_ms);
                row.price_key_after = self.context.price_key(self.family, window.start_ms);
                rows.push(row);
            }
            rows.extend(change("model", &was.model, &is.model));
            rows
        })
    }

    fn row(&self, key: &Key, change: Change, sized: &[&Key]) -> ScalingEventRow {
        let mut row = ScalingEventRow {
            namespace: self.top.namespace.clone(),
            workload_kind: self.top.kind.clone(),
            workload_name: self.top.name.clone(),
            seen_ms: change.seen_ms,
            not_before_ms: change.not_before_ms,
            object: key.path(),
            field: managed::field(&change.path),
            what: change.what.to_owned(),
            seen_in: change.seen_in.to_owned(),
            actor: change.actor.as_ref().map(|actor| actor.name.clone()),
            actor_from: change.actor.as_ref().map(|actor| actor.from.to_owned()),
            acted_ms: change.actor.as_ref().map(|actor| actor.at_ms),
            ..ScalingEventRow::default()
        };
        let number = |text: &Option<String>| text.as_deref().and_then(|text| text.parse().ok());
        let (before, after): (Option<i64>, Option<i64>) =
            (number(&change.before), number(&change.after));
        let basis = match change.what {
            "replicas" if sized.contains(&key) => self.per_replica(key, sized).map(|each| {
                // An unset size is one replica for every kind that has one.
                ("replicas", each, before.unwrap_or(1), after.unwrap_or(1))
            }),
            "min_replicas" if sized.len() == 1 => {
                let each = self.per_replica(sized[0], sized);
                each.zip(before.zip(after))
                    .map(|(each, (before, after))| ("floor", each, before, after))
            }
            _ => None,
        };
        row.before = change.before;
        row.after = change.after;
        if let Some((basis, each, before, after)) = basis {
            let price_key = self.context.price_key(self.family, change.seen_ms);
            row.cost_basis = Some(basis.to_owned());
            row.gpu_milli_before = Some(before.max(0).saturating_mul(each));
            row.gpu_milli_after = Some(after.max(0).saturating_mul(each));
            row.price_key_before.clone_from(&price_key);
            row.price_key_after = price_key;
        }
        row
    }

    /// Thousandths of GPUs of one replica of an object that has a size.
    fn per_replica(&self, key: &Key, sized: &[&Key]) -> Option<i64> {
        if let [only] = sized
            && *only == key
        {
            let known = self.parts.iter().map(|(_, row)| row.gpu_milli_per_replica);
            return known.max();
        }
        let version = self.own.versions(key).last()?;
        let spec: &Value = json::get(version.body(), &["spec", "template", "spec"]);
        spec.is_object()
            .then(|| resources::requests(spec).gpus().saturating_mul(1000))
    }
}

/// Who changed a field, as the first version that was seen after it knows.
fn managed_since(
    versions: &[Version],
    path: &[Step],
    after_ms: i64,
    until_ms: i64,
) -> Option<Actor> {
    versions
        .iter()
        .filter(|version| version.seen_to_ms >= after_ms)
        .find_map(|version| managed::actor(version.body(), path, after_ms, until_ms))
}

/// Neighbouring runs that differ in value.
fn steps(runs: &[ValueRun]) -> impl Iterator<Item = (&ValueRun, &ValueRun)> {
    runs.windows(2)
        .filter_map(|pair| Some((pair.first()?, pair.get(1)?)))
        .filter(|(before, after)| before.value != after.value)
}

fn count(value: f64) -> Option<String> {
    json::milli(value * 1000.0).map(|milli| (milli / 1000).to_string())
}
