"""The models that a server has, by name: open, or opened when somebody asks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from starlette.requests import Request

from edgeinfer.errors import EdgeInferError, InvalidRequest, NotFound
from edgeinfer.server.bodies import NamedBody
from edgeinfer.server.entry import Entry
from edgeinfer.server.exchange import while_connected
from edgeinfer.server.record import Record, record_of
from edgeinfer.server.shelf import find_on_shelf, plain_name, whole_shelf

if TYPE_CHECKING:
    from edgeinfer.client import Model
    from edgeinfer.hub.located import Located
    from edgeinfer.server.pool import Pool


_LONGEST_NAME = 256  # the search for similar ones takes its time


class UnknownModel(NotFound):
    """No model of that name is served."""

    code = "model_not_found"


class QueueFull(EdgeInferError):
    """Too many requests wait for one model."""

    code = "queue_full"
    retry_after_s = 5


@dataclass(frozen=True)
class Terms:
    """How long models stay, and how many requests may wait for one."""

    keep_alive_s: float = 30 * 60  # after the last request; those that were named stay
    most_waiting: int = 512


class Models:
    """What can be served: models that were named, and all others on this machine by their names.

    The first one answers who names none. An unknown name is refused, also by a server with one model: what
    another model than the one asked for says would be a wrong answer.

    Args:
        named: on the command line; they stay open.
        pool: opens them, and what lies on this machine; None: these are all, and they are open.
    """

    def __init__(self, named: Sequence[Entry], pool: Pool | None, terms: Terms | None = None) -> None:
        self._named = {plain_name(entry.name): entry for entry in named}
        if len(self._named) < len(named):
            raise InvalidRequest("two of the models have the same name", hint="rename a file, or serve one")
        self._pool, self._terms = pool, terms or Terms()
        self._found: dict[str, Entry] = {}  # by the names that were asked for
        self._entries = {_key(e.located): e for e in named if e.located is not None}
        self.ready = pool is None  # whether those that were named have been opened once

    @classmethod
    def lent(cls, *models: Model) -> Self:
        """Open models that stay their owner's, and no others."""
        return cls([Entry(model.name, None, model=model) for model in models], None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pool is not None:
            self._pool.close()

    async def open_named(self) -> None:
        """Open the models that were named. Raises what `edgeinfer.load` raises for the first that fails."""
        assert self._pool is not None
        for entry in self._named.values():
            await self._pool.open(entry)
        self.ready = True

    async def use(self, request: Request, body: NamedBody) -> Model:
        """The model that a body names, the first one if it names none; open as long as it is answered.

        Args:
            request: whose body it is, read.

        Raises:
            UnknownModel, QueueFull, and what `edgeinfer.load` raises.
            Cancelled: the client went before the model was open.
        """
        entry = await self.find(body.model)
        if entry.n_waiting >= self._terms.most_waiting:
            raise QueueFull(f"{entry.n_waiting} requests wait for {entry.name}", hint="try again later")
        if body.keep_alive is not None:
            entry.keep_alive(body.keep_alive)
        record = record_of(request)
        record.model = entry.name
        self._lend(entry, record)
        model = entry.model
        if model is None:
            assert self._pool is not None
            model = await while_connected(request, self._pool.open(entry))
        return model.apart(record.namespace)

    def _lend(self, entry: Entry, record: Record) -> None:
        def give_back() -> None:
            entry.users.discard(record)
            if self._pool is not None:
                self._pool.release(entry)

        entry.users.add(record)
        record.at_end.callback(give_back)

    async def unload(self, name: str | None) -> Entry:
        """Close a model as soon as nobody uses it. Raises UnknownModel."""
        entry = await self.find(name)
        if entry.model is not None and self._pool is not None:
            entry.keep_alive(0)
            self._pool.set_timer()
        return entry

    async def find(self, name: str | None) -> Entry:
        """What is called so; case, `.gguf` and `:latest` do not matter.

        Raises:
            UnknownModel, AmbiguousName.
        """
        if not name:
            return next(iter(self._named.values()))
        if len(name) > _LONGEST_NAME:
            raise UnknownModel(f"no model has a name of {len(name)} characters")
        key = plain_name(name)
        if key in self._named:
            return self._named[key]
        if (found := self._found.get(key)) and found.state != "closed" and found.is_as_found:
            return found
        try:
            if self._pool is None:
                raise NotFound("these are all that there are")
            entry = self._entry(await asyncio.to_thread(find_on_shelf, name))
        except NotFound:
            there = ", ".join(entry.name for entry in await self.all())
            raise UnknownModel(f"no model is called {name!r} here", hint=f"there is {there}") from None
        self._found[key] = entry
        return entry

    async def look_up(self, name: str | None) -> Entry:
        """What is called so, to tell about it: with its plan. Raises what `find` raises."""
        entry = await self.find(name)
        await self._plan([entry])
        return entry

    async def all(self) -> list[Entry]:
        """All that can be asked for, those that were named first, with their plans."""
        entries = list(self._named.values())
        if self._pool is not None:
            found = map(self._entry, await asyncio.to_thread(whole_shelf))
            others = (entry for entry in found if plain_name(entry.name) not in self._named)
            entries += dict.fromkeys(others)
        await self._plan(entries)
        return entries

    async def _plan(self, entries: Sequence[Entry]) -> None:
        if self._pool is not None:
            await asyncio.to_thread(self._pool.plan, entries)

    def open_ones(self) -> list[Model]:
        """Those that are open now."""
        entries = dict.fromkeys((*self._named.values(), *self._entries.values()))
        return [entry.model for entry in entries if entry.model is not None]

    def _entry(self, found: Located) -> Entry:
        fresh = Entry(found.name, found, self._terms.keep_alive_s)
        return self._entries.setdefault(_key(found), fresh)


def _key(found: Located) -> object:
    """Each name is a model of its own; those of the same weights have one engine."""
    return plain_name(found.name), found.identity
