//! Owns what people declare beside the workload itself: floors, latency objectives, teams.

use serde_json::Value;

use super::command::CommandLine;
use super::input::{Inputs, TeamRule};
use super::json;
use super::marks::Marks;
use super::metrics::{self, Labels, Metrics};
use super::objects::{Key, ObjectStore};
use super::systems::{Facts, View};

const COST_LABELS: &[&str] = &["cost-center", "costcenter", "cost-centre", "owner"];
const QUEUE_LABELS: &[&str] = &[
    "kai.scheduler/queue",
    "kueue.x-k8s.io/queue-name",
    "runai/queue",
];
const PROJECT_LABELS: &[&str] = &["runai/project", "project"];

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
        if in_force
            .is_some_and(|version| selects(version.body(), view) && keeps_one(version.body()))
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

/// A latency objective and who declares it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Slo {
    pub ttft_ms: Option<i64>,
    pub itl_ms: Option<i64>,
    pub source: String,
}

/// Milliseconds, also those of a planner that writes seconds below one.
fn whole_ms(value: &Value) -> Option<i64> {
    let number = value
        .as_f64()
        .or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()))?;
    (1.0..1e9).contains(&number).then_some(number as i64)
}

/// Every latency objective that objects declare, the strongest first: annotations, then what the
/// control layer works towards.
pub(super) fn slos(
    store: &ObjectStore,
    marks: &Marks<'_>,
    view: &View<'_>,
    lines: &[CommandLine],
    ms: i64,
) -> Vec<Slo> {
    let mut out = Vec::new();
    let mut offer = |ttft_ms: Option<i64>, itl_ms: Option<i64>, source: &str| {
        if ttft_ms.is_some() || itl_ms.is_some() {
            out.push(Slo {
                ttft_ms,
                itl_ms,
                source: source.to_owned(),
            });
        }
    };
    let number = |name: &str| {
        marks
            .get(name)
            .and_then(|text| text.trim().parse::<i64>().ok())
            .filter(|ms| *ms > 0)
    };
    offer(
        number("idleproof.dev/ttft-p95-ms"),
        number("idleproof.dev/itl-p95-ms"),
        "annotation",
    );
    // The request that generated a graph is tied to it by label, not by ownership.
    let request = marks.get("dgdr.nvidia.com/name").and_then(|name| {
        let namespace = marks
            .get("dgdr.nvidia.com/namespace")
            .unwrap_or(&view.top.namespace);
        let key = Key::new("dynamographdeploymentrequest.nvidia.com", namespace, name);
        store.nearest(&key, ms).map(|version| version.body())
    });
    for body in request.into_iter().chain([view.top_body]) {
        let sla = json::get(body, &["spec", "sla"]);
        offer(
            whole_ms(json::get(sla, &["ttft"])),
            whole_ms(json::get(sla, &["itl"])),
            "dynamo sla",
        );
    }
    // A planner is a component of its own, with its configuration in its words.
    for line in lines {
        let given = line.flag(&["--config"]);
        let config: Option<Value> = given.and_then(|text| serde_json::from_str(&text).ok());
        if let Some(config) = config {
            let of = |name: &str| {
                whole_ms(json::get(&config, &[name]))
                    .or_else(|| whole_ms(json::get(&config, &["sla", name])))
            };
            offer(of("ttft"), of("itl"), "planner configuration");
        }
        let of = |name: &str| {
            line.flag(&[name])
                .and_then(|text| whole_ms(&Value::String(text)))
        };
        if line.words.iter().any(|word| word.contains("planner")) {
            offer(of("--ttft"), of("--itl"), "planner flags");
        }
    }
    out.dedup();
    out
}

/// Who answers for a workload and what says so: the first rule of the configured order that has a
/// name. Nobody answers where none has.
pub(super) fn team(
    rules: &[TeamRule],
    store: &ObjectStore,
    metrics: &Metrics<'_>,
    marks: &Marks<'_>,
    namespace: &str,
    ms: i64,
) -> (Option<String>, String) {
    let key = Key::new("namespace", "", namespace);
    let labels = Labels {
        body: store.nearest(&key, ms).map(|version| version.body()),
        series: metrics::labels_series(metrics.of("kube_namespace_labels", "", namespace), ms),
    };
    let of = |label: &str| {
        marks
            .get(label)
            .map(|name| (name.to_owned(), format!("label {label}")))
            .or_else(|| {
                labels
                    .mark(label)
                    .map(|name| (name.to_owned(), format!("namespace label {label}")))
            })
    };
    let first = |names: &[&str]| names.iter().find_map(|label| of(label));
    let project = || {
        let name = namespace.strip_prefix("runai-")?;
        (!name.is_empty()).then(|| (name.to_owned(), "namespace of a project".to_owned()))
    };
    let found = rules.iter().find_map(|rule| match rule {
        TeamRule::Label(label) => of(label),
        TeamRule::NamespaceLabel(label) => labels
            .mark(label)
            .map(|name| (name.to_owned(), format!("namespace label {label}"))),
        TeamRule::Cost => first(COST_LABELS),
        TeamRule::Queue => first(QUEUE_LABELS),
        TeamRule::Project => first(PROJECT_LABELS).or_else(project),
        TeamRule::Namespace => Some((namespace.to_owned(), "namespace".to_owned())),
    });
    match found {
        Some((team, source)) => (Some(team), source),
        None => (None, "unallocated".to_owned()),
    }
}
