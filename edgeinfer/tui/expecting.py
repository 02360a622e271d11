"""The models and what to expect of them, found out in a thread that nobody has to wait for."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from textual.message import Message

from edgeinfer.tui.choices import Choice, Outlook, choices, outlook

if TYPE_CHECKING:
    from edgeinfer.bench.speed import Speed


@dataclass
class Found(Message):
    """These are all that there are."""

    models: Sequence[Choice]


@dataclass
class Expected(Message):
    """What to expect of one; told twice if this machine was measured meanwhile."""

    model: Choice
    outlook: Outlook


Post = Callable[[Message], object]


class Finding(Protocol):
    """Posts `Found`, then `Expected` of each."""

    def stop(self) -> None:
        """Post nothing more."""


Find = Callable[[Post, Callable[[], bool]], Finding]


class Expectations:
    """Finds those of this machine, and of the catalog.

    Args:
        post: `post_message` of a widget.
        may_measure: whether the processor is free for two seconds.
    """

    def __init__(self, post: Post, may_measure: Callable[[], bool]) -> None:
        self._post, self._may_measure = post, may_measure
        self._stopped = False
        threading.Thread(target=self._run, daemon=True).start()

    def stop(self) -> None:
        """Post nothing more."""
        self._stopped = True

    def _run(self) -> None:
        with contextlib.suppress(RuntimeError):  # the app has ended, and with it threads and loops
            self._find()

    def _find(self) -> None:
        from edgeinfer.bench.speed import machine_speed, stored_speed

        models = choices()
        self._post(Found(models))
        speed = stored_speed()
        self._expect(models, speed)
        if speed is None and not self._stopped and self._may_measure():
            self._expect(models, machine_speed())

    def _expect(self, models: Sequence[Choice], speed: Speed | None) -> None:
        for model in models:
            if self._stopped:
                return
            self._post(Expected(model, outlook(model, speed)))
