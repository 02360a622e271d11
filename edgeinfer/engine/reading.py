"""Requests that only read: their prompt goes through the model, and `score` gets its rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from edgeinfer.engine.engine import Engine
from edgeinfer.engine.events import EndEvent, Event, Usage
from edgeinfer.engine.request import Priority, Request, Scorer
from edgeinfer.engine.sampling import Sampling
from edgeinfer.errors import EdgeInferError, TimedOut

if TYPE_CHECKING:
    from concurrent.futures import Future

Result = TypeVar("Result")


def read_through(
    engine: Engine,
    tokens: list[int],
    score: Scorer,
    result: Callable[[Usage], Result],
    *,
    n_scored: int = 0,
    priority: Priority = "interactive",
    deadline: float | None = None,
) -> Future[Result]:
    """Queue such a request; cancelling the future stops it.

    Args:
        score, n_scored, priority, deadline: of `Request`.
        result: called once all rows were given.

    Raises:
        InvalidRequest: there are no tokens. Errors met later are raised from the future.
    """
    from concurrent.futures import Future  # 10 ms that answering need not wait for

    done: Future[Result] = Future()

    def finish(event: Event) -> None:
        if not isinstance(event, EndEvent) or done.cancelled():
            return
        if event.reason != "length":
            done.set_exception(event.error or _ended(event))
            return
        try:
            done.set_result(result(event.usage))
        except Exception as bug:  # nobody may wait for ever
            done.set_exception(bug)

    request = Request(
        tokens,
        Sampling(),
        seed=0,
        max_tokens=0,
        sink=finish,
        score=score,
        n_scored=n_scored,
        priority=priority,
        deadline=deadline,
    )
    done.add_done_callback(lambda done: engine.cancel(request) if done.cancelled() else None)
    engine.submit(request)
    return done


def _ended(event: EndEvent) -> EdgeInferError:
    if event.reason == "deadline":
        return TimedOut(f"the time was up after {event.usage.total_s:.1f} s")
    return EdgeInferError("the model was closed")
