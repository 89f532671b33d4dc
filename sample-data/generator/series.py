"""Owns series as the generator holds them, and their OpenMetrics text, one file a block."""

from array import array

from .clock import END, START

NAN = float("nan")
# Blocks of 162 hours, Prometheus' own range, aligned as promtool aligns them.
BLOCK = 162 * 3600


class Store:
    """All series of one cluster. A target's series share the target's scrape times."""

    def __init__(self, gaps):
        self.gaps = gaps
        self.targets = {}
        self.series = []

    def target(self, key, times):
        self.targets[key] = times
        return key

    def times(self, key):
        return self.targets[key]

    def add(self, key, name, labels, values):
        """One series; `values` has one number a scrape, NaN where there is no sample."""
        if any(v == v for v in values):
            text = ",".join(f'{k}="{v}"' for k, v in sorted(labels.items()) if v != "")
            self.series.append((name, text, key, array("d", values)))

    def constant(self, key, name, labels, value, since=START, until=END):
        times = self.targets[key]
        self.add(key, name, labels, [value if since <= t < until else NAN for t in times])

    def seen(self, t):
        return not any(a <= t < b for a, b in self.gaps)

    def write_blocks(self, folder):
        """OpenMetrics text files, each holding the samples of one block; returns their paths."""
        self.series.sort(key=lambda s: (s[0], s[1], s[2]))
        stamps = {k: [f" {t}\n" for t in ts] for k, ts in self.targets.items()}
        paths = []
        first = START - START % BLOCK
        for begin in range(first, END, BLOCK):
            path = folder / f"{begin}.om"
            with open(path, "w", encoding="ascii") as out:
                for name, labels, key, values in self.series:
                    self._write(out, f"{name}{{{labels}}} ", stamps[key], self.targets[key],
                                values, begin)
                out.write("# EOF\n")
            paths.append(path)
        return paths

    def _write(self, out, head, stamps, times, values, begin):
        lines = []
        for t, stamp, value in zip(times, stamps, values):
            if begin <= t < begin + BLOCK and value == value and self.seen(t):
                text = str(int(value)) if value == int(value) else repr(value)
                lines.append(head + text + stamp)
        out.write("".join(lines))
