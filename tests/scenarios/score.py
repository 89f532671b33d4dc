#!/usr/bin/env python3
"""Makes fleets, runs the product on each, and prints how well its findings meet the truth.

    python3 tests/scenarios/score.py --binary target/release/idleproof --seeds 101-160

needs Python 3.11 and promtool. It exits with 1 where a threshold is missed, with 2 where a run failed.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from fleets.plan import Size  # noqa: E402
from fleets.write import write  # noqa: E402
from judge import judge  # noqa: E402

LEDGER = ("select cast(hour as varchar) as hour, node, gpu_slot, class, namespace, workload_kind, workload_name, "
          "cast(sum(seconds) as double) as seconds from v_ledger "
          "group by hour, node, gpu_slot, class, namespace, workload_kind, workload_name")
DETECTORS = ("unallocated-capacity", "dark-capacity", "cpu-gpu-imbalance", "surplus-replicas", "tier-misplacement")
# precision, recall, and dollars off the truth as a share of it; None is not asked.
GOALS = {"unallocated-capacity": (0.95, 0.95, 0.05), "dark-capacity": (0.95, 0.95, 0.05),
         "cpu-gpu-imbalance": (0.95, 0.95, None), "surplus-replicas": (0.95, 0.95, 0.05),
         "tier-misplacement": (0.95, 0.95, None)}
IN_RANGE = 0.90
UNBALANCED = 1.0  # GPU-hours: nodes that come and go are seen to the minute
SMALL = Size(services=3, days=4, interval=120, busiest=0.1)


def seeds_of(text):
    for part in text.split(","):
        low, _, high = part.partition("-")
        yield from range(int(low), int(high or low) + 1)


def run_one(seed, folder, binary, timeout, size):
    """The fleet of a seed through the product; the verdict and what it cost."""
    shutil.rmtree(folder, ignore_errors=True)
    began = time.time()
    fleet, truth = write(seed, folder, size)
    made = time.time()
    config = folder / "idleproof.toml"
    run = subprocess.run([binary, "run", "--config", str(config), "--from", truth["from"], "--to", truth["to"]],
                         capture_output=True, text=True, timeout=timeout, check=False)
    if run.returncode != 0:
        raise RuntimeError(f"seed {seed}: `run` ended with {run.returncode}\n{run.stderr[-2000:]}")
    ran = time.time()
    latest = json.loads((folder / "report" / "latest.json").read_text())
    findings = json.loads((folder / "report" / latest["path"] / "findings.json").read_text())
    rows = subprocess.run([binary, "sql", LEDGER, "-o", "json", "--config", str(config)], capture_output=True, text=True,
                          timeout=timeout, check=False)
    if rows.returncode != 0:
        raise RuntimeError(f"seed {seed}: `sql` ended with {rows.returncode}\n{rows.stderr[-2000:]}")
    verdict = judge(fleet, truth, findings, json.loads(rows.stdout))
    return verdict, {"make": made - began, "run": ran - made, "judge": time.time() - ran}


def table(verdicts):
    """The summary, and whether every goal is met."""
    good, lines = True, [f"{'detector':22} {'owed':>5} {'found':>5} {'missed':>6} {'wrong':>5} {'precision':>9} {'recall':>7}"
                         f" {'truth $':>9} {'off $':>7} {'off':>6}"]
    cases = [c for v in verdicts for c in v.cases]
    for detector in DETECTORS:
        mine = [c for c in cases if c.detector == detector]
        owed = [c for c in mine if c.kind == "required"]
        found = [c for c in mine if c.found]
        wrong = [c for c in found if c.kind == "forbidden"]
        missed = [c for c in owed if not c.found]
        precision = 1 - len(wrong) / len(found) if found else 1.0
        recall = 1 - len(missed) / len(owed) if owed else 1.0
        dollars = [c for c in found if c.kind != "forbidden"]
        truth, off = sum(c.usd[1] for c in dollars), sum(c.error for c in dollars)
        share = off / truth if truth else 0.0
        goal = GOALS[detector]
        met = precision >= goal[0] and recall >= goal[1] and (goal[2] is None or share <= goal[2])
        good = good and met
        lines.append(f"{detector:22} {len(owed):5} {len(found):5} {len(missed):6} {len(wrong):5} {precision:9.3f} {recall:7.3f}"
                     f" {truth:9.0f} {off:7.0f} {share:6.1%}{'' if met else '   MISSED'}")
    dark = [(v.seed, *d) for v in verdicts for d in v.dark_work]
    violations = [(v.seed, *x) for v in verdicts for x in v.violations]
    ranges = [r for v in verdicts for r in v.ranges]
    inside = sum(r[1] for r in ranges) / len(ranges) if ranges else 1.0
    unbalanced = max((abs(v.unbalanced) for v in verdicts), default=0.0)
    lines.append(f"measured work called dark: {len(dark)} hours (goal 0)")
    lines.append(f"recommendations that break memory or SLO: {len(violations)} (goal 0)")
    lines.append(f"tier truth inside the stated range: {inside:.0%} of {len(ranges)} (goal {IN_RANGE:.0%})")
    lines.append(f"ledger against capacity: at most {unbalanced:.2f} GPU-hours off in a fleet")
    good = good and not dark and not violations and inside >= IN_RANGE and unbalanced <= UNBALANCED
    return "\n".join(lines), good


def details(verdict):
    lines = []
    for c in verdict.cases:
        bad = (c.found and c.kind == "forbidden") or (not c.found and c.kind == "required")
        off = c.found and c.error > 0.05 * max(c.usd[1], 1)
        if bad or off:
            lines.append(f"  seed {c.seed} {c.detector}/{c.subject}: {c.kind}, {'found' if c.found else 'not found'},"
                         f" truth ${c.usd[0]:.0f}..{c.usd[1]:.0f}..{c.usd[2]:.0f}, said ${c.said:.0f} {c.note}")
    for d in verdict.dark_work[:5]:
        lines.append(f"  seed {verdict.seed} measured work called dark: {d}")
    for x in verdict.violations:
        lines.append(f"  seed {verdict.seed} violates: {x}")
    for subject, inside, low, centre, high in verdict.ranges:
        if not inside:
            lines.append(f"  seed {verdict.seed} tier {subject}: truth ${centre:.0f} outside ${low:.0f}..${high:.0f}")
    for key, name, said, true in verdict.ledger:
        if abs(said - true) > max(0.75, 0.03 * true):
            lines.append(f"  seed {verdict.seed} ledger {key} {name}: said {said:.2f} h, truth {true:.2f} h")
    if abs(verdict.unbalanced) > 0.5:
        lines.append(f"  seed {verdict.seed} ledger is {verdict.unbalanced:+.2f} GPU-hours off capacity")
    if verdict.others:
        lines.append(f"  seed {verdict.seed} not judged: {', '.join(verdict.others)}")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", required=True, help="path of idleproof")
    parser.add_argument("--seeds", default="1-20", help="such as 1-20 or 101-160 or 3,7")
    parser.add_argument("--work", type=Path, default=Path("target/scenarios"), help="folder for fleets and lakes")
    parser.add_argument("--keep", action="store_true", help="leave each fleet's folder")
    parser.add_argument("--timeout", type=int, default=3600, help="seconds for one run")
    parser.add_argument("--small", action="store_true", help="small fleets: three services, four days, coarse scrapes")
    args = parser.parse_args()
    size = SMALL if args.small else Size()
    args.work.mkdir(parents=True, exist_ok=True)
    verdicts, failed = [], 0
    for seed in seeds_of(args.seeds):
        folder = args.work / f"fleet-{seed}"
        try:
            verdict, cost = run_one(seed, folder.resolve(), args.binary, args.timeout, size)
        except (RuntimeError, subprocess.SubprocessError) as error:
            failed += 1
            print(f"{error}", flush=True)
            continue
        verdicts.append(verdict)
        print(f"seed {seed}: made {cost['make']:.0f} s, run {cost['run']:.0f} s, judged {cost['judge']:.0f} s", flush=True)
        for line in details(verdict):
            print(line, flush=True)
        if not args.keep:
            shutil.rmtree(folder)
    text, good = table(verdicts)
    print(text)
    sys.exit(2 if failed else 0 if good else 1)


if __name__ == "__main__":
    main()
