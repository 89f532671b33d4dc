//! Owns what people declare beside the workload itself: floors, latency objectives, teams.

use serde_json::Value;

use super::input::Inputs;
use super::json;
use super::marks::Marks;
use super::metrics::{self, Labels, Metrics};
use super::objects::{Key, ObjectStore};
use super::systems::{Facts, View};

const TEAM_LABELS: &[&str] = &[
    "team",
    "app.kubernetes.io/team",
    "cost-center",
    "costcenter",
    "cost-centre",
    "owner",
    "kai.scheduler/queue",
    "kueue.x-k8s.io/queue-name",
];

/// How many replicas must stay, and who says so.
pub(super) fn floor(
    inputs: &Inputs,
    store: &ObjectStore,
    view: &View<'_>,
    facts: &Facts<'_>,
    top: &Key,
    ms: i64,
) -> (i64, String) {
    let matches = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|w| w == is);
    let rule = inputs.floors.iter().find(|rule| {
        matches(&rule.namespace, &top.namespace)
            && matches(&rule.kind, &top.kind)
            && matches(&rule.name, &top.name)
    });
    if let Some(rule) = rule {
        return (rule.min_replicas.max(0), "policy".to_owned());
    }
    for (key, versions) in store.of_kind("poddisruptionbudget.policy") {
        if key.namespace != top.namespace {
            continue;
        }
        let in_force = versions
            .iter()
            .find(|version| version.from_ms <= ms && ms < version.to_ms);
        if in_force.is_some_and(|version| selects(&version.body, view) && keeps_one(&version.body))
        {
            return (2, format!("poddisruptionbudget {}", key.name));
        }
    }
    let specs = facts.templates.iter().map(|template| template.pod_spec);
    let spread = specs.chain([json::get(view.pod, &["spec"])]).any(|spec| {
        json::items(spec, &["topologySpreadConstraints"])
            .iter()
            .any(|one| json::text(one, &["topologyKey"]) == Some("topology.kubernetes.io/zone"))
    });
    if spread {
        return (2, "zone spread".to_owned());
    }
    (1, "default".to_owned())
}

fn selects(budget: &Value, view: &View<'_>) -> bool {
    json::get(budget, &["spec", "selector", "matchLabels"])
        .as_object()
        .is_some_and(|wanted| {
            !wanted.is_empty()
                && wanted
                    .iter()
                    .all(|(name, value)| view.label(name) == value.as_str())
        })
}

fn keeps_one(budget: &Value) -> bool {
    let least = json::get(budget, &["spec", "minAvailable"]);
    let asks = match least {
        Value::Number(number) => number.as_i64().is_some_and(|n| n >= 1),
        Value::String(text) => text
            .trim_end_matches('%')
            .parse::<i64>()
            .is_ok_and(|n| n >= 1),
        _ => false,
    };
    let most = json::get(budget, &["spec", "maxUnavailable"]);
    asks || most.as_i64() == Some(0) || most.as_str() == Some("0%")
}

/// The latency objective that objects declare: annotations, else Dynamo's own.
pub(super) fn slo(
    store: &ObjectStore,
    marks: &Marks<'_>,
    top: &Key,
    ms: i64,
) -> (Option<i64>, Option<i64>, Option<String>) {
    let number = |name: &str| {
        marks
            .get(name)
            .and_then(|text| text.trim().parse::<i64>().ok())
            .filter(|ms| *ms > 0)
    };
    let ttft = number("idleproof.dev/ttft-p95-ms");
    let itl = number("idleproof.dev/itl-p95-ms");
    if ttft.is_some() || itl.is_some() {
        return (ttft, itl, Some("annotation".to_owned()));
    }
    // The request that generated a graph is tied to it by label, not by ownership.
    if let Some(name) = marks.get("dgdr.nvidia.com/name") {
        let namespace = marks
            .get("dgdr.nvidia.com/namespace")
            .unwrap_or(&top.namespace);
        let key = Key::new("dynamographdeploymentrequest.nvidia.com", namespace, name);
        if let Some(version) = store.nearest(&key, ms) {
            let sla = json::get(&version.body, &["spec", "sla"]);
            let whole = |field: &str| {
                json::get(sla, &[field])
                    .as_f64()
                    .filter(|ms| (1.0..1e9).contains(ms))
                    .map(|ms| ms as i64)
            };
            let (ttft, itl) = (whole("ttft"), whole("itl"));
            if ttft.is_some() || itl.is_some() {
                return (ttft, itl, Some("dynamo sla".to_owned()));
            }
        }
    }
    (None, None, None)
}

/// Who answers for the workload: labels of it, of its namespace, else the namespace.
pub(super) fn team(
    store: &ObjectStore,
    metrics: &Metrics<'_>,
    marks: &Marks<'_>,
    namespace: &str,
    ms: i64,
) -> String {
    let key = Key::new("namespace", "", namespace);
    let labels = Labels {
        body: store.nearest(&key, ms).map(|version| &version.body),
        series: metrics::labels_series(metrics.of("kube_namespace_labels", "", namespace), ms),
    };
    TEAM_LABELS
        .iter()
        .find_map(|name| marks.get(name).or_else(|| labels.mark(name)))
        .unwrap_or_else(|| namespace.strip_prefix("runai-").unwrap_or(namespace))
        .to_owned()
}
