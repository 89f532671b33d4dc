"""Owns what exporters show: engines, dcgm-exporter, cAdvisor, autoscalers. kube-state-metrics is in `state`."""

from . import layers
from .engine import ITL_EDGES, OUTPUT_EDGES, PROMPT_EDGES, TTFT_EDGES
from .objects import reservation_name
from .plan import uid
from .traffic import rng_of


def emit(store, fleet):
    for s in fleet.services:
        for replica in s.replicas:
            if replica is not None and s.exporter:
                engine(store, fleet, s, replica)
    for node in fleet.nodes:
        dcgm(store, fleet, node)
        cadvisor(store, fleet, node)
    for s in fleet.services:
        scaler(store, fleet, s)


# ---- engines ------------------------------------------------------------------------------------


def engine(store, fleet, s, replica):
    pod = replica.pods[0]
    base = {"job": s.exporter, "namespace": s.ns, "pod": pod.name, "container": layers.container_name(s),
            "instance": f"{pod.ip}:8000"}
    gap = s.engine_gaps
    # Scrapes that met a gap of the whole server or of this target are not there.
    jitter = dict(store.times(fleet.phase("engine", pod.name) + fleet.start - fleet.start % fleet.interval,
                              fleet.interval, pod.name, fleet.start, fleet.end))
    rows = [(jitter[t], shot) for t, shot in replica.samples
            if t in jitter and not any(a <= t < b for a, b in gap)]
    store.add("up", base, [(t, 1 if shot else 0) for t, shot in rows])
    labels = dict(base, model_name=s.model.name)
    seen = [(t, shot) for t, shot in rows if shot]
    if s.exporter in ("vllm", "dynamo"):
        labels["engine"] = "0"
    if s.frozen:
        # After a mass abort the gauges stay where they were; the counters tell the truth.
        seen = [(t, (3, 0, 0.99, *shot[3:])) for t, shot in seen]

    def column(name, index, extra=None, fn=lambda v: v):
        store.add(name, dict(labels, **(extra or {})), [(t, fn(shot[index])) for t, shot in seen])

    def histogram(name, index, edges, extra=None):
        for i, edge in enumerate([*edges, "+Inf"]):
            le = edge if isinstance(edge, str) else repr(edge)
            store.add(name + "_bucket", dict(labels, le=le), [(t, shot[index][0][i]) for t, shot in seen])
        store.add(name + "_count", labels, [(t, shot[index][0][-1]) for t, shot in seen])
        store.add(name + "_sum", labels, [(t, shot[index][1]) for t, shot in seen])

    itl_name = "inter_token_latency_seconds" if s.names == "new" else "time_per_output_token_seconds"
    if s.exporter == "sglang":
        labels.update(engine_type="unified", tp_rank="0", pp_rank="0")
        column("sglang:num_running_reqs", 0)
        column("sglang:num_queue_reqs", 1)
        column("sglang:token_usage", 2)
        # Counted when a request ends: sums of the histograms of finished requests.
        column("sglang:num_requests_total", 3)
        column("sglang:prompt_tokens_total", 9, fn=lambda h: int(h[1]))
        column("sglang:generation_tokens_total", 10, fn=lambda h: int(h[1]))
        if s.names == "new":
            column("sglang:realtime_tokens_total", 4, {"mode": "prefill_compute"})
            column("sglang:realtime_tokens_total", 5, {"mode": "decode"})
        store.add("sglang:cache_config_info", dict(labels, page_size="1", num_pages=str(s.speed.kv_tokens)),
                  [(t, 1) for t, _ in seen])
        histogram("sglang:time_to_first_token_seconds", 7, TTFT_EDGES)
        histogram("sglang:" + itl_name, 8, ITL_EDGES)
        return
    if s.exporter == "trtllm":
        column("trtllm_num_requests_running", 0)
        column("trtllm_num_requests_waiting", 1)
        column("trtllm_kv_cache_utilization", 2)
        column("trtllm_request_success_total", 3)
        column("trtllm_prompt_tokens_total", 4)
        column("trtllm_generation_tokens_total", 5)
        histogram("trtllm_time_to_first_token_seconds", 7, TTFT_EDGES)
        histogram("trtllm_time_per_output_token_seconds", 8, ITL_EDGES)
        return
    prefix = {"vllm": "vllm:", "nim": "", "ray": "ray_vllm_", "otel": "vllm_"}[s.exporter]
    if s.exporter == "ray":
        labels["WorkerId"] = pod.uid.replace("-", "")
    column(prefix + "num_requests_running", 0)
    column(prefix + "num_requests_waiting", 1)
    old = s.names == "old" or s.exporter == "nim"
    column(prefix + ("gpu_cache_usage_perc" if old else "kv_cache_usage_perc"), 2)
    if s.names == "both" and not old:
        column(prefix + "gpu_cache_usage_perc", 2)
    column(prefix + "request_success_total", 3, {"finished_reason": "stop"})
    column(prefix + "prompt_tokens_total", 4)
    column(prefix + "generation_tokens_total", 5)
    if s.exporter != "nim":
        store.add(prefix + "num_preemptions_total", labels, [(t, 0) for t, _ in seen])
        column(prefix + "prefix_cache_queries_total", 4)
        column(prefix + "prefix_cache_hits_total", 6)
        store.add(prefix + "cache_config_info",
                  dict(labels, block_size="16", num_gpu_blocks=str(s.speed.kv_tokens // 16)), [(t, 1) for t, _ in seen])
    if s.asleep:
        for state, value in (("awake", 0), ("weights_offloaded", 1), ("discard_all", 0)):
            store.add(prefix + "engine_sleep_state", dict(labels, sleep_state=state), [(t, value) for t, _ in seen])
    histogram(prefix + "time_to_first_token_seconds", 7, TTFT_EDGES)
    histogram(prefix + ("time_per_output_token_seconds" if old else itl_name), 8, ITL_EDGES)
    histogram(prefix + "request_prompt_tokens", 9, PROMPT_EDGES)
    histogram(prefix + "request_generation_tokens", 10, OUTPUT_EDGES)


# ---- GPUs ---------------------------------------------------------------------------------------


def dcgm(store, fleet, node):
    """One exporter: for each device or MIG instance a row a scrape, labelled with who holds it."""
    gpu, interval = node.gpu, fleet.interval
    begin, end = max(fleet.start, node.created), min(fleet.end, node.ended)
    first = fleet.start - fleet.start % interval + fleet.phase("dcgm", node.name)
    ticks = store.times(first, interval, node.name, begin, end)
    down = node.dcgm_down
    ok = [(t, w) for t, w in ticks if not any(a <= t < b for a, b in down)]
    target = {"job": "dcgm-exporter", "instance": f"{node.ip}:9400"}
    store.add("up", target, [(w, 0 if any(a <= t < b for a, b in down) else 1) for t, w in ticks])
    pods = [(s, p) for s in fleet.services for p in s.pods if p.node is node]
    units = [(slot, None, None) for slot in range(node.instance.gpus)]
    if node.mig:
        units = [(0, gi, profile) for gi, profile, _ in node.mig]
    for slot, gi, profile in units:
        row = dict(target, gpu=str(slot), UUID=f"GPU-{uid(fleet.seed, node.name, slot)}", device=f"nvidia{slot}",
                   modelName=gpu.dcgm, DCGM_FI_DRIVER_VERSION="570.172.08")
        row[fleet.host_label] = node.name
        mib = gpu.mib
        if gi is not None:
            row.update(GPU_I_ID=str(gi), GPU_I_PROFILE=profile)
            mib = int(gpu.mib * {"3g.40gb": 0.5, "2g.20gb": 0.25, "1g.10gb": 0.125}[profile])
        mine = [(s, p) for s, p in pods if slot in p.slots and (gi is None or p.mig == gi)]
        device(store, fleet, node, row, ok, mine, mib, f"{node.name}/{slot}/{gi}", gi is not None)


def device(store, fleet, node, row, ok, mine, mib, key, mig):
    gpu, rng = node.gpu, rng_of(fleet.seed, "device", key)
    shown = {}
    for s, p in mine:
        if p.replica is None:
            continue
        # A worker's node is scraped at another phase than its leader's.
        shift = fleet.phase("dcgm", node.name) - fleet.phase("dcgm", p.replica.pods[0].node.name)
        shown[id(p)] = {t + shift: (active, duty, batch) for t, active, duty, batch in p.replica.gpu}
    values = []
    stuck = any(s.stuck_gauge for s, _ in mine)
    vanishes = any(s.util_vanishes for s, _ in mine)
    if node.fraction:  # one label for all that share the device
        mine_rows = mine[:1]
    else:
        mine_rows = mine
    for t, written in ok:
        level, used, batch = 0.0, 4.0, 0
        for s, p in mine:
            if not p.holds(t):
                continue
            share = s.share[0] / s.share[1] if not mig else 1.0
            if t < p.ready:
                used += 0.3 * mib * share
                level = max(level, 0.06 * rng.random())  # weights come in
                continue
            used += (0.03 if s.asleep else 0.88) * mib * share
            if not p.is_ready(t):
                continue
            if s.gpu_load is not None:
                level = max(level, s.gpu_load * (0.75 + 0.5 * rng.random()) if s.gpu_load else 0.0)
                batch = 8 if s.gpu_load else 0
                continue
            state = shown.get(id(p), {}).get(t)
            if state and state[0]:
                duty = 0.93 + 0.06 * rng.random() if state[1] >= 0.999 else state[1] * (0.6 + 0.6 * rng.random())
                level, batch = max(level, min(1.0, duty)), batch + state[2]
        intensity = min(1.0, 0.45 + batch / 60)
        power = gpu.idle_w * (1.0 if used < 100 else 1.25) + 0.4 * rng.random()
        power += (gpu.tdp_w - power) * level * (0.4 + 0.5 * intensity)
        values.append((t, written, level, used, power, level * (0.3 + 0.4 * intensity)))
    # A row carries the label of the pod that holds the device; without a holder none.
    spans = [(s, p, p.scheduled, p.ended) for s, p in mine_rows]
    groups = [(dict(row, **holder_labels(fleet, s, p)), a, b) for s, p, a, b in spans]
    free = [v for v in values if not any(a <= v[0] < b for _, _, a, b in spans)]
    fields(store, dict(row, **holder_labels(fleet, None, None)), free, mib, mig, False, False)
    for labels, a, b in groups:
        fields(store, labels, [v for v in values if a <= v[0] < b], mib, mig, stuck, vanishes)


def fields(store, labels, values, mib, mig, stuck, vanishes):
    if not values:
        return
    store.add("DCGM_FI_PROF_GR_ENGINE_ACTIVE", labels, [(w, 0 if stuck else round(level, 4)) for _, w, level, *_ in values])
    store.add("DCGM_FI_PROF_DRAM_ACTIVE", labels, [(w, 0 if stuck else round(dram, 4)) for _, w, _, _, _, dram in values])
    store.add("DCGM_FI_DEV_FB_USED", labels, [(w, int(min(used, mib))) for _, w, _, used, _, _ in values])
    store.add("DCGM_FI_DEV_POWER_USAGE", labels, [(w, round(power, 2)) for _, w, _, _, power, _ in values])
    if not mig:
        store.add("DCGM_FI_DEV_GPU_UTIL", labels,
                  [(w, None if vanishes and level == 0 else min(100, int(level * 104))) for _, w, level, *_ in values])


def holder_labels(fleet, s, p):
    own = {"namespace": "gpu-operator", "pod": "nvidia-dcgm-exporter-x7f2p", "container": "nvidia-dcgm-exporter"}
    if s is None:
        return own if fleet.exported else {}
    if p.node.fraction:  # the device plugin gave the device to the pod that reserves it
        mine = {"namespace": "kai-resource-reservation", "pod": reservation_name(fleet, p.node),
                "container": "resource-reservation"}
        return dict(own, **{f"exported_{k}": v for k, v in mine.items()}) if fleet.exported else mine
    mine = {"namespace": s.ns, "pod": p.name, "container": layers.container_name(s) if p.leader else "vllm-worker"}
    return dict(own, **{f"exported_{k}": v for k, v in mine.items()}) if fleet.exported else mine


# ---- CPU and scalers ----------------------------------------------------------------------------


def cadvisor(store, fleet, node):
    interval = 60
    begin, end = max(fleet.start, node.created), min(fleet.end, node.ended)
    first = fleet.start - fleet.start % interval + fleet.phase("cadvisor", node.name)
    ticks = store.times(first, interval, "cadvisor" + node.name, begin, end)
    target = {"job": "kubelet", "metrics_path": "/metrics/cadvisor", "instance": f"{node.ip}:10250", "node": node.name}
    store.add("up", target, [(w, 1) for _, w in ticks])
    for s in fleet.services:
        for p in s.pods:
            if p.node is not node:
                continue
            rng = rng_of(fleet.seed, "cpu", p.name)
            labels = dict(target, namespace=s.ns, pod=p.name,
                          container=layers.container_name(s) if p.leader else "vllm-worker")
            cpu = periods = throttled = 0.0
            last = p.scheduled
            rows = []
            for t, written in ticks:
                if not p.holds(t):
                    continue
                passed, last = t - last if rows else interval, t
                slow = p.replica is not None and p.replica.engine.factor(t) > 1.0
                # Engines burn a core while idle; that is no sign of work.
                cpu += passed * (s.cpu[1] * 0.99 if slow and s.cpu[1] else 1.0 + 0.3 * rng.random())
                periods += passed * 10
                throttled += passed * 10 * (0.7 + 0.2 * rng.random() if slow else 0.01 * rng.random())
                rows.append((written, round(cpu, 2), int(periods), int(throttled)))
            store.add("container_cpu_usage_seconds_total", labels, [(w, c) for w, c, _, _ in rows])
            if s.cpu[1]:
                store.add("container_cpu_cfs_periods_total", labels, [(w, n) for w, _, n, _ in rows])
                store.add("container_cpu_cfs_throttled_periods_total", labels, [(w, n) for w, _, _, n in rows])


def scaler(store, fleet, s):
    if not s.bounds or s.bounds.kind == "hpa":
        return
    ticks = store.times(fleet.start - fleet.start % 60 + 33, 60, "scaler" + s.name, fleet.start, fleet.end)
    if s.bounds.kind == "keda":
        labels = {"job": "keda-operator", "instance": "10.0.9.9:8080", "namespace": s.ns, "scaledObject": s.name,
                  "scaler": "prometheusScaler", "triggerIndex": "0", "metric": "s0-prometheus", "type": "scaledobject"}
        metric, i, rows = s.metric, 0, []
        for t, w in ticks:
            while i + 1 < len(metric) and metric[i + 1][0] <= t:
                i += 1
            rows.append((w, metric[i][1] if metric else 0))
        store.add("keda_scaler_metrics_value", labels, rows)
        store.add("keda_scaler_active", labels, [(w, 1 if v else 0) for w, v in rows])
    else:
        labels = {"job": "knative-autoscaler", "k8s_namespace_name": s.ns, "kn_service_name": s.name,
                  "kn_configuration_name": s.name, "kn_revision_name": f"{s.name}-00001"}
        count = [(w, sum(p.created <= t < p.ended for p in s.pods)) for t, w in ticks]
        store.add("kn_revision_pods_count", labels, count)
        store.add("kn_revision_pods_desired", labels, count)
