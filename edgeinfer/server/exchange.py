"""What every dialect needs of HTTP: a body from whatever a client sends, and readers that leave."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from edgeinfer.errors import Cancelled, InvalidRequest
from edgeinfer.server.bodies import parsed
from edgeinfer.server.strict_json import decoded

MOST_BODY_BYTES = 16 << 20  # a prompt that fills a context of a million tokens has 5 MB
MOST_BODY_S = 60.0  # for all of it to come
_TOO_LARGE = f"the body has more than {MOST_BODY_BYTES >> 20} MiB"
_LARGE_BYTES = 64 << 10  # takes longer to decode than to hand to a thread

Answer = TypeVar("Answer")
Body = TypeVar("Body", bound=BaseModel)


class BodyTooLarge(InvalidRequest):
    """More than anybody needs."""

    code = "body_too_large"


class BodyTooSlow(InvalidRequest):
    """It did not come to its end."""

    code = "body_too_slow"


async def read_body(kind: type[Body], request: Request) -> Body:
    """The body as its type, whatever its content type says: not all editors set one.

    Raises:
        BodyTooLarge, BodyTooSlow, InvalidParameter: it is not such a document, of a sensible size.
        Cancelled: the client went before its end.
    """
    body = await _received(request)
    if len(body) < _LARGE_BYTES:
        return parsed(kind, decoded(body))
    return await asyncio.to_thread(lambda: parsed(kind, decoded(body)))


async def _received(request: Request) -> bytes:
    chunks, size = [], 0
    if int(request.headers.get("content-length", 0)) > MOST_BODY_BYTES:
        raise BodyTooLarge(_TOO_LARGE)
    try:
        async with asyncio.timeout(MOST_BODY_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > MOST_BODY_BYTES:
                    raise BodyTooLarge(_TOO_LARGE)
                chunks.append(chunk)
    except TimeoutError:
        raise BodyTooSlow(f"the body took longer than {MOST_BODY_S:g} seconds") from None
    except ClientDisconnect:
        raise Cancelled("the client has gone") from None
    return b"".join(chunks)


async def while_connected(request: Request, work: Coroutine[Any, Any, Answer]) -> Answer:
    """The result of the work, which ends when the client goes. Raises Cancelled then."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(until_disconnected(request.receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Cancelled("the client has gone")
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def until_disconnected(receive: Receive) -> None:
    """Returns when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
