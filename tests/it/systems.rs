//! Serving systems: what every upstream manifest declares, how each change of it is written, and
//! chains as a live cluster has them, from pod to the object that a change must go to.

use std::path::PathBuf;

use idleproof::inventory::input::{Inputs, ObjectVersion};
use idleproof::inventory::remedy::{Action, Answer, Remedy, Wish};
use idleproof::inventory::{declared, remedies, systems};
use idleproof::model::TimeWindow;
use idleproof::model::workload::{WorkloadId, kind_of};
use serde::Deserialize as _;
use serde_json::{Value, json};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn documents(name: &str) -> Vec<Value> {
    let path = root().join("tests/fixtures/k8s").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    serde_yaml_ng::Deserializer::from_str(&text)
        .filter_map(|document| {
            let mut body = Value::deserialize(document).ok()?;
            body.pointer("/metadata/name")?;
            if body.pointer("/metadata/namespace").is_none()
                && body["kind"] != "ClusterServingRuntime"
            {
                body["metadata"]["namespace"] = json!("default");
            }
            Some(body)
        })
        .collect()
}

pub(crate) fn inputs(bodies: &[Value]) -> Inputs {
    let text = |body: &Value, path: &str| {
        body.pointer(path)
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_owned()
    };
    let mut inputs = Inputs::empty("prod-a", TimeWindow::new(0, 86_400_000));
    inputs.objects = bodies
        .iter()
        .map(|body| ObjectVersion {
            api_version: text(body, "/apiVersion"),
            kind: text(body, "/kind"),
            namespace: text(body, "/metadata/namespace"),
            name: text(body, "/metadata/name"),
            uid: None,
            json: body.to_string().into(),
            seen_from_ms: 1_000,
            seen_to_ms: 1_000,
        })
        .collect();
    inputs
}

pub(crate) fn id_of(body: &Value) -> WorkloadId {
    let text = |path: &str| body.pointer(path).and_then(Value::as_str).unwrap_or("");
    WorkloadId {
        cluster: "prod-a".to_owned(),
        namespace: text("/metadata/namespace").to_owned(),
        kind: kind_of(text("/apiVersion"), text("/kind")),
        name: text("/metadata/name").to_owned(),
    }
}

pub(crate) fn of_kind<'b>(bodies: &'b [Value], kind: &str) -> &'b Value {
    bodies.iter().find(|body| body["kind"] == kind).unwrap()
}

/// The remedies of a workload; every change is applied and undone on the object that it names.
fn checked(bodies: &[Value], workload: &Value, wish: &Wish) -> Vec<Remedy> {
    let found = remedies(&inputs(bodies), &id_of(workload), wish);
    for change in found.iter().filter_map(Remedy::change) {
        let body = bodies
            .iter()
            .find(|body| {
                let id = id_of(body);
                (id.kind, id.namespace, id.name)
                    == (
                        change.target.kind.clone(),
                        change.target.namespace.clone(),
                        change.target.name.clone(),
                    )
            })
            .unwrap();
        assert_eq!(body["apiVersion"], json!(change.target.api_version));
        let mut live = body.clone();
        json_patch::patch(&mut live, &change.patch).unwrap();
        assert_ne!(&live, body, "{change:?}");
        json_patch::patch(&mut live, &change.inverse).unwrap();
        assert_eq!(&live, body);
        assert!(!change.verify.is_empty(), "{change:?}");
    }
    // Every asked action has an answer.
    for action in wish.actions() {
        assert!(
            found.iter().any(|remedy| remedy.action == action),
            "{action:?}"
        );
    }
    found
}

fn shown(value: impl serde::Serialize) -> String {
    serde_json::to_string_pretty(&value).unwrap()
}

/// File, kind of the workload in it, files of what belongs to it.
pub(crate) const MANIFESTS: &[(&str, &str, &[&str])] = &[
    ("baseline-deployment.yaml", "Deployment", &[]),
    ("isvc-hf-storageuri.yaml", "InferenceService", &[]),
    ("llmisvc-pd.yaml", "LLMInferenceService", &[]),
    ("llmisvc-managed-dra.yaml", "LLMInferenceService", &[]),
    (
        "dgd-disagg-planner.yaml",
        "DynamoGraphDeployment",
        &["dgdr-planner.yaml"],
    ),
    ("workspace-llama-70b.yaml", "Workspace", &[]),
    ("inferenceset-mig-mixed.yaml", "InferenceSet", &[]),
    ("lws-vllm-405b.yaml", "LeaderWorkerSet", &[]),
    ("disaggregatedset.yaml", "DisaggregatedSet", &[]),
    ("rayservice-llm-serve.yaml", "RayService", &[]),
    ("nimservice-multinode.yaml", "NIMService", &[]),
];

/// Kinds between a pod and its root: version and kind.
type Hops<'a> = &'a [(&'a str, &'a str)];

#[test]
fn every_manifest_has_its_exact_inventory() {
    for (name, kind, beside) in MANIFESTS {
        let mut bodies = documents(name);
        bodies.extend(beside.iter().flat_map(|name| documents(name)));
        let found = declared(&inputs(&bodies), &id_of(of_kind(&bodies, kind))).unwrap();
        let title = format!("declared-{}", name.trim_end_matches(".yaml"));
        insta::assert_snapshot!(title, shown(found));
    }
}

#[test]
fn every_manifest_has_its_exact_changes() {
    for (name, kind, beside) in MANIFESTS {
        let mut bodies = documents(name);
        bodies.extend(beside.iter().flat_map(|name| documents(name)));
        let found = checked(
            &bodies,
            of_kind(&bodies, kind),
            &Wish::survey("NVIDIA-L40S"),
        );
        let title = format!("remedies-{}", name.trim_end_matches(".yaml"));
        insta::assert_snapshot!(title, shown(found));
    }
}

/// The edits of the first change of an action, without its tests.
fn edits(found: &[Remedy], action: Action) -> Vec<(String, String, Value)> {
    let change = found
        .iter()
        .filter(|remedy| remedy.action == action)
        .find_map(Remedy::change)
        .unwrap_or_else(|| panic!("no change: {found:#?}"));
    let patch = serde_json::to_value(&change.patch).unwrap();
    patch
        .as_array()
        .unwrap()
        .iter()
        .filter(|op| op["op"] != "test")
        .map(|op| {
            (
                format!("{}/{}", change.target.kind, change.target.name),
                op["path"].as_str().unwrap().to_owned(),
                op["value"].clone(),
            )
        })
        .collect()
}

fn because(found: &[Remedy], action: Action) -> String {
    found
        .iter()
        .filter(|remedy| remedy.action == action)
        .find_map(|remedy| match &remedy.answer {
            Answer::NotPossible { because } => Some(because.clone()),
            Answer::Change(_) => None,
        })
        .unwrap_or_else(|| panic!("{found:#?}"))
}

fn only_zero() -> Wish {
    Wish {
        zero: true,
        ..Wish::default()
    }
}

fn survey() -> Wish {
    Wish::survey("NVIDIA-L40S")
}

fn one(found: &[Remedy], action: Action) -> (String, String, Value) {
    let all = edits(found, action);
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

#[test]
fn an_inference_service_stops_as_its_class_allows() {
    let mut bodies = documents("isvc-hf-storageuri.yaml");
    let at = "inferenceservice.serving.kserve.io/huggingface-llama2".to_owned();
    let stop = (
        at.clone(),
        "/metadata/annotations".to_owned(),
        json!({"serving.kserve.io/stop": "true"}),
    );
    assert_eq!(
        one(&checked(&bodies, &bodies[0], &only_zero()), Action::Zero),
        stop
    );
    bodies[0]["metadata"]["annotations"] = json!({"serving.kserve.io/autoscalerClass": "keda"});
    assert_eq!(
        one(&checked(&bodies, &bodies[0], &only_zero()), Action::Zero),
        (at, "/spec/predictor/minReplicas".to_owned(), json!(0))
    );
    // A shared runtime's GPU is nobody's own to change.
    let mut runtime = documents("clusterservingruntime-hf-multinode.yaml");
    runtime[0]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = json!("1");
    bodies[0]["spec"]["predictor"]["model"]["runtime"] =
        json!("kserve-huggingfaceserver-multinode");
    bodies[0]["spec"]["predictor"]["model"]["resources"] = json!({});
    bodies.extend(runtime);
    let found = checked(&bodies, &bodies[0], &survey());
    assert!(because(&found, Action::Fraction).contains("every service on it shares"));
    let parts = declared(&inputs(&bodies), &id_of(&bodies[0]))
        .unwrap()
        .parts;
    assert_eq!(parts[0].gpus_per_pod, 1);
}

#[test]
fn both_versions_of_an_llm_service_scale_at_their_scaling() {
    let mut body = documents("llmisvc-pd.yaml").remove(0);
    body["spec"].as_object_mut().unwrap().remove("prefill");
    body["spec"].as_object_mut().unwrap().remove("replicas");
    for version in ["serving.kserve.io/v1alpha1", "serving.kserve.io/v1alpha2"] {
        body["apiVersion"] = json!(version);
        body["spec"]["scaling"] = json!({"maxReplicas": 4, "wva": {"keda": {}}});
        let found = checked(std::slice::from_ref(&body), &body, &survey());
        let zero: Vec<String> = edits(&found, Action::Zero)
            .into_iter()
            .map(|e| e.1)
            .collect();
        assert_eq!(
            zero,
            [
                "/spec/scaling/minReplicas",
                "/spec/scaling/wva/keda/idleReplicaCount"
            ]
        );
        body["spec"]["scaling"] = json!({"minReplicas": 3, "maxReplicas": 4, "wva": {"hpa": {}}});
        let found = checked(std::slice::from_ref(&body), &body, &survey());
        assert_eq!(
            one(&found, Action::Zero).1,
            "/metadata/annotations/serving.kserve.io~1stop"
        );
        let bounds: Vec<Value> = edits(&found, Action::Bounds)
            .into_iter()
            .map(|e| e.2)
            .collect();
        assert_eq!(bounds, [json!(1), json!(2)]);
    }
}

#[test]
fn a_dynamo_graph_changes_where_its_replicas_are_owned() {
    // v1alpha1, with a scaling adapter on one of two workers.
    let graph = json!({
        "apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeployment",
        "metadata": {"name": "g", "namespace": "chat"},
        "spec": {"services": {
            "Frontend": {"componentType": "frontend", "replicas": 1},
            "Decode": {"componentType": "worker", "subComponentType": "decode", "replicas": 3,
                "scalingAdapter": {"enabled": true}, "resources": {"limits": {"gpu": "1"}},
                "extraPodSpec": {"mainContainer": {"args": ["--model", "Qwen/Qwen3-0.6B"]}}},
            "Prefill": {"componentType": "worker", "subComponentType": "prefill", "replicas": 2,
                "resources": {"limits": {"gpu": "1"}}, "extraPodSpec": {}}}}
    });
    let adapter = json!({
        "apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeploymentScalingAdapter",
        "metadata": {"name": "g-decode", "namespace": "chat"},
        "spec": {"replicas": 3, "dgdRef": {"name": "g", "serviceName": "Decode"}}
    });
    let bodies = [graph.clone(), adapter];
    let found = checked(&bodies, &graph, &survey());
    let places: Vec<String> = found
        .iter()
        .filter(|remedy| matches!(remedy.action, Action::Zero | Action::Bounds))
        .filter_map(Remedy::change)
        .map(|change| {
            let last = change.patch.0.last().unwrap().path().to_string();
            format!("{} {last}", change.target.name)
        })
        .collect();
    // Two prefill workers are within the bounds already; three decode workers are not.
    assert_eq!(
        places,
        [
            "g /spec/services/Prefill/replicas",
            "g-decode /spec/replicas",
            "g-decode /spec/replicas"
        ]
    );
    let fraction = edits(&found, Action::Fraction);
    assert!(
        fraction
            .iter()
            .any(|e| e.1 == "/spec/services/Decode/resources/limits/gpuType")
    );
    let whole = declared(&inputs(&bodies), &id_of(&graph)).unwrap();
    let roles: Vec<_> = whole
        .parts
        .iter()
        .map(|part| part.role.clone().unwrap())
        .collect();
    assert_eq!(roles, ["decode", "prefill"]);
    assert!(
        whole
            .models
            .contains(&"flag --model: Qwen/Qwen3-0.6B".to_owned())
    );
    // Without its adapter in the snapshot, the graph itself may not be edited.
    let found = checked(&bodies[..1], &graph, &only_zero());
    assert!(because(&found, Action::Zero).contains("webhook refuses"));
}

#[test]
fn a_ray_service_changes_beside_its_live_cluster() {
    let mut bodies = documents("rayservice-llm-serve.yaml");
    bodies.retain(|body| body["kind"] == "RayService");
    let mut spec = bodies[0]["spec"]["rayClusterConfig"].clone();
    spec["workerGroupSpecs"][0]["maxReplicas"] = json!(3);
    bodies[0]["status"] = json!({"activeServiceStatus": {"rayClusterName": "ray-serve-llm-x1"}});
    bodies.push(json!({
        "apiVersion": "ray.io/v1", "kind": "RayCluster",
        "metadata": {"name": "ray-serve-llm-x1", "namespace": "default", "ownerReferences": [
            {"apiVersion": "ray.io/v1", "kind": "RayService", "name": "ray-serve-llm", "controller": true}]},
        "spec": spec,
    }));
    let found = checked(&bodies, &bodies[0], &survey());
    let targets: Vec<&str> = found
        .iter()
        .filter(|remedy| remedy.action == Action::Bounds)
        .filter_map(Remedy::change)
        .map(|change| change.target.kind.as_str())
        .collect();
    assert_eq!(targets, ["rayservice.ray.io", "raycluster.ray.io"]);
    assert!(found.iter().any(|remedy| {
        remedy.action == Action::Tier
            && remedy
                .warnings
                .iter()
                .any(|warning| warning.contains("second cluster"))
    }));
    // A job is suspended and cannot be changed otherwise.
    let job = json!({"apiVersion": "ray.io/v1", "kind": "RayJob",
        "metadata": {"name": "j", "namespace": "default"}, "spec": {"rayClusterSpec": {}}});
    let pod = pod("j-head", &[("ray.io/v1", "RayJob", "j")]);
    let found = checked(&[job.clone(), pod], &job, &survey());
    assert_eq!(one(&found, Action::Zero).1, "/spec/suspend");
    assert!(because(&found, Action::Tier).contains("made once"));
}

#[test]
fn sets_of_roles_change_by_their_own_rules() {
    let mut bodies = documents("disaggregatedset.yaml");
    bodies[0]["spec"]["roles"][1]["scaling"] = json!({"mode": "External"});
    bodies.push(json!({
        "apiVersion": "disaggregatedset.x-k8s.io/v1", "kind": "DisaggregatedSetRoleScaler",
        "metadata": {"name": "s", "namespace": "default",
            "labels": {"disaggregatedset.x-k8s.io/role": "decode"},
            "ownerReferences": [{"apiVersion": "disaggregatedset.x-k8s.io/v1",
                "kind": "DisaggregatedSet", "name": "disaggregatedset-sample", "controller": true}]},
        "spec": {"replicas": 5},
    }));
    let found = checked(&bodies, &bodies[0], &only_zero());
    let targets: Vec<String> = found
        .iter()
        .filter_map(Remedy::change)
        .map(|change| format!("{} {}", change.target.kind, change.patch.0.len()))
        .collect();
    assert_eq!(
        targets,
        [
            "disaggregatedset.disaggregatedset.x-k8s.io 2",
            "disaggregatedsetrolescaler.disaggregatedset.x-k8s.io 2"
        ]
    );
    assert_eq!(
        declared(&inputs(&bodies), &id_of(&bodies[0]))
            .unwrap()
            .replicas,
        Some(14)
    );

    let roles = json!({"apiVersion": "kaito.sh/v1alpha1", "kind": "MultiRoleInference",
        "metadata": {"name": "m", "namespace": "default"},
        "spec": {"model": {"name": "phi-4"}, "roles": [
            {"type": "prefill", "replicas": 3, "instanceType": "Standard_NC48ads_A100_v4"},
            {"type": "decode", "replicas": 1, "instanceType": "Standard_NC48ads_A100_v4"}]}});
    let found = checked(std::slice::from_ref(&roles), &roles, &survey());
    assert!(because(&found, Action::Zero).contains("delete"));
    assert_eq!(one(&found, Action::Bounds).1, "/spec/roles/0/replicas");
    let whole = declared(&inputs(std::slice::from_ref(&roles)), &id_of(&roles)).unwrap();
    assert_eq!((whole.replicas, whole.parts[0].gpus_per_pod), (Some(4), 2));
}

#[test]
fn a_nim_service_that_scales_is_taken_off_its_scaler_first() {
    let mut bodies = documents("nimservice-multinode.yaml");
    let at = bodies
        .iter()
        .position(|body| body["kind"] == "NIMService")
        .unwrap();
    bodies[at]["spec"]["scale"] =
        json!({"enabled": true, "hpa": {"minReplicas": 2, "maxReplicas": 5}});
    let found = checked(&bodies, &bodies[at], &survey());
    let zero: Vec<String> = edits(&found, Action::Zero)
        .into_iter()
        .map(|e| e.1)
        .collect();
    assert_eq!(zero, ["/spec/scale/enabled", "/spec/replicas"]);
    let bounds: Vec<Value> = edits(&found, Action::Bounds)
        .into_iter()
        .map(|e| e.2)
        .collect();
    assert_eq!(bounds, [json!(1), json!(2)]);

    let pipeline = json!({"apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMPipeline",
        "metadata": {"name": "p", "namespace": "nim-service"},
        "spec": {"services": [{"name": "llm", "enabled": true, "spec": bodies[at]["spec"]}]}});
    let found = checked(std::slice::from_ref(&pipeline), &pipeline, &only_zero());
    assert_eq!(
        edits(&found, Action::Zero)[1].1,
        "/spec/services/0/spec/replicas"
    );
}

#[test]
fn a_pool_that_selects_pods_makes_them_llm_d() {
    let mut bodies = documents("baseline-deployment.yaml");
    let mut pool = documents("inferencepool-hermetic.yaml").remove(0);
    for selector in [
        json!({"matchLabels": {"app": "baseline"}}),
        json!({"app": "baseline"}),
    ] {
        pool["spec"]["selector"] = selector;
        let all = [bodies.clone(), vec![pool.clone()]].concat();
        let whole = declared(&inputs(&all), &id_of(&bodies[0])).unwrap();
        assert_eq!((whole.system.as_str(), whole.replicas), ("llm-d", Some(16)));
        let found = checked(&all, &bodies[0], &only_zero());
        assert!(
            found[0]
                .warnings
                .iter()
                .any(|warning| warning.contains("vllm-qwen3-32b-pool"))
        );
    }
    // A pool for other pods changes nothing; a variant brings a name.
    pool["spec"]["selector"] = json!({"matchLabels": {"app": "other"}});
    bodies[0]["spec"]["template"]["metadata"]["labels"]["llm-d.ai/role"] = json!("decode");
    let mut variant = documents("variantautoscaling-crd-legacy.yaml").remove(0);
    variant["metadata"]["namespace"] = json!("default");
    variant["spec"]["scaleTargetRef"]["name"] = json!("baseline");
    bodies.extend([pool, variant]);
    let whole = declared(&inputs(&bodies), &id_of(&bodies[0])).unwrap();
    assert_eq!(
        whole.models[0],
        "variantautoscaling.modelID: meta/llama-3.1-70b"
    );
    assert_eq!(whole.parts[0].role.as_deref(), Some("decode"));
    let found = checked(&bodies, &bodies[0], &only_zero());
    assert!(
        found[0]
            .warnings
            .iter()
            .any(|warning| warning.contains("deprecated"))
    );
}

fn owned(api_version: &str, kind: &str, name: &str, owner: Option<(&str, &str, &str)>) -> Value {
    let owners: Vec<Value> = owner
        .into_iter()
        .map(|(api, kind, name)| {
            json!({"apiVersion": api, "kind": kind, "name": name, "uid": name, "controller": true})
        })
        .collect();
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "uid": name,
        "namespace": "default", "resourceVersion": "9", "ownerReferences": owners,
        "creationTimestamp": "1970-01-01T00:00:00Z"}})
}

fn pod(name: &str, owner: &[(&str, &str, &str)]) -> Value {
    let mut pod = owned("v1", "Pod", name, owner.first().copied());
    pod["spec"] = json!({"nodeName": "gpu-1", "containers": [{"name": "main", "image": "vllm",
        "resources": {"limits": {"nvidia.com/gpu": "1"}}}]});
    pod["status"] = json!({"phase": "Running", "startTime": "1970-01-01T00:00:01Z"});
    pod
}

/// Objects between a pod and a root, as each system's controllers make them.
fn chain(kinds: &[(&str, &str)], root: &Value) -> Vec<Value> {
    let id = |body: &Value| {
        let text = |path: &str| body.pointer(path).unwrap().as_str().unwrap().to_owned();
        (text("/apiVersion"), text("/kind"), text("/metadata/name"))
    };
    let mut above = id(root);
    let mut out = Vec::new();
    for (api_version, kind) in kinds {
        let name = format!("{}-{}", above.2, out.len());
        let owner = Some((above.0.as_str(), above.1.as_str(), above.2.as_str()));
        let body = owned(api_version, kind, &name, owner);
        above = id(&body);
        out.push(body);
    }
    out.push(pod("pod-x", &[(&above.0, &above.1, &above.2)]));
    out
}

#[test]
fn live_chains_lead_from_the_pod_to_the_object_that_is_changed() {
    const DEPLOYMENT: &[(&str, &str)] = &[("apps/v1", "Deployment"), ("apps/v1", "ReplicaSet")];
    const SET: &[(&str, &str)] = &[("apps/v1", "StatefulSet")];
    let grove: &[(&str, &str)] = &[
        ("grove.io/v1alpha1", "PodCliqueSet"),
        ("grove.io/v1alpha1", "PodCliqueScalingGroup"),
        ("grove.io/v1alpha1", "PodClique"),
    ];
    let knative: &[(&str, &str)] = &[
        ("serving.knative.dev/v1", "Service"),
        ("serving.knative.dev/v1", "Configuration"),
        ("serving.knative.dev/v1", "Revision"),
        ("apps/v1", "Deployment"),
        ("apps/v1", "ReplicaSet"),
    ];
    let group: &[(&str, &str)] = &[
        ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet"),
        ("apps/v1", "StatefulSet"),
    ];
    let cases: &[(&str, &str, Hops<'_>)] = &[
        ("isvc-hf-storageuri.yaml", "InferenceService", DEPLOYMENT),
        ("isvc-hf-storageuri.yaml", "InferenceService", knative),
        ("llmisvc-pd.yaml", "LLMInferenceService", DEPLOYMENT),
        ("llmisvc-pd.yaml", "LLMInferenceService", group),
        ("dgd-disagg-planner.yaml", "DynamoGraphDeployment", grove),
        ("workspace-llama-70b.yaml", "Workspace", SET),
        (
            "inferenceset-mig-mixed.yaml",
            "InferenceSet",
            &[
                ("kaito.sh/v1beta1", "Workspace"),
                ("apps/v1", "StatefulSet"),
            ],
        ),
        ("disaggregatedset.yaml", "DisaggregatedSet", group),
        (
            "rayservice-llm-serve.yaml",
            "RayService",
            &[("ray.io/v1", "RayCluster")],
        ),
        ("nimservice-multinode.yaml", "NIMService", group),
        (
            "baseline-deployment.yaml",
            "Deployment",
            &[("apps/v1", "ReplicaSet")],
        ),
    ];
    for (name, kind, hops) in cases {
        let mut root = of_kind(&documents(name), kind).clone();
        root["metadata"]["namespace"] = json!("default");
        root["metadata"]["uid"] = json!("root");
        root["metadata"]["annotations"] = json!({"argocd.argoproj.io/tracking-id": "llm"});
        let mut bodies = vec![root.clone()];
        bodies.extend(chain(hops, &root));
        let inputs = inputs(&bodies);
        let fleet = idleproof::inventory::fold(&inputs, &idleproof::inventory::Embedded);
        let found = fleet.pods.iter().find(|pod| pod.pod == "pod-x").unwrap();
        let id = id_of(&root);
        assert_eq!(
            (&found.workload_kind, &found.workload_name),
            (&id.kind, &id.name),
            "{name}"
        );
        let chain: Value = serde_json::from_str(&found.owner_chain_json).unwrap();
        assert_eq!(chain.as_array().unwrap().len(), hops.len() + 1, "{name}");
        for remedy in checked(&bodies, &root, &Wish::survey("NVIDIA-L40S")) {
            let Some(change) = remedy.change() else {
                continue;
            };
            // A Ray service's live cluster is the one that is changed beside its root.
            if change.target.kind != "raycluster.ray.io" {
                assert_eq!(change.target.name, id.name, "{name}");
                assert_eq!(change.managed_by.as_deref(), Some("Argo CD llm"), "{name}");
                assert!(
                    change
                        .preconditions
                        .iter()
                        .any(|seen| seen.path == "/metadata/uid")
                );
            }
        }
    }
}

#[test]
fn an_unknown_kind_is_walked_and_never_an_error() {
    let root = json!({"apiVersion": "example.com/v9", "kind": "Engine",
        "metadata": {"name": "e", "namespace": "default"}, "spec": {"size": 3}});
    let mut bodies = vec![root.clone()];
    bodies.extend(chain(
        &[("apps/v1", "Deployment"), ("apps/v1", "ReplicaSet")],
        &root,
    ));
    let whole = declared(&inputs(&bodies), &id_of(&root)).unwrap();
    assert_eq!(whole.system, "deployment");
    for remedy in checked(&bodies, &root, &survey()) {
        assert!(remedy.change().is_none(), "{remedy:?}");
    }
    // A version that nobody knows yet, and bodies of the wrong shape.
    for (name, kind, _) in MANIFESTS {
        let mut body = of_kind(&documents(name), kind).clone();
        let group = body["apiVersion"]
            .as_str()
            .unwrap()
            .split('/')
            .next()
            .unwrap()
            .to_owned();
        body["apiVersion"] = json!(format!("{group}/v99"));
        for spec in [
            json!(null),
            json!([]),
            json!("x"),
            json!({"template": [1], "roles": 5,
            "services": ["a"], "components": [{"podTemplate": "x"}, 5], "predictor": 1,
            "scaling": {"keda": 1}, "workerGroupSpecs": [{}], "draResources": [{}]}),
        ] {
            body["spec"] = spec;
            let found = remedies(
                &inputs(std::slice::from_ref(&body)),
                &id_of(&body),
                &survey(),
            );
            assert!(!found.is_empty());
            declared(&inputs(std::slice::from_ref(&body)), &id_of(&body)).unwrap();
        }
    }
    let nobody = WorkloadId {
        cluster: "prod-a".into(),
        namespace: "x".into(),
        kind: "deployment.apps".into(),
        name: "y".into(),
    };
    assert!(declared(&inputs(&[]), &nobody).is_none());
    assert!(
        because(&remedies(&inputs(&[]), &nobody, &only_zero()), Action::Zero)
            .contains("no evidence")
    );
}

#[test]
fn every_system_of_note_is_registered() {
    let titles = systems();
    for wanted in [
        "KServe InferenceService",
        "KServe LLMInferenceService",
        "NVIDIA Dynamo",
        "llm-d",
        "KAITO",
        "LeaderWorkerSet",
        "RayService",
        "NIM",
        "Deployment, StatefulSet, Job",
    ] {
        assert!(
            titles.iter().any(|title| title.contains(wanted)),
            "{wanted}: {titles:?}"
        );
    }
}
