"""Owns the series of the inference engines: vLLM (current and old names) and SGLang."""

import math
import random

from .clock import BUCKET, BUCKETS, START, bucket, scrape_times
from .fleet import SEED
from .series import NAN

# Real engines have more buckets; a relabel rule that keeps ten is common and is assumed here.
TTFT = [0.02, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0]
ITL = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5]
PROMPT = [50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0, 20000.0]
OUTPUT = [10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0]


def lognormal_cdf(mean, sigma, edges):
    mu = math.log(mean) - sigma * sigma / 2
    return [0.5 * math.erfc((mu - math.log(e)) / (sigma * math.sqrt(2))) for e in edges]


class Counter:
    """A counter from its increase in each bucket; it starts again at zero after a restart."""

    def __init__(self, increases, resets):
        self.increases = increases
        self.base = [0] * (BUCKETS + 1)
        total = 0
        for b, increase in enumerate(increases):
            if b in resets:
                total = 0
            self.base[b] = total
            total += increase
        self.base[BUCKETS] = total

    def at(self, times, up, scale=1):
        """Values at the scrapes; a counter of 128ths is given with scale 128."""
        values = []
        for t, ok in zip(times, up):
            if not ok:
                values.append(NAN)
                continue
            b, inside = divmod(t - START, BUCKET)
            value = self.base[b] + self.increases[b] * inside // BUCKET
            values.append(value / scale)
        return values


def histogram_increases(counts, means, sigma, edges, rng):
    """Cumulative bucket increases, and the sum's in 128ths."""
    buckets = [[0] * BUCKETS for _ in range(len(edges) + 1)]
    sums = [0] * BUCKETS
    cache = {}
    for b in range(BUCKETS):
        n = counts[b]
        if n <= 0:
            continue
        mean = max(float(f"{means[b]:.2g}"), 1e-4)
        cdf = cache.get(mean)
        if cdf is None:
            cdf = cache[mean] = lognormal_cdf(mean, sigma, edges)
        u = rng.random()
        last = 0
        for i, p in enumerate(cdf):
            last = max(last, min(n, int(p * n + u)))
            buckets[i][b] = last
        buckets[-1][b] = n
        sums[b] = int(n * mean * (1 + rng.gauss(0, 0.1 / math.sqrt(n))) * 128)
    return buckets, sums


def emit_engine(store, pod, offset):
    """All series of one engine process."""
    w, load = pod.workload, pod.load
    rng = random.Random(f"{SEED}/engine/{w.cluster}/{pod.name}")
    container = container_name(w)
    base = {"job": w.engine, "namespace": w.ns, "pod": pod.name, "container": container,
            "endpoint": "http", "instance": f"{pod.ip}:8000"}
    key = store.target(("engine", w.ns, pod.name), scrape_times(offset, w.fine))
    times = store.times(key)
    exists = [pod.scheduled + 20 <= t < pod.ended for t in times]
    up = [pod.is_ready(t) for t in times]
    store.add(key, "up", base, [(1 if u else 0) if e else NAN for e, u in zip(exists, up)])
    resets = {bucket(a) + 1 for a, _ in pod.restarts}
    labels = dict(base, model_name=w.served)
    if w.engine == "vllm":
        labels["engine"] = "0"
    else:
        labels.update(engine_type="unified", tp_rank="0", pp_rank="0")

    def gauge(name, fn, extra=None):
        store.add(key, name, dict(labels, **(extra or {})),
                  [fn((t - START) // BUCKET) if ok else NAN for t, ok in zip(times, up)])

    def counter(name, increases, extra=None, scale=1):
        store.add(key, name, dict(labels, **(extra or {})),
                  Counter(increases, resets).at(times, up, scale))

    def histogram(name, counts, means, sigma, edges):
        buckets, sums = histogram_increases(counts, means, sigma, edges, rng)
        for edge, increases in zip([*edges, "+Inf"], buckets):
            le = edge if isinstance(edge, str) else repr(edge)
            counter(name + "_bucket", increases, {"le": le})
        counter(name + "_count", buckets[-1])
        counter(name + "_sum", sums, scale=128)

    kv = [min(127, round(128 * (r * (w.demand["prompt"] + w.demand["output"] / 2)) / w.kv_tokens)) / 128
          for r in load.running]
    ttft = [w.demand["ttft"] * (1 + 0.002 * r) + (90 if s else 0.02 * q)
            for r, q, s in zip(load.running, load.waiting, load.starved)]
    gaps = [max(0, o - r) for o, r in zip(load.output, load.requests)]
    itl = [max(v, 0.001) for v in load.itl]
    length = [o / r if r else 1 for o, r in zip(load.output, load.requests)]
    prompt = [p / r if r else 1 for p, r in zip(load.prompt, load.requests)]
    running = [instant(r, rng) for r in load.running]

    if w.engine == "sglang":
        gauge("sglang:num_running_reqs", lambda b: running[b])
        gauge("sglang:num_queue_reqs", lambda b: load.waiting[b])
        gauge("sglang:token_usage", lambda b: kv[b])
        store.add(key, "sglang:cache_config_info",
                  dict(labels, page_size="1", num_pages=str(w.kv_tokens)), [1 if u else NAN for u in up])
        counter("sglang:num_requests_total", load.requests)
        counter("sglang:prompt_tokens_total", load.prompt)
        counter("sglang:generation_tokens_total", load.output)
        histogram("sglang:time_to_first_token_seconds", load.requests, ttft, 0.6, TTFT)
        histogram("sglang:inter_token_latency_seconds", gaps, itl, 0.12, ITL)
        return

    gauge("vllm:num_requests_running", lambda b: running[b])
    gauge("vllm:num_requests_waiting", lambda b: load.waiting[b])
    gauge("vllm:gpu_cache_usage_perc" if w.old_names else "vllm:kv_cache_usage_perc", lambda b: kv[b])
    store.add(key, "vllm:cache_config_info",
              dict(base, engine="0", block_size="16", num_gpu_blocks=str(w.kv_tokens // 16)),
              [1 if u else NAN for u in up])
    counter("vllm:prompt_tokens_total", load.prompt)
    counter("vllm:generation_tokens_total", load.output)
    stopped = [n - n // 12 for n in load.requests]
    counter("vllm:request_success_total", stopped, {"finished_reason": "stop"})
    counter("vllm:request_success_total", [n // 12 for n in load.requests],
            {"finished_reason": "length"})
    counter("vllm:num_preemptions_total", [0] * BUCKETS)
    if w.lengths:
        counter("vllm:prefix_cache_queries_total", load.prompt)
        counter("vllm:prefix_cache_hits_total", [p // 8 for p in load.prompt])
        histogram("vllm:request_prompt_tokens", load.requests, prompt, 0.7, PROMPT)
        histogram("vllm:request_generation_tokens", load.requests, length, 0.7, OUTPUT)
    if "asleep_from" in w.demand:
        asleep = [t >= w.demand["asleep_from"] for t in times]
        for state, when in (("awake", False), ("weights_offloaded", True), ("discard_all", None)):
            store.add(key, "vllm:engine_sleep_state", dict(labels, sleep_state=state),
                      [(1 if when is not None and a == when else 0) if u else NAN
                       for a, u in zip(asleep, up)])
    if w.demand["output"] > 0:
        histogram("vllm:time_to_first_token_seconds", load.requests, ttft, 0.6, TTFT)
        histogram("vllm:time_per_output_token_seconds" if w.old_names
                  else "vllm:inter_token_latency_seconds", gaps, itl, 0.12, ITL)


def instant(mean, rng):
    """A gauge sampled at one moment around a mean concurrency."""
    if mean <= 0:
        return 0
    if mean < 1:
        return 1 if rng.random() < mean else 0
    return max(0, int(rng.gauss(mean, math.sqrt(mean) / 2) + 0.5))


def container_name(w):
    return {"isvc": "kserve-container", "job": "trainer"}.get(w.chain, "main")


__all__ = ["emit_engine", "container_name"]
