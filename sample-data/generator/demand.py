"""Owns demand: how many requests and tokens a workload gets in each five minutes.

All engine counters are integrals of these numbers, and all gauges follow from them.
"""

import math

from .clock import BUCKET, BUCKETS, DAY, HOUR, START


def poisson(rng, mean):
    if mean <= 0:
        return 0
    if mean > 60:
        return max(0, int(rng.gauss(mean, math.sqrt(mean)) + 0.5))
    limit, product, count = math.exp(-mean), rng.random(), 0
    while product > limit:
        product *= rng.random()
        count += 1
    return count


def bump(hour, centre, width):
    """A smooth daily peak in 0..1 around `centre`."""
    away = min(abs(hour - centre), 24 - abs(hour - centre))
    return math.exp(-((away / width) ** 2))


def rhythm(kind, t):
    """The share of the peak rate at time t: daily and weekly rhythm."""
    hour = (t % DAY) / HOUR
    weekend = time_weekday(t) >= 5
    if kind == "office":
        return (0.12 + 0.88 * bump(hour, 14, 4.5)) * (0.45 if weekend else 1.0)
    if kind == "consumer":
        return (0.22 + 0.78 * bump(hour, 19.5, 5.0)) * (1.0 if weekend else 0.9)
    if kind == "flat":
        return 0.94 + 0.06 * bump(hour, 15, 6)
    if kind == "off-4-hours":
        return 0.0 if 1 <= hour < 5 else 0.40 + 0.60 * bump(hour, 17, 5)
    if kind == "off-10-hours":
        off = hour >= 20 or hour < 6
        return 0.0 if off else (0.35 + 0.65 * bump(hour, 13, 4)) * (0.6 if weekend else 1.0)
    if kind == "none":
        return 0.0
    raise ValueError(kind)


def time_weekday(t):
    return (t // DAY + 3) % 7  # the epoch was a Thursday


class Load:
    """What one serving pod did in each bucket."""

    def __init__(self):
        n = BUCKETS
        self.requests = [0] * n
        self.prompt = [0] * n
        self.output = [0] * n
        self.running = [0.0] * n
        self.waiting = [0] * n
        self.activity = [0.0] * n
        self.throttled = [0.0] * n
        self.starved = [False] * n
        self.itl = [0.0] * n


def spread(load, b, requests, spec, rng):
    """Put `requests` into bucket b of a pod and derive tokens, concurrency and activity."""
    if requests <= 0:
        return
    load.requests[b] = requests
    sigma = 0.5 / math.sqrt(requests)
    prompt = int(requests * spec["prompt"] * max(0.3, 1 + rng.gauss(0, sigma)))
    output = int(requests * spec["output"] * max(0.3, 1 + rng.gauss(0, sigma)))
    load.prompt[b] = max(prompt, requests)
    load.output[b] = max(output, requests) if spec["output"] > 0 else 0
    # Each further request in the batch slows a step by `slope`, so concurrency (Little's law)
    # and inter-token time are one fixed point.
    slope = spec.get("slope", 0.01)
    decode = load.output[b] * spec["itl"] / BUCKET
    load.running[b] = (spec["ttft"] * requests / BUCKET + decode) / max(0.1, 1 - slope * decode)
    load.itl[b] = spec["itl"] * (1 + slope * load.running[b])
    load.activity[b] = spec.get("intensity", 1.0) * (1 - math.exp(-load.running[b]))


def serve(workload, rng):
    """Fill every pod's load from the workload's demand, split over its ready pods."""
    spec = workload.demand
    for pod in workload.pods:
        pod.load = Load()
    if spec["rhythm"] == "none" and not spec.get("probes"):
        return
    backlog = 0
    for b in range(BUCKETS):
        t = START + b * BUCKET
        ready = [p for p in workload.pods if p.serves(t) and spec_awake(spec, t)]
        if not ready:
            continue
        if spec.get("probes"):
            for pod in ready:
                spread(pod.load, b, spec["probes"], spec, rng)
                pod.load.activity[b] = 0.004
            continue
        arrivals = poisson(rng, spec["peak"] * rhythm(spec["rhythm"], t) * BUCKET)
        if spec.get("cpu_bound"):
            backlog = starve(ready[0].load, b, t, arrivals, backlog, spec, rng)
            continue
        share, extra = divmod(arrivals, len(ready))
        for i, pod in enumerate(ready):
            spread(pod.load, b, share + (1 if (i + b) % len(ready) < extra else 0), spec, rng)
            if pod.load.running[b] > spec.get("batch", 256):
                pod.load.waiting[b] = int(pod.load.running[b] - spec["batch"])
                pod.load.running[b] = spec["batch"]


def spec_awake(spec, t):
    return "asleep_from" not in spec or t < spec["asleep_from"]


def starve(load, b, t, arrivals, backlog, spec, rng):
    """The agent whose CPU limit holds its GPU back in working hours: the queue grows."""
    hour = (t % DAY) / HOUR
    held = 8 <= hour < 20
    capacity = int(spec["held_rate" if held else "free_rate"] * BUCKET * (1 + rng.gauss(0, 0.03)))
    done = min(capacity, backlog + arrivals)
    backlog = min(backlog + arrivals - done, 2000)
    spread(load, b, done, spec, rng)
    load.waiting[b] = backlog
    if held:
        load.itl[b] = spec["held_itl"]
        load.running[b] = 0.3 + load.output[b] * spec["held_itl"] / BUCKET
        load.activity[b] = 0.08 + 0.04 * rng.random()
        load.throttled[b] = 0.72 + 0.14 * rng.random()
        load.starved[b] = backlog > 0
    else:
        load.throttled[b] = 0.05 + 0.05 * rng.random()
    return backlog
