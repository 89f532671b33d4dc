"""Owns the comparison of what the product said about one fleet with what is true of it.

It reads findings and ledger rows only, and judges recommendations by replaying the fleet's own
requests on this suite's own engines. It runs nothing and prints nothing.
"""

import calendar
import math
import time
from dataclasses import dataclass, field

from fleets.engine import Engine
from fleets.physics import GPUS, INSTANCES, Speed
from fleets.truth import HEADROOM, SIZING
from fleets.traffic import DAY, HOUR

MONTH = 730.0
# All models here are served in bfloat16, which these cannot: another type is a decision of its own.
NO_BF16 = {"T4-16"}
SLO = (2.0, 0.1)  # the default profile: no fleet declares another
# The products' own thresholds, GPU-hours: a finding is owed above, and wrong below.
OWED = {"dark-capacity": 24.0, "unallocated-capacity": 24.0, "surplus-replicas": 24.0, "cpu-gpu-imbalance": 12.0}
# List price of one GPU where a provider sells it by the GPU or by the share of a node, cheapest an hour.
SOLD = {
    "aws": {"T4-16": 0.526, "A10G-24": 1.006, "L4-24": 0.8048, "L40S-48": 1.861, "RTXPRO6000-96": 3.36312,
            "H100-SXM-80": 6.88, "A100-SXM-40": 2.745, "A100-SXM-80": 3.43, "H200-SXM-141": 7.91, "B200-SXM-180": 14.24},
    "azure": {"T4-16": 0.526, "A10-24": 3.2, "A100-PCIE-80": 3.673, "H100-NVL-94": 6.98},
}


@dataclass
class Case:
    """One thing that a detector should, may or must not say, and what it said."""

    seed: int
    detector: str
    subject: str
    kind: str  # required, optional, forbidden
    found: bool
    usd: tuple = (0.0, 0.0, 0.0)
    said: float = 0.0
    note: str = ""

    @property
    def error(self):
        """Dollars by which the finding misses the truth's interval."""
        if not self.found:
            return 0.0
        return max(0.0, self.usd[0] - self.said, self.said - self.usd[2])


@dataclass
class Verdict:
    seed: int
    cases: list = field(default_factory=list)
    dark_work: list = field(default_factory=list)  # (subject, hour, seconds) of measured work called dark
    violations: list = field(default_factory=list)
    ranges: list = field(default_factory=list)  # (subject, inside, low, truth, high)
    ledger: list = field(default_factory=list)  # (subject, class, said, truth)
    unbalanced: float = 0.0
    others: list = field(default_factory=list)


def seconds(text):
    return calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))


def kind(low, high, threshold):
    if low >= threshold * 1.03:
        return "required"
    return "forbidden" if high < threshold * 0.97 else "optional"


def evidence(finding):
    return dict(finding.get("evidence") or [])


def judge(fleet, truth, findings, ledger):
    """`ledger` has rows of v_ledger summed by hour, node, slot, class and workload."""
    out = Verdict(truth["seed"])
    said, other = {}, {}
    for f in findings:
        if f["status"] != "alarm":
            continue
        key = f["handle"]
        said[key] = f
    used = set()

    def claim(detector, subject):
        handle = f"{detector}/{truth['cluster']}/{subject}"
        used.add(handle)
        return said.get(handle)

    for row in truth["unallocated"]:
        subject = f"{row['instance']}/{row['product']}"
        f = claim("unallocated-capacity", subject)
        out.cases.append(case(truth, "unallocated-capacity", subject, row["gpu_hours"], row["usd"], f))
    for s in truth["services"]:
        subject = f"{s['namespace']}/{s['kind']}/{s['name']}"
        blind = s["hours"].get("unknown", 0.0) / max(1e-9, sum(s["hours"].values()))
        for detector, column in (("dark-capacity", "dark"), ("surplus-replicas", "surplus"), ("cpu-gpu-imbalance", "starved")):
            f = claim(detector, subject)
            c = case(truth, detector, subject, s[column], s["usd"], f)
            if blind > 0.15 and c.kind == "required":
                c.kind = "optional"
            if detector == "cpu-gpu-imbalance" and s["starved"][1] == 0:
                c.kind = "forbidden"
            out.cases.append(c)
        tier(out, fleet, truth, s, subject, claim("tier-misplacement", subject), claim("surplus-replicas", subject))
        replay_surplus(out, fleet, s, subject, claim("surplus-replicas", subject))
    out.others = sorted(h for h in said if h not in used)
    compare_ledger(out, truth, ledger)
    return out


def case(truth, detector, subject, hours, usd, finding):
    low, centre, high = hours
    return Case(truth["seed"], detector, subject, kind(low, high, OWED[detector]), finding is not None,
                (low * usd, centre * usd, high * usd), float(finding["net_window_usd"] or 0) if finding else 0.0)


# ---- tiers --------------------------------------------------------------------------------------


def need(rate, one, variant):
    return max(1, math.ceil(rate / (one * SIZING[variant] * HEADROOM))) if one > 0 else None


def saving(s, speed_today, speed, gpus, usd, variant):
    """Dollars of the window that a move saves: what today's needed hours cost, less the candidate's."""
    asked = s["demand"]
    one = speed.capacity(asked["prompt"], asked["output"], asked["net"], *SLO)
    today = speed_today.capacity(asked["prompt"], asked["output"], asked["net"], *SLO)
    if one <= 0 or today <= 0:
        return None
    total = 0.0
    for rate, available in zip(asked["hours"], s["used_hours"]):
        if available <= 0:
            continue
        if not s["bounds"]:
            rate = asked["peak"]
        kept = min(available, need(rate, today, variant) * s["gpus"])
        total += kept * s["usd"] - min(1.0, available / s["gpus"]) * need(rate, one, variant) * gpus * usd
    return total


def speeds(fleet, s, product, gpus):
    service = next(x for x in fleet.services if x.name == s["name"] and x.ns == s["namespace"])
    return service, Speed(service.model, GPUS[product], gpus, 1.0, service.quality)


def tier(out, fleet, truth, s, subject, finding, surplus):
    asked = s["demand"]
    provider = fleet.provider
    if asked is None or not s["model"]:
        out.cases.append(Case(truth["seed"], "tier-misplacement", subject, "forbidden", finding is not None))
        return
    service = next(x for x in fleet.services if x.name == s["name"] and x.ns == s["namespace"])
    cost = sum(s["used_hours"]) * s["usd"]
    best = {}
    for variant in ("low", "high"):
        for product, usd in SOLD[provider].items():
            if product == s["product"] or product in NO_BF16:
                continue
            for gpus in (1, 2, 4):
                _, speed = speeds(fleet, s, product, gpus)
                if not speed.fits:
                    continue
                worth = saving(s, service.speed, speed, gpus, usd, variant)
                if worth is not None:
                    best[variant] = max(best.get(variant, -1e9), worth)
                break
    plain = s["gpus"] >= 1 and service.roles == [None] and asked["days_seen"] >= 3 and service.pods_per_replica == 1
    owed = "required" if plain and best.get("low", -1) > 0.25 * cost and sum(s["used_hours"]) > 30 else (
        "forbidden" if best.get("high", -1) <= 0 else "optional")
    if s["starved"][2] > 0.05 * sum(s["hours"].values()):
        owed = "forbidden"
    c = Case(truth["seed"], "tier-misplacement", subject, owed, finding is not None, note=f"best {best}")
    out.cases.append(c)
    if finding is None:
        return
    ev = evidence(finding)
    product, count = ev["candidate"].rsplit(" x", 1)
    gpus, replicas = int(count), int(ev["candidate_replicas_at_peak"])
    _, speed = speeds(fleet, s, product, gpus)
    usd = SOLD[provider].get(product)
    if not speed.fits:
        out.violations.append((subject, f"{ev['candidate']}: the model does not fit"))
        return
    check_replay(out, fleet, service, speed, replicas, subject, ev["candidate"])
    if usd is None:
        return
    truths = [saving(s, service.speed, speed, gpus, usd, v) for v in ("low", "centre", "high")]
    existed = len(s["used_hours"])
    low, high = (float(finding[k]) * existed / MONTH for k in ("net_p10_usd", "net_p90_usd"))
    centre = truths[1]
    if centre is not None:
        c.usd, c.said = (min(t for t in truths if t is not None), centre, max(t for t in truths if t is not None)), float(
            finding["net_window_usd"])
        out.ranges.append((subject, low <= centre <= high, low, centre, high))


def check_replay(out, fleet, service, speed, replicas, subject, what):
    ttft, itl = replay(fleet, service, speed, replicas)
    if ttft > SLO[0] or itl > SLO[1]:
        out.violations.append((subject, f"{replicas} × {what}: p95 {ttft * 1e3:.0f} ms to the first token, {itl * 1e3:.0f} ms between"))


def replay_surplus(out, fleet, s, subject, finding):
    if finding is None or s["demand"] is None:
        return
    service = next(x for x in fleet.services if x.name == s["name"] and x.ns == s["namespace"])
    replicas = int(evidence(finding)["most_replicas"])
    check_replay(out, fleet, service, service.speed, replicas, subject, f"{s['product']} as today")


def replay(fleet, service, speed, replicas):
    """p95 of the time to the first token and of the mean gap between tokens, on the two busiest days."""
    by_day = {}
    for r in service.requests:
        if not r.probe and fleet.first <= r.at < fleet.last:
            by_day.setdefault(int((r.at - fleet.first) // DAY), []).append(r)
    days = sorted(by_day, key=lambda d: -len(by_day[d]))[:2]
    firsts, gaps = [], []
    for d in days:
        engines = [Engine(speed, fleet.first + d * DAY) for _ in range(replicas)]
        for e in engines:
            e.records = []
        for k, r in enumerate(by_day[d]):
            if r.prompt + r.output > speed.kv_tokens:
                continue
            for e in engines:
                e.advance(r.at)
            best = min(range(replicas), key=lambda i: (engines[i].load, (i + k) % replicas))
            engines[best].accept(r, r.at)
        for e in engines:
            e.advance(fleet.first + (d + 1) * DAY + 6 * HOUR)
            firsts += [a for a, _ in e.records]
            gaps += [b for _, b in e.records]
    if not firsts:
        return 0.0, 0.0
    firsts.sort()
    gaps.sort()
    return firsts[int(0.95 * (len(firsts) - 1))], gaps[int(0.95 * (len(gaps) - 1))]


# ---- the ledger ---------------------------------------------------------------------------------


def compare_ledger(out, truth, ledger):
    begin, end = seconds(truth["from"]), seconds(truth["to"])
    total, by_service, dark = 0.0, {}, {}
    names = {"surplus": "serving", "misplaced": "serving", "productive": "serving"}
    for row in ledger:
        hour, value = seconds(row["hour"]), float(row["seconds"])
        if not begin <= hour < end:
            continue
        total += value
        key = f"{row['namespace']}/{row['workload_kind']}/{row['workload_name']}"
        if not row.get("workload_name"):
            continue
        name = names.get(row["class"], row["class"])
        shown = by_service.setdefault(key, {})
        shown[name] = shown.get(name, 0.0) + value / HOUR
        if row["class"] == "dark":
            where = (key, row["node"], int(row["gpu_slot"]), hour)
            dark[where] = dark.get(where, 0.0) + value
    low, _, high = truth["capacity_gpu_hours"]
    out.unbalanced = total / HOUR - min(max(total / HOUR, low), high)
    for s in truth["services"]:
        key = f"{s['namespace']}/{s['kind']}/{s['name']}"
        shown = by_service.get(key, {})
        # Claims turn lull into surplus: the two are compared together.
        for group in (("dark",), ("serving", "lull"), ("starved",), ("pending",), ("unknown",), ("standby",), ("non_serving",)):
            said = sum(shown.get(n, 0.0) for n in group)
            true = sum(s["hours"].get(n, 0.0) for n in group)
            if said > 0.01 or true > 0.01:
                out.ledger.append((key, "+".join(group), said, true))
        share = s["gpus"] if s["gpus"] < 1 else 1.0
        for pod in s["work"]:
            worked = {}
            for a, b in pod["spans"]:
                h = a - a % 3600
                while h < b:
                    seconds_in, count = worked.get(h, (0, 0))
                    worked[h] = seconds_in + min(b, h + 3600) - max(a, h), count + 1
                    h += 3600
            for h, (seconds_in, count) in worked.items():
                for slot in pod["slots"]:
                    called = dark.get((key, pod["node"], slot, h), 0.0) / share
                    # Counters move by the next scrape, so an interval may fall beside each piece of work.
                    if called + seconds_in > 3600 + 65 * min(count, 3) and called > 0:
                        out.dark_work.append((key, h, called + seconds_in - 3600))
