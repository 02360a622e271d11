"""How likely the tokens of a prompt are: what a request's `score` does with the rows it gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeinfer.engine.events import ScoredToken
from edgeinfer.engine.sampler import choice_of


class PromptScorer:
    """Hands each prompt token over with its log-probability, as soon as it is known.

    Args:
        tokens: the prompt.
        n_top: how many of the likeliest tokens to name in each place.
        sink: called in the engine's thread, with the next tokens in order.
    """

    def __init__(
        self, tokens: Sequence[int], n_top: int, sink: Callable[[tuple[ScoredToken, ...]], None]
    ) -> None:
        self._tokens, self._n_top, self._sink = tokens, n_top, sink

    def __call__(self, first: int, rows: NDArray[np.float32]) -> None:
        """Logits (n, n_vocab) of the prompt tokens from `first` on."""
        begin = (ScoredToken(self._tokens[0], None),) if first == 0 else ()
        following = self._tokens[first + 1 : first + 1 + len(rows)]
        choices = (choice_of(token, row, self._n_top) for token, row in zip(following, rows, strict=False))
        self._sink(begin + tuple(ScoredToken(c.id, c.logprob, c.top) for c in choices))
