"""OpenAI's newer dialect: /v1/responses and /v1/responses/input_tokens."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edgeinfer.server.answering import Opening, answer
from edgeinfer.server.exchange import read_body
from edgeinfer.server.models import Models
from edgeinfer.server.responses.answers import ResponseReply, failed_early
from edgeinfer.server.responses.requests import ResponseBody


class ResponsesRoutes:
    """The routes, over some models."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def routes(self) -> list[Route]:
        """For the application."""
        return [
            Route("/v1/responses", self._answer, methods=["POST"]),
            Route("/v1/responses/input_tokens", self._count, methods=["POST"]),
        ]

    async def _answer(self, request: Request) -> Response:
        body = await read_body(ResponseBody, request)
        return await answer(request, body, self._models, ResponseReply.begin, Opening(failed_early))

    async def _count(self, request: Request) -> Response:
        body = await read_body(ResponseBody, request)
        model = await self._models.use(request, body)
        ids = await asyncio.to_thread(model.encode_chat, body.asked())
        return JSONResponse({"object": "response.input_tokens", "input_tokens": len(ids)})
