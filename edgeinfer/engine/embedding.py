"""Vectors of texts: the final states of their tokens, pooled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeinfer.backends.base import Traits
from edgeinfer.engine.engine import Engine
from edgeinfer.engine.events import Usage
from edgeinfer.engine.reading import read_through
from edgeinfer.engine.request import Priority
from edgeinfer.errors import InvalidRequest

if TYPE_CHECKING:
    from concurrent.futures import Future


@dataclass(frozen=True)
class Embedding:
    """The vector of a text."""

    vector: NDArray[np.float32]  # (n_embd) or fewer, of length 1
    usage: Usage


class Pool:
    """What the `score` of an embedding request does with the rows it gets."""

    def __init__(self, traits: Traits) -> None:
        self._pooling = traits.pooling
        self._sum = np.zeros(traits.n_embd, dtype=np.float64)  # of which only the direction is kept

    def first_row(self, n_tokens: int) -> int:
        """The first token of a text whose row is of use."""
        return n_tokens - 1 if self._pooling == "last" else 0

    def __call__(self, first: int, rows: NDArray[np.float32]) -> None:
        """Final states (n, n_embd) of the tokens from `first` on."""
        if self._pooling == "cls":
            rows = rows[: 1 if first == 0 else 0]
        for row in rows:  # one after another: the sum does not depend on how the text was cut into steps
            self._sum += row

    def vector(self, dimensions: int | None) -> NDArray[np.float32]:
        """Of length 1, of all numbers or of the first ones (Matryoshka, Kusupati et al. 2022)."""
        kept = self._sum[:dimensions]
        length = float(np.sqrt((kept * kept).sum()))
        return (kept / length if length > 0 else kept).astype(np.float32)


def start_embeddings(
    engine: Engine,
    texts: list[list[int]],
    *,
    dimensions: int | None = None,
    priority: Priority = "interactive",
    deadline: float | None = None,
) -> list[Future[Embedding]]:
    """Queue texts, as token ids, to be embedded by a model that does so.

    Args:
        dimensions: how many numbers to keep of each vector; None: all.
        priority, deadline: of `Request`.

    Raises:
        InvalidRequest: a text has no tokens, or there are not so many dimensions.
    """
    n_embd = engine.traits.n_embd
    if dimensions is not None and not 1 <= dimensions <= n_embd:
        problem = f"dimensions must be from 1 to {n_embd}, not {dimensions}"
        raise InvalidRequest(problem, param="dimensions")
    if not all(texts):
        raise InvalidRequest("one of the texts is empty", hint="leave it out")

    def start(ids: list[int]) -> Future[Embedding]:
        pool = Pool(engine.traits)
        return read_through(
            engine,
            ids,
            pool,
            lambda usage: Embedding(pool.vector(dimensions), usage),
            n_scored=pool.first_row(len(ids)),
            priority=priority,
            deadline=deadline,
        )

    return [start(ids) for ids in texts]
