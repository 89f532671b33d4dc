//! Remedies against the systems' own definitions: a real API server with the upstream CRDs validates
//! every patch and every inverse, CEL rules included, and the inverse restores what was there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use idleproof::inventory::remedies;
use idleproof::inventory::remedy::{Remedy, Wish};
use idleproof::model::workload::{WorkloadId, kind_of};
use serde_json::{Value, json};

use super::fleet::{engine, inputs};
use super::kube_server::{KubeServer, collection, manifests};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// The published definition of each group and kind.
fn definitions() -> BTreeMap<(String, String), Value> {
    let mut out = BTreeMap::new();
    for entry in std::fs::read_dir(folder("crds")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "gz") {
            continue;
        }
        let mut text = String::new();
        flate2::read::GzDecoder::new(std::fs::File::open(&path).unwrap())
            .read_to_string(&mut text)
            .unwrap();
        let crd: Value = serde_json::from_str(&text).unwrap();
        let of = |pointer: &str| crd.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        out.insert((of("/spec/group"), of("/spec/names/kind")), crd);
    }
    out
}

fn group_version(object: &Value) -> (String, String) {
    let text = object["apiVersion"].as_str().unwrap();
    let (group, version) = text.split_once('/').unwrap_or(("", text));
    (group.to_owned(), version.to_owned())
}

/// The definition with one version, so that no conversion drops a field.
fn only_version(crd: &Value, version: &str) -> Value {
    let mut crd = crd.clone();
    let versions = crd["spec"]["versions"].as_array().unwrap();
    let mut one = versions
        .iter()
        .find(|one| one["name"] == version)
        .unwrap_or_else(|| panic!("{} has no version {version}", crd["metadata"]["name"]))
        .clone();
    one["served"] = json!(true);
    one["storage"] = json!(true);
    crd["spec"]["versions"] = json!([one]);
    crd
}

/// What upstream publishes no sample of, or what a sample needs to be whole.
fn written() -> Vec<Value> {
    let aim = |kind: &str, name: &str| json!({"kind": kind, "name": name, "apiVersion": "apps/v1"});
    let meta = |name: &str| json!({"name": name, "namespace": "made"});
    let service = json!({"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": meta("kn"),
        "spec": {"template": {"metadata": {"annotations": {
            "autoscaling.knative.dev/min-scale": "2", "autoscaling.knative.dev/max-scale": "5"}},
            "spec": {"containers": [{"name": "main", "image": "vllm/vllm-openai:v0.10.0",
                "args": ["--model", "Qwen/Qwen2.5-7B-Instruct"],
                "resources": {"limits": {"nvidia.com/gpu": "1", "cpu": "4"}}}]}}}});
    let scaled = json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": meta("so"),
        "spec": {"scaleTargetRef": {"name": "scaled"}, "minReplicaCount": 2, "maxReplicaCount": 6,
            "triggers": [{"type": "prometheus", "metadata": {
                "serverAddress": "http://prometheus:9090", "threshold": "5",
                "query": "sum(llm_d_epp_flow_control_queue_size{namespace=\"made\"})"}}]}});
    let hpa = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": meta("hp"),
        "spec": {"scaleTargetRef": aim("Deployment", "sized"), "minReplicas": 2, "maxReplicas": 6,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": 60}}}]}});
    let target = json!({"apiVersion": "thoras.ai/v1", "kind": "AIScaleTarget", "metadata": meta("th"),
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "foretold"},
            "model": {"forecast_blocks": "15m", "forecast_cron": "*/15 * * * *"},
            "horizontal": {"mode": "autonomous", "minReplicas": 2, "maxReplicas": 5}}});
    let template = json!({"apiVersion": "thoras.ai/v1", "kind": "ClusterAIScaleTemplate",
        "metadata": {"name": "everything"}, "spec": {"selector": {"matchLabels": {"tier": "web"}},
            "template": {"model": {"forecast_blocks": "15m"}, "horizontal": {"mode": "autonomous",
                "minReplicas": 1, "maxReplicas": 8}}}});
    let adapted = json!({"apiVersion": "nvidia.com/v1beta1", "kind": "DynamoGraphDeployment",
        "metadata": meta("graph"), "spec": {"components": [
            {"name": "Frontend", "type": "frontend", "replicas": 1, "podTemplate": {"spec": {"containers": [
                {"name": "main", "image": "vllm", "resources": {"requests": {"cpu": "2"}}}]}}},
            {"name": "decode", "type": "decode", "replicas": 9, "scalingAdapter": {},
                "podTemplate": {"spec": {"containers": [{"name": "main", "image": "vllm",
                    "args": ["--model", "Qwen/Qwen3-0.6B"],
                    "resources": {"limits": {"nvidia.com/gpu": "1"}}}]}}}]}});
    let adapter = json!({"apiVersion": "nvidia.com/v1beta1", "kind": "DynamoGraphDeploymentScalingAdapter",
        "metadata": meta("graph-decode"),
        "spec": {"replicas": 9, "dgdRef": {"name": "graph", "componentName": "decode"}}});
    let workspace = json!({"apiVersion": "kaito.sh/v1beta1", "kind": "Workspace", "metadata": meta("own"),
        "resource": {"instanceType": "Standard_NC24ads_A100_v4", "labelSelector": {"matchLabels": {"apps": "own"}}},
        "inference": {"template": {"spec": {"containers": [{"name": "main", "image": "vllm",
            "args": ["--model", "Qwen/Qwen3-0.6B"],
            "resources": {"limits": {"nvidia.com/gpu": "1", "cpu": "4"}}}]}}}});
    let roles = json!({"apiVersion": "kaito.sh/v1alpha1", "kind": "MultiRoleInference", "metadata": meta("roles"),
        "spec": {"model": {"name": "phi-4"}, "labelSelector": {"matchLabels": {"apps": "roles"}}, "roles": [
            {"type": "prefill", "replicas": 9, "instanceType": "Standard_NC48ads_A100_v4"},
            {"type": "decode", "replicas": 9, "instanceType": "Standard_NC48ads_A100_v4"}]}});
    let jump = json!({"apiVersion": "inference.sagemaker.aws.amazon.com/v1", "kind": "JumpStartModel",
        "metadata": meta("jump"), "spec": {"model": {"modelId": "deepseek-llm-r1-distill-qwen-1-5b",
            "modelHubName": "SageMakerPublicHub", "acceptEula": true},
            "sageMakerEndpoint": {"name": "jump"}, "server": {"instanceType": "ml.g5.8xlarge"}, "replicas": 9}});
    let mut out = vec![
        service, scaled, hpa, target, template, adapted, adapter, workspace, roles, jump,
    ];
    for name in ["plain", "scaled", "sized", "foretold"] {
        let mut deployment = engine(name, "made");
        deployment["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("uid");
        deployment["spec"]["selector"] = json!({"matchLabels": {"app": name}});
        out.push(deployment);
    }
    out
}

/// Versions before today's: another spelling, another place for the same change.
fn older() -> Vec<Value> {
    let meta = |name: &str| json!({"name": name, "namespace": "older"});
    let gpu = json!({"limits": {"gpu": "1"}, "requests": {"gpu": "1"}});
    let main = json!({"image": "vllm", "args": ["--model", "Qwen/Qwen3-0.6B"]});
    vec![
        json!({"apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeployment", "metadata": meta("graph"),
            "spec": {"services": {
                "Frontend": {"componentType": "frontend", "replicas": 1,
                    "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "4"}}},
                "Decode": {"componentType": "worker", "subComponentType": "decode", "replicas": 9,
                    "scalingAdapter": {"enabled": true}, "resources": gpu, "extraPodSpec": {"mainContainer": main}},
                "Prefill": {"componentType": "worker", "subComponentType": "prefill", "replicas": 9,
                    "resources": gpu, "extraPodMetadata": {"labels": {"kai.scheduler/queue": "team"}},
                    "extraPodSpec": {"mainContainer": main}}}}}),
        json!({"apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeploymentScalingAdapter",
            "metadata": meta("graph-decode"),
            "spec": {"replicas": 9, "dgdRef": {"name": "graph", "serviceName": "Decode"}}}),
        json!({"apiVersion": "kaito.sh/v1alpha1", "kind": "InferenceSet", "metadata": meta("set"),
            "spec": {"replicas": 9, "labelSelector": {"matchLabels": {"apps": "set"}},
                "template": {"resource": {"instanceType": "Standard_NC24ads_A100_v4"},
                    "inference": {"preset": {"name": "phi-4-mini-instruct"}}}}}),
        json!({"apiVersion": "serving.kserve.io/v1alpha1", "kind": "LLMInferenceService", "metadata": meta("llm"),
            "spec": {"model": {"uri": "hf://Qwen/Qwen2.5-7B-Instruct", "name": "qwen"}, "replicas": 9,
                "annotations": {"gpu-fraction": "0.5"},
                "template": {"containers": [{"name": "main", "image": "vllm",
                    "resources": {"limits": {"nvidia.com/gpu": "1", "cpu": "4"}}}]}}}),
    ]
}

/// Every change on its own, with values that differ from what stands there.
fn wishes() -> Vec<(&'static str, Wish)> {
    let mut all = Wish::survey("NVIDIA-L40S");
    // HyperPod takes no instance type of another service.
    if let Some(tier) = &mut all.tier {
        tier.instance_type = Some("ml.g6e.2xlarge".to_owned());
    }
    let bounds = idleproof::inventory::remedy::BoundsWish {
        min_replicas: Some(3),
        max_replicas: Some(7),
    };
    let cpu = idleproof::inventory::remedy::CpuWish {
        request: Some("3571m".to_owned()),
        ..Default::default()
    };
    vec![
        (
            "zero",
            Wish {
                zero: true,
                ..Wish::default()
            },
        ),
        (
            "tier",
            Wish {
                tier: all.tier.clone(),
                ..Wish::default()
            },
        ),
        (
            "bounds",
            Wish {
                bounds: Some(bounds),
                ..Wish::default()
            },
        ),
        (
            "cpu",
            Wish {
                cpu: Some(cpu),
                ..Wish::default()
            },
        ),
        (
            "fraction",
            Wish {
                fraction: all.fraction,
                ..Wish::default()
            },
        ),
    ]
}

/// What a change is about, without what every write moves.
fn content(object: &Value) -> Value {
    let mut object = object.clone();
    object.as_object_mut().unwrap().remove("status");
    let metadata = object["metadata"].as_object_mut().unwrap();
    for moved in ["resourceVersion", "generation", "managedFields"] {
        metadata.remove(moved);
    }
    object
}

/// Tries every change of every object and takes it back; how many changes passed, by kind, and the
/// kinds whose own definition validated them.
async fn tried(
    server: &KubeServer,
    objects: Vec<Value>,
) -> (BTreeMap<String, usize>, BTreeSet<String>) {
    let definitions = definitions();
    let mut defined: BTreeSet<(String, String)> = BTreeSet::new();
    let mut proven: BTreeSet<String> = BTreeSet::new();
    let mut made: Vec<Value> = Vec::new();
    for object in objects {
        let (group, version) = group_version(&object);
        let kind = object["kind"].as_str().unwrap().to_owned();
        if kind == "CustomResourceDefinition" {
            server.crd(&object).await;
            let spec = &object["spec"];
            defined.insert((
                spec["group"].as_str().unwrap().to_owned(),
                spec["names"]["kind"].as_str().unwrap().to_owned(),
            ));
            proven.insert(spec["names"]["kind"].as_str().unwrap().to_owned());
            continue;
        }
        let key = (group, kind.clone());
        if let Some(crd) = definitions.get(&key) {
            if defined.insert(key) {
                server.crd(&only_version(crd, &version)).await;
            }
            proven.insert(kind);
        }
        made.extend(server.load_more(&object, &mut defined).await);
    }
    let mut failed = Vec::new();
    let mut passed: BTreeMap<String, usize> = BTreeMap::new();
    for workload in &made {
        let text = |pointer: &str| {
            workload
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or("")
        };
        let id = WorkloadId {
            cluster: "prod-a".to_owned(),
            namespace: text("/metadata/namespace").to_owned(),
            kind: kind_of(text("/apiVersion"), text("/kind")),
            name: text("/metadata/name").to_owned(),
        };
        for (name, wish) in wishes() {
            let found = remedies(&inputs(&made), &id, &wish);
            let changes: Vec<_> = found.iter().filter_map(Remedy::change).collect();
            let mut done = Vec::new();
            for change in &changes {
                let body = made
                    .iter()
                    .find(|body| {
                        kind_of(
                            body["apiVersion"].as_str().unwrap(),
                            body["kind"].as_str().unwrap(),
                        ) == change.target.kind
                            && body["metadata"]["name"] == json!(change.target.name)
                            && body["metadata"]["namespace"].as_str().unwrap_or("")
                                == change.target.namespace
                    })
                    .unwrap();
                let path = format!("{}/{}", collection(body), change.target.name);
                let what = format!("{name} of {} on {}", id.path(), change.target.kind);
                let before = content(&server.get(&path).await);
                match server.json_patch(&path, &json!(change.patch)).await {
                    Err(why) => failed.push(format!("{what}: {why}\n  {}", json!(change.patch))),
                    Ok(after) => {
                        if content(&after) == before {
                            failed.push(format!(
                                "{what}: the server keeps nothing of {}",
                                json!(change.patch)
                            ));
                        }
                        *passed.entry(change.target.kind.clone()).or_default() += 1;
                        done.push((what, path, before, change.inverse.clone()));
                    }
                }
            }
            for (what, path, before, inverse) in done.into_iter().rev() {
                match server.json_patch(&path, &json!(inverse)).await {
                    Err(why) => failed.push(format!("{what}, undone: {why}")),
                    Ok(after) if content(&after) != before => {
                        failed.push(format!("{what}: the inverse leaves another object"));
                    }
                    Ok(_) => {}
                }
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    println!("{passed:?}");
    (passed, proven)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_and_its_inverse_pass_the_systems_own_validation() {
    let Some(server) = KubeServer::start(&[]).await else {
        return;
    };
    let mut objects: Vec<Value> = manifests(&folder("k8s"));
    objects.extend(written());
    let (passed, proven) = tried(&server, objects).await;
    for kind in [
        "deployment.apps",
        "dynamographdeployment.nvidia.com",
        "dynamographdeploymentscalingadapter.nvidia.com",
        "disaggregatedset.disaggregatedset.x-k8s.io",
        "horizontalpodautoscaler.autoscaling",
        "inferenceendpointconfig.inference.sagemaker.aws.amazon.com",
        "inferenceservice.serving.kserve.io",
        "inferenceset.kaito.sh",
        "leaderworkerset.leaderworkerset.x-k8s.io",
        "llminferenceservice.serving.kserve.io",
        "nimservice.apps.nvidia.com",
        "nodepool.karpenter.sh",
        "rayservice.ray.io",
        "scaledobject.keda.sh",
        "service.serving.knative.dev",
        "vllmruntime.production-stack.vllm.ai",
        "aiscaletarget.thoras.ai",
        "jumpstartmodel.inference.sagemaker.aws.amazon.com",
        "multiroleinference.kaito.sh",
        "workspace.kaito.sh",
    ] {
        assert!(passed.contains_key(kind), "no change of {kind} was tried");
    }
    for kind in [
        "ClusterAIScaleTemplate",
        "DynamoGraphDeployment",
        "DynamoGraphDeploymentScalingAdapter",
        "ScaledObject",
        "InferencePool",
        "InferenceService",
        "NIMService",
        "RayService",
        "NodePool",
        "Workspace",
    ] {
        assert!(
            proven.contains(kind),
            "{kind} was not held to its definition"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_older_versions_pass_their_own_validation() {
    let Some(server) = KubeServer::start(&[]).await else {
        return;
    };
    let (passed, proven) = tried(&server, older()).await;
    for kind in [
        "dynamographdeployment.nvidia.com",
        "dynamographdeploymentscalingadapter.nvidia.com",
        "inferenceset.kaito.sh",
        "llminferenceservice.serving.kserve.io",
    ] {
        assert!(passed.contains_key(kind), "no change of {kind} was tried");
    }
    assert_eq!(proven.len(), 4, "{proven:?}");
}
