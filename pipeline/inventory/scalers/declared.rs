//! Owns scaling that a workload's own resource declares, without a scaler object of its own:
//! Knative's annotations, KServe's autoscaler class, and the autoscaling blocks of vLLM's
//! production-stack and HyperPod. The controllers make the scalers from these.

use serde_json::Value;

use super::super::json;
use super::policy::{MAX_TRIGGERS, Policy, Trigger, address, scalar};

/// Kinds whose resource may scale itself.
pub(super) const KINDS: &[&str] = &[
    KNATIVE,
    "inferenceservice.serving.kserve.io",
    "vllmruntime.production-stack.vllm.ai",
    "inferenceendpointconfig.inference.sagemaker.aws.amazon.com",
    "jumpstartmodel.inference.sagemaker.aws.amazon.com",
];

pub(in crate::inventory) const KNATIVE: &str = "service.serving.knative.dev";

/// What the resource says of its own scaling; none where it says nothing.
pub(super) fn policy(kind: &str, body: &Value) -> Option<Policy> {
    match kind {
        KNATIVE => knative(body),
        "inferenceservice.serving.kserve.io" => kserve(body),
        "vllmruntime.production-stack.vllm.ai" => production_stack(body),
        _ => hyperpod(body),
    }
}

/// An annotation of the revision's template in either of Knative's spellings.
pub(in crate::inventory) fn knative_annotation(body: &Value, name: &str) -> Option<String> {
    let path = |name: String| {
        let name = format!("autoscaling.knative.dev/{name}");
        ["spec", "template"]
            .iter()
            .map(|part| (*part).to_owned())
            .chain(["metadata".to_owned(), "annotations".to_owned(), name])
            .collect::<Vec<String>>()
    };
    let mut camel = String::new();
    let mut up = false;
    for c in name.chars() {
        match c {
            '-' => up = true,
            c if up => {
                camel.push(c.to_ascii_uppercase());
                up = false;
            }
            c => camel.push(c),
        }
    }
    [name.to_owned(), camel].into_iter().find_map(|name| {
        let path = path(name);
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        scalar(body, &path)
    })
}

fn knative(body: &Value) -> Option<Policy> {
    json::get(body, &["spec", "template"]).as_object()?;
    let note = |name: &str| knative_annotation(body, name);
    let number = |name: &str| note(name).and_then(|text| text.trim().parse::<i64>().ok());
    let class = note("class").unwrap_or_else(|| "kpa.autoscaling.knative.dev".to_owned());
    let hpa = class.starts_with("hpa.");
    let metric =
        note("metric").unwrap_or_else(|| if hpa { "cpu" } else { "concurrency" }.to_owned());
    let mut policy = Policy {
        // The HPA class never sleeps; the other does unless told otherwise.
        min: Some(number("min-scale").unwrap_or(i64::from(hpa))),
        // Zero and unset both mean no limit.
        max: number("max-scale").filter(|most| *most > 0),
        triggers: vec![Trigger {
            metric: Some(metric),
            threshold: note("target"),
            ..Trigger::of("knative")
        }],
        mode: Some(if hpa { "hpa" } else { "kpa" }.to_owned()),
        no_zero: hpa.then(|| "Knative's HPA class does not go to zero".to_owned()),
        ..Policy::default()
    };
    if let Some(first) = note("initial-scale") {
        policy.more.insert("initial_scale", first);
    }
    if let Some(window) = note("window") {
        policy.more.insert("window", window);
    }
    if let Some(hard) = scalar(body, &["spec", "template", "spec", "containerConcurrency"]) {
        policy.more.insert("container_concurrency", hard);
    }
    Some(policy)
}

fn kserve(body: &Value) -> Option<Policy> {
    let predictor = json::get(body, &["spec", "predictor"]);
    let class = scalar(
        body,
        &[
            "metadata",
            "annotations",
            "serving.kserve.io/autoscalerClass",
        ],
    );
    let mode = [
        "metadata",
        "annotations",
        "serving.kserve.io/deploymentMode",
    ];
    let deployment = scalar(body, &mode).or_else(|| scalar(body, &["status", "deploymentMode"]));
    let signals = json::items(predictor, &["autoScaling", "metrics"]);
    let says = |field: &str| !json::get(predictor, &[field]).is_null();
    if class.is_none()
        && signals.is_empty()
        && !["minReplicas", "maxReplicas", "scaleTarget", "scaleMetric"]
            .iter()
            .any(|field| says(field))
    {
        return None;
    }
    let knative = matches!(deployment.as_deref(), Some("Serverless" | "Knative"));
    let class = class.unwrap_or_else(|| if knative { "kpa" } else { "hpa" }.to_owned());
    if class == "external" {
        // Whoever scales it is found as a scaler of its own.
        return None;
    }
    let min = json::int(predictor, &["minReplicas"]);
    // The HPA class takes a zero for a one.
    let clamps = class == "hpa" && !knative;
    let min = match (class.as_str(), min) {
        ("none", count) => count.or(Some(1)),
        (_, Some(0)) if clamps => Some(1),
        (_, count) => count.or(Some(1)),
    };
    let max = if class == "none" {
        min
    } else {
        json::int(predictor, &["maxReplicas"])
    };
    let mut triggers: Vec<Trigger> = signals
        .iter()
        .take(MAX_TRIGGERS)
        .map(kserve_signal)
        .collect();
    if triggers.is_empty() && class != "none" {
        triggers.push(Trigger {
            metric: scalar(predictor, &["scaleMetric"])
                .or_else(|| Some(if knative { "concurrency" } else { "cpu" }.to_owned())),
            threshold: scalar(predictor, &["scaleTarget"]),
            ..Trigger::of(if knative { "knative" } else { "Resource" })
        });
    }
    Some(Policy {
        min,
        max,
        triggers,
        no_zero: match class.as_str() {
            "none" => Some("its replicas are fixed: nothing scales it".to_owned()),
            "hpa" if clamps => Some("KServe makes a one of a zero for the HPA class".to_owned()),
            _ => None,
        },
        mode: Some(class),
        ..Policy::default()
    })
}

fn kserve_signal(declared: &Value) -> Trigger {
    let kind = json::text(declared, &["type"]).unwrap_or("unknown");
    let source = ["external", "podmetric", "resource"]
        .iter()
        .map(|name| json::get(declared, &[name]))
        .find(|value| value.is_object())
        .unwrap_or(&Value::Null);
    let metric = json::get(source, &["metric"]);
    let target = json::get(source, &["target"]);
    Trigger {
        metric: scalar(metric, &["metricNames", "0"])
            .or_else(|| scalar(metric, &["backend"]))
            .or_else(|| scalar(source, &["name"])),
        query: scalar(metric, &["query"]),
        server: scalar(metric, &["serverAddress"]).map(|text| address(&text)),
        namespace: scalar(metric, &["namespace"]),
        threshold: ["value", "averageValue", "averageUtilization"]
            .iter()
            .find_map(|field| scalar(target, &[field])),
        target_type: scalar(target, &["type"]),
        ..Trigger::of(kind)
    }
}

fn production_stack(body: &Value) -> Option<Policy> {
    let scaling = json::get(body, &["spec", "autoscalingConfig"]);
    if !json::truth(scaling, &["enabled"]) {
        return None;
    }
    let told = json::get(scaling, &["triggers"]);
    let server = scalar(told, &["prometheusAddress"]).map(|text| address(&text));
    // The router's counter wakes a model that sleeps; the others are the engines' own.
    let mut triggers = Vec::new();
    for (metric, field, default) in [
        ("vllm:num_requests_running", "requestsRunningThreshold", "5"),
        (
            "vllm:generation_tokens_total",
            "generationTokensThreshold",
            "100",
        ),
        ("vllm:prompt_tokens_total", "promptTokensThreshold", "100"),
    ] {
        triggers.push(Trigger {
            metric: Some(metric.to_owned()),
            server: server.clone(),
            threshold: Some(scalar(told, &[field]).unwrap_or_else(|| default.to_owned())),
            ..Trigger::of("prometheus")
        });
    }
    triggers.push(Trigger {
        metric: Some("vllm:num_incoming_requests_total".to_owned()),
        server,
        ..Trigger::of("prometheus")
    });
    let seconds = |way: &str, field: &str| json::int(scaling, &[way, field]);
    let mut policy = Policy {
        min: Some(json::int(scaling, &["minReplicas"]).unwrap_or(1)),
        max: json::int(scaling, &["maxReplicas"]),
        triggers,
        mode: Some("keda".to_owned()),
        up_seconds: Some(seconds("scaleUpPolicy", "stabilizationWindowSeconds").unwrap_or(0)),
        down_seconds: Some(seconds("scaleDownPolicy", "stabilizationWindowSeconds").unwrap_or(300)),
        ..Policy::default()
    };
    let zero = seconds("scaleDownPolicy", "scaleToZeroDelaySeconds").unwrap_or(1800);
    policy.more.insert("zero_after_seconds", zero.to_string());
    Some(policy)
}

fn hyperpod(body: &Value) -> Option<Policy> {
    let scaling = json::get(body, &["spec", "autoScalingSpec"]);
    scaling.as_object()?;
    let mut triggers = Vec::new();
    for (single, list, kind) in [
        ("prometheusTrigger", "prometheusTriggerList", "prometheus"),
        (
            "cloudWatchTrigger",
            "cloudWatchTriggerList",
            "aws-cloudwatch",
        ),
    ] {
        let one = json::get(scaling, &[single]);
        let all = std::iter::once(one)
            .filter(|value| value.is_object())
            .chain(json::items(scaling, &[list]));
        for declared in all.take(MAX_TRIGGERS) {
            triggers.push(Trigger {
                name: scalar(declared, &["name"]),
                metric: scalar(declared, &["metricName"]),
                query: scalar(declared, &["query"]),
                server: scalar(declared, &["serverAddress"]).map(|text| address(&text)),
                threshold: scalar(declared, &["targetValue"]),
                activation: scalar(declared, &["activationTargetValue"]),
                target_type: scalar(declared, &["metricType"]),
                namespace: scalar(declared, &["namespace"]),
                ..Trigger::of(kind)
            });
        }
    }
    let mut policy = Policy {
        min: json::int(scaling, &["minReplicaCount"]),
        max: json::int(scaling, &["maxReplicaCount"]),
        triggers,
        mode: Some("keda".to_owned()),
        up_seconds: json::int(scaling, &["scaleUpStabilizationTime"]),
        down_seconds: json::int(scaling, &["scaleDownStabilizationTime"]),
        ..Policy::default()
    };
    for (name, field) in [
        ("cooldown_seconds", "cooldownPeriod"),
        ("polling_seconds", "pollingInterval"),
    ] {
        if let Some(value) = scalar(scaling, &[field]) {
            policy.more.insert(name, value);
        }
    }
    Some(policy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn knative_sleeps_unless_told_otherwise() {
        let service = |notes: Value| json!({"spec": {"template": {"metadata": {"annotations": notes}, "spec": {}}}});
        let read = policy(KNATIVE, &service(json!({}))).unwrap();
        assert_eq!((read.min, read.max), (Some(0), None));
        assert!(read.sleeps());
        let told = service(json!({"autoscaling.knative.dev/minScale": "2",
            "autoscaling.knative.dev/max-scale": "5", "autoscaling.knative.dev/target": "10"}));
        let read = policy(KNATIVE, &told).unwrap();
        assert_eq!((read.min, read.max), (Some(2), Some(5)));
        assert_eq!(read.triggers[0].threshold.as_deref(), Some("10"));
        let hpa = service(json!({"autoscaling.knative.dev/class": "hpa.autoscaling.knative.dev"}));
        let read = policy(KNATIVE, &hpa).unwrap();
        assert_eq!((read.min, read.sleeps()), (Some(1), false));
        assert_eq!(read.triggers[0].metric.as_deref(), Some("cpu"));
    }

    #[test]
    fn kserve_classes_mean_different_things_by_the_same_zero() {
        let service = |class: &str| {
            json!({"metadata": {"annotations": {"serving.kserve.io/autoscalerClass": class}},
                "spec": {"predictor": {"minReplicas": 0, "maxReplicas": 4}}})
        };
        let read = |class: &str| policy("inferenceservice.serving.kserve.io", &service(class));
        let bounds = |class: &str| read(class).map(|one| (one.min, one.max, one.sleeps()));
        assert_eq!(bounds("hpa"), Some((Some(1), Some(4), false)));
        assert_eq!(bounds("keda"), Some((Some(0), Some(4), true)));
        assert_eq!(bounds("none"), Some((Some(0), Some(0), false)));
        assert_eq!(bounds("external"), None);
        let silent = json!({"spec": {"predictor": {"model": {}}}});
        assert_eq!(policy("inferenceservice.serving.kserve.io", &silent), None);
    }

    #[test]
    fn hyperpod_lists_and_single_triggers_are_one() {
        let body = json!({"spec": {"autoScalingSpec": {"minReplicaCount": 0, "maxReplicaCount": 3,
            "cloudWatchTrigger": {"metricName": "Invocations", "targetValue": 4, "activationTargetValue": 1},
            "prometheusTriggerList": [{"query": "sum(x)", "serverAddress": "http://p", "targetValue": 2}]}}});
        let kind = "inferenceendpointconfig.inference.sagemaker.aws.amazon.com";
        let read = policy(kind, &body).unwrap();
        let kinds: Vec<&str> = read.triggers.iter().map(|one| one.kind.as_str()).collect();
        assert_eq!(kinds, ["prometheus", "aws-cloudwatch"]);
        assert_eq!(read.triggers[1].activation.as_deref(), Some("1"));
        assert!(read.sleeps());
    }
}
