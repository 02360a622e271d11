"""OpenAI's dialect: /v1/models, /v1/chat/completions and /v1/completions."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from edgeinfer.errors import EdgeInferError
from edgeinfer.server.bodies import any_seed, parsed
from edgeinfer.server.exchange import read_json, while_connected
from edgeinfer.server.models import Models
from edgeinfer.server.openai.answers import Chunks, answer_body
from edgeinfer.server.openai.errors import error_body
from edgeinfer.server.openai.requests import ChatBody, CompletionBody
from edgeinfer.server.streams import Arrivals, begun, finished
from edgeinfer.streaming import Progress, Stream, Token

if TYPE_CHECKING:
    from edgeinfer.client import Model

_SSE = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # no proxy may hold tokens back


class OpenAiRoutes:
    """The routes, over some models."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._started = int(time.time())

    def routes(self) -> list[Route]:
        """For the application."""
        return [
            Route("/v1/models", self._list, methods=["GET"]),
            Route("/v1/models/{name:path}", self._show, methods=["GET"]),
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/v1/completions", self._complete, methods=["POST"]),
        ]

    async def _list(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._entry(model) for model in self._models]})

    async def _show(self, request: Request) -> Response:
        return JSONResponse(self._entry(self._models.named(request.path_params["name"])))

    def _entry(self, model: Model) -> dict[str, Any]:
        meta = {"n_ctx": model.context_length, "n_vocab": model.n_vocab}
        return {
            "id": model.name,
            "object": "model",
            "created": self._started,
            "owned_by": "edgeinfer",
            "meta": meta,
        }

    async def _chat(self, request: Request) -> Response:
        return await self._answer(request, ChatBody)

    async def _complete(self, request: Request) -> Response:
        return await self._answer(request, CompletionBody)

    async def _answer(self, request: Request, kind: type[ChatBody] | type[CompletionBody]) -> Response:
        body = parsed(kind, await read_json(request))
        model = self._models.named(body.model)
        # Rendering and tokenizing a long prompt takes a while: not in the loop that writes all tokens.
        streams = await asyncio.to_thread(body.start, model, seed=any_seed(), priority="interactive")
        id = uuid.uuid4().hex
        if body.stream:
            return _lines(await begun(streams), streams, Chunks(id, body, model))
        choices = await while_connected(request, finished(streams))
        return JSONResponse(answer_body(id, body, choices, model))


def _lines(arrivals: Arrivals, streams: Sequence[Stream], chunks: Chunks) -> Response:
    """Server-sent events."""

    async def lines() -> AsyncIterator[str]:
        async with aclosing(arrivals):
            try:
                for chunk in chunks.beginning():
                    yield _data(chunk)
                async for arrival in arrivals:
                    yield _line(arrival, chunks)
                for chunk in chunks.end(streams):
                    yield _data(chunk)
            except EdgeInferError as error:  # too late for a status
                yield _data(error_body(error))
            yield "data: [DONE]\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream", headers=_SSE)


def _line(arrival: tuple[int, Token | Progress], chunks: Chunks) -> str:
    index, event = arrival
    if isinstance(event, Token):
        return "".join(_data(chunk) for chunk in chunks.of_token(index, event))
    return f": {event}\n\n"  # a comment: it shows clients and proxies that the connection lives


def _data(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"
