"""Ollama's dialect: /api/chat and /api/generate, and what its clients ask to see who is here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

import edgeinfer
from edgeinfer.errors import InvalidRequest
from edgeinfer.server.answering import Opening, answer, kept_alive
from edgeinfer.server.bodies import NamedBody
from edgeinfer.server.embeddings import embed
from edgeinfer.server.exchange import read_body
from edgeinfer.server.models import Models, UnknownModel
from edgeinfer.server.ollama.answers import OllamaReply, done, empty_line
from edgeinfer.server.ollama.creation import CopyBody, CreateBody, DeleteBody
from edgeinfer.server.ollama.embeddings import EmbedBody, EmbeddingsBody
from edgeinfer.server.ollama.entries import listed, running, shown
from edgeinfer.server.ollama.requests import Body, ChatBody, GenerateBody, ShowBody
from edgeinfer.server.sse import as_json

VERSION = "0.13.4"  # of Ollama: Codex wants at least this one, VS Code 0.6.4


class OllamaRoutes:
    """The routes, over some models."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def routes(self) -> list[Route]:
        """For the application."""
        return [
            Route("/", self._root, methods=["GET"]),
            Route("/api/version", self._version, methods=["GET"]),
            Route("/api/tags", self._tags, methods=["GET"]),
            Route("/api/ps", self._running, methods=["GET"]),
            Route("/api/show", self._show, methods=["POST"]),
            Route("/api/chat", self._chat, methods=["POST"]),
            Route("/api/generate", self._generate, methods=["POST"]),
            Route("/api/embed", self._embed, methods=["POST"]),
            Route("/api/embeddings", self._embed_one, methods=["POST"]),
            Route("/api/pull", self._pull, methods=["POST"]),
            Route("/api/create", self._create, methods=["POST"]),
            Route("/api/copy", self._copy, methods=["POST"]),
            Route("/api/delete", self._delete, methods=["DELETE"]),
        ]

    async def _root(self, request: Request) -> Response:
        return PlainTextResponse("Ollama is running")  # what its clients look for

    async def _version(self, request: Request) -> Response:
        return JSONResponse({"version": VERSION, "server": f"edgeinfer {edgeinfer.__version__}"})

    async def _tags(self, request: Request) -> Response:
        return await _listed([partial(listed, entry) for entry in await self._models.all()])

    async def _running(self, request: Request) -> Response:
        entries = [entry for entry in await self._models.all() if entry.model is not None]
        return await _listed([partial(running, entry) for entry in entries])

    async def _show(self, request: Request) -> Response:
        body = await read_body(ShowBody, request)
        entry = await self._models.look_up(body.model)
        return JSONResponse(await asyncio.to_thread(shown, entry, verbose=body.verbose))

    async def _chat(self, request: Request) -> Response:
        return await self._answer(request, ChatBody)

    async def _generate(self, request: Request) -> Response:
        return await self._answer(request, GenerateBody)

    async def _answer(self, request: Request, kind: type[Body]) -> Response:
        body = await read_body(kind, request)
        if body.is_empty and body.keep_alive == 0:  # as `ollama stop` asks
            entry = await self._models.unload(body.model)
            return JSONResponse(done(body, entry.name, "unload"))
        opening = Opening(OllamaReply.failed, OllamaReply.media_type, empty_line(body, body.model or ""))
        if body.is_empty:
            return await kept_alive(request, self._load(request, body), opening, streamed=body.stream)
        arrived = time.perf_counter()
        return await answer(
            request,
            body,
            self._models,
            lambda body, model: OllamaReply(body, model, time.perf_counter() - arrived, body.start(model)),
            opening,
        )

    async def _load(self, request: Request, body: Body) -> Response:
        model = await self._models.use(request, body)
        return JSONResponse(done(body, model.name, "load"))

    async def _embed(self, request: Request) -> Response:
        return await embed(request, EmbedBody, self._models)

    async def _embed_one(self, request: Request) -> Response:
        return await embed(request, EmbeddingsBody, self._models)

    async def _pull(self, request: Request) -> Response:
        name = (await read_body(NamedBody, request)).model
        try:
            await self._models.find(name)
        except UnknownModel as error:
            raise InvalidRequest("this server does not fetch models", hint=error.hint) from None
        return JSONResponse({"status": "success"})

    async def _create(self, request: Request) -> Response:
        body = await read_body(CreateBody, request)
        base = await self._models.find(body.base)
        await asyncio.to_thread(body.create, base.located)
        line = as_json({"status": "success"}) + "\n"
        return Response(line, media_type=OllamaReply.media_type if body.stream else "application/json")

    async def _copy(self, request: Request) -> Response:
        body = await read_body(CopyBody, request)
        source = await self._models.find(body.source)
        await asyncio.to_thread(body.copy_of, source.located)
        return Response()

    async def _delete(self, request: Request) -> Response:
        body = await read_body(DeleteBody, request)
        await self._models.unload(body.model)
        await asyncio.to_thread(body.delete)
        return Response()


async def _listed(entries: Sequence[Callable[[], dict[str, Any]]]) -> Response:
    """Made in a thread: they read files when they are first asked for."""
    return JSONResponse({"models": await asyncio.to_thread(lambda: [entry() for entry in entries])})
