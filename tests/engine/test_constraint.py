"""Constrained answers in the engine: exact in every company, ended where they are complete, failing alone."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from fakes import FakeBackend
from readers import SAMPLING, Reader, alone

from edgeinfer.engine.constraint import Mask
from edgeinfer.engine.engine import Engine
from edgeinfer.engine.sampler import sample
from edgeinfer.engine.sampling import Sampling
from edgeinfer.errors import InvalidRequest

N_VOCAB = 32


@dataclass
class Progression:
    """Allows tokens t with (t + sum of those before) % 3 == 0; complete after so many."""

    length: int
    fails_at: int = -1
    gate: threading.Event | None = None
    seen: list[int] = field(default_factory=list)

    def mask(self) -> Mask:
        if self.gate is not None:
            assert self.gate.wait(20)
        if len(self.seen) == self.fails_at:
            raise InvalidRequest("too hard")
        allowed = (np.arange(N_VOCAB) + sum(self.seen)) % 3 == 0
        return np.where(allowed, 0, -np.inf).astype(np.float32)

    def advance(self, token: int) -> bool:
        assert self.mask()[token] == 0
        self.seen.append(token)
        return len(self.seen) == self.length


def constrained_alone(prompt: list[int], seed: int, length: int) -> list[int]:
    """The slow way."""
    fake, constraint, tokens = FakeBackend(), Progression(length), list(prompt)
    while True:
        mask = constraint.mask()
        tokens.append(sample(fake._logits(tokens), SAMPLING, tokens, seed, mask=mask).id)
        if constraint.advance(tokens[-1]):
            return tokens[len(prompt) :]


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine(FakeBackend(), token_budget=16)
    yield made
    made.close()


def test_an_answer_ends_when_it_is_complete(engine: Engine) -> None:
    tokens, end = Reader(engine, [1, 2], constraint=Progression(5), max_tokens=50).result()
    assert [t.id for t in tokens] == constrained_alone([1, 2], 7, 5)
    assert ([t.finish for t in tokens], end.reason) == ([None] * 4 + ["stop"], "stop")


def test_length_is_the_reason_when_there_is_no_room_for_the_rest(engine: Engine) -> None:
    tokens, end = Reader(engine, [1, 2], constraint=Progression(5), max_tokens=4).result()
    assert ([t.id for t in tokens], end.reason) == (constrained_alone([1, 2], 7, 5)[:4], "length")


def test_log_probabilities_are_those_of_the_model(engine: Engine) -> None:
    token = Reader(engine, [1, 2], constraint=Progression(1)).result()[0][0]
    logits = FakeBackend()._logits([1, 2]).astype(float)
    assert token.logprob == pytest.approx(logits[token.id] - np.log(np.exp(logits).sum()), rel=1e-5)


@pytest.mark.parametrize("budget", [1, 16])
def test_company_and_pauses_change_nothing(budget: int) -> None:
    rng = random.Random(budget)
    engine = Engine(FakeBackend(n_blocks=12, max_sequences=6), token_budget=budget)
    asked = []
    for i in range(24):
        prompt, n = [rng.randrange(N_VOCAB) for _ in range(rng.randint(1, 12))], rng.randint(1, 20)
        constraint = Progression(n) if i % 3 else None
        options = {"seed": i, "max_tokens": n, "constraint": constraint}
        asked.append((prompt, i, n, constraint, Reader(engine, prompt, **options)))
    for prompt, seed, n, constraint, reader in asked:
        expected = alone(prompt, seed, n) if constraint is None else constrained_alone(prompt, seed, n)
        assert reader.ids() == expected
    assert engine.stats().n_paused > 0
    engine.close()


def test_a_constraint_that_gives_up_ends_its_own_answer_only(engine: Engine) -> None:
    failing = Reader(engine, [1, 2], constraint=Progression(9, fails_at=3))
    other = Reader(engine, [3, 4], constraint=Progression(8))
    tokens, end = failing.result()
    assert (len(tokens), end.reason, str(end.error)) == (3, "error", "too hard")
    assert other.ids() == constrained_alone([3, 4], 7, 8)


def test_a_bias_against_all_that_is_allowed_is_an_error(engine: Engine) -> None:
    bias = dict.fromkeys(range(0, N_VOCAB, 3), -np.inf)
    end = Reader(engine, [1, 2], constraint=Progression(3), sampling=Sampling(logit_bias=bias)).result()[1]
    assert isinstance(end.error, InvalidRequest)


def test_a_mask_that_is_still_being_found_does_not_hold_up_the_end(engine: Engine) -> None:
    gate = threading.Event()
    reader = Reader(engine, [1, 2], constraint=Progression(3, gate=gate), deadline=0.0)
    assert reader.result()[1].reason == "deadline"
    gate.set()


@pytest.mark.parametrize(
    "options", [{}, {"top_k": 5}, {"top_k": 0, "top_p": 0.9}, {"typical_p": 0.7, "min_p": 0.2}]
)
@pytest.mark.parametrize("n_allowed", [1, 3, 200])
def test_only_allowed_tokens_are_drawn_and_as_if_there_were_no_others(options: dict, n_allowed: int) -> None:
    rng = np.random.default_rng(n_allowed)
    logits = rng.standard_normal(1000).astype(np.float32)
    allowed = np.sort(rng.choice(1000, n_allowed, replace=False))
    mask = np.full(1000, -np.inf, np.float32)
    mask[allowed] = 0
    lowest = np.where(mask == 0, logits, np.float32(-1e4))  # a model that would never choose the others
    for seed in range(50):
        sampling = Sampling(**options)
        drawn = sample(logits, sampling, [1], seed, mask=mask.copy()).id
        assert drawn in allowed
        assert drawn == sample(lowest, sampling, [1], seed).id
