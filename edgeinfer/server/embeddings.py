"""Vectors of texts, in whatever dialect they are asked for."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from edgeinfer.engine.embedding import Embedding
from edgeinfer.server.bodies import NamedBody
from edgeinfer.server.exchange import read_body, while_connected
from edgeinfer.server.models import Models

if TYPE_CHECKING:
    from edgeinfer.client import Model

MOST_TEXTS = 2048  # of one request, as OpenAI has it: each takes some kilobytes while it waits


class TextsBody(NamedBody, ABC):
    """Texts of which the vectors are asked for."""

    @abstractmethod
    def start(self, model: Model) -> list[Future[Embedding]]:
        """The vector of each text; none for a body that only asks for the model to be loaded.

        Raises:
            InvalidRequest: the model has no vectors, or a text is empty.
        """

    @abstractmethod
    def answer(self, found: Sequence[Embedding], model: Model) -> dict[str, Any]:
        """The body of the answer."""


async def embed(request: Request, kind: type[TextsBody], models: Models) -> Response:
    """The vectors that a request asks for. They are not computed on when the client goes."""
    body = await read_body(kind, request)
    model = await models.use(request, body)
    futures = await asyncio.to_thread(body.start, model)
    found = await while_connected(request, gathered(futures))
    return await asyncio.to_thread(lambda: JSONResponse(body.answer(found, model)))


async def gathered(futures: Sequence[Future[Embedding]]) -> list[Embedding]:
    """Their results, in order. When one fails, or nobody waits any more, none goes on."""
    try:
        return await asyncio.gather(*map(asyncio.wrap_future, futures))
    finally:
        for future in futures:
            future.cancel()
