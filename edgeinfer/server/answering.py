"""From a body to its response: the model that it names, its answers, and signs of life until they begin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from edgeinfer.errors import EdgeInferError
from edgeinfer.server import sse
from edgeinfer.server.bodies import AnswerBody
from edgeinfer.server.failure import Failure
from edgeinfer.server.models import Models
from edgeinfer.server.pieces import Pieces
from edgeinfer.server.record import Record, record_of
from edgeinfer.server.reply import Reply, reply_with

if TYPE_CHECKING:
    from edgeinfer.client import Model

Body = TypeVar("Body", bound=AnswerBody)

AT_FIRST_S = 1.0  # after which a streamed response begins, whatever it will be


@dataclass(frozen=True)
class Opening:
    """How a response begins that nobody can say anything about yet.

    Attributes:
        failed: an error, as a piece of it.
    """

    failed: Callable[[Failure], Iterator[str]]
    media_type: str = sse.MEDIA_TYPE
    sign_of_life: str = sse.COMMENT


async def answer(
    request: Request,
    body: Body,
    models: Models,
    begin: Callable[[Body, Model], Reply],
    opening: Opening,
) -> Response:
    """What the model that is asked for says.

    Args:
        begin: starts the streams; called in a thread, as a long prompt takes a while to become tokens.

    Raises:
        EdgeInferError: as `kept_alive`.
    """

    async def answering() -> Response:
        model = await models.use(request, body)
        reply = await asyncio.to_thread(begin, body, model)
        return await reply_with(reply, request, streamed=body.stream)

    return await kept_alive(request, answering(), opening, streamed=body.stream)


async def kept_alive(
    request: Request, answering: Coroutine[Any, Any, Response], opening: Opening, *, streamed: bool
) -> Response:
    """What `answering` gives, if it is streamed and takes long then within a response that has begun already.

    So what goes wrong soon has its status; later on it is a piece.

    Raises:
        EdgeInferError: of `answering`, at first, or at any time if it is not streamed.
    """
    if not streamed:
        return await answering
    working = asyncio.ensure_future(answering)
    try:
        await asyncio.wait((working,), timeout=AT_FIRST_S)
    except asyncio.CancelledError:
        working.cancel()
        raise
    if working.done():
        return working.result()
    pieces = _late(working, opening, record_of(request))
    return Pieces(pieces, opening.media_type, opening.sign_of_life)


async def _late(
    working: asyncio.Future[Response], opening: Opening, record: Record
) -> AsyncGenerator[str, None]:
    try:
        yield opening.sign_of_life
        response = await working
        if not isinstance(response, Pieces):  # there was nothing to stream
            yield bytes(response.body).decode() + "\n"
            return
        async with aclosing(response.pieces) as pieces:
            async for piece in pieces:
                yield piece
    except EdgeInferError as error:
        record.error = error
        yield "".join(opening.failed(Failure.of(error)))
    finally:
        working.cancel()
