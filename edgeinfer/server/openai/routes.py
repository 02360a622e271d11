"""OpenAI's dialect: models, chat completions, completions and embeddings; and Mistral's for the middle."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edgeinfer.server.answering import Opening, answer
from edgeinfer.server.embeddings import embed
from edgeinfer.server.entry import Entry
from edgeinfer.server.exchange import read_body
from edgeinfer.server.models import Models
from edgeinfer.server.openai.answers import OpenAiReply
from edgeinfer.server.openai.embeddings import EmbeddingsBody
from edgeinfer.server.openai.requests import Body, ChatBody, CompletionBody, FimBody

_STATUS = {"open": "loaded", "opening": "loading", "closed": "unloaded"}  # as llama.cpp's router says it


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
            Route("/v1/embeddings", self._embed, methods=["POST"]),
            Route("/v1/fim/completions", self._fill_in, methods=["POST"]),
        ]

    async def _list(self, request: Request) -> Response:
        entries = await self._models.all()
        data = await asyncio.to_thread(lambda: [self._entry(entry) for entry in entries])
        return JSONResponse({"object": "list", "data": data})

    async def _show(self, request: Request) -> Response:
        entry = await self._models.look_up(request.path_params["name"])
        return JSONResponse(await asyncio.to_thread(self._entry, entry))

    def _entry(self, entry: Entry) -> dict[str, Any]:
        return {"id": entry.name, "object": "model", "created": self._started, **_described(entry)}

    async def _chat(self, request: Request) -> Response:
        return await self._answer(request, ChatBody)

    async def _complete(self, request: Request) -> Response:
        return await self._answer(request, CompletionBody)

    async def _fill_in(self, request: Request) -> Response:
        return await self._answer(request, FimBody)

    async def _answer(self, request: Request, kind: type[Body]) -> Response:
        body = await read_body(kind, request)
        return await answer(request, body, self._models, OpenAiReply.begin, Opening(OpenAiReply.failed))

    async def _embed(self, request: Request) -> Response:
        return await embed(request, EmbeddingsBody, self._models)


def _described(entry: Entry) -> dict[str, Any]:
    """What clients of llama.cpp read in the list of models: llama.vscode `meta`, Zed the others too."""
    facts, model = entry.read_facts(), entry.model
    return {
        "owned_by": "edgeinfer",
        "meta": {
            "n_ctx": entry.context_length,
            "n_ctx_train": facts.count("context_length"),
            "n_vocab": None if model is None else model.n_vocab,
            "n_embd": facts.count("embedding_length"),
            "n_params": facts.n_parameters,
            "size": facts.n_bytes,
            "ftype": facts.quantization,
        },
        "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
        "status": {"value": _STATUS[entry.state]},
    }
