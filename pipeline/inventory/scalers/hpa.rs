//! Owns HorizontalPodAutoscalers of `autoscaling/v2` and `v1`: all sources of metrics, behaviour,
//! conditions, and whether the cluster lets one go to zero.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::json;
use super::policy::{MAX_TRIGGERS, Policy, Trigger, failing, scalar};

/// From this minor version on an HPA may say zero without a feature gate.
pub(in crate::inventory) const ZERO_FROM_MINOR: i64 = 37;

pub(super) fn policy(body: &Value, cluster_minor: Option<i64>) -> Policy {
    let spec = json::get(body, &["spec"]);
    let mut triggers: Vec<Trigger> = json::items(spec, &["metrics"])
        .iter()
        .take(MAX_TRIGGERS)
        .map(trigger)
        .collect();
    // `autoscaling/v1` knows this one only.
    if let Some(threshold) = scalar(spec, &["targetCPUUtilizationPercentage"]) {
        triggers.push(Trigger {
            metric: Some("cpu".to_owned()),
            threshold: Some(threshold),
            target_type: Some("Utilization".to_owned()),
            ..Trigger::of("Resource")
        });
    }
    let (up_seconds, down_seconds, down_disabled) = behaviour(json::get(spec, &["behavior"]));
    let mut policy = Policy {
        min: Some(json::int(spec, &["minReplicas"]).unwrap_or(1)),
        max: json::int(spec, &["maxReplicas"]),
        no_zero: no_zero(&triggers, cluster_minor),
        triggers,
        up_seconds,
        down_seconds,
        down_disabled,
        paused: (json::int(body, &["status", "currentReplicas"]) == Some(0) && disabled(body))
            .then(|| "its target is at zero replicas, which disables it".to_owned()),
        // A target at zero disables its HPA: that is said as a pause, not as a failure.
        failing: failing(
            body,
            &["ScalingActive", "AbleToScale"],
            &["ScalingDisabled"],
        ),
        ..Policy::default()
    };
    if let Some(named) = super::wva::annotated(body) {
        policy.mode = Some(named.mode);
        policy.more.extend(named.more);
    }
    policy
}

fn disabled(body: &Value) -> bool {
    json::items(body, &["status", "conditions"])
        .iter()
        .any(|one| json::text(one, &["reason"]) == Some("ScalingDisabled"))
}

/// Why an HPA may not be told zero.
pub(in crate::inventory) fn no_zero(
    triggers: &[Trigger],
    cluster_minor: Option<i64>,
) -> Option<String> {
    let outside = triggers
        .iter()
        .any(|one| matches!(one.kind.as_str(), "Object" | "External"));
    if !outside {
        return Some("an HPA may go to zero only with an Object or External metric".to_owned());
    }
    match cluster_minor {
        Some(minor) if minor >= ZERO_FROM_MINOR => None,
        Some(minor) => Some(format!(
            "Kubernetes 1.{minor} lets an HPA go to zero only behind the feature gate HPAScaleToZero"
        )),
        None => Some(
            "the cluster's version is unknown: before 1.37 an HPA goes to zero only behind the \
             feature gate HPAScaleToZero"
                .to_owned(),
        ),
    }
}

fn trigger(declared: &Value) -> Trigger {
    let kind = json::text(declared, &["type"]).unwrap_or("unknown");
    let source = json::get(
        declared,
        &[match kind {
            "Resource" => "resource",
            "ContainerResource" => "containerResource",
            "Pods" => "pods",
            "Object" => "object",
            "External" => "external",
            _ => "",
        }],
    );
    let labels = json::get(source, &["metric", "selector", "matchLabels"]);
    let selector: BTreeMap<String, String> = labels.as_object().map_or_else(BTreeMap::new, |map| {
        map.iter()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect()
    });
    let target = json::get(source, &["target"]);
    let object = json::get(source, &["describedObject"]);
    Trigger {
        metric: scalar(source, &["metric", "name"]).or_else(|| scalar(source, &["name"])),
        name: scalar(source, &["container"]),
        threshold: ["averageUtilization", "averageValue", "value"]
            .iter()
            .find_map(|field| scalar(target, &[field])),
        target_type: scalar(target, &["type"]),
        object: json::text(object, &["kind"])
            .map(|kind| format!("{kind}/{}", json::text(object, &["name"]).unwrap_or(""))),
        selector,
        ..Trigger::of(kind)
    }
}

/// Stabilisation upwards and downwards in seconds, and whether it never scales down. Unset is
/// Kubernetes' own default: at once upwards, five minutes downwards.
pub(super) fn behaviour(behaviour: &Value) -> (Option<i64>, Option<i64>, bool) {
    let seconds = |way: &str| json::int(behaviour, &[way, "stabilizationWindowSeconds"]);
    (
        Some(seconds("scaleUp").unwrap_or(0)),
        Some(seconds("scaleDown").unwrap_or(300)),
        json::text(behaviour, &["scaleDown", "selectPolicy"]) == Some("Disabled"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_source_is_read() {
        let body = json!({"spec": {"maxReplicas": 4, "metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}},
            {"type": "ContainerResource", "containerResource": {"name": "memory", "container": "main", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
            {"type": "Pods", "pods": {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "5"}}},
            {"type": "Object", "object": {"metric": {"name": "rps"}, "describedObject": {"kind": "Service", "name": "s"}, "target": {"type": "Value", "value": 9}}},
            {"type": "External", "external": {"metric": {"name": "depth", "selector": {"matchLabels": {"q": "a"}}}, "target": {"type": "AverageValue", "averageValue": "1"}}},
        ], "behavior": {"scaleDown": {"selectPolicy": "Disabled"}}},
        "status": {"conditions": [{"type": "ScalingActive", "status": "False", "reason": "FailedGetExternalMetric"}]}});
        let read = policy(&body, Some(37));
        assert_eq!((read.min, read.max), (Some(1), Some(4)));
        let told: Vec<_> = read
            .triggers
            .iter()
            .map(|one| {
                (
                    one.kind.as_str(),
                    one.metric.as_deref(),
                    one.threshold.as_deref(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("Resource", Some("cpu"), Some("70")),
                ("ContainerResource", Some("memory"), Some("1Gi")),
                ("Pods", Some("queue"), Some("5")),
                ("Object", Some("rps"), Some("9")),
                ("External", Some("depth"), Some("1")),
            ]
        );
        assert_eq!(read.triggers[3].object.as_deref(), Some("Service/s"));
        assert_eq!(read.triggers[4].selector["q"], "a");
        assert!(read.down_disabled);
        assert_eq!(read.failing, ["ScalingActive: FailedGetExternalMetric"]);
    }

    #[test]
    fn zero_depends_on_version_and_source() {
        let outside = [Trigger::of("External")];
        assert_eq!(no_zero(&outside, Some(37)), None);
        assert!(no_zero(&outside, Some(36)).is_some_and(|why| why.contains("1.36")));
        assert!(no_zero(&outside, None).is_some());
        assert!(no_zero(&[Trigger::of("Resource")], Some(37)).is_some());
    }
}
