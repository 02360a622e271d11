"""From a row of logits to a token: a pure function of (logits, parameters, history, seed, position).

The order is llama.cpp's: bias, penalties, DRY, top-k, typical, top-p, min-p, XTC, temperature. Instead of
a random stream the winner is argmax(logit / temperature + Gumbel noise of that token at that position),
which has the probabilities of the softmax (Gumbel 1954; Maddison et al. 2014, "A* sampling").
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinfer.engine import noise
from edgeinfer.engine.events import Top
from edgeinfer.engine.sampling import Sampling
from edgeinfer.errors import InvalidRequest

Row = NDArray[np.float32]
_GROUP = 64  # logits per group when looking for the largest; 32 and 128 are as fast at 128k
_FORBIDDEN = np.float32(-math.inf)  # as a logit
_LOWEST = float(np.finfo(np.float32).min)
_FIRST_LOOK = 256  # candidates looked at before widening, when the mass needed is unknown


@dataclass(frozen=True)
class Choice:
    """A token in the model's own distribution, log_softmax(logits), with the likeliest ones."""

    id: int
    logprob: float
    top: Top = ()


@dataclass(frozen=True)
class _Candidates:
    """Tokens that may still win. `ids` and `logits` are (n); when ordered, by logit down, then id up."""

    ids: NDArray[np.int64]
    logits: NDArray[np.float64]
    ordered: bool

    def pick(self, index: NDArray[Any], *, ordered: bool) -> _Candidates:
        return _Candidates(self.ids[index], self.logits[index], ordered)

    def weights(self) -> NDArray[np.float64]:
        """Probabilities times a constant: exp(logit - max), (n)."""
        return noise.exp(self.logits - self.logits.max())


_NONE = _Candidates(np.empty(0, np.int64), np.empty(0), ordered=True)


def sample(
    logits: Row,
    sampling: Sampling,
    history: Sequence[int],
    seed: int,
    *,
    n_dropped: int = 0,
    n_top: int = 0,
    mask: Row | None = None,
) -> Choice:
    """The next token after `history`; its position is len(history) + n_dropped.

    Args:
        logits: (n_vocab), finite, left unchanged.
        sampling: parameters; `sampling.seed` is not looked at.
        history: all tokens before, prompt included.
        seed: 0 .. 2**64 - 1.
        n_dropped: tokens that are no longer in the history.
        n_top: how many of the likeliest tokens to name.
        mask: (n_vocab), 0 for tokens that may be chosen, -inf for others; overwritten. None: all may.

    Raises:
        InvalidRequest: no token is left.
    """
    position = len(history) + n_dropped
    row = _adjusted(logits, sampling, history)
    if mask is not None:
        row = np.add(row, mask, out=mask)  # 20 us for 128k tokens; picking by booleans takes 500
    if row[row.argmax()] == _FORBIDDEN:
        which = "every token" if mask is None else "every token that the grammar allows"
        raise InvalidRequest(f"logit_bias forbids {which}", hint="leave at least one token without -inf")
    if sampling.temperature == 0.0:
        winner = int(row.argmax())
    else:
        candidates = _truncated(row, sampling, seed, position)
        winner = _draw(candidates, sampling.temperature, seed, position)
    return choice_of(winner, logits, n_top)


def choice_of(token: int, logits: Row, n_top: int = 0) -> Choice:
    """The token with its log-probability and the n_top likeliest; logits are (n_vocab) and finite."""
    highest = logits.max()
    log_total = float(highest) + math.log(float(np.exp(logits - highest).sum(dtype=np.float64)))
    top = _top_k(logits, n_top) if n_top > 0 else _NONE
    named = zip(top.ids.tolist(), (top.logits - log_total).tolist(), strict=True)
    return Choice(token, float(logits[token]) - log_total, tuple(named))


def _adjusted(logits: Row, sampling: Sampling, history: Sequence[int]) -> Row:
    """Logits with bias, penalties and DRY applied; the given row itself when none applies."""
    changes = dict(_biased(logits, sampling))
    for token, count in _recent(sampling, history).items():
        value = changes.get(token, float(logits[token]))
        value = value * sampling.repeat_penalty if value <= 0 else value / sampling.repeat_penalty
        changes[token] = value - count * sampling.frequency_penalty - sampling.presence_penalty
    for token, length in _repetitions(sampling, history).items():
        penalty = _dry_penalty(sampling, length)
        changes[token] = changes.get(token, float(logits[token])) - penalty
    if not changes:
        return logits
    row = logits.copy()
    row[list(changes)] = list(changes.values())
    return row


def _biased(logits: Row, sampling: Sampling) -> dict[int, float]:
    n = len(logits)
    return {t: float(logits[t]) + bias for t, bias in sampling.logit_bias.items() if t < n}


def _recent(sampling: Sampling, history: Sequence[int]) -> Counter[int]:
    off = (
        sampling.repeat_penalty == 1.0
        and sampling.frequency_penalty == 0.0
        and sampling.presence_penalty == 0.0
    )
    return Counter() if off else Counter(_last(history, sampling.repeat_last_n))


def _last(history: Sequence[int], n: int) -> Sequence[int]:
    return history if n < 0 else history[len(history) - min(n, len(history)) :]


def _dry_penalty(sampling: Sampling, length: int) -> float:
    """multiplier * base ** excess, kept within what float32 can hold."""
    excess = length - sampling.dry_allowed_length
    if sampling.dry_base > 1.000001:
        excess = min(excess, int(80.0 / math.log(sampling.dry_base)))
    return sampling.dry_multiplier * sampling.dry_base**excess


def _repetitions(sampling: Sampling, history: Sequence[int]) -> dict[int, int]:
    """Token -> length of the longest repetition it would continue, for lengths not free (DRY).

    A repetition is a stretch that ends somewhere in the window and equals the end of the window; it does
    not reach across a breaker. Z-algorithm on the reversed window: linear time.
    """
    if sampling.dry_multiplier == 0.0:
        return {}
    back = list(reversed(_last(history, sampling.dry_last_n)))
    limit = next((i for i, token in enumerate(back) if token in sampling.dry_breakers), len(back))
    if limit < sampling.dry_allowed_length:
        return {}
    longest: dict[int, int] = {}
    for place, length in enumerate(_common_prefixes(back)):
        length = min(length, limit)
        if place > 0 and length >= sampling.dry_allowed_length:
            token = back[place - 1]
            longest[token] = max(length, longest.get(token, 0))
    return {t: length for t, length in longest.items() if t not in sampling.dry_breakers}


def _common_prefixes(items: list[int]) -> list[int]:
    """z[k]: how many items from k on equal the items from 0 on; z[0] = len (Gusfield 1997, 1.3)."""
    n = len(items)
    z = [n] + [0] * (n - 1) if n else []
    left = right = 0
    for k in range(1, n):
        length = min(z[k - left], right - k) if k < right else 0
        while k + length < n and items[length] == items[k + length]:
            length += 1
        z[k] = length
        if k + length > right:
            left, right = k, k + length
    return z


def _truncated(row: Row, sampling: Sampling, seed: int, position: int) -> _Candidates:
    """The candidates that survive top-k, typical, top-p, min-p and XTC; at least one."""
    candidates = _top_k(row, sampling.top_k)
    if candidates.logits.min() == _FORBIDDEN:
        candidates = candidates.pick(candidates.logits > _FORBIDDEN, ordered=candidates.ordered)
    if sampling.typical_p < 1.0:
        candidates = _typical(candidates, sampling.typical_p)
    if sampling.top_p < 1.0:
        candidates = _top_p(candidates, sampling.top_p)
    if sampling.min_p > 0.0:
        floor = candidates.logits.max() + math.log(sampling.min_p)
        candidates = candidates.pick(candidates.logits >= floor, ordered=candidates.ordered)
    if sampling.xtc_probability > 0.0 and noise.uniform(seed, position) < sampling.xtc_probability:
        candidates = _without_top_choices(candidates, sampling.xtc_threshold)
    return candidates


def _top_k(row: Row, k: int) -> _Candidates:
    """The k largest logits, in order; of equal ones those with lower ids. k = 0: all, in order of id."""
    if k == 0 or k >= len(row):
        return _Candidates(np.arange(len(row), dtype=np.int64), row.astype(np.float64), ordered=False)
    floor = max(_floor_of_largest(row, k), _LOWEST)  # where fewer than k tokens are allowed
    ids = np.flatnonzero(row >= floor).astype(np.int64)
    order = np.argsort(-row[ids], kind="stable")[:k]
    return _Candidates(ids[order], row[ids[order]].astype(np.float64), ordered=True)


def _floor_of_largest(row: Row, k: int) -> float:
    """A number that at least k logits reach and not many more do.

    The k-th largest of the group maxima will do: k groups have one each. Cheaper than partitioning the row.
    """
    n_whole = len(row) // _GROUP * _GROUP
    if n_whole // _GROUP < 2 * k:
        return float(np.partition(row, len(row) - k)[len(row) - k])
    maxima = row[:n_whole].reshape(_GROUP, -1).max(axis=0)  # along whole rows: ten times as fast
    return float(np.partition(maxima, len(maxima) - k)[len(maxima) - k])


def _top_p(candidates: _Candidates, p: float) -> _Candidates:
    """The fewest most likely candidates whose probabilities reach p."""
    weights = candidates.weights()
    if candidates.ordered:
        kept = int(np.searchsorted(np.cumsum(weights), p * weights.sum(), side="left")) + 1
        return candidates.pick(np.arange(min(kept, len(weights))), ordered=True)
    index = _fewest(-candidates.logits, weights, p * weights.sum(), strictly=False)
    return candidates.pick(index, ordered=True)


def _typical(candidates: _Candidates, p: float) -> _Candidates:
    """The candidates whose surprise is nearest to the entropy and whose probabilities exceed p."""
    weights = candidates.weights()
    total = weights.sum()
    surprise = noise.log(np.array([total]))[0] - (candidates.logits - candidates.logits.max())
    entropy = (weights * surprise).sum() / total
    index = _fewest(np.abs(surprise - entropy), weights, p * total, strictly=True)
    return candidates.pick(np.sort(index), ordered=candidates.ordered)


def _fewest(
    scores: NDArray[np.float64], weights: NDArray[np.float64], need: float, *, strictly: bool
) -> NDArray[np.int64]:
    """Indices by rising score (then index) until their weights reach `need`, or strictly exceed it.

    Looks at the lowest scores first and widens until the weight is enough: no sort of the whole vocabulary
    unless the distribution is nearly flat.
    """
    n, look = len(scores), _FIRST_LOOK
    while True:
        if look < n:
            index = np.flatnonzero(scores <= np.partition(scores, look - 1)[look - 1])
        else:
            index = np.arange(n)
        index = index[np.argsort(scores[index], kind="stable")]
        sums = np.cumsum(weights[index])
        if look >= n or (sums[-1] > need if strictly else sums[-1] >= need):
            end = int(np.searchsorted(sums, need, side="right" if strictly else "left")) + 1
            return index[:end]
        look *= 8


def _without_top_choices(candidates: _Candidates, threshold: float) -> _Candidates:
    """XTC: of the candidates at least `threshold` likely only the least likely stays."""
    weights = candidates.weights()
    top = weights >= threshold * weights.sum()
    if np.count_nonzero(top) < 2:
        return candidates
    places = np.flatnonzero(top)
    lowest = candidates.logits[places].min()
    top[places[candidates.logits[places] == lowest][-1]] = False
    return candidates.pick(~top, ordered=candidates.ordered)


def _draw(candidates: _Candidates, temperature: float, seed: int, position: int) -> int:
    """argmax of logit / temperature + noise; of equal ones the lowest id."""
    scores = candidates.logits / temperature + noise.gumbel(seed, position, candidates.ids)
    return int(candidates.ids[scores == scores.max()].min())
