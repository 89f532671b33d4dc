"""Owns what runs where: nodes, workloads, pods and the events that break naive tools.

It writes nothing. `telemetry`, `objects` and `truth` read it.
"""

import hashlib
import random

from .clock import DAY, END, HOUR, START, WINDOW, at, bucket
from .demand import serve, time_weekday

SEED = "idleproof sample fleet 1"

# key, GFD label, DCGM modelName, MiB, idle W, TDP W, tensor-bound share of bandwidth
GPUS = {
    "H100-SXM-80": ("NVIDIA-H100-80GB-HBM3", "NVIDIA H100 80GB HBM3", 81559, 70, 700),
    "L40S-48": ("NVIDIA-L40S", "NVIDIA L40S", 46068, 35, 350),
    "L4-24": ("NVIDIA-L4", "NVIDIA L4", 23034, 16, 72),
    "A10G-24": ("NVIDIA-A10G", "NVIDIA A10G", 23028, 27, 300),
    "A10-24": ("NVIDIA-A10", "NVIDIA A10", 23028, 24, 150),
    "A100-PCIE-80": ("NVIDIA-A100-80GB-PCIe", "NVIDIA A100 80GB PCIe", 81920, 45, 300),
    "H100-NVL-94": ("NVIDIA-H100-NVL", "NVIDIA H100 NVL", 95830, 62, 400),
    "T4-16": ("Tesla-T4", "Tesla T4", 15360, 10, 70),
}

# instance type: gpu key, GPUs, vCPU, memory GiB, list price of the node in USD per hour
INSTANCES = {
    "p5.4xlarge": ("H100-SXM-80", 1, 16, 256, "6.88"),
    "g6e.12xlarge": ("L40S-48", 4, 48, 384, "10.49264"),
    "g6.xlarge": ("L4-24", 1, 4, 16, "0.8048"),
    "g5.xlarge": ("A10G-24", 1, 4, 16, "1.006"),
    "m6i.2xlarge": (None, 0, 8, 32, None),
    "Standard_NC96ads_A100_v4": ("A100-PCIE-80", 4, 96, 880, "14.692"),
    "Standard_NC24ads_A100_v4": ("A100-PCIE-80", 1, 24, 220, "3.673"),
    "Standard_NC80adis_H100_v5": ("H100-NVL-94", 2, 80, 640, "13.96"),
    "Standard_NV36ads_A10_v5": ("A10-24", 1, 36, 440, "3.2"),
    "Standard_NC4as_T4_v3": ("T4-16", 1, 4, 28, "0.526"),
    "Standard_D8s_v5": (None, 0, 8, 32, None),
}

CLUSTERS = {
    "prod-a": {"provider": "aws", "region": "us-east-1"},
    "prod-b": {"provider": "azure", "region": "eastus"},
}
# A day on which the Prometheus of prod-b was down: no series has a sample.
SCRAPE_GAPS = {"prod-b": [(at("2026-11-11T00:00:00Z"), at("2026-11-12T00:00:00Z"))], "prod-a": []}


def digest(*parts):
    return hashlib.sha256("/".join(str(p) for p in (SEED, *parts)).encode()).hexdigest()


def uid(*parts):
    h = digest("uid", *parts)
    return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-a{h[17:20]}-{h[20:32]}"


def suffix(length, *parts):
    letters = "bcdfghjklmnpqrstvwxz2456789"
    return "".join(letters[int(c, 16) % 16 + (i % 2) * 10] for i, c in enumerate(digest(*parts)[:length]))


class Node:
    def __init__(self, cluster, name, itype, ip, created=None, deleted=None, **extra):
        self.cluster, self.name, self.itype, self.ip = cluster, name, itype, ip
        self.product, self.count, self.vcpu, self.mem_gib, self.price = INSTANCES[itype]
        self.created = created if created is not None else at("2026-10-12T07:20:00Z")
        self.deleted = deleted if deleted is not None else END + DAY
        self.sharing = extra.get("sharing", "none")
        self.mig = extra.get("mig", [])  # (GPU_I_ID, profile, share numerator, denominator)
        self.dcgm_down = extra.get("dcgm_down", [])
        self.fine = extra.get("fine")
        self.capacity_type = extra.get("capacity_type", "on-demand")
        self.uid = uid("node", cluster, name)
        self.pod_ips = 0
        self.gpu_uuids = ["GPU-" + uid("gpu", cluster, name, i) for i in range(self.count)]

    def next_pod_ip(self):
        self.pod_ips += 1
        a, b, c, d = self.ip.split(".")
        return f"{a}.{b}.{100 + int(c)}.{(8 * int(d) + self.pod_ips) % 250}"

    def exists(self, t):
        return self.created <= t < self.deleted

    def gpu_usd(self):
        return float(self.price) / self.count


class Pod:
    def __init__(self, workload, name, node, slots, created, ready_after, **extra):
        self.workload, self.name, self.node, self.slots = workload, name, node, slots
        self.created = created
        self.scheduled = created + extra.get("scheduled_after", 2)
        self.ready = self.scheduled + ready_after
        self.ended = extra.get("ended", END + DAY)  # containers stopped or phase terminal
        self.deleted = extra.get("deleted", self.ended)
        self.share = extra.get("share", (1, 1))
        self.mig_id = extra.get("mig_id")
        self.slice = extra.get("slice")
        self.restarts = extra.get("restarts", [])  # (down, up) seconds
        self.component = extra.get("component")
        self.replicaset = extra.get("replicaset")
        self.ip = extra.get("ip")
        self.uid = uid("pod", workload.cluster, workload.ns, name)
        self.load = None

    def down(self, t):
        return any(a <= t < b for a, b in self.restarts)

    def serves(self, t):
        """Ready during the whole bucket at t."""
        b = bucket(t)
        if any(bucket(a) == b for a, _ in self.restarts):
            return False
        return self.ready <= t and t + 300 <= self.ended

    def is_ready(self, t):
        return self.ready <= t < self.ended and not self.down(t)

    def holds(self, t):
        return self.scheduled <= t < self.ended

    def exists(self, t):
        return self.created <= t < self.deleted


class Workload:
    def __init__(self, cluster, ns, name, chain, model, engine, demand, **extra):
        self.cluster, self.ns, self.name, self.chain = cluster, ns, name, chain
        self.model, self.engine, self.demand = model, engine, demand
        self.served = extra.get("served", model)
        self.args = extra.get("args", [])
        self.gpus = extra.get("gpus", 1)
        self.gpu_resource = extra.get("gpu_resource", "nvidia.com/gpu")
        self.cpu = extra.get("cpu", (4, None))  # request, limit in cores
        self.old_names = extra.get("old_names", False)
        self.lengths = extra.get("lengths", False)
        self.fine = extra.get("fine")
        self.kv_tokens = extra.get("kv_tokens", 120000)
        self.fb_used = extra.get("fb_used", 0.9)
        self.replicas = extra.get("replicas", 1)
        self.hpa = extra.get("hpa")
        self.keda = extra.get("keda")
        self.pdb = extra.get("pdb")
        self.labels = extra.get("labels", {})
        self.annotations = extra.get("annotations", {})
        self.node_selector = extra.get("node_selector", {})
        self.created = extra.get("created", at("2026-10-14T09:30:00Z"))
        self.pods = []
        self.truth = extra.get("truth", {})

    @property
    def kind(self):
        return {
            "deployment": "deployment.apps",
            "isvc": "inferenceservice.serving.kserve.io",
            "llmisvc": "llminferenceservice.serving.kserve.io",
            "dynamo": "dynamographdeployment.nvidia.com",
            "job": "job.batch",
        }[self.chain]

    def deployment_name(self, component=None):
        if self.chain == "isvc":
            return f"{self.name}-predictor"
        if self.chain == "llmisvc":
            return f"{self.name}-kserve"
        if self.chain == "dynamo":
            return f"{self.name}-{component.lower()}"
        return self.name

    def add_pod(self, node, slots, created, ready_after=150, revision=1, component=None, **extra):
        index = len(self.pods)
        extra["ip"] = node.next_pod_ip()
        if self.chain == "job":
            name = f"{self.name}-{suffix(5, 'pod', self.ns, self.name, index)}"
        else:
            deployment = self.deployment_name(component)
            hash_ = suffix(9, "rs", self.cluster, self.ns, deployment, revision)
            extra["replicaset"] = f"{deployment}-{hash_}"
            name = f"{deployment}-{hash_}-{suffix(5, 'pod', self.ns, deployment, index, revision)}"
        pod = Pod(self, name, node, slots, created, ready_after, component=component, **extra)
        self.pods.append(pod)
        return pod


class Fleet:
    def __init__(self):
        self.nodes, self.workloads = [], []
        self.companions = []  # pods of serving systems that hold no GPU: a frontend, a picker

    def node(self, *args, **extra):
        node = Node(*args, **extra)
        self.nodes.append(node)
        return node

    def workload(self, *args, **extra):
        workload = Workload(*args, **extra)
        self.workloads.append(workload)
        return workload

    def companion(self, *args, **extra):
        workload = Workload(*args, gpus=0, **extra)
        self.companions.append(workload)
        return workload

    def in_cluster(self, cluster):
        return [w for w in self.workloads + self.companions if w.cluster == cluster]


def shape(rhythm, peak, prompt, output, ttft, itl, **extra):
    return {"rhythm": rhythm, "peak": peak, "prompt": prompt, "output": output,
            "ttft": ttft, "itl": itl, **extra}


EARLY = at("2026-10-14T09:31:00Z")


def build():
    fleet = Fleet()
    from .prod_a import build_prod_a
    from .prod_b import build_prod_b

    build_prod_a(fleet)
    build_prod_b(fleet)
    for workload in fleet.workloads:
        rng = random.Random(f"{SEED}/{workload.cluster}/{workload.ns}/{workload.name}")
        serve(workload, rng)
        if workload.chain == "dynamo":
            split_roles(workload)
    return fleet


def split_roles(workload):
    """Prefill reads the prompts, decode writes the tokens: both see every request."""
    prefill, decode = workload.pods[0].load, workload.pods[1].load
    for b in range(len(prefill.requests)):
        n = prefill.requests[b] + decode.requests[b]
        prompt = prefill.prompt[b] + decode.prompt[b]
        output = prefill.output[b] + decode.output[b]
        prefill.requests[b] = decode.requests[b] = n
        prefill.prompt[b] = decode.prompt[b] = prompt
        prefill.output[b], decode.output[b] = n, output
        running = prefill.running[b] + decode.running[b]
        prefill.running[b], decode.running[b] = running * 0.08, running
        decode.itl[b] = workload.demand["itl"] * (1 + 0.01 * running) if n else 0.0
        prefill.activity[b] = min(0.95, prefill.activity[b] * 0.5)
        decode.activity[b] = min(0.98, decode.activity[b] * 1.0)


def weekdays(start, end):
    t = start - start % DAY
    while t < end:
        if time_weekday(t) < 5:
            yield t
        t += DAY


__all__ = ["Fleet", "build", "shape", "weekdays", "CLUSTERS", "GPUS", "INSTANCES", "SCRAPE_GAPS",
           "EARLY", "HOUR", "START", "WINDOW"]
