#!/usr/bin/env python3
"""Makes the sample fleet: Prometheus TSDB blocks, Kubernetes snapshots and the truth about them.

    python3 sample-data/generate.py

needs Python 3.11 and `promtool` (Debian package `prometheus`), takes a few minutes, and always
writes the same bytes. With `--only kubernetes,truth` it leaves the blocks alone.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from generator.clock import at  # noqa: E402
from generator.control import emit_control  # noqa: E402
from generator.engines import emit_engine  # noqa: E402
from generator.fleet import CLUSTERS, SCRAPE_GAPS, build  # noqa: E402
from generator.hardware import emit_cadvisor, emit_dcgm  # noqa: E402
from generator.objects import write_snapshots  # noqa: E402
from generator.readme import write_readme  # noqa: E402
from generator.series import Store  # noqa: E402
from generator.truth import truth, write_truth  # noqa: E402

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def collect(fleet, cluster):
    store = Store(SCRAPE_GAPS[cluster])
    for i, node in enumerate(n for n in fleet.nodes if n.cluster == cluster):
        emit_dcgm(store, fleet, node, 5 + 11 * (i % 20))
        if node.count:
            emit_cadvisor(store, fleet, node, 12 + 7 * (i % 30))
    index = 0
    for w in fleet.workloads:
        if w.cluster == cluster and w.engine:
            for pod in w.pods:
                emit_engine(store, pod, 20 + (index * 17) % 180)
                index += 1
    emit_control(store, fleet, cluster)
    return store


def ulid(milliseconds, content):
    """A block's name from its time and its content, so that a second run gives the same one."""
    number = (milliseconds << 80) | int.from_bytes(hashlib.sha256(content).digest()[:10], "big")
    return "".join(CROCKFORD[(number >> shift) & 31] for shift in range(125, -5, -5))


def canonical_block(source, target):
    """Copy a block under a name that depends on what is in it, not on when it was made."""
    meta = json.loads((source / "meta.json").read_text())
    content = hashlib.sha256()
    for path in sorted(source.rglob("*")):
        if path.is_file() and path.name != "meta.json":
            content.update(path.relative_to(source).as_posix().encode())
            content.update(path.read_bytes())
    name = ulid(meta["maxTime"], content.digest())
    meta["ulid"] = name
    meta["compaction"]["sources"] = [name]
    shutil.copytree(source, target / name)
    (target / name / "meta.json").write_text(json.dumps(meta, indent="\t") + "\n")


def make_blocks(store, target):
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        for path in store.write_blocks(scratch):
            made = scratch / "made"
            subprocess.run(
                ["promtool", "tsdb", "create-blocks-from", "--max-block-duration=162h",
                 "openmetrics", str(path), str(made)],
                check=True, stdout=subprocess.DEVNULL)
            path.unlink()
            for block in sorted(made.iterdir()):
                if (block / "meta.json").exists():
                    canonical_block(block, target)
            shutil.rmtree(made)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--only", default="prometheus,kubernetes,truth",
                        help="comma-separated parts to write")
    parser.add_argument("--truth", nargs=2, metavar=("FROM", "TO"),
                        help="only print the truth of another window, as JSON")
    args = parser.parse_args()
    parts = set(args.only.split(","))
    fleet = build()
    if args.truth:
        print(json.dumps(truth(fleet, tuple(at(t) for t in args.truth)), indent=1))
        return
    if "truth" in parts:
        write_readme(fleet, write_truth(fleet, args.out / "expected"), args.out / "README.md")
    if "kubernetes" in parts:
        write_snapshots(fleet, args.out / "kubernetes")
    if "prometheus" in parts:
        for cluster in CLUSTERS:
            make_blocks(collect(fleet, cluster), args.out / "prometheus" / cluster)


if __name__ == "__main__":
    main()
