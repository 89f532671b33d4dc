"""Owns the control layers: pod names, chains of owners, and the objects that stand above pods.

A hop is (kind, apiVersion, plural, name). Written from upstream CRDs and documentation.
"""

from .plan import uid, word

TOP_KIND = {
    "deployment": "deployment.apps", "llm-d": "deployment.apps", "kai": "deployment.apps",
    "kueue": "deployment.apps", "production-stack": "vllmruntime.production-stack.vllm.ai",
    "statefulset": "statefulset.apps", "kserve": "inferenceservice.serving.kserve.io",
    "llmisvc": "llminferenceservice.serving.kserve.io", "knative": "service.serving.knative.dev",
    "kaito": "workspace.kaito.sh", "lws": "leaderworkerset.leaderworkerset.x-k8s.io",
    "ray": "rayservice.ray.io", "nim": "nimservice.apps.nvidia.com",
    "dynamo": "dynamographdeployment.nvidia.com", "job": "job.batch",
}
COMPONENT = {"prefill": "VllmPrefillWorker", "decode": "VllmDecodeWorker", None: "VllmWorker"}


def deployment_name(s, role=None):
    return {"kserve": f"{s.name}-predictor", "llmisvc": f"{s.name}-kserve", "knative": f"{s.name}-00001-deployment",
            "production-stack": f"{s.name}-deployment-vllm",
            "dynamo": f"{s.name}-{COMPONENT[role].lower()}"}.get(s.layer, s.name)


def template_hash(s, role=None):
    return word(9, s.fleet.seed, s.ns, s.name, "rs", role)


def ray_cluster(s):
    return f"{s.name}-raycluster-{word(5, s.fleet.seed, s.name, 'ray')}"


def pod_name(s, index, k, role):
    """The name of a pod and the hop that controls it."""
    tail = word(5, s.fleet.seed, s.ns, s.name, index, k, role)
    if s.layer == "job":
        return f"{s.name}-{tail}", ("Job", "batch/v1", "jobs", s.name)
    if s.layer in ("kaito", "statefulset"):
        # A stateful set gives a name again; these services do not scale.
        return f"{s.name}-{index}", ("StatefulSet", "apps/v1", "statefulsets", s.name)
    if s.layer == "lws":
        if k == 0:
            return f"{s.name}-{index}", ("StatefulSet", "apps/v1", "statefulsets", s.name)
        return f"{s.name}-{index}-{k}", ("StatefulSet", "apps/v1", "statefulsets", f"{s.name}-{index}")
    if s.layer == "ray":
        return f"{ray_cluster(s)}-gpu-worker-{tail}", ("RayCluster", "ray.io/v1", "rayclusters", ray_cluster(s))
    rs = f"{deployment_name(s, role)}-{template_hash(s, role)}"
    return f"{rs}-{tail}", ("ReplicaSet", "apps/v1", "replicasets", rs)


def parent(s, role=None):
    """What owns the Deployment, StatefulSet or cluster, if anything."""
    return {
        "kserve": ("InferenceService", "serving.kserve.io/v1beta1", "inferenceservices", s.name),
        "llmisvc": ("LLMInferenceService", "serving.kserve.io/v1alpha2", "llminferenceservices", s.name),
        "knative": ("Revision", "serving.knative.dev/v1", "revisions", f"{s.name}-00001"),
        "production-stack": ("VLLMRuntime", "production-stack.vllm.ai/v1alpha1", "vllmruntimes", s.name),
        "nim": ("NIMService", "apps.nvidia.com/v1alpha1", "nimservices", s.name),
        "kaito": ("Workspace", "kaito.sh/v1beta1", "workspaces", s.name),
        "lws": ("LeaderWorkerSet", "leaderworkerset.x-k8s.io/v1", "leaderworkersets", s.name),
        "ray": ("RayService", "ray.io/v1", "rayservices", s.name),
        "dynamo": ("DynamoComponentDeployment", "nvidia.com/v1beta1", "dynamocomponentdeployments",
                   deployment_name(s, role) if s.layer == "dynamo" else ""),
    }.get(s.layer)


def container_name(s):
    return {"kserve": "kserve-container", "knative": "user-container", "ray": "ray-worker", "job": "trainer",
            "lws": "vllm-leader", "nim": f"{s.name}-ctr"}.get(s.layer, "main")


def pod_labels(s, pod):
    labels = {"app": deployment_name(s, pod.role), "team": s.ns}
    if pod.owner[0] == "ReplicaSet":
        labels["pod-template-hash"] = template_hash(s, pod.role)
    if s.layer == "kserve":
        labels.update({"serving.kserve.io/inferenceservice": s.name, "component": "predictor"})
    elif s.layer == "llmisvc":
        labels.update({"app.kubernetes.io/name": s.name, "app.kubernetes.io/part-of": "llminferenceservice",
                       "kserve.io/component": "workload", "llm-d.ai/role": "both"})
    elif s.layer == "knative":
        labels.update({"serving.knative.dev/service": s.name, "serving.knative.dev/revision": f"{s.name}-00001",
                       "serving.knative.dev/configuration": s.name})
    elif s.layer == "lws":
        labels.update({"leaderworkerset.sigs.k8s.io/name": s.name,
                       "leaderworkerset.sigs.k8s.io/group-index": str(pod.group),
                       "leaderworkerset.sigs.k8s.io/worker-index": "0" if pod.leader else "1"})
    elif s.layer == "kaito":
        labels["kaito.sh/workspace"] = s.name
    elif s.layer == "ray":
        labels.update({"ray.io/cluster": ray_cluster(s), "ray.io/group": "gpu", "ray.io/node-type": "worker",
                       "ray.io/originated-from-cr-name": s.name, "ray.io/originated-from-crd": "RayService"})
    elif s.layer == "nim":
        labels["app.kubernetes.io/part-of"] = "nim-service"
    elif s.layer == "llm-d":
        labels.update({"llm-d.ai/model": s.name, "llm-d.ai/role": "both"})
    elif s.layer == "dynamo":
        labels.update({"nvidia.com/dynamo-graph-deployment-name": s.name,
                       "nvidia.com/dynamo-component": COMPONENT[pod.role],
                       "nvidia.com/dynamo-component-type": pod.role or "worker",
                       "nvidia.com/dynamo-namespace": f"{s.ns}-{s.name}"})
    elif s.layer == "kueue":
        labels["kueue.x-k8s.io/queue-name"] = "gpu-queue"
    elif s.layer == "job":
        labels["batch.kubernetes.io/job-name"] = s.name
    elif s.layer == "kai":
        labels.update({"kai.scheduler/queue": s.ns, "runai-gpu-group": gpu_group(pod)})
    return labels


def gpu_group(pod):
    return uid("gpu-group", pod.node.name)


def arguments(s):
    if not s.model:
        return []
    path = {"sglang": "--model-path", None: "--model"}.get(s.exporter, "--model")
    out = [f"{path}={s.model.name}", f"--max-model-len={s.model.max_len}"]
    if s.gpus * s.pods_per_replica > 1:
        out.append(f"--tensor-parallel-size={s.gpus * s.pods_per_replica}")
    if s.speed and s.speed.max_seqs != 128:
        out.append(f"--max-num-seqs={s.speed.max_seqs}")
    return out


def gpu_resource(s):
    if s.layer == "kai":
        return None
    if s.pool.mig:
        return f"nvidia.com/mig-{s.part}"
    return "nvidia.com/gpu"


def spec_of(s, template):
    """The object above everything, as its own CRD says; None for chains that end at a workload."""
    low = s.bounds.low if s.bounds else s.initial
    high = s.bounds.high if s.bounds else s.initial
    limits = {gpu_resource(s): str(s.gpus)} if gpu_resource(s) else {}
    if s.layer == "kserve":
        return {"predictor": {"minReplicas": low, "maxReplicas": high, "model": {
            "modelFormat": {"name": "huggingface"}, "args": arguments(s), "storageUri": f"hf://{s.model.name}",
            "resources": {"limits": limits}}}}
    if s.layer == "llmisvc":
        return {"model": {"uri": f"hf://{s.model.name}", "name": s.model.name}, "replicas": s.initial,
                "template": template["spec"]}
    if s.layer == "production-stack":
        return {"model": {"modelURL": s.model.name}, "deploymentConfig": {
            "replicas": s.initial, "resources": {"gpu": str(s.gpus), "gpuType": "nvidia.com/gpu"}}}
    if s.layer == "nim":
        return {"image": {"repository": "nvcr.io/nim/" + s.model.name.lower(), "tag": "1.12.0"},
                "replicas": s.initial, "resources": {"limits": limits},
                "env": [{"name": "NIM_MODEL_NAME", "value": s.model.name}]}
    if s.layer == "lws":
        worker = {"spec": template["spec"]}
        return {"replicas": s.initial, "leaderWorkerTemplate": {
            "size": s.pods_per_replica, "leaderTemplate": template, "workerTemplate": worker}}
    if s.layer == "ray":
        config = ("applications:\n- name: llms\n  import_path: ray.serve.llm:build_openai_app\n  args:\n    llm_configs:\n"
                  f"    - model_loading_config:\n        model_id: {s.model.name}\n        model_source: {s.model.name}\n"
                  f"      engine_kwargs:\n        max_model_len: {s.model.max_len}\n        tensor_parallel_size: {s.gpus}\n"
                  f"      deployment_config:\n        autoscaling_config:\n          min_replicas: {low}\n"
                  f"          max_replicas: {high}\n")
        return {"serveConfigV2": config, "rayClusterConfig": ray_spec(s, template)}
    if s.layer == "knative":
        return {"template": {"metadata": {"annotations": {
            "autoscaling.knative.dev/min-scale": str(low), "autoscaling.knative.dev/max-scale": str(high),
            "autoscaling.knative.dev/target": str(int(s.bounds.target)) if s.bounds else "10"}},
            "spec": template["spec"]}}
    return None


def ray_spec(s, template):
    return {"rayVersion": "2.52.0", "headGroupSpec": {"rayStartParams": {"num-gpus": "0"}, "template": {"spec": {
        "containers": [{"name": "ray-head", "image": "rayproject/ray-llm:2.52.0"}]}}},
        "workerGroupSpecs": [{"groupName": "gpu", "replicas": s.initial, "minReplicas": s.initial,
                              "maxReplicas": s.bounds.high if s.bounds else s.initial, "numOfHosts": 1,
                              "rayStartParams": {}, "template": {"spec": template["spec"]}}]}
