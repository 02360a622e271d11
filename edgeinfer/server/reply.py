"""From streams to a response: what is the same in all dialects."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from edgeinfer.errors import EdgeInferError
from edgeinfer.server import sse
from edgeinfer.server.exchange import while_connected
from edgeinfer.server.failure import Failure
from edgeinfer.server.pieces import Pieces
from edgeinfer.server.record import Record, record_of
from edgeinfer.server.streams import Arrivals, begun, finished
from edgeinfer.streaming import Answer, Progress, Stream, Token


class Reply(ABC):
    """How one dialect writes the answer to one request: whole, or in pieces of text as it comes.

    Args of all: events and answers come with the index of their stream.
    """

    streams: Sequence[Stream]  # that compute it
    media_type: ClassVar[str] = sse.MEDIA_TYPE
    sign_of_life: str = sse.COMMENT  # sent when there is nothing to tell for some seconds

    @abstractmethod
    def whole(self, answers: Sequence[Answer]) -> Any:
        """The body of an answer that is not streamed."""

    def beginning(self) -> Iterator[str]:
        """Before the first token."""
        yield from ()

    @abstractmethod
    def of_token(self, index: int, token: Token) -> Iterator[str]:
        """Of each token."""

    def of_progress(self, index: int, event: Progress) -> Iterator[str]:
        """Of what comes before tokens: as a comment it shows clients and proxies that this goes on."""
        yield f": {event}\n\n"

    @abstractmethod
    def end(self) -> Iterator[str]:
        """After the last token."""

    @abstractmethod
    def failed(self, failure: Failure) -> Iterator[str]:
        """Instead of the end: it is too late for a status."""


async def reply_with(reply: Reply, request: Request, *, streamed: bool) -> Response:
    """Read its streams as a response. They are cancelled when the client goes.

    Raises:
        EdgeInferError: a request fails before its first event, or, not streamed, at any time.
    """
    record = record_of(request)
    record.follow(reply.streams)
    if streamed:
        pieces = _pieces(await begun(reply.streams), reply, record)
        position = max(stream.queue_position for stream in reply.streams)
        return Pieces(pieces, reply.media_type, reply.sign_of_life, {"X-Queue-Position": str(position)})
    answers = await while_connected(request, finished(reply.streams))
    record.check()
    return JSONResponse(reply.whole(answers))


async def _pieces(arrivals: Arrivals, reply: Reply, record: Record) -> AsyncGenerator[str, None]:
    async with aclosing(arrivals):
        try:
            yield "".join(reply.beginning())
            async for index, event in arrivals:
                said = reply.of_token if isinstance(event, Token) else reply.of_progress
                if text := "".join(said(index, event)):  # type: ignore[arg-type]
                    yield text
            record.check()
            yield "".join(reply.end())
        except EdgeInferError as error:
            record.error = error
            yield "".join(reply.failed(Failure.of(error)))
