"""`edgeinfer bench streams`: several clients at once, whole answers, through scheduler and sampler."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edgeinfer.bench.machine import Disturbance, Watch

if TYPE_CHECKING:
    from edgeinfer.engine.engine import Engine

_MARGIN = 32  # tokens of context beside prompt and answer


@dataclass(frozen=True)
class Load:
    """So many clients that ask at the same moment, each with a prompt of its own."""

    n_streams: int
    n_prompt: int  # tokens of each
    n_answer: int

    @property
    def tokens(self) -> int:
        """Of all clients, read and generated."""
        return self.n_streams * (self.n_prompt + self.n_answer)

    @property
    def context(self) -> int:
        """Tokens that one client needs."""
        return self.n_prompt + self.n_answer + _MARGIN

    def prompts(self, n_vocab: int) -> list[list[int]]:
        """Token ids that share no beginning."""
        rng = np.random.default_rng(self.n_streams)
        return [[int(t) for t in row] for row in rng.integers(3, n_vocab, (self.n_streams, self.n_prompt))]


@dataclass(frozen=True)
class Outcome:
    """One run of a load; seconds."""

    total: float
    first_tokens: list[float]  # of each client; empty where it is not told

    @property
    def first_token(self) -> float | None:
        """The median client's."""
        return statistics.median(self.first_tokens) if self.first_tokens else None


class StreamRunner(Protocol):
    """Anything that can serve several clients."""

    description: str

    def run(self, load: Load, prompts: list[list[int]]) -> Outcome:
        """Serve the load once."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


def open_engine(path: str, n_threads: int, *, n_ctx: int, n_tokens: int) -> Engine:
    """Our engine, with keys and values of so many tokens."""
    from edgeinfer import _native, models
    from edgeinfer.backends.native import NativeBackend
    from edgeinfer.engine.engine import Engine

    file = _native.gguf_open(path)
    spec = models.load_spec(file, n_ctx)
    n_blocks = -(-n_tokens // _native.KV_BLOCK_TOKENS) + 1
    return Engine(NativeBackend(file, spec, n_threads=n_threads, n_ctx=n_ctx, n_blocks=n_blocks))


class EngineStreams:
    """Our engine, as its doors use it."""

    def __init__(self, path: str, n_threads: int, largest: Load) -> None:
        n_tokens = largest.n_streams * (largest.context + _MARGIN)
        self._engine = open_engine(path, n_threads, n_ctx=largest.context, n_tokens=n_tokens)
        self.n_vocab = self._engine.traits.n_vocab
        self.description = self._engine.traits.description

    def run(self, load: Load, prompts: list[list[int]]) -> Outcome:
        """See StreamRunner."""
        import queue

        from edgeinfer.engine.events import EndEvent, Event
        from edgeinfer.engine.request import Request
        from edgeinfer.engine.sampling import Sampling

        ended: queue.SimpleQueue[EndEvent] = queue.SimpleQueue()

        def sink(event: Event) -> None:
            if isinstance(event, EndEvent):
                ended.put(event)

        start = time.perf_counter()
        for prompt in prompts:
            self._engine.submit(
                Request(list(prompt), Sampling(temperature=0), seed=1, max_tokens=load.n_answer, sink=sink)
            )
        ends = [ended.get() for _ in prompts]
        total = time.perf_counter() - start
        for end in ends:
            if end.error is not None:
                raise end.error
        return Outcome(total, [end.usage.first_token_s for end in ends])

    def close(self) -> None:
        """See StreamRunner."""
        self._engine.close()


@dataclass
class StreamRow:
    """What was found for one load."""

    load: Load
    ours: list[Outcome] = field(default_factory=list)
    peer: list[Outcome] = field(default_factory=list)

    @property
    def ratio(self) -> float | None:
        """Our tokens/s to the peer's; each measured in turn with the other."""
        if not self.peer:
            return None
        return statistics.median(
            theirs.total / ours.total for ours, theirs in zip(self.ours, self.peer, strict=True)
        )

    def rate(self, outcomes: list[Outcome]) -> float:
        """Tokens/s of all clients together, read and generated."""
        return self.load.tokens / statistics.median(outcome.total for outcome in outcomes)

    def first_token(self, outcomes: list[Outcome]) -> float | None:
        """Seconds, the median client's of the median run."""
        found = [outcome.first_token for outcome in outcomes if outcome.first_token is not None]
        return statistics.median(found) if found else None

    def as_json(self) -> dict[str, Any]:
        """All figures."""
        sides = {"ours": self.ours, "peer": self.peer}
        return {
            "streams": self.load.n_streams,
            "prompt": self.load.n_prompt,
            "answer": self.load.n_answer,
            "ratio": self.ratio,
            **{
                name: {
                    "tokens_per_s": self.rate(outcomes),
                    "first_token_s": self.first_token(outcomes),
                    "all_s": [outcome.total for outcome in outcomes],
                }
                for name, outcomes in sides.items()
                if outcomes
            },
        }


@dataclass
class StreamReport:
    """All that a run found."""

    model: str
    ours: str
    peer: str | None
    rows: list[StreamRow]
    disturbance: Disturbance

    def as_json(self) -> dict[str, Any]:
        """One document."""
        return {
            "model": self.model,
            "ours": self.ours,
            "peer": self.peer,
            "disturbance": self.disturbance.as_json(),
            "rows": [row.as_json() for row in self.rows],
        }


def measure_streams(
    path: str,
    loads: list[Load],
    *,
    n_threads: int,
    repetitions: int,
    against: str | None,
    advance: Callable[[], None],
) -> StreamReport:
    """Serve each load, in turns with the peer.

    Args:
        path: the model file.
        against: a llama-server or llama-batched-bench program, see `open_stream_peer`.
        advance: called after each repetition.

    Raises:
        EdgeInferError: the model cannot be opened, or the peer fails.
    """
    from edgeinfer.bench.stream_peers import open_stream_peer

    watch = Watch()
    largest = Load(
        max(load.n_streams for load in loads),
        max(load.n_prompt for load in loads),
        max(load.n_answer for load in loads),
    )
    ours = EngineStreams(path, n_threads, largest)
    peer = open_stream_peer(against, path, n_threads, largest) if against else None
    try:
        rows = [_take_turns(ours, peer, load, repetitions, advance) for load in loads]
    finally:
        ours.close()
        if peer is not None:
            peer.close()
    described = None if peer is None else peer.description
    return StreamReport(path, ours.description, described, rows, watch.stop())


def _take_turns(
    ours: EngineStreams, peer: StreamRunner | None, load: Load, repetitions: int, advance: Callable[[], None]
) -> StreamRow:
    row = StreamRow(load)
    for i in range(repetitions):
        prompts = load.prompts(ours.n_vocab)
        # New prompts each time: what was kept of the ones before is of no use.
        prompts = [[(t + i) % ours.n_vocab for t in prompt] for prompt in prompts]
        row.ours.append(ours.run(load, prompts))
        if peer is not None:
            row.peer.append(peer.run(load, prompts))
        advance()
    return row
