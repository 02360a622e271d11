"""What happens to a request beside its tokens: its place in the queue, deadlines, readers that stop reading,
a context that is full, background work, and what the engine measures.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from fakes import FakeBackend
from readers import SAMPLING, Reader, alone

from edgeinfer.engine.engine import Engine
from edgeinfer.engine.events import (
    MOST_UNREAD,
    EndEvent,
    Event,
    QueuedEvent,
    ReadingEvent,
    ShiftedEvent,
    TokenEvent,
)
from edgeinfer.engine.request import Request
from edgeinfer.engine.sampler import sample


@pytest.fixture
def backend() -> FakeBackend:
    """One that stands still until its gate is opened."""
    made = FakeBackend(max_sequences=1, n_ctx=4096, n_blocks=2048)
    made.gate = threading.Event()
    return made


@pytest.fixture
def engine(backend: FakeBackend) -> Iterator[Engine]:
    made = Engine(backend, token_budget=16)
    yield made
    backend.gate.set()
    made.close()


def events_of(reader: Reader) -> list[Event]:
    events = [reader.next()]
    while not isinstance(events[-1], EndEvent):
        events.append(reader.next())
    return events


def test_who_waits_is_told_the_place_in_the_queue(engine: Engine, backend: FakeBackend) -> None:
    first = Reader(engine, [1], max_tokens=3)
    backend.entered.wait(20)
    others = [Reader(engine, [2 + i], max_tokens=1) for i in range(3)]
    backend.gate.set()
    assert first.ids() == alone([1], 7, 3)
    for i, other in enumerate(others):
        told = [e.position for e in events_of(other) if isinstance(e, QueuedEvent)]
        assert told == list(range(i + 1, 0, -1))


def test_in_a_long_queue_not_every_step_is_told(engine: Engine, backend: FakeBackend) -> None:
    Reader(engine, [1], max_tokens=1)
    backend.entered.wait(20)
    readers = [Reader(engine, [i % 32], max_tokens=1) for i in range(400)]
    backend.gate.set()
    told = [e.position for e in events_of(readers[-1]) if isinstance(e, QueuedEvent)]
    assert told[0] == 399  # one has started by then
    assert told[-1] == 1
    assert told == sorted(told, reverse=True)
    assert len(told) < 25


def test_a_prompt_tells_how_far_it_is_read(engine: Engine, backend: FakeBackend) -> None:
    backend.gate.set()
    reading = [e for e in events_of(Reader(engine, [1] * 40, max_tokens=2)) if isinstance(e, ReadingEvent)]
    assert reading == [ReadingEvent(16, 40), ReadingEvent(32, 40)]


def test_a_deadline_ends_a_request_that_generates(engine: Engine, backend: FakeBackend) -> None:
    late = Reader(engine, [1], max_tokens=4000, deadline=time.perf_counter() + 0.05)
    other = Reader(engine, [2], max_tokens=3)
    backend.entered.wait(20)
    time.sleep(0.06)
    backend.gate.set()
    tokens, end = late.result()
    assert (end.reason, end.error) == ("deadline", None)
    assert len(tokens) == 1  # the step that was running
    assert other.ids() == alone([2], 7, 3)


def test_a_deadline_ends_a_request_that_waits(engine: Engine, backend: FakeBackend) -> None:
    first = Reader(engine, [1], max_tokens=2)
    backend.entered.wait(20)
    late = Reader(engine, [2], deadline=time.perf_counter() + 0.01)
    time.sleep(0.02)
    backend.gate.set()
    tokens, end = late.result()
    assert (tokens, end.reason) == ([], "deadline")
    assert first.ids() == alone([1], 7, 2)
    assert all(2 not in batch.tokens[:1] for batch in backend.batches[:1])


class SlowReader:
    """Takes what it wants, when it wants."""

    def __init__(self, engine: Engine, prompt: list[int], n: int, deadline: float | None = None) -> None:
        self.unread: list[Event] = []
        self.n_taken = 0
        self.request = Request(
            list(prompt),
            SAMPLING,
            7,
            n,
            sink=self.unread.append,
            deadline=deadline,
            n_unread=lambda: len(self.unread) - self.n_taken,
        )
        engine.submit(self.request)

    def n_unread(self) -> int:
        return len(self.unread) - self.n_taken

    def ids(self) -> list[int]:
        return [e.id for e in self.unread if isinstance(e, TokenEvent)]


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(4000):
        if true():
            return
        time.sleep(0.005)
    raise AssertionError("it never came")


def test_a_reader_that_stops_reading_stops_its_request_alone(engine: Engine, backend: FakeBackend) -> None:
    backend.gate.set()
    slow = SlowReader(engine, [1, 2], 2000)
    wait_until(lambda: slow.request.held)
    # There is one sequence only: it is taken from the request whose reader does not read.
    for i in range(3):
        assert Reader(engine, [i, 3], max_tokens=20).ids() == alone([i, 3], 7, 20)
    assert len(slow.unread) <= MOST_UNREAD + 3  # and the events of the queue
    n_steps = engine.stats().n_steps
    time.sleep(0.05)
    assert engine.stats().n_steps == n_steps, "the engine computes although nobody reads"
    while len(slow.ids()) < 2000:
        slow.n_taken = len(slow.unread)
        engine.wake()
        wait_until(lambda: slow.request.held or slow.request.ended)
    assert slow.ids() == alone([1, 2], 7, 2000)


def test_a_held_request_can_be_cancelled_and_meets_its_deadline(engine: Engine, backend: FakeBackend) -> None:
    backend.gate.set()
    slow = SlowReader(engine, [1, 2], 2000)
    wait_until(lambda: slow.request.held)
    engine.cancel(slow.request)
    wait_until(lambda: slow.request.ended)
    assert slow.unread[-1].reason == "cancelled"


def test_a_deadline_may_be_never(engine: Engine, backend: FakeBackend) -> None:
    backend.gate.set()
    slow = SlowReader(engine, [1, 2], 2000, deadline=math.inf)
    wait_until(lambda: slow.request.held)  # nothing else is to be done: the engine waits for the deadline
    assert Reader(engine, [3]).ids() == alone([3], 7, 8)


def shifted_alone(prompt: list[int], seed: int, n: int, limit: int, first: int) -> tuple[list[int], int]:
    """The rule of context shift, the slow way: (tokens, how many were dropped)."""
    fake = FakeBackend(n_ctx=limit)
    history, answer, n_dropped = list(prompt), [], 0
    while len(answer) < n:
        answer.append(sample(fake._logits(history), SAMPLING, history, seed, n_dropped=n_dropped).id)
        history.append(answer[-1])
        if len(history) == limit and len(answer) < n:
            n_old = (limit - first + 1) // 2
            del history[first : first + n_old]
            n_dropped += n_old
    return answer, n_dropped


@pytest.mark.parametrize("first", [0, 3, 1000])
def test_a_full_context_goes_on_without_its_older_half_where_asked(first: int) -> None:
    engine = Engine(FakeBackend(n_ctx=40, n_blocks=30), token_budget=8)
    readers = [Reader(engine, [i, 5, 6, 7], seed=i, max_tokens=150, shift_after=first) for i in range(4)]
    for i, reader in enumerate(readers):
        events = events_of(reader)
        expected, n_dropped = shifted_alone([i, 5, 6, 7], i, 150, 40, min(first, 20))
        assert [e.id for e in events if isinstance(e, TokenEvent)] == expected
        assert sum(e.n_dropped for e in events if isinstance(e, ShiftedEvent)) == n_dropped > 0
        usage = events[-1].usage
        assert (usage.n_generated, usage.n_dropped, usage.n_prompt) == (150, n_dropped, 4)
    engine.close()


def test_what_is_measured(engine: Engine, backend: FakeBackend) -> None:
    backend.gate.set()
    ends = [Reader(engine, [i, i], seed=i, max_tokens=5).result()[1] for i in range(3)]
    stats = engine.stats()
    assert (stats.n_generated, stats.n_ended, stats.capacity) == (15, {"length": 3}, 8192)
    for spread in (stats.first_token, stats.between_tokens, stats.step):
        assert 0 < spread.p50 <= spread.p95 <= spread.p99
    assert stats.step_sequences.p99 == 1
    assert stats.queue.p50 <= stats.first_token.p50
    for end in ends:
        usage = end.usage
        assert 0 < usage.queue_s <= usage.first_token_s <= usage.total_s
        assert 0 < usage.longest_wait_s <= usage.total_s
