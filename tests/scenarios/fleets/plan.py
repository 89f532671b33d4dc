"""Owns what a seed's fleet is: nodes, services, what is wrong with its telemetry. It simulates nothing.

A seed picks about six archetypes and a control layer for each, in rotation, so that over a dozen
seeds every layer and every archetype has been met.
"""

import calendar
import hashlib
from dataclasses import dataclass, field

from .physics import GPUS, INSTANCES, MODELS, Speed
from .scaler import Bounds
from .service import Pod, Replica
from .traffic import DAY, HOUR, Request, Shape, rng_of

BASE = calendar.timegm((2026, 9, 7, 0, 0, 0))  # a Monday
MARGIN = 6.5 * HOUR


def uid(*parts):
    h = hashlib.md5("/".join(str(p) for p in parts).encode()).hexdigest()
    return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-9{h[17:20]}-{h[20:]}"


def word(n, *parts):
    h = int(hashlib.md5("/".join(str(p) for p in parts).encode()).hexdigest(), 16)
    letters = "bcdfghjklmnpqrstvwxz2456789"
    out = ""
    for _ in range(n):
        h, k = divmod(h, len(letters))
        out += letters[k]
    return out


@dataclass
class Node:
    name: str
    instance: object
    ip: str
    created: float
    ended: float = float("inf")
    sharing: int = 1  # replicas of a time-sliced device
    mig: list = field(default_factory=list)  # (instance id, profile, (num, den)) on its one card
    elastic: bool = False
    dcgm_down: list = field(default_factory=list)
    cpu_only: bool = False
    fraction: bool = False

    @property
    def gpu(self):
        return GPUS[self.instance.gpu]

    @property
    def usd_per_gpu(self):
        return float(self.instance.usd) / self.instance.gpus


class Pool:
    """Nodes of one instance type. Slots are taken first-fit; elastic pools buy nodes when full."""

    def __init__(self, fleet, instance, count, elastic=False, sharing=1, mig=None, fraction=False):
        self.fleet, self.instance, self.elastic = fleet, INSTANCES[instance], elastic
        self.sharing, self.mig, self.fraction = sharing, mig or [], fraction
        self.nodes, self.pods = [], []
        for _ in range(count):
            self.buy(fleet.start - 5 * DAY)

    def buy(self, at):
        node = self.fleet.node(self.instance, at, self)
        node.sharing, node.mig, node.elastic, node.fraction = self.sharing, self.mig, self.elastic, self.fraction
        self.nodes.append(node)
        return node

    def place(self, t, count, part=None):
        """A node with `count` free slots, or a part of a device: a MIG instance or a share."""
        for node in self.nodes:
            if node.ended <= t:
                continue
            held = [p for p in self.pods if p.node is node and p.ended > t]
            last = max((p.ended for p in self.pods if p.node is node), default=float("inf"))
            if self.elastic and not held and last < t - 600:
                node.ended = last + 600  # it went before this pod came
                continue
            if node.mig:
                taken = {p.mig for p in held}
                for gi, profile, share in node.mig:
                    if profile == part and gi not in taken:
                        return node, [0], t, gi
                continue
            if node.sharing > 1 or node.fraction:
                used = sum(p.share[0] / p.share[1] for p in held)
                if used + (part or 1 / node.sharing) <= 1 + 1e-9:
                    return node, [0], t, None
                continue
            taken = {s for p in held for s in p.slots}
            free = [s for s in range(node.instance.gpus) if s not in taken]
            if len(free) >= count:
                return node, free[:count], max(t, node.created + 30), None
        if not self.elastic:
            raise RuntimeError(f"no room on {self.instance.name}")
        node = self.buy(t + 45)
        return node, list(range(count)), t + 75, None

    def settle(self):
        """Empty elastic nodes go ten minutes after their last pod."""
        for node in self.nodes:
            if self.elastic:
                last = max((p.ended for p in self.pods if p.node is node), default=node.created)
                if last < self.fleet.end:
                    node.ended = last + 600


class Service:
    def __init__(self, fleet, ns, name, layer, archetype, model, pool, shape, **extra):
        self.fleet, self.ns, self.name, self.layer, self.archetype = fleet, ns, name, layer, archetype
        self.model = MODELS[model] if model else None
        self.pool, self.shape = pool, shape
        self.gpus = extra.get("gpus", 1)  # of one pod
        self.pods_per_replica = extra.get("pods_per_replica", 1)
        self.part, self.share = extra.get("part"), extra.get("share", (1, 1))
        self.initial = extra.get("initial", 1)
        self.bounds = extra.get("bounds")
        self.exporter = extra.get("exporter", "vllm")  # None: no engine series
        self.names = extra.get("names", "new")
        self.slow = extra.get("slow", [])
        self.cpu = extra.get("cpu", (4, None))
        self.restart_plan = extra.get("restarts", {})
        self.roles = extra.get("roles", [None])
        self.asleep = extra.get("asleep", False)
        self.crash_loop = extra.get("crash_loop", False)
        self.job = extra.get("job", False)
        self.gpu_load = extra.get("gpu_load")  # activity without any engine series: a level, or None
        self.frozen = extra.get("frozen", False)
        self.stuck_gauge = extra.get("stuck_gauge", False)
        self.engine_gaps = extra.get("engine_gaps", [])
        self.util_vanishes = extra.get("util_vanishes", False)
        self.life = extra.get("life", (None, None))  # of jobs: scheduled, ended
        self.quality = extra.get("quality", 1.0)
        self.replicas, self.pods, self.history, self.metric = [], [], [], []
        self.requests = []
        self.created = fleet.start - 3 * DAY
        gpu = GPUS[pool.instance.gpu]
        self.speed = Speed(self.model, gpu, self.gpus * self.pods_per_replica,
                           self.share[0] / self.share[1], self.quality,
                           extra.get("max_seqs", 128)) if self.model else None

    @property
    def usd(self):
        return float(self.pool.instance.usd) / self.pool.instance.gpus

    @property
    def gpu_per_replica(self):
        return self.gpus * self.pods_per_replica * self.share[0] / self.share[1]

    def add(self, t, first=False):
        if first and len(self.roles) > 1:
            for role in self.roles:
                self._add(t, first, role)
            return
        self._add(t, first, self.roles[0])

    def _add(self, t, first, role):
        index = len(self.replicas)
        if self.job:
            t, first = self.life[0], False
        rng = rng_of(self.fleet.seed, "pod", self.name, index)
        wait = rng.uniform(70, 260)
        pods = []
        for k in range(self.pods_per_replica):
            created = self.created + 60 if first else t
            node, slots, scheduled, mig = self.pool.place(t, self.gpus, self.part)
            if first:
                scheduled = created
            ready = float("inf") if self.crash_loop else scheduled + wait
            name, owner = self.fleet.layers.pod_name(self, index, k, role)
            pod = Pod(name, node, slots, created, scheduled, ready, self.share, role, mig)
            pod.owner, pod.group, pod.leader = owner, index, k == 0
            if self.job:
                pod.ended = self.life[1]
            pod.uid, pod.ip = uid(self.fleet.seed, self.ns, name), self.fleet.ip()
            self.pool.pods.append(pod)
            pods.append(pod)
            self.pods.append(pod)
        node_phase = self.fleet.phase("dcgm", pods[0].node.name)
        replica = Replica(self.speed, pods, self.slow, self.fleet.phase("engine", pods[0].name), node_phase,
                          self.fleet.interval, self.fleet.end, role) if self.speed else None
        if replica:
            if first:
                replica.engine.t = self.fleet.start
                replica.due = [(max(at, self.fleet.start - self.fleet.start % self.fleet.interval
                                    + at % self.fleet.interval), kind) for at, kind in replica.due]
                replica.due.sort()
            for pod in pods:
                pod.replica = replica
        self.replicas.append(replica)

    def remove(self, replica, t):
        replica.advance(t)
        replica.engine.crash(t)  # what it was doing is drained elsewhere: few requests
        replica.ended = t
        for pod in replica.pods:
            pod.ended = t

    def part_of(self, request, role):
        if role == "prefill":
            return Request(request.at, request.prompt, request.cached, 1, request.probe)
        if role == "decode":
            return Request(request.at, request.prompt, max(0, request.prompt - 16), request.output, request.probe)
        return request




@dataclass(frozen=True)
class Size:
    """How much of a fleet to make. A small one keeps the days that verdicts need."""

    services: int = 6
    days: int = 0  # 0: five to seven, by seed
    interval: int = 60
    busiest: float = 1.0  # requests a second that one service has at most


class Fleet:
    def __init__(self, seed, layers, size):
        rng = rng_of(seed, "fleet")
        self.seed, self.rng, self.layers = seed, rng, layers
        self.size = size
        self.days = 5 + rng.randrange(3)
        self.days = size.days or self.days
        self.interval = size.interval
        self.first = BASE + DAY * rng.randrange(20)  # midnight: the window's begin
        self.last = self.first + self.days * DAY
        self.start, self.end = self.first - MARGIN, self.last + MARGIN
        self.provider = "azure" if seed % 4 == 3 else "aws"
        self.region = "eastus" if self.provider == "azure" else "us-east-1"
        self.cluster = f"fleet-{seed}"
        self.exported = rng.random() < 0.35  # labels of dcgm rows as exported_…
        self.host_label = rng.choice(["Hostname", "hostname"])
        self.jitter = rng.random() < 0.5
        self.gaps = []  # everything unseen
        # Two snapshots a day, as a modest cron job would take them; the first a day into the window.
        self.snapshots = [self.first + DAY + k * 12 * HOUR + 1234 for k in range(2 * self.days - 2)]
        self.nodes, self.services, self.pools = [], [], []
        self.ips = 0

    def ip(self):
        self.ips += 1
        return f"10.{20 + self.ips // 60000}.{self.ips // 250 % 250}.{1 + self.ips % 250}"

    def phase(self, *parts):
        return float(int(hashlib.md5("/".join(map(str, (self.seed, *parts))).encode()).hexdigest(), 16) % 47)

    def node(self, instance, created, pool):
        i = len(self.nodes)
        ip = f"10.0.{10 + i // 200}.{10 + i % 200}"
        name = (f"ip-{ip.replace('.', '-')}.ec2.internal" if self.provider == "aws"
                else f"aks-gpu{len(self.pools)}-{word(8, self.seed, 'vmss')}-vmss{i:06d}")
        node = Node(name, instance, ip, created)
        self.nodes.append(node)
        return node

    def pool(self, *args, **extra):
        pool = Pool(self, *args, **extra)
        self.pools.append(pool)
        return pool

    def service(self, *args, **extra):
        service = Service(self, *args, **extra)
        self.services.append(service)
        return service
