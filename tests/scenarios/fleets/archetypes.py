"""Owns the kinds of services that fleets are made of, and the faults of their telemetry."""

from . import layers
from .plan import Fleet, Size
from .physics import MODELS, Speed
from .scaler import Bounds
from .service import serve
from .traffic import DAY, HOUR, Shape, arrivals, rng_of

AWS = [("g6.xlarge", "Qwen/Qwen2.5-3B-Instruct"), ("g6.xlarge", "Qwen/Qwen2.5-7B-Instruct"),
       ("g5.xlarge", "mistralai/Mistral-7B-Instruct-v0.3"), ("g6e.xlarge", "Qwen/Qwen2.5-14B-Instruct"),
       ("g5.12xlarge", "meta-llama/Meta-Llama-3.1-8B"), ("g6.12xlarge", "Qwen/Qwen2.5-7B-Instruct"),
       ("g6e.12xlarge", "Qwen/Qwen2.5-14B-Instruct"), ("p5.4xlarge", "Qwen/Qwen3-32B")]
AZURE = [("Standard_NC24ads_A100_v4", "Qwen/Qwen2.5-14B-Instruct"), ("Standard_NV36ads_A10_v5", "Qwen/Qwen2.5-7B-Instruct"),
         ("Standard_NC24ads_A100_v4", "Qwen/Qwen3-32B"), ("Standard_NC96ads_A100_v4", "Qwen/Qwen2.5-14B-Instruct"),
         ("Standard_NV36ads_A10_v5", "meta-llama/Meta-Llama-3.1-8B")]

# Archetype: the layers that it can stand under.
STATIC = ["deployment", "kserve", "llmisvc", "statefulset", "nim", "production-stack", "ray", "kaito", "llm-d", "kueue"]
ARCHETYPES = [
    ("busy", STATIC), ("idle", STATIC), ("surplus-static", ["deployment", "kserve", "llm-d", "nim", "ray", "production-stack"]),
    ("office", STATIC), ("surplus-hpa", ["deployment", "llm-d"]), ("probes", STATIC), ("keda-zero", ["deployment"]),
    ("job", ["job"]), ("night-lull", STATIC), ("starved", ["deployment", "llm-d", "kueue"]),
    ("hpa-good", ["deployment", "llm-d"]), ("tier", ["deployment", "kserve", "llmisvc", "nim"]),
    ("asleep", ["deployment", "kueue"]), ("dead", ["deployment", "statefulset"]), ("knative-zero", ["knative"]),
    ("unobserved", ["deployment", "statefulset"]), ("mig", ["deployment", "kserve"]), ("time-sliced", ["deployment"]),
    ("dynamo", ["dynamo"]), ("crash-loop", ["deployment"]), ("fraction", ["kai"]), ("lws", ["lws"]),
    ("frozen", ["deployment", "llm-d"]), ("stuck", ["deployment", "kserve"]),
]


def pick(seed, count):
    """Archetypes of a seed, each with its layer."""
    n = len(ARCHETYPES)
    out = []
    for k in range(count):
        index = ((seed * count + k) * 5 + seed // 4) % n
        name, possible = ARCHETYPES[index]
        if name not in [a for a, _ in out]:
            out.append((name, possible[(seed // 2 + k) % len(possible)]))
    return out


def build(seed, size=Size()):
    """The fleet of a seed, simulated: every request served, every scrape taken."""
    fleet = Fleet(seed, layers, size)
    rng = rng_of(seed, "services")
    for i, (archetype, layer) in enumerate(pick(seed, size.services)):
        make(fleet, rng, i, archetype, layer)
    faults(fleet, rng)
    for s in fleet.services:
        traffic(s)
        serve(s, s.requests, rng_of(seed, s.name, "serve"), fleet.start, fleet.end)
    for pool in fleet.pools:
        pool.settle()
    return fleet


def traffic(s):
    begin = s.fleet.start
    s.requests = arrivals(s.shape, begin, s.fleet.end, rng_of(s.fleet.seed, s.name, "traffic")) if s.shape else []


def shape_for(rng, speed, utilisation, rhythm, busiest, **extra):
    """Lengths at random; the rate as a share of what one replica can do inside the default SLO."""
    prompt = rng.choice([300, 600, 1000, 1600])
    output = rng.choice([120, 200, 320])
    if speed.gpu.gbs > 1500:
        output *= 3
    cached = rng.choice([0.0, 0.0, 0.2])
    top = speed.capacity(prompt, output, prompt * (1 - cached), 2.0, 0.1)
    while top * utilisation > busiest and output < 1500:
        output *= 1.5
        top = speed.capacity(prompt, output, prompt * (1 - cached), 2.0, 0.1)
    return Shape(min(top * utilisation, 2 * busiest), prompt, output, rhythm, cached=cached,
                 weekend=rng.choice([1.0, 0.7, 0.4]), bursts=rng.choice([0.0, 2.0, 6.0]), **extra)


def make(fleet, rng, i, archetype, layer):
    table = AZURE if fleet.provider == "azure" else AWS
    instance, model = table[rng.randrange(len(table))]
    if layer == "lws":
        instance, model = ("g6e.xlarge", "Qwen/Qwen3-32B") if fleet.provider == "aws" else (
            "Standard_NC24ads_A100_v4", "Qwen/Qwen3-32B")
    if archetype == "tier":
        instance, model = ("p5.4xlarge", rng.choice(["meta-llama/Meta-Llama-3.1-8B", "Qwen/Qwen2.5-7B-Instruct",
                                                     "mistralai/Mistral-7B-Instruct-v0.3"]))
        if fleet.provider == "azure":
            instance = "Standard_NC24ads_A100_v4"
    ns, name = rng.choice(["chat", "search", "docs", "agents", "ml"]), f"{archetype}-{i}"
    exporter = {"nim": "nim", "ray": "ray"}.get(layer) or rng.choice(
        ["vllm", "vllm", "vllm", "sglang", "trtllm", "otel"] if layer in ("deployment", "llm-d", "statefulset") else ["vllm"])
    common = dict(exporter=exporter, names=rng.choice(["new", "new", "old", "both"]) if exporter != "sglang" else
                  rng.choice(["new", "old"]), quality=rng.uniform(0.9, 1.1))

    def pool(count, **extra):
        per = {"g5.12xlarge": 4, "g6.12xlarge": 4, "g6e.12xlarge": 4, "Standard_NC96ads_A100_v4": 4}.get(instance, 1)
        return fleet.pool(instance, -(-count // per) if count else 0, **extra)

    def speed(share=1.0, n=1):
        from .physics import GPUS, INSTANCES
        return Speed(MODELS[model], GPUS[INSTANCES[instance].gpu], n, share, common["quality"])

    def put(count, shape, **extra):
        extra.setdefault("initial", count)
        return fleet.service(ns, name, layer, archetype, model, extra.pop("pool", None) or pool(count), shape,
                             **{**common, **extra})

    def demand(speed, utilisation, rhythm):
        return shape_for(rng, speed, utilisation, rhythm, fleet.size.busiest)

    def none(**extra):
        return Shape(0.0, 100, 100, "none", **extra)

    if archetype == "busy":
        put(1, demand( speed(), rng.uniform(0.55, 0.75), rng.choice(["flat", "day"])))
    elif archetype == "idle":
        put(rng.choice([1, 2]), none())
    elif archetype == "probes":
        put(1, none(probe_every=rng.choice([20.0, 30.0, 45.0])))
    elif archetype == "office":
        put(1, demand( speed(), rng.uniform(0.3, 0.6), "office"), util_vanishes=rng.random() < 0.4)
    elif archetype == "night-lull":
        put(1, demand( speed(), rng.uniform(0.3, 0.6), "night-lull"))
    elif archetype == "surplus-static":
        put(rng.choice([3, 4]), demand( speed(), rng.uniform(0.1, 0.22), "day"))
    elif archetype == "surplus-hpa":
        low = rng.choice([2, 3])
        put(0, demand( speed(), rng.uniform(0.1, 0.22), "day"), initial=low, pool=pool(low, elastic=True),
            bounds=Bounds("hpa", low, low + 2, 24.0))
    elif archetype == "hpa-good":
        sh = demand( speed(), rng.uniform(1.2, 1.8), "deep")
        at = speed().at_rate(min(sh.rate, speed().capacity(sh.prompt, sh.output, sh.prompt, 2.0, 0.1) * 0.7),
                             sh.prompt, sh.output, sh.prompt)
        put(0, sh, initial=1, pool=pool(1, elastic=True),
            bounds=Bounds("hpa", 1, 4, max(2.0, round((at[0] if at else 8) * 0.8, 1))))
    elif archetype in ("keda-zero", "knative-zero"):
        sh = demand( speed(), rng.uniform(0.2, 0.5), "office")
        put(0, sh, initial=0, pool=pool(0, elastic=True),
            bounds=Bounds("keda" if archetype == "keda-zero" else "knative", 0, 2, 10.0))
    elif archetype == "starved":
        days = [fleet.first + d * DAY for d in range(fleet.days)]
        slow = [(d + 9 * HOUR, d + 17 * HOUR, 9.0) for d in days]
        sh = demand( speed(), 0.3, "day")
        put(1, sh, slow=slow, cpu=(2, 2))
    elif archetype == "tier":
        put(1, demand( speed(), rng.uniform(0.01, 0.05), "day"))
    elif archetype == "asleep":
        put(1, none(), asleep=True, exporter="vllm")
    elif archetype == "dead":
        put(1, none(), exporter=None)
    elif archetype == "unobserved":
        put(1, none(), exporter=None, gpu_load=0.45)
    elif archetype == "crash-loop":
        put(1, none(), crash_loop=True)
    elif archetype == "frozen":
        put(1, none(), frozen=True, exporter="vllm", probe=None)
    elif archetype == "stuck":
        put(1, demand( speed(), rng.uniform(0.4, 0.6), "flat"), stuck_gauge=True, exporter="vllm")
    elif archetype == "job":
        begin = fleet.first + rng.uniform(0.2, 1.0) * DAY
        service = put(1, None, job=True, exporter=None, gpu_load=0.9, life=(begin, begin + rng.uniform(1.5, 3.0) * DAY))
        service.speed = None
    elif archetype == "mig":
        instance, fleet_model = "Standard_NC24ads_A100_v4", "Qwen/Qwen2.5-7B-Instruct"
        layout = rng.choice([[("3g.40gb", (1, 2)), ("1g.10gb", (1, 7)), ("1g.10gb", (1, 7))],
                             [("3g.40gb", (1, 2)), ("3g.40gb", (1, 2))]])
        if fleet.provider == "aws":  # AWS sells no single A100: an H100 with the same profiles
            instance = "p5.4xlarge"
        shared = pool(1, mig=[(9 + 2 * k, p, s) for k, (p, s) in enumerate(layout)])
        model = "Qwen/Qwen2.5-7B-Instruct"
        common["exporter"] = "vllm"
        put(1, demand( speed(0.5), 0.4, "day"), pool=shared, part="3g.40gb", share=(1, 2))
        if layout[1][0] == "1g.10gb":
            model, name = "Qwen/Qwen2.5-1.5B-Instruct", f"{archetype}-{i}-small"
            put(1, none(), pool=shared, part="1g.10gb", share=(1, 7))
    elif archetype == "time-sliced":
        instance = "g4dn.xlarge" if fleet.provider == "aws" else "Standard_NC4as_T4_v3"
        model = "Qwen/Qwen2.5-1.5B-Instruct"
        common["exporter"] = "vllm"
        k = 2
        shared = pool(1, sharing=k)
        sh = demand( speed(1 / k), 0.35, "day")
        put(1, sh, pool=shared, share=(1, k))
        name = f"{archetype}-{i}-idle"
        put(1, none(), pool=shared, share=(1, k))
    elif archetype == "fraction":
        shared = pool(1, fraction=True)
        model = "Qwen/Qwen2.5-1.5B-Instruct"
        common["exporter"] = "vllm"
        put(1, demand( speed(0.5), 0.3, "day"), pool=shared, share=(1, 2), part=0.5)
        name = f"{archetype}-{i}-idle"
        put(1, none(), pool=shared, share=(1, 2), part=0.5)
    elif archetype == "dynamo":
        common["exporter"] = "vllm"
        put(2, demand( speed(), 0.4, "day"), roles=["prefill", "decode"], initial=1)
    elif archetype == "lws":
        put(0, demand( speed(1.0, 2), 0.5, "day"), initial=1, pool=pool(2), pods_per_replica=2, exporter="vllm")
    else:
        raise ValueError(archetype)


def faults(fleet, rng):
    """What telemetry lacks. Spans lie inside the window and away from its ends."""
    span = fleet.last - fleet.first

    def gap(low, high):
        begin = fleet.first + rng.uniform(0.15, 0.8) * span
        return begin, begin + rng.uniform(low, high) * HOUR

    if rng.random() < 0.35:
        fleet.gaps.append(gap(0.4, 9))
    if rng.random() < 0.3:
        fleet.gaps.append(gap(0.05, 0.3))
    for node in fleet.nodes:
        if not node.elastic and rng.random() < 0.15:
            node.dcgm_down.append(gap(1, 8))
    for s in fleet.services:
        if s.exporter and not s.bounds and rng.random() < 0.15:
            s.engine_gaps.append(gap(0.3, 4))
        if s.exporter and not s.bounds and not s.asleep and rng.random() < 0.35 and s.roles == [None] and not s.crash_loop:
            begin, _ = gap(1, 1)
            s.restart_plan.setdefault(0, []).append((begin, begin + rng.uniform(80, 400)))
