"""One model that can be served, and who uses it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from edgeinfer.hub.store import own

if TYPE_CHECKING:
    import asyncio

    from edgeinfer.backends.plan import MemoryPlan
    from edgeinfer.client import Model
    from edgeinfer.facts import Facts
    from edgeinfer.hub.located import Located
    from edgeinfer.server.record import Record


@dataclass(eq=False)
class Entry:
    """A model by name, open or not. Belongs to the event loop of the server."""

    name: str  # in lists and answers
    located: Located | None  # what to open; None: somebody else has opened it, and closes it
    keep_alive_s: float | None = None  # how long it is open after its last request; None: it stays
    asked_keep_alive_s: float | None = None  # what a client said of that, until it is closed
    model: Model | None = None  # when it is open
    weights: object = None  # equal for those that one engine computes, once it was opened
    plan: MemoryPlan | None = None  # what it takes, if its file is one that runs
    opening: asyncio.Task[Model] | None = None
    users: set[Record] = field(default_factory=set)  # requests that it answers
    used_at: float = field(default_factory=time.monotonic)  # when its last request ended

    @property
    def is_as_found(self) -> bool:
        """Whether it is no model that has been created anew since."""
        found = self.located
        return found is None or own.created_with(found.name) in (None, found.modelfile)

    @property
    def context_length(self) -> int | None:
        """Most tokens of prompt and answer, or what that will be; None: its file is not one that runs."""
        if self.model is not None:
            return self.model.context_length
        return None if self.plan is None else self.plan.context_length

    @property
    def n_waiting(self) -> int:
        """Requests of which nothing has been computed yet."""
        return sum(user.waits for user in self.users)

    @property
    def is_idle(self) -> bool:
        """Whether it is open, ours to close, and nobody uses it."""
        return self.model is not None and self.located is not None and not self.users

    @property
    def closes_at(self) -> float:
        """When it will be closed if nobody asks for it, on the clock of time.monotonic(); in use: inf."""
        return math.inf if self.users else self.used_at + self._idle_s

    @property
    def stays_s(self) -> float:
        """How long it will be open yet if nobody else asks for it."""
        return self._idle_s if self.users else max(0.0, self.closes_at - time.monotonic())

    @property
    def _idle_s(self) -> float:
        seconds = self.keep_alive_s if self.asked_keep_alive_s is None else self.asked_keep_alive_s
        return math.inf if seconds is None else seconds

    @property
    def state(self) -> Literal["open", "opening", "closed"]:
        """As lists tell it."""
        if self.model is not None:
            return "open"
        return "closed" if self.opening is None else "opening"

    def read_facts(self) -> Facts:
        """What its file says; that of a closed model is read, so call this in a thread.

        Raises:
            BadModelFile, NotFound.
        """
        from edgeinfer.loading import load_facts

        model = self.model  # it may be closed meanwhile
        return load_facts(self.located) if model is None else model.facts

    def keep_alive(self, seconds: float) -> None:
        """How long a client wants it to stay open; one that stays can only be closed at once."""
        self.asked_keep_alive_s = None if self.keep_alive_s is None and seconds > 0 else seconds
