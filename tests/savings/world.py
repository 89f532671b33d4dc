"""Five weeks of a small cluster in which approved changes are made: blocks and Kubernetes lists.

Usage: world.py FOLDER DAY CHANGE before|after

DAY is the midnight (seconds, UTC) from which sixteen days before and sixteen after are told; CHANGE the second at
which somebody applies what was approved. `before` writes what can be known before that, `after` the rest. Every pod
has a g6.xlarge of its own that lives as long as it does, so a workload costs pods x hours x $0.8048. Traffic stands
still around midnight, so a day's tokens are exact. `tests/it/approve_savings.rs` states what must come of it.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STEP, HOUR, DAY = 600, 3600, 86400
BEFORE, AFTER = 16, 16
MARGIN = 7 * HOUR
MODEL = "meta-llama/Llama-3.1-8B-Instruct"
PROMPT, OUTPUT = 200, 100

folder, day0, change, part = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
begin, middle, end = day0 - BEFORE * DAY, day0 + MARGIN, day0 + AFTER * DAY + MARGIN
born = begin - 40 * DAY
undone = change + 2 * DAY


def uid(*parts):
    h = hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:32]}"


def stamp(t):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(t)))


class Pod:
    count = 0

    def __init__(self, of, name, created, ended, role=None):
        Pod.count += 1
        self.of, self.created, self.ended, self.role = of, created, ended, role
        self.set = f"{of.deployment(role)}-6c9f7d8b54"
        self.name = f"{self.set}-{name}"
        self.node, self.ip = f"ip-10-0-{Pod.count}-9.ec2.internal", f"10.9.{Pod.count}.9"
        self.machine = "i-" + uid("node", self.name).replace("-", "")[:17]
        self.uid = uid("pod", self.name)

    def lives(self, t):
        return self.created <= t < self.ended


class Workload:
    """`requests` is what arrives in ten minutes of a day, counted from DAY; none: nobody asks."""

    def __init__(self, ns, name, requests=None, bounds=None):
        self.ns, self.name, self.requests, self.bounds, self.pods = ns, name, requests, bounds, []
        self.service, self.counts = False, {}

    def deployment(self, role=None):
        return self.name + ("-kserve" + (f"-{role}" if role == "prefill" else "") if self.service else "")

    def pod(self, name, created=born, ended=end + DAY, role=None):
        self.pods.append(Pod(self, name, created, ended, role))
        return self

    def live(self, t):
        return [p for p in self.pods if p.lives(t)]

    def count(self, t):
        if t not in self.counts:
            self.counts[t] = len(self.live(t))
        return self.counts[t]

    def arriving(self, t):
        """Requests of the ten minutes before a scrape; nothing moves in the twenty minutes around midnight."""
        inside = t % DAY
        if self.requests is None or not 20 * 60 < inside <= DAY - 20 * 60:
            return 0
        return self.requests((t - day0) // DAY)


def quiet(day):
    return day % 7 in (5, 6)


def assist_asks(day):
    """Two levels before; since the change a third on two days of the week."""
    if quiet(day):
        return 60
    return 180 if day % 7 in (1, 2) and day0 + day * DAY > change else 120


def fleet():
    chat = []
    # Three stand by; busy days bring a fourth, and one afternoon a fifth. Since the change one stands by.
    assist = Workload("chat", "assist", assist_asks, {"low": 3, "high": 6}).pod("aaaaa")
    assist.pod("bbbbb", ended=change).pod("ccccc", ended=change)
    for day in range(-BEFORE - 1, AFTER + 2):
        at = day0 + day * DAY
        if not quiet(day):
            assist.pod(f"d{day + 20:04}", at, at + DAY)
        if day == -3:
            assist.pod("eeeee", at + DAY // 2, at + DAY)
        if assist_asks(day) == 180:
            assist.pod(f"f{day + 20:04}", at, at + DAY)
    chat.append(assist)
    # Its minimum goes from two to one, and its scaler then asks for three.
    surge = Workload("chat", "surge", lambda day: 60, {"low": 2, "high": 4}).pod("aaaaa").pod("bbbbb", ended=change)
    chat.append(surge.pod("ccccc", change).pod("ddddd", change))
    # Nobody approves anything here: somebody lifts its maximum, and its scaler adds two by itself.
    burst = Workload("chat", "burst", lambda day: 60, {"low": 1, "high": 1}).pod("aaaaa")
    chat.append(burst.pod("bbbbb", change).pod("ccccc", change))
    legacy = [
        Workload("legacy", "retired").pod("aaaaa", ended=change),
        Workload("legacy", "canary").pod("aaaaa", ended=change).pod("bbbbb", undone),
        Workload("legacy", "wanted").pod("aaaaa"),
    ]
    pair = Workload("legacy", "pair")
    pair.service = True
    legacy.append(pair.pod("aaaaa").pod("bbbbb", ended=change, role="prefill"))
    return chat + legacy


WORKLOADS = fleet()

# ---- telemetry -------------------------------------------------------------------------------------------

series = {}


def add(name, labels, rows):
    text = ",".join(f'{k}="{v}"' for k, v in sorted(labels.items()))
    if rows:
        series.setdefault((name, text), []).extend(rows)


def engine(w, pod, ticks, low):
    target = {"job": "vllm", "namespace": w.ns, "pod": pod.name, "container": "main", "instance": f"{pod.ip}:8000"}
    labels = dict(target, model_name=MODEL, engine="0")
    done, shots = 3, []
    for t in ticks:
        # Of what arrived while it lived its share, which always comes out even.
        asked = w.arriving(t) // w.count(t - STEP) if pod.lives(t - STEP) else 0
        done += asked
        if t >= low:
            shots.append((t, asked, done))

    def column(name, value, where=labels, **more):
        add(name, dict(where, **more), [(t, value(asked, done)) for t, asked, done in shots])

    def histogram(name, edges, count, total):
        for edge in [*edges, "+Inf"]:
            column(name + "_bucket", count, le=edge)
        column(name + "_count", count)
        column(name + "_sum", total)

    column("up", lambda asked, done: 1, target)
    column("vllm:num_requests_running", lambda asked, done: 1 if asked else 0)
    column("vllm:num_requests_waiting", lambda asked, done: 0)
    column("vllm:kv_cache_usage_perc", lambda asked, done: 0.05 if asked else 0)
    column("vllm:request_success_total", lambda asked, done: done, finished_reason="stop")
    column("vllm:prompt_tokens_total", lambda asked, done: done * PROMPT)
    column("vllm:generation_tokens_total", lambda asked, done: done * OUTPUT)
    column("vllm:cache_config_info", lambda asked, done: 1, block_size="16", num_gpu_blocks="2400")
    if w.requests:
        histogram("vllm:time_to_first_token_seconds", ["0.1", "0.5"], lambda asked, done: done,
                  lambda asked, done: done / 16)
        histogram("vllm:inter_token_latency_seconds", ["0.025", "0.1"], lambda asked, done: done * (OUTPUT - 1),
                  lambda asked, done: done * 2)
    gpu = {"job": "dcgm-exporter", "instance": f"{pod.ip}:9400", "gpu": "0", "UUID": f"GPU-{uid('gpu', pod.node)}",
           "device": "nvidia0", "modelName": "NVIDIA L4", "Hostname": pod.node, "namespace": w.ns,
           "pod": pod.name, "container": "main"}
    column("DCGM_FI_PROF_GR_ENGINE_ACTIVE", lambda asked, done: 0.4 if asked else 0, gpu)
    column("DCGM_FI_DEV_FB_USED", lambda asked, done: 20000, gpu)
    column("DCGM_FI_DEV_POWER_USAGE", lambda asked, done: 60 if asked else 16, gpu)
    column("up", lambda asked, done: 1, {"job": "dcgm-exporter", "instance": f"{pod.ip}:9400"})


KSM = {"job": "kube-state-metrics", "instance": "10.0.9.2:8080"}


def state(w, pod, ticks):
    me, node = dict(KSM, namespace=w.ns, pod=pod.name, uid=pod.uid), dict(KSM, node=pod.node)

    def fact(name, labels, value=1):
        add(name, labels, [(t, value) for t in ticks])

    fact("kube_pod_info", dict(me, node=pod.node, created_by_kind="ReplicaSet", created_by_name=pod.set))
    fact("kube_pod_owner", dict(me, owner_kind="ReplicaSet", owner_name=pod.set, owner_is_controller="true"))
    fact("kube_pod_created", me, pod.created)
    fact("kube_pod_status_phase", dict(me, phase="Running"))
    fact("kube_pod_status_ready", dict(me, condition="true"))
    fact("kube_pod_container_resource_requests", dict(
        me, container="main", node=pod.node, resource="nvidia_com_gpu", unit="integer"))
    fact("kube_node_info", dict(node, provider_id=f"aws:///us-east-1a/{pod.machine}"))
    fact("kube_node_created", node, pod.created)
    fact("kube_node_labels", dict(node, **{"label_" + k.translate(str.maketrans("./-", "___")): v
                                           for k, v in node_labels(pod).items()}))
    fact("kube_node_status_capacity", dict(node, resource="nvidia_com_gpu", unit="integer"))
    fact("kube_node_status_condition", dict(node, condition="Ready", status="true"))


def telemetry(low, high):
    """What is scraped from `low` on; counters are counted from the beginning."""
    ticks = range(begin, high, STEP)
    shown = [t for t in ticks if t >= low]
    add("up", KSM, [(t, 1) for t in shown])
    for w in WORKLOADS:
        for pod in w.pods:
            mine = [t for t in ticks if pod.lives(t)]
            engine(w, pod, mine, low)
            state(w, pod, [t for t in mine if t >= low])
        me = dict(KSM, namespace=w.ns)
        if w.bounds:
            for when in ("current", "desired"):
                add(f"kube_horizontalpodautoscaler_status_{when}_replicas", dict(me, horizontalpodautoscaler=w.name),
                    [(t, w.count(t)) for t in shown])
        for role in (None, "prefill") if w.service else (None,):
            name = w.deployment(role)
            add("kube_deployment_spec_replicas", dict(me, deployment=name),
                [(t, sum(p.role == role for p in w.live(t))) for t in shown])
            add("kube_replicaset_owner", dict(me, replicaset=f"{name}-6c9f7d8b54", owner_kind="Deployment",
                                              owner_name=name, owner_is_controller="true"), [(t, 1) for t in shown])


def blocks(low, high):
    telemetry(low, high)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "text.om"
        with open(path, "w", encoding="ascii") as out:
            for (name, labels), rows in sorted(series.items()):
                out.writelines(f"{name}{{{labels}}} {value} {t}\n" for t, value in rows)
            out.write("# EOF\n")
        subprocess.run(["promtool", "tsdb", "create-blocks-from", "--max-block-duration=1458h", "openmetrics",
                        str(path), str(folder / "blocks")], check=True, stdout=subprocess.DEVNULL)


# ---- Kubernetes ------------------------------------------------------------------------------------------


def node_labels(pod):
    return {"kubernetes.io/hostname": pod.node, "node.kubernetes.io/instance-type": "g6.xlarge",
            "topology.kubernetes.io/region": "us-east-1", "topology.kubernetes.io/zone": "us-east-1a",
            "karpenter.sh/capacity-type": "on-demand", "nvidia.com/gpu.product": "NVIDIA-L4",
            "nvidia.com/gpu.count": "1", "nvidia.com/gpu.memory": "23034", "nvidia.com/gpu.replicas": "1"}


def thing(kind, api, ns, name, spec=None, created=born, hand=("kubectl", None), fields=None, owner=None, **top):
    by, at = hand
    meta = {"name": name, "uid": top.pop("uid", None) or uid(kind, ns, name), "creationTimestamp": stamp(created),
            "resourceVersion": str(int(at or created) - 1_700_000_000), "generation": 1,
            "managedFields": [{"manager": by, "operation": "Update", "apiVersion": api, "fieldsType": "FieldsV1",
                               "time": stamp(at or created), "fieldsV1": fields or {"f:spec": {}}}]}
    if ns:
        meta["namespace"] = ns
    for key in ("labels", "annotations"):
        if key in top:
            meta[key] = top.pop(key)
    if owner:
        meta["ownerReferences"] = [dict(owner, controller=True, blockOwnerDeletion=True)]
    body = {"apiVersion": api, "kind": kind, "metadata": meta}
    if spec is not None:
        body["spec"] = spec
    return dict(body, **top)


def template(labels):
    container = {"name": "main", "image": "vllm/vllm-openai:v0.19.1",
                 "command": ["python3", "-m", "vllm.entrypoints.openai.api_server"],
                 "args": [f"--model={MODEL}", "--max-model-len=8192"], "ports": [{"containerPort": 8000}],
                 "resources": {"requests": {"cpu": "3", "memory": "12Gi", "nvidia.com/gpu": "1"},
                               "limits": {"memory": "14Gi", "nvidia.com/gpu": "1"}}}
    return {"metadata": {"labels": labels}, "spec": {"containers": [container], "restartPolicy": "Always"}}


def replicas(w, role, t):
    """What stands in the object that people change, and by whose hand."""
    argo = ("argocd-application-controller", change - 60)
    if t < change or w.ns == "chat":
        return 1, ("kubectl", None)
    if w.name == "canary" and t >= undone:
        return 1, ("kubectl-edit", undone - 60)
    if w.name == "wanted":
        return 2, ("kubectl-scale", change - 60)
    if w.name == "pair" and role is None:
        return 1, ("kubectl", None)
    return 0, argo


def lists(t):
    out = {kind: [] for kind in ("nodes", "namespaces", "pods", "replicasets", "deployments",
                                 "horizontalpodautoscalers", "llminferenceservices")}
    for ns in ("chat", "legacy", "kube-system"):
        out["namespaces"].append(thing("Namespace", "v1", None, ns, labels={"team": ns}))
    for w in WORKLOADS:
        for role in (None, "prefill") if w.service else (None,):
            name, count = w.deployment(role), sum(p.role == role for p in w.live(t))
            labels = {"app": name}
            wanted, hand = replicas(w, role, t)
            owner = {"apiVersion": "serving.kserve.io/v1alpha2", "kind": "LLMInferenceService", "name": w.name,
                     "uid": uid("LLMInferenceService", w.ns, w.name)} if w.service else None
            spec = {"replicas": count if w.ns == "chat" or w.service else wanted,
                    "selector": {"matchLabels": labels}, "template": template(labels)}
            if w.ns == "chat" and t >= change:
                hand = ("kube-controller-manager", change - 30)
            elif w.service and hand[1]:
                hand = ("llmisvc-controller-manager", change - 30)
            out["deployments"].append(thing(
                "Deployment", "apps/v1", w.ns, name, spec, hand=hand, owner=owner, labels=labels,
                fields={"f:spec": {"f:replicas": {}}} if hand[1] else None, status={"replicas": count, "readyReplicas": count}))
            out["replicasets"].append(thing(
                "ReplicaSet", "apps/v1", w.ns, f"{name}-6c9f7d8b54", dict(spec, replicas=count), labels=labels,
                owner={"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": uid("Deployment", w.ns, name)},
                status={"replicas": count, "readyReplicas": count}))
        if w.service:
            # The prefill pool went, the decode pool did not.
            (decode, _), (prefill, hand) = replicas(w, None, t), replicas(w, "prefill", t)
            pod_spec = template({})["spec"]
            out["llminferenceservices"].append(thing(
                "LLMInferenceService", "serving.kserve.io/v1alpha2", w.ns, w.name,
                {"model": {"uri": f"hf://{MODEL}", "name": MODEL}, "replicas": decode, "template": pod_spec,
                 "prefill": {"replicas": prefill, "template": pod_spec}}, hand=hand,
                fields={"f:spec": {"f:prefill": {"f:replicas": {}}}} if hand[1] else None))
        if w.bounds:
            low, high, hand, field = w.bounds["low"], w.bounds["high"], ("kubectl", None), None
            if t >= change and w.name == "burst":
                high, hand, field = 3, ("kubectl-edit", change - 90), "f:maxReplicas"
            elif t >= change:
                low, hand, field = 1, ("argocd-application-controller", change - 60), "f:minReplicas"
            out["horizontalpodautoscalers"].append(thing(
                "HorizontalPodAutoscaler", "autoscaling/v2", w.ns, w.name,
                {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": w.name}, "minReplicas": low,
                 "maxReplicas": high, "metrics": [{"type": "Pods", "pods": {
                     "metric": {"name": "vllm_requests_running"}, "target": {"type": "AverageValue", "averageValue": "8"}}}]},
                hand=hand, fields={"f:spec": {field: {}}} if field else None,
                status={"currentReplicas": len(w.live(t)), "desiredReplicas": len(w.live(t)),
                        "conditions": [{"type": "ScalingActive", "status": "True"}]}))
        for pod in w.live(t):
            labels = {"app": w.deployment(pod.role), "pod-template-hash": "6c9f7d8b54"}
            out["pods"].append(thing(
                "Pod", "v1", w.ns, pod.name, dict(template({})["spec"], nodeName=pod.node), pod.created, labels=labels,
                uid=pod.uid, owner={"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": pod.set,
                                    "uid": uid("ReplicaSet", w.ns, pod.set)},
                status={"phase": "Running", "podIP": pod.ip, "startTime": stamp(pod.created),
                        "conditions": [{"type": kind, "status": "True", "lastTransitionTime": stamp(pod.created)}
                                       for kind in ("PodScheduled", "Ready")],
                        "containerStatuses": [{"name": "main", "ready": True, "started": True, "restartCount": 0,
                                               "state": {"running": {"startedAt": stamp(pod.created)}}}]}))
            room = {"cpu": "4", "memory": "16Gi", "pods": "58", "nvidia.com/gpu": "1"}
            out["nodes"].append(thing(
                "Node", "v1", None, pod.node, {"providerID": f"aws:///us-east-1a/{pod.machine}"}, pod.created,
                labels=node_labels(pod), status={
                    "capacity": room, "allocatable": room, "nodeInfo": {"kubeletVersion": "v1.34.2"},
                    "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": stamp(pod.created)}],
                    "addresses": [{"type": "InternalIP", "address": pod.ip}, {"type": "Hostname", "address": pod.node}]}))
    return out


def snapshots(moments):
    for t in moments:
        place = folder / "kubernetes" / stamp(t).replace(":", "-")
        place.mkdir(parents=True)
        for kind, items in lists(t).items():
            (place / f"{kind}.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))


def bill():
    """A provider's bill: what these machines cost fell by forty dollars a day, another product by a thousand."""
    rows = ["ResourceId,EffectiveCost,BillingCurrency,ChargePeriodStart,ChargePeriodEnd,ChargeCategory,ProviderName,SkuId"]
    machines = {w.name: w.pods[0].machine for w in WORKLOADS}
    for day in range(-BEFORE, AFTER):
        at = day0 + day * DAY
        span = f"{stamp(at)},{stamp(at + DAY)},Usage,AWS"
        after = at + DAY > change
        for name, machine in machines.items():
            usd = (150 if after else 190) if name == "assist" else 20
            rows.append(f"{machine},{usd},USD,{span},g6.xlarge")
        rows.append(f"i-0elsewhere,{500 if after else 1500},USD,{span},p5.48xlarge")
    (folder / "bill.csv").write_text("\n".join(rows) + "\n")


if part == "before":
    blocks(begin, middle)
    snapshots([begin + 2 * DAY + 9 * HOUR, day0 - 5 * DAY + 15 * HOUR, change - 2 * HOUR])
else:
    blocks(middle, end)
    snapshots([change, undone, day0 + 8 * DAY + 12 * HOUR, day0 + 15 * DAY + 12 * HOUR])
    bill()
