"""The engine through its public door, on a fake backend: exactness, failures, room, cancellation."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
from fakes import FakeBackend
from readers import SAMPLING, Reader, alone

from edgeinfer.backends.base import Batch
from edgeinfer.engine.engine import Engine
from edgeinfer.engine.events import EndEvent, Event
from edgeinfer.engine.request import Request
from edgeinfer.engine.sampling import Sampling
from edgeinfer.errors import (
    ContextLengthExceeded,
    EdgeInferError,
    InvalidRequest,
    ModelFileChanged,
    NonFiniteLogits,
    NoRoom,
)


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
def engine(backend: FakeBackend) -> Iterator[Engine]:
    made = Engine(backend, token_budget=16)
    yield made
    made.close()


def test_a_request_gives_what_sampling_alone_gives(engine: Engine) -> None:
    assert Reader(engine, [1, 2, 3]).ids() == alone([1, 2, 3], 7, 8)


def test_the_last_token_says_why_it_ended(engine: Engine) -> None:
    tokens, end = Reader(engine, [1, 2, 3]).result()
    assert [t.finish for t in tokens] == [None] * 7 + ["length"]
    assert (end.reason, end.error, end.usage.n_prompt, end.usage.n_generated) == ("length", None, 3, 8)


def test_a_stop_token_ends_it(engine: Engine) -> None:
    expected = alone([1, 2, 3], 7, 8)
    tokens, end = Reader(engine, [1, 2, 3], stop_ids=frozenset({expected[3]})).result()
    n = expected.index(expected[3]) + 1
    assert [t.id for t in tokens] == expected[:n]
    assert (tokens[-1].finish, end.reason) == ("stop", "stop")


@pytest.mark.parametrize("budget", [1, 3, 16, 512])
def test_many_requests_joining_and_leaving_get_what_each_gets_alone(budget: int) -> None:
    rng = random.Random(budget)
    engine = Engine(FakeBackend(n_blocks=40, max_sequences=6), token_budget=budget)
    readers = []
    for i in range(30):
        prompt = [rng.randrange(32) for _ in range(rng.randint(1, 40))]
        n = rng.randint(1, 20)
        readers.append((prompt, i, n, Reader(engine, prompt, seed=i, max_tokens=n)))
    for prompt, seed, n, reader in readers:
        assert reader.ids() == alone(prompt, seed, n)
    engine.close()


def test_a_pool_too_small_for_all_pauses_and_recomputes_without_a_trace() -> None:
    backend = FakeBackend(n_blocks=10, block_size=4, max_sequences=8)
    engine = Engine(backend, token_budget=16)
    readers = [Reader(engine, [i] * 6, seed=i, max_tokens=24) for i in range(6)]
    for i, reader in enumerate(readers):
        assert reader.ids() == alone([i] * 6, i, 24)
    engine.close()
    assert (backend.n_open, backend.n_blocks_used) == (0, 0)


def test_equal_priority_keeps_the_order_of_arrival() -> None:
    backend = FakeBackend(max_sequences=1)
    engine = Engine(backend)
    done: list[int] = []
    lock = threading.Event()

    def sink(i: int, event: Event) -> None:
        if isinstance(event, EndEvent):
            done.append(i)
            if len(done) == 5:
                lock.set()

    for i in range(5):
        engine.submit(Request([i + 1], SAMPLING, 1, 3, sink=lambda e, i=i: sink(i, e)))
    assert lock.wait(20)
    assert done == [0, 1, 2, 3, 4]
    engine.close()


def test_a_decoding_request_is_in_every_step_while_a_long_prompt_is_read() -> None:
    backend = FakeBackend(n_ctx=512, n_blocks=256)
    backend.gate = threading.Event()
    engine = Engine(backend, token_budget=8)
    short = Reader(engine, [1], max_tokens=30)
    backend.entered.wait(20)
    long = Reader(engine, [2] * 100, max_tokens=1)
    backend.gate.set()
    assert len(short.ids()) == 30
    long.result()
    chunks = [b for b in backend.batches if len(b.tokens) > 1]
    assert len(chunks) >= 14
    assert all(len(b.tokens) <= 8 for b in backend.batches)
    assert all(len(b.sequences) == 2 for b in chunks[:10])
    engine.close()


def test_a_prompt_longer_than_the_context_is_refused_before_computing(
    engine: Engine, backend: FakeBackend
) -> None:
    _, end = Reader(engine, [1] * 256).result()
    assert isinstance(end.error, ContextLengthExceeded)
    assert "256 tokens" in end.error.message
    assert backend.batches == []


def test_a_request_that_can_never_fit_the_pool_is_refused_with_the_figures() -> None:
    engine = Engine(FakeBackend(n_blocks=4, block_size=4))
    _, end = Reader(engine, [1] * 16).result()
    assert isinstance(end.error, ContextLengthExceeded)
    assert (end.error.n_prompt, end.error.n_context) == (16, 16)
    assert "length is 16" in end.error.message
    engine.close()


def test_generation_ends_where_the_context_ends() -> None:
    engine = Engine(FakeBackend(n_ctx=12))
    tokens, end = Reader(engine, [1] * 5, max_tokens=1000).result()
    assert (len(tokens), end.reason) == (7, "length")
    engine.close()


def test_a_token_outside_the_vocabulary_is_refused(engine: Engine) -> None:
    for prompt in ([1, 32], [-1], [1 << 40]):
        _, end = Reader(engine, prompt).result()
        assert isinstance(end.error, InvalidRequest)


def test_an_empty_prompt_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidRequest, match="prompt is empty"):
        Reader(engine, [])


def test_nan_ends_only_the_request_that_met_it() -> None:
    backend = FakeBackend(nan_after=31)
    engine = Engine(backend)
    others = [Reader(engine, [i], seed=i, max_tokens=5, sampling=no_31()) for i in range(4)]
    bad = Reader(engine, [3, 31], max_tokens=5)
    _, end = bad.result()
    assert isinstance(end.error, NonFiniteLogits)
    assert end.reason == "error"
    for reader in others:
        assert reader.result()[1].reason == "length"
    engine.close()
    assert backend.n_open == 0


def no_31() -> Sampling:
    return Sampling(temperature=1.0, logit_bias={31: -np.inf})


def test_a_request_whose_sampling_fails_does_not_disturb_others(engine: Engine) -> None:
    forbidden = Sampling(logit_bias=dict.fromkeys(range(32), -np.inf))
    bad, good = Reader(engine, [1, 2], sampling=forbidden), Reader(engine, [1, 2, 3])
    assert "forbids" in str(bad.result()[1].error)
    assert good.ids() == alone([1, 2, 3], 7, 8)


def test_a_sink_that_raises_loses_only_its_own_request(engine: Engine, backend: FakeBackend) -> None:
    def broken(event: Event) -> None:
        raise RuntimeError("the reader is gone")

    engine.submit(Request([5], SAMPLING, 1, 200, sink=broken))
    assert Reader(engine, [1, 2, 3]).ids() == alone([1, 2, 3], 7, 8)
    assert Reader(engine, [1, 2]).ids() == alone([1, 2], 7, 8)
    engine.close()
    assert backend.n_open == 0


class FailingBackend(FakeBackend):
    """Raises once, at the step with this number."""

    def __init__(self, error: Exception, at: int) -> None:
        super().__init__()
        self._error: Exception | None = error
        self._at = at

    def forward(self, batch: Batch, logits: np.ndarray) -> None:
        if len(self.batches) >= self._at and self._error is not None:
            error, self._error = self._error, None
            raise error
        super().forward(batch, logits)


@pytest.mark.parametrize("error", [ModelFileChanged("the file shrank"), ZeroDivisionError("a bug")])
def test_a_failing_step_ends_its_requests_and_the_engine_goes_on(error: Exception) -> None:
    backend = FailingBackend(error, at=3)
    engine = Engine(backend)
    _, end = Reader(engine, [1, 2, 3]).result()
    assert end.reason == "error"
    assert isinstance(end.error, EdgeInferError)
    assert Reader(engine, [1, 2, 3]).ids() == alone([1, 2, 3], 7, 8)
    engine.close()
    assert backend.n_open == 0


class NeverRoom(FakeBackend):
    def forward(self, batch: Batch, logits: np.ndarray) -> None:
        raise NoRoom("full")


def test_no_room_for_a_single_request_ends_it() -> None:
    engine = Engine(NeverRoom())
    assert isinstance(Reader(engine, [1]).result()[1].error, NoRoom)
    engine.close()


def test_a_request_that_cannot_even_be_looked_at_ends_alone(engine: Engine) -> None:
    _, end = Reader(engine, ["one", "two"]).result()
    assert end.reason == "error"
    assert Reader(engine, [1, 2, 3]).ids() == alone([1, 2, 3], 7, 8)


def test_cancel_ends_a_decoding_request_and_gives_its_room_back(engine: Engine, backend: FakeBackend) -> None:
    backend.gate = threading.Event()  # the step goes on when the request has been cancelled
    reader = Reader(engine, [1], max_tokens=250)
    backend.entered.wait(20)
    engine.cancel(reader.request)
    backend.gate.set()
    _, end = reader.result()
    assert (end.reason, end.error) == ("cancelled", None)
    Reader(engine, [2], max_tokens=1).result()
    engine.close()
    assert backend.n_blocks_used == 0


def test_cancel_interrupts_a_long_prompt_inside_a_step(engine: Engine, backend: FakeBackend) -> None:
    backend.gate = threading.Event()  # the step would never end by itself
    reader = Reader(engine, [1] * 100)
    assert backend.entered.wait(20)
    engine.cancel(reader.request)
    assert reader.result()[1].reason == "cancelled"


def test_cancel_while_queued_ends_it_without_computing() -> None:
    backend = FakeBackend(max_sequences=1)
    backend.gate = threading.Event()
    engine = Engine(backend)
    first = Reader(engine, [1], max_tokens=2)
    assert backend.entered.wait(20)
    queued = Reader(engine, [2])
    engine.cancel(queued.request)
    backend.gate.set()
    assert queued.result()[1].reason == "cancelled"
    assert len(first.ids()) == 2
    assert all(2 not in b.tokens[:1] for b in backend.batches[:1])
    engine.close()


def test_close_ends_everything_and_shuts_the_backend_down(backend: FakeBackend) -> None:
    engine = Engine(backend)
    reader = Reader(engine, [1], max_tokens=250)
    reader.next()
    engine.close()
    assert reader.result()[1].reason in ("cancelled", "length")
    assert backend.closed
    with pytest.raises(EdgeInferError, match="closed"):
        engine.submit(reader.request)
    engine.close()  # a second time is fine


class SlowToCancel(FakeBackend):
    closed_meanwhile = False

    def cancel(self) -> None:
        end = time.monotonic() + 0.1
        while time.monotonic() < end and not self.closed:
            time.sleep(0.001)
        self.closed_meanwhile |= self.closed
        super().cancel()


def test_a_backend_is_not_shut_down_while_it_is_told_to_cancel() -> None:
    backend = SlowToCancel()
    Engine(backend).close()
    assert backend.closed
    assert not backend.closed_meanwhile


def test_an_engine_may_be_closed_in_its_own_thread(backend: FakeBackend) -> None:
    engine = Engine(backend)
    raised: list[Exception] = []

    def close(event: Event) -> None:
        try:
            engine.close()
        except Exception as error:
            raised.append(error)

    engine.submit(Request([1], SAMPLING, seed=7, max_tokens=250, sink=close))
    engine.close()
    assert backend.closed
    assert not raised


def test_the_next_turn_computes_only_what_is_new(engine: Engine, backend: FakeBackend) -> None:
    first = Reader(engine, [1, 2, 3, 4, 5, 6], max_tokens=4)
    answer = first.ids()
    turn = [1, 2, 3, 4, 5, 6, *answer, 9, 9]
    n_before = sum(len(b.tokens) for b in backend.batches)
    tokens, end = Reader(engine, turn, max_tokens=4).result()
    assert [t.id for t in tokens] == alone(turn, 7, 4)
    assert end.usage.n_cached == 9  # the last sampled token was never computed
    assert sum(len(b.tokens) for b in backend.batches) - n_before == len(turn) - 9 + 3


def test_an_edited_history_reuses_what_is_still_the_same(engine: Engine) -> None:
    Reader(engine, [1, 2, 3, 4, 5, 6]).result()
    tokens, end = Reader(engine, [1, 2, 3, 8, 8]).result()
    assert [t.id for t in tokens] == alone([1, 2, 3, 8, 8], 7, 8)
    assert end.usage.n_cached == 3


def test_the_same_prompt_again_computes_one_token(engine: Engine) -> None:
    expected = Reader(engine, [1, 2, 3, 4]).ids()
    tokens, end = Reader(engine, [1, 2, 3, 4]).result()
    assert [t.id for t in tokens] == expected
    assert end.usage.n_cached == 3


def test_a_stranger_shares_what_was_computed_before(engine: Engine) -> None:
    system = list(range(20))
    Reader(engine, [*system, 1, 2]).result()
    tokens, end = Reader(engine, [*system, 5, 6]).result()
    assert end.usage.n_cached == 20
    assert [t.id for t in tokens] == alone([*system, 5, 6], 7, 8)


def test_equal_prompts_in_flight_are_computed_once() -> None:
    backend = FakeBackend(n_ctx=512, n_blocks=400)
    backend.gate = threading.Event()
    engine = Engine(backend, token_budget=32)
    system = [i % 31 for i in range(200)]
    readers = [Reader(engine, [*system, i], seed=i, max_tokens=4) for i in range(6)]
    backend.entered.wait(20)
    backend.gate.set()
    for i, reader in enumerate(readers):
        tokens, end = reader.result()
        assert [t.id for t in tokens] == alone([*system, i], i, 4)
        assert end.usage.n_cached >= (0 if i == 0 else 200 - 64)  # less is not worth waiting for
    assert sum(len(b.tokens) for b in backend.batches) <= 201 + 5 * 65 + 6 * 3
    engine.close()


def test_those_who_wait_for_a_shared_prompt_let_others_pass() -> None:
    backend = FakeBackend(n_ctx=512, n_blocks=400)
    backend.gate = threading.Event()
    engine = Engine(backend, token_budget=8)
    system = [i % 31 for i in range(200)]
    first = Reader(engine, system, max_tokens=1)
    backend.entered.wait(20)
    waiting = Reader(engine, [*system, 1], max_tokens=1)
    stranger = Reader(engine, [31, 31, 31], max_tokens=1)
    backend.gate.set()
    assert [r.result()[1].reason for r in (first, waiting, stranger)] == ["length"] * 3
    engine.close()
    began = {seq: i for i, b in reversed(list(enumerate(backend.batches))) for seq in b.sequences}
    assert began[2] < began[3] - 10  # the stranger is the second to get a sequence


def test_a_shared_prompt_whose_first_reader_leaves_is_computed_by_the_next() -> None:
    backend = FakeBackend(n_ctx=512, n_blocks=400)
    backend.gate = threading.Event()
    engine = Engine(backend, token_budget=64)
    system = [i % 31 for i in range(300)]
    first = Reader(engine, system, max_tokens=1)
    backend.entered.wait(20)
    second = Reader(engine, [*system, 1], max_tokens=4)
    engine.cancel(first.request)
    backend.gate.set()
    assert first.result()[1].reason == "cancelled"
    assert second.ids() == alone([*system, 1], 7, 4)
    engine.close()


def test_a_short_prompt_does_not_wait_for_the_end_of_a_long_one() -> None:
    backend = FakeBackend(n_ctx=2048, n_blocks=1024)
    backend.gate = threading.Event()
    engine = Engine(backend, token_budget=16)
    long = Reader(engine, [3] * 1000, max_tokens=1)
    backend.entered.wait(20)
    short = Reader(engine, [4] * 12, max_tokens=1)
    backend.gate.set()
    assert [r.result()[1].reason for r in (long, short)] == ["length"] * 2
    engine.close()
    ended = {seq: i for i, b in enumerate(backend.batches) for seq in b.sequences}
    assert ended[2] < 5
    assert ended[1] > 50


def test_a_paused_request_goes_on_from_what_is_still_kept() -> None:
    backend = FakeBackend(n_blocks=160, block_size=4, n_ctx=400)
    engine = Engine(backend, token_budget=64)
    readers = [Reader(engine, [i] * 200, seed=i, max_tokens=60) for i in range(3)]
    for i, reader in enumerate(readers):
        tokens, end = reader.result()
        assert [t.id for t in tokens] == alone([i] * 200, i, 60)
        assert end.usage.n_cached == 0  # its own work is no gift
    assert engine.stats().n_paused > 0
    assert sum(len(b.tokens) for b in backend.batches) < 3 * (200 + 59) + 200
    engine.close()


def test_the_beginning_of_what_is_kept_stays_longest() -> None:
    backend = FakeBackend(n_blocks=64, block_size=4, n_ctx=256)
    engine = Engine(backend)
    system = [i % 31 for i in range(100)]
    Reader(engine, [*system, *[7] * 80], max_tokens=1).result()
    Reader(engine, [9] * 120, max_tokens=1).result()  # needs some of the room
    assert Reader(engine, [*system, 1], max_tokens=1).result()[1].usage.n_cached >= 90
    engine.close()


def test_stats_tell_what_was_saved(engine: Engine) -> None:
    Reader(engine, [1] * 10, max_tokens=2).result()
    Reader(engine, [1] * 10, max_tokens=2).result()
    stats = engine.stats()
    assert (stats.n_prompt, stats.n_cached, stats.n_running, stats.n_waiting) == (20, 9, 0, 0)
    assert stats.n_kept == 1


def test_kept_sequences_give_way_to_new_requests() -> None:
    backend = FakeBackend(n_blocks=16, block_size=4, max_sequences=4)
    engine = Engine(backend)
    for i in range(12):
        assert Reader(engine, [i] * 20, max_tokens=8).ids() == alone([i] * 20, 7, 8)
    assert backend.n_open <= 4
    engine.close()


def test_scoring_gives_every_row_of_the_prompt(engine: Engine, backend: FakeBackend) -> None:
    prompt = list(range(20)) * 2
    rows = np.zeros((40, 32), dtype=np.float32)

    def keep(first: int, some: np.ndarray) -> None:
        rows[first : first + len(some)] = some

    busy = Reader(engine, [1, 2, 3])
    _, end = Reader(engine, prompt, max_tokens=0, score=keep).result()
    assert end.reason == "length"
    np.testing.assert_array_equal(rows, [backend._logits(prompt[: i + 1]) for i in range(40)])
    assert busy.ids() == alone([1, 2, 3], 7, 8)


def test_prompts_that_are_scored_and_continued_get_each_row_once_whoever_is_paused() -> None:
    backend = FakeBackend(n_blocks=10, block_size=4, max_sequences=8)
    engine = Engine(backend, token_budget=5)
    rows: list[list[np.ndarray]] = [[] for _ in range(6)]

    def keep(i: int, first: int, some: np.ndarray) -> None:
        assert first == len(rows[i])
        rows[i] += [row.copy() for row in some]

    options = [{"seed": i, "max_tokens": 24, "score": partial(keep, i)} for i in range(6)]
    readers = [Reader(engine, [i] * 6, **options[i]) for i in range(6)]
    for i, reader in enumerate(readers):
        assert reader.ids() == alone([i] * 6, i, 24)
        np.testing.assert_array_equal(rows[i], [backend._logits([i] * (n + 1)) for n in range(6)])
    assert engine.stats().n_paused > 0
    engine.close()


def test_random_traffic_ends_every_request_and_loses_no_room() -> None:
    seed = 20261121
    print(f"seed {seed}")
    rng = random.Random(seed)
    backend = FakeBackend(n_blocks=12, block_size=4, n_ctx=64, max_sequences=5)
    engine = Engine(backend, token_budget=10)
    readers = []
    for i in range(200):
        prompt = [rng.randrange(32) for _ in range(rng.randint(1, 60))]
        reader = Reader(engine, prompt, seed=i, max_tokens=rng.randint(1, 12))
        readers.append((prompt, i, reader))
        if rng.random() < 0.2:
            engine.cancel(rng.choice(readers)[2].request)
    for prompt, seed_i, reader in readers:
        tokens, end = reader.result()
        if end.reason == "error":
            assert isinstance(end.error, ContextLengthExceeded)
            assert len(prompt) + 1 > 48
        assert [t.id for t in tokens] == alone(prompt, seed_i, len(tokens))
    engine.close()
    assert (backend.n_open, backend.n_blocks_used) == (0, 0)


def test_an_idle_engine_takes_no_processor_time(engine: Engine) -> None:
    Reader(engine, [1]).result()
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.1
