"""Owns one service in time: its replicas' lives, the router in front of them, and what was scraped."""

import heapq

from .engine import Engine
from .scaler import SYNC, Scaler


class Pod:
    """One pod. Pods of one replica (a leader and its workers) share the replica's engine."""

    def __init__(self, name, node, slots, created, scheduled, ready, share=(1, 1), role=None, mig=None):
        self.name, self.node, self.slots = name, node, slots
        self.created, self.scheduled, self.ready = created, scheduled, ready
        self.ended = float("inf")
        self.share, self.role, self.mig = share, role, mig
        self.restarts = []  # (down, up)
        self.replica = None
        self.leader = True
        self.group = 0
        self.owner = None
        self.uid = self.ip = None

    def holds(self, t):
        return self.scheduled <= t < self.ended

    def is_ready(self, t):
        return self.ready <= t < self.ended and not any(a <= t < b for a, b in self.restarts)

    @property
    def milli(self):
        return len(self.slots) * self.share[0] / self.share[1]


class Replica:
    """An engine and its pods. Scrapes are taken when time passes them."""

    def __init__(self, speed, pods, slow, engine_phase, gpu_phase, interval, end, role=None):
        self.pods, self.role = pods, role
        self.ready = max(p.ready for p in pods)
        self.created = pods[0].created
        self.engine = Engine(speed, pods[0].scheduled, slow)
        self.ended = float("inf")
        self.end = end
        self.restarts = []
        self.samples, self.gpu = [], []  # (t, snapshot or None), (t, active, duty)
        self.interval = interval
        first = pods[0].scheduled
        self.due = []
        for phase, kind in ((engine_phase, 0), (gpu_phase, 1)):
            t = first - first % interval + phase % interval
            heapq.heappush(self.due, (t if t >= first else t + interval, kind))

    def is_ready(self, t):
        return self.ready <= t < self.ended and not any(a <= t < b for a, b in self.restarts)

    def advance(self, t):
        while self.due and self.due[0][0] <= t:
            at, kind = heapq.heappop(self.due)
            if at >= self.ended or at >= self.end:
                continue
            if at >= self.ready:
                self.engine.advance(at)
            if kind == 0:
                self.samples.append((at, self.engine.snapshot() if self.is_ready(at) else None))
            else:
                slow = self.engine.factor(at)
                self.gpu.append((at, self.engine.active, 1.0 / slow, len(self.engine.running)))
            heapq.heappush(self.due, (at + self.interval, kind))
        if t >= self.ready and t < self.ended:
            self.engine.advance(t)


def serve(service, requests, rng, start, end):
    """Runs a service over its requests. `service` places pods and says how replicas begin."""
    scaler = Scaler(service.bounds) if service.bounds else None
    replicas = service.replicas
    held = []
    for _ in range(service.initial):
        service.add(start, first=True)
    if not service.speed:
        return
    restarts = sorted((down, up, i) for i, spans in service.restart_plan.items() for down, up in spans)
    ri = 0
    tick = start + SYNC if scaler else float("inf")
    i, n = 0, len(requests)
    turn = 0
    history = service.history
    while True:
        now = min(requests[i].at if i < n else end, tick, restarts[ri][0] if ri < len(restarts) else end, end)
        if now >= end:
            break
        if ri < len(restarts) and restarts[ri][0] <= now:
            down, up, index = restarts[ri]
            ri += 1
            if index < len(replicas) and replicas[index].is_ready(down):
                replica = replicas[index]
                replica.advance(down)
                replica.engine.crash(down)
                replica.restarts.append((down, up))
                for pod in replica.pods:
                    pod.restarts.append((down, up))
            continue
        if scaler and tick <= now:
            live = [r for r in replicas if r.ended > now]
            ready = [r for r in live if r.is_ready(now)]
            for r in live:
                r.advance(now)
            total = sum(r.engine.load for r in ready) + len(held)
            want = scaler.desired(now, len(live), len(ready), total)
            if want != len(live):
                history.append((now, len(live), want))
            for _ in range(want - len(live)):
                service.add(now)
            if want < len(live):
                for r in sorted(live, key=lambda r: (r.is_ready(now), -r.created))[: len(live) - want]:
                    service.remove(r, now)
            if held and ready:
                for k, request in enumerate(held):
                    ready[k % len(ready)].engine.accept(request, now)
                held.clear()
            service.metric.append((now, total))
            tick += SYNC
            continue
        request = requests[i]
        i += 1
        ready = [r for r in replicas if r.ready <= now < r.ended and r.is_ready(now)]
        if not ready:
            if not request.probe and len(held) < 400:
                held.append(request)
            continue
        if held:
            for k, old in enumerate(held):
                ready[k % len(ready)].advance(now)
                ready[k % len(ready)].engine.accept(old, now)
            held.clear()
        if request.probe:
            for r in ready:
                r.advance(now)
                r.engine.accept(request, now)
            continue
        roles = sorted({r.role for r in ready}, key=str)
        for role in roles:
            pool = [r for r in ready if r.role == role]
            for r in pool:
                r.advance(now)
            turn += 1
            best = min(range(len(pool)), key=lambda k: (pool[k].engine.load, (k + turn) % len(pool)))
            pool[best].engine.accept(service.part_of(request, role), now)
    for r in replicas:
        r.advance(min(end, r.ended) if r.ended < end else end - 1e-6)
        if r.engine.work_since is not None:
            r.engine.work.append((r.engine.work_since, min(end, r.ended)))
            r.engine.work_since = None
