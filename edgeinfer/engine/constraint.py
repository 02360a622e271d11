"""Answers of which each token must be one of some: which those are is found out beside the steps."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

Mask = NDArray[np.float32]  # (n_vocab), to be added to logits: 0 where a token may come next, else -inf


class Constraint(Protocol):
    """What one answer has to be; its state depends on nothing but the tokens of the answer.

    One thread at a time calls it. Both methods raise EdgeInferError when they cannot go on.
    """

    def mask(self) -> Mask:
        """Which tokens may come next; one at least. Those that end an answer only where it may end."""

    def advance(self, token: int) -> bool:
        """Take an allowed token, none that ends the answer. True: it is complete, nothing else may follow."""


class Masks:
    """The next mask of each answer, found in a thread while the logits that it is for are computed.

    Belongs to the engine's thread. One thread does for all: a mask takes some 0.05 ms.
    """

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._masks: dict[Hashable, Future[Mask]] = {}
        self._wanted: list[tuple[Future[Mask], Constraint]] = []

    def want(self, answer: Hashable, constraint: Constraint) -> None:
        """The next mask of this answer will be needed."""
        from concurrent.futures import Future

        self._masks[answer] = Future()
        self._wanted.append((self._masks[answer], constraint))

    def find(self) -> None:
        """Begin to find what is wanted: at a time when nobody else wants the interpreter."""
        if not self._wanted:
            return
        if self._thread is None:
            from concurrent.futures import ThreadPoolExecutor

            self._thread = ThreadPoolExecutor(1, "edgeinfer-masks")
        self._thread.submit(_find, self._wanted)
        self._wanted = []

    def take(self, answer: Hashable) -> Mask:
        """What was found, once; waits for it. Raises EdgeInferError if it could not be."""
        return self._masks.pop(answer).result()

    def forget(self, answer: Hashable) -> None:
        """The answer has ended."""
        mask = self._masks.pop(answer, None)
        if mask is not None:
            mask.cancel()

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._thread.shutdown()


def _find(wanted: Sequence[tuple[Future[Mask], Constraint]]) -> None:
    for mask, constraint in wanted:
        if not mask.set_running_or_notify_cancel():
            continue
        try:
            mask.set_result(constraint.mask())
        except BaseException as error:
            mask.set_exception(error)
