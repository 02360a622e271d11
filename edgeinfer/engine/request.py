"""What a user asks of the engine, what comes back, and how far it has come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgeinfer.backends.base import SeqId
from edgeinfer.engine.sampler import Sampling
from edgeinfer.errors import EdgeInferError, InvalidRequest

FinishReason = Literal["stop", "length", "cancelled", "error"]
Priority = Literal["interactive", "batch"]
Scorer = Callable[[int, NDArray[np.float32]], None]

_RANKS: dict[Priority, int] = {"interactive": 0, "batch": 1}


@dataclass(frozen=True)
class Usage:
    """What a request cost. Times are seconds since it was submitted, or 0 if it did not get there."""

    n_prompt: int
    n_cached: int  # prompt tokens that did not have to be computed
    n_generated: int
    first_token_s: float
    total_s: float

    @property
    def prompt_per_s(self) -> float:
        """Computed prompt tokens per second, waiting included."""
        return (self.n_prompt - self.n_cached) / self.first_token_s if self.first_token_s > 0 else 0.0

    @property
    def generated_per_s(self) -> float:
        """Tokens per second after the first one."""
        elapsed = self.total_s - self.first_token_s
        return (self.n_generated - 1) / elapsed if self.n_generated > 1 and elapsed > 0 else 0.0


@dataclass(frozen=True)
class TokenEvent:
    """A sampled token; `finish` is set on the last one of a request that ends by itself."""

    id: int
    logprob: float
    finish: FinishReason | None


@dataclass(frozen=True)
class EndEvent:
    """The last event of every request, exactly once."""

    reason: FinishReason
    usage: Usage
    error: EdgeInferError | None  # set when the reason is "error"


Event = TokenEvent | EndEvent


@dataclass(eq=False)
class Request:
    """One prompt on its way through the engine.

    Belongs to the engine's thread after `Engine.submit`; others may only call `cancel`. One rule drives
    it: `n_computed` (tokens whose keys and values are in the cache) catches up with `len(tokens)`.
    """

    tokens: list[int]  # the prompt, then what was generated
    sampling: Sampling
    seed: int  # 0 .. 2**64 - 1
    max_tokens: int  # to generate; 0 for a request that only scores its prompt
    sink: Callable[[Event], None]  # called in the engine's thread; must not block
    stop_ids: frozenset[int] = frozenset()
    priority: Priority = "interactive"  # batch goes last and is paused first
    # Gets (position of the first row, borrowed rows) for every prompt token; again after a pause.
    score: Scorer | None = None

    arrival: int = 0
    prompt: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))  # once it is accepted
    seq: SeqId | None = None
    n_computed: int = 0
    n_cached: int | None = None  # prompt tokens that were there already, once it has started
    submitted_at: float = field(default_factory=time.perf_counter)
    first_token_at: float | None = None
    _cancelled: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        """Remember the prompt's length and check what needs no engine."""
        self.n_prompt = len(self.tokens)
        if self.n_prompt == 0:
            raise InvalidRequest("the prompt is empty", hint="give at least one token")
        if self.score is None and self.max_tokens < 1:
            raise InvalidRequest(f"max_tokens must be at least 1, not {self.max_tokens}")
        if self.priority not in _RANKS:
            raise InvalidRequest(f"priority must be one of {', '.join(_RANKS)}, not {self.priority!r}")

    @property
    def n_left(self) -> int:
        """Tokens that still have to be computed before the next one can be sampled."""
        return len(self.tokens) - self.n_computed

    @property
    def n_generated(self) -> int:
        """Tokens sampled so far."""
        return len(self.tokens) - self.n_prompt

    @property
    def order(self) -> tuple[int, int]:
        """Sort key: who goes first."""
        return (_RANKS[self.priority], self.arrival)

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to stop."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Ask to stop before the next step. Safe from any thread; prefer `Engine.cancel`."""
        self._cancelled.set()

    def usage(self) -> Usage:
        """What it cost until now."""
        first = self.first_token_at
        return Usage(
            n_prompt=self.n_prompt,
            n_cached=self.n_cached or 0,
            n_generated=self.n_generated,
            first_token_s=0.0 if first is None else first - self.submitted_at,
            total_s=time.perf_counter() - self.submitted_at,
        )
