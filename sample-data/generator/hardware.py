"""Owns the series of dcgm-exporter and cAdvisor."""

import random

from .clock import BUCKET, START, scrape_times
from .engines import container_name
from .fleet import GPUS, SEED
from .series import NAN

MIG_FB = {"3g.40gb": 40192, "1g.10gb": 9728}


def quantise(value, step=128):
    return round(value * step) / step


def emit_dcgm(store, fleet, node, offset):
    """One exporter: a row for each GPU or MIG instance, labelled with the pod that holds it."""
    if node.count == 0:
        return
    label, model, fb_total, idle_w, tdp_w = GPUS[node.product]
    key = store.target(("dcgm", node.name), scrape_times(offset, node.fine))
    times = store.times(key)
    instance = f"{node.ip}:9400"
    target = {"job": "dcgm-exporter", "instance": instance}
    alive = [node.exists(t) for t in times]
    down = [any(a <= t < b for a, b in node.dcgm_down) for t in times]
    store.add(key, "up", target, [(0 if d else 1) if a else NAN for a, d in zip(alive, down)])
    ok = [a and not d for a, d in zip(alive, down)]
    pods = [p for w in fleet.workloads for p in w.pods if p.node is node]
    for slot in range(node.count):
        row = {"gpu": str(slot), "UUID": node.gpu_uuids[slot], "device": f"nvidia{slot}",
               "modelName": model, "DCGM_FI_DRIVER_VERSION": "570.133.20"}
        row["Hostname" if node.cluster == "prod-a" else "hostname"] = node.name
        row.update(target)
        if node.mig:
            for gi, profile, _, _ in node.mig:
                holders = [p for p in pods if p.mig_id == gi]
                emit_rows(store, key, times, ok, node,
                          dict(row, GPU_I_ID=gi, GPU_I_PROFILE=profile), holders, slot,
                          MIG_FB[profile], idle_w, tdp_w, mig=True)
        else:
            holders = [p for p in pods if slot in p.slots]
            emit_rows(store, key, times, ok, node, row, holders, slot, fb_total, idle_w, tdp_w)


def emit_rows(store, key, times, ok, node, row, holders, slot, fb_total, idle_w, tdp_w, mig=False):
    """The fields of one device, split into one set of series for each pod label it had."""
    rng = random.Random(f"{SEED}/dcgm/{node.cluster}/{node.name}/{slot}/{row.get('GPU_I_ID')}")
    shared = node.sharing == "time-slicing"
    # The exporter keeps a finished job's label for half an hour: the kubelet keeps the pod.
    spans = [(p, p.scheduled, p.ended + (1800 if p.deleted > p.ended else 0)) for p in holders]
    values = {name: [] for name in ("util", "gr", "dram", "used", "power")}
    for t, alive in zip(times, ok):
        device(values, t, alive, holders, rng, fb_total, idle_w, tdp_w, node)
    groups = [(p, a, b) for p, a, b in spans]
    for pod, since, until in groups:
        labels = dict(row, **pod_labels(node, pod))
        keep = [since <= t < until for t in times]
        emit_fields(store, key, labels, values, keep, fb_total, mig,
                    getattr(pod.workload, "util_vanishes", False))
    if not shared:
        free = [not any(a <= t < b for _, a, b in spans) for t in times]
        emit_fields(store, key, dict(row, **exporter_labels(node)), values, free, fb_total, mig, False)


def device(values, t, alive, holders, rng, fb_total, idle_w, tdp_w, node):
    """What the device shows at t: the sum of what its holders do."""
    noise = rng.random()
    if not alive:
        for column in values.values():
            column.append(NAN)
        return
    activity, used = 0.0, 3.0
    intensity = 0.0
    for pod in holders:
        w = pod.workload
        if not pod.holds(t):
            continue
        if w.chain == "job":
            busy = 0.0 if (t // BUCKET) % 37 == 0 else 0.93 + 0.05 * noise  # checkpoints
            activity, used, intensity = activity + busy, used + 0.84 * fb_total, 0.9
            continue
        asleep = "asleep_from" in w.demand and t >= w.demand["asleep_from"]
        loading = pod.scheduled <= t < pod.ready
        used += fb_total * (0.03 if asleep else 0.1 if loading else w.fb_used)
        if loading:
            activity += 0.05 * noise
        elif pod.load and pod.is_ready(t):
            b = (t - START) // BUCKET
            mean = pod.load.activity[b]
            activity += mean * (0.85 + 0.3 * noise) if mean > 0 else 0.0
            intensity = max(intensity, mean)
    activity = min(activity, 1.0)
    gr = quantise(activity)
    values["gr"].append(gr)
    values["util"].append(min(100, round(100 * min(1.0, activity * 1.15))))
    values["dram"].append(quantise(activity * (0.35 + 0.3 * intensity)))
    values["used"].append(float(int(min(used, fb_total))))
    loaded = 1.6 if used > 0.2 * fb_total else 1.0
    watts = idle_w * loaded + (tdp_w - idle_w * loaded) * activity * 0.82
    values["power"].append(quantise(watts + 0.5 * noise, 8))


def emit_fields(store, key, labels, values, keep, fb_total, mig, util_vanishes):
    def pick(column):
        return [v if k else NAN for v, k in zip(column, keep)]

    gr = pick(values["gr"])
    store.add(key, "DCGM_FI_PROF_GR_ENGINE_ACTIVE", labels, gr)
    store.add(key, "DCGM_FI_PROF_DRAM_ACTIVE", labels, pick(values["dram"]))
    used = pick(values["used"])
    store.add(key, "DCGM_FI_DEV_FB_USED", labels, used)
    store.add(key, "DCGM_FI_DEV_FB_FREE", labels, [fb_total - v for v in used])
    store.add(key, "DCGM_FI_DEV_POWER_USAGE", labels, pick(values["power"]))
    store.add(key, "DCGM_FI_DEV_XID_ERRORS", labels, [0 if v == v else NAN for v in used])
    if not mig:  # GPU_UTIL does not exist under MIG
        util = pick(values["util"])
        if util_vanishes:
            util = [NAN if v == 0 else v for v in util]
        store.add(key, "DCGM_FI_DEV_GPU_UTIL", labels, util)


def exporter_labels(node):
    """prod-b's ServiceMonitor does not honour labels: the exporter's own pod takes the names."""
    if node.cluster == "prod-a":
        return {}
    return {"namespace": "gpu-operator", "pod": f"nvidia-dcgm-exporter-{node.name[-3:]}{node.ip[-1]}x",
            "container": "nvidia-dcgm-exporter"}


def pod_labels(node, pod):
    real = {"namespace": pod.workload.ns, "pod": pod.name, "container": container_name(pod.workload)}
    if node.cluster == "prod-a":
        return real
    return dict(exporter_labels(node), **{f"exported_{k}": v for k, v in real.items()})


def emit_cadvisor(store, fleet, node, offset):
    """CPU of every serving container of one node, and throttling where it has a CPU limit."""
    pods = [p for w in fleet.workloads for p in w.pods if p.node is node]
    key = store.target(("cadvisor", node.name), scrape_times(offset))
    times = store.times(key)
    target = {"job": "kubelet", "metrics_path": "/metrics/cadvisor", "instance": f"{node.ip}:10250",
              "node": node.name}
    store.add(key, "up", target, [1 if node.exists(t) else NAN for t in times])
    for pod in pods:
        w = pod.workload
        labels = dict(target, namespace=w.ns, pod=pod.name, container=container_name(w))
        rng = random.Random(f"{SEED}/cpu/{w.cluster}/{pod.name}")
        cpu, periods, throttled, memory = 0.0, 0, 0, []
        rows = []
        for t in times:
            if not pod.holds(t):
                rows.append((NAN, NAN, NAN, NAN))
                continue
            b = (t - START) // BUCKET
            load = pod.load
            busy = load.running[b] > 0 if load else True
            held = load.throttled[b] if load else 0.0
            cores = 2.0 if w.chain == "job" else (1.97 if held > 0.5 else 0.9 if busy else 0.25)
            cpu += int(cores * BUCKET * (0.95 + 0.05 * rng.random()) * 8) / 8
            periods += 3000
            throttled += int(3000 * held)
            rows.append((cpu, periods, throttled, (6 + (b // 2016) % 3) * 2**30))
        cpu_series, period_series, throttle_series, memory = zip(*rows)
        store.add(key, "container_cpu_usage_seconds_total", labels, cpu_series)
        store.add(key, "container_memory_working_set_bytes", labels, memory)
        if w.cpu[1]:
            store.add(key, "container_cpu_cfs_periods_total", labels, period_series)
            store.add(key, "container_cpu_cfs_throttled_periods_total", labels, throttle_series)


__all__ = ["emit_dcgm", "emit_cadvisor"]
