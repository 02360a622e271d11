"""How long a connection may take to ask, and to take its answer. uvicorn leaves both open."""

from __future__ import annotations

import asyncio
import socket
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

_NO_MORE = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)
_SEND_BYTES = 64 << 10  # that the system keeps for a client, beside as much of ours


class Connection(H11Protocol):
    """One client, who is cut off when it holds up what others could have."""

    most: ClassVar[int] = 512  # at once
    head_s: ClassVar[float] = 10.0  # for all headers of a request
    unread_s: ClassVar[float] = 30.0  # without reading, once its buffers are full

    _late_head: asyncio.TimerHandle | None = None
    _late_reader: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there: its request is expected."""
        super().connection_made(transport)
        client: socket.socket = transport.get_extra_info("socket")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
        if client.family != socket.AF_UNIX:
            # asyncio does it for sockets that were made with their protocol by name. Without it the body of a
            # response waits 40 ms for its headers to be acknowledged (Nagle's algorithm).
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self.connections) > self.most:
            transport.write(_NO_MORE)
            transport.close()
        else:
            self._watch_head()

    def data_received(self, data: bytes) -> None:
        """More of a request."""
        super().data_received(data)
        self._watch_head()

    def pause_writing(self) -> None:
        """The client does not read: the answer waits, but not for ever."""
        super().pause_writing()
        self._late_reader = self.loop.call_later(self.unread_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        _stop(self._late_reader)
        self._late_reader = None

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone."""
        _stop(self._late_head)
        _stop(self._late_reader)
        super().connection_lost(exc)

    def _watch_head(self) -> None:
        """The time runs from the first byte of a request to its last header."""
        if self.cycle is not None and not self.cycle.response_complete:
            _stop(self._late_head)
            self._late_head = None
        elif self._late_head is None:
            self._late_head = self.loop.call_later(self.head_s, self.transport.abort)


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
