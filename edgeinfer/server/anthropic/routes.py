"""Anthropic's dialect: /v1/messages, /v1/messages/count_tokens and, for its clients, /v1/models."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import Scope

from edgeinfer.server.answering import Opening, answer
from edgeinfer.server.anthropic.answers import MessageReply
from edgeinfer.server.anthropic.requests import MessagesBody, PromptBody
from edgeinfer.server.entry import Entry
from edgeinfer.server.exchange import read_body
from edgeinfer.server.models import Models


class _ForAnthropic(Route):
    """A path that means something else to other clients: matches requests of Anthropic's only."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether this is the route, as Starlette asks."""
        if "anthropic-version" not in Headers(scope=scope):
            return Match.NONE, {}
        return super().matches(scope)


class AnthropicRoutes:
    """The routes, over some models. They come before OpenAI's."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._started = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

    def routes(self) -> list[Route]:
        """For the application."""
        return [
            Route("/v1/messages", self._answer, methods=["POST"]),
            Route("/v1/messages/count_tokens", self._count, methods=["POST"]),
            _ForAnthropic("/v1/models", self._list, methods=["GET"]),
            _ForAnthropic("/v1/models/{name:path}", self._show, methods=["GET"]),
        ]

    async def _answer(self, request: Request) -> Response:
        body = await read_body(MessagesBody, request)
        return await answer(request, body, self._models, MessageReply.begin, Opening(MessageReply.failed))

    async def _count(self, request: Request) -> Response:
        body = await read_body(PromptBody, request)
        model = await self._models.use(request, body)
        ids = await asyncio.to_thread(model.encode_chat, body.conversation())
        return JSONResponse({"input_tokens": len(ids)})

    async def _list(self, request: Request) -> Response:
        entries = [self._entry(entry) for entry in await self._models.all()]
        ends = {"first_id": entries[0]["id"], "last_id": entries[-1]["id"]}
        return JSONResponse({"data": entries, "has_more": False, **ends})

    async def _show(self, request: Request) -> Response:
        return JSONResponse(self._entry(await self._models.look_up(request.path_params["name"])))

    def _entry(self, entry: Entry) -> dict[str, Any]:
        return {
            "type": "model",
            "id": entry.name,
            "display_name": entry.name,
            "created_at": self._started,
            "max_input_tokens": entry.context_length,
            "max_tokens": entry.context_length,
        }
