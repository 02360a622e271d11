"""What the engine counts and measures, cheap enough to be always on."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

import numpy as np

from edgeinfer.engine.events import FinishReason
from edgeinfer.engine.request import Request

_RECENT = 1024  # measurements that percentiles are of


@dataclass(frozen=True)
class Spread:
    """Percentiles of the last 1024 measurements, zeros before the first one."""

    p50: float
    p95: float
    p99: float


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
    queue: Spread  # from submission to the first computation
    first_token: Spread  # from submission to the first token (TTFT)
    between_tokens: Spread  # of one request (ITL)
    step: Spread
    step_sequences: Spread  # requests in a step


class Meter:
    """Collects what `Stats` tells of requests and steps."""

    def __init__(self) -> None:
        self.ended: Counter[FinishReason] = Counter()
        self.n_generated = self.n_steps = 0
        self.step_s = 0.0
        self.queue, self.first_token, self.between_tokens = _Recent(), _Recent(), _Recent()
        self.step, self.step_sequences = _Recent(), _Recent()

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


class _Recent:
    def __init__(self) -> None:
        self._values: deque[float] = deque(maxlen=_RECENT)

    def add(self, value: float) -> None:
        self._values.append(value)

    def spread(self) -> Spread:
        if not self._values:
            return Spread(0.0, 0.0, 0.0)
        return Spread(*(float(p) for p in np.percentile(self._values, (50, 95, 99))))
