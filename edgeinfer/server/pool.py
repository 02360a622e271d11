"""Models are opened when somebody asks for them, and closed when memory is short or nobody asks any more."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from edgeinfer import machine
from edgeinfer.errors import EdgeInferError, NotEnoughMemory
from edgeinfer.server.entry import Entry

if TYPE_CHECKING:
    from edgeinfer.backends.plan import MemoryPlan
    from edgeinfer.client import Model
    from edgeinfer.hub.located import Located


class Pool:
    """The models that are open.

    Many requests for one model open it once. One model is opened or closed at a time, so that each sees the
    memory that the others have taken. None is closed while a request uses it: who wants the room waits.

    Args:
        load: opens a model.
        plan: what that will take; NotEnoughMemory if it would not even fit alone.
        most_open: models at once, those of the same weights are one; None: as many as memory holds.
    """

    def __init__(
        self,
        load: Callable[[Located], Model],
        plan: Callable[[Located], MemoryPlan],
        *,
        most_open: int | None = None,
    ) -> None:
        self._load, self._plan, self._most_open = load, plan, most_open
        self._entries: list[Entry] = []  # that are open
        self._turn = asyncio.Lock()
        self._released = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._expiring: asyncio.Task[None] | None = None

    async def open(self, entry: Entry) -> Model:
        """The model, opened if it is not. Raises what `edgeinfer.load` raises; the next call tries again."""
        if entry.model is not None:
            return entry.model
        if entry.opening is None:
            entry.opening = asyncio.ensure_future(self._open(entry))
        return await asyncio.shield(entry.opening)

    def plan(self, entries: Iterable[Entry]) -> None:
        """Work out what closed models would take; where files are read, so call this in a thread."""
        for entry in entries:
            if entry.plan is None and entry.located is not None:
                with suppress(EdgeInferError):
                    entry.plan = self._plan(entry.located)

    def release(self, entry: Entry) -> None:
        """A request that used it has ended."""
        entry.used_at = time.monotonic()
        self._released.set()
        self.set_timer()

    def set_timer(self) -> None:
        """For the next model whose time ends, after that has changed: nothing runs until then."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        closes_at = min((entry.closes_at for entry in self._entries), default=math.inf)
        if closes_at < math.inf:
            self._timer = asyncio.get_running_loop().call_later(closes_at - time.monotonic(), self._expire)

    def close(self) -> None:
        """Close all of them, after the event loop has ended."""
        for entry in self._entries:
            if entry.model is not None:
                entry.model.close()
        self._entries.clear()

    async def _open(self, entry: Entry) -> Model:
        assert entry.located is not None, "a model that is somebody else's is always open"
        try:
            async with self._turn:
                entry.plan = await asyncio.to_thread(self._plan, entry.located)
                entry.weights = await asyncio.to_thread(entry.located.weights)
                entry.model = await self._beside(entry) or await self._with_room(entry.located, entry.plan)
                entry.model.name = entry.name
                entry.used_at = time.monotonic()
                self._entries.append(entry)
            self.set_timer()
            return entry.model
        finally:
            entry.opening = None

    async def _beside(self, entry: Entry) -> Model | None:
        """With the engine of an open model of the same weights; None: there is none."""
        assert entry.located is not None
        for other in self._entries:
            if other.model is not None and other.weights == entry.weights:
                return other.model.beside(entry.name, await asyncio.to_thread(entry.located.defaults))
        return None

    async def _with_room(self, located: Located, plan: MemoryPlan) -> Model:
        """Open a model, at the cost of those that have not been used for longest."""
        while True:
            self._released.clear()
            idle = min((e for e in self._entries if e.is_idle), key=lambda e: e.used_at, default=None)
            if self._has_place() and (idle is None or self._has_memory(plan)):
                try:
                    return await asyncio.to_thread(self._load, located)
                except NotEnoughMemory:
                    if not self._entries:
                        raise
            if idle is None:
                await self._released.wait()
            elif idle.is_idle:  # still
                await self._close(idle)

    def _has_place(self) -> bool:
        return self._most_open is None or len(self._file_bytes()) < self._most_open

    def _has_memory(self, plan: MemoryPlan) -> bool:
        """Whether weights of all models stay in memory. Linux counts those of open ones as available."""
        return plan.total_bytes + sum(self._file_bytes().values()) <= machine.memory().available

    def _file_bytes(self) -> dict[object, int]:
        """Of the weights that are mapped, by what they are."""
        return {entry.weights: entry.plan.file_bytes for entry in self._entries if entry.plan is not None}

    async def _close(self, entry: Entry) -> None:
        model, entry.model, entry.asked_keep_alive_s = entry.model, None, None
        self._entries.remove(entry)
        if model is not None:
            await asyncio.to_thread(model.close)  # what it keeps is saved first

    def _expire(self) -> None:
        if self._expiring is None or self._expiring.done():
            self._expiring = asyncio.ensure_future(self._close_expired())

    async def _close_expired(self) -> None:
        async with self._turn:
            for entry in list(self._entries):
                if entry.closes_at <= time.monotonic():
                    await self._close(entry)
        self.set_timer()
