"""Sampling: ranges, truncation against slow references, frequencies, purity."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeinfer.engine import noise
from edgeinfer.engine.sampler import _truncated, choice_of, sample
from edgeinfer.engine.sampling import Sampling
from edgeinfer.errors import InvalidRequest

OPEN = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}  # nothing truncated


def logits_of(seed: int, n: int, scale: float = 3.0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(n) * scale).astype(np.float32)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x.astype(np.float64) - x.max())
    return e / e.sum()


def survivors(logits: np.ndarray, **params: float) -> set[int]:
    sampling = Sampling(**{**OPEN, **params})
    return set(_truncated(logits, sampling, 7, 0).ids.tolist())


rows = st.builds(
    logits_of, st.integers(0, 2**32 - 1), st.integers(1, 3000), st.sampled_from([0.01, 1.0, 3.0, 12.0])
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("temperature", "hot"),
        ("temperature", True),
        ("top_k", -1),
        ("top_k", 2.5),
        ("top_p", 1.01),
        ("min_p", -0.5),
        ("typical_p", 2),
        ("repeat_penalty", 0),
        ("xtc_threshold", 1.5),
        ("dry_base", 0.5),
        ("seed", -1),
        ("seed", 2**64),
    ],
)
def test_a_value_out_of_range_names_parameter_and_range(name: str, value: object) -> None:
    with pytest.raises(InvalidRequest, match=rf"^{name} must be .* from .* to "):
        Sampling(**{name: value})


@given(rows, st.integers(1, 64))
def test_top_k_keeps_the_k_largest_and_of_equal_ones_the_lower_ids(logits: np.ndarray, k: int) -> None:
    logits = np.round(logits)  # many ties
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    assert survivors(logits, top_k=k) == set(order[:k])


@given(rows, st.floats(0.0, 0.999), st.sampled_from([0, 40]))
@settings(max_examples=200)
def test_top_p_keeps_the_smallest_nucleus(logits: np.ndarray, p: float, k: int) -> None:
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))[: k or None]
    mass = softmax(logits[order])
    kept = survivors(logits, top_p=p, top_k=k)
    n = len(kept)
    assert kept == set(order[:n])
    assert mass[:n].sum() >= p - 1e-9
    assert n == 1 or mass[: n - 1].sum() < p + 1e-9


@given(rows, st.floats(0.001, 1.0), st.sampled_from([0, 40]))
def test_min_p_keeps_what_is_likely_enough_beside_the_best(logits: np.ndarray, p: float, k: int) -> None:
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))[: k or None]
    ratio = np.exp(logits[order].astype(np.float64) - logits.max())
    kept = survivors(logits, min_p=p, top_k=k)
    assert {i for i, r in zip(order, ratio, strict=True) if r >= p * (1 + 1e-9)} <= kept
    assert kept <= {i for i, r in zip(order, ratio, strict=True) if r >= p * (1 - 1e-9)}


@given(rows, st.floats(0.01, 0.99), st.sampled_from([0, 40]))
def test_typical_keeps_those_whose_surprise_is_nearest_to_the_entropy(
    logits: np.ndarray, p: float, k: int
) -> None:
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))[: k or None]
    probs = softmax(logits[order])
    with np.errstate(divide="ignore"):
        surprise = -np.log(np.maximum(probs, 1e-300))
    distance = np.abs(surprise - (probs * surprise).sum())
    kept = survivors(logits, typical_p=p, top_k=k)
    inside = np.array([i in kept for i in order])
    assert probs[inside].sum() > p - 1e-9
    if not inside.all():
        assert distance[inside].max() <= distance[~inside].min() + 1e-9
    worst = np.where(inside, distance, -1).argmax()
    assert probs[inside].sum() - probs[worst] <= p + 1e-9


def test_xtc_keeps_only_the_least_likely_of_the_top_choices() -> None:
    logits = np.log(np.array([0.4, 0.3, 0.2, 0.06, 0.04])).astype(np.float32)
    assert survivors(logits, xtc_probability=1.0, xtc_threshold=0.15) == {2, 3, 4}
    assert survivors(logits, xtc_probability=1.0, xtc_threshold=0.35) == {0, 1, 2, 3, 4}
    assert survivors(logits, xtc_probability=0.0, xtc_threshold=0.15) == {0, 1, 2, 3, 4}


def test_xtc_strikes_as_often_as_asked() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.2])).astype(np.float32)
    sampling = Sampling(**OPEN, xtc_probability=0.3, xtc_threshold=0.1)
    struck = sum(len(_truncated(logits, sampling, 11, position).ids) == 1 for position in range(4000))
    assert abs(struck - 1200) < 4 * math.sqrt(4000 * 0.3 * 0.7)


@pytest.mark.parametrize(
    "params", [{}, {"top_k": 5}, {"top_p": 0.8}, {"temperature": 0.5}, {"temperature": 1.7}]
)
def test_frequencies_are_those_of_the_softmax(params: dict[str, float]) -> None:
    logits = logits_of(3, 50, scale=1.5)
    sampling = Sampling(**{**OPEN, "temperature": 1.0, **params})
    n = 6000
    counts = Counter(sample(logits, sampling, [0] * (i % 1000), seed=i // 1000).id for i in range(n))
    kept = sorted(_truncated(logits, sampling, 0, 0).ids.tolist())
    expected = softmax(logits[kept] / sampling.temperature) * n
    assert set(counts) <= set(kept)
    chi2 = sum((counts[i] - e) ** 2 / e for i, e in zip(kept, expected, strict=True))
    freedom = len(kept) - 1
    assert chi2 < freedom + 4 * math.sqrt(2 * freedom)  # four standard deviations


@given(rows, st.integers(0, 2**64 - 1), st.lists(st.integers(0, 9), max_size=30))
def test_sampling_is_a_pure_function(logits: np.ndarray, seed: int, history: list[int]) -> None:
    history = [t % len(logits) for t in history]
    sampling = Sampling(repeat_penalty=1.2, dry_multiplier=0.8, xtc_probability=0.5)
    before = logits.copy()
    first = sample(logits, sampling, history, seed)
    assert sample(logits, sampling, history, seed) == first
    np.testing.assert_array_equal(logits, before)


def test_another_seed_or_position_gives_another_token() -> None:
    logits = np.zeros(5000, dtype=np.float32)
    sampling = Sampling(**OPEN)
    chosen = {sample(logits, sampling, [1] * p, seed).id for seed in range(5) for p in range(5)}
    assert len(chosen) == 25


def test_truncation_does_not_change_who_wins_among_the_survivors() -> None:
    logits = logits_of(1, 1000)
    for position in range(200):
        free = sample(logits, Sampling(**OPEN), [0] * position, 5).id
        cut = Sampling(**{**OPEN, "top_k": 100})
        if free in survivors(logits, top_k=100):
            assert sample(logits, cut, [0] * position, 5).id == free


def test_greedy_takes_the_lowest_of_equal_ids() -> None:
    logits = np.array([0.0, 2.0, 1.0, 2.0], dtype=np.float32)
    assert sample(logits, Sampling(temperature=0), [], 1).id == 1


@given(rows)
def test_the_logprob_is_that_of_the_raw_distribution(logits: np.ndarray) -> None:
    choice = sample(logits, Sampling(temperature=0.3, repeat_penalty=1.5), [0], 2)
    assert choice.logprob == pytest.approx(math.log(softmax(logits)[choice.id]), abs=1e-4)
    assert choice == choice_of(choice.id, logits)


def test_penalties_change_only_recent_tokens() -> None:
    logits = np.array([3.0, 2.9, 2.8, -1.0], dtype=np.float32)
    greedy = {"temperature": 0.0}
    assert sample(logits, Sampling(**greedy, repeat_penalty=1.1), [0], 1).id == 1
    assert sample(logits, Sampling(**greedy, presence_penalty=0.25), [0, 1], 1).id == 2
    assert sample(logits, Sampling(**greedy, frequency_penalty=0.06), [0, 0, 0, 1], 1).id == 1
    assert sample(logits, Sampling(**greedy, repeat_penalty=1.1, repeat_last_n=1), [0, 3], 1).id == 0
    assert sample(logits, Sampling(**greedy, repeat_penalty=1.1, repeat_last_n=0), [0], 1).id == 0


def test_a_repeat_penalty_makes_negative_logits_smaller() -> None:
    logits = np.array([-1.0, -1.05], dtype=np.float32)
    assert sample(logits, Sampling(temperature=0, repeat_penalty=1.1), [0], 1).id == 1


def dry_reference(history: list[int], allowed: int, breakers: set[int]) -> dict[int, int]:
    """Longest repetition each next token would continue, by trying every place and length."""
    longest: dict[int, int] = {}
    n = len(history)
    for end in range(n - 1):
        length = 0
        while length <= end and history[end - length] == history[n - 1 - length]:
            if history[n - 1 - length] in breakers:
                break
            length += 1
        token = history[end + 1]
        if length >= allowed and token not in breakers:
            longest[token] = max(longest.get(token, 0), length)
    return longest


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 4), st.sets(st.integers(0, 3), max_size=1))
@settings(max_examples=300)
def test_dry_penalises_as_the_slow_search_says(history: list[int], allowed: int, breakers: set[int]) -> None:
    logits = np.array([10.0, 10.0, 10.0, 10.0], dtype=np.float32)
    expected = logits.astype(np.float64)
    for token, length in dry_reference(history, allowed, breakers).items():
        expected[token] -= 0.5 * 1.5 ** (length - allowed)
    sampling = Sampling(
        temperature=0,
        dry_multiplier=0.5,
        dry_base=1.5,
        dry_allowed_length=allowed,
        dry_breakers=frozenset(breakers),
    )
    assert sample(logits, sampling, history, 1).id == int(expected.astype(np.float32).argmax())


def test_a_bias_forbids_and_forces() -> None:
    logits = logits_of(2, 100)
    best = int(logits.argmax())
    banned = Sampling(logit_bias={best: -math.inf})
    assert all(sample(logits, banned, [0] * p, 1).id != best for p in range(100))
    assert sample(logits, Sampling(logit_bias={5: 1000.0}), [], 1).id == 5
    assert sample(logits, Sampling(**OPEN, typical_p=0.5, logit_bias={best: -math.inf}), [], 1).id != best


def test_forbidding_every_token_is_an_error() -> None:
    with pytest.raises(InvalidRequest, match="forbids every token"):
        sample(logits_of(1, 3), Sampling(logit_bias=dict.fromkeys(range(3), -math.inf)), [], 1)


def test_portable_log_and_exp_agree_with_libm() -> None:
    rng = np.random.default_rng(5)
    x = np.concatenate([rng.random(10_000), np.exp(rng.uniform(-700, 700, 10_000)), [1.0, 2.0**-52, 0.5]])
    np.testing.assert_array_max_ulp(noise.log(x), np.log(x), maxulp=4)
    y = -np.concatenate([rng.random(10_000), rng.uniform(0, 700, 10_000), [0.0]])
    np.testing.assert_array_max_ulp(noise.exp(y), np.exp(y), maxulp=4)
    assert noise.exp(np.array([-np.inf, -800.0])).tolist() == [0.0, 0.0]


def test_the_noise_of_a_place_never_changes() -> None:
    """Golden numbers: changing them changes every seeded answer that users have seen."""
    drawn = noise.gumbel(7, 3, np.array([0, 1, 128_255]))
    assert [x.hex() for x in drawn] == GOLDEN_GUMBEL
    assert noise.uniform(7, 3).hex() == GOLDEN_UNIFORM


GOLDEN_GUMBEL = ["0x1.1536034be1dc0p-1", "-0x1.cfa341cfd09cdp-2", "0x1.d3ab3bdcec432p-2"]
GOLDEN_UNIFORM = "0x1.0490351134c14p-4"
