"""What every dialect needs of HTTP: a body from whatever a client sends, and readers that leave."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from edgeinfer.errors import Cancelled, InvalidRequest

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")  # escaped, or encoded on its own
MOST_BODY_BYTES = 64 << 20  # a prompt that fills a context of a million tokens has 5 MB

Answer = TypeVar("Answer")


class BodyTooLarge(InvalidRequest):
    """More than anybody needs."""

    code = "body_too_large"


async def read_json(request: Request) -> Any:
    """The decoded body, whatever its content type says: not all editors set one.

    Raises:
        BodyTooLarge, InvalidRequest: it is not a JSON document of a sensible size.
        Cancelled: the client went before its end.
    """
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > MOST_BODY_BYTES:
                raise BodyTooLarge(f"the body has more than {MOST_BODY_BYTES >> 20} MiB")
            chunks.append(chunk)
    except ClientDisconnect:
        raise Cancelled("the client has gone") from None
    body = b"".join(chunks)
    try:
        value = json.loads(body)
        return _with_whole_characters(value) if _SURROGATE.search(body) else value
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from None


def _with_whole_characters(value: Any) -> Any:
    """U+FFFD for halves: some editors cut a text within an emoji."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_with_whole_characters(item) for item in value]
    if isinstance(value, dict):
        return {_with_whole_characters(name): _with_whole_characters(item) for name, item in value.items()}
    return value


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
