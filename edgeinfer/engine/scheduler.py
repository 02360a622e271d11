"""Who computes what in the next step. One rule: every request's computed tokens catch up with its tokens.

There are no phases: a step is a list of slices, some one token long (decoding), some longer (a chunk of a
prompt). Whoever is read along while decoding is in every step; all others share what the budget leaves, by
priority, and equals alike, so that a short prompt does not wait for the end of a long one.
"""

from __future__ import annotations

import bisect
import itertools
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edgeinfer.backends.base import Backend, Batch, SeqId
from edgeinfer.engine.budget import StepBudget
from edgeinfer.engine.prefix import Kept, PrefixCache
from edgeinfer.engine.request import Request
from edgeinfer.engine.saving import PrefixSaver
from edgeinfer.engine.stats import Meter, Stats
from edgeinfer.errors import ContextLengthExceeded, InvalidRequest, NoRoom
from edgeinfer.kv.tokens import Tokens, common_prefix

_SCORE_BYTES = 64 << 20  # at most this much float32 rows of scored prompts in one step
_LOOK_AHEAD = 16  # waiting requests that may start before their turn while others wait for a shared prefix
_WORTH_WAITING = 16  # tokens that another request is computing anyway


@dataclass(frozen=True)
class Slice:
    """`n` next tokens of a request, and how many of the last of them want a row."""

    request: Request
    n: int
    n_rows: int
    awaited: bool  # somebody reads along: what else is in the step must not make it long


class Scheduler:
    """Holds all unfinished requests: waiting without a sequence, running with one."""

    def __init__(self, backend: Backend, *, token_budget: int) -> None:
        self._backend = backend
        self.budget = StepBudget(token_budget)
        self._score_rows = max(1, _SCORE_BYTES // (4 * backend.traits.row_width))
        self._capacity = backend.room()
        self.n_arrivals = 0
        self.cache = PrefixCache(backend)
        self.saver: PrefixSaver | None = None
        self.meter = Meter()
        self._n_paused = self._n_prompt = self._n_cached = 0
        self.waiting: list[Request] = []  # by order
        self.running: list[Request] = []  # by order

    @property
    def limit(self) -> int:
        """Most tokens a request can have, generated ones included."""
        return min(self._backend.traits.n_ctx, self._capacity)

    def limit_of(self, request: Request) -> int:
        """Most tokens this one can have."""
        return self.limit if request.most_context is None else min(self.limit, request.most_context)

    def add(self, request: Request) -> None:
        """Queue a request. Raises ContextLengthExceeded or InvalidRequest if it can never run."""
        self._check(request)
        request.prompt = np.array(request.tokens, np.int32)
        self.n_arrivals += 1
        request.arrival = self.n_arrivals
        bisect.insort(self.waiting, request, key=lambda r: r.order)

    def admit(self) -> None:
        """Start waiting requests, in order, as long as there is room for their prompts.

        A request whose beginning is being computed for another waits for it, and lets others pass.
        """
        startable = (r for r in self.waiting if not r.held)
        for request in list(itertools.islice(startable, _LOOK_AHEAD)):
            if self._will_share(request):
                continue
            while not self._start(request):
                if not self._pause_held():
                    return

    def plan(self) -> list[Slice]:
        """The next step; empty when nothing runs, or all wait for their readers."""
        ready = [r for r in self.running if not r.held]
        awaited = [r for r in ready if r.awaited]
        slices = [Slice(r, 1, 1, awaited=True) for r in awaited]
        tokens_left = self.budget.prompt_tokens(len(awaited))
        rows_left = self._score_rows
        others = (r for r in ready if not r.awaited)
        for _, group in itertools.groupby(others, key=lambda r: r.priority):
            equals = sorted(group, key=lambda r: r.n_left)  # what short ones leave goes to long ones
            for i, request in enumerate(equals):
                n = min(request.n_left, -(-tokens_left // (len(equals) - i)))
                if request.scoring:
                    n -= max(0, request.n_rows(n) - rows_left)
                    rows_left -= request.n_rows(n)
                if n <= 0:
                    continue
                slices.append(Slice(request, n, request.n_rows(n), awaited=False))
                tokens_left -= n
        return slices

    def relieve(self) -> bool:
        """Free room after NoRoom: give up what is kept or being saved, else pause the last in order.

        False when only one request is left to pause: it does not fit.
        """
        if self._give_way(1):
            return True
        if len(self.running) < 2:
            return False
        self._pause(self.running[-1])
        return True

    def shift(self, request: Request) -> int:
        """Forget the older half of what a running request has behind its first tokens; returns how many.

        The rest is read again: so its text depends on nothing but its tokens.
        """
        assert request.shift_after is not None, "it did not ask for it"
        first = min(request.shift_after, self.limit_of(request) // 2)
        n = (len(request.tokens) - first + 1) // 2
        self._queue_again(request)
        del request.tokens[first : first + n]
        request.prompt = np.array(request.tokens, np.int32)
        request.n_dropped += n
        return n

    def remove(self, request: Request, *, reuse: bool) -> None:
        """Take a request out; its sequence is kept for others if `reuse`, else closed."""
        (self.running if request in self.running else self.waiting).remove(request)
        if reuse and request.generates:
            self._keep(request)
        else:
            self._close(request)

    def observe(self, slices: Sequence[Slice], seconds: float) -> None:
        """A step took so long."""
        self.meter.observe_step(len(slices), seconds)
        n_awaited = sum(1 for s in slices if s.awaited)
        n_others = sum(s.n for s in slices) - n_awaited
        self.budget.observe(n_awaited, n_others, seconds)
        if self.saver is not None and n_others > 0:
            self.saver.observe_reading(n_others, seconds, alone=n_awaited == 0)

    def stats(self) -> Stats:
        """Where the engine stands."""
        meter = self.meter
        return Stats(
            n_running=len(self.running),
            n_waiting=len(self.waiting),
            n_ended=dict(meter.ended),
            n_prompt=self._n_prompt,
            n_cached=self._n_cached,
            n_generated=meter.n_generated,
            n_kept=len(self.cache),
            n_kept_tokens=self.cache.n_tokens,
            n_evicted=self.cache.n_evicted,
            n_saved=0 if self.saver is None else self.saver.n_saved,
            n_loaded=0 if self.saver is None else self.saver.n_loaded,
            save_error=None if self.saver is None or self.saver.error is None else str(self.saver.error),
            n_paused=self._n_paused,
            n_steps=meter.n_steps,
            step_s=meter.step_s,
            capacity=self._capacity,
            room=self._backend.room(),
            block_tokens=self._backend.traits.kv_block_tokens,
            kv=self._backend.kv_use([r.seq for r in self.running if r.seq is not None]),
            queue=meter.queue.spread(),
            first_token=meter.first_token.spread(),
            between_tokens=meter.between_tokens.spread(),
            whole=meter.whole.spread(),
            step=meter.step.spread(),
            step_sequences=meter.step_sequences.spread(),
        )

    def requests(self) -> list[Request]:
        """All unfinished requests."""
        return [*self.running, *self.waiting]

    def _check(self, request: Request) -> None:
        n, n_vocab = request.n_prompt, self._backend.traits.n_vocab
        wrong = next((t for t in request.tokens if not 0 <= t < n_vocab), None)
        if wrong is not None:
            raise InvalidRequest(f"token id {wrong} is outside the vocabulary of {n_vocab} tokens")
        limit = self.limit_of(request)
        if n + request.generates > limit:  # a generated token needs its place too
            raise ContextLengthExceeded(n, limit, hint=self._advice(limit))

    def _advice(self, limit: int) -> str:
        """To who met this limit."""
        if limit < self.limit:
            return f"shorten the prompt or ask for a larger context, up to {self.limit}"
        if limit < self._backend.traits.n_ctx:
            return "shorten the prompt or give the model more memory"
        return "shorten the prompt or raise the context length"

    def _will_share(self, request: Request) -> bool:
        """Whether a request before this one is about to compute tokens that this one needs too."""
        if request.scoring or not self.running:
            return False
        there = -1
        for other in self._kin(request):
            if other.order > request.order or other.n_left <= 1 or other.held:
                continue
            n = min(common_prefix(other.prompt, request.prompt), len(request.prompt) - 1)
            if n - other.n_computed < _WORTH_WAITING:
                continue
            if there < 0:
                there = self.cache.find(request.prompt, request.namespace)[1]
            if n - there >= _WORTH_WAITING:
                return True
        return False

    def _kin(self, request: Request) -> Iterator[Request]:
        """Running requests that it may share with."""
        return (other for other in self.running if other.namespace == request.namespace)

    def _start(self, request: Request) -> bool:
        """Give a waiting request a sequence with what is known of its tokens; False: there is no room yet."""
        tokens = np.array(request.tokens, np.int32)
        source, kept, n = self._find(request, tokens)
        if (
            self.saver is not None
            and not request.scoring
            and self.saver.recall(tokens, request.namespace, n, self._open_with_room)
        ):
            source, kept, n = self._find(request, tokens)
        if not self._make_room(len(request.tokens) - n, spare=kept):
            return False
        found = self._sequence(source, kept, n)
        if found is None:
            return False
        request.seq, request.n_computed = found
        if request.n_cached is None:
            request.started_at = time.perf_counter()
            request.n_cached = min(request.n_computed, request.n_prompt)
            self._n_prompt += request.n_prompt
            self._n_cached += request.n_cached
        self.waiting.remove(request)
        bisect.insort(self.running, request, key=lambda r: r.order)
        return True

    def _find(self, request: Request, tokens: Tokens) -> tuple[SeqId | None, Kept | None, int]:
        """The sequence that begins most like the request, kept or running, and how many tokens are of use.

        The last token is always left to compute, for its logits; of a scored prompt all that it still wants.
        """
        most = request.n_scored if request.scoring else len(tokens) - 1
        if most == 0:
            return None, None, 0
        kept, n_kept = self.cache.find(tokens, request.namespace)
        source, n_running = None, 0
        for other in self._kin(request):
            n = min(common_prefix(other.prompt, tokens), other.n_computed)
            if n > n_running:
                source, n_running = other.seq, n
        if n_running > n_kept:
            return source, None, min(n_running, most)
        n = min(n_kept, most)
        return (None, None, 0) if kept is None or n == 0 else (kept.seq, kept, n)

    def _make_room(self, n_new: int, *, spare: Kept | None) -> bool:
        """Whether a request with so many new tokens may start; gives up what is kept, but for `spare`."""
        needed = n_new + sum(r.n_left for r in self.running)
        if self.running:
            to_give = self.cache.sequences(spare=spare) | (set() if self.saver is None else self.saver.held)
            if self._backend.room(without=to_give) < needed:
                return False  # nothing is given up in vain
        while (room := self._backend.room()) < needed:
            if not self._give_way(needed - room, spare=spare):
                return not self.running
        return True

    def _give_way(self, n_tokens: int, *, spare: Kept | None = None) -> bool:
        """Give up so many tokens or fewer of what is kept, but for `spare`; False when there is none.

        What is being saved comes first: as long as it is held, giving it up would free nothing.
        """
        saved = self.saver is not None and self.saver.release()
        return self.cache.give_way(n_tokens, spare=spare) or saved

    def _sequence(self, source: SeqId | None, kept: Kept | None, n: int) -> tuple[SeqId, int] | None:
        """A sequence with the first n tokens of `source`, and how many it has; None when all are running."""
        if kept is not None and n == len(kept.tokens):
            return self.cache.take(kept), n
        seq = self._open(spare=kept)
        if seq is None and kept is not None:  # only the kept one is left to be had
            return self.cache.take(kept), self._backend.truncate(kept.seq, n)
        if seq is None or source is None:
            return None if seq is None else (seq, 0)
        if kept is not None:
            self.cache.touch(kept)
        return seq, self._backend.fork(source, seq, n)

    def _open(self, *, spare: Kept | None) -> SeqId | None:
        """A fresh sequence, at the cost of kept ones; None when there is none to be had."""
        while True:
            try:
                return self._backend.open()
            except NoRoom:
                if self._give_way(sys.maxsize, spare=spare):
                    continue
                if not self.running and spare is None:
                    raise
                return None

    def _open_with_room(self, n_tokens: int) -> SeqId | None:
        """A fresh sequence that so many tokens fit into; None when there is none to be had."""
        while (room := self._backend.room()) < n_tokens:
            if not self._give_way(n_tokens - room):
                return None
        try:
            return self._open(spare=None)
        except NoRoom:
            return None

    def _pause_held(self) -> bool:
        """Pause a running request that waits for its reader; False when there is none."""
        held = next((r for r in reversed(self.running) if r.held), None)
        if held is not None:
            self._pause(held)
        return held is not None

    def _pause(self, request: Request) -> None:
        self._n_paused += 1
        self._queue_again(request)

    def _queue_again(self, request: Request) -> None:
        self.running.remove(request)
        self._keep(request)
        bisect.insort(self.waiting, request, key=lambda r: r.order)

    def _keep(self, request: Request) -> None:
        if request.seq is not None and request.n_computed > 0:
            passing = request.priority == "batch"
            tokens = request.tokens[: request.n_computed]
            self.cache.keep(request.seq, tokens, request.namespace, passing=passing)
            if self.saver is not None:
                self.saver.observe_kept()
            request.seq, request.n_computed = None, 0
        else:
            self._close(request)

    def _close(self, request: Request) -> None:
        if request.seq is not None:
            self._backend.close(request.seq)
        request.seq, request.n_computed = None, 0


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
