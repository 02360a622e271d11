"""Readers of the engine's events, and what a request must give when it is computed alone."""

from __future__ import annotations

import queue

from fakes import FakeBackend

from edgeinfer.engine.engine import Engine
from edgeinfer.engine.events import EndEvent, Event, TokenEvent
from edgeinfer.engine.request import Request
from edgeinfer.engine.sampler import sample
from edgeinfer.engine.sampling import Sampling

SAMPLING = Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0)


class Reader:
    """Collects the events of one request."""

    def __init__(self, engine: Engine, prompt: list[int], **options: object) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        defaults = {"sampling": SAMPLING, "seed": 7, "max_tokens": 8}
        self.request = Request(list(prompt), sink=self.events.put, **{**defaults, **options})
        engine.submit(self.request)

    def next(self) -> Event:
        return self.events.get(timeout=20)

    def result(self) -> tuple[list[TokenEvent], EndEvent]:
        tokens: list[TokenEvent] = []
        while True:
            event = self.next()
            if isinstance(event, EndEvent):
                assert self.events.empty()
                return tokens, event
            if isinstance(event, TokenEvent):
                tokens.append(event)

    def ids(self) -> list[int]:
        return [t.id for t in self.result()[0]]


def alone(prompt: list[int], seed: int, n: int, backend: FakeBackend | None = None) -> list[int]:
    """What the request must give: the slow way, one fresh sequence at a time."""
    fake = backend or FakeBackend()
    tokens = list(prompt)
    for _ in range(n):
        tokens.append(sample(fake._logits(tokens), SAMPLING, tokens, seed).id)
    return tokens[len(prompt) :]
