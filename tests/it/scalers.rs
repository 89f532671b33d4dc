//! Autoscalers as data: upstream manifests, live objects of each kind, what reaches what, the
//! lint of their signals, and remedies that go to the scaler instead of its target.

use idleproof::inventory::fold;
use idleproof::inventory::input::{MetricSeries, ValueRun};
use idleproof::inventory::remedy::{Action, BoundsWish, CpuWish, Wish};
use idleproof::model::workload::WorkloadId;
use serde_json::{Value, json};

use crate::fleet::{
    Shelf, answers, asked, autoscaler, autoscalers_text, child, day, engine, inputs, inventory,
    manifest, node, there_and_back, workload,
};

fn scaled_object(name: &str, target: Value, spec: Value) -> Value {
    let mut body = json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": {"name": name, "namespace": "chat"}, "spec": spec});
    body["spec"]["scaleTargetRef"] = target;
    body
}

fn hpa(name: &str, target: Value, spec: Value) -> Value {
    let mut body = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": "chat"}, "spec": spec});
    body["spec"]["scaleTargetRef"] = target;
    body
}

fn deployment_ref(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name})
}

fn scale_target(horizontal: Value) -> Value {
    json!({"apiVersion": "thoras.ai/v1", "kind": "AIScaleTarget",
        "metadata": {"name": "llama-thoras", "namespace": "chat"},
        "spec": {"model": {}, "scaleTargetRef": deployment_ref("llama"), "horizontal": horizontal}})
}

fn llama() -> WorkloadId {
    WorkloadId {
        cluster: "prod-a".to_owned(),
        namespace: "chat".to_owned(),
        kind: "deployment.apps".to_owned(),
        name: "llama".to_owned(),
    }
}

fn zero() -> Wish {
    Wish {
        zero: true,
        ..Wish::default()
    }
}

fn bounds(min: i64, max: i64) -> Wish {
    Wish {
        bounds: Some(BoundsWish {
            min_replicas: Some(min),
            max_replicas: Some(max),
        }),
        ..Wish::default()
    }
}

fn ids(findings: &str) -> Vec<String> {
    let list: Vec<Value> = serde_json::from_str(findings).unwrap();
    list.iter()
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn upstream_scalers_of_production_stack() {
    // Both samples aim at one Deployment, which is a finding of its own.
    let mut bodies = manifest("scaledobject-vllm-queue.yaml", "default");
    bodies.extend(manifest("hpa-object-metric.yaml", "default"));
    bodies.push(engine("vllm-llama3-deployment-vllm", "default"));
    insta::assert_snapshot!(autoscalers_text(&inventory(&bodies)));
}

#[test]
fn upstream_scalers_of_llm_d() {
    let namespace = "llm-d-optimized-baseline";
    let mut bodies = manifest("wva-hpa-annotated.yaml", namespace);
    bodies.extend(manifest("variantautoscaling-crd-legacy.yaml", namespace));
    bodies.push(engine(
        "optimized-baseline-nvidia-gpu-vllm-decode",
        namespace,
    ));
    let found = inventory(&bodies);
    // A variant without its actuator moves nothing.
    let row = workload(&found, "optimized-baseline-nvidia-gpu-vllm-decode");
    assert_eq!(
        row.autoscaler.as_deref(),
        Some("hpa/optimized-baseline-nvidia-gpu-vllm-decode")
    );
    insta::assert_snapshot!(autoscalers_text(&found));
}

#[test]
fn upstream_runtimes_scale_themselves() {
    let bodies = manifest("vllmruntime-autoscaling.yaml", "default");
    insta::assert_snapshot!(autoscalers_text(&inventory(&bodies)));
}

#[test]
fn a_scaler_reaches_the_graph_behind_its_adapter() {
    let adapter = json!({"apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeploymentScalingAdapter",
        "metadata": {"name": "graph-decode", "namespace": "chat"},
        "spec": {"dgdRef": {"name": "graph", "componentName": "decode"}, "replicas": 2}});
    let graph = json!({"apiVersion": "nvidia.com/v1beta1", "kind": "DynamoGraphDeployment",
        "metadata": {"name": "graph", "namespace": "chat"}, "spec": {"components": [
            {"name": "decode", "type": "decode", "replicas": 2, "podTemplate": {"spec": {"containers": [
                {"name": "main", "image": "vllm-runtime",
                 "args": ["--model", "meta-llama/Llama-3.1-8B-Instruct"],
                 "resources": {"limits": {"nvidia.com/gpu": "1"}}}]}}}]}});
    let target = json!({"apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeploymentScalingAdapter", "name": "graph-decode"});
    let external = json!({"type": "External", "external": {"metric": {
            "name": "dynamo_frontend_active_requests", "selector": {"matchLabels": {"dynamo_namespace": "chat-graph"}}},
        "target": {"type": "AverageValue", "averageValue": "8"}}});
    let scaler = hpa(
        "graph-decode",
        target,
        json!({"minReplicas": 1, "maxReplicas": 6, "metrics": [external]}),
    );
    let found = inventory(&[adapter, graph, scaler]);
    let row = autoscaler(&found, "graph-decode");
    assert_eq!(row.workload_name.as_deref(), Some("graph"));
    let graph = workload(&found, "graph");
    assert_eq!(graph.autoscaler.as_deref(), Some("hpa/graph-decode"));
    assert_eq!((graph.min_replicas, graph.max_replicas), (Some(1), Some(6)));
}

#[test]
fn keda_says_itself_what_it_scales_and_who_writes_the_replicas() {
    let runtime = &manifest("vllmruntime-autoscaling.yaml", "chat")[2];
    let name = runtime["metadata"]["name"].as_str().unwrap();
    let mut scaler = scaled_object(
        &format!("{name}-scaledobject"),
        json!({"name": name}),
        json!({"minReplicaCount": 1, "maxReplicaCount": 4, "triggers": []}),
    );
    scaler["status"] = json!({"scaleTargetGVKR": {"group": "production-stack.vllm.ai",
        "version": "v1alpha1", "kind": "VLLMRuntime", "resource": "vllmruntimes"}});
    let scaler = child(scaler, runtime);
    let bodies = [runtime.clone(), scaler];
    let found = inventory(&bodies);
    let row = workload(&found, name);
    assert_eq!(
        row.autoscaler.as_deref(),
        Some("scaledobject.keda.sh/vllmruntime-autoscaling-sample-scaledobject")
    );
    // The operator made the scaler: both are one, and a change goes to the resource.
    let shared: Vec<&str> = found
        .autoscalers
        .iter()
        .filter(|row| row.policy_json.contains("shares_target_with"))
        .map(|row| row.scaler_name.as_str())
        .collect();
    assert_eq!(shared, Vec::<&str>::new());
    assert_eq!(
        row.remedy_object,
        "vllmruntime.production-stack.vllm.ai/chat/vllmruntime-autoscaling-sample"
    );
    assert_eq!(
        row.remedy_replicas_field,
        "spec.autoscalingConfig.minReplicas"
    );
    insta::assert_snapshot!(answers(&bodies, runtime));
}

#[test]
fn thoras_takes_over_and_falls_back_to_the_hpa() {
    let beside = hpa(
        "llama",
        deployment_ref("llama"),
        json!({"minReplicas": 2, "maxReplicas": 9, "metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}]}),
    );
    let acting = scale_target(json!({"mode": "autonomous", "maxReplicas": 5}));
    let bodies = [engine("llama", "chat"), beside.clone(), acting];
    let found = inventory(&bodies);
    let row = workload(&found, "llama");
    assert_eq!(
        row.autoscaler.as_deref(),
        Some("aiscaletarget.thoras.ai/llama-thoras")
    );
    assert_eq!((row.min_replicas, row.max_replicas), (Some(2), Some(5)));
    let thoras = autoscaler(&found, "llama-thoras");
    assert!(thoras.policy_json.contains("\"bounds_from\":\"hpa/llama\""));
    // The two work together: that is no conflict.
    assert!(ids(&thoras.findings_json).is_empty());

    let advising = scale_target(json!({"mode": "recommendation", "minReplicas": 1}));
    let bodies = [engine("llama", "chat"), beside, advising];
    let found = inventory(&bodies);
    let row = workload(&found, "llama");
    assert_eq!(row.autoscaler.as_deref(), Some("hpa/llama"));
    assert_eq!((row.min_replicas, row.max_replicas), (Some(2), Some(9)));

    let alone = inventory(&[
        engine("llama", "chat"),
        scale_target(json!({"mode": "recommendation"})),
    ]);
    assert_eq!(workload(&alone, "llama").autoscaler, None);
}

#[test]
fn two_scalers_on_one_target_are_told_of_each() {
    let query =
        json!({"type": "prometheus", "metadata": {"query": "sum(queue{namespace=\"chat\"})"}});
    let bodies = [
        engine("llama", "chat"),
        scaled_object("a", json!({"name": "llama"}), json!({"triggers": [query]})),
        hpa("b", deployment_ref("llama"), json!({"maxReplicas": 3})),
        hpa("other", deployment_ref("qwen"), json!({"maxReplicas": 3})),
    ];
    let found = inventory(&bodies);
    for (name, rival) in [("a", "hpa/b"), ("b", "scaledobject.keda.sh/a")] {
        let row = autoscaler(&found, name);
        assert_eq!(ids(&row.findings_json), ["two-scalers"], "{name}");
        assert!(row.policy_json.contains(&format!("[\"{rival}\"]")));
    }
    assert!(ids(&autoscaler(&found, "other").findings_json).is_empty());
}

#[test]
fn an_hpa_goes_to_zero_only_where_the_cluster_lets_it() {
    let external = json!({"type": "External", "external": {"metric": {"name": "depth"},
        "target": {"type": "Value", "value": "1"}}});
    let scaler = hpa(
        "llama",
        deployment_ref("llama"),
        json!({"minReplicas": 1, "maxReplicas": 3, "metrics": [external]}),
    );
    for (version, goes_to) in [
        ("v1.37.1", "horizontalpodautoscaler.autoscaling"),
        ("v1.36.0", "deployment.apps"),
    ] {
        let bodies = [engine("llama", "chat"), scaler.clone(), node("n", version)];
        let found = asked(&bodies, &llama(), &zero());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].change().unwrap().target.kind, goes_to, "{version}");
    }
}

#[test]
fn keda_is_parked_where_nothing_would_wake_it() {
    let asleep = |query: &str| {
        [
            engine("llama", "chat"),
            scaled_object(
                "llama",
                json!({"name": "llama"}),
                json!({"minReplicaCount": 1, "triggers": [{"type": "prometheus", "metadata": {
                    "serverAddress": "http://prom", "threshold": "5", "query": query}}]}),
            ),
        ]
    };
    let parked = asleep("sum(vllm:num_requests_waiting{namespace=\"chat\"})");
    let found = asked(&parked, &llama(), &zero());
    let patched = there_and_back(&parked, &found[0]).unwrap();
    assert_eq!(
        patched["metadata"]["annotations"]["autoscaling.keda.sh/paused-replicas"],
        "0"
    );
    assert!(found[0].warnings.iter().any(|w| w.contains("stay asleep")));

    let elastic = asleep("sum(vllm:num_incoming_requests_total{model=\"x\"})");
    let found = asked(&elastic, &llama(), &zero());
    let patched = there_and_back(&elastic, &found[0]).unwrap();
    assert_eq!(patched["spec"]["minReplicaCount"], 0);
    let found = asked(&elastic, &llama(), &bounds(2, 7));
    let patched = there_and_back(&elastic, &found[0]).unwrap();
    assert_eq!(
        (
            &patched["spec"]["minReplicaCount"],
            &patched["spec"]["maxReplicaCount"]
        ),
        (&json!(2), &json!(7))
    );
}

/// The least of OpenAPI that a structural schema needs; none means that the value fits.
fn misfit(schema: &Value, value: &Value, path: &str) -> Option<String> {
    if schema["x-kubernetes-int-or-string"] == true {
        return (!(value.is_i64() || value.is_string())).then(|| format!("{path}: {value}"));
    }
    let fits = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        _ => true,
    };
    if !fits {
        return Some(format!("{path}: {value} is no {}", schema["type"]));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        return Some(format!("{path}: {value} is not among {words:?}"));
    }
    if let (Some(least), Some(number)) = (schema["minimum"].as_i64(), value.as_i64())
        && number < least
    {
        return Some(format!("{path}: {number} < {least}"));
    }
    if let Some(map) = value.as_object() {
        for name in schema["required"].as_array().into_iter().flatten() {
            if !map.contains_key(name.as_str().unwrap()) {
                return Some(format!("{path}: no {name}"));
            }
        }
        for (name, inner) in map {
            let known = schema["properties"].get(name).or_else(|| {
                schema
                    .get("additionalProperties")
                    .filter(|more| more.is_object())
            });
            let below = format!("{path}/{name}");
            match known {
                Some(known) => {
                    if let Some(wrong) = misfit(known, inner, &below) {
                        return Some(wrong);
                    }
                }
                // An object without properties, as metadata is, takes anything.
                None if schema.get("properties").is_none() => {}
                None => return Some(format!("{below}: unknown")),
            }
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        if let Some(wrong) = misfit(&schema["items"], item, &format!("{path}/{index}")) {
            return Some(wrong);
        }
    }
    None
}

#[test]
fn thoras_changes_fit_its_published_schema() {
    let crd = &manifest("crd-aiscaletarget.yaml", "")[0];
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut target =
        scale_target(json!({"mode": "autonomous", "minReplicas": 2, "maxReplicas": 8}));
    target["spec"]["vertical"] = json!({"mode": "autonomous", "containers": [
        {"name": "main", "cpu": {"lowerbound": "1", "upperbound": "2"}}]});
    // The check itself sees what is wrong.
    assert_eq!(misfit(schema, &target, ""), None);
    for (path, wrong) in [
        ("/spec/horizontal/mode", json!("off")),
        ("/spec/horizontal/minReplicas", json!(-1)),
        ("/spec/horizontal", json!({"minReplicas": 1})),
        (
            "/spec/vertical/containers/0/cpu",
            json!({"upperbound": "2"}),
        ),
        ("/spec/scaleTargetRef/nothing", json!("x")),
    ] {
        let mut broken = target.clone();
        let (parent, last) = path.rsplit_once('/').unwrap();
        broken.pointer_mut(parent).unwrap()[last] = wrong;
        assert!(misfit(schema, &broken, "").is_some(), "{path}");
    }
    let beside = hpa(
        "llama",
        deployment_ref("llama"),
        json!({"minReplicas": 1, "maxReplicas": 9}),
    );
    let bodies = [engine("llama", "chat"), beside, target];
    let cpu = Wish {
        cpu: Some(CpuWish {
            container: Some("main".to_owned()),
            request: Some("6".to_owned()),
            limit: None,
            unlimited: false,
        }),
        ..Wish::default()
    };
    for (wish, changes) in [(zero(), 1), (bounds(1, 4), 1), (cpu, 1)] {
        let found = asked(&bodies, &llama(), &wish);
        let patched: Vec<Value> = found
            .iter()
            .filter(|remedy| {
                remedy
                    .change()
                    .is_some_and(|change| change.target.kind == "aiscaletarget.thoras.ai")
            })
            .filter_map(|remedy| there_and_back(&bodies, remedy))
            .collect();
        assert_eq!(patched.len(), changes, "{found:#?}");
        for body in patched {
            assert_eq!(misfit(schema, &body, ""), None);
        }
    }
    // First its hand is taken off, then the target is stopped.
    let found = asked(&bodies, &llama(), &zero());
    let kinds: Vec<&str> = found
        .iter()
        .map(|remedy| remedy.change().unwrap().target.kind.as_str())
        .collect();
    assert_eq!(kinds, ["aiscaletarget.thoras.ai", "deployment.apps"]);
}

#[test]
fn thoras_own_rules_are_kept() {
    let fixed = scale_target(
        json!({"mode": "autonomous", "minReplicas": 1, "maxReplicas": 8,
        "allowedReplicas": [2, 4, 8]}),
    );
    let bodies = [engine("llama", "chat"), fixed];
    let found = asked(&bodies, &llama(), &bounds(1, 4));
    assert!(found[0].change().is_none());
    let found = asked(&bodies, &llama(), &bounds(5, 4));
    assert!(found[0].change().is_none());
    let found = asked(&bodies, &llama(), &bounds(2, 8));
    assert_eq!(found[0].action, Action::Bounds);
    assert!(found[0].change().is_some());
}

/// A template of the cluster that selects what has the label `tier: web`.
fn cluster_template(policy: Value, template: Value) -> Value {
    json!({"apiVersion": "thoras.ai/v1", "kind": "ClusterAIScaleTemplate",
        "metadata": {"name": "everything"}, "spec": {"policy": policy, "template": template,
            "selector": {"matchLabels": {"tier": "web"},
                "matchExpressions": [{"key": "exempt", "operator": "DoesNotExist"}]}}})
}

#[test]
fn a_template_of_the_cluster_is_told_of_where_it_selects_the_workload() {
    let mut body = engine("llama", "chat");
    body["metadata"]["labels"] = json!({"tier": "web"});
    let acting = json!({"model": {}, "horizontal": {"mode": "autonomous"},
        "vertical": {"mode": "recommendation", "containers": []}});
    let warned = |bodies: &[Value], wish: &Wish| {
        asked(bodies, &llama(), wish)[0]
            .warnings
            .iter()
            .any(|one| one.contains("clusteraiscaletemplate.thoras.ai/everything"))
    };
    let cpu = Wish {
        cpu: Some(CpuWish {
            request: Some("6".to_owned()),
            ..CpuWish::default()
        }),
        ..Wish::default()
    };
    let open = cluster_template(json!({}), acting.clone());
    let both = [body.clone(), open.clone()];
    assert!(warned(&both, &zero()) && warned(&both, &bounds(1, 1)));
    // It only advises on CPU.
    assert!(!warned(&both, &cpu));
    // Another namespace, an exempt workload, and one that has its own target.
    for policy in [
        json!({"excludedNamespaces": ["chat"]}),
        json!({"includedNamespaces": ["shop"]}),
    ] {
        let other = cluster_template(policy, acting.clone());
        assert!(!warned(&[body.clone(), other], &zero()));
    }
    let mut exempt = body.clone();
    exempt["metadata"]["labels"]["exempt"] = json!("yes");
    assert!(!warned(&[exempt, open.clone()], &zero()));
    let own = scale_target(json!({"mode": "autonomous", "minReplicas": 1, "maxReplicas": 8}));
    assert!(!warned(&[body.clone(), open, own.clone()], &bounds(1, 4)));
    // Unless the template overrides what exists.
    let overriding = cluster_template(json!({"conflictResolution": "override"}), acting);
    assert!(warned(&[body, overriding, own], &bounds(1, 4)));
}

#[test]
fn empty_answers_and_failing_conditions_make_a_scaler_blind() {
    let scaler = scaled_object(
        "llama",
        json!({"name": "llama"}),
        json!({"minReplicaCount": 1, "triggers": [{"type": "prometheus", "metadata": {
            "query": "sum(vllm:num_requests_waiting{namespace=\"other\"})"}}]}),
    );
    let mut inputs = inputs(&[engine("llama", "chat"), scaler]);
    inputs.series.push(MetricSeries {
        metric: "keda_scaler_empty_upstream_responses_total".to_owned(),
        labels: [("namespace", "chat"), ("scaledResource", "llama")]
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        runs: [(0, 3.0), (60_000, 40.0), (120_000, 2.0)]
            .iter()
            .map(|(at, value)| ValueRun {
                first_ms: day() + at,
                last_ms: day() + at,
                value: *value,
            })
            .collect(),
    });
    let found = fold(&inputs, &Shelf);
    let row = autoscaler(&found, "llama");
    assert_eq!(ids(&row.findings_json), ["label-mismatch", "blind-scaler"]);
    // 37 before the restart and 2 after it.
    assert!(row.findings_json.contains("39 times"));
}

#[test]
fn knative_and_kserve_declare_their_scaling_themselves() {
    let service = json!({"apiVersion": "serving.knative.dev/v1", "kind": "Service",
        "metadata": {"name": "llama", "namespace": "chat"}, "spec": {"template": {
            "metadata": {"annotations": {"autoscaling.knative.dev/min-scale": "1",
                "autoscaling.knative.dev/max-scale": "4", "autoscaling.knative.dev/target": "20"}},
            "spec": {"containerConcurrency": 40, "containers": [{"image": "vllm/vllm-openai",
                "args": ["--model", "meta-llama/Llama-3.1-8B-Instruct"],
                "resources": {"limits": {"nvidia.com/gpu": "1"}}}]}}}});
    let predictor = json!({"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService",
        "metadata": {"name": "qwen", "namespace": "chat",
            "annotations": {"serving.kserve.io/autoscalerClass": "keda"}},
        "spec": {"predictor": {"minReplicas": 0, "maxReplicas": 3, "model": {"storageUri": "hf://Qwen/Qwen3-32B",
                "resources": {"limits": {"nvidia.com/gpu": "1"}}},
            "autoScaling": {"metrics": [{"type": "External", "external": {"metric": {
                "backend": "prometheus", "serverAddress": "http://prom:9090",
                "query": "sum(vllm:gpu_cache_usage_perc)"}, "target": {"type": "Value", "value": "0.8"}}}]}}}});
    let found = inventory(&[service, predictor]);
    insta::assert_snapshot!(autoscalers_text(&found));
    let row = workload(&found, "llama");
    assert_eq!((row.min_replicas, row.max_replicas), (Some(1), Some(4)));
    assert_eq!(
        row.remedy_replicas_field,
        "spec.template.metadata.annotations.autoscaling.knative.dev/min-scale"
    );
}
