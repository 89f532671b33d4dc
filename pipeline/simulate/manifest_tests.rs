use super::*;
use serde_json::json;

fn of(body: &Value) -> Result<Spec, SpecError> {
    parse(body, Known::default())
}

fn says(body: &Value, words: &str) {
    let error = of(body).unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
}

#[test]
fn an_hpa_is_read_with_its_behaviour() {
    let body = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "spec": {
        "minReplicas": 2, "maxReplicas": 9,
        "metrics": [
            {"type": "Pods", "pods": {"metric": {"name": "vllm_requests_running"}, "target": {"type": "AverageValue", "averageValue": "8"}}},
            {"type": "External", "external": {"metric": {"name": "vllm:num_requests_waiting"}, "target": {"type": "Value", "value": "500m"}}},
        ],
        "behavior": {"scaleUp": {"stabilizationWindowSeconds": 30}, "scaleDown": {"selectPolicy": "Min", "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}},
    }});
    let Spec::Hpa(spec) = of(&body).unwrap() else {
        panic!("an HPA")
    };
    assert_eq!((spec.min, spec.max), (2, 9));
    let targets: Vec<Target> = spec.metrics.iter().map(|metric| metric.target).collect();
    assert_eq!(targets, [Target::PodsAverage(8.0), Target::Value(0.5)]);
    assert_eq!(spec.up.window_ms, 30_000);
    assert_eq!(
        (spec.down.window_ms, spec.down.select),
        (300_000, Select::Min)
    );
    assert_eq!(spec.down.policies.len(), 1);
    assert_eq!(spec.up.policies.len(), 2);
}

#[test]
fn a_scaled_object_is_read_with_its_triggers() {
    let body = json!({"kind": "ScaledObject", "spec": {
        "minReplicaCount": 1, "maxReplicaCount": 4, "pollingInterval": 10, "cooldownPeriod": 900,
        "triggers": [
            {"type": "prometheus", "metadata": {"query": "sum(vllm:num_requests_waiting)", "threshold": "40", "activationThreshold": "3"}},
            {"type": "cron", "metadata": {"timezone": "Europe/Berlin", "start": "0 8 * * 1-5", "end": "0 20 * * 1-5", "desiredReplicas": "3"}},
        ],
    }});
    let Spec::Keda(spec) = of(&body).unwrap() else {
        panic!("a scaled object")
    };
    assert_eq!(
        (spec.min, spec.max, spec.polling_ms, spec.cooldown_ms),
        (1, 4, 10_000, 900_000)
    );
    assert_eq!(spec.triggers[0].activation, 3.0);
    assert!(matches!(
        spec.triggers[0].source,
        Source::Metric {
            nulls_are_zero: true,
            ..
        }
    ));
    assert!(matches!(
        spec.triggers[1].source,
        Source::Cron { replicas: 3, .. }
    ));
    let parked = json!({"kind": "ScaledObject", "metadata": {"annotations": {"autoscaling.keda.sh/paused-replicas": "2"}}, "spec": {}});
    assert_eq!(of(&parked).unwrap(), Spec::Fixed { replicas: 2 });
}

#[test]
fn what_the_present_scaler_recorded_answers_its_one_trigger() {
    let body = json!({"kind": "ScaledObject", "spec": {"triggers": [
        {"type": "kafka", "metadata": {"lagThreshold": "10", "topic": "in"}},
    ]}});
    says(&body, "`kafka` was never recorded");
    let known = Known {
        has_recorded: true,
        ..Known::default()
    };
    let spec = parse(&body, known).unwrap();
    assert_eq!(spec.readings(), [Reading::sum(Signal::Recorded)]);
    assert_eq!(spec.bounds(), (0, 100));
}

#[test]
fn knative_annotations_and_fixed_counts_are_read() {
    let service = json!({"apiVersion": "serving.knative.dev/v1", "kind": "Service", "spec": {"template": {
        "metadata": {"annotations": {"autoscaling.knative.dev/min-scale": "1", "autoscaling.knative.dev/max-scale": "5", "autoscaling.knative.dev/target": "20", "autoscaling.knative.dev/window": "2m"}},
        "spec": {"containerConcurrency": 10},
    }}});
    let Spec::Knative(spec) = of(&service).unwrap() else {
        panic!("a revision")
    };
    assert_eq!(
        (spec.min, spec.max, spec.stable_ms, spec.panic_ms),
        (1, 5, 120_000, 12_000)
    );
    assert!((spec.target - 7.0).abs() < 1e-9, "{}", spec.target);
    let deployment =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 3}});
    assert_eq!(of(&deployment).unwrap(), Spec::Fixed { replicas: 3 });
    assert_eq!(
        of(&json!({"kind": "Deployment"})).unwrap(),
        Spec::Fixed { replicas: 1 }
    );
}

#[test]
fn what_cannot_be_replayed_is_refused_by_its_name() {
    let metric = |metric: Value| json!({"kind": "HorizontalPodAutoscaler", "spec": {"maxReplicas": 3, "metrics": [metric]}});
    says(&json!({}), "kind is missing");
    says(&json!({"kind": "CronJob"}), "`CronJob`");
    says(&json!({"apiVersion": "v1", "kind": "Service"}), "`Service`");
    says(
        &json!({"kind": "HorizontalPodAutoscaler", "spec": {}}),
        "CPU request",
    );
    says(
        &metric(
            json!({"type": "Pods", "pods": {"metric": {"name": "DCGM_FI_DEV_GPU_UTIL"}, "target": {"averageValue": "60"}}}),
        ),
        "`DCGM_FI_DEV_GPU_UTIL` was never recorded",
    );
    says(
        &metric(
            json!({"type": "Resource", "resource": {"name": "memory", "target": {"averageUtilization": 60}}}),
        ),
        "`memory` was never recorded",
    );
    says(
        &metric(
            json!({"type": "Pods", "pods": {"metric": {"name": "requests_running"}, "target": {"averageValue": "0"}}}),
        ),
        "above zero",
    );
    says(
        &json!({"kind": "Deployment", "spec": {"replicas": "many"}}),
        "`many` is no value for spec.replicas",
    );
    says(
        &json!({"kind": "ScaledObject", "metadata": {"annotations": {"autoscaling.keda.sh/paused": "true"}}, "spec": {}}),
        "a paused ScaledObject is not simulated",
    );
    says(
        &json!({"kind": "ScaledObject", "spec": {"triggers": [{"type": "cron", "metadata": {"timezone": "Mars/Base", "start": "0 8 * * *", "end": "0 9 * * *", "desiredReplicas": "1"}}]}}),
        "Mars/Base",
    );
    let max = json!({"kind": "HorizontalPodAutoscaler", "spec": {"minReplicas": 5, "maxReplicas": 3, "metrics": [
        {"type": "Pods", "pods": {"metric": {"name": "requests_running"}, "target": {"averageValue": "1"}}}]}});
    says(&max, "the most replicas");
    let many: Vec<Value> = (0..100).map(|_| json!({"type": "cron"})).collect();
    says(
        &json!({"kind": "ScaledObject", "spec": {"triggers": many}}),
        "at most 64",
    );
}
