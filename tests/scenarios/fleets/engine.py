"""Owns one engine process: continuous batching at request level, and what its counters say.

All running requests get a token each step, so `progress` (tokens that a request which ran all the
time would have) is the clock in which requests end; a heap of ends makes an event cost O(log n).
"""

import heapq
from collections import deque

TTFT_EDGES = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
ITL_EDGES = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2)
PROMPT_EDGES = (100.0, 500.0, 1000.0, 2000.0, 5000.0)
OUTPUT_EDGES = (50.0, 100.0, 200.0, 500.0, 1000.0)


class Histogram:
    def __init__(self, edges):
        self.edges = edges
        self.counts = [0.0] * (len(edges) + 1)
        self.sum = 0.0

    def add(self, value, weight=1.0):
        for i, edge in enumerate(self.edges):
            if value <= edge:
                break
        else:
            i = len(self.edges)
        self.counts[i] += weight
        self.sum += value * weight

    def snapshot(self):
        total, out = 0.0, []
        for count in self.counts:
            total += count
            out.append(int(total + 1e-6))
        return out, round(self.sum, 4)


class Engine:
    """`work` collects spans in which requests that are not probes were in the engine."""

    def __init__(self, speed, start, slow=()):
        self.speed, self.t, self.slow = speed, start, list(slow)
        self.waiting, self.running = deque(), []
        self.prefilling, self.prefill_end = None, 0.0
        self.progress = self.context = 0.0
        self.reserved = 0
        self.real, self.work, self.work_since = 0, [], None
        self.records = None  # (seconds to the first token, mean inter-token seconds) if wanted
        self.busy_s = 0.0
        self.order = 0
        self.reset()

    def reset(self):
        """Counters of a new process."""
        self.requests = self.prompt = self.cached = 0
        self.output = 0.0
        self.ttft, self.itl = Histogram(TTFT_EDGES), Histogram(ITL_EDGES)
        self.prompts, self.outputs = Histogram(PROMPT_EDGES), Histogram(OUTPUT_EDGES)

    def crash(self, t):
        """Everything in the engine is lost; the work ends here."""
        self.advance(t)
        lost = [r for _, _, r, _, _ in self.running] + list(self.waiting)
        if self.prefilling:
            lost.append(self.prefilling)
        self.waiting.clear()
        self.running, self.prefilling, self.context, self.reserved = [], None, 0.0, 0
        for request in lost:
            self._leave(request, t)
        self.reset()

    @property
    def load(self):
        return len(self.running) + len(self.waiting) + (self.prefilling is not None)

    @property
    def active(self):
        return bool(self.running) or self.prefilling is not None

    def factor(self, t):
        """How much slower the engine is because its CPU is held back."""
        for a, b, factor in self.slow:
            if a <= t < b:
                return factor
        return 1.0

    def _leave(self, request, t):
        if not request.probe:
            self.real -= 1
            if self.real == 0 and self.work_since is not None:
                self.work.append((self.work_since, t))
                self.work_since = None

    def accept(self, request, t):
        self.advance(t)
        self.waiting.append(request)
        if not request.probe:
            self.real += 1
            if self.work_since is None:
                self.work_since = t
        self._admit()

    def _admit(self):
        if self.prefilling is None and self.waiting:
            request = self.waiting[0]
            need = request.prompt + request.output
            if len(self.running) < self.speed.max_seqs and self.reserved + need <= self.speed.kv_tokens:
                self.waiting.popleft()
                self.reserved += need
                self.prefilling = request
                seconds = self.speed.prefill(request.prompt - request.cached)
                self.prefill_end = self.t + seconds * self.factor(self.t)

    def advance(self, to):
        while self.t < to:
            batch = len(self.running)
            if batch == 0 and self.prefilling is None:
                self.t = to
                return
            slow = self.factor(self.t) if self.slow else 1.0
            step = self.speed.step(max(batch, 1), self.context) * slow
            if self.prefilling is not None:
                step *= 1.7  # chunks of the prompt share the steps
            nearest = to
            if self.prefilling is not None and self.prefill_end < nearest:
                nearest = self.prefill_end
            if batch:
                end = self.t + (self.running[0][0] - self.progress) * step
                if end < nearest:
                    nearest = end
                # The step grows with the cache: look again now and then.
                if nearest - self.t > 5.0:
                    nearest = self.t + 5.0
            if self.slow:
                for a, b, _ in self.slow:
                    if self.t < a < nearest:
                        nearest = a
                    if self.t < b < nearest:
                        nearest = b
            passed = max(nearest - self.t, 0.0)
            self.busy_s += passed
            if batch:
                tokens = passed / step
                self.progress += tokens
                self.output += batch * tokens
                self.context += batch * tokens
                self.itl.add(step, batch * tokens)
            self.t = nearest
            # Times are seconds of the epoch, good to a quarter of a microsecond: a thousandth of a
            # token is more than that.
            while self.running and self.running[0][0] <= self.progress + 1e-3:
                self._finish()
            if self.prefilling is not None and self.prefill_end <= self.t + 1e-12:
                self._first_token()
            self._admit()

    def _first_token(self):
        request, self.prefilling = self.prefilling, None
        self.prompt += request.prompt
        self.cached += request.cached
        self.output += 1
        seconds = self.t - request.at
        self.ttft.add(seconds)
        self.context += request.prompt
        self.order += 1
        heapq.heappush(self.running, (self.progress + max(request.output - 1, 0), self.order, request, seconds, self.t))

    def _finish(self):
        end, _, request, first, since = heapq.heappop(self.running)
        self.context -= request.prompt + max(request.output - 1, 0)
        self.reserved -= request.prompt + request.output
        if not self.running:
            self.context = 0.0
        self.requests += 1
        self.prompts.add(request.prompt)
        self.outputs.add(request.output)
        if self.records is not None and not request.probe and request.output > 1:
            self.records.append((first, (self.t - since) / (request.output - 1)))
        self._leave(request, self.t)

    def snapshot(self):
        """What the exporter would answer now."""
        kv = min(1.0, (self.context + (self.prefilling.prompt if self.prefilling else 0)) / max(1, self.speed.kv_tokens))
        return (len(self.running) + (self.prefilling is not None), len(self.waiting), round(kv, 4),
                self.requests, self.prompt, int(self.output + 1e-6), self.cached,
                self.ttft.snapshot(), self.itl.snapshot(), self.prompts.snapshot(), self.outputs.snapshot())
