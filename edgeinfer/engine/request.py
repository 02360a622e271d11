"""What a user asks of the engine, and how far it has come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgeinfer.backends.base import SeqId
from edgeinfer.engine.constraint import Constraint
from edgeinfer.engine.events import MOST_UNREAD, Event, Usage
from edgeinfer.engine.sampling import Sampling
from edgeinfer.errors import InvalidRequest

Priority = Literal["interactive", "batch"]
Scorer = Callable[[int, NDArray[np.float32]], None]

MOST_TOP = 20  # what OpenAI and Ollama allow
_RANKS: dict[Priority, int] = {"interactive": 0, "batch": 1}


def _none_unread() -> int:
    return 0


@dataclass(eq=False)
class Request:
    """One prompt on its way through the engine.

    Belongs to the engine's thread after `Engine.submit`; others may only call `cancel`. One rule drives
    it: `n_computed` (tokens whose keys and values are in the cache) catches up with `len(tokens)`.
    """

    tokens: list[int]  # the prompt, then what was generated; without what was dropped
    sampling: Sampling
    seed: int  # 0 .. 2**64 - 1
    max_tokens: int  # to generate; 0 for a request that only scores its prompt
    sink: Callable[[Event], None]  # called in the engine's thread; must not block
    stop_ids: frozenset[int] = frozenset()
    constraint: Constraint | None = None  # what it has to be
    priority: Priority = "interactive"  # batch goes last and is paused first
    namespace: str = ""  # it finds only what requests of the same one have computed
    deadline: float | None = None  # time.perf_counter() when it ends, finished or not
    most_context: int | None = None  # tokens, generated ones included, where that is less than the model has
    # With a full context go on without the older half of what follows the first so many tokens.
    shift_after: int | None = None
    # Gets (position of the first row, borrowed rows) of prompt tokens from `n_scored` on, once each.
    score: Scorer | None = None
    n_scored: int = 0
    n_top: int = 0  # likeliest tokens to name with each that is sampled
    # Events that its reader has not taken yet. With too many the request waits for its reader.
    n_unread: Callable[[], int] = _none_unread

    arrival: int = 0
    prompt: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))  # once it is accepted
    seq: SeqId | None = None
    n_computed: int = 0
    n_cached: int | None = None  # prompt tokens that were there already, once it has started
    n_dropped: int = 0
    ended: bool = False
    position: int = 0  # in the queue, as it was last told
    submitted_at: float = field(default_factory=time.perf_counter)
    started_at: float | None = None
    first_token_at: float | None = None
    last_token_at: float | None = None
    longest_wait_s: float = 0.0
    _cancelled: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        """Remember the prompt's length and check what needs no engine."""
        self.n_prompt = len(self.tokens)
        if self.n_prompt == 0:
            raise InvalidRequest("the prompt is empty", hint="give at least one token")
        least = 1 if self.score is None else 0
        if self.max_tokens < least:
            problem = f"max_tokens must be at least {least}, not {self.max_tokens}"
            raise InvalidRequest(problem, param="max_tokens")
        if not 0 <= self.n_top <= MOST_TOP:
            problem = f"top_logprobs must be from 0 to {MOST_TOP}, not {self.n_top}"
            raise InvalidRequest(problem, param="top_logprobs")
        if self.priority not in _RANKS:
            raise InvalidRequest(f"priority must be one of {', '.join(_RANKS)}, not {self.priority!r}")

    @property
    def n_left(self) -> int:
        """Tokens that still have to be computed before the next one can be sampled."""
        return len(self.tokens) - self.n_computed

    @property
    def n_generated(self) -> int:
        """Tokens sampled so far."""
        return len(self.tokens) + self.n_dropped - self.n_prompt

    @property
    def scoring(self) -> bool:
        """Whether rows of its prompt are still wanted."""
        return self.score is not None and self.n_scored < self.n_prompt

    @property
    def generates(self) -> bool:
        """Whether it goes on after its prompt."""
        return self.max_tokens > 0

    def n_rows(self, n: int) -> int:
        """Of the next n tokens to compute, how many of the last ones want their rows."""
        if self.scoring:
            return max(0, min(n, self.n_computed + n - self.n_scored))
        return int(n == self.n_left)

    @property
    def awaited(self) -> bool:
        """Whether somebody waits for each of its tokens: it decodes, and not in the background."""
        return self.n_left == 1 and not self.scoring and self.priority == "interactive"

    @property
    def order(self) -> tuple[int, int]:
        """Sort key: who goes first."""
        return (_RANKS[self.priority], self.arrival)

    @property
    def held(self) -> bool:
        """Whether it waits for its reader."""
        return self.n_unread() >= MOST_UNREAD

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to stop."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Ask to stop; for `Engine.cancel`."""
        self._cancelled.set()

    def append(self, token: int) -> float | None:
        """One more token was sampled. Returns the seconds since the one before, None for the first one."""
        self.tokens.append(token)
        now = time.perf_counter()
        before, self.last_token_at = self.last_token_at, now
        if before is None:
            self.first_token_at = now
            return None
        self.longest_wait_s = max(self.longest_wait_s, now - before)
        return now - before

    def usage(self) -> Usage:
        """What it cost until now."""
        return Usage(
            n_prompt=self.n_prompt,
            n_cached=self.n_cached or 0,
            n_generated=self.n_generated,
            n_dropped=self.n_dropped,
            queue_s=self._since_submitted(self.started_at),
            first_token_s=self._since_submitted(self.first_token_at),
            longest_wait_s=self.longest_wait_s,
            total_s=self._since_submitted(time.perf_counter()),
        )

    def _since_submitted(self, moment: float | None) -> float:
        return 0.0 if moment is None else moment - self.submitted_at
