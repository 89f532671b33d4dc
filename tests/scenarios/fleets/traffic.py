"""Owns when requests arrive and how long they are."""

import math
import random
from dataclasses import dataclass

DAY, HOUR = 86400.0, 3600.0


@dataclass(frozen=True)
class Request:
    at: float
    prompt: int
    cached: int
    output: int
    probe: bool = False


@dataclass
class Shape:
    """Demand of one workload. `rate` is the mean of the busiest hour, requests a second."""

    rate: float
    prompt: float
    output: float
    rhythm: str = "day"  # flat, day, office, night-lull, none, batch-hours
    weekend: float = 1.0
    bursts: float = 0.0  # bursts a day
    cached: float = 0.0
    probe_every: float = 0.0  # seconds; 0: no probes that reach the engine
    quiet: tuple = ()  # spans without any request
    spread: float = 0.6  # of the lengths, as sigma of a lognormal


def level(shape, t):
    """Share of the peak at t, between 0 and 1."""
    hour = (t % DAY) / HOUR
    weekday = int(t // DAY + 3) % 7  # 1970-01-01 was a Thursday
    factor = shape.weekend if weekday >= 5 else 1.0
    if any(a <= t < b for a, b in shape.quiet):
        return 0.0
    if shape.rhythm == "none":
        return 0.0
    if shape.rhythm == "flat":
        return factor
    wave = 0.5 - 0.5 * math.cos((hour - 3) / 24 * 2 * math.pi)
    if shape.rhythm == "day":
        return factor * (0.35 + 0.65 * wave)
    if shape.rhythm == "deep":  # a deep night, never empty
        return factor * (0.08 + 0.92 * wave ** 2)
    if shape.rhythm == "office":  # nothing at all from 20:00 to 07:00
        return factor * (0.4 + 0.6 * wave) if 7 <= hour < 20 else 0.0
    if shape.rhythm == "night-lull":  # nothing from 01:00 to 05:00
        return factor * (0.4 + 0.6 * wave) if not 1 <= hour < 5 else 0.0
    raise ValueError(shape.rhythm)


def arrivals(shape, start, end, rng):
    """Poisson arrivals, thinned by the rhythm and by a slow noise, in order of time."""
    out = []
    noise, until = 1.0, start
    bursts = []
    if shape.bursts:
        t = start
        while True:
            t += rng.expovariate(shape.bursts / DAY)
            if t >= end:
                break
            bursts.append((t, t + rng.uniform(60, 400)))
    burst = 0
    top = shape.rate * 1.9
    t = start
    while top > 0 and shape.rhythm != "none":
        t += rng.expovariate(top)
        if t >= end:
            break
        if t > until:
            noise = min(1.3, max(0.65, rng.gauss(1.0, 0.12)))
            until = t + rng.uniform(300, 1800)
        while burst < len(bursts) and bursts[burst][1] < t:
            burst += 1
        lift = 1.4 if burst < len(bursts) and bursts[burst][0] <= t else 1.0
        if rng.random() * 1.9 < level(shape, t) * noise * lift:
            out.append(request(shape, t, rng))
    if shape.probe_every:
        t = start + rng.uniform(0, shape.probe_every)
        while t < end:
            out.append(Request(t, 6 + rng.randrange(4), 0, 1 + rng.randrange(5), True))
            t += shape.probe_every
        out.sort(key=lambda r: r.at)
    return out


def request(shape, t, rng):
    prompt = max(24, int(rng.lognormvariate(math.log(shape.prompt) - shape.spread ** 2 / 2, shape.spread)))
    output = max(20, int(rng.lognormvariate(math.log(shape.output) - shape.spread ** 2 / 2, shape.spread)))
    prompt, output = min(prompt, 10000), min(output, 4000)
    return Request(t, prompt, int(prompt * shape.cached * rng.uniform(0.5, 1.5)) if shape.cached else 0, output)


def rng_of(*parts):
    return random.Random("/".join(str(p) for p in parts))
