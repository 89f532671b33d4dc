"""Owns the truth: what class every GPU-second of the window really has, and what should be found.

It is computed from the generator's own events and demand, never from the telemetry.
"""

import json

from .clock import BUCKET, BUCKETS, START, WINDOW, bucket, rfc3339
from .fleet import CLUSTERS, SCRAPE_GAPS

LULL, DARK, BRIDGE = 6, 72, 6  # five-minute buckets: 30 min, 6 h, and 30 min of interruption
CLASSES = ["pending", "non_serving", "unknown", "standby", "starved", "dark", "lull", "serving"]
# Runs are read beyond both ends of the window.
MARGIN = 78


def works(load, b):
    """Engine counters above probe level (design §4), for one five-minute bucket."""
    n = load.requests[b]
    if n == 0:
        return False
    probing = n <= 30 and load.output[b] <= 16 * n and load.prompt[b] <= 64 * n
    return not probing


def classes_of(pod, first, last):
    """The true class of a pod's GPU in each bucket from `first` to `last`."""
    w = pod.workload
    marks = []
    for b in range(first, last):
        t = START + b * BUCKET
        middle = t + BUCKET // 2
        gap = any(a <= middle < e for a, e in SCRAPE_GAPS[w.cluster])
        blind = any(a <= middle < e for a, e in pod.node.dcgm_down)
        if not pod.holds(middle):
            marks.append(None)
        elif w.chain == "job":
            marks.append("non_serving")  # said by its owner, not by telemetry
        elif gap:
            marks.append("unknown")
        elif not pod.is_ready(middle) and any(a <= middle < e for a, e in pod.restarts):
            marks.append("pending")
        elif middle < pod.ready:
            marks.append("pending")
        elif pod.load.throttled[b] >= 0.25 and pod.load.activity[b] <= 0.3 and (
                pod.load.starved[b] or works(pod.load, b)):
            # A queue, or traffic, while the CPU limit holds the GPU back.
            marks.append("starved")
        elif works(pod.load, b):
            marks.append("work")
        elif blind:
            marks.append("unknown")
        elif "asleep_from" in w.demand and t >= w.demand["asleep_from"]:
            marks.append("standby")
        else:
            marks.append("quiet")
    return name_runs(marks)


def name_runs(marks):
    """Quiet runs become dark, lull or serving by their length; short interruptions do not end them."""
    marks = list(marks)
    i = 0
    while i < len(marks):
        if marks[i] != "quiet":
            i += 1
            continue
        end, quiet, j = i, 0, i
        while j < len(marks):
            if marks[j] == "quiet":
                quiet += 1
                end = j
                j += 1
                continue
            if marks[j] in ("pending", "unknown"):
                k = j
                while k < len(marks) and marks[k] in ("pending", "unknown"):
                    k += 1
                if k - j <= BRIDGE and k < len(marks) and marks[k] == "quiet":
                    j = k
                    continue
            break
        name = "dark" if quiet >= DARK else "lull" if quiet >= LULL else "serving"
        for k in range(i, end + 1):
            if marks[k] == "quiet":
                marks[k] = name
        i = end + 1
    return ["serving" if m == "work" else m for m in marks]


def workload_classes(w, window):
    lo, hi = bucket(window[0]), bucket(window[1])
    first, last = max(0, lo - MARGIN), min(BUCKETS, hi + MARGIN)
    hours = dict.fromkeys(CLASSES, 0.0)
    for pod in w.pods:
        num, den = pod.share
        weight = w.gpus * num / den * BUCKET / 3600
        for b, mark in zip(range(first, last), classes_of(pod, first, last)):
            if mark and lo <= b < hi:
                hours[mark] += weight
    return {k: round(v, 3) for k, v in hours.items() if v}


def price(pod_or_node):
    node = getattr(pod_or_node, "node", pod_or_node)
    return node.gpu_usd()


def overlap(a, b, window):
    return max(0, min(b, window[1]) - max(a, window[0])) / 3600


def ranged(value, low, high, digits):
    return [round(value * low, digits), round(value * high, digits)]


def finding(detector, gpu_hours, usd, low=0.97, high=1.03, **extra):
    """An expected finding; the ranges allow for edges that a five-minute cadence blurs."""
    return dict({"detector": detector, "gpu_hours": ranged(gpu_hours, low, high, 2),
                 "window_usd": ranged(usd, low, high, 2)}, **extra)


def expectations(w, hours):
    """Expected, allowed and forbidden findings of one workload, from its true classes."""
    p = price(w.pods[0]) if w.pods else 0.0
    dark, key = hours.get("dark", 0.0), (w.ns, w.name)
    everything = ["dark-capacity", "surplus-replicas", "tier-misplacement", "cpu-gpu-imbalance"]
    judged = hours.get("serving", 0.0) + hours.get("lull", 0.0)
    if key == ("chat", "llama-8b-assist"):
        # The cheapest feasible tier is an L4, A10G or L40S: the estimator decides which.
        low, high = judged * 0.94 * (p - 1.861), judged * 1.01 * (p - 0.8048)
        return [{"detector": "tier-misplacement", "gpu_hours": ranged(judged, 0.94, 1.01, 2),
                 "window_usd": [round(low, 2), round(high, 2)],
                 "candidate_products": ["L4-24", "A10G-24", "L40S-48"]}], [], [
            "dark-capacity", "surplus-replicas", "cpu-gpu-imbalance"]
    if key in {("research", "qwen-32b-eval"), ("legacy", "mistral-7b-canary"), ("ml", "bge-rerank")}:
        return [finding("dark-capacity", dark, dark * p)], [], [
            "surplus-replicas", "tier-misplacement", "cpu-gpu-imbalance"]
    if key == ("docs", "summarizer-14b"):
        return [finding("dark-capacity", dark, dark * p, 0.96)], ["tier-misplacement"], [
            "surplus-replicas", "cpu-gpu-imbalance"]
    if key == ("agents", "code-agent"):
        starved = hours.get("starved", 0.0)
        return [{"detector": "cpu-gpu-imbalance", "gpu_hours": [0.0, round(starved * 1.1, 2)],
                 "window_usd": [0.0, round(starved * 1.1 * p, 2)],
                 "starved_hours": ranged(starved, 0.85, 1.1, 2)}], [], [
            "dark-capacity", "surplus-replicas", "tier-misplacement"]
    if key == ("chat", "qwen-7b-router"):
        # Three of four replicas; two where the estimator asks for a second one at the peak.
        spare = judged * 3 / 4
        return [{"detector": "surplus-replicas", "gpu_hours": ranged(spare, 0.63, 1.02, 2),
                 "window_usd": ranged(spare * p, 0.63, 1.02, 2)}], ["tier-misplacement"], [
            "dark-capacity", "cpu-gpu-imbalance"]
    if key == ("shop", "product-qa"):
        spare = judged / 2
        return [finding("surplus-replicas", spare, spare * p, 0.90)], ["tier-misplacement"], [
            "dark-capacity", "cpu-gpu-imbalance"]
    if key == ("translate", "gemma-2b"):
        return [], ["tier-misplacement"], ["dark-capacity", "surplus-replicas", "cpu-gpu-imbalance"]
    return [], [], everything


def fleet_truth(fleet, window):
    totals, unallocated = {}, {}
    for node in fleet.nodes:
        if not node.count:
            continue
        life = overlap(node.created, node.deleted, window)
        total = totals.setdefault(node.product, {"gpu_hours": 0.0, "list_usd": 0.0})
        total["gpu_hours"] += life * node.count
        total["list_usd"] += life * float(node.price)
        held = 0.0
        for w in fleet.workloads:
            for pod in w.pods:
                if pod.node is node:
                    num, den = pod.share
                    held += w.gpus * num / den * overlap(pod.scheduled, min(pod.ended, node.deleted), window)
        free = life * node.count - held
        gap = 0.0
        if free > 0.01:
            gap = sum(overlap(max(a, window[0]), b, window) for a, b in SCRAPE_GAPS[node.cluster])
            gap *= free / life
        key = (node.cluster, node.itype, node.product)
        entry = unallocated.setdefault(key, [0.0, 0.0, node.gpu_usd()])
        entry[0] += free
        entry[1] += gap
    rows = []
    for (cluster, itype, product), (free, gap, usd) in sorted(unallocated.items()):
        if free < 0.01:
            continue
        # Hours in the gap, or between a pod's end and its node's, may be counted as unknown.
        low, high = (free - gap) * 0.9 if free < 12 else (free - gap) * 0.97, free * 1.03
        rows.append({"cluster": cluster, "instance_type": itype, "gpu_product": product,
                     "detector": "unallocated-capacity", "required": free >= 12,
                     "gpu_hours": [round(low, 2), round(high, 2)],
                     "window_usd": [round(low * usd, 2), round(high * usd, 2)]})
    return {p: {k: round(v, 2) for k, v in t.items()} for p, t in sorted(totals.items())}, rows


def truth(fleet, window):
    products, unallocated = fleet_truth(fleet, window)
    rows = []
    for w in sorted(fleet.workloads, key=lambda w: (w.cluster, w.ns, w.name)):
        hours = workload_classes(w, window)
        expected, allowed, forbidden = expectations(w, hours)
        rows.append({
            "cluster": w.cluster, "namespace": w.ns, "kind": w.kind, "name": w.name,
            "model": w.model, "gpu_product": w.pods[0].node.product,
            "instance_type": w.pods[0].node.itype,
            "list_usd_per_gpu_hour": round(price(w.pods[0]), 6),
            "class_hours": hours, "expected_findings": expected,
            "allowed_detectors": sorted({e["detector"] for e in expected} | set(allowed)),
            "forbidden_detectors": forbidden, "notes": NOTES[(w.ns, w.name)]})
    return {"window": [rfc3339(window[0]), rfc3339(window[1])], "clusters": sorted(CLUSTERS),
            "capacity": products,
            "capacity_gpu_hours": round(sum(p["gpu_hours"] for p in products.values()), 2),
            "capacity_list_usd": round(sum(p["list_usd"] for p in products.values()), 2),
            "unallocated": unallocated, "workloads": rows}


def write_truth(fleet, folder):
    """The machine-readable truth of the default window, which README.md states in words."""
    folder.mkdir(parents=True, exist_ok=True)
    document = truth(fleet, WINDOW)
    (folder / "truth.json").write_text(json.dumps(document, indent=1) + "\n")
    return document


NOTES = {
    ("chat", "llama-8b-assist"): "lightly used 8B on an H100; one rollout before the first snapshot",
    ("search", "llama-8b-bulk"): "the same model on the same GPU, saturated: must not be found",
    ("research", "qwen-32b-eval"): "loaded, no request at all; its GPU exporter was down for six hours, which are unknown",
    ("agents", "code-agent"): "CPU limit of two cores throttles it in working hours: queue grows, GPU idles",
    ("legacy", "mistral-7b-canary"): "two tiny health completions a minute and one restart: still dark",
    ("docs", "summarizer-14b"): "no request from 20:00 to 06:00: dark by night; GPU_UTIL vanishes while idle",
    ("chat", "qwen-7b-router"): "HPA minimum of four where one replica serves the peak",
    ("support", "mistral-7b-help"): "healthy; one restart; GPU exporter down for thirty hours while the engine reports",
    ("translate", "gemma-2b"): "scales to zero; its node lives about three hours",
    ("dev", "coder"): "Dynamo, prefill and decode apart: two roles are not two replicas",
    ("train", "lora-7b-run42"): "training job without engine series; finished, its pod is still listed",
    ("research", "qwen3-32b-warm"): "asleep and says so: standby, never dark",
    ("kserve-llm", "llama-8b-mig"): "healthy on a 3g.40gb MIG instance",
    ("safety", "guard"): "a model that no catalogue knows: no tier verdict",
    ("llm-d", "ms-llama-70b-decode"): "healthy 70B on two GPUs behind an InferencePool",
    ("shop", "product-qa"): "no request from 01:00 to 05:00: lull and surplus, never dark",
    ("ml", "bge-embed"): "works on one of two time slices of a T4",
    ("ml", "bge-rerank"): "idle on the other time slice, whatever the device shows",
}
