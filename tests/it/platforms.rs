//! Platforms around workloads: serving stacks, queues, shared devices, claims, batch kinds and
//! node pools. Upstream manifests and live objects, their inventory, and changes that stick.

use idleproof::inventory::remedy::{Answer, FractionWish, TierWish, Wish};
use idleproof::model::workload::WorkloadId;
use serde_json::{Value, json};

use crate::fleet::{
    answers, asked, child, engine, inventory, manifest, node, pod, there_and_back, workload,
    workloads_text,
};

fn id(kind: &str, namespace: &str, name: &str) -> WorkloadId {
    WorkloadId {
        cluster: "prod-a".to_owned(),
        namespace: namespace.to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
    }
}

fn tier(labels: &[(&str, &str)], instance_type: Option<&str>) -> Wish {
    Wish {
        tier: Some(TierWish {
            node_selector: labels
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            instance_type: instance_type.map(str::to_owned),
        }),
        ..Wish::default()
    }
}

fn mig(profile: &str) -> Wish {
    Wish {
        fraction: Some(FractionWish {
            resource: Some(format!("nvidia.com/mig-{profile}")),
            units: 1,
            ..FractionWish::default()
        }),
        ..Wish::default()
    }
}

fn zero() -> Wish {
    Wish {
        zero: true,
        ..Wish::default()
    }
}

fn by_kind<'b>(bodies: &'b [Value], kind: &str) -> &'b Value {
    bodies.iter().find(|body| body["kind"] == kind).unwrap()
}

/// The inventory and all remedies of the one workload of a manifest.
fn told(bodies: &[Value], of: &Value) -> String {
    let found = inventory(bodies);
    format!("{}---\n{}", workloads_text(&found), answers(bodies, of))
}

#[test]
fn production_stack_runtimes() {
    let bodies = manifest("vllmruntime-autoscaling.yaml", "default");
    let mut out = workloads_text(&inventory(&bodies));
    for body in &bodies {
        out.push_str(&format!("--- {}\n", body["metadata"]["name"]));
        out.push_str(&answers(&bodies, body));
    }
    insta::assert_snapshot!(out);
}

#[test]
fn production_stack_by_chart() {
    let mut body = engine("vllm-llama3-deployment-vllm", "default");
    body["metadata"]["annotations"] = json!({"meta.helm.sh/release-name": "vllm",
        "meta.helm.sh/release-namespace": "default"});
    body["metadata"]["labels"] = json!({"model": "llama3", "helm-release-name": "vllm"});
    let bodies = [body.clone()];
    let row = workload(&inventory(&bodies), "vllm-llama3-deployment-vllm").clone();
    assert_eq!(row.serving_system.as_deref(), Some("production-stack"));
    let found = asked(
        &bodies,
        &id("deployment.apps", "default", &row.workload_name),
        &zero(),
    );
    assert!(
        found[0]
            .warnings
            .iter()
            .any(|w| w.contains("modelSpec[name=llama3]"))
    );
    assert_eq!(
        found[0].change().unwrap().managed_by.as_deref(),
        Some("Helm release default/vllm")
    );
}

#[test]
fn a_live_runtime_is_read_through_its_deployment() {
    let runtime = &manifest("vllmruntime-autoscaling.yaml", "chat")[2];
    let deployment = child(engine("vllmruntime-autoscaling-sample", "chat"), runtime);
    let set = child(
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": "vllmruntime-autoscaling-sample-7d9fb6c5d4"}, "spec": {}}),
        &deployment,
    );
    let spec = &deployment["spec"]["template"]["spec"];
    let mut spec = spec.clone();
    spec["nodeName"] = json!("gpu-1");
    let pod = pod(
        "vllmruntime-autoscaling-sample-7d9fb6c5d4-x",
        &set,
        &json!({}),
        &spec,
    );
    let found = inventory(&[
        runtime.clone(),
        deployment,
        set,
        pod,
        node("gpu-1", "v1.35.0"),
    ]);
    // All stretches of time are of the one resource.
    assert!(
        found
            .workloads
            .iter()
            .all(|row| row.workload_kind == "vllmruntime.production-stack.vllm.ai")
    );
    let row = found.workloads.last().unwrap();
    assert_eq!(row.workload_kind, "vllmruntime.production-stack.vllm.ai");
    assert_eq!(row.gpu_product.as_deref(), Some("H100-SXM-80"));
    assert_eq!(
        row.model.as_deref(),
        Some("meta-llama/Llama-3.1-8B-Instruct")
    );
    let hops: Value = serde_json::from_str(&row.owner_chain_json).unwrap();
    assert_eq!(hops.as_array().unwrap().len(), 3);
}

#[test]
fn hyperpod_endpoints() {
    let bodies = manifest("inferenceendpointconfig-s3.yaml", "default");
    insta::assert_snapshot!(told(&bodies, &bodies[0]));
}

#[test]
fn hyperpod_scaling_and_jump_start() {
    let mut endpoint = manifest("inferenceendpointconfig-s3.yaml", "default").remove(0);
    endpoint["spec"]["autoScalingSpec"] = json!({"minReplicaCount": 1, "maxReplicaCount": 4,
        "cloudWatchTrigger": {"metricName": "Invocations", "namespace": "AWS/SageMaker",
            "targetValue": 10, "activationTargetValue": 1}});
    let model = json!({"apiVersion": "inference.sagemaker.aws.amazon.com/v1", "kind": "JumpStartModel",
        "metadata": {"name": "js", "namespace": "ns-team-a"},
        "spec": {"model": {"modelId": "deepseek-llm-r1-distill-qwen-1-5b", "acceptEula": true},
            "server": {"instanceType": "ml.g5.8xlarge"}, "replicas": 2}});
    let bodies = [endpoint.clone(), model.clone()];
    let found = inventory(&bodies);
    let row = workload(&found, "deepseeks3");
    assert_eq!((row.min_replicas, row.max_replicas), (Some(1), Some(4)));
    assert_eq!(
        row.autoscaler.as_deref(),
        Some("inferenceendpointconfig.inference.sagemaker.aws.amazon.com/deepseeks3")
    );
    let out = format!(
        "{}---\n{}",
        answers(&bodies, &endpoint),
        answers(&bodies, &model)
    );
    insta::assert_snapshot!(out);
}

#[test]
fn kai_fractions() {
    let bodies = manifest("pod-gpu-fraction.yaml", "default");
    let found = inventory(&bodies);
    assert_eq!(found.pods[0].gpu_resource.as_deref(), Some("gpu-fraction"));
    insta::assert_snapshot!(told(&bodies, &bodies[0]));
}

#[test]
fn kai_fractions_of_a_deployment_are_annotations() {
    let mut body = engine("llama", "chat");
    body["spec"]["template"]["spec"]["schedulerName"] = json!("kai-scheduler");
    let bodies = [body.clone()];
    let wish = Wish {
        fraction: Some(FractionWish {
            share_milli: Some(250),
            ..FractionWish::default()
        }),
        ..Wish::default()
    };
    let found = asked(&bodies, &id("deployment.apps", "chat", "llama"), &wish);
    let patched = there_and_back(&bodies, &found[0]).unwrap();
    let template = &patched["spec"]["template"];
    assert_eq!(template["metadata"]["annotations"]["gpu-fraction"], "0.25");
    assert_eq!(
        template["spec"]["containers"][0]["resources"]["limits"],
        json!({"cpu": "8"})
    );
    // What is so asked is what is then read.
    let row = workload(&inventory(&[patched]), "llama").clone();
    assert_eq!(row.gpu_milli_per_replica, 250);
    assert_eq!(row.serving_system.as_deref(), Some("kai"));
}

#[test]
fn run_ai_keeps_its_workloads_itself() {
    let body = json!({"apiVersion": "run.ai/v2alpha1", "kind": "InferenceWorkload",
        "metadata": {"name": "llama", "namespace": "runai-search"}, "spec": {
            "minScale": {"value": 0}, "maxScale": {"value": 3}, "gpu": {"value": "0.5"},
            "image": {"value": "vllm/vllm-openai"}}});
    let bodies = [body.clone()];
    insta::assert_snapshot!(told(&bodies, &body));
}

#[test]
fn hami_virtual_gpus() {
    let bodies = manifest("dynamic-mig-pod.yaml", "default");
    insta::assert_snapshot!(told(&bodies, &bodies[0]));
}

#[test]
fn kueue_queue_over_hami() {
    let bodies = manifest("kueue-hami-deployment.yaml", "default");
    insta::assert_snapshot!(told(&bodies, by_kind(&bodies, "Deployment")));
}

#[test]
fn kueue_moves_a_tier_to_another_queue() {
    let mut bodies = manifest("kueue-hami-deployment.yaml", "default");
    let deployment = bodies.remove(4);
    let mut plain = engine("llama", "kueue-test");
    plain["metadata"]["labels"] = deployment["metadata"]["labels"].clone();
    let flavor = json!({"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "ResourceFlavor",
        "metadata": {"name": "l40s"}, "spec": {"nodeLabels": {"gpu": "l40s"}}});
    let cluster = json!({"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "ClusterQueue",
        "metadata": {"name": "small"}, "spec": {"resourceGroups": [{"coveredResources": ["nvidia.com/gpu"],
            "flavors": [{"name": "l40s", "resources": [{"name": "nvidia.com/gpu", "nominalQuota": 4}]}]}]}});
    let local = json!({"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "LocalQueue",
        "metadata": {"name": "small-queue", "namespace": "kueue-test"}, "spec": {"clusterQueue": "small"}});
    bodies.extend([plain, flavor, cluster, local]);
    let llama = id("deployment.apps", "kueue-test", "llama");
    let found = asked(&bodies, &llama, &tier(&[("gpu", "l40s")], None));
    let patched = there_and_back(&bodies, &found[0]).unwrap();
    assert_eq!(
        patched["metadata"]["labels"]["kueue.x-k8s.io/queue-name"],
        "small-queue"
    );
    assert!(
        asked(&bodies, &llama, &tier(&[("gpu", "b200")], None))[0]
            .change()
            .is_none()
    );
    // No quota covers the part of a GPU.
    assert!(
        asked(&bodies, &llama, &mig("1g.10gb"))[0]
            .change()
            .is_none()
    );
}

#[test]
fn a_queued_job_is_evicted_through_its_workload() {
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "train",
            "namespace": "kueue-test", "uid": "u", "labels": {"kueue.x-k8s.io/queue-name": "user-queue"}},
        "spec": {"parallelism": 2, "suspend": false, "template": {"spec": {"containers": [{"name": "main",
            "image": "torch", "command": ["torchrun"], "resources": {"limits": {"nvidia.com/gpu": 4}}}]}}}});
    let admitted = child(
        json!({"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "Workload",
            "metadata": {"name": "job-train-1"}, "spec": {"active": true}}),
        &job,
    );
    let mut bodies = manifest("kueue-hami-deployment.yaml", "default");
    bodies.extend([job.clone(), admitted]);
    let row = workload(&inventory(&bodies), "train").clone();
    assert_eq!(
        (row.workload_class.as_str(), row.gpu_milli_per_replica),
        ("training", 4000)
    );
    insta::assert_snapshot!(answers(&bodies, &job));
}

#[test]
fn devices_by_claim() {
    let bodies = manifest("dra-mig-deployment.yaml", "default");
    insta::assert_snapshot!(told(&bodies, by_kind(&bodies, "Deployment")));
}

#[test]
fn a_claim_moves_to_another_template() {
    let template = |name: &str, class: &str, cel: &str| {
        json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate",
            "metadata": {"name": name, "namespace": "chat"}, "spec": {"spec": {"devices": {"requests": [
                {"name": "gpu", "exactly": {"deviceClassName": class, "count": 2,
                    "selectors": [{"cel": {"expression": cel}}]}}]}}}})
    };
    let mut body = engine("llama", "chat");
    let spec = &mut body["spec"]["template"]["spec"];
    spec["resourceClaims"] = json!([{"name": "gpu", "resourceClaimTemplateName": "h100"}]);
    spec["containers"][0]["resources"] = json!({"claims": [{"name": "gpu"}]});
    let bodies = [
        body,
        template(
            "h100",
            "gpu.nvidia.com",
            "device.attributes['gpu.nvidia.com'].productName == 'NVIDIA H100'",
        ),
        template(
            "l40s",
            "gpu.nvidia.com",
            "device.attributes['gpu.nvidia.com'].productName == 'NVIDIA L40S'",
        ),
        template(
            "part",
            "mig.nvidia.com",
            "device.attributes['gpu.nvidia.com'].profile == '1g.10gb'",
        ),
    ];
    let row = workload(&inventory(&bodies), "llama").clone();
    assert_eq!(row.gpu_milli_per_replica, 2000);
    let llama = id("deployment.apps", "chat", "llama");
    for (wish, name) in [
        (
            tier(&[("nvidia.com/gpu.product", "NVIDIA L40S")], None),
            "l40s",
        ),
        (mig("1g.10gb"), "part"),
    ] {
        let found = asked(&bodies, &llama, &wish);
        let patched = there_and_back(&bodies, &found[0]).unwrap();
        assert_eq!(
            patched["spec"]["template"]["spec"]["resourceClaims"][0]["resourceClaimTemplateName"],
            name
        );
    }
    let none = asked(&bodies, &llama, &mig("3g.40gb"));
    assert!(
        matches!(&none[0].answer, Answer::NotPossible { because } if because.contains("immutable"))
    );
}

#[test]
fn knative_services() {
    let body = json!({"apiVersion": "serving.knative.dev/v1", "kind": "Service",
        "metadata": {"name": "llama", "namespace": "chat"}, "spec": {"template": {
            "metadata": {"annotations": {"autoscaling.knative.dev/minScale": "1"}},
            "spec": {"containers": [{"name": "main", "image": "vllm/vllm-openai",
                "args": ["--model", "meta-llama/Llama-3.1-8B-Instruct"],
                "resources": {"limits": {"nvidia.com/gpu": "1"}}}]}}}});
    let bodies = [body.clone()];
    insta::assert_snapshot!(told(&bodies, &body));
    let web = json!({"apiVersion": "serving.knative.dev/v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop"}, "spec": {"template": {"spec": {
            "containers": [{"name": "main", "image": "nginx"}]}}}});
    // What neither holds a GPU nor serves a model is no workload of ours.
    assert!(inventory(&[web]).workloads.is_empty());
}

#[test]
fn rollouts_and_sets_of_jobs() {
    let mut rollout = engine("llama", "chat");
    rollout["apiVersion"] = json!("argoproj.io/v1alpha1");
    rollout["kind"] = json!("Rollout");
    let referring = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "qwen", "namespace": "chat"}, "spec": {"replicas": 3,
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "qwen-template"}}});
    let mut template = engine("qwen-template", "chat");
    template["spec"]["replicas"] = json!(0);
    let job_set = json!({"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet",
        "metadata": {"name": "pretrain", "namespace": "chat"}, "spec": {"replicatedJobs": [
            {"name": "workers", "replicas": 2, "template": {"spec": {"parallelism": 4, "template": {"spec": {
                "containers": [{"name": "w", "resources": {"limits": {"nvidia.com/gpu": 8}}}]}}}}}]}});
    let bodies = [
        rollout.clone(),
        referring.clone(),
        template,
        job_set.clone(),
    ];
    let found = inventory(&bodies);
    assert_eq!(workload(&found, "llama").gpu_milli_per_replica, 1000);
    let qwen = workload(&found, "qwen");
    assert_eq!((qwen.replicas, qwen.gpu_milli_per_replica), (Some(3), 1000));
    let set = workload(&found, "pretrain");
    assert_eq!(
        (
            set.workload_class.as_str(),
            set.replicas,
            set.gpu_milli_per_replica
        ),
        ("training", Some(1), 64_000)
    );
    let mut out = String::new();
    for body in [&rollout, &referring, &job_set] {
        out.push_str(&format!("--- {}\n", body["metadata"]["name"]));
        out.push_str(&answers(&bodies, body));
    }
    insta::assert_snapshot!(out);
}

#[test]
fn kubeflow_roles_are_one_run() {
    let role = |replicas: i64| {
        json!({"replicas": replicas, "template": {"spec": {"containers": [
            {"name": "pytorch", "resources": {"limits": {"nvidia.com/gpu": 8}}}]}}})
    };
    let job = json!({"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob",
        "metadata": {"name": "sft", "namespace": "chat", "uid": "u"},
        "spec": {"pytorchReplicaSpecs": {"Master": role(1), "Worker": role(3)}}});
    let spec = &job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"];
    let mut spec = spec.clone();
    spec["nodeName"] = json!("gpu-1");
    let master = pod("sft-master-0", &job, &json!({}), &spec);
    let bodies = [job, master, node("gpu-1", "v1.35.0")];
    let row = workload(&inventory(&bodies), "sft").clone();
    assert_eq!(row.workload_class, "training");
    assert_eq!(row.role.as_deref(), Some("master+worker"));
    let found = asked(
        &bodies,
        &id("pytorchjob.kubeflow.org", "chat", "sft"),
        &zero(),
    );
    let patched = there_and_back(&bodies, &found[0]).unwrap();
    assert_eq!(patched["spec"]["runPolicy"]["suspend"], true);
}

#[test]
fn a_change_of_a_field_that_a_controller_owns_says_whose_it_is() {
    let mut body = engine("llama", "chat");
    body["metadata"]["managedFields"] = json!([{"manager": "kube-controller-manager",
        "operation": "Update", "subresource": "scale", "time": "2026-11-02T00:00:00Z",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]);
    let found = asked(&[body], &id("deployment.apps", "chat", "llama"), &zero());
    assert!(
        found[0]
            .warnings
            .iter()
            .any(|w| w.contains("kube-controller-manager"))
    );
}

#[test]
fn karpenter_pools() {
    let bodies = manifest("nodepool-spot.yaml", "");
    let pool = by_kind(&bodies, "NodePool");
    insta::assert_snapshot!(answers(&bodies, pool));
    let of = id("nodepool.karpenter.sh", "", "spot");
    let found = asked(&bodies, &of, &tier(&[], Some("g6.2xlarge")));
    let patched = there_and_back(&bodies, &found[0]).unwrap();
    let requirements = patched["spec"]["template"]["spec"]["requirements"].to_string();
    assert!(requirements.contains("g6.2xlarge") && !requirements.contains("instance-category"));
    assert!(requirements.contains("karpenter.sh/capacity-type"));
    // A static pool has a number of its own.
    let mut fixed = pool.clone();
    fixed["spec"]["replicas"] = json!(4);
    let bodies = [fixed];
    let found = asked(&bodies, &of, &zero());
    assert_eq!(
        there_and_back(&bodies, &found[0]).unwrap()["spec"]["replicas"],
        0
    );
}

#[test]
fn coreweave_pools_and_nodes() {
    let pool = json!({"apiVersion": "compute.coreweave.com/v1alpha1", "kind": "NodePool",
        "metadata": {"name": "h100"}, "spec": {"instanceType": "gd-8xh100ib-i128", "targetNodes": 6,
            "minNodes": 2, "maxNodes": 8, "autoscaling": true}});
    let mut machine = node("g0a1", "v1.35.0");
    machine["metadata"]["labels"]["node.coreweave.cloud/type"] = json!("gd-8xh100ib-i128");
    let plain = node("n", "v1.35.0");
    let bodies = [pool.clone(), machine.clone(), plain.clone()];
    let mut out = String::new();
    for body in [&pool, &machine, &plain] {
        out.push_str(&format!("--- {}\n", body["metadata"]["name"]));
        out.push_str(&answers(&bodies, body));
    }
    insta::assert_snapshot!(out);
}

/// The objects' own kind, and the edits of the one change of an action, as pointer and value.
fn edits(bodies: &[Value], of: &WorkloadId, wish: &Wish) -> Vec<(String, Value)> {
    let found = asked(bodies, of, wish);
    let change = found
        .iter()
        .find_map(|remedy| remedy.change())
        .unwrap_or_else(|| panic!("{found:#?}"));
    there_and_back(bodies, &found[0]);
    serde_json::to_value(&change.patch)
        .unwrap()
        .as_array()
        .unwrap()
        .iter()
        .filter(|step| step["op"] != "test")
        .map(|step| {
            let path = step["path"].as_str().unwrap().to_owned();
            (path, step["value"].clone())
        })
        .collect()
}

fn part(share_milli: i64, memory_mib: i64) -> Wish {
    Wish {
        fraction: Some(FractionWish {
            share_milli: Some(share_milli),
            memory_mib: Some(memory_mib),
            ..FractionWish::default()
        }),
        ..Wish::default()
    }
}

/// A graph with one worker whose pods go to KAI's scheduler.
fn graph(version: &str) -> Value {
    let container = json!({"name": "main", "args": ["--model", "Qwen/Qwen3-0.6B"],
        "resources": {"limits": {"nvidia.com/gpu": "1"}}});
    let spec = if version == "v1beta1" {
        json!({"components": [{"name": "decode", "type": "decode", "replicas": 1, "podTemplate": {
            "spec": {"schedulerName": "kai-scheduler", "containers": [container]}}}]})
    } else {
        json!({"services": {"Decode": {"componentType": "worker", "replicas": 1, "extraPodSpec": {
            "schedulerName": "kai-scheduler", "mainContainer": container}}}})
    };
    json!({"apiVersion": format!("nvidia.com/{version}"), "kind": "DynamoGraphDeployment",
        "metadata": {"name": "graph", "namespace": "chat"}, "spec": spec})
}

#[test]
fn a_fraction_of_kai_is_written_into_the_pod_templates_of_any_kind() {
    let of = id("dynamographdeployment.nvidia.com", "chat", "graph");
    assert_eq!(
        edits(&[graph("v1beta1")], &of, &part(250, 0)),
        [
            (
                "/spec/components/0/podTemplate/metadata".to_owned(),
                json!({"annotations": {"gpu-fraction": "0.25"}})
            ),
            (
                "/spec/components/0/podTemplate/spec/containers/0/resources/limits/nvidia.com~1gpu"
                    .to_owned(),
                Value::Null
            ),
        ]
    );
    assert_eq!(
        edits(&[graph("v1alpha1")], &of, &part(250, 0))[0],
        (
            "/spec/services/Decode/extraPodMetadata".to_owned(),
            json!({"annotations": {"gpu-fraction": "0.25"}})
        )
    );
    // The annotations of an LLMInferenceService are those of its pods.
    let service = json!({"apiVersion": "serving.kserve.io/v1alpha2", "kind": "LLMInferenceService",
        "metadata": {"name": "llm", "namespace": "chat"}, "spec": {"model": {"uri": "hf://Qwen/Qwen3-32B"},
            "labels": {"kai.scheduler/queue": "team"}, "template": {"containers": [{"name": "main",
                "resources": {"limits": {"nvidia.com/gpu": "1"}}}]}}});
    let of = id("llminferenceservice.serving.kserve.io", "chat", "llm");
    assert_eq!(
        edits(std::slice::from_ref(&service), &of, &part(500, 0))[0],
        (
            "/spec/annotations".to_owned(),
            json!({"gpu-fraction": "0.5"})
        )
    );
    // Several GPUs together are no part of one.
    let mut whole = service;
    whole["spec"]["template"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] =
        json!("2");
    let found = asked(std::slice::from_ref(&whole), &of, &part(500, 0));
    assert!(
        matches!(&found[0].answer, Answer::NotPossible { because } if because.contains("2 GPUs"))
    );
    // Every group of workers of a Ray cluster that holds GPUs.
    let mut cluster = json!({"apiVersion": "ray.io/v1", "kind": "RayCluster",
        "metadata": {"name": "ray", "namespace": "chat"}, "spec": {"workerGroupSpecs": [
            {"groupName": "cpu", "template": {"spec": {"containers": [{"name": "w"}]}}},
            {"groupName": "gpu", "template": {"metadata": {"labels": {"kai.scheduler/queue": "team"}},
                "spec": {"containers": [{"name": "w", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]}}}]}});
    cluster["spec"]["headGroupSpec"] = json!({"template": {"spec": {"containers": []}}});
    let of = id("raycluster.ray.io", "chat", "ray");
    assert_eq!(
        edits(&[cluster], &of, &part(500, 0))[0].0,
        "/spec/workerGroupSpecs/1/template/metadata/annotations"
    );
}

#[test]
fn hami_sizes_its_parts_in_any_kind() {
    let sized = json!({"limits": {"nvidia.com/gpu": "1", "nvidia.com/gpumem": "10000"}});
    let service = json!({"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService",
        "metadata": {"name": "isvc", "namespace": "chat"}, "spec": {"predictor": {"model": {
            "modelFormat": {"name": "huggingface"}, "storageUri": "hf://Qwen/Qwen3-32B", "resources": sized}}}});
    let of = id("inferenceservice.serving.kserve.io", "chat", "isvc");
    let bodies = [service];
    assert_eq!(
        edits(&bodies, &of, &part(300, 20_000)),
        [
            (
                "/spec/predictor/model/resources/limits/nvidia.com~1gpumem".to_owned(),
                json!("20000")
            ),
            (
                "/spec/predictor/model/resources/limits/nvidia.com~1gpucores".to_owned(),
                json!("30")
            ),
        ]
    );
    assert_eq!(
        edits(
            &bodies,
            &of,
            &tier(&[("nvidia.com/gpu.product", "L40S")], None)
        ),
        [(
            "/spec/predictor/annotations".to_owned(),
            json!({"nvidia.com/use-gputype": "L40S"})
        )]
    );
    // No field of the endpoint gives annotations to its pods.
    let mut endpoint = manifest("inferenceendpointconfig-s3.yaml", "default").remove(0);
    endpoint["spec"]["worker"]["resources"] = sized;
    let of = id(
        "inferenceendpointconfig.inference.sagemaker.aws.amazon.com",
        endpoint["metadata"]["namespace"].as_str().unwrap(),
        endpoint["metadata"]["name"].as_str().unwrap(),
    );
    let wish = tier(&[("nvidia.com/gpu.product", "L40S")], Some("ml.g6e.xlarge"));
    let found = asked(&[endpoint], &of, &wish);
    assert!(
        matches!(&found[0].answer, Answer::NotPossible { because } if because.contains("no field")),
        "{found:#?}"
    );
}

#[test]
fn memory_of_hami_alone_is_a_part_where_the_card_is_known() {
    let mut body = engine("llama", "chat");
    let spec = &mut body["spec"]["template"]["spec"];
    spec["containers"][0]["resources"] =
        json!({"limits": {"nvidia.com/gpu": "1", "nvidia.com/gpumem": "8192"}});
    let milli = |bodies: &[Value]| {
        let found = inventory(bodies);
        workload(&found, "llama").gpu_milli_per_replica
    };
    // Of an unknown card it is a virtual GPU, and no more is known.
    assert_eq!(milli(&[body.clone()]), 1000);
    let register = |memory: i64| {
        let mut node = node(&format!("gpu-{memory}"), "v1.35.0");
        let one = |n: i64| format!("GPU-{memory}-{n},10,{memory},100,NVIDIA-H100,0,true:");
        node["metadata"]["annotations"] =
            json!({"hami.io/node-nvidia-register": format!("{}{}", one(0), one(1))});
        node
    };
    assert_eq!(milli(&[body.clone(), register(81_920)]), 100);
    // Two sizes of cards in the cluster: which one it will be is not known.
    assert_eq!(
        milli(&[body.clone(), register(81_920), register(24_576)]),
        1000
    );
    // Its own selector says which.
    body["spec"]["template"]["spec"]["nodeSelector"] =
        json!({"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"});
    assert_eq!(milli(&[body, register(81_920), register(24_576)]), 100);
}

#[test]
fn claims_and_queues_lie_over_any_kind() {
    let template = |name: &str, product: &str| {
        json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate",
            "metadata": {"name": name, "namespace": "chat"}, "spec": {"spec": {"devices": {"requests": [
                {"name": "gpu", "exactly": {"deviceClassName": "gpu.nvidia.com", "selectors": [{"cel": {
                    "expression": format!("device.attributes['gpu.nvidia.com'].productName == '{product}'")}}]}}]}}}})
    };
    let mut graph = graph("v1beta1");
    let spec = &mut graph["spec"]["components"][0]["podTemplate"]["spec"];
    spec["schedulerName"] = json!("default-scheduler");
    spec["resourceClaims"] = json!([{"name": "gpu", "resourceClaimTemplateName": "h100"}]);
    spec["containers"][0]["resources"] = json!({"claims": [{"name": "gpu"}]});
    let bodies = [
        graph,
        template("h100", "NVIDIA H100"),
        template("l40s", "NVIDIA L40S"),
    ];
    let of = id("dynamographdeployment.nvidia.com", "chat", "graph");
    let wish = tier(&[("nvidia.com/gpu.product", "NVIDIA L40S")], None);
    assert_eq!(
        edits(&bodies, &of, &wish),
        [(
            "/spec/components/0/podTemplate/spec/resourceClaims/0/resourceClaimTemplateName"
                .to_owned(),
            json!("l40s")
        )]
    );

    // A queue of Kueue over a set of groups: another queue is another tier, and zero is its own field.
    let mut bodies = manifest("kueue-hami-deployment.yaml", "default");
    bodies.retain(|body| body["kind"] != "Deployment");
    let set = json!({"apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet",
        "metadata": {"name": "lws", "namespace": "kueue-test",
            "labels": {"kueue.x-k8s.io/queue-name": "user-queue"}},
        "spec": {"replicas": 2, "leaderWorkerTemplate": {"size": 2, "workerTemplate": {"spec": {
            "containers": [{"name": "main", "resources": {"limits": {"nvidia.com/gpu": "8"}}}]}}}}});
    let flavor = json!({"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "ResourceFlavor",
        "metadata": {"name": "l40s"}, "spec": {"nodeLabels": {"gpu": "l40s"}}});
    let cluster = json!({"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "ClusterQueue",
        "metadata": {"name": "small"}, "spec": {"resourceGroups": [{"coveredResources": ["nvidia.com/gpu"],
            "flavors": [{"name": "l40s", "resources": [{"name": "nvidia.com/gpu", "nominalQuota": 4}]}]}]}});
    let local = json!({"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "LocalQueue",
        "metadata": {"name": "small-queue", "namespace": "kueue-test"}, "spec": {"clusterQueue": "small"}});
    bodies.extend([set, flavor, cluster, local]);
    let of = id(
        "leaderworkerset.leaderworkerset.x-k8s.io",
        "kueue-test",
        "lws",
    );
    assert_eq!(
        edits(&bodies, &of, &tier(&[("gpu", "l40s")], None)),
        [(
            "/metadata/labels/kueue.x-k8s.io~1queue-name".to_owned(),
            json!("small-queue")
        )]
    );
    assert_eq!(
        edits(&bodies, &of, &zero()),
        [("/spec/replicas".to_owned(), json!(0))]
    );
}

#[test]
fn what_run_ai_3_keeps_is_named_by_its_engine_and_changed_by_its_tool() {
    let runner = json!({"apiVersion": "run.ai/v1", "kind": "WorkloadRunner",
        "metadata": {"name": "llama", "namespace": "runai-search", "uid": "u"}, "spec": {}});
    let spec = json!({"nodeName": "gpu-1", "containers": [{"name": "main", "image": "vllm/vllm-openai",
        "args": ["--model", "meta-llama/Llama-3.1-8B-Instruct"],
        "resources": {"limits": {"nvidia.com/gpu": "1"}}}]});
    let pod = pod("llama-0", &runner, &json!({}), &spec);
    let bodies = [runner, pod, node("gpu-1", "v1.35.0")];
    let found = inventory(&bodies);
    let row = workload(&found, "llama");
    assert_eq!(
        (
            row.workload_kind.as_str(),
            row.workload_class.as_str(),
            row.serving_system.as_deref(),
            row.model.as_deref(),
            row.gpu_milli_per_replica,
        ),
        (
            "workloadrunner.run.ai",
            "serving",
            Some("run:ai"),
            Some("meta-llama/Llama-3.1-8B-Instruct"),
            1000
        )
    );
    let of = id("workloadrunner.run.ai", "runai-search", "llama");
    let found = asked(&bodies, &of, &zero());
    assert!(
        matches!(&found[0].answer, Answer::NotPossible { because }
            if because.contains("runai workload update llama -p search")),
        "{found:#?}"
    );
}

#[test]
fn virtual_gpus_of_a_guest_are_said_to_be_parts() {
    let mut guest = node("guest", "v1.35.0");
    guest["metadata"]["labels"]["nvidia.com/vgpu.present"] = json!("true");
    let found = inventory(&[guest, node("host", "v1.35.0")]);
    let told: Vec<&str> = found
        .data_quality
        .iter()
        .filter(|row| row.check_id == "gpu-virtual")
        .map(|row| row.name.as_str())
        .collect();
    assert_eq!(told, ["guest"]);
}
