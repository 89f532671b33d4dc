//! Owns how a manifest becomes a spec: HorizontalPodAutoscaler, ScaledObject, a fixed count, Knative's
//! annotations. What it does not know it refuses, naming what is missing.

mod annotations;

use serde_json::Value;

use super::cron::{Between, Cron};
use super::hpa::{
    HpaSpec, Metric, PERIOD_MAX_MS, PolicyKind, Rules, ScalingPolicy, Select, TOLERANCE, Target,
    WINDOW_MAX_MS,
};
use super::keda::{COOLDOWN_MS, KedaSpec, MAX_REPLICAS, POLLING_MS, Source, Trigger};
use super::quantity::quantity;
use super::signal::{Reading, Signal, of_name, of_query};
use super::spec::{Spec, SpecError};
use crate::model::zone::Zone;
use annotations::knative;

/// More metrics, triggers or policies than this is no spec that a person wrote.
const ENTRIES_MAX: usize = 64;

/// What is known of the workload that a spec is for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known {
    /// What a pod requests, in thousandths of a core.
    pub cpu_request_milli: Option<f64>,
    /// The present scaler's own metric was recorded, and this is its one trigger.
    pub has_recorded: bool,
}

/// Kinds of which `spec.replicas` is all there is to know.
const FIXED: &[&str] = &["Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet"];

/// Whether a document of this kind scales something, a fixed count aside.
#[must_use]
pub fn is_scaler(kind: &str) -> bool {
    matches!(
        kind,
        "HorizontalPodAutoscaler" | "ScaledObject" | "PodAutoscaler" | "Service" | "Configuration"
    )
}

/// Whether a document of this kind is a fixed count.
#[must_use]
pub fn is_fixed(kind: &str) -> bool {
    FIXED.contains(&kind)
}

fn get<'v>(value: &'v Value, path: &[&str]) -> &'v Value {
    path.iter().fold(value, |value, name| &value[*name])
}

fn text(value: &Value, path: &[&str]) -> Option<String> {
    match get(value, path) {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

fn bad(field: &str, value: &str, why: &str) -> SpecError {
    SpecError::Bad {
        field: field.to_owned(),
        value: value.chars().take(80).collect(),
        why: why.to_owned(),
    }
}

fn missing(field: &str, why: &str) -> SpecError {
    SpecError::Missing {
        field: field.to_owned(),
        why: why.to_owned(),
    }
}

fn count(value: &Value, path: &[&str]) -> Result<Option<u32>, SpecError> {
    let Some(told) = text(value, path) else {
        return Ok(None);
    };
    let wrong = || bad(&path.join("."), &told, "give a whole number");
    told.parse().map(Some).map_err(|_| wrong())
}

fn seconds(value: &Value, path: &[&str], most_ms: i64) -> Result<Option<i64>, SpecError> {
    let Some(told) = count(value, path)? else {
        return Ok(None);
    };
    let ms = i64::from(told) * 1000;
    if ms > most_ms {
        let why = format!("at most {} seconds", most_ms / 1000);
        return Err(bad(&path.join("."), &told.to_string(), &why));
    }
    Ok(Some(ms))
}

fn number(value: &Value, path: &[&str]) -> Result<Option<f64>, SpecError> {
    let Some(told) = text(value, path) else {
        return Ok(None);
    };
    let wrong = || bad(&path.join("."), &told, "it is no quantity");
    quantity(&told).map(Some).ok_or_else(wrong)
}

fn entries<'v>(value: &'v Value, path: &[&str]) -> Result<&'v [Value], SpecError> {
    let list = get(value, path).as_array().map_or(&[][..], Vec::as_slice);
    if list.len() > ENTRIES_MAX {
        let told = list.len().to_string();
        return Err(bad(&path.join("."), &told, "at most 64 entries"));
    }
    Ok(list)
}

/// The spec of one document.
pub fn parse(body: &Value, known: Known) -> Result<Spec, SpecError> {
    let kind =
        text(body, &["kind"]).ok_or_else(|| missing("kind", "a manifest says what it is"))?;
    let api = text(body, &["apiVersion"]).unwrap_or_default();
    let spec = match kind.as_str() {
        "HorizontalPodAutoscaler" => hpa(body, known)?,
        "ScaledObject" => scaled_object(body, known)?,
        "Service" | "Configuration" | "Revision" if api.starts_with("serving.knative.dev/") => {
            let path: &[&str] = if kind == "Revision" {
                &[]
            } else {
                &["spec", "template"]
            };
            let template = get(body, path);
            knative(
                get(template, &["metadata", "annotations"]),
                count(template, &["spec", "containerConcurrency"])?,
            )?
        }
        "PodAutoscaler" => knative(
            get(body, &["metadata", "annotations"]),
            count(body, &["spec", "containerConcurrency"])?,
        )?,
        kind if is_fixed(kind) => Spec::Fixed {
            replicas: count(body, &["spec", "replicas"])?.unwrap_or(1),
        },
        kind => {
            return Err(SpecError::UnknownKind {
                kind: kind.chars().take(80).collect(),
            });
        }
    };
    spec.check()?;
    Ok(spec)
}

fn rules(behaviour: &Value, way: &str, mut rules: Rules) -> Result<Rules, SpecError> {
    let told = get(behaviour, &[way]);
    if let Some(ms) = seconds(told, &["stabilizationWindowSeconds"], WINDOW_MAX_MS)? {
        rules.window_ms = ms;
    }
    rules.select = match text(told, &["selectPolicy"]).as_deref() {
        None | Some("Max") => Select::Max,
        Some("Min") => Select::Min,
        Some("Disabled") => Select::Disabled,
        Some(other) => return Err(bad("selectPolicy", other, "Max, Min or Disabled")),
    };
    rules.tolerance = number(told, &["tolerance"])?.unwrap_or(TOLERANCE);
    let policies = entries(told, &["policies"])?;
    if !policies.is_empty() {
        rules.policies = policies.iter().map(policy).collect::<Result<_, _>>()?;
    }
    Ok(rules)
}

fn policy(told: &Value) -> Result<ScalingPolicy, SpecError> {
    let kind = match text(told, &["type"]).as_deref() {
        Some("Pods") => PolicyKind::Pods,
        Some("Percent") => PolicyKind::Percent,
        other => return Err(bad("policies.type", other.unwrap_or(""), "Pods or Percent")),
    };
    let value = count(told, &["value"])?.filter(|value| *value > 0);
    let period_ms = seconds(told, &["periodSeconds"], PERIOD_MAX_MS)?.filter(|ms| *ms > 0);
    Ok(ScalingPolicy {
        kind,
        value: value.ok_or_else(|| missing("policies.value", "a policy moves at least one"))?,
        period_ms: period_ms
            .ok_or_else(|| missing("policies.periodSeconds", "a policy has a period"))?,
    })
}

fn hpa(body: &Value, known: Known) -> Result<Spec, SpecError> {
    let spec = get(body, &["spec"]);
    let mut metrics = Vec::new();
    for told in entries(spec, &["metrics"])? {
        metrics.push(metric(told, known)?);
    }
    if let Some(percent) = number(spec, &["targetCPUUtilizationPercentage"])? {
        metrics.push(cpu(percent, known)?);
    }
    if metrics.is_empty() {
        // What the API fills in.
        metrics.push(cpu(80.0, known)?);
    }
    let behaviour = get(spec, &["behavior"]);
    let max = count(spec, &["maxReplicas"])?;
    Ok(Spec::Hpa(HpaSpec {
        min: count(spec, &["minReplicas"])?.unwrap_or(1),
        max: max.ok_or_else(|| missing("spec.maxReplicas", "an autoscaler has a maximum"))?,
        metrics,
        up: rules(behaviour, "scaleUp", Rules::up())?,
        down: rules(behaviour, "scaleDown", Rules::down())?,
    }))
}

fn cpu(percent: f64, known: Known) -> Result<Metric, SpecError> {
    let request = known.cpu_request_milli.filter(|milli| *milli > 0.0);
    Ok(Metric {
        reading: Reading::sum(Signal::CpuMilli),
        target: Target::Utilisation {
            percent,
            request: request.ok_or_else(|| {
                missing(
                    "the CPU request of the workload's pods",
                    "a utilisation is a share of it",
                )
            })?,
        },
    })
}

fn metric(told: &Value, known: Known) -> Result<Metric, SpecError> {
    let kind = text(told, &["type"]).unwrap_or_default();
    let field = match kind.as_str() {
        "Resource" => "resource",
        "Pods" => "pods",
        "Object" => "object",
        "External" => "external",
        "ContainerResource" => {
            return Err(SpecError::Unsupported {
                what: "a metric of type ContainerResource".to_owned(),
                why: "use of CPU is kept by workload, not by container".to_owned(),
            });
        }
        other => {
            let why = "Resource, Pods, Object or External";
            return Err(bad("metrics.type", other, why));
        }
    };
    let source = get(told, &[field]);
    let target = get(source, &["target"]);
    if kind == "Resource" {
        let name = text(source, &["name"]).unwrap_or_default();
        if name != "cpu" {
            return Err(SpecError::NeverRecorded { metric: name });
        }
        if let Some(percent) = number(target, &["averageUtilization"])? {
            return cpu(percent, known);
        }
        let cores = number(target, &["averageValue"])?
            .ok_or_else(|| missing("resource.target", "a value or a utilisation"))?;
        return Ok(Metric {
            reading: Reading::sum(Signal::CpuMilli),
            target: Target::PodsAverage(cores * 1000.0),
        });
    }
    let name = text(source, &["metric", "name"])
        .ok_or_else(|| missing("metric.name", "a metric has a name"))?;
    let reading = of_name(&name).ok_or(SpecError::NeverRecorded { metric: name })?;
    let target = match (
        number(target, &["averageValue"])?,
        number(target, &["value"])?,
    ) {
        (Some(mean), _) if kind == "Pods" => Target::PodsAverage(mean),
        (Some(mean), _) => Target::ExternalAverage(mean),
        (None, Some(value)) if kind != "Pods" => Target::Value(value),
        _ => {
            return Err(missing(
                "target",
                "averageValue, or value where it is not of pods",
            ));
        }
    };
    Ok(Metric { reading, target })
}

fn scaled_object(body: &Value, known: Known) -> Result<Spec, SpecError> {
    let annotation = |name: &str| text(body, &["metadata", "annotations", name]);
    if let Some(parked) = annotation("autoscaling.keda.sh/paused-replicas") {
        let why = "a count of replicas";
        let wrong = |_| bad("autoscaling.keda.sh/paused-replicas", &parked, why);
        return Ok(Spec::Fixed {
            replicas: parked.parse().map_err(wrong)?,
        });
    }
    let unsupported = |what: &str, why: &str| SpecError::Unsupported {
        what: what.to_owned(),
        why: why.to_owned(),
    };
    if annotation("autoscaling.keda.sh/paused").as_deref() == Some("true") {
        let why = "nothing scales it: give --replicas with what it stands at";
        return Err(unsupported("a paused ScaledObject", why));
    }
    let spec = get(body, &["spec"]);
    if !get(spec, &["advanced", "scalingModifiers", "formula"]).is_null() {
        let why = "what a formula makes of its triggers is not recorded";
        return Err(unsupported("advanced.scalingModifiers.formula", why));
    }
    let declared = entries(spec, &["triggers"])?;
    if declared.is_empty() {
        return Err(missing(
            "spec.triggers",
            "a ScaledObject listens to something",
        ));
    }
    let has_recorded = known.has_recorded && declared.len() == 1;
    let known = Known {
        has_recorded,
        ..known
    };
    let triggers: Result<Vec<Trigger>, SpecError> =
        declared.iter().map(|told| trigger(told, known)).collect();
    let behaviour = get(
        spec,
        &["advanced", "horizontalPodAutoscalerConfig", "behavior"],
    );
    let day_ms = 86_400_000;
    let polling = seconds(spec, &["pollingInterval"], day_ms)?.unwrap_or(POLLING_MS);
    Ok(Spec::Keda(KedaSpec {
        min: count(spec, &["minReplicaCount"])?.unwrap_or(0),
        max: count(spec, &["maxReplicaCount"])?.unwrap_or(MAX_REPLICAS),
        idle: count(spec, &["idleReplicaCount"])?,
        polling_ms: polling.max(1000),
        cooldown_ms: seconds(spec, &["cooldownPeriod"], 30 * day_ms)?.unwrap_or(COOLDOWN_MS),
        triggers: triggers?,
        up: rules(behaviour, "scaleUp", Rules::up())?,
        down: rules(behaviour, "scaleDown", Rules::down())?,
    }))
}

fn trigger(told: &Value, known: Known) -> Result<Trigger, SpecError> {
    let kind =
        text(told, &["type"]).ok_or_else(|| missing("triggers.type", "a trigger has one"))?;
    let meta = get(told, &["metadata"]);
    match kind.as_str() {
        "cron" => return cron(meta),
        "cpu" => {
            let percent = number(meta, &["value"])?
                .ok_or_else(|| missing("triggers.metadata.value", "a cpu trigger has one"))?;
            let metric = cpu(percent, known)?;
            return Ok(Trigger {
                source: Source::Metric {
                    reading: metric.reading,
                    nulls_are_zero: false,
                },
                target: metric.target,
                activation: 0.0,
                activates: false,
            });
        }
        _ => {}
    }
    let query = text(meta, &["query"]);
    let derived = query
        .as_deref()
        .filter(|_| kind == "prometheus")
        .and_then(of_query);
    let reading = match derived {
        Some(reading) => reading,
        None if known.has_recorded => Reading::sum(Signal::Recorded),
        None => {
            let metric = query.map_or(kind.clone(), |query| query.chars().take(120).collect());
            return Err(SpecError::NeverRecorded { metric });
        }
    };
    let threshold = threshold(meta)?.ok_or_else(|| {
        missing(
            "triggers.metadata.threshold",
            "a trigger says what one replica is for",
        )
    })?;
    let ignores = text(meta, &["ignoreNullValues"]).as_deref() != Some("false");
    Ok(Trigger {
        source: Source::Metric {
            reading,
            nulls_are_zero: kind == "prometheus" && ignores && derived.is_some(),
        },
        target: match text(told, &["metricType"]).as_deref() {
            None | Some("AverageValue") => Target::ExternalAverage(threshold),
            Some("Value") => Target::Value(threshold),
            Some(other) => return Err(bad("metricType", other, "AverageValue or Value")),
        },
        activation: activation(meta)?,
        activates: true,
    })
}

/// The value of one replica, under whichever name the trigger's type has for it.
fn threshold(meta: &Value) -> Result<Option<f64>, SpecError> {
    for name in [
        "threshold",
        "queueLength",
        "lagThreshold",
        "listLength",
        "value",
        "targetMetricValue",
        "targetValue",
        "messageCount",
        "subscriptionSize",
        "pendingEntriesCount",
    ] {
        if let Some(value) = number(meta, &[name])? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

fn activation(meta: &Value) -> Result<f64, SpecError> {
    let names = meta.as_object().map(|map| map.keys()).into_iter().flatten();
    for name in names.filter(|name| name.starts_with("activation")) {
        if let Some(value) = number(meta, &[name])? {
            return Ok(value);
        }
    }
    Ok(0.0)
}

fn cron(meta: &Value) -> Result<Trigger, SpecError> {
    let told = |name: &str| {
        text(meta, &[name]).ok_or_else(|| {
            missing(
                &format!("triggers.metadata.{name}"),
                "a cron trigger has it",
            )
        })
    };
    let schedule = |name: &str| {
        let words = told(name)?;
        Cron::parse(&words).ok_or_else(|| bad(name, &words, "five fields of cron"))
    };
    let zone = told("timezone")?;
    Ok(Trigger {
        source: Source::Cron {
            between: Between {
                start: schedule("start")?,
                end: schedule("end")?,
                zone: Zone::parse(&zone)
                    .ok_or_else(|| bad("timezone", &zone, "a name of the IANA database"))?,
            },
            replicas: count(meta, &["desiredReplicas"])?.ok_or_else(|| {
                missing("triggers.metadata.desiredReplicas", "a cron trigger has it")
            })?,
        },
        target: Target::ExternalAverage(1.0),
        activation: 0.0,
        activates: true,
    })
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
