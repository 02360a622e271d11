"""What the engine counts and measures, cheap enough to be always on."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeinfer.backends.base import KvUse
from edgeinfer.engine.events import FinishReason, Usage
from edgeinfer.engine.request import Request

_RECENT = 1024  # measurements that percentiles are of
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_SEQUENCES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class Spread:
    """How measurements are spread: percentiles of the last 1024, zeros before the first one, and all of them
    in buckets.
    """

    p50: float
    p95: float
    p99: float
    total: float  # their sum
    bounds: Sequence[float]  # of the buckets, each inclusive; one more bucket has what is above
    counts: Sequence[int]  # in each bucket, not cumulative: one more than there are bounds


@dataclass(frozen=True)
class Stats:
    """Where the engine stands; counters begin with it, times are in seconds."""

    n_running: int
    n_waiting: int
    n_ended: dict[FinishReason, int]
    n_prompt: int  # prompt tokens of the requests that have started
    n_cached: int  # of those, how many were there already
    n_generated: int
    n_kept: int  # sequences without a request
    n_kept_tokens: int  # theirs, shared ones counted for each
    n_evicted: int  # tokens of theirs that gave way
    n_saved: int  # tokens written to files
    n_loaded: int  # tokens read back from them
    save_error: str | None  # why nothing is saved any more
    n_paused: int  # times that a running request gave way
    n_steps: int
    step_s: float  # all steps together
    capacity: int  # tokens that all blocks hold
    room: int  # tokens that free blocks hold
    block_tokens: int  # tokens of a block
    kv: KvUse  # what blocks are used for
    queue: Spread  # from submission to the first computation
    first_token: Spread  # from submission to the first token (TTFT)
    between_tokens: Spread  # of one request (ITL)
    whole: Spread  # from submission to the end
    step: Spread
    step_sequences: Spread  # requests in a step


class Meter:
    """Collects what `Stats` tells of requests and steps."""

    def __init__(self) -> None:
        self.ended: Counter[FinishReason] = Counter()
        self.n_generated = self.n_steps = 0
        self.step_s = 0.0
        self.queue, self.first_token, self.between_tokens = (_Measured(_SECONDS) for _ in range(3))
        self.whole, self.step = _Measured(_SECONDS), _Measured(_SECONDS)
        self.step_sequences = _Measured(_SEQUENCES)

    def observe_step(self, n_sequences: int, seconds: float) -> None:
        """A step took so long."""
        self.n_steps += 1
        self.step_s += seconds
        self.step.add(seconds)
        self.step_sequences.add(n_sequences)

    def observe_token(self, request: Request, waited_s: float | None) -> None:
        """A request has a new token, so long after the one before; None: its first."""
        self.n_generated += 1
        if waited_s is not None:
            self.between_tokens.add(waited_s)
        else:
            usage = request.usage()
            self.queue.add(usage.queue_s)
            self.first_token.add(usage.first_token_s)

    def observe_end(self, reason: FinishReason, usage: Usage) -> None:
        """A request has ended, and cost that."""
        self.ended[reason] += 1
        self.whole.add(usage.total_s)


class _Measured:
    def __init__(self, bounds: Sequence[float]) -> None:
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._total = 0.0
        self._bounds, self._counts = bounds, [0] * (len(bounds) + 1)

    def add(self, value: float) -> None:
        self._recent.append(value)
        self._total += value
        self._counts[bisect_left(self._bounds, value)] += 1

    def spread(self) -> Spread:
        p50, p95, p99 = np.percentile(self._recent or (0.0,), (50, 95, 99)).tolist()
        return Spread(p50, p95, p99, self._total, self._bounds, tuple(self._counts))
