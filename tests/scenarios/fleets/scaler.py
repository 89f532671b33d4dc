"""Owns the autoscalers, written from upstream documentation: HPA, KEDA and Knative's.

HPA: desired = ceil(current × metric ÷ target), nothing within a tolerance of 10 %, every 15 s; up at
most by the larger of four pods and 100 % each step; down only to the highest wish of five minutes.
KEDA: zero to one as soon as its trigger is active, back to zero after the cool-down, an HPA between.
Knative: concurrency averaged over a minute, zero after the window and a grace of 30 s.
"""

import math
from collections import deque
from dataclasses import dataclass

SYNC = 15.0


@dataclass
class Bounds:
    kind: str  # hpa, keda, knative
    low: int
    high: int
    target: float  # requests running and waiting, per pod
    cooldown: float = 300.0
    stabilise: float = 300.0


class Scaler:
    def __init__(self, bounds):
        self.b = bounds
        self.wishes = deque()
        self.seen = deque()  # Knative's window of concurrency
        self.active_at = None

    def desired(self, t, current, ready, total):
        """Replicas wanted at t: `total` requests in engines and gateway, `ready` of `current` pods ready."""
        b = self.b
        if b.kind == "knative":
            self.seen.append((t, total))
            while self.seen[0][0] < t - 60:
                self.seen.popleft()
            total = sum(v for _, v in self.seen) / len(self.seen)
        if total > 0 or self.active_at is None:
            self.active_at = t
        if b.low == 0 and b.kind != "hpa":
            if current == 0:
                return 1 if total > 0 else 0
            idle = t - self.active_at
            if total == 0 and idle >= (90.0 if b.kind == "knative" else b.cooldown):
                self.wishes.clear()
                return 0
        if current == 0:
            return max(1, b.low)
        floor = max(1, b.low)
        mean = total / current if ready == 0 else total / ready
        # Pods that are not ready count as idle when scaling up, so they damp the wish.
        ratio = mean / b.target
        if ratio > 1 and ready < current:
            ratio = max(1.0, total / current / b.target)
        wish = current if abs(ratio - 1) <= 0.1 else math.ceil(total / b.target) if b.kind != "hpa" else math.ceil(
            (current if ratio > 1 else ready or current) * ratio)
        wish = max(floor, min(b.high, wish))
        self.wishes.append((t, wish))
        window = 60.0 if b.kind == "knative" else b.stabilise
        while self.wishes[0][0] < t - window:
            self.wishes.popleft()
        if wish > current:
            return min(wish, current + max(4, current))
        return min(current, max(w for _, w in self.wishes))
