"""Owns the series of the control plane: kube-state-metrics, KEDA, Dynamo's frontend, llm-d's EPP."""

from .clock import END, START, scrape_times
from .engines import Counter, container_name
from .labels import node_labels, node_resources, provider_id, sanitised
from .series import NAN


class StateMetrics:
    def __init__(self, store, cluster):
        self.store = store
        # A scrape offset after the engines', so that a short restart is seen by both.
        self.key = store.target(("ksm",), scrape_times(100))
        self.times = store.times(self.key)
        host = "10.0.20.5" if cluster == "prod-a" else "10.1.20.4"
        self.base = {"job": "kube-state-metrics", "instance": f"{host}:8080"}
        store.constant(self.key, "up", self.base, 1)

    def fact(self, name, labels, value=1, since=START, until=END):
        self.store.constant(self.key, name, dict(self.base, **labels), value, since, until)

    def varying(self, name, labels, fn, since=START, until=END):
        self.store.add(self.key, name, dict(self.base, **labels),
                       [fn(t) if since <= t < until else NAN for t in self.times])

    def node(self, node):
        life = (node.created, node.deleted)
        me = {"node": node.name}
        self.fact("kube_node_info", dict(me, provider_id=provider_id(node), internal_ip=node.ip,
                                         kubelet_version="v1.34.2"), 1, *life)
        self.fact("kube_node_created", me, node.created, *life)
        labels = {"label_" + sanitised(k): v for k, v in node_labels(node).items()}
        self.fact("kube_node_labels", dict(me, **labels), 1, *life)
        for resource, count in node_resources(node).items():
            self.fact("kube_node_status_capacity",
                      dict(me, resource=sanitised(resource), unit="integer"), count, *life)
        self.fact("kube_node_status_capacity", dict(me, resource="cpu", unit="core"), node.vcpu, *life)
        for status in ("true", "false", "unknown"):
            self.fact("kube_node_status_condition", dict(me, condition="Ready", status=status),
                      1 if status == "true" else 0, *life)

    def pod(self, pod):
        w = pod.workload
        life = (pod.scheduled, pod.deleted)
        me = {"namespace": w.ns, "pod": pod.name, "uid": pod.uid}
        owner = (("Job", w.name) if w.chain == "job" else ("ReplicaSet", pod.replicaset))
        self.fact("kube_pod_info", dict(me, node=pod.node.name, pod_ip=pod.ip,
                                        host_ip=pod.node.ip, created_by_kind=owner[0],
                                        created_by_name=owner[1]), 1, *life)
        self.fact("kube_pod_owner", dict(me, owner_kind=owner[0], owner_name=owner[1],
                                         owner_is_controller="true"), 1, *life)
        self.fact("kube_pod_created", me, pod.created, *life)
        self.fact("kube_pod_start_time", me, pod.scheduled, *life)
        final = "Succeeded" if w.chain == "job" else "Running"
        for phase in ("Pending", "Running", "Succeeded", "Failed", "Unknown"):
            self.varying("kube_pod_status_phase", dict(me, phase=phase),
                         lambda t, phase=phase: 1 if phase == self.phase(pod, t, final) else 0, *life)
        for condition in ("true", "false", "unknown"):
            self.varying("kube_pod_status_ready", dict(me, condition=condition),
                         lambda t, c=condition: 1 if c == ("true" if pod.is_ready(t) else "false")
                         else 0, *life)
        container = dict(me, container=container_name(w), node=pod.node.name)
        if w.gpus:
            for name in ("kube_pod_container_resource_requests", "kube_pod_container_resource_limits"):
                self.fact(name, dict(container, resource=sanitised(w.gpu_resource), unit="integer"),
                          w.gpus, *life)
        self.fact("kube_pod_container_resource_requests",
                  dict(container, resource="cpu", unit="core"), w.cpu[0], *life)
        if w.cpu[1]:
            self.fact("kube_pod_container_resource_limits",
                      dict(container, resource="cpu", unit="core"), w.cpu[1], *life)
        self.varying("kube_pod_container_status_restarts_total",
                     dict(me, container=container_name(w)),
                     lambda t: sum(1 for a, _ in pod.restarts if a <= t), *life)

    @staticmethod
    def phase(pod, t, final):
        # The image is pulled within the first third of what it takes to become ready.
        if t < pod.scheduled + (pod.ready - pod.scheduled) // 3:
            return "Pending"
        return final if t >= pod.ended else "Running"

    def owners(self, w):
        sets = {}
        for pod in w.pods:
            if pod.replicaset:
                first, last = sets.get(pod.replicaset, (pod.created, 0))
                sets[pod.replicaset] = (min(first, pod.created), max(last, pod.deleted))
        for pod in w.pods:
            if pod.replicaset in sets:
                since, _ = sets.pop(pod.replicaset)
                self.fact("kube_replicaset_owner",
                          {"namespace": w.ns, "replicaset": pod.replicaset, "owner_kind": "Deployment",
                           "owner_name": w.deployment_name(pod.component),
                           "owner_is_controller": "true"}, 1, since)
        if w.chain == "job":
            self.fact("kube_job_owner", {"namespace": w.ns, "job_name": w.name}, 1, w.created)
            return
        for component in sorted({p.component for p in w.pods}, key=str):
            name = {"namespace": w.ns, "deployment": w.deployment_name(component)}
            pods = [p for p in w.pods if p.component == component]

            def replicas(t, pods=pods):
                return sum(1 for p in pods if p.created <= t < p.ended)

            def ready(t, pods=pods):
                return sum(1 for p in pods if p.is_ready(t))

            self.varying("kube_deployment_spec_replicas", name, replicas)
            self.varying("kube_deployment_status_replicas_ready", name, ready)

    def autoscaler(self, w):
        if w.hpa:
            self.hpa(w, w.name, w.hpa["min"], w.hpa["max"])
        if w.keda:
            self.hpa(w, f"keda-hpa-{w.name}", max(1, w.keda["min"]), w.keda["max"])

    def hpa(self, w, name, low, high):
        me = {"namespace": w.ns, "horizontalpodautoscaler": name}
        self.fact("kube_horizontalpodautoscaler_info",
                  dict(me, scaletargetref_api_version="apps/v1", scaletargetref_kind="Deployment",
                       scaletargetref_name=w.deployment_name()))
        self.fact("kube_horizontalpodautoscaler_spec_min_replicas", me, low)
        self.fact("kube_horizontalpodautoscaler_spec_max_replicas", me, high)

        def current(t):
            return sum(1 for p in w.pods if p.created <= t < p.ended)

        self.varying("kube_horizontalpodautoscaler_status_current_replicas", me, current)
        self.varying("kube_horizontalpodautoscaler_status_desired_replicas", me, current)
        # At zero KEDA turns its HPA off.
        self.varying("kube_horizontalpodautoscaler_status_condition",
                     dict(me, condition="ScalingActive", status="true"),
                     lambda t: 1 if current(t) else 0)
        self.varying("kube_horizontalpodautoscaler_status_condition",
                     dict(me, condition="ScalingActive", status="false"),
                     lambda t: 0 if current(t) else 1)


def emit_control(store, fleet, cluster):
    ksm = StateMetrics(store, cluster)
    for node in fleet.nodes:
        if node.cluster == cluster:
            ksm.node(node)
    for w in fleet.in_cluster(cluster):
        for pod in w.pods:
            ksm.pod(pod)
        ksm.owners(w)
        ksm.autoscaler(w)
    emit_keda(store, fleet, cluster)
    for w in fleet.in_cluster(cluster):
        if w.chain == "dynamo" and w.gpus:
            emit_dynamo_frontend(store, fleet, w)
        if w.name == "ms-llama-70b-decode":
            emit_picker(store, fleet, w)


def emit_keda(store, fleet, cluster):
    scaled = [w for w in fleet.in_cluster(cluster) if w.keda]
    if not scaled:
        return
    key = store.target(("keda",), scrape_times(35))
    base = {"job": "keda-operator", "instance": "10.0.20.5:8081"}
    store.constant(key, "up", base, 1)
    times = store.times(key)
    for w in scaled:
        labels = dict(base, exported_namespace=w.ns, namespace="keda", scaledObject=w.name,
                      scaler="prometheusScaler", triggerIndex="0", type="scaledobject",
                      metric="s0-prometheus")

        def waiting(t, w=w):
            b = (t - START) // 300
            live = [p for p in w.pods if p.serves(START + b * 300)]
            return sum(p.load.waiting[b] + int(p.load.running[b]) for p in live)

        store.add(key, "keda_scaler_metrics_value", labels, [waiting(t) for t in times])
        store.add(key, "keda_scaler_active", labels, [1 if waiting(t) else 0 for t in times])
        store.constant(key, "keda_scaler_detail_errors_total", labels, 0)


def emit_dynamo_frontend(store, fleet, w):
    pod = next(p for h in fleet.companions if h.name == w.name for p in h.pods)
    key = store.target(("dynamo-frontend",), scrape_times(75))
    base = {"job": "dynamo-frontend", "namespace": w.ns, "pod": pod.name, "container": "main",
            "instance": f"{pod.ip}:8000"}
    store.constant(key, "up", base, 1)
    times = store.times(key)
    labels = dict(base, model=w.model.lower(), dynamo_namespace=f"{w.ns}-{w.name}")
    up = [True] * len(times)
    decode = w.pods[1].load
    for name, increases in (("requests", decode.requests), ("output_tokens", decode.output)):
        store.add(key, f"dynamo_frontend_{name}_total", labels, Counter(increases, set()).at(times, up))
    store.add(key, "dynamo_frontend_inflight_requests", labels,
              [int(decode.running[(t - START) // 300] + 0.5) for t in times])
    store.constant(key, "dynamo_frontend_queued_requests", labels, 0)


def emit_picker(store, fleet, w):
    """The endpoint picker, whose renamed and legacy twins are emitted side by side."""
    key = store.target(("epp",), scrape_times(80))
    pod = next(p for h in fleet.companions if h.name == "ms-llama-70b-epp" for p in h.pods)
    base = {"job": "epp", "namespace": w.ns, "instance": f"{pod.ip}:9090", "name": "ms-llama-70b"}
    store.constant(key, "up", {k: base[k] for k in ("job", "namespace", "instance")}, 1)
    times = store.times(key)
    load = w.pods[0].load
    running = [int(load.running[(t - START) // 300] + 0.5) for t in times]
    queue = [load.waiting[(t - START) // 300] for t in times]
    for name, values in (("average_running_requests", running), ("average_queue_size", queue),
                         ("ready_endpoints", [1] * len(times))):
        store.add(key, f"llm_d_epp_{name}", base, values)
    store.add(key, "inference_pool_average_queue_size", base, queue)
    up = [True] * len(times)
    for name in ("llm_d_epp_request_total", "inference_objective_request_total"):
        store.add(key, name, dict(base, model_name=w.model), Counter(load.requests, set()).at(times, up))
