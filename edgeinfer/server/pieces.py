"""A response in pieces, which shows that it is alive as long as there is nothing to say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from edgeinfer.server import sse
from edgeinfer.server.exchange import until_disconnected

_NOT_HELD = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # no proxy may hold tokens back
QUIET_S = 5.0  # of silence after which a sign of life is sent


class Pieces(Response):
    """Pieces of text as they come. The generator is closed when the client goes.

    Args:
        sign_of_life: what is sent when there was nothing else to send for some seconds.
    """

    def __init__(
        self,
        pieces: AsyncGenerator[str, None],
        media_type: str = sse.MEDIA_TYPE,
        sign_of_life: str = sse.COMMENT,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.pieces, self._sign_of_life = pieces, sign_of_life
        self.status_code, self.media_type, self.background = 200, media_type, None
        self.init_headers({**_NOT_HELD, **(headers or {})})
        self._sent_at = 0.0
        self._sending = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all of them, or as many as the client waits for."""
        tasks = [asyncio.ensure_future(c) for c in (self._send_all(send), until_disconnected(receive))]
        living = asyncio.ensure_future(self._show_life(send))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if tasks[0].done():
                tasks[0].result()
        finally:
            for task in (*tasks, living):
                task.cancel()
            await asyncio.gather(*tasks, living, return_exceptions=True)

    async def _send_all(self, send: Send) -> None:
        async with aclosing(self.pieces):
            await self._send(
                send, {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            )
            async for piece in self.pieces:
                await self._send(send, _body(piece))
            await self._send(send, {"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send, message: dict[str, Any]) -> None:
        """Waits as long as the client does not read."""
        self._sending = True
        await send(message)
        self._sending, self._sent_at = False, asyncio.get_running_loop().time()

    async def _show_life(self, send: Send) -> None:
        while True:
            quiet_s = asyncio.get_running_loop().time() - self._sent_at
            if self._sending or quiet_s < QUIET_S:
                await asyncio.sleep(QUIET_S if self._sending else QUIET_S - quiet_s)
            else:
                await self._send(send, _body(self._sign_of_life))


def _body(text: str) -> dict[str, Any]:
    return {"type": "http.response.body", "body": text.encode(), "more_body": True}
