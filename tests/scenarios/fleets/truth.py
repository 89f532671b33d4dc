"""Owns the truth of a fleet: where every GPU-hour went, known from the generator's own events.

It never looks at the telemetry, only at when the engines had requests, when pods lived and what the
exporters hid. Each number is [low, centre, high]: thresholds are met within a few scrapes, a hole's
edges hold for some minutes.
"""

import math

from .layers import TOP_KIND
from .objects import rfc3339
from .state import INTERVAL as STATE_INTERVAL, PHASE as STATE_PHASE
from .traffic import DAY, HOUR

GRID = 15
LULL, DARK, BRIDGE = 1800, 21600, 1800
CLASSES = ("pending", "non_serving", "unknown", "standby", "starved", "dark", "lull", "serving")
# low, centre, high: dark runs' length, how far work reaches, how holes reach, in seconds
VARIANTS = {"low": (240, 60, 150), "centre": (0, 0, 0), "high": (-240, -60, -630)}
# How good a replica is against this suite's model, when sizing: the product must be pessimistic.
SIZING = {"low": 0.5, "centre": 0.8, "high": 1.25}
HEADROOM = 0.75
SNAPSHOT_HOLDS = 1800  # a snapshot is expected every half hour


def paint(row, begin, spans, value, only=None):
    n, end = len(row), begin + len(row) * GRID
    for a, b in spans:
        a, b = min(max(a, begin), end), min(max(b, begin), end)
        i, j = int((a - begin) // GRID), min(n, int(-(-(b - begin) // GRID)))
        if only is None:
            row[i:j] = bytes([value]) * max(0, j - i)
        else:
            for k in range(i, j):
                if row[k] in only:
                    row[k] = value


OUT, QUIET, WORK, STARVED, PENDING, UNKNOWN, STANDBY, BATCH = range(8)


def marks(fleet, s, pod, variant):
    _, reach, edge = VARIANTS[variant]
    begin, end = fleet.start, fleet.end
    row = bytearray([QUIET]) * int((end - begin) // GRID)
    if s.job:
        paint(row, begin, [(begin, end)], BATCH)
    else:
        if s.asleep:
            paint(row, begin, [(begin, end)], STANDBY)
        if s.gpu_load:
            paint(row, begin, [(begin, end)], UNKNOWN)
        shared = pod.node.sharing > 1 or pod.node.fraction
        engine_holes = fleet.gaps + s.engine_gaps
        gpu_holes = [] if shared else fleet.gaps + pod.node.dcgm_down
        holes = widen(engine_holes + gpu_holes, edge, fleet.interval)
        paint(row, begin, holes, UNKNOWN)
        paint(row, begin, [(pod.scheduled, pod.ready)] + pod.restarts, PENDING)
        work = []
        phase = fleet.phase("engine", pod.replica.pods[0].name) if pod.replica else 0
        for a, b in (pod.replica.engine.work if pod.replica else []):
            # A counter moves at some time between two scrapes: the whole interval is measured work.
            i = fleet.interval
            work.append(((a - phase) // i * i + phase - reach, -(-(b - phase) // i) * i + phase + reach))
        paint(row, begin, work, WORK)
        # What neither engine nor GPU showed is not measured.
        paint(row, begin, widen(fleet.gaps, edge, fleet.interval), UNKNOWN, {WORK})
        slow = [(a, b) for a, b, _ in s.slow]
        paint(row, begin, slow, STARVED, {WORK})
    paint(row, begin, [(begin, pod.scheduled), (pod.ended, end)], OUT)
    return row


def widen(spans, edge, interval):
    return [(a - edge, b + edge) for a, b in spans if b - a + 2 * edge > 2.5 * interval]


def classes(row, variant):
    """Seconds of runs by class, as (class, first cell, last cell)."""
    dark = DARK + VARIANTS[variant][0]
    runs, i, n = [], 0, len(row)
    while i < n:
        j = i
        while j < n and row[j] == row[i]:
            j += 1
        runs.append((row[i], i, j))
        i = j
    out, k = [], 0
    while k < len(runs):
        code, i, j = runs[k]
        if code != QUIET:
            out.append(({WORK: "serving", STARVED: "starved", PENDING: "pending", UNKNOWN: "unknown", OUT: None,
                         STANDBY: "standby", BATCH: "non_serving"}[code], i, j))
            k += 1
            continue
        group, quiet, m = [], 0, k
        while m < len(runs):
            if runs[m][0] == QUIET:
                group.append(m)
                quiet += runs[m][2] - runs[m][1]
                m += 1
                continue
            hole, first = 0, m
            while m < len(runs) and runs[m][0] in (PENDING, UNKNOWN):
                hole += runs[m][2] - runs[m][1]
                m += 1
            if hole and hole * GRID <= BRIDGE and m < len(runs) and runs[m][0] == QUIET:
                continue
            m = first
            break
        seconds = quiet * GRID
        name = "dark" if seconds >= dark else "lull" if seconds >= LULL else "serving"
        for x in range(k, m):
            code, i, j = runs[x]
            out.append((name if code == QUIET else "pending" if code == PENDING else "unknown", i, j))
        k = max(m, k + 1)
    return out


def by_hour(fleet, s, variant):
    """GPU-hours of a service by class, in all and for serving and lull by hour of the window."""
    total = dict.fromkeys(CLASSES, 0.0)
    hours = [0.0] * int((fleet.last - fleet.first) // HOUR)
    replicas = [0.0] * len(hours)
    for pod in s.pods:
        weight = pod.milli
        for name, i, j in classes(marks(fleet, s, pod, variant), variant):
            if name is None:
                continue
            a, b = max(fleet.start + i * GRID, fleet.first), min(fleet.start + j * GRID, fleet.last)
            if b <= a:
                continue
            total[name] += (b - a) / HOUR * weight
            if name in ("serving", "lull"):
                h = int((a - fleet.first) // HOUR)
                while a < b:
                    edge = min(b, fleet.first + (h + 1) * HOUR)
                    hours[h] += (edge - a) / HOUR * weight
                    replicas[h] += (edge - a) / HOUR / s.pods_per_replica
                    a, h = edge, h + 1
    return total, hours, replicas


def demand(fleet, s):
    """Means, and for each hour its busiest five minutes as requests a second of mean length."""
    real = [r for r in s.requests if not r.probe and fleet.first <= r.at < fleet.last]
    if not real:
        return None
    prompt = sum(r.prompt for r in real) / len(real)
    net = sum(r.prompt - r.cached for r in real) / len(real)
    output = sum(r.output for r in real) / len(real)
    buckets = {}
    for r in real:
        b = int((r.at - fleet.first) // 300)
        p, o, c = buckets.get(b, (0, 0, 0))
        buckets[b] = (p + r.prompt - r.cached, o + r.output, c + 1)
    hours = [0.0] * int((fleet.last - fleet.first) // HOUR)
    days = [0.0] * fleet.days
    for b, (p, o, _) in buckets.items():
        rate = max(p / net, o / output) / 300
        hours[b // 12] = max(hours[b // 12], rate)
        days[b // 288] = max(days[b // 288], rate)
    return {"requests": len(real), "prompt": round(prompt, 1), "net": round(net, 1), "output": round(output, 1),
            "hours": [round(h, 4) for h in hours], "peak": sorted(days)[-2] if len(days) > 1 else days[-1],
            "days_seen": sum(d > 0 for d in days)}


def surplus(fleet, s, asked, hours, variant, slo=(2.0, 0.1)):
    """GPU-hours up beyond what demand needed, with headroom; sized hourly if something scales it."""
    if asked is None or s.roles != [None] or not s.speed:
        return 0.0
    one = s.speed.capacity(asked["prompt"], asked["output"], asked["net"], *slo) * SIZING[variant] * HEADROOM
    if one <= 0:
        return 0.0
    total = 0.0
    for rate, available in zip(asked["hours"], hours):
        need = math.ceil((rate if s.bounds else asked["peak"]) / one)
        total += max(0.0, available - max(1, need) * s.gpu_per_replica)
    return total


def overlap(a, b, c, d):
    return max(0.0, min(b, d) - max(a, c))


def evidence(fleet, node):
    """Moments at which something tells of a node, each with how long that source's word holds."""
    looks = [(t, STATE_INTERVAL) for t in range(int(fleet.start) - int(fleet.start) % STATE_INTERVAL + STATE_PHASE,
                                                int(fleet.end), STATE_INTERVAL)]
    first = fleet.start - fleet.start % fleet.interval + fleet.phase("dcgm", node.name)
    looks += [(first + k * fleet.interval, fleet.interval) for k in range(int((fleet.end - first) // fleet.interval) + 1)
              if not any(a <= first + k * fleet.interval < b for a, b in node.dcgm_down)]
    looks = [(t, hold) for t, hold in looks if not any(a <= t < b for a, b in fleet.gaps)]
    looks += [(t, SNAPSHOT_HOLDS) for t in fleet.snapshots]
    return [(t, hold) for t, hold in looks if node.created <= t < node.ended]


def ends(fleet, node):
    """The earliest and the latest end of a node's life that its evidence allows.

    A life is seen to its last sign and one sampling interval more: a node that goes while nothing looks
    is lost from the hole's begin, one that goes between two scrapes stays for an interval.
    """
    seen = max((t + hold for t, hold in evidence(fleet, node)), default=node.created)
    return min(node.ended, seen), max(node.ended, seen)


def capacity(fleet):
    """GPU-hours of the fleet in its window: what is certain, what was, what may be taken for it."""
    out = [0.0, 0.0, 0.0]
    for n in fleet.nodes:
        early, late = ends(fleet, n)
        for i, end in enumerate((early, n.ended, late)):
            out[i] += overlap(n.created, end, fleet.first, fleet.last) / HOUR * n.instance.gpus
    return [round(x, 3) for x in out]


def unallocated(fleet):
    rows = {}
    for pool in fleet.pools:
        for node in pool.nodes:
            free = []
            early, late = ends(fleet, node)
            for end in (early, node.ended, late):
                life = overlap(node.created, end, fleet.first, fleet.last)
                held = sum(overlap(p.scheduled, p.ended, max(fleet.first, node.created), min(fleet.last, end)) * p.milli
                           for p in pool.pods if p.node is node)
                free.append(max(0.0, life * node.instance.gpus - held) / HOUR)
            life = overlap(node.created, early, fleet.first, fleet.last) / HOUR
            blind = sum(overlap(a, b, fleet.first, fleet.last) for a, b in fleet.gaps + node.dcgm_down) / HOUR
            row = rows.setdefault((node.instance.name, node.instance.gpu), [0.0, 0.0, 0.0, node.usd_per_gpu])
            fraction = free[0] / life if life else 0.0
            # A pod that leaves is seen for a scrape more, too.
            edge = 0.15 if node.elastic else 0.02
            row[0] += max(0.0, free[0] - blind * fraction - edge)
            row[1] += free[1]
            row[2] += free[2] + edge
    return [{"instance": k[0], "product": k[1], "gpu_hours": [round(x, 3) for x in v[:3]], "usd": v[3]}
            for k, v in sorted(rows.items())]


def merged(spans):
    """Spans in whole seconds, pauses of under two minutes closed."""
    out = []
    for a, b in sorted(spans):
        if out and a - out[-1][1] < 120:
            out[-1][1] = max(out[-1][1], round(b))
        else:
            out.append([round(a), round(b)])
    return out


def truth(fleet):
    services = []
    for s in fleet.services:
        total, hours, _ = by_hour(fleet, s, "centre")
        dark, starved, spare, used = [], [], [], []
        asked = demand(fleet, s)
        for variant in ("low", "centre", "high"):
            t, h, _ = (total, hours, None) if variant == "centre" else by_hour(fleet, s, variant)
            dark.append(round(t["dark"], 3))
            starved.append(round(t["starved"], 3))
            used.append(round(t["serving"] + t["lull"], 3))
            spare.append(round(surplus(fleet, s, asked, h, variant), 3))
        measured = [{"node": pod.node.name, "slots": pod.slots, "spans": merged(pod.replica.engine.work)}
                    for pod in s.pods if pod.replica and pod.replica.engine.work]
        services.append({
            "cluster": fleet.cluster, "namespace": s.ns, "kind": TOP_KIND[s.layer], "name": s.name, "archetype": s.archetype,
            "layer": s.layer, "exporter": s.exporter, "model": s.model.name if s.model else None,
            "product": s.pool.instance.gpu, "instance": s.pool.instance.name, "usd": s.usd, "gpus": s.gpu_per_replica,
            "replicas": s.initial, "bounds": [s.bounds.kind, s.bounds.low, s.bounds.high] if s.bounds else None,
            "hours": {k: round(v, 3) for k, v in total.items() if v}, "dark": sorted(dark), "starved": sorted(starved), "surplus": sorted(spare),
            "used": sorted(used), "used_hours": [round(h, 3) for h in hours], "demand": asked, "quality": s.quality,
            "work": measured})
    return {"seed": fleet.seed, "cluster": fleet.cluster, "from": rfc3339(fleet.first), "to": rfc3339(fleet.last),
            "days": fleet.days, "capacity_gpu_hours": capacity(fleet),
            "capacity_usd": round(sum(overlap(n.created, n.ended, fleet.first, fleet.last) / HOUR * float(n.instance.usd)
                                      for n in fleet.nodes), 2),
            "unallocated": unallocated(fleet), "services": services,
            "faults": {"gaps": [[rfc3339(a), rfc3339(b)] for a, b in fleet.gaps], "exported": fleet.exported}}
