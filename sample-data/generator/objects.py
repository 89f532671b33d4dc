"""Owns the Kubernetes snapshots: `kubectl get … -o json --show-managed-fields` lists, by time."""

import json
import shutil

from .clock import at, rfc3339
from .engines import container_name
from .fleet import CLUSTERS, uid
from .labels import node_labels, node_resources, provider_id

SNAPSHOTS = ["2026-10-31T09:00:00Z", "2026-11-05T10:10:00Z", "2026-11-09T03:00:00Z",
             "2026-11-14T16:00:00Z", "2026-11-19T10:10:00Z", "2026-11-22T12:00:00Z"]

IMAGES = {"vllm": "vllm/vllm-openai:v0.21.0", "sglang": "lmsysorg/sglang:v0.5.6",
          "job": "registry.example.com/train/lora:42", None: "registry.example.com/serving/router:1.8"}


class Builder:
    """Objects of one cluster as they were at one moment."""

    def __init__(self, fleet, cluster, now):
        self.fleet, self.cluster, self.now = fleet, cluster, now
        self.lists = {}

    def add(self, plural, obj):
        self.lists.setdefault(plural, []).append(obj)
        return obj

    def meta(self, api, kind, ns, name, created, manager, changed=None, owner=None, **extra):
        """Metadata with the fields' managers; the version changes only when the object does."""
        changed = changed or created
        group = api.split("/")[0]
        meta = {"name": name, "uid": uid(kind, self.cluster, ns, name),
                "resourceVersion": str(1000000 + (changed - 1790000000) * 3 + len(name) % 3),
                "generation": 1, "creationTimestamp": rfc3339(created)}
        if ns:
            meta["namespace"] = ns
        for key, value in extra.items():
            if value:
                meta[key] = value
        if owner:
            okind, oapi, oname = owner
            meta["ownerReferences"] = [{
                "apiVersion": oapi, "kind": okind, "name": oname,
                "uid": uid(okind, self.cluster, ns, oname), "controller": True,
                "blockOwnerDeletion": True}]
        meta["managedFields"] = [{
            "manager": manager, "operation": "Update", "apiVersion": api, "time": rfc3339(changed),
            "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}} if kind in
                                                  ("Deployment", "ReplicaSet") else {}}}]
        return {"apiVersion": api if group != "v1" else "v1", "kind": kind, "metadata": meta}

    # ---- nodes ----------------------------------------------------------------------------

    def node(self, node):
        obj = self.meta("v1", "Node", None, node.name, node.created, "kubelet",
                        self.now - 40, labels=node_labels(node))
        obj["metadata"]["uid"] = node.uid
        amounts = {"cpu": str(node.vcpu), "memory": f"{node.mem_gib * 1024 * 1024}Ki", "pods": "110"}
        amounts.update({k: str(v) for k, v in node_resources(node).items()})
        obj["spec"] = {"providerID": provider_id(node)}
        ready = rfc3339(node.created + 45)
        obj["status"] = {
            "capacity": amounts, "allocatable": amounts,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady",
                            "lastHeartbeatTime": rfc3339(self.now - 40), "lastTransitionTime": ready}],
            "addresses": [{"type": "InternalIP", "address": node.ip},
                          {"type": "Hostname", "address": node.name}],
            "nodeInfo": {"kubeletVersion": "v1.34.2", "architecture": "amd64",
                         "operatingSystem": "linux", "containerRuntimeVersion": "containerd://2.2.1"}}
        self.add("nodes", obj)

    # ---- pods and their controllers ---------------------------------------------------------

    def pod_labels(self, w, component=None):
        labels = {"app": w.deployment_name(component), **w.labels}
        if w.chain == "isvc":
            labels.update({"serving.kserve.io/inferenceservice": w.name, "component": "predictor"})
        if w.chain == "llmisvc":
            labels.update({"app.kubernetes.io/name": w.name,
                           "app.kubernetes.io/part-of": "llminferenceservice",
                           "kserve.io/component": "workload", "llm-d.ai/role": "both"})
        if w.chain == "dynamo":
            kinds = {"VllmPrefillWorker": "prefill", "VllmDecodeWorker": "decode", "Frontend": "frontend"}
            labels.update({"nvidia.com/dynamo-graph-deployment-name": w.name,
                           "nvidia.com/dynamo-component": component,
                           "nvidia.com/dynamo-component-type": kinds[component],
                           "nvidia.com/dynamo-namespace": f"{w.ns}-{w.name}"})
        return labels

    def pod_spec(self, w, component=None):
        container = {"name": container_name(w), "image": IMAGES["job" if w.chain == "job" else w.engine],
                     "args": list(w.args)}
        if component in ("VllmPrefillWorker", "VllmDecodeWorker"):
            container["command"] = ["python3"]
            container["args"] += ["--disaggregation-mode",
                                  "prefill" if component == "VllmPrefillWorker" else "decode"]
        elif w.engine == "vllm" and w.chain != "isvc":
            container["command"] = ["python3", "-m", "vllm.entrypoints.openai.api_server"]
        elif w.engine == "sglang":
            container["command"] = ["python3", "-m", "sglang.launch_server"]
        if w.engine:
            container["ports"] = [{"name": "http", "containerPort": 8000, "protocol": "TCP"}]
            container["readinessProbe"] = {"httpGet": {"path": "/health", "port": 8000},
                                           "periodSeconds": 10, "failureThreshold": 3}
        requests = {"cpu": str(w.cpu[0]), "memory": "8Gi"}
        limits = {"memory": "48Gi"}
        if w.cpu[1]:
            limits["cpu"] = str(w.cpu[1])
        if w.gpus:
            requests[w.gpu_resource] = limits[w.gpu_resource] = str(w.gpus)
        container["resources"] = {"requests": requests, "limits": limits}
        spec = {"containers": [container], "restartPolicy": "Never" if w.chain == "job" else "Always",
                "terminationGracePeriodSeconds": 30}
        if w.node_selector:
            spec["nodeSelector"] = dict(w.node_selector)
        if w.gpus:
            spec["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
        return spec

    def pod(self, pod):
        w = pod.workload
        changes = [c for c in (pod.scheduled, pod.ready, pod.ended, *(b for _, b in pod.restarts))
                   if c <= self.now]
        owner = (("Job", "batch/v1", w.name) if w.chain == "job"
                 else ("ReplicaSet", "apps/v1", pod.replicaset))
        labels = self.pod_labels(w, pod.component)
        if w.chain == "job":
            labels["batch.kubernetes.io/job-name"] = w.name
        else:
            labels["pod-template-hash"] = pod.replicaset.rsplit("-", 1)[1]
        obj = self.meta("v1", "Pod", w.ns, pod.name, pod.created, "kubelet",
                        max(changes, default=pod.created), owner, labels=labels,
                        annotations=w.annotations)
        obj["metadata"]["uid"] = pod.uid
        obj["spec"] = dict(self.pod_spec(w, pod.component), nodeName=pod.node.name)
        done = pod.ended <= self.now
        ready = pod.is_ready(self.now)
        restarts = [(a, b) for a, b in pod.restarts if a <= self.now]
        moved = pod.ended if done else restarts[-1][1] if restarts else pod.ready
        state = ({"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": rfc3339(pod.ended),
                                 "startedAt": rfc3339(pod.scheduled + 30)}} if done else
                 {"running": {"startedAt": rfc3339(restarts[-1][0] + 10 if restarts
                                                   else pod.scheduled + 30)}})
        status = {"name": container_name(w), "ready": ready, "started": not done,
                  "restartCount": len(restarts), "image": obj["spec"]["containers"][0]["image"],
                  "state": state}
        if restarts:
            status["lastState"] = {"terminated": {"exitCode": 1, "reason": "Error",
                                                  "finishedAt": rfc3339(restarts[-1][0])}}
        conditions = [{"type": "PodScheduled", "status": "True",
                       "lastTransitionTime": rfc3339(pod.scheduled)}]
        for kind in ("ContainersReady", "Ready"):
            condition = {"type": kind, "status": "True" if ready else "False",
                         "lastTransitionTime": rfc3339(moved)}
            if done:
                condition["reason"] = "PodCompleted"
            conditions.append(condition)
        obj["status"] = {"phase": "Succeeded" if done else "Running", "podIP": pod.ip,
                         "hostIP": pod.node.ip, "startTime": rfc3339(pod.scheduled),
                         "conditions": conditions, "containerStatuses": [status], "qosClass": "Burstable"}
        self.add("pods", obj)

    def controllers(self, w):
        """ReplicaSets, Deployments and what stands above them."""
        for component in sorted({p.component for p in w.pods}, key=str):
            pods = [p for p in w.pods if p.component == component]
            name = w.deployment_name(component)
            sets = {}
            for p in pods:
                sets.setdefault(p.replicaset, []).append(p)
            for rs, members in sorted(sets.items()):
                born = w.created if min(p.created for p in members) < w.created + 120 else \
                    min(p.created for p in members)
                if born > self.now and len(sets) > 1:
                    continue
                live = sum(1 for p in members if p.created <= self.now < p.ended)
                obj = self.meta("apps/v1", "ReplicaSet", w.ns, rs, born, "kube-controller-manager",
                                self.replica_change(members), ("Deployment", "apps/v1", name),
                                labels=dict(self.pod_labels(w, component),
                                            **{"pod-template-hash": rs.rsplit("-", 1)[1]}))
                obj["spec"] = {"replicas": live, "selector": {"matchLabels": {"app": name}},
                               "template": {"metadata": {"labels": self.pod_labels(w, component)},
                                            "spec": self.pod_spec(w, component)}}
                obj["status"] = {"replicas": live, "readyReplicas": self.ready(members)}
                self.add("replicasets", obj)
            live = sum(1 for p in pods if p.created <= self.now < p.ended)
            manager = "keda-operator" if w.keda else "kube-controller-manager" if w.hpa else "kubectl"
            obj = self.meta("apps/v1", "Deployment", w.ns, name, w.created, manager,
                            self.replica_change(pods), self.parent(w, component),
                            labels=self.pod_labels(w, component), annotations=w.annotations)
            obj["spec"] = {"replicas": live, "selector": {"matchLabels": {"app": name}},
                           "template": {"metadata": {"labels": self.pod_labels(w, component)},
                                        "spec": self.pod_spec(w, component)}}
            obj["status"] = {"replicas": live, "readyReplicas": self.ready(pods),
                             "observedGeneration": 1}
            self.add("deployments", obj)
            self.service(w, name, pods)

    def replica_change(self, pods):
        return max((c for p in pods for c in (p.created, p.ended) if c <= self.now), default=None)

    def ready(self, pods):
        return sum(1 for p in pods if p.is_ready(self.now))

    def parent(self, w, component):
        if w.chain == "isvc":
            return ("InferenceService", "serving.kserve.io/v1beta1", w.name)
        if w.chain == "llmisvc":
            return ("LLMInferenceService", "serving.kserve.io/v1alpha2", w.name)
        if w.chain == "dynamo":
            return ("DynamoComponentDeployment", "nvidia.com/v1beta1", w.deployment_name(component))
        return None

    def service(self, w, name, pods):
        obj = self.meta("v1", "Service", w.ns, name, w.created, "kubectl", labels={"app": name})
        obj["spec"] = {"type": "ClusterIP", "selector": {"app": name},
                       "ports": [{"name": "http", "port": 80, "targetPort": 8000, "protocol": "TCP"}]}
        self.add("services", obj)
        slice_ = self.meta("discovery.k8s.io/v1", "EndpointSlice", w.ns, f"{name}-x7k2p", w.created,
                           "endpointslice-controller", self.replica_change(pods),
                           ("Service", "v1", name), labels={"kubernetes.io/service-name": name})
        slice_["addressType"] = "IPv4"
        slice_["ports"] = [{"name": "http", "port": 8000, "protocol": "TCP"}]
        slice_["endpoints"] = [
            {"addresses": [p.ip], "nodeName": p.node.name,
             "conditions": {"ready": p.is_ready(self.now), "serving": p.is_ready(self.now)},
             "targetRef": {"kind": "Pod", "namespace": w.ns, "name": p.name, "uid": p.uid}}
            for p in pods if p.holds(self.now)]
        self.add("endpointslices", slice_)

    # ---- custom resources and autoscalers ---------------------------------------------------

    def top(self, w):
        condition = [{"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(w.created + 600)}]
        if w.chain == "isvc":
            obj = self.meta("serving.kserve.io/v1beta1", "InferenceService", w.ns, w.name, w.created,
                            "kubectl", labels=w.labels,
                            annotations={"serving.kserve.io/deploymentMode": "Standard",
                                         "serving.kserve.io/autoscalerClass": "none"})
            obj["spec"] = {"predictor": {
                "minReplicas": 1, "maxReplicas": 1, "nodeSelector": dict(w.node_selector),
                "model": {"modelFormat": {"name": "huggingface"}, "args": list(w.args),
                          "storageUri": f"hf://{w.model}",
                          "resources": {"limits": {w.gpu_resource: str(w.gpus)}}}}}
            obj["status"] = {"conditions": condition}
            self.add("inferenceservices", obj)
        elif w.chain == "llmisvc":
            obj = self.meta("serving.kserve.io/v1alpha2", "LLMInferenceService", w.ns, w.name,
                            w.created, "kubectl", labels=w.labels)
            obj["spec"] = {"model": {"uri": f"hf://{w.model}", "name": w.model}, "replicas": 1,
                           "template": self.pod_spec(w)}
            obj["status"] = {"conditions": condition}
            self.add("llminferenceservices", obj)
        elif w.chain == "dynamo":
            self.dynamo(w, condition)
        elif w.chain == "job":
            self.job(w)

    def dynamo(self, w, condition):
        kinds = {"Frontend": "frontend", "VllmPrefillWorker": "prefill", "VllmDecodeWorker": "decode"}
        companion = next(h for h in self.fleet.companions if h.name == w.name)
        components = []
        for component, kind in kinds.items():
            source = companion if component == "Frontend" else w
            entry = {"name": component, "type": kind, "replicas": 1,
                     "podTemplate": {"spec": self.pod_spec(source, component)}}
            components.append(entry)
            dcd = self.meta("nvidia.com/v1beta1", "DynamoComponentDeployment", w.ns,
                            w.deployment_name(component), w.created, "dynamo-operator", None,
                            ("DynamoGraphDeployment", "nvidia.com/v1beta1", w.name),
                            labels={"nvidia.com/dynamo-graph-deployment-name": w.name,
                                    "nvidia.com/dynamo-component": component})
            dcd["spec"] = entry
            dcd["status"] = {"conditions": condition}
            self.add("dynamocomponentdeployments", dcd)
        obj = self.meta("nvidia.com/v1beta1", "DynamoGraphDeployment", w.ns, w.name, w.created,
                        "kubectl", labels=w.labels)
        obj["spec"] = {"components": components}
        obj["status"] = {"state": "successful", "conditions": condition}
        self.add("dynamographdeployments", obj)

    def job(self, w):
        pod = w.pods[0]
        if pod.deleted <= self.now:
            return
        done = pod.ended <= self.now
        obj = self.meta("batch/v1", "Job", w.ns, w.name, w.created, "kube-controller-manager",
                        pod.ended if done else w.created, labels=w.labels)
        obj["spec"] = {"parallelism": 1, "completions": 1, "ttlSecondsAfterFinished": 129600,
                       "template": {"metadata": {"labels": dict(w.labels)}, "spec": self.pod_spec(w)}}
        obj["status"] = {"startTime": rfc3339(w.created), "ready": 0 if done else 1,
                         **({"succeeded": 1, "completionTime": rfc3339(pod.ended)} if done
                            else {"active": 1})}
        self.add("jobs", obj)

    def autoscaler(self, w):
        if not (w.keda or w.hpa):
            return
        ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": w.deployment_name()}
        live = sum(1 for p in w.pods if p.created <= self.now < p.ended)
        if w.keda:
            so = self.meta("keda.sh/v1alpha1", "ScaledObject", w.ns, w.name, w.created, "kubectl",
                           self.replica_change(w.pods), labels={"scaledobject.keda.sh/name": w.name})
            so["spec"] = {
                "scaleTargetRef": {"name": w.deployment_name()}, "minReplicaCount": w.keda["min"],
                "maxReplicaCount": w.keda["max"], "cooldownPeriod": 900, "pollingInterval": 15,
                "triggers": [{"type": "prometheus", "metadata": {
                    "serverAddress": "http://prometheus.monitoring:9090", "query": w.keda["query"],
                    "threshold": w.keda["threshold"], "ignoreNullValues": "false"}}]}
            so["status"] = {"scaleTargetKind": "apps/v1.Deployment",
                            "scaleTargetGVKR": {"group": "apps", "version": "v1", "kind": "Deployment",
                                                "resource": "deployments"},
                            "conditions": [{"type": "Ready", "status": "True"},
                                           {"type": "Active", "status": "True" if live else "False"}]}
            self.add("scaledobjects", so)
            self.hpa(w, f"keda-hpa-{w.name}", ref, max(1, w.keda["min"]), w.keda["max"], live,
                     {"type": "External", "external": {
                         "metric": {"name": "s0-prometheus", "selector": {
                             "matchLabels": {"scaledobject.keda.sh/name": w.name}}},
                         "target": {"type": "AverageValue", "averageValue": w.keda["threshold"]}}},
                     ("ScaledObject", "keda.sh/v1alpha1", w.name))
        if w.hpa:
            self.hpa(w, w.name, ref, w.hpa["min"], w.hpa["max"], live,
                     {"type": "Pods", "pods": {"metric": {"name": w.hpa["metric"]}, "target": {
                         "type": "AverageValue", "averageValue": w.hpa["target"]}}}, None)

    def hpa(self, w, name, ref, low, high, live, metric, owner):
        obj = self.meta("autoscaling/v2", "HorizontalPodAutoscaler", w.ns, name, w.created,
                        "keda-operator" if owner else "kubectl", self.replica_change(w.pods), owner)
        obj["spec"] = {"scaleTargetRef": ref, "minReplicas": low, "maxReplicas": high,
                       "metrics": [metric]}
        obj["status"] = {"currentReplicas": live, "desiredReplicas": live, "conditions": [
            {"type": "ScalingActive", "status": "True" if live else "False",
             "lastTransitionTime": rfc3339(w.created + 300)}]}
        self.add("horizontalpodautoscalers", obj)

    def pool(self, w):
        obj = self.meta("inference.networking.k8s.io/v1", "InferencePool", w.ns, "ms-llama-70b",
                        w.created, "kubectl")
        obj["spec"] = {"selector": {"matchLabels": {"llm-d.ai/model": "llama-3-3-70b"}},
                       "targetPorts": [{"number": 8000}],
                       "endpointPickerRef": {"name": "ms-llama-70b-epp", "port": {"number": 9002}}}
        self.add("inferencepools", obj)

    def disruption_budget(self, w):
        obj = self.meta("policy/v1", "PodDisruptionBudget", w.ns, w.name, w.created, "kubectl")
        obj["spec"] = {"maxUnavailable": 1, "selector": {"matchLabels": {"app": w.deployment_name()}}}
        obj["status"] = {"currentHealthy": self.ready(w.pods), "expectedPods": len(w.pods)}
        self.add("poddisruptionbudgets", obj)

    def build(self):
        for plural in ("pods", "nodes", "deployments", "replicasets", "statefulsets", "jobs",
                       "services", "endpointslices", "horizontalpodautoscalers", "scaledobjects",
                       "poddisruptionbudgets", "namespaces"):
            self.lists[plural] = []
        for node in self.fleet.nodes:
            if node.cluster == self.cluster and node.exists(self.now):
                self.node(node)
        workloads = self.fleet.in_cluster(self.cluster)
        for ns in sorted({w.ns for w in workloads} | {"kube-system"}):
            team = next((w.labels.get("team") for w in workloads if w.ns == ns), None)
            obj = self.meta("v1", "Namespace", None, ns, at("2026-10-12T07:00:00Z"), "kubectl",
                            labels=dict({"kubernetes.io/metadata.name": ns},
                                        **({"team": team} if team else {})))
            obj["status"] = {"phase": "Active"}
            self.add("namespaces", obj)
        for w in workloads:
            for pod in w.pods:
                if pod.exists(self.now):
                    self.pod(pod)
            if w.chain != "job":
                self.controllers(w)
            if w.gpus:
                self.top(w)
            self.autoscaler(w)
            if w.pdb:
                self.disruption_budget(w)
            if w.name == "ms-llama-70b-decode":
                self.pool(w)
        return self.lists


def write_snapshots(fleet, folder):
    shutil.rmtree(folder, ignore_errors=True)
    for cluster in CLUSTERS:
        for moment in SNAPSHOTS:
            out = folder / cluster / moment.replace(":", "-")
            out.mkdir(parents=True)
            for plural, items in sorted(Builder(fleet, cluster, at(moment)).build().items()):
                items.sort(key=lambda o: (o["metadata"].get("namespace", ""), o["metadata"]["name"]))
                body = {"apiVersion": "v1", "items": items, "kind": "List",
                        "metadata": {"resourceVersion": ""}}
                (out / f"{plural}.json").write_text(
                    json.dumps(body, separators=(",", ":")) + "\n")
