"""Owns the Kubernetes snapshots: lists as `kubectl get -o json --show-managed-fields` writes them."""

import json
import time

from . import layers
from .plan import uid

IMAGES = {"vllm": "vllm/vllm-openai:v0.19.1", "sglang": "lmsysorg/sglang:v0.5.4", "nim": "nvcr.io/nim/meta/llm:1.12",
          "trtllm": "nvcr.io/nvidia/tensorrt-llm/release:1.2.0", None: "registry.example.com/own/server:3"}


def rfc3339(t):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(t)))


class Snapshot:
    def __init__(self, fleet, now):
        self.fleet, self.now, self.lists = fleet, now, {}

    def put(self, plural, hop, ns, created, owner=None, spec=None, status=None, labels=None, annotations=None,
            changed=None, manager="kubectl", **top):
        kind, api, name = hop
        meta = {"name": name, "uid": top.pop("uid", None) or uid(self.fleet.seed, kind, ns, name),
                "creationTimestamp": rfc3339(created), "generation": 1,
                "resourceVersion": str(int((changed or created) - 1.7e9) + len(name)),
                "managedFields": [{"manager": manager, "operation": "Update", "apiVersion": api, "fieldsType": "FieldsV1",
                                   "time": rfc3339(changed or created), "fieldsV1": {"f:spec": {}}}]}
        if ns:
            meta["namespace"] = ns
        if labels:
            meta["labels"] = labels
        if annotations:
            meta["annotations"] = annotations
        if owner:
            okind, oapi, _, oname = owner
            meta["ownerReferences"] = [{"apiVersion": oapi, "kind": okind, "name": oname, "controller": True,
                                        "blockOwnerDeletion": True, "uid": uid(self.fleet.seed, okind, ns, oname)}]
        body = {"apiVersion": api, "kind": kind, "metadata": meta}
        if spec is not None:
            body["spec"] = spec
        if status is not None:
            body["status"] = status
        body.update(top)
        self.lists.setdefault(plural, []).append(body)

    def nodes(self):
        for node in self.fleet.nodes:
            if not node.created <= self.now < node.ended:
                continue
            self.put("nodes", ("Node", "v1", node.name), None, node.created, labels=node_labels(self.fleet, node),
                     spec={"providerID": provider_id(self.fleet, node)}, changed=self.now - 20, manager="kubelet",
                     status={"capacity": amounts(node), "allocatable": amounts(node),
                             "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady",
                                             "lastTransitionTime": rfc3339(node.created + 30)}],
                             "addresses": [{"type": "InternalIP", "address": node.ip},
                                           {"type": "Hostname", "address": node.name}],
                             "nodeInfo": {"kubeletVersion": "v1.34.1", "operatingSystem": "linux", "architecture": "amd64"}})

    def template(self, s, pod=None):
        container = {"name": layers.container_name(s), "image": IMAGES.get("nim" if s.layer == "nim" else s.exporter, IMAGES["vllm"]),
                     "args": layers.arguments(s)}
        if s.exporter in ("vllm", None) and s.model and not s.job and s.layer not in ("kserve", "nim"):
            container["command"] = ["python3", "-m", "vllm.entrypoints.openai.api_server"]
        if s.exporter == "sglang":
            container["command"] = ["python3", "-m", "sglang.launch_server"]
        if s.job:
            container["args"], container["command"] = ["--epochs=3"], ["python3", "train.py"]
        if pod is not None and not pod.leader:
            container.update(name="vllm-worker", args=[], command=["ray", "start", "--block"])
        if not s.job:
            container["ports"] = [{"name": "http", "containerPort": 8000}]
            container["readinessProbe"] = {"httpGet": {"path": "/health", "port": 8000}, "periodSeconds": 10}
        requests, limits = {"cpu": str(s.cpu[0]), "memory": "12Gi"}, {"memory": "24Gi"}
        if s.cpu[1]:
            limits["cpu"] = str(s.cpu[1])
        resource = layers.gpu_resource(s)
        if resource:
            requests[resource] = limits[resource] = str(s.gpus)
        container["resources"] = {"requests": requests, "limits": limits}
        if s.roles != [None] and pod is not None:
            container["args"] = container["args"] + ["--disaggregation-mode", pod.role]
        spec = {"containers": [container], "restartPolicy": "Never" if s.job else "Always",
                "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]}
        if s.layer == "kai":
            spec["schedulerName"] = "kai-scheduler"
        meta = {"labels": {"app": layers.deployment_name(s)}}
        if s.layer == "kai":
            meta["annotations"] = {"gpu-fraction": f"{s.share[0] / s.share[1]:g}"}
        return {"metadata": meta, "spec": spec}

    def pods(self, s):
        for pod in s.pods:
            gone = pod.ended + (3600 if s.job else 0)
            if not pod.created <= self.now < gone:
                continue
            ready, done = pod.is_ready(self.now), pod.ended <= self.now
            spec = dict(self.template(s, pod)["spec"])
            if self.now >= pod.scheduled:
                spec["nodeName"] = pod.node.name
            restarts = [x for x in pod.restarts if x[0] <= self.now]
            moved = max([x for x in (pod.scheduled, pod.ready, *(b for _, b in restarts)) if x <= self.now],
                        default=pod.created)
            state = ({"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": rfc3339(pod.ended)}} if done else
                     {"waiting": {"reason": "CrashLoopBackOff"}} if s.crash_loop else
                     {"running": {"startedAt": rfc3339(restarts[-1][1] if restarts else pod.scheduled + 20)}})
            status = {"phase": "Succeeded" if done else "Running" if self.now >= pod.scheduled + 25 else "Pending",
                      "podIP": pod.ip, "hostIP": pod.node.ip, "startTime": rfc3339(pod.scheduled),
                      "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": rfc3339(pod.scheduled)},
                                     {"type": "Ready", "status": "True" if ready else "False",
                                      "lastTransitionTime": rfc3339(moved)}],
                      "containerStatuses": [{"name": spec["containers"][0]["name"], "ready": ready, "started": True,
                                             "image": spec["containers"][0]["image"], "state": state,
                                             "restartCount": restart_count(s, pod, self.now)}]}
            annotations = {"gpu-fraction": f"{s.share[0] / s.share[1]:g}"} if s.layer == "kai" else None
            self.put("pods", ("Pod", "v1", pod.name), s.ns, pod.created, pod.owner, spec, status,
                     layers.pod_labels(s, pod), annotations, moved, "kubelet", uid=pod.uid)

    def controllers(self, s):
        live = [p for p in s.pods if p.created <= self.now < p.ended]
        ready = sum(p.is_ready(self.now) for p in live)
        if s.job:
            if s.created <= self.now < s.pods[0].ended + 3600:
                self.put("jobs", ("Job", "batch/v1", s.name), s.ns, s.pods[0].created, spec={
                    "parallelism": 1, "completions": 1, "template": self.template(s)}, status={"active": len(live)})
            return
        up = layers.parent(s)
        if s.layer in ("statefulset", "kaito", "lws"):
            count = sum(p.leader for p in live)
            self.put("statefulsets", ("StatefulSet", "apps/v1", s.name), s.ns, s.created, up, {
                "replicas": count, "selector": {"matchLabels": {"app": s.name}}, "template": self.template(s)},
                {"replicas": count, "readyReplicas": ready})
            if s.layer == "lws":
                for p in live:
                    if p.leader:
                        self.put("statefulsets", ("StatefulSet", "apps/v1", p.name), s.ns, s.created,
                                 ("Pod", "v1", "pods", p.name), {"replicas": s.pods_per_replica - 1,
                                                                 "selector": {"matchLabels": {"app": s.name}},
                                                                 "template": self.template(s)}, {"replicas": 1})
                        # A pod's uid is its own; the reference must carry it.
                        body = self.lists["statefulsets"][-1]
                        body["metadata"]["ownerReferences"][0]["uid"] = p.uid
        elif s.layer == "ray":
            self.put("rayclusters", ("RayCluster", "ray.io/v1", layers.ray_cluster(s)), s.ns, s.created, up,
                     layers.ray_spec(s, self.template(s)), {"state": "ready", "readyWorkerReplicas": ready})
        else:
            for role in s.roles:
                name = layers.deployment_name(s, role)
                mine = [p for p in live if p.role == role]
                count = len(mine)
                rs = f"{name}-{layers.template_hash(s, role)}"
                labels = {"app": name, "pod-template-hash": layers.template_hash(s, role)}
                self.put("replicasets", ("ReplicaSet", "apps/v1", rs), s.ns, s.created,
                         ("Deployment", "apps/v1", "deployments", name),
                         {"replicas": count, "selector": {"matchLabels": {"app": name}}, "template": self.template(s)},
                         {"replicas": count, "readyReplicas": ready}, labels, manager="kube-controller-manager")
                self.put("deployments", ("Deployment", "apps/v1", name), s.ns, s.created, layers.parent(s, role),
                         {"replicas": count, "selector": {"matchLabels": {"app": name}}, "template": self.template(s)},
                         {"replicas": count, "readyReplicas": ready}, {"app": name})
                if s.layer == "dynamo":
                    self.put("dynamocomponentdeployments", ("DynamoComponentDeployment", "nvidia.com/v1beta1", name), s.ns,
                             s.created, ("DynamoGraphDeployment", "nvidia.com/v1beta1", "", s.name),
                             self.component(s, role), {"conditions": []},
                             {"nvidia.com/dynamo-graph-deployment-name": s.name})
        self.top(s, live)
        self.service(s, live)

    def component(self, s, role):
        return {"name": layers.COMPONENT[role], "type": role or "worker", "replicas": 1,
                "podTemplate": {"spec": self.template(s)["spec"]}}

    def top(self, s, live):
        spec = layers.spec_of(s, self.template(s))
        up = layers.parent(s)
        if s.layer == "dynamo":
            self.put("dynamographdeployments", ("DynamoGraphDeployment", "nvidia.com/v1beta1", s.name), s.ns, s.created,
                     None, {"components": [self.component(s, r) for r in s.roles]}, {"state": "successful"})
        elif s.layer == "kaito":
            self.put("workspaces", ("Workspace", "kaito.sh/v1beta1", s.name), s.ns, s.created,
                     resource={"instanceType": s.pool.instance.name, "count": 1,
                               "labelSelector": {"matchLabels": {"apps": s.name}}},
                     inference={"template": {"spec": self.template(s)["spec"]}})
        elif s.layer == "knative":
            svc = ("Service", "serving.knative.dev/v1", "services", s.name)
            self.put("knativeservices", (svc[0], svc[1], s.name), s.ns, s.created, None, spec,
                     {"traffic": [{"revisionName": f"{s.name}-00001", "percent": 100}]})
            self.put("configurations", ("Configuration", svc[1], s.name), s.ns, s.created, svc, spec)
            self.put("revisions", ("Revision", svc[1], f"{s.name}-00001"), s.ns, s.created,
                     ("Configuration", svc[1], "", s.name), spec["template"]["spec"])
        elif spec is not None and up:
            self.put(up[2], (up[0], up[1], s.name), s.ns, s.created, None, spec,
                     {"conditions": [{"type": "Ready", "status": "True"}]})
        if s.layer == "llm-d":
            self.put("inferencepools", ("InferencePool", "inference.networking.k8s.io/v1", f"{s.name}-pool"), s.ns,
                     s.created, None, {"selector": {"matchLabels": {"llm-d.ai/model": s.name}},
                                       "targetPorts": [{"number": 8000}], "endpointPickerRef": {"name": f"{s.name}-epp"}})
        if not s.bounds or s.bounds.kind == "knative":
            return
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": layers.deployment_name(s)}
        b, count = s.bounds, len(live)
        owner = None
        name = s.name
        if b.kind == "keda":
            name, owner = f"keda-hpa-{s.name}", ("ScaledObject", "keda.sh/v1alpha1", "", s.name)
            self.put("scaledobjects", ("ScaledObject", "keda.sh/v1alpha1", s.name), s.ns, s.created, None, {
                "scaleTargetRef": {"name": target["name"]}, "minReplicaCount": b.low, "maxReplicaCount": b.high,
                "cooldownPeriod": int(b.cooldown), "pollingInterval": 30, "triggers": [{"type": "prometheus", "metadata": {
                    "serverAddress": "http://prometheus.monitoring:9090", "threshold": f"{b.target:g}",
                    "query": f'sum(gateway_inflight{{service="{s.name}",namespace="{s.ns}"}})'}}]},
                {"conditions": [{"type": "Ready", "status": "True"}]})
        self.put("horizontalpodautoscalers", ("HorizontalPodAutoscaler", "autoscaling/v2", name), s.ns, s.created, owner, {
            "scaleTargetRef": target, "minReplicas": max(1, b.low), "maxReplicas": b.high,
            "metrics": [{"type": "Pods", "pods": {"metric": {"name": "inflight_requests"}, "target": {
                "type": "AverageValue", "averageValue": f"{b.target:g}"}}}]},
            {"currentReplicas": count, "desiredReplicas": count,
             "conditions": [{"type": "ScalingActive", "status": "True" if count else "False"}]})

    def service(self, s, live):
        if s.layer == "knative":
            return
        name = layers.deployment_name(s, s.roles[0])
        self.put("services", ("Service", "v1", name), s.ns, s.created, None, {
            "type": "ClusterIP", "selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8000}]})
        self.put("endpointslices", ("EndpointSlice", "discovery.k8s.io/v1", f"{name}-q7m2x"), s.ns, s.created,
                 ("Service", "v1", "services", name), labels={"kubernetes.io/service-name": name}, addressType="IPv4",
                 ports=[{"name": "http", "port": 8000}], endpoints=[
                     {"addresses": [p.ip], "nodeName": p.node.name, "conditions": {"ready": p.is_ready(self.now)},
                      "targetRef": {"kind": "Pod", "namespace": s.ns, "name": p.name, "uid": p.uid}} for p in live])

    def reservations(self):
        """KAI holds a shared device by a pod of its own; the sharing pods request no GPU."""
        for pool in self.fleet.pools:
            if not pool.fraction:
                continue
            for node in pool.nodes:
                mates = [p for p in pool.pods if p.node is node and p.created <= self.now < p.ended]
                if not mates:
                    continue
                name = reservation_name(self.fleet, node)
                created = min(p.created for p in mates)
                self.put("pods", ("Pod", "v1", name), "kai-resource-reservation", created, None, {
                    "nodeName": node.name, "containers": [{"name": "resource-reservation", "image": "ghcr.io/kai/reservation:v0.9",
                        "resources": {"requests": {"nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "1"}}}]},
                    {"phase": "Running", "startTime": rfc3339(created),
                     "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(created + 5)}],
                     "containerStatuses": [{"name": "resource-reservation", "ready": True, "restartCount": 0,
                                            "state": {"running": {"startedAt": rfc3339(created + 3)}}}]},
                    {"app": "kai-resource-reservation", "runai-gpu-group": layers.gpu_group(mates[0])},
                    {"run.ai/reserve_for_gpu_index": "0"},
                    uid=uid(self.fleet.seed, "reservation", node.name))

    def build(self):
        for plural in ("pods", "nodes", "deployments", "replicasets", "statefulsets", "jobs", "services",
                       "endpointslices", "horizontalpodautoscalers", "scaledobjects", "poddisruptionbudgets"):
            self.lists[plural] = []
        self.nodes()
        spaces = sorted({s.ns for s in self.fleet.services} | {"kube-system"})
        for ns in spaces:
            self.put("namespaces", ("Namespace", "v1", ns), None, self.fleet.start - 9 * 86400,
                     labels={"kubernetes.io/metadata.name": ns, "team": ns}, status={"phase": "Active"})
        for s in self.fleet.services:
            if s.created <= self.now:
                self.pods(s)
                self.controllers(s)
        self.reservations()
        return self.lists


def reservation_name(fleet, node):
    return f"gpu-reservation-{node.name.split('.')[0][-12:]}-{uid(fleet.seed, 'res', node.name)[:5]}"


def restart_count(s, pod, t):
    if s.crash_loop:
        return int((t - pod.scheduled) // 320)
    return sum(1 for a, _ in pod.restarts if a <= t)


def amounts(node):
    i = node.instance
    out = {"cpu": str(i.vcpu), "memory": f"{i.mem_gib * 2**20}Ki", "pods": "110"}
    if node.mig:
        out["nvidia.com/gpu"] = "0"
        for _, profile, _ in node.mig:
            key = f"nvidia.com/mig-{profile}"
            out[key] = str(int(out.get(key, "0")) + 1)
    else:
        out["nvidia.com/gpu"] = str(i.gpus * node.sharing)
    return out


def node_labels(fleet, node):
    i, gpu = node.instance, node.gpu
    labels = {"kubernetes.io/hostname": node.name, "node.kubernetes.io/instance-type": i.name,
              "topology.kubernetes.io/region": fleet.region, "topology.kubernetes.io/zone": fleet.region + (
                  "a" if fleet.provider == "aws" else "-1"),
              "nvidia.com/gpu.product": gpu.label + ("-SHARED" if node.sharing > 1 else ""),
              "nvidia.com/gpu.count": str(i.gpus), "nvidia.com/gpu.memory": str(gpu.mib),
              "nvidia.com/gpu.replicas": str(node.sharing),
              "nvidia.com/gpu.sharing-strategy": "time-slicing" if node.sharing > 1 else "none"}
    if fleet.provider == "aws":
        labels["karpenter.sh/capacity-type"] = "on-demand"
        labels["karpenter.sh/nodepool"] = "gpu-elastic" if node.elastic else "gpu"
    else:
        labels["kubernetes.azure.com/agentpool"] = "gpu"
    if node.mig:
        labels["nvidia.com/mig.strategy"] = "mixed"
        labels["nvidia.com/mig.capable"] = "true"
        for profile in sorted({m[1] for m in node.mig}):
            labels[f"nvidia.com/mig-{profile}.count"] = str(sum(m[1] == profile for m in node.mig))
    return labels


def provider_id(fleet, node):
    if fleet.provider == "aws":
        return f"aws:///{fleet.region}a/i-{uid(fleet.seed, node.name).replace('-', '')[:17]}"
    return (f"azure:///subscriptions/0000/resourceGroups/mc/providers/Microsoft.Compute/virtualMachineScaleSets/"
            f"{node.name.rsplit('-', 1)[0]}/virtualMachines/{int(node.name[-6:])}")


def write_snapshots(fleet, folder, moments):
    for now in moments:
        out = folder / rfc3339(now).replace(":", "-")
        out.mkdir(parents=True, exist_ok=True)
        for plural, items in Snapshot(fleet, now).build().items():
            (out / f"{plural}.json").write_text(json.dumps(
                {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items}))
