"""Many requests through a pool that is far too small, on the real engine: each text as if it were alone."""

from __future__ import annotations

import queue
import random
from pathlib import Path

import numpy as np
import pytest
import tiny

from edgeinfer import _native, models
from edgeinfer.backends.base import Batch
from edgeinfer.backends.native import NativeBackend
from edgeinfer.config.table import KvType
from edgeinfer.engine.engine import Engine
from edgeinfer.engine.events import EndEvent, Event, TokenEvent
from edgeinfer.engine.request import Request
from edgeinfer.engine.sampler import sample
from edgeinfer.engine.sampling import Sampling
from edgeinfer.errors import ContextLengthExceeded

N_REQUESTS = 200


def open_backend(
    path: Path, n_blocks: int | tuple[int, ...], n_threads: int, kv_type: KvType
) -> NativeBackend:
    file = _native.gguf_open(str(path))
    spec = models.load_spec(file, 256)
    return NativeBackend(
        file, spec, n_threads=n_threads, n_ctx=256, kv_type=kv_type, n_blocks=n_blocks, max_sequences=12
    )


def alone(
    backend: NativeBackend, prompt: list[int], sampling: Sampling, seed: int, n: int
) -> list[tuple[int, float]]:
    """The request without engine, cache or company: one sequence, the prompt at once, then token by token."""
    sequence = backend.open()
    tokens, new, answer = list(prompt), list(prompt), []
    logits = np.empty((1, backend.traits.n_vocab), np.float32)
    for _ in range(n):
        starts = np.array([0, len(new)], np.int32)
        rows = np.array([len(new) - 1], np.int32)
        backend.forward(Batch((sequence,), np.array(new, np.int32), starts, rows), logits)
        choice = sample(logits[0], sampling, tokens, seed)
        answer.append((choice.id, choice.logprob))
        tokens.append(choice.id)
        new = [choice.id]
    backend.close(sequence)
    return answer


def submit(
    engine: Engine, tokens: list[int], sampling: Sampling, seed: int, n: int
) -> tuple[Request, queue.SimpleQueue[Event]]:
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    request = Request(list(tokens), sampling, seed, n, sink=events.put)
    engine.submit(request)
    return request, events


def read(events: queue.SimpleQueue[Event]) -> tuple[list[tuple[int, float]], EndEvent]:
    tokens: list[tuple[int, float]] = []
    while True:
        event = events.get(timeout=120)
        if isinstance(event, EndEvent):
            return tokens, event
        if isinstance(event, TokenEvent):
            tokens.append((event.id, event.logprob))


@pytest.mark.parametrize(
    ("case", "n_blocks", "kv_type"),
    [
        ("llama", 14, "f16"),
        pytest.param("gemma2", (40, 10), "iq4_nl", id="windows"),  # of 48 tokens in two of three layers
    ],
)
def test_two_hundred_requests_under_pressure_are_each_as_if_alone(
    case: str, n_blocks: int | tuple[int, ...], kv_type: KvType, tmp_path: Path
) -> None:
    rng = random.Random(4)
    path = tiny.write_gguf(tmp_path / "model.gguf", case, "Q8_0")
    crowded = Engine(open_backend(path, n_blocks, 2, kv_type), token_budget=48)
    lone = open_backend(path, 10, 1, kv_type)
    n_vocab = crowded.traits.n_vocab
    beginnings = [[rng.randrange(n_vocab) for _ in range(n)] for n in (30, 90, 150)]
    sent = []
    for seed in range(N_REQUESTS):
        prompt = rng.choice(beginnings)[: rng.randint(1, 150)]
        prompt = prompt + [rng.randrange(n_vocab) for _ in range(rng.randint(0, 60))]
        sampling = Sampling(temperature=rng.choice([0.0, 0.8, 1.5]))
        n = rng.randint(1, 40)
        request, events = submit(crowded, prompt, sampling, seed, n)
        sent.append((prompt, sampling, seed, n, events))
        if rng.random() < 0.1:
            crowded.cancel(request)
    results = [read(events) for *_, events in sent]
    stats = crowded.stats()
    crowded.close()
    assert stats.n_paused > 10
    assert stats.n_evicted > 1000
    assert stats.n_cached > 1000
    for (prompt, sampling, seed, n, _), (tokens, end) in zip(sent, results, strict=True):
        assert end.reason != "error" or isinstance(end.error, ContextLengthExceeded)
        assert tokens == alone(lone, prompt, sampling, seed, len(tokens))
        if end.reason == "length":
            assert len(tokens) == n
    lone.shutdown()
