"""Who computes what in the next step. One rule: every request's computed tokens catch up with its tokens.

There are no phases: a step is a list of slices, some one token long (decoding), some longer (a chunk of a
prompt). Decoding requests are in every step; prompts share what is left of the token budget, oldest first.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from edgeinfer.backends.base import Backend, Batch, SeqId
from edgeinfer.engine.prefix import ParkedSequences
from edgeinfer.engine.request import Request
from edgeinfer.errors import ContextLengthExceeded, InvalidRequest, NoRoom

_SCORE_BYTES = 64 << 20  # at most this much float32 logits for scored prompts in one step


@dataclass(frozen=True)
class Slice:
    """`n` next tokens of a request, and how many of the last of them want logits."""

    request: Request
    n: int
    n_rows: int


class Scheduler:
    """Holds all unfinished requests: waiting without a sequence, running with one."""

    def __init__(self, backend: Backend, *, token_budget: int) -> None:
        self._backend = backend
        self._budget = token_budget
        self._score_rows = max(1, _SCORE_BYTES // (4 * backend.traits.n_vocab))
        self._capacity = backend.room()
        self._arrivals = 0
        self.parked = ParkedSequences(backend)
        self.waiting: list[Request] = []  # by order
        self.running: list[Request] = []  # by order

    @property
    def limit(self) -> int:
        """Most tokens a request can have, generated ones included."""
        return min(self._backend.traits.n_ctx, self._capacity)

    def add(self, request: Request) -> None:
        """Queue a request. Raises ContextLengthExceeded or InvalidRequest if it can never run."""
        self._check(request)
        self._arrivals += 1
        request.arrival = self._arrivals
        bisect.insort(self.waiting, request, key=lambda r: r.order)

    def admit(self) -> None:
        """Give sequences to waiting requests, in order, as long as there is room for their prompts."""
        while self.waiting and self._make_room(self.waiting[0]):
            request = self.waiting[0]
            found = self.parked.take(request.session, request.tokens)
            if found is None:
                opened = self._open()
                if opened is None:
                    return
                found = opened, 0
            request.seq, request.n_computed = found
            request.n_cached = max(request.n_cached, min(request.n_computed, request.n_prompt))
            bisect.insort(self.running, self.waiting.pop(0), key=lambda r: r.order)

    def plan(self) -> list[Slice]:
        """The next step; empty when nothing runs."""
        slices = [Slice(r, 1, 1) for r in self.running if _decodes(r)]
        tokens_left, rows_left = self._budget - len(slices), self._score_rows
        for request in self.running:
            scored = request.score is not None
            n = min(request.n_left, tokens_left, rows_left if scored else tokens_left)
            if n <= 0 or _decodes(request):
                continue
            slices.append(Slice(request, n, n if scored else int(n == request.n_left)))
            tokens_left -= n
            rows_left -= n if scored else 0
        return slices

    def relieve(self) -> bool:
        """Free room after NoRoom: forget a parked sequence, else pause the last in order.

        False when only one request is left to pause: it does not fit.
        """
        if self.parked.forget_oldest():
            return True
        if len(self.running) < 2:
            return False
        victim = self.running.pop()
        self._close(victim)
        bisect.insort(self.waiting, victim, key=lambda r: r.order)
        return True

    def remove(self, request: Request, *, reuse: bool) -> None:
        """Take a request out; its sequence is parked for its session if `reuse`, else closed."""
        (self.running if request in self.running else self.waiting).remove(request)
        if request.seq is not None and reuse and request.session is not None and request.n_computed > 0:
            self.parked.park(request.session, request.seq, request.tokens[: request.n_computed])
            request.seq = None
        else:
            self._close(request)

    def requests(self) -> list[Request]:
        """All unfinished requests."""
        return [*self.running, *self.waiting]

    def _check(self, request: Request) -> None:
        traits, n = self._backend.traits, request.n_prompt
        wrong = next((t for t in request.tokens if not 0 <= t < traits.n_vocab), None)
        if wrong is not None:
            raise InvalidRequest(f"token id {wrong} is outside the vocabulary of {traits.n_vocab} tokens")
        needed = n + (request.score is None)  # a generated token needs its place too
        if needed > traits.n_ctx:
            raise ContextLengthExceeded(
                f"the prompt has {n} tokens, the context holds {traits.n_ctx}",
                hint="shorten the prompt or raise the context length",
            )
        if needed > self._capacity:
            raise ContextLengthExceeded(
                f"the request needs KV room for {needed} tokens, the pool holds {self._capacity}",
                hint="shorten the prompt or give the model more memory",
            )

    def _make_room(self, request: Request) -> bool:
        """Whether the request may start; forgets parked sequences of other sessions for it."""
        promised = sum(r.n_left for r in self.running)
        while True:
            n_new = len(request.tokens) - self.parked.n_common(request.session, request.tokens)
            if self._backend.room() >= promised + n_new:
                return True
            if not self.parked.forget_oldest(keep=request.session):
                return not self.running

    def _open(self) -> SeqId | None:
        """A fresh sequence, at the cost of parked ones; None when all are running."""
        while True:
            try:
                return self._backend.open()
            except NoRoom:
                if not self.parked.forget_oldest():
                    if not self.running:
                        raise
                    return None

    def _close(self, request: Request) -> None:
        if request.seq is not None:
            self._backend.close(request.seq)
        request.seq, request.n_computed = None, 0


def _decodes(request: Request) -> bool:
    """Whether only its newest token is missing."""
    return request.n_left == 1 and request.score is None


def batch_of(slices: Iterable[Slice]) -> Batch:
    """The slices as arrays for the backend; rows are in the order of the slices."""
    sequences: list[SeqId] = []
    tokens: list[int] = []
    starts: list[int] = [0]
    rows: list[int] = []
    for s in slices:
        assert s.request.seq is not None, "only running requests are planned"
        sequences.append(s.request.seq)
        first = s.request.n_computed
        tokens.extend(s.request.tokens[first : first + s.n])
        starts.append(len(tokens))
        rows.extend(range(len(tokens) - s.n_rows, len(tokens)))
    arrays = [np.array(values, dtype=np.int32) for values in (tokens, starts, rows)]
    return Batch(tuple(sequences), *arrays)
