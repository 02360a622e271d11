"""The scheduler driven step by step through random traffic, with its books checked after every step."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from fakes import FakeBackend
from readers import SAMPLING, alone

from edgeinfer.engine.budget import StepBudget
from edgeinfer.engine.request import Priority, Request
from edgeinfer.engine.sampler import sample
from edgeinfer.engine.scheduler import Scheduler, batch_of
from edgeinfer.errors import NoRoom

BEGINNINGS = [[i % 29 for i in range(n)] for n in (8, 40, 70)]


class Driver:
    """What the engine does, without its thread."""

    def __init__(self, backend: FakeBackend, budget: int, token_s: float = 0.001) -> None:
        self.backend = backend
        self.token_s = token_s
        self.scheduler = Scheduler(backend, token_budget=budget)
        self.finished: list[Request] = []
        self.n_failed = 0

    def add(self, tokens: list[int], seed: int, max_tokens: int, priority: Priority) -> None:
        request = Request(
            list(tokens), SAMPLING, seed, max_tokens, sink=lambda event: None, priority=priority
        )
        self.scheduler.add(request)

    def step(self) -> None:
        self.scheduler.admit()
        while slices := self.scheduler.plan():
            batch = batch_of(slices)
            logits = np.empty((len(batch.rows), self.backend.traits.n_vocab), np.float32)
            try:
                self.backend.forward(batch, logits)
            except NoRoom:
                if not self.scheduler.relieve():
                    self.scheduler.remove(slices[0].request, reuse=False)
                    self.n_failed += 1
                continue
            self.scheduler.observe(slices, self.token_s * len(batch.tokens))
            rows = iter(logits)
            for s in slices:
                s.request.n_computed += s.n
                if s.n_rows:
                    self.take(s.request, next(rows))
            return

    def take(self, request: Request, row: np.ndarray) -> None:
        request.tokens.append(sample(row, SAMPLING, request.tokens, request.seed).id)
        if request.n_generated >= request.max_tokens or len(request.tokens) >= self.scheduler.limit:
            self.scheduler.remove(request, reuse=True)
            self.finished.append(request)

    def check(self) -> None:
        fake, scheduler = self.backend, self.scheduler
        held = Counter(block for table in fake._tables.values() for block in table)
        assert held == +fake._holders, "a block's count is not the number of its holders"
        kept = {k.seq: k.tokens.tolist() for k in scheduler.cache._kept}
        running = {r.seq: r.tokens[: r.n_computed] for r in scheduler.running}
        assert len(kept) + len(running) == fake.n_open, "a sequence is lost or held twice"
        for seq, tokens in [*kept.items(), *running.items()]:
            assert seq is not None
            assert fake.tokens_of(seq) == tokens
        assert all(r.seq is None and r.n_computed == 0 for r in scheduler.waiting)
        assert [r.order for r in scheduler.running] == sorted(r.order for r in scheduler.running)


@pytest.mark.parametrize("seed", range(12))
def test_the_books_are_right_after_every_step(seed: int) -> None:
    rng = random.Random(seed)
    backend = FakeBackend(
        n_blocks=rng.choice([30, 45, 200]),
        block_size=4,
        n_ctx=110,
        max_sequences=rng.choice([1, 2, 5, 30]),
    )
    driver = Driver(backend, rng.choice([1, 9, 64]))
    scheduler = driver.scheduler
    for i in range(600):
        if rng.random() < 0.12:
            prompt = rng.choice(BEGINNINGS)[: rng.randint(1, 70)]
            prompt = prompt + [rng.randrange(32) for _ in range(rng.randint(0, 20))]
            driver.add(prompt, i, rng.randint(1, 15), rng.choice(["interactive", "interactive", "batch"]))
        if rng.random() < 0.03 and scheduler.requests():
            scheduler.remove(rng.choice(scheduler.requests()), reuse=rng.random() < 0.7)
        busy, before = bool(scheduler.requests()), len(backend.batches)
        driver.step()
        driver.check()
        assert not busy or len(backend.batches) > before, "nothing was computed"
    for _ in range(20_000):
        if not scheduler.requests():
            break
        driver.step()
        driver.check()
    assert not scheduler.requests(), "some requests never end"
    assert driver.n_failed == 0
    for request in driver.finished:
        n = request.n_prompt
        assert request.tokens[n:] == alone(request.tokens[:n], request.seed, request.n_generated)
    scheduler.cache.clear()
    assert (backend.n_open, backend.n_blocks_used) == (0, 0)


def test_nothing_that_is_kept_gives_way_to_a_request_that_has_to_wait_all_the_same() -> None:
    backend = FakeBackend(n_blocks=40, block_size=4, n_ctx=150)
    driver = Driver(backend, 64)
    driver.add([1] * 20, 1, 1, "interactive")
    while driver.scheduler.requests():
        driver.step()
    assert driver.scheduler.cache.n_tokens == 20
    driver.add([2] * 60, 2, 60, "interactive")
    driver.step()
    driver.add([3] * 110, 3, 1, "interactive")  # has no room beside the other one
    driver.step()
    assert len(driver.scheduler.waiting) == 1
    assert driver.scheduler.cache.n_tokens == 20
    while driver.scheduler.requests():
        driver.step()
    assert len(driver.finished) == 3


def test_background_work_does_not_make_the_steps_of_others_long() -> None:
    backend = FakeBackend(n_ctx=512, n_blocks=512, max_sequences=40)
    driver = Driver(backend, 64, token_s=0.01)
    for i in range(30):
        driver.add([i], i, 200, "batch")
    for _ in range(5):
        driver.step()
    assert len(backend.batches[-1].sequences) == 30
    driver.add([9, 9], 7, 50, "interactive")
    driver.step()
    while not any(r.priority == "interactive" for r in driver.finished):
        driver.step()
        assert len(backend.batches[-1].tokens) <= 16, "a step beside somebody who reads along is long"
    driver.step()
    assert len(backend.batches[-1].sequences) == 30
    while driver.scheduler.requests():
        driver.step()
    for request in driver.finished:
        n = request.n_prompt
        assert request.tokens[n:] == alone(request.tokens[:n], request.seed, request.max_tokens)


def steps(budget: StepBudget, decode_s: float, token_s: float, n: int = 200) -> list[float]:
    """Seconds of steps with one decoding request beside an endless prompt."""
    took = []
    for _ in range(n):
        n_prompt = budget.prompt_tokens(1)
        took.append(decode_s + n_prompt * token_s)
        budget.observe(1, n_prompt, took[-1])
    return took


@pytest.mark.parametrize("decode_s", [0.02, 0.05, 0.2])
@pytest.mark.parametrize("token_s", [0.0003, 0.001, 0.003])
def test_prompts_beside_a_decoding_request_keep_steps_within_their_stretch(
    decode_s: float, token_s: float
) -> None:
    took = steps(StepBudget(512), decode_s, token_s)
    at_least = decode_s + 16 * token_s  # a prompt must come to an end too
    assert max(took[20:]) <= max(2.8 * decode_s, 0.031, at_least)
    later = took[20:]
    assert sum(later) / len(later) >= min(1.6 * decode_s, decode_s + 450 * token_s)


def test_a_prompt_alone_gets_the_whole_step() -> None:
    budget = StepBudget(512)
    assert budget.prompt_tokens(0) == 512
    steps(budget, 0.2, 0.003)
    assert budget.prompt_tokens(0) == 512


def test_a_machine_that_slows_down_gets_smaller_chunks() -> None:
    budget = StepBudget(512)
    fast = steps(budget, 0.02, 0.0003)
    slow = steps(budget, 0.02, 0.001)
    assert max(fast[20:] + slow[20:]) <= 2.8 * 0.02
