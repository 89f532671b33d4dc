//! Owns autoscalers: their targets and bounds over time. The real one speaks: a ScaledObject for
//! the HPA that KEDA makes of it. What an unset bound means is the scaler's own default.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::model::TimeWindow;
use crate::model::workload::kind_of;

use super::json;
use super::metrics::Metrics;
use super::objects::{Key, ObjectStore};
use super::owners;
use super::rows::AutoscalerRow;
use super::timeline;

pub(super) const HPA: &str = "horizontalpodautoscaler.autoscaling";
pub(super) const SCALED_OBJECT: &str = "scaledobject.keda.sh";
const KEDA_PREFIX: &str = "keda-hpa-";

/// The bounds of a scaler while they stay the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    pub min: Option<i64>,
    pub max: Option<i64>,
    pub idle: Option<i64>,
    pub triggers: String,
}

/// One autoscaler.
#[derive(Debug)]
pub(super) struct Scaler {
    pub key: Key,
    pub target: Key,
    pub bounds: Vec<(TimeWindow, Bounds)>,
    /// The resource that made it, to which a change must go instead.
    pub owner: Option<Key>,
}

impl Scaler {
    pub(super) fn at(&self, ms: i64) -> Option<&Bounds> {
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
}

/// All autoscalers by key.
pub(super) fn fold(store: &ObjectStore, metrics: &Metrics<'_>, window: TimeWindow) -> Vec<Scaler> {
    let mut keys: BTreeSet<Key> = BTreeSet::new();
    for kind in [HPA, SCALED_OBJECT] {
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
    keys.into_iter()
        .filter(|key| !made_by_keda(store, key))
        .filter_map(|key| scaler(store, metrics, key, window))
        .collect()
}

fn made_by_keda(store: &ObjectStore, key: &Key) -> bool {
    key.kind == HPA
        && (key.name.starts_with(KEDA_PREFIX)
            || store.versions(key).iter().any(|version| {
                owners::controller(store, &version.body, &key.namespace)
                    .is_some_and(|owner| owner.kind == SCALED_OBJECT)
            }))
}

fn scaler(
    store: &ObjectStore,
    metrics: &Metrics<'_>,
    key: Key,
    window: TimeWindow,
) -> Option<Scaler> {
    let versions = store.versions(&key);
    // What kube-state-metrics calls it: the HPA itself, or the one that KEDA made.
    let sampled = if key.kind == HPA {
        key.name.clone()
    } else {
        format!("{KEDA_PREFIX}{}", key.name)
    };
    let series = |metric: &str| metrics.of(metric, &key.namespace, &sampled);
    let mut seen: Vec<TimeWindow> = versions
        .iter()
        .map(|version| TimeWindow::new(version.from_ms, version.to_ms))
        .collect();
    let mut cuts: BTreeSet<i64> = versions
        .iter()
        .flat_map(|version| [version.from_ms, version.to_ms])
        .collect();
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
    let life = TimeWindow::new(
        seen.iter()
            .map(|part| part.start_ms)
            .min()?
            .max(window.start_ms),
        seen.iter()
            .map(|part| part.end_ms)
            .max()?
            .min(window.end_ms),
    );
    let target = versions
        .iter()
        .rev()
        .find_map(|version| target(store, &key, &version.body))
        .or_else(|| {
            let info = series("kube_horizontalpodautoscaler_info").first()?;
            let kind = info.label("scaletargetref_kind")?;
            let name = info.label("scaletargetref_name")?;
            Some(resolve(store, None, kind, &key.namespace, name))
        })?;
    let slept = metrics
        .of(
            "kube_deployment_spec_replicas",
            &target.namespace,
            &target.name,
        )
        .iter()
        .any(|series| series.runs.iter().any(|run| run.value == 0.0));
    let bounds = timeline::constant(life, &cuts, |ms| {
        let body = store.nearest(&key, ms).map(|version| &version.body);
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
            (SCALED_OBJECT, Some(body)) => scaled_object(body),
            // KEDA's HPA cannot say zero: a target that slept has a minimum of zero.
            (SCALED_OBJECT, None) => Bounds {
                min: if slept { Some(0) } else { min },
                max,
                idle: None,
                triggers: "[]".to_owned(),
            },
            (_, body) => {
                let spec = body.map(|body| json::get(body, &["spec"]));
                Bounds {
                    min: min.or_else(|| {
                        spec.map(|spec| json::int(spec, &["minReplicas"]).unwrap_or(1))
                    }),
                    max: max.or_else(|| json::int(spec?, &["maxReplicas"])),
                    idle: None,
                    triggers: spec.map_or_else(|| "[]".to_owned(), |spec| list(spec, "metrics")),
                }
            }
        }
    });
    let owner = versions
        .last()
        .and_then(|version| owners::controller(store, &version.body, &key.namespace));
    Some(Scaler {
        key,
        target,
        bounds,
        owner,
    })
}

fn list(spec: &Value, field: &str) -> String {
    let value = json::get(spec, &[field]);
    if value.is_array() {
        value.to_string()
    } else {
        "[]".to_owned()
    }
}

fn scaled_object(body: &Value) -> Bounds {
    let spec = json::get(body, &["spec"]);
    Bounds {
        // Unset is zero for KEDA, and a hundred at the other end.
        min: Some(json::int(spec, &["minReplicaCount"]).unwrap_or(0)),
        max: Some(json::int(spec, &["maxReplicaCount"]).unwrap_or(100)),
        idle: json::int(spec, &["idleReplicaCount"]),
        triggers: list(spec, "triggers"),
    }
}

fn target(store: &ObjectStore, key: &Key, body: &Value) -> Option<Key> {
    let reference = json::get(body, &["spec", "scaleTargetRef"]);
    let name = json::text(reference, &["name"])?;
    let kind = json::text(reference, &["kind"]).unwrap_or("Deployment");
    let api_version = json::text(reference, &["apiVersion"]);
    Some(resolve(store, api_version, kind, &key.namespace, name))
}

fn resolve(
    store: &ObjectStore,
    api_version: Option<&str>,
    kind: &str,
    namespace: &str,
    name: &str,
) -> Key {
    if let Some(api_version) = api_version {
        return Key::new(&kind_of(api_version, kind), namespace, name);
    }
    store
        .by_bare_kind(kind, namespace, name)
        .cloned()
        .unwrap_or_else(|| Key::new(&owners::with_group(kind), namespace, name))
}

/// The rows of the table, with the workload that each target belongs to.
pub(super) fn rows(scalers: &[Scaler], tops: &BTreeMap<Key, Key>) -> Vec<AutoscalerRow> {
    let mut out = Vec::new();
    for scaler in scalers {
        let top = tops.get(&scaler.target);
        for (window, bounds) in &scaler.bounds {
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
                min_replicas: bounds.min,
                max_replicas: bounds.max,
                idle_replicas: bounds.idle,
                triggers_json: bounds.triggers.clone(),
            });
        }
    }
    out
}
