//! Owns KEDA's ScaledObjects: triggers of every kind as data, bounds with KEDA's own defaults,
//! pauses, fallback and formulas.

use serde_json::Value;

use super::super::json;
use super::policy::{MAX_TRIGGERS, Policy, Trigger, address, failing, scalar};

/// Names of a target value, over KEDA's kinds of triggers; the first that is set.
const THRESHOLDS: &[&str] = &[
    "threshold",
    "value",
    "targetMetricValue",
    "targetValue",
    "targetQueryValue",
    "queueLength",
    "queueSize",
    "lagThreshold",
    "lagCount",
    "listLength",
    "pendingEntriesCount",
    "streamLength",
    "messageCount",
    "messageBacklogThreshold",
    "msgBacklogThreshold",
    "subscriptionSize",
    "unprocessedEventThreshold",
    "shardCount",
    "queryValue",
    "blobCount",
    "targetPipelinesQueueLength",
    "targetWorkflowQueueLength",
    "desiredReplicas",
    "targetPendingRequests",
];

/// Names of where a signal is asked for.
const SERVERS: &[&str] = &[
    "serverAddress",
    "scalerAddress",
    "bootstrapServers",
    "url",
    "address",
    "addresses",
    "host",
    "endpoint",
    "queueURL",
    "connection",
    "server",
    "natsServerMonitoringEndpoint",
    "activeMQManagementEndpoint",
];

/// Names of what is counted.
const METRICS: &[&str] = &[
    "metricName",
    "queueName",
    "topic",
    "topicName",
    "listName",
    "stream",
    "streamName",
    "subscriptionName",
    "eventHubName",
    "containerName",
    "valueLocation",
    "deploymentName",
    "podSelector",
    "index",
];

const QUERIES: &[&str] = &["query", "nrql", "expression", "esqlQuery", "promql"];

/// Kinds of triggers that read the pods that they scale, so that none are left to wake them.
const RESOURCES: &[&str] = &["cpu", "memory"];

pub(super) fn policy(body: &Value) -> Policy {
    let spec = json::get(body, &["spec"]);
    let triggers: Vec<Trigger> = json::items(spec, &["triggers"])
        .iter()
        .take(MAX_TRIGGERS)
        .map(trigger)
        .collect();
    let only_resources = !triggers.is_empty()
        && triggers
            .iter()
            .all(|one| RESOURCES.contains(&one.kind.as_str()));
    let behaviour = json::get(
        spec,
        &["advanced", "horizontalPodAutoscalerConfig", "behavior"],
    );
    let (up_seconds, down_seconds, down_disabled) = super::hpa::behaviour(behaviour);
    let mut policy = Policy {
        // Unset is zero for KEDA, and a hundred at the other end.
        min: Some(json::int(spec, &["minReplicaCount"]).unwrap_or(0)),
        max: Some(json::int(spec, &["maxReplicaCount"]).unwrap_or(100)),
        idle: json::int(spec, &["idleReplicaCount"]),
        triggers,
        paused: paused(body),
        fallback_replicas: json::int(spec, &["fallback", "replicas"]),
        formula: scalar(spec, &["advanced", "scalingModifiers", "formula"]),
        up_seconds,
        down_seconds,
        down_disabled,
        no_zero: only_resources
            .then(|| "KEDA refuses zero where all triggers are cpu or memory".to_owned()),
        failing: failing(body, &["Ready"], &[]),
        ..Policy::default()
    };
    let more = [
        ("cooldown_seconds", vec!["cooldownPeriod"]),
        ("polling_seconds", vec!["pollingInterval"]),
        (
            "formula_target",
            vec!["advanced", "scalingModifiers", "target"],
        ),
        (
            "formula_activation",
            vec!["advanced", "scalingModifiers", "activationTarget"],
        ),
        ("fallback_behaviour", vec!["fallback", "behavior"]),
    ];
    for (name, path) in more {
        if let Some(value) = scalar(spec, &path) {
            policy.more.insert(name, value);
        }
    }
    if let Some(named) = super::wva::annotated(body) {
        policy.mode = Some(named.mode);
        policy.more.extend(named.more);
    }
    policy
}

/// Why a ScaledObject moves nothing: an annotation parks it, or holds it as it is.
fn paused(body: &Value) -> Option<String> {
    let annotation = |name: &str| scalar(body, &["metadata", "annotations", name]);
    if let Some(replicas) = annotation("autoscaling.keda.sh/paused-replicas") {
        return Some(format!("parked at {replicas} replicas"));
    }
    annotation("autoscaling.keda.sh/paused")
        .filter(|value| value == "true")
        .map(|_| "paused as it is".to_owned())
}

fn trigger(declared: &Value) -> Trigger {
    let meta = json::get(declared, &["metadata"]);
    let first = |names: &[&str]| names.iter().find_map(|name| scalar(meta, &[name]));
    let kind = json::text(declared, &["type"]).unwrap_or("unknown");
    let activation = meta.as_object().and_then(|map| {
        map.keys()
            .filter(|name| name.starts_with("activation"))
            .find_map(|name| scalar(meta, &[name]))
    });
    Trigger {
        kind: kind.to_owned(),
        name: scalar(declared, &["name"]),
        metric: first(METRICS),
        query: first(QUERIES),
        server: first(SERVERS).map(|text| address(&text)),
        namespace: scalar(meta, &["namespace"]),
        threshold: first(THRESHOLDS),
        activation,
        target_type: scalar(declared, &["metricType"]).or_else(|| {
            // Older KEDA had it among the metadata of cpu and memory.
            RESOURCES
                .contains(&kind)
                .then(|| scalar(meta, &["type"]))
                .flatten()
        }),
        ignores_nulls: (kind == "prometheus").then(|| {
            // KEDA's own default.
            scalar(meta, &["ignoreNullValues"]).is_none_or(|value| value != "false")
        }),
        ..Trigger::default()
    }
}

/// `apiVersion`, kind and name that KEDA itself resolved the target to.
pub(super) fn resolved(body: &Value) -> Option<(String, String)> {
    let gvk = json::get(body, &["status", "scaleTargetGVKR"]);
    let kind = json::text(gvk, &["kind"])?;
    let version = json::text(gvk, &["version"]).unwrap_or("v1");
    let api_version = match json::text(gvk, &["group"]) {
        Some(group) => format!("{group}/{version}"),
        None => version.to_owned(),
    };
    Some((api_version, kind.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn triggers_of_any_kind_are_data() {
        let body = json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused-replicas": "0"}},
            "spec": {"triggers": [
            {"type": "prometheus", "name": "q", "metricType": "AverageValue", "metadata": {
                "serverAddress": "http://u:p@prom:9090", "query": "sum(x)", "threshold": "5",
                "activationThreshold": "1", "ignoreNullValues": "false", "namespace": "tenant"}},
            {"type": "aws-sqs-queue", "metadata": {"queueURL": "https://sqs/q", "queueLength": "7",
                "activationQueueLength": 2}},
            {"type": "kafka", "metadata": {"bootstrapServers": "k:9092", "topic": "t",
                "lagThreshold": "10", "password": "hidden"}},
            {"type": "cpu", "metricType": "Utilization", "metadata": {"value": "60"}},
            {"type": "cron", "metadata": {"desiredReplicas": "3", "start": "0 8 * * *"}},
            7,
        ], "fallback": {"failureThreshold": 3, "replicas": 2},
        "advanced": {"scalingModifiers": {"formula": "q + 1", "target": "4"}}}});
        let read = policy(&body);
        assert_eq!((read.min, read.max, read.idle), (Some(0), Some(100), None));
        let shown: Vec<_> = read
            .triggers
            .iter()
            .map(|one| {
                (
                    one.kind.as_str(),
                    one.metric.as_deref(),
                    one.server.as_deref(),
                    one.threshold.as_deref(),
                    one.activation.as_deref(),
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                (
                    "prometheus",
                    None,
                    Some("http://prom:9090"),
                    Some("5"),
                    Some("1")
                ),
                (
                    "aws-sqs-queue",
                    None,
                    Some("https://sqs/q"),
                    Some("7"),
                    Some("2")
                ),
                ("kafka", Some("t"), Some("k:9092"), Some("10"), None),
                ("cpu", None, None, Some("60"), None),
                ("cron", None, None, Some("3"), None),
                ("unknown", None, None, None, None),
            ]
        );
        assert_eq!(read.triggers[0].ignores_nulls, Some(false));
        assert_eq!(read.paused.as_deref(), Some("parked at 0 replicas"));
        assert_eq!(read.fallback_replicas, Some(2));
        assert!(!read.triggers_json().contains("hidden"));
        assert!(read.json(&[]).contains("\"formula\":\"q + 1\""));
    }

    #[test]
    fn cpu_and_memory_alone_forbid_zero() {
        let body = json!({"spec": {"triggers": [
            {"type": "cpu", "metadata": {"value": "60"}}, {"type": "memory", "metadata": {"value": "60"}}]}});
        let read = policy(&body);
        assert_eq!(read.min, Some(0));
        assert!(read.no_zero.is_some() && !read.sleeps());
    }
}
