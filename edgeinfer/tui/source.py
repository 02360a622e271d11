"""Where the models are that one talks with: in this process, or on a server that runs already."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from edgeinfer.chat_model import ChatModel
    from edgeinfer.client import Model
    from edgeinfer.tui.expecting import Find


class Source(Protocol):
    """Opens models by name."""

    @property
    def where(self) -> str:
        """The address of a server; "" if it is this process."""

    async def open(self, name: str | None) -> ChatModel:
        """None: the first one that there is. Raises EdgeInferError."""

    async def finder(self) -> Find:
        """What finds models that can be opened or fetched. Raises EdgeInferError."""

    async def is_elsewhere(self, name: str) -> bool:
        """Whether it may be fetched, and has to be before it can be opened."""


class ThisProcess:
    """Models of this machine, and those that can be fetched to it.

    Args:
        load: opens one by name or path, None: the bundled one.
    """

    where = ""

    def __init__(self, load: Callable[[str | None], Model]) -> None:
        self._load = load

    async def open(self, name: str | None) -> ChatModel:
        """In a thread."""
        return await asyncio.to_thread(self._load, name)

    async def finder(self) -> Find:
        """Those of this machine, and of the catalog."""
        from edgeinfer.tui.expecting import Expectations

        return Expectations

    async def is_elsewhere(self, name: str) -> bool:
        """Whether it is not on this machine, and may be fetched."""
        from edgeinfer.tui.choices import is_elsewhere

        return await asyncio.to_thread(is_elsewhere, name)
