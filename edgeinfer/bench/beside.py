"""`edgeinfer bench beside`: a running answer while another client's long prompt is read."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgeinfer.bench.machine import Disturbance, Watch
from edgeinfer.bench.streams import open_engine
from edgeinfer.engine.engine import Engine
from edgeinfer.engine.events import EndEvent, Event, TokenEvent
from edgeinfer.engine.request import Request
from edgeinfer.engine.sampling import Sampling

_SHORT = 200  # tokens of the prompt whose answer is disturbed
_LONE = 200  # tokens of it that are measured before
_STARTS = 8  # tokens until its steps have settled


@dataclass(frozen=True)
class Beside:
    """Times between tokens in ms, alone and beside the prompt; seconds of the prompt."""

    n_prompt: int
    lone_p50: float
    lone_p99: float
    beside_p50: float
    beside_p99: float
    prompt_alone_s: float
    prompt_beside_s: float

    @property
    def stretch(self) -> float:
        """Of the time between tokens, at the 99th percentile."""
        return self.beside_p99 / self.lone_p99

    @property
    def slowdown(self) -> float:
        """Of the prompt."""
        return self.prompt_beside_s / self.prompt_alone_s


@dataclass(frozen=True)
class BesideReport:
    """All that a run found."""

    model: str
    ours: str
    rows: list[Beside]
    disturbance: Disturbance

    def as_json(self) -> dict[str, Any]:
        """One document."""
        rows = [{**asdict(r), "stretch": r.stretch, "slowdown": r.slowdown} for r in self.rows]
        return {
            "model": self.model,
            "ours": self.ours,
            "disturbance": self.disturbance.as_json(),
            "rows": rows,
        }


def measure_beside(
    path: str, n_prompt: int, *, n_threads: int, repetitions: int, advance: Callable[[], None]
) -> BesideReport:
    """The long prompt alone, a short chat alone, then both.

    Raises:
        EdgeInferError: the model cannot be opened, or has not so long a context.
    """
    watch = Watch()
    most = _SHORT + _answer(n_prompt)
    engine = open_engine(path, n_threads, n_ctx=most, n_tokens=2 * n_prompt + most)
    try:
        rows = []
        for i in range(repetitions):
            rows.append(_measure(engine, n_prompt, np.random.default_rng(i)))
            advance()
        return BesideReport(path, engine.traits.description, rows, watch.stop())
    finally:
        engine.close()


def _answer(n_prompt: int) -> int:
    """Tokens that last longer than reading the prompt beside them."""
    return _STARTS + _LONE + n_prompt


def _measure(engine: Engine, n_prompt: int, rng: np.random.Generator) -> Beside:
    def start(n_tokens: int, max_tokens: int) -> tuple[Request, queue.SimpleQueue[float]]:
        """A request with a new prompt, and when its tokens came."""
        came: queue.SimpleQueue[float] = queue.SimpleQueue()

        def sink(event: Event) -> None:
            if isinstance(event, TokenEvent | EndEvent):
                came.put(time.perf_counter())

        prompt = [int(t) for t in rng.integers(3, engine.traits.n_vocab, n_tokens)]
        request = Request(prompt, Sampling(temperature=0), seed=1, max_tokens=max_tokens, sink=sink)
        engine.submit(request)
        return request, came

    began = time.perf_counter()
    alone = start(n_prompt, 1)[1].get() - began
    chat, tokens = start(_SHORT, _answer(n_prompt))
    lone = [tokens.get() for _ in range(_STARTS + _LONE)][_STARTS:]
    began = time.perf_counter()
    first = start(n_prompt, 1)[1]
    beside = [tokens.get()]
    while first.empty():
        beside.append(tokens.get())
    took = first.get() - began
    engine.cancel(chat)
    lone_p50, lone_p99 = _percentiles(lone)
    beside_p50, beside_p99 = _percentiles(beside)
    return Beside(
        n_prompt=n_prompt,
        lone_p50=lone_p50,
        lone_p99=lone_p99,
        beside_p50=beside_p50,
        beside_p99=beside_p99,
        prompt_alone_s=alone,
        prompt_beside_s=took,
    )


def _percentiles(moments: list[float]) -> tuple[float, float]:
    """Median and 99th percentile of the times between them, in ms."""
    p50, p99 = np.percentile(np.diff(moments), (50, 99)) * 1e3
    return float(p50), float(p99)
