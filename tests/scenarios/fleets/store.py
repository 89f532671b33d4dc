"""Owns series in memory, their OpenMetrics text and the blocks that promtool makes of it."""

import shutil
import subprocess
import tempfile
from pathlib import Path

BLOCK = 162 * 3600


class Store:
    def __init__(self, fleet):
        self.fleet, self.series = fleet, []

    def times(self, first, interval, key, begin, end):
        """Scrape times of a target with their jitter, as (nominal, written)."""
        rng = None
        if self.fleet.jitter:
            from .traffic import rng_of
            rng = rng_of(self.fleet.seed, "jitter", key)
        t, out = first, []
        while t < end:
            if t >= begin and not any(a <= t < b for a, b in self.fleet.gaps):
                out.append((t, round(t + (rng.uniform(-0.4, 0.4) if rng else 0.0), 3)))
            t += interval
        return out

    def add(self, name, labels, samples):
        """`samples` are (time, number) in order; None is no sample."""
        samples = [(t, v) for t, v in samples if v is not None]
        if samples:
            text = ",".join(f'{k}="{v}"' for k, v in sorted(labels.items()) if v not in ("", None))
            self.series.append((name, text, samples))

    def blocks(self, target):
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        self.series.sort(key=lambda s: (s[0], s[1]))
        for one, other in zip(self.series, self.series[1:]):
            if one[:2] == other[:2]:  # promtool would only say that something is out of order
                raise ValueError(f"two writers of {one[0]}{{{one[1]}}}")
        begin = int(self.fleet.start // BLOCK)
        for block in range(begin, int(self.fleet.end // BLOCK) + 1):
            low, high = block * BLOCK, (block + 1) * BLOCK
            with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
                path = Path(scratch) / "text.om"
                wrote = False
                with open(path, "w", encoding="ascii") as out:
                    for name, labels, samples in self.series:
                        head = f"{name}{{{labels}}} "
                        lines = [f"{head}{v} {t}\n" for t, v in samples if low <= t < high]
                        wrote = wrote or bool(lines)
                        out.write("".join(lines))
                    out.write("# EOF\n")
                if wrote:
                    subprocess.run(["promtool", "tsdb", "create-blocks-from", "--max-block-duration=162h",
                                    "openmetrics", str(path), str(target)], check=True, stdout=subprocess.DEVNULL)
