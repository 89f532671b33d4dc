#!/usr/bin/env python3
"""Tests of the suite itself that need no binary: what a node's evidence allows, and one writer a series.

    python3 tests/scenarios/check.py
"""

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from fleets import layers, state, telemetry  # noqa: E402
from fleets.archetypes import build  # noqa: E402
from fleets.plan import Fleet, Size  # noqa: E402
from fleets.store import Store  # noqa: E402
from fleets.traffic import HOUR  # noqa: E402
from fleets.truth import capacity, ends  # noqa: E402
from judge import Verdict, compare_ledger  # noqa: E402

SMALL = Size(services=3, days=4, interval=120, busiest=0.1)


def fleet_of(lives, gaps=(), down=()):
    """A fleet of single nodes of four GPUs; times in hours of the window."""
    fleet = Fleet(1, layers, SMALL)
    fleet.gaps = [(fleet.first + a * HOUR, fleet.first + b * HOUR) for a, b in gaps]
    for begin, end in lives:
        pool = fleet.pool("g6.12xlarge", 1, elastic=True)
        node = pool.nodes[0]
        node.created, node.ended = fleet.first + begin * HOUR, fleet.first + end * HOUR
        node.dcgm_down = [(fleet.first + a * HOUR, fleet.first + b * HOUR) for a, b in down]
    return fleet


class Lives(unittest.TestCase):
    def test_a_node_that_goes_while_nothing_looks_is_certain_until_the_hole(self):
        fleet = fleet_of([(7, 20)], gaps=[(16, 22)])
        early, late = ends(fleet, fleet.nodes[0])
        self.assertLessEqual(abs(early - fleet.first - 16 * HOUR), 120)
        self.assertEqual(late, fleet.first + 20 * HOUR)
        low, centre, high = capacity(fleet)
        self.assertAlmostEqual(centre, 4 * 13.0)
        self.assertAlmostEqual(low, 4 * 9.0, delta=0.14)
        self.assertEqual(high, centre)

    def test_a_node_that_goes_between_two_scrapes_may_stay_for_an_interval(self):
        fleet = fleet_of([(7, 20)])
        early, late = ends(fleet, fleet.nodes[0])
        self.assertEqual(early, fleet.first + 20 * HOUR)
        self.assertTrue(0 < late - early <= 120, late - early)

    def test_a_node_that_outlives_a_hole_is_certain_through_it(self):
        fleet = fleet_of([(7, 20)], gaps=[(9, 12)])
        low, centre, _ = capacity(fleet)
        self.assertEqual(low, centre)

    def test_kube_state_metrics_alone_keeps_a_node(self):
        fleet = fleet_of([(7, 20)], down=[(7, 21)])
        low, centre, _ = capacity(fleet)
        self.assertEqual(low, centre)

    def test_a_life_inside_a_hole_is_never_certain(self):
        fleet = fleet_of([(17, 20)], gaps=[(16, 22)])
        self.assertEqual(capacity(fleet)[0], 0.0)

    def test_a_ledger_is_off_by_what_lies_outside_the_interval(self):
        for said, off in ((36.5, 0.0), (35.0, -1.0), (53.0, 1.0)):
            out = Verdict(1)
            row = {"hour": "2026-09-07T01:00:00", "seconds": said * HOUR, "class": "unallocated", "namespace": "",
                   "workload_kind": "", "workload_name": "", "node": "n", "gpu_slot": 0}
            compare_ledger(out, {"from": "2026-09-07T00:00:00Z", "to": "2026-09-11T00:00:00Z", "services": [],
                                 "capacity_gpu_hours": [36.0, 52.0, 52.0]}, [row])
            self.assertAlmostEqual(out.unbalanced, off)


class Series(unittest.TestCase):
    def test_every_series_has_one_writer_and_goes_forward(self):
        fleet = build(6, SMALL)  # NIM under both names wrote its cache gauge twice
        store = Store(fleet)
        telemetry.emit(store, fleet)
        state.emit(store, fleet)
        self.assertEqual(len({s[:2] for s in store.series}), len(store.series))
        for name, labels, samples in store.series:
            times = [t for t, _ in samples]
            self.assertTrue(all(a < b for a, b in zip(times, times[1:])), (name, labels))

    def test_two_writers_of_a_series_are_refused(self):
        store = Store(Fleet(1, layers, SMALL))
        store.add("up", {"job": "x"}, [(1, 1)])
        store.add("up", {"job": "x"}, [(1, 1)])
        with tempfile.TemporaryDirectory() as folder, self.assertRaises(ValueError):
            store.blocks(Path(folder) / "blocks")


if __name__ == "__main__":
    unittest.main()
