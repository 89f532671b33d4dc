"""Owns a fleet's folder: what the product reads, and the truth beside it."""

import json
import time

from . import state, telemetry
from .archetypes import build
from .plan import Size
from .objects import write_snapshots
from .store import Store
from .truth import truth

CONFIG = """[lake]
url = "./lake"

[[cluster]]
name = "{cluster}"
provider = "{provider}"
region = "{region}"

[[source]]
name = "blocks"
kind = "tsdb"
cluster = "{cluster}"
url = "./blocks"

[[source]]
name = "objects"
kind = "kubernetes-export"
cluster = "{cluster}"
path = "./kubernetes"

[report]
output = "./report"
timezone = "UTC"
"""


def write(seed, folder, size=Size()):
    """Makes the fleet of a seed in `folder`; returns it and the truth."""
    began = time.time()
    folder.mkdir(parents=True, exist_ok=True)
    fleet = build(seed, size)
    simulated = time.time()
    store = Store(fleet)
    telemetry.emit(store, fleet)
    state.emit(store, fleet)
    samples = sum(len(s[2]) for s in store.series)
    store.blocks(folder / "blocks")
    write_snapshots(fleet, folder / "kubernetes", fleet.snapshots)
    document = truth(fleet)
    (folder / "truth.json").write_text(json.dumps(document, indent=1) + "\n")
    (folder / "idleproof.toml").write_text(CONFIG.format(
        cluster=fleet.cluster, provider=fleet.provider, region=fleet.region))
    document["cost"] = {"simulate_s": round(simulated - began, 1), "write_s": round(time.time() - simulated, 1),
                        "samples": samples, "series": len(store.series)}
    return fleet, document
