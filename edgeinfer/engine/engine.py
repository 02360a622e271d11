"""The loop: one thread that owns the backend and runs steps while its inbox has brought requests.

Nothing here parses text, renders templates or waits for a client. Whatever goes wrong with one request
ends that request, with its error, and no other.
"""

from __future__ import annotations

import atexit
import heapq
import queue
import threading
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgeinfer.backends.base import STEP_TOKENS, Backend, Traits
from edgeinfer.engine.constraint import Masks
from edgeinfer.engine.doorbell import Doorbell
from edgeinfer.engine.events import (
    EndEvent,
    Event,
    FinishReason,
    QueuedEvent,
    ReadingEvent,
    ShiftedEvent,
    TokenEvent,
)
from edgeinfer.engine.request import Request
from edgeinfer.engine.sampler import sample
from edgeinfer.engine.saving import PrefixSaver
from edgeinfer.engine.scheduler import Scheduler, Slice, batch_of
from edgeinfer.engine.stats import Stats
from edgeinfer.errors import Cancelled, EdgeInferError, NonFiniteLogits, NoRoom
from edgeinfer.kv.disk import SavedPrefixes

_WORTH_INTERRUPTING = 16  # tokens in a step; a shorter one ends soon enough by itself
_NEAR = 16  # places in the queue of which each is told; of others the halves


class Engine:
    """Runs requests on a backend, and owns it: `close` shuts it down.

    With a store, sequences are saved there beside the steps, and found again after a restart.

    `submit`, `cancel`, `stats` and `close` may be called from any thread.
    """

    def __init__(
        self, backend: Backend, *, token_budget: int = STEP_TOKENS, store: SavedPrefixes | None = None
    ) -> None:
        self._backend = backend
        self._scheduler = Scheduler(backend, token_budget=token_budget)
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._out = np.empty((0, backend.traits.row_width), dtype=np.float32)
        self._masks = Masks()
        self.doorbell = Doorbell()  # of readers in event loops
        self._step: tuple[Slice, ...] = ()  # in the running forward, read by cancel
        self._deadlines: list[tuple[float, int, Request]] = []  # heap
        self._n_past_deadlines = 0  # of requests that have ended, at most
        self._told_queue = (0, 0)  # arrivals and length of the queue when positions were told
        self._closing = False
        # No request enters the inbox behind the closing message, and the backend is not shut down while it is
        # told to cancel. Reentrant: a collected stream may be cancelled anywhere.
        self._lock = threading.RLock()
        if store is not None:
            self._scheduler.saver = PrefixSaver(backend, self._scheduler.cache, store, self._inbox.put)
        self._thread = threading.Thread(target=self._run, name="edgeinfer-engine", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    @property
    def traits(self) -> Traits:
        """What the backend is."""
        return self._backend.traits

    @property
    def limit(self) -> int:
        """Most tokens a request can have, generated ones included."""
        return self._scheduler.limit

    def submit(self, request: Request) -> None:
        """Queue a request; its events, an EndEvent last, go to its sink."""
        self._post(lambda: self._accept(request))

    def cancel(self, request: Request) -> None:
        """Stop a request now: between two layers if it is computing a long slice."""
        request.cancel()
        self._inbox.put(lambda: self._drop(request))
        with self._lock:
            slow = any(s.request is request and s.n >= _WORTH_INTERRUPTING for s in self._step)
            if slow and not self._closing:
                self._backend.cancel()

    def wake(self) -> None:
        """Look again at requests that waited for their readers."""
        self._inbox.put(lambda: None)

    def stats(self) -> Stats:
        """Where the engine stands between two steps. Raises EdgeInferError when it is closed."""
        answer: queue.SimpleQueue[Stats] = queue.SimpleQueue()
        self._post(lambda: answer.put(self._scheduler.stats()))
        return answer.get()

    def close(self) -> None:
        """End all requests as cancelled, stop the thread and shut the backend down."""
        with self._lock:
            already, self._closing = self._closing, True
            if not already:
                atexit.unregister(self.close)
                self._inbox.put(lambda: None)
                self._backend.cancel()
        if not self._is_own(threading.current_thread()):  # where a forgotten model may be collected
            self._thread.join()

    def _is_own(self, thread: threading.Thread) -> bool:
        saver = self._scheduler.saver
        return thread is self._thread or (saver is not None and saver.writes_in(thread))

    def _post(self, message: Callable[[], None]) -> None:
        with self._lock:
            if self._closing:
                raise EdgeInferError("the model is closed", hint="load it again")
            self._inbox.put(message)

    # --- below: the engine's thread only ----------------------------------------------------------

    def _run(self) -> None:
        try:
            idle = True
            while not self._closing:
                self._save_next()
                self._drain(wait=idle)
                self._drop_late()
                idle = not self._advance()
        except BaseException as bug:  # a broken invariant: nobody may wait for ever
            with self._lock:
                self._closing = True
            self._end_all("error", _internal(bug))
            raise
        finally:
            self._drain(wait=False)
            self._end_all("cancelled", None)
            self.doorbell.ring()
            if self._scheduler.saver is not None:
                self._scheduler.saver.finish(lambda: self._drain(wait=False))
            self.doorbell.ring()
            self._scheduler.cache.clear()
            self._masks.close()
            with self._lock:
                self._backend.shutdown()

    def _save_next(self) -> None:
        if self._scheduler.saver is not None:
            self._scheduler.saver.save_next(self._scheduler.running)

    def _drain(self, *, wait: bool) -> None:
        """Handle all messages; with `wait` sleep until there is one, or a deadline."""
        try:
            if wait:
                self.doorbell.ring()
                self._inbox.get(timeout=self._until_deadline())()
            while True:
                self._inbox.get_nowait()()
        except queue.Empty:
            return

    def _until_deadline(self) -> float | None:
        if not self._deadlines:
            return None
        return min(max(0.0, self._deadlines[0][0] - time.perf_counter()), threading.TIMEOUT_MAX)

    def _accept(self, request: Request) -> None:
        try:
            self._scheduler.add(request)
        except EdgeInferError as error:
            self._end_event(request, "error", error)
            return
        except Exception as bug:
            self._end_event(request, "error", _internal(bug))
            return
        if request.constraint is not None:
            self._masks.want(request, request.constraint)
        if request.deadline is not None:
            heapq.heappush(self._deadlines, (request.deadline, request.arrival, request))
        if request.cancelled:  # before it came here
            self._drop(request)

    def _drop(self, request: Request) -> None:
        """End a cancelled request, unless it has ended or is still to come."""
        if request.arrival > 0 and not request.ended:
            self._end(request, "cancelled")

    def _drop_late(self) -> None:
        now = time.perf_counter()
        while self._deadlines and self._deadlines[0][0] <= now:
            request = heapq.heappop(self._deadlines)[2]
            if not request.ended:
                self._end(request, "deadline")

    def _forget_deadlines(self) -> None:
        """Of requests that have ended, once those are half of all."""
        self._n_past_deadlines += 1
        if 2 * self._n_past_deadlines > len(self._deadlines):
            self._deadlines = [entry for entry in self._deadlines if not entry[2].ended]
            heapq.heapify(self._deadlines)
            self._n_past_deadlines = 0

    def _advance(self) -> bool:
        """One step, if anything can run; False when there is nothing to do."""
        try:
            self._scheduler.admit()
        except EdgeInferError as error:  # not even one sequence can be opened
            self._end(self._scheduler.waiting[0], "error", error)
        self._tell_positions()
        while slices := self._scheduler.plan():
            try:
                self._forward(slices)
                return True
            except NoRoom as error:
                if not self._scheduler.relieve():
                    self._end(slices[0].request, "error", error)
            except Cancelled:
                return True
            except EdgeInferError as error:
                self._fail(slices, error)
                return True
            except Exception as bug:
                self._fail(slices, _internal(bug))
                return True
        return False

    def _tell_positions(self) -> None:
        """Tell who waits how many come first, where that has changed enough to be worth it."""
        state = self._scheduler.n_arrivals, len(self._scheduler.waiting)
        if state == self._told_queue:
            return
        self._told_queue = state
        for position, request in enumerate(self._scheduler.waiting, start=1):
            told = request.position
            if told == 0 or (position != told and (position <= _NEAR or position <= told // 2)):
                request.position = position
                self._emit(request, QueuedEvent(position))

    def _forward(self, slices: list[Slice]) -> None:
        batch = batch_of(slices)
        out = self._rows(len(batch.rows))
        self._step = tuple(slices)
        start = time.perf_counter()
        try:
            if any(s.request.cancelled for s in slices):  # too early for `cancel` to see the step
                raise Cancelled("a request of the step was cancelled")
            self._masks.find()
            self.doorbell.ring()
            self._backend.forward(batch, out)
        finally:
            self._step = ()
        self._scheduler.observe(slices, time.perf_counter() - start)
        row = 0
        for s in slices:
            s.request.n_computed += s.n
            self._consume(s, out[row : row + s.n_rows])
            row += s.n_rows

    def _rows(self, n: int) -> NDArray[np.float32]:
        """A borrowed (n, row_width) buffer."""
        if n > len(self._out):
            self._out = np.empty((n, self._out.shape[1]), dtype=np.float32)
        return self._out[:n]

    def _consume(self, s: Slice, rows: NDArray[np.float32]) -> None:
        """Use a request's rows; whatever goes wrong ends this request only."""
        request = s.request
        try:
            if s.n_rows:
                _check_finite(rows, request)
                if request.scoring:
                    self._score(request, rows)
                if request.n_left == 0:
                    if request.generates:
                        self._sample(request, rows)
                    else:
                        self._end(request, "length")
            if not request.ended and request.n_left > 1:
                self._emit(request, ReadingEvent(request.n_computed, len(request.tokens)))
        except EdgeInferError as error:
            self._end(request, "error", error)
        except Exception as bug:
            self._end(request, "error", _internal(bug))

    def _score(self, request: Request, rows: NDArray[np.float32]) -> None:
        assert request.score is not None
        first, request.n_scored = request.n_scored, request.n_scored + len(rows)
        request.score(first, rows)

    def _sample(self, request: Request, rows: NDArray[np.float32]) -> None:
        constraint = request.constraint
        choice = sample(
            rows[-1],
            request.sampling,
            request.tokens,
            request.seed,
            n_dropped=request.n_dropped,
            n_top=request.n_top,
            mask=None if constraint is None else self._masks.take(request),
        )
        self._scheduler.meter.observe_token(request, request.append(choice.id))
        finish = self._finish_reason(request)
        if finish is None and constraint is not None:
            self._masks.want(request, constraint)
        self._emit(request, TokenEvent(choice.id, choice.logprob, finish, choice.top))
        if finish is not None:
            self._end(request, finish)
        elif self._is_full(request):
            self._emit(request, ShiftedEvent(self._scheduler.shift(request)))

    def _finish_reason(self, request: Request) -> FinishReason | None:
        if request.tokens[-1] in request.stop_ids:
            return "stop"
        if request.constraint is not None and request.constraint.advance(request.tokens[-1]):
            return "stop"
        full = self._is_full(request) and request.shift_after is None
        return "length" if full or request.n_generated >= request.max_tokens else None

    def _is_full(self, request: Request) -> bool:
        return len(request.tokens) >= self._scheduler.limit_of(request)

    def _fail(self, slices: list[Slice], error: EdgeInferError) -> None:
        """The step itself failed: all its requests end, and nothing of their sequences is reused."""
        for s in slices:
            self._end(s.request, "error", error)

    def _end(self, request: Request, reason: FinishReason, error: EdgeInferError | None = None) -> None:
        self._scheduler.remove(request, reuse=reason != "error")
        self._end_event(request, reason, error)

    def _end_all(self, reason: FinishReason, error: EdgeInferError | None) -> None:
        for request in self._scheduler.requests():
            self._end(request, reason, error)

    def _end_event(self, request: Request, reason: FinishReason, error: EdgeInferError | None) -> None:
        request.ended = True
        self._masks.forget(request)
        if request.deadline is not None:
            self._forget_deadlines()
        usage = request.usage()
        self._scheduler.meter.observe_end(reason, usage)
        self._emit(request, EndEvent(reason, usage, error))

    def _emit(self, request: Request, event: Event) -> None:
        """Hand an event over. A sink that raises has lost its reader: the request is not worth finishing."""
        try:
            request.sink(event)
        except Exception:
            request.cancel()
            self._inbox.put(lambda: self._drop(request))


def _check_finite(rows: NDArray[np.float32], request: Request) -> None:
    # NaN wins in min and max, so two passes without a temporary array see everything
    if not (np.isfinite(rows.max()) and np.isfinite(rows.min())):
        raise NonFiniteLogits(
            f"the model produced NaN or infinity at token {request.n_computed}",
            hint="the file is damaged or the model is unsupported; try `edgeinfer check FILE`",
        )


def _internal(bug: BaseException) -> EdgeInferError:
    error = EdgeInferError(f"internal error: {type(bug).__name__}: {bug}", hint="please report this")
    error.__cause__ = bug
    return error
