//! Owns autoscalers: their targets, and what they are told over time. The real one speaks: a
//! ScaledObject for the HPA that KEDA makes of it. Each kind is read by a file of its own; `fold`
//! calls this, `workloads` asks which one moves a workload.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::model::TimeWindow;

use super::detail_rows::ScalingLintRow;
use super::json;
use super::lint::{self, Subjects};
use super::metrics::Metrics;
use super::objects::{Key, ObjectStore, Version};
use super::owners;
use super::rows::AutoscalerRow;
use super::timeline;

pub(super) mod declared;
pub(super) mod hpa;
mod keda;
pub(super) mod policy;
mod targets;
pub(super) mod thoras;
pub(super) mod wva;

pub(super) use policy::{Policy, Trigger};
pub(super) use targets::{GRAPH_ADAPTER, ROLE_SCALER};

pub(super) const HPA: &str = "horizontalpodautoscaler.autoscaling";
pub(super) const SCALED_OBJECT: &str = "scaledobject.keda.sh";
const KEDA_PREFIX: &str = "keda-hpa-";

/// One autoscaler.
#[derive(Debug)]
pub(super) struct Scaler {
    pub key: Key,
    /// What its reference names.
    pub target: Key,
    /// The target and whatever that stands for, such as the graph behind a scaling adapter.
    pub reaches: BTreeSet<Key>,
    pub bounds: Vec<(TimeWindow, Policy)>,
    /// The resource that made it, to which a change must go instead.
    pub owner: Option<Key>,
}

impl Scaler {
    pub(super) fn at(&self, ms: i64) -> Option<&Policy> {
        self.bounds
            .iter()
            .find(|(window, _)| window.contains(ms))
            .map(|(_, bounds)| bounds)
    }

    pub(super) fn title(&self) -> String {
        if self.key.kind == HPA {
            format!("hpa/{}", self.key.name)
        } else {
            format!("{}/{}", self.key.kind, self.key.name)
        }
    }

    /// Whether it reaches any of these objects.
    pub(super) fn reaches(&self, top: &Key, members: &BTreeSet<Key>) -> bool {
        self.reaches
            .iter()
            .any(|key| key == top || members.contains(key))
    }

    /// The field of the scaler that holds its least replicas.
    pub(super) fn minimum_field(&self) -> &'static str {
        match self.key.kind.as_str() {
            SCALED_OBJECT => "spec.minReplicaCount",
            thoras::AI_SCALE_TARGET => "spec.horizontal.minReplicas",
            _ => "spec.minReplicas",
        }
    }

    /// Whether it moves replicas at all: an adviser, a variant without its actuator and a fixed
    /// count do not.
    pub(super) fn moves(&self) -> bool {
        let last = self.bounds.last().map(|(_, policy)| policy);
        match self.key.kind.as_str() {
            wva::VARIANT => false,
            thoras::AI_SCALE_TARGET => {
                last.is_some_and(|policy| policy.paused.is_none() && policy.mode.is_some())
            }
            _ => last.is_none_or(|policy| policy.mode.as_deref() != Some("none")),
        }
    }

    /// Which one counts where several reach one workload, the first first: Thoras takes over
    /// from the HPA, KEDA makes one, and what a resource declares is made into one of these.
    pub(super) fn rank(&self) -> u8 {
        match self.key.kind.as_str() {
            thoras::AI_SCALE_TARGET if self.moves() => 0,
            SCALED_OBJECT => 1,
            HPA => 2,
            _ => 3,
        }
    }

    /// Whether the workload's own resource is its scaler.
    pub(super) fn is_own(&self) -> bool {
        self.key == self.target
    }
}

/// All autoscalers by key.
pub(super) fn fold(store: &ObjectStore, metrics: &Metrics<'_>, window: TimeWindow) -> Vec<Scaler> {
    let mut keys: BTreeSet<Key> = BTreeSet::new();
    for kind in [HPA, SCALED_OBJECT, wva::VARIANT]
        .iter()
        .chain(declared::KINDS)
    {
        keys.extend(store.of_kind(kind).map(|(key, _)| key.clone()));
    }
    for metric in [
        "kube_horizontalpodautoscaler_info",
        "kube_horizontalpodautoscaler_spec_max_replicas",
    ] {
        keys.extend(metrics.objects(metric).map(|(namespace, name)| {
            match name.strip_prefix(KEDA_PREFIX) {
                Some(scaled) => Key::new(SCALED_OBJECT, namespace, scaled),
                None => Key::new(HPA, namespace, name),
            }
        }));
    }
    let minor = cluster_minor(store, metrics);
    let mut out: Vec<Scaler> = keys
        .into_iter()
        .filter(|key| !made_by_keda(store, key))
        .filter_map(|key| scaler(store, metrics, key, window, minor))
        .collect();
    // Thoras' unset bounds are those of the HPA on the same target.
    let theirs: Vec<Scaler> = store
        .of_kind(thoras::AI_SCALE_TARGET)
        .filter_map(|(key, _)| thoras_scaler(store, key, window, &out))
        .collect();
    out.extend(theirs);
    out.sort_by(|a, b| a.key.cmp(&b.key));
    out
}

/// What one object says to a scaler, without what samples add.
pub(super) fn policy_of(kind: &str, body: &Value, minor: Option<i64>) -> Policy {
    match kind {
        SCALED_OBJECT => keda::policy(body),
        HPA => hpa::policy(body, minor),
        wva::VARIANT => wva::policy(body),
        thoras::AI_SCALE_TARGET => thoras::policy(body),
        kind => declared::policy(kind, body).unwrap_or_default(),
    }
}

/// The minor version that a kubelet's version says.
pub(super) fn minor(version: &str) -> Option<i64> {
    let digits = version.strip_prefix("v1.")?.split(['.', '-', '+']).next()?;
    digits.parse().ok()
}

/// The minor version of Kubernetes: nodes are never newer than the server.
fn cluster_minor(store: &ObjectStore, metrics: &Metrics<'_>) -> Option<i64> {
    let bodies = store.of_kind("node").filter_map(|(_, versions)| {
        let body = versions.last()?.peek();
        minor(json::text(
            &body,
            &["status", "nodeInfo", "kubeletVersion"],
        )?)
    });
    let sampled = metrics
        .prefixed("kube_node_info")
        .filter_map(|(_, _, series)| minor(series.label("kubelet_version")?));
    bodies.chain(sampled).max()
}

fn made_by_keda(store: &ObjectStore, key: &Key) -> bool {
    key.kind == HPA
        && (key.name.starts_with(KEDA_PREFIX)
            || store.versions(key).iter().any(|version| {
                owners::controller(store, &version.owners(), &key.namespace)
                    .is_some_and(|owner| owner.kind == SCALED_OBJECT)
            }))
}

/// The part of the window in which anything is seen.
fn life(seen: &[TimeWindow], window: TimeWindow) -> Option<TimeWindow> {
    let start = seen.iter().map(|part| part.start_ms).min()?;
    let end = seen.iter().map(|part| part.end_ms).max()?;
    Some(TimeWindow::new(
        start.max(window.start_ms),
        end.min(window.end_ms),
    ))
}

/// The times of the known versions of an object, and the instants at which they change.
fn versions_of(store: &ObjectStore, key: &Key) -> (Vec<TimeWindow>, BTreeSet<i64>) {
    let versions = store.versions(key);
    let seen: Vec<TimeWindow> = versions
        .iter()
        .map(|version| TimeWindow::new(version.from_ms, version.to_ms))
        .collect();
    let cuts = seen
        .iter()
        .flat_map(|part| [part.start_ms, part.end_ms])
        .collect();
    (seen, cuts)
}

fn owner_of(store: &ObjectStore, key: &Key) -> Option<Key> {
    let last = store.versions(key).last()?;
    owners::controller(store, &last.owners(), &key.namespace)
}

fn scaler(
    store: &ObjectStore,
    metrics: &Metrics<'_>,
    key: Key,
    window: TimeWindow,
    minor: Option<i64>,
) -> Option<Scaler> {
    let is_own = declared::KINDS.contains(&key.kind.as_str());
    let versions = store.versions(&key);
    if is_own
        && !versions
            .iter()
            .any(|v| declared::policy(&key.kind, &v.peek()).is_some())
    {
        return None;
    }
    // What kube-state-metrics calls it: the HPA itself, or the one that KEDA made.
    let sampled = match key.kind.as_str() {
        HPA => Some(key.name.clone()),
        SCALED_OBJECT => Some(format!("{KEDA_PREFIX}{}", key.name)),
        _ => None,
    };
    let series = |metric: &str| {
        sampled
            .as_deref()
            .map_or(&[][..], |name| metrics.of(metric, &key.namespace, name))
    };
    let (mut seen, mut cuts) = versions_of(store, &key);
    for metric in [
        "kube_horizontalpodautoscaler_spec_min_replicas",
        "kube_horizontalpodautoscaler_spec_max_replicas",
    ] {
        for run in series(metric).iter().flat_map(|series| &series.runs) {
            let end = run.last_ms.saturating_add(metrics.interval_ms);
            seen.push(TimeWindow::new(run.first_ms, end));
            cuts.insert(run.first_ms);
        }
    }
    let life = life(&seen, window)?;
    let target = if is_own {
        key.clone()
    } else {
        versions
            .iter()
            .rev()
            .find_map(|version| targets::target(store, &key, &version.peek()))
            .or_else(|| {
                let info = series("kube_horizontalpodautoscaler_info").first()?;
                let kind = info.label("scaletargetref_kind")?;
                let name = info.label("scaletargetref_name")?;
                Some(targets::resolve(store, None, kind, &key.namespace, name))
            })?
    };
    let slept = metrics
        .of(
            "kube_deployment_spec_replicas",
            &target.namespace,
            &target.name,
        )
        .iter()
        .any(|series| series.runs.iter().any(|run| run.value == 0.0));
    let bounds = timeline::constant(life, &cuts, |ms| {
        let body = store.nearest(&key, ms).map(Version::peek);
        let body = body.as_deref();
        let value = |metric: &str| {
            series(metric)
                .iter()
                .find_map(|series| series.at(ms, metrics.hold_ms()))
                .and_then(|value| json::milli(value * 1000.0))
                .map(|milli| milli / 1000)
        };
        let min = value("kube_horizontalpodautoscaler_spec_min_replicas");
        let max = value("kube_horizontalpodautoscaler_spec_max_replicas");
        match (key.kind.as_str(), body) {
            // KEDA's HPA cannot say zero: a target that slept has a minimum of zero.
            (SCALED_OBJECT, None) => Policy {
                min: if slept { Some(0) } else { min },
                max,
                ..Policy::default()
            },
            (HPA, body) => {
                let told = body
                    .map(|body| hpa::policy(body, minor))
                    .unwrap_or_default();
                Policy {
                    min: min.or(told.min),
                    max: max.or(told.max),
                    ..told
                }
            }
            (kind, Some(body)) => policy_of(kind, body, minor),
            (_, None) => Policy::default(),
        }
    });
    let owner = if is_own {
        Some(key.clone())
    } else {
        owner_of(store, &key)
    };
    Some(Scaler {
        reaches: targets::reaches(store, &target),
        key,
        target,
        bounds,
        owner,
    })
}

fn thoras_scaler(
    store: &ObjectStore,
    key: &Key,
    window: TimeWindow,
    others: &[Scaler],
) -> Option<Scaler> {
    let (seen, mut cuts) = versions_of(store, key);
    let life = life(&seen, window)?;
    let target = store
        .versions(key)
        .iter()
        .rev()
        .find_map(|version| targets::target(store, key, &version.peek()))?;
    let beside: Vec<&Scaler> = others
        .iter()
        .filter(|other| other.target == target && other.moves())
        .collect();
    for (part, _) in beside.iter().flat_map(|other| &other.bounds) {
        cuts.extend([part.start_ms, part.end_ms]);
    }
    let bounds = timeline::constant(life, &cuts, |ms| {
        let mut policy = store
            .nearest(key, ms)
            .map(|version| thoras::policy(&version.peek()))
            .unwrap_or_default();
        let fallback = |of: fn(&Policy) -> Option<i64>| {
            beside.iter().find_map(|other| other.at(ms).and_then(of))
        };
        let told = (policy.min, policy.max);
        policy.min = policy.min.or_else(|| fallback(|other| other.min));
        policy.max = policy.max.or_else(|| fallback(|other| other.max));
        if told != (policy.min, policy.max)
            && let Some(other) = beside.first()
        {
            policy.more.insert("bounds_from", other.title());
        }
        policy
    });
    Some(Scaler {
        key: key.clone(),
        reaches: targets::reaches(store, &target),
        target,
        bounds,
        owner: owner_of(store, key),
    })
}

/// The scalers that move the same target as this one, other than a resource's own declaration
/// from which its controller made the scaler, and other than a Thoras target's own HPA.
fn rivals(scaler: &Scaler, by_reach: &BTreeMap<&Key, Vec<&Scaler>>) -> Vec<String> {
    if !scaler.moves() {
        return Vec::new();
    }
    let made = |one: &Scaler, other: &Scaler| {
        one.owner.as_ref().is_some_and(|owner| {
            *owner == other.key || other.owner.as_ref() == Some(owner) && other.is_own()
        })
    };
    // Thoras edits the HPA of its target: the two are one on purpose.
    let is_pair = |one: &Scaler, other: &Scaler| {
        one.key.kind == HPA && other.key.kind == thoras::AI_SCALE_TARGET
    };
    let titles: BTreeSet<String> = scaler
        .reaches
        .iter()
        .filter_map(|key| by_reach.get(key))
        .flatten()
        .filter(|other| other.key != scaler.key && other.moves())
        .filter(|other| !made(scaler, other) && !made(other, scaler))
        .filter(|other| !is_pair(scaler, other) && !is_pair(other, scaler))
        .map(|other| other.title())
        .collect();
    titles.into_iter().collect()
}

/// The rows of the table, with the workload that each target belongs to and what the lint says.
pub(super) fn rows(
    scalers: &[Scaler],
    tops: &BTreeMap<Key, Key>,
    subjects: &Subjects<'_>,
) -> (Vec<AutoscalerRow>, Vec<ScalingLintRow>) {
    let mut by_reach: BTreeMap<&Key, Vec<&Scaler>> = BTreeMap::new();
    for scaler in scalers {
        for key in &scaler.reaches {
            by_reach.entry(key).or_default().push(scaler);
        }
    }
    let mut out = Vec::new();
    let mut wrong = Vec::new();
    for scaler in scalers {
        let rivals = rivals(scaler, &by_reach);
        let top = tops
            .get(&scaler.target)
            .or_else(|| scaler.reaches.iter().find_map(|key| tops.get(key)));
        let subject = subjects.of(scaler, &rivals, top);
        for (window, policy) in &scaler.bounds {
            let faults = lint::lint(&subject, policy);
            wrong.extend(faults.iter().map(|fault| ScalingLintRow {
                namespace: scaler.key.namespace.clone(),
                scaler_kind: scaler.key.kind.clone(),
                scaler_name: scaler.key.name.clone(),
                rule: fault.rule.id().to_owned(),
                sentence: fault.sentence.clone(),
                valid_from_ms: window.start_ms,
                valid_to_ms: window.end_ms,
                workload_kind: top.map(|top| top.kind.clone()),
                workload_name: top.map(|top| top.name.clone()),
                reference: fault.rule.reference().to_owned(),
            }));
            out.push(AutoscalerRow {
                namespace: scaler.key.namespace.clone(),
                scaler_kind: scaler.key.kind.clone(),
                scaler_name: scaler.key.name.clone(),
                valid_from_ms: window.start_ms,
                valid_to_ms: window.end_ms,
                target_kind: scaler.target.kind.clone(),
                target_name: scaler.target.name.clone(),
                workload_kind: top.map(|top| top.kind.clone()),
                workload_name: top.map(|top| top.name.clone()),
                min_replicas: policy.min,
                max_replicas: policy.max,
                idle_replicas: policy.idle,
                triggers_json: policy.triggers_json(),
                policy_json: policy.json(&rivals),
                findings_json: lint::to_json(&faults),
            });
        }
    }
    (out, wrong)
}

/// The body of an object at its latest.
fn last_body<'a>(store: &'a ObjectStore, key: &Key) -> Option<&'a Value> {
    store.versions(key).last().map(|version| version.body())
}
