"""Models of a server that runs already."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeinfer.errors import EdgeInferError

if TYPE_CHECKING:
    from edgeinfer.address import Address
    from edgeinfer.chat_model import ChatModel
    from edgeinfer.remote.model import RemoteModel
    from edgeinfer.remote.server import Server
    from edgeinfer.tui.expecting import Find

_OFFER_S = 0.2  # for a server to tell that it is there


class AttachedServer:
    """A `Source` of models that a server opens. It fetches none.

    Args:
        key: that the server wants to be shown; None: none.
    """

    def __init__(self, address: Address, key: str | None) -> None:
        self.where = str(address)
        self._address, self._key = address, key

    async def open(self, name: str | None) -> ChatModel:
        """Have it opened there."""
        server, remote_model = await self._connected()
        return await remote_model.opened(server, None if name is None else _served_as(name))

    async def finder(self) -> Find:
        """All that the server has."""
        from edgeinfer.tui.served import Served, served_models

        server, _ = await self._connected()
        told = served_models(self.where, await server.get("/v1/models"))
        return lambda post, may_measure: Served(told, post)

    async def is_elsewhere(self, name: str) -> bool:
        """Never."""
        return False

    async def answering(self, name: str | None) -> str | None:
        """The model that it has open for who wants this one (None: any), if there is an edgeinfer at all.

        Costs next to nothing where nobody listens, and 200 ms at most.
        """
        with contextlib.suppress(EdgeInferError, OSError, TimeoutError):
            async with asyncio.timeout(_OFFER_S):
                await self._knock()
            server, _ = await self._connected()
            told = await server.get("/health", within_s=_OFFER_S)
            found = (model for model in _open_at(told) if name is None or _plain(model) == _plain(name))
            return next(found, None)
        return None

    async def _knock(self) -> None:
        """Before HTTP is imported. Raises OSError: nobody listens."""
        address = self._address
        if address.socket is not None:
            _, writer = await asyncio.open_unix_connection(address.socket)
        else:
            _, writer = await asyncio.open_connection(address.host, address.port)
        writer.close()

    async def _connected(self) -> tuple[Server, type[RemoteModel]]:
        server, remote_model = await asyncio.to_thread(_imported)
        return server(self._address, self._key), remote_model


def _imported() -> tuple[type[Server], type[RemoteModel]]:
    """In a thread: it takes 0.1 s, in which somebody may be typing."""
    from edgeinfer.remote.model import RemoteModel
    from edgeinfer.remote.server import Server

    return Server, RemoteModel


def _open_at(told: Any) -> list[str]:
    """The models that an edgeinfer has open by its answer to /health; none: it is no edgeinfer."""
    if not isinstance(told, dict) or not str(told.get("server")).startswith("edgeinfer "):
        return []
    models = told.get("models")
    return [str(model) for model in models] if isinstance(models, list) else []


def _served_as(name: str) -> str:
    """Servers know no paths: a file is called as its name is."""
    return Path(name).stem if name.endswith(".gguf") else name


def _plain(name: str) -> str:
    """Equal for all spellings of a name, as a server has it."""
    return _served_as(name).casefold().removesuffix(":latest")
