"""The life of the port: from its first connection until the last stream has ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import uvicorn

from edgeinfer.server.connection import Connection
from edgeinfer.server.record import Recorder, ShuttingDown

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LAST_WORDS = 5  # seconds for streams that were ended to say so


@dataclass(frozen=True)
class Tls:
    """Files in PEM format."""

    certificate: str | os.PathLike[str]
    key: str | os.PathLike[str] | None = None  # None: it is in the same file


class Port(uvicorn.Server):
    """Serves an application until it is told to stop, by `stop` or SIGTERM or SIGINT.

    Then nobody else is let in, and who is there may finish within `drain_s` seconds; after them what still
    runs is ended, each with a clear end in its dialect. A second signal ends the process at once.
    """

    def __init__(
        self,
        app: Recorder,
        *,
        drain_s: int = 30,
        tls: Tls | None = None,
        connection: type[Connection] = Connection,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="asyncio",
                http=connection,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,  # it would be made anew every second
                headers=[("server", "edgeinfer")],
                timeout_keep_alive=30,
                timeout_graceful_shutdown=drain_s + _LAST_WORDS,
                ssl_certfile=None if tls is None else tls.certificate,
                ssl_keyfile=None if tls is None else tls.key,
            )
        )
        self._app, self._drain_s = app, drain_s
        self._told = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def stop(self) -> None:
        """Finish what runs, then end. Safe from any thread, once it serves."""
        assert self._loop is not None, "it does not serve"
        self._loop.call_soon_threadsafe(self._told.set)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Of uvicorn, which would end the process by the signal that it got."""
        self._loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._loop.add_signal_handler(number, self._signalled)
        yield

    def _signalled(self) -> None:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        self._told.set()

    async def main_loop(self) -> None:
        """Of uvicorn, which would wake up ten times a second."""
        await self.on_tick(0)
        await self._told.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Of uvicorn: waits for connections to end."""
        late = ShuttingDown("the server shuts down", hint="what was read is kept: ask again")
        ending = asyncio.get_running_loop().call_later(self._drain_s, self._app.end_all, late)
        await super().shutdown(sockets)
        ending.cancel()
